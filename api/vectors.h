/* vectors.h - what endpoints that answer with vectors share: reading their inputs, writing numbers.
 * Callers: embeddings.c and the other dialects' endpoints, in begin and advance on a worker. */
#ifndef LOQUAT_API_VECTORS_H
#define LOQUAT_API_VECTORS_H

#include "api/tasks.h"

/* tasks_init() for EMBED with an item for each input: a text, a list of texts, a list of token ids, or a list
 * of such lists.  field is its name, for errors; ids are checked against the vocabulary. */
int vectors_read(struct api_call *call, struct tasks *t, struct engine_model *model, const json_t *input,
                 const char *field, struct error *e);

/* Cuts the item's vector to the first `dimensions` values (0: all), gives it length 1 when `normalize`;
 * returns how many there are.  (Matryoshka representations; Kusupati et al., 2022.) */
size_t vectors_finish(struct task_item *item, size_t dimensions, bool normalize);
/* That dimensions are no more than the model's vectors have. */
int vectors_check_dimensions(const struct engine_model *model, int64_t dimensions, struct error *e);

void vectors_write(struct buf *out, const float *x, size_t n); /* [0.1,…] */

#endif
