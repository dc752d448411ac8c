/* batch.h - one model's work in a tick: rows gathered, computed, sampled, told.
 * Thread: the scheduler's. */
#ifndef LOQUAT_SCHEDULE_BATCH_H
#define LOQUAT_SCHEDULE_BATCH_H

#include "engine/schedule/job.h"

/* Prompt log probabilities need the logits of every row: so many at once, to bound their memory. */
enum { BATCH_LOGPROB_ROWS = 64 };

struct batch_runner; /* buffers that grow to the largest batch seen */

struct batch_item {
    struct sequence *sequence;
    size_t take; /* tokens from n_computed on, with those that are drafted; their memory is there */
};

struct batch_result {
    size_t prompt_tokens, generated_tokens;
    size_t drafted_tokens, accepted_tokens; /* verified, and of these generated */
};

/* Buffers of a runner: contents are lost when they grow; -1 when memory is out.  batch_reserve() keeps the
 * capacity in *cap. */
int batch_grow(void *pointer, size_t count, size_t size);
int batch_reserve(void *pointer, size_t *cap, size_t count, size_t size);

/* x is borrowed. */
int batch_runner_create(struct exec *x, struct batch_runner **out, struct error *e);
void batch_runner_free(struct batch_runner *r);
/* Frees its largest buffers until they are needed again. */
void batch_runner_trim(struct batch_runner *r);

/* Computes the items (all of model m and WORK_FORWARD; those in their prompt before those past it; all
 * running beams of a job or none), samples where a sequence has caught up, sends PROMPT, STEP and RESULT
 * events and marks what ended as done.  keep_prefix: full pages enter the prefix tree.  When memory is out
 * the jobs concerned get their `failure` set. */
struct batch_result batch_run(struct batch_runner *r, struct served_model *m, const struct batch_item *items,
                              size_t n, bool keep_prefix);

#endif
