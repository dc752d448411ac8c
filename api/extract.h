/* extract.h - /v1/qa with a checkpoint that marks answers in a text: extractive question answering as BERT
 * does it (Devlin et al., 2019).  Caller: qa.c, which hands the call over when the model is one of these. */
#ifndef LOQUAT_API_EXTRACT_H
#define LOQUAT_API_EXTRACT_H

#include "api/api.h"
#include "api/fields.h"

struct extract;

struct extract_options {
    struct field_texts questions, documents;
    size_t top_k;             /* answers told of a question: the best, and alternatives */
    size_t max_answer_tokens; /* of a span */
};

int extract_begin(struct api_call *call, struct engine_model *model, const struct extract_options *o,
                  struct extract **out, struct error *e);
void extract_event(struct extract *x, size_t job, const struct engine_event *event);
int extract_advance(struct api_call *call, struct extract *x, struct error *e);
void extract_free(struct extract *x); /* NULL is fine */

#endif
