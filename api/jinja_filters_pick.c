/* jinja_filters_pick.c - filters that look into elements (map, select, reject, default, attr, items)
 * and the lookup of all filters.  To add one: a function and a row. */
#include <string.h>

#include "api/jinja_case.h"
#include "api/jinja_pick.h"
#include "api/jinja_tree.h"

/* "0" and "12" in a path are indexes. */
static bool path_index(const struct text *part, int64_t *out)
{
    *out = 0;
    for (size_t i = 0; i < part->len; i++) {
        if (part->s[i] < '0' || part->s[i] > '9' || part->len > 9)
            return false;
        *out = *out * 10 + (part->s[i] - '0');
    }
    return part->len > 0;
}

static int pick_part(struct run *run, struct value *v, struct text *part)
{
    struct value key = jinja_of_text(part), found;
    int64_t index;
    if (path_index(part, &index))
        key = jinja_int(index);
    TRY(jinja_spend(run, 1));
    TRY(jinja_index(run, v, &key, &found));
    *v = found;
    return 0;
}

static int pick_path(struct run *run, const struct text *path, struct value *v)
{
    for (size_t from = 0; from <= path->len;) {
        size_t dot = jinja_text_find(path, from, path->len, ".", 1), to = dot == SIZE_MAX ? path->len : dot;
        struct text *part = jinja_text_slice(run, path, from, to);
        if (!part)
            return -1;
        TRY(pick_part(run, v, part));
        from = to + 1;
    }
    return 0;
}

int jinja_pick(struct run *run, const struct value *element, const struct value *attribute, bool fold,
               struct value *out)
{
    *out = *element;
    if (attribute->type == VALUE_TEXT) {
        TRY(pick_path(run, attribute->text, out));
    } else if (attribute->type != VALUE_MISSING && attribute->type != VALUE_NONE) {
        TRY(jinja_index(run, element, attribute, out));
    }
    if (!fold || out->type != VALUE_TEXT)
        return 0;
    struct value folded;
    TRY(jinja_change_case(run, out->text, CASE_LOWER, true, &folded));
    *out = folded;
    return 0;
}

/* ---- map ---------------------------------------------------------------------------------------- */

static int map_attribute(struct run *run, struct call *c, const struct list *l, struct value *out)
{
    struct value attribute = {.type = VALUE_MISSING}, otherwise = {.type = VALUE_MISSING};
    for (size_t i = 0; i < c->n_keywords; i++) {
        if (jinja_text_is(c->keywords[i].name, "attribute"))
            attribute = c->keywords[i].value;
        else if (jinja_text_is(c->keywords[i].name, "default"))
            otherwise = c->keywords[i].value;
        else
            return jinja_fail(run, "map() got an unexpected keyword argument");
    }
    if (attribute.type == VALUE_MISSING)
        return jinja_fail(run, "map requires a filter argument");
    for (size_t i = 0; i < l->n; i++) {
        TRY(jinja_pick(run, &l->items[i], &attribute, false, &out->list->items[i]));
        if (out->list->items[i].type == VALUE_UNDEFINED && otherwise.type > VALUE_NONE)
            out->list->items[i] = otherwise;
    }
    return 0;
}

/* The filter or test that an argument names. */
static int named_row(struct run *run, const struct value *name, bool filter, const struct builtin **out)
{
    struct text *t;
    TRY(jinja_as_text(run, name, "a filter's or test's name", &t));
    *out = filter ? jinja_find_filter(t->s, t->len) : jinja_find_test(t->s, t->len);
    if (*out)
        return 0;
    return jinja_fail(run, "No %s named '%.*s'.", filter ? "filter" : "test",
                      (int)(t->len < 60 ? t->len : 60), t->s);
}

/* Calls a filter or test on an element with the arguments behind the first `skip`. */
static int call_row(struct run *run, const struct builtin *row, const struct call *c, size_t skip,
                    const struct value *element, struct value *out)
{
    struct call inner = {.self = *element, .n_args = c->n_args - skip, .args = c->args + skip};
    inner.cap_args = inner.n_args;
    inner.keywords = c->keywords;
    inner.n_keywords = inner.cap_keywords = c->n_keywords;
    TRY(jinja_deeper(run));
    int result = jinja_call_builtin(run, row, &inner, out);
    run->depth--;
    return result;
}

/* As Jinja: whatever is false, none included, counts as empty. */
static int items_or_none(struct run *run, const struct value *v, struct list **out)
{
    struct value empty = jinja_undefined(WHY_TEXT, NULL, NULL);
    return jinja_items(run, jinja_truth(v) ? v : &empty, out);
}

static int f_map(struct run *run, struct call *c, struct value *out)
{
    struct list *l;
    const struct builtin *row;
    TRY(items_or_none(run, &c->self, &l));
    TRY(jinja_new_list(run, LIST_GENERATOR, l->n, out));
    if (!c->n_args)
        return map_attribute(run, c, l, out);
    TRY(named_row(run, &c->args[0], true, &row));
    for (size_t i = 0; i < l->n; i++)
        TRY(call_row(run, row, c, 1, &l->items[i], &out->list->items[i]));
    return 0;
}

/* ---- select and reject ----------------------------------------------------------------------------- */

static int choose(struct run *run, struct call *c, bool attribute, bool wanted, struct value *out)
{
    struct list *l;
    const struct builtin *row = NULL;
    size_t cap = 0, at = attribute ? 1 : 0;
    struct value path = {.type = VALUE_MISSING}, subject, verdict;
    TRY(items_or_none(run, &c->self, &l));
    TRY(jinja_new_list(run, LIST_GENERATOR, 0, out));
    if (attribute && !c->n_args)
        return jinja_fail(run, "Missing parameter for attribute name");
    if (attribute)
        path = c->args[0];
    if (c->n_args > at)
        TRY(named_row(run, &c->args[at], false, &row));
    for (size_t i = 0; i < l->n; i++) {
        TRY(jinja_spend(run, 1));
        TRY(jinja_pick(run, &l->items[i], &path, false, &subject));
        verdict = subject;
        if (row)
            TRY(call_row(run, row, c, at + 1, &subject, &verdict));
        if (jinja_truth(&verdict) == wanted)
            TRY(jinja_list_add(run, out->list, &cap, l->items[i]));
    }
    return 0;
}

static int f_select(struct run *run, struct call *c, struct value *out)
{
    return choose(run, c, false, true, out);
}

static int f_reject(struct run *run, struct call *c, struct value *out)
{
    return choose(run, c, false, false, out);
}

static int f_selectattr(struct run *run, struct call *c, struct value *out)
{
    return choose(run, c, true, true, out);
}

static int f_rejectattr(struct run *run, struct call *c, struct value *out)
{
    return choose(run, c, true, false, out);
}

/* ---- others ---------------------------------------------------------------------------------------------
 */

static int f_default(struct run *run, struct call *c, struct value *out)
{
    bool absent = c->self.type == VALUE_UNDEFINED || (jinja_truth(&c->arg[1]) && !jinja_truth(&c->self));
    *out = absent ? c->arg[0] : c->self;
    return out->type == VALUE_MISSING ? jinja_literal(run, "", out) : 0;
}

static int f_attr(struct run *run, struct call *c, struct value *out)
{
    struct text *name;
    TRY(jinja_as_text(run, &c->arg[0], "attr's name", &name));
    if (c->self.type == VALUE_UNDEFINED)
        return jinja_undefined_error(run, &c->self);
    if (c->self.type == VALUE_DICT && !jinja_find_method(&c->self, name)) {
        *out = jinja_undefined(WHY_ATTRIBUTE, &c->self, name); /* not what a key of this name holds */
        return 0;
    }
    return jinja_attribute(run, &c->self, name, out);
}

static int f_items(struct run *run, struct call *c, struct value *out)
{
    static const struct text items = {.s = "items", .len = 5, .chars = 5};
    if (c->self.type == VALUE_UNDEFINED)
        return jinja_new_list(run, LIST_GENERATOR, 0, out);
    if (c->self.type != VALUE_DICT)
        return jinja_fail(run, "Can only get item pairs from a mapping.");
    struct call inner = {.self = c->self};
    TRY(jinja_call_builtin(run, jinja_find_method(&c->self, &items), &inner, out));
    out->list->kind = LIST_GENERATOR;
    return 0;
}

const struct builtin jinja_pick_filters[] = {{"map", f_map, "*", 0},
                                             {"select", f_select, "*", 0},
                                             {"reject", f_reject, "*", 0},
                                             {"selectattr", f_selectattr, "*", 0},
                                             {"rejectattr", f_rejectattr, "*", 0},
                                             {"default", f_default, "default_value,boolean", 0},
                                             {"d", f_default, "default_value,boolean", 0},
                                             {"attr", f_attr, "name", 1},
                                             {"items", f_items, "", 0}};
const size_t jinja_n_pick_filters = sizeof jinja_pick_filters / sizeof *jinja_pick_filters;

const struct builtin *jinja_find_filter(const char *name, size_t len)
{
    const struct builtin *row = jinja_find_row(jinja_text_filters, jinja_n_text_filters, name, len);
    if (!row)
        row = jinja_find_row(jinja_list_filters, jinja_n_list_filters, name, len);
    return row ? row : jinja_find_row(jinja_pick_filters, jinja_n_pick_filters, name, len);
}
