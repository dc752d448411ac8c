/* messages.c - see messages.h. */
#include "api/messages.h"

#include <stdio.h>
#include <string.h>

#include "api/fields.h"
#include "engine/base/json.h"
#include "engine/base/limits.h"

/* What one message, part or call is read with. */
struct reader {
    struct arena *arena;
    char prefix[40]; /* of names in errors: "messages[2]." */
    struct error *error;
};

struct message {
    struct engine_text role;
    const json_t *content, *tool_calls;
    struct engine_text name, tool_call_id, reasoning;
};

#define AT(member) offsetof(struct message, member)

static const char *const roles[] = {"system", "developer", "user", "assistant", "tool", NULL};

static const struct field message_rows[] = {
    {.name = "role",
     .type = FIELD_STRING,
     .offset = AT(role),
     .one_of = roles,
     .required = true,
     .help = "who speaks; developer is another name of system where the template does not tell them apart"},
    {.name = "content",
     .type = FIELD_JSON,
     .offset = AT(content),
     .kinds = FIELD_KIND_STRING | FIELD_KIND_ARRAY,
     .help = "text, or a list of parts {type: \"text\", text}, which are joined by newlines; may be absent "
             "beside tool_calls"},
    {.name = "name", .type = FIELD_STRING, .offset = AT(name), .help = "given to the template"},
    {.name = "tool_calls",
     .type = FIELD_JSON,
     .offset = AT(tool_calls),
     .kinds = FIELD_KIND_ARRAY,
     .help = "of an assistant: {id, type: \"function\", function: {name, arguments}}"},
    {.name = "tool_call_id",
     .type = FIELD_STRING,
     .offset = AT(tool_call_id),
     .help = "of a tool: the call that it answers"},
    {.name = "reasoning_content",
     .type = FIELD_STRING,
     .offset = AT(reasoning),
     .help = "of an assistant: what it thought, given to the template, which may leave it out"},
    {.name = "reasoning", .type = FIELD_ALIAS, .of = "reasoning_content", .help = "another name"},
    FIELD_REFUSED("function_call", "[]", "calls are in tool_calls"),
    FIELD_REFUSED("audio", "[]", "messages are text"),
    FIELD_REFUSED("refusal", "[\"\"]", "templates have no place for it"),
    FIELD_HARMLESS("annotations", "has no effect: they describe a text, and are not part of it"),
};
static const struct field_group message_groups[] = {FIELD_GROUP(message_rows, 0)};
const struct field_table messages_table = FIELD_TABLE(message_groups, sizeof(struct message));

struct part {
    struct engine_text type, text;
};

static const char *const part_types[] = {"text", NULL};

static const struct field part_rows[] = {
    {.name = "type",
     .type = FIELD_STRING,
     .offset = offsetof(struct part, type),
     .one_of = part_types,
     .required = true,
     .help = "text is the only kind that a language model reads"},
    {.name = "text",
     .type = FIELD_STRING,
     .offset = offsetof(struct part, text),
     .required = true,
     .help = "the part's text"},
    FIELD_HARMLESS("cache_control", "has no effect: equal beginnings of prompts are found without it"),
};
static const struct field_group part_groups[] = {FIELD_GROUP(part_rows, 0)};
static const struct field_table part_table = FIELD_TABLE(part_groups, sizeof(struct part));

struct call {
    struct engine_text id, type;
    const json_t *function;
    struct engine_text name, arguments;
};

static const char *const call_types[] = {"function", NULL};

static const struct field function_rows[] = {
    {.name = "name",
     .type = FIELD_STRING,
     .offset = offsetof(struct call, name),
     .min = 1,
     .required = true,
     .help = "of the tool"},
    {.name = "arguments",
     .type = FIELD_STRING,
     .offset = offsetof(struct call, arguments),
     .required = true,
     .help = "a JSON object as text"},
};
static const struct field_group function_groups[] = {FIELD_GROUP(function_rows, 0)};
static const struct field_table function_table = FIELD_TABLE(function_groups, sizeof(struct call));

static const struct field call_rows[] = {
    {.name = "id",
     .type = FIELD_STRING,
     .offset = offsetof(struct call, id),
     .min = 1,
     .required = true,
     .help = "what the tool's message names"},
    {.name = "type",
     .type = FIELD_STRING,
     .offset = offsetof(struct call, type),
     .one_of = call_types,
     .help = "function"},
    {.name = "function",
     .type = FIELD_OBJECT,
     .nested = &function_table,
     .required = true,
     .help = "what was called"},
    FIELD_HARMLESS("index", "has no effect: calls are in order"),
};
static const struct field_group call_groups[] = {FIELD_GROUP(call_rows, 0)};
static const struct field_table call_table = FIELD_TABLE(call_groups, sizeof(struct call));

/* ---- content -------------------------------------------------------------------------------- */

/* An image part has fields of its own; its type is what should be told about. */
static int check_part_type(const json_t *part, const char *prefix, struct error *e)
{
    const char *type = json_string_value(json_object_get(part, "type"));
    char name[112];
    if (!type || strcmp(type, "text") == 0)
        return 0;
    snprintf(name, sizeof name, "%stype", prefix);
    return error_param(e, ERROR_UNSUPPORTED, name,
                       "%s: parts of type \"%.64s\" are not supported, only \"text\"", name, type);
}

static int join_parts(const struct reader *r, const json_t *parts, json_t **out)
{
    struct buf text;
    buf_init(&text, LIMIT_REQUEST_ARENA);
    for (size_t i = 0; i < json_array_size(parts); i++) {
        struct part part;
        char prefix[96];
        const json_t *item = json_array_get(parts, i);
        snprintf(prefix, sizeof prefix, "%scontent[%zu].", r->prefix, i);
        if (check_part_type(item, prefix, r->error) < 0 ||
            fields_read(&part_table, item, prefix, r->arena, &part, r->error) < 0) {
            buf_free(&text);
            return -1;
        }
        buf_add_text(&text, i ? "\n" : "");
        buf_add(&text, part.text.bytes, part.text.len);
    }
    *out = text.failed ? NULL : json_stringn(text.data ? text.data : "", text.len);
    buf_free(&text);
    return *out ? 0 : error_no_memory(r->error);
}

/* json_object_set_new() takes the value also when it fails, and says so for a NULL value. */
static int set(json_t *object, const char *key, json_t *value, struct error *e)
{
    return json_object_set_new(object, key, value) < 0 ? error_no_memory(e) : 0;
}

static int set_text(json_t *object, const char *key, const struct engine_text *text, struct error *e)
{
    return text->bytes ? set(object, key, json_stringn(text->bytes, text->len), e) : 0;
}

static int set_content(const struct reader *r, const struct message *m, json_t *out)
{
    json_t *content = NULL;
    if (json_is_array(m->content))
        TRY(join_parts(r, m->content, &content));
    else
        content = m->content ? json_incref((json_t *)m->content) : json_string("");
    return set(out, "content", content, r->error);
}

/* ---- calls ---------------------------------------------------------------------------------- */

static int check_arguments(const struct reader *r, const struct call *call, size_t i)
{
    char name[112];
    json_t *value = NULL;
    struct error why = {0};
    bool object =
        json_parse(call->arguments.bytes, call->arguments.len, &value, &why) == 0 && json_is_object(value);
    json_decref(value);
    if (object)
        return 0;
    snprintf(name, sizeof name, "%stool_calls[%zu].function.arguments", r->prefix, i);
    return error_param(r->error, ERROR_INVALID_REQUEST, name, "%s must be a JSON object as text%s%s", name,
                       why.text[0] ? ": " : "", why.text);
}

static int add_call(const struct reader *r, const json_t *item, size_t i, json_t *calls)
{
    struct call call;
    char prefix[96];
    snprintf(prefix, sizeof prefix, "%stool_calls[%zu].", r->prefix, i);
    TRY(fields_read(&call_table, item, prefix, r->arena, &call, r->error));
    TRY(check_arguments(r, &call, i));
    json_t *out = json_pack("{s:s%,s:s,s:{s:s%,s:s%}}", "id", call.id.bytes, call.id.len, "type", "function",
                            "function", "name", call.name.bytes, call.name.len, "arguments",
                            call.arguments.bytes, call.arguments.len);
    return json_array_append_new(calls, out) < 0 ? error_no_memory(r->error) : 0;
}

static int set_calls(const struct reader *r, const struct message *m, json_t *out)
{
    if (json_array_size(m->tool_calls) == 0)
        return 0;
    json_t *calls = json_array();
    TRY(set(out, "tool_calls", calls, r->error));
    for (size_t i = 0; i < json_array_size(m->tool_calls); i++)
        TRY(add_call(r, json_array_get(m->tool_calls, i), i, calls));
    return 0;
}

/* ---- messages ------------------------------------------------------------------------------- */

static int refuse(const struct reader *r, const char *field, const char *why)
{
    char name[112];
    snprintf(name, sizeof name, "%s%s", r->prefix, field);
    return error_param(r->error, ERROR_INVALID_REQUEST, name, "%s %s", name, why);
}

/* What belongs to which role. */
static int check_message(const struct reader *r, const struct message *m)
{
    bool assistant = strcmp(m->role.bytes, "assistant") == 0, tool = strcmp(m->role.bytes, "tool") == 0;
    bool calls = json_array_size(m->tool_calls) > 0;
    if (calls && !assistant)
        return refuse(r, "tool_calls", "belongs to messages of the assistant");
    if (m->reasoning.len && !assistant)
        return refuse(r, "reasoning_content", "belongs to messages of the assistant");
    if (m->tool_call_id.bytes && !tool)
        return refuse(r, "tool_call_id", "belongs to messages of a tool");
    if (tool && !m->tool_call_id.bytes)
        return refuse(r, "tool_call_id", "is required in messages of a tool");
    if (!m->content && !calls)
        return refuse(r, "content", "is required");
    return 0;
}

static int read_message(const struct reader *r, const json_t *item, json_t *out)
{
    struct message m;
    TRY(fields_read(&messages_table, item, r->prefix, r->arena, &m, r->error));
    TRY(check_message(r, &m));
    TRY(set_text(out, "role", &m.role, r->error));
    TRY(set_content(r, &m, out));
    TRY(set_text(out, "name", &m.name, r->error));
    if (m.reasoning.len)
        TRY(set_text(out, "reasoning_content", &m.reasoning, r->error));
    TRY(set_calls(r, &m, out));
    return set_text(out, "tool_call_id", &m.tool_call_id, r->error);
}

int messages_read(const json_t *messages, struct arena *arena, json_t **out, struct error *e)
{
    if (json_array_size(messages) == 0)
        return error_param(e, ERROR_INVALID_REQUEST, "messages",
                           "messages must be a list of at least one message");
    json_t *list = json_array();
    for (size_t i = 0; i < json_array_size(messages); i++) {
        struct reader r = {.arena = arena, .error = e};
        snprintf(r.prefix, sizeof r.prefix, "messages[%zu].", i);
        json_t *message = json_object();
        int status = json_array_append_new(list, message);
        if (status < 0)
            error_no_memory(e);
        if (status < 0 || read_message(&r, json_array_get(messages, i), message) < 0) {
            json_decref(list);
            return -1;
        }
    }
    *out = list;
    return 0;
}
