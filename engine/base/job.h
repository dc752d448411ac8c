/* job.h - what a job asks, what its events tell, what the scheduler counts: the words that engine.h,
 * schedule/ and decode/ share.  Everything outside the engine gets it through engine/engine.h.
 * Lifetimes: a job's arrays are copied by engine_submit_take(); an event's memory is borrowed until
 * the callback returns. */
#ifndef LOQUAT_BASE_JOB_H
#define LOQUAT_BASE_JOB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/error.h"

struct engine_grammar;
struct engine_model;

struct engine_logit_bias {
    int32_t token;
    float bias; /* -100 .. 100 added to the logit */
};

/* Order: logit bias, penalties, then temperature 0 takes the best (lowest id among equals); else
 * temperature, top-k, min-p, top-p, one draw keyed by (seed, choice, position). */
struct engine_sampling {
    float temperature;                         /* 0 = greedy */
    uint32_t top_k;                            /* 0 = off */
    float top_p;                               /* 1 = off */
    float min_p;                               /* 0 = off */
    float repetition_penalty;                  /* 1 = off; Keskar et al., 2019; over prompt and output */
    float presence_penalty, frequency_penalty; /* 0 = off; over the output, as OpenAI defines them */
    uint64_t seed;
    const struct engine_logit_bias *bias; /* n_bias of them; copied by submit */
    size_t n_bias;
};
void engine_sampling_init(struct engine_sampling *s); /* greedy, everything off */

struct engine_text {
    const char *bytes;
    size_t len;
};

struct engine_event;

/* What a model can be asked for. */
enum {
    ENGINE_CAN_GENERATE = 1,  /* text after a prompt, or for a source text (encoder-decoder) */
    ENGINE_CAN_EMBED = 2,     /* vectors */
    ENGINE_CAN_CLASSIFY = 4,  /* labels or a value for a text or a pair */
    ENGINE_CAN_TAG = 8,       /* a label for each token */
    ENGINE_CAN_ANSWER = 16,   /* answer spans in a context: extractive QA */
    ENGINE_CAN_FILL = 32,     /* masked tokens */
    ENGINE_CAN_TRANSFORM = 64 /* an encoder-decoder: the prompt of GENERATE is a source text */
};
enum { ENGINE_ABILITIES = 7 };

enum engine_task {
    ENGINE_TASK_GENERATE,
    ENGINE_TASK_EMBED,    /* RESULT: 1 x embedding */
    ENGINE_TASK_CLASSIFY, /* RESULT: 1 x labels, logits */
    ENGINE_TASK_TAG,      /* RESULT: tokens x labels, logits */
    ENGINE_TASK_ANSWER,   /* RESULT: tokens x 2, start and end logits */
    ENGINE_TASK_FILL      /* RESULT: tokens[] for `masked` positions, with their best alternatives */
};

enum engine_pooling {
    ENGINE_POOLING_DEFAULT, /* the checkpoint's own */
    ENGINE_POOLING_MEAN,
    ENGINE_POOLING_CLS,
    ENGINE_POOLING_LAST,
    ENGINE_POOLING_MAX,
    ENGINE_POOLING_POOLER /* BERT's dense + tanh over the first token */
};

enum engine_problem { ENGINE_PROBLEM_SINGLE, ENGINE_PROBLEM_MULTI, ENGINE_PROBLEM_REGRESSION };

/* Beam search as transformers does it (Graves, 2012; Wu et al., 2016): a hypothesis counts
 * sum of log probabilities / length^length_penalty. */
struct engine_beams {
    unsigned beams;       /* 0 or 1 = off: sampling decides */
    float length_penalty; /* 1 = mean log probability */
    bool early_stopping;  /* stop at the first `beams` finished hypotheses */
};

/* Everything here is copied by engine_submit_take() except `prompt`, which it takes over (malloc'ed),
 * also when it fails. */
struct engine_job {
    struct engine_model *model;
    enum engine_task task;
    int32_t *prompt;             /* of an encoder-decoder: the source */
    size_t n_prompt;             /* 1 .. context-1 */
    const uint8_t *types;        /* token types of the prompt, or NULL: all 0; not for GENERATE */
    const uint32_t *masked;      /* FILL: positions in the prompt, ascending */
    size_t n_masked;             /* 1 .. LIMIT_MASKED */
    enum engine_pooling pooling; /* EMBED */
    struct engine_beams beams;   /* GENERATE; with beams `choices` best hypotheses are told, best first */
    uint32_t no_repeat_ngram;    /* GENERATE: no such n-gram twice, a decoder's prompt included; 0 = off */
    size_t max_tokens;           /* prompt + max_tokens may not exceed the context; 0 = no generation */
    unsigned choices;            /* sequences from this prompt, 1 .. LIMIT_CHOICES */
    struct engine_sampling sampling;
    struct engine_grammar
        *grammar; /* GENERATE: what the answer must follow, or NULL; submit takes a reference of
                     its own.  Not with beams.  Bound to this model's vocabulary */
    const struct engine_text *stop; /* stop strings: excluded from the text, also across tokens */
    size_t n_stop;
    const int32_t *stop_tokens;
    size_t n_stop_tokens;
    bool ignore_eos;             /* end tokens are ordinary tokens */
    bool show_control;           /* names of control tokens appear in the text */
    const int32_t *shown_tokens; /* those of these at least */
    size_t n_shown_tokens;       /* at most LIMIT_STOP_TOKENS */
    bool logprobs;               /* of generated tokens */
    bool prompt_logprobs;        /* one PROMPT event a chunk, before the first STEP; no prefix reuse */
    unsigned top_logprobs;       /* alternatives per token, 0 .. LIMIT_TOP_LOGPROBS */
    uint64_t cache_salt;         /* prefixes are shared only between equal salts */
    const char *tag;             /* request id for logs, or NULL */
    void (*on_event)(void *user, const struct engine_event *event);
    void *user;
};

enum engine_event_kind { ENGINE_EVENT_PROMPT, ENGINE_EVENT_STEP, ENGINE_EVENT_RESULT, ENGINE_EVENT_FINAL };
enum engine_finish { ENGINE_FINISH_NONE, ENGINE_FINISH_STOP, ENGINE_FINISH_LENGTH, ENGINE_FINISH_ERROR };

struct engine_alternative {
    int32_t id;
    float logprob;
};

struct engine_token {
    int32_t id;
    float logprob;    /* of the model's own distribution, before bias, penalties and temperature; 0 when not
                         asked */
    bool has_logprob; /* false for the first prompt token */
    unsigned n_top;
    const struct engine_alternative *top; /* best first */
};

struct engine_usage {
    size_t prompt_tokens, cached_tokens, completion_tokens;
    uint64_t queue_ns, prefill_ns, decode_ns; /* waiting, until the first token, from there to the end */
};

struct engine_event {
    enum engine_event_kind kind;
    uint64_t job;
    unsigned choice; /* PROMPT, STEP */
    const struct engine_token
        *tokens; /* PROMPT: prompt tokens in order; STEP: what was just generated; RESULT of
                    FILL: one per masked position, id and log probability of the best */
    size_t n_tokens;
    const char *text; /* STEP: whole code points that are now certain (no stop string can begin in them) */
    size_t text_len;
    enum engine_finish finish; /* STEP: not NONE on the choice's last */
    const char *stop_string;   /* when a stop string ended it; else NULL.  stop_len bytes */
    size_t stop_len;
    double score;        /* STEP with beams: of the hypothesis, which comes whole in one event */
    const float *values; /* RESULT: (n_rows, n_cols) */
    size_t n_rows, n_cols;
    uint64_t time_ns;          /* clock_ns() when it was made */
    struct engine_usage usage; /* FINAL */
    const struct error *error; /* FINAL: NULL when all is well */
};

struct engine_stats {
    size_t queued_jobs, queued_tokens, running_sequences;
    uint64_t kv_bytes_total, kv_bytes_used;                  /* used: referenced by sequences */
    uint64_t kv_bytes_cached;                                /* unreferenced, kept for prefixes */
    uint64_t prompt_tokens, cached_tokens, generated_tokens; /* totals since start */
    uint64_t prefix_queries, prefix_hits;                    /* tokens looked up and found, as vLLM counts */
    uint64_t drafted_tokens, accepted_tokens;                /* guessed ahead, and of these right */
    uint64_t preemptions, ticks, jobs_finished, jobs_cancelled, jobs_failed;
    uint64_t busy_ns;         /* time in ticks */
    double tokens_per_second; /* recent, prompt and generated; 0 at first */
};
#endif
