/* bench_kernels.c - what linear() reaches here: GB/s of weights for one row, GMAC/s for 8, 64 and 512.
 * Not a test; run it on a quiet machine, by hand:
 *     bench_kernels [--threads N] [--kernels NAME] [--dtype NAME] [--rows-of-weight N] [--columns N]
 * The weight (default 16384 x 1536) should be larger than the last cache when GB/s is of interest. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/clock.h"
#include "engine/base/machine.h"
#include "engine/kernels/kernels.h"

enum { MAX_ROWS = 512 };
#define MEASURE_NS 200000000u

struct options {
    unsigned threads;
    const char *kernels, *dtype;
    size_t rows, cols;
};

static bool parse(int argc, char **argv, struct options *o)
{
    for (int i = 1; i + 1 < argc; i += 2) {
        const char *value = argv[i + 1];
        if (!strcmp(argv[i], "--threads"))
            o->threads = (unsigned)strtoul(value, NULL, 10);
        else if (!strcmp(argv[i], "--kernels"))
            o->kernels = value;
        else if (!strcmp(argv[i], "--dtype"))
            o->dtype = value;
        else if (!strcmp(argv[i], "--rows-of-weight"))
            o->rows = strtoul(value, NULL, 10);
        else if (!strcmp(argv[i], "--columns"))
            o->cols = strtoul(value, NULL, 10);
        else
            return false;
    }
    return argc % 2 == 1 && o->threads && o->rows && o->cols && o->cols % 256 == 0;
}

/* Bytes of which any two or four in a row are a normal number below 1, whatever the dtype. */
static void fill(uint8_t *data, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++)
        data[i] = (uint8_t)(0x20 | (i * 2654435761u >> 13 & 0x1f));
}

static double seconds_per_call(struct exec *x, const struct weight *w, size_t rows, const float *in,
                               float *out)
{
    uint64_t best = UINT64_MAX, begin = clock_ns();
    do {
        uint64_t start = clock_ns();
        if (linear(x, out, in, rows, w) < 0)
            return 1e30;
        uint64_t took = clock_ns() - start;
        best = took < best ? took : best;
    } while (clock_ns() - begin < MEASURE_NS);
    return (double)best / 1e9;
}

static void measure(struct exec *x, enum dtype dtype, const struct options *o, const float *in, float *out)
{
    size_t bytes = dtype_bytes(dtype, o->rows * o->cols);
    uint8_t *data = malloc(bytes);
    struct weight w;
    struct error e;
    error_clear(&e);
    if (!data)
        return;
    fill(data, bytes);
    if (weight_pack(x, dtype, data, o->rows, o->cols, &w, &e) < 0) {
        fprintf(stderr, "%s\n", e.text);
        free(data);
        return;
    }
    double macs = (double)o->rows * (double)o->cols;
    printf("%-9s %-6s %7.1f GB/s ", kernels_name(exec_kernels(x)), dtype_row(dtype)->name,
           (double)w.bytes / seconds_per_call(x, &w, 1, in, out) / 1e9);
    for (size_t rows = 8; rows <= MAX_ROWS; rows *= 8)
        printf("%9.1f", macs * (double)rows / seconds_per_call(x, &w, rows, in, out) / 1e9);
    printf("\n");
    fflush(stdout);
    weight_free(&w);
    free(data);
}

static int measure_sets(const struct options *o, struct pool *pool, const float *in, float *out)
{
    const char *name, *why_not;
    const struct kernel_set *set;
    printf("%u threads, weight %zu x %zu%28s\n%-15s %12s %9s%9s%9s\n", o->threads, o->rows, o->cols, "GMAC/s",
           "kernels dtype", "1 row", "8 rows", "64", "512");
    for (size_t i = 0; (set = kernels_at(i, &name, &why_not)); i++) {
        struct exec *x;
        if (why_not)
            printf("%-9s skipped: %s\n", name, why_not);
        if (why_not || (o->kernels && strcmp(o->kernels, name) != 0))
            continue;
        if (exec_create(set, pool, &x, NULL) < 0)
            return 1;
        for (int t = 0; t < DTYPE_F64; t++) /* the rest is packed as F32 */
            if (!o->dtype || strcmp(o->dtype, dtype_row((enum dtype)t)->name) == 0)
                measure(x, (enum dtype)t, o, in, out);
        exec_free(x);
    }
    return 0;
}

int main(int argc, char **argv)
{
    struct options o = {.threads = machine_threads(), .rows = 16384, .cols = 1536};
    struct pool *pool;
    struct error e;
    error_clear(&e);
    if (!parse(argc, argv, &o)) {
        fprintf(stderr, "see the head of tests/isa/bench_kernels.c\n");
        return 2;
    }
    float *in = malloc(MAX_ROWS * o.cols * sizeof *in), *out = malloc(MAX_ROWS * o.rows * sizeof *out);
    if (!in || !out || pool_create(o.threads, &pool, &e) < 0)
        return 1;
    for (size_t i = 0; i < MAX_ROWS * o.cols; i++)
        in[i] = (float)(i * 7919 % 2001) / 1000.0f - 1.0f;
    int status = measure_sets(&o, pool, in, out);
    pool_free(pool);
    free(in);
    free(out);
    return status;
}
