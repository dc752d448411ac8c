/* sentences.h - where sentences, paragraphs and words of a UTF-8 text are, in bytes and code points.
 * Callers: summarize.c and qa.c, on worker threads and (a summary's stream) on the loop.  No word lists: ends
 * are punctuation of any script, blank lines and list items, so that languages without spaces work too.
 * Offsets are exact whatever the text holds; where a sentence ends is a rule of thumb. */
#ifndef LOQUAT_API_SENTENCES_H
#define LOQUAT_API_SENTENCES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/arena.h"
#include "engine/base/error.h"

enum { SENTENCE_MAX_BYTES = 1200 }; /* longer ones are cut between words: text without punctuation */

/* One sentence without the white space around it: bytes [start, end); chars: code points before start. */
struct sentence {
    size_t start, end;
    size_t chars, n_chars;
};

/* Finds the first sentence at or after byte `from`; *chars counts code points before `from` and is moved to
 * where the next search begins, as is the result.  0 = there is none.  lines: every line end ends one. */
size_t sentence_next(const char *text, size_t len, size_t from, bool lines, size_t *chars,
                     struct sentence *out);

/* All of them, in order. */
int sentences_split(const char *text, size_t len, struct arena *arena, struct sentence **out, size_t *n,
                    struct error *e);

/* Whether the bytes before `end` end a sentence: a stop, perhaps with quotes or brackets behind it. */
bool sentence_is_ended(const char *text, size_t len, size_t end);

/* How good a place before byte `at` is to cut: the larger, the better. */
enum border { BORDER_NONE, BORDER_CHAR, BORDER_WORD, BORDER_SENTENCE, BORDER_PARAGRAPH };
enum border border_at(const char *text, size_t len, size_t at);

/* Words: runs between white space; each character of a script without spaces counts as one. */
size_t words_count(const char *text, size_t len);
/* Bytes up to the end of the limit-th word; len when there are not so many. */
size_t words_cut(const char *text, size_t len, size_t limit);

bool char_is_space(uint32_t c);
bool char_is_unspaced(uint32_t c); /* of a script that puts no spaces between words */
/* The code point at byte i < len of valid UTF-8; *width its bytes. */
uint32_t char_at(const char *text, size_t len, size_t i, size_t *width);

#endif
