/* set.h - inside of the room: what a kernel set must provide, and the work orders it is given.
 * linear.c, attention.c and rows.c cut a call into these orders and hand them to the pool; a set's
 * functions know nothing of threads.  Bodies are in loops.inc, compiled once per instruction set. */
#ifndef LOQUAT_KERNELS_SET_H
#define LOQUAT_KERNELS_SET_H

#include "engine/kernels/kernels.h"

/* 32 activations in the int8 block arithmetic.  All of a block lies together, so that a tile needs one
 * pointer a row. */
struct quant_block {
    int8_t q[QUANT_BLOCK];
    float dx, sx; /* sx = dx * sum */
    int32_t sum;
    int32_t unused; /* 48 bytes: blocks never begin in the middle of a word */
};

/* Some rows of x against some consecutive panels of one weight. */
struct linear_tile {
    const uint8_t *panels;
    size_t n_panels, panel_bytes;
    size_t cols;
    size_t rows;
    size_t out_cols;             /* outputs of these panels that exist: the last panel may be cut */
    const float *x;              /* (rows, cols); unused by quantised sets */
    const struct quant_block *a; /* (rows, cols / 32); unused by float weights */
    float *out;                  /* (rows, out_cols) with `stride` floats between rows */
    size_t stride;
    const float *bias; /* (out_cols), or NULL */
    float *scratch;    /* scratch_floats() of the set */
};

/* Some query rows of one span, for all heads that share one kv head. */
struct attention_tile {
    const struct attention_shape *shape;
    void *const *pages;
    size_t kv_head;
    size_t first_position, rows;
    const float *q; /* (rows, heads, head_dim), from the tile's first row and head on */
    float *out;     /* same shape */
    float *scratch; /* attention_scratch_floats() */
};

struct kernel_set {
    const char *name;
    bool float_activations;                /* linear[] reads x where a quantising set reads a */
    size_t (*scratch_floats)(size_t cols); /* of a linear tile; NULL = none */
    void (*linear[DTYPES])(const struct linear_tile *t);
    void (*quantise)(const float *x, size_t cols, struct quant_block *out); /* one row */
    void (*rms_norm)(float *out, const float *x, size_t cols, const float *scale, float eps);
    void (*add)(float *x, const float *y, size_t n);
    void (*silu_gate)(float *gate, const float *up, size_t n);
    void (*rotary)(float *x, const float *table, size_t half, bool interleaved); /* one head */
    void (*to_f16)(uint16_t *out, const float *x, size_t n);
    void (*attention)(const struct attention_tile *t);
    float (*log_sum_exp)(const float *x, size_t n);
};

extern const struct kernel_set kernel_set_scalar;
extern const struct kernel_set kernel_set_avx2;
extern const struct kernel_set kernel_set_avx512;
const struct kernel_set *
kernel_set_openblas(const struct kernel_set *rest); /* linear by sgemm, all else from rest */

/* Bytes of one panel; the caller has checked that cols is small enough. */
static inline size_t panel_bytes(enum dtype dtype, size_t cols)
{
    size_t blocks = cols / QUANT_BLOCK;
    switch (dtype) {
    case DTYPE_Q4_0:
        return blocks * (32 + 256);
    case DTYPE_Q4_1:
        return blocks * (64 + 256);
    case DTYPE_Q8_0:
        return blocks * (32 + 512);
    case DTYPE_F16:
    case DTYPE_BF16:
        return cols * PANEL_ROWS * 2;
    default:
        return cols * PANEL_ROWS * 4;
    }
}

static inline bool dtype_is_quantised(enum dtype dtype)
{
    return dtype == DTYPE_Q4_0 || dtype == DTYPE_Q4_1 || dtype == DTYPE_Q8_0;
}

/* head_dim rounded up to whole vectors of 16. */
static inline size_t attention_padded_dim(size_t head_dim)
{
    return (head_dim + 15) / 16 * 16;
}

/* Keys, values, scores of four queries; an accumulator, a maximum and a sum per query vector. */
static inline size_t attention_scratch_floats(size_t head_dim, size_t vectors)
{
    size_t padded = attention_padded_dim(head_dim);
    return KV_PAGE_TOKENS * (head_dim + padded + 4) + vectors * (padded + 2) + 16;
}

/* Scratch memory, 64-byte aligned, contents undefined; NULL when memory is out.  exec.c */
float *exec_scratch(struct exec *x, unsigned worker, size_t floats); /* of one worker, within one loop */
void *exec_shared(struct exec *x, size_t bytes);                     /* of the caller, within one call */

#endif
