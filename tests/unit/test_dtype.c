/* test_dtype.c - half floats against their definition for all 65,536 values, rounding between any two of
 * them, and the block layouts of GGUF by hand. */
#include <check.h>
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/dtype.h"
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

START_TEST(the_table_is_consistent)
{
    static const uint32_t ids[DTYPES] = {0, 1, 30, 2, 3, 8};
    static const size_t bytes_of_64[DTYPES] = {256, 128, 128, 36, 40, 68};
    for (int t = 0; t < DTYPES; t++) {
        ck_assert_int_eq(dtype_from_gguf(ids[t]), t);
        ck_assert_uint_eq(dtype_bytes((enum dtype)t, 64), bytes_of_64[t]);
        ck_assert_uint_eq(dtype_bytes((enum dtype)t, 0), 0);
        ck_assert_ptr_nonnull(dtype_row((enum dtype)t)->name);
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
    tcase_add_test(c, the_table_is_consistent);
    Suite *suite = suite_create("dtype");
    suite_add_tcase(suite, c);
    return suite_run(suite);
}
