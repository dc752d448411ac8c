/* tools.h - functions that a model may call: their declarations, and the formats that checkpoints call them
 * in. Callers: conversation.c and traits.c on worker threads; speech.c reads formats on the loop. To add a
 * family's format: a row in tools.c.  A call is written as literal words around a name and a JSON object, so
 * that one row serves the grammar that constrains calls and the parser that reads them. */
#ifndef LOQUAT_API_TOOLS_H
#define LOQUAT_API_TOOLS_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "engine/base/arena.h"
#include "engine/base/buf.h"
#include "engine/base/error.h"

struct field_table;

enum tool_choice { TOOL_CHOICE_AUTO, TOOL_CHOICE_NONE, TOOL_CHOICE_REQUIRED, TOOL_CHOICE_NAMED };

enum { TOOL_ID_BYTES = 40 };

extern const struct field_table tools_table; /* of one tool */

/* In all words a space stands for white space that may be there. */
struct tool_format {
    const char *name;
    const char *const *signs;     /* texts that a template of the family has, NULL-terminated */
    const char *const *not_signs; /* and that it has not; or NULL */
    const char *mark;   /* what announces a call; NULL: only an answer that begins with one is a call */
    const char *prefix; /* what may come before the first call; or NULL */
    const char *first;  /* up to the first call's name */
    const char *middle; /* from the name to the arguments */
    const char *end;    /* from the arguments to the call's end */
    const char *next;   /* up to a further call's name */
    const char *close;  /* after the last call */
    bool indented;      /* they write JSON over several lines */
    bool single;        /* templates of the family write one call in a turn */
    unsigned id_length; /* call ids are so many letters and digits; 0: "call_" and 24 of them */
};

/* OpenAI's words: none, auto, required, or an object of type function that names one.  NULL: auto. */
int tools_read_choice(const json_t *value, const char *name, enum tool_choice *out, struct error *e);

/* The format of a template that writes tools; NULL when its format is not known here. */
const struct tool_format *tools_find_format(const char *source);
/* What models are asked to write when their template can't say it. */
const struct tool_format *tools_own_format(void);

struct tool {
    const char *name;         /* arena memory */
    const json_t *parameters; /* JSON schema, borrowed; NULL: any object */
};

struct tool_list {
    const struct tool *items;
    size_t n;
};

/* Checks a list in the common shape.  Errors name the field: "tools[2].function.name". */
int tools_read(const json_t *list, struct arena *arena, struct tool_list *out, struct error *e);
const struct tool *tools_by_name(const struct tool_list *tools, const char *name, size_t len);

/* Matches words against text.  1: all of them, *used bytes; 0: text may be their beginning; -1: it is not. */
int tools_match(const char *words, const char *text, size_t len, size_t *used);

/* A new id for a call, and an id from elsewhere in the format's shape: the same for the same id. */
void tools_make_id(const struct tool_format *format, char out[TOOL_ID_BYTES]);
void tools_fit_id(const struct tool_format *format, const char *id, char out[TOOL_ID_BYTES]);

/* The instruction that tells of the tools where a template does not. */
void tools_describe(const json_t *list, struct buf *out);

#endif
