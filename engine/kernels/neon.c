/* neon.c - a vector of 16 lanes is four registers of 4; dots of bytes by SDOT, which sums four products into
 * 32 bits and never saturates.  Compiled with -march=armv8.2-a+dotprod; select.c lets it run only where the
 * processor has dot products (HWCAP_ASIMDDP).  Bodies: loops.inc. */
#include <arm_neon.h>
#include <math.h>
#include <string.h>

#include "engine/kernels/set.h"

typedef struct {
    float32x4_t q[4];
} vf;
typedef struct {
    int32x4_t q[4];
} vi;

#define KERNEL_SET      kernel_set_neon
#define KERNEL_NAME     "neon"
#define LINEAR_ROUNDED  linear_rounded_by_fma
#define QUANTISE        quantise
#define FIXED_KERNELS   NULL
#define ATTENTION_PAIRS attention_pairs
#define QUERY_ROWS      4
#define QUERY_VECTORS   1
enum { QUANT_ROWS = 4, FLOAT_ROWS = 6, FLOAT_PANELS = 1, FLOAT_MOST_PANELS = 2 };

#define QUADS(i) UNROLL for (int i = 0; i < 4; i++)

static inline vf vf_set(float f)
{
    vf v;
    QUADS(i) v.q[i] = vdupq_n_f32(f);
    return v;
}

static inline vf vf_load(const float *p)
{
    vf v;
    QUADS(i) v.q[i] = vld1q_f32(p + 4 * i);
    return v;
}

static inline void vf_store(float *p, vf v)
{
    QUADS(i) vst1q_f32(p + 4 * i, v.q[i]);
}

static inline vf vf_load_n(const float *p, size_t n)
{
    float lane[16] = {0};
    memcpy(lane, p, n * sizeof *p);
    return vf_load(lane);
}

static inline void vf_store_n(float *p, vf v, size_t n)
{
    float lane[16];
    vf_store(lane, v);
    memcpy(p, lane, n * sizeof *p);
}

static inline vf vf_load_f16(const void *p)
{
    vf v;
    QUADS(i)
    {
        float16x4_t half;
        memcpy(&half, (const uint8_t *)p + 8 * i, sizeof half);
        v.q[i] = vcvt_f32_f16(half);
    }
    return v;
}

static inline vf vf_load_bf16(const void *p)
{
    vf v;
    QUADS(i)
    {
        uint16x4_t half;
        memcpy(&half, (const uint8_t *)p + 8 * i, sizeof half);
        v.q[i] = vreinterpretq_f32_u32(vshll_n_u16(half, 16));
    }
    return v;
}

static inline vf vf_load_even_bf16(const void *p)
{
    vf v;
    QUADS(i)
    {
        uint32x4_t pairs;
        memcpy(&pairs, (const uint8_t *)p + 16 * i, sizeof pairs);
        v.q[i] = vreinterpretq_f32_u32(vshlq_n_u32(pairs, 16));
    }
    return v;
}

static inline vf vf_load_odd_bf16(const void *p)
{
    vf v;
    QUADS(i)
    {
        uint32x4_t pairs;
        memcpy(&pairs, (const uint8_t *)p + 16 * i, sizeof pairs);
        v.q[i] = vreinterpretq_f32_u32(vandq_u32(pairs, vdupq_n_u32(0xffff0000)));
    }
    return v;
}

static inline void vf_store_f16(uint16_t *p, vf v)
{
    QUADS(i)
    {
        float16x4_t half = vcvt_f16_f32(v.q[i]);
        memcpy(p + 4 * i, &half, sizeof half);
    }
}

static inline vf vf_add(vf a, vf b)
{
    QUADS(i) a.q[i] = vaddq_f32(a.q[i], b.q[i]);
    return a;
}

static inline vf vf_sub(vf a, vf b)
{
    QUADS(i) a.q[i] = vsubq_f32(a.q[i], b.q[i]);
    return a;
}

static inline vf vf_mul(vf a, vf b)
{
    QUADS(i) a.q[i] = vmulq_f32(a.q[i], b.q[i]);
    return a;
}

static inline vf vf_div(vf a, vf b)
{
    QUADS(i) a.q[i] = vdivq_f32(a.q[i], b.q[i]);
    return a;
}

static inline vf vf_fma(vf a, vf b, vf c)
{
    QUADS(i) c.q[i] = vfmaq_f32(c.q[i], a.q[i], b.q[i]);
    return c;
}

static inline vf vf_max(vf a, vf b)
{
    QUADS(i) a.q[i] = vbslq_f32(vcgtq_f32(a.q[i], b.q[i]), a.q[i], b.q[i]);
    return a;
}

static inline vf vf_min(vf a, vf b)
{
    QUADS(i) a.q[i] = vbslq_f32(vcltq_f32(a.q[i], b.q[i]), a.q[i], b.q[i]);
    return a;
}

static inline vf vf_abs(vf a)
{
    QUADS(i) a.q[i] = vabsq_f32(a.q[i]);
    return a;
}

static inline vf vf_below(vf x, float limit, vf yes, vf no)
{
    QUADS(i) no.q[i] = vbslq_f32(vcltq_f32(x.q[i], vdupq_n_f32(limit)), yes.q[i], no.q[i]);
    return no;
}

static inline vf vf_zero_below(vf x, float low, vf v)
{
    return vf_below(x, low, vf_set(0.0f), v);
}

static inline vf vf_exponent(vf shifted)
{
    QUADS(i)
    {
        uint32x4_t power = vshlq_n_u32(vreinterpretq_u32_f32(shifted.q[i]), 23);
        shifted.q[i] = vreinterpretq_f32_u32(vaddq_u32(power, vdupq_n_u32(0x3f800000u)));
    }
    return shifted;
}

static inline vf vf_keep(vf v, size_t from, size_t to, float other)
{
    float lane[16];
    vf_store(lane, v);
    for (size_t i = 0; i < 16; i++)
        lane[i] = i >= from && i < to ? lane[i] : other;
    return vf_load(lane);
}

static inline float vf_fold_add(vf v)
{
    float32x4_t four = vaddq_f32(vaddq_f32(v.q[0], v.q[2]), vaddq_f32(v.q[1], v.q[3]));
    float32x2_t two = vadd_f32(vget_low_f32(four), vget_high_f32(four));
    return vget_lane_f32(two, 0) + vget_lane_f32(two, 1);
}

static inline float vf_fold_max(vf v)
{
    float lane[16];
    vf_store(lane, v);
    for (int width = 8; width > 0; width /= 2)
        for (int i = 0; i < width; i++)
            lane[i] = lane[i] > lane[i + width] ? lane[i] : lane[i + width];
    return lane[0];
}

static inline void vf_store_low_bytes(int8_t *p, vf v)
{
    uint16x8_t low =
        vcombine_u16(vmovn_u32(vreinterpretq_u32_f32(v.q[0])), vmovn_u32(vreinterpretq_u32_f32(v.q[1])));
    uint16x8_t high =
        vcombine_u16(vmovn_u32(vreinterpretq_u32_f32(v.q[2])), vmovn_u32(vreinterpretq_u32_f32(v.q[3])));
    vst1q_s8(p, vreinterpretq_s8_u8(vcombine_u8(vmovn_u16(low), vmovn_u16(high))));
}

static inline vf vi_to_float(vi v)
{
    vf f;
    QUADS(i) f.q[i] = vcvtq_f32_s32(v.q[i]);
    return f;
}

static inline vf floats_of_u8(uint8x16_t v)
{
    uint16x8_t low = vmovl_u8(vget_low_u8(v)), high = vmovl_high_u8(v);
    return (vf){{vcvtq_f32_u32(vmovl_u16(vget_low_u16(low))), vcvtq_f32_u32(vmovl_high_u16(low)),
                 vcvtq_f32_u32(vmovl_u16(vget_low_u16(high))), vcvtq_f32_u32(vmovl_high_u16(high))}};
}

static inline vf vf_load_u8(const uint8_t *p)
{
    return floats_of_u8(vld1q_u8(p));
}

static inline vf vf_load_i8(const uint8_t *p)
{
    int8x16_t v = vreinterpretq_s8_u8(vld1q_u8(p));
    int16x8_t low = vmovl_s8(vget_low_s8(v)), high = vmovl_high_s8(v);
    return (vf){{vcvtq_f32_s32(vmovl_s16(vget_low_s16(low))), vcvtq_f32_s32(vmovl_high_s16(low)),
                 vcvtq_f32_s32(vmovl_s16(vget_low_s16(high))), vcvtq_f32_s32(vmovl_high_s16(high))}};
}

static inline vf vf_load_u4_low(const uint8_t *p)
{
    return floats_of_u8(vandq_u8(vld1q_u8(p), vdupq_n_u8(15)));
}

static inline vf vf_load_u4_high(const uint8_t *p)
{
    return floats_of_u8(vshrq_n_u8(vld1q_u8(p), 4));
}

/* ---- digits: four columns of four rows, from row 4 * i on; w and j as in kernels.h ------------ */

/* Moves bit `from` of every byte to bit `to` and keeps what `mask` says. */
INLINE uint8x16_t bits_at(const uint8_t *w, int from, int to, uint8_t mask)
{
    return vandq_u8(vshlq_u8(vld1q_u8(w), vdupq_n_s8((int8_t)(to - from))), vdupq_n_u8(mask));
}

INLINE uint8x16_t nibbles(const uint8_t *w, int j)
{
    return bits_at(w + 64 * (j % 4), j / 4 * 4, 0, 15);
}

INLINE uint8x16_t pairs(const uint8_t *w, int j, int to)
{
    return bits_at(w + 64 * (j / 4), j % 4 * 2, to, (uint8_t)(3 << to));
}

INLINE uint8x16_t single_bits(const uint8_t *w, int j, int to)
{
    return bits_at(w, j, to, (uint8_t)(1 << to));
}

/* Bytes and codes with their sign. */
INLINE int8x16_t digits_of(enum digits digits, const uint8_t *w, int j)
{
    switch (digits) {
    case DIGITS_2:
        return vreinterpretq_s8_u8(pairs(w, j, 0));
    case DIGITS_3:
        return vreinterpretq_s8_u8(vorrq_u8(pairs(w, j, 0), single_bits(w + 128, j, 2)));
    case DIGITS_4:
        return vreinterpretq_s8_u8(nibbles(w, j));
    case DIGITS_5:
        return vreinterpretq_s8_u8(vorrq_u8(nibbles(w, j), single_bits(w + 256, j, 4)));
    case DIGITS_6:
        return vreinterpretq_s8_u8(vorrq_u8(nibbles(w, j), pairs(w + 256, j, 4)));
    case DIGITS_8:
        return vreinterpretq_s8_u8(veorq_u8(vld1q_u8(w + 64 * j), vdupq_n_u8(128)));
    case DIGITS_CODES:
        return vqtbl1q_s8(vld1q_s8(quant_codes), nibbles(w, j));
    }
    return vdupq_n_s8(0);
}

/* As signed bytes in the order of the digits' groups. */
INLINE void widen_digits(enum digits digits, const uint8_t *w, uint8_t *out)
{
    UNROLL for (int j = 0; j < 8; j++) QUADS(i)
        vst1q_s8((int8_t *)out + 64 * j + 16 * i, digits_of(digits, w + 16 * i, j));
}

/* The products of 16 columns' digits, d[0 .. 3], with q. */
INLINE int32x4_t dot_16(const int8x16_t *d, int8x16_t q)
{
    int32x4_t sum = vdotq_laneq_s32(vdupq_n_s32(0), d[0], q, 0);
    sum = vdotq_laneq_s32(sum, d[1], q, 1);
    sum = vdotq_laneq_s32(sum, d[2], q, 2);
    return vdotq_laneq_s32(sum, d[3], q, 3);
}

INLINE void dots_halves(enum digits digits, int zero, bool wide, const uint8_t *w,
                        const struct quant_block *a, int rows, vi *low, vi *high)
{
    QUADS(i)
    {
        int8x16_t d[8];
        UNROLL for (int j = 0; j < 8; j++)
        {
            d[j] = wide ? vld1q_s8((const int8_t *)w + 64 * j + 16 * i) : digits_of(digits, w + 16 * i, j);
            if (zero)
                d[j] = vsubq_s8(d[j], vdupq_n_s8((int8_t)zero));
        }
        for (int r = 0; r < rows; r++) {
            low[r].q[i] = dot_16(d, vld1q_s8(a[r].q));
            high[r].q[i] = dot_16(d + 4, vld1q_s8(a[r].q + 16));
        }
    }
}

INLINE void dots_whole(enum digits digits, int zero, bool wide, const uint8_t *w, const struct quant_block *a,
                       int rows, vi *dot)
{
    vi high[QUANT_ROWS];
    dots_halves(digits, zero, wide, w, a, rows, dot, high);
    for (int r = 0; r < rows; r++)
        QUADS(i) dot[r].q[i] = vaddq_s32(dot[r].q[i], high[r].q[i]);
}

#include "engine/kernels/loops.inc"
