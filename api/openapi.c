/* openapi.c - see openapi.h; and GET /openapi.json and /docs.
 * Values are built without looking at each one: jansson hands on a failure to the last call. */
#include "api/openapi.h"

#include <stdio.h>
#include <string.h>

#include "api/answers.h"
#include "api/docs_page.h"
#include "api/endpoints.h"
#include "api/shape.h"
#include "engine/base/json.h"
#include "engine/base/limits.h"

/* ---- fields --------------------------------------------------------------------------------- */

static json_t *schema_of_table(const struct field_table *table);

static const struct field *find_field(const struct field_table *table, const char *name)
{
    for (size_t g = 0; g < table->n_groups; g++) {
        for (size_t i = 0; i < table->groups[g].n_rows; i++) {
            if (strcmp(table->groups[g].rows[i].name, name) == 0)
                return &table->groups[g].rows[i];
        }
    }
    return NULL;
}

static void set_number(json_t *schema, const char *key, double value, bool integer)
{
    if (value <= -0x1p63 || value >= 0x1p63)
        return;
    json_object_set_new(schema, key, integer ? json_integer((json_int_t)value) : json_real(value));
}

static json_t *numbers(const struct field *f)
{
    bool integer = f->type == FIELD_INT;
    json_t *schema = json_pack("{s:s}", "type", integer ? "integer" : "number");
    set_number(schema, "minimum", f->min, integer);
    set_number(schema, "maximum", f->max, integer);
    if (!f->given && !f->required)
        set_number(schema, "default", f->fallback, integer);
    return schema;
}

static json_t *words(const char *const *list)
{
    json_t *values = json_array();
    for (; *list; list++)
        json_array_append_new(values, json_string(*list));
    return json_pack("{s:s,s:o}", "type", "string", "enum", values);
}

/* Lengths are of bytes here and of characters there: an upper bound may be met by fewer characters. */
static json_t *strings(const struct field *f)
{
    if (f->one_of)
        return words(f->one_of);
    json_t *schema = json_pack("{s:s}", "type", "string");
    if (f->min > 0)
        json_object_set_new(schema, "minLength", json_integer(f->min > 1 ? (json_int_t)f->min : 1));
    if (f->max > 0)
        json_object_set_new(schema, "maxLength", json_integer((json_int_t)f->max));
    return schema;
}

static json_t *string_list(const struct field *f)
{
    json_t *one = json_pack("{s:s,s:i,s:I}", "type", "string", "minLength", f->may_be_empty ? 0 : 1,
                            "maxLength", (json_int_t)f->max_bytes);
    json_t *many = json_pack("{s:s,s:O,s:I}", "type", "array", "items", one, "maxItems", (json_int_t)f->max);
    return json_pack("{s:[o,o]}", "anyOf", one, many);
}

static json_t *id_list(const struct field *f)
{
    return json_pack("{s:s,s:{s:s,s:i,s:i},s:I}", "type", "array", "items", "type", "integer", "minimum", 0,
                     "maximum", INT32_MAX, "maxItems", (json_int_t)f->max);
}

static json_t *any_json(const struct field *f)
{
    if (f->schema)
        return json_loads(f->schema, JSON_DECODE_ANY, NULL);
    json_t *kinds = json_array();
    if (f->kinds & FIELD_KIND_STRING)
        json_array_append_new(kinds, json_pack("{s:s}", "type", "string"));
    if (f->kinds & FIELD_KIND_ARRAY) {
        json_t *list = json_pack("{s:s}", "type", "array");
        if (f->nested)
            json_object_set_new(list, "items", schema_of_table(f->nested));
        json_array_append_new(kinds, list);
    }
    if (f->kinds & FIELD_KIND_BOOL)
        json_array_append_new(kinds, json_pack("{s:s}", "type", "boolean"));
    if (f->kinds & FIELD_KIND_OBJECT)
        json_array_append_new(kinds, json_pack("{s:s}", "type", "object"));
    json_t *schema = json_array_size(kinds) == 1 ? json_incref(json_array_get(kinds, 0))
                                                 : json_pack("{s:O}", "anyOf", kinds);
    json_decref(kinds);
    return schema;
}

static json_t *neutral_values(const struct field *f)
{
    json_t *values = f->neutral ? json_loads(f->neutral, 0, NULL) : json_array();
    json_array_append_new(values, json_null());
    return json_pack("{s:o}", "enum", values);
}

static json_t *plain_schema(const struct field *f)
{
    switch (f->type) {
    case FIELD_BOOL:
        return f->given ? json_pack("{s:s}", "type", "boolean")
                        : json_pack("{s:s,s:b}", "type", "boolean", "default", f->fallback != 0);
    case FIELD_INT:
    case FIELD_NUMBER:
        return numbers(f);
    case FIELD_STRING:
        return strings(f);
    case FIELD_STRINGS:
        return string_list(f);
    case FIELD_IDS:
        return id_list(f);
    case FIELD_OBJECT:
        return schema_of_table(f->nested);
    case FIELD_JSON:
        return any_json(f);
    case FIELD_UNSUPPORTED:
        return neutral_values(f);
    case FIELD_ALIAS:
    case FIELD_NO_EFFECT:
        break;
    }
    return json_object();
}

static json_t *describe(const struct field *f, json_t *schema)
{
    const char *before = f->type == FIELD_UNSUPPORTED ? "refused, but for what changes nothing: " : "";
    json_object_set_new(schema, "description", json_sprintf("%s%s", before, f->help ? f->help : ""));
    return schema;
}

/* A field that has other names is there under any of them. */
static bool has_alias(const struct field_table *table, const char *name)
{
    for (size_t g = 0; g < table->n_groups; g++) {
        for (size_t i = 0; i < table->groups[g].n_rows; i++) {
            const struct field *f = &table->groups[g].rows[i];
            if (f->type == FIELD_ALIAS && strcmp(f->of, name) == 0)
                return true;
        }
    }
    return false;
}

/* null says the same as nothing. */
static json_t *schema_of_field(const struct field_table *table, const struct field *f)
{
    const struct field *real = f->type == FIELD_ALIAS ? find_field(table, f->of) : f;
    json_t *schema = plain_schema(real);
    if (f != real)
        return json_pack("{s:[o,{s:s}],s:o}", "anyOf", schema, "type", "null", "description",
                         json_sprintf("another name of %s", f->of));
    bool needed = f->required && !has_alias(table, f->name);
    if (needed || f->type == FIELD_UNSUPPORTED || f->type == FIELD_NO_EFFECT)
        return describe(f, schema);
    json_t *fallback = json_object_get(schema, "default");
    json_t *both = json_pack("{s:[O,{s:s}]}", "anyOf", schema, "type", "null");
    if (fallback)
        json_object_set(both, "default", fallback);
    json_object_del(schema, "default");
    json_decref(schema);
    return describe(f, both);
}

static json_t *schema_of_table(const struct field_table *table)
{
    json_t *properties = json_object(), *required = json_array();
    for (size_t g = 0; g < table->n_groups; g++) {
        for (size_t i = 0; i < table->groups[g].n_rows; i++) {
            const struct field *f = &table->groups[g].rows[i];
            json_object_set_new(properties, f->name, schema_of_field(table, f));
            if (f->required && !has_alias(table, f->name))
                json_array_append_new(required, json_string(f->name));
        }
    }
    return json_pack("{s:s,s:o,s:o,s:b}", "type", "object", "properties", properties, "required", required,
                     "additionalProperties", 0);
}

/* ---- operations ----------------------------------------------------------------------------- */

static json_t *reference(const char *name)
{
    return json_pack("{s:o}", "$ref", json_sprintf("#/components/schemas/%s", name));
}

static json_t *content(const char *type, json_t *schema)
{
    return json_pack("{s:{s:o}}", type, "schema", schema);
}

/* Every status that a failure has in the dialect. */
static void add_failures(json_t *responses, const struct api_dialect *dialect)
{
    for (enum error_kind kind = 1; kind < ERROR_KINDS; kind++) {
        struct error e = {.kind = kind};
        char status[16];
        if (error_http_status(kind) == 0 || kind == ERROR_CANCELLED)
            continue;
        snprintf(status, sizeof status, "%d", dialect->status(&e));
        if (json_object_get(responses, status))
            continue;
        json_t *schema = dialect->error_shape ? shape_schema(dialect->error_shape) : reference("Error");
        json_object_set_new(responses, status,
                            json_pack("{s:s,s:o}", "description", "a failure", "content",
                                      content("application/json", schema)));
    }
    struct error backend = {.kind = ERROR_UNSUPPORTED, .param = "model"};
    char status[16];
    snprintf(status, sizeof status, "%d", dialect->status(&backend));
    json_t *same = json_object_get(responses, "400");
    if (!json_object_get(responses, status) && same)
        json_object_set(responses, status, same);
}

static json_t *responses_of(const struct api_endpoint *p, const struct answer_row *row)
{
    const struct api_dialect *dialect = api_dialect_of(p);
    json_t *types = json_object(), *responses = json_object();
    const struct field *stream = p->fields ? find_field(p->fields, "stream") : NULL;
    if (row && row->type)
        json_object_set_new(types, row->type, json_pack("{s:{}}", "schema"));
    else
        json_object_set_new(types, "application/json",
                            json_pack("{s:o}", "schema", row ? shape_schema(row->shape) : json_object()));
    if (stream)
        json_object_set_new(types, dialect->stream_type, json_pack("{s:{}}", "schema"));
    json_object_set_new(responses, "200",
                        json_pack("{s:s,s:o}", "description", "an answer", "content", types));
    add_failures(responses, dialect);
    return responses;
}

static json_t *parameters_of(const char *path)
{
    json_t *list = json_array();
    for (const char *at = strchr(path, '{'); at; at = strchr(at + 1, '{'))
        json_array_append_new(list, json_pack("{s:s%,s:s,s:b,s:{s:s,s:i,s:i}}", "name", at + 1,
                                              strcspn(at + 1, "}"), "in", "path", "required", 1, "schema",
                                              "type", "string", "minLength", 1, "maxLength", 128));
    return list;
}

/* "POST /v1/models/{id}" as a name of letters. */
static json_t *operation_id(const char *method, const char *path)
{
    char id[160];
    size_t n = (size_t)snprintf(id, sizeof id, "%s", method);
    for (; *path && n + 1 < sizeof id; path++) {
        if (strchr("{}", *path))
            continue;
        id[n++] = *path == '/' || *path == '-' || *path == '.' ? '_' : *path;
    }
    return json_stringn(id, n);
}

static json_t *operation_of(const struct api_endpoint *p, const char *method)
{
    const struct answer_row *row = answer_find(p);
    json_t *operation = json_pack("{s:o,s:s,s:o,s:o}", "operationId", operation_id(method, p->path),
                                  "summary", row ? row->summary : "", "parameters", parameters_of(p->path),
                                  "responses", responses_of(p, row));
    if (p->fields)
        json_object_set_new(operation, "requestBody",
                            json_pack("{s:b,s:o}", "required", 1, "content",
                                      content("application/json", schema_of_table(p->fields))));
    return operation;
}

static const char *method_of(unsigned method)
{
    return method == API_POST ? "post" : method == API_DELETE ? "delete" : "get";
}

static json_t *path_item(json_t *paths, const char *path)
{
    json_t *item = json_object_get(paths, path);
    if (item)
        return item;
    item = json_object();
    json_object_set_new(paths, path, item);
    return item;
}

/* Also the paths that the server answers by itself. */
static json_t *all_paths(void)
{
    static const char *const own[] = {"/health", "/metrics"};
    json_t *paths = json_object();
    for (size_t i = 0; api_endpoint_at(i); i++) {
        const struct api_endpoint *p = api_endpoint_at(i);
        json_object_set_new(path_item(paths, p->path), method_of(p->method),
                            operation_of(p, method_of(p->method)));
    }
    for (size_t i = 0; i < FIELD_COUNT(own); i++) {
        struct api_endpoint p = {.path = own[i], .method = API_GET};
        json_object_set_new(path_item(paths, own[i]), "get", operation_of(&p, "get"));
    }
    return paths;
}

int openapi_document(json_t **out, struct error *e)
{
    json_t *schemas = json_object();
    for (size_t i = 0; answer_schema_at(i); i++)
        json_object_set_new(schemas, answer_schema_at(i)->name, shape_schema(answer_schema_at(i)->shape));
    *out = json_pack("{s:s,s:{s:s,s:s,s:s},s:o,s:{s:o}}", "openapi", "3.1.0", "info", "title", "loquat",
                     "version", LOQUAT_VERSION, "description",
                     "Language models over HTTP. Made of the declarations that requests are "
                     "read with.",
                     "paths", all_paths(), "components", "schemas", schemas);
    return *out ? 0 : error_no_memory(e);
}

/* ---- endpoints ------------------------------------------------------------------------------ */

int openapi_begin(struct api_call *call, struct error *e)
{
    json_t *document;
    TRY(openapi_document(&document, e));
    json_write(&call->out, document);
    json_decref(document);
    return call->out.failed ? error_no_memory(e) : 0;
}

int docs_begin(struct api_call *call, struct error *e)
{
    call->content_type = "text/html; charset=utf-8";
    buf_add(&call->out, docs_page, docs_page_len);
    return call->out.failed ? error_no_memory(e) : 0;
}
