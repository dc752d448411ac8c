/* responses_input.c - see responses_input.h.
 * To take another type of item: a row in item_types and its function. */
#include "api/responses_input.h"

#include <stdio.h>
#include <string.h>

#include "api/fields.h"
#include "engine/base/json.h"
#include "engine/base/limits.h"

struct reader {
    struct arena *arena;
    json_t *messages;
    char prefix[40]; /* "input[2]." */
    struct error *error;
};

/* One struct for all types of items: each table names its own members. */
struct item {
    struct engine_text type, role, id, status, call_id, name, arguments;
    const json_t *content, *output, *summary;
};

#define AT(member) offsetof(struct item, member)

static const char *const roles[] = {"user", "assistant", "system", "developer", NULL};
static const char *const statuses[] = {"in_progress", "completed", "incomplete", NULL};

#define COMMON_ROWS                                                                                          \
    {.name = "type", .type = FIELD_STRING, .offset = AT(type), .help = "of the item"},                       \
        {.name = "id", .type = FIELD_STRING, .offset = AT(id), .help = "has no effect: items are in order"}, \
    {                                                                                                        \
        .name = "status", .type = FIELD_STRING, .offset = AT(status), .one_of = statuses,                    \
        .help = "has no effect: an item is what it holds"                                                    \
    }

static const struct field message_rows[] = {
    COMMON_ROWS,
    {.name = "role",
     .type = FIELD_STRING,
     .offset = AT(role),
     .one_of = roles,
     .required = true,
     .help = "who speaks"},
    {.name = "content",
     .type = FIELD_JSON,
     .offset = AT(content),
     .kinds = FIELD_KIND_STRING | FIELD_KIND_ARRAY,
     .required = true,
     .help = "text, or a list of parts {type: input_text | output_text, text}"},
    FIELD_HARMLESS("phase", "has no effect"),
};
static const struct field call_rows[] = {
    COMMON_ROWS,
    {.name = "call_id",
     .type = FIELD_STRING,
     .offset = AT(call_id),
     .min = 1,
     .required = true,
     .help = "what its output names"},
    {.name = "name",
     .type = FIELD_STRING,
     .offset = AT(name),
     .min = 1,
     .required = true,
     .help = "of the function"},
    {.name = "arguments",
     .type = FIELD_STRING,
     .offset = AT(arguments),
     .required = true,
     .help = "a JSON object as text"},
};
static const struct field output_rows[] = {
    COMMON_ROWS,
    {.name = "call_id",
     .type = FIELD_STRING,
     .offset = AT(call_id),
     .min = 1,
     .required = true,
     .help = "the call that it answers"},
    {.name = "output",
     .type = FIELD_JSON,
     .offset = AT(output),
     .kinds = FIELD_KIND_STRING | FIELD_KIND_ARRAY,
     .required = true,
     .help = "text, or a list of parts {type: input_text, text}"},
};
static const struct field reasoning_rows[] = {
    COMMON_ROWS,
    {.name = "summary",
     .type = FIELD_JSON,
     .offset = AT(summary),
     .kinds = FIELD_KIND_ARRAY,
     .help = "parts {type: summary_text, text}; used where there is no content"},
    {.name = "content",
     .type = FIELD_JSON,
     .offset = AT(content),
     .kinds = FIELD_KIND_ARRAY,
     .help = "parts {type: reasoning_text, text}"},
    FIELD_REFUSED("encrypted_content", "[\"\"]", "nothing is encrypted here"),
};

static const struct field_group message_groups[] = {FIELD_GROUP(message_rows, 0)};
static const struct field_group call_groups[] = {FIELD_GROUP(call_rows, 0)};
static const struct field_group output_groups[] = {FIELD_GROUP(output_rows, 0)};
static const struct field_group reasoning_groups[] = {FIELD_GROUP(reasoning_rows, 0)};
static const struct field_table message_table = FIELD_TABLE(message_groups, sizeof(struct item));
static const struct field_table call_table = FIELD_TABLE(call_groups, sizeof(struct item));
static const struct field_table output_table = FIELD_TABLE(output_groups, sizeof(struct item));
static const struct field_table reasoning_table = FIELD_TABLE(reasoning_groups, sizeof(struct item));

/* ---- parts ---------------------------------------------------------------------------------- */

struct part {
    struct engine_text type, text;
};

static const char *const part_types[] = {"input_text",     "output_text",  "text",
                                         "reasoning_text", "summary_text", NULL};

static const struct field part_rows[] = {
    {.name = "type",
     .type = FIELD_STRING,
     .offset = offsetof(struct part, type),
     .required = true,
     .help = "text"},
    {.name = "text",
     .type = FIELD_STRING,
     .offset = offsetof(struct part, text),
     .required = true,
     .help = "text"},
    FIELD_HARMLESS("annotations", "has no effect: they describe a text, and are not part of it"),
    FIELD_HARMLESS("logprobs", "has no effect: they describe a text, and are not part of it"),
};
static const struct field_group part_groups[] = {FIELD_GROUP(part_rows, 0)};
static const struct field_table part_table = FIELD_TABLE(part_groups, sizeof(struct part));

static int check_part_type(const struct reader *r, const json_t *part, const char *prefix)
{
    const char *type = json_string_value(json_object_get(part, "type"));
    char name[112];
    for (const char *const *t = part_types; type && *t; t++) {
        if (strcmp(*t, type) == 0)
            return 0;
    }
    if (!type)
        return 0; /* the table says what is missing */
    snprintf(name, sizeof name, "%stype", prefix);
    return error_param(r->error, ERROR_UNSUPPORTED, name,
                       "%s: parts of type \"%.64s\" are not supported, only text", name, type);
}

/* A text or a list of parts as one string; a new reference. */
static int read_text(const struct reader *r, const json_t *value, const char *field, json_t **out)
{
    struct buf text;
    if (json_is_string(value)) {
        *out = json_incref((json_t *)value);
        return 0;
    }
    buf_init(&text, LIMIT_REQUEST_ARENA);
    for (size_t i = 0; i < json_array_size(value); i++) {
        struct part part;
        char prefix[96];
        snprintf(prefix, sizeof prefix, "%s%s[%zu].", r->prefix, field, i);
        if (check_part_type(r, json_array_get(value, i), prefix) < 0 ||
            fields_read(&part_table, json_array_get(value, i), prefix, r->arena, &part, r->error) < 0) {
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

/* ---- items ---------------------------------------------------------------------------------- */

static int append(struct reader *r, json_t *message)
{
    return json_array_append_new(r->messages, message) < 0 ? error_no_memory(r->error) : 0;
}

/* The assistant's turn that is going on: reasoning, text and calls of one turn are one message. */
static int open_turn(struct reader *r, json_t **out)
{
    size_t n = json_array_size(r->messages);
    json_t *last = n ? json_array_get(r->messages, n - 1) : NULL;
    const char *role = json_string_value(json_object_get(last, "role"));
    if (!role || strcmp(role, "assistant") != 0) {
        last = json_pack("{s:s,s:s}", "role", "assistant", "content", "");
        TRY(append(r, last));
    }
    *out = last;
    return 0;
}

static int add_message(struct reader *r, const struct item *item)
{
    json_t *text, *turn;
    TRY(read_text(r, item->content, "content", &text));
    if (strcmp(item->role.bytes, "assistant") != 0)
        return append(r, json_pack("{s:s,s:o}", "role", item->role.bytes, "content", text));
    int status = open_turn(r, &turn);
    if (status == 0 &&
        (json_string_length(json_object_get(turn, "content")) || json_object_get(turn, "tool_calls"))) {
        turn = json_pack("{s:s}", "role", "assistant");
        status = append(r, turn);
    }
    if (status < 0)
        json_decref(text);
    else if (json_object_set_new(turn, "content", text) < 0)
        status = error_no_memory(r->error);
    return status;
}

static int check_arguments(const struct reader *r, const struct item *item)
{
    char name[64];
    json_t *value = NULL;
    bool object =
        json_parse(item->arguments.bytes, item->arguments.len, &value, NULL) == 0 && json_is_object(value);
    json_decref(value);
    if (object)
        return 0;
    snprintf(name, sizeof name, "%sarguments", r->prefix);
    return error_param(r->error, ERROR_INVALID_REQUEST, name, "%s must be a JSON object as text", name);
}

static int add_call(struct reader *r, const struct item *item)
{
    json_t *turn;
    TRY(check_arguments(r, item));
    TRY(open_turn(r, &turn));
    json_t *calls = json_object_get(turn, "tool_calls");
    if (!calls) {
        calls = json_array();
        if (json_object_set_new(turn, "tool_calls", calls) < 0)
            return error_no_memory(r->error);
    }
    json_t *call = json_pack("{s:s,s:s,s:{s:s,s:s}}", "id", item->call_id.bytes, "type", "function",
                             "function", "name", item->name.bytes, "arguments", item->arguments.bytes);
    return json_array_append_new(calls, call) < 0 ? error_no_memory(r->error) : 0;
}

static int add_output(struct reader *r, const struct item *item)
{
    json_t *text;
    TRY(read_text(r, item->output, "output", &text));
    return append(
        r, json_pack("{s:s,s:s,s:o}", "role", "tool", "tool_call_id", item->call_id.bytes, "content", text));
}

static int add_reasoning(struct reader *r, const struct item *item)
{
    json_t *text, *turn;
    const json_t *parts = json_array_size(item->content) ? item->content : item->summary;
    if (json_array_size(parts) == 0)
        return 0;
    TRY(read_text(r, parts, parts == item->content ? "content" : "summary", &text));
    turn = json_pack("{s:s,s:s,s:o}", "role", "assistant", "content", "", "reasoning_content", text);
    return append(r, turn);
}

static const struct {
    const char *type;
    const struct field_table *table;
    int (*add)(struct reader *r, const struct item *item);
} item_types[] = {
    {"message", &message_table, add_message},
    {"function_call", &call_table, add_call},
    {"function_call_output", &output_table, add_output},
    {"reasoning", &reasoning_table, add_reasoning},
};

/* A message need not say its type. */
static int read_item(struct reader *r, const json_t *object)
{
    struct item item;
    char name[64];
    const char *type = json_string_value(json_object_get(object, "type"));
    for (size_t i = 0; i < FIELD_COUNT(item_types); i++) {
        if (strcmp(type ? type : "message", item_types[i].type) != 0)
            continue;
        TRY(fields_read(item_types[i].table, object, r->prefix, r->arena, &item, r->error));
        return item_types[i].add(r, &item);
    }
    snprintf(name, sizeof name, "%stype", r->prefix);
    return error_param(r->error, ERROR_UNSUPPORTED, name, "%s: items of type \"%.64s\" are not supported",
                       name, type);
}

int responses_read_input(const json_t *input, struct arena *arena, json_t *messages, json_t **items,
                         struct error *e)
{
    struct reader r = {.arena = arena, .messages = messages, .error = e};
    *items = json_is_string(input) ? json_pack("[{s:s,s:s,s:[{s:s,s:O}]}]", "type", "message", "role", "user",
                                               "content", "type", "input_text", "text", input)
                                   : json_incref((json_t *)input);
    if (!*items)
        return error_no_memory(e);
    if (json_array_size(*items) == 0)
        return error_param(e, ERROR_INVALID_REQUEST, "input", "input must hold at least one item");
    for (size_t i = 0; i < json_array_size(*items); i++) {
        snprintf(r.prefix, sizeof r.prefix, "input[%zu].", i);
        TRY(read_item(&r, json_array_get(*items, i)));
    }
    return 0;
}

/* ---- tools ---------------------------------------------------------------------------------- */

struct function {
    struct engine_text type, name, description;
    const json_t *parameters;
    bool strict;
};

static const struct field tool_rows[] = {
    {.name = "type",
     .type = FIELD_STRING,
     .offset = offsetof(struct function, type),
     .required = true,
     .help = "function; the tools of OpenAI's own servers are refused"},
    {.name = "name",
     .type = FIELD_STRING,
     .offset = offsetof(struct function, name),
     .min = 1,
     .max = LIMIT_TOOL_NAME,
     .required = true,
     .help = "letters, digits, _, - and ."},
    {.name = "description",
     .type = FIELD_STRING,
     .offset = offsetof(struct function, description),
     .help = "given to the model"},
    {.name = "parameters",
     .type = FIELD_JSON,
     .offset = offsetof(struct function, parameters),
     .kinds = FIELD_KIND_OBJECT,
     .help = "JSON schema of the arguments, which every call obeys; absent: any object"},
    {.name = "strict",
     .type = FIELD_BOOL,
     .offset = offsetof(struct function, strict),
     .help = "calls obey the schema in any case"},
};
static const struct field_group tool_groups[] = {FIELD_GROUP(tool_rows, 0)};
const struct field_table responses_tool_table = FIELD_TABLE(tool_groups, sizeof(struct function));

static int read_tool(const json_t *item, size_t i, struct arena *arena, json_t *list, struct error *e)
{
    struct function f;
    char prefix[40], name[64];
    const char *type = json_string_value(json_object_get(item, "type"));
    snprintf(prefix, sizeof prefix, "tools[%zu].", i);
    snprintf(name, sizeof name, "%stype", prefix);
    if (type && strcmp(type, "function") != 0)
        return error_param(e, ERROR_UNSUPPORTED, name,
                           "%s: tools of type \"%.64s\" are not offered, only function", name, type);
    TRY(fields_read(&responses_tool_table, item, prefix, arena, &f, e));
    json_t *function = json_pack("{s:s}", "name", f.name.bytes);
    if (json_array_append_new(list, json_pack("{s:s,s:O}", "type", "function", "function", function)) < 0) {
        json_decref(function);
        return error_no_memory(e);
    }
    int failed = 0;
    if (f.description.bytes)
        failed |= json_object_set_new(function, "description", json_string(f.description.bytes));
    if (f.parameters)
        failed |= json_object_set(function, "parameters", (json_t *)f.parameters);
    json_decref(function);
    return failed ? error_no_memory(e) : 0;
}

int responses_read_tools(const json_t *tools, struct arena *arena, json_t **out, struct error *e)
{
    *out = NULL;
    if (json_array_size(tools) == 0)
        return 0;
    json_t *list = json_array();
    if (!list)
        return error_no_memory(e);
    for (size_t i = 0; i < json_array_size(tools); i++) {
        if (read_tool(json_array_get(tools, i), i, arena, list, e) < 0) {
            json_decref(list);
            return -1;
        }
    }
    *out = list;
    return 0;
}
