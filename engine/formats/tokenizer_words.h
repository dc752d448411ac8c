/* tokenizer_words.h - what the files that put a tokenizer into GGUF's words share; nobody else includes it.
 * tokenizer_words.c makes the arrays and keys, tokenizer_words_json.c the JSON texts. */
#ifndef LOQUAT_FORMATS_TOKENIZER_WORDS_H
#define LOQUAT_FORMATS_TOKENIZER_WORDS_H

#include "engine/formats/checkpoint_write.h"

/* The spec is in the words of tokenizer.json: "bpe", "unigram", "wordpiece" or "wordlevel". */
bool tokenizer_is_huggingface(const struct tokenizer_spec *spec);

/* Bytes of the left token of merge i; a space follows it. */
size_t tokenizer_merge_split(const struct tokenizer_spec *spec, size_t i);

/* A whole tokenizer.json that says what the spec says. */
void tokenizer_huggingface_write(const struct tokenizer_spec *spec, struct buf *out);
/* Ids and flags, and unless the spec is Hugging Face's the pipeline, options and added tokens: an object. */
void tokenizer_rest_write(const struct tokenizer_spec *spec, struct buf *out);
/* The same back, over what *spec has; rest is borrowed.  Errors name the key. */
int tokenizer_rest_read(const json_t *rest, struct arena *a, struct tokenizer_spec *spec, struct error *e);

/* The first member of this type of a pipeline object, inside Sequences too; or NULL. */
const json_t *tokenizer_find_part(const json_t *part, const char *type);
/* What llama.cpp calls the pre-tokenizer, or NULL. */
const char *tokenizer_pre_name(const json_t *pre_tokenizer);

#endif
