/* gguf_tensors.c - the tensor directory of a GGUF file, and reading tensors later, from any thread.
 * Every size is computed with overflow checks and compared with the file before it is believed. */
#include "engine/formats/gguf.h"

#include <inttypes.h>
#include <string.h>

#include "engine/formats/tensor_directory.h"

enum { DEFAULT_ALIGNMENT = 32, MAX_ALIGNMENT = 1 << 20, LEAST_ENTRY_BYTES = 8 + 4 + 8 + 4 + 8 };

/* ggml's names by number, to say which type a file has; NULL where ggml has none (any more). */
static const char *ggml_type_name(uint32_t id)
{
    static const char *const names[] = {
        "F32",    "F16",   "Q4_0",  "Q4_1",   NULL,    NULL,    "Q5_0",    "Q5_1",   "Q8_0",    "Q8_1",
        "Q2_K",   "Q3_K",  "Q4_K",  "Q5_K",   "Q6_K",  "Q8_K",  "IQ2_XXS", "IQ2_XS", "IQ3_XXS", "IQ1_S",
        "IQ4_NL", "IQ3_S", "IQ2_S", "IQ4_XS", "I8",    "I16",   "I32",     "I64",    "F64",     "IQ1_M",
        "BF16",   NULL,    NULL,    NULL,     "TQ1_0", "TQ2_0", NULL,      NULL,     NULL,      "MXFP4"};
    return id < sizeof names / sizeof names[0] ? names[id] : NULL;
}

static int read_name(struct gguf *g, struct tensor_info *t, int32_t index, struct error *e)
{
    const char *text;
    size_t len;
    uint64_t at = bytes_offset(g->file);
    TRY(gguf_string(g, LIMIT_TENSOR_NAME, &text, &len, "a tensor name", e));
    if (!tensor_name_ok(text, len))
        return error_at(e, ERROR_BAD_FORMAT, at, "the name of tensor %" PRId32 " is not printable text",
                        index);
    char *name = arena_copy(g->arena, text, len);
    if (!name)
        return error_no_memory(e);
    if (string_table_add(&g->tensor_names, name, len, index) >= 0)
        return error_at(e, ERROR_BAD_FORMAT, at, "the tensor %s appears twice", name);
    t->name = name;
    return 0;
}

static int read_dims(struct gguf *g, struct tensor_info *t, struct error *e)
{
    uint64_t at = bytes_offset(g->file);
    uint32_t n;
    TRY(bytes_u32(g->file, &n, t->name, e));
    if (n < 1 || n > LIMIT_DIMENSIONS)
        return error_at(e, ERROR_BAD_FORMAT, at,
                        "tensor %s has %" PRIu32 " dimensions; it must be from 1 to %d", t->name, n,
                        LIMIT_DIMENSIONS);
    t->n_dims = n;
    for (unsigned i = 0; i < LIMIT_DIMENSIONS; i++) {
        t->dims[i] = 1;
        if (i < n)
            TRY(bytes_u64(g->file, &t->dims[i], t->name, e));
        if (t->dims[i] == 0)
            return error_at(e, ERROR_BAD_FORMAT, at, "tensor %s has a dimension of 0", t->name);
    }
    return 0;
}

static int read_dtype(struct gguf *g, struct tensor_info *t, struct error *e)
{
    uint64_t at = bytes_offset(g->file);
    uint32_t id;
    TRY(bytes_u32(g->file, &id, t->name, e));
    int dtype = dtype_from_gguf(id);
    if (dtype >= 0) {
        t->dtype = (enum dtype)dtype;
        return 0;
    }
    const char *name = ggml_type_name(id);
    if (name)
        return error_at(e, ERROR_BAD_FORMAT, at, "tensor %s is of type %s, which is not supported", t->name,
                        name);
    return error_at(e, ERROR_BAD_FORMAT, at, "tensor %s is of unknown type %" PRIu32, t->name, id);
}

/* at: where the entry starts, for errors that show only when the whole directory is known. */
static int read_entry(struct gguf *g, struct tensor_info *t, int32_t index, uint64_t *at, struct error *e)
{
    *at = bytes_offset(g->file);
    TRY(read_name(g, t, index, e));
    TRY(read_dims(g, t, e));
    TRY(read_dtype(g, t, e));
    TRY(tensor_directory_size(t, *at, e));
    return bytes_u64(g->file, &t->offset, t->name, e);
}

static int read_alignment(const struct gguf *g, uint64_t *out, struct error *e)
{
    const json_t *value = json_object_get(g->config, "general.alignment");
    *out = DEFAULT_ALIGNMENT;
    if (!value)
        return 0;
    json_int_t n = json_integer_value(value); /* 0 for other types */
    if (n < 1 || n > MAX_ALIGNMENT || (n & (n - 1)) != 0)
        return error_set(e, ERROR_BAD_FORMAT,
                         "general.alignment is %" JSON_INTEGER_FORMAT
                         "; it must be a power of two, at most %d",
                         n, MAX_ALIGNMENT);
    *out = (uint64_t)n;
    return 0;
}

/* From an offset in the data section to one in the file. */
static int place_tensor(const struct gguf *g, struct tensor_info *t, uint64_t data, uint64_t alignment,
                        uint64_t at, struct error *e)
{
    uint64_t size = bytes_size(g->file);
    if (t->offset % alignment != 0)
        return error_at(e, ERROR_BAD_FORMAT, at,
                        "tensor %s: its offset %" PRIu64 " is not a multiple of %" PRIu64, t->name, t->offset,
                        alignment);
    if (data > size || t->offset > size - data || t->bytes > size - data - t->offset)
        return error_at(e, ERROR_BAD_FORMAT, at,
                        "tensor %s: %" PRIu64 " bytes at offset %" PRIu64
                        " of the data do not fit into the file of %" PRIu64 " bytes",
                        t->name, t->bytes, t->offset, size);
    t->offset += data;
    return 0;
}

static const struct tensor_info *find_tensor(const struct tensor_source *s, const char *name)
{
    const struct gguf *g = (const struct gguf *)((const char *)s - offsetof(struct gguf, source));
    int32_t index = string_table_find(&g->tensor_names, name, strlen(name));
    return index < 0 ? NULL : &s->tensors[index];
}

static int read_tensor(const struct tensor_source *s, const struct tensor_info *t, uint64_t offset, void *dst,
                       size_t n, struct error *e)
{
    const struct gguf *g = (const struct gguf *)((const char *)s - offsetof(struct gguf, source));
    if (offset > t->bytes || n > t->bytes - offset)
        return error_set(e, ERROR_INTERNAL, "tensor %s has no %zu bytes at %" PRIu64, t->name, n, offset);
    if (bytes_read_at(g->file, t->offset + offset, dst, n, e) < 0)
        return error_prefix(e, "tensor %s", t->name);
    return 0;
}

int gguf_read_tensors(struct gguf *g, struct error *e)
{
    size_t n = (size_t)g->n_tensors;
    TRY(bytes_expect(g->file, n, LEAST_ENTRY_BYTES, "the tensor directory", e));
    TRY(string_table_init(&g->tensor_names, n, e));
    struct tensor_info *tensors = arena_alloc(g->arena, n, sizeof *tensors);
    uint64_t *places = arena_alloc(g->arena, n, sizeof *places);
    if (!tensors || !places)
        return error_no_memory(e);
    for (size_t i = 0; i < n; i++)
        TRY(read_entry(g, &tensors[i], (int32_t)i, &places[i], e));
    uint64_t alignment;
    TRY(read_alignment(g, &alignment, e));
    uint64_t data = (bytes_offset(g->file) + alignment - 1) & ~(alignment - 1);
    for (size_t i = 0; i < n; i++)
        TRY(place_tensor(g, &tensors[i], data, alignment, places[i], e));
    TRY(tensor_directory_check_overlap(tensors, n, e));
    g->source =
        (struct tensor_source){.count = n, .tensors = tensors, .find = find_tensor, .read = read_tensor};
    return 0;
}
