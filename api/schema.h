/* schema.h - JSON Schema (draft 2020-12, as strict mode and tools use it) to a grammar of compact JSON.
 * What the grammar accepts is valid for the schema; what the schema can't be held to is refused by the name
 * and the JSON pointer of the keyword.  Members come in the order of `properties`, optional ones may be left
 * out; one space may follow a comma or a colon, nothing else is white space, so that no answer runs on with
 * blanks. Strings are written as they are: escapes only for quotes, backslashes and control characters.
 * Files: schema.c, schema_*.c; regex.h for patterns and formats.  Any thread. */
#ifndef LOQUAT_API_SCHEMA_H
#define LOQUAT_API_SCHEMA_H

#include <jansson.h>

#include "engine/base/buf.h"
#include "engine/base/error.h"

/* Appends rules to out: `rule`, and others whose names begin with it and "-".
 * Errors: ERROR_INVALID_REQUEST for what is no schema or can't be met by any value, ERROR_UNSUPPORTED for
 * what can't be enforced; the text begins with the place, "#/properties/age/minimum: …". */
int schema_write(const json_t *schema, const char *rule, struct buf *out, struct error *e);

/* Where in the schema a rule comes from: the comment that schema_write() put before it; NULL for others. */
const char *schema_place(const char *grammar, const char *rule, size_t rule_len, size_t *len);

#endif
