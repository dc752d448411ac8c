/* jinja_methods.c - the methods of str.  To add one: a function and a row.
 * Rows are found by jinja_find_method(); arguments are bound before a function is called. */
#include <string.h>
#include <utf8proc.h>

#include "api/jinja_case.h"
#include "engine/base/error.h"

static int text_or_fail(struct text *t, struct value *out)
{
    if (!t)
        return -1;
    *out = jinja_of_text(t);
    return 0;
}

/* ---- stripping and changing ---------------------------------------------------------------------- */

static int strip(struct run *run, struct call *c, bool left, bool right, struct value *out)
{
    struct text *chars = NULL;
    if (c->arg[0].type != VALUE_MISSING && c->arg[0].type != VALUE_NONE)
        TRY(jinja_as_text(run, &c->arg[0], "strip's argument", &chars));
    return text_or_fail(jinja_text_strip(run, c->self.text, chars, left, right), out);
}

static int m_strip(struct run *run, struct call *c, struct value *out)
{
    return strip(run, c, true, true, out);
}

static int m_lstrip(struct run *run, struct call *c, struct value *out)
{
    return strip(run, c, true, false, out);
}

static int m_rstrip(struct run *run, struct call *c, struct value *out)
{
    return strip(run, c, false, true, out);
}

static int m_upper(struct run *run, struct call *c, struct value *out)
{
    return jinja_change_case(run, c->self.text, CASE_UPPER, false, out);
}

static int m_lower(struct run *run, struct call *c, struct value *out)
{
    return jinja_change_case(run, c->self.text, CASE_LOWER, false, out);
}

static int m_capitalize(struct run *run, struct call *c, struct value *out)
{
    return jinja_change_case(run, c->self.text, CASE_CAPITALIZE, false, out);
}

static int m_title(struct run *run, struct call *c, struct value *out)
{
    return jinja_change_case(run, c->self.text, CASE_TITLE, false, out);
}

static int m_swapcase(struct run *run, struct call *c, struct value *out)
{
    return jinja_change_case(run, c->self.text, CASE_SWAP, false, out);
}

static int m_replace(struct run *run, struct call *c, struct value *out)
{
    struct text *old, *with;
    int64_t count = -1;
    TRY(jinja_as_text(run, &c->arg[0], "replace() argument 1", &old));
    TRY(jinja_as_text(run, &c->arg[1], "replace() argument 2", &with));
    if (c->arg[2].type != VALUE_MISSING)
        TRY(jinja_as_int(run, &c->arg[2], "replace() argument 3", &count));
    return jinja_replace(run, c->self.text, old, with, count, out);
}

static int affix(struct run *run, struct call *c, bool prefix, struct value *out)
{
    struct text *t = c->self.text, *cut;
    TRY(jinja_as_text(run, &c->arg[0], "the argument", &cut));
    size_t at = prefix ? 0 : t->len - cut->len;
    bool there = cut->len <= t->len && memcmp(t->s + at, cut->s, cut->len) == 0;
    size_t len = there ? cut->len : 0;
    return text_or_fail(jinja_text_slice(run, t, prefix ? len : 0, prefix ? t->len : t->len - len), out);
}

static int m_removeprefix(struct run *run, struct call *c, struct value *out)
{
    return affix(run, c, true, out);
}

static int m_removesuffix(struct run *run, struct call *c, struct value *out)
{
    return affix(run, c, false, out);
}

static int pad(struct run *run, struct call *c, int side, struct value *out)
{
    int64_t width;
    int32_t fill = ' ';
    TRY(jinja_as_int(run, &c->arg[0], "the width", &width));
    if (c->arg[1].type != VALUE_MISSING) {
        struct text *t;
        TRY(jinja_as_text(run, &c->arg[1], "the fill character", &t));
        size_t n;
        if (jinja_text_chars(t) != 1)
            return jinja_fail(run, "The fill character must be exactly one character long");
        fill = jinja_decode(t->s, &n);
    }
    return jinja_pad(run, c->self.text, width, fill, side, out);
}

static int m_center(struct run *run, struct call *c, struct value *out)
{
    return pad(run, c, 0, out);
}

static int m_ljust(struct run *run, struct call *c, struct value *out)
{
    return pad(run, c, -1, out);
}

static int m_rjust(struct run *run, struct call *c, struct value *out)
{
    return pad(run, c, 1, out);
}

static int m_zfill(struct run *run, struct call *c, struct value *out)
{
    struct text *t = c->self.text;
    int64_t width;
    TRY(jinja_as_int(run, &c->arg[0], "the width", &width));
    bool sign = t->len && (t->s[0] == '-' || t->s[0] == '+');
    struct text *digits = jinja_text_slice(run, t, sign, t->len), *first = jinja_text_slice(run, t, 0, sign);
    if (!digits || !first || width > INT64_MAX / 2)
        return digits && first ? jinja_fail(run, "the width is too large") : -1;
    TRY(jinja_pad(run, digits, width - sign, '0', 1, out));
    return text_or_fail(jinja_text_join(run, first, out->text), out);
}

static int m_join(struct run *run, struct call *c, struct value *out)
{
    struct list *l;
    TRY(jinja_items(run, &c->arg[0], &l));
    return jinja_join(run, c->self.text, l, true, out);
}

static int m_format(struct run *run, struct call *c, struct value *out)
{
    return jinja_format_braces(run, c->self.text, c, out);
}

/* ---- splitting --------------------------------------------------------------------------------------- */

static int add_piece(struct run *run, struct value *list, size_t *cap, const struct text *t, size_t from,
                     size_t to)
{
    struct text *piece = jinja_text_slice(run, t, from, to);
    TRY(jinja_spend(run, 1));
    return piece ? jinja_list_add(run, list->list, cap, jinja_of_text(piece)) : -1;
}

static void reverse(struct list *l)
{
    for (size_t i = 0; i < l->n / 2; i++) {
        struct value v = l->items[i];
        l->items[i] = l->items[l->n - 1 - i];
        l->items[l->n - 1 - i] = v;
    }
}

static size_t skip_space(const struct text *t, size_t at, bool space)
{
    for (size_t n; at < t->len && jinja_is_space(jinja_decode(t->s + at, &n)) == space; at += n)
        ;
    return at;
}

static size_t skip_space_back(const struct text *t, size_t at, bool space)
{
    for (size_t n; at > 0 && jinja_is_space(jinja_decode_last(t->s, at, &n)) == space; at -= n)
        ;
    return at;
}

static int split_words(struct run *run, const struct text *t, int64_t max, struct value *out)
{
    size_t cap = 0;
    for (size_t at = skip_space(t, 0, true); at < t->len;) {
        bool rest = max >= 0 && (int64_t)out->list->n >= max;
        size_t end = rest ? skip_space_back(t, t->len, true) : skip_space(t, at, false);
        TRY(add_piece(run, out, &cap, t, at, rest ? t->len : end));
        at = rest ? t->len : skip_space(t, end, true);
    }
    return 0;
}

static int rsplit_words(struct run *run, const struct text *t, int64_t max, struct value *out)
{
    size_t cap = 0;
    for (size_t end = skip_space_back(t, t->len, true); end > 0;) {
        bool rest = max >= 0 && (int64_t)out->list->n >= max;
        size_t at = rest ? 0 : skip_space_back(t, end, false);
        TRY(add_piece(run, out, &cap, t, at, end));
        end = skip_space_back(t, at, true);
    }
    reverse(out->list);
    return 0;
}

static int split_at(struct run *run, const struct text *t, const struct text *by, int64_t max,
                    bool from_right, struct value *out)
{
    size_t cap = 0, from = 0, to = t->len;
    while (max < 0 || (int64_t)out->list->n < max) {
        size_t hit = from_right ? SIZE_MAX : jinja_text_find(t, from, t->len, by->s, by->len);
        if (from_right)
            TRY(jinja_text_find_last(run, t, 0, to, by, &hit));
        if (hit == SIZE_MAX)
            break;
        TRY(add_piece(run, out, &cap, t, from_right ? hit + by->len : from, from_right ? to : hit));
        from = from_right ? 0 : hit + by->len;
        to = from_right ? hit : t->len;
    }
    TRY(add_piece(run, out, &cap, t, from, to));
    if (from_right)
        reverse(out->list);
    return 0;
}

static int split(struct run *run, struct call *c, bool from_right, struct value *out)
{
    struct text *by = NULL, *t = c->self.text;
    int64_t max = -1;
    if (c->arg[0].type != VALUE_MISSING && c->arg[0].type != VALUE_NONE)
        TRY(jinja_as_text(run, &c->arg[0], "the separator", &by));
    if (c->arg[1].type != VALUE_MISSING)
        TRY(jinja_as_int(run, &c->arg[1], "maxsplit", &max));
    if (by && !by->len)
        return jinja_fail(run, "empty separator");
    TRY(jinja_new_list(run, LIST_LIST, 0, out));
    TRY(jinja_spend_bytes(run, t->len));
    if (by)
        return split_at(run, t, by, max, from_right, out);
    return from_right ? rsplit_words(run, t, max, out) : split_words(run, t, max, out);
}

static int m_split(struct run *run, struct call *c, struct value *out)
{
    return split(run, c, false, out);
}

static int m_rsplit(struct run *run, struct call *c, struct value *out)
{
    return split(run, c, true, out);
}

static int m_splitlines(struct run *run, struct call *c, struct value *out)
{
    return jinja_lines(run, c->self.text, jinja_truth(&c->arg[0]), out);
}

static int partition(struct run *run, struct call *c, bool last, struct value *out)
{
    struct text *t = c->self.text, *by;
    TRY(jinja_as_text(run, &c->arg[0], "the separator", &by));
    if (!by->len)
        return jinja_fail(run, "empty separator");
    TRY(jinja_spend_bytes(run, t->len));
    size_t hit = last ? SIZE_MAX : jinja_text_find(t, 0, t->len, by->s, by->len);
    if (last)
        TRY(jinja_text_find_last(run, t, 0, t->len, by, &hit));
    size_t cap = 0, from = hit == SIZE_MAX ? (last ? 0 : t->len) : hit,
           to = hit == SIZE_MAX ? from : hit + by->len;
    TRY(jinja_new_list(run, LIST_TUPLE, 0, out));
    TRY(add_piece(run, out, &cap, t, 0, from));
    TRY(add_piece(run, out, &cap, t, from, to));
    return add_piece(run, out, &cap, t, to, t->len);
}

static int m_partition(struct run *run, struct call *c, struct value *out)
{
    return partition(run, c, false, out);
}

static int m_rpartition(struct run *run, struct call *c, struct value *out)
{
    return partition(run, c, true, out);
}

static int m_expandtabs(struct run *run, struct call *c, struct value *out)
{
    struct text tab = {.s = "\t", .len = 1, .chars = 1}, *t = c->self.text;
    int64_t size = 8, column = 0;
    struct builder b;
    if (c->arg[0].type != VALUE_MISSING)
        TRY(jinja_as_int(run, &c->arg[0], "tabsize", &size));
    if (size > 1000)
        return jinja_fail(run, "tabsize is larger than 1000");
    jinja_build(&b, run);
    TRY(jinja_spend_bytes(run, t->len * 8));
    for (size_t at = 0, n = 0; at < t->len; at += n) {
        int32_t ch = jinja_decode(t->s + at, &n);
        if (ch != tab.s[0]) {
            jinja_add_slice(&b, t, at, at + n);
            column = ch == '\n' || ch == '\r' ? 0 : column + 1;
            continue;
        }
        for (int64_t k = size > 0 ? size - column % size : 0; k > 0; k--, column++)
            jinja_add_literal(&b, " ");
    }
    return jinja_built_value(&b, out);
}

const struct builtin jinja_text_methods[] = {{"strip", m_strip, "chars", 0},
                                             {"lstrip", m_lstrip, "chars", 0},
                                             {"rstrip", m_rstrip, "chars", 0},
                                             {"split", m_split, "sep,maxsplit", 0},
                                             {"rsplit", m_rsplit, "sep,maxsplit", 0},
                                             {"splitlines", m_splitlines, "keepends", 0},
                                             {"partition", m_partition, "sep", 1},
                                             {"rpartition", m_rpartition, "sep", 1},
                                             {"replace", m_replace, "old,new,count", 2},
                                             {"upper", m_upper, "", 0},
                                             {"lower", m_lower, "", 0},
                                             {"casefold", m_lower, "", 0},
                                             {"capitalize", m_capitalize, "", 0},
                                             {"title", m_title, "", 0},
                                             {"swapcase", m_swapcase, "", 0},
                                             {"removeprefix", m_removeprefix, "prefix", 1},
                                             {"removesuffix", m_removesuffix, "suffix", 1},
                                             {"center", m_center, "width,fillchar", 1},
                                             {"ljust", m_ljust, "width,fillchar", 1},
                                             {"rjust", m_rjust, "width,fillchar", 1},
                                             {"zfill", m_zfill, "width", 1},
                                             {"expandtabs", m_expandtabs, "tabsize", 0},
                                             {"join", m_join, "iterable", 1},
                                             {"format", m_format, "*", 0}};
const size_t jinja_n_text_methods = sizeof jinja_text_methods / sizeof *jinja_text_methods;
