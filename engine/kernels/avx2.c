/* avx2.c - a vector of 16 lanes is two registers of 8.  Compiled with -mavx2 -mfma -mf16c; select.c
 * lets it run only where processor and operating system have all of them.  Bodies: loops.inc.
 * Dots of bytes are pairs summed to 16 bits, `run` of them before they go to 32, and must never saturate:
 *   2, 3, 4 bits  15 * 127 * 2 * 8 = 30,480 for a whole block
 *   5 bits        31 * 127 * 2 * 4 = 31,496
 *   6 bits        63 * 127 * 2 * 2 = 32,004
 *   signed        |w| * sign(q): 128 * 127 * 2 = 32,512 for one pair, since q is never -128 */
#include <immintrin.h>
#include <math.h>
#include <string.h>

#include "engine/kernels/set.h"

typedef struct {
    __m256 low, high;
} vf;
typedef struct {
    __m256i low, high;
} vi;

#define KERNEL_SET    kernel_set_avx2
#define KERNEL_NAME   "avx2"
#define QUERY_ROWS    6
#define QUERY_VECTORS 1
enum { TILE_ROWS = 4, QUANT_ROWS = 4 };

static inline vf vf_of(__m256 low, __m256 high)
{
    return (vf){low, high};
}

static inline vf vf_set(float f)
{
    return vf_of(_mm256_set1_ps(f), _mm256_set1_ps(f));
}

static inline vf vf_load(const float *p)
{
    return vf_of(_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8));
}

static inline vf vf_load_n(const float *p, size_t n)
{
    float lanes[16] = {0};
    memcpy(lanes, p, n * sizeof *p);
    return vf_load(lanes);
}

static inline void vf_store(float *p, vf v)
{
    _mm256_storeu_ps(p, v.low);
    _mm256_storeu_ps(p + 8, v.high);
}

static inline void vf_store_n(float *p, vf v, size_t n)
{
    if (n == 16) {
        vf_store(p, v);
        return;
    }
    float lanes[16];
    vf_store(lanes, v);
    memcpy(p, lanes, n * sizeof *p);
}

static inline vf vf_load_f16(const void *p)
{
    const __m128i *half = p;
    return vf_of(_mm256_cvtph_ps(_mm_loadu_si128(half)), _mm256_cvtph_ps(_mm_loadu_si128(half + 1)));
}

static inline __m256 eight_bf16(const __m128i *p)
{
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128(p)), 16));
}

static inline vf vf_load_bf16(const void *p)
{
    const __m128i *half = p;
    return vf_of(eight_bf16(half), eight_bf16(half + 1));
}

static inline void vf_store_f16(uint16_t *p, vf v)
{
    _mm_storeu_si128((void *)p, _mm256_cvtps_ph(v.low, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
    _mm_storeu_si128((void *)(p + 8), _mm256_cvtps_ph(v.high, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}

static inline vf vf_add(vf a, vf b)
{
    return vf_of(_mm256_add_ps(a.low, b.low), _mm256_add_ps(a.high, b.high));
}

static inline vf vf_sub(vf a, vf b)
{
    return vf_of(_mm256_sub_ps(a.low, b.low), _mm256_sub_ps(a.high, b.high));
}

static inline vf vf_mul(vf a, vf b)
{
    return vf_of(_mm256_mul_ps(a.low, b.low), _mm256_mul_ps(a.high, b.high));
}

static inline vf vf_div(vf a, vf b)
{
    return vf_of(_mm256_div_ps(a.low, b.low), _mm256_div_ps(a.high, b.high));
}

static inline vf vf_fma(vf a, vf b, vf c)
{
    return vf_of(_mm256_fmadd_ps(a.low, b.low, c.low), _mm256_fmadd_ps(a.high, b.high, c.high));
}

static inline vf vf_max(vf a, vf b)
{
    return vf_of(_mm256_max_ps(a.low, b.low), _mm256_max_ps(a.high, b.high));
}

static inline vf vf_min(vf a, vf b)
{
    return vf_of(_mm256_min_ps(a.low, b.low), _mm256_min_ps(a.high, b.high));
}

static inline vf vf_abs(vf a)
{
    __m256 sign = _mm256_set1_ps(-0.0f);
    return vf_of(_mm256_andnot_ps(sign, a.low), _mm256_andnot_ps(sign, a.high));
}

static inline __m256 eight_zero_below(__m256 x, float low, __m256 v)
{
    return _mm256_andnot_ps(_mm256_cmp_ps(x, _mm256_set1_ps(low), _CMP_LT_OQ), v);
}

static inline vf vf_zero_below(vf x, float low, vf v)
{
    return vf_of(eight_zero_below(x.low, low, v.low), eight_zero_below(x.high, low, v.high));
}

static inline __m256 eight_below(__m256 x, float limit, __m256 yes, __m256 no)
{
    return _mm256_blendv_ps(no, yes, _mm256_cmp_ps(x, _mm256_set1_ps(limit), _CMP_LT_OQ));
}

static inline vf vf_below(vf x, float limit, vf yes, vf no)
{
    return vf_of(eight_below(x.low, limit, yes.low, no.low), eight_below(x.high, limit, yes.high, no.high));
}

static inline __m256 eight_exponent(__m256 shifted)
{
    __m256i power = _mm256_slli_epi32(_mm256_castps_si256(shifted), 23);
    return _mm256_castsi256_ps(_mm256_add_epi32(power, _mm256_set1_epi32(0x3f800000)));
}

static inline vf vf_exponent(vf shifted)
{
    return vf_of(eight_exponent(shifted.low), eight_exponent(shifted.high));
}

static inline __m256 eight_keep(__m256 v, __m256i lane, int from, int to, float other)
{
    __m256i before = _mm256_cmpgt_epi32(_mm256_set1_epi32(from), lane);
    __m256i inside = _mm256_andnot_si256(before, _mm256_cmpgt_epi32(_mm256_set1_epi32(to), lane));
    return _mm256_blendv_ps(_mm256_set1_ps(other), v, _mm256_castsi256_ps(inside));
}

static inline vf vf_keep(vf v, size_t from, size_t to, float other)
{
    __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7),
            next = _mm256_add_epi32(lane, _mm256_set1_epi32(8));
    int first = from < 16 ? (int)from : 16, end = to < 16 ? (int)to : 16;
    return vf_of(eight_keep(v.low, lane, first, end, other), eight_keep(v.high, next, first, end, other));
}

static inline float vf_fold_add(vf v)
{
    __m256 eight = _mm256_add_ps(v.low, v.high);
    __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}

static inline float vf_fold_max(vf v)
{
    __m256 eight = _mm256_max_ps(v.low, v.high);
    __m128 four = _mm_max_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    __m128 two = _mm_max_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_max_ss(two, _mm_movehdup_ps(two)));
}

/* The lowest byte of each lane of a half, in its low 8 bytes. */
static inline __m128i low_bytes(__m256 v)
{
    const __m256i pick = _mm256_setr_epi8(0, 4, 8, 12, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, 0, 4,
                                          8, 12, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1);
    __m256i bytes = _mm256_shuffle_epi8(_mm256_castps_si256(v), pick);
    return _mm_unpacklo_epi32(_mm256_castsi256_si128(bytes), _mm256_extracti128_si256(bytes, 1));
}

static inline void vf_store_low_bytes(int8_t *p, vf v)
{
    _mm_storeu_si128((void *)p, _mm_unpacklo_epi64(low_bytes(v.low), low_bytes(v.high)));
}

static inline vf vi_to_float(vi v)
{
    return vf_of(_mm256_cvtepi32_ps(v.low), _mm256_cvtepi32_ps(v.high));
}

/* Four activations, the same for all rows of the panel. */
static inline __m256i four_of(const int8_t *q)
{
    int32_t four;
    memcpy(&four, q, sizeof four);
    return _mm256_set1_epi32(four);
}

static inline __m256 eight_bytes(__m128i v, bool is_signed)
{
    return _mm256_cvtepi32_ps(is_signed ? _mm256_cvtepi8_epi32(v) : _mm256_cvtepu8_epi32(v));
}

static inline vf sixteen_bytes(__m128i v, bool is_signed)
{
    return vf_of(eight_bytes(v, is_signed), eight_bytes(_mm_srli_si128(v, 8), is_signed));
}

static inline vf vf_load_u8(const uint8_t *p)
{
    return sixteen_bytes(_mm_loadu_si128((const void *)p), false);
}

static inline vf vf_load_i8(const uint8_t *p)
{
    return sixteen_bytes(_mm_loadu_si128((const void *)p), true);
}

static inline vf vf_load_u4_low(const uint8_t *p)
{
    return sixteen_bytes(_mm_and_si128(_mm_loadu_si128((const void *)p), _mm_set1_epi8(15)), false);
}

static inline vf vf_load_u4_high(const uint8_t *p)
{
    __m128i bytes = _mm_srli_epi16(_mm_loadu_si128((const void *)p), 4);
    return sixteen_bytes(_mm_and_si128(bytes, _mm_set1_epi8(15)), false);
}

/* ---- digits: four columns of eight rows; w and j as in kernels.h ----------------------------- */

typedef uint16_t shorts __attribute__((vector_size(32)));

static inline __m256i load_32(const uint8_t *p)
{
    return _mm256_loadu_si256((const void *)p);
}

/* Moves bit `from` of every byte to bit `to` and keeps what `mask` says. */
INLINE __m256i move_bits(__m256i v, int from, int to, int mask)
{
    shorts bits = (shorts)v;
    bits = from > to ? bits >> (from - to) : bits << (to - from);
    return _mm256_and_si256((__m256i)bits, _mm256_set1_epi8((char)mask));
}

INLINE __m256i nibbles(const uint8_t *w, int j)
{
    return move_bits(load_32(w + 64 * (j % 4)), j / 4 * 4, 0, 15);
}

INLINE __m256i pairs(const uint8_t *w, int j, int to)
{
    return move_bits(load_32(w + 64 * (j / 4)), j % 4 * 2, to, 3 << to);
}

INLINE __m256i single_bits(const uint8_t *w, int j, int to)
{
    return move_bits(load_32(w), j, to, 1 << to);
}

/* Stored bytes are w + 128; flipping the top bit gives w itself. */
INLINE __m256i digits_of(enum digits digits, const uint8_t *w, int j)
{
    switch (digits) {
    case DIGITS_2:
        return pairs(w, j, 0);
    case DIGITS_3:
        return _mm256_or_si256(pairs(w, j, 0), single_bits(w + 128, j, 2));
    case DIGITS_4:
        return nibbles(w, j);
    case DIGITS_5:
        return _mm256_or_si256(nibbles(w, j), single_bits(w + 256, j, 4));
    case DIGITS_6:
        return _mm256_or_si256(nibbles(w, j), pairs(w + 256, j, 4));
    case DIGITS_8:
        return _mm256_xor_si256(load_32(w + 64 * j), _mm256_set1_epi8(-128));
    case DIGITS_CODES: {
        __m128i codes = _mm_loadu_si128((const void *)quant_codes);
        return _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(codes), nibbles(w, j));
    }
    }
    return _mm256_setzero_si256();
}

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

/* Signed digits keep their sign. */
INLINE void widen_digits(enum digits digits, const uint8_t *w, uint8_t *out)
{
    UNROLL for (int j = 0; j < 8; j++)
    {
        _mm256_storeu_si256((void *)(out + 64 * j), digits_of(digits, w, j));
        _mm256_storeu_si256((void *)(out + 64 * j + 32), digits_of(digits, w + 32, j));
    }
}

INLINE __m256i digits_from(enum digits digits, bool wide, const uint8_t *w, int j)
{
    return wide ? load_32(w + 64 * j) : digits_of(digits, w, j);
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
