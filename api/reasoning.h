/* reasoning.h - how checkpoints mark what they think before they answer.
 * Callers: traits.c (finds a template's marks), speech.c (splits by them).  Constant tables; any thread.
 * To add a way of marking: a row in reasoning.c. */
#ifndef LOQUAT_API_REASONING_H
#define LOQUAT_API_REASONING_H

#include <stdbool.h>
#include <stddef.h>

struct reasoning_marks {
    const char *open, *close;
};

/* The marks that a chat template's source knows; NULL when it knows none. */
const struct reasoning_marks *reasoning_find(const char *source);

/* Whether a rendered prompt has opened the reasoning: it ends with the mark and white space. */
bool reasoning_is_open(const struct reasoning_marks *marks, const char *prompt, size_t len);

#endif
