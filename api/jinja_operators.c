/* jinja_operators.c - arithmetic and comparison with Python's rules and messages.
 * Integers have 64 bits: what Python would make larger is an error.
 * Called by jinja_eval.c and the filters; thread: that of the run. */
#include <math.h>
#include <string.h>

#include "api/jinja_tree.h"

static const char *operator_text(int op)
{
    static const char *const text[] = {
        "+", "-", "*", "/", "//", "%", "**", "==", "!=", "<", "<=", ">", ">=", "in", "not in"};
    return text[op];
}

static int unsupported(struct run *run, int op, const struct value *a, const struct value *b)
{
    if (a->type == VALUE_UNDEFINED || b->type == VALUE_UNDEFINED)
        return jinja_undefined_error(run, a->type == VALUE_UNDEFINED ? a : b);
    if (op == OP_ADD && (a->type == VALUE_TEXT || a->type == VALUE_LIST))
        return jinja_fail(run, "can only concatenate %s (not \"%s\") to %s", jinja_type_name(a),
                          jinja_type_name(b), jinja_type_name(a));
    return jinja_fail(run, "unsupported operand type(s) for %s: '%s' and '%s'", operator_text(op),
                      jinja_type_name(a), jinja_type_name(b));
}

static int power(struct run *run, int64_t base, int64_t exponent, struct value *out)
{
    if (exponent < 0) {
        if (!base)
            return jinja_fail(run, "0.0 cannot be raised to a negative power");
        *out = jinja_float(pow((double)base, (double)exponent));
        return 0;
    }
    int64_t result = 1;
    bool overflow = false;
    while (exponent && !overflow) {
        if (exponent & 1)
            overflow = __builtin_mul_overflow(result, base, &result);
        exponent >>= 1;
        if (exponent && !overflow)
            overflow = __builtin_mul_overflow(base, base, &base);
    }
    if (overflow)
        return jinja_fail(run, "an integer does not fit in 64 bits");
    *out = jinja_int(result);
    return 0;
}

static int integers(struct run *run, int op, int64_t a, int64_t b, struct value *out)
{
    int64_t result = 0;
    bool overflow = false;
    if ((op == OP_DIVIDE || op == OP_FLOOR_DIVIDE || op == OP_MODULO) && b == 0)
        return jinja_fail(run, "division by zero");
    switch (op) {
    case OP_ADD:
        overflow = __builtin_add_overflow(a, b, &result);
        break;
    case OP_SUBTRACT:
        overflow = __builtin_sub_overflow(a, b, &result);
        break;
    case OP_MULTIPLY:
        overflow = __builtin_mul_overflow(a, b, &result);
        break;
    case OP_DIVIDE:
        *out = jinja_float((double)a / (double)b);
        return 0;
    case OP_POWER:
        return power(run, a, b, out);
    default:
        overflow = a == INT64_MIN && b == -1;
        if (overflow)
            break;
        result = op == OP_MODULO ? a % b : a / b;
        if (a % b && (a < 0) != (b < 0))
            result += op == OP_MODULO ? b : -1;
    }
    if (overflow)
        return jinja_fail(run, "an integer does not fit in 64 bits");
    *out = jinja_int(result);
    return 0;
}

static int floats(struct run *run, int op, double a, double b, struct value *out)
{
    if ((op == OP_DIVIDE || op == OP_FLOOR_DIVIDE || op == OP_MODULO) && b == 0)
        return jinja_fail(run, "float division by zero");
    double remainder = 0;
    if (op == OP_FLOOR_DIVIDE || op == OP_MODULO) {
        remainder = fmod(a, b);
        if (remainder != 0 && (remainder < 0) != (b < 0))
            remainder += b;
    }
    switch (op) {
    case OP_ADD:
        *out = jinja_float(a + b);
        return 0;
    case OP_SUBTRACT:
        *out = jinja_float(a - b);
        return 0;
    case OP_MULTIPLY:
        *out = jinja_float(a * b);
        return 0;
    case OP_DIVIDE:
        *out = jinja_float(a / b);
        return 0;
    case OP_FLOOR_DIVIDE:
        *out = jinja_float(round((a - remainder) / b));
        return 0;
    case OP_MODULO:
        *out = jinja_float(remainder);
        return 0;
    default:
        *out = jinja_float(pow(a, b));
        if (isnan(out->real) && !isnan(a) && !isnan(b))
            return jinja_fail(run, "a power has no real value");
        return 0;
    }
}

static int repeat_text(struct run *run, const struct text *t, int64_t times, struct value *out)
{
    struct builder b;
    size_t total;
    jinja_build(&b, run);
    uint64_t n = times > 0 && t->len ? (uint64_t)times : 0;
    if (__builtin_mul_overflow(t->len, n, &total) || total > run->max_memory)
        return jinja_fail(run, "a text of %lld times %zu bytes is too large", (long long)times, t->len);
    for (uint64_t i = 0; i < n && !b.failed; i++) {
        jinja_add_text(&b, t);
        TRY(jinja_spend(run, 1));
    }
    TRY(jinja_built_value(&b, out));
    out->text->markup = t->markup;
    return 0;
}

static int repeat_list(struct run *run, const struct list *l, int64_t times, struct value *out)
{
    size_t total, n = times > 0 ? (size_t)times : 0;
    if (__builtin_mul_overflow(l->n, n, &total))
        return jinja_fail(run, "a list of %lld times %zu elements is too large", (long long)times, l->n);
    TRY(jinja_new_list(run, l->kind, total, out));
    for (size_t i = 0; i < total; i++)
        out->list->items[i] = l->items[i % l->n];
    return 0;
}

static int join_lists(struct run *run, const struct list *a, const struct list *b, struct value *out)
{
    TRY(jinja_new_list(run, a->kind, a->n + b->n, out));
    if (a->n)
        memcpy(out->list->items, a->items, a->n * sizeof *a->items);
    if (b->n)
        memcpy(out->list->items + a->n, b->items, b->n * sizeof *b->items);
    return 0;
}

static int join_texts(struct run *run, struct text *a, struct text *b, struct value *out)
{
    bool markup = a->markup || b->markup;
    if (markup && !(a->markup && b->markup)) {
        a = jinja_text_escape(run, a);
        b = jinja_text_escape(run, b);
    }
    struct text *t = a && b ? jinja_text_join(run, a, b) : NULL;
    if (!t)
        return -1;
    t->markup = markup;
    *out = jinja_of_text(t);
    return 0;
}

static bool is_plain_list(const struct value *v)
{
    return v->type == VALUE_LIST && v->list->kind <= LIST_TUPLE;
}

static bool is_integer(const struct value *v)
{
    return v->type == VALUE_INT || v->type == VALUE_BOOL;
}

static int64_t integer_of(const struct value *v)
{
    return v->type == VALUE_INT ? v->integer : v->boolean;
}

static int multiply_sequence(struct run *run, const struct value *sequence, const struct value *times,
                             struct value *out)
{
    if (sequence->type == VALUE_TEXT)
        return repeat_text(run, sequence->text, integer_of(times), out);
    return repeat_list(run, sequence->list, integer_of(times), out);
}

static bool is_sequence(const struct value *v)
{
    return v->type == VALUE_TEXT || is_plain_list(v);
}

/* text % arguments.  As in Python, what might be a mapping need not be used up. */
static int format_operator(struct run *run, const struct value *a, const struct value *b, struct value *out)
{
    struct call call = {.name = "%"};
    bool tuple = b->type == VALUE_LIST && b->list->kind == LIST_TUPLE;
    for (size_t i = 0; tuple && i < b->list->n; i++)
        TRY(jinja_add_argument(run, &call, b->list->items[i]));
    if (!tuple)
        TRY(jinja_add_argument(run, &call, *b));
    for (size_t i = 0; b->type == VALUE_DICT && i < b->dict->n; i++)
        if (b->dict->entries[i].key.type == VALUE_TEXT)
            TRY(jinja_add_keyword(run, &call, b->dict->entries[i].key.text, b->dict->entries[i].value));
    bool strict = tuple || (b->type != VALUE_LIST && b->type != VALUE_DICT);
    return jinja_format_percent(run, a->text, &call, strict, out);
}

int jinja_binary(struct run *run, int op, const struct value *a, const struct value *b, struct value *out)
{
    if (is_integer(a) && is_integer(b))
        return integers(run, op, integer_of(a), integer_of(b), out);
    if (jinja_is_number(a) && jinja_is_number(b))
        return floats(run, op, jinja_as_double(a), jinja_as_double(b), out);
    if (op == OP_ADD && a->type == VALUE_TEXT && b->type == VALUE_TEXT)
        return join_texts(run, a->text, b->text, out);
    if (op == OP_ADD && is_plain_list(a) && is_plain_list(b) && a->list->kind == b->list->kind)
        return join_lists(run, a->list, b->list, out);
    if (op == OP_MULTIPLY && is_sequence(a) && is_integer(b))
        return multiply_sequence(run, a, b, out);
    if (op == OP_MULTIPLY && is_sequence(b) && is_integer(a))
        return multiply_sequence(run, b, a, out);
    if (op == OP_MODULO && a->type == VALUE_TEXT && b->type != VALUE_UNDEFINED)
        return format_operator(run, a, b, out);
    return unsupported(run, op, a, b);
}

int jinja_compare(struct run *run, int op, const struct value *a, const struct value *b, bool *out)
{
    if (op == OP_EQUAL || op == OP_NOT_EQUAL) {
        TRY(jinja_equal(run, a, b, out));
        *out ^= op == OP_NOT_EQUAL;
        return 0;
    }
    if (op == OP_IN || op == OP_NOT_IN) {
        TRY(jinja_contains(run, b, a, out));
        *out ^= op == OP_NOT_IN;
        return 0;
    }
    int order;
    TRY(jinja_order(run, a, b, operator_text(op), &order));
    *out = order != 2 && (op == OP_LESS         ? order < 0
                          : op == OP_LESS_EQUAL ? order <= 0
                          : op == OP_GREATER    ? order > 0
                                                : order >= 0);
    return 0;
}
