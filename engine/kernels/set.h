/* set.h - inside of the room: what a kernel set must provide, and the work orders it is given.
 * linear.c, attention.c and rows.c cut a call into these orders and hand them to the pool; a set's
 * functions know nothing of threads.  Bodies are in loops.inc, compiled once per instruction set. */
#ifndef LOQUAT_KERNELS_SET_H
#define LOQUAT_KERNELS_SET_H

#include "engine/base/quant_blocks.h"
#include "engine/kernels/kernels.h"

/* Bodies are specialised by constant arguments: they must be inlined, and their short loops unrolled.  Not in
 * a sanitizer's build, which checks every access: compiling the copies would take minutes. */
#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) ||                                   \
    __has_feature(undefined_behavior_sanitizer)
#define KERNELS_CHECKED
#endif
#elif defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define KERNELS_CHECKED
#endif
#if defined(KERNELS_CHECKED)
#define UNROLL
#define INLINE static inline
#elif defined(__clang__)
#define UNROLL _Pragma("clang loop unroll(full)")
#define INLINE static inline __attribute__((always_inline))
#else
#define UNROLL _Pragma("GCC unroll 16")
#define INLINE static inline __attribute__((always_inline))
#endif

/* 32 activations in the int8 block arithmetic.  Rows lie in groups of the set's row_group (the last may have
 * fewer): block b of all rows of a group, then block b + 1, so that a tile reads them one after another. */
struct quant_block {
    int8_t q[QUANT_BLOCK];
    float dx, sx;   /* sx = dx * (sum[0] + sum[1]) */
    int16_t sum[2]; /* of q's first and last 16 */
};

/* Fixed point (kernels.h).  Rows lie in groups of FIXED_ROW_GROUP: block b of columns of all rows of a group,
 * then block b + 1; room is for whole groups. */
enum {
    FIXED_BLOCK = 16,
    FIXED_BLOCK_BYTES = PANEL_ROWS * (4 + FIXED_BLOCK * 2), /* of a panel */
    FIXED_ROW_GROUP = 12 /* divides LINEAR_TILE_ROWS; a kernel takes half of them at once */
};
struct fixed_rows {
    int16_t *q; /* FIXED_BLOCK a block */
    float *d;   /* one a block */
};

/* Some rows of x against some consecutive panels of one weight. */
enum { LINEAR_TILE_ROWS = 288 };
struct linear_tile {
    const uint8_t *panels;
    size_t n_panels, panel_bytes;
    bool once; /* nothing is gained by keeping the panels in caches behind this tile */
    size_t cols;
    size_t rows;
    size_t out_cols;             /* outputs of these panels that exist: the last panel may be cut */
    const float *x;              /* (rows, cols); unused by quantised sets */
    const uint16_t *rounded;     /* (rows, rounded_stride(cols)) bf16, for rounded weights instead of x */
    const struct quant_block *a; /* from a whole row group on; unused by float weights */
    struct fixed_rows fixed;     /* from a whole group on, for fixed weights instead of x */
    float *out;                  /* (rows, out_cols) with `stride` floats between rows */
    size_t stride;
    const float *bias; /* (out_cols), or NULL */
    bool add;          /* to what is in out */
    float *scratch;    /* scratch_floats() of the set */
};

/* Some query rows of one span, for all heads that share one kv head, over all blocks of keys that they see or
 * some of these. */
struct attention_tile {
    const struct attention_shape *shape;
    void *const *pages;
    size_t kv_head;
    size_t first_position, rows;
    size_t n_keys;                /* with shape->all_keys */
    size_t first_block, n_blocks; /* of ATTENTION_BLOCK keys */
    const float *q;               /* (rows, heads, head_dim), from the tile's first row and head on */
    float *out;                   /* same shape; not written where there are pieces */
    float *pieces;  /* NULL, or attention_piece_floats() a block: each block's sums, for attention_join() */
    float *scratch; /* attention_scratch_floats(), or over bf16 pages attention_pairs_scratch_floats() */
};

/* Prompt rows against one or two consecutive panels of one weight. */
struct prompt_tile {
    enum dtype dtype;
    const uint8_t *panels;
    size_t n_panels, panel_bytes;
    size_t cols, rows;
    size_t out_cols;    /* outputs of these panels that exist */
    unsigned pieces;    /* bf16 numbers that a float is the sum of: 1 .. 3, 8 bits each */
    const uint8_t *x;   /* pack()ed rows, from a whole group on: their first pieces */
    size_t piece_bytes; /* from there to the next pieces */
    float *out;         /* (rows, out_cols) with `stride` floats between rows */
    size_t stride;
    const float *bias; /* (out_cols), or NULL */
    bool add;          /* to what is in out */
    void *scratch;     /* scratch_bytes() */
};

/* How a set computes prompt rows where it has a way of its own.  Rows are packed in groups of PROMPT_GROUP,
 * once a call; a tile then takes many of them, to pay for what it makes of the weights. */
enum { PROMPT_GROUP = 16, PROMPT_PANELS = 2 };
struct prompt_kernels {
    size_t (*group_bytes)(size_t cols); /* of one piece of a packed group; a multiple of 64 */
    /* rows (at most PROMPT_GROUP) of x into a group: out[i * piece_bytes] has piece i, what rounding left of
     * the pieces before it. */
    void (*pack)(const float *x, size_t rows, size_t cols, unsigned pieces, uint8_t *out, size_t piece_bytes);
    size_t (*scratch_bytes)(size_t cols);
    void (*linear)(const struct prompt_tile *t); /* every dtype that linear[] has */
    /* Of f16 pages, each query's blocks joined as kernel_set's are; NULL: as all rows'. */
    void (*attention)(const struct attention_tile *t);
    size_t (*attention_scratch_bytes)(size_t head_dim, size_t vectors);
};

/* How a set multiplies in fixed point. */
struct fixed_kernels {
    /* n columns of one row from a block on, zeros behind them. */
    void (*pack)(const float *x, size_t n, struct fixed_rows out);
    void (*linear)(const struct linear_tile *t);
};

struct kernel_set {
    const char *name;
    bool float_activations;                /* linear[] reads x where a quantising set reads a */
    size_t (*scratch_floats)(size_t cols); /* of a linear tile; NULL = none */
    void (*linear[DTYPES])(const struct linear_tile *t);
    size_t row_group; /* of quantised activations; divides LINEAR_TILE_ROWS */
    /* One row, its blocks `stride` apart in out. */
    void (*quantise)(const float *x, size_t cols, struct quant_block *out, size_t stride);
    void (*rms_norm)(float *out, const float *x, size_t cols, const float *scale, float eps);
    void (*add)(float *x, const float *y, size_t n);
    void (*layer_norm)(float *out, const float *x, size_t cols, const float *scale, const float *bias,
                       float eps);
    void (*activate)(enum activation f, float *x, const float *up,
                     size_t n); /* up: a gate's other half, or NULL */
    void (*rotary)(float *x, const float *table, size_t half, bool interleaved); /* one head */
    void (*to_f16)(uint16_t *out, const float *x, size_t n);
    void (*to_bf16)(uint16_t *out, const float *x, size_t n); /* and a zero behind an odd n */
    void (*linear_rounded)(const struct linear_tile *t);      /* BF16 panels by bf16 activations */
    void (*attention)(const struct attention_tile *t);        /* over f16 and f32 pages */
    void (*attention_pairs)(const struct attention_tile *t);  /* the same over bf16 pages */
    void (*attention_join)(const struct attention_tile *t);   /* t->pieces of all its blocks into out */
    float (*log_sum_exp)(const float *x, size_t n);
    bool (*multiplies_pairs)(void);      /* whether the processor has pairs of bf16; NULL: it has not */
    const struct prompt_kernels *prompt; /* of fast arithmetic; NULL: prompt rows are like all others */
    const struct fixed_kernels *fixed;   /* of fast arithmetic, where it pays; NULL: no weight is `fixed` */
};

extern const struct kernel_set kernel_set_scalar;
extern const struct kernel_set kernel_set_avx2;
extern const struct kernel_set kernel_set_avxvnni;
extern const struct kernel_set kernel_set_avx512;
extern const struct kernel_set kernel_set_neon;
extern const struct fixed_kernels fixed_kernels_avx512;
/* The avx512 set with prompts by tiles, and why that can't be here, or NULL: only where avx512 can be. */
const struct kernel_set *kernel_set_amx(void);
const char *amx_missing(void);
const struct kernel_set *
kernel_set_openblas(const struct kernel_set *rest); /* linear by sgemm, all else from rest */

/* How the digits of 32 columns lie in a panel, 64 bytes a bit: planes of bytes, nibbles, pairs and single
 * bits, in this order.  DIGITS_CODES: nibbles that pick one of quant_codes[]. */
enum digits { DIGITS_2, DIGITS_3, DIGITS_4, DIGITS_5, DIGITS_6, DIGITS_8, DIGITS_CODES };

/* Bytes of a block of a panel: 16 rows of dtype_row()->block_values columns.  Layouts: kernels.h. */
static inline size_t panel_block_bytes(enum dtype dtype)
{
    switch (dtype) {
    case DTYPE_Q4_0:
    case DTYPE_IQ4_NL:
        return 32 + 256;
    case DTYPE_Q4_1:
        return 64 + 256;
    case DTYPE_Q5_0:
        return 32 + 320;
    case DTYPE_Q5_1:
        return 64 + 320;
    case DTYPE_Q8_0:
        return 32 + 512;
    case DTYPE_Q2_K:
        return 64 + 8 * (32 + 128);
    case DTYPE_Q3_K:
        return 32 + 8 * (32 + 192);
    case DTYPE_Q4_K:
        return 64 + 8 * (32 + 256);
    case DTYPE_Q5_K:
        return 64 + 8 * (32 + 320);
    case DTYPE_Q6_K:
        return 32 + 8 * (32 + 384);
    case DTYPE_F16:
    case DTYPE_BF16:
        return PANEL_ROWS * 2;
    default:
        return PANEL_ROWS * 4;
    }
}

/* Bytes of one panel; the caller has checked that cols is small enough. */
static inline size_t panel_bytes(enum dtype dtype, size_t cols)
{
    return cols / dtype_row(dtype)->block_values * panel_block_bytes(dtype);
}

static inline size_t fixed_blocks(size_t cols)
{
    return (cols + FIXED_BLOCK - 1) / FIXED_BLOCK;
}

static inline size_t weight_panel_bytes(const struct weight *w)
{
    return w->fixed ? fixed_blocks(w->cols) * FIXED_BLOCK_BYTES : panel_bytes(w->dtype, w->cols);
}

/* From a row's block on: number `block` of as many as `cols` have. */
static inline struct fixed_rows fixed_rows_at(struct fixed_rows rows, size_t cols, size_t row, size_t block)
{
    size_t group = row / FIXED_ROW_GROUP * fixed_blocks(cols) + block;
    size_t place = group * FIXED_ROW_GROUP + row % FIXED_ROW_GROUP;
    return (struct fixed_rows){rows.q + place * FIXED_BLOCK, rows.d + place};
}

static inline bool dtype_is_quantised(enum dtype dtype)
{
    return quant_format(dtype) != NULL;
}

/* A block of a quantised panel back to floats: block_values of row r.  weight.c */
void panel_values(enum dtype dtype, const uint8_t *block, size_t r, float *out);

enum { QUERY_ROWS_MAX = 12 }; /* query vectors that a set takes at once */
enum { PAIR_SLICE = 64 };     /* pairs of a query's dimensions that lie in a row, over bf16 pages */

/* Memory for panels, 64-byte aligned, contents zero; NULL when there is none.  panel_memory.c */
void *panels_take(size_t bytes, struct panel_slab **home);
void panels_give_back(struct panel_slab *home); /* NULL is fine */

/* head_dim rounded up to whole vectors of 16. */
static inline size_t attention_padded_dim(size_t head_dim)
{
    return (head_dim + 15) / 16 * 16;
}

/* Of a stored key: over bf16 pages dimensions go in whole pairs. */
static inline size_t attention_key_dim(size_t head_dim, enum dtype kv_dtype)
{
    return kv_dtype == DTYPE_BF16 ? (head_dim + 1) / 2 * 2 : head_dim;
}

/* Sums of values, a maximum and a sum of weights for each query vector of a tile. */
static inline size_t attention_piece_floats(size_t head_dim, size_t vectors)
{
    return vectors * (attention_padded_dim(head_dim) + 2);
}

/* Of a handful of queries: themselves, scores and sums; a block of keys and values; sums of all vectors. */
static inline size_t attention_scratch_floats(size_t head_dim, size_t vectors)
{
    size_t padded = attention_padded_dim(head_dim);
    size_t handful = QUERY_ROWS_MAX * (head_dim + 2 * ATTENTION_BLOCK + padded);
    return handful + ATTENTION_BLOCK * (head_dim + padded) + attention_piece_floats(head_dim, vectors) + 16;
}

/* The same over bf16 pages: all queries, then a handful's weights, scores and sums; sums of all vectors. */
static inline size_t attention_pairs_scratch_floats(size_t head_dim, size_t vectors)
{
    size_t slices = (head_dim + 2 * PAIR_SLICE - 1) / (2 * PAIR_SLICE);
    size_t queries = (vectors + QUERY_ROWS_MAX) * slices * PAIR_SLICE;
    size_t handful =
        QUERY_ROWS_MAX * (ATTENTION_BLOCK / 2 + ATTENTION_BLOCK + attention_padded_dim(head_dim));
    return queries + handful + attention_piece_floats(head_dim, vectors);
}

/* linear_normed() and feed_forward() for prompt rows, by set->prompt.  linear_prompt.c */
int linear_prompt(struct exec *e, const struct row_norm *norm, const float *x, size_t rows,
                  const struct linear_part *parts, size_t n_parts);
int feed_forward_prompt(struct exec *e, const struct row_norm *norm, const float *x, size_t rows,
                        const struct feed_forward *f);

/* Whether float weights become fixed when they are loaded now.  exec.c */
bool exec_fixes(const struct exec *x);

/* bf16 activations go in whole pairs. */
static inline size_t rounded_stride(size_t cols)
{
    return (cols + 1) / 2 * 2;
}

/* Rows in the forms that kernels read them in: bits of a set.  linear_rows.c */
enum { FORM_FLOATS = 1, FORM_ROUNDED = 2, FORM_BLOCKS = 4, FORM_FIXED = 8 };
struct linear_rows {
    size_t rows, cols;
    const float *x; /* (rows, cols) */
    float *floats;  /* x, where it is ours to be written */
    uint16_t *rounded;
    struct quant_block *blocks;
    struct fixed_rows fixed;
};
unsigned linear_form(const struct kernel_set *set, const struct weight *w); /* that w wants */
unsigned linear_forms(const struct kernel_set *set, const struct linear_part *parts, size_t n_parts);
void row_norm_apply(const struct kernel_set *set, const struct row_norm *n, float *out, const float *x,
                    size_t cols);
/* Buffers of the caller: what a call reads, and what lies between a feed forward's two products. */
enum exec_buffer { EXEC_INPUT, EXEC_MIDDLE, EXEC_BUFFERS };
/* Room for rows in these forms.  -1: memory is out. */
int linear_rows_place(struct exec *e, enum exec_buffer buffer, unsigned forms, size_t rows, size_t cols,
                      struct linear_rows *out);
/* n columns of one row from `col` on, a multiple of QUANT_BLOCK, into all forms that there is room for. */
void linear_rows_put(const struct kernel_set *set, const struct linear_rows *to, size_t row, size_t col,
                     const float *x, size_t n);
/* x, or its norm, in these forms; x itself, unchanged, is not copied. */
int linear_rows_make(struct exec *e, unsigned forms, const struct row_norm *norm, const float *x, size_t rows,
                     size_t cols, struct linear_rows *out);

/* Pieces of linear.c: products of rows, whose outputs lie from row first_row on; a tile of them, without its
 * out, stride and scratch; how much of the weights a tile should hold. */
int linear_of_rows(struct exec *e, const struct linear_rows *in, size_t first_row,
                   const struct linear_part *parts, size_t n_parts);
struct linear_tile linear_tile_of(const struct exec *e, const struct linear_rows *in, const struct weight *w,
                                  const float *bias, size_t panel, size_t panels, size_t row);
void linear_tile_run(const struct kernel_set *set, const struct weight *w, const struct linear_tile *t);
size_t linear_tile_bytes(struct exec *e, size_t rows, const struct linear_part *parts, size_t n_parts);
void linear_read_ahead(struct exec *e, size_t rows, const struct linear_part *parts, size_t n_parts);

static inline size_t weight_panels(const struct weight *w)
{
    return (w->rows + PANEL_ROWS - 1) / PANEL_ROWS;
}

/* One more matrix has another precision than in its file.  exec.c */
void exec_count_converted(struct exec *x);
/* Whether the weights in use are more than caches hold from one pass over them to the next.  exec.c */
bool exec_streams_weights(const struct exec *x);

/* Scratch memory, 64-byte aligned, contents undefined; NULL when memory is out.  exec.c */
float *exec_scratch(struct exec *x, unsigned worker, size_t floats);      /* of one worker, within one loop */
void *exec_shared(struct exec *x, enum exec_buffer buffer, size_t bytes); /* of the caller, within one call */

#endif
