/* decoder_names.c - config.json of a decoder-only model in GGUF's words: what all these families say alike.
 * Their own words are brought into Llama's first (decoder_words.prepare), so that there is one place for
 * limits and messages.  Called by names.c through the families' namings; any thread. */
#include <string.h>

#include "engine/base/json.h"
#include "engine/models/decoder.h"

int decoder_rename(json_t *config, const char *own, const char *common, struct error *e)
{
    json_t *value = json_object_get(config, own);
    if (value && !json_object_get(config, common) && json_object_set(config, common, value) < 0)
        return error_no_memory(e);
    return 0;
}

/* The whole numbers, with what is possible. */
static int put_sizes(const json_t *config, const char *arch, json_t *out, struct error *e)
{
    static const struct {
        const char *gguf, *common;
        uint64_t max;
        bool needed;
    } rows[] = {
        {"block_count", "num_hidden_layers", LIMIT_LAYERS, true},
        {"embedding_length", "hidden_size", LIMIT_DIMENSION_SIZE, true},
        {"feed_forward_length", "intermediate_size", LIMIT_DIMENSION_SIZE, true},
        {"attention.head_count", "num_attention_heads", 4096, true},
        {"attention.head_count_kv", "num_key_value_heads", 4096, false},
        {"attention.key_length", "head_dim", 4096, false},
        {"attention.value_length", "head_dim", 4096, false},
        {"context_length", "max_position_embeddings", LIMIT_CONTEXT, true},
        {"vocab_size", "vocab_size", LIMIT_VOCABULARY, false},
        {"attention.sliding_window", "sliding_window", UINT32_MAX, false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        uint64_t value = 0;
        TRY(json_get_u64(config, rows[i].common, 1, rows[i].max, &value, e));
        if (value == 0 && rows[i].needed)
            return error_set(e, ERROR_BAD_FORMAT, "%s is missing", rows[i].common);
        if (value > 0)
            TRY(names_put(out, arch, rows[i].gguf, json_integer((json_int_t)value), e));
    }
    return 0;
}

static int check_heads(const json_t *config, struct error *e)
{
    uint64_t hidden = 0, heads = 1, head_dim = 0;
    TRY(json_get_u64(config, "hidden_size", 1, LIMIT_DIMENSION_SIZE, &hidden, e));
    TRY(json_get_u64(config, "num_attention_heads", 1, 4096, &heads, e));
    TRY(json_get_u64(config, "head_dim", 1, 4096, &head_dim, e));
    if (head_dim == 0 && hidden % heads != 0)
        return error_set(e, ERROR_BAD_FORMAT, "hidden_size %llu is no multiple of num_attention_heads %llu",
                         (unsigned long long)hidden, (unsigned long long)heads);
    return 0;
}

static int put_epsilon(const struct decoder_words *w, const json_t *config, json_t *out, struct error *e)
{
    const char *common = w->layer_norm ? "layer_norm_eps" : "rms_norm_eps";
    double value = -1;
    TRY(json_get_double(config, common, &value, e));
    if (!(value >= 0) || value > 1)
        return error_set(e, ERROR_BAD_FORMAT, "%s is %g; it must lie between 0 and 1", common, value);
    return names_put(out, w->arch,
                     w->layer_norm ? "attention.layer_norm_epsilon" : "attention.layer_norm_rms_epsilon",
                     json_real(value), e);
}

/* How much of a head turns. */
static int put_rotary(const struct decoder_words *w, const struct checkpoint *c, json_t *out, struct error *e)
{
    double part = 1;
    uint64_t hidden = 0, heads = 1, head_dim;
    const json_t *rope = json_object_get(c->config, "rope_parameters");
    rope = json_is_object(rope) ? rope : json_object_get(c->config, "rope_scaling");
    TRY(names_translate_rotary(c, w->arch, out, e));
    TRY(json_get_double(c->config, "partial_rotary_factor", &part, e));
    if (json_is_object(rope))
        TRY(json_get_double(rope, "partial_rotary_factor", &part, e));
    if (!(part > 0) || part > 1)
        return error_set(e, ERROR_BAD_FORMAT, "partial_rotary_factor is %g; it must be above 0 and at most 1",
                         part);
    TRY(json_get_u64(c->config, "hidden_size", 1, LIMIT_DIMENSION_SIZE, &hidden, e));
    TRY(json_get_u64(c->config, "num_attention_heads", 1, 4096, &heads, e));
    head_dim = hidden / heads;
    TRY(json_get_u64(c->config, "head_dim", 1, 4096, &head_dim, e));
    return names_put(out, w->arch, "rope.dimension_count",
                     json_integer((json_int_t)((double)head_dim * part)), e);
}

/* layer_types: "sliding_attention" or "full_attention" for each layer. */
static int put_layer_types(const char *arch, const json_t *types, json_t *out, struct error *e)
{
    json_t *list = json_array();
    size_t i;
    const json_t *type;
    json_array_foreach(types, i, type)
    {
        const char *name = json_string_value(type);
        bool sliding = name && strcmp(name, "sliding_attention") == 0;
        if (!sliding && (!name || strcmp(name, "full_attention") != 0)) {
            json_decref(list);
            return error_set(e, ERROR_UNSUPPORTED, "layer_types: \"%.60s\" is not supported",
                             name ? name : "(no text)");
        }
        json_array_append_new(list, json_boolean(sliding));
    }
    return names_put(out, arch, "attention.sliding_window_pattern", list, e);
}

static int translate_common(const struct decoder_words *w, const struct checkpoint *c, json_t *out,
                            struct error *e)
{
    bool tied = false;
    const json_t *types = json_object_get(c->config, "layer_types");
    const json_t *quantized = json_object_get(c->config, "quantization_config");
    if (json_is_object(quantized)) {
        const char *method = json_string_value(json_object_get(quantized, "quant_method"));
        return error_set(e, ERROR_UNSUPPORTED, "weights quantised by \"%.60s\" are not supported",
                         method ? method : "a method that is not named");
    }
    TRY(put_sizes(c->config, w->arch, out, e));
    TRY(check_heads(c->config, e));
    TRY(put_epsilon(w, c->config, out, e));
    if (w->rotary)
        TRY(put_rotary(w, c, out, e));
    TRY(names_translate_activation(c, w->arch, "hidden_act", "silu", out, e));
    if (json_is_array(types))
        TRY(put_layer_types(w->arch, types, out, e));
    TRY(json_get_bool(c->config, "tie_word_embeddings", &tied, e));
    TRY(names_put(out, w->arch, "tie_word_embeddings", json_boolean(tied), e));
    TRY(names_translate_common(c, w->arch, out, e));
    return w->finish ? w->finish(c->config, out, e) : 0;
}

int decoder_translate(const struct decoder_words *w, const struct checkpoint *c, json_t *out, struct error *e)
{
    json_t *config = json_deep_copy(c->config), *defaults = NULL;
    struct checkpoint prepared = *c;
    prepared.config = config;
    int status = config ? json_parse(w->defaults, strlen(w->defaults), &defaults, e) : error_no_memory(e);
    if (status == 0 && w->prepare)
        status = w->prepare(config, e);
    if (status == 0 && json_object_update_missing(config, defaults) < 0)
        status = error_no_memory(e);
    if (status == 0)
        status = translate_common(w, &prepared, out, e);
    json_decref(defaults);
    json_decref(config);
    return status;
}
