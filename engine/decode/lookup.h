/* lookup.h - what a sequence may say next, read off its own text: prompt-lookup decoding (Saxena, 2023).
 * The longest run of last tokens that stood in the text before is found, and what followed it there is the
 * draft.  Whoever runs the model verifies a draft and tells how much of it was right; the chance of the next
 * one follows from that.  Nothing here changes an answer.
 * Thread: one at a time. */
#ifndef LOQUAT_DECODE_LOOKUP_H
#define LOQUAT_DECODE_LOOKUP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Matches by length: 2, 3 to 4, 5 to 8, longer. */
enum { LOOKUP_CLASSES = 4 };

/* What was learnt of one sequence.  By value; owns nothing. */
struct lookup {
    float chance[LOOKUP_CLASSES]; /* that a drafted token is right when those before it were */
    uint16_t passed[LOOKUP_CLASSES];
};

struct lookup_match {
    size_t from;   /* index of the token that followed */
    unsigned kind; /* by the length of the match, 0 .. LOOKUP_CLASSES-1 */
};

/* What is true of most texts: a longer match is righter. */
void lookup_init(struct lookup *l);

/* The latest of the longest matches of the end of tokens[0 .. n), in the last LIMIT_LOOKUP of them.  False
 * when the last two tokens never stood together before. */
bool lookup_find(const int32_t *tokens, size_t n, struct lookup_match *out);

/* Writes the `count` tokens that the match promises behind the text: into tokens[n .. n + count). */
void lookup_draft(const struct lookup_match *m, int32_t *tokens, size_t n, size_t count);

/* A match of too small a chance is not used; true when it is time to try one token of it all the same, since
 * a text changes. */
bool lookup_pass(struct lookup *l, const struct lookup_match *m);

/* Of `drafted` tokens after the match the first `right` were what the model said. */
void lookup_learn(struct lookup *l, const struct lookup_match *m, size_t drafted, size_t right);

#endif
