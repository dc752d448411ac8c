/* unigram.c - the most probable segmentation under a unigram language model (Kudo, 2018), in two dialects:
 *   "t5"       SentencePiece's own files and GGUF: the text is normalised here (sp_normalizer.c)
 *   "unigram"  tokenizer.json: the pipeline has normalised it
 * Viterbi over the pieces that start at each character.  Where no piece crosses, everything before is settled
 * and given out, so memory follows the longest chain of overlapping pieces and not the text.
 * Time: the text's length times the longest piece's.  Called by tokenizer.c; encode() from any thread.
 * Ties and rounding follow the libraries: the first of equal candidates stays; SentencePiece keeps its sums
 * in single precision, the others in double. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/json.h"
#include "engine/tokenizers/model.h"
#include "engine/tokenizers/sp_normalizer.h"

#define UNKNOWN_PENALTY 10.0 /* of a character that no piece covers, below the worst piece */

struct unigram {
    struct piece_trie trie;
    struct sp_normalizer normalizer; /* "t5" only */
    double *scores;                  /* (n_tokens) */
    double unknown_score;
    int32_t unk;       /* -1: a text with unknown characters is an error */
    bool single;       /* sums are floats */
    bool by_character; /* bytes stand for one unknown character each, else for a run of them as a whole */
    bool byte_fallback;
    int32_t bytes[256]; /* -1: no token for this byte */
};

/* A place of the text: the best way to get there. */
struct place {
    double score;
    uint32_t start; /* where its last piece begins; NOWHERE: no way was found yet */
    uint32_t next;  /* where the best way goes from here, once it is known */
    int32_t id;
};

#define NOWHERE UINT32_MAX

/* One piece of text on its way to ids.  Places count from `base`. */
struct lattice {
    const struct unigram *u;
    const char *text; /* of the piece */
    size_t offset;    /* of the piece in the whole text */
    size_t len, base, reach, word;
    struct place *places;
    size_t n, cap;
    size_t unknown_start, unknown_end; /* a run of unknown characters that may go on; empty: none */
    struct token_sink *out;
};

static bool is_piece(const struct token_spec *t)
{
    return t->len > 0 && !token_is_control(t->type) && t->type != TOKEN_UNUSED && t->type != TOKEN_BYTE;
}

/* The library reads numbers with serde_json, which rounds twice: all digits as one integer, then that times
 * or through a power of ten.  The last bit decides ties, so it is done over from the shortest digits of the
 * number. */
static double as_the_library_reads(double score)
{
    char digits[40];
    int precision = 13;
    do
        snprintf(digits, sizeof digits, "%.*e", ++precision, fabs(score));
    while (precision < 16 && strtod(digits, NULL) != fabs(score));
    uint64_t significand = 0;
    const char *c = digits;
    for (; *c != 'e'; c++) {
        if (*c != '.')
            significand = significand * 10 + (uint64_t)(*c - '0');
    }
    long exponent = strtol(c + 1, NULL, 10) - precision;
    for (; significand > 0 && significand % 10 == 0; exponent++)
        significand /= 10;
    double power = 1, value = (double)significand;
    for (long i = labs(exponent); i > 0; i--)
        power *= 10; /* exact up to 1e22, and no score has more digits behind its point */
    return copysign(exponent < 0 ? value / power : value * power, score);
}

/* In SentencePiece's own files a user-defined piece gets a bonus: a tenth for each byte behind the first. */
static double piece_score(const struct token_spec *t, bool library, bool single)
{
    if (library)
        return as_the_library_reads(t->score);
    if (!single)
        return t->score;
    return t->type == TOKEN_USER_DEFINED ? (float)(0.1 * t->len - 0.1) : (float)t->score;
}

/* The score of an unknown character: SentencePiece looks at normal pieces, the tokenizers library at all. */
static int set_scores(struct unigram *u, const struct tokenizer_spec *spec, bool library, struct error *e)
{
    double worst = INFINITY;
    u->scores = calloc(spec->n_tokens, sizeof *u->scores);
    if (!u->scores)
        return error_no_memory(e);
    for (size_t i = 0; i < spec->n_tokens; i++) {
        const struct token_spec *t = &spec->tokens[i];
        if (!isfinite(t->score))
            return error_set(e, ERROR_BAD_FORMAT, "the score of token %zu is not a number", i);
        u->scores[i] = piece_score(t, library, u->single);
        if ((library ? t->len > 0 : t->type == TOKEN_NORMAL) && u->scores[i] < worst)
            worst = u->scores[i];
    }
    u->unknown_score = (isfinite(worst) ? worst : 0) - UNKNOWN_PENALTY;
    if (u->single)
        u->unknown_score = (float)u->unknown_score;
    return 0;
}

static int index_pieces(struct unigram *u, const struct tokenizer_spec *spec, struct error *e)
{
    size_t n = 0;
    struct trie_piece *pieces = calloc(spec->n_tokens, sizeof *pieces);
    if (!pieces)
        return error_no_memory(e);
    memset(u->bytes, 0xFF, sizeof u->bytes);
    for (size_t i = 0; i < spec->n_tokens; i++) {
        const struct token_spec *t = &spec->tokens[i];
        int byte = token_byte_value(t->text, t->len);
        if (byte >= 0)
            u->bytes[byte] = (int32_t)i;
        if (is_piece(t))
            pieces[n++] = (struct trie_piece){t->text, t->len, (int32_t)i};
    }
    int status = piece_trie_init(&u->trie, pieces, n, e);
    free(pieces);
    return status;
}

static void unigram_release(void *model)
{
    struct unigram *u = model;
    piece_trie_free(&u->trie);
    sp_normalizer_free(&u->normalizer);
    free(u->scores);
    free(u);
}

static int build_json(struct unigram *u, const struct tokenizer_spec *spec, struct error *e)
{
    u->unk = spec->unk;
    TRY(json_get_bool(spec->options, "byte_fallback", &u->byte_fallback, e));
    TRY(set_scores(u, spec, true, e));
    return index_pieces(u, spec, e);
}

/* Falling back to bytes needs all of them. */
static bool has_bytes(const struct tokenizer_spec *spec)
{
    size_t n = 0;
    for (size_t i = 0; i < spec->n_tokens; i++)
        n += spec->tokens[i].type == TOKEN_BYTE;
    return n >= 256;
}

static int build_sp(struct unigram *u, const struct tokenizer_spec *spec, struct error *e)
{
    u->unk = spec->unk;
    u->single = spec->sentencepiece;
    u->by_character = true;
    u->byte_fallback = has_bytes(spec);
    TRY(set_scores(u, spec, false, e));
    TRY(index_pieces(u, spec, e));
    return sp_normalizer_init(&u->normalizer, spec, e);
}

static int create(const struct tokenizer_spec *spec, void **out,
                  int (*build)(struct unigram *u, const struct tokenizer_spec *spec, struct error *e),
                  struct error *e)
{
    struct unigram *u = calloc(1, sizeof *u);
    if (!u)
        return error_no_memory(e);
    if (build(u, spec, e) < 0) {
        unigram_release(u);
        return -1;
    }
    *out = u;
    return 0;
}

static int unigram_create(const struct tokenizer_spec *spec, void **out, struct error *e)
{
    return create(spec, out, build_json, e);
}

static int sp_unigram_create(const struct tokenizer_spec *spec, void **out, struct error *e)
{
    return create(spec, out, build_sp, e);
}

/* Places up to `index`, those that are new without a way to them. */
static int reserve(struct lattice *l, size_t index, struct error *e)
{
    if (index >= l->cap) {
        size_t cap = l->cap ? l->cap : 64;
        while (cap <= index)
            cap *= 2;
        struct place *places = realloc(l->places, cap * sizeof *places);
        if (!places)
            return error_no_memory(e);
        l->places = places;
        l->cap = cap;
    }
    while (l->n <= index)
        l->places[l->n++] = (struct place){.start = NOWHERE};
    return 0;
}

/* Bytes [start, end) as one token; whoever comes first of equal candidates stays. */
static int offer(struct lattice *l, size_t start, size_t end, double score, int32_t id, struct error *e)
{
    TRY(reserve(l, end - l->base, e));
    struct place *place = &l->places[end - l->base];
    if (l->u->single)
        score = (float)score;
    if (place->start == NOWHERE || score > place->score) {
        place->score = score;
        place->start = (uint32_t)(start - l->base);
        place->id = id;
    }
    if (end > l->reach)
        l->reach = end;
    return 0;
}

static size_t character_bytes(const char *text, size_t left)
{
    unsigned char lead = (unsigned char)*text;
    size_t n = lead < 0x80 ? 1 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
    return n < left ? n : left;
}

/* Every piece that starts at the character at `at`. */
static int offer_pieces(struct lattice *l, size_t at, size_t character, struct error *e)
{
    const struct piece_trie *trie = &l->u->trie;
    double before = l->places[at - l->base].score;
    bool whole_character = false;
    uint32_t node = 0;
    for (size_t i = at; i < l->len && piece_trie_step(trie, &node, l->text[i]); i++) {
        int32_t id = trie->ids[node];
        if (id < 0)
            continue;
        TRY(offer(l, at, i + 1, l->u->scores[id] + before, id, e));
        whole_character |= i + 1 - at == character;
    }
    if (whole_character)
        return 0;
    if (l->u->unk < 0)
        return error_set(e, ERROR_UNSUPPORTED,
                         "the text has an unknown character at byte %zu and the vocabulary no unknown token",
                         l->offset + at);
    return offer(l, at, at + character, l->u->unknown_score + before, l->u->unk, e);
}

static int put(struct lattice *l, int32_t id, size_t start, size_t end, struct error *e)
{
    return token_sink_add(l->out, id, l->offset + start, l->offset + end, l->word, e);
}

static int put_bytes(struct lattice *l, size_t start, size_t end, struct error *e)
{
    for (size_t i = start; i < end; i++)
        TRY(put(l, l->u->bytes[(unsigned char)l->text[i]], start, end, e));
    return 0;
}

static bool can_fall_back(const struct lattice *l, size_t start, size_t end)
{
    bool all = l->u->byte_fallback;
    for (size_t i = start; i < end && all; i++)
        all = l->u->bytes[(unsigned char)l->text[i]] >= 0;
    return all;
}

/* The run of unknown characters is over: bytes where the model has them, else one unknown token. */
static int end_unknown(struct lattice *l, struct error *e)
{
    size_t start = l->unknown_start, end = l->unknown_end;
    l->unknown_start = l->unknown_end;
    if (start == end)
        return 0;
    int32_t whole = l->u->by_character ? -1 : piece_trie_find(&l->u->trie, l->text + start, end - start);
    if (whole >= 0)
        return put(l, whole, start, end, e);
    if (can_fall_back(l, start, end))
        return put_bytes(l, start, end, e);
    return put(l, l->u->unk, start, end, e);
}

static int put_token(struct lattice *l, int32_t id, size_t start, size_t end, struct error *e)
{
    if (id != l->u->unk) {
        TRY(end_unknown(l, e));
        return put(l, id, start, end, e);
    }
    if (l->u->by_character && can_fall_back(l, start, end))
        return put_bytes(l, start, end, e);
    if (l->unknown_start == l->unknown_end)
        l->unknown_start = start;
    l->unknown_end = end;
    return 0;
}

/* Gives out the best way from base to `end`, and starts again there. */
static int settle(struct lattice *l, size_t end, struct error *e)
{
    size_t last = end - l->base;
    for (size_t at = last; at > 0; at = l->places[at].start)
        l->places[l->places[at].start].next = (uint32_t)at;
    for (size_t at = 0; at < last;) {
        size_t next = l->places[at].next;
        TRY(put_token(l, l->places[next].id, l->base + at, l->base + next, e));
        at = next;
    }
    l->places[0] = (struct place){.score = l->places[last].score};
    l->n = 1;
    l->base = end;
    return 0;
}

static int encode_piece(struct lattice *l, struct error *e)
{
    if (l->len >= NOWHERE)
        return error_set(e, ERROR_INVALID_REQUEST, "the text has a piece of %zu bytes", l->len);
    l->base = l->reach = l->n = l->unknown_start = l->unknown_end = 0;
    TRY(reserve(l, 0, e));
    l->places[0].score = 0;
    for (size_t at = 0; at < l->len;) {
        if (at > l->base && l->reach <= at)
            TRY(settle(l, at, e));
        size_t character = character_bytes(l->text + at, l->len - at);
        TRY(offer_pieces(l, at, character, e));
        at += character;
    }
    TRY(settle(l, l->len, e));
    return end_unknown(l, e);
}

static int unigram_encode(const void *model, const char *text, const struct piece_list *pieces,
                          struct token_sink *out, struct error *e)
{
    struct lattice l = {.u = model, .out = out};
    int status = 0;
    for (size_t i = 0; i < pieces->n && status == 0; i++) {
        l.offset = pieces->spans[i].start;
        l.text = text + l.offset;
        l.len = pieces->spans[i].end - l.offset;
        l.word = i;
        status = encode_piece(&l, e);
    }
    free(l.places);
    return status;
}

static int normalize(const void *model, const struct normalized *in, bool first, struct normalized *out,
                     struct error *e)
{
    const struct unigram *u = model;
    return sp_normalize(&u->normalizer, in, first, out, e);
}

const struct tokenizer_model unigram_model = {
    .name = "unigram", .create = unigram_create, .release = unigram_release, .encode = unigram_encode};

const struct tokenizer_model sp_unigram_model = {.name = "t5",
                                                 .create = sp_unigram_create,
                                                 .release = unigram_release,
                                                 .normalize = normalize,
                                                 .encode = unigram_encode,
                                                 .decode = sp_decode};
