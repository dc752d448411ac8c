/* endpoint.c - the ENDPOINT TABLE, and a call's life.
 * A new endpoint is one file (its field table and up to four functions, declared in endpoints.h) and one row
 * here. Callers: server/http.c finds a row on the loop thread; the api_call_ functions run where api.h says.
 */
#include "api/api.h"

#include <stdlib.h>
#include <string.h>

#include "api/endpoints.h"
#include "engine/base/json.h"
#include "engine/base/utf8.h"

enum { MAX_PATH_ARGUMENT = 512 };

static const struct api_endpoint endpoints[] = {
    {"/v1/completions", API_POST, &completions_fields, completions_begin, completions_event,
     completions_advance, completions_free},
    {"/v1/chat/completions", API_POST, &chat_fields, chat_begin, chat_event, chat_advance, chat_free},
    {"/v1/summarize", API_POST, &summarize_fields, summarize_begin, summarize_event, summarize_advance,
     summarize_free},
    {"/v1/qa", API_POST, &qa_fields, qa_begin, qa_event, qa_advance, qa_free},
    {"/v1/embeddings", API_POST, &embeddings_fields, embeddings_begin, embeddings_event, embeddings_advance,
     embeddings_free},
    {"/v1/rerank", API_POST, &rerank_fields, rerank_begin, rerank_event, rerank_advance, rerank_free},
    {"/v1/classify", API_POST, &classify_fields, classify_begin, classify_event, classify_advance,
     classify_free},
    {"/v1/sentiment", API_POST, &classify_fields, classify_begin, classify_event, classify_advance,
     classify_free},
    {"/v1/fill-mask", API_POST, &fill_mask_fields, fill_mask_begin, fill_mask_event, fill_mask_advance,
     fill_mask_free},
    {"/v1/entities", API_POST, &entities_fields, entities_begin, entities_event, entities_advance,
     entities_free},
    {"/v1/translate", API_POST, &translate_fields, translate_begin, translate_event, translate_advance,
     translate_free},
    {"/v1/score", API_POST, &score_fields, score_begin, score_event, score_advance, score_free},
    {"/v1/models", API_GET, NULL, models_list_begin, NULL, NULL, NULL},
    {"/v1/models/{id}", API_GET, NULL, models_one_begin, NULL, NULL, NULL},
    {"/tokenize", API_POST, &tokenize_fields, tokenize_begin, NULL, NULL, NULL},
    {"/detokenize", API_POST, &detokenize_fields, detokenize_begin, NULL, NULL, NULL},
};

enum { N_ENDPOINTS = sizeof endpoints / sizeof endpoints[0] };

const struct api_endpoint *api_endpoint_at(size_t i)
{
    return i < N_ENDPOINTS ? &endpoints[i] : NULL;
}

/* Where in the path the row's {…} begins (the row's end when it has none); NULL when the row does not match.
 */
static const char *match(const char *row, const char *path, size_t *len)
{
    size_t fixed = strcspn(row, "{");
    if (strncmp(row, path, fixed) != 0)
        return NULL;
    const char *argument = path + fixed;
    *len = row[fixed] ? strcspn(argument, "/") : 0;
    const char *rest = row[fixed] ? strchr(row + fixed, '}') + 1 : row + fixed;
    if ((row[fixed] && *len == 0) || strcmp(rest, argument + *len) != 0)
        return NULL;
    return argument;
}

const struct api_endpoint *api_find(const char *path, unsigned method, bool *other_method)
{
    *other_method = false;
    for (size_t i = 0; i < N_ENDPOINTS; i++) {
        size_t len;
        if (!match(endpoints[i].path, path, &len))
            continue;
        if (endpoints[i].method == method)
            return &endpoints[i];
        *other_method = true;
    }
    return NULL;
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Decodes in place; the new length, or -1. */
static long percent_decode(char *text, size_t len)
{
    size_t to = 0;
    for (size_t from = 0; from < len; from++, to++) {
        text[to] = text[from];
        if (text[from] != '%')
            continue;
        int high = from + 2 < len ? hex_digit(text[from + 1]) : -1;
        int low = high >= 0 ? hex_digit(text[from + 2]) : -1;
        if (low < 0 || high * 16 + low == 0)
            return -1;
        text[to] = (char)(high * 16 + low);
        from += 2;
    }
    text[to] = 0;
    return (long)to;
}

int api_path_argument(const struct api_endpoint *endpoint, const char *path, struct arena *arena,
                      const char **out, struct error *e)
{
    size_t len = 0;
    const char *argument = match(endpoint->path, path, &len);
    *out = NULL;
    if (!argument || len == 0)
        return 0;
    if (len > 3 * MAX_PATH_ARGUMENT)
        return error_set(e, ERROR_INVALID_REQUEST, "the path is too long");
    char *text = arena_copy(arena, argument, len);
    if (!text)
        return error_no_memory(e);
    long decoded = percent_decode(text, len);
    if (decoded < 0 || decoded > MAX_PATH_ARGUMENT || !utf8_valid(text, (size_t)decoded))
        return error_set(e, ERROR_INVALID_REQUEST,
                         "the path holds a name that is too long or wrongly encoded");
    *out = text;
    return 0;
}

int api_call_begin(struct api_call *call, struct error *e)
{
    const struct field_table *fields = call->endpoint->fields;
    if (fields) {
        call->state = arena_alloc(call->arena, 1, fields->size);
        if (!call->state)
            return error_no_memory(e);
        TRY(json_parse(call->body, call->body_len, &call->request, e));
        TRY(fields_read(fields, call->request, "", call->arena, call->state, e));
    }
    return call->endpoint->begin(call, e);
}

void api_call_event(struct api_call *call, size_t job, const struct engine_event *event)
{
    if (call->endpoint->event)
        call->endpoint->event(call, job, event);
}

int api_call_advance(struct api_call *call, struct error *e)
{
    call->n_jobs = 0;
    TRY(call->endpoint->advance ? call->endpoint->advance(call, e) : 0);
    if (call->out.failed)
        return error_set(e, ERROR_OUT_OF_MEMORY,
                         "the answer is larger than this server's limit for one request");
    return 0;
}

void api_call_free(struct api_call *call)
{
    if (call->state && call->endpoint->free)
        call->endpoint->free(call);
    for (size_t i = 0; i < call->n_jobs; i++)
        free(call->jobs[i].prompt);
    call->n_jobs = 0;
    json_decref(call->request);
    call->request = NULL;
    buf_free(&call->out);
}
