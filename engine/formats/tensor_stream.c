/* tensor_stream.c - one tensor from its source into an output, as the same or another type, a piece at a
 * time. Called by the writers of checkpoint_write.h. */
#include <float.h>
#include <math.h>
#include <stdlib.h>

#include "engine/formats/checkpoint_write.h"

enum { PIECE = 1 << 18 }; /* elements; a multiple of every block */

static uint64_t count_elements(const struct tensor_info *t)
{
    const struct dtype_row *row = dtype_row(t->dtype);
    return t->bytes / row->block_bytes * row->block_values;
}

uint64_t checkpoint_write_size(const struct tensor_info *t, enum dtype type)
{
    const struct dtype_row *row = dtype_row(type);
    return count_elements(t) / row->block_values * row->block_bytes;
}

struct buffers {
    uint8_t *in, *out;
    float *values;
};

/* The largest magnitude that the type, or the scale of its blocks, can hold. */
static float largest(enum dtype type)
{
    return dtype_row(type)->block_values > 1 || type == DTYPE_F16 ? 65504 : FLT_MAX;
}

static int change_type(const struct buffers *b, const struct tensor_info *t, enum dtype type, size_t n,
                       struct error *e)
{
    dtype_to_f32(t->dtype, b->in, n, b->values);
    float most = largest(type);
    for (size_t i = 0; i < n; i++) {
        if (!(fabsf(b->values[i]) <= most) && most < FLT_MAX)
            return error_set(e, ERROR_UNSUPPORTED,
                             "tensor %s has a value of %g, which %s can't hold; try bf16 or f32", t->name,
                             (double)b->values[i], dtype_row(type)->name);
    }
    dtype_from_f32(type, b->values, n, b->out);
    return 0;
}

static int stream(const struct checkpoint_write *w, const struct tensor_info *t, enum dtype type,
                  const struct buffers *b, struct error *e)
{
    const struct tensor_source *s = w->c->tensors;
    uint64_t left = count_elements(t), offset = 0;
    while (left > 0) {
        size_t n = left < PIECE ? (size_t)left : PIECE, bytes = dtype_bytes(t->dtype, n);
        if (w->stop && w->stop(w->user))
            return error_set(e, ERROR_CANCELLED, "interrupted; nothing was written");
        TRY(s->read(s, t, offset, b->in, bytes, e));
        if (type != t->dtype)
            TRY(change_type(b, t, type, n, e));
        TRY(output_write(w->out, type == t->dtype ? b->in : b->out, dtype_bytes(type, n), e));
        offset += bytes;
        left -= n;
    }
    return 0;
}

int checkpoint_write_tensor(const struct checkpoint_write *w, const struct tensor_info *t, enum dtype type,
                            struct error *e)
{
    struct buffers b = {malloc(dtype_bytes(t->dtype, PIECE)), malloc(dtype_bytes(type, PIECE)),
                        malloc(PIECE * sizeof(float))};
    int status = b.in && b.out && b.values ? stream(w, t, type, &b, e) : error_no_memory(e);
    free(b.in);
    free(b.out);
    free(b.values);
    return status;
}
