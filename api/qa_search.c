/* qa_search.c - see qa_search.h. */
#include "api/qa_search.h"

#include <string.h>

/* ---- documents ------------------------------------------------------------------------------ */

static int add_document(struct api_call *call, struct engine_model *model, const struct engine_text *text,
                        size_t window, size_t overlap, struct qa_library *lib, struct qa_document *d,
                        struct error *e)
{
    TRY(token_text_make(call, model, text->bytes, text->len, &d->text, e));
    TRY(pieces_windows(&d->text, window, overlap, call->arena, &d->windows, &d->n_windows, e));
    TRY(sentences_split(text->bytes, text->len, call->arena, &d->sentences, &d->n_sentences, e));
    if (d->n_sentences == 0)
        d->n_windows = 0;
    d->terms = arena_alloc(call->arena, d->n_sentences + 1, sizeof *d->terms);
    d->found = arena_alloc(call->arena, d->n_sentences + 1, sizeof *d->found);
    if (!d->terms || !d->found)
        return error_no_memory(e);
    for (size_t i = 0; i < d->n_sentences; i++) {
        const struct sentence *s = &d->sentences[i];
        TRY(term_table_add(&lib->table, text->bytes + s->start, s->end - s->start, &d->terms[i], e));
    }
    return 0;
}

int qa_library_make(struct api_call *call, struct engine_model *model, const struct engine_text *texts,
                    size_t n, size_t window, size_t overlap, struct qa_library *out, struct error *e)
{
    memset(out, 0, sizeof *out);
    term_table_init(&out->table, call->arena);
    out->documents = arena_alloc(call->arena, n, sizeof *out->documents);
    if (!out->documents)
        return error_no_memory(e);
    out->n = n;
    for (size_t i = 0; i < n; i++)
        TRY(add_document(call, model, &texts[i], window, overlap, out, &out->documents[i], e));
    for (size_t i = 0; i < 3; i++) {
        out->match[i] = arena_alloc(call->arena, out->table.n + 1, 1);
        if (!out->match[i])
            return error_no_memory(e);
    }
    return 0;
}

/* Sentences [first, last) that have bytes in the range; places of tokens are near enough for that. */
static void sentences_of(const struct qa_document *d, struct token_range range, size_t *first, size_t *last)
{
    size_t from = d->text.at[range.from], to = d->text.at[range.to];
    size_t low = 0, high = d->n_sentences;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (d->sentences[middle].end <= from)
            low = middle + 1;
        else
            high = middle;
    }
    *first = low;
    while (low < d->n_sentences && d->sentences[low].start < to)
        low++;
    *last = low;
}

static float share(float part, float whole)
{
    return whole > 0 ? part / whole : 0;
}

/* ---- search --------------------------------------------------------------------------------- */

/* All that the window shares with the question, and once more half of its best sentence's share. */
static float rank_window(const struct qa_document *d, const struct term_query *q, struct token_range window)
{
    size_t first, last;
    uint64_t all = 0;
    float best = 0;
    sentences_of(d, window, &first, &last);
    for (size_t i = first; i < last; i++) {
        float weight = d->found[i] ? term_query_weigh(q, d->found[i]) : 0;
        best = weight > best ? weight : best;
        all |= d->found[i];
    }
    return term_query_weigh(q, all) + best / 2;
}

/* Keeps the best `max` in order; of equals the earlier. */
static size_t insert_passage(struct qa_passage *list, size_t n, size_t max, const struct qa_passage *passage)
{
    if (n == max && list[n - 1].rank >= passage->rank)
        return n;
    size_t i = n < max ? n : max - 1;
    for (; i > 0 && list[i - 1].rank < passage->rank; i--)
        list[i] = list[i - 1];
    list[i] = *passage;
    return n < max ? n + 1 : n;
}

size_t qa_rank(struct qa_library *lib, const struct engine_text *question, struct qa_passage *out, size_t max)
{
    struct term_query q;
    size_t n = 0;
    term_query_make(&lib->table, question->bytes, question->len, lib->match[0], &q);
    for (size_t i = 0; i < lib->n; i++) {
        struct qa_document *d = &lib->documents[i];
        for (size_t s = 0; s < d->n_sentences; s++)
            d->found[s] = term_query_find(&q, &d->terms[s]);
        for (size_t w = 0; w < d->n_windows; w++) {
            struct qa_passage passage = {i, d->windows[w], rank_window(d, &q, d->windows[w])};
            n = insert_passage(out, n, max, &passage);
        }
    }
    return n;
}

/* All tokens that have bytes of the sentence, and the white space that a first token begins with. */
static struct token_range tokens_of(const struct token_text *t, const struct sentence *s, size_t most)
{
    size_t low = 0, high = t->tokens.n;
    while (high - low > 1) {
        size_t middle = low + (high - low) / 2;
        if (t->at[middle] <= s->start)
            low = middle;
        else
            high = middle;
    }
    while (high < t->tokens.n && t->at[high] < s->end)
        high++;
    return (struct token_range){low, high - low > most ? low + most : high};
}

size_t qa_rank_sentences(struct qa_library *lib, const struct engine_text *question,
                         const struct qa_passage *window, size_t most, struct qa_passage *out, size_t max)
{
    const struct qa_document *d = &lib->documents[window->document];
    struct term_query q;
    size_t first, last, n = 0;
    term_query_make(&lib->table, question->bytes, question->len, lib->match[0], &q);
    float all = term_query_weigh(&q, UINT64_MAX);
    sentences_of(d, window->tokens, &first, &last);
    for (size_t i = first; i < last; i++) {
        float weight = term_query_weigh(&q, term_query_find(&q, &d->terms[i]));
        struct qa_passage passage = {window->document, tokens_of(&d->text, &d->sentences[i], most),
                                     share(weight, all)};
        n = insert_passage(out, n, max, &passage);
    }
    return n;
}

/* Where a sentence, else a word, ends in [low, high]: the last such place, or the first. */
static size_t cut_within(const struct token_text *t, size_t low, size_t high, bool from_high)
{
    size_t best = from_high ? high : low;
    enum border best_border = BORDER_NONE;
    for (size_t i = 0; i <= high - low; i++) {
        size_t at = from_high ? high - i : low + i;
        enum border border = border_at(t->text, t->len, t->at[at]);
        border = border > BORDER_SENTENCE ? BORDER_SENTENCE : border;
        if (border > best_border) {
            best_border = border;
            best = at;
        }
    }
    return best;
}

struct token_range qa_widen(const struct qa_library *lib, const struct qa_passage *passage, size_t max)
{
    const struct token_text *t = &lib->documents[passage->document].text;
    struct token_range r = passage->tokens;
    size_t n = t->tokens.n, room = max > r.to - r.from ? max - (r.to - r.from) : 0;
    if (n <= max)
        return (struct token_range){0, n};
    size_t before = room / 2 < r.from ? room / 2 : r.from;
    size_t after = room - before < n - r.to ? room - before : n - r.to;
    before = room - after < r.from ? room - after : r.from;
    r.from = cut_within(t, r.from - before, r.from, false);
    r.to = cut_within(t, r.to, r.to + after, true);
    return r;
}

/* ---- evidence ------------------------------------------------------------------------------- */

struct evidence_search {
    const struct qa_document *document;
    struct term_query question, answer, echo;
    uint64_t news; /* terms of the answer that count */
};

static uint64_t terms_at(const struct evidence_search *s, const struct term_query *q, size_t first,
                         size_t last)
{
    uint64_t bits = 0;
    for (size_t i = first; i < last && i < s->document->n_sentences; i++)
        bits |= term_query_find(q, &s->document->terms[i]);
    return bits;
}

/* The answer's words weigh double where they are not the question's; the question's count a little in the
 * neighbours too: "It stands on …". */
static float support_of(const struct evidence_search *s, size_t i)
{
    const struct term_query *q = &s->question, *a = &s->answer;
    uint64_t here = terms_at(s, q, i, i + 1);
    uint64_t around = terms_at(s, q, i ? i - 1 : 0, i + 2) & ~here;
    float all = term_query_weigh(q, UINT64_MAX);
    uint64_t said = terms_at(s, a, i, i + 1);
    return share(term_query_weigh(a, said & s->news), term_query_weigh(a, s->news)) +
           share(term_query_weigh(a, said), term_query_weigh(a, UINT64_MAX)) +
           share(term_query_weigh(q, here), all) + 0.3f * share(term_query_weigh(q, around), all);
}

static void start_search(struct qa_library *lib, const struct engine_text *question,
                         const struct engine_text *answer, const char *wording, struct evidence_search *s)
{
    term_query_make(&lib->table, question->bytes, question->len, lib->match[0], &s->question);
    term_query_make(&lib->table, answer->bytes, answer->len, lib->match[1], &s->answer);
    term_query_make(&lib->table, wording, strlen(wording), lib->match[2], &s->echo);
    uint64_t all = s->answer.n >= TERMS_OF_QUERY ? UINT64_MAX : ((uint64_t)1 << s->answer.n) - 1;
    s->news = all & ~term_query_common(&s->answer, &s->question) & ~term_query_common(&s->answer, &s->echo);
    if (s->news == 0)
        s->news = all;
}

float qa_coverage(struct qa_library *lib, const struct engine_text *question, size_t document,
                  struct token_range range)
{
    const struct qa_document *d = &lib->documents[document];
    struct term_query q;
    size_t first, last;
    uint64_t found = 0;
    term_query_make(&lib->table, question->bytes, question->len, lib->match[0], &q);
    sentences_of(d, range, &first, &last);
    for (size_t i = first; i < last; i++)
        found |= term_query_find(&q, &d->terms[i]);
    return share(term_query_weigh(&q, found), term_query_weigh(&q, UINT64_MAX));
}

struct qa_evidence qa_find_evidence(struct qa_library *lib, const struct engine_text *question,
                                    const struct engine_text *answer, const char *wording, size_t document,
                                    struct token_range range)
{
    struct evidence_search s = {.document = &lib->documents[document]};
    struct qa_evidence evidence = {0};
    size_t first, last, best = 0;
    float best_support = -1;
    start_search(lib, question, answer, wording, &s);
    sentences_of(s.document, range, &first, &last);
    for (size_t i = first; i < last; i++) {
        float support = support_of(&s, i);
        if (support > best_support) {
            best_support = support;
            best = i;
        }
    }
    if (first == last)
        return evidence;
    uint64_t found = terms_at(&s, &s.answer, best ? best - 1 : 0, best + 2) & s.news;
    evidence.sentence = &s.document->sentences[best];
    evidence.grounding = share(term_query_length(&s.answer, found), term_query_length(&s.answer, s.news));
    return evidence;
}
