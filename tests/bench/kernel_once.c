/* kernel_once.c - one kernel, one thread, a given number of calls: for counting its instructions and its
 * time. kernel_once SET DTYPE|attention|attention-bf16 ROWS CALLS: linear() of ROWS rows with a 256 x 512
 * weight. attention: ROWS queries of 4 heads over 512 keys and those before them, f16 or bf16 pages.  Prints
 * the multiply-adds of a call and the nanoseconds of the fastest.  Called by tests/bench/kernels, under
 * valgrind too: the counts of two numbers of calls differ by the calls alone. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/clock.h"
#include "engine/kernels/kernels.h"

enum { OUT = 256, COLS = 512, HEADS = 4, HEAD_DIM = 64, PAST = 512, MAX_ROWS = 512 };

struct once {
    struct exec *x;
    size_t rows;
    float *in, *out;
    struct weight w;
    struct attention_shape shape;
    struct attention_span span;
    void *pages[(PAST + MAX_ROWS) / KV_PAGE_TOKENS + 1];
};

/* Bytes of which any two or four in a row are a normal number below 1, whatever the dtype. */
static void fill(uint8_t *data, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++)
        data[i] = (uint8_t)(0x20 | (i * 2654435761u >> 13 & 0x1f));
}

static const struct kernel_set *find_set(const char *name)
{
    struct error e;
    error_clear(&e);
    const struct kernel_set *set = kernels_select(name, &e);
    if (!set)
        fprintf(stderr, "%s\n", e.text);
    return set;
}

static int prepare_weight(struct once *o, const char *dtype)
{
    for (int t = 0; t < DTYPE_F64; t++) {
        if (strcmp(dtype_row((enum dtype)t)->name, dtype) != 0)
            continue;
        size_t bytes = dtype_bytes((enum dtype)t, (size_t)OUT * COLS);
        uint8_t *data = malloc(bytes);
        if (!data)
            return -1;
        fill(data, bytes);
        int status = weight_pack(o->x, (enum dtype)t, data, OUT, COLS, &o->w, NULL);
        free(data);
        return status;
    }
    return -1;
}

static int prepare_attention(struct once *o, enum dtype kv_dtype)
{
    o->shape = (struct attention_shape){
        .heads = HEADS, .kv_heads = HEADS, .head_dim = HEAD_DIM, .scale = 0.125f, .kv_dtype = kv_dtype};
    o->span = (struct attention_span){.rows = o->rows, .first_position = PAST, .pages = o->pages};
    size_t bytes = attention_layer_bytes(HEADS, HEAD_DIM, kv_dtype);
    for (size_t i = 0; i < sizeof o->pages / sizeof o->pages[0]; i++) {
        o->pages[i] = aligned_alloc(64, bytes);
        if (!o->pages[i])
            return -1;
        fill(o->pages[i], bytes);
    }
    return 0;
}

static int prepare(struct once *o, const char *what)
{
    if (strcmp(what, "attention") == 0)
        return prepare_attention(o, DTYPE_F16);
    if (strcmp(what, "attention-bf16") == 0)
        return prepare_attention(o, DTYPE_BF16);
    return prepare_weight(o, what);
}

static double multiply_adds(const struct once *o)
{
    if (o->w.panels)
        return (double)o->rows * OUT * COLS;
    double keys = 0;
    for (size_t r = 0; r < o->rows; r++)
        keys += (double)(PAST + r + 1);
    return keys * HEADS * HEAD_DIM * 2;
}

static int call(struct once *o)
{
    return o->w.panels ? linear(o->x, o->out, o->in, o->rows, &o->w)
                       : attention(o->x, &o->shape, &o->span, 1, o->in, o->out);
}

int main(int argc, char **argv)
{
    struct once o = {0};
    struct pool *pool;
    const struct kernel_set *set = argc == 5 ? find_set(argv[1]) : NULL;
    if (!set)
        return 2;
    o.rows = strtoul(argv[3], NULL, 10);
    size_t calls = strtoul(argv[4], NULL, 10), values = (size_t)MAX_ROWS * COLS;
    o.in = calloc(values, sizeof *o.in);
    o.out = calloc(values, sizeof *o.out);
    if (o.rows < 1 || o.rows > MAX_ROWS || !o.in || !o.out || pool_create(1, &pool, NULL) < 0 ||
        exec_create(set, pool, &o.x, NULL) < 0)
        return 2;
    for (size_t i = 0; i < values; i++)
        o.in[i] = (float)(i * 7919 % 2001) / 1000.0f - 1.0f;
    if (prepare(&o, argv[2]) < 0)
        return 2;
    uint64_t best = UINT64_MAX;
    for (size_t i = 0; i < calls; i++) {
        uint64_t begin = clock_ns();
        if (call(&o) < 0)
            return 1;
        uint64_t took = clock_ns() - begin;
        best = took < best ? took : best;
    }
    printf("%.0f %llu\n", multiply_adds(&o), (unsigned long long)best);
    for (size_t i = 0; i < sizeof o.pages / sizeof o.pages[0]; i++)
        free(o.pages[i]);
    weight_free(&o.w);
    exec_free(o.x);
    pool_free(pool);
    free(o.in);
    free(o.out);
    return 0;
}
