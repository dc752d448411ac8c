/* tools_grammar.h - what an answer may say when tools are offered, as a grammar (engine.h says in which
 * words). Callers: conversation.c, on a worker thread. */
#ifndef LOQUAT_API_TOOLS_GRAMMAR_H
#define LOQUAT_API_TOOLS_GRAMMAR_H

#include "api/reasoning.h"
#include "api/tools.h"
#include "engine/engine.h"

struct tool_rules {
    const struct engine_vocabulary *vocabulary;
    const struct tool_format *format;
    const struct tool_list *tools;
    enum tool_choice choice;                 /* not NONE */
    const char *name;                        /* of NAMED */
    bool one;                                /* at most one call */
    const struct reasoning_marks *reasoning; /* thought before the answer may be anything; or NULL */
    bool thinking;                           /* the prompt has opened it */
};

/* Appends the grammar: with AUTO free text until a call begins, else calls alone; every call names a tool,
 * and its arguments obey the tool's schema.  Errors: a schema that can't be enforced, with its field and the
 * place in it. */
int tools_write_grammar(const struct tool_rules *rules, struct buf *out, struct error *e);

/* Control tokens that words of these are: at most max, appended to ids.  Their text must be seen to be
 * understood. */
void tools_mark_tokens(const struct engine_vocabulary *v, const struct tool_format *format, int32_t *ids,
                       size_t *n, size_t max);
void reasoning_mark_tokens(const struct engine_vocabulary *v, const struct reasoning_marks *marks,
                           int32_t *ids, size_t *n, size_t max);

#endif
