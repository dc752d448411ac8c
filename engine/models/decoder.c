/* decoder.c - see decoder.h.  Called through the arch rows of the decoder-only families; threads as there.
 * To add a family that differs in a number or a flag: a member of decoder_family or decoder_options, read in
 * read_options() or the family's adjust(). */
#include "engine/models/decoder.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ROTARY_POSITIONS = 2048 }; /* table rows made at first; it doubles as sequences grow */

struct decoder {
    struct model base;
    struct decoder_options o;
    struct weight token_embedding, position_embedding, head; /* head is empty when tied */
    float *head_bias, *rotary_factors;
    struct norm output_norm;
    struct rotary_table tables[2]; /* of ordinary layers, and of local ones */
    struct rotary rotary[2];       /* what layers borrow */
    struct transformer_layer *layers;
    struct transformer_buffers *buffers;
    float *x, *last, *position_row; /* (rows, embedding), (logit rows, embedding), (embedding) */
    size_t x_have, last_have;
};

/* ---- hyperparameters -------------------------------------------------------------------------------- */

static int read_heads(const struct checkpoint *c, struct decoder_options *o, struct error *e)
{
    uint64_t heads, kv_heads, key_length, value_length, experts;
    size_t embedding = o->shape.embedding;
    TRY(config_u64(c, "attention.head_count", 1, 4096, UINT64_MAX, &heads, e));
    TRY(config_u64(c, "attention.head_count_kv", 1, 4096, heads, &kv_heads, e));
    bool divided = config_value(c, "attention.key_length") == NULL;
    TRY(config_u64(c, "attention.key_length", 1, 4096, embedding / heads, &key_length, e));
    TRY(config_u64(c, "attention.value_length", 1, 4096, key_length, &value_length, e));
    TRY(config_u64(c, "expert_count", 0, UINT32_MAX, 0, &experts, e));
    if (experts > 0)
        return error_set(e, ERROR_UNSUPPORTED, "mixture-of-experts checkpoints are not supported");
    if (divided && (embedding % heads != 0 || key_length > 4096))
        return error_set(e, ERROR_BAD_FORMAT, "%llu attention heads can't share an embedding of %zu",
                         (unsigned long long)heads, embedding);
    if (heads % kv_heads != 0)
        return error_set(e, ERROR_BAD_FORMAT, "%llu attention heads can't share %llu key-value heads",
                         (unsigned long long)heads, (unsigned long long)kv_heads);
    if (key_length != value_length)
        return error_set(e, ERROR_UNSUPPORTED, "key length %llu and value length %llu must be equal",
                         (unsigned long long)key_length, (unsigned long long)value_length);
    o->shape.kv_heads = kv_heads;
    o->shape.head_dim = key_length;
    o->layer.heads = heads;
    o->layer.kv_heads = kv_heads;
    o->layer.head_dim = key_length;
    return 0;
}

/* The vocabulary is what the embedding has rows for. */
static int read_vocabulary(const struct checkpoint *c, struct decoder_options *o, struct error *e)
{
    uint64_t said;
    const struct tensor_info *t = c->tensors->find(c->tensors, "token_embd.weight");
    if (!t)
        return error_set(e, ERROR_BAD_FORMAT, "tensor token_embd.weight is missing");
    if (t->dims[1] == 0 || t->dims[1] > LIMIT_VOCABULARY)
        return error_set(e, ERROR_BAD_FORMAT, "token_embd.weight has %llu rows",
                         (unsigned long long)t->dims[1]);
    TRY(config_u64(c, "vocab_size", 1, LIMIT_VOCABULARY, t->dims[1], &said, e));
    if (said != t->dims[1])
        return error_set(e, ERROR_BAD_FORMAT, "%s.vocab_size is %llu, but token_embd.weight has %llu rows",
                         c->architecture, (unsigned long long)said, (unsigned long long)t->dims[1]);
    o->shape.vocabulary = t->dims[1];
    return 0;
}

/* attention.sliding_window_pattern: n: of n layers in turn the last sees everything; or a truth value a
 * layer: whether it is local. */
static int read_windows(const struct decoder_family *f, const struct checkpoint *c, struct decoder_options *o,
                        struct error *e)
{
    uint64_t window, pattern = f->window_pattern;
    const json_t *list = config_value(c, "attention.sliding_window_pattern");
    TRY(config_u64(c, "attention.sliding_window", 0, UINT32_MAX, 0, &window, e));
    o->window = window;
    if (!json_is_array(list))
        TRY(config_u64(c, "attention.sliding_window_pattern", 0, LIMIT_LAYERS, pattern, &pattern, e));
    else if (json_array_size(list) < o->shape.layers)
        return error_set(e, ERROR_BAD_FORMAT, "%s.attention.sliding_window_pattern names %zu of %zu layers",
                         c->architecture, json_array_size(list), o->shape.layers);
    for (size_t i = 0; i < o->shape.layers; i++)
        o->local[i] = json_is_array(list) ? json_is_true(json_array_get(list, i))
                                          : pattern == 0 || i % pattern < pattern - 1;
    return 0;
}

static int read_positions(const struct decoder_family *f, const struct checkpoint *c,
                          struct decoder_options *o, struct error *e)
{
    uint64_t n_rot;
    if (!f->rotary)
        return 0;
    TRY(config_u64(c, "rope.dimension_count", 1, 4096, o->layer.head_dim, &n_rot, e));
    if (2 * rotary_pairs(n_rot) > o->layer.head_dim)
        return error_set(e, ERROR_BAD_FORMAT, "rotary dimension count %llu does not fit heads of %zu",
                         (unsigned long long)n_rot, o->layer.head_dim);
    o->n_rot = n_rot;
    return rotary_options_read(c, n_rot, o->shape.trained_context, &o->rotary, e);
}

/* Whether there are token logits, and by which matrix. */
static int read_head(const struct checkpoint *c, struct decoder_options *o, struct error *e)
{
    const char *head = NULL;
    bool there = has_tensor(c, "output.weight"), tied;
    TRY(config_text(c, "head", &head, e));
    TRY(config_flag(c, "tie_word_embeddings", !there, &tied, e));
    if (head && strcmp(head, "causal") != 0 && strcmp(head, "none") != 0)
        return error_set(e, ERROR_UNSUPPORTED, "a decoder with a \"%.40s\" head is not supported", head);
    bool bare = head && strcmp(head, "none") == 0;
    if (!bare && !tied && !there)
        return error_set(e, ERROR_BAD_FORMAT, "tensor output.weight is missing");
    o->own_head = there && !tied;
    o->has_head = !bare || o->own_head;
    o->shape.abilities = ENGINE_CAN_EMBED | (o->has_head ? ENGINE_CAN_GENERATE : 0);
    return 0;
}

static int read_layer_options(const struct decoder_family *f, const struct checkpoint *c,
                              struct decoder_options *o, struct error *e)
{
    const char *activation = NULL;
    struct transformer_options *t = &o->layer;
    const char *key = f->layer_norm ? "attention.layer_norm_epsilon" : "attention.layer_norm_rms_epsilon";
    TRY(config_float(c, key, 1e-5f, &t->epsilon, e));
    TRY(config_text(c, "activation", &activation, e));
    if (!(t->epsilon >= 0) || t->epsilon > 1)
        return error_set(e, ERROR_BAD_FORMAT, "%s.%s is %g; it must lie between 0 and 1", c->architecture,
                         key, (double)t->epsilon);
    t->activation = f->activation;
    if (activation && !activation_find(activation, &t->activation))
        return error_set(e, ERROR_UNSUPPORTED, "activation %.60s is not supported", activation);
    t->embedding = o->shape.embedding;
    t->rms = !f->layer_norm;
    TRY(config_float(c, "attention.scale", 1 / sqrtf((float)t->head_dim), &t->score_scale, e));
    TRY(config_flag(c, "attention.scale_by_layer", false, &o->scores_by_layer, e));
    return 0;
}

/* So that a missing layer is known before any weight is read. */
static int check_layers(const struct checkpoint *c, const struct decoder_options *o, struct error *e)
{
    for (size_t i = 0; i < o->shape.layers; i++) {
        char name[64];
        snprintf(name, sizeof name, "blk.%zu.attn_norm.weight", i);
        if (!has_tensor(c, name))
            return error_set(e, ERROR_BAD_FORMAT, "tensor %s is missing", name);
    }
    return 0;
}

static int read_options(const struct decoder_family *f, const struct checkpoint *c, struct decoder_options *o,
                        struct error *e)
{
    uint64_t layers, embedding, ff, context;
    memset(o, 0, sizeof *o);
    TRY(config_u64(c, "block_count", 1, LIMIT_LAYERS, UINT64_MAX, &layers, e));
    TRY(config_u64(c, "embedding_length", 1, LIMIT_DIMENSION_SIZE, UINT64_MAX, &embedding, e));
    TRY(config_u64(c, "feed_forward_length", 1, LIMIT_DIMENSION_SIZE, UINT64_MAX, &ff, e));
    TRY(config_u64(c, "context_length", 1, LIMIT_CONTEXT, UINT64_MAX, &context, e));
    o->shape.layers = o->shape.kv_layers = layers;
    o->shape.embedding = embedding;
    o->shape.trained_context = context;
    o->layer.ff = ff;
    o->embedding_scale = 1;
    TRY(read_heads(c, o, e));
    TRY(read_vocabulary(c, o, e));
    TRY(read_layer_options(f, c, o, e));
    TRY(read_windows(f, c, o, e));
    TRY(read_positions(f, c, o, e));
    TRY(read_head(c, o, e));
    TRY(check_layers(c, o, e));
    for (size_t i = 0; i < c->tensors->count; i++) {
        const struct tensor_info *t = &c->tensors->tensors[i];
        o->shape.parameters += t->dims[0] * t->dims[1] * t->dims[2] * t->dims[3];
    }
    return f->adjust ? f->adjust(c, o, e) : 0;
}

int decoder_shape(const struct decoder_family *f, const struct checkpoint *c, struct model_shape *out,
                  struct error *e)
{
    struct decoder_options o;
    TRY(read_options(f, c, &o, e));
    *out = o.shape;
    return 0;
}

/* ---- loading ---------------------------------------------------------------------------------------- */

void decoder_model_free(struct model *base)
{
    struct decoder *m = (struct decoder *)base;
    for (size_t i = 0; m->layers && i < m->o.shape.layers; i++)
        transformer_free_layer(&m->layers[i]);
    free(m->layers);
    transformer_buffers_free(m->buffers);
    weight_free(&m->token_embedding);
    weight_free(&m->position_embedding);
    weight_free(&m->head);
    float *vectors[] = {m->head_bias,
                        m->rotary_factors,
                        m->output_norm.scale,
                        m->output_norm.bias,
                        m->tables[0].table,
                        m->tables[1].table,
                        m->x,
                        m->last,
                        m->position_row};
    for (size_t i = 0; i < sizeof vectors / sizeof vectors[0]; i++)
        free(vectors[i]);
    free(m);
}

/* Llama 3's divisors, or the list of Phi 3's that suits the context as it is served. */
static int load_rotary_factors(struct tensor_loader *l, struct decoder *m)
{
    const char *name = "rope_freqs.weight";
    size_t n = rotary_pairs(m->o.n_rot);
    if (has_tensor(l->checkpoint, "rope_factors_long.weight"))
        name = m->base.context > m->o.rotary.original_context ? "rope_factors_long.weight"
                                                              : "rope_factors_short.weight";
    TRY(load_vector(l, &m->rotary_factors, n, false, name, 0));
    for (size_t i = 0; m->rotary_factors && i < n; i++) {
        if (!(m->rotary_factors[i] > 0) || !isfinite(m->rotary_factors[i]))
            return error_set(l->error, ERROR_BAD_FORMAT, "%s holds a factor that is not positive", name);
    }
    m->o.rotary.factors = m->rotary_factors;
    return 0;
}

static int grow_rotary(struct decoder *m, size_t positions)
{
    for (size_t i = 0; i < (m->o.two_rotaries ? 2 : 1); i++) {
        TRY(rotary_table_grow(&m->tables[i], positions));
        m->rotary[i].table = m->tables[i].table;
    }
    return 0;
}

static int load_positions(struct tensor_loader *l, struct decoder *m, const struct decoder_family *f)
{
    const struct model_shape *s = &m->o.shape;
    if (f->learned_positions) {
        TRY(load_matrix(l, &m->position_embedding, s->trained_context, s->embedding, "position_embd.weight",
                        0));
        m->position_row = calloc(s->embedding, sizeof *m->position_row);
        if (!m->position_row)
            return error_no_memory(l->error);
    }
    if (!f->rotary)
        return 0;
    TRY(load_rotary_factors(l, m));
    m->tables[0].options = m->o.rotary;
    m->tables[1].options = m->o.local_rotary;
    for (size_t i = 0; i < 2; i++)
        m->rotary[i] = (struct rotary){.half = rotary_pairs(m->o.n_rot), .interleaved = f->interleaved};
    size_t positions = m->base.context < ROTARY_POSITIONS ? m->base.context : ROTARY_POSITIONS;
    return grow_rotary(m, positions) < 0 ? error_no_memory(l->error) : 0;
}

/* A part that this family can't be without. */
static int check_layer(const struct decoder_family *f, const struct transformer_layer *y, size_t i,
                       struct error *e)
{
    const struct projections *p = &y->self;
    const struct {
        unsigned flag;
        bool there;
        const char *name;
    } rows[] = {{DECODER_GATE, y->gate.panels != NULL, "ffn_gate.weight"},
                {DECODER_HEAD_NORMS, p->query_norm != NULL, "attn_q_norm.weight"},
                {DECODER_HEAD_NORMS, p->key_norm != NULL, "attn_k_norm.weight"},
                {DECODER_POST_NORMS, y->attention_post_norm.scale != NULL, "post_attention_norm.weight"},
                {DECODER_POST_NORMS, y->ff_post_norm.scale != NULL, "post_ffw_norm.weight"},
                {DECODER_QKV_BIAS, p->query_bias != NULL, "attn_q.bias"},
                {DECODER_QKV_BIAS, p->key_bias != NULL, "attn_k.bias"},
                {DECODER_QKV_BIAS, p->value_bias != NULL, "attn_v.bias"}};
    for (size_t r = 0; r < sizeof rows / sizeof rows[0]; r++) {
        if ((f->expects & rows[r].flag) && !rows[r].there)
            return error_set(e, ERROR_BAD_FORMAT, "tensor blk.%zu.%s is missing", i, rows[r].name);
    }
    return 0;
}

static int load_layer(struct tensor_loader *l, struct decoder *m, const struct decoder_family *f, size_t i)
{
    struct transformer_layer *y = &m->layers[i];
    TRY(transformer_load_layer(l, &m->o.layer, "blk", i, false, y));
    TRY(check_layer(f, y, i, l->error));
    y->window = m->o.local[i] ? m->o.window : 0;
    if (f->rotary)
        y->rotary = &m->rotary[m->o.two_rotaries && m->o.local[i]];
    return 0;
}

static int load_tensors(struct tensor_loader *l, struct decoder *m, const struct decoder_family *f)
{
    const struct model_shape *s = &m->o.shape;
    TRY(load_matrix(l, &m->token_embedding, s->vocabulary, s->embedding, "token_embd.weight", 0));
    TRY(load_vector(l, &m->output_norm.scale, s->embedding, true, "output_norm.weight", 0));
    TRY(load_vector(l, &m->output_norm.bias, s->embedding, false, "output_norm.bias", 0));
    TRY(load_positions(l, m, f));
    for (size_t i = 0; i < s->layers; i++)
        TRY(load_layer(l, m, f, i));
    if (m->o.own_head)
        TRY(load_matrix(l, &m->head, s->vocabulary, s->embedding, "output.weight", 0));
    return load_vector(l, &m->head_bias, s->vocabulary, false, "output.bias", 0);
}

int decoder_load(const struct decoder_family *f, const struct checkpoint *c, struct exec *x, size_t context,
                 enum dtype kv_dtype, struct model **out, struct error *e)
{
    struct decoder *m = calloc(1, sizeof *m);
    if (!m)
        return error_no_memory(e);
    struct tensor_loader loader = {.checkpoint = c, .exec = x, .error = e};
    if (read_options(f, c, &m->o, e) < 0 || transformer_buffers_create(&m->buffers, e) < 0)
        goto fail;
    m->base.shape = m->o.shape;
    m->base.context = context;
    m->base.kv_dtype = kv_dtype;
    m->layers = calloc(m->o.shape.layers, sizeof *m->layers);
    if (!m->layers) {
        error_no_memory(e);
        goto fail;
    }
    if (load_tensors(&loader, m, f) < 0)
        goto fail;
    m->base.weight_bytes = loader.bytes;
    *out = &m->base;
    return 0;
fail:
    decoder_model_free(&m->base);
    return -1;
}

/* ---- running ---------------------------------------------------------------------------------------- */

/* Twice as far each time, so that a long sequence pays for its table once. */
static int reach_positions(struct decoder *m, const struct batch *b)
{
    size_t need = 0, have = m->tables[0].positions;
    for (size_t i = 0; i < b->n_spans; i++) {
        size_t end = b->spans[i].first_position + b->spans[i].rows;
        need = end > need ? end : need;
    }
    if (m->o.n_rot == 0 || need <= have)
        return 0;
    size_t wish = 2 * have < m->base.context ? 2 * have : m->base.context;
    return grow_rotary(m, wish > need ? wish : need);
}

static void embed(struct decoder *m, struct exec *x, const struct batch *b)
{
    size_t width = m->o.shape.embedding;
    for (size_t i = 0; i < b->rows; i++)
        weight_row(&m->token_embedding, (size_t)b->tokens[i], m->x + i * width);
    if (m->o.embedding_scale != 1)
        scale_by(x, m->x, m->o.embedding_scale, b->rows * width);
    for (size_t i = 0; m->position_embedding.panels && i < b->rows; i++) {
        weight_row(&m->position_embedding, b->positions[i], m->position_row);
        add_to(x, m->x + i * width, m->position_row, width);
    }
}

static int run_layers(struct decoder *m, struct exec *x, const struct batch *b)
{
    const struct model_shape *s = &m->o.shape;
    size_t layer_bytes = attention_layer_bytes(s->kv_heads, s->head_dim, m->base.kv_dtype);
    struct transformer_options options = m->o.layer;
    for (size_t i = 0; i < s->layers; i++) {
        const struct decoder_place place = {.kv_dtype = m->base.kv_dtype, .offset = i * layer_bytes};
        if (m->o.scores_by_layer)
            options.score_scale = m->o.layer.score_scale / (float)(i + 1);
        TRY(transformer_decode(m->buffers, x, &options, &m->layers[i], &place, b, m->x));
    }
    return 0;
}

int decoder_forward(struct model *base, struct exec *x, const struct batch *b)
{
    struct decoder *m = (struct decoder *)base;
    size_t width = m->o.shape.embedding;
    TRY(grow_floats(&m->x, &m->x_have, b->rows * width));
    TRY(reach_positions(m, b));
    embed(m, x, b);
    exec_set_prompt_rows(x, b->prompt_rows, PROMPT_24_BITS);
    int status = run_layers(m, x, b);
    exec_set_prompt_rows(x, 0, PROMPT_24_BITS);
    TRY(status);
    if (b->hidden)
        transformer_norm(x, &m->o.layer, &m->output_norm, b->hidden, m->x, b->rows);
    if (b->n_logit_rows == 0)
        return 0;
    TRY(grow_floats(&m->last, &m->last_have, b->n_logit_rows * width));
    for (size_t i = 0; i < b->n_logit_rows; i++)
        memcpy(m->last + i * width, m->x + b->logit_rows[i] * width, width * sizeof *m->x);
    transformer_norm(x, &m->o.layer, &m->output_norm, m->last, m->last, b->n_logit_rows);
    return 0;
}

int decoder_logits(struct model *base, struct exec *x, const struct batch *b, size_t first, size_t n,
                   float *out)
{
    const struct decoder *m = (const struct decoder *)base;
    const struct linear_part head = {out, m->o.shape.vocabulary,
                                     m->o.own_head ? &m->head : &m->token_embedding, m->head_bias, false};
    (void)b;
    return linear_group(x, m->last + first * m->o.shape.embedding, n, &head, 1);
}
