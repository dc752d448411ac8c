/* seq2seq_names.h - the words that BART and Marian share in transformers: tensors, and config.json.
 * Thread: the loader's. */
#ifndef LOQUAT_MODELS_SEQ2SEQ_NAMES_H
#define LOQUAT_MODELS_SEQ2SEQ_NAMES_H

#include <stdio.h>
#include <string.h>

#include "engine/models/names.h"

extern const struct tensor_name seq2seq_tensors[];
extern const char *const seq2seq_prefixes[];

/* Everything but positions.  activation: of a config that names none. */
int seq2seq_translate(const struct checkpoint *c, const char *arch, const char *activation, json_t *out,
                      struct error *e);

#endif
