/* ids.c - see ids.h. */
#include "api/ids.h"

#include <string.h>
#include <sys/random.h>

#include "engine/base/clock.h"

enum { NEW_LETTERS = 32 };

const char id_letters[] = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";

/* A clock is a poor but sufficient source where the kernel has no randomness yet. */
uint64_t id_seed(void)
{
    uint64_t seed;
    if (getrandom(&seed, sizeof seed, GRND_NONBLOCK) != (ssize_t)sizeof seed)
        seed = clock_ns() * 0x9e3779b97f4a7c15u;
    return seed;
}

/* SplitMix64 (Steele et al., 2014). */
static uint64_t mix(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

void id_write(uint64_t state, size_t n, char *out)
{
    while (n--)
        *out++ = id_letters[mix(&state) % (sizeof id_letters - 1)];
    *out = 0;
}

/* Two seeds, so that ids are hard to guess as well. */
const char *id_new(struct arena *arena, const char *prefix)
{
    size_t len = strlen(prefix);
    char *id = arena_alloc(arena, len + NEW_LETTERS + 1, 1);
    if (!id)
        return NULL;
    memcpy(id, prefix, len);
    id_write(id_seed(), NEW_LETTERS / 2, id + len);
    id_write(id_seed(), NEW_LETTERS / 2, id + len + NEW_LETTERS / 2);
    return id;
}
