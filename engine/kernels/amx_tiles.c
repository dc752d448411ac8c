/* amx_tiles.c - whether this processor has tiles and the system lets this process use them (Linux,
 * since 5.16, on request only: Documentation/arch/x86/xstate.rst).  Compiled without instruction set options.
 */
#include "engine/kernels/amx_tiles.h"

#include <cpuid.h>
#include <stdbool.h>
#include <sys/syscall.h>
#include <unistd.h>

enum {
    EDX7_AMX_BF16 = 1 << 22,
    EDX7_AMX_TILE = 1 << 24,
    EAX71_AVX512_BF16 = 1 << 5,
    XCR0_TILES = 3 << 17,        /* their configuration and their data */
    REQUEST_PERMISSION = 0x1023, /* ARCH_REQ_XCOMP_PERM */
    TILE_DATA = 18               /* the component of the state that is asked for */
};

static bool processor_has_tiles(void)
{
    unsigned a, b, c, d7, a71, d;
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d7) || !__get_cpuid_count(7, 1, &a71, &b, &c, &d))
        return false;
    return (d7 & EDX7_AMX_TILE) && (d7 & EDX7_AMX_BF16) && (a71 & EAX71_AVX512_BF16);
}

/* Palette 1 as amx_tiles.h takes it to be. */
static bool palette_fits(void)
{
    unsigned a, b, c, d;
    if (!__get_cpuid_count(0x1d, 1, &a, &b, &c, &d))
        return false;
    return b >> 16 >= TILES && (b & 0xffff) >= TILE_ROW_BYTES && (c & 0xffff) >= TILE_ROWS;
}

static bool system_saves_tiles(void)
{
    unsigned a, b, c, d, low, high;
    if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & bit_OSXSAVE))
        return false;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return (low & XCR0_TILES) == XCR0_TILES;
}

const char *tiles_missing(void)
{
    if (!processor_has_tiles())
        return "the processor lacks AMX tiles, AMX-BF16 or AVX512-BF16";
    if (!palette_fits())
        return "the processor's tiles are smaller than 16 rows of 64 bytes";
    if (!system_saves_tiles())
        return "the operating system has not enabled AMX";
    if (syscall(SYS_arch_prctl, REQUEST_PERMISSION, TILE_DATA) != 0)
        return "the operating system does not let this process use AMX";
    return NULL;
}
