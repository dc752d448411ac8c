/* jinja_eval.c - expressions of the tree to values.  Recursion follows the tree, whose height the
 * parser bounds, and macros, whose depth run->calls bounds; run->depth bounds both together.
 * Thread: that of the run. */
#include <string.h>

#include "api/jinja_tree.h"

static int eval_items(struct run *run, const struct node *n, enum list_kind kind, struct value *out)
{
    struct value list;
    TRY(jinja_new_list(run, kind, n->n_items, &list));
    for (size_t i = 0; i < n->n_items; i++)
        TRY(jinja_eval(run, n->items[i], &list.list->items[i]));
    *out = list;
    return 0;
}

static int eval_dict(struct run *run, const struct node *n, struct value *out)
{
    struct value dict;
    TRY(jinja_new_dict(run, &dict));
    for (size_t i = 0; i < n->n_items; i += 2) {
        struct value key, v;
        TRY(jinja_eval(run, n->items[i], &key));
        TRY(jinja_eval(run, n->items[i + 1], &v));
        TRY(jinja_dict_set(run, dict.dict, key, v));
    }
    *out = dict;
    return 0;
}

static int eval_attribute(struct run *run, const struct node *n, struct value *out)
{
    struct value object;
    TRY(jinja_eval(run, n->a, &object));
    run->at = n;
    return jinja_attribute(run, &object, n->text, out);
}

static int eval_index(struct run *run, const struct node *n, struct value *out)
{
    struct value object, index;
    TRY(jinja_eval(run, n->a, &object));
    TRY(jinja_eval(run, n->b, &index));
    run->at = n;
    return jinja_index(run, &object, &index, out);
}

static int eval_slice(struct run *run, const struct node *n, struct value *out)
{
    struct value object, bounds[3] = {{0}};
    TRY(jinja_eval(run, n->a, &object));
    for (size_t i = 0; i < 3; i++)
        if (n->items[i])
            TRY(jinja_eval(run, n->items[i], &bounds[i]));
    run->at = n;
    return jinja_slice(run, &object, bounds, out);
}

static int spread_mapping(struct run *run, struct call *call, const struct value *v)
{
    if (v->type != VALUE_DICT)
        return jinja_fail(run, "argument after ** must be a mapping, not %s", jinja_type_name(v));
    for (size_t i = 0; i < v->dict->n; i++) {
        const struct dict_entry *e = &v->dict->entries[i];
        if (e->key.type != VALUE_TEXT)
            return jinja_fail(run, "keywords must be strings");
        TRY(jinja_add_keyword(run, call, e->key.text, e->value));
    }
    return 0;
}

int jinja_eval_arguments(struct run *run, const struct node *n, struct call *call)
{
    for (size_t i = 0; i < n->n_items; i++) {
        const struct node *item = n->items[i];
        bool plain = item->kind != NODE_KEYWORD && item->kind != NODE_STAR && item->kind != NODE_STAR_STAR;
        struct value v;
        TRY(jinja_eval(run, plain ? item : item->a, &v));
        if (plain) {
            TRY(jinja_add_argument(run, call, v));
        } else if (item->kind == NODE_KEYWORD) {
            TRY(jinja_add_keyword(run, call, item->text, v));
        } else if (item->kind == NODE_STAR_STAR) {
            TRY(spread_mapping(run, call, &v));
        } else {
            struct list *l;
            TRY(jinja_items(run, &v, &l));
            for (size_t k = 0; k < l->n; k++)
                TRY(jinja_add_argument(run, call, l->items[k]));
        }
    }
    run->at = n;
    return 0;
}

/* object.method(…) is called without making a bound method first. */
static int eval_call(struct run *run, const struct node *n, struct value *out)
{
    struct call call = {.name = "call"};
    struct value callee;
    const struct builtin *method = NULL;
    if (n->a->kind == NODE_ATTRIBUTE) {
        TRY(jinja_eval(run, n->a->a, &call.self));
        method = jinja_find_method(&call.self, n->a->text);
        run->at = n->a;
        if (!method)
            TRY(jinja_attribute(run, &call.self, n->a->text, &callee));
    } else {
        TRY(jinja_eval(run, n->a, &callee));
    }
    if (!method && callee.type == VALUE_UNDEFINED)
        return jinja_undefined_error(run, &callee);
    TRY(jinja_eval_arguments(run, n, &call));
    return method ? jinja_call_builtin(run, method, &call, out) : jinja_call(run, &callee, &call, out);
}

/* Filters and tests. */
static int eval_builtin(struct run *run, const struct node *n, struct value *out)
{
    struct call call = {.self = run->block_input};
    if (!n->row)
        return jinja_fail(run, "No %s named '%.*s' found.", n->kind == NODE_FILTER ? "filter" : "test",
                          (int)(n->text->len < 60 ? n->text->len : 60), n->text->s);
    if (n->a)
        TRY(jinja_eval(run, n->a, &call.self));
    TRY(jinja_eval_arguments(run, n, &call));
    return jinja_call_builtin(run, n->row, &call, out);
}

static int eval_if_else(struct run *run, const struct node *n, struct value *out)
{
    struct value condition;
    TRY(jinja_eval(run, n->a, &condition));
    if (jinja_truth(&condition))
        return jinja_eval(run, n->b, out);
    if (n->c)
        return jinja_eval(run, n->c, out);
    static const char why[] = "the inline if-expression evaluated to false and no else section was defined.";
    struct text *t = jinja_text(run, why, sizeof why - 1, false);
    *out = jinja_undefined(WHY_TEXT, NULL, t);
    return t ? 0 : -1;
}

static int eval_logic(struct run *run, const struct node *n, struct value *out)
{
    TRY(jinja_eval(run, n->a, out));
    return jinja_truth(out) == (n->kind == NODE_AND) ? jinja_eval(run, n->b, out) : 0;
}

static int eval_not(struct run *run, const struct node *n, struct value *out)
{
    struct value v;
    TRY(jinja_eval(run, n->a, &v));
    *out = jinja_bool(!jinja_truth(&v));
    return 0;
}

static int eval_sign(struct run *run, const struct node *n, struct value *out)
{
    struct value v, zero = jinja_int(0);
    TRY(jinja_eval(run, n->a, &v));
    run->at = n;
    if (v.type == VALUE_UNDEFINED)
        return jinja_undefined_error(run, &v);
    if (!jinja_is_number(&v))
        return jinja_fail(run, "bad operand type for unary %s: '%s'", n->kind == NODE_NEGATE ? "-" : "+",
                          jinja_type_name(&v));
    if (v.type == VALUE_FLOAT) {
        *out = jinja_float(n->kind == NODE_NEGATE ? -v.real : v.real);
        return 0;
    }
    return jinja_binary(run, n->kind == NODE_NEGATE ? OP_SUBTRACT : OP_ADD, &zero, &v, out);
}

static int eval_binary(struct run *run, const struct node *n, struct value *out)
{
    struct value a, b;
    TRY(jinja_eval(run, n->a, &a));
    TRY(jinja_eval(run, n->b, &b));
    run->at = n;
    return jinja_binary(run, n->op, &a, &b, out);
}

/* a < b < c: each operand once, and no further than the first that fails. */
static int eval_compare(struct run *run, const struct node *n, struct value *out)
{
    struct value left, right;
    bool holds = true;
    TRY(jinja_eval(run, n->a, &left));
    for (size_t i = 0; holds && i < n->n_items; i++) {
        TRY(jinja_eval(run, n->items[i]->a, &right));
        run->at = n->items[i];
        TRY(jinja_compare(run, n->items[i]->op, &left, &right, &holds));
        left = right;
    }
    *out = jinja_bool(holds);
    return 0;
}

static int eval_concat(struct run *run, const struct node *n, struct value *out)
{
    struct text *all = NULL;
    for (size_t i = 0; i < n->n_items; i++) {
        struct value v;
        struct text *t;
        TRY(jinja_eval(run, n->items[i], &v));
        run->at = n;
        TRY(jinja_to_text(run, &v, &t));
        all = all ? jinja_text_join(run, all, t) : t;
        if (!all)
            return -1;
    }
    *out = jinja_of_text(all);
    return 0;
}

static int eval_kind(struct run *run, const struct node *n, struct value *out)
{
    switch (n->kind) {
    case NODE_LIST:
        return eval_items(run, n, LIST_LIST, out);
    case NODE_TUPLE:
        return eval_items(run, n, LIST_TUPLE, out);
    case NODE_DICT:
        return eval_dict(run, n, out);
    case NODE_ATTRIBUTE:
        return eval_attribute(run, n, out);
    case NODE_INDEX:
        return eval_index(run, n, out);
    case NODE_SLICE:
        return eval_slice(run, n, out);
    case NODE_CALL:
        return eval_call(run, n, out);
    case NODE_FILTER:
    case NODE_TEST:
        return eval_builtin(run, n, out);
    case NODE_IF_ELSE:
        return eval_if_else(run, n, out);
    case NODE_AND:
    case NODE_OR:
        return eval_logic(run, n, out);
    case NODE_NOT:
        return eval_not(run, n, out);
    case NODE_NEGATE:
    case NODE_PLUS:
        return eval_sign(run, n, out);
    case NODE_BINARY:
        return eval_binary(run, n, out);
    case NODE_COMPARE:
        return eval_compare(run, n, out);
    default:
        return eval_concat(run, n, out);
    }
}

int jinja_eval(struct run *run, const struct node *n, struct value *out)
{
    run->at = n;
    TRY(jinja_spend(run, 1));
    if (n->kind == NODE_CONST) {
        *out = n->value;
        return 0;
    }
    if (n->kind == NODE_NAME) {
        jinja_lookup(run, n->symbol, out);
        return 0;
    }
    TRY(jinja_deeper(run));
    int result = eval_kind(run, n, out);
    run->depth--;
    return result;
}
