/* test_fields.c - request readers: defaults, limits, names in errors, aliases, null, what is refused. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "api/fields.h"
#include "engine/base/json.h"
#include "tests/unit/suite.h"

struct sample {
    struct engine_text word, mode;
    bool flag, count_given;
    int64_t count, seed;
    double share;
    struct field_texts texts;
    struct field_ids ids;
    const json_t *any;
    bool inner_flag;
};

#define AT(member) offsetof(struct sample, member)

static const char *const modes[] = {"short", "long", NULL};
static const struct field inner_rows[] = {
    {.name = "inner", .type = FIELD_BOOL, .offset = AT(inner_flag), .fallback = 1}};
static const struct field_group inner_groups[] = {FIELD_GROUP(inner_rows, 0)};
static const struct field_table inner_table = FIELD_TABLE(inner_groups, sizeof(struct sample));

/* clang-format off */
static const struct field rows[] = {
    {.name = "word", .type = FIELD_STRING, .offset = AT(word), .min = 1, .max = 5, .required = true},
    {.name = "mode", .type = FIELD_STRING, .offset = AT(mode), .one_of = modes},
    {.name = "flag", .type = FIELD_BOOL, .offset = AT(flag), .fallback = 1},
    {.name = "count", .type = FIELD_INT, .offset = AT(count), .given = AT(count_given), .min = 1, .max = 9, .fallback = 4},
    {.name = "number", .type = FIELD_ALIAS, .of = "count"},
    {.name = "amount", .type = FIELD_ALIAS, .of = "count"},
    {.name = "seed", .type = FIELD_INT, .offset = AT(seed), .min = -0x1p63, .max = 0x1p63},
    {.name = "share", .type = FIELD_NUMBER, .offset = AT(share), .min = 0, .max = 2, .fallback = 0.5},
    {.name = "texts", .type = FIELD_STRINGS, .offset = AT(texts), .max = 2, .max_bytes = 3},
    {.name = "ids", .type = FIELD_IDS, .offset = AT(ids), .max = 3},
    {.name = "any", .type = FIELD_JSON, .offset = AT(any), .kinds = FIELD_KIND_OBJECT},
    {.name = "deep", .type = FIELD_OBJECT, .nested = &inner_table},
    FIELD_HARMLESS("user", "has no effect"),
    FIELD_REFUSED("format", "[{\"type\":\"text\"},\"\"]", "only text"),
};
/* clang-format on */
static const struct field_group groups[] = {FIELD_GROUP(rows, 0)};
static const struct field_table table = FIELD_TABLE(groups, sizeof(struct sample));

static struct arena *arena;
static struct error failure;
static json_t *value;

static int read_json(const char *text, struct sample *s)
{
    json_decref(value);
    value = json_loads(text, JSON_DECODE_ANY, NULL);
    ck_assert_ptr_nonnull(value);
    error_clear(&failure);
    return fields_read(&table, value, "", arena, s, &failure);
}

static void setup(void)
{
    arena = arena_create(1 << 20);
    value = NULL;
}

static void teardown(void)
{
    json_decref(value);
    arena_free(arena);
}

START_TEST(test_defaults)
{
    struct sample s;
    ck_assert_int_eq(read_json("{\"word\":\"x\"}", &s), 0);
    ck_assert(s.flag && s.inner_flag && !s.count_given);
    ck_assert_int_eq(s.count, 4);
    ck_assert_double_eq(s.share, 0.5);
    ck_assert_uint_eq(s.texts.n + s.ids.n, 0);
    ck_assert_ptr_null(s.mode.bytes);
    ck_assert_ptr_null(s.any);
}
END_TEST

START_TEST(test_reads_every_type)
{
    struct sample s;
    ck_assert_int_eq(
        read_json(
            "{\"word\":\"hello\",\"mode\":\"long\",\"flag\":false,\"count\":9,\"seed\":-9223372036854775808,"
            "\"share\":2,\"texts\":[\"a\",\"bcd\"],\"ids\":[0,2147483647],\"any\":{\"k\":1},"
            "\"deep\":{\"inner\":false},\"user\":[1],\"format\":{\"type\":\"text\"}}",
            &s),
        0);
    ck_assert_str_eq(s.word.bytes, "hello");
    ck_assert_uint_eq(s.word.len, 5);
    ck_assert_str_eq(s.mode.bytes, "long");
    ck_assert(!s.flag && s.count_given && !s.inner_flag);
    ck_assert_int_eq(s.seed, INT64_MIN);
    ck_assert_double_eq(s.share, 2);
    ck_assert_uint_eq(s.texts.n, 2);
    ck_assert_str_eq(s.texts.items[1].bytes, "bcd");
    ck_assert_int_eq(s.ids.items[1], 2147483647);
    ck_assert_uint_eq(json_object_size(s.any), 1);
}
END_TEST

START_TEST(test_null_is_absent)
{
    struct sample s;
    ck_assert_int_eq(
        read_json("{\"word\":\"x\",\"count\":null,\"texts\":null,\"format\":null,\"deep\":null}", &s), 0);
    ck_assert_int_eq(s.count, 4);
    ck_assert(!s.count_given);
    ck_assert_int_eq(read_json("{\"word\":null}", &s), -1);
    ck_assert_str_eq(failure.param, "word");
}
END_TEST

START_TEST(test_integral_reals_are_integers)
{
    struct sample s;
    ck_assert_int_eq(read_json("{\"word\":\"x\",\"count\":3.0}", &s), 0);
    ck_assert_int_eq(s.count, 3);
    ck_assert_int_eq(read_json("{\"word\":\"x\",\"count\":3.5}", &s), -1);
    ck_assert_int_eq(read_json("{\"word\":\"x\",\"seed\":1e300}", &s), -1);
    ck_assert_str_eq(failure.param, "seed");
}
END_TEST

START_TEST(test_aliases)
{
    struct sample s;
    ck_assert_int_eq(read_json("{\"word\":\"x\",\"number\":7}", &s), 0);
    ck_assert_int_eq(s.count, 7);
    ck_assert(s.count_given);
    ck_assert_int_eq(read_json("{\"word\":\"x\",\"number\":7,\"count\":7}", &s), 0);
    ck_assert_int_eq(read_json("{\"word\":\"x\",\"number\":7,\"count\":8}", &s), -1);
    ck_assert_str_eq(failure.param, "number");
    ck_assert_int_eq(read_json("{\"word\":\"x\",\"number\":7,\"amount\":8}", &s), -1);
    ck_assert_int_eq(read_json("{\"word\":\"x\",\"number\":10}", &s), -1);
}
END_TEST

static const struct {
    const char *body, *param, *message;
    enum error_kind kind;
} bad[] = {
    {"{\"word\":\"x\",\"wrod\":1}", "wrod", "unknown field \"wrod\"", ERROR_INVALID_REQUEST},
    {"{}", "word", "word is required", ERROR_INVALID_REQUEST},
    {"{\"word\":\"\"}", "word", "from 1 to 5 bytes", ERROR_INVALID_REQUEST},
    {"{\"word\":\"123456\"}", "word", "from 1 to 5 bytes", ERROR_INVALID_REQUEST},
    {"{\"word\":5}", "word", "must be a string, not a number", ERROR_INVALID_REQUEST},
    {"{\"word\":\"x\",\"mode\":\"tall\"}", "mode", "one of \"short\", \"long\"", ERROR_INVALID_REQUEST},
    {"{\"word\":\"x\",\"flag\":1}", "flag", "must be true or false, not a number", ERROR_INVALID_REQUEST},
    {"{\"word\":\"x\",\"count\":0}", "count", "an integer from 1 to 9", ERROR_INVALID_REQUEST},
    {"{\"word\":\"x\",\"count\":\"4\"}", "count", "must be an integer, not a string", ERROR_INVALID_REQUEST},
    {"{\"word\":\"x\",\"share\":2.01}", "share", "a number from 0 to 2", ERROR_INVALID_REQUEST},
    {"{\"word\":\"x\",\"texts\":[\"a\",\"b\",\"c\"]}", "texts", "at most 2", ERROR_INVALID_REQUEST},
    {"{\"word\":\"x\",\"texts\":\"long\"}", "texts", "1 to 3 bytes", ERROR_INVALID_REQUEST},
    {"{\"word\":\"x\",\"texts\":[1]}", "texts", "item 0", ERROR_INVALID_REQUEST},
    {"{\"word\":\"x\",\"ids\":[-1]}", "ids", "ids[0] is no token id", ERROR_INVALID_REQUEST},
    {"{\"word\":\"x\",\"ids\":[2147483648]}", "ids", "ids[0] is no token id", ERROR_INVALID_REQUEST},
    {"{\"word\":\"x\",\"ids\":[1,2,3,4]}", "ids", "at most 3", ERROR_INVALID_REQUEST},
    {"{\"word\":\"x\",\"any\":[]}", "any", "must be an object, not a list", ERROR_INVALID_REQUEST},
    {"{\"word\":\"x\",\"deep\":1}", "deep", "must be an object", ERROR_INVALID_REQUEST},
    {"{\"word\":\"x\",\"deep\":{\"outer\":1}}", "deep.outer", "unknown field \"deep.outer\"",
     ERROR_INVALID_REQUEST},
    {"{\"word\":\"x\",\"format\":{\"type\":\"json\"}}", "format", "not supported: only text",
     ERROR_UNSUPPORTED},
    {"[1]", "", "the request body must be a JSON object", ERROR_INVALID_REQUEST},
    {"\"x\"", "", "the request body must be a JSON object", ERROR_INVALID_REQUEST},
};

START_TEST(test_refuses_by_name)
{
    struct sample s;
    ck_assert_int_eq(read_json(bad[_i].body, &s), -1);
    ck_assert_str_eq(failure.param, bad[_i].param);
    ck_assert_msg(strstr(failure.text, bad[_i].message) != NULL, "%s: %s", bad[_i].body, failure.text);
    ck_assert_int_eq(failure.kind, bad[_i].kind);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("fields");
    TCase *t = tcase_create("all");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, test_defaults);
    tcase_add_test(t, test_reads_every_type);
    tcase_add_test(t, test_null_is_absent);
    tcase_add_test(t, test_integral_reals_are_integers);
    tcase_add_test(t, test_aliases);
    tcase_add_loop_test(t, test_refuses_by_name, 0, (int)(sizeof bad / sizeof bad[0]));
    suite_add_tcase(suite, t);
    return suite_run(suite);
}
