/* attention.c - cuts attention and the storing of keys and values into orders for the pool.
 * Stores are cut by page, so that no two threads write one; queries by (span, kv head, tile of rows),
 * longest first.  No memory is taken per call beyond a worker's scratch. */
#include <stdatomic.h>
#include <string.h>

#include "engine/kernels/set.h"

enum { VECTORS_PER_TILE = 64, HALF_CHUNK = 64 };

struct attention_call {
    struct exec *e;
    const struct attention_shape *shape;
    const struct attention_span *spans;
    size_t n_spans;
    const float *k, *v; /* of a store */
    const float *q;     /* of attention */
    float *out;
    size_t tile_rows;
    atomic_bool failed;
};

size_t attention_layer_bytes(size_t kv_heads, size_t head_dim, enum dtype kv_dtype)
{
    size_t bytes = 2 * KV_PAGE_TOKENS * kv_heads * head_dim * dtype_row(kv_dtype)->block_bytes;
    return (bytes + 63) / 64 * 64;
}

/* ---- storing -------------------------------------------------------------------------------- */

static size_t span_pages(const struct attention_span *s)
{
    if (s->rows == 0)
        return 0;
    return (s->first_position + s->rows - 1) / KV_PAGE_TOKENS - s->first_position / KV_PAGE_TOKENS + 1;
}

static void store_f32(const struct attention_shape *shape, float *page, const float *k, const float *v,
                      size_t slot)
{
    size_t head = KV_PAGE_TOKENS * shape->head_dim;
    float *values = page + shape->kv_heads * head;
    for (size_t h = 0; h < shape->kv_heads; h++) {
        const float *key = k + h * shape->head_dim;
        for (size_t d = 0; d < shape->head_dim; d++)
            page[h * head + d * KV_PAGE_TOKENS + slot] = key[d];
        memcpy(values + h * head + slot * shape->head_dim, v + h * shape->head_dim,
               shape->head_dim * sizeof *values);
    }
}

static void store_f16(const struct kernel_set *set, const struct attention_shape *shape, uint16_t *page,
                      const float *k, const float *v, size_t slot)
{
    size_t head = KV_PAGE_TOKENS * shape->head_dim;
    uint16_t *values = page + shape->kv_heads * head, half[HALF_CHUNK];
    for (size_t h = 0; h < shape->kv_heads; h++) {
        const float *key = k + h * shape->head_dim;
        for (size_t first = 0; first < shape->head_dim; first += HALF_CHUNK) {
            size_t left = shape->head_dim - first, n = left < HALF_CHUNK ? left : HALF_CHUNK;
            set->to_f16(half, key + first, n);
            for (size_t d = 0; d < n; d++)
                page[h * head + (first + d) * KV_PAGE_TOKENS + slot] = half[d];
        }
        set->to_f16(values + h * head + slot * shape->head_dim, v + h * shape->head_dim, shape->head_dim);
    }
}

static void store_page(const struct attention_call *c, const struct attention_span *s, size_t page)
{
    const struct attention_shape *shape = c->shape;
    size_t width = shape->kv_heads * shape->head_dim, base = page * KV_PAGE_TOKENS;
    size_t end = s->first_position + s->rows;
    size_t from = s->first_position > base ? s->first_position : base;
    size_t to = end < base + KV_PAGE_TOKENS ? end : base + KV_PAGE_TOKENS;
    uint8_t *memory = (uint8_t *)s->pages[page] + shape->offset;
    for (size_t position = from; position < to; position++) {
        size_t row = s->first_row + position - s->first_position;
        const float *k = c->k + row * width, *v = c->v + row * width;
        if (shape->kv_dtype == DTYPE_F32)
            store_f32(shape, (float *)(void *)memory, k, v, position - base);
        else
            store_f16(exec_kernels(c->e), shape, (uint16_t *)(void *)memory, k, v, position - base);
    }
}

static void store_chunk(void *context, size_t chunk, unsigned worker)
{
    const struct attention_call *c = context;
    (void)worker;
    const struct attention_span *s = c->spans;
    for (; chunk >= span_pages(s); s++)
        chunk -= span_pages(s);
    store_page(c, s, s->first_position / KV_PAGE_TOKENS + chunk);
}

void attention_store(struct exec *e, const struct attention_shape *shape, const struct attention_span *spans,
                     size_t n_spans, const float *k, const float *v)
{
    struct attention_call c = {.e = e, .shape = shape, .spans = spans, .n_spans = n_spans, .k = k, .v = v};
    size_t chunks = 0;
    for (size_t i = 0; i < n_spans; i++)
        chunks += span_pages(&spans[i]);
    pool_run(exec_pool(e), chunks, store_chunk, &c);
}

/* ---- attention ------------------------------------------------------------------------------ */

static size_t span_tiles(const struct attention_call *c, const struct attention_span *s)
{
    return (s->rows + c->tile_rows - 1) / c->tile_rows;
}

static void attention_chunk(void *context, size_t chunk, unsigned worker)
{
    struct attention_call *c = context;
    const struct attention_shape *shape = c->shape;
    const struct attention_span *s = c->spans;
    for (; chunk >= span_tiles(c, s) * shape->kv_heads; s++)
        chunk -= span_tiles(c, s) * shape->kv_heads;
    size_t group = shape->heads / shape->kv_heads, kv_head = chunk % shape->kv_heads;
    /* later rows see more keys: the costly tiles go first, the cheap ones fill the gaps at the end */
    size_t tile = span_tiles(c, s) - 1 - chunk / shape->kv_heads, row = tile * c->tile_rows;
    size_t at = ((s->first_row + row) * shape->heads + kv_head * group) * shape->head_dim;
    struct attention_tile t = {.shape = shape,
                               .pages = s->pages,
                               .kv_head = kv_head,
                               .first_position = s->first_position + row,
                               .n_keys = s->n_keys,
                               .rows = s->rows - row < c->tile_rows ? s->rows - row : c->tile_rows,
                               .q = c->q + at,
                               .out = c->out + at};
    t.scratch = exec_scratch(c->e, worker, attention_scratch_floats(shape->head_dim, t.rows * group));
    if (!t.scratch) {
        atomic_store(&c->failed, true);
        return;
    }
    exec_kernels(c->e)->attention(&t);
}

int attention(struct exec *e, const struct attention_shape *shape, const struct attention_span *spans,
              size_t n_spans, const float *q, float *out)
{
    struct attention_call c = {
        .e = e, .shape = shape, .spans = spans, .n_spans = n_spans, .q = q, .out = out};
    size_t group = shape->heads / shape->kv_heads, chunks = 0;
    c.tile_rows = group < VECTORS_PER_TILE ? VECTORS_PER_TILE / group : 1;
    for (size_t i = 0; i < n_spans; i++)
        chunks += span_tiles(&c, &spans[i]) * shape->kv_heads;
    pool_run(exec_pool(e), chunks, attention_chunk, &c);
    return atomic_load(&c.failed) ? -1 : 0;
}
