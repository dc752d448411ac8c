/* grammar_program.h - a grammar as it runs: nodes that read bytes or tokens, choose, call rules and count.
 * A place in a text is a node, the count of the rule's loop, and the stack of rules that wait for it.
 * Made by grammar_compile.c (with grammar_triggers.c), checked by grammar_check.c, run by grammar_machine.c.
 * Constant once it is made. */
#ifndef LOQUAT_DECODE_GRAMMAR_PROGRAM_H
#define LOQUAT_DECODE_GRAMMAR_PROGRAM_H

#include "engine/decode/grammar_tree.h"

enum node_kind {
    NODE_BYTES, /* edges, n_edges: the next byte decides */
    NODE_TOKEN, /* the control token `value`, then next */
    NODE_OTHER, /* any control token that no NODE_TOKEN beside it names, then next */
    NODE_SPLIT, /* edges' targets, all of them */
    NODE_CALL,  /* the rule `value`, then next */
    NODE_LOOP,  /* body again while count < max; next once count >= min.  A rule has at most one */
    NODE_END    /* of the rule */
};

struct edge {
    uint8_t first, last; /* bytes; unused in a SPLIT */
    uint32_t to;
};

struct node {
    uint8_t kind;
    bool loops_on_nothing; /* LOOP: its body can be empty */
    uint32_t edges, n_edges;
    uint32_t next, value;
    uint32_t body, min, max;
};

struct rule {
    const char *name; /* as it is written; of a loop the rule that it is in */
    uint32_t entry;
    uint32_t first_node, n_nodes; /* its nodes lie together */
    uint32_t height;              /* least number of rules inside each other that it needs, itself included */
    bool nullable;
};

struct program {
    struct arena *names;
    struct node *nodes;
    struct edge *edges;
    struct rule *rules; /* [0] is the root */
    uint32_t n_nodes, n_edges, n_rules;
    uint32_t cap_nodes, cap_edges, cap_rules;
    uint8_t byte_class[256]; /* bytes that no edge tells apart */
    uint8_t class_byte[256]; /* one of each class */
    unsigned n_classes;
};

int grammar_compile(const struct grammar_tree *tree, struct program *out, struct error *e);
void program_free(struct program *p); /* also one that is all zero */

/* ---- for the files that make it ---------------------------------------------------------------- */

#define NO_NODE UINT32_MAX

struct compiler {
    const struct grammar_tree *tree;
    struct program *program;
    const char *rule;       /* that is being compiled, for errors */
    struct loop_todo *todo; /* loops that become rules of their own */
    size_t n_todo, cap_todo;
    struct error *error;
};

/* A node; edges must be added before the next node is made.  NO_NODE and an error when there are too many. */
uint32_t compile_node(struct compiler *c, enum node_kind kind, uint32_t next);
int compile_edge(struct compiler *c, uint32_t node, uint8_t first, uint8_t last, uint32_t to);
/* The entry of an expression behind which `next` goes on; NO_NODE and an error when that can't be. */
uint32_t compile_expr(struct compiler *c, const struct expr *x, uint32_t next);
uint32_t compile_triggers(struct compiler *c, const struct expr *x, uint32_t next);

/* Sets height, nullable and loops_on_nothing.  Refuses, by name, rules that never end, that begin with
 * themselves, or that need more than LIMIT_GRAMMAR_DEPTH rules inside each other. */
int grammar_check(struct program *p, struct error *e);

#endif
