/* blocks.h - what several families share: hyperparameters and tensors asked for by name, with the
 * checks that turn a stranger's file into an error, and rotary tables.  Thread: the loader's. */
#ifndef LOQUAT_MODELS_BLOCKS_H
#define LOQUAT_MODELS_BLOCKS_H

#include "engine/base/checkpoint.h"
#include "engine/kernels/kernels.h"

/* config["ARCHITECTURE.key"] in [min, max]; `fallback` when it is absent, or an error when fallback is
 * UINT64_MAX. */
int config_u64(const struct checkpoint *c, const char *key, uint64_t min, uint64_t max, uint64_t fallback,
               uint64_t *out, struct error *e);
int config_float(const struct checkpoint *c, const char *key, float fallback, float *out, struct error *e);
int config_text(const struct checkpoint *c, const char *key, const char **out,
                struct error *e); /* NULL when absent */

/* A source and the names in it: format is a printf pattern for the layer, e.g. "blk.%zu.attn_q.weight". */
struct tensor_loader {
    const struct checkpoint *checkpoint;
    struct exec *exec;
    uint64_t bytes; /* of everything loaded so far, in packed form */
    struct error *error;
};

/* (rows, cols) packed; an error when the tensor is absent or of another shape. */
int load_matrix(struct tensor_loader *l, struct weight *w, size_t rows, size_t cols, const char *format,
                size_t layer);
/* n floats, malloc'ed; *out stays NULL when it is absent and not required. */
int load_vector(struct tensor_loader *l, float **out, size_t n, bool required, const char *format,
                size_t layer);
bool has_tensor(const struct checkpoint *c, const char *name);

/* Rotary frequencies, scaled as the file asks (rope.scaling.type none, linear, yarn; factors: n_rot/2
 * divisors as Llama 3 publishes them in rope_freqs.weight, or NULL).  YaRN: Peng et al., 2023. */
struct rotary_options {
    size_t n_rot, original_context;
    float base, scale; /* scale: 1 / factor */
    bool yarn;
    float attention_factor, beta_fast, beta_slow;
    const float *factors;
};
int rotary_options_read(const struct checkpoint *c, size_t n_rot, size_t trained_context,
                        struct rotary_options *o, struct error *e);
/* (positions, n_rot/2, {cos, sin}), malloc'ed, or NULL. */
float *rotary_table(const struct rotary_options *o, size_t positions);

/* n floats grown to at least `need`; contents are lost.  -1 when memory is out. */
int grow_floats(float **buffer, size_t *have, size_t need);

#endif
