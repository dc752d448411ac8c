/* safetensors.c - opens a .safetensors file: a length, a JSON header with every tensor's type, shape and
 * place, then the data.  Called by folder_weights.c, on any thread.
 * The format: https://github.com/huggingface/safetensors#format, and its checks: every byte of the data
 * belongs to exactly one tensor.  Rank 0 becomes one element; tensors without elements are left out, for
 * nothing can be read of them; types with no row in base/dtype.c are refused here, by name. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/arena.h"
#include "engine/base/log.h"
#include "engine/base/string_table.h"
#include "engine/formats/checkpoint.h"
#include "engine/formats/config_json.h"
#include "engine/formats/tensor_directory.h"

enum { HEADER_AT = 8 };

struct safetensors {
    struct tensor_file file;     /* first: close() gets it */
    struct tensor_source source; /* its functions find the file through this member */
    struct bytes *bytes;         /* owned */
    struct arena *arena;
    json_t *header;
    struct string_table names;
    struct tensor_info *tensors;
    uint64_t data, data_bytes; /* where the data begin, and how many there are */
};

static const struct safetensors *safetensors_of(const struct tensor_source *s)
{
    return (const struct safetensors *)((const char *)s - offsetof(struct safetensors, source));
}

static const struct tensor_info *find_tensor(const struct tensor_source *s, const char *name)
{
    int32_t i = string_table_find(&safetensors_of(s)->names, name, strlen(name));
    return i < 0 ? NULL : &s->tensors[i];
}

static int read_tensor(const struct tensor_source *s, const struct tensor_info *t, uint64_t offset, void *dst,
                       size_t n, struct error *e)
{
    if (offset > t->bytes || n > t->bytes - offset)
        return error_set(e, ERROR_INTERNAL, "tensor %s has no %zu bytes at %" PRIu64, t->name, n, offset);
    if (bytes_read_at(safetensors_of(s)->bytes, t->offset + offset, dst, n, e) < 0)
        return error_prefix(e, "tensor %s", t->name);
    return 0;
}

static void close_safetensors(struct tensor_file *file)
{
    struct safetensors *f = (struct safetensors *)(void *)file;
    string_table_free(&f->names);
    json_decref(f->header);
    arena_free(f->arena);
    bytes_close(f->bytes);
    free(f);
}

static int read_header(struct safetensors *f, struct error *e)
{
    uint64_t len;
    const void *text;
    TRY(bytes_u64(f->bytes, &len, "the length of the header", e));
    if (len < 2)
        return error_at(e, ERROR_BAD_FORMAT, 0, "the header has %" PRIu64 " bytes; the least is {}", len);
    TRY(bytes_take(f->bytes, len, &text, "the header", e));
    f->data = HEADER_AT + len;
    f->data_bytes = bytes_left(f->bytes);
    if (config_json_parse(text, (size_t)len, &f->header, e) < 0)
        return error_prefix(e, "the header");
    if (!json_is_object(f->header))
        return error_at(e, ERROR_BAD_FORMAT, HEADER_AT, "the header is not an object");
    if (json_object_size(f->header) > LIMIT_TENSORS)
        return error_at(e, ERROR_BAD_FORMAT, HEADER_AT,
                        "the header lists %zu tensors; at most %d are accepted", json_object_size(f->header),
                        LIMIT_TENSORS);
    return 0;
}

/* Types of one element a block have the same names in safetensors and in the dtype table. */
static int read_dtype(const json_t *entry, struct tensor_info *t, struct error *e)
{
    static const char *const others[] = {"F4",      "F6_E2M3", "F6_E3M2",     "F8_E5M2",
                                         "F8_E4M3", "F8_E8M0", "F8_E4M3FNUZ", "F8_E5M2FNUZ",
                                         "U16",     "U32",     "U64",         "C64"};
    const char *name = json_string_value(json_object_get(entry, "dtype"));
    if (!name)
        return error_at(e, ERROR_BAD_FORMAT, HEADER_AT, "tensor %s has no text as its dtype", t->name);
    for (int i = 0; i < DTYPES; i++) {
        if (dtype_row((enum dtype)i)->block_values == 1 &&
            strcmp(dtype_row((enum dtype)i)->name, name) == 0) {
            t->dtype = (enum dtype)i;
            return 0;
        }
    }
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        if (strcmp(others[i], name) == 0)
            return error_at(e, ERROR_BAD_FORMAT, HEADER_AT, "tensor %s is of type %s, which is not supported",
                            t->name, name);
    }
    return error_at(e, ERROR_BAD_FORMAT, HEADER_AT, "tensor %s is of unknown type %.40s", t->name, name);
}

/* shape is row-major, slowest first; ours are fastest first.  *empty: there is a 0 among them. */
static int read_shape(const json_t *entry, struct tensor_info *t, bool *empty, struct error *e)
{
    const json_t *shape = json_object_get(entry, "shape");
    size_t n = json_array_size(shape);
    if (!json_is_array(shape))
        return error_at(e, ERROR_BAD_FORMAT, HEADER_AT, "tensor %s has no array as its shape", t->name);
    if (n > LIMIT_DIMENSIONS)
        return error_at(e, ERROR_BAD_FORMAT, HEADER_AT,
                        "tensor %s has %zu dimensions; at most %d are supported", t->name, n,
                        LIMIT_DIMENSIONS);
    t->n_dims = n ? (unsigned)n : 1;
    for (unsigned i = 0; i < LIMIT_DIMENSIONS; i++)
        t->dims[i] = 1;
    *empty = false;
    for (size_t i = 0; i < n; i++) {
        const json_t *dim = json_array_get(shape, i);
        if (!json_is_integer(dim) || json_integer_value(dim) < 0)
            return error_at(e, ERROR_BAD_FORMAT, HEADER_AT,
                            "tensor %s has a dimension that is not a whole number of at least 0", t->name);
        t->dims[n - 1 - i] = (uint64_t)json_integer_value(dim);
        *empty = *empty || t->dims[n - 1 - i] == 0;
    }
    return 0;
}

/* data_offsets, as [begin, end) of the data, checked against the size and the file. */
static int read_place(const struct safetensors *f, const json_t *entry, struct tensor_info *t,
                      struct error *e)
{
    const json_t *offsets = json_object_get(entry, "data_offsets"), *begin = json_array_get(offsets, 0),
                 *end = json_array_get(offsets, 1);
    if (json_array_size(offsets) != 2 || !json_is_integer(begin) || !json_is_integer(end))
        return error_at(e, ERROR_BAD_FORMAT, HEADER_AT,
                        "tensor %s: data_offsets must be two whole numbers of at most 63 bits", t->name);
    json_int_t from = json_integer_value(begin), to = json_integer_value(end);
    if (from < 0 || to < from)
        return error_at(e, ERROR_BAD_FORMAT, HEADER_AT,
                        "tensor %s: data_offsets from %" JSON_INTEGER_FORMAT " to %" JSON_INTEGER_FORMAT
                        " are no range",
                        t->name, from, to);
    if ((uint64_t)(to - from) != t->bytes)
        return error_at(e, ERROR_BAD_FORMAT, HEADER_AT,
                        "tensor %s has %" PRIu64 " bytes by its shape but %" JSON_INTEGER_FORMAT
                        " by its data_offsets",
                        t->name, t->bytes, to - from);
    if ((uint64_t)to > f->data_bytes)
        return error_at(e, ERROR_BAD_FORMAT, f->data + f->data_bytes,
                        "tensor %s ends at byte %" JSON_INTEGER_FORMAT
                        " of the data, of which there are %" PRIu64,
                        t->name, to, f->data_bytes);
    t->offset = f->data + (uint64_t)from;
    return 0;
}

static int read_entry(struct safetensors *f, const char *name, const json_t *entry, struct error *e)
{
    struct tensor_info *t = &f->tensors[f->source.count];
    bool empty = false;
    if (!tensor_name_ok(name, strlen(name)))
        return error_at(e, ERROR_BAD_FORMAT, HEADER_AT,
                        "a tensor has a name that is longer than %d bytes or not printable",
                        LIMIT_TENSOR_NAME);
    t->name = name;
    if (!json_is_object(entry))
        return error_at(e, ERROR_BAD_FORMAT, HEADER_AT, "tensor %s is not described by an object", name);
    TRY(read_dtype(entry, t, e));
    TRY(read_shape(entry, t, &empty, e));
    TRY(tensor_directory_size(t, HEADER_AT, e));
    TRY(read_place(f, entry, t, e));
    if (empty) {
        log_debug("tensor %s has no elements and is left out", name);
        return 0;
    }
    string_table_add(&f->names, name, strlen(name), (int32_t)f->source.count);
    f->source.count++;
    return 0;
}

/* With no two of them overlapping, they fill the data when their sizes add up to it. */
static int check_filled(const struct safetensors *f, struct error *e)
{
    uint64_t used = 0;
    TRY(tensor_directory_check_overlap(f->tensors, f->source.count, e));
    for (size_t i = 0; i < f->source.count; i++)
        used += f->tensors[i].bytes;
    if (used != f->data_bytes)
        return error_at(e, ERROR_BAD_FORMAT, f->data,
                        "the tensors take %" PRIu64 " bytes but the file holds %" PRIu64
                        " behind its header: there are holes",
                        used, f->data_bytes);
    return 0;
}

static int read_all(struct safetensors *f, struct error *e)
{
    const char *name;
    json_t *entry;
    TRY(read_header(f, e));
    size_t n = json_object_size(f->header);
    f->tensors = arena_alloc(f->arena, n + 1, sizeof *f->tensors);
    if (!f->tensors)
        return error_no_memory(e);
    TRY(string_table_init(&f->names, n + 1, e));
    json_object_foreach(f->header, name, entry)
    {
        if (strcmp(name, "__metadata__") != 0)
            TRY(read_entry(f, name, entry, e));
    }
    return check_filled(f, e);
}

int safetensors_open_take(struct bytes *b, struct tensor_file **out, struct error *e)
{
    struct safetensors *f = calloc(1, sizeof *f);
    if (f)
        f->arena = arena_create(LIMIT_FILE_ARENA);
    if (!f || !f->arena) {
        free(f);
        bytes_close(b);
        return error_no_memory(e);
    }
    f->bytes = b;
    if (read_all(f, e) < 0) {
        close_safetensors(&f->file);
        return -1;
    }
    f->source.tensors = f->tensors;
    f->source.find = find_tensor;
    f->source.read = read_tensor;
    json_t *metadata = json_object_get(f->header, "__metadata__");
    f->file = (struct tensor_file){.source = &f->source,
                                   .format = "safetensors",
                                   .file_bytes = bytes_size(b),
                                   .metadata = json_is_object(metadata) ? metadata : NULL,
                                   .close = close_safetensors};
    *out = &f->file;
    return 0;
}
