/* quant_blocks.c - see quant_blocks.h.  Byte layouts: ggml-common.h and ggml-quants.c of ggml. */
#include "engine/base/quant_blocks.h"

#include <float.h>
#include <math.h>
#include <string.h>

const int8_t quant_codes[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};

static const struct quant_format formats[DTYPES] = {
    [DTYPE_Q4_0] = {.bits = 4, .zero = 8},
    [DTYPE_Q4_1] = {.bits = 4, .has_min = true},
    [DTYPE_Q5_0] = {.bits = 5, .zero = 16},
    [DTYPE_Q5_1] = {.bits = 5, .has_min = true},
    [DTYPE_Q8_0] = {.bits = 8, .zero = 128},
    [DTYPE_Q2_K] = {.bits = 2, .run = 16, .has_min = true},
    [DTYPE_Q3_K] = {.bits = 3, .zero = 4, .run = 16},
    [DTYPE_Q4_K] = {.bits = 4, .run = 32, .has_min = true},
    [DTYPE_Q5_K] = {.bits = 5, .run = 32, .has_min = true},
    [DTYPE_Q6_K] = {.bits = 6, .zero = 32, .run = 16},
    [DTYPE_IQ4_NL] = {.bits = 4, .codebook = true},
};

const struct quant_format *quant_format(enum dtype t)
{
    return formats[t].bits ? &formats[t] : NULL;
}

static uint16_t load_u16(const uint8_t *p)
{
    return (uint16_t)(p[0] | p[1] << 8);
}

/* ---- reading: blocks of 32 ------------------------------------------------------------------ */

static void read_nibbles(const uint8_t *q, uint8_t *digit)
{
    for (size_t i = 0; i < 16; i++) {
        digit[i] = q[i] & 15;
        digit[16 + i] = q[i] >> 4;
    }
}

/* 32 fifth bits, column i at bit i. */
static void read_fifth_bits(const uint8_t *high, uint8_t *digit)
{
    uint32_t bits;
    memcpy(&bits, high, sizeof bits);
    for (size_t i = 0; i < 32; i++)
        digit[i] |= (uint8_t)((bits >> i & 1) << 4);
}

static void read_bytes(const uint8_t *q, uint8_t *digit)
{
    for (size_t i = 0; i < 32; i++)
        digit[i] = q[i] ^ 0x80;
}

/* ---- reading: super blocks of 256 ----------------------------------------------------------- */

/* 64 bytes of pairs of bits: of every 128 columns, byte i % 32 holds column i at bits 2 * (i / 32). */
static void read_pairs(const uint8_t *q, uint8_t *digit)
{
    for (size_t half = 0; half < 2; half++, q += 32)
        for (int shift = 0; shift < 8; shift += 2, digit += 32)
            for (size_t i = 0; i < 32; i++)
                digit[i] = q[i] >> shift & 3;
}

/* 32 bytes of single bits, byte i % 32 holds column i at bit i / 32; they become bit `to` of the digits. */
static void read_bits(const uint8_t *q, uint8_t *digit, int to)
{
    for (int shift = 0; shift < 8; shift++, digit += 32)
        for (size_t i = 0; i < 32; i++)
            digit[i] |= (uint8_t)((q[i] >> shift & 1) << to);
}

static void read_q2_k(const uint8_t *b, struct quant_parts *out)
{
    for (size_t i = 0; i < 16; i++) {
        out->scale[i] = (int8_t)(b[i] & 15);
        out->min[i] = b[i] >> 4;
    }
    read_pairs(b + 16, out->digit);
    out->d = load_u16(b + 80);
    out->m = load_u16(b + 82);
}

static void read_q3_k(const uint8_t *b, struct quant_parts *out)
{
    const uint8_t *scales = b + 96;
    read_pairs(b + 32, out->digit);
    read_bits(b, out->digit, 2);
    for (size_t i = 0; i < 16; i++) {
        int low = scales[i % 8] >> (i / 8 * 4) & 15, high = scales[8 + i % 4] >> (i / 4 * 2) & 3;
        out->scale[i] = (int8_t)((low | high << 4) - 32);
    }
    out->d = load_u16(b + 108);
}

/* Eight scales and eight minima of 6 bits in 12 bytes. */
static void read_k_scales(const uint8_t *q, struct quant_parts *out)
{
    for (size_t i = 0; i < 4; i++) {
        out->scale[i] = (int8_t)(q[i] & 63);
        out->min[i] = q[4 + i] & 63;
        out->scale[4 + i] = (int8_t)((q[8 + i] & 15) | q[i] >> 6 << 4);
        out->min[4 + i] = (uint8_t)(q[8 + i] >> 4 | q[4 + i] >> 6 << 4);
    }
}

/* 128 bytes of nibbles: of every 64 columns, byte i % 32 holds the first 32 low and the others high. */
static void read_k_nibbles(const uint8_t *q, uint8_t *digit)
{
    for (size_t group = 0; group < 4; group++, q += 32, digit += 64)
        for (size_t i = 0; i < 32; i++) {
            digit[i] = q[i] & 15;
            digit[32 + i] = q[i] >> 4;
        }
}

static void read_q4_k(const uint8_t *b, struct quant_parts *out)
{
    out->d = load_u16(b);
    out->m = load_u16(b + 2);
    read_k_scales(b + 4, out);
    read_k_nibbles(b + 16, out->digit);
}

static void read_q5_k(const uint8_t *b, struct quant_parts *out)
{
    out->d = load_u16(b);
    out->m = load_u16(b + 2);
    read_k_scales(b + 4, out);
    read_k_nibbles(b + 48, out->digit);
    read_bits(b + 16, out->digit, 4);
}

/* Of every 128 columns, byte i % 64 holds the low nibbles of i and of 64 + i; pairs as in read_pairs(). */
static void read_q6_k(const uint8_t *b, struct quant_parts *out)
{
    uint8_t *digit = out->digit, high[QUANT_VALUES_MAX];
    read_pairs(b + 128, high);
    for (size_t half = 0; half < 2; half++, digit += 128)
        for (size_t i = 0; i < 64; i++) {
            digit[i] = b[half * 64 + i] & 15;
            digit[64 + i] = b[half * 64 + i] >> 4;
        }
    for (size_t i = 0; i < QUANT_VALUES_MAX; i++)
        out->digit[i] |= (uint8_t)(high[i] << 4);
    memcpy(out->scale, b + 192, sizeof out->scale);
    out->d = load_u16(b + 208);
}

void quant_read(enum dtype t, const uint8_t *b, struct quant_parts *out)
{
    const struct quant_format *f = &formats[t];
    out->m = 0;
    switch (t) {
    case DTYPE_Q2_K:
        read_q2_k(b, out);
        return;
    case DTYPE_Q3_K:
        read_q3_k(b, out);
        return;
    case DTYPE_Q4_K:
        read_q4_k(b, out);
        return;
    case DTYPE_Q5_K:
        read_q5_k(b, out);
        return;
    case DTYPE_Q6_K:
        read_q6_k(b, out);
        return;
    default:
        break;
    }
    out->d = load_u16(b);
    b += 2;
    if (f->has_min) {
        out->m = load_u16(b);
        b += 2;
    }
    if (f->bits == 8) {
        read_bytes(b, out->digit);
        return;
    }
    read_nibbles(f->bits == 5 ? b + 4 : b, out->digit);
    if (f->bits == 5)
        read_fifth_bits(b, out->digit);
}

/* ---- floats --------------------------------------------------------------------------------- */

static void code_values(const struct quant_parts *p, float *out)
{
    float d = f16_to_f32(p->d);
    for (size_t i = 0; i < 32; i++)
        out[i] = (float)quant_codes[p->digit[i]] * d;
}

static void plain_values(const struct quant_format *f, const struct quant_parts *p, float *out)
{
    float d = f16_to_f32(p->d), m = f->has_min ? f16_to_f32(p->m) : -0.0f; /* -0 leaves any sum as it is */
    int zero = f->zero;
    for (size_t i = 0; i < 32; i++)
        out[i] = (float)(p->digit[i] - zero) * d + m;
}

static void run_values(const struct quant_format *f, const struct quant_parts *p, float *out)
{
    float d = f16_to_f32(p->d), d_min = f16_to_f32(p->m);
    const uint8_t *digit = p->digit;
    int zero = f->zero;
    for (size_t run = 0; run < (size_t)QUANT_VALUES_MAX / f->run; run++, digit += f->run, out += f->run) {
        float scale = d * (float)p->scale[run], min = f->has_min ? d_min * (float)p->min[run] : 0.0f;
        for (size_t i = 0; i < f->run; i++)
            out[i] = scale * (float)(digit[i] - zero) - min;
    }
}

void quant_values(enum dtype t, const struct quant_parts *p, float *out)
{
    const struct quant_format *f = &formats[t];
    if (f->run)
        run_values(f, p, out);
    else if (f->codebook)
        code_values(p, out);
    else
        plain_values(f, p, out);
}

/* ---- writing -------------------------------------------------------------------------------- */

static void store_u16(uint8_t *p, uint16_t v)
{
    p[0] = (uint8_t)v;
    p[1] = (uint8_t)(v >> 8);
}

/* Cut to a whole number from 0 to top. */
static uint8_t digit_of(float v, uint8_t top)
{
    if (!(v > 0))
        return 0;
    return v < (float)top ? (uint8_t)v : top;
}

static void write_digits(const uint8_t *digit, uint8_t *high, uint8_t *nibbles)
{
    for (size_t i = 0; i < 16; i++)
        nibbles[i] = (uint8_t)((digit[i] & 15) | (digit[16 + i] & 15) << 4);
    if (!high)
        return;
    memset(high, 0, 4);
    for (size_t i = 0; i < 32; i++)
        high[i / 8] |= (uint8_t)(digit[i] >> 4 << i % 8);
}

/* The value of the largest size becomes digit 0 or its mirror: d = -value / half. */
static float signed_scale(const float *x, float half)
{
    float size = 0, value = 0;
    for (size_t i = 0; i < 32; i++)
        if (fabsf(x[i]) > size) {
            size = fabsf(x[i]);
            value = x[i];
        }
    return value / -half;
}

static void write_signed(const float *x, size_t n, uint8_t *out, bool fifth)
{
    float half = fifth ? 16.0f : 8.0f;
    uint8_t top = fifth ? 31 : 15, digit[32];
    for (size_t b = 0; b < n / 32; b++, x += 32, out += fifth ? 22 : 18) {
        float d = signed_scale(x, half), inverse = d != 0 ? 1.0f / d : 0.0f;
        for (size_t i = 0; i < 32; i++)
            digit[i] = digit_of(x[i] * inverse + (half + 0.5f), top);
        store_u16(out, f32_to_f16(d));
        write_digits(digit, fifth ? out + 2 : NULL, out + (fifth ? 6 : 2));
    }
}

static void write_ranged(const float *x, size_t n, uint8_t *out, bool fifth)
{
    uint8_t top = fifth ? 31 : 15, digit[32];
    for (size_t b = 0; b < n / 32; b++, x += 32, out += fifth ? 24 : 20) {
        float min = FLT_MAX, max = -FLT_MAX;
        for (size_t i = 0; i < 32; i++) {
            min = x[i] < min ? x[i] : min;
            max = x[i] > max ? x[i] : max;
        }
        float d = (max - min) / (float)top, inverse = d != 0 ? 1.0f / d : 0.0f;
        for (size_t i = 0; i < 32; i++)
            digit[i] = digit_of((x[i] - min) * inverse + 0.5f, top);
        store_u16(out, f32_to_f16(d));
        store_u16(out + 2, f32_to_f16(min));
        write_digits(digit, fifth ? out + 4 : NULL, out + (fifth ? 8 : 4));
    }
}

void quant_write_q4_0(const float *x, size_t n, void *out)
{
    write_signed(x, n, out, false);
}

void quant_write_q4_1(const float *x, size_t n, void *out)
{
    write_ranged(x, n, out, false);
}

void quant_write_q5_0(const float *x, size_t n, void *out)
{
    write_signed(x, n, out, true);
}

void quant_write_q5_1(const float *x, size_t n, void *out)
{
    write_ranged(x, n, out, true);
}

void quant_write_q8_0(const float *x, size_t n, void *blocks)
{
    uint8_t *out = blocks;
    for (size_t b = 0; b < n / 32; b++, x += 32, out += 34) {
        float size = 0;
        for (size_t i = 0; i < 32; i++)
            size = fabsf(x[i]) > size ? fabsf(x[i]) : size;
        float d = size / 127.0f, inverse = d != 0 ? 1.0f / d : 0.0f;
        store_u16(out, f32_to_f16(d));
        for (size_t i = 0; i < 32; i++) {
            float q = roundf(x[i] * inverse);
            out[2 + i] = (uint8_t)(int8_t)(q >= -127 && q <= 127 ? q : 0);
        }
    }
}
