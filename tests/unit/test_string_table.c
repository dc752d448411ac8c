/* test_string_table.c - texts to numbers, also with zero bytes, prefixes and many entries. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/string_table.h"
#include "tests/unit/suite.h"

START_TEST(every_text_is_found_and_no_other)
{
    enum { N = 50000 };
    struct string_table t;
    struct error e = {0};
    char(*texts)[24] = calloc(N, sizeof *texts);
    ck_assert_int_eq(string_table_init(&t, N, &e), 0);
    for (int i = 0; i < N; i++) {
        snprintf(texts[i], sizeof texts[i], "text %d", i);
        ck_assert_int_eq(string_table_add(&t, texts[i], strlen(texts[i]), i), -1);
    }
    for (int i = 0; i < N; i++) {
        char copy[32];
        int len = snprintf(copy, sizeof copy, "text %d", i);
        ck_assert_int_eq(string_table_find(&t, copy, (size_t)len), i);
        ck_assert_int_eq(string_table_add(&t, copy, (size_t)len, 7), i);
        len = snprintf(copy, sizeof copy, "no text %d", i);
        ck_assert_int_eq(string_table_find(&t, copy, (size_t)len), -1);
    }
    string_table_free(&t);
    free(texts);
}
END_TEST

START_TEST(length_and_zero_bytes_count)
{
    struct string_table t;
    struct error e = {0};
    ck_assert_int_eq(string_table_init(&t, 4, &e), 0);
    ck_assert_int_eq(string_table_add(&t, "a\0b", 3, 1), -1);
    ck_assert_int_eq(string_table_add(&t, "a\0", 2, 2), -1);
    ck_assert_int_eq(string_table_add(&t, "a", 1, 3), -1);
    ck_assert_int_eq(string_table_add(&t, "", 0, 4), -1);
    ck_assert_int_eq(string_table_find(&t, "a\0b", 3), 1);
    ck_assert_int_eq(string_table_find(&t, "a\0", 2), 2);
    ck_assert_int_eq(string_table_find(&t, "a", 1), 3);
    ck_assert_int_eq(string_table_find(&t, "", 0), 4);
    ck_assert_int_eq(string_table_find(&t, "a\0c", 3), -1);
    string_table_free(&t);
}
END_TEST

START_TEST(an_empty_table_has_nothing)
{
    struct string_table t = {0};
    ck_assert_int_eq(string_table_find(&t, "a", 1), -1);
    string_table_free(&t);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("string_table");
    TCase *tc = tcase_create("string_table");
    tcase_add_test(tc, every_text_is_found_and_no_other);
    tcase_add_test(tc, length_and_zero_bytes_count);
    tcase_add_test(tc, an_empty_table_has_nothing);
    suite_add_tcase(suite, tc);
    return suite_run(suite);
}
