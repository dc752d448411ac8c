/* distilbert.c - DistilBERT (Sanh et al., 2019) as a dialect of bert.c: its own names for everything, no
 * token types, no pooler, and a classifier's dense layer with relu. */
#include "engine/models/encoder.h"

const char *const distilbert_types[] = {"distilbert", NULL};
const char *const distilbert_prefixes[] = {"distilbert.", "", NULL};

const struct tensor_name distilbert_tensors[] = {
    {"token_embd.weight", "embeddings.word_embeddings.weight", CHANGE_NONE},
    {"position_embd.weight", "embeddings.position_embeddings.weight", CHANGE_NONE},
    {"token_embd_norm.weight", "embeddings.LayerNorm.weight", CHANGE_NONE},
    {"token_embd_norm.bias", "embeddings.LayerNorm.bias", CHANGE_NONE},
    {"blk.%zu.attn_q.weight", "transformer.layer.%zu.attention.q_lin.weight", CHANGE_NONE},
    {"blk.%zu.attn_q.bias", "transformer.layer.%zu.attention.q_lin.bias", CHANGE_NONE},
    {"blk.%zu.attn_k.weight", "transformer.layer.%zu.attention.k_lin.weight", CHANGE_NONE},
    {"blk.%zu.attn_k.bias", "transformer.layer.%zu.attention.k_lin.bias", CHANGE_NONE},
    {"blk.%zu.attn_v.weight", "transformer.layer.%zu.attention.v_lin.weight", CHANGE_NONE},
    {"blk.%zu.attn_v.bias", "transformer.layer.%zu.attention.v_lin.bias", CHANGE_NONE},
    {"blk.%zu.attn_output.weight", "transformer.layer.%zu.attention.out_lin.weight", CHANGE_NONE},
    {"blk.%zu.attn_output.bias", "transformer.layer.%zu.attention.out_lin.bias", CHANGE_NONE},
    {"blk.%zu.attn_output_norm.weight", "transformer.layer.%zu.sa_layer_norm.weight", CHANGE_NONE},
    {"blk.%zu.attn_output_norm.bias", "transformer.layer.%zu.sa_layer_norm.bias", CHANGE_NONE},
    {"blk.%zu.ffn_up.weight", "transformer.layer.%zu.ffn.lin1.weight", CHANGE_NONE},
    {"blk.%zu.ffn_up.bias", "transformer.layer.%zu.ffn.lin1.bias", CHANGE_NONE},
    {"blk.%zu.ffn_down.weight", "transformer.layer.%zu.ffn.lin2.weight", CHANGE_NONE},
    {"blk.%zu.ffn_down.bias", "transformer.layer.%zu.ffn.lin2.bias", CHANGE_NONE},
    {"blk.%zu.layer_output_norm.weight", "transformer.layer.%zu.output_layer_norm.weight", CHANGE_NONE},
    {"blk.%zu.layer_output_norm.bias", "transformer.layer.%zu.output_layer_norm.bias", CHANGE_NONE},
    {"cls.weight", "pre_classifier.weight", CHANGE_NONE},
    {"cls.bias", "pre_classifier.bias", CHANGE_NONE},
    {"cls.output.weight", "classifier.weight", CHANGE_NONE},
    {"cls.output.bias", "classifier.bias", CHANGE_NONE},
    {"cls.output.weight", "qa_outputs.weight", CHANGE_NONE},
    {"cls.output.bias", "qa_outputs.bias", CHANGE_NONE},
    {"mlm.weight", "vocab_transform.weight", CHANGE_NONE},
    {"mlm.bias", "vocab_transform.bias", CHANGE_NONE},
    {"mlm_norm.weight", "vocab_layer_norm.weight", CHANGE_NONE},
    {"mlm_norm.bias", "vocab_layer_norm.bias", CHANGE_NONE},
    {"output.weight", "{untied}vocab_projector.weight", CHANGE_NONE},
    {"output.bias", "vocab_projector.bias", CHANGE_NONE},
    {NULL, NULL, CHANGE_NONE},
};

int distilbert_translate(const struct checkpoint *c, json_t *out, struct error *e)
{
    static const struct encoder_words words = {.embedding = "dim",
                                               .layers = "n_layers",
                                               .heads = "n_heads",
                                               .ff = "hidden_dim",
                                               .activation = "activation",
                                               .first_activation = "relu"};
    return encoder_translate(c, &words, 0, out, e);
}
