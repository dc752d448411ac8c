/* generation.h - how a checkpoint wants its text generated: generation_config.json and what GGUF keeps of it.
 * Read from the GGUF words "generation.NAME" of a translated checkpoint (names.h); the tokenizer's own end
 * tokens count besides.  Unset ids are -1, unset numbers 0. */
#ifndef LOQUAT_BASE_GENERATION_H
#define LOQUAT_BASE_GENERATION_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/error.h"

enum { GENERATION_ENDS = 16, GENERATION_SUPPRESSED = 64 };

struct generation_rules {
    int32_t ends[GENERATION_ENDS]; /* generation.eos_token_ids: a number or a list */
    size_t n_ends;
    int32_t start;      /* generation.decoder_start_token_id, of an encoder-decoder */
    int32_t forced_bos; /* generation.forced_bos_token_id: the first token after start */
    int32_t forced_eos; /* generation.forced_eos_token_id: the last allowed token */
    int32_t suppressed[GENERATION_SUPPRESSED]; /* generation.suppress_tokens and one-token bad_words_ids */
    size_t n_suppressed;
    uint32_t no_repeat_ngram; /* generation.no_repeat_ngram_size; 0 = off */
    uint32_t beams;           /* generation.num_beams; 0 = not said */
    float length_penalty;     /* generation.length_penalty; 1 when not said */
    bool early_stopping;      /* generation.early_stopping */
    uint32_t max_new_tokens;  /* generation.max_new_tokens, else max_length; 0 = not said */
    float max_length_ratio; /* generation.max_length_ratio: at most so many tokens per source token (Marian's
                               own files: 2.5); 0 = no such rule */
};

void generation_rules_init(struct generation_rules *rules); /* no rule at all */
/* config: in GGUF's words.  Errors: wrong types; start or forced ids outside the vocabulary.  Ends and
 * suppressed ids outside it are left out: they can't come. */
int generation_rules_read(const json_t *config, size_t vocabulary, struct generation_rules *out,
                          struct error *e);

#endif
