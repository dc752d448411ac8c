/* heads.c - see heads.h.  A new head: its kind, what head_read() says of it, and its case in head_run(). */
#include "engine/models/heads.h"

#include <stdlib.h>
#include <string.h>

#include "engine/models/names.h"

enum { MOST_LABELS = 65536 };

/* ---- reading ------------------------------------------------------------------------------------ */

static const struct {
    const char *name;
    unsigned ability;
} kinds[] = {
    [HEAD_NONE] = {"none", 0},
    [HEAD_MASKED] = {"masked", ENGINE_CAN_FILL},
    [HEAD_SEQUENCE] = {"sequence", ENGINE_CAN_CLASSIFY},
    [HEAD_TOKEN] = {"token", ENGINE_CAN_TAG},
    [HEAD_SPAN] = {"span", ENGINE_CAN_ANSWER},
};

static int read_kind(const struct checkpoint *c, struct head *h, struct error *e)
{
    const char *name;
    TRY(config_text(c, "head", &name, e));
    if (!name) {
        h->kind = has_tensor(c, "mlm.weight")          ? HEAD_MASKED
                  : has_tensor(c, "cls.output.weight") ? HEAD_SEQUENCE
                                                       : HEAD_NONE;
        return 0;
    }
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        if (strcmp(kinds[i].name, name) == 0) {
            h->kind = (enum head_kind)i;
            return 0;
        }
    }
    return error_set(e, ERROR_UNSUPPORTED, "a head \"%.60s\" is not supported over an encoder", name);
}

static int read_activation(const struct checkpoint *c, const char *key, enum activation fallback,
                           enum activation *out, struct error *e)
{
    const char *name;
    *out = fallback;
    TRY(config_text(c, key, &name, e));
    if (name && !activation_find(name, out))
        return error_set(e, ERROR_UNSUPPORTED, "%s \"%.60s\" is not supported", key, name);
    return 0;
}

/* The matrix says how many labels there are; a list of their names must agree. */
static int read_labels(const struct checkpoint *c, struct head *h, struct error *e)
{
    char key[192];
    const struct tensor_info *t = c->tensors->find(c->tensors, "cls.output.weight");
    if (!t)
        return error_set(e, ERROR_BAD_FORMAT,
                         "the weights of the %s head are missing: the file holds an encoder without it",
                         kinds[h->kind].name);
    if (t->dims[1] == 0 || t->dims[1] > MOST_LABELS)
        return error_set(e, ERROR_BAD_FORMAT, "tensor cls.output.weight has %llu rows",
                         (unsigned long long)t->dims[1]);
    h->n_labels = t->dims[1];
    snprintf(key, sizeof key, "%s.classifier.output_labels", c->architecture);
    size_t named = json_array_size(json_object_get(c->config, key));
    if (h->kind == HEAD_SPAN && h->n_labels != 2)
        return error_set(e, ERROR_BAD_FORMAT, "the head for answers has %zu outputs, expected 2",
                         h->n_labels);
    if (h->kind != HEAD_SPAN && named > 0 && named != h->n_labels)
        return error_set(e, ERROR_BAD_FORMAT, "the head has %zu outputs, but %zu labels are named",
                         h->n_labels, named);
    return 0;
}

static int read_problem(const struct checkpoint *c, struct head *h, struct model_shape *s, struct error *e)
{
    const char *name;
    TRY(config_text(c, "classifier.problem", &name, e));
    s->problem = h->n_labels == 1 ? ENGINE_PROBLEM_REGRESSION : ENGINE_PROBLEM_SINGLE;
    if (!name)
        return 0;
    if (strcmp(name, "regression") == 0)
        s->problem = ENGINE_PROBLEM_REGRESSION;
    else if (strcmp(name, "multi_label_classification") == 0)
        s->problem = ENGINE_PROBLEM_MULTI;
    else if (strcmp(name, "single_label_classification") != 0)
        return error_set(e, ERROR_UNSUPPORTED, "problem_type \"%.60s\" is not supported", name);
    return 0;
}

int head_read(const struct checkpoint *c, float epsilon, struct head *h, struct model_shape *s,
              struct error *e)
{
    *h = (struct head){.embedding = s->embedding, .vocabulary = s->vocabulary, .epsilon = epsilon};
    TRY(read_kind(c, h, e));
    TRY(read_activation(c, "classifier.activation", ACTIVATION_TANH, &h->first_activation, e));
    TRY(read_activation(c, "masked.activation", ACTIVATION_GELU, &h->masked_activation, e));
    h->has_first = has_tensor(c, "cls.weight");
    if (h->kind == HEAD_SEQUENCE || h->kind == HEAD_TOKEN || h->kind == HEAD_SPAN)
        TRY(read_labels(c, h, e));
    if (h->kind == HEAD_SEQUENCE)
        TRY(read_problem(c, h, s, e));
    s->n_labels = h->n_labels;
    s->abilities = ENGINE_CAN_EMBED | kinds[h->kind].ability;
    s->has_pooler = h->has_first && h->first_activation == ACTIVATION_TANH;
    return 0;
}

/* ---- loading ------------------------------------------------------------------------------------ */

static int load_masked(struct tensor_loader *l, struct head *h)
{
    TRY(load_matrix(l, &h->masked, h->embedding, h->embedding, "mlm.weight", 0));
    TRY(load_vector(l, &h->masked_bias, h->embedding, false, "mlm.bias", 0));
    TRY(load_vector(l, &h->masked_norm.scale, h->embedding, true, "mlm_norm.weight", 0));
    TRY(load_vector(l, &h->masked_norm.bias, h->embedding, false, "mlm_norm.bias", 0));
    if (has_tensor(l->checkpoint, "output.weight"))
        TRY(load_matrix(l, &h->decoder, h->vocabulary, h->embedding, "output.weight", 0));
    return load_vector(l, &h->decoder_bias, h->vocabulary, false, "output.bias", 0);
}

int head_load(struct tensor_loader *l, struct head *h)
{
    if (h->has_first) {
        TRY(load_matrix(l, &h->first, h->embedding, h->embedding, "cls.weight", 0));
        TRY(load_vector(l, &h->first_bias, h->embedding, false, "cls.bias", 0));
    }
    if (h->kind == HEAD_MASKED)
        return load_masked(l, h);
    if (h->kind == HEAD_NONE)
        return 0;
    TRY(load_matrix(l, &h->labels, h->n_labels, h->embedding, "cls.output.weight", 0));
    return load_vector(l, &h->labels_bias, h->n_labels, false, "cls.output.bias", 0);
}

void head_free(struct head *h)
{
    struct weight *weights[] = {&h->first, &h->labels, &h->masked, &h->decoder};
    float *vectors[] = {h->first_bias,       h->labels_bias,  h->masked_bias, h->masked_norm.scale,
                        h->masked_norm.bias, h->decoder_bias, h->rows,        h->transformed};
    for (size_t i = 0; i < sizeof weights / sizeof weights[0]; i++)
        weight_free(weights[i]);
    for (size_t i = 0; i < sizeof vectors / sizeof vectors[0]; i++)
        free(vectors[i]);
}

/* ---- running ------------------------------------------------------------------------------------ */

static int dense(struct exec *x, float *out, const float *in, size_t rows, const struct weight *w,
                 const float *bias)
{
    const struct linear_part part = {out, w->rows, w, bias, false};
    return linear_group(x, in, rows, &part, 1);
}

/* h->rows (n_spans, embedding): the first row of each span. */
static int gather_first(struct head *h, const struct encode_batch *b, const float *hidden)
{
    TRY(grow_floats(&h->rows, &h->rows_have, b->n_spans * h->embedding));
    for (size_t i = 0; i < b->n_spans; i++)
        memcpy(h->rows + i * h->embedding, hidden + b->spans[i].first_row * h->embedding,
               h->embedding * sizeof *hidden);
    return 0;
}

/* (n_spans, embedding): the first rows through `cls`. */
static int run_first(struct head *h, struct exec *x, const struct encode_batch *b, const float *hidden,
                     float *out)
{
    TRY(gather_first(h, b, hidden));
    TRY(dense(x, out, h->rows, b->n_spans, &h->first, h->first_bias));
    activate(x, h->first_activation, out, b->n_spans * h->embedding);
    return 0;
}

static int run_labels(struct head *h, struct exec *x, const struct encode_batch *b, const float *hidden)
{
    if (!h->has_first) {
        TRY(gather_first(h, b, hidden));
        return dense(x, b->out, h->rows, b->n_spans, &h->labels, h->labels_bias);
    }
    TRY(grow_floats(&h->transformed, &h->transformed_have, b->n_spans * h->embedding));
    TRY(run_first(h, x, b, hidden, h->transformed));
    return dense(x, b->out, h->transformed, b->n_spans, &h->labels, h->labels_bias);
}

static int run_masked(struct head *h, struct exec *x, const struct encode_batch *b, const struct weight *tied,
                      const float *hidden)
{
    size_t n = b->n_output_rows, size = h->embedding;
    TRY(grow_floats(&h->rows, &h->rows_have, n * size));
    TRY(grow_floats(&h->transformed, &h->transformed_have, n * size));
    for (size_t i = 0; i < n; i++)
        memcpy(h->rows + i * size, hidden + b->output_rows[i] * size, size * sizeof *hidden);
    TRY(dense(x, h->transformed, h->rows, n, &h->masked, h->masked_bias));
    activate(x, h->masked_activation, h->transformed, n * size);
    layer_norm(x, h->transformed, h->transformed, n, size, h->masked_norm.scale, h->masked_norm.bias,
               h->epsilon);
    return dense(x, b->out, h->transformed, n, h->decoder.panels ? &h->decoder : tied, h->decoder_bias);
}

int head_run(struct head *h, struct exec *x, const struct encode_batch *b, const struct weight *tied,
             const float *hidden)
{
    switch (b->output) {
    case ENCODE_HIDDEN:
        memcpy(b->out, hidden, b->rows * h->embedding * sizeof *hidden);
        return 0;
    case ENCODE_POOLED:
        return h->has_first ? run_first(h, x, b, hidden, b->out) : -1;
    case ENCODE_LABELS:
        return h->kind == HEAD_SEQUENCE ? run_labels(h, x, b, hidden) : -1;
    case ENCODE_TAGS:
        return h->kind == HEAD_TOKEN || h->kind == HEAD_SPAN
                   ? dense(x, b->out, hidden, b->rows, &h->labels, h->labels_bias)
                   : -1;
    case ENCODE_MASKED:
        return h->kind == HEAD_MASKED ? run_masked(h, x, b, tied, hidden) : -1;
    case ENCODE_SOURCE:
        break;
    }
    return -1;
}
