/* frame.h - prompts with slots: fixed ids of our own wording, with slices of someone's tokens between them.
 * A text is tokenised once, and the very same ids go into prompts; joining strings and tokenising anew could
 * lose or merge tokens at the seams.  Callers: summarize.c, qa.c, on worker threads.
 * The wording goes through the checkpoint's chat template when it has one that runs; else it is a plain
 * prompt.  The slots are found in the template's output by a mark that no wording holds. */
#ifndef LOQUAT_API_FRAME_H
#define LOQUAT_API_FRAME_H

#include "api/api.h"

enum { FRAME_SLOTS = 2 };

struct frame_ids {
    const int32_t *ids;
    size_t n;
};

struct frame {
    struct frame_ids parts[FRAME_SLOTS + 1]; /* part, slot, part, slot, part */
    size_t n_slots, n_fixed;                 /* n_fixed: ids of all parts */
};

/* What to say: wording[0..n_slots] are the user's message around the slots. */
struct frame_wording {
    const char *system;
    const char *user[FRAME_SLOTS + 1];
    size_t n_slots;
    const char *plain_end; /* after the message where there is no chat template, such as "\n\nSummary:" */
};

/* Arena memory.  Errors: the template's own. */
int frame_make(struct api_call *call, struct engine_model *model, const struct frame_wording *wording,
               struct frame *out, struct error *e);

/* For a model that writes a text for another one: what it wants before a text (`prefix`, such as "summarize:
 * "), one slot, and what it wants behind.  Arena memory. */
int frame_make_source(struct api_call *call, struct engine_model *model, const char *prefix,
                      struct frame *out, struct error *e);

/* A text's ids without special tokens, parsed or added; arena memory. */
int frame_tokenize(struct api_call *call, struct engine_model *model, const char *text, size_t len,
                   struct frame_ids *out, struct error *e);

/* malloc'ed ids of the first n_parts parts with the slots between and after them; n_slots of `slots` are
 * used, n_parts - 1 or n_parts. */
int frame_fill(const struct frame *frame, size_t n_parts, const struct frame_ids *slots, size_t n_slots,
               int32_t **ids, size_t *n, struct error *e);

/* Adds FRAME_FAVOUR to the logits of the slots' tokens and of the end: small models then stay with the text
 * where they would invent.  Log-probabilities are told without it.  Of more than LIMIT_LOGIT_BIAS different
 * tokens the most frequent are left out. */
#define FRAME_FAVOUR 2.0f
int frame_favour(struct api_call *call, struct engine_model *model, const struct frame_ids *slots,
                 size_t n_slots, struct engine_sampling *sampling, struct error *e);

#endif
