/* test_error.c - the first error wins, stays one line, and knows its HTTP face. */
#include <check.h>
#include <string.h>

#include "engine/base/error.h"
#include "tests/unit/suite.h"

START_TEST(the_first_error_wins)
{
    struct error e = {0};
    ck_assert_int_eq(error_set(&e, ERROR_NOT_FOUND, "first %d", 1), -1);
    ck_assert_int_eq(error_at(&e, ERROR_INTERNAL, 7, "second"), -1);
    ck_assert_int_eq(error_param(&e, ERROR_INTERNAL, "p", "third"), -1);
    ck_assert_int_eq(error_no_memory(&e), -1);
    ck_assert_int_eq(e.kind, ERROR_NOT_FOUND);
    ck_assert_str_eq(e.text, "first 1");
    ck_assert_str_eq(e.param, "");
    error_clear(&e);
    ck_assert_int_eq(e.kind, ERROR_NONE);
    error_no_memory(&e);
    ck_assert_int_eq(e.kind, ERROR_OUT_OF_MEMORY);
}
END_TEST

START_TEST(a_missing_record_is_fine)
{
    ck_assert_int_eq(error_set(NULL, ERROR_INTERNAL, "x"), -1);
    ck_assert_int_eq(error_at(NULL, ERROR_INTERNAL, 1, "x"), -1);
    ck_assert_int_eq(error_param(NULL, ERROR_INTERNAL, "p", "x"), -1);
    ck_assert_int_eq(error_prefix(NULL, "x"), -1);
}
END_TEST

START_TEST(places_and_parameters_are_kept)
{
    struct error e = {0};
    error_at(&e, ERROR_BAD_FORMAT, 4096, "the header is short");
    ck_assert_uint_eq(e.offset, 4096);
    ck_assert_str_eq(e.text, "the header is short (at byte 4096)");
    error_prefix(&e, "%s", "model.gguf");
    ck_assert_str_eq(e.text, "model.gguf: the header is short (at byte 4096)");
    error_clear(&e);
    error_param(&e, ERROR_INVALID_REQUEST, "top_k", "top_k must be an integer");
    ck_assert_str_eq(e.param, "top_k");
}
END_TEST

START_TEST(a_message_is_one_line_of_bounded_length)
{
    char text[2000];
    struct error e = {0};
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = 0;
    text[3] = '\n';
    text[4] = '\x1b';
    error_at(&e, ERROR_BAD_FORMAT, 5, "%s", text);
    ck_assert_uint_lt(strlen(e.text), sizeof e.text);
    ck_assert_ptr_null(strchr(e.text, '\n'));
    ck_assert_ptr_null(strchr(e.text, '\x1b'));
    error_prefix(&e, "%s", text);
    ck_assert_uint_lt(strlen(e.text), sizeof e.text);
    ck_assert_ptr_null(strchr(e.text, '\n'));
    error_clear(&e);
    error_param(&e, ERROR_BAD_OPTION, text, "x");
    ck_assert_uint_lt(strlen(e.param), sizeof e.param);
}
END_TEST

START_TEST(every_kind_has_a_face)
{
    for (int kind = ERROR_NONE + 1; kind < ERROR_KINDS; kind++) {
        int status = error_http_status((enum error_kind)kind);
        ck_assert_int_ge(status, 400);
        ck_assert_int_lt(status, 600);
        ck_assert_uint_gt(strlen(error_type((enum error_kind)kind)), 0);
        ck_assert_uint_gt(strlen(error_label((enum error_kind)kind)), 0);
    }
    ck_assert_int_eq(error_http_status(ERROR_CONTEXT_LENGTH), 400);
    ck_assert_str_eq(error_code(ERROR_CONTEXT_LENGTH), "context_length_exceeded");
    ck_assert_int_eq(error_http_status(ERROR_BAD_FORMAT), 500);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("error");
    TCase *tc = tcase_create("error");
    tcase_add_test(tc, the_first_error_wins);
    tcase_add_test(tc, a_missing_record_is_fine);
    tcase_add_test(tc, places_and_parameters_are_kept);
    tcase_add_test(tc, a_message_is_one_line_of_bounded_length);
    tcase_add_test(tc, every_kind_has_a_face);
    suite_add_tcase(suite, tc);
    return suite_run(suite);
}
