/* string_table.h - texts to numbers: metadata keys, tensor names, vocabularies.
 * The size is given at birth; the hash is seeded at random, so a stranger's file cannot buy
 * quadratic time.  Texts are borrowed and may hold zero bytes.
 * Thread: any number of readers once the last add is done. */
#ifndef LOQUAT_BASE_STRING_TABLE_H
#define LOQUAT_BASE_STRING_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/error.h"

struct string_slot {
    const char *text; /* NULL: free */
    uint32_t len;
    int32_t value;
};

struct string_table {
    struct string_slot *slots; /* (mask + 1) */
    size_t mask;
    uint64_t seed;
};

int string_table_init(struct string_table *t, size_t max_entries, struct error *e);
void string_table_free(struct string_table *t); /* also of a zeroed one */

/* Stores value >= 0 and returns -1, or returns the value stored for an equal text before.
 * At most max_entries texts may be added. */
int32_t string_table_add(struct string_table *t, const char *text, size_t len, int32_t value);
int32_t string_table_find(const struct string_table *t, const char *text, size_t len); /* -1 when absent */

#endif
