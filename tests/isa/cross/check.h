/* check.h - as much of libcheck as tests/isa uses, for programs of another processor where the library is not
 * at hand: every test runs in this one process, the first failure ends it. */
#ifndef LOQUAT_TESTS_CROSS_CHECK_H
#define LOQUAT_TESTS_CROSS_CHECK_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CROSS_TESTS = 64, CK_ENV = 0 };

typedef struct {
    void (*run)(int _i);
    const char *name;
    int first, end;
} cross_test;

typedef struct {
    cross_test tests[CROSS_TESTS];
    int n;
} TCase, Suite, SRunner;

#define ck_abort_msg(...)                                                                                    \
    (fprintf(stderr, "%s:%d: ", __FILE__, __LINE__), fprintf(stderr, __VA_ARGS__), fputc('\n', stderr),      \
     exit(1))
#define ck_assert_msg(condition, ...) ((condition) ? (void)0 : ck_abort_msg(__VA_ARGS__))
#define ck_assert(condition)          ck_assert_msg(condition, "%s", #condition)
#define ck_assert_int_eq(a, b)        ck_assert((long long)(a) == (long long)(b))
#define ck_assert_uint_eq(a, b)       ck_assert((unsigned long long)(a) == (unsigned long long)(b))
#define ck_assert_uint_gt(a, b)       ck_assert((unsigned long long)(a) > (unsigned long long)(b))
#define ck_assert_double_le(a, b)     ck_assert((a) <= (b))
#define ck_assert_float_eq(a, b)      ck_assert((a) == (b))
#define ck_assert_float_le(a, b)      ck_assert((a) <= (b))
#define ck_assert_ptr_null(p)         ck_assert((p) == NULL)
#define ck_assert_ptr_nonnull(p)      ck_assert((p) != NULL)
#define ck_assert_ptr_eq(a, b)        ck_assert((a) == (b))
#define ck_assert_str_eq(a, b)        ck_assert(strcmp(a, b) == 0)
#define ck_assert_str_ne(a, b)        ck_assert(strcmp(a, b) != 0)
#define ck_assert_mem_eq(a, b, n)     ck_assert(memcmp(a, b, n) == 0)
#define ck_assert_mem_ne(a, b, n)     ck_assert(memcmp(a, b, n) != 0)

#define START_TEST(name) static void name(int _i __attribute__((unused)))
#define END_TEST

#define tcase_create(name)                  ((TCase *)calloc(1, sizeof(TCase)))
#define suite_create(name)                  ((Suite *)calloc(1, sizeof(Suite)))
#define tcase_set_timeout(c, seconds)       ((void)(seconds))
#define tcase_add_test(c, f)                cross_add(c, f, #f, 0, 1)
#define tcase_add_loop_test(c, f, from, to) cross_add(c, f, #f, from, to)

static inline void cross_add(TCase *c, void (*run)(int), const char *name, int first, int end)
{
    if (c->n == CROSS_TESTS)
        ck_abort_msg("more than %d tests", CROSS_TESTS);
    c->tests[c->n++] = (cross_test){run, name, first, end};
}

static inline void suite_add_tcase(Suite *s, TCase *c)
{
    for (int i = 0; i < c->n; i++)
        cross_add(s, c->tests[i].run, c->tests[i].name, c->tests[i].first, c->tests[i].end);
    free(c);
}

static inline SRunner *srunner_create(Suite *s)
{
    return s;
}

static inline void srunner_run_all(SRunner *r, int mode)
{
    (void)mode;
    int ran = 0;
    for (int t = 0; t < r->n; t++)
        for (int i = r->tests[t].first; i < r->tests[t].end; i++, ran++)
            r->tests[t].run(i);
    printf("100%%: Checks: %d, Failures: 0, Errors: 0\n", ran);
}

static inline int srunner_ntests_failed(const SRunner *r)
{
    (void)r;
    return 0; /* the first failure ended the program */
}

static inline void srunner_free(SRunner *r)
{
    free(r);
}

#endif
