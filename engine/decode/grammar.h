/* grammar.h - what a sequence may say: a grammar bound to a vocabulary, and where a sequence stands in it.
 * The grammar is shared by sequences, requests and threads; states and masks that one of them needs are kept
 * for all.  A state belongs to one sequence and follows its tokens in order. Files: grammar_text.c reads GBNF
 * (grammar_tree.h says which), grammar_compile.c, grammar_triggers.c and grammar_check.c make a program of
 * it, grammar_machine.c runs it, token_trie.c holds the vocabulary. */
#ifndef LOQUAT_DECODE_GRAMMAR_H
#define LOQUAT_DECODE_GRAMMAR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/error.h"

struct token_trie;
struct engine_grammar; /* as engine.h calls it */

/* trie is borrowed and must outlive the grammar.  Any thread.
 * Errors: ERROR_INVALID_REQUEST with the line or the rule at fault. */
int grammar_create(const char *text, size_t len, const struct token_trie *trie, struct engine_grammar **out,
                   struct error *e);
struct engine_grammar *grammar_share(struct engine_grammar *g); /* one more owner; NULL stays NULL */
void grammar_release(struct engine_grammar *g);
size_t grammar_bytes(struct engine_grammar *g); /* about what it takes */

struct grammar_state;
/* Takes a reference of g. */
int grammar_state_create(struct engine_grammar *g, struct grammar_state **out, struct error *e);
void grammar_state_free(struct grammar_state *s);

enum grammar_verdict {
    GRAMMAR_OK = 0,
    GRAMMAR_NO_MEMORY = -1,
    GRAMMAR_TOO_AMBIGUOUS = -2 /* LIMIT_GRAMMAR_WORK is used up by one token */
};

/* Bit i of bits (words of 64, `words` of them, all written): token i may come next.  End tokens never have
 * one: *may_end says whether the text may end here. */
enum grammar_verdict grammar_state_mask(struct grammar_state *s, uint64_t *bits, size_t words, bool *may_end);
/* The sequence goes on with this token.  One that may not come leaves a state in which nothing may. */
enum grammar_verdict grammar_state_accept(struct grammar_state *s, int32_t token);
/* The vocabulary's end tokens; borrowed. */
const int32_t *grammar_state_ends(const struct grammar_state *s, size_t *n);
/* The text may end and nothing can follow. */
bool grammar_state_done(struct grammar_state *s);

#endif
