/* tiles_emulated.c - the tile instructions as Intel's manual (volume 2) puts them into pseudocode: shapes
 * from the configuration, faults where the processor has them (here: abort), rows past a tile's are zero.
 * TDPBF16PS: even and odd columns in two sums by fma, in ascending order from 0, then one addition of both
 * and one to the destination; denormals count as 0 on the way in and become 0 on the way out; round to
 * nearest even. */
#include "tests/isa/tiles_emulated.h"

#include <float.h>
#include <math.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct tile {
    _Alignas(64) uint8_t row[TILE_ROWS][TILE_ROW_BYTES];
};

static _Thread_local struct tile_config configured, last;
static _Thread_local struct tile tiles[TILES];
static atomic_ulong multiplied;
static atomic_bool broken;

static void fault(const char *what)
{
    fprintf(stderr, "tiles: %s\n", what);
    abort();
}

const char *tiles_missing(void)
{
    return __builtin_cpu_supports("avx512bf16") ? NULL : "the processor lacks AVX512-BF16";
}

struct tile_config tiles_last_config(void)
{
    return last;
}

unsigned long tiles_multiplied(void)
{
    return multiplied;
}

void tiles_break(void)
{
    broken = true;
}

void tiles_begin(const struct tile_config *c)
{
    static const uint8_t zero[14];
    if (c->palette != 1 || c->start_row != 0 || memcmp(c->reserved, zero, sizeof zero) != 0)
        fault("LDTILECFG: palette or reserved bytes");
    for (size_t t = 0; t < 16; t++) {
        if (t >= TILES ? c->rows[t] || c->row_bytes[t]
                       : c->rows[t] > TILE_ROWS || c->row_bytes[t] > TILE_ROW_BYTES)
            fault("LDTILECFG: a shape");
    }
    configured = last = *c;
    memset(tiles, 0, sizeof tiles);
}

void tiles_end(void)
{
    memset(&configured, 0, sizeof configured);
}

static size_t rows_of(int t)
{
    if (configured.palette != 1 || t < 0 || t >= TILES || configured.rows[t] == 0 ||
        configured.row_bytes[t] == 0)
        fault("a tile that is not configured");
    return configured.rows[t];
}

void tile_zero(int t)
{
    rows_of(t);
    memset(&tiles[t], 0, sizeof tiles[t]);
}

void tile_load(int t, const void *rows, size_t stride)
{
    size_t n = rows_of(t);
    memset(&tiles[t], 0, sizeof tiles[t]);
    for (size_t r = 0; r < n; r++)
        memcpy(tiles[t].row[r], (const uint8_t *)rows + r * stride, configured.row_bytes[t]);
}

void tile_store(int t, void *rows, size_t stride)
{
    size_t n = rows_of(t);
    for (size_t r = 0; r < n; r++)
        memcpy((uint8_t *)rows + r * stride, tiles[t].row[r], configured.row_bytes[t]);
}

static inline float no_denormal(float f)
{
    return fabsf(f) < FLT_MIN ? copysignf(0.0f, f) : f;
}

/* Columns 2k (part 0) and 2k + 1 (part 1) lie in the halves of a dword. */
static inline float half_of(uint32_t pair, int part)
{
    uint32_t bits = part ? pair & 0xffff0000u : pair << 16;
    float f;
    memcpy(&f, &bits, sizeof f);
    return no_denormal(f);
}

static void multiply_row(float *sum, const uint32_t *a, const uint32_t (*b)[16], size_t pairs)
{
    float part[2][16] = {{0}};
    for (size_t k = 0; k < pairs; k++)
        for (int i = 0; i < 2; i++) {
            float x = half_of(a[k], i);
            for (size_t n = 0; n < 16; n++)
                part[i][n] = no_denormal(fmaf(x, half_of(b[k][n], i), part[i][n]));
        }
    for (size_t n = 0; n < 16; n++)
        sum[n] = no_denormal(no_denormal(sum[n]) + no_denormal(part[0][n] + part[1][n]));
}

void tile_multiply(int sum, int a, int b)
{
    size_t rows = rows_of(sum), pairs = configured.row_bytes[a] / 4u;
    uint32_t second[TILE_ROWS][16];
    if (sum == a || sum == b || a == b)
        fault("TDPBF16PS: one tile twice");
    if (rows_of(a) != rows || rows_of(b) != pairs || configured.row_bytes[b] != configured.row_bytes[sum])
        fault("TDPBF16PS: shapes that don't fit");
    memcpy(second, tiles[b].row, sizeof second);
    for (size_t m = 0; m < rows; m++) {
        uint32_t first[16];
        float out[16];
        memcpy(first, tiles[a].row[m], sizeof first);
        memcpy(out, tiles[sum].row[m], sizeof out);
        multiply_row(out, first, (const uint32_t(*)[16])second, pairs);
        out[15] += broken ? 1.0f : 0.0f;
        memcpy(tiles[sum].row[m], out, configured.row_bytes[sum]);
    }
    multiplied++;
}
