/* anthropic_request.c - Anthropic's blocks of content, tools and choices in the common shape of
 * conversation.h. One of its messages may become several: every result of a tool is a message of its own
 * there.  Neighbours of one role become one message, as that API does. */
#include <stdio.h>
#include <string.h>

#include "api/anthropic.h"
#include "api/thinking.h"
#include "engine/base/json.h"
#include "engine/base/limits.h"

/* ---- small parts ------------------------------------------------------------------------------ */

static int set(json_t *object, const char *key, json_t *value, struct error *e)
{
    return json_object_set_new(object, key, value) < 0 ? error_no_memory(e) : 0;
}

/* The one member `type` decides which table reads a block. */
static const char *type_of(const json_t *block)
{
    const char *type = json_string_value(json_object_get(block, "type"));
    return type ? type : "";
}

struct block {
    struct engine_text type, text, thinking, signature, id, name, tool_use_id;
    const json_t *input, *content;
    bool is_error;
};

#define AT(member) offsetof(struct block, member)

/* clang-format off */
#define TYPE_ROW {.name = "type", .type = FIELD_STRING, .offset = AT(type), .required = true, .help = "the block's kind"}
#define CACHE_ROW FIELD_HARMLESS("cache_control", "has no effect: equal beginnings of prompts are found without it")

static const struct field text_rows[] = {
    TYPE_ROW, CACHE_ROW,
    {.name = "text", .type = FIELD_STRING, .offset = AT(text), .required = true, .help = "the text"},
    FIELD_HARMLESS("citations", "has no effect: they describe a text, and are not part of it"),
    FIELD_HARMLESS("parsed_output", "has no effect: it is the text again"),
};
static const struct field thinking_rows[] = {
    TYPE_ROW,
    {.name = "thinking", .type = FIELD_STRING, .offset = AT(thinking), .required = true,
     .help = "what was thought, given to the template, which may leave it out"},
    FIELD_HARMLESS("signature", "has no effect: nothing is signed"),
};
static const struct field use_rows[] = {
    TYPE_ROW, CACHE_ROW,
    {.name = "id", .type = FIELD_STRING, .offset = AT(id), .min = 1, .required = true, .help = "of the call"},
    {.name = "name", .type = FIELD_STRING, .offset = AT(name), .min = 1, .required = true, .help = "of the tool"},
    {.name = "input", .type = FIELD_JSON, .offset = AT(input), .kinds = FIELD_KIND_OBJECT, .required = true,
     .help = "its arguments"},
    FIELD_HARMLESS("caller", "has no effect: the model is the only one that calls"),
    FIELD_HARMLESS("toolset_name", "has no effect: tools are known by their names"),
};
static const struct field result_rows[] = {
    TYPE_ROW, CACHE_ROW,
    {.name = "tool_use_id", .type = FIELD_STRING, .offset = AT(tool_use_id), .min = 1, .required = true,
     .help = "the call that it answers"},
    {.name = "content", .type = FIELD_JSON, .offset = AT(content), .kinds = FIELD_KIND_STRING | FIELD_KIND_ARRAY,
     .help = "what came of it: text, or blocks of text"},
    {.name = "is_error", .type = FIELD_BOOL, .offset = AT(is_error), .help = "the text then begins with \"Error: \""},
    FIELD_HARMLESS("toolset_name", "has no effect: tools are known by their names"),
};
/* clang-format on */
static const struct field_group text_groups[] = {FIELD_GROUP(text_rows, 0)};
static const struct field_group thinking_groups[] = {FIELD_GROUP(thinking_rows, 0)};
static const struct field_group use_groups[] = {FIELD_GROUP(use_rows, 0)};
static const struct field_group result_groups[] = {FIELD_GROUP(result_rows, 0)};

enum speaker { USER = 1, ASSISTANT = 2, SYSTEM = 4, RESULT = 8 };

static const struct {
    const char *type;
    unsigned speakers; /* who may say it */
    struct field_table table;
} kinds[] = {
    {"text", USER | ASSISTANT | SYSTEM | RESULT, FIELD_TABLE(text_groups, sizeof(struct block))},
    {"thinking", ASSISTANT, FIELD_TABLE(thinking_groups, sizeof(struct block))},
    {"tool_use", ASSISTANT, FIELD_TABLE(use_groups, sizeof(struct block))},
    {"tool_result", USER, FIELD_TABLE(result_groups, sizeof(struct block))},
};
enum { KINDS = sizeof kinds / sizeof kinds[0] };

static int read_block(struct api_call *call, const json_t *value, const char *prefix, enum speaker speaker,
                      struct block *out, struct error *e)
{
    for (size_t i = 0; i < KINDS; i++) {
        if (strcmp(kinds[i].type, type_of(value)) == 0 && (kinds[i].speakers & speaker))
            return fields_read(&kinds[i].table, value, prefix, call->arena, out, e);
    }
    char name[80];
    snprintf(name, sizeof name, "%stype", prefix);
    return error_param(e, *type_of(value) ? ERROR_UNSUPPORTED : ERROR_INVALID_REQUEST, name,
                       "%s: \"%.32s\" is no kind of content here; a language model reads text", name,
                       type_of(value));
}

static void add_paragraph(struct buf *out, const char *text, size_t len)
{
    buf_add_text(out, out->len ? "\n" : "");
    buf_add(out, text, len);
}

/* A text, or blocks of text, as one text. */
static int join_texts(struct api_call *call, const json_t *value, const char *prefix, enum speaker speaker,
                      struct buf *out, struct error *e)
{
    if (json_is_string(value))
        add_paragraph(out, json_string_value(value), json_string_length(value));
    for (size_t i = 0; i < json_array_size(value); i++) {
        struct block block;
        char name[80];
        snprintf(name, sizeof name, "%s[%zu].", prefix, i);
        TRY(read_block(call, json_array_get(value, i), name, speaker, &block, e));
        add_paragraph(out, block.text.bytes, block.text.len);
    }
    return out->failed ? error_no_memory(e) : 0;
}

/* ---- messages --------------------------------------------------------------------------------- */

/* The turn that is being put together: neighbours of one role are one turn. */
struct turn {
    json_t *messages;
    const char *role; /* NULL: none is open */
    struct buf text, thinking;
    json_t *calls; /* new reference, or NULL */
};

static json_t *text_value(const struct buf *text)
{
    return json_stringn(text->len ? text->data : "", text->len);
}

static int close_turn(struct turn *t, struct error *e)
{
    if (!t->role)
        return 0;
    json_t *message = json_object();
    if (json_array_append_new(t->messages, message) < 0)
        return error_no_memory(e);
    TRY(set(message, "role", json_string(t->role), e));
    TRY(set(message, "content", text_value(&t->text), e));
    if (t->thinking.len)
        TRY(set(message, "reasoning_content", text_value(&t->thinking), e));
    json_t *calls = t->calls;
    t->calls = NULL;
    if (calls)
        TRY(set(message, "tool_calls", calls, e));
    buf_clear(&t->text);
    buf_clear(&t->thinking);
    t->role = NULL;
    return 0;
}

static int open_turn(struct turn *t, const char *role, struct error *e)
{
    if (t->role && strcmp(t->role, role) != 0)
        TRY(close_turn(t, e));
    t->role = role;
    return 0;
}

static int add_call(struct turn *t, const struct block *block, struct error *e)
{
    struct buf text;
    buf_init(&text, LIMIT_REQUEST_ARENA);
    json_write(&text, block->input);
    json_t *call = text.failed ? NULL
                               : json_pack("{s:s%,s:s,s:{s:s%,s:s%}}", "id", block->id.bytes, block->id.len,
                                           "type", "function", "function", "name", block->name.bytes,
                                           block->name.len, "arguments", text.data, text.len);
    buf_free(&text);
    if (!t->calls)
        t->calls = json_array();
    return json_array_append_new(t->calls, call) < 0 ? error_no_memory(e) : 0;
}

/* A result ends the user's turn so far: it is a message of its own. */
static int add_result(struct api_call *call, struct turn *t, const struct block *block, const char *prefix,
                      struct error *e)
{
    struct buf text;
    char name[96];
    snprintf(name, sizeof name, "%scontent", prefix);
    TRY(close_turn(t, e));
    buf_init(&text, LIMIT_REQUEST_ARENA);
    int status = join_texts(call, block->content, name, RESULT, &text, e);
    json_t *message = status < 0
                          ? NULL
                          : json_pack("{s:s,s:s%,s:o}", "role", "tool", "tool_call_id",
                                      block->tool_use_id.bytes, block->tool_use_id.len, "content",
                                      block->is_error ? json_sprintf("Error: %s", text.len ? text.data : "")
                                                      : text_value(&text));
    buf_free(&text);
    if (status == 0 && json_array_append_new(t->messages, message) < 0)
        return error_no_memory(e);
    return status;
}

static int add_block(struct api_call *call, struct turn *t, const char *role, const json_t *value,
                     const char *prefix, struct error *e)
{
    struct block block;
    TRY(read_block(call, value, prefix, strcmp(role, "user") == 0 ? USER : ASSISTANT, &block, e));
    if (block.tool_use_id.bytes)
        return add_result(call, t, &block, prefix, e);
    TRY(open_turn(t, role, e));
    if (block.id.bytes)
        return add_call(t, &block, e);
    struct engine_text text = block.thinking.bytes ? block.thinking : block.text;
    add_paragraph(block.thinking.bytes ? &t->thinking : &t->text, text.bytes, text.len);
    return 0;
}

struct message {
    struct engine_text role;
    const json_t *content;
};

static const char *const roles[] = {"user", "assistant", NULL};

/* clang-format off */
static const struct field message_rows[] = {
    {.name = "role", .type = FIELD_STRING, .offset = offsetof(struct message, role), .one_of = roles, .required = true,
     .help = "who speaks"},
    {.name = "content", .type = FIELD_JSON, .offset = offsetof(struct message, content),
     .kinds = FIELD_KIND_STRING | FIELD_KIND_ARRAY, .required = true,
     .help = "text, or blocks: text; of an assistant tool_use and thinking; of a user tool_result"},
};
/* clang-format on */
static const struct field_group message_groups[] = {FIELD_GROUP(message_rows, 0)};
static const struct field_table message_table = FIELD_TABLE(message_groups, sizeof(struct message));

static int add_message(struct api_call *call, struct turn *t, size_t index, const json_t *value,
                       struct error *e)
{
    struct message m;
    char prefix[80];
    snprintf(prefix, sizeof prefix, "messages[%zu].", index);
    TRY(fields_read(&message_table, value, prefix, call->arena, &m, e));
    const char *role = strcmp(m.role.bytes, "user") == 0 ? "user" : "assistant";
    if (json_is_string(m.content)) {
        TRY(open_turn(t, role, e));
        add_paragraph(&t->text, json_string_value(m.content), json_string_length(m.content));
    }
    for (size_t i = 0; i < json_array_size(m.content); i++) {
        snprintf(prefix, sizeof prefix, "messages[%zu].content[%zu].", index, i);
        TRY(add_block(call, t, role, json_array_get(m.content, i), prefix, e));
    }
    return t->text.failed || t->thinking.failed ? error_no_memory(e) : 0;
}

static int convert_messages(struct api_call *call, const struct anthropic_request *r, struct turn *t,
                            struct error *e)
{
    if (r->system) {
        TRY(open_turn(t, "system", e));
        TRY(join_texts(call, r->system, "system", SYSTEM, &t->text, e));
        TRY(close_turn(t, e));
    }
    if (json_array_size(r->messages) == 0)
        return error_param(e, ERROR_INVALID_REQUEST, "messages", "messages must hold at least one message");
    for (size_t i = 0; i < json_array_size(r->messages); i++)
        TRY(add_message(call, t, i, json_array_get(r->messages, i), e));
    return close_turn(t, e);
}

/* ---- tools ------------------------------------------------------------------------------------ */

struct tool_fields {
    struct engine_text type, name, description;
    const json_t *schema;
    bool strict;
};

static const char *const tool_types[] = {"custom", NULL};

/* clang-format off */
static const struct field tool_rows[] = {
    {.name = "type", .type = FIELD_STRING, .offset = offsetof(struct tool_fields, type), .one_of = tool_types,
     .help = "custom: the server has no tools of its own"},
    {.name = "name", .type = FIELD_STRING, .offset = offsetof(struct tool_fields, name), .min = 1, .required = true,
     .help = "of the tool"},
    {.name = "description", .type = FIELD_STRING, .offset = offsetof(struct tool_fields, description), .help = "for the model"},
    {.name = "input_schema", .type = FIELD_JSON, .offset = offsetof(struct tool_fields, schema), .kinds = FIELD_KIND_OBJECT,
     .required = true, .help = "JSON schema of its arguments"},
    {.name = "strict", .type = FIELD_BOOL, .offset = offsetof(struct tool_fields, strict), .help = "arguments follow the schema"},
    CACHE_ROW,
    FIELD_HARMLESS("eager_input_streaming", "has no effect: arguments are streamed as they come"),
    FIELD_HARMLESS("input_examples", "has no effect: templates have no place for them"),
    FIELD_REFUSED("defer_loading", "[false]", "all tools are told to the model"),
    FIELD_REFUSED("allowed_callers", "[[\"direct\"]]", "the model is the only one that calls"),
};
/* clang-format on */
static const struct field_group tool_groups[] = {FIELD_GROUP(tool_rows, 0)};
static const struct field_table tool_table = FIELD_TABLE(tool_groups, sizeof(struct tool_fields));

static int convert_tool(struct api_call *call, size_t index, const json_t *value, json_t *list,
                        struct error *e)
{
    struct tool_fields t;
    char prefix[32];
    snprintf(prefix, sizeof prefix, "tools[%zu].", index);
    TRY(fields_read(&tool_table, value, prefix, call->arena, &t, e));
    json_t *function = json_pack("{s:s%,s:O}", "name", t.name.bytes, t.name.len, "parameters", t.schema);
    if (json_array_append_new(list, json_pack("{s:s,s:O}", "type", "function", "function", function)) < 0) {
        json_decref(function);
        return error_no_memory(e);
    }
    json_decref(function); /* the list holds it */
    if (t.strict)
        TRY(set(function, "strict", json_true(), e));
    return t.description.bytes
               ? set(function, "description", json_stringn(t.description.bytes, t.description.len), e)
               : 0;
}

static int convert_tools(struct api_call *call, const struct anthropic_request *r,
                         struct anthropic_parts *parts, struct error *e)
{
    if (json_array_size(r->tools) == 0)
        return 0;
    parts->tools = json_array();
    if (!parts->tools)
        return error_no_memory(e);
    for (size_t i = 0; i < json_array_size(r->tools); i++)
        TRY(convert_tool(call, i, json_array_get(r->tools, i), parts->tools, e));
    parts->request.tools = parts->tools;
    return 0;
}

struct choice_of_tool {
    struct engine_text type, name;
    bool one;
};

static const char *const choices[] = {"auto", "none", "any", "tool",
                                      NULL}; /* in the order of enum tool_choice */

/* clang-format off */
static const struct field choice_rows[] = {
    {.name = "type", .type = FIELD_STRING, .offset = offsetof(struct choice_of_tool, type), .one_of = choices,
     .required = true, .help = "auto: the model decides; any: some tool; tool: the one that is named; none"},
    {.name = "name", .type = FIELD_STRING, .offset = offsetof(struct choice_of_tool, name), .min = 1,
     .help = "with tool: which"},
    {.name = "disable_parallel_tool_use", .type = FIELD_BOOL, .offset = offsetof(struct choice_of_tool, one),
     .help = "at most one call in an answer"},
};
/* clang-format on */
static const struct field_group choice_groups[] = {FIELD_GROUP(choice_rows, 0)};
static const struct field_table choice_table = FIELD_TABLE(choice_groups, sizeof(struct choice_of_tool));

static int convert_choice(struct api_call *call, const struct anthropic_request *r,
                          struct conversation_request *out, struct error *e)
{
    struct choice_of_tool c;
    if (!r->tool_choice)
        return 0;
    TRY(fields_read(&choice_table, r->tool_choice, "tool_choice.", call->arena, &c, e));
    for (size_t i = 0; choices[i]; i++) {
        if (strcmp(choices[i], c.type.bytes) == 0)
            out->tool_choice = (enum tool_choice)i;
    }
    if ((out->tool_choice == TOOL_CHOICE_NAMED) != (c.name.bytes != NULL))
        return error_param(e, ERROR_INVALID_REQUEST, "tool_choice.name",
                           "tool_choice.name is for the type tool, which needs it");
    out->tool_name = c.name.bytes;
    out->one_tool = c.one;
    return 0;
}

/* ---- thinking --------------------------------------------------------------------------------- */

static int convert_thinking(struct api_call *call, const struct anthropic_request *r,
                            struct engine_model *model, struct anthropic_parts *parts, struct error *e)
{
    const char *type = r->thinking ? type_of(r->thinking) : NULL;
    if (!type)
        return 0;
    if (strcmp(type, "enabled") == 0)
        return error_param(e, ERROR_UNSUPPORTED, "thinking.budget_tokens",
                           "thinking: a budget can't be held; {\"type\": \"adaptive\"} thinks without one");
    if (strcmp(type, "adaptive") != 0 && strcmp(type, "disabled") != 0)
        return error_param(e, ERROR_INVALID_REQUEST, "thinking.type",
                           "thinking.type must be \"adaptive\" or \"disabled\"");
    TRY(thinking_choose(call, model, strcmp(type, "adaptive") == 0, "thinking", &parts->arguments, e));
    parts->request.arguments = parts->arguments;
    return 0;
}

/* ---- all of it -------------------------------------------------------------------------------- */

/* An answer goes on with the text of an assistant that spoke last. */
static bool ends_with_assistant(const json_t *messages)
{
    size_t n = json_array_size(messages);
    const json_t *last = n ? json_array_get(messages, n - 1) : NULL;
    const char *role = json_string_value(json_object_get(last, "role"));
    return role && strcmp(role, "assistant") == 0 && !json_object_get(last, "tool_calls");
}

int anthropic_convert(struct api_call *call, const struct anthropic_request *r, struct engine_model *model,
                      struct anthropic_parts *parts, struct error *e)
{
    struct turn turn = {0};
    memset(parts, 0, sizeof *parts);
    turn.messages = parts->messages = json_array();
    buf_init(&turn.text, LIMIT_REQUEST_ARENA);
    buf_init(&turn.thinking, LIMIT_REQUEST_ARENA);
    int status = parts->messages ? convert_messages(call, r, &turn, e) : error_no_memory(e);
    buf_free(&turn.text);
    buf_free(&turn.thinking);
    json_decref(turn.calls);
    parts->request.messages = parts->messages;
    parts->request.effort = r->effort;
    parts->request.continue_final = ends_with_assistant(parts->messages);
    if (status < 0 || convert_tools(call, r, parts, e) < 0 ||
        convert_choice(call, r, &parts->request, e) < 0 || convert_thinking(call, r, model, parts, e) < 0) {
        anthropic_drop(parts);
        return -1;
    }
    return 0;
}

void anthropic_drop(struct anthropic_parts *parts)
{
    json_decref(parts->messages);
    json_decref(parts->tools);
    json_decref(parts->arguments);
    memset(parts, 0, sizeof *parts);
}
