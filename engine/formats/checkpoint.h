/* checkpoint.h - the FORMAT TABLE: opens whatever file or folder holds a checkpoint, and what each format's
 * reader declares for it.
 * A format is one file and one row: in checkpoint.c when a file says everything (GGUF, ARPA), in folder.c
 * when it holds tensors only and the folder around it says the rest.
 * Thread: any, one per checkpoint; tensor sources may be read from any. */
#ifndef LOQUAT_FORMATS_CHECKPOINT_H
#define LOQUAT_FORMATS_CHECKPOINT_H

#include "engine/base/bytes.h"
#include "engine/base/checkpoint.h"

/* Header, hyperparameters, tokenizer and tensor directory of a file or a folder; weights are read later
 * through the tensor source.  A file that holds only tensors is read together with the folder it lies in.
 * Errors name the file, what is wrong and the place. */
int checkpoint_open(const char *path, struct checkpoint **out, struct error *e);
void checkpoint_close(struct checkpoint *c); /* NULL is fine */

/* ---- formats that say everything; each takes over b, also when it fails ------------------------- */

int gguf_open_take(struct bytes *b, struct checkpoint **out, struct error *e);
/* Plain text or gzip. */
int arpa_open_take(struct bytes *b, struct checkpoint **out, struct error *e);

/* ---- formats that hold tensors only -------------------------------------------------------------- */

struct tensor_file {
    const struct tensor_source *source;
    const char *format; /* "safetensors", "PyTorch zip"; a literal, or lives as long as the file */
    uint64_t file_bytes;
    json_t *metadata; /* what the file says of itself: an object, borrowed; or NULL */
    void (*close)(struct tensor_file *f);
};

int safetensors_open_take(struct bytes *b, struct tensor_file **out, struct error *e);
int torch_open_take(struct bytes *b, struct tensor_file **out, struct error *e);
/* *config: special:model.yml as an object of strings (a new reference), or NULL. */
int marian_open_take(struct bytes *b, struct tensor_file **out, json_t **config, struct error *e);
/* The YAML that Marian writes - "key: value" lines, lists of values - as an object of texts; a list becomes
 * its values with a space between.  A new reference.  marian_bin.c reads special:model.yml with it,
 * folder_marian.c the *.yml beside a model. */
int marian_yaml_read(const char *text, size_t len, json_t **out, struct error *e);
/* Marian's lexical shortlist (lex.*.bin): its tables as two integer tensors, see marian_bin.c. */
int shortlist_open_take(struct bytes *b, struct tensor_file **out, struct error *e);

#endif
