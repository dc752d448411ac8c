/* encode.c - a text through the pipeline of a tokenizer: cut at added tokens, normalise, cut at added tokens
 * of the normalised kind, cut into pieces, let the model turn them into ids, and put special tokens round it.
 * The order and every rule are those of Hugging Face's tokenizers (AddedVocabulary, PreTokenizedString,
 * Encoding). Called by api/ and the loader through tokenizer.h; any thread. */
#include <stdlib.h>
#include <string.h>

#include "engine/base/utf8.h"
#include "engine/tokenizers/detokenize.h"
#include "engine/tokenizers/pipeline.h"
#include "engine/tokenizers/unicode.h"

#define SPACE_AS_CHARACTER 0x120 /* how GPT-2 writes the byte 0x20 */

/* ---- lists ------------------------------------------------------------------------------------ */

void token_list_free(struct token_list *l)
{
    free(l->ids);
    memset(l, 0, sizeof *l);
}

static int grow_ids(struct token_list *l, struct error *e)
{
    size_t cap = l->cap ? l->cap * 2 : 64;
    int32_t *ids = realloc(l->ids, cap * sizeof *ids);
    if (!ids)
        return error_no_memory(e);
    l->ids = ids;
    l->cap = cap;
    return 0;
}

int token_list_add(struct token_list *l, int32_t id, struct error *e)
{
    if (l->n == l->cap)
        TRY(grow_ids(l, e));
    l->ids[l->n++] = id;
    return 0;
}

void token_sink_free(struct token_sink *s)
{
    token_list_free(&s->ids);
    free(s->starts);
    free(s->ends);
    free(s->words);
    memset(s, 0, sizeof *s);
}

static int grow(uint32_t **array, size_t cap, struct error *e)
{
    uint32_t *bigger = realloc(*array, cap * sizeof *bigger);
    if (!bigger)
        return error_no_memory(e);
    *array = bigger;
    return 0;
}

int token_sink_add_place(struct token_sink *s, int32_t id, size_t start, size_t end, size_t word,
                         struct error *e)
{
    if (s->places && s->ids.n == s->cap) {
        size_t cap = s->cap ? s->cap * 2 : 64;
        TRY(grow(&s->starts, cap, e));
        TRY(grow(&s->ends, cap, e));
        TRY(grow(&s->words, cap, e));
        s->cap = cap;
    }
    if (s->places) {
        s->starts[s->ids.n] = (uint32_t)start;
        s->ends[s->ids.n] = (uint32_t)end;
        s->words[s->ids.n] = (uint32_t)word;
    }
    return token_list_add(&s->ids, id, e);
}

/* ---- finding added tokens --------------------------------------------------------------------- */

/* Spaces that an added token has at its ends in the text, as it was found there. */
struct added_spaces {
    size_t index; /* of the token in the sink */
    size_t leading, trailing;
};

/* One text on its way. */
struct run {
    const struct tokenizer *t;
    const char *text;
    size_t len;
    bool with_control;
    const struct text_span *literal;
    size_t n_literal;
    size_t words; /* pieces and added tokens so far */
    struct token_sink *sink;
    struct piece_list pieces;    /* kept for its room */
    struct added_spaces *spaces; /* (n_spaces) only when places are wanted and will be trimmed */
    size_t n_spaces, spaces_cap;
};

/* A walk from added token to added token: in the original text, or in a normalised part of it. */
struct walk {
    const struct run *run;
    const struct special_set *set;
    const char *text;
    size_t len;
    const struct normalized *normalized; /* NULL: the original text */
    size_t at;                           /* where to look on */
    size_t done;                         /* what is before it was given out */
    size_t next_literal;
};

struct found {
    size_t start, end;
    int32_t id;
};

/* A literal span that [start, end) of the original overlaps: its end, or 0. */
static size_t literal_over(const struct run *r, size_t start, size_t end)
{
    size_t low = 0, high = r->n_literal;
    while (low < high) { /* the first span that ends behind start */
        size_t middle = (low + high) / 2;
        if (r->literal[middle].end <= start)
            low = middle + 1;
        else
            high = middle;
    }
    return low < r->n_literal && r->literal[low].start < end ? r->literal[low].end : 0;
}

/* The longest token at w->at that does not touch a literal span; original text only. */
static int32_t match_original(struct walk *w, size_t *matched)
{
    const struct run *r = w->run;
    while (w->next_literal < r->n_literal && r->literal[w->next_literal].end <= w->at)
        w->next_literal++;
    size_t stop = w->len;
    if (w->next_literal < r->n_literal && r->literal[w->next_literal].start < stop)
        stop = r->literal[w->next_literal].start;
    if (stop <= w->at)
        return -1;
    return special_match(w->set, w->text + w->at, stop - w->at, r->with_control, matched);
}

static int32_t match_normalized(struct walk *w, size_t *matched)
{
    const struct run *r = w->run;
    int32_t id = special_match(w->set, w->text + w->at, w->len - w->at, r->with_control, matched);
    if (id < 0 || r->n_literal == 0)
        return id;
    size_t start = normalized_span(w->normalized, w->at).start;
    size_t end = normalized_span(w->normalized, w->at + *matched - 1).end;
    return literal_over(r, start, end) ? -1 : id;
}

static uint32_t code_point_before(const char *text, size_t at)
{
    size_t start = at - 1;
    uint32_t code_point = 0;
    while (start > 0 && ((unsigned char)text[start] & 0xC0) == 0x80)
        start--;
    utf8_decode(text + start, at - start, &code_point);
    return code_point;
}

static uint32_t code_point_at(const char *text, size_t len, size_t at, size_t *size)
{
    uint32_t code_point = 0;
    int n = utf8_decode(text + at, len - at, &code_point);
    *size = n > 0 ? (size_t)n : 1;
    return code_point;
}

static bool is_single_word(const struct walk *w, size_t start, size_t end)
{
    size_t size;
    if (start > 0 && unicode_is_word(code_point_before(w->text, start)))
        return false;
    return end == w->len || !unicode_is_word(code_point_at(w->text, w->len, end, &size));
}

/* A match goes on being looked for behind the token itself, so that spaces which one token took may also be
 * another: as in the library. */
static void strip_spaces(const struct walk *w, uint8_t flags, struct found *f)
{
    size_t size;
    while ((flags & TOKEN_STRIPS_LEFT) && f->start > w->done &&
           unicode_is_space(code_point_before(w->text, f->start))) {
        f->start--;
        while (f->start > w->done && ((unsigned char)w->text[f->start] & 0xC0) == 0x80)
            f->start--;
    }
    while ((flags & TOKEN_STRIPS_RIGHT) && f->end < w->len &&
           unicode_is_space(code_point_at(w->text, w->len, f->end, &size)))
        f->end += size;
    if ((flags & TOKEN_STRIPS_LEFT) && f->start < w->done)
        f->start = w->done < f->end ? w->done : f->end;
}

/* The next added token at or behind w->at. */
static bool next_added(struct walk *w, struct found *f)
{
    while (w->set && w->at < w->len) {
        size_t matched = 0;
        int32_t id = w->normalized ? match_normalized(w, &matched) : match_original(w, &matched);
        if (id < 0) {
            w->at++;
            continue;
        }
        *f = (struct found){w->at, w->at + matched, id};
        w->at += matched;
        uint8_t flags = w->run->t->flags[id];
        if ((flags & TOKEN_IS_SINGLE_WORD) && !is_single_word(w, f->start, f->end))
            continue;
        strip_spaces(w, flags, f);
        if (f->start < f->end)
            return true;
    }
    return false;
}

/* ---- one part --------------------------------------------------------------------------------- */

/* Positions in the normalised text become positions in the original. */
static void place_tokens(struct run *r, const struct normalized *n, size_t from)
{
    struct token_sink *s = r->sink;
    for (size_t i = from; i < s->ids.n; i++) {
        uint32_t start = s->starts[i], end = s->ends[i];
        if (end > n->len)
            end = (uint32_t)n->len;
        if (start < end) {
            s->starts[i] = normalized_span(n, start).start;
            s->ends[i] = normalized_span(n, end - 1).end;
        } else {
            s->starts[i] = s->ends[i] = start < n->len ? normalized_span(n, start).start : (uint32_t)n->base;
        }
        s->words[i] += (uint32_t)r->words;
    }
}

/* Normalised text without added tokens: pieces, then ids. */
static int encode_words(struct run *r, struct normalized *n, struct error *e)
{
    const struct tokenizer *t = r->t;
    size_t from = r->sink->ids.n;
    r->pieces.n = 0;
    if (n->len == 0)
        return 0;
    if (t->cutter)
        TRY(cutter_run(t->cutter, n, &r->pieces, e));
    else if (t->model->cut)
        TRY(t->model->cut(t->impl, n->text, n->len, &r->pieces, e));
    else
        TRY(piece_list_add(&r->pieces, 0, n->len, e));
    TRY(t->model->encode(t->impl, n->text, &r->pieces, r->sink, e));
    if (r->sink->places)
        place_tokens(r, n, from);
    r->words += r->pieces.n;
    return 0;
}

static int encode_slice(struct run *r, const struct normalized *n, size_t start, size_t end, struct error *e)
{
    struct normalized slice;
    normalized_init(&slice, n);
    normalized_copy(&slice, n, start, end);
    int status = normalized_check(&slice, e);
    if (status == 0)
        status = encode_words(r, &slice, e);
    normalized_free(&slice);
    return status;
}

/* Spaces at the front of what a token stands for, or at its end, in characters. */
static size_t count_spaces(const char *text, size_t len, bool front)
{
    size_t n = 0, at = front ? 0 : len, size;
    while (front ? at < len : at > 0) {
        uint32_t c = front ? code_point_at(text, len, at, &size) : code_point_before(text, at);
        if (c != SPACE_AS_CHARACTER && !unicode_is_space(c))
            break;
        n++;
        if (front) {
            at += size;
        } else {
            at--;
            while (at > 0 && ((unsigned char)text[at] & 0xC0) == 0x80)
                at--;
        }
    }
    return n;
}

static int note_spaces(struct run *r, const char *text, size_t len, struct error *e)
{
    if (!r->sink->places || r->t->post->n_trims == 0)
        return 0;
    if (r->n_spaces == r->spaces_cap) {
        size_t cap = r->spaces_cap ? r->spaces_cap * 2 : 16;
        struct added_spaces *spaces = realloc(r->spaces, cap * sizeof *spaces);
        if (!spaces)
            return error_no_memory(e);
        r->spaces = spaces;
        r->spaces_cap = cap;
    }
    r->spaces[r->n_spaces++] =
        (struct added_spaces){r->sink->ids.n, count_spaces(text, len, true), count_spaces(text, len, false)};
    return 0;
}

/* An added token that was found in w's text; span: its place in the original. */
static int add_found(struct run *r, const struct walk *w, const struct found *f, struct span32 span,
                     struct error *e)
{
    TRY(note_spaces(r, w->text + f->start, f->end - f->start, e));
    return token_sink_add(r->sink, f->id, span.start, span.end, r->words++, e);
}

static int encode_normalized(struct run *r, struct normalized *n, struct error *e)
{
    struct walk w = {.run = r, .set = r->t->late_specials, .text = n->text, .len = n->len, .normalized = n};
    struct found f;
    while (next_added(&w, &f)) {
        if (f.start > w.done)
            TRY(encode_slice(r, n, w.done, f.start, e));
        struct span32 span = {normalized_span(n, f.start).start, normalized_span(n, f.end - 1).end};
        TRY(add_found(r, &w, &f, span, e));
        w.done = f.end > w.done ? f.end : w.done;
    }
    if (w.done == 0)
        return encode_words(r, n, e);
    return w.done < n->len ? encode_slice(r, n, w.done, n->len, e) : 0;
}

static int normalize(struct run *r, struct normalized *n, bool first, struct error *e)
{
    const struct tokenizer *t = r->t;
    if (t->normalizer)
        return normalizer_run(t->normalizer, n, e);
    if (!t->model->normalize)
        return 0;
    struct normalized out;
    normalized_init(&out, n);
    int status = t->model->normalize(t->impl, n, first, &out, e);
    if (status == 0)
        status = normalized_check(&out, e);
    if (status == 0)
        normalized_move(n, &out);
    normalized_free(&out);
    return status;
}

/* Bytes [start, end) of the text, without added tokens of the plain kind. */
static int encode_part(struct run *r, size_t start, size_t end, struct error *e)
{
    struct normalized n;
    normalized_view(&n, r->text + start, end - start, start);
    int status = normalize(r, &n, start == 0, e);
    if (status == 0)
        status = encode_normalized(r, &n, e);
    normalized_free(&n);
    return status;
}

static int encode_parts(struct run *r, struct error *e)
{
    struct walk w = {.run = r, .set = r->t->specials, .text = r->text, .len = r->len};
    struct found f;
    while (next_added(&w, &f)) {
        if (f.start > w.done)
            TRY(encode_part(r, w.done, f.start, e));
        TRY(add_found(r, &w, &f, (struct span32){(uint32_t)f.start, (uint32_t)f.end}, e));
        w.done = f.end > w.done ? f.end : w.done;
    }
    return w.done < r->len ? encode_part(r, w.done, r->len, e) : 0;
}

static int encode_text(struct run *r, struct error *e)
{
    size_t valid = utf8_valid_prefix(r->text, r->len);
    if (valid < r->len)
        return error_set(e, ERROR_INVALID_REQUEST, "the text is not valid UTF-8 at byte %zu", valid);
    if (r->len > UINT32_MAX / 2)
        return error_set(e, ERROR_INVALID_REQUEST, "the text has %zu bytes; at most %u are accepted", r->len,
                         UINT32_MAX / 2);
    int status = encode_parts(r, e);
    piece_list_free(&r->pieces);
    return status;
}

/* ---- the whole -------------------------------------------------------------------------------- */

int tokenizer_encode(const struct tokenizer *t, const char *text, size_t len, unsigned flags,
                     const struct text_span *literal, size_t n_literal, struct token_list *out,
                     struct error *e)
{
    const struct template_list *single = &t->post->single;
    bool with_special = flags & TOKENIZE_ADD_SPECIAL;
    struct token_sink sink = {.ids = *out};
    int status = 0;
    for (size_t i = 0; i < single->n && status == 0; i++) {
        struct run r = {.t = t,
                        .text = text,
                        .len = len,
                        .with_control = (flags & TOKENIZE_PARSE_SPECIAL) != 0,
                        .literal = literal,
                        .n_literal = n_literal,
                        .sink = &sink};
        if (single->pieces[i].id < 0)
            status = encode_text(&r, e);
        else if (with_special)
            status = token_list_add(&sink.ids, single->pieces[i].id, e);
    }
    *out = sink.ids;
    return status;
}

/* `count` characters less at the front or the end of [*start, *end), as far as it goes. */
static void shrink(const char *text, uint32_t *start, uint32_t *end, size_t count, bool front)
{
    for (; count > 0 && *start < *end; count--) {
        if (front) {
            do
                ++*start;
            while (*start < *end && ((unsigned char)text[*start] & 0xC0) == 0x80);
        } else {
            do
                --*end;
            while (*end > *start && ((unsigned char)text[*end] & 0xC0) == 0x80);
        }
    }
}

/* Whether text[0 .. end) has that many characters. */
static bool has_characters(const char *text, size_t end, size_t count)
{
    for (; end > 0 && count > 0; end--)
        count -= ((unsigned char)text[end - 1] & 0xC0) != 0x80;
    return count == 0;
}

static void trim_places(const struct run *r, bool keeps_prefix)
{
    struct token_sink *s = r->sink;
    for (size_t i = 0, k = 0; i < s->ids.n; i++) {
        size_t len, leading, trailing;
        const char *token = tokenizer_token_text(r->t, s->ids.ids[i], &len);
        if (k < r->n_spaces && r->spaces[k].index == i) {
            leading = r->spaces[k].leading;
            trailing = r->spaces[k++].trailing;
        } else {
            leading = count_spaces(token, len, true);
            trailing = count_spaces(token, len, false);
        }
        if (leading == 1 && keeps_prefix && (i == 0 || s->starts[i] == 0))
            leading = 0;
        shrink(r->text, &s->starts[i], &s->ends[i], leading, true);
        if (has_characters(r->text, s->ends[i], trailing))
            shrink(r->text, &s->starts[i], &s->ends[i], trailing, false);
    }
}

static int encode_places(const struct tokenizer *t, const char *text, size_t len, unsigned flags,
                         struct token_sink *sink, struct error *e)
{
    struct run r = {.t = t,
                    .text = text,
                    .len = len,
                    .with_control = (flags & TOKENIZE_PARSE_SPECIAL) != 0,
                    .sink = sink};
    int status = encode_text(&r, e);
    for (size_t i = 0; i < t->post->n_trims && status == 0; i++)
        trim_places(&r, t->post->trim_keeps_prefix[i]);
    free(r.spaces);
    return status;
}

void encoding_free(struct encoding *x)
{
    free(x->ids);
    free(x->types);
    free(x->sequence);
    free(x->starts);
    free(x->ends);
    free(x->words);
    memset(x, 0, sizeof *x);
}

static int reserve(struct encoding *x, size_t n, struct error *e)
{
    x->cap = n + 1;
    x->ids = calloc(x->cap, sizeof *x->ids);
    x->types = calloc(x->cap, 1);
    x->sequence = calloc(x->cap, 1);
    x->starts = calloc(x->cap, sizeof *x->starts);
    x->ends = calloc(x->cap, sizeof *x->ends);
    x->words = calloc(x->cap, sizeof *x->words);
    bool all = x->ids && x->types && x->sequence && x->starts && x->ends && x->words;
    return all ? 0 : error_no_memory(e);
}

static void append(struct encoding *x, const struct template_piece *piece, const struct token_sink *s)
{
    if (piece->id >= 0) {
        x->ids[x->n] = piece->id;
        x->types[x->n] = piece->type;
        x->sequence[x->n] = UINT8_MAX;
        x->words[x->n++] = UINT32_MAX;
        return;
    }
    for (size_t i = 0; i < s->ids.n; i++, x->n++) {
        x->ids[x->n] = s->ids.ids[i];
        x->types[x->n] = piece->type;
        x->sequence[x->n] = piece->sequence;
        x->starts[x->n] = s->starts[i];
        x->ends[x->n] = s->ends[i];
        x->words[x->n] = s->words[i];
    }
}

/* sinks: of the text and of its pair. */
static int assemble(const struct template_list *l, bool with_special, const struct token_sink *sinks,
                    struct encoding *out, struct error *e)
{
    size_t n = 0;
    for (size_t i = 0; i < l->n; i++)
        n += l->pieces[i].id >= 0 ? 1 : sinks[l->pieces[i].sequence].ids.n;
    TRY(reserve(out, n, e));
    for (size_t i = 0; i < l->n; i++) {
        if (l->pieces[i].id < 0 || with_special)
            append(out, &l->pieces[i], &sinks[l->pieces[i].id < 0 ? l->pieces[i].sequence : 0]);
    }
    return 0;
}

int tokenizer_encode_pair(const struct tokenizer *t, const char *text, size_t len, const char *pair,
                          size_t pair_len, unsigned flags, struct encoding *out, struct error *e)
{
    struct token_sink sinks[2] = {{.places = true}, {.places = true}};
    memset(out, 0, sizeof *out);
    int status = encode_places(t, text, len, flags, &sinks[0], e);
    if (status == 0 && pair)
        status = encode_places(t, pair, pair_len, flags, &sinks[1], e);
    if (status == 0)
        status =
            assemble(pair ? &t->post->pair : &t->post->single, flags & TOKENIZE_ADD_SPECIAL, sinks, out, e);
    if (status < 0)
        encoding_free(out);
    token_sink_free(&sinks[0]);
    token_sink_free(&sinks[1]);
    return status;
}
