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
int config_flag(const struct checkpoint *c, const char *key, bool fallback, bool *out, struct error *e);
const json_t *config_value(const struct checkpoint *c, const char *key); /* NULL when absent; borrowed */

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
/* Slices of fused tensors, by full name: rows first .. first+rows-1 of a matrix of total x cols, packed;
 * values first .. first+n-1 of a vector of `total`, malloc'ed, as load_vector() does. */
int load_rows(struct tensor_loader *l, struct weight *w, size_t first, size_t rows, size_t total, size_t cols,
              const char *name);
int load_values(struct tensor_loader *l, float **out, size_t first, size_t n, size_t total, bool required,
                const char *name);
bool has_tensor(const struct checkpoint *c, const char *name);

/* Rotary frequencies, scaled as the file asks (rope.scaling.type none, linear, yarn, longrope; factors:
 * a divisor a pair as Llama 3 publishes them in rope_freqs.weight, and Phi 3 in rope_factors_long.weight and
 * rope_factors_short.weight, or NULL).  YaRN: Peng et al., 2023; LongRoPE: Ding et al., 2024. */
struct rotary_options {
    size_t n_rot, original_context;
    float base, scale; /* scale: 1 / factor */
    bool yarn;
    float attention_factor, beta_fast, beta_slow;
    const float *factors;
};
int rotary_options_read(const struct checkpoint *c, size_t n_rot, size_t trained_context,
                        struct rotary_options *o, struct error *e);
/* An odd number of dimensions is rounded up, as transformers does; the frequencies stay those of the number.
 */
size_t rotary_pairs(size_t n_rot);
/* table (positions, pairs, {cos, sin}), malloc'ed, grown to at least `need` positions; -1 when memory is
 * out and nothing has changed. */
struct rotary_table {
    struct rotary_options options;
    float *table;
    size_t positions;
};
int rotary_table_grow(struct rotary_table *t, size_t need);

/* n floats grown to at least `need`; contents are lost.  -1 when memory is out. */
int grow_floats(float **buffer, size_t *have, size_t need);

#endif
