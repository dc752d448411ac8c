/* merge_heap.h - a binary heap of 64-bit keys, the smallest on top: candidates for a merge, whose upper half
 * says how good they are and whose lower half where they stand.  The caller gives it room beforehand.
 * Used by the byte-pair encoders of this room; one thread per heap. */
#ifndef LOQUAT_TOKENIZERS_MERGE_HEAP_H
#define LOQUAT_TOKENIZERS_MERGE_HEAP_H

#include <stddef.h>
#include <stdint.h>

struct merge_heap {
    uint64_t *keys; /* (cap) */
    size_t n, cap;
};

static inline void merge_heap_push(struct merge_heap *h, uint64_t key)
{
    size_t i = h->n++;
    while (i > 0 && h->keys[(i - 1) / 2] > key) {
        h->keys[i] = h->keys[(i - 1) / 2];
        i = (i - 1) / 2;
    }
    h->keys[i] = key;
}

/* n must not be 0. */
static inline uint64_t merge_heap_pop(struct merge_heap *h)
{
    uint64_t top = h->keys[0], last = h->keys[--h->n];
    size_t i = 0;
    for (;;) {
        size_t child = 2 * i + 1;
        if (child >= h->n)
            break;
        if (child + 1 < h->n && h->keys[child + 1] < h->keys[child])
            child++;
        if (h->keys[child] >= last)
            break;
        h->keys[i] = h->keys[child];
        i = child;
    }
    h->keys[i] = last;
    return top;
}

#endif
