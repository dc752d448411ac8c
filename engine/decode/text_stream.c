/* text_stream.c - see text_stream.h.
 * Each stop string is matched by the automaton of Knuth, Morris and Pratt (1977): its state is the number of
 * its bytes that the text ends with, which is exactly what must be held back.  Constant time per byte and
 * string. */
#include "engine/decode/text_stream.h"

#include <stdlib.h>
#include <string.h>

#include "engine/base/limits.h"
#include "engine/tokenizers/tokenizer.h"

struct stop_string {
    char *bytes;
    uint16_t *fall; /* fall[i]: longest proper border of the first i+1 bytes */
    size_t len;
};

struct stop_set {
    size_t n;
    struct stop_string strings[LIMIT_STOP_STRINGS];
};

struct text_stream {
    struct detokenizer detokenizer;
    const struct stop_set *stops;
    uint16_t state[LIMIT_STOP_STRINGS];
    struct buf text; /* [0, taken) was shown, [taken, safe) may be, the rest is held */
    size_t scanned, taken, safe;
    bool stopped;
};

static int compile(struct stop_string *s, const struct engine_text *text, struct error *e)
{
    if (text->len == 0 || text->len > LIMIT_STOP_BYTES)
        return error_param(e, ERROR_INVALID_REQUEST, "stop", "a stop string must have 1 to %d bytes",
                           LIMIT_STOP_BYTES);
    s->bytes = malloc(text->len);
    s->fall = calloc(text->len, sizeof *s->fall);
    if (!s->bytes || !s->fall)
        return error_no_memory(e);
    memcpy(s->bytes, text->bytes, text->len);
    s->len = text->len;
    for (size_t i = 1, k = 0; i < s->len; i++) {
        while (k > 0 && s->bytes[i] != s->bytes[k])
            k = s->fall[k - 1];
        k += s->bytes[i] == s->bytes[k];
        s->fall[i] = (uint16_t)k;
    }
    return 0;
}

int stop_set_create(const struct engine_text *strings, size_t n, struct stop_set **out, struct error *e)
{
    if (n > LIMIT_STOP_STRINGS)
        return error_param(e, ERROR_INVALID_REQUEST, "stop", "at most %d stop strings", LIMIT_STOP_STRINGS);
    struct stop_set *s = calloc(1, sizeof *s);
    if (!s)
        return error_no_memory(e);
    for (; s->n < n; s->n++) {
        if (compile(&s->strings[s->n], &strings[s->n], e) < 0) {
            s->n++;
            stop_set_free(s);
            return -1;
        }
    }
    *out = s;
    return 0;
}

void stop_set_free(struct stop_set *s)
{
    if (!s)
        return;
    for (size_t i = 0; i < s->n; i++) {
        free(s->strings[i].bytes);
        free(s->strings[i].fall);
    }
    free(s);
}

const char *stop_set_string(const struct stop_set *s, int index, size_t *len)
{
    *len = s->strings[index].len;
    return s->strings[index].bytes;
}

int text_stream_create(const struct tokenizer *t, bool show_control, const struct stop_set *stops,
                       struct text_stream **out, struct error *e)
{
    struct text_stream *s = calloc(1, sizeof *s);
    if (!s)
        return error_no_memory(e);
    detokenizer_init(&s->detokenizer, t, show_control);
    s->stops = stops;
    buf_init(&s->text, SIZE_MAX / 4);
    *out = s;
    return 0;
}

void text_stream_show(struct text_stream *s, const int32_t *tokens, size_t n)
{
    s->detokenizer.shown = tokens;
    s->detokenizer.n_shown = n;
}

void text_stream_free(struct text_stream *s)
{
    if (!s)
        return;
    buf_free(&s->text);
    free(s);
}

/* Feeds one byte to one string's automaton; true when the string is complete. */
static bool advance(const struct stop_string *stop, uint16_t *state, char byte)
{
    size_t k = *state;
    while (k > 0 && byte != stop->bytes[k])
        k = stop->fall[k - 1];
    k += byte == stop->bytes[k];
    *state = (uint16_t)k;
    return k == stop->len;
}

/* Scans what is new; the first string to be completed wins, and of several at one byte the longest. */
static int scan(struct text_stream *s)
{
    for (; s->scanned < s->text.len; s->scanned++) {
        int hit = -1;
        for (size_t i = 0; i < s->stops->n; i++) {
            const struct stop_string *stop = &s->stops->strings[i];
            if (advance(stop, &s->state[i], s->text.data[s->scanned]) &&
                (hit < 0 || stop->len > s->stops->strings[hit].len))
                hit = (int)i;
        }
        if (hit >= 0) {
            s->safe = s->scanned + 1 - s->stops->strings[hit].len;
            s->stopped = true;
            return hit;
        }
    }
    size_t held = 0;
    for (size_t i = 0; i < s->stops->n; i++)
        held = s->state[i] > held ? s->state[i] : held;
    s->safe = s->text.len - held;
    return -1;
}

/* A held beginning may start inside a character that precedes it in the same bytes: show whole ones only. */
static void keep_code_points_whole(struct text_stream *s)
{
    while (s->safe > s->taken && s->safe < s->text.len &&
           ((unsigned char)s->text.data[s->safe] & 0xc0) == 0x80)
        s->safe--;
}

int text_stream_push(struct text_stream *s, int32_t token, bool *ok)
{
    if ((size_t)token < tokenizer_size(s->detokenizer.tokenizer)) /* models may pad their vocabulary */
        detokenizer_push(&s->detokenizer, token, &s->text);
    int hit = scan(s);
    keep_code_points_whole(s);
    *ok = !s->text.failed;
    return hit;
}

void text_stream_finish(struct text_stream *s)
{
    if (s->stopped)
        return;
    detokenizer_finish(&s->detokenizer, &s->text);
    s->safe = s->text.len;
}

const char *text_stream_take(struct text_stream *s, size_t *len)
{
    if (s->taken > 0) { /* shown bytes are not needed any more */
        buf_drop_front(&s->text, s->taken);
        s->scanned -= s->taken;
        s->safe -= s->taken;
        s->taken = 0;
    }
    *len = s->safe;
    s->taken = s->safe;
    return s->text.data ? s->text.data : "";
}

bool token_ends_generation(const struct tokenizer *t, int32_t id)
{
    return (size_t)id < tokenizer_size(t) && tokenizer_is_end(t, id);
}
