/* schema_flat.c - see schema_flat.h: keywords to a struct schema_flat, through $ref and allOf.
 * Every keyword of the draft is a row: read, an annotation, or refused with the reason.  Other names are
 * annotations, as the draft says. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "api/schema_flat.h"
#include "engine/base/limits.h"

struct reading {
    struct schema *s;
    struct schema_flat *f;
    const json_t *schema, *value;
    const char *at, *name; /* at: of the schema */
};

static int misuse(const struct reading *r, const char *expected)
{
    return schema_refuse(r->s, ERROR_INVALID_REQUEST, schema_path(r->s, r->at, "%s", r->name), "must be %s",
                         expected);
}

static const char *here(const struct reading *r)
{
    return schema_path(r->s, r->at, "%s", r->name);
}

/* ---- one function a kind of keyword ------------------------------------------------------------- */

static const char *const type_names[] = {"null", "boolean", "integer", "number", "string", "array", "object"};

static int type_of(const struct reading *r, const json_t *name, unsigned *out)
{
    const char *text = json_string_value(name);
    for (unsigned i = 0; text && i < TYPES; i++) {
        if (strcmp(text, type_names[i]) == 0) {
            *out |= 1u << i;
            return 0;
        }
    }
    return misuse(r, "one of null, boolean, integer, number, string, array, object, or a list of these");
}

static int read_type(struct reading *r)
{
    unsigned types = 0;
    size_t i;
    const json_t *name;
    if (json_is_string(r->value))
        TRY(type_of(r, r->value, &types));
    else if (json_array_size(r->value) == 0)
        return misuse(r, "a type or a list of types");
    json_array_foreach((json_t *)(uintptr_t)r->value, i, name) TRY(type_of(r, name, &types));
    types |= types & TYPE_NUMBER ? TYPE_INTEGER : 0;
    r->f->types &= types;
    r->f->typed = true;
    return r->f->types ? 0 : schema_impossible(r->s, here(r), "its types exclude each other");
}

/* What is in both lists. */
static const json_t *in_both(struct schema *s, const json_t *a, const json_t *b)
{
    json_t *both = json_array();
    size_t i, k;
    json_t *x, *y;
    json_array_foreach((json_t *)(uintptr_t)a, i, x)
    {
        json_array_foreach((json_t *)(uintptr_t)b, k, y)
        {
            if (json_equal(x, y)) {
                json_array_append(both, x);
                break;
            }
        }
    }
    return schema_keep(s, both);
}

static int add_values(struct reading *r, const json_t *values)
{
    if (json_array_size(values) > LIMIT_SCHEMA_VALUES)
        return schema_refuse(r->s, ERROR_INVALID_REQUEST, here(r), "at most %d values", LIMIT_SCHEMA_VALUES);
    if (r->f->values)
        values = in_both(r->s, r->f->values, values);
    r->f->values = values;
    return values ? 0 : -1;
}

static int read_enum(struct reading *r)
{
    if (!json_is_array(r->value))
        return misuse(r, "a list of values");
    if (json_array_size(r->value) == 0)
        return schema_impossible(r->s, here(r), "the list of values is empty");
    return add_values(r, r->value);
}

static int read_const(struct reading *r)
{
    const json_t *list = schema_keep(r->s, json_pack("[O]", r->value));
    return list ? add_values(r, list) : -1;
}

static int read_bound(struct reading *r)
{
    bool upper = strstr(r->name, "aximum") != NULL, open = r->name[0] == 'e';
    double x = json_number_value(r->value);
    if (!json_is_number(r->value))
        return misuse(r, "a number");
    r->f->hinted |= TYPE_NUMBER;
    if (upper && (x < r->f->maximum || (x == r->f->maximum && open))) {
        r->f->maximum = x;
        r->f->below = open;
    } else if (!upper && (x > r->f->minimum || (x == r->f->minimum && open))) {
        r->f->minimum = x;
        r->f->above = open;
    }
    return 0;
}

static double common_multiple(double a, double b)
{
    double x = a, y = b;
    while (y != 0) {
        double rest = fmod(x, y);
        x = y;
        y = rest;
    }
    return a / x * b;
}

static int read_multiple(struct reading *r)
{
    double x = json_number_value(r->value);
    if (!json_is_number(r->value) || x <= 0)
        return misuse(r, "a number above 0");
    if (x != floor(x) || x > 1e6)
        return schema_refuse(r->s, ERROR_UNSUPPORTED, here(r),
                             "can only be enforced for whole numbers up to a million");
    r->f->hinted |= TYPE_NUMBER;
    r->f->multiple = r->f->multiple > 0 ? common_multiple(r->f->multiple, x) : x;
    return 0;
}

/* minLength, maxItems …: the next two name what they count. */
static int read_count(struct reading *r)
{
    struct schema_flat *f = r->f;
    bool upper = r->name[1] == 'a';
    double x = json_number_value(r->value);
    uint64_t *bound = strstr(r->name, "Length")  ? (upper ? &f->max_length : &f->min_length)
                      : strstr(r->name, "Items") ? (upper ? &f->max_items : &f->min_items)
                                                 : (upper ? &f->max_members : &f->min_members);
    if (!json_is_number(r->value) || x < 0 || x != floor(x))
        return misuse(r, "a whole number, 0 or more");
    uint64_t n = x < 1e9 ? (uint64_t)x : upper ? SCHEMA_ENDLESS : 1000000000;
    f->hinted |= strstr(r->name, "Length")  ? TYPE_STRING
                 : strstr(r->name, "Items") ? TYPE_ARRAY
                                            : TYPE_OBJECT;
    if (upper ? n < *bound : n > *bound)
        *bound = n;
    return 0;
}

static int add_part(const struct reading *r, struct schema_part *parts, size_t *n, const json_t *schema,
                    const char *at)
{
    for (size_t i = 0; i < *n; i++) {
        if (json_equal((json_t *)(uintptr_t)parts[i].schema, (json_t *)(uintptr_t)schema))
            return 0;
    }
    if (*n == MOST_PARTS)
        return schema_refuse(r->s, ERROR_INVALID_REQUEST, r->at, "more than %d schemas hold at once",
                             MOST_PARTS);
    parts[(*n)++] = (struct schema_part){schema, at};
    return 0;
}

static int read_text(struct reading *r)
{
    if (!json_is_string(r->value))
        return misuse(r, "a string");
    r->f->hinted |= TYPE_STRING;
    if (strcmp(r->name, "pattern") == 0)
        return add_part(r, r->f->patterns, &r->f->n_patterns, r->value, here(r));
    return add_part(r, r->f->formats, &r->f->n_formats, r->value, here(r));
}

static bool is_schema(const json_t *value)
{
    return json_is_object(value) || json_is_boolean(value);
}

static int check_schemas(const struct reading *r)
{
    const char *name;
    const json_t *value;
    if (!json_is_object(r->value))
        return misuse(r, "an object of schemas");
    json_object_foreach((json_t *)(uintptr_t)r->value, name, value)
    {
        if (!is_schema(value))
            return schema_refuse(r->s, ERROR_INVALID_REQUEST, schema_path(r->s, here(r), "%s", name),
                                 "must be a schema: an object, true or false");
    }
    return 0;
}

/* properties, patternProperties, additionalProperties: looked at together, later. */
static int read_members(struct reading *r)
{
    if (r->name[0] == 'a' ? !is_schema(r->value) : check_schemas(r) < 0)
        return r->name[0] == 'a' ? misuse(r, "a schema: an object, true or false") : -1;
    r->f->hinted |= TYPE_OBJECT;
    return add_part(r, r->f->objects, &r->f->n_objects, r->schema, r->at);
}

static int read_items(struct reading *r)
{
    size_t i;
    const json_t *item;
    if (strcmp(r->name, "items") == 0 && json_is_array(r->value))
        return schema_refuse(r->s, ERROR_UNSUPPORTED, here(r),
                             "a list is the old way to write prefixItems; use that");
    if (strcmp(r->name, "items") == 0 && !is_schema(r->value))
        return misuse(r, "a schema: an object, true or false");
    if (strcmp(r->name, "items") != 0 && !json_is_array(r->value))
        return misuse(r, "a list of schemas");
    json_array_foreach((json_t *)(uintptr_t)r->value, i, item)
    {
        if (!is_schema(item))
            return misuse(r, "a list of schemas");
    }
    r->f->hinted |= TYPE_ARRAY;
    return add_part(r, r->f->arrays, &r->f->n_arrays, r->schema, r->at);
}

static int read_required(struct reading *r)
{
    json_t *all = r->f->required ? json_copy((json_t *)(uintptr_t)r->f->required) : json_object();
    size_t i;
    const json_t *name;
    if (!schema_keep(r->s, all))
        return -1;
    if (!json_is_array(r->value))
        return misuse(r, "a list of names");
    json_array_foreach((json_t *)(uintptr_t)r->value, i, name)
    {
        if (!json_is_string(name))
            return misuse(r, "a list of names");
        json_object_set_new(all, json_string_value(name), json_true());
    }
    r->f->hinted |= TYPE_OBJECT;
    r->f->required = all;
    return 0;
}

static int read_unique(struct reading *r)
{
    if (!json_is_boolean(r->value))
        return misuse(r, "true or false");
    r->f->unique = r->f->unique || json_is_true(r->value);
    r->f->hinted |= json_is_true(r->value) ? TYPE_ARRAY : 0;
    return 0;
}

static int read_all_of(struct reading *r)
{
    size_t i;
    const json_t *branch;
    if (json_array_size(r->value) == 0)
        return misuse(r, "a list of schemas");
    json_array_foreach((json_t *)(uintptr_t)r->value, i, branch)
        PASS(schema_absorb(r->s, r->f, branch, schema_path(r->s, here(r), "%zu", i)));
    return 0;
}

static int read_group(struct reading *r)
{
    struct schema_flat *f = r->f;
    if (json_array_size(r->value) == 0)
        return misuse(r, "a list of schemas");
    if (f->n_groups == MOST_PARTS)
        return schema_refuse(r->s, ERROR_INVALID_REQUEST, r->at, "more than %d schemas hold at once",
                             MOST_PARTS);
    f->groups[f->n_groups++] = (struct schema_group){r->value, here(r), r->name[0] == 'o'};
    return 0;
}

/* ---- references --------------------------------------------------------------------------------- */

static int hex_value(int c)
{
    return c >= '0' && c <= '9' ? c - '0' : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10 : -1;
}

/* One step of a JSON pointer in a fragment: %41, ~0 and ~1 are undone.  Returns what is behind it. */
static const char *pointer_step(const char *p, char *out, size_t size)
{
    size_t n = 0;
    while (*p && *p != '/') {
        int c = (unsigned char)*p++;
        if (c == '%' && hex_value((unsigned char)p[0]) >= 0 && hex_value((unsigned char)p[1]) >= 0) {
            c = hex_value((unsigned char)p[0]) * 16 + hex_value((unsigned char)p[1]);
            p += 2;
        }
        if (c == '~' && (*p == '0' || *p == '1'))
            c = *p++ == '0' ? '~' : '/';
        if (n + 1 < size)
            out[n++] = (char)c;
    }
    out[n] = 0;
    return p;
}

static const json_t *find_anchor(const json_t *root, const char *name)
{
    static const char *const places[] = {"$defs", "definitions"};
    for (size_t i = 0; i < 2; i++) {
        const char *key;
        const json_t *value;
        json_object_foreach(json_object_get(root, places[i]), key, value)
        {
            const char *anchor = json_string_value(json_object_get(value, "$anchor"));
            if (anchor && strcmp(anchor, name) == 0)
                return value;
        }
    }
    return NULL;
}

static const json_t *find_target(const json_t *root, const char *ref)
{
    const json_t *at = root;
    char step[512];
    const char *p = ref + 1;
    if (ref[0] != '#')
        return NULL;
    if (*p && *p != '/')
        return find_anchor(root, p);
    while (at && *p == '/') {
        p = pointer_step(p + 1, step, sizeof step);
        if (json_is_array(at) && (step[0] < '0' || step[0] > '9'))
            return NULL;
        at = json_is_array(at) ? json_array_get(at, (size_t)strtoul(step, NULL, 10))
                               : json_object_get(at, step);
    }
    return at;
}

static int read_ref(struct reading *r)
{
    const char *ref = json_string_value(r->value);
    if (!ref)
        return misuse(r, "a string");
    const json_t *target = find_target(r->s->root, ref);
    if (ref[0] != '#')
        return schema_refuse(r->s, ERROR_UNSUPPORTED, here(r),
                             "only references into the same schema can be followed (\"#/…\"), not \"%.100s\"",
                             ref);
    if (!is_schema(target))
        return schema_refuse(r->s, ERROR_INVALID_REQUEST, here(r), "\"%.100s\" leads to no schema", ref);
    if (++r->s->hops > LIMIT_SCHEMA_HOPS)
        return schema_impossible(r->s, here(r), "the reference leads back to itself");
    int status = schema_absorb(r->s, r->f, target, arena_copy(r->s->arena, ref, strlen(ref)));
    r->s->hops--;
    return status;
}

/* ---- the keywords ------------------------------------------------------------------------------ */

static const struct keyword {
    const char *name;
    int (*read)(struct reading *r); /* NULL: refused, for the reason; or without effect */
    const char *refused;
} keywords[] = {
    {"$ref", read_ref, NULL},
    {"type", read_type, NULL},
    {"enum", read_enum, NULL},
    {"const", read_const, NULL},
    {"minimum", read_bound, NULL},
    {"maximum", read_bound, NULL},
    {"exclusiveMinimum", read_bound, NULL},
    {"exclusiveMaximum", read_bound, NULL},
    {"multipleOf", read_multiple, NULL},
    {"minLength", read_count, NULL},
    {"maxLength", read_count, NULL},
    {"pattern", read_text, NULL},
    {"format", read_text, NULL},
    {"minItems", read_count, NULL},
    {"maxItems", read_count, NULL},
    {"uniqueItems", read_unique, NULL},
    {"items", read_items, NULL},
    {"prefixItems", read_items, NULL},
    {"minProperties", read_count, NULL},
    {"maxProperties", read_count, NULL},
    {"properties", read_members, NULL},
    {"patternProperties", read_members, NULL},
    {"additionalProperties", read_members, NULL},
    {"required", read_required, NULL},
    {"allOf", read_all_of, NULL},
    {"anyOf", read_group, NULL},
    {"oneOf", read_group, NULL},
    {"not", NULL, "what a value must not be can't be enforced"},
    {"if", NULL, "conditions can't be enforced; anyOf may say the same"},
    {"then", NULL, "conditions can't be enforced; anyOf may say the same"},
    {"else", NULL, "conditions can't be enforced; anyOf may say the same"},
    {"dependentRequired", NULL, "conditions between properties can't be enforced; anyOf may say the same"},
    {"dependentSchemas", NULL, "conditions between properties can't be enforced; anyOf may say the same"},
    {"dependencies", NULL, "conditions between properties can't be enforced; anyOf may say the same"},
    {"contains", NULL, "what a list must contain somewhere can't be enforced"},
    {"minContains", NULL, "what a list must contain somewhere can't be enforced"},
    {"maxContains", NULL, "what a list must contain somewhere can't be enforced"},
    {"additionalItems", NULL, "is the old way to write items; use that"},
    {"propertyNames", NULL, "rules for names can't be enforced; patternProperties may say the same"},
    {"unevaluatedProperties", NULL, "can't be enforced; additionalProperties may say the same"},
    {"unevaluatedItems", NULL, "can't be enforced; items may say the same"},
    {"$dynamicRef", NULL, "dynamic references are not followed"},
    {"$recursiveRef", NULL, "dynamic references are not followed"},
};

static const struct keyword *find_keyword(const char *name)
{
    for (size_t i = 0; i < sizeof keywords / sizeof keywords[0]; i++) {
        if (strcmp(keywords[i].name, name) == 0)
            return &keywords[i];
    }
    return NULL;
}

bool schema_says_more(const json_t *schema, const char *except)
{
    const char *name;
    const json_t *value;
    json_object_foreach((json_t *)(uintptr_t)schema, name, value)
    {
        if (find_keyword(name) && !(except && strcmp(name, except) == 0))
            return true;
    }
    return false;
}

int schema_absorb(struct schema *s, struct schema_flat *f, const json_t *schema, const char *at)
{
    struct reading r = {.s = s, .f = f, .schema = schema, .at = at};
    if (json_is_false(schema))
        return schema_impossible(s, at, "the schema is false");
    if (!is_schema(schema))
        return schema_refuse(s, ERROR_INVALID_REQUEST, at, "must be a schema: an object, true or false");
    json_object_foreach((json_t *)(uintptr_t)r.schema, r.name, r.value)
    {
        const struct keyword *k = find_keyword(r.name);
        if (!k)
            continue;
        if (!k->read)
            return schema_refuse(s, ERROR_UNSUPPORTED, here(&r), "%s", k->refused);
        PASS(k->read(&r));
    }
    return 0;
}

int schema_flatten(struct schema *s, const json_t *schema, const char *at, struct schema_flat *out)
{
    memset(out, 0, sizeof *out);
    out->at = at;
    out->types = TYPE_ANY;
    out->minimum = -INFINITY;
    out->maximum = INFINITY;
    out->max_length = out->max_items = out->max_members = SCHEMA_ENDLESS;
    return schema_absorb(s, out, schema, at);
}

/* Without a type, those that the keywords are about: what is written is valid all the same. */
unsigned schema_types(const struct schema_flat *f)
{
    return !f->typed && f->hinted ? f->types & f->hinted : f->types;
}

unsigned schema_all_types(const struct schema_flat *f)
{
    return f->types;
}
