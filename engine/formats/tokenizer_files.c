/* tokenizer_files.c - see tokenizer_files.h: which files of a folder make its tokenizer.
 * Older checkpoints have no tokenizer.json; what their files mean is written here in its words, as
 * transformers' convert_slow_tokenizer does.
 * To add a kind: one read function and one row in kinds[]. */
#include "engine/formats/tokenizer_files.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "engine/base/json.h"
#include "engine/base/limits.h"
#include "engine/formats/config_json.h"
#include "engine/formats/vocabulary.h"

#define SP_SPACE "\xE2\x96\x81" /* U+2581, how SentencePiece writes a space */

struct folder_reader {
    const struct tokenizer_folder *folder;
    const json_t *config;    /* tokenizer_config.json, or NULL */
    const json_t *specials;  /* special_tokens_map.json, or NULL */
    const json_t *more;      /* added_tokens.json: {text: id}, or NULL */
    char bergamot[NAME_MAX]; /* vocab.*.spm */
    struct vocabulary vocabulary;
    struct tokenizer_spec *out;
};

static void init_spec(struct tokenizer_spec *out)
{
    *out = (struct tokenizer_spec){.bos = -1,
                                   .eos = -1,
                                   .eot = -1,
                                   .unk = -1,
                                   .sep = -1,
                                   .pad = -1,
                                   .cls = -1,
                                   .mask = -1,
                                   .add_bos_given = true};
}

static int as_format_error(const char *place, struct error *e)
{
    if (e && e->kind == ERROR_INVALID_REQUEST)
        e->kind = ERROR_BAD_FORMAT;
    return error_prefix(e, "%s", place);
}

static int open_file(const struct folder_reader *r, const char *name, struct bytes **out, struct error *e)
{
    char path[PATH_MAX];
    int n = snprintf(path, sizeof path, "%s/%s", r->folder->path, name);
    if (n < 0 || (size_t)n >= sizeof path)
        return error_set(e, ERROR_FILE_ACCESS, "the path is too long");
    return bytes_open_file(path, out, e);
}

static bool has_file(const struct folder_reader *r, const char *name)
{
    char path[PATH_MAX];
    int n = snprintf(path, sizeof path, "%s/%s", r->folder->path, name);
    return n > 0 && (size_t)n < sizeof path && access(path, F_OK) == 0;
}

/* Stolen; the spec may borrow from it. */
static int keep(const struct folder_reader *r, json_t *value, struct error *e)
{
    if (!value || json_array_append_new(r->folder->keep, value) < 0)
        return error_no_memory(e);
    return 0;
}

static int read_json(const struct folder_reader *r, const char *name, const json_t **out, struct error *e)
{
    json_t *value;
    TRY(config_json_read(r->folder->path, name, &value, e));
    if (value)
        TRY(keep(r, value, e));
    *out = value;
    return 0;
}

/* ---- special tokens by name ------------------------------------------------------------------- */

/* "<s>" or {"content": "<s>", …}; NULL: not given. */
static const char *special_text(const struct folder_reader *r, const char *key)
{
    const json_t *value = json_object_get(r->config, key);
    if (!value)
        value = json_object_get(r->specials, key);
    if (json_is_object(value))
        value = json_object_get(value, "content");
    return json_string_value(value);
}

/* Whether a file speaks of it at all: null means that there is none. */
static bool is_given(const struct folder_reader *r, const char *key)
{
    return json_object_get(r->config, key) || json_object_get(r->specials, key);
}

static int32_t find_token(const struct tokenizer_spec *spec, const char *text)
{
    size_t len = text ? strlen(text) : 0;
    for (size_t i = 0; i < spec->n_tokens && len > 0; i++) {
        if (spec->tokens[i].len == len && memcmp(spec->tokens[i].text, text, len) == 0)
            return (int32_t)i;
    }
    return -1;
}

/* An id of config.json, or of its first entry when it is a list. */
static int32_t config_id(const struct folder_reader *r, const char *key, size_t index)
{
    const json_t *value = json_object_get(r->folder->config, key);
    if (json_is_array(value))
        value = json_array_get(value, index);
    else if (index > 0)
        value = NULL;
    json_int_t id = json_is_integer(value) ? json_integer_value(value) : -1;
    return id >= 0 && (uint64_t)id < r->out->n_tokens ? (int32_t)id : -1;
}

static void name_specials(const struct folder_reader *r)
{
    struct tokenizer_spec *t = r->out;
    const struct {
        const char *key, *config_key;
        int32_t *id;
    } rows[] = {{"bos_token", "bos_token_id", &t->bos}, {"eos_token", "eos_token_id", &t->eos},
                {"pad_token", "pad_token_id", &t->pad}, {"sep_token", "sep_token_id", &t->sep},
                {"unk_token", NULL, &t->unk},           {"cls_token", NULL, &t->cls},
                {"mask_token", NULL, &t->mask}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        int32_t id = find_token(t, special_text(r, rows[i].key));
        if (id >= 0 && (rows[i].id != &t->unk || t->unk < 0))
            *rows[i].id = id;
        else if (*rows[i].id < 0 && !is_given(r, rows[i].key) && rows[i].config_key)
            *rows[i].id = config_id(r, rows[i].config_key, 0);
    }
    int32_t second = config_id(r, "eos_token_id", 1);
    for (size_t i = 0; second >= 0 && t->eot < 0; second = config_id(r, "eos_token_id", ++i)) {
        if (second != t->eos)
            t->eot = second;
    }
}

static int read_flag(const struct folder_reader *r, const char *key, bool *out, struct error *e)
{
    return json_get_bool(r->config, key, out, e) < 0 ? as_format_error("tokenizer_config.json", e) : 0;
}

/* BOS and EOS of files whose pipeline does not say. */
static int read_bos_and_eos(const struct folder_reader *r, struct error *e)
{
    struct tokenizer_spec *t = r->out;
    if (t->post_processor)
        return 0;
    TRY(read_flag(r, "add_bos_token", &t->add_bos, e));
    TRY(read_flag(r, "add_eos_token", &t->add_eos, e));
    t->add_bos = t->add_bos && t->bos >= 0;
    t->add_eos = t->add_eos && t->eos >= 0;
    return 0;
}

/* ---- added tokens of folders without tokenizer.json -------------------------------------------- */

static const char *const special_keys[] = {"bos_token", "eos_token", "unk_token", "sep_token",
                                           "pad_token", "cls_token", "mask_token"};

/* The largest id that added tokens have, + 1, and how many there may be. */
static int count_added(const struct folder_reader *r, size_t *n, size_t *count, struct error *e)
{
    const json_t *decoder = json_object_get(r->config, "added_tokens_decoder");
    const char *key;
    json_t *value;
    if (r->more)
        TRY(vocabulary_object_size(r->more, n, e));
    json_object_foreach((json_t *)(uintptr_t)decoder, key, value)
    {
        unsigned long long id;
        char rest;
        if (sscanf(key, "%llu%c", &id, &rest) != 1 || id >= LIMIT_VOCABULARY)
            return error_set(e, ERROR_BAD_FORMAT,
                             "tokenizer_config.json: added_tokens_decoder has the key \"%.40s\"", key);
        if (id + 1 > *n)
            *n = (size_t)id + 1;
    }
    *count =
        json_object_size(r->more) + json_object_size(decoder) + sizeof special_keys / sizeof special_keys[0];
    return 0;
}

static int add_named(struct folder_reader *r, struct error *e)
{
    struct vocabulary *v = &r->vocabulary;
    for (size_t i = 0; i < sizeof special_keys / sizeof special_keys[0]; i++) {
        const char *text = special_text(r, special_keys[i]);
        int32_t id = text ? vocabulary_find(v, text, strlen(text)) : -1;
        struct added_token added = {.id = id, .special = true};
        const json_t *value = json_object_get(r->config, special_keys[i]);
        if (!value)
            value = json_object_get(r->specials, special_keys[i]);
        if (json_is_object(value)) {
            added.lstrip = json_is_true(json_object_get(value, "lstrip"));
            added.rstrip = json_is_true(json_object_get(value, "rstrip"));
        }
        if (id >= 0 && v->tokens[id].type == TOKEN_NORMAL)
            TRY(vocabulary_add(v, text, strlen(text), added, e));
    }
    return 0;
}

static int add_listed(struct folder_reader *r, struct error *e)
{
    const json_t *decoder = json_object_get(r->config, "added_tokens_decoder");
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)decoder, key, value)
    {
        const char *text;
        size_t len;
        struct added_token added;
        unsigned long long id = 0;
        TRY(vocabulary_read_added(value, &text, &len, &added, e));
        sscanf(key, "%llu", &id);
        added.id = (int32_t)id;
        TRY(vocabulary_add(&r->vocabulary, text, len, added, e));
    }
    json_object_foreach((json_t *)(uintptr_t)r->more, key, value)
    {
        const struct added_token added = {.id = (int32_t)json_integer_value(value), .normalized = true};
        if (vocabulary_find(&r->vocabulary, key, strlen(key)) < 0)
            TRY(vocabulary_add(&r->vocabulary, key, strlen(key), added, e));
    }
    return 0;
}

/* ---- pipelines -------------------------------------------------------------------------------- */

/* [CLS] A [SEP] B [SEP], with token types. */
static json_t *wrap_bert(const char *cls, int32_t cls_id, const char *sep, int32_t sep_id)
{
    return json_pack("{s:s, s:[s,i], s:[s,i]}", "type", "BertProcessing", "sep", sep, (int)sep_id, "cls", cls,
                     (int)cls_id);
}

/* <s> A </s></s> B </s>, all of one type. */
static json_t *wrap_roberta(const char *cls, int32_t cls_id, const char *sep, int32_t sep_id, bool prefix,
                            bool trim)
{
    return json_pack("{s:s, s:[s,i], s:[s,i], s:b, s:b}", "type", "RobertaProcessing", "sep", sep,
                     (int)sep_id, "cls", cls, (int)cls_id, "trim_offsets", (int)trim, "add_prefix_space",
                     (int)prefix);
}

/* ---- vocab.txt: BERT's ------------------------------------------------------------------------ */

static size_t count_lines(const char *text, size_t len)
{
    size_t n = 0;
    for (size_t at = 0; at < len; n++) {
        const char *end = memchr(text + at, '\n', len - at);
        at = end ? (size_t)(end - text) + 1 : len;
    }
    return n;
}

static int set_lines(struct vocabulary *v, const char *text, size_t len, struct error *e)
{
    size_t id = 0;
    for (size_t at = 0; at < len; id++) {
        const char *end = memchr(text + at, '\n', len - at);
        size_t stop = end ? (size_t)(end - text) : len, n = stop - at;
        if (n > 0 && text[stop - 1] == '\r')
            n--;
        TRY(vocabulary_set(v, id, text + at, n, TOKEN_NORMAL, 0, e));
        at = stop + 1;
    }
    return 0;
}

static int bert_pipeline(struct folder_reader *r, struct error *e)
{
    struct tokenizer_spec *t = r->out;
    bool lower = true, chinese = true, strip = false;
    const char *unk = special_text(r, "unk_token"), *cls = special_text(r, "cls_token");
    const char *sep = special_text(r, "sep_token");
    TRY(read_flag(r, "do_lower_case", &lower, e));
    TRY(read_flag(r, "tokenize_chinese_chars", &chinese, e));
    TRY(read_flag(r, "strip_accents", &strip, e));
    const json_t *given = json_object_get(r->config, "strip_accents");
    json_t *accents = !given || json_is_null(given) ? json_null() : json_boolean(strip);
    unk = unk ? unk : "[UNK]";
    cls = cls ? cls : "[CLS]";
    sep = sep ? sep : "[SEP]";
    t->cls = find_token(t, cls);
    t->sep = find_token(t, sep);
    t->unk = find_token(t, unk);
    json_t *parts = json_pack(
        "{s:{s:s, s:b, s:b, s:o, s:b}, s:{s:s}, s:{s:s, s:s, s:b}, s:{s:s, s:s}}", "normalizer", "type",
        "BertNormalizer", "clean_text", 1, "handle_chinese_chars", (int)chinese, "strip_accents", accents,
        "lowercase", (int)lower, "pre_tokenizer", "type", "BertPreTokenizer", "decoder", "type", "WordPiece",
        "prefix", "##", "cleanup", 1, "options", "unk_token", unk, "continuing_subword_prefix", "##");
    TRY(keep(r, parts, e));
    t->normalizer = json_object_get(parts, "normalizer");
    t->pre_tokenizer = json_object_get(parts, "pre_tokenizer");
    t->decoder = json_object_get(parts, "decoder");
    t->options = json_object_get(parts, "options");
    if (t->cls < 0 || t->sep < 0)
        return 0;
    bool roberta = cls[0] == '<';
    json_t *post =
        roberta ? wrap_roberta(cls, t->cls, sep, t->sep, false, false) : wrap_bert(cls, t->cls, sep, t->sep);
    TRY(keep(r, post, e));
    t->post_processor = post;
    return 0;
}

static int read_vocab_txt(struct folder_reader *r, struct error *e)
{
    char *text;
    size_t len = 0, n = 0, added;
    init_spec(r->out);
    TRY(config_text_read(r->folder->path, "vocab.txt", r->folder->arena, &text, &len, e));
    size_t lines = count_lines(text, len);
    TRY(count_added(r, &n, &added, e));
    TRY(vocabulary_begin(&r->vocabulary, r->folder->arena, n > lines ? n : lines, lines + added, added, e));
    TRY(set_lines(&r->vocabulary, text, len, e));
    TRY(add_listed(r, e));
    TRY(add_named(r, e));
    r->out->model = "wordpiece";
    vocabulary_give(&r->vocabulary, r->out);
    return bert_pipeline(r, e);
}

/* ---- vocab.json and merges.txt: GPT-2's and RoBERTa's ------------------------------------------ */

/* Lines "left right"; the first may be a comment "#version: …". */
static int read_merges_txt(struct folder_reader *r, struct error *e)
{
    char *text;
    size_t len = 0, n = 0, line = 0;
    TRY(config_text_read(r->folder->path, "merges.txt", r->folder->arena, &text, &len, e));
    struct text_view *merges = arena_alloc(r->folder->arena, count_lines(text, len) + 1, sizeof *merges);
    if (!merges)
        return error_no_memory(e);
    for (size_t at = 0; at < len; line++) {
        const char *start = text + at, *end = memchr(start, '\n', len - at);
        size_t size = end ? (size_t)(end - start) : len - at;
        at += size + 1;
        if (size > 0 && start[size - 1] == '\r')
            size--;
        if (size == 0 || (size >= 8 && memcmp(start, "#version", 8) == 0))
            continue;
        const char *space = memchr(start, ' ', size);
        if (!space || memchr(space + 1, ' ', size - (size_t)(space + 1 - start)) ||
            size > 2 * LIMIT_TOKEN_BYTES)
            return error_set(e, ERROR_BAD_FORMAT,
                             "merges.txt: line %zu is not two tokens with a space between", line + 1);
        merges[n++] = (struct text_view){start, (uint32_t)size};
    }
    r->out->merges = merges;
    r->out->n_merges = n;
    return 0;
}

/* How a class of transformers cuts texts; those that are not here need their tokenizer.json. */
static const struct byte_level_row {
    const char *classes; /* separated by spaces, without "Fast" */
    bool wraps;          /* <s> … </s> */
    bool nfc;
    const char *pattern; /* NULL: GPT-2's */
} byte_level_rows[] = {
    {"GPT2Tokenizer GPTNeoXTokenizer CodeGenTokenizer", false, false, NULL},
    {"RobertaTokenizer BartTokenizer LongformerTokenizer LEDTokenizer MvpTokenizer DebertaTokenizer", true,
     false, NULL},
    {"Qwen2Tokenizer", false, true,
     "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| "
     "?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|"
     "\\s+(?!\\S)|\\s+"},
};

static bool names_class(const char *classes, const char *name)
{
    size_t len = strlen(name);
    if (len > 4 && strcmp(name + len - 4, "Fast") == 0)
        len -= 4;
    for (const char *p = classes; *p;) {
        size_t n = strcspn(p, " ");
        if (n == len && memcmp(p, name, len) == 0)
            return true;
        p += n + (p[n] == ' ');
    }
    return false;
}

static int find_byte_level(const struct folder_reader *r, const struct byte_level_row **out, struct error *e)
{
    const char *name = json_string_value(json_object_get(r->config, "tokenizer_class"));
    bool wraps =
        special_text(r, "cls_token") || (find_token(r->out, "<s>") >= 0 && find_token(r->out, "</s>") >= 0);
    *out = &byte_level_rows[wraps ? 1 : 0];
    for (size_t i = 0; name && i < sizeof byte_level_rows / sizeof byte_level_rows[0]; i++) {
        if (names_class(byte_level_rows[i].classes, name)) {
            *out = &byte_level_rows[i];
            return 0;
        }
    }
    if (name && strcmp(name, "PreTrainedTokenizerFast") != 0)
        return error_set(
            e, ERROR_UNSUPPORTED,
            "tokenizer_config.json: the class \"%.64s\" needs a tokenizer.json, which is not there", name);
    return 0;
}

static int byte_level_pipeline(struct folder_reader *r, struct error *e)
{
    struct tokenizer_spec *t = r->out;
    const struct byte_level_row *row;
    bool prefix = false;
    TRY(find_byte_level(r, &row, e));
    TRY(read_flag(r, "add_prefix_space", &prefix, e));
    const char *cls = special_text(r, "cls_token"), *sep = special_text(r, "sep_token");
    cls = cls ? cls : "<s>";
    sep = sep ? sep : "</s>";
    json_t *bytes = json_pack("{s:s, s:b, s:b, s:b}", "type", "ByteLevel", "add_prefix_space", (int)prefix,
                              "trim_offsets", 1, "use_regex", row->pattern == NULL);
    if (row->pattern)
        bytes =
            json_pack("{s:s, s:[{s:s, s:{s:s}, s:s, s:b}, o]}", "type", "Sequence", "pretokenizers", "type",
                      "Split", "pattern", "Regex", row->pattern, "behavior", "Isolated", "invert", 0, bytes);
    json_t *parts = json_pack("{s:o, s:{s:s}, s:{}, s:{s:s}}", "pre_tokenizer", bytes, "decoder", "type",
                              "ByteLevel", "options", "nfc", "type", "NFC");
    TRY(keep(r, parts, e));
    t->pre_tokenizer = json_object_get(parts, "pre_tokenizer");
    t->decoder = json_object_get(parts, "decoder");
    t->options = json_object_get(parts, "options");
    t->normalizer = row->nfc ? json_object_get(parts, "nfc") : NULL;
    t->cls = find_token(t, cls);
    t->sep = find_token(t, sep);
    for (size_t i = 0; row->wraps && i < r->vocabulary.n_added;
         i++) { /* its mask takes the space before it */
        if (r->vocabulary.added[i].id == find_token(t, special_text(r, "mask_token")))
            r->vocabulary.added[i].lstrip = true;
    }
    if (row->wraps && t->cls >= 0 && t->sep >= 0) {
        json_t *post = wrap_roberta(cls, t->cls, sep, t->sep, prefix, true);
        TRY(keep(r, post, e));
        t->post_processor = post;
    }
    return 0;
}

static int read_vocab_json(struct folder_reader *r, struct error *e)
{
    const json_t *vocab;
    size_t n = 0, added;
    init_spec(r->out);
    TRY(read_json(r, "vocab.json", &vocab, e));
    if (vocabulary_object_size(vocab, &n, e) < 0)
        return error_prefix(e, "vocab.json");
    TRY(count_added(r, &n, &added, e));
    TRY(vocabulary_begin(&r->vocabulary, r->folder->arena, n, json_object_size(vocab) + added, added, e));
    if (vocabulary_set_object(&r->vocabulary, vocab, e) < 0)
        return error_prefix(e, "vocab.json");
    TRY(add_listed(r, e));
    TRY(add_named(r, e));
    r->out->model = "bpe";
    vocabulary_give(&r->vocabulary, r->out);
    TRY(read_merges_txt(r, e));
    return byte_level_pipeline(r, e);
}

/* ---- SentencePiece ---------------------------------------------------------------------------- */

static int read_spm(struct folder_reader *r, const char *name, struct error *e)
{
    struct bytes *b;
    TRY(open_file(r, name, &b, e));
    int status = sentencepiece_read(b, r->folder->arena, r->out, e);
    bytes_close(b);
    return status < 0 ? error_prefix(e, "%s", name) : 0;
}

/* Pieces keep their ids; added tokens come behind them, T5's sentinels the last one first. */
static int extend_pieces(struct folder_reader *r, struct error *e)
{
    const struct tokenizer_spec old = *r->out;
    size_t n = old.n_tokens, added;
    uint64_t sentinels = 0;
    if (json_get_u64(r->config, "extra_ids", 0, 10000, &sentinels, e) < 0)
        return as_format_error("tokenizer_config.json", e);
    bool listed = json_object_size(json_object_get(r->config, "added_tokens_decoder")) > 0;
    if (listed)
        sentinels = 0;
    TRY(count_added(r, &n, &added, e));
    if (n < old.n_tokens + sentinels)
        n = old.n_tokens + (size_t)sentinels;
    if (n == old.n_tokens && added == sizeof special_keys / sizeof special_keys[0])
        return 0;
    TRY(vocabulary_begin(&r->vocabulary, r->folder->arena, n, old.n_tokens + added + (size_t)sentinels,
                         added + (size_t)sentinels, e));
    for (size_t i = 0; i < old.n_tokens; i++) {
        const struct token_spec *t = &old.tokens[i];
        TRY(vocabulary_set(&r->vocabulary, i, t->text, t->len, t->type, t->score, e));
    }
    for (size_t i = 0; i < sentinels; i++) {
        char text[32];
        int len = snprintf(text, sizeof text, "<extra_id_%zu>", (size_t)sentinels - 1 - i);
        const struct added_token sentinel = {.id = (int32_t)(old.n_tokens + i), .special = true};
        TRY(vocabulary_add(&r->vocabulary, text, (size_t)len, sentinel, e));
    }
    TRY(add_listed(r, e));
    if (old.unk >= 0)
        r->vocabulary.tokens[old.unk].type = TOKEN_UNKNOWN;
    vocabulary_give(&r->vocabulary, r->out);
    return 0;
}

/* Unigram models end a text with EOS, or wrap it when they have [CLS]; BPE models begin it with BOS. */
static int sentencepiece_pipeline(struct folder_reader *r, struct error *e)
{
    struct tokenizer_spec *t = r->out;
    const char *cls = special_text(r, "cls_token"), *sep = special_text(r, "sep_token");
    int32_t cls_id = find_token(t, cls), sep_id = find_token(t, sep);
    if (cls_id >= 0 && sep_id >= 0) {
        json_t *post = wrap_bert(cls, cls_id, sep, sep_id);
        TRY(keep(r, post, e));
        t->post_processor = post;
    }
    bool unigram = strcmp(t->model, "t5") == 0, legacy = true;
    TRY(read_flag(r, "legacy", &legacy, e));
    if (!unigram && legacy && t->add_space_prefix && !t->remove_extra_whitespaces && t->charsmap_len == 0 &&
        !t->space_is_suffix && !t->keep_spaces) { /* a space before every part between special tokens */
        json_t *normalizer = json_pack("{s:s, s:[{s:s, s:s}, {s:s, s:{s:s}, s:s}]}", "type", "Sequence",
                                       "normalizers", "type", "Prepend", "prepend", SP_SPACE, "type",
                                       "Replace", "pattern", "String", " ", "content", SP_SPACE);
        TRY(keep(r, normalizer, e));
        t->normalizer = normalizer;
    }
    t->add_bos = !unigram;
    t->add_eos = unigram;
    t->add_bos_given = true;
    return 0;
}

static int read_sentencepiece(struct folder_reader *r, const char *name, struct error *e)
{
    TRY(read_spm(r, name, e));
    TRY(extend_pieces(r, e));
    return sentencepiece_pipeline(r, e);
}

static int read_spiece(struct folder_reader *r, struct error *e)
{
    return read_sentencepiece(r, "spiece.model", e);
}

static int read_tokenizer_model(struct folder_reader *r, struct error *e)
{
    return read_sentencepiece(r, "tokenizer.model", e);
}

/* Source and target share their pieces; every text ends with </s>. */
static int read_bergamot(struct folder_reader *r, struct error *e)
{
    TRY(read_spm(r, r->bergamot, e));
    if (r->out->eos < 0)
        return error_set(e, ERROR_BAD_FORMAT, "%s: no piece ends a text", r->bergamot);
    r->out->add_eos = true;
    r->out->add_bos = false;
    return 0;
}

/* A piece of source.spm has its score; one that only the target has is never made from text.  >>fra<< names
 * the language to translate into. */
static int set_marian(struct folder_reader *r, const json_t *vocab, const struct tokenizer_spec *source,
                      struct error *e)
{
    struct string_table pieces;
    int status = string_table_init(&pieces, source->n_tokens, e);
    for (size_t i = 0; i < source->n_tokens && status == 0; i++)
        string_table_add(&pieces, source->tokens[i].text, source->tokens[i].len, (int32_t)i);
    json_t *tokens = (json_t *)(uintptr_t)vocab;
    for (void *i = json_object_iter(tokens); i && status == 0; i = json_object_iter_next(tokens, i)) {
        const char *text = json_object_iter_key(i);
        size_t len = json_object_iter_key_len(i);
        int32_t piece = string_table_find(&pieces, text, len);
        bool language = len > 4 && memcmp(text, ">>", 2) == 0 && memcmp(text + len - 2, "<<", 2) == 0;
        enum token_type type = piece >= 0 ? source->tokens[piece].type
                               : language ? TOKEN_CONTROL
                                          : TOKEN_UNUSED;
        status = vocabulary_set(&r->vocabulary, (size_t)json_integer_value(json_object_iter_value(i)), text,
                                len, type, piece >= 0 ? source->tokens[piece].score : 0, e);
    }
    string_table_free(&pieces);
    return status;
}

static int read_marian(struct folder_reader *r, struct error *e)
{
    const json_t *vocab;
    const char *unk = special_text(r, "unk_token"), *eos = special_text(r, "eos_token");
    const char *pad = special_text(r, "pad_token");
    size_t n = 0;
    TRY(read_spm(r, "source.spm", e));
    const struct tokenizer_spec source = *r->out;
    TRY(read_json(r, "vocab.json", &vocab, e));
    if (vocabulary_object_size(vocab, &n, e) < 0 ||
        vocabulary_begin(&r->vocabulary, r->folder->arena, n, json_object_size(vocab), 0, e) < 0 ||
        set_marian(r, vocab, &source, e) < 0)
        return error_prefix(e, "vocab.json");
    struct vocabulary *v = &r->vocabulary;
    const char *const specials[] = {eos ? eos : "</s>", pad ? pad : "<pad>", unk ? unk : "<unk>"};
    int32_t ids[3];
    for (size_t i = 0; i < 3; i++) {
        ids[i] = vocabulary_find(v, specials[i], strlen(specials[i]));
        if (ids[i] >= 0)
            v->tokens[ids[i]].type = i == 2 ? TOKEN_UNKNOWN : TOKEN_CONTROL;
    }
    if (ids[0] < 0 || ids[2] < 0)
        return error_set(e, ERROR_BAD_FORMAT, "vocab.json has no %s", ids[0] < 0 ? specials[0] : specials[2]);
    vocabulary_give(v, r->out);
    r->out->bos = -1;
    r->out->eos = ids[0];
    r->out->pad = ids[1];
    r->out->unk = ids[2];
    r->out->add_eos = true;
    r->out->add_bos = false;
    return 0;
}

/* ---- plain PyTorch ---------------------------------------------------------------------------- */

/* vocab.json: {token: id} or [token, …]. */
static int set_plain(struct folder_reader *r, const json_t *vocab, struct error *e)
{
    size_t n = json_array_size(vocab), i;
    const json_t *token;
    if (!json_is_array(vocab)) {
        TRY(vocabulary_object_size(vocab, &n, e));
        TRY(vocabulary_begin(&r->vocabulary, r->folder->arena, n, json_object_size(vocab), 0, e));
        return vocabulary_set_object(&r->vocabulary, vocab, e);
    }
    TRY(vocabulary_begin(&r->vocabulary, r->folder->arena, n, n, 0, e));
    json_array_foreach(vocab, i, token)
    {
        if (!json_is_string(token))
            return error_set(e, ERROR_BAD_FORMAT, "entry %zu is no text", i);
        TRY(vocabulary_set(&r->vocabulary, i, json_string_value(token), json_string_length(token),
                           TOKEN_NORMAL, 0, e));
    }
    return 0;
}

/* Ids of the user's own config; a token that is one of them is never plain text. */
static void name_plain(struct folder_reader *r)
{
    struct tokenizer_spec *t = r->out;
    const json_t *options = t->options;
    const struct {
        const char *config_key, *key;
        int32_t *id;
    } rows[] = {{"bos_id", "bos", &t->bos}, {"eos_id", "eos", &t->eos}, {"pad_id", "pad", &t->pad}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        *rows[i].id = config_id(r, rows[i].config_key, 0);
        if (*rows[i].id < 0)
            *rows[i].id = find_token(t, json_string_value(json_object_get(options, rows[i].key)));
        if (*rows[i].id >= 0)
            r->vocabulary.tokens[*rows[i].id].type = TOKEN_CONTROL;
    }
    t->unk = find_token(t, json_string_value(json_object_get(options, "unk")));
}

/* A model that reads one text and writes another says what its source is made of ("letters + <eos>"). */
static bool source_has_eos(const struct folder_reader *r)
{
    const struct tokenizer_spec *t = r->out;
    const char *source = json_string_value(json_object_get(r->folder->config, "source"));
    return t->eos >= 0 && source && strstr(source, t->tokens[t->eos].text);
}

static int read_plain(struct folder_reader *r, struct error *e)
{
    const json_t *options = json_object_get(r->folder->config, "tokenizer");
    const char *type = NULL, *name = "vocab.json";
    init_spec(r->out);
    if (json_get_string(options, "type", &type, e) < 0 || json_get_string(options, "vocab", &name, e) < 0)
        return as_format_error("config.json: tokenizer", e);
    bool chars = type && strcmp(type, "char") == 0, words = type && strcmp(type, "word") == 0;
    if (!chars && !words)
        return error_set(e, ERROR_UNSUPPORTED, "config.json: the tokenizer type \"%.64s\" is not supported",
                         type ? type : "");
    if (strchr(name, '/'))
        return error_set(e, ERROR_BAD_FORMAT,
                         "config.json: the vocabulary \"%.64s\" is not a file of the folder", name);
    json_t *vocab;
    TRY(config_json_read_any(r->folder->path, name, &vocab, e));
    if (!vocab)
        return error_set(e, ERROR_FILE_ACCESS, "config.json names the vocabulary %.64s, which is not there",
                         name);
    TRY(keep(r, vocab, e));
    if ((!json_is_array(vocab) && !json_is_object(vocab)) || set_plain(r, vocab, e) < 0) {
        error_set(e, ERROR_BAD_FORMAT, "neither an object nor a list");
        return error_prefix(e, "%s", name);
    }
    r->out->model = chars ? "char" : "word";
    r->out->options = options;
    vocabulary_give(&r->vocabulary, r->out);
    name_plain(r);
    r->out->add_eos = source_has_eos(r);
    return 0;
}

/* ---- the folder ------------------------------------------------------------------------------- */

static bool is_plain(const struct folder_reader *r)
{
    return json_is_object(json_object_get(r->folder->config, "tokenizer"));
}

static bool has_bergamot(const struct folder_reader *r)
{
    return r->bergamot[0] != '\0';
}

static bool has_tokenizer_json(const struct folder_reader *r)
{
    return has_file(r, "tokenizer.json");
}

static bool has_marian(const struct folder_reader *r)
{
    return has_file(r, "source.spm") && has_file(r, "vocab.json");
}

static bool has_spiece(const struct folder_reader *r)
{
    return has_file(r, "spiece.model");
}

static bool has_tokenizer_model(const struct folder_reader *r)
{
    return has_file(r, "tokenizer.model");
}

static bool has_vocab_txt(const struct folder_reader *r)
{
    return has_file(r, "vocab.txt");
}

static bool has_vocab_json(const struct folder_reader *r)
{
    return has_file(r, "vocab.json") && has_file(r, "merges.txt");
}

static int read_tokenizer_json(struct folder_reader *r, struct error *e)
{
    struct bytes *b;
    TRY(open_file(r, "tokenizer.json", &b, e));
    int status = tokenizer_json_read(b, r->folder->arena, r->folder->keep, r->out, e);
    bytes_close(b);
    return status < 0 ? error_prefix(e, "tokenizer.json") : 0;
}

static const struct {
    bool (*is)(const struct folder_reader *r);
    int (*read)(struct folder_reader *r, struct error *e);
    bool named; /* special tokens have names in the folder's files */
} kinds[] = {
    {is_plain, read_plain, false},
    {has_bergamot, read_bergamot, false},
    {has_tokenizer_json, read_tokenizer_json, true},
    {has_marian, read_marian, false},
    {has_spiece, read_spiece, true},
    {has_tokenizer_model, read_tokenizer_model, true},
    {has_vocab_txt, read_vocab_txt, true},
    {has_vocab_json, read_vocab_json, true},
};

/* vocab.NAME.spm, the first by name. */
static int find_bergamot(struct folder_reader *r, struct error *e)
{
    DIR *d = opendir(r->folder->path);
    if (!d)
        return error_set(e, ERROR_FILE_ACCESS, "the folder cannot be read: %s", strerror(errno));
    for (struct dirent *entry; (entry = readdir(d));) {
        size_t len = strlen(entry->d_name);
        bool fits = len > 9 && len < sizeof r->bergamot && memcmp(entry->d_name, "vocab", 5) == 0 &&
                    strcmp(entry->d_name + len - 4, ".spm") == 0;
        if (fits && (!r->bergamot[0] || strcmp(entry->d_name, r->bergamot) < 0))
            memcpy(r->bergamot, entry->d_name, len + 1);
    }
    closedir(d);
    return 0;
}

static int read_folder(struct folder_reader *r, struct error *e)
{
    TRY(find_bergamot(r, e));
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        if (!kinds[i].is(r))
            continue;
        TRY(read_json(r, "tokenizer_config.json", &r->config, e));
        TRY(read_json(r, "special_tokens_map.json", &r->specials, e));
        TRY(read_json(r, "added_tokens.json", &r->more, e));
        TRY(kinds[i].read(r, e));
        if (kinds[i].named) {
            name_specials(r);
            TRY(read_bos_and_eos(r, e));
        }
        return 1;
    }
    return 0;
}

int tokenizer_folder_read(const struct tokenizer_folder *folder, struct tokenizer_spec *out, struct error *e)
{
    struct folder_reader r = {.folder = folder, .out = out};
    int found = read_folder(&r, e);
    vocabulary_end(&r.vocabulary);
    return found;
}
