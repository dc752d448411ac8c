/* jinja_expression.c - expressions: tokens to tree, by Jinja's precedence: if-else, or, and, not,
 * comparisons, + -, ~, * / // %, **, unary, then .name [index] (call) |filter and `is test`.
 * Called by jinja_parse.c, which states the limits. */
#include <string.h>

#include "api/jinja_tree.h"

static struct node *close_or_null(struct parser *p, struct node *n)
{
    return jinja_close_node(p, n) < 0 ? NULL : n;
}

/* A finished node of one or two children. */
static struct node *make(struct parser *p, enum node_kind kind, const struct token *at, struct node *a,
                         struct node *b)
{
    struct node *n = a ? jinja_new_node(p, kind, at) : NULL;
    if (!n)
        return NULL;
    n->a = a;
    n->b = b;
    return close_or_null(p, n);
}

/* ---- values ------------------------------------------------------------------------------------ */

static struct node *parse_list(struct parser *p)
{
    struct node *n = jinja_new_node(p, NODE_LIST, p->next++);
    while (n && !jinja_at_operator(p, "]")) {
        if (n->n_items && jinja_expect_operator(p, ",") < 0)
            return NULL;
        if (jinja_at_operator(p, "]"))
            break;
        struct node *item = jinja_parse_expression(p);
        if (!item || jinja_push(p, n, item) < 0)
            return NULL;
    }
    return n && jinja_expect_operator(p, "]") == 0 ? close_or_null(p, n) : NULL;
}

static struct node *parse_dict(struct parser *p)
{
    struct node *n = jinja_new_node(p, NODE_DICT, p->next++);
    while (n && !jinja_at_operator(p, "}")) {
        if (n->n_items && jinja_expect_operator(p, ",") < 0)
            return NULL;
        if (jinja_at_operator(p, "}"))
            break;
        struct node *key = jinja_parse_expression(p);
        if (!key || jinja_push(p, n, key) < 0 || jinja_expect_operator(p, ":") < 0)
            return NULL;
        struct node *value = jinja_parse_expression(p);
        if (!value || jinja_push(p, n, value) < 0)
            return NULL;
    }
    return n && jinja_expect_operator(p, "}") == 0 ? close_or_null(p, n) : NULL;
}

static struct node *parse_name(struct parser *p)
{
    static const struct {
        const char *names[2];
        uint8_t type;
        bool truth;
    } words[] = {{{"true", "True"}, VALUE_BOOL, true},
                 {{"false", "False"}, VALUE_BOOL, false},
                 {{"none", "None"}, VALUE_NONE, false}};
    const struct token *t = p->next;
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (jinja_skip_name(p, words[i].names[0]) || jinja_skip_name(p, words[i].names[1]))
            return jinja_constant(p, t, (struct value){.type = words[i].type, .boolean = words[i].truth});
    p->macro_flags |= jinja_at_name(p, "varargs") ? MACRO_VARARGS : 0;
    p->macro_flags |= jinja_at_name(p, "kwargs") ? MACRO_KWARGS : 0;
    p->macro_flags |= jinja_at_name(p, "caller") ? MACRO_CALLER : 0;
    struct node *n = jinja_new_node(p, NODE_NAME, t);
    if (!n || (n->symbol = jinja_symbol(p, t)) == UINT32_MAX)
        return NULL;
    p->next++;
    return n;
}

static struct node *parse_primary(struct parser *p)
{
    const struct token *t = p->next;
    if (t->kind == TOK_NAME)
        return parse_name(p);
    if (t->kind == TOK_STRING)
        return jinja_parse_string(p);
    if (t->kind == TOK_INTEGER || t->kind == TOK_FLOAT)
        return jinja_parse_number(p);
    struct node *n = NULL;
    if (jinja_enter(p) < 0)
        return NULL;
    if (jinja_at_operator(p, "[")) {
        n = parse_list(p);
    } else if (jinja_at_operator(p, "{")) {
        n = parse_dict(p);
    } else if (jinja_skip_operator(p, "(")) {
        n = jinja_parse_tuple(p, true, true);
        if (n && jinja_expect_operator(p, ")") < 0)
            n = NULL;
    } else {
        jinja_expect(p, TOK_NAME, "an expression");
    }
    p->depth--;
    return n;
}

/* ---- what follows a value ------------------------------------------------------------------------- */

static int parse_argument(struct parser *p, struct node *call, unsigned *stage)
{
    const struct token *t = p->next;
    bool star = jinja_skip_operator(p, "*"), stars = !star && jinja_skip_operator(p, "**");
    bool keyword = !star && !stars && t->kind == TOK_NAME && t[1].kind == TOK_OPERATOR && t[1].len == 1 &&
                   t[1].text[0] == '=';
    /* Order: positional, keywords and one *sequence, one **mapping. */
    unsigned at = stars ? 3 : star ? 2 : keyword ? 1 : 0;
    if (at < *stage && !(at == 1 && *stage == 2) && !(at == 2 && *stage == 1))
        return jinja_syntax_error(p, t, "arguments are in the wrong order");
    if (at >= 2 && at == *stage)
        return jinja_syntax_error(p, t, "only one * and one ** argument are possible");
    *stage = at > *stage ? at : *stage;
    if (keyword)
        p->next += 2;
    struct node *value = jinja_parse_expression(p);
    if (!value)
        return -1;
    if (at) {
        struct node *n = jinja_new_node(p, stars ? NODE_STAR_STAR : star ? NODE_STAR : NODE_KEYWORD, t);
        if (!n || (keyword && !(n->text = jinja_parser_text(p, t->text, t->len))))
            return -1;
        n->a = value;
        TRY(jinja_close_node(p, n));
        value = n;
    }
    return jinja_push(p, call, value);
}

static int parse_arguments(struct parser *p, struct node *call)
{
    unsigned stage = 0;
    TRY(jinja_expect_operator(p, "("));
    TRY(jinja_enter(p));
    while (!jinja_at_operator(p, ")")) {
        if (call->n_items)
            TRY(jinja_expect_operator(p, ","));
        if (jinja_at_operator(p, ")"))
            break;
        TRY(parse_argument(p, call, &stage));
    }
    p->depth--;
    p->next++;
    return 0;
}

/* What stands in a[…]: an index, or a slice when it holds a colon. */
static struct node *parse_index(struct parser *p, struct node *object, const struct token *at)
{
    struct node *bounds[3] = {NULL, NULL, NULL};
    size_t colons = 0;
    while (!jinja_at_operator(p, "]") && !jinja_at_operator(p, ",")) {
        if (colons < 2 && jinja_skip_operator(p, ":")) {
            colons++;
            continue;
        }
        if (bounds[colons] || !(bounds[colons] = jinja_parse_expression(p))) {
            jinja_expect_operator(p, "]");
            return NULL;
        }
    }
    if (!colons && !bounds[0]) {
        jinja_syntax_error(p, p->next, "an index should be here");
        return NULL;
    }
    if (!colons)
        return make(p, NODE_INDEX, at, object, bounds[0]);
    struct node *n = jinja_new_node(p, NODE_SLICE, at);
    if (!n)
        return NULL;
    n->a = object;
    for (size_t i = 0; i < 3; i++)
        if (jinja_push(p, n, bounds[i]) < 0)
            return NULL;
    return close_or_null(p, n);
}

static struct node *parse_subscript(struct parser *p, struct node *object)
{
    const struct token *at = p->next++;
    if (jinja_enter(p) < 0)
        return NULL;
    struct node *n = parse_index(p, object, at);
    if (n && n->kind == NODE_INDEX && jinja_at_operator(p, ",")) {
        struct node *tuple = jinja_new_node(p, NODE_TUPLE, at);
        if (!tuple || jinja_push(p, tuple, n->b) < 0)
            return NULL;
        while (jinja_skip_operator(p, ",") && !jinja_at_operator(p, "]")) {
            struct node *item = jinja_parse_expression(p);
            if (!item || jinja_push(p, tuple, item) < 0)
                return NULL;
        }
        n->b = close_or_null(p, tuple);
        n = n->b ? close_or_null(p, n) : NULL;
    }
    p->depth--;
    return n && jinja_expect_operator(p, "]") == 0 ? n : NULL;
}

static struct node *parse_dot(struct parser *p, struct node *object)
{
    const struct token *at = p->next++, *name = p->next;
    if (name->kind == TOK_INTEGER) {
        struct node *index = jinja_parse_number(p);
        return index ? make(p, NODE_INDEX, at, object, index) : NULL;
    }
    if (jinja_expect(p, TOK_NAME, "an attribute's name") < 0)
        return NULL;
    struct node *n = jinja_new_node(p, NODE_ATTRIBUTE, name);
    if (!n || !(n->text = jinja_parser_text(p, name->text, name->len)))
        return NULL;
    n->a = object;
    return close_or_null(p, n);
}

static struct node *parse_call(struct parser *p, struct node *callee)
{
    struct node *n = jinja_new_node(p, NODE_CALL, p->next);
    if (!n)
        return NULL;
    n->a = callee;
    return parse_arguments(p, n) < 0 ? NULL : close_or_null(p, n);
}

static struct node *parse_postfix(struct parser *p, struct node *n)
{
    while (n) {
        if (jinja_at_operator(p, "."))
            n = parse_dot(p, n);
        else if (jinja_at_operator(p, "["))
            n = parse_subscript(p, n);
        else if (jinja_at_operator(p, "("))
            n = parse_call(p, n);
        else
            break;
    }
    return n;
}

/* The name of a filter or test, looked up; one that is unknown is an error here, or when it is
 * reached if it stands in a condition. */
static int parse_builtin_name(struct parser *p, struct node *n, const char *what)
{
    const struct token *t = p->next;
    TRY(jinja_expect(p, TOK_NAME, what));
    if (!(n->text = jinja_parser_text(p, t->text, t->len)))
        return -1;
    n->row = n->kind == NODE_FILTER ? jinja_find_filter(t->text, t->len) : jinja_find_test(t->text, t->len);
    if (n->row || p->optional)
        return 0;
    return jinja_syntax_error(p, t, "No %s named '%.*s'.", n->kind == NODE_FILTER ? "filter" : "test",
                              (int)(t->len < 60 ? t->len : 60), t->text);
}

struct node *jinja_parse_filters(struct parser *p, struct node *input, bool inline_start)
{
    struct node *n = input;
    while (inline_start || jinja_skip_operator(p, "|")) {
        inline_start = false;
        struct node *filter = jinja_new_node(p, NODE_FILTER, p->next);
        if (!filter || parse_builtin_name(p, filter, "a filter's name") < 0)
            return NULL;
        filter->a = n;
        if (jinja_at_operator(p, "(") && parse_arguments(p, filter) < 0)
            return NULL;
        if (!(n = close_or_null(p, filter)))
            return NULL;
    }
    return n;
}

static bool starts_test_argument(const struct parser *p)
{
    const struct token *t = p->next;
    if (t->kind == TOK_NAME)
        return !jinja_at_name(p, "else") && !jinja_at_name(p, "or") && !jinja_at_name(p, "and");
    return t->kind == TOK_STRING || t->kind == TOK_INTEGER || t->kind == TOK_FLOAT ||
           jinja_at_operator(p, "[") || jinja_at_operator(p, "{");
}

static struct node *parse_test(struct parser *p, struct node *input)
{
    const struct token *is = p->next++;
    bool negated = jinja_skip_name(p, "not");
    struct node *n = jinja_new_node(p, NODE_TEST, p->next);
    if (!n || parse_builtin_name(p, n, "a test's name") < 0)
        return NULL;
    n->a = input;
    if (jinja_at_operator(p, "(")) {
        if (parse_arguments(p, n) < 0)
            return NULL;
    } else if (starts_test_argument(p)) {
        if (jinja_at_name(p, "is")) {
            jinja_syntax_error(p, p->next, "tests can't be chained with is");
            return NULL;
        }
        struct node *argument = parse_primary(p);
        argument = argument ? parse_postfix(p, argument) : NULL;
        if (!argument || jinja_push(p, n, argument) < 0)
            return NULL;
    }
    if (!(n = close_or_null(p, n)))
        return NULL;
    return negated ? make(p, NODE_NOT, is, n, NULL) : n;
}

/* ---- operators ---------------------------------------------------------------------------------------- */

static struct node *parse_unary(struct parser *p, bool filters)
{
    const struct token *at = p->next;
    struct node *n;
    if (jinja_at_operator(p, "-") || jinja_at_operator(p, "+")) {
        p->next++;
        if (jinja_enter(p) < 0)
            return NULL;
        n = parse_unary(p, false);
        n = make(p, at->text[0] == '-' ? NODE_NEGATE : NODE_PLUS, at, n, NULL);
        p->depth--;
    } else {
        n = parse_primary(p);
    }
    n = n ? parse_postfix(p, n) : NULL;
    while (n && filters) {
        if (jinja_at_operator(p, "|"))
            n = jinja_parse_filters(p, n, false);
        else if (jinja_at_name(p, "is"))
            n = parse_test(p, n);
        else if (jinja_at_operator(p, "("))
            n = parse_call(p, n);
        else
            break;
    }
    return n;
}

static const struct {
    const char *text;
    uint8_t op, level;
} binary_operators[] = {{"+", OP_ADD, 0},    {"-", OP_SUBTRACT, 0},      {"*", OP_MULTIPLY, 2},
                        {"/", OP_DIVIDE, 2}, {"//", OP_FLOOR_DIVIDE, 2}, {"%", OP_MODULO, 2},
                        {"**", OP_POWER, 3}};

/* Levels, loosest first: + -, then ~ (one node of many parts), then * / // %, then **. */
static struct node *parse_level(struct parser *p, unsigned level)
{
    if (level == 4)
        return parse_unary(p, true);
    const struct token *at = p->next;
    struct node *left = parse_level(p, level + 1);
    if (level == 1) {
        if (!left || !jinja_at_operator(p, "~"))
            return left;
        struct node *n = jinja_new_node(p, NODE_CONCAT, at);
        if (!n || jinja_push(p, n, left) < 0)
            return NULL;
        while (jinja_skip_operator(p, "~")) {
            struct node *part = parse_level(p, 2);
            if (!part || jinja_push(p, n, part) < 0)
                return NULL;
        }
        return close_or_null(p, n);
    }
    for (size_t i = 0; left && i < sizeof binary_operators / sizeof *binary_operators; i++) {
        if (binary_operators[i].level != level || !jinja_at_operator(p, binary_operators[i].text))
            continue;
        const struct token *op = p->next++;
        struct node *right = parse_level(p, level + 1);
        left = right ? make(p, NODE_BINARY, op, left, right) : NULL;
        if (left)
            left->op = binary_operators[i].op;
        i = (size_t)-1; /* look for another operator of this level */
    }
    return left;
}

static int comparison_operator(struct parser *p)
{
    static const char *const text[] = {"==", "!=", "<", "<=", ">", ">="};
    for (int i = 0; i < 6; i++)
        if (jinja_skip_operator(p, text[i]))
            return OP_EQUAL + i;
    if (jinja_skip_name(p, "in"))
        return OP_IN;
    if (jinja_at_name(p, "not") && p->next[1].kind == TOK_NAME && p->next[1].len == 2 &&
        memcmp(p->next[1].text, "in", 2) == 0) {
        p->next += 2;
        return OP_NOT_IN;
    }
    return -1;
}

static struct node *parse_comparison(struct parser *p)
{
    const struct token *at = p->next;
    struct node *first = parse_level(p, 0), *n = NULL;
    for (;;) {
        const struct token *t = p->next;
        int op = first ? comparison_operator(p) : -1;
        if (op < 0)
            break;
        struct node *operand = make(p, NODE_OPERAND, t, parse_level(p, 0), NULL);
        if (!operand || (!n && !(n = jinja_new_node(p, NODE_COMPARE, at))) || jinja_push(p, n, operand) < 0)
            return NULL;
        operand->op = (uint8_t)op;
    }
    if (!n)
        return first;
    n->a = first;
    return close_or_null(p, n);
}

static struct node *parse_not(struct parser *p)
{
    const struct token *at = p->next;
    if (!jinja_skip_name(p, "not"))
        return parse_comparison(p);
    if (jinja_enter(p) < 0)
        return NULL;
    struct node *n = make(p, NODE_NOT, at, parse_not(p), NULL);
    p->depth--;
    return n;
}

static struct node *parse_and(struct parser *p)
{
    struct node *left = parse_not(p);
    while (left && jinja_at_name(p, "and")) {
        const struct token *at = p->next++;
        struct node *right = parse_not(p);
        left = right ? make(p, NODE_AND, at, left, right) : NULL;
    }
    return left;
}

static struct node *parse_or(struct parser *p)
{
    struct node *left = parse_and(p);
    while (left && jinja_at_name(p, "or")) {
        const struct token *at = p->next++;
        struct node *right = parse_and(p);
        left = right ? make(p, NODE_OR, at, left, right) : NULL;
    }
    return left;
}

struct node *jinja_parse_expression(struct parser *p)
{
    const struct token *at = p->next;
    unsigned depth = p->depth;
    struct node *n = parse_or(p);
    while (n && jinja_skip_name(p, "if")) {
        struct node *choice = jinja_new_node(p, NODE_IF_ELSE, at);
        p->optional++;
        if (!choice || jinja_enter(p) < 0 || !(choice->a = parse_or(p)))
            return NULL;
        choice->b = n;
        if (jinja_skip_name(p, "else") && !(choice->c = jinja_parse_expression(p)))
            return NULL;
        p->optional--;
        n = close_or_null(p, choice);
    }
    p->depth = depth;
    return n;
}

struct node *jinja_parse_tuple(struct parser *p, bool conditions, bool parenthesised)
{
    const struct token *at = p->next;
    struct node *tuple = NULL, *n = NULL;
    for (;;) {
        bool end = p->next->kind == TOK_VARIABLE_END || p->next->kind == TOK_BLOCK_END ||
                   jinja_at_operator(p, ")") || jinja_at_name(p, "recursive");
        if (end && (tuple || parenthesised))
            break;
        if (!(n = conditions ? jinja_parse_expression(p) : parse_or(p)))
            return NULL;
        bool comma = jinja_skip_operator(p, ",");
        if (!comma && !tuple)
            return n;
        if ((!tuple && !(tuple = jinja_new_node(p, NODE_TUPLE, at))) || jinja_push(p, tuple, n) < 0)
            return NULL;
        if (!comma)
            break;
    }
    if (!tuple && !(tuple = jinja_new_node(p, NODE_TUPLE, at)))
        return NULL;
    return close_or_null(p, tuple);
}

/* ---- targets ------------------------------------------------------------------------------------------ */

static struct node *parse_one_target(struct parser *p, bool with_namespace)
{
    const struct token *t = p->next;
    if (jinja_skip_operator(p, "(")) {
        if (jinja_enter(p) < 0)
            return NULL;
        struct node *n = jinja_parse_target(p, false);
        p->depth--;
        return n && jinja_expect_operator(p, ")") == 0 ? n : NULL;
    }
    struct node *n = t->kind == TOK_NAME ? parse_name(p) : NULL;
    if (!n || n->kind != NODE_NAME) {
        jinja_syntax_error(p, t, "nothing can be assigned to this");
        return NULL;
    }
    if (!with_namespace || !jinja_skip_operator(p, "."))
        return n;
    const struct token *name = p->next;
    if (jinja_expect(p, TOK_NAME, "an attribute's name") < 0)
        return NULL;
    n->kind = NODE_NAMESPACE_REF;
    n->text = jinja_parser_text(p, name->text, name->len);
    return n->text ? n : NULL;
}

struct node *jinja_parse_target(struct parser *p, bool with_namespace)
{
    const struct token *at = p->next;
    struct node *n = parse_one_target(p, with_namespace), *tuple = NULL;
    while (n && jinja_skip_operator(p, ",")) {
        if (!tuple && (!(tuple = jinja_new_node(p, NODE_TUPLE, at)) || jinja_push(p, tuple, n) < 0))
            return NULL;
        if (jinja_at_name(p, "in") || jinja_at_operator(p, "=") || jinja_at_operator(p, ")"))
            break;
        n = parse_one_target(p, with_namespace);
        if (!n || jinja_push(p, tuple, n) < 0)
            return NULL;
    }
    if (!n || !tuple)
        return n;
    return close_or_null(p, tuple);
}
