/* schema_values.c - see schema_flat.h: values that a schema lists, and whether one value can be valid for two
 * schemas. "Can't tell" counts as "not exclusive": then oneOf is refused.  Depth is limited, as references
 * may go round. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/schema_flat.h"
#include "engine/base/json.h"
#include "engine/base/limits.h"
#include "engine/base/utf8.h"

enum { MOST_DEPTH = 40, MOST_EXCLUSIVE_DEPTH = 4 };

/* ---- is a value valid? ------------------------------------------------------------------------- */

static unsigned type_of(const json_t *value)
{
    switch (json_typeof(value)) {
    case JSON_OBJECT:
        return TYPE_OBJECT;
    case JSON_ARRAY:
        return TYPE_ARRAY;
    case JSON_STRING:
        return TYPE_STRING;
    case JSON_INTEGER:
        return TYPE_INTEGER;
    case JSON_REAL:
        return json_real_value(value) == floor(json_real_value(value)) ? TYPE_INTEGER : TYPE_NUMBER;
    case JSON_NULL:
        return TYPE_NULL;
    default:
        return TYPE_BOOLEAN;
    }
}

static int allows_schema(struct schema *s, const json_t *schema, const char *at, const json_t *value,
                         unsigned depth, bool *out)
{
    struct schema_flat *f = malloc(sizeof *f);
    int status = f ? schema_flatten(s, schema, at, f) : error_no_memory(s->error);
    if (status == SCHEMA_IMPOSSIBLE) {
        *out = false;
        status = schema_left_out(s);
    } else if (status == 0) {
        status = schema_allows(s, f, value, depth, out);
    }
    free(f);
    return status;
}

static bool allows_number(const struct schema_flat *f, const json_t *value)
{
    double x = json_number_value(value);
    if (x < f->minimum || (x == f->minimum && f->above) || x > f->maximum || (x == f->maximum && f->below))
        return false;
    return f->multiple == 0 || fmod(x, f->multiple) == 0;
}

static int allows_text(struct schema *s, const struct schema_flat *f, const json_t *value, bool *out)
{
    struct automaton *a;
    TRY(schema_text_automaton(s, f, &a));
    *out = !a || automaton_accepts(a, json_string_value(value), json_string_length(value));
    return 0;
}

static int allows_object(struct schema *s, const struct schema_flat *f, const json_t *value, unsigned depth,
                         bool *out)
{
    const char *name;
    const json_t *member, *unused, *schema;
    size_t n = json_object_size(value);
    *out = n >= f->min_members && n <= f->max_members;
    json_object_foreach((json_t *)(uintptr_t)f->required, name, unused) *out =
        *out && json_object_get(value, name);
    json_object_foreach((json_t *)(uintptr_t)value, name, member)
    {
        const char *at;
        TRY(schema_member(s, f, name, &schema, &at));
        if (*out && schema)
            TRY(allows_schema(s, schema, at, member, depth + 1, out));
    }
    return 0;
}

static bool has_twins(const json_t *list)
{
    for (size_t i = 0; i < json_array_size(list); i++) {
        for (size_t k = 0; k < i; k++) {
            if (json_equal(json_array_get(list, i), json_array_get(list, k)))
                return true;
        }
    }
    return false;
}

static int allows_array(struct schema *s, const struct schema_flat *f, const json_t *value, unsigned depth,
                        bool *out)
{
    size_t n = json_array_size(value), i;
    const json_t *item, *schema;
    *out = n >= f->min_items && n <= f->max_items && !(f->unique && has_twins(value));
    json_array_foreach((json_t *)(uintptr_t)value, i, item)
    {
        const char *at;
        TRY(schema_item(s, f, i, &schema, &at));
        if (*out && schema)
            TRY(allows_schema(s, schema, at, item, depth + 1, out));
    }
    return 0;
}

static int allows_group(struct schema *s, const struct schema_group *g, const json_t *value, unsigned depth,
                        bool *out)
{
    size_t i, n = 0;
    const json_t *branch;
    json_array_foreach((json_t *)(uintptr_t)g->branches, i, branch)
    {
        bool fits;
        TRY(allows_schema(s, branch, schema_path(s, g->at, "%zu", i), value, depth + 1, &fits));
        n += fits;
    }
    *out = g->one ? n == 1 : n > 0;
    return 0;
}

static bool is_listed(const json_t *values, const json_t *value)
{
    size_t i;
    json_t *one;
    json_array_foreach((json_t *)(uintptr_t)values, i, one)
    {
        bool numbers = json_is_number(one) && json_is_number(value);
        if (numbers ? json_number_value(one) == json_number_value(value)
                    : json_equal(one, (json_t *)(uintptr_t)value))
            return true;
    }
    return false;
}

int schema_allows(struct schema *s, const struct schema_flat *f, const json_t *value, unsigned depth,
                  bool *out)
{
    unsigned type = type_of(value);
    *out = false;
    if (depth > MOST_DEPTH)
        return schema_refuse(s, ERROR_UNSUPPORTED, f->at,
                             "the values listed here are nested too deeply to be checked");
    if (!(f->types & type) || (f->values && !is_listed(f->values, value)))
        return 0;
    *out = true;
    if (type == TYPE_INTEGER || type == TYPE_NUMBER)
        *out = allows_number(f, value);
    else if (type == TYPE_STRING)
        TRY(allows_text(s, f, value, out));
    else if (type == TYPE_OBJECT)
        TRY(allows_object(s, f, value, depth, out));
    else if (type == TYPE_ARRAY)
        TRY(allows_array(s, f, value, depth, out));
    for (size_t i = 0; i < f->n_groups && *out; i++)
        TRY(allows_group(s, &f->groups[i], value, depth, out));
    return 0;
}

/* The shortest text of a number that is read as the same. */
static void write_real(double x, struct buf *out)
{
    char text[40];
    for (int digits = 15; digits <= 17; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, x);
        if (strtod(text, NULL) == x)
            break;
    }
    schema_literal(text, strlen(text), out);
}

static void write_value(const json_t *value, struct buf *out)
{
    struct buf json;
    if (json_is_real(value)) {
        write_real(json_real_value(value), out);
        return;
    }
    buf_init(&json, LIMIT_GRAMMAR_TEXT);
    json_write(&json, value);
    schema_literal(json.data ? json.data : "", json.len, out);
    out->failed = out->failed || json.failed;
    buf_free(&json);
}

int schema_write_values(struct schema *s, const struct schema_flat *f, struct buf *out)
{
    size_t i, n = 0;
    const json_t *value;
    struct schema_flat rest = *f;
    rest.values = NULL; /* they are listed */
    json_array_foreach((json_t *)(uintptr_t)f->values, i, value)
    {
        bool fits;
        TRY(schema_allows(s, &rest, value, 0, &fits));
        if (!fits)
            continue;
        buf_add_text(out, n++ ? " | " : "");
        write_value(value, out);
    }
    return n ? 0 : schema_impossible(s, f->at, "none of the values listed fits what else is said");
}

/* ---- can a value be valid for both? -------------------------------------------------------------- */

static int values_apart(struct schema *s, const struct schema_flat *listed, const struct schema_flat *other,
                        bool *out)
{
    size_t i;
    const json_t *value;
    *out = true;
    json_array_foreach((json_t *)(uintptr_t)listed->values, i, value)
    {
        bool a, b;
        TRY(schema_allows(s, listed, value, 0, &a));
        TRY(schema_allows(s, other, value, 0, &b));
        *out = *out && !(a && b);
    }
    return 0;
}

static bool numbers_apart(const struct schema_flat *a, const struct schema_flat *b)
{
    return a->maximum < b->minimum || b->maximum < a->minimum ||
           (a->maximum == b->minimum && (a->below || b->above)) ||
           (b->maximum == a->minimum && (b->below || a->above));
}

static int texts_apart(struct schema *s, const struct schema_flat *a, const struct schema_flat *b, bool *out)
{
    struct automaton *x, *y;
    /* A format here may be narrower than the format is. */
    *out = a->min_length > b->max_length || b->min_length > a->max_length;
    if (*out || a->n_formats || b->n_formats)
        return 0;
    TRY(schema_text_automaton(s, a, &x));
    TRY(schema_text_automaton(s, b, &y));
    const struct automaton *common = x && y ? automaton_join(x, y, AUTOMATON_BOTH, s->arena) : NULL;
    *out = common && common->n_states == 0;
    return 0;
}

/* A name that both must have, and whose values are apart; or one that a must and b may not have. */
static int objects_apart(struct schema *s, const struct schema_flat *a, const struct schema_flat *b,
                         unsigned depth, bool *out)
{
    const char *name, *at_a, *at_b;
    const json_t *unused, *x, *y;
    *out = a->min_members > b->max_members || b->min_members > a->max_members;
    json_object_foreach((json_t *)(uintptr_t)a->required, name, unused)
    {
        if (*out)
            break;
        TRY(schema_member(s, a, name, &x, &at_a));
        TRY(schema_member(s, b, name, &y, &at_b));
        *out = json_is_false(y);
        if (!*out && x && y && json_object_get(b->required, name))
            TRY(schema_exclusive(s, x, at_a, y, at_b, depth + 1, out));
    }
    return 0;
}

static int flats_apart(struct schema *s, const struct schema_flat *a, const struct schema_flat *b,
                       unsigned depth, bool *out)
{
    unsigned shared = a->types & b->types;
    bool apart = true;
    *out = true;
    if (a->values || b->values)
        return values_apart(s, a->values ? a : b, a->values ? b : a, out);
    if (shared & (TYPE_NULL | TYPE_BOOLEAN))
        apart = false;
    if (shared & (TYPE_INTEGER | TYPE_NUMBER))
        apart = apart && numbers_apart(a, b);
    if (apart && shared & TYPE_STRING)
        TRY(texts_apart(s, a, b, &apart));
    if (apart && shared & TYPE_ARRAY)
        apart = a->min_items > b->max_items || b->min_items > a->max_items;
    if (apart && shared & TYPE_OBJECT) {
        TRY(objects_apart(s, a, b, depth, &apart));
        if (!apart)
            TRY(objects_apart(s, b, a, depth, &apart));
    }
    *out = apart;
    return 0;
}

int schema_exclusive(struct schema *s, const json_t *a, const char *at_a, const json_t *b, const char *at_b,
                     unsigned depth, bool *out)
{
    struct schema_flat *flats = depth < MOST_EXCLUSIVE_DEPTH ? malloc(2 * sizeof *flats) : NULL;
    int status = 0;
    *out = false;
    if (!flats)
        return depth < MOST_EXCLUSIVE_DEPTH ? error_no_memory(s->error) : 0;
    status = schema_flatten(s, a, at_a, &flats[0]);
    if (status == 0)
        status = schema_flatten(s, b, at_b, &flats[1]);
    if (status == SCHEMA_IMPOSSIBLE) {
        *out = true; /* nothing is valid for one of them */
        status = schema_left_out(s);
    } else if (status == 0) {
        status = flats_apart(s, &flats[0], &flats[1], depth, out);
    }
    free(flats);
    return status;
}
