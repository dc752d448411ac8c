/* jinja_parse.c - statements: tokens to tree, and jinja_compile() which starts it all.
 * The grammar of expressions is in jinja_expression.c.  Nesting is bounded by LIMIT_TEMPLATE_DEPTH
 * (brackets and blocks) and the height of the tree by LIMIT_TEMPLATE_TREE, so that neither this
 * parser nor the evaluator recurses further.
 * To add a tag: one parse function and one row in `tags`. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/jinja_tree.h"
#include "engine/base/limits.h"
#include "engine/base/utf8.h"

/* Enough for the tree of a source of LIMIT_TEMPLATE_SOURCE that is nothing but operators. */
enum { COMPILE_MEMORY = 256 << 20 };

int jinja_syntax_error(struct parser *p, const struct token *at, const char *format, ...)
{
    char text[400];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    return error_set(p->e, ERROR_INVALID_REQUEST, "line %u, column %u: %s", at->line, at->column, text);
}

struct node *jinja_new_node(struct parser *p, enum node_kind kind, const struct token *at)
{
    struct node *n = arena_alloc(p->t->arena, 1, sizeof *n);
    if (!n) {
        error_no_memory(p->e);
        return NULL;
    }
    n->kind = (uint8_t)kind;
    n->line = at->line;
    n->column = at->column;
    return n;
}

int jinja_push(struct parser *p, struct node *n, struct node *item)
{
    /* The array doubles whenever the count reaches a power of two. */
    if ((n->n_items & (n->n_items - 1)) == 0) {
        struct node **items = arena_alloc(p->t->arena, n->n_items ? n->n_items * 2 : 1, sizeof *items);
        if (!items)
            return error_no_memory(p->e);
        if (n->n_items)
            memcpy(items, n->items, n->n_items * sizeof *items);
        n->items = items;
    }
    n->items[n->n_items++] = item;
    return 0;
}

int jinja_close_node(struct parser *p, struct node *n)
{
    uint32_t height = 0;
    const struct node *children[] = {n->a, n->b, n->c};
    for (size_t i = 0; i < 3; i++)
        if (children[i] && children[i]->height > height)
            height = children[i]->height;
    for (size_t i = 0; i < n->n_items; i++)
        if (n->items[i] && n->items[i]->height > height)
            height = n->items[i]->height;
    n->height = height + 1;
    if (n->height <= LIMIT_TEMPLATE_TREE)
        return 0;
    return error_set(p->e, ERROR_INVALID_REQUEST,
                     "line %u, column %u: more than %d operations depend on each other", n->line, n->column,
                     LIMIT_TEMPLATE_TREE);
}

struct text *jinja_parser_text(struct parser *p, const char *s, size_t len)
{
    struct text *t = arena_alloc(p->t->arena, 1, sizeof *t);
    if (!t) {
        error_no_memory(p->e);
        return NULL;
    }
    t->s = s;
    t->len = len;
    t->chars = UNKNOWN_CHARS;
    jinja_text_chars(t); /* threads share the tree: nothing in it may be filled in later */
    return t;
}

uint32_t jinja_symbol(struct parser *p, const struct token *name)
{
    struct jinja_template *t = p->t;
    for (uint32_t i = 0; i < t->n_symbols; i++)
        if (t->symbols[i]->len == name->len && memcmp(t->symbols[i]->s, name->text, name->len) == 0)
            return i;
    if (t->n_symbols == LIMIT_TEMPLATE_NAMES) {
        jinja_syntax_error(p, name, "more than %d different names", LIMIT_TEMPLATE_NAMES);
        return UINT32_MAX;
    }
    if (t->n_symbols == t->cap_symbols) {
        uint32_t cap = t->cap_symbols ? t->cap_symbols * 2 : 32;
        struct text **symbols = arena_alloc(t->arena, cap, sizeof *symbols);
        if (!symbols) {
            error_no_memory(p->e);
            return UINT32_MAX;
        }
        if (t->n_symbols)
            memcpy(symbols, t->symbols, t->n_symbols * sizeof *symbols);
        t->symbols = symbols;
        t->cap_symbols = cap;
    }
    t->symbols[t->n_symbols] = jinja_parser_text(p, name->text, name->len);
    return t->symbols[t->n_symbols] ? t->n_symbols++ : UINT32_MAX;
}

int jinja_enter(struct parser *p)
{
    if (++p->depth <= LIMIT_TEMPLATE_DEPTH)
        return 0;
    return jinja_syntax_error(p, p->next, "nested deeper than %d", LIMIT_TEMPLATE_DEPTH);
}

static bool token_is(const struct token *t, enum token_kind kind, const char *text)
{
    return t->kind == kind && t->len == strlen(text) && memcmp(t->text, text, t->len) == 0;
}

bool jinja_at_operator(const struct parser *p, const char *op)
{
    return token_is(p->next, TOK_OPERATOR, op);
}

bool jinja_at_name(const struct parser *p, const char *name)
{
    return token_is(p->next, TOK_NAME, name);
}

bool jinja_skip_operator(struct parser *p, const char *op)
{
    bool there = jinja_at_operator(p, op);
    p->next += there;
    return there;
}

bool jinja_skip_name(struct parser *p, const char *name)
{
    bool there = jinja_at_name(p, name);
    p->next += there;
    return there;
}

static int unexpected(struct parser *p, const char *wanted)
{
    const struct token *t = p->next;
    if (t->kind == TOK_END)
        return jinja_syntax_error(p, t, "the template ends where %s should be", wanted);
    if (t->kind == TOK_BLOCK_END || t->kind == TOK_VARIABLE_END)
        return jinja_syntax_error(p, t, "the tag ends where %s should be", wanted);
    return jinja_syntax_error(p, t, "%s should be here, not '%.*s'", wanted, (int)(t->len < 40 ? t->len : 40),
                              t->text);
}

int jinja_expect_operator(struct parser *p, const char *op)
{
    char wanted[8];
    snprintf(wanted, sizeof wanted, "'%s'", op);
    return jinja_skip_operator(p, op) ? 0 : unexpected(p, wanted);
}

int jinja_expect(struct parser *p, enum token_kind kind, const char *what)
{
    if (p->next->kind != kind)
        return unexpected(p, what);
    if (kind != TOK_END)
        p->next++;
    return 0;
}

/* ---- statements ------------------------------------------------------------------------------- */

/* Statements up to one of the ends ("endfor|else"), whose name is then the next token.
 * ends NULL: up to the end of the template. */
static struct node *parse_body(struct parser *p, const struct token *tag, const char *ends);

/* The rest of an opening tag, its body and the closing name. */
static struct node *parse_block(struct parser *p, const struct token *tag, const char *ends)
{
    jinja_skip_operator(p, ":");
    if (jinja_expect(p, TOK_BLOCK_END, "the end of the tag") < 0 || jinja_enter(p) < 0)
        return NULL;
    struct node *body = parse_body(p, tag, ends);
    p->depth--;
    return body;
}

static struct node *close_or_null(struct parser *p, struct node *n)
{
    return jinja_close_node(p, n) < 0 ? NULL : n;
}

static struct node *parse_for(struct parser *p, const struct token *tag)
{
    struct node *n = jinja_new_node(p, NODE_FOR, tag);
    if (!n || !(n->a = jinja_parse_target(p, false)))
        return NULL;
    if (!jinja_skip_name(p, "in")) {
        unexpected(p, "'in'");
        return NULL;
    }
    if (!(n->b = jinja_parse_tuple(p, false, false)))
        return NULL;
    if (jinja_skip_name(p, "if") && !(n->c = jinja_parse_expression(p)))
        return NULL;
    n->op = jinja_skip_name(p, "recursive");
    p->loops++;
    struct node *body = parse_block(p, tag, "endfor|else");
    p->loops--;
    if (!body || jinja_push(p, n, body) < 0)
        return NULL;
    struct node *otherwise = NULL;
    if (jinja_skip_name(p, "else") && !(otherwise = parse_block(p, tag, "endfor")))
        return NULL;
    p->next++;
    return jinja_push(p, n, otherwise) < 0 ? NULL : close_or_null(p, n);
}

/* A chain of elif hangs in c, each an IF of its own: written in a loop, since its length is free. */
static struct node *parse_if(struct parser *p, const struct token *tag)
{
    struct node *first = NULL, *last = NULL;
    p->optional++;
    for (;;) {
        struct node *n = jinja_new_node(p, NODE_IF, tag);
        if (!n || !(n->a = jinja_parse_tuple(p, false, false)) ||
            !(n->b = parse_block(p, tag, "elif|else|endif")))
            return NULL;
        if (jinja_close_node(p, n) < 0)
            return NULL;
        if (last)
            last->c = n;
        if (first && n->height > first->height)
            first->height = n->height;
        first = first ? first : n;
        last = n;
        if (!jinja_skip_name(p, "elif"))
            break;
        tag = p->next - 1;
    }
    if (jinja_skip_name(p, "else")) {
        if (!(last->c = parse_block(p, tag, "endif")))
            return NULL;
        if (last->c->height >= first->height)
            first->height = last->c->height + 1;
    }
    p->next++;
    p->optional--;
    return first;
}

static struct node *parse_set(struct parser *p, const struct token *tag)
{
    struct node *target = jinja_parse_target(p, true);
    if (!target)
        return NULL;
    bool block = !jinja_skip_operator(p, "=");
    struct node *n = jinja_new_node(p, block ? NODE_SET_BLOCK : NODE_SET, tag);
    if (!n)
        return NULL;
    n->a = target;
    if (!block)
        return (n->b = jinja_parse_tuple(p, true, false)) ? close_or_null(p, n) : NULL;
    if (jinja_at_operator(p, "|") && !(n->c = jinja_parse_filters(p, NULL, false)))
        return NULL;
    if (!(n->b = parse_block(p, tag, "endset")))
        return NULL;
    p->next++;
    return close_or_null(p, n);
}

static int parse_parameters(struct parser *p, struct node *macro)
{
    bool defaults = false;
    TRY(jinja_expect_operator(p, "("));
    while (!jinja_at_operator(p, ")")) {
        if (macro->n_items)
            TRY(jinja_expect_operator(p, ","));
        const struct token *name = p->next;
        TRY(jinja_expect(p, TOK_NAME, "a parameter's name"));
        struct node *n = jinja_new_node(p, NODE_PARAMETER, name);
        if (!n || (n->symbol = jinja_symbol(p, name)) == UINT32_MAX)
            return -1;
        n->text = p->t->symbols[n->symbol];
        if (jinja_skip_operator(p, "=")) {
            defaults = true;
            if (!(n->a = jinja_parse_expression(p)))
                return -1;
        } else if (defaults) {
            return jinja_syntax_error(p, name, "a parameter without a default follows one with a default");
        }
        TRY(jinja_close_node(p, n));
        TRY(jinja_push(p, macro, n));
    }
    p->next++;
    return 0;
}

/* The body of a macro; notes which of varargs, kwargs and caller it mentions. */
static struct node *parse_macro_body(struct parser *p, struct node *n, const struct token *tag,
                                     const char *end)
{
    unsigned outer = p->macro_flags, loops = p->loops;
    p->macro_flags = 0;
    p->loops = 0;
    n->b = parse_block(p, tag, end);
    n->op = (uint8_t)p->macro_flags;
    p->macro_flags |= outer;
    p->loops = loops;
    if (!n->b)
        return NULL;
    p->next++;
    return close_or_null(p, n);
}

static struct node *parse_macro(struct parser *p, const struct token *tag)
{
    struct node *n = jinja_new_node(p, NODE_MACRO, tag);
    const struct token *name = p->next;
    if (!n || jinja_expect(p, TOK_NAME, "the macro's name") < 0)
        return NULL;
    if ((n->symbol = jinja_symbol(p, name)) == UINT32_MAX || parse_parameters(p, n) < 0)
        return NULL;
    n->text = p->t->symbols[n->symbol];
    return parse_macro_body(p, n, tag, "endmacro");
}

static struct node *parse_call(struct parser *p, const struct token *tag)
{
    struct node *n = jinja_new_node(p, NODE_CALL_BLOCK, tag), *caller = jinja_new_node(p, NODE_MACRO, tag);
    if (!n || !caller || !(caller->text = jinja_parser_text(p, "caller", 6)))
        return NULL;
    if (jinja_at_operator(p, "(") && parse_parameters(p, caller) < 0)
        return NULL;
    if (!(n->a = jinja_parse_expression(p)))
        return NULL;
    if (n->a->kind != NODE_CALL) {
        jinja_syntax_error(p, tag, "a call block needs a call");
        return NULL;
    }
    n->b = parse_macro_body(p, caller, tag, "endcall");
    return n->b ? close_or_null(p, n) : NULL;
}

static struct node *parse_filter_block(struct parser *p, const struct token *tag)
{
    struct node *n = jinja_new_node(p, NODE_FILTER_BLOCK, tag);
    if (!n || !(n->a = jinja_parse_filters(p, NULL, true)) || !(n->b = parse_block(p, tag, "endfilter")))
        return NULL;
    p->next++;
    return close_or_null(p, n);
}

static struct node *parse_with(struct parser *p, const struct token *tag)
{
    struct node *n = jinja_new_node(p, NODE_WITH, tag);
    if (!n)
        return NULL;
    while (p->next->kind != TOK_BLOCK_END && p->next->kind != TOK_END) {
        if (n->n_items && jinja_expect_operator(p, ",") < 0)
            return NULL;
        struct node *target = jinja_parse_target(p, false);
        if (!target || jinja_push(p, n, target) < 0 || jinja_expect_operator(p, "=") < 0)
            return NULL;
        struct node *value = jinja_parse_expression(p);
        if (!value || jinja_push(p, n, value) < 0)
            return NULL;
    }
    if (!(n->a = parse_block(p, tag, "endwith")))
        return NULL;
    p->next++;
    return close_or_null(p, n);
}

static struct node *parse_generation(struct parser *p, const struct token *tag)
{
    struct node *n = jinja_new_node(p, NODE_SCOPE, tag);
    if (!n || !(n->a = parse_block(p, tag, "endgeneration")))
        return NULL;
    p->next++;
    return close_or_null(p, n);
}

/* Without inheritance a block is its body, where it stands, in a scope of its own. */
static struct node *parse_named_block(struct parser *p, const struct token *tag)
{
    struct node *n = jinja_new_node(p, NODE_SCOPE, tag);
    const struct token *name = p->next;
    if (!n || jinja_expect(p, TOK_NAME, "the block's name") < 0)
        return NULL;
    jinja_skip_name(p, "scoped"); /* it is in any case; a required one could only fail */
    if (!(n->a = parse_block(p, tag, "endblock")))
        return NULL;
    p->next++;
    if (p->next->kind == TOK_NAME && p->next->len == name->len &&
        memcmp(p->next->text, name->text, name->len) == 0)
        p->next++;
    return close_or_null(p, n);
}

static struct node *parse_print(struct parser *p, const struct token *tag)
{
    struct node *body = jinja_new_node(p, NODE_BODY, tag);
    while (body && p->next->kind != TOK_BLOCK_END) {
        if (body->n_items && jinja_expect_operator(p, ",") < 0)
            return NULL;
        struct node *n = jinja_new_node(p, NODE_OUTPUT, p->next);
        if (!n || !(n->a = jinja_parse_expression(p)) || jinja_close_node(p, n) < 0 ||
            jinja_push(p, body, n) < 0)
            return NULL;
    }
    return body ? close_or_null(p, body) : NULL;
}

static struct node *parse_jump(struct parser *p, const struct token *tag)
{
    if (!p->loops) {
        jinja_syntax_error(p, tag, "%.*s outside a loop", (int)tag->len, tag->text);
        return NULL;
    }
    return jinja_new_node(p, token_is(tag, TOK_NAME, "break") ? NODE_BREAK : NODE_CONTINUE, tag);
}

static const struct {
    const char *name;
    struct node *(*parse)(struct parser *p, const struct token *tag);
} tags[] = {{"if", parse_if},
            {"set", parse_set},
            {"for", parse_for},
            {"macro", parse_macro},
            {"call", parse_call},
            {"filter", parse_filter_block},
            {"with", parse_with},
            {"generation", parse_generation},
            {"block", parse_named_block},
            {"print", parse_print},
            {"break", parse_jump},
            {"continue", parse_jump}};

static struct node *parse_statement(struct parser *p)
{
    const struct token *tag = p->next;
    if (jinja_expect(p, TOK_NAME, "the name of a tag") < 0)
        return NULL;
    for (size_t i = 0; i < sizeof tags / sizeof *tags; i++)
        if (token_is(tag, TOK_NAME, tags[i].name)) {
            struct node *n = tags[i].parse(p, tag);
            return n && jinja_expect(p, TOK_BLOCK_END, "the end of the tag") == 0 ? n : NULL;
        }
    static const char *const absent[] = {"include", "import", "from", "extends", "autoescape"};
    for (size_t i = 0; i < sizeof absent / sizeof *absent; i++)
        if (token_is(tag, TOK_NAME, absent[i])) {
            jinja_syntax_error(p, tag, "the tag '%s' is not available in chat templates", absent[i]);
            return NULL;
        }
    jinja_syntax_error(p, tag, "unknown or misplaced tag '%.*s'", (int)(tag->len < 60 ? tag->len : 60),
                       tag->text);
    return NULL;
}

static bool is_one_of(const struct token *t, const char *names)
{
    for (const char *s = names; t->kind == TOK_NAME && s; s = strchr(s, '|')) {
        s += *s == '|';
        size_t len = strcspn(s, "|");
        if (len == t->len && memcmp(s, t->text, len) == 0)
            return true;
    }
    return false;
}

/* The next statement, or NULL: after an error, or with p->next at the name that ends the body. */
static struct node *parse_element(struct parser *p, const char *ends)
{
    const struct token *at = p->next;
    if (at->kind == TOK_DATA) {
        struct node *n = jinja_new_node(p, NODE_TEXT, at);
        p->next++;
        return n && (n->text = jinja_parser_text(p, at->text, at->len)) ? close_or_null(p, n) : NULL;
    }
    if (at->kind == TOK_VARIABLE_BEGIN) {
        struct node *n = jinja_new_node(p, NODE_OUTPUT, at);
        p->next++;
        if (!n || !(n->a = jinja_parse_tuple(p, true, false)))
            return NULL;
        return jinja_expect(p, TOK_VARIABLE_END, "}}") < 0 ? NULL : close_or_null(p, n);
    }
    p->next++;
    return ends && is_one_of(p->next, ends) ? NULL : parse_statement(p);
}

static struct node *parse_body(struct parser *p, const struct token *tag, const char *ends)
{
    struct node *body = jinja_new_node(p, NODE_BODY, tag);
    if (!body)
        return NULL;
    while (p->next->kind != TOK_END) {
        struct node *n = parse_element(p, ends);
        if (!n && p->next[-1].kind == TOK_BLOCK_BEGIN && ends && is_one_of(p->next, ends))
            return close_or_null(p, body);
        if (!n || jinja_push(p, body, n) < 0)
            return NULL;
    }
    if (!ends)
        return close_or_null(p, body);
    jinja_syntax_error(p, tag, "'%.*s' is never closed (no %s before the end of the template)", (int)tag->len,
                       tag->text, ends);
    return NULL;
}

static uint32_t find_symbol(const struct jinja_template *t, const char *name)
{
    for (uint32_t i = 0; i < t->n_symbols; i++)
        if (jinja_text_is(t->symbols[i], name))
            return i;
    return UINT32_MAX;
}

int jinja_parse(struct jinja_template *t, const struct tokens *tokens, struct error *e)
{
    struct parser p = {.t = t, .next = tokens->items, .e = e};
    t->root = parse_body(&p, tokens->items, NULL);
    t->loop = find_symbol(t, "loop");
    t->varargs = find_symbol(t, "varargs");
    t->kwargs = find_symbol(t, "kwargs");
    t->caller = find_symbol(t, "caller");
    return t->root ? 0 : -1;
}

/* ---- jinja.h ------------------------------------------------------------------------------------ */

/* A copy with "\n" for every newline, and without the one at the very end. */
static int normalise(struct jinja_template *t, const char *source, size_t len, struct error *e)
{
    if (!(t->source = arena_alloc(t->arena, len + 1, 1)))
        return error_no_memory(e);
    size_t n = 0;
    for (size_t i = 0; i < len; i++) {
        bool pair = source[i] == '\r' && i + 1 < len && source[i + 1] == '\n';
        if (!pair)
            t->source[n++] = source[i] == '\r' ? '\n' : source[i];
    }
    t->source_len = n && t->source[n - 1] == '\n' ? n - 1 : n;
    return 0;
}

static int compile(struct jinja_template *t, const char *source, size_t len, struct tokens *tokens,
                   struct error *e)
{
    if (len > LIMIT_TEMPLATE_SOURCE)
        return error_set(e, ERROR_INVALID_REQUEST, "the template has %zu bytes, at most %d are allowed", len,
                         LIMIT_TEMPLATE_SOURCE);
    if (!utf8_valid(source, len))
        return error_set(e, ERROR_INVALID_REQUEST, "the template is not valid UTF-8");
    if (!(t->arena = arena_create(COMPILE_MEMORY)))
        return error_no_memory(e);
    TRY(normalise(t, source, len, e));
    TRY(jinja_lex(t->source, t->source_len, tokens, e));
    return jinja_parse(t, tokens, e);
}

int jinja_compile(const char *source, size_t len, struct jinja_template **out, struct error *e)
{
    struct tokens tokens = {0};
    struct jinja_template *t = calloc(1, sizeof *t);
    if (!t)
        return error_no_memory(e);
    int result = compile(t, source, len, &tokens, e);
    free(tokens.items);
    if (result < 0)
        jinja_free(t);
    else
        *out = t;
    return result;
}

void jinja_free(struct jinja_template *t)
{
    if (!t)
        return;
    arena_free(t->arena);
    free(t);
}

bool jinja_uses(const struct jinja_template *t, const char *name)
{
    return find_symbol(t, name) != UINT32_MAX;
}
