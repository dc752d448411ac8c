/* prefix_tree.c - see prefix_tree.h.
 * Nodes sit in a hash table.  A child names its parent by serial number, never by address: when a parent
 * is forgotten first, its children can't be reached any more and leave as the least recently used.
 * Bounds: one node per remembered page, so the KV ceiling bounds the table. */
#include "engine/cache/prefix_tree.h"

#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "engine/base/clock.h"
#include "engine/base/hash.h"
#include "engine/base/page.h"

enum { FIRST_BUCKETS = 256 };

struct prefix_node {
    struct prefix_node *next;            /* in the bucket */
    uint64_t hash, serial, parent, salt; /* parent: its serial, 0 at the beginning */
    struct kv_page *page;
    int32_t tokens[KV_PAGE_TOKENS];
};

struct prefix_tree {
    struct prefix_node **buckets;
    size_t n_buckets, n_nodes;
    uint64_t last_serial;
    uint64_t seed; /* random, so that nobody can aim at one bucket */
};

int prefix_tree_create(struct prefix_tree **out, struct error *e)
{
    struct prefix_tree *t = calloc(1, sizeof *t);
    struct prefix_node **buckets = calloc(FIRST_BUCKETS, sizeof *buckets);
    if (!t || !buckets) {
        free(t);
        free(buckets);
        return error_no_memory(e);
    }
    t->buckets = buckets;
    t->n_buckets = FIRST_BUCKETS;
    if (getrandom(&t->seed, sizeof t->seed, GRND_NONBLOCK) < 0)
        t->seed = clock_ns();
    *out = t;
    return 0;
}

void prefix_tree_free(struct prefix_tree *t)
{
    if (!t)
        return;
    free(t->buckets);
    free(t);
}

static uint64_t key_hash(const struct prefix_tree *t, uint64_t salt, uint64_t parent, const int32_t *tokens)
{
    uint64_t h = hash_mix(hash_mix(t->seed, salt), parent);
    for (size_t i = 0; i < KV_PAGE_TOKENS; i += 2)
        h = hash_mix(h, (uint64_t)(uint32_t)tokens[i] << 32 | (uint32_t)tokens[i + 1]);
    return h;
}

static struct prefix_node *look_up(const struct prefix_tree *t, uint64_t salt, uint64_t parent,
                                   const int32_t *tokens)
{
    uint64_t hash = key_hash(t, salt, parent, tokens);
    struct prefix_node *n = t->buckets[hash & (t->n_buckets - 1)];
    while (n && !(n->hash == hash && n->salt == salt && n->parent == parent &&
                  memcmp(n->tokens, tokens, sizeof n->tokens) == 0))
        n = n->next;
    return n;
}

size_t prefix_find(struct prefix_tree *t, uint64_t salt, const int32_t *tokens, size_t n,
                   struct kv_page **pages, uint64_t *last)
{
    size_t found = 0;
    *last = 0;
    for (; (found + 1) * KV_PAGE_TOKENS <= n; found++) {
        struct prefix_node *node = look_up(t, salt, *last, tokens + found * KV_PAGE_TOKENS);
        if (!node)
            break;
        kv_page_ref(node->page);
        pages[found] = node->page;
        *last = node->serial;
    }
    return found;
}

/* A failed growth leaves longer chains, nothing worse. */
static void grow(struct prefix_tree *t)
{
    size_t n_buckets = t->n_buckets * 2;
    struct prefix_node **buckets = calloc(n_buckets, sizeof *buckets);
    if (!buckets)
        return;
    for (size_t i = 0; i < t->n_buckets; i++) {
        for (struct prefix_node *n = t->buckets[i], *next; n; n = next) {
            next = n->next;
            n->next = buckets[n->hash & (n_buckets - 1)];
            buckets[n->hash & (n_buckets - 1)] = n;
        }
    }
    free(t->buckets);
    t->buckets = buckets;
    t->n_buckets = n_buckets;
}

uint64_t prefix_insert(struct prefix_tree *t, uint64_t salt, uint64_t parent, const int32_t *tokens,
                       struct kv_page *page)
{
    struct prefix_node *n = look_up(t, salt, parent, tokens);
    if (n)
        return n->serial;
    n = calloc(1, sizeof *n);
    if (!n)
        return 0;
    if (t->n_nodes >= t->n_buckets)
        grow(t);
    n->hash = key_hash(t, salt, parent, tokens);
    n->serial = ++t->last_serial;
    n->parent = parent;
    n->salt = salt;
    n->page = page;
    memcpy(n->tokens, tokens, sizeof n->tokens);
    struct prefix_node **bucket = &t->buckets[n->hash & (t->n_buckets - 1)];
    n->next = *bucket;
    *bucket = n;
    t->n_nodes++;
    kv_page_remember(page, n);
    return n->serial;
}

void prefix_tree_forget(void *tree, struct kv_page *page)
{
    struct prefix_tree *t = tree;
    struct prefix_node *n = page->memory_of;
    struct prefix_node **link = &t->buckets[n->hash & (t->n_buckets - 1)];
    while (*link != n)
        link = &(*link)->next;
    *link = n->next;
    t->n_nodes--;
    free(n);
}
