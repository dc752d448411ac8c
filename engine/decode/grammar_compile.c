/* grammar_compile.c - see grammar_program.h: a tree to nodes, rule by rule, each expression from its end to
 * its beginning (Thompson, 1968).  Short repetitions are copied; long ones become a rule of their own that
 * counts. Recursion follows the brackets of the text, which are limited. */
#include <stdlib.h>
#include <string.h>

#include "engine/base/limits.h"
#include "engine/decode/grammar_program.h"

enum { COPIES = 32, COPIED_NODES = 256, SUFFIXES = 16 };

struct loop_todo {
    const struct expr *body;
    const char *name;
    uint32_t rule, min, max;
};

static int grow(void *pointer, uint32_t *cap, uint32_t n, size_t size)
{
    void **p = pointer;
    if (n < *cap)
        return 0;
    uint32_t more = *cap ? *cap * 2 : 256;
    void *grown = realloc(*p, more * size);
    if (!grown)
        return -1;
    *p = grown;
    *cap = more;
    return 0;
}

static int too_large(struct compiler *c)
{
    return error_param(c->error, ERROR_INVALID_REQUEST, "grammar",
                       "grammar: the rule %.100s makes it too large (more than %u places)", c->rule,
                       LIMIT_GRAMMAR_NODES);
}

uint32_t compile_node(struct compiler *c, enum node_kind kind, uint32_t next)
{
    struct program *p = c->program;
    if (p->n_nodes == LIMIT_GRAMMAR_NODES) {
        too_large(c);
        return NO_NODE;
    }
    if (grow(&p->nodes, &p->cap_nodes, p->n_nodes, sizeof *p->nodes) < 0) {
        error_no_memory(c->error);
        return NO_NODE;
    }
    p->nodes[p->n_nodes] = (struct node){.kind = (uint8_t)kind, .edges = p->n_edges, .next = next};
    return p->n_nodes++;
}

int compile_edge(struct compiler *c, uint32_t node, uint8_t first, uint8_t last, uint32_t to)
{
    struct program *p = c->program;
    if (p->n_edges == 4 * LIMIT_GRAMMAR_NODES)
        return too_large(c);
    if (grow(&p->edges, &p->cap_edges, p->n_edges, sizeof *p->edges) < 0)
        return error_no_memory(c->error);
    p->edges[p->n_edges++] = (struct edge){first, last, to};
    p->nodes[node].n_edges++;
    return 0;
}

static uint32_t byte_node(struct compiler *c, uint8_t first, uint8_t last, uint32_t to)
{
    uint32_t node = compile_node(c, NODE_BYTES, NO_NODE);
    return node != NO_NODE && compile_edge(c, node, first, last, to) == 0 ? node : NO_NODE;
}

static uint32_t split_node(struct compiler *c, uint32_t a, uint32_t b)
{
    uint32_t node = compile_node(c, NODE_SPLIT, NO_NODE);
    if (node == NO_NODE || compile_edge(c, node, 0, 0, a) < 0 || compile_edge(c, node, 0, 0, b) < 0)
        return NO_NODE;
    return node;
}

static uint32_t compile_bytes(struct compiler *c, const struct expr *x, uint32_t next)
{
    for (size_t i = x->len; i > 0 && next != NO_NODE; i--)
        next = byte_node(c, (uint8_t)x->text[i - 1], (uint8_t)x->text[i - 1], next);
    return next;
}

/* ---- classes: code points to their UTF-8 ------------------------------------------------------ */

struct sequence { /* of byte ranges; n of 1 .. 4 */
    uint8_t first[4], last[4];
    unsigned n;
};

struct class_work {
    struct compiler *c;
    uint32_t next;
    struct sequence *sequences;
    uint32_t n, cap;
    struct {
        uint8_t first, last;
        uint32_t to, node;
    } suffixes[SUFFIXES];
    unsigned n_suffixes;
};

static unsigned encode(uint32_t c, uint8_t out[4])
{
    if (c < 0x80) {
        out[0] = (uint8_t)c;
        return 1;
    }
    unsigned n = c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    for (unsigned i = n - 1; i > 0; i--, c >>= 6)
        out[i] = (uint8_t)(0x80 | (c & 0x3F));
    out[0] = (uint8_t)(c | (0xF00u >> n & 0xFF));
    return n;
}

static int add_sequence(struct class_work *w, uint32_t first, uint32_t last)
{
    if (grow(&w->sequences, &w->cap, w->n, sizeof *w->sequences) < 0)
        return error_no_memory(w->c->error);
    struct sequence *s = &w->sequences[w->n++];
    s->n = encode(first, s->first);
    encode(last, s->last);
    return 0;
}

/* Cuts a range until the bytes of its two ends span exactly what is between (Cox, 2010). */
static int add_range(struct class_work *w, uint32_t first, uint32_t last)
{
    static const uint32_t most[] = {0x7F, 0x7FF, 0xD7FF, 0xFFFF, 0x10FFFF};
    while (first <= last) {
        uint32_t end = last;
        if (first >= 0xD800 && first <= 0xDFFF) { /* no characters */
            first = 0xE000;
            continue;
        }
        for (size_t i = 0; i < sizeof most / sizeof most[0]; i++) {
            if (first <= most[i] && end > most[i])
                end = most[i];
        }
        for (unsigned bits = 6; first >= 0x80 && bits <= 18; bits += 6) {
            uint32_t mask = (1u << bits) - 1;
            if ((first & ~mask) == (end & ~mask))
                break;
            if (first & mask) {
                end = first | mask;
                break;
            }
            if ((end & mask) != mask)
                end = (end & ~mask) - 1;
        }
        TRY(add_sequence(w, first, end));
        first = end + 1;
    }
    return 0;
}

/* A node for one byte of a tail; equal tails share it. */
static uint32_t suffix_node(struct class_work *w, uint8_t first, uint8_t last, uint32_t to)
{
    for (unsigned i = 0; i < w->n_suffixes; i++) {
        if (w->suffixes[i].first == first && w->suffixes[i].last == last && w->suffixes[i].to == to)
            return w->suffixes[i].node;
    }
    uint32_t node = byte_node(w->c, first, last, to);
    if (node != NO_NODE && w->n_suffixes < SUFFIXES) {
        w->suffixes[w->n_suffixes].first = first;
        w->suffixes[w->n_suffixes].last = last;
        w->suffixes[w->n_suffixes].to = to;
        w->suffixes[w->n_suffixes++].node = node;
    }
    return node;
}

static uint32_t link_sequences(struct class_work *w)
{
    uint32_t *tails = malloc((w->n ? w->n : 1) * sizeof *tails), node = NO_NODE;
    if (!tails) {
        error_no_memory(w->c->error);
        return NO_NODE;
    }
    for (uint32_t i = 0; i < w->n; i++) {
        const struct sequence *s = &w->sequences[i];
        tails[i] = w->next;
        for (unsigned k = s->n - 1; k > 0 && tails[i] != NO_NODE; k--)
            tails[i] = suffix_node(w, s->first[k], s->last[k], tails[i]);
        if (tails[i] == NO_NODE)
            goto end;
    }
    node = compile_node(w->c, NODE_BYTES, NO_NODE);
    for (uint32_t i = 0; i < w->n && node != NO_NODE; i++) {
        const struct sequence *s = &w->sequences[i];
        if (compile_edge(w->c, node, s->first[0], s->last[0], tails[i]) < 0)
            node = NO_NODE;
    }
end:
    free(tails);
    return node;
}

static uint32_t compile_class(struct compiler *c, const struct expr *x, uint32_t next)
{
    struct class_work w = {.c = c, .next = next};
    uint32_t node = NO_NODE;
    int status = 0;
    for (size_t i = 0; i < x->n_ranges && status == 0; i++)
        status = add_range(&w, x->ranges[i].first, x->ranges[i].last);
    if (status == 0)
        node = link_sequences(&w);
    free(w.sequences);
    return node;
}

/* ---- the rest ---------------------------------------------------------------------------------- */

/* About how many nodes it makes, at most COPIED_NODES + 1. */
static uint32_t size_of(const struct expr *x)
{
    struct expr *memo = (struct expr *)(uintptr_t)x;
    uint64_t size = 1;
    if (x->size)
        return x->size;
    for (const struct expr *child = x->children; child && size <= COPIED_NODES; child = child->next)
        size += size_of(child);
    if (x->kind == EXPR_BYTES)
        size = x->len;
    else if (x->kind == EXPR_CLASS)
        size = x->n_ranges + (x->ranges[x->n_ranges - 1].last > 0x7F ? 4 : 0);
    else if (x->kind == EXPR_FREE)
        size = COPIED_NODES;
    else if (x->kind == EXPR_REPEAT && x->max != EXPR_ENDLESS && x->max <= COPIES &&
             x->max * size <= COPIED_NODES)
        size *= x->max ? x->max : 1;
    memo->size = size > COPIED_NODES ? COPIED_NODES + 1 : size ? (uint32_t)size : 1;
    return memo->size;
}

static uint32_t compile_sequence(struct compiler *c, const struct expr *x, uint32_t next)
{
    size_t n = 0;
    for (const struct expr *child = x->children; child; child = child->next)
        n++;
    const struct expr **list = malloc((n ? n : 1) * sizeof *list);
    if (!list) {
        error_no_memory(c->error);
        return NO_NODE;
    }
    n = 0;
    for (const struct expr *child = x->children; child; child = child->next)
        list[n++] = child;
    for (; n > 0 && next != NO_NODE; n--)
        next = compile_expr(c, list[n - 1], next);
    free(list);
    return next;
}

static uint32_t compile_choice(struct compiler *c, const struct expr *x, uint32_t next)
{
    size_t n = 0, made = 0;
    for (const struct expr *child = x->children; child; child = child->next)
        n++;
    uint32_t *entries = malloc(n * sizeof *entries), node = NO_NODE;
    if (!entries) {
        error_no_memory(c->error);
        return NO_NODE;
    }
    for (const struct expr *child = x->children; child; child = child->next) {
        entries[made] = compile_expr(c, child, next);
        if (entries[made++] == NO_NODE)
            goto end;
    }
    node = compile_node(c, NODE_SPLIT, NO_NODE);
    for (size_t i = 0; i < n && node != NO_NODE; i++) {
        if (compile_edge(c, node, 0, 0, entries[i]) < 0)
            node = NO_NODE;
    }
end:
    free(entries);
    return node;
}

/* x* and x+: what follows the body chooses. */
static uint32_t compile_star(struct compiler *c, const struct expr *x, uint32_t next, bool at_least_once)
{
    uint32_t split = split_node(c, NO_NODE, next);
    if (split == NO_NODE)
        return NO_NODE;
    uint32_t edge = c->program->nodes[split].edges, body = compile_expr(c, x, split);
    if (body == NO_NODE)
        return NO_NODE;
    c->program->edges[edge].to = body;
    return at_least_once ? body : split;
}

/* Copies: (x (x)?)? x x, from the end. */
static uint32_t compile_copies(struct compiler *c, const struct expr *x, uint32_t next)
{
    uint32_t after = next;
    for (uint32_t i = x->min; i < x->max && next != NO_NODE; i++) {
        uint32_t body = compile_expr(c, x->children, next);
        next = body == NO_NODE ? NO_NODE : split_node(c, body, after);
    }
    for (uint32_t i = 0; i < x->min && next != NO_NODE; i++)
        next = compile_expr(c, x->children, next);
    return next;
}

static int add_rule(struct compiler *c, const char *name)
{
    struct program *p = c->program;
    if (grow(&p->rules, &p->cap_rules, p->n_rules, sizeof *p->rules) < 0)
        return error_no_memory(c->error);
    p->rules[p->n_rules++] = (struct rule){.name = name};
    return 0;
}

static uint32_t compile_loop(struct compiler *c, const struct expr *x, uint32_t next)
{
    if (c->n_todo == c->cap_todo) {
        size_t cap = c->cap_todo ? c->cap_todo * 2 : 16;
        struct loop_todo *todo = realloc(c->todo, cap * sizeof *todo);
        if (!todo) {
            error_no_memory(c->error);
            return NO_NODE;
        }
        c->todo = todo;
        c->cap_todo = cap;
    }
    uint32_t rule = c->program->n_rules, node = compile_node(c, NODE_CALL, next);
    if (node == NO_NODE || add_rule(c, c->rule) < 0)
        return NO_NODE;
    c->program->nodes[node].value = rule;
    c->todo[c->n_todo++] = (struct loop_todo){x->children, c->rule, rule, x->min, x->max};
    return node;
}

static uint32_t compile_repeat(struct compiler *c, const struct expr *x, uint32_t next)
{
    if (x->max == 0)
        return next;
    if (x->max == EXPR_ENDLESS && x->min <= 1)
        return compile_star(c, x->children, next, x->min == 1);
    if (x->max == 1 || (x->max <= COPIES && (uint64_t)size_of(x->children) * x->max <= COPIED_NODES))
        return compile_copies(c, x, next);
    return compile_loop(c, x, next);
}

static uint32_t compile_value(struct compiler *c, enum node_kind kind, uint32_t value, uint32_t next)
{
    uint32_t node = compile_node(c, kind, next);
    if (node != NO_NODE)
        c->program->nodes[node].value = value;
    return node;
}

uint32_t compile_expr(struct compiler *c, const struct expr *x, uint32_t next)
{
    switch (x->kind) {
    case EXPR_BYTES:
        return compile_bytes(c, x, next);
    case EXPR_CLASS:
        return compile_class(c, x, next);
    case EXPR_TOKEN:
        return compile_value(c, NODE_TOKEN, (uint32_t)x->id, next);
    case EXPR_RULE:
        return compile_value(c, NODE_CALL, x->index, next);
    case EXPR_SEQUENCE:
        return compile_sequence(c, x, next);
    case EXPR_CHOICE:
        return compile_choice(c, x, next);
    case EXPR_REPEAT:
        return compile_repeat(c, x, next);
    case EXPR_FREE:
        return compile_triggers(c, x, next);
    case EXPR_TRIGGER:
        break;
    }
    return NO_NODE;
}

static int compile_rule(struct compiler *c, uint32_t index, const struct expr *body)
{
    uint32_t first = c->program->n_nodes, end = compile_node(c, NODE_END, NO_NODE);
    uint32_t entry = end == NO_NODE ? NO_NODE : compile_expr(c, body, end);
    if (entry == NO_NODE)
        return -1;
    struct rule *r = &c->program->rules[index];
    r->entry = entry;
    r->first_node = first;
    r->n_nodes = c->program->n_nodes - first;
    return 0;
}

static int compile_todo(struct compiler *c, const struct loop_todo *todo)
{
    uint32_t first = c->program->n_nodes, end = compile_node(c, NODE_END, NO_NODE);
    uint32_t loop = end == NO_NODE ? NO_NODE : compile_node(c, NODE_LOOP, end);
    if (loop == NO_NODE)
        return -1;
    uint32_t body = compile_expr(c, todo->body, loop);
    if (body == NO_NODE)
        return -1;
    struct node *node = &c->program->nodes[loop];
    node->body = body;
    node->min = todo->min;
    node->max = todo->max;
    struct rule *r = &c->program->rules[todo->rule];
    r->entry = loop;
    r->first_node = first;
    r->n_nodes = c->program->n_nodes - first;
    return 0;
}

static int compile_rules(struct compiler *c)
{
    struct program *p = c->program;
    for (size_t i = 0; i < c->tree->n_rules; i++) {
        const char *name = c->tree->rules[i].name;
        name = arena_copy(p->names, name, strlen(name));
        if (!name)
            return error_no_memory(c->error);
        TRY(add_rule(c, name));
    }
    for (size_t i = 0; i < c->tree->n_rules; i++) {
        c->rule = p->rules[i].name;
        TRY(compile_rule(c, (uint32_t)i, c->tree->rules[i].body));
    }
    for (size_t i = 0; i < c->n_todo; i++) {
        const struct loop_todo todo = c->todo[i]; /* the list may grow meanwhile */
        c->rule = todo.name;
        TRY(compile_todo(c, &todo));
    }
    return 0;
}

static void find_classes(struct program *p)
{
    bool begins[257] = {true};
    for (uint32_t i = 0; i < p->n_nodes; i++) {
        const struct node *node = &p->nodes[i];
        for (uint32_t k = 0; k < node->n_edges && node->kind == NODE_BYTES; k++) {
            begins[p->edges[node->edges + k].first] = true;
            begins[p->edges[node->edges + k].last + 1] = true;
        }
    }
    for (unsigned byte = 0; byte < 256; byte++) {
        if (begins[byte])
            p->class_byte[p->n_classes++] = (uint8_t)byte;
        p->byte_class[byte] = (uint8_t)(p->n_classes - 1);
    }
}

int grammar_compile(const struct grammar_tree *tree, struct program *out, struct error *e)
{
    struct compiler c = {.tree = tree, .program = out, .error = e};
    *out = (struct program){.names = arena_create(LIMIT_GRAMMAR_TREE)};
    int status = out->names ? compile_rules(&c) : error_no_memory(e);
    free(c.todo);
    if (status < 0)
        return -1;
    find_classes(out);
    return grammar_check(out, e);
}

void program_free(struct program *p)
{
    arena_free(p->names);
    free(p->nodes);
    free(p->edges);
    free(p->rules);
    *p = (struct program){0};
}
