/* test_rnn.c - recurrent models against the formulas of torch.nn's documentation written down plainly, in
 * batches that must not matter, under names that authors choose. */
#include "memory_checkpoint.h"
#include "suite.h"

enum { VOCABULARY = 11, INPUTS = 6, HIDDEN = 8, LAYERS = 2, STEPS = 9 };

struct variant {
    const char *cell;
    size_t gates, projection;
    bool relu, bias;
};

static const struct variant variants[] = {
    {"rnn", 1, 0, false, true}, {"rnn", 1, 0, true, true},   {"lstm", 4, 0, false, true},
    {"gru", 3, 0, false, true}, {"lstm", 4, 5, false, true}, {"gru", 3, 0, false, false},
};
enum { VARIANTS = sizeof variants / sizeof variants[0] };

struct weights {
    float *embedding, *head, *head_bias;
    float *ih[LAYERS], *hh[LAYERS], *bih[LAYERS], *bhh[LAYERS], *hr[LAYERS];
};

static size_t outputs_of(const struct variant *v)
{
    return v->projection ? v->projection : HIDDEN;
}

static size_t inputs_of(const struct variant *v, size_t layer)
{
    return layer ? outputs_of(v) : INPUTS;
}

static void make_weights(const struct variant *v, struct weights *w)
{
    size_t rows = v->gates * HIDDEN, out = outputs_of(v);
    w->embedding = memory_numbers(VOCABULARY * INPUTS, 1, 1);
    w->head = memory_numbers(VOCABULARY * out, 1, 2);
    w->head_bias = memory_numbers(VOCABULARY, 1, 3);
    for (uint32_t i = 0; i < LAYERS; i++) {
        w->ih[i] = memory_numbers(rows * inputs_of(v, i), 0.6f, 10 + i);
        w->hh[i] = memory_numbers(rows * out, 0.6f, 20 + i);
        w->bih[i] = memory_numbers(rows, v->bias ? 0.5f : 0, 30 + i);
        w->bhh[i] = memory_numbers(rows, v->bias ? 0.5f : 0, 40 + i);
        w->hr[i] = memory_numbers(out * HIDDEN, 0.6f, 50 + i);
    }
}

static void free_weights(struct weights *w)
{
    free(w->embedding);
    free(w->head);
    free(w->head_bias);
    for (size_t i = 0; i < LAYERS; i++) {
        free(w->ih[i]);
        free(w->hh[i]);
        free(w->bih[i]);
        free(w->bhh[i]);
        free(w->hr[i]);
    }
}

/* The recurrent layers under PREFIXweight_ih_l0 …. */
static void add_layers(struct memory_checkpoint *m, const struct variant *v, const struct weights *w,
                       const char *prefix)
{
    size_t rows = v->gates * HIDDEN, out = outputs_of(v);
    for (size_t i = 0; i < LAYERS; i++) {
        char name[80];
        snprintf(name, sizeof name, "%sweight_ih_l%zu", prefix, i);
        memory_add(m, name, DTYPE_F32, w->ih[i], rows, inputs_of(v, i));
        snprintf(name, sizeof name, "%sweight_hh_l%zu", prefix, i);
        memory_add(m, name, DTYPE_F32, w->hh[i], rows, out);
        snprintf(name, sizeof name, "%sbias_ih_l%zu", prefix, i);
        if (v->bias)
            memory_add(m, name, DTYPE_F32, w->bih[i], 0, rows);
        snprintf(name, sizeof name, "%sbias_hh_l%zu", prefix, i);
        if (v->bias)
            memory_add(m, name, DTYPE_F32, w->bhh[i], 0, rows);
        snprintf(name, sizeof name, "%sweight_hr_l%zu", prefix, i);
        if (v->projection)
            memory_add(m, name, DTYPE_F32, w->hr[i], out, HIDDEN);
    }
}

static struct memory_checkpoint *plain_checkpoint(const struct variant *v, const struct weights *w)
{
    struct memory_checkpoint *m =
        memory_create(DIALECT_TORCH, "rnn-lm", v->relu ? "{'nonlinearity': 'relu'}" : "{'cell': null}");
    memory_add(m, "embedding.weight", DTYPE_F32, w->embedding, VOCABULARY, INPUTS);
    add_layers(m, v, w, "rnn.");
    memory_add(m, "fc.weight", DTYPE_F32, w->head, VOCABULARY, outputs_of(v));
    memory_add(m, "fc.bias", DTYPE_F32, w->head_bias, 0, VOCABULARY);
    return m;
}

/* ---- the reference --------------------------------------------------------------------------------- */

static double sigmoid(double x)
{
    return 1 / (1 + exp(-x));
}

static double dot(const float *w, const double *x, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += (double)w[i] * x[i];
    return sum;
}

static void reference_step(const struct variant *v, const struct weights *w, size_t layer, const double *x,
                           double *h, double *c)
{
    double in[4 * HIDDEN], re[4 * HIDDEN], next[HIDDEN];
    size_t n_in = inputs_of(v, layer), n_out = outputs_of(v);
    for (size_t i = 0; i < v->gates * HIDDEN; i++) {
        in[i] = dot(w->ih[layer] + i * n_in, x, n_in) + (double)w->bih[layer][i];
        re[i] = dot(w->hh[layer] + i * n_out, h, n_out) + (double)w->bhh[layer][i];
    }
    for (size_t i = 0; i < HIDDEN; i++) {
        double sum = in[i] + re[i];
        if (v->gates == 1) {
            next[i] = v->relu ? fmax(sum, 0) : tanh(sum);
        } else if (v->gates == 4) {
            double f = sigmoid(in[HIDDEN + i] + re[HIDDEN + i]),
                   g = tanh(in[2 * HIDDEN + i] + re[2 * HIDDEN + i]);
            c[i] = f * c[i] + sigmoid(sum) * g;
            next[i] = sigmoid(in[3 * HIDDEN + i] + re[3 * HIDDEN + i]) * tanh(c[i]);
        } else {
            double z = sigmoid(in[HIDDEN + i] + re[HIDDEN + i]);
            next[i] = (1 - z) * tanh(in[2 * HIDDEN + i] + sigmoid(sum) * re[2 * HIDDEN + i]) + z * h[i];
        }
    }
    for (size_t i = 0; i < n_out; i++)
        h[i] = v->projection ? dot(w->hr[layer] + i * HIDDEN, next, HIDDEN) : next[i];
}

static void reference(const struct variant *v, const struct weights *w, const int32_t *tokens, size_t n,
                      double *logits)
{
    double h[LAYERS][HIDDEN] = {{0}}, c[LAYERS][HIDDEN] = {{0}}, x[HIDDEN];
    for (size_t t = 0; t < n; t++) {
        for (size_t i = 0; i < INPUTS; i++)
            x[i] = (double)w->embedding[(size_t)tokens[t] * INPUTS + i];
        for (size_t layer = 0; layer < LAYERS; layer++) {
            reference_step(v, w, layer, x, h[layer], c[layer]);
            memcpy(x, h[layer], sizeof x);
        }
        for (size_t i = 0; i < VOCABULARY; i++)
            logits[t * VOCABULARY + i] =
                dot(w->head + i * outputs_of(v), x, outputs_of(v)) + (double)w->head_bias[i];
    }
}

/* ---- running ---------------------------------------------------------------------------------------- */

static const int32_t text[STEPS] = {3, 1, 4, 1, 5, 9, 2, 6, 10};

/* n spans, span i of counts[i] tokens of `text` from at[i], the state of which is states[i]; all rows'
 * logits. */
static void run(struct model *m, struct exec *x, size_t n, const size_t *at, const size_t *counts,
                void *const *states, float *logits, float *hidden)
{
    struct attention_span spans[8] = {{0}};
    int32_t tokens[64];
    uint32_t positions[64], rows[64];
    struct batch b = {.tokens = tokens,
                      .positions = positions,
                      .spans = spans,
                      .n_spans = n,
                      .states = states,
                      .logit_rows = rows,
                      .hidden = hidden};
    for (size_t i = 0; i < n; i++) {
        spans[i] = (struct attention_span){.first_row = b.rows, .rows = counts[i], .first_position = at[i]};
        for (size_t j = 0; j < counts[i]; j++, b.rows++) {
            tokens[b.rows] = text[at[i] + j];
            positions[b.rows] = (uint32_t)(at[i] + j);
            rows[b.rows] = (uint32_t)b.rows;
        }
    }
    b.n_logit_rows = b.rows;
    ck_assert_int_eq(m->arch->forward(m, x, &b), 0);
    ck_assert_int_eq(m->arch->logits(m, x, &b, 0, b.n_logit_rows, logits), 0);
}

static void *new_state(const struct model *m)
{
    void *state = malloc(m->shape.state_bytes);
    ck_assert_ptr_nonnull(state);
    memset(state, 0xff, m->shape.state_bytes); /* not a number, until the family sets it */
    return state;
}

START_TEST(cells_compute_what_torch_documents)
{
    const struct variant *v = &variants[_i];
    struct weights w;
    struct machine x = machine_create();
    double expected[STEPS * VOCABULARY];
    float logits[STEPS * VOCABULARY], hidden[STEPS * HIDDEN];
    make_weights(v, &w);
    struct memory_checkpoint *c = plain_checkpoint(v, &w);
    struct model *m = memory_load(c, x.exec, NULL);
    ck_assert_uint_eq(m->shape.vocabulary, VOCABULARY);
    ck_assert_uint_eq(m->shape.embedding, outputs_of(v));
    ck_assert_uint_eq(m->shape.layers, LAYERS);
    void *state = new_state(m);
    run(m, x.exec, 1, (size_t[]){0}, (size_t[]){STEPS}, &state, logits, hidden);
    reference(v, &w, text, STEPS, expected);
    for (size_t i = 0; i < STEPS * VOCABULARY; i++)
        ck_assert_msg(fabs((double)logits[i] - expected[i]) < 1e-5, "%zu: %g %g", i, (double)logits[i],
                      expected[i]);
    for (size_t i = 0; i < VOCABULARY; i++) { /* the head of the last hidden state gives the last logits */
        double sum = (double)w.head_bias[i];
        for (size_t j = 0; j < outputs_of(v); j++)
            sum += (double)w.head[i * outputs_of(v) + j] * (double)hidden[(STEPS - 1) * outputs_of(v) + j];
        ck_assert_double_eq_tol(sum, (double)logits[(STEPS - 1) * VOCABULARY + i], 1e-5);
    }
    free(state);
    m->arch->free(m);
    memory_free(c);
    free_weights(&w);
    machine_free(&x);
}
END_TEST

/* One sequence in three pieces, each beside others of other lengths: the very same numbers. */
START_TEST(a_row_depends_on_its_sequence_only)
{
    const struct variant *v = &variants[_i];
    struct weights w;
    struct machine x = machine_create();
    float alone[STEPS * VOCABULARY], together[3 * STEPS * VOCABULARY];
    make_weights(v, &w);
    struct memory_checkpoint *c = plain_checkpoint(v, &w);
    struct model *m = memory_load(c, x.exec, NULL);
    void *states[3] = {new_state(m), new_state(m), new_state(m)};
    run(m, x.exec, 1, (size_t[]){0}, (size_t[]){STEPS}, states, alone, NULL);
    const size_t at[3][3] = {{0, 0, 0}, {2, 1, 4}, {8, 5, 5}},
                 counts[3][3] = {{2, 1, 4}, {6, 4, 1}, {1, 4, 4}};
    for (size_t piece = 0; piece < 3; piece++) {
        run(m, x.exec, 3, at[piece], counts[piece], states, together, NULL);
        const float *row = together;
        for (size_t i = 0; i < 3; i++) {
            size_t n = counts[piece][i] * VOCABULARY;
            ck_assert_mem_eq(row, alone + at[piece][i] * VOCABULARY, n * sizeof *row);
            row += n;
        }
    }
    for (size_t i = 0; i < 3; i++)
        free(states[i]);
    m->arch->free(m);
    memory_free(c);
    free_weights(&w);
    machine_free(&x);
}
END_TEST

/* Names of the author's own, the output before the embedding in the file, no config at all. */
START_TEST(names_and_sizes_are_inferred)
{
    const struct variant *v = &variants[2];
    struct weights w;
    struct machine x = machine_create();
    double expected[STEPS * VOCABULARY];
    float logits[STEPS * VOCABULARY];
    const char *inferred;
    make_weights(v, &w);
    struct memory_checkpoint *c = memory_create(DIALECT_TORCH, NULL, "{}");
    memory_add(c, "to_words.weight", DTYPE_F32, w.head, VOCABULARY, HIDDEN);
    memory_add(c, "to_words.bias", DTYPE_F32, w.head_bias, 0, VOCABULARY);
    add_layers(c, v, &w, "model.my_memory.");
    memory_add(c, "lookup.weight", DTYPE_F32, w.embedding, VOCABULARY, INPUTS);
    struct model *m = memory_load(c, x.exec, &inferred);
    ck_assert_ptr_nonnull(inferred);
    ck_assert_ptr_nonnull(strstr(inferred, "cell lstm, 2 layers"));
    ck_assert_ptr_nonnull(strstr(inferred, "embedding lookup.weight; output to_words.weight"));
    void *state = new_state(m);
    run(m, x.exec, 1, (size_t[]){0}, (size_t[]){STEPS}, &state, logits, NULL);
    reference(v, &w, text, STEPS, expected);
    for (size_t i = 0; i < STEPS * VOCABULARY; i++)
        ck_assert_double_eq_tol((double)logits[i], expected[i], 1e-5);
    free((void *)(uintptr_t)inferred);
    free(state);
    m->arch->free(m);
    memory_free(c);
    free_weights(&w);
    machine_free(&x);
}
END_TEST

/* Modules in a list, one layer each, numbered beyond 9, out of order: the same as one module of so many
 * layers. */
START_TEST(modules_follow_their_numbers)
{
    const struct variant *v = &variants[0];
    struct weights w;
    struct machine x = machine_create();
    double expected[STEPS * VOCABULARY];
    float logits[STEPS * VOCABULARY];
    make_weights(v, &w);
    struct memory_checkpoint *c = memory_create(DIALECT_TORCH, "rnn", "{'cell': 'RNN_TANH'}");
    memory_add(c, "embedding.weight", DTYPE_F32, w.embedding, VOCABULARY, INPUTS);
    memory_add(c, "rnns.10.weight_ih_l0", DTYPE_F32, w.ih[1], HIDDEN, HIDDEN);
    memory_add(c, "rnns.10.weight_hh_l0", DTYPE_F32, w.hh[1], HIDDEN, HIDDEN);
    memory_add(c, "rnns.10.bias_ih_l0", DTYPE_F32, w.bih[1], 0, HIDDEN);
    memory_add(c, "rnns.10.bias_hh_l0", DTYPE_F32, w.bhh[1], 0, HIDDEN);
    memory_add(c, "rnns.9.weight_ih_l0", DTYPE_F32, w.ih[0], HIDDEN, INPUTS);
    memory_add(c, "rnns.9.weight_hh_l0", DTYPE_F32, w.hh[0], HIDDEN, HIDDEN);
    memory_add(c, "rnns.9.bias_ih_l0", DTYPE_F32, w.bih[0], 0, HIDDEN);
    memory_add(c, "rnns.9.bias_hh_l0", DTYPE_F32, w.bhh[0], 0, HIDDEN);
    memory_add(c, "fc.weight", DTYPE_F32, w.head, VOCABULARY, HIDDEN);
    memory_add(c, "fc.bias", DTYPE_F32, w.head_bias, 0, VOCABULARY);
    struct model *m = memory_load(c, x.exec, NULL);
    void *state = new_state(m);
    run(m, x.exec, 1, (size_t[]){0}, (size_t[]){STEPS}, &state, logits, NULL);
    reference(v, &w, text, STEPS, expected);
    for (size_t i = 0; i < STEPS * VOCABULARY; i++)
        ck_assert_double_eq_tol((double)logits[i], expected[i], 1e-5);
    free(state);
    m->arch->free(m);
    memory_free(c);
    free_weights(&w);
    machine_free(&x);
}
END_TEST

/* Without an output layer the embedding serves twice, where it fits. */
START_TEST(a_tied_head_is_the_embedding)
{
    struct machine x = machine_create();
    float *square = memory_numbers(INPUTS * INPUTS, 0.5f, 1),
          *embedding = memory_numbers(VOCABULARY * INPUTS, 1, 2);
    float logits[STEPS * VOCABULARY], hidden[STEPS * INPUTS];
    struct memory_checkpoint *c = memory_create(DIALECT_TORCH, NULL, "{}");
    memory_add(c, "cell.weight_ih", DTYPE_F32, square, INPUTS, INPUTS);
    memory_add(c, "cell.weight_hh", DTYPE_F32, square, INPUTS, INPUTS);
    memory_add(c, "words.weight", DTYPE_F32, embedding, VOCABULARY, INPUTS);
    struct model *m = memory_load(c, x.exec, NULL);
    void *state = new_state(m);
    run(m, x.exec, 1, (size_t[]){0}, (size_t[]){STEPS}, &state, logits, hidden);
    for (size_t i = 0; i < STEPS * VOCABULARY; i++) {
        double sum = 0;
        for (size_t j = 0; j < INPUTS; j++)
            sum +=
                (double)embedding[i % VOCABULARY * INPUTS + j] * (double)hidden[i / VOCABULARY * INPUTS + j];
        ck_assert_double_eq_tol((double)logits[i], sum, 1e-5);
    }
    free(state);
    m->arch->free(m);
    memory_free(c);
    free(square);
    free(embedding);
    machine_free(&x);
}
END_TEST

/* A change to a good checkpoint, and what the refusal must say. */
struct refusal {
    const char *config, *extra;
    size_t rows, cols;
    const char *says;
};

static const struct refusal refusals[] = {
    {"{}", "rnn.weight_ih_l0_reverse", 8, 6, "bidirectional"},
    {"{'bidirectional': true}", NULL, 0, 0, "bidirectional"},
    {"{'cell': 'gru'}", NULL, 0, 0, "the shape of a cell rnn"},
    {"{'cell': 'rnn', 'nonlinearity': 'swish'}", NULL, 0, 0, "swish"},
    {"{}", "attention.weight", 8, 8, "attention.weight has no place"},
    {"{}", "norm.weight", 0, 8, "norm.weight has no place"},
    {"{}", "encoder.weight_ih_l0", 8, 8, "how they are connected"},
    {"{}", "rnn.weight_ih_l3", 8, 8, "rnn.weight_ih_l3 has no layer before it"},
    {"{}", "rnn.weight_ih_l2", 8, 8, "rnn.weight_hh_l2 is missing"},
    {"{}", "rnn.weight_hr_l1", 4, 8, "no rnn, lstm or gru has that shape"},
};

START_TEST(what_cannot_run_is_refused_by_name)
{
    const struct refusal *r = &refusals[_i];
    const struct variant *v = &variants[0];
    struct weights w;
    struct machine x = machine_create();
    make_weights(v, &w);
    struct memory_checkpoint *c = plain_checkpoint(v, &w),
                             *config = memory_create(DIALECT_TORCH, "rnn", r->config);
    c->checkpoint.config = config->config;
    float *numbers = memory_numbers(64, 1, 9);
    if (r->extra)
        memory_add(c, r->extra, DTYPE_F32, numbers, r->rows, r->cols);
    memory_refused(c, x.exec, r->says);
    memory_free(c);
    memory_free(config);
    free(numbers);
    free_weights(&w);
    machine_free(&x);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("rnn");
    TCase *t = tcase_create("rnn");
    tcase_add_loop_test(t, cells_compute_what_torch_documents, 0, VARIANTS);
    tcase_add_loop_test(t, a_row_depends_on_its_sequence_only, 0, VARIANTS);
    tcase_add_test(t, names_and_sizes_are_inferred);
    tcase_add_test(t, modules_follow_their_numbers);
    tcase_add_test(t, a_tied_head_is_the_embedding);
    tcase_add_loop_test(t, what_cannot_run_is_refused_by_name, 0, sizeof refusals / sizeof refusals[0]);
    suite_add_tcase(s, t);
    return suite_run(s);
}
