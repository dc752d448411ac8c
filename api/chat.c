/* chat.c - POST /v1/chat/completions: OpenAI's words round a conversation.
 * One job with n choices.  What is behind it - templates, tools, reasoning - is in conversation.c.
 * Threads: begin and advance on a worker, event on the loop. */
#include <string.h>

#include "api/constraint.h"
#include "api/conversation.h"
#include "api/endpoints.h"
#include "api/messages.h"
#include "api/tasks.h"
#include "api/wire.h"
#include "engine/base/limits.h"

struct chat {
    struct generation_options options; /* with those up to effort: the request */
    struct constraint_options constraint;
    const json_t *messages, *documents, *template_arguments;
    const json_t *tools, *tool_choice;
    bool parallel;
    bool logprobs;
    int64_t top_logprobs;
    bool generation_prompt, generation_prompt_given, continue_final;
    struct engine_text effort;

    const struct engine_vocabulary *vocabulary;
    const char *envelope;
    struct conversation *conversation;
    bool *started; /* streaming, per choice: its first chunk is out */
    bool sent;     /* streaming: something is out */
};

#define AT(member) offsetof(struct chat, member)

/* clang-format off */
static const struct field chat_rows[] = {
    {.nested = &messages_table, .name = "messages", .type = FIELD_JSON, .offset = AT(messages), .kinds = FIELD_KIND_ARRAY, .required = true,
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
    {.needs = FIELD_NEEDS_EFFORT, .name = "reasoning_effort", .type = FIELD_STRING, .offset = AT(effort), .min = 1, .max = 32,
     .help = "given to the template, which must use it; none also turns thinking off where the template can"},
    {.needs = FIELD_NEEDS_DOCUMENTS, .name = "documents", .type = FIELD_JSON, .offset = AT(documents), .kinds = FIELD_KIND_ARRAY,
     .help = "given to the template, which must use them: {title?, text} or what it asks for"},
    {.name = "chat_template_kwargs", .type = FIELD_JSON, .offset = AT(template_arguments), .kinds = FIELD_KIND_OBJECT,
     .help = "more variables for the template, such as enable_thinking; it must use each"},
    {.name = "add_generation_prompt", .type = FIELD_BOOL, .offset = AT(generation_prompt),
     .given = AT(generation_prompt_given), .fallback = 1, .help = "the prompt ends where the assistant begins to speak"},
    {.name = "continue_final_message", .type = FIELD_BOOL, .offset = AT(continue_final),
     .help = "the answer goes on with the text of the last message instead"},
    {.nested = &tools_table, .name = "tools", .type = FIELD_JSON, .offset = AT(tools), .kinds = FIELD_KIND_ARRAY,
     .help = "functions that may be called: {type: function, function: {name, description?, parameters?, strict?}}; "
             "arguments obey the schema"},
    {.name = "tool_choice", .type = FIELD_JSON, .offset = AT(tool_choice), .kinds = FIELD_KIND_STRING | FIELD_KIND_OBJECT,
     .help = "none, auto, required, or {type: function, function: {name}}; absent: auto where there are tools"},
    {.name = "parallel_tool_calls", .type = FIELD_BOOL, .offset = AT(parallel), .fallback = 1,
     .help = "false: at most one call"},
    FIELD_REFUSED("functions", "[[]]", "functions are offered in tools"),
    FIELD_REFUSED("function_call", "[\"none\",\"auto\"]", "tool_choice says which function"),
    FIELD_REFUSED("modalities", "[[\"text\"]]", "answers are text"),
    FIELD_REFUSED("audio", "[]", "answers are text"),
    FIELD_REFUSED("verbosity", "[]", "the length is set by max_tokens and by what is asked"),
    FIELD_REFUSED("web_search_options", "[]", "nothing is searched"),
    FIELD_REFUSED("chat_template", "[]", "the checkpoint's own template is used"),
};
/* clang-format on */

static const struct field_group chat_groups[] = {
    {generation_rows, GENERATION_ROWS, AT(options)},
    {constraint_rows, CONSTRAINT_ROWS, AT(constraint)},
    FIELD_GROUP(chat_rows, 0),
};
const struct field_table chat_fields = FIELD_TABLE(chat_groups, sizeof(struct chat));

/* ---- begin ---------------------------------------------------------------------------------- */

static int check_request(const struct chat *c, struct error *e)
{
    if (c->top_logprobs && !c->logprobs)
        return error_param(e, ERROR_INVALID_REQUEST, "top_logprobs",
                           "top_logprobs needs logprobs to be true");
    if (c->continue_final && c->generation_prompt_given && c->generation_prompt)
        return error_param(e, ERROR_INVALID_REQUEST, "continue_final_message",
                           "continue_final_message and add_generation_prompt exclude each other");
    return 0;
}

static int start(struct api_call *call, struct chat *c, struct engine_model *model, json_t *messages,
                 struct error *e)
{
    struct conversation_request request = {
        .messages = messages,
        .tools = c->tools,
        .one_tool = !c->parallel,
        .documents = c->documents,
        .arguments = c->template_arguments,
        .effort = c->effort,
        .no_generation_prompt = !c->generation_prompt,
        .continue_final = c->continue_final,
        .logprobs = c->logprobs,
        .top_logprobs = (unsigned)c->top_logprobs,
    };
    const char *name =
        json_string_value(json_object_get(json_object_get(c->tool_choice, "function"), "name"));
    TRY(tools_read_choice(c->tool_choice, name, &request.tool_choice, e));
    request.tool_name = name;
    TRY(constraint_compile(call, &c->constraint, model, &request.grammar, e));
    TRY(conversation_begin(call, model, &c->options, &request, &c->conversation, e));
    if (c->logprobs || c->options.return_token_ids)
        conversation_want_tokens(c->conversation);
    return 0;
}

int chat_begin(struct api_call *call, struct error *e)
{
    struct chat *c = call->state;
    struct engine_model *model;
    json_t *messages = NULL;
    TRY(generation_begin(call, &c->options, &model, e));
    TRY(task_need(call, model, ENGINE_CAN_GENERATE, "chat", e));
    TRY(check_request(c, e));
    c->vocabulary = engine_model_vocabulary(model);
    c->started = arena_alloc(call->arena, (size_t)c->options.n, sizeof *c->started);
    if (!c->started)
        return error_no_memory(e);
    const char *object = call->stream ? "chat.completion.chunk" : "chat.completion";
    TRY(wire_envelope(call, "chatcmpl", object, engine_model_info(model)->name, &c->envelope, e));
    TRY(messages_read(c->messages, call->arena, &messages, e));
    int status = start(call, c, model, messages, e);
    json_decref(messages);
    return status;
}

/* ---- streaming ------------------------------------------------------------------------------ */

/* The tail that every object of "choices" has.  tokens are what it brings. */
static void write_tail(struct chat *c, struct buf *out, const struct engine_token *tokens, size_t n,
                       enum chat_finish finish)
{
    buf_add_text(out, ",\"logprobs\":");
    if (c->logprobs && n)
        wire_chat_logprobs(out, c->vocabulary, tokens, n);
    else
        buf_add_text(out, "null");
    buf_add_text(out, ",\"finish_reason\":");
    wire_chat_finish(out, finish);
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

static void close_chunk(struct api_call *call, struct chat *c, const struct speech_piece *p)
{
    write_tail(c, &call->out, p->tokens, p->n_tokens, p->finish);
    buf_add_text(&call->out, c->options.include_usage ? "],\"usage\":null}\n\n" : "]}\n\n");
}

static void write_delta(struct buf *out, const struct speech_piece *p)
{
    switch (p->kind) {
    case PIECE_TEXT:
    case PIECE_REASONING:
        buf_add_text(out, p->kind == PIECE_TEXT ? "{\"content\":" : "{\"reasoning_content\":");
        wire_text(out, p->text, p->len);
        buf_add_text(out, "}");
        break;
    case PIECE_TOOL_BEGIN:
        buf_printf(out,
                   "{\"tool_calls\":[{\"index\":%u,\"id\":\"%s\",\"type\":\"function\",\"function\":"
                   "{\"name\":\"%s\",\"arguments\":\"\"}}]}",
                   p->tool, p->id, p->name);
        break;
    case PIECE_TOOL_ARGUMENTS:
        buf_printf(out, "{\"tool_calls\":[{\"index\":%u,\"function\":{\"arguments\":", p->tool);
        wire_text(out, p->text, p->len);
        buf_add_text(out, "}}]}");
        break;
    case PIECE_TOOL_END:
    case PIECE_FINISH:
        buf_add_text(out, "{}");
        break;
    }
}

static void stream_role(struct api_call *call, struct chat *c, unsigned choice)
{
    static const struct speech_piece nothing;
    if (c->started[choice])
        return;
    c->started[choice] = true;
    open_chunk(call, c, choice);
    buf_add_text(&call->out, "{\"role\":\"assistant\",\"content\":\"\"}");
    close_chunk(call, c, &nothing);
}

static void stream_piece(void *user, const struct speech_piece *p)
{
    struct api_call *call = user;
    struct chat *c = call->state;
    if (!call->stream || (p->kind == PIECE_TOOL_END && p->n_tokens == 0))
        return;
    stream_role(call, c, p->choice);
    open_chunk(call, c, p->choice);
    write_delta(&call->out, p);
    close_chunk(call, c, p);
}

void chat_event(struct api_call *call, size_t job, const struct engine_event *event)
{
    struct chat *c = call->state;
    bool failed = conversation_failed(c->conversation);
    (void)job; /* there is one */
    if (call->stream && !failed && event->kind == ENGINE_EVENT_STEP)
        stream_role(call, c, event->choice);
    conversation_event(c->conversation, event, stream_piece, call);
    if (call->stream && c->sent && !failed && conversation_failed(c->conversation))
        api_error_event(&call->out, conversation_error(c->conversation));
}

/* ---- the end -------------------------------------------------------------------------------- */

static void write_calls(const struct said *said, struct buf *out)
{
    buf_add_text(out, ",\"tool_calls\":[");
    for (const struct said_call *call = said->calls; call; call = call->next) {
        buf_printf(out, "%s{\"id\":\"%s\",\"type\":\"function\",\"function\":{\"name\":\"%s\",\"arguments\":",
                   call == said->calls ? "" : ",", call->id, call->name);
        wire_text(out, call->arguments.data ? call->arguments.data : "", call->arguments.len);
        buf_add_text(out, "}}");
    }
    buf_add_text(out, "]");
}

static void write_message(const struct said *said, struct buf *out)
{
    buf_add_text(out, "{\"role\":\"assistant\",\"content\":");
    if (said->text.len == 0 && said->n_calls)
        buf_add_text(out, "null");
    else
        wire_text(out, said->text.len ? said->text.data : "", said->text.len);
    buf_add_text(out, ",\"refusal\":null");
    if (said->reasoning.len) {
        buf_add_text(out, ",\"reasoning_content\":");
        wire_text(out, said->reasoning.data, said->reasoning.len);
    }
    if (said->n_calls)
        write_calls(said, out);
    buf_add_text(out, "}");
}

static void write_choice(struct chat *c, struct buf *out, unsigned index)
{
    const struct said *said = conversation_said(c->conversation, index);
    size_t n;
    const struct engine_token *tokens = conversation_tokens(c->conversation, index, &n);
    buf_printf(out, "{\"index\":%u,\"message\":", index);
    write_message(said, out);
    write_tail(c, out, tokens, n, said->finish);
}

static void write_answer(struct chat *c, struct buf *out)
{
    buf_printf(out, "%s,\"choices\":[", c->envelope);
    for (unsigned i = 0; i < conversation_choices(c->conversation); i++) {
        buf_add_text(out, i ? "," : "");
        write_choice(c, out, i);
    }
    buf_add_text(out, "],\"usage\":");
    wire_usage(out, conversation_usage(c->conversation), conversation_reasoning_tokens(c->conversation));
    buf_add_text(out, "}");
}

int chat_advance(struct api_call *call, struct error *e)
{
    struct chat *c = call->state;
    if (conversation_failed(c->conversation)) {
        if (c->sent)
            return 0;
        *e = *conversation_error(c->conversation);
        return -1;
    }
    if (!call->stream) {
        write_answer(c, &call->out);
        return 0;
    }
    wire_stream_end(&call->out, c->envelope,
                    c->options.include_usage ? conversation_usage(c->conversation) : NULL,
                    conversation_reasoning_tokens(c->conversation));
    return 0;
}

void chat_free(struct api_call *call)
{
    struct chat *c = call->state;
    conversation_free(c->conversation);
}
