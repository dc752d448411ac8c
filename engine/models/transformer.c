/* transformer.c - see transformer.h: one layer, in every variant that the attention families configure.
 * Called by families from load() and from forward() or encode(); threads as there.  A new variant is a member
 * of transformer_options or an optional tensor of transformer_layer, used where the step it changes is. */
#include "engine/models/transformer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct transformer_buffers {
    float *q, *k, *v, *attended;
    float *delta; /* (rows, embedding): what a block adds, where it can't be added at once */
    float *pages; /* keys and values of encoders */
    size_t have[6];
    void **page_table;
    struct attention_span *spans;
    uint32_t *positions;
    size_t page_table_have, spans_have, positions_have; /* bytes */
};

/* What all steps of one layer's run need. */
struct run {
    struct transformer_buffers *b;
    struct exec *e;
    const struct transformer_options *o;
    const struct transformer_layer *layer;
    size_t rows;
};

/* ---- buffers ---------------------------------------------------------------------------------- */

int transformer_buffers_create(struct transformer_buffers **out, struct error *e)
{
    *out = calloc(1, sizeof **out);
    return *out ? 0 : error_no_memory(e);
}

void transformer_buffers_free(struct transformer_buffers *b)
{
    if (!b)
        return;
    void *all[] = {b->q, b->k, b->v, b->attended, b->delta, b->pages, b->page_table, b->spans, b->positions};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        free(all[i]);
    free(b);
}

static int grow_activations(struct transformer_buffers *b, const struct transformer_options *o, size_t rows)
{
    size_t q = rows * o->heads * o->head_dim, kv = rows * o->kv_heads * o->head_dim;
    TRY(grow_floats(&b->q, &b->have[0], q));
    TRY(grow_floats(&b->k, &b->have[1], kv));
    TRY(grow_floats(&b->v, &b->have[2], kv));
    return grow_floats(&b->attended, &b->have[3], q);
}

/* Like grow_floats() for `count` things of `size` bytes; NULL when memory is out. */
static void *grown(void *buffer, size_t *have, size_t count, size_t size)
{
    if (*have >= count * size)
        return buffer;
    void *larger = realloc(buffer, count * size);
    if (larger)
        *have = count * size;
    return larger;
}

static int grow_spans(struct transformer_buffers *b, size_t n)
{
    struct attention_span *spans = grown(b->spans, &b->spans_have, n, sizeof *spans);
    if (!spans)
        return -1;
    b->spans = spans;
    return 0;
}

/* ---- steps ------------------------------------------------------------------------------------ */

void transformer_norm(struct exec *e, const struct transformer_options *o, const struct norm *n, float *out,
                      const float *x, size_t rows)
{
    if (!n->scale)
        return;
    if (o->rms)
        rms_norm(e, out, x, rows, o->embedding, n->scale, o->epsilon);
    else
        layer_norm(e, out, x, rows, o->embedding, n->scale, n->bias, o->epsilon);
}

/* The norm of what a block reads; NULL: it reads x itself. */
static const struct row_norm *input_norm(const struct run *r, const struct norm *n, struct row_norm *out)
{
    *out = (struct row_norm){.rms = r->o->rms, .scale = n->scale, .bias = n->bias, .epsilon = r->o->epsilon};
    return r->o->norm_after || !n->scale ? NULL : out;
}

/* Where a block's last product goes: to x at once, or to delta, whose norm is added. */
static int block_output(const struct run *r, const struct norm *post, float *x, struct linear_part *out)
{
    out->stride = r->o->embedding;
    out->add = !(post && post->scale);
    if (!out->add)
        TRY(grow_floats(&r->b->delta, &r->b->have[4], r->rows * r->o->embedding));
    out->out = out->add ? x : r->b->delta;
    return 0;
}

static void add_delta(const struct run *r, const struct norm *post, float *x)
{
    if (post)
        transformer_norm(r->e, r->o, post, r->b->delta, r->b->delta, r->rows);
    add_to(r->e, x, r->b->delta, r->rows * r->o->embedding);
}

/* Norms come before the rotation (Qwen 3, Gemma 3). */
static void place_heads(const struct run *r, float *x, size_t heads, const float *norm,
                        const uint32_t *positions)
{
    size_t head_dim = r->o->head_dim;
    if (norm)
        rms_norm(r->e, x, x, r->rows * heads, head_dim, norm, r->o->epsilon);
    if (r->layer->rotary)
        rotary_apply(r->e, r->layer->rotary, x, r->rows, heads, head_dim, positions);
}

static int project_output(const struct run *r, const struct projections *p, const struct norm *post, float *x)
{
    struct linear_part out = {.w = &p->output, .bias = p->output_bias};
    TRY(block_output(r, post, x, &out));
    TRY(linear_group(r->e, r->b->attended, r->rows, &out, 1));
    if (!out.add)
        add_delta(r, post, x);
    return 0;
}

/* Leaves what the heads see in attended: its projection is yet to be added. */
static int self_attention(const struct run *r, const struct attention_shape *shape,
                          const struct attention_span *spans, size_t n_spans, const uint32_t *positions,
                          const float *x)
{
    struct transformer_buffers *b = r->b;
    const struct transformer_options *o = r->o;
    const struct transformer_layer *y = r->layer;
    const struct projections *p = &y->self;
    struct row_norm norm;
    size_t q = o->heads * o->head_dim, kv = o->kv_heads * o->head_dim;
    const struct linear_part qkv[] = {{b->q, q, &p->query, p->query_bias, false},
                                      {b->k, kv, &p->key, p->key_bias, false},
                                      {b->v, kv, &p->value, p->value_bias, false}};
    TRY(linear_normed(r->e, input_norm(r, &y->attention_norm, &norm), x, r->rows, qkv, 3));
    place_heads(r, b->q, o->heads, p->query_norm, positions);
    place_heads(r, b->k, o->kv_heads, p->key_norm, positions);
    attention_store(r->e, shape, spans, n_spans, b->k, b->v);
    return attention(r->e, shape, spans, n_spans, b->q, b->attended);
}

/* Queries of the batch over keys and values that transformer_cross_store() left in the sources' pages. */
static int cross_attention(const struct run *r, const struct decoder_place *place, const struct batch *batch,
                           float *x)
{
    const struct transformer_options *o = r->o;
    struct row_norm norm;
    const struct projections *p = &r->layer->cross;
    const struct attention_shape shape = {.heads = o->heads,
                                          .kv_heads = o->kv_heads,
                                          .head_dim = o->head_dim,
                                          .scale = o->score_scale,
                                          .kv_dtype = place->kv_dtype,
                                          .offset = place->cross_offset,
                                          .all_keys = true};
    const struct linear_part query = {r->b->q, o->heads * o->head_dim, &p->query, p->query_bias, false};
    TRY(grow_spans(r->b, batch->n_spans));
    for (size_t i = 0; i < batch->n_spans; i++) {
        r->b->spans[i] = batch->spans[i];
        r->b->spans[i].pages = batch->sources[i].pages;
        r->b->spans[i].n_keys = batch->sources[i].n_tokens;
    }
    TRY(linear_normed(r->e, input_norm(r, &r->layer->cross_norm, &norm), x, r->rows, &query, 1));
    TRY(attention(r->e, &shape, r->b->spans, batch->n_spans, r->b->q, r->b->attended));
    return project_output(r, p, NULL, x);
}

/* c goes through the rows of a span one after another; nothing of it depends on the other spans. */
static void recur(const struct run *r, const struct decoder_place *place, const struct batch *batch)
{
    const struct transformer_buffers *b = r->b;
    size_t width = r->o->embedding;
    for (size_t i = 0; i < batch->n_spans; i++) {
        const struct attention_span *span = &batch->spans[i];
        float *c = (float *)(void *)((uint8_t *)batch->states[i] + place->state_offset);
        if (span->first_position == 0)
            memset(c, 0, width * sizeof *c);
        for (size_t row = span->first_row; row < span->first_row + span->rows; row++) {
            const float *f = b->q + row * width, *input = b->k + row * width;
            float *out = b->delta + row * width;
            for (size_t k = 0; k < width; k++) {
                c[k] = f[k] * c[k] + (1 - f[k]) * input[k];
                out[k] = c[k] > 0 ? c[k] : 0;
            }
        }
    }
}

static int recurrence(const struct run *r, const struct decoder_place *place, const struct batch *batch,
                      float *x)
{
    const struct recurrence *y = &r->layer->recurrence;
    size_t width = r->o->embedding;
    struct row_norm norm;
    const struct linear_part parts[] = {{r->b->q, width, &y->forget, y->forget_bias, false},
                                        {r->b->k, width, &y->input, NULL, false}};
    TRY(grow_floats(&r->b->delta, &r->b->have[4], r->rows * width));
    TRY(linear_normed(r->e, input_norm(r, &r->layer->attention_norm, &norm), x, r->rows, parts, 2));
    activate(r->e, ACTIVATION_SIGMOID, r->b->q, r->rows * width);
    recur(r, place, batch);
    add_delta(r, &r->layer->attention_post_norm, x);
    return 0;
}

static int run_feed_forward(const struct run *r, float *x)
{
    const struct transformer_layer *y = r->layer;
    /* in parallel and without a norm of its own it shares the attention's */
    const struct norm *n = r->o->parallel && !y->ff_norm.scale ? &y->attention_norm : &y->ff_norm;
    struct row_norm norm;
    struct feed_forward f = {.up = &y->up,
                             .gate = y->gate.panels ? &y->gate : NULL,
                             .up_bias = y->up_bias,
                             .gate_bias = y->gate_bias,
                             .activation = r->o->activation,
                             .down = {.w = &y->down, .bias = y->down_bias}};
    TRY(block_output(r, &y->ff_post_norm, x, &f.down));
    TRY(feed_forward(r->e, input_norm(r, n, &norm), x, r->rows, &f));
    if (!f.down.add)
        add_delta(r, &y->ff_post_norm, x);
    return 0;
}

/* ---- a layer ---------------------------------------------------------------------------------- */

/* Post-norm: of x with what a block has added. */
static void norm_after(const struct run *r, const struct norm *n, float *x)
{
    if (r->o->norm_after)
        transformer_norm(r->e, r->o, n, x, x, r->rows);
}

/* Attention of one kind, then the feed forward; place and batch are those of a decoder, for its cross
 * attention. */
static int run_layer(const struct run *r, const struct attention_shape *shape,
                     const struct attention_span *spans, size_t n_spans, const uint32_t *positions,
                     const struct decoder_place *place, const struct batch *batch, float *x)
{
    const struct transformer_layer *y = r->layer;
    bool recurrent = y->recurrence.forget.panels != NULL;
    if (recurrent)
        TRY(recurrence(r, place, batch, x));
    else
        TRY(self_attention(r, shape, spans, n_spans, positions, x));
    if (r->o->parallel) /* both read x before either adds to it */
        TRY(run_feed_forward(r, x));
    if (!recurrent)
        TRY(project_output(r, &y->self, &y->attention_post_norm, x));
    norm_after(r, &y->attention_norm, x);
    if (y->cross.query.panels) {
        TRY(cross_attention(r, place, batch, x));
        norm_after(r, &y->cross_norm, x);
    }
    if (!r->o->parallel)
        TRY(run_feed_forward(r, x));
    norm_after(r, &y->ff_norm, x);
    return 0;
}

int transformer_decode(struct transformer_buffers *b, struct exec *e, const struct transformer_options *o,
                       const struct transformer_layer *layer, const struct decoder_place *place,
                       const struct batch *batch, float *x)
{
    const struct run r = {b, e, o, layer, batch->rows};
    const struct attention_shape shape = {.heads = o->heads,
                                          .kv_heads = o->kv_heads,
                                          .head_dim = o->head_dim,
                                          .scale = o->score_scale,
                                          .window = layer->window,
                                          .kv_dtype = place->kv_dtype,
                                          .offset = place->offset,
                                          .bias = place->bias,
                                          .bias_half = place->bias_half};
    TRY(grow_activations(b, o, batch->rows));
    return run_layer(&r, &shape, batch->spans, batch->n_spans, batch->positions, place, batch, x);
}

/* Activations that meet bf16 weights as bf16 do so in attention too. */
static enum dtype encoder_kv_dtype(const struct transformer_layer *layer)
{
    return layer->self.query.rounded ? DTYPE_BF16 : DTYPE_F32;
}

/* The spans again, each with pages of our own. */
static int place_encoder_spans(struct transformer_buffers *b, const struct attention_shape *shape,
                               const struct attention_span *spans, size_t n_spans)
{
    size_t page_bytes = attention_layer_bytes(shape->kv_heads, shape->head_dim, shape->kv_dtype);
    size_t page_floats = page_bytes / sizeof(float), n_pages = 0;
    for (size_t i = 0; i < n_spans; i++)
        n_pages += (spans[i].rows + KV_PAGE_TOKENS - 1) / KV_PAGE_TOKENS;
    TRY(grow_spans(b, n_spans));
    TRY(grow_floats(&b->pages, &b->have[5], n_pages * page_floats));
    void **table = grown(b->page_table, &b->page_table_have, n_pages, sizeof *table);
    if (!table)
        return -1;
    b->page_table = table;
    for (size_t i = 0; i < n_pages; i++)
        table[i] = b->pages + i * page_floats;
    for (size_t i = 0; i < n_spans; i++) {
        b->spans[i] = spans[i];
        b->spans[i].pages = table;
        b->spans[i].n_keys = spans[i].rows;
        table += (spans[i].rows + KV_PAGE_TOKENS - 1) / KV_PAGE_TOKENS;
    }
    return 0;
}

static int number_rows(struct transformer_buffers *b, const struct attention_span *spans, size_t n_spans,
                       size_t rows)
{
    uint32_t *positions = grown(b->positions, &b->positions_have, rows, sizeof *positions);
    if (!positions)
        return -1;
    b->positions = positions;
    for (size_t i = 0; i < n_spans; i++) {
        for (size_t row = 0; row < spans[i].rows; row++)
            positions[spans[i].first_row + row] = (uint32_t)(spans[i].first_position + row);
    }
    return 0;
}

int transformer_encode(struct transformer_buffers *b, struct exec *e, const struct transformer_options *o,
                       const struct transformer_layer *layer, const float *bias, size_t bias_half,
                       const struct attention_span *spans, size_t n_spans, size_t rows, float *x)
{
    const struct run r = {b, e, o, layer, rows};
    const struct attention_shape shape = {.heads = o->heads,
                                          .kv_heads = o->kv_heads,
                                          .head_dim = o->head_dim,
                                          .scale = o->score_scale,
                                          .kv_dtype = encoder_kv_dtype(layer),
                                          .all_keys = true,
                                          .bias = bias,
                                          .bias_half = bias_half};
    TRY(grow_activations(b, o, rows));
    TRY(place_encoder_spans(b, &shape, spans, n_spans));
    if (layer->rotary)
        TRY(number_rows(b, spans, n_spans, rows));
    return run_layer(&r, &shape, b->spans, n_spans, b->positions, NULL, NULL, x);
}

int transformer_cross_store(struct transformer_buffers *b, struct exec *e,
                            const struct transformer_options *o, const struct transformer_layer *layer,
                            enum dtype kv_dtype, size_t offset, const struct attention_span *spans,
                            size_t n_spans, size_t rows, const float *x)
{
    const struct projections *p = &layer->cross;
    size_t kv = o->kv_heads * o->head_dim;
    const struct attention_shape shape = {.heads = o->heads,
                                          .kv_heads = o->kv_heads,
                                          .head_dim = o->head_dim,
                                          .kv_dtype = kv_dtype,
                                          .offset = offset};
    TRY(grow_activations(b, o, rows));
    const struct linear_part parts[] = {{b->k, kv, &p->key, p->key_bias, false},
                                        {b->v, kv, &p->value, p->value_bias, false}};
    TRY(linear_group(e, x, rows, parts, 2));
    attention_store(e, &shape, spans, n_spans, b->k, b->v);
    return 0;
}

/* ---- loading ---------------------------------------------------------------------------------- */

/* Where a layer's tensors are called PREFIX.i.PART.weight and PREFIX.i.PART.bias. */
struct layer_loader {
    struct tensor_loader *l;
    const struct transformer_options *o;
    const char *prefix;
    size_t i;
    char name[LIMIT_TENSOR_NAME]; /* of the last call of name_of() */
};

static const char *name_of(struct layer_loader *y, const char *part, const char *kind)
{
    snprintf(y->name, sizeof y->name, "%s.%zu.%s.%s", y->prefix, y->i, part, kind);
    return y->name;
}

static const struct tensor_info *tensor_of(struct layer_loader *y, const char *part)
{
    const struct tensor_source *s = y->l->checkpoint->tensors;
    return s->find(s, name_of(y, part, "weight"));
}

/* The other name when only that is there. */
static const char *either(struct layer_loader *y, const char *usual, const char *other)
{
    return !tensor_of(y, usual) && tensor_of(y, other) ? other : usual;
}

/* Rows first … of a matrix of `total` rows, and of its bias where there is one. */
static int load_linear(struct layer_loader *y, const char *part, size_t first, size_t rows, size_t total,
                       size_t cols, struct weight *w, float **bias)
{
    TRY(load_rows(y->l, w, first, rows, total, cols, name_of(y, part, "weight")));
    return load_values(y->l, bias, first, rows, total, false, name_of(y, part, "bias"));
}

static int load_norm(struct layer_loader *y, const char *part, bool required, struct norm *n)
{
    size_t width = y->o->embedding;
    TRY(load_values(y->l, &n->scale, 0, width, width, required, name_of(y, part, "weight")));
    return load_values(y->l, &n->bias, 0, width, width, false, name_of(y, part, "bias"));
}

static int load_self(struct layer_loader *y, struct projections *p)
{
    const struct transformer_options *o = y->o;
    size_t q = o->heads * o->head_dim, kv = o->kv_heads * o->head_dim, width = o->embedding;
    bool fused = tensor_of(y, "attn_qkv") != NULL;
    const char *query = fused ? "attn_qkv" : "attn_q", *key = fused ? "attn_qkv" : "attn_k",
               *value = fused ? "attn_qkv" : "attn_v", *output = either(y, "attn_output", "attn_o");
    TRY(load_linear(y, query, 0, q, fused ? q + 2 * kv : q, width, &p->query, &p->query_bias));
    TRY(load_linear(y, key, fused ? q : 0, kv, fused ? q + 2 * kv : kv, width, &p->key, &p->key_bias));
    TRY(load_linear(y, value, fused ? q + kv : 0, kv, fused ? q + 2 * kv : kv, width, &p->value,
                    &p->value_bias));
    TRY(load_linear(y, output, 0, width, width, q, &p->output, &p->output_bias));
    TRY(load_values(y->l, &p->query_norm, 0, o->head_dim, o->head_dim, false,
                    name_of(y, "attn_q_norm", "weight")));
    return load_values(y->l, &p->key_norm, 0, o->head_dim, o->head_dim, false,
                       name_of(y, "attn_k_norm", "weight"));
}

static int load_cross(struct layer_loader *y, struct projections *p)
{
    const struct transformer_options *o = y->o;
    size_t q = o->heads * o->head_dim, kv = o->kv_heads * o->head_dim, width = o->embedding;
    bool fused = tensor_of(y, "cross_attn_qkv") != NULL;
    const char *query = fused ? "cross_attn_qkv" : "cross_attn_q",
               *key = fused ? "cross_attn_qkv" : "cross_attn_k",
               *value = fused ? "cross_attn_qkv" : "cross_attn_v",
               *output = either(y, "cross_attn_output", "cross_attn_o");
    TRY(load_linear(y, query, 0, q, fused ? q + 2 * kv : q, width, &p->query, &p->query_bias));
    TRY(load_linear(y, key, fused ? q : 0, kv, fused ? q + 2 * kv : kv, width, &p->key, &p->key_bias));
    TRY(load_linear(y, value, fused ? q + kv : 0, kv, fused ? q + 2 * kv : kv, width, &p->value,
                    &p->value_bias));
    return load_linear(y, output, 0, width, width, q, &p->output, &p->output_bias);
}

static int load_recurrence(struct layer_loader *y, struct recurrence *r)
{
    size_t width = y->o->embedding;
    float *none = NULL;
    TRY(load_linear(y, "ssru_forget", 0, width, width, width, &r->forget, &r->forget_bias));
    TRY(load_linear(y, "ssru_input", 0, width, width, width, &r->input, &none));
    free(none);
    return 0;
}

static int load_feed_forward(struct layer_loader *y, struct transformer_layer *layer)
{
    size_t ff = y->o->ff, width = y->o->embedding;
    const struct tensor_info *up = tensor_of(y, "ffn_up");
    bool fused = up && up->dims[1] == 2 * (uint64_t)ff;
    if (fused) /* Phi-3: the gate's rows, then those of up */
        TRY(load_linear(y, "ffn_up", 0, ff, 2 * ff, width, &layer->gate, &layer->gate_bias));
    else if (tensor_of(y, "ffn_gate"))
        TRY(load_linear(y, "ffn_gate", 0, ff, ff, width, &layer->gate, &layer->gate_bias));
    TRY(load_linear(y, "ffn_up", fused ? ff : 0, ff, fused ? 2 * ff : ff, width, &layer->up,
                    &layer->up_bias));
    return load_linear(y, "ffn_down", 0, width, width, ff, &layer->down, &layer->down_bias);
}

int transformer_load_layer(struct tensor_loader *l, const struct transformer_options *o, const char *prefix,
                           size_t i, bool cross, struct transformer_layer *layer)
{
    struct layer_loader y = {.l = l, .o = o, .prefix = prefix, .i = i};
    const char *attention_norm = "attn_norm", *ff_norm = "ffn_norm";
    if (o->norm_after) {
        attention_norm = either(&y, attention_norm, "attn_output_norm");
        ff_norm = either(&y, ff_norm, "layer_output_norm");
    }
    TRY(load_norm(&y, attention_norm, true, &layer->attention_norm));
    if (tensor_of(&y, "ssru_forget"))
        TRY(load_recurrence(&y, &layer->recurrence));
    else
        TRY(load_self(&y, &layer->self));
    TRY(load_norm(&y, "post_attention_norm", false, &layer->attention_post_norm));
    if (cross) {
        TRY(load_norm(&y, "cross_attn_norm", true, &layer->cross_norm));
        TRY(load_cross(&y, &layer->cross));
    }
    TRY(load_norm(&y, ff_norm, !o->parallel, &layer->ff_norm));
    TRY(load_feed_forward(&y, layer));
    return load_norm(&y, "post_ffw_norm", false, &layer->ff_post_norm);
}

static void free_projections(struct projections *p)
{
    struct weight *weights[] = {&p->query, &p->key, &p->value, &p->output};
    float *vectors[] = {p->query_bias,  p->key_bias,   p->value_bias,
                        p->output_bias, p->query_norm, p->key_norm};
    for (size_t i = 0; i < sizeof weights / sizeof weights[0]; i++)
        weight_free(weights[i]);
    for (size_t i = 0; i < sizeof vectors / sizeof vectors[0]; i++)
        free(vectors[i]);
}

void transformer_free_layer(struct transformer_layer *layer)
{
    struct weight *weights[] = {&layer->gate, &layer->up, &layer->down, &layer->recurrence.input,
                                &layer->recurrence.forget};
    struct norm *norms[] = {&layer->attention_norm, &layer->attention_post_norm, &layer->cross_norm,
                            &layer->ff_norm, &layer->ff_post_norm};
    float *biases[] = {layer->gate_bias, layer->up_bias, layer->down_bias, layer->recurrence.forget_bias};
    free_projections(&layer->self);
    free_projections(&layer->cross);
    for (size_t i = 0; i < sizeof weights / sizeof weights[0]; i++)
        weight_free(weights[i]);
    for (size_t i = 0; i < sizeof norms / sizeof norms[0]; i++) {
        free(norms[i]->scale);
        free(norms[i]->bias);
    }
    for (size_t i = 0; i < sizeof biases / sizeof biases[0]; i++)
        free(biases[i]);
    memset(layer, 0, sizeof *layer);
}
