/* vocabulary.c - see vocabulary.h. */
#include "engine/formats/vocabulary.h"

#include <inttypes.h>
#include <string.h>

#include "engine/base/json.h"
#include "engine/base/limits.h"

enum { GAPS = 65536, GAPS_A_TOKEN = 4 }; /* ids without a token: models pad their vocabularies */

int vocabulary_begin(struct vocabulary *v, struct arena *arena, size_t n, size_t count, size_t max_added,
                     struct error *e)
{
    *v = (struct vocabulary){.arena = arena, .n = n, .max_added = max_added};
    if (n == 0)
        return error_set(e, ERROR_BAD_FORMAT, "the vocabulary has no tokens");
    if (n > LIMIT_VOCABULARY || n > GAPS + GAPS_A_TOKEN * count)
        return error_set(e, ERROR_BAD_FORMAT, "the vocabulary has %zu tokens and ids up to %zu", count,
                         n - 1);
    v->tokens = arena_alloc(arena, n, sizeof *v->tokens);
    v->added = arena_alloc(arena, max_added + 1, sizeof *v->added);
    if (!v->tokens || !v->added)
        return error_no_memory(e);
    for (size_t i = 0; i < n; i++)
        v->tokens[i] = (struct token_spec){.text = "", .type = TOKEN_UNUSED};
    return string_table_init(&v->ids, n, e);
}

void vocabulary_end(struct vocabulary *v)
{
    string_table_free(&v->ids);
}

int vocabulary_set(struct vocabulary *v, size_t id, const char *text, size_t len, enum token_type type,
                   double score, struct error *e)
{
    int shown = len < 64 ? (int)len : 64;
    if (id >= v->n)
        return error_set(e, ERROR_BAD_FORMAT, "the token \"%.*s\" has the id %zu in a vocabulary of %zu",
                         shown, text, id, v->n);
    if (len > LIMIT_TOKEN_BYTES)
        return error_set(e, ERROR_BAD_FORMAT, "the token %zu has %zu bytes; at most %d are accepted", id, len,
                         LIMIT_TOKEN_BYTES);
    struct token_spec *t = &v->tokens[id];
    if (t->type != TOKEN_UNUSED || t->len > 0)
        return error_set(e, ERROR_BAD_FORMAT, "the tokens \"%.*s\" and \"%.*s\" have the same id %zu",
                         t->len < 64 ? (int)t->len : 64, t->text, shown, text, id);
    char *copy = arena_copy(v->arena, text, len);
    if (!copy)
        return error_no_memory(e);
    *t = (struct token_spec){.text = copy, .len = (uint32_t)len, .type = type, .score = score};
    if (len > 0)
        string_table_add(&v->ids, copy, len, (int32_t)id);
    v->given++;
    return 0;
}

int32_t vocabulary_find(const struct vocabulary *v, const char *text, size_t len)
{
    return len > 0 ? string_table_find(&v->ids, text, len) : -1;
}

int vocabulary_add(struct vocabulary *v, const char *text, size_t len, struct added_token added,
                   struct error *e)
{
    if (len == 0) /* found nowhere, and everywhere */
        return 0;
    int32_t id = vocabulary_find(v, text, len);
    enum token_type type = added.special ? TOKEN_CONTROL : TOKEN_USER_DEFINED;
    if (id < 0) {
        TRY(vocabulary_set(v, (size_t)added.id, text, len, type, 0, e));
        id = added.id;
        added.outside = true;
    }
    v->tokens[id].type = type;
    added.id = id;
    if (v->n_added < v->max_added)
        v->added[v->n_added++] = added;
    return 0;
}

void vocabulary_give(const struct vocabulary *v, struct tokenizer_spec *out)
{
    out->n_tokens = v->n;
    out->tokens = v->tokens;
    out->n_added = v->n_added;
    out->added = v->added;
}

static int read_id(const json_t *value, const char *text, size_t *out, struct error *e)
{
    json_int_t id = json_is_integer(value) ? json_integer_value(value) : -1;
    if (id < 0 || id >= LIMIT_VOCABULARY)
        return error_set(e, ERROR_BAD_FORMAT, "the id of the token \"%.64s\" is no integer from 0 to %d",
                         text, LIMIT_VOCABULARY - 1);
    *out = (size_t)id;
    return 0;
}

int vocabulary_object_size(const json_t *object, size_t *n, struct error *e)
{
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)object, key, value)
    {
        size_t id = 0;
        TRY(read_id(value, key, &id, e));
        if (id + 1 > *n)
            *n = id + 1;
    }
    return 0;
}

int vocabulary_set_object(struct vocabulary *v, const json_t *object, struct error *e)
{
    json_t *tokens = (json_t *)(uintptr_t)object;
    for (void *i = json_object_iter(tokens); i; i = json_object_iter_next(tokens, i)) {
        size_t id = 0;
        TRY(read_id(json_object_iter_value(i), json_object_iter_key(i), &id, e));
        TRY(vocabulary_set(v, id, json_object_iter_key(i), json_object_iter_key_len(i), TOKEN_NORMAL, 0, e));
    }
    return 0;
}

int vocabulary_read_added(const json_t *json, const char **text, size_t *len, struct added_token *out,
                          struct error *e)
{
    const json_t *content = json_object_get(json, "content"), *id = json_object_get(json, "id");
    if (!json_is_string(content))
        return error_set(e, ERROR_BAD_FORMAT, "an added token has no text \"content\"");
    *text = json_string_value(content);
    *len = json_string_length(content);
    *out = (struct added_token){.id = -1};
    if (id) {
        size_t value = 0;
        TRY(read_id(id, *text, &value, e));
        out->id = (int32_t)value;
    }
    int status = json_get_bool(json, "special", &out->special, e);
    out->normalized = !out->special;
    if (status < 0 || json_get_bool(json, "normalized", &out->normalized, e) < 0 ||
        json_get_bool(json, "lstrip", &out->lstrip, e) < 0 ||
        json_get_bool(json, "rstrip", &out->rstrip, e) < 0 ||
        json_get_bool(json, "single_word", &out->single_word, e) < 0) {
        if (e && e->kind == ERROR_INVALID_REQUEST)
            e->kind = ERROR_BAD_FORMAT;
        return error_prefix(e, "the added token \"%.64s\"", *text);
    }
    return 0;
}
