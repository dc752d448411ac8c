/* cutter.c - see cutter.h.
 * To add a pre-tokenizer: a step that marks matches, or one that rewrites pieces, and one row in rows[]. */
#include "engine/tokenizers/cutter.h"

#include <stdlib.h>
#include <string.h>

#include "engine/base/utf8.h"
#include "engine/tokenizers/normalize.h"
#include "engine/tokenizers/part.h"
#include "engine/tokenizers/unicode.h"

#define GPT2_PATTERN "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"

/* What becomes of the matches of a pattern, in the library's words. */
enum behavior { REMOVED, ISOLATED, MERGED_WITH_PREVIOUS, MERGED_WITH_NEXT, CONTIGUOUS };

/* Consecutive parts of a piece: a match, or what lies between two. */
struct mark {
    size_t start, end;
    bool match;
};

struct mark_list {
    struct mark *marks;
    size_t n, cap;
};

struct cut_run {
    struct normalized *text;
    struct piece_list *pieces;
    struct mark_list marks; /* of one piece; kept for its room */
};

struct step {
    int (*run)(const struct step *s, struct cut_run *c, struct error *e);
    /* Steps that rewrite: one piece, appended to out. */
    void (*rewrite)(const struct step *s, const struct normalized *in, size_t start, size_t end,
                    struct normalized *out);
    bool (*is)(const struct step *s, uint32_t code_point);
    enum behavior behavior;
    bool invert, always, first;
    struct part_pattern pattern;
    struct part_text text; /* Metaspace: the replacement; ByteLevel: the prefix; a delimiter */
    uint32_t delimiter;
    size_t length;
};

struct cutter {
    size_t n;
    struct step steps[MAX_PIPELINE_STEPS];
};

/* ---- cutting ---------------------------------------------------------------------------------- */

static int add_mark(struct mark_list *l, size_t start, size_t end, bool match, struct error *e)
{
    if (l->n == l->cap) {
        size_t cap = l->cap ? l->cap * 2 : 64;
        struct mark *marks = realloc(l->marks, cap * sizeof *marks);
        if (!marks)
            return error_no_memory(e);
        l->marks = marks;
        l->cap = cap;
    }
    l->marks[l->n++] = (struct mark){start, end, match};
    return 0;
}

/* Joins a match with its neighbour on one side; a second match in a row stays by itself. */
static void merge_marks(struct mark_list *l, bool with_next)
{
    size_t kept = 0;
    bool previous = false;
    for (size_t i = 0; i < l->n; i++) {
        struct mark m = l->marks[with_next ? l->n - 1 - i : i];
        struct mark *last = kept ? &l->marks[with_next ? l->n - kept : kept - 1] : NULL;
        if (m.match && !previous && last) {
            if (with_next)
                last->start = m.start;
            else
                last->end = m.end;
        } else {
            kept++;
            l->marks[with_next ? l->n - kept : kept - 1] = m;
        }
        previous = m.match;
    }
    if (with_next)
        memmove(l->marks, l->marks + l->n - kept, kept * sizeof *l->marks);
    l->n = kept;
}

static void join_equal(struct mark_list *l)
{
    size_t kept = 0;
    for (size_t i = 0; i < l->n; i++) {
        if (kept > 0 && l->marks[i].match == l->marks[kept - 1].match)
            l->marks[kept - 1].end = l->marks[i].end;
        else
            l->marks[kept++] = l->marks[i];
    }
    l->n = kept;
}

static int add_pieces(struct mark_list *l, enum behavior behavior, struct piece_list *out, struct error *e)
{
    if (behavior == CONTIGUOUS)
        join_equal(l);
    if (behavior == MERGED_WITH_PREVIOUS || behavior == MERGED_WITH_NEXT)
        merge_marks(l, behavior == MERGED_WITH_NEXT);
    for (size_t i = 0; i < l->n; i++) {
        if (behavior != REMOVED || !l->marks[i].match)
            TRY(piece_list_add(out, l->marks[i].start, l->marks[i].end, e));
    }
    return 0;
}

/* Runs f over every piece; it fills c->marks. */
static int cut_pieces(const struct step *s, struct cut_run *c, void *context,
                      int (*f)(const struct step *s, struct cut_run *c, struct text_span piece, void *context,
                               struct error *e),
                      struct error *e)
{
    struct piece_list out = {0};
    int status = 0;
    for (size_t i = 0; i < c->pieces->n && status == 0; i++) {
        c->marks.n = 0;
        status = f(s, c, c->pieces->spans[i], context, e);
        for (size_t k = 0; k < c->marks.n && s->invert; k++)
            c->marks.marks[k].match = !c->marks.marks[k].match;
        if (status == 0)
            status = add_pieces(&c->marks, s->behavior, &out, e);
    }
    if (status == 0) {
        struct piece_list swap = *c->pieces;
        *c->pieces = out;
        out = swap;
    }
    piece_list_free(&out);
    return status;
}

static int mark_pattern(const struct step *s, struct cut_run *c, struct text_span piece, void *context,
                        struct error *e)
{
    (void)s;
    const char *text = c->text->text + piece.start;
    size_t len = piece.end - piece.start, at = 0, start, end;
    int found;
    pattern_restart(context);
    while ((found = pattern_next(context, text, len, at, &start, &end, e)) > 0) {
        if (start > at)
            TRY(add_mark(&c->marks, piece.start + at, piece.start + start, false, e));
        TRY(add_mark(&c->marks, piece.start + start, piece.start + end, true, e));
        at = end;
    }
    if (found == 0 && at < len)
        return add_mark(&c->marks, piece.start + at, piece.end, false, e);
    return found;
}

static int run_pattern(const struct step *s, struct cut_run *c, struct error *e)
{
    struct pattern_run run;
    TRY(pattern_run_begin(&run, &s->pattern, c->text->len, e));
    int status = cut_pieces(s, c, &run, mark_pattern, e);
    pattern_run_end(&run);
    return status;
}

/* Each character of the class is a match of its own. */
static int mark_class(const struct step *s, struct cut_run *c, struct text_span piece, void *context,
                      struct error *e)
{
    (void)context;
    size_t plain = piece.start, size;
    for (size_t at = piece.start; at < piece.end; at += size) {
        if (!s->is(s, normalized_code_point(c->text, at, &size)))
            continue;
        if (at > plain)
            TRY(add_mark(&c->marks, plain, at, false, e));
        TRY(add_mark(&c->marks, at, at + size, true, e));
        plain = at + size;
    }
    return piece.end > plain ? add_mark(&c->marks, plain, piece.end, false, e) : 0;
}

static int run_class(const struct step *s, struct cut_run *c, struct error *e)
{
    return cut_pieces(s, c, NULL, mark_class, e);
}

/* Runs of word characters and runs of others; spaces are matches. */
static int mark_words(const struct step *s, struct cut_run *c, struct text_span piece, void *context,
                      struct error *e)
{
    (void)s;
    (void)context;
    enum kind { SPACE, WORD, OTHER } last = SPACE;
    size_t start = piece.start, size;
    for (size_t at = piece.start; at < piece.end; at += size) {
        uint32_t cp = normalized_code_point(c->text, at, &size);
        enum kind kind = unicode_is_word(cp) ? WORD : unicode_is_space(cp) ? SPACE : OTHER;
        if (kind != last && at > start)
            TRY(add_mark(&c->marks, start, at, last == SPACE, e));
        if (kind != last)
            start = at;
        last = kind;
    }
    return add_mark(&c->marks, start, piece.end, last == SPACE, e);
}

static int run_words(const struct step *s, struct cut_run *c, struct error *e)
{
    return cut_pieces(s, c, NULL, mark_words, e);
}

static int mark_lengths(const struct step *s, struct cut_run *c, struct text_span piece, void *context,
                        struct error *e)
{
    (void)context;
    size_t start = piece.start, n = 0, size;
    for (size_t at = piece.start; at < piece.end; at += size) {
        if (n == s->length) {
            TRY(add_mark(&c->marks, start, at, false, e));
            start = at;
            n = 0;
        }
        normalized_code_point(c->text, at, &size);
        n++;
    }
    return add_mark(&c->marks, start, piece.end, false, e);
}

static int run_lengths(const struct step *s, struct cut_run *c, struct error *e)
{
    return cut_pieces(s, c, NULL, mark_lengths, e);
}

/* ---- rewriting -------------------------------------------------------------------------------- */

static int run_rewrite(const struct step *s, struct cut_run *c, struct error *e)
{
    struct normalized out;
    normalized_init(&out, c->text);
    for (size_t i = 0; i < c->pieces->n; i++) {
        struct text_span *piece = &c->pieces->spans[i];
        size_t start = out.len;
        s->rewrite(s, c->text, piece->start, piece->end, &out);
        *piece = (struct text_span){start, out.len};
    }
    if (normalized_check(&out, e) < 0) {
        normalized_free(&out);
        return -1;
    }
    normalized_move(c->text, &out);
    return 0;
}

static void rewrite_bytes(const struct step *s, const struct normalized *in, size_t start, size_t end,
                          struct normalized *out)
{
    (void)s;
    normalized_add_bytes(out, in, start, end);
}

static bool starts_with(const struct normalized *in, size_t start, size_t end, const struct part_text *t)
{
    return end - start >= t->len && memcmp(in->text + start, t->text, t->len) == 0;
}

static void rewrite_prefix(const struct step *s, const struct normalized *in, size_t start, size_t end,
                           struct normalized *out)
{
    if (!starts_with(in, start, end, &s->text))
        normalized_add(out, s->text.text, s->text.len, normalized_span(in, start));
    normalized_copy(out, in, start, end);
}

static void rewrite_metaspace(const struct step *s, const struct normalized *in, size_t start, size_t end,
                              struct normalized *out)
{
    bool has = in->text[start] == ' ' || starts_with(in, start, end, &s->text);
    struct span32 first = normalized_span(in, start);
    if (!has && (s->always || (s->first && first.start == 0)))
        normalized_add(out, s->text.text, s->text.len, first);
    for (size_t at = start; at < end;) {
        const char *space = memchr(in->text + at, ' ', end - at);
        size_t stop = space ? (size_t)(space - in->text) : end;
        normalized_copy(out, in, at, stop);
        if (space)
            normalized_add(out, s->text.text, s->text.len, normalized_span(in, stop));
        at = stop + 1;
    }
}

/* ---- reading ---------------------------------------------------------------------------------- */

static struct step *add_step(struct cutter *c, struct error *e)
{
    if (c->n == MAX_PIPELINE_STEPS) {
        error_set(e, ERROR_UNSUPPORTED, "the tokenizer's pre_tokenizer has more than %d steps",
                  MAX_PIPELINE_STEPS);
        return NULL;
    }
    return &c->steps[c->n++];
}

static int add_simple(struct cutter *c, struct step step, struct error *e)
{
    struct step *s = add_step(c, e);
    if (!s)
        return -1;
    *s = step;
    return 0;
}

static bool is_space(const struct step *s, uint32_t cp)
{
    (void)s;
    return unicode_is_space(cp);
}

static bool is_punctuation(const struct step *s, uint32_t cp)
{
    (void)s;
    return unicode_is_punctuation(cp);
}

static bool is_number(const struct step *s, uint32_t cp)
{
    (void)s;
    return unicode_is_number(cp);
}

static bool is_delimiter(const struct step *s, uint32_t cp)
{
    return cp == s->delimiter;
}

static int read_part(struct cutter *c, const json_t *json, struct error *e);

static int read_sequence(struct cutter *c, const json_t *json, struct error *e)
{
    const json_t *list, *part;
    size_t i;
    TRY(part_array(json, "pretokenizers", &list, e));
    json_array_foreach(list, i, part) TRY(read_part(c, part, e));
    return 0;
}

static int read_bert(struct cutter *c, const json_t *json, struct error *e)
{
    (void)json;
    TRY(add_simple(c, (struct step){.run = run_class, .is = is_space, .behavior = REMOVED}, e));
    return add_simple(c, (struct step){.run = run_class, .is = is_punctuation, .behavior = ISOLATED}, e);
}

static int set_text(struct part_text *t, const char *text, struct error *e)
{
    t->text = strdup(text);
    t->len = strlen(text);
    return t->text ? 0 : error_no_memory(e);
}

static int read_byte_level(struct cutter *c, const json_t *json, struct error *e)
{
    bool prefix = true, use_regex = true;
    struct step *s;
    TRY(part_bool(json, "add_prefix_space", &prefix, e));
    TRY(part_bool(json, "use_regex", &use_regex, e));
    if (prefix) {
        if (!(s = add_step(c, e)))
            return -1;
        s->run = run_rewrite;
        s->rewrite = rewrite_prefix;
        TRY(set_text(&s->text, " ", e));
    }
    if (use_regex) {
        if (!(s = add_step(c, e)))
            return -1;
        s->run = run_pattern;
        s->behavior = ISOLATED;
        TRY(regex_create(GPT2_PATTERN, strlen(GPT2_PATTERN), REGEX_ONIGURUMA, &s->pattern.regex, e));
    }
    return add_simple(c, (struct step){.run = run_rewrite, .rewrite = rewrite_bytes}, e);
}

/* Old files say add_prefix_space where new ones say prepend_scheme. */
static int read_metaspace(struct cutter *c, const json_t *json, struct error *e)
{
    const json_t *scheme = json_object_get(json, "prepend_scheme");
    const char *name = json_string_value(scheme);
    bool prefix = true, split = true;
    TRY(part_bool(json, "add_prefix_space", &prefix, e));
    TRY(part_bool(json, "split", &split, e));
    if (!scheme || json_is_null(scheme))
        name = prefix ? "always" : "never";
    bool always = name && strcmp(name, "always") == 0, first = name && strcmp(name, "first") == 0;
    if (!name || (!always && !first && strcmp(name, "never") != 0))
        return error_set(e, ERROR_UNSUPPORTED, "the tokenizer's prepend_scheme \"%.50s\" is not supported",
                         name ? name : "");
    struct step *s = add_step(c, e);
    if (!s)
        return -1;
    s->run = run_rewrite;
    s->rewrite = rewrite_metaspace;
    s->always = always && prefix;
    s->first = first && prefix;
    TRY(part_character(json, "replacement", &s->text, e));
    if (!split)
        return 0;
    struct step *cut = add_step(c, e);
    if (!cut)
        return -1;
    cut->run = run_pattern;
    cut->behavior = MERGED_WITH_NEXT;
    return set_text(&cut->pattern.text, s->text.text, e);
}

static int read_whitespace(struct cutter *c, const json_t *json, struct error *e)
{
    (void)json;
    return add_simple(c, (struct step){.run = run_words, .behavior = REMOVED}, e);
}

static int read_whitespace_split(struct cutter *c, const json_t *json, struct error *e)
{
    (void)json;
    return add_simple(c, (struct step){.run = run_class, .is = is_space, .behavior = REMOVED}, e);
}

static int read_behavior(const json_t *json, enum behavior *out, struct error *e)
{
    static const char *const names[] = {"Removed", "Isolated", "MergedWithPrevious", "MergedWithNext",
                                        "Contiguous"};
    const json_t *value = json_object_get(json, "behavior");
    const char *name = json_string_value(value);
    if (!value) {
        *out = ISOLATED;
        return 0;
    }
    for (size_t i = 0; i < sizeof names / sizeof names[0] && name; i++) {
        if (strcmp(names[i], name) == 0) {
            *out = (enum behavior)i;
            return 0;
        }
    }
    return error_set(e, ERROR_UNSUPPORTED, "the tokenizer's split behavior \"%.50s\" is not supported",
                     name ? name : "");
}

static int read_split(struct cutter *c, const json_t *json, struct error *e)
{
    struct step *s = add_step(c, e);
    if (!s)
        return -1;
    s->run = run_pattern;
    TRY(read_behavior(json, &s->behavior, e));
    TRY(part_bool(json, "invert", &s->invert, e));
    return part_pattern(json, &s->pattern, e);
}

static int read_punctuation(struct cutter *c, const json_t *json, struct error *e)
{
    struct step s = {.run = run_class, .is = is_punctuation};
    TRY(read_behavior(json, &s.behavior, e));
    return add_simple(c, s, e);
}

static int read_digits(struct cutter *c, const json_t *json, struct error *e)
{
    bool individual = false;
    TRY(part_bool(json, "individual_digits", &individual, e));
    return add_simple(
        c, (struct step){.run = run_class, .is = is_number, .behavior = individual ? ISOLATED : CONTIGUOUS},
        e);
}

static int read_delimiter(struct cutter *c, const json_t *json, struct error *e)
{
    struct step *s = add_step(c, e);
    if (!s)
        return -1;
    s->run = run_class;
    s->is = is_delimiter;
    s->behavior = REMOVED;
    TRY(part_character(json, "delimiter", &s->text, e));
    utf8_decode(s->text.text, s->text.len, &s->delimiter);
    return 0;
}

static int read_fixed_length(struct cutter *c, const json_t *json, struct error *e)
{
    struct step s = {.run = run_lengths, .behavior = ISOLATED, .length = 5};
    TRY(part_size(json, "length", &s.length, e));
    if (s.length == 0)
        return error_set(e, ERROR_BAD_FORMAT, "the tokenizer's FixedLength has length 0");
    return add_simple(c, s, e);
}

static const struct {
    const char *type;
    int (*read)(struct cutter *c, const json_t *json, struct error *e);
} rows[] = {
    {"Sequence", read_sequence},     {"BertPreTokenizer", read_bert},
    {"ByteLevel", read_byte_level},  {"Metaspace", read_metaspace},
    {"Whitespace", read_whitespace}, {"WhitespaceSplit", read_whitespace_split},
    {"Split", read_split},           {"Punctuation", read_punctuation},
    {"Digits", read_digits},         {"CharDelimiterSplit", read_delimiter},
    {"Delimiter", read_delimiter},   {"FixedLength", read_fixed_length},
};

static int read_part(struct cutter *c, const json_t *json, struct error *e)
{
    const char *type;
    TRY(part_type(json, "pre_tokenizer", &type, e));
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        if (strcmp(rows[i].type, type) == 0)
            return rows[i].read(c, json, e);
    }
    return part_unknown("pre_tokenizer", type, e);
}

int cutter_create(const json_t *json, struct cutter **out, struct error *e)
{
    struct cutter *c = calloc(1, sizeof *c);
    if (!c)
        return error_no_memory(e);
    if (read_part(c, json, e) < 0) {
        cutter_free(c);
        return -1;
    }
    *out = c;
    return 0;
}

void cutter_free(struct cutter *c)
{
    if (!c)
        return;
    for (size_t i = 0; i < c->n; i++) {
        part_pattern_free(&c->steps[i].pattern);
        free(c->steps[i].text.text);
    }
    free(c);
}

int cutter_run(const struct cutter *c, struct normalized *text, struct piece_list *pieces, struct error *e)
{
    struct cut_run run = {.text = text, .pieces = pieces};
    int status = 0;
    pieces->n = 0;
    status = piece_list_add(pieces, 0, text->len, e);
    for (size_t i = 0; i < c->n && status == 0; i++)
        status = c->steps[i].run(&c->steps[i], &run, e);
    free(run.marks.marks);
    return status;
}
