/* prompt.c - see prompt.h; also what api/ keeps per model.
 * Threads: api_add_model() on any one; templates are immutable once in the list, which only grows. */
#include "api/prompt.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "api/adapt.h"
#include "api/constraint.h"
#include "api/messages.h"
#include "api/responses_store.h"
#include "engine/base/limits.h"
#include "engine/base/log.h"

struct chat_model {
    struct chat_model *next;
    struct engine_model *model;
    struct jinja_template *template; /* NULL when chat is disabled */
    struct template_traits traits;
    struct error why;
};

struct api {
    struct engine *engine;
    pthread_mutex_t lock; /* of the list's head */
    struct chat_model *models;
    struct response_store *responses;
    struct grammar_cache *grammars;
};

/* ---- per model ------------------------------------------------------------------------------ */

int api_create(struct engine *engine, struct api **out, struct error *e)
{
    struct api *api = calloc(1, sizeof *api);
    if (!api)
        return error_no_memory(e);
    api->engine = engine;
    if (response_store_create(&api->responses, e) < 0)
        goto fail_api;
    if (grammar_cache_create(&api->grammars, e) < 0)
        goto fail_responses;
    if (pthread_mutex_init(&api->lock, NULL) != 0) {
        error_no_memory(e);
        goto fail_grammars;
    }
    *out = api;
    return 0;
fail_grammars:
    grammar_cache_free(api->grammars);
fail_responses:
    response_store_free(api->responses);
fail_api:
    free(api);
    return -1;
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
    response_store_free(api->responses);
    grammar_cache_free(api->grammars);
    pthread_mutex_destroy(&api->lock);
    free(api);
}

struct grammar_cache *api_grammar_cache(struct api *api)
{
    return api->grammars;
}

struct response_store *api_responses(struct api *api)
{
    return api->responses;
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
    if (jinja_compile(info->chat_template, strlen(info->chat_template), &m->template, &e) == 0) {
        traits_find(m->template, info, &m->traits);
        return;
    }
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

static int find_template(struct api *api, struct engine_model *model, const struct chat_model **out,
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
    *out = m;
    return 0;
}

int prompt_chat_ready(struct api *api, struct engine_model *model, struct error *e)
{
    const struct chat_model *unused;
    return find_template(api, model, &unused, e);
}

const struct template_traits *prompt_traits(struct api *api, struct engine_model *model)
{
    const struct chat_model *m = find_chat_model(api, model);
    return m && m->template ? &m->traits : NULL;
}

bool prompt_uses(struct api *api, struct engine_model *model, const char *name)
{
    const struct chat_model *m = find_chat_model(api, model);
    return m && m->template && jinja_uses(m->template, name);
}

/* ---- variables ------------------------------------------------------------------------------ */

/* What a request may not set by another name: the server does. */
static const char *const reserved[] = {
    "messages",  "tools",     "documents", "add_generation_prompt", "continue_final_message",
    "bos_token", "eos_token", NULL};

static int check_argument(const struct chat_model *m, const char *name, struct error *e)
{
    char param[64];
    snprintf(param, sizeof param, "chat_template_kwargs.%.40s", name);
    for (const char *const *r = reserved; *r; r++) {
        if (strcmp(*r, name) == 0)
            return error_param(e, ERROR_INVALID_REQUEST, param, "chat_template_kwargs can't set \"%s\"",
                               name);
    }
    if (jinja_uses(m->template, name))
        return 0;
    return error_param(e, ERROR_UNSUPPORTED, param,
                       "the chat template of this model has no variable \"%.64s\" (chat_template_kwargs)",
                       name);
}

static int add_arguments(const struct chat_model *m, const json_t *arguments, json_t *user, struct error *e)
{
    const char *name;
    json_t *value;
    if (json_object_size(arguments) > LIMIT_TEMPLATE_ARGUMENTS)
        return error_param(e, ERROR_INVALID_REQUEST, "chat_template_kwargs",
                           "chat_template_kwargs may hold at most %d variables", LIMIT_TEMPLATE_ARGUMENTS);
    json_object_foreach((json_t *)arguments, name, value)
    {
        TRY(check_argument(m, name, e));
        if (json_object_set(user, name, value) < 0)
            return error_no_memory(e);
    }
    return 0;
}

/* A template that knows no degrees may still know whether to think at all. */
static int add_effort(const struct chat_model *m, const struct engine_text *effort, json_t *user,
                      struct error *e)
{
    if (!effort->bytes)
        return 0;
    json_t *value = NULL;
    const char *name = "reasoning_effort";
    if (jinja_uses(m->template, name)) {
        value = json_stringn(effort->bytes, effort->len);
    } else if (strcmp(effort->bytes, "none") == 0 && jinja_uses(m->template, "enable_thinking")) {
        name = "enable_thinking";
        value = json_false();
    } else {
        return error_param(e, ERROR_UNSUPPORTED, name,
                           "reasoning_effort is not supported: this model's chat template does not use it");
    }
    return json_object_set_new(user, name, value) < 0 ? error_no_memory(e) : 0;
}

static int add_documents(const struct chat_model *m, const json_t *documents, json_t *user, struct error *e)
{
    if (json_array_size(documents) == 0)
        return json_object_set_new(user, "documents", json_null());
    if (!m->traits.documents)
        return error_param(e, ERROR_UNSUPPORTED, "documents",
                           "documents are not supported: this model's chat template does not use them");
    return json_object_set(user, "documents", (json_t *)documents) < 0 ? error_no_memory(e) : 0;
}

/* ---- rendering ------------------------------------------------------------------------------ */

struct rendered {
    struct buf text;
    struct engine_span *literal; /* malloc'ed */
    size_t n_literal;
};

static const char *const roles[] = {"system", "developer", "user", "assistant", "tool", NULL};

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

/* Absent lists are there as none, as transformers passes them. */
static int make_context(const struct chat_model *m, const struct prompt_request *r, json_t *messages,
                        json_t **user, json_t **trusted, struct error *e)
{
    const struct engine_model_info *info = engine_model_info(m->model);
    json_t *tools = m->traits.tools ? (json_t *)r->tools : NULL;
    *user = json_pack("{s:O,s:O?,s:b}", "messages", messages, "tools", tools, "add_generation_prompt",
                      !r->no_generation_prompt && !r->continue_final);
    *trusted = json_pack("{s:s,s:s}", "bos_token", info->bos_text, "eos_token", info->eos_text);
    if (!*user || !*trusted)
        return error_set(e, ERROR_UNSUPPORTED, "the names of the begin and end tokens are no text");
    TRY(add_documents(m, r->documents, *user, e));
    TRY(add_arguments(m, r->arguments, *user, e));
    return add_effort(m, &r->effort, *user, e);
}

static bool is_space(char c)
{
    return c == ' ' || c == '\n' || c == '\t' || c == '\r';
}

/* Cuts the output behind the last place where the last message's text stands, white space at its edges aside:
 * templates trim. */
static int cut_behind_last(struct rendered *r, const json_t *messages, struct error *e)
{
    const json_t *last = json_array_get(messages, json_array_size(messages) - 1);
    const json_t *content = json_object_get(last, "content");
    const char *text = json_string_value(content);
    size_t len = json_string_length(content);
    while (len > 0 && is_space(text[len - 1]))
        len--;
    for (; len > 0 && is_space(*text); len--)
        text++;
    for (size_t at = r->text.len - (len < r->text.len ? len : r->text.len) + 1; len > 0 && at-- > 0;) {
        if (r->text.len - at >= len && memcmp(r->text.data + at, text, len) == 0) {
            r->text.len = at + len;
            return 0;
        }
    }
    return error_param(
        e, ERROR_UNSUPPORTED, "continue_final_message",
        "the chat template does not write the last message as it is, so it can't be continued");
}

static int render(const struct chat_model *m, const struct prompt_request *request, json_t *messages,
                  struct rendered *r, struct error *e)
{
    json_t *user = NULL, *trusted = NULL;
    struct jinja_span *spans = NULL;
    size_t n_spans = 0;
    struct jinja_options options = {.now = (int64_t)time(NULL)};
    int result = make_context(m, request, messages, &user, &trusted, e);
    if (result == 0) {
        result = jinja_render(m->template, user, trusted, &options, &r->text, &spans, &n_spans, e);
        if (result < 0 && e && e->kind == ERROR_INVALID_REQUEST)
            error_prefix(e, "the chat template of model \"%.100s\"", engine_model_info(m->model)->name);
    }
    if (result == 0)
        result = keep_literals(r, spans, n_spans, e);
    if (result == 0 && request->continue_final)
        result = cut_behind_last(r, messages, e);
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

/* Takes a list in the template's shape. */
static int to_ids(const struct chat_model *m, const struct prompt_request *request, json_t *messages,
                  struct prompt *out, struct error *e)
{
    const struct engine_model_info *info = engine_model_info(m->model);
    const struct reasoning_marks *marks = m->traits.reasoning;
    struct rendered r = {0};
    buf_init(&r.text, LIMIT_TEMPLATE_OUTPUT);
    int result = render(m, request, messages, &r, e);
    if (result == 0) {
        const char *text = r.text.data ? r.text.data : "";
        unsigned flags =
            ENGINE_PARSE_SPECIAL | (begins_with_bos(&r, info->bos_text) ? 0 : ENGINE_ADD_SPECIAL);
        while (r.n_literal && r.literal[r.n_literal - 1].start >= r.text.len)
            r.n_literal--;
        if (r.n_literal && r.literal[r.n_literal - 1].end > r.text.len)
            r.literal[r.n_literal - 1].end = r.text.len;
        out->thinking = marks && reasoning_is_open(marks, text, r.text.len);
        result = engine_tokenize(engine_model_vocabulary(m->model), text, r.text.len, flags, r.literal,
                                 r.n_literal, &out->ids, &out->n, e);
    }
    free(r.literal);
    buf_free(&r.text);
    return result;
}

int prompt_render(struct api *api, struct engine_model *model, const struct prompt_request *request,
                  struct prompt *out, struct error *e)
{
    const struct chat_model *m = NULL;
    json_t *messages = NULL;
    memset(out, 0, sizeof *out);
    TRY(find_template(api, model, &m, e));
    TRY(adapt_messages(&m->traits, request->messages, request->tools, &messages, e));
    int result = to_ids(m, request, messages, out, e);
    json_decref(messages);
    return result;
}

static int render_plain(struct api *api, struct engine_model *model, const json_t *messages, int32_t **ids,
                        size_t *n, struct error *e)
{
    struct prompt prompt;
    TRY(prompt_render(api, model, &(struct prompt_request){.messages = messages}, &prompt, e));
    *ids = prompt.ids;
    *n = prompt.n;
    return 0;
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
        result = render_plain(api, model, list, ids, n, e);
    json_decref(list);
    return result;
}

int api_render_chat(struct api *api, struct engine_model *model, const json_t *messages, int32_t **ids,
                    size_t *n, struct error *e)
{
    json_t *list = NULL;
    struct arena *arena = arena_create(LIMIT_REQUEST_ARENA);
    if (!arena)
        return error_no_memory(e);
    int result = prompt_chat_ready(api, model, e);
    if (result == 0)
        result = messages_read(messages, arena, &list, e);
    if (result == 0)
        result = render_plain(api, model, list, ids, n, e);
    json_decref(list);
    arena_free(arena);
    return result;
}
