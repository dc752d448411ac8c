/* encoder.c - see encoder.h. */
#include "engine/models/encoder.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/json.h"
#include "engine/models/heads.h"

enum { EMBED_ROWS = 16 }; /* looked up by one thread at a time */

struct encoder {
    struct model base;
    struct transformer_options options;
    size_t n_types;
    struct weight tokens, positions, types; /* (vocabulary | trained context | n_types, embedding); types may
                                               be empty */
    struct norm norm;                       /* of the embeddings */
    struct transformer_layer *layers;
    struct head head;
    struct transformer_buffers *buffers;

    float *x; /* (rows, embedding) of a batch, grown to the largest seen */
    size_t x_have;
};

/* ---- shape -------------------------------------------------------------------------------------- */

static int read_options(const struct checkpoint *c, struct encoder *m, struct error *e)
{
    struct transformer_options *o = &m->options;
    const char *activation;
    uint64_t embedding, heads, ff;
    TRY(config_u64(c, "embedding_length", 1, LIMIT_DIMENSION_SIZE, UINT64_MAX, &embedding, e));
    TRY(config_u64(c, "attention.head_count", 1, 4096, UINT64_MAX, &heads, e));
    TRY(config_u64(c, "feed_forward_length", 1, LIMIT_DIMENSION_SIZE, UINT64_MAX, &ff, e));
    TRY(config_float(c, "attention.layer_norm_epsilon", 1e-12f, &o->epsilon, e));
    TRY(config_text(c, "activation", &activation, e));
    if (embedding % heads != 0)
        return error_set(e, ERROR_BAD_FORMAT, "%llu attention heads can't share an embedding of %llu",
                         (unsigned long long)heads, (unsigned long long)embedding);
    o->activation = ACTIVATION_GELU;
    if (activation && !activation_find(activation, &o->activation))
        return error_set(e, ERROR_UNSUPPORTED, "activation \"%.60s\" is not supported", activation);
    o->embedding = embedding;
    o->heads = o->kv_heads = heads;
    o->head_dim = embedding / heads;
    o->ff = ff;
    o->norm_after = true;
    o->score_scale = 1 / sqrtf((float)o->head_dim);
    return 0;
}

/* Rows of an embedding table in [1, most], or an error. */
static int table_rows(const struct checkpoint *c, const char *name, uint64_t most, size_t *out,
                      struct error *e)
{
    const struct tensor_info *t = c->tensors->find(c->tensors, name);
    if (!t)
        return error_set(e, ERROR_BAD_FORMAT, "tensor %s is missing", name);
    if (t->dims[1] == 0 || t->dims[1] > most)
        return error_set(e, ERROR_BAD_FORMAT, "tensor %s has %llu rows", name,
                         (unsigned long long)t->dims[1]);
    *out = t->dims[1];
    return 0;
}

static int read_shape(const struct checkpoint *c, struct encoder *m, struct error *e)
{
    struct model_shape *s = &m->base.shape;
    uint64_t layers, context;
    size_t positions = 0;
    TRY(read_options(c, m, e));
    TRY(config_u64(c, "block_count", 1, LIMIT_LAYERS, UINT64_MAX, &layers, e));
    TRY(table_rows(c, "token_embd.weight", LIMIT_VOCABULARY, &s->vocabulary, e));
    TRY(table_rows(c, "position_embd.weight", LIMIT_CONTEXT, &positions, e));
    TRY(config_u64(c, "context_length", 1, LIMIT_CONTEXT, positions, &context, e));
    if (has_tensor(c, "token_types.weight"))
        TRY(table_rows(c, "token_types.weight", UINT8_MAX + 1, &m->n_types, e));
    s->layers = layers;
    s->embedding = m->options.embedding;
    s->trained_context = context < positions ? context : positions;
    for (size_t i = 0; i < c->tensors->count; i++) {
        const struct tensor_info *t = &c->tensors->tensors[i];
        s->parameters += t->dims[0] * t->dims[1] * t->dims[2] * t->dims[3];
    }
    return head_read(c, m->options.epsilon, &m->head, s, e);
}

int encoder_shape(const struct checkpoint *c, struct model_shape *out, struct error *e)
{
    struct encoder m = {0};
    TRY(read_shape(c, &m, e));
    *out = m.base.shape;
    return 0;
}

/* ---- loading ------------------------------------------------------------------------------------ */

void encoder_free(struct model *base)
{
    struct encoder *m = (struct encoder *)base;
    for (size_t i = 0; m->layers && i < m->base.shape.layers; i++)
        transformer_free_layer(&m->layers[i]);
    free(m->layers);
    head_free(&m->head);
    weight_free(&m->tokens);
    weight_free(&m->positions);
    weight_free(&m->types);
    transformer_buffers_free(m->buffers);
    free(m->norm.scale);
    free(m->norm.bias);
    free(m->x);
    free(m);
}

static int load_tensors(struct tensor_loader *l, struct encoder *m)
{
    const struct tensor_source *s = l->checkpoint->tensors;
    size_t embedding = m->options.embedding;
    size_t positions = s->find(s, "position_embd.weight")->dims[1];
    bool normalized;
    TRY(load_matrix(l, &m->tokens, m->base.shape.vocabulary, embedding, "token_embd.weight", 0));
    TRY(load_matrix(l, &m->positions, positions, embedding, "position_embd.weight", 0));
    if (m->n_types > 0)
        TRY(load_matrix(l, &m->types, m->n_types, embedding, "token_types.weight", 0));
    TRY(load_vector(l, &m->norm.scale, embedding, true, "token_embd_norm.weight", 0));
    TRY(load_vector(l, &m->norm.bias, embedding, false, "token_embd_norm.bias", 0));
    TRY(config_flag(l->checkpoint, "normalize", false, &normalized, l->error));
    /* of vectors only directions count where they are made for that; labels follow from smaller differences
     */
    exec_allow_fixed(l->exec, m->head.kind == HEAD_NONE && normalized);
    for (size_t i = 0; i < m->base.shape.layers; i++)
        TRY(transformer_load_layer(l, &m->options, "blk", i, false, &m->layers[i]));
    exec_allow_fixed(l->exec, false);
    return head_load(l, &m->head);
}

static int allocate(struct encoder *m, struct error *e)
{
    m->layers = calloc(m->base.shape.layers, sizeof *m->layers);
    if (!m->layers)
        return error_no_memory(e);
    return transformer_buffers_create(&m->buffers, e);
}

int encoder_load(const struct checkpoint *c, struct exec *x, size_t context, enum dtype kv_dtype,
                 struct model **out, struct error *e)
{
    struct encoder *m = calloc(1, sizeof *m);
    if (!m)
        return error_no_memory(e);
    struct tensor_loader loader = {.checkpoint = c, .exec = x, .error = e};
    m->base.context = context;
    m->base.kv_dtype = kv_dtype;
    if (read_shape(c, m, e) < 0 || allocate(m, e) < 0 || load_tensors(&loader, m) < 0) {
        encoder_free(&m->base);
        return -1;
    }
    m->base.weight_bytes = loader.bytes;
    *out = &m->base;
    return 0;
}

/* ---- encoding ------------------------------------------------------------------------------------ */

struct embed_call {
    const struct encoder *m;
    const struct encode_batch *b;
};

/* A text without second part has type 0; a model with one type knows no other. */
static void embed_row(const struct encoder *m, const struct encode_batch *b, size_t row, size_t position)
{
    size_t type = b->types ? b->types[row] : 0;
    float *x = m->x + row * m->options.embedding;
    weight_row(&m->tokens, (size_t)b->tokens[row], x);
    if (m->n_types > 0)
        weight_row_add(&m->types, type < m->n_types ? type : m->n_types - 1, x);
    weight_row_add(&m->positions, position, x);
}

/* EMBED_ROWS rows, whichever spans they are of. */
static void embed_chunk(void *context, size_t chunk, unsigned worker)
{
    const struct embed_call *c = context;
    size_t first = chunk * EMBED_ROWS, end = first + EMBED_ROWS;
    (void)worker;
    for (size_t i = 0; i < c->b->n_spans && c->b->spans[i].first_row < end; i++) {
        size_t span = c->b->spans[i].first_row, span_end = span + c->b->spans[i].rows;
        for (size_t row = first > span ? first : span; row < end && row < span_end; row++)
            embed_row(c->m, c->b, row, row - span);
    }
}

int encoder_encode(struct model *base, struct exec *x, const struct encode_batch *b)
{
    struct encoder *m = (struct encoder *)base;
    TRY(grow_floats(&m->x, &m->x_have, b->rows * m->options.embedding));
    struct embed_call embedding = {m, b};
    pool_run(exec_pool(x), (b->rows + EMBED_ROWS - 1) / EMBED_ROWS, embed_chunk, &embedding);
    transformer_norm(x, &m->options, &m->norm, m->x, m->x, b->rows);
    for (size_t i = 0; i < base->shape.layers; i++)
        TRY(transformer_encode(m->buffers, x, &m->options, &m->layers[i], NULL, 0, b->spans, b->n_spans,
                               b->rows, m->x));
    return head_run(&m->head, x, b, &m->tokens, m->x);
}

/* ---- words ---------------------------------------------------------------------------------------- */

static int refuse_decoders(const struct checkpoint *c, struct error *e)
{
    const char *positions = NULL;
    bool decoder = false, cross = false;
    TRY(json_get_string(c->config, "position_embedding_type", &positions, e));
    TRY(json_get_bool(c->config, "is_decoder", &decoder, e));
    TRY(json_get_bool(c->config, "add_cross_attention", &cross, e));
    if (positions && strcmp(positions, "absolute") != 0)
        return error_set(e, ERROR_UNSUPPORTED,
                         "position_embedding_type \"%.60s\" is not supported (absolute is)", positions);
    if (decoder || cross)
        return error_set(e, ERROR_UNSUPPORTED,
                         "is_decoder or add_cross_attention: this family runs as an encoder only");
    return 0;
}

static int put_positions(const struct checkpoint *c, size_t skipped, json_t *out, struct error *e)
{
    uint64_t positions = 0;
    TRY(json_get_u64(c->config, "max_position_embeddings", 1, LIMIT_CONTEXT, &positions, e));
    if (skipped == 0)
        return 0;
    if (positions > 0 && positions <= skipped)
        return error_set(e, ERROR_BAD_FORMAT,
                         "max_position_embeddings %llu leaves no position after the first %zu",
                         (unsigned long long)positions, skipped);
    TRY(names_put(out, "names", "skipped_rows", json_integer((json_int_t)skipped), e));
    return positions > 0
               ? names_put(out, "bert", "context_length", json_integer((json_int_t)(positions - skipped)), e)
               : 0;
}

/* A decoder of its own counts only when the config unties it; published files often hold a copy. */
static int put_untied(const struct checkpoint *c, json_t *out, struct error *e)
{
    bool tied = true;
    TRY(json_get_bool(c->config, "tie_word_embeddings", &tied, e));
    return tied ? 0 : names_put(out, "names", "untied", json_string(""), e);
}

int encoder_translate(const struct checkpoint *c, const struct encoder_words *w, size_t skipped, json_t *out,
                      struct error *e)
{
    const struct key_name keys[] = {
        {"embedding_length", w->embedding, NULL},
        {"block_count", w->layers, NULL},
        {"attention.head_count", w->heads, NULL},
        {"feed_forward_length", w->ff, NULL},
        {"attention.layer_norm_epsilon", "layer_norm_eps", NULL},
    };
    TRY(refuse_decoders(c, e));
    TRY(names_translate_common(c, "bert", out, e));
    TRY(names_copy_keys(c, "bert", keys, sizeof keys / sizeof keys[0], out, e));
    TRY(names_translate_activation(c, "bert", w->activation, "gelu", out, e));
    TRY(names_put(out, "bert", "attention.causal", json_false(), e));
    TRY(names_put(out, "bert", "classifier.activation", json_string(w->first_activation), e));
    const char *own = json_string_value(json_object_get(out, "bert.activation"));
    TRY(names_put(out, "bert", "masked.activation",
                  json_string(w->masked_activation ? w->masked_activation : own), e));
    TRY(put_untied(c, out, e));
    return put_positions(c, skipped, out, e);
}
