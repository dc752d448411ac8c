/* test_attention.c - attention over pages: every kernel set against scalar, bit for bit; scalar against
 * plain double precision; a prompt cut anywhere against the prompt in one go; causal and over all keys,
 * with and without a bias by distance. */
#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/isa/sequence.h"
#include "tests/isa/sets.h"
#include "tests/unit/suite.h"

/* ---- shapes --------------------------------------------------------------------------------- */

static const struct attention_shape shapes[] = {
    SHAPE(3, 3, 16, 0.25f, 0, DTYPE_F16),
    SHAPE(9, 3, 64, 0.125f, 0, DTYPE_F16),
    SHAPE(8, 2, 24, 0.2f, 0, DTYPE_F16),
    SHAPE(4, 1, 128, 0.0884f, 0, DTYPE_F16),
    SHAPE(6, 2, 64, 0.125f, 0, DTYPE_F32),
    SHAPE(4, 4, 24, 0.2f, 0, DTYPE_F32),
    SHAPE(9, 3, 64, 0.125f, 20, DTYPE_F16),
    SHAPE(4, 1, 16, 0.25f, 33, DTYPE_F32),
    SHAPE(5, 5, 16, 0.25f, 261, DTYPE_F16),
    SHAPE(2, 1, 128, 0.09f, 1, DTYPE_F16),
    SHAPE(70, 1, 7, 0.3f, 0, DTYPE_F16),
    SHAPE(3, 3, 80, 0.1f, 0, DTYPE_F32),
    SHAPE(2, 2, 96, 0.1f, 0, DTYPE_F16),
    SHAPE(2, 1, 256, 0.0625f, 0, DTYPE_F16),
    SHAPE(4, 2, 32, 0.18f, 0, DTYPE_F32),
    SHAPE(2, 1, 1, 1.0f, 0, DTYPE_F32),
    /* a bias: wide enough for every distance, and clamped in the middle of pages */
    SHAPE(6, 2, 64, 1, 0, DTYPE_F32, .bias = sequence_bias, .bias_half = 200),
    SHAPE(9, 3, 24, 0.2f, 50, DTYPE_F16, .bias = sequence_bias, .bias_half = 5),
    SHAPE(4, 4, 32, 0.2f, 0, DTYPE_F32, .all_keys = true),
    SHAPE(6, 1, 20, 0.2f, 7, DTYPE_F16, .all_keys = true),
    SHAPE(9, 9, 64, 1, 0, DTYPE_F32, .all_keys = true, .bias = sequence_bias, .bias_half = 200),
    SHAPE(4, 2, 16, 1, 0, DTYPE_F32, .all_keys = true, .bias = sequence_bias, .bias_half = 40),
    SHAPE(3, 3, 16, 0.25f, 0, DTYPE_BF16),
    SHAPE(9, 3, 64, 0.125f, 0, DTYPE_BF16),
    SHAPE(8, 2, 24, 0.2f, 0, DTYPE_BF16),
    SHAPE(4, 1, 128, 0.0884f, 0, DTYPE_BF16),
    SHAPE(4, 4, 80, 0.1f, 0, DTYPE_BF16),
    SHAPE(70, 1, 7, 0.3f, 0, DTYPE_BF16),
    SHAPE(2, 1, 1, 1.0f, 0, DTYPE_BF16),
    SHAPE(5, 1, 33, 0.2f, 0, DTYPE_BF16),
    SHAPE(2, 1, 256, 0.0625f, 0, DTYPE_BF16),
    SHAPE(6, 1, 147, 0.0825f, 0, DTYPE_BF16),
    SHAPE(9, 3, 64, 0.125f, 20, DTYPE_BF16),
    SHAPE(5, 5, 16, 0.25f, 261, DTYPE_BF16),
    SHAPE(2, 1, 96, 0.09f, 1, DTYPE_BF16),
    SHAPE(8, 1, 32, 0.18f, 33, DTYPE_BF16),
    SHAPE(6, 2, 64, 1, 0, DTYPE_BF16, .bias = sequence_bias, .bias_half = 200),
    SHAPE(9, 3, 24, 0.2f, 50, DTYPE_BF16, .bias = sequence_bias, .bias_half = 5),
    SHAPE(6, 1, 20, 0.2f, 7, DTYPE_BF16, .all_keys = true),
    SHAPE(9, 9, 64, 1, 0, DTYPE_BF16, .all_keys = true, .bias = sequence_bias, .bias_half = 200),
};
enum { SHAPES = sizeof shapes / sizeof shapes[0], TOKENS = 290, LONG = 1100 };
enum { HEADS_3 = 1, WINDOW = 6, HEADS_3_BF16 = 23, WINDOW_BF16 = 32 };

START_TEST(sets_equal_scalar)
{
    struct sets sets;
    struct sequence s;
    sets_open(&sets, true);
    random_seed((uint64_t)_i);
    sequence_make(&s, &shapes[_i], TOKENS);
    float *want = take(sequence_floats(&s) * sizeof *want), *out = take(sequence_floats(&s) * sizeof *out);
    sequence_advance(sets.exec[0], &s, 0, TOKENS, want);
    for (size_t i = 0; i < sets.count; i++) {
        sequence_wipe(&s);
        sequence_advance(sets.exec[i], &s, 0, TOKENS, out);
        sequence_assert_same(&s, out, want, sets_name(&sets, i));
    }
    free(want);
    free(out);
    sequence_drop(&s);
    sets_close(&sets);
}
END_TEST

START_TEST(a_split_prompt_gives_the_same_bits)
{
    struct sets sets;
    struct sequence s;
    sets_open(&sets, false);
    random_seed(50 + (uint64_t)_i);
    sequence_make(&s, &shapes[_i], TOKENS);
    float *want = take(sequence_floats(&s) * sizeof *want), *out = take(sequence_floats(&s) * sizeof *out);
    struct exec *x = sets.exec[sets.count > 1 ? 1 : 0];
    sequence_advance(x, &s, 0, TOKENS, want);
    for (size_t cut = 1; cut < TOKENS; cut += cut < 34 ? 1 : 37) {
        sequence_wipe(&s);
        sequence_advance(x, &s, 0, cut, out);
        sequence_advance(x, &s, cut, TOKENS, out);
        sequence_assert_same(&s, out, want, "cut in two");
    }
    sequence_wipe(&s);
    for (size_t i = 0; i < TOKENS; i++)
        sequence_advance(x, &s, i, i + 1, out);
    sequence_assert_same(&s, out, want, "one by one");
    free(want);
    free(out);
    sequence_drop(&s);
    sets_close(&sets);
}
END_TEST

/* One token after a long text is cut by keys between threads; a whole prompt on one thread is not. */
START_TEST(the_end_of_a_long_text_is_the_same_in_pieces)
{
    static const struct attention_shape few[] = {
        SHAPE(9, 3, 64, 0.125f, 0, DTYPE_F16), SHAPE(1, 1, 40, 0.2f, 700, DTYPE_F32),
        SHAPE(9, 3, 64, 0.125f, 0, DTYPE_BF16), SHAPE(1, 1, 41, 0.2f, 700, DTYPE_BF16)};
    struct sets sets;
    struct sequence s;
    sets_open(&sets, false);
    random_seed(70 + (uint64_t)_i);
    sequence_make(&s, &few[_i], LONG);
    float *want = take(sequence_floats(&s) * sizeof *want), *out = take(sequence_floats(&s) * sizeof *out);
    sequence_advance(sets.exec[0], &s, 0, LONG, want);
    memcpy(out, want, sequence_floats(&s) * sizeof *out);
    for (size_t i = 0; i < sets.count; i++) {
        for (size_t done = 1000, rows = 1; done < LONG; done += rows, rows = rows % 9 + 1)
            sequence_advance(sets.exec[i], &s, done, done + rows < LONG ? done + rows : LONG, out);
        sequence_assert_same(&s, out, want, sets_name(&sets, i));
    }
    free(want);
    free(out);
    sequence_drop(&s);
    sets_close(&sets);
}
END_TEST

/* ---- against double ------------------------------------------------------------------------- */

START_TEST(scalar_stays_within_the_bound_of_double)
{
    struct sets sets;
    struct sequence s;
    /* |values| <= 1 and |scores| <= 64: an error of 2e-5 in a score moves the mean by as much.  A weight in
     * bf16 is off by 2^-9 of itself at most. */
    double exact[256], bound = shapes[_i].kv_dtype == DTYPE_BF16 ? 0x1p-8 : 2e-5;
    sets_open(&sets, false);
    random_seed(90 + (uint64_t)_i);
    sequence_make(&s, &shapes[_i], TOKENS);
    float *out = take(sequence_floats(&s) * sizeof *out);
    sequence_advance(sets.exec[0], &s, 0, TOKENS, out);
    for (size_t position = 0; position < TOKENS; position++)
        for (size_t head = 0; head < s.shape.heads; head++) {
            sequence_attend_plainly(&s, position, head, exact);
            for (size_t d = 0; d < s.shape.head_dim; d++) {
                double got = (double)out[(position * s.shape.heads + head) * s.shape.head_dim + d];
                ck_assert_msg(fabs(got - exact[d]) < bound, "position %zu head %zu: %.9g, in double %.9g",
                              position, head, got, exact[d]);
            }
        }
    free(out);
    sequence_drop(&s);
    sets_close(&sets);
}
END_TEST

/* ---- many sequences in one batch ------------------------------------------------------------ */

/* Sequence i arrives with its rows [done, done + rows) somewhere in the batch. */
START_TEST(a_batch_equals_its_sequences_alone)
{
    const struct attention_shape *shape = &shapes[_i];
    enum { SEQUENCES = 5, WIDTH = 9 * 64, KV = 3 * 64, BATCH = 150 };
    static const size_t done[SEQUENCES] = {0, 31, 64, 289, 250}, rows[SEQUENCES] = {70, 2, 1, 1, 40};
    struct sets sets;
    struct sequence s[SEQUENCES];
    struct attention_span spans[SEQUENCES];
    sets_open(&sets, false);
    random_seed(130);
    float *alone = take(TOKENS * WIDTH * sizeof *alone), *out = take(BATCH * WIDTH * sizeof *out);
    float *q = take(BATCH * WIDTH * sizeof *q), *k = take(BATCH * KV * sizeof *k),
          *v = take(BATCH * KV * sizeof *v);
    struct exec *x = sets.exec[sets.count - 1];
    size_t row = 3; /* rows of no sequence come first */
    for (size_t i = 0; i < SEQUENCES; i++) {
        sequence_make(&s[i], shape, TOKENS);
        if (done[i])
            sequence_advance(x, &s[i], 0, done[i], alone);
        spans[i] = (struct attention_span){
            .first_row = row, .rows = rows[i], .first_position = done[i], .pages = s[i].page};
        memcpy(q + row * WIDTH, s[i].q + done[i] * WIDTH, rows[i] * WIDTH * sizeof *q);
        memcpy(k + row * KV, s[i].k + done[i] * KV, rows[i] * KV * sizeof *k);
        memcpy(v + row * KV, s[i].v + done[i] * KV, rows[i] * KV * sizeof *v);
        row += rows[i];
    }
    attention_store(x, shape, spans, SEQUENCES, k, v);
    ck_assert_int_eq(attention(x, shape, spans, SEQUENCES, q, out), 0);
    for (size_t i = 0; i < SEQUENCES; i++) {
        sequence_wipe(&s[i]);
        sequence_advance(sets.exec[0], &s[i], 0, TOKENS, alone);
        ck_assert_mem_eq(alone + done[i] * WIDTH, out + spans[i].first_row * WIDTH,
                         rows[i] * WIDTH * sizeof *out);
        sequence_drop(&s[i]);
    }
    free(alone);
    free(out);
    free(q);
    free(k);
    free(v);
    sets_close(&sets);
}
END_TEST

/* Pages wholly before the window may be gone. */
START_TEST(pages_before_the_window_are_not_touched)
{
    struct sets sets;
    struct sequence s;
    sets_open(&sets, false);
    random_seed(140);
    sequence_make(&s, &shapes[_i], TOKENS);
    float *want = take(sequence_floats(&s) * sizeof *want), *out = take(sequence_floats(&s) * sizeof *out);
    for (size_t i = 0; i < sets.count; i++) {
        sequence_advance(sets.exec[i], &s, 0, TOKENS, want);
        void *kept[2] = {s.page[0], s.page[1]};
        s.page[0] = s.page[1] = NULL;
        memcpy(out, want, sequence_floats(&s) * sizeof *out);
        sequence_advance(sets.exec[i], &s, 100, TOKENS, out);
        s.page[0] = kept[0];
        s.page[1] = kept[1];
        sequence_assert_same(&s, out, want, sets_name(&sets, i));
    }
    free(want);
    free(out);
    sequence_drop(&s);
    sets_close(&sets);
}
END_TEST

/* Over bf16 pages a hidden value is multiplied by 0: a row must not see the infinite ones of rows after it.
 */
START_TEST(what_was_never_stored_or_is_not_finite_stays_hidden)
{
    enum { BROKEN = 101 };
    struct sets sets;
    struct sequence s;
    sets_open(&sets, false);
    random_seed(150);
    sequence_make(&s, &shapes[HEADS_3_BF16], TOKENS);
    size_t row = s.shape.heads * s.shape.head_dim, kv = s.shape.kv_heads * s.shape.head_dim;
    float *want = take(sequence_floats(&s) * sizeof *want), *out = take(sequence_floats(&s) * sizeof *out);
    for (size_t i = 0; i < sets.count; i++) {
        sequence_wipe(&s);
        sequence_advance(sets.exec[i], &s, 0, BROKEN, want);
        for (size_t d = 0; d < kv; d++) {
            s.k[BROKEN * kv + d] = NAN;
            s.v[BROKEN * kv + d] = d % 3 == 0 ? NAN : d % 3 == 1 ? INFINITY : 3.4e38f;
        }
        sequence_wipe(&s);
        sequence_advance(sets.exec[i], &s, 0, TOKENS, out);
        ck_assert_mem_eq(out, want, BROKEN * row * sizeof *out);
        ck_assert(isnan(out[BROKEN * row]));
    }
    free(want);
    free(out);
    sequence_drop(&s);
    sets_close(&sets);
}
END_TEST

START_TEST(no_keys_give_zeros)
{
    struct sets sets;
    sets_open(&sets, false);
    struct attention_shape shape = {
        .heads = 2, .kv_heads = 1, .head_dim = 24, .scale = 1, .kv_dtype = DTYPE_F32, .all_keys = true};
    struct attention_span span = {.rows = 3};
    float q[3 * 2 * 24], out[3 * 2 * 24];
    for (size_t i = 0; i < 3 * 2 * 24; i++)
        q[i] = out[i] = 1.0f;
    for (size_t i = 0; i < sets.count; i++) {
        ck_assert_int_eq(attention(sets.exec[i], &shape, &span, 1, q, out), 0);
        for (size_t j = 0; j < 3 * 2 * 24; j++)
            ck_assert_float_eq(out[j], 0.0f);
    }
    sets_close(&sets);
}
END_TEST

START_TEST(layer_bytes_hold_keys_and_values)
{
    ck_assert_uint_eq(attention_layer_bytes(3, 64, DTYPE_F16), 3 * 64 * 32 * 2 * 2);
    ck_assert_uint_eq(attention_layer_bytes(2, 24, DTYPE_F16), 2 * (24 + 32) * 32 * 2);
    ck_assert_uint_eq(attention_layer_bytes(3, 64, DTYPE_F32), 3 * 64 * 32 * 2 * 4);
    ck_assert_uint_eq(attention_layer_bytes(1, 7, DTYPE_F16) % 64, 0);
    ck_assert_uint_eq(attention_layer_bytes(2, 24, DTYPE_BF16), 2 * (24 + 32) * 32 * 2);
    ck_assert_uint_eq(attention_layer_bytes(1, 7, DTYPE_BF16), (8 + 16) * 32 * 2);
}
END_TEST

int main(void)
{
    TCase *c = tcase_create("attention");
    tcase_set_timeout(c, 300);
    tcase_add_loop_test(c, sets_equal_scalar, 0, SHAPES);
    tcase_add_loop_test(c, a_split_prompt_gives_the_same_bits, 0, SHAPES);
    tcase_add_loop_test(c, the_end_of_a_long_text_is_the_same_in_pieces, 0, 4);
    tcase_add_loop_test(c, scalar_stays_within_the_bound_of_double, 0, SHAPES);
    tcase_add_loop_test(c, a_batch_equals_its_sequences_alone, HEADS_3, HEADS_3 + 1);
    tcase_add_loop_test(c, a_batch_equals_its_sequences_alone, HEADS_3_BF16, HEADS_3_BF16 + 1);
    tcase_add_loop_test(c, pages_before_the_window_are_not_touched, WINDOW, WINDOW + 1);
    tcase_add_loop_test(c, pages_before_the_window_are_not_touched, WINDOW_BF16, WINDOW_BF16 + 1);
    tcase_add_test(c, what_was_never_stored_or_is_not_finite_stays_hidden);
    tcase_add_test(c, no_keys_give_zeros);
    tcase_add_test(c, layer_bytes_hold_keys_and_values);
    Suite *suite = suite_create("isa");
    suite_add_tcase(suite, c);
    return suite_run(suite);
}
