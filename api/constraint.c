/* constraint.c - see constraint.h.
 * Whatever says it, a constraint is a kind and a text; the two are the grammar's key in the cache.
 * To accept one more name: a row in constraint_rows[]; one more kind: a row in kinds[]. */
#include "api/constraint.h"

#include <stdlib.h>
#include <string.h>

#include "api/automaton.h"
#include "api/schema.h"
#include "engine/base/json.h"
#include "engine/base/limits.h"

#define AT(member) offsetof(struct constraint_options, member)

/* clang-format off */
const struct field constraint_rows[] = {
    {.name = "response_format", .type = FIELD_JSON, .offset = AT(response_format), .kinds = FIELD_KIND_OBJECT,
     .help = "{type: text | json_object | json_schema | regex | grammar}; json_schema takes {json_schema: {name, schema, strict}}; what the "
             "answer is held to while it is written"},
    {.name = "json_schema", .type = FIELD_JSON, .offset = AT(json_schema), .kinds = FIELD_KIND_OBJECT | FIELD_KIND_STRING,
     .help = "a JSON Schema that the answer is valid for"},
    {.name = "guided_json", .type = FIELD_ALIAS, .of = "json_schema", .help = "another name"},
    {.name = "grammar", .type = FIELD_STRING, .offset = AT(grammar), .min = 1, .max = LIMIT_GRAMMAR_TEXT,
     .help = "a grammar in GBNF that the answer follows from its rule root"},
    {.name = "guided_grammar", .type = FIELD_ALIAS, .of = "grammar", .help = "another name"},
    {.name = "regex", .type = FIELD_STRING, .offset = AT(regex), .min = 1, .max = LIMIT_REGEX,
     .help = "a regular expression that the whole answer matches"},
    {.name = "guided_regex", .type = FIELD_ALIAS, .of = "regex", .help = "another name"},
    {.name = "choice", .type = FIELD_JSON, .offset = AT(choice), .kinds = FIELD_KIND_ARRAY,
     .help = "a list of texts of which the answer is one"},
    {.name = "guided_choice", .type = FIELD_ALIAS, .of = "choice", .help = "another name"},
    {.name = "structured_outputs", .type = FIELD_JSON, .offset = AT(structured_outputs), .kinds = FIELD_KIND_OBJECT,
     .help = "the same as one of {json, regex, choice, grammar, json_object}"},
    {.name = "guided_json_object", .type = FIELD_BOOL, .offset = AT(json_object),
     .help = "the answer is a JSON object"},
    FIELD_HARMLESS("guided_decoding_backend", "has no effect: there is one way to follow a grammar"),
    FIELD_REFUSED("guided_whitespace_pattern", "[]", "white space in JSON can't be chosen: one space may follow a comma or a colon"),
};

static const struct field structured_rows[] = {
    {.name = "json", .type = FIELD_JSON, .offset = AT(json_schema), .kinds = FIELD_KIND_OBJECT | FIELD_KIND_STRING,
     .help = "a JSON Schema"},
    {.name = "grammar", .type = FIELD_STRING, .offset = AT(grammar), .min = 1, .max = LIMIT_GRAMMAR_TEXT, .help = "a grammar in GBNF"},
    {.name = "regex", .type = FIELD_STRING, .offset = AT(regex), .min = 1, .max = LIMIT_REGEX, .help = "a regular expression"},
    {.name = "choice", .type = FIELD_JSON, .offset = AT(choice), .kinds = FIELD_KIND_ARRAY, .help = "a list of texts"},
    {.name = "json_object", .type = FIELD_BOOL, .offset = AT(json_object), .help = "any JSON object"},
    FIELD_HARMLESS("backend", "has no effect: there is one way to follow a grammar"),
    FIELD_HARMLESS("disable_fallback", "has no effect: there is no fallback"),
    FIELD_REFUSED("disable_any_whitespace", "[true]", "one space may follow a comma or a colon"),
    FIELD_REFUSED("disable_additional_properties", "[true]", "a schema that lists properties gets no others unless it says so"),
    FIELD_REFUSED("whitespace_pattern", "[]", "white space can't be chosen"),
    FIELD_REFUSED("structural_tag", "[]", "structural tags are not supported; a grammar may say the same"),
};
/* clang-format on */
_Static_assert(FIELD_COUNT(constraint_rows) == CONSTRAINT_ROWS, "CONSTRAINT_ROWS is the table's length");

static const struct field_group structured_groups[] = {FIELD_GROUP(structured_rows, 0)};
static const struct field_table structured_table =
    FIELD_TABLE(structured_groups, sizeof(struct constraint_options));

/* ---- what is asked for --------------------------------------------------------------------------- */

enum kind { KIND_NONE, KIND_SCHEMA, KIND_REGEX, KIND_CHOICE, KIND_GRAMMAR };

struct wish {
    enum kind kind;
    const char *field;       /* that says it, for errors */
    const json_t *value;     /* SCHEMA, CHOICE */
    struct engine_text text; /* REGEX, GRAMMAR */
};

static int wish_for(struct wish *w, enum kind kind, const char *field, struct error *e)
{
    if (w->kind != KIND_NONE)
        return error_param(e, ERROR_INVALID_REQUEST, field,
                           "%s and %s both say what the answer must be; send one", w->field, field);
    w->kind = kind;
    w->field = field;
    return 0;
}

static int wish_value(struct wish *w, enum kind kind, const char *field, const json_t *value, struct error *e)
{
    if (!value)
        return 0;
    w->value = w->kind == KIND_NONE ? value : w->value;
    return wish_for(w, kind, field, e);
}

static int wish_text(struct wish *w, enum kind kind, const char *field, const struct engine_text *text,
                     struct error *e)
{
    if (!text->bytes)
        return 0;
    w->text = w->kind == KIND_NONE ? *text : w->text;
    return wish_for(w, kind, field, e);
}

/* Kept in the call: json_object_schema is no object of the request. */
static const json_t *any_object(struct api_call *call)
{
    json_t *schema = json_pack("{s:s}", "type", "object");
    if (!schema || json_object_set_new(call->request, "\x01object", schema) < 0)
        return NULL;
    return schema;
}

static int refuse_format(struct error *e, const char *param, const char *what)
{
    return error_param(e, ERROR_INVALID_REQUEST, param, "%s: %s", param, what);
}

static bool is_name(const char *name)
{
    size_t n = strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-");
    return n > 0 && n <= 64 && name[n] == 0;
}

/* {name, schema, strict, description}, or, as llama-server has it, `schema` beside the type. */
static int read_json_schema(struct api_call *call, const json_t *format, struct wish *w, struct error *e)
{
    const json_t *wrapped = json_object_get(format, "json_schema"),
                 *schema = json_object_get(format, "schema");
    const json_t *name = json_object_get(wrapped, "name"), *strict = json_object_get(wrapped, "strict");
    const char *key;
    const json_t *value;
    if (wrapped && !json_is_object(wrapped))
        return refuse_format(e, "response_format.json_schema",
                             "it must be an object: {name, schema, strict}");
    json_object_foreach((json_t *)(uintptr_t)wrapped, key, value)
    {
        if (strcmp(key, "name") && strcmp(key, "schema") && strcmp(key, "strict") &&
            strcmp(key, "description"))
            return error_param(e, ERROR_INVALID_REQUEST, "response_format.json_schema",
                               "unknown field \"response_format.json_schema.%.60s\"", key);
    }
    if (wrapped && (!json_is_string(name) || !is_name(json_string_value(name))))
        return refuse_format(e, "response_format.json_schema.name",
                             "a name of 1 to 64 letters, digits, _ or - is needed");
    if (strict && !json_is_boolean(strict) && !json_is_null(strict))
        return refuse_format(e, "response_format.json_schema.strict", "it must be true or false");
    schema = wrapped ? json_object_get(wrapped, "schema") : schema;
    if (!schema || json_is_null(schema)) /* OpenAI lets it be absent: then any JSON */
        schema = any_object(call);
    if (!json_is_object(schema) && !json_is_boolean(schema))
        return refuse_format(e, "response_format.json_schema.schema", "it must be a JSON Schema");
    return wish_value(w, KIND_SCHEMA, "response_format", schema, e);
}

static int read_format_text(const json_t *format, const char *key, enum kind kind, struct wish *w,
                            struct error *e)
{
    const json_t *text = json_object_get(format, key);
    if (!text && kind == KIND_REGEX)
        text = json_object_get(format, "pattern");
    if (!json_is_string(text) || json_string_length(text) == 0)
        return error_param(e, ERROR_INVALID_REQUEST, "response_format", "response_format.%s must be a text",
                           key);
    const struct engine_text t = {json_string_value(text), json_string_length(text)};
    return wish_text(w, kind, "response_format", &t, e);
}

static int read_format(struct api_call *call, const json_t *format, struct wish *w, struct error *e)
{
    const char *type = json_string_value(json_object_get(format, "type"));
    const char *key;
    const json_t *value;
    if (!type)
        return refuse_format(e, "response_format.type", "text, json_object or json_schema is needed");
    json_object_foreach((json_t *)(uintptr_t)format, key, value)
    {
        if (strcmp(key, "type") && strcmp(key, "json_schema") && strcmp(key, "schema") &&
            strcmp(key, "regex") && strcmp(key, "pattern") && strcmp(key, "grammar"))
            return error_param(e, ERROR_INVALID_REQUEST, "response_format",
                               "unknown field \"response_format.%.60s\"", key);
    }
    if (strcmp(type, "text") == 0)
        return 0;
    if (strcmp(type, "json_schema") == 0) {
        if (!json_object_get(format, "json_schema") && !json_object_get(format, "schema"))
            return refuse_format(e, "response_format.json_schema", "it is needed with the type json_schema");
        return read_json_schema(call, format, w, e);
    }
    if (strcmp(type, "json_object") == 0) {
        const json_t *schema = json_object_get(format, "schema");
        return wish_value(w, KIND_SCHEMA, "response_format", schema ? schema : any_object(call), e);
    }
    if (strcmp(type, "regex") == 0)
        return read_format_text(format, "regex", KIND_REGEX, w, e);
    if (strcmp(type, "grammar") == 0)
        return read_format_text(format, "grammar", KIND_GRAMMAR, w, e);
    return error_param(
        e, ERROR_INVALID_REQUEST, "response_format.type",
        "response_format.type must be text, json_object, json_schema, regex or grammar, not \"%.60s\"", type);
}

static int read_options(struct api_call *call, const struct constraint_options *o, struct wish *w,
                        struct error *e)
{
    if (o->response_format)
        TRY(read_format(call, o->response_format, w, e));
    TRY(wish_value(w, KIND_SCHEMA, "json_schema", o->json_schema, e));
    TRY(wish_text(w, KIND_GRAMMAR, "grammar", &o->grammar, e));
    TRY(wish_text(w, KIND_REGEX, "regex", &o->regex, e));
    TRY(wish_value(w, KIND_CHOICE, "choice", o->choice, e));
    if (o->json_object)
        TRY(wish_value(w, KIND_SCHEMA, "json_object", any_object(call), e));
    if (o->structured_outputs) {
        struct constraint_options *inner = arena_alloc(call->arena, 1, sizeof *inner);
        if (!inner)
            return error_no_memory(e);
        TRY(fields_read(&structured_table, o->structured_outputs, "structured_outputs.", call->arena, inner,
                        e));
        TRY(read_options(call, inner, w, e));
    }
    return 0;
}

/* ---- to a grammar -------------------------------------------------------------------------------- */

static void write_literal(const char *text, size_t len, struct buf *out)
{
    buf_add_text(out, "\"");
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)text[i];
        if (c < 0x20 || c == 0x7F || c == '"' || c == '\\')
            buf_printf(out, "\\x%02X", c);
        else
            buf_add(out, &text[i], 1);
    }
    buf_add_text(out, "\"");
}

static int write_choice(const json_t *list, struct buf *out, struct error *e)
{
    size_t i;
    const json_t *one;
    if (json_array_size(list) == 0 || json_array_size(list) > LIMIT_SCHEMA_VALUES)
        return error_set(e, ERROR_INVALID_REQUEST, "choice must list 1 to %d texts", LIMIT_SCHEMA_VALUES);
    buf_add_text(out, "root ::= ");
    json_array_foreach((json_t *)(uintptr_t)list, i, one)
    {
        if (!json_is_string(one) || json_string_length(one) == 0)
            return error_set(e, ERROR_INVALID_REQUEST, "choice[%zu] must be a text of at least one character",
                             i);
        buf_add_text(out, i ? " | " : "");
        write_literal(json_string_value(one), json_string_length(one), out);
    }
    return 0;
}

static int write_regex(const struct engine_text *pattern, struct buf *out, struct error *e)
{
    struct arena *arena = arena_create(LIMIT_SCHEMA_ARENA);
    struct regex *r, *whole;
    const struct automaton *a = NULL;
    int status = arena ? regex_parse(pattern->bytes, pattern->len, arena, &r, e) : error_no_memory(e);
    whole = status == 0 ? regex_whole(r, false, arena) : NULL;
    if (whole) {
        buf_add_text(out, "root ::= ");
        regex_write(whole, false, out);
    } else if (status == 0) { /* anchors in its middle */
        a = automaton_of_regex(r, false, arena);
        if (!a)
            status = error_set(e, ERROR_UNSUPPORTED, "the regular expression is too complex");
        else if (a->n_states == 0)
            status = error_set(e, ERROR_INVALID_REQUEST, "no text matches the regular expression");
        else
            automaton_write(a, "root", false, out);
    }
    arena_free(arena);
    return status;
}

static int write_schema(const json_t *schema, struct buf *out, struct error *e)
{
    json_t *parsed = NULL;
    if (json_is_string(schema)) { /* vLLM's clients send it as text too */
        TRY(json_parse(json_string_value(schema), json_string_length(schema), &parsed, e));
        schema = parsed;
    }
    int status = schema_write(schema, "root", out, e);
    json_decref(parsed);
    return status;
}

static int write_wish(const struct wish *w, struct buf *out, struct error *e)
{
    if (w->kind == KIND_GRAMMAR)
        buf_add(out, w->text.bytes, w->text.len);
    int status = w->kind == KIND_SCHEMA   ? write_schema(w->value, out, e)
                 : w->kind == KIND_CHOICE ? write_choice(w->value, out, e)
                 : w->kind == KIND_REGEX  ? write_regex(&w->text, out, e)
                                          : 0;
    if (status == 0 && out->failed)
        return error_set(e, ERROR_INVALID_REQUEST, "the grammar that this makes is too large");
    return status;
}

/* A rule that can't be is told as the place of the schema that it comes from. */
static int explain(const char *text, const struct error *inner, struct error *e)
{
    static const char mark[] = "the rule ";
    const char *rule = strstr(inner->text, mark), *rest;
    if (rule) {
        rule += sizeof mark - 1;
        rest = rule + strcspn(rule, " ");
        size_t len;
        const char *place = schema_place(text, rule, (size_t)(rest - rule), &len);
        if (place)
            return error_set(e, inner->kind, "%.*s:%s", (int)(len < 200 ? len : 200), place, rest);
    }
    return error_set(e, inner->kind, "%s", inner->text);
}

static int make_grammar(const struct wish *w, struct engine_model *model, struct engine_grammar **out,
                        struct error *e)
{
    struct buf text;
    struct error inner = {0};
    buf_init(&text, LIMIT_GRAMMAR_TEXT);
    int status = write_wish(w, &text, e);
    if (status == 0) {
        status = engine_grammar_create(engine_model_vocabulary(model), text.data ? text.data : "", text.len,
                                       out, &inner);
        if (status < 0)
            explain(text.data ? text.data : "", &inner, e);
    }
    buf_free(&text);
    return status;
}

/* ---- with the cache ------------------------------------------------------------------------------ */

static void write_key(const struct wish *w, struct buf *out)
{
    buf_printf(out, "%d ", (int)w->kind);
    if (w->kind == KIND_REGEX || w->kind == KIND_GRAMMAR)
        buf_add(out, w->text.bytes, w->text.len);
    else
        json_write(out, w->value);
}

/* The call keeps what it uses. */
static int keep(struct api_call *call, struct engine_grammar *g, struct engine_grammar **out)
{
    engine_grammar_release(call->grammar);
    call->grammar = g;
    *out = g;
    return 0;
}

static int find_or_make(struct api_call *call, const struct wish *w, struct engine_model *model,
                        struct engine_grammar **out, struct error *e)
{
    const struct engine_vocabulary *v = engine_model_vocabulary(model);
    struct grammar_cache *cache = api_grammar_cache(call->api);
    struct buf key;
    buf_init(&key, LIMIT_REQUEST_ARENA);
    write_key(w, &key);
    int status = key.failed ? error_no_memory(e) : 0;
    struct engine_grammar *g = status == 0 ? grammar_cache_find(cache, v, key.data, key.len) : NULL;
    if (status == 0 && !g) {
        status = make_grammar(w, model, &g, e);
        if (status == 0)
            grammar_cache_add(cache, v, key.data, key.len, g);
    }
    buf_free(&key);
    return status == 0 ? keep(call, g, out) : -1;
}

int constraint_compile(struct api_call *call, const struct constraint_options *o, struct engine_model *model,
                       struct engine_grammar **out, struct error *e)
{
    struct wish w = {.kind = KIND_NONE};
    struct error inner = {0};
    *out = NULL;
    TRY(read_options(call, o, &w, e));
    if (w.kind == KIND_NONE)
        return 0;
    if (find_or_make(call, &w, model, out, &inner) == 0)
        return 0;
    const char *separator = strncmp(inner.text, w.field, strlen(w.field)) == 0 ? "" : ": ";
    return error_param(e, inner.kind, w.field, "%s%s%s", *separator ? w.field : "", separator, inner.text);
}

int constraint_of_text(struct api_call *call, struct engine_model *model, const char *text, size_t len,
                       struct engine_grammar **out, struct error *e)
{
    const struct wish w = {.kind = KIND_GRAMMAR, .field = "grammar", .text = {text, len}};
    *out = NULL;
    return find_or_make(call, &w, model, out, e);
}
