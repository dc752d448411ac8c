/* output.h - a file that appears whole or not at all: written under no name (O_TMPFILE) or a hidden one,
 * synced, then linked or renamed to its place.  Called by the writers of checkpoints; one thread. */
#ifndef LOQUAT_FORMATS_OUTPUT_H
#define LOQUAT_FORMATS_OUTPUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/error.h"

struct output;

/* replace: whether a file that is there may be replaced; else it is an error, now and at the commit. */
int output_open(const char *path, bool replace, struct output **out, struct error *e);
int output_write(struct output *o, const void *data, size_t n, struct error *e);
uint64_t output_offset(const struct output *o); /* bytes written so far */
/* Bytes of `fill` up to the next multiple of `alignment`. */
int output_pad(struct output *o, uint64_t alignment, uint8_t fill, struct error *e);
/* The file gets its name; o is gone in any case. */
int output_commit_take(struct output *o, struct error *e);
void output_discard(struct output *o); /* nothing is left; NULL is fine */

#endif
