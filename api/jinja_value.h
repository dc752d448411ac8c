/* jinja_value.h - values of a running template, and the run itself.
 * Nothing outside api/jinja*.c includes it.
 * Values are immutable, except namespaces, and live in the run's arena, which has a ceiling.
 * Text carries its provenance: the pieces of it that came from user text. */
#ifndef LOQUAT_API_JINJA_VALUE_H
#define LOQUAT_API_JINJA_VALUE_H

#include "api/jinja.h"
#include "engine/base/arena.h"

struct node;
struct run;
struct scope;

enum value_type {
    VALUE_MISSING, /* no value at all: an argument not given, a variable not set here */
    VALUE_UNDEFINED,
    VALUE_NONE,
    VALUE_BOOL,
    VALUE_INT,
    VALUE_FLOAT,
    VALUE_TEXT,
    VALUE_LIST, /* and everything else that is walked: tuples, ranges, generators, views */
    VALUE_DICT,
    VALUE_NAMESPACE,
    VALUE_FUNCTION,
    VALUE_MACRO,
    VALUE_LOOP,
    VALUE_CYCLER,
    VALUE_JOINER
};

/* Why a value is undefined; makes the message when it is used. */
enum undefined_reason {
    WHY_NAME,      /* 'x' is undefined */
    WHY_ATTRIBUTE, /* 'dict object' has no attribute 'x' */
    WHY_ELEMENT,   /* list object has no element 5 */
    WHY_UNSAFE,    /* access to attribute 'append' of 'list' object is unsafe. */
    WHY_TEXT,      /* the text itself */
    WHY_PARAMETER  /* parameter 'x' was not provided */
};

enum list_kind { LIST_LIST, LIST_TUPLE, LIST_RANGE, LIST_GENERATOR, LIST_KEYS, LIST_VALUES, LIST_ITEMS };

/* Valid UTF-8.  user: ascending, apart from each other, not empty. */
struct text {
    const char *s;
    size_t len;   /* bytes */
    size_t chars; /* code points; UNKNOWN_CHARS until somebody asks */
    bool markup;  /* went through |safe or |escape: + escapes what is added to it, as Markup does */
    size_t n_user;
    const struct jinja_span *user;
    struct text_store *store; /* room behind s + len that one concatenation may take over; or NULL */
};
#define UNKNOWN_CHARS SIZE_MAX

struct value {
    uint8_t type;       /* enum value_type */
    uint8_t reason;     /* UNDEFINED: enum undefined_reason */
    uint8_t owner;      /* UNDEFINED: type of the object asked */
    uint8_t owner_kind; /* its list_kind */
    union {
        bool boolean;
        int64_t integer;
        double real;
        struct text *text; /* TEXT; UNDEFINED: the name asked for */
        struct list *list;
        struct dict *dict; /* DICT, NAMESPACE */
        struct function *function;
        struct macro *macro;
        struct loop *loop;
        struct list *cycle; /* CYCLER: its values; JOINER: its separator; `taken` is the state of both */
    };
};

struct list {
    struct value *items;
    size_t n;
    enum list_kind kind;
    bool group;   /* of groupby: its two items are called grouper and list, too */
    size_t taken; /* LIST_GENERATOR: how many were consumed; CYCLER: where it stands */
};

struct dict_entry {
    struct value key, value;
    uint64_t hash;
};

struct dict {
    struct dict_entry *entries; /* in order of insertion */
    size_t n, cap;
    uint32_t *index; /* open addressing, entry + 1; NULL while the dict is small */
    size_t index_cap;
};

/* A filter, test, method or global function.  params: "a,b,c" binds keywords to places;
 * "*" hands positional and keyword arguments over as they are. */
struct call;
typedef int builtin_fn(struct run *run, struct call *call, struct value *out);
struct builtin {
    const char *name;
    builtin_fn *fn;
    const char *params;
    unsigned required;
};

struct function {
    const struct builtin *row;
    struct value self;
};

enum { CALL_BOUND = 6 };

struct keyword {
    const struct text *name;
    struct value value;
};

struct call {
    const char *name;             /* for messages */
    struct value self;            /* a filter's or test's input, a method's object */
    struct value arg[CALL_BOUND]; /* bound parameters; VALUE_MISSING when not given */
    size_t n_args, cap_args;      /* as they were written */
    struct value *args;
    size_t n_keywords, cap_keywords;
    struct keyword *keywords;
};

struct macro {
    const struct node *node;
    struct scope *closure;
};

struct loop {
    struct list *list;
    size_t at;
    unsigned depth;
    const struct node *node; /* of a recursive loop, or NULL */
    struct scope *outside;   /* scope the loop stands in */
    struct list *changed;    /* arguments of the last loop.changed(), or NULL */
};

struct builder {
    struct run *run;
    char *data;
    size_t len, cap, max;
    struct jinja_span *spans;
    size_t n_spans, cap_spans;
    bool failed;
};

struct run {
    const struct jinja_template *t;
    const struct node *at; /* for messages */
    struct arena *arena;
    struct error *e;
    uint64_t steps, max_steps, next_clock, deadline;
    uint64_t max_output, max_memory, max_time_ns;
    unsigned depth, calls;
    int64_t now;
    bool utc;
    struct value *globals; /* by symbol; VALUE_MISSING when there is none */
    struct scope *scope;
    struct builder *out;
    struct value block_input; /* what a filter without an input works on: the text of a block */
};

/* ---- the run: errors and budgets (jinja_run.c).  Functions return 0, or -1 with run->e set. ----- */

int jinja_fail(struct run *run, const char *format, ...) __attribute__((format(printf, 2, 3)));
int jinja_spend(struct run *run, uint64_t steps);
int jinja_spend_bytes(struct run *run, uint64_t bytes);
void *jinja_alloc(struct run *run, size_t count, size_t size); /* NULL after an error */
int jinja_deeper(struct run *run);                             /* pair with run->depth-- */

/* ---- text (jinja_text.c) ------------------------------------------------------------------------ */

void jinja_build(struct builder *b, struct run *run);
void jinja_add(struct builder *b, const char *bytes, size_t len, bool user);
void jinja_add_literal(struct builder *b, const char *text);
void jinja_add_char(struct builder *b, int32_t c, bool user);
void jinja_add_text(struct builder *b, const struct text *t);
void jinja_add_slice(struct builder *b, const struct text *t, size_t from, size_t to); /* bytes */
struct text *jinja_built(struct builder *b); /* NULL after an error */
int jinja_built_value(struct builder *b, struct value *out);

struct text *jinja_text(struct run *run, const char *s, size_t len, bool user);               /* borrows s */
struct text *jinja_text_slice(struct run *run, const struct text *t, size_t from, size_t to); /* bytes */
struct text *jinja_text_join(struct run *run, const struct text *a, const struct text *b);
size_t jinja_text_chars(struct text *t);
size_t jinja_text_offset(struct text *t, size_t chars);          /* byte offset of a code point */
struct text *jinja_text_escape(struct run *run, struct text *t); /* for HTML; markup stays as it is */
bool jinja_user_at(const struct text *t, size_t byte,
                   size_t *cursor); /* cursor 0 at first, bytes ascending */
bool jinja_text_is(const struct text *t, const char *s);
bool jinja_text_same(const struct text *a, const struct text *b);
int jinja_text_order(const struct text *a, const struct text *b); /* by code point */
size_t jinja_text_find(const struct text *t, size_t from, size_t to, const char *s,
                       size_t len); /* SIZE_MAX */
/* As find, from behind; every candidate is paid for, since they may overlap. */
int jinja_text_find_last(struct run *run, const struct text *t, size_t from, size_t to,
                         const struct text *what, size_t *hit);
int32_t jinja_decode(const char *s, size_t *len); /* first code point of valid UTF-8 and its bytes */
int32_t jinja_decode_last(const char *s, size_t end, size_t *len);
bool jinja_is_space(int32_t c);
struct text *jinja_text_strip(struct run *run, const struct text *t, const struct text *chars, bool left,
                              bool right);

/* ---- values (jinja_value.c, jinja_dict.c) --------------------------------------------------------- */

struct value jinja_none(void);
struct value jinja_bool(bool b);
struct value jinja_int(int64_t i);
struct value jinja_float(double d);
struct value jinja_of_text(struct text *t);
struct value jinja_undefined(enum undefined_reason why, const struct value *owner, struct text *name);
int jinja_literal(struct run *run, const char *s, struct value *out); /* borrows s */
int jinja_new_list(struct run *run, enum list_kind kind, size_t n,
                   struct value *out); /* items are VALUE_NONE */
int jinja_list_add(struct run *run, struct list *l, size_t *cap, struct value v);
int jinja_new_dict(struct run *run, struct value *out);
int jinja_dict_set(struct run *run, struct dict *d, struct value key, struct value v);
/* *out is VALUE_MISSING when there is no such key. */
int jinja_dict_get(struct run *run, const struct dict *d, struct value key, struct value *out);
int jinja_dict_get_text(struct run *run, const struct dict *d, struct text *key, struct value *out);
int jinja_from_json(struct run *run, const json_t *j, bool user, struct value *out);

const char *jinja_type_name(const struct value *v); /* as Python names it: "str" */
int jinja_undefined_error(struct run *run, const struct value *v);
bool jinja_truth(const struct value *v);
bool jinja_is_number(const struct value *v); /* int, float, bool */
double jinja_as_double(const struct value *v);
int jinja_as_int(struct run *run, const struct value *v, const char *what,
                 int64_t *out); /* int or bool, or an error */
int jinja_as_text(struct run *run, const struct value *v, const char *what, struct text **out);
int jinja_items(struct run *run, const struct value *v, struct list **out); /* what iterating gives */
int jinja_length(struct run *run, const struct value *v, size_t *out);
int jinja_equal(struct run *run, const struct value *a, const struct value *b, bool *out);
int jinja_order(struct run *run, const struct value *a, const struct value *b, const char *op, int *out);
int jinja_contains(struct run *run, const struct value *container, const struct value *v, bool *out);
bool jinja_same_object(const struct value *a, const struct value *b);

/* ---- printing (jinja_print.c) ----------------------------------------------------------------------- */

int jinja_print(struct builder *b, const struct value *v); /* str(v) */
int jinja_repr(struct builder *b, const struct value *v);
int jinja_to_text(struct run *run, const struct value *v, struct text **out);
void jinja_print_float(struct builder *b, double d);
struct json_style {
    bool ascii, sort_keys, pretty;
    const struct text *indent, *item_separator, *key_separator;
};
int jinja_json(struct builder *b, const struct value *v, const struct json_style *style);
/* value printed by printf-like ("%5.2f") or str.format rules; jinja_format.c */
/* strict: an argument that is left over is an error */
int jinja_format_percent(struct run *run, const struct text *format, const struct call *call, bool strict,
                         struct value *out);
int jinja_format_braces(struct run *run, const struct text *format, const struct call *call,
                        struct value *out);
int jinja_strftime(struct run *run, const struct text *format, struct value *out); /* jinja_time.c */

/* ---- evaluation (jinja_eval.c, jinja_access.c, jinja_operators.c) --------------------------------- */

int jinja_eval(struct run *run, const struct node *n, struct value *out);
int jinja_binary(struct run *run, int op, const struct value *a, const struct value *b, struct value *out);
int jinja_compare(struct run *run, int op, const struct value *a, const struct value *b, bool *out);
int jinja_eval_arguments(struct run *run, const struct node *n, struct call *call); /* n's items */
int jinja_attribute(struct run *run, const struct value *object, struct text *name, struct value *out);
int jinja_index(struct run *run, const struct value *object, const struct value *index, struct value *out);
int jinja_slice(struct run *run, const struct value *object, const struct value bounds[3], struct value *out);
int jinja_call(struct run *run, const struct value *callee, struct call *call, struct value *out);
int jinja_call_builtin(struct run *run, const struct builtin *row, struct call *call, struct value *out);
int jinja_call_macro(struct run *run, const struct macro *m, struct call *call, struct value *out);
int jinja_call_loop(struct run *run, const struct loop *l, struct call *call, struct value *out);
int jinja_exec_root(struct run *run); /* jinja_exec.c */
void jinja_lookup(struct run *run, uint32_t symbol, struct value *out);
int jinja_loop_attribute(struct run *run, const struct value *loop, struct text *name, struct value *out);
int jinja_add_argument(struct run *run, struct call *call, struct value v);
int jinja_add_keyword(struct run *run, struct call *call, const struct text *name, struct value v);

/* ---- the tables ------------------------------------------------------------------------------------- */

const struct builtin *jinja_find_filter(const char *name, size_t len);
const struct builtin *jinja_find_test(const char *name, size_t len);
const struct builtin *jinja_find_method(const struct value *object, const struct text *name);
const struct builtin *jinja_find_global(const char *name, size_t len);
const struct builtin *jinja_find_row(const struct builtin *rows, size_t n, const char *name, size_t len);
/* Parts of the filter and method tables, each in a file of its own. */
extern const struct builtin jinja_text_filters[], jinja_list_filters[], jinja_pick_filters[];
extern const size_t jinja_n_text_filters, jinja_n_list_filters, jinja_n_pick_filters;
extern const struct builtin jinja_text_methods[], jinja_text_queries[];
extern const size_t jinja_n_text_methods, jinja_n_text_queries;

#endif
