/* responses.c - POST /v1/responses: OpenAI's newer words round a conversation, with responses that are kept.
 * An answer is a list of items - reasoning, message, calls - each opened and closed by the pieces of the
 * conversation; a stream tells of it in typed events, and the object at the end holds them all.
 * What is kept, and for how long: responses_store.h.
 * Threads: begin and advance on a worker, event on the loop. */
#include <string.h>

#include "api/constraint.h"
#include "api/conversation.h"
#include "api/endpoints.h"
#include "api/ids.h"
#include "api/prompt.h"
#include "api/responses_input.h"
#include "api/responses_store.h"
#include "api/tasks.h"
#include "api/wire.h"
#include "engine/base/json.h"
#include "engine/base/limits.h"

enum item_kind { ITEM_MESSAGE, ITEM_REASONING, ITEM_CALL };

struct output_item {
    struct output_item *next;
    enum item_kind kind;
    unsigned index;
    const char *id, *call_id, *name;
    struct buf text; /* of a call: its arguments */
    bool closed, complete;
};

struct responses {
    struct generation_options options; /* with those up to effort: the request */
    const json_t *input, *tools, *tool_choice, *metadata;
    struct engine_text instructions, previous, user;
    bool parallel, store;
    struct engine_text effort, format, format_name;
    const json_t *format_schema;
    bool format_strict;

    const char *id, *model;
    const char *input_text, *history; /* JSON; history without this answer */
    struct conversation *conversation;
    struct output_item *items, *open; /* in order; open is the last when it is not closed */
    unsigned n_items;
    uint64_t sequence;
    enum chat_finish finish;
    bool sent, ended; /* something of a stream is out; the final object is stored */
};

#define AT(member) offsetof(struct responses, member)

static const char *const formats[] = {"text", "json_object", "json_schema", NULL};

/* clang-format off */
static const struct field format_rows[] = {
    {.name = "type", .type = FIELD_STRING, .offset = AT(format), .one_of = formats, .required = true,
     .help = "text, json_object or json_schema"},
    {.name = "name", .type = FIELD_STRING, .offset = AT(format_name), .min = 1, .max = 64, .help = "of the schema"},
    {.name = "schema", .type = FIELD_JSON, .offset = AT(format_schema), .kinds = FIELD_KIND_OBJECT,
     .help = "JSON schema that the answer is valid for"},
    {.name = "strict", .type = FIELD_BOOL, .offset = AT(format_strict), .help = "the answer is valid in any case"},
    FIELD_HARMLESS("description", "has no effect: say it to the model where you ask it"),
};
static const struct field_group format_groups[] = {FIELD_GROUP(format_rows, 0)};
static const struct field_table format_table = FIELD_TABLE(format_groups, sizeof(struct responses));

static const struct field text_rows[] = {
    {.name = "format", .type = FIELD_OBJECT, .nested = &format_table, .help = "of the answer"},
    FIELD_REFUSED("verbosity", "[\"medium\"]", "the length is set by max_output_tokens and by what is asked"),
};
static const struct field_group text_groups[] = {FIELD_GROUP(text_rows, 0)};
static const struct field_table text_table = FIELD_TABLE(text_groups, sizeof(struct responses));

static const struct field reasoning_rows[] = {
    {.needs = FIELD_NEEDS_EFFORT, .name = "effort", .type = FIELD_STRING, .offset = AT(effort), .min = 1, .max = 32,
     .help = "given to the template, which must use it; none also turns thinking off where the template can"},
    FIELD_REFUSED("summary", "[]", "reasoning is told as it is"),
    FIELD_REFUSED("generate_summary", "[]", "reasoning is told as it is"),
};
static const struct field_group reasoning_groups[] = {FIELD_GROUP(reasoning_rows, 0)};
static const struct field_table reasoning_table = FIELD_TABLE(reasoning_groups, sizeof(struct responses));

static const struct field responses_rows[] = {
    {.name = "model", .type = FIELD_STRING, .offset = AT(options.model),
     .help = "name of a loaded model; absent or \"default\": the first one"},
    {.name = "input", .type = FIELD_JSON, .offset = AT(input), .kinds = FIELD_KIND_STRING | FIELD_KIND_ARRAY,
     .required = true, .help = "a text, or a list of items: messages, function_call, function_call_output, reasoning"},
    {.name = "instructions", .type = FIELD_STRING, .offset = AT(instructions),
     .help = "a system message; not carried over by previous_response_id"},
    {.name = "previous_response_id", .type = FIELD_STRING, .offset = AT(previous), .min = 1, .max = 256,
     .help = "the conversation goes on after that response, which must still be kept"},
    {.nested = &responses_tool_table, .name = "tools", .type = FIELD_JSON, .offset = AT(tools), .kinds = FIELD_KIND_ARRAY,
     .help = "functions that may be called: {type: function, name, description?, parameters?, strict?}"},
    {.name = "tool_choice", .type = FIELD_JSON, .offset = AT(tool_choice), .kinds = FIELD_KIND_STRING | FIELD_KIND_OBJECT,
     .help = "none, auto, required, or {type: function, name}"},
    {.name = "parallel_tool_calls", .type = FIELD_BOOL, .offset = AT(parallel), .fallback = 1,
     .help = "false: at most one call"},
    {.name = "max_output_tokens", .type = FIELD_INT, .offset = AT(options.max_tokens),
     .given = AT(options.max_tokens_given), .min = 1, .max = LIMIT_CONTEXT,
     .help = "most tokens to generate, reasoning included; absent: what the context has room for"},
    {.name = "temperature", .type = FIELD_NUMBER, .offset = AT(options.temperature),
     .given = AT(options.temperature_given), .max = 2, .fallback = 1, .help = "0 always takes the most likely token"},
    {.name = "top_p", .type = FIELD_NUMBER, .offset = AT(options.top_p), .max = 1, .fallback = 1,
     .help = "only the most likely tokens that together have this probability; 1 = all"},
    {.name = "seed", .type = FIELD_INT, .offset = AT(options.seed), .given = AT(options.seed_given), .min = -0x1p63,
     .max = 0x1p63, .help = "the same seed gives the same answer; absent: drawn anew"},
    {.name = "text", .type = FIELD_OBJECT, .nested = &text_table, .help = "of the answer"},
    {.name = "reasoning", .type = FIELD_OBJECT, .nested = &reasoning_table, .help = "how to think"},
    {.name = "stream", .type = FIELD_BOOL, .offset = AT(options.stream), .help = "answer as server-sent events"},
    {.name = "store", .type = FIELD_BOOL, .offset = AT(store), .fallback = 1,
     .help = "keep the response in memory, while there is room, for previous_response_id and GET"},
    {.name = "metadata", .type = FIELD_JSON, .offset = AT(metadata), .kinds = FIELD_KIND_OBJECT,
     .help = "kept with the response and told again"},
    {.name = "user", .type = FIELD_STRING, .offset = AT(user), .max = 512, .help = "told again"},
    FIELD_HARMLESS("stream_options", "has no effect: events are never padded"),
    FIELD_HARMLESS("safety_identifier", "has no effect: nothing is kept about users"),
    FIELD_HARMLESS("service_tier", "has no effect: there is one tier"),
    FIELD_HARMLESS("prompt_cache_key", "has no effect: equal beginnings of prompts are found without it"),
    FIELD_HARMLESS("prompt_cache_retention", "has no effect: cached prompts stay while there is room"),
    FIELD_REFUSED("background", "[false]", "a response lives as long as its connection"),
    FIELD_REFUSED("truncation", "[\"disabled\"]", "nothing is cut unasked, and what to cut is yours to say"),
    FIELD_REFUSED("include", "[[]]", "everything there is is included"),
    FIELD_REFUSED("top_logprobs", "[0]", "log probabilities are told by /v1/chat/completions"),
    FIELD_REFUSED("max_tool_calls", "[]", "no tools run here"),
    FIELD_REFUSED("conversation", "[]", "previous_response_id goes on with a conversation"),
    FIELD_REFUSED("prompt", "[]", "no prompts are kept here"),
};
/* clang-format on */

static const struct field_group responses_groups[] = {FIELD_GROUP(responses_rows, 0)};
const struct field_table responses_fields = FIELD_TABLE(responses_groups, sizeof(struct responses));

/* ---- the object ----------------------------------------------------------------------------- */

static void write_value(struct buf *out, const char *name, const json_t *value, const char *absent)
{
    buf_printf(out, ",\"%s\":", name);
    if (value)
        json_write(out, value);
    else
        buf_add_text(out, absent);
}

static void write_string(struct buf *out, const char *name, const char *text, size_t len)
{
    buf_printf(out, ",\"%s\":", name);
    if (text)
        wire_text(out, text, len);
    else
        buf_add_text(out, "null");
}

static const char *status_of(const struct output_item *item)
{
    return !item->closed ? "in_progress" : item->complete ? "completed" : "incomplete";
}

static void write_part(struct buf *out, enum item_kind kind, const char *text, size_t len)
{
    buf_add_text(out, kind == ITEM_MESSAGE ? "{\"type\":\"output_text\",\"text\":"
                                           : "{\"type\":\"reasoning_text\",\"text\":");
    wire_text(out, text ? text : "", len);
    buf_add_text(out, kind == ITEM_MESSAGE ? ",\"annotations\":[],\"logprobs\":[]}" : "}");
}

/* begun: as the event that opens it tells it, without its text. */
static void write_item(struct buf *out, const struct output_item *item, bool begun)
{
    const char *text = begun || !item->text.data ? "" : item->text.data;
    size_t len = begun ? 0 : item->text.len;
    const char *status = begun ? "in_progress" : status_of(item);
    if (item->kind == ITEM_CALL) {
        buf_printf(
            out,
            "{\"type\":\"function_call\",\"id\":\"%s\",\"call_id\":\"%s\",\"name\":\"%s\",\"arguments\":",
            item->id, item->call_id, item->name);
        wire_text(out, text, len);
        buf_printf(out, ",\"status\":\"%s\"}", status);
        return;
    }
    buf_printf(
        out,
        item->kind == ITEM_MESSAGE
            ? "{\"type\":\"message\",\"id\":\"%s\",\"status\":\"%s\",\"role\":\"assistant\",\"content\":["
            : "{\"type\":\"reasoning\",\"id\":\"%s\",\"status\":\"%s\",\"summary\":[],\"content\":[",
        item->id, status);
    if (!begun)
        write_part(out, item->kind, text, len);
    buf_add_text(out, "]}");
}

static void write_usage(const struct responses *r, struct buf *out)
{
    const struct engine_usage *u = conversation_usage(r->conversation);
    buf_printf(
        out,
        ",\"usage\":{\"input_tokens\":%zu,\"input_tokens_details\":{\"cached_tokens\":%zu},"
        "\"output_tokens\":%zu,\"output_tokens_details\":{\"reasoning_tokens\":%zu},\"total_tokens\":%zu}",
        u->prompt_tokens, u->cached_tokens, u->completion_tokens,
        conversation_reasoning_tokens(r->conversation), u->prompt_tokens + u->completion_tokens);
}

/* What the request said, as it is told again. */
static void write_request(const struct responses *r, struct buf *out)
{
    write_string(out, "instructions", r->instructions.bytes, r->instructions.len);
    write_string(out, "previous_response_id", r->previous.bytes, r->previous.len);
    write_string(out, "user", r->user.bytes, r->user.len);
    write_value(out, "metadata", r->metadata, "{}");
    write_value(out, "tools", r->tools, "[]");
    write_value(out, "tool_choice", r->tool_choice, "\"auto\"");
    buf_printf(out,
               ",\"parallel_tool_calls\":%s,\"store\":%s,\"background\":false,\"truncation\":\"disabled\"",
               r->parallel ? "true" : "false", r->store ? "true" : "false");
    buf_printf(out, ",\"temperature\":%.9g,\"top_p\":%.9g,\"max_output_tokens\":", r->options.temperature,
               r->options.top_p);
    if (r->options.max_tokens_given)
        buf_printf(out, "%lld", (long long)r->options.max_tokens);
    else
        buf_add_text(out, "null");
    buf_printf(out, ",\"text\":{\"format\":{\"type\":\"%s\"", r->format.bytes ? r->format.bytes : "text");
    if (r->format_schema) {
        write_string(out, "name", r->format_name.bytes, r->format_name.len);
        write_value(out, "schema", r->format_schema, "null");
        buf_printf(out, ",\"strict\":%s", r->format_strict ? "true" : "false");
    }
    buf_add_text(out, "}},\"reasoning\":{\"summary\":null");
    write_string(out, "effort", r->effort.bytes, r->effort.len);
    buf_add_text(out, "}");
}

static void write_response(struct api_call *call, const struct responses *r, const char *status,
                           struct buf *out)
{
    bool cut = strcmp(status, "incomplete") == 0;
    buf_printf(out,
               "{\"id\":\"%s\",\"object\":\"response\",\"created_at\":%lld,\"status\":\"%s\",\"error\":null",
               r->id, (long long)call->created, status);
    buf_printf(out, ",\"incomplete_details\":%s", cut ? "{\"reason\":\"max_output_tokens\"}" : "null");
    write_string(out, "model", r->model, strlen(r->model));
    write_request(r, out);
    buf_add_text(out, ",\"output\":[");
    for (const struct output_item *item = r->items; item; item = item->next) {
        buf_add_text(out, item == r->items ? "" : ",");
        write_item(out, item, false);
    }
    buf_add_text(out, "]");
    if (strcmp(status, "in_progress") == 0)
        buf_add_text(out, ",\"usage\":null");
    else
        write_usage(r, out);
    buf_add_text(out, "}");
}

/* ---- keeping -------------------------------------------------------------------------------- */

static json_t *message_of_items(const struct responses *r)
{
    json_t *calls = json_array(), *message = json_pack("{s:s,s:s}", "role", "assistant", "content", "");
    for (const struct output_item *item = r->items; item; item = item->next) {
        const char *text = item->text.data ? item->text.data : "";
        if (item->kind == ITEM_MESSAGE)
            json_object_set_new(message, "content", json_stringn(text, item->text.len));
        else if (item->kind == ITEM_REASONING)
            json_object_set_new(message, "reasoning_content", json_stringn(text, item->text.len));
        else if (item->complete)
            json_array_append_new(calls, json_pack("{s:s,s:s,s:{s:s,s:s%}}", "id", item->call_id, "type",
                                                   "function", "function", "name", item->name, "arguments",
                                                   text, item->text.len));
    }
    if (json_array_size(calls))
        json_object_set(message, "tool_calls", calls);
    json_decref(calls);
    return message;
}

/* The messages up to the end of this response, as JSON text. */
static void write_history(const struct responses *r, struct buf *out)
{
    json_t *list = json_loads(r->history, 0, NULL);
    json_array_append_new(list, message_of_items(r));
    json_write(out, list);
    json_decref(list);
}

/* A response that ended badly is kept as it is, and can't be gone on with. */
static void keep(struct api_call *call, struct responses *r, const char *status, bool running)
{
    struct buf text, history;
    bool done = strcmp(status, "completed") == 0 || strcmp(status, "incomplete") == 0;
    if (!r->store || !call->api)
        return;
    buf_init(&text, LIMIT_RESPONSES_BYTES);
    buf_init(&history, LIMIT_RESPONSES_BYTES);
    write_response(call, r, status, &text);
    if (done)
        write_history(r, &history);
    if (!text.failed && !history.failed)
        response_store_put(api_responses(call->api), r->id, call->cache_salt,
                           &(struct response_record){text.data, r->input_text, done ? history.data : ""},
                           running);
    buf_free(&text);
    buf_free(&history);
    r->ended = !running;
}

/* ---- begin ---------------------------------------------------------------------------------- */

static int load_history(struct api_call *call, const struct responses *r, json_t **out, struct error *e)
{
    struct buf text;
    *out = NULL;
    if (!r->previous.bytes)
        return (*out = json_array()) ? 0 : error_no_memory(e);
    buf_init(&text, LIMIT_RESPONSES_BYTES);
    bool found = call->api && response_store_get(api_responses(call->api), r->previous.bytes,
                                                 call->cache_salt, RESPONSE_HISTORY, &text);
    if (found && text.len)
        *out = json_loads(text.data, 0, NULL);
    buf_free(&text);
    if (!found)
        return error_param(e, ERROR_NOT_FOUND, "previous_response_id",
                           "there is no response \"%.128s\" here (any more)", r->previous.bytes);
    if (!*out)
        return error_param(e, ERROR_INVALID_REQUEST, "previous_response_id",
                           "response \"%.128s\" has not ended well", r->previous.bytes);
    return 0;
}

static const char *copy_json(struct api_call *call, const json_t *value, struct error *e)
{
    struct buf text;
    buf_init(&text, LIMIT_REQUEST_ARENA);
    json_write(&text, value);
    const char *copy = text.failed ? NULL : arena_copy(call->arena, text.data, text.len);
    buf_free(&text);
    if (!copy)
        error_no_memory(e);
    return copy;
}

/* text.format in the words of response_format. */
static int read_format(struct api_call *call, const struct responses *r, struct engine_model *model,
                       struct engine_grammar **out, struct error *e)
{
    struct constraint_options constraint = {0};
    struct error why = {0};
    bool schema = r->format.bytes && strcmp(r->format.bytes, "json_schema") == 0;
    if (schema != (r->format_schema != NULL))
        return error_param(e, ERROR_INVALID_REQUEST, "text.format.schema",
                           "text.format.schema is needed with the type json_schema, and only there");
    if (!r->format.bytes)
        return 0;
    json_t *format = json_pack("{s:s}", "type", r->format.bytes);
    if (schema)
        json_object_set_new(format, "json_schema",
                            json_pack("{s:s,s:O}", "name",
                                      r->format_name.bytes ? r->format_name.bytes : "answer", "schema",
                                      r->format_schema));
    constraint.response_format = format;
    int status = format ? constraint_compile(call, &constraint, model, out, &why) : error_no_memory(&why);
    json_decref(format);
    return status < 0 ? error_param(e, why.kind, "text.format", "text.format: %s", why.text) : 0;
}

/* Reads what was said before and what is said now; then keeps both as text, and begins the job. */
static int start(struct api_call *call, struct responses *r, struct engine_model *model, json_t *messages,
                 json_t *tools, struct error *e)
{
    json_t *items = NULL;
    struct conversation_request request = {
        .messages = messages, .tools = tools, .one_tool = !r->parallel, .effort = r->effort};
    int status = responses_read_input(r->input, call->arena, messages, &items, e);
    if (status == 0) {
        r->input_text = copy_json(call, items, e);
        r->history = copy_json(call, messages, e);
        request.tool_name = json_string_value(json_object_get(r->tool_choice, "name"));
        status = r->input_text && r->history
                     ? tools_read_choice(r->tool_choice, request.tool_name, &request.tool_choice, e)
                     : -1;
    }
    json_decref(items);
    if (status == 0 && r->instructions.bytes)
        status =
            json_array_insert_new(
                messages, 0, json_pack("{s:s,s:s}", "role", "system", "content", r->instructions.bytes)) < 0
                ? error_no_memory(e)
                : 0;
    if (status == 0)
        status = read_format(call, r, model, &request.grammar, e);
    return status < 0 ? -1 : conversation_begin(call, model, &r->options, &request, &r->conversation, e);
}

static void begin_stream(struct api_call *call, struct responses *r);

int responses_begin(struct api_call *call, struct error *e)
{
    struct responses *r = call->state;
    struct engine_model *model;
    json_t *messages = NULL, *tools = NULL;
    r->options.n = 1;
    r->options.repetition_penalty = 1;
    TRY(generation_begin(call, &r->options, &model, e));
    TRY(task_need(call, model, ENGINE_CAN_GENERATE, "chat", e));
    r->model = engine_model_info(model)->name;
    r->id = id_new(call->arena, "resp_");
    if (!r->id)
        return error_no_memory(e);
    TRY(load_history(call, r, &messages, e));
    int status = responses_read_tools(r->tools, call->arena, &tools, e);
    if (status == 0)
        status = start(call, r, model, messages, tools, e);
    json_decref(messages);
    json_decref(tools);
    if (status < 0)
        return -1;
    keep(call, r, "in_progress", true);
    if (call->stream)
        begin_stream(call, r);
    return 0;
}

/* ---- events --------------------------------------------------------------------------------- */

/* `event: TYPE` and the beginning of its object. */
static void open_event(struct api_call *call, struct responses *r, const char *type)
{
    buf_printf(&call->out, "event: %s\ndata: {\"type\":\"%s\",\"sequence_number\":%llu", type, type,
               (unsigned long long)r->sequence++);
    r->sent = true;
}

static void close_event(struct api_call *call)
{
    buf_add_text(&call->out, "}\n\n");
}

static void response_event(struct api_call *call, struct responses *r, const char *type, const char *status)
{
    open_event(call, r, type);
    buf_add_text(&call->out, ",\"response\":");
    write_response(call, r, status, &call->out);
    close_event(call);
}

static void begin_stream(struct api_call *call, struct responses *r)
{
    response_event(call, r, "response.created", "in_progress");
    response_event(call, r, "response.in_progress", "in_progress");
}

/* The beginning of an event about a place in an item. */
static void open_item_event(struct api_call *call, struct responses *r, const char *type,
                            const struct output_item *item)
{
    open_event(call, r, type);
    buf_printf(&call->out, ",\"item_id\":\"%s\",\"output_index\":%u", item->id, item->index);
    if (item->kind != ITEM_CALL)
        buf_add_text(&call->out, ",\"content_index\":0");
}

static void part_event(struct api_call *call, struct responses *r, const char *type,
                       const struct output_item *item, bool begun)
{
    open_item_event(call, r, type, item);
    buf_add_text(&call->out, ",\"part\":");
    write_part(&call->out, item->kind, begun || !item->text.data ? "" : item->text.data,
               begun ? 0 : item->text.len);
    close_event(call);
}

static void item_event(struct api_call *call, struct responses *r, const char *type,
                       const struct output_item *item, bool begun)
{
    open_event(call, r, type);
    buf_printf(&call->out, ",\"output_index\":%u,\"item\":", item->index);
    write_item(&call->out, item, begun);
    close_event(call);
}

/* What the events of an item's text are called. */
static const struct {
    const char *prefix, *delta, *done, *text;
} words[] = {
    [ITEM_MESSAGE] = {"msg_", "response.output_text.delta", "response.output_text.done", "text"},
    [ITEM_REASONING] = {"rs_", "response.reasoning_text.delta", "response.reasoning_text.done", "text"},
    [ITEM_CALL] = {"fc_", "response.function_call_arguments.delta", "response.function_call_arguments.done",
                   "arguments"},
};

static void text_event(struct api_call *call, struct responses *r, const struct output_item *item,
                       const char *type, const char *member, const char *text, size_t len)
{
    open_item_event(call, r, type, item);
    write_string(&call->out, member, text ? text : "", len);
    if (item->kind == ITEM_MESSAGE)
        buf_add_text(&call->out, ",\"logprobs\":[]");
    if (item->kind == ITEM_CALL && type == words[ITEM_CALL].done)
        buf_printf(&call->out, ",\"name\":\"%s\"", item->name);
    close_event(call);
}

/* ---- items ---------------------------------------------------------------------------------- */

static void close_item(struct api_call *call, struct responses *r, bool complete)
{
    struct output_item *item = r->open;
    if (!item)
        return;
    item->closed = true;
    item->complete = complete;
    r->open = NULL;
    if (!call->stream)
        return;
    text_event(call, r, item, words[item->kind].done, words[item->kind].text, item->text.data,
               item->text.len);
    if (item->kind != ITEM_CALL)
        part_event(call, r, "response.content_part.done", item, false);
    item_event(call, r, "response.output_item.done", item, false);
}

static struct output_item *open_item(struct api_call *call, struct responses *r, enum item_kind kind,
                                     const struct speech_piece *p)
{
    struct output_item *item = arena_alloc(call->arena, 1, sizeof *item);
    if (!item)
        return NULL;
    *item = (struct output_item){.kind = kind, .index = r->n_items++};
    item->id = id_new(call->arena, words[kind].prefix);
    item->call_id = p->id ? arena_copy(call->arena, p->id, strlen(p->id)) : NULL;
    item->name = p->name ? arena_copy(call->arena, p->name, strlen(p->name)) : NULL;
    buf_init(&item->text, LIMIT_REQUEST_ARENA);
    struct output_item **end = &r->items;
    while (*end)
        end = &(*end)->next;
    *end = r->open = item;
    if (!item->id || (p->id && !item->call_id) || (p->name && !item->name))
        return NULL;
    if (call->stream) {
        item_event(call, r, "response.output_item.added", item, true);
        if (kind != ITEM_CALL)
            part_event(call, r, "response.content_part.added", item, true);
    }
    return item;
}

static void add_text(struct api_call *call, struct responses *r, enum item_kind kind,
                     const struct speech_piece *p)
{
    if (kind != ITEM_CALL && (!r->open || r->open->kind != kind)) {
        close_item(call, r, true);
        open_item(call, r, kind, p);
    }
    struct output_item *item = r->open;
    if (!item || !item->id) {
        call->out.failed = true;
        return;
    }
    buf_add(&item->text, p->text, p->len);
    call->out.failed = call->out.failed || item->text.failed;
    if (call->stream && p->len)
        text_event(call, r, item, words[kind].delta, "delta", p->text, p->len);
}

/* An answer of no words is a message without text. */
static void take_finish(struct api_call *call, struct responses *r, const struct speech_piece *p)
{
    static const struct speech_piece nothing = {.text = ""};
    r->finish = p->finish;
    if (r->n_items == 0)
        add_text(call, r, ITEM_MESSAGE, &nothing);
    close_item(call, r, p->finish != CHAT_FINISH_LENGTH);
}

static void take_piece(void *user, const struct speech_piece *p)
{
    struct api_call *call = user;
    struct responses *r = call->state;
    switch (p->kind) {
    case PIECE_TEXT:
        add_text(call, r, ITEM_MESSAGE, p);
        break;
    case PIECE_REASONING:
        add_text(call, r, ITEM_REASONING, p);
        break;
    case PIECE_TOOL_BEGIN:
        close_item(call, r, true);
        if (!open_item(call, r, ITEM_CALL, p))
            call->out.failed = true;
        break;
    case PIECE_TOOL_ARGUMENTS:
        add_text(call, r, ITEM_CALL, p);
        break;
    case PIECE_TOOL_END:
        close_item(call, r, true);
        break;
    case PIECE_FINISH:
        take_finish(call, r, p);
        break;
    }
}

void responses_event(struct api_call *call, size_t job, const struct engine_event *event)
{
    struct responses *r = call->state;
    (void)job; /* there is one */
    if (event->kind == ENGINE_EVENT_STEP && r->store && call->api &&
        response_store_cancelled(api_responses(call->api), r->id, call->cache_salt))
        engine_cancel(call->engine, event->job);
    conversation_event(r->conversation, event, take_piece, call);
}

/* ---- the end -------------------------------------------------------------------------------- */

int responses_advance(struct api_call *call, struct error *e)
{
    struct responses *r = call->state;
    if (conversation_failed(r->conversation)) {
        *e = *conversation_error(r->conversation);
        return -1;
    }
    const char *status = r->finish == CHAT_FINISH_LENGTH ? "incomplete" : "completed";
    keep(call, r, status, false);
    if (!call->stream) {
        write_response(call, r, status, &call->out);
        return 0;
    }
    bool cut = r->finish == CHAT_FINISH_LENGTH;
    response_event(call, r, cut ? "response.incomplete" : "response.completed", status);
    return 0;
}

/* One that did not get to its end was cancelled, by word or by leaving, or has failed. */
void responses_free(struct api_call *call)
{
    struct responses *r = call->state;
    if (r->conversation && !r->ended) {
        bool failed = conversation_failed(r->conversation) &&
                      conversation_error(r->conversation)->kind != ERROR_CANCELLED;
        keep(call, r, failed ? "failed" : "cancelled", false);
    }
    for (struct output_item *item = r->items; item; item = item->next)
        buf_free(&item->text);
    conversation_free(r->conversation);
}

/* ---- the dialect ---------------------------------------------------------------------------- */

static int dialect_status(const struct error *e)
{
    return error_http_status(e->kind);
}

static void dialect_body(struct buf *out, const struct error *e, const char *request_id)
{
    (void)request_id;
    api_error_body(out, e);
}

static void dialect_event(struct buf *out, const struct error *e, const char *request_id)
{
    const char *code = error_code(e->kind) ? error_code(e->kind) : error_type(e->kind);
    (void)request_id;
    buf_printf(out, "event: error\ndata: {\"type\":\"error\",\"code\":\"%s\"", code);
    write_string(out, "message", e->text, strlen(e->text));
    write_string(out, "param", *e->param ? e->param : NULL, strlen(e->param));
    buf_add_text(out, ",\"sequence_number\":0}\n\n");
}

const struct api_dialect api_responses_dialect = {
    .status = dialect_status,
    .body = dialect_body,
    .event = dialect_event,
    .stream_type = "text/event-stream",
    .event_end = "\n\n",
    .keepalive = ":\n\n",
};
