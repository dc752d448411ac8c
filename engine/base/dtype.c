/* dtype.c - see dtype.h.  To add an element type: one enum name, one function, one row. */
#include "engine/base/dtype.h"

#include <string.h>

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
        out[i] = bf16_to_f32(load_u16(p + 2 * i));
}

static void q4_0_row(const void *blocks, size_t n, float *out)
{
    const uint8_t *p = blocks;
    for (size_t b = 0; b < n / 32; b++, p += 18) {
        float d = f16_to_f32(load_u16(p));
        for (size_t i = 0; i < 16; i++) {
            out[32 * b + i] = (float)((p[2 + i] & 15) - 8) * d;
            out[32 * b + 16 + i] = (float)((p[2 + i] >> 4) - 8) * d;
        }
    }
}

static void q4_1_row(const void *blocks, size_t n, float *out)
{
    const uint8_t *p = blocks;
    for (size_t b = 0; b < n / 32; b++, p += 20) {
        float d = f16_to_f32(load_u16(p)), m = f16_to_f32(load_u16(p + 2));
        for (size_t i = 0; i < 16; i++) {
            out[32 * b + i] = (float)(p[4 + i] & 15) * d + m;
            out[32 * b + 16 + i] = (float)(p[4 + i] >> 4) * d + m;
        }
    }
}

static void q8_0_row(const void *blocks, size_t n, float *out)
{
    const uint8_t *p = blocks;
    for (size_t b = 0; b < n / 32; b++, p += 34) {
        float d = f16_to_f32(load_u16(p));
        for (size_t i = 0; i < 32; i++)
            out[32 * b + i] = (float)(int8_t)p[2 + i] * d;
    }
}

static const struct dtype_row rows[] = {
    [DTYPE_F32] = {"F32", 0, 1, 4, f32_row},      [DTYPE_F16] = {"F16", 1, 1, 2, f16_row},
    [DTYPE_BF16] = {"BF16", 30, 1, 2, bf16_row},  [DTYPE_Q4_0] = {"Q4_0", 2, 32, 18, q4_0_row},
    [DTYPE_Q4_1] = {"Q4_1", 3, 32, 20, q4_1_row}, [DTYPE_Q8_0] = {"Q8_0", 8, 32, 34, q8_0_row},
};
_Static_assert(sizeof rows / sizeof rows[0] == DTYPES, "one row a dtype");

const struct dtype_row *dtype_row(enum dtype t)
{
    return &rows[t];
}

int dtype_from_gguf(uint32_t id)
{
    for (int t = 0; t < DTYPES; t++)
        if (rows[t].gguf_id == id)
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
