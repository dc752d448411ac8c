/* fake_family.h - a model without weights that reads all it was given, and a scheduler round it, for
 * test_encode_jobs.c and test_beam.c.
 * As a decoder it writes tokens into its pages or a hash into its state, and derives logits from everything
 * it finds there and in the pages of its source: a wrong page, a missed copy or a lost row changes the
 * answer.  As an encoder its outputs are sums that tell where each came from.  What must come out is a few
 * lines here, too. */
#ifndef LOQUAT_TESTS_FAKE_FAMILY_H
#define LOQUAT_TESTS_FAKE_FAMILY_H

#include <check.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/base/hash.h"
#include "engine/kernels/kernels.h"
#include "engine/models/arch.h"
#include "engine/schedule/scheduler.h"
#include "tests/unit/byte_vocabulary.h"

enum { FAKE_EMBEDDING = 8, FAKE_LABELS = 3, FAKE_CONTEXT = 1024, FAKE_LOGIT_ROWS = 1024 };

struct fake_family {
    struct model base;
    float bonus;         /* added to the logits of ends */
    const int32_t *ends; /* n_ends */
    size_t n_ends;
    atomic_size_t rows, encoded, most_encoded; /* forward and encoder rows; the latter in one call at most */
    atomic_uint slow_us;
    uint64_t logit_hashes[FAKE_LOGIT_ROWS]; /* of the last forward() */
    atomic_bool fails;                      /* as if scratch memory were out */
};

struct fake_state {
    uint64_t hash, n;
};

static inline int32_t *fake_slot(void *const *pages, size_t position)
{
    return (int32_t *)pages[position / KV_PAGE_TOKENS] + position % KV_PAGE_TOKENS;
}

static inline void fake_row(const struct fake_family *m, uint64_t hash, float *logits)
{
    for (size_t t = 0; t < m->base.shape.vocabulary; t++)
        logits[t] = (float)(hash_mix(hash, t) >> 40) / 2097152.0f; /* 24 bits: exact */
    for (size_t i = 0; i < m->n_ends; i++)
        logits[m->ends[i]] += m->bonus;
}

/* Takes a token in; returns what all of the sequence up to it comes to. */
static inline uint64_t fake_read(const struct fake_family *m, const struct batch *b, size_t span, size_t r)
{
    const struct attention_span *s = &b->spans[span];
    const struct model_shape *shape = &m->base.shape;
    size_t position = s->first_position + r;
    int32_t token = b->tokens[s->first_row + r];
    uint64_t hash = 0;
    ck_assert_uint_eq(b->positions[s->first_row + r], position);
    for (size_t i = 0; shape->cross_layers > 0 && i < b->sources[span].n_tokens; i++) {
        ck_assert_int_eq(*fake_slot(b->sources[span].pages, i), b->sources[span].tokens[i]);
        hash = hash_mix(hash, (uint64_t)*fake_slot(b->sources[span].pages, i));
    }
    if (shape->state_bytes > 0) {
        struct fake_state *state = b->states[span];
        if (position == 0)
            *state = (struct fake_state){hash, 0};
        ck_assert_uint_eq(state->n, position);
        *state = (struct fake_state){hash_mix(state->hash, (uint64_t)token), position + 1};
        hash = state->hash;
    } else if (shape->kv_layers > 0) {
        *fake_slot(s->pages, position) = token;
        for (size_t p = 0; p <= position; p++)
            hash = hash_mix(hash, (uint64_t)*fake_slot(s->pages, p));
    } else {
        hash = hash_mix(hash, (uint64_t)token);
    }
    return hash;
}

/* Component i of the hidden row of a token at a position of a text of n tokens (0: of a decoder). */
static inline float fake_hidden(int32_t token, size_t position, size_t n, unsigned type, size_t i)
{
    return (float)token + 0.5f * (float)i * (float)position + 1000 * (float)n + 0.25f * (float)type;
}

static inline int fake_forward(struct model *model, struct exec *x, const struct batch *b)
{
    struct fake_family *m = (struct fake_family *)model;
    const struct model_shape *shape = &model->shape;
    size_t logit = 0;
    (void)x;
    ck_assert((b->states != NULL) == (shape->state_bytes > 0));
    ck_assert((b->sources != NULL) == (shape->cross_layers > 0));
    for (size_t i = 0; i < b->n_spans; i++) {
        const struct attention_span *s = &b->spans[i];
        ck_assert((s->pages != NULL) == (shape->kv_layers > 0));
        for (size_t r = 0; r < s->rows; r++) {
            size_t row = s->first_row + r;
            uint64_t hash = fake_read(m, b, i, r);
            ck_assert_uint_lt(logit, FAKE_LOGIT_ROWS);
            for (size_t k = 0; b->hidden && k < shape->embedding; k++)
                b->hidden[row * shape->embedding + k] =
                    fake_hidden(b->tokens[row], s->first_position + r, 0, 0, k);
            if (logit < b->n_logit_rows && b->logit_rows[logit] == row)
                m->logit_hashes[logit++] = hash;
        }
    }
    ck_assert_uint_eq(logit, b->n_logit_rows);
    m->rows += b->rows;
    if (m->slow_us)
        usleep(m->slow_us);
    return m->fails ? -1 : 0;
}

static inline int fake_logits(struct model *model, struct exec *x, const struct batch *b, size_t first,
                              size_t n, float *out)
{
    const struct fake_family *m = (const struct fake_family *)model;
    (void)x;
    ck_assert_uint_le(first + n, b->n_logit_rows);
    for (size_t i = 0; i < n; i++)
        fake_row(m, m->logit_hashes[first + i], out + i * model->shape.vocabulary);
    return 0;
}

static inline int32_t fake_sum(const int32_t *tokens, size_t n)
{
    int32_t sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += tokens[i];
    return sum;
}

static inline void fake_encode_span(const struct fake_family *m, const struct encode_batch *b, size_t i)
{
    const struct attention_span *s = &b->spans[i];
    const int32_t *tokens = b->tokens + s->first_row;
    int32_t sum = fake_sum(tokens, s->rows);
    size_t width = m->base.shape.embedding, labels = m->base.shape.n_labels;
    ck_assert_uint_eq(s->first_position, 0);
    ck_assert((s->pages != NULL) == (b->output == ENCODE_SOURCE));
    for (size_t k = 0; b->output == ENCODE_POOLED && k < width; k++)
        b->out[i * width + k] = (float)(sum + (int32_t)k);
    for (size_t k = 0; b->output == ENCODE_LABELS && k < labels; k++)
        b->out[i * labels + k] = (float)(sum * (int32_t)(k + 1));
    for (size_t r = 0; r < s->rows; r++) {
        size_t row = s->first_row + r;
        if (b->output == ENCODE_SOURCE)
            *fake_slot(s->pages, r) = tokens[r];
        for (size_t k = 0; b->output == ENCODE_HIDDEN && k < width; k++)
            b->out[row * width + k] = fake_hidden(tokens[r], r, s->rows, b->types[row], k);
        for (size_t k = 0; b->output == ENCODE_TAGS && k < labels; k++)
            b->out[row * labels + k] = (float)(sum + (int32_t)(r * k)) + 0.5f * (float)tokens[r];
    }
}

/* Masked rows: the best is the text's sum + position, the next ones follow it. */
static inline void fake_masked(const struct fake_family *m, const struct encode_batch *b)
{
    size_t vocabulary = m->base.shape.vocabulary, span = 0;
    for (size_t i = 0; i < b->n_output_rows; i++) {
        while (b->output_rows[i] >= b->spans[span].first_row + b->spans[span].rows)
            span++;
        const struct attention_span *s = &b->spans[span];
        size_t best = (size_t)fake_sum(b->tokens + s->first_row, s->rows) + b->output_rows[i] - s->first_row;
        for (size_t t = 0; t < vocabulary; t++)
            b->out[i * vocabulary + (best + t) % vocabulary] = -(float)t;
    }
}

static inline int fake_encode(struct model *model, struct exec *x, const struct encode_batch *b)
{
    struct fake_family *m = (struct fake_family *)model;
    (void)x;
    size_t rows = 0;
    for (size_t i = 0; i < b->n_spans; i++) {
        ck_assert_uint_eq(b->spans[i].first_row, rows);
        rows += b->spans[i].rows;
        fake_encode_span(m, b, i);
    }
    ck_assert_uint_eq(b->rows, rows);
    if (b->output == ENCODE_MASKED)
        fake_masked(m, b);
    m->encoded += b->rows;
    if (m->most_encoded < b->rows)
        m->most_encoded = b->rows;
    if (m->slow_us)
        usleep(m->slow_us);
    return m->fails ? -1 : 0;
}

static const struct arch fake_decoder = {.name = "fake", .forward = fake_forward, .logits = fake_logits};
static const struct arch fake_encoder = {.name = "fake", .encode = fake_encode};
static const struct arch fake_both = {
    .name = "fake", .forward = fake_forward, .logits = fake_logits, .encode = fake_encode};

enum fake_kind {
    FAKE_PLAIN,
    FAKE_RECURRENT,
    FAKE_MEMORYLESS,
    FAKE_TRANSFORM,
    FAKE_TRANSFORM_STATE,
    FAKE_ENCODER
};

static inline void fake_init(struct fake_family *m, enum fake_kind kind, size_t vocabulary)
{
    struct model_shape *s = &m->base.shape;
    memset(m, 0, sizeof *m);
    bool source = kind == FAKE_TRANSFORM || kind == FAKE_TRANSFORM_STATE;
    m->base.arch = kind == FAKE_ENCODER ? &fake_encoder : source ? &fake_both : &fake_decoder;
    m->base.context = FAKE_CONTEXT;
    m->base.kv_dtype = DTYPE_F32;
    *s = (struct model_shape){.vocabulary = vocabulary, .trained_context = FAKE_CONTEXT, .layers = 1};
    s->embedding = FAKE_EMBEDDING;
    s->abilities = ENGINE_CAN_GENERATE | ENGINE_CAN_EMBED;
    if (kind == FAKE_PLAIN || kind == FAKE_TRANSFORM) {
        s->kv_layers = s->kv_heads = 1;
        s->head_dim = 16;
    }
    if (kind == FAKE_RECURRENT || kind == FAKE_TRANSFORM_STATE)
        s->state_bytes = sizeof(struct fake_state);
    if (source) {
        s->cross_layers = s->cross_heads = 1;
        s->cross_head_dim = 16;
        s->source_context = FAKE_CONTEXT;
        s->abilities = ENGINE_CAN_GENERATE | ENGINE_CAN_TRANSFORM;
    }
    if (kind == FAKE_ENCODER) {
        s->abilities =
            ENGINE_CAN_EMBED | ENGINE_CAN_CLASSIFY | ENGINE_CAN_TAG | ENGINE_CAN_ANSWER | ENGINE_CAN_FILL;
        s->n_labels = FAKE_LABELS;
        s->has_pooler = true;
    }
}

/* ---- the scheduler and who listens --------------------------------------------------------------- */

enum { FAKE_CHOICES = 8, FAKE_TOKENS = 320, FAKE_VALUES = 4096 };

struct fake_answer {
    int32_t tokens[FAKE_CHOICES][FAKE_TOKENS];
    float logprobs[FAKE_CHOICES][FAKE_TOKENS];
    size_t n[FAKE_CHOICES], steps[FAKE_CHOICES];
    double score[FAKE_CHOICES];
    enum engine_finish finish[FAKE_CHOICES];
    float values[FAKE_VALUES];
    size_t rows, cols, results;
    struct engine_token masked[LIMIT_MASKED];
    struct engine_alternative top[LIMIT_MASKED][LIMIT_TOP_LOGPROBS];
    size_t n_masked;
    char text[FAKE_CHOICES][FAKE_TOKENS * 4];
    size_t text_len[FAKE_CHOICES];
    int finals;
    struct error error;
    struct engine_usage usage;
    uint64_t id;
};

static struct pool *bench_pool;
static struct exec *bench_exec;
static struct scheduler *bench;
static pthread_mutex_t bench_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t bench_changed = PTHREAD_COND_INITIALIZER;

static inline void bench_open(uint64_t kv_memory, size_t batch_tokens)
{
    struct error e = {0};
    ck_assert_int_eq(pool_create(2, &bench_pool, &e), 0);
    ck_assert_int_eq(exec_create(kernels_select("scalar", &e), bench_pool, &bench_exec, &e), 0);
    const struct scheduler_options o = {.exec = bench_exec,
                                        .kv_memory = kv_memory,
                                        .batch_tokens = batch_tokens,
                                        .max_sequences = 32,
                                        .queue_requests = 10000,
                                        .queue_tokens = 10000000,
                                        .queue_deadline_ns = UINT64_C(60000000000),
                                        .prefix_reuse = true,
                                        .speculation = 16};
    ck_assert_int_eq(scheduler_create(&o, &bench, &e), 0);
}

static inline void bench_serve(struct served_model *served, struct fake_family *m)
{
    *served = (struct served_model){.model = &m->base, .tokenizer = byte_vocabulary()};
    generation_rules_init(&served->rules);
}

/* Before it the scheduler's counts must be back to nothing. */
static inline void bench_close(struct served_model *const *served, size_t n)
{
    struct engine_stats stats;
    scheduler_stats(bench, &stats);
    ck_assert_uint_eq(stats.kv_bytes_used, 0);
    ck_assert_uint_eq(stats.queued_jobs, 0);
    ck_assert_uint_eq(stats.queued_tokens, 0);
    scheduler_stop(bench);
    for (size_t i = 0; i < n; i++) {
        served_model_release(served[i]);
        tokenizer_free((struct tokenizer *)(uintptr_t)served[i]->tokenizer);
    }
    scheduler_free(bench);
    exec_free(bench_exec);
    pool_free(bench_pool);
}

static inline void bench_note_step(struct fake_answer *a, const struct engine_event *event)
{
    unsigned c = event->choice;
    for (size_t i = 0; i < event->n_tokens; i++) {
        a->logprobs[c][a->n[c]] = event->tokens[i].logprob;
        a->tokens[c][a->n[c]++] = event->tokens[i].id;
    }
    memcpy(a->text[c] + a->text_len[c], event->text, event->text_len);
    a->text_len[c] += event->text_len;
    a->steps[c]++;
    a->score[c] = event->score;
    ck_assert_int_eq(a->finish[c], ENGINE_FINISH_NONE);
    a->finish[c] = event->finish;
}

static inline void bench_note_result(struct fake_answer *a, const struct engine_event *event)
{
    a->results++;
    a->rows = event->n_rows;
    a->cols = event->n_cols;
    ck_assert_uint_le(a->rows * a->cols, FAKE_VALUES);
    if (event->values)
        memcpy(a->values, event->values, a->rows * a->cols * sizeof(float));
    a->n_masked = event->n_tokens;
    for (size_t i = 0; i < event->n_tokens; i++) {
        a->masked[i] = event->tokens[i];
        memcpy(a->top[i], event->tokens[i].top, event->tokens[i].n_top * sizeof a->top[i][0]);
    }
}

static inline void bench_event(void *user, const struct engine_event *event)
{
    struct fake_answer *a = user;
    pthread_mutex_lock(&bench_lock);
    ck_assert_int_eq(a->finals, 0); /* nothing follows the final event */
    if (event->kind == ENGINE_EVENT_STEP)
        bench_note_step(a, event);
    if (event->kind == ENGINE_EVENT_RESULT)
        bench_note_result(a, event);
    if (event->kind == ENGINE_EVENT_FINAL) {
        a->finals++;
        a->usage = event->usage;
        if (event->error)
            a->error = *event->error;
    }
    pthread_cond_broadcast(&bench_changed);
    pthread_mutex_unlock(&bench_lock);
}

static inline void bench_wait(struct fake_answer *a)
{
    pthread_mutex_lock(&bench_lock);
    while (!a->finals)
        pthread_cond_wait(&bench_changed, &bench_lock);
    pthread_mutex_unlock(&bench_lock);
}

static inline void bench_wait_steps(struct fake_answer *a, size_t n)
{
    pthread_mutex_lock(&bench_lock);
    while (a->steps[0] < n && !a->finals)
        pthread_cond_wait(&bench_changed, &bench_lock);
    pthread_mutex_unlock(&bench_lock);
}

/* A greedy job with this prompt; the answer is emptied. */
static inline struct engine_job bench_job(struct fake_answer *a, enum engine_task task, const int32_t *prompt,
                                          size_t n)
{
    struct engine_job job = {.task = task, .n_prompt = n, .choices = 1, .on_event = bench_event, .user = a};
    job.sampling = (struct engine_sampling){.top_p = 1, .repetition_penalty = 1};
    job.beams.length_penalty = 1;
    job.prompt = malloc(n * sizeof *prompt);
    memcpy(job.prompt, prompt, n * sizeof *prompt);
    memset(a, 0, sizeof *a);
    return job;
}

static inline void bench_submit(struct served_model *served, struct engine_job *job)
{
    struct error e = {0};
    uint64_t id = 0;
    ck_assert_msg(scheduler_submit_take(bench, served, job, &id, &e) == 0, "%s", e.text);
    pthread_mutex_lock(&bench_lock);
    ((struct fake_answer *)job->user)->id = id;
    pthread_mutex_unlock(&bench_lock);
}

static inline struct error bench_refused(struct served_model *served, struct engine_job *job)
{
    struct error e = {0};
    uint64_t id;
    ck_assert_int_eq(scheduler_submit_take(bench, served, job, &id, &e), -1);
    return e;
}

/* n tokens that depend on the seed, below `below`. */
static inline void fake_tokens(int32_t *tokens, size_t n, uint64_t seed, int32_t below)
{
    for (size_t i = 0; i < n; i++)
        tokens[i] = (int32_t)(hash_mix(seed, i) % (uint64_t)below);
}

/* The n greedy tokens after all that came to `hash`. */
static inline void fake_greedy(const struct fake_family *m, uint64_t hash, int32_t last, int32_t *out,
                               size_t n)
{
    float logits[1024];
    bool forgets = m->base.shape.kv_layers == 0 && m->base.shape.state_bytes == 0;
    for (size_t i = 0; i < n; i++) {
        fake_row(m, forgets ? hash_mix(0, (uint64_t)last) : hash, logits);
        out[i] = last = (int32_t)row_argmax(logits, m->base.shape.vocabulary);
        hash = hash_mix(hash, (uint64_t)last);
    }
}

static inline uint64_t fake_hash(uint64_t hash, const int32_t *tokens, size_t n)
{
    for (size_t i = 0; i < n; i++)
        hash = hash_mix(hash, (uint64_t)tokens[i]);
    return hash;
}

#endif
