/* adapt.c - see adapt.h. */
#include "api/adapt.h"

#include <string.h>

#include "engine/base/json.h"
#include "engine/base/limits.h"

struct adapter {
    const struct template_traits *traits;
    json_t *names; /* call id to the name of the function, for results that do not say it */
    json_t *out;
    struct error *error;
};

static int set(struct adapter *a, json_t *object, const char *key, json_t *value)
{
    return json_object_set_new(object, key, value) < 0 ? error_no_memory(a->error) : 0;
}

static int set_buf(struct adapter *a, json_t *message, struct buf *text)
{
    json_t *value = text->failed ? NULL : json_stringn(text->data ? text->data : "", text->len);
    buf_free(text);
    return set(a, message, "content", value);
}

static void add_content(const json_t *message, struct buf *out)
{
    const json_t *content = json_object_get(message, "content");
    buf_add(out, json_string_value(content), json_string_length(content));
}

static const char *text_of(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text ? text : "";
}

/* ---- templates that write calls ------------------------------------------------------------- */

static int adapt_arguments(struct adapter *a, json_t *function)
{
    const json_t *text = json_object_get(function, "arguments");
    json_t *value;
    if (a->traits->text_arguments)
        return 0;
    TRY(json_parse(json_string_value(text), json_string_length(text), &value, a->error));
    return set(a, function, "arguments", value);
}

static int adapt_id(struct adapter *a, json_t *object, const char *key)
{
    char id[TOOL_ID_BYTES];
    if (a->traits->format->id_length == 0)
        return 0;
    tools_fit_id(a->traits->format, text_of(object, key), id);
    return set(a, object, key, json_string(id));
}

static int adapt_calls(struct adapter *a, json_t *message)
{
    json_t *calls = json_deep_copy(json_object_get(message, "tool_calls"));
    TRY(set(a, message, "tool_calls", calls));
    for (size_t i = 0; i < json_array_size(calls); i++) {
        json_t *call = json_array_get(calls, i);
        TRY(adapt_arguments(a, json_object_get(call, "function")));
        TRY(adapt_id(a, call, "id"));
    }
    return 0;
}

static int adapt_result(struct adapter *a, json_t *message)
{
    json_t *name = json_object_get(a->names, text_of(message, "tool_call_id"));
    if (name && !json_object_get(message, "name"))
        TRY(set(a, message, "name", json_incref(name)));
    return adapt_id(a, message, "tool_call_id");
}

/* ---- templates that don't ------------------------------------------------------------------- */

static int calls_to_text(struct adapter *a, json_t *message)
{
    struct buf text;
    const json_t *calls = json_object_get(message, "tool_calls");
    buf_init(&text, LIMIT_REQUEST_ARENA);
    add_content(message, &text);
    for (size_t i = 0; i < json_array_size(calls); i++) {
        const json_t *function = json_object_get(json_array_get(calls, i), "function");
        const char *name = text_of(function, "name");
        buf_add_text(&text, text.len ? "\n<tool_call>\n{\"name\": " : "<tool_call>\n{\"name\": ");
        json_write_string(&text, name, strlen(name));
        buf_printf(&text, ", \"arguments\": %s}\n</tool_call>", text_of(function, "arguments"));
    }
    json_object_del(message, "tool_calls");
    return set_buf(a, message, &text);
}

/* Results that follow each other are one message of the user. */
static int result_to_text(struct adapter *a, json_t *message)
{
    struct buf text;
    size_t n = json_array_size(a->out);
    json_t *last = n ? json_array_get(a->out, n - 1) : NULL;
    bool joins = last && json_object_get(last, "results");
    buf_init(&text, LIMIT_REQUEST_ARENA);
    if (joins)
        add_content(last, &text);
    buf_add_text(&text, joins ? "\n<tool_response>\n" : "<tool_response>\n");
    add_content(message, &text);
    buf_add_text(&text, "\n</tool_response>");
    if (joins)
        return set_buf(a, last, &text);
    json_t *made = json_pack("{s:s,s:b}", "role", "user", "results", 1);
    if (json_array_append_new(a->out, made) < 0) {
        buf_free(&text);
        return error_no_memory(a->error);
    }
    return set_buf(a, made, &text);
}

static int prepend(struct adapter *a, json_t *message, const json_t *tools)
{
    struct buf text;
    buf_init(&text, LIMIT_REQUEST_ARENA);
    if (strcmp(text_of(message, "role"), "system") == 0) {
        add_content(message, &text);
        buf_add_text(&text, text.len ? "\n\n" : "");
        tools_describe(tools, &text);
    } else {
        tools_describe(tools, &text);
        buf_add_text(&text, "\n\n");
        add_content(message, &text);
    }
    return set_buf(a, message, &text);
}

/* After the words of the system message there is; before those of a first message that must be the user's. */
static int describe_tools(struct adapter *a, const json_t *tools)
{
    json_t *first = json_array_get(a->out, 0);
    bool is_system = strcmp(text_of(first, "role"), "system") == 0;
    if (a->traits->system && !is_system) {
        first = json_pack("{s:s,s:s}", "role", "system", "content", "");
        if (json_array_insert_new(a->out, 0, first) < 0)
            return error_no_memory(a->error);
    }
    return prepend(a, first, tools);
}

/* ---- one message ---------------------------------------------------------------------------- */

static int note_names(struct adapter *a, const json_t *calls)
{
    for (size_t i = 0; i < json_array_size(calls); i++) {
        const json_t *call = json_array_get(calls, i);
        json_t *name = json_object_get(json_object_get(call, "function"), "name");
        if (name)
            TRY(set(a, a->names, text_of(call, "id"), json_incref(name)));
    }
    return 0;
}

static int adapt_one(struct adapter *a, const json_t *original)
{
    const char *role = text_of(original, "role");
    bool tool = strcmp(role, "tool") == 0, calls = json_object_get(original, "tool_calls") != NULL;
    json_t *message = json_copy((json_t *)original);
    if (!message)
        return error_no_memory(a->error);
    if (tool && !a->traits->tools) {
        int status = result_to_text(a, message);
        json_decref(message);
        return status;
    }
    if (json_array_append_new(a->out, message) < 0)
        return error_no_memory(a->error);
    if (strcmp(role, "developer") == 0 && !a->traits->developer)
        TRY(set(a, message, "role", json_string("system")));
    if (calls)
        TRY(note_names(a, json_object_get(original, "tool_calls")));
    if (tool)
        return adapt_result(a, message);
    return !calls ? 0 : a->traits->tools ? adapt_calls(a, message) : calls_to_text(a, message);
}

int adapt_messages(const struct template_traits *traits, const json_t *messages, const json_t *tools,
                   json_t **out, struct error *e)
{
    struct adapter a = {.traits = traits, .names = json_object(), .out = json_array(), .error = e};
    int status = a.names && a.out ? 0 : error_no_memory(e);
    for (size_t i = 0; i < json_array_size(messages) && status == 0; i++)
        status = adapt_one(&a, json_array_get(messages, i));
    for (size_t i = 0; i < json_array_size(a.out); i++)
        json_object_del(json_array_get(a.out, i), "results");
    if (status == 0 && tools && !traits->tools)
        status = describe_tools(&a, tools);
    json_decref(a.names);
    if (status == 0)
        *out = a.out;
    else
        json_decref(a.out);
    return status;
}
