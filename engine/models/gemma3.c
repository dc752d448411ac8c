/* gemma3.c - Gemma 3, text only: Gemma Team, 2025.  RMSNorm before and after each block (GGUF keeps 1 + w),
 * norms of queries and keys, a gated GELU feed forward, embeddings times sqrt(embedding); most layers see a
 * window, with a rotary base of their own.  Called through its row in arch.c; threads as in arch.h. */
#include <math.h>
#include <string.h>

#include "engine/base/json.h"
#include "engine/models/decoder.h"

enum { LAYERS_27B = 62 };

static int adjust(const struct checkpoint *c, struct decoder_options *o, struct error *e)
{
    o->embedding_scale = sqrtf((float)o->shape.embedding);
    o->two_rotaries = true;
    o->local_rotary = (struct rotary_options){.n_rot = o->n_rot, .scale = 1, .attention_factor = 1};
    TRY(config_float(c, "rope.freq_base_swa", 10000, &o->local_rotary.base, e));
    if (!(o->local_rotary.base > 1))
        return error_set(e, ERROR_BAD_FORMAT, "%s.rope.freq_base_swa must be above 1", c->architecture);
    /* GGUF files do not say it: only the largest scales by another length than the head's */
    if (!config_value(c, "attention.scale") && o->shape.layers == LAYERS_27B)
        o->layer.score_scale = 1 / sqrtf((float)o->shape.embedding / (float)o->layer.heads);
    return 0;
}

static const struct decoder_family family = {.rotary = true,
                                             .activation = ACTIVATION_GELU_TANH,
                                             .expects =
                                                 DECODER_GATE | DECODER_HEAD_NORMS | DECODER_POST_NORMS,
                                             .window_pattern = 6,
                                             .adjust = adjust};

static int gemma3_shape(const struct checkpoint *c, struct model_shape *out, struct error *e)
{
    return decoder_shape(&family, c, out, e);
}

static int gemma3_load(const struct checkpoint *c, struct exec *x, size_t context, enum dtype kv_dtype,
                       struct model **out, struct error *e)
{
    return decoder_load(&family, c, x, context, kv_dtype, out, e);
}

/* ---- config.json ------------------------------------------------------------------------------------ */

/* A checkpoint that sees images keeps its text model's words in an object of their own. */
static int unwrap_text(json_t *config, struct error *e)
{
    const json_t *text = json_object_get(config, "text_config");
    if (!json_is_object(text))
        return 0;
    json_t *classes = json_pack("[s]", "Gemma3ForCausalLM");
    if (!classes || json_object_update(config, (json_t *)(uintptr_t)text) < 0 ||
        json_object_set_new(config, "architectures", classes) < 0)
        return error_no_memory(e);
    return 0;
}

/* Newer files keep one object of rotary words for each kind of layer. */
static int unwrap_rotary(json_t *config, struct error *e)
{
    const json_t *rope = json_object_get(config, "rope_parameters");
    json_t *local = json_object_get(rope, "sliding_attention"),
           *global = json_object_get(rope, "full_attention");
    json_t *base = json_object_get(local, "rope_theta");
    const char *type = json_string_value(json_object_get(local, "rope_type"));
    if (type && strcmp(type, "default") != 0)
        return error_set(e, ERROR_UNSUPPORTED, "rope_type \"%.60s\" of local layers is not supported", type);
    if (base && json_object_set(config, "rope_local_base_freq", base) < 0)
        return error_no_memory(e);
    if (json_is_object(global))
        return json_object_set(config, "rope_parameters", global) < 0 ? error_no_memory(e) : 0;
    if (local)
        json_object_del(config, "rope_parameters");
    return 0;
}

static int refuse_unknown(const json_t *config, struct error *e)
{
    static const char *const refused[] = {"attn_logit_softcapping", "final_logit_softcapping"};
    const json_t *both_ways = json_object_get(config, "use_bidirectional_attention");
    for (size_t i = 0; i < 2; i++) {
        const json_t *value = json_object_get(config, refused[i]);
        if (value && !json_is_null(value))
            return error_set(e, ERROR_UNSUPPORTED, "%s is not supported", refused[i]);
    }
    if (both_ways && !json_is_null(both_ways) && !json_is_false(both_ways))
        return error_set(e, ERROR_UNSUPPORTED, "use_bidirectional_attention is not supported");
    return 0;
}

static int gemma3_prepare(json_t *config, struct error *e)
{
    uint64_t layers = 26, pattern = 6;
    TRY(unwrap_text(config, e));
    TRY(unwrap_rotary(config, e));
    TRY(refuse_unknown(config, e));
    TRY(decoder_rename(config, "hidden_activation", "hidden_act", e));
    if (json_is_array(json_object_get(config, "layer_types")))
        return 0;
    TRY(json_get_u64(config, "num_hidden_layers", 1, LIMIT_LAYERS, &layers, e));
    TRY(json_get_u64(config, "sliding_window_pattern", 1, LIMIT_LAYERS, &pattern, e));
    json_t *types = json_array();
    for (uint64_t i = 1; i <= layers; i++)
        json_array_append_new(types, json_string(i % pattern ? "sliding_attention" : "full_attention"));
    return json_object_set_new(config, "layer_types", types) < 0 ? error_no_memory(e) : 0;
}

static int gemma3_finish(const json_t *config, json_t *out, struct error *e)
{
    double scalar = 256, base = 10000;
    TRY(json_get_double(config, "query_pre_attn_scalar", &scalar, e));
    TRY(json_get_double(config, "rope_local_base_freq", &base, e));
    if (!(scalar > 0))
        return error_set(e, ERROR_BAD_FORMAT, "query_pre_attn_scalar is %g; it must be positive", scalar);
    TRY(names_put(out, "gemma3", "attention.scale", json_real(1 / sqrt(scalar)), e));
    return names_put(out, "gemma3", "rope.freq_base_swa", json_real(base), e);
}

static int gemma3_translate(const struct checkpoint *c, json_t *out, struct error *e)
{
    static const struct decoder_words words = {
        .arch = "gemma3",
        .defaults = "{\"hidden_size\": 2304, \"intermediate_size\": 9216, \"num_hidden_layers\": 26, "
                    "\"num_attention_heads\": 8, \"num_key_value_heads\": 4, \"head_dim\": 256, "
                    "\"hidden_act\": \"gelu_pytorch_tanh\", \"max_position_embeddings\": 131072, "
                    "\"rms_norm_eps\": 1e-6, \"tie_word_embeddings\": true, \"sliding_window\": 4096, "
                    "\"rope_theta\": 1000000.0}",
        .rotary = true,
        .prepare = gemma3_prepare,
        .finish = gemma3_finish};
    return decoder_translate(&words, c, out, e);
}

static const struct tensor_name tensors[] = {
    {"token_embd.weight", "embed_tokens.weight", CHANGE_NONE},
    {"output_norm.weight", "norm.weight", CHANGE_PLUS_ONE},
    {"output.weight", "lm_head.weight", CHANGE_NONE},
    DECODER_LAYER("attn_norm", "input_layernorm", CHANGE_PLUS_ONE),
    DECODER_LAYER("attn_q", "self_attn.q_proj", CHANGE_NONE),
    DECODER_LAYER("attn_k", "self_attn.k_proj", CHANGE_NONE),
    DECODER_LAYER("attn_v", "self_attn.v_proj", CHANGE_NONE),
    DECODER_LAYER("attn_output", "self_attn.o_proj", CHANGE_NONE),
    DECODER_LAYER("attn_q_norm", "self_attn.q_norm", CHANGE_PLUS_ONE),
    DECODER_LAYER("attn_k_norm", "self_attn.k_norm", CHANGE_PLUS_ONE),
    DECODER_LAYER("post_attention_norm", "post_attention_layernorm", CHANGE_PLUS_ONE),
    DECODER_LAYER("ffn_norm", "pre_feedforward_layernorm", CHANGE_PLUS_ONE),
    DECODER_LAYER("ffn_gate", "mlp.gate_proj", CHANGE_NONE),
    DECODER_LAYER("ffn_up", "mlp.up_proj", CHANGE_NONE),
    DECODER_LAYER("ffn_down", "mlp.down_proj", CHANGE_NONE),
    DECODER_LAYER("post_ffw_norm", "post_feedforward_layernorm", CHANGE_PLUS_ONE),
    {0},
};

static const struct naming namings[] = {
    {.dialect = DIALECT_TRANSFORMERS,
     .types = (const char *const[]){"gemma3_text", "gemma3", NULL},
     .prefixes = (const char *const[]){"model.", "", "language_model.model.", "language_model.",
                                       "model.language_model.", NULL},
     .tensors = tensors,
     .translate = gemma3_translate},
    {0},
};

const struct arch arch_gemma3 = {
    .name = "gemma3",
    .namings = namings,
    .shape = gemma3_shape,
    .load = gemma3_load,
    .forward = decoder_forward,
    .logits = decoder_logits,
    .free = decoder_model_free,
};
