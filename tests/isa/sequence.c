/* sequence.c - see sequence.h. */
#include "tests/isa/sequence.h"

#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tests/isa/sets.h"

float sequence_bias[BIAS_FLOATS];

void *take(size_t bytes)
{
    void *p = malloc(bytes ? bytes : 1);
    ck_assert_ptr_nonnull(p);
    return p;
}

void sequence_wipe(struct sequence *s)
{
    for (size_t i = 0; i < s->pages; i++)
        memset(s->page[i], 0xff,
               LAYER_OFFSET + attention_layer_bytes(s->shape.kv_heads, s->shape.head_dim, s->shape.kv_dtype));
}

void sequence_make(struct sequence *s, const struct attention_shape *shape, size_t tokens)
{
    size_t bytes = LAYER_OFFSET + attention_layer_bytes(shape->kv_heads, shape->head_dim, shape->kv_dtype);
    size_t kv = tokens * shape->kv_heads * shape->head_dim, all = tokens * shape->heads * shape->head_dim;
    *s = (struct sequence){.shape = *shape, .tokens = tokens};
    s->keys = shape->all_keys ? tokens - HIDDEN_KEYS : tokens;
    s->pages = (tokens + KV_PAGE_TOKENS - 1) / KV_PAGE_TOKENS;
    s->page = take(s->pages * sizeof *s->page);
    for (size_t i = 0; i < s->pages; i++)
        s->page[i] = aligned_alloc(64, (bytes + 63) / 64 * 64);
    s->q = take(all * sizeof *s->q);
    s->k = take(kv * sizeof *s->k);
    s->v = take(kv * sizeof *s->v);
    for (size_t i = 0; i < all; i++)
        s->q[i] = random_unit() * 4;
    for (size_t i = 0; i < kv; i++) {
        s->k[i] = random_unit() * 2;
        s->v[i] = random_unit();
    }
    for (size_t i = 0; i < BIAS_FLOATS; i++)
        sequence_bias[i] = random_unit() * 3;
    sequence_wipe(s);
}

void sequence_drop(struct sequence *s)
{
    for (size_t i = 0; i < s->pages; i++)
        free(s->page[i]);
    free(s->page);
    free(s->q);
    free(s->k);
    free(s->v);
}

void sequence_advance(struct exec *x, struct sequence *s, size_t from, size_t to, float *out)
{
    size_t q = from * s->shape.heads * s->shape.head_dim, kv = from * s->shape.kv_heads * s->shape.head_dim;
    struct attention_span span = {
        .rows = to - from, .first_position = from, .pages = s->page, .n_keys = s->keys};
    struct attention_span all = {.rows = s->keys, .pages = s->page};
    if (!s->shape.all_keys)
        attention_store(x, &s->shape, &span, 1, s->k + kv, s->v + kv);
    else if (from == 0)
        attention_store(x, &s->shape, &all, 1, s->k, s->v);
    ck_assert_int_eq(attention(x, &s->shape, &span, 1, s->q + q, out + q), 0);
}

size_t sequence_floats(const struct sequence *s)
{
    return s->tokens * s->shape.heads * s->shape.head_dim;
}

void sequence_assert_same(const struct sequence *s, const float *a, const float *b, const char *what)
{
    size_t width = s->shape.heads * s->shape.head_dim;
    for (size_t i = 0; i < sequence_floats(s); i++)
        if (memcmp(&a[i], &b[i], sizeof *a) != 0)
            ck_abort_msg("%s: position %zu element %zu is %.9g, expected %.9g", what, i / width, i % width,
                         (double)a[i], (double)b[i]);
}

static double stored(const struct sequence *s, float value)
{
    switch (s->shape.kv_dtype) {
    case DTYPE_F16:
        return (double)f16_to_f32(f32_to_f16(value));
    case DTYPE_BF16:
        return (double)bf16_to_f32(f32_to_bf16(value));
    default:
        return (double)value;
    }
}

/* Over bf16 pages it is rounded as well. */
static double scaled_query(const struct sequence *s, float value)
{
    if (s->shape.kv_dtype == DTYPE_BF16)
        return stored(s, value * s->shape.scale);
    return (double)value * (double)s->shape.scale;
}

static double plain_bias(const struct attention_shape *a, size_t position, size_t token, size_t head)
{
    ptrdiff_t half = (ptrdiff_t)a->bias_half, distance = (ptrdiff_t)token - (ptrdiff_t)position;
    if (!a->bias)
        return 0;
    distance = distance < -half ? -half : distance > half ? half : distance;
    return (double)a->bias[(ptrdiff_t)head * (2 * half + 1) + half + distance];
}

void sequence_attend_plainly(const struct sequence *s, size_t position, size_t head, double *out)
{
    const struct attention_shape *a = &s->shape;
    size_t dim = a->head_dim, kv_head = head / (a->heads / a->kv_heads);
    size_t from = a->window && position + 1 > a->window ? position + 1 - a->window : 0, end = position + 1;
    const float *q = s->q + (position * a->heads + head) * dim;
    double *score = take(s->tokens * sizeof *score), max = -INFINITY, sum = 0;
    if (a->all_keys) {
        from = 0;
        end = s->keys;
    }
    for (size_t t = from; t < end; t++) {
        score[t] = 0;
        for (size_t d = 0; d < dim; d++)
            score[t] += scaled_query(s, q[d]) * stored(s, s->k[(t * a->kv_heads + kv_head) * dim + d]);
        score[t] += plain_bias(a, position, t, head);
        max = fmax(max, score[t]);
    }
    memset(out, 0, dim * sizeof *out);
    for (size_t t = from; t < end; t++) {
        double p = exp(score[t] - max);
        sum += p;
        for (size_t d = 0; d < dim; d++)
            out[d] += p * stored(s, s->v[(t * a->kv_heads + kv_head) * dim + d]);
    }
    for (size_t d = 0; d < dim; d++)
        out[d] /= sum;
    free(score);
}
