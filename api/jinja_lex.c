/* jinja_lex.c - template source to tokens, with Jinja's rules for white space: trim_blocks,
 * lstrip_blocks, the - and + marks, raw blocks and comments.  Called by jinja_compile() alone. */
#include <stdlib.h>
#include <string.h>

#include "api/jinja_tree.h"
#include "engine/base/limits.h"

struct lexer {
    const char *source;
    size_t len, at;
    uint32_t line;
    size_t line_start;
    bool line_starting; /* what was matched last ended with a newline */
    struct tokens *out;
    struct error *e;
};

static int lex_error(const struct lexer *l, size_t where, const char *reason)
{
    uint32_t line = l->line;
    size_t start = l->line_start;
    for (size_t i = l->at; i < where; i++)
        if (l->source[i] == '\n') {
            line++;
            start = i + 1;
        }
    return error_set(l->e, ERROR_INVALID_REQUEST, "line %u, column %zu: %s", line, where - start + 1, reason);
}

/* Moves to `to`, counting lines. */
static void advance(struct lexer *l, size_t to)
{
    if (to > l->at)
        l->line_starting = l->source[to - 1] == '\n';
    for (; l->at < to; l->at++)
        if (l->source[l->at] == '\n') {
            l->line++;
            l->line_start = l->at + 1;
        }
}

/* Appends a token of the bytes from l->at to `to`, and moves there. */
static int emit(struct lexer *l, enum token_kind kind, size_t text_start, size_t text_len, size_t to)
{
    struct tokens *t = l->out;
    if (t->n == t->cap) {
        size_t cap = t->cap ? t->cap * 2 : 256;
        struct token *items = realloc(t->items, cap * sizeof *items);
        if (!items)
            return error_no_memory(l->e);
        t->items = items;
        t->cap = cap;
    }
    t->items[t->n++] = (struct token){.kind = kind,
                                      .line = l->line,
                                      .column = (uint32_t)(l->at - l->line_start + 1),
                                      .text = l->source + text_start,
                                      .len = text_len};
    advance(l, to);
    return 0;
}

static bool looking_at(const struct lexer *l, size_t at, const char *s)
{
    size_t n = strlen(s);
    return n <= l->len - at && memcmp(l->source + at, s, n) == 0;
}

static size_t skip_spaces(const struct lexer *l, size_t at)
{
    while (at < l->len) {
        size_t n;
        if (!jinja_is_space(jinja_decode(l->source + at, &n)))
            break;
        at += n;
    }
    return at;
}

/* End of the tag's closing mark at `at` ("%}", "-%}", "+%}" and what they swallow), or 0. */
static size_t tag_end(const struct lexer *l, size_t at, const char *mark, bool trim)
{
    if (at < l->len && l->source[at] == '-' && looking_at(l, at + 1, mark))
        return skip_spaces(l, at + 3);
    if (trim && at < l->len && l->source[at] == '+' && looking_at(l, at + 1, mark))
        return at + 3;
    if (at >= l->len || !looking_at(l, at, mark))
        return 0;
    at += 2;
    return trim && at < l->len && l->source[at] == '\n' ? at + 1 : at;
}

/* Where the text before a tag at `tag` ends, once its white space is stripped. */
static size_t data_end(const struct lexer *l, size_t tag, bool strips_lines)
{
    char sign = tag + 2 < l->len ? l->source[tag + 2] : 0;
    size_t end = tag;
    if (sign == '-') {
        while (end > l->at) {
            size_t n;
            if (!jinja_is_space(jinja_decode_last(l->source, end, &n)))
                break;
            end -= n;
        }
        return end;
    }
    if (sign == '+' || !strips_lines)
        return tag;
    size_t line = tag;
    while (line > l->at && l->source[line - 1] != '\n')
        line--;
    if ((line == l->at && !l->line_starting) || skip_spaces(l, line) < tag)
        return tag;
    return line;
}

static int emit_data(struct lexer *l, size_t end, size_t to)
{
    if (end > l->at)
        return emit(l, TOK_DATA, l->at, end - l->at, to);
    advance(l, to);
    return 0;
}

static int lex_comment(struct lexer *l, size_t tag)
{
    TRY(emit_data(l, data_end(l, tag, true), tag));
    size_t body = tag + 2;
    if (body < l->len && (l->source[body] == '-' || l->source[body] == '+'))
        body++;
    if (body >= l->len) /* Jinja lets an empty one end with the template; so for raw */
        advance(l, l->len);
    for (size_t i = body; i < l->len; i++) {
        size_t end = tag_end(l, i, "#}", true);
        if (end) {
            advance(l, end);
            return 0;
        }
    }
    return body >= l->len ? 0 : lex_error(l, tag, "this comment has no end, #} is missing");
}

/* "{%", a sign, spaces, `word`, and the end of the tag; 0 when it is something else. */
static size_t word_tag(const struct lexer *l, size_t at, const char *word, bool trim)
{
    if (!looking_at(l, at, "{%"))
        return 0;
    at += 2;
    if (at < l->len && (l->source[at] == '-' || l->source[at] == '+'))
        at++;
    at = skip_spaces(l, at);
    if (at >= l->len || !looking_at(l, at, word))
        return 0;
    at = skip_spaces(l, at + strlen(word));
    return tag_end(l, at, "%}", trim);
}

static int lex_raw(struct lexer *l, size_t tag, size_t body)
{
    TRY(emit_data(l, data_end(l, tag, true), tag));
    size_t opened = l->at;
    advance(l, body);
    for (size_t i = body; i < l->len; i++) {
        size_t end = l->source[i] == '{' ? word_tag(l, i, "endraw", true) : 0;
        if (end)
            return emit_data(l, data_end(l, i, true), end);
    }
    if (body >= l->len)
        return 0;
    l->at = opened;
    return lex_error(l, opened, "this raw block has no end, {% endraw %} is missing");
}

static bool is_name_byte(unsigned char c)
{
    return c >= 0x80 || c == '_' || (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') ||
           (c >= 'A' && c <= 'Z');
}

static size_t digits(const struct lexer *l, size_t at)
{
    while (at < l->len && ((l->source[at] >= '0' && l->source[at] <= '9') ||
                           (l->source[at] == '_' && at + 1 < l->len && l->source[at + 1] >= '0' &&
                            l->source[at + 1] <= '9')))
        at++;
    return at;
}

static int lex_number(struct lexer *l)
{
    const char *s = l->source;
    size_t at = l->at;
    char base = at + 1 < l->len && s[at] == '0' ? (char)(s[at + 1] | 0x20) : 0;
    if (base == 'x' || base == 'o' || base == 'b') {
        for (at += 2; at < l->len && (is_name_byte((unsigned char)s[at]) && !(s[at] & 0x80)); at++)
            ;
        return emit(l, TOK_INTEGER, l->at, at - l->at, at);
    }
    at = digits(l, at);
    enum token_kind kind = TOK_INTEGER;
    bool after_dot = l->at > 0 && s[l->at - 1] == '.'; /* a.0.1 is two indexes */
    if (!after_dot && at + 1 < l->len && s[at] == '.' && s[at + 1] >= '0' && s[at + 1] <= '9') {
        kind = TOK_FLOAT;
        at = digits(l, at + 1);
    }
    if (!after_dot && at < l->len && (s[at] == 'e' || s[at] == 'E')) {
        size_t exponent = at + 1;
        if (exponent < l->len && (s[exponent] == '+' || s[exponent] == '-'))
            exponent++;
        size_t end = digits(l, exponent);
        if (end > exponent) {
            kind = TOK_FLOAT;
            at = end;
        }
    }
    return emit(l, kind, l->at, at - l->at, at);
}

static int lex_string(struct lexer *l)
{
    char quote = l->source[l->at];
    for (size_t i = l->at + 1; i < l->len; i++) {
        if (l->source[i] == '\\')
            i++;
        else if (l->source[i] == quote)
            return emit(l, TOK_STRING, l->at + 1, i - l->at - 1, i + 1);
    }
    return lex_error(l, l->at, "this string has no end");
}

static int lex_operator(struct lexer *l, char *open, size_t *n_open)
{
    static const char *const two[] = {"//", "**", "==", "!=", ">=", "<="};
    for (size_t i = 0; i < sizeof two / sizeof *two; i++)
        if (looking_at(l, l->at, two[i]))
            return emit(l, TOK_OPERATOR, l->at, 2, l->at + 2);
    char c = l->source[l->at];
    if (!strchr("+-/*%~[](){}><=.:|,;", c) || !c)
        return lex_error(l, l->at, "this character has no meaning here");
    if (c == '(' || c == '[' || c == '{') {
        if (*n_open == LIMIT_TEMPLATE_DEPTH)
            return lex_error(l, l->at, "brackets are nested too deep");
        open[(*n_open)++] = c == '(' ? ')' : (char)(c + 2);
    } else if (c == ')' || c == ']' || c == '}') {
        if (!*n_open)
            return lex_error(l, l->at, "this bracket was never opened");
        if (open[--*n_open] != c)
            return lex_error(l, l->at, "this bracket does not match the one that is open");
    }
    return emit(l, TOK_OPERATOR, l->at, 1, l->at + 1);
}

/* The inside of {{ }} or {% %}, its end included. */
static int lex_code(struct lexer *l, const char *mark, enum token_kind end_kind)
{
    char open[LIMIT_TEMPLATE_DEPTH];
    size_t n_open = 0;
    for (;;) {
        advance(l, skip_spaces(l, l->at));
        if (l->at >= l->len)
            break;
        size_t end = n_open ? 0 : tag_end(l, l->at, mark, end_kind == TOK_BLOCK_END);
        if (end)
            return emit(l, end_kind, l->at, 2, end);
        unsigned char c = (unsigned char)l->source[l->at];
        if (c >= '0' && c <= '9') {
            TRY(lex_number(l));
        } else if (is_name_byte(c)) {
            size_t to = l->at;
            while (to < l->len && is_name_byte((unsigned char)l->source[to]))
                to++;
            TRY(emit(l, TOK_NAME, l->at, to - l->at, to));
        } else if (c == '\'' || c == '"') {
            TRY(lex_string(l));
        } else {
            TRY(lex_operator(l, open, &n_open));
        }
    }
    return lex_error(l, l->len,
                     end_kind == TOK_BLOCK_END ? "the template ends inside a tag, %} is missing"
                                               : "the template ends inside an expression, }} is missing");
}

static int lex_tag(struct lexer *l, size_t tag)
{
    size_t raw = word_tag(l, tag, "raw", false);
    if (raw)
        return lex_raw(l, tag, raw);
    if (l->source[tag + 1] == '#')
        return lex_comment(l, tag);
    bool block = l->source[tag + 1] == '%';
    TRY(emit_data(l, data_end(l, tag, block), tag));
    size_t inside = tag + 2;
    if (inside < l->len && (l->source[inside] == '-' || l->source[inside] == '+'))
        inside++;
    TRY(emit(l, block ? TOK_BLOCK_BEGIN : TOK_VARIABLE_BEGIN, tag, 2, inside));
    return lex_code(l, block ? "%}" : "}}", block ? TOK_BLOCK_END : TOK_VARIABLE_END);
}

int jinja_lex(const char *source, size_t len, struct tokens *out, struct error *e)
{
    struct lexer l = {.source = source, .len = len, .line = 1, .line_starting = true, .out = out, .e = e};
    while (l.at < len) {
        size_t tag = l.at;
        while (tag + 1 < len && !(source[tag] == '{' && strchr("{%#", source[tag + 1]) && source[tag + 1]))
            tag++;
        if (tag + 1 >= len)
            TRY(emit_data(&l, len, len));
        else
            TRY(lex_tag(&l, tag));
    }
    return emit(&l, TOK_END, len, 0, len);
}
