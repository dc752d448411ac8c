/* automaton.h - finite automata over code points, for what a tree of an expression can't say: both of two
 * patterns, a pattern and a length, any name but these, multiples of a number. All are deterministic and
 * trimmed: from every state some accepted text can be reached.  Memory is an arena's. Bounds: LIMIT_AUTOMATON
 * states, LIMIT_AUTOMATON_MOVES; beyond them a function returns NULL. */
#ifndef LOQUAT_API_AUTOMATON_H
#define LOQUAT_API_AUTOMATON_H

#include "api/regex.h"

struct automaton {
    size_t n_states;        /* 0: accepts nothing; else state 0 is the start */
    size_t n_classes;       /* of code points: [starts[i], starts[i + 1]) */
    const uint32_t *starts; /* (n_classes), ascending from 0 */
    int32_t *moves;         /* (n_states, n_classes); -1: nowhere */
    bool *accepts;          /* (n_states) */
};

/* searched: texts in which it matches somewhere; else from end to end.  Anchors may stand anywhere. */
struct automaton *automaton_of_regex(const struct regex *r, bool searched, struct arena *arena);
/* min to max code points; max REGEX_ENDLESS is no bound. */
struct automaton *automaton_of_lengths(uint64_t min, uint64_t max, struct arena *arena);
/* Integers (an optional minus and digits) that m divides, 1 <= m. */
struct automaton *automaton_of_multiples(uint64_t m, struct arena *arena);

enum automaton_operation { AUTOMATON_BOTH, AUTOMATON_EITHER, AUTOMATON_FIRST_ALONE };
/* Texts in both, in either, in the first and not in the second. */
struct automaton *automaton_join(const struct automaton *a, const struct automaton *b,
                                 enum automaton_operation o, struct arena *arena);

bool automaton_accepts(const struct automaton *a, const char *text, size_t len);
/* Appends rules: `rule` and others whose names begin with it and "-".  a accepts something. */
void automaton_write(const struct automaton *a, const char *rule, bool inside_json, struct buf *out);

#endif
