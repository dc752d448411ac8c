/* jinja_print.c - values as text: str(), repr() and tojson, by Python's rules.
 * Used by api/jinja*.c alone; thread: that of the run. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include "api/jinja_value.h"

static int done(const struct builder *b)
{
    return b->failed ? -1 : 0;
}

/* repr(float): the shortest digits that read back as the same number. */
void jinja_print_float(struct builder *b, double d)
{
    char digits[40], out[64];
    if (isnan(d) || isinf(d)) {
        jinja_add_literal(b, isnan(d) ? "nan" : d < 0 ? "-inf" : "inf");
        return;
    }
    int precision = 0;
    do
        snprintf(digits, sizeof digits, "%.*e", precision, d);
    while (strtod(digits, NULL) != d && ++precision < 17);
    int exponent = (int)strtol(strchr(digits, 'e') + 1, NULL, 10);
    if (exponent >= -4 && exponent < 16) {
        int decimals = precision - exponent;
        snprintf(out, sizeof out, "%.*f", decimals > 0 ? decimals : 1, d);
    } else {
        *strchr(digits, 'e') = 0;
        snprintf(out, sizeof out, "%se%c%02d", digits, exponent < 0 ? '-' : '+', abs(exponent));
    }
    jinja_add_literal(b, out);
}

static void print_int(struct builder *b, int64_t i)
{
    char out[24];
    snprintf(out, sizeof out, "%lld", (long long)i);
    jinja_add_literal(b, out);
}

static bool is_printable(int32_t c)
{
    if (c == ' ')
        return true;
    switch (utf8proc_category(c)) {
    case UTF8PROC_CATEGORY_CN:
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_CS:
    case UTF8PROC_CATEGORY_CO:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP:
    case UTF8PROC_CATEGORY_ZS:
        return false;
    default:
        return true;
    }
}

static void repr_char(struct builder *b, int32_t c, char quote, bool user)
{
    char out[12];
    if (c == quote || c == '\\')
        snprintf(out, sizeof out, "\\%c", (char)c);
    else if (c == '\n' || c == '\r' || c == '\t')
        snprintf(out, sizeof out, "\\%c", c == '\n' ? 'n' : c == '\r' ? 'r' : 't');
    else if (is_printable(c)) {
        jinja_add_char(b, c, user);
        return;
    } else
        snprintf(out, sizeof out, c < 0x100 ? "\\x%02x" : c < 0x10000 ? "\\u%04x" : "\\U%08x", (unsigned)c);
    jinja_add(b, out, strlen(out), user);
}

static void repr_text(struct builder *b, const struct text *t)
{
    char quote = memchr(t->s, '\'', t->len) && !memchr(t->s, '"', t->len) ? '"' : '\'';
    size_t cursor = 0;
    jinja_add(b, &quote, 1, false);
    for (size_t at = 0, n = 0; at < t->len && !b->failed; at += n) {
        int32_t c = jinja_decode(t->s + at, &n);
        repr_char(b, c, quote, jinja_user_at(t, at, &cursor));
    }
    jinja_add(b, &quote, 1, false);
}

static int repr_dict(struct builder *b, const struct dict *d)
{
    jinja_add_literal(b, "{");
    for (size_t i = 0; i < d->n; i++) {
        if (i)
            jinja_add_literal(b, ", ");
        TRY(jinja_repr(b, &d->entries[i].key));
        jinja_add_literal(b, ": ");
        TRY(jinja_repr(b, &d->entries[i].value));
    }
    jinja_add_literal(b, "}");
    return done(b);
}

static int repr_list(struct builder *b, const struct list *l)
{
    static const char *const open[] = {"[", "(", "", "", "dict_keys([", "dict_values([", "dict_items(["};
    static const char *const close[] = {"]", ")", "", "", "])", "])", "])"};
    if (l->kind == LIST_GENERATOR) {
        jinja_add_literal(b, "<generator object>");
        return done(b);
    }
    if (l->kind == LIST_RANGE) {
        int64_t first = l->n ? l->items[0].integer : 0, step = l->n > 1 ? l->items[1].integer - first : 1;
        char out[80];
        int n = snprintf(out, sizeof out, "range(%lld, %lld", (long long)first,
                         (long long)(first + (int64_t)l->n * step));
        snprintf(out + n, sizeof out - (size_t)n, step == 1 ? ")" : ", %lld)", (long long)step);
        jinja_add_literal(b, out);
        return done(b);
    }
    jinja_add_literal(b, open[l->kind]);
    for (size_t i = 0; i < l->n; i++) {
        if (i)
            jinja_add_literal(b, ", ");
        TRY(jinja_repr(b, &l->items[i]));
    }
    if (l->kind == LIST_TUPLE && l->n == 1)
        jinja_add_literal(b, ",");
    jinja_add_literal(b, close[l->kind]);
    return done(b);
}

int jinja_repr(struct builder *b, const struct value *v)
{
    TRY(jinja_spend(b->run, 1));
    TRY(jinja_deeper(b->run));
    int result = 0;
    switch (v->type) {
    case VALUE_TEXT:
        jinja_add_literal(b, v->text->markup ? "Markup(" : "");
        repr_text(b, v->text);
        jinja_add_literal(b, v->text->markup ? ")" : "");
        break;
    case VALUE_LIST:
        result = repr_list(b, v->list);
        break;
    case VALUE_NAMESPACE:
        jinja_add_literal(b, "<Namespace ");
        result = repr_dict(b, v->dict);
        jinja_add_literal(b, ">");
        break;
    case VALUE_DICT:
        result = repr_dict(b, v->dict);
        break;
    case VALUE_UNDEFINED:
        jinja_add_literal(b, "Undefined");
        break;
    default:
        result = jinja_print(b, v);
    }
    b->run->depth--;
    return result < 0 ? result : done(b);
}

int jinja_print(struct builder *b, const struct value *v)
{
    switch (v->type) {
    case VALUE_TEXT:
        jinja_add_text(b, v->text);
        break;
    case VALUE_UNDEFINED:
        return 0;
    case VALUE_NONE:
        jinja_add_literal(b, "None");
        break;
    case VALUE_BOOL:
        jinja_add_literal(b, v->boolean ? "True" : "False");
        break;
    case VALUE_INT:
        print_int(b, v->integer);
        break;
    case VALUE_FLOAT:
        jinja_print_float(b, v->real);
        break;
    case VALUE_LIST:
    case VALUE_DICT:
    case VALUE_NAMESPACE:
        return jinja_repr(b, v);
    default:
        jinja_add_literal(b, "<");
        jinja_add_literal(b, jinja_type_name(v));
        jinja_add_literal(b, ">");
    }
    return done(b);
}

int jinja_to_text(struct run *run, const struct value *v, struct text **out)
{
    if (v->type == VALUE_TEXT) {
        *out = v->text;
        return 0;
    }
    struct builder b;
    jinja_build(&b, run);
    TRY(jinja_print(&b, v));
    *out = jinja_built(&b);
    return *out ? 0 : -1;
}

/* ---- JSON, as Python's json.dumps writes it -------------------------------------------------------- */

static void json_char(struct builder *b, int32_t c, bool ascii, bool user)
{
    static const char letters[] = "\"\"\\\\\nn\rr\tt\bb\ff";
    char out[16];
    for (const char *l = letters; *l; l += 2)
        if (c == *l) {
            snprintf(out, sizeof out, "\\%c", l[1]);
            jinja_add(b, out, 2, user);
            return;
        }
    if (c >= 0x20 && (!ascii || c < 0x7f)) {
        jinja_add_char(b, c, user);
        return;
    }
    if (c < 0x10000)
        snprintf(out, sizeof out, "\\u%04x", (unsigned)c);
    else
        snprintf(out, sizeof out, "\\u%04x\\u%04x", 0xd800u + ((unsigned)(c - 0x10000) >> 10),
                 0xdc00u + ((unsigned)c & 0x3ff));
    jinja_add(b, out, strlen(out), user);
}

static void json_text(struct builder *b, const struct text *t, bool ascii)
{
    size_t cursor = 0, plain = 0;
    jinja_add_literal(b, "\"");
    for (size_t at = 0, n = 0; at < t->len && !b->failed; at += n) {
        int32_t c = jinja_decode(t->s + at, &n);
        if (c >= 0x20 && c < 0x7f && c != '"' && c != '\\')
            continue;
        jinja_add_slice(b, t, plain, at);
        json_char(b, c, ascii, jinja_user_at(t, at, &cursor));
        plain = at + n;
    }
    jinja_add_slice(b, t, plain, t->len);
    jinja_add_literal(b, "\"");
}

static void json_line(struct builder *b, const struct json_style *style, unsigned level)
{
    if (!style->pretty)
        return;
    jinja_add_literal(b, "\n");
    for (unsigned i = 0; i < level && !b->failed; i++)
        jinja_add_text(b, style->indent);
}

static int json_value(struct builder *b, const struct value *v, const struct json_style *style,
                      unsigned level);

static int json_key(struct builder *b, const struct value *key, const struct json_style *style)
{
    if (key->type == VALUE_TEXT) {
        json_text(b, key->text, style->ascii);
        return 0;
    }
    if (key->type != VALUE_NONE && !jinja_is_number(key))
        return jinja_fail(b->run, "keys must be str, int, float, bool or None, not %s", jinja_type_name(key));
    jinja_add_literal(b, "\"");
    TRY(json_value(b, key, style, 0));
    jinja_add_literal(b, "\"");
    return 0;
}

struct by_key {
    const struct dict *dict;
    struct run *run;
    bool failed;
};

static int order_entries(const void *a, const void *b, void *context)
{
    struct by_key *by = context;
    uint32_t i = *(const uint32_t *)a, j = *(const uint32_t *)b;
    int order = 0;
    if (!by->failed)
        by->failed =
            jinja_order(by->run, &by->dict->entries[i].key, &by->dict->entries[j].key, "<", &order) < 0;
    return order == 2 ? 0 : order;
}

static int json_dict(struct builder *b, const struct dict *d, const struct json_style *style, unsigned level)
{
    uint32_t *order = jinja_alloc(b->run, d->n ? d->n : 1, sizeof *order);
    if (!order)
        return -1;
    for (size_t i = 0; i < d->n; i++)
        order[i] = (uint32_t)i;
    struct by_key by = {.dict = d, .run = b->run};
    if (style->sort_keys)
        qsort_r(order, d->n, sizeof *order, order_entries, &by);
    if (by.failed)
        return -1;
    jinja_add_literal(b, "{");
    for (size_t i = 0; i < d->n; i++) {
        if (i)
            jinja_add_text(b, style->item_separator);
        json_line(b, style, level + 1);
        TRY(json_key(b, &d->entries[order[i]].key, style));
        jinja_add_text(b, style->key_separator);
        TRY(json_value(b, &d->entries[order[i]].value, style, level + 1));
    }
    if (d->n)
        json_line(b, style, level);
    jinja_add_literal(b, "}");
    return 0;
}

static int json_list(struct builder *b, const struct list *l, const struct json_style *style, unsigned level)
{
    jinja_add_literal(b, "[");
    for (size_t i = 0; i < l->n; i++) {
        if (i)
            jinja_add_text(b, style->item_separator);
        json_line(b, style, level + 1);
        TRY(json_value(b, &l->items[i], style, level + 1));
    }
    if (l->n)
        json_line(b, style, level);
    jinja_add_literal(b, "]");
    return 0;
}

static int json_value(struct builder *b, const struct value *v, const struct json_style *style,
                      unsigned level)
{
    TRY(jinja_spend(b->run, 1));
    TRY(jinja_deeper(b->run));
    if (v->type == VALUE_TEXT)
        json_text(b, v->text, style->ascii);
    else if (v->type == VALUE_NONE)
        jinja_add_literal(b, "null");
    else if (v->type == VALUE_BOOL)
        jinja_add_literal(b, v->boolean ? "true" : "false");
    else if (v->type == VALUE_INT)
        print_int(b, v->integer);
    else if (v->type == VALUE_FLOAT && isnan(v->real))
        jinja_add_literal(b, "NaN");
    else if (v->type == VALUE_FLOAT && isinf(v->real))
        jinja_add_literal(b, v->real < 0 ? "-Infinity" : "Infinity");
    else if (v->type == VALUE_FLOAT)
        jinja_print_float(b, v->real);
    else if (v->type == VALUE_DICT)
        TRY(json_dict(b, v->dict, style, level));
    else if (v->type == VALUE_LIST && v->list->kind <= LIST_TUPLE)
        TRY(json_list(b, v->list, style, level));
    else
        return jinja_fail(b->run, "Object of type %s is not JSON serializable", jinja_type_name(v));
    b->run->depth--;
    return done(b);
}

int jinja_json(struct builder *b, const struct value *v, const struct json_style *style)
{
    return json_value(b, v, style, 0);
}
