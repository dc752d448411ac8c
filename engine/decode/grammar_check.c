/* grammar_check.c - see grammar_program.h: rules that could not run, found before anything is generated.
 * A rule's height and whether it can be empty are found in rounds: what one round finds lets rules that call
 * it be looked at again, so the work is at most (calls between rules) x (nodes of a rule). */
#include <stdlib.h>
#include <string.h>

#include "engine/base/limits.h"
#include "engine/decode/grammar_program.h"

struct check {
    struct program *p;
    uint8_t *visits;   /* (nodes) of the walk through one rule */
    uint32_t *stack;   /* (nodes + edges + 1) */
    uint32_t *callers; /* of rule r: callers[starts[r] … starts[r + 1]) */
    uint32_t *starts;
    uint32_t *queue; /* (rules) each waits at most once */
    bool *waits, *known;
    uint64_t work;
};

/* The least work that stops a hostile grammar; real ones need a thousandth. */
#define MOST_WORK (UINT64_C(100) * LIMIT_GRAMMAR_NODES)

static int allocate(struct check *k)
{
    const struct program *p = k->p;
    k->visits = calloc(p->n_nodes, 1);
    k->stack = malloc(((size_t)p->n_nodes * 3 + p->n_edges + 1) * sizeof *k->stack);
    k->starts = calloc(p->n_rules + 1u, sizeof *k->starts);
    k->callers = malloc(((size_t)p->n_nodes + 1) * sizeof *k->callers);
    k->queue = malloc(p->n_rules * sizeof *k->queue);
    k->waits = calloc(p->n_rules, sizeof *k->waits);
    k->known = calloc(p->n_rules, sizeof *k->known);
    return k->visits && k->stack && k->starts && k->callers && k->queue && k->waits && k->known ? 0 : -1;
}

static void release(struct check *k)
{
    void *all[] = {k->visits, k->stack, k->starts, k->callers, k->queue, k->waits, k->known};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        free(all[i]);
}

/* Who calls whom. */
static void find_callers(struct check *k)
{
    const struct program *p = k->p;
    for (uint32_t i = 0; i < p->n_nodes; i++) {
        if (p->nodes[i].kind == NODE_CALL)
            k->starts[p->nodes[i].value + 1]++;
    }
    for (uint32_t r = 0; r < p->n_rules; r++) {
        k->starts[r + 1] += k->starts[r];
        k->queue[r] = k->starts[r]; /* where the next caller of r goes */
    }
    for (uint32_t r = 0; r < p->n_rules; r++) {
        for (uint32_t i = 0; i < p->rules[r].n_nodes; i++) {
            const struct node *node = &p->nodes[p->rules[r].first_node + i];
            if (node->kind == NODE_CALL)
                k->callers[k->queue[node->value]++] = r;
        }
    }
}

/* Nodes reachable from a rule's entry, with `reads` past bytes and tokens, and past calls of known rules.
 * Returns whether its END is. */
static bool walk(struct check *k, const struct rule *r, bool reads)
{
    const struct program *p = k->p;
    size_t n = 0;
    bool ends = false;
    memset(k->visits + r->first_node, 0, r->n_nodes);
    k->work += r->n_nodes;
    k->stack[n++] = r->entry;
    while (n > 0) {
        uint32_t at = k->stack[--n];
        const struct node *node = &p->nodes[at];
        if (k->visits[at] >= (node->kind == NODE_LOOP ? 2 : 1))
            continue;
        k->visits[at]++;
        if (node->kind == NODE_END) {
            ends = true;
        } else if (node->kind == NODE_SPLIT || (node->kind == NODE_BYTES && reads)) {
            for (uint32_t i = 0; i < node->n_edges; i++)
                k->stack[n++] = p->edges[node->edges + i].to;
        } else if (node->kind == NODE_LOOP) {
            if (k->visits[at] == 1)
                k->stack[n++] = node->body;
            if (node->min == 0 || k->visits[at] == 2)
                k->stack[n++] = node->next;
        } else if (node->kind == NODE_CALL ? k->known[node->value] : node->kind != NODE_BYTES && reads) {
            k->stack[n++] = node->next;
        }
    }
    return ends;
}

static void wait(struct check *k, uint32_t rule, size_t *n)
{
    if (!k->waits[rule] && !k->known[rule])
        k->queue[(*n)++] = rule;
    k->waits[rule] = true;
}

/* Marks as known, in rounds, every rule whose END is reachable; height is the round.  False: too much work.
 */
static bool find_known(struct check *k, bool reads)
{
    const struct program *p = k->p;
    size_t n = 0;
    memset(k->known, 0, p->n_rules);
    for (uint32_t r = 0; r < p->n_rules; r++)
        wait(k, r, &n);
    uint32_t *found = malloc(p->n_rules * sizeof *found);
    for (uint32_t round = 1; found && n > 0; round++) {
        size_t n_found = 0;
        for (size_t i = 0; i < n; i++) {
            struct rule *r = &k->p->rules[k->queue[i]];
            k->waits[k->queue[i]] = false;
            if (k->work > MOST_WORK || !walk(k, r, reads))
                continue;
            found[n_found++] = k->queue[i];
            r->height = reads ? round : r->height;
            r->nullable = reads ? r->nullable : true;
        }
        n = 0;
        for (size_t i = 0; i < n_found; i++)
            k->known[found[i]] = true;
        for (size_t i = 0; i < n_found; i++) {
            for (uint32_t c = k->starts[found[i]]; c < k->starts[found[i] + 1]; c++)
                wait(k, k->callers[c], &n);
        }
    }
    free(found);
    return found && k->work <= MOST_WORK;
}

static int refuse(struct error *e, const struct rule *r, const char *what)
{
    return error_param(e, ERROR_INVALID_REQUEST, "grammar", "grammar: the rule %.100s %s", r->name, what);
}

static int check_heights(const struct program *p, struct error *e)
{
    for (uint32_t r = 0; r < p->n_rules; r++) {
        if (p->rules[r].height == 0)
            return refuse(e, &p->rules[r], "can never end: every way through it leads back to it");
        if (p->rules[r].height > LIMIT_GRAMMAR_DEPTH)
            return refuse(e, &p->rules[r], "needs too many rules inside each other");
    }
    return 0;
}

/* A loop whose body can be empty need not count up to its minimum; an upper bound would be counted forever.
 */
static int check_loops(struct check *k, struct error *e)
{
    struct program *p = k->p;
    for (uint32_t r = 0; r < p->n_rules; r++) {
        struct node *loop = &p->nodes[p->rules[r].entry];
        if (loop->kind != NODE_LOOP)
            continue;
        walk(k, &p->rules[r], false);
        loop->loops_on_nothing = k->visits[p->rules[r].entry] == 2;
        if (loop->loops_on_nothing && loop->max != EXPR_ENDLESS)
            return refuse(e, &p->rules[r], "repeats, up to a number, something that can be empty");
        if (loop->loops_on_nothing)
            loop->min = 0;
    }
    return 0;
}

/* Rules that a rule may begin with, into k->stack's end; depth first over them all. */
static int check_recursion(struct check *k, struct error *e)
{
    enum { NEW, OPEN, DONE };
    const struct program *p = k->p;
    uint8_t *state = calloc(p->n_rules, 1);
    struct {
        uint32_t rule, next, end; /* calls[next … end) are still to be looked at */
    } *path = malloc(p->n_rules * sizeof *path);
    uint32_t *calls = malloc(((size_t)p->n_nodes + 1) * sizeof *calls), n_calls = 0;
    int status = state && path && calls ? 0 : error_no_memory(e);
    for (uint32_t root = 0; status == 0 && root < p->n_rules; root++) {
        size_t depth = 0;
        uint32_t enter = state[root] == NEW ? root : NO_NODE;
        while (enter != NO_NODE || depth > 0) {
            if (enter != NO_NODE) {
                const struct rule *r = &p->rules[enter];
                walk(k, r, false);
                path[depth].rule = enter;
                path[depth].next = n_calls;
                for (uint32_t i = 0; i < r->n_nodes; i++) {
                    if (k->visits[r->first_node + i] && p->nodes[r->first_node + i].kind == NODE_CALL)
                        calls[n_calls++] = p->nodes[r->first_node + i].value;
                }
                path[depth++].end = n_calls;
                state[enter] = OPEN;
                enter = NO_NODE;
            } else if (path[depth - 1].next == path[depth - 1].end) {
                state[path[--depth].rule] = DONE;
            } else {
                uint32_t callee = calls[path[depth - 1].next++];
                enter = state[callee] == NEW ? callee : NO_NODE;
                if (state[callee] == OPEN) {
                    status = refuse(e, &p->rules[callee],
                                    "begins with itself (left recursion); write it as a "
                                    "repetition");
                    break;
                }
            }
        }
    }
    free(state);
    free(path);
    free(calls);
    return status;
}

static int check_all(struct check *k, struct error *e)
{
    if (allocate(k) < 0)
        return error_no_memory(e);
    find_callers(k);
    if (!find_known(k, true))
        return error_param(e, ERROR_INVALID_REQUEST, "grammar", "the grammar is too large");
    TRY(check_heights(k->p, e));
    if (!find_known(k, false))
        return error_param(e, ERROR_INVALID_REQUEST, "grammar", "the grammar is too large");
    TRY(check_loops(k, e));
    return check_recursion(k, e);
}

int grammar_check(struct program *p, struct error *e)
{
    struct check k = {.p = p};
    int status = check_all(&k, e);
    release(&k);
    return status;
}
