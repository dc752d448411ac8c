/* tiles_emulated.h - tiles in plain C, for amx.c compiled with LOQUAT_TILES_EMULATED. */
#ifndef LOQUAT_TESTS_ISA_TILES_EMULATED_H
#define LOQUAT_TESTS_ISA_TILES_EMULATED_H

#include "engine/kernels/amx_tiles.h"

/* What tiles_begin() was given last on this thread. */
struct tile_config tiles_last_config(void);
/* How many instructions ran on all threads, so that a test knows that tiles were used. */
unsigned long tiles_multiplied(void);
/* From now on products come out a little wrong. */
void tiles_break(void);

#endif
