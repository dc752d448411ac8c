/* openblas.c - matrix work in float by OpenBLAS, single threaded inside the pool's tiles: the portable
 * path, and the reference that shares no code with the others.  A few panels at a time are expanded
 * into a (cols, 16 * panels) matrix, which is what sgemm wants.  A row's last bits depend on how many
 * rows go with it: fine for vectors and labels, not for replaying a generation. */
#include <cblas.h>
#include <pthread.h>
#include <string.h>

#include "engine/kernels/set.h"

enum { EXPAND_PANELS = 4, EXPAND_COLS = EXPAND_PANELS * PANEL_ROWS };

static struct kernel_set openblas;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static size_t scratch_floats(size_t cols)
{
    return cols * EXPAND_COLS;
}

/* Each expands one panel into out (cols, 16) with EXPAND_COLS floats between columns. */
typedef void expand_fn(const uint8_t *panel, size_t cols, float *out);

static void expand_blocks(enum dtype dtype, const uint8_t *panel, size_t cols, float *out)
{
    size_t values = dtype_row(dtype)->block_values;
    float row[QUANT_VALUES_MAX];
    for (size_t c = 0; c < cols; c += values, panel += panel_block_bytes(dtype), out += values * EXPAND_COLS)
        for (size_t r = 0; r < PANEL_ROWS; r++) {
            panel_values(dtype, panel, r, row);
            for (size_t i = 0; i < values; i++)
                out[i * EXPAND_COLS + r] = row[i];
        }
}

static void expand_f32(const uint8_t *panel, size_t cols, float *out)
{
    for (size_t i = 0; i < cols; i++)
        dtype_to_f32(DTYPE_F32, panel + i * PANEL_ROWS * 4, PANEL_ROWS, out + i * EXPAND_COLS);
}

static void expand_f16(const uint8_t *panel, size_t cols, float *out)
{
    for (size_t i = 0; i < cols; i++)
        dtype_to_f32(DTYPE_F16, panel + i * PANEL_ROWS * 2, PANEL_ROWS, out + i * EXPAND_COLS);
}

static void expand_bf16(const uint8_t *panel, size_t cols, float *out)
{
    for (size_t i = 0; i < cols; i++)
        dtype_to_f32(DTYPE_BF16, panel + i * PANEL_ROWS * 2, PANEL_ROWS, out + i * EXPAND_COLS);
}

static void expand_q4_0(const uint8_t *panel, size_t cols, float *out)
{
    expand_blocks(DTYPE_Q4_0, panel, cols, out);
}

static void expand_q4_1(const uint8_t *panel, size_t cols, float *out)
{
    expand_blocks(DTYPE_Q4_1, panel, cols, out);
}

static void expand_q8_0(const uint8_t *panel, size_t cols, float *out)
{
    expand_blocks(DTYPE_Q8_0, panel, cols, out);
}

static void expand_q5_0(const uint8_t *panel, size_t cols, float *out)
{
    expand_blocks(DTYPE_Q5_0, panel, cols, out);
}

static void expand_q5_1(const uint8_t *panel, size_t cols, float *out)
{
    expand_blocks(DTYPE_Q5_1, panel, cols, out);
}

static void expand_q2_k(const uint8_t *panel, size_t cols, float *out)
{
    expand_blocks(DTYPE_Q2_K, panel, cols, out);
}

static void expand_q3_k(const uint8_t *panel, size_t cols, float *out)
{
    expand_blocks(DTYPE_Q3_K, panel, cols, out);
}

static void expand_q4_k(const uint8_t *panel, size_t cols, float *out)
{
    expand_blocks(DTYPE_Q4_K, panel, cols, out);
}

static void expand_q5_k(const uint8_t *panel, size_t cols, float *out)
{
    expand_blocks(DTYPE_Q5_K, panel, cols, out);
}

static void expand_q6_k(const uint8_t *panel, size_t cols, float *out)
{
    expand_blocks(DTYPE_Q6_K, panel, cols, out);
}

static void expand_iq4_nl(const uint8_t *panel, size_t cols, float *out)
{
    expand_blocks(DTYPE_IQ4_NL, panel, cols, out);
}

static void add_bias(const struct linear_tile *t, size_t col, size_t n)
{
    for (size_t r = 0; r < t->rows; r++)
        for (size_t i = 0; i < n; i++)
            t->out[r * t->stride + col + i] += t->bias[col + i];
}

static void linear_with(const struct linear_tile *t, expand_fn *expand)
{
    for (size_t panel = 0; panel < t->n_panels; panel += EXPAND_PANELS) {
        size_t left = t->n_panels - panel, panels = left < EXPAND_PANELS ? left : EXPAND_PANELS;
        size_t col = panel * PANEL_ROWS, n = t->out_cols - col;
        if (n > panels * PANEL_ROWS)
            n = panels * PANEL_ROWS;
        for (size_t i = 0; i < panels; i++)
            expand(t->panels + (panel + i) * t->panel_bytes, t->cols, t->scratch + i * PANEL_ROWS);
        cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, (blasint)t->rows, (blasint)n, (blasint)t->cols,
                    1.0f, t->x, (blasint)t->cols, t->scratch, EXPAND_COLS, t->add ? 1.0f : 0.0f, t->out + col,
                    (blasint)t->stride);
        if (t->bias)
            add_bias(t, col, n);
    }
}

static void linear_q4_0(const struct linear_tile *t)
{
    linear_with(t, expand_q4_0);
}

static void linear_q4_1(const struct linear_tile *t)
{
    linear_with(t, expand_q4_1);
}

static void linear_q8_0(const struct linear_tile *t)
{
    linear_with(t, expand_q8_0);
}

static void linear_q5_0(const struct linear_tile *t)
{
    linear_with(t, expand_q5_0);
}

static void linear_q5_1(const struct linear_tile *t)
{
    linear_with(t, expand_q5_1);
}

static void linear_q2_k(const struct linear_tile *t)
{
    linear_with(t, expand_q2_k);
}

static void linear_q3_k(const struct linear_tile *t)
{
    linear_with(t, expand_q3_k);
}

static void linear_q4_k(const struct linear_tile *t)
{
    linear_with(t, expand_q4_k);
}

static void linear_q5_k(const struct linear_tile *t)
{
    linear_with(t, expand_q5_k);
}

static void linear_q6_k(const struct linear_tile *t)
{
    linear_with(t, expand_q6_k);
}

static void linear_iq4_nl(const struct linear_tile *t)
{
    linear_with(t, expand_iq4_nl);
}

static void linear_f32(const struct linear_tile *t)
{
    linear_with(t, expand_f32);
}

static void linear_f16(const struct linear_tile *t)
{
    linear_with(t, expand_f16);
}

static void linear_bf16(const struct linear_tile *t)
{
    linear_with(t, expand_bf16);
}

static void complete(const struct kernel_set *rest)
{
    openblas_set_num_threads(1);
    openblas = *rest;
    openblas.fixed = NULL;
    openblas.name = "openblas";
    openblas.float_activations = true;
    openblas.scratch_floats = scratch_floats;
    openblas.prompt = NULL;
    openblas.linear[DTYPE_F32] = linear_f32;
    openblas.linear[DTYPE_F16] = linear_f16;
    openblas.linear[DTYPE_BF16] = linear_bf16;
    openblas.linear[DTYPE_Q4_0] = linear_q4_0;
    openblas.linear[DTYPE_Q4_1] = linear_q4_1;
    openblas.linear[DTYPE_Q8_0] = linear_q8_0;
    openblas.linear[DTYPE_Q5_0] = linear_q5_0;
    openblas.linear[DTYPE_Q5_1] = linear_q5_1;
    openblas.linear[DTYPE_Q2_K] = linear_q2_k;
    openblas.linear[DTYPE_Q3_K] = linear_q3_k;
    openblas.linear[DTYPE_Q4_K] = linear_q4_k;
    openblas.linear[DTYPE_Q5_K] = linear_q5_k;
    openblas.linear[DTYPE_Q6_K] = linear_q6_k;
    openblas.linear[DTYPE_IQ4_NL] = linear_iq4_nl;
}

const struct kernel_set *kernel_set_openblas(const struct kernel_set *rest)
{
    pthread_mutex_lock(&lock);
    if (!openblas.name)
        complete(rest);
    pthread_mutex_unlock(&lock);
    return &openblas;
}
