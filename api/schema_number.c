/* schema_number.c - see schema_flat.h: integers and numbers.
 * Bounds become regular expressions over the digits; several bounds and multiples are joined as automata.
 * Numbers have at most 15 digits before the point, so that nobody's parser rounds them. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/schema_flat.h"
#include "engine/base/limits.h"

enum { DIGITS = 15, MOST_FRACTION = 9 };
#define MOST_INTEGER INT64_C(999999999999999)

/* ---- digits -------------------------------------------------------------------------------------- */

static void any_digits(struct buf *out, size_t n)
{
    if (n > 0)
        buf_printf(out, "[0-9]{%zu}", n);
}

/* n digits that, as a number, are at least (at most) those of `digits`. */
static void digits_from(struct buf *out, const char *digits, size_t n, bool at_least)
{
    char extreme = at_least ? '0' : '9';
    size_t i = 0;
    while (i < n && digits[i] == extreme)
        i++;
    if (i == n) {
        any_digits(out, n);
        return;
    }
    /* Up to one place as in `digits`, there past it, then anything; or all of them. */
    buf_add_text(out, "(");
    for (i = 0; i < n; i++) {
        char past = (char)(digits[i] + (at_least ? 1 : -1));
        if (past < '0' || past > '9')
            continue;
        buf_printf(out, "%.*s[%c-%c]", (int)i, digits, at_least ? past : '0', at_least ? '9' : past);
        any_digits(out, n - i - 1);
        buf_add_text(out, "|");
    }
    buf_printf(out, "%.*s)", (int)n, digits);
}

/* low and high have n digits, low <= high. */
static void digits_between(struct buf *out, const char *low, const char *high, size_t n)
{
    size_t same = 0;
    while (same < n && low[same] == high[same])
        same++;
    buf_printf(out, "%.*s", (int)same, low);
    if (same == n)
        return;
    size_t rest = n - same - 1;
    buf_printf(out, "(%c", low[same]);
    digits_from(out, low + same + 1, rest, true);
    if (high[same] - low[same] > 1) {
        buf_printf(out, "|[%c-%c]", low[same] + 1, high[same] - 1);
        any_digits(out, rest);
    }
    buf_printf(out, "|%c", high[same]);
    digits_from(out, high + same + 1, rest, false);
    buf_add_text(out, ")");
}

/* 0 <= low <= high <= MOST_INTEGER, without leading zeros. */
static void write_range(struct buf *out, int64_t low, int64_t high)
{
    char a[24], b[24];
    const char *separator = "";
    buf_add_text(out, "(");
    for (int64_t first = 0, last = 9; first <= high; first = last + 1, last = last * 10 + 9) {
        int64_t from = low > first ? low : first, to = high < last ? high : last;
        if (from > to)
            continue;
        int n = snprintf(a, sizeof a, "%" PRId64, from);
        snprintf(b, sizeof b, "%" PRId64, to);
        buf_add_text(out, separator);
        digits_between(out, a, b, (size_t)n);
        separator = "|";
    }
    buf_add_text(out, ")");
}

/* ---- whole numbers ------------------------------------------------------------------------------- */

static void write_integers(struct buf *out, int64_t low, int64_t high)
{
    buf_add_text(out, "(");
    if (low < 0) {
        buf_add_text(out, "-");
        write_range(out, high < 0 ? -high : 1, -low);
    }
    buf_add_text(out, low < 0 && high >= 0 ? "|" : "");
    if (high >= 0)
        write_range(out, low > 0 ? low : 0, high);
    buf_add_text(out, ")");
}

static int integer_bounds(struct schema *s, const struct schema_flat *f, int64_t *low, int64_t *high)
{
    double least = f->above ? floor(f->minimum) + 1 : ceil(f->minimum);
    double most = f->below ? ceil(f->maximum) - 1 : floor(f->maximum);
    if (least > most)
        return schema_impossible(s, f->at, "no whole number is from %.15g%s to %.15g%s", f->minimum,
                                 f->above ? " (excluded)" : "", f->maximum, f->below ? " (excluded)" : "");
    if (least > (double)MOST_INTEGER || most < -(double)MOST_INTEGER)
        return schema_refuse(s, ERROR_UNSUPPORTED, f->at, "numbers of more than %d digits are not written",
                             DIGITS);
    *low = least < -(double)MOST_INTEGER ? -MOST_INTEGER : (int64_t)least;
    *high = most > (double)MOST_INTEGER ? MOST_INTEGER : (int64_t)most;
    return 0;
}

/* Whether some multiple of m lies in between. */
static bool has_multiple(int64_t low, int64_t high, int64_t m)
{
    int64_t first = low >= 0 ? (low + m - 1) / m * m : -(-low / m * m);
    return first <= high;
}

static struct regex *parse(struct schema *s, const struct buf *text)
{
    struct regex *r = NULL;
    if (text->failed || regex_parse(text->data, text->len, s->arena, &r, s->error) < 0)
        return NULL;
    return r;
}

static int write_automaton(struct schema *s, const struct schema_flat *f, const struct automaton *a,
                           struct buf *out)
{
    unsigned rule;
    if (!a)
        return schema_refuse(s, ERROR_UNSUPPORTED, f->at,
                             "its bounds and multiples together are too complex");
    if (a->n_states == 0)
        return schema_impossible(s, f->at, "no number is within its bounds");
    TRY(schema_new_rule(s, f->at, &rule));
    const char *name = arena_printf(s->arena, "%s-%u", s->rule, rule);
    if (!name)
        return error_no_memory(s->error);
    automaton_write(a, name, false, s->out);
    buf_add_text(out, name);
    return 0;
}

static int write_integer(struct schema *s, const struct schema_flat *f, struct buf *out)
{
    int64_t low = 0, high = 0;
    struct buf text;
    PASS(integer_bounds(s, f, &low, &high));
    if (f->multiple > 1 && !has_multiple(low, high, (int64_t)f->multiple))
        return schema_impossible(s, f->at, "no multiple of %.15g is within its bounds", f->multiple);
    if (f->multiple > 1000)
        return schema_refuse(s, ERROR_UNSUPPORTED, f->at, "multipleOf can be enforced up to 1000");
    buf_init(&text, LIMIT_REGEX);
    write_integers(&text, low, high);
    struct regex *r = parse(s, &text);
    int status = r ? 0 : error_no_memory(s->error);
    if (r && f->multiple > 1) {
        const struct automaton *a = automaton_of_regex(r, false, s->arena);
        const struct automaton *b = automaton_of_multiples((uint64_t)f->multiple, s->arena);
        status = write_automaton(s, f, a && b ? automaton_join(a, b, AUTOMATON_BOTH, s->arena) : NULL, out);
    } else if (r) {
        regex_write(r, false, out);
    }
    buf_free(&text);
    return status;
}

/* ---- numbers with a fraction --------------------------------------------------------------------- */

/* |x| as digits: whole part, and fraction without zeros at its end. */
struct decimal {
    int64_t whole;
    char fraction[32];
    size_t n;
};

static struct decimal decimal_of(double x)
{
    struct decimal d = {0};
    char text[64];
    x = fabs(x);
    for (int places = 0; places <= 17; places++) { /* the shortest that is x */
        snprintf(text, sizeof text, "%.*f", places, x);
        if (strtod(text, NULL) == x)
            break;
    }
    d.whole = (int64_t)strtoll(text, NULL, 10);
    const char *point = strchr(text, '.');
    d.n = point ? strlen(point + 1) : 0;
    while (d.n > 0 && point[d.n] == '0')
        d.n--;
    if (d.n)
        memcpy(d.fraction, point + 1, d.n);
    return d;
}

/* Fractions of any length, at least (at most) that of d; strict: not equal to it. */
static void write_fraction(struct buf *out, const struct decimal *d, bool at_least, bool strict)
{
    const char *separator = "";
    buf_add_text(out, "(");
    for (size_t i = 0; i < d->n; i++) {
        char past = (char)(d->fraction[i] + (at_least ? 1 : -1));
        if (past >= '0' && past <= '9') {
            buf_printf(out, "%s%.*s[%c-%c][0-9]*", separator, (int)i, d->fraction, at_least ? past : '0',
                       at_least ? '9' : past);
            separator = "|";
        }
        if (!at_least && i > 0) {
            buf_printf(out, "%s%.*s", separator, (int)i, d->fraction);
            separator = "|";
        }
    }
    buf_printf(out, "%s%.*s", separator, (int)d->n, d->fraction);
    if (at_least)
        buf_add_text(out, strict ? "[0-9]*[1-9][0-9]*" : d->n ? "[0-9]*" : "[0-9]+");
    else if (!strict)
        buf_add_text(out, d->n ? "0*" : "0+");
    else
        buf_add_text(out, "[^0-9]"); /* nothing that a number has: equal is not less */
    buf_add_text(out, ")");
}

/* Numbers without a sign that are at least (at most) |x|. */
static void write_magnitude(struct buf *out, double x, bool at_least, bool strict)
{
    struct decimal d = decimal_of(x);
    const char *separator = "";
    buf_add_text(out, "(");
    if (at_least ? d.whole < MOST_INTEGER : d.whole > 0) {
        write_range(out, at_least ? d.whole + 1 : 0, at_least ? MOST_INTEGER : d.whole - 1);
        buf_add_text(out, "(\\.[0-9]+)?");
        separator = "|";
    }
    if (at_least ? d.n == 0 && !strict : d.n > 0 || !strict) {
        buf_printf(out, "%s%" PRId64, separator, d.whole);
        separator = "|";
    }
    buf_printf(out, "%s%" PRId64 "\\.", separator, d.whole);
    write_fraction(out, &d, at_least, strict);
    buf_add_text(out, ")");
}

static void write_bound(struct buf *out, double x, bool lower, bool strict)
{
    bool same_sign = lower ? x >= 0 : x < 0; /* numbers on one side of 0 alone */
    if (same_sign) {
        buf_add_text(out, lower ? "" : "-");
        write_magnitude(out, x, true, strict);
    } else {
        buf_add_text(out, lower ? "([0-9.]+|-" : "(-[0-9.]+|");
        write_magnitude(out, x, false, strict);
        buf_add_text(out, ")");
    }
}

static int join_bound(struct schema *s, struct automaton **a, double x, bool lower, bool strict)
{
    struct buf text;
    buf_init(&text, LIMIT_REGEX);
    write_bound(&text, x, lower, strict);
    struct regex *r = parse(s, &text);
    const struct automaton *b = r ? automaton_of_regex(r, false, s->arena) : NULL;
    *a = *a && b ? automaton_join(*a, b, AUTOMATON_BOTH, s->arena) : NULL;
    buf_free(&text);
    return 0;
}

static int write_decimals(struct schema *s, const struct schema_flat *f, struct buf *out)
{
    double large = fmax(isinf(f->minimum) ? 0 : fabs(f->minimum), isinf(f->maximum) ? 0 : fabs(f->maximum));
    struct buf text;
    if (f->minimum > f->maximum || (f->minimum == f->maximum && (f->above || f->below)))
        return schema_impossible(s, f->at, "no number is from %.15g%s to %.15g%s", f->minimum,
                                 f->above ? " (excluded)" : "", f->maximum, f->below ? " (excluded)" : "");
    if ((!isinf(f->minimum) && f->minimum > (double)MOST_INTEGER) ||
        (!isinf(f->maximum) && f->maximum < -(double)MOST_INTEGER))
        return schema_refuse(s, ERROR_UNSUPPORTED, f->at, "numbers of more than %d digits are not written",
                             DIGITS);
    buf_init(&text, LIMIT_REGEX);
    /* So few digits that two texts which differ are different doubles; no minus before zero. */
    int places = large < 1e6 ? MOST_FRACTION : large < 1e12 ? 3 : 1;
    buf_printf(&text,
               "(0|[1-9][0-9]{0,%d})(\\.[0-9]{1,%d})?|-(0\\.[0-9]{0,%d}[1-9]0{0,2}|[1-9][0-9]{0,%d}(\\.[0-9]{"
               "1,%d})?)",
               DIGITS - 1, places, places - 1, DIGITS - 1, places);
    struct regex *r = parse(s, &text);
    struct automaton *a = r ? automaton_of_regex(r, false, s->arena) : NULL;
    buf_free(&text);
    if (f->minimum >= -(double)MOST_INTEGER)
        TRY(join_bound(s, &a, f->minimum, true, f->above));
    if (f->maximum <= (double)MOST_INTEGER)
        TRY(join_bound(s, &a, f->maximum, false, f->below));
    return write_automaton(s, f, a, out);
}

int schema_write_number(struct schema *s, const struct schema_flat *f, bool integer, struct buf *out)
{
    bool bounded = !isinf(f->minimum) || !isinf(f->maximum);
    if (f->multiple > 0)
        integer = true;
    if (!bounded && f->multiple <= 1) {
        buf_printf(out, integer ? "%s-integer" : "%s-number", s->rule);
        return 0;
    }
    return integer ? write_integer(s, f, out) : write_decimals(s, f, out);
}
