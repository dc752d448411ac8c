/* arch.c - the ARCHITECTURE TABLE.  To add a family: models/NAME.c with `const struct arch arch_NAME`, its
 * line in meson.build, and its row here. */
#include "engine/models/arch.h"

#include <stdio.h>
#include <string.h>

/* clang-format off */
#define ARCHITECTURES(ROW)              \
    ROW(llama)                          \
    ROW(qwen2)                          \
    ROW(qwen3)                          \
    ROW(phi3)                           \
    ROW(gemma3)                         \
    ROW(gpt2)                           \
    ROW(gptneox)                        \
    ROW(rnn)                            \
    ROW(ngram)                          \
    ROW(bert)                           \
    ROW(t5)                             \
    ROW(bart)                           \
    ROW(marian)                         \
    ROW(transformer)                    \
    ROW(transformer_seq2seq)
/* clang-format on */

#define DECLARE(family) extern const struct arch arch_##family;
ARCHITECTURES(DECLARE)

#define ROW_OF(family) &arch_##family,
static const struct arch *const table[] = {ARCHITECTURES(ROW_OF)};

enum { ROWS = sizeof table / sizeof table[0] };

const struct arch *arch_at(size_t i)
{
    return i < ROWS ? table[i] : NULL;
}

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
    size_t self = shape->kv_layers * attention_layer_bytes(shape->kv_heads, shape->head_dim, kv_dtype);
    size_t cross =
        shape->cross_layers * attention_layer_bytes(shape->cross_heads, shape->cross_head_dim, kv_dtype);
    size_t most = (shape->state_bytes + 63) / 64 * 64;
    most = self > most ? self : most;
    return cross > most ? cross : most;
}
