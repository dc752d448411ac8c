/* exec.c - a kernel set, a pool and the scratch memory of both the caller and the workers.
 * Scratch only grows; one loop's use of it ends before the next begins.
 * Thread: one at a time; exec_scratch() by the worker that it names. */
#include <stdlib.h>

#include "engine/base/machine.h"
#include "engine/kernels/set.h"

enum { ALIGNMENT = 64 };

struct scratch {
    void *data;
    size_t bytes;
};

struct exec {
    const struct kernel_set *set;
    struct pool *pool;
    enum arithmetic arithmetic;
    size_t prompt_rows; /* of the calls to come */
    enum prompt_precision prompt_precision;
    enum precision precision;
    bool fixed_allowed;
    size_t converted;
    uint64_t weight_bytes, cache_bytes;
    struct scratch shared[EXEC_BUFFERS];
    struct scratch *workers; /* pool_threads() of them */
};

int exec_create(const struct kernel_set *set, struct pool *pool, struct exec **out, struct error *e)
{
    struct exec *x = calloc(1, sizeof *x);
    if (!x)
        return error_no_memory(e);
    x->set = set;
    x->pool = pool;
    x->cache_bytes = machine_cache();
    x->workers = calloc(pool_threads(pool), sizeof *x->workers);
    if (!x->workers) {
        free(x);
        return error_no_memory(e);
    }
    *out = x;
    return 0;
}

void exec_free(struct exec *x)
{
    if (!x)
        return;
    for (unsigned i = 0; i < pool_threads(x->pool); i++)
        free(x->workers[i].data);
    free(x->workers);
    for (int i = 0; i < EXEC_BUFFERS; i++)
        free(x->shared[i].data);
    free(x);
}

struct pool *exec_pool(const struct exec *x)
{
    return x->pool;
}

const struct kernel_set *exec_kernels(const struct exec *x)
{
    return x->set;
}

void exec_set_arithmetic(struct exec *x, enum arithmetic a)
{
    x->arithmetic = a;
}

enum arithmetic exec_arithmetic(const struct exec *x)
{
    return x->arithmetic;
}

bool exec_prompt_differs(const struct exec *x)
{
    return x->arithmetic == ARITHMETIC_FAST && x->set->prompt;
}

void exec_set_prompt_rows(struct exec *x, size_t n, enum prompt_precision precision)
{
    x->prompt_rows = n;
    x->prompt_precision = precision;
}

enum prompt_precision exec_prompt_precision(const struct exec *x)
{
    return x->prompt_precision;
}

size_t exec_prompt_rows(const struct exec *x, size_t rows)
{
    if (!exec_prompt_differs(x))
        return 0;
    return rows < x->prompt_rows ? rows : x->prompt_rows;
}

void exec_set_precision(struct exec *x, enum precision p)
{
    x->precision = p;
}

enum precision exec_precision(const struct exec *x)
{
    return x->precision;
}

void exec_allow_fixed(struct exec *x, bool allow)
{
    x->fixed_allowed = allow;
}

bool exec_fixes(const struct exec *x)
{
    return x->fixed_allowed && x->arithmetic == ARITHMETIC_FAST && x->set->fixed;
}

void exec_count_converted(struct exec *x)
{
    x->converted++;
}

size_t exec_converted(const struct exec *x)
{
    return x->converted;
}

void exec_set_weight_bytes(struct exec *x, uint64_t bytes)
{
    x->weight_bytes = bytes;
}

bool exec_streams_weights(const struct exec *x)
{
    return x->weight_bytes > x->cache_bytes;
}

static void *grow(struct scratch *s, size_t bytes)
{
    if (bytes <= s->bytes)
        return s->data;
    size_t whole;
    if (__builtin_add_overflow(bytes, ALIGNMENT - 1, &whole))
        return NULL;
    whole -= whole % ALIGNMENT;
    void *data = aligned_alloc(ALIGNMENT, whole);
    if (!data)
        return NULL;
    free(s->data);
    s->data = data;
    s->bytes = whole;
    return data;
}

float *exec_scratch(struct exec *x, unsigned worker, size_t floats)
{
    size_t bytes;
    if (__builtin_mul_overflow(floats, sizeof(float), &bytes))
        return NULL;
    return grow(&x->workers[worker], bytes);
}

void *exec_shared(struct exec *x, enum exec_buffer buffer, size_t bytes)
{
    return grow(&x->shared[buffer], bytes);
}
