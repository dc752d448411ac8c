/* scalar.c - the slow, readable reference: portable C that every other set must equal bit for bit.
 * A vector is an array of 16 lanes; loops.inc and math.inc hold the bodies.  Where the processor has
 * no fused multiply-add, the C library's fmaf() gives the same bits. */
#include <math.h>
#include <string.h>

#include "engine/kernels/set.h"

typedef struct {
    float lane[16];
} vf;
typedef struct {
    int32_t lane[16];
} vi;

#define KERNEL_SET      kernel_set_scalar
#define KERNEL_NAME     "scalar"
#define LINEAR_ROUNDED  linear_rounded_by_fma
#define QUANTISE        quantise
#define FIXED_KERNELS   NULL
#define ATTENTION_PAIRS attention_pairs
#define QUERY_ROWS      4
#define QUERY_VECTORS   1
enum { QUANT_ROWS = 4, FLOAT_ROWS = 4, FLOAT_PANELS = 1, FLOAT_MOST_PANELS = 2 };

#define LANES(i) for (int i = 0; i < 16; i++)

static inline uint32_t float_bits(float f)
{
    uint32_t bits;
    memcpy(&bits, &f, sizeof bits);
    return bits;
}

static inline float float_from(uint32_t bits)
{
    float f;
    memcpy(&f, &bits, sizeof f);
    return f;
}

static inline vf vf_set(float f)
{
    vf v;
    LANES(i) v.lane[i] = f;
    return v;
}

static inline vf vf_load(const float *p)
{
    vf v;
    memcpy(&v, p, sizeof v);
    return v;
}

static inline vf vf_load_n(const float *p, size_t n)
{
    vf v = vf_set(0.0f);
    memcpy(&v, p, n * sizeof *p);
    return v;
}

static inline void vf_store(float *p, vf v)
{
    memcpy(p, &v, sizeof v);
}

static inline void vf_store_n(float *p, vf v, size_t n)
{
    memcpy(p, &v, n * sizeof *p);
}

static inline vf vf_load_f16(const void *p)
{
    uint16_t half[16];
    memcpy(half, p, sizeof half);
    vf v;
    LANES(i) v.lane[i] = f16_to_f32(half[i]);
    return v;
}

static inline vf vf_load_bf16(const void *p)
{
    uint16_t half[16];
    memcpy(half, p, sizeof half);
    vf v;
    LANES(i) v.lane[i] = bf16_to_f32(half[i]);
    return v;
}

static inline vf vf_load_even_bf16(const void *p)
{
    uint16_t half[32];
    memcpy(half, p, sizeof half);
    vf v;
    LANES(i) v.lane[i] = bf16_to_f32(half[2 * i]);
    return v;
}

static inline vf vf_load_odd_bf16(const void *p)
{
    uint16_t half[32];
    memcpy(half, p, sizeof half);
    vf v;
    LANES(i) v.lane[i] = bf16_to_f32(half[2 * i + 1]);
    return v;
}

static inline void vf_store_f16(uint16_t *p, vf v)
{
    LANES(i) p[i] = f32_to_f16(v.lane[i]);
}

static inline vf vf_add(vf a, vf b)
{
    LANES(i) a.lane[i] += b.lane[i];
    return a;
}

static inline vf vf_sub(vf a, vf b)
{
    LANES(i) a.lane[i] -= b.lane[i];
    return a;
}

static inline vf vf_mul(vf a, vf b)
{
    LANES(i) a.lane[i] *= b.lane[i];
    return a;
}

static inline vf vf_div(vf a, vf b)
{
    LANES(i) a.lane[i] /= b.lane[i];
    return a;
}

static inline vf vf_fma(vf a, vf b, vf c)
{
    LANES(i) c.lane[i] = fmaf(a.lane[i], b.lane[i], c.lane[i]);
    return c;
}

static inline vf vf_max(vf a, vf b)
{
    LANES(i) a.lane[i] = a.lane[i] > b.lane[i] ? a.lane[i] : b.lane[i];
    return a;
}

static inline vf vf_min(vf a, vf b)
{
    LANES(i) a.lane[i] = a.lane[i] < b.lane[i] ? a.lane[i] : b.lane[i];
    return a;
}

static inline vf vf_abs(vf a)
{
    LANES(i) a.lane[i] = float_from(float_bits(a.lane[i]) & 0x7fffffffu);
    return a;
}

static inline vf vf_zero_below(vf x, float low, vf v)
{
    LANES(i) v.lane[i] = x.lane[i] < low ? 0.0f : v.lane[i];
    return v;
}

static inline vf vf_below(vf x, float limit, vf yes, vf no)
{
    LANES(i) no.lane[i] = x.lane[i] < limit ? yes.lane[i] : no.lane[i];
    return no;
}

static inline vf vf_exponent(vf shifted)
{
    LANES(i) shifted.lane[i] = float_from((float_bits(shifted.lane[i]) << 23) + 0x3f800000u);
    return shifted;
}

static inline vf vf_keep(vf v, size_t from, size_t to, float other)
{
    LANES(i) v.lane[i] = (size_t)i >= from && (size_t)i < to ? v.lane[i] : other;
    return v;
}

static inline float vf_fold_add(vf v)
{
    for (int width = 8; width > 0; width /= 2)
        for (int i = 0; i < width; i++)
            v.lane[i] += v.lane[i + width];
    return v.lane[0];
}

static inline float vf_fold_max(vf v)
{
    for (int width = 8; width > 0; width /= 2)
        for (int i = 0; i < width; i++)
            v.lane[i] = v.lane[i] > v.lane[i + width] ? v.lane[i] : v.lane[i + width];
    return v.lane[0];
}

static inline void vf_store_low_bytes(int8_t *p, vf v)
{
    LANES(i) p[i] = (int8_t)(uint8_t)float_bits(v.lane[i]);
}

static inline vf vi_to_float(vi v)
{
    vf f;
    LANES(i) f.lane[i] = (float)v.lane[i];
    return f;
}

static inline vf vf_load_u8(const uint8_t *p)
{
    vf v;
    LANES(i) v.lane[i] = (float)p[i];
    return v;
}

static inline vf vf_load_i8(const uint8_t *p)
{
    vf v;
    LANES(i) v.lane[i] = (float)(int8_t)p[i];
    return v;
}

static inline vf vf_load_u4_low(const uint8_t *p)
{
    vf v;
    LANES(i) v.lane[i] = (float)(p[i] & 15);
    return v;
}

static inline vf vf_load_u4_high(const uint8_t *p)
{
    vf v;
    LANES(i) v.lane[i] = (float)(p[i] >> 4);
    return v;
}

/* The digit at byte `at` of the j-th group of four columns.  Planes: kernels.h. */
static inline int nibble_at(const uint8_t *w, int j, int at)
{
    return w[64 * (j % 4) + at] >> (j / 4 * 4) & 15;
}

static inline int pair_at(const uint8_t *w, int j, int at)
{
    return w[64 * (j / 4) + at] >> (j % 4 * 2) & 3;
}

static inline int bit_at(const uint8_t *w, int j, int at)
{
    return w[at] >> j & 1;
}

static inline int digit_at(enum digits digits, const uint8_t *w, int j, int at)
{
    switch (digits) {
    case DIGITS_2:
        return pair_at(w, j, at);
    case DIGITS_3:
        return pair_at(w, j, at) | bit_at(w + 128, j, at) << 2;
    case DIGITS_4:
        return nibble_at(w, j, at);
    case DIGITS_5:
        return nibble_at(w, j, at) | bit_at(w + 256, j, at) << 4;
    case DIGITS_6:
        return nibble_at(w, j, at) | pair_at(w + 256, j, at) << 4;
    case DIGITS_8:
        return w[64 * j + at] - 128;
    case DIGITS_CODES:
        return quant_codes[nibble_at(w, j, at)];
    }
    return 0;
}

/* As bytes, column c of row r at 4 * (16 * (c / 4) + r) + c % 4; with their sign where they have one. */
INLINE void widen_digits(enum digits digits, const uint8_t *w, uint8_t *out)
{
    for (int j = 0; j < 8; j++)
        for (int at = 0; at < 64; at++)
            out[64 * j + at] = (uint8_t)digit_at(digits, w, j, at);
}

INLINE void dots_halves(enum digits digits, int zero, bool wide, const uint8_t *w,
                        const struct quant_block *a, int rows, vi *low, vi *high)
{
    uint8_t bytes[16 * QUANT_BLOCK];
    if (!wide)
        widen_digits(digits, w, bytes);
    const int8_t *digit = (const int8_t *)(wide ? w : bytes);
    for (int r = 0; r < rows; r++, a++)
        LANES(i)
        {
            low[r].lane[i] = high[r].lane[i] = 0;
            for (int c = 0; c < 16; c++) {
                low[r].lane[i] += (digit[16 * (c & ~3) + 4 * i + c % 4] - zero) * a->q[c];
                high[r].lane[i] += (digit[256 + 16 * (c & ~3) + 4 * i + c % 4] - zero) * a->q[16 + c];
            }
        }
}

INLINE void dots_whole(enum digits digits, int zero, bool wide, const uint8_t *w, const struct quant_block *a,
                       int rows, vi *dot)
{
    vi high[QUANT_ROWS];
    dots_halves(digits, zero, wide, w, a, rows, dot, high);
    for (int r = 0; r < rows; r++)
        LANES(i) dot[r].lane[i] += high[r].lane[i];
}

#include "engine/kernels/loops.inc"
