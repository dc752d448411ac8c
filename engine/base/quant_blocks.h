/* quant_blocks.h - ggml's blocks of quantised values taken apart into digits, scales and minima.
 * dtype.c makes floats of the parts, kernels/weight.c packs them into panels: the byte layouts of
 * ggml-quants are known here alone.  Any thread.  To add a format: a row of formats[] and its reader. */
#ifndef LOQUAT_BASE_QUANT_BLOCKS_H
#define LOQUAT_BASE_QUANT_BLOCKS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/dtype.h"

enum { QUANT_VALUES_MAX = 256, QUANT_RUNS_MAX = 16 };

/* value = (digit - zero) * d * scale - d_min * min  with a scale and a minimum per `run` columns;
 * without runs (blocks of 32) value = (digit - zero) * d + m. */
struct quant_format {
    uint8_t bits;  /* of a digit: 2 .. 6 or 8 */
    uint8_t zero;  /* the digit that means 0 */
    uint8_t run;   /* columns that share a small scale: 16, 32, or 0 when d alone scales */
    bool has_min;  /* m, or d_min and the small minima */
    bool codebook; /* the digit is an index into quant_codes[] */
};

struct quant_parts {
    uint16_t d, m;                   /* f16; m is d_min where there are runs, 0 where there is no minimum */
    uint8_t digit[QUANT_VALUES_MAX]; /* in the order of columns */
    int8_t scale[QUANT_RUNS_MAX];    /* with runs only */
    uint8_t min[QUANT_RUNS_MAX];
};

extern const int8_t quant_codes[16]; /* IQ4_NL's values */

const struct quant_format *quant_format(enum dtype t); /* NULL: not a quantised type */
void quant_read(enum dtype t, const uint8_t *block, struct quant_parts *out);
/* block_values floats, by the operations and roundings of ggml's dequantize_row. */
void quant_values(enum dtype t, const struct quant_parts *p, float *out);

/* ggml's reference quantisers: x (n values, whole blocks) into blocks.  Not-a-number becomes digit 0. */
void quant_write_q4_0(const float *x, size_t n, void *out);
void quant_write_q4_1(const float *x, size_t n, void *out);
void quant_write_q5_0(const float *x, size_t n, void *out);
void quant_write_q5_1(const float *x, size_t n, void *out);
void quant_write_q8_0(const float *x, size_t n, void *out);

#endif
