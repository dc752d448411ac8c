/* gguf.h - what the files of the GGUF reader share; nobody else includes it.
 * The format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md */
#ifndef LOQUAT_FORMATS_GGUF_H
#define LOQUAT_FORMATS_GGUF_H

#include "engine/base/arena.h"
#include "engine/base/string_table.h"
#include "engine/formats/checkpoint.h"
#include "engine/formats/checkpoint_write.h"

struct gguf {
    struct checkpoint checkpoint;
    struct tensor_source source; /* its functions find the gguf through this member */
    struct tokenizer_spec tokenizer;
    struct bytes *file; /* owned */
    struct arena *arena;
    json_t *config;
    struct string_table keys;         /* metadata keys, for duplicates */
    struct string_table tensor_names; /* name -> index in source.tensors */
    uint32_t version;
    uint64_t n_keys, n_tensors;
    uint64_t n_values; /* put into config so far */

    /* The big tokenizer arrays, in whatever order the file has them; NULL when absent. */
    struct token_spec *tokens; /* text only, until gguf_build_tokenizer() */
    float *scores;
    int32_t *types;
    struct text_view *merges;
    char *charsmap;
    size_t n_tokens, n_scores, n_types, n_merges, n_charsmap;
    json_t *pipeline; /* array: objects that the tokenizer spec borrows; owned */
};

/* A length and that many bytes, borrowed until the next take. */
int gguf_string(struct gguf *g, uint64_t max, const char **text, size_t *len, const char *what,
                struct error *e);

/* n_keys pairs: into config, and the big tokenizer arrays into their members. */
int gguf_read_metadata(struct gguf *g, struct error *e);

/* One of the big arrays: 1 when the key named one and it was read, 0 when it is another key. */
int gguf_read_vocabulary_array(struct gguf *g, const char *key, uint32_t value_type, struct error *e);
/* checkpoint.tokenizer from the arrays and config. */
int gguf_build_tokenizer(struct gguf *g, struct error *e);

/* The same from what loquat's own files say: tokenizer.huggingface.json instead of the arrays, and the rest.
 */
int gguf_read_huggingface(struct gguf *g, const char *text, struct error *e);
int gguf_read_rest(struct gguf *g, struct error *e);
/* A tokenizer under GGUF's keys in a JSON object, arrays included; a checkpoint without tensors. */
int gguf_words_open(const json_t *words, struct checkpoint **out, struct error *e);
void gguf_close(struct checkpoint *c);

/* n_tensors entries, then their place in the file. */
int gguf_read_tensors(struct gguf *g, struct error *e);

/* Value types of metadata. */
enum gguf_type {
    GGUF_U8,
    GGUF_I8,
    GGUF_U16,
    GGUF_I16,
    GGUF_U32,
    GGUF_I32,
    GGUF_F32,
    GGUF_BOOL,
    GGUF_STRING,
    GGUF_ARRAY,
    GGUF_U64,
    GGUF_I64,
    GGUF_F64,
    GGUF_TYPES
};
size_t gguf_type_bytes(uint32_t type); /* the least that a value takes; 0 for an unknown type */
int gguf_array_head(struct gguf *g, const char *key, uint32_t *type, uint64_t *count, struct error *e);

#endif
