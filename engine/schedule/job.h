/* job.h - jobs and their sequences, inside the room.  A job is built by the submitting thread and then
 * belongs to the scheduler's; only the atomic flags are touched by others.
 * Files: check.c what a model refuses; job.c making, ending, events; memory.c pages, states and sources. */
#ifndef LOQUAT_SCHEDULE_JOB_H
#define LOQUAT_SCHEDULE_JOB_H

#include <stdatomic.h>

#include "engine/base/limits.h"
#include "engine/cache/kv_pages.h"
#include "engine/decode/beam.h"
#include "engine/decode/grammar.h"
#include "engine/decode/lookup.h"
#include "engine/decode/sampler.h"
#include "engine/decode/text_stream.h"
#include "engine/models/arch.h"
#include "engine/schedule/scheduler.h"

/* Following: it starts from what another sequence of the job has computed; a beam that nobody needs waits
 * here too. */
enum sequence_state { SEQUENCE_FOLLOWING, SEQUENCE_WAITING, SEQUENCE_RUNNING, SEQUENCE_DONE };

struct sequence {
    struct job *job;
    unsigned choice;
    enum sequence_state state;
    int32_t *tokens; /* prompt (of an encoder-decoder: the start token), then generated; room for all that may
                        come */
    float *logprobs; /* of generated tokens, with beams only */
    size_t n_tokens;
    size_t n_computed; /* of them in the pages or the state */
    size_t n_reported; /* prompt tokens told in PROMPT events */
    struct kv_page **pages;
    size_t n_pages;
    struct kv_page *recurrent; /* the state of a recurrent model, never shared */
    size_t n_known_pages;      /* leading pages that the prefix tree knows */
    uint64_t prefix_node;      /* of the last of them; 0 = none */
    bool prefix_chain_ended;   /* no more pages of this sequence enter the tree */
    struct sampler *sampler;
    struct text_stream *text;
    size_t n_draft;            /* tokens guessed behind n_tokens, verified in this tick */
    struct lookup_match match; /* that they came from */
    struct lookup lookup;
};

/* What the decoder of an encoder-decoder attends to; one for all sequences of a job. */
struct source {
    struct kv_page **pages;
    void **data; /* of the pages */
    size_t n_pages;
    bool encoded;
};

/* What a job needs of its model next. */
enum work {
    WORK_FORWARD, /* tokens through the decoder */
    WORK_SOURCE,  /* the source of an encoder-decoder, whole */
    WORK_ENCODE   /* an encoder's answer, whole */
};

struct job {
    struct engine_job spec; /* prompt and arrays owned */
    uint64_t id;
    struct served_model *served;
    struct stop_set *stops;
    struct sequence *sequences; /* n_sequences: one a choice, or one a beam */
    unsigned n_sequences;
    unsigned n_open;    /* not done */
    bool has_source;    /* encoder-decoder: the prompt is the source */
    bool encodes;       /* answered by arch->encode() alone */
    size_t n_prefix;    /* tokens of a sequence before the generated ones */
    size_t max_tokens;  /* generated ones, as the model's own rules cap them */
    int32_t forced_eos; /* -1 = none */
    struct source source;
    struct beam_search *beams;           /* or NULL */
    struct sequence *ranks[LIMIT_BEAMS]; /* running beams, best first */
    unsigned n_ranks;
    enum engine_pooling pooling; /* EMBED; never DEFAULT */
    double *pooled;              /* (embedding) EMBED */
    atomic_bool cancelled, paused;
    bool started;         /* left the queue */
    struct error failure; /* kind not NONE: the job is to end with it */
    char tag[LIMIT_REQUEST_ID + 1];
    uint64_t submitted_ns, started_ns, first_token_ns;
    struct engine_usage usage;
    struct job *next;      /* in the scheduler thread's list, by age */
    struct job *next_live; /* in the list that cancel and pause search, under the scheduler's lock */
};

/* ---- check.c --------------------------------------------------------------------------------- */

/* Refuses what this model can't do or does not hold; any thread. */
int job_check(const struct served_model *m, const struct engine_job *spec, struct error *e);

/* ---- job.c ----------------------------------------------------------------------------------- */

/* Takes the prompt over, also on failure. */
int job_create_take(struct served_model *m, struct engine_job *spec, struct job **out, struct error *e);
void job_free(struct job *j);

enum work job_work(const struct job *j);
/* An end token of the model or a stop token of the job. */
bool job_is_end(const struct job *j, int32_t id);
/* Why generation ends when `id` is the n-th generated token; NONE: it goes on. */
enum engine_finish job_finish(const struct job *j, int32_t id, size_t n);

/* One event each through the job's on_event.  stop_index: of the stop string that ended it, or -1. */
void job_send_step(struct job *j, const struct sequence *s, const struct engine_token *token,
                   enum engine_finish finish, int stop_index);
void job_send_hypothesis(struct job *j, unsigned choice, const struct engine_token *tokens, size_t n,
                         enum engine_finish finish, double score);
void job_send_prompt(struct job *j, const struct engine_token *tokens, size_t n);
/* values (rows, cols) or tokens. */
void job_send_result(struct job *j, const float *values, size_t rows, size_t cols,
                     const struct engine_token *tokens, size_t n_tokens);
void job_send_final(struct job *j, const struct error *error);

/* The sequence is done: what it holds goes, and the job has one less to wait for. */
void sequence_finish(struct sequence *s);

/* ---- memory.c -------------------------------------------------------------------------------- */

/* What its sequences keep between calls: pages, a state, a source - or nothing at all (n-grams, encoders). */
bool model_takes_memory(const struct model *m);
/* Whether full pages may be found again by their tokens: plain decoders only. */
bool model_shares_prefixes(const struct model *m);

/* Gives pages and state back, deepest first so that the beginning of a prefix is forgotten last. */
void sequence_release(struct sequence *s);
bool sequence_holds_memory(const struct sequence *s);
/* Pages that q and its source still need for all that q has. */
size_t sequence_needs(const struct sequence *s);
/* Pages for the next n tokens, none shared that will be written to, and the state.  False when memory is
 * short; what was taken stays. */
bool sequence_take(struct sequence *s, size_t n);
/* Gives back pages behind those that its tokens need. */
void sequence_trim(struct sequence *s);
/* Tokens that are still to be computed as prompt; of an encoder-decoder none, its prompt is the source. */
size_t sequence_prompt_left(const struct sequence *s);
/* Finds what an earlier sequence left; at least one token stays to be computed.  Where prompt rows get other
 * bits than generated ones (prompt_only), pages in the tree are good for the prompt alone: what this sequence
 * itself generated before it was preempted must be computed as that again. */
void sequence_find_prefix(struct sequence *s, bool prompt_only);
/* Whether another running sequence is about to tell the prefix tree of pages that q would find there. */
bool sequence_awaits(const struct sequence *q, const struct sequence *reader, bool prompt_only);
/* Tells the prefix tree about pages that became full; prompt_only: about those that hold nothing generated.
 */
void sequence_keep_prefix(struct sequence *s, bool prompt_only);
/* `s` runs on from the first n tokens that `from` has computed, which both must have.  Where that can't be
 * (a state is of its last token only; memory may be short) it computes all it has itself. */
void sequence_share(struct sequence *s, const struct sequence *from, size_t n);

/* False when memory is short. */
bool source_take(struct job *j);
void source_release(struct job *j);
void source_release_idle(struct job *j); /* when none of the job's sequences runs */

#endif
