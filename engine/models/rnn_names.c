/* rnn_names.c - finds embedding, recurrent layers and output layer in a state_dict, whatever its author
 * called them: torch.nn.RNN, LSTM and GRU name the tensors inside a module ("weight_ih_l0"), so these lead to
 * the modules, and shapes tell the rest.  Gates of 1, 3 or 4 times the hidden size are an RNN, a GRU or an
 * LSTM. Called by names.c, and rnn.c for the names in GGUF's manner.  Any thread. */
#include "engine/models/rnn_names.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "engine/base/json.h"

static const char *const parts[RNN_PARTS] = {
    [RNN_INPUT] = "weight_ih",        [RNN_RECURRENT] = "weight_hh",  [RNN_INPUT_BIAS] = "bias_ih",
    [RNN_RECURRENT_BIAS] = "bias_hh", [RNN_PROJECTION] = "weight_hr",
};

void rnn_tensor_name(char *out, size_t size, enum rnn_part part, size_t layer)
{
    snprintf(out, size, "rnn.%zu.%s", layer, parts[part]);
}

struct found_layer {
    const char *module; /* its name with the last dot; module_len bytes */
    size_t module_len;
    size_t number; /* within the module */
    const struct tensor_info *tensors[RNN_PARTS];
};

struct found {
    struct found_layer layers[LIMIT_LAYERS]; /* in the order that they run */
    size_t n_layers, gates, inputs, outputs;
    const struct tensor_info *embedding, *head, *head_bias; /* head NULL: tied */
};

/* ---- recurrent tensors -------------------------------------------------------------------------- */

/* Splits "decoder.rnn.weight_ih_l1" into module, part and number; "cells.0.weight_ih" of an LSTMCell is
 * number 0.  *reverse: of the second direction. */
static bool split_name(const char *name, struct found_layer *out, enum rnn_part *part, bool *reverse)
{
    const char *dot = strrchr(name, '.'), *last = dot ? dot + 1 : name;
    for (int i = 0; i < RNN_PARTS; i++) {
        size_t len = strlen(parts[i]);
        if (strncmp(last, parts[i], len) != 0)
            continue;
        const char *rest = last + len;
        char *end = (char *)(uintptr_t)rest;
        *out = (struct found_layer){.module = name, .module_len = (size_t)(last - name)};
        *part = (enum rnn_part)i;
        if (strncmp(rest, "_l", 2) == 0 && isdigit((unsigned char)rest[2]))
            out->number = strtoul(rest + 2, &end, 10);
        *reverse = strcmp(end, "_reverse") == 0;
        return *end == 0 || *reverse;
    }
    return false;
}

static bool is_recurrent(const struct tensor_info *t)
{
    struct found_layer layer;
    enum rnn_part part;
    bool reverse;
    return split_name(t->name, &layer, &part, &reverse);
}

static struct found_layer *layer_of(struct found *f, const struct found_layer *like)
{
    for (size_t i = 0; i < f->n_layers; i++) {
        struct found_layer *y = &f->layers[i];
        if (y->number == like->number && y->module_len == like->module_len &&
            memcmp(y->module, like->module, y->module_len) == 0)
            return y;
    }
    if (f->n_layers == LIMIT_LAYERS)
        return NULL;
    f->layers[f->n_layers] = *like;
    return &f->layers[f->n_layers++];
}

static int collect_layers(const struct checkpoint *c, struct found *f, struct error *e)
{
    for (size_t i = 0; i < c->tensors->count; i++) {
        const struct tensor_info *t = &c->tensors->tensors[i];
        struct found_layer like;
        enum rnn_part part;
        bool reverse;
        if (!split_name(t->name, &like, &part, &reverse))
            continue;
        if (reverse)
            return error_set(
                e, ERROR_UNSUPPORTED,
                "tensor %.200s belongs to a bidirectional layer, which sees the tokens that are yet "
                "to be generated: it can't generate text",
                t->name);
        struct found_layer *y = layer_of(f, &like);
        if (!y)
            return error_set(e, ERROR_UNSUPPORTED, "more than %d recurrent layers", LIMIT_LAYERS);
        y->tensors[part] = t;
    }
    return 0;
}

/* Like strcmp, but "rnns.2." comes before "rnns.10.".  *differ: in more than numbers. */
static int compare_modules(const struct found_layer *a, const struct found_layer *b, bool *differ)
{
    const char *p = a->module, *q = b->module, *p_end = p + a->module_len, *q_end = q + b->module_len;
    int order = 0;
    *differ = false;
    while (p < p_end && q < q_end) {
        if (isdigit((unsigned char)*p) && isdigit((unsigned char)*q)) {
            char *p_next, *q_next;
            unsigned long m = strtoul(p, &p_next, 10), n = strtoul(q, &q_next, 10);
            order = order ? order : (m > n) - (m < n);
            p = p_next;
            q = q_next;
        } else if (*p != *q) {
            *differ = true;
            return *p < *q ? -1 : 1;
        } else {
            p++;
            q++;
        }
    }
    *differ = p < p_end || q < q_end;
    return order ? order : (int)(p < p_end) - (int)(q < q_end);
}

static int by_place(const void *a, const void *b)
{
    const struct found_layer *x = a, *y = b;
    bool differ;
    int order = compare_modules(x, y, &differ);
    return order ? order : (x->number > y->number) - (x->number < y->number);
}

/* Modules that follow one another must say in which order: by number. */
static int check_modules(const struct found *f, struct error *e)
{
    for (size_t i = 1; i < f->n_layers; i++) {
        const struct found_layer *a = &f->layers[i - 1], *b = &f->layers[i];
        bool differ;
        compare_modules(a, b, &differ);
        if (differ)
            return error_set(e, ERROR_UNSUPPORTED,
                             "two recurrent modules, %.*s and %.*s: no file says how they are connected",
                             (int)a->module_len, a->module, (int)b->module_len, b->module);
    }
    return 0;
}

static int order_layers(struct found *f, struct error *e)
{
    qsort(f->layers, f->n_layers, sizeof f->layers[0], by_place);
    TRY(check_modules(f, e));
    for (size_t i = 0; i < f->n_layers; i++) {
        const struct found_layer *y = &f->layers[i], *before = i ? y - 1 : NULL;
        bool differ, same = before && compare_modules(before, y, &differ) == 0;
        if (y->number != (same ? before->number + 1 : 0))
            return error_set(e, ERROR_BAD_FORMAT, "%.*sweight_ih_l%zu has no layer before it",
                             (int)y->module_len, y->module, y->number);
        for (int part = RNN_INPUT; part <= RNN_RECURRENT; part++) {
            if (!y->tensors[part])
                return error_set(e, ERROR_BAD_FORMAT, "tensor %.*s%s_l%zu is missing", (int)y->module_len,
                                 y->module, parts[part], y->number);
        }
    }
    return 0;
}

static bool is_shape(const struct tensor_info *t, uint64_t cols, uint64_t rows)
{
    return t->dims[0] == cols && t->dims[1] == rows && t->dims[2] == 1 && t->dims[3] == 1;
}

static int check_layer(struct found *f, const struct found_layer *y, struct error *e)
{
    const struct tensor_info *input = y->tensors[RNN_INPUT], *recurrent = y->tensors[RNN_RECURRENT],
                             *projection = y->tensors[RNN_PROJECTION];
    uint64_t hidden = projection ? projection->dims[0] : recurrent->dims[0], rows = recurrent->dims[1];
    uint64_t gates = hidden ? rows / hidden : 0;
    if (hidden == 0 || rows % hidden != 0 || (gates != 1 && gates != 3 && gates != 4) ||
        (projection && (gates != 4 || !is_shape(projection, hidden, recurrent->dims[0]))))
        return error_set(e, ERROR_BAD_FORMAT,
                         "tensor %.200s has %llu rows and %llu columns: no rnn, lstm or gru has that shape",
                         recurrent->name, (unsigned long long)rows, (unsigned long long)recurrent->dims[0]);
    if (f->gates && (f->gates != gates || f->outputs != input->dims[0]))
        return error_set(
            e, ERROR_BAD_FORMAT,
            "tensor %.200s has %llu rows and %llu columns, which does not follow the layer before it",
            input->name, (unsigned long long)input->dims[1], (unsigned long long)input->dims[0]);
    if (!is_shape(input, input->dims[0], rows))
        return error_set(e, ERROR_BAD_FORMAT, "tensor %.200s has %llu rows, expected %llu", input->name,
                         (unsigned long long)input->dims[1], (unsigned long long)rows);
    f->inputs = f->gates ? f->inputs : input->dims[0];
    f->gates = gates;
    f->outputs = recurrent->dims[0];
    return 0;
}

/* ---- embedding and output ------------------------------------------------------------------------ */

static bool has_word(const char *text, const char *word)
{
    return strcasestr(text, word) != NULL;
}

/* The vector that goes with matrix "….weight", or NULL. */
static const struct tensor_info *bias_of(const struct checkpoint *c, const struct tensor_info *matrix)
{
    char name[LIMIT_TENSOR_NAME];
    size_t len = strlen(matrix->name);
    if (len < 6 || strcmp(matrix->name + len - 6, "weight") != 0)
        return NULL;
    snprintf(name, sizeof name, "%.*sbias", (int)(len - 6), matrix->name);
    return c->tensors->find(c->tensors, name);
}

static bool fits(const struct found *f, const struct tensor_info *embedding, const struct tensor_info *head)
{
    return is_shape(embedding, f->inputs, embedding->dims[1]) &&
           is_shape(head, f->outputs, embedding->dims[1]);
}

/* Which of two matrices is which: by shape, then by what embeddings never have, then by name, then by place.
 */
static bool is_embedding_first(const struct checkpoint *c, const struct found *f, const struct tensor_info *a,
                               const struct tensor_info *b)
{
    if (fits(f, a, b) != fits(f, b, a))
        return fits(f, a, b);
    if ((bias_of(c, a) != NULL) != (bias_of(c, b) != NULL))
        return bias_of(c, b) != NULL;
    if (has_word(a->name, "emb") != has_word(b->name, "emb"))
        return has_word(a->name, "emb");
    return true;
}

static int find_ends(const struct checkpoint *c, struct found *f, struct error *e)
{
    const struct tensor_info *matrices[2] = {NULL, NULL};
    size_t n = 0;
    for (size_t i = 0; i < c->tensors->count; i++) {
        const struct tensor_info *t = &c->tensors->tensors[i];
        if (t->n_dims == 1 || is_recurrent(t))
            continue;
        if (n == 2)
            return error_set(
                e, ERROR_UNSUPPORTED,
                "tensor %.200s has no place in a model of an embedding, recurrent layers and one "
                "linear layer",
                t->name);
        matrices[n++] = t;
    }
    if (n == 0)
        return error_set(e, ERROR_BAD_FORMAT, "no tensor has the shape of an embedding of %zu columns",
                         f->inputs);
    if (n == 2 && !is_embedding_first(c, f, matrices[0], matrices[1])) {
        const struct tensor_info *first = matrices[0];
        matrices[0] = matrices[1];
        matrices[1] = first;
    }
    f->embedding = matrices[0];
    f->head = matrices[1];
    if (!fits(f, f->embedding, f->head ? f->head : f->embedding))
        return error_set(
            e, ERROR_BAD_FORMAT,
            "tensor %.150s has %llu rows and %llu columns, which does not fit layers of %zu inputs and "
            "%zu outputs%s",
            f->embedding->name, (unsigned long long)f->embedding->dims[1],
            (unsigned long long)f->embedding->dims[0], f->inputs, f->outputs,
            f->head ? "" : " without an output layer of its own");
    return 0;
}

/* All vectors that are left are the output's bias; of one element: a counter or the like. */
static int find_head_bias(const struct checkpoint *c, struct found *f, struct error *e)
{
    for (size_t i = 0; i < c->tensors->count; i++) {
        const struct tensor_info *t = &c->tensors->tensors[i];
        if (t->n_dims != 1 || t->dims[0] <= 1 || is_recurrent(t))
            continue;
        if (f->head_bias || t->dims[0] != f->embedding->dims[1])
            return error_set(
                e, ERROR_UNSUPPORTED,
                "tensor %.200s has no place in a model of an embedding, recurrent layers and one "
                "linear layer",
                t->name);
        f->head_bias = t;
    }
    return 0;
}

static int find_all(const struct checkpoint *c, struct found *f, struct error *e)
{
    TRY(collect_layers(c, f, e));
    TRY(order_layers(f, e));
    for (size_t i = 0; i < f->n_layers; i++)
        TRY(check_layer(f, &f->layers[i], e));
    TRY(find_ends(c, f, e));
    return find_head_bias(c, f, e);
}

/* ---- hyperparameters ------------------------------------------------------------------------------ */

static const char *cell_name(size_t gates)
{
    return gates == 4 ? "lstm" : gates == 3 ? "gru" : "rnn";
}

/* What the config calls the cell: "lstm", "GRU", "RNN_RELU" …, or NULL. */
static int config_cell(const struct checkpoint *c, const char **out, struct error *e)
{
    static const char *const keys[] = {"cell", "cell_type", "rnn_type", "rnn_cell"};
    *out = NULL;
    for (size_t i = 0; i < sizeof keys / sizeof keys[0] && !*out; i++)
        TRY(json_get_string(c->config, keys[i], out, e));
    return 0;
}

static int put_cell(const struct checkpoint *c, const struct found *f, const char *said, json_t *out,
                    struct error *e)
{
    const char *cell = cell_name(f->gates);
    bool bidirectional = false;
    TRY(json_get_bool(c->config, "bidirectional", &bidirectional, e));
    if (bidirectional)
        return error_set(
            e, ERROR_UNSUPPORTED,
            "a bidirectional layer sees the tokens that are yet to be generated: it can't generate text");
    if (said && strncasecmp(said, cell, strlen(cell)) != 0)
        return error_set(e, ERROR_BAD_FORMAT, "the cell is \"%.60s\", but %.200s has the shape of a cell %s",
                         said, f->layers[0].tensors[RNN_RECURRENT]->name, cell);
    return names_put(out, "rnn", "cell", json_string(cell), e);
}

/* Only a plain RNN has a choice; tanh is what torch.nn.RNN does unless told otherwise. */
static int put_nonlinearity(const struct checkpoint *c, const struct found *f, const char *cell, json_t *out,
                            struct error *e)
{
    const char *said = NULL;
    if (f->gates != 1)
        return 0;
    TRY(json_get_string(c->config, "nonlinearity", &said, e));
    const char *bar = cell ? strchr(cell, '_') : NULL;
    said = said ? said : bar ? bar + 1 : NULL;
    if (said && strcasecmp(said, "relu") != 0 && strcasecmp(said, "tanh") != 0)
        return error_set(e, ERROR_UNSUPPORTED,
                         "nonlinearity \"%.60s\" is not supported (supported: tanh, relu)", said);
    if (!said)
        TRY(names_put_inferred(out, "nonlinearity tanh, as PyTorch's default is.", e));
    bool relu = said && strcasecmp(said, "relu") == 0;
    return names_put(out, "rnn", "nonlinearity", json_string(relu ? "relu" : "tanh"), e);
}

static int put_sentence(const struct found *f, json_t *out, struct error *e)
{
    const struct found_layer *first = &f->layers[0];
    char text[512];
    snprintf(text, sizeof text,
             "cell %s, %zu layers, %zu inputs, %zu outputs from %.100s; embedding %.100s; %s %.100s.",
             cell_name(f->gates), f->n_layers, f->inputs, f->outputs, first->tensors[RNN_INPUT]->name,
             f->embedding->name, f->head ? "output" : "output tied to",
             (f->head ? f->head : f->embedding)->name);
    return names_put_inferred(out, text, e);
}

/* "names.KEY" = where tensor t is. */
static int put_place(json_t *out, const char *key, const struct tensor_info *t, struct error *e)
{
    return t ? names_put(out, "names", key, json_string(t->name), e) : 0;
}

static int put_places(const struct found *f, json_t *out, struct error *e)
{
    TRY(put_place(out, "embedding", f->embedding, e));
    TRY(put_place(out, "output", f->head, e));
    TRY(put_place(out, "output_bias", f->head_bias, e));
    for (size_t i = 0; i < f->n_layers; i++) {
        for (int part = 0; part < RNN_PARTS; part++) {
            char key[48];
            snprintf(key, sizeof key, "%s%zu", parts[part], i);
            TRY(put_place(out, key, f->layers[i].tensors[part], e));
        }
    }
    return 0;
}

static int put_all(const struct checkpoint *c, const struct found *f, json_t *out, struct error *e)
{
    const char *cell;
    TRY(names_translate_common(c, "rnn", out, e));
    TRY(config_cell(c, &cell, e));
    if (!cell)
        TRY(put_sentence(f, out, e));
    TRY(put_cell(c, f, cell, out, e));
    TRY(put_nonlinearity(c, f, cell, out, e));
    TRY(names_put(out, "rnn", "block_count", json_integer((json_int_t)f->n_layers), e));
    TRY(names_put(out, "rnn", "embedding_length", json_integer((json_int_t)f->inputs), e));
    TRY(names_put(out, "rnn", "context_length", json_integer(RNN_CONTEXT), e));
    TRY(names_put(out, "rnn", "vocab_size", json_integer((json_int_t)f->embedding->dims[1]), e));
    return put_places(f, out, e);
}

static int translate(const struct checkpoint *c, json_t *out, struct error *e)
{
    struct found *f = calloc(1, sizeof *f);
    if (!f)
        return error_no_memory(e);
    int status = find_all(c, f, e);
    if (status == 0)
        status = f->n_layers ? put_all(c, f, out, e)
                             : error_set(e, ERROR_BAD_FORMAT, "no tensor has the name of a recurrent layer");
    free(f);
    return status;
}

static bool recognise(const struct checkpoint *c)
{
    for (size_t i = 0; i < c->tensors->count; i++) {
        if (is_recurrent(&c->tensors->tensors[i]))
            return true;
    }
    return false;
}

static const char *const types[] = {"rnn-lm", "rnn", "lstm", "gru", "lstm-lm", "gru-lm", NULL};
static const struct tensor_name tensors[] = {
    {"token_embd.weight", "{embedding}", CHANGE_NONE},
    {"rnn.%zu.weight_ih", "{weight_ih%zu}", CHANGE_NONE},
    {"rnn.%zu.weight_hh", "{weight_hh%zu}", CHANGE_NONE},
    {"rnn.%zu.bias_ih", "{bias_ih%zu}", CHANGE_NONE},
    {"rnn.%zu.bias_hh", "{bias_hh%zu}", CHANGE_NONE},
    {"rnn.%zu.weight_hr", "{weight_hr%zu}", CHANGE_NONE},
    {"output.weight", "{output}", CHANGE_NONE},
    {"output.bias", "{output_bias}", CHANGE_NONE},
    {NULL, NULL, CHANGE_NONE},
};

const struct naming rnn_namings[] = {
    {.dialect = DIALECT_TORCH,
     .types = types,
     .recognise = recognise,
     .tensors = tensors,
     .translate = translate},
    {.dialect = DIALECT_TRANSFORMERS,
     .types = types,
     .recognise = recognise,
     .tensors = tensors,
     .translate = translate},
    {.dialect = DIALECT_GGUF},
};
