/* dtype.h - the table of element types that checkpoints hold, and their plain float meaning.
 * Block layouts are those of GGUF (ggml-quants); dtype_to_f32() is the reference that every
 * kernel and every packed form is tested against.  Any thread. */
#ifndef LOQUAT_BASE_DTYPE_H
#define LOQUAT_BASE_DTYPE_H

#include <stddef.h>
#include <stdint.h>

enum dtype {
    DTYPE_F32,
    DTYPE_F16,
    DTYPE_BF16,
    DTYPE_Q4_0, /* 32 values: f16 d, 16 bytes of nibbles; (q - 8) * d */
    DTYPE_Q4_1, /* 32 values: f16 d, f16 m, 16 bytes of nibbles; q * d + m */
    DTYPE_Q8_0, /* 32 values: f16 d, 32 int8; q * d */
    DTYPES
};

struct dtype_row {
    const char *name;    /* as people write it: "Q4_1" */
    uint32_t gguf_id;    /* ggml_type number in GGUF files */
    size_t block_values; /* elements in a block */
    size_t block_bytes;
    void (*to_f32)(const void *blocks, size_t n, float *out); /* n is a multiple of block_values */
};

const struct dtype_row *dtype_row(enum dtype t);
int dtype_from_gguf(uint32_t id);           /* -1 when unknown */
size_t dtype_bytes(enum dtype t, size_t n); /* bytes of n elements, n a multiple of block_values */
void dtype_to_f32(enum dtype t, const void *blocks, size_t n, float *out);

float f16_to_f32(uint16_t h);
uint16_t f32_to_f16(float f); /* rounds to nearest even */
float bf16_to_f32(uint16_t h);

#endif
