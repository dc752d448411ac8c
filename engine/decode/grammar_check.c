/* grammar_check.c - see grammar_program.h: rules that could not run, found before anything is generated.
 * A rule's height and whether it can be empty are found in rounds: what one round finds lets rules that call
 * it be looked at again, so the work is at most (calls between rules) x (nodes of a rule). */
#include <stdlib.h>
#include <string.h>

#include "engine/base/limits.h"
#include "engine/decode/grammar_program.h"

struct queue { /* of rules to be looked at */
    uint32_t *rules;
    bool *waits;
    size_t n;
};

struct check {
    struct program *p;
    uint8_t *visits;   /* (nodes) of the walk through one rule */
    uint32_t *stack;   /* (nodes + edges + 1) */
    uint32_t *callers; /* of rule r: callers[starts[r] … starts[r + 1]) */
    uint32_t *starts;
    uint32_t *filled; /* (rules) */
    struct queue queues[2];
    size_t cap_queue;
    uint32_t *known; /* (rules) the round in which it was found, or 0 */
    uint32_t round;
    uint64_t work;
};

/* Where a hostile grammar is given up; real ones need a thousandth. */
#define MOST_WORK (UINT64_C(100) * LIMIT_GRAMMAR_NODES)

static int allocate(struct check *k)
{
    const struct program *p = k->p;
    k->visits = calloc(p->n_nodes, 1);
    k->stack = malloc(((size_t)p->n_nodes * 3 + p->n_edges + 1) * sizeof *k->stack);
    k->starts = calloc(p->n_rules + 1u, sizeof *k->starts);
    k->callers = malloc(((size_t)p->n_nodes + 1) * sizeof *k->callers);
    k->filled = malloc(p->n_rules * sizeof *k->filled);
    k->known = calloc(p->n_rules, sizeof *k->known);
    k->cap_queue = (size_t)p->n_rules * 2 + p->n_nodes; /* a caller comes back for each rule that it calls */
    bool good = k->visits && k->stack && k->starts && k->callers && k->filled && k->known;
    for (int i = 0; i < 2; i++) {
        k->queues[i].rules = malloc(k->cap_queue * sizeof *k->queues[i].rules);
        k->queues[i].waits = calloc(p->n_rules, sizeof *k->queues[i].waits);
        good = good && k->queues[i].rules && k->queues[i].waits;
    }
    return good ? 0 : -1;
}

static void release(struct check *k)
{
    void *all[] = {k->visits, k->stack,           k->starts,          k->callers,         k->filled,
                   k->known,  k->queues[0].rules, k->queues[0].waits, k->queues[1].rules, k->queues[1].waits};
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
        k->filled[r] = k->starts[r]; /* where the next caller of r goes */
    }
    for (uint32_t r = 0; r < p->n_rules; r++) {
        for (uint32_t i = 0; i < p->rules[r].n_nodes; i++) {
            const struct node *node = &p->nodes[p->rules[r].first_node + i];
            if (node->kind == NODE_CALL)
                k->callers[k->filled[node->value]++] = r;
        }
    }
}

/* Whether what a call needs was found: in an earlier round, or in this one where it is the rule's last. */
static bool is_known(const struct check *k, const struct node *call)
{
    bool last = k->p->nodes[call->next].kind == NODE_END;
    uint32_t found = k->known[call->value];
    return found && (last ? found <= k->round : found < k->round);
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
        } else if (node->kind == NODE_CALL ? is_known(k, node) : node->kind != NODE_BYTES && reads) {
            k->stack[n++] = node->next;
        }
    }
    return ends;
}

static void wait(struct check *k, struct queue *q, uint32_t rule)
{
    if (!k->known[rule] && !q->waits[rule]) {
        q->rules[q->n++] = rule;
        q->waits[rule] = true;
    }
}

/* One round: rules that end with what is known.  A rule's last call takes no room on the stack, so what is
 * found counts for those that end with it in the same round, for others in the next. */
static void find_in_round(struct check *k, uint32_t round, bool reads, struct queue *now, struct queue *next)
{
    k->round = round;
    for (size_t i = 0; i < now->n; i++) {
        uint32_t rule = now->rules[i];
        struct rule *r = &k->p->rules[rule];
        now->waits[rule] = false;
        if (k->known[rule] || k->work > MOST_WORK || !walk(k, r, reads))
            continue;
        k->known[rule] = round;
        r->height = reads ? round : r->height;
        r->nullable = reads ? r->nullable : true;
        for (uint32_t c = k->starts[rule]; c < k->starts[rule + 1]; c++) {
            if (now->n < k->cap_queue)
                wait(k, now, k->callers[c]);
            wait(k, next, k->callers[c]);
        }
    }
    now->n = 0;
}

/* Marks as known, with its round, every rule whose END is reachable.  False: too much work. */
static bool find_known(struct check *k, bool reads)
{
    struct queue *now = &k->queues[0], *next = &k->queues[1];
    memset(k->known, 0, k->p->n_rules * sizeof *k->known);
    for (uint32_t r = 0; r < k->p->n_rules; r++)
        wait(k, next, r);
    for (uint32_t round = 1; next->n > 0; round++) {
        struct queue *swap = now;
        now = next;
        next = swap;
        memset(next->waits, 0, k->p->n_rules);
        find_in_round(k, round, reads, now, next);
    }
    return k->work <= MOST_WORK;
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
    k->round = UINT32_MAX; /* everything counts */
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
