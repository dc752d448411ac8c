/* test_attention.c - attention over pages: every kernel set against scalar, bit for bit; scalar against
 * plain double precision; a prompt cut anywhere against the prompt in one go; causal and over all keys,
 * with and without a bias by distance.  Pages begin as
 * not-a-numbers, so that a read of anything that was never stored shows. */
#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/isa/sets.h"
#include "tests/unit/suite.h"

enum { LAYER_OFFSET = 192, BIAS_FLOATS = 9 * 401, HIDDEN_KEYS = 20 };

static float bias_table[BIAS_FLOATS];

static void *take(size_t bytes)
{
    void *p = malloc(bytes ? bytes : 1);
    ck_assert_ptr_nonnull(p);
    return p;
}

/* ---- a sequence with its pages -------------------------------------------------------------- */

struct sequence {
    struct attention_shape shape;
    size_t tokens, keys, pages; /* keys: how many there are; over all keys, fewer than there are queries */
    void **page;
    float *q, *k, *v; /* (tokens, heads or kv_heads, head_dim) */
};

static void wipe_pages(struct sequence *s)
{
    for (size_t i = 0; i < s->pages; i++)
        memset(s->page[i], 0xff,
               LAYER_OFFSET + attention_layer_bytes(s->shape.kv_heads, s->shape.head_dim, s->shape.kv_dtype));
}

static void sequence_make(struct sequence *s, const struct attention_shape *shape, size_t tokens)
{
    size_t bytes = LAYER_OFFSET + attention_layer_bytes(shape->kv_heads, shape->head_dim, shape->kv_dtype);
    size_t kv = tokens * shape->kv_heads * shape->head_dim, all = tokens * shape->heads * shape->head_dim;
    *s = (struct sequence){.shape = *shape, .tokens = tokens};
    s->keys = shape->all_keys ? tokens - HIDDEN_KEYS : tokens;
    s->pages = (tokens + KV_PAGE_TOKENS - 1) / KV_PAGE_TOKENS;
    s->page = take(s->pages * sizeof *s->page);
    for (size_t i = 0; i < s->pages; i++)
        s->page[i] = aligned_alloc(64, (bytes + 63) / 64 * 64);
    s->q = take(all * sizeof *s->q);
    s->k = take(kv * sizeof *s->k);
    s->v = take(kv * sizeof *s->v);
    for (size_t i = 0; i < all; i++)
        s->q[i] = random_unit() * 4;
    for (size_t i = 0; i < kv; i++) {
        s->k[i] = random_unit() * 2;
        s->v[i] = random_unit();
    }
    for (size_t i = 0; i < BIAS_FLOATS; i++)
        bias_table[i] = random_unit() * 3;
    wipe_pages(s);
}

static void sequence_drop(struct sequence *s)
{
    for (size_t i = 0; i < s->pages; i++)
        free(s->page[i]);
    free(s->page);
    free(s->q);
    free(s->k);
    free(s->v);
}

/* Tokens [from, to) as one span of a batch; all keys are stored before the first of them is asked for. */
static void advance(struct exec *x, struct sequence *s, size_t from, size_t to, float *out)
{
    size_t q = from * s->shape.heads * s->shape.head_dim, kv = from * s->shape.kv_heads * s->shape.head_dim;
    struct attention_span span = {
        .rows = to - from, .first_position = from, .pages = s->page, .n_keys = s->keys};
    struct attention_span all = {.rows = s->keys, .pages = s->page};
    if (!s->shape.all_keys)
        attention_store(x, &s->shape, &span, 1, s->k + kv, s->v + kv);
    else if (from == 0)
        attention_store(x, &s->shape, &all, 1, s->k, s->v);
    ck_assert_int_eq(attention(x, &s->shape, &span, 1, s->q + q, out + q), 0);
}

static size_t out_floats(const struct sequence *s)
{
    return s->tokens * s->shape.heads * s->shape.head_dim;
}

static void assert_same(const struct sequence *s, const float *a, const float *b, const char *what)
{
    size_t width = s->shape.heads * s->shape.head_dim;
    for (size_t i = 0; i < out_floats(s); i++)
        if (memcmp(&a[i], &b[i], sizeof *a) != 0)
            ck_abort_msg("%s: position %zu element %zu is %.9g, expected %.9g", what, i / width, i % width,
                         (double)a[i], (double)b[i]);
}

/* ---- shapes --------------------------------------------------------------------------------- */

#define SHAPE(n_heads, n_kv_heads, dim, factor, last, dtype, ...)                                            \
    {                                                                                                        \
        .heads = (n_heads), .kv_heads = (n_kv_heads), .head_dim = (dim), .scale = (factor),                  \
        .window = (last), .kv_dtype = (dtype), .offset = LAYER_OFFSET, __VA_ARGS__                           \
    }
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
    SHAPE(6, 2, 64, 1, 0, DTYPE_F32, .bias = bias_table, .bias_half = 200),
    SHAPE(9, 3, 24, 0.2f, 50, DTYPE_F16, .bias = bias_table, .bias_half = 5),
    SHAPE(4, 4, 32, 0.2f, 0, DTYPE_F32, .all_keys = true),
    SHAPE(6, 1, 20, 0.2f, 7, DTYPE_F16, .all_keys = true),
    SHAPE(9, 9, 64, 1, 0, DTYPE_F32, .all_keys = true, .bias = bias_table, .bias_half = 200),
    SHAPE(4, 2, 16, 1, 0, DTYPE_F32, .all_keys = true, .bias = bias_table, .bias_half = 40),
};
enum { SHAPES = sizeof shapes / sizeof shapes[0], TOKENS = 290, LONG = 1100 };

START_TEST(sets_equal_scalar)
{
    struct sets sets;
    struct sequence s;
    sets_open(&sets, true);
    random_seed((uint64_t)_i);
    sequence_make(&s, &shapes[_i], TOKENS);
    float *want = take(out_floats(&s) * sizeof *want), *out = take(out_floats(&s) * sizeof *out);
    advance(sets.exec[0], &s, 0, TOKENS, want);
    for (size_t i = 0; i < sets.count; i++) {
        wipe_pages(&s);
        advance(sets.exec[i], &s, 0, TOKENS, out);
        assert_same(&s, out, want, sets_name(&sets, i));
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
    float *want = take(out_floats(&s) * sizeof *want), *out = take(out_floats(&s) * sizeof *out);
    struct exec *x = sets.exec[sets.count > 1 ? 1 : 0];
    advance(x, &s, 0, TOKENS, want);
    for (size_t cut = 1; cut < TOKENS; cut += cut < 34 ? 1 : 37) {
        wipe_pages(&s);
        advance(x, &s, 0, cut, out);
        advance(x, &s, cut, TOKENS, out);
        assert_same(&s, out, want, "cut in two");
    }
    wipe_pages(&s);
    for (size_t i = 0; i < TOKENS; i++)
        advance(x, &s, i, i + 1, out);
    assert_same(&s, out, want, "one by one");
    free(want);
    free(out);
    sequence_drop(&s);
    sets_close(&sets);
}
END_TEST

/* One token after a long text is cut by keys between threads; a whole prompt on one thread is not. */
START_TEST(the_end_of_a_long_text_is_the_same_in_pieces)
{
    static const struct attention_shape few[] = {SHAPE(9, 3, 64, 0.125f, 0, DTYPE_F16),
                                                 SHAPE(1, 1, 40, 0.2f, 700, DTYPE_F32)};
    struct sets sets;
    struct sequence s;
    sets_open(&sets, false);
    random_seed(70 + (uint64_t)_i);
    sequence_make(&s, &few[_i], LONG);
    float *want = take(out_floats(&s) * sizeof *want), *out = take(out_floats(&s) * sizeof *out);
    advance(sets.exec[0], &s, 0, LONG, want);
    memcpy(out, want, out_floats(&s) * sizeof *out);
    for (size_t i = 0; i < sets.count; i++) {
        for (size_t done = 1000, rows = 1; done < LONG; done += rows, rows = rows % 9 + 1)
            advance(sets.exec[i], &s, done, done + rows < LONG ? done + rows : LONG, out);
        assert_same(&s, out, want, sets_name(&sets, i));
    }
    free(want);
    free(out);
    sequence_drop(&s);
    sets_close(&sets);
}
END_TEST

/* ---- against double ------------------------------------------------------------------------- */

static double stored(const struct sequence *s, float value)
{
    return (double)(s->shape.kv_dtype == DTYPE_F16 ? f16_to_f32(f32_to_f16(value)) : value);
}

static double plain_bias(const struct attention_shape *a, size_t position, size_t token, size_t head)
{
    ptrdiff_t half = (ptrdiff_t)a->bias_half, distance = (ptrdiff_t)token - (ptrdiff_t)position;
    if (!a->bias)
        return 0;
    distance = distance < -half ? -half : distance > half ? half : distance;
    return (double)a->bias[(ptrdiff_t)head * (2 * half + 1) + half + distance];
}

static void attend_plainly(const struct sequence *s, size_t position, size_t head, double *out)
{
    const struct attention_shape *a = &s->shape;
    size_t dim = a->head_dim, kv_head = head / (a->heads / a->kv_heads);
    size_t from = a->window && position + 1 > a->window ? position + 1 - a->window : 0, end = position + 1;
    const float *q = s->q + (position * a->heads + head) * dim;
    double score[TOKENS], max = -INFINITY, sum = 0;
    if (a->all_keys) {
        from = 0;
        end = s->keys;
    }
    for (size_t t = from; t < end; t++) {
        score[t] = 0;
        for (size_t d = 0; d < dim; d++)
            score[t] += (double)q[d] * stored(s, s->k[(t * a->kv_heads + kv_head) * dim + d]);
        score[t] = score[t] * (double)a->scale + plain_bias(a, position, t, head);
        max = fmax(max, score[t]);
    }
    memset(out, 0, dim * sizeof *out);
    for (size_t t = from; t < end; t++) {
        double p = exp(score[t] - max);
        sum += p;
        for (size_t d = 0; d < dim; d++)
            out[d] += p * stored(s, s->v[(t * a->kv_heads + kv_head) * dim + d]);
    }
    for (size_t d = 0; d < dim; d++)
        out[d] /= sum;
}

START_TEST(scalar_stays_within_the_bound_of_double)
{
    struct sets sets;
    struct sequence s;
    double exact[256];
    sets_open(&sets, false);
    random_seed(90 + (uint64_t)_i);
    sequence_make(&s, &shapes[_i], TOKENS);
    float *out = take(out_floats(&s) * sizeof *out);
    advance(sets.exec[0], &s, 0, TOKENS, out);
    for (size_t position = 0; position < TOKENS; position++)
        for (size_t head = 0; head < s.shape.heads; head++) {
            attend_plainly(&s, position, head, exact);
            for (size_t d = 0; d < s.shape.head_dim; d++) {
                double got = (double)out[(position * s.shape.heads + head) * s.shape.head_dim + d];
                /* |values| <= 1 and |scores| <= 64: an error of 2e-5 in a score moves the mean by as much */
                ck_assert_msg(fabs(got - exact[d]) < 2e-5, "position %zu head %zu: %.9g, in double %.9g",
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
        sequence_make(&s[i], &shapes[1], TOKENS);
        if (done[i])
            advance(x, &s[i], 0, done[i], alone);
        spans[i] = (struct attention_span){
            .first_row = row, .rows = rows[i], .first_position = done[i], .pages = s[i].page};
        memcpy(q + row * WIDTH, s[i].q + done[i] * WIDTH, rows[i] * WIDTH * sizeof *q);
        memcpy(k + row * KV, s[i].k + done[i] * KV, rows[i] * KV * sizeof *k);
        memcpy(v + row * KV, s[i].v + done[i] * KV, rows[i] * KV * sizeof *v);
        row += rows[i];
    }
    attention_store(x, &shapes[1], spans, SEQUENCES, k, v);
    ck_assert_int_eq(attention(x, &shapes[1], spans, SEQUENCES, q, out), 0);
    for (size_t i = 0; i < SEQUENCES; i++) {
        wipe_pages(&s[i]);
        advance(sets.exec[0], &s[i], 0, TOKENS, alone);
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
    sequence_make(&s, &shapes[6], TOKENS);
    float *want = take(out_floats(&s) * sizeof *want), *out = take(out_floats(&s) * sizeof *out);
    for (size_t i = 0; i < sets.count; i++) {
        advance(sets.exec[i], &s, 0, TOKENS, want);
        void *kept[2] = {s.page[0], s.page[1]};
        s.page[0] = s.page[1] = NULL;
        memcpy(out, want, out_floats(&s) * sizeof *out);
        advance(sets.exec[i], &s, 100, TOKENS, out);
        s.page[0] = kept[0];
        s.page[1] = kept[1];
        assert_same(&s, out, want, sets_name(&sets, i));
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
}
END_TEST

int main(void)
{
    TCase *c = tcase_create("attention");
    tcase_set_timeout(c, 300);
    tcase_add_loop_test(c, sets_equal_scalar, 0, SHAPES);
    tcase_add_loop_test(c, a_split_prompt_gives_the_same_bits, 0, SHAPES);
    tcase_add_loop_test(c, the_end_of_a_long_text_is_the_same_in_pieces, 0, 2);
    tcase_add_loop_test(c, scalar_stays_within_the_bound_of_double, 0, SHAPES);
    tcase_add_test(c, a_batch_equals_its_sequences_alone);
    tcase_add_test(c, pages_before_the_window_are_not_touched);
    tcase_add_test(c, no_keys_give_zeros);
    tcase_add_test(c, layer_bytes_hold_keys_and_values);
    Suite *suite = suite_create("isa");
    suite_add_tcase(suite, c);
    return suite_run(suite);
}
