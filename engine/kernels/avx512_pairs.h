/* avx512_pairs.h - what avx512.c takes from avx512_pairs.c. */
#ifndef LOQUAT_KERNELS_AVX512_PAIRS_H
#define LOQUAT_KERNELS_AVX512_PAIRS_H

#include "engine/kernels/set.h"

/* struct kernel_set's attention_pairs, where the processor has AVX512_BF16. */
void avx512_attention_pairs(const struct attention_tile *t);

#endif
