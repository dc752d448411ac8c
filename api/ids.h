/* ids.h - names that nobody has had before: of responses, items and calls.  Any thread. */
#ifndef LOQUAT_API_IDS_H
#define LOQUAT_API_IDS_H

#include <stddef.h>
#include <stdint.h>

#include "engine/base/arena.h"

extern const char id_letters[]; /* digits and letters of ASCII */

uint64_t id_seed(void); /* random */
/* n letters and a zero that follow from the state. */
void id_write(uint64_t state, size_t n, char *out);
/* The prefix and 32 random letters; arena memory, NULL when it is full. */
const char *id_new(struct arena *arena, const char *prefix);

#endif
