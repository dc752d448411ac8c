/* jinja.h - chat templates: an interpreter for Jinja2 as checkpoints use it.
 * Callers: api/prompt.c compiles a model's template once and renders it per request, on any thread.
 * Semantics are those of Jinja2 3.1 in its immutable sandbox with trim_blocks, lstrip_blocks, loop
 * controls and the generation tag, plus raise_exception(), strftime_now() and a plain tojson.
 * Templates and messages come from strangers: steps, output, memory, time and nesting are bounded.
 * To add a filter, test or method: one row in its table (jinja_filters*.c, jinja_tests.c, jinja_methods*.c).
 */
#ifndef LOQUAT_API_JINJA_H
#define LOQUAT_API_JINJA_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/buf.h"
#include "engine/base/error.h"

struct jinja_template; /* immutable after jinja_compile() */

/* Bytes [start, end) of the output. */
struct jinja_span {
    size_t start, end;
};

/* Zero in a limit means the LIMIT_TEMPLATE_ constant of engine/base/limits.h. */
struct jinja_options {
    int64_t now; /* Unix seconds, for strftime_now() */
    bool utc;    /* strftime_now() in UTC; otherwise in local time */
    uint64_t max_steps;
    uint64_t max_output; /* bytes */
    uint64_t max_memory; /* bytes */
    uint64_t max_time_ns;
};

/* Compiles UTF-8 source.  *out is the caller's, freed with jinja_free().
 * Errors: ERROR_INVALID_REQUEST whose text says "line L, column C: reason". */
int jinja_compile(const char *source, size_t len, struct jinja_template **out, struct error *e);
void jinja_free(struct jinja_template *t); /* NULL is fine */

/* Appends the rendered prompt to out.
 *   user     object of variables whose strings (and keys) are strangers' text: messages, tools, documents,
 *            add_generation_prompt, a request's extra arguments.  Borrowed.
 *   trusted  object of variables that come with the checkpoint: bos_token, eos_token.  Borrowed; may be NULL.
 *            A name that is in both has its trusted value.
 *   spans    *n_spans pieces of out, ascending, apart from each other, that came from user text: special
 *            tokens are not to be parsed in them.  Offsets count from the start of out->data.  malloc'ed,
 *            the caller frees; NULL when there are none.
 *            Pieces are followed through concatenation, slicing, stripping, replacing, splitting, joining,
 *            case changes and tojson; what can't be followed counts as user text whole.
 * Errors: ERROR_INVALID_REQUEST; raise_exception(m) gives m itself, anything else "line L, column C: reason".
 * On an error out keeps its old length. */
int jinja_render(const struct jinja_template *t, const json_t *user, const json_t *trusted,
                 const struct jinja_options *o, struct buf *out, struct jinja_span **spans, size_t *n_spans,
                 struct error *e);

/* Whether the template's code mentions a variable of this name: "tools", "enable_thinking". */
bool jinja_uses(const struct jinja_template *t, const char *name);

#endif
