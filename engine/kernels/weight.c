/* weight.c - packs a tensor into panels of 16 rows (layout: kernels.h), in parallel, and reads rows back.
 * Thread: weight_load() and weight_pack() by the owner of the exec; the pool's threads read the tensor
 * in pieces into bounded scratch.  To add a quantised dtype: its layout in kernels.h, its size in
 * panel_block_bytes(); what is neither quantised nor a kernel's own type is packed as F32. */
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "engine/kernels/set.h"

enum {
    READ_BYTES = 1 << 19 /* one read of a tensor: whole rows, at least one */
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
    return (uint8_t *)w->panels + row / PANEL_ROWS * weight_panel_bytes(w);
}

/* ---- one row into its panel ----------------------------------------------------------------- */

/* Four digits of one row, one a byte. */
INLINE uint32_t four_at(const uint8_t *p)
{
    uint32_t four;
    memcpy(&four, p, sizeof four);
    return four;
}

static const uint32_t digit_masks[] = {
    [1] = 0x01010101, [2] = 0x03030303, [4] = 0x0f0f0f0f, [8] = 0xffffffff};

/* Which four columns lie in the k-th bits of the v-th 64 bytes of a plane: 4j .. 4j+3 (kernels.h). */
INLINE size_t plane_group(unsigned width, size_t v, size_t k)
{
    return width == 4 ? v + 4 * k : v * (8 / width) + k;
}

/* `width` bits, from bit `shift` on, of the digits of 32 columns as a plane; returns its end. */
INLINE uint8_t *place_plane(uint8_t *w, const uint8_t *digit, size_t r, unsigned width, unsigned shift)
{
    UNROLL for (size_t v = 0; v < width; v++)
    {
        uint32_t bits = 0;
        UNROLL for (size_t k = 0; k < 8 / width; k++)
        {
            uint32_t four = four_at(digit + 4 * plane_group(width, v, k));
            bits |= (four >> shift & digit_masks[width]) << width * k;
        }
        memcpy(w + 64 * v + 4 * r, &bits, sizeof bits);
    }
    return w + 64 * (size_t)width;
}

static uint8_t *place_digits(uint8_t *w, const uint8_t *digit, size_t r, unsigned bits)
{
    switch (bits) {
    case 2:
        return place_plane(w, digit, r, 2, 0);
    case 3:
        return place_plane(place_plane(w, digit, r, 2, 0), digit, r, 1, 2);
    case 4:
        return place_plane(w, digit, r, 4, 0);
    case 5:
        return place_plane(place_plane(w, digit, r, 4, 0), digit, r, 1, 4);
    case 6:
        return place_plane(place_plane(w, digit, r, 4, 0), digit, r, 2, 4);
    default:
        return place_plane(w, digit, r, 8, 0);
    }
}

/* The small scales and minima of 32 columns; returns their end. */
static uint8_t *place_scales(uint8_t *w, const struct quant_format *f, const struct quant_parts *p, size_t r,
                             size_t b)
{
    if (f->run == QUANT_BLOCK) {
        w[r] = (uint8_t)p->scale[b];
        w[16 + r] = p->min[b];
    } else if (f->has_min) {
        w[r] = (uint8_t)(p->scale[2 * b] | p->min[2 * b] << 4);
        w[16 + r] = (uint8_t)(p->scale[2 * b + 1] | p->min[2 * b + 1] << 4);
    } else {
        w[r] = (uint8_t)p->scale[2 * b];
        w[16 + r] = (uint8_t)p->scale[2 * b + 1];
    }
    return w + 32;
}

static void place_block(enum dtype dtype, uint8_t *w, size_t r, const uint8_t *block)
{
    const struct quant_format *f = quant_format(dtype);
    struct quant_parts p;
    quant_read(dtype, block, &p);
    memcpy(w + 2 * r, &p.d, 2);
    w += 32;
    if (f->has_min) {
        memcpy(w + 2 * r, &p.m, 2);
        w += 32;
    }
    for (size_t b = 0; b < dtype_row(dtype)->block_values / QUANT_BLOCK; b++) {
        if (f->run)
            w = place_scales(w, f, &p, r, b);
        w = place_digits(w, p.digit + b * QUANT_BLOCK, r, f->bits);
    }
}

INLINE void place_floats(uint8_t *panel, size_t r, const uint8_t *row, size_t cols, size_t size)
{
    for (size_t i = 0; i < cols; i++)
        memcpy(panel + (i * PANEL_ROWS + r) * size, row + i * size, size);
}

/* The longest that a block of weights may be, as vector: with 32767 for activations, both rounded, dots stay
 * below 2^31 (Cauchy and Schwarz). */
#define WEIGHT_TOP 65500.0f

static void place_fixed(uint8_t *panel, size_t r, const float *row, size_t cols)
{
    for (size_t i = 0; i < cols; i += FIXED_BLOCK, panel += FIXED_BLOCK_BYTES) {
        size_t n = cols - i < FIXED_BLOCK ? cols - i : FIXED_BLOCK;
        double squares = 0;
        float largest = 0;
        for (size_t k = 0; k < n; k++) {
            squares += (double)row[i + k] * (double)row[i + k];
            largest = fmaxf(largest, fabsf(row[i + k]));
        }
        float d = (float)sqrt(squares) / WEIGHT_TOP; /* not-a-number stays */
        d = largest / (float)INT16_MAX > d ? largest / (float)INT16_MAX : d;
        memcpy(panel + r * sizeof d, &d, sizeof d);
        for (size_t k = 0; k < FIXED_BLOCK; k++) {
            float q = k < n && d > 0 ? rintf(row[i + k] / d) : 0;
            int16_t word = (int16_t)(q > -INT16_MAX ? fminf(q, INT16_MAX) : -INT16_MAX);
            memcpy(panel + 64 + 64 * (k / 2) + 4 * r + 2 * (k % 2), &word, sizeof word);
        }
    }
}

static void place_row(const struct weight *w, size_t row, const uint8_t *data)
{
    const struct dtype_row *type = dtype_row(w->dtype);
    uint8_t *panel = panel_of(w, row);
    size_t r = row % PANEL_ROWS;
    if (w->fixed) {
        place_fixed(panel, r, (const float *)(const void *)data, w->cols);
        return;
    }
    if (!dtype_is_quantised(w->dtype)) {
        if (type->block_bytes == 4)
            place_floats(panel, r, data, w->cols, 4);
        else
            place_floats(panel, r, data, w->cols, 2);
        return;
    }
    for (size_t b = 0; b < w->cols / type->block_values; b++)
        place_block(w->dtype, panel + b * panel_block_bytes(w->dtype), r, data + b * type->block_bytes);
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
    size_t bytes = count * c->row_bytes, cols = c->w->cols;
    bool convert = c->w->dtype != c->tensor->dtype, narrow = convert && c->w->dtype != DTYPE_F32;
    float *floats = exec_scratch(c->e, worker, (convert ? 2 * cols : 0) + bytes / sizeof(float) + 1);
    if (!floats)
        return error_no_memory(e);
    float *packed =
        floats + (convert ? cols : 0); /* the row in the weight's dtype: never longer than floats */
    uint8_t *data = (uint8_t *)(packed + (convert ? cols : 0));
    TRY(c->source->read(c->source, c->tensor, (uint64_t)first * c->row_bytes, data, bytes, e));
    for (size_t i = 0; i < count; i++) {
        const uint8_t *row = data + i * c->row_bytes;
        if (convert) {
            dtype_to_f32(c->tensor->dtype, row, cols, floats);
            row = (const uint8_t *)floats;
        }
        if (narrow) {
            dtype_from_f32(c->w->dtype, floats, cols, packed);
            row = (const uint8_t *)packed;
        }
        place_row(c->w, first + i, row);
    }
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
        memset(panel_of(c->w, first), 0, weight_panel_bytes(c->w));
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

static int allocate_panels(struct weight *w, struct error *e)
{
    size_t panels = (w->rows + PANEL_ROWS - 1) / PANEL_ROWS, bytes;
    if (__builtin_mul_overflow(panels, weight_panel_bytes(w), &bytes))
        return error_no_memory(e);
    w->panels = panels_take(bytes, &w->home);
    if (!w->panels)
        return error_no_memory(e);
    w->bytes = bytes;
    return 0;
}

/* What a tensor is packed as: F64 and integers become F32; then as exec_set_precision() asks. */
static int choose_dtype(struct exec *x, const struct tensor_info *t, struct weight *w, struct error *e)
{
    bool quantised = dtype_is_quantised(t->dtype);
    bool kept = quantised || t->dtype == DTYPE_F32 || t->dtype == DTYPE_F16 || t->dtype == DTYPE_BF16;
    enum precision wish = exec_precision(x);
    w->dtype = kept ? t->dtype : DTYPE_F32;
    if (wish == PRECISION_FILE) {
        w->fixed = !quantised && exec_fixes(x);
        w->dtype = w->fixed ? DTYPE_F32 : w->dtype;
        return 0;
    }
    if (quantised)
        return error_param(e, ERROR_BAD_OPTION, "precision",
                           "precision: tensor %s is quantised already (%s); only float weights have a choice",
                           t->name, dtype_row(t->dtype)->name);
    if (wish == PRECISION_Q8 && t->dims[0] % QUANT_BLOCK != 0)
        return error_param(e, ERROR_BAD_OPTION, "precision",
                           "precision: the %llu columns of tensor %s are not whole blocks of %d, as q8 needs",
                           (unsigned long long)t->dims[0], t->name, QUANT_BLOCK);
    w->dtype = wish == PRECISION_Q8 ? DTYPE_Q8_0 : DTYPE_BF16;
    w->rounded = wish == PRECISION_BF16;
    exec_count_converted(x);
    return 0;
}

int weight_load(struct exec *x, const struct tensor_source *s, const struct tensor_info *t, struct weight *w,
                struct error *e)
{
    memset(w, 0, sizeof *w);
    TRY(check_shape(t, e));
    TRY(choose_dtype(x, t, w, e));
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
    panels_give_back(w->home);
    memset(w, 0, sizeof *w);
}

/* ---- a row back ----------------------------------------------------------------------------- */

/* The inverse of place_plane(): ORs a plane's bits into the digits of 32 columns; returns its end. */
INLINE const uint8_t *take_plane(const uint8_t *w, uint8_t *digit, size_t r, unsigned width, unsigned shift)
{
    UNROLL for (size_t v = 0; v < width; v++)
    {
        uint32_t bits = four_at(w + 64 * v + 4 * r);
        UNROLL for (size_t k = 0; k < 8 / width; k++)
        {
            uint8_t *to = digit + 4 * plane_group(width, v, k);
            uint32_t four = four_at(to) | (bits >> width * k & digit_masks[width]) << shift;
            memcpy(to, &four, sizeof four);
        }
    }
    return w + 64 * (size_t)width;
}

static const uint8_t *take_digits(const uint8_t *w, uint8_t *digit, size_t r, unsigned bits)
{
    memset(digit, 0, QUANT_BLOCK);
    switch (bits) {
    case 2:
        return take_plane(w, digit, r, 2, 0);
    case 3:
        return take_plane(take_plane(w, digit, r, 2, 0), digit, r, 1, 2);
    case 4:
        return take_plane(w, digit, r, 4, 0);
    case 5:
        return take_plane(take_plane(w, digit, r, 4, 0), digit, r, 1, 4);
    case 6:
        return take_plane(take_plane(w, digit, r, 4, 0), digit, r, 2, 4);
    default:
        return take_plane(w, digit, r, 8, 0);
    }
}

static const uint8_t *take_scales(const uint8_t *w, const struct quant_format *f, struct quant_parts *p,
                                  size_t r, size_t b)
{
    if (f->run == QUANT_BLOCK) {
        p->scale[b] = (int8_t)w[r];
        p->min[b] = w[16 + r];
        return w + 32;
    }
    for (size_t i = 0; i < 2; i++) {
        uint8_t byte = w[16 * i + r];
        p->scale[2 * b + i] = (int8_t)(f->has_min ? byte & 15 : byte);
        p->min[2 * b + i] = byte >> 4;
    }
    return w + 32;
}

void panel_values(enum dtype dtype, const uint8_t *w, size_t r, float *out)
{
    const struct quant_format *f = quant_format(dtype);
    struct quant_parts p;
    memcpy(&p.d, w + 2 * r, 2);
    memcpy(&p.m, w + (f->has_min ? 32 : 0) + 2 * r, 2);
    w += f->has_min ? 64 : 32;
    for (size_t b = 0; b < dtype_row(dtype)->block_values / QUANT_BLOCK; b++) {
        if (f->run)
            w = take_scales(w, f, &p, r, b);
        w = take_digits(w, p.digit + b * QUANT_BLOCK, r, f->bits);
    }
    quant_values(dtype, &p, out);
}

enum { PIECE = 256 }; /* values of a row that are read at once: no block is longer */

/* How many of a row's values from `first` on, at most, row_piece() gives: whole blocks. */
static size_t piece_values(const struct weight *w, size_t first)
{
    size_t most = dtype_is_quantised(w->dtype) ? dtype_row(w->dtype)->block_values : PIECE;
    return w->cols - first < most ? w->cols - first : most;
}

/* n values of a row from `first` on. */
static void row_piece(const struct weight *w, size_t row, size_t first, size_t n, float *out)
{
    const struct dtype_row *type = dtype_row(w->dtype);
    const uint8_t *block = panel_of(w, row) + first / type->block_values * panel_block_bytes(w->dtype);
    size_t r = row % PANEL_ROWS;
    uint16_t words[PIECE];
    if (dtype_is_quantised(w->dtype)) {
        panel_values(w->dtype, block, r, out);
    } else if (type->block_bytes == sizeof *out) {
        for (size_t i = 0; i < n; i++)
            memcpy(out + i, block + (i * PANEL_ROWS + r) * sizeof *out, sizeof *out);
    } else {
        for (size_t i = 0; i < n; i++)
            memcpy(words + i, block + (i * PANEL_ROWS + r) * sizeof *words, sizeof *words);
        dtype_to_f32(w->dtype, words, n, out);
    }
}

void weight_row(const struct weight *w, size_t row, float *out)
{
    for (size_t i = 0, n; i < w->cols; i += n) {
        n = piece_values(w, i);
        row_piece(w, row, i, n, out + i);
    }
}

void weight_row_add(const struct weight *w, size_t row, float *out)
{
    float piece[PIECE];
    for (size_t i = 0, n; i < w->cols; i += n) {
        n = piece_values(w, i);
        row_piece(w, row, i, n, piece);
        for (size_t k = 0; k < n; k++)
            out[i + k] += piece[k];
    }
}
