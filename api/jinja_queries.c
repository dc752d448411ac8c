/* jinja_queries.c - the methods of str that answer with a number or a truth.
 * To add one: a function and a row.  Positions are code points, as in Python. */
#include <string.h>
#include <utf8proc.h>

#include "api/jinja_case.h"
#include "engine/base/error.h"

/* The bytes that [start:end] of the call's arguments at `first` covers. */
static int range_of(struct run *run, struct call *c, size_t first, size_t *from, size_t *to)
{
    struct value bounds[3] = {c->arg[first], c->arg[first + 1], {.type = VALUE_MISSING}}, slice;
    TRY(jinja_slice(run, &c->self, bounds, &slice));
    *from = 0;
    *to = c->self.text->len;
    if (c->arg[first].type == VALUE_MISSING && c->arg[first + 1].type == VALUE_MISSING)
        return 0;
    bounds[1] = (struct value){.type = VALUE_MISSING};
    struct value tail;
    TRY(jinja_slice(run, &c->self, bounds, &tail));
    *from = c->self.text->len - tail.text->len;
    *to = *from + slice.text->len;
    return 0;
}

static int find(struct run *run, struct call *c, bool last, bool strict, struct value *out)
{
    struct text *t = c->self.text, *what;
    size_t from, to;
    TRY(jinja_as_text(run, &c->arg[0], "the text to find", &what));
    TRY(range_of(run, c, 1, &from, &to));
    TRY(jinja_spend_bytes(run, t->len));
    size_t hit = last ? SIZE_MAX : jinja_text_find(t, from, to, what->s, what->len);
    if (last)
        TRY(jinja_text_find_last(run, t, from, to, what, &hit));
    if (hit == SIZE_MAX && strict)
        return jinja_fail(run, "substring not found");
    *out = jinja_int(-1);
    if (hit == SIZE_MAX)
        return 0;
    struct text before = {.s = t->s, .len = hit, .chars = UNKNOWN_CHARS};
    *out = jinja_int((int64_t)jinja_text_chars(&before));
    return 0;
}

static int m_find(struct run *run, struct call *c, struct value *out)
{
    return find(run, c, false, false, out);
}

static int m_rfind(struct run *run, struct call *c, struct value *out)
{
    return find(run, c, true, false, out);
}

static int m_index(struct run *run, struct call *c, struct value *out)
{
    return find(run, c, false, true, out);
}

static int m_rindex(struct run *run, struct call *c, struct value *out)
{
    return find(run, c, true, true, out);
}

static int m_count(struct run *run, struct call *c, struct value *out)
{
    struct text *t = c->self.text, *what;
    size_t from, to;
    int64_t n = 0;
    TRY(jinja_as_text(run, &c->arg[0], "the text to count", &what));
    TRY(range_of(run, c, 1, &from, &to));
    TRY(jinja_spend_bytes(run, t->len));
    if (!what->len) {
        struct text range = {.s = t->s + from, .len = to - from, .chars = UNKNOWN_CHARS};
        *out = jinja_int((int64_t)jinja_text_chars(&range) + 1);
        return 0;
    }
    for (; (from = jinja_text_find(t, from, to, what->s, what->len)) != SIZE_MAX; from += what->len)
        n++;
    *out = jinja_int(n);
    return 0;
}

static int affix(struct run *run, struct call *c, bool end, struct value *out)
{
    size_t from, to;
    struct list one = {.items = &c->arg[0], .n = 1}, *l = &one;
    if (c->arg[0].type == VALUE_LIST && c->arg[0].list->kind == LIST_TUPLE)
        l = c->arg[0].list;
    TRY(range_of(run, c, 1, &from, &to));
    *out = jinja_bool(false);
    for (size_t i = 0; i < l->n && !out->boolean; i++) {
        struct text *what;
        TRY(jinja_as_text(run, &l->items[i], "the prefix or suffix", &what));
        TRY(jinja_spend_bytes(run, what->len));
        if (what->len <= to - from)
            out->boolean = memcmp(c->self.text->s + (end ? to - what->len : from), what->s, what->len) == 0;
    }
    return 0;
}

static int m_startswith(struct run *run, struct call *c, struct value *out)
{
    return affix(run, c, false, out);
}

static int m_endswith(struct run *run, struct call *c, struct value *out)
{
    return affix(run, c, true, out);
}

/* ---- isdigit() and its kin: true when the text is not empty and every code point passes -------------- */

typedef bool point_test(int32_t c);

static int every(struct run *run, struct call *c, point_test *test, struct value *out)
{
    const struct text *t = c->self.text;
    bool all = t->len > 0;
    TRY(jinja_spend_bytes(run, t->len * 4));
    for (size_t at = 0, n = 0; all && at < t->len; at += n)
        all = test(jinja_decode(t->s + at, &n));
    *out = jinja_bool(all);
    return 0;
}

static bool is_decimal(int32_t c)
{
    return utf8proc_category(c) == UTF8PROC_CATEGORY_ND;
}

/* Superscripts and circled digits are digits to Python too. */
static bool is_digit(int32_t c)
{
    return is_decimal(c) || c == 0xb2 || c == 0xb3 || c == 0xb9 || c == 0x2070 ||
           (c >= 0x2074 && c <= 0x2079) || (c >= 0x2080 && c <= 0x2089) || (c >= 0x2460 && c <= 0x2468);
}

static bool is_numeric(int32_t c)
{
    utf8proc_category_t g = utf8proc_category(c);
    return g == UTF8PROC_CATEGORY_ND || g == UTF8PROC_CATEGORY_NL || g == UTF8PROC_CATEGORY_NO;
}

static bool is_alnum(int32_t c)
{
    return jinja_is_letter(c) || is_numeric(c);
}

static bool is_ascii(int32_t c)
{
    return c < 0x80;
}

static int m_isdigit(struct run *run, struct call *c, struct value *out)
{
    return every(run, c, is_digit, out);
}

static int m_isdecimal(struct run *run, struct call *c, struct value *out)
{
    return every(run, c, is_decimal, out);
}

static int m_isnumeric(struct run *run, struct call *c, struct value *out)
{
    return every(run, c, is_numeric, out);
}

static int m_isalpha(struct run *run, struct call *c, struct value *out)
{
    return every(run, c, jinja_is_letter, out);
}

static int m_isalnum(struct run *run, struct call *c, struct value *out)
{
    return every(run, c, is_alnum, out);
}

static int m_isspace(struct run *run, struct call *c, struct value *out)
{
    return every(run, c, jinja_is_space, out);
}

static int m_isascii(struct run *run, struct call *c, struct value *out)
{
    TRY(every(run, c, is_ascii, out));
    out->boolean |= c->self.text->len == 0;
    return 0;
}

/* Some letter has a case, and no letter has the other one. */
static int one_case(struct run *run, struct call *c, bool upper, struct value *out)
{
    const struct text *t = c->self.text;
    bool some = false, other = false;
    TRY(jinja_spend_bytes(run, t->len * 4));
    for (size_t at = 0, n = 0; at < t->len && !other; at += n) {
        int32_t p = jinja_decode(t->s + at, &n);
        utf8proc_category_t g = utf8proc_category(p);
        some |= g == (upper ? UTF8PROC_CATEGORY_LU : UTF8PROC_CATEGORY_LL);
        other |= g == UTF8PROC_CATEGORY_LT || g == (upper ? UTF8PROC_CATEGORY_LL : UTF8PROC_CATEGORY_LU);
    }
    *out = jinja_bool(some && !other);
    return 0;
}

static int m_isupper(struct run *run, struct call *c, struct value *out)
{
    return one_case(run, c, true, out);
}

static int m_islower(struct run *run, struct call *c, struct value *out)
{
    return one_case(run, c, false, out);
}

/* Capitals begin words, small letters go on with them. */
static int m_istitle(struct run *run, struct call *c, struct value *out)
{
    const struct text *t = c->self.text;
    bool some = false, word = false, right = true;
    TRY(jinja_spend_bytes(run, t->len * 4));
    for (size_t at = 0, n = 0; at < t->len && right; at += n) {
        utf8proc_category_t g = utf8proc_category(jinja_decode(t->s + at, &n));
        bool upper = g == UTF8PROC_CATEGORY_LU || g == UTF8PROC_CATEGORY_LT,
             lower = g == UTF8PROC_CATEGORY_LL;
        right = !(upper && word) && !(lower && !word);
        some |= upper;
        word = upper || lower;
    }
    *out = jinja_bool(some && right);
    return 0;
}

static int m_isidentifier(struct run *run, struct call *c, struct value *out)
{
    const struct text *t = c->self.text;
    bool right = t->len > 0;
    TRY(jinja_spend_bytes(run, t->len * 4));
    for (size_t at = 0, n = 0; right && at < t->len; at += n) {
        int32_t p = jinja_decode(t->s + at, &n);
        right = p == '_' || jinja_is_letter(p) || (at && is_decimal(p));
    }
    *out = jinja_bool(right);
    return 0;
}

const struct builtin jinja_text_queries[] = {{"startswith", m_startswith, "prefix,start,end", 1},
                                             {"endswith", m_endswith, "suffix,start,end", 1},
                                             {"find", m_find, "sub,start,end", 1},
                                             {"rfind", m_rfind, "sub,start,end", 1},
                                             {"index", m_index, "sub,start,end", 1},
                                             {"rindex", m_rindex, "sub,start,end", 1},
                                             {"count", m_count, "sub,start,end", 1},
                                             {"isdigit", m_isdigit, "", 0},
                                             {"isdecimal", m_isdecimal, "", 0},
                                             {"isnumeric", m_isnumeric, "", 0},
                                             {"isalpha", m_isalpha, "", 0},
                                             {"isalnum", m_isalnum, "", 0},
                                             {"isspace", m_isspace, "", 0},
                                             {"isascii", m_isascii, "", 0},
                                             {"isupper", m_isupper, "", 0},
                                             {"islower", m_islower, "", 0},
                                             {"istitle", m_istitle, "", 0},
                                             {"isidentifier", m_isidentifier, "", 0}};
const size_t jinja_n_text_queries = sizeof jinja_text_queries / sizeof *jinja_text_queries;
