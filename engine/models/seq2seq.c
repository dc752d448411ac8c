/* seq2seq.c - see seq2seq.h. */
#include "engine/models/seq2seq.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "engine/models/shortlist.h"

/* An encoder, or a decoder. */
struct side {
    struct transformer_options options;
    size_t layers;
    struct transformer_layer *layer;
    struct norm embedding_norm, output_norm;
    struct weight positions; /* learned; (positions, embedding) */
    float *bias;             /* (heads, 2 * half + 1): attention_shape */
};

struct options {
    struct model_shape shape;
    struct side encoder, decoder; /* sizes only */
    float embedding_scale, output_scale;
    bool learned, sinusoidal, sinusoid_last, sinusoid_interleaved, start_is_zero;
    size_t buckets, max_distance;
};

struct seq2seq {
    struct model base;
    struct options o;
    struct side encoder, decoder;
    struct weight tokens, decoder_tokens,
        head;                    /* (vocabulary, embedding); the last two empty when the first serves */
    float *head_bias;            /* (vocabulary), or NULL */
    float *sinusoids;            /* (positions, embedding), or NULL */
    struct shortlist *shortlist; /* or NULL */
    struct transformer_buffers *buffers;
    float *x, *picked, *row; /* (rows, embedding) of a batch; of its logit rows; one position */
    size_t x_have, picked_have;
};

/* ---- hyperparameters -------------------------------------------------------------------------- */

static int read_side(const struct checkpoint *c, const char *heads_key, const char *ff_key,
                     uint64_t heads_default, uint64_t ff_default, size_t embedding,
                     struct transformer_options *o, struct error *e)
{
    uint64_t heads, ff, head_dim;
    TRY(config_u64(c, heads_key, 1, 4096, heads_default, &heads, e));
    TRY(config_u64(c, ff_key, 1, LIMIT_DIMENSION_SIZE, ff_default, &ff, e));
    TRY(config_u64(c, "attention.key_length", 1, 65536, embedding / heads, &head_dim, e));
    if (head_dim == 0 || (!config_value(c, "attention.key_length") && embedding % heads != 0))
        return error_set(e, ERROR_BAD_FORMAT, "%llu attention heads can't share an embedding of %zu",
                         (unsigned long long)heads, embedding);
    o->embedding = embedding;
    o->heads = o->kv_heads = heads;
    o->head_dim = head_dim;
    o->ff = ff;
    return 0;
}

static int read_activation(const struct seq2seq_family *f, const struct checkpoint *c,
                           struct transformer_options *o, struct error *e)
{
    const char *name;
    bool gated = has_tensor(c, "dec.blk.0.ffn_gate.weight");
    TRY(config_text(c, "activation", &name, e));
    name = name ? name : gated ? f->gated_activation : f->activation;
    if (!activation_find(name, &o->activation))
        return error_set(e, ERROR_UNSUPPORTED, "activation \"%.60s\" is not supported", name);
    return 0;
}

static int read_layers(const struct seq2seq_family *f, const struct checkpoint *c, struct options *o,
                       struct error *e)
{
    uint64_t embedding, layers, decoder_layers;
    struct transformer_options *enc = &o->encoder.options, *dec = &o->decoder.options;
    TRY(config_u64(c, "embedding_length", 1, LIMIT_DIMENSION_SIZE, UINT64_MAX, &embedding, e));
    TRY(config_u64(c, "block_count", 1, LIMIT_LAYERS, UINT64_MAX, &layers, e));
    TRY(config_u64(c, "decoder_block_count", f->no_encoder ? 1 : 0, LIMIT_LAYERS, layers, &decoder_layers,
                   e));
    TRY(read_side(c, "attention.head_count", "feed_forward_length", UINT64_MAX, UINT64_MAX, embedding, enc,
                  e));
    TRY(read_side(c, "decoder.attention.head_count", "decoder.feed_forward_length", enc->heads, enc->ff,
                  embedding, dec, e));
    TRY(read_activation(f, c, enc, e));
    TRY(config_flag(c, "norm_after", f->norm_after, &enc->norm_after, e));
    const char *epsilon = f->rms ? "attention.layer_norm_rms_epsilon" : "attention.layer_norm_epsilon";
    TRY(config_float(c, epsilon, f->epsilon, &enc->epsilon, e));
    if (!(enc->epsilon >= 0))
        return error_set(e, ERROR_BAD_FORMAT, "%s must not be negative", epsilon);
    enc->rms = dec->rms = f->rms;
    dec->norm_after = enc->norm_after;
    dec->epsilon = enc->epsilon;
    dec->activation = enc->activation;
    enc->score_scale = f->unscaled_scores ? 1 : 1 / sqrtf((float)enc->head_dim);
    dec->score_scale = f->unscaled_scores ? 1 : 1 / sqrtf((float)dec->head_dim);
    o->encoder.layers = f->no_encoder ? 0 : layers;
    o->decoder.layers = decoder_layers;
    o->shape.embedding = embedding;
    return 0;
}

static int read_positions(const struct seq2seq_family *f, const struct checkpoint *c, struct options *o,
                          struct error *e)
{
    const char *type;
    uint64_t buckets, distance, context, source;
    TRY(config_text(c, "position_type", &type, e));
    type = type ? type : f->position_type;
    o->learned = strcmp(type, "learned") == 0;
    o->sinusoidal = strcmp(type, "sinusoidal") == 0;
    if (!o->learned && !o->sinusoidal && strcmp(type, "none") != 0)
        return error_set(e, ERROR_UNSUPPORTED, "position_type \"%.60s\" is not supported", type);
    TRY(config_flag(c, "sinusoid_last", false, &o->sinusoid_last, e));
    TRY(config_flag(c, "sinusoid_interleaved", false, &o->sinusoid_interleaved, e));
    TRY(config_flag(c, "start_is_zero", false, &o->start_is_zero, e));
    TRY(config_u64(c, "attention.relative_buckets_count", 0, 65536, 0, &buckets, e));
    TRY(config_u64(c, "attention.relative_max_distance", 2, 1 << 20, 128, &distance, e));
    TRY(config_u64(c, "context_length", 2, LIMIT_CONTEXT, f->context, &context, e));
    TRY(config_u64(c, "source_context_length", 1, LIMIT_CONTEXT, context, &source, e));
    o->buckets = buckets;
    o->max_distance = distance;
    o->shape.trained_context = context;
    o->shape.source_context = f->no_encoder ? 0 : source;
    return 0;
}

static int read_scales(const struct seq2seq_family *f, const struct checkpoint *c, struct options *o,
                       struct error *e)
{
    bool tied = !has_tensor(c, "output.weight");
    float usual = f->scaled_when_tied && tied ? 1 / sqrtf((float)o->shape.embedding) : 1;
    TRY(config_float(c, "embedding_scale", 1, &o->embedding_scale, e));
    return config_float(c, "output_scale", usual, &o->output_scale, e);
}

static int read_options(const struct seq2seq_family *f, const struct checkpoint *c, struct options *o,
                        struct error *e)
{
    struct model_shape *s = &o->shape;
    const struct tensor_info *t = c->tensors->find(c->tensors, "token_embd.weight");
    memset(o, 0, sizeof *o);
    TRY(read_layers(f, c, o, e));
    TRY(read_positions(f, c, o, e));
    TRY(read_scales(f, c, o, e));
    if (!t || t->dims[1] == 0 || t->dims[1] > LIMIT_VOCABULARY)
        return error_set(e, ERROR_BAD_FORMAT,
                         "tensor token_embd.weight is missing or has no rows for a vocabulary");
    const struct transformer_options *dec = &o->decoder.options;
    bool recurrent = has_tensor(c, "dec.blk.0.ssru_forget.weight");
    s->vocabulary = t->dims[1];
    s->layers = o->encoder.layers + o->decoder.layers;
    s->kv_layers = recurrent ? 0 : o->decoder.layers;
    s->state_bytes = recurrent ? o->decoder.layers * s->embedding * sizeof(float) : 0;
    s->cross_layers = f->no_encoder ? 0 : o->decoder.layers;
    s->kv_heads = s->cross_heads = dec->heads;
    s->head_dim = s->cross_head_dim = dec->head_dim;
    s->abilities = f->no_encoder ? ENGINE_CAN_GENERATE
                                 : ENGINE_CAN_EMBED |
                                       (o->decoder.layers ? ENGINE_CAN_GENERATE | ENGINE_CAN_TRANSFORM : 0);
    for (size_t i = 0; i < c->tensors->count; i++) {
        t = &c->tensors->tensors[i];
        s->parameters += t->dims[0] * t->dims[1] * t->dims[2] * t->dims[3];
    }
    return 0;
}

int seq2seq_shape(const struct seq2seq_family *f, const struct checkpoint *c, struct model_shape *out,
                  struct error *e)
{
    struct options o;
    TRY(read_options(f, c, &o, e));
    *out = o.shape;
    return 0;
}

/* ---- loading ---------------------------------------------------------------------------------- */

static void free_side(struct side *s)
{
    for (size_t i = 0; s->layer && i < s->layers; i++)
        transformer_free_layer(&s->layer[i]);
    float *vectors[] = {s->embedding_norm.scale, s->embedding_norm.bias, s->output_norm.scale,
                        s->output_norm.bias, s->bias};
    for (size_t i = 0; i < sizeof vectors / sizeof vectors[0]; i++)
        free(vectors[i]);
    free(s->layer);
    weight_free(&s->positions);
}

void seq2seq_free(struct model *base)
{
    struct seq2seq *m = (struct seq2seq *)base;
    free_side(&m->encoder);
    free_side(&m->decoder);
    weight_free(&m->tokens);
    weight_free(&m->decoder_tokens);
    weight_free(&m->head);
    shortlist_free(m->shortlist);
    transformer_buffers_free(m->buffers);
    float *vectors[] = {m->head_bias, m->sinusoids, m->x, m->picked, m->row};
    for (size_t i = 0; i < sizeof vectors / sizeof vectors[0]; i++)
        free(vectors[i]);
    free(m);
}

/* T5's buckets of a distance (Raffel et al., 2020): exact ones, then ever wider ones. */
static size_t bucket_of(long key_minus_query, bool both_ways, size_t buckets, size_t max_distance)
{
    size_t first = 0, n;
    if (both_ways) {
        buckets /= 2;
        first = key_minus_query > 0 ? buckets : 0;
        n = (size_t)labs(key_minus_query);
    } else {
        n = key_minus_query < 0 ? (size_t)-key_minus_query : 0;
    }
    size_t exact = buckets / 2;
    if (n < exact)
        return first + n;
    float steps = logf((float)n / (float)exact) / (float)log((double)max_distance / (double)exact);
    size_t bucket = exact + (size_t)(steps * (float)(buckets - exact));
    return first + (bucket < buckets ? bucket : buckets - 1);
}

static int load_bias(struct tensor_loader *l, const struct options *o, const char *name, bool both_ways,
                     size_t heads, struct side *s)
{
    size_t width = 2 * o->max_distance + 1;
    struct weight table = {0};
    if (o->buckets == 0)
        return 0;
    if (o->buckets < 4 || o->buckets % 2 != 0 || o->max_distance <= o->buckets / 2)
        return error_set(l->error, ERROR_BAD_FORMAT,
                         "%zu relative positions up to %zu can't be put into buckets", o->buckets,
                         o->max_distance);
    TRY(load_matrix(l, &table, o->buckets, heads, name, 0));
    float *row = malloc(heads * sizeof *row);
    s->bias = malloc(heads * width * sizeof *s->bias);
    for (size_t i = 0; row && s->bias && i < width; i++) {
        weight_row(&table, bucket_of((long)i - (long)o->max_distance, both_ways, o->buckets, o->max_distance),
                   row);
        for (size_t h = 0; h < heads; h++)
            s->bias[h * width + i] = row[h];
    }
    bool ok = row && s->bias;
    free(row);
    weight_free(&table);
    return ok ? 0 : error_no_memory(l->error);
}

static int load_norm(struct tensor_loader *l, const char *scale, const char *bias, size_t n, struct norm *out)
{
    TRY(load_vector(l, &out->scale, n, false, scale, 0));
    return load_vector(l, &out->bias, n, false, bias, 0);
}

static int load_side(struct tensor_loader *l, const struct options *o, const struct side *sizes, bool encoder,
                     size_t positions, struct side *s)
{
    size_t n = o->shape.embedding;
    s->options = sizes->options;
    s->layer = calloc(sizes->layers ? sizes->layers : 1, sizeof *s->layer);
    if (!s->layer)
        return error_no_memory(l->error);
    s->layers = sizes->layers;
    TRY(load_norm(l, encoder ? "enc.token_embd_norm.weight" : "dec.token_embd_norm.weight",
                  encoder ? "enc.token_embd_norm.bias" : "dec.token_embd_norm.bias", n, &s->embedding_norm));
    TRY(load_norm(l, encoder ? "enc.output_norm.weight" : "dec.output_norm.weight",
                  encoder ? "enc.output_norm.bias" : "dec.output_norm.bias", n, &s->output_norm));
    if (o->learned && s->layers) {
        const char *name = encoder ? "enc.position_embd.weight" : "dec.position_embd.weight";
        const struct tensor_info *t = l->checkpoint->tensors->find(l->checkpoint->tensors, name);
        if (t && t->dims[1] < positions)
            return error_set(l->error, ERROR_BAD_FORMAT, "tensor %s has %llu positions, the context %zu",
                             name, (unsigned long long)t->dims[1], positions);
        TRY(load_matrix(l, &s->positions, t ? t->dims[1] : positions, n, name, 0));
    }
    if (s->layers)
        TRY(load_bias(l, o, encoder ? "enc.blk.0.attn_rel_b.weight" : "dec.blk.0.attn_rel_b.weight", encoder,
                      s->options.heads, s));
    for (size_t i = 0; i < s->layers; i++)
        TRY(transformer_load_layer(l, &s->options, encoder ? "enc.blk" : "dec.blk", i,
                                   !encoder && o->shape.cross_layers > 0, &s->layer[i]));
    return 0;
}

/* Sines, then cosines (or one of each in turn), of position / 10000^(k / (half - last)). */
static int make_sinusoids(struct seq2seq *m, size_t positions, struct error *e)
{
    size_t width = m->o.shape.embedding, half = (width + 1) / 2;
    double last = m->o.sinusoid_last && half > 1 ? 1 : 0;
    m->sinusoids = calloc(positions * width, sizeof *m->sinusoids);
    if (!m->sinusoids)
        return error_no_memory(e);
    for (size_t p = 0; p < positions; p++) {
        for (size_t k = 0; k < half; k++) {
            double angle = (double)p * pow(10000, -(double)k / ((double)width / 2 - last));
            size_t sine = m->o.sinusoid_interleaved ? 2 * k : k;
            size_t cosine = m->o.sinusoid_interleaved ? 2 * k + 1 : half + k;
            m->sinusoids[p * width + sine] = (float)sin(angle);
            if (cosine < width)
                m->sinusoids[p * width + cosine] = (float)cos(angle);
        }
    }
    return 0;
}

static int load_tensors(struct tensor_loader *l, struct seq2seq *m)
{
    const struct model_shape *s = &m->o.shape;
    TRY(load_matrix(l, &m->tokens, s->vocabulary, s->embedding, "token_embd.weight", 0));
    if (has_tensor(l->checkpoint, "dec.token_embd.weight"))
        TRY(load_matrix(l, &m->decoder_tokens, s->vocabulary, s->embedding, "dec.token_embd.weight", 0));
    if (has_tensor(l->checkpoint, "output.weight"))
        TRY(load_matrix(l, &m->head, s->vocabulary, s->embedding, "output.weight", 0));
    TRY(load_vector(l, &m->head_bias, s->vocabulary, false, "output.bias", 0));
    TRY(load_side(l, &m->o, &m->o.encoder, true, s->source_context, &m->encoder));
    TRY(load_side(l, &m->o, &m->o.decoder, false, m->base.context, &m->decoder));
    size_t positions = m->base.context > s->source_context ? m->base.context : s->source_context;
    if (m->o.sinusoidal)
        TRY(make_sinusoids(m, positions, l->error));
    TRY(shortlist_load(l->checkpoint, s->vocabulary, &m->shortlist, l->error));
    m->row = malloc(s->embedding * sizeof *m->row);
    return m->row ? transformer_buffers_create(&m->buffers, l->error) : error_no_memory(l->error);
}

int seq2seq_load(const struct seq2seq_family *f, const struct checkpoint *c, struct exec *x, size_t context,
                 enum dtype kv_dtype, struct model **out, struct error *e)
{
    struct seq2seq *m = calloc(1, sizeof *m);
    if (!m)
        return error_no_memory(e);
    struct tensor_loader loader = {.checkpoint = c, .exec = x, .error = e};
    if (read_options(f, c, &m->o, e) < 0) {
        free(m);
        return -1;
    }
    m->base.shape = m->o.shape;
    m->base.context = context;
    m->base.kv_dtype = kv_dtype;
    if (load_tensors(&loader, m) < 0) {
        seq2seq_free(&m->base);
        return -1;
    }
    m->base.weight_bytes = loader.bytes;
    *out = &m->base;
    return 0;
}

/* ---- running ---------------------------------------------------------------------------------- */

static void embed_row(const struct seq2seq *m, const struct side *s, const struct weight *table,
                      int32_t token, size_t position, float *x)
{
    size_t width = m->o.shape.embedding;
    bool zero = s == &m->decoder && m->o.start_is_zero && position == 0;
    if (zero)
        memset(x, 0, width * sizeof *x);
    else
        weight_row(table, (size_t)token, x);
    for (size_t i = 0; m->o.embedding_scale != 1 && i < width; i++)
        x[i] *= m->o.embedding_scale;
    if (m->o.learned)
        weight_row(&s->positions, position, m->row);
    const float *added = m->o.learned ? m->row : m->sinusoids ? m->sinusoids + position * width : NULL;
    for (size_t i = 0; added && i < width; i++)
        x[i] += added[i];
}

static int write_hidden(const struct seq2seq *m, const float *x, size_t rows, float *out)
{
    memcpy(out, x, rows * m->o.shape.embedding * sizeof *out);
    return 0;
}

int seq2seq_encode(struct model *base, struct exec *x, const struct encode_batch *b)
{
    struct seq2seq *m = (struct seq2seq *)base;
    struct side *s = &m->encoder;
    size_t width = m->o.shape.embedding,
           layer = attention_layer_bytes(base->shape.cross_heads, base->shape.cross_head_dim, base->kv_dtype);
    TRY(grow_floats(&m->x, &m->x_have, b->rows * width));
    for (size_t i = 0; i < b->n_spans; i++) {
        for (size_t p = 0; p < b->spans[i].rows; p++) {
            size_t row = b->spans[i].first_row + p;
            embed_row(m, s, &m->tokens, b->tokens[row], p, m->x + row * width);
        }
    }
    transformer_norm(x, &s->options, &s->embedding_norm, m->x, m->x, b->rows);
    for (size_t i = 0; i < s->layers; i++)
        TRY(transformer_encode(m->buffers, x, &s->options, &s->layer[i], s->bias, m->o.max_distance, b->spans,
                               b->n_spans, b->rows, m->x));
    transformer_norm(x, &s->options, &s->output_norm, m->x, m->x, b->rows);
    if (b->output == ENCODE_HIDDEN)
        return write_hidden(m, m->x, b->rows, b->out);
    for (size_t i = 0; i < m->decoder.layers; i++)
        TRY(transformer_cross_store(m->buffers, x, &m->decoder.options, &m->decoder.layer[i], base->kv_dtype,
                                    i * layer, b->spans, b->n_spans, b->rows, m->x));
    return 0;
}

static size_t span_of(const struct batch *b, size_t row)
{
    size_t i = 0;
    while (row >= b->spans[i].first_row + b->spans[i].rows)
        i++;
    return i;
}

int seq2seq_forward(struct model *base, struct exec *x, const struct batch *b)
{
    struct seq2seq *m = (struct seq2seq *)base;
    struct side *s = &m->decoder;
    const struct model_shape *shape = &base->shape;
    const struct weight *table = m->decoder_tokens.panels ? &m->decoder_tokens : &m->tokens;
    size_t width = shape->embedding;
    TRY(grow_floats(&m->x, &m->x_have, b->rows * width));
    for (size_t i = 0; i < b->rows; i++)
        embed_row(m, s, table, b->tokens[i], b->positions[i], m->x + i * width);
    transformer_norm(x, &s->options, &s->embedding_norm, m->x, m->x, b->rows);
    for (size_t i = 0; i < s->layers; i++) {
        const struct decoder_place place = {
            .kv_dtype = base->kv_dtype,
            .offset = i * attention_layer_bytes(shape->kv_heads, shape->head_dim, base->kv_dtype),
            .cross_offset =
                i * attention_layer_bytes(shape->cross_heads, shape->cross_head_dim, base->kv_dtype),
            .state_offset = i * width * sizeof(float),
            .bias = s->bias,
            .bias_half = m->o.max_distance};
        TRY(transformer_decode(m->buffers, x, &s->options, &s->layer[i], &place, b, m->x));
    }
    transformer_norm(x, &s->options, &s->output_norm, m->x, m->x, b->rows);
    if (b->hidden)
        TRY(write_hidden(m, m->x, b->rows, b->hidden));
    return 0;
}

int seq2seq_logits(struct model *base, struct exec *x, const struct batch *b, size_t first, size_t n,
                   float *out)
{
    struct seq2seq *m = (struct seq2seq *)base;
    size_t width = m->o.shape.embedding, vocabulary = m->o.shape.vocabulary;
    const struct weight *head = m->head.panels ? &m->head : &m->tokens;
    const struct linear_part part = {out, vocabulary, head, m->head_bias, false};
    TRY(grow_floats(&m->picked, &m->picked_have, n * width));
    for (size_t i = 0; i < n; i++)
        memcpy(m->picked + i * width, m->x + b->logit_rows[first + i] * width, width * sizeof *m->x);
    if (m->o.output_scale != 1)
        scale_by(x, m->picked, m->o.output_scale, n * width);
    TRY(linear_group(x, m->picked, n, &part, 1));
    for (size_t i = 0; m->shortlist && i < n; i++) {
        const struct source_span *source = &b->sources[span_of(b, b->logit_rows[first + i])];
        TRY(shortlist_apply(m->shortlist, source->tokens, source->n_tokens, out + i * vocabulary));
    }
    return 0;
}
