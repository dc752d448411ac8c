/* sets.h - what the tests of kernel sets share: an exec per available set, and numbers that are the
 * same on every run. */
#ifndef LOQUAT_TESTS_ISA_SETS_H
#define LOQUAT_TESTS_ISA_SETS_H

#include "engine/kernels/kernels.h"

enum { SETS_MAX = 8, SETS_THREADS = 3 };

struct sets {
    size_t count;
    struct exec *exec[SETS_MAX]; /* [0] is scalar, on one thread: the reference */
};

/* Exact sets only, or openblas too; says which are skipped and why.  Ends the test when it cannot. */
void sets_open(struct sets *s, bool with_openblas);
void sets_close(struct sets *s);
const char *sets_name(const struct sets *s, size_t i);

void random_seed(uint64_t seed);
uint32_t random_u32(void);
float random_unit(void); /* -1 .. 1 */
/* Activations with the awkward ones among them: zeros, whole blocks of zeros, denormals, large, equal. */
void random_floats(float *out, size_t n);
/* n values of a dtype; scales and floats are any finite number of moderate size, bytes are any. */
void random_weights(enum dtype dtype, uint8_t *out, size_t n);
/* Byte of a quantised block where its f16 scale lies, with the f16 minimum after it if it has one. */
size_t quant_scale_offset(enum dtype dtype);

#endif
