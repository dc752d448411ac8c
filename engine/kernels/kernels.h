/* kernels.h - the only door to matrix work, and the arithmetic behind it, written down once.
 *
 * Weights are packed at load into panels of 16 output rows, the same layout for every kernel set,
 * so that a vector lane is an output row and no sum ever crosses lanes:
 *
 *   quantised, per panel, per block of 32 columns:
 *     Q4_0   16 f16 d            | 256 bytes: byte 64*j + 4*r + i (j < 4) holds column 4*j+i of row r in
 *     Q4_1   16 f16 d, 16 f16 m  |            its low nibble and column 4*(j+4)+i in its high nibble
 *     Q8_0   16 f16 d            | 512 bytes: byte 64*j + 4*r + i (j < 8) holds column 4*j+i, plus 128
 *   float (F32, F16, BF16): per panel, per column: 16 values, one a row
 *   Rows past the end of the matrix are zero.
 *
 * The int8 block arithmetic (quantised weights, any number of rows; the same bits on every set):
 *   activations, per 32 columns:  max = largest |x|;  dx = max / 127;  sum = sum of q;  sx = dx * (float)sum
 *   q = nearest-even(x * (127 / max)) clamped to +-127; all 0 when max is 0
 *   per output, blocks in ascending order, starting from 0, every fma explicit:
 *     Q4_0   acc = fma((float)(dot(w, q) - 8 * sum), d * dx, acc)
 *     Q4_1   acc = fma((float)dot(w, q), d * dx, acc); acc = fma(m, sx, acc)
 *     Q8_0   acc = fma((float)(dot(w, q) - 128 * sum), d * dx, acc)         w as stored (0..255)
 *   a bias is added last with a plain addition.
 * Float weights: acc = fma(w, x, acc) over ascending columns from 0, then the bias.
 * Norms and sums over a row run in 16 virtual lanes (element i into lane i % 16, in order, fma for
 * products), folded 8+8, 4+4, 2+2, 1+1.  exp is exp_poly() of kernels/math.inc everywhere.
 * Everything is compiled with -ffp-contract=off.
 *
 * Kernel sets are rows of select.c; each fills struct kernel_set.  `openblas` computes in float
 * (weights expanded panel by panel, sgemm) and so differs in the last bits; all others agree exactly.
 *
 * Thread: a struct exec belongs to the thread that calls; the pool inside spreads the work. */
#ifndef LOQUAT_KERNELS_KERNELS_H
#define LOQUAT_KERNELS_KERNELS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/dtype.h"
#include "engine/base/page.h"
#include "engine/base/pool.h"
#include "engine/base/tensor_source.h"

enum { PANEL_ROWS = 16, QUANT_BLOCK = 32 };

struct kernel_set;

/* The best set that this processor and operating system grant, or the named one.
 * name: NULL, or scalar, avx2, avx512, openblas; an unknown or unavailable one is an error that says why. */
const struct kernel_set *kernels_select(const char *name, struct error *e);
const char *kernels_name(const struct kernel_set *set);
/* Row i of the table, or NULL past its end; *why_not is NULL when it can run here. */
const struct kernel_set *kernels_at(size_t i, const char **name, const char **why_not);

/* Where work runs: a set, a pool and scratch memory that grows as needed. */
struct exec;
int exec_create(const struct kernel_set *set, struct pool *pool, struct exec **out, struct error *e);
void exec_free(struct exec *x);
struct pool *exec_pool(const struct exec *x);
const struct kernel_set *exec_kernels(const struct exec *x);

/* ---- weights -------------------------------------------------------------------------------- */

struct weight {
    enum dtype dtype;
    size_t rows, cols; /* output and input features */
    void *panels;      /* ceil(rows/16) panels, 64-byte aligned; owned */
    size_t bytes;
};

/* Reads tensor t (dims {cols, rows}) piece by piece and packs it, in parallel.  Quantised columns
 * must be a multiple of 32.  On error *w is empty. */
int weight_load(struct exec *x, const struct tensor_source *s, const struct tensor_info *t, struct weight *w,
                struct error *e);
/* The same from memory: rows*cols values in dtype layout, row after row. */
int weight_pack(struct exec *x, enum dtype dtype, const void *data, size_t rows, size_t cols,
                struct weight *w, struct error *e);
void weight_free(struct weight *w);
void weight_row(const struct weight *w, size_t row, float *out); /* cols floats: an embedding look-up */

/* ---- matrix work ---------------------------------------------------------------------------- */

/* One output of a linear call: out (rows, w->rows) with `stride` floats between rows. */
struct linear_part {
    float *out;
    size_t stride;
    const struct weight *w;
    const float *bias; /* w->rows floats, or NULL */
};

/* out = x * transpose(w) + bias for each part; x is (rows, cols).  All parts have the same cols.
 * A row's bits depend neither on `rows` nor on the other parts.  One fork-join for the group
 * (query, key and value; gate and up).  An allocation failure of scratch aborts the call: -1. */
int linear_group(struct exec *e, const float *x, size_t rows, const struct linear_part *parts,
                 size_t n_parts);
int linear(struct exec *e, float *out, const float *x, size_t rows, const struct weight *w);

/* ---- fused element work; rows are independent ---------------------------------------------- */

/* out = x / sqrt(mean(x^2) + eps) * scale.  x, out (rows, cols); out may be x. */
void rms_norm(struct exec *e, float *out, const float *x, size_t rows, size_t cols, const float *scale,
              float eps);
/* x += y, n floats. */
void add_to(struct exec *e, float *x, const float *y, size_t n);
/* gate = silu(gate) * up, n floats. */
void silu_gate(struct exec *e, float *gate, const float *up, size_t n);

/* Rotary position embedding (Su et al., 2021) in place on x (rows, heads, head_dim); the first 2*half
 * values of a head turn.  table (positions, half, {cos, sin}); position[r] picks a row of it.
 * Pairs: interleaved (2i, 2i+1) as in GGUF's llama, or halves (i, i+half) as in NeoX. */
struct rotary {
    const float *table;
    size_t half;
    bool interleaved;
};
void rotary_apply(struct exec *e, const struct rotary *r, float *x, size_t rows, size_t heads,
                  size_t head_dim, const uint32_t *position);

/* ---- attention over pages ------------------------------------------------------------------- */

/* One layer's part of a page, at byte `offset` from the page's start, values f16 or f32:
 *   keys   (kv_heads, head_dim, 32 tokens)    so that a lane is a token
 *   values (kv_heads, 32 tokens, head_dim)    so that a lane is a dimension
 * attention_layer_bytes() gives its size. */
struct attention_shape {
    size_t heads, kv_heads, head_dim;
    float scale;         /* of the scores, usually 1/sqrt(head_dim) */
    size_t window;       /* a query sees this many last positions, itself included; 0 = all before it */
    enum dtype kv_dtype; /* DTYPE_F16 or DTYPE_F32 */
    size_t offset;       /* of this layer in a page, bytes; a multiple of 64 */
};
size_t attention_layer_bytes(size_t kv_heads, size_t head_dim, enum dtype kv_dtype); /* multiple of 64 */

/* Rows first_row .. first_row+rows-1 of the batch are positions first_position … of one sequence. */
struct attention_span {
    size_t first_row, rows;
    size_t first_position;
    void *const *pages; /* pages[i] holds positions 32*i … 32*i+31 */
};

/* Writes k, v (all rows, kv_heads, head_dim) into the pages. */
void attention_store(struct exec *e, const struct attention_shape *shape, const struct attention_span *spans,
                     size_t n_spans, const float *k, const float *v);

/* Causal attention of q (all rows, heads, head_dim) over the stored pages into out (same shape).
 * Softmax runs page by page at absolute positions (Milakov & Gimelshein, 2018): scores are
 * fma over head_dim in ascending order per token, then times scale; per page m' = max(m, page's max),
 * l = l * exp(m - m') + sum, acc = acc * exp(m - m') then fma(p, v, acc) over ascending tokens.
 * A query's bits depend only on its position and the pages' contents.  -1 when scratch memory is out. */
int attention(struct exec *e, const struct attention_shape *shape, const struct attention_span *spans,
              size_t n_spans, const float *q, float *out);

/* ---- over logits ---------------------------------------------------------------------------- */

size_t row_argmax(const float *x, size_t n); /* lowest index among equals */
float row_log_sum_exp(const struct kernel_set *set, const float *x, size_t n);

#endif
