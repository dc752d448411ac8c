/* linear_prompt.c - matrix products of prompt rows, by a set that computes them in a way of its own.
 * Rows are packed once per group of parts, in parallel; then a chunk is a pair of panels times as many rows
 * as fit into the second-level cache beside them: what a set makes of a panel pays only when many rows use
 * it. How it is cut never shows in the results: a set sums every output in one order. */
#include <stdatomic.h>
#include <string.h>

#include "engine/kernels/set.h"

enum {
    ROWS_BYTES =
        1 << 20,     /* packed rows of a chunk: half of the second-level cache of processors with tiles */
    ROWS_LEAST = 256 /* of a chunk, where rows are long: making panels costs as much as 100 rows or so */
};

struct prompt_call {
    struct exec *e;
    const struct prompt_kernels *kernels;
    const struct row_norm *norm; /* of x, or NULL */
    const float *x;
    size_t rows, cols;
    size_t group_bytes, groups;
    uint8_t *packed; /* (pieces, groups, group_bytes) */
    size_t piece_bytes;
    unsigned pieces; /* the most that a part wants */
    const struct linear_part *parts;
    size_t n_parts;
    size_t rows_per_chunk, row_chunks;
    const struct feed_forward *f;     /* of a feed forward's first half, or NULL */
    const struct prompt_call *middle; /* that packs what lies between */
    atomic_bool failed;
};

static void pack_group(void *context, size_t group, unsigned worker)
{
    struct prompt_call *c = context;
    size_t first = group * PROMPT_GROUP, left = c->rows - first,
           rows = left < PROMPT_GROUP ? left : PROMPT_GROUP;
    const float *x = c->x + first * c->cols;
    float *normed = c->norm ? exec_scratch(c->e, worker, rows * c->cols) : NULL;
    if (c->norm && !normed) {
        atomic_store(&c->failed, true);
        return;
    }
    for (size_t r = 0; normed && r < rows; r++)
        row_norm_apply(exec_kernels(c->e), c->norm, normed + r * c->cols, x + r * c->cols, c->cols);
    c->kernels->pack(normed ? normed : x, rows, c->cols, c->pieces, c->packed + group * c->group_bytes,
                     c->piece_bytes);
}

/* Quantised weights have fewer bits than one piece keeps, rounded ones just as many. */
static unsigned pieces_of(const struct prompt_call *c, const struct weight *w)
{
    return dtype_is_quantised(w->dtype) || w->rounded ? 1 : (unsigned)exec_prompt_precision(c->e);
}

static int place_packed(struct prompt_call *c, enum exec_buffer buffer)
{
    size_t bytes;
    for (size_t i = 0; i < c->n_parts; i++) {
        unsigned pieces = pieces_of(c, c->parts[i].w);
        c->pieces = pieces > c->pieces ? pieces : c->pieces;
    }
    if (__builtin_mul_overflow(c->groups, c->group_bytes, &c->piece_bytes) ||
        __builtin_mul_overflow(c->piece_bytes, c->pieces, &bytes))
        return -1;
    c->packed = exec_shared(c->e, buffer, bytes);
    return c->packed ? 0 : -1;
}

static int pack_rows(struct prompt_call *c)
{
    TRY(place_packed(c, EXEC_INPUT));
    pool_run(exec_pool(c->e), c->groups, pack_group, c);
    return atomic_load(&c->failed) ? -1 : 0;
}

static size_t pairs_of(const struct weight *w)
{
    return (w->rows + PROMPT_PANELS * PANEL_ROWS - 1) / (PROMPT_PANELS * PANEL_ROWS);
}

/* Up to rows_per_chunk rows from `row` on by a pair of panels; out, stride and scratch are the caller's. */
static struct prompt_tile tile_of(const struct prompt_call *c, const struct linear_part *p, size_t pair,
                                  size_t row)
{
    const struct weight *w = p->w;
    size_t panel = pair * PROMPT_PANELS, cols_left = w->rows - panel * PANEL_ROWS, rows_left = c->rows - row;
    struct prompt_tile t = {.dtype = w->dtype,
                            .panel_bytes = panel_bytes(w->dtype, w->cols),
                            .cols = c->cols,
                            .pieces = pieces_of(c, w),
                            .piece_bytes = c->piece_bytes,
                            .add = p->add,
                            .bias = p->bias ? p->bias + panel * PANEL_ROWS : NULL};
    t.panels = (const uint8_t *)w->panels + panel * t.panel_bytes;
    t.out_cols = cols_left < PROMPT_PANELS * PANEL_ROWS ? cols_left : PROMPT_PANELS * PANEL_ROWS;
    t.n_panels = (t.out_cols + PANEL_ROWS - 1) / PANEL_ROWS;
    t.rows = rows_left < c->rows_per_chunk ? rows_left : c->rows_per_chunk;
    t.x = c->packed + row / PROMPT_GROUP * c->group_bytes;
    return t;
}

static void run_tile(struct prompt_call *c, const struct linear_part *p, size_t pair, size_t row,
                     unsigned worker)
{
    struct prompt_tile t = tile_of(c, p, pair, row);
    t.out = p->out + row * p->stride + pair * PROMPT_PANELS * PANEL_ROWS;
    t.stride = p->stride;
    t.scratch = exec_scratch(c->e, worker, c->kernels->scratch_bytes(c->cols) / sizeof(float));
    if (t.scratch)
        c->kernels->linear(&t);
    else
        atomic_store(&c->failed, true);
}

/* Chunks count pairs of panels fastest, so that all of them pass by the same rows. */
static void prompt_chunk(void *context, size_t chunk, unsigned worker)
{
    struct prompt_call *c = context;
    size_t pairs = 0;
    for (size_t i = 0; i < c->n_parts; i++)
        pairs += pairs_of(c->parts[i].w);
    size_t row = chunk / pairs * c->rows_per_chunk, pair = chunk % pairs;
    for (size_t i = 0; i < c->n_parts; i++) {
        if (pair < pairs_of(c->parts[i].w)) {
            run_tile(c, &c->parts[i], pair, row, worker);
            return;
        }
        pair -= pairs_of(c->parts[i].w);
    }
}

/* Whole groups, all chunks about alike. */
static void choose_rows(struct prompt_call *c)
{
    size_t most = ROWS_BYTES / (c->group_bytes * c->pieces) * PROMPT_GROUP;
    most = most < ROWS_LEAST ? ROWS_LEAST : most;
    c->row_chunks = (c->rows + most - 1) / most;
    size_t even = (c->groups + c->row_chunks - 1) / c->row_chunks;
    even += even % 2; /* tiles take two groups at a time */
    c->rows_per_chunk = even * PROMPT_GROUP;
    c->row_chunks = (c->rows + c->rows_per_chunk - 1) / c->rows_per_chunk;
}

static struct prompt_call call_of(struct exec *e, const float *x, size_t rows,
                                  const struct linear_part *parts, size_t n_parts)
{
    const struct prompt_kernels *kernels = exec_kernels(e)->prompt;
    size_t cols = parts[0].w->cols;
    return (struct prompt_call){.e = e,
                                .kernels = kernels,
                                .x = x,
                                .rows = rows,
                                .cols = cols,
                                .group_bytes = kernels->group_bytes(cols),
                                .groups = (rows + PROMPT_GROUP - 1) / PROMPT_GROUP,
                                .parts = parts,
                                .n_parts = n_parts};
}

static int run_packed(struct prompt_call *c)
{
    size_t pairs = 0;
    for (size_t i = 0; i < c->n_parts; i++)
        pairs += pairs_of(c->parts[i].w);
    choose_rows(c);
    pool_run(exec_pool(c->e), pairs * c->row_chunks, prompt_chunk, c);
    return atomic_load(&c->failed) ? -1 : 0;
}

int linear_prompt(struct exec *e, const struct row_norm *norm, const float *x, size_t rows,
                  const struct linear_part *parts, size_t n_parts)
{
    struct prompt_call c = call_of(e, x, rows, parts, n_parts);
    c.norm = norm;
    TRY(pack_rows(&c));
    return run_packed(&c);
}

/* ---- a feed forward block ---------------------------------------------------------------------- */

/* A pair of panels of up and of gate, whose columns are one step of the second product's. */
static void ff_chunk(void *context, size_t chunk, unsigned worker)
{
    struct prompt_call *c = context;
    const struct prompt_call *to = c->middle;
    size_t pairs = pairs_of(c->parts[0].w), row = chunk / pairs * c->rows_per_chunk, pair = chunk % pairs;
    size_t own = c->kernels->scratch_bytes(c->cols) / sizeof(float), width = PROMPT_PANELS * PANEL_ROWS;
    float *scratch = exec_scratch(c->e, worker, own + c->n_parts * c->rows_per_chunk * width), *out[2];
    if (!scratch) {
        atomic_store(&c->failed, true);
        return;
    }
    struct prompt_tile t;
    for (size_t i = 0; i < c->n_parts; i++) {
        t = tile_of(c, &c->parts[i], pair, row);
        out[i] = t.out = scratch + own + i * t.rows * t.out_cols;
        t.stride = t.out_cols;
        t.scratch = scratch;
        c->kernels->linear(&t);
    }
    float *gate = out[c->n_parts - 1];
    exec_kernels(c->e)->activate(c->f->activation, gate, c->n_parts > 1 ? out[0] : NULL, t.rows * t.out_cols);
    for (size_t r = 0; r < t.rows; r += PROMPT_GROUP)
        c->kernels->pack(gate + r * t.out_cols, t.rows - r < PROMPT_GROUP ? t.rows - r : PROMPT_GROUP,
                         t.out_cols, to->pieces,
                         to->packed + (row + r) / PROMPT_GROUP * to->group_bytes +
                             c->kernels->group_bytes(pair * width),
                         to->piece_bytes);
}

int feed_forward_prompt(struct exec *e, const struct row_norm *norm, const float *x, size_t rows,
                        const struct feed_forward *f)
{
    struct linear_part parts[2] = {{.w = f->up, .bias = f->up_bias}, {.w = f->gate, .bias = f->gate_bias}};
    struct prompt_call c = call_of(e, x, rows, parts, f->gate ? 2 : 1);
    struct prompt_call down = call_of(e, NULL, rows, &f->down, 1);
    c.norm = norm;
    c.f = f;
    c.middle = &down;
    TRY(pack_rows(&c));
    TRY(place_packed(&down, EXEC_MIDDLE));
    choose_rows(&c);
    pool_run(exec_pool(e), pairs_of(f->up) * c.row_chunks, ff_chunk, &c);
    return atomic_load(&c.failed) ? -1 : run_packed(&down);
}
