/* rnn.c - recurrent language models in the shape of PyTorch's nn.Embedding -> nn.RNN (tanh or relu; Elman,
 * 1990), nn.LSTM (Hochreiter & Schmidhuber, 1997; with or without projection) or nn.GRU (Cho et al., 2014) ->
 * nn.Linear. What a file calls its tensors is found by rnn_names.c.  A layer multiplies the inputs of all
 * rows of a batch at once; then time steps run over all sequences together, the longest first, so that those
 * with a step t are the first n.  A sequence's state is h, and c of an LSTM, layer after layer. Thread: load
 * on the loader's, forward on the scheduler's.  A new cell: a row of `cells` and its step. */
#include <stdlib.h>
#include <string.h>

#include "engine/models/blocks.h"
#include "engine/models/rnn_names.h"

struct rnn_layer {
    size_t inputs, hidden, outputs; /* outputs: hidden, or the projection's */
    struct weight input, recurrent; /* (gates*hidden, inputs), (gates*hidden, outputs) */
    struct weight projection;       /* (outputs, hidden), or empty */
    float *input_bias, *recurrent_bias;
};

/* A span of the batch, for the time loop. */
struct run {
    size_t rows, first_row, span;
};

/* One time step of a layer: the first n runs.  Rows of different sequences never meet. */
struct step {
    size_t n, hidden;
    const struct run *runs;
    size_t t;
    const float *input; /* (rows of the batch, gates*hidden) */
    float *recurrent;   /* (n, gates*hidden) */
    float *gate;        /* (n, gates*hidden) what goes through a sigmoid */
    float *candidate;   /* (n, hidden) what goes through a tanh */
    float *cell;        /* (n, hidden) c of an LSTM */
    float *out;         /* (n, hidden) h, before a projection; a GRU finds the last one in it */
    enum activation nonlinearity;
};

struct cell {
    const char *name;
    size_t gates;
    bool has_memory; /* c */
    void (*step)(struct exec *x, const struct step *s);
};

struct rnn {
    struct model base;
    const struct cell *cell;
    enum activation nonlinearity;
    struct weight token_embedding, head; /* head is empty when tied */
    float *head_bias;
    size_t n_layers, widest, most_hidden; /* of all inputs and outputs; of all layers */
    struct rnn_layer *layers;

    /* Of a batch, grown to the largest seen. */
    float *x, *gates, *recurrent, *gate, *candidate, *h, *c, *out;
    size_t have[8];
    struct run *runs;
    size_t runs_have;
};

/* ---- cells ------------------------------------------------------------------------------------- */

static const float *input_of(const struct step *s, size_t i, size_t width)
{
    return s->input + (s->runs[i].first_row + s->t) * width;
}

static void step_rnn(struct exec *x, const struct step *s)
{
    for (size_t i = 0; i < s->n; i++) {
        const float *input = input_of(s, i, s->hidden), *recurrent = s->recurrent + i * s->hidden;
        for (size_t j = 0; j < s->hidden; j++)
            s->out[i * s->hidden + j] = input[j] + recurrent[j];
    }
    activate(x, s->nonlinearity, s->out, s->n * s->hidden);
}

/* Gates in PyTorch's order: input, forget, cell, output. */
static void step_lstm(struct exec *x, const struct step *s)
{
    size_t h = s->hidden, all = s->n * h;
    for (size_t i = 0; i < s->n; i++) {
        const float *input = input_of(s, i, 4 * h), *recurrent = s->recurrent + i * 4 * h;
        float *gate = s->gate + i * 3 * h, *candidate = s->candidate + i * h;
        for (size_t j = 0; j < 2 * h; j++)
            gate[j] = input[j] + recurrent[j];
        for (size_t j = 0; j < h; j++) {
            candidate[j] = input[2 * h + j] + recurrent[2 * h + j];
            gate[2 * h + j] = input[3 * h + j] + recurrent[3 * h + j];
        }
    }
    activate(x, ACTIVATION_SIGMOID, s->gate, 3 * all);
    activate(x, ACTIVATION_TANH, s->candidate, all);
    for (size_t i = 0; i < s->n; i++) {
        const float *gate = s->gate + i * 3 * h;
        float *c = s->cell + i * h, *out = s->out + i * h;
        for (size_t j = 0; j < h; j++) {
            c[j] = gate[h + j] * c[j] + gate[j] * s->candidate[i * h + j];
            out[j] = c[j];
        }
    }
    activate(x, ACTIVATION_TANH, s->out, all);
    for (size_t i = 0; i < s->n; i++) {
        for (size_t j = 0; j < h; j++)
            s->out[i * h + j] *= s->gate[i * 3 * h + 2 * h + j];
    }
}

/* Gates in PyTorch's order: reset, update, new; the reset gate multiplies the recurrent bias too. */
static void step_gru(struct exec *x, const struct step *s)
{
    size_t h = s->hidden;
    for (size_t i = 0; i < s->n; i++) {
        const float *input = input_of(s, i, 3 * h), *recurrent = s->recurrent + i * 3 * h;
        for (size_t j = 0; j < 2 * h; j++)
            s->gate[i * 2 * h + j] = input[j] + recurrent[j];
    }
    activate(x, ACTIVATION_SIGMOID, s->gate, s->n * 2 * h);
    for (size_t i = 0; i < s->n; i++) {
        const float *input = input_of(s, i, 3 * h) + 2 * h, *recurrent = s->recurrent + i * 3 * h + 2 * h;
        for (size_t j = 0; j < h; j++)
            s->candidate[i * h + j] = input[j] + s->gate[i * 2 * h + j] * recurrent[j];
    }
    activate(x, ACTIVATION_TANH, s->candidate, s->n * h);
    for (size_t i = 0; i < s->n; i++) {
        const float *update = s->gate + i * 2 * h + h;
        for (size_t j = 0; j < h; j++)
            s->out[i * h + j] = (1 - update[j]) * s->candidate[i * h + j] + update[j] * s->out[i * h + j];
    }
}

static const struct cell cells[] = {
    {"rnn", 1, false, step_rnn},
    {"lstm", 4, true, step_lstm},
    {"gru", 3, false, step_gru},
};

/* ---- shape ------------------------------------------------------------------------------------- */

static int read_cell(const struct checkpoint *c, struct rnn *m, struct error *e)
{
    const char *cell, *nonlinearity;
    TRY(config_text(c, "cell", &cell, e));
    TRY(config_text(c, "nonlinearity", &nonlinearity, e));
    for (size_t i = 0; cell && i < sizeof cells / sizeof cells[0]; i++) {
        if (strcmp(cells[i].name, cell) == 0)
            m->cell = &cells[i];
    }
    if (!m->cell)
        return error_set(e, ERROR_UNSUPPORTED, "rnn.cell %.60s is not supported (supported: rnn, lstm, gru)",
                         cell ? cell : "is missing and so");
    m->nonlinearity = ACTIVATION_TANH;
    if (nonlinearity && strcmp(nonlinearity, "relu") == 0)
        m->nonlinearity = ACTIVATION_RELU;
    else if (nonlinearity && strcmp(nonlinearity, "tanh") != 0)
        return error_set(e, ERROR_UNSUPPORTED,
                         "rnn.nonlinearity %.60s is not supported (supported: tanh, relu)", nonlinearity);
    return 0;
}

/* A matrix whose sizes are believed, within limits; the weights of the checkpoint are what says them. */
static const struct tensor_info *find_matrix(const struct checkpoint *c, const char *name, struct error *e)
{
    const struct tensor_info *t = c->tensors->find(c->tensors, name);
    if (!t) {
        error_set(e, ERROR_BAD_FORMAT, "tensor %s is missing", name);
        return NULL;
    }
    if (t->n_dims != 2 || t->dims[0] == 0 || t->dims[1] == 0 || t->dims[0] > LIMIT_DIMENSION_SIZE ||
        t->dims[1] > LIMIT_DIMENSION_SIZE) {
        error_set(e, ERROR_BAD_FORMAT, "tensor %s is no matrix of a usable size", name);
        return NULL;
    }
    return t;
}

static int read_layer(const struct checkpoint *c, struct rnn *m, size_t i, size_t inputs, struct error *e)
{
    struct rnn_layer *y = &m->layers[i];
    char name[64];
    rnn_tensor_name(name, sizeof name, RNN_RECURRENT, i);
    const struct tensor_info *recurrent = find_matrix(c, name, e);
    if (!recurrent)
        return -1;
    y->inputs = inputs;
    y->outputs = recurrent->dims[0];
    y->hidden = recurrent->dims[1] / m->cell->gates;
    rnn_tensor_name(name, sizeof name, RNN_PROJECTION, i);
    bool projected = has_tensor(c, name);
    if (recurrent->dims[1] % m->cell->gates != 0 || y->hidden == 0 || (!projected && y->hidden != y->outputs))
        return error_set(e, ERROR_BAD_FORMAT,
                         "tensor %s has shape [%llu, %llu], which is not that of a cell %s", recurrent->name,
                         (unsigned long long)recurrent->dims[0], (unsigned long long)recurrent->dims[1],
                         m->cell->name);
    if (projected && !m->cell->has_memory)
        return error_set(e, ERROR_BAD_FORMAT, "%s: only an lstm has a projection", name);
    m->widest = y->outputs > m->widest ? y->outputs : m->widest;
    m->most_hidden = y->hidden > m->most_hidden ? y->hidden : m->most_hidden;
    m->base.shape.state_bytes += (y->outputs + (m->cell->has_memory ? y->hidden : 0)) * sizeof(float);
    return 0;
}

static int read_shape(const struct checkpoint *c, struct rnn *m, struct error *e)
{
    struct model_shape *s = &m->base.shape;
    uint64_t layers, context;
    TRY(read_cell(c, m, e));
    TRY(config_u64(c, "block_count", 1, LIMIT_LAYERS, UINT64_MAX, &layers, e));
    TRY(config_u64(c, "context_length", 1, LIMIT_CONTEXT, RNN_CONTEXT, &context, e));
    const struct tensor_info *embedding = find_matrix(c, "token_embd.weight", e);
    if (!embedding)
        return -1;
    if (embedding->dims[1] > LIMIT_VOCABULARY)
        return error_set(e, ERROR_BAD_FORMAT, "token_embd.weight has %llu rows",
                         (unsigned long long)embedding->dims[1]);
    m->layers = calloc(layers, sizeof *m->layers);
    if (!m->layers)
        return error_no_memory(e);
    m->n_layers = layers;
    m->widest = embedding->dims[0];
    for (size_t i = 0; i < layers; i++)
        TRY(read_layer(c, m, i, i ? m->layers[i - 1].outputs : embedding->dims[0], e));
    s->vocabulary = embedding->dims[1];
    s->trained_context = context;
    s->layers = layers;
    s->embedding = m->layers[layers - 1].outputs;
    s->abilities = ENGINE_CAN_GENERATE | ENGINE_CAN_EMBED;
    if (!has_tensor(c, "output.weight") && s->embedding != embedding->dims[0])
        return error_set(
            e, ERROR_BAD_FORMAT,
            "output.weight is missing, and token_embd.weight has %llu columns where the last layer "
            "has %zu outputs",
            (unsigned long long)embedding->dims[0], s->embedding);
    for (size_t i = 0; i < c->tensors->count; i++) {
        const struct tensor_info *t = &c->tensors->tensors[i];
        s->parameters += t->dims[0] * t->dims[1] * t->dims[2] * t->dims[3];
    }
    return 0;
}

static void rnn_free(struct model *base)
{
    struct rnn *m = (struct rnn *)base;
    for (size_t i = 0; m->layers && i < m->n_layers; i++) {
        struct rnn_layer *y = &m->layers[i];
        weight_free(&y->input);
        weight_free(&y->recurrent);
        weight_free(&y->projection);
        free(y->input_bias);
        free(y->recurrent_bias);
    }
    free(m->layers);
    weight_free(&m->token_embedding);
    weight_free(&m->head);
    float *vectors[] = {m->head_bias, m->x, m->gates, m->recurrent, m->gate,
                        m->candidate, m->h, m->c,     m->out};
    for (size_t i = 0; i < sizeof vectors / sizeof vectors[0]; i++)
        free(vectors[i]);
    free(m->runs);
    free(m);
}

static int rnn_shape(const struct checkpoint *c, struct model_shape *out, struct error *e)
{
    struct rnn *m = calloc(1, sizeof *m);
    if (!m)
        return error_no_memory(e);
    int status = read_shape(c, m, e);
    *out = m->base.shape;
    rnn_free(&m->base);
    return status;
}

/* ---- loading ----------------------------------------------------------------------------------- */

static int load_layer(struct tensor_loader *l, const struct rnn *m, struct rnn_layer *y, size_t i)
{
    char name[64];
    size_t rows = m->cell->gates * y->hidden;
    TRY(load_matrix(l, &y->input, rows, y->inputs, "rnn.%zu.weight_ih", i));
    TRY(load_matrix(l, &y->recurrent, rows, y->outputs, "rnn.%zu.weight_hh", i));
    TRY(load_vector(l, &y->input_bias, rows, false, "rnn.%zu.bias_ih", i));
    TRY(load_vector(l, &y->recurrent_bias, rows, false, "rnn.%zu.bias_hh", i));
    rnn_tensor_name(name, sizeof name, RNN_PROJECTION, i);
    if (has_tensor(l->checkpoint, name))
        TRY(load_matrix(l, &y->projection, y->outputs, y->hidden, "rnn.%zu.weight_hr", i));
    return 0;
}

static int load_tensors(struct tensor_loader *l, struct rnn *m)
{
    const struct model_shape *s = &m->base.shape;
    TRY(load_matrix(l, &m->token_embedding, s->vocabulary, m->layers[0].inputs, "token_embd.weight", 0));
    for (size_t i = 0; i < m->n_layers; i++)
        TRY(load_layer(l, m, &m->layers[i], i));
    if (has_tensor(l->checkpoint, "output.weight"))
        TRY(load_matrix(l, &m->head, s->vocabulary, s->embedding, "output.weight", 0));
    return load_vector(l, &m->head_bias, s->vocabulary, false, "output.bias", 0);
}

static int rnn_load(const struct checkpoint *c, struct exec *x, size_t context, enum dtype kv_dtype,
                    struct model **out, struct error *e)
{
    struct rnn *m = calloc(1, sizeof *m);
    if (!m)
        return error_no_memory(e);
    struct tensor_loader loader = {.checkpoint = c, .exec = x, .error = e};
    m->base.context = context;
    m->base.kv_dtype = kv_dtype;
    if (read_shape(c, m, e) < 0 || load_tensors(&loader, m) < 0) {
        rnn_free(&m->base);
        return -1;
    }
    m->base.weight_bytes = loader.bytes;
    *out = &m->base;
    return 0;
}

/* ---- forward ----------------------------------------------------------------------------------- */

static int longest_first(const void *a, const void *b)
{
    const struct run *x = a, *y = b;
    if (x->rows != y->rows)
        return x->rows < y->rows ? 1 : -1;
    return x->span < y->span ? -1 : x->span > y->span;
}

static int order_runs(struct rnn *m, const struct batch *b)
{
    if (b->n_spans > m->runs_have) {
        struct run *grown = realloc(m->runs, b->n_spans * sizeof *grown);
        if (!grown)
            return -1;
        m->runs = grown;
        m->runs_have = b->n_spans;
    }
    for (size_t i = 0; i < b->n_spans; i++)
        m->runs[i] = (struct run){b->spans[i].rows, b->spans[i].first_row, i};
    qsort(m->runs, b->n_spans, sizeof *m->runs, longest_first);
    return 0;
}

static int grow_activations(struct rnn *m, const struct batch *b)
{
    size_t hidden = m->most_hidden, gates = m->cell->gates * hidden;
    TRY(order_runs(m, b));
    TRY(grow_floats(&m->x, &m->have[0], b->rows * m->widest));
    TRY(grow_floats(&m->gates, &m->have[1], b->rows * gates));
    TRY(grow_floats(&m->recurrent, &m->have[2], b->n_spans * gates));
    TRY(grow_floats(&m->gate, &m->have[3], b->n_spans * gates));
    TRY(grow_floats(&m->candidate, &m->have[4], b->n_spans * hidden));
    TRY(grow_floats(&m->h, &m->have[5], b->n_spans * m->widest));
    TRY(grow_floats(&m->c, &m->have[6], b->n_spans * hidden));
    return grow_floats(&m->out, &m->have[7], b->n_spans * hidden);
}

/* The state of layer y, `at` floats into each sequence's, to or from h and c in the order of runs. */
static void take_states(struct rnn *m, const struct rnn_layer *y, const struct batch *b, size_t at)
{
    for (size_t i = 0; i < b->n_spans; i++) {
        float *state = (float *)b->states[m->runs[i].span] + at;
        if (b->spans[m->runs[i].span].first_position == 0)
            memset(state, 0, (y->outputs + (m->cell->has_memory ? y->hidden : 0)) * sizeof *state);
        memcpy(m->h + i * y->outputs, state, y->outputs * sizeof *state);
        if (m->cell->has_memory)
            memcpy(m->c + i * y->hidden, state + y->outputs, y->hidden * sizeof *state);
    }
}

static void put_states(const struct rnn *m, const struct rnn_layer *y, const struct batch *b, size_t at)
{
    for (size_t i = 0; i < b->n_spans; i++) {
        float *state = (float *)b->states[m->runs[i].span] + at;
        memcpy(state, m->h + i * y->outputs, y->outputs * sizeof *state);
        if (m->cell->has_memory)
            memcpy(state + y->outputs, m->c + i * y->hidden, y->hidden * sizeof *state);
    }
}

/* One time step of the first n runs: h and c move on, and h becomes their rows of x. */
static int run_step(struct rnn *m, struct exec *x, const struct rnn_layer *y, size_t n, size_t t)
{
    const struct linear_part recurrent = {m->recurrent, m->cell->gates * y->hidden, &y->recurrent,
                                          y->recurrent_bias, false};
    const struct step step = {.n = n,
                              .hidden = y->hidden,
                              .runs = m->runs,
                              .t = t,
                              .input = m->gates,
                              .recurrent = m->recurrent,
                              .gate = m->gate,
                              .candidate = m->candidate,
                              .cell = m->c,
                              .out = y->projection.panels ? m->out : m->h,
                              .nonlinearity = m->nonlinearity};
    TRY(linear_group(x, m->h, n, &recurrent, 1));
    m->cell->step(x, &step);
    if (y->projection.panels)
        TRY(linear(x, m->h, m->out, n, &y->projection));
    for (size_t i = 0; i < n; i++)
        memcpy(m->x + (m->runs[i].first_row + t) * y->outputs, m->h + i * y->outputs,
               y->outputs * sizeof *m->x);
    return 0;
}

/* x (rows, inputs) becomes (rows, outputs). */
static int run_layer(struct rnn *m, struct exec *x, const struct rnn_layer *y, const struct batch *b,
                     size_t at)
{
    const struct linear_part input = {m->gates, m->cell->gates * y->hidden, &y->input, y->input_bias, false};
    TRY(linear_group(x, m->x, b->rows, &input, 1));
    take_states(m, y, b, at);
    for (size_t t = 0, n = b->n_spans; n > 0 && t < m->runs[0].rows; t++) {
        while (m->runs[n - 1].rows <= t)
            n--;
        TRY(run_step(m, x, y, n, t));
    }
    put_states(m, y, b, at);
    return 0;
}

static int rnn_forward(struct model *base, struct exec *x, const struct batch *b)
{
    struct rnn *m = (struct rnn *)base;
    size_t inputs = m->layers[0].inputs, embedding = base->shape.embedding, at = 0;
    TRY(grow_activations(m, b));
    for (size_t i = 0; i < b->rows; i++)
        weight_row(&m->token_embedding, (size_t)b->tokens[i], m->x + i * inputs);
    for (size_t i = 0; i < m->n_layers; i++) {
        const struct rnn_layer *y = &m->layers[i];
        TRY(run_layer(m, x, y, b, at));
        at += y->outputs + (m->cell->has_memory ? y->hidden : 0);
    }
    if (b->hidden)
        memcpy(b->hidden, m->x, b->rows * embedding * sizeof *m->x);
    for (size_t i = 0; i < b->n_logit_rows; i++) /* ascending: a row never overwrites one still to be moved */
        memmove(m->x + i * embedding, m->x + b->logit_rows[i] * embedding, embedding * sizeof *m->x);
    return 0;
}

static int rnn_logits(struct model *base, struct exec *x, const struct batch *b, size_t first, size_t n,
                      float *out)
{
    const struct rnn *m = (const struct rnn *)base;
    const struct linear_part head = {out, base->shape.vocabulary,
                                     m->head.panels ? &m->head : &m->token_embedding, m->head_bias, false};
    (void)b;
    return linear_group(x, m->x + first * base->shape.embedding, n, &head, 1);
}

const struct arch arch_rnn = {
    .name = "rnn",
    .namings = rnn_namings,
    .shape = rnn_shape,
    .load = rnn_load,
    .forward = rnn_forward,
    .logits = rnn_logits,
    .free = rnn_free,
};
