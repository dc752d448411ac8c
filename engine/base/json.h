/* json.h - the wrapper round jansson: size and depth are checked before the parser recurses,
 * duplicate keys are errors, and typed getters name what is wrong.  Thread: any, one per value. */
#ifndef LOQUAT_BASE_JSON_H
#define LOQUAT_BASE_JSON_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/buf.h"
#include "engine/base/error.h"

/* A new reference in *out.  Depth over LIMIT_JSON_DEPTH, bad UTF-8, duplicate keys, trailing bytes:
 * ERROR_INVALID_REQUEST with line and column. */
int json_parse(const char *text, size_t len, json_t **out, struct error *e);

/* Compact JSON text (UTF-8 kept as it is) appended to b. */
void json_write(struct buf *b, const json_t *value);
/* text as a JSON string with its quotes; bytes that are not UTF-8 become U+FFFD. */
void json_write_string(struct buf *b, const char *text, size_t len);

/* Getters for configuration objects.  Absent or null: *out is left alone and 0 is returned.
 * Wrong type or out of [min, max]: an error that names the key. */
int json_get_u64(const json_t *object, const char *key, uint64_t min, uint64_t max, uint64_t *out,
                 struct error *e);
int json_get_double(const json_t *object, const char *key, double *out, struct error *e);
int json_get_bool(const json_t *object, const char *key, bool *out, struct error *e);
int json_get_string(const json_t *object, const char *key, const char **out, struct error *e); /* borrowed */

#endif
