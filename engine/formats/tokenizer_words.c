/* tokenizer_words.c - a tokenizer spec in the words of GGUF: as llama.cpp wants them where it knows such a
 * tokenizer, and besides as JSON text so that nothing is lost (checkpoint_write.h).
 * Called by engine/convert.c.  Hugging Face's models are renamed to their relatives there: byte-level BPE is
 * "gpt2", BPE over pieces with U+2581 "llama", Unigram "t5", WordPiece "bert". */
#include <stdlib.h>
#include <string.h>

#include "engine/base/string_table.h"
#include "engine/formats/tokenizer_words.h"

/* ---- pre-tokenizers ------------------------------------------------------------------------------ */

#define TAIL   "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
#define SUFFIX "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
#define WORD   "[^\\r\\n\\p{L}\\p{N}]?\\p{L}+"
#define UPPER  "[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]"
#define LOWER  "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]"
#define CASED(suffix, number)                                                                                \
    "[^\\r\\n\\p{L}\\p{N}]?" UPPER "*" LOWER "+" suffix "|[^\\r\\n\\p{L}\\p{N}]?" UPPER "+" LOWER "*" suffix \
    "|" number "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"

/* What published tokenizer.json files hold, written as sign() does, and llama.cpp's name for it. */
static const struct {
    const char *sign, *name;
} pre_names[] = {
    {"words ", "gpt-2"},
    {"digits words ", "smollm"},
    {"split " SUFFIX "|" WORD "|\\p{N}{1,3}" TAIL " bytes ", "llama-bpe"},
    {"split " SUFFIX "|" WORD "|\\p{N}" TAIL " bytes ", "qwen2"},
    {"split " CASED(SUFFIX "?", "\\p{N}{1,3}") " bytes ", "gpt-4o"},
    {"split " CASED("", "\\p{N}") " bytes ", "tekken"},
    {"Punctuation words Digits split [0-9][0-9][0-9] ", "falcon"},
};

/* The parts in order: "words" is ByteLevel with GPT-2's expression, "bytes" without. */
static void sign(const json_t *part, struct buf *out)
{
    const char *type = json_string_value(json_object_get(part, "type"));
    const char *regex = json_string_value(json_object_get(json_object_get(part, "pattern"), "Regex"));
    const json_t *inner;
    size_t i;
    if (!type)
        return;
    if (strcmp(type, "Sequence") == 0) {
        json_array_foreach(json_object_get(part, "pretokenizers"), i, inner) sign(inner, out);
    } else if (strcmp(type, "ByteLevel") == 0)
        buf_add_text(out, json_is_false(json_object_get(part, "use_regex")) ? "bytes " : "words ");
    else if (strcmp(type, "Split") == 0)
        buf_printf(out, "split %s ", regex ? regex : "?");
    else if (strcmp(type, "Digits") == 0 && json_is_true(json_object_get(part, "individual_digits")))
        buf_add_text(out, "digits ");
    else
        buf_printf(out, "%s ", type);
}

const char *tokenizer_pre_name(const json_t *pre_tokenizer)
{
    struct buf text;
    const char *name = NULL;
    buf_init(&text, 1 << 16);
    sign(pre_tokenizer, &text);
    for (size_t i = 0; i < sizeof pre_names / sizeof pre_names[0]; i++) {
        if (text.data && !text.failed && strcmp(text.data, pre_names[i].sign) == 0)
            name = pre_names[i].name;
    }
    buf_free(&text);
    return name;
}

const json_t *tokenizer_find_part(const json_t *part, const char *type)
{
    static const char *const lists[] = {"normalizers", "pretokenizers", "processors", "decoders"};
    const char *own = json_string_value(json_object_get(part, "type"));
    if (own && strcmp(own, type) == 0)
        return part;
    for (size_t i = 0; i < sizeof lists / sizeof lists[0]; i++) {
        const json_t *inner;
        size_t k;
        json_array_foreach(json_object_get(part, lists[i]), k, inner)
        {
            const json_t *found = tokenizer_find_part(inner, type);
            if (found)
                return found;
        }
    }
    return NULL;
}

/* ---- tokens as llama.cpp has them ------------------------------------------------------------------ */

static bool is_byte_token(const struct token_spec *t)
{
    return t->len == 6 && memcmp(t->text, "<0x", 3) == 0 && t->text[5] == '>';
}

/* Every id has a text of its own: ids without one, and up to `vocabulary`, are [PADi]. */
static int copy_tokens(const struct tokenizer_spec *spec, size_t vocabulary, struct arena *a,
                       struct tokenizer_words *out, struct error *e)
{
    size_t n = spec->n_tokens > vocabulary ? spec->n_tokens : vocabulary;
    struct token_spec *tokens = arena_alloc(a, n, sizeof *tokens);
    if (!tokens)
        return error_no_memory(e);
    for (size_t i = 0; i < n; i++) {
        if (i < spec->n_tokens)
            tokens[i] = spec->tokens[i];
        if (i < spec->n_tokens && tokens[i].text && (tokens[i].len || tokens[i].type != TOKEN_UNUSED))
            continue;
        tokens[i].text = arena_printf(a, "[PAD%zu]", i);
        if (!tokens[i].text)
            return error_no_memory(e);
        tokens[i].len = (uint32_t)strlen(tokens[i].text);
        tokens[i].type = TOKEN_UNUSED;
    }
    out->tokens = tokens;
    out->n_tokens = n;
    return 0;
}

/* llama.cpp's WordPiece marks the beginning of a word, not its continuation. */
static int mark_words(const struct tokenizer_spec *spec, struct arena *a, struct token_spec *tokens,
                      struct error *e)
{
    const char *prefix = json_string_value(json_object_get(spec->options, "continuing_subword_prefix"));
    prefix = prefix ? prefix : "##";
    size_t n = strlen(prefix);
    for (size_t i = 0; i < spec->n_tokens; i++) {
        struct token_spec *t = &tokens[i];
        if (t->type != TOKEN_NORMAL)
            continue;
        if (t->len > n && memcmp(t->text, prefix, n) == 0) {
            t->text += n;
            t->len -= (uint32_t)n;
            continue;
        }
        t->text = arena_printf(a, "\xE2\x96\x81%.*s", (int)t->len, t->text);
        if (!t->text)
            return error_no_memory(e);
        t->len += 3;
    }
    return 0;
}

/* What a merge makes is worth more the earlier it stands; what no merge makes is worth least. */
static int score_merges(const struct tokenizer_spec *spec, struct token_spec *tokens, struct error *e)
{
    struct string_table table = {0};
    TRY(string_table_init(&table, spec->n_tokens, e));
    for (size_t i = 0; i < spec->n_tokens; i++) {
        tokens[i].score = -(double)spec->n_merges - 1;
        if (spec->tokens[i].text)
            string_table_add(&table, spec->tokens[i].text, spec->tokens[i].len, (int32_t)i);
        if (is_byte_token(&tokens[i]))
            tokens[i].type = TOKEN_BYTE;
        if (tokens[i].type != TOKEN_NORMAL)
            tokens[i].score = 0;
    }
    char *joined = malloc(2 * (size_t)LIMIT_TOKEN_BYTES + 1);
    for (size_t i = spec->n_merges; joined && i-- > 0;) {
        const struct text_view *m = &spec->merges[i];
        size_t left = tokenizer_merge_split(spec, i);
        if (left + 1 > m->len || m->len > 2 * LIMIT_TOKEN_BYTES)
            continue;
        memcpy(joined, m->text, left);
        memcpy(joined + left, m->text + left + 1, m->len - left - 1);
        int32_t id = string_table_find(&table, joined, m->len - 1);
        if (id >= 0)
            tokens[id].score = -(double)i;
    }
    string_table_free(&table);
    int status = joined ? 0 : error_no_memory(e);
    free(joined);
    return status;
}

static int base64_value(char c)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const char *at = c ? strchr(digits, c) : NULL;
    return at ? (int)(at - digits) : -1;
}

/* The map of a Precompiled normaliser. */
static int decode_charsmap(const struct tokenizer_spec *spec, struct arena *a, struct tokenizer_words *out,
                           struct error *e)
{
    const json_t *part = tokenizer_find_part(spec->normalizer, "Precompiled");
    const char *text = json_string_value(json_object_get(part, "precompiled_charsmap"));
    if (!text)
        return 0;
    uint8_t *map = arena_alloc(a, strlen(text) / 4 * 3 + 3, 1);
    uint32_t bits = 0;
    size_t n = 0, digits = 0;
    if (!map)
        return error_no_memory(e);
    for (; base64_value(*text) >= 0; text++) {
        bits = bits << 6 | (uint32_t)base64_value(*text);
        if (++digits % 4 != 1)
            map[n++] = (uint8_t)(bits >> (6 - 2 * ((digits - 1) % 4)));
    }
    out->charsmap = map;
    out->charsmap_len = n;
    return 0;
}

/* ---- models ---------------------------------------------------------------------------------------- */

static const char no_word[] =
    "GGUF has no name for this tokenizer; other programs can't read it from this file";
static const char no_pre[] =
    "GGUF has no name for how this tokenizer cuts words; other programs may cut them "
    "otherwise";

static int name_bpe(const struct tokenizer_spec *spec, struct tokenizer_words *out, struct token_spec *tokens,
                    struct error *e)
{
    if (tokenizer_find_part(spec->pre_tokenizer, "ByteLevel")) {
        out->model = "gpt2";
        out->pre = tokenizer_pre_name(spec->pre_tokenizer);
        out->note = out->pre ? NULL : no_pre;
        return 0;
    }
    if (!json_is_true(json_object_get(spec->options, "byte_fallback"))) {
        out->model = spec->model;
        out->note = no_word;
        return 0;
    }
    out->model = "llama";
    out->pre = "default";
    out->scored = true;
    return score_merges(spec, tokens, e);
}

static int name_model(const struct tokenizer_spec *spec, struct arena *a, struct tokenizer_words *out,
                      struct error *e)
{
    static const char *const known[] = {"gpt2", "llama", "t5", "bert"};
    struct token_spec *tokens = (struct token_spec *)(uintptr_t)out->tokens;
    out->merges = spec->merges;
    out->n_merges = spec->n_merges;
    out->charsmap = spec->charsmap;
    out->charsmap_len = spec->charsmap_len;
    out->model = spec->model;
    out->pre = spec->pre && *spec->pre ? spec->pre : NULL;
    if (strcmp(spec->model, "bpe") == 0)
        return name_bpe(spec, out, tokens, e);
    if (strcmp(spec->model, "unigram") == 0) {
        out->model = "t5";
        out->pre = "default";
        out->scored = true;
        return decode_charsmap(spec, a, out, e);
    }
    if (strcmp(spec->model, "wordpiece") == 0) {
        out->model = "bert";
        out->pre = "default";
        return mark_words(spec, a, tokens, e);
    }
    bool found = false;
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        found = found || strcmp(known[i], spec->model) == 0;
    out->scored = strcmp(spec->model, "llama") == 0 || strcmp(spec->model, "t5") == 0;
    out->note = found ? NULL : no_word;
    return 0;
}

/* ---- keys ------------------------------------------------------------------------------------------ */

static void put(json_t *keys, const char *key, json_t *value)
{
    json_object_set_new(keys, key, value);
}

static void put_id(json_t *keys, const char *key, int32_t id)
{
    if (id >= 0)
        put(keys, key, json_integer(id));
}

/* A special token at the beginning or the end of what the post-processor makes of one text. */
static bool adds_special(const json_t *processor, bool end)
{
    const json_t *template = tokenizer_find_part(processor, "TemplateProcessing");
    const json_t *single = json_object_get(template, "single");
    size_t n = json_array_size(single);
    if (!template)
        return tokenizer_find_part(processor, "BertProcessing") ||
               tokenizer_find_part(processor, "RobertaProcessing");
    return n > 0 && json_object_get(json_array_get(single, end ? n - 1 : 0), "SpecialToken");
}

static bool prepends_space(const struct tokenizer_spec *spec)
{
    const json_t *part = tokenizer_find_part(spec->pre_tokenizer, "Metaspace");
    const char *scheme = json_string_value(json_object_get(part, "prepend_scheme"));
    if (tokenizer_find_part(spec->normalizer, "Prepend"))
        return true;
    return part && (scheme ? strcmp(scheme, "never") != 0
                           : !json_is_false(json_object_get(part, "add_prefix_space")));
}

static void put_flags(const struct tokenizer_spec *spec, json_t *keys)
{
    bool other = tokenizer_is_huggingface(spec);
    bool bos = other ? adds_special(spec->post_processor, false) : spec->add_bos;
    if (other || spec->add_bos_given)
        put(keys, "tokenizer.ggml.add_bos_token", json_boolean(bos));
    put(keys, "tokenizer.ggml.add_eos_token",
        json_boolean(other ? adds_special(spec->post_processor, true) : spec->add_eos));
    put(keys, "tokenizer.ggml.add_space_prefix",
        json_boolean(other ? prepends_space(spec) : spec->add_space_prefix));
    if (spec->remove_extra_whitespaces)
        put(keys, "tokenizer.ggml.remove_extra_whitespaces", json_true());
}

static int put_text(json_t *keys, const char *key, const struct tokenizer_spec *spec,
                    void (*write)(const struct tokenizer_spec *spec, struct buf *out), struct error *e)
{
    struct buf text;
    buf_init(&text, LIMIT_TAKE);
    write(spec, &text);
    json_t *value = text.failed ? NULL : json_stringn(text.data, text.len);
    buf_free(&text);
    if (!value)
        return error_set(e, ERROR_UNSUPPORTED, "the tokenizer is larger than %u bytes as JSON", LIMIT_TAKE);
    put(keys, key, value);
    return 0;
}

static int put_keys(const struct tokenizer_spec *spec, json_t *keys, struct error *e)
{
    bool classifies = strcmp(spec->model, "wordpiece") == 0;
    put_id(keys, "tokenizer.ggml.bos_token_id", spec->bos < 0 && classifies ? spec->cls : spec->bos);
    put_id(keys, "tokenizer.ggml.eos_token_id", spec->eos < 0 && classifies ? spec->sep : spec->eos);
    put_id(keys, "tokenizer.ggml.eot_token_id", spec->eot);
    put_id(keys, "tokenizer.ggml.unknown_token_id", spec->unk);
    put_id(keys, "tokenizer.ggml.seperator_token_id", spec->sep);
    put_id(keys, "tokenizer.ggml.padding_token_id", spec->pad);
    put_id(keys, "tokenizer.ggml.cls_token_id", spec->cls);
    put_id(keys, "tokenizer.ggml.mask_token_id", spec->mask);
    put_flags(spec, keys);
    if (tokenizer_is_huggingface(spec))
        TRY(put_text(keys, TOKENIZER_HUGGINGFACE, spec, tokenizer_huggingface_write, e));
    return put_text(keys, TOKENIZER_REST, spec, tokenizer_rest_write, e);
}

int tokenizer_words_make(const struct tokenizer_spec *spec, size_t vocabulary, struct arena *a,
                         struct tokenizer_words *out, struct error *e)
{
    memset(out, 0, sizeof *out);
    out->keys = json_object();
    if (!out->keys)
        return error_no_memory(e);
    TRY(copy_tokens(spec, vocabulary, a, out, e));
    TRY(name_model(spec, a, out, e));
    return put_keys(spec, out->keys, e);
}

void tokenizer_words_free(struct tokenizer_words *words)
{
    json_decref(words->keys);
    words->keys = NULL;
}
