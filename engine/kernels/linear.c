/* linear.c - cuts a group of matrix products into tiles and hands them to the pool.
 * Activations are brought into the forms that weights want once per group.  A tile is a run of panels, small
 * enough that an unlucky thread leaves little undone, times at most LINEAR_TILE_ROWS rows, which then stay in
 * the second-level cache.  How it is cut never shows in the results: see kernels.h for the order of
 * every sum. */
#include <stdatomic.h>
#include <string.h>

#include "engine/kernels/set.h"

enum {
    TILES_PER_THREAD = 8,
    TILE_BYTES_MIN = 16384,   /* of weights times rows: about a microsecond of work */
    TILE_BYTES_MAX = 131072,  /* of weights */
    READ_AHEAD_ROWS = 8,      /* few enough that memory is what a product waits for */
    READ_AHEAD_BYTES = 262144 /* of the next weights: a quarter of the usual second-level cache */
};

struct linear_call {
    struct exec *e;
    struct linear_rows in;
    size_t first_row; /* of the outputs: rows before it are not ours */
    const struct linear_part *parts;
    size_t n_parts;
    size_t tile_bytes; /* of weights in one tile */
    size_t row_tiles;
    atomic_bool failed;
};

struct linear_tile linear_tile_of(const struct exec *e, const struct linear_rows *in, const struct weight *w,
                                  const float *bias, size_t panel, size_t panels, size_t row)
{
    size_t panels_left = weight_panels(w) - panel, rows_left = in->rows - row;
    struct linear_tile t = {.cols = in->cols, .panel_bytes = weight_panel_bytes(w)};
    t.n_panels = panels_left < panels ? panels_left : panels;
    t.once = in->rows == 1 && exec_streams_weights(e);
    t.rows = rows_left < LINEAR_TILE_ROWS ? rows_left : LINEAR_TILE_ROWS;
    t.panels = (const uint8_t *)w->panels + panel * t.panel_bytes;
    t.out_cols = w->rows - panel * PANEL_ROWS;
    if (t.out_cols > t.n_panels * PANEL_ROWS)
        t.out_cols = t.n_panels * PANEL_ROWS;
    if (in->x)
        t.x = in->x + row * in->cols;
    if (in->blocks)
        t.a = in->blocks + row * (in->cols / QUANT_BLOCK);
    if (in->rounded)
        t.rounded = in->rounded + row * rounded_stride(in->cols);
    if (in->fixed.q)
        t.fixed = fixed_rows_at(in->fixed, in->cols, row, 0);
    t.bias = bias ? bias + panel * PANEL_ROWS : NULL;
    return t;
}

void linear_tile_run(const struct kernel_set *set, const struct weight *w, const struct linear_tile *t)
{
    if (w->fixed)
        set->fixed->linear(t);
    else if (w->rounded)
        set->linear_rounded(t);
    else
        set->linear[w->dtype](t);
}

static size_t panels_per_tile(const struct linear_call *c, const struct weight *w)
{
    size_t n = c->tile_bytes / weight_panel_bytes(w);
    return n > 1 ? n : 2; /* float kernels take panels in pairs */
}

static size_t panel_tiles(const struct linear_call *c, const struct weight *w)
{
    size_t per_tile = panels_per_tile(c, w);
    return (weight_panels(w) + per_tile - 1) / per_tile;
}

static void run_tile(struct linear_call *c, const struct linear_part *p, size_t panel_tile, size_t row_tile,
                     unsigned worker)
{
    const struct kernel_set *set = exec_kernels(c->e);
    size_t per_tile = panels_per_tile(c, p->w), panel = panel_tile * per_tile;
    size_t row = row_tile * LINEAR_TILE_ROWS;
    struct linear_tile t = linear_tile_of(c->e, &c->in, p->w, p->bias, panel, per_tile, row);
    t.out = p->out + (c->first_row + row) * p->stride + panel * PANEL_ROWS;
    t.stride = p->stride;
    t.add = p->add;
    size_t floats = set->scratch_floats ? set->scratch_floats(t.cols) : 0;
    t.scratch = floats ? exec_scratch(c->e, worker, floats) : NULL;
    if (floats && !t.scratch)
        atomic_store(&c->failed, true);
    else
        linear_tile_run(set, p->w, &t);
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

size_t linear_tile_bytes(struct exec *e, size_t rows, const struct linear_part *parts, size_t n_parts)
{
    size_t total = 0, row_tiles = (rows + LINEAR_TILE_ROWS - 1) / LINEAR_TILE_ROWS;
    for (size_t i = 0; i < n_parts; i++)
        total += parts[i].w->bytes;
    size_t tile_rows = rows < LINEAR_TILE_ROWS ? rows : LINEAR_TILE_ROWS;
    size_t bytes = total / (pool_threads(exec_pool(e)) * (size_t)TILES_PER_THREAD) * row_tiles;
    if (bytes > TILE_BYTES_MAX)
        return TILE_BYTES_MAX;
    return bytes < TILE_BYTES_MIN / tile_rows ? TILE_BYTES_MIN / tile_rows : bytes;
}

/* Weights lie in the order in which they were loaded, which is nearly always the order of use: what follows
 * these can be on its way while norms and attention leave memory idle. */
void linear_read_ahead(struct exec *e, size_t rows, const struct linear_part *parts, size_t n_parts)
{
    uintptr_t end = 0;
    for (size_t i = 0; i < n_parts; i++) {
        uintptr_t part = (uintptr_t)parts[i].w->panels + parts[i].w->bytes;
        end = part > end ? part : end;
    }
    pool_read_ahead(exec_pool(e), (const void *)end, rows <= READ_AHEAD_ROWS ? READ_AHEAD_BYTES : 0);
}

int linear_of_rows(struct exec *e, const struct linear_rows *in, size_t first_row,
                   const struct linear_part *parts, size_t n_parts)
{
    struct linear_call c = {.e = e,
                            .in = *in,
                            .first_row = first_row,
                            .parts = parts,
                            .n_parts = n_parts,
                            .tile_bytes = linear_tile_bytes(e, in->rows, parts, n_parts),
                            .row_tiles = (in->rows + LINEAR_TILE_ROWS - 1) / LINEAR_TILE_ROWS};
    size_t tiles = 0;
    for (size_t i = 0; i < n_parts; i++)
        tiles += panel_tiles(&c, parts[i].w);
    linear_read_ahead(e, in->rows, parts, n_parts);
    pool_run(exec_pool(e), tiles * c.row_tiles, linear_chunk, &c);
    return atomic_load(&c.failed) ? -1 : 0;
}

unsigned linear_forms(const struct kernel_set *set, const struct linear_part *parts, size_t n_parts)
{
    unsigned forms = 0;
    for (size_t i = 0; i < n_parts; i++)
        forms |= linear_form(set, parts[i].w);
    return forms;
}

int linear_normed(struct exec *e, const struct row_norm *norm, const float *x, size_t rows,
                  const struct linear_part *parts, size_t n_parts)
{
    size_t prompt = exec_prompt_rows(e, rows);
    struct linear_rows in;
    if (n_parts == 0)
        return 0;
    size_t cols = parts[0].w->cols;
    if (prompt > 0)
        TRY(linear_prompt(e, norm, x, prompt, parts, n_parts));
    if (prompt == rows)
        return 0;
    TRY(linear_rows_make(e, linear_forms(exec_kernels(e), parts, n_parts), norm, x + prompt * cols,
                         rows - prompt, cols, &in));
    return linear_of_rows(e, &in, prompt, parts, n_parts);
}

int linear_group(struct exec *e, const float *x, size_t rows, const struct linear_part *parts, size_t n_parts)
{
    return linear_normed(e, NULL, x, rows, parts, n_parts);
}

int linear(struct exec *e, float *out, const float *x, size_t rows, const struct weight *w)
{
    struct linear_part part = {.out = out, .stride = w->rows, .w = w};
    return linear_group(e, x, rows, &part, 1);
}
