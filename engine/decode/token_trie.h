/* token_trie.h - the texts of a vocabulary's tokens as one tree of bytes, so that a grammar looks at each
 * common beginning once.  Made once a vocabulary, then constant: any thread may read it. */
#ifndef LOQUAT_DECODE_TOKEN_TRIE_H
#define LOQUAT_DECODE_TOKEN_TRIE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/error.h"

/* What is to be known of a vocabulary; tests bring their own. */
struct token_source {
    const void *context;
    size_t n;
    const char *(*bytes)(const void *context, int32_t id, size_t *len); /* of a control token: its name */
    bool (*is_control)(const void *context, int32_t id);
    bool (*is_end)(const void *context, int32_t id); /* ends a generation */
};

struct trie_node {
    uint32_t end;         /* index behind the last node below it */
    uint32_t first_token; /* its tokens are tokens[first_token … first_token of the next node) */
    uint16_t depth;       /* bytes from the root */
    uint8_t byte;         /* on the way to it */
};

/* Plain tokens are whole characters that any text may hold: no control character, quote, backslash or end of
 * a line.  Inside a string or free text most tokens are that, and are told by how many characters they have.
 */
enum { TRIE_PLAIN_POINTS = 24 }; /* plain tokens of more characters count as others */

/* Tokens as a tree.  Nodes in preorder; nodes[0] is the root, nodes[n_nodes] only ends the last one's tokens.
 * Control tokens and tokens without bytes are not in the tree. */
struct trie_tree {
    struct trie_node *nodes;
    size_t n_nodes;
    int32_t *tokens;
};

struct token_trie {
    struct token_source source;   /* copied; its context must outlive the trie */
    struct trie_tree all, others; /* others: without the plain ones */
    size_t words;                 /* of 64 tokens */
    uint64_t
        *plain; /* (TRIE_PLAIN_POINTS + 1, words) bit i of row k: token i is plain, of at most k characters */
    int32_t *controls, *ends; /* ascending ids */
    size_t n_controls, n_ends;
    size_t depth; /* bytes of the longest token */
};

/* Any thread; takes some 10 ms for 50,000 tokens. */
int token_trie_create(const struct token_source *source, struct token_trie **out, struct error *e);
void token_trie_free(struct token_trie *t);

/* The control token of this name, or -1. */
int32_t token_trie_control(const struct token_trie *t, const char *name, size_t len);
/* The bytes of a token that is in the tree; NULL for others. */
const char *token_trie_bytes(const struct token_trie *t, int32_t id, size_t *len);

#endif
