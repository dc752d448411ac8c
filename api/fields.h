/* fields.h - declarative request readers.
 * An endpoint declares the fields of its body in a table; fields_read() fills a struct from JSON and refuses,
 * by name, what is unknown, of the wrong type or out of range.  The tables are also the documentation: names,
 * limits, defaults and help are kept nowhere else.  null means absent, as OpenAI's clients send it. Thread:
 * any; tables are constant, memory comes from the arena, strings stay in the JSON value (borrowed). */
#ifndef LOQUAT_API_FIELDS_H
#define LOQUAT_API_FIELDS_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/arena.h"
#include "engine/base/error.h"
#include "engine/engine.h"

enum field_type {
    FIELD_BOOL,    /* bool */
    FIELD_INT,     /* int64_t in min..max; 3.0 is taken as 3 */
    FIELD_NUMBER,  /* double in min..max */
    FIELD_STRING,  /* struct engine_text of min..max bytes (max 0: the body's limit); absent: bytes NULL */
    FIELD_STRINGS, /* struct field_texts: a string or at most max of them, each of at most max_bytes bytes */
    FIELD_IDS,     /* struct field_ids: at most max token ids; their vocabulary is the caller's to check */
    FIELD_OBJECT,  /* an object with the table `nested`, read into the same struct */
    FIELD_JSON,    /* const json_t * of one of `kinds`, borrowed; NULL when absent */
    FIELD_ALIAS,   /* another name of the field `of` */
    FIELD_NO_EFFECT,   /* any value; help says why it changes nothing */
    FIELD_UNSUPPORTED, /* refused, except the values in the JSON list `neutral`, which change nothing */
};

enum { FIELD_KIND_STRING = 1, FIELD_KIND_ARRAY = 2, FIELD_KIND_OBJECT = 4, FIELD_KIND_BOOL = 8 };

struct field_texts {
    const struct engine_text *items;
    size_t n;
};

struct field_ids {
    const int32_t *items;
    size_t n;
};

struct field_table;

/* What a model must have for a field to mean something, beyond the endpoint's own need; for /v1/capabilities.
 */
enum field_needs { FIELD_NEEDS_NOTHING, FIELD_NEEDS_EFFORT, FIELD_NEEDS_DOCUMENTS, FIELD_NEEDS_INFILL };

struct field {
    const char *name;
    enum field_type type;
    size_t offset; /* of the value in the struct */
    size_t given;  /* offset of a bool that is set when the field is there; 0 = not wanted */
    bool required;
    bool may_be_empty;         /* STRINGS: items of no bytes too */
    double min, max, fallback; /* fallback: of BOOL, INT and NUMBER when absent */
    size_t max_bytes;
    unsigned kinds;
    const char *of, *neutral;
    const char *const *one_of;        /* STRING: the allowed values, NULL-terminated; or NULL */
    const struct field_table *nested; /* of OBJECT; of a JSON list the table that its items are read with */
    const char *schema;               /* JSON: its JSON schema as text, where kinds say too little; or NULL */
    enum field_needs needs;
    const char *help;
};

/* Rows that several endpoints share, put at `base` of the struct. */
struct field_group {
    const struct field *rows;
    size_t n_rows;
    size_t base;
};

struct field_table {
    const struct field_group *groups;
    size_t n_groups;
    size_t size; /* of the struct that api_call_begin() makes for it: call->state, the fields first */
};

#define FIELD_COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define FIELD_HARMLESS(field_name, why)                                                                      \
    {                                                                                                        \
        .name = (field_name), .type = FIELD_NO_EFFECT, .help = (why)                                         \
    }
#define FIELD_REFUSED(field_name, values, why)                                                               \
    {                                                                                                        \
        .name = (field_name), .type = FIELD_UNSUPPORTED, .neutral = (values), .help = (why)                  \
    }
#define FIELD_GROUP(array, base_offset)                                                                      \
    {                                                                                                        \
        (array), FIELD_COUNT(array), (base_offset)                                                           \
    }
#define FIELD_TABLE(groups_array, struct_size)                                                               \
    {                                                                                                        \
        (groups_array), FIELD_COUNT(groups_array), (struct_size)                                             \
    }

/* Writes the fallbacks; everything else becomes absent. */
void fields_defaults(const struct field_table *table, void *out);

/* Fills *out from the object.  prefix comes before names in errors ("messages[2]."), "" for a body.
 * Errors: ERROR_INVALID_REQUEST or ERROR_UNSUPPORTED with param set. */
int fields_read(const struct field_table *table, const json_t *object, const char *prefix,
                struct arena *arena, void *out, struct error *e);

/* A list of token ids in 0..INT32_MAX; name is for errors. */
int fields_ids(const json_t *list, const char *name, size_t max, struct arena *arena, struct field_ids *out,
               struct error *e);
/* A string or a list of 1..max strings, each of min_bytes..max_bytes bytes. */
int fields_texts(const json_t *value, const char *name, size_t max, size_t min_bytes, size_t max_bytes,
                 struct arena *arena, struct field_texts *out, struct error *e);

#endif
