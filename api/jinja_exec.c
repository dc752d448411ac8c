/* jinja_exec.c - statements: output, scopes, loops, macros and blocks.
 * Scopes chain lexically; loops, macros, with- and set-blocks open one, conditions do not.
 * Thread: that of the run. */
#include <string.h>

#include "api/jinja_tree.h"
#include "engine/base/limits.h"

struct variable {
    uint32_t symbol;
    struct value value;
};

struct scope {
    struct scope *parent;
    struct variable *variables;
    size_t n, cap;
    bool captured; /* a macro may come back to it: it can't be used again */
};

/* What a statement asks of the loop around it. */
enum flow { FLOW_ERROR = -1, FLOW_NEXT, FLOW_BREAK, FLOW_CONTINUE };

static int exec(struct run *run, const struct node *n);
static int exec_body(struct run *run, const struct node *body);

/* ---- scopes ------------------------------------------------------------------------------------- */

static struct scope *new_scope(struct run *run, struct scope *parent)
{
    struct scope *s = jinja_alloc(run, 1, sizeof *s);
    if (s)
        s->parent = parent;
    return s;
}

static int set_variable(struct run *run, struct scope *s, uint32_t symbol, struct value v)
{
    for (size_t i = 0; i < s->n; i++)
        if (s->variables[i].symbol == symbol) {
            s->variables[i].value = v;
            return 0;
        }
    if (s->n == s->cap) {
        size_t cap = s->cap ? s->cap * 2 : 4;
        struct variable *variables = jinja_alloc(run, cap, sizeof *variables);
        if (!variables)
            return -1;
        if (s->n)
            memcpy(variables, s->variables, s->n * sizeof *variables);
        s->variables = variables;
        s->cap = cap;
    }
    s->variables[s->n++] = (struct variable){symbol, v};
    return jinja_spend(run, s->n / 8);
}

void jinja_lookup(struct run *run, uint32_t symbol, struct value *out)
{
    for (const struct scope *s = run->scope; s; s = s->parent)
        for (size_t i = 0; i < s->n; i++)
            if (s->variables[i].symbol == symbol) {
                *out = s->variables[i].value;
                return;
            }
    *out = run->globals[symbol];
    if (out->type == VALUE_MISSING)
        *out = jinja_undefined(WHY_NAME, NULL, run->t->symbols[symbol]);
}

static int assign_namespace(struct run *run, const struct node *target, struct value v)
{
    struct value ns;
    jinja_lookup(run, target->symbol, &ns);
    if (ns.type != VALUE_NAMESPACE)
        return jinja_fail(run, "cannot assign attribute on non-namespace object");
    return jinja_dict_set(run, ns.dict, jinja_of_text(target->text), v);
}

/* Tuples nest no deeper than the parser allows. */
static int assign(struct run *run, const struct node *target, struct value v)
{
    if (target->kind == NODE_NAME)
        return set_variable(run, run->scope, target->symbol, v);
    run->at = target;
    if (target->kind == NODE_NAMESPACE_REF)
        return assign_namespace(run, target, v);
    struct list *l;
    TRY(jinja_items(run, &v, &l));
    if (l->n != target->n_items)
        return jinja_fail(run,
                          l->n < target->n_items ? "not enough values to unpack (expected %zu, got %zu)"
                                                 : "too many values to unpack (expected %zu, got %zu)",
                          target->n_items, l->n);
    for (size_t i = 0; i < l->n; i++)
        TRY(assign(run, target->items[i], l->items[i]));
    return 0;
}

/* Runs a body with its output in b.  The scope is the caller's matter. */
static int capture(struct run *run, const struct node *body, struct builder *b)
{
    struct builder *outer = run->out;
    jinja_build(b, run);
    run->out = b;
    int flow = exec_body(run, body);
    run->out = outer;
    return flow;
}

/* ---- loops -------------------------------------------------------------------------------------------- */

/* The elements for which the loop's own condition holds. */
static int filter_list(struct run *run, const struct node *n, struct list **list)
{
    struct value kept, v;
    size_t cap = 0;
    struct scope *outer = run->scope;
    TRY(jinja_new_list(run, LIST_LIST, 0, &kept));
    if (!(run->scope = new_scope(run, outer)))
        return -1;
    for (size_t i = 0; i < (*list)->n; i++) {
        TRY(assign(run, n->a, (*list)->items[i]));
        TRY(jinja_eval(run, n->c, &v));
        if (jinja_truth(&v))
            TRY(jinja_list_add(run, kept.list, &cap, (*list)->items[i]));
    }
    run->scope = outer;
    *list = kept.list;
    return 0;
}

/* *whole: some turn reached its end.  Jinja runs the else branch unless one did. */
static int loop_turns(struct run *run, const struct node *n, struct loop *loop, bool *whole)
{
    struct scope *outer = run->scope, *scope = NULL;
    struct value self = {.type = VALUE_LOOP, .loop = loop};
    int flow = FLOW_NEXT;
    for (loop->at = 0; loop->at < loop->list->n && flow != FLOW_BREAK; loop->at++) {
        if (!scope || scope->captured)
            scope = new_scope(run, outer);
        if (!scope)
            return FLOW_ERROR;
        scope->n = 0;
        run->scope = scope;
        TRY(jinja_spend(run, 1));
        TRY(assign(run, n->a, loop->list->items[loop->at]));
        if (run->t->loop != UINT32_MAX)
            TRY(set_variable(run, scope, run->t->loop, self));
        flow = exec_body(run, n->items[0]);
        if (flow < 0)
            return flow;
        *whole |= flow == FLOW_NEXT;
    }
    run->scope = outer;
    return FLOW_NEXT;
}

static int exec_loop(struct run *run, const struct node *n, const struct value *sequence, unsigned depth)
{
    struct loop *loop = jinja_alloc(run, 1, sizeof *loop);
    if (!loop)
        return FLOW_ERROR;
    run->at = n;
    TRY(jinja_items(run, sequence, &loop->list));
    if (n->c)
        TRY(filter_list(run, n, &loop->list));
    loop->depth = depth;
    loop->node = n->op ? n : NULL;
    loop->outside = run->scope;
    bool whole = false;
    TRY(loop_turns(run, n, loop, &whole));
    if (whole || !n->items[1])
        return FLOW_NEXT;
    struct scope *outer = run->scope;
    if (!(run->scope = new_scope(run, outer)))
        return FLOW_ERROR;
    int flow = exec_body(run, n->items[1]);
    run->scope = outer;
    return flow;
}

static int exec_for(struct run *run, const struct node *n)
{
    struct value sequence;
    TRY(jinja_eval(run, n->b, &sequence));
    return exec_loop(run, n, &sequence, 1);
}

int jinja_call_loop(struct run *run, const struct loop *l, struct call *call, struct value *out)
{
    if (!l->node)
        return jinja_fail(run, "the loop must have the 'recursive' marker to be called recursively.");
    if (call->n_args != 1)
        return jinja_fail(run, "loop() takes one argument");
    if (++run->calls > LIMIT_TEMPLATE_DEPTH)
        return jinja_fail(run, "macros and loops call each other deeper than %d", LIMIT_TEMPLATE_DEPTH);
    struct builder b, *outer = run->out;
    struct scope *scope = run->scope;
    jinja_build(&b, run);
    run->out = &b;
    run->scope = l->outside;
    TRY(exec_loop(run, l->node, &call->args[0], l->depth + 1));
    run->out = outer;
    run->scope = scope;
    run->calls--;
    return jinja_built_value(&b, out);
}

static int loop_cycle(struct run *run, struct call *c, struct value *out)
{
    if (!c->n_args)
        return jinja_fail(run, "no items for cycling given");
    *out = c->args[c->self.loop->at % c->n_args];
    return 0;
}

static int loop_changed(struct run *run, struct call *c, struct value *out)
{
    struct value now, before = {.type = VALUE_LIST, .list = c->self.loop->changed};
    bool same = false;
    TRY(jinja_new_list(run, LIST_LIST, c->n_args, &now));
    for (size_t i = 0; i < c->n_args; i++)
        now.list->items[i] = c->args[i];
    if (before.list)
        TRY(jinja_equal(run, &before, &now, &same));
    c->self.loop->changed = now.list;
    *out = jinja_bool(!same);
    return 0;
}

static int loop_method(struct run *run, const struct value *loop, const struct text *name, struct value *out)
{
    static const struct builtin methods[] = {{"cycle", loop_cycle, "*", 0},
                                             {"changed", loop_changed, "*", 0}};
    const struct builtin *row = jinja_find_row(methods, 2, name->s, name->len);
    struct function *f = row ? jinja_alloc(run, 1, sizeof *f) : NULL;
    if (!f)
        return row ? -1 : 0;
    *f = (struct function){.row = row, .self = *loop};
    *out = (struct value){.type = VALUE_FUNCTION, .function = f};
    return 0;
}

int jinja_loop_attribute(struct run *run, const struct value *loop, struct text *name, struct value *out)
{
    const struct loop *l = loop->loop;
    int64_t at = (int64_t)l->at, n = (int64_t)l->list->n;
    const struct {
        const char *name;
        struct value value;
    } fields[] = {{"index", jinja_int(at + 1)},
                  {"index0", jinja_int(at)},
                  {"first", jinja_bool(at == 0)},
                  {"last", jinja_bool(at + 1 >= n)},
                  {"length", jinja_int(n)},
                  {"revindex", jinja_int(n - at)},
                  {"revindex0", jinja_int(n - at - 1)},
                  {"depth", jinja_int(l->depth)},
                  {"depth0", jinja_int(l->depth - 1)}};
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++)
        if (jinja_text_is(name, fields[i].name)) {
            *out = fields[i].value;
            return 0;
        }
    bool next = jinja_text_is(name, "nextitem");
    if (!next && !jinja_text_is(name, "previtem"))
        return loop_method(run, loop, name, out);
    if (next ? at + 1 < n : at > 0) {
        *out = l->list->items[next ? at + 1 : at - 1];
        return 0;
    }
    const char *why = next ? "there is no next item" : "there is no previous item";
    struct text *t = jinja_text(run, why, strlen(why), false);
    *out = jinja_undefined(WHY_TEXT, NULL, t);
    return t ? 0 : -1;
}

/* ---- macros -----------------------------------------------------------------------------------------------
 */

static int new_macro(struct run *run, const struct node *n, struct value *out)
{
    struct macro *m = jinja_alloc(run, 1, sizeof *m);
    if (!m)
        return -1;
    m->node = n;
    m->closure = run->scope;
    for (struct scope *s = run->scope; s && !s->captured; s = s->parent)
        s->captured = true;
    *out = (struct value){.type = VALUE_MACRO, .macro = m};
    return 0;
}

/* What the body asks for beside its parameters: varargs, kwargs, caller. */
static int bind_extras(struct run *run, const struct node *n, const struct call *call, const bool *taken)
{
    struct value extra, kwargs, caller = {.type = VALUE_MISSING};
    size_t positional = call->n_args > n->n_items ? call->n_args - n->n_items : 0;
    TRY(jinja_new_dict(run, &kwargs));
    for (size_t i = 0; i < call->n_keywords; i++) {
        const struct text *name = call->keywords[i].name;
        if (taken[i])
            continue;
        if ((n->op & MACRO_CALLER) && jinja_text_is(name, "caller")) {
            caller = call->keywords[i].value;
        } else if (n->op & MACRO_KWARGS) {
            struct text *copy = jinja_text_slice(run, name, 0, name->len);
            if (!copy)
                return -1;
            TRY(jinja_dict_set(run, kwargs.dict, jinja_of_text(copy), call->keywords[i].value));
        } else {
            return jinja_fail(run, "macro '%.*s' takes no keyword argument '%.*s'", (int)n->text->len,
                              n->text->s, (int)(name->len < 60 ? name->len : 60), name->s);
        }
    }
    if (positional && !(n->op & MACRO_VARARGS))
        return jinja_fail(run, "macro '%.*s' takes not more than %zu argument(s)", (int)n->text->len,
                          n->text->s, n->n_items);
    if (n->op & MACRO_VARARGS) {
        TRY(jinja_new_list(run, LIST_TUPLE, positional, &extra));
        for (size_t i = 0; i < positional; i++)
            extra.list->items[i] = call->args[n->n_items + i];
        TRY(set_variable(run, run->scope, run->t->varargs, extra));
    }
    if (n->op & MACRO_KWARGS)
        TRY(set_variable(run, run->scope, run->t->kwargs, kwargs));
    if (!(n->op & MACRO_CALLER))
        return 0;
    if (caller.type == VALUE_MISSING)
        caller = jinja_undefined(WHY_NAME, NULL, run->t->symbols[run->t->caller]);
    return set_variable(run, run->scope, run->t->caller, caller);
}

static int bind_parameters(struct run *run, const struct node *n, const struct call *call)
{
    bool *taken = jinja_alloc(run, call->n_keywords + 1, sizeof *taken);
    if (!taken)
        return -1;
    for (size_t i = 0; i < n->n_items; i++) {
        const struct node *parameter = n->items[i];
        struct value v = i < call->n_args ? call->args[i] : (struct value){.type = VALUE_MISSING};
        for (size_t k = 0; k < call->n_keywords; k++)
            if (jinja_text_same(call->keywords[k].name, parameter->text)) {
                if (v.type != VALUE_MISSING)
                    return jinja_fail(run, "macro got two values for '%.*s'", (int)parameter->text->len,
                                      parameter->text->s);
                v = call->keywords[k].value;
                taken[k] = true;
            }
        if (v.type == VALUE_MISSING && parameter->a)
            TRY(jinja_eval(run, parameter->a, &v));
        else if (v.type == VALUE_MISSING)
            v = jinja_undefined(WHY_PARAMETER, NULL, parameter->text);
        TRY(set_variable(run, run->scope, parameter->symbol, v));
    }
    TRY(jinja_spend(run, n->n_items * call->n_keywords));
    return bind_extras(run, n, call, taken);
}

int jinja_call_macro(struct run *run, const struct macro *m, struct call *call, struct value *out)
{
    struct scope *outer = run->scope;
    struct builder b;
    if (++run->calls > LIMIT_TEMPLATE_DEPTH)
        return jinja_fail(run, "macros and loops call each other deeper than %d", LIMIT_TEMPLATE_DEPTH);
    if (!(run->scope = new_scope(run, m->closure)))
        return -1;
    TRY(bind_parameters(run, m->node, call));
    TRY(capture(run, m->node->b, &b));
    run->scope = outer;
    run->calls--;
    return jinja_built_value(&b, out);
}

static int exec_macro(struct run *run, const struct node *n)
{
    struct value v;
    TRY(new_macro(run, n, &v));
    return set_variable(run, run->scope, n->symbol, v);
}

/* The block's body becomes a macro, handed to the call as `caller`. */
static int exec_call_block(struct run *run, const struct node *n)
{
    struct call call = {.name = "call"};
    struct value callee, caller, result;
    TRY(new_macro(run, n->b, &caller));
    TRY(jinja_eval(run, n->a->a, &callee));
    TRY(jinja_eval_arguments(run, n->a, &call));
    TRY(jinja_add_keyword(run, &call, n->b->text, caller));
    TRY(jinja_call(run, &callee, &call, &result));
    return jinja_print(run->out, &result);
}

/* ---- other statements -----------------------------------------------------------------------------------
 */

static int exec_output(struct run *run, const struct node *n)
{
    struct value v;
    TRY(jinja_eval(run, n->a, &v));
    run->at = n;
    TRY(jinja_print(run->out, &v));
    if (v.type == VALUE_TEXT)
        TRY(jinja_spend_bytes(run, v.text->len));
    return run->out->failed ? -1 : 0;
}

static int exec_if(struct run *run, const struct node *n)
{
    for (; n && n->kind == NODE_IF; n = n->c) {
        struct value v;
        TRY(jinja_eval(run, n->a, &v));
        if (jinja_truth(&v))
            return exec_body(run, n->b);
    }
    return n ? exec_body(run, n) : FLOW_NEXT;
}

static int exec_set(struct run *run, const struct node *n)
{
    struct value v;
    TRY(jinja_eval(run, n->b, &v));
    return assign(run, n->a, v);
}

/* The text of a block, in a scope of its own, after its filters. */
static int block_text(struct run *run, const struct node *body, const struct node *filters, struct value *out)
{
    struct scope *outer = run->scope;
    struct builder b;
    if (!(run->scope = new_scope(run, outer)))
        return -1;
    int flow = capture(run, body, &b);
    run->scope = outer;
    TRY(flow);
    TRY(jinja_built_value(&b, out));
    if (filters) {
        run->block_input = *out;
        TRY(jinja_eval(run, filters, out));
    }
    return flow;
}

static int exec_block(struct run *run, const struct node *n)
{
    struct value v;
    int flow = block_text(run, n->b, n->kind == NODE_FILTER_BLOCK ? n->a : n->c, &v);
    TRY(flow);
    if (n->kind == NODE_FILTER_BLOCK)
        TRY(jinja_print(run->out, &v));
    else
        TRY(assign(run, n->a, v));
    return flow;
}

static int exec_scope(struct run *run, const struct node *n)
{
    struct scope *outer = run->scope, *inner = new_scope(run, outer);
    if (!inner)
        return FLOW_ERROR;
    for (size_t i = 0; i < n->n_items; i += 2) {
        struct value v;
        run->scope = outer;
        TRY(jinja_eval(run, n->items[i + 1], &v));
        run->scope = inner;
        TRY(assign(run, n->items[i], v));
    }
    run->scope = inner;
    int flow = exec_body(run, n->a);
    run->scope = outer;
    return flow;
}

static int exec(struct run *run, const struct node *n)
{
    run->at = n;
    TRY(jinja_spend(run, 1));
    switch (n->kind) {
    case NODE_TEXT:
        jinja_add_text(run->out, n->text);
        return run->out->failed ? FLOW_ERROR : jinja_spend_bytes(run, n->text->len);
    case NODE_OUTPUT:
        return exec_output(run, n);
    case NODE_IF:
        return exec_if(run, n);
    case NODE_FOR:
        return exec_for(run, n);
    case NODE_SET:
        return exec_set(run, n);
    case NODE_SET_BLOCK:
    case NODE_FILTER_BLOCK:
        return exec_block(run, n);
    case NODE_MACRO:
        return exec_macro(run, n);
    case NODE_CALL_BLOCK:
        return exec_call_block(run, n);
    case NODE_WITH:
    case NODE_SCOPE:
        return exec_scope(run, n);
    case NODE_BREAK:
        return FLOW_BREAK;
    case NODE_CONTINUE:
        return FLOW_CONTINUE;
    default:
        return exec_body(run, n);
    }
}

static int exec_body(struct run *run, const struct node *body)
{
    int flow = FLOW_NEXT;
    TRY(jinja_deeper(run));
    for (size_t i = 0; flow == FLOW_NEXT && i < body->n_items; i++)
        flow = exec(run, body->items[i]);
    run->depth--;
    return flow;
}

int jinja_exec_root(struct run *run)
{
    if (!(run->scope = new_scope(run, NULL)))
        return -1;
    TRY(exec_body(run, run->t->root));
    return run->out->failed ? -1 : 0;
}
