/* dtype.c - see dtype.h.  To add an element type: one enum name, one function, one row. */
#include "engine/base/dtype.h"

#include <string.h>

#include "engine/base/quant_blocks.h"

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "checkpoints are little endian and are read in place"
#endif

static float bits_to_f32(uint32_t bits)
{
    float f;
    memcpy(&f, &bits, sizeof f);
    return f;
}

static uint32_t f32_to_bits(float f)
{
    uint32_t bits;
    memcpy(&bits, &f, sizeof bits);
    return bits;
}

/* Moves exponent and fraction into place and lets a multiplication fix the bias; fractions without an
 * exponent are turned by an exact subtraction instead (as in Maratyszcza's FP16). */
float f16_to_f32(uint16_t h)
{
    uint32_t sign = (uint32_t)(h & 0x8000u) << 16;
    uint32_t rest = (uint32_t)(h & 0x7fffu);
    float magnitude;
    if (rest < 0x0400u)
        magnitude = bits_to_f32(0x3f000000u | rest) - 0.5f;
    else
        magnitude = bits_to_f32((rest << 13) + (0xe0u << 23)) * 0x1p-112f;
    return bits_to_f32(sign | f32_to_bits(magnitude));
}

uint16_t f32_to_f16(float f)
{
    uint32_t bits = f32_to_bits(f);
    uint32_t sign = bits >> 16 & 0x8000u;
    uint32_t rest = bits & 0x7fffffffu;
    if (rest > 0x7f800000u) /* not a number: keep what fits of its payload, quiet */
        return (uint16_t)(sign | 0x7e00u | (rest >> 13 & 0x1ffu));
    if (rest >= 0x477ff000u) /* 65520 and more round to infinity */
        return (uint16_t)(sign | 0x7c00u);
    if (rest < 0x38800000u) { /* below 2^-14: adding 1/2 leaves the rounded fraction in the low bits */
        uint32_t rounded = f32_to_bits(bits_to_f32(rest) + 0.5f) - 0x3f000000u;
        return (uint16_t)(sign | rounded);
    }
    uint32_t odd = rest >> 13 & 1u;
    return (uint16_t)(sign | (rest - 0x38000000u + 0xfffu + odd) >> 13);
}

float bf16_to_f32(uint16_t h)
{
    return bits_to_f32((uint32_t)h << 16);
}

uint16_t f32_to_bf16(float f)
{
    uint32_t bits = f32_to_bits(f);
    if ((bits & 0x7fffffffu) > 0x7f800000u)
        return (uint16_t)(bits >> 16 | 0x40u);
    return (uint16_t)((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16);
}

static uint16_t load_u16(const uint8_t *p)
{
    return (uint16_t)(p[0] | p[1] << 8);
}

static void f32_row(const void *blocks, size_t n, float *out)
{
    memcpy(out, blocks, n * sizeof *out);
}

static void f16_row(const void *blocks, size_t n, float *out)
{
    const uint8_t *p = blocks;
    for (size_t i = 0; i < n; i++)
        out[i] = f16_to_f32(load_u16(p + 2 * i));
}

static void bf16_row(const void *blocks, size_t n, float *out)
{
    const uint8_t *p = blocks;
    for (size_t i = 0; i < n; i++)
        out[i] = bits_to_f32((uint32_t)load_u16(p + 2 * i) << 16); /* not bf16_to_f32: may be a call */
}

static void f64_row(const void *blocks, size_t n, float *out)
{
    const uint8_t *p = blocks;
    for (size_t i = 0; i < n; i++) {
        double value;
        memcpy(&value, p + 8 * i, sizeof value);
        out[i] = (float)value;
    }
}

static void i8_row(const void *blocks, size_t n, float *out)
{
    const uint8_t *p = blocks;
    for (size_t i = 0; i < n; i++)
        out[i] = (float)(int8_t)p[i];
}

static void i16_row(const void *blocks, size_t n, float *out)
{
    const uint8_t *p = blocks;
    for (size_t i = 0; i < n; i++)
        out[i] = (float)(int16_t)load_u16(p + 2 * i);
}

static void i32_row(const void *blocks, size_t n, float *out)
{
    const uint8_t *p = blocks;
    for (size_t i = 0; i < n; i++) {
        int32_t value;
        memcpy(&value, p + 4 * i, sizeof value);
        out[i] = (float)value;
    }
}

static void i64_row(const void *blocks, size_t n, float *out)
{
    const uint8_t *p = blocks;
    for (size_t i = 0; i < n; i++) {
        int64_t value;
        memcpy(&value, p + 8 * i, sizeof value);
        out[i] = (float)value;
    }
}

static void u8_row(const void *blocks, size_t n, float *out)
{
    const uint8_t *p = blocks;
    for (size_t i = 0; i < n; i++)
        out[i] = (float)p[i];
}

static void quant_row(enum dtype t, const void *blocks, size_t n, float *out)
{
    size_t values = dtype_row(t)->block_values, bytes = dtype_row(t)->block_bytes;
    const uint8_t *p = blocks;
    struct quant_parts parts;
    for (size_t i = 0; i + values <= n; i += values, p += bytes) {
        quant_read(t, p, &parts);
        quant_values(t, &parts, out + i);
    }
}

static void q4_0_row(const void *blocks, size_t n, float *out)
{
    quant_row(DTYPE_Q4_0, blocks, n, out);
}

static void q4_1_row(const void *blocks, size_t n, float *out)
{
    quant_row(DTYPE_Q4_1, blocks, n, out);
}

static void q5_0_row(const void *blocks, size_t n, float *out)
{
    quant_row(DTYPE_Q5_0, blocks, n, out);
}

static void q5_1_row(const void *blocks, size_t n, float *out)
{
    quant_row(DTYPE_Q5_1, blocks, n, out);
}

static void q8_0_row(const void *blocks, size_t n, float *out)
{
    quant_row(DTYPE_Q8_0, blocks, n, out);
}

static void q2_k_row(const void *blocks, size_t n, float *out)
{
    quant_row(DTYPE_Q2_K, blocks, n, out);
}

static void q3_k_row(const void *blocks, size_t n, float *out)
{
    quant_row(DTYPE_Q3_K, blocks, n, out);
}

static void q4_k_row(const void *blocks, size_t n, float *out)
{
    quant_row(DTYPE_Q4_K, blocks, n, out);
}

static void q5_k_row(const void *blocks, size_t n, float *out)
{
    quant_row(DTYPE_Q5_K, blocks, n, out);
}

static void q6_k_row(const void *blocks, size_t n, float *out)
{
    quant_row(DTYPE_Q6_K, blocks, n, out);
}

static void iq4_nl_row(const void *blocks, size_t n, float *out)
{
    quant_row(DTYPE_IQ4_NL, blocks, n, out);
}

static void write_f32(const float *values, size_t n, void *blocks)
{
    memcpy(blocks, values, n * sizeof *values);
}

static void write_f16(const float *values, size_t n, void *blocks)
{
    uint8_t *p = blocks;
    for (size_t i = 0; i < n; i++) {
        uint16_t h = f32_to_f16(values[i]);
        memcpy(p + 2 * i, &h, sizeof h);
    }
}

static void write_bf16(const float *values, size_t n, void *blocks)
{
    uint8_t *p = blocks;
    for (size_t i = 0; i < n; i++) {
        uint16_t h = f32_to_bf16(values[i]);
        memcpy(p + 2 * i, &h, sizeof h);
    }
}

static const struct dtype_row rows[] = {
    [DTYPE_F32] = {"F32", 0, 1, 4, f32_row, write_f32},
    [DTYPE_F16] = {"F16", 1, 1, 2, f16_row, write_f16},
    [DTYPE_BF16] = {"BF16", 30, 1, 2, bf16_row, write_bf16},
    [DTYPE_Q4_0] = {"Q4_0", 2, 32, 18, q4_0_row, quant_write_q4_0},
    [DTYPE_Q4_1] = {"Q4_1", 3, 32, 20, q4_1_row, quant_write_q4_1},
    [DTYPE_Q8_0] = {"Q8_0", 8, 32, 34, q8_0_row, quant_write_q8_0},
    [DTYPE_Q5_0] = {"Q5_0", 6, 32, 22, q5_0_row, quant_write_q5_0},
    [DTYPE_Q5_1] = {"Q5_1", 7, 32, 24, q5_1_row, quant_write_q5_1},
    [DTYPE_Q2_K] = {"Q2_K", 10, 256, 84, q2_k_row, NULL},
    [DTYPE_Q3_K] = {"Q3_K", 11, 256, 110, q3_k_row, NULL},
    [DTYPE_Q4_K] = {"Q4_K", 12, 256, 144, q4_k_row, NULL},
    [DTYPE_Q5_K] = {"Q5_K", 13, 256, 176, q5_k_row, NULL},
    [DTYPE_Q6_K] = {"Q6_K", 14, 256, 210, q6_k_row, NULL},
    [DTYPE_IQ4_NL] = {"IQ4_NL", 20, 32, 18, iq4_nl_row, NULL},
    [DTYPE_F64] = {"F64", 28, 1, 8, f64_row, NULL},
    [DTYPE_I8] = {"I8", 24, 1, 1, i8_row, NULL},
    [DTYPE_I16] = {"I16", 25, 1, 2, i16_row, NULL},
    [DTYPE_I32] = {"I32", 26, 1, 4, i32_row, NULL},
    [DTYPE_I64] = {"I64", 27, 1, 8, i64_row, NULL},
    [DTYPE_U8] = {"U8", DTYPE_NOT_IN_GGUF, 1, 1, u8_row, NULL},
    [DTYPE_BOOL] = {"BOOL", DTYPE_NOT_IN_GGUF, 1, 1, u8_row, NULL},
};
_Static_assert(sizeof rows / sizeof rows[0] == DTYPES, "one row a dtype");

const struct dtype_row *dtype_row(enum dtype t)
{
    return &rows[t];
}

int dtype_from_gguf(uint32_t id)
{
    for (int t = 0; t < DTYPES; t++)
        if (rows[t].gguf_id >= 0 && (uint32_t)rows[t].gguf_id == id)
            return t;
    return -1;
}

size_t dtype_bytes(enum dtype t, size_t n)
{
    return n / rows[t].block_values * rows[t].block_bytes;
}

void dtype_to_f32(enum dtype t, const void *blocks, size_t n, float *out)
{
    rows[t].to_f32(blocks, n, out);
}

void dtype_from_f32(enum dtype t, const float *values, size_t n, void *out)
{
    rows[t].from_f32(values, n, out);
}
