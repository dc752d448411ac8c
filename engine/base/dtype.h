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
    DTYPE_Q5_0, /* as Q4_0 and Q4_1 with 32 fifth bits before the nibbles */
    DTYPE_Q5_1,
    DTYPE_Q2_K, /* 256 values in runs of 16 or 32 with small scales: engine/base/quant_blocks.h */
    DTYPE_Q3_K,
    DTYPE_Q4_K,
    DTYPE_Q5_K,
    DTYPE_Q6_K,
    DTYPE_IQ4_NL, /* 32 values: f16 d, 16 bytes of nibbles that pick one of 16 values */
    DTYPE_F64,
    DTYPE_I8, /* integers: tables of tokens and positions */
    DTYPE_I16,
    DTYPE_I32,
    DTYPE_I64,
    DTYPE_U8,   /* safetensors only */
    DTYPE_BOOL, /* safetensors only: one byte, 0 or 1 */
    DTYPES
};

enum { DTYPE_NOT_IN_GGUF = -1 };

struct dtype_row {
    const char *name;    /* as people write it: "Q4_1" */
    int gguf_id;         /* ggml_type number in GGUF files, or DTYPE_NOT_IN_GGUF */
    size_t block_values; /* elements in a block */
    size_t block_bytes;
    void (*to_f32)(const void *blocks, size_t n, float *out); /* n is a multiple of block_values */
    /* The same back, rounded as ggml's reference does; NULL: this type is read, never written. */
    void (*from_f32)(const float *values, size_t n, void *blocks);
};

const struct dtype_row *dtype_row(enum dtype t);
int dtype_from_gguf(uint32_t id);           /* -1 when unknown */
size_t dtype_bytes(enum dtype t, size_t n); /* bytes of n elements, n a multiple of block_values */
void dtype_to_f32(enum dtype t, const void *blocks, size_t n, float *out);
/* n values into out, dtype_bytes(t, n) bytes; only where dtype_row(t)->from_f32 is not NULL. */
void dtype_from_f32(enum dtype t, const float *values, size_t n, void *out);

float f16_to_f32(uint16_t h);
uint16_t f32_to_f16(float f); /* rounds to nearest even */
float bf16_to_f32(uint16_t h);
uint16_t f32_to_bf16(float f); /* rounds to nearest even */

#endif
