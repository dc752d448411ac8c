/* bpe_bytes.c - byte-level byte-pair encoding as GGUF files have it ("gpt2"; Radford et al., 2019).
 * A text is cut into words (pretokenize.h); the bytes of a word are its first symbols (bpe_merge.h).
 * Called by tokenizer.c; encode() from any thread.
 * Choices: a merge that names an unknown token, or makes one, ends the load (so do the reference
 * tokenizers); merges that touch control tokens are left out, so that plain text never becomes one. */
#include <stdlib.h>
#include <string.h>

#include "engine/tokenizers/bpe_merge.h"
#include "engine/tokenizers/byte_alphabet.h"
#include "engine/tokenizers/model.h"

struct bpe {
    struct pretokenizer *pre;
    int32_t byte_ids[256]; /* -1: the vocabulary has no token for this byte */
    int32_t unk;
    struct merge_table merges;
    struct string_table words; /* bytes -> id, only for pre-tokenizers that take whole words */
    struct buf word_bytes;     /* what words borrows from */
};

/* Tokens that were added beside the byte alphabet are written as they are. */
static void bpe_decode(const struct token_spec *token, struct buf *out)
{
    int byte = token->type == TOKEN_BYTE ? token_byte_value(token->text, token->len) : -1;
    char c = (char)byte;
    if (byte >= 0)
        buf_add(out, &c, 1);
    else if (!byte_alphabet_decode(token->text, token->len, out))
        buf_add(out, token->text, token->len);
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
        if (!token_is_control(spec->tokens[i].type))
            byte_alphabet_decode(spec->tokens[i].text, spec->tokens[i].len, &b->word_bytes);
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
    merge_table_free(&b->merges);
    string_table_free(&b->words);
    buf_free(&b->word_bytes);
    free(b);
}

static int build(struct bpe *b, const struct tokenizer_spec *spec, struct string_table *ids, struct error *e)
{
    TRY(pretokenizer_create(spec->pre, &b->pre, e));
    TRY(index_tokens(spec, ids, e));
    find_bytes(b, spec, ids);
    TRY(merge_table_init(&b->merges, spec, ids, 0, MERGES_FIRST_WINS | MERGES_SKIP_CONTROL, e));
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

static int bpe_cut(const void *model, const char *text, size_t len, struct piece_list *out, struct error *e)
{
    const struct bpe *b = model;
    return pretokenizer_split(b->pre, text, len, out, e);
}

static int encode_word(const struct bpe *b, struct merge_word *w, const char *text, struct text_span word,
                       size_t index, struct token_sink *out, struct error *e)
{
    size_t len = word.end - word.start, at = word.start;
    int32_t whole = string_table_find(&b->words, text + word.start, len);
    if (whole >= 0)
        return token_sink_add(out, whole, word.start, word.end, index, e);
    TRY(merge_word_reserve(w, len, e));
    for (size_t i = word.start; i < word.end; i++) {
        unsigned char byte = (unsigned char)text[i];
        int32_t id = b->byte_ids[byte] >= 0 ? b->byte_ids[byte] : b->unk;
        if (id < 0)
            return error_set(e, ERROR_UNSUPPORTED, "the vocabulary has no token for the byte 0x%02X", byte);
        merge_word_add(w, id, 1);
    }
    merge_word_run(w, &b->merges);
    for (uint32_t i = 0; i != NO_SYMBOL; i = w->symbols[i].next) {
        TRY(token_sink_add(out, w->symbols[i].id, at, at + w->symbols[i].len, index, e));
        at += w->symbols[i].len;
    }
    return 0;
}

static int bpe_encode(const void *model, const char *text, const struct piece_list *pieces,
                      struct token_sink *out, struct error *e)
{
    struct merge_word w = {0};
    int status = 0;
    for (size_t i = 0; i < pieces->n && status == 0; i++)
        status = encode_word(model, &w, text, pieces->spans[i], i, out, e);
    merge_word_free(&w);
    return status;
}

const struct tokenizer_model bpe_bytes_model = {.name = "gpt2",
                                                .create = bpe_create,
                                                .release = bpe_release,
                                                .cut = bpe_cut,
                                                .encode = bpe_encode,
                                                .decode = bpe_decode};
