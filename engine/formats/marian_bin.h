/* marian_bin.h - Marian's binary models as tensors, and how the matrices come out.
 * marian_open_take() is called by the FORMAT TABLE, on any thread; tensors are read from any.
 *
 * The file (marian-dev, src/common/binary.cpp), integers little endian, uint64 unless said otherwise: version
 * 1, number of items; for each item the lengths of its name, its type, its number of dimensions, its data
 * bytes; all names with their closing zeros; all shapes (int32); a padding length and that many bytes; all
 * data. */
#ifndef LOQUAT_FORMATS_MARIAN_BIN_H
#define LOQUAT_FORMATS_MARIAN_BIN_H

#include "engine/base/arena.h"
#include "engine/base/string_table.h"
#include "engine/formats/checkpoint.h"

/* What comes out, with dims as {columns, rows} and slow dimensions of 1 left out (a bias [1, n] is a vector):
 *
 * float32, float16, int8 and int32 items: as they are; the shape [in, out] gives {out, in}.
 *
 * intgemm8 matrices [in, out]: {in, out}, for the file has them transposed, one output unit after another.
 * Names with "Wemb" [words, size] lie as they say: {size, words}.  Q8_0 where rows are whole blocks of 32,
 * else F32.
 *
 * NAME.multiplier, F32 {1}, beside each of those: weight = int8 / multiplier.  The f16 scale of a Q8_0 block
 * is its inverse, rounded; who wants all bits has them here.  It also tells that a matrix came out
 * transposed.
 *
 * special:* items are no tensors; special:model.yml becomes the configuration. */

/* One item of the file. */
struct marian_item {
    const char *name;
    uint64_t name_bytes, type, n_dims, bytes; /* of its data */
    uint64_t dims[LIMIT_DIMENSIONS];          /* as the file has them, slowest first */
    uint64_t elements;
    uint64_t offset; /* of the data in the file */
};

/* What reading a tensor needs besides its tensor_info. */
struct marian_tensor {
    bool quantised; /* int8 in the file, something else outside */
    float multiplier;
};

struct marian {
    struct tensor_file file;     /* first: close() gets it */
    struct tensor_source source; /* its functions find the file through this member */
    struct bytes *bytes;         /* owned */
    struct arena *arena;
    struct string_table names;
    size_t n_items;
    struct marian_item *items;
    struct tensor_info *tensors;
    struct marian_tensor *more; /* (source.count) */
};

#endif
