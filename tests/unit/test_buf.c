/* test_buf.c - growing, the ceiling, and the failure that sticks. */
#include <check.h>
#include <stdint.h>
#include <string.h>

#include "engine/base/buf.h"
#include "tests/unit/suite.h"

START_TEST(appends_add_up_and_end_in_a_zero)
{
    struct buf b;
    buf_init(&b, 1 << 20);
    for (int i = 0; i < 1000; i++)
        buf_printf(&b, "%d,", i);
    buf_add_text(&b, "end");
    buf_add(&b, "\0x", 2);
    ck_assert(!b.failed);
    ck_assert_uint_eq(b.len, 10 * 2 + 90 * 3 + 900 * 4 + 3 + 2);
    ck_assert_int_eq(b.data[b.len], 0);
    ck_assert_mem_eq(b.data + b.len - 5, "end\0x", 5);
    buf_drop_front(&b, b.len - 5);
    ck_assert_mem_eq(b.data, "end\0x", 6);
    buf_clear(&b);
    ck_assert_uint_eq(b.len, 0);
    buf_free(&b);
    ck_assert_ptr_null(b.data);
}
END_TEST

START_TEST(the_ceiling_holds_and_failure_sticks)
{
    struct buf b;
    buf_init(&b, 10);
    buf_add_text(&b, "0123456789");
    ck_assert(!b.failed);
    buf_add(&b, "x", 1);
    ck_assert(b.failed);
    ck_assert_uint_eq(b.len, 10);
    buf_clear(&b);
    ck_assert(!b.failed);
    buf_printf(&b, "%s", "12345678901");
    ck_assert(b.failed);
    buf_add(&b, "", 0);
    ck_assert(b.failed);
    buf_free(&b);
    buf_add(&b, "0123456789", SIZE_MAX);
    ck_assert(b.failed);
    buf_free(&b);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("buf");
    TCase *tc = tcase_create("buf");
    tcase_add_test(tc, appends_add_up_and_end_in_a_zero);
    tcase_add_test(tc, the_ceiling_holds_and_failure_sticks);
    suite_add_tcase(suite, tc);
    return suite_run(suite);
}
