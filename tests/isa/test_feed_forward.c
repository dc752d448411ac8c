/* test_feed_forward.c - what is fused against what it is made of, bit for bit, on every set: products of
 * normed rows, products added to what is there, and the two products of a feed forward with the activation
 * between them; every dtype, odd shapes, any number of rows, and prompt rows by a set's own way (tiles, which
 * are emulated here). */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/quant_blocks.h"
#include "tests/isa/sets.h"
#include "tests/unit/suite.h"

enum { MOST_ROWS = 160 };

static void *take(size_t bytes)
{
    void *p = malloc(bytes ? bytes : 1);
    ck_assert_ptr_nonnull(p);
    return p;
}

static float *take_random(size_t n)
{
    float *p = take(n * sizeof *p);
    random_floats(p, n);
    return p;
}

static void same(const float *got, const float *want, size_t n, const char *what, const char *set)
{
    for (size_t i = 0; i < n; i++)
        if (memcmp(&got[i], &want[i], sizeof *got) != 0)
            ck_abort_msg("%s, %s: element %zu is %.9g, not %.9g", what, set, i, (double)got[i],
                         (double)want[i]);
}

static struct weight make_weight(struct exec *x, enum dtype dtype, size_t rows, size_t cols)
{
    struct error e;
    struct weight w;
    error_clear(&e);
    uint8_t *data = take(dtype_bytes(dtype, rows * cols));
    random_weights(dtype, data, rows * cols);
    ck_assert_msg(weight_pack(x, dtype, data, rows, cols, &w, &e) == 0, "%s", e.text);
    free(data);
    return w;
}

/* One block: of rounded weights where the dtype is DTYPES. */
struct block {
    size_t cols, ff;
    struct weight up, gate, down;
    float *up_bias, *gate_bias, *down_bias, *scale, *shift;
};

static void block_make(struct block *b, struct exec *x, enum dtype dtype)
{
    bool rounded = dtype == DTYPES, whole = !rounded && quant_format(dtype);
    size_t values = rounded ? 1 : dtype_row(dtype)->block_values;
    b->cols = whole ? (64 + values - 1) / values * values : 51;
    b->ff = whole ? (96 + values - 1) / values * values : 77;
    exec_set_precision(x, rounded ? PRECISION_BF16 : PRECISION_FILE);
    dtype = rounded ? DTYPE_F32 : dtype;
    b->up = make_weight(x, dtype, b->ff, b->cols);
    b->gate = make_weight(x, dtype, b->ff, b->cols);
    b->down = make_weight(x, dtype, b->cols, b->ff);
    b->up_bias = take_random(b->ff);
    b->gate_bias = take_random(b->ff);
    b->down_bias = take_random(b->cols);
    b->scale = take_random(b->cols);
    b->shift = take_random(b->cols);
}

static void block_drop(struct block *b)
{
    float *vectors[] = {b->up_bias, b->gate_bias, b->down_bias, b->scale, b->shift};
    for (size_t i = 0; i < sizeof vectors / sizeof vectors[0]; i++)
        free(vectors[i]);
    weight_free(&b->up);
    weight_free(&b->gate);
    weight_free(&b->down);
}

static void norm(struct exec *x, const struct row_norm *n, float *out, const float *in, size_t rows,
                 size_t cols)
{
    if (!n)
        memcpy(out, in, rows * cols * sizeof *out);
    else if (n->rms)
        rms_norm(x, out, in, rows, cols, n->scale, n->epsilon);
    else
        layer_norm(x, out, in, rows, cols, n->scale, n->bias, n->epsilon);
}

/* io += down(activation(up(norm(io)))), step by step. */
static void plainly(struct exec *x, const struct block *b, const struct row_norm *n, bool gated,
                    enum activation f, size_t rows, float *io)
{
    float *normed = take(rows * b->cols * sizeof *normed), *delta = take(rows * b->cols * sizeof *delta);
    float *up = take(rows * b->ff * sizeof *up), *gate = take(rows * b->ff * sizeof *gate);
    const struct linear_part parts[] = {{up, b->ff, &b->up, b->up_bias, false},
                                        {gate, b->ff, &b->gate, b->gate_bias, false}};
    const struct linear_part down = {delta, b->cols, &b->down, b->down_bias, false};
    norm(x, n, normed, io, rows, b->cols);
    ck_assert_int_eq(linear_group(x, normed, rows, parts, gated ? 2 : 1), 0);
    if (gated)
        activate_gate(x, f, gate, up, rows * b->ff);
    else
        activate(x, f, up, rows * b->ff);
    ck_assert_int_eq(linear_group(x, gated ? gate : up, rows, &down, 1), 0);
    add_to(x, io, delta, rows * b->cols);
    free(normed);
    free(delta);
    free(up);
    free(gate);
}

static void fused(struct exec *x, const struct block *b, const struct row_norm *n, bool gated,
                  enum activation f, size_t rows, float *io)
{
    const struct feed_forward ff = {.up = &b->up,
                                    .gate = gated ? &b->gate : NULL,
                                    .up_bias = b->up_bias,
                                    .gate_bias = b->gate_bias,
                                    .activation = f,
                                    .down = {io, b->cols, &b->down, b->down_bias, true}};
    ck_assert_int_eq(feed_forward(x, n, io, rows, &ff), 0);
}

/* The first `prompt` rows are prompt rows. */
static void compare(struct exec *x, const char *set, const struct block *b, const struct row_norm *n,
                    bool gated, const float *in, size_t rows, size_t prompt)
{
    size_t bytes = rows * b->cols * sizeof *in;
    float *got = take(bytes), *want = take(bytes);
    enum activation f = gated ? ACTIVATION_SILU : ACTIVATION_GELU;
    memcpy(got, in, bytes);
    memcpy(want, in, bytes);
    exec_set_prompt_rows(x, prompt, PROMPT_24_BITS);
    plainly(x, b, n, gated, f, rows, want);
    fused(x, b, n, gated, f, rows, got);
    exec_set_prompt_rows(x, 0, PROMPT_24_BITS);
    same(got, want, rows * b->cols, gated ? "gated feed forward" : "feed forward", set);
    free(got);
    free(want);
}

START_TEST(a_feed_forward_equals_its_steps)
{
    static const size_t counts[] = {1, 2, 13, 35, MOST_ROWS};
    struct sets s;
    struct block b;
    sets_open(&s, false);
    random_seed(1000 + (uint64_t)_i);
    block_make(&b, s.exec[0], (enum dtype)_i);
    float *in = take_random(MOST_ROWS * b.cols);
    const struct row_norm norms[] = {{true, b.scale, NULL, 1e-5f}, {false, b.scale, b.shift, 1e-5f}};
    for (size_t i = 0; i < s.count; i++)
        for (size_t r = 0; r < sizeof counts / sizeof counts[0]; r++)
            for (int gated = 0; gated < 2; gated++) {
                const struct row_norm *n = r == 3 ? NULL : &norms[r % 2];
                compare(s.exec[i], sets_name(&s, i), &b, n, gated, in, counts[r], 0);
                compare(s.exec[i], sets_name(&s, i), &b, n, gated, in, counts[r], counts[r] / 2 + 1);
            }
    free(in);
    block_drop(&b);
    sets_close(&s);
}
END_TEST

START_TEST(products_of_norms_and_sums_equal_their_steps)
{
    enum { ROWS = 37 };
    struct sets s;
    struct block b;
    sets_open(&s, false);
    random_seed(1100 + (uint64_t)_i);
    block_make(&b, s.exec[0], (enum dtype)_i);
    size_t values = ROWS * b.ff;
    float *in = take_random(ROWS * b.cols), *before = take_random(values);
    float *got = take(values * sizeof *got), *want = take(values * sizeof *want);
    float *normed = take(ROWS * b.cols * sizeof *normed);
    const struct row_norm n = {_i % 2 == 0, b.scale, _i % 2 == 0 ? NULL : b.shift, 1e-6f};
    for (size_t i = 0; i < s.count; i++)
        for (size_t prompt = 0; prompt <= ROWS; prompt += 18) {
            struct exec *x = s.exec[i];
            struct linear_part part = {got, b.ff, &b.up, b.up_bias, true};
            memcpy(got, before, values * sizeof *got);
            exec_set_prompt_rows(x, prompt, PROMPT_16_BITS);
            ck_assert_int_eq(linear_normed(x, &n, in, ROWS, &part, 1), 0);
            norm(x, &n, normed, in, ROWS, b.cols);
            part = (struct linear_part){want, b.ff, &b.up, b.up_bias, false};
            ck_assert_int_eq(linear_group(x, normed, ROWS, &part, 1), 0);
            exec_set_prompt_rows(x, 0, PROMPT_16_BITS);
            for (size_t k = 0; k < values; k++)
                want[k] = before[k] + want[k];
            same(got, want, values, "normed and added", sets_name(&s, i));
        }
    free(in);
    free(before);
    free(got);
    free(want);
    free(normed);
    block_drop(&b);
    sets_close(&s);
}
END_TEST

int main(void)
{
    TCase *c = tcase_create("feed_forward");
    tcase_set_timeout(c, 300);
    tcase_add_loop_test(c, a_feed_forward_equals_its_steps, 0, DTYPES + 1);
    tcase_add_loop_test(c, products_of_norms_and_sums_equal_their_steps, 0, DTYPES + 1);
    Suite *suite = suite_create("feed_forward");
    suite_add_tcase(suite, c);
    return suite_run(suite);
}
