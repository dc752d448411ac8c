/* encoder.h - what BERT and its kin share: one encoder, and the words in which their config.json files
 * describe it. bert.c, roberta.c and distilbert.c are its dialects; GGUF knows them all as "bert". Thread:
 * load on the loader's, encode on the scheduler's. */
#ifndef LOQUAT_MODELS_ENCODER_H
#define LOQUAT_MODELS_ENCODER_H

#include "engine/models/names.h"

/* Functions of struct arch: token, position and type embeddings, LayerNorm, layers with norms after their
 * blocks (Devlin et al., 2019), and a head of heads.h. */
int encoder_shape(const struct checkpoint *c, struct model_shape *out, struct error *e);
int encoder_load(const struct checkpoint *c, struct exec *x, size_t context, enum dtype kv_dtype,
                 struct model **out, struct error *e);
int encoder_encode(struct model *m, struct exec *x, const struct encode_batch *batch);
void encoder_free(struct model *m);

/* What a dialect's config calls its sizes. */
struct encoder_words {
    const char *embedding, *layers, *heads, *ff, *activation;
    const char *first_activation;  /* of `cls` in heads.h */
    const char *masked_activation; /* NULL: the layers' own */
};
/* Everything of a config as keys "bert.…".  skipped: rows of the position table before position 0.  Refuses
 * what is no plain encoder: decoders, relative positions. */
int encoder_translate(const struct checkpoint *c, const struct encoder_words *words, size_t skipped,
                      json_t *out, struct error *e);

/* The dialects. */
int roberta_translate(const struct checkpoint *c, json_t *out, struct error *e);
int distilbert_translate(const struct checkpoint *c, json_t *out, struct error *e);
extern const struct tensor_name roberta_tensors[], distilbert_tensors[];
extern const char *const roberta_types[], *const roberta_prefixes[], *const distilbert_types[],
                                                                         *const distilbert_prefixes[];

#endif
