/* rows.c - element work over rows: norms, sums, gates, rotary positions; and what is read off logits.
 * Small calls stay on the calling thread: below MIN_ELEMENTS waking the pool costs more than it saves. */
#include <math.h>

#include "engine/kernels/set.h"

enum { MIN_ELEMENTS = 16384, CHUNK_ELEMENTS = 4096 };

/* Runs fn over `count` items of `size` elements each, in chunks of whole items. */
struct span_loop {
    void (*fn)(const void *context, size_t first, size_t count);
    const void *context;
    size_t count, per_chunk;
};

static void span_chunk(void *context, size_t chunk, unsigned worker)
{
    const struct span_loop *l = context;
    (void)worker;
    size_t first = chunk * l->per_chunk, left = l->count - first;
    l->fn(l->context, first, left < l->per_chunk ? left : l->per_chunk);
}

static void run_spans(struct exec *e, size_t count, size_t size,
                      void (*fn)(const void *context, size_t first, size_t count), const void *context)
{
    size_t whole = MIN_ELEMENTS / (size ? size : 1);
    if (count == 0)
        return;
    if (count <= whole || count == 1) {
        fn(context, 0, count);
        return;
    }
    size_t per_chunk = CHUNK_ELEMENTS / (size ? size : 1);
    struct span_loop l = {fn, context, count, per_chunk ? per_chunk : 1};
    pool_run(exec_pool(e), (count + l.per_chunk - 1) / l.per_chunk, span_chunk, &l);
}

struct norm_call {
    const struct kernel_set *set;
    float *out;
    const float *x, *scale, *bias;
    size_t cols;
    float eps;
};

static void rms_norm_rows(const void *context, size_t first, size_t count)
{
    const struct norm_call *c = context;
    for (size_t r = first; r < first + count; r++)
        c->set->rms_norm(c->out + r * c->cols, c->x + r * c->cols, c->cols, c->scale, c->eps);
}

void rms_norm(struct exec *e, float *out, const float *x, size_t rows, size_t cols, const float *scale,
              float eps)
{
    struct norm_call c = {exec_kernels(e), out, x, scale, NULL, cols, eps};
    run_spans(e, rows, cols, rms_norm_rows, &c);
}

static void layer_norm_rows(const void *context, size_t first, size_t count)
{
    const struct norm_call *c = context;
    for (size_t r = first; r < first + count; r++)
        c->set->layer_norm(c->out + r * c->cols, c->x + r * c->cols, c->cols, c->scale, c->bias, c->eps);
}

void layer_norm(struct exec *e, float *out, const float *x, size_t rows, size_t cols, const float *scale,
                const float *bias, float eps)
{
    struct norm_call c = {exec_kernels(e), out, x, scale, bias, cols, eps};
    run_spans(e, rows, cols, layer_norm_rows, &c);
}

struct pair_call {
    void (*fn)(float *x, const float *y, size_t n);
    float *x;
    const float *y;
};

static void pair_elements(const void *context, size_t first, size_t count)
{
    const struct pair_call *c = context;
    c->fn(c->x + first, c->y + first, count);
}

void add_to(struct exec *e, float *x, const float *y, size_t n)
{
    struct pair_call c = {exec_kernels(e)->add, x, y};
    run_spans(e, n, 1, pair_elements, &c);
}

struct scale_call {
    float *x, factor;
};

static void scale_elements(const void *context, size_t first, size_t count)
{
    const struct scale_call *c = context;
    for (size_t i = first; i < first + count; i++)
        c->x[i] *= c->factor;
}

void scale_by(struct exec *e, float *x, float factor, size_t n)
{
    struct scale_call c = {x, factor};
    run_spans(e, n, 1, scale_elements, &c);
}

struct activation_call {
    const struct kernel_set *set;
    enum activation f;
    float *x;
    const float *up;
};

static void activate_elements(const void *context, size_t first, size_t count)
{
    const struct activation_call *c = context;
    c->set->activate(c->f, c->x + first, c->up ? c->up + first : NULL, count);
}

void activate(struct exec *e, enum activation f, float *x, size_t n)
{
    struct activation_call c = {exec_kernels(e), f, x, NULL};
    if (f != ACTIVATION_NONE)
        run_spans(e, n, 1, activate_elements, &c);
}

void activate_gate(struct exec *e, enum activation f, float *gate, const float *up, size_t n)
{
    struct activation_call c = {exec_kernels(e), f, gate, up};
    run_spans(e, n, 1, activate_elements, &c);
}

struct rotary_call {
    const struct kernel_set *set;
    const struct rotary *r;
    float *x;
    size_t heads, head_dim;
    const uint32_t *position;
};

static void rotary_rows(const void *context, size_t first, size_t count)
{
    const struct rotary_call *c = context;
    for (size_t r = first; r < first + count; r++) {
        const float *table = c->r->table + c->position[r] * 2 * c->r->half;
        for (size_t h = 0; h < c->heads; h++)
            c->set->rotary(c->x + (r * c->heads + h) * c->head_dim, table, c->r->half, c->r->interleaved);
    }
}

void rotary_apply(struct exec *e, const struct rotary *r, float *x, size_t rows, size_t heads,
                  size_t head_dim, const uint32_t *position)
{
    struct rotary_call c = {exec_kernels(e), r, x, heads, head_dim, position};
    run_spans(e, rows, heads * head_dim, rotary_rows, &c);
}

/* The maximum first, in lanes that compilers turn into vectors; then where it is. */
size_t row_argmax(const float *x, size_t n)
{
    float lane[16], best = -INFINITY;
    for (size_t j = 0; j < 16; j++)
        lane[j] = -INFINITY;
    size_t whole = n - n % 16;
    for (size_t i = 0; i < whole; i += 16)
        for (size_t j = 0; j < 16; j++)
            lane[j] = x[i + j] > lane[j] ? x[i + j] : lane[j];
    for (size_t i = whole; i < n; i++)
        best = x[i] > best ? x[i] : best;
    for (size_t j = 0; j < 16; j++)
        best = lane[j] > best ? lane[j] : best;
    for (size_t i = 0; i < n; i++)
        if (x[i] == best)
            return i;
    return 0; /* nothing but not-a-numbers */
}

float row_log_sum_exp(const struct kernel_set *set, const float *x, size_t n)
{
    return set->log_sum_exp(x, n);
}
