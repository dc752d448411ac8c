/* batch.c - see batch.h.
 * Order inside a tick: gather -> forward -> for a few items at a time: logits, prompt events, pooling, prefix
 * pages, sample in parallel -> tell.  Only the sampling runs on the pool; events are sent one after another,
 * in the order of the items. A draft's rows are sampled in order for as long as the token picked is the one
 * that was drafted: each pick is the one that would have been made without it. */
#include "engine/schedule/batch.h"

#include <stdlib.h>
#include <string.h>

#include "engine/base/clock.h"
#include "engine/schedule/beams.h"
#include "engine/schedule/pooling.h"
#include "engine/schedule/speculate.h"

/* A sequence (or a follower that forks from it) that gets a token from one row of logits, or a beam whose row
 * is searched. */
struct pick {
    struct sequence *sequence;
    const float *logits;
    unsigned rank; /* of a beam */
    size_t n;      /* rows of this draw: the pick and those behind it for a draft; 0: such a one */
    size_t drawn;  /* of them with a token */
    bool done;     /* the grammar is followed to its end */
    struct engine_token token;
    struct engine_alternative top[LIMIT_TOP_LOGPROBS];
};

/* Logits of so many rows at once, which are sampled before the next ones are computed (more of an item that
 * wants more): a vocabulary is wide, and so many rows cost no more time each than all at once. */
enum { LOGIT_ROWS = 32 };

struct batch_runner {
    struct exec *exec;
    struct sampler_scratch *scratch; /* one a pool worker */
    size_t cap_rows, cap_items, cap_pages, cap_logits, cap_hidden, cap_picks;
    int32_t *tokens;
    uint32_t *positions, *logit_rows;
    struct attention_span *spans;
    struct source_span *sources;
    size_t *first_logit; /* (items) index of an item's first logit row */
    void **pages, **states;
    float *logits;
    float *hidden; /* of a batch in which something is pooled, and one row more */
    struct pick *picks;
    size_t n_picks, n_drawn, vocabulary;
};

int batch_runner_create(struct exec *x, struct batch_runner **out, struct error *e)
{
    struct batch_runner *r = calloc(1, sizeof *r);
    if (!r)
        return error_no_memory(e);
    r->exec = x;
    r->scratch = calloc(pool_threads(exec_pool(x)), sizeof *r->scratch);
    if (!r->scratch) {
        free(r);
        return error_no_memory(e);
    }
    *out = r;
    return 0;
}

void batch_runner_free(struct batch_runner *r)
{
    if (!r)
        return;
    for (unsigned i = 0; i < pool_threads(exec_pool(r->exec)); i++)
        sampler_scratch_free(&r->scratch[i]);
    void *buffers[] = {r->scratch,     r->tokens, r->positions, r->logit_rows, r->spans,  r->sources,
                       r->first_logit, r->pages,  r->states,    r->logits,     r->hidden, r->picks};
    for (size_t i = 0; i < sizeof buffers / sizeof buffers[0]; i++)
        free(buffers[i]);
    free(r);
}

void batch_runner_trim(struct batch_runner *r)
{
    free(r->logits);
    free(r->hidden);
    r->logits = r->hidden = NULL;
    r->cap_logits = r->cap_hidden = 0;
}

int batch_grow(void *pointer, size_t count, size_t size)
{
    void **p = pointer;
    size_t bytes;
    if (__builtin_mul_overflow(count, size, &bytes) || bytes > SIZE_MAX - 63)
        return -1;
    free(*p);
    *p = aligned_alloc(64, (bytes + 63) & ~(size_t)63);
    return *p ? 0 : -1;
}

int batch_reserve(void *pointer, size_t *cap, size_t count, size_t size)
{
    if (count <= *cap)
        return 0;
    *cap = 0;
    TRY(batch_grow(pointer, count, size));
    *cap = count;
    return 0;
}

static int grow_all(struct batch_runner *r, size_t rows, size_t items, size_t pages)
{
    if (rows > r->cap_rows) {
        r->cap_rows = 0;
        TRY(batch_grow(&r->tokens, rows, sizeof *r->tokens));
        TRY(batch_grow(&r->positions, rows, sizeof *r->positions));
        TRY(batch_grow(&r->logit_rows, rows, sizeof *r->logit_rows));
        r->cap_rows = rows;
    }
    if (items > r->cap_items) {
        r->cap_items = 0;
        TRY(batch_grow(&r->spans, items, sizeof *r->spans));
        TRY(batch_grow(&r->sources, items, sizeof *r->sources));
        TRY(batch_grow(&r->states, items, sizeof *r->states));
        TRY(batch_grow(&r->first_logit, items, sizeof *r->first_logit));
        r->cap_items = items;
    }
    return batch_reserve(&r->pages, &r->cap_pages, pages, sizeof *r->pages);
}

/* Its last pending token is in this tick, and something is to be generated. */
static bool will_sample(const struct batch_item *item)
{
    const struct sequence *s = item->sequence;
    return s->n_computed + item->take >= s->n_tokens && s->job->max_tokens > 0;
}

/* The row of position p tells the log probability of prompt token p + 1; the last token's and the draft's
 * rows what comes next. */
static bool wants_logits(const struct batch_item *item, size_t position)
{
    const struct sequence *s = item->sequence;
    if (s->job->spec.prompt_logprobs && s->choice == 0 && position + 1 < s->job->spec.n_prompt)
        return true;
    return position + 1 >= s->n_tokens && will_sample(item);
}

static void add_rows(struct batch_runner *r, struct batch *b, const struct batch_item *item)
{
    const struct sequence *s = item->sequence;
    for (size_t i = 0; i < item->take; i++) {
        size_t position = s->n_computed + i;
        r->tokens[b->rows] = s->tokens[position];
        r->positions[b->rows] = (uint32_t)position;
        if (wants_logits(item, position))
            r->logit_rows[b->n_logit_rows++] = (uint32_t)b->rows;
        b->rows++;
    }
}

static void add_span(struct batch_runner *r, const struct batch *b, const struct batch_item *item, size_t i,
                     void **pages)
{
    const struct sequence *s = item->sequence;
    const struct job *j = s->job;
    for (size_t p = 0; p < s->n_pages; p++)
        pages[p] = s->pages[p]->data;
    r->spans[i] = (struct attention_span){.first_row = b->rows,
                                          .rows = item->take,
                                          .first_position = s->n_computed,
                                          .pages = s->n_pages ? pages : NULL};
    r->states[i] = s->recurrent ? s->recurrent->data : NULL;
    r->sources[i] = (struct source_span){j->spec.prompt, j->spec.n_prompt, j->source.data};
    r->first_logit[i] = b->n_logit_rows;
}

static int gather(struct batch_runner *r, const struct model_shape *shape, const struct batch_item *items,
                  size_t n, struct batch *b)
{
    size_t rows = 0, pages = 0, used = 0;
    bool pools = false;
    for (size_t i = 0; i < n; i++) {
        rows += items[i].take;
        pages += items[i].sequence->n_pages;
        pools = pools || items[i].sequence->job->pooled;
    }
    TRY(grow_all(r, rows, n, pages + 1)); /* one, so that there is an array where nobody has pages */
    memset(b, 0, sizeof *b);
    for (size_t i = 0; i < n; i++) {
        b->prompt_rows += sequence_prompt_left(items[i].sequence) > 0 ? items[i].take : 0;
        add_span(r, b, &items[i], i, r->pages + used);
        used += items[i].sequence->n_pages;
        add_rows(r, b, &items[i]);
    }
    if (pools)
        TRY(batch_reserve(&r->hidden, &r->cap_hidden, (rows + 1) * shape->embedding, sizeof *r->hidden));
    b->tokens = r->tokens;
    b->positions = r->positions;
    b->spans = r->spans;
    b->n_spans = n;
    b->states = shape->state_bytes > 0 ? r->states : NULL;
    b->sources = shape->cross_layers > 0 ? r->sources : NULL;
    b->logit_rows = r->logit_rows;
    b->hidden = pools ? r->hidden : NULL;
    return 0;
}

/* Log probabilities of prompt tokens first .. first+n-1 (n at most BATCH_LOGPROB_ROWS + 1) out of this tick's
 * rows. */
struct prompt_report {
    const struct batch_runner *runner;
    const struct sequence *sequence;
    const float *logits; /* of the row before the first token that has one */
    size_t first, first_row_token;
    struct engine_token tokens[BATCH_LOGPROB_ROWS + 1];
    struct engine_alternative top[BATCH_LOGPROB_ROWS + 1][LIMIT_TOP_LOGPROBS];
};

static void report_token(void *context, size_t i, unsigned worker)
{
    struct prompt_report *p = context;
    (void)worker;
    size_t index = p->first + i, vocabulary = p->runner->vocabulary;
    struct engine_token *t = &p->tokens[i];
    *t = (struct engine_token){.id = p->sequence->tokens[index]};
    if (index == 0)
        return;
    logprobs_of(exec_kernels(p->runner->exec), p->logits + (index - p->first_row_token) * vocabulary,
                vocabulary, p->sequence->job->spec.top_logprobs, t, p->top[i]);
}

/* Tells prompt tokens that were not told before (a preempted sequence computes some of them again). */
static int report_prompt(struct batch_runner *r, const struct batch_item *item, const float *logits)
{
    struct sequence *s = item->sequence;
    const struct job *j = s->job;
    size_t end = s->n_computed + item->take + 1; /* the last row tells of the token after it */
    end = end < j->spec.n_prompt ? end : j->spec.n_prompt;
    if (!j->spec.prompt_logprobs || s->choice != 0 || s->n_reported >= end)
        return 0;
    struct prompt_report *p = calloc(1, sizeof *p);
    if (!p)
        return -1;
    p->runner = r;
    p->sequence = s;
    p->logits = logits;
    p->first = s->n_reported;
    p->first_row_token = s->n_computed + 1;
    pool_run(exec_pool(r->exec), end - p->first, report_token, p);
    job_send_prompt(s->job, p->tokens, end - p->first);
    s->n_reported = end;
    free(p);
    return 0;
}

static int add_pick(struct batch_runner *r, struct sequence *s, const float *logits)
{
    if (r->n_picks == r->cap_picks) {
        size_t cap = r->cap_picks ? r->cap_picks * 2 : 16;
        struct pick *picks = realloc(r->picks, cap * sizeof *picks);
        if (!picks)
            return -1;
        r->picks = picks;
        r->cap_picks = cap;
    }
    struct pick *p = &r->picks[r->n_picks++];
    p->sequence = s;
    p->logits = logits;
    p->token = (struct engine_token){0};
    p->rank = 0;
    p->n = 1;
    p->drawn = 0;
    return 0;
}

static int add_beam(struct batch_runner *r, struct sequence *s, const float *logits)
{
    TRY(add_pick(r, s, logits));
    struct pick *p = &r->picks[r->n_picks - 1];
    while (s->job->ranks[p->rank] != s)
        p->rank++;
    return 0;
}

static int add_picks(struct batch_runner *r, struct sequence *s, const float *logits)
{
    struct job *j = s->job;
    if (j->beams)
        return add_beam(r, s, logits);
    TRY(add_pick(r, s, logits));
    size_t leader = r->n_picks - 1;
    for (size_t i = 1; i <= s->n_draft; i++) {
        TRY(add_pick(r, s, logits + i * r->vocabulary));
        r->picks[leader + i].n = 0;
        r->picks[leader].n++;
    }
    if (s->choice != 0)
        return 0;
    for (unsigned i = 1; i < j->n_sequences; i++) {
        if (j->sequences[i].state != SEQUENCE_FOLLOWING)
            continue;
        sequence_share(&j->sequences[i], s, s->n_computed);
        TRY(add_pick(r, &j->sequences[i], logits));
    }
    return 0;
}

static bool is_end(const void *job, int32_t id)
{
    return job_is_end(job, id);
}

/* Leaves the token's id 0, or -1 when memory is out. */
static void scan_beam(struct batch_runner *r, struct pick *p, unsigned worker)
{
    const struct sequence *s = p->sequence;
    float total = row_log_sum_exp(exec_kernels(r->exec), p->logits, r->vocabulary);
    struct beam_row row = {.logits = p->logits, .total = total, .vocabulary = r->vocabulary};
    row.scores = sampler_scores(s->sampler, p->logits, total, s->tokens, s->n_tokens, &r->scratch[worker]);
    row.is_end = is_end;
    row.context = s->job;
    p->token.id = row.scores ? 0 : -1;
    if (row.scores)
        beam_search_scan(s->job->beams, p->rank, &row);
}

/* The token after n tokens; false when memory is out. */
static bool draw(struct batch_runner *r, struct pick *p, size_t n, unsigned worker)
{
    const struct sequence *s = p->sequence;
    const struct engine_job *spec = &s->job->spec;
    p->token.id = sampler_pick(s->sampler, p->logits, s->tokens, n, &r->scratch[worker]);
    if (p->token.id < 0)
        return false;
    sampler_accept(s->sampler, p->token.id);
    p->done = sampler_done(s->sampler);
    if (spec->logprobs)
        logprobs_of(exec_kernels(r->exec), p->logits, r->vocabulary, spec->top_logprobs, &p->token, p->top);
    return true;
}

static void draw_run(void *context, size_t i, unsigned worker)
{
    struct batch_runner *r = context;
    struct pick *p = &r->picks[r->n_drawn + i];
    const struct sequence *s = p->sequence;
    if (s->job->beams) {
        scan_beam(r, p, worker);
        return;
    }
    for (size_t k = 0; k < p->n; k++) {
        if (!draw(r, &p[k], s->n_tokens + k, worker))
            return;
        p->drawn = k + 1;
        if (p[k].done || job_is_end(s->job, p[k].token.id))
            return;
        if (k + 1 < p->n && p[k].token.id != s->tokens[s->n_tokens + k])
            return;
    }
}

static void accept(struct sequence *s, const struct pick *p)
{
    struct job *j = s->job;
    const struct engine_token *token = &p->token;
    bool ok = true;
    int stop = -1;
    s->tokens[s->n_tokens++] = token->id;
    j->usage.completion_tokens++;
    enum engine_finish finish = job_finish(j, token->id, s->n_tokens - j->n_prefix);
    if (!job_is_end(j, token->id))
        stop = text_stream_push(s->text, token->id, &ok);
    if (stop >= 0)
        finish = ENGINE_FINISH_STOP;
    if (p->done)
        finish = ENGINE_FINISH_STOP;
    if (finish != ENGINE_FINISH_NONE)
        text_stream_finish(s->text);
    if (!ok) {
        error_no_memory(&j->failure);
        return;
    }
    job_send_step(j, s, token, finish, stop);
    if (finish != ENGINE_FINISH_NONE)
        sequence_finish(s);
}

/* A job that generates nothing ends when its prompt is read. */
static void finish_prompt_only(struct job *j, const struct batch *b)
{
    size_t width = j->served->model->shape.embedding;
    if (j->pooled) {
        float *vector = b->hidden + b->rows * width;
        j->first_token_ns = clock_ns();
        pooling_finish(j->pooling, j->pooled, width, j->spec.n_prompt, vector);
        job_send_result(j, vector, 1, width, NULL, 0);
    }
    for (unsigned i = 0; i < j->n_sequences; i++) {
        if (!j->pooled)
            job_send_step(j, &j->sequences[i], NULL, ENGINE_FINISH_LENGTH, -1);
        sequence_finish(&j->sequences[i]);
    }
}

/* A sequence that was preempted begins again with its first row, and so does its sum. */
static void pool_rows(const struct batch *b, size_t item, const struct sequence *s, size_t take)
{
    const struct job *j = s->job;
    size_t width = j->served->model->shape.embedding;
    if (j->pooled)
        pooling_add(j->pooling, j->pooled, width, b->hidden + b->spans[item].first_row * width, s->n_computed,
                    take, j->spec.n_prompt);
}

static void fail_items(const struct batch_item *items, size_t n)
{
    for (size_t i = 0; i < n; i++)
        error_no_memory(&items[i].sequence->job->failure);
}

/* After the forward pass: what is computed now, which rows are to be sampled.  logits: of item i's rows. */
static void advance(struct batch_runner *r, const struct batch *b, const struct batch_item *item, size_t i,
                    const float *logits, bool keep_prefix, struct batch_result *result)
{
    struct sequence *s = item->sequence;
    struct job *j = s->job;
    bool sample = will_sample(item);
    if (report_prompt(r, item, logits) < 0) {
        error_no_memory(&j->failure);
        return;
    }
    pool_rows(b, i, s, item->take);
    size_t first = s->n_computed, last_logit = 0;
    for (size_t p = first; p + 1 < s->n_tokens && p + 1 < first + item->take; p++)
        last_logit += wants_logits(item, p);
    s->n_computed += item->take - s->n_draft;
    if (!j->has_source && first < j->n_prefix)
        result->prompt_tokens += (s->n_computed < j->n_prefix ? s->n_computed : j->n_prefix) - first;
    if (keep_prefix)
        sequence_keep_prefix(s, exec_prompt_differs(r->exec));
    if (sample && add_picks(r, s, logits + last_logit * r->vocabulary) < 0)
        error_no_memory(&j->failure);
    else if (!sample && s->n_computed == s->n_tokens)
        finish_prompt_only(j, b);
}

/* What was drawn for one sequence.  A token that follows a drafted one makes that one computed. */
static void tell_run(struct pick *p, struct batch_result *result)
{
    struct sequence *s = p->sequence;
    struct job *j = s->job;
    size_t told = 0;
    result->drafted_tokens += p->n - 1;
    for (; told < p->drawn && s->state == SEQUENCE_RUNNING && j->failure.kind == ERROR_NONE; told++) {
        s->n_computed += told > 0;
        result->accepted_tokens += told > 0;
        result->generated_tokens++;
        accept(s, &p[told]);
    }
    sequence_settle(s, p->drawn - 1);
}

static void tell(struct batch_runner *r, struct batch_result *result)
{
    for (size_t i = 0; i < r->n_picks; i++) {
        if (r->picks[i].token.id < 0)
            sampler_error(r->picks[i].token.id, &r->picks[i].sequence->job->failure);
    }
    for (size_t i = 0; i < r->n_picks; i++) {
        struct pick *p = &r->picks[i];
        struct job *j = p->sequence->job;
        if (p->n == 0 || j->failure.kind != ERROR_NONE)
            continue;
        if (!j->first_token_ns)
            j->first_token_ns = clock_ns();
        if (!j->beams) {
            tell_run(p, result);
            continue;
        }
        result->generated_tokens++;
        if (p->rank == 0)
            beams_step(j);
    }
}

/* Where item i's logit rows end. */
static size_t logits_end(const struct batch_runner *r, const struct batch *b, size_t i)
{
    return i + 1 < b->n_spans ? r->first_logit[i + 1] : b->n_logit_rows;
}

/* Items from i on whose logits are computed at once; slices are about alike. */
static size_t slice_end(const struct batch_runner *r, const struct batch *b, size_t i)
{
    size_t slices = (b->n_logit_rows + LOGIT_ROWS - 1) / LOGIT_ROWS, first = r->first_logit[i];
    size_t even = slices ? (b->n_logit_rows + slices - 1) / slices : 0;
    size_t end = i + 1;
    while (end < b->n_spans && r->first_logit[end] - first < even &&
           logits_end(r, b, end) - first <= LOGIT_ROWS)
        end++;
    return end;
}

/* Items i … end-1: from their logits to what is drawn. */
static int run_slice(struct batch_runner *r, struct model *m, const struct batch *b,
                     const struct batch_item *items, size_t i, size_t end, bool keep_prefix,
                     struct batch_result *result)
{
    size_t first = r->first_logit[i], rows = logits_end(r, b, end - 1) - first;
    TRY(batch_reserve(&r->logits, &r->cap_logits, rows * r->vocabulary, sizeof *r->logits));
    if (rows > 0)
        TRY(m->arch->logits(m, r->exec, b, first, rows, r->logits));
    for (; i < end; i++) {
        const float *logits = rows > 0 ? r->logits + (r->first_logit[i] - first) * r->vocabulary : NULL;
        advance(r, b, &items[i], i, logits, keep_prefix, result);
    }
    pool_run(exec_pool(r->exec), r->n_picks - r->n_drawn, draw_run, r);
    r->n_drawn = r->n_picks;
    return 0;
}

struct batch_result batch_run(struct batch_runner *r, struct served_model *m, const struct batch_item *items,
                              size_t n, bool keep_prefix)
{
    struct batch b;
    struct batch_result result = {0};
    r->n_picks = r->n_drawn = 0;
    r->vocabulary = m->model->shape.vocabulary;
    exec_set_weight_bytes(r->exec, m->model->weight_bytes);
    if (gather(r, &m->model->shape, items, n, &b) < 0 || m->model->arch->forward(m->model, r->exec, &b) < 0) {
        fail_items(items, n);
        return result;
    }
    for (size_t i = 0, end; i < n; i = end) {
        end = slice_end(r, &b, i);
        if (run_slice(r, m->model, &b, items, i, end, keep_prefix, &result) < 0)
            fail_items(items + i, end - i);
    }
    tell(r, &result);
    return result;
}
