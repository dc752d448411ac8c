/* string_table.c - see string_table.h.  Open addressing, at most half full. */
#include "engine/base/string_table.h"

#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "engine/base/clock.h"
#include "engine/base/hash.h"

int string_table_init(struct string_table *t, size_t max_entries, struct error *e)
{
    memset(t, 0, sizeof *t);
    size_t size = 16;
    while (size / 2 < max_entries) {
        if (size > SIZE_MAX / 4)
            return error_no_memory(e);
        size *= 2;
    }
    if (getrandom(&t->seed, sizeof t->seed, GRND_NONBLOCK) != (ssize_t)sizeof t->seed)
        t->seed = hash_mix(clock_ns(), (uintptr_t)t);
    t->slots = calloc(size, sizeof *t->slots);
    if (!t->slots)
        return error_no_memory(e);
    t->mask = size - 1;
    return 0;
}

void string_table_free(struct string_table *t)
{
    free(t->slots);
    memset(t, 0, sizeof *t);
}

static uint64_t hash_text(uint64_t seed, const char *text, size_t len)
{
    uint64_t h = hash_mix(seed, len);
    while (len > 0) {
        uint64_t word = 0;
        size_t n = len < sizeof word ? len : sizeof word;
        memcpy(&word, text, n);
        h = hash_mix(h, word);
        text += n;
        len -= n;
    }
    return h;
}

/* The slot that holds the text, or the free one where it belongs. */
static struct string_slot *slot_of(const struct string_table *t, const char *text, size_t len)
{
    size_t i = (size_t)hash_text(t->seed, text, len) & t->mask;
    while (t->slots[i].text && (t->slots[i].len != len || memcmp(t->slots[i].text, text, len) != 0))
        i = (i + 1) & t->mask;
    return &t->slots[i];
}

int32_t string_table_add(struct string_table *t, const char *text, size_t len, int32_t value)
{
    struct string_slot *slot = slot_of(t, text, len);
    if (slot->text)
        return slot->value;
    *slot = (struct string_slot){text, (uint32_t)len, value};
    return -1;
}

int32_t string_table_find(const struct string_table *t, const char *text, size_t len)
{
    if (!t->slots)
        return -1;
    const struct string_slot *slot = slot_of(t, text, len);
    return slot->text ? slot->value : -1;
}
