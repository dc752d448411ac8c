/* sequence.h - what the tests of attention share: a sequence with pages, and attention in double precision.
 * Pages begin as not-a-numbers, so that a read of anything that was never stored shows. */
#ifndef LOQUAT_TESTS_ISA_SEQUENCE_H
#define LOQUAT_TESTS_ISA_SEQUENCE_H

#include "engine/kernels/kernels.h"

enum { LAYER_OFFSET = 192, BIAS_FLOATS = 9 * 401, HIDDEN_KEYS = 20 };

#define SHAPE(n_heads, n_kv_heads, dim, factor, last, dtype, ...)                                            \
    {                                                                                                        \
        .heads = (n_heads), .kv_heads = (n_kv_heads), .head_dim = (dim), .scale = (factor),                  \
        .window = (last), .kv_dtype = (dtype), .offset = LAYER_OFFSET, __VA_ARGS__                           \
    }

/* Filled anew by sequence_make(): as many values as any shape here wants. */
extern float sequence_bias[BIAS_FLOATS];

struct sequence {
    struct attention_shape shape;
    size_t tokens, keys, pages; /* keys: how many there are; over all keys, fewer than there are queries */
    void **page;
    float *q, *k, *v; /* (tokens, heads or kv_heads, head_dim) */
};

void *take(size_t bytes);
void sequence_make(struct sequence *s, const struct attention_shape *shape, size_t tokens);
void sequence_drop(struct sequence *s);
void sequence_wipe(struct sequence *s);
/* Tokens [from, to) as one span of a batch; all keys are stored before the first of them is asked for. */
void sequence_advance(struct exec *x, struct sequence *s, size_t from, size_t to, float *out);
size_t sequence_floats(const struct sequence *s); /* of the output of all tokens */
void sequence_assert_same(const struct sequence *s, const float *a, const float *b, const char *what);
/* What the token at `position` gets for one head: head_dim values. */
void sequence_attend_plainly(const struct sequence *s, size_t position, size_t head, double *out);

#endif
