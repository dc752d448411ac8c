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
    const float *x;
    size_t rows, cols;
    size_t group_bytes, groups;
    uint8_t *packed; /* (pieces, groups, group_bytes) */
    size_t piece_bytes;
    unsigned pieces; /* the most that a part wants */
    const struct linear_part *parts;
    size_t n_parts;
    size_t rows_per_chunk, row_chunks;
    atomic_bool failed;
};

static void pack_group(void *context, size_t group, unsigned worker)
{
    const struct prompt_call *c = context;
    (void)worker;
    size_t first = group * PROMPT_GROUP, left = c->rows - first;
    c->kernels->pack(c->x + first * c->cols, left < PROMPT_GROUP ? left : PROMPT_GROUP, c->cols, c->pieces,
                     c->packed + group * c->group_bytes, c->piece_bytes);
}

/* Quantised weights have fewer bits than one piece keeps, rounded ones just as many. */
static unsigned pieces_of(const struct prompt_call *c, const struct weight *w)
{
    return dtype_is_quantised(w->dtype) || w->rounded ? 1 : (unsigned)exec_prompt_precision(c->e);
}

static int pack_rows(struct prompt_call *c)
{
    size_t bytes;
    for (size_t i = 0; i < c->n_parts; i++) {
        unsigned pieces = pieces_of(c, c->parts[i].w);
        c->pieces = pieces > c->pieces ? pieces : c->pieces;
    }
    if (__builtin_mul_overflow(c->groups, c->group_bytes, &c->piece_bytes) ||
        __builtin_mul_overflow(c->piece_bytes, c->pieces, &bytes))
        return -1;
    c->packed = exec_shared(c->e, bytes);
    if (!c->packed)
        return -1;
    pool_run(exec_pool(c->e), c->groups, pack_group, c);
    return 0;
}

static size_t pairs_of(const struct weight *w)
{
    return (w->rows + PROMPT_PANELS * PANEL_ROWS - 1) / (PROMPT_PANELS * PANEL_ROWS);
}

static void run_tile(struct prompt_call *c, const struct linear_part *p, size_t pair, size_t row,
                     unsigned worker)
{
    const struct weight *w = p->w;
    size_t panel = pair * PROMPT_PANELS, cols_left = w->rows - panel * PANEL_ROWS, rows_left = c->rows - row;
    struct prompt_tile t = {.dtype = w->dtype,
                            .panel_bytes = panel_bytes(w->dtype, w->cols),
                            .cols = c->cols,
                            .pieces = pieces_of(c, w),
                            .piece_bytes = c->piece_bytes,
                            .stride = p->stride,
                            .out = p->out + row * p->stride + panel * PANEL_ROWS,
                            .bias = p->bias ? p->bias + panel * PANEL_ROWS : NULL};
    t.panels = (const uint8_t *)w->panels + panel * t.panel_bytes;
    t.out_cols = cols_left < PROMPT_PANELS * PANEL_ROWS ? cols_left : PROMPT_PANELS * PANEL_ROWS;
    t.n_panels = (t.out_cols + PANEL_ROWS - 1) / PANEL_ROWS;
    t.rows = rows_left < c->rows_per_chunk ? rows_left : c->rows_per_chunk;
    t.x = c->packed + row / PROMPT_GROUP * c->group_bytes;
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

int linear_prompt(struct exec *e, const float *x, size_t rows, const struct linear_part *parts,
                  size_t n_parts)
{
    const struct prompt_kernels *kernels = exec_kernels(e)->prompt;
    struct prompt_call c = {.e = e,
                            .kernels = kernels,
                            .x = x,
                            .rows = rows,
                            .cols = parts[0].w->cols,
                            .group_bytes = kernels->group_bytes(parts[0].w->cols),
                            .groups = (rows + PROMPT_GROUP - 1) / PROMPT_GROUP,
                            .parts = parts,
                            .n_parts = n_parts};
    size_t pairs = 0;
    for (size_t i = 0; i < n_parts; i++)
        pairs += pairs_of(parts[i].w);
    TRY(pack_rows(&c));
    choose_rows(&c);
    pool_run(exec_pool(e), pairs * c.row_chunks, prompt_chunk, &c);
    return atomic_load(&c.failed) ? -1 : 0;
}
