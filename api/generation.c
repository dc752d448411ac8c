/* generation.c - see generation.h. */
#include "api/generation.h"

#include <stdlib.h>
#include <string.h>

#include "api/ids.h"
#include "engine/base/limits.h"

#define AT(member) offsetof(struct generation_options, member)

static const struct field stream_rows[] = {
    {.name = "include_usage",
     .type = FIELD_BOOL,
     .offset = AT(include_usage),
     .help = "a last chunk without choices that carries the usage of the whole request"},
    FIELD_HARMLESS("include_obfuscation", "has no effect: chunks are never padded"),
};
static const struct field_group stream_groups[] = {FIELD_GROUP(stream_rows, 0)};
const struct field_table generation_stream_table =
    FIELD_TABLE(stream_groups, sizeof(struct generation_options));

/* clang-format off */
const struct field generation_rows[] = {
    {.name = "model", .type = FIELD_STRING, .offset = AT(model),
     .help = "name of a loaded model; absent or \"default\": the first one"},
    {.name = "n", .type = FIELD_INT, .offset = AT(n), .min = 1, .max = LIMIT_CHOICES, .fallback = 1,
     .help = "choices for each prompt"},
    {.name = "temperature", .type = FIELD_NUMBER, .offset = AT(temperature), .given = AT(temperature_given), .min = 0, .max = 2, .fallback = 1,
     .help = "0 always takes the most likely token"},
    {.name = "top_p", .type = FIELD_NUMBER, .offset = AT(top_p), .min = 0, .max = 1, .fallback = 1,
     .help = "only the most likely tokens that together have this probability; 1 = all"},
    {.name = "top_k", .type = FIELD_INT, .offset = AT(top_k), .min = -1, .max = LIMIT_VOCABULARY, .fallback = 0,
     .help = "only this many of the most likely tokens; 0 or -1 = all"},
    {.name = "min_p", .type = FIELD_NUMBER, .offset = AT(min_p), .min = 0, .max = 1, .fallback = 0,
     .help = "only tokens at least this likely relative to the best; 0 = all"},
    {.name = "repetition_penalty", .type = FIELD_NUMBER, .offset = AT(repetition_penalty), .min = 0.01, .max = 10,
     .fallback = 1, .help = "divides the positive logits of tokens in the prompt or the output; 1 = off"},
    {.name = "repeat_penalty", .type = FIELD_ALIAS, .of = "repetition_penalty", .help = "another name"},
    {.name = "presence_penalty", .type = FIELD_NUMBER, .offset = AT(presence_penalty), .min = -2, .max = 2,
     .help = "taken once from the logit of every token in the output"},
    {.name = "frequency_penalty", .type = FIELD_NUMBER, .offset = AT(frequency_penalty), .min = -2, .max = 2,
     .help = "taken from a token's logit for each time it is in the output"},
    {.name = "seed", .type = FIELD_INT, .offset = AT(seed), .given = AT(seed_given), .min = -0x1p63, .max = 0x1p63,
     .help = "the same seed gives the same answer; absent: drawn anew"},
    {.name = "logit_bias", .type = FIELD_JSON, .offset = AT(logit_bias), .kinds = FIELD_KIND_OBJECT,
     .help = "token id to a number from -100 to 100 that is added to its logit"},
    {.name = "stop", .type = FIELD_STRINGS, .offset = AT(stop), .max = LIMIT_STOP_STRINGS,
     .max_bytes = LIMIT_STOP_BYTES, .help = "the answer ends before any of these texts"},
    {.name = "stop_token_ids", .type = FIELD_IDS, .offset = AT(stop_token_ids), .max = LIMIT_STOP_TOKENS,
     .help = "the answer ends at any of these tokens"},
    {.name = "ignore_eos", .type = FIELD_BOOL, .offset = AT(ignore_eos),
     .help = "the checkpoint's end tokens are tokens like others"},
    {.name = "return_token_ids", .type = FIELD_BOOL, .offset = AT(return_token_ids),
     .help = "each choice carries token_ids, its generated tokens; in a stream each chunk its new ones"},
    {.name = "stream", .type = FIELD_BOOL, .offset = AT(stream), .help = "answer as server-sent events"},
    {.name = "stream_options", .type = FIELD_OBJECT, .nested = &generation_stream_table, .help = "only with stream"},
    FIELD_HARMLESS("user", "has no effect: nothing is kept about users"),
    FIELD_HARMLESS("safety_identifier", "has no effect: nothing is kept about users"),
    FIELD_HARMLESS("metadata", "has no effect: answers are not stored"),
    FIELD_HARMLESS("service_tier", "has no effect: there is one tier"),
    FIELD_HARMLESS("prompt_cache_key", "has no effect: equal beginnings of prompts are found without it"),
    FIELD_HARMLESS("prompt_cache_retention", "has no effect: cached prompts stay while there is room"),
    FIELD_HARMLESS("prediction", "has no effect: it could only save time"),
    FIELD_REFUSED("store", "[false]", "answers are not stored"),
};

_Static_assert(FIELD_COUNT(generation_rows) == GENERATION_ROWS, "GENERATION_ROWS is the table's length");

const struct field beam_rows[] = {
    {.name = "beams", .type = FIELD_INT, .offset = AT(beams), .min = 1, .max = LIMIT_BEAMS,
     .help = "beam search with so many hypotheses, of which the n best are told; needs temperature 0 or absent"},
    {.name = "num_beams", .type = FIELD_ALIAS, .of = "beams", .help = "another name"},
    {.name = "length_penalty", .type = FIELD_NUMBER, .offset = AT(length_penalty), .given = AT(length_penalty_given),
     .min = -10, .max = 10, .help = "a hypothesis counts its log probability divided by its length to this power; absent: "
                                    "as the checkpoint says, else 1"},
    {.name = "early_stopping", .type = FIELD_BOOL, .offset = AT(early_stopping), .given = AT(early_stopping_given),
     .help = "the search ends with the first `beams` hypotheses; absent: as the checkpoint says, else false"},
    {.name = "no_repeat_ngram_size", .type = FIELD_INT, .offset = AT(no_repeat_ngram), .given = AT(no_repeat_ngram_given),
     .min = 0, .max = 1024, .help = "no sequence of so many tokens comes twice in an answer; 0 = off; absent: as the "
                                    "checkpoint says"},
};
/* clang-format on */
_Static_assert(FIELD_COUNT(beam_rows) == BEAM_ROWS, "BEAM_ROWS is the table's length");

int generation_find_model(struct api_call *call, const struct engine_text *name, struct engine_model **out,
                          struct error *e)
{
    *out = engine_find_model(call->engine, name->bytes);
    if (*out)
        return 0;
    return error_param(e, ERROR_MODEL_NOT_FOUND, "model", "there is no model named \"%.200s\" here",
                       name->bytes ? name->bytes : "default");
}

int generation_begin(struct api_call *call, const struct generation_options *o, struct engine_model **out,
                     struct error *e)
{
    call->stream = o->stream;
    if (o->include_usage && !o->stream)
        return error_param(e, ERROR_INVALID_REQUEST, "stream_options",
                           "stream_options needs stream to be true");
    return generation_find_model(call, &o->model, out, e);
}

int generation_make_jobs(struct api_call *call, size_t n, struct error *e)
{
    call->jobs = arena_alloc(call->arena, n, sizeof *call->jobs);
    if (!call->jobs)
        return error_no_memory(e);
    call->n_jobs = n;
    return 0;
}

/* 0..vocabulary-1 from decimal digits alone. */
static int parse_token_id(const char *text, size_t vocabulary, int32_t *out)
{
    size_t id = 0, digits = strspn(text, "0123456789");
    if (digits == 0 || digits > 10 || text[digits])
        return -1;
    for (size_t i = 0; i < digits; i++)
        id = id * 10 + (size_t)(text[i] - '0');
    if (id >= vocabulary)
        return -1;
    *out = (int32_t)id;
    return 0;
}

static int read_bias(const json_t *object, size_t vocabulary, struct arena *arena, struct engine_sampling *s,
                     struct error *e)
{
    size_t n = json_object_size(object);
    if (n > LIMIT_LOGIT_BIAS)
        return error_param(e, ERROR_INVALID_REQUEST, "logit_bias", "logit_bias may hold at most %d tokens",
                           LIMIT_LOGIT_BIAS);
    struct engine_logit_bias *bias = arena_alloc(arena, n, sizeof *bias);
    if (!bias)
        return error_no_memory(e);
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)object, key, value)
    {
        struct engine_logit_bias *b = &bias[s->n_bias++];
        double number = json_is_number(value) ? json_number_value(value) : 1000;
        if (parse_token_id(key, vocabulary, &b->token) < 0)
            return error_param(e, ERROR_INVALID_REQUEST, "logit_bias",
                               "logit_bias: \"%.32s\" is no token id of this model (0 to %zu)", key,
                               vocabulary - 1);
        if (!(number >= -100 && number <= 100))
            return error_param(e, ERROR_INVALID_REQUEST, "logit_bias",
                               "logit_bias: the bias of token %.10s must be a number from -100 to 100", key);
        b->bias = (float)number;
    }
    s->bias = bias;
    return 0;
}

static int fill_sampling(struct api_call *call, const struct generation_options *o, size_t vocabulary,
                         struct engine_sampling *s, struct error *e)
{
    engine_sampling_init(s);
    s->temperature = (float)o->temperature;
    s->top_k = o->top_k > 0 ? (uint32_t)o->top_k : 0;
    s->top_p = (float)o->top_p;
    s->min_p = (float)o->min_p;
    s->repetition_penalty = (float)o->repetition_penalty;
    s->presence_penalty = (float)o->presence_penalty;
    s->frequency_penalty = (float)o->frequency_penalty;
    s->seed = o->seed_given ? (uint64_t)o->seed : id_seed();
    return o->logit_bias ? read_bias(o->logit_bias, vocabulary, call->arena, s, e) : 0;
}

int generation_check_ids(const struct field_ids *ids, const char *name, size_t vocabulary, struct error *e)
{
    for (size_t i = 0; i < ids->n; i++) {
        if ((size_t)ids->items[i] >= vocabulary)
            return error_param(e, ERROR_INVALID_REQUEST, name,
                               "%s[%zu]: %d is no token id of this model (0 to %zu)", name, i, ids->items[i],
                               vocabulary - 1);
    }
    return 0;
}

size_t generation_room(const struct engine_model *model, size_t n_prompt)
{
    const struct engine_model_info *info = engine_model_info(model);
    if (info->abilities & ENGINE_CAN_TRANSFORM) /* the answer has a context of its own, and a start token */
        return info->context - 1;
    return n_prompt < info->context ? info->context - n_prompt : 0;
}

static int check_source(const struct engine_model_info *info, size_t n_prompt, size_t max_tokens,
                        struct error *e)
{
    if (n_prompt > info->source_context)
        return error_set(
            e, ERROR_CONTEXT_LENGTH,
            "This model's maximum context length is %zu tokens for the text that it reads. However, "
            "yours has %zu. Please shorten it.",
            info->source_context, n_prompt);
    if (max_tokens >= info->context)
        return error_set(
            e, ERROR_CONTEXT_LENGTH,
            "This model's maximum context length is %zu tokens for the text that it writes. However, "
            "you requested %zu.",
            info->context - 1, max_tokens);
    return 0;
}

static int check_context(struct engine_model *model, size_t n_prompt, size_t max_tokens, struct error *e)
{
    const struct engine_model_info *info = engine_model_info(model);
    if (n_prompt == 0)
        return error_set(e, ERROR_INVALID_REQUEST, "the prompt is empty: it has no tokens");
    if (info->abilities & ENGINE_CAN_TRANSFORM)
        return check_source(info, n_prompt, max_tokens, e);
    if (n_prompt <= info->context && max_tokens <= info->context - n_prompt)
        return 0;
    return error_set(
        e, ERROR_CONTEXT_LENGTH,
        "This model's maximum context length is %zu tokens. However, you requested %zu tokens (%zu in "
        "the prompt, %zu for the answer). Please shorten the prompt or the answer.",
        info->context, n_prompt + max_tokens, n_prompt, max_tokens);
}

void generation_own_beams(const struct engine_model *model, struct generation_options *o)
{
    unsigned beams = engine_model_info(model)->beams;
    if (o->beams == 0 && beams > 1 && o->temperature <= 0)
        o->beams = beams < LIMIT_BEAMS ? beams : LIMIT_BEAMS;
}

/* What only a search can honour; values that change nothing pass. */
static int check_search(const struct generation_options *o, struct error *e)
{
    if (o->beams > 0 && o->n > o->beams)
        return error_param(e, ERROR_INVALID_REQUEST, "n", "n may be at most beams, %lld",
                           (long long)o->beams);
    if (o->beams <= 1 && o->length_penalty_given && o->length_penalty != 1)
        return error_param(e, ERROR_UNSUPPORTED, "length_penalty", "length_penalty needs beams of 2 or more");
    if (o->beams <= 1 && o->early_stopping)
        return error_param(e, ERROR_UNSUPPORTED, "early_stopping", "early_stopping needs beams of 2 or more");
    if (o->beams <= 1)
        return 0;
    if (o->temperature_given && o->temperature > 0)
        return error_param(e, ERROR_INVALID_REQUEST, "beams",
                           "beams need temperature 0: a search draws nothing");
    if (o->stream)
        return error_param(e, ERROR_UNSUPPORTED, "beams",
                           "beams can't be streamed: the best hypothesis is known at the end");
    if (o->stop.n)
        return error_param(e, ERROR_UNSUPPORTED, "stop", "stop texts can't be used with beams");
    return 0;
}

static int fill_search(const struct generation_options *o, struct engine_job *job, struct error *e)
{
    const struct engine_model_info *info = engine_model_info(job->model);
    TRY(check_search(o, e));
    job->no_repeat_ngram = o->no_repeat_ngram_given ? (uint32_t)o->no_repeat_ngram : info->no_repeat_ngram;
    if (o->beams <= 1)
        return 0;
    job->sampling.temperature = 0;
    job->beams = (struct engine_beams){
        .beams = (unsigned)o->beams,
        .length_penalty = o->length_penalty_given ? (float)o->length_penalty : info->length_penalty,
        .early_stopping = o->early_stopping_given ? o->early_stopping : info->early_stopping,
    };
    return 0;
}

int generation_fill_job(struct api_call *call, const struct generation_options *o, struct engine_model *model,
                        int32_t *prompt, size_t n_prompt, size_t max_tokens, struct engine_job *job,
                        struct error *e)
{
    size_t vocabulary = engine_vocabulary_size(engine_model_vocabulary(model));
    job->model = model;
    job->prompt = prompt;
    job->n_prompt = n_prompt;
    job->max_tokens = max_tokens;
    job->choices = (unsigned)o->n;
    job->stop = o->stop.items;
    job->n_stop = o->stop.n;
    job->stop_tokens = o->stop_token_ids.items;
    job->n_stop_tokens = o->stop_token_ids.n;
    job->ignore_eos = o->ignore_eos;
    job->cache_salt = call->cache_salt;
    TRY(check_context(model, n_prompt, max_tokens, e));
    TRY(generation_check_ids(&o->stop_token_ids, "stop_token_ids", vocabulary, e));
    TRY(fill_sampling(call, o, vocabulary, &job->sampling, e));
    return fill_search(o, job, e);
}

const char *generation_fingerprint(struct api_call *call)
{
    return arena_printf(call->arena, "loquat-%s-%s", LOQUAT_VERSION, engine_kernels(call->engine));
}
