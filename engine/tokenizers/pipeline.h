/* pipeline.h - the inside of a tokenizer: tokenizer.c builds it, encode.c runs texts through it.
 * Nobody else includes it. */
#ifndef LOQUAT_TOKENIZERS_PIPELINE_H
#define LOQUAT_TOKENIZERS_PIPELINE_H

#include "engine/tokenizers/cutter.h"
#include "engine/tokenizers/decoder.h"
#include "engine/tokenizers/model.h"
#include "engine/tokenizers/normalize.h"
#include "engine/tokenizers/postprocess.h"
#include "engine/tokenizers/special.h"

/* What is known of a token, by id. */
enum {
    TOKEN_IS_CONTROL = 1,
    TOKEN_IS_END = 2,
    TOKEN_IS_ADDED = 4, /* found in the text before the model sees it */
    TOKEN_STRIPS_LEFT = 8,
    TOKEN_STRIPS_RIGHT = 16,
    TOKEN_IS_SINGLE_WORD = 32,
    TOKEN_IS_NORMALIZED = 64
};

struct tokenizer {
    const struct tokenizer_model *model;
    void *impl;
    struct tokenizer_spec special; /* no arrays; model and pre point to the copies below */
    char *model_name, *pre;
    struct normalizer *normalizer; /* NULL: the model's own, or none */
    struct cutter *cutter;         /* NULL: the model's own, or none */
    struct postprocessor *post;
    struct decoder *decoder; /* NULL: the model's bytes */
    bool drops_first_space;
    struct special_set *specials;      /* added tokens of the text as it is; or NULL */
    struct special_set *late_specials; /* of the normalised text; or NULL */
    uint8_t *flags;                    /* (n_tokens) */
    size_t *ends;                      /* (n_tokens): bytes of token i are bytes.data[ends[i-1] .. ends[i]) */
    struct buf bytes;
    size_t *text_ends; /* (n_tokens) the same of the texts in the file */
    struct buf texts;
};

#endif
