/* arpa.h - n-gram language models in ARPA's text format, as KenLM and SRILM write them, plain or gzip'ed.
 * arpa_open_take() is called by the FORMAT TABLE, on any thread; the tensors are in memory and read from any.
 * The format: https://kheafield.com/papers/avenue/kenlm.pdf and SRILM's ngram-format(5). */
#ifndef LOQUAT_FORMATS_ARPA_H
#define LOQUAT_FORMATS_ARPA_H

#include <zlib.h>

#include "engine/base/arena.h"
#include "engine/base/buf.h"
#include "engine/base/string_table.h"
#include "engine/formats/checkpoint.h"

/* What comes out, for n = 1 .. order:
 *
 * ngram.N.tokens, I32 {n, count}: the n-grams, oldest word first, rows sorted by their ids.
 *
 * ngram.N.logprob, F32 {count}: log10 of the probability of the last word after the others.
 *
 * ngram.N.backoff, F32 {count}, not of the highest order: log10 of the weight of shorter contexts, 0 where
 * the file says nothing.
 *
 * Token ids number the unigrams as the file lists them; without <unk> (or <UNK>) among them one more id
 * follows, which no n-gram has.  The tokenizer is "word": texts are cut at white space.
 *
 * As in KenLM the first n-1 words of an n-gram must be an n-gram too, its last ones need not (SRILM prunes
 * them); <s> or </s> may be missing.  Wrong counts, words that are not among the unigrams, n-grams that come
 * twice, numbers
 * that are none, positive log probabilities, a back-off weight of the highest order other than 0 and a
 * missing \end\ are errors.  Fields may be parted by any white space. */

/* Lines of a text that may be compressed. */
struct arpa_lines {
    struct bytes *bytes; /* borrowed */
    bool gzip, inflating, ended;
    z_stream z;
    uint64_t inflated; /* bytes so far */
    unsigned char *chunk;
    size_t at, n; /* of the chunk: read, there */
    struct buf line;
    uint64_t number; /* of the line, from 1 */
};

int arpa_lines_init(struct arpa_lines *l, struct bytes *b, struct error *e);
void arpa_lines_free(struct arpa_lines *l);
/* The next line without its end, closed by a zero, until the next call; *text NULL at the end of the file. */
int arpa_lines_next(struct arpa_lines *l, char **text, struct error *e);

/* Records of n token ids, log probability and back-off. */
union arpa_cell {
    int32_t token;
    float value;
};

struct arpa_order {
    uint64_t claimed, count, cap;
    union arpa_cell *records; /* while the file is read */
    int32_t *tokens;          /* (count, n) */
    float *logprob, *backoff; /* (count) */
};

struct arpa {
    struct checkpoint checkpoint;
    struct tensor_source source; /* its functions find the model through this member */
    struct tokenizer_spec tokenizer;
    struct arena *arena;
    json_t *config, *options;
    struct arpa_lines lines;
    size_t order;
    struct arpa_order orders[LIMIT_NGRAM_ORDER]; /* [n - 1] */
    struct token_spec *words;
    size_t n_words, cap_words;
    struct string_table ids; /* word -> id */
    struct tensor_info tensors[3 * LIMIT_NGRAM_ORDER];
    struct string_table names;
};

/* \data\, the sections of all orders, \end\.  arpa_text.c. */
int arpa_read_text(struct arpa *f, struct error *e);

/* A section is complete: its records become sorted columns.  None may be there twice. */
int arpa_sort_order(struct arpa *f, size_t n, struct error *e);
/* Of an order that is sorted. */
bool arpa_has_ngram(const struct arpa *f, const union arpa_cell *words, size_t n);

#endif
