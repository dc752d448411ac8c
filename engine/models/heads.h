/* heads.h - what stands on the last hidden state of an encoder: nothing (embeddings), a masked language
 * model, a label for the sequence, a label for each token, or start and end of an answer.  A head is matrices
 * that may be there or not, by names that all encoders share: cls          dense layer over the first token,
 * with an activation: BERT's pooler, and what other families put before their classifier (llama.cpp knows it
 * by this name) cls.output   labels (n_labels, embedding), over `cls` of the first token, or over each token
 *   mlm, mlm_norm, output   dense layer, activation, LayerNorm and decoder; the decoder may be the embedding
 * Called by encoder families; thread: as theirs. */
#ifndef LOQUAT_MODELS_HEADS_H
#define LOQUAT_MODELS_HEADS_H

#include "engine/models/arch.h"
#include "engine/models/blocks.h"
#include "engine/models/transformer.h"

enum head_kind { HEAD_NONE, HEAD_MASKED, HEAD_SEQUENCE, HEAD_TOKEN, HEAD_SPAN };

struct head {
    enum head_kind kind;
    size_t embedding, vocabulary, n_labels;
    float epsilon;
    enum activation first_activation, masked_activation;
    bool has_first;       /* `cls` is there */
    struct weight first;  /* (embedding, embedding) or empty */
    struct weight labels; /* (n_labels, embedding) or empty */
    float *first_bias, *labels_bias;
    struct weight masked; /* (embedding, embedding) */
    float *masked_bias;
    struct norm masked_norm;
    struct weight decoder; /* (vocabulary, embedding), or empty: tied */
    float *decoder_bias;

    float *rows, *transformed; /* of a batch, grown to the largest seen */
    size_t rows_have, transformed_have;
};

/* Kind and sizes from "ARCH.head" ("masked", "sequence", "token", "span", "none"; when it is not said, what
 * tensors there are decides), and into *s: abilities, labels, problem, has_pooler.  s->embedding and
 * s->vocabulary are known.  An unknown or impossible head is an error. */
int head_read(const struct checkpoint *c, float epsilon, struct head *h, struct model_shape *s,
              struct error *e);
int head_load(struct tensor_loader *l, struct head *h);
void head_free(struct head *h);

/* batch->output of x (rows, embedding), any but ENCODE_SOURCE.  tied: the token embedding.  -1 when memory is
 * out or the head has no such output. */
int head_run(struct head *h, struct exec *x, const struct encode_batch *batch, const struct weight *tied,
             const float *hidden);

#endif
