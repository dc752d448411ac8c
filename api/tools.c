/* tools.c - see tools.h. */
#include "api/tools.h"

#include <stdio.h>
#include <string.h>

#include "api/fields.h"
#include "api/ids.h"
#include "engine/base/json.h"
#include "engine/base/limits.h"

#define SIGNS(...)                                                                                           \
    (const char *const[])                                                                                    \
    {                                                                                                        \
        __VA_ARGS__, NULL                                                                                    \
    }

/* ---- formats -------------------------------------------------------------------------------- */

/* Rows that say more stand before rows that say less. */
static const struct tool_format formats[] = {
    {
        .name = "mistral-args", /* Mistral Small 3.2, Devstral, Ministral 3 */
        .signs = SIGNS("[TOOL_CALLS]", "[ARGS]"),
        .mark = "[TOOL_CALLS]",
        .first = "[TOOL_CALLS] ",
        .middle = "[ARGS] ",
        .end = "",
        .next = " [TOOL_CALLS] ",
        .close = "",
        .id_length = 9,
    },
    {
        .name = "mistral", /* Mistral 7B v0.3, Nemo, Mixtral 8x22B */
        .signs = SIGNS("[TOOL_CALLS]"),
        .mark = "[TOOL_CALLS]",
        .first = "[TOOL_CALLS] [ { \"name\" : \"",
        .middle = "\" , \"arguments\" : ",
        .end = " }",
        .next = " , { \"name\" : \"",
        .close = " ]",
        .id_length = 9,
    },
    {
        .name = "functionary",
        .signs = SIGNS("<function=", "<|python_tag|>"),
        .mark = "<function=",
        .first = "<function=",
        .middle = "> ",
        .end = " </function>",
        .next = " <function=",
        .close = "",
    },
    {
        .name = "hermes", /* Hermes 2 and 3, Qwen 2.5 and 3, Granite 4 */
        .signs = SIGNS("<tool_call>"),
        .not_signs = SIGNS("<function=", "<arg_key>"),
        .mark = "<tool_call>",
        .first = "<tool_call> { \"name\" : \"",
        .middle = "\" , \"arguments\" : ",
        .end = " } </tool_call>",
        .next = " <tool_call> { \"name\" : \"",
        .close = "",
    },
    {
        .name = "llama3", /* Llama 3.1, 3.2, 3.3 */
        .signs = SIGNS("<|start_header_id|>", "\"parameters\": "),
        .prefix = "<|python_tag|>",
        .first = "{ \"name\" : \"",
        .middle = "\" , \"parameters\" : ",
        .end = " }",
        .next = " ; { \"name\" : \"",
        .close = "",
        .single = true,
    },
    {
        .name = "command-r",
        .signs = SIGNS("Action:", "tool_name"),
        .mark = "Action:",
        .first = "Action: ```json [ { \"tool_name\" : \"",
        .middle = "\" , \"parameters\" : ",
        .end = " }",
        .next = " , { \"tool_name\" : \"",
        .close = " ] ```",
        .indented = true,
    },
};

/* The marks of hermes: of all formats most models have seen them. */
static const struct tool_format own_format = {
    .name = "generic",
    .mark = "<tool_call>",
    .first = "<tool_call> { \"name\" : \"",
    .middle = "\" , \"arguments\" : ",
    .end = " } </tool_call>",
    .next = " <tool_call> { \"name\" : \"",
    .close = "",
};

static bool has_all(const char *source, const char *const *signs)
{
    while (*signs && strstr(source, *signs))
        signs++;
    return *signs == NULL;
}

static bool has_any(const char *source, const char *const *signs)
{
    while (signs && *signs && !strstr(source, *signs))
        signs++;
    return signs && *signs;
}

const struct tool_format *tools_find_format(const char *source)
{
    for (size_t i = 0; i < FIELD_COUNT(formats); i++) {
        if (has_all(source, formats[i].signs) && !has_any(source, formats[i].not_signs))
            return &formats[i];
    }
    return NULL;
}

const struct tool_format *tools_own_format(void)
{
    return &own_format;
}

static bool is_space(char c)
{
    return c == ' ' || c == '\n' || c == '\t' || c == '\r';
}

int tools_match(const char *words, const char *text, size_t len, size_t *used)
{
    size_t at = 0;
    for (; *words; words++) {
        if (*words == ' ') {
            while (at < len && is_space(text[at]))
                at++;
        } else if (at == len) {
            return 0;
        } else if (text[at++] != *words) {
            return -1;
        }
    }
    *used = at;
    return 1;
}

/* ---- declarations --------------------------------------------------------------------------- */

struct declaration {
    struct engine_text type;
    struct engine_text name, description;
    const json_t *parameters;
    bool strict;
};

#define AT(member) offsetof(struct declaration, member)

static const char *const types[] = {"function", NULL};

static const struct field function_rows[] = {
    {.name = "name",
     .type = FIELD_STRING,
     .offset = AT(name),
     .min = 1,
     .max = LIMIT_TOOL_NAME,
     .required = true,
     .help = "letters, digits, _, - and ."},
    {.name = "description", .type = FIELD_STRING, .offset = AT(description), .help = "given to the model"},
    {.name = "parameters",
     .type = FIELD_JSON,
     .offset = AT(parameters),
     .kinds = FIELD_KIND_OBJECT,
     .help = "JSON schema of the arguments, which every call obeys; absent: any object"},
    {.name = "strict", .type = FIELD_BOOL, .offset = AT(strict), .help = "calls obey the schema in any case"},
};
static const struct field_group function_groups[] = {FIELD_GROUP(function_rows, 0)};
static const struct field_table function_table = FIELD_TABLE(function_groups, sizeof(struct declaration));

static const struct field tool_rows[] = {
    {.name = "type",
     .type = FIELD_STRING,
     .offset = AT(type),
     .one_of = types,
     .required = true,
     .help = "function"},
    {.name = "function",
     .type = FIELD_OBJECT,
     .nested = &function_table,
     .required = true,
     .help = "what may be called"},
};
static const struct field_group tool_groups[] = {FIELD_GROUP(tool_rows, 0)};
const struct field_table tools_table = FIELD_TABLE(tool_groups, sizeof(struct declaration));

static bool good_name(const char *name, size_t len)
{
    static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.";
    return strspn(name, allowed) == len;
}

const struct tool *tools_by_name(const struct tool_list *tools, const char *name, size_t len)
{
    for (size_t i = 0; i < tools->n; i++) {
        if (strlen(tools->items[i].name) == len && memcmp(tools->items[i].name, name, len) == 0)
            return &tools->items[i];
    }
    return NULL;
}

static int read_tool(const json_t *item, size_t i, struct arena *arena, const struct tool_list *before,
                     struct tool *out, struct error *e)
{
    struct declaration d;
    char prefix[32];
    snprintf(prefix, sizeof prefix, "tools[%zu].", i);
    TRY(fields_read(&tools_table, item, prefix, arena, &d, e));
    char name[64];
    snprintf(name, sizeof name, "%sfunction.name", prefix);
    if (!good_name(d.name.bytes, d.name.len))
        return error_param(e, ERROR_INVALID_REQUEST, name, "%s may have letters, digits, _, - and . alone",
                           name);
    if (tools_by_name(before, d.name.bytes, d.name.len))
        return error_param(e, ERROR_INVALID_REQUEST, name, "%s: there are two tools named \"%.64s\"", name,
                           d.name.bytes);
    const char *copy = arena_copy(arena, d.name.bytes, d.name.len);
    if (!copy)
        return error_no_memory(e);
    *out = (struct tool){.name = copy, .parameters = d.parameters};
    return 0;
}

int tools_read(const json_t *list, struct arena *arena, struct tool_list *out, struct error *e)
{
    size_t n = json_array_size(list);
    memset(out, 0, sizeof *out);
    if (n > LIMIT_TOOLS)
        return error_param(e, ERROR_INVALID_REQUEST, "tools", "tools may be at most %d", LIMIT_TOOLS);
    struct tool *items = arena_alloc(arena, n + 1, sizeof *items);
    if (!items)
        return error_no_memory(e);
    out->items = items;
    for (size_t i = 0; i < n; i++) {
        TRY(read_tool(json_array_get(list, i), i, arena, out, &items[i], e));
        out->n = i + 1;
    }
    return 0;
}

int tools_read_choice(const json_t *value, const char *name, enum tool_choice *out, struct error *e)
{
    static const char *const names[] = {
        [TOOL_CHOICE_AUTO] = "auto", [TOOL_CHOICE_NONE] = "none", [TOOL_CHOICE_REQUIRED] = "required"};
    const char *text = json_string_value(value), *type = json_string_value(json_object_get(value, "type"));
    *out = name ? TOOL_CHOICE_NAMED : TOOL_CHOICE_AUTO;
    if (!value || (name && type && strcmp(type, "function") == 0 && json_object_size(value) == 2))
        return 0;
    for (size_t i = 0; i < FIELD_COUNT(names) && text; i++) {
        *out = (enum tool_choice)i;
        if (strcmp(names[i], text) == 0)
            return 0;
    }
    return error_param(
        e, ERROR_INVALID_REQUEST, "tool_choice",
        "tool_choice must be \"none\", \"auto\", \"required\" or an object that names a function");
}

/* ---- ids ------------------------------------------------------------------------------------ */

static void write_id(const struct tool_format *format, uint64_t state, char out[TOOL_ID_BYTES])
{
    size_t n = format->id_length ? format->id_length : 24;
    size_t at = (size_t)snprintf(out, TOOL_ID_BYTES, "%s", format->id_length ? "" : "call_");
    id_write(state, n, out + at);
}

void tools_make_id(const struct tool_format *format, char out[TOOL_ID_BYTES])
{
    write_id(format, id_seed(), out);
}

/* An id that is already in shape stays; others become one by FNV-1a. */
void tools_fit_id(const struct tool_format *format, const char *id, char out[TOOL_ID_BYTES])
{
    uint64_t hash = 0xcbf29ce484222325u;
    if (strlen(id) == format->id_length && strspn(id, id_letters) == format->id_length) {
        snprintf(out, TOOL_ID_BYTES, "%s", id);
        return;
    }
    for (; *id; id++)
        hash = (hash ^ (unsigned char)*id) * 0x100000001b3u;
    write_id(format, hash, out);
}

void tools_describe(const json_t *list, struct buf *out)
{
    buf_add_text(out, "You can call these functions, described in JSON:\n");
    for (size_t i = 0; i < json_array_size(list); i++) {
        json_write(out, json_object_get(json_array_get(list, i), "function"));
        buf_add_text(out, "\n");
    }
    buf_add_text(out, "To call one, write:\n<tool_call>\n{\"name\": NAME, \"arguments\": {}}\n</tool_call>\n"
                      "Its result comes in <tool_response>.");
}
