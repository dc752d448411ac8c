/* jinja_value.c - what values are: making, truth, length, iteration, equality, order.
 * Rules and messages are Python's.  Used by api/jinja*.c alone; thread: that of the run. */
#include <math.h>
#include <string.h>

#include "api/jinja_tree.h"
#include "engine/base/limits.h"

struct value jinja_none(void)
{
    return (struct value){.type = VALUE_NONE};
}

struct value jinja_bool(bool b)
{
    return (struct value){.type = VALUE_BOOL, .boolean = b};
}

struct value jinja_int(int64_t i)
{
    return (struct value){.type = VALUE_INT, .integer = i};
}

struct value jinja_float(double d)
{
    return (struct value){.type = VALUE_FLOAT, .real = d};
}

struct value jinja_of_text(struct text *t)
{
    return (struct value){.type = VALUE_TEXT, .text = t};
}

struct value jinja_undefined(enum undefined_reason why, const struct value *owner, struct text *name)
{
    struct value v = {.type = VALUE_UNDEFINED, .reason = (uint8_t)why, .text = name};
    if (owner) {
        v.owner = owner->type;
        v.owner_kind = owner->type == VALUE_LIST ? (uint8_t)owner->list->kind : 0;
    }
    return v;
}

int jinja_literal(struct run *run, const char *s, struct value *out)
{
    struct text *t = jinja_text(run, s, strlen(s), false);
    if (!t)
        return -1;
    *out = jinja_of_text(t);
    return 0;
}

int jinja_new_list(struct run *run, enum list_kind kind, size_t n, struct value *out)
{
    struct list *l = jinja_alloc(run, 1, sizeof *l);
    if (!l || (n && !(l->items = jinja_alloc(run, n, sizeof *l->items))))
        return -1;
    for (size_t i = 0; i < n; i++)
        l->items[i] = jinja_none();
    l->n = n;
    l->kind = kind;
    *out = (struct value){.type = VALUE_LIST, .list = l};
    return jinja_spend(run, n / 8);
}

int jinja_list_add(struct run *run, struct list *l, size_t *cap, struct value v)
{
    if (l->n == *cap) {
        size_t bigger = *cap ? *cap * 2 : 8;
        struct value *items = jinja_alloc(run, bigger, sizeof *items);
        if (!items)
            return -1;
        if (l->n)
            memcpy(items, l->items, l->n * sizeof *items);
        l->items = items;
        *cap = bigger;
    }
    l->items[l->n++] = v;
    return 0;
}

/* ---- names and messages --------------------------------------------------------------------------- */

static const char *list_name(unsigned kind)
{
    static const char *const names[] = {
        [LIST_LIST] = "list",           [LIST_TUPLE] = "tuple",    [LIST_RANGE] = "range",
        [LIST_GENERATOR] = "generator", [LIST_KEYS] = "dict_keys", [LIST_VALUES] = "dict_values",
        [LIST_ITEMS] = "dict_items"};
    return names[kind];
}

static const char *type_name(unsigned type, unsigned kind)
{
    static const char *const names[] = {[VALUE_MISSING] = "missing",
                                        [VALUE_UNDEFINED] = "Undefined",
                                        [VALUE_NONE] = "NoneType",
                                        [VALUE_BOOL] = "bool",
                                        [VALUE_INT] = "int",
                                        [VALUE_FLOAT] = "float",
                                        [VALUE_TEXT] = "str",
                                        [VALUE_DICT] = "dict",
                                        [VALUE_NAMESPACE] = "Namespace",
                                        [VALUE_FUNCTION] = "function",
                                        [VALUE_MACRO] = "Macro",
                                        [VALUE_LOOP] = "LoopContext",
                                        [VALUE_CYCLER] = "Cycler",
                                        [VALUE_JOINER] = "Joiner"};
    return type == VALUE_LIST ? list_name(kind) : names[type];
}

const char *jinja_type_name(const struct value *v)
{
    return type_name(v->type, v->type == VALUE_LIST ? v->list->kind : 0);
}

int jinja_undefined_error(struct run *run, const struct value *v)
{
    const char *owner = type_name(v->owner, v->owner_kind);
    const char *object = v->owner == VALUE_NONE ? "None" : owner,
               *suffix = v->owner == VALUE_NONE ? "" : " object";
    int len = v->text ? (int)(v->text->len < 80 ? v->text->len : 80) : 0;
    const char *name = v->text ? v->text->s : "";
    switch (v->reason) {
    case WHY_NAME:
        return jinja_fail(run, "'%.*s' is undefined", len, name);
    case WHY_ATTRIBUTE:
        return jinja_fail(run, "'%s%s' has no attribute '%.*s'", object, suffix, len, name);
    case WHY_ELEMENT:
        return jinja_fail(run, "%s%s has no element %.*s", object, suffix, len, name);
    case WHY_UNSAFE:
        return jinja_fail(run, "access to attribute '%.*s' of '%s' object is unsafe.", len, name, owner);
    case WHY_PARAMETER:
        return jinja_fail(run, "parameter '%.*s' was not provided", len, name);
    default:
        return jinja_fail(run, "%.*s", len, name);
    }
}

/* ---- what values can be used as ---------------------------------------------------------------------- */

bool jinja_truth(const struct value *v)
{
    switch (v->type) {
    case VALUE_MISSING:
    case VALUE_UNDEFINED:
    case VALUE_NONE:
        return false;
    case VALUE_BOOL:
        return v->boolean;
    case VALUE_INT:
        return v->integer != 0;
    case VALUE_FLOAT:
        return v->real != 0;
    case VALUE_TEXT:
        return v->text->len != 0;
    case VALUE_LIST:
        return v->list->n != 0 || v->list->kind == LIST_GENERATOR;
    case VALUE_DICT:
        return v->dict->n != 0;
    default:
        return true;
    }
}

bool jinja_is_number(const struct value *v)
{
    return v->type == VALUE_INT || v->type == VALUE_FLOAT || v->type == VALUE_BOOL;
}

double jinja_as_double(const struct value *v)
{
    if (v->type == VALUE_FLOAT)
        return v->real;
    return v->type == VALUE_INT ? (double)v->integer : v->boolean;
}

int jinja_as_int(struct run *run, const struct value *v, const char *what, int64_t *out)
{
    if (v->type == VALUE_UNDEFINED)
        return jinja_undefined_error(run, v);
    if (v->type != VALUE_INT && v->type != VALUE_BOOL)
        return jinja_fail(run, "%s must be an integer, not '%s'", what, jinja_type_name(v));
    *out = v->type == VALUE_INT ? v->integer : v->boolean;
    return 0;
}

int jinja_as_text(struct run *run, const struct value *v, const char *what, struct text **out)
{
    if (v->type == VALUE_UNDEFINED)
        return jinja_undefined_error(run, v);
    if (v->type != VALUE_TEXT)
        return jinja_fail(run, "%s must be str, not '%s'", what, jinja_type_name(v));
    *out = v->text;
    return 0;
}

static int text_items(struct run *run, struct text *t, struct list **out)
{
    struct value v;
    TRY(jinja_new_list(run, LIST_LIST, jinja_text_chars(t), &v));
    for (size_t at = 0, n = 0, i = 0; at < t->len; at += n, i++) {
        jinja_decode(t->s + at, &n);
        struct text *c = jinja_text_slice(run, t, at, at + n);
        if (!c)
            return -1;
        c->markup = false; /* iterating Markup gives plain text */
        v.list->items[i] = jinja_of_text(c);
    }
    *out = v.list;
    return jinja_spend(run, v.list->n / 4);
}

static int dict_keys(struct run *run, const struct dict *d, struct list **out)
{
    struct value v;
    TRY(jinja_new_list(run, LIST_LIST, d->n, &v));
    for (size_t i = 0; i < d->n; i++)
        v.list->items[i] = d->entries[i].key;
    *out = v.list;
    return 0;
}

/* A generator gives what is left of it, once. */
static int generator_items(struct run *run, struct list *l, struct list **out)
{
    struct list *rest = jinja_alloc(run, 1, sizeof *rest);
    if (!rest)
        return -1;
    rest->items = l->taken ? l->items + l->taken : l->items;
    rest->n = l->n - l->taken;
    l->taken = l->n;
    *out = rest;
    return 0;
}

int jinja_items(struct run *run, const struct value *v, struct list **out)
{
    if (v->type == VALUE_LIST && v->list->kind == LIST_GENERATOR)
        return generator_items(run, v->list, out);
    if (v->type == VALUE_LIST) {
        *out = v->list;
        return 0;
    }
    if (v->type == VALUE_TEXT)
        return text_items(run, v->text, out);
    if (v->type == VALUE_DICT)
        return dict_keys(run, v->dict, out);
    if (v->type != VALUE_UNDEFINED)
        return jinja_fail(run, "'%s' object is not iterable", jinja_type_name(v));
    struct value empty;
    TRY(jinja_new_list(run, LIST_LIST, 0, &empty));
    *out = empty.list;
    return 0;
}

int jinja_length(struct run *run, const struct value *v, size_t *out)
{
    *out = 0;
    if (v->type == VALUE_TEXT)
        *out = jinja_text_chars(v->text);
    else if (v->type == VALUE_DICT)
        *out = v->dict->n;
    else if (v->type == VALUE_LIST && v->list->kind != LIST_GENERATOR)
        *out = v->list->n;
    else if (v->type == VALUE_LOOP)
        *out = v->loop->list->n;
    else if (v->type != VALUE_UNDEFINED)
        return jinja_fail(run, "object of type '%s' has no len()", jinja_type_name(v));
    return v->type == VALUE_TEXT ? jinja_spend_bytes(run, v->text->len) : 0;
}

/* ---- equality and order -------------------------------------------------------------------------------- */

static int equal_lists(struct run *run, const struct list *a, const struct list *b, bool *out)
{
    /* As in Python, a list is never equal to a tuple. */
    *out = a == b || (a->kind == b->kind && a->n == b->n && a->kind != LIST_GENERATOR);
    if (!*out || a == b)
        return 0;
    TRY(jinja_deeper(run));
    for (size_t i = 0; *out && i < a->n; i++)
        TRY(jinja_equal(run, &a->items[i], &b->items[i], out));
    run->depth--;
    return 0;
}

static int equal_dicts(struct run *run, const struct dict *a, const struct dict *b, bool *out)
{
    *out = a->n == b->n;
    if (a == b || !*out)
        return 0;
    TRY(jinja_deeper(run));
    for (size_t i = 0; *out && i < a->n; i++) {
        struct value other;
        TRY(jinja_dict_get(run, b, a->entries[i].key, &other));
        *out = other.type != VALUE_MISSING;
        if (*out)
            TRY(jinja_equal(run, &a->entries[i].value, &other, out));
    }
    run->depth--;
    return 0;
}

bool jinja_same_object(const struct value *a, const struct value *b)
{
    if (a->type != b->type)
        return false;
    switch (a->type) {
    case VALUE_NONE:
        return true;
    case VALUE_UNDEFINED:
        return a->text == b->text && a->reason == b->reason;
    case VALUE_BOOL:
        return a->boolean == b->boolean;
    case VALUE_INT: /* small integers are one object in Python, others are not worth a difference */
        return a->integer == b->integer;
    case VALUE_FLOAT:
        return a->real == b->real;
    case VALUE_TEXT:
        return a->text == b->text || jinja_text_same(a->text, b->text);
    default:
        return a->list == b->list;
    }
}

int jinja_equal(struct run *run, const struct value *a, const struct value *b, bool *out)
{
    TRY(jinja_spend(run, 1));
    if (a->type == VALUE_INT && b->type == VALUE_INT)
        *out = a->integer == b->integer;
    else if (jinja_is_number(a) && jinja_is_number(b))
        *out = jinja_as_double(a) == jinja_as_double(b);
    else if (a->type != b->type)
        *out = false;
    else if (a->type == VALUE_TEXT) {
        *out = jinja_text_same(a->text, b->text);
        return a->text->len == b->text->len ? jinja_spend_bytes(run, a->text->len) : 0;
    } else if (a->type == VALUE_LIST)
        return equal_lists(run, a->list, b->list, out);
    else if (a->type == VALUE_DICT)
        return equal_dicts(run, a->dict, b->dict, out);
    else
        *out = a->type == VALUE_UNDEFINED || jinja_same_object(a, b);
    return 0;
}

static int order_lists(struct run *run, const struct list *a, const struct list *b, const char *op, int *out)
{
    TRY(jinja_deeper(run));
    size_t n = a->n < b->n ? a->n : b->n;
    *out = a->n < b->n ? -1 : a->n > b->n;
    for (size_t i = 0; i < n; i++) {
        bool same;
        TRY(jinja_equal(run, &a->items[i], &b->items[i], &same));
        if (!same) {
            TRY(jinja_order(run, &a->items[i], &b->items[i], op, out));
            break;
        }
    }
    run->depth--;
    return 0;
}

/* *out: below, at or above zero; 2 when one of them is not a number (NaN), so that no order holds. */
int jinja_order(struct run *run, const struct value *a, const struct value *b, const char *op, int *out)
{
    TRY(jinja_spend(run, 1));
    if (a->type == VALUE_INT && b->type == VALUE_INT) {
        *out = a->integer < b->integer ? -1 : a->integer > b->integer;
        return 0;
    }
    if (jinja_is_number(a) && jinja_is_number(b)) {
        double x = jinja_as_double(a), y = jinja_as_double(b);
        *out = x < y ? -1 : x > y ? 1 : x == y ? 0 : 2;
        return 0;
    }
    if (a->type == VALUE_TEXT && b->type == VALUE_TEXT) {
        *out = jinja_text_order(a->text, b->text);
        return jinja_spend_bytes(run, a->text->len < b->text->len ? a->text->len : b->text->len);
    }
    if (a->type == VALUE_LIST && b->type == VALUE_LIST && a->list->kind == b->list->kind &&
        a->list->kind <= LIST_TUPLE)
        return order_lists(run, a->list, b->list, op, out);
    if (a->type == VALUE_UNDEFINED || b->type == VALUE_UNDEFINED)
        return jinja_undefined_error(run, a->type == VALUE_UNDEFINED ? a : b);
    return jinja_fail(run, "'%s' not supported between instances of '%s' and '%s'", op, jinja_type_name(a),
                      jinja_type_name(b));
}

int jinja_contains(struct run *run, const struct value *container, const struct value *v, bool *out)
{
    *out = false;
    if (container->type == VALUE_DICT) {
        struct value found;
        TRY(jinja_dict_get(run, container->dict, *v, &found));
        *out = found.type != VALUE_MISSING;
        return 0;
    }
    if (container->type == VALUE_TEXT) {
        if (v->type != VALUE_TEXT)
            return jinja_fail(run, "'in <string>' requires string as left operand, not %s",
                              jinja_type_name(v));
        *out =
            jinja_text_find(container->text, 0, container->text->len, v->text->s, v->text->len) != SIZE_MAX;
        return jinja_spend_bytes(run, container->text->len);
    }
    if (container->type != VALUE_LIST && container->type != VALUE_UNDEFINED)
        return jinja_fail(run, "argument of type '%s' is not iterable", jinja_type_name(container));
    struct list *l;
    TRY(jinja_items(run, container, &l));
    for (size_t i = 0; !*out && i < l->n; i++)
        TRY(jinja_equal(run, &l->items[i], v, out));
    return 0;
}
