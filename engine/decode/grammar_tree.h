/* grammar_tree.h - a grammar as it is written: rules of expressions over bytes, classes of code points and
 * control tokens.  Made by grammar_text.c, read by grammar_compile.c.  All memory is an arena's. */
#ifndef LOQUAT_DECODE_GRAMMAR_TREE_H
#define LOQUAT_DECODE_GRAMMAR_TREE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/arena.h"
#include "engine/base/error.h"

struct token_trie;

enum expr_kind {
    EXPR_BYTES,    /* text, len; len 0 is nothing */
    EXPR_CLASS,    /* one code point of ranges */
    EXPR_TOKEN,    /* one control token, id */
    EXPR_RULE,     /* index */
    EXPR_SEQUENCE, /* children one after another; none is nothing */
    EXPR_CHOICE,   /* one of the children */
    EXPR_REPEAT,   /* the one child, min to max times; max EXPR_ENDLESS is no bound */
    EXPR_FREE,     /* any text in which no trigger comes; behind a trigger what belongs to it.  Children:
                      EXPR_TRIGGER */
    EXPR_TRIGGER   /* children: BYTES or TOKEN, and what follows it */
};
#define EXPR_ENDLESS UINT32_MAX

struct code_range {
    uint32_t first, last;
};

struct expr {
    enum expr_kind kind;
    struct expr *children, *next; /* next: its neighbour in the list it is in */
    const char *text;
    size_t len;
    const struct code_range *ranges; /* ascending, apart from each other */
    size_t n_ranges;
    int32_t id;
    uint32_t index, min, max;
    uint32_t size; /* for grammar_compile.c: about how many nodes it makes; 0 = not known yet */
    bool resumes;  /* FREE: free text goes on behind what a trigger began */
    bool at_start; /* TRIGGER: counts only where the text begins */
};

struct tree_rule {
    const char *name;
    struct expr *body; /* NULL until it is defined */
    size_t at;         /* byte of its first mention */
};

struct grammar_tree {
    struct arena *arena;
    struct tree_rule *rules; /* [0] is the root */
    size_t n_rules, cap_rules;
};

/* GBNF as llama.cpp reads it: `name ::= expression`, "text", [class], ., (…), |, * + ? {m,n}, # comments;
 * <name> or <[id]> is a control token (or, where the vocabulary has none of that name, the text itself).  Two
 * words of our own: %free("trigger" expression | <token> expression | ^"at start" …) is free text in which
 * each trigger is followed by its expression, %until(…) the same without free text after the first.
 * Errors: ERROR_INVALID_REQUEST with line and column. */
int grammar_parse(const char *text, size_t len, const struct token_trie *trie, struct grammar_tree *out,
                  struct error *e);
void grammar_tree_free(struct grammar_tree *t); /* also one that is all zero */

#endif
