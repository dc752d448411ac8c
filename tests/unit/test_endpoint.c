/* test_endpoint.c - the ENDPOINT TABLE: finding rows, path arguments; models, tokenize and detokenize through
 * it. */
#include <check.h>
#include <stdio.h>
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
    const char *out[API_PATH_ARGUMENTS];
    struct arena *arena = arena_create(1 << 20);
    const struct api_endpoint *row = api_find(arguments[_i].path, API_GET, &other);
    int result = api_path_arguments(row, arguments[_i].path, arena, out, &e);
    ck_assert_int_eq(result, arguments[_i].argument ? 0 : -1);
    if (result == 0) {
        ck_assert_str_eq(out[0], arguments[_i].argument);
        ck_assert_ptr_null(out[1]);
    }
    arena_free(arena);
}
END_TEST

START_TEST(test_long_path_argument)
{
    bool other;
    struct error e = {0};
    const char *out[API_PATH_ARGUMENTS];
    char path[4096] = "/v1/models/";
    struct arena *arena = arena_create(1 << 20);
    memset(path + 11, 'a', 513);
    const struct api_endpoint *row = api_find(path, API_GET, &other);
    ck_assert_int_eq(api_path_arguments(row, path, arena, out, &e), -1);
    error_clear(&e);
    path[11 + 512] = 0;
    ck_assert_int_eq(api_path_arguments(row, path, arena, out, &e), 0);
    arena_free(arena);
}
END_TEST

START_TEST(test_two_path_arguments)
{
    static const struct api_endpoint row = {.path = "/v2/models/{model}/versions/{version}/ready"};
    const char *out[API_PATH_ARGUMENTS];
    struct error e = {0};
    struct arena *arena = arena_create(1 << 20);
    ck_assert_int_eq(api_path_arguments(&row, "/v2/models/a%20b/versions/1/ready", arena, out, &e), 0);
    ck_assert_str_eq(out[0], "a b");
    ck_assert_str_eq(out[1], "1");
    ck_assert_int_eq(api_path_arguments(&row, "/v2/models/a/versions/%zz/ready", arena, out, &e), -1);
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

static void check_abilities(const json_t *model, const char *expected)
{
    char list[256] = "";
    const json_t *names = at(model, "meta/abilities");
    for (size_t i = 0; i < json_array_size(names); i++) {
        size_t used = strlen(list);
        snprintf(list + used, sizeof list - used, "%s ", json_string_value(json_array_get(names, i)));
    }
    ck_assert_str_eq(list, expected);
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
    check_abilities(one, "completions classify qa summarize score ");
    ck_assert_ptr_null(at(one, "meta/labels"));
    json_decref(one);
}
END_TEST

static json_t *ask_model(void)
{
    ck_assert_msg(fake_begin(&f, NULL, API_GET, "/v1/models/toy", NULL) == 0, "%s", f.error.text);
    json_t *answer = fake_answer(&f);
    fake_end(&f);
    return answer;
}

START_TEST(test_abilities)
{
    static const char *const labels[] = {"no", "\"yes\""};
    fake_engine(NULL);
    fake_info(0)->abilities = ENGINE_CAN_EMBED | ENGINE_CAN_CLASSIFY;
    fake_info(0)->labels = labels;
    fake_info(0)->n_labels = 2;
    fake_info(0)->problem = ENGINE_PROBLEM_MULTI;
    fake_info(0)->pooling = ENGINE_POOLING_CLS;
    json_t *one = ask_model();
    check_abilities(one, "embeddings rerank classify ");
    ck_assert_str_eq(text_at(one, "meta/labels/1"), "\"yes\"");
    ck_assert_str_eq(text_at(one, "meta/problem"), "multi_label_classification");
    ck_assert_str_eq(text_at(one, "meta/pooling"), "cls");
    ck_assert(json_is_false(at(one, "meta/normalize")));
    ck_assert_str_eq(text_at(one, "meta/chat_disabled"), "this model writes no text");
    json_decref(one);
    fake_info(0)->abilities = ENGINE_CAN_TAG | ENGINE_CAN_FILL | ENGINE_CAN_ANSWER;
    one = ask_model();
    check_abilities(one, "entities qa fill-mask ");
    json_decref(one);
    fake_transforms(0);
    fake_info(0)->target_language = "pt";
    one = ask_model();
    check_abilities(one, "completions embeddings rerank translate summarize ");
    ck_assert_int_eq(json_integer_value(at(one, "meta/n_ctx_source")), 60);
    ck_assert_str_eq(text_at(one, "meta/target_language"), "pt");
    json_decref(one);
}
END_TEST

/* Every path that needs an ability says what there is instead. */
START_TEST(test_refuses_what_a_model_cannot_do)
{
    static const char *const writers[][2] = {
        {"/v1/completions", "{\"prompt\":\"a\"}"}, {"/v1/chat/completions", "{\"messages\":[]}"},
        {"/v1/summarize", "{\"text\":\"a\"}"},     {"/v1/translate", "{\"text\":\"a\"}"},
        {"/v1/score", "{\"text\":\"a\"}"},         {"/v1/qa", "{\"question\":\"a\",\"context\":\"b\"}"}};
    static const char *const readers[][2] = {{"/v1/embeddings", "{\"input\":\"a\"}"},
                                             {"/v1/rerank", "{\"query\":\"a\",\"documents\":[\"b\"]}"},
                                             {"/v1/fill-mask", "{\"text\":\"a\"}"},
                                             {"/v1/entities", "{\"text\":\"a\"}"}};
    fake_engine(NULL);
    for (size_t i = 0; i < sizeof readers / sizeof readers[0]; i++)
        fake_refused(NULL, readers[i][0], readers[i][1], ERROR_UNSUPPORTED, "model",
                     "it can do: completions, classify, qa, summarize, score");
    fake_info(0)->abilities = ENGINE_CAN_TAG;
    for (size_t i = 0; i < sizeof writers / sizeof writers[0]; i++)
        fake_refused(NULL, writers[i][0], writers[i][1], ERROR_UNSUPPORTED, "model", "it can do: entities");
    fake_refused(NULL, "/v1/sentiment", "{\"text\":\"a\"}", ERROR_UNSUPPORTED, "model",
                 "the model toy can't do classify; it can do: entities");
    fake_transforms(0);
    fake_refused(NULL, "/v1/score", "{\"text\":\"a\"}", ERROR_UNSUPPORTED, "model", "translate, summarize");
    fake_refused(NULL, "/v1/classify", "{\"text\":\"a\",\"labels\":[\"a\",\"b\"]}", ERROR_UNSUPPORTED,
                 "model", "translate, summarize");
    fake_refused(NULL, "/v1/qa", "{\"question\":\"a\",\"context\":\"b\"}", ERROR_UNSUPPORTED, "model",
                 "translate, summarize");
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
    tcase_add_test(t, test_two_path_arguments);
    tcase_add_test(t, test_models);
    tcase_add_test(t, test_abilities);
    tcase_add_test(t, test_refuses_what_a_model_cannot_do);
    tcase_add_test(t, test_unknown_model);
    tcase_add_test(t, test_tokenize);
    tcase_add_test(t, test_detokenize);
    suite_add_tcase(s, t);
    return suite_run(s);
}
