/* pool.c - see pool.h.
 *
 * One 64-bit word, {round, next chunk}, hands out the work: taking a chunk is a compare-and-swap on
 * it, so a worker that slept through a round can neither take from it nor hold it up.  Between rounds
 * the word is CLOSED; only then are fn, context and first written, and a worker that read a mixture of
 * two rounds finds its swap refused.  The caller waits for finished chunks, never for threads.
 *
 * Two futexes: `round_bell`, for workers without work; `done`, for the caller. */
#include "engine/base/pool.h"

#include <linux/futex.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "engine/base/clock.h"

enum { POOL_THREADS_MAX = 1024, CACHE_LINE = 64, AHEAD_STEP = 1024 };
#define CLOSED      UINT32_MAX
#define ROUND_MAX   (UINT32_MAX / 2) /* chunks of one round; more are run as several rounds */
#define WORKER_SPIN 30000u           /* ns: longer than the serial stretches between two loops of a tick */
#define CALLER_SPIN 20000u           /* ns: a worker's last chunk is usually shorter */

struct worker {
    struct pool *pool;
    pthread_t thread;
    unsigned index;
};

struct pool {
    unsigned threads;
    unsigned started; /* of `workers` */
    struct worker *workers;

    _Alignas(CACHE_LINE) _Atomic uint64_t word; /* round << 32 | next chunk */
    _Atomic(pool_fn *) fn;
    _Atomic(void *) context;
    _Atomic size_t first;    /* added to chunk numbers */
    _Atomic uint32_t chunks; /* of this round */

    _Alignas(CACHE_LINE) _Atomic uintptr_t ahead; /* the next byte to bring in, up to ahead_end */
    _Atomic uintptr_t ahead_end;

    _Alignas(CACHE_LINE) _Atomic uint32_t round_bell;
    _Atomic uint32_t sleepers;
    _Atomic bool stop;

    _Alignas(CACHE_LINE) _Atomic uint32_t done; /* chunks finished in this round */
    _Atomic bool caller_sleeps;
};

static void futex_wait(_Atomic uint32_t *word, uint32_t expected)
{
    syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, expected, NULL, NULL, 0);
}

static void futex_wake(_Atomic uint32_t *word, int count)
{
    syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, count, NULL, NULL, 0);
}

static void relax(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

/* Spins until *word differs from old; false when the time is over. */
static bool spin(_Atomic uint32_t *word, uint32_t old, uint64_t ns)
{
    uint64_t start = clock_ns();
    do {
        for (int i = 0; i < 16; i++) {
            if (atomic_load_explicit(word, memory_order_acquire) != old)
                return true;
            relax();
        }
    } while (clock_ns() - start < ns);
    return false;
}

/* Takes chunks of the open round until there are none; returns how many it ran. */
static uint32_t work(struct pool *p, unsigned index)
{
    uint32_t ran = 0;
    uint64_t word = atomic_load(&p->word);
    for (;;) {
        uint32_t next = (uint32_t)word;
        pool_fn *fn = atomic_load_explicit(&p->fn, memory_order_acquire);
        void *context = atomic_load_explicit(&p->context, memory_order_acquire);
        size_t first = atomic_load_explicit(&p->first, memory_order_acquire);
        uint32_t chunks = atomic_load_explicit(&p->chunks, memory_order_acquire);
        if (next == CLOSED || next >= chunks)
            return ran;
        if (!atomic_compare_exchange_weak(&p->word, &word, word + 1))
            continue;
        fn(context, first + next, index);
        ran++;
        word = atomic_load(&p->word);
    }
}

static void report(struct pool *p, uint32_t ran)
{
    if (ran == 0)
        return;
    atomic_fetch_add(&p->done, ran);
    if (atomic_load(&p->caller_sleeps))
        futex_wake(&p->done, 1);
}

/* One step of what pool_read_ahead() asked for; false when nothing of it is left. */
static bool read_ahead(struct pool *p)
{
    uintptr_t end = atomic_load_explicit(&p->ahead_end, memory_order_relaxed);
    if (atomic_load_explicit(&p->ahead, memory_order_relaxed) >= end)
        return false;
    uintptr_t at = atomic_fetch_add_explicit(&p->ahead, AHEAD_STEP, memory_order_relaxed);
    for (uintptr_t line = at; line < at + AHEAD_STEP; line += CACHE_LINE)
        __builtin_prefetch((const void *)line, 0, 2); /* second-level cache */
    return true;
}

static void wait_for_round(struct pool *p, uint32_t seen)
{
    while (atomic_load_explicit(&p->round_bell, memory_order_acquire) == seen && read_ahead(p))
        ;
    if (spin(&p->round_bell, seen, WORKER_SPIN))
        return;
    atomic_fetch_add(&p->sleepers, 1);
    while (atomic_load(&p->round_bell) == seen)
        futex_wait(&p->round_bell, seen);
    atomic_fetch_sub(&p->sleepers, 1);
}

static void *worker_main(void *argument)
{
    struct worker *w = argument;
    struct pool *p = w->pool;
    uint32_t seen = 0;
    while (!atomic_load(&p->stop)) {
        wait_for_round(p, seen);
        seen = atomic_load(&p->round_bell);
        report(p, work(p, w->index));
    }
    return NULL;
}

static void ring(struct pool *p, int wanted)
{
    atomic_fetch_add(&p->round_bell, 1);
    if (atomic_load(&p->sleepers))
        futex_wake(&p->round_bell, wanted);
}

static void wait_for_chunks(struct pool *p, uint32_t chunks)
{
    for (;;) {
        uint32_t done = atomic_load(&p->done);
        if (done == chunks)
            return;
        if (spin(&p->done, done, CALLER_SPIN))
            continue;
        atomic_store(&p->caller_sleeps, true);
        if (atomic_load(&p->done) == done)
            futex_wait(&p->done, done);
        atomic_store(&p->caller_sleeps, false);
    }
}

static void run_round(struct pool *p, size_t first, uint32_t chunks, pool_fn *fn, void *context)
{
    uint64_t round = (atomic_load(&p->word) >> 32) + 1;
    atomic_store_explicit(&p->fn, fn, memory_order_release);
    atomic_store_explicit(&p->context, context, memory_order_release);
    atomic_store_explicit(&p->first, first, memory_order_release);
    atomic_store_explicit(&p->chunks, chunks, memory_order_release);
    atomic_store(&p->done, 0);
    atomic_store(&p->word, round << 32);
    unsigned helpers = p->started < chunks - 1 ? p->started : chunks - 1;
    ring(p, (int)helpers);
    uint32_t ran = work(p, 0);
    atomic_fetch_add(&p->done, ran);
    wait_for_chunks(p, chunks);
    atomic_store(&p->word, round << 32 | CLOSED);
}

void pool_run(struct pool *p, size_t chunks, pool_fn *fn, void *context)
{
    if (p->started == 0 || chunks <= 1) {
        for (size_t i = 0; i < chunks; i++)
            fn(context, i, 0);
        return;
    }
    for (size_t first = 0; first < chunks; first += ROUND_MAX) {
        size_t left = chunks - first;
        run_round(p, first, (uint32_t)(left < ROUND_MAX ? left : ROUND_MAX), fn, context);
    }
}

static int start_workers(struct pool *p, struct error *e)
{
    for (unsigned i = 0; i + 1 < p->threads; i++) {
        p->workers[i] = (struct worker){.pool = p, .index = i + 1};
        if (pthread_create(&p->workers[i].thread, NULL, worker_main, &p->workers[i]) != 0)
            return error_set(e, ERROR_OUT_OF_MEMORY, "cannot start thread %u of %u", i + 2, p->threads);
        p->started++;
    }
    return 0;
}

int pool_create(unsigned threads, struct pool **out, struct error *e)
{
    if (threads < 1 || threads > POOL_THREADS_MAX)
        return error_set(e, ERROR_BAD_OPTION, "%u threads: allowed are 1 to %d", threads, POOL_THREADS_MAX);
    struct pool *p = aligned_alloc(CACHE_LINE, sizeof *p);
    if (!p)
        return error_no_memory(e);
    *p = (struct pool){.threads = threads, .word = CLOSED};
    p->workers = calloc(threads, sizeof *p->workers);
    if (!p->workers) {
        free(p);
        return error_no_memory(e);
    }
    if (start_workers(p, e) < 0) {
        pool_free(p);
        return -1;
    }
    *out = p;
    return 0;
}

void pool_free(struct pool *p)
{
    if (!p)
        return;
    atomic_store(&p->stop, true);
    ring(p, (int)p->threads);
    for (unsigned i = 0; i < p->started; i++)
        pthread_join(p->workers[i].thread, NULL);
    free(p->workers);
    free(p);
}

void pool_read_ahead(struct pool *p, const void *start, size_t bytes)
{
    atomic_store_explicit(&p->ahead_end, 0, memory_order_relaxed);
    atomic_store_explicit(&p->ahead, (uintptr_t)start, memory_order_relaxed);
    atomic_store_explicit(&p->ahead_end, (uintptr_t)start + bytes, memory_order_relaxed);
}

unsigned pool_threads(const struct pool *p)
{
    return p->threads;
}
