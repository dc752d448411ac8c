/* regex.h - regular expressions (ECMA-262 with the u flag, as JSON Schema's `pattern` means them) as trees,
 * and as rules of a grammar.  Lookaround, back references and \b are refused by name. Files: regex_parse.c
 * text to tree; regex_write.c tree to rules; automaton.h where a tree does not do. Memory is an arena's.  Any
 * thread. */
#ifndef LOQUAT_API_REGEX_H
#define LOQUAT_API_REGEX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/arena.h"
#include "engine/base/buf.h"
#include "engine/base/error.h"

enum regex_kind {
    REGEX_CLASS,    /* one code point of ranges; none: matches nothing */
    REGEX_SEQUENCE, /* children; none: the empty text */
    REGEX_CHOICE,   /* children */
    REGEX_REPEAT,   /* the child, min to max times */
    REGEX_START,    /* ^ */
    REGEX_END       /* $ */
};
#define REGEX_ENDLESS    UINT32_MAX
#define REGEX_LAST_POINT 0x10FFFFu

struct regex_range {
    uint32_t first, last;
};

struct regex {
    enum regex_kind kind;
    struct regex *children, *next;
    const struct regex_range *ranges; /* ascending, apart from each other */
    size_t n_ranges;
    uint32_t min, max;
};

/* Errors: ERROR_INVALID_REQUEST for what is no expression, ERROR_UNSUPPORTED for what can't be enforced. */
int regex_parse(const char *pattern, size_t len, struct arena *arena, struct regex **out, struct error *e);

/* A list of classes, one a character: what a sequence has as children. */
int regex_of_text(const char *text, size_t len, struct arena *arena, struct regex **out);

/* The tree for texts that match from end to end: ^ and $ at its ends, or at those of its alternatives, are
 * gone. searched: texts in which it matches somewhere.  NULL when an anchor stands elsewhere (automaton.h can
 * do that) or memory is out. */
struct regex *regex_whole(const struct regex *r, bool searched, struct arena *arena);

/* Fewest and most code points of what matches; *max REGEX_ENDLESS is no bound. */
void regex_lengths(const struct regex *r, uint64_t *min, uint64_t *max);

/* Appends an expression for it, in the syntax of grammars; inside_json: as it is written inside a JSON
 * string. The tree has no anchors. */
void regex_write(const struct regex *r, bool inside_json, struct buf *out);
/* One class of it: "[a-z]", or with the escapes that JSON needs. */
void regex_write_class(const struct regex_range *ranges, size_t n, bool inside_json, struct buf *out);

#endif
