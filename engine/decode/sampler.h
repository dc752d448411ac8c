/* sampler.h - logits to a token.  One sampler per sequence.
 * Order: what the grammar forbids (grammar.h), logit bias, penalties, banned n-grams (Paulus et al., 2018),
 * suppressed and forced tokens; temperature 0 takes the best; else temperature, top-k, min-p (Nguyen et al.,
 * 2024), top-p (Holtzman et al., 2020), one draw.  Random numbers are keyed by (seed, choice, position): the
 * same request gives the same answer whatever else runs.  Thread: one at a time. */
#ifndef LOQUAT_DECODE_SAMPLER_H
#define LOQUAT_DECODE_SAMPLER_H

#include "engine/base/job.h"

struct engine_grammar;
struct kernel_set;
struct sampler;

/* Room for one row of work; one per pool worker. */
struct sampler_scratch {
    void *memory;
    size_t bytes;
};
void sampler_scratch_free(struct sampler_scratch *s);

struct sampler_setup {
    const struct engine_sampling *options; /* copied */
    unsigned choice;
    size_t vocabulary;
    const int32_t *prompt; /* n_prompt tokens before the generated ones: they count for the repetition penalty
                              and for n-grams, as in transformers */
    size_t n_prompt;
    size_t max_tokens;         /* most generated tokens; for forced_eos */
    uint32_t no_repeat_ngram;  /* 0 = off */
    const int32_t *suppressed; /* n_suppressed ids that never come; borrowed */
    size_t n_suppressed;
    struct engine_grammar *grammar; /* or NULL; shared */
    bool ends; /* the vocabulary's end tokens end the text, with a grammar only where it may end */
    const int32_t *more_ends; /* n_more_ends others; copied */
    size_t n_more_ends;
    int32_t forced_bos, forced_eos; /* the only choice for the first and the last of max_tokens; -1 = off */
};
int sampler_create(const struct sampler_setup *setup, struct sampler **out, struct error *e);
void sampler_free(struct sampler *s);

/* Instead of a token. */
enum {
    SAMPLER_NO_MEMORY = -1,
    SAMPLER_NO_TOKEN = -2,     /* the grammar wants something that no token of the vocabulary begins */
    SAMPLER_TOO_AMBIGUOUS = -3 /* the grammar can be read in too many ways */
};
/* What such a number means.  Returns -1. */
int sampler_error(int32_t token, struct error *e);

/* Picks the token that follows tokens[0 … n) of the sequence from logits (vocabulary), or a number below 0.
 */
int32_t sampler_pick(const struct sampler *s, const float *logits, const int32_t *tokens, size_t n,
                     struct sampler_scratch *scratch);
/* The same row for a search that does not draw: logits - total (log probabilities, when total is the row's
 * log-sum-exp) after everything up to the forced tokens, which have 0 while all else has -INFINITY.  In
 * scratch memory; NULL when it is out. */
const float *sampler_scores(const struct sampler *s, const float *logits, float total, const int32_t *tokens,
                            size_t n, struct sampler_scratch *scratch);
/* The sequence continues with this token: penalties and the grammar will know.  Every token of the sequence,
 * in order. */
void sampler_accept(struct sampler *s, int32_t token);
/* The grammar has been followed to its end: nothing can come but an end token. */
bool sampler_done(const struct sampler *s);
/* For searches, which have no grammar.  `to` knows the tokens that `from` knows; both were made with the same
 * setup. */
void sampler_copy(struct sampler *to, const struct sampler *from);

/* Log probabilities of the model's own distribution: token->logprob for token->id and the n_top best into
 * top[] (ties: lowest id first). */
void logprobs_of(const struct kernel_set *kernels, const float *logits, size_t vocabulary, unsigned n_top,
                 struct engine_token *token, struct engine_alternative *top);

#endif
