/* schema_members.c - see schema_flat.h: objects and arrays.
 * An object's members come in the order of `properties`: a chain of rules, one before the first member and
 * one behind it for each place, so that commas are right whatever is left out.  Members without a name in the
 * schema come last; their names are an automaton that leaves out the known ones.  An object whose schema
 * lists properties and says nothing of others gets no others. */
#include <stdlib.h>
#include <string.h>

#include "api/schema_flat.h"
#include "engine/base/json.h"
#include "engine/base/limits.h"

/* ---- what holds for one member or item ---------------------------------------------------------- */

/* Both of two schemas; NULL is anything. */
static const json_t *both(struct schema *s, const json_t *a, const json_t *b)
{
    if (!a || json_is_true(a) || json_is_false(b))
        return b;
    if (!b || json_is_true(b) || json_is_false(a) ||
        json_equal((json_t *)(uintptr_t)a, (json_t *)(uintptr_t)b))
        return a;
    return schema_keep(s, json_pack("{s:[O,O]}", "allOf", a, b));
}

static int matches(struct schema *s, const char *pattern, const char *name, const char *at, bool *out)
{
    struct error e = {0};
    struct regex *r;
    if (regex_parse(pattern, strlen(pattern), s->arena, &r, &e) < 0)
        return schema_refuse(s, e.kind, at, "%s", e.text);
    const struct automaton *a = automaton_of_regex(r, true, s->arena);
    if (!a)
        return schema_refuse(s, ERROR_UNSUPPORTED, at, "the pattern is too complex");
    *out = automaton_accepts(a, name, strlen(name));
    return 0;
}

/* What one part says of a name: its own entry, every pattern that fits, else what is said of all others. */
static int member_of_part(struct schema *s, const struct schema_part *part, const char *name,
                          const json_t **out, const char **at)
{
    const json_t *own = json_object_get(json_object_get(part->schema, "properties"), name), *value;
    const char *pattern;
    bool found = own != NULL;
    if (own)
        *at = schema_path(s, part->at, "properties/%s", name);
    *out = both(s, *out, own);
    json_object_foreach(json_object_get(part->schema, "patternProperties"), pattern, value)
    {
        bool fits;
        TRY(matches(s, pattern, name, schema_path(s, part->at, "patternProperties/%s", pattern), &fits));
        *out = fits ? both(s, *out, value) : *out;
        found = found || fits;
    }
    if (!found)
        *out = both(s, *out, json_object_get(part->schema, "additionalProperties"));
    return 0;
}

int schema_member(struct schema *s, const struct schema_flat *f, const char *name, const json_t **out,
                  const char **at)
{
    *out = NULL;
    *at = schema_path(s, f->at, "properties/%s", name);
    for (size_t i = 0; i < f->n_objects; i++)
        TRY(member_of_part(s, &f->objects[i], name, out, at));
    return 0;
}

int schema_item(struct schema *s, const struct schema_flat *f, size_t index, const json_t **out,
                const char **at)
{
    *out = NULL;
    *at = schema_path(s, f->at, "items");
    for (size_t i = 0; i < f->n_arrays; i++) {
        const json_t *one = json_array_get(json_object_get(f->arrays[i].schema, "prefixItems"), index);
        if (one)
            *at = schema_path(s, f->arrays[i].at, "prefixItems/%zu", index);
        *out = both(s, *out, one ? one : json_object_get(f->arrays[i].schema, "items"));
    }
    return 0;
}

/* ---- arrays ------------------------------------------------------------------------------------- */

static size_t prefix_length(const struct schema_flat *f)
{
    size_t n = 0;
    for (size_t i = 0; i < f->n_arrays; i++) {
        size_t one = json_array_size(json_object_get(f->arrays[i].schema, "prefixItems"));
        n = one > n ? one : n;
    }
    return n;
}

/* The rule of an item, as text; impossible where none may be. */
static int write_item(struct schema *s, const struct schema_flat *f, size_t index, struct buf *out)
{
    const json_t *schema;
    const char *at;
    unsigned rule;
    TRY(schema_item(s, f, index, &schema, &at));
    if (!schema) {
        buf_printf(out, "%s-value", s->rule);
        return 0;
    }
    PASS(schema_value(s, schema, at, &rule));
    schema_rule(s, rule, out);
    return 0;
}

static void write_times(struct buf *out, uint64_t min, uint64_t max)
{
    buf_printf(out, "{%llu,", (unsigned long long)min);
    if (max != SCHEMA_ENDLESS)
        buf_printf(out, "%llu", (unsigned long long)max);
    buf_add_text(out, "}");
}

/* Items behind the first `n`: min to max of them, each with its comma unless it is the first of all. */
static int write_rest(struct schema *s, const struct schema_flat *f, size_t n, uint64_t min, uint64_t max,
                      struct buf *out)
{
    struct buf item;
    buf_init(&item, LIMIT_GRAMMAR_TEXT);
    int status = max > 0 ? write_item(s, f, n, &item) : SCHEMA_IMPOSSIBLE;
    const char *text = item.data ? item.data : "";
    if (status == SCHEMA_IMPOSSIBLE && min == 0) {
        status = schema_left_out(s); /* then none */
    } else if (status == 0 && n > 0) {
        buf_printf(out, " (%s-comma %s)", s->rule, text);
        write_times(out, min, max);
    } else if (status == 0) {
        buf_printf(out, " (%s (%s-comma %s)", text, s->rule, text);
        write_times(out, min > 0 ? min - 1 : 0, max == SCHEMA_ENDLESS ? max : max - 1);
        buf_add_text(out, min > 0 ? ")" : ")?");
    }
    buf_free(&item);
    return status;
}

/* Places of prefixItems, those past the minimum in brackets that may stay empty. */
static int write_prefix(struct schema *s, const struct schema_flat *f, size_t n, struct buf *out)
{
    size_t open = 0, i = 0;
    int status = 0;
    for (; i < n && status == 0; i++) {
        struct buf item;
        buf_init(&item, LIMIT_GRAMMAR_TEXT);
        status = write_item(s, f, i, &item);
        if (status == 0 && i >= f->min_items) {
            buf_add_text(out, " (");
            open++;
        }
        if (status == 0 && i > 0)
            buf_printf(out, " %s-comma", s->rule);
        if (status == 0)
            buf_printf(out, " %s", item.data ? item.data : "");
        buf_free(&item);
    }
    if (status == SCHEMA_IMPOSSIBLE && i > f->min_items)
        status = schema_left_out(s); /* shorter, then */
    else if (status == 0)
        status = write_rest(s, f, n, f->min_items > n ? f->min_items - n : 0,
                            f->max_items == SCHEMA_ENDLESS ? SCHEMA_ENDLESS : f->max_items - n, out);
    for (; open > 0; open--)
        buf_add_text(out, ")?");
    return status;
}

int schema_write_array(struct schema *s, const struct schema_flat *f, struct buf *out)
{
    if (f->min_items > f->max_items)
        return schema_impossible(s, f->at, "minItems %llu is above maxItems %llu",
                                 (unsigned long long)f->min_items, (unsigned long long)f->max_items);
    if (f->unique && f->max_items > 1)
        return schema_refuse(s, ERROR_UNSUPPORTED, schema_path(s, f->at, "uniqueItems"),
                             "that no item comes twice can't be enforced");
    size_t n = prefix_length(f);
    n = n > f->max_items ? f->max_items : n;
    if (n > LIMIT_SCHEMA_PREFIX)
        return schema_refuse(s, ERROR_UNSUPPORTED, f->at, "more than %d prefixItems", LIMIT_SCHEMA_PREFIX);
    buf_add_text(out, "\"[\"");
    PASS(n ? write_prefix(s, f, n, out) : write_rest(s, f, 0, f->min_items, f->max_items, out));
    buf_add_text(out, " \"]\"");
    return 0;
}

/* ---- objects: other names ------------------------------------------------------------------------ */

/* Names that the schema lists, required ones included, in order, each once: name to true when required. */
static const json_t *listed_names(struct schema *s, const struct schema_flat *f)
{
    json_t *names = json_object();
    const char *name;
    const json_t *value;
    for (size_t i = 0; i < f->n_objects; i++) {
        json_object_foreach(json_object_get(f->objects[i].schema, "properties"), name, value)
            json_object_set_new(names, name, json_boolean(json_object_get(f->required, name) != NULL));
    }
    json_object_foreach((json_t *)(uintptr_t)f->required, name, value)
        json_object_set_new(names, name, json_true());
    return schema_keep(s, names);
}

static struct automaton *any_of_names(struct schema *s, const json_t *names)
{
    struct regex choice = {.kind = REGEX_CHOICE};
    const char *name;
    const json_t *value;
    json_object_foreach((json_t *)(uintptr_t)names, name, value)
    {
        struct regex *one = arena_alloc(s->arena, 1, sizeof *one);
        if (!one || regex_of_text(name, strlen(name), s->arena, &one->children) < 0)
            return NULL;
        one->kind = REGEX_SEQUENCE;
        one->next = choice.children;
        choice.children = one;
    }
    return automaton_of_regex(&choice, false, s->arena);
}

/* A rule for the names that `names` leaves, as a JSON string. */
static int write_names(struct schema *s, const char *at, const struct automaton *names, struct buf *out)
{
    unsigned rule;
    if (!names)
        return schema_refuse(s, ERROR_UNSUPPORTED, at, "its names and patterns together are too complex");
    if (names->n_states == 0)
        return schema_impossible(s, at, "no name is left");
    TRY(schema_new_rule(s, at, &rule));
    const char *name = arena_printf(s->arena, "%s-%u", s->rule, rule);
    if (!name)
        return error_no_memory(s->error);
    automaton_write(names, name, true, s->out);
    buf_printf(out, "\"\\\"\" %s \"\\\"\"", name);
    return 0;
}

/* Others: a member for each pattern, and one for names that no pattern fits. */
struct others {
    struct automaton *taken; /* names that are not to come any more; NULL: none */
    struct buf text;
    size_t n;
};

static int add_other(struct schema *s, struct others *o, const struct automaton *names, const json_t *schema,
                     const char *at)
{
    unsigned rule;
    if (o->taken && names)
        names = automaton_join(names, o->taken, AUTOMATON_FIRST_ALONE, s->arena);
    int status = schema ? schema_value(s, schema, at, &rule) : 0;
    if (status)
        return status < 0 ? status : schema_left_out(s); /* none may come */
    struct buf name;
    buf_init(&name, LIMIT_GRAMMAR_TEXT);
    if (!o->taken && names && names->n_states == 1 && names->n_classes == 1)
        buf_printf(&name, "%s-string", s->rule);
    else
        status = write_names(s, at, names, &name);
    if (status == 0) {
        buf_printf(&o->text, "%s%s %s-colon ", o->n++ ? " | " : "", name.data, s->rule);
        if (schema)
            schema_rule(s, rule, &o->text);
        else
            buf_printf(&o->text, "%s-value", s->rule);
    }
    buf_free(&name);
    return status < 0 ? status : schema_left_out(s);
}

static int take_names(struct schema *s, struct others *o, const struct automaton *names, const char *at)
{
    if (names)
        o->taken = o->taken ? automaton_join(o->taken, names, AUTOMATON_EITHER, s->arena)
                            : (struct automaton *)(uintptr_t)names;
    return names && o->taken
               ? 0
               : schema_refuse(s, ERROR_UNSUPPORTED, at, "its names and patterns together are too complex");
}

static int add_patterns(struct schema *s, const struct schema_flat *f, struct others *o)
{
    const char *pattern;
    const json_t *value;
    size_t n = 0;
    struct automaton *all = NULL;
    for (size_t i = 0; i < f->n_objects; i++) {
        json_object_foreach(json_object_get(f->objects[i].schema, "patternProperties"), pattern, value)
        {
            const char *at = schema_path(s, f->objects[i].at, "patternProperties/%s", pattern);
            struct error e = {0};
            struct regex *r;
            if (f->n_objects > 1)
                return schema_refuse(s, ERROR_UNSUPPORTED, at,
                                     "beside other rules for members it can't be enforced");
            if (regex_parse(pattern, strlen(pattern), s->arena, &r, &e) < 0)
                return schema_refuse(s, e.kind, at, "%s", e.text);
            struct automaton *names = automaton_of_regex(r, true, s->arena);
            struct automaton *shared =
                all && names ? automaton_join(all, names, AUTOMATON_BOTH, s->arena) : NULL;
            if (!names || (all && !shared))
                return schema_refuse(s, ERROR_UNSUPPORTED, at, "the pattern is too complex");
            if (n++ && shared->n_states > 0)
                return schema_refuse(s, ERROR_UNSUPPORTED, at,
                                     "a name may fit two patterns, which can't be enforced");
            TRY(add_other(s, o, names, value, at));
            all = all ? automaton_join(all, names, AUTOMATON_EITHER, s->arena) : names;
        }
    }
    return all ? take_names(s, o, all, f->at) : 0;
}

/* Whether names that are not listed may come, and what they hold. */
static bool takes_others(struct schema *s, const struct schema_flat *f, bool lists, const json_t **schema)
{
    bool said = false;
    *schema = NULL;
    for (size_t i = 0; i < f->n_objects; i++) {
        const json_t *one = json_object_get(f->objects[i].schema, "additionalProperties");
        *schema = both(s, *schema, one);
        said = said || one;
    }
    return said ? !json_is_false(*schema) : !lists;
}

static int write_others(struct schema *s, const struct schema_flat *f, const json_t *names, struct others *o)
{
    bool lists = json_object_size(names) > 0;
    const json_t *schema;
    if (lists)
        TRY(take_names(s, o, any_of_names(s, names), f->at));
    TRY(add_patterns(s, f, o));
    bool patterns = o->n > 0;
    if (!takes_others(s, f, lists || patterns, &schema))
        return 0;
    return add_other(s, o, automaton_of_lengths(0, REGEX_ENDLESS, s->arena), schema,
                     schema_path(s, f->at, "additionalProperties"));
}

/* ---- objects: the chain --------------------------------------------------------------------------- */

struct link { /* a listed member that can be */
    const char *name;
    bool required;
    unsigned value; /* rule */
};

struct chain {
    struct link *links;
    size_t n;
    unsigned first_rule; /* of 2 (n + 1): before a member was written, then behind one */
    struct others others;
    size_t n_required;
};

static int find_links(struct schema *s, const struct schema_flat *f, const json_t *names, struct chain *c)
{
    const char *name;
    const json_t *required;
    c->links = arena_alloc(s->arena, json_object_size(names) + 1, sizeof *c->links);
    if (!c->links)
        return error_no_memory(s->error);
    json_object_foreach((json_t *)(uintptr_t)names, name, required)
    {
        struct link *l = &c->links[c->n];
        const json_t *schema, *anything = schema_keep(s, json_true());
        const char *at;
        TRY(schema_member(s, f, name, &schema, &at));
        int status = schema_value(s, schema ? schema : anything, at, &l->value);
        if (status < 0)
            return status;
        if (status == SCHEMA_IMPOSSIBLE && json_is_true(required) && json_is_false(schema))
            schema_left_out(s); /* the words below say more */
        if (status == SCHEMA_IMPOSSIBLE && json_is_true(required))
            return schema_impossible(s, at, "the property \"%.60s\" is required but excluded", name);
        if (status == SCHEMA_IMPOSSIBLE && schema_left_out(s) == 0)
            continue; /* it is never there */
        l->name = name;
        l->required = json_is_true(required);
        c->n_required += l->required;
        c->n++;
    }
    return 0;
}

static void write_key(const char *name, struct buf *out)
{
    struct buf json;
    buf_init(&json, LIMIT_GRAMMAR_TEXT);
    json_write_string(&json, name, strlen(name));
    schema_literal(json.data ? json.data : "", json.len, out);
    out->failed = out->failed || json.failed;
    buf_free(&json);
}

/* Rule of place i; behind: some member was written. */
static void link_rule(const struct schema *s, const struct chain *c, size_t i, bool behind, struct buf *out)
{
    schema_rule(s, c->first_rule + 2 * (unsigned)i + behind, out);
}

static int define_link(struct schema *s, const struct schema_flat *f, const struct chain *c, size_t i,
                       bool behind)
{
    struct buf text;
    const struct link *l = &c->links[i];
    buf_init(&text, LIMIT_GRAMMAR_TEXT);
    if (behind)
        buf_printf(&text, "%s-comma ", s->rule);
    write_key(l->name, &text);
    buf_printf(&text, " %s-colon ", s->rule);
    schema_rule(s, l->value, &text);
    buf_add_text(&text, " ");
    link_rule(s, c, i + 1, true, &text);
    if (!l->required) {
        buf_add_text(&text, " | ");
        link_rule(s, c, i + 1, behind, &text);
    }
    return schema_define(s, c->first_rule + 2 * (unsigned)i + behind, f->at, &text);
}

/* Where no listed member is left: others, `most` of them. */
static int define_end(struct schema *s, const struct schema_flat *f, const struct chain *c, bool behind,
                      uint64_t least, uint64_t most)
{
    struct buf text;
    const char *other = c->others.n ? c->others.text.data : NULL;
    char bound[32] = "";
    buf_init(&text, LIMIT_GRAMMAR_TEXT);
    if (most != SCHEMA_ENDLESS && most > 0)
        snprintf(bound, sizeof bound, "%llu", (unsigned long long)(behind ? most : most - 1));
    if (!other || most == 0)
        buf_add_text(&text, "\"\"");
    else if (behind)
        buf_printf(&text, "(%s-comma (%s)){%llu,%s}", s->rule, other, (unsigned long long)least, bound);
    else
        buf_printf(&text, "((%s) (%s-comma (%s)){%llu,%s})%s", other, s->rule, other,
                   (unsigned long long)(least ? least - 1 : 0), bound, least ? "" : "?");
    return schema_define(s, c->first_rule + 2 * (unsigned)c->n + behind, f->at, &text);
}

/* How many members there may be, where that can be held to. */
static int count_others(struct schema *s, const struct schema_flat *f, const struct chain *c, uint64_t *least,
                        uint64_t *most)
{
    bool others = c->others.n > 0, fixed = c->n == c->n_required;
    *least = f->min_members > c->n_required ? f->min_members - c->n_required : 0;
    *most = f->max_members == SCHEMA_ENDLESS ? SCHEMA_ENDLESS : f->max_members - c->n_required;
    if (f->max_members < c->n_required)
        return schema_impossible(s, f->at, "%zu properties are required, but there may be only %llu",
                                 c->n_required, (unsigned long long)f->max_members);
    if (!others && f->min_members > c->n)
        return schema_impossible(s, f->at, "minProperties is %llu, but only %zu properties can be there",
                                 (unsigned long long)f->min_members, c->n);
    if (*least == 0 && (*most == SCHEMA_ENDLESS || (!others && f->max_members >= c->n) || fixed))
        return 0;
    /* A name may come twice, which makes one member: more than one can't be told. */
    if (fixed && *least <= 1)
        return 0;
    return schema_refuse(
        s, ERROR_UNSUPPORTED, f->at,
        "minProperties and maxProperties can't be enforced where properties may be left out");
}

static int write_chain(struct schema *s, const struct schema_flat *f, struct chain *c, struct buf *out)
{
    uint64_t least, most;
    unsigned unused;
    PASS(count_others(s, f, c, &least, &most));
    for (size_t i = 0; i < 2 * (c->n + 1); i++) {
        TRY(schema_new_rule(s, f->at, &unused));
        c->first_rule = i ? c->first_rule : unused;
    }
    for (size_t i = 0; i < c->n; i++) {
        TRY(define_link(s, f, c, i, false));
        TRY(define_link(s, f, c, i, true));
    }
    TRY(define_end(s, f, c, false, least, most));
    TRY(define_end(s, f, c, true, c->n ? least : 0, most));
    buf_add_text(out, "\"{\" ");
    link_rule(s, c, 0, false, out);
    buf_add_text(out, " \"}\"");
    return 0;
}

int schema_write_object(struct schema *s, const struct schema_flat *f, struct buf *out)
{
    struct chain c = {0};
    const json_t *names = listed_names(s, f);
    if (!names)
        return -1;
    if (f->min_members > f->max_members)
        return schema_impossible(s, f->at, "minProperties is above maxProperties");
    buf_init(&c.others.text, LIMIT_GRAMMAR_TEXT);
    int status = find_links(s, f, names, &c);
    if (status == 0)
        status = write_others(s, f, names, &c.others);
    if (status == 0)
        status = write_chain(s, f, &c, out);
    buf_free(&c.others.text);
    return status;
}
