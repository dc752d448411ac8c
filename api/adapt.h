/* adapt.h - messages in the common shape as one template wants them.
 * Callers: prompt.c, on a worker thread.  What templates differ in is in traits.h. */
#ifndef LOQUAT_API_ADAPT_H
#define LOQUAT_API_ADAPT_H

#include <jansson.h>

#include "api/traits.h"
#include "engine/base/error.h"

/* *out is a new list.  Where the template has no place for them, calls and results become text, and tools (or
 * NULL) are described in the system message, or in the first message where there can be none. */
int adapt_messages(const struct template_traits *traits, const json_t *messages, const json_t *tools,
                   json_t **out, struct error *e);

#endif
