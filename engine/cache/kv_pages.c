/* kv_pages.c - see kv_pages.h.
 * Memory goes around in three states: referenced; unreferenced but remembered (a list, oldest first);
 * spare (freed pages a cache keeps at hand, so that a busy server does not fault the same memory in
 * again and again).  All three count against the ceiling, which is checked before malloc is asked.
 * To change what is forgotten first: edit forget_oldest(), nothing else. */
#include "engine/cache/kv_pages.h"

#include <stdlib.h>
#include <string.h>

enum {
    PAGE_ALIGNMENT = 64,
    SPARE_PAGES = 32,      /* of one cache */
    SPARE_BYTES = 1 << 20, /* and no more than this, or one page: it is memory that serves nobody */
};

struct kv_pool {
    uint64_t ceiling, allocated; /* bytes of page memory */
    struct kv_counts counts;
    struct kv_page *oldest, *newest;
    struct kv_cache *caches;
};

struct kv_cache {
    struct kv_pool *pool;
    struct kv_cache *next;
    size_t page_bytes, remembered; /* remembered: unreferenced pages of this cache */
    void (*on_forget)(void *context, struct kv_page *page);
    void *context;
    struct kv_page *spare[SPARE_PAGES];
    size_t n_spare;
};

int kv_pool_create(uint64_t ceiling_bytes, struct kv_pool **out, struct error *e)
{
    struct kv_pool *p = calloc(1, sizeof *p);
    if (!p)
        return error_no_memory(e);
    p->ceiling = ceiling_bytes;
    p->counts.total = ceiling_bytes;
    *out = p;
    return 0;
}

void kv_pool_free(struct kv_pool *p)
{
    free(p);
}

uint64_t kv_pool_ceiling(const struct kv_pool *p)
{
    return p->ceiling;
}

int kv_cache_create(struct kv_pool *p, size_t page_bytes,
                    void (*on_forget)(void *context, struct kv_page *page), void *context,
                    struct kv_cache **out, struct error *e)
{
    struct kv_cache *c = calloc(1, sizeof *c);
    if (!c)
        return error_no_memory(e);
    c->pool = p;
    c->page_bytes = page_bytes;
    c->on_forget = on_forget;
    c->context = context;
    c->next = p->caches;
    p->caches = c;
    *out = c;
    return 0;
}

static void list_remove(struct kv_pool *p, struct kv_page *page)
{
    if (page->older)
        page->older->newer = page->newer;
    else
        p->oldest = page->newer;
    if (page->newer)
        page->newer->older = page->older;
    else
        p->newest = page->older;
    page->older = page->newer = NULL;
    page->cache->remembered--;
    p->counts.cached -= page->cache->page_bytes;
}

static void list_append(struct kv_pool *p, struct kv_page *page)
{
    page->older = p->newest;
    page->newer = NULL;
    if (p->newest)
        p->newest->newer = page;
    else
        p->oldest = page;
    p->newest = page;
    page->cache->remembered++;
    p->counts.cached += page->cache->page_bytes;
}

static void release_memory(struct kv_page *page)
{
    page->cache->pool->allocated -= page->cache->page_bytes;
    free(page->data);
    free(page);
}

/* The page leaves its holder's memory; it is referenced by nobody. */
static void forget(struct kv_page *page)
{
    list_remove(page->cache->pool, page);
    page->cache->on_forget(page->cache->context, page);
    page->memory_of = NULL;
}

static struct kv_page *allocate(struct kv_cache *c)
{
    struct kv_page *page = calloc(1, sizeof *page);
    void *data = page ? aligned_alloc(PAGE_ALIGNMENT, c->page_bytes) : NULL;
    if (!data) {
        free(page);
        return NULL;
    }
    page->data = data;
    page->cache = c;
    c->pool->allocated += c->page_bytes;
    return page;
}

/* Gives another cache's spare memory back to the machine. */
static bool drop_spare_of_others(struct kv_cache *c)
{
    for (struct kv_cache *other = c->pool->caches; other; other = other->next) {
        if (other != c && other->n_spare) {
            release_memory(other->spare[--other->n_spare]);
            return true;
        }
    }
    return false;
}

/* The least recently used remembered page: reused when it is the cache's own, else its memory goes. */
static struct kv_page *forget_oldest(struct kv_cache *c)
{
    struct kv_page *page = c->pool->oldest;
    forget(page);
    if (page->cache == c)
        return page;
    release_memory(page);
    return NULL;
}

static struct kv_page *find_page(struct kv_cache *c)
{
    if (c->n_spare)
        return c->spare[--c->n_spare];
    while (c->pool->ceiling - c->pool->allocated < c->page_bytes) {
        if (drop_spare_of_others(c))
            continue;
        if (!c->pool->oldest)
            return NULL;
        struct kv_page *page = forget_oldest(c);
        if (page)
            return page;
    }
    return allocate(c);
}

struct kv_page *kv_page_take(struct kv_cache *c)
{
    struct kv_page *page = find_page(c);
    if (!page)
        return NULL;
    page->refs = 1;
    c->pool->counts.used += c->page_bytes;
    return page;
}

void kv_page_ref(struct kv_page *page)
{
    if (page->refs++ > 0)
        return;
    list_remove(page->cache->pool, page);
    page->cache->pool->counts.used += page->cache->page_bytes;
}

static void keep_or_release(struct kv_page *page)
{
    struct kv_cache *c = page->cache;
    if (c->n_spare == 0 || (c->n_spare < SPARE_PAGES && (c->n_spare + 1) * c->page_bytes <= SPARE_BYTES))
        c->spare[c->n_spare++] = page;
    else
        release_memory(page);
}

void kv_page_unref(struct kv_page *page)
{
    if (--page->refs > 0)
        return;
    page->cache->pool->counts.used -= page->cache->page_bytes;
    if (page->memory_of)
        list_append(page->cache->pool, page);
    else
        keep_or_release(page);
}

void kv_page_remember(struct kv_page *page, void *holder)
{
    page->memory_of = holder;
}

static uint64_t spare_bytes(const struct kv_pool *p)
{
    uint64_t bytes = 0;
    for (const struct kv_cache *c = p->caches; c; c = c->next)
        bytes += (uint64_t)c->n_spare * c->page_bytes;
    return bytes;
}

size_t kv_cache_available(const struct kv_cache *c)
{
    const struct kv_pool *p = c->pool;
    return (size_t)((p->ceiling - p->allocated + p->counts.cached + spare_bytes(p)) / c->page_bytes);
}

void kv_pool_trim(struct kv_pool *p)
{
    for (struct kv_cache *c = p->caches; c; c = c->next) {
        while (c->n_spare)
            release_memory(c->spare[--c->n_spare]);
    }
}

struct kv_counts kv_pool_counts(const struct kv_pool *p)
{
    struct kv_counts counts = p->counts;
    counts.spare = spare_bytes(p);
    return counts;
}

void kv_cache_free(struct kv_cache *c)
{
    if (!c)
        return;
    struct kv_pool *p = c->pool;
    for (struct kv_page *page = p->oldest, *next; page; page = next) {
        next = page->newer;
        if (page->cache == c) {
            forget(page);
            release_memory(page);
        }
    }
    while (c->n_spare)
        release_memory(c->spare[--c->n_spare]);
    struct kv_cache **link = &p->caches;
    while (*link != c)
        link = &(*link)->next;
    *link = c->next;
    free(c);
}
