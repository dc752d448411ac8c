/* ollama_chat.c - POST /api/chat: Ollama's words round a conversation.
 * Calls of tools are told whole, with their arguments as an object; calls have no ids there, so results
 * answer calls in order.  Threads: begin and advance on a worker, event on the loop. */
#include <stdio.h>
#include <string.h>

#include "api/endpoints.h"
#include "api/ollama_options.h"
#include "api/wire.h"
#include "engine/base/json.h"
#include "engine/base/limits.h"

struct chat {
    struct ollama_options options; /* with the next two: the request */
    const json_t *messages, *tools;

    struct engine_model *model;
    struct conversation *conversation;
    struct buf call; /* streaming: the call that is being told, without the closing braces */
    enum chat_finish finish;
};

#define AT(member) offsetof(struct chat, member)

/* clang-format off */
static const struct field chat_rows[] = {
    {.name = "messages", .type = FIELD_JSON, .offset = AT(messages), .kinds = FIELD_KIND_ARRAY,
     .help = "the conversation: {role: system | user | assistant | tool, content, tool_calls?, tool_name?, thinking?}; "
             "empty or absent: only the model is looked for"},
    {.name = "tools", .type = FIELD_JSON, .offset = AT(tools), .kinds = FIELD_KIND_ARRAY,
     .help = "functions that may be called: {type: function, function: {name, description?, parameters}}"},
};
/* clang-format on */
static const struct field_group chat_groups[] = {{ollama_rows, OLLAMA_ROWS, AT(options)},
                                                 FIELD_GROUP(chat_rows, 0)};
const struct field_table ollama_chat_fields = FIELD_TABLE(chat_groups, sizeof(struct chat));

/* ---- messages --------------------------------------------------------------------------------- */

struct message {
    struct engine_text role, content, thinking, tool_name;
    const json_t *tool_calls;
};

static const char *const roles[] = {"system", "user", "assistant", "tool", NULL};

/* clang-format off */
static const struct field message_rows[] = {
    {.name = "role", .type = FIELD_STRING, .offset = offsetof(struct message, role), .one_of = roles, .required = true,
     .help = "who speaks"},
    {.name = "content", .type = FIELD_STRING, .offset = offsetof(struct message, content), .help = "what is said"},
    {.name = "thinking", .type = FIELD_STRING, .offset = offsetof(struct message, thinking),
     .help = "of an assistant: what it thought, given to the template, which may leave it out"},
    {.name = "tool_calls", .type = FIELD_JSON, .offset = offsetof(struct message, tool_calls), .kinds = FIELD_KIND_ARRAY,
     .help = "of an assistant: {function: {name, arguments: an object}}"},
    {.name = "tool_name", .type = FIELD_STRING, .offset = offsetof(struct message, tool_name),
     .help = "of a tool: its name"},
    FIELD_HARMLESS("tool_call_id", "has no effect: results answer calls in order"),
    FIELD_REFUSED("images", "[[]]", "messages are text"),
};
/* clang-format on */
static const struct field_group message_groups[] = {FIELD_GROUP(message_rows, 0)};
static const struct field_table message_table = FIELD_TABLE(message_groups, sizeof(struct message));

/* Numbers of calls, so that each result finds its call. */
struct numbers {
    size_t called, answered;
};

static int convert_call(const json_t *call, size_t number, const char *prefix, json_t *out, struct error *e)
{
    const json_t *function = json_object_get(call, "function");
    const json_t *name = json_object_get(function, "name");
    const json_t *arguments = json_object_get(function, "arguments");
    struct buf text;
    if (!json_is_string(name) || !json_is_object(arguments))
        return error_param(e, ERROR_INVALID_REQUEST, "messages",
                           "%stool_calls must be {function: {name: a text, arguments: an object}}", prefix);
    buf_init(&text, LIMIT_REQUEST_ARENA);
    json_write(&text, arguments);
    char id[32];
    snprintf(id, sizeof id, "call_%zu", number);
    json_t *made = text.failed ? NULL
                               : json_pack("{s:s,s:s,s:{s:O,s:s%}}", "id", id, "type", "function", "function",
                                           "name", name, "arguments", text.data, text.len);
    buf_free(&text);
    return json_array_append_new(out, made) < 0 ? error_no_memory(e) : 0;
}

static int convert_calls(const json_t *calls, struct numbers *n, const char *prefix, json_t *message,
                         struct error *e)
{
    json_t *list = json_array();
    if (json_object_set_new(message, "tool_calls", list) < 0)
        return error_no_memory(e);
    for (size_t i = 0; i < json_array_size(calls); i++)
        TRY(convert_call(json_array_get(calls, i), ++n->called, prefix, list, e));
    return 0;
}

static int set_text(json_t *message, const char *key, const struct engine_text *text, struct error *e)
{
    if (!text->bytes)
        return 0;
    return json_object_set_new(message, key, json_stringn(text->bytes, text->len)) < 0 ? error_no_memory(e)
                                                                                       : 0;
}

static int convert_message(struct api_call *call, const json_t *value, const char *prefix, struct numbers *n,
                           json_t *out, struct error *e)
{
    struct message m;
    TRY(fields_read(&message_table, value, prefix, call->arena, &m, e));
    if (!m.content.bytes)
        m.content = (struct engine_text){"", 0};
    TRY(set_text(out, "role", &m.role, e));
    TRY(set_text(out, "content", &m.content, e));
    TRY(set_text(out, "reasoning_content", &m.thinking, e));
    TRY(set_text(out, "name", &m.tool_name, e));
    if (json_array_size(m.tool_calls) > 0)
        return convert_calls(m.tool_calls, n, prefix, out, e);
    if (strcmp(m.role.bytes, "tool") != 0)
        return 0;
    if (n->answered == n->called)
        return error_param(e, ERROR_INVALID_REQUEST, "messages", "%srole: there is no call for this result",
                           prefix);
    char id[32];
    snprintf(id, sizeof id, "call_%zu", ++n->answered);
    return json_object_set_new(out, "tool_call_id", json_string(id)) < 0 ? error_no_memory(e) : 0;
}

static int convert_messages(struct api_call *call, const json_t *messages, json_t *list, struct error *e)
{
    struct numbers numbers = {0};
    for (size_t i = 0; i < json_array_size(messages); i++) {
        char prefix[32];
        snprintf(prefix, sizeof prefix, "messages[%zu].", i);
        json_t *message = json_object();
        if (json_array_append_new(list, message) < 0)
            return error_no_memory(e);
        TRY(convert_message(call, json_array_get(messages, i), prefix, &numbers, message, e));
    }
    return 0;
}

/* ---- begin ------------------------------------------------------------------------------------ */

static int answer_probe(struct api_call *call, const struct chat *c)
{
    ollama_write_head(&call->out, &c->options, c->model);
    buf_printf(
        &call->out,
        "\"message\":{\"role\":\"assistant\",\"content\":\"\"},\"done\":true,\"done_reason\":\"%s\"}%s",
        ollama_unloads(call) ? "unload" : "load", call->stream ? "\n" : "");
    return 0;
}

int ollama_chat_begin(struct api_call *call, struct error *e)
{
    struct chat *c = call->state;
    struct conversation_request request = {.tools = c->tools};
    json_t *messages, *arguments = NULL;
    buf_init(&c->call, LIMIT_REQUEST_ARENA);
    TRY(ollama_options_begin(call, &c->options, &c->model, e));
    if (json_array_size(c->messages) == 0)
        return answer_probe(call, c);
    messages = json_array();
    int status = messages ? convert_messages(call, c->messages, messages, e) : error_no_memory(e);
    if (status == 0)
        status = ollama_think(call, &c->options, c->model, &request, &arguments, e);
    if (status == 0)
        status = ollama_format(call, &c->options, c->model, &request.grammar, e);
    request.messages = messages;
    if (status == 0)
        status = conversation_begin(call, c->model, &c->options.generation, &request, &c->conversation, e);
    json_decref(messages);
    json_decref(arguments);
    return status < 0 ? status : ollama_fit(&c->options, &call->jobs[0], e);
}

/* ---- the answer ------------------------------------------------------------------------------- */

static void write_call(struct buf *out, const char *name, const struct buf *arguments)
{
    buf_add_text(out, "{\"function\":{\"name\":");
    wire_text(out, name, strlen(name));
    buf_add_text(out, ",\"arguments\":");
    buf_add(out, arguments->data, arguments->len);
    buf_add_text(out, "}}");
}

static void stream_line(struct api_call *call, const char *role_and_name, const char *text, size_t len)
{
    struct chat *c = call->state;
    ollama_write_head(&call->out, &c->options, c->model);
    buf_printf(&call->out, "\"message\":{\"role\":\"assistant\",%s", role_and_name);
    wire_text(&call->out, text, len);
    buf_add_text(&call->out, "},\"done\":false}\n");
}

static void stream_call(struct api_call *call, struct chat *c)
{
    ollama_write_head(&call->out, &c->options, c->model);
    buf_add_text(&call->out, "\"message\":{\"role\":\"assistant\",\"content\":\"\",\"tool_calls\":[");
    buf_add(&call->out, c->call.data, c->call.len);
    buf_add_text(&call->out, "}}]},\"done\":false}\n");
}

/* A call that was cut by the answer's length never comes to its end, and is not told. */
static void hear(void *user, const struct speech_piece *p)
{
    struct api_call *call = user;
    struct chat *c = call->state;
    if (p->kind == PIECE_FINISH)
        c->finish = p->finish;
    if (!call->stream)
        return;
    switch (p->kind) {
    case PIECE_TEXT:
        if (p->len)
            stream_line(call, "\"content\":", p->text, p->len);
        break;
    case PIECE_REASONING:
        if (p->len)
            stream_line(call, "\"content\":\"\",\"thinking\":", p->text, p->len);
        break;
    case PIECE_TOOL_BEGIN:
        buf_clear(&c->call);
        buf_add_text(&c->call, "{\"function\":{\"name\":");
        wire_text(&c->call, p->name, strlen(p->name));
        buf_add_text(&c->call, ",\"arguments\":");
        break;
    case PIECE_TOOL_ARGUMENTS:
        buf_add(&c->call, p->text, p->len);
        break;
    case PIECE_TOOL_END:
        stream_call(call, c);
        break;
    case PIECE_FINISH:
        break;
    }
}

void ollama_chat_event(struct api_call *call, size_t job, const struct engine_event *event)
{
    struct chat *c = call->state;
    (void)job; /* there is one */
    conversation_event(c->conversation, event, hear, call);
}

static bool is_object(const struct buf *text)
{
    struct error unused = {0};
    json_t *value = NULL;
    bool is = text->len && json_parse(text->data, text->len, &value, &unused) == 0 && json_is_object(value);
    json_decref(value);
    return is;
}

static void write_message(struct api_call *call, const struct said *said)
{
    struct buf *out = &call->out;
    const char *open = ",\"tool_calls\":[";
    buf_add_text(out, "\"message\":{\"role\":\"assistant\",\"content\":");
    wire_text(out, said->text.len ? said->text.data : "", said->text.len);
    if (said->reasoning.len) {
        buf_add_text(out, ",\"thinking\":");
        wire_text(out, said->reasoning.data, said->reasoning.len);
    }
    for (const struct said_call *one = said->calls; one; one = one->next) {
        if (!is_object(&one->arguments)) /* cut by the answer's length */
            continue;
        buf_add_text(out, open);
        write_call(out, one->name, &one->arguments);
        open = ",";
    }
    buf_add_text(out, *open == ',' && open[1] == 0 ? "]}," : "},");
}

int ollama_chat_advance(struct api_call *call, struct error *e)
{
    struct chat *c = call->state;
    if (conversation_failed(c->conversation)) {
        *e = *conversation_error(c->conversation);
        return -1;
    }
    ollama_write_head(&call->out, &c->options, c->model);
    if (call->stream)
        buf_add_text(&call->out, "\"message\":{\"role\":\"assistant\",\"content\":\"\"},");
    else
        write_message(call, conversation_said(c->conversation, 0));
    ollama_write_end(call, c->finish, conversation_usage(c->conversation));
    return 0;
}

void ollama_chat_free(struct api_call *call)
{
    struct chat *c = call->state;
    conversation_free(c->conversation);
    buf_free(&c->call);
}
