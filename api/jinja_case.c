/* jinja_case.c - see jinja_case.h.  Provenance is kept code point by code point.
 * Thread: that of the run. */
#include "api/jinja_case.h"

#include <string.h>
#include <utf8proc.h>

bool jinja_is_letter(int32_t c)
{
    utf8proc_category_t g = utf8proc_category(c);
    return g == UTF8PROC_CATEGORY_LU || g == UTF8PROC_CATEGORY_LL || g == UTF8PROC_CATEGORY_LT ||
           g == UTF8PROC_CATEGORY_LM || g == UTF8PROC_CATEGORY_LO;
}

/* Letters whose other case is more than one letter (the common ones of Unicode's SpecialCasing). */
static const struct {
    int32_t c;
    const char *upper, *title;
} long_cases[] = {{0xdf, "SS", "Ss"},   {0x149, "ʼN", "ʼN"},  {0x1f0, "J̌", "J̌"},      {0xfb00, "FF", "Ff"},
                  {0xfb01, "FI", "Fi"}, {0xfb02, "FL", "Fl"}, {0xfb03, "FFI", "Ffi"}, {0xfb04, "FFL", "Ffl"},
                  {0xfb05, "ST", "St"}, {0xfb06, "ST", "St"}, {0x587, "ԵՒ", "Եւ"}};

enum { TO_UPPER, TO_LOWER, TO_TITLE };

static void add_cased(struct builder *b, int32_t c, int to, bool user)
{
    if (to == TO_LOWER) {
        if (c == 0x130)
            jinja_add(b, "i̇", strlen("i̇"), user);
        else
            jinja_add_char(b, utf8proc_tolower(c), user);
        return;
    }
    for (size_t i = 0; c >= 0x80 && i < sizeof long_cases / sizeof *long_cases; i++)
        if (long_cases[i].c == c) {
            const char *s = to == TO_UPPER ? long_cases[i].upper : long_cases[i].title;
            jinja_add(b, s, strlen(s), user);
            return;
        }
    jinja_add_char(b, to == TO_UPPER ? utf8proc_toupper(c) : utf8proc_totitle(c), user);
}

/* A capital sigma at the end of a word becomes ς. */
static bool final_sigma(const struct text *t, size_t at, size_t n, int32_t c)
{
    size_t len;
    if (c != 0x3a3 || at == 0 || !jinja_is_letter(jinja_decode_last(t->s, at, &len)))
        return false;
    return at + n == t->len || !jinja_is_letter(jinja_decode(t->s + at + n, &len));
}

static bool cased(int32_t c)
{
    return utf8proc_tolower(c) != c || utf8proc_toupper(c) != c;
}

int jinja_change_case(struct run *run, const struct text *t, enum letter_case to, bool filter,
                      struct value *out)
{
    struct builder b;
    size_t cursor = 0;
    bool word = false; /* inside one */
    jinja_build(&b, run);
    TRY(jinja_spend_bytes(run, t->len * 4));
    for (size_t at = 0, n = 0; at < t->len && !b.failed; at += n) {
        int32_t c = jinja_decode(t->s + at, &n);
        bool user = jinja_user_at(t, at, &cursor), lower = utf8proc_tolower(c) == c;
        int how = to == CASE_UPPER ? TO_UPPER : TO_LOWER;
        if (to == CASE_CAPITALIZE && at == 0)
            how = TO_TITLE;
        if (to == CASE_SWAP && lower)
            how = TO_UPPER;
        if (to == CASE_TITLE && !word)
            how = TO_TITLE;
        if (to == CASE_TITLE)
            word = filter ? !(jinja_is_space(c) || (c < 0x80 && strchr("-({[<", c))) : cased(c);
        if (how == TO_LOWER && final_sigma(t, at, n, c))
            jinja_add_char(&b, 0x3c2, user);
        else
            add_cased(&b, c, how, user);
    }
    TRY(jinja_built_value(&b, out));
    out->text->markup = t->markup;
    return 0;
}

int jinja_replace(struct run *run, const struct text *t, const struct text *old, const struct text *with,
                  int64_t count, struct value *out)
{
    struct builder b;
    size_t at = 0;
    jinja_build(&b, run);
    TRY(jinja_spend_bytes(run, t->len));
    while (count != 0 && !b.failed) {
        size_t hit = jinja_text_find(t, at, t->len, old->s, old->len);
        if (hit == SIZE_MAX)
            break;
        size_t next = hit + old->len;
        if (!old->len && hit < t->len) { /* an empty needle stands before each code point and at the end */
            jinja_decode(t->s + hit, &next);
            next += hit;
        }
        TRY(jinja_spend(run, 1));
        jinja_add_slice(&b, t, at, hit);
        jinja_add_text(&b, with);
        if (!old->len)
            jinja_add_slice(&b, t, hit, next);
        count--;
        at = next;
        if (!old->len && hit == t->len)
            break;
    }
    jinja_add_slice(&b, t, at, t->len);
    return jinja_built_value(&b, out);
}

static int fill_chars(struct builder *b, int64_t n, int32_t fill)
{
    for (; n > 0 && !b->failed; n--) {
        jinja_add_char(b, fill, false);
        if (n % 64 == 0)
            TRY(jinja_spend(b->run, 1));
    }
    return 0;
}

/* side: -1 text at the left, 0 in the middle, 1 at the right */
int jinja_pad(struct run *run, struct text *t, int64_t width, int32_t fill, int side, struct value *out)
{
    int64_t missing = width - (int64_t)jinja_text_chars(t);
    if (missing <= 0) {
        *out = jinja_of_text(t);
        return 0;
    }
    if ((uint64_t)missing > run->max_output)
        return jinja_fail(run, "a width of %lld is too large", (long long)width);
    int64_t left = side < 0 ? 0 : side > 0 ? missing : missing / 2 + (missing & width & 1);
    struct builder b;
    jinja_build(&b, run);
    TRY(fill_chars(&b, left, fill));
    jinja_add_text(&b, t);
    TRY(fill_chars(&b, missing - left, fill));
    return jinja_built_value(&b, out);
}

int jinja_join(struct run *run, const struct text *separator, const struct list *l, bool strict,
               struct value *out)
{
    struct builder b;
    jinja_build(&b, run);
    for (size_t i = 0; i < l->n; i++) {
        TRY(jinja_spend(run, 1));
        if (strict && l->items[i].type != VALUE_TEXT)
            return jinja_fail(run, "sequence item %zu: expected str instance, %s found", i,
                              jinja_type_name(&l->items[i]));
        if (i)
            jinja_add_text(&b, separator);
        TRY(jinja_print(&b, &l->items[i]));
    }
    return jinja_built_value(&b, out);
}

static bool ends_line(int32_t c)
{
    return (c >= 10 && c <= 13) || (c >= 0x1c && c <= 0x1e) || c == 0x85 || c == 0x2028 || c == 0x2029;
}

int jinja_lines(struct run *run, const struct text *t, bool keep_ends, struct value *out)
{
    size_t cap = 0, start = 0;
    TRY(jinja_new_list(run, LIST_LIST, 0, out));
    TRY(jinja_spend_bytes(run, t->len));
    for (size_t at = 0, n = 0; at < t->len; at += n) {
        int32_t c = jinja_decode(t->s + at, &n);
        bool end = ends_line(c);
        if (c == '\r' && at + 1 < t->len && t->s[at + 1] == '\n')
            n = 2;
        if (!end && at + n < t->len)
            continue;
        struct text *line = jinja_text_slice(run, t, start, end && !keep_ends ? at : at + n);
        if (!line)
            return -1;
        TRY(jinja_list_add(run, out->list, &cap, jinja_of_text(line)));
        start = at + n;
    }
    return 0;
}
