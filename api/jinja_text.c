/* jinja_text.c - text that knows which of its pieces came from users, and the builder that makes it.
 * All text is valid UTF-8; positions are bytes unless a name says chars.  Used by api/jinja*.c alone;
 * thread: that of the run. */
#include <stdint.h>
#include <string.h>
#include <utf8proc.h>

#include "api/jinja_value.h"

/* Room behind a concatenation's result.  The next concatenation of exactly that result writes there
 * instead of copying, so that s = s ~ x in a loop stays linear. */
struct text_store {
    size_t used, cap;
};

/* ---- code points -------------------------------------------------------------------------------- */

int32_t jinja_decode(const char *s, size_t *len)
{
    const unsigned char *u = (const unsigned char *)s;
    if (u[0] < 0x80) {
        *len = 1;
        return u[0];
    }
    if (u[0] < 0xe0) {
        *len = 2;
        return (u[0] & 0x1f) << 6 | (u[1] & 0x3f);
    }
    if (u[0] < 0xf0) {
        *len = 3;
        return (u[0] & 0x0f) << 12 | (u[1] & 0x3f) << 6 | (u[2] & 0x3f);
    }
    *len = 4;
    return (u[0] & 0x07) << 18 | (u[1] & 0x3f) << 12 | (u[2] & 0x3f) << 6 | (u[3] & 0x3f);
}

int32_t jinja_decode_last(const char *s, size_t end, size_t *len)
{
    size_t at = end - 1;
    while (at > 0 && ((unsigned char)s[at] & 0xc0) == 0x80)
        at--;
    return jinja_decode(s + at, len);
}

/* str.isspace() of Python. */
bool jinja_is_space(int32_t c)
{
    return (c >= 9 && c <= 13) || (c >= 28 && c <= 32) || c == 0x85 || c == 0xa0 || c == 0x1680 ||
           (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 || c == 0x202f || c == 0x205f ||
           c == 0x3000;
}

size_t jinja_text_chars(struct text *t)
{
    if (t->chars == UNKNOWN_CHARS) {
        size_t n = 0;
        for (size_t i = 0; i < t->len; i++)
            n += ((unsigned char)t->s[i] & 0xc0) != 0x80;
        t->chars = n;
    }
    return t->chars;
}

size_t jinja_text_offset(struct text *t, size_t chars)
{
    if (jinja_text_chars(t) == t->len)
        return chars < t->len ? chars : t->len;
    size_t at = 0;
    for (; chars && at < t->len; chars--) {
        size_t n;
        jinja_decode(t->s + at, &n);
        at += n;
    }
    return at;
}

/* ---- builder -------------------------------------------------------------------------------------- */

void jinja_build(struct builder *b, struct run *run)
{
    memset(b, 0, sizeof *b);
    b->run = run;
    b->max = SIZE_MAX;
}

static bool add_user_span(struct builder *b, size_t start, size_t end)
{
    if (b->n_spans && b->spans[b->n_spans - 1].end == start) {
        b->spans[b->n_spans - 1].end = end;
        return true;
    }
    if (b->n_spans == b->cap_spans) {
        size_t cap = b->cap_spans ? b->cap_spans * 2 : 4;
        struct jinja_span *spans = jinja_alloc(b->run, cap, sizeof *spans);
        if (!spans)
            return false;
        if (b->n_spans)
            memcpy(spans, b->spans, b->n_spans * sizeof *spans);
        b->spans = spans;
        b->cap_spans = cap;
    }
    b->spans[b->n_spans++] = (struct jinja_span){start, end};
    return true;
}

static bool make_room(struct builder *b, size_t len)
{
    if (len > b->max - b->len) {
        jinja_fail(b->run, "the output is larger than %zu bytes", b->max);
        return false;
    }
    if (len <= b->cap - b->len)
        return true;
    size_t need, cap = b->cap ? b->cap : 32;
    if (__builtin_add_overflow(b->len, len, &need))
        need = SIZE_MAX;
    while (cap < need)
        cap = cap > SIZE_MAX / 2 ? need : cap * 2;
    char *data = jinja_alloc(b->run, cap, 1);
    if (!data)
        return false;
    if (b->len)
        memcpy(data, b->data, b->len);
    b->data = data;
    b->cap = cap;
    return true;
}

void jinja_add(struct builder *b, const char *bytes, size_t len, bool user)
{
    if (b->failed || !len)
        return;
    if (!make_room(b, len) || (user && !add_user_span(b, b->len, b->len + len))) {
        b->failed = true;
        return;
    }
    memcpy(b->data + b->len, bytes, len);
    b->len += len;
}

void jinja_add_literal(struct builder *b, const char *text)
{
    jinja_add(b, text, strlen(text), false);
}

void jinja_add_char(struct builder *b, int32_t c, bool user)
{
    utf8proc_uint8_t bytes[4];
    utf8proc_ssize_t n = utf8proc_encode_char(c, bytes);
    jinja_add(b, (const char *)bytes, (size_t)n, user);
}

/* Index of the first span that ends behind `at`. */
static size_t first_span(const struct text *t, size_t at)
{
    size_t low = 0, high = t->n_user;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (t->user[middle].end <= at)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

void jinja_add_slice(struct builder *b, const struct text *t, size_t from, size_t to)
{
    size_t start = b->len;
    jinja_add(b, t->s + from, to - from, false);
    for (size_t i = first_span(t, from); !b->failed && i < t->n_user && t->user[i].start < to; i++) {
        size_t s = t->user[i].start > from ? t->user[i].start : from;
        size_t e = t->user[i].end < to ? t->user[i].end : to;
        b->failed = !add_user_span(b, start + s - from, start + e - from);
    }
}

void jinja_add_text(struct builder *b, const struct text *t)
{
    jinja_add_slice(b, t, 0, t->len);
}

struct text *jinja_built(struct builder *b)
{
    struct text *t = b->failed ? NULL : jinja_alloc(b->run, 1, sizeof *t);
    if (!t || jinja_spend_bytes(b->run, b->len) < 0)
        return NULL;
    t->s = b->data ? b->data : "";
    t->len = b->len;
    t->chars = UNKNOWN_CHARS;
    t->user = b->spans;
    t->n_user = b->n_spans;
    return t;
}

int jinja_built_value(struct builder *b, struct value *out)
{
    struct text *t = jinja_built(b);
    if (!t)
        return -1;
    *out = jinja_of_text(t);
    return 0;
}

/* ---- text ------------------------------------------------------------------------------------------ */

struct text *jinja_text(struct run *run, const char *s, size_t len, bool user)
{
    struct text *t = jinja_alloc(run, 1, sizeof *t);
    if (!t)
        return NULL;
    t->s = s;
    t->len = len;
    t->chars = UNKNOWN_CHARS;
    if (!user || !len)
        return t;
    struct jinja_span *span = jinja_alloc(run, 1, sizeof *span);
    if (!span)
        return NULL;
    *span = (struct jinja_span){0, len};
    t->user = span;
    t->n_user = 1;
    return t;
}

struct text *jinja_text_slice(struct run *run, const struct text *t, size_t from, size_t to)
{
    struct text *out = jinja_text(run, t->s + from, to - from, false);
    size_t first = first_span(t, from), last = first;
    if (out)
        out->markup = t->markup;
    while (last < t->n_user && t->user[last].start < to)
        last++;
    if (!out || first == last)
        return out;
    struct jinja_span *spans = jinja_alloc(run, last - first, sizeof *spans);
    if (!spans)
        return NULL;
    for (size_t i = first; i < last; i++) {
        spans[i - first].start = t->user[i].start > from ? t->user[i].start - from : 0;
        spans[i - first].end = (t->user[i].end < to ? t->user[i].end : to) - from;
    }
    out->user = spans;
    out->n_user = last - first;
    return out;
}

static bool append_in_place(struct text *out, const struct text *a, const struct text *b)
{
    struct text_store *store = a->store;
    if (!store || store->used != a->len || b->len > store->cap - store->used)
        return false;
    memcpy((char *)(store + 1) + a->len, b->s, b->len);
    store->used += b->len;
    out->s = a->s;
    out->store = store;
    return true;
}

static bool copy_both(struct run *run, struct text *out, const struct text *a, const struct text *b)
{
    size_t cap = out->len > SIZE_MAX / 4 ? out->len : out->len + out->len / 2 + 32;
    struct text_store *store =
        jinja_alloc(run, 1, cap > SIZE_MAX - sizeof *store ? SIZE_MAX : sizeof *store + cap);
    if (!store)
        return false;
    store->used = out->len;
    store->cap = cap;
    char *data = (char *)(store + 1);
    memcpy(data, a->s, a->len);
    memcpy(data + a->len, b->s, b->len);
    out->s = data;
    out->store = store;
    return jinja_spend_bytes(run, a->len) == 0;
}

static bool join_spans(struct run *run, struct text *out, const struct text *a, const struct text *b)
{
    size_t n = a->n_user + b->n_user;
    if (!n)
        return true;
    struct jinja_span *spans = jinja_alloc(run, n, sizeof *spans);
    if (!spans)
        return false;
    size_t count = a->n_user;
    if (count)
        memcpy(spans, a->user, count * sizeof *spans);
    for (size_t i = 0; i < b->n_user; i++) {
        struct jinja_span s = {b->user[i].start + a->len, b->user[i].end + a->len};
        if (count && spans[count - 1].end == s.start)
            spans[count - 1].end = s.end;
        else
            spans[count++] = s;
    }
    out->user = spans;
    out->n_user = count;
    return true;
}

struct text *jinja_text_join(struct run *run, const struct text *a, const struct text *b)
{
    struct text *out = jinja_text(run, "", 0, false);
    if (!out || __builtin_add_overflow(a->len, b->len, &out->len))
        return NULL;
    if (!append_in_place(out, a, b) && !copy_both(run, out, a, b))
        return NULL;
    return join_spans(run, out, a, b) && jinja_spend_bytes(run, b->len) == 0 ? out : NULL;
}

struct text *jinja_text_escape(struct run *run, struct text *t)
{
    static const struct {
        char c;
        const char *as;
    } marks[] = {{'&', "&amp;"}, {'<', "&lt;"}, {'>', "&gt;"}, {'\'', "&#39;"}, {'"', "&#34;"}};
    struct builder b;
    size_t cursor = 0, plain = 0;
    if (t->markup)
        return t;
    jinja_build(&b, run);
    for (size_t at = 0; at < t->len; at++)
        for (size_t i = 0; i < sizeof marks / sizeof *marks; i++)
            if (t->s[at] == marks[i].c) {
                jinja_add_slice(&b, t, plain, at);
                jinja_add(&b, marks[i].as, strlen(marks[i].as), jinja_user_at(t, at, &cursor));
                plain = at + 1;
            }
    jinja_add_slice(&b, t, plain, t->len);
    struct text *out = jinja_built(&b);
    if (out)
        out->markup = true;
    return out;
}

bool jinja_user_at(const struct text *t, size_t byte, size_t *cursor)
{
    while (*cursor < t->n_user && t->user[*cursor].end <= byte)
        ++*cursor;
    return *cursor < t->n_user && t->user[*cursor].start <= byte;
}

bool jinja_text_is(const struct text *t, const char *s)
{
    return t->len == strlen(s) && memcmp(t->s, s, t->len) == 0;
}

bool jinja_text_same(const struct text *a, const struct text *b)
{
    return a->len == b->len && memcmp(a->s, b->s, a->len) == 0;
}

/* Bytes of UTF-8 sort as code points do. */
int jinja_text_order(const struct text *a, const struct text *b)
{
    size_t n = a->len < b->len ? a->len : b->len;
    int order = memcmp(a->s, b->s, n);
    if (order)
        return order < 0 ? -1 : 1;
    return a->len < b->len ? -1 : a->len > b->len;
}

size_t jinja_text_find(const struct text *t, size_t from, size_t to, const char *s, size_t len)
{
    if (from > to || len > to - from)
        return SIZE_MAX;
    const char *at = len ? memmem(t->s + from, to - from, s, len) : t->s + from;
    return at ? (size_t)(at - t->s) : SIZE_MAX;
}

/* memrmem does not exist; the first byte is searched from behind, and candidates are compared. */
int jinja_text_find_last(struct run *run, const struct text *t, size_t from, size_t to,
                         const struct text *what, size_t *hit)
{
    size_t len = what->len;
    *hit = len || from > to ? SIZE_MAX : to;
    if (!len || from > to || len > to - from)
        return 0;
    for (size_t end = to - len + 1; end > from && *hit == SIZE_MAX;) {
        const char *at = memrchr(t->s + from, what->s[0], end - from);
        if (!at)
            break;
        end = (size_t)(at - t->s);
        if (memcmp(at, what->s, len) == 0)
            *hit = end;
        TRY(jinja_spend_bytes(run, len));
    }
    return 0;
}

static bool strips(int32_t c, const struct text *chars)
{
    if (!chars)
        return jinja_is_space(c);
    for (size_t i = 0, n; i < chars->len; i += n)
        if (jinja_decode(chars->s + i, &n) == c)
            return true;
    return false;
}

struct text *jinja_text_strip(struct run *run, const struct text *t, const struct text *chars, bool left,
                              bool right)
{
    size_t from = 0, to = t->len, n, work = chars ? chars->len : 0;
    for (; left && from < to && strips(jinja_decode(t->s + from, &n), chars); from += n)
        if (jinja_spend_bytes(run, work) < 0)
            return NULL;
    for (; right && to > from && strips(jinja_decode_last(t->s, to, &n), chars); to -= n)
        if (jinja_spend_bytes(run, work) < 0)
            return NULL;
    return jinja_spend_bytes(run, from + t->len - to) < 0 ? NULL : jinja_text_slice(run, t, from, to);
}
