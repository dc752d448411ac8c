/* grammar_text.c - see grammar_tree.h: the text of a grammar to its tree.
 * A descent over the text; brackets nest at most LIMIT_GRAMMAR_NESTING deep.  To add a kind of element: a row
 * in parse_element() and a case in grammar_compile.c. */
#include "engine/decode/grammar_tree.h"

#include <stdlib.h>
#include <string.h>

#include "engine/base/limits.h"
#include "engine/base/string_table.h"
#include "engine/base/utf8.h"
#include "engine/decode/token_trie.h"

enum { LAST_CODE_POINT = 0x10FFFF, CLASS_RANGES = 4096, REPEATS = 4 };

struct parser {
    struct grammar_tree *tree;
    const struct token_trie *trie;
    const char *text;
    size_t len, at;
    unsigned nesting;
    struct string_table names;
    struct error *error;
};

/* ---- text ------------------------------------------------------------------------------------- */

static int peek(const struct parser *p)
{
    return p->at < p->len ? (unsigned char)p->text[p->at] : -1;
}

static bool starts(const struct parser *p, const char *word)
{
    size_t n = strlen(word);
    return p->len - p->at >= n && memcmp(p->text + p->at, word, n) == 0;
}

static uint32_t line_of(const struct parser *p, size_t at)
{
    uint32_t line = 1;
    for (size_t i = 0; i < at; i++)
        line += p->text[i] == '\n';
    return line;
}

static int fail(const struct parser *p, const char *what)
{
    size_t from = p->at;
    while (from > 0 && p->text[from - 1] != '\n')
        from--;
    return error_param(p->error, ERROR_INVALID_REQUEST, "grammar", "grammar, line %u, column %zu: %s",
                       line_of(p, p->at), p->at - from + 1, what);
}

static int out_of_room(const struct parser *p)
{
    return error_param(p->error, ERROR_INVALID_REQUEST, "grammar", "the grammar is too large");
}

static void skip_comment(struct parser *p)
{
    while (p->at < p->len && p->text[p->at] != '\n')
        p->at++;
}

static void skip_space(struct parser *p, bool lines)
{
    for (;; p->at++) {
        if (peek(p) == '#')
            skip_comment(p);
        int c = peek(p);
        if (c != ' ' && c != '\t' && c != '\r' && !(lines && c == '\n'))
            return;
    }
}

/* Inside brackets lines do not end anything, and a line that begins with | goes on with the one before. */
static void skip_between(struct parser *p)
{
    skip_space(p, p->nesting > 0);
    size_t back = p->at;
    skip_space(p, true);
    if (peek(p) != '|')
        p->at = back;
}

static bool is_name(int c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
}

static size_t name_length(const struct parser *p)
{
    size_t n = 0;
    while (p->at + n < p->len && is_name((unsigned char)p->text[p->at + n]))
        n++;
    return n;
}

static int hex_digits(struct parser *p, unsigned n, uint32_t *out)
{
    *out = 0;
    for (; n > 0; n--, p->at++) {
        int c = peek(p);
        int digit = c >= '0' && c <= '9'   ? c - '0'
                    : c >= 'a' && c <= 'f' ? c - 'a' + 10
                    : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                           : -1;
        if (digit < 0)
            return fail(p, "a hexadecimal digit is missing");
        *out = *out * 16 + (uint32_t)digit;
    }
    if (*out > LAST_CODE_POINT || (*out >= 0xD800 && *out <= 0xDFFF))
        return fail(p, "no character has this number");
    return 0;
}

static int parse_escape(struct parser *p, uint32_t *out)
{
    static const char plain[] = "\\\"[]-^'/";
    int c = peek(p);
    p->at += c >= 0;
    switch (c) {
    case 'x':
        return hex_digits(p, 2, out);
    case 'u':
        return hex_digits(p, 4, out);
    case 'U':
        return hex_digits(p, 8, out);
    case 'n':
        *out = '\n';
        return 0;
    case 'r':
        *out = '\r';
        return 0;
    case 't':
        *out = '\t';
        return 0;
    default:
        if (c <= 0 || !strchr(plain, c))
            return fail(p, "unknown escape");
        *out = (uint32_t)c;
        return 0;
    }
}

static int parse_char(struct parser *p, uint32_t *out)
{
    if (peek(p) == '\\') {
        p->at++;
        return parse_escape(p, out);
    }
    int n = p->at < p->len ? utf8_decode(p->text + p->at, p->len - p->at, out) : 0;
    if (n <= 0)
        return fail(p, "the grammar is no valid UTF-8, or ends too early");
    p->at += (size_t)n;
    return 0;
}

/* ---- expressions ------------------------------------------------------------------------------- */

static struct expr *new_expr(struct parser *p, enum expr_kind kind)
{
    struct expr *x = arena_alloc(p->tree->arena, 1, sizeof *x);
    if (x)
        x->kind = kind;
    else
        out_of_room(p);
    return x;
}

static int parse_literal(struct parser *p, struct expr **out)
{
    struct expr *x = new_expr(p, EXPR_BYTES);
    size_t room = 0;
    p->at++;
    while (p->at + room < p->len && p->text[p->at + room] != '"')
        room += p->text[p->at + room] == '\\' ? 2 : 1;
    char *bytes = x ? arena_alloc(p->tree->arena, room + 4, 1) : NULL;
    if (!bytes)
        return out_of_room(p);
    while (peek(p) != '"') {
        uint32_t c;
        if (peek(p) < 0 || peek(p) == '\n')
            return fail(p, "the text in quotes does not end");
        TRY(parse_char(p, &c));
        x->len += utf8_encode(c, bytes + x->len);
    }
    p->at++;
    x->text = bytes;
    *out = x;
    return 0;
}

static int compare_ranges(const void *a, const void *b)
{
    const struct code_range *x = a, *y = b;
    return x->first < y->first ? -1 : x->first > y->first;
}

static size_t merge_ranges(struct code_range *r, size_t n)
{
    size_t kept = 0;
    qsort(r, n, sizeof *r, compare_ranges);
    for (size_t i = 0; i < n; i++) {
        if (kept > 0 && r[i].first <= r[kept - 1].last + 1)
            r[kept - 1].last = r[i].last > r[kept - 1].last ? r[i].last : r[kept - 1].last;
        else
            r[kept++] = r[i];
    }
    return kept;
}

/* r has room for one more. */
static size_t invert_ranges(struct code_range *r, size_t n)
{
    uint32_t next = 0;
    size_t kept = 0;
    for (size_t i = 0; i < n; i++) {
        struct code_range old = r[i];
        if (old.first > next)
            r[kept++] = (struct code_range){next, old.first - 1};
        next = old.last + 1;
    }
    if (next <= LAST_CODE_POINT) /* writes behind what was read: kept <= n */
        r[kept++] = (struct code_range){next, LAST_CODE_POINT};
    return kept;
}

static int parse_range(struct parser *p, struct code_range *out)
{
    TRY(parse_char(p, &out->first));
    out->last = out->first;
    if (peek(p) == '-' && p->at + 1 < p->len && p->text[p->at + 1] != ']') {
        p->at++;
        TRY(parse_char(p, &out->last));
    }
    return out->last < out->first ? fail(p, "a range ends before it begins") : 0;
}

static int set_class(struct parser *p, const struct code_range *ranges, size_t n, struct expr **out)
{
    struct expr *x = new_expr(p, EXPR_CLASS);
    struct code_range *copy = x ? arena_alloc(p->tree->arena, n + 1, sizeof *copy) : NULL;
    if (!copy)
        return out_of_room(p);
    memcpy(copy, ranges, n * sizeof *copy);
    x->ranges = copy;
    x->n_ranges = n;
    *out = x;
    return n ? 0 : fail(p, "no character is in this class");
}

static int read_class(struct parser *p, struct code_range *ranges, struct expr **out)
{
    size_t n = 0;
    p->at++;
    bool inverted = peek(p) == '^';
    p->at += inverted;
    while (peek(p) != ']') {
        if (n == CLASS_RANGES)
            return fail(p, "too many ranges in a class");
        TRY(parse_range(p, &ranges[n++]));
    }
    p->at++;
    n = merge_ranges(ranges, n);
    n = inverted ? invert_ranges(ranges, n) : n;
    return set_class(p, ranges, n, out);
}

static int parse_class(struct parser *p, struct expr **out)
{
    struct code_range *ranges = malloc((CLASS_RANGES + 1) * sizeof *ranges);
    int status = ranges ? read_class(p, ranges, out) : error_no_memory(p->error);
    free(ranges);
    return status;
}

/* The rule of this name, defined or not; its number, or -1. */
static int32_t find_rule(struct parser *p, const char *name, size_t len)
{
    struct grammar_tree *t = p->tree;
    int32_t known = string_table_find(&p->names, name, len);
    if (known >= 0)
        return known;
    if (t->n_rules == t->cap_rules)
        return fail(p, "too many rules");
    char *copy = arena_copy(t->arena, name, len);
    if (!copy)
        return out_of_room(p);
    t->rules[t->n_rules] = (struct tree_rule){.name = copy, .at = p->at};
    string_table_add(&p->names, copy, len, (int32_t)t->n_rules);
    return (int32_t)t->n_rules++;
}

static int parse_name(struct parser *p, struct expr **out)
{
    size_t len = name_length(p);
    int32_t rule = find_rule(p, p->text + p->at, len);
    struct expr *x = rule >= 0 ? new_expr(p, EXPR_RULE) : NULL;
    if (!x)
        return -1;
    x->index = (uint32_t)rule;
    p->at += len;
    *out = x;
    return 0;
}

/* <[12]> or <name>; the name has its brackets: <think> is the token "<think>". */
static int parse_token(struct parser *p, struct expr **out)
{
    const char *start = p->text + p->at, *end = memchr(start, '>', p->len - p->at);
    struct expr *x = new_expr(p, EXPR_TOKEN);
    if (!x)
        return -1;
    if (!end || memchr(start, '\n', (size_t)(end - start)))
        return fail(p, "the token has no end: <name> or <[number]>");
    size_t len = (size_t)(end - start) + 1;
    if (len > 4 && start[1] == '[' && end[-1] == ']') {
        char *stop;
        long id = strtol(start + 2, &stop, 10);
        if (stop != end - 1 || id < 0 || (size_t)id >= p->trie->source.n)
            return fail(p, "the vocabulary has no token of this number");
        size_t n;
        x->id = (int32_t)id;
        x->text = token_trie_bytes(p->trie, x->id, &n);
        x->len = n;
    } else {
        x->id = token_trie_control(p->trie, start, len);
        x->text = x->id < 0 ? arena_copy(p->tree->arena, start, len) : NULL;
        x->len = len;
        if (x->id < 0 && !x->text)
            return out_of_room(p);
    }
    if (x->text) /* no control token: its text says the same */
        x->kind = EXPR_BYTES;
    p->at += len;
    *out = x;
    return 0;
}

static int parse_choice(struct parser *p, struct expr **out);

static int parse_brackets(struct parser *p, struct expr **out)
{
    if (p->nesting == LIMIT_GRAMMAR_NESTING)
        return fail(p, "brackets are nested too deeply");
    p->nesting++;
    p->at++;
    skip_space(p, true);
    TRY(parse_choice(p, out));
    if (peek(p) != ')')
        return fail(p, "a ) is missing");
    p->nesting--;
    p->at++;
    return 0;
}

static int parse_sequence(struct parser *p, struct expr **out);

/* ^"text" expression */
static int parse_trigger(struct parser *p, struct expr **out)
{
    struct expr *x = new_expr(p, EXPR_TRIGGER), *first, *rest;
    if (!x)
        return -1;
    x->at_start = peek(p) == '^';
    p->at += x->at_start;
    if (peek(p) == '"')
        TRY(parse_literal(p, &first));
    else if (peek(p) == '<')
        TRY(parse_token(p, &first));
    else
        return fail(p, "a trigger is a text in quotes or a <token>");
    if (first->kind == EXPR_BYTES && first->len == 0)
        return fail(p, "a trigger has no text");
    if (first->kind == EXPR_TOKEN && x->at_start)
        return fail(p, "^ is for texts");
    skip_space(p, true);
    TRY(parse_sequence(p, &rest));
    first->next = rest;
    x->children = first;
    *out = x;
    return 0;
}

static int parse_free(struct parser *p, bool resumes, struct expr **out)
{
    struct expr *x = new_expr(p, EXPR_FREE), **end;
    if (!x)
        return -1;
    if (p->nesting == LIMIT_GRAMMAR_NESTING)
        return fail(p, "brackets are nested too deeply");
    x->resumes = resumes;
    end = &x->children;
    p->nesting++;
    p->at += strcspn(p->text + p->at, "(");
    do {
        p->at++;
        skip_space(p, true);
        TRY(parse_trigger(p, end));
        end = &(*end)->next;
    } while (peek(p) == '|');
    if (peek(p) != ')')
        return fail(p, "a ) is missing");
    p->nesting--;
    p->at++;
    *out = x;
    return 0;
}

static int parse_any(struct parser *p, struct expr **out)
{
    static const struct code_range all = {0, LAST_CODE_POINT};
    p->at++;
    return set_class(p, &all, 1, out);
}

/* *out stays NULL where no element begins. */
static int parse_element(struct parser *p, struct expr **out)
{
    int c = peek(p);
    *out = NULL;
    if (c == '"')
        return parse_literal(p, out);
    if (c == '[')
        return parse_class(p, out);
    if (c == '<')
        return parse_token(p, out);
    if (c == '(')
        return parse_brackets(p, out);
    if (c == '.')
        return parse_any(p, out);
    if (starts(p, "%free("))
        return parse_free(p, true, out);
    if (starts(p, "%until("))
        return parse_free(p, false, out);
    return is_name(c) ? parse_name(p, out) : 0;
}

static int parse_count(struct parser *p, uint32_t *out)
{
    uint64_t n = 0;
    size_t from = p->at;
    for (; peek(p) >= '0' && peek(p) <= '9'; p->at++) {
        n = n * 10 + (uint64_t)(peek(p) - '0');
        if (n > LIMIT_GRAMMAR_REPEAT)
            return fail(p, "the repetition is too large");
    }
    *out = (uint32_t)n;
    return p->at == from ? fail(p, "a number is missing") : 0;
}

/* {m}, {m,}, {m,n}, {,n} */
static int parse_bounds(struct parser *p, uint32_t *min, uint32_t *max)
{
    p->at++;
    skip_space(p, false);
    *min = 0;
    if (peek(p) != ',')
        TRY(parse_count(p, min));
    *max = *min;
    skip_space(p, false);
    if (peek(p) == ',') {
        p->at++;
        skip_space(p, false);
        *max = EXPR_ENDLESS;
        if (peek(p) != '}')
            TRY(parse_count(p, max));
        skip_space(p, false);
    }
    if (peek(p) != '}')
        return fail(p, "a } is missing");
    p->at++;
    return *min > *max ? fail(p, "the repetition's minimum is above its maximum") : 0;
}

static int parse_repeats(struct parser *p, struct expr **x)
{
    for (unsigned n = 0;; n++) {
        struct expr *r;
        uint32_t min = 0, max = EXPR_ENDLESS;
        int c = peek(p);
        if (c != '*' && c != '+' && c != '?' && c != '{')
            return 0;
        if (n == REPEATS)
            return fail(p, "repetitions are nested too deeply");
        if (c == '{') {
            TRY(parse_bounds(p, &min, &max));
        } else {
            min = c == '+';
            max = c == '?' ? 1 : EXPR_ENDLESS;
            p->at++;
        }
        r = new_expr(p, EXPR_REPEAT);
        if (!r)
            return -1;
        r->min = min;
        r->max = max;
        r->children = *x;
        *x = r;
        skip_between(p);
    }
}

static int parse_sequence(struct parser *p, struct expr **out)
{
    struct expr *x = new_expr(p, EXPR_SEQUENCE), **end;
    if (!x)
        return -1;
    end = &x->children;
    for (;;) {
        skip_between(p);
        TRY(parse_element(p, end));
        if (!*end)
            break;
        skip_between(p);
        TRY(parse_repeats(p, end));
        end = &(*end)->next;
    }
    *out = x->children && !x->children->next ? x->children : x;
    return 0;
}

static int parse_choice(struct parser *p, struct expr **out)
{
    struct expr *x = new_expr(p, EXPR_CHOICE), **end;
    if (!x)
        return -1;
    end = &x->children;
    for (;;) {
        struct expr *one;
        TRY(parse_sequence(p, &one));
        *end = one;
        end = &one->next;
        if (peek(p) != '|')
            break;
        p->at++;
        skip_space(p, true);
    }
    *out = x->children->next ? x : x->children;
    return 0;
}

static int parse_rule(struct parser *p)
{
    size_t len = name_length(p);
    if (len == 0)
        return fail(p, "a rule's name is missing");
    int32_t rule = find_rule(p, p->text + p->at, len);
    if (rule < 0)
        return -1;
    if (p->tree->rules[rule].body)
        return fail(p, "this rule is there already");
    p->at += len;
    skip_space(p, false);
    if (!starts(p, "::="))
        return fail(p, "::= is missing behind the name of a rule");
    p->at += 3;
    skip_space(p, true);
    struct expr *body;
    TRY(parse_choice(p, &body));
    p->tree->rules[rule].body = body;
    if (peek(p) >= 0 && peek(p) != '\n')
        return fail(p, "this is no part of a grammar");
    return 0;
}

static int parse_rules(struct parser *p)
{
    if (find_rule(p, "root", 4) < 0)
        return -1;
    for (skip_space(p, true); peek(p) >= 0; skip_space(p, true))
        TRY(parse_rule(p));
    for (size_t i = 0; i < p->tree->n_rules; i++) {
        const struct tree_rule *r = &p->tree->rules[i];
        if (!r->body)
            return error_param(p->error, ERROR_INVALID_REQUEST, "grammar",
                               "grammar: the rule %.100s (line %u) is not defined", r->name,
                               line_of(p, r->at));
    }
    return 0;
}

int grammar_parse(const char *text, size_t len, const struct token_trie *trie, struct grammar_tree *out,
                  struct error *e)
{
    struct parser p = {.tree = out, .trie = trie, .text = text, .len = len, .error = e};
    *out = (struct grammar_tree){0};
    if (len > LIMIT_GRAMMAR_TEXT)
        return error_param(e, ERROR_INVALID_REQUEST, "grammar", "a grammar may have at most %u bytes",
                           LIMIT_GRAMMAR_TEXT);
    out->cap_rules = len / 2 + 2 < LIMIT_GRAMMAR_RULES ? len / 2 + 2 : LIMIT_GRAMMAR_RULES;
    out->arena = arena_create(LIMIT_GRAMMAR_TREE);
    out->rules = out->arena ? arena_alloc(out->arena, out->cap_rules, sizeof *out->rules) : NULL;
    if (!out->rules)
        return error_no_memory(e);
    TRY(string_table_init(&p.names, out->cap_rules, e));
    int status = parse_rules(&p);
    string_table_free(&p.names);
    return status;
}

void grammar_tree_free(struct grammar_tree *t)
{
    arena_free(t->arena);
    *t = (struct grammar_tree){0};
}
