/* job.h - jobs and their sequences, inside the room.  A job is built by the submitting thread and then
 * belongs to the scheduler's; only the atomic flags are touched by others. */
#ifndef LOQUAT_SCHEDULE_JOB_H
#define LOQUAT_SCHEDULE_JOB_H

#include <stdatomic.h>

#include "engine/base/limits.h"
#include "engine/cache/kv_pages.h"
#include "engine/decode/sampler.h"
#include "engine/decode/text_stream.h"
#include "engine/schedule/scheduler.h"

enum sequence_state { SEQUENCE_FOLLOWING, SEQUENCE_WAITING, SEQUENCE_RUNNING, SEQUENCE_DONE };

struct sequence {
    struct job *job;
    unsigned choice;
    enum sequence_state state;
    int32_t *tokens; /* prompt, then generated; room for all that may come */
    size_t n_tokens;
    size_t n_computed; /* of them in the pages */
    size_t n_reported; /* prompt tokens told in PROMPT events */
    struct kv_page **pages;
    size_t n_pages;
    size_t n_known_pages;    /* leading pages that the prefix tree knows */
    uint64_t prefix_node;    /* of the last of them; 0 = none */
    bool prefix_chain_ended; /* the tree had no memory for a node: no more pages of this sequence go in */
    struct sampler *sampler;
    struct text_stream *text;
};

struct job {
    struct engine_job spec; /* prompt and arrays owned */
    uint64_t id;
    struct served_model *served;
    struct stop_set *stops;
    struct sequence *sequences; /* spec.choices of them */
    unsigned n_open;            /* not done */
    atomic_bool cancelled, paused;
    bool started;         /* left the queue */
    struct error failure; /* kind not NONE: the job is to end with it */
    char tag[LIMIT_REQUEST_ID + 1];
    uint64_t submitted_ns, started_ns, first_token_ns;
    struct engine_usage usage;
    struct job *next;      /* in the scheduler thread's list, by age */
    struct job *next_live; /* in the list that cancel and pause search, under the scheduler's lock */
};

/* Takes the prompt over, also on failure. */
int job_create_take(struct served_model *m, struct engine_job *spec, struct job **out, struct error *e);
void job_free(struct job *j);

/* Gives the pages back, deepest first so that the beginning of a prefix is forgotten last. */
void sequence_release_pages(struct sequence *s);
/* Pages for the next n tokens, none shared that will be written to.  False when memory is short; what was
 * taken stays. */
bool sequence_take_pages(struct sequence *s, size_t n);
/* Finds what an earlier sequence left; at least one token stays to be computed. */
void sequence_find_prefix(struct sequence *s);
/* Tells the prefix tree about pages that became full. */
void sequence_keep_prefix(struct sequence *s);
/* A follower starts from the first choice's pages, its prompt computed. */
void sequence_fork(struct sequence *follower, const struct sequence *from);

/* One event each through the job's on_event.  stop_index: of the stop string that ended it, or -1. */
void job_send_step(struct job *j, const struct sequence *s, const struct engine_token *token,
                   enum engine_finish finish, int stop_index);
void job_send_prompt(struct job *j, const struct engine_token *tokens, size_t n);
void job_send_final(struct job *j, const struct error *error);

#endif
