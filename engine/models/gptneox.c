/* gptneox.c - GPT-NeoX and Pythia: Black et al., 2022.  LayerNorm, attention and feed forward side by side on
 * the same input, rotary positions in halves of a part of the head, query, key and value in one matrix, a
 * plain feed forward, a head of its own.  Called through its row in arch.c; threads as in arch.h. */
#include "engine/base/json.h"
#include "engine/models/decoder.h"

static int adjust(const struct checkpoint *c, struct decoder_options *o, struct error *e)
{
    return config_flag(c, "use_parallel_residual", true, &o->layer.parallel, e);
}

static const struct decoder_family family = {
    .layer_norm = true, .rotary = true, .activation = ACTIVATION_GELU, .adjust = adjust};

static int gptneox_shape(const struct checkpoint *c, struct model_shape *out, struct error *e)
{
    return decoder_shape(&family, c, out, e);
}

static int gptneox_load(const struct checkpoint *c, struct exec *x, size_t context, enum dtype kv_dtype,
                        struct model **out, struct error *e)
{
    return decoder_load(&family, c, x, context, kv_dtype, out, e);
}

/* ---- config.json ------------------------------------------------------------------------------------ */

static int gptneox_prepare(json_t *config, struct error *e)
{
    TRY(decoder_rename(config, "rotary_emb_base", "rope_theta", e));
    return decoder_rename(config, "rotary_pct", "partial_rotary_factor", e);
}

static int gptneox_finish(const json_t *config, json_t *out, struct error *e)
{
    bool parallel = true;
    TRY(json_get_bool(config, "use_parallel_residual", &parallel, e));
    return names_put(out, "gptneox", "use_parallel_residual", json_boolean(parallel), e);
}

static int gptneox_translate(const struct checkpoint *c, json_t *out, struct error *e)
{
    static const struct decoder_words words = {
        .arch = "gptneox",
        .defaults = "{\"layer_norm_eps\": 1e-5, \"hidden_act\": \"gelu\", \"max_position_embeddings\": 2048, "
                    "\"partial_rotary_factor\": 0.25}",
        .layer_norm = true,
        .rotary = true,
        .prepare = gptneox_prepare,
        .finish = gptneox_finish};
    return decoder_translate(&words, c, out, e);
}

static const struct tensor_name tensors[] = {
    {"token_embd.weight", "embed_in.weight", CHANGE_NONE},
    {"output_norm.weight", "final_layer_norm.weight", CHANGE_NONE},
    {"output_norm.bias", "final_layer_norm.bias", CHANGE_NONE},
    {"output.weight", "embed_out.weight", CHANGE_NONE},
    DECODER_LAYER("attn_norm", "input_layernorm", CHANGE_NONE),
    DECODER_LAYER("attn_qkv", "attention.query_key_value", CHANGE_HEADS_QKV),
    DECODER_LAYER("attn_output", "attention.dense", CHANGE_NONE),
    DECODER_LAYER("ffn_norm", "post_attention_layernorm", CHANGE_NONE),
    DECODER_LAYER("ffn_up", "mlp.dense_h_to_4h", CHANGE_NONE),
    DECODER_LAYER("ffn_down", "mlp.dense_4h_to_h", CHANGE_NONE),
    {0},
};

static const struct naming namings[] = {
    {.dialect = DIALECT_TRANSFORMERS,
     .types = (const char *const[]){"gpt_neox", NULL},
     .prefixes = (const char *const[]){"gpt_neox.", "", NULL},
     .tensors = tensors,
     .translate = gptneox_translate},
    {0},
};

const struct arch arch_gptneox = {
    .name = "gptneox",
    .namings = namings,
    .shape = gptneox_shape,
    .load = gptneox_load,
    .forward = decoder_forward,
    .logits = decoder_logits,
    .free = decoder_model_free,
};
