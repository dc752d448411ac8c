/* jinja_dict.c - dictionaries in order of insertion, and JSON as template values.
 * Keys compare as Python's do (1, 1.0 and True are one key).  A hostile set of colliding keys costs
 * its own rendering's steps: every probe is counted. */
#include <math.h>
#include <string.h>

#include "api/jinja_value.h"
#include "engine/base/limits.h"

enum { SMALL_DICT = 8 }; /* entries that are searched without an index */

int jinja_new_dict(struct run *run, struct value *out)
{
    struct dict *d = jinja_alloc(run, 1, sizeof *d);
    if (!d)
        return -1;
    *out = (struct value){.type = VALUE_DICT, .dict = d};
    return 0;
}

static uint64_t mix(uint64_t h, uint64_t v)
{
    h = (h ^ v) * 0x9e3779b97f4a7c15u;
    return h ^ (h >> 29);
}

static uint64_t hash_text(const struct text *t)
{
    uint64_t h = t->len, word;
    size_t i = 0;
    for (; t->len - i >= sizeof word; i += sizeof word) {
        memcpy(&word, t->s + i, sizeof word);
        h = mix(h, word);
    }
    word = 0;
    memcpy(&word, t->s + i, t->len - i);
    return mix(h, word);
}

static int hash_value(struct run *run, const struct value *v, uint64_t *out)
{
    if (v->type == VALUE_TEXT) {
        *out = hash_text(v->text);
        return jinja_spend_bytes(run, v->text->len);
    }
    if (jinja_is_number(v)) {
        double d = jinja_as_double(v) + 0.0; /* -0 and 0 are one key */
        memcpy(out, &d, sizeof d);
        *out = mix(1, *out);
        return 0;
    }
    if (v->type == VALUE_DICT || v->type == VALUE_NAMESPACE ||
        (v->type == VALUE_LIST && v->list->kind == LIST_LIST))
        return jinja_fail(run, "unhashable type: '%s'", jinja_type_name(v));
    *out = v->type;
    if (v->type != VALUE_LIST || v->list->kind != LIST_TUPLE)
        return 0;
    TRY(jinja_deeper(run));
    for (size_t i = 0; i < v->list->n; i++) {
        uint64_t h;
        TRY(hash_value(run, &v->list->items[i], &h));
        *out = mix(*out, h);
    }
    run->depth--;
    return jinja_spend(run, v->list->n);
}

/* The slot of a key: its entry + 1, or 0 with *free the place in the index where it belongs. */
static int find_slot(struct run *run, const struct dict *d, const struct value *key, uint64_t hash,
                     size_t *entry, size_t *free_slot)
{
    bool same = false;
    *entry = 0;
    *free_slot = 0;
    if (!d->index) {
        for (size_t i = 0; i < d->n && !same; i++)
            if (d->entries[i].hash == hash) {
                TRY(jinja_equal(run, &d->entries[i].key, key, &same));
                *entry = same ? i + 1 : 0;
            }
        return 0;
    }
    size_t mask = d->index_cap - 1, at = (size_t)hash & mask;
    for (; d->index[at]; at = (at + 1) & mask) {
        TRY(jinja_spend(run, 1));
        const struct dict_entry *e = &d->entries[d->index[at] - 1];
        if (e->hash == hash)
            TRY(jinja_equal(run, &e->key, key, &same));
        if (same) {
            *entry = d->index[at];
            return 0;
        }
    }
    *free_slot = at;
    return 0;
}

static int grow(struct run *run, struct dict *d)
{
    size_t cap = d->cap ? d->cap * 2 : 4;
    struct dict_entry *entries = jinja_alloc(run, cap, sizeof *entries);
    if (!entries || cap > UINT32_MAX / 4)
        return entries ? jinja_fail(run, "a dict is too large") : -1;
    if (d->n)
        memcpy(entries, d->entries, d->n * sizeof *entries);
    d->entries = entries;
    d->cap = cap;
    if (cap <= SMALL_DICT)
        return 0;
    d->index_cap = cap * 2;
    if (!(d->index = jinja_alloc(run, d->index_cap, sizeof *d->index)))
        return -1;
    for (size_t i = 0; i < d->n; i++) {
        size_t at = (size_t)d->entries[i].hash & (d->index_cap - 1);
        uint64_t probes = 0;
        for (; d->index[at]; at = (at + 1) & (d->index_cap - 1))
            probes++;
        d->index[at] = (uint32_t)i + 1;
        TRY(jinja_spend(run, probes));
    }
    return 0;
}

int jinja_dict_set(struct run *run, struct dict *d, struct value key, struct value v)
{
    uint64_t hash = 0;
    size_t entry, slot;
    TRY(hash_value(run, &key, &hash));
    TRY(find_slot(run, d, &key, hash, &entry, &slot));
    if (entry) {
        d->entries[entry - 1].value = v;
        return 0;
    }
    if (d->n == d->cap) {
        TRY(grow(run, d));
        TRY(find_slot(run, d, &key, hash, &entry, &slot));
    }
    d->entries[d->n++] = (struct dict_entry){.key = key, .value = v, .hash = hash};
    if (d->index)
        d->index[slot] = (uint32_t)d->n;
    return 0;
}

int jinja_dict_get(struct run *run, const struct dict *d, struct value key, struct value *out)
{
    uint64_t hash = 0;
    size_t entry, slot;
    TRY(hash_value(run, &key, &hash));
    TRY(find_slot(run, d, &key, hash, &entry, &slot));
    *out = entry ? d->entries[entry - 1].value : (struct value){.type = VALUE_MISSING};
    return 0;
}

int jinja_dict_get_text(struct run *run, const struct dict *d, struct text *key, struct value *out)
{
    return jinja_dict_get(run, d, jinja_of_text(key), out);
}

/* ---- JSON ------------------------------------------------------------------------------------------- */

static int from_object(struct run *run, const json_t *j, bool user, struct value *out)
{
    TRY(jinja_new_dict(run, out));
    const char *key;
    size_t len;
    json_t *item;
    json_object_keylen_foreach((json_t *)j, key, len, item)
    {
        struct text *t = jinja_text(run, key, len, user);
        struct value v;
        if (!t || jinja_from_json(run, item, user, &v) < 0)
            return -1;
        TRY(jinja_dict_set(run, out->dict, jinja_of_text(t), v));
    }
    return 0;
}

int jinja_from_json(struct run *run, const json_t *j, bool user, struct value *out)
{
    struct text *t;
    switch (json_typeof(j)) {
    case JSON_STRING:
        t = jinja_text(run, json_string_value(j), json_string_length(j), user);
        *out = t ? jinja_of_text(t) : jinja_none();
        return t ? 0 : -1;
    case JSON_INTEGER:
        *out = jinja_int(json_integer_value(j));
        return 0;
    case JSON_REAL:
        *out = jinja_float(json_real_value(j));
        return 0;
    case JSON_TRUE:
    case JSON_FALSE:
        *out = jinja_bool(json_is_true(j));
        return 0;
    case JSON_NULL:
        *out = jinja_none();
        return 0;
    default:
        break;
    }
    TRY(jinja_deeper(run));
    if (json_is_object(j)) {
        TRY(from_object(run, j, user, out));
    } else {
        TRY(jinja_new_list(run, LIST_LIST, json_array_size(j), out));
        for (size_t i = 0; i < out->list->n; i++)
            TRY(jinja_from_json(run, json_array_get(j, i), user, &out->list->items[i]));
    }
    run->depth--;
    return 0;
}
