/* checkpoint.h - what a checkpoint of any format says, in one shape.
 * formats/ produces it as the file has it; models/ (names.h) translates the words of its dialect into
 * GGUF's, which is what families, the loader, `inspect` and `convert` read; close() ends it. */
#ifndef LOQUAT_BASE_CHECKPOINT_H
#define LOQUAT_BASE_CHECKPOINT_H

#include <jansson.h>

#include "engine/base/tensor_source.h"
#include "engine/base/tokenizer_spec.h"

/* Whose names the hyperparameters and tensors have. */
enum dialect {
    DIALECT_GGUF,         /* GGUF's keys without the big tokenizer arrays, and GGUF's tensor names */
    DIALECT_TRANSFORMERS, /* config.json of Hugging Face's transformers, and its tensor names */
    DIALECT_TORCH,        /* a plain state_dict; a config.json of the user's own beside it, or none */
    DIALECT_MARIAN,       /* special:model.yml of a Marian binary as an object of strings */
    DIALECT_ARPA          /* n-gram counts as tensors, see formats/arpa.h */
};

struct checkpoint {
    const char *format; /* "GGUF v3", "safetensors, 5 shards", "PyTorch zip" */
    enum dialect dialect;
    const char *architecture; /* general.architecture; "model_type" of config.json; "architecture" of a config
                                 of the user's own; NULL when the file does not say */
    const char *name;         /* general.name, or NULL */
    const json_t *config;     /* object, maybe empty; borrowed */
    const json_t *generation; /* object of generation_config.json, or NULL; borrowed */
    const json_t *pooling;    /* of a sentence-transformers folder: {"pooling": "mean"|"cls"|"last"|"max",
                                 "normalize": bool}, or NULL */
    const char *source_language, *target_language; /* codes such as "en", or NULL */
    const struct tensor_source *tensors;
    const struct tokenizer_spec *tokenizer; /* NULL when the file has none */
    const char *chat_template;              /* UTF-8, or NULL */
    uint64_t file_bytes;
    void *impl; /* of whoever made it */
    void (*close)(struct checkpoint *c);
};

#endif
