/* test_json.c - limits, places and messages of the JSON wrapper. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/json.h"
#include "engine/base/limits.h"
#include "tests/unit/suite.h"

static int parse(const char *text, struct error *e)
{
    json_t *value = NULL;
    error_clear(e);
    int status = json_parse(text, strlen(text), &value, e);
    json_decref(value);
    return status;
}

START_TEST(good_texts_are_parsed)
{
    static const char *const good[] = {"{}", " [1, 2.5, -3e10, true, null] ", "\"x\"", "7",
                                       "{\"a\": \"]}{[\\\"[[\", \"b\": []}"};
    struct error e;
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++)
        ck_assert_msg(parse(good[i], &e) == 0, "%s: %s", good[i], e.text);
}
END_TEST

START_TEST(bad_texts_are_errors_with_line_and_column)
{
    static const struct {
        const char *text, *words;
    } bad[] = {{"", "line 1, column"},
               {"{\"a\": 1,\n  \"a\": 2}", "line 2, column"},
               {"[1,\n2,\n,3]", "line 3, column"},
               {"[1] x", "line 1, column"},
               {"[1e400]", "invalid JSON"},
               {"[99999999999999999999]", "invalid JSON"},
               {"[NaN]", "invalid JSON"},
               {"[\"\xC3\x28\"]", "not valid UTF-8 at line 1, column 3"},
               {"[\n\"\xED\xA0\x80\"]", "not valid UTF-8 at line 2, column 2"},
               {"[\"\\ud800\"]", "invalid JSON"},
               {"[\"abc", "invalid JSON"},
               {"[\"\\", "invalid JSON"}};
    struct error e;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        ck_assert_msg(parse(bad[i].text, &e) == -1, "%s", bad[i].text);
        ck_assert_int_eq(e.kind, ERROR_INVALID_REQUEST);
        ck_assert_msg(strstr(e.text, bad[i].words) != NULL, "%s: %s", bad[i].text, e.text);
    }
}
END_TEST

START_TEST(a_users_words_stay_out_of_messages)
{
    struct error e;
    ck_assert_int_eq(parse("[\"secret\" \"words\"]", &e), -1);
    ck_assert_ptr_null(strstr(e.text, "words"));
}
END_TEST

START_TEST(depth_is_checked_before_the_parser_recurses)
{
    size_t n = 200000;
    char *text = malloc(2 * n + 1);
    memset(text, '[', n);
    memset(text + n, ']', n);
    struct error e = {0};
    json_t *value = NULL;
    ck_assert_int_eq(json_parse(text, 2 * n, &value, &e), -1);
    ck_assert_ptr_nonnull(strstr(e.text, "nested more than 128 deep at line 1, column 129"));
    error_clear(&e);
    ck_assert_int_eq(json_parse(text + n - LIMIT_JSON_DEPTH, 2 * LIMIT_JSON_DEPTH, &value, &e), 0);
    json_decref(value);
    free(text);
}
END_TEST

START_TEST(values_come_back_as_they_were_written)
{
    static const char text[] = "{\"b\":[1,0.1,-2.5,\"\xC3\xA4\\n\"],\"a\":null}";
    struct error e = {0};
    json_t *value = NULL;
    struct buf b;
    buf_init(&b, 1000);
    ck_assert_int_eq(json_parse(text, strlen(text), &value, &e), 0);
    json_write(&b, value);
    ck_assert_str_eq(b.data, text);
    buf_free(&b);
    buf_init(&b, 8);
    json_write(&b, value);
    ck_assert(b.failed);
    buf_free(&b);
    json_decref(value);
}
END_TEST

START_TEST(strings_are_escaped_and_repaired)
{
    struct buf b;
    buf_init(&b, 1000);
    json_write_string(&b, "a\"\\\n\x01\x7F\xC3\xA4\xFFz\xE4\xBD", 12);
    ck_assert_str_eq(b.data, "\"a\\\"\\\\\\n\\u0001\x7F\xC3\xA4\xEF\xBF\xBDz\xEF\xBF\xBD\"");
    buf_clear(&b);
    json_write_string(&b, "", 0);
    ck_assert_str_eq(b.data, "\"\"");
    buf_free(&b);
}
END_TEST

START_TEST(getters_name_what_is_wrong)
{
    struct error e = {0};
    json_t *o =
        json_pack("{s:i, s:i, s:s, s:b, s:n, s:f}", "n", 7, "minus", -1, "s", "x", "b", 1, "null", "f", 0.5);
    uint64_t n = 99;
    double d = 0;
    bool b = false;
    const char *s = NULL;
    ck_assert_int_eq(json_get_u64(o, "n", 0, 7, &n, &e), 0);
    ck_assert_uint_eq(n, 7);
    ck_assert_int_eq(json_get_u64(o, "absent", 0, 7, &n, &e) | json_get_u64(o, "null", 0, 7, &n, &e), 0);
    ck_assert_uint_eq(n, 7);
    ck_assert_int_eq(
        json_get_double(o, "f", &d, &e) | json_get_bool(o, "b", &b, &e) | json_get_string(o, "s", &s, &e), 0);
    ck_assert(d > 0.4 && b);
    ck_assert_str_eq(s, "x");
    ck_assert_int_eq(json_get_u64(o, "n", 8, 9, &n, &e), -1);
    ck_assert_str_eq(e.param, "n");
    error_clear(&e);
    ck_assert_int_eq(json_get_u64(o, "minus", 0, UINT64_MAX, &n, &e), -1);
    error_clear(&e);
    ck_assert_int_eq(json_get_u64(o, "f", 0, 9, &n, &e), -1);
    ck_assert_str_eq(e.text, "f must be an integer");
    error_clear(&e);
    ck_assert_int_eq(json_get_double(o, "s", &d, &e), -1);
    ck_assert_int_eq(json_get_bool(o, "n", &b, &e), -1);
    ck_assert_int_eq(json_get_string(o, "n", &s, &e), -1);
    json_decref(o);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("json");
    TCase *tc = tcase_create("json");
    tcase_add_test(tc, good_texts_are_parsed);
    tcase_add_test(tc, bad_texts_are_errors_with_line_and_column);
    tcase_add_test(tc, a_users_words_stay_out_of_messages);
    tcase_add_test(tc, depth_is_checked_before_the_parser_recurses);
    tcase_add_test(tc, values_come_back_as_they_were_written);
    tcase_add_test(tc, strings_are_escaped_and_repaired);
    tcase_add_test(tc, getters_name_what_is_wrong);
    suite_add_tcase(suite, tc);
    return suite_run(suite);
}
