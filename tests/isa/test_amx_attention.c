/* test_amx_attention.c - attention of prompt rows by emulated tiles (see test_amx.c): against double
 * precision within the bound that rounding to bf16 gives, bit for bit however a prompt is cut, beside
 * generated rows and in pieces; and rows that are none of a prompt, f32 pages and exact arithmetic as with
 * every set. */
#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/kernels/set.h"
#include "tests/isa/sequence.h"
#include "tests/isa/sets.h"
#include "tests/isa/tiles_emulated.h"
#include "tests/unit/suite.h"

static const struct attention_shape shapes[] = {
    SHAPE(9, 3, 64, 0.125f, 0, DTYPE_F16),
    SHAPE(2, 2, 24, 0.2f, 0, DTYPE_F16),
    SHAPE(4, 1, 128, 0.0884f, 0, DTYPE_F16),
    SHAPE(3, 3, 80, 0.1f, 0, DTYPE_F16),
    SHAPE(40, 1, 7, 0.3f, 0, DTYPE_F16),
    SHAPE(4, 2, 32, 0.18f, 33, DTYPE_F16),
    SHAPE(3, 1, 16, 0.25f, 261, DTYPE_F16),
    SHAPE(2, 1, 256, 0.0625f, 1, DTYPE_F16),
    SHAPE(9, 3, 24, 0.2f, 50, DTYPE_F16, .bias = sequence_bias, .bias_half = 5),
    SHAPE(6, 1, 20, 0.2f, 7, DTYPE_F16, .all_keys = true),
};
enum { SHAPES = sizeof shapes / sizeof shapes[0], TOKENS = 290, LONG = 900 };

static struct pool *pool;
static struct exec *exec;

static void open_exec(const struct kernel_set *set)
{
    struct error e;
    error_clear(&e);
    ck_assert_int_eq(pool_create(SETS_THREADS, &pool, &e), 0);
    ck_assert_int_eq(exec_create(set, pool, &exec, &e), 0);
}

static void close_exec(void)
{
    exec_free(exec);
    pool_free(pool);
}

/* Rows [from, to), of a prompt. */
static void read_prompt(struct sequence *s, size_t from, size_t to, float *out)
{
    unsigned long before = tiles_multiplied();
    exec_set_prompt_rows(exec, to - from, PROMPT_8_BITS);
    sequence_advance(exec, s, from, to, out);
    exec_set_prompt_rows(exec, 0, PROMPT_8_BITS);
    ck_assert_uint_gt(tiles_multiplied(), before);
}

/* How far a score may be off: q * scale and k are each rounded by 2^-9 at most. */
static double score_error(const struct sequence *s, size_t position, size_t head)
{
    const struct attention_shape *a = &s->shape;
    const float *q = s->q + (position * a->heads + head) * a->head_dim;
    size_t kv_head = head / (a->heads / a->kv_heads), end = a->all_keys ? s->keys : position + 1;
    double most = 0;
    for (size_t t = 0; t < end; t++) {
        double size = 0;
        for (size_t d = 0; d < a->head_dim; d++)
            size += fabs((double)q[d] * (double)s->k[(t * a->kv_heads + kv_head) * a->head_dim + d]);
        most = fmax(most, size);
    }
    return most * (double)a->scale * 0x1.02p-8 + 1e-5;
}

START_TEST(it_keeps_its_bound)
{
    struct sequence s;
    double exact[256];
    open_exec(kernel_set_amx());
    random_seed(900 + (uint64_t)_i);
    sequence_make(&s, &shapes[_i], TOKENS);
    float *out = take(sequence_floats(&s) * sizeof *out);
    read_prompt(&s, 0, TOKENS, out);
    for (size_t position = 0; position < TOKENS; position += position < 40 ? 1 : 7)
        for (size_t head = 0; head < s.shape.heads; head++) {
            sequence_attend_plainly(&s, position, head, exact);
            /* |values| <= 1: weights off by a factor exp(2 error), then rounded as values are */
            double bound = exp(2 * score_error(&s, position, head)) - 1 + 0x1.02p-8;
            for (size_t d = 0; d < s.shape.head_dim; d++) {
                double got = (double)out[(position * s.shape.heads + head) * s.shape.head_dim + d];
                ck_assert_msg(fabs(got - exact[d]) <= bound, "position %zu head %zu: %.9g, in double %.9g",
                              position, head, got, exact[d]);
            }
        }
    free(out);
    sequence_drop(&s);
    close_exec();
}
END_TEST

START_TEST(a_split_prompt_gives_the_same_bits)
{
    static const size_t cuts[] = {1, 15, 16, 17, 31, 32, 33, 100, 255, 256, 257, 280};
    struct sequence s;
    open_exec(kernel_set_amx());
    random_seed(930 + (uint64_t)_i);
    sequence_make(&s, &shapes[_i], TOKENS);
    float *want = take(sequence_floats(&s) * sizeof *want), *out = take(sequence_floats(&s) * sizeof *out);
    read_prompt(&s, 0, TOKENS, want);
    for (size_t i = 0; i < sizeof cuts / sizeof cuts[0]; i++) {
        sequence_wipe(&s);
        read_prompt(&s, 0, cuts[i], out);
        read_prompt(&s, cuts[i], TOKENS, out);
        sequence_assert_same(&s, out, want, "cut in two");
    }
    sequence_wipe(&s);
    for (size_t i = 0; i < TOKENS; i++)
        read_prompt(&s, i, i + 1, out);
    sequence_assert_same(&s, out, want, "one by one");
    free(want);
    free(out);
    sequence_drop(&s);
    close_exec();
}
END_TEST

/* A few rows after a long text are cut by keys between threads; half of it at once is not. */
START_TEST(the_end_of_a_long_prompt_is_the_same_in_pieces)
{
    struct sequence s;
    open_exec(kernel_set_amx());
    random_seed(950);
    sequence_make(&s, &shapes[1], LONG);
    float *want = take(sequence_floats(&s) * sizeof *want), *out = take(sequence_floats(&s) * sizeof *out);
    read_prompt(&s, 0, LONG, want);
    memcpy(out, want, sequence_floats(&s) * sizeof *out);
    for (size_t done = LONG - 60, rows = 1; done < LONG; done += rows, rows++)
        read_prompt(&s, done, done + rows < LONG ? done + rows : LONG, out);
    sequence_assert_same(&s, out, want, "in pieces");
    free(want);
    free(out);
    sequence_drop(&s);
    close_exec();
}
END_TEST

/* The first rows of a batch are a prompt's, the last one is generated. */
START_TEST(generated_rows_beside_a_prompt_are_as_with_every_set)
{
    enum { ROWS = 40, WIDTH = 9 * 64, KV = 3 * 64 };
    struct sequence s[2];
    open_exec(kernel_set_amx());
    random_seed(960);
    sequence_make(&s[0], &shapes[0], TOKENS);
    sequence_make(&s[1], &shapes[0], TOKENS);
    float *prompt = take(sequence_floats(&s[0]) * sizeof *prompt),
          *token = take(sequence_floats(&s[1]) * sizeof *token);
    float *q = take((ROWS + 1) * WIDTH * sizeof *q), *out = take((ROWS + 1) * WIDTH * sizeof *out);
    read_prompt(&s[0], 0, ROWS, prompt);
    sequence_advance(exec, &s[1], 0, TOKENS, token);
    const struct attention_span spans[] = {
        {.rows = ROWS, .pages = s[0].page},
        {.first_row = ROWS, .rows = 1, .first_position = TOKENS - 1, .pages = s[1].page}};
    memcpy(q, s[0].q, ROWS * WIDTH * sizeof *q);
    memcpy(q + ROWS * WIDTH, s[1].q + (TOKENS - 1) * WIDTH, WIDTH * sizeof *q);
    exec_set_prompt_rows(exec, ROWS, PROMPT_8_BITS);
    ck_assert_int_eq(attention(exec, &shapes[0], spans, 2, q, out), 0);
    exec_set_prompt_rows(exec, 0, PROMPT_8_BITS);
    ck_assert_mem_eq(out, prompt, ROWS * WIDTH * sizeof *out);
    ck_assert_mem_eq(out + ROWS * WIDTH, token + (TOKENS - 1) * WIDTH, WIDTH * sizeof *out);
    close_exec();
    open_exec(kernels_select("scalar", NULL));
    sequence_wipe(&s[1]);
    sequence_advance(exec, &s[1], 0, TOKENS, prompt);
    sequence_assert_same(&s[1], token, prompt, "generated rows");
    close_exec();
    free(prompt);
    free(token);
    free(q);
    free(out);
    sequence_drop(&s[0]);
    sequence_drop(&s[1]);
}
END_TEST

START_TEST(f32_pages_and_exact_arithmetic_know_no_tiles)
{
    static const struct attention_shape wide = SHAPE(6, 2, 64, 0.125f, 0, DTYPE_F32);
    struct sequence s;
    for (int exact = 0; exact < 2; exact++) {
        open_exec(kernel_set_amx());
        random_seed(970);
        sequence_make(&s, exact ? &shapes[0] : &wide, TOKENS);
        float *out = take(sequence_floats(&s) * sizeof *out),
              *want = take(sequence_floats(&s) * sizeof *want);
        unsigned long before = tiles_multiplied();
        exec_set_arithmetic(exec, exact ? ARITHMETIC_EXACT : ARITHMETIC_FAST);
        exec_set_prompt_rows(exec, TOKENS, PROMPT_8_BITS);
        sequence_advance(exec, &s, 0, TOKENS, out);
        ck_assert_uint_eq(tiles_multiplied(), before);
        close_exec();
        open_exec(kernels_select("scalar", NULL));
        sequence_wipe(&s);
        sequence_advance(exec, &s, 0, TOKENS, want);
        sequence_assert_same(&s, out, want, exact ? "exact" : "f32 pages");
        close_exec();
        free(out);
        free(want);
        sequence_drop(&s);
    }
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
    TCase *c = tcase_create("amx_attention");
    tcase_set_timeout(c, 300);
    tcase_add_loop_test(c, it_keeps_its_bound, 0, SHAPES);
    tcase_add_loop_test(c, a_split_prompt_gives_the_same_bits, 0, SHAPES);
    tcase_add_test(c, the_end_of_a_long_prompt_is_the_same_in_pieces);
    tcase_add_test(c, generated_rows_beside_a_prompt_are_as_with_every_set);
    tcase_add_test(c, f32_pages_and_exact_arithmetic_know_no_tiles);
    Suite *suite = suite_create("amx_attention");
    suite_add_tcase(suite, c);
    return suite_run(suite);
}
