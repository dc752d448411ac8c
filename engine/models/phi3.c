/* phi3.c - Phi 3, 3.5 and 4: Abdin et al., 2024.  Llama's shape with query, key and value in one matrix, gate
 * and up in another, rotary positions in halves (of a part of the head in some), LongRoPE.  Called through
 * its row in arch.c; threads as in arch.h. */
#include <string.h>

#include "engine/models/decoder.h"

static const struct decoder_family family = {
    .rotary = true, .activation = ACTIVATION_SILU, .expects = DECODER_GATE};

static int phi3_shape(const struct checkpoint *c, struct model_shape *out, struct error *e)
{
    return decoder_shape(&family, c, out, e);
}

static int phi3_load(const struct checkpoint *c, struct exec *x, size_t context, enum dtype kv_dtype,
                     struct model **out, struct error *e)
{
    return decoder_load(&family, c, x, context, kv_dtype, out, e);
}

/* ---- config.json ------------------------------------------------------------------------------------ */

/* LongRoPE went by "su" and "yarn" in files of its first months. */
static int phi3_prepare(json_t *config, struct error *e)
{
    static const char *const objects[] = {"rope_parameters", "rope_scaling"}, *const keys[] = {"rope_type",
                                                                                               "type"};
    json_object_del(config, "layer_types");
    for (size_t i = 0; i < 4; i++) {
        json_t *rope = json_object_get(config, objects[i / 2]);
        const char *type = json_string_value(json_object_get(rope, keys[i % 2]));
        if (type && (strcmp(type, "su") == 0 || strcmp(type, "yarn") == 0) &&
            json_object_set_new(rope, keys[i % 2], json_string("longrope")) < 0)
            return error_no_memory(e);
    }
    return 0;
}

static int phi3_translate(const struct checkpoint *c, json_t *out, struct error *e)
{
    static const struct decoder_words words = {
        .arch = "phi3",
        .defaults = "{\"rms_norm_eps\": 1e-5, \"hidden_act\": \"silu\", \"max_position_embeddings\": 4096, "
                    "\"original_max_position_embeddings\": 4096}",
        .rotary = true,
        .prepare = phi3_prepare};
    return decoder_translate(&words, c, out, e);
}

static const struct tensor_name tensors[] = {
    {"token_embd.weight", "embed_tokens.weight", CHANGE_NONE},
    {"output_norm.weight", "norm.weight", CHANGE_NONE},
    {"output.weight", "lm_head.weight", CHANGE_NONE},
    DECODER_LAYER("attn_norm", "input_layernorm", CHANGE_NONE),
    DECODER_LAYER("attn_qkv", "self_attn.qkv_proj", CHANGE_NONE),
    DECODER_LAYER("attn_output", "self_attn.o_proj", CHANGE_NONE),
    DECODER_LAYER("ffn_norm", "post_attention_layernorm", CHANGE_NONE),
    DECODER_LAYER("ffn_up", "mlp.gate_up_proj", CHANGE_NONE),
    DECODER_LAYER("ffn_down", "mlp.down_proj", CHANGE_NONE),
    {0},
};

static const struct naming namings[] = {
    {.dialect = DIALECT_TRANSFORMERS,
     .types = (const char *const[]){"phi3", NULL},
     .prefixes = (const char *const[]){"model.", "", NULL},
     .tensors = tensors,
     .translate = phi3_translate},
    {0},
};

const struct arch arch_phi3 = {
    .name = "phi3",
    .namings = namings,
    .shape = phi3_shape,
    .load = phi3_load,
    .forward = decoder_forward,
    .logits = decoder_logits,
    .free = decoder_model_free,
};
