/* kernels.h - the only door to matrix work, and the arithmetic behind it, written down once.
 *
 * Weights are packed at load into panels of 16 output rows, the same layout for every kernel set,
 * so that a vector lane is an output row and no sum ever crosses lanes:
 *
 *   float (F32, F16, BF16): per panel, per column: 16 values, one a row.  F64 and integers become F32.
 *   quantised: per panel, per block of columns, scales and then the digits of 32 columns:
 *     Q4_0, Q5_0, Q8_0, IQ4_NL   16 f16 d            | digits              blocks of 32
 *     Q4_1, Q5_1                 16 f16 d, 16 f16 m  | digits
 *     Q3_K, Q6_K                 16 f16 d            | 8 of {16 int8 s, 16 int8 s', digits}   of 256
 *     Q4_K, Q5_K                 16 f16 d, 16 f16 m  | 8 of {16 bytes s, 16 bytes n, digits}
 *     Q2_K                       16 f16 d, 16 f16 m  | 8 of {16 bytes s + 16n, 16 bytes s' + 16n', digits}
 *   (s, n: scale and minimum of 32 columns, or s, n of the first 16 and s', n' of the last), where
 *   digits are planes of 64 bytes a bit; byte 4*r + i of 64 is of row r and, for 0 <= j < 8, column 4*j+i:
 *     bytes      8 bits of Q8_0 (plus 128): 64 bytes j
 *     nibbles    4 (low) bits of Q4, Q5, Q6_K, IQ4_NL: 64 bytes j % 4, the high nibble for j >= 4
 *     pairs      2 low bits of Q2_K and Q3_K, 2 high ones of Q6_K: 64 bytes j / 4, from bit 2 * (j % 4) on
 *     bits       the high bit of Q3_K and Q5: bit j
 *   Digits are ggml's (quant_blocks.h), unsigned: zero is not yet taken off.
 *   Rows past the end of the matrix are zero.
 *
 * The int8 block arithmetic (quantised weights, any number of rows; the same bits on every set):
 *   activations, per 32 columns:  max = largest |x|;  dx = max / 127;  sum = sum of q;  sx = dx * (float)sum
 *   q = nearest-even(x * (127 / max)) clamped to +-127; all 0 when max is 0
 *   per output, 32 columns after 32 columns in ascending order, starting from 0, every fma explicit:
 *     Q4_0, Q5_0, Q8_0   acc = fma((float)(dot(w, q) - zero * sum), d * dx, acc)       zero: 8, 16, 128
 *     IQ4_NL             acc = fma((float)dot(code[w], q), d * dx, acc)
 *     Q4_1, Q5_1         acc = fma((float)dot(w, q), d * dx, acc); acc = fma(m, sx, acc)
 *     Q4_K, Q5_K         acc = fma((float)dot(w, q), (d * s) * dx, acc); acc = fma(-m * n, sx, acc)
 *   with dots and sums of the first 16 columns and, primed, of the last 16:
 *     Q3_K, Q6_K         t = (float)(dot - zero * sum) * (d * s)                       zero: 4, 32
 *                        t = fma((float)(dot' - zero * sum'), d * s', t); acc = fma(t, dx, acc)
 *     Q2_K               t = (float)dot * (d * s); t = fma((float)dot', d * s', t)
 *                        t = fma(-m * n, (float)sum, t); t = fma(-m * n', (float)sum', t)
 *                        acc = fma(t, dx, acc)
 *   a bias is added last with a plain addition.
 * Float weights: acc = fma(w, x, acc) over ascending columns from 0, then the bias, however rows and panels
 * are blocked.
 * Rounded weights (--precision bf16): BF16 panels whose activations are rounded to nearest even bf16 as well;
 * per pair of columns 2k, 2k+1, ascending, acc = fma(w', x', acc) of the odd one, then of the even one; what
 * would be denormal may count as 0.  Then the bias.
 *
 * That is `exact` arithmetic.  In `fast` arithmetic (the default) a set may compute prompt rows, their
 * attention over f16 pages too, and the rows of encoders, in a way of its own that is quicker with many rows
 * (set.h: struct prompt_kernels); there too a row's bits depend on that row alone.  Generated rows, and all
 * rows of a set without one, are as in `exact`.
 *
 * Fixed point is one such way (sets with struct fixed_kernels), for the layers of encoders made for vectors
 * of length 1 (sentence-transformers' module Normalize): in blocks of 16 columns w = d * q and x = dx * qx,
 * with q and qx of 16 bits and, as vectors of 16, as long as sums of 31 bits allow: |q| <= 65500, |qx| <=
 * 32767. acc = fma((float)dot(q, qx), d * dx, acc) over ascending blocks from 0, then the bias. MiniLM's
 * vectors are off by less than 4e-5 an element.  A panel has, per block, 16 floats d, then for each pair of
 * columns 16 pairs of int16, one a row.
 *
 * Norms and sums over a row run in 16 virtual lanes (element i into lane i % 16, in order, fma for
 * products), folded 8+8, 4+4, 2+2, 1+1.  exp and the activations are kernels/math.inc's everywhere.
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

enum { PANEL_ROWS = 16, QUANT_BLOCK = 32, ATTENTION_BLOCK = 256 };

struct kernel_set;
enum arithmetic { ARITHMETIC_FAST, ARITHMETIC_EXACT };

/* The best set that this processor and operating system grant, or the named one.
 * name: NULL, or of a row of select.c; an unknown or unavailable one is an error that says why. */
const struct kernel_set *kernels_select(const char *name, struct error *e);
const char *kernels_name(const struct kernel_set *set);
/* Whether it can compute in exact arithmetic, the same bits as every other such set. */
bool kernels_exact(const struct kernel_set *set);
/* How keys and values of quantised models are kept in this arithmetic: DTYPE_F16, or DTYPE_BF16 where
 * attention over it is quicker. */
enum dtype kernels_kv_dtype(const struct kernel_set *set, enum arithmetic a);
/* Row i of the table, or NULL past its end; *why_not is NULL when it can run here. */
const struct kernel_set *kernels_at(size_t i, const char **name, const char **why_not);

/* Where work runs: a set, a pool and scratch memory that grows as needed. */
struct exec;
int exec_create(const struct kernel_set *set, struct pool *pool, struct exec **out, struct error *e);
void exec_free(struct exec *x);
struct pool *exec_pool(const struct exec *x);
const struct kernel_set *exec_kernels(const struct exec *x);

/* Of all the weights that calls to come read, again and again: none until it is called. */
void exec_set_weight_bytes(struct exec *x, uint64_t bytes);

void exec_set_arithmetic(struct exec *x, enum arithmetic a); /* ARITHMETIC_FAST until it is called */
enum arithmetic exec_arithmetic(const struct exec *x);
/* Whether prompt rows get other bits than generated ones: what was computed as one must not stand for the
 * other. */
bool exec_prompt_differs(const struct exec *x);
/* Bits that prompt products keep of rows and float weights at least.  24: all of a float, for decoders, whose
 * logits and choices follow from small differences.  16: for encoders, whose vectors and labels do not. */
enum prompt_precision { PROMPT_8_BITS = 1, PROMPT_16_BITS, PROMPT_24_BITS };
/* From now on the first n rows of every matrix product and of attention are prompt rows: none until it is
 * called, SIZE_MAX for all (encoders).  Whoever sets it for a call sets 0 after it. */
void exec_set_prompt_rows(struct exec *x, size_t n, enum prompt_precision precision);
enum prompt_precision exec_prompt_precision(const struct exec *x);
/* How many of `rows` are to be computed by the set's prompt kernels. */
size_t exec_prompt_rows(const struct exec *x, size_t rows);

/* ---- weights -------------------------------------------------------------------------------- */

struct weight {
    enum dtype dtype;  /* of the panels: F32 where a tensor held F64 or integers */
    size_t rows, cols; /* output and input features */
    bool rounded;      /* BF16, and so are its activations: PRECISION_BF16 */
    bool fixed;        /* F32 that became fixed point */
    void *panels;      /* ceil(rows/16) panels, 64-byte aligned; owned */
    size_t bytes;
    struct panel_slab *home; /* of the panels */
};

/* What float matrices become when they are loaded: what they are in the file; bf16 that meets bf16; Q8_0. */
enum precision { PRECISION_FILE, PRECISION_BF16, PRECISION_Q8 };
void exec_set_precision(struct exec *x,
                        enum precision p); /* of loads to come; PRECISION_FILE until it is called */
enum precision exec_precision(const struct exec *x);
/* Whether fixed point is good enough for weights of PRECISION_FILE to come: not until it is called.  Such
 * weights are for matrix products only. */
void exec_allow_fixed(struct exec *x, bool allow);
size_t
exec_converted(const struct exec *x); /* matrices that were loaded in another precision than the file's */

/* Reads tensor t (dims {cols, rows}) piece by piece and packs it, in parallel; of t only the name, dtype,
 * dims and bytes are used, the rest is between t and s.  Quantised columns must be whole blocks of 32 or
 * 256.  A tensor that can't have the wanted precision is ERROR_BAD_OPTION.  On error *w is empty. */
int weight_load(struct exec *x, const struct tensor_source *s, const struct tensor_info *t, struct weight *w,
                struct error *e);
/* The same from memory: rows*cols values in dtype layout, row after row. */
int weight_pack(struct exec *x, enum dtype dtype, const void *data, size_t rows, size_t cols,
                struct weight *w, struct error *e);
void weight_free(struct weight *w);
void weight_row(const struct weight *w, size_t row, float *out);     /* cols floats: an embedding look-up */
void weight_row_add(const struct weight *w, size_t row, float *out); /* added to the floats that are there */

/* ---- matrix work ---------------------------------------------------------------------------- */

/* One output of a linear call: out (rows, w->rows) with `stride` floats between rows. */
struct linear_part {
    float *out;
    size_t stride;
    const struct weight *w;
    const float *bias; /* w->rows floats, or NULL */
    bool add;          /* out += what is computed: a residual connection */
};

/* A norm of the rows that a product reads: RMSNorm (Zhang & Sennrich, 2019), or LayerNorm. */
struct row_norm {
    bool rms;
    const float *scale, *bias; /* cols floats; bias of a LayerNorm, or NULL */
    float epsilon;
};

/* out = x * transpose(w) + bias for each part; x is (rows, cols).  All parts have the same cols; none may
 * write to x.  A row's bits depend neither on `rows` nor on the other parts.  One fork-join for the group
 * (query, key and value; gate and up).  An allocation failure of scratch aborts the call: -1. */
int linear_group(struct exec *e, const float *x, size_t rows, const struct linear_part *parts,
                 size_t n_parts);
/* The same of norm(x), which is not kept; norm NULL: of x. */
int linear_normed(struct exec *e, const struct row_norm *norm, const float *x, size_t rows,
                  const struct linear_part *parts, size_t n_parts);
int linear(struct exec *e, float *out, const float *x, size_t rows, const struct weight *w);

/* ---- fused element work; rows are independent ---------------------------------------------- */

/* out = x / sqrt(mean(x^2) + eps) * scale.  x, out (rows, cols); out may be x. */
void rms_norm(struct exec *e, float *out, const float *x, size_t rows, size_t cols, const float *scale,
              float eps);
/* x += y, n floats. */
void add_to(struct exec *e, float *x, const float *y, size_t n);
/* LayerNorm (Ba et al., 2016): out = (x - mean) / sqrt(variance + eps) * scale + bias; bias may be NULL. */
void layer_norm(struct exec *e, float *out, const float *x, size_t rows, size_t cols, const float *scale,
                const float *bias, float eps);
/* x *= factor, n floats. */
void scale_by(struct exec *e, float *x, float factor, size_t n);

enum activation {
    ACTIVATION_NONE,
    ACTIVATION_RELU,
    ACTIVATION_GELU,      /* x * (1 + erf(x / sqrt(2))) / 2 (Hendrycks & Gimpel, 2016) */
    ACTIVATION_GELU_TANH, /* its tanh form: "gelu_new", "gelu_pytorch_tanh" */
    ACTIVATION_SILU,      /* x * sigmoid(x): "swish" */
    ACTIVATION_TANH,
    ACTIVATION_SIGMOID
};
/* x = f(x), n floats. */
void activate(struct exec *e, enum activation f, float *x, size_t n);
/* gate = f(gate) * up, n floats. */
void activate_gate(struct exec *e, enum activation f, float *gate, const float *up, size_t n);

/* down->out = transpose(down) * activation(up), or of activation(gate) * up (Shazeer, 2020), of norm(x) or x
 * as in linear_normed(); down.out may be x.  What lies between is never whole in memory as floats.  The
 * bits are those of linear_group(), activate() or activate_gate() and linear_group(). */
struct feed_forward {
    const struct weight *up, *gate;   /* (ff, cols); gate NULL: plain */
    const float *up_bias, *gate_bias; /* or NULL */
    enum activation activation;
    struct linear_part down; /* of (outputs, ff) */
};
int feed_forward(struct exec *e, const struct row_norm *norm, const float *x, size_t rows,
                 const struct feed_forward *f);

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

/* One layer's part of a page, at byte `offset` from the page's start, values f16, f32 or bf16:
 *   keys   (kv_heads, head_dim, 32 tokens)    so that a lane is a token
 *   values (kv_heads, 32 tokens, padded)      so that a lane is a dimension; padded: head_dim rounded up to
 *                                             a multiple of 16, zeros behind it
 * in bf16, zeros where there is no second one:
 *   keys   (kv_heads, pairs of dimensions, 32 tokens, 2 dimensions)
 *   values (kv_heads, 16 pairs of tokens, padded, 2 tokens)   finite: what is not becomes the largest number
 * attention_layer_bytes() gives its size. */
struct attention_shape {
    size_t heads, kv_heads, head_dim;
    float scale;         /* of the scores, usually 1/sqrt(head_dim) */
    size_t window;       /* a query sees this many last positions, itself included; 0 = all before it */
    enum dtype kv_dtype; /* DTYPE_F16, DTYPE_F32 or DTYPE_BF16 */
    size_t offset;       /* of this layer in a page, bytes; a multiple of 64 */
    bool all_keys;       /* encoders, cross attention: every query sees the span's n_keys keys; no window */
    /* Added to scaled scores, or NULL: bias[h * (2 * bias_half + 1) + bias_half + clamp(key - query,
     * -bias_half, bias_half)] for query head h (T5's relative positions, its buckets spread out). */
    const float *bias;
    size_t bias_half;
};
size_t attention_layer_bytes(size_t kv_heads, size_t head_dim, enum dtype kv_dtype); /* multiple of 64 */

/* Rows first_row .. first_row+rows-1 of the batch are positions first_position … of one sequence. */
struct attention_span {
    size_t first_row, rows;
    size_t first_position;
    void *const *pages; /* pages[i] holds positions 32*i … 32*i+31 */
    size_t n_keys;      /* with all_keys: how many the pages hold; else unused */
};

/* Writes k, v (all rows, kv_heads, head_dim) into the pages. */
void attention_store(struct exec *e, const struct attention_shape *shape, const struct attention_span *spans,
                     size_t n_spans, const float *k, const float *v);

/* Attention of q (all rows, heads, head_dim) over the stored pages into out (same shape), causal or over
 * all keys.  Any head_dim; heads a multiple of kv_heads.
 * Keys are taken in blocks of ATTENTION_BLOCK, counted from position 0.  A score is fma(q * scale, k, score)
 * over head_dim in ascending order, then plus bias.  Of each block that a query sees keys of: m, the largest
 * score; p = exp(score - m); l, the sum of p in 16 lanes (key i in lane i % 16, ascending, folded as a
 * norm's); acc = fma(p, v, acc) over ascending keys from 0.  Blocks are joined in ascending order (Milakov &
 * Gimelshein, 2018), from M = -infinity, L = 0, A = 0: M' = max(M, m); L = fma(l, exp(m - M'), L * exp(M -
 * M')); A = fma(acc, exp(m - M'), A * exp(M - M')).  The output is A / L. A query's bits depend only on its
 * position, n_keys and the pages' contents, not on threads: one query's blocks may be computed by several.
 * Over bf16 pages q * scale and p are rounded to nearest even bf16, as k and v were.  A score adds pairs of
 * dimensions 2i, 2i + 1 in ascending order, from 0: fma of the odd one, then of the even one.  acc adds pairs
 * of positions likewise; hidden keys weigh 0, and 0 is added at last.  p is exp_roughly(score - m) of
 * attention_pairs.inc; l is the sum of rounded p in 16 lanes, pair i in lane i % 16, the odd one first.  What
 * would be denormal may count as 0.
 * Without keys it gives 0.  -1 when scratch memory is out. */
int attention(struct exec *e, const struct attention_shape *shape, const struct attention_span *spans,
              size_t n_spans, const float *q, float *out);

/* ---- over logits ---------------------------------------------------------------------------- */

size_t row_argmax(const float *x, size_t n); /* lowest index among equals */
float row_log_sum_exp(const struct kernel_set *set, const float *x, size_t n);

#endif
