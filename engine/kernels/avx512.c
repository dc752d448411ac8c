/* avx512.c - 16 floats or 64 bytes an instruction; dots of bytes by VNNI.  Compiled with
 * -mavx512f -mavx512bw -mavx512vl -mavx512dq -mavx512vnni -mfma -mf16c; select.c lets it run only where
 * processor and operating system have all of them.  Bodies: loops.inc. */
#include <immintrin.h>
#include <math.h>
#include <string.h>

#include "engine/kernels/set.h"

#include "engine/kernels/avx512_vectors.inc"

typedef __m512i vi;

#define KERNEL_SET    kernel_set_avx512
#define KERNEL_NAME   "avx512"
#define QUERY_ROWS    12
#define QUERY_VECTORS 2
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

#include "engine/kernels/loops.inc"
