/* tensor_directory.c - see tensor_directory.h. */
#include "engine/formats/tensor_directory.h"

#include <inttypes.h>
#include <stdlib.h>

#include "engine/base/utf8.h"

bool tensor_name_ok(const char *name, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if ((unsigned char)name[i] < 0x20 || name[i] == 0x7F)
            return false;
    }
    return len <= LIMIT_TENSOR_NAME && utf8_valid(name, len);
}

int tensor_directory_size(struct tensor_info *t, uint64_t at, struct error *e)
{
    const struct dtype_row *row = dtype_row(t->dtype);
    uint64_t elements = 1;
    for (unsigned i = 0; i < t->n_dims; i++) {
        if (__builtin_mul_overflow(elements, t->dims[i], &elements) || elements > INT64_MAX)
            return error_at(e, ERROR_BAD_FORMAT, at, "tensor %s has too many elements", t->name);
    }
    if (t->dims[0] % row->block_values != 0)
        return error_at(e, ERROR_BAD_FORMAT, at,
                        "tensor %s has rows of %" PRIu64 " values, not a multiple of %zu (%s)", t->name,
                        t->dims[0], row->block_values, row->name);
    if (__builtin_mul_overflow(elements / row->block_values, row->block_bytes, &t->bytes))
        return error_at(e, ERROR_BAD_FORMAT, at, "tensor %s has too many elements", t->name);
    return 0;
}

static int by_offset(const void *a, const void *b)
{
    const struct tensor_info *x = *(const struct tensor_info *const *)a,
                             *y = *(const struct tensor_info *const *)b;
    return x->offset < y->offset ? -1 : x->offset > y->offset;
}

int tensor_directory_check_overlap(const struct tensor_info *tensors, size_t n, struct error *e)
{
    if (n < 2)
        return 0;
    const struct tensor_info **sorted = calloc(n, sizeof(const struct tensor_info *));
    if (!sorted)
        return error_no_memory(e);
    int status = 0;
    for (size_t i = 0; i < n; i++)
        sorted[i] = &tensors[i];
    qsort(sorted, n, sizeof(const struct tensor_info *), by_offset);
    for (size_t i = 1; i < n && status == 0; i++) {
        if (sorted[i]->offset - sorted[i - 1]->offset < sorted[i - 1]->bytes)
            status = error_at(e, ERROR_BAD_FORMAT, sorted[i]->offset, "the tensors %s and %s overlap",
                              sorted[i - 1]->name, sorted[i]->name);
    }
    free(sorted);
    return status;
}
