/* roberta.c - RoBERTa (Liu et al., 2019), XLM-RoBERTa and CamemBERT as a dialect of bert.c.  Their position
 * table begins with the rows of the padding token and those before it, which no text uses and GGUF leaves
 * out; there is one token type; a classifier has a dense layer of its own on the first token; the masked
 * head's activation is always the exact GELU. */
#include "engine/base/json.h"
#include "engine/models/encoder.h"

const char *const roberta_types[] = {"roberta", "xlm-roberta", "camembert", NULL};
const char *const roberta_prefixes[] = {"roberta.", "", NULL};

const struct tensor_name roberta_tensors[] = {
    {"token_embd.weight", "embeddings.word_embeddings.weight", CHANGE_NONE},
    {"position_embd.weight", "embeddings.position_embeddings.weight", CHANGE_SKIP_ROWS},
    {"token_types.weight", "embeddings.token_type_embeddings.weight", CHANGE_NONE},
    {"token_embd_norm.weight", "embeddings.LayerNorm.weight", CHANGE_NONE},
    {"token_embd_norm.bias", "embeddings.LayerNorm.bias", CHANGE_NONE},
    {"blk.%zu.attn_q.weight", "encoder.layer.%zu.attention.self.query.weight", CHANGE_NONE},
    {"blk.%zu.attn_q.bias", "encoder.layer.%zu.attention.self.query.bias", CHANGE_NONE},
    {"blk.%zu.attn_k.weight", "encoder.layer.%zu.attention.self.key.weight", CHANGE_NONE},
    {"blk.%zu.attn_k.bias", "encoder.layer.%zu.attention.self.key.bias", CHANGE_NONE},
    {"blk.%zu.attn_v.weight", "encoder.layer.%zu.attention.self.value.weight", CHANGE_NONE},
    {"blk.%zu.attn_v.bias", "encoder.layer.%zu.attention.self.value.bias", CHANGE_NONE},
    {"blk.%zu.attn_output.weight", "encoder.layer.%zu.attention.output.dense.weight", CHANGE_NONE},
    {"blk.%zu.attn_output.bias", "encoder.layer.%zu.attention.output.dense.bias", CHANGE_NONE},
    {"blk.%zu.attn_output_norm.weight", "encoder.layer.%zu.attention.output.LayerNorm.weight", CHANGE_NONE},
    {"blk.%zu.attn_output_norm.bias", "encoder.layer.%zu.attention.output.LayerNorm.bias", CHANGE_NONE},
    {"blk.%zu.ffn_up.weight", "encoder.layer.%zu.intermediate.dense.weight", CHANGE_NONE},
    {"blk.%zu.ffn_up.bias", "encoder.layer.%zu.intermediate.dense.bias", CHANGE_NONE},
    {"blk.%zu.ffn_down.weight", "encoder.layer.%zu.output.dense.weight", CHANGE_NONE},
    {"blk.%zu.ffn_down.bias", "encoder.layer.%zu.output.dense.bias", CHANGE_NONE},
    {"blk.%zu.layer_output_norm.weight", "encoder.layer.%zu.output.LayerNorm.weight", CHANGE_NONE},
    {"blk.%zu.layer_output_norm.bias", "encoder.layer.%zu.output.LayerNorm.bias", CHANGE_NONE},
    {"cls.weight", "classifier.dense.weight", CHANGE_NONE},
    {"cls.bias", "classifier.dense.bias", CHANGE_NONE},
    {"cls.weight", "pooler.dense.weight", CHANGE_NONE},
    {"cls.bias", "pooler.dense.bias", CHANGE_NONE},
    {"cls.output.weight", "classifier.out_proj.weight", CHANGE_NONE},
    {"cls.output.bias", "classifier.out_proj.bias", CHANGE_NONE},
    {"cls.output.weight", "classifier.weight", CHANGE_NONE},
    {"cls.output.bias", "classifier.bias", CHANGE_NONE},
    {"cls.output.weight", "qa_outputs.weight", CHANGE_NONE},
    {"cls.output.bias", "qa_outputs.bias", CHANGE_NONE},
    {"mlm.weight", "lm_head.dense.weight", CHANGE_NONE},
    {"mlm.bias", "lm_head.dense.bias", CHANGE_NONE},
    {"mlm_norm.weight", "lm_head.layer_norm.weight", CHANGE_NONE},
    {"mlm_norm.bias", "lm_head.layer_norm.bias", CHANGE_NONE},
    {"output.weight", "{untied}lm_head.decoder.weight", CHANGE_NONE},
    {"output.bias", "{untied}lm_head.decoder.bias", CHANGE_NONE},
    {"output.bias", "lm_head.bias", CHANGE_NONE},
    {"output.bias", "lm_head.decoder.bias", CHANGE_NONE},
    {NULL, NULL, CHANGE_NONE},
};

int roberta_translate(const struct checkpoint *c, json_t *out, struct error *e)
{
    static const struct encoder_words words = {.embedding = "hidden_size",
                                               .layers = "num_hidden_layers",
                                               .heads = "num_attention_heads",
                                               .ff = "intermediate_size",
                                               .activation = "hidden_act",
                                               .first_activation = "tanh",
                                               .masked_activation = "gelu"};
    uint64_t pad = 1;
    TRY(json_get_u64(c->config, "pad_token_id", 0, LIMIT_VOCABULARY, &pad, e));
    return encoder_translate(c, &words, (size_t)pad + 1, out, e);
}
