/* round.c - runs a call in rounds: begin or advance on a worker thread, its jobs in the engine, their events
 * back. Thread: loop, except run_call().  While `working` is set the worker owns r->call; while jobs are live
 * their events come to round_event().  The request is settled when neither is the case. */
#include "server/server.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "engine/base/clock.h"

enum { REPLY_MAX = 256 << 20 }; /* bytes of one answer: log probabilities of a whole context stay below */

static void settle(struct request *r);

/* ---- the worker -------------------------------------------------------------------------------- */

static void run_call(uv_work_t *work)
{
    struct request *r = work->data;
    error_clear(&r->work_error);
    r->work_status =
        r->begun ? api_call_advance(&r->call, &r->work_error) : api_call_begin(&r->call, &r->work_error);
}

static void after_call(uv_work_t *work, int status);

static void queue_work(struct request *r)
{
    r->work.data = r;
    r->working = true;
    r->holds++;
    uv_queue_work(&r->server->loop, &r->work, run_call, after_call);
}

static void end(struct request *r)
{
    r->complete = true;
    if (r->streaming && r->error.kind != ERROR_NONE)
        r->dialect->event(&r->call.out, &r->error, r->id);
    stream_update(r);
}

static int submit(struct request *r, struct error *e)
{
    struct api_call *call = &r->call;
    r->rounds++;
    r->slots = calloc(call->n_jobs, sizeof *r->slots);
    if (!r->slots)
        return error_no_memory(e);
    for (size_t i = 0; i < call->n_jobs; i++) {
        struct engine_job *job = &call->jobs[i];
        TRY(mailbox_slot_init(&r->slots[i], r->server->mailbox, r, i, e));
        r->n_slots = i + 1;
        job->on_event = mailbox_post;
        job->user = &r->slots[i];
        job->tag = r->id;
        if (r->server->trace)
            trace_job(r->server->trace, r, i, job);
        int status = engine_submit_take(r->server->engine, job, &r->slots[i].job, e);
        job->prompt = NULL; /* taken, also when it failed */
        TRY(status);
        r->live++;
        r->holds++;
    }
    return 0;
}

static void after_call(uv_work_t *work, int status)
{
    struct request *r = work->data;
    struct error e = {0};
    (void)status; /* nothing cancels work */
    r->working = false;
    r->begun = true;
    r->submit_ns = clock_ns();
    if (r->gone || r->error.kind != ERROR_NONE)
        settle(r);
    else if (r->work_status < 0)
        round_fail(r, &r->work_error);
    else if (r->call.n_jobs == 0)
        end(r);
    else if (submit(r, &e) < 0)
        round_fail(r, &e);
    else
        stream_update(r);
    http_release(r);
}

void round_start(struct request *r)
{
    struct error e = {0};
    r->holds++;
    r->has_call = true;
    r->call = (struct api_call){
        .api = r->server->api,
        .engine = r->server->engine,
        .endpoint = r->endpoint,
        .arena = arena_create(LIMIT_REQUEST_ARENA),
        .request_id = r->id,
        .body = r->body ? r->body : "",
        .body_len = r->body_len,
        .created = (int64_t)time(NULL),
    };
    buf_init(&r->call.out, REPLY_MAX);
    if (!r->call.arena)
        error_no_memory(&e);
    else
        api_path_arguments(r->endpoint, r->path, r->call.arena, r->call.path_arguments, &e);
    if (e.kind != ERROR_NONE)
        round_fail(r, &e);
    else
        queue_work(r);
    http_release(r);
}

/* ---- events ------------------------------------------------------------------------------------ */

static void free_slots(struct request *r)
{
    for (size_t i = 0; i < r->n_slots; i++)
        mailbox_slot_free(&r->slots[i]);
    free(r->slots);
    r->slots = NULL;
    r->n_slots = 0;
    r->paused = false;
}

/* Nothing of the round runs any more: the next one, or the end. */
static void settle(struct request *r)
{
    if (r->working || r->live)
        return;
    free_slots(r);
    if (r->complete)
        return;
    if (r->gone || r->error.kind != ERROR_NONE)
        end(r);
    else
        queue_work(r);
}

void round_cancel(struct request *r)
{
    for (size_t i = 0; i < r->n_slots; i++) {
        if (r->slots[i].job)
            engine_cancel(r->server->engine, r->slots[i].job);
    }
}

void round_fail(struct request *r, const struct error *e)
{
    if (r->error.kind == ERROR_NONE)
        r->error = *e;
    round_cancel(r);
    settle(r);
}

static void count_step(struct request *r, struct mailbox_slot *slot, const struct engine_event *event)
{
    struct metrics *m = &r->server->metrics;
    if (event->n_tokens == 0)
        return;
    if (!r->got_token)
        metrics_observe(&m->first_token, (double)(event->time_ns - r->start_ns) / 1e9);
    r->got_token = true;
    if (event->choice != 0) /* one choice stands for its siblings */
        return;
    if (slot->last_step_ns)
        metrics_observe(&m->inter_token, (double)(event->time_ns - slot->last_step_ns) / 1e9);
    slot->last_step_ns = event->time_ns;
}

static void add_usage(struct request *r, const struct engine_usage *u)
{
    r->usage.prompt_tokens += u->prompt_tokens;
    r->usage.cached_tokens += u->cached_tokens;
    r->usage.completion_tokens += u->completion_tokens;
    r->usage.queue_ns += u->queue_ns;
    r->usage.prefill_ns += u->prefill_ns;
    r->usage.decode_ns += u->decode_ns;
}

static void deliver(struct request *r, struct mailbox_slot *slot, const struct engine_event *event)
{
    struct error lost = {0};
    if (event->kind == ENGINE_EVENT_FINAL && event->error) {
        round_fail(r, event->error);
    } else if (slot->lost) {
        error_no_memory(&lost);
        round_fail(r, &lost);
    } else {
        if (event->kind == ENGINE_EVENT_STEP)
            count_step(r, slot, event);
        api_call_event(&r->call, slot->index, event);
        stream_update(r);
    }
}

void round_event(struct mailbox_slot *slot, const struct engine_event *event)
{
    struct request *r = slot->owner;
    bool final = event->kind == ENGINE_EVENT_FINAL;
    if (final) {
        slot->job = 0;
        add_usage(r, &event->usage);
    }
    if (!r->gone && r->error.kind == ERROR_NONE)
        deliver(r, slot, event);
    if (!final)
        return;
    r->live--;
    settle(r);
    http_release(r);
}
