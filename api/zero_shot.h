/* zero_shot.h - a generative model chooses among labels that it was not trained for.
 * A label's score is ln p(label | prompt with the text) - ln p(label | the same prompt without one), as
 * "domain conditional PMI" has it (Holtzman et al., 2021), softmaxed over the labels: a common word is no
 * better answer for being common.  Caller: classify.c. */
#ifndef LOQUAT_API_ZERO_SHOT_H
#define LOQUAT_API_ZERO_SHOT_H

#include "api/api.h"
#include "api/choice.h"
#include "api/fields.h"
#include "api/frame.h"

enum { ZERO_SHOT_LABELS = 64 };

struct zero_shot {
    struct engine_model *model;
    struct frame frame;
    struct frame_ids *texts; /* (n_texts + 1) the last one is empty */
    struct frame_ids labels[ZERO_SHOT_LABELS];
    size_t n_texts, n_labels, n_jobs;
    size_t first;         /* the round's first job: job text * n_labels + label */
    double *logprobs;     /* (n_texts + 1, n_labels) */
    size_t *seen;         /* (n_texts + 1, n_labels) tokens told so far */
    struct answer answer; /* of the round */
    struct engine_usage usage;
};

/* Makes the first jobs. */
int zero_shot_begin(struct api_call *call, struct zero_shot *z, struct engine_model *model,
                    const struct field_texts *texts, const struct field_texts *labels, struct error *e);
void zero_shot_event(struct zero_shot *z, size_t job, const struct engine_event *event);
/* The next jobs; call->n_jobs is 0 when all is known. */
int zero_shot_go_on(struct api_call *call, struct zero_shot *z, struct error *e);
void zero_shot_scores(const struct zero_shot *z, size_t text, float *scores); /* (n_labels) probabilities */

#endif
