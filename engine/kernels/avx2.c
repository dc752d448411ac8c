/* avx2.c - 8 floats or 32 bytes an instruction.  Compiled with -mavx2 -mfma -mf16c; select.c lets it run
 * only where processor and operating system have all of them.  Lanes: avx2_lanes.inc; bodies: loops.inc.
 * Dots of bytes are pairs summed to 16 bits, `run` of them before they go to 32, and must never saturate:
 *   2, 3, 4 bits  15 * 127 * 2 * 8 = 30,480 for a whole block
 *   5 bits        31 * 127 * 2 * 4 = 31,496
 *   6 bits        63 * 127 * 2 * 2 = 32,004
 *   signed        |w| * sign(q): 128 * 127 * 2 = 32,512 for one pair, since q is never -128 */
#include <immintrin.h>
#include <math.h>
#include <string.h>

#include "engine/kernels/set.h"

#define KERNEL_SET      kernel_set_avx2
#define KERNEL_NAME     "avx2"
#define LINEAR_ROUNDED  linear_rounded_by_fma
#define QUANTISE        quantise
#define FIXED_KERNELS   NULL
#define ATTENTION_PAIRS attention_pairs
#define QUERY_ROWS      6
#define QUERY_VECTORS   1
enum { QUANT_ROWS = 4, FLOAT_ROWS = 6, FLOAT_PANELS = 1, FLOAT_MOST_PANELS = 2, SIGNED_DIGITS = true };

#include "engine/kernels/avx2_lanes.inc"

/* Groups of four columns whose products fit into 16 bits together. */
INLINE int groups_in_16_bits(enum digits digits)
{
    switch (digits) {
    case DIGITS_2:
    case DIGITS_3:
    case DIGITS_4:
        return 8;
    case DIGITS_5:
        return 4;
    case DIGITS_6:
        return 2;
    default:
        return 1;
    }
}

/* Products of pairs of columns in 16 bits; signed digits lend their sign to the activations. */
INLINE __m256i pair_products(enum digits digits, __m256i digit, __m256i q)
{
    if (digits != DIGITS_8 && digits != DIGITS_CODES)
        return _mm256_maddubs_epi16(digit, q);
    return _mm256_maddubs_epi16(_mm256_abs_epi8(digit), _mm256_sign_epi8(q, digit));
}

/* low * a's first sum + high * its second one. */
INLINE __m256i zero_sum(int low, int high, const struct quant_block *a)
{
    return _mm256_madd_epi16(four_of((const int8_t *)a->sum), _mm256_set1_epi32(low | high << 16));
}

/* Here the order of additions is kept as written: gcc would hold all products before it adds any, and has
 * no registers for them. */
INLINE __m256i add_in_order(__m256i sum, __m256i product)
{
    sum = _mm256_add_epi16(sum, product);
    __asm__("" : "+x"(sum));
    return sum;
}

/* Products of groups [first, end) in dot. */
INLINE void dot_groups(enum digits digits, bool wide, const uint8_t *w, const struct quant_block *a, int rows,
                       int first, int end, vi *dot)
{
    const __m256i ones = _mm256_set1_epi16(1);
    int run = groups_in_16_bits(digits) < end - first ? groups_in_16_bits(digits) : end - first;
    vi sum[QUANT_ROWS];
    UNROLL for (int j = first; j < end; j++)
    {
        __m256i upper = digits_from(digits, wide, w, j), lower = digits_from(digits, wide, w + 32, j);
        bool starts = (j - first) % run == 0;
        UNROLL for (int r = 0; r < rows; r++)
        {
            __m256i q = four_of(a[r].q + 4 * j);
            __m256i low = pair_products(digits, upper, q), high = pair_products(digits, lower, q);
            sum[r].low = starts ? low : add_in_order(sum[r].low, low);
            sum[r].high = starts ? high : add_in_order(sum[r].high, high);
            if ((j - first) % run == run - 1) {
                low = _mm256_madd_epi16(sum[r].low, ones);
                high = _mm256_madd_epi16(sum[r].high, ones);
                dot[r].low = j - first < run ? low : _mm256_add_epi32(dot[r].low, low);
                dot[r].high = j - first < run ? high : _mm256_add_epi32(dot[r].high, high);
            }
        }
    }
}

INLINE void subtract_zero(int low, int high, const struct quant_block *a, int rows, vi *dot)
{
    if (!low && !high)
        return;
    UNROLL for (int r = 0; r < rows; r++)
    {
        __m256i zero = zero_sum(low, high, a + r);
        dot[r].low = _mm256_sub_epi32(dot[r].low, zero);
        dot[r].high = _mm256_sub_epi32(dot[r].high, zero);
    }
}

INLINE void dots_whole(enum digits digits, int zero, bool wide, const uint8_t *w, const struct quant_block *a,
                       int rows, vi *dot)
{
    dot_groups(digits, wide, w, a, rows, 0, 8, dot);
    subtract_zero(zero, zero, a, rows, dot);
}

INLINE void dots_halves(enum digits digits, int zero, bool wide, const uint8_t *w,
                        const struct quant_block *a, int rows, vi *low, vi *high)
{
    dot_groups(digits, wide, w, a, rows, 0, 4, low);
    subtract_zero(zero, 0, a, rows, low);
    dot_groups(digits, wide, w, a, rows, 4, 8, high);
    subtract_zero(0, zero, a, rows, high);
}

#include "engine/kernels/loops.inc"
