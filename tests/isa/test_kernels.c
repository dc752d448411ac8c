/* test_kernels.c - every kernel set against the scalar reference, bit for bit, and the reference
 * against plain double precision: linear, norms, gates, rotary positions, logits, packing, selection. */
#include <check.h>
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/quant_blocks.h"
#include "engine/kernels/set.h"
#include "tests/isa/sets.h"
#include "tests/unit/suite.h"

static void *take(size_t bytes)
{
    void *p = malloc(bytes ? bytes : 1);
    ck_assert_ptr_nonnull(p);
    return p;
}

static bool is_quantised(enum dtype t)
{
    return quant_format(t) != NULL;
}

/* Whole blocks, at least n columns. */
static size_t columns(enum dtype t, size_t n)
{
    size_t block = dtype_row(t)->block_values;
    return (n + block - 1) / block * block;
}

static void assert_same(const float *a, const float *b, size_t n, const char *what, const char *set)
{
    for (size_t i = 0; i < n; i++)
        if (memcmp(&a[i], &b[i], sizeof *a) != 0)
            ck_abort_msg("%s, %s: element %zu is %.9g, scalar has %.9g", what, set, i, (double)a[i],
                         (double)b[i]);
}

/* ---- linear --------------------------------------------------------------------------------- */

/* One weight in every set's packed form, with a bias and inputs. */
struct matrix {
    enum dtype dtype;
    size_t rows, cols;
    uint8_t *data;
    struct weight w;
    float *bias;
};

static void matrix_make(struct matrix *m, struct exec *x, enum dtype dtype, size_t rows, size_t cols)
{
    struct error e;
    error_clear(&e);
    *m = (struct matrix){.dtype = dtype, .rows = rows, .cols = cols};
    m->data = take(dtype_bytes(dtype, rows * cols));
    m->bias = take(rows * sizeof *m->bias);
    random_weights(dtype, m->data, rows * cols);
    random_floats(m->bias, rows);
    ck_assert_msg(weight_pack(x, dtype, m->data, rows, cols, &m->w, &e) == 0, "%s", e.text);
    ck_assert_uint_eq((uintptr_t)m->w.panels % 64, 0);
}

static void matrix_drop(struct matrix *m)
{
    weight_free(&m->w);
    free(m->data);
    free(m->bias);
}

static void run(struct exec *x, const struct matrix *m, const float *in, size_t rows, bool bias, float *out)
{
    struct linear_part part = {.out = out, .stride = m->rows, .w = &m->w, .bias = bias ? m->bias : NULL};
    ck_assert_int_eq(linear_group(x, in, rows, &part, 1), 0);
}

/* Every row count gives a prefix of what scalar gives for the longest one. */
static void compare_shape(struct sets *s, enum dtype dtype, size_t rows, size_t cols, size_t longest,
                          size_t step)
{
    struct matrix m;
    matrix_make(&m, s->exec[0], dtype, rows, cols);
    float *in = take(longest * cols * sizeof *in), *want = take(longest * rows * sizeof *want);
    float *out = take(longest * rows * sizeof *out);
    char what[64];
    snprintf(what, sizeof what, "%s %zux%zu", dtype_row(dtype)->name, rows, cols);
    random_floats(in, longest * cols);
    for (int bias = 0; bias < 2; bias++) {
        run(s->exec[0], &m, in, longest, bias, want);
        for (size_t i = 0; i < s->count; i++)
            for (size_t n = longest; n > 0; n = n > step ? n - step : 0) {
                memset(out, 0xff, longest * rows * sizeof *out);
                run(s->exec[i], &m, in, n, bias, out);
                assert_same(out, want, n * rows, what, sets_name(s, i));
            }
    }
    free(in);
    free(want);
    free(out);
    matrix_drop(&m);
}

START_TEST(linear_equals_scalar_on_odd_shapes)
{
    static const size_t rows[] = {1, 15, 16, 17, 33, 100}, blocks[] = {32, 96, 576}, odd[] = {1, 7, 33, 64};
    enum dtype dtype = (enum dtype)_i;
    struct sets s;
    sets_open(&s, false);
    random_seed(100 + (uint64_t)_i);
    for (size_t r = 0; r < sizeof rows / sizeof rows[0]; r++) {
        if (is_quantised(dtype))
            for (size_t c = 0; c < sizeof blocks / sizeof blocks[0]; c++)
                compare_shape(&s, dtype, rows[r], columns(dtype, blocks[c]), 11, 1);
        else
            for (size_t c = 0; c < sizeof odd / sizeof odd[0]; c++)
                compare_shape(&s, dtype, rows[r], odd[c], 11, 1);
    }
    sets_close(&s);
}
END_TEST

START_TEST(linear_equals_scalar_for_any_number_of_rows)
{
    struct sets s;
    sets_open(&s, false);
    random_seed(200 + (uint64_t)_i);
    compare_shape(&s, (enum dtype)_i, 33, columns((enum dtype)_i, 64), 67, 1);
    compare_shape(&s, (enum dtype)_i, 50, columns((enum dtype)_i, 96), 600, 149);
    sets_close(&s);
}
END_TEST

static double rounded_to_bf16(float x)
{
    return (double)bf16_to_f32(f32_to_bf16(x));
}

/* Products of nothing so small that they may count as 0 (kernels.h). */
static void normal_floats(float *x, size_t n)
{
    random_floats(x, n);
    for (size_t i = 0; i < n; i++)
        x[i] = fabsf(x[i]) < 0x1p-40f ? 0.5f : x[i];
}

static void compare_rounded(struct sets *s, const struct matrix *m, const float *in, size_t longest)
{
    float *want = take(longest * m->rows * sizeof *want), *out = take(longest * m->rows * sizeof *out);
    run(s->exec[0], m, in, longest, true, want);
    for (size_t i = 0; i < s->count; i++)
        for (size_t n = longest; n > 0; n--) {
            run(s->exec[i], m, in, n, true, out);
            assert_same(out, want, n * m->rows, "rounded", sets_name(s, i));
        }
    free(want);
    free(out);
}

/* Weights and activations rounded to bf16, and nothing else lost but the rounding of sums; all sets alike. */
START_TEST(rounded_weights_meet_rounded_activations)
{
    static const size_t shapes[][2] = {{1, 1}, {16, 7}, {17, 64}, {33, 2}, {100, 129}, {50, 385}};
    struct sets s;
    sets_open(&s, false);
    random_seed(250);
    exec_set_precision(s.exec[0], PRECISION_BF16);
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
        size_t rows = shapes[i][0], cols = shapes[i][1];
        struct matrix m;
        struct error e;
        matrix_make(&m, s.exec[0], DTYPE_F32, rows, cols);
        weight_free(&m.w);
        normal_floats((float *)(void *)m.data, rows * cols);
        ck_assert_int_eq(weight_pack(s.exec[0], DTYPE_F32, m.data, rows, cols, &m.w, &e), 0);
        ck_assert(m.w.rounded && m.w.dtype == DTYPE_BF16);
        float *in = take(29 * cols * sizeof *in), *out = take(rows * sizeof *out);
        normal_floats(in, 29 * cols);
        compare_rounded(&s, &m, in, 29);
        run(s.exec[0], &m, in, 1, false, out);
        for (size_t r = 0; r < rows; r++) {
            const float *w = (const float *)(const void *)m.data + r * cols;
            double want = 0, size = 0;
            for (size_t c = 0; c < cols; c++) {
                double product = rounded_to_bf16(w[c]) * rounded_to_bf16(in[c]);
                want += product;
                size += fabs(product);
            }
            ck_assert_double_le(fabs((double)out[r] - want), size * (double)(cols + 1) * 0x1p-24);
        }
        free(in);
        free(out);
        matrix_drop(&m);
    }
    ck_assert_uint_eq(exec_converted(s.exec[0]), 2 * sizeof shapes / sizeof shapes[0]);
    sets_close(&s);
}
END_TEST

/* The lengths of 16 weights times those of 16 activations, summed: what errors of fixed point are parts of.
 */
static double products_of_lengths(const float *w, const float *x, size_t cols)
{
    double sum = 0;
    for (size_t i = 0; i < cols; i += 16) {
        double ww = 0, xx = 0;
        for (size_t c = i; c < cols && c < i + 16; c++) {
            ww += (double)w[c] * (double)w[c];
            xx += (double)x[c] * (double)x[c];
        }
        sum += sqrt(ww * xx);
    }
    return sum;
}

static void compare_fixed(struct exec *x, const struct matrix *m, const float *in, size_t longest)
{
    float *want = take(longest * m->rows * sizeof *want), *out = take(longest * m->rows * sizeof *out);
    run(x, m, in, longest, true, want);
    for (size_t n = longest; n > 0; n -= n > 14 ? 13 : 1) {
        run(x, m, in, n, true, out);
        assert_same(out, want, n * m->rows, "fixed", kernels_name(exec_kernels(x)));
    }
    for (size_t i = 0; i < longest * m->rows; i++) {
        const float *w = (const float *)(const void *)m->data + i % m->rows * m->cols;
        const float *row = in + i / m->rows * m->cols;
        double exact = (double)m->bias[i % m->rows],
               size = fabs(exact) + products_of_lengths(w, row, m->cols);
        for (size_t c = 0; c < m->cols; c++)
            exact += (double)w[c] * (double)row[c];
        ck_assert_double_le(fabs((double)want[i] - exact), size * 1.3e-4 + 1e-16);
    }
    free(want);
    free(out);
}

/* Sums of 31 bits hold the longest of both, along each other: all alike, or one alone. */
static void longest_floats(float *x, size_t n, size_t cols)
{
    for (size_t i = 0; i < n; i++)
        x[i] = i / cols % 2 ? 3.0f : i % cols % 16 == 5 ? -7.0f : 0.0f;
}

START_TEST(fixed_point_is_near_and_the_same_for_any_number_of_rows)
{
    static const size_t shapes[][2] = {{1, 1}, {16, 7}, {17, 64}, {33, 2}, {100, 129}, {50, 385}, {40, 1536}};
    enum { ROWS = 170 };
    struct sets s;
    sets_open(&s, false);
    random_seed(260);
    for (size_t i = 0; i < 2 * s.count * sizeof shapes / sizeof shapes[0]; i++) {
        size_t rows = shapes[i / s.count / 2][0], cols = shapes[i / s.count / 2][1];
        struct exec *x = s.exec[i % s.count];
        struct matrix m;
        struct error e;
        matrix_make(&m, x, DTYPE_F32, rows, cols);
        float *in = take(ROWS * cols * sizeof *in);
        random_floats(in, ROWS * cols);
        if (i / s.count % 2) {
            longest_floats(in, ROWS * cols, cols);
            longest_floats((float *)(void *)m.data, rows * cols, cols);
        }
        weight_free(&m.w);
        exec_allow_fixed(x, true);
        ck_assert_int_eq(weight_pack(x, DTYPE_F32, m.data, rows, cols, &m.w, &e), 0);
        exec_allow_fixed(x, false);
        if (m.w.fixed)
            compare_fixed(x, &m, in, ROWS);
        free(in);
        matrix_drop(&m);
    }
    sets_close(&s);
}
END_TEST

START_TEST(only_floats_of_fast_arithmetic_become_fixed)
{
    static const uint8_t zeros[64 * 64 * 4];
    static const struct {
        enum dtype dtype;
        enum arithmetic arithmetic;
        enum precision precision;
    } cases[] = {{DTYPE_F32, ARITHMETIC_EXACT, PRECISION_FILE},
                 {DTYPE_F32, ARITHMETIC_FAST, PRECISION_BF16},
                 {DTYPE_F32, ARITHMETIC_FAST, PRECISION_Q8},
                 {DTYPE_Q8_0, ARITHMETIC_FAST, PRECISION_FILE}};
    struct sets s;
    sets_open(&s, true);
    for (size_t i = 0; i < s.count * sizeof cases / sizeof cases[0]; i++) {
        struct exec *x = s.exec[i % s.count];
        struct weight w;
        struct error e;
        exec_set_arithmetic(x, cases[i / s.count].arithmetic);
        exec_set_precision(x, cases[i / s.count].precision);
        exec_allow_fixed(x, true);
        ck_assert_int_eq(weight_pack(x, cases[i / s.count].dtype, zeros, 64, 64, &w, &e), 0);
        ck_assert(!w.fixed);
        weight_free(&w);
    }
    sets_close(&s);
}
END_TEST

START_TEST(a_precision_that_a_tensor_cannot_have_is_refused_by_name)
{
    static const uint8_t zeros[64 * 64 * 4];
    struct sets s;
    struct weight w;
    struct error e;
    sets_open(&s, false);
    struct exec *x = s.exec[0];
    error_clear(&e);
    exec_set_precision(x, PRECISION_BF16);
    ck_assert_int_eq(weight_pack(x, DTYPE_Q4_0, zeros, 64, 64, &w, &e), -1);
    ck_assert_int_eq(e.kind, ERROR_BAD_OPTION);
    ck_assert_ptr_nonnull(strstr(e.text, "precision: tensor in memory is quantised already (Q4_0)"));
    error_clear(&e);
    exec_set_precision(x, PRECISION_Q8);
    ck_assert_int_eq(weight_pack(x, DTYPE_F16, zeros, 64, 33, &w, &e), -1);
    ck_assert_ptr_nonnull(strstr(e.text, "precision: the 33 columns of tensor in memory"));
    error_clear(&e);
    ck_assert_int_eq(weight_pack(x, DTYPE_F16, zeros, 64, 32, &w, &e), 0);
    ck_assert_int_eq(w.dtype, DTYPE_Q8_0);
    weight_free(&w);
    sets_close(&s);
}
END_TEST

/* All bytes but the f16 scales of random_weights(). */
static void fill_digits(enum dtype dtype, uint8_t *data, size_t bytes, uint8_t fill)
{
    size_t block = dtype_row(dtype)->block_bytes, d = quant_scale_offset(dtype);
    size_t scales = quant_format(dtype)->has_min ? 4 : 2;
    for (size_t i = 0; i < bytes; i++)
        if (i % block < d || i % block >= d + scales)
            data[i] = fill;
}

/* The largest digits against the largest activations of one sign: no sum in between may saturate. */
START_TEST(extreme_digits_do_not_saturate)
{
    enum { ROWS_OF_W = 16, COLS_OF_W = 256 };
    static const uint8_t fills[] = {0xff, 0x00, 0x7f, 0x80, 0x77};
    enum dtype dtype = (enum dtype)_i;
    struct sets s;
    struct error e;
    float in[COLS_OF_W], want[ROWS_OF_W], out[ROWS_OF_W];
    size_t bytes = dtype_bytes(dtype, ROWS_OF_W * COLS_OF_W);
    uint8_t *data = take(bytes);
    sets_open(&s, false);
    error_clear(&e);
    for (size_t f = 0; f < sizeof fills && is_quantised(dtype); f++)
        for (int sign = -1; sign <= 1; sign += 2) {
            struct weight w;
            random_weights(dtype, data, ROWS_OF_W * COLS_OF_W);
            fill_digits(dtype, data, bytes, fills[f]);
            for (size_t i = 0; i < COLS_OF_W; i++)
                in[i] = (float)sign;
            ck_assert_int_eq(weight_pack(s.exec[0], dtype, data, ROWS_OF_W, COLS_OF_W, &w, &e), 0);
            ck_assert_int_eq(linear(s.exec[0], want, in, 1, &w), 0);
            for (size_t i = 1; i < s.count; i++) {
                ck_assert_int_eq(linear(s.exec[i], out, in, 1, &w), 0);
                assert_same(out, want, ROWS_OF_W, dtype_row(dtype)->name, sets_name(&s, i));
            }
            weight_free(&w);
        }
    free(data);
    sets_close(&s);
}
END_TEST

/* Of rows with infinities and not-a-numbers too, any number of blocks long, close together or apart. */
START_TEST(int8_blocks_equal_scalars)
{
    enum { BLOCKS = 11, VALUES = BLOCKS * QUANT_BLOCK };
    static const float odd[] = {NAN, INFINITY, -INFINITY, FLT_MAX, -FLT_MIN / 8, 0.0f};
    static struct quant_block got[2 * BLOCKS], want[2 * BLOCKS];
    float x[VALUES];
    struct sets s;
    sets_open(&s, false);
    random_seed(260);
    for (size_t round = 0; round < 400; round++) {
        size_t blocks = 1 + round % BLOCKS, stride = 1 + round / BLOCKS % 2;
        random_floats(x, VALUES);
        for (size_t i = random_u32() % 40; round % 3 == 0 && i < VALUES; i += 1 + random_u32() % 40)
            x[i] = odd[random_u32() % (sizeof odd / sizeof odd[0])];
        memset(want, 0, sizeof want);
        exec_kernels(s.exec[0])->quantise(x, blocks * QUANT_BLOCK, want, stride);
        for (size_t i = 1; i < s.count; i++) {
            memset(got, 0, sizeof got);
            exec_kernels(s.exec[i])->quantise(x, blocks * QUANT_BLOCK, got, stride);
            ck_assert_msg(memcmp(got, want, sizeof got) == 0, "%s, %zu blocks", sets_name(&s, i), blocks);
        }
    }
    sets_close(&s);
}
END_TEST

START_TEST(a_group_equals_its_parts_alone)
{
    enum { COLS = 256, SLOT = 40, STRIDE = SLOT * DTYPES };
    struct sets s;
    sets_open(&s, false);
    random_seed(3);
    struct matrix m[DTYPES];
    float *in = take(70 * COLS * sizeof *in), *alone = take(70 * SLOT * sizeof *alone);
    float *together = take(70 * STRIDE * sizeof *together);
    random_floats(in, 70 * COLS);
    for (int t = 0; t < DTYPES; t++)
        matrix_make(&m[t], s.exec[0], (enum dtype)t, 30 + (size_t)t % 5 * 2, COLS);
    for (size_t i = 0; i < s.count; i++)
        for (size_t rows = 1; rows <= 70; rows += 23) {
            struct linear_part parts[DTYPES];
            for (int t = 0; t < DTYPES; t++)
                parts[t] = (struct linear_part){together + SLOT * t, STRIDE, &m[t].w,
                                                t % 2 ? m[t].bias : NULL, false};
            ck_assert_int_eq(linear_group(s.exec[i], in, rows, parts, DTYPES), 0);
            for (int t = 0; t < DTYPES; t++) {
                run(s.exec[0], &m[t], in, rows, t % 2, alone);
                for (size_t r = 0; r < rows; r++)
                    assert_same(together + STRIDE * r + SLOT * t, alone + r * m[t].rows, m[t].rows, "group",
                                sets_name(&s, i));
            }
        }
    for (int t = 0; t < DTYPES; t++)
        matrix_drop(&m[t]);
    free(in);
    free(alone);
    free(together);
    sets_close(&s);
}
END_TEST

/* What the int8 block arithmetic makes of one row of activations, written from kernels.h. */
static void quantise_plainly(const float *x, size_t n, double *out)
{
    for (size_t b = 0; b < n; b += QUANT_BLOCK) {
        float max = 0;
        for (size_t i = 0; i < QUANT_BLOCK; i++)
            max = fmaxf(max, fabsf(x[b + i]));
        for (size_t i = 0; i < QUANT_BLOCK; i++) {
            float q = max > 0 ? nearbyintf(fminf(127, fmaxf(-127, x[b + i] * (127 / max)))) : 0;
            out[b + i] = (double)q * (double)(max / 127);
        }
    }
}

/* |digit * scale| + |minimum| of every value, so that cancelling between the two is allowed for. */
static void sizes_of(enum dtype dtype, const uint8_t *row, const float *w, size_t n, double *out)
{
    const struct quant_format *f = quant_format(dtype);
    size_t block = dtype_row(dtype)->block_values;
    struct quant_parts p;
    for (size_t i = 0; i < n; i++) {
        out[i] = fabs((double)w[i]);
        if (!f || !f->has_min)
            continue;
        if (i % block == 0)
            quant_read(dtype, row + dtype_bytes(dtype, i), &p);
        size_t run = f->run ? i % block / f->run : 0;
        double min = (double)f16_to_f32(p.m) * (f->run ? -p.min[run] : 1);
        out[i] = fabs((double)w[i] - min) + fabs(min);
    }
}

static void check_against_double(struct exec *x, const struct matrix *m, const float *in, bool quantise)
{
    float *out = take(m->rows * sizeof *out), *w = take(m->cols * sizeof *w);
    double *activation = take(m->cols * sizeof *activation), *sizes = take(m->cols * sizeof *sizes);
    size_t row_bytes = dtype_bytes(m->dtype, m->cols);
    for (size_t i = 0; i < m->cols; i++)
        activation[i] = (double)in[i];
    if (quantise)
        quantise_plainly(in, m->cols, activation);
    run(x, m, in, 1, true, out);
    for (size_t r = 0; r < m->rows; r++) {
        double sum = (double)m->bias[r], size = fabs(sum);
        dtype_to_f32(m->dtype, m->data + r * row_bytes, m->cols, w);
        sizes_of(m->dtype, m->data + r * row_bytes, w, m->cols, sizes);
        for (size_t i = 0; i < m->cols; i++) {
            sum += (double)w[i] * activation[i];
            size += sizes[i] * fabs(activation[i]);
        }
        /* one rounding per addition at most, and three in each product's factors */
        double bound = size * ((double)m->cols + 4) * 0x1p-24 + 1e-36;
        ck_assert_msg(fabs((double)out[r] - sum) <= bound, "%s row %zu: %.9g, in double %.9g, bound %g",
                      dtype_row(m->dtype)->name, r, (double)out[r], sum, bound);
    }
    free(out);
    free(w);
    free(activation);
    free(sizes);
}

START_TEST(scalar_and_openblas_stay_within_the_bound_of_double)
{
    struct sets s;
    sets_open(&s, true);
    random_seed(400 + (uint64_t)_i);
    struct matrix m;
    size_t cols = columns((enum dtype)_i, 576);
    matrix_make(&m, s.exec[0], (enum dtype)_i, 100, cols);
    float *in = take(8 * cols * sizeof *in);
    random_floats(in, 8 * cols);
    for (size_t i = 0; i < s.count; i++)
        for (size_t r = 0; r < 8; r++)
            check_against_double(s.exec[i], &m, in + r * cols,
                                 is_quantised(m.dtype) && strcmp(sets_name(&s, i), "openblas") != 0);
    free(in);
    matrix_drop(&m);
    sets_close(&s);
}
END_TEST

START_TEST(openblas_takes_many_rows_and_cut_panels)
{
    struct sets s;
    sets_open(&s, true);
    random_seed(500 + (uint64_t)_i);
    struct matrix m;
    size_t cols = columns((enum dtype)_i, 64);
    matrix_make(&m, s.exec[0], (enum dtype)_i, 77, cols);
    float *in = take(130 * cols * sizeof *in), *many = take(130 * 77 * sizeof *many), one[77];
    random_floats(in, 130 * cols);
    struct exec *x = s.exec[s.count - 1];
    ck_assert_str_eq(kernels_name(exec_kernels(x)), "openblas");
    run(x, &m, in, 130, true, many);
    for (size_t r = 0; r < 130; r++) {
        run(x, &m, in + r * cols, 1, true, one);
        float top = 0;
        for (size_t i = 0; i < 77; i++)
            top = fmaxf(top, fabsf(one[i]));
        for (size_t i = 0; i < 77; i++)
            ck_assert_float_le(fabsf(one[i] - many[r * 77 + i]), top * (float)cols * 0x1p-20f);
    }
    free(in);
    free(many);
    matrix_drop(&m);
    sets_close(&s);
}
END_TEST

/* ---- packing -------------------------------------------------------------------------------- */

START_TEST(weight_row_gives_back_what_was_packed)
{
    struct sets s;
    sets_open(&s, false);
    random_seed(600 + (uint64_t)_i);
    struct matrix m;
    float want[512], got[512];
    size_t cols = columns((enum dtype)_i, dtype_row((enum dtype)_i)->block_values > 96 ? 512 : 96);
    matrix_make(&m, s.exec[s.count - 1], (enum dtype)_i, 37, cols);
    for (size_t r = 0; r < 37; r++) {
        dtype_to_f32(m.dtype, m.data + r * dtype_bytes(m.dtype, cols), cols, want);
        weight_row(&m.w, r, got);
        assert_same(got, want, cols, "weight_row", "-");
    }
    matrix_drop(&m);
    sets_close(&s);
}
END_TEST

static int failing_read(const struct tensor_source *s, const struct tensor_info *t, uint64_t offset,
                        void *dst, size_t n, struct error *e)
{
    (void)s;
    memset(dst, 0, n);
    return offset > 5000 ? error_at(e, ERROR_FILE_ACCESS, offset, "%s: cannot read", t->name) : 0;
}

START_TEST(a_failed_read_ends_the_load)
{
    struct sets s;
    sets_open(&s, false);
    struct tensor_info t = {.name = "blk.0.ffn_up.weight",
                            .dtype = DTYPE_Q8_0,
                            .n_dims = 2,
                            .dims = {64, 1000, 1, 1},
                            .bytes = 1000 * 2 * 34};
    struct tensor_source source = {.count = 1, .tensors = &t, .read = failing_read};
    struct weight w;
    struct error e;
    error_clear(&e);
    ck_assert_int_eq(weight_load(s.exec[s.count - 1], &source, &t, &w, &e), -1);
    ck_assert_int_eq(e.kind, ERROR_FILE_ACCESS);
    ck_assert_ptr_nonnull(strstr(e.text, "blk.0.ffn_up.weight: cannot read"));
    ck_assert_ptr_null(w.panels);
    sets_close(&s);
}
END_TEST

START_TEST(shapes_that_lie_are_refused)
{
    static const struct tensor_info bad[] = {
        {.name = "bytes", .dtype = DTYPE_F32, .dims = {8, 8, 1, 1}, .bytes = 255},
        {.name = "block", .dtype = DTYPE_Q4_1, .dims = {40, 8, 1, 1}, .bytes = 200},
        {.name = "cube", .dtype = DTYPE_F32, .dims = {2, 2, 2, 1}, .bytes = 32},
        {.name = "nothing", .dtype = DTYPE_F32, .dims = {0, 4, 1, 1}, .bytes = 0},
        {.name = "rowless", .dtype = DTYPE_F32, .dims = {4, 0, 1, 1}, .bytes = 0},
        {.name = "wraps", .dtype = DTYPE_F32, .dims = {1ull << 33, 1ull << 31, 1, 1}, .bytes = 0},
        {.name = "huge", .dtype = DTYPE_F16, .dims = {1ull << 25, 1, 1, 1}, .bytes = 1ull << 26},
    };
    struct sets s;
    sets_open(&s, false);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct tensor_source source = {.count = 1, .tensors = &bad[i], .read = failing_read};
        struct weight w;
        struct error e;
        error_clear(&e);
        ck_assert_int_eq(weight_load(s.exec[0], &source, &bad[i], &w, &e), -1);
        ck_assert_int_eq(e.kind, ERROR_BAD_FORMAT);
        ck_assert_msg(strstr(e.text, bad[i].name) != NULL, "%s", e.text);
        ck_assert_ptr_null(w.panels);
    }
    sets_close(&s);
}
END_TEST

/* ---- element work --------------------------------------------------------------------------- */

static const size_t lengths[] = {1, 7, 15, 16, 17, 33, 576, 1000};
enum { LENGTHS = sizeof lengths / sizeof lengths[0], ROWS = 60, LONGEST = 1000 };

START_TEST(norms_equal_scalar_and_double)
{
    struct sets s;
    sets_open(&s, false);
    random_seed(7);
    float *x = take(ROWS * LONGEST * sizeof *x), *scale = take(LONGEST * sizeof *scale);
    float *want = take(ROWS * LONGEST * sizeof *want), *out = take(ROWS * LONGEST * sizeof *out);
    random_floats(x, ROWS * LONGEST);
    random_floats(scale, LONGEST);
    for (size_t l = 0; l < LENGTHS; l++) {
        size_t cols = lengths[l];
        rms_norm(s.exec[0], want, x, ROWS, cols, scale, 1e-5f);
        for (size_t i = 0; i < s.count; i++) {
            memcpy(out, x, ROWS * cols * sizeof *out);
            rms_norm(s.exec[i], out, out, ROWS, cols, scale, 1e-5f);
            assert_same(out, want, ROWS * cols, "rms_norm in place", sets_name(&s, i));
        }
        for (size_t r = 0; r < ROWS; r++) {
            double squares = 0;
            for (size_t i = 0; i < cols; i++)
                squares += (double)x[r * cols + i] * (double)x[r * cols + i];
            for (size_t i = 0; i < cols; i++) {
                double exact =
                    (double)x[r * cols + i] / sqrt(squares / (double)cols + 1e-5) * (double)scale[i];
                ck_assert_double_le(fabs((double)want[r * cols + i] - exact), fabs(exact) * 1e-5 + 1e-38);
            }
        }
    }
    free(x);
    free(scale);
    free(want);
    free(out);
    sets_close(&s);
}
END_TEST

/* mean and 1 / deviation of a row */
static void plain_moments(const float *x, size_t n, double *mean, double *inverse)
{
    double sum = 0, squares = 0;
    for (size_t i = 0; i < n; i++)
        sum += (double)x[i];
    *mean = sum / (double)n;
    for (size_t i = 0; i < n; i++)
        squares += ((double)x[i] - *mean) * ((double)x[i] - *mean);
    *inverse = 1 / sqrt(squares / (double)n + 1e-5);
}

static void check_layer_norm(const float *got, const float *x, size_t cols, const float *scale,
                             const float *bias)
{
    double mean, inverse, largest = 0;
    plain_moments(x, cols, &mean, &inverse);
    for (size_t i = 0; i < cols; i++)
        largest = fmax(largest, fabs((double)x[i]));
    for (size_t i = 0; i < cols; i++) {
        double factor = inverse * (double)scale[i], add = bias ? (double)bias[i] : 0;
        double exact = ((double)x[i] - mean) * factor + add;
        /* the mean is known to a few roundings of the largest value */
        double bound = fabs(factor) * largest * 1e-5 + fabs(add) * 1e-6 + 1e-38;
        ck_assert_double_le(fabs((double)got[i] - exact), bound);
    }
}

START_TEST(layer_norms_equal_scalar_and_double)
{
    struct sets s;
    sets_open(&s, false);
    random_seed(17);
    float *x = take(ROWS * LONGEST * sizeof *x), *scale = take(LONGEST * sizeof *scale);
    float *bias = take(LONGEST * sizeof *bias);
    float *want = take(ROWS * LONGEST * sizeof *want), *out = take(ROWS * LONGEST * sizeof *out);
    random_floats(x, ROWS * LONGEST);
    random_floats(scale, LONGEST);
    random_floats(bias, LONGEST);
    for (size_t l = 0; l < LENGTHS; l++)
        for (int biased = 0; biased < 2; biased++) {
            size_t cols = lengths[l];
            const float *b = biased ? bias : NULL;
            layer_norm(s.exec[0], want, x, ROWS, cols, scale, b, 1e-5f);
            for (size_t i = 0; i < s.count; i++) {
                memcpy(out, x, ROWS * cols * sizeof *out);
                layer_norm(s.exec[i], out, out, ROWS, cols, scale, b, 1e-5f);
                assert_same(out, want, ROWS * cols, "layer_norm in place", sets_name(&s, i));
            }
            for (size_t r = 0; r < ROWS; r++)
                check_layer_norm(want + r * cols, x + r * cols, cols, scale, b);
        }
    free(x);
    free(scale);
    free(bias);
    free(want);
    free(out);
    sets_close(&s);
}
END_TEST

static double plain_activation(enum activation f, double x)
{
    switch (f) {
    case ACTIVATION_RELU:
        return x > 0 ? x : 0;
    case ACTIVATION_GELU:
        return x * erfc(-x / sqrt(2)) / 2;
    case ACTIVATION_GELU_TANH:
        return x / (1 + exp(-2 * sqrt(2 / acos(-1)) * (x + 0.044715 * x * x * x)));
    case ACTIVATION_SILU:
        return x / (1 + exp(-x));
    case ACTIVATION_TANH:
        return tanh(x);
    case ACTIVATION_SIGMOID:
        return 1 / (1 + exp(-x));
    default:
        return x;
    }
}

/* Alone and as a gate, of every length; n values from -88 to 88, close together. */
START_TEST(activations_equal_scalar_and_double)
{
    enum { N = 40013 };
    enum activation f = (enum activation)_i;
    struct sets s;
    sets_open(&s, false);
    random_seed(8);
    float *x = take(N * sizeof *x), *up = take(N * sizeof *up), *alone = take(N * sizeof *alone);
    float *gate = take(N * sizeof *gate), *out = take(N * sizeof *out);
    for (size_t i = 0; i < N; i++) {
        float even = 0.0044f * ((float)i - N / 2);
        x[i] = i % 2 ? even : even / 16;
        up[i] = i % 3 ? 1.0f : random_unit();
    }
    memcpy(alone, x, N * sizeof *x);
    activate(s.exec[0], f, alone, N);
    for (size_t i = 0; i < N; i++) {
        double exact = plain_activation(f, (double)x[i]);
        ck_assert_double_le(fabs((double)alone[i] - exact), fabs(exact) * 3e-7 + 1.5e-7);
        gate[i] = alone[i] * up[i];
    }
    for (size_t n = N; n > N - 17; n--)
        for (size_t i = 0; i < s.count; i++) {
            memcpy(out, x, n * sizeof *x);
            activate(s.exec[i], f, out, n);
            assert_same(out, alone, n, "activate", sets_name(&s, i));
            memcpy(out, x, n * sizeof *x);
            activate_gate(s.exec[i], f, out, up, n);
            assert_same(out, gate, n, "activate_gate", sets_name(&s, i));
        }
    free(x);
    free(up);
    free(alone);
    free(gate);
    free(out);
    sets_close(&s);
}
END_TEST

START_TEST(activations_of_extremes_are_their_limits)
{
    enum activation f = (enum activation)_i;
    struct sets s;
    sets_open(&s, false);
    for (size_t i = 0; i < s.count; i++) {
        float x[] = {-INFINITY, -FLT_MAX, -1e30f, -89.0f, 89.0f, 1e30f, FLT_MAX, INFINITY, NAN};
        float from[sizeof x / sizeof x[0]];
        enum { N = sizeof x / sizeof x[0] };
        memcpy(from, x, sizeof x);
        activate(s.exec[i], f, x, N);
        for (size_t j = 0; j < N - 1; j++) {
            double limit = plain_activation(f, (double)from[j]);
            if (isnan(limit)) /* -infinity times 0 */
                limit = 0;
            ck_assert_msg(isinf(limit) ? (double)x[j] == limit : fabs((double)x[j] - limit) <= 1e-36,
                          "%s, activation %d of %g is %g", sets_name(&s, i), _i, (double)from[j],
                          (double)x[j]);
        }
        ck_assert(isnan(x[N - 1]));
    }
    sets_close(&s);
}
END_TEST

START_TEST(sums_and_factors_are_plain_arithmetic)
{
    enum { N = 40013 };
    struct sets s;
    sets_open(&s, false);
    random_seed(18);
    float *x = take(N * sizeof *x), *y = take(N * sizeof *y), *out = take(N * sizeof *out);
    random_floats(x, N);
    random_floats(y, N);
    for (size_t n = N; n > N - 17; n -= 4)
        for (size_t i = 0; i < s.count; i++) {
            memcpy(out, x, n * sizeof *x);
            add_to(s.exec[i], out, y, n);
            for (size_t j = 0; j < n; j++)
                ck_assert_float_eq(out[j], x[j] + y[j]);
            memcpy(out, x, n * sizeof *x);
            scale_by(s.exec[i], out, -1.7f, n);
            for (size_t j = 0; j < n; j++)
                ck_assert_float_eq(out[j], x[j] * -1.7f);
        }
    free(x);
    free(y);
    free(out);
    sets_close(&s);
}
END_TEST

static void rotate_plainly(const struct rotary *r, double *out, const float *x, uint32_t position)
{
    for (size_t i = 0; i < r->half; i++) {
        size_t a = r->interleaved ? 2 * i : i, b = r->interleaved ? 2 * i + 1 : i + r->half;
        double c = (double)r->table[(position * r->half + i) * 2],
               s = (double)r->table[(position * r->half + i) * 2 + 1];
        out[a] = (double)x[a] * c - (double)x[b] * s;
        out[b] = (double)x[a] * s + (double)x[b] * c;
    }
}

START_TEST(rotary_equals_scalar_and_double)
{
    enum { HEADS = 3, DIM = 24, HALF = 10, POSITIONS = 50, N = 300 };
    struct sets s;
    sets_open(&s, false);
    random_seed(9);
    float *table = take(POSITIONS * HALF * 2 * sizeof *table), *x = take(N * HEADS * DIM * sizeof *x);
    float *want = take(N * HEADS * DIM * sizeof *want), *out = take(N * HEADS * DIM * sizeof *out);
    uint32_t position[N];
    random_floats(x, N * HEADS * DIM);
    for (size_t i = 0; i < POSITIONS * HALF * 2; i++)
        table[i] = random_unit();
    for (size_t i = 0; i < N; i++)
        position[i] = random_u32() % POSITIONS;
    struct rotary r = {table, HALF, _i == 1};
    memcpy(want, x, N * HEADS * DIM * sizeof *x);
    rotary_apply(s.exec[0], &r, want, N, HEADS, DIM, position);
    for (size_t i = 0; i < s.count; i++) {
        memcpy(out, x, N * HEADS * DIM * sizeof *x);
        rotary_apply(s.exec[i], &r, out, N, HEADS, DIM, position);
        assert_same(out, want, N * HEADS * DIM, "rotary", sets_name(&s, i));
    }
    for (size_t h = 0; h < N * HEADS; h++) {
        double exact[DIM];
        for (size_t i = 0; i < DIM; i++)
            exact[i] = (double)x[h * DIM + i];
        rotate_plainly(&r, exact, x + h * DIM, position[h / HEADS]);
        for (size_t i = 0; i < DIM; i++)
            ck_assert_double_le(fabs((double)want[h * DIM + i] - exact[i]), 2e4 * 0x1p-23);
    }
    free(table);
    free(x);
    free(want);
    free(out);
    sets_close(&s);
}
END_TEST

/* ---- over logits ---------------------------------------------------------------------------- */

START_TEST(log_sum_exp_equals_scalar_and_double)
{
    struct sets s;
    sets_open(&s, false);
    random_seed(10);
    float x[LONGEST];
    for (size_t l = 0; l < LENGTHS; l++) {
        double sum = 0;
        for (size_t i = 0; i < lengths[l]; i++) {
            x[i] = random_unit() * 40;
            sum += exp((double)x[i]);
        }
        float want = row_log_sum_exp(exec_kernels(s.exec[0]), x, lengths[l]);
        ck_assert_double_le(fabs((double)want - log(sum)), 1e-5);
        for (size_t i = 0; i < s.count; i++) {
            float got = row_log_sum_exp(exec_kernels(s.exec[i]), x, lengths[l]);
            assert_same(&got, &want, 1, "row_log_sum_exp", sets_name(&s, i));
        }
    }
    sets_close(&s);
}
END_TEST

START_TEST(argmax_takes_the_lowest_of_equals_and_no_nan)
{
    float x[100];
    for (size_t n = 1; n <= 100; n++)
        for (size_t at = 0; at < n; at++) {
            for (size_t i = 0; i < n; i++)
                x[i] = i % 5 == 4 ? NAN : -3.0f;
            x[at] = 2.0f;
            x[n - 1] = 2.0f;
            ck_assert_uint_eq(row_argmax(x, n), at);
        }
    for (size_t i = 0; i < 100; i++)
        x[i] = i < 20 ? NAN : -INFINITY;
    ck_assert_uint_eq(row_argmax(x, 100), 20);
    ck_assert_uint_eq(row_argmax(x, 20), 0);
}
END_TEST

/* ---- selection ------------------------------------------------------------------------------ */

START_TEST(sets_are_chosen_by_name_and_environment)
{
    struct error e;
    error_clear(&e);
    ck_assert_str_eq(kernels_name(kernels_select("scalar", &e)), "scalar");
    ck_assert_str_eq(kernels_name(kernels_select("openblas", &e)), "openblas");
    setenv("LOQUAT_KERNELS", "scalar", 1);
    ck_assert_str_eq(kernels_name(kernels_select(NULL, &e)), "scalar");
    setenv("LOQUAT_KERNELS", "abacus", 1);
    ck_assert_ptr_null(kernels_select(NULL, &e));
    ck_assert_int_eq(e.kind, ERROR_BAD_OPTION);
    ck_assert_msg(strstr(e.text, "abacus") != NULL, "%s", e.text);
    unsetenv("LOQUAT_KERNELS");
    ck_assert_str_ne(kernels_name(kernels_select(NULL, NULL)), "openblas");
}
END_TEST

int main(void)
{
    TCase *c = tcase_create("kernels");
    tcase_set_timeout(c, 300);
    tcase_add_loop_test(c, linear_equals_scalar_on_odd_shapes, 0, DTYPES);
    tcase_add_loop_test(c, linear_equals_scalar_for_any_number_of_rows, 0, DTYPES);
    tcase_add_test(c, rounded_weights_meet_rounded_activations);
    tcase_add_test(c, fixed_point_is_near_and_the_same_for_any_number_of_rows);
    tcase_add_test(c, only_floats_of_fast_arithmetic_become_fixed);
    tcase_add_test(c, a_precision_that_a_tensor_cannot_have_is_refused_by_name);
    tcase_add_loop_test(c, extreme_digits_do_not_saturate, 0, DTYPES);
    tcase_add_test(c, int8_blocks_equal_scalars);
    tcase_add_test(c, a_group_equals_its_parts_alone);
    tcase_add_loop_test(c, scalar_and_openblas_stay_within_the_bound_of_double, 0, DTYPES);
    tcase_add_loop_test(c, openblas_takes_many_rows_and_cut_panels, 0, DTYPES);
    tcase_add_loop_test(c, weight_row_gives_back_what_was_packed, 0, DTYPES);
    tcase_add_test(c, a_failed_read_ends_the_load);
    tcase_add_test(c, shapes_that_lie_are_refused);
    tcase_add_test(c, norms_equal_scalar_and_double);
    tcase_add_test(c, layer_norms_equal_scalar_and_double);
    tcase_add_loop_test(c, activations_equal_scalar_and_double, 0, ACTIVATION_SIGMOID + 1);
    tcase_add_loop_test(c, activations_of_extremes_are_their_limits, 0, ACTIVATION_SIGMOID + 1);
    tcase_add_test(c, sums_and_factors_are_plain_arithmetic);
    tcase_add_loop_test(c, rotary_equals_scalar_and_double, 0, 2);
    tcase_add_test(c, log_sum_exp_equals_scalar_and_double);
    tcase_add_test(c, argmax_takes_the_lowest_of_equals_and_no_nan);
    tcase_add_test(c, sets_are_chosen_by_name_and_environment);
    Suite *suite = suite_create("isa");
    suite_add_tcase(suite, c);
    return suite_run(suite);
}
