/* digest.h - makes a summary of what a model writes: whole sentences, no sentence twice, at most so many
 * words. Text comes in as it is generated and goes out a sentence at a time, so that nothing has to be taken
 * back in a stream.  Callers: summarize.c; digest_take() on the loop thread or a worker. */
#ifndef LOQUAT_API_DIGEST_H
#define LOQUAT_API_DIGEST_H

#include "api/sentences.h"
#include "engine/base/buf.h"

struct digest {
    bool bullets;     /* each sentence is a line that starts with "- "; else they make one paragraph */
    size_t max_words; /* 0 = any number */

    struct buf pending; /* not a whole sentence yet */
    struct buf out;     /* the summary so far */
    size_t words, sentences;
    bool cut;  /* max_words ended it */
    bool full; /* what comes now is dropped */
};

/* max_words: 0 = any number.  Ends with digest_free(). */
void digest_init(struct digest *d, bool bullets, size_t max_words);
void digest_free(struct digest *d);

/* Sentences that text completes are appended to d->out. */
void digest_take(struct digest *d, const char *text, size_t len);
/* The end.  unfinished: generation ran out of tokens, so a sentence without an end is kept only where there
 * is no other. */
void digest_end(struct digest *d, bool unfinished);
bool digest_failed(const struct digest *d); /* memory */

#endif
