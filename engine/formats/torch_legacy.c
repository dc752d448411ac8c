/* torch_legacy.c - the file format of torch.save before 1.6 (and of _use_new_zipfile_serialization=False):
 * five pickles - a magic number, a version, the writer's machine, the object, the keys of its storages - and
 * then for each key, in that order, the number of its elements (8 bytes) and the elements. Called by torch.c
 * while a file is opened. */
#include <inttypes.h>
#include <string.h>

#include "engine/formats/torch.h"

enum { PROTOCOL_VERSION = 1001 };

static int read_one(struct torch *f, struct torch_container *c, struct pickle *out, struct error *e)
{
    size_t n;
    const struct pickle_name *names = torch_names(&n);
    return pickle_read(f->bytes, bytes_size(f->bytes), names, n, c->arena, out, e);
}

static int read_head(struct torch *f, struct torch_container *c, struct error *e)
{
    static const char magic[10] = "\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19";
    struct pickle p;
    TRY(read_one(f, c, &p, e));
    if (p.root.kind != PICKLE_LONG || p.root.len != sizeof magic ||
        memcmp(p.root.text, magic, sizeof magic) != 0)
        return error_at(e, ERROR_BAD_FORMAT, 0, "the file is a pickle, but not one of torch.save");
    TRY(read_one(f, c, &p, e));
    if (p.root.kind != PICKLE_INT || p.root.integer != PROTOCOL_VERSION)
        return error_at(e, ERROR_BAD_FORMAT, bytes_offset(f->bytes),
                        "the version of the torch.save file is not supported");
    TRY(read_one(f, c, &p, e));
    const struct pickle_value *little = pickle_get(&p.root, "little_endian");
    if (!little || little->kind != PICKLE_BOOL || !little->integer)
        return error_at(e, ERROR_BAD_FORMAT, bytes_offset(f->bytes), "the file is not little-endian");
    return 0;
}

/* What the object says of its storages, by key: the file does not repeat their types. */
static int list_storages(struct torch_container *c, struct error *e)
{
    size_t n = c->pickle.storages.n, used = 0;
    c->placed = arena_alloc(c->arena, n, sizeof *c->placed);
    if (!c->placed)
        return error_no_memory(e);
    TRY(string_table_init(&c->storages, n, e));
    for (size_t i = 0; i < n; i++) {
        struct torch_storage *s = &c->placed[used];
        TRY(torch_read_storage(&c->pickle.storages.items[i], s, e));
        int32_t before = string_table_add(&c->storages, s->key, s->key_len, (int32_t)used);
        if (before < 0) {
            used++;
            continue;
        }
        if (c->placed[before].type->bytes != s->type->bytes || c->placed[before].elements != s->elements)
            return error_at(e, ERROR_BAD_FORMAT, s->at,
                            "the pickle disagrees with itself about storage %.60s", s->key);
    }
    return 0;
}

static int place_next(struct torch *f, struct torch_container *c, const struct pickle_value *key,
                      struct error *e)
{
    uint64_t at = bytes_offset(f->bytes), elements, size;
    int32_t i = key->kind == PICKLE_TEXT ? string_table_find(&c->storages, key->text, key->len) : -1;
    if (i < 0)
        return error_at(e, ERROR_BAD_FORMAT, at, "the file lists a storage that its pickle does not know");
    struct torch_storage *s = &c->placed[i];
    if (s->offset)
        return error_at(e, ERROR_BAD_FORMAT, at, "the file lists storage %.60s twice", s->key);
    TRY(bytes_u64(f->bytes, &elements, "the size of a storage", e));
    if (elements != s->elements)
        return error_at(e, ERROR_BAD_FORMAT, at,
                        "storage %.60s has %" PRIu64 " elements in the file but %" PRIu64 " in the pickle",
                        s->key, elements, s->elements);
    if (__builtin_mul_overflow(elements, s->type->bytes, &size))
        return error_at(e, ERROR_BAD_FORMAT, at, "storage %.60s has too many elements", s->key);
    s->offset = bytes_offset(f->bytes);
    return bytes_skip(f->bytes, size, "a storage", e);
}

static int place_legacy(const struct torch *f, const struct torch_container *c, struct torch_storage *s,
                        struct error *e)
{
    (void)f;
    int32_t i = string_table_find(&c->storages, s->key, s->key_len);
    if (i < 0 || !c->placed[i].offset)
        return error_at(e, ERROR_BAD_FORMAT, s->at, "the data of storage %.60s are not in the file", s->key);
    s->offset = c->placed[i].offset;
    return 0;
}

int torch_legacy_read(struct torch *f, struct torch_container *c, struct error *e)
{
    struct pickle keys;
    TRY(read_head(f, c, e));
    TRY(read_one(f, c, &c->pickle, e));
    TRY(list_storages(c, e));
    TRY(read_one(f, c, &keys, e));
    if (keys.root.kind != PICKLE_LIST)
        return error_at(e, ERROR_BAD_FORMAT, bytes_offset(f->bytes), "the file has no list of its storages");
    for (size_t i = 0; i < keys.root.list->n; i++)
        TRY(place_next(f, c, &keys.root.list->items[i], e));
    c->place = place_legacy;
    f->file.format = "PyTorch legacy";
    return 0;
}
