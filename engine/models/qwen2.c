/* qwen2.c - Qwen 2 and 2.5: Yang et al., 2024.  Llama's shape with biases of query, key and value, rotary
 * positions in halves, and a sliding window that the upper layers may have.  Called through its row in
 * arch.c; threads as in arch.h. */
#include "engine/models/qwen.h"

static const struct decoder_family family = {
    .rotary = true, .activation = ACTIVATION_SILU, .expects = DECODER_GATE | DECODER_QKV_BIAS};

static int qwen2_shape(const struct checkpoint *c, struct model_shape *out, struct error *e)
{
    return decoder_shape(&family, c, out, e);
}

static int qwen2_load(const struct checkpoint *c, struct exec *x, size_t context, enum dtype kv_dtype,
                      struct model **out, struct error *e)
{
    return decoder_load(&family, c, x, context, kv_dtype, out, e);
}

static int qwen2_translate(const struct checkpoint *c, json_t *out, struct error *e)
{
    static const struct decoder_words words = {
        .arch = "qwen2",
        .defaults = "{\"rms_norm_eps\": 1e-6, \"hidden_act\": \"silu\", \"max_position_embeddings\": 32768, "
                    "\"num_key_value_heads\": 32}",
        .rotary = true,
        .prepare = qwen_prepare};
    return decoder_translate(&words, c, out, e);
}

static const struct naming namings[] = {
    {.dialect = DIALECT_TRANSFORMERS,
     .types = (const char *const[]){"qwen2", NULL},
     .prefixes = (const char *const[]){"model.", "", NULL},
     .tensors = qwen_tensors,
     .translate = qwen2_translate},
    {0},
};

const struct arch arch_qwen2 = {
    .name = "qwen2",
    .namings = namings,
    .shape = qwen2_shape,
    .load = qwen2_load,
    .forward = decoder_forward,
    .logits = decoder_logits,
    .free = decoder_model_free,
};
