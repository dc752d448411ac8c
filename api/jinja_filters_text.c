/* jinja_filters_text.c - filters that make text or numbers of their input.
 * To add one: a function and a row; arguments are bound to c->arg before it is called. */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include "api/jinja_case.h"
#include "api/jinja_tree.h"

/* The input as text: what Jinja calls soft_str. */
static int input(struct run *run, struct call *c, struct text **out)
{
    return jinja_to_text(run, &c->self, out);
}

static bool given(const struct value *v)
{
    return v->type != VALUE_MISSING;
}

static int set_text(struct text *t, struct value *out)
{
    if (!t)
        return -1;
    *out = jinja_of_text(t);
    return 0;
}

static int optional_int(struct run *run, const struct value *v, const char *what, int64_t *out)
{
    return given(v) ? jinja_as_int(run, v, what, out) : 0;
}

/* ---- case, white space -------------------------------------------------------------------------- */

static int to_case(struct run *run, struct call *c, enum letter_case to, struct value *out)
{
    struct text *t;
    TRY(input(run, c, &t));
    return jinja_change_case(run, t, to, true, out);
}

static int f_upper(struct run *run, struct call *c, struct value *out)
{
    return to_case(run, c, CASE_UPPER, out);
}

static int f_lower(struct run *run, struct call *c, struct value *out)
{
    return to_case(run, c, CASE_LOWER, out);
}

static int f_capitalize(struct run *run, struct call *c, struct value *out)
{
    return to_case(run, c, CASE_CAPITALIZE, out);
}

static int f_title(struct run *run, struct call *c, struct value *out)
{
    return to_case(run, c, CASE_TITLE, out);
}

static int f_trim(struct run *run, struct call *c, struct value *out)
{
    struct text *t, *chars = NULL;
    TRY(input(run, c, &t));
    if (given(&c->arg[0]) && c->arg[0].type != VALUE_NONE)
        TRY(jinja_as_text(run, &c->arg[0], "trim's argument", &chars));
    return set_text(jinja_text_strip(run, t, chars, true, true), out);
}

static int f_string(struct run *run, struct call *c, struct value *out)
{
    struct text *t;
    TRY(input(run, c, &t));
    return set_text(t, out);
}

static int f_replace(struct run *run, struct call *c, struct value *out)
{
    struct text *t, *old, *with;
    int64_t count = -1;
    TRY(input(run, c, &t));
    TRY(jinja_to_text(run, &c->arg[0], &old));
    TRY(jinja_to_text(run, &c->arg[1], &with));
    if (given(&c->arg[2]) && c->arg[2].type != VALUE_NONE)
        TRY(jinja_as_int(run, &c->arg[2], "replace's count", &count));
    return jinja_replace(run, t, old, with, count, out);
}

static int f_center(struct run *run, struct call *c, struct value *out)
{
    struct text *t;
    int64_t width = 80;
    TRY(input(run, c, &t));
    TRY(optional_int(run, &c->arg[0], "center's width", &width));
    return jinja_pad(run, t, width, ' ', 0, out);
}

/* What indent() puts before lines: n spaces, or a text. */
static int indention(struct run *run, const struct value *width, int64_t otherwise, struct text **out)
{
    struct text blank = {.s = "", .chars = 0};
    struct value spaces;
    if (width->type == VALUE_TEXT) {
        *out = width->text;
        return 0;
    }
    TRY(optional_int(run, width, "the width", &otherwise));
    if (otherwise > 10000)
        return jinja_fail(run, "an indention of %lld is too wide", (long long)otherwise);
    struct text *copy = jinja_text_slice(run, &blank, 0, 0);
    if (!copy)
        return -1;
    TRY(jinja_pad(run, copy, otherwise, ' ', -1, &spaces));
    *out = spaces.text;
    return 0;
}

static int f_indent(struct run *run, struct call *c, struct value *out)
{
    struct text *t, *indent, newline = {.s = "\n", .len = 1, .chars = 1};
    struct value lines;
    struct builder b;
    bool first = jinja_truth(&c->arg[1]), blank = jinja_truth(&c->arg[2]);
    TRY(jinja_as_text(run, &c->self, "the input", &t));
    TRY(indention(run, &c->arg[0], 4, &indent));
    t = jinja_text_join(run, t, &newline); /* Jinja does so: an empty last line counts */
    if (!t)
        return -1;
    TRY(jinja_lines(run, t, false, &lines));
    jinja_build(&b, run);
    for (size_t i = 0; i < lines.list->n; i++) {
        const struct text *line = lines.list->items[i].text;
        TRY(jinja_spend(run, 1));
        if (i)
            jinja_add_literal(&b, "\n");
        if (i ? blank || line->len : first)
            jinja_add_text(&b, indent);
        jinja_add_text(&b, line);
    }
    return jinja_built_value(&b, out);
}

static int f_truncate(struct run *run, struct call *c, struct value *out)
{
    static const struct text blank = {.s = " ", .len = 1, .chars = 1};
    struct text *t, *end = NULL;
    int64_t length = 255, leeway = 5;
    size_t chars, space = SIZE_MAX;
    struct builder b;
    TRY(optional_int(run, &c->arg[0], "truncate's length", &length));
    if (given(&c->arg[2]))
        TRY(jinja_as_text(run, &c->arg[2], "truncate's end", &end));
    else if (!(end = jinja_text(run, "...", 3, false)))
        return -1;
    if (c->arg[3].type != VALUE_NONE)
        TRY(optional_int(run, &c->arg[3], "truncate's leeway", &leeway));
    int64_t keep = length - (int64_t)jinja_text_chars(end);
    if (keep < 0 || leeway < 0)
        return jinja_fail(run, "truncate's length is shorter than its end, or its leeway negative");
    TRY(jinja_length(run, &c->self, &chars));
    *out = c->self;
    if ((int64_t)chars <= length || (int64_t)chars - length <= leeway)
        return 0;
    TRY(jinja_as_text(run, &c->self, "the input", &t));
    size_t cut = jinja_text_offset(t, (size_t)keep);
    if (!jinja_truth(&c->arg[1]))
        TRY(jinja_text_find_last(run, t, 0, cut, &blank, &space));
    jinja_build(&b, run);
    jinja_add_slice(&b, t, 0, space == SIZE_MAX ? cut : space);
    jinja_add_text(&b, end);
    return jinja_built_value(&b, out);
}

static int f_wordcount(struct run *run, struct call *c, struct value *out)
{
    struct text *t;
    int64_t words = 0;
    bool inside = false;
    TRY(input(run, c, &t));
    TRY(jinja_spend_bytes(run, t->len * 4));
    for (size_t at = 0, n = 0; at < t->len; at += n) {
        int32_t p = jinja_decode(t->s + at, &n);
        utf8proc_category_t g = utf8proc_category(p);
        bool word = p == '_' || jinja_is_letter(p) || g == UTF8PROC_CATEGORY_ND ||
                    g == UTF8PROC_CATEGORY_NL || g == UTF8PROC_CATEGORY_NO;
        words += word && !inside;
        inside = word;
    }
    *out = jinja_int(words);
    return 0;
}

static int f_escape(struct run *run, struct call *c, struct value *out)
{
    struct text *t;
    TRY(input(run, c, &t));
    TRY(jinja_spend_bytes(run, t->len));
    return set_text(jinja_text_escape(run, t), out);
}

static int f_forceescape(struct run *run, struct call *c, struct value *out)
{
    struct text *t, *plain;
    TRY(input(run, c, &t));
    if (!(plain = jinja_text_slice(run, t, 0, t->len)))
        return -1;
    plain->markup = false;
    return set_text(jinja_text_escape(run, plain), out);
}

static int f_safe(struct run *run, struct call *c, struct value *out)
{
    struct text *t, *markup;
    TRY(input(run, c, &t));
    if ((markup = jinja_text_slice(run, t, 0, t->len)))
        markup->markup = true;
    return set_text(markup, out);
}

static int f_urlencode(struct run *run, struct call *c, struct value *out)
{
    static const char plain[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-~/",
                      hex[] = "0123456789ABCDEF";
    struct text *t;
    struct builder b;
    size_t cursor = 0;
    if (c->self.type == VALUE_DICT || c->self.type == VALUE_LIST)
        return jinja_fail(run, "urlencode takes text only");
    TRY(input(run, c, &t));
    TRY(jinja_spend_bytes(run, t->len * 4));
    jinja_build(&b, run);
    for (size_t at = 0; at < t->len; at++) {
        unsigned char byte = (unsigned char)t->s[at];
        char code[3] = {'%', hex[byte >> 4], hex[byte & 15]};
        bool user = jinja_user_at(t, at, &cursor), keep = byte && strchr(plain, byte);
        jinja_add(&b, keep ? &t->s[at] : code, keep ? 1 : 3, user);
    }
    return jinja_built_value(&b, out);
}

/* Tags and comments go; white space becomes single spaces; entities are read as Markup reads them. */
static int f_striptags(struct run *run, struct call *c, struct value *out)
{
    struct text *t;
    struct builder b;
    size_t cursor = 0, n;
    bool gap = false, any = false;
    TRY(input(run, c, &t));
    TRY(jinja_spend_bytes(run, t->len * 2));
    jinja_build(&b, run);
    for (size_t at = 0; at < t->len; at += n) {
        bool comment = t->len - at >= 4 && memcmp(t->s + at, "<!--", 4) == 0;
        const char *mark = comment ? "-->" : ">";
        const char *end = t->s[at] == '<' ? memmem(t->s + at, t->len - at, mark, strlen(mark)) : NULL;
        int32_t letter = jinja_decode(t->s + at, &n);
        if (end) {
            n = (size_t)(end - (t->s + at)) + strlen(mark);
        } else if (jinja_is_space(letter)) {
            gap = true;
        } else {
            jinja_add_literal(&b, gap && any ? " " : "");
            jinja_add(&b, t->s + at, n, jinja_user_at(t, at, &cursor));
            gap = false;
            any = true;
        }
    }
    return jinja_built_value(&b, out);
}

/* ---- tojson, format ------------------------------------------------------------------------------------ */

static int separators(struct run *run, const struct value *v, struct json_style *style)
{
    struct list *l;
    struct text *item, *key;
    TRY(jinja_items(run, v, &l));
    if (l->n != 2)
        return jinja_fail(run, "separators must be two texts");
    TRY(jinja_as_text(run, &l->items[0], "a separator", &item));
    TRY(jinja_as_text(run, &l->items[1], "a separator", &key));
    style->item_separator = item;
    style->key_separator = key;
    return 0;
}

static int f_tojson(struct run *run, struct call *c, struct value *out)
{
    static const struct text comma = {.s = ",", .len = 1, .chars = 1},
                             comma_space = {.s = ", ", .len = 2, .chars = 2},
                             colon = {.s = ": ", .len = 2, .chars = 2};
    struct json_style style = {.ascii = jinja_truth(&c->arg[0]), .sort_keys = jinja_truth(&c->arg[3])};
    struct text *indent = NULL;
    struct builder b;
    style.pretty = given(&c->arg[1]) && c->arg[1].type != VALUE_NONE;
    if (style.pretty)
        TRY(indention(run, &c->arg[1], 0, &indent));
    style.indent = indent;
    style.item_separator = style.pretty ? &comma : &comma_space;
    style.key_separator = &colon;
    if (given(&c->arg[2]) && c->arg[2].type != VALUE_NONE)
        TRY(separators(run, &c->arg[2], &style));
    jinja_build(&b, run);
    TRY(jinja_json(&b, &c->self, &style));
    return jinja_built_value(&b, out);
}

static int f_format(struct run *run, struct call *c, struct value *out)
{
    struct text *t;
    TRY(input(run, c, &t));
    if (c->n_args && c->n_keywords)
        return jinja_fail(run, "can't handle positional and keyword arguments at the same time");
    return jinja_format_percent(run, t, c, !c->n_keywords, out);
}

static int f_pprint(struct run *run, struct call *c, struct value *out)
{
    struct builder b;
    jinja_build(&b, run);
    TRY(jinja_repr(&b, &c->self));
    return jinja_built_value(&b, out);
}

/* ---- numbers
 * ------------------------------------------------------------------------------------------------- */

/* Digits without white space and underscores, zero-terminated; false when they do not fit or are odd. */
static bool number_text(struct run *run, const struct text *t, char *out, size_t room)
{
    struct text *s = jinja_text_strip(run, t, NULL, true, true);
    size_t n = 0;
    if (!s || !s->len || s->len >= room)
        return false;
    for (size_t i = 0; i < s->len; i++) {
        bool inside = i && i + 1 < s->len && s->s[i - 1] != '_' && s->s[i + 1] != '_';
        if (s->s[i] == '_' && inside)
            continue;
        if (!s->s[i] || s->s[i] == '_' ||
            !strchr("0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ+-.", s->s[i]))
            return false;
        out[n++] = s->s[i];
    }
    out[n] = 0;
    return true;
}

static bool parse_int(struct run *run, const struct text *t, int base, int64_t *out)
{
    char digits[128], *end, *at = digits;
    if (!number_text(run, t, digits, sizeof digits))
        return false;
    bool negative = *at == '-';
    at += *at == '-' || *at == '+';
    int letter = at[0] == '0' ? at[1] | 0x20 : 0;
    int prefix = letter == 'x' ? 16 : letter == 'o' ? 8 : letter == 'b' ? 2 : 0;
    if (prefix && (base == prefix || base == 0))
        at += 2;
    if (base == 0)
        base = prefix ? prefix : 10;
    if (!((*at >= '0' && *at <= '9') || (*at | 0x20) >= 'a'))
        return false;
    if (negative)
        *--at = '-';
    errno = 0;
    *out = strtoll(at, &end, base);
    return !*end && !errno;
}

static bool parse_float(struct run *run, const struct text *t, double *out)
{
    char digits[400], *end;
    if (!number_text(run, t, digits, sizeof digits) || strchr(digits, 'x') || strchr(digits, 'X'))
        return false;
    *out = strtod(digits, &end);
    return !*end && end != digits;
}

static int f_int(struct run *run, struct call *c, struct value *out)
{
    int64_t i, base = 10;
    double d = NAN;
    TRY(optional_int(run, &c->arg[1], "the base", &base));
    if (base != 0 && (base < 2 || base > 36))
        return jinja_fail(run, "int() base must be >= 2 and <= 36, or 0");
    if (c->self.type == VALUE_UNDEFINED)
        return jinja_undefined_error(run, &c->self);
    if (c->self.type == VALUE_TEXT && parse_int(run, c->self.text, (int)base, &i)) {
        *out = jinja_int(i);
        return 0;
    }
    if (c->self.type == VALUE_INT || c->self.type == VALUE_BOOL)
        return jinja_as_int(run, &c->self, "the input", &i) < 0 ? -1 : (*out = jinja_int(i), 0);
    if (c->self.type == VALUE_FLOAT)
        d = c->self.real;
    else if (c->self.type == VALUE_TEXT && !parse_float(run, c->self.text, &d))
        d = NAN;
    if (fabs(d) < 9.2e18)
        *out = jinja_int((int64_t)d);
    else
        *out = given(&c->arg[0]) ? c->arg[0] : jinja_int(0);
    return 0;
}

static int f_float(struct run *run, struct call *c, struct value *out)
{
    double d;
    if (c->self.type == VALUE_UNDEFINED)
        return jinja_undefined_error(run, &c->self);
    if (jinja_is_number(&c->self))
        *out = jinja_float(jinja_as_double(&c->self));
    else if (c->self.type == VALUE_TEXT && parse_float(run, c->self.text, &d))
        *out = jinja_float(d);
    else
        *out = given(&c->arg[0]) ? c->arg[0] : jinja_float(0);
    return 0;
}

static int f_abs(struct run *run, struct call *c, struct value *out)
{
    struct value zero = jinja_int(0);
    if (c->self.type == VALUE_FLOAT) {
        *out = jinja_float(fabs(c->self.real));
        return 0;
    }
    int64_t i;
    TRY(jinja_as_int(run, &c->self, "abs's input", &i));
    return jinja_binary(run, i < 0 ? OP_SUBTRACT : OP_ADD, &zero, &c->self, out);
}

/* Python's round(): of decimal digits, ties to even. */
static double round_common(double d, int64_t precision)
{
    char digits[400];
    if (precision < 0) {
        double scale = pow(10, (double)-precision);
        return isinf(scale) ? 0 : nearbyint(d / scale) * scale;
    }
    snprintf(digits, sizeof digits, "%.*f", (int)precision, d);
    return strtod(digits, NULL);
}

static int f_round(struct run *run, struct call *c, struct value *out)
{
    int64_t precision = 0;
    struct text *method = NULL;
    if (c->self.type == VALUE_UNDEFINED)
        return jinja_undefined_error(run, &c->self);
    if (!jinja_is_number(&c->self))
        return jinja_fail(run, "type %s doesn't define a rounding", jinja_type_name(&c->self));
    TRY(optional_int(run, &c->arg[0], "the precision", &precision));
    if (given(&c->arg[1]))
        TRY(jinja_as_text(run, &c->arg[1], "the method", &method));
    bool common = !method || jinja_text_is(method, "common"), up = method && jinja_text_is(method, "ceil");
    if (!common && !up && !jinja_text_is(method, "floor"))
        return jinja_fail(run, "method must be common, ceil or floor");
    double d = jinja_as_double(&c->self);
    if (precision > 50 || precision < -400)
        return jinja_fail(run, "round's precision is out of range");
    if (common && c->self.type != VALUE_FLOAT) {
        *out = precision < 0 ? jinja_int((int64_t)round_common(d, precision)) : c->self;
        if (out->type == VALUE_BOOL)
            *out = jinja_int(out->boolean);
        return 0;
    }
    if (common) {
        *out = jinja_float(round_common(d, precision));
        return 0;
    }
    double scale = pow(10, (double)precision), scaled = up ? ceil(d * scale) : floor(d * scale);
    *out = jinja_float(scaled / scale);
    return 0;
}

static int f_filesizeformat(struct run *run, struct call *c, struct value *out)
{
    static const char *const decimal[] = {"kB", "MB", "GB", "TB", "PB", "EB", "ZB", "YB"};
    static const char *const binary[] = {"KiB", "MiB", "GiB", "TiB", "PiB", "EiB", "ZiB", "YiB"};
    struct builder b;
    char digits[64];
    double base = jinja_truth(&c->arg[0]) ? 1024 : 1000;
    double bytes = jinja_is_number(&c->self) ? jinja_as_double(&c->self) : 0;
    if (c->self.type == VALUE_UNDEFINED)
        return jinja_undefined_error(run, &c->self);
    if (c->self.type == VALUE_TEXT ? !parse_float(run, c->self.text, &bytes) : !jinja_is_number(&c->self))
        return jinja_fail(run, "filesizeformat needs a number, not '%s'", jinja_type_name(&c->self));
    double unit = base;
    size_t i = 0;
    jinja_build(&b, run);
    for (; i < 7 && bytes >= unit * base; i++)
        unit *= base;
    if (bytes < base)
        snprintf(digits, sizeof digits, bytes == 1 ? "%.0f Byte" : "%.0f Bytes", trunc(bytes));
    else
        snprintf(digits, sizeof digits, "%.1f %s", bytes / unit, base > 1000 ? binary[i] : decimal[i]);
    jinja_add_literal(&b, digits);
    return jinja_built_value(&b, out);
}

const struct builtin jinja_text_filters[] = {
    {"upper", f_upper, "", 0},
    {"lower", f_lower, "", 0},
    {"capitalize", f_capitalize, "", 0},
    {"title", f_title, "", 0},
    {"trim", f_trim, "chars", 0},
    {"string", f_string, "", 0},
    {"safe", f_safe, "", 0},
    {"replace", f_replace, "old,new,count", 2},
    {"center", f_center, "width", 0},
    {"indent", f_indent, "width,first,blank", 0},
    {"truncate", f_truncate, "length,killwords,end,leeway", 0},
    {"wordcount", f_wordcount, "", 0},
    {"e", f_escape, "", 0},
    {"escape", f_escape, "", 0},
    {"forceescape", f_forceescape, "", 0},
    {"urlencode", f_urlencode, "", 0},
    {"striptags", f_striptags, "", 0},
    {"tojson", f_tojson, "ensure_ascii,indent,separators,sort_keys", 0},
    {"format", f_format, "*", 0},
    {"pprint", f_pprint, "", 0},
    {"int", f_int, "default,base", 0},
    {"float", f_float, "default", 0},
    {"abs", f_abs, "", 0},
    {"round", f_round, "precision,method", 0},
    {"filesizeformat", f_filesizeformat, "binary", 0}};
const size_t jinja_n_text_filters = sizeof jinja_text_filters / sizeof *jinja_text_filters;
