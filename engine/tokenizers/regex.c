/* regex.c - see regex.h. */
#define PCRE2_CODE_UNIT_WIDTH 8
#include "engine/tokenizers/regex.h"

#include <pcre2.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "engine/base/buf.h"
#include "engine/base/utf8.h"

enum {
    MATCH_STEPS = 5000000, /* of backtracking from one place of a text: tens of milliseconds */
    FIRST_WINDOW = 64,     /* places of a text that are tried before the clock is looked at */
    MAX_WINDOW = 1 << 16,
    MAX_GROUPS = 256, /* open brackets of an expression */
    NS_A_BYTE = 2000  /* twenty times what the slowest real expression needs */
};
static const int64_t least_budget_ns = 2000000000;

struct regex {
    pcre2_code *code;
};

/* The insides of classes.  PCRE2's \s also takes U+180E, and its \w depends on the version. */
#define RUST_SPACES                                                                                          \
    "\\x09-\\x0D\\x20\\x{85}\\x{A0}\\x{1680}\\x{2000}-\\x{200A}\\x{2028}\\x{2029}\\x{202F}\\x{205F}\\x{"     \
    "3000}"
#define PYTHON_SPACES "\\x1C-\\x1F" RUST_SPACES
#define ONIG_WORD     "\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}\\x{B2}\\x{B3}\\x{B9}\\x{BC}-\\x{BE}"
#define PYTHON_WORD   "\\p{L}\\p{N}_"

/* An expression on its way into PCRE2's dialect. */
struct translation {
    const char *pattern;
    size_t len, at;
    enum regex_dialect dialect;
    bool in_class;
    size_t atom;               /* where in out the last atom began */
    size_t groups[MAX_GROUPS]; /* where in out each open bracket stands */
    size_t n_groups;
    struct buf out;
};

static const char *class_inside(enum regex_dialect dialect, char letter)
{
    bool python = dialect == REGEX_PYTHON;
    switch (letter) {
    case 's':
    case 'S':
        return python ? PYTHON_SPACES : RUST_SPACES;
    case 'w':
    case 'W':
        return python ? PYTHON_WORD : ONIG_WORD;
    case 'h':
    case 'H':
        return python ? NULL : "0-9a-fA-F";
    default:
        return NULL;
    }
}

static void put_class(struct translation *t, const char *inside, bool negated)
{
    if (t->in_class) {
        buf_add_text(&t->out, inside);
        return;
    }
    buf_add_text(&t->out, negated ? "[^" : "[");
    buf_add_text(&t->out, inside);
    buf_add_text(&t->out, "]");
}

static bool is_script(const char *name, size_t len)
{
    char pattern[64];
    int code, n = snprintf(pattern, sizeof pattern, "\\p{sc:%.*s}", (int)len, name);
    PCRE2_SIZE at;
    if (len < 3 || n < 0 || (size_t)n >= sizeof pattern)
        return false;
    pcre2_code *script = pcre2_compile((PCRE2_SPTR)pattern, (size_t)n, PCRE2_UTF, &code, &at, NULL);
    pcre2_code_free(script);
    return script != NULL;
}

/* "\p{Han}": a script's own characters; PCRE2 would add those that it shares with others.  Long names of
 * categories become the short ones that PCRE2 knows.  Returns the bytes read. */
static size_t put_property(struct translation *t)
{
    static const char *const names[][2] = {{"Letter", "L"},      {"Mark", "M"},          {"Number", "N"},
                                           {"Punctuation", "P"}, {"Symbol", "S"},        {"Separator", "Z"},
                                           {"Other", "C"},       {"Digit", "Nd"},        {"Upper", "Lu"},
                                           {"Lower", "Ll"},      {"Alpha", "Alphabetic"}};
    const char *start = t->pattern + t->at + 3, *end = memchr(start, '}', t->len - t->at - 3);
    if (!end)
        return 0;
    bool negated = *start == '^';
    const char *name = start + negated;
    size_t len = (size_t)(end - name);
    buf_printf(&t->out, "\\%c{%s", t->pattern[t->at + 1], negated ? "^" : "");
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (strlen(names[i][0]) == len && memcmp(names[i][0], name, len) == 0) {
            name = names[i][1];
            len = strlen(name);
            break;
        }
    }
    buf_add_text(&t->out, t->dialect == REGEX_ONIGURUMA && is_script(name, len) ? "sc:" : "");
    buf_add(&t->out, name, len);
    buf_add_text(&t->out, "}");
    return (size_t)(end - (t->pattern + t->at)) + 1;
}

static void put_escape(struct translation *t)
{
    char letter = t->at + 1 < t->len ? t->pattern[t->at + 1] : '\0';
    bool negated = letter == 'S' || letter == 'W' || letter == 'H';
    const char *inside = class_inside(t->dialect, letter);
    size_t n = t->at + 1 < t->len ? 2 : 1, property = 0;
    if (!t->in_class)
        t->atom = t->out.len;
    if ((letter == 'p' || letter == 'P') && t->at + 3 < t->len && t->pattern[t->at + 2] == '{')
        property = put_property(t);
    if (property > 0) {
        n = property;
    } else if (inside && !(negated && t->in_class)) {
        put_class(t, inside, negated);
    } else if (letter == 'u' && t->at + 6 <= t->len) {
        buf_printf(&t->out, "\\x{%.4s}", t->pattern + t->at + 2);
        n = 6;
    } else if (letter == 'Z' && t->dialect == REGEX_PYTHON) {
        buf_add_text(&t->out, "\\z");
    } else if (letter == 'x' && t->at + 2 < t->len && t->pattern[t->at + 2] == '{') {
        const char *end = memchr(t->pattern + t->at, '}', t->len - t->at);
        n = end ? (size_t)(end - (t->pattern + t->at)) + 1 : n;
        buf_add(&t->out, t->pattern + t->at, n);
    } else {
        buf_add(&t->out, t->pattern + t->at, n);
    }
    t->at += n;
}

/* "[:alpha:]" at t->at: what Oniguruma means by it, or as it is.  Returns the bytes read, 0 when it is none.
 */
static size_t put_posix_class(struct translation *t)
{
    static const char *const names[][2] = {{"[:alpha:]", "\\p{Alphabetic}"},
                                           {"[:alnum:]", "\\p{Alphabetic}\\p{Nd}"},
                                           {"[:punct:]", "\\p{P}\\p{S}"},
                                           {"[:space:]", RUST_SPACES},
                                           {"[:word:]", ONIG_WORD}};
    const char *rest = t->pattern + t->at;
    size_t left = t->len - t->at, n = 2;
    while (n + 1 < left && !(rest[n] == ':' && rest[n + 1] == ']'))
        n++;
    if (n + 1 >= left)
        return 0;
    n += 2;
    for (size_t i = 0; i < sizeof names / sizeof names[0] && t->dialect == REGEX_ONIGURUMA; i++) {
        if (strlen(names[i][0]) == n && memcmp(names[i][0], rest, n) == 0) {
            buf_add_text(&t->out, names[i][1]);
            return n;
        }
    }
    buf_add(&t->out, rest, n);
    return n;
}

/* One character of the inside of a class, or its end. */
static int put_class_part(struct translation *t, struct error *e)
{
    char c = t->pattern[t->at];
    size_t posix = c == '[' && t->at + 1 < t->len && t->pattern[t->at + 1] == ':' ? put_posix_class(t) : 0;
    if (posix > 0) {
        t->at += posix;
        return 0;
    }
    if (t->dialect == REGEX_ONIGURUMA &&
        (c == '[' || (c == '&' && t->at + 1 < t->len && t->pattern[t->at + 1] == '&')))
        return error_set(
            e, ERROR_UNSUPPORTED,
            "the expression \"%.*s\" has a class inside a class at byte %zu, which is not supported",
            t->len < 200 ? (int)t->len : 200, t->pattern, t->at);
    buf_add(&t->out, &c, 1);
    t->at++;
    t->in_class = c != ']';
    return 0;
}

/* Ruby's m is what PCRE2 calls s. */
static void put_group(struct translation *t)
{
    if (t->n_groups < MAX_GROUPS)
        t->groups[t->n_groups] = t->out.len;
    t->n_groups++;
    buf_add_text(&t->out, "(");
    t->at++;
    if (t->at >= t->len || t->pattern[t->at] != '?')
        return;
    size_t n = 1;
    while (t->at + n < t->len && strchr("imsx-", t->pattern[t->at + n]) && t->pattern[t->at + n])
        n++;
    bool flags =
        t->at + n < t->len && n > 1 && (t->pattern[t->at + n] == ':' || t->pattern[t->at + n] == ')');
    for (size_t i = 0; i < n && flags; i++) {
        char c = t->pattern[t->at + i];
        if (c == 'm' && t->dialect == REGEX_ONIGURUMA)
            c = 's';
        buf_add(&t->out, &c, 1);
    }
    if (flags)
        t->at += n;
}

static void close_group(struct translation *t)
{
    if (t->n_groups > 0 && --t->n_groups < MAX_GROUPS)
        t->atom = t->groups[t->n_groups];
    buf_add_text(&t->out, ")");
    t->at++;
}

/* X{2,3}+ repeats X{2,3} in Ruby; in PCRE2 it would be possessive. */
static void put_interval(struct translation *t)
{
    const char *rest = t->pattern + t->at, *end = memchr(rest, '}', t->len - t->at);
    size_t n = end ? (size_t)(end - rest) + 1 : 1;
    bool interval = end && strspn(rest + 1, "0123456789,") == n - 2 && n > 2;
    buf_add(&t->out, rest, interval ? n : 1);
    t->at += interval ? n : 1;
    if (!interval || t->dialect != REGEX_ONIGURUMA || t->at >= t->len || t->pattern[t->at] != '+' ||
        t->out.failed)
        return;
    size_t tail = t->out.len - t->atom;
    buf_add_text(&t->out, "(?:)");
    if (t->out.failed)
        return;
    memmove(t->out.data + t->atom + 3, t->out.data + t->atom, tail);
    memcpy(t->out.data + t->atom, "(?:", 3);
    t->out.data[t->atom + 3 + tail] = ')';
}

static int translate_step(struct translation *t, struct error *e)
{
    char c = t->pattern[t->at];
    if (c == '\\') {
        put_escape(t);
    } else if (t->in_class) {
        return put_class_part(t, e);
    } else if (c == '[') {
        t->in_class = true;
        t->atom = t->out.len;
        size_t n = t->at + 1 < t->len && t->pattern[t->at + 1] == '^' ? 2 : 1;
        if (t->at + n < t->len && t->pattern[t->at + n] == ']') /* a first ']' is itself */
            n++;
        buf_add(&t->out, t->pattern + t->at, n);
        t->at += n;
    } else if (c == '(') {
        put_group(t);
    } else if (c == ')') {
        close_group(t);
    } else if (c == '{') {
        put_interval(t);
    } else {
        if (!strchr("*+?|", c) && ((unsigned char)c & 0xC0) != 0x80)
            t->atom = t->out.len;
        buf_add(&t->out, &c, 1);
        t->at++;
    }
    return 0;
}

static int translate(const char *pattern, size_t len, enum regex_dialect dialect, struct buf *out,
                     struct error *e)
{
    struct translation t = {.pattern = pattern, .len = len, .dialect = dialect};
    buf_init(&t.out, 64 * len + 64);
    while (t.at < len) {
        if (translate_step(&t, e) < 0) {
            buf_free(&t.out);
            return -1;
        }
    }
    *out = t.out;
    return out->failed ? error_no_memory(e) : 0;
}

static int compile(const char *pattern, size_t len, enum regex_dialect dialect, pcre2_code **out,
                   struct error *e)
{
    uint32_t options = PCRE2_UTF | PCRE2_UCP | PCRE2_USE_OFFSET_LIMIT;
    if (dialect == REGEX_ONIGURUMA)
        options |= PCRE2_MULTILINE; /* Ruby's ^ and $ stand at every line */
    if (dialect == REGEX_PCRE)
        options |= PCRE2_DOLLAR_ENDONLY;
    pcre2_compile_context *context = pcre2_compile_context_create(NULL);
    if (!context)
        return error_no_memory(e);
    pcre2_set_newline(context, PCRE2_NEWLINE_LF);
    int code;
    PCRE2_SIZE at;
    *out = pcre2_compile((PCRE2_SPTR)pattern, len, options, &code, &at, context);
    pcre2_compile_context_free(context);
    if (!*out) {
        char text[128] = "";
        pcre2_get_error_message(code, (PCRE2_UCHAR *)text, sizeof text);
        return error_set(e, ERROR_BAD_FORMAT, "the expression \"%.*s\" does not compile at byte %zu: %s",
                         len < 200 ? (int)len : 200, pattern, at, text);
    }
    /* Where the machine forbids writable code pages the interpreter does the same, more slowly. */
    (void)pcre2_jit_compile(*out, PCRE2_JIT_COMPLETE);
    return 0;
}

int regex_create(const char *pattern, size_t len, enum regex_dialect dialect, struct regex **out,
                 struct error *e)
{
    if (!utf8_valid(pattern, len))
        return error_set(e, ERROR_BAD_FORMAT, "a regular expression is not UTF-8");
    struct buf text;
    buf_init(&text, 0);
    if (dialect != REGEX_PCRE)
        TRY(translate(pattern, len, dialect, &text, e));
    struct regex *r = calloc(1, sizeof *r);
    int status = r ? 0 : error_no_memory(e);
    if (r && text.data)
        status = compile(text.data, text.len, dialect, &r->code, e);
    else if (r)
        status = compile(pattern, len, dialect, &r->code, e);
    buf_free(&text);
    if (status < 0) {
        regex_free(r);
        return -1;
    }
    *out = r;
    return 0;
}

void regex_free(struct regex *r)
{
    if (!r)
        return;
    pcre2_code_free(r->code);
    free(r);
}

int regex_run_begin(struct regex_run *run, const struct regex *r, size_t len, struct error *e)
{
    *run = (struct regex_run){.regex = r, .behind = SIZE_MAX};
    run->budget_ns = least_budget_ns + (int64_t)len * NS_A_BYTE;
    run->match = pcre2_match_data_create(1, NULL);
    run->context = pcre2_match_context_create(NULL);
    if (!run->match || !run->context) {
        regex_run_end(run);
        return error_no_memory(e);
    }
    pcre2_set_match_limit(run->context, MATCH_STEPS);
    return 0;
}

void regex_run_end(struct regex_run *run)
{
    pcre2_match_data_free(run->match);
    pcre2_match_context_free(run->context);
    *run = (struct regex_run){0};
}

static int64_t cpu_time_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static int error_too_hard(const char *why, struct error *e)
{
    return error_set(e, ERROR_INVALID_REQUEST, "the text is too hard for the tokenizer's expressions (%s)",
                     why);
}

/* > 0: a match that begins at or before `limit`, 0: none. */
static int match_until(const struct regex_run *run, const char *text, size_t len, size_t at, size_t limit,
                       struct error *e)
{
    const uint32_t options = PCRE2_NO_UTF_CHECK;
    pcre2_set_offset_limit(run->context, limit);
    int found = pcre2_match(run->regex->code, (PCRE2_SPTR)text, len, at, options, run->match, run->context);
    if (found == PCRE2_ERROR_JIT_STACKLIMIT) /* long runs can be too much for the just-in-time code's stack */
        found = pcre2_match(run->regex->code, (PCRE2_SPTR)text, len, at, options | PCRE2_NO_JIT, run->match,
                            run->context);
    if (found == PCRE2_ERROR_NOMATCH)
        return 0;
    if (found == PCRE2_ERROR_NOMEMORY)
        return error_no_memory(e);
    if (found < 0) {
        char why[128] = "";
        pcre2_get_error_message(found, (PCRE2_UCHAR *)why, sizeof why);
        return error_too_hard(why, e);
    }
    return 1;
}

/* The next code point's start behind `at`. */
static size_t step_over(const char *text, size_t len, size_t at)
{
    at++;
    while (at < len && ((unsigned char)text[at] & 0xC0) == 0x80)
        at++;
    return at;
}

/* Leftmost match at or behind `at`, in growing windows with a look at the clock between them. */
static int search(struct regex_run *run, const char *text, size_t len, size_t at, struct error *e)
{
    for (size_t window = FIRST_WINDOW;; window = window < MAX_WINDOW ? window * 2 : window) {
        size_t limit = len - at > window ? at + window : len;
        int found = match_until(run, text, len, at, limit, e);
        if (found != 0 || limit == len)
            return found;
        int64_t now = cpu_time_ns();
        if (run->deadline_ns == 0)
            run->deadline_ns = now + run->budget_ns;
        if (now > run->deadline_ns)
            return error_too_hard("time limit exceeded", e);
        at = step_over(text, len, limit);
        if (at > len)
            return 0;
    }
}

int regex_next(struct regex_run *run, const char *text, size_t len, size_t at, size_t *start, size_t *end,
               struct error *e)
{
    while (at <= len) {
        int found = search(run, text, len, at, e);
        if (found <= 0)
            return found;
        const PCRE2_SIZE *span = pcre2_get_ovector_pointer(run->match);
        *start = span[0];
        *end = span[1] > span[0] ? span[1] : span[0]; /* \K in an assertion can turn them round */
        if (*end > *start || *end != run->behind) {
            run->behind = *end;
            return 1;
        }
        at = step_over(text, len, at);
    }
    return 0;
}
