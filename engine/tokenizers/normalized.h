/* normalized.h - a text while it is normalised, with the place in the original text behind every byte.
 * A step reads one text and writes the next, front to back, so that each step is linear; the bookkeeping is
 * that of Hugging Face's tokenizers (NormalizedString): a byte stands for the range of its original
 * character. Called by normalize.c, cutter.c and model rows; one thread per text. */
#ifndef LOQUAT_TOKENIZERS_NORMALIZED_H
#define LOQUAT_TOKENIZERS_NORMALIZED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/error.h"

/* Bytes [start, end) of the original text. */
struct span32 {
    uint32_t start, end;
};

/* Valid UTF-8.  spans NULL: the text is the original itself from byte `base` on, borrowed from its owner. */
struct normalized {
    char *text;
    struct span32 *spans; /* (len) */
    size_t len, cap;
    size_t base;
    size_t max; /* a longer text is an error: a normaliser may not explode */
    bool owned; /* text and spans are to be freed */
    bool too_long, no_memory;
};

/* A view of text[0 .. len), which stands at byte `base` of the original; at most UINT32_MAX / 2 bytes in all.
 */
void normalized_view(struct normalized *n, const char *text, size_t len, size_t base);
/* An empty text to write into, for what `from` becomes. */
void normalized_init(struct normalized *n, const struct normalized *from);
void normalized_free(struct normalized *n); /* also of a zeroed one and of a view */
/* *n becomes *from, which is zeroed; what *n held is freed. */
void normalized_move(struct normalized *n, struct normalized *from);
/* 0, or the error of the appends before: too long, or no memory. */
int normalized_check(const struct normalized *n, struct error *e);

/* Appends bytes (whole characters) that all stand for one range of the original. */
void normalized_add(struct normalized *n, const char *bytes, size_t len, struct span32 span);
/* Appends bytes [start, end) of `from` with their places. */
void normalized_copy(struct normalized *n, const struct normalized *from, size_t start, size_t end);

/* The range of the original behind byte `at` < len. */
struct span32 normalized_span(const struct normalized *n, size_t at);

/* The code point at byte `at` < len, and its bytes in *size. */
uint32_t normalized_code_point(const struct normalized *n, size_t at, size_t *size);

/* One walk over bytes [at, end) of `from` that writes `to` in the words of the tokenizers library: each new
 * character says how it came to be.  change 0: it replaces the next old character; > 0: it is new and shares
 * the place of the old character before it; -k: it replaces the next one, and the k behind that are gone. */
struct rewrite {
    const struct normalized *from;
    struct normalized *to;
    size_t at, begin, end;
};
/* The first `removed` characters are gone before anything is written. */
void rewrite_begin(struct rewrite *r, const struct normalized *from, size_t begin, size_t end, size_t removed,
                   struct normalized *to);
void rewrite_put(struct rewrite *r, uint32_t code_point, int change);

#endif
