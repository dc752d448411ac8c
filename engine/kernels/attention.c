/* attention.c - cuts attention and the storing of keys and values into orders for the pool.
 * Stores are cut by page, so that no two threads write one; queries by (span, kv head, tile of rows), longest
 * first.  A tile that is much of all there is to do, one token after a long text, is cut by blocks of keys
 * too: its pieces leave each block's sums, and whoever ends last joins them in their order, so that no bit
 * depends on the cut. */
#include <stdatomic.h>
#include <string.h>

#include "engine/kernels/set.h"

enum {
    VECTORS_PER_TILE = 60,         /* a multiple of what every set takes at once */
    PROMPT_VECTORS_PER_TILE = 128, /* of a set's own way: what it makes of keys and values costs more */
    HALF_CHUNK = 64,
    PIECES_PER_THREAD = 6,
    PIECES_BYTES_MAX = 1 << 20, /* of one tile: what a longer text needs is not cut */
    ALONE = 1 << 18             /* products: about two microseconds, less than waking the pool is worth */
};

struct attention_call {
    struct exec *e;
    const struct attention_shape *shape;
    const struct attention_span *spans;
    size_t n_spans;
    const float *k, *v; /* of a store */
    const float *q;     /* of attention */
    float *out;
    size_t vectors_per_row;
    const struct prompt_kernels *prompt; /* NULL, or of the first prompt_rows of the batch */
    size_t prompt_rows;
    size_t piece_work; /* (vectors * blocks) of a piece, at most */
    struct attention_item *items;
    atomic_bool failed;
};

size_t attention_layer_bytes(size_t kv_heads, size_t head_dim, enum dtype kv_dtype)
{
    size_t dims = attention_key_dim(head_dim, kv_dtype) + attention_padded_dim(head_dim);
    size_t values = kv_heads * dims * KV_PAGE_TOKENS;
    size_t bytes = values * dtype_row(kv_dtype)->block_bytes;
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
    size_t head = KV_PAGE_TOKENS * shape->head_dim, padded = attention_padded_dim(shape->head_dim);
    float *values = page + shape->kv_heads * head + slot * padded;
    for (size_t h = 0; h < shape->kv_heads; h++) {
        const float *key = k + h * shape->head_dim;
        for (size_t d = 0; d < shape->head_dim; d++)
            page[h * head + d * KV_PAGE_TOKENS + slot] = key[d];
        float *value = values + h * KV_PAGE_TOKENS * padded;
        memcpy(value, v + h * shape->head_dim, shape->head_dim * sizeof *value);
        memset(value + shape->head_dim, 0, (padded - shape->head_dim) * sizeof *value);
    }
}

static void store_f16(const struct kernel_set *set, const struct attention_shape *shape, uint16_t *page,
                      const float *k, const float *v, size_t slot)
{
    size_t head = KV_PAGE_TOKENS * shape->head_dim, padded = attention_padded_dim(shape->head_dim);
    uint16_t *values = page + shape->kv_heads * head + slot * padded, half[HALF_CHUNK];
    for (size_t h = 0; h < shape->kv_heads; h++) {
        const float *key = k + h * shape->head_dim;
        for (size_t first = 0; first < shape->head_dim; first += HALF_CHUNK) {
            size_t left = shape->head_dim - first, n = left < HALF_CHUNK ? left : HALF_CHUNK;
            set->to_f16(half, key + first, n);
            for (size_t d = 0; d < n; d++)
                page[h * head + (first + d) * KV_PAGE_TOKENS + slot] = half[d];
        }
        uint16_t *value = values + h * KV_PAGE_TOKENS * padded;
        set->to_f16(value, v + h * shape->head_dim, shape->head_dim);
        memset(value + shape->head_dim, 0, (padded - shape->head_dim) * sizeof *value);
    }
}

/* Values take no part where they are not seen, but meet a weight of 0 there: they must be finite. */
static uint16_t finite_bf16(uint16_t value)
{
    return (value & 0x7f80) == 0x7f80 ? (value & 0x8000) | 0x7f7f : value;
}

/* The value after that of an even slot may never come: until it does it is 0. */
static void store_bf16_value(const struct kernel_set *set, uint16_t *pairs, const float *v, size_t head_dim,
                             size_t slot)
{
    uint16_t rounded[HALF_CHUNK];
    for (size_t first = 0; first < head_dim; first += HALF_CHUNK) {
        size_t left = head_dim - first, n = left < HALF_CHUNK ? left : HALF_CHUNK;
        set->to_bf16(rounded, v + first, n);
        for (size_t d = 0; d < n; d++) {
            uint16_t *pair = pairs + 2 * (first + d);
            pair[slot % 2] = finite_bf16(rounded[d]);
            if (slot % 2 == 0)
                pair[1] = 0;
        }
    }
    memset(pairs + 2 * head_dim, 0, 2 * (attention_padded_dim(head_dim) - head_dim) * sizeof *pairs);
}

static void store_bf16(const struct kernel_set *set, const struct attention_shape *shape, uint16_t *page,
                       const float *k, const float *v, size_t slot)
{
    size_t head_dim = shape->head_dim, padded = attention_padded_dim(head_dim);
    size_t key_dim = attention_key_dim(head_dim, DTYPE_BF16), head = KV_PAGE_TOKENS * key_dim;
    uint16_t *values = page + shape->kv_heads * head + slot / 2 * 2 * padded, rounded[HALF_CHUNK];
    for (size_t h = 0; h < shape->kv_heads; h++) {
        for (size_t first = 0; first < head_dim; first += HALF_CHUNK) {
            size_t left = head_dim - first, n = left < HALF_CHUNK ? left : HALF_CHUNK;
            set->to_bf16(rounded, k + h * head_dim + first, n);
            for (size_t d = 0; d < n; d += 2)
                memcpy(page + h * head + (first + d) * KV_PAGE_TOKENS + 2 * slot, rounded + d,
                       2 * sizeof *page);
        }
        store_bf16_value(set, values + h * KV_PAGE_TOKENS * padded, v + h * head_dim, head_dim, slot);
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
        else if (shape->kv_dtype == DTYPE_BF16)
            store_bf16(exec_kernels(c->e), shape, (uint16_t *)(void *)memory, k, v, position - base);
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

/* A tile that is computed in pieces; the last of them to end joins them. */
struct attention_join {
    atomic_size_t left; /* pieces */
    size_t first_block, n_blocks;
    float *pieces;
};

/* One order: a tile, or the blocks of a piece of it. */
struct attention_item {
    const struct attention_span *span;
    size_t kv_head, row, first_block, n_blocks;
    struct attention_join *join; /* NULL: the whole tile */
};

/* A span whose rows are all prompt rows goes the set's own way. */
static const struct prompt_kernels *way_of(const struct attention_call *c, const struct attention_span *s)
{
    return s->first_row < c->prompt_rows && s->rows <= c->prompt_rows - s->first_row ? c->prompt : NULL;
}

static size_t rows_per_tile(const struct attention_call *c, const struct attention_span *s)
{
    size_t vectors = way_of(c, s) ? PROMPT_VECTORS_PER_TILE : VECTORS_PER_TILE;
    return c->vectors_per_row < vectors ? vectors / c->vectors_per_row : 1;
}

static size_t span_tiles(const struct attention_call *c, const struct attention_span *s)
{
    return (s->rows + rows_per_tile(c, s) - 1) / rows_per_tile(c, s);
}

static size_t rows_from(const struct attention_call *c, const struct attention_span *s, size_t row)
{
    size_t most = rows_per_tile(c, s);
    return s->rows - row < most ? s->rows - row : most;
}

/* Blocks [*first, *first + result) hold what the tile's rows see. */
static size_t tile_blocks(const struct attention_call *c, const struct attention_span *s, size_t row,
                          size_t *first)
{
    const struct attention_shape *shape = c->shape;
    size_t position = s->first_position + row, begin = 0, end = s->n_keys;
    if (!shape->all_keys) {
        end = position + rows_from(c, s, row);
        begin = shape->window && position + 1 > shape->window ? position + 1 - shape->window : 0;
    }
    *first = begin / ATTENTION_BLOCK;
    return (end + ATTENTION_BLOCK - 1) / ATTENTION_BLOCK - *first;
}

static struct attention_tile tile_of(const struct attention_call *c, const struct attention_item *i)
{
    const struct attention_shape *shape = c->shape;
    size_t group = shape->heads / shape->kv_heads;
    size_t at = ((i->span->first_row + i->row) * shape->heads + i->kv_head * group) * shape->head_dim;
    return (struct attention_tile){.shape = shape,
                                   .pages = i->span->pages,
                                   .kv_head = i->kv_head,
                                   .first_position = i->span->first_position + i->row,
                                   .n_keys = i->span->n_keys,
                                   .rows = rows_from(c, i->span, i->row),
                                   .first_block = i->first_block,
                                   .n_blocks = i->n_blocks,
                                   .q = c->q + at,
                                   .out = c->out + at};
}

/* Of a tile, and of joining its pieces. */
static size_t scratch_floats(const struct attention_call *c, const struct prompt_kernels *way, size_t vectors)
{
    size_t head_dim = c->shape->head_dim, join = attention_piece_floats(head_dim, vectors);
    size_t own = way ? way->attention_scratch_bytes(head_dim, vectors) / sizeof(float)
                 : c->shape->kv_dtype == DTYPE_BF16 ? attention_pairs_scratch_floats(head_dim, vectors)
                                                    : attention_scratch_floats(head_dim, vectors);
    return own > join ? own : join;
}

static void attention_chunk(void *context, size_t chunk, unsigned worker)
{
    struct attention_call *c = context;
    const struct attention_item *i = &c->items[chunk];
    const struct kernel_set *set = exec_kernels(c->e);
    struct attention_tile t = tile_of(c, i);
    size_t vectors = t.rows * (c->shape->heads / c->shape->kv_heads);
    const struct prompt_kernels *way = way_of(c, i->span);
    t.scratch = exec_scratch(c->e, worker, scratch_floats(c, way, vectors));
    if (!t.scratch) {
        atomic_store(&c->failed, true);
        return;
    }
    if (i->join)
        t.pieces = i->join->pieces + (i->first_block - i->join->first_block) *
                                         attention_piece_floats(c->shape->head_dim, vectors);
    if (way)
        way->attention(&t);
    else if (c->shape->kv_dtype == DTYPE_BF16)
        set->attention_pairs(&t);
    else
        set->attention(&t);
    if (!i->join || atomic_fetch_sub(&i->join->left, 1) > 1)
        return;
    t.first_block = i->join->first_block;
    t.n_blocks = i->join->n_blocks;
    t.pieces = i->join->pieces;
    set->attention_join(&t);
}

/* Into how many pieces a tile is cut. */
static size_t pieces_of(const struct attention_call *c, size_t vectors, size_t blocks)
{
    size_t n = (vectors * blocks + c->piece_work - 1) / c->piece_work;
    size_t bytes = blocks * attention_piece_floats(c->shape->head_dim, vectors) * sizeof(float);
    if (bytes > PIECES_BYTES_MAX)
        return 1;
    return n < blocks ? n : blocks ? blocks : 1;
}

/* What a cut comes to. */
struct attention_sizes {
    size_t work, items, joins, piece_floats;
};

/* One tile's orders; written where c->items is there. */
static void cut_tile(const struct attention_call *c, const struct attention_item *whole, size_t vectors,
                     struct attention_sizes *z, struct attention_join *joins, float *pieces)
{
    size_t n = pieces_of(c, vectors, whole->n_blocks);
    size_t piece_floats = attention_piece_floats(c->shape->head_dim, vectors);
    struct attention_join *join = n > 1 && joins ? joins + z->joins : NULL;
    if (join) {
        atomic_init(&join->left, n);
        join->first_block = whole->first_block;
        join->n_blocks = whole->n_blocks;
        join->pieces = pieces + z->piece_floats;
    }
    for (size_t i = 0; i < n && c->items; i++) {
        size_t from = whole->n_blocks * i / n, to = whole->n_blocks * (i + 1) / n;
        struct attention_item *item = &c->items[z->items + i];
        *item = *whole;
        item->first_block += from;
        item->n_blocks = to - from;
        item->join = join;
    }
    z->work += vectors * whole->n_blocks;
    z->items += n;
    z->joins += n > 1;
    z->piece_floats += n > 1 ? whole->n_blocks * piece_floats : 0;
}

static struct attention_sizes cut(const struct attention_call *c, struct attention_join *joins, float *pieces)
{
    struct attention_sizes z = {0};
    for (const struct attention_span *s = c->spans; s < c->spans + c->n_spans; s++) {
        /* later rows see more keys: the costly tiles go first, the cheap ones fill the gaps at the end */
        for (size_t tile = span_tiles(c, s); tile-- > 0;) {
            struct attention_item whole = {.span = s, .row = tile * rows_per_tile(c, s)};
            whole.n_blocks = tile_blocks(c, s, whole.row, &whole.first_block);
            for (; whole.kv_head < c->shape->kv_heads; whole.kv_head++)
                cut_tile(c, &whole, rows_from(c, s, whole.row) * c->vectors_per_row, &z, joins, pieces);
        }
    }
    return z;
}

int attention(struct exec *e, const struct attention_shape *shape, const struct attention_span *spans,
              size_t n_spans, const float *q, float *out)
{
    struct attention_call c = {.e = e,
                               .shape = shape,
                               .spans = spans,
                               .n_spans = n_spans,
                               .q = q,
                               .out = out,
                               .piece_work = SIZE_MAX / 2};
    size_t threads = pool_threads(exec_pool(e));
    c.vectors_per_row = shape->heads / shape->kv_heads;
    c.prompt = exec_kernels(e)->prompt;
    if (c.prompt && (!c.prompt->attention || shape->kv_dtype != DTYPE_F16))
        c.prompt = NULL;
    c.prompt_rows = exec_prompt_rows(e, SIZE_MAX);
    struct attention_sizes z = cut(&c, NULL, NULL);
    if (threads > 1) {
        c.piece_work = z.work / (threads * PIECES_PER_THREAD) + 1;
        z = cut(&c, NULL, NULL);
    }
    if (z.items == 0)
        return 0;
    size_t items = z.items * sizeof *c.items, joins = z.joins * sizeof(struct attention_join);
    uint8_t *memory = exec_shared(e, EXEC_INPUT, items + joins + z.piece_floats * sizeof(float));
    if (!memory)
        return -1;
    c.items = (struct attention_item *)(void *)memory;
    cut(&c, (struct attention_join *)(void *)(memory + items), (float *)(void *)(memory + items + joins));
    if (z.work * ATTENTION_BLOCK * shape->head_dim < ALONE)
        for (size_t i = 0; i < z.items; i++)
            attention_chunk(&c, i, 0);
    else
        pool_run(exec_pool(e), z.items, attention_chunk, &c);
    return atomic_load(&c.failed) ? -1 : 0;
}
