/* marian_bin.c - see marian_bin.h. */
#include "engine/formats/marian_bin.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "engine/formats/tensor_directory.h"

enum { VERSION = 1, HEADER_BYTES = 32, BLOCK = 32, CHUNK = 128 * BLOCK };

/* Item types: class and bytes of an element. */
enum {
    TYPE_INT8 = 0x0101,
    TYPE_INT32 = 0x0104,
    TYPE_F16 = 0x0402,
    TYPE_F32 = 0x0404,
    TYPE_INTGEMM8 = 0x4101
};

/* ---- reading tensors --------------------------------------------------------------------------------- */

static const struct marian *marian_of(const struct tensor_source *s)
{
    return (const struct marian *)((const char *)s - offsetof(struct marian, source));
}

static const struct tensor_info *find_tensor(const struct tensor_source *s, const char *name)
{
    int32_t i = string_table_find(&marian_of(s)->names, name, strlen(name));
    return i < 0 ? NULL : &s->tensors[i];
}

/* n int8 as what the tensor shows: n floats, or n / 32 blocks. */
static size_t convert(enum dtype dtype, float multiplier, const int8_t *q, size_t n, uint8_t *out)
{
    uint16_t scale = f32_to_f16(1 / multiplier);
    if (dtype == DTYPE_F32) {
        for (size_t i = 0; i < n; i++) {
            float value = (float)q[i] / multiplier;
            memcpy(out + i * sizeof value, &value, sizeof value);
        }
        return n * sizeof(float);
    }
    const size_t block_bytes = sizeof scale + BLOCK;
    for (size_t i = 0; i < n / BLOCK; i++) {
        memcpy(out + i * block_bytes, &scale, sizeof scale);
        memcpy(out + i * block_bytes + sizeof scale, q + i * BLOCK, BLOCK);
    }
    return n / BLOCK * block_bytes;
}

static int read_quantised(const struct marian *f, const struct tensor_info *t, uint64_t offset, uint8_t *dst,
                          size_t n, struct error *e)
{
    const struct dtype_row *row = dtype_row(t->dtype);
    uint64_t elements = t->bytes / row->block_bytes * row->block_values;
    uint64_t at = offset / row->block_bytes * row->block_values;
    size_t skip = (size_t)(offset % row->block_bytes);
    while (n > 0) {
        int8_t q[CHUNK];
        uint8_t out[CHUNK * sizeof(float)];
        size_t part = elements - at < CHUNK ? (size_t)(elements - at) : CHUNK;
        TRY(bytes_read_at(f->bytes, t->offset + at, q, part, e));
        size_t made = convert(t->dtype, f->more[t - f->tensors].multiplier, q, part, out) - skip;
        made = made < n ? made : n;
        memcpy(dst, out + skip, made);
        dst += made;
        n -= made;
        at += part;
        skip = 0;
    }
    return 0;
}

static int read_tensor(const struct tensor_source *s, const struct tensor_info *t, uint64_t offset, void *dst,
                       size_t n, struct error *e)
{
    const struct marian *f = marian_of(s);
    if (offset > t->bytes || n > t->bytes - offset)
        return error_set(e, ERROR_INTERNAL, "tensor %s has no %zu bytes at %" PRIu64, t->name, n, offset);
    int status = f->more[t - f->tensors].quantised ? read_quantised(f, t, offset, dst, n, e)
                                                   : bytes_read_at(f->bytes, t->offset + offset, dst, n, e);
    return status < 0 ? error_prefix(e, "tensor %s", t->name) : 0;
}

/* ---- the items ----------------------------------------------------------------------------------------- */

static int read_headers(struct marian *f, struct error *e)
{
    uint64_t version, n;
    TRY(bytes_u64(f->bytes, &version, "the version", e));
    if (version != VERSION)
        return error_at(e, ERROR_BAD_FORMAT, 0, "Marian binary version %" PRIu64 " is not supported; 1 is",
                        version);
    TRY(bytes_u64(f->bytes, &n, "the number of items", e));
    TRY(bytes_expect(f->bytes, n, HEADER_BYTES, "the items", e));
    if (n > LIMIT_TENSORS / 2)
        return error_at(e, ERROR_BAD_FORMAT, 8, "the file claims %" PRIu64 " items; at most %d are accepted",
                        n, LIMIT_TENSORS / 2);
    f->n_items = (size_t)n;
    f->items = arena_alloc(f->arena, f->n_items, sizeof *f->items);
    if (!f->items)
        return error_no_memory(e);
    for (size_t i = 0; i < f->n_items; i++) {
        struct marian_item *item = &f->items[i];
        TRY(bytes_u64(f->bytes, &item->name_bytes, "the length of a name", e));
        TRY(bytes_u64(f->bytes, &item->type, "the type of an item", e));
        TRY(bytes_u64(f->bytes, &item->n_dims, "the number of dimensions", e));
        TRY(bytes_u64(f->bytes, &item->bytes, "the size of an item", e));
    }
    return 0;
}

static int read_name(struct marian *f, struct marian_item *item, struct error *e)
{
    const void *text;
    uint64_t at = bytes_offset(f->bytes);
    if (item->name_bytes < 2 || item->name_bytes > LIMIT_TENSOR_NAME)
        return error_at(e, ERROR_BAD_FORMAT, at, "a name of %" PRIu64 " bytes; it must have from 2 to %d",
                        item->name_bytes, LIMIT_TENSOR_NAME);
    TRY(bytes_take(f->bytes, item->name_bytes, &text, "a name", e));
    size_t len = (size_t)item->name_bytes - 1;
    if (((const char *)text)[len] != 0 || !tensor_name_ok(text, len))
        return error_at(e, ERROR_BAD_FORMAT, at, "a name is not printable text closed by a zero");
    item->name = arena_copy(f->arena, text, len);
    return item->name ? 0 : error_no_memory(e);
}

static int read_shape(struct marian *f, struct marian_item *item, struct error *e)
{
    uint64_t at = bytes_offset(f->bytes);
    if (item->n_dims < 1 || item->n_dims > LIMIT_DIMENSIONS)
        return error_at(e, ERROR_BAD_FORMAT, at, "%s has %" PRIu64 " dimensions; it must be from 1 to %d",
                        item->name, item->n_dims, LIMIT_DIMENSIONS);
    item->elements = 1;
    for (uint64_t i = 0; i < item->n_dims; i++) {
        uint32_t dim;
        TRY(bytes_u32(f->bytes, &dim, "a shape", e));
        if (dim < 1 || dim > INT32_MAX)
            return error_at(e, ERROR_BAD_FORMAT, at, "%s has a dimension of %" PRId32, item->name,
                            (int32_t)dim);
        item->dims[i] = dim;
        if (__builtin_mul_overflow(item->elements, dim, &item->elements))
            return error_at(e, ERROR_BAD_FORMAT, at, "%s has too many elements", item->name);
    }
    return 0;
}

static int read_items(struct marian *f, struct error *e)
{
    uint64_t padding;
    TRY(read_headers(f, e));
    for (size_t i = 0; i < f->n_items; i++)
        TRY(read_name(f, &f->items[i], e));
    for (size_t i = 0; i < f->n_items; i++)
        TRY(read_shape(f, &f->items[i], e));
    TRY(bytes_u64(f->bytes, &padding, "the length of the padding", e));
    TRY(bytes_skip(f->bytes, padding, "the padding", e));
    for (size_t i = 0; i < f->n_items; i++) {
        f->items[i].offset = bytes_offset(f->bytes);
        TRY(bytes_skip(f->bytes, f->items[i].bytes, f->items[i].name, e));
    }
    return 0;
}

/* ---- from items to tensors ------------------------------------------------------------------------- */

static bool is_special(const struct marian_item *item)
{
    return strncmp(item->name, "special:", 8) == 0;
}

static int read_dtype(const struct marian_item *item, enum dtype *out, struct error *e)
{
    static const struct {
        uint64_t type;
        enum dtype dtype;
    } types[] = {
        {TYPE_F32, DTYPE_F32}, {TYPE_F16, DTYPE_F16}, {TYPE_INT8, DTYPE_I8}, {TYPE_INT32, DTYPE_I32}};
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        if (types[i].type == item->type) {
            *out = types[i].dtype;
            return 0;
        }
    }
    return error_at(e, ERROR_BAD_FORMAT, item->offset,
                    "%s is of type 0x%04" PRIx64
                    ", which is not supported (float32, float16, int8, int32 and "
                    "intgemm8 that is not tied to a processor are)",
                    item->name, item->type);
}

/* Slow dimensions of 1 are left out. */
static void set_dims(struct tensor_info *t, const struct marian_item *item)
{
    size_t n = (size_t)item->n_dims, first = 0;
    while (first + 1 < n && item->dims[first] == 1)
        first++;
    t->n_dims = (unsigned)(n - first);
    for (unsigned i = 0; i < LIMIT_DIMENSIONS; i++)
        t->dims[i] = i < t->n_dims ? item->dims[n - 1 - i] : 1;
}

static int add_tensor(struct marian *f, struct tensor_info *t, uint64_t at, struct error *e)
{
    TRY(tensor_directory_size(t, at, e));
    if (string_table_add(&f->names, t->name, strlen(t->name), (int32_t)(t - f->tensors)) >= 0)
        return error_at(e, ERROR_BAD_FORMAT, at, "the tensor %s appears twice", t->name);
    f->source.count++;
    return 0;
}

static int add_plain(struct marian *f, const struct marian_item *item, struct error *e)
{
    struct tensor_info *t = &f->tensors[f->source.count];
    t->name = item->name;
    t->offset = item->offset;
    TRY(read_dtype(item, &t->dtype, e));
    set_dims(t, item);
    TRY(add_tensor(f, t, item->offset, e));
    if (t->bytes > item->bytes)
        return error_at(e, ERROR_BAD_FORMAT, item->offset, "%s needs %" PRIu64 " bytes but has %" PRIu64,
                        item->name, t->bytes, item->bytes);
    return 0;
}

static int read_multiplier(struct marian *f, const struct marian_item *item, float *out, struct error *e)
{
    if (item->bytes < sizeof *out || item->elements > item->bytes - sizeof *out)
        return error_at(e, ERROR_BAD_FORMAT, item->offset,
                        "%s needs %" PRIu64 " bytes and a multiplier but has %" PRIu64 " bytes", item->name,
                        item->elements, item->bytes);
    TRY(bytes_read_at(f->bytes, item->offset + item->elements, out, sizeof *out, e));
    if (!(*out > 0) || !isnormal(*out))
        return error_at(e, ERROR_BAD_FORMAT, item->offset, "%s has the multiplier %g", item->name,
                        (double)*out);
    return 0;
}

/* A scale that f16 holds with all its bits. */
static bool fits_f16(float scale)
{
    return scale >= 0x1p-14f && scale < 65504;
}

static int add_quantised(struct marian *f, const struct marian_item *item, struct error *e)
{
    struct tensor_info *t = &f->tensors[f->source.count];
    struct marian_tensor *more = &f->more[f->source.count];
    t->name = item->name;
    t->offset = item->offset;
    more->quantised = true;
    TRY(read_multiplier(f, item, &more->multiplier, e));
    set_dims(t, item);
    if (t->n_dims == 2 && !strstr(item->name, "Wemb")) {
        t->dims[0] = item->dims[item->n_dims - 2];
        t->dims[1] = item->dims[item->n_dims - 1];
    } else if (t->n_dims > 2) {
        return error_at(e, ERROR_BAD_FORMAT, item->offset, "%s is quantised but no matrix", item->name);
    }
    t->dtype = t->dims[0] % BLOCK == 0 && fits_f16(1 / more->multiplier) ? DTYPE_Q8_0 : DTYPE_F32;
    TRY(add_tensor(f, t, item->offset, e));
    struct tensor_info *scale = &f->tensors[f->source.count];
    *scale = (struct tensor_info){
        .dtype = DTYPE_F32, .n_dims = 1, .dims = {1, 1, 1, 1}, .offset = item->offset + item->elements};
    scale->name = arena_printf(f->arena, "%s.multiplier", item->name);
    return scale->name ? add_tensor(f, scale, item->offset, e) : error_no_memory(e);
}

static int list_tensors(struct marian *f, struct error *e)
{
    f->tensors = arena_alloc(f->arena, 2 * f->n_items, sizeof *f->tensors);
    f->more = arena_alloc(f->arena, 2 * f->n_items, sizeof *f->more);
    if (!f->tensors || !f->more)
        return error_no_memory(e);
    TRY(string_table_init(&f->names, 2 * f->n_items, e));
    for (size_t i = 0; i < f->n_items; i++) {
        const struct marian_item *item = &f->items[i];
        if (is_special(item))
            continue;
        TRY(item->type == TYPE_INTGEMM8 ? add_quantised(f, item, e) : add_plain(f, item, e));
    }
    f->source.tensors = f->tensors;
    f->source.find = find_tensor;
    f->source.read = read_tensor;
    f->file.source = &f->source;
    return 0;
}

/* ---- opening ----------------------------------------------------------------------------------------- */

/* The text ends with a zero and padding. */
static int read_config(struct marian *f, json_t **out, struct error *e)
{
    const struct marian_item *item = NULL;
    for (size_t i = 0; i < f->n_items && !item; i++)
        item = strcmp(f->items[i].name, "special:model.yml") == 0 ? &f->items[i] : NULL;
    *out = NULL;
    if (!item)
        return 0;
    if (item->bytes > LIMIT_MARIAN_OPTIONS)
        return error_at(e, ERROR_BAD_FORMAT, item->offset,
                        "%s has %" PRIu64 " bytes; at most %d are accepted", item->name, item->bytes,
                        LIMIT_MARIAN_OPTIONS);
    char *text = arena_alloc(f->arena, (size_t)item->bytes + 1, 1);
    if (!text)
        return error_no_memory(e);
    TRY(bytes_read_at(f->bytes, item->offset, text, (size_t)item->bytes, e));
    if (marian_yaml_read(text, strlen(text), out, e) < 0)
        return error_prefix(e, "%s", item->name);
    return 0;
}

static void close_marian(struct tensor_file *file)
{
    struct marian *f = (struct marian *)(void *)file;
    string_table_free(&f->names);
    arena_free(f->arena);
    bytes_close(f->bytes);
    free(f);
}

static int read_all(struct marian *f, json_t **config, struct error *e)
{
    f->arena = arena_create(LIMIT_FILE_ARENA);
    if (!f->arena)
        return error_no_memory(e);
    TRY(read_items(f, e));
    TRY(list_tensors(f, e));
    return read_config(f, config, e);
}

int marian_open_take(struct bytes *b, struct tensor_file **out, json_t **config, struct error *e)
{
    struct marian *f = calloc(1, sizeof *f);
    if (!f) {
        bytes_close(b);
        return error_no_memory(e);
    }
    f->bytes = b;
    f->file.format = "Marian binary";
    f->file.file_bytes = bytes_size(b);
    f->file.close = close_marian;
    if (read_all(f, config, e) < 0) {
        close_marian(&f->file);
        return -1;
    }
    *out = &f->file;
    return 0;
}
