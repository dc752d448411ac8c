/* responses_store.c - see responses_store.h.  A list in the order of use: a lookup walks at most
 * LIMIT_RESPONSES ids. */
#include "api/responses_store.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/limits.h"

struct entry {
    struct entry *next, *previous;
    uint64_t salt;
    bool running, cancelled;
    size_t bytes;
    char *texts[3]; /* by enum response_part, in the same block as the entry */
    char id[];
};

struct response_store {
    pthread_mutex_t lock;
    struct entry *first, *last; /* first: used last */
    size_t n, bytes;
};

int response_store_create(struct response_store **out, struct error *e)
{
    struct response_store *s = calloc(1, sizeof *s);
    if (!s || pthread_mutex_init(&s->lock, NULL) != 0) {
        free(s);
        return error_no_memory(e);
    }
    *out = s;
    return 0;
}

static void unlink_entry(struct response_store *s, struct entry *x)
{
    *(x->previous ? &x->previous->next : &s->first) = x->next;
    *(x->next ? &x->next->previous : &s->last) = x->previous;
    s->n--;
    s->bytes -= x->bytes;
}

static void link_first(struct response_store *s, struct entry *x)
{
    x->previous = NULL;
    x->next = s->first;
    *(s->first ? &s->first->previous : &s->last) = x;
    s->first = x;
    s->n++;
    s->bytes += x->bytes;
}

void response_store_free(struct response_store *s)
{
    if (!s)
        return;
    while (s->first) {
        struct entry *x = s->first;
        unlink_entry(s, x);
        free(x);
    }
    pthread_mutex_destroy(&s->lock);
    free(s);
}

static struct entry *find(struct response_store *s, const char *id, uint64_t salt)
{
    struct entry *x = s->first;
    while (x && (x->salt != salt || strcmp(x->id, id) != 0))
        x = x->next;
    return x;
}

static void drop(struct response_store *s, struct entry *x)
{
    if (!x)
        return;
    unlink_entry(s, x);
    free(x);
}

static struct entry *make_entry(const char *id, const struct response_record *r, size_t bytes)
{
    struct entry *x = calloc(1, bytes);
    const char *const texts[] = {r->response, r->input, r->history};
    if (!x)
        return NULL;
    char *at = x->id;
    memcpy(at, id, strlen(id) + 1);
    at += strlen(id) + 1;
    for (size_t i = 0; i < 3; i++) {
        size_t n = strlen(texts[i]) + 1;
        x->texts[i] = at;
        memcpy(at, texts[i], n);
        at += n;
    }
    x->bytes = bytes;
    return x;
}

void response_store_put(struct response_store *s, const char *id, uint64_t salt,
                        const struct response_record *r, bool running)
{
    size_t bytes =
        sizeof(struct entry) + strlen(id) + strlen(r->response) + strlen(r->input) + strlen(r->history) + 4;
    struct entry *x = bytes <= LIMIT_RESPONSES_BYTES ? make_entry(id, r, bytes) : NULL;
    pthread_mutex_lock(&s->lock);
    drop(s, find(s, id, salt));
    while (x && s->last && (s->n >= LIMIT_RESPONSES || s->bytes > LIMIT_RESPONSES_BYTES - bytes))
        drop(s, s->last);
    if (x) {
        x->salt = salt;
        x->running = running;
        link_first(s, x);
    }
    pthread_mutex_unlock(&s->lock);
}

bool response_store_get(struct response_store *s, const char *id, uint64_t salt, enum response_part part,
                        struct buf *out)
{
    pthread_mutex_lock(&s->lock);
    struct entry *x = find(s, id, salt);
    if (x) {
        unlink_entry(s, x);
        link_first(s, x);
        buf_add_text(out, x->texts[part]);
    }
    pthread_mutex_unlock(&s->lock);
    return x != NULL;
}

bool response_store_remove(struct response_store *s, const char *id, uint64_t salt)
{
    pthread_mutex_lock(&s->lock);
    struct entry *x = find(s, id, salt);
    bool found = x != NULL;
    drop(s, x);
    pthread_mutex_unlock(&s->lock);
    return found;
}

int response_store_cancel(struct response_store *s, const char *id, uint64_t salt)
{
    pthread_mutex_lock(&s->lock);
    struct entry *x = find(s, id, salt);
    int state = !x ? -1 : x->running;
    if (state == 1)
        x->cancelled = true;
    pthread_mutex_unlock(&s->lock);
    return state;
}

bool response_store_cancelled(struct response_store *s, const char *id, uint64_t salt)
{
    pthread_mutex_lock(&s->lock);
    struct entry *x = find(s, id, salt);
    bool cancelled = x && x->cancelled;
    pthread_mutex_unlock(&s->lock);
    return cancelled;
}
