/* weight.c - packs a tensor into panels of 16 rows (layout: kernels.h), in parallel, and reads rows back.
 * Thread: weight_load() and weight_pack() by the owner of the exec; the pool's threads read the tensor
 * in pieces into bounded scratch.  To add a dtype: its case in place_row() and weight_row(). */
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "engine/kernels/set.h"

enum {
    READ_BYTES = 1 << 19, /* one read of a tensor: whole rows, at least one */
    HUGE_PAGE = 2 << 20,  /* weights of several of these are worth fewer address translations */
    CACHE_LINE = 64
};

struct pack_call {
    struct exec *e;
    const struct tensor_source *source;
    const struct tensor_info *tensor;
    struct weight *w;
    size_t row_bytes, rows_per_read;
    atomic_bool failed;
    pthread_mutex_t lock; /* over error */
    struct error *error;
};

static uint8_t *panel_of(const struct weight *w, size_t row)
{
    return (uint8_t *)w->panels + row / PANEL_ROWS * panel_bytes(w->dtype, w->cols);
}

/* ---- one row into its panel ----------------------------------------------------------------- */

/* Blocks of f16 scales (`scales` of them) and 16 bytes of nibbles: column i low, column 16+i high. */
static void place_nibbles(uint8_t *panel, size_t r, const uint8_t *row, size_t blocks, size_t scales)
{
    for (size_t b = 0; b < blocks; b++) {
        for (size_t s = 0; s < scales; s++)
            memcpy(panel + 32 * s + 2 * r, row + 2 * s, 2);
        uint8_t *w = panel + 32 * scales;
        for (size_t j = 0; j < 4; j++)
            memcpy(w + 64 * j + 4 * r, row + 2 * scales + 4 * j, 4);
        panel += 32 * scales + 256;
        row += 2 * scales + 16;
    }
}

static void place_bytes(uint8_t *panel, size_t r, const uint8_t *row, size_t blocks)
{
    for (size_t b = 0; b < blocks; b++, panel += 32 + 512, row += 34) {
        memcpy(panel + 2 * r, row, 2);
        for (size_t i = 0; i < QUANT_BLOCK; i++)
            panel[32 + 64 * (i / 4) + 4 * r + i % 4] = row[2 + i] ^ 0x80;
    }
}

static void place_floats(uint8_t *panel, size_t r, const uint8_t *row, size_t cols, size_t size)
{
    for (size_t i = 0; i < cols; i++)
        memcpy(panel + (i * PANEL_ROWS + r) * size, row + i * size, size);
}

static void place_row(const struct weight *w, size_t row, const uint8_t *data)
{
    uint8_t *panel = panel_of(w, row);
    size_t r = row % PANEL_ROWS, blocks = w->cols / QUANT_BLOCK;
    switch (w->dtype) {
    case DTYPE_Q4_0:
        place_nibbles(panel, r, data, blocks, 1);
        return;
    case DTYPE_Q4_1:
        place_nibbles(panel, r, data, blocks, 2);
        return;
    case DTYPE_Q8_0:
        place_bytes(panel, r, data, blocks);
        return;
    default:
        place_floats(panel, r, data, w->cols, dtype_row(w->dtype)->block_bytes);
    }
}

/* ---- packing -------------------------------------------------------------------------------- */

static void fail(struct pack_call *c, const struct error *local)
{
    pthread_mutex_lock(&c->lock);
    if (c->error && c->error->kind == ERROR_NONE)
        *c->error = *local;
    pthread_mutex_unlock(&c->lock);
    atomic_store(&c->failed, true);
}

static int read_rows(struct pack_call *c, size_t first, size_t count, unsigned worker, struct error *e)
{
    size_t bytes = count * c->row_bytes;
    uint8_t *data = (uint8_t *)exec_scratch(c->e, worker, bytes / sizeof(float) + 1);
    if (!data)
        return error_no_memory(e);
    TRY(c->source->read(c->source, c->tensor, (uint64_t)first * c->row_bytes, data, bytes, e));
    for (size_t i = 0; i < count; i++)
        place_row(c->w, first + i, data + i * c->row_bytes);
    return 0;
}

/* One panel; rows past the matrix are zero. */
static void pack_panel(void *context, size_t panel, unsigned worker)
{
    struct pack_call *c = context;
    struct error e;
    error_clear(&e);
    size_t first = panel * PANEL_ROWS, left = c->w->rows - first;
    size_t end = first + (left < PANEL_ROWS ? left : PANEL_ROWS);
    if (left < PANEL_ROWS)
        memset(panel_of(c->w, first), 0, panel_bytes(c->w->dtype, c->w->cols));
    while (first < end && !atomic_load(&c->failed)) {
        size_t count = end - first < c->rows_per_read ? end - first : c->rows_per_read;
        if (read_rows(c, first, count, worker, &e) < 0) {
            fail(c, &e);
            return;
        }
        first += count;
    }
}

static int check_shape(const struct tensor_info *t, struct error *e)
{
    const struct dtype_row *type = dtype_row(t->dtype);
    uint64_t row_blocks = t->dims[0] / type->block_values, blocks, bytes;
    if (t->dims[0] == 0 || t->dims[1] == 0 || t->dims[2] > 1 || t->dims[3] > 1)
        return error_set(e, ERROR_BAD_FORMAT, "tensor %s: not a matrix", t->name);
    if (t->dims[0] > LIMIT_DIMENSION_SIZE || t->dims[1] > LIMIT_DIMENSION_SIZE)
        return error_set(e, ERROR_BAD_FORMAT, "tensor %s: more than %u rows or columns", t->name,
                         LIMIT_DIMENSION_SIZE);
    if (t->dims[0] % type->block_values)
        return error_set(e, ERROR_BAD_FORMAT, "tensor %s: %llu columns are not whole blocks of %zu", t->name,
                         (unsigned long long)t->dims[0], type->block_values);
    if (__builtin_mul_overflow(row_blocks, t->dims[1], &blocks) ||
        __builtin_mul_overflow(blocks, type->block_bytes, &bytes) || bytes != t->bytes)
        return error_set(e, ERROR_BAD_FORMAT, "tensor %s: holds %llu bytes, its shape wants another number",
                         t->name, (unsigned long long)t->bytes);
    return 0;
}

/* 64-byte aligned, or on huge pages when it fills several of them. */
static int allocate_panels(struct weight *w, struct error *e)
{
    size_t panels = (w->rows + PANEL_ROWS - 1) / PANEL_ROWS, bytes;
    if (__builtin_mul_overflow(panels, panel_bytes(w->dtype, w->cols), &bytes) ||
        bytes > SIZE_MAX - HUGE_PAGE)
        return error_no_memory(e);
    size_t alignment = bytes >= 4 * (size_t)HUGE_PAGE ? HUGE_PAGE : CACHE_LINE;
    w->panels = aligned_alloc(alignment, (bytes + alignment - 1) / alignment * alignment);
    if (!w->panels)
        return error_no_memory(e);
    if (alignment == HUGE_PAGE)
        madvise(w->panels, bytes, MADV_HUGEPAGE); /* a wish: refusal costs speed only */
    w->bytes = bytes;
    return 0;
}

int weight_load(struct exec *x, const struct tensor_source *s, const struct tensor_info *t, struct weight *w,
                struct error *e)
{
    memset(w, 0, sizeof *w);
    TRY(check_shape(t, e));
    w->dtype = t->dtype;
    w->cols = t->dims[0];
    w->rows = t->dims[1];
    if (allocate_panels(w, e) < 0) {
        weight_free(w);
        return -1;
    }
    struct pack_call c = {
        .e = x, .source = s, .tensor = t, .w = w, .error = e, .lock = PTHREAD_MUTEX_INITIALIZER};
    c.row_bytes = dtype_bytes(t->dtype, w->cols);
    c.rows_per_read = READ_BYTES / c.row_bytes ? READ_BYTES / c.row_bytes : 1;
    pool_run(exec_pool(x), (w->rows + PANEL_ROWS - 1) / PANEL_ROWS, pack_panel, &c);
    pthread_mutex_destroy(&c.lock);
    if (!atomic_load(&c.failed))
        return 0;
    weight_free(w);
    return -1;
}

/* ---- packing from memory -------------------------------------------------------------------- */

struct memory_source {
    struct tensor_source source;
    const uint8_t *data;
};

static int read_memory(const struct tensor_source *s, const struct tensor_info *t, uint64_t offset, void *dst,
                       size_t n, struct error *e)
{
    const struct memory_source *m = (const struct memory_source *)(const void *)s;
    if (offset > t->bytes || n > t->bytes - offset)
        return error_set(e, ERROR_INTERNAL, "tensor %s: read past its end", t->name);
    memcpy(dst, m->data + offset, n);
    return 0;
}

int weight_pack(struct exec *x, enum dtype dtype, const void *data, size_t rows, size_t cols,
                struct weight *w, struct error *e)
{
    size_t values;
    memset(w, 0, sizeof *w);
    if (__builtin_mul_overflow(rows, cols, &values))
        return error_set(e, ERROR_BAD_FORMAT, "a matrix of %zu by %zu values", rows, cols);
    struct tensor_info t = {.name = "in memory", .dtype = dtype, .n_dims = 2, .dims = {cols, rows, 1, 1}};
    t.bytes = dtype_bytes(dtype, values);
    struct memory_source m = {.source = {.count = 1, .tensors = &t, .read = read_memory}, .data = data};
    return weight_load(x, &m.source, &t, w, e);
}

void weight_free(struct weight *w)
{
    free(w->panels);
    memset(w, 0, sizeof *w);
}

/* ---- a row back ----------------------------------------------------------------------------- */

static float half_at(const uint8_t *p)
{
    uint16_t h;
    memcpy(&h, p, sizeof h);
    return f16_to_f32(h);
}

static void nibble_row(const uint8_t *panel, size_t r, size_t blocks, size_t scales, float *out)
{
    for (size_t b = 0; b < blocks; b++, panel += 32 * scales + 256, out += QUANT_BLOCK) {
        float d = half_at(panel + 2 * r), m = scales == 2 ? half_at(panel + 32 + 2 * r) : -0.0f;
        int offset = scales == 2 ? 0 : 8;
        const uint8_t *w = panel + 32 * scales + 4 * r;
        for (size_t i = 0; i < 16; i++) {
            uint8_t pair = w[64 * (i / 4) + i % 4];
            out[i] = (float)((pair & 15) - offset) * d + m;
            out[16 + i] = (float)((pair >> 4) - offset) * d + m;
        }
    }
}

static void byte_row(const uint8_t *panel, size_t r, size_t blocks, float *out)
{
    for (size_t b = 0; b < blocks; b++, panel += 32 + 512, out += QUANT_BLOCK) {
        float d = half_at(panel + 2 * r);
        for (size_t i = 0; i < QUANT_BLOCK; i++)
            out[i] = (float)(panel[32 + 64 * (i / 4) + 4 * r + i % 4] - 128) * d;
    }
}

void weight_row(const struct weight *w, size_t row, float *out)
{
    const uint8_t *panel = panel_of(w, row);
    size_t r = row % PANEL_ROWS, blocks = w->cols / QUANT_BLOCK;
    switch (w->dtype) {
    case DTYPE_Q4_0:
        nibble_row(panel, r, blocks, 1, out);
        return;
    case DTYPE_Q4_1:
        nibble_row(panel, r, blocks, 2, out);
        return;
    case DTYPE_Q8_0:
        byte_row(panel, r, blocks, out);
        return;
    default:
        break;
    }
    size_t size = dtype_row(w->dtype)->block_bytes;
    for (size_t i = 0; i < w->cols; i++)
        dtype_to_f32(w->dtype, panel + (i * PANEL_ROWS + r) * size, 1, out + i);
}
