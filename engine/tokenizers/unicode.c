/* unicode.c - see unicode.h.  The normal forms go character by character, as the tokenizers library does it,
 * because it is the only way to keep the place of each; a run of combining marks is sorted in O(n log n). */
#include "engine/tokenizers/unicode.h"

#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

enum {
    MAX_DECOMPOSED = 32, /* Unicode's longest has 18 */
    DOTTED_CAPITAL_I = 0x130,
    COMBINING_DOT = 0x307,
    FIRST_COMPOSING = 0x300, /* no smaller code point joins the one before it */
    FIRST_COMPATIBLE = 0xA0, /* no smaller one decomposes, even by compatibility */
    FIRST_CANONICAL = 0xC0,  /* no smaller one decomposes canonically */
    ZERO_WIDTH_NON_JOINER = 0x200C,
    ZERO_WIDTH_JOINER = 0x200D
};

bool unicode_is_space(uint32_t c)
{
    if (c < 0x80)
        return c == ' ' || (c >= 0x09 && c <= 0x0D);
    return c == 0x85 || c == 0xA0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200A) || c == 0x2028 ||
           c == 0x2029 || c == 0x202F || c == 0x205F || c == 0x3000;
}

static utf8proc_category_t category(uint32_t c)
{
    return utf8proc_category((utf8proc_int32_t)c);
}

static bool is_ascii_letter(uint32_t c)
{
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
}

static bool is_ascii_digit(uint32_t c)
{
    return c >= '0' && c <= '9';
}

bool unicode_is_punctuation(uint32_t c)
{
    if (c < 0x80)
        return c > ' ' && c < 0x7F && !is_ascii_letter(c) && !is_ascii_digit(c);
    utf8proc_category_t k = category(c);
    return k >= UTF8PROC_CATEGORY_PC && k <= UTF8PROC_CATEGORY_PO;
}

bool unicode_is_number(uint32_t c)
{
    if (c < 0x80)
        return is_ascii_digit(c);
    utf8proc_category_t k = category(c);
    return k >= UTF8PROC_CATEGORY_ND && k <= UTF8PROC_CATEGORY_NO;
}

bool unicode_is_other(uint32_t c)
{
    if (c < 0x80)
        return c < ' ' || c == 0x7F;
    utf8proc_category_t k = category(c);
    return k == UTF8PROC_CATEGORY_CC || k == UTF8PROC_CATEGORY_CF || k == UTF8PROC_CATEGORY_CO;
}

bool unicode_is_mark(uint32_t c)
{
    if (c < FIRST_COMPOSING)
        return false;
    utf8proc_category_t k = category(c);
    return k >= UTF8PROC_CATEGORY_MN && k <= UTF8PROC_CATEGORY_ME;
}

bool unicode_is_nonspacing_mark(uint32_t c)
{
    return c >= FIRST_COMPOSING && category(c) == UTF8PROC_CATEGORY_MN;
}

/* Letters and letter-like numbers; circled letters are Alphabetic though they are symbols. */
static bool is_alphabetic(uint32_t c)
{
    utf8proc_category_t k = category(c);
    return (k >= UTF8PROC_CATEGORY_LU && k <= UTF8PROC_CATEGORY_LO) || k == UTF8PROC_CATEGORY_NL ||
           (c >= 0x24B6 && c <= 0x24E9) || (c >= 0x1F130 && c <= 0x1F149) || (c >= 0x1F150 && c <= 0x1F169) ||
           (c >= 0x1F170 && c <= 0x1F189);
}

bool unicode_is_word(uint32_t c)
{
    if (c < 0x80)
        return is_ascii_letter(c) || is_ascii_digit(c) || c == '_';
    utf8proc_category_t k = category(c);
    return is_alphabetic(c) || unicode_is_mark(c) || k == UTF8PROC_CATEGORY_ND || k == UTF8PROC_CATEGORY_PC ||
           c == ZERO_WIDTH_NON_JOINER || c == ZERO_WIDTH_JOINER;
}

unsigned unicode_lower(uint32_t c, uint32_t out[2])
{
    if (c < 0x80) {
        out[0] = c >= 'A' && c <= 'Z' ? c + ('a' - 'A') : c;
        return 1;
    }
    if (c == DOTTED_CAPITAL_I) {
        out[0] = 'i';
        out[1] = COMBINING_DOT;
        return 2;
    }
    out[0] = (uint32_t)utf8proc_tolower((utf8proc_int32_t)c);
    return 1;
}

static unsigned combining_class(uint32_t c)
{
    return c < FIRST_COMPOSING ? 0 : (unsigned)utf8proc_get_property((utf8proc_int32_t)c)->combining_class;
}

/* A character on its way to its normal form, and how it came to be (see rewrite_put). */
struct part {
    uint32_t code_point;
    unsigned combining;
    int change;
};

/* A starter and the marks behind it. */
struct cluster {
    struct part *parts;
    size_t n, cap;
};

static int cluster_add(struct cluster *k, struct part part, struct error *e)
{
    if (k->n == k->cap) {
        size_t cap = k->cap ? k->cap * 2 : 32;
        struct part *parts = realloc(k->parts, cap * sizeof *parts);
        if (!parts)
            return error_no_memory(e);
        k->parts = parts;
        k->cap = cap;
    }
    k->parts[k->n++] = part;
    return 0;
}

/* Stable, as the standard's canonical ordering is: there are only 256 classes. */
static int sort_marks(struct part *parts, size_t n, struct error *e)
{
    size_t starts[257] = {0};
    bool sorted = true;
    for (size_t i = 0; i + 1 < n; i++)
        sorted = sorted && parts[i].combining <= parts[i + 1].combining;
    if (sorted)
        return 0;
    struct part *copy = malloc(n * sizeof *copy);
    if (!copy)
        return error_no_memory(e);
    memcpy(copy, parts, n * sizeof *copy);
    for (size_t i = 0; i < n; i++)
        starts[copy[i].combining + 1]++;
    for (size_t i = 1; i < 257; i++)
        starts[i] += starts[i - 1];
    for (size_t i = 0; i < n; i++)
        parts[starts[copy[i].combining]++] = copy[i];
    free(copy);
    return 0;
}

/* The one character that stands for two, or 0. */
static uint32_t composed(uint32_t left, uint32_t right)
{
    utf8proc_int32_t pair[3] = {(utf8proc_int32_t)left, (utf8proc_int32_t)right, 0};
    if (right < FIRST_COMPOSING)
        return 0;
    return utf8proc_normalize_utf32(pair, 2, UTF8PROC_COMPOSE | UTF8PROC_STABLE) == 1 ? (uint32_t)pair[0] : 0;
}

/* Joins a starter with the marks behind it that are not blocked; what is left stays in order. */
static void compose_cluster(struct cluster *k)
{
    size_t kept = 1;
    unsigned last = 0; /* class of the last mark that stayed */
    if (k->n == 0 || k->parts[0].combining != 0)
        return;
    for (size_t i = 1; i < k->n; i++) {
        struct part mark = k->parts[i];
        bool blocked = kept > 1 && last >= mark.combining;
        uint32_t whole = blocked ? 0 : composed(k->parts[0].code_point, mark.code_point);
        if (whole) {
            k->parts[0].code_point = whole;
            k->parts[0].change += mark.change - 1;
            continue;
        }
        last = mark.combining;
        k->parts[kept++] = mark;
    }
    k->n = kept;
}

static void cluster_write(struct cluster *k, struct rewrite *r)
{
    for (size_t i = 0; i < k->n; i++)
        rewrite_put(r, k->parts[i].code_point, k->parts[i].change);
    k->n = 0;
}

struct form_run {
    bool compose;
    struct rewrite rewrite;
    struct cluster held; /* marks may still come */
};

/* Everything held is complete, except - with compose - a lone starter that the next may join. */
static int settle(struct form_run *f, uint32_t next, struct error *e)
{
    struct cluster *k = &f->held;
    size_t first = k->n > 0 && k->parts[0].combining == 0 ? 1 : 0;
    if (k->n > first)
        TRY(sort_marks(k->parts + first, k->n - first, e));
    if (f->compose)
        compose_cluster(k);
    uint32_t whole = f->compose && k->n == 1 && next ? composed(k->parts[0].code_point, next) : 0;
    if (!whole)
        cluster_write(k, &f->rewrite);
    return 0;
}

static int put_part(struct form_run *f, struct part part, struct error *e)
{
    if (part.combining == 0) {
        TRY(settle(f, part.code_point, e));
        if (f->held.n == 1) { /* two starters that are one: Hangul, and vowel signs of India */
            struct part *left = &f->held.parts[0];
            left->code_point = composed(left->code_point, part.code_point);
            left->change += part.change - 1;
            return 0;
        }
    }
    return cluster_add(&f->held, part, e);
}

static int put_decomposed(struct form_run *f, uint32_t code_point, bool compatible, struct error *e)
{
    utf8proc_int32_t parts[MAX_DECOMPOSED];
    int boundary = 0;
    utf8proc_option_t options = compatible ? UTF8PROC_DECOMPOSE | UTF8PROC_COMPAT : UTF8PROC_DECOMPOSE;
    utf8proc_ssize_t n =
        utf8proc_decompose_char((utf8proc_int32_t)code_point, parts, MAX_DECOMPOSED, options, &boundary);
    if (n <= 0 || n > MAX_DECOMPOSED) {
        parts[0] = (utf8proc_int32_t)code_point;
        n = 1;
    }
    for (utf8proc_ssize_t i = 0; i < n; i++) {
        uint32_t part = (uint32_t)parts[i];
        TRY(put_part(f, (struct part){part, combining_class(part), i > 0}, e));
    }
    return 0;
}

static bool below(const struct normalized *in, uint32_t limit)
{
    for (size_t at = 0; at < in->len;) {
        size_t size;
        if (normalized_code_point(in, at, &size) >= limit)
            return false;
        at += size;
    }
    return true;
}

int unicode_normal_form(const struct normalized *in, bool compatible, bool compose, struct normalized *out,
                        struct error *e)
{
    uint32_t limit = compatible ? FIRST_COMPATIBLE : compose ? FIRST_COMPOSING : FIRST_CANONICAL;
    if (below(in, limit))
        return 1;
    struct form_run f = {.compose = compose};
    int status = 0;
    rewrite_begin(&f.rewrite, in, 0, in->len, 0, out);
    for (size_t at = 0; at < in->len && status == 0;) {
        size_t size;
        uint32_t code_point = normalized_code_point(in, at, &size);
        status = put_decomposed(&f, code_point, compatible, e);
        at += size;
    }
    if (status == 0)
        status = settle(&f, 0, e);
    free(f.held.parts);
    return status;
}
