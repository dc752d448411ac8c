/* gguf_vocabulary.c - the tokenizer of a GGUF file: the big arrays and what config says of it.
 * Called by gguf_metadata.c and gguf.c while a checkpoint is opened.  Texts of tokens may be any
 * bytes; ids of special tokens are checked here, so that nobody has to do it again.
 * What a file leaves out is the habit of its tokenizer model (as llama.cpp has it): a row in `habits`. */
#include "engine/formats/gguf.h"

#include <inttypes.h>
#include <string.h>

#include "engine/base/json.h"

static int open_array(struct gguf *g, const char *key, uint32_t value_type, uint32_t *type, uint64_t *count,
                      struct error *e)
{
    if (value_type != GGUF_ARRAY)
        return error_at(e, ERROR_BAD_FORMAT, bytes_offset(g->file), "%s is not an array", key);
    TRY(gguf_array_head(g, key, type, count, e));
    if (*count > LIMIT_VOCABULARY)
        return error_at(e, ERROR_BAD_FORMAT, bytes_offset(g->file),
                        "%s has %" PRIu64 " entries; at most %d are accepted", key, *count, LIMIT_VOCABULARY);
    return 0;
}

static int read_text(struct gguf *g, const char *key, struct text_view *out, struct error *e)
{
    const char *text;
    size_t len;
    TRY(gguf_string(g, LIMIT_TOKEN_BYTES, &text, &len, key, e));
    out->text = arena_copy(g->arena, text, len);
    out->len = (uint32_t)len;
    return out->text ? 0 : error_no_memory(e);
}

static int open_texts(struct gguf *g, const char *key, uint32_t value_type, uint64_t *count, struct error *e)
{
    uint32_t type;
    TRY(open_array(g, key, value_type, &type, count, e));
    if (type != GGUF_STRING)
        return error_at(e, ERROR_BAD_FORMAT, bytes_offset(g->file), "%s is not an array of strings", key);
    return 0;
}

static int read_tokens(struct gguf *g, const char *key, uint32_t value_type, struct error *e)
{
    uint64_t count;
    TRY(open_texts(g, key, value_type, &count, e));
    g->tokens = arena_alloc(g->arena, (size_t)count, sizeof *g->tokens);
    if (!g->tokens)
        return error_no_memory(e);
    for (uint64_t i = 0; i < count; i++) {
        struct text_view view;
        TRY(read_text(g, key, &view, e));
        g->tokens[i] = (struct token_spec){.text = view.text, .len = view.len, .type = TOKEN_NORMAL};
    }
    g->n_tokens = (size_t)count;
    return 0;
}

static int read_merges(struct gguf *g, const char *key, uint32_t value_type, struct error *e)
{
    uint64_t count;
    TRY(open_texts(g, key, value_type, &count, e));
    g->merges = arena_alloc(g->arena, (size_t)count, sizeof *g->merges);
    if (!g->merges)
        return error_no_memory(e);
    for (uint64_t i = 0; i < count; i++)
        TRY(read_text(g, key, &g->merges[i], e));
    g->n_merges = (size_t)count;
    return 0;
}

static int read_types(struct gguf *g, const char *key, uint32_t value_type, struct error *e)
{
    uint32_t type;
    uint64_t count;
    TRY(open_array(g, key, value_type, &type, &count, e));
    if (type != GGUF_I32 && type != GGUF_U32)
        return error_at(e, ERROR_BAD_FORMAT, bytes_offset(g->file), "%s is not an array of 32-bit integers",
                        key);
    g->types = arena_alloc(g->arena, (size_t)count, sizeof *g->types);
    if (!g->types)
        return error_no_memory(e);
    for (uint64_t i = 0; i < count; i++) {
        uint32_t bits;
        TRY(bytes_u32(g->file, &bits, key, e));
        g->types[i] = (int32_t)bits;
    }
    g->n_types = (size_t)count;
    return 0;
}

static int read_scores(struct gguf *g, const char *key, uint32_t value_type, struct error *e)
{
    uint32_t type;
    uint64_t count;
    TRY(open_array(g, key, value_type, &type, &count, e));
    if (type != GGUF_F32 && type != GGUF_I32)
        return error_at(e, ERROR_BAD_FORMAT, bytes_offset(g->file), "%s is not an array of 32-bit numbers",
                        key);
    g->scores = arena_alloc(g->arena, (size_t)count, sizeof *g->scores);
    if (!g->scores)
        return error_no_memory(e);
    for (uint64_t i = 0; i < count; i++) {
        uint32_t bits;
        TRY(bytes_u32(g->file, &bits, key, e));
        if (type == GGUF_F32)
            memcpy(&g->scores[i], &bits, sizeof bits);
        else
            g->scores[i] = (float)(int32_t)bits;
    }
    g->n_scores = (size_t)count;
    return 0;
}

/* SentencePiece's precompiled map of characters: an array of bytes. */
static int read_charsmap(struct gguf *g, const char *key, uint32_t value_type, struct error *e)
{
    uint32_t type;
    uint64_t count;
    const void *bytes;
    TRY(open_array(g, key, value_type, &type, &count, e));
    if (type != GGUF_U8 && type != GGUF_I8)
        return error_at(e, ERROR_BAD_FORMAT, bytes_offset(g->file), "%s is not an array of bytes", key);
    TRY(bytes_take(g->file, count, &bytes, key, e));
    g->charsmap = arena_copy(g->arena, bytes, (size_t)count);
    g->n_charsmap = (size_t)count;
    return g->charsmap ? 0 : error_no_memory(e);
}

int gguf_read_vocabulary_array(struct gguf *g, const char *key, uint32_t value_type, struct error *e)
{
    static const struct {
        const char *key;
        int (*read)(struct gguf *g, const char *key, uint32_t value_type, struct error *e);
    } arrays[] = {{"tokenizer.ggml.tokens", read_tokens},
                  {"tokenizer.ggml.scores", read_scores},
                  {"tokenizer.ggml.token_type", read_types},
                  {"tokenizer.ggml.merges", read_merges},
                  {"tokenizer.ggml.precompiled_charsmap", read_charsmap}};
    for (size_t i = 0; i < sizeof arrays / sizeof arrays[0]; i++) {
        if (strcmp(key, arrays[i].key) == 0)
            return arrays[i].read(g, key, value_type, e) < 0 ? -1 : 1;
    }
    return 0;
}

/* config's getters speak of requests; here a wrong value is a broken file. */
static int as_format_error(struct error *e)
{
    if (e && e->kind == ERROR_INVALID_REQUEST)
        e->kind = ERROR_BAD_FORMAT;
    return -1;
}

static int read_special_ids(struct gguf *g, struct error *e)
{
    struct tokenizer_spec *t = &g->tokenizer;
    const struct {
        const char *key;
        int32_t *id;
    } ids[] = {{"tokenizer.ggml.bos_token_id", &t->bos},       {"tokenizer.ggml.eos_token_id", &t->eos},
               {"tokenizer.ggml.eot_token_id", &t->eot},       {"tokenizer.ggml.unknown_token_id", &t->unk},
               {"tokenizer.ggml.seperator_token_id", &t->sep}, {"tokenizer.ggml.padding_token_id", &t->pad},
               {"tokenizer.ggml.cls_token_id", &t->cls},       {"tokenizer.ggml.mask_token_id", &t->mask}};
    for (size_t i = 0; i < sizeof ids / sizeof ids[0]; i++) {
        uint64_t id = UINT64_MAX;
        if (json_get_u64(g->config, ids[i].key, 0, g->n_tokens - 1, &id, e) < 0)
            return as_format_error(e);
        *ids[i].id = id == UINT64_MAX ? -1 : (int32_t)id;
    }
    return 0;
}

/* What a tokenizer model does when its file does not say. */
static const struct habit {
    const char *model;
    bool add_bos, add_eos, add_space_prefix;
    bool classifies; /* texts stand between CLS and SEP, words are BERT's */
} habits[] = {{.model = "llama", .add_bos = true, .add_space_prefix = true},
              {.model = "t5", .add_eos = true},
              {.model = "bert", .classifies = true}};

static const struct habit *habit_of(const char *model)
{
    static const struct habit none = {0};
    for (size_t i = 0; i < sizeof habits / sizeof habits[0]; i++) {
        if (strcmp(habits[i].model, model) == 0)
            return &habits[i];
    }
    return &none;
}

static int read_names_and_flags(struct gguf *g, struct error *e)
{
    struct tokenizer_spec *t = &g->tokenizer;
    if (json_get_string(g->config, "tokenizer.ggml.model", &t->model, e) < 0 ||
        json_get_string(g->config, "tokenizer.ggml.pre", &t->pre, e) < 0)
        return as_format_error(e);
    if (!t->model)
        return error_set(e, ERROR_BAD_FORMAT,
                         "tokenizer.ggml.tokens is there but tokenizer.ggml.model is missing");
    const struct habit *habit = habit_of(t->model);
    t->add_bos = habit->add_bos;
    t->add_eos = habit->add_eos;
    t->add_space_prefix = habit->add_space_prefix;
    t->add_bos_given = json_object_get(g->config, "tokenizer.ggml.add_bos_token") != NULL;
    const struct {
        const char *key;
        bool *flag;
    } flags[] = {{"tokenizer.ggml.add_bos_token", &t->add_bos},
                 {"tokenizer.ggml.add_eos_token", &t->add_eos},
                 {"tokenizer.ggml.add_space_prefix", &t->add_space_prefix},
                 {"tokenizer.ggml.remove_extra_whitespaces", &t->remove_extra_whitespaces}};
    for (size_t i = 0; i < sizeof flags / sizeof flags[0]; i++) {
        if (json_get_bool(g->config, flags[i].key, flags[i].flag, e) < 0)
            return as_format_error(e);
    }
    return 0;
}

/* The token that the file's types call unknown, when no key names one. */
static void find_unknown(struct gguf *g)
{
    for (size_t i = 0; i < g->n_tokens && g->tokenizer.unk < 0; i++) {
        if (g->tokens[i].type == TOKEN_UNKNOWN)
            g->tokenizer.unk = (int32_t)i;
    }
}

/* Keeps a new object of the pipeline; it is borrowed by the spec. */
static int keep(struct gguf *g, json_t *object, const json_t **out, struct error *e)
{
    if (!g->pipeline)
        g->pipeline = json_array();
    if (!object || json_array_append_new(g->pipeline, object) < 0)
        return error_no_memory(e);
    *out = object;
    return 0;
}

static json_t *token_and_id(const struct gguf *g, int32_t id)
{
    json_t *text = json_stringn(g->tokens[id].text, g->tokens[id].len);
    return text ? json_pack("[oi]", text, (int)id) : NULL;
}

static int set_normalizer(struct gguf *g, struct error *e)
{
    static const char *const lowercase_key = "tokenizer.ggml.normalizer.lowercase",
                             *const accents_key = "tokenizer.ggml.normalizer.strip_accents";
    bool lowercase = true, strip_accents = true;
    if (json_get_bool(g->config, lowercase_key, &lowercase, e) < 0 ||
        json_get_bool(g->config, accents_key, &strip_accents, e) < 0)
        return as_format_error(e);
    if (lowercase && strip_accents)
        return 0;
    return keep(g,
                json_pack("{sssbsbsbsb}", "type", "BertNormalizer", "clean_text", 1, "handle_chinese_chars",
                          1, "strip_accents", (int)strip_accents, "lowercase", (int)lowercase),
                &g->tokenizer.normalizer, e);
}

/* Texts between CLS and SEP, second texts with token type 1; older files name CLS and SEP by BOS and EOS. */
static int set_classifying(struct gguf *g, struct error *e)
{
    struct tokenizer_spec *t = &g->tokenizer;
    if (t->cls < 0)
        t->cls = t->bos;
    if (t->sep < 0)
        t->sep = t->eos;
    TRY(set_normalizer(g, e));
    if (t->cls < 0 || t->sep < 0)
        return 0;
    t->add_bos = t->add_eos = false;
    t->add_bos_given = true;
    json_t *cls = token_and_id(g, t->cls), *sep = token_and_id(g, t->sep);
    if (!cls || !sep) {
        json_decref(cls);
        json_decref(sep);
        return error_set(e, ERROR_BAD_FORMAT, "the texts of the CLS and SEP tokens are not UTF-8");
    }
    return keep(g, json_pack("{sssoso}", "type", "BertProcessing", "sep", sep, "cls", cls),
                &t->post_processor, e);
}

static int check_lengths(const struct gguf *g, struct error *e)
{
    if (g->n_tokens == 0)
        return error_set(e, ERROR_BAD_FORMAT, "tokenizer.ggml.tokens is empty");
    if (g->scores && g->n_scores < g->n_tokens)
        return error_set(e, ERROR_BAD_FORMAT, "tokenizer.ggml.scores has %zu entries for %zu tokens",
                         g->n_scores, g->n_tokens);
    if (g->types && g->n_types < g->n_tokens)
        return error_set(e, ERROR_BAD_FORMAT, "tokenizer.ggml.token_type has %zu entries for %zu tokens",
                         g->n_types, g->n_tokens);
    return 0;
}

static int fill_tokens(struct gguf *g, struct error *e)
{
    for (size_t i = 0; i < g->n_tokens; i++) {
        int32_t type = g->types ? g->types[i] : (int32_t)TOKEN_NORMAL;
        if (type < (int32_t)TOKEN_UNDEFINED || type > (int32_t)TOKEN_BYTE)
            return error_set(e, ERROR_BAD_FORMAT, "tokenizer.ggml.token_type is %" PRId32 " for token %zu",
                             type, i);
        g->tokens[i].type = (enum token_type)type;
        g->tokens[i].score = g->scores ? g->scores[i] : 0;
    }
    return 0;
}

static int build_from_arrays(struct gguf *g, struct error *e)
{
    TRY(check_lengths(g, e));
    TRY(fill_tokens(g, e));
    TRY(read_names_and_flags(g, e));
    TRY(read_special_ids(g, e));
    find_unknown(g);
    if (habit_of(g->tokenizer.model)->classifies)
        TRY(set_classifying(g, e));
    g->tokenizer.charsmap = g->charsmap;
    g->tokenizer.charsmap_len = g->n_charsmap;
    g->tokenizer.n_tokens = g->n_tokens;
    g->tokenizer.tokens = g->tokens;
    g->tokenizer.n_merges = g->n_merges;
    g->tokenizer.merges = g->merges;
    return 0;
}

/* The whole tokenizer.json comes first: the arrays beside it are what others can make of it. */
int gguf_build_tokenizer(struct gguf *g, struct error *e)
{
    const char *whole = json_string_value(json_object_get(g->config, TOKENIZER_HUGGINGFACE));
    if (!whole && !g->tokens)
        return 0;
    if (whole) {
        TRY(gguf_read_huggingface(g, whole, e));
        TRY(read_special_ids(g, e));
    } else
        TRY(build_from_arrays(g, e));
    TRY(gguf_read_rest(g, e));
    g->checkpoint.tokenizer = &g->tokenizer;
    return 0;
}
