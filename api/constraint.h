/* constraint.h - what an answer must look like: the fields that say it, and the grammars made of them.
 * response_format (OpenAI), grammar (llama-server), guided_* and structured_outputs (vLLM), regex, choice and
 * json_schema are one thing said in many ways; a request may say it once.
 * To add it to an endpoint: put a struct constraint_options into its state, {constraint_rows,
 * CONSTRAINT_ROWS, AT(constraint)} into its groups, and call constraint_compile() in begin.  Thread: workers.
 */
#ifndef LOQUAT_API_CONSTRAINT_H
#define LOQUAT_API_CONSTRAINT_H

#include "api/api.h"
#include "api/fields.h"

struct constraint_options {
    const json_t *response_format, *json_schema, *structured_outputs;
    const json_t *choice;
    struct engine_text grammar, regex;
    bool json_object;
};

extern const struct field constraint_rows[];
enum { CONSTRAINT_ROWS = 13 };

/* *out: what the answer must follow, or NULL when anything goes.  It lives as long as the call does.
 * Errors name the field and, in a schema, the JSON pointer of what can't be enforced. */
int constraint_compile(struct api_call *call, const struct constraint_options *o, struct engine_model *model,
                       struct engine_grammar **out, struct error *e);

/* The grammar of a text (engine.h says which), out of the cache where it is there.  It lives as long as the
 * call. */
int constraint_of_text(struct api_call *call, struct engine_model *model, const char *text, size_t len,
                       struct engine_grammar **out, struct error *e);

/* ---- grammars once made, kept for the next request ---------------------------------------------- */

struct grammar_cache; /* least recently used leave first; bounded by LIMIT_GRAMMARS and their bytes */

int grammar_cache_create(struct grammar_cache **out, struct error *e);
void grammar_cache_free(struct grammar_cache *c);
struct grammar_cache *api_grammar_cache(struct api *api); /* the one of all models */
/* A reference of the grammar for this key and vocabulary, or NULL. */
struct engine_grammar *grammar_cache_find(struct grammar_cache *c, const struct engine_vocabulary *v,
                                          const char *key, size_t len);
/* Keeps a reference of its own; memory that is out only means that it does not. */
void grammar_cache_add(struct grammar_cache *c, const struct engine_vocabulary *v, const char *key,
                       size_t len, struct engine_grammar *g);

#endif
