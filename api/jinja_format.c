/* jinja_format.c - "%5.2f" % x and "{:>8}".format(x), by Python's rules.
 * Both read their notation into one struct spec and share the layout of numbers and text.
 * Widths and precisions are bounded, so that a format can't ask for gigabytes. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/jinja_case.h"
#include "engine/base/error.h"

enum { MAX_WIDTH = 10000, MAX_PRECISION = 200, NUMBER_ROOM = 640 };

struct spec {
    int32_t fill;
    char align; /* '<' '>' '^' '=' or 0 */
    char sign;  /* '+', ' ' or 0 */
    bool alternate, comma, underscore;
    int64_t width, precision; /* precision -1: not given */
    char type;                /* 0: not given */
};

/* ---- layout ------------------------------------------------------------------------------------- */

static int put_text(struct builder *b, struct text *t, const struct spec *s)
{
    struct value padded;
    if (s->precision >= 0)
        t = jinja_text_slice(b->run, t, 0, jinja_text_offset(t, (size_t)s->precision));
    if (!t)
        return -1;
    int side = s->align == '>' ? 1 : s->align == '^' ? 0 : -1;
    if (side == 0) { /* the odd space goes to the right, other than in str.center() */
        int64_t missing = s->width - (int64_t)jinja_text_chars(t);
        TRY(jinja_pad(b->run, t, missing > 0 ? s->width - missing + missing / 2 : 0, s->fill, 1, &padded));
        t = padded.text;
        side = -1;
    }
    TRY(jinja_pad(b->run, t, s->width, s->fill, side, &padded));
    jinja_add_text(b, padded.text);
    return b->failed ? -1 : 0;
}

/* Puts a mark between groups of digits at the front of a number. */
static void group_digits(char *digits, size_t room, char mark, size_t group)
{
    size_t len = strspn(digits, "0123456789abcdefABCDEF"), marks = len ? (len - 1) / group : 0,
           rest = strlen(digits);
    if (rest + marks + 1 > room)
        return;
    memmove(digits + len + marks, digits + len, rest - len + 1);
    for (size_t from = len, to = len + marks, n = 0; from > 0 && to > from;) {
        digits[--to] = digits[--from];
        if (++n % group == 0 && from > 0)
            digits[--to] = mark;
    }
}

/* digits: without a sign. */
static int put_number(struct builder *b, bool negative, const char *prefix, char *digits,
                      const struct spec *s)
{
    char head[8];
    bool hexadecimal = s->type == 'x' || s->type == 'X' || s->type == 'b' || s->type == 'o';
    if (s->comma || s->underscore)
        group_digits(digits, NUMBER_ROOM, s->comma ? ',' : '_', hexadecimal ? 4 : 3);
    snprintf(head, sizeof head, "%s%s",
             negative         ? "-"
             : s->sign == '+' ? "+"
             : s->sign == ' ' ? " "
                              : "",
             prefix);
    struct text *number = jinja_text(b->run, digits, strlen(digits), false);
    struct spec plain = *s;
    plain.precision = -1;
    if (!number)
        return -1;
    if (s->align == '=') {
        jinja_add_literal(b, head);
        plain.width -= (int64_t)strlen(head);
        plain.align = '>';
        return put_text(b, number, &plain);
    }
    struct builder whole;
    jinja_build(&whole, b->run);
    jinja_add_literal(&whole, head);
    jinja_add_text(&whole, number);
    if (!(number = jinja_built(&whole)))
        return -1;
    plain.align = s->align ? s->align : '>';
    return put_text(b, number, &plain);
}

static void binary_digits(uint64_t u, char *out)
{
    size_t n = 0;
    for (int bit = 63; bit >= 0; bit--)
        if (n || bit == 0 || u >> bit & 1)
            out[n++] = (char)('0' + (u >> bit & 1));
    out[n] = 0;
}

static int put_int(struct builder *b, int64_t i, const struct spec *s)
{
    char digits[NUMBER_ROOM];
    uint64_t u = i < 0 ? -(uint64_t)i : (uint64_t)i;
    const char *prefix = "";
    switch (s->type) {
    case 'x':
        snprintf(digits, sizeof digits, "%llx", (unsigned long long)u);
        prefix = "0x";
        break;
    case 'X':
        snprintf(digits, sizeof digits, "%llX", (unsigned long long)u);
        prefix = "0X";
        break;
    case 'o':
        snprintf(digits, sizeof digits, "%llo", (unsigned long long)u);
        prefix = "0o";
        break;
    case 'b':
        binary_digits(u, digits);
        prefix = "0b";
        break;
    default:
        snprintf(digits, sizeof digits, "%0*llu", s->precision > 0 ? (int)s->precision : 1,
                 (unsigned long long)u);
    }
    return put_number(b, i < 0, s->alternate ? prefix : "", digits, s);
}

static int put_float(struct builder *b, double d, const struct spec *s)
{
    char digits[NUMBER_ROOM];
    int precision = s->precision < 0 ? 6 : (int)s->precision;
    double a = fabs(d);
    switch (s->type) {
    case 'e':
        snprintf(digits, sizeof digits, "%.*e", precision, a);
        break;
    case 'E':
        snprintf(digits, sizeof digits, "%.*E", precision, a);
        break;
    case 'g':
        snprintf(digits, sizeof digits, "%.*g", precision, a);
        break;
    case 'G':
        snprintf(digits, sizeof digits, "%.*G", precision, a);
        break;
    case '%':
        snprintf(digits, sizeof digits, "%.*f%%", precision, a * 100);
        break;
    case 0: { /* as str() writes it, or with so many significant digits */
        struct builder text;
        jinja_build(&text, b->run);
        jinja_print_float(&text, a);
        snprintf(digits, sizeof digits, "%.*s", (int)text.len, text.data ? text.data : "");
        if (s->precision >= 0)
            snprintf(digits, sizeof digits, "%.*g", precision ? precision : 1, a);
        break;
    }
    default:
        snprintf(digits, sizeof digits, "%.*f", precision, a);
    }
    return put_number(b, signbit(d) && !isnan(d), "", digits, s);
}

static int put_value(struct builder *b, const struct value *v, struct spec *s)
{
    bool float_type = s->type && strchr("eEfFgG%", s->type), int_type = s->type && strchr("dnxXob", s->type);
    if (v->type == VALUE_FLOAT && int_type)
        return jinja_fail(b->run, "Unknown format code '%c' for object of type 'float'", s->type);
    if (v->type == VALUE_FLOAT || (float_type && jinja_is_number(v)))
        return put_float(b, jinja_as_double(v), s);
    if (v->type == VALUE_INT || (int_type && v->type == VALUE_BOOL))
        return put_int(b, v->type == VALUE_INT ? v->integer : v->boolean, s);
    if (float_type || int_type || s->align == '=')
        return jinja_fail(b->run, "Unknown format code '%c' for object of type '%s'", s->type ? s->type : '=',
                          jinja_type_name(v));
    struct text *t;
    TRY(jinja_to_text(b->run, v, &t));
    return put_text(b, t, s);
}

static int repr_text(struct run *run, const struct value *v, struct value *out)
{
    struct builder b;
    jinja_build(&b, run);
    TRY(jinja_repr(&b, v));
    return jinja_built_value(&b, out);
}

/* Digits at *at; INT64_MAX-proof by the limit. */
static int read_number(struct run *run, const struct text *f, size_t *at, int64_t limit, int64_t *out)
{
    for (*out = 0; *at < f->len && f->s[*at] >= '0' && f->s[*at] <= '9'; ++*at) {
        *out = *out * 10 + (f->s[*at] - '0');
        if (*out > limit)
            return jinja_fail(run, "a format asks for more than %lld characters", (long long)limit);
    }
    return 0;
}

/* ---- printf style ----------------------------------------------------------------------------------- */

struct percent {
    struct run *run;
    const struct text *f;
    const struct call *call;
    size_t at, used; /* used: positional arguments */
};

static int next_argument(struct percent *p, struct value *out)
{
    if (p->used >= p->call->n_args)
        return jinja_fail(p->run, "not enough arguments for format string");
    *out = p->call->args[p->used++];
    return 0;
}

static int keyword_argument(struct run *run, const struct call *call, const char *name, size_t len,
                            struct value *out)
{
    for (size_t i = 0; i < call->n_keywords; i++)
        if (call->keywords[i].name->len == len && memcmp(call->keywords[i].name->s, name, len) == 0) {
            *out = call->keywords[i].value;
            return 0;
        }
    return jinja_fail(run, "a format names '%.*s', which was not given", (int)(len < 60 ? len : 60), name);
}

/* Flags, width and precision. */
static int percent_layout(struct percent *p, struct spec *s)
{
    bool zero = false;
    for (; p->at < p->f->len && strchr("-+ #0", p->f->s[p->at]) && p->f->s[p->at]; p->at++) {
        char c = p->f->s[p->at];
        s->align = c == '-' ? '<' : s->align;
        s->sign = c == '+' || (c == ' ' && s->sign != '+') ? c : s->sign;
        s->alternate |= c == '#';
        zero |= c == '0';
    }
    if (zero && !s->align) {
        s->align = '=';
        s->fill = '0';
    }
    if (p->at < p->f->len && p->f->s[p->at] == '*') {
        struct value width;
        p->at++;
        TRY(next_argument(p, &width));
        TRY(jinja_as_int(p->run, &width, "a format's width", &s->width));
        if (s->width > MAX_WIDTH || s->width < 0)
            return jinja_fail(p->run, "a format's width is out of range");
    } else {
        TRY(read_number(p->run, p->f, &p->at, MAX_WIDTH, &s->width));
    }
    if (p->at < p->f->len && p->f->s[p->at] == '.') {
        p->at++;
        TRY(read_number(p->run, p->f, &p->at, MAX_PRECISION, &s->precision));
    }
    while (p->at < p->f->len && strchr("hlL", p->f->s[p->at]) && p->f->s[p->at])
        p->at++;
    return 0;
}

static int put_percent(struct percent *p, struct builder *b, const struct value *v, struct spec *s)
{
    char type = s->type;
    if (type == 's' || type == 'r' || type == 'a') {
        struct value t = *v;
        if (type != 's')
            TRY(repr_text(p->run, v, &t));
        struct text *text;
        TRY(jinja_to_text(p->run, &t, &text));
        s->align = s->align == '<' ? '<' : '>';
        s->fill = ' ';
        return put_text(b, text, s);
    }
    if (type == 'c' && v->type == VALUE_TEXT && jinja_text_chars(v->text) == 1)
        return put_text(b, v->text, s);
    if (!jinja_is_number(v))
        return v->type == VALUE_UNDEFINED
                   ? jinja_undefined_error(p->run, v)
                   : jinja_fail(p->run, "%%%c format: a real number is required, not %s", type,
                                jinja_type_name(v));
    if (strchr("diuxXo", type)) {
        struct spec whole = *s;
        whole.type = type == 'i' || type == 'u' ? 'd' : type;
        double d = jinja_as_double(v);
        if (v->type == VALUE_FLOAT && !(fabs(d) < 9.2e18))
            return jinja_fail(p->run, "a number does not fit in 64 bits");
        int64_t i = v->type == VALUE_FLOAT ? (int64_t)d : v->type == VALUE_INT ? v->integer : v->boolean;
        return put_int(b, i, &whole);
    }
    if (strchr("eEfFgG", type))
        return put_float(b, jinja_as_double(v), s);
    return jinja_fail(p->run, "unsupported format character '%c'", type);
}

static int percent_item(struct percent *p, struct builder *b)
{
    struct spec s = {.fill = ' ', .precision = -1};
    struct value v = {.type = VALUE_MISSING};
    const struct text *f = p->f;
    if (p->at < f->len && f->s[p->at] == '(') {
        size_t end = jinja_text_find(f, p->at, f->len, ")", 1);
        if (end == SIZE_MAX)
            return jinja_fail(p->run, "incomplete format key");
        TRY(keyword_argument(p->run, p->call, f->s + p->at + 1, end - p->at - 1, &v));
        p->at = end + 1;
    }
    TRY(percent_layout(p, &s));
    if (p->at >= f->len || (f->s[p->at] & 0x80))
        return jinja_fail(p->run, "incomplete format");
    s.type = f->s[p->at++];
    if (s.type == '%') {
        jinja_add_literal(b, "%");
        return 0;
    }
    if (v.type == VALUE_MISSING)
        TRY(next_argument(p, &v));
    return put_percent(p, b, &v, &s);
}

/* What goes into markup is escaped first. */
static int escape_arguments(struct run *run, struct call *call)
{
    struct value *args = jinja_alloc(run, call->n_args + 1, sizeof *args);
    struct keyword *keywords = jinja_alloc(run, call->n_keywords + 1, sizeof *keywords);
    if (!args || !keywords)
        return -1;
    for (size_t i = 0; i < call->n_args; i++) {
        args[i] = call->args[i];
        if (args[i].type == VALUE_TEXT && !(args[i].text = jinja_text_escape(run, args[i].text)))
            return -1;
    }
    for (size_t i = 0; i < call->n_keywords; i++) {
        struct value *v = &keywords[i].value;
        keywords[i] = call->keywords[i];
        if (v->type == VALUE_TEXT && !(v->text = jinja_text_escape(run, v->text)))
            return -1;
    }
    call->args = args;
    call->keywords = keywords;
    return 0;
}

int jinja_format_percent(struct run *run, const struct text *format, const struct call *given, bool strict,
                         struct value *out)
{
    struct call copy = *given, *call = &copy;
    struct percent p = {.run = run, .f = format, .call = call};
    struct builder b;
    if (format->markup)
        TRY(escape_arguments(run, call));
    jinja_build(&b, run);
    TRY(jinja_spend_bytes(run, format->len));
    while (p.at < format->len) {
        size_t mark = jinja_text_find(format, p.at, format->len, "%", 1);
        size_t end = mark == SIZE_MAX ? format->len : mark;
        jinja_add_slice(&b, format, p.at, end);
        p.at = end;
        if (mark == SIZE_MAX)
            break;
        p.at++;
        TRY(jinja_spend(run, 1));
        TRY(percent_item(&p, &b));
    }
    if (p.used < call->n_args && strict)
        return jinja_fail(run, "not all arguments converted during string formatting");
    TRY(jinja_built_value(&b, out));
    out->text->markup = format->markup;
    return 0;
}

/* ---- str.format ---------------------------------------------------------------------------------------- */

/* The argument a field names: "", "0", "name", each with ".attribute" and "[index]" behind it. */
static int field_value(struct run *run, const struct call *call, struct text *f, size_t *automatic,
                       struct value *out)
{
    size_t end = 0;
    while (end < f->len && f->s[end] != '.' && f->s[end] != '[')
        end++;
    char *rest;
    bool number = end == 0 || (f->s[0] >= '0' && f->s[0] <= '9' && end < 6);
    if (number) {
        size_t i = end ? strtoul(f->s, &rest, 10) : (*automatic)++;
        if (i >= call->n_args)
            return jinja_fail(run, "Replacement index %zu out of range for positional args tuple", i);
        *out = call->args[i];
    } else {
        TRY(keyword_argument(run, call, f->s, end, out));
    }
    while (end < f->len) {
        bool index = f->s[end] == '[';
        size_t from = end + 1, to = index ? jinja_text_find(f, from, f->len, "]", 1) : from;
        if (to == SIZE_MAX)
            return jinja_fail(run, "Missing ']' in format string");
        while (!index && to < f->len && f->s[to] != '.' && f->s[to] != '[')
            to++;
        struct text *name = jinja_text_slice(run, f, from, to);
        struct value next, key;
        if (!name)
            return -1;
        key = jinja_of_text(name);
        if (index && to > from && strspn(f->s + from, "0123456789") >= to - from && to - from < 9)
            key = jinja_int((int64_t)strtoul(f->s + from, &rest, 10));
        TRY(index ? jinja_index(run, out, &key, &next) : jinja_attribute(run, out, name, &next));
        *out = next;
        end = to + index;
    }
    return 0;
}

/* [[fill]align][sign][#][0][width][,][.precision][type] */
static int read_spec(struct run *run, const struct text *f, struct spec *s)
{
    size_t at = 0, n = 0;
    *s = (struct spec){.fill = ' ', .precision = -1};
    if (f->len)
        jinja_decode(f->s, &n);
    if (n && n < f->len && strchr("<>^=", f->s[n])) {
        s->fill = jinja_decode(f->s, &n);
        s->align = f->s[n];
        at = n + 1;
    } else if (f->len && strchr("<>^=", f->s[0])) {
        s->align = f->s[0];
        at = 1;
    }
    if (at < f->len && strchr("+- ", f->s[at]))
        s->sign = f->s[at++] == '-' ? 0 : f->s[at - 1];
    if (at < f->len && f->s[at] == '#')
        s->alternate = ++at;
    if (at < f->len && f->s[at] == '0' && !s->align) {
        s->align = '=';
        s->fill = '0';
    }
    TRY(read_number(run, f, &at, MAX_WIDTH, &s->width));
    s->comma = at < f->len && f->s[at] == ',';
    s->underscore = at < f->len && f->s[at] == '_';
    at += s->comma || s->underscore;
    if (at < f->len && f->s[at] == '.') {
        at++;
        TRY(read_number(run, f, &at, MAX_PRECISION, &s->precision));
    }
    if (at < f->len)
        s->type = f->s[at++];
    if (at < f->len || (s->type && !strchr("bcdeEfFgGnosxX%", s->type)))
        return jinja_fail(run, "Invalid format specifier '%.*s'", (int)(f->len < 60 ? f->len : 60), f->s);
    if (s->type == 's')
        s->type = 0;
    return 0;
}

/* What stands between { and }. */
static int format_field(struct builder *b, const struct call *call, struct text *field, size_t *automatic)
{
    struct run *run = b->run;
    size_t colon = jinja_text_find(field, 0, field->len, ":", 1),
           end = colon == SIZE_MAX ? field->len : colon;
    size_t bang = jinja_text_find(field, 0, end, "!", 1);
    struct text *name = jinja_text_slice(run, field, 0, bang == SIZE_MAX ? end : bang);
    struct text *layout = jinja_text_slice(run, field, colon == SIZE_MAX ? end : end + 1, field->len);
    struct value v, shown;
    struct spec s;
    if (!name || !layout)
        return -1;
    TRY(field_value(run, call, name, automatic, &v));
    TRY(read_spec(run, layout, &s));
    if (bang != SIZE_MAX) {
        char conversion = bang + 2 == end ? field->s[bang + 1] : 0;
        struct text *t;
        if (conversion != 'r' && conversion != 's' && conversion != 'a')
            return jinja_fail(run, "unknown conversion in a format string");
        if (conversion == 's') {
            TRY(jinja_to_text(run, &v, &t));
            shown = jinja_of_text(t);
        } else {
            TRY(repr_text(run, &v, &shown));
        }
        v = shown;
    }
    return put_value(b, &v, &s);
}

int jinja_format_braces(struct run *run, const struct text *format, const struct call *given,
                        struct value *out)
{
    struct call copy = *given, *call = &copy;
    struct builder b;
    size_t automatic = 0, plain = 0;
    if (format->markup)
        TRY(escape_arguments(run, call));
    jinja_build(&b, run);
    TRY(jinja_spend_bytes(run, format->len));
    for (size_t at = 0; at < format->len; at++) {
        char c = format->s[at];
        if (c != '{' && c != '}')
            continue;
        jinja_add_slice(&b, format, plain, at);
        plain = at + 2;
        if (at + 1 < format->len && format->s[at + 1] == c) {
            jinja_add_slice(&b, format, at, at + 1);
            at++;
            continue;
        }
        size_t end = c == '{' ? jinja_text_find(format, at, format->len, "}", 1) : SIZE_MAX;
        if (end == SIZE_MAX)
            return jinja_fail(run, "Single '%c' encountered in format string", c);
        struct text *field = jinja_text_slice(run, format, at + 1, end);
        if (!field)
            return -1;
        TRY(jinja_spend(run, 1));
        TRY(format_field(&b, call, field, &automatic));
        at = end;
        plain = end + 1;
    }
    if (plain < format->len)
        jinja_add_slice(&b, format, plain, format->len);
    TRY(jinja_built_value(&b, out));
    out->text->markup = format->markup;
    return 0;
}
