/* automaton.c - see automaton.h.
 * Expressions become sets of places in a nondeterministic automaton (Thompson, 1968) and then states (Rabin
 * and Scott, 1959); two automata are joined by pairs of states.  Both explore what is reachable alone. */
#include "api/automaton.h"

#include <stdlib.h>
#include <string.h>

#include "engine/base/hash.h"
#include "engine/base/limits.h"
#include "engine/base/utf8.h"

/* ---- states as they are found ------------------------------------------------------------------ */

/* A state is a list of numbers; equal lists are one state. */
struct explorer {
    struct arena *arena;
    struct automaton *out;
    const uint32_t **keys; /* (states) first number: how many follow */
    uint32_t *slots;       /* state + 1 */
    size_t mask, cap;
};

static uint64_t hash_key(const uint32_t *key)
{
    uint64_t h = key[0];
    for (uint32_t i = 1; i <= key[0]; i++)
        h = hash_mix(h, key[i]);
    return h;
}

static int explorer_init(struct explorer *x, struct arena *arena, const uint32_t *starts, size_t n_classes)
{
    size_t most = LIMIT_AUTOMATON_MOVES / (n_classes ? n_classes : 1);
    x->arena = arena;
    x->cap = most < LIMIT_AUTOMATON ? most : LIMIT_AUTOMATON;
    x->mask = 65535;
    x->out = arena_alloc(arena, 1, sizeof *x->out);
    x->keys = calloc(x->cap + 1, sizeof *x->keys);
    x->slots = calloc(x->mask + 1, sizeof *x->slots);
    if (!x->out || !x->keys || !x->slots)
        return -1;
    x->out->starts = starts;
    x->out->n_classes = n_classes;
    x->out->moves = malloc((x->cap + 1) * n_classes * sizeof *x->out->moves);
    x->out->accepts = calloc(x->cap + 1, sizeof *x->out->accepts);
    return x->out->moves && x->out->accepts ? 0 : -1;
}

/* The state of this key; *is_new when it was not there.  -1 when there are too many. */
static int32_t find_state(struct explorer *x, const uint32_t *key)
{
    size_t bytes = (key[0] + 1) * sizeof *key, at = hash_key(key) & x->mask;
    for (; x->slots[at]; at = (at + 1) & x->mask) {
        const uint32_t *known = x->keys[x->slots[at] - 1];
        if (known[0] == key[0] && memcmp(known, key, bytes) == 0)
            return (int32_t)(x->slots[at] - 1);
    }
    uint32_t *copy = x->out->n_states < x->cap ? arena_alloc(x->arena, key[0] + 1, sizeof *copy) : NULL;
    if (!copy)
        return -1;
    memcpy(copy, key, bytes);
    x->keys[x->out->n_states] = copy;
    x->slots[at] = (uint32_t)++x->out->n_states;
    return (int32_t)x->out->n_states - 1;
}

/* Which states can still come to an accepted text, by going backwards until nothing is new. */
static void find_useful(const struct automaton *a, bool *useful)
{
    bool changed = true;
    memcpy(useful, a->accepts, a->n_states * sizeof *useful);
    while (changed) {
        changed = false;
        for (size_t s = a->n_states; s-- > 0;) {
            for (size_t c = 0; c < a->n_classes && !useful[s]; c++) {
                int32_t to = a->moves[s * a->n_classes + c];
                useful[s] = to >= 0 && useful[to];
                changed = changed || useful[s];
            }
        }
    }
}

/* Useful states alone, numbered anew, in the arena. */
static struct automaton *trim(const struct explorer *x)
{
    struct automaton *a = x->out;
    bool *useful = calloc(a->n_states + 1, 1);
    int32_t *number = malloc((a->n_states + 1) * sizeof *number);
    size_t n = 0;
    int32_t *moves = NULL;
    bool *accepts = NULL;
    if (useful && number) {
        find_useful(a, useful);
        for (size_t s = 0; s < a->n_states; s++)
            number[s] = useful[s] && useful[0] ? (int32_t)n++ : -1;
        moves = arena_alloc(x->arena, n * a->n_classes + 1, sizeof *moves);
        accepts = arena_alloc(x->arena, n + 1, sizeof *accepts);
    }
    for (size_t s = 0; moves && accepts && s < a->n_states; s++) {
        for (size_t c = 0; c < a->n_classes && number[s] >= 0; c++) {
            int32_t to = a->moves[s * a->n_classes + c];
            moves[(size_t)number[s] * a->n_classes + c] = to < 0 ? -1 : number[to];
        }
        if (number[s] >= 0)
            accepts[number[s]] = a->accepts[s];
    }
    free(useful);
    free(number);
    free(a->moves);
    free(a->accepts);
    a->n_states = n;
    a->moves = moves;
    a->accepts = accepts;
    return moves && accepts ? a : NULL;
}

/* What was explored, or NULL when it came to nothing good. */
static struct automaton *finish(struct explorer *x, bool good)
{
    struct automaton *a = NULL;
    if (good) {
        a = trim(x);
    } else if (x->out) {
        free(x->out->moves);
        free(x->out->accepts);
    }
    free(x->keys);
    free(x->slots);
    return a;
}

/* ---- classes of code points -------------------------------------------------------------------- */

struct bounds {
    uint32_t *items;
    size_t n, cap;
};

static int add_bound(struct bounds *b, uint32_t at)
{
    if (at > REGEX_LAST_POINT)
        return 0;
    if (b->n == b->cap) {
        size_t cap = b->cap ? b->cap * 2 : 64;
        uint32_t *items = realloc(b->items, cap * sizeof *items);
        if (!items)
            return -1;
        b->items = items;
        b->cap = cap;
    }
    b->items[b->n++] = at;
    return 0;
}

static int compare(const void *a, const void *b)
{
    const uint32_t *x = a, *y = b;
    return *x < *y ? -1 : *x > *y;
}

/* Sorted, each once, from 0, in the arena; frees b. */
static const uint32_t *finish_bounds(struct bounds *b, size_t *n, struct arena *arena)
{
    uint32_t *starts = add_bound(b, 0) == 0 ? arena_alloc(arena, b->n, sizeof *starts) : NULL;
    *n = 0;
    if (starts) {
        qsort(b->items, b->n, sizeof *b->items, compare);
        for (size_t i = 0; i < b->n; i++) {
            if (*n == 0 || b->items[i] != starts[*n - 1])
                starts[(*n)++] = b->items[i];
        }
    }
    free(b->items);
    return starts;
}

static size_t class_of(const uint32_t *starts, size_t n, uint32_t c)
{
    size_t low = 0, high = n;
    while (high - low > 1) {
        size_t middle = (low + high) / 2;
        if (starts[middle] <= c)
            low = middle;
        else
            high = middle;
    }
    return low;
}

/* ---- expressions: places ----------------------------------------------------------------------- */

enum place_kind { PLACE_CLASS, PLACE_SPLIT, PLACE_START, PLACE_END, PLACE_MATCH };
enum { NOWHERE = -1, MOST_PLACES = 1 << 18 };

struct place {
    enum place_kind kind;
    const struct regex *regex;
    int32_t next, other; /* SPLIT: both */
};

struct places {
    struct place *items;
    size_t n, cap;
    struct bounds bounds;
    bool failed;
};

static int32_t add_place(struct places *p, enum place_kind kind, int32_t next, int32_t other)
{
    if (p->n == p->cap && p->n < MOST_PLACES) {
        size_t cap = p->cap ? p->cap * 2 : 64;
        struct place *items = realloc(p->items, cap * sizeof *items);
        p->items = items ? items : p->items;
        p->cap = items ? cap : p->cap;
    }
    if (p->n == p->cap || p->failed) {
        p->failed = true;
        return 0;
    }
    p->items[p->n] = (struct place){.kind = kind, .next = next, .other = other};
    return (int32_t)p->n++;
}

static int32_t build(struct places *p, const struct regex *r, int32_t next);

static int32_t build_repeat(struct places *p, const struct regex *r, int32_t next)
{
    int32_t entry = next;
    if (r->max == REGEX_ENDLESS) {
        entry = add_place(p, PLACE_SPLIT, NOWHERE, next);
        int32_t body = build(p, r->children, entry);
        if (!p->failed)
            p->items[entry].next = body;
    }
    for (uint32_t i = r->min; r->max != REGEX_ENDLESS && i < r->max && !p->failed; i++)
        entry = add_place(p, PLACE_SPLIT, build(p, r->children, entry), next);
    for (uint32_t i = 0; i < r->min && !p->failed; i++)
        entry = build(p, r->children, entry);
    return entry;
}

/* Children from the last to the first. */
static int32_t build_sequence(struct places *p, const struct regex *child, int32_t next)
{
    size_t n = 0;
    const struct regex **list;
    for (const struct regex *c = child; c; c = c->next)
        n++;
    list = malloc((n + 1) * sizeof *list);
    p->failed = p->failed || !list;
    for (size_t i = 0; list && child; child = child->next)
        list[i++] = child;
    for (; list && n > 0 && !p->failed; n--)
        next = build(p, list[n - 1], next);
    free(list);
    return next;
}

static int32_t build(struct places *p, const struct regex *r, int32_t next)
{
    int32_t at = NOWHERE;
    switch (r->kind) {
    case REGEX_CLASS:
        at = add_place(p, PLACE_CLASS, next, NOWHERE);
        for (size_t i = 0; i < r->n_ranges && !p->failed; i++)
            p->failed = add_bound(&p->bounds, r->ranges[i].first) < 0 ||
                        add_bound(&p->bounds, r->ranges[i].last + 1) < 0;
        if (!p->failed)
            p->items[at].regex = r;
        return at;
    case REGEX_SEQUENCE:
        return build_sequence(p, r->children, next);
    case REGEX_CHOICE:
        for (const struct regex *child = r->children; child && !p->failed; child = child->next) {
            int32_t one = build(p, child, next);
            at = at == NOWHERE ? one : add_place(p, PLACE_SPLIT, one, at);
        }
        return at;
    case REGEX_REPEAT:
        return build_repeat(p, r, next);
    case REGEX_START:
        return add_place(p, PLACE_START, next, NOWHERE);
    case REGEX_END:
        return add_place(p, PLACE_END, next, NOWHERE);
    }
    return next;
}

/* ---- expressions: states ----------------------------------------------------------------------- */

/* A place is counted twice: as it is, and behind a $, where nothing may be read any more. */
struct subset {
    const struct places *p;
    uint32_t *seen, *key; /* (2 * places + 1) each; seen: what the set holds */
    bool *in;             /* (2 * places) */
    size_t n_seen;
    bool accepts;
};

static void visit(struct subset *s, int32_t place, bool ended)
{
    uint32_t at = (uint32_t)place * 2 + ended;
    if (!s->in[at]) {
        s->in[at] = true;
        s->seen[s->n_seen++] = at;
    }
}

/* Follows what reads nothing; the places that are left make the key. */
static void close_set(struct subset *s, bool at_start)
{
    s->key[0] = 0;
    s->accepts = false;
    for (size_t i = 0; i < s->n_seen; i++) {
        uint32_t at = s->seen[i];
        const struct place *place = &s->p->items[at / 2];
        bool ended = at % 2;
        if (place->kind == PLACE_SPLIT) {
            visit(s, place->next, ended);
            visit(s, place->other, ended);
        } else if (place->kind == PLACE_END) {
            visit(s, place->next, true);
        } else if (place->kind == PLACE_START && at_start) {
            visit(s, place->next, ended);
        }
        if ((place->kind == PLACE_CLASS && !ended) || place->kind == PLACE_MATCH)
            s->key[++s->key[0]] = at;
        s->accepts = s->accepts || place->kind == PLACE_MATCH;
    }
    for (size_t i = 0; i < s->n_seen; i++)
        s->in[s->seen[i]] = false;
    qsort(s->key + 1, s->key[0], sizeof *s->key, compare);
    s->n_seen = 0;
}

static bool reads(const struct place *place, uint32_t c)
{
    const struct regex_range *r = place->regex->ranges;
    size_t low = 0, high = place->regex->n_ranges;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (r[middle].last < c)
            low = middle + 1;
        else
            high = middle;
    }
    return low < place->regex->n_ranges && r[low].first <= c;
}

static bool explore_subsets(struct explorer *x, struct subset *s, int32_t entry)
{
    visit(s, entry, false);
    close_set(s, true);
    /* The start is a state of its own, since only there ^ holds: nothing leads back to it. */
    if (find_state(x, s->key) < 0)
        return false;
    x->out->accepts[0] = s->accepts;
    uint64_t work = 0;
    for (size_t state = 0; state < x->out->n_states; state++) {
        for (size_t c = 0; c < x->out->n_classes; c++) {
            const uint32_t *key = x->keys[state];
            for (uint32_t i = 1; i <= key[0]; i++) {
                const struct place *place = &s->p->items[key[i] / 2];
                if (place->kind == PLACE_CLASS && reads(place, x->out->starts[c]))
                    visit(s, place->next, false);
            }
            int32_t to = NOWHERE;
            work += key[0] + 1;
            if (s->n_seen > 0) {
                close_set(s, false);
                to = s->key[0] ? find_state(x, s->key) : NOWHERE;
                if ((s->key[0] && to < 0) || work > LIMIT_AUTOMATON_WORK)
                    return false;
                if (to >= 0)
                    x->out->accepts[to] = s->accepts;
            }
            x->out->moves[state * x->out->n_classes + c] = to;
        }
    }
    return true;
}

static struct automaton *explore(const struct places *p, int32_t entry, const uint32_t *starts, size_t n,
                                 struct arena *arena)
{
    struct explorer x = {0};
    struct subset s = {.p = p};
    s.seen = malloc((2 * p->n + 1) * sizeof *s.seen);
    s.key = malloc((2 * p->n + 2) * sizeof *s.key);
    s.in = calloc(2 * p->n + 1, sizeof *s.in);
    bool good =
        s.seen && s.key && s.in && explorer_init(&x, arena, starts, n) == 0 && explore_subsets(&x, &s, entry);
    free(s.seen);
    free(s.key);
    free(s.in);
    return finish(&x, good);
}

struct automaton *automaton_of_regex(const struct regex *r, bool searched, struct arena *arena)
{
    static const struct regex_range all = {0, REGEX_LAST_POINT};
    struct regex any = {.kind = REGEX_CLASS, .ranges = &all, .n_ranges = 1};
    struct regex before = {.kind = REGEX_REPEAT, .children = &any, .max = REGEX_ENDLESS}, after = before;
    struct places p = {0};
    int32_t match = add_place(&p, PLACE_MATCH, NOWHERE, NOWHERE);
    int32_t entry = searched ? build(&p, &after, match) : match;
    entry = build(&p, r, entry);
    entry = searched ? build(&p, &before, entry) : entry;
    size_t n;
    const uint32_t *starts = finish_bounds(&p.bounds, &n, arena);
    struct automaton *a = starts && !p.failed ? explore(&p, entry, starts, n, arena) : NULL;
    free(p.items);
    return a;
}

/* ---- others ------------------------------------------------------------------------------------ */

/* An automaton with room for n states, no moves. */
static struct automaton *empty(size_t n, const uint32_t *starts, size_t n_classes, struct arena *arena)
{
    struct automaton *a = n <= LIMIT_AUTOMATON ? arena_alloc(arena, 1, sizeof *a) : NULL;
    if (!a)
        return NULL;
    a->n_states = n;
    a->n_classes = n_classes;
    a->starts = starts;
    a->moves = arena_alloc(arena, n * n_classes, sizeof *a->moves);
    a->accepts = arena_alloc(arena, n, sizeof *a->accepts);
    if (!a->moves || !a->accepts)
        return NULL;
    memset(a->moves, 0xFF, n * n_classes * sizeof *a->moves);
    return a;
}

struct automaton *automaton_of_lengths(uint64_t min, uint64_t max, struct arena *arena)
{
    static const uint32_t starts[] = {0};
    bool endless = max >= REGEX_ENDLESS;
    uint64_t last = endless ? min : max;
    struct automaton *a = last < LIMIT_AUTOMATON ? empty(last + 1, starts, 1, arena) : NULL;
    for (uint64_t i = 0; a && i <= last; i++) {
        a->moves[i] = i < last ? (int32_t)i + 1 : endless ? (int32_t)last : -1;
        a->accepts[i] = i >= min;
    }
    return a;
}

struct automaton *automaton_of_multiples(uint64_t m, struct arena *arena)
{
    static const uint32_t starts[] = {0,   '-', '-' + 1, '0', '1', '2', '3',
                                      '4', '5', '6',     '7', '8', '9', '9' + 1};
    enum { CLASSES = sizeof starts / sizeof starts[0], MINUS = 1, ZERO = 3 };
    struct automaton *a = m < LIMIT_AUTOMATON - 2 ? empty(m + 2, starts, CLASSES, arena) : NULL;
    for (uint64_t s = 0; a && s < m + 2; s++) { /* the start, behind a minus, then remainders */
        for (uint64_t digit = 0; digit < 10; digit++) {
            uint64_t remainder = s < 2 ? digit : (s - 2) * 10 + digit;
            a->moves[s * CLASSES + ZERO + digit] = (int32_t)(remainder % m + 2);
        }
        a->accepts[s] = s == 2;
    }
    if (a)
        a->moves[MINUS] = 1;
    return a;
}

static bool accepted(enum automaton_operation o, bool a, bool b)
{
    return o == AUTOMATON_BOTH ? a && b : o == AUTOMATON_EITHER ? a || b : a && !b;
}

/* Keys are (state of a + 1, state of b + 1); 0: it has left it. */
static bool explore_pairs(struct explorer *x, const struct automaton *a, const struct automaton *b,
                          enum automaton_operation o)
{
    uint32_t key[] = {2, a->n_states > 0, b->n_states > 0};
    if (find_state(x, key) < 0)
        return false;
    for (size_t state = 0; state < x->out->n_states; state++) {
        uint32_t i = x->keys[state][1], k = x->keys[state][2];
        x->out->accepts[state] = accepted(o, i && a->accepts[i - 1], k && b->accepts[k - 1]);
        for (size_t c = 0; c < x->out->n_classes; c++) {
            uint32_t at = x->out->starts[c];
            if (i)
                key[1] =
                    (uint32_t)(a->moves[(i - 1) * a->n_classes + class_of(a->starts, a->n_classes, at)] + 1);
            if (k)
                key[2] =
                    (uint32_t)(b->moves[(k - 1) * b->n_classes + class_of(b->starts, b->n_classes, at)] + 1);
            key[1] = i ? key[1] : 0;
            key[2] = k ? key[2] : 0;
            bool dead = o == AUTOMATON_BOTH     ? !key[1] || !key[2]
                        : o == AUTOMATON_EITHER ? !key[1] && !key[2]
                                                : !key[1];
            int32_t to = dead ? NOWHERE : find_state(x, key);
            if (!dead && to < 0)
                return false;
            x->out->moves[state * x->out->n_classes + c] = to;
        }
    }
    return true;
}

struct automaton *automaton_join(const struct automaton *a, const struct automaton *b,
                                 enum automaton_operation o, struct arena *arena)
{
    struct bounds bounds = {0};
    struct explorer x = {0};
    size_t n;
    int status = 0;
    for (size_t i = 0; i < a->n_classes && status == 0; i++)
        status = add_bound(&bounds, a->starts[i]);
    for (size_t i = 0; i < b->n_classes && status == 0; i++)
        status = add_bound(&bounds, b->starts[i]);
    const uint32_t *starts = finish_bounds(&bounds, &n, arena);
    bool good =
        starts && status == 0 && explorer_init(&x, arena, starts, n) == 0 && explore_pairs(&x, a, b, o);
    return finish(&x, good);
}

bool automaton_accepts(const struct automaton *a, const char *text, size_t len)
{
    int32_t state = a->n_states > 0 ? 0 : -1;
    for (size_t at = 0; at < len && state >= 0;) {
        uint32_t c;
        int n = utf8_decode(text + at, len - at, &c);
        if (n <= 0)
            return false;
        state = a->moves[(size_t)state * a->n_classes + class_of(a->starts, a->n_classes, c)];
        at += (size_t)n;
    }
    return state >= 0 && a->accepts[state];
}

/* What leads from one state to another; 0 when nothing does. */
static size_t ranges_between(const struct automaton *a, size_t from, int32_t to, struct regex_range *ranges)
{
    size_t n = 0;
    for (size_t c = 0; c < a->n_classes; c++) {
        if (a->moves[from * a->n_classes + c] != to)
            continue;
        uint32_t last = c + 1 < a->n_classes ? a->starts[c + 1] - 1 : REGEX_LAST_POINT;
        if (n > 0 && ranges[n - 1].last + 1 == a->starts[c])
            ranges[n - 1].last = last;
        else
            ranges[n++] = (struct regex_range){a->starts[c], last};
    }
    return n;
}

static void write_state(const struct automaton *a, size_t state, const char *rule, bool inside_json,
                        struct regex_range *ranges, struct buf *out)
{
    const char *separator = "";
    size_t n = ranges_between(a, state, (int32_t)state, ranges);
    buf_printf(out, state ? "%s-%zu ::= " : "%s ::= ", rule, state);
    if (n > 0) { /* stays here as long as it likes */
        regex_write_class(ranges, n, inside_json, out);
        buf_add_text(out, "* ");
    }
    buf_add_text(out, "(");
    for (size_t c = 0; c < a->n_classes; c++) {
        int32_t to = a->moves[state * a->n_classes + c];
        bool seen = to < 0 || to == (int32_t)state;
        for (size_t k = 0; k < c && !seen; k++)
            seen = a->moves[state * a->n_classes + k] == to;
        if (seen)
            continue;
        n = ranges_between(a, state, to, ranges);
        buf_add_text(out, separator);
        regex_write_class(ranges, n, inside_json, out);
        buf_printf(out, to ? " %s-%d" : " %s", rule, to);
        separator = " | ";
    }
    if (a->accepts[state])
        buf_printf(out, "%s\"\"", separator);
    buf_add_text(out, ")\n");
}

void automaton_write(const struct automaton *a, const char *rule, bool inside_json, struct buf *out)
{
    struct regex_range *ranges = malloc((a->n_classes + 1) * sizeof *ranges);
    out->failed = out->failed || !ranges;
    for (size_t state = 0; ranges && state < a->n_states; state++)
        write_state(a, state, rule, inside_json, ranges, out);
    free(ranges);
}
