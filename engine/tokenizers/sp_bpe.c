/* sp_bpe.c - SentencePiece's byte-pair encoding ("llama" in GGUF and *.model files; Kudo and Richardson,
 * 2018). The characters of a text are its first symbols; of all neighbours whose joined text is a piece, the
 * pair with the best score is merged, leftmost first, until none is left.  A character without a piece
 * becomes its bytes.  A heap of candidates makes that O(n log n) for a text of any length. Called by
 * tokenizer.c; encode() from any thread. Choices: merges make no control tokens, so that plain text never
 * becomes one; a piece that is not to be used is taken apart again as it was put together. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/string_table.h"
#include "engine/tokenizers/merge_heap.h"
#include "engine/tokenizers/model.h"
#include "engine/tokenizers/sp_normalizer.h"

struct sp_bpe {
    struct sp_normalizer normalizer;
    struct string_table ids; /* of pieces: borrows from texts */
    struct buf texts;
    uint32_t *orders; /* (n_tokens): 0 for the best score, ascending */
    bool *unused;     /* (n_tokens); NULL: every piece is used */
    size_t n_tokens;
    uint32_t longest; /* piece, bytes */
    int32_t unk;
    int32_t bytes[256]; /* -1: no token for this byte */
};

struct symbol {
    uint32_t start, len; /* of the text; len 0: merged into a neighbour */
    uint32_t prev, next;
    bool frozen; /* user-defined: never merged */
};

#define NO_SYMBOL UINT32_MAX

struct scratch {
    const struct sp_bpe *b;
    const char *text; /* of the piece at hand */
    size_t len, offset, word;
    struct symbol *symbols;
    size_t n, cap;
    struct merge_heap heap; /* order << 32 | index of the left symbol */
    uint32_t *splits;       /* (n_tokens): length of the left part of a piece that is not used; or NULL */
    struct span32 *parts;   /* (parts_cap): what is left of a symbol that is taken apart */
    size_t parts_cap;
    size_t unknown_start, unknown_end; /* a run of unknown characters that may go on */
    struct token_sink *out;
};

/* Bits of a float, turned so that a better score is a smaller number. */
static uint32_t order_of(float score)
{
    uint32_t bits;
    score += 0.0f; /* -0 is 0 */
    memcpy(&bits, &score, sizeof bits);
    return bits & 0x80000000u ? bits : ~(bits | 0x80000000u);
}

static bool is_piece(const struct token_spec *t)
{
    return t->len > 0 && !token_is_control(t->type) && t->type != TOKEN_BYTE;
}

static int index_tokens(struct sp_bpe *b, const struct tokenizer_spec *spec, struct error *e)
{
    for (size_t i = 0; i < spec->n_tokens; i++) {
        const struct token_spec *t = &spec->tokens[i];
        if (!isfinite(t->score))
            return error_set(e, ERROR_BAD_FORMAT, "the score of token %zu is not a number", i);
        b->orders[i] = order_of((float)t->score);
        int byte = t->type == TOKEN_BYTE ? token_byte_value(t->text, t->len) : -1;
        if (byte >= 0)
            b->bytes[byte] = (int32_t)i;
        if (is_piece(t)) {
            buf_add(&b->texts, t->text, t->len);
            b->longest = t->len > b->longest ? t->len : b->longest;
        }
    }
    if (b->texts.failed)
        return error_no_memory(e);
    size_t at = 0;
    for (size_t i = 0; i < spec->n_tokens; i++) {
        const struct token_spec *t = &spec->tokens[i];
        if (!is_piece(t))
            continue;
        string_table_add(&b->ids, b->texts.data + at, t->len, (int32_t)i);
        at += t->len;
    }
    return 0;
}

/* Only a vocabulary that has such pieces pays for them. */
static int note_unused(struct sp_bpe *b, const struct tokenizer_spec *spec, struct error *e)
{
    for (size_t i = 0; i < spec->n_tokens; i++) {
        if (spec->tokens[i].type != TOKEN_UNUSED || spec->tokens[i].len == 0)
            continue;
        if (!b->unused)
            b->unused = calloc(spec->n_tokens, sizeof *b->unused);
        if (!b->unused)
            return error_no_memory(e);
        b->unused[i] = true;
    }
    return 0;
}

static int build(struct sp_bpe *b, const struct tokenizer_spec *spec, struct error *e)
{
    b->n_tokens = spec->n_tokens;
    b->unk = spec->unk;
    b->orders = calloc(spec->n_tokens, sizeof *b->orders);
    if (!b->orders)
        return error_no_memory(e);
    TRY(string_table_init(&b->ids, spec->n_tokens, e));
    TRY(index_tokens(b, spec, e));
    TRY(note_unused(b, spec, e));
    return sp_normalizer_init(&b->normalizer, spec, e);
}

static void sp_bpe_release(void *model)
{
    struct sp_bpe *b = model;
    sp_normalizer_free(&b->normalizer);
    string_table_free(&b->ids);
    buf_free(&b->texts);
    free(b->orders);
    free(b->unused);
    free(b);
}

static int sp_bpe_create(const struct tokenizer_spec *spec, void **out, struct error *e)
{
    struct sp_bpe *b = calloc(1, sizeof *b);
    if (!b)
        return error_no_memory(e);
    buf_init(&b->texts, SIZE_MAX / 4);
    memset(b->bytes, 0xFF, sizeof b->bytes);
    if (build(b, spec, e) < 0) {
        sp_bpe_release(b);
        return -1;
    }
    *out = b;
    return 0;
}

static int32_t find_piece(const struct scratch *s, uint32_t start, uint32_t len)
{
    return len <= s->b->longest ? string_table_find(&s->b->ids, s->text + start, len) : -1;
}

/* The piece that a symbol and the one behind it make, or -1. */
static int32_t merge_at(const struct scratch *s, uint32_t left)
{
    const struct symbol *l = &s->symbols[left];
    if (l->len == 0 || l->frozen || l->next == NO_SYMBOL || s->symbols[l->next].frozen)
        return -1;
    return find_piece(s, l->start, l->len + s->symbols[l->next].len);
}

static void push_candidate(struct scratch *s, uint32_t left)
{
    int32_t id = left == NO_SYMBOL ? -1 : merge_at(s, left);
    if (id < 0)
        return;
    if (s->splits && s->b->unused[id])
        s->splits[id] = s->symbols[left].len;
    merge_heap_push(&s->heap, (uint64_t)s->b->orders[id] << 32 | left);
}

/* Entries stay in the heap when a neighbour changes: one counts only while the pair at its place still has
 * its score; a new pair with the same score has a place in the same order anyway. */
static void merge_symbols(struct scratch *s)
{
    s->heap.n = 0;
    for (uint32_t i = 0; i + 1 < s->n; i++)
        push_candidate(s, i);
    while (s->heap.n > 0) {
        uint64_t key = merge_heap_pop(&s->heap);
        uint32_t left = (uint32_t)key;
        int32_t id = merge_at(s, left);
        if (id < 0 || s->b->orders[id] != (uint32_t)(key >> 32))
            continue;
        struct symbol *l = &s->symbols[left], *r = &s->symbols[l->next];
        l->len += r->len;
        l->next = r->next;
        r->len = 0;
        if (l->next != NO_SYMBOL)
            s->symbols[l->next].prev = left;
        push_candidate(s, l->prev);
        push_candidate(s, left);
    }
}

static size_t character_bytes(const char *text, size_t left)
{
    unsigned char lead = (unsigned char)*text;
    size_t n = lead < 0x80 ? 1 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
    return n < left ? n : left;
}

/* A piece of n bytes has at most n symbols; each of its merges adds two candidates to the first ones. */
static int reserve(struct scratch *s, struct error *e)
{
    if (s->len >= UINT32_MAX / 4)
        return error_set(e, ERROR_INVALID_REQUEST, "the text has a piece of %zu bytes", s->len);
    if (s->len > s->cap) {
        struct symbol *symbols = realloc(s->symbols, s->len * sizeof *symbols);
        if (!symbols)
            return error_no_memory(e);
        s->symbols = symbols;
        uint64_t *keys = realloc(s->heap.keys, 3 * s->len * sizeof *keys);
        if (!keys)
            return error_no_memory(e);
        s->heap.keys = keys;
        s->cap = s->len;
    }
    if (s->b->unused && !s->splits) {
        s->splits = calloc(s->b->n_tokens, sizeof *s->splits);
        if (!s->splits)
            return error_no_memory(e);
    }
    return 0;
}

static void split_into_symbols(struct scratch *s)
{
    s->n = 0;
    for (size_t at = 0; at < s->len;) {
        int32_t id;
        size_t whole = piece_trie_longest(&s->b->normalizer.user_defined, s->text + at, s->len - at, &id);
        size_t len = whole ? whole : character_bytes(s->text + at, s->len - at);
        uint32_t i = (uint32_t)s->n++;
        s->symbols[i] = (struct symbol){.start = (uint32_t)at,
                                        .len = (uint32_t)len,
                                        .prev = i ? i - 1 : NO_SYMBOL,
                                        .next = at + len < s->len ? i + 1 : NO_SYMBOL,
                                        .frozen = whole > 0};
        at += len;
    }
}

static int put(struct scratch *s, int32_t id, size_t start, size_t end, struct error *e)
{
    return token_sink_add(s->out, id, s->offset + start, s->offset + end, s->word, e);
}

static int end_unknown(struct scratch *s, struct error *e)
{
    size_t start = s->unknown_start, end = s->unknown_end;
    s->unknown_start = s->unknown_end;
    return start < end ? put(s, s->b->unk, start, end, e) : 0;
}

/* A symbol without a piece: its bytes, or a part of a run that becomes one unknown token. */
static int put_unknown(struct scratch *s, size_t start, size_t end, struct error *e)
{
    bool bytes = true;
    for (size_t i = start; i < end && bytes; i++)
        bytes = s->b->bytes[(unsigned char)s->text[i]] >= 0;
    if (bytes) {
        TRY(end_unknown(s, e));
        for (size_t i = start; i < end; i++)
            TRY(put(s, s->b->bytes[(unsigned char)s->text[i]], start, end, e));
        return 0;
    }
    if (s->b->unk < 0)
        return error_set(e, ERROR_UNSUPPORTED,
                         "the text has an unknown character at byte %zu and the vocabulary no unknown token",
                         s->offset + start);
    if (s->unknown_start == s->unknown_end)
        s->unknown_start = start;
    s->unknown_end = end;
    return 0;
}

static int push_part(struct scratch *s, size_t *n, uint32_t start, uint32_t len, struct error *e)
{
    if (*n == s->parts_cap) {
        size_t cap = s->parts_cap ? s->parts_cap * 2 : 16;
        struct span32 *parts = realloc(s->parts, cap * sizeof *parts);
        if (!parts)
            return error_no_memory(e);
        s->parts = parts;
        s->parts_cap = cap;
    }
    s->parts[(*n)++] = (struct span32){start, start + len};
    return 0;
}

/* A symbol's token; a piece that is not to be used falls apart until its parts are. */
static int put_symbol(struct scratch *s, const struct symbol *symbol, struct error *e)
{
    size_t n = 0;
    TRY(push_part(s, &n, symbol->start, symbol->len, e));
    while (n > 0) {
        struct span32 part = s->parts[--n];
        uint32_t len = part.end - part.start;
        int32_t id = find_piece(s, part.start, len);
        bool unused = id >= 0 && s->splits && s->b->unused[id];
        uint32_t left = unused ? s->splits[id] : 0;
        if (left > 0 && left < len) {
            TRY(push_part(s, &n, part.start + left, len - left, e));
            TRY(push_part(s, &n, part.start, left, e));
        } else if (id < 0 || unused) {
            TRY(put_unknown(s, part.start, part.end, e));
        } else {
            TRY(end_unknown(s, e));
            TRY(put(s, id, part.start, part.end, e));
        }
    }
    return 0;
}

static int encode_piece(struct scratch *s, struct error *e)
{
    TRY(reserve(s, e));
    split_into_symbols(s);
    merge_symbols(s);
    s->unknown_start = s->unknown_end = 0;
    for (uint32_t i = 0; i != NO_SYMBOL; i = s->symbols[i].next)
        TRY(put_symbol(s, &s->symbols[i], e));
    return end_unknown(s, e);
}

static int sp_bpe_encode(const void *model, const char *text, const struct piece_list *pieces,
                         struct token_sink *out, struct error *e)
{
    struct scratch s = {.b = model, .out = out};
    int status = 0;
    for (size_t i = 0; i < pieces->n && status == 0; i++) {
        s.offset = pieces->spans[i].start;
        s.text = text + s.offset;
        s.len = pieces->spans[i].end - s.offset;
        s.word = i;
        status = encode_piece(&s, e);
    }
    free(s.symbols);
    free(s.heap.keys);
    free(s.splits);
    free(s.parts);
    return status;
}

static int normalize(const void *model, const struct normalized *in, bool first, struct normalized *out,
                     struct error *e)
{
    const struct sp_bpe *b = model;
    return sp_normalize(&b->normalizer, in, first, out, e);
}

const struct tokenizer_model sp_bpe_model = {.name = "llama",
                                             .create = sp_bpe_create,
                                             .release = sp_bpe_release,
                                             .normalize = normalize,
                                             .encode = sp_bpe_encode,
                                             .decode = sp_decode};
