/* linear.c - cuts a group of matrix products into tiles and hands them to the pool.
 * Activations are quantised once per group.  A tile is a run of panels, small enough that an unlucky
 * thread leaves little undone, times at most LINEAR_TILE_ROWS rows, which then stay in the second-level
 * cache.  How it is cut never shows in the results: see kernels.h for the order of every sum. */
#include <stdatomic.h>
#include <string.h>

#include "engine/kernels/set.h"

enum {
    TILES_PER_THREAD = 8,
    TILE_BYTES_MIN = 16384,    /* of weights times rows: about a microsecond of work */
    TILE_BYTES_MAX = 131072,   /* of weights */
    READ_AHEAD_ROWS = 8,       /* few enough that memory is what a product waits for */
    READ_AHEAD_BYTES = 262144, /* of the next weights: a quarter of the usual second-level cache */
    QUANTISE_ALONE = 16384,    /* values that are quantised or rounded without waking the pool */
    ROUND_ROWS = 8
};

struct linear_call {
    struct exec *e;
    const struct kernel_set *set;
    const float *x;
    size_t first_row; /* of the outputs: rows before it are not ours */
    size_t rows, cols;
    struct quant_block *a; /* (rows, cols / 32), or NULL */
    uint16_t *rounded;     /* (rows, rounded_stride(cols)), or NULL */
    const struct linear_part *parts;
    size_t n_parts;
    size_t tile_bytes; /* of weights in one tile */
    size_t row_tiles;
    atomic_bool failed;
};

/* One row group. */
static void quantise_chunk(void *context, size_t chunk, unsigned worker)
{
    const struct linear_call *c = context;
    size_t group = c->set->row_group, first = chunk * group, blocks = c->cols / QUANT_BLOCK;
    size_t width = c->rows - first < group ? c->rows - first : group;
    (void)worker;
    for (size_t r = 0; r < width; r++)
        c->set->quantise(c->x + (first + r) * c->cols, c->cols, c->a + first * blocks + r, width);
}

static int quantise_activations(struct linear_call *c)
{
    size_t blocks, bytes;
    if (__builtin_mul_overflow(c->rows, c->cols / QUANT_BLOCK, &blocks) ||
        __builtin_mul_overflow(blocks, sizeof *c->a, &bytes))
        return -1;
    c->a = exec_shared(c->e, bytes);
    if (!c->a)
        return -1;
    size_t groups = (c->rows + c->set->row_group - 1) / c->set->row_group;
    if (blocks > QUANTISE_ALONE / QUANT_BLOCK)
        pool_run(exec_pool(c->e), groups, quantise_chunk, c);
    else
        for (size_t i = 0; i < groups; i++)
            quantise_chunk(c, i, 0);
    return 0;
}

static void round_chunk(void *context, size_t chunk, unsigned worker)
{
    const struct linear_call *c = context;
    size_t first = chunk * ROUND_ROWS, end = first + ROUND_ROWS < c->rows ? first + ROUND_ROWS : c->rows;
    (void)worker;
    for (size_t r = first; r < end; r++)
        c->set->to_bf16(c->rounded + r * rounded_stride(c->cols), c->x + r * c->cols, c->cols);
}

static int round_activations(struct linear_call *c)
{
    size_t bytes;
    if (__builtin_mul_overflow(c->rows, rounded_stride(c->cols) * sizeof *c->rounded, &bytes))
        return -1;
    c->rounded = exec_shared(c->e, bytes);
    if (!c->rounded)
        return -1;
    size_t chunks = (c->rows + ROUND_ROWS - 1) / ROUND_ROWS;
    if (c->rows * c->cols > QUANTISE_ALONE)
        pool_run(exec_pool(c->e), chunks, round_chunk, c);
    else
        for (size_t i = 0; i < chunks; i++)
            round_chunk(c, i, 0);
    return 0;
}

static size_t panels_of(const struct weight *w)
{
    return (w->rows + PANEL_ROWS - 1) / PANEL_ROWS;
}

static size_t panels_per_tile(const struct linear_call *c, const struct weight *w)
{
    size_t n = c->tile_bytes / panel_bytes(w->dtype, w->cols);
    return n > 1 ? n : 2; /* float kernels take panels in pairs */
}

static size_t panel_tiles(const struct linear_call *c, const struct weight *w)
{
    size_t per_tile = panels_per_tile(c, w);
    return (panels_of(w) + per_tile - 1) / per_tile;
}

static void run_tile(struct linear_call *c, const struct linear_part *p, size_t panel_tile, size_t row_tile,
                     unsigned worker)
{
    const struct weight *w = p->w;
    size_t per_tile = panels_per_tile(c, w), panel = panel_tile * per_tile, row = row_tile * LINEAR_TILE_ROWS;
    size_t panels_left = panels_of(w) - panel, rows_left = c->rows - row;
    struct linear_tile t = {
        .cols = c->cols, .stride = p->stride, .panel_bytes = panel_bytes(w->dtype, w->cols)};
    t.n_panels = panels_left < per_tile ? panels_left : per_tile;
    t.rows = rows_left < LINEAR_TILE_ROWS ? rows_left : LINEAR_TILE_ROWS;
    t.panels = (const uint8_t *)w->panels + panel * t.panel_bytes;
    t.out_cols = w->rows - panel * PANEL_ROWS;
    if (t.out_cols > t.n_panels * PANEL_ROWS)
        t.out_cols = t.n_panels * PANEL_ROWS;
    t.x = c->x + row * c->cols;
    if (c->a)
        t.a = c->a + row * (c->cols / QUANT_BLOCK);
    if (c->rounded)
        t.rounded = c->rounded + row * rounded_stride(c->cols);
    t.out = p->out + (c->first_row + row) * p->stride + panel * PANEL_ROWS;
    t.bias = p->bias ? p->bias + panel * PANEL_ROWS : NULL;
    size_t floats = c->set->scratch_floats ? c->set->scratch_floats(c->cols) : 0;
    t.scratch = floats ? exec_scratch(c->e, worker, floats) : NULL;
    if (floats && !t.scratch) {
        atomic_store(&c->failed, true);
        return;
    }
    if (w->rounded)
        c->set->linear_rounded(&t);
    else
        c->set->linear[w->dtype](&t);
}

/* Chunks count row tiles fastest, so that neighbours in time share their weights. */
static void linear_chunk(void *context, size_t chunk, unsigned worker)
{
    struct linear_call *c = context;
    size_t row_tile = chunk % c->row_tiles, panel_tile = chunk / c->row_tiles;
    for (size_t i = 0; i < c->n_parts; i++) {
        size_t tiles = panel_tiles(c, c->parts[i].w);
        if (panel_tile < tiles) {
            run_tile(c, &c->parts[i], panel_tile, row_tile, worker);
            return;
        }
        panel_tile -= tiles;
    }
}

static size_t choose_tile_bytes(const struct linear_call *c)
{
    size_t total = 0;
    for (size_t i = 0; i < c->n_parts; i++)
        total += c->parts[i].w->bytes;
    size_t rows = c->rows < LINEAR_TILE_ROWS ? c->rows : LINEAR_TILE_ROWS;
    size_t bytes = total / (pool_threads(exec_pool(c->e)) * (size_t)TILES_PER_THREAD) * c->row_tiles;
    if (bytes > TILE_BYTES_MAX)
        return TILE_BYTES_MAX;
    return bytes < TILE_BYTES_MIN / rows ? TILE_BYTES_MIN / rows : bytes;
}

/* Weights lie in the order in which they were loaded, which is nearly always the order of use: what follows
 * these can be on its way while norms and attention leave memory idle. */
static void read_ahead(const struct linear_call *c)
{
    uintptr_t end = 0;
    for (size_t i = 0; i < c->n_parts; i++) {
        uintptr_t part = (uintptr_t)c->parts[i].w->panels + c->parts[i].w->bytes;
        end = part > end ? part : end;
    }
    pool_read_ahead(exec_pool(c->e), (const void *)end, c->rows <= READ_AHEAD_ROWS ? READ_AHEAD_BYTES : 0);
}

/* From row `first` on. */
static int linear_rest(struct exec *e, const float *x, size_t first, size_t rows,
                       const struct linear_part *parts, size_t n_parts)
{
    struct linear_call c = {.e = e,
                            .set = exec_kernels(e),
                            .x = x + first * parts[0].w->cols,
                            .first_row = first,
                            .rows = rows - first,
                            .cols = parts[0].w->cols,
                            .parts = parts,
                            .n_parts = n_parts};
    bool quantised = false, rounded = false;
    for (size_t i = 0; i < n_parts; i++) {
        quantised |= dtype_is_quantised(parts[i].w->dtype) && !c.set->float_activations;
        rounded |= parts[i].w->rounded;
    }
    if (quantised && rounded) /* one place for activations: no family mixes them */
        return -1;
    if (quantised)
        TRY(quantise_activations(&c));
    if (rounded)
        TRY(round_activations(&c));
    c.row_tiles = (c.rows + LINEAR_TILE_ROWS - 1) / LINEAR_TILE_ROWS;
    c.tile_bytes = choose_tile_bytes(&c);
    size_t tiles = 0;
    for (size_t i = 0; i < n_parts; i++)
        tiles += panel_tiles(&c, parts[i].w);
    read_ahead(&c);
    pool_run(exec_pool(e), tiles * c.row_tiles, linear_chunk, &c);
    return atomic_load(&c.failed) ? -1 : 0;
}

int linear_group(struct exec *e, const float *x, size_t rows, const struct linear_part *parts, size_t n_parts)
{
    size_t prompt = exec_prompt_rows(e, rows);
    if (n_parts == 0)
        return 0;
    if (prompt > 0)
        TRY(linear_prompt(e, x, prompt, parts, n_parts));
    return prompt < rows ? linear_rest(e, x, prompt, rows, parts, n_parts) : 0;
}

int linear(struct exec *e, float *out, const float *x, size_t rows, const struct weight *w)
{
    struct linear_part part = {.out = out, .stride = w->rows, .w = w};
    return linear_group(e, x, rows, &part, 1);
}
