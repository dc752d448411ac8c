/* shortlist.h - the words that a translation may use, chosen by the words of its source (Marian's lexical
 * shortlist; Devlin, 2017: "Sharp Models on Dull Hardware"): the most frequent ones, and those that were
 * aligned with each source word.  From the tensors shortlist.offsets (vocabulary + 1), shortlist.entries and
 * shortlist.frequent (1). Thread: the scheduler's; load on the loader's. */
#ifndef LOQUAT_MODELS_SHORTLIST_H
#define LOQUAT_MODELS_SHORTLIST_H

#include "engine/base/checkpoint.h"

struct shortlist;

/* *out is NULL when the checkpoint has none. */
int shortlist_load(const struct checkpoint *c, size_t vocabulary, struct shortlist **out, struct error *e);
void shortlist_free(struct shortlist *s); /* NULL is fine */
/* Every logit (vocabulary) that is not on the list of these source tokens becomes -INFINITY. */
int shortlist_apply(struct shortlist *s, const int32_t *source, size_t n, float *logits);

#endif
