/* shape.c - see shape.h.  A descent over constant texts of our own. */
#include "api/shape.h"

#include <ctype.h>
#include <string.h>

struct reader {
    const char *at;
    bool failed;
};

static json_t *read_shape(struct reader *r);

static void skip(struct reader *r)
{
    while (*r->at == ' ' || *r->at == '\n')
        r->at++;
}

static bool take(struct reader *r, char c)
{
    skip(r);
    if (*r->at != c)
        return false;
    r->at++;
    return true;
}

static json_t *fail(struct reader *r)
{
    r->failed = true;
    return json_object();
}

static json_t *typed(const char *type)
{
    return json_pack("{s:s}", "type", type);
}

/* A name's end: letters, digits and _. */
static size_t name_length(const char *text)
{
    size_t n = 0;
    while (isalnum((unsigned char)text[n]) || text[n] == '_')
        n++;
    return n;
}

static void read_member(struct reader *r, json_t *properties, json_t *required)
{
    skip(r);
    size_t n = name_length(r->at);
    const char *name = r->at;
    r->at += n;
    bool optional = take(r, '?');
    if (n == 0 || !take(r, ':')) {
        r->failed = true;
        return;
    }
    if (!optional)
        json_array_append_new(required, json_stringn(name, n));
    json_object_setn_new(properties, name, n, read_shape(r));
}

static json_t *read_object(struct reader *r)
{
    if (take(r, '*')) {
        bool colon = take(r, ':');
        json_t *any = json_pack("{s:s,s:o}", "type", "object", "additionalProperties", read_shape(r));
        r->failed = r->failed || !colon || !take(r, '}');
        return any;
    }
    json_t *properties = json_object(), *required = json_array();
    while (!take(r, '}') && !r->failed) {
        read_member(r, properties, required);
        take(r, ',');
    }
    return json_pack("{s:s,s:o,s:o,s:b}", "type", "object", "properties", properties, "required", required,
                     "additionalProperties", 0);
}

static json_t *read_name(struct reader *r)
{
    static const struct {
        const char *name, *type;
    } types[] = {{"s", "string"}, {"i", "integer"}, {"n", "number"}, {"b", "boolean"}};
    size_t n = name_length(r->at);
    const char *name = r->at;
    r->at += n;
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        if (n == 1 && *name == *types[i].name)
            return typed(types[i].type);
    }
    if (n == 1 && *name == 'x')
        return json_object();
    if (n < 2)
        return fail(r);
    char reference[96] = "#/components/schemas/";
    strncat(reference, name, n < 64 ? n : 64);
    return json_pack("{s:s}", "$ref", reference);
}

static json_t *read_one(struct reader *r)
{
    skip(r);
    if (take(r, '\'')) {
        size_t n = strcspn(r->at, "'");
        json_t *word = json_pack("{s:s,s:s%}", "type", "string", "const", r->at, n);
        r->at += n;
        return take(r, '\'') ? word : fail(r);
    }
    if (take(r, '[')) {
        json_t *list = json_pack("{s:s,s:o}", "type", "array", "items", read_shape(r));
        r->failed = r->failed || !take(r, ']');
        return list;
    }
    return take(r, '{') ? read_object(r) : read_name(r);
}

static json_t *read_shape(struct reader *r)
{
    json_t *first = read_one(r), *any = NULL;
    for (;;) {
        bool null = take(r, '?');
        if (!null && !take(r, '|'))
            return any ? json_pack("{s:o}", "anyOf", any) : first;
        if (!any)
            any = json_pack("[o]", first);
        json_array_append_new(any, null ? typed("null") : read_one(r));
        if (r->failed)
            return json_pack("{s:o}", "anyOf", any);
    }
}

json_t *shape_schema(const char *text)
{
    struct reader r = {.at = text};
    json_t *schema = read_shape(&r);
    skip(&r);
    if (!r.failed && !*r.at)
        return schema;
    json_decref(schema);
    return NULL;
}
