/* arch.h - what an architecture is to the rest of the engine, and the ARCHITECTURE TABLE.
 * A family is one file with a struct arch, and one row in arch.c.  It reads its hyperparameters from
 * the checkpoint, asks for tensors by name, and computes a batch with kernels/.
 * Thread: load() on any, forward() on the scheduler's. */
#ifndef LOQUAT_MODELS_ARCH_H
#define LOQUAT_MODELS_ARCH_H

#include "engine/base/checkpoint.h"
#include "engine/kernels/kernels.h"

/* Rows of one tick: spans of consecutive positions of different sequences. */
struct batch {
    size_t rows;
    const int32_t *tokens;     /* (rows) */
    const uint32_t *positions; /* (rows) */
    const struct attention_span *spans;
    size_t n_spans;
    const uint32_t *logit_rows; /* rows whose logits are wanted, ascending */
    size_t n_logit_rows;
    float *logits; /* (n_logit_rows, vocabulary) */
};

/* Sizes that follow from hyperparameters alone: known before any weight is read. */
struct model_shape {
    size_t vocabulary, trained_context, layers, embedding;
    size_t kv_heads, head_dim; /* of every layer */
    uint64_t parameters;
};

struct model {
    const struct arch *arch;
    struct model_shape shape;
    size_t context; /* tokens of one sequence, as served */
    enum dtype kv_dtype;
    uint64_t weight_bytes;
};

struct arch {
    const char *name; /* as general.architecture */
    /* Hyperparameters only; refuses what the family cannot run. */
    int (*shape)(const struct checkpoint *c, struct model_shape *out, struct error *e);
    /* Weights too.  context and kv_dtype are decided by the loader. */
    int (*load)(const struct checkpoint *c, struct exec *x, size_t context, enum dtype kv_dtype,
                struct model **out, struct error *e);
    /* Computes batch->logits; -1 when scratch memory is out. */
    int (*forward)(struct model *m, struct exec *x, const struct batch *batch);
    void (*free)(struct model *m);
};

/* The rows, each defined in its family's file. */
extern const struct arch arch_llama;

const struct arch *arch_find(const char *name); /* NULL when unknown */
void arch_names(char *out, size_t size);        /* "llama, …" for error messages */

/* Bytes of one page over all layers. */
size_t model_page_bytes(const struct model_shape *shape, enum dtype kv_dtype);

#endif
