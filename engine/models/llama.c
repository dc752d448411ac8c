/* llama.c - Llama 1-3 and what shares their shape (SmolLM2, TinyLlama, …): Touvron et al., 2023; and Mistral:
 * Jiang et al., 2023, which GGUF calls llama too: the same with a sliding window.  Pre-norm RMSNorm, rotary
 * positions in interleaved pairs (GGUF permutes query and key rows for it), grouped-query attention, SwiGLU;
 * optional biases; the head is its own tensor or the token embedding.  Called through its row in arch.c;
 * threads as in arch.h. */
#include "engine/models/decoder.h"

static const struct decoder_family family = {
    .rotary = true, .interleaved = true, .activation = ACTIVATION_SILU, .expects = DECODER_GATE};

static int llama_shape(const struct checkpoint *c, struct model_shape *out, struct error *e)
{
    return decoder_shape(&family, c, out, e);
}

static int llama_load(const struct checkpoint *c, struct exec *x, size_t context, enum dtype kv_dtype,
                      struct model **out, struct error *e)
{
    return decoder_load(&family, c, x, context, kv_dtype, out, e);
}

/* ---- config.json ------------------------------------------------------------------------------------ */

static int llama_prepare(json_t *config, struct error *e)
{
    (void)e;
    json_object_del(config, "sliding_window"); /* transformers' Llama has none, whatever is written */
    json_object_del(config, "layer_types");
    return 0;
}

static int mistral_prepare(json_t *config, struct error *e)
{
    (void)e;
    json_object_del(config, "layer_types"); /* the window is that of all layers */
    return 0;
}

/* The order of rows that GGUF wants knows only heads that turn as a whole. */
static int finish(const json_t *config, json_t *out, struct error *e)
{
    (void)config;
    const json_t *n_rot = json_object_get(out, "llama.rope.dimension_count");
    const json_t *head_dim = json_object_get(out, "llama.attention.key_length");
    json_int_t whole = head_dim ? json_integer_value(head_dim)
                                : json_integer_value(json_object_get(out, "llama.embedding_length")) /
                                      json_integer_value(json_object_get(out, "llama.attention.head_count"));
    if (json_integer_value(n_rot) != whole)
        return error_set(e, ERROR_UNSUPPORTED, "partial_rotary_factor is not supported for this family");
    return 0;
}

static int llama_translate(const struct checkpoint *c, json_t *out, struct error *e)
{
    static const struct decoder_words words = {
        .arch = "llama",
        .defaults = "{\"rms_norm_eps\": 1e-6, \"hidden_act\": \"silu\", \"max_position_embeddings\": 2048}",
        .rotary = true,
        .prepare = llama_prepare,
        .finish = finish};
    return decoder_translate(&words, c, out, e);
}

static int mistral_translate(const struct checkpoint *c, json_t *out, struct error *e)
{
    static const struct decoder_words words = {
        .arch = "llama",
        .defaults = "{\"rms_norm_eps\": 1e-6, \"hidden_act\": \"silu\", \"max_position_embeddings\": 131072, "
                    "\"num_key_value_heads\": 8, \"sliding_window\": 4096}",
        .rotary = true,
        .prepare = mistral_prepare,
        .finish = finish};
    return decoder_translate(&words, c, out, e);
}

static const struct tensor_name tensors[] = {
    {"token_embd.weight", "embed_tokens.weight", CHANGE_NONE},
    {"output_norm.weight", "norm.weight", CHANGE_NONE},
    {"output.weight", "lm_head.weight", CHANGE_NONE},
    DECODER_LAYER("attn_norm", "input_layernorm", CHANGE_NONE),
    DECODER_LAYER("attn_q", "self_attn.q_proj", CHANGE_ROTARY_PAIRS),
    DECODER_LAYER("attn_k", "self_attn.k_proj", CHANGE_ROTARY_PAIRS_KV),
    DECODER_LAYER("attn_v", "self_attn.v_proj", CHANGE_NONE),
    DECODER_LAYER("attn_output", "self_attn.o_proj", CHANGE_NONE),
    DECODER_LAYER("ffn_norm", "post_attention_layernorm", CHANGE_NONE),
    DECODER_LAYER("ffn_gate", "mlp.gate_proj", CHANGE_NONE),
    DECODER_LAYER("ffn_up", "mlp.up_proj", CHANGE_NONE),
    DECODER_LAYER("ffn_down", "mlp.down_proj", CHANGE_NONE),
    {0},
};

static const char *const prefixes[] = {"model.", "", NULL};

static const struct naming namings[] = {
    {.dialect = DIALECT_TRANSFORMERS,
     .types = (const char *const[]){"llama", NULL},
     .prefixes = prefixes,
     .tensors = tensors,
     .translate = llama_translate},
    {.dialect = DIALECT_TRANSFORMERS,
     .types = (const char *const[]){"mistral", NULL},
     .prefixes = prefixes,
     .tensors = tensors,
     .translate = mistral_translate},
    {0},
};

const struct arch arch_llama = {
    .name = "llama",
    .namings = namings,
    .shape = llama_shape,
    .load = llama_load,
    .forward = decoder_forward,
    .logits = decoder_logits,
    .free = decoder_model_free,
};
