/* test_error_json.c - the wire's error object: four keys, code a string or null, text escaped. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "api/api.h"
#include "engine/base/json.h"
#include "tests/unit/suite.h"

static json_t *body_of(const struct error *e)
{
    struct buf b;
    json_t *value = NULL;
    buf_init(&b, 4096);
    api_error_body(&b, e);
    ck_assert_int_eq(json_parse(b.data, b.len, &value, NULL), 0);
    buf_free(&b);
    return value;
}

START_TEST(test_has_all_four_keys)
{
    struct error e = {0};
    error_param(&e, ERROR_INVALID_REQUEST, "top_p", "top_p must be \"small\"\\");
    json_t *body = body_of(&e);
    json_t *error = json_object_get(body, "error");
    ck_assert_uint_eq(json_object_size(body), 1);
    ck_assert_uint_eq(json_object_size(error), 4);
    ck_assert_str_eq(json_string_value(json_object_get(error, "message")), "top_p must be \"small\"\\");
    ck_assert_str_eq(json_string_value(json_object_get(error, "type")), "invalid_request_error");
    ck_assert_str_eq(json_string_value(json_object_get(error, "param")), "top_p");
    ck_assert(json_is_null(json_object_get(error, "code")));
    json_decref(body);
}
END_TEST

START_TEST(test_code_is_text_and_absent_param_null)
{
    struct error e = {0};
    error_set(&e, ERROR_CONTEXT_LENGTH, "too long");
    json_t *body = body_of(&e);
    json_t *error = json_object_get(body, "error");
    ck_assert_str_eq(json_string_value(json_object_get(error, "code")), "context_length_exceeded");
    ck_assert(json_is_null(json_object_get(error, "param")));
    json_decref(body);
}
END_TEST

START_TEST(test_broken_utf8_is_replaced)
{
    struct error e = {0};
    error_set(&e, ERROR_INVALID_REQUEST, "cut \xe2\x82");
    json_t *body = body_of(&e);
    ck_assert_str_eq(json_string_value(json_object_get(json_object_get(body, "error"), "message")),
                     "cut \xef\xbf\xbd");
    json_decref(body);
}
END_TEST

START_TEST(test_event_is_one_sse_message)
{
    struct error e = {0};
    struct buf b;
    buf_init(&b, 4096);
    error_set(&e, ERROR_INTERNAL, "line\nbreak");
    api_error_event(&b, &e);
    ck_assert_int_eq(strncmp(b.data, "data: {\"error\":", 15), 0);
    ck_assert_ptr_eq(strchr(b.data, '\n'), b.data + b.len - 2);
    ck_assert_str_eq(b.data + b.len - 2, "\n\n");
    buf_free(&b);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("error_json");
    TCase *t = tcase_create("all");
    tcase_add_test(t, test_has_all_four_keys);
    tcase_add_test(t, test_code_is_text_and_absent_param_null);
    tcase_add_test(t, test_broken_utf8_is_replaced);
    tcase_add_test(t, test_event_is_one_sse_message);
    suite_add_tcase(s, t);
    return suite_run(s);
}
