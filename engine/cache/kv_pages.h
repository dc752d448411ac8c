/* kv_pages.h - key-value memory in reference-counted pages of KV_PAGE_TOKENS tokens, under one hard
 * ceiling for all models (after vLLM's PagedAttention, Kwon et al., 2023).
 * A page whose last reference goes is kept while something remembers it (kv_page_remember(): the
 * prefix tree) and is taken back least recently used first, from whichever model.
 * Thread: the scheduler's. */
#ifndef LOQUAT_CACHE_KV_PAGES_H
#define LOQUAT_CACHE_KV_PAGES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/error.h"

struct kv_pool;  /* the ceiling */
struct kv_cache; /* one model's pages, all of one size */

struct kv_page {
    void *data; /* page_bytes, 64-byte aligned, not cleared */
    uint32_t refs;
    struct kv_cache *cache;
    void *memory_of;               /* what remembers it, or NULL */
    struct kv_page *newer, *older; /* in the list of unreferenced, remembered pages */
};

int kv_pool_create(uint64_t ceiling_bytes, struct kv_pool **out, struct error *e);
void kv_pool_free(struct kv_pool *p); /* after its caches */
uint64_t kv_pool_ceiling(const struct kv_pool *p);

/* on_forget(context, page) runs when a remembered page is taken back for other use. */
int kv_cache_create(struct kv_pool *p, size_t page_bytes,
                    void (*on_forget)(void *context, struct kv_page *page), void *context,
                    struct kv_cache **out, struct error *e);
void kv_cache_free(struct kv_cache *c);

/* A page with one reference, or NULL when neither room under the ceiling nor a forgettable page is left. */
struct kv_page *kv_page_take(struct kv_cache *c);
void kv_page_ref(struct kv_page *page);
void kv_page_unref(struct kv_page *page);
/* While holder is not NULL, the page outlives its last reference until memory is needed. */
void kv_page_remember(struct kv_page *page, void *holder);

/* How many pages of this cache could be taken now, forgetting what can be forgotten. */
size_t kv_cache_available(const struct kv_cache *c);

/* Frees what is only kept at hand: nobody needs a page for a while. */
void kv_pool_trim(struct kv_pool *p);

struct kv_counts {
    uint64_t total, used, cached; /* bytes: the ceiling; referenced; unreferenced but remembered */
    uint64_t spare;               /* freed but kept at hand */
};
struct kv_counts kv_pool_counts(const struct kv_pool *p);

#endif
