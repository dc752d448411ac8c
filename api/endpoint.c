/* endpoint.c - the ENDPOINT TABLE, and a call's life.
 * A new endpoint is one file (its field table and up to four functions, declared in endpoints.h) and one row
 * here. Callers: server/http.c finds a row on the loop thread; the api_call_ functions run where api.h says.
 */
#include "api/api.h"

#include <stdlib.h>
#include <string.h>

#include "api/anthropic.h"
#include "api/endpoints.h"
#include "api/oip.h"
#include "api/ollama.h"
#include "api/tei.h"
#include "engine/base/json.h"
#include "engine/base/utf8.h"

enum { MAX_PATH_ARGUMENT = 512 };

/* A POST whose work the engine does, and one that is answered at once; NAME_fields, NAME_begin … are its
 * functions.  A GET has no fields. */
#define POST_JOBS(path, name, dialect)                                                                       \
    {                                                                                                        \
        path, API_POST, &name##_fields, name##_begin, name##_event, name##_advance, name##_free, dialect     \
    }
#define POST_AT_ONCE(path, name, dialect)                                                                    \
    {                                                                                                        \
        path, API_POST, &name##_fields, name##_begin, NULL, NULL, NULL, dialect                              \
    }
#define GET(path, name, dialect)                                                                             \
    {                                                                                                        \
        path, API_GET, NULL, name##_begin, NULL, NULL, NULL, dialect                                         \
    }

/* What needs no body. */
#define BARE(path, method, name, dialect)                                                                    \
    {                                                                                                        \
        path, method, NULL, name##_begin, NULL, NULL, NULL, dialect                                          \
    }

static const struct api_endpoint endpoints[] = {
    POST_JOBS("/v1/completions", completions, NULL),
    POST_JOBS("/v1/chat/completions", chat, NULL),
    POST_JOBS("/v1/responses", responses, &api_responses_dialect),
    GET("/v1/responses/{id}", responses_get, NULL),
    BARE("/v1/responses/{id}", API_DELETE, responses_delete, NULL),
    GET("/v1/responses/{id}/input_items", responses_input, NULL),
    BARE("/v1/responses/{id}/cancel", API_POST, responses_cancel, NULL),
    POST_JOBS("/v1/summarize", summarize, NULL),
    POST_JOBS("/v1/qa", qa, NULL),
    POST_JOBS("/v1/embeddings", embeddings, NULL),
    POST_JOBS("/v1/rerank", rerank, NULL),
    POST_JOBS("/v1/classify", classify, NULL),
    POST_JOBS("/v1/sentiment", classify, NULL),
    POST_JOBS("/v1/fill-mask", fill_mask, NULL),
    POST_JOBS("/v1/entities", entities, NULL),
    POST_JOBS("/v1/translate", translate, NULL),
    POST_JOBS("/v1/score", score, NULL),
    GET("/openapi.json", openapi, NULL),
    GET("/docs", docs, NULL),
    GET("/v1/capabilities", capabilities, NULL),
    GET("/v1/models", models_list, NULL),
    GET("/v1/models/{id}", models_one, NULL),
    POST_AT_ONCE("/tokenize", tokenize, NULL),
    POST_AT_ONCE("/detokenize", detokenize, NULL),
    GET("/tokenizer_info", tokenizer_info, NULL),
    POST_JOBS("/v1/messages", anthropic, &api_anthropic),
    POST_AT_ONCE("/v1/messages/count_tokens", anthropic_count, &api_anthropic),
    POST_JOBS("/embed", tei_embed, &api_tei),
    POST_AT_ONCE("/embed_all", tei_embed_all, &api_tei),
    POST_AT_ONCE("/embed_sparse", tei_embed_sparse, &api_tei),
    POST_JOBS("/similarity", tei_similarity, &api_tei),
    POST_JOBS("/rerank", tei_rerank, &api_tei),
    POST_JOBS("/predict", tei_predict, &api_tei),
    GET("/info", tei_info, &api_tei),
    GET("/v2", oip_server, &api_oip),
    GET("/v2/models/{model}", oip_model, &api_oip),
    GET("/v2/models/{model}/ready", oip_ready, &api_oip),
    POST_JOBS("/v2/models/{model}/infer", oip_infer, &api_oip),
    POST_JOBS("/v2/models/{model}/generate", oip_generate, &api_oip),
    POST_JOBS("/v2/models/{model}/generate_stream", oip_generate_stream, &api_oip),
    GET("/v2/models/{model}/versions/{version}", oip_model, &api_oip),
    GET("/v2/models/{model}/versions/{version}/ready", oip_ready, &api_oip),
    POST_JOBS("/v2/models/{model}/versions/{version}/infer", oip_infer, &api_oip),
    POST_JOBS("/v2/models/{model}/versions/{version}/generate", oip_generate, &api_oip),
    POST_JOBS("/v2/models/{model}/versions/{version}/generate_stream", oip_generate_stream, &api_oip),
    GET("/", ollama_root, &api_ollama),
    GET("/api/version", ollama_version, &api_ollama),
    GET("/api/tags", ollama_tags, &api_ollama),
    GET("/api/ps", ollama_ps, &api_ollama),
    POST_AT_ONCE("/api/show", ollama_show, &api_ollama),
    POST_AT_ONCE("/api/pull", ollama_pull, &api_ollama),
    POST_JOBS("/api/generate", ollama_generate, &api_ollama),
    POST_JOBS("/api/chat", ollama_chat, &api_ollama),
    POST_JOBS("/api/embed", ollama_embed, &api_ollama),
    POST_JOBS("/api/embeddings", ollama_embeddings, &api_ollama),
};

enum { N_ENDPOINTS = sizeof endpoints / sizeof endpoints[0] };

const struct api_endpoint *api_endpoint_at(size_t i)
{
    return i < N_ENDPOINTS ? &endpoints[i] : NULL;
}

struct piece {
    const char *text;
    size_t len;
};

/* Whether the row is the path; what its {…} matched. */
static bool match(const char *row, const char *path, struct piece pieces[API_PATH_ARGUMENTS])
{
    size_t n = 0;
    memset(pieces, 0, API_PATH_ARGUMENTS * sizeof *pieces);
    for (;;) {
        size_t fixed = strcspn(row, "{");
        if (strncmp(row, path, fixed) != 0)
            return false;
        path += fixed;
        if (!row[fixed])
            return !*path;
        size_t len = strcspn(path, "/");
        if (len == 0 || n == API_PATH_ARGUMENTS)
            return false;
        pieces[n++] = (struct piece){path, len};
        path += len;
        row = strchr(row + fixed, '}') + 1;
    }
}

const struct api_endpoint *api_find(const char *path, unsigned method, bool *other_method)
{
    *other_method = false;
    for (size_t i = 0; i < N_ENDPOINTS; i++) {
        struct piece pieces[API_PATH_ARGUMENTS];
        if (!match(endpoints[i].path, path, pieces))
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

static int decode_piece(const struct piece *piece, struct arena *arena, const char **out, struct error *e)
{
    if (piece->len > 3 * MAX_PATH_ARGUMENT)
        return error_set(e, ERROR_INVALID_REQUEST, "the path is too long");
    char *text = arena_copy(arena, piece->text, piece->len);
    if (!text)
        return error_no_memory(e);
    long decoded = percent_decode(text, piece->len);
    if (decoded < 0 || decoded > MAX_PATH_ARGUMENT || !utf8_valid(text, (size_t)decoded))
        return error_set(e, ERROR_INVALID_REQUEST,
                         "the path holds a name that is too long or wrongly encoded");
    *out = text;
    return 0;
}

int api_path_arguments(const struct api_endpoint *endpoint, const char *path, struct arena *arena,
                       const char *out[API_PATH_ARGUMENTS], struct error *e)
{
    struct piece pieces[API_PATH_ARGUMENTS];
    bool matched = match(endpoint->path, path, pieces);
    for (size_t i = 0; i < API_PATH_ARGUMENTS; i++) {
        out[i] = NULL;
        if (matched && pieces[i].text)
            TRY(decode_piece(&pieces[i], arena, &out[i], e));
    }
    return 0;
}

const struct api_dialect *api_dialect_of(const struct api_endpoint *endpoint)
{
    return endpoint && endpoint->dialect ? endpoint->dialect : &api_openai;
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
    engine_grammar_release(call->grammar);
    call->grammar = NULL;
    buf_free(&call->out);
}
