/* schema_flat.h - inside schema*.c: one place of a schema with everything that holds there, $ref and allOf
 * followed. Functions return 0, -1 with an error, or SCHEMA_IMPOSSIBLE when no value can be valid there;
 * s->why then says why, at the place nearest the cause. Files: schema.c places to rules; schema_flat.c
 * reading and merging; schema_text.c strings; schema_number.c; schema_members.c objects and arrays;
 * schema_values.c enumerated values, and which branches exclude each other. To add a keyword: a row in
 * keywords[] of schema_flat.c, and where its type is written. */
#ifndef LOQUAT_API_SCHEMA_FLAT_H
#define LOQUAT_API_SCHEMA_FLAT_H

#include "api/automaton.h"
#include "api/schema.h"

enum { SCHEMA_IMPOSSIBLE = 1 };
enum {
    TYPE_NULL = 1,
    TYPE_BOOLEAN = 2,
    TYPE_INTEGER = 4,
    TYPE_NUMBER = 8,
    TYPE_STRING = 16,
    TYPE_ARRAY = 32,
    TYPE_OBJECT = 64
};
enum { TYPE_ANY = 127, TYPES = 7 };
#define SCHEMA_ENDLESS UINT64_MAX

/* Both 0 and -1 end what is being done; impossible goes on to whoever can leave it out. */
#define PASS(call)                                                                                           \
    do {                                                                                                     \
        int passed_ = (call);                                                                                \
        if (passed_)                                                                                         \
            return passed_;                                                                                  \
    } while (0)

struct schema_todo {
    const json_t *schema;
    const char *at;
    unsigned rule;
};

struct schema {
    const json_t *root;
    const char *rule; /* what names begin with */
    struct buf *out;
    struct arena *arena;
    struct error *error, why;
    json_t *known; /* a place's text to the number of its rule: $refs and merged places */
    json_t *made;  /* list: schemas that were merged, kept until the end */
    struct schema_todo *todo;
    size_t n_todo, cap_todo;
    unsigned n_rules, hops; /* hops: references inside references that are being followed */
};

/* The keywords that apply to one place; lists of several when allOf brings several. */
struct schema_part { /* of objects and arrays: what one schema says of its members */
    const json_t *schema;
    const char *at;
};

struct schema_group { /* anyOf or oneOf */
    const json_t *branches;
    const char *at;
    bool one;
};

enum { MOST_PARTS = 64 };

struct schema_flat {
    const char *at;
    unsigned types, hinted; /* hinted: types that its keywords are about */
    bool typed;
    const json_t *values; /* enum and const; NULL when any */
    double minimum, maximum;
    bool above, below; /* they are excluded */
    double multiple;   /* 0: none */
    uint64_t min_length, max_length, min_items, max_items, min_members, max_members;
    bool unique;
    struct schema_part patterns[MOST_PARTS], formats[MOST_PARTS]; /* schema: the string */
    struct schema_part objects[MOST_PARTS], arrays[MOST_PARTS];
    struct schema_group groups[MOST_PARTS];
    size_t n_patterns, n_formats, n_objects, n_arrays, n_groups;
    const json_t *required; /* list of names, each once */
};

/* ---- schema.c ---------------------------------------------------------------------------------- */

/* The rule for a place, as a number; schema_rule() writes its name. */
int schema_value(struct schema *s, const json_t *schema, const char *at, unsigned *rule);
void schema_rule(const struct schema *s, unsigned rule, struct buf *out);
/* text, in quotes, as a literal of a grammar. */
void schema_literal(const char *text, size_t len, struct buf *out);
/* A new rule; its definition is to be appended with schema_define(), which frees text. */
int schema_new_rule(struct schema *s, const char *at, unsigned *rule);
int schema_define(struct schema *s, unsigned rule, const char *at, struct buf *text);
const char *schema_path(struct schema *s, const char *at, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
int schema_refuse(struct schema *s, enum error_kind kind, const char *at, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
/* Returns SCHEMA_IMPOSSIBLE; the first reason stays. */
int schema_impossible(struct schema *s, const char *at, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* What is impossible is left out, and its reason forgotten.  Returns 0. */
int schema_left_out(struct schema *s);
/* Keeps a new reference until the end; NULL when memory is out. */
const json_t *schema_keep(struct schema *s, json_t *made);

/* ---- schema_flat.c ----------------------------------------------------------------------------- */

int schema_flatten(struct schema *s, const json_t *schema, const char *at, struct schema_flat *out);
/* What holds besides. */
int schema_absorb(struct schema *s, struct schema_flat *f, const json_t *schema, const char *at);
/* Whether it has keywords besides annotations and `except` (may be NULL). */
bool schema_says_more(const json_t *schema, const char *except);
unsigned schema_types(const struct schema_flat *f);     /* that are to be written */
unsigned schema_all_types(const struct schema_flat *f); /* that are valid: INTEGER with every NUMBER */

/* ---- one type each: appends an expression ------------------------------------------------------- */

int schema_write_text(struct schema *s, const struct schema_flat *f, struct buf *out);
int schema_write_number(struct schema *s, const struct schema_flat *f, bool integer, struct buf *out);
int schema_write_object(struct schema *s, const struct schema_flat *f, struct buf *out);
int schema_write_array(struct schema *s, const struct schema_flat *f, struct buf *out);
int schema_write_values(struct schema *s, const struct schema_flat *f, struct buf *out);

/* The texts that its patterns, formats and lengths leave; NULL in *out when they leave all. */
int schema_text_automaton(struct schema *s, const struct schema_flat *f, struct automaton **out);
/* The schema of a member or an item in all parts; false: it may not be there.  NULL when nothing is said. */
int schema_member(struct schema *s, const struct schema_flat *f, const char *name, const json_t **out,
                  const char **at);
int schema_item(struct schema *s, const struct schema_flat *f, size_t index, const json_t **out,
                const char **at);

/* ---- schema_values.c --------------------------------------------------------------------------- */

/* *out: the value is valid. */
int schema_allows(struct schema *s, const struct schema_flat *f, const json_t *value, unsigned depth,
                  bool *out);
/* *out: no value is valid for both. */
int schema_exclusive(struct schema *s, const json_t *a, const char *at_a, const json_t *b, const char *at_b,
                     unsigned depth, bool *out);

#endif
