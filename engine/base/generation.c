/* generation.c - see generation.h.  Called by the loader, on its thread.  To read another key: a field in the
 * header and a line in generation_rules_read(). */
#include "engine/base/generation.h"

#include <string.h>

#include "engine/base/json.h"

enum { MOST_NGRAM = 1024, MOST_BEAMS = 1 << 16 };
#define MOST_PENALTY 1e6 /* beyond it a power of the length overflows anyway */

void generation_rules_init(struct generation_rules *rules)
{
    memset(rules, 0, sizeof *rules);
    rules->start = rules->forced_bos = rules->forced_eos = -1;
    rules->length_penalty = 1;
}

/* A token id; -1 in files means that there is none. */
static int read_id(const json_t *config, const char *key, size_t vocabulary, int32_t *out, struct error *e)
{
    const json_t *value = json_object_get(config, key);
    if (!value || json_is_null(value))
        return 0;
    if (!json_is_integer(value))
        return error_param(e, ERROR_BAD_FORMAT, key, "%s must be a token id", key);
    json_int_t id = json_integer_value(value);
    if (id < -1 || (id >= 0 && (uint64_t)id >= vocabulary))
        return error_param(e, ERROR_BAD_FORMAT, key, "%s is token %lld, outside the vocabulary of %zu", key,
                           (long long)id, vocabulary);
    *out = (int32_t)id;
    return 0;
}

/* A number or a list of them.  Ids outside the vocabulary can't come, so they say nothing: published
 * configurations keep those of a larger relative. */
static int read_ids(const json_t *config, const char *key, size_t vocabulary, int32_t *ids, size_t most,
                    size_t *n, struct error *e)
{
    const json_t *value = json_object_get(config, key);
    if (!value || json_is_null(value))
        return 0;
    size_t count = json_is_array(value) ? json_array_size(value) : 1;
    for (size_t i = 0; i < count; i++) {
        const json_t *one = json_is_array(value) ? json_array_get(value, i) : value;
        if (!json_is_integer(one))
            return error_param(e, ERROR_BAD_FORMAT, key, "%s must be a token id or a list of them", key);
        json_int_t id = json_integer_value(one);
        if (id < 0 || (uint64_t)id >= vocabulary)
            continue;
        if (*n == most)
            return error_param(e, ERROR_UNSUPPORTED, key, "%s names more than %zu tokens", key, most);
        ids[(*n)++] = (int32_t)id;
    }
    return 0;
}

static int read_u32(const json_t *config, const char *key, uint64_t most, uint32_t *out, struct error *e)
{
    uint64_t value = *out;
    TRY(json_get_u64(config, key, 0, most, &value, e));
    *out = (uint32_t)value;
    return 0;
}

static int read_float(const json_t *config, const char *key, double min, double max, float *out,
                      struct error *e)
{
    double value = (double)*out;
    TRY(json_get_double(config, key, &value, e));
    if (!(value >= min && value <= max))
        return error_param(e, ERROR_BAD_FORMAT, key, "%s must be between %g and %g", key, min, max);
    *out = (float)value;
    return 0;
}

/* true, false, or "never": keep searching, which is what false does but for its estimate of what may come. */
static int read_early_stopping(const json_t *config, struct generation_rules *out, struct error *e)
{
    static const char key[] = "generation.early_stopping";
    const char *text = json_string_value(json_object_get(config, key));
    if (text && strcmp(text, "never") == 0)
        return 0;
    return json_get_bool(config, key, &out->early_stopping, e);
}

int generation_rules_read(const json_t *config, size_t vocabulary, struct generation_rules *out,
                          struct error *e)
{
    generation_rules_init(out);
    TRY(read_ids(config, "generation.eos_token_ids", vocabulary, out->ends, GENERATION_ENDS, &out->n_ends,
                 e));
    TRY(read_ids(config, "generation.suppress_tokens", vocabulary, out->suppressed, GENERATION_SUPPRESSED,
                 &out->n_suppressed, e));
    TRY(read_id(config, "generation.decoder_start_token_id", vocabulary, &out->start, e));
    TRY(read_id(config, "generation.forced_bos_token_id", vocabulary, &out->forced_bos, e));
    TRY(read_id(config, "generation.forced_eos_token_id", vocabulary, &out->forced_eos, e));
    TRY(read_u32(config, "generation.no_repeat_ngram_size", MOST_NGRAM, &out->no_repeat_ngram, e));
    TRY(read_u32(config, "generation.num_beams", MOST_BEAMS, &out->beams, e));
    TRY(read_u32(config, "generation.max_length", UINT32_MAX, &out->max_new_tokens, e));
    TRY(read_u32(config, "generation.max_new_tokens", UINT32_MAX, &out->max_new_tokens, e));
    TRY(read_float(config, "generation.length_penalty", -MOST_PENALTY, MOST_PENALTY, &out->length_penalty,
                   e));
    TRY(read_float(config, "generation.max_length_ratio", 0, MOST_PENALTY, &out->max_length_ratio, e));
    return read_early_stopping(config, out, e);
}
