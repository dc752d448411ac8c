/* test_pool.c - every chunk once, on a worker that exists, visible to the caller; rounds back to back,
 * after naps, of all sizes, with more threads than processors. */
#include <check.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/base/pool.h"
#include "tests/unit/suite.h"

enum { CHUNKS_MAX = 5000 };

struct tally {
    unsigned threads;
    unsigned char ran[CHUNKS_MAX]; /* not atomic: chunks belong to one worker, the caller reads afterwards */
    atomic_uint busy[64];          /* calls inside, per worker */
    atomic_uint overlaps;
};

static void count_chunk(void *context, size_t chunk, unsigned worker)
{
    struct tally *t = context;
    if (worker >= t->threads || atomic_fetch_add(&t->busy[worker], 1) != 0)
        atomic_fetch_add(&t->overlaps, 1);
    t->ran[chunk]++;
    if (worker < t->threads)
        atomic_fetch_sub(&t->busy[worker], 1);
}

static void run_and_check(struct pool *p, struct tally *t, size_t chunks)
{
    memset(t->ran, 0, sizeof t->ran);
    t->threads = pool_threads(p);
    pool_run(p, chunks, count_chunk, t);
    size_t wrong = 0; /* one assertion a round: each costs a write to the parent */
    for (size_t i = 0; i < CHUNKS_MAX; i++)
        wrong += t->ran[i] != (i < chunks ? 1 : 0);
    ck_assert_uint_eq(wrong, 0);
    ck_assert_uint_eq(atomic_load(&t->overlaps), 0);
}

static struct pool *make(unsigned threads)
{
    struct pool *p;
    struct error e;
    error_clear(&e);
    ck_assert_msg(pool_create(threads, &p, &e) == 0, "%s", e.text);
    ck_assert_uint_eq(pool_threads(p), threads);
    return p;
}

START_TEST(each_chunk_runs_once)
{
    static const size_t sizes[] = {0, 1, 2, 3, 7, 64, 1000, CHUNKS_MAX};
    struct tally *t = calloc(1, sizeof *t);
    for (unsigned threads = 1; threads <= 9; threads += 2) {
        struct pool *p = make(threads);
        for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
            run_and_check(p, t, sizes[i]);
        pool_free(p);
    }
    free(t);
}
END_TEST

START_TEST(rounds_follow_each_other_at_once)
{
    struct tally *t = calloc(1, sizeof *t);
    struct pool *p = make(4);
    for (size_t i = 0; i < 3000; i++)
        run_and_check(p, t, i % 17);
    pool_free(p);
    free(t);
}
END_TEST

START_TEST(workers_wake_from_sleep)
{
    struct tally *t = calloc(1, sizeof *t);
    struct pool *p = make(4);
    for (size_t i = 0; i < 30; i++) {
        usleep(1000); /* far longer than the spin */
        run_and_check(p, t, 40);
    }
    pool_free(p);
    free(t);
}
END_TEST

static void slow_for_one(void *context, size_t chunk, unsigned worker)
{
    (void)worker;
    if (chunk == 0)
        usleep(20000);
    atomic_fetch_add((atomic_uint *)context, 1);
}

START_TEST(the_caller_waits_for_a_slow_chunk)
{
    struct pool *p = make(3);
    for (int i = 0; i < 5; i++) {
        atomic_uint done = 0;
        pool_run(p, 8, slow_for_one, &done);
        ck_assert_uint_eq(atomic_load(&done), 8);
    }
    pool_free(p);
}
END_TEST

START_TEST(pools_start_and_end_without_work)
{
    for (unsigned i = 0; i < 50; i++)
        pool_free(make(1 + i % 5));
    pool_free(NULL);
}
END_TEST

/* It is a wish about memory: whatever lies there, or nothing, rounds run as ever. */
START_TEST(reading_ahead_changes_nothing_else)
{
    static const unsigned char some[100000];
    struct tally *t = calloc(1, sizeof *t);
    struct pool *p = make(3);
    for (int i = 0; i < 200; i++) {
        pool_read_ahead(p, some + i, sizeof some);
        run_and_check(p, t, 50);
        pool_read_ahead(p, NULL, 1 << 20);
        run_and_check(p, t, 2);
        pool_read_ahead(p, (const void *)(UINTPTR_MAX - 100), 4096);
        run_and_check(p, t, 3);
        if (i % 50 == 0)
            usleep(100);
    }
    pool_free(p);
    free(t);
}
END_TEST

START_TEST(silly_thread_counts_are_refused)
{
    struct pool *p = NULL;
    struct error e;
    error_clear(&e);
    ck_assert_int_eq(pool_create(0, &p, &e), -1);
    ck_assert_int_eq(e.kind, ERROR_BAD_OPTION);
    error_clear(&e);
    ck_assert_int_eq(pool_create(1000000, &p, &e), -1);
    ck_assert_ptr_null(p);
}
END_TEST

int main(void)
{
    TCase *c = tcase_create("pool");
    tcase_set_timeout(c, 120);
    tcase_add_test(c, each_chunk_runs_once);
    tcase_add_test(c, rounds_follow_each_other_at_once);
    tcase_add_test(c, workers_wake_from_sleep);
    tcase_add_test(c, the_caller_waits_for_a_slow_chunk);
    tcase_add_test(c, pools_start_and_end_without_work);
    tcase_add_test(c, reading_ahead_changes_nothing_else);
    tcase_add_test(c, silly_thread_counts_are_refused);
    Suite *suite = suite_create("pool");
    suite_add_tcase(suite, c);
    return suite_run(suite);
}
