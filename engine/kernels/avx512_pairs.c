/* avx512_pairs.c - attention over bf16 pages where the processor multiplies pairs of bf16 (VDPBF16PS): the
 * avx512 set's, which asks for that first.  Compiled with its options and -mavx512bf16.  Body:
 * attention_pairs.inc. */
#include <immintrin.h>
#include <math.h>
#include <string.h>

#include "engine/kernels/avx512_pairs.h"
#include "engine/kernels/set.h"

#include "engine/kernels/avx512_vectors.inc"
#include "engine/kernels/math.inc"

#include "engine/kernels/attention_shared.inc"

typedef __m512bh vp;

#define PAIR_ROWS          12
#define PAIR_VECTORS(rows) ((rows) > 6 ? 2 : 4)

INLINE vp vp_load(const uint16_t *p)
{
    return (__m512bh)_mm512_loadu_si512(p);
}

INLINE vp vp_set(const uint16_t *p)
{
    int32_t two;
    memcpy(&two, p, sizeof two);
    return (__m512bh)_mm512_set1_epi32(two);
}

INLINE vf vp_dot(vp a, vp b, vf acc)
{
    return _mm512_dpbf16_ps(acc, a, b);
}

INLINE vp vp_round(uint16_t *out, vf first, vf second)
{
    __m512bh rounded = _mm512_cvtne2ps_pbh(second, first);
    _mm512_storeu_si512(out, (__m512i)rounded);
    return rounded;
}

#include "engine/kernels/attention_pairs.inc"

void avx512_attention_pairs(const struct attention_tile *t)
{
    attention_pairs(t);
}
