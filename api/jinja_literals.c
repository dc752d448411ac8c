/* jinja_literals.c - numbers and strings of template code, with Python's notation and escapes.
 * Called by jinja_expression.c alone. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include "api/jinja_tree.h"

struct node *jinja_constant(struct parser *p, const struct token *at, struct value v)
{
    struct node *n = jinja_new_node(p, NODE_CONST, at);
    if (n)
        n->value = v;
    return n;
}

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Decodes the escape behind a backslash at s[i]; appends to out.  Returns what follows, 0 on an error. */
static size_t decode_escape(const char *s, size_t len, size_t i, char *out, size_t *n)
{
    static const char letters[] = "n\nt\tr\r\\\\'\'\"\"a\ab\bf\fv\v";
    char c = s[i];
    for (const char *l = letters; *l; l += 2)
        if (*l == c) {
            out[(*n)++] = l[1];
            return i + 1;
        }
    if (c == '\n')
        return i + 1;
    int32_t point = 0;
    size_t digits = c == 'x' ? 2 : c == 'u' ? 4 : c == 'U' ? 8 : 0, at = i + 1;
    if (c >= '0' && c <= '7') {
        for (at = i; at < len && at < i + 3 && s[at] >= '0' && s[at] <= '7'; at++)
            point = point * 8 + (s[at] - '0');
    } else if (!digits) { /* Python keeps an escape that it does not know */
        out[(*n)++] = '\\';
        return i;
    }
    for (; digits; digits--, at++) {
        int v = at < len ? hex_value(s[at]) : -1;
        if (v < 0 || point > 0x10ffff)
            return 0;
        point = point * 16 + v;
    }
    if (!utf8proc_codepoint_valid(point))
        return 0;
    *n += (size_t)utf8proc_encode_char(point, (utf8proc_uint8_t *)out + *n);
    return at;
}

struct node *jinja_parse_string(struct parser *p)
{
    const struct token *first = p->next;
    size_t room = 0, n = 0;
    for (const struct token *t = first; t->kind == TOK_STRING; t++)
        room += t->len;
    char *out = arena_alloc(p->t->arena, room + 1, 1);
    if (!out) {
        error_no_memory(p->e);
        return NULL;
    }
    for (; p->next->kind == TOK_STRING; p->next++)
        for (size_t i = 0; i < p->next->len;) {
            if (p->next->text[i] != '\\') {
                out[n++] = p->next->text[i++];
                continue;
            }
            i = decode_escape(p->next->text, p->next->len, i + 1, out, &n);
            if (!i) {
                jinja_syntax_error(p, p->next, "this string holds an escape that is no character");
                return NULL;
            }
        }
    struct text *t = jinja_parser_text(p, out, n);
    return t ? jinja_constant(p, first, jinja_of_text(t)) : NULL;
}

struct node *jinja_parse_number(struct parser *p)
{
    const struct token *t = p->next++;
    char digits[512];
    size_t n = 0;
    for (size_t i = 0; i < t->len && n + 1 < sizeof digits; i++)
        if (t->text[i] != '_')
            digits[n++] = t->text[i];
    digits[n] = 0;
    char *end;
    errno = 0;
    if (t->kind == TOK_FLOAT) {
        double d = strtod(digits, &end);
        if (n + 1 < sizeof digits && !*end)
            return jinja_constant(p, t, jinja_float(d));
    } else {
        int base = digits[0] == '0' && n > 1 ? (digits[1] | 0x20) == 'x'   ? 16
                                               : (digits[1] | 0x20) == 'o' ? 8
                                                                           : 2
                                             : 10;
        if (digits[0] == '0' && digits[1] >= '0' && digits[1] <= '9')
            base = 10;
        long long v = strtoll(digits + (base == 10 ? 0 : 2), &end, base);
        bool leading_zero = base == 10 && digits[0] == '0' && v != 0;
        if (n + 1 < sizeof digits && !*end && end != digits + (base == 10 ? 0 : 2) && errno == 0 &&
            !leading_zero)
            return jinja_constant(p, t, jinja_int(v));
    }
    jinja_syntax_error(p, t, "this number is malformed, or does not fit in 64 bits");
    return NULL;
}
