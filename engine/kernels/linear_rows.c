/* linear_rows.c - rows of activations in the forms that kernels read: floats, bf16, int8 blocks, fixed
 * point.  A row is normed where that is wanted and brought into its forms while it is in the nearest cache.
 * Called by linear.c and feed_forward.c; chunks by the pool's threads. */
#include <stdatomic.h>
#include <string.h>

#include "engine/kernels/set.h"

enum {
    CHUNK_ROWS = 4, /* a few: twelve or sixteen rows are enough work for two threads */
    ALONE = 16384,  /* values that are not worth waking the pool */
    ALIGNMENT = 64
};

unsigned linear_form(const struct kernel_set *set, const struct weight *w)
{
    if (w->fixed)
        return FORM_FIXED;
    if (w->rounded)
        return FORM_ROUNDED;
    return dtype_is_quantised(w->dtype) && !set->float_activations ? FORM_BLOCKS : FORM_FLOATS;
}

static bool add_array(size_t *bytes, size_t rows, size_t row_bytes)
{
    size_t more;
    return !__builtin_mul_overflow(rows, row_bytes, &more) && !__builtin_add_overflow(*bytes, more, bytes) &&
           !__builtin_add_overflow(*bytes, (ALIGNMENT - *bytes % ALIGNMENT) % ALIGNMENT, bytes);
}

int linear_rows_place(struct exec *e, enum exec_buffer buffer, unsigned forms, size_t rows, size_t cols,
                      struct linear_rows *out)
{
    size_t rounded_at, blocks_at, fixed_at, fixed_d_at, bytes = 0;
    size_t groups = forms & FORM_FIXED ? rows / FIXED_ROW_GROUP + 1 : 0;
    size_t group_blocks = fixed_blocks(cols) * FIXED_ROW_GROUP;
    bool fits = add_array(&bytes, rows, forms & FORM_FLOATS ? cols * sizeof(float) : 0);
    rounded_at = bytes;
    fits =
        fits && add_array(&bytes, rows, forms & FORM_ROUNDED ? rounded_stride(cols) * sizeof(uint16_t) : 0);
    blocks_at = bytes;
    fits = fits &&
           add_array(&bytes, rows, forms & FORM_BLOCKS ? cols / QUANT_BLOCK * sizeof(struct quant_block) : 0);
    fixed_at = bytes;
    fits = fits && add_array(&bytes, groups, group_blocks * FIXED_BLOCK * sizeof(int16_t));
    fixed_d_at = bytes;
    fits = fits && add_array(&bytes, groups, group_blocks * sizeof(float));
    uint8_t *memory = fits ? exec_shared(e, buffer, bytes ? bytes : ALIGNMENT) : NULL;
    if (!memory)
        return -1;
    *out = (struct linear_rows){.rows = rows, .cols = cols};
    if (forms & FORM_FLOATS)
        out->x = out->floats = (float *)(void *)memory;
    if (forms & FORM_ROUNDED)
        out->rounded = (uint16_t *)(void *)(memory + rounded_at);
    if (forms & FORM_BLOCKS)
        out->blocks = (struct quant_block *)(void *)(memory + blocks_at);
    if (forms & FORM_FIXED)
        out->fixed = (struct fixed_rows){(int16_t *)(void *)(memory + fixed_at),
                                         (float *)(void *)(memory + fixed_d_at)};
    return 0;
}

void linear_rows_put(const struct kernel_set *set, const struct linear_rows *to, size_t row, size_t col,
                     const float *x, size_t n)
{
    if (to->floats && to->floats + row * to->cols + col != x)
        memcpy(to->floats + row * to->cols + col, x, n * sizeof *x);
    if (to->rounded)
        set->to_bf16(to->rounded + row * rounded_stride(to->cols) + col, x, n);
    if (to->fixed.q)
        set->fixed->pack(x, n, fixed_rows_at(to->fixed, to->cols, row, col / FIXED_BLOCK));
    if (!to->blocks)
        return;
    size_t group = row / set->row_group * set->row_group, left = to->rows - group;
    size_t width = left < set->row_group ? left : set->row_group;
    set->quantise(
        x, n, to->blocks + group * (to->cols / QUANT_BLOCK) + col / QUANT_BLOCK * width + row - group, width);
}

struct make_call {
    struct exec *e;
    const float *x;
    const struct row_norm *norm;
    const struct linear_rows *to;
    atomic_bool failed;
};

void row_norm_apply(const struct kernel_set *set, const struct row_norm *n, float *out, const float *x,
                    size_t cols)
{
    if (n->rms)
        set->rms_norm(out, x, cols, n->scale, n->epsilon);
    else
        set->layer_norm(out, x, cols, n->scale, n->bias, n->epsilon);
}

static void make_rows(void *context, size_t chunk, unsigned worker)
{
    struct make_call *c = context;
    const struct kernel_set *set = exec_kernels(c->e);
    size_t cols = c->to->cols, first = chunk * CHUNK_ROWS, left = c->to->rows - first;
    float *scratch = c->norm && !c->to->floats ? exec_scratch(c->e, worker, cols) : NULL;
    if (c->norm && !c->to->floats && !scratch) {
        atomic_store(&c->failed, true);
        return;
    }
    for (size_t r = first; r < first + (left < CHUNK_ROWS ? left : CHUNK_ROWS); r++) {
        const float *row = c->x + r * cols;
        if (c->norm) {
            float *normed = scratch ? scratch : c->to->floats + r * cols;
            row_norm_apply(set, c->norm, normed, row, cols);
            row = normed;
        }
        linear_rows_put(set, c->to, r, 0, row, cols);
    }
}

int linear_rows_make(struct exec *e, unsigned forms, const struct row_norm *norm, const float *x, size_t rows,
                     size_t cols, struct linear_rows *out)
{
    unsigned made = norm ? forms : forms & ~(unsigned)FORM_FLOATS; /* x is what it is */
    TRY(linear_rows_place(e, EXEC_INPUT, made, rows, cols, out));
    if (!out->x)
        out->x = x;
    struct make_call c = {.e = e, .x = x, .norm = norm, .to = out};
    size_t chunks = made ? (rows + CHUNK_ROWS - 1) / CHUNK_ROWS : 0;
    if (rows * cols > ALONE)
        pool_run(exec_pool(e), chunks, make_rows, &c);
    else
        for (size_t i = 0; i < chunks; i++)
            make_rows(&c, i, 0);
    return atomic_load(&c.failed) ? -1 : 0;
}
