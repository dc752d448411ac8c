/* sampler.h - logits to a token.  One sampler per sequence.
 * Order: logit bias, penalties; temperature 0 takes the best; else temperature, top-k, min-p (Nguyen et al.,
 * 2024), top-p (Holtzman et al., 2020), one draw.  Random numbers are keyed by (seed, choice, position): the
 * same request gives the same answer whatever else runs.  Thread: one at a time. */
#ifndef LOQUAT_DECODE_SAMPLER_H
#define LOQUAT_DECODE_SAMPLER_H

#include "engine/base/job.h"

struct kernel_set;
struct sampler;

/* Room for one row of work; one per pool worker. */
struct sampler_scratch {
    void *memory;
    size_t bytes;
};
void sampler_scratch_free(struct sampler_scratch *s);

/* Copies *options.  prompt (n tokens) counts for the repetition penalty. */
int sampler_create(const struct engine_sampling *options, unsigned choice, size_t vocabulary,
                   const int32_t *prompt, size_t n, struct sampler **out, struct error *e);
void sampler_free(struct sampler *s);

/* Picks the token at `position` of the sequence from logits (vocabulary); -1 when scratch memory is out. */
int32_t sampler_pick(const struct sampler *s, const float *logits, size_t position,
                     struct sampler_scratch *scratch);
/* The sequence continues with this token: penalties will know. */
void sampler_accept(struct sampler *s, int32_t token);

/* Log probabilities of the model's own distribution: token->logprob for token->id and the n_top best into
 * top[] (ties: lowest id first). */
void logprobs_of(const struct kernel_set *kernels, const float *logits, size_t vocabulary, unsigned n_top,
                 struct engine_token *token, struct engine_alternative *top);

#endif
