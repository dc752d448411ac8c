/* bpe.c - the BPE of a tokenizer.json ("bpe"): a piece's characters are its first symbols, and what the
 * vocabulary does not know becomes bytes ("<0x0A>") or the unknown token (bpe_merge.h does the rest). Called
 * by tokenizer.c; encode() from any thread. Choices: as in Hugging Face's tokenizers, down to a run of
 * unknown characters that waits behind byte tokens; a control token is never made from text. */
#include <stdlib.h>
#include <string.h>

#include "engine/base/json.h"
#include "engine/base/utf8.h"
#include "engine/tokenizers/bpe_merge.h"
#include "engine/tokenizers/model.h"

enum { LOW_CODE_POINTS = 0x400, UNKNOWN_MISSING = -2 };

struct bpe {
    struct merge_table merges;
    struct string_table ids;
    struct buf texts;             /* what ids borrows from */
    int32_t low[LOW_CODE_POINTS]; /* ids of single characters, or -1 */
    int32_t byte_ids[256];        /* "<0x00>" …, or -1 */
    struct buf prefix, suffix;    /* of a character that continues, or ends, a piece */
    bool fuse_unk, byte_fallback, ignore_merges;
    int32_t unk; /* -1: unknown characters are dropped; UNKNOWN_MISSING: named, but not in the vocabulary */
};

static void bpe_release(void *model)
{
    struct bpe *b = model;
    merge_table_free(&b->merges);
    string_table_free(&b->ids);
    buf_free(&b->texts);
    buf_free(&b->prefix);
    buf_free(&b->suffix);
    free(b);
}

static int read_options(struct bpe *b, const struct tokenizer_spec *spec, struct error *e)
{
    const char *prefix = NULL, *suffix = NULL, *unk = NULL;
    double dropout = 0;
    TRY(json_get_double(spec->options, "dropout", &dropout, e));
    TRY(json_get_bool(spec->options, "fuse_unk", &b->fuse_unk, e));
    TRY(json_get_bool(spec->options, "byte_fallback", &b->byte_fallback, e));
    TRY(json_get_bool(spec->options, "ignore_merges", &b->ignore_merges, e));
    TRY(json_get_string(spec->options, "continuing_subword_prefix", &prefix, e));
    TRY(json_get_string(spec->options, "end_of_word_suffix", &suffix, e));
    TRY(json_get_string(spec->options, "unk_token", &unk, e));
    if (dropout != 0)
        return error_set(e, ERROR_UNSUPPORTED, "the tokenizer's dropout is %g; only 0 is supported", dropout);
    buf_add_text(&b->prefix, prefix ? prefix : "");
    buf_add_text(&b->suffix, suffix ? suffix : "");
    b->unk = unk ? UNKNOWN_MISSING : -1;
    return 0;
}

/* Tokens that text may become, and their texts. */
static int index_texts(struct bpe *b, const struct tokenizer_spec *spec, struct error *e)
{
    size_t total = 0, at = 0;
    for (size_t i = 0; i < spec->n_tokens; i++)
        total += spec->tokens[i].len;
    buf_init(&b->texts, total + 1);
    for (size_t i = 0; i < spec->n_tokens; i++)
        buf_add(&b->texts, spec->tokens[i].text, spec->tokens[i].len);
    if (b->texts.failed)
        return error_no_memory(e);
    TRY(string_table_init(&b->ids, spec->n_tokens, e));
    for (size_t i = 0; i < spec->n_tokens; i++) {
        const struct token_spec *t = &spec->tokens[i];
        if (t->len > 0 && !token_is_control(t->type) && t->type != TOKEN_UNUSED)
            string_table_add(&b->ids, b->texts.data + at, t->len, (int32_t)i);
        at += t->len;
    }
    return 0;
}

static void index_characters(struct bpe *b)
{
    for (uint32_t c = 0; c < LOW_CODE_POINTS; c++) {
        char text[4];
        b->low[c] = string_table_find(&b->ids, text, utf8_encode(c, text));
    }
    for (unsigned byte = 0; byte < 256; byte++) {
        static const char digits[] = "0123456789ABCDEF";
        const char text[6] = {'<', '0', 'x', digits[byte >> 4], digits[byte & 15], '>'};
        b->byte_ids[byte] = b->byte_fallback ? string_table_find(&b->ids, text, sizeof text) : -1;
    }
}

static int build(struct bpe *b, const struct tokenizer_spec *spec, struct error *e)
{
    struct string_table all = {0};
    if (read_options(b, spec, e) < 0) {
        if (e && e->kind == ERROR_INVALID_REQUEST)
            e->kind = ERROR_BAD_FORMAT;
        return -1;
    }
    if (b->unk == UNKNOWN_MISSING && spec->unk >= 0)
        b->unk = spec->unk;
    TRY(index_texts(b, spec, e));
    index_characters(b);
    int status = index_tokens(spec, &all, e);
    if (status == 0)
        status = merge_table_init(&b->merges, spec, &all, b->prefix.len, 0, e);
    string_table_free(&all);
    return status;
}

static int bpe_create(const struct tokenizer_spec *spec, void **out, struct error *e)
{
    struct bpe *b = calloc(1, sizeof *b);
    if (!b)
        return error_no_memory(e);
    buf_init(&b->prefix, SIZE_MAX / 4);
    buf_init(&b->suffix, SIZE_MAX / 4);
    if (build(b, spec, e) < 0) {
        bpe_release(b);
        return -1;
    }
    *out = b;
    return 0;
}

/* A piece on its way into symbols. */
struct encoder {
    const struct bpe *b;
    struct merge_word word;
    struct buf decorated; /* a character with its prefix and suffix */
    bool unknown;         /* a run of unknown characters waits */
    uint32_t unknown_len;
};

static void end_unknown(struct encoder *x)
{
    if (x->unknown)
        merge_word_add(&x->word, x->b->unk, x->unknown_len);
    x->unknown = false;
}

/* The bytes of the text that was looked up, each as its token; false when one has none. */
static bool add_bytes(struct encoder *x, const char *text, size_t len)
{
    if (!x->b->byte_fallback)
        return false;
    for (size_t i = 0; i < len; i++) {
        if (x->b->byte_ids[(unsigned char)text[i]] < 0)
            return false;
    }
    for (size_t i = 0; i < len; i++)
        merge_word_add(&x->word, x->b->byte_ids[(unsigned char)text[i]], 1);
    return true;
}

static int add_unknown(struct encoder *x, uint32_t len, struct error *e)
{
    if (x->b->unk == UNKNOWN_MISSING)
        return error_set(e, ERROR_UNSUPPORTED,
                         "the text has an unknown character, and the unknown token is not in the vocabulary");
    if (x->b->unk < 0)
        return 0;
    if (x->unknown && x->b->fuse_unk) {
        x->unknown_len += len;
        return 0;
    }
    end_unknown(x);
    x->unknown = true;
    x->unknown_len = len;
    return 0;
}

/* text: the character as it is looked up; len: its bytes in the piece. */
static int add_character(struct encoder *x, int32_t id, const char *text, size_t text_len, uint32_t len,
                         struct error *e)
{
    if (id >= 0) {
        end_unknown(x);
        merge_word_add(&x->word, id, len);
        return 0;
    }
    return add_bytes(x, text, text_len) ? 0 : add_unknown(x, len, e);
}

static int add_decorated(struct encoder *x, const char *text, uint32_t len, bool first, bool last,
                         struct error *e)
{
    const struct bpe *b = x->b;
    buf_clear(&x->decorated);
    if (!first)
        buf_add(&x->decorated, b->prefix.data, b->prefix.len);
    buf_add(&x->decorated, text, len);
    if (last)
        buf_add(&x->decorated, b->suffix.data, b->suffix.len);
    if (x->decorated.failed)
        return error_no_memory(e);
    int32_t id = string_table_find(&b->ids, x->decorated.data, x->decorated.len);
    return add_character(x, id, x->decorated.data, x->decorated.len, len, e);
}

static int add_characters(struct encoder *x, const char *text, size_t len, struct error *e)
{
    const struct bpe *b = x->b;
    for (size_t at = 0; at < len;) {
        uint32_t cp = (unsigned char)text[at];
        int n = cp < 0x80 ? 1 : utf8_decode(text + at, len - at, &cp);
        uint32_t size = n > 0 ? (uint32_t)n : 1;
        bool prefix = at > 0 && b->prefix.len > 0, suffix = at + size == len && b->suffix.len > 0;
        if (prefix || suffix) {
            TRY(add_decorated(x, text + at, size, !prefix, suffix, e));
        } else {
            int32_t id = cp < LOW_CODE_POINTS ? b->low[cp] : string_table_find(&b->ids, text + at, size);
            TRY(add_character(x, id, text + at, size, size, e));
        }
        at += size;
    }
    end_unknown(x);
    return 0;
}

static int encode_piece(struct encoder *x, const char *text, struct text_span piece, size_t index,
                        struct token_sink *out, struct error *e)
{
    const char *start = text + piece.start;
    size_t len = piece.end - piece.start, at = piece.start;
    int32_t whole = x->b->ignore_merges ? string_table_find(&x->b->ids, start, len) : -1;
    if (whole >= 0)
        return token_sink_add(out, whole, piece.start, piece.end, index, e);
    TRY(merge_word_reserve(&x->word, len + x->b->prefix.len * len + x->b->suffix.len, e));
    TRY(add_characters(x, start, len, e));
    if (x->word.n == 0)
        return 0;
    merge_word_run(&x->word, &x->b->merges);
    for (uint32_t i = 0; i != NO_SYMBOL; i = x->word.symbols[i].next) {
        const struct symbol *s = &x->word.symbols[i];
        TRY(token_sink_add(out, s->id, at, at + s->len, index, e));
        at += s->len;
    }
    return 0;
}

static int bpe_encode(const void *model, const char *text, const struct piece_list *pieces,
                      struct token_sink *out, struct error *e)
{
    struct encoder x = {.b = model};
    int status = 0;
    buf_init(&x.decorated, SIZE_MAX / 4);
    for (size_t i = 0; i < pieces->n && status == 0; i++)
        status = encode_piece(&x, text, pieces->spans[i], i, out, e);
    merge_word_free(&x.word);
    buf_free(&x.decorated);
    return status;
}

const struct tokenizer_model bpe_model = {
    .name = "bpe", .create = bpe_create, .release = bpe_release, .encode = bpe_encode};
