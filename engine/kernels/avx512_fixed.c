/* avx512_fixed.c - products in fixed point (kernels.h) by VNNI's pairs of 16-bit numbers: twice as many as by
 * fma.  Compiled and granted like avx512.c.
 *
 * A tile takes its panels two by two.  Of these, a stretch of columns that fits the first-level cache passes
 * by all rows of the tile, and sums wait in memory from one block of columns to the next: only the dots of
 * one block stay in registers. */
#include <immintrin.h>
#include <math.h>
#include <string.h>

#include "engine/kernels/set.h"

#include "engine/kernels/avx512_vectors.inc"

enum {
    STEPS = FIXED_BLOCK / 2,
    STRETCH_BLOCKS = 8,
    PANELS = 2,
    RUN_ROWS = 144,                  /* whose sums wait beside a stretch */
    SUM_FLOATS = PANELS * PANEL_ROWS /* of a row */
};

#define ACTIVATION_TOP 32767.0f /* the most that a block of activations is long, as vector */

static void pack_row(const float *x, size_t cols, struct fixed_rows out)
{
    for (size_t i = 0; i < cols; i += FIXED_BLOCK) {
        size_t n = cols - i < FIXED_BLOCK ? cols - i : FIXED_BLOCK;
        vf low = vf_load_n(x + i, n < 16 ? n : 16), high = n > 16 ? vf_load_n(x + i + 16, n - 16) : vf_set(0);
        float length = sqrtf(vf_fold_add(vf_fma(high, high, vf_mul(low, low))));
        vf factor = vf_set(length > 0 ? ACTIVATION_TOP / length : 0);
        __m512i low_q = _mm512_cvtps_epi32(vf_mul(low, factor));
        __m512i high_q = _mm512_cvtps_epi32(vf_mul(high, factor));
        _mm256_storeu_si256((void *)out.q, _mm512_cvtsepi32_epi16(low_q));
        _mm256_storeu_si256((void *)(out.q + 16), _mm512_cvtsepi32_epi16(high_q));
        *out.d = length / ACTIVATION_TOP;
        out.q += FIXED_ROW_GROUP * FIXED_BLOCK;
        out.d += FIXED_ROW_GROUP;
    }
}

/* Columns 2s and 2s + 1 of a block, the same for all 16 rows of the panel. */
INLINE __m512i two_of(const int16_t *q, int s)
{
    int32_t two;
    memcpy(&two, q + 2 * s, sizeof two);
    return _mm512_set1_epi32(two);
}

/* Block b of some rows and panels onto their sums. */
INLINE void add_block(const struct linear_tile *t, size_t panel, int panels, size_t first, int rows, size_t b,
                      float *sums)
{
    const uint8_t *w = t->panels + panel * t->panel_bytes + b * FIXED_BLOCK_BYTES;
    struct fixed_rows x = fixed_rows_at(t->fixed, t->cols, first, b);
    __m512i dot[PANELS][FIXED_ROW_GROUP];
    UNROLL for (int p = 0; p < panels; p++)
    {
        UNROLL for (int r = 0; r < rows; r++) dot[p][r] = _mm512_setzero_si512();
    }
    UNROLL for (int s = 0; s < STEPS; s++)
    {
        __m512i pairs[PANELS];
        UNROLL for (int p = 0; p < panels; p++) pairs[p] =
            _mm512_load_si512(w + (size_t)p * t->panel_bytes + 64 + 64 * s);
        UNROLL for (int r = 0; r < rows; r++)
        {
            __m512i two = two_of(x.q + r * FIXED_BLOCK, s);
            UNROLL for (int p = 0; p < panels; p++) dot[p][r] = _mm512_dpwssd_epi32(dot[p][r], pairs[p], two);
        }
    }
    UNROLL for (int p = 0; p < panels; p++)
    {
        vf scale = vf_load((const float *)(const void *)(w + (size_t)p * t->panel_bytes));
        UNROLL for (int r = 0; r < rows; r++)
        {
            float *sum = sums + (size_t)r * SUM_FLOATS + p * PANEL_ROWS;
            vf factor = vf_mul(scale, vf_set(x.d[r]));
            vf before = b > 0 ? vf_load(sum) : vf_set(0.0f);
            vf_store(sum, vf_fma(_mm512_cvtepi32_ps(dot[p][r]), factor, before));
        }
    }
}

INLINE void add_stretch(const struct linear_tile *t, size_t panel, int panels, size_t first, int rows,
                        size_t begin, size_t end, float *sums)
{
    for (size_t b = begin; b < end; b++)
        add_block(t, panel, panels, first, rows, b, sums);
}

/* A stretch of blocks onto the sums of a run of rows. */
INLINE void all_rows(const struct linear_tile *t, size_t panel, int panels, size_t first, size_t rows,
                     size_t begin, size_t end, float *sums)
{
    size_t r = 0;
    for (; r + FIXED_ROW_GROUP <= rows; r += FIXED_ROW_GROUP)
        add_stretch(t, panel, panels, first + r, FIXED_ROW_GROUP, begin, end, sums + r * SUM_FLOATS);
    for (; r + 4 <= rows; r += 4)
        add_stretch(t, panel, panels, first + r, 4, begin, end, sums + r * SUM_FLOATS);
    for (; r < rows; r++)
        add_stretch(t, panel, panels, first + r, 1, begin, end, sums + r * SUM_FLOATS);
}

static void store_sums(const struct linear_tile *t, size_t panel, size_t panels, size_t first, size_t rows,
                       const float *sums)
{
    for (size_t p = 0; p < panels; p++) {
        size_t col = (panel + p) * PANEL_ROWS, left = t->out_cols - col;
        size_t n = left < PANEL_ROWS ? left : PANEL_ROWS;
        vf bias = t->bias ? vf_load_n(t->bias + col, n) : vf_set(0.0f);
        for (size_t r = 0; r < rows; r++) {
            float *out = t->out + (first + r) * t->stride + col;
            vf sum = vf_add(vf_load(sums + r * SUM_FLOATS + p * PANEL_ROWS), bias);
            vf_store_n(out, t->add ? vf_add(vf_load_n(out, n), sum) : sum, n);
        }
    }
}

static void run_rows(const struct linear_tile *t, size_t panel, size_t first, size_t rows)
{
    _Alignas(64) float sums[RUN_ROWS * SUM_FLOATS];
    size_t blocks = fixed_blocks(t->cols), panels = t->n_panels - panel < PANELS ? 1 : PANELS;
    for (size_t begin = 0; begin < blocks; begin += STRETCH_BLOCKS) {
        size_t end = blocks - begin < STRETCH_BLOCKS ? blocks : begin + STRETCH_BLOCKS;
        if (panels == PANELS)
            all_rows(t, panel, PANELS, first, rows, begin, end, sums);
        else
            all_rows(t, panel, 1, first, rows, begin, end, sums);
    }
    store_sums(t, panel, panels, first, rows, sums);
}

static void linear_tile(const struct linear_tile *t)
{
    for (size_t first = 0; first < t->rows; first += RUN_ROWS) {
        size_t rows = t->rows - first < RUN_ROWS ? t->rows - first : RUN_ROWS;
        for (size_t panel = 0; panel < t->n_panels; panel += PANELS)
            run_rows(t, panel, first, rows);
    }
}

const struct fixed_kernels fixed_kernels_avx512 = {.pack = pack_row, .linear = linear_tile};
