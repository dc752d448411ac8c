/* names.c - see names.h: presents a checkpoint of another dialect as if it were a GGUF file.
 * Tensors keep their bytes where they are; what GGUF keeps differently is rearranged as it is read.
 * Translations of hyperparameters that several families share are in names_translate.c. */
#include "engine/models/names.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/json.h"
#include "engine/base/log.h"
#include "engine/base/string_table.h"

enum { ADOPTED_ARENA = 256 << 20, CHUNK_FLOATS = 1024 };

struct adopted_tensor {
    const struct tensor_info *original; /* NULL: `numbers` */
    enum tensor_change change;
    size_t heads;   /* of ROTARY_PAIRS and HEADS_QKV */
    size_t skipped; /* of SKIP_ROWS */
    const float *numbers;
};

struct adopted {
    struct checkpoint checkpoint;
    struct tensor_source source; /* its functions find the adopted checkpoint through this member */
    const struct tensor_source *original;
    const struct naming *naming; /* NULL: a GGUF file as it is */
    struct arena *arena;
    json_t *config;
    struct tensor_info *infos; /* (capacity) */
    struct adopted_tensor *tensors;
    size_t capacity;
    struct string_table index;
};

static const struct adopted *adopted_of(const struct tensor_source *s)
{
    return (const struct adopted *)((const char *)s - offsetof(struct adopted, source));
}

/* ---- reading ---------------------------------------------------------------------------------- */

static const struct tensor_info *find_adopted(const struct tensor_source *s, const char *name)
{
    const struct adopted *a = adopted_of(s);
    int32_t i = string_table_find(&a->index, name, strlen(name));
    return i < 0 ? NULL : &a->infos[i];
}

/* Where row i of the adopted tensor lies in the original. */
static uint64_t original_row(const struct adopted_tensor *t, uint64_t rows, uint64_t i)
{
    if (t->change == CHANGE_HEADS_QKV) { /* (3, heads, dim) from (heads, 3, dim) */
        uint64_t dim = rows / 3 / t->heads, part = i / (t->heads * dim), head = i / dim % t->heads;
        return (head * 3 + part) * dim + i % dim;
    }
    uint64_t dim = rows / t->heads, head = i / dim, in_head = i % dim;
    return head * dim + in_head % 2 * (dim / 2) + in_head / 2;
}

static int read_rows(const struct adopted *a, const struct adopted_tensor *t, const struct tensor_info *info,
                     uint64_t offset, uint8_t *dst, size_t n, struct error *e)
{
    uint64_t rows = info->n_dims == 1 ? info->dims[0] : info->dims[1], row_bytes = info->bytes / rows;
    while (n > 0) {
        uint64_t row = offset / row_bytes, within = offset % row_bytes;
        size_t part = row_bytes - within < n ? (size_t)(row_bytes - within) : n;
        uint64_t from = original_row(t, rows, row) * row_bytes + within;
        TRY(a->original->read(a->original, t->original, from, dst, part, e));
        dst += part;
        offset += part;
        n -= part;
    }
    return 0;
}

/* Elements [offset, offset+n) of the transposed matrix: a strip of every row of the original. */
static int read_transposed(const struct adopted *a, const struct adopted_tensor *t,
                           const struct tensor_info *info, uint64_t offset, uint8_t *dst, size_t n,
                           struct error *e)
{
    size_t size = dtype_bytes(info->dtype, 1);
    uint64_t cols = info->dims[0], rows = info->dims[1];
    uint64_t begin = offset / size, end = begin + n / size;
    uint64_t first = begin / cols, last = (end - 1) / cols;
    size_t strip = (size_t)(last - first + 1) * size;
    uint8_t *buffer = malloc(strip);
    if (!buffer)
        return error_no_memory(e);
    int status = 0;
    for (uint64_t c = 0; c < cols && status == 0; c++) {
        status = a->original->read(a->original, t->original, (c * rows + first) * size, buffer, strip, e);
        for (uint64_t r = first; r <= last && status == 0; r++) {
            uint64_t element = r * cols + c;
            if (element >= begin && element < end)
                memcpy(dst + (element - begin) * size, buffer + (r - first) * size, size);
        }
    }
    free(buffer);
    return status;
}

/* The adopted tensor is float32 whatever the original is. */
static int read_plus_one(const struct adopted *a, const struct adopted_tensor *t, uint64_t offset,
                         uint8_t *dst, size_t n, struct error *e)
{
    enum dtype dtype = t->original->dtype;
    size_t size = dtype_bytes(dtype, 1);
    uint8_t raw[CHUNK_FLOATS * 8];
    float values[CHUNK_FLOATS];
    for (size_t left = n / sizeof(float), at = offset / sizeof(float); left > 0;) {
        size_t part = left < CHUNK_FLOATS ? left : CHUNK_FLOATS;
        TRY(a->original->read(a->original, t->original, at * size, raw, part * size, e));
        dtype_to_f32(dtype, raw, part, values);
        for (size_t i = 0; i < part; i++)
            values[i] += 1;
        memcpy(dst, values, part * sizeof(float));
        dst += part * sizeof(float);
        at += part;
        left -= part;
    }
    return 0;
}

static int read_adopted(const struct tensor_source *s, const struct tensor_info *info, uint64_t offset,
                        void *dst, size_t n, struct error *e)
{
    const struct adopted *a = adopted_of(s);
    const struct adopted_tensor *t = &a->tensors[info->offset];
    if (offset > info->bytes || n > info->bytes - offset)
        return error_set(e, ERROR_INTERNAL, "tensor %s has no %zu bytes at %llu", info->name, n,
                         (unsigned long long)offset);
    if (!t->original) {
        memcpy(dst, (const uint8_t *)t->numbers + offset, n);
        return 0;
    }
    size_t size = t->change == CHANGE_PLUS_ONE ? sizeof(float) : dtype_row(info->dtype)->block_bytes;
    if (n == 0 || (t->change != CHANGE_NONE && (offset % size != 0 || n % size != 0)))
        return n == 0 ? 0
                      : error_set(e, ERROR_INTERNAL, "tensor %s is read in the middle of an element",
                                  info->name);
    switch (t->change) {
    case CHANGE_NONE:
    case CHANGE_SQUEEZE:
        return a->original->read(a->original, t->original, offset, dst, n, e);
    case CHANGE_TRANSPOSE:
        return read_transposed(a, t, info, offset, dst, n, e);
    case CHANGE_PLUS_ONE:
        return read_plus_one(a, t, offset, dst, n, e);
    case CHANGE_SKIP_ROWS:
        return a->original->read(a->original, t->original, offset + t->original->bytes - info->bytes, dst, n,
                                 e);
    default:
        return read_rows(a, t, info, offset, dst, n, e);
    }
}

/* ---- names ------------------------------------------------------------------------------------ */

/* pattern with layer for %zu and names.KEY for {KEY}, after prefix; false when it does not fit or a key is
 * not there. */
static bool expand(const json_t *config, const char *prefix, const char *pattern, size_t layer, char *out,
                   size_t size)
{
    int n = snprintf(out, size, "%s", prefix);
    size_t used = n > 0 ? (size_t)n : 0;
    for (const char *p = pattern; *p && used < size;) {
        if (strncmp(p, "%zu", 3) == 0) {
            used += (size_t)snprintf(out + used, size - used, "%zu", layer);
            p += 3;
        } else if (*p == '{') {
            char inner[64], key[96];
            size_t len = strcspn(p, "}");
            snprintf(inner, sizeof inner, "%.*s", (int)(len - 1), p + 1);
            if (!expand(config, "names.", inner, layer, key, sizeof key))
                return false;
            const char *text = json_string_value(json_object_get(config, key));
            if (!text)
                return false;
            used += (size_t)snprintf(out + used, size - used, "%s", text);
            p += len + 1;
        } else {
            out[used++] = *p++;
        }
    }
    if (used >= size)
        return false;
    out[used] = 0;
    return true;
}

static const struct tensor_info *find_original(const struct adopted *a, const struct naming *naming,
                                               const char *pattern, size_t layer)
{
    static const char *const no_prefix[] = {"", NULL};
    char name[LIMIT_TENSOR_NAME];
    for (const char *const *prefix = naming->prefixes ? naming->prefixes : no_prefix; *prefix; prefix++) {
        const struct tensor_info *t = NULL;
        if (expand(a->config, *prefix, pattern, layer, name, sizeof name))
            t = a->original->find(a->original, name);
        if (t)
            return t;
    }
    return NULL;
}

static size_t head_count(const struct adopted *a, enum tensor_change change)
{
    char key[160];
    snprintf(key, sizeof key, "%s.attention.head_count%s", a->checkpoint.architecture,
             change == CHANGE_ROTARY_PAIRS_KV ? "_kv" : "");
    json_int_t n = json_integer_value(json_object_get(a->config, key));
    if (n == 0 && change == CHANGE_ROTARY_PAIRS_KV)
        return head_count(a, CHANGE_ROTARY_PAIRS);
    return n > 0 && n <= 65536 ? (size_t)n : 0;
}

/* Whether the tensor has the shape that the change needs. */
static int check_change(const struct tensor_info *t, struct adopted_tensor *out, struct error *e)
{
    const struct dtype_row *row = dtype_row(t->dtype);
    uint64_t rows = t->n_dims == 1 ? t->dims[0] : t->dims[1];
    uint64_t parts = out->change == CHANGE_HEADS_QKV ? 3 : 2;
    if (out->change == CHANGE_NONE)
        return 0;
    if (out->change == CHANGE_SQUEEZE)
        return t->dims[1] == 1 || t->dims[2] == 1
                   ? 0
                   : error_set(e, ERROR_BAD_FORMAT, "tensor %s must be a matrix", t->name);
    if (out->change == CHANGE_SKIP_ROWS)
        return t->n_dims == 2 && rows > out->skipped
                   ? 0
                   : error_set(e, ERROR_BAD_FORMAT, "tensor %s has no rows after the first %zu", t->name,
                               out->skipped);
    if (row->block_values != 1 || t->n_dims > 2 || (out->change == CHANGE_TRANSPOSE && t->n_dims != 2))
        return error_set(e, ERROR_BAD_FORMAT, "tensor %s must be a plain matrix or vector", t->name);
    if (out->change == CHANGE_TRANSPOSE || out->change == CHANGE_PLUS_ONE)
        return 0;
    if (out->heads == 0 || rows % (out->heads * parts) != 0)
        return error_set(e, ERROR_BAD_FORMAT,
                         "tensor %s has %llu rows, which %zu attention heads can't share", t->name,
                         (unsigned long long)rows, out->heads);
    return 0;
}

static void shape_adopted(struct tensor_info *info, const struct adopted_tensor *t, const char *name,
                          size_t i)
{
    *info = *t->original;
    info->name = name;
    info->offset = i;
    if (t->change == CHANGE_TRANSPOSE) {
        info->dims[0] = t->original->dims[1];
        info->dims[1] = t->original->dims[0];
    }
    if (t->change == CHANGE_SQUEEZE) {
        info->dims[1] *= info->dims[2];
        info->dims[2] = 1;
        info->n_dims = 2;
    }
    if (t->change == CHANGE_SKIP_ROWS) {
        info->bytes -= info->bytes / info->dims[1] * t->skipped;
        info->dims[1] -= t->skipped;
    }
    if (t->change == CHANGE_PLUS_ONE) {
        info->bytes = info->bytes / dtype_bytes(info->dtype, 1) * sizeof(float);
        info->dtype = DTYPE_F32;
    }
}

/* Adds one tensor under its GGUF name; the first original that is found for a name counts. */
static int add_tensor(struct adopted *a, const char *gguf, size_t layer, const struct adopted_tensor *t,
                      struct error *e)
{
    char name[LIMIT_TENSOR_NAME];
    size_t i = a->source.count;
    if (!expand(a->config, "", gguf, layer, name, sizeof name) || i == a->capacity)
        return error_set(e, ERROR_BAD_FORMAT, "too many tensors, or names too long (%s)", gguf);
    if (string_table_find(&a->index, name, strlen(name)) >= 0)
        return 0;
    char *kept = arena_copy(a->arena, name, strlen(name));
    if (!kept)
        return error_no_memory(e);
    a->tensors[i] = *t;
    if (t->original) {
        TRY(check_change(t->original, &a->tensors[i], e));
        shape_adopted(&a->infos[i], t, kept, i);
    }
    a->infos[i].name = kept;
    a->infos[i].offset = i;
    string_table_add(&a->index, kept, strlen(kept), (int32_t)i);
    a->source.count++;
    return 0;
}

static int add_row(struct adopted *a, const struct naming *naming, const struct tensor_name *row,
                   struct error *e)
{
    bool layered = strstr(row->other, "%zu") != NULL;
    size_t most = layered ? (a->original->count < LIMIT_LAYERS ? a->original->count : LIMIT_LAYERS) : 1;
    for (size_t layer = 0; layer < most; layer++) {
        struct adopted_tensor t = {.original = find_original(a, naming, row->other, layer),
                                   .change = row->change};
        if (row->change == CHANGE_SKIP_ROWS)
            t.skipped = (size_t)json_integer_value(json_object_get(a->config, "names.skipped_rows"));
        if (t.original && (row->change == CHANGE_ROTARY_PAIRS || row->change == CHANGE_ROTARY_PAIRS_KV ||
                           row->change == CHANGE_HEADS_QKV))
            t.heads = head_count(a, row->change);
        if (t.original)
            TRY(add_tensor(a, row->gguf, layer, &t, e));
    }
    return 0;
}

/* What names_put_tensor() left in the config under "names.tensors". */
static int add_numbers(struct adopted *a, struct error *e)
{
    const char *name;
    json_t *numbers;
    json_object_foreach(json_object_get(a->config, "names.tensors"), name, numbers)
    {
        size_t n = json_array_size(numbers);
        float *values = arena_alloc(a->arena, n, sizeof *values);
        if (!values)
            return error_no_memory(e);
        for (size_t i = 0; i < n; i++)
            values[i] = (float)json_number_value(json_array_get(numbers, i));
        if (a->source.count == a->capacity)
            return error_set(e, ERROR_BAD_FORMAT, "the file has too many tensors");
        a->infos[a->source.count] = (struct tensor_info){
            .dtype = DTYPE_F32, .n_dims = 1, .dims = {n, 1, 1, 1}, .bytes = n * sizeof *values};
        TRY(add_tensor(a, name, 0, &(struct adopted_tensor){.numbers = values}, e));
    }
    return 0;
}

/* "names.…" told this file where to look; nobody else wants it. */
static void drop_helpers(json_t *config)
{
    const char *key;
    json_t *value;
    void *next;
    json_object_foreach_safe(config, next, key, value)
    {
        if (strncmp(key, "names.", 6) == 0)
            json_object_del(config, key);
    }
}

static size_t count_rows(const struct naming *naming)
{
    size_t n = 0;
    while (naming->tensors[n].gguf)
        n++;
    return n;
}

static int adopt_tensors(struct adopted *a, const struct naming *naming, struct error *e)
{
    size_t rows = count_rows(naming), extra = json_object_size(json_object_get(a->config, "names.tensors"));
    a->capacity = a->original->count + rows + extra; /* an original may serve under two names */
    a->infos = arena_alloc(a->arena, a->capacity, sizeof *a->infos);
    a->tensors = arena_alloc(a->arena, a->capacity, sizeof *a->tensors);
    if (!a->infos || !a->tensors)
        return error_no_memory(e);
    TRY(string_table_init(&a->index, a->capacity, e));
    a->source = (struct tensor_source){.tensors = a->infos, .find = find_adopted, .read = read_adopted};
    for (size_t i = 0; i < rows; i++)
        TRY(add_row(a, naming, &naming->tensors[i], e));
    TRY(add_numbers(a, e));
    drop_helpers(a->config);
    return 0;
}

/* ---- which architecture ------------------------------------------------------------------------ */

static bool names_type(const struct naming *naming, const struct checkpoint *c)
{
    for (const char *const *type = naming->types; type && *type && c->architecture; type++) {
        if (strcmp(*type, c->architecture) == 0)
            return true;
    }
    return false;
}

static const struct arch *find_naming(const struct checkpoint *c, bool by_shape, const struct naming **out)
{
    const struct arch *arch;
    for (size_t i = 0; (arch = arch_at(i)); i++) {
        for (*out = arch->namings; *out && (*out)->dialect != DIALECT_GGUF; ++*out) {
            if ((*out)->dialect != c->dialect)
                continue;
            if (by_shape ? (*out)->recognise && (*out)->recognise(c) : names_type(*out, c))
                return arch;
        }
    }
    return NULL;
}

static int error_unknown(const struct checkpoint *c, struct error *e)
{
    char known[384];
    if (!c->architecture)
        return error_set(
            e, ERROR_UNSUPPORTED,
            "no file says what this model is, and its tensors have the names of no known family");
    arch_names(known, sizeof known);
    return error_set(e, ERROR_UNSUPPORTED, "architecture %.100s is not supported (supported: %s)",
                     c->architecture, known);
}

/* ---- adopting ---------------------------------------------------------------------------------- */

static void close_adopted(struct checkpoint *c)
{
    struct adopted *a = c->impl;
    string_table_free(&a->index);
    json_decref(a->config);
    arena_free(a->arena);
    free(a);
}

static int translate(struct adopted *a, const struct checkpoint *c, const struct arch *arch,
                     const struct naming *naming, struct error *e)
{
    a->config = json_object();
    a->arena = arena_create(ADOPTED_ARENA);
    if (!a->config || !a->arena)
        return error_no_memory(e);
    a->checkpoint.architecture = arch->name;
    a->checkpoint.dialect = DIALECT_GGUF;
    a->original = c->tensors;
    a->naming = naming;
    if (json_object_set_new(a->config, "general.architecture", json_string(arch->name)) < 0)
        return error_no_memory(e);
    if (naming->translate(c, a->config, e) < 0) {
        e->kind = e->kind == ERROR_INVALID_REQUEST ? ERROR_BAD_FORMAT : e->kind;
        return error_prefix(e, c->dialect == DIALECT_MARIAN ? "special:model.yml" : "config.json");
    }
    TRY(adopt_tensors(a, naming, e));
    a->checkpoint.config = a->config;
    a->checkpoint.tensors = &a->source;
    return 0;
}

int names_adopt(const struct checkpoint *c, struct checkpoint **out, const struct arch **arch,
                struct error *e)
{
    const struct naming *naming = NULL;
    *arch = c->dialect == DIALECT_GGUF ? arch_find(c->architecture) : find_naming(c, false, &naming);
    if (!*arch && c->dialect != DIALECT_GGUF)
        *arch = find_naming(c, true, &naming);
    if (!*arch)
        return error_unknown(c, e);
    struct adopted *a = calloc(1, sizeof *a);
    if (!a)
        return error_no_memory(e);
    a->checkpoint = *c;
    a->checkpoint.impl = a;
    a->checkpoint.close = close_adopted;
    if (c->dialect != DIALECT_GGUF && translate(a, c, *arch, naming, e) < 0) {
        close_adopted(&a->checkpoint);
        return -1;
    }
    *out = &a->checkpoint;
    return 0;
}

/* ---- errors ------------------------------------------------------------------------------------ */

/* The prefix that the file puts before its names: the one that the first tensor of some row has. */
static const char *used_prefix(const struct adopted *a)
{
    char name[LIMIT_TENSOR_NAME];
    for (const char *const *prefix = a->naming->prefixes; prefix && *prefix; prefix++) {
        for (const struct tensor_name *row = a->naming->tensors; row->gguf; row++) {
            if (expand(a->config, *prefix, row->other, 0, name, sizeof name) &&
                a->original->find(a->original, name))
                return *prefix;
        }
    }
    return "";
}

/* What the file would call a tensor.  Of several rows for it the one that names a tensor of the first layer
 * counts, as dialects have variants. */
static bool own_name(const struct adopted *a, const char *gguf, char *out, size_t size)
{
    const char *number = strstr(gguf, "blk."), *prefix = used_prefix(a);
    size_t layer = number ? strtoul(number + 4, NULL, 10) : 0;
    bool found = false;
    for (const struct tensor_name *row = a->naming->tensors; row->gguf; row++) {
        char name[LIMIT_TENSOR_NAME];
        if (!expand(a->config, "", row->gguf, layer, name, sizeof name) || strcmp(name, gguf) != 0)
            continue;
        bool usual =
            find_original(a, a->naming, row->other, layer) || find_original(a, a->naming, row->other, 0);
        if ((usual || !found) && expand(a->config, prefix, row->other, layer, out, size))
            found = true;
        if (usual)
            break;
    }
    return found;
}

void names_explain(const struct checkpoint *adopted, struct error *e)
{
    static const char word[] = "tensor ";
    const struct adopted *a = adopted->impl;
    char gguf[LIMIT_TENSOR_NAME], own[LIMIT_TENSOR_NAME], rest[sizeof e->text];
    char *at = e ? strstr(e->text, word) : NULL;
    if (!at || !a->naming)
        return;
    at += sizeof word - 1;
    size_t len = strcspn(at, " :"), used = (size_t)(at - e->text) + len;
    if (len >= sizeof gguf)
        return;
    snprintf(gguf, sizeof gguf, "%.*s", (int)len, at);
    if (!own_name(a, gguf, own, sizeof own) || strcmp(own, gguf) == 0)
        return;
    snprintf(rest, sizeof rest, "%s", at + len);
    snprintf(e->text + used, sizeof e->text - used, " (%s)%s", own, rest);
}
