/* grammar_cache.c - see constraint.h: the grammars of the last requests, whatever they were made of.
 * A list in order of use; few enough to be searched from the front.  Any thread. */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "api/constraint.h"
#include "engine/base/limits.h"

struct entry {
    struct entry *next;
    const struct engine_vocabulary *vocabulary;
    struct engine_grammar *grammar;
    size_t len;
    char key[];
};

struct grammar_cache {
    pthread_mutex_t lock;
    struct entry *first; /* used last */
};

int grammar_cache_create(struct grammar_cache **out, struct error *e)
{
    struct grammar_cache *c = calloc(1, sizeof *c);
    if (!c)
        return error_no_memory(e);
    pthread_mutex_init(&c->lock, NULL);
    *out = c;
    return 0;
}

static void drop(struct entry *e)
{
    engine_grammar_release(e->grammar);
    free(e);
}

void grammar_cache_free(struct grammar_cache *c)
{
    if (!c)
        return;
    while (c->first) {
        struct entry *e = c->first;
        c->first = e->next;
        drop(e);
    }
    pthread_mutex_destroy(&c->lock);
    free(c);
}

/* Moves it to the front; NULL when it is not there. */
static struct entry *use(struct grammar_cache *c, const struct engine_vocabulary *v, const char *key,
                         size_t len)
{
    for (struct entry **link = &c->first; *link; link = &(*link)->next) {
        struct entry *e = *link;
        if (e->vocabulary != v || e->len != len || memcmp(e->key, key, len) != 0)
            continue;
        *link = e->next;
        e->next = c->first;
        c->first = e;
        return e;
    }
    return NULL;
}

struct engine_grammar *grammar_cache_find(struct grammar_cache *c, const struct engine_vocabulary *v,
                                          const char *key, size_t len)
{
    pthread_mutex_lock(&c->lock);
    struct entry *e = use(c, v, key, len);
    struct engine_grammar *g = e ? engine_grammar_share(e->grammar) : NULL;
    pthread_mutex_unlock(&c->lock);
    return g;
}

/* What is behind the limits goes; the newest stays in any case. */
static void trim(struct grammar_cache *c)
{
    size_t n = 0, bytes = 0;
    struct entry **link = &c->first;
    while (*link) {
        bytes += (*link)->len + engine_grammar_bytes((*link)->grammar);
        if (++n > 1 && (n > LIMIT_GRAMMARS || bytes > LIMIT_GRAMMARS_BYTES))
            break;
        link = &(*link)->next;
    }
    while (*link) {
        struct entry *e = *link;
        *link = e->next;
        drop(e);
    }
}

void grammar_cache_add(struct grammar_cache *c, const struct engine_vocabulary *v, const char *key,
                       size_t len, struct engine_grammar *g)
{
    struct entry *e = malloc(sizeof *e + len);
    if (!e)
        return;
    e->vocabulary = v;
    e->grammar = engine_grammar_share(g);
    e->len = len;
    memcpy(e->key, key, len);
    pthread_mutex_lock(&c->lock);
    if (use(c, v, key, len)) { /* another request was faster */
        drop(e);
    } else {
        e->next = c->first;
        c->first = e;
        trim(c);
    }
    pthread_mutex_unlock(&c->lock);
}
