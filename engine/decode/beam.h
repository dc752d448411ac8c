/* beam.h - beam search (Graves, 2012; Sutskever et al., 2014) as transformers' generate(num_beams=k,
 * do_sample=False) defines it: the order of candidates, the pool of finished hypotheses, the end.
 * It sees rows of log probabilities and says which beam continues with what; whoever runs the model owns the
 * beams themselves.  A beam is named by its rank: 0 is the best of those that still run.
 * Thread: one at a time, but beam_search_scan() may run for different ranks at once. */
#ifndef LOQUAT_DECODE_BEAM_H
#define LOQUAT_DECODE_BEAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/error.h"
#include "engine/base/job.h"

struct beam_search;

/* What the beam of a rank becomes: `token` after the beam that had the rank `parent` before the step. */
struct beam_next {
    unsigned parent;
    int32_t token;
    float logprob; /* of the model's own distribution */
};

struct beam_hypothesis {
    int32_t *tokens; /* generated ones, the end token included */
    float *logprobs; /* of the model's own distribution */
    size_t n;
    bool ended;  /* by an end token; else max_tokens were reached */
    float score; /* sum of processed log probabilities / n^length_penalty */
};

/* One beam before a step: what it has generated. */
struct beam_path {
    const int32_t *tokens;
    const float *logprobs;
};

/* Everything is allocated here.  options->beams 1 .. LIMIT_BEAMS, max_tokens at least 1.  One beam runs at
 * first. */
int beam_search_create(const struct engine_beams *options, size_t max_tokens, struct beam_search **out,
                       struct error *e);
void beam_search_free(struct beam_search *b);

/* Once a step for every running rank: scores (vocabulary) are its processed log probabilities, logits and
 * total the model's own row and its log-sum-exp.  is_end(context, id) says what ends a hypothesis. */
struct beam_row {
    const float *scores, *logits;
    float total;
    size_t vocabulary;
    bool (*is_end)(const void *context, int32_t id);
    const void *context;
};
void beam_search_scan(struct beam_search *b, unsigned rank, const struct beam_row *row);

/* Then the step itself: paths (one a running rank) have n tokens each.  Returns how many beams run on, best
 * first in beam_search_next(); 0 when the search is over. */
unsigned beam_search_step(struct beam_search *b, const struct beam_path *paths, size_t n);
const struct beam_next *beam_search_next(const struct beam_search *b);

/* After the end: the finished hypotheses, best first; at most options->beams. */
size_t beam_search_results(const struct beam_search *b, const struct beam_hypothesis **out);

#endif
