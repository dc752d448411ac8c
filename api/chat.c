/* chat.c - POST /v1/chat/completions: the next message of a conversation.
 * One job with n choices.  The prompt is what the checkpoint's template makes of the messages (prompt.c).
 * Threads: begin and advance on a worker, event on the loop. */
#include <string.h>

#include "api/choice.h"
#include "api/endpoints.h"
#include "api/generation.h"
#include "api/prompt.h"
#include "api/tasks.h"
#include "api/wire.h"
#include "engine/base/limits.h"

struct chat {
    struct generation_options options; /* with the next two lines: the request */
    const json_t *messages;
    bool logprobs;
    int64_t top_logprobs;

    struct engine_model *model;
    const struct engine_vocabulary *vocabulary;
    const char *envelope;
    struct answer answer; /* of one job */
    bool sent;            /* streaming: something is out */
};

#define AT(member) offsetof(struct chat, member)

/* clang-format off */
static const struct field chat_rows[] = {
    {.name = "messages", .type = FIELD_JSON, .offset = AT(messages), .kinds = FIELD_KIND_ARRAY, .required = true,
     .help = "the conversation: {role: system | developer | user | assistant | tool, content, name?}; "
             "special tokens in content are text"},
    {.name = "max_tokens", .type = FIELD_INT, .offset = AT(options.max_tokens),
     .given = AT(options.max_tokens_given), .min = 1, .max = LIMIT_CONTEXT,
     .help = "most tokens to generate; absent: what the context has room for"},
    {.name = "max_completion_tokens", .type = FIELD_ALIAS, .of = "max_tokens", .help = "another name"},
    {.name = "n_predict", .type = FIELD_ALIAS, .of = "max_tokens", .help = "another name"},
    {.name = "logprobs", .type = FIELD_BOOL, .offset = AT(logprobs), .help = "log probabilities of the answer's tokens"},
    {.name = "top_logprobs", .type = FIELD_INT, .offset = AT(top_logprobs), .max = LIMIT_TOP_LOGPROBS,
     .help = "alternatives for each token; needs logprobs"},
    FIELD_HARMLESS("parallel_tool_calls", "has no effect: it is about tools, which are not offered"),
    FIELD_REFUSED("tools", "[[]]", "tools are not offered here"),
    FIELD_REFUSED("tool_choice", "[\"none\",\"auto\"]", "tools are not offered here"),
    FIELD_REFUSED("functions", "[[]]", "tools are not offered here"),
    FIELD_REFUSED("function_call", "[\"none\",\"auto\"]", "tools are not offered here"),
    FIELD_REFUSED("response_format", "[{\"type\":\"text\"}]", "answers are plain text"),
    FIELD_REFUSED("modalities", "[[\"text\"]]", "answers are text"),
    FIELD_REFUSED("audio", "[]", "answers are text"),
    FIELD_REFUSED("reasoning_effort", "[]", "the effort can't be set"),
    FIELD_REFUSED("verbosity", "[]", "the length is set by max_tokens and by what is asked"),
    FIELD_REFUSED("web_search_options", "[]", "nothing is searched"),
    FIELD_REFUSED("chat_template", "[]", "the checkpoint's own template is used"),
    FIELD_REFUSED("chat_template_kwargs", "[{}]", "templates get no arguments of a request"),
};
/* clang-format on */

static const struct field_group chat_groups[] = {
    {generation_rows, GENERATION_ROWS, AT(options)},
    FIELD_GROUP(chat_rows, 0),
};
const struct field_table chat_fields = FIELD_TABLE(chat_groups, sizeof(struct chat));

/* ---- begin ---------------------------------------------------------------------------------- */

static int make_job(struct api_call *call, struct chat *c, struct error *e)
{
    int32_t *ids;
    size_t n;
    TRY(generation_make_jobs(call, 1, e));
    TRY(prompt_from_messages(call->api, c->model, c->messages, call->arena, &ids, &n, e));
    size_t context = engine_model_info(c->model)->context;
    size_t room = n < context ? context - n : 1;
    size_t max_tokens = c->options.max_tokens_given ? (size_t)c->options.max_tokens : room;
    struct engine_job *job = &call->jobs[0];
    TRY(generation_fill_job(call, &c->options, c->model, ids, n, max_tokens, job, e));
    job->logprobs = c->logprobs;
    job->top_logprobs = (unsigned)c->top_logprobs;
    return 0;
}

int chat_begin(struct api_call *call, struct error *e)
{
    struct chat *c = call->state;
    TRY(generation_begin(call, &c->options, &c->model, e));
    TRY(task_need(call, c->model, ENGINE_CAN_GENERATE, "chat", e));
    if (c->top_logprobs && !c->logprobs)
        return error_param(e, ERROR_INVALID_REQUEST, "top_logprobs",
                           "top_logprobs needs logprobs to be true");
    c->vocabulary = engine_model_vocabulary(c->model);
    const char *object = call->stream ? "chat.completion.chunk" : "chat.completion";
    TRY(wire_envelope(call, "chatcmpl", object, engine_model_info(c->model)->name, &c->envelope, e));
    TRY(make_job(call, c, e));
    return answer_init(&c->answer, call->arena, 1, (unsigned)c->options.n, !call->stream, e);
}

/* ---- streaming ------------------------------------------------------------------------------ */

/* The tail that every object of "choices" has.  tokens are what it brings. */
static void write_tail(struct chat *c, struct buf *out, const struct engine_token *tokens, size_t n,
                       enum engine_finish finish)
{
    buf_add_text(out, ",\"logprobs\":");
    if (c->logprobs && n)
        wire_chat_logprobs(out, c->vocabulary, tokens, n);
    else
        buf_add_text(out, "null");
    buf_add_text(out, ",\"finish_reason\":");
    wire_finish_reason(out, finish);
    if (c->options.return_token_ids) {
        buf_add_text(out, ",\"token_ids\":");
        wire_token_ids(out, tokens, n);
    }
    buf_add_text(out, "}");
}

static void open_chunk(struct api_call *call, struct chat *c, unsigned choice)
{
    buf_printf(&call->out, "data: %s,\"choices\":[{\"index\":%u,\"delta\":", c->envelope, choice);
    c->sent = true;
}

static void close_chunk(struct api_call *call, struct chat *c, const struct engine_token *tokens, size_t n,
                        enum engine_finish finish)
{
    write_tail(c, &call->out, tokens, n, finish);
    buf_add_text(&call->out, c->options.include_usage ? "],\"usage\":null}\n\n" : "]}\n\n");
}

static void stream_role(struct api_call *call, struct chat *c, unsigned choice)
{
    if (c->answer.jobs[0].choices[choice].started)
        return;
    c->answer.jobs[0].choices[choice].started = true;
    open_chunk(call, c, choice);
    buf_add_text(&call->out, "{\"role\":\"assistant\",\"content\":\"\"}");
    close_chunk(call, c, NULL, 0, ENGINE_FINISH_NONE);
}

static void stream_finish(struct api_call *call, struct chat *c, unsigned choice, enum engine_finish finish)
{
    open_chunk(call, c, choice);
    buf_add_text(&call->out, "{}");
    close_chunk(call, c, NULL, 0, finish);
}

/* Nothing is sent for tokens whose text is not certain yet, unless the tokens themselves are wanted. */
static void stream_step(struct api_call *call, struct chat *c, const struct engine_event *event)
{
    bool tokens_wanted = c->logprobs || c->options.return_token_ids;
    stream_role(call, c, event->choice);
    if (event->text_len || (tokens_wanted && event->n_tokens)) {
        open_chunk(call, c, event->choice);
        buf_add_text(&call->out, "{\"content\":");
        wire_text(&call->out, event->text_len ? event->text : "", event->text_len);
        buf_add_text(&call->out, "}");
        close_chunk(call, c, event->tokens, event->n_tokens, ENGINE_FINISH_NONE);
    }
    if (event->finish != ENGINE_FINISH_NONE)
        stream_finish(call, c, event->choice, event->finish);
}

void chat_event(struct api_call *call, size_t job, const struct engine_event *event)
{
    struct chat *c = call->state;
    if (answer_failed(&c->answer))
        return;
    answer_take(&c->answer, job, event);
    if (!call->stream)
        return;
    if (answer_failed(&c->answer) && c->sent)
        api_error_event(&call->out, &c->answer.error);
    else if (!answer_failed(&c->answer) && event->kind == ENGINE_EVENT_STEP)
        stream_step(call, c, event);
}

/* ---- the end -------------------------------------------------------------------------------- */

static void write_choice(struct chat *c, struct buf *out, unsigned index)
{
    struct choice *choice = &c->answer.jobs[0].choices[index];
    size_t n;
    const struct engine_token *tokens = token_list_view(&choice->tokens, &n);
    buf_printf(out, "{\"index\":%u,\"message\":{\"role\":\"assistant\",\"content\":", index);
    wire_text(out, choice->text.len ? choice->text.data : "", choice->text.len);
    buf_add_text(out, ",\"refusal\":null}");
    write_tail(c, out, tokens, n, choice->finish);
}

static void write_answer(struct chat *c, struct buf *out)
{
    buf_printf(out, "%s,\"choices\":[", c->envelope);
    for (unsigned i = 0; i < c->answer.n_choices; i++) {
        buf_add_text(out, i ? "," : "");
        write_choice(c, out, i);
    }
    buf_add_text(out, "],\"usage\":");
    wire_usage(out, &c->answer.usage);
    buf_add_text(out, "}");
}

int chat_advance(struct api_call *call, struct error *e)
{
    struct chat *c = call->state;
    if (answer_failed(&c->answer))
        return c->sent ? 0 : answer_check(&c->answer, e);
    if (!call->stream) {
        write_answer(c, &call->out);
        return 0;
    }
    wire_stream_end(&call->out, c->envelope, c->options.include_usage ? &c->answer.usage : NULL);
    return 0;
}

void chat_free(struct api_call *call)
{
    struct chat *c = call->state;
    answer_free(&c->answer);
}
