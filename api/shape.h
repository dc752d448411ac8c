/* shape.h - JSON schemas of answers in few words.
 *   s i n b x          string, integer, number, boolean, anything
 *   'word'             that string
 *   [T]  {a: T, b?: T} a list; an object with just these members, b not always there
 *   {*: T}             an object of any members
 *   A | B   T?         one of them; T or null
 *   Name               the schema #/components/schemas/Name
 * Callers: openapi.c, on a worker thread. */
#ifndef LOQUAT_API_SHAPE_H
#define LOQUAT_API_SHAPE_H

#include <jansson.h>
#include <stdbool.h>

#include "engine/base/error.h"

/* A new reference; NULL when the text is no shape: a mistake of ours, that tests find. */
json_t *shape_schema(const char *text);

#endif
