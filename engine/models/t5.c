/* t5.c - T5 1.0 and 1.1, Flan-T5, mT5 (Raffel et al., 2020): RMSNorm before blocks, relative positions in
 * buckets that all layers share, scores that are not scaled; relu, or a gate since 1.1.  GGUF's names are the
 * canonical ones. The computation is seq2seq.c's. */
#include <string.h>

#include "engine/base/json.h"
#include "engine/models/seq2seq.h"

static const struct seq2seq_family family = {.rms = true,
                                             .unscaled_scores = true,
                                             .scaled_when_tied = true,
                                             .epsilon = 1e-6f,
                                             .activation = "relu",
                                             .gated_activation = "gelu_new",
                                             .position_type = "none",
                                             .context = 1024};

static int shape(const struct checkpoint *c, struct model_shape *out, struct error *e)
{
    return seq2seq_shape(&family, c, out, e);
}

static int load(const struct checkpoint *c, struct exec *x, size_t context, enum dtype kv_dtype,
                struct model **out, struct error *e)
{
    return seq2seq_load(&family, c, x, context, kv_dtype, out, e);
}

static const struct tensor_name tensors[] = {
    {"token_embd.weight", "shared.weight", CHANGE_NONE},
    {"token_embd.weight", "encoder.embed_tokens.weight", CHANGE_NONE},
    {"enc.blk.0.attn_rel_b.weight", "encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight",
     CHANGE_NONE},
    {"enc.blk.%zu.attn_norm.weight", "encoder.block.%zu.layer.0.layer_norm.weight", CHANGE_NONE},
    {"enc.blk.%zu.attn_q.weight", "encoder.block.%zu.layer.0.SelfAttention.q.weight", CHANGE_NONE},
    {"enc.blk.%zu.attn_k.weight", "encoder.block.%zu.layer.0.SelfAttention.k.weight", CHANGE_NONE},
    {"enc.blk.%zu.attn_v.weight", "encoder.block.%zu.layer.0.SelfAttention.v.weight", CHANGE_NONE},
    {"enc.blk.%zu.attn_o.weight", "encoder.block.%zu.layer.0.SelfAttention.o.weight", CHANGE_NONE},
    {"enc.blk.%zu.ffn_norm.weight", "encoder.block.%zu.layer.1.layer_norm.weight", CHANGE_NONE},
    {"enc.blk.%zu.ffn_up.weight", "encoder.block.%zu.layer.1.DenseReluDense.wi.weight", CHANGE_NONE},
    {"enc.blk.%zu.ffn_gate.weight", "encoder.block.%zu.layer.1.DenseReluDense.wi_0.weight", CHANGE_NONE},
    {"enc.blk.%zu.ffn_up.weight", "encoder.block.%zu.layer.1.DenseReluDense.wi_1.weight", CHANGE_NONE},
    {"enc.blk.%zu.ffn_down.weight", "encoder.block.%zu.layer.1.DenseReluDense.wo.weight", CHANGE_NONE},
    {"enc.output_norm.weight", "encoder.final_layer_norm.weight", CHANGE_NONE},
    {"dec.blk.0.attn_rel_b.weight", "decoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight",
     CHANGE_NONE},
    {"dec.blk.%zu.attn_norm.weight", "decoder.block.%zu.layer.0.layer_norm.weight", CHANGE_NONE},
    {"dec.blk.%zu.attn_q.weight", "decoder.block.%zu.layer.0.SelfAttention.q.weight", CHANGE_NONE},
    {"dec.blk.%zu.attn_k.weight", "decoder.block.%zu.layer.0.SelfAttention.k.weight", CHANGE_NONE},
    {"dec.blk.%zu.attn_v.weight", "decoder.block.%zu.layer.0.SelfAttention.v.weight", CHANGE_NONE},
    {"dec.blk.%zu.attn_o.weight", "decoder.block.%zu.layer.0.SelfAttention.o.weight", CHANGE_NONE},
    {"dec.blk.%zu.cross_attn_norm.weight", "decoder.block.%zu.layer.1.layer_norm.weight", CHANGE_NONE},
    {"dec.blk.%zu.cross_attn_q.weight", "decoder.block.%zu.layer.1.EncDecAttention.q.weight", CHANGE_NONE},
    {"dec.blk.%zu.cross_attn_k.weight", "decoder.block.%zu.layer.1.EncDecAttention.k.weight", CHANGE_NONE},
    {"dec.blk.%zu.cross_attn_v.weight", "decoder.block.%zu.layer.1.EncDecAttention.v.weight", CHANGE_NONE},
    {"dec.blk.%zu.cross_attn_o.weight", "decoder.block.%zu.layer.1.EncDecAttention.o.weight", CHANGE_NONE},
    {"dec.blk.%zu.ffn_norm.weight", "decoder.block.%zu.layer.2.layer_norm.weight", CHANGE_NONE},
    {"dec.blk.%zu.ffn_up.weight", "decoder.block.%zu.layer.2.DenseReluDense.wi.weight", CHANGE_NONE},
    {"dec.blk.%zu.ffn_gate.weight", "decoder.block.%zu.layer.2.DenseReluDense.wi_0.weight", CHANGE_NONE},
    {"dec.blk.%zu.ffn_up.weight", "decoder.block.%zu.layer.2.DenseReluDense.wi_1.weight", CHANGE_NONE},
    {"dec.blk.%zu.ffn_down.weight", "decoder.block.%zu.layer.2.DenseReluDense.wo.weight", CHANGE_NONE},
    {"dec.output_norm.weight", "decoder.final_layer_norm.weight", CHANGE_NONE},
    {"output.weight", "{untied}lm_head.weight", CHANGE_NONE},
    {NULL, NULL, CHANGE_NONE},
};

/* "relu", "gated-gelu", …: what is after the dash; T5's "gelu" is the tanh form where it is gated. */
static int put_activation(const struct checkpoint *c, json_t *out, struct error *e)
{
    const char *projection = "relu";
    enum activation found;
    TRY(json_get_string(c->config, "feed_forward_proj", &projection, e));
    bool gated = strncmp(projection, "gated-", 6) == 0;
    const char *name = gated ? projection + 6 : projection;
    name = gated && strcmp(name, "gelu") == 0 ? "gelu_new" : name;
    if (!activation_find(name, &found))
        return error_set(e, ERROR_UNSUPPORTED, "feed_forward_proj \"%.60s\" is not supported", projection);
    return names_put(out, "t5", "activation", json_string(name), e);
}

static int put_scale(const struct checkpoint *c, json_t *out, struct error *e)
{
    uint64_t width = 1;
    bool tied = true;
    TRY(json_get_bool(c->config, "tie_word_embeddings", &tied, e));
    if (!tied)
        TRY(names_put(out, "names", "untied", json_string(""), e));
    bool scaled = tied;
    TRY(json_get_bool(c->config, "scale_decoder_outputs", &scaled, e));
    TRY(json_get_u64(c->config, "d_model", 1, LIMIT_DIMENSION_SIZE, &width, e));
    return names_put(out, "t5", "output_scale", json_real(scaled ? 1 / __builtin_sqrt((double)width) : 1), e);
}

static int translate(const struct checkpoint *c, json_t *out, struct error *e)
{
    static const struct key_name keys[] = {
        {"embedding_length", "d_model", NULL},
        {"block_count", "num_layers", NULL},
        {"decoder_block_count", "num_decoder_layers", "num_layers"},
        {"attention.head_count", "num_heads", NULL},
        {"attention.key_length", "d_kv", NULL},
        {"attention.value_length", "d_kv", NULL},
        {"feed_forward_length", "d_ff", NULL},
        {"attention.layer_norm_rms_epsilon", "layer_norm_epsilon", NULL},
        {"attention.relative_buckets_count", "relative_attention_num_buckets", NULL},
        {"attention.relative_max_distance", "relative_attention_max_distance", NULL},
        {"decoder_start_token_id", "decoder_start_token_id", NULL},
    };
    TRY(names_put(out, "t5", "attention.relative_buckets_count", json_integer(32), e));
    TRY(names_translate_common(c, "t5", out, e));
    TRY(names_copy_keys(c, "t5", keys, sizeof keys / sizeof keys[0], out, e));
    if (!json_object_get(out, "t5.context_length"))
        TRY(names_put(out, "t5", "context_length", json_integer((json_int_t)family.context), e));
    if (!json_object_get(out, "t5.attention.key_length"))
        TRY(names_put(out, "t5", "attention.key_length", json_integer(64), e));
    TRY(put_activation(c, out, e));
    TRY(put_scale(c, out, e));
    const char *head = json_string_value(json_object_get(out, "t5.head"));
    if (head && strcmp(head, "encoder") == 0)
        return names_put(out, "t5", "decoder_block_count", json_integer(0), e);
    if (head && strcmp(head, "seq2seq") != 0)
        return error_set(e, ERROR_UNSUPPORTED, "T5 with a head of kind \"%s\" is not supported", head);
    return 0;
}

static const char *const types[] = {"t5", "mt5", NULL};
static const struct naming namings[] = {
    {.dialect = DIALECT_TRANSFORMERS, .types = types, .tensors = tensors, .translate = translate},
    {.dialect = DIALECT_GGUF},
};

const struct arch arch_t5 = {
    .name = "t5",
    .namings = namings,
    .shape = shape,
    .load = load,
    .forward = seq2seq_forward,
    .logits = seq2seq_logits,
    .encode = seq2seq_encode,
    .free = seq2seq_free,
};
