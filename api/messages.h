/* messages.h - a request's messages, checked, in the common shape of conversation.h.
 * Callers: dialects with OpenAI's messages, on a worker thread. */
#ifndef LOQUAT_API_MESSAGES_H
#define LOQUAT_API_MESSAGES_H

#include <jansson.h>

#include "engine/base/arena.h"
#include "engine/base/error.h"

struct field_table;

extern const struct field_table messages_table; /* of one message */

/* *out is a new list.  Parts of content are joined by newlines.  Errors name the field: "messages[2].role".
 */
int messages_read(const json_t *messages, struct arena *arena, json_t **out, struct error *e);

#endif
