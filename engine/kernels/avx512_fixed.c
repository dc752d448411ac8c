/* avx512_fixed.c - products in fixed point (kernels.h) by VNNI's pairs of 16-bit numbers: twice as many as by
 * fma.  Compiled and granted like avx512.c.
 *
 * Two panels by six rows: their sums and the dots of one block stay in registers, and what is loaded serves
 * several of them. */
#include <immintrin.h>
#include <math.h>
#include <string.h>

#include "engine/kernels/set.h"

#include "engine/kernels/avx512_vectors.inc"
#include "engine/kernels/linear_walk.inc"

enum { STEPS = FIXED_BLOCK / 2, PANELS = 2, ROWS = FIXED_ROW_GROUP / 2 };

#define ACTIVATION_TOP 32767.0f /* the most that a block of activations is long, as vector */

static void pack_row(const float *x, size_t cols, struct fixed_rows out)
{
    for (size_t i = 0; i < cols; i += FIXED_BLOCK) {
        vf block = vf_load_n(x + i, cols - i < FIXED_BLOCK ? cols - i : FIXED_BLOCK);
        float length = sqrtf(vf_fold_add(vf_mul(block, block)));
        vf factor = vf_set(length > 0 ? ACTIVATION_TOP / length : 0);
        __m512i q = _mm512_cvtps_epi32(vf_mul(block, factor));
        _mm256_storeu_si256((void *)out.q, _mm512_cvtsepi32_epi16(q));
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
                      vf sum[PANELS][ROWS])
{
    const uint8_t *w = t->panels + panel * t->panel_bytes + b * FIXED_BLOCK_BYTES;
    struct fixed_rows x = fixed_rows_at(t->fixed, t->cols, first, b);
    __m512i dot[PANELS][ROWS];
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
        UNROLL for (int r = 0; r < rows; r++) sum[p][r] =
            vf_fma(_mm512_cvtepi32_ps(dot[p][r]), vf_mul(scale, vf_set(x.d[r])), sum[p][r]);
    }
}

/* Rows of one group. */
INLINE void some_rows(const struct linear_tile *t, size_t panel, int panels, size_t first, int rows)
{
    vf sum[PANELS][ROWS];
    UNROLL for (int p = 0; p < panels; p++)
    {
        UNROLL for (int r = 0; r < rows; r++) sum[p][r] = vf_set(0.0f);
    }
    for (size_t b = 0; b < fixed_blocks(t->cols); b++)
        add_block(t, panel, panels, first, rows, b, sum);
    UNROLL for (int p = 0; p < panels; p++) store_rows(t, panel + (size_t)p, first, rows, sum[p]);
}

INLINE void all_rows(const struct linear_tile *t, size_t panel, int panels)
{
    size_t r = 0;
    for (; r + ROWS <= t->rows; r += ROWS)
        some_rows(t, panel, panels, r, ROWS);
    for (; r + 2 <= t->rows; r += 2)
        some_rows(t, panel, panels, r, 2);
    for (; r < t->rows; r++)
        some_rows(t, panel, panels, r, 1);
}

static void linear_tile(const struct linear_tile *t)
{
    size_t panel = 0;
    for (; panel + PANELS <= t->n_panels; panel += PANELS)
        all_rows(t, panel, PANELS);
    if (panel < t->n_panels)
        all_rows(t, panel, 1);
}

const struct fixed_kernels fixed_kernels_avx512 = {.pack = pack_row, .linear = linear_tile};
