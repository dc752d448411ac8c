/* arena.c - see arena.h.  Blocks double from 4 KiB to 1 MiB; a large wish gets a block of its own. */
#include "engine/base/arena.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BLOCK_FIRST = 4096, BLOCK_LAST = 1 << 20, ALIGNMENT = 16 };

struct block {
    struct block *next;
    size_t used, size;
    _Alignas(ALIGNMENT) unsigned char data[];
};

struct arena {
    struct block *blocks;
    size_t used, max, next_size;
};

struct arena *arena_create(size_t max_bytes)
{
    struct arena *a = calloc(1, sizeof *a);
    if (!a)
        return NULL;
    a->max = max_bytes;
    a->next_size = BLOCK_FIRST;
    return a;
}

void arena_free(struct arena *a)
{
    if (!a)
        return;
    while (a->blocks) {
        struct block *b = a->blocks;
        a->blocks = b->next;
        free(b);
    }
    free(a);
}

size_t arena_used(const struct arena *a)
{
    return a->used;
}

static struct block *add_block(struct arena *a, size_t bytes)
{
    size_t size = bytes > a->next_size ? bytes : a->next_size;
    struct block *b = calloc(1, sizeof *b + size);
    if (!b)
        return NULL;
    b->size = size;
    b->next = a->blocks;
    a->blocks = b;
    if (a->next_size < BLOCK_LAST)
        a->next_size *= 2;
    return b;
}

void *arena_alloc(struct arena *a, size_t count, size_t size)
{
    size_t bytes;
    if (__builtin_mul_overflow(count, size, &bytes) || bytes > SIZE_MAX - ALIGNMENT)
        return NULL;
    bytes = (bytes + ALIGNMENT - 1) & ~(size_t)(ALIGNMENT - 1);
    if (bytes > a->max - a->used)
        return NULL;
    struct block *b = a->blocks;
    if (!b || b->size - b->used < bytes)
        b = add_block(a, bytes);
    if (!b)
        return NULL;
    void *p = b->data + b->used;
    b->used += bytes;
    a->used += bytes;
    return p;
}

char *arena_copy(struct arena *a, const char *bytes, size_t len)
{
    if (len == SIZE_MAX)
        return NULL;
    char *p = arena_alloc(a, len + 1, 1);
    if (p && len)
        memcpy(p, bytes, len);
    return p;
}

char *arena_printf(struct arena *a, const char *format, ...)
{
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    int len = vsnprintf(NULL, 0, format, args);
    char *p = len < 0 ? NULL : arena_alloc(a, (size_t)len + 1, 1);
    if (p)
        vsnprintf(p, (size_t)len + 1, format, again);
    va_end(again);
    va_end(args);
    return p;
}
