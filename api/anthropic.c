/* anthropic.c - POST /v1/messages and /v1/messages/count_tokens: Anthropic's words round a conversation.
 * Reading its requests is anthropic_request.c's.  A stream is a message of blocks: each begins, grows and
 * stops, one after the other.  Threads: begin and advance on a worker, event on the loop. */
#include "api/anthropic.h"

#include <stdlib.h>
#include <string.h>

#include "api/constraint.h"
#include "api/endpoints.h"
#include "api/prompt.h"
#include "api/tasks.h"
#include "api/wire.h"
#include "engine/base/json.h"
#include "engine/base/limits.h"

/* ---- errors ----------------------------------------------------------------------------------- */

/* Its clients try again after both 429 and 529; 529 is its word for a server that has too much to do, 429 for
 * a client that asks for more than it may. */
static int anthropic_status(const struct error *e)
{
    bool busy = e->kind == ERROR_QUEUE_FULL || e->kind == ERROR_DEADLINE;
    return busy ? 529 : error_http_status(e->kind);
}

static const char *error_name(const struct error *e)
{
    static const struct {
        int status;
        const char *name;
    } names[] = {{401, "authentication_error"}, {403, "permission_error"},  {404, "not_found_error"},
                 {408, "timeout_error"},        {413, "request_too_large"}, {529, "overloaded_error"}};
    int status = anthropic_status(e);
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (names[i].status == status)
            return names[i].name;
    }
    return status >= 499 ? "api_error" : "invalid_request_error";
}

static void anthropic_body(struct buf *out, const struct error *e, const char *request_id)
{
    buf_printf(out, "{\"type\":\"error\",\"error\":{\"type\":\"%s\",\"message\":", error_name(e));
    wire_text(out, e->text, strlen(e->text));
    buf_add_text(out, "},\"request_id\":");
    wire_text(out, request_id, strlen(request_id));
    buf_add_text(out, "}");
}

static void anthropic_error_event(struct buf *out, const struct error *e, const char *request_id)
{
    buf_add_text(out, "event: error\ndata: ");
    anthropic_body(out, e, request_id);
    buf_add_text(out, "\n\n");
}

const struct api_dialect api_anthropic = {
    .status = anthropic_status,
    .body = anthropic_body,
    .event = anthropic_error_event,
    .stream_type = "text/event-stream; charset=utf-8",
    .error_shape = "{type: 'error', error: {type: s, message: s}, request_id: s?}",
    .event_end = "\n\n",
    .keepalive = "event: ping\ndata: {\"type\":\"ping\"}\n\n",
    .id_header = "request-id",
};

/* ---- fields ----------------------------------------------------------------------------------- */

#define AT(member) offsetof(struct anthropic_request, member)

static const char *const formats[] = {"json_schema", NULL};

/* clang-format off */
static const struct field format_rows[] = {
    {.name = "type", .type = FIELD_STRING, .offset = AT(format), .one_of = formats, .required = true, .help = "json_schema"},
    {.name = "schema", .type = FIELD_JSON, .offset = AT(schema), .kinds = FIELD_KIND_OBJECT, .required = true,
     .help = "the JSON Schema that the answer must follow"},
};
static const struct field_group format_groups[] = {FIELD_GROUP(format_rows, 0)};
static const struct field_table format_table = FIELD_TABLE(format_groups, sizeof(struct anthropic_request));

static const struct field output_rows[] = {
    {.name = "effort", .type = FIELD_STRING, .offset = AT(effort), .min = 1, .max = 32,
     .help = "given to the template, which must use it"},
    {.name = "format", .type = FIELD_OBJECT, .nested = &format_table, .help = "the form of the answer"},
};
/* clang-format on */
static const struct field_group output_groups[] = {FIELD_GROUP(output_rows, 0)};
static const struct field_table output_table = FIELD_TABLE(output_groups, sizeof(struct anthropic_request));

/* clang-format off */
const struct field anthropic_rows[] = {
    {.name = "model", .type = FIELD_STRING, .offset = AT(generation.model), .min = 1, .required = true,
     .help = "name of a loaded model, or \"default\": the first one"},
    {.name = "messages", .type = FIELD_JSON, .offset = AT(messages), .kinds = FIELD_KIND_ARRAY, .required = true,
     .help = "the conversation: {role: user | assistant, content}; a last one of the assistant is gone on with"},
    {.name = "system", .type = FIELD_JSON, .offset = AT(system), .kinds = FIELD_KIND_STRING | FIELD_KIND_ARRAY,
     .help = "a text before it, or blocks of text"},
    {.name = "tools", .type = FIELD_JSON, .offset = AT(tools), .kinds = FIELD_KIND_ARRAY,
     .help = "functions that may be called: {name, description?, input_schema}"},
    {.name = "tool_choice", .type = FIELD_JSON, .offset = AT(tool_choice), .kinds = FIELD_KIND_OBJECT,
     .help = "{type: auto | any | tool | none, name?, disable_parallel_tool_use?}"},
    {.name = "thinking", .type = FIELD_JSON, .offset = AT(thinking), .kinds = FIELD_KIND_OBJECT,
     .help = "{type: adaptive | disabled}; the model must be able to think, and to leave it"},
    {.name = "output_config", .type = FIELD_OBJECT, .nested = &output_table, .help = "how to answer"},
    FIELD_HARMLESS("cache_control", "has no effect: equal beginnings of prompts are found without it"),
    FIELD_REFUSED("container", "[]", "nothing is run here"),
    FIELD_REFUSED("mcp_servers", "[[]]", "no other server is asked"),
    FIELD_REFUSED("context_management", "[]", "nothing is taken out of a conversation"),
    FIELD_REFUSED("speed", "[\"standard\"]", "there is one speed"),
    FIELD_HARMLESS("diagnostics", "has no effect: there is nothing to tell"),
    FIELD_HARMLESS("user_profile_id", "has no effect: nothing is kept about users"),
    FIELD_HARMLESS("workspace_id", "has no effect: there is one"),
};
/* clang-format on */
_Static_assert(FIELD_COUNT(anthropic_rows) == ANTHROPIC_ROWS, "ANTHROPIC_ROWS is the table's length");

enum block_kind { BLOCK_NONE, BLOCK_TEXT, BLOCK_THINKING, BLOCK_TOOL };

struct anthropic {
    struct anthropic_request request;

    struct engine_model *model;
    struct anthropic_parts parts; /* the names of tools are read until the end */
    struct conversation *conversation;
    size_t prompt_tokens;
    bool begun; /* streaming: message_start is out */
    enum block_kind block;
    unsigned blocks; /* closed ones */
    enum chat_finish finish;
    struct engine_text stop; /* arena */
};

#undef AT
#define AT(member) offsetof(struct anthropic, request.generation.member)

/* clang-format off */
static const struct field message_rows[] = {
    {.name = "max_tokens", .type = FIELD_INT, .offset = AT(max_tokens), .given = AT(max_tokens_given), .min = 1,
     .max = LIMIT_CONTEXT, .required = true, .help = "most tokens to generate"},
    {.name = "temperature", .type = FIELD_NUMBER, .offset = AT(temperature), .min = 0, .max = 2, .fallback = 1,
     .help = "0 always takes the most likely token"},
    {.name = "top_p", .type = FIELD_NUMBER, .offset = AT(top_p), .min = 0, .max = 1, .fallback = 1,
     .help = "only the most likely tokens that together have this probability; 1 = all"},
    {.name = "top_k", .type = FIELD_INT, .offset = AT(top_k), .min = 0, .max = LIMIT_VOCABULARY,
     .help = "only this many of the most likely tokens; 0 = all"},
    {.name = "stop_sequences", .type = FIELD_STRINGS, .offset = AT(stop), .max = LIMIT_STOP_STRINGS,
     .max_bytes = LIMIT_STOP_BYTES, .help = "the answer ends before any of these texts"},
    {.name = "stream", .type = FIELD_BOOL, .offset = AT(stream), .help = "answer as server-sent events"},
    FIELD_HARMLESS("metadata", "has no effect: answers are not stored"),
    FIELD_HARMLESS("service_tier", "has no effect: there is one tier"),
    FIELD_HARMLESS("inference_geo", "has no effect: it is here"),
};
/* clang-format on */
static const struct field_group message_groups[] = {
    {anthropic_rows, ANTHROPIC_ROWS, offsetof(struct anthropic, request)},
    FIELD_GROUP(message_rows, 0),
};
const struct field_table anthropic_fields = FIELD_TABLE(message_groups, sizeof(struct anthropic));
static const struct field_group count_groups[] = {{anthropic_rows, ANTHROPIC_ROWS, 0}};
const struct field_table anthropic_count_fields = FIELD_TABLE(count_groups, sizeof(struct anthropic_request));

/* ---- begin ------------------------------------------------------------------------------------ */

static int find_model(struct api_call *call, const struct anthropic_request *r, struct engine_model **out,
                      struct error *e)
{
    TRY(generation_find_model(call, &r->generation.model, out, e));
    TRY(task_need(call, *out, ENGINE_CAN_GENERATE, "chat", e));
    return prompt_chat_ready(call->api, *out, e);
}

int anthropic_begin(struct api_call *call, struct error *e)
{
    struct anthropic *a = call->state;
    struct generation_options *g = &a->request.generation;
    call->stream = g->stream;
    g->n = 1;
    g->repetition_penalty = 1;
    TRY(find_model(call, &a->request, &a->model, e));
    TRY(anthropic_convert(call, &a->request, a->model, &a->parts, e));
    struct constraint_options form = {.json_schema = a->request.schema};
    TRY(constraint_compile(call, &form, a->model, &a->parts.request.grammar, e));
    TRY(conversation_begin(call, a->model, g, &a->parts.request, &a->conversation, e));
    a->prompt_tokens = call->jobs[0].n_prompt;
    return 0;
}

int anthropic_count_begin(struct api_call *call, struct error *e)
{
    const struct anthropic_request *r = call->state;
    struct anthropic_parts parts;
    struct engine_model *model;
    struct prompt prompt;
    TRY(find_model(call, r, &model, e));
    TRY(anthropic_convert(call, r, model, &parts, e));
    struct prompt_request request = {
        .messages = parts.messages,
        .tools = parts.request.tool_choice == TOOL_CHOICE_NONE ? NULL : parts.tools,
        .arguments = parts.arguments,
        .effort = r->effort,
        .continue_final = parts.request.continue_final,
    };
    int status = prompt_render(call->api, model, &request, &prompt, e);
    anthropic_drop(&parts);
    TRY(status);
    free(prompt.ids);
    buf_printf(&call->out, "{\"input_tokens\":%zu}", prompt.n);
    return 0;
}

/* ---- pieces of the answer --------------------------------------------------------------------- */

static void write_head(struct api_call *call, const struct anthropic *a)
{
    const char *name = engine_model_info(a->model)->name;
    const char *id = arena_printf(call->arena, "msg_%s", call->request_id);
    buf_add_text(&call->out, "{\"id\":");
    wire_text(&call->out, id ? id : "msg", id ? strlen(id) : 3);
    buf_add_text(&call->out, ",\"type\":\"message\",\"role\":\"assistant\",\"model\":");
    wire_text(&call->out, name, strlen(name));
}

/* What was found in the cache is told apart from what was read. */
static void write_usage(struct buf *out, size_t prompt, size_t cached, size_t completion)
{
    buf_printf(out,
               ",\"usage\":{\"input_tokens\":%zu,\"cache_creation_input_tokens\":0,"
               "\"cache_read_input_tokens\":%zu,\"output_tokens\":%zu}",
               prompt - cached, cached, completion);
}

static void write_stop(struct buf *out, enum chat_finish finish, const struct engine_text *stop)
{
    const char *reason = finish == CHAT_FINISH_TOOL_CALLS ? "tool_use"
                         : finish == CHAT_FINISH_LENGTH   ? "max_tokens"
                         : stop->bytes                    ? "stop_sequence"
                                                          : "end_turn";
    buf_printf(out, "\"stop_reason\":\"%s\",\"stop_sequence\":", reason);
    if (stop->bytes && finish == CHAT_FINISH_STOP)
        wire_text(out, stop->bytes, stop->len);
    else
        buf_add_text(out, "null");
}

/* ---- streaming -------------------------------------------------------------------------------- */

static void event_head(struct buf *out, const char *type)
{
    buf_printf(out, "event: %s\ndata: {\"type\":\"%s\"", type, type);
}

static void event_end(struct buf *out)
{
    buf_add_text(out, "}\n\n");
}

static void begin_message(struct api_call *call, struct anthropic *a)
{
    if (a->begun)
        return;
    a->begun = true;
    event_head(&call->out, "message_start");
    buf_add_text(&call->out, ",\"message\":");
    write_head(call, a);
    buf_add_text(&call->out, ",\"content\":[],\"stop_reason\":null,\"stop_sequence\":null");
    write_usage(&call->out, a->prompt_tokens, 0, 0);
    buf_add_text(&call->out, "}");
    event_end(&call->out);
}

static void close_block(struct anthropic *a, struct buf *out)
{
    if (a->block == BLOCK_NONE)
        return;
    a->block = BLOCK_NONE;
    event_head(out, "content_block_stop");
    buf_printf(out, ",\"index\":%u", a->blocks++);
    event_end(out);
}

static void open_block(struct anthropic *a, struct buf *out, enum block_kind kind,
                       const struct speech_piece *p)
{
    close_block(a, out);
    a->block = kind;
    event_head(out, "content_block_start");
    buf_printf(out, ",\"index\":%u,\"content_block\":", a->blocks);
    if (kind == BLOCK_TOOL) {
        buf_printf(out, "{\"type\":\"tool_use\",\"id\":\"%s\",\"name\":", p->id);
        wire_text(out, p->name, strlen(p->name));
        buf_add_text(out, ",\"input\":{}}");
    } else {
        buf_add_text(out, kind == BLOCK_TEXT
                              ? "{\"type\":\"text\",\"text\":\"\"}"
                              : "{\"type\":\"thinking\",\"thinking\":\"\",\"signature\":\"\"}");
    }
    event_end(out);
    if (a->blocks == 0)
        buf_add_text(out, api_anthropic.keepalive);
}

static void stream_delta(struct anthropic *a, struct buf *out, enum block_kind kind,
                         const struct speech_piece *p)
{
    static const char *const names[][2] = {
        [BLOCK_NONE] = {"", ""},
        [BLOCK_TEXT] = {"text_delta", "text"},
        [BLOCK_THINKING] = {"thinking_delta", "thinking"},
        [BLOCK_TOOL] = {"input_json_delta", "partial_json"},
    };
    if (p->len == 0)
        return;
    if (a->block != kind)
        open_block(a, out, kind, p);
    event_head(out, "content_block_delta");
    buf_printf(out, ",\"index\":%u,\"delta\":{\"type\":\"%s\",\"%s\":", a->blocks, names[kind][0],
               names[kind][1]);
    wire_text(out, p->text, p->len);
    buf_add_text(out, "}");
    event_end(out);
}

static void stream_piece(struct api_call *call, struct anthropic *a, const struct speech_piece *p)
{
    switch (p->kind) {
    case PIECE_TEXT:
        stream_delta(a, &call->out, BLOCK_TEXT, p);
        break;
    case PIECE_REASONING:
        stream_delta(a, &call->out, BLOCK_THINKING, p);
        break;
    case PIECE_TOOL_BEGIN:
        open_block(a, &call->out, BLOCK_TOOL, p);
        break;
    case PIECE_TOOL_ARGUMENTS:
        stream_delta(a, &call->out, BLOCK_TOOL, p);
        break;
    case PIECE_TOOL_END:
    case PIECE_FINISH:
        close_block(a, &call->out);
        break;
    }
}

static void hear(void *user, const struct speech_piece *p)
{
    struct api_call *call = user;
    struct anthropic *a = call->state;
    if (p->kind == PIECE_FINISH) {
        a->finish = p->finish;
        a->stop.bytes = p->stop.bytes ? arena_copy(call->arena, p->stop.bytes, p->stop.len) : NULL;
        a->stop.len = a->stop.bytes ? p->stop.len : 0;
    }
    if (call->stream)
        stream_piece(call, a, p);
}

void anthropic_event(struct api_call *call, size_t job, const struct engine_event *event)
{
    struct anthropic *a = call->state;
    (void)job; /* there is one */
    if (call->stream && event->kind == ENGINE_EVENT_STEP)
        begin_message(call, a);
    conversation_event(a->conversation, event, hear, call);
}

/* ---- the end ---------------------------------------------------------------------------------- */

static void end_stream(struct api_call *call, struct anthropic *a)
{
    const struct engine_usage *usage = conversation_usage(a->conversation);
    begin_message(call, a);
    event_head(&call->out, "message_delta");
    buf_add_text(&call->out, ",\"delta\":{");
    write_stop(&call->out, a->finish, &a->stop);
    buf_add_text(&call->out, "}");
    write_usage(&call->out, usage->prompt_tokens, usage->cached_tokens, usage->completion_tokens);
    event_end(&call->out);
    event_head(&call->out, "message_stop");
    event_end(&call->out);
}

static void write_text_block(struct buf *out, const char *type, const struct buf *text, size_t *n)
{
    if (text->len == 0)
        return;
    buf_printf(out, "%s{\"type\":\"%s\",\"%s\":", (*n)++ ? "," : "", type, type);
    wire_text(out, text->data, text->len);
    buf_add_text(out, strcmp(type, "thinking") == 0 ? ",\"signature\":\"\"}" : "}");
}

static void write_call(struct buf *out, const struct said_call *call, size_t *n)
{
    struct error unused = {0};
    json_t *input = NULL;
    bool whole =
        call->arguments.len && json_parse(call->arguments.data, call->arguments.len, &input, &unused) == 0;
    if (whole && json_is_object(input)) { /* else it was cut by the answer's length */
        buf_printf(out, "%s{\"type\":\"tool_use\",\"id\":\"%s\",\"name\":", (*n)++ ? "," : "", call->id);
        wire_text(out, call->name, strlen(call->name));
        buf_add_text(out, ",\"input\":");
        json_write(out, input);
        buf_add_text(out, "}");
    }
    json_decref(input);
}

int anthropic_advance(struct api_call *call, struct error *e)
{
    struct anthropic *a = call->state;
    struct buf *out = &call->out;
    size_t n = 0;
    if (conversation_failed(a->conversation)) {
        *e = *conversation_error(a->conversation);
        return -1;
    }
    if (call->stream) {
        end_stream(call, a);
        return 0;
    }
    const struct engine_usage *usage = conversation_usage(a->conversation);
    const struct said *said = conversation_said(a->conversation, 0);
    write_head(call, a);
    buf_add_text(out, ",\"content\":[");
    write_text_block(out, "thinking", &said->reasoning, &n);
    write_text_block(out, "text", &said->text, &n);
    for (const struct said_call *one = said->calls; one; one = one->next)
        write_call(out, one, &n);
    buf_add_text(out, "],");
    write_stop(out, a->finish, &a->stop);
    write_usage(out, usage->prompt_tokens, usage->cached_tokens, usage->completion_tokens);
    buf_add_text(out, "}");
    return 0;
}

void anthropic_free(struct api_call *call)
{
    struct anthropic *a = call->state;
    conversation_free(a->conversation);
    anthropic_drop(&a->parts);
}
