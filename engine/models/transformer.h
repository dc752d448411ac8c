/* transformer.h - the transformer layer (Vaswani et al., 2017) in the variants that families configure: norms
 * before, after or round a block; LayerNorm or RMSNorm; rotary positions, relative bias, sliding windows;
 * grouped queries; query and key norms; cross attention; plain or gated feed forward; parallel residual.
 * Thread: loading on the loader's, running on the scheduler's. */
#ifndef LOQUAT_MODELS_TRANSFORMER_H
#define LOQUAT_MODELS_TRANSFORMER_H

#include "engine/models/arch.h"
#include "engine/models/blocks.h"

struct norm {
    float *scale, *bias; /* (embedding); scale NULL: this norm is not there; bias NULL: RMSNorm, or no bias */
};

struct projections {
    struct weight query, key, value,
        output; /* (heads*head_dim | kv_heads*head_dim, embedding); output transposed */
    float *query_bias, *key_bias, *value_bias, *output_bias; /* or NULL */
    float *query_norm, *key_norm;                            /* (head_dim) RMSNorm of each head, or NULL */
};

/* What some decoders have in place of self-attention (SSRU; Kim et al., 2019): f = sigmoid(forget x + bias),
 * c = f * c + (1 - f) * input x, and relu(c) is added to x. */
struct recurrence {
    struct weight input, forget; /* (embedding, embedding) */
    float *forget_bias;
};

struct transformer_layer {
    struct norm attention_norm,
        attention_post_norm; /* post: of what attention adds, before it is added (Gemma) */
    struct projections self;
    struct recurrence recurrence; /* empty where there is self-attention */
    struct norm cross_norm;
    struct projections cross; /* empty without cross attention; its key and value are used by cross_store */
    struct norm ff_norm, ff_post_norm;
    struct weight gate, up, down; /* (ff, embedding), (ff, embedding), (embedding, ff); gate empty: plain */
    float *gate_bias, *up_bias, *down_bias;
    size_t window;               /* 0 = none */
    const struct rotary *rotary; /* or NULL; borrowed */
};

struct transformer_options {
    size_t embedding, heads, kv_heads, head_dim, ff;
    bool norm_after; /* post-norm: x = norm(x + block(x)); else x = x + block(norm(x)) */
    bool rms;        /* norms are RMSNorm; else LayerNorm */
    float epsilon;
    enum activation activation;
    bool parallel;     /* attention and feed forward both read the layer's input (GPT-J, GPT-NeoX) */
    float score_scale; /* of attention scores: 1/sqrt(head_dim), or 1 (T5) */
};

/* Buffers that grow to the largest batch seen; one per model, shared by its encoder and decoder. */
struct transformer_buffers;
int transformer_buffers_create(struct transformer_buffers **out, struct error *e);
void transformer_buffers_free(struct transformer_buffers *b); /* NULL is fine */

/* x (rows, embedding) through one layer of a decoder, in place.  Keys and values go to byte `offset` of the
 * pages of batch->spans; with cross weights, the source's are read at byte `cross_offset` of batch->sources.
 * bias: see attention_shape, or NULL.  -1 when memory is out. */
struct decoder_place {
    enum dtype kv_dtype;
    size_t offset, cross_offset;
    size_t state_offset; /* bytes; of a recurrence's c (embedding floats) in batch->states */
    const float *bias;
    size_t bias_half;
};
int transformer_decode(struct transformer_buffers *b, struct exec *e, const struct transformer_options *o,
                       const struct transformer_layer *layer, const struct decoder_place *place,
                       const struct batch *batch, float *x);

/* The same of an encoder: every row of a span sees all of it; keys and values live in float32 in buffers. */
int transformer_encode(struct transformer_buffers *b, struct exec *e, const struct transformer_options *o,
                       const struct transformer_layer *layer, const float *bias, size_t bias_half,
                       const struct attention_span *spans, size_t n_spans, size_t rows, float *x);

/* Keys and values that a decoder layer will read of the encoder's output x (rows, embedding), into
 * spans[i].pages at byte offset. */
int transformer_cross_store(struct transformer_buffers *b, struct exec *e,
                            const struct transformer_options *o, const struct transformer_layer *layer,
                            enum dtype kv_dtype, size_t offset, const struct attention_span *spans,
                            size_t n_spans, size_t rows, const float *x);

/* out = norm(x) by the options' kind; out may be x.  Nothing happens when the norm is not there. */
void transformer_norm(struct exec *e, const struct transformer_options *o, const struct norm *n, float *out,
                      const float *x, size_t rows);

/* Weights of layer i by GGUF's names: "PREFIX.i.attn_q.weight" or fused "attn_qkv", "attn_k", "attn_v",
 * "attn_output" (or T5's "attn_o"), "attn_q_norm", "attn_norm", "post_attention_norm", "ffn_norm",
 * "post_ffw_norm", "ffn_gate", "ffn_up" (maybe twice as high: gate and up fused), "ffn_down", each with .bias
 * where it is there; cross attention as in GGUF's T5: "cross_attn_q", …, "cross_attn_norm".  prefix: "blk",
 * "enc.blk", "dec.blk". BERT's homes of its norms ("attn_output_norm", "layer_output_norm") are looked for
 * when norm_after is set.  Whether the feed forward is gated is what tensors there are: a family that knows
 * better looks at layer->gate afterwards. *layer must be zeroed; freed by the caller, also after an error. */
int transformer_load_layer(struct tensor_loader *l, const struct transformer_options *o, const char *prefix,
                           size_t i, bool cross, struct transformer_layer *layer);
void transformer_free_layer(struct transformer_layer *layer);

#endif
