/* checkpoint_write.h - writing a checkpoint that is in GGUF's words (models/names.h) as one file.
 * Called by engine/convert.c, one thread.  Tensors stream through in pieces of bounded memory.
 * To add a format: a writer here and its row in convert.c. */
#ifndef LOQUAT_FORMATS_CHECKPOINT_WRITE_H
#define LOQUAT_FORMATS_CHECKPOINT_WRITE_H

#include "engine/base/arena.h"
#include "engine/base/buf.h"
#include "engine/base/checkpoint.h"
#include "engine/formats/output.h"

/* The whole text of tokenizer.json, GGUF's standard key, and what a spec holds that neither it nor GGUF's
 * keys say, as JSON text. */
#define TOKENIZER_HUGGINGFACE "tokenizer.huggingface.json"
#define TOKENIZER_REST        "tokenizer.loquat.json"

/* Keys of ours for the languages that a translator's files name. */
#define CHECKPOINT_SOURCE_LANGUAGE "translation.source_language"
#define CHECKPOINT_TARGET_LANGUAGE "translation.target_language"

/* A tokenizer in the words of GGUF: what llama.cpp knows of it, and the rest of the spec, so that reading it
 * back gives the same spec. */
struct tokenizer_words {
    const char *model, *pre;         /* tokenizer.ggml.model, .pre (NULL: none) */
    const char *note;                /* a sentence for people, or NULL */
    size_t n_tokens;                 /* 0: there is no tokenizer */
    const struct token_spec *tokens; /* texts, types and scores as GGUF has them */
    bool scored;                     /* scores matter */
    size_t n_merges;
    const struct text_view *merges;
    const void *charsmap;
    size_t charsmap_len;
    json_t *keys; /* other keys "tokenizer.…": numbers, truth values, texts; owned */
};
/* At least `vocabulary` tokens: as many as the model has rows, which llama.cpp wants.  Memory from a, texts
 * partly the spec's; ends with tokenizer_words_free(), also when it fails. */
int tokenizer_words_make(const struct tokenizer_spec *spec, size_t vocabulary, struct arena *a,
                         struct tokenizer_words *out, struct error *e);
void tokenizer_words_free(struct tokenizer_words *words);

struct checkpoint_write {
    const struct checkpoint *c;              /* in GGUF's words */
    const enum dtype *types;                 /* (c->tensors->count) to write them as */
    enum dtype main_type;                    /* of most weights */
    const struct tokenizer_words *tokenizer; /* n_tokens 0 when there is none */
    struct output *out;
    bool (*stop)(void *user); /* asked between pieces; NULL: never */
    void *user;
};

/* GGUF version 3. */
int gguf_write(const struct checkpoint_write *w, struct error *e);
/* safetensors: the same words as JSON texts in __metadata__, "loquat.config" and "loquat.tokenizer". */
int safetensors_write(const struct checkpoint_write *w, struct error *e);

/* Whether GGUF has a number for the type. */
bool gguf_writes(enum dtype t);

/* Elements of tensor t of w->c as `type`, appended to w->out. */
int checkpoint_write_tensor(const struct checkpoint_write *w, const struct tensor_info *t, enum dtype type,
                            struct error *e);
/* Bytes that it takes. */
uint64_t checkpoint_write_size(const struct tensor_info *t, enum dtype type);

#endif
