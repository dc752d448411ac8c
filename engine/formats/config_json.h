/* config_json.h - the JSON files of a checkpoint's folder.  Called by whoever in formats/ reads one.
 * Python's json module writes integers of any size (1000000000000000019884624838656 for "no limit" is in
 * many a tokenizer_config.json); those beyond 64 bits are read as real numbers.  Thread: any. */
#ifndef LOQUAT_FORMATS_CONFIG_JSON_H
#define LOQUAT_FORMATS_CONFIG_JSON_H

#include <jansson.h>

#include "engine/base/arena.h"
#include "engine/base/bytes.h"

/* text as JSON; a new reference.  Errors are ERROR_BAD_FORMAT with line and column. */
int config_json_parse(const char *text, size_t len, json_t **out, struct error *e);

/* FOLDER/NAME, whose root must be an object, or *out = NULL and 0 when there is no such file; a new
 * reference.  Errors begin with the name. */
int config_json_read(const char *folder, const char *name, json_t **out, struct error *e);
/* The same for any root. */
int config_json_read_any(const char *folder, const char *name, json_t **out, struct error *e);

/* The whole file as text with a terminating zero, in a; *text is NULL when there is no such file. */
int config_text_read(const char *folder, const char *name, struct arena *a, char **text, size_t *len,
                     struct error *e);

#endif
