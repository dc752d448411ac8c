/* pieces.h - a text with its tokens, and where to cut it.
 * Callers: summarize.c (pieces that follow each other) and qa.c (windows that overlap), on worker threads.
 * A cut depends only on the tokens since the one before, so a change near the end of a text leaves every
 * earlier piece as it was. */
#ifndef LOQUAT_API_PIECES_H
#define LOQUAT_API_PIECES_H

#include "api/frame.h"

struct token_text {
    const char *text;
    size_t len;
    struct frame_ids tokens;
    const size_t *at; /* (tokens.n + 1) the byte where each token begins; close to it for tokenizers that
                         change the text.  Cuts are made by it, nothing is cut out by it. */
};

struct token_range { /* tokens [from, to) */
    size_t from, to;
};

/* Arena memory; text is borrowed. */
int token_text_make(struct api_call *call, struct engine_model *model, const char *text, size_t len,
                    struct token_text *out, struct error *e);

/* Where the piece that begins at token `from` ends: at most max (>= 2) tokens on and, unless the text ends,
 * more than half of that; after a paragraph if one ends there, else a sentence, a word, a character. */
size_t pieces_cut(const struct token_text *t, size_t from, size_t max);

/* Cuts all of it; every token is in exactly one piece. */
int pieces_make(const struct token_text *t, size_t max, struct arena *arena, struct token_range **out,
                size_t *n, struct error *e);

/* The same with each window beginning up to `overlap` (< max / 2) tokens before the last one's end. */
int pieces_windows(const struct token_text *t, size_t max, size_t overlap, struct arena *arena,
                   struct token_range **out, size_t *n, struct error *e);

#endif
