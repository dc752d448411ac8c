/* avx512.c - 16 floats or 64 bytes an instruction; dots of bytes by VNNI.  Compiled with
 * -mavx512f -mavx512bw -mavx512vl -mavx512dq -mavx512vnni -mfma -mf16c; select.c lets it run only where
 * processor and operating system have all of them.  Bodies: loops.inc. */
#include <immintrin.h>
#include <math.h>
#include <string.h>

#include "engine/kernels/set.h"

#include "engine/kernels/avx512_vectors.inc"

typedef __m512i vi;

#define KERNEL_SET     kernel_set_avx512
#define KERNEL_NAME    "avx512"
#define LINEAR_ROUNDED linear_rounded
#define QUERY_ROWS     12
#define QUERY_VECTORS  2
/* 12 rows: their dots and sums, a vector of digits and a few more fill the 32 registers */
enum { QUANT_ROWS = 12, FLOAT_ROWS = 12, FLOAT_PANELS = 2, FLOAT_MOST_PANELS = 4 };

static inline vf vi_to_float(vi v)
{
    return _mm512_cvtepi32_ps(v);
}

/* Four activations, the same for all 16 rows of the panel. */
static inline __m512i four_of(const int8_t *q)
{
    int32_t four;
    memcpy(&four, q, sizeof four);
    return _mm512_set1_epi32(four);
}

static inline vf vf_load_u8(const uint8_t *p)
{
    return _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128((const void *)p)));
}

static inline vf vf_load_i8(const uint8_t *p)
{
    return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const void *)p)));
}

static inline vf vf_load_u4_low(const uint8_t *p)
{
    __m512i bytes = _mm512_cvtepu8_epi32(_mm_loadu_si128((const void *)p));
    return _mm512_cvtepi32_ps(_mm512_and_si512(bytes, _mm512_set1_epi32(15)));
}

static inline vf vf_load_u4_high(const uint8_t *p)
{
    __m512i bytes = _mm512_cvtepu8_epi32(_mm_loadu_si128((const void *)p));
    return _mm512_cvtepi32_ps(_mm512_srli_epi32(bytes, 4));
}

#include "engine/kernels/avx512_digits.inc"

INLINE void widen_digits(enum digits digits, const uint8_t *w, uint8_t *out)
{
    UNROLL for (int j = 0; j < 8; j++) _mm512_storeu_si512(out + 64 * j, digits_of(digits, w, j));
}

INLINE __m512i digits_from(enum digits digits, bool wide, const uint8_t *w, int j)
{
    return wide ? _mm512_loadu_si512(w + 64 * j) : digits_of(digits, w, j);
}

/* -(low * a's first sum + high * its second one): digits are dotted as unsigned bytes. */
INLINE vi zero_sum(int low, int high, const struct quant_block *a)
{
    if (!low && !high)
        return _mm512_setzero_si512();
    __m512i sums = four_of((const int8_t *)a->sum);
    return _mm512_dpwssd_epi32(_mm512_setzero_si512(), sums,
                               _mm512_set1_epi32((uint16_t)-low | (int)((uint32_t)-high << 16)));
}

INLINE void dots_halves(enum digits digits, int zero, bool wide, const uint8_t *w,
                        const struct quant_block *a, int rows, vi *low, vi *high)
{
    UNROLL for (int r = 0; r < rows; r++)
    {
        low[r] = zero_sum(zero, 0, a + r);
        high[r] = zero_sum(0, zero, a + r);
    }
    UNROLL for (int j = 0; j < 4; j++)
    {
        __m512i first = digits_from(digits, wide, w, j), last = digits_from(digits, wide, w, 4 + j);
        UNROLL for (int r = 0; r < rows; r++)
        {
            low[r] = _mm512_dpbusd_epi32(low[r], first, four_of(a[r].q + 4 * j));
            high[r] = _mm512_dpbusd_epi32(high[r], last, four_of(a[r].q + 16 + 4 * j));
        }
    }
}

INLINE void dots_whole(enum digits digits, int zero, bool wide, const uint8_t *w, const struct quant_block *a,
                       int rows, vi *dot)
{
    if (digits == DIGITS_8 || digits == DIGITS_CODES)
        zero = 128;
    UNROLL for (int r = 0; r < rows; r++) dot[r] = zero_sum(zero, zero, a + r);
    UNROLL for (int j = 0; j < 8; j++)
    {
        __m512i part = digits_from(digits, wide, w, j);
        UNROLL for (int r = 0; r < rows; r++) dot[r] =
            _mm512_dpbusd_epi32(dot[r], part, four_of(a[r].q + 4 * j));
    }
}

static void linear_rounded(const struct linear_tile *t);

#include "engine/kernels/loops.inc"

/* ---- bf16 by bf16, where the processor multiplies pairs ---------------------------------------- */

#define NATIVE __attribute__((target("avx512bf16")))

/* 16 pairs of columns c and c + 1 of a panel; the last column of an odd number meets a zero. */
INLINE NATIVE __m512i pairs_of_columns(const uint8_t *w, bool whole, __m512i order)
{
    __m512i columns =
        whole ? _mm512_loadu_si512(w) : _mm512_zextsi256_si512(_mm256_loadu_si256((const void *)w));
    return _mm512_permutexvar_epi16(order, columns);
}

INLINE NATIVE void native_block(const struct linear_tile *t, size_t panel, int panels, size_t first, int rows)
{
    static const uint16_t interleaved[32] = {0, 16, 1, 17, 2,  18, 3,  19, 4,  20, 5,  21, 6,  22, 7,  23,
                                             8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31};
    const __m512i order = _mm512_loadu_si512(interleaved);
    const uint8_t *w = t->panels + panel * t->panel_bytes;
    size_t stride = rounded_stride(t->cols);
    const uint16_t *x = t->rounded + first * stride;
    vf acc[FLOAT_MOST_PANELS][FLOAT_ROWS];
    UNROLL for (int p = 0; p < panels; p++)
    {
        UNROLL for (int r = 0; r < rows; r++) acc[p][r] = vf_set(0.0f);
    }
    for (size_t c = 0; c < t->cols; c += 2, w += 64) {
        __m512i weight[FLOAT_MOST_PANELS];
        UNROLL for (int p = 0; p < panels; p++) weight[p] =
            pairs_of_columns(w + (size_t)p * t->panel_bytes, c + 1 < t->cols, order);
        UNROLL for (int r = 0; r < rows; r++)
        {
            int32_t two;
            memcpy(&two, x + (size_t)r * stride + c, sizeof two);
            __m512bh value = (__m512bh)_mm512_set1_epi32(two);
            UNROLL for (int p = 0; p < panels; p++) acc[p][r] =
                _mm512_dpbf16_ps(acc[p][r], (__m512bh)weight[p], value);
        }
    }
    UNROLL for (int p = 0; p < panels; p++) store_rows(t, panel + (size_t)p, first, rows, acc[p]);
}

INLINE NATIVE void native_rows(const struct linear_tile *t, size_t panel, size_t panels, size_t first,
                               int rows)
{
    if (panels == FLOAT_PANELS)
        native_block(t, panel, FLOAT_PANELS, first, rows);
    else
        native_block(t, panel, 1, first, rows);
}

static NATIVE void linear_rounded_native(const struct linear_tile *t)
{
    for (size_t panel = 0; panel < t->n_panels; panel += FLOAT_PANELS) {
        size_t panels = t->n_panels - panel < FLOAT_PANELS ? 1 : FLOAT_PANELS, row = 0;
        for (; row + FLOAT_ROWS <= t->rows; row += FLOAT_ROWS)
            native_rows(t, panel, panels, row, FLOAT_ROWS);
        for (; row + 4 <= t->rows; row += 4)
            native_rows(t, panel, panels, row, 4);
        for (; row < t->rows; row++)
            native_rows(t, panel, panels, row, 1);
    }
}

static void linear_rounded(const struct linear_tile *t)
{
    if (__builtin_cpu_supports("avx512bf16"))
        linear_rounded_native(t);
    else
        linear_rounded_by_fma(t);
}
