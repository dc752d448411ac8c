/* prefix_tree.h - finds the longest run of full pages that an earlier sequence computed for the same tokens.
 * A node is one full page; its key is its parent, its tokens and the salt of the tree's root, found by a
 * chained hash and compared token by token, so that equal hashes never mix two users' text.
 * Where a kernel set computes prompts in another arithmetic than generated tokens, only pages whose every
 * token was computed as prompt may enter: the caller's business (sequence_keep_prefix()). Thread: the
 * scheduler's.  Owns: nothing but its nodes; pages belong to the cache and are merely remembered.
 */
#ifndef LOQUAT_CACHE_PREFIX_TREE_H
#define LOQUAT_CACHE_PREFIX_TREE_H

#include <stddef.h>
#include <stdint.h>

#include "engine/base/error.h"
#include "engine/cache/kv_pages.h"

struct prefix_tree;

int prefix_tree_create(struct prefix_tree **out, struct error *e);
void prefix_tree_free(struct prefix_tree *t); /* after its cache, which forgets every page */

/* For kv_cache_create(): drops the node of a page that is taken back. */
void prefix_tree_forget(void *tree, struct kv_page *page);

/* Pages of tokens[0 … n), longest match first to last into pages[] (room for n / KV_PAGE_TOKENS), each with a
 * new reference.  *last: the serial number of the last one, for prefix_insert().  Returns how many. */
size_t prefix_find(struct prefix_tree *t, uint64_t salt, const int32_t *tokens, size_t n,
                   struct kv_page **pages, uint64_t *last);

/* Remembers a full page that continues the node `parent` (0: the beginning) and returns its serial number.
 * When the same tokens are known already the page stays unremembered and the known node's number is returned;
 * 0 when memory is out: the chain ends there. */
uint64_t prefix_insert(struct prefix_tree *t, uint64_t salt, uint64_t parent, const int32_t *tokens,
                       struct kv_page *page);

#endif
