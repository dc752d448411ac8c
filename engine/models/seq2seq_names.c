/* seq2seq_names.c - the words that BART and Marian share in transformers.  See seq2seq_names.h. */
#include "engine/models/seq2seq_names.h"

#include <math.h>

#include "engine/base/json.h"

/* The first that is found counts; an encoder's own embedding is there when the sides differ. */
const struct tensor_name seq2seq_tensors[] = {
    {"token_embd.weight", "shared.weight", CHANGE_NONE},
    {"token_embd.weight", "encoder.embed_tokens.weight", CHANGE_NONE},
    {"dec.token_embd.weight", "{separate}decoder.embed_tokens.weight", CHANGE_NONE},
    {"output.weight", "{untied}lm_head.weight", CHANGE_NONE},
    {"output.bias", "final_logits_bias", CHANGE_NONE},
    {"enc.position_embd.weight", "encoder.embed_positions.weight", CHANGE_SKIP_ROWS},
    {"enc.token_embd_norm.weight", "encoder.layernorm_embedding.weight", CHANGE_NONE},
    {"enc.output_norm.weight", "encoder.layer_norm.weight", CHANGE_NONE},
    {"enc.token_embd_norm.bias", "encoder.layernorm_embedding.bias", CHANGE_NONE},
    {"enc.output_norm.bias", "encoder.layer_norm.bias", CHANGE_NONE},
    {"enc.blk.%zu.attn_q.weight", "encoder.layers.%zu.self_attn.q_proj.weight", CHANGE_NONE},
    {"enc.blk.%zu.attn_q.bias", "encoder.layers.%zu.self_attn.q_proj.bias", CHANGE_NONE},
    {"enc.blk.%zu.attn_k.weight", "encoder.layers.%zu.self_attn.k_proj.weight", CHANGE_NONE},
    {"enc.blk.%zu.attn_k.bias", "encoder.layers.%zu.self_attn.k_proj.bias", CHANGE_NONE},
    {"enc.blk.%zu.attn_v.weight", "encoder.layers.%zu.self_attn.v_proj.weight", CHANGE_NONE},
    {"enc.blk.%zu.attn_v.bias", "encoder.layers.%zu.self_attn.v_proj.bias", CHANGE_NONE},
    {"enc.blk.%zu.attn_o.weight", "encoder.layers.%zu.self_attn.out_proj.weight", CHANGE_NONE},
    {"enc.blk.%zu.attn_o.bias", "encoder.layers.%zu.self_attn.out_proj.bias", CHANGE_NONE},
    {"enc.blk.%zu.attn_norm.weight", "encoder.layers.%zu.self_attn_layer_norm.weight", CHANGE_NONE},
    {"enc.blk.%zu.attn_norm.bias", "encoder.layers.%zu.self_attn_layer_norm.bias", CHANGE_NONE},
    {"enc.blk.%zu.ffn_up.weight", "encoder.layers.%zu.fc1.weight", CHANGE_NONE},
    {"enc.blk.%zu.ffn_up.bias", "encoder.layers.%zu.fc1.bias", CHANGE_NONE},
    {"enc.blk.%zu.ffn_down.weight", "encoder.layers.%zu.fc2.weight", CHANGE_NONE},
    {"enc.blk.%zu.ffn_down.bias", "encoder.layers.%zu.fc2.bias", CHANGE_NONE},
    {"enc.blk.%zu.ffn_norm.weight", "encoder.layers.%zu.final_layer_norm.weight", CHANGE_NONE},
    {"enc.blk.%zu.ffn_norm.bias", "encoder.layers.%zu.final_layer_norm.bias", CHANGE_NONE},
    {"dec.position_embd.weight", "decoder.embed_positions.weight", CHANGE_SKIP_ROWS},
    {"dec.token_embd_norm.weight", "decoder.layernorm_embedding.weight", CHANGE_NONE},
    {"dec.output_norm.weight", "decoder.layer_norm.weight", CHANGE_NONE},
    {"dec.token_embd_norm.bias", "decoder.layernorm_embedding.bias", CHANGE_NONE},
    {"dec.output_norm.bias", "decoder.layer_norm.bias", CHANGE_NONE},
    {"dec.blk.%zu.attn_q.weight", "decoder.layers.%zu.self_attn.q_proj.weight", CHANGE_NONE},
    {"dec.blk.%zu.attn_q.bias", "decoder.layers.%zu.self_attn.q_proj.bias", CHANGE_NONE},
    {"dec.blk.%zu.attn_k.weight", "decoder.layers.%zu.self_attn.k_proj.weight", CHANGE_NONE},
    {"dec.blk.%zu.attn_k.bias", "decoder.layers.%zu.self_attn.k_proj.bias", CHANGE_NONE},
    {"dec.blk.%zu.attn_v.weight", "decoder.layers.%zu.self_attn.v_proj.weight", CHANGE_NONE},
    {"dec.blk.%zu.attn_v.bias", "decoder.layers.%zu.self_attn.v_proj.bias", CHANGE_NONE},
    {"dec.blk.%zu.attn_o.weight", "decoder.layers.%zu.self_attn.out_proj.weight", CHANGE_NONE},
    {"dec.blk.%zu.attn_o.bias", "decoder.layers.%zu.self_attn.out_proj.bias", CHANGE_NONE},
    {"dec.blk.%zu.attn_norm.weight", "decoder.layers.%zu.self_attn_layer_norm.weight", CHANGE_NONE},
    {"dec.blk.%zu.attn_norm.bias", "decoder.layers.%zu.self_attn_layer_norm.bias", CHANGE_NONE},
    {"dec.blk.%zu.cross_attn_q.weight", "decoder.layers.%zu.encoder_attn.q_proj.weight", CHANGE_NONE},
    {"dec.blk.%zu.cross_attn_q.bias", "decoder.layers.%zu.encoder_attn.q_proj.bias", CHANGE_NONE},
    {"dec.blk.%zu.cross_attn_k.weight", "decoder.layers.%zu.encoder_attn.k_proj.weight", CHANGE_NONE},
    {"dec.blk.%zu.cross_attn_k.bias", "decoder.layers.%zu.encoder_attn.k_proj.bias", CHANGE_NONE},
    {"dec.blk.%zu.cross_attn_v.weight", "decoder.layers.%zu.encoder_attn.v_proj.weight", CHANGE_NONE},
    {"dec.blk.%zu.cross_attn_v.bias", "decoder.layers.%zu.encoder_attn.v_proj.bias", CHANGE_NONE},
    {"dec.blk.%zu.cross_attn_o.weight", "decoder.layers.%zu.encoder_attn.out_proj.weight", CHANGE_NONE},
    {"dec.blk.%zu.cross_attn_o.bias", "decoder.layers.%zu.encoder_attn.out_proj.bias", CHANGE_NONE},
    {"dec.blk.%zu.cross_attn_norm.weight", "decoder.layers.%zu.encoder_attn_layer_norm.weight", CHANGE_NONE},
    {"dec.blk.%zu.cross_attn_norm.bias", "decoder.layers.%zu.encoder_attn_layer_norm.bias", CHANGE_NONE},
    {"dec.blk.%zu.ffn_up.weight", "decoder.layers.%zu.fc1.weight", CHANGE_NONE},
    {"dec.blk.%zu.ffn_up.bias", "decoder.layers.%zu.fc1.bias", CHANGE_NONE},
    {"dec.blk.%zu.ffn_down.weight", "decoder.layers.%zu.fc2.weight", CHANGE_NONE},
    {"dec.blk.%zu.ffn_down.bias", "decoder.layers.%zu.fc2.bias", CHANGE_NONE},
    {"dec.blk.%zu.ffn_norm.weight", "decoder.layers.%zu.final_layer_norm.weight", CHANGE_NONE},
    {"dec.blk.%zu.ffn_norm.bias", "decoder.layers.%zu.final_layer_norm.bias", CHANGE_NONE},
    {NULL, NULL, CHANGE_NONE},
};
const char *const seq2seq_prefixes[] = {"model.", "", NULL};

static int put_embeddings(const struct checkpoint *c, const char *arch, json_t *out, struct error *e)
{
    uint64_t width = 1;
    bool scaled = false, tied = true, shared = true;
    TRY(json_get_bool(c->config, "scale_embedding", &scaled, e));
    TRY(json_get_bool(c->config, "tie_word_embeddings", &tied, e));
    TRY(json_get_bool(c->config, "share_encoder_decoder_embeddings", &shared, e));
    TRY(json_get_u64(c->config, "d_model", 1, LIMIT_DIMENSION_SIZE, &width, e));
    if (!tied || !shared)
        TRY(names_put(out, "names", "untied", json_string(""), e));
    if (!shared)
        TRY(names_put(out, "names", "separate", json_string(""), e));
    return names_put(out, arch, "embedding_scale", json_real(scaled ? sqrt((double)width) : 1), e);
}

int seq2seq_translate(const struct checkpoint *c, const char *arch, const char *activation, json_t *out,
                      struct error *e)
{
    static const struct key_name keys[] = {
        {"embedding_length", "d_model", NULL},
        {"block_count", "encoder_layers", NULL},
        {"decoder_block_count", "decoder_layers", NULL},
        {"attention.head_count", "encoder_attention_heads", NULL},
        {"decoder.attention.head_count", "decoder_attention_heads", NULL},
        {"feed_forward_length", "encoder_ffn_dim", NULL},
        {"decoder.feed_forward_length", "decoder_ffn_dim", NULL},
    };
    bool before = false;
    TRY(names_translate_common(c, arch, out, e));
    TRY(names_copy_keys(c, arch, keys, sizeof keys / sizeof keys[0], out, e));
    TRY(names_translate_activation(c, arch, "activation_function", activation, out, e));
    TRY(json_get_bool(c->config, "normalize_before", &before, e));
    TRY(names_put(out, arch, "norm_after", json_boolean(!before), e));
    TRY(put_embeddings(c, arch, out, e));
    char key[64];
    snprintf(key, sizeof key, "%s.head", arch);
    const char *head = json_string_value(json_object_get(out, key));
    if (head && strcmp(head, "seq2seq") != 0)
        return error_set(e, ERROR_UNSUPPORTED, "this family with a head of kind \"%s\" is not supported",
                         head);
    return 0;
}
