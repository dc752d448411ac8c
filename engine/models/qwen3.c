/* qwen3.c - Qwen 3: Yang et al., 2025.  Qwen 2's shape without its biases, each head's queries and keys
 * normed before they turn.  Called through its row in arch.c; threads as in arch.h. */
#include "engine/models/qwen.h"

static const struct decoder_family family = {
    .rotary = true, .activation = ACTIVATION_SILU, .expects = DECODER_GATE | DECODER_HEAD_NORMS};

static int qwen3_shape(const struct checkpoint *c, struct model_shape *out, struct error *e)
{
    return decoder_shape(&family, c, out, e);
}

static int qwen3_load(const struct checkpoint *c, struct exec *x, size_t context, enum dtype kv_dtype,
                      struct model **out, struct error *e)
{
    return decoder_load(&family, c, x, context, kv_dtype, out, e);
}

static int qwen3_translate(const struct checkpoint *c, json_t *out, struct error *e)
{
    static const struct decoder_words words = {
        .arch = "qwen3",
        .defaults = "{\"rms_norm_eps\": 1e-6, \"hidden_act\": \"silu\", \"max_position_embeddings\": 32768, "
                    "\"num_key_value_heads\": 32, \"head_dim\": 128}",
        .rotary = true,
        .prepare = qwen_prepare};
    return decoder_translate(&words, c, out, e);
}

static const struct naming namings[] = {
    {.dialect = DIALECT_TRANSFORMERS,
     .types = (const char *const[]){"qwen3", NULL},
     .prefixes = (const char *const[]){"model.", "", NULL},
     .tensors = qwen_tensors,
     .translate = qwen3_translate},
    {0},
};

const struct arch arch_qwen3 = {
    .name = "qwen3",
    .namings = namings,
    .shape = qwen3_shape,
    .load = qwen3_load,
    .forward = decoder_forward,
    .logits = decoder_logits,
    .free = decoder_model_free,
};
