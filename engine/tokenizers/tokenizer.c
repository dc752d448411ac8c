/* tokenizer.c - the TOKENIZER TABLE, and what every tokenizer model shares: special tokens in texts,
 * BOS and EOS, the bytes behind each id, which tokens end a generation.
 * Called by the loader (create) and by api/ and decode/ (the rest), on any thread.
 * To add a model: see model.h. */
#include "engine/tokenizers/tokenizer.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/limits.h"
#include "engine/base/utf8.h"
#include "engine/tokenizers/model.h"
#include "engine/tokenizers/pretokenize.h"
#include "engine/tokenizers/special.h"

static const struct tokenizer_model *const models[] = {&bpe_bytes_model};

enum { IS_CONTROL = 1, IS_END = 2 };

struct tokenizer {
    const struct tokenizer_model *model;
    void *impl;
    struct tokenizer_spec special; /* no arrays; model and pre point to the copies below */
    char *model_name, *pre;
    struct special_set *specials;
    uint8_t *flags; /* (n_tokens) */
    size_t *ends;   /* (n_tokens): bytes of token i are bytes.data[ends[i-1] .. ends[i]) */
    struct buf bytes;
};

/* Names by which models end a turn, a message or a text; they count when they are control tokens. */
static const char *const end_names[] = {
    "<|eot_id|>",
    "<|im_end|>",
    "<|end|>",
    "<|return|>",
    "<|call|>",
    "<|flush|>",
    "<|calls|>",
    "<end_of_turn>",
    "<|endoftext|>",
    "</s>",
    "<|eom_id|>",
    "<EOT>",
    "_<EOT>",
    "[EOT]",
    "[EOS]",
    "<|end_of_text|>",
    "<eos>",
    "<turn|>",
    "<|tool_response>",
    "<end_of_utterance>",
    "<｜end▁of▁sentence｜>",
    "[e~[",
    "<|fim_pad|>",
    "<fim-pad>",
    "<fim_pad>",
    "<|fim_repo|>",
    "<|repo_name|>",
    "<fim-repo>",
    "<reponame>",
    "<|file_sep|>",
};

static bool text_is(const struct token_spec *token, const char *text)
{
    return token->len == strlen(text) && memcmp(token->text, text, token->len) == 0;
}

static bool is_end_name(const struct token_spec *token)
{
    for (size_t i = 0; i < sizeof end_names / sizeof end_names[0]; i++) {
        if (text_is(token, end_names[i]))
            return true;
    }
    return false;
}

static int32_t find_control(const struct tokenizer_spec *spec, const char *text)
{
    for (size_t i = 0; i < spec->n_tokens; i++) {
        if (spec->tokens[i].type == TOKEN_CONTROL && text_is(&spec->tokens[i], text))
            return (int32_t)i;
    }
    return -1;
}

/* Where a channel ends with <|end|> and an answer with <|return|> or a call (Harmony), <|end|> is no end. */
static void correct_channel_end(struct tokenizer *t, const struct tokenizer_spec *spec)
{
    bool harmony = find_control(spec, "<|return|>") >= 0 && find_control(spec, "<|call|>") >= 0;
    bool solar = find_control(spec, "<|flush|>") >= 0 && find_control(spec, "<|calls|>") >= 0;
    int32_t end = find_control(spec, "<|end|>");
    if (end >= 0 && (harmony || solar) && end != spec->eos && end != spec->eot)
        t->flags[end] &= (uint8_t)~IS_END;
}

static int fill_flags(struct tokenizer *t, const struct tokenizer_spec *spec, struct error *e)
{
    t->flags = calloc(spec->n_tokens, 1);
    if (!t->flags)
        return error_no_memory(e);
    for (size_t i = 0; i < spec->n_tokens; i++) {
        const struct token_spec *token = &spec->tokens[i];
        if (token_is_control(token->type))
            t->flags[i] |= IS_CONTROL;
        if (token->type == TOKEN_CONTROL && is_end_name(token))
            t->flags[i] |= IS_END;
    }
    correct_channel_end(t, spec);
    if (spec->eos >= 0)
        t->flags[spec->eos] |= IS_END;
    if (spec->eot >= 0)
        t->flags[spec->eot] |= IS_END;
    return 0;
}

static int fill_bytes(struct tokenizer *t, const struct tokenizer_spec *spec, struct error *e)
{
    t->ends = calloc(spec->n_tokens, sizeof *t->ends);
    if (!t->ends)
        return error_no_memory(e);
    for (size_t i = 0; i < spec->n_tokens; i++) {
        const struct token_spec *token = &spec->tokens[i];
        if (token_is_control(token->type) || token->type == TOKEN_USER_DEFINED)
            buf_add(&t->bytes, token->text, token->len);
        else
            t->model->decode(token, &t->bytes);
        t->ends[i] = t->bytes.len;
    }
    return t->bytes.failed ? error_no_memory(e) : 0;
}

static int check_ids(const struct tokenizer_spec *spec, struct error *e)
{
    const int32_t ids[] = {spec->bos, spec->eos, spec->eot, spec->unk, spec->sep, spec->pad};
    if (spec->n_tokens == 0 || spec->n_tokens > LIMIT_VOCABULARY)
        return error_set(e, ERROR_BAD_FORMAT, "the vocabulary has %zu tokens; it must be from 1 to %d",
                         spec->n_tokens, LIMIT_VOCABULARY);
    for (size_t i = 0; i < sizeof ids / sizeof ids[0]; i++) {
        if (ids[i] >= 0 && (size_t)ids[i] >= spec->n_tokens)
            return error_set(e, ERROR_BAD_FORMAT,
                             "the special token id %" PRId32 " is not in the vocabulary of %zu tokens",
                             ids[i], spec->n_tokens);
    }
    return 0;
}

static int copy_special(struct tokenizer *t, const struct tokenizer_spec *spec, struct error *e)
{
    t->model_name = strdup(spec->model);
    t->pre = strdup(spec->pre ? spec->pre : "");
    if (!t->model_name || !t->pre)
        return error_no_memory(e);
    t->special = *spec;
    t->special.model = t->model_name;
    t->special.pre = t->pre;
    t->special.tokens = NULL;
    t->special.merges = NULL;
    t->special.n_merges = 0;
    if (!spec->add_bos_given && spec->bos >= 0)
        t->special.add_bos = spec->add_bos || pretokenizer_adds_bos(spec->pre);
    if (t->special.add_bos && spec->bos < 0)
        return error_set(e, ERROR_BAD_FORMAT, "the tokenizer adds a BOS token but names none");
    if (t->special.add_eos && spec->eos < 0)
        return error_set(e, ERROR_BAD_FORMAT, "the tokenizer adds an EOS token but names none");
    return 0;
}

static const struct tokenizer_model *find_model(const char *name)
{
    for (size_t i = 0; i < sizeof models / sizeof models[0]; i++) {
        if (strcmp(models[i]->name, name) == 0)
            return models[i];
    }
    return NULL;
}

static int build(struct tokenizer *t, const struct tokenizer_spec *spec, struct error *e)
{
    TRY(copy_special(t, spec, e));
    TRY(t->model->create(spec, &t->impl, e));
    TRY(special_set_create(spec, &t->specials, e));
    TRY(fill_flags(t, spec, e));
    return fill_bytes(t, spec, e);
}

int tokenizer_create(const struct tokenizer_spec *spec, struct tokenizer **out, struct error *e)
{
    const struct tokenizer_model *model = find_model(spec->model);
    if (!model)
        return error_set(e, ERROR_UNSUPPORTED, "the tokenizer model \"%.100s\" is not supported",
                         spec->model);
    TRY(check_ids(spec, e));
    struct tokenizer *t = calloc(1, sizeof *t);
    if (!t)
        return error_no_memory(e);
    t->model = model;
    buf_init(&t->bytes, SIZE_MAX / 4);
    if (build(t, spec, e) < 0) {
        tokenizer_free(t);
        return -1;
    }
    *out = t;
    return 0;
}

void tokenizer_free(struct tokenizer *t)
{
    if (!t)
        return;
    if (t->impl)
        t->model->release(t->impl);
    special_set_free(t->specials);
    free(t->flags);
    free(t->ends);
    buf_free(&t->bytes);
    free(t->model_name);
    free(t->pre);
    free(t);
}

size_t tokenizer_size(const struct tokenizer *t)
{
    return t->special.n_tokens;
}

const struct tokenizer_spec *tokenizer_special(const struct tokenizer *t)
{
    return &t->special;
}

const char *tokenizer_pre(const struct tokenizer *t)
{
    return t->pre;
}

void token_list_free(struct token_list *l)
{
    free(l->ids);
    memset(l, 0, sizeof *l);
}

int token_list_add(struct token_list *l, int32_t id, struct error *e)
{
    if (l->n == l->cap) {
        size_t cap = l->cap ? l->cap * 2 : 64;
        int32_t *ids = realloc(l->ids, cap * sizeof *ids);
        if (!ids)
            return error_no_memory(e);
        l->ids = ids;
        l->cap = cap;
    }
    l->ids[l->n++] = id;
    return 0;
}

/* Walks a text from special token to special token. */
struct walk {
    const char *text;
    size_t len;
    bool with_control;
    const struct text_span *literal; /* the next spans that are not behind us */
    size_t n_literal;
};

/* First offset >= at where a special token starts, outside the literal spans; len when there is none. */
static size_t find_special(const struct tokenizer *t, struct walk *w, size_t at, int32_t *id, size_t *matched)
{
    while (at < w->len) {
        while (w->n_literal > 0 && w->literal->end <= at) {
            w->literal++;
            w->n_literal--;
        }
        if (w->n_literal > 0 && w->literal->start <= at) {
            at = w->literal->end;
            continue;
        }
        size_t stop = w->n_literal > 0 && w->literal->start < w->len ? w->literal->start : w->len;
        for (; at < stop; at++) {
            *id = special_match(t->specials, w->text + at, stop - at, w->with_control, matched);
            if (*id >= 0)
                return at;
        }
    }
    return w->len;
}

static int encode_parts(const struct tokenizer *t, struct walk *w, struct token_list *out, struct error *e)
{
    for (size_t at = 0; at < w->len;) {
        int32_t id = -1;
        size_t matched = 0;
        size_t found = find_special(t, w, at, &id, &matched);
        if (found > at)
            TRY(t->model->encode(t->impl, w->text + at, found - at, out, e));
        if (found < w->len)
            TRY(token_list_add(out, id, e));
        at = found + matched;
    }
    return 0;
}

int tokenizer_encode(const struct tokenizer *t, const char *text, size_t len, unsigned flags,
                     const struct text_span *literal, size_t n_literal, struct token_list *out,
                     struct error *e)
{
    size_t valid = utf8_valid_prefix(text, len);
    if (valid < len)
        return error_set(e, ERROR_INVALID_REQUEST, "the text is not valid UTF-8 at byte %zu", valid);
    struct walk w = {text, len, (flags & TOKENIZE_PARSE_SPECIAL) != 0, literal, n_literal};
    if ((flags & TOKENIZE_ADD_SPECIAL) && t->special.add_bos)
        TRY(token_list_add(out, t->special.bos, e));
    TRY(encode_parts(t, &w, out, e));
    if ((flags & TOKENIZE_ADD_SPECIAL) && t->special.add_eos)
        TRY(token_list_add(out, t->special.eos, e));
    return 0;
}

const char *tokenizer_token_bytes(const struct tokenizer *t, int32_t id, size_t *len)
{
    size_t start = id > 0 ? t->ends[id - 1] : 0;
    *len = t->ends[id] - start;
    return t->bytes.data ? t->bytes.data + start : "";
}

bool tokenizer_is_control(const struct tokenizer *t, int32_t id)
{
    return t->flags[id] & IS_CONTROL;
}

bool tokenizer_is_end(const struct tokenizer *t, int32_t id)
{
    return t->flags[id] & IS_END;
}
