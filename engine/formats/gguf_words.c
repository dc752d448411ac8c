/* gguf_words.c - the parts of a tokenizer that `convert` adds to GGUF's words (checkpoint_write.h), read
 * back: the whole tokenizer.json, the rest of the spec, and both arrays and keys as JSON in a safetensors
 * file. Called by gguf_vocabulary.c and folder.c while a checkpoint is opened. */
#include <stdlib.h>
#include <string.h>

#include "engine/formats/config_json.h"
#include "engine/formats/gguf.h"
#include "engine/formats/tokenizer_files.h"
#include "engine/formats/tokenizer_words.h"

static int need_pipeline(struct gguf *g, struct error *e)
{
    if (!g->pipeline)
        g->pipeline = json_array();
    return g->pipeline ? 0 : error_no_memory(e);
}

int gguf_read_huggingface(struct gguf *g, const char *text, struct error *e)
{
    struct bytes *b;
    TRY(need_pipeline(g, e));
    TRY(bytes_open_memory(text, strlen(text), &b, e));
    int status = tokenizer_json_read(b, g->arena, g->pipeline, &g->tokenizer, e);
    bytes_close(b);
    g->n_tokens = g->tokenizer.n_tokens;
    return status < 0 ? error_prefix(e, "%s", TOKENIZER_HUGGINGFACE) : 0;
}

int gguf_read_rest(struct gguf *g, struct error *e)
{
    const char *text = json_string_value(json_object_get(g->config, TOKENIZER_REST));
    json_t *rest = NULL;
    if (!text)
        return 0;
    TRY(need_pipeline(g, e));
    if (config_json_parse(text, strlen(text), &rest, e) < 0)
        return error_prefix(e, "%s", TOKENIZER_REST);
    if (json_array_append_new(g->pipeline, rest) < 0)
        return error_no_memory(e);
    if (tokenizer_rest_read(rest, g->arena, &g->tokenizer, e) < 0) {
        e->kind = e->kind == ERROR_INVALID_REQUEST ? ERROR_BAD_FORMAT : e->kind;
        return error_prefix(e, "%s", TOKENIZER_REST);
    }
    return 0;
}

/* ---- arrays in JSON ------------------------------------------------------------------------------ */

/* The list under key, at most LIMIT_VOCABULARY long; NULL when absent. */
static int find_list(const json_t *words, const char *key, const json_t **out, struct error *e)
{
    *out = json_object_get(words, key);
    if (*out && (!json_is_array(*out) || json_array_size(*out) > LIMIT_VOCABULARY))
        return error_set(e, ERROR_BAD_FORMAT, "%s is no list of at most %d", key, LIMIT_VOCABULARY);
    return 0;
}

static int read_texts(struct gguf *g, const char *key, struct text_view **out, size_t *n, struct error *e)
{
    const json_t *list;
    TRY(find_list(g->config, key, &list, e));
    if (!list)
        return 0;
    *n = json_array_size(list);
    *out = arena_alloc(g->arena, *n + 1, sizeof **out);
    if (!*out)
        return error_no_memory(e);
    for (size_t i = 0; i < *n; i++) {
        const json_t *text = json_array_get(list, i);
        if (!json_is_string(text) || json_string_length(text) > LIMIT_TOKEN_BYTES)
            return error_set(e, ERROR_BAD_FORMAT, "%s: entry %zu is no text of at most %d bytes", key, i,
                             LIMIT_TOKEN_BYTES);
        (*out)[i] = (struct text_view){json_string_value(text), (uint32_t)json_string_length(text)};
    }
    return 0;
}

static int read_tokens(struct gguf *g, struct error *e)
{
    struct text_view *texts = NULL;
    TRY(read_texts(g, "tokenizer.ggml.tokens", &texts, &g->n_tokens, e));
    if (!texts)
        return 0;
    g->tokens = arena_alloc(g->arena, g->n_tokens + 1, sizeof *g->tokens);
    if (!g->tokens)
        return error_no_memory(e);
    for (size_t i = 0; i < g->n_tokens; i++)
        g->tokens[i] = (struct token_spec){.text = texts[i].text, .len = texts[i].len};
    return 0;
}

static int read_types(struct gguf *g, struct error *e)
{
    const json_t *list;
    TRY(find_list(g->config, "tokenizer.ggml.token_type", &list, e));
    if (!list)
        return 0;
    g->n_types = json_array_size(list);
    g->types = arena_alloc(g->arena, g->n_types + 1, sizeof *g->types);
    if (!g->types)
        return error_no_memory(e);
    for (size_t i = 0; i < g->n_types; i++)
        g->types[i] = (int32_t)json_integer_value(json_array_get(list, i));
    return 0;
}

static int read_scores(struct gguf *g, struct error *e)
{
    const json_t *list;
    TRY(find_list(g->config, "tokenizer.ggml.scores", &list, e));
    if (!list)
        return 0;
    g->n_scores = json_array_size(list);
    g->scores = arena_alloc(g->arena, g->n_scores + 1, sizeof *g->scores);
    if (!g->scores)
        return error_no_memory(e);
    for (size_t i = 0; i < g->n_scores; i++)
        g->scores[i] = (float)json_number_value(json_array_get(list, i));
    return 0;
}

static int read_charsmap(struct gguf *g, struct error *e)
{
    const json_t *list;
    TRY(find_list(g->config, "tokenizer.ggml.precompiled_charsmap", &list, e));
    if (!list)
        return 0;
    g->n_charsmap = json_array_size(list);
    g->charsmap = arena_alloc(g->arena, g->n_charsmap + 1, 1);
    if (!g->charsmap)
        return error_no_memory(e);
    for (size_t i = 0; i < g->n_charsmap; i++)
        g->charsmap[i] = (char)json_integer_value(json_array_get(list, i));
    return 0;
}

static int read_words(struct gguf *g, struct error *e)
{
    TRY(read_tokens(g, e));
    TRY(read_types(g, e));
    TRY(read_scores(g, e));
    TRY(read_charsmap(g, e));
    TRY(read_texts(g, "tokenizer.ggml.merges", &g->merges, &g->n_merges, e));
    return gguf_build_tokenizer(g, e);
}

int gguf_words_open(const json_t *words, struct checkpoint **out, struct error *e)
{
    struct gguf *g = calloc(1, sizeof *g);
    if (!g)
        return error_no_memory(e);
    g->arena = arena_create(LIMIT_FILE_ARENA);
    g->config = json_incref((json_t *)(uintptr_t)words);
    g->checkpoint.impl = g;
    g->checkpoint.close = gguf_close;
    if (!g->arena || read_words(g, e) < 0) {
        gguf_close(&g->checkpoint);
        return error_no_memory(e);
    }
    *out = &g->checkpoint;
    return 0;
}
