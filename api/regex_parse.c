/* regex_parse.c - see regex.h: the text of a regular expression to its tree.
 * To support one more escape: a row in parse_class_escape(). */
#include <stdlib.h>
#include <string.h>

#include "api/regex.h"
#include "engine/base/limits.h"
#include "engine/base/utf8.h"

struct parser {
    const char *text;
    size_t len, at;
    unsigned depth;
    struct arena *arena;
    struct error *error;
};

/* Ranges while a class is read. */
struct ranges {
    struct regex_range *items;
    size_t n, cap;
};

static int fail(const struct parser *p, enum error_kind kind, const char *what)
{
    return error_set(p->error, kind, "at byte %zu of the regular expression: %s", p->at, what);
}

static int bad(const struct parser *p, const char *what)
{
    return fail(p, ERROR_INVALID_REQUEST, what);
}

static int peek(const struct parser *p)
{
    return p->at < p->len ? (unsigned char)p->text[p->at] : -1;
}

static bool take(struct parser *p, const char *word)
{
    size_t n = strlen(word);
    if (p->len - p->at < n || memcmp(p->text + p->at, word, n) != 0)
        return false;
    p->at += n;
    return true;
}

static struct regex *new_regex(struct parser *p, enum regex_kind kind)
{
    struct regex *r = arena_alloc(p->arena, 1, sizeof *r);
    if (r)
        r->kind = kind;
    else
        bad(p, "it is too large");
    return r;
}

/* ---- ranges ------------------------------------------------------------------------------------- */

static int add_range(struct parser *p, struct ranges *r, uint32_t first, uint32_t last)
{
    if (r->n == r->cap) {
        size_t cap = r->cap ? r->cap * 2 : 16;
        struct regex_range *items = arena_alloc(p->arena, cap, sizeof *items);
        if (!items)
            return bad(p, "it is too large");
        if (r->n)
            memcpy(items, r->items, r->n * sizeof *items);
        r->items = items;
        r->cap = cap;
    }
    r->items[r->n++] = (struct regex_range){first, last};
    return 0;
}

static int compare(const void *a, const void *b)
{
    const struct regex_range *x = a, *y = b;
    return x->first < y->first ? -1 : x->first > y->first;
}

static void merge(struct ranges *r)
{
    size_t kept = 0;
    if (r->n)
        qsort(r->items, r->n, sizeof *r->items, compare);
    for (size_t i = 0; i < r->n; i++) {
        struct regex_range *last = kept ? &r->items[kept - 1] : NULL;
        if (last && r->items[i].first <= last->last + 1)
            last->last = r->items[i].last > last->last ? r->items[i].last : last->last;
        else
            r->items[kept++] = r->items[i];
    }
    r->n = kept;
}

static int add_inverse(struct parser *p, struct ranges *out, struct ranges *r)
{
    uint32_t next = 0;
    merge(r);
    for (size_t i = 0; i < r->n; i++) {
        if (r->items[i].first > next)
            TRY(add_range(p, out, next, r->items[i].first - 1));
        next = r->items[i].last + 1;
    }
    return next <= REGEX_LAST_POINT ? add_range(p, out, next, REGEX_LAST_POINT) : 0;
}

static int finish_class(struct parser *p, struct ranges *r, struct regex **out)
{
    *out = new_regex(p, REGEX_CLASS);
    if (!*out)
        return -1;
    merge(r);
    if (r->n == 0)
        return bad(p, "no character is in this class");
    (*out)->ranges = r->items;
    (*out)->n_ranges = r->n;
    return 0;
}

/* ---- characters and classes -------------------------------------------------------------------- */

/* \d \D \w \W \s \S; 1 when it is one. */
static int parse_class_escape(struct parser *p, struct ranges *out)
{
    static const struct {
        char name;
        struct regex_range ranges[10];
        size_t n;
    } classes[] = {
        {'d', {{'0', '9'}}, 1},
        {'w', {{'0', '9'}, {'A', 'Z'}, {'_', '_'}, {'a', 'z'}}, 4},
        {'s',
         {{9, 13},
          {' ', ' '},
          {0xA0, 0xA0},
          {0x1680, 0x1680},
          {0x2000, 0x200A},
          {0x2028, 0x2029},
          {0x202F, 0x202F},
          {0x205F, 0x205F},
          {0x3000, 0x3000},
          {0xFEFF, 0xFEFF}},
         10},
    };
    int c = peek(p);
    for (size_t i = 0; i < sizeof classes / sizeof classes[0]; i++) {
        bool inverted = c == classes[i].name - 'a' + 'A';
        if (c != classes[i].name && !inverted)
            continue;
        struct ranges r = {0};
        p->at++;
        for (size_t k = 0; k < classes[i].n; k++)
            TRY(add_range(p, inverted ? &r : out, classes[i].ranges[k].first, classes[i].ranges[k].last));
        if (inverted)
            TRY(add_inverse(p, out, &r));
        return 1;
    }
    return 0;
}

static int parse_hex(struct parser *p, unsigned least, unsigned most, uint32_t *out)
{
    unsigned n = 0;
    *out = 0;
    for (; n < most; n++, p->at++) {
        int c = peek(p);
        int digit = c >= '0' && c <= '9'   ? c - '0'
                    : c >= 'a' && c <= 'f' ? c - 'a' + 10
                    : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                           : -1;
        if (digit < 0)
            break;
        *out = *out * 16 + (uint32_t)digit;
    }
    return n < least || *out > REGEX_LAST_POINT ? bad(p, "an escape needs hexadecimal digits") : 0;
}

/* Behind \u: FFFF, {10FFFF}, or two surrogates. */
static int parse_unicode(struct parser *p, uint32_t *out)
{
    if (take(p, "{")) {
        TRY(parse_hex(p, 1, 6, out));
        if (!take(p, "}"))
            return bad(p, "a } is missing");
    } else {
        TRY(parse_hex(p, 4, 4, out));
        uint32_t low;
        if (*out >= 0xD800 && *out < 0xDC00 && take(p, "\\u")) {
            TRY(parse_hex(p, 4, 4, &low));
            if (low < 0xDC00 || low > 0xDFFF)
                return bad(p, "half a surrogate pair is no character");
            *out = 0x10000 + ((*out - 0xD800) << 10) + (low - 0xDC00);
        }
    }
    return *out >= 0xD800 && *out <= 0xDFFF ? bad(p, "half a surrogate pair is no character") : 0;
}

/* Behind a backslash; what is no class. */
static int parse_escape(struct parser *p, bool in_class, uint32_t *out)
{
    static const char from[] = "tnrfv0", to[] = "\t\n\r\f\v";
    int c = peek(p);
    const char *known = c > 0 ? strchr(from, c) : NULL;
    p->at += c >= 0;
    if (c < 0)
        return bad(p, "it ends with a backslash");
    if (known) {
        *out = (uint8_t)to[known - from];
        return c == '0' && peek(p) >= '0' && peek(p) <= '9' ? bad(p, "octal escapes are not part of it") : 0;
    }
    if (c == 'x')
        return parse_hex(p, 2, 2, out);
    if (c == 'u')
        return parse_unicode(p, out);
    if (c == 'c' && ((peek(p) | 32) >= 'a' && (peek(p) | 32) <= 'z')) {
        *out = (uint32_t)p->text[p->at++] & 31;
        return 0;
    }
    if (c == 'b' && in_class) {
        *out = 8;
        return 0;
    }
    if (c == 'b' || c == 'B')
        return fail(p, ERROR_UNSUPPORTED, "word boundaries (\\b) can't be enforced");
    if (c == 'k' || (c >= '1' && c <= '9'))
        return fail(p, ERROR_UNSUPPORTED, "back references can't be enforced");
    if (c == 'p' || c == 'P')
        return fail(p, ERROR_UNSUPPORTED, "Unicode properties (\\p) are not supported");
    if (c >= 0x80 || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'))
        return bad(p, "unknown escape");
    *out = (uint32_t)c;
    return 0;
}

static int parse_point(struct parser *p, uint32_t *out)
{
    int n = utf8_decode(p->text + p->at, p->len - p->at, out);
    if (n <= 0)
        return bad(p, "it is not valid UTF-8");
    p->at += (size_t)n;
    return 0;
}

/* One end of a range in [ ]; *is_class: it was \d or the like, added already. */
static int parse_class_atom(struct parser *p, struct ranges *r, uint32_t *out, bool *is_class)
{
    *is_class = false;
    if (!take(p, "\\"))
        return parse_point(p, out);
    int known = parse_class_escape(p, r);
    if (known < 0)
        return -1;
    *is_class = known;
    if (known)
        return 0;
    if (take(p, "-")) {
        *out = '-';
        return 0;
    }
    return parse_escape(p, true, out);
}

static int parse_class(struct parser *p, struct regex **out)
{
    struct ranges r = {0}, inverse = {0};
    bool inverted = take(p, "^");
    while (peek(p) != ']') {
        uint32_t first, last;
        bool is_class, other;
        if (peek(p) < 0)
            return bad(p, "a ] is missing");
        TRY(parse_class_atom(p, &r, &first, &is_class));
        last = first;
        if (peek(p) == '-' && p->at + 1 < p->len && p->text[p->at + 1] != ']') {
            p->at++;
            TRY(parse_class_atom(p, &r, &last, &other));
            if (is_class || other)
                return bad(p, "a class like \\d can't be an end of a range");
        }
        if (!is_class && last < first)
            return bad(p, "a range ends before it begins");
        if (!is_class)
            TRY(add_range(p, &r, first, last));
    }
    p->at++;
    if (inverted)
        TRY(add_inverse(p, &inverse, &r));
    return finish_class(p, inverted ? &inverse : &r, out);
}

static int single(struct parser *p, uint32_t c, struct regex **out)
{
    struct ranges r = {0};
    TRY(add_range(p, &r, c, c));
    return finish_class(p, &r, out);
}

/* Everything but the ends of lines. */
static int parse_dot(struct parser *p, struct regex **out)
{
    struct ranges r = {0}, inverse = {0};
    TRY(add_range(p, &r, '\n', '\n'));
    TRY(add_range(p, &r, '\r', '\r'));
    TRY(add_range(p, &r, 0x2028, 0x2029));
    TRY(add_inverse(p, &inverse, &r));
    return finish_class(p, &inverse, out);
}

/* ---- the rest ----------------------------------------------------------------------------------- */

static int parse_choice(struct parser *p, struct regex **out);

static int parse_group(struct parser *p, struct regex **out)
{
    if (take(p, "?")) {
        if (peek(p) == '=' || peek(p) == '!')
            return fail(p, ERROR_UNSUPPORTED, "lookaheads can't be enforced");
        if (take(p, "<") || take(p, "P<")) {
            if (peek(p) == '=' || peek(p) == '!')
                return fail(p, ERROR_UNSUPPORTED, "lookbehinds can't be enforced");
            while (peek(p) >= 0 && peek(p) != '>')
                p->at++;
            if (!take(p, ">"))
                return bad(p, "the name of a group does not end");
        } else if (!take(p, ":")) {
            return fail(p, ERROR_UNSUPPORTED, "flags and special groups are not supported");
        }
    }
    if (++p->depth > LIMIT_REGEX_NESTING)
        return bad(p, "groups are nested too deeply");
    TRY(parse_choice(p, out));
    p->depth--;
    return take(p, ")") ? 0 : bad(p, "a ) is missing");
}

/* *out stays NULL where no atom begins. */
static int parse_atom(struct parser *p, struct regex **out)
{
    struct ranges r = {0};
    uint32_t c;
    *out = NULL;
    if (peek(p) < 0 || peek(p) == '|' || peek(p) == ')')
        return 0;
    if (take(p, "^"))
        return (*out = new_regex(p, REGEX_START)) ? 0 : -1;
    if (take(p, "$"))
        return (*out = new_regex(p, REGEX_END)) ? 0 : -1;
    if (take(p, "."))
        return parse_dot(p, out);
    if (take(p, "["))
        return parse_class(p, out);
    if (take(p, "("))
        return parse_group(p, out);
    if (peek(p) == '*' || peek(p) == '+' || peek(p) == '?')
        return bad(p, "nothing is there to be repeated");
    if (take(p, "\\")) {
        int known = parse_class_escape(p, &r);
        if (known)
            return known < 0 ? -1 : finish_class(p, &r, out);
        TRY(parse_escape(p, false, &c));
    } else {
        TRY(parse_point(p, &c));
    }
    return single(p, c, out);
}

static bool parse_number(struct parser *p, uint32_t *out)
{
    uint64_t n = 0;
    size_t from = p->at;
    for (; peek(p) >= '0' && peek(p) <= '9'; p->at++)
        n = n < LIMIT_GRAMMAR_REPEAT ? n * 10 + (uint64_t)(peek(p) - '0') : n;
    *out = n < LIMIT_GRAMMAR_REPEAT ? (uint32_t)n : LIMIT_GRAMMAR_REPEAT;
    return p->at > from;
}

/* {m}, {m,}, {m,n}; anything else in braces is text. */
static bool parse_bounds(struct parser *p, uint32_t *min, uint32_t *max)
{
    size_t back = p->at;
    if (take(p, "{") && parse_number(p, min)) {
        *max = *min;
        if (take(p, ",") && !parse_number(p, max))
            *max = REGEX_ENDLESS;
        if (take(p, "}"))
            return true;
    }
    p->at = back;
    return false;
}

static int parse_repeat(struct parser *p, struct regex **x)
{
    uint32_t min = 0, max = REGEX_ENDLESS;
    if (take(p, "?"))
        max = 1;
    else if (take(p, "+"))
        min = 1;
    else if (!take(p, "*") && !parse_bounds(p, &min, &max))
        return 0;
    if (min > max)
        return bad(p, "the repetition's minimum is above its maximum");
    if (peek(p) == '+')
        return fail(p, ERROR_UNSUPPORTED, "possessive repetitions are not supported");
    take(p, "?"); /* lazy: the same texts */
    if (peek(p) == '*' || peek(p) == '+' || peek(p) == '?')
        return bad(p, "a repetition is repeated");
    if ((*x)->kind == REGEX_START || (*x)->kind == REGEX_END)
        return bad(p, "an anchor can't be repeated");
    struct regex *r = new_regex(p, REGEX_REPEAT);
    if (!r)
        return -1;
    r->min = min;
    r->max = max;
    r->children = *x;
    *x = r;
    return 0;
}

static int parse_sequence(struct parser *p, struct regex **out)
{
    struct regex *x = new_regex(p, REGEX_SEQUENCE), **end;
    if (!x)
        return -1;
    end = &x->children;
    for (;;) {
        TRY(parse_atom(p, end));
        if (!*end)
            break;
        TRY(parse_repeat(p, end));
        end = &(*end)->next;
    }
    *out = x;
    return 0;
}

static int parse_choice(struct parser *p, struct regex **out)
{
    struct regex *x = new_regex(p, REGEX_CHOICE), **end;
    if (!x)
        return -1;
    end = &x->children;
    do {
        TRY(parse_sequence(p, end));
        end = &(*end)->next;
    } while (take(p, "|"));
    *out = x->children->next ? x : x->children;
    return 0;
}

int regex_parse(const char *pattern, size_t len, struct arena *arena, struct regex **out, struct error *e)
{
    struct parser p = {.text = pattern, .len = len, .arena = arena, .error = e};
    if (len > LIMIT_REGEX)
        return error_set(e, ERROR_INVALID_REQUEST, "a regular expression may have at most %u bytes",
                         LIMIT_REGEX);
    TRY(parse_choice(&p, out));
    return p.at == len ? 0 : bad(&p, "a ) is here without its (");
}
