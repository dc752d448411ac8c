/* schema_text.c - see schema_flat.h: strings.
 * A length alone is a counted repetition; one pattern or format whose lengths are right anyway is written as
 * it is; everything else is joined as automata.  To add a format: a row in formats[]. */
#include <string.h>

#include "api/schema_flat.h"
#include "engine/base/limits.h"

/* Expressions for all of a text.  They may be narrower than the format: what they let through is always
 * valid. */
static const struct {
    const char *name, *pattern;
} formats[] = {
#define YEAR "[1-9][0-9]{3}"
#define DATE                                                                                                 \
    YEAR "-((0[13578]|1[02])-(0[1-9]|[12][0-9]|3[01])|(0[469]|11)-(0[1-9]|[12][0-9]|30)|02-(0[1-9]|1[0-9]|"  \
         "2[0-8]))"
#define TIME  "([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\\.[0-9]{1,6})?(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9])"
#define LABEL "[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?"
#define HOST  LABEL "(\\." LABEL "){0,3}\\.[a-z]{2,10}"
#define BYTE  "(25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
#define GROUP "[0-9a-f]{1,4}"
#define PATH  "(/[A-Za-z0-9._~-]{1,40}){0,8}/?"
#define QUERY "(\\?[A-Za-z0-9._~=&-]{1,60})?(#[A-Za-z0-9._~-]{1,40})?"
#define COUNT "(0|[1-9][0-9]{0,3})"
    {"date", DATE},
    {"time", TIME},
    {"date-time", DATE "T" TIME},
    {"duration",
     "P(" COUNT "W|" COUNT "Y(" COUNT "M(" COUNT "D)?)?|" COUNT "M(" COUNT "D)?|" COUNT "D|(" COUNT
     "D)?T(" COUNT "H(" COUNT "M(" COUNT "S)?)?|" COUNT "M(" COUNT "S)?|" COUNT "S))"},
    {"email", "[A-Za-z0-9_+-]{1,30}(\\.[A-Za-z0-9_+-]{1,20}){0,2}@" HOST},
    {"idn-email", "[A-Za-z0-9_+-]{1,30}(\\.[A-Za-z0-9_+-]{1,20}){0,2}@" HOST},
    {"hostname", HOST},
    {"idn-hostname", HOST},
    {"ipv4", BYTE "(\\." BYTE "){3}"},
    {"ipv6", GROUP "(:" GROUP "){7}|(" GROUP "(:" GROUP "){0,2})?::(" GROUP "(:" GROUP "){0,2})?"},
    {"uri", "https?://" HOST "(:[1-9][0-9]{0,3})?" PATH QUERY},
    {"iri", "https?://" HOST "(:[1-9][0-9]{0,3})?" PATH QUERY},
    {"uri-reference", "(https?://" HOST ")?" PATH QUERY},
    {"iri-reference", "(https?://" HOST ")?" PATH QUERY},
    {"uuid", "[0-9a-f]{8}-[0-9a-f]{4}-[1-5][0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"},
    {"json-pointer", "(/[A-Za-z0-9._-]{0,40}){0,10}"},
    {"regex", "[A-Za-z0-9 _,.-]{0,60}"},
    /* What a text is for; any will do. */
    {"password", "[\\s\\S]*"},
    {"binary", "[\\s\\S]*"},
    {"path", "[\\s\\S]*"},
    {"file-path", "[\\s\\S]*"},
    {"directory-path", "[\\s\\S]*"},
};

static const char *find_format(const char *name)
{
    for (size_t i = 0; i < sizeof formats / sizeof formats[0]; i++) {
        if (strcmp(formats[i].name, name) == 0)
            return formats[i].pattern;
    }
    return NULL;
}

static int parse(struct schema *s, const char *pattern, size_t len, const char *at, struct regex **out)
{
    struct error e = {0};
    if (regex_parse(pattern, len, s->arena, out, &e) == 0)
        return 0;
    return schema_refuse(s, e.kind, at, "%s", e.text);
}

static int parse_pattern(struct schema *s, const struct schema_part *p, struct regex **out)
{
    return parse(s, json_string_value(p->schema), json_string_length(p->schema), p->at, out);
}

static int parse_format(struct schema *s, const struct schema_part *p, struct regex **out)
{
    const char *pattern = find_format(json_string_value(p->schema));
    if (!pattern)
        return schema_refuse(s, ERROR_UNSUPPORTED, p->at, "the format \"%.60s\" is not known here",
                             json_string_value(p->schema));
    return parse(s, pattern, strlen(pattern), p->at, out);
}

static int too_complex(struct schema *s, const char *at)
{
    return schema_refuse(s, ERROR_UNSUPPORTED, at,
                         "its patterns, formats and lengths together are too complex");
}

/* *a becomes both; it may be NULL at first. */
static int join(struct schema *s, const char *at, struct automaton **a, const struct automaton *b)
{
    if (!b)
        return too_complex(s, at);
    *a = *a ? automaton_join(*a, b, AUTOMATON_BOTH, s->arena) : (struct automaton *)(uintptr_t)b;
    return *a ? 0 : too_complex(s, at);
}

int schema_text_automaton(struct schema *s, const struct schema_flat *f, struct automaton **out)
{
    struct regex *r;
    *out = NULL;
    for (size_t i = 0; i < f->n_patterns; i++) {
        TRY(parse_pattern(s, &f->patterns[i], &r));
        TRY(join(s, f->patterns[i].at, out, automaton_of_regex(r, true, s->arena)));
    }
    for (size_t i = 0; i < f->n_formats; i++) {
        TRY(parse_format(s, &f->formats[i], &r));
        TRY(join(s, f->formats[i].at, out, automaton_of_regex(r, false, s->arena)));
    }
    if (f->min_length > 0 || f->max_length != SCHEMA_ENDLESS)
        TRY(join(s, f->at, out, automaton_of_lengths(f->min_length, f->max_length, s->arena)));
    return 0;
}

/* The tree of the one pattern or format, when nothing else is left to check. */
static int tree_alone(struct schema *s, const struct schema_flat *f, struct regex **out)
{
    uint64_t min, max;
    bool pattern = f->n_patterns == 1;
    *out = NULL;
    if (f->n_patterns + f->n_formats != 1)
        return 0;
    TRY(pattern ? parse_pattern(s, &f->patterns[0], out) : parse_format(s, &f->formats[0], out));
    *out = regex_whole(*out, pattern, s->arena);
    if (!*out)
        return 0;
    regex_lengths(*out, &min, &max);
    if (min < f->min_length || (f->max_length != SCHEMA_ENDLESS && max > f->max_length))
        *out = NULL;
    return 0;
}

static void write_length(const struct schema *s, const struct schema_flat *f, struct buf *out)
{
    buf_printf(out, "\"\\\"\" %s-char", s->rule);
    if (f->max_length == SCHEMA_ENDLESS)
        buf_printf(out, "{%llu,} \"\\\"\"", (unsigned long long)f->min_length);
    else
        buf_printf(out, "{%llu,%llu} \"\\\"\"", (unsigned long long)f->min_length,
                   (unsigned long long)f->max_length);
}

static int write_automaton(struct schema *s, const struct schema_flat *f, struct buf *out)
{
    struct automaton *a;
    unsigned rule;
    TRY(schema_text_automaton(s, f, &a));
    if (a->n_states == 0)
        return schema_impossible(s, f->at, "no text fits its patterns, formats and lengths");
    TRY(schema_new_rule(s, f->at, &rule));
    const char *name = arena_printf(s->arena, "%s-%u", s->rule, rule);
    if (!name)
        return error_no_memory(s->error);
    automaton_write(a, name, true, s->out);
    buf_printf(out, "\"\\\"\" %s \"\\\"\"", name);
    return 0;
}

int schema_write_text(struct schema *s, const struct schema_flat *f, struct buf *out)
{
    struct regex *tree;
    if (f->min_length > f->max_length)
        return schema_impossible(s, f->at, "minLength %llu is above maxLength %llu",
                                 (unsigned long long)f->min_length, (unsigned long long)f->max_length);
    if (f->n_patterns + f->n_formats == 0) {
        write_length(s, f, out);
        return 0;
    }
    TRY(tree_alone(s, f, &tree));
    if (!tree)
        return write_automaton(s, f, out);
    buf_add_text(out, "\"\\\"\" ");
    regex_write(tree, true, out);
    buf_add_text(out, " \"\\\"\"");
    return 0;
}
