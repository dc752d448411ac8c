/* torch.c - opens a file of torch.save (.pt, .pth, pytorch_model.bin): the names and views of a state_dict,
 * and where their elements lie.  Nothing in the pickle is ever executed; see pickle.h. Called by the FORMAT
 * TABLE, on any thread.  Tensors come out row-major whatever their strides; rank 0 becomes one element;
 * tensors without elements are left out, for nothing can be read of them.  Names lose the "module." of
 * DataParallel and the "_orig_mod." of torch.compile when all of them have it. */
#include "engine/formats/torch.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "engine/formats/tensor_directory.h"

enum { SHORTEST_ID = 5, LONGEST_ID = 6 };

/* ---- the tensor source ---------------------------------------------------------------------------- */

static struct torch *torch_of(const struct tensor_source *s)
{
    return (struct torch *)(uintptr_t)((const char *)s - offsetof(struct torch, source));
}

static const struct tensor_info *find_tensor(const struct tensor_source *s, const char *name)
{
    int32_t i = string_table_find(&torch_of(s)->names, name, strlen(name));
    return i < 0 ? NULL : &s->tensors[i];
}

static int read_tensor(const struct tensor_source *s, const struct tensor_info *t, uint64_t offset, void *dst,
                       size_t n, struct error *e)
{
    struct torch *f = torch_of(s);
    if (offset > t->bytes || n > t->bytes - offset)
        return error_set(e, ERROR_INTERNAL, "tensor %s has no %zu bytes at %" PRIu64, t->name, n, offset);
    int status = f->views[t - f->tensors].contiguous ? bytes_read_at(f->bytes, t->offset + offset, dst, n, e)
                                                     : torch_view_read(f, t, offset, dst, n, e);
    return status < 0 ? error_prefix(e, "tensor %s", t->name) : 0;
}

static void close_torch(struct tensor_file *file)
{
    struct torch *f = (struct torch *)(void *)file;
    pthread_mutex_destroy(&f->panel.lock);
    free(f->panel.data);
    string_table_free(&f->names);
    arena_free(f->arena);
    bytes_close(f->bytes);
    free(f);
}

/* ---- storages ------------------------------------------------------------------------------------- */

static bool is_count(const struct pickle_value *v)
{
    return v->kind == PICKLE_INT && v->integer >= 0;
}

/* ('storage', class, key, device, elements) and in old files (key of the view, its first element, elements).
 */
int torch_read_storage(const struct pickle_value *v, struct torch_storage *out, struct error *e)
{
    const struct pickle_value *id = &v->call->args;
    uint64_t at = v->call->offset;
    if (id->kind != PICKLE_TUPLE || id->list->n < SHORTEST_ID || id->list->n > LONGEST_ID ||
        !pickle_text_is(&id->list->items[0], "storage"))
        return error_at(e, ERROR_BAD_FORMAT, at, "the pickle refers to something that is no storage");
    const struct pickle_value *items = id->list->items;
    *out = (struct torch_storage){
        .key = items[2].text, .key_len = items[2].len, .type = torch_type(&items[1]), .at = at};
    if (!out->type || items[2].kind != PICKLE_TEXT || !is_count(&items[4]) ||
        !tensor_name_ok(items[2].text, items[2].len))
        return error_at(e, ERROR_BAD_FORMAT, at, "the pickle describes a storage in a way that is not known");
    out->elements = (uint64_t)items[4].integer;
    if (id->list->n < LONGEST_ID || items[5].kind == PICKLE_NONE)
        return 0;
    const struct pickle_list *view = items[5].list;
    if (items[5].kind != PICKLE_TUPLE || view->n != 3 || !is_count(&view->items[1]) ||
        !is_count(&view->items[2]))
        return error_at(e, ERROR_BAD_FORMAT, at, "the pickle describes a storage in a way that is not known");
    out->first = (uint64_t)view->items[1].integer;
    return 0;
}

/* PREFIX/data/KEY.  Its size must be what the pickle says, but for a last incomplete element. */
static int place_zip(const struct torch *f, const struct torch_container *c, struct torch_storage *s,
                     struct error *e)
{
    char *name = arena_printf(c->arena, "%sdata/%s", c->prefix, s->key);
    if (!name)
        return error_no_memory(e);
    const struct zip_entry *entry = zip_find(&c->zip, name, strlen(name));
    if (!entry)
        return error_at(e, ERROR_BAD_FORMAT, s->at, "the data of storage %.60s are not in the file", s->key);
    if (entry->size / s->type->bytes != s->elements)
        return error_at(e, ERROR_BAD_FORMAT, entry->header,
                        "storage %.60s has %" PRIu64 " bytes in the file but %" PRIu64
                        " elements of %zu bytes in "
                        "the pickle",
                        s->key, entry->size, s->elements, s->type->bytes);
    return zip_locate(f->bytes, &c->zip, entry, &s->offset, e);
}

/* ---- one tensor ------------------------------------------------------------------------------------ */

static int bad_tensor(const struct torch_rebuild *r, const struct tensor_info *t, const char *what,
                      struct error *e)
{
    return error_at(e, ERROR_BAD_FORMAT, r->offset, "tensor %s %s", t->name, what);
}

static int check_call(const struct torch_rebuild *r, const struct tensor_info *t, struct error *e)
{
    static const size_t least[] = {[TORCH_TENSOR] = 4, [TORCH_TENSOR_V2] = 6, [TORCH_TENSOR_V3] = 7};
    if (r->call > TORCH_TENSOR_V3)
        return error_at(e, ERROR_BAD_FORMAT, r->offset, "tensor %s is made by %s.%s, which is not supported",
                        t->name, r->name->module, r->name->name);
    const struct pickle_value *a = r->args->items;
    if (r->args->n < least[r->call] || a[0].kind != PICKLE_STORAGE || a[2].kind != PICKLE_TUPLE ||
        a[3].kind != PICKLE_TUPLE || a[2].list->n != a[3].list->n)
        return bad_tensor(r, t, "is made of the wrong arguments", e);
    if (!is_count(&a[1]))
        return bad_tensor(r, t, "has a negative or absurd storage offset", e);
    for (size_t i = least[r->call]; i < r->args->n; i++) {
        if (a[i].kind == PICKLE_DICT && a[i].list->n > 0)
            return bad_tensor(r, t, "is a conjugated or negated view, which is not supported", e);
    }
    if (a[2].list->n > LIMIT_DIMENSIONS)
        return error_at(e, ERROR_BAD_FORMAT, r->offset,
                        "tensor %s has %zu dimensions; at most %d are supported", t->name, a[2].list->n,
                        LIMIT_DIMENSIONS);
    return 0;
}

static int read_dtype(const struct torch_rebuild *r, const struct torch_storage *s, struct tensor_info *t,
                      struct error *e)
{
    const struct torch_type *type = r->call == TORCH_TENSOR_V3 ? torch_type(&r->args->items[6]) : s->type;
    if (!type)
        return bad_tensor(r, t, "has no dtype", e);
    if (type->dtype >= 0) {
        t->dtype = (enum dtype)type->dtype;
        return 0;
    }
    return error_at(e, ERROR_BAD_FORMAT, r->offset, "tensor %s is of type %s, which is not supported",
                    t->name, type->name);
}

/* Slowest dimension first in torch, fastest first here.  *empty: there is a 0 among the sizes. */
static int read_sizes(const struct torch_rebuild *r, struct tensor_info *t, struct torch_view *view,
                      bool *empty, struct error *e)
{
    const struct pickle_list *sizes = r->args->items[2].list, *strides = r->args->items[3].list;
    size_t n = sizes->n;
    t->n_dims = n ? (unsigned)n : 1;
    for (unsigned d = 0; d < LIMIT_DIMENSIONS; d++)
        t->dims[d] = 1;
    *empty = false;
    for (size_t i = 0; i < n; i++) {
        const struct pickle_value *size = &sizes->items[n - 1 - i], *stride = &strides->items[n - 1 - i];
        if (!is_count(size))
            return bad_tensor(r, t, "has a negative or absurd size", e);
        if (!is_count(stride))
            return bad_tensor(r, t, "has a negative or absurd stride", e);
        t->dims[i] = (uint64_t)size->integer;
        view->strides[i] = (uint64_t)stride->integer;
        *empty = *empty || size->integer == 0;
    }
    return 0;
}

/* The last element must lie in the storage; the first is at *first. */
static int check_view(const struct torch_rebuild *r, const struct torch_storage *s, size_t element,
                      const struct tensor_info *t, struct torch_view *view, uint64_t *first, struct error *e)
{
    uint64_t last, step, dense = 1;
    bool overflow = __builtin_add_overflow(s->first, (uint64_t)r->args->items[1].integer, &last);
    *first = last;
    view->contiguous = true;
    for (unsigned d = 0; d < t->n_dims && !overflow; d++) {
        overflow = __builtin_mul_overflow(t->dims[d] - 1, view->strides[d], &step) ||
                   __builtin_add_overflow(last, step, &last);
        view->contiguous = view->contiguous && (t->dims[d] == 1 || view->strides[d] == dense);
        dense *= t->dims[d]; /* checked by tensor_directory_size() */
    }
    uint64_t there = s->elements * s->type->bytes / element;
    if (overflow || last >= there)
        return error_at(e, ERROR_BAD_FORMAT, r->offset,
                        "tensor %s reaches beyond its storage %.60s of %" PRIu64 " elements", t->name, s->key,
                        there);
    if (t->bytes > there * element && t->bytes > LIMIT_EXPANDED_TENSOR)
        return error_at(e, ERROR_BAD_FORMAT, r->offset,
                        "tensor %s repeats its elements up to %" PRIu64 " bytes; at most %d are accepted",
                        t->name, t->bytes, LIMIT_EXPANDED_TENSOR);
    return 0;
}

/* 1: t and view are filled; 0: a tensor without elements. */
static int read_tensor_value(struct torch *f, const struct torch_container *c, const struct torch_rebuild *r,
                             struct tensor_info *t, struct torch_view *view, struct error *e)
{
    struct torch_storage s;
    bool empty;
    uint64_t first;
    TRY(check_call(r, t, e));
    TRY(torch_read_storage(&r->args->items[0], &s, e));
    TRY(read_sizes(r, t, view, &empty, e));
    if (empty)
        return 0;
    TRY(read_dtype(r, &s, t, e));
    TRY(tensor_directory_size(t, r->offset, e));
    TRY(c->place(f, c, &s, e));
    TRY(check_view(r, &s, dtype_bytes(t->dtype, 1), t, view, &first, e));
    t->offset = s.offset + first * dtype_bytes(t->dtype, 1);
    return 1;
}

/* ---- the directory --------------------------------------------------------------------------------- */

/* Length of what all names begin with and nobody wants. */
static size_t common_prefix(const struct tensor_info *tensors, size_t n)
{
    static const char *const prefixes[] = {"module.", "_orig_mod."};
    size_t skip = 0;
    for (size_t p = 0; n > 0 && p < 2;) {
        size_t len = strlen(prefixes[p]), i = 0;
        while (i < n && strncmp(tensors[i].name + skip, prefixes[p], len) == 0 && tensors[i].name[skip + len])
            i++;
        p = i == n ? 0 : p + 1;
        skip += i == n ? len : 0;
    }
    return skip;
}

static int name_tensors(struct torch *f, size_t n, struct error *e)
{
    size_t skip = common_prefix(f->tensors, n);
    TRY(string_table_init(&f->names, n, e));
    for (size_t i = 0; i < n; i++) {
        struct tensor_info *t = &f->tensors[i];
        t->name += skip;
        if (string_table_add(&f->names, t->name, strlen(t->name), (int32_t)i) >= 0)
            return error_set(e, ERROR_BAD_FORMAT, "the tensor %s appears twice", t->name);
    }
    f->source =
        (struct tensor_source){.count = n, .tensors = f->tensors, .find = find_tensor, .read = read_tensor};
    f->file.source = &f->source;
    return 0;
}

static int read_name(struct torch *f, const struct pickle_value *key, uint64_t at, struct tensor_info *t,
                     struct error *e)
{
    if (key->len == 0 || !tensor_name_ok(key->text, key->len))
        return error_at(e, ERROR_BAD_FORMAT, at, "the name of a tensor is not printable text");
    t->name = arena_copy(f->arena, key->text, key->len);
    return t->name ? 0 : error_no_memory(e);
}

static int read_state(struct torch *f, const struct torch_container *c, struct error *e)
{
    const struct pickle_list *state;
    size_t n = 0;
    TRY(torch_find_state(&c->pickle.root, &state, e));
    size_t most = state->n / 2 < LIMIT_TENSORS ? state->n / 2 : LIMIT_TENSORS;
    f->tensors = arena_alloc(f->arena, most, sizeof *f->tensors);
    f->views = arena_alloc(f->arena, most, sizeof *f->views);
    if (!f->tensors || !f->views)
        return error_no_memory(e);
    for (size_t i = 0; i + 1 < state->n; i += 2) {
        struct torch_rebuild r;
        if (state->items[i].kind != PICKLE_TEXT || !torch_is_tensor(&state->items[i + 1], &r))
            continue;
        if (n == LIMIT_TENSORS)
            return error_set(e, ERROR_BAD_FORMAT, "the file has more than %d tensors", LIMIT_TENSORS);
        memset(&f->tensors[n], 0, sizeof f->tensors[n]);
        TRY(read_name(f, &state->items[i], r.offset, &f->tensors[n], e));
        int status = read_tensor_value(f, c, &r, &f->tensors[n], &f->views[n], e);
        TRY(status);
        n += (size_t)status;
    }
    return name_tensors(f, n, e);
}

/* ---- the zip container ------------------------------------------------------------------------------ */

/* The pickle's entry; what stands before "data.pkl" stands before the names of the others too. */
static int find_pickle(struct torch_container *c, const struct zip_entry **out, struct error *e)
{
    static const char last[] = "data.pkl";
    const size_t len = sizeof last - 1;
    *out = NULL;
    for (size_t i = 0; i < c->zip.n; i++) {
        const struct zip_entry *z = &c->zip.entries[i];
        if (z->name_len < len || strcmp(z->name + z->name_len - len, last) != 0 ||
            (z->name_len > len && z->name[z->name_len - len - 1] != '/'))
            continue;
        if (*out)
            return error_set(e, ERROR_BAD_FORMAT, "the zip file has more than one data.pkl");
        *out = z;
    }
    if (!*out)
        return error_set(e, ERROR_BAD_FORMAT,
                         "the zip file has no data.pkl; it was not written by torch.save");
    c->prefix = arena_copy(c->arena, (*out)->name, (*out)->name_len - len);
    return c->prefix ? 0 : error_no_memory(e);
}

static const struct zip_entry *find_beside(const struct torch_container *c, const char *name)
{
    char *whole = arena_printf(c->arena, "%s%s", c->prefix, name);
    return whole ? zip_find(&c->zip, whole, strlen(whole)) : NULL;
}

static int check_byte_order(const struct torch *f, const struct torch_container *c, struct error *e)
{
    static const char little[] = "little";
    char text[sizeof little - 1];
    uint64_t at;
    const struct zip_entry *z = find_beside(c, "byteorder");
    if (!z)
        return 0; /* before torch 2.1 */
    TRY(zip_locate(f->bytes, &c->zip, z, &at, e));
    if (z->size == sizeof text) {
        TRY(bytes_read_at(f->bytes, at, text, sizeof text, e));
        if (memcmp(text, little, sizeof text) == 0)
            return 0;
    }
    return error_at(e, ERROR_BAD_FORMAT, at, "the file is not little-endian");
}

static int read_zip(struct torch *f, struct torch_container *c, struct error *e)
{
    const struct zip_entry *z;
    uint64_t at;
    size_t n;
    const struct pickle_name *names = torch_names(&n);
    TRY(zip_read(f->bytes, c->arena, &c->zip, e));
    TRY(find_pickle(c, &z, e));
    if (find_beside(c, "constants.pkl"))
        return error_set(e, ERROR_BAD_FORMAT,
                         "the file is a TorchScript program; save the model's state_dict() instead");
    TRY(check_byte_order(f, c, e));
    TRY(zip_locate(f->bytes, &c->zip, z, &at, e));
    TRY(bytes_skip(f->bytes, at, "data.pkl", e));
    c->place = place_zip;
    f->file.format = "PyTorch zip";
    return pickle_read(f->bytes, at + z->size, names, n, c->arena, &c->pickle, e);
}

/* ---- opening --------------------------------------------------------------------------------------- */

static int read_container(struct torch *f, struct torch_container *c, struct error *e)
{
    uint8_t magic[2];
    c->arena = arena_create(LIMIT_FILE_ARENA);
    if (!c->arena)
        return error_no_memory(e);
    if (bytes_size(f->bytes) < sizeof magic)
        return error_set(e, ERROR_BAD_FORMAT, "the file is empty or almost so");
    TRY(bytes_read_at(f->bytes, 0, magic, sizeof magic, e));
    if (magic[0] == 0x80)
        return torch_legacy_read(f, c, e);
    if (magic[0] != 'P' || magic[1] != 'K')
        return error_at(
            e, ERROR_BAD_FORMAT, 0,
            "the file begins neither as a zip file nor as a pickle; torch.save writes one of them");
    return read_zip(f, c, e);
}

static int read_all(struct torch *f, struct error *e)
{
    struct torch_container c = {0};
    f->arena = arena_create(LIMIT_FILE_ARENA);
    if (!f->arena)
        return error_no_memory(e);
    int status = read_container(f, &c, e);
    if (status == 0)
        status = read_state(f, &c, e);
    string_table_free(&c.storages);
    zip_free(&c.zip);
    arena_free(c.arena);
    return status;
}

int torch_open_take(struct bytes *b, struct tensor_file **out, struct error *e)
{
    struct torch *f = calloc(1, sizeof *f);
    if (!f || pthread_mutex_init(&f->panel.lock, NULL) != 0) {
        free(f);
        bytes_close(b);
        return error_no_memory(e);
    }
    f->bytes = b;
    f->file.file_bytes = bytes_size(b);
    f->file.close = close_torch;
    if (read_all(f, e) < 0) {
        close_torch(&f->file);
        return -1;
    }
    *out = &f->file;
    return 0;
}
