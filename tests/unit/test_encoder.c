/* test_encoder.c - BERT's layers and heads against a plain reference, its dialects against each other, and
 * what is refused. */
#include "memory_checkpoint.h"
#include "suite.h"

enum {
    VOCABULARY = 13,
    POSITIONS = 12,
    TYPES = 2,
    SIZE = 8,
    HEADS = 2,
    FF = 12,
    LAYERS = 2,
    LABELS = 3,
    PAD_ROWS = 2
};
enum { HEAD_DIM = SIZE / HEADS };
static const double epsilon = 1e-5;

/* Numbers of a layer: query, key, value, output, up, down; their biases; norms after attention and feed
 * forward. */
struct layer_numbers {
    float *w[6], *b[6], *norms[4];
};

struct numbers {
    float *tokens, *positions, *types, *norm[2]; /* positions: PAD_ROWS more at the front */
    struct layer_numbers layers[LAYERS];
    float *first, *first_bias, *labels, *labels_bias, *masked, *masked_bias, *masked_norm[2], *decoder_bias;
};

static const size_t rows_of[6] = {SIZE, SIZE, SIZE, SIZE, FF, SIZE},
                    cols_of[6] = {SIZE, SIZE, SIZE, SIZE, SIZE, FF};

static struct numbers make_numbers(void)
{
    struct numbers n;
    uint32_t seed = 1;
    n.tokens = memory_numbers(VOCABULARY * SIZE, 1, seed++);
    n.positions = memory_numbers((PAD_ROWS + POSITIONS) * SIZE, 1, seed++);
    n.types = memory_numbers(TYPES * SIZE, 1, seed++);
    n.norm[0] = memory_numbers(SIZE, 1, seed++);
    n.norm[1] = memory_numbers(SIZE, 1, seed++);
    for (size_t i = 0; i < LAYERS; i++) {
        for (size_t j = 0; j < 6; j++) {
            n.layers[i].w[j] = memory_numbers(rows_of[j] * cols_of[j], 0.8f, seed++);
            n.layers[i].b[j] = memory_numbers(rows_of[j], 0.5f, seed++);
        }
        for (size_t j = 0; j < 4; j++)
            n.layers[i].norms[j] = memory_numbers(SIZE, 1, seed++);
    }
    n.first = memory_numbers(SIZE * SIZE, 0.8f, seed++);
    n.first_bias = memory_numbers(SIZE, 0.5f, seed++);
    n.labels = memory_numbers(LABELS * SIZE, 0.8f, seed++);
    n.labels_bias = memory_numbers(LABELS, 0.5f, seed++);
    n.masked = memory_numbers(SIZE * SIZE, 0.8f, seed++);
    n.masked_bias = memory_numbers(SIZE, 0.5f, seed++);
    n.masked_norm[0] = memory_numbers(SIZE, 1, seed++);
    n.masked_norm[1] = memory_numbers(SIZE, 1, seed++);
    n.decoder_bias = memory_numbers(VOCABULARY, 0.5f, seed++);
    return n;
}

static void free_numbers(struct numbers *n)
{
    float *all[] = {n->tokens,      n->positions,      n->types,          n->norm[0],     n->norm[1],
                    n->first,       n->first_bias,     n->labels,         n->labels_bias, n->masked,
                    n->masked_bias, n->masked_norm[0], n->masked_norm[1], n->decoder_bias};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        free(all[i]);
    for (size_t i = 0; i < LAYERS; i++) {
        for (size_t j = 0; j < 6; j++) {
            free(n->layers[i].w[j]);
            free(n->layers[i].b[j]);
        }
        for (size_t j = 0; j < 4; j++)
            free(n->layers[i].norms[j]);
    }
}

/* ---- checkpoints -------------------------------------------------------------------------------------- */

/* How a dialect writes what all of them have. */
struct dialect_names {
    const char *type, *config, *prefix, *norm_scale, *norm_bias;
    const char *layer[6];      /* after "LAYERS.%zu." */
    const char *layer_norm[2]; /* without .weight or .bias */
    const char *layers;
    bool has_types, pads;
    const char *masked, *masked_norm, *decoder_bias;
};

#define BERT_SIZES                                                                                           \
    "'hidden_size': 8, 'num_hidden_layers': 2, 'num_attention_heads': 2, 'intermediate_size': 12, "          \
    "'layer_norm_eps': 1e-5"
#define BERT_LAYER                                                                                           \
    {                                                                                                        \
        "attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense",      \
            "intermediate.dense", "output.dense"                                                             \
    }
enum { BERT, ROBERTA, DISTILBERT, DIALECTS };
static const struct dialect_names dialects[DIALECTS] = {
    {"bert",
     "{" BERT_SIZES ", 'max_position_embeddings': 12}",
     "bert.",
     "gamma",
     "beta",
     BERT_LAYER,
     {"attention.output.LayerNorm", "output.LayerNorm"},
     "encoder.layer",
     true,
     false,
     "cls.predictions.transform.dense",
     "cls.predictions.transform.LayerNorm",
     "cls.predictions.bias"},
    {"roberta",
     "{" BERT_SIZES ", 'max_position_embeddings': 14, 'pad_token_id': 1}",
     "roberta.",
     "weight",
     "bias",
     BERT_LAYER,
     {"attention.output.LayerNorm", "output.LayerNorm"},
     "encoder.layer",
     true,
     true,
     "lm_head.dense",
     "lm_head.layer_norm",
     "lm_head.bias"},
    {"distilbert",
     "{'dim': 8, 'n_layers': 2, 'n_heads': 2, 'hidden_dim': 12, 'layer_norm_eps': 1e-5, 'activation': "
     "'gelu', "
     "'max_position_embeddings': 12}",
     "",
     "weight",
     "bias",
     {"attention.q_lin", "attention.k_lin", "attention.v_lin", "attention.out_lin", "ffn.lin1", "ffn.lin2"},
     {"sa_layer_norm", "output_layer_norm"},
     "transformer.layer",
     false,
     false,
     "vocab_transform",
     "vocab_layer_norm",
     "vocab_projector.bias"},
};

static void add(struct memory_checkpoint *c, const char *name, const char *suffix, const float *data,
                size_t rows, size_t cols)
{
    char whole[512];
    snprintf(whole, sizeof whole, "%s%s", name, suffix);
    memory_add(c, whole, DTYPE_F32, data, rows, cols);
}

static void add_layer(struct memory_checkpoint *c, const struct dialect_names *d,
                      const struct layer_numbers *y, size_t i)
{
    char name[128], suffix[16];
    for (size_t j = 0; j < 6; j++) {
        snprintf(name, sizeof name, "%s%s.%zu.%s", d->prefix, d->layers, i, d->layer[j]);
        add(c, name, ".weight", y->w[j], rows_of[j], cols_of[j]);
        add(c, name, ".bias", y->b[j], 0, rows_of[j]);
    }
    for (size_t j = 0; j < 4; j++) {
        snprintf(name, sizeof name, "%s%s.%zu.%s", d->prefix, d->layers, i, d->layer_norm[j / 2]);
        snprintf(suffix, sizeof suffix, ".%s", j % 2 ? d->norm_bias : d->norm_scale);
        add(c, name, suffix, y->norms[j], 0, SIZE);
    }
}

/* The encoder alone.  class and more go into the config: "'architectures': ['BertModel']". */
static struct memory_checkpoint *make_checkpoint(const struct dialect_names *d, const struct numbers *n,
                                                 const char *more)
{
    char config[1024], name[256];
    snprintf(name, sizeof name, "%s%s", *more ? ", " : "", more);
    snprintf(config, sizeof config, "%.*s%s}", (int)(strlen(d->config) - 1), d->config, name);
    struct memory_checkpoint *c = memory_create(DIALECT_TRANSFORMERS, d->type, config);
    snprintf(name, sizeof name, "%sembeddings.", d->prefix);
    add(c, name, "word_embeddings.weight", n->tokens, VOCABULARY, SIZE);
    if (d->pads)
        add(c, name, "position_embeddings.weight", n->positions, PAD_ROWS + POSITIONS, SIZE);
    else
        add(c, name, "position_embeddings.weight", n->positions + PAD_ROWS * SIZE, POSITIONS, SIZE);
    if (d->has_types)
        add(c, name, "token_type_embeddings.weight", n->types, TYPES, SIZE);
    snprintf(name, sizeof name, "%sembeddings.LayerNorm.", d->prefix);
    add(c, name, d->norm_scale, n->norm[0], 0, SIZE);
    add(c, name, d->norm_bias, n->norm[1], 0, SIZE);
    for (size_t i = 0; i < LAYERS; i++)
        add_layer(c, d, &n->layers[i], i);
    return c;
}

static void add_masked(struct memory_checkpoint *c, const struct dialect_names *d, const struct numbers *n)
{
    char suffix[16];
    add(c, d->masked, ".weight", n->masked, SIZE, SIZE);
    add(c, d->masked, ".bias", n->masked_bias, 0, SIZE);
    snprintf(suffix, sizeof suffix, ".%s", d->norm_scale);
    add(c, d->masked_norm, suffix, n->masked_norm[0], 0, SIZE);
    snprintf(suffix, sizeof suffix, ".%s", d->norm_bias);
    add(c, d->masked_norm, suffix, n->masked_norm[1], 0, SIZE);
    add(c, d->decoder_bias, "", n->decoder_bias, 0, VOCABULARY);
}

/* ---- the reference ------------------------------------------------------------------------------------- */

static void dense(double *out, const double *x, const float *w, const float *b, size_t rows, size_t cols)
{
    for (size_t i = 0; i < rows; i++) {
        out[i] = (double)b[i];
        for (size_t j = 0; j < cols; j++)
            out[i] += (double)w[i * cols + j] * x[j];
    }
}

static void norm(double *x, const float *scale, const float *bias)
{
    double mean = 0, variance = 0;
    for (size_t i = 0; i < SIZE; i++)
        mean += x[i] / SIZE;
    for (size_t i = 0; i < SIZE; i++)
        variance += (x[i] - mean) * (x[i] - mean) / SIZE;
    for (size_t i = 0; i < SIZE; i++)
        x[i] = (x[i] - mean) / sqrt(variance + epsilon) * (double)scale[i] + (double)bias[i];
}

static double gelu(double x)
{
    return x * (1 + erf(x / sqrt(2))) / 2;
}

static void attend(double (*out)[SIZE], double (*q)[SIZE], double (*k)[SIZE], double (*v)[SIZE], size_t n)
{
    for (size_t i = 0; i < n * HEADS; i++) {
        size_t row = i / HEADS, at = i % HEADS * HEAD_DIM;
        double p[POSITIONS], sum = 0;
        for (size_t j = 0; j < n; j++) {
            p[j] = 0;
            for (size_t d = at; d < at + HEAD_DIM; d++)
                p[j] += q[row][d] * k[j][d] / sqrt(HEAD_DIM);
            sum += p[j] = exp(p[j]);
        }
        for (size_t d = at; d < at + HEAD_DIM; d++) {
            out[row][d] = 0;
            for (size_t j = 0; j < n; j++)
                out[row][d] += p[j] / sum * v[j][d];
        }
    }
}

static void reference_layer(const struct layer_numbers *y, double (*x)[SIZE], size_t n)
{
    double q[POSITIONS][SIZE], k[POSITIONS][SIZE], v[POSITIONS][SIZE], a[POSITIONS][SIZE], t[SIZE], f[FF];
    for (size_t i = 0; i < n; i++) {
        dense(q[i], x[i], y->w[0], y->b[0], SIZE, SIZE);
        dense(k[i], x[i], y->w[1], y->b[1], SIZE, SIZE);
        dense(v[i], x[i], y->w[2], y->b[2], SIZE, SIZE);
    }
    attend(a, q, k, v, n);
    for (size_t i = 0; i < n; i++) {
        dense(t, a[i], y->w[3], y->b[3], SIZE, SIZE);
        for (size_t j = 0; j < SIZE; j++)
            x[i][j] += t[j];
        norm(x[i], y->norms[0], y->norms[1]);
        dense(f, x[i], y->w[4], y->b[4], FF, SIZE);
        for (size_t j = 0; j < FF; j++)
            f[j] = gelu(f[j]);
        dense(t, f, y->w[5], y->b[5], SIZE, FF);
        for (size_t j = 0; j < SIZE; j++)
            x[i][j] += t[j];
        norm(x[i], y->norms[2], y->norms[3]);
    }
}

static void reference(const struct numbers *m, const int32_t *tokens, const uint8_t *types, size_t n,
                      double (*x)[SIZE])
{
    for (size_t i = 0; i < n; i++) {
        for (size_t j = 0; j < SIZE; j++)
            x[i][j] = (double)m->tokens[(size_t)tokens[i] * SIZE + j] +
                      (double)m->positions[(PAD_ROWS + i) * SIZE + j] +
                      (types ? (double)m->types[types[i] * SIZE + j] : 0);
        norm(x[i], m->norm[0], m->norm[1]);
    }
    for (size_t i = 0; i < LAYERS; i++)
        reference_layer(&m->layers[i], x, n);
}

/* ---- running --------------------------------------------------------------------------------------------
 */

enum { LONG = 9, SHORT = 4, ROWS = LONG + SHORT };
static const int32_t text[ROWS] = {2, 7, 1, 8, 2, 8, 12, 8, 4, 3, 1, 4, 5};
static const uint8_t types[ROWS] = {0, 0, 0, 0, 0, 1, 1, 1, 1, 0, 0, 1, 1};

/* Both sequences, or only the second when from is LONG. */
static void run(struct model *m, struct exec *x, size_t from, enum encode_output output, float *out)
{
    const struct attention_span both[] = {{.rows = LONG}, {.first_row = LONG, .rows = SHORT}},
                                second = {.rows = SHORT};
    static const uint32_t masked[] = {2, LONG + 1};
    const struct encode_batch b = {.rows = ROWS - from,
                                   .tokens = text + from,
                                   .types = types + from,
                                   .spans = from ? &second : both,
                                   .n_spans = from ? 1 : 2,
                                   .output = output,
                                   .output_rows = masked,
                                   .n_output_rows = 2,
                                   .out = out};
    ck_assert_int_eq(m->arch->encode(m, x, &b), 0);
}

static void compare(const float *got, const double *expected, size_t n)
{
    for (size_t i = 0; i < n; i++)
        ck_assert_msg(fabs((double)got[i] - expected[i]) < 2e-5, "%zu: %g, expected %g", i, (double)got[i],
                      expected[i]);
}

START_TEST(hidden_states_of_every_dialect)
{
    const struct dialect_names *d = &dialects[_i];
    struct machine x = machine_create();
    struct numbers n = make_numbers();
    struct memory_checkpoint *c = make_checkpoint(d, &n, "");
    struct model *m = memory_load(c, x.exec, NULL);
    float together[ROWS * SIZE], alone[SHORT * SIZE];
    double expected[ROWS][SIZE];
    ck_assert_uint_eq(m->shape.abilities, ENGINE_CAN_EMBED);
    ck_assert_uint_eq(m->shape.trained_context, POSITIONS);
    ck_assert(!m->shape.has_pooler);
    reference(&n, text, d->has_types ? types : NULL, LONG, expected);
    reference(&n, text + LONG, d->has_types ? types + LONG : NULL, SHORT, expected + LONG);
    run(m, x.exec, 0, ENCODE_HIDDEN, together);
    run(m, x.exec, LONG, ENCODE_HIDDEN, alone);
    compare(together, expected[0], ROWS * SIZE);
    ck_assert_mem_eq(together + LONG * SIZE, alone, sizeof alone);
    m->arch->free(m);
    memory_free(c);
    free_numbers(&n);
    machine_free(&x);
}
END_TEST

/* The vocabulary at two rows: dense, GELU, LayerNorm, the embedding again. */
START_TEST(masked_heads_of_every_dialect)
{
    const struct dialect_names *d = &dialects[_i];
    struct machine x = machine_create();
    struct numbers n = make_numbers();
    struct memory_checkpoint *c = make_checkpoint(d, &n, "'architectures': ['SomeForMaskedLM']");
    float got[2 * VOCABULARY];
    double hidden[ROWS][SIZE], t[SIZE], expected[VOCABULARY];
    add_masked(c, d, &n);
    struct model *m = memory_load(c, x.exec, NULL);
    ck_assert_uint_eq(m->shape.abilities, ENGINE_CAN_EMBED | ENGINE_CAN_FILL);
    reference(&n, text, d->has_types ? types : NULL, LONG, hidden);
    reference(&n, text + LONG, d->has_types ? types + LONG : NULL, SHORT, hidden + LONG);
    run(m, x.exec, 0, ENCODE_MASKED, got);
    for (size_t i = 0; i < 2; i++) {
        dense(t, hidden[i ? LONG + 1 : 2], n.masked, n.masked_bias, SIZE, SIZE);
        for (size_t j = 0; j < SIZE; j++)
            t[j] = gelu(t[j]);
        norm(t, n.masked_norm[0], n.masked_norm[1]);
        dense(expected, t, n.tokens, n.decoder_bias, VOCABULARY, SIZE);
        compare(got + i * VOCABULARY, expected, VOCABULARY);
    }
    m->arch->free(m);
    memory_free(c);
    free_numbers(&n);
    machine_free(&x);
}
END_TEST

static const char *const first_names[DIALECTS] = {"bert.pooler.dense", "classifier.dense", "pre_classifier"};
static const char *const label_names[DIALECTS] = {"classifier", "classifier.out_proj", "classifier"};

START_TEST(sequence_heads_of_every_dialect)
{
    const struct dialect_names *d = &dialects[_i];
    struct machine x = machine_create();
    struct numbers n = make_numbers();
    struct memory_checkpoint *c =
        make_checkpoint(d, &n,
                        "'architectures': ['XForSequenceClassification'], 'problem_type': "
                        "'multi_label_classification', 'num_labels': 3");
    float got[2 * LABELS];
    double hidden[ROWS][SIZE], t[SIZE], expected[2 * LABELS];
    add(c, first_names[_i], ".weight", n.first, SIZE, SIZE);
    add(c, first_names[_i], ".bias", n.first_bias, 0, SIZE);
    add(c, label_names[_i], ".weight", n.labels, LABELS, SIZE);
    add(c, label_names[_i], ".bias", n.labels_bias, 0, LABELS);
    struct model *m = memory_load(c, x.exec, NULL);
    ck_assert_uint_eq(m->shape.abilities, ENGINE_CAN_EMBED | ENGINE_CAN_CLASSIFY);
    ck_assert_uint_eq(m->shape.n_labels, LABELS);
    ck_assert_int_eq(m->shape.problem, ENGINE_PROBLEM_MULTI);
    reference(&n, text, d->has_types ? types : NULL, LONG, hidden);
    reference(&n, text + LONG, d->has_types ? types + LONG : NULL, SHORT, hidden + LONG);
    for (size_t i = 0; i < 2; i++) {
        dense(t, hidden[i * LONG], n.first, n.first_bias, SIZE, SIZE);
        for (size_t j = 0; j < SIZE; j++)
            t[j] = _i == DISTILBERT ? fmax(t[j], 0) : tanh(t[j]);
        dense(expected + i * LABELS, t, n.labels, n.labels_bias, LABELS, SIZE);
        if (_i == BERT && i == 0) {
            float pooled[2 * SIZE];
            ck_assert(m->shape.has_pooler);
            run(m, x.exec, 0, ENCODE_POOLED, pooled);
            compare(pooled, t, SIZE);
        }
    }
    run(m, x.exec, 0, ENCODE_LABELS, got);
    compare(got, expected, 2 * LABELS);
    m->arch->free(m);
    memory_free(c);
    free_numbers(&n);
    machine_free(&x);
}
END_TEST

START_TEST(token_heads_label_every_row)
{
    struct machine x = machine_create();
    struct numbers n = make_numbers();
    struct memory_checkpoint *c =
        make_checkpoint(&dialects[_i], &n, "'architectures': ['XForTokenClassification']");
    float got[ROWS * LABELS];
    double hidden[ROWS][SIZE], expected[LABELS];
    add(c, "classifier", ".weight", n.labels, LABELS, SIZE);
    add(c, "classifier", ".bias", n.labels_bias, 0, LABELS);
    struct model *m = memory_load(c, x.exec, NULL);
    ck_assert_uint_eq(m->shape.abilities, ENGINE_CAN_EMBED | ENGINE_CAN_TAG);
    reference(&n, text, dialects[_i].has_types ? types : NULL, LONG, hidden);
    run(m, x.exec, 0, ENCODE_TAGS, got);
    for (size_t i = 0; i < LONG; i++) {
        dense(expected, hidden[i], n.labels, n.labels_bias, LABELS, SIZE);
        compare(got + i * LABELS, expected, LABELS);
    }
    m->arch->free(m);
    memory_free(c);
    free_numbers(&n);
    machine_free(&x);
}
END_TEST

static const struct {
    enum { PLAIN, WITH_LABELS } head;
    const char *more, *says;
} refusals[] = {
    {PLAIN, "'position_embedding_type': 'relative_key'", "relative_key"},
    {PLAIN, "'is_decoder': true", "is_decoder"},
    {PLAIN, "'hidden_act': 'quick_swish'", "quick_swish"},
    {PLAIN, "'architectures': ['BertLMHeadModel']", "causal"},
    {PLAIN, "'architectures': ['BertForTokenClassification']", "weights of the token head are missing"},
    {PLAIN, "'architectures': ['BertForMaskedLM']", "mlm.weight is missing"},
    {WITH_LABELS, "'architectures': ['BertForQuestionAnswering']", "3 outputs, expected 2"},
    {WITH_LABELS, "'architectures': ['XForTokenClassification'], 'num_labels': 5", "5 labels are named"},
};

START_TEST(what_cannot_run_is_refused)
{
    struct machine x = machine_create();
    struct numbers n = make_numbers();
    struct memory_checkpoint *c = make_checkpoint(&dialects[BERT], &n, refusals[_i].more);
    if (refusals[_i].head == WITH_LABELS)
        add(c, "classifier", ".weight", n.labels, LABELS, SIZE);
    memory_refused(c, x.exec, refusals[_i].says);
    memory_free(c);
    free_numbers(&n);
    machine_free(&x);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("encoder");
    TCase *t = tcase_create("encoder");
    tcase_add_loop_test(t, hidden_states_of_every_dialect, 0, DIALECTS);
    tcase_add_loop_test(t, masked_heads_of_every_dialect, 0, DIALECTS);
    tcase_add_loop_test(t, sequence_heads_of_every_dialect, 0, DIALECTS);
    tcase_add_loop_test(t, token_heads_label_every_row, 0, DIALECTS);
    tcase_add_loop_test(t, what_cannot_run_is_refused, 0, sizeof refusals / sizeof refusals[0]);
    suite_add_tcase(s, t);
    return suite_run(s);
}
