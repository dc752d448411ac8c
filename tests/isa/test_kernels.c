/* test_kernels.c - every kernel set against the scalar reference, bit for bit, and the reference
 * against plain double precision: linear, norms, gates, rotary positions, logits, packing, selection. */
#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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
    return dtype_row(t)->block_values == QUANT_BLOCK;
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
                compare_shape(&s, dtype, rows[r], blocks[c], 11, 1);
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
    compare_shape(&s, (enum dtype)_i, 33, 64, 67, 1);
    compare_shape(&s, (enum dtype)_i, 50, 96, 600, 536);
    sets_close(&s);
}
END_TEST

START_TEST(a_group_equals_its_parts_alone)
{
    struct sets s;
    sets_open(&s, false);
    random_seed(3);
    struct matrix m[DTYPES];
    float *in = take(70 * 96 * sizeof *in), *alone = take(70 * 40 * sizeof *alone);
    float *together = take(70 * 240 * sizeof *together);
    random_floats(in, 70 * 96);
    for (int t = 0; t < DTYPES; t++)
        matrix_make(&m[t], s.exec[0], (enum dtype)t, 30 + 2 * (size_t)t, 96);
    for (size_t i = 0; i < s.count; i++)
        for (size_t rows = 1; rows <= 70; rows += 23) {
            struct linear_part parts[DTYPES];
            for (int t = 0; t < DTYPES; t++)
                parts[t] = (struct linear_part){together + 40 * t, 240, &m[t].w, t % 2 ? m[t].bias : NULL};
            ck_assert_int_eq(linear_group(s.exec[i], in, rows, parts, DTYPES), 0);
            for (int t = 0; t < DTYPES; t++) {
                run(s.exec[0], &m[t], in, rows, t % 2, alone);
                for (size_t r = 0; r < rows; r++)
                    assert_same(together + 240 * r + 40 * t, alone + r * m[t].rows, m[t].rows, "group",
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

/* The largest |d q| + |m| of a value, so that cancelling in Q4_1 is allowed for. */
static double size_of(enum dtype dtype, const uint8_t *block, float value)
{
    uint16_t d, m;
    if (dtype != DTYPE_Q4_1)
        return fabs((double)value);
    memcpy(&d, block, 2);
    memcpy(&m, block + 2, 2);
    return 15 * fabs((double)f16_to_f32(d)) + fabs((double)f16_to_f32(m));
}

static void check_against_double(struct exec *x, const struct matrix *m, const float *in, bool quantise)
{
    float *out = take(m->rows * sizeof *out), *w = take(m->cols * sizeof *w);
    double *activation = take(m->cols * sizeof *activation);
    size_t row_bytes = dtype_bytes(m->dtype, m->cols);
    for (size_t i = 0; i < m->cols; i++)
        activation[i] = (double)in[i];
    if (quantise)
        quantise_plainly(in, m->cols, activation);
    run(x, m, in, 1, true, out);
    for (size_t r = 0; r < m->rows; r++) {
        double sum = (double)m->bias[r], size = fabs(sum);
        dtype_to_f32(m->dtype, m->data + r * row_bytes, m->cols, w);
        for (size_t i = 0; i < m->cols; i++) {
            const uint8_t *block =
                m->data + r * row_bytes + dtype_bytes(m->dtype, i / QUANT_BLOCK * QUANT_BLOCK);
            sum += (double)w[i] * activation[i];
            size += size_of(m->dtype, block, w[i]) * fabs(activation[i]);
        }
        /* one rounding per addition at most, and three in each product's factors */
        double bound = size * ((double)m->cols + 4) * 0x1p-24 + 1e-36;
        ck_assert_msg(fabs((double)out[r] - sum) <= bound, "%s row %zu: %.9g, in double %.9g, bound %g",
                      dtype_row(m->dtype)->name, r, (double)out[r], sum, bound);
    }
    free(out);
    free(w);
    free(activation);
}

START_TEST(scalar_and_openblas_stay_within_the_bound_of_double)
{
    struct sets s;
    sets_open(&s, true);
    random_seed(400 + (uint64_t)_i);
    struct matrix m;
    matrix_make(&m, s.exec[0], (enum dtype)_i, 100, 576);
    float *in = take(8 * 576 * sizeof *in);
    random_floats(in, 8 * 576);
    for (size_t i = 0; i < s.count; i++)
        for (size_t r = 0; r < 8; r++)
            check_against_double(s.exec[i], &m, in + r * 576,
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
    matrix_make(&m, s.exec[0], (enum dtype)_i, 77, 64);
    float *in = take(130 * 64 * sizeof *in), *many = take(130 * 77 * sizeof *many), one[77];
    random_floats(in, 130 * 64);
    struct exec *x = s.exec[s.count - 1];
    ck_assert_str_eq(kernels_name(exec_kernels(x)), "openblas");
    run(x, &m, in, 130, true, many);
    for (size_t r = 0; r < 130; r++) {
        run(x, &m, in + r * 64, 1, true, one);
        float top = 0;
        for (size_t i = 0; i < 77; i++)
            top = fmaxf(top, fabsf(one[i]));
        for (size_t i = 0; i < 77; i++)
            ck_assert_float_le(fabsf(one[i] - many[r * 77 + i]), top * 64 * 0x1p-20f);
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
    matrix_make(&m, s.exec[s.count - 1], (enum dtype)_i, 37, 96);
    float want[96], got[96];
    for (size_t r = 0; r < 37; r++) {
        dtype_to_f32(m.dtype, m.data + r * dtype_bytes(m.dtype, 96), 96, want);
        weight_row(&m.w, r, got);
        assert_same(got, want, 96, "weight_row", "-");
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

START_TEST(gates_and_sums_equal_scalar_and_double)
{
    enum { N = 40013 };
    struct sets s;
    sets_open(&s, false);
    random_seed(8);
    float *x = take(N * sizeof *x), *y = take(N * sizeof *y), *want = take(N * sizeof *want);
    float *out = take(N * sizeof *out);
    for (size_t i = 0; i < N; i++) {
        x[i] = -88.0f + 0.0044f * (float)i;
        y[i] = i % 3 ? 1.0f : random_unit();
    }
    memcpy(want, x, N * sizeof *x);
    silu_gate(s.exec[0], want, y, N);
    for (size_t i = 0; i < N; i++) {
        double exact = (double)x[i] / (1 + exp(-(double)x[i])) * (double)y[i];
        ck_assert_double_le(fabs((double)want[i] - exact), fabs(exact) * 5e-7 + 1e-44);
    }
    for (size_t n = N; n > N - 17; n--)
        for (size_t i = 0; i < s.count; i++) {
            memcpy(out, x, n * sizeof *x);
            silu_gate(s.exec[i], out, y, n);
            assert_same(out, want, n, "silu_gate", sets_name(&s, i));
            memcpy(out, x, n * sizeof *x);
            add_to(s.exec[i], out, y, n);
            for (size_t j = 0; j < n; j++)
                ck_assert_float_eq(out[j], x[j] + y[j]);
        }
    free(x);
    free(y);
    free(want);
    free(out);
    sets_close(&s);
}
END_TEST

START_TEST(silu_of_extremes_is_finite)
{
    struct sets s;
    sets_open(&s, false);
    for (size_t i = 0; i < s.count; i++) {
        float gate[4] = {-1e30f, -89.0f, 89.0f, 1e30f}, up[4] = {1, 1, 1, 1};
        silu_gate(s.exec[i], gate, up, 4);
        ck_assert_float_le(fabsf(gate[1]), 1e-36f);
        ck_assert_float_eq(gate[2], 89.0f);
        ck_assert_float_eq(gate[3], 1e30f);
        ck_assert(isfinite(gate[0]));
    }
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
    tcase_add_test(c, a_group_equals_its_parts_alone);
    tcase_add_loop_test(c, scalar_and_openblas_stay_within_the_bound_of_double, 0, DTYPES);
    tcase_add_loop_test(c, openblas_takes_many_rows_and_cut_panels, 0, DTYPES);
    tcase_add_loop_test(c, weight_row_gives_back_what_was_packed, 0, DTYPES);
    tcase_add_test(c, a_failed_read_ends_the_load);
    tcase_add_test(c, shapes_that_lie_are_refused);
    tcase_add_test(c, norms_equal_scalar_and_double);
    tcase_add_test(c, gates_and_sums_equal_scalar_and_double);
    tcase_add_test(c, silu_of_extremes_is_finite);
    tcase_add_loop_test(c, rotary_equals_scalar_and_double, 0, 2);
    tcase_add_test(c, log_sum_exp_equals_scalar_and_double);
    tcase_add_test(c, argmax_takes_the_lowest_of_equals_and_no_nan);
    tcase_add_test(c, sets_are_chosen_by_name_and_environment);
    Suite *suite = suite_create("isa");
    suite_add_tcase(suite, c);
    return suite_run(suite);
}
