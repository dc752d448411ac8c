/* checkpoint.h - what a checkpoint of any format says, in one shape.
 * formats/ produces it, loader.c hands it to models/ and tokenizers/, close() ends it.
 * Hyperparameters stay in the names of GGUF ("llama.block_count"), without the big tokenizer arrays;
 * other formats translate into them. */
#ifndef LOQUAT_BASE_CHECKPOINT_H
#define LOQUAT_BASE_CHECKPOINT_H

#include <jansson.h>

#include "engine/base/tensor_source.h"
#include "engine/base/tokenizer_spec.h"

struct checkpoint {
    const char *format;       /* "GGUF v3" */
    const char *architecture; /* key of the ARCHITECTURE TABLE */
    const char *name;         /* general.name, or NULL */
    const json_t *config;     /* object; borrowed */
    const struct tensor_source *tensors;
    const struct tokenizer_spec *tokenizer; /* NULL when the file has none */
    const char *chat_template;              /* UTF-8, or NULL */
    uint64_t file_bytes;
    void *impl; /* of the format */
    void (*close)(struct checkpoint *c);
};

#endif
