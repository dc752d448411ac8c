/* infill.h - the tokens with which a model is asked for a text between two others (Bavarian et al., 2022).
 * Callers: completions.c, capabilities.c.  To know another model's: a row in infill.c.  Any thread. */
#ifndef LOQUAT_API_INFILL_H
#define LOQUAT_API_INFILL_H

#include "engine/engine.h"

struct infill {
    int32_t prefix, suffix, middle; /* before the text before, before the text behind, before the answer */
};

/* False when the vocabulary has no such tokens. */
bool infill_find(const struct engine_vocabulary *v, struct infill *out);

#endif
