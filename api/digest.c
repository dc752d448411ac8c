/* digest.c - see digest.h. */
#include "api/digest.h"

#include <string.h>

#include "engine/base/limits.h"

void digest_init(struct digest *d, bool bullets, size_t max_words)
{
    memset(d, 0, sizeof *d);
    d->bullets = bullets;
    d->max_words = max_words;
    buf_init(&d->pending, LIMIT_REQUEST_ARENA);
    buf_init(&d->out, LIMIT_REQUEST_ARENA);
}

void digest_free(struct digest *d)
{
    buf_free(&d->pending);
    buf_free(&d->out);
}

bool digest_failed(const struct digest *d)
{
    return d->pending.failed || d->out.failed;
}

/* Models mark items in many ways; "- ", "* ", "• ", and in lists also "3. " and "3) ". */
static void drop_marker(const struct digest *d, const char **text, size_t *len)
{
    size_t i = 0, width, digits = 0;
    while (d->bullets && i < *len && (*text)[i] >= '0' && (*text)[i] <= '9' && digits < 4) {
        i++;
        digits++;
    }
    if (i >= *len)
        return;
    uint32_t c = char_at(*text, *len, i, &width);
    bool mark = digits ? c == '.' || c == ')' : c == '-' || c == '*' || c == 0x2022 || c == 0x2013;
    i += width;
    if (!mark || (i < *len && (*text)[i] != ' '))
        return;
    while (i < *len && (*text)[i] == ' ')
        i++;
    *text += i;
    *len -= i;
}

/* Small models fall into loops. */
static bool is_repeated(const struct digest *d, const char *text, size_t len)
{
    struct sentence s;
    size_t chars = 0;
    for (size_t i = 0;
         d->out.len && (i = sentence_next(d->out.data, d->out.len, i, true, &chars, &s)) != 0;) {
        const char *bytes = d->out.data + s.start;
        size_t n = s.end - s.start;
        if (d->bullets)
            drop_marker(d, &bytes, &n);
        if (n == len && memcmp(bytes, text, len) == 0)
            return true;
    }
    return false;
}

static void put(struct digest *d, const char *text, size_t len, bool spaced)
{
    if (d->bullets)
        buf_add_text(&d->out, d->sentences ? "\n- " : "- ");
    else if (d->sentences && spaced)
        buf_add_text(&d->out, " ");
    buf_add(&d->out, text, len);
    d->sentences++;
}

static void add_sentence(struct digest *d, const char *text, size_t len, bool spaced)
{
    drop_marker(d, &text, &len);
    size_t words = words_count(text, len);
    if (words == 0 || d->full || is_repeated(d, text, len))
        return;
    if (d->max_words && d->words + words > d->max_words) {
        d->cut = d->full = true;
        if (d->sentences == 0) /* the first is too long by itself: as many of its words as may be */
            put(d, text, words_cut(text, len, d->max_words), spaced);
        return;
    }
    d->words += words;
    put(d, text, len, spaced);
}

/* Its end is certain only with a word behind it: "3." may become "3.2", a quote may yet close. */
static bool is_certain(const struct digest *d, size_t next)
{
    struct sentence s;
    size_t chars = 0;
    return sentence_next(d->pending.data, d->pending.len, next, true, &chars, &s) != 0;
}

static void take_sentences(struct digest *d, bool all)
{
    struct sentence s;
    size_t chars = 0, done = 0, next;
    while (d->pending.len > done &&
           (next = sentence_next(d->pending.data, d->pending.len, done, true, &chars, &s)) != 0) {
        if (!all && !is_certain(d, next))
            break;
        add_sentence(d, d->pending.data + s.start, s.end - s.start, s.start > done);
        done = next;
    }
    buf_drop_front(&d->pending, done);
}

void digest_take(struct digest *d, const char *text, size_t len)
{
    if (d->full)
        return;
    buf_add(&d->pending, text, len);
    if (!d->pending.failed)
        take_sentences(d, false);
}

/* Where the last sentence of what is pending begins, if it has no end of its own; else the end. */
static size_t unfinished_from(const struct digest *d)
{
    struct sentence s = {0};
    size_t chars = 0;
    for (size_t i = 0; (i = sentence_next(d->pending.data, d->pending.len, i, true, &chars, &s)) != 0;)
        continue;
    return sentence_is_ended(d->pending.data, d->pending.len, s.end) ? d->pending.len : s.start;
}

void digest_end(struct digest *d, bool unfinished)
{
    if (d->pending.failed || d->pending.len == 0)
        return;
    size_t from = unfinished ? unfinished_from(d) : d->pending.len;
    if (d->sentences || from > 0) {
        d->pending.len = from;
        d->pending.data[from] = 0;
    }
    take_sentences(d, true);
    buf_clear(&d->pending);
}
