/* bpe_bytes.c - byte-level byte-pair encoding ("gpt2" in GGUF; Radford et al., 2019; Sennrich et al., 2016).
 * A text is cut into words (pretokenize.h); the bytes of a word are its first symbols; the pair of
 * neighbours that stands first in the list of merges is merged, leftmost first, until none is left.
 * A heap of candidate pairs makes that O(n log n) for one word of any length.
 * Called by tokenizer.c; encode() from any thread.
 * Choices: a merge that names an unknown token, or makes one, ends the load (so do the reference
 * tokenizers); merges that touch control tokens are left out, so that plain text never becomes one. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/hash.h"
#include "engine/base/string_table.h"
#include "engine/base/utf8.h"
#include "engine/tokenizers/model.h"
#include "engine/tokenizers/pretokenize.h"

struct pair_slot {
    int32_t left, right; /* ids; left < 0: free */
    uint32_t rank;
    int32_t merged;
};

struct bpe {
    struct pretokenizer *pre;
    int32_t byte_ids[256]; /* -1: the vocabulary has no token for this byte */
    int32_t unk;
    struct pair_slot *pairs; /* (pair_mask + 1) */
    size_t pair_mask;
    struct string_table words; /* bytes -> id, only for pre-tokenizers that take whole words */
    struct buf word_bytes;     /* what words borrows from */
};

struct symbol {
    int32_t id; /* -1: merged into a neighbour */
    uint32_t prev, next;
};

#define NO_SYMBOL UINT32_MAX

/* A candidate is rank << 32 | index of its left symbol: the smallest is the next to merge. */
struct scratch {
    struct symbol *symbols;
    size_t symbols_cap;
    uint64_t *heap;
    size_t heap_n, heap_cap;
};

/* GPT-2 writes bytes that are not printable as the code points from U+0100 on. */
static uint32_t byte_to_code_point(unsigned byte)
{
    if ((byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE)
        return byte;
    if (byte <= 0x20)
        return 0x100 + byte;
    return byte == 0xAD ? 0x143 : 0x100 + 33 + byte - 0x7F;
}

/* The byte, or -1 for a code point that stands for none. */
static int code_point_to_byte(uint32_t cp)
{
    if (cp >= 0x100 && cp <= 0x120)
        return (int)cp - 0x100;
    if (cp >= 0x121 && cp <= 0x142)
        return (int)cp - 0x121 + 0x7F;
    if (cp == 0x143)
        return 0xAD;
    return cp < 0x100 && byte_to_code_point(cp) == cp ? (int)cp : -1;
}

static bool decode_mapped(const struct token_spec *token, struct buf *out)
{
    for (size_t at = 0; at < token->len;) {
        uint32_t cp;
        int n = utf8_decode(token->text + at, token->len - at, &cp);
        int byte = n > 0 ? code_point_to_byte(cp) : -1;
        if (byte < 0)
            return false;
        char c = (char)byte;
        buf_add(out, &c, 1);
        at += (size_t)n;
    }
    return true;
}

/* "<0x0A>" -> 10, or -1. */
static int byte_token_value(const struct token_spec *token)
{
    static const char digits[] = "0123456789ABCDEF";
    if (token->len != 6 || memcmp(token->text, "<0x", 3) != 0 || token->text[5] != '>')
        return -1;
    const char *high = memchr(digits, token->text[3], 16), *low = memchr(digits, token->text[4], 16);
    return high && low ? (int)((high - digits) * 16 + (low - digits)) : -1;
}

/* Tokens that were added beside the byte alphabet are written as they are. */
static void bpe_decode(const struct token_spec *token, struct buf *out)
{
    int byte = token->type == TOKEN_BYTE ? byte_token_value(token) : -1;
    size_t before = out->len;
    if (byte >= 0) {
        char c = (char)byte;
        buf_add(out, &c, 1);
    } else if (!decode_mapped(token, out)) {
        out->len = before;
        buf_add(out, token->text, token->len);
    }
}

static struct pair_slot *pair_slot_of(const struct bpe *b, int32_t left, int32_t right)
{
    size_t i = (size_t)hash_mix((uint64_t)(uint32_t)left, (uint32_t)right) & b->pair_mask;
    while (b->pairs[i].left >= 0 && (b->pairs[i].left != left || b->pairs[i].right != right))
        i = (i + 1) & b->pair_mask;
    return &b->pairs[i];
}

static int init_pairs(struct bpe *b, size_t n_merges, struct error *e)
{
    size_t size = 16;
    while (size / 2 < n_merges)
        size *= 2;
    b->pairs = calloc(size, sizeof *b->pairs);
    if (!b->pairs)
        return error_no_memory(e);
    for (size_t i = 0; i < size; i++)
        b->pairs[i].left = -1;
    b->pair_mask = size - 1;
    return 0;
}

static int error_merge(size_t rank, const struct text_view *m, const char *why, struct error *e)
{
    return error_set(e, ERROR_BAD_FORMAT, "merge %zu (\"%.*s\") %s", rank, m->len < 64 ? (int)m->len : 64,
                     m->text, why);
}

/* "left right": the first space behind the first byte parts them. */
static int add_merge(struct bpe *b, const struct tokenizer_spec *spec, const struct string_table *ids,
                     size_t rank, struct error *e)
{
    const struct text_view *m = &spec->merges[rank];
    const char *space = m->len > 1 ? memchr(m->text + 1, ' ', m->len - 1) : NULL;
    if (!space || space + 1 == m->text + m->len)
        return error_merge(rank, m, "is not two tokens with a space between", e);
    size_t left_len = (size_t)(space - m->text), right_len = m->len - left_len - 1;
    int32_t left = string_table_find(ids, m->text, left_len);
    int32_t right = string_table_find(ids, space + 1, right_len);
    if (left < 0 || right < 0)
        return error_merge(rank, m, "names a token that is not in the vocabulary", e);
    char *joined = malloc(m->len);
    if (!joined)
        return error_no_memory(e);
    memcpy(joined, m->text, left_len);
    memcpy(joined + left_len, space + 1, right_len);
    int32_t merged = string_table_find(ids, joined, left_len + right_len);
    free(joined);
    if (merged < 0)
        return error_merge(rank, m, "makes a token that is not in the vocabulary", e);
    if (token_is_control(spec->tokens[left].type) || token_is_control(spec->tokens[right].type) ||
        token_is_control(spec->tokens[merged].type))
        return 0;
    struct pair_slot *slot = pair_slot_of(b, left, right);
    if (slot->left < 0)
        *slot = (struct pair_slot){left, right, (uint32_t)rank, merged};
    return 0;
}

static int index_tokens(const struct tokenizer_spec *spec, struct string_table *ids, struct error *e)
{
    TRY(string_table_init(ids, spec->n_tokens, e));
    for (size_t i = 0; i < spec->n_tokens; i++) {
        const struct token_spec *t = &spec->tokens[i];
        int32_t earlier = t->len ? string_table_add(ids, t->text, t->len, (int32_t)i) : -1;
        if (earlier >= 0)
            return error_set(e, ERROR_BAD_FORMAT,
                             "the tokens %" PRId32 " and %zu have the same text \"%.*s\"", earlier, i,
                             t->len < 64 ? (int)t->len : 64, t->text);
    }
    return 0;
}

static void find_bytes(struct bpe *b, const struct tokenizer_spec *spec, const struct string_table *ids)
{
    for (unsigned byte = 0; byte < 256; byte++) {
        char text[4];
        size_t len = utf8_encode(byte_to_code_point(byte), text);
        int32_t id = string_table_find(ids, text, len);
        b->byte_ids[byte] = id >= 0 && token_is_control(spec->tokens[id].type) ? -1 : id;
    }
}

/* Two passes, because the texts may not move once the table has borrowed them. */
static int index_words(struct bpe *b, const struct tokenizer_spec *spec, struct error *e)
{
    size_t *ends = calloc(spec->n_tokens, sizeof *ends);
    if (!ends)
        return error_no_memory(e);
    for (size_t i = 0; i < spec->n_tokens; i++) {
        size_t before = b->word_bytes.len;
        if (token_is_control(spec->tokens[i].type) || !decode_mapped(&spec->tokens[i], &b->word_bytes))
            b->word_bytes.len = before;
        ends[i] = b->word_bytes.len;
    }
    int status = b->word_bytes.failed ? error_no_memory(e) : string_table_init(&b->words, spec->n_tokens, e);
    for (size_t i = 0, start = 0; i < spec->n_tokens && status == 0; start = ends[i++]) {
        if (ends[i] > start)
            string_table_add(&b->words, b->word_bytes.data + start, ends[i] - start, (int32_t)i);
    }
    free(ends);
    return status;
}

static void bpe_release(void *model)
{
    struct bpe *b = model;
    pretokenizer_free(b->pre);
    free(b->pairs);
    string_table_free(&b->words);
    buf_free(&b->word_bytes);
    free(b);
}

static int build(struct bpe *b, const struct tokenizer_spec *spec, struct string_table *ids, struct error *e)
{
    if (spec->n_merges >= UINT32_MAX)
        return error_set(e, ERROR_BAD_FORMAT, "the vocabulary has too many merges");
    TRY(pretokenizer_create(spec->pre, &b->pre, e));
    TRY(index_tokens(spec, ids, e));
    find_bytes(b, spec, ids);
    TRY(init_pairs(b, spec->n_merges, e));
    for (size_t i = 0; i < spec->n_merges; i++)
        TRY(add_merge(b, spec, ids, i, e));
    return pretokenizer_whole_words(b->pre) ? index_words(b, spec, e) : 0;
}

static int bpe_create(const struct tokenizer_spec *spec, void **out, struct error *e)
{
    struct bpe *b = calloc(1, sizeof *b);
    if (!b)
        return error_no_memory(e);
    struct string_table ids = {0};
    buf_init(&b->word_bytes, SIZE_MAX / 4);
    b->unk = spec->unk;
    int status = build(b, spec, &ids, e);
    string_table_free(&ids);
    if (status < 0) {
        bpe_release(b);
        return -1;
    }
    *out = b;
    return 0;
}

static void heap_push(struct scratch *s, uint64_t entry)
{
    size_t i = s->heap_n++;
    while (i > 0 && s->heap[(i - 1) / 2] > entry) {
        s->heap[i] = s->heap[(i - 1) / 2];
        i = (i - 1) / 2;
    }
    s->heap[i] = entry;
}

static uint64_t heap_pop(struct scratch *s)
{
    uint64_t top = s->heap[0], last = s->heap[--s->heap_n];
    size_t i = 0;
    for (;;) {
        size_t child = 2 * i + 1;
        if (child >= s->heap_n)
            break;
        if (child + 1 < s->heap_n && s->heap[child + 1] < s->heap[child])
            child++;
        if (s->heap[child] >= last)
            break;
        s->heap[i] = s->heap[child];
        i = child;
    }
    s->heap[i] = last;
    return top;
}

/* The merge of a symbol with the one behind it, or NULL. */
static const struct pair_slot *merge_at(const struct bpe *b, const struct scratch *s, uint32_t left)
{
    const struct symbol *l = &s->symbols[left];
    if (l->id < 0 || l->next == NO_SYMBOL || s->symbols[l->next].id < 0)
        return NULL;
    const struct pair_slot *slot = pair_slot_of(b, l->id, s->symbols[l->next].id);
    return slot->left >= 0 ? slot : NULL;
}

static void push_candidate(const struct bpe *b, struct scratch *s, uint32_t left)
{
    const struct pair_slot *slot = left == NO_SYMBOL ? NULL : merge_at(b, s, left);
    if (slot)
        heap_push(s, (uint64_t)slot->rank << 32 | left);
}

/* A word of n bytes starts with at most n-1 candidates, and each of its at most n-1 merges adds two. */
static int reserve(struct scratch *s, size_t n, struct error *e)
{
    if (n > s->symbols_cap) {
        struct symbol *symbols = realloc(s->symbols, n * sizeof *symbols);
        if (!symbols)
            return error_no_memory(e);
        s->symbols = symbols;
        s->symbols_cap = n;
    }
    if (3 * n > s->heap_cap) {
        uint64_t *heap = realloc(s->heap, 3 * n * sizeof *heap);
        if (!heap)
            return error_no_memory(e);
        s->heap = heap;
        s->heap_cap = 3 * n;
    }
    return 0;
}

/* Entries are not taken out of the heap when a neighbour changes: an entry counts only while the
 * pair at its place still has its rank, for a rank belongs to one pair. */
static void merge_symbols(const struct bpe *b, struct scratch *s, uint32_t n)
{
    s->heap_n = 0;
    for (uint32_t i = 0; i + 1 < n; i++)
        push_candidate(b, s, i);
    while (s->heap_n > 0) {
        uint64_t entry = heap_pop(s);
        uint32_t left = (uint32_t)entry;
        const struct pair_slot *slot = merge_at(b, s, left);
        if (!slot || slot->rank != (uint32_t)(entry >> 32))
            continue;
        struct symbol *l = &s->symbols[left], *r = &s->symbols[l->next];
        l->id = slot->merged;
        r->id = -1;
        l->next = r->next;
        if (l->next != NO_SYMBOL)
            s->symbols[l->next].prev = left;
        push_candidate(b, s, l->prev);
        push_candidate(b, s, left);
    }
}

static int encode_word(const struct bpe *b, struct scratch *s, const char *word, size_t len,
                       struct token_list *out, struct error *e)
{
    int32_t whole = string_table_find(&b->words, word, len);
    if (whole >= 0)
        return token_list_add(out, whole, e);
    if (len >= UINT32_MAX / 4)
        return error_set(e, ERROR_INVALID_REQUEST, "the text has a word of %zu bytes", len);
    TRY(reserve(s, len, e));
    uint32_t n = (uint32_t)len;
    for (uint32_t i = 0; i < n; i++) {
        unsigned char byte = (unsigned char)word[i];
        int32_t id = b->byte_ids[byte] >= 0 ? b->byte_ids[byte] : b->unk;
        if (id < 0)
            return error_set(e, ERROR_UNSUPPORTED, "the vocabulary has no token for the byte 0x%02X", byte);
        s->symbols[i] = (struct symbol){id, i ? i - 1 : NO_SYMBOL, i + 1 < n ? i + 1 : NO_SYMBOL};
    }
    merge_symbols(b, s, n);
    for (uint32_t i = 0; i != NO_SYMBOL; i = s->symbols[i].next)
        TRY(token_list_add(out, s->symbols[i].id, e));
    return 0;
}

static int bpe_encode(const void *model, const char *text, size_t len, struct token_list *out,
                      struct error *e)
{
    const struct bpe *b = model;
    struct piece_list pieces = {0};
    struct scratch s = {0};
    int status = pretokenizer_split(b->pre, text, len, &pieces, e);
    for (size_t i = 0, start = 0; i < pieces.n && status == 0; start = pieces.ends[i++])
        status = encode_word(b, &s, text + start, pieces.ends[i] - start, out, e);
    piece_list_free(&pieces);
    free(s.symbols);
    free(s.heap);
    return status;
}

const struct tokenizer_model bpe_bytes_model = {"gpt2", bpe_create, bpe_release, bpe_encode, bpe_decode};
