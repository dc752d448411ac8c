/* speculate.h - how many tokens each stream of a tick drafts (decode/lookup.h), so that the tick's rows bring
 * the most tokens for their time.
 * The rule: a tick of R rows costs 1 + c*R, c being measured; a drafted row is worth it while its chance,
 * over c, exceeds the tokens that the tick brings over its cost.  One stream drafts far, thirty hardly.
 * Thread: the scheduler's. */
#ifndef LOQUAT_SCHEDULE_SPECULATE_H
#define LOQUAT_SCHEDULE_SPECULATE_H

#include "engine/schedule/job.h"

/* The first of every tick, for each model that runs in it. */
void speculation_begin(struct speculation *p);
/* So many rows run that are no drafts. */
void speculation_add_rows(struct speculation *p, size_t rows);

/* Whether a model can take tokens back: what it has computed for them must lie in pages. */
bool model_can_speculate(const struct model *m);

/* Drafts up to `most` tokens behind those of q, which lacks its last token only, where they are worth their
 * rows and their pages are there; sets q->n_draft. */
void sequence_speculate(struct sequence *q, size_t most);
/* Of q's draft so many were right; the pages of the others go. */
void sequence_settle(struct sequence *q, size_t right);

/* Rows of nothing but streams took so long: what a row costs follows from many of these. */
void speculation_measure(struct speculation *p, size_t rows, uint64_t ns);

#endif
