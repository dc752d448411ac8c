/* extract.c - see extract.h.
 * A question and a document make one input; a document that is too long is read in windows that overlap.  In
 * each window probabilities are softmaxed over the first token, which stands for "no answer", and the
 * document's; a span counts p(start) * p(end).  A question is answerable when its best span beats the least
 * "no answer" of any window.
 * Rounds have EXTRACT_ROUND windows; an input is tokenised when its first window is made and forgotten after
 * its last one was judged, so that many questions to long documents take no more memory than a few.
 * Threads: begin and advance on a worker, event on the loop. */
#include "api/extract.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "api/generation.h"
#include "api/sentences.h"
#include "api/tasks.h"
#include "api/wire.h"
#include "engine/base/limits.h"

enum {
    EXTRACT_OVERLAP = 128, /* tokens that neighbouring windows share */
    EXTRACT_ROUND = 256,   /* windows at once */
    EXTRACT_LEAST_ROOM = 8
};

struct span {
    size_t document;
    uint32_t start, end; /* bytes of the document */
    double score;
};

struct question {
    struct span *best; /* (top_k) best first */
    size_t n_best;
    double no_answer; /* the least of any window */
};

/* A question with a document. */
struct input {
    size_t question, document;
    struct engine_encoding encoding;
    size_t first, n;   /* the document's tokens in it */
    size_t room, next; /* of a window; where the next one begins, n when all is read */
};

/* One job of a round: tokens [from, from + n) of an input's document. */
struct window {
    size_t input, from, n;
};

struct extract {
    struct extract_options options;
    const char *envelope;
    struct question *questions;
    struct input *inputs;
    size_t n_inputs, oldest, next; /* the first inputs that still have tokens, and windows to come */
    struct window windows[EXTRACT_ROUND];
    float *start, *end; /* (context + 1) probabilities of the window that is judged */
    struct tasks tasks; /* of this round */
    struct engine_usage usage;
    struct engine_model *model;
};

/* ---- windows ---------------------------------------------------------------------------------- */

static int make_input(struct extract *x, struct input *in, struct error *e)
{
    const struct engine_text *q = &x->options.questions.items[in->question];
    const struct engine_text *d = &x->options.documents.items[in->document];
    size_t context = task_context(x->model);
    struct engine_encoding *c = &in->encoding;
    TRY(engine_encode(engine_model_vocabulary(x->model), q->bytes, q->len, d->bytes, d->len,
                      ENGINE_ADD_SPECIAL, c, e));
    while (in->first < c->n && c->sequence[in->first] != 1)
        in->first++;
    while (in->first + in->n < c->n && c->sequence[in->first + in->n] == 1)
        in->n++;
    size_t fixed = c->n - in->n;
    if (fixed + EXTRACT_LEAST_ROOM > context)
        return error_param(
            e, ERROR_CONTEXT_LENGTH, "question",
            "This model's maximum context length is %zu tokens. However, question %zu takes %zu of them, "
            "and at least %d are needed for the document.",
            context, in->question, fixed, EXTRACT_LEAST_ROOM);
    in->room = context - fixed;
    return 0;
}

/* The input with only the window's part of the document. */
static int make_window(struct extract *x, size_t job, struct input *in, size_t index, struct error *e)
{
    const struct engine_encoding *c = &in->encoding;
    struct engine_encoding *w = &x->tasks.items[job].encoding;
    size_t n = in->n - in->next < in->room ? in->n - in->next : in->room, tail = in->first + in->n;
    x->windows[job] = (struct window){index, in->next, n};
    w->n = c->n - in->n + n;
    w->ids = malloc(w->n * sizeof *w->ids);
    w->types = malloc(w->n);
    if (!w->ids || !w->types)
        return error_no_memory(e);
    for (size_t i = 0, from; i < w->n; i++) {
        from = i < in->first ? i : i < in->first + n ? i + in->next : tail + i - in->first - n;
        w->ids[i] = c->ids[from];
        w->types[i] = c->types[from];
    }
    size_t overlap = in->room / 2 < EXTRACT_OVERLAP ? in->room / 2 : EXTRACT_OVERLAP;
    in->next = in->next + n == in->n ? in->n : in->next + n - overlap;
    x->tasks.items[job].field = "documents";
    return task_prepare(&x->tasks, job, 0, false, e);
}

/* What was judged to its end needs its tokens no more. */
static void forget_inputs(struct extract *x)
{
    while (x->oldest < x->next)
        engine_encoding_free(&x->inputs[x->oldest++].encoding);
}

/* The next windows; call->n_jobs is 0 when there are none. */
static int next_round(struct api_call *call, struct extract *x, struct error *e)
{
    size_t job = 0;
    forget_inputs(x);
    tasks_free(&x->tasks);
    if (x->next == x->n_inputs)
        return 0;
    TRY(tasks_init(call, &x->tasks, x->model, ENGINE_TASK_ANSWER, EXTRACT_ROUND, e));
    while (job < EXTRACT_ROUND && x->next < x->n_inputs) {
        struct input *in = &x->inputs[x->next];
        if (!in->encoding.ids)
            TRY(make_input(x, in, e));
        if (in->next == in->n)
            x->next++;
        else
            TRY(make_window(x, job++, in, x->next, e));
    }
    x->tasks.n_items = job;
    return tasks_go_on(call, &x->tasks, e);
}

static int make_questions(struct api_call *call, struct extract *x, struct error *e)
{
    size_t n = x->options.questions.n, context = task_context(x->model);
    x->questions = arena_alloc(call->arena, n, sizeof *x->questions);
    x->inputs = arena_alloc(call->arena, x->n_inputs, sizeof *x->inputs);
    x->start = arena_alloc(call->arena, context + 1, sizeof *x->start);
    x->end = arena_alloc(call->arena, context + 1, sizeof *x->end);
    if (!x->questions || !x->inputs || !x->start || !x->end)
        return error_no_memory(e);
    for (size_t q = 0; q < n; q++) {
        x->questions[q].no_answer = INFINITY;
        x->questions[q].best = arena_alloc(call->arena, x->options.top_k, sizeof *x->questions[q].best);
        if (!x->questions[q].best)
            return error_no_memory(e);
    }
    for (size_t i = 0; i < x->n_inputs; i++) {
        x->inputs[i].question = i / x->options.documents.n;
        x->inputs[i].document = i % x->options.documents.n;
    }
    return 0;
}

static int write_answer(struct api_call *call, struct extract *x, struct error *e);

int extract_begin(struct api_call *call, struct engine_model *model, const struct extract_options *o,
                  struct extract **out, struct error *e)
{
    size_t n = o->questions.n * o->documents.n;
    if (n > LIMIT_PROMPTS)
        return error_param(e, ERROR_INVALID_REQUEST, "documents",
                           "questions times documents may be at most %d", LIMIT_PROMPTS);
    struct extract *x = arena_alloc(call->arena, 1, sizeof *x);
    if (!x)
        return error_no_memory(e);
    x->options = *o;
    x->model = model;
    x->n_inputs = n;
    TRY(make_questions(call, x, e));
    *out = x;
    TRY(wire_envelope(call, "qa", "answer", engine_model_info(model)->name, &x->envelope, e));
    TRY(next_round(call, x, e));
    return call->n_jobs == 0 ? write_answer(call, x, e) : 0;
}

void extract_event(struct extract *x, size_t job, const struct engine_event *event)
{
    tasks_event(&x->tasks, job, event);
}

/* ---- spans ------------------------------------------------------------------------------------ */

/* Keeps the best top_k spans; one that is known counts once, with its better score. */
static void keep_span(const struct extract *x, struct question *q, const struct span *span)
{
    size_t at = q->n_best;
    for (size_t i = 0; i < q->n_best; i++) {
        struct span *b = &q->best[i];
        if (b->document == span->document && b->start == span->start && b->end == span->end) {
            if (b->score >= span->score)
                return;
            memmove(b, b + 1, (q->n_best - i - 1) * sizeof *b);
            q->n_best--;
            at = q->n_best;
            break;
        }
    }
    while (at > 0 && q->best[at - 1].score < span->score)
        at--;
    if (at == x->options.top_k)
        return;
    q->n_best += q->n_best < x->options.top_k;
    memmove(q->best + at + 1, q->best + at, (q->n_best - at - 1) * sizeof *q->best);
    q->best[at] = *span;
}

/* Column `column` of the window's logits as probabilities: p[0] of the first token, p[1 + i] of document
 * token i. */
static void probabilities(const struct task_item *item, size_t first, size_t n, size_t column, float *p)
{
    p[0] = item->values[column];
    for (size_t i = 0; i < n; i++)
        p[1 + i] = item->values[(first + i) * 2 + column];
    softmax(p, n + 1);
}

static void judge_window(struct extract *x, size_t job)
{
    const struct window *w = &x->windows[job];
    const struct input *in = &x->inputs[w->input];
    const struct task_item *item = &x->tasks.items[job];
    struct question *q = &x->questions[in->question];
    probabilities(item, in->first, w->n, 0, x->start);
    probabilities(item, in->first, w->n, 1, x->end);
    q->no_answer = fmin(q->no_answer, (double)x->start[0] * (double)x->end[0]);
    for (size_t i = 0; i < w->n; i++) {
        for (size_t k = i; k < w->n && k < i + x->options.max_answer_tokens; k++) {
            double score = (double)x->start[1 + i] * (double)x->end[1 + k];
            size_t from = in->first + w->from;
            struct span span = {in->document, in->encoding.starts[from + i], in->encoding.ends[from + k],
                                score};
            if (span.end > span.start &&
                (q->n_best < x->options.top_k || score > q->best[q->n_best - 1].score))
                keep_span(x, q, &span);
        }
    }
}

/* ---- writing ---------------------------------------------------------------------------------- */

static void write_place(struct buf *out, const struct extract *x, size_t document, size_t start, size_t end)
{
    const char *text = x->options.documents.items[document].bytes;
    size_t first = text_code_points(text, start);
    buf_printf(out, "\"document\":%zu,\"start\":%zu,\"end\":%zu", document, first,
               first + text_code_points(text + start, end - start));
}

/* The sentences that the span lies in. */
static void write_evidence(struct buf *out, const struct extract *x, const struct span *span)
{
    const struct engine_text *text = &x->options.documents.items[span->document];
    struct sentence s;
    size_t start = span->start, end = span->end, from = 0, chars = 0;
    while (from < text->len && (from = sentence_next(text->bytes, text->len, from, false, &chars, &s)) != 0 &&
           s.start < span->end) {
        start = s.start <= span->start && span->start < s.end ? s.start : start;
        end = s.start < span->end && span->end <= s.end ? s.end : end;
    }
    buf_add_text(out, "{");
    write_place(out, x, span->document, start, end);
    buf_add_text(out, ",\"text\":");
    wire_text(out, text->bytes + start, end - start);
    buf_add_text(out, "}");
}

/* The text, its score and its place. */
static void write_span(struct buf *out, const struct extract *x, const struct span *span)
{
    wire_text(out, x->options.documents.items[span->document].bytes + span->start, span->end - span->start);
    buf_add_text(out, ",\"score\":");
    wire_float(out, span->score);
    buf_add_text(out, ",");
    write_place(out, x, span->document, span->start, span->end);
}

static void write_alternatives(struct buf *out, const struct extract *x, const struct question *q)
{
    buf_add_text(out, ",\"alternatives\":[");
    for (size_t i = 1; i < q->n_best; i++) {
        buf_add_text(out, i > 1 ? ",{\"answer\":" : "{\"answer\":");
        write_span(out, x, &q->best[i]);
        buf_add_text(out, "}");
    }
    buf_add_text(out, "]");
}

static void write_result(struct buf *out, const struct extract *x, size_t index)
{
    const struct question *q = &x->questions[index];
    buf_printf(out, "%s{\"index\":%zu,\"answer\":", index ? "," : "", index);
    if (q->n_best == 0) { /* blank documents */
        buf_add_text(out, "\"\",\"score\":0,\"evidence\":null,\"answerable\":false}");
        return;
    }
    write_span(out, x, &q->best[0]);
    buf_add_text(out, ",\"evidence\":");
    write_evidence(out, x, &q->best[0]);
    buf_printf(out,
               ",\"answerable\":%s,\"no_answer_score\":", q->best[0].score > q->no_answer ? "true" : "false");
    wire_float(out, q->no_answer);
    if (x->options.top_k > 1)
        write_alternatives(out, x, q);
    buf_add_text(out, "}");
}

static int write_answer(struct api_call *call, struct extract *x, struct error *e)
{
    buf_printf(&call->out, "%s,\"results\":[", x->envelope);
    for (size_t i = 0; i < x->options.questions.n; i++)
        write_result(&call->out, x, i);
    buf_add_text(&call->out, "],\"usage\":");
    wire_usage(&call->out, &x->usage, 0);
    buf_add_text(&call->out, "}");
    return call->out.failed ? error_no_memory(e) : 0;
}

int extract_advance(struct api_call *call, struct extract *x, struct error *e)
{
    TRY(tasks_go_on(call, &x->tasks, e)); /* a round's tokens may be more than one */
    if (call->n_jobs)
        return 0;
    usage_add(&x->usage, &x->tasks.usage);
    for (size_t i = 0; i < x->tasks.n_items; i++)
        judge_window(x, i);
    TRY(next_round(call, x, e));
    return call->n_jobs == 0 ? write_answer(call, x, e) : 0;
}

void extract_free(struct extract *x)
{
    if (!x)
        return;
    tasks_free(&x->tasks);
    for (size_t i = 0; i < x->n_inputs; i++)
        engine_encoding_free(&x->inputs[i].encoding);
}
