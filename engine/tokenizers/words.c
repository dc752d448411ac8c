/* words.c - vocabularies of whole words: "wordlevel" (a tokenizer.json, whose pre-tokenizer cuts) and "word"
 * (a plain PyTorch config, whose regular expression finds the words).
 * Called by tokenizer.c; encode() from any thread.  A control token is never made from text. */
#include <stdlib.h>
#include <string.h>

#include "engine/base/json.h"
#include "engine/base/string_table.h"
#include "engine/tokenizers/model.h"
#include "engine/tokenizers/regex.h"

#define DEFAULT_PATTERN "\\w+|[^\\w\\s]"

struct words {
    struct string_table ids;
    struct buf texts; /* what ids borrows from */
    int32_t unk;
    struct regex *pattern; /* NULL: pieces are words already */
};

static void words_release(void *model)
{
    struct words *w = model;
    string_table_free(&w->ids);
    buf_free(&w->texts);
    regex_free(w->pattern);
    free(w);
}

static int index_words(struct words *w, const struct tokenizer_spec *spec, struct error *e)
{
    size_t at = 0;
    for (size_t i = 0; i < spec->n_tokens; i++)
        buf_add(&w->texts, spec->tokens[i].text, spec->tokens[i].len);
    if (w->texts.failed)
        return error_no_memory(e);
    TRY(string_table_init(&w->ids, spec->n_tokens, e));
    for (size_t i = 0; i < spec->n_tokens; i++) {
        const struct token_spec *t = &spec->tokens[i];
        if (t->len > 0 && !token_is_control(t->type) && t->type != TOKEN_UNUSED)
            string_table_add(&w->ids, w->texts.data + at, t->len, (int32_t)i);
        at += t->len;
    }
    return 0;
}

static int words_create(const struct tokenizer_spec *spec, void **out, struct error *e)
{
    struct words *w = calloc(1, sizeof *w);
    if (!w)
        return error_no_memory(e);
    buf_init(&w->texts, SIZE_MAX / 4);
    w->unk = spec->unk;
    if (index_words(w, spec, e) < 0) {
        words_release(w);
        return -1;
    }
    *out = w;
    return 0;
}

static int words_create_with_pattern(const struct tokenizer_spec *spec, void **out, struct error *e)
{
    const char *pattern = DEFAULT_PATTERN;
    if (json_get_string(spec->options, "pattern", &pattern, e) < 0) {
        if (e && e->kind == ERROR_INVALID_REQUEST)
            e->kind = ERROR_BAD_FORMAT;
        return -1;
    }
    TRY(words_create(spec, out, e));
    struct words *w = *out;
    if (regex_create(pattern, strlen(pattern), REGEX_PYTHON, &w->pattern, e) < 0) {
        words_release(w);
        return -1;
    }
    return 0;
}

/* What lies between the matches is no word. */
static int words_cut(const void *model, const char *text, size_t len, struct piece_list *out, struct error *e)
{
    const struct words *w = model;
    struct regex_run run;
    size_t at = 0, start, end;
    int found;
    TRY(regex_run_begin(&run, w->pattern, len, e));
    while ((found = regex_next(&run, text, len, at, &start, &end, e)) > 0) {
        if (piece_list_add(out, start, end, e) < 0) {
            found = -1;
            break;
        }
        at = end;
    }
    regex_run_end(&run);
    return found;
}

static int words_encode(const void *model, const char *text, const struct piece_list *pieces,
                        struct token_sink *out, struct error *e)
{
    const struct words *w = model;
    for (size_t i = 0; i < pieces->n; i++) {
        struct text_span word = pieces->spans[i];
        size_t len = word.end - word.start;
        int32_t id = string_table_find(&w->ids, text + word.start, len);
        if (id < 0)
            id = w->unk;
        if (id < 0)
            return error_set(e, ERROR_UNSUPPORTED,
                             "the word \"%.*s\" is not in the vocabulary, which has no unknown token",
                             len < 64 ? (int)len : 64, text + word.start);
        TRY(token_sink_add(out, id, word.start, word.end, i, e));
    }
    return 0;
}

const struct tokenizer_model wordlevel_model = {
    .name = "wordlevel", .create = words_create, .release = words_release, .encode = words_encode};

const struct tokenizer_model words_model = {.name = "word",
                                            .create = words_create_with_pattern,
                                            .release = words_release,
                                            .cut = words_cut,
                                            .encode = words_encode};
