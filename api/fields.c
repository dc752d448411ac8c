/* fields.c - see fields.h.  One function per field type; a new type is a name there, a function and a case
 * here. */
#include "api/fields.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* What one value is read with. */
struct place {
    const struct field *field;
    char name[64]; /* with the prefix, for errors */
    struct arena *arena;
    struct error *error;
};

static int read_object(const struct field_table *table, const json_t *object, const char *prefix,
                       struct arena *arena, void *out, struct error *e);

static const struct field *find_row(const struct field_table *table, const char *name, size_t *base)
{
    for (size_t g = 0; g < table->n_groups; g++) {
        const struct field_group *group = &table->groups[g];
        for (size_t i = 0; i < group->n_rows; i++) {
            if (strcmp(group->rows[i].name, name) == 0) {
                *base = group->base;
                return &group->rows[i];
            }
        }
    }
    return NULL;
}

static int wrong_type(const struct place *p, const char *expected, const json_t *value)
{
    static const char *const names[] = {
        [JSON_OBJECT] = "an object", [JSON_ARRAY] = "a list",  [JSON_STRING] = "a string",
        [JSON_INTEGER] = "a number", [JSON_REAL] = "a number", [JSON_TRUE] = "true",
        [JSON_FALSE] = "false",      [JSON_NULL] = "null",
    };
    return error_param(p->error, ERROR_INVALID_REQUEST, p->name, "%s must be %s, not %s", p->name, expected,
                       names[json_typeof(value)]);
}

static int out_of_range(const struct place *p)
{
    const struct field *f = p->field;
    const char *what = f->type == FIELD_INT ? "an integer" : "a number";
    return error_param(p->error, ERROR_INVALID_REQUEST, p->name, "%s must be %s from %.10g to %.10g", p->name,
                       what, f->min, f->max);
}

static int read_bool(const struct place *p, const json_t *value, bool *out)
{
    if (!json_is_boolean(value))
        return wrong_type(p, "true or false", value);
    *out = json_is_true(value);
    return 0;
}

static int read_int(const struct place *p, const json_t *value, int64_t *out)
{
    int64_t v;
    if (json_is_integer(value)) {
        v = json_integer_value(value);
    } else if (json_is_real(value)) {
        double real = json_real_value(value);
        if (real != floor(real) || fabs(real) >= 0x1p63)
            return out_of_range(p);
        v = (int64_t)real;
    } else {
        return wrong_type(p, "an integer", value);
    }
    if ((double)v < p->field->min || (double)v > p->field->max)
        return out_of_range(p);
    *out = v;
    return 0;
}

static int read_number(const struct place *p, const json_t *value, double *out)
{
    if (!json_is_number(value))
        return wrong_type(p, "a number", value);
    double v = json_number_value(value);
    if (!(v >= p->field->min && v <= p->field->max))
        return out_of_range(p);
    *out = v;
    return 0;
}

static int check_one_of(const struct place *p, const char *text, size_t len)
{
    char list[256] = "";
    size_t used = 0;
    for (const char *const *name = p->field->one_of; *name; name++) {
        if (strlen(*name) == len && memcmp(*name, text, len) == 0)
            return 0;
        if (used < sizeof list)
            used += (size_t)snprintf(list + used, sizeof list - used, "%s\"%s\"", used ? ", " : "", *name);
    }
    return error_param(p->error, ERROR_INVALID_REQUEST, p->name, "%s must be one of %s", p->name, list);
}

static int read_string(const struct place *p, const json_t *value, struct engine_text *out)
{
    const struct field *f = p->field;
    if (!json_is_string(value))
        return wrong_type(p, "a string", value);
    out->bytes = json_string_value(value);
    out->len = json_string_length(value);
    if (f->one_of)
        return check_one_of(p, out->bytes, out->len);
    if (out->len == 0 && f->min > 0 && f->max == 0)
        return error_param(p->error, ERROR_INVALID_REQUEST, p->name, "%s must not be empty", p->name);
    if ((double)out->len < f->min || (f->max > 0 && (double)out->len > f->max))
        return error_param(p->error, ERROR_INVALID_REQUEST, p->name, "%s must have from %.0f to %.0f bytes",
                           p->name, f->min, f->max);
    return 0;
}

static int read_json(const struct place *p, const json_t *value, const json_t **out)
{
    unsigned kinds = p->field->kinds;
    bool ok = (json_is_string(value) && (kinds & FIELD_KIND_STRING)) ||
              (json_is_array(value) && (kinds & FIELD_KIND_ARRAY)) ||
              (json_is_object(value) && (kinds & FIELD_KIND_OBJECT)) ||
              (json_is_boolean(value) && (kinds & FIELD_KIND_BOOL));
    if (!ok)
        return wrong_type(p,
                          kinds == FIELD_KIND_OBJECT  ? "an object"
                          : kinds == FIELD_KIND_ARRAY ? "a list"
                          : kinds & FIELD_KIND_BOOL   ? "true, false or a string"
                                                      : "a string or a list",
                          value);
    *out = value;
    return 0;
}

static int check_neutral(const struct place *p, const json_t *value)
{
    bool neutral = false;
    json_t *list = p->field->neutral ? json_loads(p->field->neutral, 0, NULL) : NULL;
    for (size_t i = 0; i < json_array_size(list); i++)
        neutral = neutral || json_equal(json_array_get(list, i), value);
    json_decref(list);
    if (neutral)
        return 0;
    return error_param(p->error, ERROR_UNSUPPORTED, p->name, "%s is not supported: %s", p->name,
                       p->field->help);
}

int fields_ids(const json_t *list, const char *name, size_t max, struct arena *arena, struct field_ids *out,
               struct error *e)
{
    size_t n = json_array_size(list);
    if (!json_is_array(list) || n > max)
        return error_param(e, ERROR_INVALID_REQUEST, name, "%s must be a list of at most %zu token ids", name,
                           max);
    int32_t *ids = arena_alloc(arena, n, sizeof *ids);
    if (!ids)
        return error_no_memory(e);
    for (size_t i = 0; i < n; i++) {
        const json_t *item = json_array_get(list, i);
        json_int_t id = json_integer_value(item);
        if (!json_is_integer(item) || id < 0 || id > INT32_MAX)
            return error_param(e, ERROR_INVALID_REQUEST, name, "%s[%zu] is no token id", name, i);
        ids[i] = (int32_t)id;
    }
    out->items = ids;
    out->n = n;
    return 0;
}

int fields_texts(const json_t *value, const char *name, size_t max, size_t min_bytes, size_t max_bytes,
                 struct arena *arena, struct field_texts *out, struct error *e)
{
    bool one = json_is_string(value);
    size_t n = one ? 1 : json_array_size(value);
    if ((!one && !json_is_array(value)) || n > max)
        return error_param(e, ERROR_INVALID_REQUEST, name,
                           "%s must be a string or a list of at most %zu strings", name, max);
    struct engine_text *texts = arena_alloc(arena, n, sizeof *texts);
    if (!texts)
        return error_no_memory(e);
    for (size_t i = 0; i < n; i++) {
        const json_t *item = one ? value : json_array_get(value, i);
        size_t len = json_string_length(item);
        if (!json_is_string(item) || len < min_bytes || len > max_bytes)
            return error_param(e, ERROR_INVALID_REQUEST, name,
                               "%s: item %zu must be a string of %zu to %zu bytes", name, i, min_bytes,
                               max_bytes);
        texts[i].bytes = json_string_value(item);
        texts[i].len = len;
    }
    out->items = texts;
    out->n = n;
    return 0;
}

static int read_value(const struct place *p, const json_t *value, char *base)
{
    const struct field *f = p->field;
    void *out = base + f->offset;
    switch (f->type) {
    case FIELD_BOOL:
        return read_bool(p, value, out);
    case FIELD_INT:
        return read_int(p, value, out);
    case FIELD_NUMBER:
        return read_number(p, value, out);
    case FIELD_STRING:
        return read_string(p, value, out);
    case FIELD_STRINGS:
        return fields_texts(value, p->name, (size_t)f->max, f->may_be_empty ? 0 : 1, f->max_bytes, p->arena,
                            out, p->error);
    case FIELD_IDS:
        return fields_ids(value, p->name, (size_t)f->max, p->arena, out, p->error);
    case FIELD_OBJECT: {
        char prefix[80];
        snprintf(prefix, sizeof prefix, "%s.", p->name);
        if (!json_is_object(value))
            return wrong_type(p, "an object", value);
        return read_object(f->nested, value, prefix, p->arena, base, p->error);
    }
    case FIELD_JSON:
        return read_json(p, value, out);
    case FIELD_UNSUPPORTED:
        return check_neutral(p, value);
    case FIELD_ALIAS: /* resolved before */
    case FIELD_NO_EFFECT:
        break;
    }
    return 0;
}

/* The object's value for a row that is the field `name` or an alias of it; else NULL. */
static const json_t *row_value(const struct field *f, const json_t *object, const char *name)
{
    bool same = strcmp(f->name, name) == 0 || (f->type == FIELD_ALIAS && strcmp(f->of, name) == 0);
    const json_t *value = same ? json_object_get(object, f->name) : NULL;
    return json_is_null(value) ? NULL : value;
}

/* Under any of its names: the first value that is not `except`. */
static const json_t *other_value(const struct field_table *table, const json_t *object, const char *name,
                                 const json_t *except)
{
    for (size_t g = 0; g < table->n_groups; g++) {
        const struct field_group *group = &table->groups[g];
        for (size_t i = 0; i < group->n_rows; i++) {
            const json_t *value = row_value(&group->rows[i], object, name);
            if (value && !(except && json_equal(value, except)))
                return value;
        }
    }
    return NULL;
}

/* One member of the object.  Several names of one field have to say the same. */
static int read_member(const struct field_table *table, const json_t *object, const char *prefix,
                       const char *key, const json_t *value, struct arena *arena, char *out, struct error *e)
{
    struct place p = {.arena = arena, .error = e};
    snprintf(p.name, sizeof p.name, "%s%s", prefix, key);
    size_t base = 0;
    p.field = find_row(table, key, &base);
    if (!p.field)
        return error_param(e, ERROR_INVALID_REQUEST, p.name, "unknown field \"%s\"", p.name);
    if (json_is_null(value))
        return 0;
    if (p.field->type == FIELD_ALIAS) {
        const char *of = p.field->of;
        if (other_value(table, object, of, value))
            return error_param(e, ERROR_INVALID_REQUEST, p.name,
                               "%s is another name of %s, and the two differ", p.name, of);
        p.field = find_row(table, of, &base);
    }
    TRY(read_value(&p, value, out + base));
    if (p.field->given)
        *(bool *)(out + base + p.field->given) = true;
    return 0;
}

static int check_required(const struct field_table *table, const json_t *object, const char *prefix,
                          struct error *e)
{
    for (size_t g = 0; g < table->n_groups; g++) {
        const struct field_group *group = &table->groups[g];
        for (size_t i = 0; i < group->n_rows; i++) {
            const struct field *f = &group->rows[i];
            if (!f->required || other_value(table, object, f->name, NULL))
                continue;
            char name[64];
            snprintf(name, sizeof name, "%s%s", prefix, f->name);
            return error_param(e, ERROR_INVALID_REQUEST, name, "%s is required", name);
        }
    }
    return 0;
}

/* Depth is that of the tables, not of the stranger's object. */
static int read_object(const struct field_table *table, const json_t *object, const char *prefix,
                       struct arena *arena, void *out, struct error *e)
{
    for (void *i = json_object_iter((json_t *)object); i; i = json_object_iter_next((json_t *)object, i)) {
        TRY(read_member(table, object, prefix, json_object_iter_key(i), json_object_iter_value(i), arena, out,
                        e));
    }
    return check_required(table, object, prefix, e);
}

static void set_default(const struct field *f, char *base)
{
    if (f->type == FIELD_BOOL)
        *(bool *)(base + f->offset) = f->fallback != 0;
    else if (f->type == FIELD_INT)
        *(int64_t *)(base + f->offset) = (int64_t)f->fallback;
    else if (f->type == FIELD_NUMBER)
        *(double *)(base + f->offset) = f->fallback;
}

static void set_defaults(const struct field_table *table, char *out)
{
    for (size_t g = 0; g < table->n_groups; g++) {
        const struct field_group *group = &table->groups[g];
        for (size_t i = 0; i < group->n_rows; i++) {
            set_default(&group->rows[i], out + group->base);
            if (group->rows[i].type == FIELD_OBJECT)
                set_defaults(group->rows[i].nested, out + group->base);
        }
    }
}

void fields_defaults(const struct field_table *table, void *out)
{
    memset(out, 0, table->size);
    set_defaults(table, out);
}

int fields_read(const struct field_table *table, const json_t *object, const char *prefix,
                struct arena *arena, void *out, struct error *e)
{
    fields_defaults(table, out);
    if (!json_is_object(object))
        return error_set(e, ERROR_INVALID_REQUEST, "%.*s must be a JSON object",
                         *prefix ? (int)strlen(prefix) - 1 : 64, *prefix ? prefix : "the request body");
    return read_object(table, object, prefix, arena, out, e);
}
