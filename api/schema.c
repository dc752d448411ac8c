/* schema.c - see schema.h: a schema's places to rules of a grammar.
 * Recursion follows the JSON, which nests at most LIMIT_JSON_DEPTH deep; what a $ref or an allOf leads to
 * waits in a list and is written once, so that schemas may refer to themselves. */
#include "api/schema.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/schema_flat.h"
#include "engine/base/json.h"
#include "engine/base/limits.h"

/* ---- what all files use ------------------------------------------------------------------------ */

void schema_rule(const struct schema *s, unsigned rule, struct buf *out)
{
    buf_printf(out, "%s-%u", s->rule, rule);
}

void schema_literal(const char *text, size_t len, struct buf *out)
{
    buf_add_text(out, "\"");
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)text[i];
        if (c < 0x20 || c == 0x7F)
            buf_printf(out, "\\x%02X", c);
        else if (c == '"' || c == '\\')
            buf_printf(out, "\\%c", c);
        else
            buf_add(out, &text[i], 1);
    }
    buf_add_text(out, "\"");
}

const char *schema_path(struct schema *s, const char *at, const char *format, ...)
{
    char text[512];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    for (char *c = text; *c; c++)
        *c = (unsigned char)*c < 0x20 ? ' ' : *c; /* it is shown, and stands in a comment */
    const char *path = strlen(at) < 4096 ? arena_printf(s->arena, "%s/%s", at, text) : at;
    return path ? path : "#";
}

int schema_refuse(struct schema *s, enum error_kind kind, const char *at, const char *format, ...)
{
    char text[320];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    return error_set(s->error, kind, "%.150s: %s", at, text);
}

int schema_impossible(struct schema *s, const char *at, const char *format, ...)
{
    char text[320];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    error_set(&s->why, ERROR_INVALID_REQUEST, "%.150s: no value can be valid: %s", at, text);
    return SCHEMA_IMPOSSIBLE;
}

int schema_left_out(struct schema *s)
{
    error_clear(&s->why);
    return 0;
}

const json_t *schema_keep(struct schema *s, json_t *made)
{
    if (made && json_array_append_new(s->made, made) == 0)
        return made;
    error_no_memory(s->error);
    return NULL;
}

int schema_new_rule(struct schema *s, const char *at, unsigned *rule)
{
    if (s->n_rules == LIMIT_SCHEMA_RULES)
        return schema_refuse(s, ERROR_INVALID_REQUEST, at, "the schema has too many places (more than %d)",
                             LIMIT_SCHEMA_RULES);
    *rule = s->n_rules++;
    return 0;
}

int schema_define(struct schema *s, unsigned rule, const char *at, struct buf *text)
{
    buf_printf(s->out, "# %s\n", at);
    schema_rule(s, rule, s->out);
    buf_add_text(s->out, " ::= ");
    buf_add(s->out, text->data ? text->data : "", text->len);
    buf_add_text(s->out, "\n");
    s->out->failed = s->out->failed || text->failed;
    buf_free(text);
    return s->out->failed ? schema_refuse(s, ERROR_INVALID_REQUEST, at, "the schema's grammar is too large")
                          : 0;
}

/* ---- places ------------------------------------------------------------------------------------ */

/* The rule for a schema that is written later, or was. */
static int later(struct schema *s, const char *key, const json_t *schema, const char *at, unsigned *rule)
{
    const json_t *known = json_object_get(s->known, key);
    if (known) {
        *rule = (unsigned)json_integer_value(known);
        return 0;
    }
    TRY(schema_new_rule(s, at, rule));
    if (s->n_todo == s->cap_todo) {
        size_t cap = s->cap_todo ? s->cap_todo * 2 : 16;
        struct schema_todo *todo = realloc(s->todo, cap * sizeof *todo);
        if (!todo)
            return error_no_memory(s->error);
        s->todo = todo;
        s->cap_todo = cap;
    }
    s->todo[s->n_todo++] = (struct schema_todo){schema, at, *rule};
    return json_object_set_new(s->known, key, json_integer(*rule)) == 0 ? 0 : error_no_memory(s->error);
}

/* A merged schema goes by its text. */
static int later_by_text(struct schema *s, const json_t *schema, const char *at, unsigned *rule)
{
    char *key = json_dumps(schema, JSON_COMPACT | JSON_SORT_KEYS);
    if (!key)
        return error_no_memory(s->error);
    int status = later(s, key, schema, at, rule);
    free(key);
    return status;
}

static int write_type(struct schema *s, const struct schema_flat *f, unsigned type, struct buf *out)
{
    switch (type) {
    case TYPE_NULL:
        buf_add_text(out, "\"null\"");
        return 0;
    case TYPE_BOOLEAN:
        buf_add_text(out, "(\"true\" | \"false\")");
        return 0;
    case TYPE_INTEGER:
    case TYPE_NUMBER:
        return schema_write_number(s, f, type == TYPE_INTEGER, out);
    case TYPE_STRING:
        return schema_write_text(s, f, out);
    case TYPE_ARRAY:
        return schema_write_array(s, f, out);
    default:
        return schema_write_object(s, f, out);
    }
}

/* One of the types; those that nothing can be are left out. */
static int write_types(struct schema *s, const struct schema_flat *f, struct buf *out)
{
    unsigned types = schema_types(f), written = 0;
    if (types == 0)
        return schema_impossible(s, f->at, "its types exclude each other");
    if (types & TYPE_NUMBER)
        types &= ~(unsigned)TYPE_INTEGER;
    for (unsigned bit = 1; bit < 1u << TYPES; bit <<= 1) {
        struct buf one;
        if (!(types & bit))
            continue;
        buf_init(&one, LIMIT_GRAMMAR_TEXT);
        int status = write_type(s, f, bit, &one);
        if (status == 0 && written++)
            buf_add_text(out, " | ");
        if (status == 0)
            buf_add(out, one.data ? one.data : "", one.len);
        out->failed = out->failed || one.failed;
        buf_free(&one);
        if (status < 0)
            return status;
    }
    return written ? schema_left_out(s) : SCHEMA_IMPOSSIBLE;
}

static int check_exclusive(struct schema *s, const struct schema_group *g)
{
    size_t n = json_array_size(g->branches);
    if (n > LIMIT_SCHEMA_BRANCHES)
        return schema_refuse(s, ERROR_UNSUPPORTED, g->at, "oneOf of more than %d schemas",
                             LIMIT_SCHEMA_BRANCHES);
    for (size_t i = 0; i < n; i++) {
        for (size_t k = i + 1; k < n; k++) {
            const char *a = schema_path(s, g->at, "%zu", i), *b = schema_path(s, g->at, "%zu", k);
            bool apart;
            TRY(schema_exclusive(s, json_array_get(g->branches, i), a, json_array_get(g->branches, k), b, 0,
                                 &apart));
            if (!apart)
                return schema_refuse(
                    s, ERROR_UNSUPPORTED, g->at,
                    "oneOf can't be enforced: a value may be valid for both %zu and %zu; anyOf "
                    "would do",
                    i, k);
        }
    }
    return 0;
}

static int write_flat(struct schema *s, const struct schema_flat *f, struct buf *out);

/* What holds, and a branch of its last group. */
static int write_branch(struct schema *s, const struct schema_flat *f, const json_t *branch, const char *at,
                        struct buf *out)
{
    struct schema_flat *both = malloc(sizeof *both);
    if (!both)
        return error_no_memory(s->error);
    *both = *f;
    both->n_groups--;
    both->at = at;
    int status = schema_absorb(s, both, branch, at);
    unsigned rule;
    if (status == 0) /* each is a place of its own, so that their number is limited */
        status = schema_new_rule(s, at, &rule);
    if (status == 0)
        status = write_flat(s, both, out);
    free(both);
    return status;
}

/* Nothing but the one group holds: its branches are places like others. */
static bool is_group_alone(const struct schema_flat *f)
{
    return f->n_groups == 1 && !f->typed && !f->hinted && !f->values;
}

static int write_group(struct schema *s, const struct schema_flat *f, struct buf *out)
{
    const struct schema_group *g = &f->groups[f->n_groups - 1];
    size_t written = 0, i;
    const json_t *branch;
    if (g->one)
        TRY(check_exclusive(s, g));
    json_array_foreach((json_t *)(uintptr_t)g->branches, i, branch)
    {
        const char *at = schema_path(s, g->at, "%zu", i);
        struct buf one;
        unsigned rule;
        buf_init(&one, LIMIT_GRAMMAR_TEXT);
        int status =
            is_group_alone(f) ? schema_value(s, branch, at, &rule) : write_branch(s, f, branch, at, &one);
        if (status == 0 && is_group_alone(f))
            schema_rule(s, rule, &one);
        if (status == 0)
            buf_printf(out, written++ ? " | (%s)" : "(%s)", one.data ? one.data : "");
        out->failed = out->failed || one.failed;
        buf_free(&one);
        if (status < 0)
            return status;
    }
    return written ? schema_left_out(s) : schema_impossible(s, g->at, "none of these can be met");
}

static int write_flat(struct schema *s, const struct schema_flat *f, struct buf *out)
{
    if (f->values)
        return schema_write_values(s, f, out);
    return f->n_groups ? write_group(s, f, out) : write_types(s, f, out);
}

static int define_place(struct schema *s, const json_t *schema, const char *at, unsigned rule)
{
    struct schema_flat *f = malloc(sizeof *f);
    struct buf text;
    buf_init(&text, LIMIT_GRAMMAR_TEXT);
    int status = f ? schema_flatten(s, schema, at, f) : error_no_memory(s->error);
    if (status == 0)
        status = write_flat(s, f, &text);
    free(f);
    if (status == 0)
        return schema_define(s, rule, at, &text);
    buf_free(&text);
    return status;
}

int schema_value(struct schema *s, const json_t *schema, const char *at, unsigned *rule)
{
    const char *ref = json_string_value(json_object_get(schema, "$ref"));
    if (ref && !schema_says_more(schema, "$ref")) {
        /* Under a key that no text of a schema is. */
        const char *key = arena_printf(s->arena, "@%s", ref);
        return key ? later(s, key, schema, at, rule) : error_no_memory(s->error);
    }
    if (ref || json_object_get(schema, "allOf"))
        return later_by_text(s, schema, at, rule);
    PASS(schema_new_rule(s, at, rule));
    return define_place(s, schema, at, *rule);
}

/* ---- the whole --------------------------------------------------------------------------------- */

/* What values without further words are.  A number has no more digits than a double holds. */
static void write_common(const char *rule, struct buf *out)
{
    static const char *const rules[] = {
        "comma ::= \",\" \" \"?",
        "colon ::= \":\" \" \"?",
        "char ::= [^\"\\\\\\x00-\\x1F] | \"\\\\\" [\"\\\\bfnrt]",
        "string ::= \"\\\"\" @-char* \"\\\"\"",
        "integer ::= \"0\" | \"-\"? [1-9] [0-9]{0,14}",
        "number ::= \"-\"? (\"0\" | [1-9] [0-9]{0,14}) (\".\" [0-9]{1,15})? ([eE] [-+]? [0-9]{1,2})?",
        "value ::= @-object | @-array | @-string | @-number | \"true\" | \"false\" | \"null\"",
        "member ::= @-string @-colon @-value",
        "object ::= \"{\" (@-member (@-comma @-member)*)? \"}\"",
        "array ::= \"[\" (@-value (@-comma @-value)*)? \"]\"",
    };
    for (size_t i = 0; i < sizeof rules / sizeof rules[0]; i++) {
        buf_printf(out, "%s-", rule);
        for (const char *c = rules[i]; *c; c++) {
            if (*c == '@')
                buf_add_text(out, rule);
            else
                buf_add(out, c, 1);
        }
        buf_add_text(out, "\n");
    }
}

static int write_all(struct schema *s, const json_t *schema)
{
    unsigned rule;
    PASS(schema_value(s, schema, "#", &rule));
    buf_printf(s->out, "# #\n%s ::= ", s->rule);
    schema_rule(s, rule, s->out);
    buf_add_text(s->out, "\n");
    for (size_t i = 0; i < s->n_todo; i++) {
        const struct schema_todo todo = s->todo[i]; /* the list may grow meanwhile */
        PASS(define_place(s, todo.schema, todo.at, todo.rule));
    }
    write_common(s->rule, s->out);
    return s->out->failed ? schema_refuse(s, ERROR_INVALID_REQUEST, "#", "the schema's grammar is too large")
                          : 0;
}

int schema_write(const json_t *schema, const char *rule, struct buf *out, struct error *e)
{
    struct error own = {0};
    struct schema s = {.root = schema, .rule = rule, .out = out, .error = e ? e : &own};
    s.arena = arena_create(LIMIT_SCHEMA_ARENA);
    s.known = json_object();
    s.made = json_array();
    int status = s.arena && s.known && s.made ? write_all(&s, schema) : error_no_memory(s.error);
    if (status == SCHEMA_IMPOSSIBLE)
        status = error_set(s.error, s.why.kind, "%s", s.why.text);
    free(s.todo);
    json_decref(s.known);
    json_decref(s.made);
    arena_free(s.arena);
    return status;
}

const char *schema_place(const char *grammar, const char *rule, size_t rule_len, size_t *len)
{
    for (const char *at = grammar; (at = memmem(at, strlen(at), rule, rule_len)); at++) {
        if (at == grammar || at[-1] != '\n' || strncmp(at + rule_len, " ::=", 4) != 0)
            continue;
        const char *end = at - 1, *start = end;
        while (start > grammar && start[-1] != '\n')
            start--;
        if (strncmp(start, "# ", 2) != 0)
            return NULL;
        *len = (size_t)(end - start) - 2;
        return start + 2;
    }
    return NULL;
}
