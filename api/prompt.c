/* prompt.c - see prompt.h; also what api/ keeps per model.
 * Threads: api_add_model() on any one; templates are immutable once in the list, which only grows. */
#include "api/prompt.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "api/fields.h"
#include "api/jinja.h"
#include "engine/base/json.h"
#include "engine/base/limits.h"
#include "engine/base/log.h"

struct chat_model {
    struct chat_model *next;
    struct engine_model *model;
    struct jinja_template *template; /* NULL when chat is disabled */
    struct error why;
};

struct api {
    struct engine *engine;
    pthread_mutex_t lock; /* of the list's head */
    struct chat_model *models;
};

/* ---- per model ------------------------------------------------------------------------------ */

int api_create(struct engine *engine, struct api **out, struct error *e)
{
    struct api *api = calloc(1, sizeof *api);
    if (!api)
        return error_no_memory(e);
    api->engine = engine;
    if (pthread_mutex_init(&api->lock, NULL) != 0) {
        free(api);
        return error_no_memory(e);
    }
    *out = api;
    return 0;
}

void api_free(struct api *api)
{
    if (!api)
        return;
    while (api->models) {
        struct chat_model *m = api->models;
        api->models = m->next;
        jinja_free(m->template);
        free(m);
    }
    pthread_mutex_destroy(&api->lock);
    free(api);
}

static void compile_template(struct chat_model *m, const struct engine_model_info *info)
{
    struct error e = {0};
    if (!info->chat_template) {
        error_set(&m->why, ERROR_UNSUPPORTED, "the checkpoint of model \"%.100s\" has no chat template",
                  info->name);
        log_info("model %s: no chat template, chat is disabled", info->name);
        return;
    }
    if (jinja_compile(info->chat_template, strlen(info->chat_template), &m->template, &e) == 0)
        return;
    error_set(&m->why, ERROR_UNSUPPORTED, "the chat template of model \"%.100s\" can't be run: %s",
              info->name, e.text);
    log_warning("model %s: chat is disabled, its template can't be run: %s", info->name, e.text);
}

void api_add_model(struct api *api, struct engine_model *model)
{
    struct chat_model *m = calloc(1, sizeof *m);
    if (!m) {
        log_error("out of memory: chat is disabled for a model");
        return;
    }
    m->model = model;
    compile_template(m, engine_model_info(model));
    pthread_mutex_lock(&api->lock);
    m->next = api->models;
    api->models = m;
    pthread_mutex_unlock(&api->lock);
}

static const struct chat_model *find_chat_model(struct api *api, const struct engine_model *model)
{
    pthread_mutex_lock(&api->lock);
    const struct chat_model *m = api->models;
    pthread_mutex_unlock(&api->lock);
    while (m && m->model != model)
        m = m->next;
    return m;
}

static int find_template(struct api *api, struct engine_model *model, const struct jinja_template **out,
                         struct error *e)
{
    const struct chat_model *m = find_chat_model(api, model);
    if (!m)
        return error_set(e, ERROR_UNSUPPORTED, "chat is not ready for model \"%.100s\"",
                         engine_model_info(model)->name);
    if (!m->template) {
        error_param(e, ERROR_UNSUPPORTED, "model", "%s", m->why.text);
        return -1;
    }
    *out = m->template;
    return 0;
}

int prompt_chat_ready(struct api *api, struct engine_model *model, struct error *e)
{
    const struct jinja_template *unused;
    return find_template(api, model, &unused, e);
}

/* ---- reading messages ----------------------------------------------------------------------- */

struct message {
    struct engine_text role;
    const json_t *content;
    struct engine_text name, tool_call_id;
};

#define AT(member) offsetof(struct message, member)

static const char *const roles[] = {"system", "developer", "user", "assistant", "tool", NULL};

static const struct field message_rows[] = {
    {.name = "role",
     .type = FIELD_STRING,
     .offset = AT(role),
     .one_of = roles,
     .required = true,
     .help = "who speaks; developer is another name of system"},
    {.name = "content",
     .type = FIELD_JSON,
     .offset = AT(content),
     .kinds = FIELD_KIND_STRING | FIELD_KIND_ARRAY,
     .required = true,
     .help = "text, or a list of parts {type: \"text\", text}, which are joined by newlines"},
    {.name = "name", .type = FIELD_STRING, .offset = AT(name), .help = "given to the template"},
    {.name = "tool_call_id",
     .type = FIELD_STRING,
     .offset = AT(tool_call_id),
     .help = "given to the template"},
    FIELD_REFUSED("tool_calls", "[[]]", "tools are not offered here"),
    FIELD_REFUSED("function_call", "[]", "tools are not offered here"),
    FIELD_REFUSED("audio", "[]", "messages are text"),
    FIELD_REFUSED("refusal", "[\"\"]", "templates have no place for it"),
    FIELD_HARMLESS("annotations", "has no effect: they describe a text, and are not part of it"),
};
static const struct field_group message_groups[] = {FIELD_GROUP(message_rows, 0)};
static const struct field_table message_table = FIELD_TABLE(message_groups, sizeof(struct message));

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

/* An image part has fields of its own; its type is what should be told about. */
static int check_part_type(const json_t *part, const char *prefix, struct error *e)
{
    const char *type = json_string_value(json_object_get(part, "type"));
    char name[80];
    if (!type || strcmp(type, "text") == 0)
        return 0;
    snprintf(name, sizeof name, "%stype", prefix);
    return error_param(e, ERROR_UNSUPPORTED, name,
                       "%s: parts of type \"%.64s\" are not supported, only \"text\"", name, type);
}

static int join_parts(const json_t *parts, const char *message, struct arena *arena, json_t **out,
                      struct error *e)
{
    struct buf text;
    buf_init(&text, LIMIT_REQUEST_ARENA);
    for (size_t i = 0; i < json_array_size(parts); i++) {
        struct part part;
        char prefix[64];
        const json_t *item = json_array_get(parts, i);
        snprintf(prefix, sizeof prefix, "%scontent[%zu].", message, i);
        if (check_part_type(item, prefix, e) < 0 ||
            fields_read(&part_table, item, prefix, arena, &part, e) < 0) {
            buf_free(&text);
            return -1;
        }
        buf_add_text(&text, i ? "\n" : "");
        buf_add(&text, part.text.bytes, part.text.len);
    }
    *out = text.failed ? NULL : json_stringn(text.data ? text.data : "", text.len);
    buf_free(&text);
    return *out ? 0 : error_no_memory(e);
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

static int fill_message(json_t *out, const struct message *m, const char *prefix, struct arena *arena,
                        struct error *e)
{
    json_t *content = NULL;
    bool developer = strcmp(m->role.bytes, "developer") == 0;
    TRY(set(out, "role", json_string(developer ? "system" : m->role.bytes), e));
    if (json_is_string(m->content))
        content = json_incref((json_t *)m->content);
    else
        TRY(join_parts(m->content, prefix, arena, &content, e));
    TRY(set(out, "content", content, e));
    TRY(set_text(out, "name", &m->name, e));
    return set_text(out, "tool_call_id", &m->tool_call_id, e);
}

/* A new list in the shape that templates expect. */
static int read_messages(const json_t *messages, struct arena *arena, json_t **out, struct error *e)
{
    if (json_array_size(messages) == 0)
        return error_param(e, ERROR_INVALID_REQUEST, "messages",
                           "messages must be a list of at least one message");
    json_t *list = json_array();
    for (size_t i = 0; i < json_array_size(messages); i++) {
        struct message m;
        char prefix[32];
        snprintf(prefix, sizeof prefix, "messages[%zu].", i);
        json_t *message = json_object();
        if (json_array_append_new(list, message) < 0) {
            error_no_memory(e);
            goto fail;
        }
        if (fields_read(&message_table, json_array_get(messages, i), prefix, arena, &m, e) < 0 ||
            fill_message(message, &m, prefix, arena, e) < 0)
            goto fail;
    }
    *out = list;
    return 0;
fail:
    json_decref(list);
    return -1;
}

/* ---- rendering ------------------------------------------------------------------------------ */

struct rendered {
    struct buf text;
    struct engine_span *literal; /* malloc'ed */
    size_t n_literal;
};

/* Many templates build a special token around the role ('<|' + role + '|>').  A role is one of our own words,
 * so a span that is nothing but that word is no stranger's text. */
static bool is_role(const char *text, size_t len)
{
    for (const char *const *role = roles; *role; role++) {
        if (strlen(*role) == len && memcmp(*role, text, len) == 0)
            return true;
    }
    return false;
}

static int keep_literals(struct rendered *r, const struct jinja_span *spans, size_t n, struct error *e)
{
    r->literal = calloc(n ? n : 1, sizeof *r->literal);
    if (!r->literal)
        return error_no_memory(e);
    for (size_t i = 0; i < n; i++) {
        if (is_role(r->text.data + spans[i].start, spans[i].end - spans[i].start))
            continue;
        r->literal[r->n_literal].start = spans[i].start;
        r->literal[r->n_literal++].end = spans[i].end;
    }
    return 0;
}

static int make_context(const struct engine_model_info *info, json_t *messages, json_t **user,
                        json_t **trusted, struct error *e)
{
    *user = json_pack("{s:O,s:b}", "messages", messages, "add_generation_prompt", 1);
    *trusted = json_pack("{s:s,s:s}", "bos_token", info->bos_text, "eos_token", info->eos_text);
    return *user && *trusted
               ? 0
               : error_set(e, ERROR_UNSUPPORTED, "the names of the begin and end tokens are no text");
}

static int render(const struct jinja_template *template, const struct engine_model_info *info,
                  json_t *messages, struct rendered *r, struct error *e)
{
    json_t *user = NULL, *trusted = NULL;
    struct jinja_span *spans = NULL;
    size_t n_spans = 0;
    struct jinja_options options = {.now = (int64_t)time(NULL)};
    int result = make_context(info, messages, &user, &trusted, e);
    if (result == 0)
        result = jinja_render(template, user, trusted, &options, &r->text, &spans, &n_spans, e);
    if (result == 0)
        result = keep_literals(r, spans, n_spans, e);
    else if (e && e->kind == ERROR_INVALID_REQUEST)
        error_prefix(e, "the chat template of model \"%.100s\"", info->name);
    free(spans);
    json_decref(user);
    json_decref(trusted);
    return result;
}

/* The tokenizer's own BOS is left out when the template has written one; a user's text is not the template's.
 */
static bool begins_with_bos(const struct rendered *r, const char *bos)
{
    size_t len = strlen(bos);
    bool users = r->n_literal > 0 && r->literal[0].start < len;
    return len > 0 && !users && r->text.len >= len && memcmp(r->text.data, bos, len) == 0;
}

/* Takes a list in the templates' shape. */
static int messages_to_ids(struct api *api, struct engine_model *model, json_t *messages, int32_t **ids,
                           size_t *n, struct error *e)
{
    const struct engine_model_info *info = engine_model_info(model);
    const struct jinja_template *template = NULL;
    TRY(find_template(api, model, &template, e));
    struct rendered r = {0};
    buf_init(&r.text, LIMIT_TEMPLATE_OUTPUT);
    int result = render(template, info, messages, &r, e);
    if (result == 0) {
        unsigned flags =
            ENGINE_PARSE_SPECIAL | (begins_with_bos(&r, info->bos_text) ? 0 : ENGINE_ADD_SPECIAL);
        result = engine_tokenize(engine_model_vocabulary(model), r.text.data ? r.text.data : "", r.text.len,
                                 flags, r.literal, r.n_literal, ids, n, e);
    }
    free(r.literal);
    buf_free(&r.text);
    return result;
}

int prompt_from_messages(struct api *api, struct engine_model *model, const json_t *messages,
                         struct arena *arena, int32_t **ids, size_t *n, struct error *e)
{
    json_t *list = NULL;
    TRY(prompt_chat_ready(api, model, e));
    TRY(read_messages(messages, arena, &list, e));
    int result = messages_to_ids(api, model, list, ids, n, e);
    json_decref(list);
    return result;
}

int prompt_from_texts(struct api *api, struct engine_model *model, const struct prompt_message *messages,
                      size_t count, int32_t **ids, size_t *n, struct error *e)
{
    json_t *list = json_array();
    int result = 0;
    for (size_t i = 0; i < count && result == 0; i++) {
        json_t *content = json_stringn(messages[i].text, messages[i].len);
        result =
            json_array_append_new(list, json_pack("{s:s,s:o}", "role", messages[i].role, "content", content));
    }
    if (result < 0)
        error_set(e, ERROR_INVALID_REQUEST, "a message is no UTF-8");
    else
        result = messages_to_ids(api, model, list, ids, n, e);
    json_decref(list);
    return result;
}

int api_render_chat(struct api *api, struct engine_model *model, const json_t *messages, int32_t **ids,
                    size_t *n, struct error *e)
{
    struct arena *arena = arena_create(LIMIT_REQUEST_ARENA);
    if (!arena)
        return error_no_memory(e);
    int result = prompt_from_messages(api, model, messages, arena, ids, n, e);
    arena_free(arena);
    return result;
}
