/* sp_normalizer.c - see sp_normalizer.h.  Called by sp_bpe.c and unigram.c.
 * Bytes that come from one rule of the map all have the place of what the rule replaced. */
#include "engine/tokenizers/sp_normalizer.h"

#include <stdlib.h>
#include <string.h>

#include "engine/base/utf8.h"
#include "engine/tokenizers/model.h"

enum { SPACE_BYTES = sizeof SP_SPACE - 1 };

/* In SentencePiece's own files user-defined pieces are the model's affair; elsewhere the pipeline has
 * already cut the text at them. */
static int index_user_defined(struct piece_trie *trie, const struct tokenizer_spec *spec, struct error *e)
{
    size_t n = 0;
    struct trie_piece *pieces = calloc(spec->n_tokens, sizeof *pieces);
    if (!pieces)
        return error_no_memory(e);
    for (size_t i = 0; i < spec->n_tokens && spec->sentencepiece; i++) {
        const struct token_spec *t = &spec->tokens[i];
        if (t->type == TOKEN_USER_DEFINED)
            pieces[n++] = (struct trie_piece){t->text, t->len, (int32_t)i};
    }
    int status = piece_trie_init(trie, pieces, n, e);
    free(pieces);
    return status;
}

int sp_normalizer_init(struct sp_normalizer *n, const struct tokenizer_spec *spec, struct error *e)
{
    n->squeeze = spec->remove_extra_whitespaces;
    n->prefix = spec->add_space_prefix;
    n->prefix_everywhere = !spec->sentencepiece;
    n->space_is_suffix = spec->space_is_suffix;
    n->keep_spaces = spec->keep_spaces;
    if (spec->charsmap && spec->charsmap_len > 0)
        TRY(charsmap_create(spec->charsmap, spec->charsmap_len, &n->map, e));
    return index_user_defined(&n->user_defined, spec, e);
}

void sp_normalizer_free(struct sp_normalizer *n)
{
    charsmap_free(n->map);
    piece_trie_free(&n->user_defined);
}

static void add_space(const struct sp_normalizer *n, struct normalized *out, struct span32 span)
{
    if (n->keep_spaces)
        normalized_add(out, " ", 1, span);
    else
        normalized_add(out, SP_SPACE, SPACE_BYTES, span);
}

/* What the text's first bytes become. */
static struct charsmap_match next_part(const struct sp_normalizer *n, const char *text, size_t len)
{
    int32_t id;
    size_t whole = piece_trie_longest(&n->user_defined, text, len, &id);
    if (whole > 0)
        return (struct charsmap_match){whole, text, whole};
    struct charsmap_match found = charsmap_longest(n->map, text, len);
    if (found.matched > 0)
        return found;
    uint32_t code_point;
    int bytes = utf8_decode(text, len, &code_point);
    whole = bytes > 0 ? (size_t)bytes : 1;
    return (struct charsmap_match){whole, text, whole};
}

/* One part with its spaces written as the pieces have them. */
static void add_part(const struct sp_normalizer *n, struct normalized *out, const char *part, size_t len,
                     struct span32 span)
{
    size_t at = 0;
    while (at < len) {
        const char *space = memchr(part + at, ' ', len - at);
        size_t plain = space ? (size_t)(space - part) - at : len - at;
        if (plain > 0)
            normalized_add(out, part + at, plain, span);
        at += plain;
        if (space) {
            add_space(n, out, span);
            at++;
        }
    }
}

/* Where the text begins once its leading spaces are gone. */
static size_t skip_spaces(const struct sp_normalizer *n, const char *text, size_t len)
{
    size_t at = 0;
    while (at < len) {
        struct charsmap_match part = next_part(n, text + at, len - at);
        if (part.len != 1 || part.text[0] != ' ')
            break;
        at += part.matched;
    }
    return at;
}

static void drop_trailing_spaces(const struct sp_normalizer *n, struct normalized *out)
{
    const char *space = n->keep_spaces ? " " : SP_SPACE;
    size_t len = strlen(space);
    while (out->len >= len && memcmp(out->text + out->len - len, space, len) == 0)
        out->len -= len;
}

/* The original's range behind bytes [start, end) of a text; an empty range at either end of it. */
static struct span32 span_of(const struct normalized *in, size_t start, size_t end)
{
    struct span32 span;
    if (start < end)
        return (struct span32){normalized_span(in, start).start, normalized_span(in, end - 1).end};
    if (start < in->len) {
        span = normalized_span(in, start);
        return (struct span32){span.start, span.start};
    }
    span = normalized_span(in, in->len - 1);
    return (struct span32){span.end, span.end};
}

int sp_normalize(const struct sp_normalizer *n, const struct normalized *in, bool first,
                 struct normalized *out, struct error *e)
{
    size_t at = n->squeeze ? skip_spaces(n, in->text, in->len) : 0;
    bool prefix = n->prefix && (first || n->prefix_everywhere) && at < in->len, after_space = n->squeeze;
    if (prefix && !n->space_is_suffix)
        add_space(n, out, span_of(in, at, at));
    while (at < in->len) {
        struct charsmap_match part = next_part(n, in->text + at, in->len - at);
        struct span32 span = span_of(in, at, at + part.matched);
        for (; after_space && part.len > 0 && part.text[0] == ' '; part.len--)
            part.text++;
        add_part(n, out, part.text, part.len, span);
        if (n->squeeze && part.len > 0)
            after_space = part.text[part.len - 1] == ' ';
        at += part.matched;
    }
    if (n->squeeze)
        drop_trailing_spaces(n, out);
    if (prefix && n->space_is_suffix)
        add_space(n, out, span_of(in, in->len, in->len));
    return normalized_check(out, e);
}

void sp_decode(const struct token_spec *token, struct buf *out)
{
    int byte = token->type == TOKEN_BYTE ? token_byte_value(token->text, token->len) : -1;
    if (byte >= 0) {
        char c = (char)byte;
        buf_add(out, &c, 1);
        return;
    }
    for (uint32_t at = 0; at < token->len;) {
        bool space = token->len - at >= SPACE_BYTES && memcmp(token->text + at, SP_SPACE, SPACE_BYTES) == 0;
        buf_add(out, space ? " " : token->text + at, 1);
        at += space ? SPACE_BYTES : 1;
    }
}
