/* model.h - what a tokenizer model gives to tokenizer.c, which does the rest: special tokens, BOS and
 * EOS, tables of what tokens stand for.  Nobody outside this room includes it.
 * To add a model: one file with one struct tokenizer_model, declared here, and one row in tokenizer.c. */
#ifndef LOQUAT_TOKENIZERS_MODEL_H
#define LOQUAT_TOKENIZERS_MODEL_H

#include "engine/tokenizers/tokenizer.h"

struct tokenizer_model {
    const char *name; /* as tokenizer_spec.model has it */
    /* The spec and its arrays are borrowed for the call only. */
    int (*create)(const struct tokenizer_spec *spec, void **out, struct error *e);
    void (*release)(void *model);
    /* Text between special tokens, valid UTF-8 and not empty, to ids.  Any thread. */
    int (*encode)(const void *model, const char *text, size_t len, struct token_list *out, struct error *e);
    /* Appends the bytes that a token stands for, when it is neither control nor user-defined. */
    void (*decode)(const struct token_spec *token, struct buf *out);
};

extern const struct tokenizer_model bpe_bytes_model;

/* Control tokens are named, not written: their text never comes from, or goes to, plain text. */
static inline bool token_is_control(enum token_type type)
{
    return type == TOKEN_CONTROL || type == TOKEN_UNKNOWN;
}

#endif
