/* ollama_options.c - see ollama_options.h. */
#include "api/ollama_options.h"

#include <string.h>

#include "api/constraint.h"
#include "api/ollama.h"
#include "api/tasks.h"
#include "api/thinking.h"
#include "api/wire.h"
#include "engine/base/limits.h"

#define AT(member) offsetof(struct ollama_options, member)

/* clang-format off */
static const struct field option_rows[] = {
    {.name = "num_predict", .type = FIELD_INT, .offset = AT(num_predict), .min = -2, .max = LIMIT_CONTEXT, .fallback = -1,
     .help = "most tokens to generate; -1, -2 and 0: what the context has room for"},
    {.name = "num_ctx", .type = FIELD_INT, .offset = AT(num_ctx), .min = 0, .max = LIMIT_CONTEXT,
     .help = "prompt and answer together may have so many tokens; 0: the model's context, which is also the most"},
    {.name = "temperature", .type = FIELD_NUMBER, .offset = AT(generation.temperature), .min = 0, .max = 2, .fallback = 0.8,
     .help = "0 always takes the most likely token"},
    {.name = "top_k", .type = FIELD_INT, .offset = AT(generation.top_k), .min = -1, .max = LIMIT_VOCABULARY, .fallback = 40,
     .help = "only this many of the most likely tokens; 0 or -1 = all"},
    {.name = "top_p", .type = FIELD_NUMBER, .offset = AT(generation.top_p), .min = 0, .max = 1, .fallback = 0.9,
     .help = "only the most likely tokens that together have this probability; 1 = all"},
    {.name = "min_p", .type = FIELD_NUMBER, .offset = AT(generation.min_p), .min = 0, .max = 1,
     .help = "only tokens at least this likely relative to the best; 0 = all"},
    {.name = "repeat_penalty", .type = FIELD_NUMBER, .offset = AT(generation.repetition_penalty), .min = 0.01, .max = 10,
     .fallback = 1, .help = "divides the positive logits of tokens in the prompt or the output; 1 = off, the default here"},
    {.name = "repeat_last_n", .type = FIELD_INT, .offset = AT(repeat_last_n), .given = AT(repeat_last_n_given), .min = -1,
     .max = LIMIT_CONTEXT, .help = "with a repeat_penalty it must be -1: all tokens count"},
    {.name = "presence_penalty", .type = FIELD_NUMBER, .offset = AT(generation.presence_penalty), .min = -2, .max = 2,
     .help = "taken once from the logit of every token in the output"},
    {.name = "frequency_penalty", .type = FIELD_NUMBER, .offset = AT(generation.frequency_penalty), .min = -2, .max = 2,
     .help = "taken from a token's logit for each time it is in the output"},
    {.name = "seed", .type = FIELD_INT, .offset = AT(generation.seed), .given = AT(generation.seed_given), .min = -0x1p63,
     .max = 0x1p63, .help = "the same seed gives the same answer; -1 or absent: drawn anew"},
    {.name = "stop", .type = FIELD_STRINGS, .offset = AT(generation.stop), .max = LIMIT_STOP_STRINGS,
     .max_bytes = LIMIT_STOP_BYTES, .help = "the answer ends before any of these texts"},
    FIELD_REFUSED("tfs_z", "[1,1.0]", "tail-free sampling is not offered"),
    FIELD_REFUSED("typical_p", "[1,1.0]", "typical sampling is not offered"),
    FIELD_REFUSED("mirostat", "[0]", "mirostat is not offered"),
    FIELD_HARMLESS("mirostat_tau", "has no effect: it is about mirostat, which is not offered"),
    FIELD_HARMLESS("mirostat_eta", "has no effect: it is about mirostat, which is not offered"),
    FIELD_REFUSED("penalize_newline", "[true]", "penalties treat all tokens alike"),
    FIELD_HARMLESS("num_keep", "has no effect: a prompt is never cut"),
    FIELD_HARMLESS("num_batch", "has no effect on answers: it is the server's to choose"),
    FIELD_HARMLESS("num_gpu", "has no effect: there is none"),
    FIELD_HARMLESS("main_gpu", "has no effect: there is none"),
    FIELD_HARMLESS("num_thread", "has no effect on answers: it is the server's to choose"),
    FIELD_HARMLESS("numa", "has no effect on answers: it is the server's to choose"),
    FIELD_HARMLESS("low_vram", "has no effect: there is none"),
    FIELD_HARMLESS("f16_kv", "has no effect: it is the server's to choose"),
    FIELD_HARMLESS("use_mmap", "has no effect on answers: it is the server's to choose"),
    FIELD_HARMLESS("use_mlock", "has no effect on answers: it is the server's to choose"),
    FIELD_REFUSED("logits_all", "[false]", "log probabilities are told by /v1/completions"),
    FIELD_REFUSED("vocab_only", "[false]", "models are loaded whole"),
    FIELD_REFUSED("embedding_only", "[false]", "embeddings are at /api/embed"),
};
static const struct field_group option_groups[] = {FIELD_GROUP(option_rows, 0)};
static const struct field_table option_table = FIELD_TABLE(option_groups, sizeof(struct ollama_options));

const struct field ollama_rows[] = {
    {.name = "model", .type = FIELD_STRING, .offset = AT(generation.model),
     .help = "name of a loaded model, with or without :latest; absent: the first one"},
    {.name = "stream", .type = FIELD_BOOL, .offset = AT(generation.stream), .fallback = 1,
     .help = "answer as lines of JSON, the default"},
    {.name = "options", .type = FIELD_OBJECT, .nested = &option_table, .help = "how to generate"},
    {.name = "think", .type = FIELD_JSON, .offset = AT(think), .kinds = FIELD_KIND_BOOL | FIELD_KIND_STRING,
     .help = "whether to think first, or how much; the model must be able to do it, and to leave it"},
    FIELD_HARMLESS("keep_alive", "has no effect: models stay loaded"),
    {.name = "format", .type = FIELD_JSON, .offset = AT(format), .kinds = FIELD_KIND_STRING | FIELD_KIND_OBJECT,
     .help = "json, or the JSON Schema that the answer must follow"},
    FIELD_REFUSED("logprobs", "[false]", "log probabilities are told by /v1/chat/completions"),
    FIELD_REFUSED("top_logprobs", "[0]", "log probabilities are told by /v1/chat/completions"),
};
/* clang-format on */
_Static_assert(FIELD_COUNT(ollama_rows) == OLLAMA_ROWS, "OLLAMA_ROWS is the table's length");

int ollama_options_begin(struct api_call *call, struct ollama_options *o, struct engine_model **out,
                         struct error *e)
{
    struct generation_options *g = &o->generation;
    call->stream = g->stream;
    g->n = 1;
    g->max_tokens = o->num_predict;
    g->max_tokens_given = o->num_predict > 0;
    g->seed_given = g->seed_given && g->seed != -1;
    TRY(ollama_find_model(call, &g->model, out, e));
    TRY(task_need(call, *out, ENGINE_CAN_GENERATE, "completions", e));
    size_t context = engine_model_info(*out)->context;
    if ((size_t)o->num_ctx > context)
        return error_param(e, ERROR_INVALID_REQUEST, "options.num_ctx",
                           "options.num_ctx: this model's context is %zu tokens here", context);
    if (o->repeat_last_n_given && o->repeat_last_n != -1 && g->repetition_penalty != 1)
        return error_param(e, ERROR_UNSUPPORTED, "options.repeat_last_n",
                           "options.repeat_last_n must be -1: a repeat_penalty counts all tokens");
    return 0;
}

int ollama_think(struct api_call *call, const struct ollama_options *o, struct engine_model *model,
                 struct conversation_request *request, json_t **arguments, struct error *e)
{
    *arguments = NULL;
    if (json_is_string(o->think))
        request->effort = (struct engine_text){json_string_value(o->think), json_string_length(o->think)};
    if (!json_is_boolean(o->think))
        return 0;
    TRY(thinking_choose(call, model, json_is_true(o->think), "think", arguments, e));
    request->arguments = *arguments;
    return 0;
}

int ollama_format(struct api_call *call, const struct ollama_options *o, struct engine_model *model,
                  struct engine_grammar **out, struct error *e)
{
    struct constraint_options wanted = {0};
    const char *word = json_string_value(o->format);
    if (word && *word && strcmp(word, "json") != 0)
        return error_param(e, ERROR_INVALID_REQUEST, "format", "format must be \"json\" or a JSON Schema");
    wanted.json_object = word && *word;
    wanted.json_schema = json_is_object(o->format) ? o->format : NULL;
    return constraint_compile(call, &wanted, model, out, e);
}

int ollama_fit(const struct ollama_options *o, struct engine_job *job, struct error *e)
{
    const struct engine_model_info *info = engine_model_info(job->model);
    size_t context = o->num_ctx ? (size_t)o->num_ctx : info->context;
    if (info->abilities & ENGINE_CAN_TRANSFORM)
        return 0;
    size_t room = job->n_prompt < context ? context - job->n_prompt : 0;
    if (!o->generation.max_tokens_given && job->max_tokens > room)
        job->max_tokens = room;
    if (room > 0 && job->max_tokens <= room)
        return 0;
    return error_set(e, ERROR_CONTEXT_LENGTH,
                     "This model's maximum context length is %zu tokens. However, you requested %zu tokens "
                     "(%zu in the prompt, %zu for the answer). Please shorten the prompt or the answer.",
                     context, job->n_prompt + job->max_tokens, job->n_prompt, job->max_tokens);
}

bool ollama_unloads(const struct api_call *call)
{
    const json_t *value = json_object_get(call->request, "keep_alive");
    const char *text = json_string_value(value);
    return (json_is_number(value) && json_number_value(value) == 0) || (text && strcmp(text, "0") == 0);
}

void ollama_write_head(struct buf *out, const struct ollama_options *o, const struct engine_model *model)
{
    buf_add_text(out, "{\"model\":");
    ollama_write_name(out, &o->generation.model, model);
    buf_add_text(out, ",\"created_at\":");
    ollama_write_now(out);
    buf_add_text(out, ",");
}

void ollama_write_end(struct api_call *call, enum chat_finish finish, const struct engine_usage *usage)
{
    buf_printf(&call->out,
               "\"done\":true,\"done_reason\":\"%s\",\"total_duration\":%llu,\"load_duration\":0,"
               "\"prompt_eval_count\":%zu,\"prompt_eval_duration\":%llu,\"eval_count\":%zu,"
               "\"eval_duration\":%llu}%s",
               finish == CHAT_FINISH_LENGTH ? "length" : "stop",
               (unsigned long long)(usage->queue_ns + usage->prefill_ns + usage->decode_ns),
               usage->prompt_tokens, (unsigned long long)usage->prefill_ns, usage->completion_tokens,
               (unsigned long long)usage->decode_ns, call->stream ? "\n" : "");
}
