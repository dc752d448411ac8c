/* ceilings.c - what this machine can do at most, by loops that do nothing else: one JSON object on standard
 * output. ceilings [THREADS] GB/s of reads beyond the caches, and billions of multiply-adds a second (all
 * threads together) of float32 FMA, bytes by VNNI, bf16 pairs, and the tiles of AMX; null where processor or
 * system lack them.  Benchmarks say their figures as shares of these.  To add one: a loop over one kind of
 * instruction and a row of `rates`. */
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "engine/base/clock.h"
#include "engine/base/machine.h"

enum { MAX_THREADS = 256, READ_MB = 192, READ_ROUNDS = 3, ROUNDS = 400000, TURNS = 5 };

/* Each runs `rounds` times and returns something that depends on the work. */
typedef uint64_t loop_fn(uint64_t rounds, const uint8_t *memory, size_t bytes);

static uint64_t read_memory(uint64_t rounds, const uint8_t *memory, size_t bytes)
{
    typedef uint64_t lanes __attribute__((vector_size(64), aligned(64)));
    lanes sum[4] = {{0}};
    for (uint64_t r = 0; r < rounds; r++)
        for (const lanes *p = (const lanes *)(const void *)memory, *end = p + bytes / 64; p < end; p += 4)
            for (int i = 0; i < 4; i++)
                sum[i] ^= p[i];
    return sum[0][0] ^ sum[1][1] ^ sum[2][2] ^ sum[3][3];
}

#if defined(__x86_64__)
#include <cpuid.h>
#include <immintrin.h>

/* Twelve independent sums hide the latency of any of these instructions. */
#define SUMS 12
#define EACH(body)                                                                                           \
    for (int i = 0; i < SUMS; i++) {                                                                         \
        body;                                                                                                \
    }
#define TARGET(names) __attribute__((target(names), optimize("unroll-loops")))
#if defined(__clang__)
#undef TARGET
#define TARGET(names) __attribute__((target(names)))
#endif
/* Keeps the compiler from seeing that every round does the same. */
#define OPAQUE(v)   __asm__ volatile("" : "+v"(v))
#define OPAQUE_Y(v) __asm__ volatile("" : "+x"(v))

TARGET("avx2,fma") static uint64_t fma_avx2(uint64_t rounds, const uint8_t *memory, size_t bytes)
{
    __m256 sum[SUMS], a = _mm256_set1_ps(1e-3f), b = a;
    (void)memory, (void)bytes;
    EACH(sum[i] = a)
    for (uint64_t r = 0; r < rounds; r++) {
        OPAQUE_Y(a);
        EACH(sum[i] = _mm256_fmadd_ps(a, b, sum[i]))
    }
    EACH(a = _mm256_add_ps(a, sum[i]))
    return (uint64_t)_mm256_cvtss_f32(a);
}

TARGET("avx512f") static uint64_t fma_avx512(uint64_t rounds, const uint8_t *memory, size_t bytes)
{
    __m512 sum[SUMS], a = _mm512_set1_ps(1e-3f), b = a;
    (void)memory, (void)bytes;
    EACH(sum[i] = a)
    for (uint64_t r = 0; r < rounds; r++) {
        OPAQUE(a);
        EACH(sum[i] = _mm512_fmadd_ps(a, b, sum[i]))
    }
    EACH(a = _mm512_add_ps(a, sum[i]))
    return (uint64_t)_mm512_cvtss_f32(a);
}

TARGET("avx512f,avx512vnni") static uint64_t bytes_vnni(uint64_t rounds, const uint8_t *memory, size_t bytes)
{
    __m512i sum[SUMS], a = _mm512_set1_epi8(1), b = a;
    (void)memory, (void)bytes;
    EACH(sum[i] = a)
    for (uint64_t r = 0; r < rounds; r++) {
        OPAQUE(a);
        EACH(sum[i] = _mm512_dpbusd_epi32(sum[i], a, b))
    }
    EACH(a = _mm512_add_epi32(a, sum[i]))
    return (uint64_t)_mm_cvtsi128_si32(_mm512_castsi512_si128(a));
}

TARGET("avx512f,avx512bf16") static uint64_t pairs_bf16(uint64_t rounds, const uint8_t *memory, size_t bytes)
{
    __m512 sum[SUMS], total = _mm512_setzero_ps();
    __m512i a = _mm512_set1_epi16(0x3a80), b = a;
    (void)memory, (void)bytes;
    EACH(sum[i] = total)
    for (uint64_t r = 0; r < rounds; r++) {
        OPAQUE(a);
        EACH(sum[i] = _mm512_dpbf16_ps(sum[i], (__m512bh)a, (__m512bh)b))
    }
    EACH(total = _mm512_add_ps(total, sum[i]))
    return (uint64_t)_mm512_cvtss_f32(total);
}

/* Four tiles of sums from two and two, as a blocked product has them: 0..3 += 4,5 x 6,7. */
#define TILE_ROUND(instruction)                                                                              \
    __asm__ volatile(instruction " %%tmm6, %%tmm4, %%tmm0\n\t" instruction                                   \
                                 " %%tmm7, %%tmm4, %%tmm1\n\t" instruction                                   \
                                 " %%tmm6, %%tmm5, %%tmm2\n\t" instruction " %%tmm7, %%tmm5, %%tmm3" ::      \
                                     : "memory")

static void tiles_on(void)
{
    struct {
        uint8_t palette, start, reserved[14];
        uint16_t row_bytes[16];
        uint8_t rows[16];
    } config = {.palette = 1};
    for (int t = 0; t < 8; t++) {
        config.row_bytes[t] = 64;
        config.rows[t] = 16;
    }
    __asm__ volatile("ldtilecfg %0" ::"m"(config) : "memory");
    __asm__ volatile(
        "tilezero %%tmm0\n\ttilezero %%tmm1\n\ttilezero %%tmm2\n\ttilezero %%tmm3\n\ttilezero %%tmm4\n\t"
        "tilezero %%tmm5\n\ttilezero %%tmm6\n\ttilezero %%tmm7" ::
            : "memory");
}

static uint64_t tiles_bf16(uint64_t rounds, const uint8_t *memory, size_t bytes)
{
    (void)memory, (void)bytes;
    tiles_on();
    for (uint64_t r = 0; r < rounds; r++)
        TILE_ROUND("tdpbf16ps");
    __asm__ volatile("tilerelease" ::: "memory");
    return 0;
}

static uint64_t tiles_bytes(uint64_t rounds, const uint8_t *memory, size_t bytes)
{
    (void)memory, (void)bytes;
    tiles_on();
    for (uint64_t r = 0; r < rounds; r++)
        TILE_ROUND("tdpbssd");
    __asm__ volatile("tilerelease" ::: "memory");
    return 0;
}

static bool has(unsigned leaf, unsigned subleaf, char reg, unsigned bit)
{
    unsigned a = 0, b = 0, c = 0, d = 0;
    if (!__get_cpuid_count(leaf, subleaf, &a, &b, &c, &d))
        return false;
    return (reg == 'a' ? a : reg == 'b' ? b : reg == 'c' ? c : d) >> bit & 1;
}

/* What the system saves of the registers: AVX, AVX-512, tiles. */
static bool enabled(uint64_t bits)
{
    unsigned low, high;
    if (!has(1, 0, 'c', 27))
        return false;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return (((uint64_t)high << 32 | low) & bits) == bits;
}

static bool can_avx2(void)
{
    return has(7, 0, 'b', 5) && has(1, 0, 'c', 12) && enabled(0x06);
}

static bool can_avx512(void)
{
    return has(7, 0, 'b', 16) && enabled(0xe6);
}

static bool can_vnni(void)
{
    return can_avx512() && has(7, 0, 'c', 11);
}

static bool can_bf16(void)
{
    return can_avx512() && has(7, 1, 'a', 5);
}

static bool can_tiles(void)
{
    enum { ARCH_REQ_XCOMP_PERM = 0x1023, TILE_DATA = 18 };
    return has(7, 0, 'd', 24) && has(7, 0, 'd', 22) && has(7, 0, 'd', 25) && enabled(0x600e6) &&
           syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, TILE_DATA) == 0;
}
#endif

struct rate {
    const char *name;
    loop_fn *loop;
    bool (*can)(void);
    double per_round; /* multiply-adds */
};

static const struct rate rates[] = {
#if defined(__x86_64__)
    {"fma_avx2", fma_avx2, can_avx2, SUMS * 8},
    {"fma_avx512", fma_avx512, can_avx512, SUMS * 16},
    {"int8_vnni", bytes_vnni, can_vnni, SUMS * 64},
    {"bf16_pairs", pairs_bf16, can_bf16, SUMS * 32},
    {"bf16_tiles", tiles_bf16, can_tiles, 4.0 * 16 * 16 * 32},
    {"int8_tiles", tiles_bytes, can_tiles, 4.0 * 16 * 16 * 64},
#else
    {NULL, NULL, NULL, 0},
#endif
};

struct worker {
    pthread_t thread;
    loop_fn *loop;
    uint64_t rounds, result;
    const uint8_t *memory;
    size_t bytes;
};

static void *work(void *argument)
{
    struct worker *w = argument;
    w->result = w->loop(w->rounds, w->memory, w->bytes);
    return NULL;
}

/* Seconds of the fastest of several turns in which all threads run the loop. */
static double seconds(struct worker *workers, unsigned threads)
{
    double best = 1e30;
    for (int turn = 0; turn < TURNS; turn++) {
        uint64_t begin = clock_ns();
        for (unsigned i = 0; i < threads; i++)
            if (pthread_create(&workers[i].thread, NULL, work, &workers[i]) != 0)
                exit(1);
        for (unsigned i = 0; i < threads; i++)
            pthread_join(workers[i].thread, NULL);
        double took = (double)(clock_ns() - begin) / 1e9;
        best = took < best ? took : best;
    }
    return best;
}

static void print_reads(unsigned threads)
{
    static struct worker workers[MAX_THREADS];
    size_t each = (size_t)READ_MB * 1000000 / threads / 256 * 256;
    uint8_t *memory = aligned_alloc(256, each * threads);
    if (!memory)
        exit(1);
    memset(memory, 1, each * threads);
    for (unsigned i = 0; i < threads; i++)
        workers[i] = (struct worker){
            .loop = read_memory, .rounds = READ_ROUNDS, .memory = memory + i * each, .bytes = each};
    printf("\"read_gb_per_second\": %.1f",
           (double)each * threads * READ_ROUNDS / seconds(workers, threads) / 1e9);
    free(memory);
}

static void print_rate(const struct rate *rate, unsigned threads)
{
    static struct worker workers[MAX_THREADS];
    if (!rate->can()) {
        printf(", \"%s\": null", rate->name);
        return;
    }
    for (unsigned i = 0; i < threads; i++)
        workers[i] = (struct worker){.loop = rate->loop, .rounds = ROUNDS};
    printf(", \"%s\": %.1f", rate->name,
           rate->per_round * ROUNDS * threads / seconds(workers, threads) / 1e9);
}

int main(int argc, char **argv)
{
    unsigned threads = argc > 1 ? (unsigned)strtoul(argv[1], NULL, 10) : machine_threads();
    if (threads < 1 || threads > MAX_THREADS) {
        fprintf(stderr, "usage: ceilings [THREADS]\n");
        return 2;
    }
    printf("{\"threads\": %u, ", threads);
    print_reads(threads);
    for (size_t i = 0; i < sizeof rates / sizeof rates[0] && rates[i].name; i++)
        print_rate(&rates[i], threads);
    printf("}\n");
    return 0;
}
