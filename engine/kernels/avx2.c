/* avx2.c - a vector of 16 lanes is two registers of 8.  Compiled with -mavx2 -mfma -mf16c; select.c
 * lets it run only where processor and operating system have all of them.  Bodies: loops.inc.
 * Dots of bytes are pairs summed to 16 bits and must never saturate there:
 *   nibbles  15 * 127 * 2 * 8 = 30,480 for a whole block
 *   bytes    |w| * sign(q): 128 * 127 * 2 = 32,512 for one pair, since q is never -128 */
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

#define KERNEL_SET  kernel_set_avx2
#define KERNEL_NAME "avx2"
enum { TILE_ROWS = 4, DIM_VECTORS = 1 };

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

static inline vi vi_sub(vi v, int32_t n)
{
    __m256i all = _mm256_set1_epi32(n);
    return (vi){_mm256_sub_epi32(v.low, all), _mm256_sub_epi32(v.high, all)};
}

/* Four activations, the same for all rows of the panel. */
static inline __m256i four_of(const int8_t *q)
{
    int32_t four;
    memcpy(&four, q, sizeof four);
    return _mm256_set1_epi32(four);
}

/* Eight rows of the panel (w: its first or second half) in 16-bit sums until the block ends. */
static inline __attribute__((always_inline)) void half_nibbles(const uint8_t *w, const struct quant_block *a,
                                                               size_t stride, int rows, __m256i *dot)
{
    const __m256i mask = _mm256_set1_epi8(15), ones = _mm256_set1_epi16(1);
#pragma GCC unroll 4
    for (int r = 0; r < rows; r++)
        dot[r] = _mm256_setzero_si256();
#pragma GCC unroll 4
    for (int j = 0; j < 4; j++) {
        __m256i pairs = _mm256_loadu_si256((const void *)(w + 64 * j));
        __m256i low = _mm256_and_si256(pairs, mask);
        __m256i high = _mm256_and_si256(_mm256_srli_epi16(pairs, 4), mask);
#pragma GCC unroll 4
        for (int r = 0; r < rows; r++) {
            const int8_t *q = a[(size_t)r * stride].q;
            dot[r] = _mm256_add_epi16(dot[r], _mm256_maddubs_epi16(low, four_of(q + 4 * j)));
            dot[r] = _mm256_add_epi16(dot[r], _mm256_maddubs_epi16(high, four_of(q + 16 + 4 * j)));
        }
    }
#pragma GCC unroll 4
    for (int r = 0; r < rows; r++)
        dot[r] = _mm256_madd_epi16(dot[r], ones);
}

static inline __attribute__((always_inline)) void dots_nibbles(const uint8_t *w, const struct quant_block *a,
                                                               size_t stride, int rows, vi *dot)
{
    __m256i low[TILE_ROWS], high[TILE_ROWS];
    half_nibbles(w, a, stride, rows, low);
    half_nibbles(w + 32, a, stride, rows, high);
#pragma GCC unroll 4
    for (int r = 0; r < rows; r++)
        dot[r] = (vi){low[r], high[r]};
}

/* Stored bytes are w + 128; flipping the top bit gives w itself, so no 128 * sum is left to take off. */
static inline __attribute__((always_inline)) void half_bytes(const uint8_t *w, const struct quant_block *a,
                                                             size_t stride, int rows, __m256i *dot)
{
    const __m256i flip = _mm256_set1_epi8(-128), ones = _mm256_set1_epi16(1);
#pragma GCC unroll 4
    for (int r = 0; r < rows; r++)
        dot[r] = _mm256_setzero_si256();
#pragma GCC unroll 8
    for (int j = 0; j < 8; j++) {
        __m256i value = _mm256_xor_si256(_mm256_loadu_si256((const void *)(w + 64 * j)), flip);
        __m256i size = _mm256_abs_epi8(value);
#pragma GCC unroll 4
        for (int r = 0; r < rows; r++) {
            __m256i signed_q = _mm256_sign_epi8(four_of(a[(size_t)r * stride].q + 4 * j), value);
            __m256i pairs = _mm256_maddubs_epi16(size, signed_q);
            dot[r] = _mm256_add_epi32(dot[r], _mm256_madd_epi16(pairs, ones));
        }
    }
}

static inline __attribute__((always_inline)) void dots_bytes(const uint8_t *w, const struct quant_block *a,
                                                             size_t stride, int rows, vi *dot)
{
    __m256i low[TILE_ROWS], high[TILE_ROWS];
    half_bytes(w, a, stride, rows, low);
    half_bytes(w + 32, a, stride, rows, high);
#pragma GCC unroll 4
    for (int r = 0; r < rows; r++)
        dot[r] = (vi){low[r], high[r]};
}

#include "engine/kernels/loops.inc"
