/* grammar_triggers.c - see grammar_tree.h, EXPR_FREE: free text as nodes.
 * Where the text stands is what of each trigger it ends with (Aho and Corasick, 1975), and, as long as all of
 * it is the beginning of a trigger that counts at the start, how much.  Control tokens that are no trigger
 * pass. Bounds: LIMIT_GRAMMAR_TRIGGER bytes of triggers, a state for each. */
#include <stdlib.h>
#include <string.h>

#include "engine/base/limits.h"
#include "engine/decode/grammar_program.h"

enum { NONE = -1 };

struct place { /* in a trie of triggers */
    int32_t next[256];
    int32_t fail;
    int32_t hit; /* the trigger that is complete here; NONE */
};

struct trie {
    struct place *places;
    int32_t n;
};

struct state {
    int32_t anywhere, at_start; /* places in the two tries; at_start NONE when no such trigger can come */
    uint32_t split;             /* its node */
};

struct free_text {
    struct compiler *c;
    struct trie anywhere, at_start;
    uint32_t *entries; /* (triggers) where each goes on */
    uint32_t tokens;   /* the node that reads control tokens, or ends */
    struct state *states;
    size_t n_states;
};

static int trie_init(struct trie *t, size_t bytes)
{
    t->places = malloc((bytes + 1) * sizeof *t->places);
    if (!t->places)
        return -1;
    memset(&t->places[0], 0xFF, sizeof t->places[0]);
    t->n = 1;
    return 0;
}

static void trie_add(struct trie *t, const char *text, size_t len, int32_t trigger)
{
    int32_t at = 0;
    for (size_t i = 0; i < len; i++) {
        int32_t *next = &t->places[at].next[(uint8_t)text[i]];
        if (*next == NONE) {
            memset(&t->places[t->n], 0xFF, sizeof t->places[0]);
            *next = t->n++;
        }
        at = *next;
    }
    if (t->places[at].hit == NONE)
        t->places[at].hit = trigger;
}

/* Fills in where a text that leaves the tree is instead.  queue: (n) */
static void trie_close(struct trie *t, int32_t *queue)
{
    int32_t from = 0, to = 0;
    for (unsigned byte = 0; byte < 256; byte++) {
        int32_t *next = &t->places[0].next[byte];
        if (*next == NONE)
            *next = 0;
        else
            t->places[queue[to++] = *next].fail = 0;
    }
    while (from < to) {
        struct place *p = &t->places[queue[from++]];
        const struct place *shorter = &t->places[p->fail];
        p->hit = p->hit == NONE ? shorter->hit : p->hit;
        for (unsigned byte = 0; byte < 256; byte++) {
            if (p->next[byte] == NONE)
                p->next[byte] = shorter->next[byte];
            else
                t->places[queue[to++] = p->next[byte]].fail = shorter->next[byte];
        }
    }
}

static int build_tries(struct free_text *f, const struct expr *x)
{
    size_t bytes = 0;
    int32_t trigger = 0;
    for (const struct expr *t = x->children; t; t = t->next)
        bytes += t->children->kind == EXPR_BYTES ? t->children->len : 0;
    if (bytes > LIMIT_GRAMMAR_TRIGGER)
        return error_param(f->c->error, ERROR_INVALID_REQUEST, "grammar",
                           "grammar: the triggers of free text may have %u bytes together",
                           LIMIT_GRAMMAR_TRIGGER);
    int32_t *queue = malloc((bytes + 1) * sizeof *queue);
    if (!queue || trie_init(&f->anywhere, bytes) < 0 || trie_init(&f->at_start, bytes) < 0) {
        free(queue);
        return error_no_memory(f->c->error);
    }
    for (const struct expr *t = x->children; t; t = t->next, trigger++) {
        if (t->children->kind == EXPR_BYTES)
            trie_add(t->at_start ? &f->at_start : &f->anywhere, t->children->text, t->children->len, trigger);
    }
    trie_close(&f->anywhere, queue);
    free(queue);
    return 0;
}

/* State 0 is free text that has begun; the start is state anywhere.n. */
static int find_states(struct free_text *f)
{
    const struct trie *a = &f->anywhere, *b = &f->at_start;
    f->states = malloc((size_t)(a->n + b->n) * sizeof *f->states);
    if (!f->states)
        return error_no_memory(f->c->error);
    for (int32_t i = 0; i < a->n; i++)
        f->states[i] = (struct state){i, NONE, NO_NODE};
    f->states[a->n] = (struct state){0, 0, NO_NODE};
    f->n_states = (size_t)(a->n + b->n);
    for (int32_t i = 0; i < b->n; i++) { /* children have higher numbers */
        for (unsigned byte = 0; byte < 256; byte++) {
            int32_t next = b->places[i].next[byte];
            if (next != NONE)
                f->states[a->n + next] =
                    (struct state){a->places[f->states[a->n + i].anywhere].next[byte], next, NO_NODE};
        }
    }
    return 0;
}

static uint32_t target(const struct free_text *f, const struct state *s, unsigned byte)
{
    int32_t from_start = s->at_start == NONE ? NONE : f->at_start.places[s->at_start].next[byte];
    int32_t anywhere = f->anywhere.places[s->anywhere].next[byte];
    if (from_start != NONE && f->at_start.places[from_start].hit != NONE)
        return f->entries[f->at_start.places[from_start].hit];
    if (f->anywhere.places[anywhere].hit != NONE)
        return f->entries[f->anywhere.places[anywhere].hit];
    return f->states[from_start == NONE ? anywhere : f->anywhere.n + from_start].split;
}

/* The node that reads the state's next byte. */
static uint32_t compile_state(struct free_text *f, const struct state *s)
{
    uint32_t node = compile_node(f->c, NODE_BYTES, NO_NODE);
    if (node == NO_NODE)
        return NO_NODE;
    for (unsigned first = 0, last; first < 256; first = last + 1) {
        uint32_t to = target(f, s, first);
        for (last = first; last < 255 && target(f, s, last + 1) == to;)
            last++;
        if (compile_edge(f->c, node, (uint8_t)first, (uint8_t)last, to) < 0)
            return NO_NODE;
    }
    return node;
}

static int compile_states(struct free_text *f)
{
    struct compiler *c = f->c;
    for (size_t i = 0; i < f->n_states; i++) {
        struct state *s = &f->states[i];
        if (s->split == NO_NODE)
            s->split = compile_node(c, NODE_SPLIT, NO_NODE);
        if (s->split == NO_NODE)
            return -1;
        if (i > 0 &&
            (compile_edge(c, s->split, 0, 0, NO_NODE) < 0 || compile_edge(c, s->split, 0, 0, f->tokens) < 0))
            return -1;
    }
    for (size_t i = 0; i < f->n_states; i++) {
        uint32_t node = compile_state(f, &f->states[i]);
        if (node == NO_NODE)
            return -1;
        c->program->edges[c->program->nodes[f->states[i].split].edges].to = node;
    }
    return 0;
}

static bool has_token(const struct expr *x)
{
    return x->children->kind == EXPR_TOKEN;
}

/* Control tokens, triggers or not, and the end. */
static uint32_t compile_tokens(struct free_text *f, const struct expr *x, uint32_t main, uint32_t next)
{
    struct compiler *c = f->c;
    uint32_t first = NO_NODE, n = 0, i = 0;
    for (const struct expr *t = x->children; t; t = t->next, i++) {
        if (!has_token(t))
            continue;
        uint32_t node = compile_node(c, NODE_TOKEN, f->entries[i]);
        if (node == NO_NODE)
            return NO_NODE;
        c->program->nodes[node].value = (uint32_t)t->children->id;
        first = n++ ? first : node;
    }
    uint32_t other = compile_node(c, NODE_OTHER, main), split = compile_node(c, NODE_SPLIT, NO_NODE);
    if (other == NO_NODE || split == NO_NODE || compile_edge(c, split, 0, 0, other) < 0 ||
        compile_edge(c, split, 0, 0, next) < 0)
        return NO_NODE;
    for (i = 0; i < n; i++) { /* they have no edges, so they lie side by side */
        if (compile_edge(c, split, 0, 0, first + i) < 0)
            return NO_NODE;
    }
    return split;
}

static uint32_t compile_free(struct free_text *f, const struct expr *x, uint32_t next)
{
    struct compiler *c = f->c;
    size_t n = 0;
    for (const struct expr *t = x->children; t; t = t->next)
        n++;
    f->entries = malloc(n * sizeof *f->entries);
    if (!f->entries) {
        error_no_memory(c->error);
        return NO_NODE;
    }
    uint32_t main = compile_node(c, NODE_SPLIT, NO_NODE);
    if (main == NO_NODE || compile_edge(c, main, 0, 0, NO_NODE) < 0 ||
        compile_edge(c, main, 0, 0, NO_NODE) < 0)
        return NO_NODE;
    n = 0;
    for (const struct expr *t = x->children; t; t = t->next) {
        f->entries[n] = compile_expr(c, t->children->next, x->resumes ? main : next);
        if (f->entries[n++] == NO_NODE)
            return NO_NODE;
    }
    f->tokens = compile_tokens(f, x, main, next);
    if (f->tokens == NO_NODE || build_tries(f, x) < 0 || find_states(f) < 0)
        return NO_NODE;
    f->states[0].split = main;
    c->program->edges[c->program->nodes[main].edges + 1].to = f->tokens;
    return compile_states(f) < 0 ? NO_NODE : f->states[f->at_start.n > 1 ? f->anywhere.n : 0].split;
}

uint32_t compile_triggers(struct compiler *c, const struct expr *x, uint32_t next)
{
    struct free_text f = {.c = c};
    uint32_t node = compile_free(&f, x, next);
    free(f.anywhere.places);
    free(f.at_start.places);
    free(f.entries);
    free(f.states);
    return node;
}
