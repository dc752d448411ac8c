/* gpt2.c - GPT-2: Radford et al., 2019.  Pre-norm LayerNorm, learned positions, query, key and value in one
 * matrix, a plain feed forward, the token embedding as head.  Called through its row in arch.c; threads as in
 * arch.h. */
#include "engine/base/json.h"
#include "engine/models/decoder.h"

static const struct decoder_family family = {
    .layer_norm = true, .learned_positions = true, .activation = ACTIVATION_GELU_TANH};

static int gpt2_shape(const struct checkpoint *c, struct model_shape *out, struct error *e)
{
    return decoder_shape(&family, c, out, e);
}

static int gpt2_load(const struct checkpoint *c, struct exec *x, size_t context, enum dtype kv_dtype,
                     struct model **out, struct error *e)
{
    return decoder_load(&family, c, x, context, kv_dtype, out, e);
}

/* ---- config.json ------------------------------------------------------------------------------------ */

static int gpt2_prepare(json_t *config, struct error *e)
{
    static const char *const words[][2] = {{"n_embd", "hidden_size"},
                                           {"n_layer", "num_hidden_layers"},
                                           {"n_head", "num_attention_heads"},
                                           {"n_positions", "max_position_embeddings"},
                                           {"n_inner", "intermediate_size"},
                                           {"layer_norm_epsilon", "layer_norm_eps"},
                                           {"activation_function", "hidden_act"}};
    uint64_t embedding = 0;
    bool cross = false;
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
        TRY(decoder_rename(config, words[i][0], words[i][1], e));
    TRY(json_get_bool(config, "add_cross_attention", &cross, e));
    if (cross)
        return error_set(e, ERROR_UNSUPPORTED, "add_cross_attention is not supported");
    TRY(json_get_u64(config, "hidden_size", 1, LIMIT_DIMENSION_SIZE / 4, &embedding, e));
    if (embedding && !json_is_integer(json_object_get(config, "intermediate_size")) &&
        json_object_set_new(config, "intermediate_size", json_integer((json_int_t)(4 * embedding))) < 0)
        return error_no_memory(e);
    return 0;
}

static int gpt2_finish(const json_t *config, json_t *out, struct error *e)
{
    bool scaled = true, by_layer = false;
    TRY(json_get_bool(config, "scale_attn_weights", &scaled, e));
    TRY(json_get_bool(config, "scale_attn_by_inverse_layer_idx", &by_layer, e));
    if (!scaled)
        TRY(names_put(out, "gpt2", "attention.scale", json_real(1), e));
    return by_layer ? names_put(out, "gpt2", "attention.scale_by_layer", json_true(), e) : 0;
}

static int gpt2_translate(const struct checkpoint *c, json_t *out, struct error *e)
{
    static const struct decoder_words words = {
        .arch = "gpt2",
        .defaults =
            "{\"layer_norm_eps\": 1e-5, \"hidden_act\": \"gelu_new\", \"max_position_embeddings\": 1024, "
            "\"tie_word_embeddings\": true}",
        .layer_norm = true,
        .prepare = gpt2_prepare,
        .finish = gpt2_finish};
    return decoder_translate(&words, c, out, e);
}

/* Conv1D keeps its matrices the other way round. */
#define CONV1D(gguf, other)     DECODER_ROWS(gguf, "h.%zu." other, CHANGE_TRANSPOSE, CHANGE_NONE)
#define LAYER_NORM(gguf, other) DECODER_ROWS(gguf, "h.%zu." other, CHANGE_NONE, CHANGE_NONE)

static const struct tensor_name tensors[] = {
    {"token_embd.weight", "wte.weight", CHANGE_NONE},
    {"position_embd.weight", "wpe.weight", CHANGE_NONE},
    {"output_norm.weight", "ln_f.weight", CHANGE_NONE},
    {"output_norm.bias", "ln_f.bias", CHANGE_NONE},
    {"output.weight", "lm_head.weight", CHANGE_NONE},
    LAYER_NORM("attn_norm", "ln_1"),
    CONV1D("attn_qkv", "attn.c_attn"),
    CONV1D("attn_output", "attn.c_proj"),
    LAYER_NORM("ffn_norm", "ln_2"),
    CONV1D("ffn_up", "mlp.c_fc"),
    CONV1D("ffn_down", "mlp.c_proj"),
    {0},
};

static const struct naming namings[] = {
    {.dialect = DIALECT_TRANSFORMERS,
     .types = (const char *const[]){"gpt2", NULL},
     .prefixes = (const char *const[]){"transformer.", "", NULL},
     .tensors = tensors,
     .translate = gpt2_translate},
    {0},
};

const struct arch arch_gpt2 = {
    .name = "gpt2",
    .namings = namings,
    .shape = gpt2_shape,
    .load = gpt2_load,
    .forward = decoder_forward,
    .logits = decoder_logits,
    .free = decoder_model_free,
};
