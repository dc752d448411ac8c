/* openapi.h - the API as an OpenAPI 3.1 document, made of the endpoint table, the field tables and answers.c.
 * Callers: GET /openapi.json and `loquat openapi`.  Any thread. */
#ifndef LOQUAT_API_OPENAPI_H
#define LOQUAT_API_OPENAPI_H

#include <jansson.h>

#include "engine/base/error.h"

struct field;
struct field_table;

/* *out is a new value. */
int openapi_document(json_t **out, struct error *e);

#endif
