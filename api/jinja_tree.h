/* jinja_tree.h - what the lexer, the parser and the evaluator of jinja.h share about a template:
 * tokens and the tree.  Nothing outside api/jinja*.c includes it.
 * The tree is immutable once jinja_compile() returns, so any number of threads may walk it. */
#ifndef LOQUAT_API_JINJA_TREE_H
#define LOQUAT_API_JINJA_TREE_H

#include "api/jinja.h"
#include "api/jinja_value.h"
#include "engine/base/arena.h"

enum token_kind {
    TOK_END,
    TOK_DATA,
    TOK_VARIABLE_BEGIN,
    TOK_VARIABLE_END,
    TOK_BLOCK_BEGIN,
    TOK_BLOCK_END,
    TOK_NAME,
    TOK_STRING, /* text without its quotes, escapes not yet decoded */
    TOK_INTEGER,
    TOK_FLOAT,
    TOK_OPERATOR
};

struct token {
    enum token_kind kind;
    uint32_t line, column; /* both from 1; columns count bytes */
    const char *text;      /* into the normalised source */
    size_t len;
};

struct tokens {
    struct token *items;
    size_t n, cap;
};

/* Splits normalised source ("\n" newlines) into tokens, the last one TOK_END.  items is malloc'ed. */
int jinja_lex(const char *source, size_t len, struct tokens *out, struct error *e);

/* clang-format off */
enum node_kind {
    /* Expressions.                 a            b            c          items            text    */
    NODE_CONST,                  /* value: the constant                                          */
    NODE_NAME,                   /* symbol: the variable                                         */
    NODE_LIST,                   /*                                      elements                */
    NODE_TUPLE,                  /*                                      elements                */
    NODE_DICT,                   /*                                      key, value, key, …      */
    NODE_ATTRIBUTE,              /* object                                                name   */
    NODE_INDEX,                  /* object       index                                           */
    NODE_SLICE,                  /* object       the three bounds (or NULL) are items            */
    NODE_CALL,                   /* callee                               arguments               */
    NODE_FILTER,                 /* input|NULL                           arguments        name   */
    NODE_TEST,                   /* input                                arguments        name   */
    NODE_KEYWORD,                /* value                                                 name   */
    NODE_STAR,                   /* *sequence                                                    */
    NODE_STAR_STAR,              /* **mapping                                                    */
    NODE_IF_ELSE,                /* condition    then         else|NULL                          */
    NODE_AND,                    /* left         right                                           */
    NODE_OR,                     /* left         right                                           */
    NODE_NOT,                    /* operand                                                      */
    NODE_NEGATE,                 /* operand                                                      */
    NODE_PLUS,                   /* operand                                                      */
    NODE_BINARY,                 /* left         right                   op: OP_                 */
    NODE_COMPARE,                /* first                                rest: NODE_OPERAND      */
    NODE_OPERAND,                /* right                                op: OP_                 */
    NODE_CONCAT,                 /*                                      parts                   */
    NODE_NAMESPACE_REF,          /* symbol: the namespace; as a target only               name   */
    /* Statements. */
    NODE_TEXT,                   /*                                                       data   */
    NODE_OUTPUT,                 /* expression                                                   */
    NODE_BODY,                   /*                                      statements              */
    NODE_IF,                     /* condition    body         else|NULL                          */
    NODE_FOR,                    /* target       sequence     filter     items: body, else|NULL  */
    NODE_SET,                    /* target       value                                           */
    NODE_SET_BLOCK,              /* target       body         filter|NULL                        */
    NODE_MACRO,                  /* symbol       body                    parameters              */
    NODE_PARAMETER,              /* default|NULL; symbol                                  name   */
    NODE_CALL_BLOCK,             /* call         a NODE_MACRO without a name                     */
    NODE_FILTER_BLOCK,           /* filter       body                                            */
    NODE_WITH,                   /* body                                 target, value, …        */
    NODE_SCOPE,                  /* body: {% generation %}, {% block %}                          */
    NODE_BREAK,
    NODE_CONTINUE
};
/* clang-format on */

enum operator_kind {
    OP_ADD,
    OP_SUBTRACT,
    OP_MULTIPLY,
    OP_DIVIDE,
    OP_FLOOR_DIVIDE,
    OP_MODULO,
    OP_POWER,
    OP_EQUAL,
    OP_NOT_EQUAL,
    OP_LESS,
    OP_LESS_EQUAL,
    OP_GREATER,
    OP_GREATER_EQUAL,
    OP_IN,
    OP_NOT_IN
};

/* What a macro's body mentions, and so accepts. */
enum { MACRO_VARARGS = 1, MACRO_KWARGS = 2, MACRO_CALLER = 4 };

struct node {
    uint8_t kind; /* enum node_kind */
    uint8_t op;   /* enum operator_kind; of a MACRO the MACRO_ flags; of a FOR whether it is recursive */
    uint32_t line, column;
    uint32_t symbol;
    uint32_t height; /* of the tree below, bounded by LIMIT_TEMPLATE_TREE */
    size_t n_items;
    struct node *a, *b, *c;
    struct node **items;
    struct text *text;
    struct value value;
    const void *row; /* FILTER, TEST: the table's row; NULL is an error when it is reached */
};

struct jinja_template {
    struct arena *arena; /* holds all of this, itself excepted */
    char *source;        /* normalised */
    size_t source_len;
    struct text **symbols; /* variable names; a symbol is an index */
    uint32_t n_symbols, cap_symbols;
    uint32_t loop, varargs, kwargs, caller; /* symbols of these names; UINT32_MAX when not mentioned */
    struct node *root;                      /* NODE_BODY */
};

/* Fills t->root and the symbols from tokens; memory from t->arena. */
int jinja_parse(struct jinja_template *t, const struct tokens *tokens, struct error *e);

/* ---- shared by jinja_parse.c (statements) and jinja_expression.c ------------------------------ */

struct parser {
    struct jinja_template *t;
    const struct token *next; /* the array ends with TOK_END, which is never stepped over */
    struct error *e;
    unsigned depth;       /* open brackets and blocks */
    unsigned optional;    /* open conditions: a filter unknown there is an error only when reached */
    unsigned loops;       /* open for bodies of the present macro */
    unsigned macro_flags; /* what was mentioned since the enclosing macro began */
};

int jinja_syntax_error(struct parser *p, const struct token *at, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
struct node *jinja_new_node(struct parser *p, enum node_kind kind, const struct token *at);
/* Appends to n->items. */
int jinja_push(struct parser *p, struct node *n, struct node *item);
/* Checks the height of a finished node; call it when its children are in place. */
int jinja_close_node(struct parser *p, struct node *n);
uint32_t jinja_symbol(struct parser *p, const struct token *name); /* UINT32_MAX when memory is out */
struct text *jinja_parser_text(struct parser *p, const char *s, size_t len);
/* One bracket or block deeper, or an error; pair with p->depth--. */
int jinja_enter(struct parser *p);

/* What the next token is; skip steps over it, expect makes anything else an error. */
bool jinja_at_operator(const struct parser *p, const char *op);
bool jinja_at_name(const struct parser *p, const char *name);
bool jinja_skip_operator(struct parser *p, const char *op);
bool jinja_skip_name(struct parser *p, const char *name);
int jinja_expect_operator(struct parser *p, const char *op);
int jinja_expect(struct parser *p, enum token_kind kind, const char *what);

/* Expressions; NULL after an error. */
struct node *jinja_parse_expression(struct parser *p);
/* A tuple without parentheses, or one expression.  conditions: whether `a if b else c` is taken. */
struct node *jinja_parse_tuple(struct parser *p, bool conditions, bool parenthesised);
struct node *jinja_parse_filters(struct parser *p, struct node *input, bool inline_start);
struct node *jinja_parse_target(struct parser *p, bool with_namespace);

/* Literals (jinja_literals.c). */
struct node *jinja_constant(struct parser *p, const struct token *at, struct value v);
struct node *jinja_parse_string(struct parser *p); /* adjacent strings are one */
struct node *jinja_parse_number(struct parser *p);

#endif
