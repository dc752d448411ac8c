/* names_translate.c - hyperparameters of transformers' config.json in GGUF's words, as far as several
 * families share them.  Families call these from their naming's translate(); see names.h. The keys:
 * transformers' configuration classes; GGUF's: its specification and llama.cpp's converter. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "engine/base/json.h"
#include "engine/models/names.h"

/* ---- writing ---------------------------------------------------------------------------------- */

static int put(json_t *out, const char *key, json_t *value_take, struct error *e)
{
    if (!value_take || json_object_set_new(out, key, value_take) < 0)
        return error_no_memory(e);
    return 0;
}

int names_put(json_t *out, const char *arch, const char *key, json_t *value, struct error *e)
{
    char name[192];
    snprintf(name, sizeof name, "%s.%s", arch, key);
    return put(out, name, value, e);
}

int names_put_tensor(json_t *out, const char *gguf, const json_t *numbers, struct error *e)
{
    json_t *tensors = json_object_get(out, "names.tensors");
    if (!tensors) {
        tensors = json_object();
        TRY(put(out, "names.tensors", tensors, e));
    }
    for (size_t i = 0; i < json_array_size(numbers); i++) {
        if (!json_is_number(json_array_get(numbers, i)))
            return error_set(e, ERROR_BAD_FORMAT, "the list for %s holds something that is no number", gguf);
    }
    if (!json_is_array(numbers) || json_array_size(numbers) == 0)
        return error_set(e, ERROR_BAD_FORMAT, "%s must be made of a list of numbers", gguf);
    return put(tensors, gguf, json_deep_copy(numbers), e);
}

int names_put_inferred(json_t *out, const char *sentence, struct error *e)
{
    const char *before = json_string_value(json_object_get(out, "general.inferred"));
    return put(out, "general.inferred",
               json_sprintf("%s%s%s", before ? before : "", before ? " " : "", sentence), e);
}

/* The value, or NULL when it is absent or null. */
static json_t *member(const json_t *object, const char *key)
{
    json_t *value = key ? json_object_get(object, key) : NULL;
    return json_is_null(value) ? NULL : value;
}

int names_copy_keys(const struct checkpoint *c, const char *arch, const struct key_name *keys, size_t n,
                    json_t *out, struct error *e)
{
    for (size_t i = 0; i < n; i++) {
        json_t *value = member(c->config, keys[i].other);
        value = value ? value : member(c->config, keys[i].also);
        if (!value)
            continue;
        if (!json_is_number(value) && !json_is_string(value) && !json_is_boolean(value))
            return error_set(e, ERROR_BAD_FORMAT, "%s must be a number, a text or a truth value",
                             keys[i].other);
        TRY(names_put(out, arch, keys[i].gguf, json_incref(value), e));
    }
    return 0;
}

/* ---- activations ------------------------------------------------------------------------------- */

bool activation_find(const char *name, enum activation *out)
{
    static const struct {
        const char *name;
        enum activation activation;
    } names[] = {
        {"relu", ACTIVATION_RELU},
        {"gelu", ACTIVATION_GELU},
        {"gelu_python", ACTIVATION_GELU},
        {"gelu_tanh", ACTIVATION_GELU_TANH},
        {"gelu_new", ACTIVATION_GELU_TANH},
        {"gelu_fast", ACTIVATION_GELU_TANH},
        {"gelu_pytorch_tanh", ACTIVATION_GELU_TANH},
        {"silu", ACTIVATION_SILU},
        {"swish", ACTIVATION_SILU},
        {"tanh", ACTIVATION_TANH},
        {"sigmoid", ACTIVATION_SIGMOID},
    };
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (strcmp(names[i].name, name) == 0) {
            *out = names[i].activation;
            return true;
        }
    }
    return false;
}

int names_translate_activation(const struct checkpoint *c, const char *arch, const char *key,
                               const char *fallback, json_t *out, struct error *e)
{
    enum activation found;
    const json_t *value = member(c->config, key);
    if (value && !json_is_string(value))
        return error_set(e, ERROR_BAD_FORMAT, "%s must be the name of an activation", key);
    const char *name = value ? json_string_value(value) : fallback;
    if (!activation_find(name, &found))
        return error_set(e, ERROR_UNSUPPORTED, "%s \"%.60s\" is not supported", key, name);
    return names_put(out, arch, "activation", json_string(name), e);
}

/* ---- rotary positions -------------------------------------------------------------------------- */

static int number_of(const json_t *object, const char *key, double fallback, double *out, struct error *e)
{
    const json_t *value = member(object, key);
    *out = value ? json_number_value(value) : fallback;
    if (value && (!json_is_number(value) || !isfinite(*out)))
        return error_set(e, ERROR_BAD_FORMAT, "%s must be a number", key);
    return 0;
}

static int positive_of(const json_t *object, const char *key, double fallback, double *out, struct error *e)
{
    TRY(number_of(object, key, fallback, out, e));
    if (!(*out > 0))
        return error_set(e, ERROR_BAD_FORMAT, "%s is %g; it must be given and positive", key, *out);
    return 0;
}

static int rotated_dimensions(const struct checkpoint *c, const json_t *rope, size_t *out, struct error *e)
{
    double hidden, heads, head_dim, part;
    TRY(positive_of(c->config, "hidden_size", 0, &hidden, e));
    TRY(positive_of(c->config, "num_attention_heads", 0, &heads, e));
    TRY(positive_of(c->config, "head_dim", floor(hidden / heads), &head_dim, e));
    TRY(positive_of(c->config, "partial_rotary_factor", 1, &part, e));
    TRY(positive_of(rope, "partial_rotary_factor", part, &part, e));
    if (head_dim > 65536 || part > 1)
        return error_set(e, ERROR_BAD_FORMAT, "head_dim %g with partial_rotary_factor %g is not possible",
                         head_dim, part);
    *out = (size_t)(head_dim * part);
    return 0;
}

/* Divisors of the frequencies, as Llama 3.1 defines them: long waves are stretched, short ones kept. */
static int put_llama3_factors(const struct checkpoint *c, const json_t *rope, double base, json_t *out,
                              struct error *e)
{
    double factor, low, high, original;
    size_t n_rot = 0;
    TRY(positive_of(rope, "factor", 0, &factor, e));
    TRY(positive_of(rope, "low_freq_factor", 1, &low, e));
    TRY(positive_of(rope, "high_freq_factor", 4, &high, e));
    TRY(positive_of(rope, "original_max_position_embeddings", 8192, &original, e));
    TRY(rotated_dimensions(c, rope, &n_rot, e));
    if (!(high > low))
        return error_set(e, ERROR_BAD_FORMAT, "high_freq_factor %g must be above low_freq_factor %g", high,
                         low);
    json_t *factors = json_array();
    for (size_t i = 0; factors && i < n_rot / 2; i++) {
        double wave = 2 * acos(-1) * pow(base, 2.0 * (double)i / (double)n_rot), divisor = 1;
        if (wave > original / low) {
            divisor = factor;
        } else if (wave > original / high) {
            double smooth = (original / wave - low) / (high - low);
            divisor = 1 / ((1 - smooth) / factor + smooth);
        }
        json_array_append_new(factors, json_real(divisor));
    }
    int status = factors ? names_put_tensor(out, "rope_freqs.weight", factors, e) : error_no_memory(e);
    json_decref(factors);
    return status;
}

/* YaRN's growth of attention with the stretch of the context. */
static double yarn_magnitude(double factor, double scale)
{
    return factor > 1 ? 0.1 * scale * log(factor) + 1 : 1;
}

/* GGUF's attn_factor multiplies the usual magnitude, transformers' attention_factor replaces it. */
static int put_yarn(const char *arch, const json_t *rope, double context, json_t *out, struct error *e)
{
    double factor, original, attention, scale = 1, scale_all = 1, fast, slow;
    TRY(positive_of(rope, "original_max_position_embeddings", context, &original, e));
    TRY(positive_of(rope, "factor", context / original, &factor, e));
    if (json_is_false(member(rope, "truncate")))
        return error_set(e, ERROR_UNSUPPORTED, "YaRN without truncate is not supported");
    if (member(rope, "mscale") && member(rope, "mscale_all_dim")) {
        TRY(positive_of(rope, "mscale", 1, &scale, e));
        TRY(positive_of(rope, "mscale_all_dim", 1, &scale_all, e));
        attention = yarn_magnitude(factor, scale) / yarn_magnitude(factor, scale_all);
    } else {
        attention = yarn_magnitude(factor, 1);
    }
    TRY(positive_of(rope, "attention_factor", attention, &attention, e));
    TRY(positive_of(rope, "beta_fast", 32, &fast, e));
    TRY(positive_of(rope, "beta_slow", 1, &slow, e));
    TRY(names_put(out, arch, "rope.scaling.attn_factor", json_real(attention / yarn_magnitude(factor, 1)),
                  e));
    TRY(names_put(out, arch, "rope.scaling.yarn_beta_fast", json_real(fast), e));
    TRY(names_put(out, arch, "rope.scaling.yarn_beta_slow", json_real(slow), e));
    TRY(names_put(out, arch, "rope.scaling.type", json_string("yarn"), e));
    TRY(names_put(out, arch, "rope.scaling.original_context_length", json_integer((json_int_t)original), e));
    return names_put(out, arch, "rope.scaling.factor", json_real(factor), e);
}

/* Phi-3's: two lists of divisors, one up to the original context and one beyond. */
static int put_longrope(const struct checkpoint *c, const char *arch, const json_t *rope, double context,
                        json_t *out, struct error *e)
{
    double original, factor, attention;
    TRY(positive_of(rope, "original_max_position_embeddings", context, &original, e));
    TRY(positive_of(c->config, "original_max_position_embeddings", original, &original, e)); /* it wins */
    TRY(positive_of(rope, "factor", context / original, &factor, e));
    double usual = factor > 1 ? sqrt(1 + log(factor) / log(original)) : 1;
    TRY(positive_of(rope, "attention_factor", usual, &attention, e));
    TRY(names_put_tensor(out, "rope_factors_long.weight", member(rope, "long_factor"), e));
    TRY(names_put_tensor(out, "rope_factors_short.weight", member(rope, "short_factor"), e));
    TRY(names_put(out, arch, "rope.scaling.attn_factor", json_real(attention), e));
    return names_put(out, arch, "rope.scaling.original_context_length", json_integer((json_int_t)original),
                     e);
}

int names_translate_rotary(const struct checkpoint *c, const char *arch, json_t *out, struct error *e)
{
    const json_t *rope = member(c->config, "rope_parameters");
    double base, context, factor;
    rope = rope ? rope : member(c->config, "rope_scaling");
    if (rope && !json_is_object(rope))
        return error_set(e, ERROR_BAD_FORMAT, "rope_scaling must be an object");
    TRY(positive_of(c->config, "rope_theta", 10000, &base, e));
    TRY(positive_of(rope, "rope_theta", base, &base, e));
    TRY(positive_of(c->config, "max_position_embeddings", 2048, &context, e));
    TRY(names_put(out, arch, "rope.freq_base", json_real(base), e));
    const json_t *type = member(rope, "rope_type") ? member(rope, "rope_type") : member(rope, "type");
    const char *name = type ? json_string_value(type) : "default";
    if (!name)
        return error_set(e, ERROR_BAD_FORMAT, "rope_type must be a text");
    if (strcmp(name, "default") == 0)
        return 0;
    if (strcmp(name, "llama3") == 0)
        return put_llama3_factors(c, rope, base, out, e);
    if (strcmp(name, "yarn") == 0)
        return put_yarn(arch, rope, context, out, e);
    if (strcmp(name, "longrope") == 0 || strcmp(name, "su") == 0)
        return put_longrope(c, arch, rope, context, out, e);
    if (strcmp(name, "linear") != 0)
        return error_set(e, ERROR_UNSUPPORTED,
                         "rope_type \"%.60s\" is not supported (default, linear, llama3, yarn, longrope are)",
                         name);
    TRY(positive_of(rope, "factor", 0, &factor, e));
    TRY(names_put(out, arch, "rope.scaling.type", json_string("linear"), e));
    return names_put(out, arch, "rope.scaling.factor", json_real(factor), e);
}

/* ---- what every checkpoint may say -------------------------------------------------------------- */

/* generation_config.json first, then config.json. */
static json_t *generation_member(const struct checkpoint *c, const char *key)
{
    json_t *value = c->generation ? member(c->generation, key) : NULL;
    return value ? value : member(c->config, key);
}

/* suppress_tokens, begun with the bad words that are one token; longer bad words can't be kept from coming.
 */
static int put_suppressed(const struct checkpoint *c, json_t *out, struct error *e)
{
    const json_t *suppressed = generation_member(c, "suppress_tokens");
    const json_t *bad = generation_member(c, "bad_words_ids");
    json_t *list = json_is_array(suppressed) ? json_copy((json_t *)(uintptr_t)suppressed) : json_array();
    const json_t *word;
    size_t i;
    json_array_foreach(bad, i, word)
    {
        if (json_array_size(word) == 1)
            json_array_append(list, json_array_get(word, 0));
        else {
            json_decref(list);
            return error_set(e, ERROR_UNSUPPORTED, "bad_words_ids of several tokens are not supported");
        }
    }
    if (json_array_size(list) > 0)
        return put(out, "generation.suppress_tokens", list, e);
    json_decref(list);
    return 0;
}

static int translate_generation(const struct checkpoint *c, json_t *out, struct error *e)
{
    static const char *const same[] = {"decoder_start_token_id", "forced_bos_token_id", "forced_eos_token_id",
                                       "no_repeat_ngram_size",   "num_beams",           "length_penalty",
                                       "early_stopping",         "max_new_tokens",      "max_length"};
    json_t *ends = generation_member(c, "eos_token_id");
    if (ends)
        TRY(put(out, "generation.eos_token_ids", json_incref(ends), e));
    for (size_t i = 0; i < sizeof same / sizeof same[0]; i++) {
        char key[64];
        json_t *value = generation_member(c, same[i]);
        snprintf(key, sizeof key, "generation.%s", same[i]);
        if (value)
            TRY(put(out, key, json_incref(value), e));
    }
    json_t *tasks = member(c->config, "task_specific_params");
    if (json_is_object(tasks))
        TRY(put(out, "generation.task_specific_params", json_incref(tasks), e));
    return put_suppressed(c, out, e);
}

static bool ends_with(const char *text, const char *end)
{
    size_t n = strlen(text), m = strlen(end);
    return n >= m && strcmp(text + n - m, end) == 0;
}

static int translate_head(const struct checkpoint *c, const char *arch, json_t *out, struct error *e)
{
    static const char *const heads[][2] = {
        {"ForCausalLM", "causal"},
        {"LMHeadModel", "causal"},
        {"ForMaskedLM", "masked"},
        {"ForSequenceClassification", "sequence"},
        {"ForTokenClassification", "token"},
        {"ForQuestionAnswering", "span"},
        {"ForConditionalGeneration", "seq2seq"},
        {"MTModel", "seq2seq"},
        {"ForPreTraining", "masked"},
        {"EncoderModel", "encoder"},
        {"Model", "none"},
    };
    const json_t *list = member(c->config, "architectures");
    const char *name = json_string_value(json_array_get(list, 0));
    if (!name)
        return 0;
    for (size_t i = 0; i < sizeof heads / sizeof heads[0]; i++) {
        if (ends_with(name, heads[i][0]))
            return names_put(out, arch, "head", json_string(heads[i][1]), e);
    }
    return error_set(e, ERROR_UNSUPPORTED, "the model class %.100s has a head that is not supported", name);
}

/* id2label {"0": "NEG", …} in order of the numbers; without it, num_labels of LABEL_i. */
static int translate_labels(const struct checkpoint *c, const char *arch, json_t *out, struct error *e)
{
    const json_t *map = member(c->config, "id2label");
    uint64_t n = json_object_size(map);
    if (!map)
        TRY(json_get_u64(c->config, "num_labels", 1, 65536, &n, e));
    if (n == 0)
        return 0;
    json_t *labels = json_array();
    for (uint64_t i = 0; labels && i < n; i++) {
        char key[24];
        snprintf(key, sizeof key, "%llu", (unsigned long long)i);
        json_t *name = map ? json_object_get(map, key) : NULL;
        if (map && !json_is_string(name)) {
            json_decref(labels);
            return error_set(e, ERROR_BAD_FORMAT, "id2label has no text for \"%s\"", key);
        }
        json_array_append_new(labels, map ? json_incref(name) : json_sprintf("LABEL_%s", key));
    }
    TRY(names_put(out, arch, "classifier.output_labels", labels, e));
    const char *problem = json_string_value(member(c->config, "problem_type"));
    if (!problem)
        problem = n == 1 ? "regression" : "single_label_classification";
    return names_put(out, arch, "classifier.problem", json_string(problem), e);
}

static int translate_pooling(const struct checkpoint *c, const char *arch, json_t *out, struct error *e)
{
    const json_t *pooling = json_object_get(c->pooling, "pooling");
    const json_t *normalize = json_object_get(c->pooling, "normalize");
    if (pooling)
        TRY(names_put(out, arch, "pooling", json_incref((json_t *)(uintptr_t)pooling), e));
    return normalize ? names_put(out, arch, "normalize", json_incref((json_t *)(uintptr_t)normalize), e) : 0;
}

int names_translate_common(const struct checkpoint *c, const char *arch, json_t *out, struct error *e)
{
    static const struct key_name keys[] = {{"vocab_size", "vocab_size", NULL},
                                           {"context_length", "max_position_embeddings", "n_positions"}};
    if (c->name)
        TRY(put(out, "general.name", json_string(c->name), e));
    TRY(names_copy_keys(c, arch, keys, sizeof keys / sizeof keys[0], out, e));
    TRY(translate_head(c, arch, out, e));
    TRY(translate_labels(c, arch, out, e));
    TRY(translate_pooling(c, arch, out, e));
    return translate_generation(c, out, e);
}
