/* amx_attention.c - attention of prompt rows over f16 pages by bf16 tiles.  Compiled with amx.c's options;
 * that set's `prompt` names it.
 *
 * A block of keys and values is expanded once for all queries of a tile; then 32 queries at a time meet it:
 * their scores by tiles, their softmax as everywhere (attention_shared.inc), their sums of values by tiles.
 *   queries (groups of 16, steps, 16 queries, 32 dimensions)    keys   (groups of 16, steps, 16 pairs of
 *                                                                      dimensions, 16 keys, 2 dimensions)
 *   weights (groups of 16, pages, 16 queries, 32 keys)          values (pages, dimensions / 16, 16 pairs of
 *                                                                      keys, 16 dimensions, 2 keys)
 * The arithmetic is that of kernels.h but for the products: q * scale, k, p and v are rounded to bf16 and
 * added 32 at a time as TDPBF16PS does (amx_tiles.h), scores in steps of 32 dimensions, sums of values page
 * by page; 0 is added to these at last, which makes all zeros positive.  Hidden keys weigh 0, and what was
 * never stored counts as 0, so that nothing of a row depends on the rows beside it. */
#include <immintrin.h>
#include <math.h>
#include <string.h>

#include "engine/kernels/amx_attention.h"
#include "engine/kernels/amx_tiles.h"
#include "engine/kernels/set.h"

#include "engine/kernels/avx512_vectors.inc"
#include "engine/kernels/math.inc"

#include "engine/kernels/attention_shared.inc"

enum { STEP = 32, GROUP = 16, GROUPS = 2, BLOCK_GROUPS = ATTENTION_BLOCK / GROUP };

/* A tile with up to 32 of its queries at work on one block of keys. */
struct tiled {
    struct attention_state s;
    size_t steps, dim_groups;
    uint8_t *queries, *keys, *values, *weights;
    float *scores; /* (32, ATTENTION_BLOCK) */
    float *part;   /* (32, padded) */
};

/* ---- into tiles ------------------------------------------------------------------------------- */

/* 16 of a, then 16 of b, rounded to nearest even. */
INLINE __m512i round_two(vf a, vf b)
{
    return (__m512i)_mm512_cvtne2ps_pbh(b, a);
}

/* One of a and one of b in turn. */
INLINE __m512i pair_up(vf a, vf b)
{
    const __m512i order = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23,
                                           7, 22, 6, 21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
    return _mm512_permutexvar_epi16(order, round_two(a, b));
}

static void expand_keys(const struct tiled *h, size_t page)
{
    const uint8_t *stored = stored_keys(&h->s, page);
    uint8_t *out = h->keys + 2 * page * h->steps * TILE_BYTES;
    for (size_t d = 0; d < h->steps * STEP; d += 2, out += TILE_ROW_BYTES) {
        for (size_t g = 0; g < 2; g++) {
            const uint8_t *row = stored + (d * KV_PAGE_TOKENS + g * GROUP) * 2;
            vf first = d < h->s.head_dim ? vf_load_f16(row) : vf_set(0.0f);
            vf second = d + 1 < h->s.head_dim ? vf_load_f16(row + KV_PAGE_TOKENS * 2) : vf_set(0.0f);
            _mm512_store_si512(out + g * h->steps * TILE_BYTES, pair_up(first, second));
        }
    }
}

/* Values of a key, 0 for one that is not there.  An infinite one, which f16 makes of what it can't hold, must
 * not meet the weight 0 of a query that does not see it. */
INLINE vf load_values(const struct tiled *h, const uint8_t *stored, size_t page, size_t token, size_t dim)
{
    if ((h->s.block * BLOCK_PAGES + page) * KV_PAGE_TOKENS + token >= h->s.end)
        return vf_set(0.0f);
    vf v = vf_load_f16(stored + (token * h->s.padded + dim) * 2);
    return vf_min(vf_max(v, vf_set(-65504.0f)), vf_set(65504.0f));
}

static void expand_values(const struct tiled *h, size_t page)
{
    const uint8_t *stored = stored_values(&h->s, page);
    uint8_t *out = h->values + page * h->dim_groups * TILE_BYTES;
    for (size_t g = 0; g < h->dim_groups; g++)
        for (size_t token = 0; token < KV_PAGE_TOKENS; token += 2, out += TILE_ROW_BYTES)
            _mm512_store_si512(out, pair_up(load_values(h, stored, page, token, g * GROUP),
                                            load_values(h, stored, page, token + 1, g * GROUP)));
}

static void pack_query(const struct tiled *h, size_t query, size_t r)
{
    vf scale = vf_set(h->s.t->shape->scale);
    const float *q = query_vector(&h->s, query);
    uint8_t *out = h->queries + r / GROUP * h->steps * TILE_BYTES + r % GROUP * TILE_ROW_BYTES;
    for (size_t d = 0; d < h->s.head_dim; d += STEP, out += TILE_BYTES) {
        size_t left = h->s.head_dim - d;
        vf first = vf_load_n(q + d, left < GROUP ? left : GROUP), second = vf_set(0.0f);
        if (left > GROUP)
            second = vf_load_n(q + d + GROUP, left < STEP ? left - GROUP : GROUP);
        _mm512_store_si512(out, round_two(vf_mul(first, scale), vf_mul(second, scale)));
    }
}

/* Weights of keys [seen.from, seen.to), zeros beside them as far as pages [first_page, end_page) go. */
static void pack_weights(const struct tiled *h, size_t r, struct key_range seen, size_t first_page,
                         size_t end_page)
{
    const float *scores = h->scores + r * ATTENTION_BLOCK;
    size_t begin = seen.from / GROUP * GROUP, end = (seen.to + GROUP - 1) / GROUP * GROUP;
    uint8_t *out =
        h->weights + (r / GROUP * BLOCK_PAGES + first_page) * TILE_BYTES + r % GROUP * TILE_ROW_BYTES;
    for (size_t page = first_page; page < end_page; page++, out += TILE_BYTES) {
        size_t at = page * KV_PAGE_TOKENS;
        vf first = at >= begin && at < end ? vf_load(scores + at) : vf_set(0.0f);
        at += GROUP;
        vf second = at >= begin && at < end ? vf_load(scores + at) : vf_set(0.0f);
        _mm512_store_si512(out, round_two(first, second));
    }
}

/* ---- products --------------------------------------------------------------------------------- */

/* Tiles 0 to 3 += two groups of queries times two groups of columns; a, b: the first of each, then the second
 * so many bytes on. */
INLINE void multiply_two(const uint8_t *a, size_t next_a, const uint8_t *b, size_t next_b, bool two_columns)
{
    tile_load(4, a, TILE_ROW_BYTES);
    tile_load(5, a + next_a, TILE_ROW_BYTES);
    tile_load(6, b, TILE_ROW_BYTES);
    tile_multiply(0, 4, 6);
    tile_multiply(2, 5, 6);
    if (two_columns) {
        tile_load(7, b + next_b, TILE_ROW_BYTES);
        tile_multiply(1, 4, 7);
        tile_multiply(3, 5, 7);
    }
}

INLINE void clear_four(void)
{
    tile_zero(0);
    tile_zero(1);
    tile_zero(2);
    tile_zero(3);
}

INLINE void store_four(float *out, size_t stride, bool two_columns)
{
    size_t bytes = stride * sizeof(float);
    tile_store(0, out, bytes);
    tile_store(2, out + GROUP * stride, bytes);
    if (two_columns) {
        tile_store(1, out + GROUP, bytes);
        tile_store(3, out + GROUP * stride + GROUP, bytes);
    }
}

static void score_page(const struct tiled *h, size_t page)
{
    const uint8_t *keys = h->keys + 2 * page * h->steps * TILE_BYTES;
    clear_four();
    for (size_t step = 0; step < h->steps; step++)
        multiply_two(h->queries + step * TILE_BYTES, h->steps * TILE_BYTES, keys + step * TILE_BYTES,
                     h->steps * TILE_BYTES, true);
    store_four(h->scores + page * KV_PAGE_TOKENS, ATTENTION_BLOCK, true);
}

static void add_pages(const struct tiled *h, size_t first_page, size_t end_page)
{
    for (size_t g = 0; g < h->dim_groups; g += 2) {
        bool two = g + 1 < h->dim_groups;
        clear_four();
        for (size_t page = first_page; page < end_page; page++)
            multiply_two(h->weights + page * TILE_BYTES, BLOCK_PAGES * TILE_BYTES,
                         h->values + (page * h->dim_groups + g) * TILE_BYTES, TILE_BYTES, two);
        store_four(h->part + g * GROUP, h->s.padded, two);
    }
}

/* ---- 32 queries and a block of keys ------------------------------------------------------------- */

/* 0 is added at last. */
static void join_or_keep_group(const struct tiled *h, size_t query, size_t r, size_t n,
                               const struct key_range *seen, const float *max, const float *sum)
{
    float *part = h->part + r * h->s.padded;
    for (size_t d = 0; d < n * h->s.padded; d += GROUP)
        vf_store(part + d, vf_add(vf_load(part + d), vf_set(0.0f)));
    join_or_keep(&h->s, query + r, n, seen + r, part, max + r, sum + r);
}

static void attend_queries(const struct tiled *h, size_t first, size_t n)
{
    struct key_range seen[GROUPS * GROUP], all = seen_by(&h->s, first, n, seen);
    float max[GROUPS * GROUP] = {0}, sum[GROUPS * GROUP] = {0};
    if (all.from >= all.to)
        return;
    size_t first_page = all.from / KV_PAGE_TOKENS, end_page = (all.to + KV_PAGE_TOKENS - 1) / KV_PAGE_TOKENS;
    for (size_t r = 0; r < n; r++)
        pack_query(h, first + r, r);
    for (size_t page = first_page; page < end_page; page++)
        score_page(h, page);
    for (size_t r = 0; r < n; r++) {
        float *scores = h->scores + r * ATTENTION_BLOCK;
        if (h->s.t->shape->bias)
            add_bias(&h->s, first + r, scores, seen[r]);
        if (seen[r].from < seen[r].to)
            softmax_block(scores, seen[r], &max[r], &sum[r]);
        pack_weights(h, r, seen[r].from < seen[r].to ? seen[r] : (struct key_range){0, 0}, first_page,
                     end_page);
    }
    add_pages(h, first_page, end_page);
    for (size_t r = 0; r < n; r += GROUP)
        join_or_keep_group(h, first, r, n - r < GROUP ? n - r : GROUP, seen, max, sum);
}

/* ---- a tile ------------------------------------------------------------------------------------- */

/* Pages that no query of the tile sees may be gone. */
static void attend_block(const struct tiled *h)
{
    size_t from = visible(&h->s, 0).from, to = visible(&h->s, h->s.vectors - 1).to;
    for (size_t page = from / KV_PAGE_TOKENS; page * KV_PAGE_TOKENS < to; page++) {
        expand_keys(h, page);
        expand_values(h, page);
    }
    for (size_t i = 0; i < h->s.vectors; i += GROUPS * GROUP)
        attend_queries(h, i, h->s.vectors - i < GROUPS * GROUP ? h->s.vectors - i : GROUPS * GROUP);
}

size_t amx_attention_scratch_bytes(size_t head_dim, size_t vectors)
{
    size_t steps = (head_dim + STEP - 1) / STEP, padded = attention_padded_dim(head_dim);
    size_t tiles = (GROUPS + BLOCK_GROUPS) * steps + BLOCK_PAGES * (GROUPS + padded / GROUP);
    size_t floats = GROUPS * GROUP * (ATTENTION_BLOCK + padded) + attention_piece_floats(head_dim, vectors);
    return tiles * TILE_BYTES + floats * sizeof(float);
}

static void place(struct tiled *h, uint8_t *at)
{
    h->steps = (h->s.head_dim + STEP - 1) / STEP;
    h->dim_groups = h->s.padded / GROUP;
    h->queries = at;
    h->weights = h->queries + GROUPS * h->steps * TILE_BYTES;
    h->keys = h->weights + GROUPS * BLOCK_PAGES * TILE_BYTES;
    h->values = h->keys + BLOCK_GROUPS * h->steps * TILE_BYTES;
    h->scores = (float *)(void *)(h->values + BLOCK_PAGES * h->dim_groups * TILE_BYTES);
    h->part = h->scores + GROUPS * GROUP * ATTENTION_BLOCK;
    place_sums(&h->s, h->part + GROUPS * GROUP * h->s.padded);
}

void amx_attention(const struct attention_tile *t)
{
    struct tiled h = {.s = state_of(t)};
    place(&h, (uint8_t *)t->scratch);
    if (!t->pieces)
        clear_sums(&h.s);
    tiles_begin(&tiles_whole);
    for (size_t i = 0; i < t->n_blocks; i++) {
        h.s.block = t->first_block + i;
        if (t->pieces)
            place_sums(&h.s, t->pieces + i * attention_piece_floats(h.s.head_dim, h.s.vectors));
        attend_block(&h);
    }
    tiles_end();
    if (!t->pieces)
        attention_out(&h.s);
}
