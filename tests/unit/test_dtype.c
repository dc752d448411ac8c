/* test_dtype.c - half floats against their definition for all 65,536 values, rounding between any two of
 * them, the block layouts of GGUF by hand, and all of them against vectors of ggml's reference. */
#include <check.h>
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/dtype.h"
#include "engine/base/quant_blocks.h"
#include "tests/unit/quant_vectors.inc"
#include "tests/unit/suite.h"

/* IEEE 754 binary16 as its definition says. */
static double half_value(uint16_t h)
{
    int exponent = h >> 10 & 31, fraction = h & 1023;
    double sign = h & 0x8000 ? -1 : 1;
    if (exponent == 31)
        return fraction ? NAN : sign * INFINITY;
    return sign * (exponent ? ldexp(1024 + fraction, exponent - 25) : ldexp(fraction, -24));
}

static uint16_t next_half(uint16_t h)
{
    return (uint16_t)(h + 1);
}

START_TEST(all_halves_become_their_value)
{
    for (uint32_t h = 0; h < 65536; h++) {
        double want = half_value((uint16_t)h);
        float got = f16_to_f32((uint16_t)h);
        if (isnan(want)) {
            ck_assert(isnan(got));
            ck_assert(isnan(f16_to_f32(f32_to_f16(got))));
            continue;
        }
        ck_assert_msg((double)got == want && !signbit(got) == !signbit(want), "half %04x is %g", h,
                      (double)got);
        ck_assert_uint_eq(f32_to_f16(got), h);
    }
}
END_TEST

/* The middle of two neighbours goes to the even one; a hair to either side decides. */
START_TEST(floats_round_to_the_nearest_even_half)
{
    for (uint32_t i = 0; i < 0x7c00; i++) {
        uint16_t low = (uint16_t)i, high = next_half(low);
        double top = high == 0x7c00 ? 65536 : half_value(high);
        float middle = (float)((half_value(low) + top) / 2);
        ck_assert_uint_eq(f32_to_f16(middle), i % 2 ? high : low);
        ck_assert_uint_eq(f32_to_f16(nextafterf(middle, 0)), low);
        ck_assert_uint_eq(f32_to_f16(nextafterf(middle, 1e9f)), high);
        ck_assert_uint_eq(f32_to_f16(-middle), (i % 2 ? high : low) | 0x8000);
    }
    ck_assert_uint_eq(f32_to_f16(1e30f), 0x7c00);
    ck_assert_uint_eq(f32_to_f16(-INFINITY), 0xfc00);
    ck_assert_uint_eq(f32_to_f16(1e-30f), 0);
    ck_assert_uint_eq(f32_to_f16(-1e-45f), 0x8000);
}
END_TEST

START_TEST(bf16_is_the_upper_half_of_a_float)
{
    static const float values[] = {0.0f, 1.0f, -2.5f, 1e30f, 0x1p-126f};
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
        uint32_t bits;
        memcpy(&bits, &values[i], 4);
        bits &= 0xffff0000u;
        float want;
        memcpy(&want, &bits, 4);
        ck_assert_float_eq(bf16_to_f32((uint16_t)(bits >> 16)), want);
    }
}
END_TEST

static void put_half(uint8_t *p, float f)
{
    uint16_t h = f32_to_f16(f);
    memcpy(p, &h, 2);
}

START_TEST(blocks_mean_what_gguf_says)
{
    uint8_t q4_0[1 + 2 * 18], q4_1[1 + 20], q8_0[1 + 34]; /* one byte off: files align nothing */
    float out[64];
    put_half(q4_0 + 1, 0.5f);
    put_half(q4_0 + 19, -2.0f);
    put_half(q4_1 + 1, 0.25f);
    put_half(q4_1 + 3, -1.5f);
    put_half(q8_0 + 1, 0.125f);
    for (int i = 0; i < 16; i++) {
        q4_0[3 + i] = (uint8_t)(i | (15 - i) << 4);
        q4_0[21 + i] = 0x80;
        q4_1[5 + i] = (uint8_t)(i | 3 << 4);
    }
    for (int i = 0; i < 32; i++)
        q8_0[3 + i] = (uint8_t)(int8_t)(i == 0 ? -128 : i * 7 - 100);
    dtype_to_f32(DTYPE_Q4_0, q4_0 + 1, 64, out);
    for (int i = 0; i < 16; i++) {
        ck_assert_float_eq(out[i], (float)(i - 8) * 0.5f);
        ck_assert_float_eq(out[16 + i], (float)(7 - i) * 0.5f);
        ck_assert_float_eq(out[32 + i], 16.0f);
        ck_assert_float_eq(out[48 + i], 0.0f);
    }
    dtype_to_f32(DTYPE_Q4_1, q4_1 + 1, 32, out);
    for (int i = 0; i < 16; i++) {
        ck_assert_float_eq(out[i], (float)i * 0.25f - 1.5f);
        ck_assert_float_eq(out[16 + i], 0.75f - 1.5f);
    }
    dtype_to_f32(DTYPE_Q8_0, q8_0 + 1, 32, out);
    for (int i = 0; i < 32; i++)
        ck_assert_float_eq(out[i], (float)(i == 0 ? -128 : i * 7 - 100) * 0.125f);
}
END_TEST

START_TEST(plain_types_pass_through)
{
    static const float values[3] = {1.5f, -0.25f, 1024.0f};
    uint8_t f32[13], f16[7], bf16[7];
    float out[3];
    memcpy(f32 + 1, values, 12);
    for (int i = 0; i < 3; i++) {
        put_half(f16 + 1 + 2 * i, values[i]);
        memcpy(bf16 + 1 + 2 * i, (const uint8_t *)&values[i] + 2, 2);
    }
    dtype_to_f32(DTYPE_F32, f32 + 1, 3, out);
    ck_assert_mem_eq(out, values, sizeof out);
    dtype_to_f32(DTYPE_F16, f16 + 1, 3, out);
    ck_assert_mem_eq(out, values, sizeof out);
    dtype_to_f32(DTYPE_BF16, bf16 + 1, 3, out);
    ck_assert_mem_eq(out, values, sizeof out);
}
END_TEST

/* Bytes of a hexadecimal text. */
static size_t from_hex(const char *text, uint8_t *out, size_t room)
{
    size_t n = strlen(text) / 2;
    ck_assert_uint_le(n, room);
    for (size_t i = 0; i < n; i++) {
        char two[3] = {text[2 * i], text[2 * i + 1], 0};
        out[i] = (uint8_t)strtoul(two, NULL, 16);
    }
    return n;
}

START_TEST(quantised_blocks_equal_the_reference)
{
    const struct quant_vector *v = &quant_vectors[_i];
    uint8_t block[1 + 256], want[4 * QUANT_VALUES_MAX]; /* one byte off: files align nothing */
    float got[QUANT_VALUES_MAX];
    const struct dtype_row *row = dtype_row(v->dtype);
    ck_assert_uint_eq(from_hex(v->block, block + 1, sizeof block - 1), row->block_bytes);
    ck_assert_uint_eq(from_hex(v->values, want, sizeof want), 4 * row->block_values);
    dtype_to_f32(v->dtype, block + 1, row->block_values, got);
    for (size_t i = 0; i < row->block_values; i++) {
        float f;
        memcpy(&f, want + 4 * i, 4);
        ck_assert_msg(memcmp(&got[i], &f, 4) == 0, "%s, value %zu: %.9g, reference %.9g", row->name, i,
                      (double)got[i], (double)f);
    }
}
END_TEST

START_TEST(quantisers_equal_the_reference)
{
    const struct written_vector *v = &written_vectors[_i];
    uint8_t want[256], got[256], raw[256];
    float values[64];
    ck_assert_uint_eq(from_hex(written_values, raw, sizeof raw), sizeof values);
    memcpy(values, raw, sizeof values);
    size_t bytes = from_hex(v->blocks, want, sizeof want);
    ck_assert_uint_eq(bytes, dtype_bytes(v->dtype, 64));
    dtype_from_f32(v->dtype, values, 64, got);
    ck_assert_mem_eq(got, want, bytes);
}
END_TEST

/* Each digit is the nearest: half a step away at most, a little more where the scale was rounded to f16. */
START_TEST(what_is_written_reads_back_nearly)
{
    static const struct {
        enum dtype dtype;
        float step; /* of values that reach from -8 to 8 */
    } types[] = {{DTYPE_F32, 0},      {DTYPE_F16, 0.01f},  {DTYPE_BF16, 0.07f}, {DTYPE_Q4_0, 2.01f},
                 {DTYPE_Q4_1, 1.09f}, {DTYPE_Q5_0, 1.01f}, {DTYPE_Q5_1, 0.53f}, {DTYPE_Q8_0, 0.07f}};
    float values[64], back[64];
    uint8_t blocks[256];
    for (int i = 0; i < 64; i++)
        values[i] = (float)((i * 37 + 11) % 64) * 0.25f - 8.0f;
    for (size_t t = 0; t < sizeof types / sizeof types[0]; t++) {
        dtype_from_f32(types[t].dtype, values, 64, blocks);
        dtype_to_f32(types[t].dtype, blocks, 64, back);
        for (int i = 0; i < 64; i++)
            ck_assert_float_le(fabsf(back[i] - values[i]), types[t].step / 2);
    }
}
END_TEST

START_TEST(odd_values_are_written_without_harm)
{
    static const float odd[] = {NAN, INFINITY, -INFINITY, 3e38f, -3e38f, 1e-45f, -0.0f, 0.0f};
    float values[32];
    uint8_t blocks[129];
    for (int t = 0; t < DTYPES; t++)
        for (int shift = 0; shift < 8 && dtype_row((enum dtype)t)->from_f32; shift++) {
            for (int i = 0; i < 32; i++)
                values[i] = odd[(i + shift) % (shift == 7 ? 1 : 8)];
            memset(blocks, 0xaa, sizeof blocks);
            dtype_from_f32((enum dtype)t, values, 32, blocks);
            ck_assert_uint_eq(blocks[dtype_bytes((enum dtype)t, 32)], 0xaa);
        }
    memset(values, 0, sizeof values);
    dtype_from_f32(DTYPE_Q8_0, values, 32, blocks);
    for (int i = 0; i < 34; i++)
        ck_assert_uint_eq(blocks[i], 0);
}
END_TEST

START_TEST(integers_and_doubles_are_read_as_numbers)
{
    static const int64_t i64[] = {-5, INT64_MAX, 1 << 20};
    static const int32_t i32[] = {-2147483647 - 1, 7, 30521};
    static const int16_t i16[] = {-32768, 0, 32767};
    static const double f64[] = {-0.1, 1e300, 0x1p-149};
    static const uint8_t u8[] = {0, 1, 255};
    uint8_t off[1 + sizeof i64];
    float out[3];
    memcpy(off + 1, i64, sizeof i64);
    dtype_to_f32(DTYPE_I64, off + 1, 3, out);
    ck_assert(out[0] == -5.0f && out[1] == 0x1p63f && out[2] == 0x1p20f);
    memcpy(off + 1, i32, sizeof i32);
    dtype_to_f32(DTYPE_I32, off + 1, 3, out);
    ck_assert(out[0] == -0x1p31f && out[1] == 7.0f && out[2] == 30521.0f);
    memcpy(off + 1, i16, sizeof i16);
    dtype_to_f32(DTYPE_I16, off + 1, 3, out);
    ck_assert(out[0] == -32768.0f && out[1] == 0.0f && out[2] == 32767.0f);
    memcpy(off + 1, f64, sizeof f64);
    dtype_to_f32(DTYPE_F64, off + 1, 3, out);
    ck_assert(out[0] == -0.1f && isinf(out[1]) && out[2] == 0x1p-149f);
    dtype_to_f32(DTYPE_I8, u8, 3, out);
    ck_assert(out[0] == 0.0f && out[1] == 1.0f && out[2] == -1.0f);
    dtype_to_f32(DTYPE_U8, u8, 3, out);
    ck_assert(out[0] == 0.0f && out[1] == 1.0f && out[2] == 255.0f);
    dtype_to_f32(DTYPE_BOOL, u8, 2, out);
    ck_assert(out[0] == 0.0f && out[1] == 1.0f);
}
END_TEST

START_TEST(floats_round_to_the_nearest_even_bf16)
{
    static const struct {
        uint32_t bits;
        uint16_t want;
    } cases[] = {{0x3f800000, 0x3f80}, {0x3f808000, 0x3f80}, {0x3f818000, 0x3f82}, {0x3f808001, 0x3f81},
                 {0x7f7fffff, 0x7f80}, {0xff800000, 0xff80}, {0x7f800001, 0x7fc0}, {0x80000001, 0x8000}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        float f;
        memcpy(&f, &cases[i].bits, 4);
        ck_assert_uint_eq(f32_to_bf16(f), cases[i].want);
    }
}
END_TEST

START_TEST(the_table_is_consistent)
{
    static const struct {
        const char *name;
        int id;
        size_t bytes_of_256;
    } want[DTYPES] = {
        [DTYPE_F32] = {"F32", 0, 1024},   [DTYPE_F16] = {"F16", 1, 512},
        [DTYPE_BF16] = {"BF16", 30, 512}, [DTYPE_Q4_0] = {"Q4_0", 2, 144},
        [DTYPE_Q4_1] = {"Q4_1", 3, 160},  [DTYPE_Q8_0] = {"Q8_0", 8, 272},
        [DTYPE_Q5_0] = {"Q5_0", 6, 176},  [DTYPE_Q5_1] = {"Q5_1", 7, 192},
        [DTYPE_Q2_K] = {"Q2_K", 10, 84},  [DTYPE_Q3_K] = {"Q3_K", 11, 110},
        [DTYPE_Q4_K] = {"Q4_K", 12, 144}, [DTYPE_Q5_K] = {"Q5_K", 13, 176},
        [DTYPE_Q6_K] = {"Q6_K", 14, 210}, [DTYPE_IQ4_NL] = {"IQ4_NL", 20, 144},
        [DTYPE_F64] = {"F64", 28, 2048},  [DTYPE_I8] = {"I8", 24, 256},
        [DTYPE_I16] = {"I16", 25, 512},   [DTYPE_I32] = {"I32", 26, 1024},
        [DTYPE_I64] = {"I64", 27, 2048},  [DTYPE_U8] = {"U8", -1, 256},
        [DTYPE_BOOL] = {"BOOL", -1, 256},
    };
    for (int t = 0; t < DTYPES; t++) {
        ck_assert_str_eq(dtype_row((enum dtype)t)->name, want[t].name);
        ck_assert_int_eq(dtype_row((enum dtype)t)->gguf_id, want[t].id);
        if (want[t].id >= 0)
            ck_assert_int_eq(dtype_from_gguf((uint32_t)want[t].id), t);
        ck_assert_uint_eq(dtype_bytes((enum dtype)t, 256), want[t].bytes_of_256);
        ck_assert_uint_eq(dtype_bytes((enum dtype)t, 0), 0);
    }
    ck_assert_int_eq(dtype_from_gguf(4), -1);
    ck_assert_int_eq(dtype_from_gguf(UINT32_MAX), -1);
}
END_TEST

int main(void)
{
    TCase *c = tcase_create("dtype");
    tcase_add_test(c, all_halves_become_their_value);
    tcase_add_test(c, floats_round_to_the_nearest_even_half);
    tcase_add_test(c, bf16_is_the_upper_half_of_a_float);
    tcase_add_test(c, blocks_mean_what_gguf_says);
    tcase_add_test(c, plain_types_pass_through);
    tcase_add_loop_test(c, quantised_blocks_equal_the_reference, 0,
                        sizeof quant_vectors / sizeof quant_vectors[0]);
    tcase_add_loop_test(c, quantisers_equal_the_reference, 0,
                        sizeof written_vectors / sizeof written_vectors[0]);
    tcase_add_test(c, what_is_written_reads_back_nearly);
    tcase_add_test(c, odd_values_are_written_without_harm);
    tcase_add_test(c, integers_and_doubles_are_read_as_numbers);
    tcase_add_test(c, floats_round_to_the_nearest_even_bf16);
    tcase_add_test(c, the_table_is_consistent);
    Suite *suite = suite_create("dtype");
    suite_add_tcase(suite, c);
    return suite_run(suite);
}
