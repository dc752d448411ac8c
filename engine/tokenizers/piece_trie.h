/* piece_trie.h - all pieces of a vocabulary that a text starts with, found in one walk over its bytes.
 * Children of a node lie side by side, sorted by byte, so that a step is one memchr() (nodes are numbered
 * level by level; children of node v are [first[v], first[v + 1])).
 * Immutable once built: any thread. */
#ifndef LOQUAT_TOKENIZERS_PIECE_TRIE_H
#define LOQUAT_TOKENIZERS_PIECE_TRIE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "engine/base/error.h"

struct trie_piece {
    const char *text;
    uint32_t len;
    int32_t id; /* >= 0 */
};

struct piece_trie {
    uint8_t *labels; /* (n_nodes): the byte that leads to the node */
    uint32_t *first; /* (n_nodes + 1) */
    int32_t *ids;    /* (n_nodes): the piece that ends here, or -1 */
    uint32_t n_nodes;
    uint32_t longest; /* bytes of the longest piece */
};

/* Sorts pieces; their texts are copied.  Empty texts are left out; of equal ones the highest id stays.
 * No pieces: a trie where nothing is found. */
int piece_trie_init(struct piece_trie *t, struct trie_piece *pieces, size_t n, struct error *e);
void piece_trie_free(struct piece_trie *t); /* also of a zeroed one */

/* The id of a piece with just this text, or -1. */
int32_t piece_trie_find(const struct piece_trie *t, const char *text, size_t len);

/* The longest piece that text starts with: its length, 0 when there is none. */
size_t piece_trie_longest(const struct piece_trie *t, const char *text, size_t len, int32_t *id);

/* From a node (0: the root) along one byte: false when no piece goes on that way. */
static inline bool piece_trie_step(const struct piece_trie *t, uint32_t *node, char byte)
{
    uint32_t begin = t->first[*node], end = t->first[*node + 1];
    const uint8_t *found = begin < end ? memchr(t->labels + begin, (unsigned char)byte, end - begin) : NULL;
    if (!found)
        return false;
    *node = (uint32_t)(found - t->labels);
    return true;
}

#endif
