/* answers.h - what each path of the ENDPOINT TABLE answers with and what it is for: the facts that the fields
 * of its body don't tell.  Callers: openapi.c, capabilities.c; constant. To add a path: a row in answers.c.
 */
#ifndef LOQUAT_API_ANSWERS_H
#define LOQUAT_API_ANSWERS_H

#include "api/api.h"

struct answer_row {
    const char *path;
    unsigned method;
    const char *task;    /* the name that task_names() has for models that can do it; NULL: every model */
    const char *summary; /* a sentence */
    const char *shape;   /* of a 200 (shape.h); NULL: no JSON */
    const char *type;    /* Content-Type of a 200 without a shape */
};

struct answer_schema {
    const char *name, *shape;
};

/* NULL for a path that has no row; a test sees to it that all have. */
const struct answer_row *answer_find(const struct api_endpoint *endpoint);
/* Rows and named schemas; NULL past the end. */
const struct answer_row *answer_at(size_t i);
const struct answer_schema *answer_schema_at(size_t i);

#endif
