/* grammar_machine.c - see grammar_machine.h. */
#include "engine/decode/grammar_machine.h"

#include <stdlib.h>
#include <string.h>

#include "engine/base/hash.h"
#include "engine/base/limits.h"

enum { FIRST_SLOTS = 256, BOTTOM = 0 };

static void *fail(struct machine *m, enum error_kind kind)
{
    if (m->failed == ERROR_NONE)
        m->failed = kind;
    return NULL;
}

/* Room for `more` elements behind n. */
static void *grow(struct machine *m, void *array, uint32_t *cap, uint32_t n, uint32_t more, size_t size)
{
    if (more <= *cap - n)
        return array;
    uint64_t wanted = (uint64_t)n + more, doubled = (uint64_t)*cap * 2;
    wanted = wanted > doubled ? wanted : doubled;
    void *grown = wanted < UINT32_MAX ? realloc(array, wanted * size) : NULL;
    if (!grown)
        return fail(m, ERROR_OUT_OF_MEMORY);
    *cap = (uint32_t)wanted;
    return grown;
}

#define GROW(m, array, n, cap, more)                                                                         \
    do {                                                                                                     \
        void *grown_ = grow((m), (m)->array, &(m)->cap, (m)->n, (more), sizeof *(m)->array);                 \
        if (!grown_)                                                                                         \
            return -1;                                                                                       \
        (m)->array = grown_;                                                                                 \
    } while (0)

static int set_init(struct machine_set *s)
{
    s->slots = calloc(FIRST_SLOTS, sizeof *s->slots);
    s->mask = FIRST_SLOTS - 1;
    s->n = 0;
    return s->slots ? 0 : -1;
}

static uint64_t hash_config(const struct config *c, uint64_t h)
{
    return hash_mix(hash_mix(h, (uint64_t)c->node << 32 | c->count), c->frame);
}

static uint64_t hash_frame(const struct frame *f)
{
    return hash_mix(hash_mix(f->parent, f->count), f->node);
}

static uint64_t hash_configs(const struct config *c, uint32_t n, bool accepts)
{
    uint64_t h = accepts;
    for (uint32_t i = 0; i < n; i++)
        h = hash_config(&c[i], h);
    return h;
}

static uint64_t hash_of(const struct machine *m, const struct machine_set *s, uint32_t i)
{
    if (s == &m->frame_set)
        return hash_frame(&m->frames[i]);
    return hash_configs(m->configs + m->states[i].first, m->states[i].n, m->states[i].accepts);
}

/* Twice as many slots when they are half full. */
static int set_widen(struct machine *m, struct machine_set *s)
{
    if (s->n < s->mask / 2)
        return 0;
    uint32_t mask = s->mask * 2 + 1;
    uint32_t *slots = calloc((size_t)mask + 1, sizeof *slots);
    if (!slots) {
        fail(m, ERROR_OUT_OF_MEMORY);
        return -1;
    }
    for (uint32_t i = 0; i <= s->mask; i++) {
        if (s->slots[i] == 0)
            continue;
        uint32_t at = (uint32_t)hash_of(m, s, s->slots[i]) & mask;
        while (slots[at])
            at = (at + 1) & mask;
        slots[at] = s->slots[i];
    }
    free(s->slots);
    s->slots = slots;
    s->mask = mask;
    return 0;
}

/* ---- stacks ------------------------------------------------------------------------------------ */

/* The number of the frame, new or known; 0 when that fails. */
static uint32_t push_frame(struct machine *m, uint32_t node, uint32_t count, uint32_t parent)
{
    const struct frame f = {node, count, parent, m->frames[parent].depth + 1};
    uint32_t at = (uint32_t)hash_frame(&f) & m->frame_set.mask;
    for (; m->frame_set.slots[at]; at = (at + 1) & m->frame_set.mask) {
        const struct frame *known = &m->frames[m->frame_set.slots[at]];
        if (known->node == node && known->count == count && known->parent == parent)
            return m->frame_set.slots[at];
    }
    struct frame *frames = grow(m, m->frames, &m->cap_frames, m->n_frames, 1, sizeof *frames);
    if (!frames)
        return 0;
    m->frames = frames;
    m->frames[m->n_frames] = f;
    m->frame_set.slots[at] = m->n_frames;
    m->frame_set.n++;
    return set_widen(m, &m->frame_set) < 0 ? 0 : m->n_frames++;
}

/* ---- places ------------------------------------------------------------------------------------ */

static int widen_seen(struct machine *m)
{
    uint32_t mask = m->seen_mask * 2 + 1;
    struct machine_seen *seen = calloc((size_t)mask + 1, sizeof *seen);
    if (!seen) {
        fail(m, ERROR_OUT_OF_MEMORY);
        return -1;
    }
    for (uint32_t i = 0; i <= m->seen_mask; i++) {
        if (m->seen[i].stamp != m->stamp)
            continue;
        uint32_t at = (uint32_t)hash_config(&m->seen[i].config, 0) & mask;
        while (seen[at].stamp == m->stamp)
            at = (at + 1) & mask;
        seen[at] = m->seen[i];
    }
    free(m->seen);
    m->seen = seen;
    m->seen_mask = mask;
    return 0;
}

/* A place to look at, unless it was there before. */
static int visit(struct machine *m, uint32_t node, uint32_t count, uint32_t frame)
{
    const struct config c = {node, count, frame};
    uint32_t at = (uint32_t)hash_config(&c, 0) & m->seen_mask;
    for (; m->seen[at].stamp == m->stamp; at = (at + 1) & m->seen_mask) {
        const struct config *s = &m->seen[at].config;
        if (s->node == node && s->count == count && s->frame == frame)
            return 0;
    }
    if (m->work_left == 0) {
        fail(m, ERROR_UNSUPPORTED);
        return -1;
    }
    m->work_left--;
    m->seen[at] = (struct machine_seen){c, m->stamp};
    if (++m->n_seen > m->seen_mask / 2)
        TRY(widen_seen(m));
    GROW(m, work, n_work, cap_work, 1);
    m->work[m->n_work++] = c;
    return 0;
}

static int visit_call(struct machine *m, const struct node *node, const struct config *c)
{
    const struct program *p = m->program;
    const struct rule *callee = &p->rules[node->value];
    uint32_t frame = c->frame;
    if (m->frames[frame].depth + callee->height > LIMIT_GRAMMAR_DEPTH)
        return 0;
    if (p->nodes[node->next].kind != NODE_END) { /* else the callee's end is the caller's */
        frame = push_frame(m, node->next, c->count, frame);
        if (frame == BOTTOM)
            return -1;
    }
    return visit(m, callee->entry, 0, frame);
}

static int visit_loop(struct machine *m, const struct node *node, const struct config *c)
{
    uint32_t count = c->count;
    if (count >= node->min)
        TRY(visit(m, node->next, 0, c->frame));
    if (count >= node->max)
        return 0;
    bool counts = node->max != EXPR_ENDLESS || count < node->min;
    return visit(m, node->body, counts ? count + 1 : count, c->frame);
}

static int visit_end(struct machine *m, const struct config *c)
{
    if (c->frame == BOTTOM) {
        m->accepts = true;
        return 0;
    }
    const struct frame f = m->frames[c->frame];
    return visit(m, f.node, f.count, f.parent);
}

static int keep(struct machine *m, const struct config *c)
{
    GROW(m, found, n_found, cap_found, 1);
    m->found[m->n_found++] = *c;
    return 0;
}

static int look_at(struct machine *m, const struct config *c)
{
    const struct program *p = m->program;
    const struct node *node = &p->nodes[c->node];
    switch (node->kind) {
    case NODE_SPLIT:
        for (uint32_t i = 0; i < node->n_edges; i++)
            TRY(visit(m, p->edges[node->edges + i].to, c->count, c->frame));
        return 0;
    case NODE_CALL:
        return visit_call(m, node, c);
    case NODE_LOOP:
        return visit_loop(m, node, c);
    case NODE_END:
        return visit_end(m, c);
    default:
        return keep(m, c);
    }
}

static void begin(struct machine *m)
{
    if (++m->stamp == 0) {
        memset(m->seen, 0, ((size_t)m->seen_mask + 1) * sizeof *m->seen);
        m->stamp = 1;
    }
    m->n_seen = m->n_work = m->n_found = 0;
    m->accepts = false;
}

static int compare(const void *a, const void *b)
{
    const struct config *x = a, *y = b;
    if (x->node != y->node)
        return x->node < y->node ? -1 : 1;
    if (x->count != y->count)
        return x->count < y->count ? -1 : 1;
    return x->frame < y->frame ? -1 : x->frame > y->frame;
}

/* The state of the configs found, new or known; MACHINE_DEAD when that fails. */
static int intern(struct machine *m, uint32_t *out)
{
    uint32_t at = (uint32_t)hash_configs(m->found, m->n_found, m->accepts) & m->state_set.mask;
    for (; m->state_set.slots[at]; at = (at + 1) & m->state_set.mask) {
        const struct machine_state *s = &m->states[ *out = m->state_set.slots[at]];
        if (s->n == m->n_found && s->accepts == m->accepts &&
            memcmp(m->configs + s->first, m->found, s->n * sizeof *m->found) == 0)
            return 0;
    }
    unsigned classes = m->program->n_classes;
    GROW(m, states, n_states, cap_states, 1);
    GROW(m, configs, n_configs, cap_configs, m->n_found + 1); /* never NULL */
    GROW(m, moves, n_moves, cap_moves, classes);
    m->states[m->n_states] =
        (struct machine_state){.first = m->n_configs, .n = m->n_found, .accepts = m->accepts};
    if (m->n_found)
        memcpy(m->configs + m->n_configs, m->found, m->n_found * sizeof *m->found);
    memset(m->moves + m->n_moves, 0, classes * sizeof *m->moves);
    m->n_configs += m->n_found;
    m->n_moves += classes;
    m->state_set.slots[at] = *out = m->n_states++;
    m->state_set.n++;
    return set_widen(m, &m->state_set);
}

/* Everything that the visited places lead to without a byte; false when nothing is there. */
static bool finish(struct machine *m)
{
    while (m->n_work > 0) {
        const struct config c = m->work[--m->n_work];
        if (look_at(m, &c) < 0)
            return false;
    }
    return m->n_found > 0 || m->accepts;
}

static uint32_t intern_found(struct machine *m)
{
    uint32_t state;
    if (m->n_found > 1)
        qsort(m->found, m->n_found, sizeof *m->found, compare);
    return intern(m, &state) < 0 ? MACHINE_DEAD : state;
}

static bool read_byte(struct machine *m, const struct config *from, uint32_t n, uint8_t byte)
{
    const struct program *p = m->program;
    begin(m);
    for (uint32_t i = 0; i < n; i++) {
        const struct node *node = &p->nodes[from[i].node];
        for (uint32_t k = 0; node->kind == NODE_BYTES && k < node->n_edges; k++) {
            const struct edge *edge = &p->edges[node->edges + k];
            if (byte >= edge->first && byte <= edge->last &&
                visit(m, edge->to, from[i].count, from[i].frame) < 0)
                return false;
        }
    }
    return finish(m);
}

static bool read_token(struct machine *m, const struct config *from, uint32_t n, int32_t token)
{
    const struct program *p = m->program;
    bool named = false;
    for (uint32_t i = 0; i < n; i++) {
        const struct node *node = &p->nodes[from[i].node];
        named = named || (node->kind == NODE_TOKEN && (int32_t)node->value == token);
    }
    begin(m);
    for (uint32_t i = 0; i < n; i++) {
        const struct node *node = &p->nodes[from[i].node];
        bool fits =
            named ? node->kind == NODE_TOKEN && (int32_t)node->value == token : node->kind == NODE_OTHER;
        if (fits && visit(m, node->next, from[i].count, from[i].frame) < 0)
            return false;
    }
    return finish(m);
}

uint32_t machine_step(struct machine *m, uint32_t state, uint8_t byte)
{
    uint32_t known = machine_known(m, state, byte);
    if (known)
        return known - 1;
    uint32_t to = MACHINE_DEAD;
    if (read_byte(m, m->configs + m->states[state].first, m->states[state].n, byte))
        to = intern_found(m);
    if (m->failed == ERROR_NONE)
        m->moves[(size_t)state * m->program->n_classes + m->program->byte_class[byte]] = to + 1;
    return to;
}

uint32_t machine_step_token(struct machine *m, uint32_t state, int32_t token)
{
    const struct machine_state s = m->states[state];
    return read_token(m, m->configs + s.first, s.n, token) ? intern_found(m) : MACHINE_DEAD;
}

/* Ways to write a plain character: n ranges of bytes. */
static const struct form {
    unsigned n;
    uint8_t ranges[4][2];
} plain_forms[] = {
    {1, {{0x20, '"' - 1}}},
    {1, {{'"' + 1, '\\' - 1}}},
    {1, {{'\\' + 1, 0x7E}}},
    {2, {{0xC2, 0xDF}, {0x80, 0xBF}}},
    {3, {{0xE0, 0xE0}, {0xA0, 0xBF}, {0x80, 0xBF}}},
    {3, {{0xE1, 0xE1}, {0x80, 0xBF}, {0x80, 0xBF}}},
    {3, {{0xE2, 0xE2}, {0x80, 0x80}, {0x80, 0xA7}}},
    {3, {{0xE2, 0xE2}, {0x80, 0x80}, {0xAA, 0xBF}}},
    {3, {{0xE2, 0xE2}, {0x81, 0xBF}, {0x80, 0xBF}}},
    {3, {{0xE3, 0xEC}, {0x80, 0xBF}, {0x80, 0xBF}}},
    {3, {{0xED, 0xED}, {0x80, 0x9F}, {0x80, 0xBF}}},
    {3, {{0xEE, 0xEF}, {0x80, 0xBF}, {0x80, 0xBF}}},
    {4, {{0xF0, 0xF0}, {0x90, 0xBF}, {0x80, 0xBF}, {0x80, 0xBF}}},
    {4, {{0xF1, 0xF3}, {0x80, 0xBF}, {0x80, 0xBF}, {0x80, 0xBF}}},
    {4, {{0xF4, 0xF4}, {0x80, 0x8F}, {0x80, 0xBF}, {0x80, 0xBF}}},
};

/* Whether what is left of a form, from range `at` on, leads to `to` alone.  Bytes of a class lie together. */
static bool leads_to(struct machine *m, uint32_t state, const struct form *form, unsigned at, uint32_t to)
{
    const struct program *p = m->program;
    for (unsigned byte = form->ranges[at][0]; byte <= form->ranges[at][1]; byte++) {
        if (byte > form->ranges[at][0] && p->byte_class[byte] == p->byte_class[byte - 1])
            continue;
        uint32_t next = machine_step(m, state, (uint8_t)byte);
        bool last = at + 1 >= form->n || at == 3;
        if (next == MACHINE_DEAD || (last ? next != to : !leads_to(m, next, form, at + 1, to)))
            return false;
    }
    return true;
}

uint32_t machine_plain(struct machine *m, uint32_t state)
{
    if (m->states[state].plain)
        return m->states[state].plain - 1;
    uint32_t to = machine_step(m, state, ' ');
    for (size_t i = 0; i < sizeof plain_forms / sizeof plain_forms[0] && to != MACHINE_DEAD; i++) {
        if (!leads_to(m, state, &plain_forms[i], 0, to))
            to = MACHINE_DEAD;
    }
    if (m->failed == ERROR_NONE)
        m->states[state].plain = to + 1;
    return to;
}

bool machine_takes_no_plain(struct machine *m, uint32_t state)
{
    for (size_t i = 0; i < sizeof plain_forms / sizeof plain_forms[0]; i++) {
        for (unsigned byte = plain_forms[i].ranges[0][0]; byte <= plain_forms[i].ranges[0][1]; byte++) {
            if (machine_step(m, state, (uint8_t)byte) != MACHINE_DEAD)
                return false;
        }
    }
    return m->failed == ERROR_NONE;
}

/* What was found is where the next byte starts. */
static bool trace_on(struct machine *m, bool found)
{
    if (!found)
        return false;
    struct config *list = m->traced;
    uint32_t cap = m->cap_traced;
    m->traced = m->found;
    m->n_traced = m->n_found;
    m->cap_traced = m->cap_found;
    m->found = list;
    m->n_found = 0;
    m->cap_found = cap;
    return true;
}

bool machine_trace_begin(struct machine *m)
{
    begin(m);
    return visit(m, m->program->rules[0].entry, 0, BOTTOM) == 0 && trace_on(m, finish(m));
}

bool machine_trace(struct machine *m, uint8_t byte)
{
    return trace_on(m, read_byte(m, m->traced, m->n_traced, byte));
}

bool machine_trace_token(struct machine *m, int32_t token)
{
    return trace_on(m, read_token(m, m->traced, m->n_traced, token));
}

uint32_t machine_trace_end(struct machine *m)
{
    struct config *list = m->found;
    uint32_t cap = m->cap_found;
    m->found = m->traced;
    m->n_found = m->n_traced;
    m->cap_found = m->cap_traced;
    m->traced = list;
    m->n_traced = 0;
    m->cap_traced = cap;
    return intern_found(m);
}

/* ---- life -------------------------------------------------------------------------------------- */

/* The dead state, which nothing leaves, then the start. */
static int make_first_states(struct machine *m)
{
    uint32_t state;
    m->work_left = LIMIT_GRAMMAR_WORK;
    m->frames[BOTTOM] = (struct frame){0};
    m->n_frames = 1;
    begin(m);
    TRY(intern(m, &state));
    for (uint32_t i = 0; i < m->n_moves; i++)
        m->moves[i] = MACHINE_DEAD + 1;
    TRY(visit(m, m->program->rules[0].entry, 0, BOTTOM));
    return finish(m) && intern_found(m) == MACHINE_START ? 0 : -1;
}

void machine_reset(struct machine *m)
{
    memset(m->frame_set.slots, 0, ((size_t)m->frame_set.mask + 1) * sizeof *m->frame_set.slots);
    memset(m->state_set.slots, 0, ((size_t)m->state_set.mask + 1) * sizeof *m->state_set.slots);
    m->frame_set.n = m->state_set.n = 0;
    m->n_states = m->n_configs = m->n_moves = 0;
    m->failed = ERROR_NONE;
    make_first_states(m); /* there was room for them */
}

static int create(struct machine *m)
{
    m->seen = calloc(FIRST_SLOTS, sizeof *m->seen);
    m->seen_mask = FIRST_SLOTS - 1;
    m->frames = calloc(FIRST_SLOTS, sizeof *m->frames);
    m->cap_frames = FIRST_SLOTS;
    if (!m->seen || !m->frames || set_init(&m->frame_set) < 0 || set_init(&m->state_set) < 0) {
        fail(m, ERROR_OUT_OF_MEMORY);
        return -1;
    }
    return make_first_states(m);
}

int machine_create(const struct program *p, struct machine **out, struct error *e)
{
    struct machine *m = calloc(1, sizeof *m);
    if (!m)
        return error_no_memory(e);
    m->program = p;
    if (create(m) < 0) {
        bool ambiguous = m->failed == ERROR_UNSUPPORTED;
        machine_free(m);
        return ambiguous ? error_param(e, ERROR_INVALID_REQUEST, "grammar",
                                       "grammar: its beginning can be read in too many ways")
                         : error_no_memory(e);
    }
    *out = m;
    return 0;
}

void machine_free(struct machine *m)
{
    if (!m)
        return;
    void *all[] = {m->frames, m->states, m->configs,         m->work,           m->found, m->traced,
                   m->moves,  m->seen,   m->frame_set.slots, m->state_set.slots};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        free(all[i]);
    free(m);
}

size_t machine_bytes(const struct machine *m)
{
    return m->n_frames * sizeof *m->frames + m->n_states * sizeof *m->states +
           m->n_configs * sizeof *m->configs + (size_t)m->n_moves * sizeof *m->moves;
}
