/* pool.h - fork-join loops inside a tick.
 * Work is handed out in small chunks by an atomic counter, so one descheduled thread does not
 * stall the rest; waiting is a short spin, then a futex (DESIGN: a peer that spins at barriers
 * kept 41% of its speed beside one busy process).
 * Thread: one thread calls pool_run() at a time and takes part in the work. */
#ifndef LOQUAT_BASE_POOL_H
#define LOQUAT_BASE_POOL_H

#include <stddef.h>

#include "engine/base/error.h"

struct pool;

/* chunk: 0 .. chunks-1, each exactly once.  worker: 0 .. pool_threads()-1, for scratch memory. */
typedef void pool_fn(void *context, size_t chunk, unsigned worker);

int pool_create(unsigned threads, struct pool **out, struct error *e); /* threads counts the caller */
void pool_free(struct pool *p);
unsigned pool_threads(const struct pool *p);

/* Returns when every chunk is done; their writes are visible to the caller. */
void pool_run(struct pool *p, size_t chunks, pool_fn *fn, void *context);

/* Workers that wait for a round bring these bytes into their caches meanwhile: what the next round will read.
 * A wish, of which the last one counts; the bytes need not exist.  Thread: that of pool_run(). */
void pool_read_ahead(struct pool *p, const void *start, size_t bytes);

#endif
