/* avxvnni.c - AVX2 where the processor also dots bytes (VNNI in its VEX form: Alder Lake, Zen 5 and later).
 * Compiled with -mavx2 -mfma -mf16c -mavxvnni; select.c lets it run only where processor and operating system
 * have all of them.  Lanes: avx2_lanes.inc; bodies: loops.inc. */
#include <immintrin.h>
#include <math.h>
#include <string.h>

#include "engine/kernels/set.h"

#define KERNEL_SET      kernel_set_avxvnni
#define KERNEL_NAME     "avxvnni"
#define LINEAR_ROUNDED  linear_rounded_by_fma
#define QUANTISE        quantise
#define FIXED_KERNELS   NULL
#define ATTENTION_PAIRS attention_pairs
#define QUERY_ROWS      6
#define QUERY_VECTORS   1
enum { QUANT_ROWS = 4, FLOAT_ROWS = 6, FLOAT_PANELS = 1, FLOAT_MOST_PANELS = 2, SIGNED_DIGITS = false };

#include "engine/kernels/avx2_lanes.inc"

/* -(low * a's first sum + high * its second one): digits are dotted as unsigned bytes. */
INLINE __m256i zero_sum(int low, int high, const struct quant_block *a)
{
    if (!low && !high)
        return _mm256_setzero_si256();
    __m256i sums = four_of((const int8_t *)a->sum);
    return _mm256_dpwssd_avx_epi32(_mm256_setzero_si256(), sums,
                                   _mm256_set1_epi32((uint16_t)-low | (int)((uint32_t)-high << 16)));
}

/* Adds the products of groups [first, end) to dot. */
INLINE void dot_groups(enum digits digits, bool wide, const uint8_t *w, const struct quant_block *a, int rows,
                       int first, int end, vi *dot)
{
    UNROLL for (int j = first; j < end; j++)
    {
        __m256i upper = digits_from(digits, wide, w, j), lower = digits_from(digits, wide, w + 32, j);
        UNROLL for (int r = 0; r < rows; r++)
        {
            __m256i q = four_of(a[r].q + 4 * j);
            dot[r].low = _mm256_dpbusd_avx_epi32(dot[r].low, upper, q);
            dot[r].high = _mm256_dpbusd_avx_epi32(dot[r].high, lower, q);
        }
    }
}

INLINE void dots_whole(enum digits digits, int zero, bool wide, const uint8_t *w, const struct quant_block *a,
                       int rows, vi *dot)
{
    if (digits == DIGITS_8 || digits == DIGITS_CODES)
        zero = 128;
    UNROLL for (int r = 0; r < rows; r++) dot[r].low = dot[r].high = zero_sum(zero, zero, a + r);
    dot_groups(digits, wide, w, a, rows, 0, 8, dot);
}

INLINE void dots_halves(enum digits digits, int zero, bool wide, const uint8_t *w,
                        const struct quant_block *a, int rows, vi *low, vi *high)
{
    UNROLL for (int r = 0; r < rows; r++) low[r].low = low[r].high = zero_sum(zero, 0, a + r);
    dot_groups(digits, wide, w, a, rows, 0, 4, low);
    UNROLL for (int r = 0; r < rows; r++) high[r].low = high[r].high = zero_sum(0, zero, a + r);
    dot_groups(digits, wide, w, a, rows, 4, 8, high);
}

#include "engine/kernels/loops.inc"
