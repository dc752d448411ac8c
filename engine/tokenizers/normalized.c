/* normalized.c - see normalized.h. */
#include "engine/tokenizers/normalized.h"

#include <stdlib.h>
#include <string.h>

#include "engine/base/utf8.h"

enum {
    MAX_GROWTH = 32,      /* Unicode's own worst: 11 times (U+FDFA), times 2 as GPT-2 writes bytes */
    SMALL_TEXT = 1 << 16, /* what any text may become */
    FIRST_CAPACITY = 64
};

void normalized_view(struct normalized *n, const char *text, size_t len, size_t base)
{
    memset(n, 0, sizeof *n);
    n->text = (char *)(uintptr_t)text;
    n->len = len;
    n->base = base;
    n->max = len * MAX_GROWTH + SMALL_TEXT;
}

void normalized_init(struct normalized *n, const struct normalized *from)
{
    memset(n, 0, sizeof *n);
    n->base = from->base;
    n->owned = true;
    n->max = from->max;
}

void normalized_free(struct normalized *n)
{
    if (n->owned) {
        free(n->text);
        free(n->spans);
    }
    memset(n, 0, sizeof *n);
}

void normalized_move(struct normalized *n, struct normalized *from)
{
    normalized_free(n);
    *n = *from;
    memset(from, 0, sizeof *from);
}

int normalized_check(const struct normalized *n, struct error *e)
{
    if (n->no_memory)
        return error_no_memory(e);
    if (n->too_long)
        return error_set(e, ERROR_INVALID_REQUEST,
                         "the tokenizer's normaliser makes more than %zu bytes of the text", n->max);
    return 0;
}

/* Room for `len` more bytes. */
static bool reserve(struct normalized *n, size_t len)
{
    if (len > n->max || n->len > n->max - len)
        n->too_long = true;
    if (n->too_long || n->no_memory)
        return false;
    size_t needed = n->len + len, cap = n->cap ? n->cap : FIRST_CAPACITY;
    if (needed <= n->cap)
        return true;
    while (cap < needed)
        cap *= 2;
    char *text = realloc(n->text, cap);
    if (text)
        n->text = text;
    struct span32 *spans = realloc(n->spans, cap * sizeof *spans);
    if (spans)
        n->spans = spans;
    n->no_memory = !text || !spans;
    if (!n->no_memory)
        n->cap = cap;
    return !n->no_memory;
}

void normalized_add(struct normalized *n, const char *bytes, size_t len, struct span32 span)
{
    if (len == 0 || !reserve(n, len))
        return;
    memcpy(n->text + n->len, bytes, len);
    for (size_t i = 0; i < len; i++)
        n->spans[n->len + i] = span;
    n->len += len;
}

void normalized_copy(struct normalized *n, const struct normalized *from, size_t start, size_t end)
{
    if (start >= end || !reserve(n, end - start))
        return;
    memcpy(n->text + n->len, from->text + start, end - start);
    if (from->spans)
        memcpy(n->spans + n->len, from->spans + start, (end - start) * sizeof *n->spans);
    for (size_t at = start; !from->spans && at < end;) {
        size_t size;
        normalized_code_point(from, at, &size);
        struct span32 span = {(uint32_t)(from->base + at), (uint32_t)(from->base + at + size)};
        for (size_t i = 0; i < size && at < end; i++, at++)
            n->spans[n->len + at - start] = span;
    }
    n->len += end - start;
}

static bool continues(char byte)
{
    return ((unsigned char)byte & 0xC0) == 0x80;
}

struct span32 normalized_span(const struct normalized *n, size_t at)
{
    if (n->spans)
        return n->spans[at];
    size_t start = at, end = at + 1;
    while (start > 0 && continues(n->text[start]))
        start--;
    while (end < n->len && continues(n->text[end]))
        end++;
    return (struct span32){(uint32_t)(n->base + start), (uint32_t)(n->base + end)};
}

uint32_t normalized_code_point(const struct normalized *n, size_t at, size_t *size)
{
    uint32_t code_point = (unsigned char)n->text[at];
    *size = 1;
    if (code_point >= 0x80) {
        int bytes = utf8_decode(n->text + at, n->len - at, &code_point);
        *size = bytes > 0 ? (size_t)bytes : 1;
    }
    return code_point;
}

/* Goes on behind `count` old characters. */
static void skip(struct rewrite *r, size_t count)
{
    for (; count > 0 && r->at < r->end; count--) {
        size_t size;
        normalized_code_point(r->from, r->at, &size);
        r->at += size;
    }
}

void rewrite_begin(struct rewrite *r, const struct normalized *from, size_t begin, size_t end, size_t removed,
                   struct normalized *to)
{
    *r = (struct rewrite){from, to, begin, begin, end};
    skip(r, removed);
}

void rewrite_put(struct rewrite *r, uint32_t code_point, int change)
{
    char bytes[4];
    uint32_t begin = (uint32_t)r->from->base;
    struct span32 span = {begin, begin};
    if (r->begin < r->end && change > 0 && r->at == r->begin) {
        span.start = normalized_span(r->from, r->begin).start;
        span.end = span.start;
    } else if (r->begin < r->end) {
        size_t at = change > 0 ? r->at - 1 : r->at;
        span = normalized_span(r->from, at < r->end ? at : r->end - 1);
    }
    normalized_add(r->to, bytes, utf8_encode(code_point, bytes), span);
    if (change <= 0)
        skip(r, 1 + (size_t)-change);
}
