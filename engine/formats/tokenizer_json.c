/* tokenizer_json.c - tokenizer.json of Hugging Face's tokenizers library: vocabulary, merges, added tokens;
 * the four parts of the pipeline are handed on as they are. Called by tokenizer_files.c and by whoever opens
 * such a file alone; one thread. */
#include "engine/formats/tokenizer_files.h"

#include <inttypes.h>
#include <string.h>

#include "engine/base/json.h"
#include "engine/base/limits.h"
#include "engine/formats/config_json.h"
#include "engine/formats/vocabulary.h"

struct reader {
    struct arena *arena;
    const json_t *root;
    json_t *model;
    struct vocabulary vocabulary;
    struct tokenizer_spec *out;
};

/* Old files do not say which model they have. */
static const char *guess_type(const json_t *model)
{
    if (json_object_get(model, "merges"))
        return "BPE";
    if (json_is_array(json_object_get(model, "vocab")))
        return "Unigram";
    return json_object_get(model, "continuing_subword_prefix") ? "WordPiece" : "WordLevel";
}

static int read_type(struct reader *r, struct error *e)
{
    static const char *const types[][2] = {
        {"BPE", "bpe"}, {"Unigram", "unigram"}, {"WordPiece", "wordpiece"}, {"WordLevel", "wordlevel"}};
    const json_t *value = json_object_get(r->model, "type");
    const char *type = value ? json_string_value(value) : guess_type(r->model);
    for (size_t i = 0; i < sizeof types / sizeof types[0] && type; i++) {
        if (strcmp(types[i][0], type) == 0)
            r->out->model = types[i][1];
    }
    if (!r->out->model)
        return error_set(e, ERROR_UNSUPPORTED, "the tokenizer model \"%.64s\" is not supported",
                         type ? type : "");
    return 0;
}

static int begin_vocabulary(struct reader *r, const json_t *vocab, const json_t *added, struct error *e)
{
    const json_t *token;
    size_t i, n = 0, count = json_is_array(vocab) ? json_array_size(vocab) : json_object_size(vocab);
    if (json_is_array(vocab))
        n = count;
    else
        TRY(vocabulary_object_size(vocab, &n, e));
    json_array_foreach(added, i, token)
    {
        const char *text;
        size_t len;
        struct added_token a;
        TRY(vocabulary_read_added(token, &text, &len, &a, e));
        if (len > 0 && a.id < 0)
            return error_set(e, ERROR_BAD_FORMAT, "the added token \"%.64s\" has no id", text);
        if (len > 0 && (size_t)a.id >= n)
            n = (size_t)a.id + 1;
    }
    count += json_array_size(added);
    return vocabulary_begin(&r->vocabulary, r->arena, n, count, json_array_size(added), e);
}

/* Unigram: [[piece, score], …] */
static int read_pieces(struct reader *r, const json_t *vocab, struct error *e)
{
    for (size_t i = json_array_size(vocab); i-- > 0;) { /* of equal texts the last has the name */
        const json_t *pair = json_array_get(vocab, i);
        const json_t *text = json_array_get(pair, 0), *score = json_array_get(pair, 1);
        if (json_array_size(pair) != 2 || !json_is_string(text) || !json_is_number(score))
            return error_set(e, ERROR_BAD_FORMAT, "entry %zu of the vocabulary is not [text, score]", i);
        TRY(vocabulary_set(&r->vocabulary, i, json_string_value(text), json_string_length(text), TOKEN_NORMAL,
                           json_number_value(score), e));
    }
    return 0;
}

static int read_added(struct reader *r, const json_t *added, struct error *e)
{
    const json_t *token;
    size_t i;
    json_array_foreach(added, i, token)
    {
        const char *text;
        size_t len;
        struct added_token a;
        TRY(vocabulary_read_added(token, &text, &len, &a, e));
        TRY(vocabulary_add(&r->vocabulary, text, len, a, e));
    }
    return 0;
}

/* Trainers may leave the unknown token in the vocabulary twice: what one is, so is the other. */
static void spread_types(struct reader *r)
{
    struct vocabulary *v = &r->vocabulary;
    for (size_t i = 0; i < v->n; i++) {
        int32_t named = vocabulary_find(v, v->tokens[i].text, v->tokens[i].len);
        if (named >= 0)
            v->tokens[i].type = v->tokens[named].type;
    }
}

static int read_vocabulary(struct reader *r, struct error *e)
{
    const json_t *vocab = json_object_get(r->model, "vocab");
    const json_t *added = json_object_get(r->root, "added_tokens");
    bool unigram = strcmp(r->out->model, "unigram") == 0;
    if (unigram ? !json_is_array(vocab) : !json_is_object(vocab))
        return error_set(e, ERROR_BAD_FORMAT, "model.vocab is not %s", unigram ? "a list" : "an object");
    if (added && !json_is_null(added) && !json_is_array(added))
        return error_set(e, ERROR_BAD_FORMAT, "added_tokens is not a list");
    TRY(begin_vocabulary(r, vocab, added, e));
    TRY(unigram ? read_pieces(r, vocab, e) : vocabulary_set_object(&r->vocabulary, vocab, e));
    TRY(read_added(r, added, e));
    if (unigram)
        spread_types(r);
    return 0;
}

/* The unknown token keeps the type that added_tokens gave it, unless that hides it from plain text. */
static int read_unknown(struct reader *r, struct error *e)
{
    struct vocabulary *v = &r->vocabulary;
    const char *text = NULL;
    uint64_t id = UINT64_MAX;
    if (json_get_string(r->model, "unk_token", &text, e) < 0 ||
        json_get_u64(r->model, "unk_id", 0, v->n - 1, &id, e) < 0) {
        if (e && e->kind == ERROR_INVALID_REQUEST)
            e->kind = ERROR_BAD_FORMAT;
        return -1;
    }
    if (text)
        r->out->unk = vocabulary_find(v, text, strlen(text));
    if (id != UINT64_MAX)
        r->out->unk = (int32_t)id;
    if (r->out->unk >= 0 && v->tokens[r->out->unk].type == TOKEN_CONTROL)
        v->tokens[r->out->unk].type = TOKEN_UNKNOWN;
    return 0;
}

/* "<0x0A>" is a byte where the model falls back on bytes. */
static void mark_bytes(struct reader *r)
{
    static const char digits[] = "0123456789ABCDEF";
    if (!json_is_true(json_object_get(r->model, "byte_fallback")))
        return;
    for (unsigned byte = 0; byte < 256; byte++) {
        const char text[6] = {'<', '0', 'x', digits[byte >> 4], digits[byte & 15], '>'};
        int32_t id = vocabulary_find(&r->vocabulary, text, sizeof text);
        if (id >= 0 && r->vocabulary.tokens[id].type == TOKEN_NORMAL)
            r->vocabulary.tokens[id].type = TOKEN_BYTE;
    }
}

/* "left right", or ["left", "right"] whose texts may hold spaces. */
static int read_merge(struct reader *r, size_t i, const json_t *merge, struct text_view *out, uint32_t *split,
                      struct error *e)
{
    const char *text = json_string_value(merge), *space = NULL;
    size_t len = json_string_length(merge);
    if (json_is_array(merge) && json_array_size(merge) == 2) {
        const json_t *left = json_array_get(merge, 0), *right = json_array_get(merge, 1);
        size_t left_len = json_string_length(left), right_len = json_string_length(right);
        if (!json_is_string(left) || !json_is_string(right) || left_len > LIMIT_TOKEN_BYTES ||
            right_len > LIMIT_TOKEN_BYTES)
            return error_set(e, ERROR_BAD_FORMAT, "merge %zu is not two tokens", i);
        char *joined = arena_alloc(r->arena, left_len + right_len + 2, 1);
        if (!joined)
            return error_no_memory(e);
        memcpy(joined, json_string_value(left), left_len);
        joined[left_len] = ' ';
        memcpy(joined + left_len + 1, json_string_value(right), right_len);
        *out = (struct text_view){joined, (uint32_t)(left_len + 1 + right_len)};
        *split = (uint32_t)left_len;
        return 0;
    }
    if (text && len <= 2 * LIMIT_TOKEN_BYTES)
        space = memchr(text, ' ', len);
    if (!space || memchr(space + 1, ' ', len - (size_t)(space + 1 - text)))
        return error_set(e, ERROR_BAD_FORMAT, "merge %zu is not two tokens with a space between", i);
    *out = (struct text_view){arena_copy(r->arena, text, len), (uint32_t)len};
    *split = (uint32_t)(space - text);
    return out->text ? 0 : error_no_memory(e);
}

static int read_merges(struct reader *r, struct error *e)
{
    const json_t *list = json_object_get(r->model, "merges"), *merge;
    size_t i, n = json_array_size(list);
    if (strcmp(r->out->model, "bpe") != 0)
        return 0;
    if (!json_is_array(list))
        return error_set(e, ERROR_BAD_FORMAT, "model.merges is not a list");
    struct text_view *merges = arena_alloc(r->arena, n + 1, sizeof *merges);
    uint32_t *splits = arena_alloc(r->arena, n + 1, sizeof *splits);
    if (!merges || !splits)
        return error_no_memory(e);
    json_array_foreach(list, i, merge) TRY(read_merge(r, i, merge, &merges[i], &splits[i], e));
    r->out->merges = merges;
    r->out->merge_splits = splits;
    r->out->n_merges = n;
    return 0;
}

static int read_part(const json_t *root, const char *key, const json_t **out, struct error *e)
{
    const json_t *part = json_object_get(root, key);
    if (!part || json_is_null(part))
        return 0;
    if (!json_is_object(part))
        return error_set(e, ERROR_BAD_FORMAT, "%s is not an object", key);
    *out = part;
    return 0;
}

static int read_all(struct reader *r, struct error *e)
{
    const json_t *version = json_object_get(r->root, "version");
    r->model = json_object_get(r->root, "model");
    if (version && (!json_is_string(version) || strcmp(json_string_value(version), "1.0") != 0))
        return error_set(e, ERROR_UNSUPPORTED, "the version of tokenizer.json is not \"1.0\"");
    if (!json_is_object(r->model))
        return error_set(e, ERROR_BAD_FORMAT, "\"model\" is not an object");
    TRY(read_type(r, e));
    TRY(read_vocabulary(r, e));
    TRY(read_unknown(r, e));
    mark_bytes(r);
    TRY(read_merges(r, e));
    TRY(read_part(r->root, "normalizer", &r->out->normalizer, e));
    TRY(read_part(r->root, "pre_tokenizer", &r->out->pre_tokenizer, e));
    TRY(read_part(r->root, "post_processor", &r->out->post_processor, e));
    TRY(read_part(r->root, "decoder", &r->out->decoder, e));
    vocabulary_give(&r->vocabulary, r->out);
    json_object_del(r->model, "vocab"); /* a copy is in the arena */
    json_object_del(r->model, "merges");
    r->out->options = r->model;
    return 0;
}

int tokenizer_json_read(struct bytes *b, struct arena *arena, json_t *keep, struct tokenizer_spec *out,
                        struct error *e)
{
    const void *text;
    json_t *root = NULL;
    *out = (struct tokenizer_spec){.bos = -1,
                                   .eos = -1,
                                   .eot = -1,
                                   .unk = -1,
                                   .sep = -1,
                                   .pad = -1,
                                   .cls = -1,
                                   .mask = -1,
                                   .add_bos_given = true};
    uint64_t size = bytes_left(b);
    if (size == 0)
        return error_set(e, ERROR_BAD_FORMAT, "the file is empty");
    TRY(bytes_take(b, size, &text, "the JSON text", e));
    TRY(config_json_parse(text, (size_t)size, &root, e));
    if (json_array_append_new(keep, root) < 0)
        return error_no_memory(e);
    if (!json_is_object(root))
        return error_set(e, ERROR_BAD_FORMAT, "the root is not an object");
    struct reader r = {.arena = arena, .root = root, .out = out};
    int status = read_all(&r, e);
    vocabulary_end(&r.vocabulary);
    return status;
}
