/* sets.c - see sets.h. */
#include "tests/isa/sets.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/quant_blocks.h"

static uint64_t state;

static void add_set(struct sets *s, const struct kernel_set *set, unsigned threads)
{
    struct pool *pool;
    struct error e;
    error_clear(&e);
    ck_assert_msg(pool_create(threads, &pool, &e) == 0, "%s", e.text);
    ck_assert_int_eq(exec_create(set, pool, &s->exec[s->count++], &e), 0);
}

void sets_open(struct sets *s, bool with_openblas)
{
    const char *name, *why_not;
    const struct kernel_set *set;
    memset(s, 0, sizeof *s);
    add_set(s, kernels_select("scalar", NULL), 1);
    for (size_t i = 0; (set = kernels_at(i, &name, &why_not)); i++) {
        if (why_not)
            printf("skipped: kernels %s: %s\n", name, why_not);
        else if (with_openblas || strcmp(name, "openblas") != 0)
            add_set(s, set, SETS_THREADS);
    }
}

void sets_close(struct sets *s)
{
    for (size_t i = 0; i < s->count; i++) {
        struct pool *pool = exec_pool(s->exec[i]);
        exec_free(s->exec[i]);
        pool_free(pool);
    }
}

const char *sets_name(const struct sets *s, size_t i)
{
    return kernels_name(exec_kernels(s->exec[i]));
}

void random_seed(uint64_t seed)
{
    state = seed * 0x9e3779b97f4a7c15u + 1;
}

uint32_t random_u32(void)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (uint32_t)(state >> 32);
}

float random_unit(void)
{
    return (float)(int32_t)random_u32() * 0x1p-31f;
}

static float awkward(void)
{
    static const float some[] = {0.0f,  -0.0f, 1e-40f, -3e-45f, 1e-38f, 1e4f,
                                 -1e4f, 1.0f,  127.0f, -127.0f, 0.5f};
    return some[random_u32() % (sizeof some / sizeof some[0])];
}

void random_floats(float *out, size_t n)
{
    for (size_t i = 0; i < n; i++)
        out[i] = random_u32() % 16 ? random_unit() * 3.0f : awkward();
    for (size_t b = 0; b + 32 <= n; b += 32) {
        uint32_t kind = random_u32() % 12;
        for (size_t i = 0; i < 32 && kind < 2; i++)
            out[b + i] = kind ? out[b + i] * 1e-38f : 0.0f;
    }
}

/* Finite halves: exponents up to 2^5, denormals and zeros among them. */
static void random_half(uint8_t *out)
{
    uint32_t exponent = random_u32() % 8 ? 8 + random_u32() % 12 : 0;
    uint16_t h = (uint16_t)((random_u32() & 0x83ff) | exponent << 10);
    memcpy(out, &h, 2);
}

size_t quant_scale_offset(enum dtype dtype)
{
    return dtype == DTYPE_Q2_K ? 80 : dtype == DTYPE_Q3_K ? 108 : dtype == DTYPE_Q6_K ? 208 : 0;
}

static void random_scales(enum dtype dtype, uint8_t *out, size_t bytes)
{
    size_t d = quant_scale_offset(dtype);
    for (size_t i = 0; i < bytes; i += dtype_row(dtype)->block_bytes) {
        random_half(out + i + d);
        if (quant_format(dtype)->has_min)
            random_half(out + i + d + 2);
    }
}

static void random_plain(enum dtype dtype, uint8_t *out, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        float f = random_u32() % 16 ? random_unit() : awkward();
        double wide = (double)f;
        if (dtype == DTYPE_F16)
            random_half(out + 2 * i);
        else if (dtype == DTYPE_F64)
            memcpy(out + 8 * i, &wide, 8);
        else
            dtype_from_f32(dtype, &f, 1, out + i * dtype_row(dtype)->block_bytes);
    }
}

void random_weights(enum dtype dtype, uint8_t *out, size_t n)
{
    size_t bytes = dtype_bytes(dtype, n);
    for (size_t i = 0; i < bytes; i++)
        out[i] = random_u32() % 8 ? (uint8_t)random_u32() : 0x80;
    if (quant_format(dtype))
        random_scales(dtype, out, bytes);
    else if (dtype <= DTYPE_BF16 || dtype == DTYPE_F64)
        random_plain(dtype, out, n);
}
