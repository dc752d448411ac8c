/* test_amx.c - amx.c over emulated tiles: every dtype against double precision within the bound that amx.c
 * states, and bit for bit against itself however many rows travel together and however they are cut. The file
 * is compiled a second time for this, in front of the library's own; it still wants AVX-512 and AVX512-BF16
 * of the processor, and is skipped without. */
#include <check.h>
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/kernels/set.h"
#include "tests/isa/sets.h"
#include "tests/isa/tiles_emulated.h"
#include "tests/unit/suite.h"

static struct pool *pool;
static struct exec *exec;

static void open_exec(void)
{
    struct error e;
    error_clear(&e);
    ck_assert_ptr_null(amx_missing());
    ck_assert_int_eq(pool_create(SETS_THREADS, &pool, &e), 0);
    ck_assert_int_eq(exec_create(kernel_set_amx(), pool, &exec, &e), 0);
    ck_assert(exec_prompt_differs(exec));
}

static void close_exec(void)
{
    exec_free(exec);
    pool_free(pool);
}

static void *take(size_t bytes)
{
    void *p = malloc(bytes ? bytes : 1);
    ck_assert_ptr_nonnull(p);
    return p;
}

struct matrix {
    enum dtype dtype;
    size_t rows, cols;
    uint8_t *data;
    struct weight w;
    float *bias;
};

static void matrix_make(struct matrix *m, enum dtype dtype, size_t rows, size_t cols)
{
    struct error e;
    error_clear(&e);
    size_t block = dtype_row(dtype)->block_values;
    *m = (struct matrix){.dtype = dtype, .rows = rows, .cols = (cols + block - 1) / block * block};
    m->data = take(dtype_bytes(dtype, rows * m->cols));
    m->bias = take(rows * sizeof *m->bias);
    random_weights(dtype, m->data, rows * m->cols);
    random_floats(m->bias, rows);
    ck_assert_msg(weight_pack(exec, dtype, m->data, rows, m->cols, &m->w, &e) == 0, "%s", e.text);
}

static void matrix_drop(struct matrix *m)
{
    weight_free(&m->w);
    free(m->data);
    free(m->bias);
}

static enum prompt_precision precision = PROMPT_24_BITS;

/* The first `prompt` of the rows are prompt rows. */
static void run(const struct matrix *m, const float *x, size_t rows, size_t prompt, bool bias, float *out)
{
    struct linear_part part = {.out = out, .stride = m->rows, .w = &m->w, .bias = bias ? m->bias : NULL};
    exec_set_prompt_rows(exec, prompt, precision);
    ck_assert_int_eq(linear_group(exec, x, rows, &part, 1), 0);
    exec_set_prompt_rows(exec, 0, precision);
}

static void same(const float *got, const float *want, size_t n, const char *what)
{
    for (size_t i = 0; i < n; i++)
        ck_assert_msg(memcmp(&got[i], &want[i], sizeof *got) == 0, "%s: element %zu is %.9g, not %.9g", what,
                      i, (double)got[i], (double)want[i]);
}

/* Of one row: the bound that amx.c states, of the sum of |w x|, where a minimum and a digit may cancel. */
static void check_row(const struct matrix *m, const float *x, const float *out)
{
    double share = quant_format(m->dtype) || precision == PROMPT_8_BITS ? 0x1p-7
                   : precision == PROMPT_16_BITS                        ? 0x1p-14
                                                                        : ((double)m->cols + 16) * 0x1p-24;
    float *w = take(m->cols * sizeof *w);
    for (size_t r = 0; r < m->rows; r++) {
        double sum = (double)m->bias[r], size = 0, tiny = fabs(sum) * 0x1p-24;
        dtype_to_f32(m->dtype, m->data + r * dtype_bytes(m->dtype, m->cols), m->cols, w);
        for (size_t i = 0; i < m->cols; i++) {
            sum += (double)w[i] * (double)x[i];
            size += fabs((double)w[i] * (double)x[i]);
            tiny += ((double)fabsf(w[i]) + (double)fabsf(x[i]) + 1) * (double)FLT_MIN;
        }
        ck_assert_msg(fabs((double)out[r] - sum) <= size * share + tiny,
                      "%s output %zu: %.9g, in double %.9g", dtype_row(m->dtype)->name, r, (double)out[r],
                      sum);
    }
    free(w);
}

static const size_t shapes[][2] = {{1, 1},    {15, 33},  {16, 32},  {17, 31},   {31, 64},
                                   {32, 257}, {33, 576}, {47, 320}, {100, 100}, {64, 256}};
enum { MOST_ROWS = 600 };

static void check_bounds(enum dtype dtype)
{
    random_seed(700 + (uint64_t)dtype);
    for (size_t s = 0; s < sizeof shapes / sizeof shapes[0]; s++) {
        struct matrix m;
        matrix_make(&m, dtype, shapes[s][0], shapes[s][1]);
        enum { ROWS = 37 };
        float *x = take(ROWS * m.cols * sizeof *x), *out = take(ROWS * m.rows * sizeof *out);
        random_floats(x, ROWS * m.cols);
        run(&m, x, ROWS, ROWS, true, out);
        for (size_t r = 0; r < ROWS; r++)
            check_row(&m, x + r * m.cols, out + r * m.rows);
        free(x);
        free(out);
        matrix_drop(&m);
    }
}

START_TEST(every_type_keeps_its_bounds)
{
    unsigned long before = tiles_multiplied(), spent[PROMPT_24_BITS + 1];
    open_exec();
    for (precision = PROMPT_8_BITS; precision <= PROMPT_24_BITS; precision++) {
        check_bounds((enum dtype)_i);
        spent[precision] = tiles_multiplied() - before;
        before += spent[precision];
    }
    ck_assert_uint_gt(spent[PROMPT_8_BITS], 500);
    bool is_float = !quant_format((enum dtype)_i);
    ck_assert(is_float == (spent[PROMPT_24_BITS] > spent[PROMPT_16_BITS]));
    ck_assert(is_float == (spent[PROMPT_16_BITS] > spent[PROMPT_8_BITS]));
    precision = PROMPT_24_BITS;
    close_exec();
}
END_TEST

/* All at once, each alone, and cut into two calls at any place. */
START_TEST(a_rows_bits_depend_on_the_row_alone)
{
    static const size_t counts[] = {1, 16, 33, 257, 599};
    open_exec();
    random_seed(800 + (uint64_t)_i);
    struct matrix m;
    matrix_make(&m, (enum dtype)_i, 50, 96);
    float *x = take(MOST_ROWS * m.cols * sizeof *x), *want = take(MOST_ROWS * m.rows * sizeof *want);
    float *out = take(MOST_ROWS * m.rows * sizeof *out);
    random_floats(x, MOST_ROWS * m.cols);
    for (int bias = 0; bias < 2; bias++) {
        run(&m, x, MOST_ROWS, MOST_ROWS, bias, want);
        for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
            size_t n = counts[i];
            memset(out, 0xff, MOST_ROWS * m.rows * sizeof *out);
            run(&m, x, n, n, bias, out);
            run(&m, x + n * m.cols, MOST_ROWS - n, SIZE_MAX, bias, out + n * m.rows);
            same(out, want, MOST_ROWS * m.rows, dtype_row(m.dtype)->name);
        }
    }
    for (size_t r = 0; r < MOST_ROWS; r += 37) {
        run(&m, x + r * m.cols, 1, 1, true, out);
        same(out, want + r * m.rows, m.rows, "alone");
    }
    free(x);
    free(want);
    free(out);
    matrix_drop(&m);
    close_exec();
}
END_TEST

START_TEST(generated_rows_and_exact_arithmetic_are_as_with_every_set)
{
    open_exec();
    random_seed(900 + (uint64_t)_i);
    enum { ROWS = 70 };
    struct sets s;
    struct matrix m;
    sets_open(&s, false);
    matrix_make(&m, (enum dtype)_i, 77, 96);
    float *x = take(ROWS * m.cols * sizeof *x), *prompt = take(ROWS * m.rows * sizeof *prompt);
    float *exact = take(ROWS * m.rows * sizeof *exact), *out = take(ROWS * m.rows * sizeof *out);
    random_floats(x, ROWS * m.cols);
    struct linear_part part = {exact, m.rows, &m.w, m.bias, false};
    ck_assert_int_eq(linear_group(s.exec[0], x, ROWS, &part, 1), 0);
    run(&m, x, ROWS, ROWS, true, prompt);
    ck_assert(memcmp(prompt, exact, ROWS * m.rows * sizeof *exact) != 0);
    for (size_t n = 0; n <= ROWS; n += 23) {
        memset(out, 0xff, ROWS * m.rows * sizeof *out);
        run(&m, x, ROWS, n, true, out);
        same(out, prompt, n * m.rows, "prompt rows");
        same(out + n * m.rows, exact + n * m.rows, (ROWS - n) * m.rows, "generated rows");
    }
    exec_set_arithmetic(exec, ARITHMETIC_EXACT);
    ck_assert(!exec_prompt_differs(exec));
    run(&m, x, ROWS, ROWS, true, out);
    same(out, exact, ROWS * m.rows, "exact");
    free(x);
    free(prompt);
    free(exact);
    free(out);
    matrix_drop(&m);
    sets_close(&s);
    close_exec();
}
END_TEST

/* One call for matrices of all types, each beside the others as alone. */
START_TEST(a_group_equals_its_parts_alone)
{
    enum { ROWS = 45, COLS = 256, SLOT = 48, STRIDE = SLOT * DTYPES };
    open_exec();
    random_seed(3);
    static struct matrix m[DTYPES];
    struct linear_part parts[DTYPES];
    float *x = take(ROWS * COLS * sizeof *x), *alone = take(ROWS * SLOT * sizeof *alone);
    float *together = take(ROWS * STRIDE * sizeof *together);
    random_floats(x, ROWS * COLS);
    for (int t = 0; t < DTYPES; t++) {
        matrix_make(&m[t], (enum dtype)t, 25 + (size_t)t, COLS);
        parts[t] =
            (struct linear_part){together + SLOT * t, STRIDE, &m[t].w, t % 2 ? m[t].bias : NULL, false};
    }
    exec_set_prompt_rows(exec, 33, precision);
    ck_assert_int_eq(linear_group(exec, x, ROWS, parts, DTYPES), 0);
    for (int t = 0; t < DTYPES; t++) {
        run(&m[t], x, ROWS, 33, t % 2, alone);
        for (size_t r = 0; r < ROWS; r++)
            same(together + STRIDE * r + SLOT * t, alone + r * m[t].rows, m[t].rows, "group");
        matrix_drop(&m[t]);
    }
    free(x);
    free(alone);
    free(together);
    close_exec();
}
END_TEST

/* Longer rows than a chunk takes many of. */
START_TEST(long_rows_are_cut_into_chunks_that_do_not_show)
{
    enum { ROWS = 300 };
    open_exec();
    random_seed(4);
    struct matrix m;
    matrix_make(&m, DTYPE_Q8_0, 40, 4096);
    float *x = take(ROWS * m.cols * sizeof *x), *many = take(ROWS * m.rows * sizeof *many);
    float *few = take(ROWS * m.rows * sizeof *few);
    random_floats(x, ROWS * m.cols);
    run(&m, x, ROWS, ROWS, true, many);
    for (size_t r = 0; r < ROWS; r += 20)
        run(&m, x + r * m.cols, 20, 20, true, few + r * m.rows);
    same(many, few, ROWS * m.rows, "rows of 4096");
    free(x);
    free(many);
    free(few);
    matrix_drop(&m);
    close_exec();
}
END_TEST

/* The 64 bytes of the manual: palette, start row, then 16 words and 16 bytes of shapes. */
START_TEST(the_configuration_is_eight_full_tiles)
{
    uint8_t want[64] = {[0] = 1}, got[64];
    for (size_t t = 0; t < 8; t++) {
        want[16 + 2 * t] = 64;
        want[48 + t] = 16;
    }
    ck_assert_ptr_null(amx_missing()); /* its product runs on this thread */
    struct tile_config last = tiles_last_config();
    memcpy(got, &last, sizeof got);
    ck_assert_mem_eq(got, want, sizeof want);
}
END_TEST

START_TEST(tiles_that_compute_wrongly_are_refused)
{
    tiles_break();
    ck_assert_ptr_nonnull(amx_missing());
    ck_assert_str_eq(amx_missing(), "its tiles give a wrong product");
}
END_TEST

int main(void)
{
    const char *name, *why_not = NULL;
    for (size_t i = 0; kernels_at(i, &name, &why_not) && strcmp(name, "amx") != 0; i++)
        ;
    if (why_not) {
        printf("skipped: %s\n", why_not);
        return 77; /* of meson: skipped */
    }
    TCase *c = tcase_create("amx");
    tcase_set_timeout(c, 300);
    tcase_add_loop_test(c, every_type_keeps_its_bounds, 0, DTYPES);
    tcase_add_loop_test(c, a_rows_bits_depend_on_the_row_alone, 0, DTYPES);
    tcase_add_loop_test(c, generated_rows_and_exact_arithmetic_are_as_with_every_set, 0, DTYPES);
    tcase_add_test(c, a_group_equals_its_parts_alone);
    tcase_add_test(c, long_rows_are_cut_into_chunks_that_do_not_show);
    tcase_add_test(c, the_configuration_is_eight_full_tiles);
    tcase_add_test(c, tiles_that_compute_wrongly_are_refused);
    Suite *suite = suite_create("amx");
    suite_add_tcase(suite, c);
    return suite_run(suite);
}
