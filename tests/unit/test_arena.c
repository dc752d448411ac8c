/* test_arena.c - alignment, zeroes, and the ceiling that no request may pass. */
#include <check.h>
#include <stdint.h>
#include <string.h>

#include "engine/base/arena.h"
#include "tests/unit/suite.h"

START_TEST(memory_is_zeroed_aligned_and_its_own)
{
    struct arena *a = arena_create(8u << 20);
    unsigned char *before = NULL;
    for (size_t n = 0; n < 3000; n++) {
        unsigned char *p = arena_alloc(a, n, 1);
        ck_assert_ptr_nonnull(p);
        ck_assert_uint_eq((uintptr_t)p % 16, 0);
        for (size_t i = 0; i < n; i++) {
            if (p[i] != 0)
                ck_abort_msg("byte %zu of %zu is not zero", i, n);
        }
        memset(p, 0xAA, n);
        if (n > 1)
            ck_assert_uint_eq(before[n - 2], 0xAA);
        before = p;
    }
    arena_free(a);
    arena_free(NULL);
}
END_TEST

START_TEST(the_ceiling_holds)
{
    struct arena *a = arena_create(1000);
    ck_assert_ptr_null(arena_alloc(a, 1001, 1));
    ck_assert_ptr_nonnull(arena_alloc(a, 500, 1));
    ck_assert_ptr_null(arena_alloc(a, 500, 1)); /* 500 is rounded up to 512 */
    ck_assert_ptr_nonnull(arena_alloc(a, 480, 1));
    ck_assert_uint_le(arena_used(a), 1000);
    ck_assert_ptr_null(arena_copy(a, "0123456789abcdef", 16));
    ck_assert_ptr_null(arena_printf(a, "%s", "0123456789abcdef"));
    arena_free(a);
}
END_TEST

START_TEST(sizes_that_overflow_are_refused)
{
    struct arena *a = arena_create(SIZE_MAX);
    ck_assert_ptr_null(arena_alloc(a, SIZE_MAX / 2, 3));
    ck_assert_ptr_null(arena_copy(a, "x", SIZE_MAX));
    arena_free(a);
}
END_TEST

START_TEST(texts_are_copied_with_their_zero)
{
    struct arena *a = arena_create(1 << 20);
    char source[] = "a\0b";
    char *copy = arena_copy(a, source, 3);
    source[0] = 'z';
    ck_assert_mem_eq(copy, "a\0b\0", 4);
    ck_assert_str_eq(arena_printf(a, "%s-%d", "n", 42), "n-42");
    ck_assert_str_eq(arena_copy(a, NULL, 0), "");
    arena_free(a);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("arena");
    TCase *tc = tcase_create("arena");
    tcase_add_test(tc, memory_is_zeroed_aligned_and_its_own);
    tcase_add_test(tc, the_ceiling_holds);
    tcase_add_test(tc, sizes_that_overflow_are_refused);
    tcase_add_test(tc, texts_are_copied_with_their_zero);
    suite_add_tcase(suite, tc);
    return suite_run(suite);
}
