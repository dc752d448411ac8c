/* tensor_directory.h - what the readers of tensor directories share: names, sizes, overlap.
 * Called by the formats that list tensors with an offset each, while a file is opened. */
#ifndef LOQUAT_FORMATS_TENSOR_DIRECTORY_H
#define LOQUAT_FORMATS_TENSOR_DIRECTORY_H

#include <stdbool.h>

#include "engine/base/tensor_source.h"

/* Short enough, UTF-8, no control characters: whole as a C string and harmless in messages. */
bool tensor_name_ok(const char *name, size_t len);

/* t->bytes from t->dims and t->dtype.  t->name is set.  at: byte of the file that errors speak of. */
int tensor_directory_size(struct tensor_info *t, uint64_t at, struct error *e);

/* No two of the n tensors share a byte of the file; offsets are the file's. */
int tensor_directory_check_overlap(const struct tensor_info *tensors, size_t n, struct error *e);

#endif
