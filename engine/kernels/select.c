/* select.c - the KERNEL SET TABLE, best first, and who may use which row.
 * Compiled without instruction set options, since it runs before anything is known about the
 * processor.  A row is available when the processor reports its instructions (CPUID) and the operating
 * system saves their registers (XGETBV); amx also has to compute a small product rightly.  To add a set: its
 * file, a probe, a row. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#if defined(__x86_64__)
#include <cpuid.h>
#endif

#if defined(__aarch64__)
#include <sys/auxv.h>
#endif

#include "engine/kernels/set.h"

/* NULL when the set can run here, else what is missing. */
typedef const char *probe_fn(void);

static const char *probe_always(void)
{
    return NULL;
}

#if defined(__x86_64__)

struct cpu {
    unsigned ecx1, ebx7, ecx7, eax7_1; /* _1: of leaf 7's second part */
    uint64_t enabled;                  /* register files that the system saves: XCR0 */
};

enum { XCR0_AVX = 0x06, XCR0_AVX512 = 0xe6 };

static struct cpu read_cpu(void)
{
    struct cpu c = {0};
    unsigned a, b, d, ecx;
    if (!__get_cpuid(1, &a, &b, &c.ecx1, &d))
        return c;
    if (!__get_cpuid_count(7, 0, &a, &c.ebx7, &c.ecx7, &d))
        c.ebx7 = c.ecx7 = 0;
    if (!__get_cpuid_count(7, 1, &c.eax7_1, &b, &ecx, &d))
        c.eax7_1 = 0;
    if (c.ecx1 & bit_OSXSAVE) {
        unsigned low, high;
        __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
        c.enabled = (uint64_t)high << 32 | low;
    }
    return c;
}

static const char *probe_avx2(void)
{
    struct cpu c = read_cpu();
    unsigned want = bit_AVX | bit_FMA | bit_F16C;
    if ((c.ecx1 & want) != want || !(c.ebx7 & bit_AVX2))
        return "the processor lacks AVX2, FMA or F16C";
    if ((c.enabled & XCR0_AVX) != XCR0_AVX)
        return "the operating system has not enabled AVX";
    return NULL;
}

static const char *probe_avxvnni(void)
{
    const char *why_not = probe_avx2();
    if (why_not)
        return why_not;
    return read_cpu().eax7_1 & bit_AVXVNNI ? NULL : "the processor lacks AVX-VNNI";
}

static const char *probe_avx512(void)
{
    struct cpu c = read_cpu();
    unsigned want = bit_AVX512F | bit_AVX512BW | bit_AVX512VL | bit_AVX512DQ;
    if (probe_avx2() || (c.ebx7 & want) != want || !(c.ecx7 & bit_AVX512VNNI))
        return "the processor lacks AVX-512 F, BW, VL, DQ or VNNI";
    if ((c.enabled & XCR0_AVX512) != XCR0_AVX512)
        return "the operating system has not enabled AVX-512";
    return NULL;
}

static const char *probe_amx(void)
{
    const char *why_not = probe_avx512();
    return why_not ? why_not : amx_missing();
}

static const struct kernel_set *set_avx512(void)
{
    return &kernel_set_avx512;
}

static const struct kernel_set *set_avxvnni(void)
{
    return &kernel_set_avxvnni;
}

static const struct kernel_set *set_avx2(void)
{
    return &kernel_set_avx2;
}

#endif

#if defined(__aarch64__)

static const char *probe_neon(void)
{
    return getauxval(AT_HWCAP) & HWCAP_ASIMDDP ? NULL : "the processor lacks dot products of bytes (ASIMDDP)";
}

static const struct kernel_set *set_neon(void)
{
    return &kernel_set_neon;
}

#endif

static const struct kernel_set *set_scalar(void)
{
    return &kernel_set_scalar;
}

static const struct kernel_set *set_openblas(void);

struct set_row {
    const char *name;
    const struct kernel_set *(*set)(void);
    probe_fn *probe;
    bool by_name_only;
};

static const struct set_row table[] = {
#if defined(__x86_64__)
    {"amx", kernel_set_amx, probe_amx, false},      /* avx512, with tiles for prompts */
    {"avx512", set_avx512, probe_avx512, false},    /* with VNNI */
    {"avxvnni", set_avxvnni, probe_avxvnni, false}, /* avx2, with VNNI */
    {"avx2", set_avx2, probe_avx2, false},
#endif
#if defined(__aarch64__)
    {"neon", set_neon, probe_neon, false},
#endif
    {"scalar", set_scalar, probe_always, false}, /* any processor */
    {"openblas", set_openblas, probe_always, true},
};
enum { SETS = sizeof table / sizeof table[0] };

static const struct kernel_set *best_set(void)
{
    for (size_t i = 0; i < SETS; i++)
        if (!table[i].by_name_only && !table[i].probe())
            return table[i].set();
    return &kernel_set_scalar;
}

static const struct kernel_set *set_openblas(void)
{
    return kernel_set_openblas(best_set());
}

const struct kernel_set *kernels_select(const char *name, struct error *e)
{
    if (!name)
        name = getenv("LOQUAT_KERNELS");
    if (!name || !*name)
        return best_set();
    for (size_t i = 0; i < SETS; i++) {
        if (strcmp(table[i].name, name) != 0)
            continue;
        const char *why_not = table[i].probe();
        if (!why_not)
            return table[i].set();
        error_set(e, ERROR_BAD_OPTION, "kernels %s cannot run here: %s", name, why_not);
        return NULL;
    }
    char names[128] = "";
    for (size_t i = 0; i < SETS; i++) {
        size_t used = strlen(names);
        snprintf(names + used, sizeof names - used, "%s%s", i > 0 ? ", " : "", table[i].name);
    }
    error_set(e, ERROR_BAD_OPTION, "unknown kernels %s: there are %s", name, names);
    return NULL;
}

bool kernels_exact(const struct kernel_set *set)
{
    return !set->float_activations;
}

enum dtype kernels_kv_dtype(const struct kernel_set *set, enum arithmetic a)
{
    bool by_tiles = set->prompt && set->prompt->attention; /* of f16 */
    bool by_pairs = set->multiplies_pairs && set->multiplies_pairs() && !by_tiles;
    return a == ARITHMETIC_FAST && by_pairs ? DTYPE_BF16 : DTYPE_F16;
}

const char *kernels_name(const struct kernel_set *set)
{
    return set->name;
}

const struct kernel_set *kernels_at(size_t i, const char **name, const char **why_not)
{
    if (i >= SETS)
        return NULL;
    *name = table[i].name;
    *why_not = table[i].probe();
    return table[i].set();
}
