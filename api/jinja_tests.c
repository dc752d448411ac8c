/* jinja_tests.c - the tests of `is`, and the global functions.
 * To add one: a function and a row; arguments are bound to c->arg before it is called. */
#include <string.h>

#include "api/jinja_tree.h"
#include "engine/base/limits.h"

static int answer(struct value *out, bool truth)
{
    *out = jinja_bool(truth);
    return 0;
}

/* ---- what the value is -------------------------------------------------------------------------- */

#define TYPE_TEST(name, condition)                                                                           \
    static int t_##name(struct run *run, struct call *c, struct value *out)                                  \
    {                                                                                                        \
        const struct value *v = &c->self;                                                                    \
        (void)run;                                                                                           \
        return answer(out, condition);                                                                       \
    }

static bool has_items(const struct value *v)
{
    return v->type == VALUE_TEXT || v->type == VALUE_DICT || v->type == VALUE_UNDEFINED ||
           v->type == VALUE_LOOP;
}

TYPE_TEST(defined, v->type != VALUE_UNDEFINED)
TYPE_TEST(undefined, v->type == VALUE_UNDEFINED)
TYPE_TEST(none, v->type == VALUE_NONE)
TYPE_TEST(boolean, v->type == VALUE_BOOL)
TYPE_TEST(true, v->type == VALUE_BOOL && v->boolean)
TYPE_TEST(false, v->type == VALUE_BOOL && !v->boolean)
TYPE_TEST(integer, v->type == VALUE_INT)
TYPE_TEST(float, v->type == VALUE_FLOAT)
TYPE_TEST(number, jinja_is_number(v))
TYPE_TEST(string, v->type == VALUE_TEXT)
TYPE_TEST(mapping, v->type == VALUE_DICT)
TYPE_TEST(iterable, v->type == VALUE_LIST || has_items(v))
TYPE_TEST(sequence,
          (v->type == VALUE_LIST && v->list->kind <= LIST_RANGE) || (has_items(v) && v->type != VALUE_LOOP))
/* Undefined has a method for being called: the one that raises. */
TYPE_TEST(callable, v->type == VALUE_FUNCTION || v->type == VALUE_MACRO || v->type == VALUE_LOOP ||
                        v->type == VALUE_JOINER || v->type == VALUE_UNDEFINED)
TYPE_TEST(escaped, v->type == VALUE_TEXT && v->text->markup)

static int case_test(struct run *run, struct call *c, const char *method, struct value *out)
{
    struct call inner = {.name = method};
    struct text *t, name = {.s = method, .len = strlen(method)};
    TRY(jinja_to_text(run, &c->self, &t));
    inner.self = jinja_of_text(t);
    return jinja_call_builtin(run, jinja_find_method(&inner.self, &name), &inner, out);
}

static int t_lower(struct run *run, struct call *c, struct value *out)
{
    return case_test(run, c, "islower", out);
}

static int t_upper(struct run *run, struct call *c, struct value *out)
{
    return case_test(run, c, "isupper", out);
}

/* ---- numbers and comparisons ------------------------------------------------------------------------- */

static int divides(struct run *run, struct call *c, int64_t by, int64_t rest, struct value *out)
{
    struct value divisor = jinja_int(by), remainder, wanted = jinja_int(rest);
    bool same;
    TRY(jinja_binary(run, OP_MODULO, &c->self, &divisor, &remainder));
    TRY(jinja_equal(run, &remainder, &wanted, &same));
    return answer(out, same);
}

static int t_odd(struct run *run, struct call *c, struct value *out)
{
    return divides(run, c, 2, 1, out);
}

static int t_even(struct run *run, struct call *c, struct value *out)
{
    return divides(run, c, 2, 0, out);
}

static int t_divisibleby(struct run *run, struct call *c, struct value *out)
{
    int64_t by;
    TRY(jinja_as_int(run, &c->arg[0], "the divisor", &by));
    return divides(run, c, by, 0, out);
}

#define COMPARE_TEST(name, op)                                                                               \
    static int t_##name(struct run *run, struct call *c, struct value *out)                                  \
    {                                                                                                        \
        bool holds;                                                                                          \
        TRY(jinja_compare(run, op, &c->self, &c->arg[0], &holds));                                           \
        return answer(out, holds);                                                                           \
    }

COMPARE_TEST(eq, OP_EQUAL)
COMPARE_TEST(ne, OP_NOT_EQUAL)
COMPARE_TEST(lt, OP_LESS)
COMPARE_TEST(le, OP_LESS_EQUAL)
COMPARE_TEST(gt, OP_GREATER)
COMPARE_TEST(ge, OP_GREATER_EQUAL)
COMPARE_TEST(in, OP_IN)

static int t_sameas(struct run *run, struct call *c, struct value *out)
{
    TRY(jinja_spend(run, 1));
    return answer(out, jinja_same_object(&c->self, &c->arg[0]));
}

static int t_filter(struct run *run, struct call *c, struct value *out)
{
    struct text *t;
    TRY(jinja_as_text(run, &c->self, "a filter's name", &t));
    return answer(out, jinja_find_filter(t->s, t->len));
}

static int t_test(struct run *run, struct call *c, struct value *out)
{
    struct text *t;
    TRY(jinja_as_text(run, &c->self, "a test's name", &t));
    return answer(out, jinja_find_test(t->s, t->len));
}

static const struct builtin tests[] = {
    {"defined", t_defined, "", 0},    {"undefined", t_undefined, "", 0},
    {"none", t_none, "", 0},          {"boolean", t_boolean, "", 0},
    {"true", t_true, "", 0},          {"false", t_false, "", 0},
    {"integer", t_integer, "", 0},    {"float", t_float, "", 0},
    {"number", t_number, "", 0},      {"string", t_string, "", 0},
    {"mapping", t_mapping, "", 0},    {"iterable", t_iterable, "", 0},
    {"sequence", t_sequence, "", 0},  {"callable", t_callable, "", 0},
    {"escaped", t_escaped, "", 0},    {"lower", t_lower, "", 0},
    {"upper", t_upper, "", 0},        {"odd", t_odd, "", 0},
    {"even", t_even, "", 0},          {"divisibleby", t_divisibleby, "num", 1},
    {"eq", t_eq, "other", 1},         {"equalto", t_eq, "other", 1},
    {"==", t_eq, "other", 1},         {"ne", t_ne, "other", 1},
    {"!=", t_ne, "other", 1},         {"lt", t_lt, "other", 1},
    {"lessthan", t_lt, "other", 1},   {"<", t_lt, "other", 1},
    {"le", t_le, "other", 1},         {"<=", t_le, "other", 1},
    {"gt", t_gt, "other", 1},         {"greaterthan", t_gt, "other", 1},
    {">", t_gt, "other", 1},          {"ge", t_ge, "other", 1},
    {">=", t_ge, "other", 1},         {"in", t_in, "seq", 1},
    {"sameas", t_sameas, "other", 1}, {"filter", t_filter, "", 0},
    {"test", t_test, "", 0}};

const struct builtin *jinja_find_test(const char *name, size_t len)
{
    return jinja_find_row(tests, sizeof tests / sizeof *tests, name, len);
}

/* ---- global functions -------------------------------------------------------------------------------------
 */

static int g_range(struct run *run, struct call *c, struct value *out)
{
    int64_t bounds[3] = {0, 0, 1};
    for (size_t i = 0; i < 3 && c->arg[i].type != VALUE_MISSING; i++)
        TRY(jinja_as_int(run, &c->arg[i], "range's argument", &bounds[i]));
    int64_t first = bounds[0], last = bounds[1], step = bounds[2], distance = 0;
    if (c->arg[1].type == VALUE_MISSING) {
        last = first;
        first = 0;
    }
    if (step == 0)
        return jinja_fail(run, "range() arg 3 must not be zero");
    bool far = step > 0 ? __builtin_sub_overflow(last, first, &distance)
                        : __builtin_sub_overflow(first, last, &distance);
    uint64_t stride = step > 0 ? (uint64_t)step : -(uint64_t)step;
    uint64_t n = distance > 0 ? ((uint64_t)distance - 1) / stride + 1 : 0;
    if ((far && (step > 0) == (last > first)) || n > LIMIT_TEMPLATE_RANGE)
        return jinja_fail(run, "Range too big. The sandbox blocks ranges larger than %d.",
                          LIMIT_TEMPLATE_RANGE);
    n = far ? 0 : n;
    TRY(jinja_new_list(run, LIST_RANGE, (size_t)n, out));
    for (size_t i = 0; i < n; i++)
        out->list->items[i] = jinja_int(first + (int64_t)i * step);
    return 0;
}

static int fill_dict(struct run *run, struct call *c, struct value *out)
{
    TRY(jinja_new_dict(run, out));
    if (c->n_args > 1)
        return jinja_fail(run, "%s expected at most 1 argument, got %zu", c->name, c->n_args);
    if (c->n_args && c->args[0].type == VALUE_DICT) {
        const struct dict *d = c->args[0].dict;
        for (size_t i = 0; i < d->n; i++)
            TRY(jinja_dict_set(run, out->dict, d->entries[i].key, d->entries[i].value));
    } else if (c->n_args) {
        struct list *l, *pair;
        TRY(jinja_items(run, &c->args[0], &l));
        for (size_t i = 0; i < l->n; i++) {
            TRY(jinja_items(run, &l->items[i], &pair));
            if (pair->n != 2)
                return jinja_fail(run, "%s takes pairs; element %zu has length %zu", c->name, i, pair->n);
            TRY(jinja_dict_set(run, out->dict, pair->items[0], pair->items[1]));
        }
    }
    for (size_t i = 0; i < c->n_keywords; i++) {
        struct text *name = jinja_text_slice(run, c->keywords[i].name, 0, c->keywords[i].name->len);
        if (!name)
            return -1;
        TRY(jinja_dict_set(run, out->dict, jinja_of_text(name), c->keywords[i].value));
    }
    return 0;
}

static int g_namespace(struct run *run, struct call *c, struct value *out)
{
    TRY(fill_dict(run, c, out));
    out->type = VALUE_NAMESPACE;
    return 0;
}

static int g_cycler(struct run *run, struct call *c, struct value *out)
{
    struct value items;
    if (!c->n_args || c->n_keywords)
        return jinja_fail(run, "cycler() takes at least one item");
    TRY(jinja_new_list(run, LIST_LIST, c->n_args, &items));
    memcpy(items.list->items, c->args, c->n_args * sizeof *c->args);
    *out = (struct value){.type = VALUE_CYCLER, .cycle = items.list};
    return 0;
}

/* Two items: what the first call gives, and what all others give. */
static int g_joiner(struct run *run, struct call *c, struct value *out)
{
    struct value items;
    TRY(jinja_new_list(run, LIST_LIST, 2, &items));
    TRY(jinja_literal(run, "", &items.list->items[0]));
    if (c->arg[0].type == VALUE_MISSING)
        TRY(jinja_literal(run, ", ", &c->arg[0]));
    items.list->items[1] = c->arg[0];
    *out = (struct value){.type = VALUE_JOINER, .cycle = items.list};
    return 0;
}

/* The message is the template's own, for whoever sent the conversation: no line goes before it. */
static int g_raise_exception(struct run *run, struct call *c, struct value *out)
{
    struct text *t;
    TRY(jinja_to_text(run, &c->arg[0], &t));
    run->at = NULL;
    *out = jinja_none();
    char message[400];
    size_t n = t->len < sizeof message - 1 ? t->len : sizeof message - 1;
    while (n < t->len && n > 0 && ((unsigned char)t->s[n] & 0xc0) == 0x80)
        n--;
    for (size_t i = 0; i < n; i++)
        message[i] = t->s[i] ? t->s[i] : ' ';
    message[n] = 0;
    return jinja_fail(run, "%s", n ? message : "the template raised an exception without a message");
}

static int g_strftime_now(struct run *run, struct call *c, struct value *out)
{
    struct text *t;
    TRY(jinja_as_text(run, &c->arg[0], "strftime_now's format", &t));
    return jinja_strftime(run, t, out);
}

static const struct builtin globals[] = {{"range", g_range, "start,stop,step", 1},
                                         {"dict", fill_dict, "*", 0},
                                         {"namespace", g_namespace, "*", 0},
                                         {"cycler", g_cycler, "*", 0},
                                         {"joiner", g_joiner, "sep", 0},
                                         {"raise_exception", g_raise_exception, "message", 1},
                                         {"strftime_now", g_strftime_now, "format", 1}};

const struct builtin *jinja_find_global(const char *name, size_t len)
{
    return jinja_find_row(globals, sizeof globals / sizeof *globals, name, len);
}
