/* feed_forward.c - the two products of a feed forward block with the activation between them.
 * What lies between is as wide as several rows of x and would pass through memory three times.  So a tile
 * computes some columns of gate and up, at most a few hundred kilobytes in the second-level cache, applies
 * the activation there and leaves them in the form that the second product reads. */
#include <stdatomic.h>

#include "engine/kernels/set.h"

enum {
    STEP_PANELS = QUANT_BLOCK / PANEL_ROWS, /* columns come in whole blocks of what is quantised */
    TILE_VALUES = LINEAR_TILE_ROWS * 128    /* of gate, and of up */
};

struct ff_call {
    struct exec *e;
    const struct feed_forward *f;
    struct linear_rows in, middle;
    struct linear_part parts[2]; /* up, gate */
    size_t n_parts;
    size_t panels, row_tiles; /* of a tile */
    atomic_bool failed;
};

/* Rows of the tile by `panels` panels of each part, one part after the other, into out. */
static void multiply(const struct ff_call *c, size_t panel, size_t row, float *scratch, float *out,
                     struct linear_tile *t)
{
    for (size_t i = 0; i < c->n_parts; i++) {
        const struct linear_part *p = &c->parts[i];
        *t = linear_tile_of(c->e, &c->in, p->w, p->bias, panel, c->panels, row);
        t->stride = t->out_cols;
        t->out = out + i * t->rows * t->out_cols;
        t->scratch = scratch;
        linear_tile_run(exec_kernels(c->e), p->w, t);
    }
}

static void ff_chunk(void *context, size_t chunk, unsigned worker)
{
    struct ff_call *c = context;
    const struct kernel_set *set = exec_kernels(c->e);
    size_t row = chunk % c->row_tiles * LINEAR_TILE_ROWS, panel = chunk / c->row_tiles * c->panels;
    size_t left = c->in.rows - row, rows = left < LINEAR_TILE_ROWS ? left : LINEAR_TILE_ROWS;
    size_t own = set->scratch_floats ? set->scratch_floats(c->in.cols) : 0;
    float *scratch = exec_scratch(c->e, worker, own + c->n_parts * rows * c->panels * PANEL_ROWS);
    if (!scratch) {
        atomic_store(&c->failed, true);
        return;
    }
    struct linear_tile t;
    float *up = scratch + own;
    multiply(c, panel, row, scratch, up, &t);
    float *gate = c->n_parts > 1 ? up + t.rows * t.out_cols : up;
    set->activate(c->f->activation, gate, c->n_parts > 1 ? up : NULL, t.rows * t.out_cols);
    for (size_t r = 0; r < t.rows; r++)
        linear_rows_put(set, &c->middle, row + r, panel * PANEL_ROWS, gate + r * t.out_cols, t.out_cols);
}

static size_t choose_panels(const struct ff_call *c)
{
    size_t rows = c->in.rows < LINEAR_TILE_ROWS ? c->in.rows : LINEAR_TILE_ROWS;
    size_t bytes = linear_tile_bytes(c->e, c->in.rows, c->parts, c->n_parts) / c->n_parts;
    size_t n = bytes / weight_panel_bytes(c->parts[0].w);
    size_t most = TILE_VALUES / rows / PANEL_ROWS;
    n = n < most ? n : most;
    return n < STEP_PANELS ? STEP_PANELS : n / STEP_PANELS * STEP_PANELS;
}

/* From row `first` on. */
static int rest(struct exec *e, const struct row_norm *norm, const float *x, size_t first, size_t rows,
                const struct feed_forward *f)
{
    const struct kernel_set *set = exec_kernels(e);
    struct ff_call c = {.e = e, .f = f, .parts = {{.w = f->up, .bias = f->up_bias}}, .n_parts = 1};
    if (f->gate)
        c.parts[c.n_parts++] = (struct linear_part){.w = f->gate, .bias = f->gate_bias};
    TRY(linear_rows_make(e, linear_forms(set, c.parts, c.n_parts), norm, x + first * f->up->cols,
                         rows - first, f->up->cols, &c.in));
    TRY(linear_rows_place(e, EXEC_MIDDLE, linear_form(set, f->down.w), rows - first, f->up->rows, &c.middle));
    c.panels = choose_panels(&c);
    c.row_tiles = (c.in.rows + LINEAR_TILE_ROWS - 1) / LINEAR_TILE_ROWS;
    linear_read_ahead(e, c.in.rows, c.parts, c.n_parts);
    pool_run(exec_pool(e), (weight_panels(f->up) + c.panels - 1) / c.panels * c.row_tiles, ff_chunk, &c);
    if (atomic_load(&c.failed))
        return -1;
    return linear_of_rows(e, &c.middle, first, &f->down, 1);
}

int feed_forward(struct exec *e, const struct row_norm *norm, const float *x, size_t rows,
                 const struct feed_forward *f)
{
    size_t prompt = exec_prompt_rows(e, rows);
    if (prompt > 0)
        TRY(feed_forward_prompt(e, norm, x, prompt, f));
    return prompt < rows ? rest(e, norm, x, prompt, rows, f) : 0;
}
