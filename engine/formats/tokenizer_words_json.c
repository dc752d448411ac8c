/* tokenizer_words_json.c - a tokenizer spec as JSON text, for files that `convert` writes, and back.
 * See tokenizer_words.h. */
#include <string.h>

#include "engine/base/json.h"
#include "engine/base/limits.h"
#include "engine/formats/tokenizer_words.h"

static const char *const huggingface[][2] = {
    {"bpe", "BPE"}, {"unigram", "Unigram"}, {"wordpiece", "WordPiece"}, {"wordlevel", "WordLevel"}};

/* "BPE" of "bpe" …, or NULL. */
static const char *huggingface_type(const struct tokenizer_spec *spec)
{
    for (size_t i = 0; i < sizeof huggingface / sizeof huggingface[0]; i++) {
        if (strcmp(spec->model, huggingface[i][0]) == 0)
            return huggingface[i][1];
    }
    return NULL;
}

bool tokenizer_is_huggingface(const struct tokenizer_spec *spec)
{
    return huggingface_type(spec) != NULL;
}

/* ---- tokenizer.json ------------------------------------------------------------------------------ */

static void put_key(struct buf *b, const char *key)
{
    buf_printf(b, "%s\"%s\":", b->len && b->data[b->len - 1] == '{' ? "" : ",", key);
}

static void put_part(struct buf *b, const char *key, const json_t *part)
{
    put_key(b, key);
    if (part)
        json_write(b, part);
    else
        buf_add_text(b, "null");
}

static void put_flag(struct buf *b, const char *key, bool flag)
{
    put_key(b, key);
    buf_add_text(b, flag ? "true" : "false");
}

static void put_added(struct buf *b, const struct tokenizer_spec *spec)
{
    put_key(b, "added_tokens");
    buf_add_text(b, "[");
    for (size_t i = 0; i < spec->n_added; i++) {
        const struct added_token *t = &spec->added[i];
        buf_printf(b, "%s{\"id\":%d,\"content\":", i ? "," : "", (int)t->id);
        json_write_string(b, spec->tokens[t->id].text, spec->tokens[t->id].len);
        put_flag(b, "single_word", t->single_word);
        put_flag(b, "lstrip", t->lstrip);
        put_flag(b, "rstrip", t->rstrip);
        put_flag(b, "normalized", t->normalized);
        put_flag(b, "special", t->special);
        buf_add_text(b, "}");
    }
    buf_add_text(b, "]");
}

/* Pieces with scores: the place in the list is the id.  What follows the last piece is in added_tokens. */
static void put_pieces(struct buf *b, const struct tokenizer_spec *spec, size_t n)
{
    buf_add_text(b, "[");
    for (size_t i = 0; i < n; i++) {
        buf_add_text(b, i ? ",[" : "[");
        json_write_string(b, spec->tokens[i].text, spec->tokens[i].len);
        buf_printf(b, ",%.17g]", spec->tokens[i].score);
    }
    buf_add_text(b, "]");
}

static void put_ids(struct buf *b, const struct tokenizer_spec *spec, size_t n)
{
    const char *comma = "";
    buf_add_text(b, "{");
    for (size_t i = 0; i < n; i++) {
        if (!spec->tokens[i].text)
            continue;
        buf_add_text(b, comma);
        json_write_string(b, spec->tokens[i].text, spec->tokens[i].len);
        buf_printf(b, ":%zu", i);
        comma = ",";
    }
    buf_add_text(b, "}");
}

/* Tokens up to the last one that is more than an added token. */
static size_t count_vocabulary(const struct tokenizer_spec *spec, struct buf *b)
{
    struct buf added;
    size_t n = spec->n_tokens;
    buf_init(&added, LIMIT_VOCABULARY);
    for (size_t i = 0; i < n; i++)
        buf_add(&added, "", 1);
    for (size_t i = 0; i < spec->n_added && !added.failed; i++)
        added.data[spec->added[i].id] = 1;
    b->failed = b->failed || added.failed;
    while (n > 0 && !added.failed && (added.data[n - 1] || !spec->tokens[n - 1].text))
        n--;
    buf_free(&added);
    return n;
}

size_t tokenizer_merge_split(const struct tokenizer_spec *spec, size_t i)
{
    const struct text_view *m = &spec->merges[i];
    const char *space = memchr(m->text, ' ', m->len);
    if (spec->merge_splits)
        return spec->merge_splits[i];
    return space ? (size_t)(space - m->text) : 0;
}

/* "left right"; tokens that hold spaces themselves as ["left", "right"]. */
static void put_merges(struct buf *b, const struct tokenizer_spec *spec)
{
    put_key(b, "merges");
    buf_add_text(b, "[");
    for (size_t i = 0; i < spec->n_merges; i++) {
        const struct text_view *m = &spec->merges[i];
        const char *space = memchr(m->text, ' ', m->len);
        size_t left = tokenizer_merge_split(spec, i);
        bool plain = space == m->text + left && !memchr(space + 1, ' ', m->len - left - 1);
        buf_add_text(b, i ? "," : "");
        if (plain) {
            json_write_string(b, m->text, m->len);
            continue;
        }
        buf_add_text(b, "[");
        json_write_string(b, m->text, left);
        buf_add_text(b, ",");
        json_write_string(b, m->text + left + 1, m->len - left - 1);
        buf_add_text(b, "]");
    }
    buf_add_text(b, "]");
}

static void put_model(struct buf *b, const struct tokenizer_spec *spec)
{
    const char *key;
    json_t *value;
    size_t n = count_vocabulary(spec, b);
    put_key(b, "model");
    buf_printf(b, "{\"type\":\"%s\"", huggingface_type(spec));
    json_object_foreach((json_t *)(uintptr_t)spec->options, key, value)
    {
        if (strcmp(key, "type") != 0 && strcmp(key, "vocab") != 0 && strcmp(key, "merges") != 0)
            put_part(b, key, value);
    }
    put_key(b, "vocab");
    if (strcmp(spec->model, "unigram") == 0)
        put_pieces(b, spec, n);
    else
        put_ids(b, spec, n);
    if (strcmp(spec->model, "bpe") == 0)
        put_merges(b, spec);
    buf_add_text(b, "}");
}

void tokenizer_huggingface_write(const struct tokenizer_spec *spec, struct buf *out)
{
    buf_add_text(out, "{\"version\":\"1.0\",\"truncation\":null,\"padding\":null");
    put_added(out, spec);
    put_part(out, "normalizer", spec->normalizer);
    put_part(out, "pre_tokenizer", spec->pre_tokenizer);
    put_part(out, "post_processor", spec->post_processor);
    put_part(out, "decoder", spec->decoder);
    put_model(out, spec);
    buf_add_text(out, "}");
}

/* ---- the rest ------------------------------------------------------------------------------------ */

#define ID(name)                                                                                             \
    {                                                                                                        \
#name, offsetof(struct tokenizer_spec, name)                                                         \
    }
#define FLAG(name)                                                                                           \
    {                                                                                                        \
#name, offsetof(struct tokenizer_spec, name)                                                         \
    }
#define PART(name)                                                                                           \
    {                                                                                                        \
#name, offsetof(struct tokenizer_spec, name)                                                         \
    }

struct member {
    const char *key;
    size_t at;
};
static const struct member ids[] = {ID(bos), ID(eos), ID(eot), ID(unk), ID(sep), ID(pad), ID(cls), ID(mask)};
static const struct member flags[] = {FLAG(add_bos),         FLAG(add_eos),
                                      FLAG(add_bos_given),   FLAG(add_space_prefix),
                                      FLAG(space_is_suffix), FLAG(remove_extra_whitespaces),
                                      FLAG(keep_spaces),     FLAG(sentencepiece)};
static const struct member parts[] = {PART(normalizer), PART(pre_tokenizer), PART(post_processor),
                                      PART(decoder), PART(options)};

#define COUNT(table)               (sizeof(table) / sizeof(table)[0])
#define MEMBER(type, spec, member) ((type *)(void *)((char *)(spec) + (member)->at))
#define VALUE(type, spec, member)  (*(const type *)(const void *)((const char *)(spec) + (member)->at))

void tokenizer_rest_write(const struct tokenizer_spec *spec, struct buf *out)
{
    buf_add_text(out, "{");
    for (size_t i = 0; i < COUNT(ids); i++) {
        put_key(out, ids[i].key);
        buf_printf(out, "%d", (int)VALUE(int32_t, spec, &ids[i]));
    }
    for (size_t i = 0; i < COUNT(flags); i++)
        put_flag(out, flags[i].key, VALUE(bool, spec, &flags[i]));
    if (!tokenizer_is_huggingface(spec)) {
        for (size_t i = 0; i < COUNT(parts); i++)
            put_part(out, parts[i].key, VALUE(json_t *, spec, &parts[i]));
        put_added(out, spec);
    }
    buf_add_text(out, "}");
}

static int read_added(const json_t *list, struct arena *a, struct tokenizer_spec *spec, struct error *e)
{
    const json_t *token;
    size_t i;
    struct added_token *added = arena_alloc(a, json_array_size(list) + 1, sizeof *added);
    if (!added)
        return error_no_memory(e);
    json_array_foreach((json_t *)(uintptr_t)list, i, token)
    {
        uint64_t id = UINT64_MAX;
        TRY(json_get_u64(token, "id", 0, spec->n_tokens - 1, &id, e));
        if (id == UINT64_MAX)
            return error_set(e, ERROR_BAD_FORMAT, "an added token has no id");
        added[i].id = (int32_t)id;
        TRY(json_get_bool(token, "single_word", &added[i].single_word, e));
        TRY(json_get_bool(token, "lstrip", &added[i].lstrip, e));
        TRY(json_get_bool(token, "rstrip", &added[i].rstrip, e));
        TRY(json_get_bool(token, "normalized", &added[i].normalized, e));
        TRY(json_get_bool(token, "special", &added[i].special, e));
    }
    spec->added = added;
    spec->n_added = json_array_size(list);
    return 0;
}

int tokenizer_rest_read(const json_t *rest, struct arena *a, struct tokenizer_spec *spec, struct error *e)
{
    for (size_t i = 0; i < COUNT(ids); i++) {
        const json_t *id = json_object_get(rest, ids[i].key);
        if (id && (!json_is_integer(id) || json_integer_value(id) < -1 ||
                   json_integer_value(id) >= (json_int_t)spec->n_tokens))
            return error_set(e, ERROR_BAD_FORMAT, "%s is no token", ids[i].key);
        if (id)
            *MEMBER(int32_t, spec, &ids[i]) = (int32_t)json_integer_value(id);
    }
    for (size_t i = 0; i < COUNT(flags); i++)
        TRY(json_get_bool(rest, flags[i].key, MEMBER(bool, spec, &flags[i]), e));
    for (size_t i = 0; i < COUNT(parts); i++) {
        const json_t *part = json_object_get(rest, parts[i].key);
        if (part && !json_is_object(part) && !json_is_null(part))
            return error_set(e, ERROR_BAD_FORMAT, "%s is no object", parts[i].key);
        if (part)
            *MEMBER(const json_t *, spec, &parts[i]) = json_is_null(part) ? NULL : part;
    }
    const json_t *added = json_object_get(rest, "added_tokens");
    return added ? read_added(added, a, spec, e) : 0;
}
