/* panel_memory.c - where packed weights live: slabs of whole huge pages, filled one tensor after another.
 * Most matrices of a small model are smaller than a few huge pages.  Side by side they need few address
 * translations, and what lies after a tensor is the one that is used next: asking for memory ahead of the
 * digits in use runs on into it.  Measured (SmolLM2-135M, one row, two cores of Zen 5): matrices of their own
 * on pages of 4 KiB were read at 22 GB/s, a large one on huge pages at 43 GB/s.
 *
 * A slab goes back to the system with its last tensor.
 * Thread: any; a lock guards the slab being filled. */
#include <pthread.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "engine/kernels/set.h"

enum { SLAB_BYTES = 32 << 20, HUGE_PAGE = 2 << 20, CACHE_LINE = 64 };

struct panel_slab {
    uint8_t *start; /* on a huge page's boundary */
    size_t bytes, used;
    size_t tensors; /* alive in it */
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct panel_slab *filling; /* or NULL */

/* Asks for a huge page more than is needed, and gives back what lies round the aligned part. */
static uint8_t *map_aligned(size_t bytes)
{
    size_t whole = bytes + HUGE_PAGE;
    uint8_t *p =
        mmap(NULL, whole, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED)
        return NULL;
    size_t before = (HUGE_PAGE - (uintptr_t)p % HUGE_PAGE) % HUGE_PAGE;
    if (before > 0)
        munmap(p, before);
    munmap(p + before + bytes, HUGE_PAGE - before);
    madvise(p + before, bytes, MADV_HUGEPAGE); /* a wish: refusal costs speed only */
    return p + before;
}

static struct panel_slab *slab_create(size_t bytes)
{
    struct panel_slab *s = calloc(1, sizeof *s);
    if (!s)
        return NULL;
    s->bytes = bytes;
    s->start = map_aligned(bytes);
    if (s->start)
        return s;
    free(s);
    return NULL;
}

static void slab_free(struct panel_slab *s)
{
    munmap(s->start, s->bytes);
    free(s);
}

/* The slab being filled, or a new one when `bytes` do not fit: the rest of the old stays unused. */
static struct panel_slab *slab_for(size_t bytes)
{
    if (filling && filling->bytes - filling->used >= bytes)
        return filling;
    struct panel_slab *s = slab_create(bytes > SLAB_BYTES ? (bytes + HUGE_PAGE - 1) / HUGE_PAGE * HUGE_PAGE
                                                          : (size_t)SLAB_BYTES);
    if (!s)
        return NULL;
    filling = s;
    return s;
}

void *panels_take(size_t bytes, struct panel_slab **home)
{
    void *panels = NULL;
    if (bytes > SIZE_MAX / 2)
        return NULL;
    bytes = (bytes + CACHE_LINE - 1) / CACHE_LINE * CACHE_LINE;
    pthread_mutex_lock(&lock);
    *home = slab_for(bytes);
    if (*home) {
        panels = (*home)->start + (*home)->used;
        (*home)->used += bytes;
        (*home)->tensors++;
    }
    pthread_mutex_unlock(&lock);
    return panels;
}

void panels_give_back(struct panel_slab *home)
{
    if (!home)
        return;
    pthread_mutex_lock(&lock);
    if (--home->tensors == 0) {
        if (home == filling)
            filling = NULL;
        slab_free(home);
    }
    pthread_mutex_unlock(&lock);
}
