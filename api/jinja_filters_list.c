/* jinja_filters_list.c - filters that order, cut and add up sequences.
 * To add one: a function and a row; arguments are bound to c->arg before it is called. */
#include <stdlib.h>
#include <string.h>

#include "api/jinja_case.h"
#include "api/jinja_pick.h"
#include "api/jinja_tree.h"

static bool given(const struct value *v)
{
    return v->type != VALUE_MISSING && v->type != VALUE_NONE;
}

static int undefined(struct run *run, const char *why, struct value *out)
{
    struct text *t = jinja_text(run, why, strlen(why), false);
    *out = jinja_undefined(WHY_TEXT, NULL, t);
    return t ? 0 : -1;
}

static int f_length(struct run *run, struct call *c, struct value *out)
{
    size_t n;
    TRY(jinja_length(run, &c->self, &n));
    *out = jinja_int((int64_t)n);
    return 0;
}

static int copy_list(struct run *run, const struct list *l, struct value *out)
{
    TRY(jinja_new_list(run, LIST_LIST, l->n, out));
    if (l->n)
        memcpy(out->list->items, l->items, l->n * sizeof *l->items);
    return 0;
}

static int f_list(struct run *run, struct call *c, struct value *out)
{
    struct list *l;
    TRY(jinja_items(run, &c->self, &l));
    return copy_list(run, l, out);
}

static int f_first(struct run *run, struct call *c, struct value *out)
{
    if (c->self.type == VALUE_LIST && c->self.list->kind == LIST_GENERATOR) {
        struct list *g = c->self.list;
        if (g->taken < g->n) {
            *out = g->items[g->taken++];
            return 0;
        }
    }
    struct list *l;
    TRY(jinja_items(run, &c->self, &l));
    if (!l->n)
        return undefined(run, "No first item, sequence was empty.", out);
    *out = l->items[0];
    return 0;
}

static int f_last(struct run *run, struct call *c, struct value *out)
{
    struct list *l;
    if (c->self.type == VALUE_LIST && c->self.list->kind == LIST_GENERATOR)
        return jinja_fail(run, "'generator' object is not reversible");
    TRY(jinja_items(run, &c->self, &l));
    if (!l->n)
        return undefined(run, "No last item, sequence was empty.", out);
    *out = l->items[l->n - 1];
    return 0;
}

static int f_reverse(struct run *run, struct call *c, struct value *out)
{
    struct list *l;
    TRY(jinja_items(run, &c->self, &l));
    if (c->self.type == VALUE_TEXT) {
        struct builder b;
        jinja_build(&b, run);
        for (size_t i = l->n; i > 0; i--)
            jinja_add_text(&b, l->items[i - 1].text);
        return jinja_built_value(&b, out);
    }
    TRY(jinja_new_list(run, LIST_GENERATOR, l->n, out));
    for (size_t i = 0; i < l->n; i++)
        out->list->items[i] = l->items[l->n - 1 - i];
    return 0;
}

static int f_join(struct run *run, struct call *c, struct value *out)
{
    struct list *l;
    struct text *separator;
    TRY(jinja_items(run, &c->self, &l));
    if (c->arg[0].type == VALUE_MISSING)
        TRY(jinja_literal(run, "", &c->arg[0]));
    TRY(jinja_to_text(run, &c->arg[0], &separator));
    struct value picked = {.type = VALUE_LIST, .list = l};
    if (given(&c->arg[1])) {
        TRY(jinja_new_list(run, LIST_LIST, l->n, &picked));
        for (size_t i = 0; i < l->n; i++)
            TRY(jinja_pick(run, &l->items[i], &c->arg[1], false, &picked.list->items[i]));
    }
    return jinja_join(run, separator, picked.list, false, out);
}

/* ---- sorting ---------------------------------------------------------------------------------------- */

struct sort_item {
    struct value key, value;
    size_t place; /* keeps the order of equals */
};

struct sorting {
    struct run *run;
    bool reverse, failed;
};

static int compare(const void *a, const void *b, void *context)
{
    struct sorting *s = context;
    const struct sort_item *x = a, *y = b;
    int order = 0;
    if (!s->failed)
        s->failed = jinja_order(s->run, &x->key, &y->key, "<", &order) < 0;
    if (order == 0 || order == 2)
        return x->place < y->place ? -1 : x->place > y->place;
    return s->reverse ? -order : order;
}

/* Sorts items by their keys and writes the values to out. */
static int sort_items(struct run *run, struct sort_item *items, size_t n, bool reverse, struct value *out)
{
    struct sorting s = {.run = run, .reverse = reverse};
    for (size_t i = 0; i < n; i++)
        items[i].place = i;
    qsort_r(items, n, sizeof *items, compare, &s);
    if (s.failed)
        return -1;
    TRY(jinja_new_list(run, LIST_LIST, n, out));
    for (size_t i = 0; i < n; i++)
        out->list->items[i] = items[i].value;
    return 0;
}

/* The key of "a,b": a list of what both paths pick. */
static int sort_key(struct run *run, const struct value *v, const struct value *attribute, bool fold,
                    struct value *out)
{
    size_t cap = 0;
    if (attribute->type != VALUE_TEXT || !memchr(attribute->text->s, ',', attribute->text->len))
        return jinja_pick(run, v, attribute, fold, out);
    TRY(jinja_new_list(run, LIST_LIST, 0, out));
    const struct text *t = attribute->text;
    for (size_t from = 0; from <= t->len;) {
        size_t comma = jinja_text_find(t, from, t->len, ",", 1), to = comma == SIZE_MAX ? t->len : comma;
        struct text *part = jinja_text_slice(run, t, from, to);
        struct value path, key;
        if (!part)
            return -1;
        path = jinja_of_text(part);
        TRY(jinja_pick(run, v, &path, fold, &key));
        TRY(jinja_list_add(run, out->list, &cap, key));
        from = to + 1;
    }
    return 0;
}

static int sort_by(struct run *run, const struct list *l, const struct value *attribute, bool fold,
                   bool reverse, struct value *out)
{
    struct sort_item *items = jinja_alloc(run, l->n + 1, sizeof *items);
    if (!items)
        return -1;
    for (size_t i = 0; i < l->n; i++) {
        items[i].value = l->items[i];
        TRY(sort_key(run, &l->items[i], attribute, fold, &items[i].key));
    }
    return sort_items(run, items, l->n, reverse, out);
}

static int f_sort(struct run *run, struct call *c, struct value *out)
{
    struct list *l;
    TRY(jinja_items(run, &c->self, &l));
    return sort_by(run, l, &c->arg[2], !jinja_truth(&c->arg[1]), jinja_truth(&c->arg[0]), out);
}

static int f_dictsort(struct run *run, struct call *c, struct value *out)
{
    if (c->self.type == VALUE_UNDEFINED)
        return jinja_undefined_error(run, &c->self);
    if (c->self.type != VALUE_DICT)
        return jinja_fail(run, "'%s object' has no attribute 'items'", jinja_type_name(&c->self));
    struct text *by = NULL;
    if (c->arg[1].type != VALUE_MISSING)
        TRY(jinja_as_text(run, &c->arg[1], "dictsort's by", &by));
    bool by_value = by && jinja_text_is(by, "value");
    if (by && !by_value && !jinja_text_is(by, "key"))
        return jinja_fail(run, "You can only sort by either \"key\" or \"value\"");
    const struct dict *d = c->self.dict;
    struct value whole = {.type = VALUE_NONE};
    struct sort_item *items = jinja_alloc(run, d->n + 1, sizeof *items);
    if (!items)
        return -1;
    for (size_t i = 0; i < d->n; i++) {
        TRY(jinja_new_list(run, LIST_TUPLE, 2, &items[i].value));
        items[i].value.list->items[0] = d->entries[i].key;
        items[i].value.list->items[1] = d->entries[i].value;
        TRY(jinja_pick(run, &items[i].value.list->items[by_value], &whole, !jinja_truth(&c->arg[0]),
                       &items[i].key));
    }
    return sort_items(run, items, d->n, jinja_truth(&c->arg[2]), out);
}

static int f_unique(struct run *run, struct call *c, struct value *out)
{
    struct list *l;
    struct value seen, key, found;
    size_t cap = 0;
    TRY(jinja_items(run, &c->self, &l));
    TRY(jinja_new_list(run, LIST_GENERATOR, 0, out));
    TRY(jinja_new_dict(run, &seen));
    for (size_t i = 0; i < l->n; i++) {
        TRY(jinja_pick(run, &l->items[i], &c->arg[1], !jinja_truth(&c->arg[0]), &key));
        TRY(jinja_dict_get(run, seen.dict, key, &found));
        if (found.type != VALUE_MISSING)
            continue;
        TRY(jinja_dict_set(run, seen.dict, key, jinja_none()));
        TRY(jinja_list_add(run, out->list, &cap, l->items[i]));
    }
    return 0;
}

static int extreme(struct run *run, struct call *c, int wanted, struct value *out)
{
    struct list *l;
    struct value best, key;
    TRY(jinja_items(run, &c->self, &l));
    if (!l->n)
        return undefined(run, "No aggregated item, sequence was empty.", out);
    for (size_t i = 0; i < l->n; i++) {
        int order = wanted;
        TRY(jinja_pick(run, &l->items[i], &c->arg[1], !jinja_truth(&c->arg[0]), &key));
        if (i)
            TRY(jinja_order(run, &key, &best, wanted < 0 ? "<" : ">", &order));
        if (order != wanted)
            continue;
        best = key;
        *out = l->items[i];
    }
    return 0;
}

static int f_min(struct run *run, struct call *c, struct value *out)
{
    return extreme(run, c, -1, out);
}

static int f_max(struct run *run, struct call *c, struct value *out)
{
    return extreme(run, c, 1, out);
}

static int f_sum(struct run *run, struct call *c, struct value *out)
{
    struct list *l;
    struct value item;
    TRY(jinja_items(run, &c->self, &l));
    *out = c->arg[1].type == VALUE_MISSING ? jinja_int(0) : c->arg[1];
    if (out->type == VALUE_TEXT)
        return jinja_fail(run, "sum() can't sum strings [use ''.join(seq) instead]");
    for (size_t i = 0; i < l->n; i++) {
        struct value sum = *out;
        TRY(jinja_pick(run, &l->items[i], &c->arg[0], false, &item));
        TRY(jinja_spend(run, 1));
        TRY(jinja_binary(run, OP_ADD, &sum, &item, out));
    }
    return 0;
}

/* ---- groups ----------------------------------------------------------------------------------------------
 */

static int slice_of(struct run *run, const struct list *l, size_t from, size_t to, struct value *out)
{
    struct list part = {.items = l->items ? l->items + from : NULL, .n = to - from};
    return copy_list(run, &part, out);
}

static int fill(struct run *run, struct value *row, size_t n, const struct value *with)
{
    size_t cap = row->list->n;
    while (row->list->n < n) {
        TRY(jinja_spend(run, 1));
        TRY(jinja_list_add(run, row->list, &cap, *with));
    }
    return 0;
}

static int f_batch(struct run *run, struct call *c, struct value *out)
{
    struct list *l;
    int64_t width;
    size_t cap = 0;
    TRY(jinja_items(run, &c->self, &l));
    TRY(jinja_as_int(run, &c->arg[0], "batch's width", &width));
    if (width < 1)
        return jinja_fail(run, "batch's width must be at least 1");
    TRY(jinja_new_list(run, LIST_GENERATOR, 0, out));
    for (size_t from = 0; from < l->n;) {
        size_t to = (uint64_t)width < l->n - from ? from + (size_t)width : l->n;
        struct value row;
        TRY(slice_of(run, l, from, to, &row));
        if (given(&c->arg[1]))
            TRY(fill(run, &row, (size_t)width, &c->arg[1]));
        TRY(jinja_list_add(run, out->list, &cap, row));
        from = to;
    }
    return 0;
}

static int f_slice(struct run *run, struct call *c, struct value *out)
{
    struct list *l;
    int64_t slices;
    TRY(jinja_items(run, &c->self, &l));
    TRY(jinja_as_int(run, &c->arg[0], "the number of slices", &slices));
    if (slices < 1)
        return jinja_fail(run, "the number of slices must be at least 1");
    size_t n = (size_t)slices, from = 0;
    TRY(jinja_new_list(run, LIST_GENERATOR, n, out));
    for (size_t i = 0; i < n; i++) {
        size_t to = from + l->n / n + (i < l->n % n);
        TRY(jinja_spend(run, 1));
        TRY(slice_of(run, l, from, to, &out->list->items[i]));
        if (given(&c->arg[1]) && i >= l->n % n)
            TRY(fill(run, &out->list->items[i], to - from + 1, &c->arg[1]));
        from = to;
    }
    return 0;
}

static int group_key(struct run *run, struct call *c, const struct value *v, bool fold, struct value *out)
{
    TRY(jinja_pick(run, v, &c->arg[0], fold, out));
    if (out->type == VALUE_UNDEFINED && given(&c->arg[1]))
        *out = c->arg[1];
    return 0;
}

/* [(key, [elements]), …]; the key is printed as the first element has it. */
static int f_groupby(struct run *run, struct call *c, struct value *out)
{
    struct list *l;
    struct value sorted, key, next;
    bool fold = !jinja_truth(&c->arg[2]), same = true;
    size_t cap = 0;
    TRY(jinja_items(run, &c->self, &l));
    struct sort_item *items = jinja_alloc(run, l->n + 1, sizeof *items);
    if (!items)
        return -1;
    for (size_t i = 0; i < l->n; i++) {
        items[i].value = l->items[i];
        TRY(group_key(run, c, &l->items[i], fold, &items[i].key));
    }
    TRY(sort_items(run, items, l->n, false, &sorted));
    TRY(jinja_new_list(run, LIST_LIST, 0, out));
    for (size_t from = 0, to; from < l->n; from = to) {
        struct value group;
        TRY(group_key(run, c, &sorted.list->items[from], fold, &key));
        for (to = from + 1, same = true; to < l->n; to++) {
            TRY(group_key(run, c, &sorted.list->items[to], fold, &next));
            TRY(jinja_equal(run, &key, &next, &same));
            if (!same)
                break;
        }
        TRY(jinja_new_list(run, LIST_TUPLE, 2, &group));
        group.list->group = true;
        TRY(group_key(run, c, &sorted.list->items[from], false, &group.list->items[0]));
        TRY(slice_of(run, sorted.list, from, to, &group.list->items[1]));
        TRY(jinja_list_add(run, out->list, &cap, group));
    }
    return 0;
}

const struct builtin jinja_list_filters[] = {{"length", f_length, "", 0},
                                             {"count", f_length, "", 0},
                                             {"list", f_list, "", 0},
                                             {"first", f_first, "", 0},
                                             {"last", f_last, "", 0},
                                             {"reverse", f_reverse, "", 0},
                                             {"join", f_join, "d,attribute", 0},
                                             {"sort", f_sort, "reverse,case_sensitive,attribute", 0},
                                             {"dictsort", f_dictsort, "case_sensitive,by,reverse", 0},
                                             {"unique", f_unique, "case_sensitive,attribute", 0},
                                             {"min", f_min, "case_sensitive,attribute", 0},
                                             {"max", f_max, "case_sensitive,attribute", 0},
                                             {"sum", f_sum, "attribute,start", 0},
                                             {"batch", f_batch, "linecount,fill_with", 1},
                                             {"slice", f_slice, "slices,fill_with", 1},
                                             {"groupby", f_groupby, "attribute,default,case_sensitive", 1}};
const size_t jinja_n_list_filters = sizeof jinja_list_filters / sizeof *jinja_list_filters;
