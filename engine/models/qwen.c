/* qwen.c - see qwen.h.  Called by the namings of qwen2.c and qwen3.c; any thread. */
#include "engine/models/qwen.h"

#include "engine/base/json.h"

int qwen_prepare(json_t *config, struct error *e)
{
    uint64_t layers = 0, first = 28;
    bool sliding = false;
    TRY(json_get_bool(config, "use_sliding_window", &sliding, e));
    if (!sliding) {
        json_object_del(config, "sliding_window");
        json_object_del(config, "layer_types");
        return 0;
    }
    if (json_is_array(json_object_get(config, "layer_types")))
        return 0;
    TRY(json_get_u64(config, "num_hidden_layers", 1, LIMIT_LAYERS, &layers, e));
    TRY(json_get_u64(config, "max_window_layers", 0, UINT32_MAX, &first, e));
    json_t *types = json_array();
    for (uint64_t i = 0; i < layers; i++)
        json_array_append_new(types, json_string(i >= first ? "sliding_attention" : "full_attention"));
    return json_object_set_new(config, "layer_types", types) < 0 ? error_no_memory(e) : 0;
}

const struct tensor_name qwen_tensors[] = {
    {"token_embd.weight", "embed_tokens.weight", CHANGE_NONE},
    {"output_norm.weight", "norm.weight", CHANGE_NONE},
    {"output.weight", "lm_head.weight", CHANGE_NONE},
    DECODER_LAYER("attn_norm", "input_layernorm", CHANGE_NONE),
    DECODER_LAYER("attn_q", "self_attn.q_proj", CHANGE_NONE),
    DECODER_LAYER("attn_k", "self_attn.k_proj", CHANGE_NONE),
    DECODER_LAYER("attn_v", "self_attn.v_proj", CHANGE_NONE),
    DECODER_LAYER("attn_output", "self_attn.o_proj", CHANGE_NONE),
    DECODER_LAYER("attn_q_norm", "self_attn.q_norm", CHANGE_NONE),
    DECODER_LAYER("attn_k_norm", "self_attn.k_norm", CHANGE_NONE),
    DECODER_LAYER("ffn_norm", "post_attention_layernorm", CHANGE_NONE),
    DECODER_LAYER("ffn_gate", "mlp.gate_proj", CHANGE_NONE),
    DECODER_LAYER("ffn_up", "mlp.up_proj", CHANGE_NONE),
    DECODER_LAYER("ffn_down", "mlp.down_proj", CHANGE_NONE),
    {0},
};
