/* avx512.c - 16 floats or 64 bytes an instruction; dots of bytes by VNNI.  Compiled with
 * -mavx512f -mavx512bw -mavx512vl -mavx512dq -mavx512vnni -mfma -mf16c; select.c lets it run only where
 * processor and operating system have all of them.  Bodies: loops.inc. */
#include <immintrin.h>
#include <math.h>
#include <string.h>

#include "engine/kernels/avx512_pairs.h"
#include "engine/kernels/set.h"

#include "engine/kernels/avx512_vectors.inc"

typedef __m512i vi;

#define KERNEL_SET       kernel_set_avx512
#define KERNEL_NAME      "avx512"
#define LINEAR_ROUNDED   linear_rounded
#define QUANTISE         quantise_row
#define FIXED_KERNELS    &fixed_kernels_avx512
#define ATTENTION_PAIRS  attention_by_pairs
#define MULTIPLIES_PAIRS multiplies_pairs
#define QUERY_ROWS       12
#define QUERY_VECTORS    2
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
static void quantise_row(const float *x, size_t cols, struct quant_block *out, size_t stride);
static void attention_by_pairs(const struct attention_tile *t);
static bool multiplies_pairs(void);

#include "engine/kernels/loops.inc"

/* ---- activations to int8, four blocks at a time ------------------------------------------------- */

enum { FOUR = 4 };

/* The largest |x| of block i in all lanes of quarter i, folded in the order of vf_fold_max(). */
INLINE __m512 largest_of_four(const __m512 (*v)[2])
{
    __m512 m[FOUR];
    UNROLL for (int i = 0; i < FOUR; i++) m[i] =
        _mm512_max_ps(_mm512_abs_ps(v[i][0]), _mm512_abs_ps(v[i][1]));
    __m512 eight01 = _mm512_max_ps(_mm512_shuffle_f32x4(m[0], m[1], _MM_SHUFFLE(1, 0, 1, 0)),
                                   _mm512_shuffle_f32x4(m[0], m[1], _MM_SHUFFLE(3, 2, 3, 2)));
    __m512 eight23 = _mm512_max_ps(_mm512_shuffle_f32x4(m[2], m[3], _MM_SHUFFLE(1, 0, 1, 0)),
                                   _mm512_shuffle_f32x4(m[2], m[3], _MM_SHUFFLE(3, 2, 3, 2)));
    __m512 four = _mm512_max_ps(_mm512_shuffle_f32x4(eight01, eight23, _MM_SHUFFLE(2, 0, 2, 0)),
                                _mm512_shuffle_f32x4(eight01, eight23, _MM_SHUFFLE(3, 1, 3, 1)));
    __m512 two = _mm512_max_ps(four, _mm512_permute_ps(four, _MM_SHUFFLE(3, 2, 3, 2)));
    return _mm512_permute_ps(_mm512_max_ps(two, _mm512_movehdup_ps(two)), 0);
}

/* to_digits() as whole numbers. */
INLINE __m512i whole_digits(__m512 x, __m512 scale)
{
    x = _mm512_mul_ps(x, scale);
    __mmask16 numbers = _mm512_cmp_ps_mask(x, x, _CMP_ORD_Q);
    x = _mm512_max_ps(_mm512_set1_ps(-127.0f), _mm512_min_ps(_mm512_set1_ps(127.0f), x));
    return _mm512_maskz_cvtps_epi32(numbers, x);
}

/* The digits of two blocks as bytes, in order. */
INLINE __m512i digits_of_two(const __m512 (*v)[2], const __m512 *scales)
{
    const __m512i order = _mm512_set_epi32(15, 11, 7, 3, 14, 10, 6, 2, 13, 9, 5, 1, 12, 8, 4, 0);
    __m512i first = _mm512_packs_epi32(whole_digits(v[0][0], scales[0]), whole_digits(v[0][1], scales[0]));
    __m512i second = _mm512_packs_epi32(whole_digits(v[1][0], scales[1]), whole_digits(v[1][1], scales[1]));
    return _mm512_permutexvar_epi32(order, _mm512_packs_epi16(first, second));
}

/* Of 64 bytes, the sum of each 16 in all lanes of its quarter. */
INLINE __m512i sums_of_bytes(__m512i bytes)
{
    __m512i sum = _mm512_dpbusd_epi32(_mm512_setzero_si512(), _mm512_set1_epi8(1), bytes);
    sum = _mm512_add_epi32(sum, _mm512_shuffle_epi32(sum, _MM_PERM_BADC));
    return _mm512_add_epi32(sum, _mm512_shuffle_epi32(sum, _MM_PERM_CDAB));
}

/* digits: of two blocks; others: of the next two. */
INLINE void store_four(__m512 dx, __m512i digits, __m512i others, struct quant_block *out, size_t stride)
{
    __m512i sums = sums_of_bytes(digits), more = sums_of_bytes(others);
    __m512i low = _mm512_shuffle_i32x4(sums, more, _MM_SHUFFLE(2, 0, 2, 0));
    __m512i high = _mm512_shuffle_i32x4(sums, more, _MM_SHUFFLE(3, 1, 3, 1));
    __m512 sx = _mm512_mul_ps(dx, _mm512_cvtepi32_ps(_mm512_add_epi32(low, high)));
    __m512i both = _mm512_mask_blend_epi16(0xaaaaaaaa, low, _mm512_slli_epi32(high, 16));
    __m512 rest = _mm512_mask_blend_ps(0x2222, dx, sx);
    rest = _mm512_mask_blend_ps(0x4444, rest, _mm512_castsi512_ps(both));
    const __m256i q[FOUR] = {_mm512_castsi512_si256(digits), _mm512_extracti64x4_epi64(digits, 1),
                             _mm512_castsi512_si256(others), _mm512_extracti64x4_epi64(others, 1)};
    const __m128 last[FOUR] = {_mm512_castps512_ps128(rest), _mm512_extractf32x4_ps(rest, 1),
                               _mm512_extractf32x4_ps(rest, 2), _mm512_extractf32x4_ps(rest, 3)};
    UNROLL for (int i = 0; i < FOUR; i++, out += stride)
    {
        _mm256_storeu_si256((void *)out->q, q[i]);
        _mm_mask_storeu_ps(&out->dx, 7, last[i]); /* dx, sx, both sums */
    }
}

static void quantise_four(const float *x, struct quant_block *out, size_t stride)
{
    __m512 v[FOUR][2], scales[FOUR];
    UNROLL for (int i = 0; i < FOUR; i++)
    {
        v[i][0] = _mm512_loadu_ps(x + QUANT_BLOCK * i);
        v[i][1] = _mm512_loadu_ps(x + QUANT_BLOCK * i + 16);
    }
    const __m512 most = _mm512_set1_ps(127.0f), max = largest_of_four((const __m512(*)[2])v);
    const __m512 dx = _mm512_div_ps(max, most);
    __mmask16 some = _mm512_cmp_ps_mask(max, _mm512_setzero_ps(), _CMP_GT_OQ);
    const __m512 scale = _mm512_maskz_div_ps(some, most, max);
    scales[0] = _mm512_shuffle_f32x4(scale, scale, 0x00);
    scales[1] = _mm512_shuffle_f32x4(scale, scale, 0x55);
    scales[2] = _mm512_shuffle_f32x4(scale, scale, 0xaa);
    scales[3] = _mm512_shuffle_f32x4(scale, scale, 0xff);
    __m512i two = digits_of_two((const __m512(*)[2])v, scales);
    __m512i others = digits_of_two((const __m512(*)[2])v + 2, scales + 2);
    store_four(dx, two, others, out, stride);
}

static void quantise_row(const float *x, size_t cols, struct quant_block *out, size_t stride)
{
    size_t blocks = cols / QUANT_BLOCK, i = 0;
    for (; i + FOUR <= blocks; i += FOUR)
        quantise_four(x + i * QUANT_BLOCK, out + i * stride, stride);
    if (i < blocks)
        quantise(x + i * QUANT_BLOCK, cols - i * QUANT_BLOCK, out + i * stride, stride);
}

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

static bool multiplies_pairs(void)
{
    return __builtin_cpu_supports("avx512bf16");
}

static void attention_by_pairs(const struct attention_tile *t)
{
    if (multiplies_pairs())
        avx512_attention_pairs(t);
    else
        attention_pairs(t);
}

static void linear_rounded(const struct linear_tile *t)
{
    if (multiplies_pairs())
        linear_rounded_native(t);
    else
        linear_rounded_by_fma(t);
}
