/* policy.c - the POLICY TABLE.  The first row is the default. */
#include "engine/schedule/policy.h"

#include <string.h>

static const struct policy *const table[] = {
    &policy_decode_first,
};

const struct policy *policy_find(const char *name)
{
    if (!name || !*name)
        return table[0];
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        if (strcmp(table[i]->name, name) == 0)
            return table[i];
    }
    return NULL;
}
