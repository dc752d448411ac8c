/* bert.c - BERT (Devlin et al., 2019) and what has its shape: MiniLM, sentence encoders, cross-encoders. This
 * is the row of the ARCHITECTURE TABLE for GGUF's "bert", with the dialects that become it: BERT's own here,
 * those of roberta.c and distilbert.c.  The computation is encoder.c's. A new dialect: a file with its words
 * and tensor names, and its row in `namings`. */
#include "engine/models/encoder.h"

/* The first tensor that is found counts; the oldest checkpoints write gamma and beta. */
static const struct tensor_name tensors[] = {
    {"token_embd.weight", "embeddings.word_embeddings.weight", CHANGE_NONE},
    {"position_embd.weight", "embeddings.position_embeddings.weight", CHANGE_NONE},
    {"token_types.weight", "embeddings.token_type_embeddings.weight", CHANGE_NONE},
    {"token_embd_norm.weight", "embeddings.LayerNorm.weight", CHANGE_NONE},
    {"token_embd_norm.weight", "embeddings.LayerNorm.gamma", CHANGE_NONE},
    {"token_embd_norm.bias", "embeddings.LayerNorm.bias", CHANGE_NONE},
    {"token_embd_norm.bias", "embeddings.LayerNorm.beta", CHANGE_NONE},
    {"blk.%zu.attn_q.weight", "encoder.layer.%zu.attention.self.query.weight", CHANGE_NONE},
    {"blk.%zu.attn_q.bias", "encoder.layer.%zu.attention.self.query.bias", CHANGE_NONE},
    {"blk.%zu.attn_k.weight", "encoder.layer.%zu.attention.self.key.weight", CHANGE_NONE},
    {"blk.%zu.attn_k.bias", "encoder.layer.%zu.attention.self.key.bias", CHANGE_NONE},
    {"blk.%zu.attn_v.weight", "encoder.layer.%zu.attention.self.value.weight", CHANGE_NONE},
    {"blk.%zu.attn_v.bias", "encoder.layer.%zu.attention.self.value.bias", CHANGE_NONE},
    {"blk.%zu.attn_output.weight", "encoder.layer.%zu.attention.output.dense.weight", CHANGE_NONE},
    {"blk.%zu.attn_output.bias", "encoder.layer.%zu.attention.output.dense.bias", CHANGE_NONE},
    {"blk.%zu.attn_output_norm.weight", "encoder.layer.%zu.attention.output.LayerNorm.weight", CHANGE_NONE},
    {"blk.%zu.attn_output_norm.weight", "encoder.layer.%zu.attention.output.LayerNorm.gamma", CHANGE_NONE},
    {"blk.%zu.attn_output_norm.bias", "encoder.layer.%zu.attention.output.LayerNorm.bias", CHANGE_NONE},
    {"blk.%zu.attn_output_norm.bias", "encoder.layer.%zu.attention.output.LayerNorm.beta", CHANGE_NONE},
    {"blk.%zu.ffn_up.weight", "encoder.layer.%zu.intermediate.dense.weight", CHANGE_NONE},
    {"blk.%zu.ffn_up.bias", "encoder.layer.%zu.intermediate.dense.bias", CHANGE_NONE},
    {"blk.%zu.ffn_down.weight", "encoder.layer.%zu.output.dense.weight", CHANGE_NONE},
    {"blk.%zu.ffn_down.bias", "encoder.layer.%zu.output.dense.bias", CHANGE_NONE},
    {"blk.%zu.layer_output_norm.weight", "encoder.layer.%zu.output.LayerNorm.weight", CHANGE_NONE},
    {"blk.%zu.layer_output_norm.weight", "encoder.layer.%zu.output.LayerNorm.gamma", CHANGE_NONE},
    {"blk.%zu.layer_output_norm.bias", "encoder.layer.%zu.output.LayerNorm.bias", CHANGE_NONE},
    {"blk.%zu.layer_output_norm.bias", "encoder.layer.%zu.output.LayerNorm.beta", CHANGE_NONE},
    {"cls.weight", "pooler.dense.weight", CHANGE_NONE},
    {"cls.bias", "pooler.dense.bias", CHANGE_NONE},
    {"cls.output.weight", "classifier.weight", CHANGE_NONE},
    {"cls.output.bias", "classifier.bias", CHANGE_NONE},
    {"cls.output.weight", "qa_outputs.weight", CHANGE_NONE},
    {"cls.output.bias", "qa_outputs.bias", CHANGE_NONE},
    {"mlm.weight", "cls.predictions.transform.dense.weight", CHANGE_NONE},
    {"mlm.bias", "cls.predictions.transform.dense.bias", CHANGE_NONE},
    {"mlm_norm.weight", "cls.predictions.transform.LayerNorm.weight", CHANGE_NONE},
    {"mlm_norm.weight", "cls.predictions.transform.LayerNorm.gamma", CHANGE_NONE},
    {"mlm_norm.bias", "cls.predictions.transform.LayerNorm.bias", CHANGE_NONE},
    {"mlm_norm.bias", "cls.predictions.transform.LayerNorm.beta", CHANGE_NONE},
    {"output.weight", "{untied}cls.predictions.decoder.weight", CHANGE_NONE},
    {"output.bias", "{untied}cls.predictions.decoder.bias", CHANGE_NONE},
    {"output.bias", "cls.predictions.bias", CHANGE_NONE},
    {"output.bias", "cls.predictions.decoder.bias", CHANGE_NONE},
    {NULL, NULL, CHANGE_NONE},
};

static int translate(const struct checkpoint *c, json_t *out, struct error *e)
{
    static const struct encoder_words words = {.embedding = "hidden_size",
                                               .layers = "num_hidden_layers",
                                               .heads = "num_attention_heads",
                                               .ff = "intermediate_size",
                                               .activation = "hidden_act",
                                               .first_activation = "tanh"};
    return encoder_translate(c, &words, 0, out, e);
}

static const char *const types[] = {"bert", NULL};
static const char *const prefixes[] = {"bert.", "", NULL};

static const struct naming namings[] = {
    {.dialect = DIALECT_TRANSFORMERS,
     .types = types,
     .prefixes = prefixes,
     .tensors = tensors,
     .translate = translate},
    {.dialect = DIALECT_TRANSFORMERS,
     .types = roberta_types,
     .prefixes = roberta_prefixes,
     .tensors = roberta_tensors,
     .translate = roberta_translate},
    {.dialect = DIALECT_TRANSFORMERS,
     .types = distilbert_types,
     .prefixes = distilbert_prefixes,
     .tensors = distilbert_tensors,
     .translate = distilbert_translate},
    {.dialect = DIALECT_GGUF},
};

const struct arch arch_bert = {
    .name = "bert",
    .namings = namings,
    .shape = encoder_shape,
    .load = encoder_load,
    .encode = encoder_encode,
    .free = encoder_free,
};
