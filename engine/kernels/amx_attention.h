/* amx_attention.h - what amx.c's prompt kernels take from amx_attention.c. */
#ifndef LOQUAT_KERNELS_AMX_ATTENTION_H
#define LOQUAT_KERNELS_AMX_ATTENTION_H

#include "engine/kernels/set.h"

/* struct prompt_kernels' attention and attention_scratch_bytes. */
void amx_attention(const struct attention_tile *t);
size_t amx_attention_scratch_bytes(size_t head_dim, size_t vectors);

#endif
