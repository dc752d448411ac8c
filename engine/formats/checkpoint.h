/* checkpoint.h - the FORMAT TABLE: opens whatever file or folder holds a checkpoint. */
#ifndef LOQUAT_FORMATS_CHECKPOINT_H
#define LOQUAT_FORMATS_CHECKPOINT_H

#include "engine/base/bytes.h"
#include "engine/base/checkpoint.h"

/* Header, hyperparameters, tokenizer and tensor directory; weights are read later through the
 * tensor source.  Errors name the file, what is wrong and the byte.  Any thread. */
int checkpoint_open(const char *path, struct checkpoint **out, struct error *e);
void checkpoint_close(struct checkpoint *c);

/* One format; takes over b, also when it fails. */
int gguf_open_take(struct bytes *b, struct checkpoint **out, struct error *e);

#endif
