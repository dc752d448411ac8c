/* arena.h - memory that lives and dies with one owner: a request, a checkpoint being read.
 * Allocations are 16-byte aligned, zeroed, never freed one by one.  The ceiling is given at birth.
 * Thread: one at a time. */
#ifndef LOQUAT_BASE_ARENA_H
#define LOQUAT_BASE_ARENA_H

#include <stddef.h>

struct arena;

struct arena *arena_create(size_t max_bytes); /* NULL when memory is out */
void arena_free(struct arena *a);             /* NULL is fine */
size_t arena_used(const struct arena *a);

/* NULL when the ceiling or the machine is reached, or count * size overflows. */
void *arena_alloc(struct arena *a, size_t count, size_t size);
char *arena_copy(struct arena *a, const char *bytes, size_t len); /* adds a terminating zero */
char *arena_printf(struct arena *a, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
