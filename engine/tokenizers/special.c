/* special.c - see special.h.  A trie whose nodes list their children as siblings: there are few
 * special tokens, and most bytes of a text are no first byte of one, which a table tells at once. */
#include "engine/tokenizers/special.h"

#include <inttypes.h>
#include <stdlib.h>

#include "engine/base/limits.h"

enum { MAX_NODES = 16 << 20 };

struct node {
    uint32_t child, sibling; /* 0: none, for node 0 is the root */
    int32_t id;              /* of the token that ends here, or -1 */
    unsigned char byte;
    bool control;
};

struct special_set {
    struct node *nodes;
    uint32_t n, cap;
    uint32_t first[256]; /* children of the root */
};

static uint32_t new_node(struct special_set *s, unsigned char byte)
{
    s->nodes[s->n] = (struct node){.id = -1, .byte = byte};
    return s->n++;
}

static uint32_t child_of(const struct special_set *s, uint32_t node, unsigned char byte)
{
    uint32_t c = s->nodes[node].child;
    while (c && s->nodes[c].byte != byte)
        c = s->nodes[c].sibling;
    return c;
}

static void insert(struct special_set *s, const struct special_token *token)
{
    unsigned char byte = (unsigned char)token->text[0];
    if (!s->first[byte])
        s->first[byte] = new_node(s, byte);
    uint32_t at = s->first[byte];
    for (size_t i = 1; i < token->len; i++) {
        byte = (unsigned char)token->text[i];
        uint32_t next = child_of(s, at, byte);
        if (!next) {
            next = new_node(s, byte);
            s->nodes[next].sibling = s->nodes[at].child;
            s->nodes[at].child = next;
        }
        at = next;
    }
    s->nodes[at].id = token->id;
    s->nodes[at].control = token->control;
}

static int count_nodes(const struct special_token *tokens, size_t n_tokens, uint32_t *out, struct error *e)
{
    size_t n = 1;
    for (size_t i = 0; i < n_tokens; i++) {
        if (tokens[i].len > LIMIT_SPECIAL_TOKEN_BYTES)
            return error_set(e, ERROR_BAD_FORMAT,
                             "the special token %" PRId32 " has %zu bytes; at most %d are accepted",
                             tokens[i].id, tokens[i].len, LIMIT_SPECIAL_TOKEN_BYTES);
        n += tokens[i].len;
    }
    if (n > MAX_NODES)
        return error_set(e, ERROR_BAD_FORMAT,
                         "the special tokens have %zu bytes in all; at most %d are accepted", n, MAX_NODES);
    *out = (uint32_t)n;
    return 0;
}

int special_set_create(const struct special_token *tokens, size_t n, struct special_set **out,
                       struct error *e)
{
    struct special_set *s = calloc(1, sizeof *s);
    if (!s)
        return error_no_memory(e);
    if (count_nodes(tokens, n, &s->cap, e) < 0)
        goto free_set;
    s->nodes = calloc(s->cap, sizeof *s->nodes);
    if (!s->nodes) {
        error_no_memory(e);
        goto free_set;
    }
    s->n = 1;
    for (size_t i = 0; i < n; i++) {
        if (tokens[i].len > 0)
            insert(s, &tokens[i]);
    }
    *out = s;
    return 0;
free_set:
    special_set_free(s);
    return -1;
}

void special_set_free(struct special_set *s)
{
    if (!s)
        return;
    free(s->nodes);
    free(s);
}

int32_t special_match(const struct special_set *s, const char *text, size_t len, bool with_control,
                      size_t *matched)
{
    int32_t best = -1;
    uint32_t at = len ? s->first[(unsigned char)text[0]] : 0;
    for (size_t i = 1; at; i++) {
        const struct node *node = &s->nodes[at];
        if (node->id >= 0 && (with_control || !node->control)) {
            best = node->id;
            *matched = i;
        }
        at = i < len ? child_of(s, at, (unsigned char)text[i]) : 0;
    }
    return best;
}
