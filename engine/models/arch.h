/* arch.h - what an architecture is to the rest of the engine, and the ARCHITECTURE TABLE.
 * A family is one file with a struct arch, and one row in arch.c.  It reads its hyperparameters from
 * the checkpoint in GGUF's words (names.h brings other dialects into them), asks for tensors by GGUF's names,
 * and computes batches with kernels/.
 * Thread: load() on any; forward() and encode() on the scheduler's. */
#ifndef LOQUAT_MODELS_ARCH_H
#define LOQUAT_MODELS_ARCH_H

#include "engine/base/checkpoint.h"
#include "engine/base/job.h"
#include "engine/kernels/kernels.h"

/* What a decoder attends to besides itself: the source of its sequence, as encode() left it. */
struct source_span {
    const int32_t *tokens;
    size_t n_tokens;
    void *const *pages; /* cross-attention keys and values, positions 0 .. n_tokens-1 */
};

/* Rows of one tick: spans of consecutive positions of different sequences. */
struct batch {
    size_t rows;
    size_t prompt_rows;                 /* the first so many are of prompts: exec_set_prompt_rows() */
    const int32_t *tokens;              /* (rows) */
    const uint32_t *positions;          /* (rows) */
    const struct attention_span *spans; /* pages NULL when shape.kv_layers is 0 */
    size_t n_spans;
    void *const *states;               /* (n_spans) shape.state_bytes each, kept from call to call; undefined
                                          before position 0, where the family sets it.  NULL when 0 bytes */
    const struct source_span *sources; /* (n_spans), or NULL for a model without an encoder */
    const uint32_t *logit_rows;        /* rows whose logits are wanted, ascending */
    size_t n_logit_rows;
    float *hidden; /* (rows, embedding) after the last norm, or NULL when not wanted */
};

/* What encode() is to write. */
enum encode_output {
    ENCODE_SOURCE, /* encoder-decoder: cross keys and values into spans[i].pages; out unused */
    ENCODE_HIDDEN, /* (rows, embedding) the last hidden state */
    ENCODE_POOLED, /* (n_spans, embedding) the checkpoint's own pooler over the first token (BERT) */
    ENCODE_LABELS, /* (n_spans, n_labels) sequence classification or regression */
    ENCODE_TAGS,   /* (rows, n_labels) token classification; answer spans: start and end */
    ENCODE_MASKED  /* (n_output_rows, vocabulary) masked language model at output_rows */
};

/* Whole sequences: every row sees all rows of its span. */
struct encode_batch {
    size_t rows;
    const int32_t *tokens;              /* (rows) */
    const uint8_t *types;               /* (rows) token types: 0 first text, 1 second */
    const struct attention_span *spans; /* first_position 0; pages NULL unless ENCODE_SOURCE */
    size_t n_spans;
    enum encode_output output;
    const uint32_t *output_rows; /* ascending */
    size_t n_output_rows;
    float *out;
};

/* Sizes and abilities that follow from hyperparameters alone: known before any weight is read. */
struct model_shape {
    size_t vocabulary, trained_context, layers, embedding;
    size_t kv_layers, kv_heads, head_dim; /* self-attention pages of the decoder; kv_layers 0: none */
    size_t cross_layers, cross_heads, cross_head_dim; /* pages of the source; cross_layers 0: no encoder */
    size_t state_bytes;          /* fixed memory of a sequence (recurrent families); 0 = none */
    size_t source_context;       /* most source tokens of an encoder-decoder; 0 = none */
    unsigned abilities;          /* ENGINE_CAN_… */
    enum engine_problem problem; /* of CLASSIFY */
    size_t n_labels;             /* of CLASSIFY and TAG; 2 for SPANS */
    bool has_pooler;             /* ENCODE_POOLED is there */
    uint64_t parameters;
};

struct model {
    const struct arch *arch;
    struct model_shape shape;
    size_t context; /* tokens of one sequence, as served */
    enum dtype kv_dtype;
    uint64_t weight_bytes;
};

struct naming; /* names.h */

struct arch {
    const char *name;             /* as general.architecture */
    const struct naming *namings; /* its other dialects, closed by an empty one; NULL = GGUF only */
    /* Hyperparameters only; refuses what the family cannot run. */
    int (*shape)(const struct checkpoint *c, struct model_shape *out, struct error *e);
    /* Weights too.  context and kv_dtype are decided by the loader. */
    int (*load)(const struct checkpoint *c, struct exec *x, size_t context, enum dtype kv_dtype,
                struct model **out, struct error *e);
    /* Computes the rows, and batch->hidden; -1 when scratch memory is out.  NULL: an encoder only.
     * Exec knows no prompt rows; a family may tell it for products of whole batches. */
    int (*forward)(struct model *m, struct exec *x, const struct batch *batch);
    /* After forward() of the same batch: out (n, vocabulary) of its logit rows first … first+n-1, -INFINITY
     * for a token that can't come.  A few at a time, since a vocabulary is wide; -1 as above.  NULL where
     * forward is. */
    int (*logits)(struct model *m, struct exec *x, const struct batch *batch, size_t first, size_t n,
                  float *out);
    /* NULL: a decoder only.  All rows are prompt rows. */
    int (*encode)(struct model *m, struct exec *x, const struct encode_batch *batch);
    void (*free)(struct model *m);
};

const struct arch *arch_find(const char *name); /* NULL when unknown */
const struct arch *arch_at(size_t i);           /* row i, or NULL past the end */
void arch_names(char *out, size_t size);        /* "llama, …" for error messages */

/* Bytes of the pages of a model: self-attention keys and values of 32 tokens over all layers, the same of
 * its source, or a state; one size serves all three. */
size_t model_page_bytes(const struct model_shape *shape, enum dtype kv_dtype);

#endif
