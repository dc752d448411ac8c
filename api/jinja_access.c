/* jinja_access.c - attributes, indexes, slices, and binding arguments to what is called.
 * Follows the sandbox: internals ("__…") and methods that change lists and dicts can't be had.
 * Called by jinja_eval.c and the filters; thread: that of the run. */
#include <stdio.h>
#include <string.h>

#include "api/jinja_tree.h"

static const struct builtin *find_in(const struct builtin *rows, size_t n, const struct text *name)
{
    return jinja_find_row(rows, n, name->s, name->len);
}

const struct builtin *jinja_find_row(const struct builtin *rows, size_t n, const char *name, size_t len)
{
    for (size_t i = 0; i < n; i++)
        if (strlen(rows[i].name) == len && memcmp(rows[i].name, name, len) == 0)
            return &rows[i];
    return NULL;
}

/* ---- methods of containers ---------------------------------------------------------------------- */

static int dict_get(struct run *run, struct call *c, struct value *out)
{
    TRY(jinja_dict_get(run, c->self.dict, c->arg[0], out));
    if (out->type == VALUE_MISSING)
        *out = c->arg[1].type == VALUE_MISSING ? jinja_none() : c->arg[1];
    return 0;
}

static int dict_view(struct run *run, const struct dict *d, enum list_kind kind, struct value *out)
{
    TRY(jinja_new_list(run, kind, d->n, out));
    for (size_t i = 0; i < d->n; i++) {
        struct value *item = &out->list->items[i];
        if (kind != LIST_ITEMS) {
            *item = kind == LIST_KEYS ? d->entries[i].key : d->entries[i].value;
            continue;
        }
        TRY(jinja_new_list(run, LIST_TUPLE, 2, item));
        item->list->items[0] = d->entries[i].key;
        item->list->items[1] = d->entries[i].value;
    }
    return 0;
}

static int dict_items(struct run *run, struct call *c, struct value *out)
{
    return dict_view(run, c->self.dict, LIST_ITEMS, out);
}

static int dict_keys(struct run *run, struct call *c, struct value *out)
{
    return dict_view(run, c->self.dict, LIST_KEYS, out);
}

static int dict_values(struct run *run, struct call *c, struct value *out)
{
    return dict_view(run, c->self.dict, LIST_VALUES, out);
}

static int same_value(struct run *run, struct call *c, struct value *out)
{
    *out = c->self; /* nothing can change it, so a copy is itself */
    return jinja_spend(run, 1);
}

static int list_count(struct run *run, struct call *c, struct value *out)
{
    int64_t n = 0;
    for (size_t i = 0; i < c->self.list->n; i++) {
        bool same;
        TRY(jinja_equal(run, &c->self.list->items[i], &c->arg[0], &same));
        n += same;
    }
    *out = jinja_int(n);
    return 0;
}

static int list_index(struct run *run, struct call *c, struct value *out)
{
    for (size_t i = 0; i < c->self.list->n; i++) {
        bool same;
        TRY(jinja_equal(run, &c->self.list->items[i], &c->arg[0], &same));
        if (same) {
            *out = jinja_int((int64_t)i);
            return 0;
        }
    }
    return jinja_fail(run, "the value is not in the list");
}

static int cycler_step(struct run *run, struct call *c, struct value *out)
{
    struct list *l = c->self.cycle;
    *out = l->items[l->taken];
    l->taken = (l->taken + 1) % l->n;
    return jinja_spend(run, 1);
}

static int cycler_reset(struct run *run, struct call *c, struct value *out)
{
    c->self.cycle->taken = 0;
    *out = jinja_none();
    return jinja_spend(run, 1);
}

static const struct builtin dict_methods[] = {{"get", dict_get, "key,default", 1},
                                              {"items", dict_items, "", 0},
                                              {"keys", dict_keys, "", 0},
                                              {"values", dict_values, "", 0},
                                              {"copy", same_value, "", 0}};
static const struct builtin list_methods[] = {
    {"count", list_count, "value", 1}, {"index", list_index, "value", 1}, {"copy", same_value, "", 0}};
static const struct builtin cycler_methods[] = {{"next", cycler_step, "", 0}, {"reset", cycler_reset, "", 0}};

#define FIND_IN(rows, name) find_in(rows, sizeof(rows) / sizeof *(rows), name)

const struct builtin *jinja_find_method(const struct value *object, const struct text *name)
{
    const struct builtin *row = NULL;
    if (object->type == VALUE_TEXT) {
        row = find_in(jinja_text_methods, jinja_n_text_methods, name);
        return row ? row : find_in(jinja_text_queries, jinja_n_text_queries, name);
    }
    if (object->type == VALUE_DICT)
        return FIND_IN(dict_methods, name);
    if (object->type == VALUE_LIST && object->list->kind <= LIST_RANGE)
        return FIND_IN(list_methods, name);
    return object->type == VALUE_CYCLER ? FIND_IN(cycler_methods, name) : NULL;
}

static bool is_unsafe(const struct value *object, const struct text *name)
{
    static const char *const dict_changes[] = {"clear", "pop", "popitem", "setdefault", "update"};
    static const char *const list_changes[] = {"append", "clear", "pop",    "reverse",
                                               "insert", "sort",  "extend", "remove"};
    if (name->len >= 2 && memcmp(name->s, "__", 2) == 0)
        return true;
    for (size_t i = 0; object->type == VALUE_DICT && i < sizeof dict_changes / sizeof *dict_changes; i++)
        if (jinja_text_is(name, dict_changes[i]))
            return true;
    bool list = object->type == VALUE_LIST && object->list->kind == LIST_LIST;
    for (size_t i = 0; list && i < sizeof list_changes / sizeof *list_changes; i++)
        if (jinja_text_is(name, list_changes[i]))
            return true;
    return false;
}

/* ---- attributes and indexes --------------------------------------------------------------------- */

static int bound_method(struct run *run, const struct value *object, struct text *name, struct value *out)
{
    const struct builtin *row = jinja_find_method(object, name);
    *out = (struct value){.type = VALUE_MISSING};
    if (!row) {
        if (is_unsafe(object, name))
            *out = jinja_undefined(WHY_UNSAFE, object, name);
        return 0;
    }
    struct function *f = jinja_alloc(run, 1, sizeof *f);
    if (!f)
        return -1;
    f->row = row;
    f->self = *object;
    *out = (struct value){.type = VALUE_FUNCTION, .function = f};
    return 0;
}

/* What a macro says of itself. */
static int macro_attribute(struct run *run, const struct macro *m, const struct text *name, struct value *out)
{
    static const struct {
        const char *name;
        unsigned flag;
    } flags[] = {{"catch_varargs", MACRO_VARARGS}, {"catch_kwargs", MACRO_KWARGS}, {"caller", MACRO_CALLER}};
    if (jinja_text_is(name, "name"))
        *out = m->node->text ? jinja_of_text(m->node->text) : jinja_none();
    for (size_t i = 0; i < sizeof flags / sizeof *flags; i++) {
        if (jinja_text_is(name, flags[i].name))
            *out = jinja_bool(m->node->op & flags[i].flag);
    }
    if (!jinja_text_is(name, "arguments"))
        return 0;
    TRY(jinja_new_list(run, LIST_TUPLE, m->node->n_items, out));
    for (size_t i = 0; i < m->node->n_items; i++)
        out->list->items[i] = jinja_of_text(m->node->items[i]->text);
    return 0;
}

int jinja_attribute(struct run *run, const struct value *object, struct text *name, struct value *out)
{
    if (object->type == VALUE_UNDEFINED)
        return jinja_undefined_error(run, object);
    TRY(bound_method(run, object, name, out));
    if (out->type == VALUE_MISSING && (object->type == VALUE_DICT || object->type == VALUE_NAMESPACE))
        TRY(jinja_dict_get_text(run, object->dict, name, out));
    if (out->type == VALUE_MISSING && object->type == VALUE_LOOP)
        TRY(jinja_loop_attribute(run, object, name, out));
    if (out->type == VALUE_MISSING && object->type == VALUE_CYCLER && jinja_text_is(name, "current"))
        *out = object->cycle->items[object->cycle->taken];
    if (out->type == VALUE_MISSING && object->type == VALUE_MACRO)
        TRY(macro_attribute(run, object->macro, name, out));
    if (out->type == VALUE_MISSING && object->type == VALUE_LIST && object->list->group &&
        (jinja_text_is(name, "grouper") || jinja_text_is(name, "list")))
        *out = object->list->items[jinja_text_is(name, "list")];
    if (out->type == VALUE_MISSING)
        *out = jinja_undefined(WHY_ATTRIBUTE, object, name);
    return 0;
}

static int no_element(struct run *run, const struct value *object, const struct value *index,
                      struct value *out)
{
    struct text *name;
    TRY(jinja_to_text(run, index, &name));
    *out = jinja_undefined(WHY_ELEMENT, object, name);
    return 0;
}

static int element(struct run *run, const struct value *object, int64_t i, struct value *out)
{
    bool text = object->type == VALUE_TEXT;
    size_t n = text ? jinja_text_chars(object->text) : object->list->n;
    if (i < 0)
        i += (int64_t)n;
    if (i < 0 || i >= (int64_t)n)
        return 0;
    if (!text) {
        *out = object->list->items[i];
        return 0;
    }
    size_t from = jinja_text_offset(object->text, (size_t)i), len;
    jinja_decode(object->text->s + from, &len);
    TRY(jinja_spend_bytes(run, from));
    struct text *c = jinja_text_slice(run, object->text, from, from + len);
    if (!c)
        return -1;
    *out = jinja_of_text(c);
    return 0;
}

int jinja_index(struct run *run, const struct value *object, const struct value *index, struct value *out)
{
    *out = (struct value){.type = VALUE_MISSING};
    if (object->type == VALUE_UNDEFINED)
        return jinja_undefined_error(run, object);
    bool no_key = index->type == VALUE_DICT || (index->type == VALUE_LIST && index->list->kind == LIST_LIST);
    bool sequence =
        object->type == VALUE_TEXT || (object->type == VALUE_LIST && object->list->kind <= LIST_RANGE);
    if (object->type == VALUE_DICT && !no_key)
        TRY(jinja_dict_get(run, object->dict, *index, out));
    else if (sequence && (index->type == VALUE_INT || index->type == VALUE_BOOL))
        TRY(element(run, object, index->type == VALUE_INT ? index->integer : index->boolean, out));
    if (out->type != VALUE_MISSING)
        return 0;
    if (index->type == VALUE_UNDEFINED && object->type != VALUE_DICT)
        return jinja_undefined_error(run, index);
    if (index->type == VALUE_TEXT)
        return jinja_attribute(run, object, index->text, out);
    return no_element(run, object, index, out);
}

/* ---- slices -------------------------------------------------------------------------------------------- */

/* Python's slice.indices(): clamps first and last to what exists. */
static int slice_bounds(struct run *run, const struct value bounds[3], int64_t n, int64_t *first,
                        int64_t *last, int64_t *step)
{
    int64_t *const out[] = {first, last, step};
    bool given[3];
    for (int i = 0; i < 3; i++) {
        given[i] = bounds[i].type != VALUE_MISSING && bounds[i].type != VALUE_NONE;
        if (given[i])
            TRY(jinja_as_int(run, &bounds[i], "a slice index", out[i]));
    }
    *step = given[2] ? *step : 1;
    if (*step == 0)
        return jinja_fail(run, "slice step cannot be zero");
    int64_t low = *step < 0 ? -1 : 0, high = *step < 0 ? n - 1 : n;
    for (int i = 0; i < 2; i++) {
        int64_t v = *out[i];
        if (!given[i])
            v = (*step < 0) == (i == 0) ? high : low;
        else if (v < 0)
            v = v + n < low ? low : v + n;
        *out[i] = v > high ? high : v;
    }
    if (*step > n)
        *step = n + 1;
    if (*step < -n)
        *step = -n - 1;
    return 0;
}

static int slice_text(struct run *run, struct text *t, int64_t first, int64_t last, int64_t step,
                      struct value *out)
{
    TRY(jinja_spend_bytes(run, t->len));
    if (step == 1) {
        size_t from = jinja_text_offset(t, (size_t)first);
        size_t to = last > first ? jinja_text_offset(t, (size_t)last) : from;
        struct text *slice = jinja_text_slice(run, t, from, to);
        *out = slice ? jinja_of_text(slice) : jinja_none();
        return slice ? 0 : -1;
    }
    struct value all = jinja_of_text(t);
    struct list *chars;
    struct builder b;
    jinja_build(&b, run);
    TRY(jinja_items(run, &all, &chars));
    for (int64_t i = first; step > 0 ? i < last : i > last; i += step)
        jinja_add_text(&b, chars->items[i].text);
    return jinja_built_value(&b, out);
}

int jinja_slice(struct run *run, const struct value *object, const struct value bounds[3], struct value *out)
{
    int64_t first = 0, last = 0, step = 1;
    if (object->type == VALUE_UNDEFINED)
        return jinja_undefined_error(run, object);
    bool text = object->type == VALUE_TEXT;
    if (!text && (object->type != VALUE_LIST || object->list->kind > LIST_RANGE))
        return jinja_fail(run, "'%s' object can't be sliced", jinja_type_name(object));
    int64_t n = (int64_t)(text ? jinja_text_chars(object->text) : object->list->n);
    TRY(slice_bounds(run, bounds, n, &first, &last, &step));
    if (text)
        return slice_text(run, object->text, first, last, step, out);
    int64_t distance = step > 0 ? last - first : first - last, stride = step > 0 ? step : -step;
    size_t count = distance > 0 ? (size_t)((distance + stride - 1) / stride) : 0;
    TRY(jinja_new_list(run, object->list->kind, count, out));
    for (size_t i = 0; i < count; i++)
        out->list->items[i] = object->list->items[first + (int64_t)i * step];
    return 0;
}

/* ---- calls ------------------------------------------------------------------------------------------------
 */

int jinja_add_argument(struct run *run, struct call *call, struct value v)
{
    struct list l = {.items = call->args, .n = call->n_args};
    TRY(jinja_list_add(run, &l, &call->cap_args, v));
    call->args = l.items;
    call->n_args = l.n;
    return 0;
}

int jinja_add_keyword(struct run *run, struct call *call, const struct text *name, struct value v)
{
    for (size_t i = 0; i < call->n_keywords; i++)
        if (jinja_text_same(call->keywords[i].name, name))
            return jinja_fail(run, "%s() got multiple values for keyword argument '%.*s'", call->name,
                              (int)(name->len < 60 ? name->len : 60), name->s);
    if (call->n_keywords == call->cap_keywords) {
        size_t cap = call->cap_keywords ? call->cap_keywords * 2 : 4;
        struct keyword *keywords = jinja_alloc(run, cap, sizeof *keywords);
        if (!keywords)
            return -1;
        if (call->n_keywords)
            memcpy(keywords, call->keywords, call->n_keywords * sizeof *keywords);
        call->keywords = keywords;
        call->cap_keywords = cap;
    }
    call->keywords[call->n_keywords++] = (struct keyword){name, v};
    return jinja_spend(run, call->n_keywords / 8);
}

/* Place of a name in "a,b,c", or -1; *count is how many there are. */
static int parameter_place(const char *params, const struct text *name, unsigned *count)
{
    int found = -1;
    *count = 0;
    for (const char *s = params; *s; ++*count) {
        size_t len = strcspn(s, ",");
        if (name && len == name->len && memcmp(s, name->s, len) == 0)
            found = (int)*count;
        s += len + (s[len] == ',');
    }
    return found;
}

static int bind(struct run *run, const struct builtin *row, struct call *call)
{
    unsigned count;
    parameter_place(row->params, NULL, &count);
    if (call->n_args > count)
        return jinja_fail(run, "%s() takes at most %u arguments (%zu given)", row->name, count, call->n_args);
    memset(call->arg, 0, sizeof call->arg);
    for (size_t i = 0; i < call->n_args; i++)
        call->arg[i] = call->args[i];
    for (size_t i = 0; i < call->n_keywords; i++) {
        const struct text *name = call->keywords[i].name;
        int place = parameter_place(row->params, name, &count);
        if (place < 0 || call->arg[place].type != VALUE_MISSING)
            return jinja_fail(run, "%s() got an unexpected keyword argument '%.*s'", row->name,
                              (int)(name->len < 60 ? name->len : 60), name->s);
        call->arg[place] = call->keywords[i].value;
    }
    for (unsigned i = 0; i < row->required; i++)
        if (call->arg[i].type == VALUE_MISSING)
            return jinja_fail(run, "%s() misses a required argument", row->name);
    return 0;
}

int jinja_call_builtin(struct run *run, const struct builtin *row, struct call *call, struct value *out)
{
    call->name = row->name;
    TRY(jinja_spend(run, 1));
    if (strcmp(row->params, "*") != 0)
        TRY(bind(run, row, call));
    return row->fn(run, call, out);
}

static int call_joiner(struct list *state, struct value *out)
{
    *out = state->items[state->taken ? 1 : 0];
    state->taken = 1;
    return 0;
}

int jinja_call(struct run *run, const struct value *callee, struct call *call, struct value *out)
{
    switch (callee->type) {
    case VALUE_FUNCTION:
        call->self = callee->function->self;
        return jinja_call_builtin(run, callee->function->row, call, out);
    case VALUE_MACRO:
        return jinja_call_macro(run, callee->macro, call, out);
    case VALUE_LOOP:
        return jinja_call_loop(run, callee->loop, call, out);
    case VALUE_JOINER:
        return call_joiner(callee->cycle, out);
    case VALUE_UNDEFINED:
        return jinja_undefined_error(run, callee);
    default:
        return jinja_fail(run, "'%s' object is not callable", jinja_type_name(callee));
    }
}
