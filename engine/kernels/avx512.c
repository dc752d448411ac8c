/* avx512.c - 16 floats or 64 bytes an instruction; dots of bytes by VNNI.  Compiled with
 * -mavx512f -mavx512bw -mavx512vl -mavx512dq -mavx512vnni -mfma -mf16c; select.c lets it run only where
 * processor and operating system have all of them.  Bodies: loops.inc. */
#include <immintrin.h>
#include <math.h>
#include <string.h>

#include "engine/kernels/set.h"

typedef __m512 vf;
typedef __m512i vi;

#define KERNEL_SET    kernel_set_avx512
#define KERNEL_NAME   "avx512"
#define QUERY_ROWS    12
#define QUERY_VECTORS 2
/* 12 rows: their dots and sums, a vector of digits and a few more fill the 32 registers */
enum { TILE_ROWS = 8, QUANT_ROWS = 12 };

static inline __mmask16 first_lanes(size_t n)
{
    return (__mmask16)((1u << n) - 1);
}

static inline vf vf_set(float f)
{
    return _mm512_set1_ps(f);
}

static inline vf vf_load(const float *p)
{
    return _mm512_loadu_ps(p);
}

static inline vf vf_load_n(const float *p, size_t n)
{
    return _mm512_maskz_loadu_ps(first_lanes(n), p);
}

static inline void vf_store(float *p, vf v)
{
    _mm512_storeu_ps(p, v);
}

static inline void vf_store_n(float *p, vf v, size_t n)
{
    _mm512_mask_storeu_ps(p, first_lanes(n), v);
}

static inline vf vf_load_f16(const void *p)
{
    return _mm512_cvtph_ps(_mm256_loadu_si256(p));
}

static inline vf vf_load_bf16(const void *p)
{
    __m512i wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256(p));
    return _mm512_castsi512_ps(_mm512_slli_epi32(wide, 16));
}

static inline void vf_store_f16(uint16_t *p, vf v)
{
    _mm256_storeu_si256((void *)p, _mm512_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}

static inline vf vf_add(vf a, vf b)
{
    return _mm512_add_ps(a, b);
}

static inline vf vf_sub(vf a, vf b)
{
    return _mm512_sub_ps(a, b);
}

static inline vf vf_mul(vf a, vf b)
{
    return _mm512_mul_ps(a, b);
}

static inline vf vf_div(vf a, vf b)
{
    return _mm512_div_ps(a, b);
}

static inline vf vf_fma(vf a, vf b, vf c)
{
    return _mm512_fmadd_ps(a, b, c);
}

static inline vf vf_max(vf a, vf b)
{
    return _mm512_max_ps(a, b);
}

static inline vf vf_min(vf a, vf b)
{
    return _mm512_min_ps(a, b);
}

static inline vf vf_abs(vf a)
{
    return _mm512_abs_ps(a);
}

static inline vf vf_zero_below(vf x, float low, vf v)
{
    __mmask16 below = _mm512_cmp_ps_mask(x, _mm512_set1_ps(low), _CMP_LT_OQ);
    return _mm512_maskz_mov_ps((__mmask16)~below, v);
}

static inline vf vf_below(vf x, float limit, vf yes, vf no)
{
    return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(x, _mm512_set1_ps(limit), _CMP_LT_OQ), no, yes);
}

static inline vf vf_exponent(vf shifted)
{
    __m512i power = _mm512_slli_epi32(_mm512_castps_si512(shifted), 23);
    return _mm512_castsi512_ps(_mm512_add_epi32(power, _mm512_set1_epi32(0x3f800000)));
}

static inline vf vf_keep(vf v, size_t from, size_t to, float other)
{
    unsigned above = from < 16 ? 0xffffu << from : 0, below = to < 16 ? (1u << to) - 1 : 0xffffu;
    return _mm512_mask_blend_ps((__mmask16)(above & below), _mm512_set1_ps(other), v);
}

static inline float vf_fold_add(vf v)
{
    __m256 eight = _mm256_add_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps(v, 1));
    __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}

static inline float vf_fold_max(vf v)
{
    __m256 eight = _mm256_max_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps(v, 1));
    __m128 four = _mm_max_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    __m128 two = _mm_max_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_max_ss(two, _mm_movehdup_ps(two)));
}

static inline void vf_store_low_bytes(int8_t *p, vf v)
{
    _mm_storeu_si128((void *)p, _mm512_cvtepi32_epi8(_mm512_castps_si512(v)));
}

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

#include "engine/kernels/loops.inc"
