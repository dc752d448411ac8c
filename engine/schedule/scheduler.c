/* scheduler.c - see scheduler.h: the queue, the thread, the tick.
 * Lock rules: `lock` guards the first group of fields below and is held for moments only; everything in the
 * second group is the scheduler thread's alone.  No lock is held while events are sent.
 * A tick: collect new jobs -> end cancelled, failed and overdue ones -> admit -> plan -> pages -> one batch a
 * model -> end finished jobs -> publish counters. */
#include "engine/schedule/scheduler.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/clock.h"
#include "engine/base/log.h"
#include "engine/cache/prefix_tree.h"
#include "engine/models/arch.h"
#include "engine/schedule/batch.h"
#include "engine/schedule/policy.h"

enum { IDLE_WAIT_NS = 100000000 };

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
    struct job *jobs, **jobs_end; /* by age */
    size_t most_runnable;
    struct sequence **runnable; /* of this tick, by age */
    struct plan_sequence *states;
    struct batch_item *items, *group;
    size_t *takes;
    struct engine_stats counted; /* totals, copied to stats at the end of a tick */
};

static void *run(void *context);

static int allocate(struct scheduler *s, struct error *e)
{
    s->most_runnable = s->options.max_sequences + LIMIT_CHOICES;
    s->runnable = calloc(s->most_runnable, sizeof(struct sequence *));
    s->states = calloc(s->most_runnable, sizeof *s->states);
    s->items = calloc(s->most_runnable, sizeof *s->items);
    s->group = calloc(s->most_runnable, sizeof *s->group);
    s->takes = calloc(s->most_runnable, sizeof *s->takes);
    if (!s->runnable || !s->states || !s->items || !s->group || !s->takes)
        return error_no_memory(e);
    TRY(kv_pool_create(s->options.kv_memory, &s->pool, e));
    return batch_runner_create(s->options.exec, &s->runner, e);
}

static void release(struct scheduler *s)
{
    batch_runner_free(s->runner);
    kv_pool_free(s->pool);
    free(s->runnable);
    free(s->states);
    free(s->items);
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
        for (unsigned i = 0; i < j->spec.choices; i++)
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
    for (unsigned i = 0; i < j->spec.choices; i++)
        sequence_release_pages(&j->sequences[i]);
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
    if (m->cache)
        return 0;
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

/* Whether the pages that q still needs for all it has are there, with one to spare for everyone who runs. */
static bool try_admit(struct scheduler *s, struct sequence *q, size_t running)
{
    struct job *j = q->job;
    if (prepare_model(s, j->served, &j->failure) < 0)
        return false;
    if (s->options.prefix_reuse && !j->spec.prompt_logprobs)
        sequence_find_prefix(q);
    size_t need = (q->n_tokens + KV_PAGE_TOKENS - 1) / KV_PAGE_TOKENS - q->n_pages;
    if (running > 0 && kv_cache_available(j->served->cache) < need + running) {
        sequence_release_pages(q);
        return false;
    }
    if (s->options.prefix_reuse && !j->spec.prompt_logprobs) {
        s->counted.prefix_queries += q->n_tokens;
        s->counted.prefix_hits += q->n_computed;
    }
    start(s, q);
    return true;
}

static bool holds_slot(const struct sequence *q)
{
    return q->state == SEQUENCE_RUNNING || (q->state == SEQUENCE_FOLLOWING && q->job->started);
}

/* First come, first served: nobody overtakes a job that does not fit yet, except past paused ones. */
static void admit(struct scheduler *s)
{
    size_t slots = 0;
    for (struct job *j = s->jobs; j; j = j->next) {
        for (unsigned i = 0; i < j->spec.choices; i++)
            slots += holds_slot(&j->sequences[i]);
    }
    for (struct job *j = s->jobs; j; j = j->next) {
        for (unsigned i = 0; i < j->spec.choices; i++) {
            struct sequence *q = &j->sequences[i];
            if (q->state != SEQUENCE_WAITING || atomic_load(&j->paused))
                continue;
            size_t wanted = j->started ? 1 : j->spec.choices;
            if (slots > 0 && slots + wanted > s->options.max_sequences)
                return;
            if (!try_admit(s, q, slots))
                return;
            slots += wanted;
        }
    }
}

static size_t list_runnable(struct scheduler *s)
{
    size_t n = 0;
    for (struct job *j = s->jobs; j; j = j->next) {
        if (atomic_load(&j->paused) || j->failure.kind != ERROR_NONE)
            continue;
        for (unsigned i = 0; i < j->spec.choices && n < s->most_runnable; i++) {
            struct sequence *q = &j->sequences[i];
            if (q->state != SEQUENCE_RUNNING)
                continue;
            s->runnable[n] = q;
            s->states[n].pending = q->n_tokens - q->n_computed;
            s->states[n].decoding = s->states[n].pending == 1 && q->n_tokens > j->spec.n_prompt;
            s->states[n].most = j->spec.prompt_logprobs && q->choice == 0 ? BATCH_LOGPROB_ROWS : 0;
            n++;
        }
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
        for (unsigned i = 0; i < j->spec.choices; i++) {
            struct sequence *q = &j->sequences[i];
            if (q->state == SEQUENCE_RUNNING && q->n_pages > 0 && (paused || !victim_paused)) {
                victim = q;
                victim_paused = paused;
            }
        }
    }
    return victim;
}

static void preempt(struct scheduler *s, struct sequence *q, size_t n)
{
    log_debug("job %llu (%s) choice %u preempted: pages run short", (unsigned long long)q->job->id,
              q->job->tag, q->choice);
    sequence_release_pages(q);
    q->state = SEQUENCE_WAITING;
    s->counted.preemptions++;
    for (size_t i = 0; i < n; i++) {
        if (s->runnable[i] == q)
            s->takes[i] = 0;
    }
}

static bool others_hold_pages(const struct scheduler *s, const struct sequence *q)
{
    for (const struct job *j = s->jobs; j; j = j->next) {
        for (unsigned i = 0; i < j->spec.choices; i++) {
            if (&j->sequences[i] != q && j->sequences[i].n_pages > 0)
                return true;
        }
    }
    return false;
}

/* Pages for what sequence i takes this tick; younger ones give way, or it waits itself when it is the
 * youngest. */
static void take_pages(struct scheduler *s, size_t i, size_t n)
{
    struct sequence *q = s->runnable[i];
    while (s->takes[i] > 0 && !sequence_take_pages(q, s->takes[i])) {
        if (!others_hold_pages(s, q)) { /* the ceiling holds one full sequence: the machine's memory is out */
            error_no_memory(&q->job->failure);
            s->takes[i] = 0;
            return;
        }
        preempt(s, find_victim(s), n);
    }
}

/* One batch for each model that has something to do. */
static void run_batches(struct scheduler *s, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (s->takes[i] == 0)
            continue;
        struct served_model *m = s->runnable[i]->job->served;
        size_t grouped = 0;
        for (size_t k = i; k < n; k++) {
            if (s->takes[k] == 0 || s->runnable[k]->job->served != m)
                continue;
            s->group[grouped++] = (struct batch_item){s->runnable[k], s->takes[k]};
            s->takes[k] = 0;
        }
        struct batch_result done = batch_run(s->runner, m, s->group, grouped, s->options.prefix_reuse);
        s->counted.prompt_tokens += done.prompt_tokens;
        s->counted.generated_tokens += done.generated_tokens;
        atomic_store(&s->heartbeat, clock_ns());
    }
}

/* Moving average over about five seconds of work. */
static void measure(struct scheduler *s, uint64_t ns, uint64_t tokens)
{
    s->counted.ticks++;
    s->counted.busy_ns += ns;
    double seconds = (double)ns * 1e-9, rate = (double)tokens / (seconds > 0 ? seconds : 1e-9);
    double weight = seconds / (seconds + 5);
    double old = s->counted.tokens_per_second;
    s->counted.tokens_per_second = old > 0 ? old + weight * (rate - old) : rate;
}

/* False when there was nothing to do. */
static bool tick(struct scheduler *s)
{
    size_t n = list_runnable(s);
    if (n == 0)
        return false;
    uint64_t begin = clock_ns(), tokens = s->counted.prompt_tokens + s->counted.generated_tokens;
    s->policy->plan(s->states, n, s->options.batch_tokens, s->takes);
    for (size_t i = 0; i < n; i++)
        take_pages(s, i, n);
    run_batches(s, n);
    measure(s, clock_ns() - begin, s->counted.prompt_tokens + s->counted.generated_tokens - tokens);
    return true;
}

static void wait_for_work(struct scheduler *s)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_nsec += IDLE_WAIT_NS;
    until.tv_sec += until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
    pthread_mutex_lock(&s->lock);
    if (!s->kicked)
        pthread_cond_timedwait(&s->wake, &s->lock, &until);
    pthread_mutex_unlock(&s->lock);
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
        if (!worked)
            wait_for_work(s);
    }
}
