/* tokenizer_spec.h - what a tokenizer file says, whatever its format, before anything is built.
 * Formats fill it (memory: the checkpoint's arena); tokenizers/ builds from it and copies what it keeps. */
#ifndef LOQUAT_BASE_TOKENIZER_SPEC_H
#define LOQUAT_BASE_TOKENIZER_SPEC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Token attributes, numbered as GGUF's tokenizer.ggml.token_type. */
enum token_type {
    TOKEN_UNDEFINED = 0,
    TOKEN_NORMAL = 1,
    TOKEN_UNKNOWN = 2,
    TOKEN_CONTROL = 3,
    TOKEN_USER_DEFINED = 4,
    TOKEN_UNUSED = 5,
    TOKEN_BYTE = 6
};

struct token_spec {
    const char *text; /* as the file writes it; may hold zero bytes */
    uint32_t len;
    enum token_type type;
    float score;
};

struct text_view {
    const char *text;
    uint32_t len;
};

struct tokenizer_spec {
    const char *model; /* the TOKENIZER TABLE's key: "gpt2" (byte-level BPE), … */
    const char *pre;   /* pre-tokenizer name: "smollm", "llama-bpe", …; NULL or "" when absent */
    size_t n_tokens;
    const struct token_spec *tokens; /* index = id */
    size_t n_merges;
    const struct text_view *merges;       /* "left right", best first */
    int32_t bos, eos, eot, unk, sep, pad; /* -1 when absent; checked to be < n_tokens */
    bool add_bos, add_eos, add_space_prefix;
    bool add_bos_given; /* the file says so; else the pre-tokenizer's habit counts */
};

#endif
