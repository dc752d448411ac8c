/* arpa_text.c - reads \data\, \1-grams: and so on of an ARPA file.  Called by arpa.c.
 * Nothing is allocated for counts that the file claims: arrays grow with the lines that are there. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/formats/arpa.h"

/* A probability, the words of the longest n-gram, a back-off, and one too many. */
enum { MOST_FIELDS = LIMIT_NGRAM_ORDER + 3 };

/* Cuts a line at white space, in place; no more than `most` fields are counted. */
static size_t split(char *line, char **fields, size_t most)
{
    size_t n = 0;
    for (char *at = line; n < most;) {
        at += strspn(at, " \t\v\f\r");
        if (!*at)
            break;
        fields[n++] = at;
        at += strcspn(at, " \t\v\f\r");
        if (!*at)
            break;
        *at++ = 0;
    }
    return n;
}

static bool is_blank(const char *line)
{
    return line[strspn(line, " \t\v\f\r")] == 0;
}

/* The next line that is not blank; *line NULL at the end. */
static int next_line(struct arpa *f, char **line, struct error *e)
{
    do
        TRY(arpa_lines_next(&f->lines, line, e));
    while (*line && is_blank(*line));
    return 0;
}

static bool is_directive(const char *line, const char *directive)
{
    size_t n = strlen(directive);
    return line && strncmp(line, directive, n) == 0 && is_blank(line + n);
}

/* ---- \data\ ------------------------------------------------------------------------------------- */

static int read_number(const char **at, uint64_t max, uint64_t *out)
{
    const char *digit = *at + strspn(*at, " \t");
    const char *start = digit;
    for (*out = 0; *digit >= '0' && *digit <= '9'; digit++) {
        *out = *out * 10 + (uint64_t)(*digit - '0');
        if (*out > max)
            return -1;
    }
    *at = digit + strspn(digit, " \t");
    return digit == start ? -1 : 0;
}

/* ngram N=COUNT */
static int read_count(struct arpa *f, const char *line, struct error *e)
{
    uint64_t n, count;
    const char *at = line + strlen("ngram");
    if ((*at != ' ' && *at != '\t') || read_number(&at, LIMIT_NGRAM_ORDER, &n) < 0 || *at++ != '=' ||
        read_number(&at, LIMIT_NGRAMS, &count) < 0 || *at)
        return error_set(e, ERROR_BAD_FORMAT,
                         "\"ngram ORDER=COUNT\" is expected, with at most %d as ORDER and %u as COUNT: %.80s",
                         LIMIT_NGRAM_ORDER, LIMIT_NGRAMS, line);
    if (n != f->order + 1)
        return error_set(e, ERROR_BAD_FORMAT,
                         "the count of %" PRIu64 "-grams comes where that of %zu-grams is expected", n,
                         f->order + 1);
    f->orders[f->order++].claimed = count;
    return 0;
}

/* *line: what follows the counts. */
static int read_counts(struct arpa *f, char **line, struct error *e)
{
    TRY(next_line(f, line, e));
    if (!is_directive(*line, "\\data\\"))
        return error_set(e, ERROR_BAD_FORMAT, "the file does not begin with \\data\\");
    TRY(next_line(f, line, e));
    while (*line && strncmp(*line, "ngram", 5) == 0) {
        TRY(read_count(f, *line, e));
        TRY(next_line(f, line, e));
    }
    if (f->order == 0)
        return error_set(e, ERROR_BAD_FORMAT, "no count of n-grams follows \\data\\");
    return 0;
}

/* ---- n-grams --------------------------------------------------------------------------------------- */

static int read_value(const char *text, const char *what, float *out, struct error *e)
{
    char *end = NULL;
    *out = strpbrk(text, "xX") ? NAN : strtof(text, &end);
    if (isnan(*out) || !end || *end)
        return error_set(e, ERROR_BAD_FORMAT, "the %s is no number: %.40s", what, text);
    return 0;
}

static int add_word(struct arpa *f, const char *word, int32_t *id, struct error *e)
{
    size_t len = strlen(word);
    if (f->n_words == LIMIT_VOCABULARY)
        return error_set(e, ERROR_BAD_FORMAT, "there are more than %d words", LIMIT_VOCABULARY);
    if (f->n_words == f->cap_words) {
        size_t cap = f->cap_words ? 2 * f->cap_words : 1024;
        struct token_spec *grown = realloc(f->words, cap * sizeof *grown);
        if (!grown)
            return error_no_memory(e);
        f->words = grown;
        f->cap_words = cap;
    }
    char *copy = arena_copy(f->arena, word, len);
    if (!copy)
        return error_no_memory(e);
    *id = (int32_t)f->n_words;
    f->words[f->n_words++] = (struct token_spec){.text = copy, .len = (uint32_t)len, .type = TOKEN_NORMAL};
    return 0;
}

static int find_word(struct arpa *f, const char *word, int32_t *id, struct error *e)
{
    *id = string_table_find(&f->ids, word, strlen(word));
    if (*id < 0)
        return error_set(e, ERROR_BAD_FORMAT, "the word \"%.80s\" is not among the unigrams", word);
    return 0;
}

static union arpa_cell *add_record(struct arpa_order *o, size_t cells, struct error *e)
{
    if (o->count == o->cap) {
        uint64_t cap = o->cap ? 2 * o->cap : 1024;
        union arpa_cell *grown = realloc(o->records, cap * cells * sizeof *grown);
        if (!grown) {
            error_no_memory(e);
            return NULL;
        }
        o->records = grown;
        o->cap = cap;
    }
    return o->records + o->count++ * cells;
}

/* Back-off weights belong to contexts: a context that is not there is a mistake of whoever pruned the model.
 */
static int check_context(const struct arpa *f, size_t n, const union arpa_cell *record, char *const *words,
                         struct error *e)
{
    char context[120] = "";
    if (n < 3 || arpa_has_ngram(f, record, n - 1))
        return 0;
    for (size_t i = 0, at = 0; i + 1 < n && at < sizeof context; i++)
        at += (size_t)snprintf(context + at, sizeof context - at, "%s%s", i ? " " : "", words[i]);
    return error_set(e, ERROR_BAD_FORMAT, "the context \"%s\" is not among the %zu-grams", context, n - 1);
}

/* LOGPROB word1 … wordN [BACKOFF] */
static int read_ngram(struct arpa *f, size_t n, char *line, struct error *e)
{
    struct arpa_order *o = &f->orders[n - 1];
    char *fields[MOST_FIELDS];
    float logprob, backoff = 0;
    size_t n_fields = split(line, fields, n + 3);
    if (n_fields < n + 1 || n_fields > n + 2)
        return error_set(
            e, ERROR_BAD_FORMAT,
            "a log probability, %zu words and perhaps a back-off are expected, but there are %zu%s "
            "fields",
            n, n_fields, n_fields > n + 2 ? " or more" : "");
    if (o->count == o->claimed)
        return error_set(e, ERROR_BAD_FORMAT, "there are more than the %" PRIu64 " %zu-grams of \\data\\",
                         o->claimed, n);
    TRY(read_value(fields[0], "log probability", &logprob, e));
    if (n_fields == n + 2)
        TRY(read_value(fields[n + 1], "back-off", &backoff, e));
    if (logprob > 0 || !isfinite(backoff))
        return error_set(e, ERROR_BAD_FORMAT, "the log probability %g with the back-off %g is not possible",
                         (double)logprob, (double)backoff);
    if (n == f->order && backoff != 0)
        return error_set(e, ERROR_BAD_FORMAT, "an n-gram of the highest order has a back-off");
    union arpa_cell *record = add_record(o, n + 2, e);
    if (!record)
        return -1;
    for (size_t i = 0; i < n; i++)
        TRY(n == 1 ? add_word(f, fields[1], &record[0].token, e)
                   : find_word(f, fields[1 + i], &record[i].token, e));
    record[n].value = logprob;
    record[n + 1].value = backoff;
    return check_context(f, n, record, fields + 1, e);
}

static int index_words(struct arpa *f, struct error *e)
{
    TRY(string_table_init(&f->ids, f->n_words + 1, e)); /* perhaps <unk> will follow */
    for (size_t i = 0; i < f->n_words; i++) {
        if (string_table_add(&f->ids, f->words[i].text, f->words[i].len, (int32_t)i) >= 0)
            return error_set(e, ERROR_BAD_FORMAT, "the word \"%.80s\" is twice among the unigrams",
                             f->words[i].text);
    }
    return 0;
}

/* *line: the section's head; then what follows the section. */
static int read_section(struct arpa *f, size_t n, char **line, struct error *e)
{
    struct arpa_order *o = &f->orders[n - 1];
    char head[32];
    snprintf(head, sizeof head, "\\%zu-grams:", n);
    if (!is_directive(*line, head)) {
        if (o->claimed == 0)
            return 0;
        return error_set(e, ERROR_BAD_FORMAT, "%s is expected: %.80s", head, *line ? *line : "the file ends");
    }
    TRY(next_line(f, line, e));
    while (*line && (*line)[0] != '\\') {
        TRY(read_ngram(f, n, *line, e));
        TRY(next_line(f, line, e));
    }
    if (o->count < o->claimed)
        return error_set(e, ERROR_BAD_FORMAT, "%s has %" PRIu64 " lines but \\data\\ says %" PRIu64, head,
                         o->count, o->claimed);
    if (n == 1)
        TRY(index_words(f, e));
    return arpa_sort_order(f, n, e);
}

static int read_all(struct arpa *f, struct error *e)
{
    char *line;
    TRY(read_counts(f, &line, e));
    for (size_t n = 1; n <= f->order; n++)
        TRY(read_section(f, n, &line, e));
    if (!is_directive(line, "\\end\\"))
        return error_set(e, ERROR_BAD_FORMAT, "\\end\\ is expected: %.80s", line ? line : "the file ends");
    TRY(next_line(f, &line, e));
    if (line)
        return error_set(e, ERROR_BAD_FORMAT, "something follows \\end\\: %.80s", line);
    return 0;
}

int arpa_read_text(struct arpa *f, struct error *e)
{
    if (read_all(f, e) < 0)
        return error_prefix(e, "line %" PRIu64, f->lines.number);
    return 0;
}
