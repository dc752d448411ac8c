/* tensor_source.h - how a model asks a checkpoint for a tensor by name.
 * Every format implements it; formats/ and models/ never see each other.
 * Lifetime: until the checkpoint is closed.  find() and read() from any thread. */
#ifndef LOQUAT_BASE_TENSOR_SOURCE_H
#define LOQUAT_BASE_TENSOR_SOURCE_H

#include <stddef.h>
#include <stdint.h>

#include "engine/base/dtype.h"
#include "engine/base/error.h"
#include "engine/base/limits.h"

struct tensor_info {
    const char *name;
    enum dtype dtype;
    unsigned n_dims;                 /* 1 .. LIMIT_DIMENSIONS */
    uint64_t dims[LIMIT_DIMENSIONS]; /* fastest varying first, as in GGUF: {columns, rows}; unused are 1 */
    uint64_t bytes;                  /* of all elements, checked against the file */
    uint64_t offset;                 /* for the format's own use */
};

struct tensor_source {
    size_t count;
    const struct tensor_info *tensors; /* count of them, in file order */
    const struct tensor_info *(*find)(const struct tensor_source *s, const char *name); /* or NULL */
    /* n bytes from byte `offset` of the tensor, in the tensor's dtype, row after row. */
    int (*read)(const struct tensor_source *s, const struct tensor_info *t, uint64_t offset, void *dst,
                size_t n, struct error *e);
};

#endif
