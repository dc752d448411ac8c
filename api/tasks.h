/* tasks.h - what endpoints of one-pass tasks share: texts or pairs in, one job each, vectors or labels out;
 * and what a model can be asked for.
 * Callers: embeddings, rerank, classify, fill_mask, entities, extract; begin and advance on a worker, event
 * on the loop. */
#ifndef LOQUAT_API_TASKS_H
#define LOQUAT_API_TASKS_H

#include "api/api.h"
#include "api/choice.h"
#include "api/fields.h"

/* ---- abilities -------------------------------------------------------------------------------- */

enum { TASK_NAMES = 16 };

/* Names of what the model can be asked for, as /v1/models/{id} and refusals list them: last parts of /v1
 * paths.  Returns how many. */
size_t task_names(struct api *api, struct engine_model *model, const char *names[TASK_NAMES]);
/* Whether a classifier's labels can rank: one value, or no and yes. */
bool task_ranks_pairs(const struct engine_model_info *info);

/* UNSUPPORTED: the model can't do `what`, one of those names; says what it can. */
int task_refuse(struct api_call *call, struct engine_model *model, const char *what, struct error *e);
/* That, unless the model has one of the ENGINE_CAN_… bits. */
int task_need(struct api_call *call, struct engine_model *model, unsigned abilities, const char *what,
              struct error *e);

/* ---- items ------------------------------------------------------------------------------------ */

enum { TASK_ALONE = -1 };

/* One input and what came of it. */
struct task_item {
    const char *field;             /* of the request, for errors */
    long place;                    /* in that list, or TASK_ALONE */
    struct engine_text text, pair; /* pair.bytes NULL: one text */
    struct engine_encoding encoding;
    bool truncated;
    float *values; /* (n_rows, n_cols) of the RESULT */
    size_t n_rows, n_cols;
    const uint32_t *masked; /* (n_masked) of FILL */
    size_t n_masked;
    struct token_list tokens; /* of the RESULT of FILL; api/choice.h */
};

struct tasks {
    struct engine_model *model;
    enum engine_task task;
    enum engine_pooling pooling; /* of EMBED; the checkpoint's own unless the caller says otherwise */
    unsigned top_logprobs;       /* of FILL */
    struct task_item *items;
    size_t n_items;
    size_t first, next; /* the round: items [first, next) */
    struct engine_usage usage;
    struct error error; /* the first failure */
};

/* n zeroed items for the model; the caller fills field, place, text and pair.  Arena memory. */
int tasks_init(struct api_call *call, struct tasks *t, struct engine_model *model, enum engine_task task,
               size_t n, struct error *e);
/* Exactly one of a text and a list of texts. */
int task_texts(const struct engine_text *one, const struct field_texts *many, const char *name,
               const char *names, struct field_texts *out, struct error *e);
/* Both at once, for the fields "text" and "texts": an item for each. */
int tasks_of_texts(struct api_call *call, struct tasks *t, struct engine_model *model, enum engine_task task,
                   const struct engine_text *one, const struct field_texts *many, struct error *e);

enum { TASK_ITEM_NAME = 64 };
/* "texts[3]", or "text". */
void task_item_name(const struct task_item *item, char out[TASK_ITEM_NAME]);

/* Most tokens of one input. */
size_t task_context(const struct engine_model *model);

/* Tokenises item i (flags as engine_encode()) unless its encoding is there already, and checks its length:
 * over the context it is CONTEXT_LENGTH with both counts, or the end is cut off when `truncate`, of a pair
 * that of the longer text. */
int task_prepare(struct tasks *t, size_t i, unsigned flags, bool truncate, struct error *e);
int tasks_prepare(struct tasks *t, unsigned flags, bool truncate, struct error *e); /* all */

enum {
    TASK_ROUND = 256,             /* jobs at once: one request does not fill the queue */
    TASK_ROUND_TOKENS = 256 << 10 /* of their prompts, unless the first alone has more */
};

/* For begin, once all is prepared, and for advance: the jobs of the next round, one per item in order.
 * call->n_jobs is 0 when every item has its result.  Errors: the first failure of the round before. */
int tasks_go_on(struct api_call *call, struct tasks *t, struct error *e);

void tasks_event(struct tasks *t, size_t job, const struct engine_event *event);
void tasks_free(struct tasks *t); /* also one that is all zero */

/* What a head of one or two outputs says of a pair: the logit of its last one when raw, else its probability.
 */
double task_pair_score(const struct tasks *t, struct task_item *item, bool raw);

/* A head's logits to probabilities, as it was trained for them; a regression's values stay.  In place. */
void task_probabilities(const struct tasks *t, struct task_item *item);

/* {"prompt_tokens":…,"total_tokens":…} of embeddings and rankings. */
void task_usage(struct buf *out, const struct engine_usage *usage);

/* ---- numbers, in place ------------------------------------------------------------------------ */

void softmax(float *x, size_t n);
float sigmoid(float x);
/* Length 1; a vector of zeros stays. */
void normalise(float *x, size_t n);

#endif
