/* seq2seq.h - encoder-decoders built of transformer layers, and decoders of the same making without an
 * encoder: T5, BART, Marian, PyTorch's nn.Transformer.  A family is its defaults, the words of its other
 * dialects, and a struct arch with the functions here.  Keys of GGUF ("ARCH.…") say the rest:
 *   embedding_length, block_count, decoder_block_count, attention.head_count, decoder.attention.head_count,
 *   attention.key_length, feed_forward_length, decoder.feed_forward_length, activation, norm_after,
 *   attention.layer_norm_epsilon or attention.layer_norm_rms_epsilon, context_length, source_context_length,
 *   embedding_scale, output_scale, position_type ("none", "learned", "sinusoidal"), sinusoid_last (whether
 * the last sine has the full period, as in tensor2tensor), sinusoid_interleaved (sine, cosine, sine, …),
 * attention.relative_buckets_count, attention.relative_max_distance, start_is_zero (the decoder's first input
 * is no token but zeros) Tensors: token_embd, dec.token_embd (when the sides differ), enc.blk.N.…,
 * dec.blk.N.… as transformer.h says, enc.position_embd, dec.position_embd, enc.token_embd_norm,
 * dec.token_embd_norm, enc.output_norm, dec.output_norm, enc.blk.0.attn_rel_b, dec.blk.0.attn_rel_b,
 * output.weight, output.bias, shortlist.{offsets,entries,frequent} Thread: shape and load on the loader's,
 * forward and encode on the scheduler's. */
#ifndef LOQUAT_MODELS_SEQ2SEQ_H
#define LOQUAT_MODELS_SEQ2SEQ_H

#include "engine/models/names.h"
#include "engine/models/transformer.h"

/* What counts where the file is silent. */
struct seq2seq_family {
    bool rms, norm_after, unscaled_scores; /* unscaled: queries and keys as they are (T5) */
    bool no_encoder;
    bool scaled_when_tied; /* the head is the embedding times embedding_length^-0.5 (T5 1.0) */
    float epsilon;
    const char *activation, *gated_activation, *position_type;
    uint64_t context;
};

/* Functions of struct arch, with the family before their own arguments where its defaults count. */
int seq2seq_shape(const struct seq2seq_family *f, const struct checkpoint *c, struct model_shape *out,
                  struct error *e);
int seq2seq_load(const struct seq2seq_family *f, const struct checkpoint *c, struct exec *x, size_t context,
                 enum dtype kv_dtype, struct model **out, struct error *e);
int seq2seq_forward(struct model *m, struct exec *x, const struct batch *batch);
int seq2seq_logits(struct model *m, struct exec *x, const struct batch *batch, size_t first, size_t n,
                   float *out);
int seq2seq_encode(struct model *m, struct exec *x, const struct encode_batch *batch);
void seq2seq_free(struct model *m);

#endif
