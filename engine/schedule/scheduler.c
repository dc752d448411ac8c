/* scheduler.c - see scheduler.h: the queue, the thread, the tick.
 * Lock rules: `lock` guards the first group of fields below and is held for moments only; everything in the
 * second group is the scheduler thread's alone.  No lock is held while events are sent.
 * A tick: collect new jobs -> end cancelled, failed and overdue ones -> admit -> plan -> pages -> one batch a
 * model and kind of work -> end finished jobs -> publish counters.
 * Encoders keep no memory between ticks and hold a slot for one, so they are admitted in a lane of their own,
 * past decoders that wait for pages or slots. */
#include "engine/schedule/scheduler.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/clock.h"
#include "engine/base/log.h"
#include "engine/base/machine.h"
#include "engine/cache/prefix_tree.h"
#include "engine/schedule/batch.h"
#include "engine/schedule/beams.h"
#include "engine/schedule/encode.h"
#include "engine/schedule/policy.h"
#include "engine/schedule/speculate.h"

enum { IDLE_WAIT_NS = 100000000 };
/* Tokens of a tick that tells a row's time. */
enum { MEASURED_ROWS = 64 };
enum { LANE_DECODERS, LANE_ENCODERS, LANES };

struct scheduler {
    struct scheduler_options options;
    const struct policy *policy;

    pthread_mutex_t lock;
    pthread_cond_t wake;
    bool kicked, draining, stopping;
    uint64_t last_id;
    struct job *live, *incoming, **incoming_end;
    struct engine_stats stats;

    pthread_t thread;
    _Atomic uint64_t heartbeat;
    struct kv_pool *pool;
    struct batch_runner *runner;
    struct encode_runner *encoder;
    struct job *jobs, **jobs_end; /* by age */
    size_t most_runnable;
    struct sequence **runnable; /* of this tick, by age */
    struct plan_sequence *states;
    struct batch_item *group;
    size_t *takes;
    bool worked;                 /* since the last rest */
    double row_ns;               /* of a tick of many rows, for each; 0: none was seen */
    struct engine_stats counted; /* totals, copied to stats at the end of a tick */
};

static void *run(void *context);

static int allocate(struct scheduler *s, struct error *e)
{
    s->most_runnable = LANES * (s->options.max_sequences + LIMIT_CHOICES);
    s->runnable = calloc(s->most_runnable, sizeof(struct sequence *));
    s->states = calloc(s->most_runnable, sizeof *s->states);
    s->group = calloc(s->most_runnable, sizeof *s->group);
    s->takes = calloc(s->most_runnable, sizeof *s->takes);
    if (!s->runnable || !s->states || !s->group || !s->takes)
        return error_no_memory(e);
    TRY(kv_pool_create(s->options.kv_memory, &s->pool, e));
    TRY(encode_runner_create(s->options.exec, &s->encoder, e));
    return batch_runner_create(s->options.exec, &s->runner, e);
}

static void release(struct scheduler *s)
{
    batch_runner_free(s->runner);
    encode_runner_free(s->encoder);
    kv_pool_free(s->pool);
    free(s->runnable);
    free(s->states);
    free(s->group);
    free(s->takes);
    pthread_cond_destroy(&s->wake);
    pthread_mutex_destroy(&s->lock);
    free(s);
}

int scheduler_create(const struct scheduler_options *o, struct scheduler **out, struct error *e)
{
    const struct policy *policy = policy_find(o->policy);
    if (!policy)
        return error_param(e, ERROR_BAD_OPTION, "policy", "unknown scheduling policy %s", o->policy);
    struct scheduler *s = calloc(1, sizeof *s);
    if (!s)
        return error_no_memory(e);
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&s->wake, &attributes);
    pthread_condattr_destroy(&attributes);
    pthread_mutex_init(&s->lock, NULL);
    s->options = *o;
    s->policy = policy;
    s->incoming_end = &s->incoming;
    s->jobs_end = &s->jobs;
    s->heartbeat = clock_ns();
    s->stats.kv_bytes_total = o->kv_memory;
    if (allocate(s, e) < 0)
        goto fail;
    if (pthread_create(&s->thread, NULL, run, s) != 0) {
        error_set(e, ERROR_INTERNAL, "can't start the scheduler's thread");
        goto fail;
    }
    *out = s;
    return 0;
fail:
    release(s);
    return -1;
}

/* ---- any thread ------------------------------------------------------------------------------ */

static void kick_locked(struct scheduler *s)
{
    s->kicked = true;
    pthread_cond_signal(&s->wake);
}

void scheduler_stop(struct scheduler *s)
{
    pthread_mutex_lock(&s->lock);
    s->stopping = s->draining = true;
    kick_locked(s);
    pthread_mutex_unlock(&s->lock);
    pthread_join(s->thread, NULL);
}

void scheduler_free(struct scheduler *s)
{
    release(s);
}

void served_model_release(struct served_model *m)
{
    kv_cache_free(m->cache);
    m->cache = NULL;
    prefix_tree_free(m->prefixes);
    m->prefixes = NULL;
}

static int accept_locked(struct scheduler *s, struct job *j, struct error *e)
{
    if (s->draining)
        return error_set(e, ERROR_DRAINING, "the server is shutting down");
    if (s->stats.queued_jobs >= s->options.queue_requests)
        return error_set(e, ERROR_QUEUE_FULL, "%zu requests are waiting, which is the limit",
                         s->stats.queued_jobs);
    if (s->stats.queued_jobs > 0 && j->spec.n_prompt > s->options.queue_tokens - s->stats.queued_tokens)
        return error_set(e, ERROR_QUEUE_FULL,
                         "%zu prompt tokens are waiting; %zu more would exceed the limit of %zu",
                         s->stats.queued_tokens, j->spec.n_prompt, s->options.queue_tokens);
    s->stats.queued_jobs++;
    s->stats.queued_tokens += j->spec.n_prompt;
    j->id = ++s->last_id;
    *s->incoming_end = j;
    s->incoming_end = &j->next;
    j->next_live = s->live;
    s->live = j;
    kick_locked(s);
    return 0;
}

int scheduler_submit_take(struct scheduler *s, struct served_model *m, struct engine_job *job, uint64_t *id,
                          struct error *e)
{
    struct job *j;
    TRY(job_create_take(m, job, &j, e));
    pthread_mutex_lock(&s->lock);
    int status = accept_locked(s, j, e);
    if (status == 0)
        *id = j->id;
    pthread_mutex_unlock(&s->lock);
    if (status < 0)
        job_free(j);
    return status;
}

static struct job *find_live_locked(struct scheduler *s, uint64_t id)
{
    struct job *j = s->live;
    while (j && j->id != id)
        j = j->next_live;
    return j;
}

void scheduler_cancel(struct scheduler *s, uint64_t id)
{
    pthread_mutex_lock(&s->lock);
    struct job *j = find_live_locked(s, id);
    if (j) {
        atomic_store(&j->cancelled, true);
        kick_locked(s);
    }
    pthread_mutex_unlock(&s->lock);
}

void scheduler_pause(struct scheduler *s, uint64_t id, bool paused)
{
    pthread_mutex_lock(&s->lock);
    struct job *j = find_live_locked(s, id);
    if (j) {
        atomic_store(&j->paused, paused);
        kick_locked(s);
    }
    pthread_mutex_unlock(&s->lock);
}

void scheduler_drain(struct scheduler *s)
{
    pthread_mutex_lock(&s->lock);
    s->draining = true;
    pthread_mutex_unlock(&s->lock);
}

void scheduler_stats(struct scheduler *s, struct engine_stats *out)
{
    pthread_mutex_lock(&s->lock);
    *out = s->stats;
    pthread_mutex_unlock(&s->lock);
}

uint64_t scheduler_heartbeat_age(struct scheduler *s)
{
    uint64_t now = clock_ns(), last = atomic_load(&s->heartbeat);
    return now > last ? now - last : 0;
}

/* ---- the scheduler's thread ------------------------------------------------------------------ */

static void collect_new(struct scheduler *s)
{
    pthread_mutex_lock(&s->lock);
    if (s->incoming) {
        *s->jobs_end = s->incoming;
        s->jobs_end = s->incoming_end;
        s->incoming = NULL;
        s->incoming_end = &s->incoming;
    }
    s->kicked = false;
    pthread_mutex_unlock(&s->lock);
}

static void leave_queue(struct scheduler *s, struct job *j)
{
    pthread_mutex_lock(&s->lock);
    s->stats.queued_jobs--;
    s->stats.queued_tokens -= j->spec.n_prompt;
    pthread_mutex_unlock(&s->lock);
}

static void unregister(struct scheduler *s, struct job *j)
{
    pthread_mutex_lock(&s->lock);
    struct job **link = &s->live;
    while (*link != j)
        link = &(*link)->next_live;
    *link = j->next_live;
    pthread_mutex_unlock(&s->lock);
}

static void publish(struct scheduler *s)
{
    struct kv_counts kv = kv_pool_counts(s->pool);
    size_t running = 0;
    for (struct job *j = s->jobs; j; j = j->next) {
        for (unsigned i = 0; i < j->n_sequences; i++)
            running += j->sequences[i].state == SEQUENCE_RUNNING;
    }
    pthread_mutex_lock(&s->lock);
    s->counted.queued_jobs = s->stats.queued_jobs;
    s->counted.queued_tokens = s->stats.queued_tokens;
    s->counted.running_sequences = running;
    s->counted.kv_bytes_total = kv.total;
    s->counted.kv_bytes_used = kv.used;
    s->counted.kv_bytes_cached = kv.cached;
    s->stats = s->counted;
    pthread_mutex_unlock(&s->lock);
}

/* The job has left the list; its pages go, its final event is sent, it is gone.  Counters are published
 * before the event, so that whoever sees the end sees the memory free. */
static void end_job(struct scheduler *s, struct job *j, const struct error *error)
{
    for (unsigned i = 0; i < j->n_sequences; i++)
        sequence_release(&j->sequences[i]);
    source_release(j);
    if (!j->started)
        leave_queue(s, j);
    if (!error)
        s->counted.jobs_finished++;
    else if (error->kind == ERROR_CANCELLED)
        s->counted.jobs_cancelled++;
    else
        s->counted.jobs_failed++;
    unregister(s, j);
    publish(s);
    log_debug("job %llu (%s) ended: %s", (unsigned long long)j->id, j->tag, error ? error->text : "finished");
    job_send_final(j, error);
    job_free(j);
}

/* NULL in *error: finished.  False: it goes on. */
static bool has_ended(const struct scheduler *s, struct job *j, uint64_t now, bool stopping,
                      const struct error **error)
{
    *error = &j->failure;
    if (j->failure.kind != ERROR_NONE)
        return true;
    if (j->n_open == 0) {
        *error = NULL;
        return true;
    }
    if (atomic_load(&j->cancelled) || stopping)
        error_set(&j->failure, ERROR_CANCELLED,
                  stopping ? "the server stopped" : "the request was cancelled");
    else if (!j->started && now - j->submitted_ns > s->options.queue_deadline_ns)
        error_set(&j->failure, ERROR_DEADLINE,
                  "the request waited %.1f s in the queue, longer than the limit",
                  (double)(now - j->submitted_ns) * 1e-9);
    return j->failure.kind != ERROR_NONE;
}

static void end_jobs(struct scheduler *s, bool stopping)
{
    uint64_t now = clock_ns();
    for (struct job **link = &s->jobs; *link;) {
        struct job *j = *link;
        const struct error *error;
        if (!has_ended(s, j, now, stopping, &error)) {
            link = &j->next;
            continue;
        }
        *link = j->next;
        if (!*link)
            s->jobs_end = link;
        end_job(s, j, error);
    }
}

static int prepare_model(struct scheduler *s, struct served_model *m, struct error *e)
{
    if (m->cache || !model_takes_memory(m->model))
        return 0;
    if (model_shares_prefixes(m->model))
        TRY(prefix_tree_create(&m->prefixes, e));
    size_t bytes = model_page_bytes(&m->model->shape, m->model->kv_dtype);
    if (kv_cache_create(s->pool, bytes, prefix_tree_forget, m->prefixes, &m->cache, e) < 0) {
        prefix_tree_free(m->prefixes);
        m->prefixes = NULL;
        return -1;
    }
    return 0;
}

static void start(struct scheduler *s, struct sequence *q)
{
    struct job *j = q->job;
    q->state = SEQUENCE_RUNNING;
    if (j->started)
        return;
    j->started = true;
    j->started_ns = clock_ns();
    j->usage.cached_tokens = q->n_computed;
    s->counted.cached_tokens += q->n_computed;
    leave_queue(s, j);
}

static bool keeps_prefixes(const struct scheduler *s, const struct served_model *m)
{
    return s->options.prefix_reuse && model_shares_prefixes(m->model);
}

/* What is told or pooled of every prompt token can't come from pages that are there already. */
static bool reads_every_token(const struct job *j)
{
    return j->spec.prompt_logprobs || j->pooled;
}

/* Whether the memory that q still needs for all it has is there, with a page to spare for everyone who runs.
 */
static bool try_admit(struct scheduler *s, struct sequence *q, size_t running)
{
    struct job *j = q->job;
    if (j->encodes) {
        start(s, q);
        return true;
    }
    if (prepare_model(s, j->served, &j->failure) < 0)
        return false;
    bool reuse = keeps_prefixes(s, j->served) && !reads_every_token(j);
    if (reuse)
        sequence_find_prefix(q, exec_prompt_differs(s->options.exec));
    if (running > 0 && j->served->cache &&
        kv_cache_available(j->served->cache) < sequence_needs(q) + running) {
        sequence_release(q);
        return false;
    }
    if (reuse) {
        s->counted.prefix_queries += q->n_tokens;
        s->counted.prefix_hits += q->n_computed;
    }
    start(s, q);
    return true;
}

static unsigned lane_of(const struct job *j)
{
    return j->encodes ? LANE_ENCODERS : LANE_DECODERS;
}

/* What a lane has given out.  Followers have their slot with their leader; what they share costs nothing yet.
 */
struct lane {
    size_t slots, running;
    bool full; /* for the next one, and so for everyone behind it */
};

static void count_lane(struct lane *lane, const struct job *j)
{
    for (unsigned i = 0; i < j->n_sequences; i++) {
        const struct sequence *q = &j->sequences[i];
        lane->running += q->state == SEQUENCE_RUNNING;
        lane->slots += q->state == SEQUENCE_RUNNING || (q->state == SEQUENCE_FOLLOWING && j->started);
    }
}

static void admit_next(struct scheduler *s, struct sequence *q, struct lane *lane)
{
    size_t wanted = q->job->started ? 1 : q->job->n_sequences;
    lane->full = lane->slots > 0 && lane->slots + wanted > s->options.max_sequences;
    if (!lane->full)
        lane->full = !try_admit(s, q, lane->running);
    if (lane->full)
        return;
    lane->slots += wanted;
    lane->running++;
}

/* Whether an older sequence is reading what q begins with: it waits until those pages are there rather than
 * compute them too.  It waits for older ones only, and only while they run, so no two wait for each other. */
static bool prefix_is_coming(const struct scheduler *s, const struct sequence *q, size_t n_readers)
{
    if (n_readers == 0 || q->job->encodes || !keeps_prefixes(s, q->job->served) || reads_every_token(q->job))
        return false;
    for (size_t i = 0; i < n_readers; i++) {
        if (sequence_awaits(q, s->runnable[i], exec_prompt_differs(s->options.exec)))
            return true;
    }
    return false;
}

/* First come, first served in each lane: nobody overtakes a job that does not fit yet, except past paused
 * ones and those whose prefix is coming.  Until a tick is planned `runnable` holds who reads a prompt. */
static void admit(struct scheduler *s)
{
    struct lane lanes[LANES] = {0};
    size_t n_readers = 0;
    for (struct job *j = s->jobs; j; j = j->next)
        count_lane(&lanes[lane_of(j)], j);
    for (struct job *j = s->jobs; j; j = j->next) {
        struct lane *lane = &lanes[lane_of(j)];
        if (atomic_load(&j->paused))
            continue;
        for (unsigned i = 0; i < j->n_sequences; i++) {
            struct sequence *q = &j->sequences[i];
            if (q->state == SEQUENCE_WAITING && !lane->full && !prefix_is_coming(s, q, n_readers))
                admit_next(s, q, lane);
            if (q->state == SEQUENCE_RUNNING && sequence_prompt_left(q) > 0 && n_readers < s->most_runnable)
                s->runnable[n_readers++] = q;
        }
    }
}

static size_t add_runnable(struct scheduler *s, size_t n, struct sequence *q, struct plan_sequence state)
{
    if (n == s->most_runnable)
        return n;
    s->runnable[n] = q;
    s->states[n] = state;
    s->states[n].group = q->job->served;
    return n + 1;
}

/* The text of an encoder or the source of a decoder, by the first of the job's sequences that runs. */
static size_t list_whole(struct scheduler *s, struct job *j, size_t n)
{
    for (unsigned i = 0; i < j->n_sequences; i++) {
        if (j->sequences[i].state == SEQUENCE_RUNNING)
            return add_runnable(s, n, &j->sequences[i],
                                (struct plan_sequence){.pending = j->spec.n_prompt, .whole = true});
    }
    return n;
}

/* Where prompt rows get other bits than generated ones, a tick takes tokens of one kind from a sequence. */
static struct plan_sequence plan_of(const struct scheduler *s, const struct sequence *q, size_t pending,
                                    bool decoding)
{
    bool told = q->job->spec.prompt_logprobs && q->choice == 0;
    size_t most = told && !decoding ? BATCH_LOGPROB_ROWS : 0;
    size_t prompt = exec_prompt_differs(s->options.exec) ? sequence_prompt_left(q) : 0;
    if (prompt > 0 && prompt < pending && (most == 0 || prompt < most))
        most = prompt;
    return (struct plan_sequence){.pending = pending, .decoding = decoding, .most = most};
}

/* Beams step together: until all have caught up, none takes its last token. */
static size_t list_beams(struct scheduler *s, struct job *j, size_t n)
{
    beams_follow(j);
    bool ready = beams_ready(j);
    for (unsigned i = 0; i < j->n_ranks; i++) {
        struct sequence *q = j->ranks[i];
        size_t pending = q->n_tokens - q->n_computed;
        if (q->state == SEQUENCE_RUNNING && (ready || pending > 1))
            n = add_runnable(s, n, q, plan_of(s, q, ready ? 1 : pending - 1, ready));
    }
    return n;
}

static size_t list_sequences(struct scheduler *s, struct job *j, size_t n)
{
    for (unsigned i = 0; i < j->n_sequences; i++) {
        struct sequence *q = &j->sequences[i];
        size_t pending = q->n_tokens - q->n_computed;
        if (q->state == SEQUENCE_RUNNING)
            n = add_runnable(
                s, n, q,
                plan_of(s, q, pending, pending == 1 && (j->has_source || q->n_tokens > j->n_prefix)));
    }
    return n;
}

static size_t list_runnable(struct scheduler *s)
{
    size_t n = 0;
    for (struct job *j = s->jobs; j; j = j->next) {
        if (atomic_load(&j->paused) || j->failure.kind != ERROR_NONE)
            continue;
        if (job_work(j) != WORK_FORWARD)
            n = list_whole(s, j, n);
        else if (j->n_ranks > 1)
            n = list_beams(s, j, n);
        else
            n = list_sequences(s, j, n);
    }
    return n;
}

/* Youngest first; among paused sequences if there are any. */
static struct sequence *find_victim(struct scheduler *s)
{
    struct sequence *victim = NULL;
    bool victim_paused = false;
    for (struct job *j = s->jobs; j; j = j->next) {
        bool paused = atomic_load(&j->paused);
        for (unsigned i = 0; i < j->n_sequences; i++) {
            struct sequence *q = &j->sequences[i];
            if (q->state == SEQUENCE_RUNNING && sequence_holds_memory(q) && (paused || !victim_paused)) {
                victim = q;
                victim_paused = paused;
            }
        }
    }
    return victim;
}

/* q, and the beams beside it, give back what they hold and wait; the source goes with the last of a job. */
static void preempt(struct scheduler *s, struct sequence *q, size_t n)
{
    struct job *j = q->job;
    log_debug("job %llu (%s) choice %u preempted: pages run short", (unsigned long long)j->id, j->tag,
              q->choice);
    if (j->beams) {
        beams_preempt(j);
    } else {
        sequence_release(q);
        q->state = SEQUENCE_WAITING;
    }
    s->counted.preemptions++;
    for (size_t i = 0; i < n; i++) {
        if (s->runnable[i] == q || (j->beams && s->runnable[i]->job == j))
            s->takes[i] = 0;
    }
    source_release_idle(j);
}

/* Whether somebody could give way to q; beams can't give way to each other. */
static bool others_hold_memory(const struct scheduler *s, const struct sequence *q)
{
    for (const struct job *j = s->jobs; j; j = j->next) {
        if (j == q->job && j->beams)
            continue;
        for (unsigned i = 0; i < j->n_sequences; i++) {
            const struct sequence *other = &j->sequences[i];
            if (other != q && other->state == SEQUENCE_RUNNING && sequence_holds_memory(other))
                return true;
        }
    }
    return false;
}

static bool take_memory(struct sequence *q, size_t n)
{
    switch (job_work(q->job)) {
    case WORK_SOURCE:
        return source_take(q->job);
    case WORK_FORWARD:
        return sequence_take(q, n);
    case WORK_ENCODE:
        break;
    }
    return true;
}

/* Memory for what sequence i takes this tick; younger ones give way, or it waits itself when it is the
 * youngest. */
static void take_pages(struct scheduler *s, size_t i, size_t n)
{
    struct sequence *q = s->runnable[i];
    while (s->takes[i] > 0 && !take_memory(q, s->takes[i])) {
        if (!others_hold_memory(s,
                                q)) { /* the ceiling holds one full sequence, but not any number of beams */
            error_set(&q->job->failure, ERROR_OUT_OF_MEMORY, "%s",
                      q->job->beams ? "the key-value memory does not hold so many beams of this length"
                                    : "out of memory");
            s->takes[i] = 0;
            return;
        }
        preempt(s, find_victim(s), n);
    }
}

/* Work that can go into one call. */
static bool same_batch(const struct job *a, const struct job *b)
{
    enum work work = job_work(a);
    return a->served == b->served && work == job_work(b) &&
           (work != WORK_ENCODE || encode_output_of(a) == encode_output_of(b));
}

/* Streams guess ahead where rows and memory are left. */
static void speculate(struct scheduler *s, size_t n)
{
    size_t left = s->options.batch_tokens;
    for (size_t i = 0; i < n; i++)
        speculation_begin(&s->runnable[i]->job->served->speculation);
    for (size_t i = 0; i < n; i++) {
        speculation_add_rows(&s->runnable[i]->job->served->speculation, s->takes[i]);
        left -= s->takes[i] < left ? s->takes[i] : left;
    }
    for (size_t i = 0; i < n; i++) {
        struct sequence *q = s->runnable[i];
        if (s->takes[i] == 0 || !s->states[i].decoding || q->job->beams ||
            !model_can_speculate(q->job->served->model))
            continue;
        sequence_speculate(q, s->options.speculation < left ? s->options.speculation : left);
        s->takes[i] += q->n_draft;
        left -= q->n_draft;
    }
}

/* Rows of the group, 0 when there are other than streams'. */
static size_t stream_rows(const struct scheduler *s, size_t n)
{
    size_t rows = 0;
    for (size_t i = 0; i < n; i++) {
        if (s->group[i].take != 1 + s->group[i].sequence->n_draft)
            return 0;
        rows += s->group[i].take;
    }
    return rows;
}

static void run_forward(struct scheduler *s, struct served_model *m, size_t n)
{
    size_t rows = stream_rows(s, n);
    uint64_t begin = clock_ns();
    struct batch_result done = batch_run(s->runner, m, s->group, n, keeps_prefixes(s, m));
    if (rows > 0)
        speculation_measure(&m->speculation, rows, clock_ns() - begin);
    s->counted.prompt_tokens += done.prompt_tokens;
    s->counted.generated_tokens += done.generated_tokens;
    s->counted.drafted_tokens += done.drafted_tokens;
    s->counted.accepted_tokens += done.accepted_tokens;
}

static void run_group(struct scheduler *s, size_t n)
{
    struct job *j = s->group[0].sequence->job;
    if (job_work(j) == WORK_FORWARD) {
        run_forward(s, j->served, n);
    } else {
        s->counted.prompt_tokens += encode_run(s->encoder, j->served, s->group, n);
    }
    atomic_store(&s->heartbeat, clock_ns());
}

/* Adds what goes with runnable[i], from it on, and is of one kind: in their prompt or past it. */
static size_t group_with(struct scheduler *s, size_t i, size_t n, bool prompt, size_t grouped)
{
    const struct job *first = s->runnable[i]->job;
    for (size_t k = i; k < n; k++) {
        struct sequence *q = s->runnable[k];
        if (s->takes[k] > 0 && same_batch(first, q->job) && prompt == (sequence_prompt_left(q) > 0))
            s->group[grouped++] = (struct batch_item){q, s->takes[k]};
    }
    return grouped;
}

/* One batch for each model and kind of work that has something to do; prompts come first in it (batch.h). */
static void run_batches(struct scheduler *s, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (s->takes[i] == 0)
            continue;
        const struct job *first = s->runnable[i]->job;
        size_t grouped = group_with(s, i, n, true, 0);
        grouped = group_with(s, i, n, false, grouped);
        for (size_t k = i; k < n; k++) {
            if (same_batch(first, s->runnable[k]->job))
                s->takes[k] = 0;
        }
        run_group(s, grouped);
    }
}

/* Moving averages: of the rate over about five seconds of work, of a row's time over some ticks. */
static void measure(struct scheduler *s, uint64_t ns, uint64_t tokens)
{
    if (tokens >= MEASURED_ROWS)
        s->row_ns += ((double)ns / (double)tokens - s->row_ns) * (s->row_ns > 0 ? 0.25 : 1);
    s->counted.ticks++;
    s->counted.busy_ns += ns;
    double seconds = (double)ns * 1e-9, rate = (double)tokens / (seconds > 0 ? seconds : 1e-9);
    double weight = seconds / (seconds + 5);
    double old = s->counted.tokens_per_second;
    s->counted.tokens_per_second = old > 0 ? old + weight * (rate - old) : rate;
}

static size_t tick_budget(const struct scheduler *s, size_t n)
{
    size_t streams = 0;
    for (size_t i = 0; i < n; i++)
        streams += s->states[i].decoding;
    return policy_budget(s->options.batch_tokens, s->row_ns, streams, n - streams);
}

/* False when there was nothing to do. */
static bool tick(struct scheduler *s)
{
    size_t n = list_runnable(s);
    if (n == 0)
        return false;
    uint64_t begin = clock_ns(), tokens = s->counted.prompt_tokens + s->counted.generated_tokens;
    s->policy->plan(s->states, n, tick_budget(s, n), s->takes);
    for (size_t i = 0; i < n; i++)
        take_pages(s, i, n);
    if (s->options.speculation > 0)
        speculate(s, n);
    run_batches(s, n);
    measure(s, clock_ns() - begin, s->counted.prompt_tokens + s->counted.generated_tokens - tokens);
    return true;
}

/* After a busy time: what was freed goes back to the machine. */
static void rest(struct scheduler *s)
{
    if (!s->worked)
        return;
    s->worked = false;
    kv_pool_trim(s->pool);
    batch_runner_trim(s->runner);
    machine_trim();
}

/* A wait that nothing ends before its time says that the busy time is over. */
static void wait_for_work(struct scheduler *s)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_nsec += IDLE_WAIT_NS;
    until.tv_sec += until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
    pthread_mutex_lock(&s->lock);
    int status = s->kicked ? 0 : pthread_cond_timedwait(&s->wake, &s->lock, &until);
    pthread_mutex_unlock(&s->lock);
    if (status == ETIMEDOUT)
        rest(s);
}

static bool is_stopping(struct scheduler *s)
{
    pthread_mutex_lock(&s->lock);
    bool stopping = s->stopping;
    pthread_mutex_unlock(&s->lock);
    return stopping;
}

static void *run(void *context)
{
    struct scheduler *s = context;
    for (;;) {
        atomic_store(&s->heartbeat, clock_ns());
        bool stopping = is_stopping(s);
        collect_new(s);
        end_jobs(s, stopping);
        if (stopping)
            return NULL;
        admit(s);
        bool worked = tick(s);
        end_jobs(s, false);
        publish(s);
        s->worked = s->worked || worked;
        if (!worked)
            wait_for_work(s);
    }
}
