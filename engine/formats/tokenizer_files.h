/* tokenizer_files.h - the tokenizer of a checkpoint folder: which of its files say what.
 * Called by folder readers while a checkpoint is opened; everything lands in the checkpoint's arena.
 * To add a kind of tokenizer file: one reader and one row in tokenizer_files.c. */
#ifndef LOQUAT_FORMATS_TOKENIZER_FILES_H
#define LOQUAT_FORMATS_TOKENIZER_FILES_H

#include <jansson.h>

#include "engine/base/arena.h"
#include "engine/base/bytes.h"
#include "engine/base/error.h"
#include "engine/base/tokenizer_spec.h"

struct tokenizer_folder {
    const char *path;     /* of the folder */
    const json_t *config; /* config.json, or NULL; borrowed */
    struct arena *arena;  /* gets every text and array of the spec */
    json_t *keep; /* an array whose owner outlives the spec: gets the JSON values that the spec borrows */
};

/* 1 and *out filled; 0 when the folder holds no tokenizer; -1 with an error that names the file.
 * In this order: the "tokenizer" object of a plain PyTorch config; tokenizer.json; source.spm + vocab.json
 * (Marian); spiece.model, tokenizer.model, vocab*.spm; vocab.txt; vocab.json + merges.txt.
 * tokenizer_config.json and special_tokens_map.json name the special tokens in every case. */
int tokenizer_folder_read(const struct tokenizer_folder *folder, struct tokenizer_spec *out, struct error *e);

/* One tokenizer.json.  keep as above. */
int tokenizer_json_read(struct bytes *b, struct arena *arena, json_t *keep, struct tokenizer_spec *out,
                        struct error *e);

/* A SentencePiece model (protobuf): "llama" or "t5", as it says.  sentencepiece.c. */
int sentencepiece_read(struct bytes *b, struct arena *arena, struct tokenizer_spec *out, struct error *e);

#endif
