/* llama.c - Llama 1-3 and what shares their shape (SmolLM2, TinyLlama, …): Touvron et al., 2023.
 * Pre-norm RMSNorm, rotary positions in interleaved pairs (GGUF permutes query and key rows for it),
 * grouped-query attention, SwiGLU; optional biases; the output head is its own tensor or the token embedding.
 * Thread: load on the loader's, forward on the scheduler's. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "engine/models/arch.h"
#include "engine/models/blocks.h"

struct hyperparameters {
    struct model_shape shape;
    size_t heads, ff, n_rot;
    float epsilon;
    struct rotary_options rotary;
};

struct layer {
    float *attention_norm, *ff_norm; /* (embedding) */
    struct weight query, key, value,
        output; /* (heads*head_dim | kv_heads*head_dim, embedding); output transposed */
    float *query_bias, *key_bias, *value_bias, *output_bias;
    struct weight gate, up, down; /* (ff, embedding), (ff, embedding), (embedding, ff) */
    float *gate_bias, *up_bias, *down_bias;
};

struct llama {
    struct model base;
    struct hyperparameters h;
    struct weight token_embedding, head; /* head is empty when tied */
    float *output_norm, *rotary_factors, *rotary_table;
    struct layer *layers;

    /* Activations of a batch, grown to the largest seen. */
    float *x, *normed, *q, *k, *v, *attended, *gate, *up;
    size_t have[8];
};

static int read_heads(const struct checkpoint *c, struct hyperparameters *h, struct error *e)
{
    uint64_t heads, kv_heads, key_length, value_length, n_rot, experts;
    size_t embedding = h->shape.embedding;
    TRY(config_u64(c, "attention.head_count", 1, 4096, UINT64_MAX, &heads, e));
    TRY(config_u64(c, "attention.head_count_kv", 1, 4096, heads, &kv_heads, e));
    TRY(config_u64(c, "attention.key_length", 1, 4096, embedding / heads, &key_length, e));
    TRY(config_u64(c, "attention.value_length", 1, 4096, key_length, &value_length, e));
    TRY(config_u64(c, "rope.dimension_count", 2, 4096, key_length, &n_rot, e));
    TRY(config_u64(c, "expert_count", 0, UINT32_MAX, 0, &experts, e));
    if (experts > 0)
        return error_set(e, ERROR_UNSUPPORTED, "mixture-of-experts checkpoints are not supported");
    if (heads % kv_heads != 0)
        return error_set(e, ERROR_BAD_FORMAT, "%llu attention heads can't share %llu key-value heads",
                         (unsigned long long)heads, (unsigned long long)kv_heads);
    if (key_length == 0 || key_length != value_length)
        return error_set(e, ERROR_UNSUPPORTED,
                         "key length %llu and value length %llu must be equal and not 0",
                         (unsigned long long)key_length, (unsigned long long)value_length);
    if (n_rot % 2 != 0 || n_rot > key_length)
        return error_set(e, ERROR_BAD_FORMAT, "rotary dimension count %llu does not fit heads of %llu",
                         (unsigned long long)n_rot, (unsigned long long)key_length);
    h->heads = heads;
    h->shape.kv_heads = kv_heads;
    h->shape.head_dim = key_length;
    h->n_rot = n_rot;
    return 0;
}

/* The vocabulary is what the embedding has rows for. */
static int read_vocabulary(const struct checkpoint *c, struct hyperparameters *h, struct error *e)
{
    const struct tensor_info *t = c->tensors->find(c->tensors, "token_embd.weight");
    if (!t)
        return error_set(e, ERROR_BAD_FORMAT, "tensor token_embd.weight is missing");
    if (t->dims[1] == 0 || t->dims[1] > LIMIT_VOCABULARY)
        return error_set(e, ERROR_BAD_FORMAT, "token_embd.weight has %llu rows",
                         (unsigned long long)t->dims[1]);
    h->shape.vocabulary = t->dims[1];
    return 0;
}

static int read_hyperparameters(const struct checkpoint *c, struct hyperparameters *h, struct error *e)
{
    uint64_t layers, embedding, ff, context;
    memset(h, 0, sizeof *h);
    TRY(config_u64(c, "block_count", 1, LIMIT_LAYERS, UINT64_MAX, &layers, e));
    TRY(config_u64(c, "embedding_length", 1, LIMIT_DIMENSION_SIZE, UINT64_MAX, &embedding, e));
    TRY(config_u64(c, "feed_forward_length", 1, LIMIT_DIMENSION_SIZE, UINT64_MAX, &ff, e));
    TRY(config_u64(c, "context_length", 1, LIMIT_CONTEXT, UINT64_MAX, &context, e));
    TRY(config_float(c, "attention.layer_norm_rms_epsilon", 1e-5f, &h->epsilon, e));
    h->shape.layers = layers;
    h->shape.embedding = embedding;
    h->shape.trained_context = context;
    h->ff = ff;
    TRY(read_heads(c, h, e));
    TRY(read_vocabulary(c, h, e));
    for (size_t i = 0; i < c->tensors->count; i++) {
        const struct tensor_info *t = &c->tensors->tensors[i];
        h->shape.parameters += t->dims[0] * t->dims[1] * t->dims[2] * t->dims[3];
    }
    return rotary_options_read(c, h->n_rot, context, &h->rotary, e);
}

static int llama_shape(const struct checkpoint *c, struct model_shape *out, struct error *e)
{
    struct hyperparameters h;
    TRY(read_hyperparameters(c, &h, e));
    *out = h.shape;
    return 0;
}

static void free_layer(struct layer *y)
{
    struct weight *weights[] = {&y->query, &y->key, &y->value, &y->output, &y->gate, &y->up, &y->down};
    float *vectors[] = {y->attention_norm, y->ff_norm,   y->query_bias, y->key_bias, y->value_bias,
                        y->output_bias,    y->gate_bias, y->up_bias,    y->down_bias};
    for (size_t i = 0; i < sizeof weights / sizeof weights[0]; i++)
        weight_free(weights[i]);
    for (size_t i = 0; i < sizeof vectors / sizeof vectors[0]; i++)
        free(vectors[i]);
}

static void llama_free(struct model *base)
{
    struct llama *m = (struct llama *)base;
    for (size_t i = 0; m->layers && i < m->h.shape.layers; i++)
        free_layer(&m->layers[i]);
    free(m->layers);
    weight_free(&m->token_embedding);
    weight_free(&m->head);
    float *vectors[] = {m->output_norm, m->rotary_factors, m->rotary_table, m->x, m->normed, m->q, m->k,
                        m->v,           m->attended,       m->gate,         m->up};
    for (size_t i = 0; i < sizeof vectors / sizeof vectors[0]; i++)
        free(vectors[i]);
    free(m);
}

static int load_layer(struct tensor_loader *l, const struct hyperparameters *h, struct layer *y, size_t i)
{
    size_t embedding = h->shape.embedding, q = h->heads * h->shape.head_dim,
           kv = h->shape.kv_heads * h->shape.head_dim;
    TRY(load_vector(l, &y->attention_norm, embedding, true, "blk.%zu.attn_norm.weight", i));
    TRY(load_vector(l, &y->ff_norm, embedding, true, "blk.%zu.ffn_norm.weight", i));
    TRY(load_matrix(l, &y->query, q, embedding, "blk.%zu.attn_q.weight", i));
    TRY(load_matrix(l, &y->key, kv, embedding, "blk.%zu.attn_k.weight", i));
    TRY(load_matrix(l, &y->value, kv, embedding, "blk.%zu.attn_v.weight", i));
    TRY(load_matrix(l, &y->output, embedding, q, "blk.%zu.attn_output.weight", i));
    TRY(load_matrix(l, &y->gate, h->ff, embedding, "blk.%zu.ffn_gate.weight", i));
    TRY(load_matrix(l, &y->up, h->ff, embedding, "blk.%zu.ffn_up.weight", i));
    TRY(load_matrix(l, &y->down, embedding, h->ff, "blk.%zu.ffn_down.weight", i));
    TRY(load_vector(l, &y->query_bias, q, false, "blk.%zu.attn_q.bias", i));
    TRY(load_vector(l, &y->key_bias, kv, false, "blk.%zu.attn_k.bias", i));
    TRY(load_vector(l, &y->value_bias, kv, false, "blk.%zu.attn_v.bias", i));
    TRY(load_vector(l, &y->output_bias, embedding, false, "blk.%zu.attn_output.bias", i));
    TRY(load_vector(l, &y->gate_bias, h->ff, false, "blk.%zu.ffn_gate.bias", i));
    TRY(load_vector(l, &y->up_bias, h->ff, false, "blk.%zu.ffn_up.bias", i));
    return load_vector(l, &y->down_bias, embedding, false, "blk.%zu.ffn_down.bias", i);
}

static int load_rotary(struct tensor_loader *l, struct llama *m)
{
    TRY(load_vector(l, &m->rotary_factors, m->h.n_rot / 2, false, "rope_freqs.weight", 0));
    for (size_t i = 0; m->rotary_factors && i < m->h.n_rot / 2; i++) {
        if (!(m->rotary_factors[i] > 0) || !isfinite(m->rotary_factors[i]))
            return error_set(l->error, ERROR_BAD_FORMAT,
                             "rope_freqs.weight holds a factor that is not positive");
    }
    m->h.rotary.factors = m->rotary_factors;
    m->rotary_table = rotary_table(&m->h.rotary, m->base.context);
    return m->rotary_table ? 0 : error_no_memory(l->error);
}

static int load_tensors(struct tensor_loader *l, struct llama *m)
{
    const struct model_shape *s = &m->h.shape;
    TRY(load_matrix(l, &m->token_embedding, s->vocabulary, s->embedding, "token_embd.weight", 0));
    TRY(load_vector(l, &m->output_norm, s->embedding, true, "output_norm.weight", 0));
    if (has_tensor(l->checkpoint, "output.weight"))
        TRY(load_matrix(l, &m->head, s->vocabulary, s->embedding, "output.weight", 0));
    for (size_t i = 0; i < s->layers; i++)
        TRY(load_layer(l, &m->h, &m->layers[i], i));
    return load_rotary(l, m);
}

static int llama_load(const struct checkpoint *c, struct exec *x, size_t context, enum dtype kv_dtype,
                      struct model **out, struct error *e)
{
    struct llama *m = calloc(1, sizeof *m);
    if (!m)
        return error_no_memory(e);
    struct tensor_loader loader = {.checkpoint = c, .exec = x, .error = e};
    if (read_hyperparameters(c, &m->h, e) < 0)
        goto fail;
    m->base.shape = m->h.shape;
    m->base.context = context;
    m->base.kv_dtype = kv_dtype;
    m->layers = calloc(m->h.shape.layers, sizeof *m->layers);
    if (!m->layers) {
        error_no_memory(e);
        goto fail;
    }
    if (load_tensors(&loader, m) < 0)
        goto fail;
    m->base.weight_bytes = loader.bytes;
    *out = &m->base;
    return 0;
fail:
    llama_free(&m->base);
    return -1;
}

static int grow_activations(struct llama *m, size_t rows)
{
    const struct model_shape *s = &m->h.shape;
    size_t q = m->h.heads * s->head_dim, kv = s->kv_heads * s->head_dim;
    TRY(grow_floats(&m->x, &m->have[0], rows * s->embedding));
    TRY(grow_floats(&m->normed, &m->have[1], rows * s->embedding));
    TRY(grow_floats(&m->q, &m->have[2], rows * q));
    TRY(grow_floats(&m->k, &m->have[3], rows * kv));
    TRY(grow_floats(&m->v, &m->have[4], rows * kv));
    TRY(grow_floats(&m->attended, &m->have[5], rows * q));
    TRY(grow_floats(&m->gate, &m->have[6], rows * m->h.ff));
    return grow_floats(&m->up, &m->have[7], rows * m->h.ff);
}

static int attention_block(struct llama *m, struct exec *x, const struct batch *b, const struct layer *y,
                           size_t i)
{
    const struct model_shape *s = &m->h.shape;
    size_t q = m->h.heads * s->head_dim, kv = s->kv_heads * s->head_dim;
    const struct attention_shape shape = {
        .heads = m->h.heads,
        .kv_heads = s->kv_heads,
        .head_dim = s->head_dim,
        .scale = 1 / sqrtf((float)s->head_dim),
        .kv_dtype = m->base.kv_dtype,
        .offset = i * attention_layer_bytes(s->kv_heads, s->head_dim, m->base.kv_dtype),
    };
    const struct rotary rotary = {.table = m->rotary_table, .half = m->h.n_rot / 2, .interleaved = true};
    const struct linear_part qkv[] = {{m->q, q, &y->query, y->query_bias},
                                      {m->k, kv, &y->key, y->key_bias},
                                      {m->v, kv, &y->value, y->value_bias}};
    const struct linear_part out = {m->normed, s->embedding, &y->output, y->output_bias};
    rms_norm(x, m->normed, m->x, b->rows, s->embedding, y->attention_norm, m->h.epsilon);
    TRY(linear_group(x, m->normed, b->rows, qkv, 3));
    rotary_apply(x, &rotary, m->q, b->rows, m->h.heads, s->head_dim, b->positions);
    rotary_apply(x, &rotary, m->k, b->rows, s->kv_heads, s->head_dim, b->positions);
    attention_store(x, &shape, b->spans, b->n_spans, m->k, m->v);
    TRY(attention(x, &shape, b->spans, b->n_spans, m->q, m->attended));
    TRY(linear_group(x, m->attended, b->rows, &out, 1));
    add_to(x, m->x, m->normed, b->rows * s->embedding);
    return 0;
}

static int feed_forward_block(struct llama *m, struct exec *x, size_t rows, const struct layer *y)
{
    size_t embedding = m->h.shape.embedding;
    const struct linear_part gate_up[] = {{m->gate, m->h.ff, &y->gate, y->gate_bias},
                                          {m->up, m->h.ff, &y->up, y->up_bias}};
    const struct linear_part down = {m->normed, embedding, &y->down, y->down_bias};
    rms_norm(x, m->normed, m->x, rows, embedding, y->ff_norm, m->h.epsilon);
    TRY(linear_group(x, m->normed, rows, gate_up, 2));
    silu_gate(x, m->gate, m->up, rows * m->h.ff);
    TRY(linear_group(x, m->gate, rows, &down, 1));
    add_to(x, m->x, m->normed, rows * embedding);
    return 0;
}

static int llama_forward(struct model *base, struct exec *x, const struct batch *b)
{
    struct llama *m = (struct llama *)base;
    size_t embedding = m->h.shape.embedding;
    TRY(grow_activations(m, b->rows));
    for (size_t i = 0; i < b->rows; i++)
        weight_row(&m->token_embedding, (size_t)b->tokens[i], m->x + i * embedding);
    for (size_t i = 0; i < m->h.shape.layers; i++) {
        TRY(attention_block(m, x, b, &m->layers[i], i));
        TRY(feed_forward_block(m, x, b->rows, &m->layers[i]));
    }
    if (b->n_logit_rows == 0)
        return 0;
    for (size_t i = 0; i < b->n_logit_rows; i++) /* ascending: a row never overwrites one still to be moved */
        memmove(m->normed + i * embedding, m->x + b->logit_rows[i] * embedding, embedding * sizeof *m->x);
    rms_norm(x, m->normed, m->normed, b->n_logit_rows, embedding, m->output_norm, m->h.epsilon);
    const struct weight *head = m->head.panels ? &m->head : &m->token_embedding;
    return linear(x, b->logits, m->normed, b->n_logit_rows, head);
}

const struct arch arch_llama = {
    .name = "llama",
    .shape = llama_shape,
    .load = llama_load,
    .forward = llama_forward,
    .free = llama_free,
};
