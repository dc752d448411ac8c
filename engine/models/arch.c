/* arch.c - the ARCHITECTURE TABLE.  To add a family: models/NAME.c with a struct arch, its line in
 * meson.build, and its row here. */
#include "engine/models/arch.h"

#include <stdio.h>
#include <string.h>

static const struct arch *const table[] = {
    &arch_llama,
};

enum { ROWS = sizeof table / sizeof table[0] };

const struct arch *arch_find(const char *name)
{
    for (size_t i = 0; i < ROWS; i++) {
        if (strcmp(table[i]->name, name) == 0)
            return table[i];
    }
    return NULL;
}

void arch_names(char *out, size_t size)
{
    size_t used = 0;
    out[0] = 0;
    for (size_t i = 0; i < ROWS && used < size; i++)
        used += (size_t)snprintf(out + used, size - used, "%s%s", i ? ", " : "", table[i]->name);
}

size_t model_page_bytes(const struct model_shape *shape, enum dtype kv_dtype)
{
    return shape->layers * attention_layer_bytes(shape->kv_heads, shape->head_dim, kv_dtype);
}
