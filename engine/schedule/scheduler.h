/* scheduler.h - one thread that turns jobs into ticks of matrix work and events.
 * States of a sequence: waiting -> running -> done; a running one goes back to waiting when memory runs
 * short (preempted, youngest first) and is computed again.  The copies of a job with several choices
 * wait as followers until the first has read the prompt, then share its pages; so do beams.  Encoders run
 * whole, once; an encoder-decoder's source runs so before its first token.
 * Files: scheduler.c the thread, queue and tick; job.c, check.c, memory.c jobs and sequences; batch.c a
 * decoder's work in a tick, with beams.c, pooling.c and speculate.c; encode.c an encoder's; policy*.c what
 * runs next. */
#ifndef LOQUAT_SCHEDULE_SCHEDULER_H
#define LOQUAT_SCHEDULE_SCHEDULER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/generation.h"
#include "engine/base/job.h"

struct scheduler;
struct exec;
struct model;
struct tokenizer;
struct kv_cache;
struct prefix_tree;

/* What a tick's rows cost and bring (speculate.h). */
struct speculation {
    double weight, rows, ns, rows_rows, rows_ns; /* faded sums over ticks of streams alone */
    double tick_rows, tick_tokens;               /* rows of this tick, tokens that they may bring */
};

/* A loaded model as the scheduler sees it.  cache and prefixes are made by the scheduler's thread, where the
 * model needs them. */
struct served_model {
    struct model *model;
    const struct tokenizer *tokenizer;
    struct generation_rules rules; /* generation_rules_init() at least */
    enum engine_pooling pooling; /* what ENGINE_POOLING_DEFAULT means; itself: mean, of a decoder the last */
    struct kv_cache *cache;
    struct prefix_tree *prefixes;
    struct speculation speculation;
};
/* After scheduler_stop(), before scheduler_free(): what the scheduler made for it. */
void served_model_release(struct served_model *m);

struct scheduler_options {
    struct exec *exec;  /* borrowed; used by the scheduler's thread only */
    const char *policy; /* row of the POLICY TABLE, or NULL */
    uint64_t kv_memory; /* bytes */
    size_t batch_tokens, max_sequences, queue_requests, queue_tokens;
    uint64_t queue_deadline_ns;
    bool prefix_reuse;
    size_t speculation; /* tokens drafted at once for a sequence, at most; 0 = off */
};

int scheduler_create(const struct scheduler_options *o, struct scheduler **out, struct error *e);
/* Cancels every job (each gets its FINAL event) and joins the thread.  The models' caches outlive it until
 * served_model_release(); scheduler_free() afterwards frees the rest. */
void scheduler_stop(struct scheduler *s);
void scheduler_free(struct scheduler *s);

/* As engine_submit_take() and its companions in engine.h.  Any thread. */
int scheduler_submit_take(struct scheduler *s, struct served_model *m, struct engine_job *job, uint64_t *id,
                          struct error *e);
void scheduler_cancel(struct scheduler *s, uint64_t id);
void scheduler_pause(struct scheduler *s, uint64_t id, bool paused);
void scheduler_drain(struct scheduler *s);
void scheduler_stats(struct scheduler *s, struct engine_stats *out);
uint64_t scheduler_heartbeat_age(struct scheduler *s);

#endif
