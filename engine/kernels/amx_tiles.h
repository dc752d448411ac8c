/* amx_tiles.h - the tile instructions of AMX (Intel SDM volume 1, chapter 18; volume 2: LDTILECFG, TILELOADD,
 * TDPBF16PS).  In our own asm: gcc 12's intrinsics don't tell the compiler which memory they read and write.
 * With LOQUAT_TILES_EMULATED they are calls of plain C, so that amx.c is tested on processors without tiles
 * (tests/isa/tiles_emulated.c).
 * Thread: eight tile registers belong to each; tiles_begin() .. tiles_end() must not be left in between. */
#ifndef LOQUAT_KERNELS_AMX_TILES_H
#define LOQUAT_KERNELS_AMX_TILES_H

#include <stddef.h>
#include <stdint.h>

enum { TILES = 8, TILE_ROWS = 16, TILE_ROW_BYTES = 64, TILE_BYTES = TILE_ROWS * TILE_ROW_BYTES };

/* What LDTILECFG reads. */
struct tile_config {
    uint8_t palette, start_row, reserved[14];
    uint16_t row_bytes[16]; /* "colsb" */
    uint8_t rows[16];
};
_Static_assert(sizeof(struct tile_config) == 64 && offsetof(struct tile_config, row_bytes) == 16 &&
                   offsetof(struct tile_config, rows) == 48,
               "the layout of the manual");

/* Why this process can't use tiles, or NULL.  Asks the system for their registers. */
const char *tiles_missing(void);

/* Eight tiles of 16 rows of 64 bytes. */
static const struct tile_config tiles_whole = {
    .palette = 1, .row_bytes = {64, 64, 64, 64, 64, 64, 64, 64}, .rows = {16, 16, 16, 16, 16, 16, 16, 16}};

#ifdef LOQUAT_TILES_EMULATED

/* What the instructions below do. */
void tiles_begin(const struct tile_config *c);
void tiles_end(void);
void tile_zero(int t);
void tile_load(int t, const void *rows, size_t stride);
void tile_store(int t, void *rows, size_t stride);
void tile_multiply(int sum, int a, int b);

#else

static inline void tiles_begin(const struct tile_config *c)
{
    __asm__ volatile("ldtilecfg %0" : : "m"(*c) : "memory");
}

/* Also spares the system from saving 8 KiB at each switch of threads. */
static inline void tiles_end(void)
{
    __asm__ volatile("tilerelease" : : : "memory");
}

/* Tile numbers are constants.  Rows of 64 bytes, `stride` bytes apart. */
#define tile_zero(t) __asm__ volatile("tilezero %%tmm" #t ::)
#define tile_load(t, rows, stride)                                                                           \
    __asm__ volatile("tileloadd (%0,%1,1), %%tmm" #t : : "r"(rows), "r"((size_t)(stride)) : "memory")
#define tile_store(t, rows, stride)                                                                          \
    __asm__ volatile("tilestored %%tmm" #t ", (%0,%1,1)" : : "r"(rows), "r"((size_t)(stride)) : "memory")
/* sum (16, 16) float32 += a (16, 32) bf16 times b, whose row k holds pairs of bf16: column n of rows 2k,
 * 2k+1. Per output: even and odd columns each by fma in ascending order from 0, their sum is added; denormals
 * are 0. */
#define tile_multiply(sum, a, b) __asm__ volatile("tdpbf16ps %%tmm" #b ", %%tmm" #a ", %%tmm" #sum ::)

#endif

#endif
