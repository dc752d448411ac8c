/* traits.h - what a chat template can express, found out once when its model is loaded.
 * Some follows from its source, the rest from rendering short conversations and looking at what comes out.
 * Callers: prompt.c.  Thread: any; constant afterwards. */
#ifndef LOQUAT_API_TRAITS_H
#define LOQUAT_API_TRAITS_H

#include <stdbool.h>

#include "api/jinja.h"
#include "api/reasoning.h"
#include "api/tools.h"
#include "engine/engine.h"

struct template_traits {
    bool system;         /* takes a system message */
    bool developer;      /* tells developer from system */
    bool tools;          /* writes tools, calls and results itself, in a format that is known here */
    bool text_arguments; /* wants a call's arguments as text instead of an object */
    bool documents;
    const struct tool_format *format;        /* never NULL */
    const struct reasoning_marks *reasoning; /* NULL: none */
};

/* *out is filled, whatever the template does. */
void traits_find(const struct jinja_template *t, const struct engine_model_info *info,
                 struct template_traits *out);

#endif
