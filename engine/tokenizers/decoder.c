/* decoder.c - see decoder.h.
 * Steps fall into three groups, in this order: those that see one token at a time (words), those that do so
 * once byte tokens have become text (texts), and those that see all tokens as one text (stream). To add a
 * decoder: a case in one of the step functions, and a row in rows[]. */
#include "engine/tokenizers/decoder.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/utf8.h"
#include "engine/tokenizers/byte_alphabet.h"
#include "engine/tokenizers/model.h"
#include "engine/tokenizers/part.h"

enum { MAX_STEPS = 16 };

struct step {
    /* One token, appended to out. */
    void (*word)(const struct step *s, const char *text, size_t len, bool first, bool last, struct buf *out);
    /* The same in a stream; NULL: only whole tokens will do. */
    void (*stream)(const struct step *s, struct decode_step *state, const char *bytes, size_t len,
                   struct buf *out);
    void (*stream_end)(const struct step *s, struct decode_step *state, struct buf *out);
    const char *type;
    struct part_pattern pattern;
    struct part_text text, other;
    size_t start, stop;
    bool flag;
    uint16_t *fall; /* (text.len) of a pattern: longest proper border */
};

struct step_list {
    size_t n;
    struct step steps[MAX_STEPS];
};

struct decoder {
    struct step_list words, texts, stream;
    bool byte_fallback, fused, holds_last, drops_repeats;
};

/* ---- one token at a time ---------------------------------------------------------------------- */

static void word_replace(const struct step *s, const char *text, size_t len, bool first, bool last,
                         struct buf *out)
{
    (void)first;
    (void)last;
    struct pattern_run run;
    size_t at = 0, start, end;
    if (pattern_run_begin(&run, &s->pattern, len, NULL) < 0) {
        out->failed = true;
        return;
    }
    while (pattern_next(&run, text, len, at, &start, &end, NULL) > 0) {
        buf_add(out, text + at, start - at);
        buf_add(out, s->other.text, s->other.len);
        at = end;
    }
    buf_add(out, text + at, len - at);
    pattern_run_end(&run);
}

/* Every occurrence of one text by another, in place of buf's bytes from `from` on. */
static void replace_all(struct buf *b, size_t from, const char *old, const char *new_text)
{
    struct buf copy;
    size_t old_len = strlen(old);
    const char *found = b->len > from ? memmem(b->data + from, b->len - from, old, old_len) : NULL;
    if (!found || old_len == 0)
        return;
    buf_init(&copy, b->max);
    const char *at = b->data + from, *end = b->data + b->len;
    for (; found; found = memmem(at, (size_t)(end - at), old, old_len)) {
        buf_add(&copy, at, (size_t)(found - at));
        buf_add_text(&copy, new_text);
        at = found + old_len;
    }
    buf_add(&copy, at, (size_t)(end - at));
    b->len = from;
    buf_add(b, copy.data, copy.len);
    b->failed = b->failed || copy.failed;
    buf_free(&copy);
}

static void clean_up(struct buf *b, size_t from)
{
    static const char *const pairs[][2] = {
        {" .", "."},   {" ?", "?"},           {" !", "!"},   {" ,", ","},     {" ' ", "'"},   {" n't", "n't"},
        {" 'm", "'m"}, {" do not", " don't"}, {" 's", "'s"}, {" 've", "'ve"}, {" 're", "'re"}};
    for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++)
        replace_all(b, from, pairs[i][0], pairs[i][1]);
}

static bool begins_with(const char *text, size_t len, const struct part_text *t)
{
    return len >= t->len && memcmp(text, t->text, t->len) == 0;
}

static void word_wordpiece(const struct step *s, const char *text, size_t len, bool first, bool last,
                           struct buf *out)
{
    (void)last;
    size_t from = out->len, skip = 0;
    if (!first && begins_with(text, len, &s->text))
        skip = s->text.len;
    else if (!first)
        buf_add(out, " ", 1);
    buf_add(out, text + skip, len - skip);
    if (s->flag)
        clean_up(out, from);
}

static void word_metaspace(const struct step *s, const char *text, size_t len, bool first, bool last,
                           struct buf *out)
{
    (void)last;
    for (size_t at = 0; at < len;) {
        const char *mark = memmem(text + at, len - at, s->text.text, s->text.len);
        size_t stop = mark ? (size_t)(mark - text) : len;
        buf_add(out, text + at, stop - at);
        if (mark && !(first && s->flag))
            buf_add(out, " ", 1);
        at = mark ? stop + s->text.len : len;
    }
}

static void word_strip(const struct step *s, const char *text, size_t len, bool first, bool last,
                       struct buf *out)
{
    (void)first;
    (void)last;
    size_t start = 0, end = len, n = s->text.len;
    for (size_t i = 0; i < s->start && begins_with(text + start, end - start, &s->text); i++)
        start += n;
    for (size_t i = 0; i < s->stop && end - start >= n && memcmp(text + end - n, s->text.text, n) == 0; i++)
        end -= n;
    buf_add(out, text + start, end - start);
}

static void word_bytes(const struct step *s, const char *text, size_t len, bool first, bool last,
                       struct buf *out)
{
    (void)s;
    (void)first;
    (void)last;
    if (!byte_alphabet_decode(text, len, out))
        buf_add(out, text, len);
}

static void word_suffix(const struct step *s, const char *text, size_t len, bool first, bool last,
                        struct buf *out)
{
    (void)first;
    size_t from = out->len;
    buf_add(out, text, len);
    replace_all(out, from, s->text.text, last ? "" : " ");
}

static void word_ctc(const struct step *s, const char *text, size_t len, bool first, bool last,
                     struct buf *out)
{
    (void)first;
    (void)last;
    size_t from = out->len;
    buf_add(out, text, len);
    replace_all(out, from, s->text.text, "");
    if (s->flag) {
        clean_up(out, from);
        replace_all(out, from, s->other.text, " ");
    }
}

static void word_join(const struct step *s, const char *text, size_t len, bool first, bool last,
                      struct buf *out)
{
    (void)last;
    if (!first)
        buf_add(out, s->text.text, s->text.len);
    buf_add(out, text, len);
}

/* Either case, as the library reads it; -1: no byte token. */
static int byte_value(const struct buf *word)
{
    char text[6];
    if (word->len != sizeof text)
        return -1;
    for (size_t i = 0; i < sizeof text; i++)
        text[i] = i > 2 && word->data[i] >= 'a' && word->data[i] <= 'f' ? (char)(word->data[i] - 'a' + 'A')
                                                                        : word->data[i];
    return token_byte_value(text, sizeof text);
}

/* Through all steps of a list; the result is appended to out.  False: CTC took the token away for good. */
static bool run_words(const struct step_list *l, const char *text, size_t len, bool first, bool last,
                      struct buf *out)
{
    struct buf in, next;
    bool stays = true;
    buf_init(&in, SIZE_MAX / 4);
    buf_init(&next, SIZE_MAX / 4);
    for (size_t i = 0; i < l->n && stays; i++) {
        struct buf *to = i + 1 == l->n ? out : &next;
        size_t before = to->len;
        l->steps[i].word(&l->steps[i], text, len, first, last, to);
        stays = l->steps[i].word != word_ctc || to->len > before;
        if (to == out)
            break;
        struct buf swap = in;
        in = next;
        next = swap;
        buf_clear(&next);
        text = in.data ? in.data : "";
        len = in.len;
    }
    if (l->n == 0)
        buf_add(out, text, len);
    out->failed = out->failed || in.failed || next.failed;
    buf_free(&in);
    buf_free(&next);
    return stays;
}

/* ---- all tokens as one text ------------------------------------------------------------------- */

static void add_times(struct buf *out, const struct part_text *t, size_t times)
{
    for (size_t i = 0; i < times; i++)
        buf_add(out, t->text, t->len);
}

/* state: done = times that the beginning was stripped, UINT32_MAX when that is over; held = times that the
 * content ends the text so far. */
static void stream_strip(const struct step *s, struct decode_step *state, const char *bytes, size_t len,
                         struct buf *out)
{
    size_t n = s->text.len, tail = 0;
    while (state->done < s->start && begins_with(bytes, len, &s->text)) {
        state->done++;
        bytes += n;
        len -= n;
    }
    if (len == 0)
        return;
    if (!begins_with(bytes, len, &s->text) || state->done >= s->start)
        state->done = UINT32_MAX;
    while (tail < s->stop && len >= (tail + 1) * n &&
           memcmp(bytes + len - (tail + 1) * n, s->text.text, n) == 0)
        tail++;
    if (tail * n == len) { /* nothing else: the run grows, and its front is certain */
        size_t held = state->held + tail, certain = held > s->stop ? held - s->stop : 0;
        add_times(out, &s->text, certain);
        state->held = (uint32_t)(held - certain);
        return;
    }
    add_times(out, &s->text, state->held);
    buf_add(out, bytes, len - tail * n);
    state->held = (uint32_t)tail;
}

static void strip_end(const struct step *s, struct decode_step *state, struct buf *out)
{
    (void)s;
    (void)state;
    (void)out;
}

/* state: held = bytes of the pattern that the text ends with (Knuth, Morris and Pratt, 1977). */
static void stream_replace(const struct step *s, struct decode_step *state, const char *bytes, size_t len,
                           struct buf *out)
{
    const char *pattern = s->pattern.text.text;
    for (size_t i = 0; i < len; i++) {
        size_t k = state->held;
        while (k > 0 && pattern[k] != bytes[i]) {
            size_t border = s->fall[k - 1];
            buf_add(out, pattern, k - border);
            k = border;
        }
        if (pattern[k] == bytes[i])
            k++;
        else
            buf_add(out, &bytes[i], 1);
        if (k == s->pattern.text.len) {
            buf_add(out, s->other.text, s->other.len);
            k = 0;
        }
        state->held = (uint32_t)k;
    }
}

static void replace_end(const struct step *s, struct decode_step *state, struct buf *out)
{
    buf_add(out, s->pattern.text.text, state->held);
    state->held = 0;
}

/* Bytes into steps[from ..] and on into out. */
static void run_stream(const struct decoder *d, struct decode_state *state, size_t from, const char *bytes,
                       size_t len, struct buf *out)
{
    struct buf in, next;
    buf_init(&in, SIZE_MAX / 4);
    buf_init(&next, SIZE_MAX / 4);
    for (size_t i = from; i < d->stream.n && len > 0; i++) {
        d->stream.steps[i].stream(&d->stream.steps[i], &state->steps[i], bytes, len, &next);
        struct buf swap = in;
        in = next;
        next = swap;
        buf_clear(&next);
        bytes = in.data ? in.data : "";
        len = in.len;
    }
    buf_add(out, bytes, len);
    out->failed = out->failed || in.failed || next.failed;
    buf_free(&in);
    buf_free(&next);
}

/* ---- byte tokens ------------------------------------------------------------------------------ */

static void put_text(const struct decoder *d, struct decode_state *state, const char *text, size_t len,
                     struct buf *out)
{
    struct buf done;
    buf_init(&done, SIZE_MAX / 4);
    if (d->texts.n > 0) {
        run_words(&d->texts, text, len, !state->text_seen, false, &done);
        text = done.data ? done.data : "";
        len = done.len;
    }
    state->text_seen = true;
    if (d->stream.n > 0)
        run_stream(d, state, 0, text, len, out);
    else
        buf_add(out, text, len);
    out->failed = out->failed || done.failed;
    buf_free(&done);
}

static void put_replacements(const struct decoder *d, struct decode_state *state, size_t n, struct buf *out)
{
    for (size_t i = 0; i < n; i++)
        put_text(d, state, UTF8_REPLACEMENT, strlen(UTF8_REPLACEMENT), out);
}

/* A run that is not UTF-8 becomes one U+FFFD for each of its bytes. */
static void end_run(const struct decoder *d, struct decode_state *state, struct buf *out)
{
    if (state->n_run > 0 && state->n_valid == state->n_run)
        put_text(d, state, (const char *)state->run, state->n_run, out);
    else
        put_replacements(d, state, state->n_run, out);
    state->n_run = state->n_valid = 0;
    state->bad_run = false;
}

/* So long a run is text: what comes later may not undo it. */
static void put_front_of_run(const struct decoder *d, struct decode_state *state, struct buf *out)
{
    put_text(d, state, (const char *)state->run, state->n_valid, out);
    state->n_run = (uint16_t)(state->n_run - state->n_valid);
    memmove(state->run, state->run + state->n_valid, state->n_run);
    state->n_valid = 0;
}

static void push_byte(const struct decoder *d, struct decode_state *state, unsigned char byte,
                      struct buf *out)
{
    uint32_t code_point;
    if (state->bad_run) {
        put_replacements(d, state, 1, out);
        return;
    }
    state->run[state->n_run++] = byte;
    int n = utf8_decode((const char *)state->run + state->n_valid, (size_t)(state->n_run - state->n_valid),
                        &code_point);
    if (n > 0)
        state->n_valid = (uint16_t)(state->n_valid + n);
    if (n < 0) {
        put_replacements(d, state, state->n_run, out);
        state->n_run = state->n_valid = 0;
        state->bad_run = true;
    } else if (state->n_run == sizeof state->run) {
        put_front_of_run(d, state, out);
    }
}

/* ---- the whole -------------------------------------------------------------------------------- */

bool decoder_holds_last(const struct decoder *d)
{
    return d->holds_last;
}

bool decoder_drops_repeats(const struct decoder *d)
{
    return d->drops_repeats;
}

bool decoder_is_plain(const struct decoder *d)
{
    return !d->byte_fallback && d->texts.n == 0 && d->stream.n == 0 && !d->holds_last && !d->drops_repeats;
}

void decoder_word(const struct decoder *d, const char *text, size_t len, struct buf *out)
{
    struct buf word;
    buf_init(&word, SIZE_MAX / 4);
    run_words(&d->words, text, len, false, false, &word);
    int byte = d->byte_fallback ? byte_value(&word) : -1;
    char c = (char)byte;
    if (byte >= 0)
        buf_add(out, &c, 1);
    else if (d->texts.n > 0)
        run_words(&d->texts, word.data ? word.data : "", word.len, false, false, out);
    else
        buf_add(out, word.data, word.len);
    out->failed = out->failed || word.failed;
    buf_free(&word);
}

void decoder_push(const struct decoder *d, struct decode_state *state, const char *text, size_t len,
                  bool last, struct buf *out)
{
    struct buf word;
    buf_init(&word, SIZE_MAX / 4);
    bool stays = run_words(&d->words, text, len, !state->seen, last, &word);
    state->seen = state->seen || stays;
    int byte = d->byte_fallback ? byte_value(&word) : -1;
    if (stays && byte >= 0) {
        push_byte(d, state, (unsigned char)byte, out);
    } else if (stays) {
        end_run(d, state, out);
        put_text(d, state, word.data ? word.data : "", word.len, out);
    }
    out->failed = out->failed || word.failed;
    buf_free(&word);
}

void decoder_finish(const struct decoder *d, struct decode_state *state, struct buf *out)
{
    end_run(d, state, out);
    for (size_t i = 0; i < d->stream.n; i++) {
        struct buf rest;
        buf_init(&rest, SIZE_MAX / 4);
        d->stream.steps[i].stream_end(&d->stream.steps[i], &state->steps[i], &rest);
        run_stream(d, state, i + 1, rest.data ? rest.data : "", rest.len, out);
        out->failed = out->failed || rest.failed;
        buf_free(&rest);
    }
}

void decoder_continue(const struct decoder *d, struct decode_state *state)
{
    state->seen = state->text_seen = true;
    for (size_t i = 0; i < d->stream.n; i++)
        state->steps[i].done = UINT32_MAX;
}

/* ---- reading ---------------------------------------------------------------------------------- */

static struct step *add_step(struct decoder *d, const char *type, struct error *e)
{
    struct step_list *l = d->fused ? &d->stream : d->byte_fallback ? &d->texts : &d->words;
    size_t max = d->fused ? MAX_DECODE_STEPS : MAX_STEPS;
    if (l->n == max) {
        error_set(e, ERROR_UNSUPPORTED, "the tokenizer's decoder has more than %zu steps", max);
        return NULL;
    }
    l->steps[l->n].type = type;
    return &l->steps[l->n++];
}

static int add_word_step(struct decoder *d, const char *type, struct step **out, struct error *e)
{
    if (d->fused)
        return error_set(e, ERROR_UNSUPPORTED,
                         "the tokenizer's decoder %s behind one that joins all tokens is not supported",
                         type);
    *out = add_step(d, type, e);
    return *out ? 0 : -1;
}

static int read_part(struct decoder *d, const json_t *json, struct error *e);

static int read_sequence(struct decoder *d, const json_t *json, struct error *e)
{
    const json_t *list, *part;
    size_t i;
    TRY(part_array(json, "decoders", &list, e));
    json_array_foreach(list, i, part) TRY(read_part(d, part, e));
    return 0;
}

static int read_byte_level(struct decoder *d, const json_t *json, struct error *e)
{
    (void)json;
    struct step *s = NULL;
    TRY(add_word_step(d, "ByteLevel", &s, e));
    s->word = word_bytes;
    d->fused = true;
    return 0;
}

/* As in cutter.c: old files say add_prefix_space. */
static int read_metaspace(struct decoder *d, const json_t *json, struct error *e)
{
    struct step *s = NULL;
    const char *scheme = json_string_value(json_object_get(json, "prepend_scheme"));
    bool prefix = true;
    TRY(add_word_step(d, "Metaspace", &s, e));
    s->word = word_metaspace;
    TRY(part_bool(json, "add_prefix_space", &prefix, e));
    s->flag = prefix && !(scheme && strcmp(scheme, "never") == 0);
    return part_character(json, "replacement", &s->text, e);
}

static int read_wordpiece(struct decoder *d, const json_t *json, struct error *e)
{
    struct step *s = NULL;
    TRY(add_word_step(d, "WordPiece", &s, e));
    s->word = word_wordpiece;
    s->flag = true;
    TRY(part_bool(json, "cleanup", &s->flag, e));
    return part_text(json, "prefix", &s->text, e);
}

static int read_byte_fallback(struct decoder *d, const json_t *json, struct error *e)
{
    (void)json;
    if (d->fused || d->byte_fallback)
        return error_set(e, ERROR_UNSUPPORTED,
                         "the tokenizer's decoder ByteFallback behind ByteFallback or Fuse is not supported");
    d->byte_fallback = true;
    return 0;
}

static int read_fuse(struct decoder *d, const json_t *json, struct error *e)
{
    (void)json;
    (void)e;
    d->fused = true;
    return 0;
}

static int read_strip(struct decoder *d, const json_t *json, struct error *e)
{
    struct step *s = add_step(d, "Strip", e);
    if (!s)
        return -1;
    s->word = word_strip;
    s->stream = stream_strip;
    s->stream_end = strip_end;
    TRY(part_size(json, "start", &s->start, e));
    TRY(part_size(json, "stop", &s->stop, e));
    return part_character(json, "content", &s->text, e);
}

/* The borders that stream_replace() falls back to. */
static int fill_borders(struct step *s, struct error *e)
{
    const struct part_text *p = &s->pattern.text;
    if (p->len > UINT16_MAX)
        return error_set(e, ERROR_UNSUPPORTED, "the tokenizer's decoder replaces a text of %zu bytes",
                         p->len);
    s->fall = calloc(p->len, sizeof *s->fall);
    if (!s->fall)
        return error_no_memory(e);
    for (size_t i = 1, k = 0; i < p->len; i++) {
        while (k > 0 && p->text[i] != p->text[k])
            k = s->fall[k - 1];
        k += p->text[i] == p->text[k];
        s->fall[i] = (uint16_t)k;
    }
    return 0;
}

static int read_replace(struct decoder *d, const json_t *json, struct error *e)
{
    struct step *s = add_step(d, "Replace", e);
    if (!s)
        return -1;
    s->word = word_replace;
    s->stream = stream_replace;
    s->stream_end = replace_end;
    TRY(part_pattern(json, &s->pattern, e));
    TRY(part_text(json, "content", &s->other, e));
    if (!d->fused)
        return 0;
    if (s->pattern.regex)
        return error_set(
            e, ERROR_UNSUPPORTED,
            "the tokenizer's decoder replaces a regular expression in the joined tokens, which is not "
            "supported");
    return fill_borders(s, e);
}

/* Both look at neighbours, which only the first step sees as they are. */
static int read_first_step(struct decoder *d, const char *type, struct step **out, struct error *e)
{
    if (d->words.n > 0 || d->byte_fallback || d->fused)
        return error_set(e, ERROR_UNSUPPORTED, "the tokenizer's decoder %s behind another is not supported",
                         type);
    return add_word_step(d, type, out, e);
}

static int read_bpe(struct decoder *d, const json_t *json, struct error *e)
{
    struct step *s = NULL;
    TRY(read_first_step(d, "BPEDecoder", &s, e));
    s->word = word_suffix;
    d->holds_last = true;
    return part_text(json, "suffix", &s->text, e);
}

static int read_ctc(struct decoder *d, const json_t *json, struct error *e)
{
    struct step *s = NULL;
    TRY(read_first_step(d, "CTC", &s, e));
    s->word = word_ctc;
    s->flag = true;
    d->drops_repeats = true;
    TRY(part_bool(json, "cleanup", &s->flag, e));
    TRY(part_text(json, "pad_token", &s->text, e));
    return part_text(json, "word_delimiter_token", &s->other, e);
}

static const struct {
    const char *type;
    int (*read)(struct decoder *d, const json_t *json, struct error *e);
} rows[] = {
    {"Sequence", read_sequence},
    {"ByteLevel", read_byte_level},
    {"Metaspace", read_metaspace},
    {"WordPiece", read_wordpiece},
    {"ByteFallback", read_byte_fallback},
    {"Fuse", read_fuse},
    {"Strip", read_strip},
    {"Replace", read_replace},
    {"BPEDecoder", read_bpe},
    {"CTC", read_ctc},
};

static int read_part(struct decoder *d, const json_t *json, struct error *e)
{
    const char *type;
    TRY(part_type(json, "decoder", &type, e));
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        if (strcmp(rows[i].type, type) == 0)
            return rows[i].read(d, json, e);
    }
    return part_unknown("decoder", type, e);
}

int decoder_create(const json_t *json, struct decoder **out, struct error *e)
{
    struct decoder *d = calloc(1, sizeof *d);
    if (!d)
        return error_no_memory(e);
    if (read_part(d, json, e) < 0) {
        decoder_free(d);
        return -1;
    }
    *out = d;
    return 0;
}

int decoder_create_join(const char *separator, struct decoder **out, struct error *e)
{
    struct decoder *d = calloc(1, sizeof *d);
    struct step *s = d ? add_step(d, "join", e) : NULL;
    if (s) {
        s->word = word_join;
        s->text.text = strdup(separator);
        s->text.len = strlen(separator);
    }
    if (!s || !s->text.text) {
        decoder_free(d);
        return error_no_memory(e);
    }
    *out = d;
    return 0;
}

static void free_steps(struct step_list *l)
{
    for (size_t i = 0; i < l->n; i++) {
        part_pattern_free(&l->steps[i].pattern);
        free(l->steps[i].text.text);
        free(l->steps[i].other.text);
        free(l->steps[i].fall);
    }
}

void decoder_free(struct decoder *d)
{
    if (!d)
        return;
    free_steps(&d->words);
    free_steps(&d->texts);
    free_steps(&d->stream);
    free(d);
}
