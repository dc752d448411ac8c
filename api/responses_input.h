/* responses_input.h - the Responses API's input items and tools in the common shape of conversation.h.
 * Callers: responses.c, on a worker thread. */
#ifndef LOQUAT_API_RESPONSES_INPUT_H
#define LOQUAT_API_RESPONSES_INPUT_H

#include <jansson.h>

#include "engine/base/arena.h"
#include "engine/base/error.h"

struct field_table;

extern const struct field_table responses_tool_table; /* of one tool */

/* Appends to messages what a text or a list of items says; items: a new list of them all, as objects.
 * Errors name the field: "input[2].content[0].type". */
int responses_read_input(const json_t *input, struct arena *arena, json_t *messages, json_t **items,
                         struct error *e);
/* A new list; NULL for none. */
int responses_read_tools(const json_t *tools, struct arena *arena, json_t **out, struct error *e);

#endif
