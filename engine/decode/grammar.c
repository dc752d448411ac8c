/* grammar.c - see grammar.h: masks, and states that survive the machine's forgetting.
 * `lock` guards the machine and the masks.  When these outgrow LIMIT_GRAMMAR_CACHE they are thrown away; a
 * sequence that finds its state gone follows its tokens again. */
#include "engine/decode/grammar.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/limits.h"
#include "engine/decode/grammar_machine.h"
#include "engine/decode/token_trie.h"

struct engine_grammar {
    atomic_uint owners;
    const struct token_trie *trie;
    struct program program;
    pthread_mutex_t lock;
    struct machine *machine;
    uint64_t forgotten; /* how often */
    uint64_t *masks;    /* (n_masks, words); a state's `mask` is its number + 1 */
    size_t n_masks, cap_masks, words;
    uint32_t *path; /* (longest token + 1) states on the way through the trie */
};

struct grammar_state {
    struct engine_grammar *grammar;
    uint64_t forgotten; /* when `state` was found */
    uint32_t state;
    int32_t *tokens;
    size_t n_tokens, cap_tokens;
};

static int build(struct engine_grammar *g, const char *text, size_t len, struct error *e)
{
    struct grammar_tree tree;
    int status = grammar_parse(text, len, g->trie, &tree, e);
    if (status == 0)
        status = grammar_compile(&tree, &g->program, e);
    grammar_tree_free(&tree);
    if (status == 0)
        status = machine_create(&g->program, &g->machine, e);
    return status;
}

int grammar_create(const char *text, size_t len, const struct token_trie *trie, struct engine_grammar **out,
                   struct error *e)
{
    struct engine_grammar *g = calloc(1, sizeof *g);
    if (!g)
        return error_no_memory(e);
    atomic_init(&g->owners, 1);
    pthread_mutex_init(&g->lock, NULL);
    g->trie = trie;
    g->words = trie->words;
    g->path = malloc((trie->depth + 1) * sizeof *g->path);
    int status = g->path ? build(g, text, len, e) : error_no_memory(e);
    if (status < 0)
        grammar_release(g);
    else
        *out = g;
    return status;
}

struct engine_grammar *grammar_share(struct engine_grammar *g)
{
    if (g)
        atomic_fetch_add(&g->owners, 1);
    return g;
}

void grammar_release(struct engine_grammar *g)
{
    if (!g || atomic_fetch_sub(&g->owners, 1) != 1)
        return;
    machine_free(g->machine);
    program_free(&g->program);
    pthread_mutex_destroy(&g->lock);
    free(g->masks);
    free(g->path);
    free(g);
}

static size_t cached_bytes(const struct engine_grammar *g)
{
    return machine_bytes(g->machine) + g->n_masks * g->words * sizeof *g->masks;
}

size_t grammar_bytes(struct engine_grammar *g)
{
    pthread_mutex_lock(&g->lock);
    size_t bytes = cached_bytes(g) + g->program.n_nodes * sizeof(struct node) +
                   g->program.n_edges * sizeof(struct edge) + g->program.n_rules * sizeof(struct rule);
    pthread_mutex_unlock(&g->lock);
    return bytes;
}

/* ---- masks ------------------------------------------------------------------------------------- */

static void set_bit(uint64_t *bits, int32_t id)
{
    bits[id / 64] |= UINT64_C(1) << (id % 64);
}

static void clear_bit(uint64_t *bits, int32_t id)
{
    bits[id / 64] &= ~(UINT64_C(1) << (id % 64));
}

/* Every token of the tree whose bytes lead somewhere. */
static void walk_tree(struct engine_grammar *g, const struct trie_tree *t, uint32_t state, uint64_t *bits)
{
    struct machine *m = g->machine;
    g->path[0] = state;
    for (size_t i = 1; i < t->n_nodes;) {
        const struct trie_node *node = &t->nodes[i];
        uint32_t from = g->path[node->depth - 1], known = machine_known(m, from, node->byte);
        uint32_t to = known ? known - 1 : machine_step(m, from, node->byte);
        if (to == MACHINE_DEAD) {
            if (m->failed != ERROR_NONE)
                return;
            i = node->end;
            continue;
        }
        g->path[node->depth] = to;
        for (uint32_t k = node->first_token; k < t->nodes[i + 1].first_token; k++)
            set_bit(bits, t->tokens[k]);
        i++;
    }
}

/* How many plain characters may follow, whichever they are, up to TRIE_PLAIN_POINTS.  False: behind them some
 * may and some may not. */
static bool count_plain(struct machine *m, uint32_t state, unsigned *n)
{
    for (*n = 0; *n < TRIE_PLAIN_POINTS; ++*n) {
        uint32_t next = machine_plain(m, state);
        if (next == MACHINE_DEAD)
            return machine_takes_no_plain(m, state);
        if (next == state) { /* for ever */
            *n = TRIE_PLAIN_POINTS;
            return true;
        }
        state = next;
    }
    return true;
}

/* Where any plain character may come, plain tokens go by their length, and only the others are looked at. */
static void add_tokens(struct engine_grammar *g, uint32_t state, uint64_t *bits)
{
    const struct token_trie *t = g->trie;
    unsigned plain;
    if (!count_plain(g->machine, state, &plain)) {
        walk_tree(g, &t->all, state, bits);
        return;
    }
    memcpy(bits, t->plain + plain * t->words, t->words * sizeof *bits);
    walk_tree(g, &t->others, state, bits);
}

static void add_controls(const struct engine_grammar *g, uint32_t state, uint64_t *bits)
{
    const struct machine *m = g->machine;
    const struct machine_state s = m->states[state];
    for (uint32_t i = 0; i < s.n; i++) {
        const struct node *node = &g->program.nodes[m->configs[s.first + i].node];
        if (node->kind == NODE_TOKEN)
            set_bit(bits, (int32_t)node->value);
        for (size_t k = 0; node->kind == NODE_OTHER && k < g->trie->n_controls; k++)
            set_bit(bits, g->trie->controls[k]);
    }
    for (size_t i = 0; i < g->trie->n_ends; i++)
        clear_bit(bits, g->trie->ends[i]);
}

/* The state's mask, made where it is not there yet; NULL when that fails. */
static const uint64_t *find_mask(struct engine_grammar *g, uint32_t state)
{
    struct machine *m = g->machine;
    if (m->states[state].mask)
        return g->masks + (m->states[state].mask - 1) * g->words;
    if (g->n_masks == g->cap_masks) {
        size_t cap = g->cap_masks ? g->cap_masks * 2 : 4;
        uint64_t *masks = realloc(g->masks, cap * g->words * sizeof *masks);
        if (!masks) {
            m->failed = ERROR_OUT_OF_MEMORY;
            return NULL;
        }
        g->masks = masks;
        g->cap_masks = cap;
    }
    uint64_t *bits = g->masks + g->n_masks * g->words;
    memset(bits, 0, g->words * sizeof *bits);
    add_tokens(g, state, bits);
    add_controls(g, state, bits);
    if (m->failed != ERROR_NONE)
        return NULL;
    m->states[state].mask = (uint32_t)++g->n_masks;
    return bits;
}

/* ---- states ------------------------------------------------------------------------------------ */

int grammar_state_create(struct engine_grammar *g, struct grammar_state **out, struct error *e)
{
    struct grammar_state *s = calloc(1, sizeof *s);
    if (!s)
        return error_no_memory(e);
    s->grammar = grammar_share(g);
    s->state = MACHINE_START; /* in every life of the machine */
    *out = s;
    return 0;
}

void grammar_state_free(struct grammar_state *s)
{
    if (!s)
        return;
    grammar_release(s->grammar);
    free(s->tokens);
    free(s);
}

static uint32_t step(struct engine_grammar *g, uint32_t state, int32_t token)
{
    size_t len;
    const char *bytes = token_trie_bytes(g->trie, token, &len);
    if (!bytes)
        return machine_step_token(g->machine, state, token);
    for (size_t i = 0; i < len && state != MACHINE_DEAD; i++)
        state = machine_step(g->machine, state, (uint8_t)bytes[i]);
    return state;
}

static uint32_t follow_again(struct engine_grammar *g, const struct grammar_state *s)
{
    struct machine *m = g->machine;
    bool alive = machine_trace_begin(m);
    for (size_t i = 0; i < s->n_tokens && alive; i++) {
        size_t len;
        const char *bytes = token_trie_bytes(g->trie, s->tokens[i], &len);
        alive = bytes || machine_trace_token(m, s->tokens[i]);
        for (size_t k = 0; bytes && k < len && alive; k++)
            alive = machine_trace(m, (uint8_t)bytes[k]);
        m->work_left = LIMIT_GRAMMAR_WORK;
    }
    return alive ? machine_trace_end(m) : MACHINE_DEAD;
}

/* Before each use of a state, with the lock. */
static void prepare(struct grammar_state *s)
{
    struct engine_grammar *g = s->grammar;
    if (cached_bytes(g) > LIMIT_GRAMMAR_CACHE) {
        machine_reset(g->machine);
        g->n_masks = 0;
        g->forgotten++;
    }
    g->machine->failed = ERROR_NONE;
    g->machine->work_left = LIMIT_GRAMMAR_WORK;
    if (s->forgotten == g->forgotten)
        return;
    s->state = follow_again(g, s);
    s->forgotten = g->forgotten;
}

static enum grammar_verdict verdict(const struct machine *m)
{
    return m->failed == ERROR_NONE          ? GRAMMAR_OK
           : m->failed == ERROR_UNSUPPORTED ? GRAMMAR_TOO_AMBIGUOUS
                                            : GRAMMAR_NO_MEMORY;
}

enum grammar_verdict grammar_state_mask(struct grammar_state *s, uint64_t *bits, size_t words, bool *may_end)
{
    struct engine_grammar *g = s->grammar;
    pthread_mutex_lock(&g->lock);
    prepare(s);
    const uint64_t *mask = g->machine->failed == ERROR_NONE ? find_mask(g, s->state) : NULL;
    size_t n = words < g->words ? words : g->words;
    if (mask)
        memcpy(bits, mask, n * sizeof *bits);
    memset(bits + n, 0, (words - n) * sizeof *bits);
    *may_end = g->machine->states[s->state].accepts;
    enum grammar_verdict result = verdict(g->machine);
    pthread_mutex_unlock(&g->lock);
    return result;
}

static int remember(struct grammar_state *s, int32_t token)
{
    if (s->n_tokens == s->cap_tokens) {
        size_t cap = s->cap_tokens ? s->cap_tokens * 2 : 64;
        int32_t *tokens = realloc(s->tokens, cap * sizeof *tokens);
        if (!tokens)
            return -1;
        s->tokens = tokens;
        s->cap_tokens = cap;
    }
    s->tokens[s->n_tokens++] = token;
    return 0;
}

enum grammar_verdict grammar_state_accept(struct grammar_state *s, int32_t token)
{
    struct engine_grammar *g = s->grammar;
    pthread_mutex_lock(&g->lock);
    prepare(s);
    if (g->machine->failed == ERROR_NONE)
        s->state = step(g, s->state, token);
    enum grammar_verdict result = verdict(g->machine);
    pthread_mutex_unlock(&g->lock);
    return remember(s, token) < 0 ? GRAMMAR_NO_MEMORY : result;
}

const int32_t *grammar_state_ends(const struct grammar_state *s, size_t *n)
{
    *n = s->grammar->trie->n_ends;
    return s->grammar->trie->ends;
}

bool grammar_state_done(struct grammar_state *s)
{
    struct engine_grammar *g = s->grammar;
    pthread_mutex_lock(&g->lock);
    prepare(s);
    const struct machine_state state = g->machine->states[s->state];
    pthread_mutex_unlock(&g->lock);
    return state.accepts && state.n == 0;
}
