/* test_endpoint.c - the ENDPOINT TABLE: finding rows, path arguments; models, tokenize and detokenize through
 * it. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/fake_engine.h"
#include "tests/unit/suite.h"

static struct fake_call f;

START_TEST(test_finds_rows)
{
    bool other;
    ck_assert_ptr_nonnull(api_find("/v1/completions", API_POST, &other));
    ck_assert_ptr_null(api_find("/v1/completions", API_GET, &other));
    ck_assert(other);
    ck_assert_ptr_null(api_find("/v1/completionsx", API_POST, &other));
    ck_assert(!other);
    ck_assert_ptr_null(api_find("/v1/completion", API_POST, &other));
    ck_assert_ptr_null(api_find("", API_GET, &other));
    ck_assert_ptr_null(api_find("/v1/models/", API_GET, &other));
    ck_assert_ptr_null(api_find("/v1/models/a/b", API_GET, &other));
    ck_assert_str_eq(api_find("/v1/models", API_GET, &other)->path, "/v1/models");
    ck_assert_str_eq(api_find("/v1/models/a", API_GET, &other)->path, "/v1/models/{id}");
    size_t n = 0;
    while (api_endpoint_at(n))
        n++;
    ck_assert_uint_ge(n, 6);
}
END_TEST

static const struct {
    const char *path, *argument; /* NULL: refused */
} arguments[] = {
    {"/v1/models/toy", "toy"},
    {"/v1/models/a%2Fb", "a/b"},
    {"/v1/models/%e2%82%ac%41", "\xe2\x82\xac"
                                "A"},
    {"/v1/models/%zz", NULL},
    {"/v1/models/a%4", NULL},
    {"/v1/models/a%", NULL},
    {"/v1/models/a%00b", NULL},
    {"/v1/models/%ff", NULL},
};

START_TEST(test_path_arguments)
{
    bool other;
    struct error e = {0};
    const char *out = NULL;
    struct arena *arena = arena_create(1 << 20);
    const struct api_endpoint *row = api_find(arguments[_i].path, API_GET, &other);
    int result = api_path_argument(row, arguments[_i].path, arena, &out, &e);
    ck_assert_int_eq(result, arguments[_i].argument ? 0 : -1);
    if (result == 0)
        ck_assert_str_eq(out, arguments[_i].argument);
    arena_free(arena);
}
END_TEST

START_TEST(test_long_path_argument)
{
    bool other;
    struct error e = {0};
    const char *out;
    char path[4096] = "/v1/models/";
    struct arena *arena = arena_create(1 << 20);
    memset(path + 11, 'a', 513);
    const struct api_endpoint *row = api_find(path, API_GET, &other);
    ck_assert_int_eq(api_path_argument(row, path, arena, &out, &e), -1);
    error_clear(&e);
    path[11 + 512] = 0;
    ck_assert_int_eq(api_path_argument(row, path, arena, &out, &e), 0);
    arena_free(arena);
}
END_TEST

static json_t *ask(unsigned method, const char *path, const char *body)
{
    struct api *api = NULL;
    ck_assert_int_eq(api_create(fake_engine(NULL), &api, NULL), 0);
    api_add_model(api, fake_model(0));
    ck_assert_msg(fake_begin(&f, api, method, path, body) == 0, "%s", f.error.text);
    json_t *answer = fake_answer(&f);
    fake_end(&f);
    api_free(api);
    return answer;
}

START_TEST(test_models)
{
    json_t *list = ask(API_GET, "/v1/models", NULL);
    ck_assert_str_eq(text_at(list, "object"), "list");
    ck_assert_uint_eq(json_array_size(at(list, "data")), 2);
    ck_assert_str_eq(text_at(list, "data/0/id"), "toy");
    ck_assert_str_eq(text_at(list, "data/1/id"), "second");
    json_decref(list);
    json_t *one = ask(API_GET, "/v1/models/toy", NULL);
    ck_assert_str_eq(text_at(one, "object"), "model");
    ck_assert_int_eq(json_integer_value(at(one, "created")), 1700000000);
    ck_assert_str_eq(text_at(one, "owned_by"), "loquat");
    ck_assert_int_eq(json_integer_value(at(one, "meta/n_ctx")), FAKE_CONTEXT);
    ck_assert_int_eq(json_integer_value(at(one, "meta/n_vocab")), FAKE_VOCABULARY);
    ck_assert_ptr_nonnull(strstr(text_at(one, "meta/chat_disabled"), "has no chat template"));
    ck_assert_uint_eq(json_array_size(at(one, "meta/abilities")), 1);
    json_decref(one);
}
END_TEST

START_TEST(test_unknown_model)
{
    fake_engine(NULL);
    ck_assert_int_eq(fake_begin(&f, NULL, API_GET, "/v1/models/nope", NULL), -1);
    ck_assert_int_eq(f.error.kind, ERROR_MODEL_NOT_FOUND);
    ck_assert_ptr_nonnull(strstr(f.error.text, "\"nope\""));
    fake_end(&f);
}
END_TEST

static void check_tokens(const char *body, const char *expected)
{
    json_t *answer = ask(API_POST, "/tokenize", body);
    char *text = json_dumps(answer, JSON_COMPACT | JSON_ENSURE_ASCII);
    ck_assert_str_eq(text, expected);
    free(text);
    json_decref(answer);
}

START_TEST(test_tokenize)
{
    check_tokens("{\"content\":\"ab\"}", "{\"tokens\":[97,98]}");
    check_tokens("{\"text\":\"ab\",\"add_special\":true}", "{\"tokens\":[256,97,98]}");
    check_tokens("{\"prompt\":\"</s>\"}", "{\"tokens\":[257]}");
    check_tokens("{\"content\":\"</s>\",\"parse_special\":false}", "{\"tokens\":[60,47,115,62]}");
    check_tokens("{\"content\":\"\"}", "{\"tokens\":[]}");
    check_tokens("{\"content\":\"a\\u00e9\",\"with_pieces\":true}",
                 "{\"tokens\":[{\"id\":97,\"piece\":\"a\"},{\"id\":195,\"piece\":[195]},{\"id\":169,"
                 "\"piece\":[169]}]}");
}
END_TEST

START_TEST(test_detokenize)
{
    json_t *answer = ask(API_POST, "/detokenize", "{\"tokens\":[256,97,195,169]}");
    ck_assert_str_eq(text_at(answer, "content"), "<s>a\xc3\xa9");
    json_decref(answer);
    answer = ask(API_POST, "/detokenize", "{\"tokens\":[]}");
    ck_assert_str_eq(text_at(answer, "content"), "");
    json_decref(answer);
    fake_engine(NULL);
    ck_assert_int_eq(fake_begin(&f, NULL, API_POST, "/detokenize", "{\"tokens\":[1,262]}"), -1);
    ck_assert_str_eq(f.error.param, "tokens");
    fake_end(&f);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("endpoint");
    TCase *t = tcase_create("all");
    tcase_add_test(t, test_finds_rows);
    tcase_add_loop_test(t, test_path_arguments, 0, (int)(sizeof arguments / sizeof arguments[0]));
    tcase_add_test(t, test_long_path_argument);
    tcase_add_test(t, test_models);
    tcase_add_test(t, test_unknown_model);
    tcase_add_test(t, test_tokenize);
    tcase_add_test(t, test_detokenize);
    suite_add_tcase(s, t);
    return suite_run(s);
}
