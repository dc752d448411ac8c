/* amx.c - prompt rows and encoders by bf16 tiles; all else is the avx512 set's.  Compiled with its options
 * and -mavx512bf16; select.c lets it run only where that set may, and tiles_missing() says nothing.
 *
 * A pair of panels is expanded into scratch as bf16 tiles, then all rows pass by it: two groups of 16 rows
 * times two panels at a time, four sums in tiles 0 to 3, so that every tile that is loaded is used twice.
 *   rows    (steps, 16 rows, 32 columns) bf16 a group
 *   weights (steps, 16 pairs of columns, 16 rows, 2 columns) bf16 a panel
 * The arithmetic, 32 columns after 32 in ascending order, from 0, as TDPBF16PS adds (amx_tiles.h):
 *   quantised weights  x and w = fma(digit, scale, base) rounded to bf16; one product
 *   float weights      x and w each the sum of up to three bf16 pieces, each what rounding left of the ones
 * before it; of each 32 columns the products of pieces i and j, i + j < pieces, small ones first then the
 * bias, by a plain addition. Of the sum of |w x| that costs at most 2^-7 with one piece, 2^-14 with two, with
 * three no more than float arithmetic does.  F16 has two pieces at most, BF16 one: they are exact.  Rows past
 * the end are zero; nothing of a row depends on another. */
#include <immintrin.h>
#include <pthread.h>
#include <string.h>

#include "engine/kernels/amx_attention.h"
#include "engine/kernels/amx_tiles.h"
#include "engine/kernels/set.h"

#include "engine/kernels/avx512_digits.inc"

enum { STEP_COLS = 32, SUPER_BLOCK = 256 };

static size_t steps_of(size_t cols)
{
    return (cols + STEP_COLS - 1) / STEP_COLS;
}

static __mmask16 first_lanes(size_t n)
{
    return (__mmask16)(n < 16 ? (1u << n) - 1 : 0xffffu);
}

/* ---- bf16 ----------------------------------------------------------------------------------- */

/* Words 0 .. 15 of a, 16 .. 31 of b, rounded to nearest even; denormals become 0. */
INLINE __m512i round_two(__m512 a, __m512 b)
{
    return (__m512i)_mm512_cvtne2ps_pbh(b, a);
}

/* What rounding took away. */
INLINE __m512 rest_of(__m512 x, __m256i rounded)
{
    return _mm512_sub_ps(x, _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(rounded), 16)));
}

/* ---- rows ----------------------------------------------------------------------------------- */

static size_t group_bytes(size_t cols)
{
    return steps_of(cols) * TILE_BYTES;
}

static void pack_row(const float *x, size_t cols, unsigned pieces, uint8_t *out, size_t piece_bytes)
{
    for (size_t c = 0; c < cols; c += STEP_COLS, out += TILE_BYTES) {
        size_t left = cols - c > 16 ? cols - c - 16 : 0;
        __m512 a = _mm512_maskz_loadu_ps(first_lanes(cols - c), x + c);
        __m512 b = _mm512_maskz_loadu_ps(first_lanes(left), x + c + (left ? 16 : 0));
        for (unsigned i = 0; i < pieces; i++) {
            __m512i rounded = round_two(a, b);
            _mm512_store_si512(out + i * piece_bytes, rounded);
            a = rest_of(a, _mm512_castsi512_si256(rounded));
            b = rest_of(b, _mm512_extracti64x4_epi64(rounded, 1));
        }
    }
}

static void clear_row(size_t cols, uint8_t *out)
{
    for (size_t s = 0; s < steps_of(cols); s++)
        _mm512_store_si512(out + s * TILE_BYTES, _mm512_setzero_si512());
}

static void pack(const float *x, size_t rows, size_t cols, unsigned pieces, uint8_t *out, size_t piece_bytes)
{
    for (size_t r = 0; r < PROMPT_GROUP; r++, out += TILE_ROW_BYTES) {
        if (r < rows)
            pack_row(x + r * cols, cols, pieces, out, piece_bytes);
        for (unsigned i = 0; r >= rows && i < pieces; i++)
            clear_row(cols, out + i * piece_bytes);
    }
}

/* ---- weights -------------------------------------------------------------------------------- */

/* Two columns of a panel, one word of each in turn. */
INLINE __m512i in_turn(__m512i two)
{
    const __m512i order = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23,
                                           7, 22, 6, 21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
    return _mm512_permutexvar_epi16(order, two);
}

INLINE void put_floats(__m512 a, __m512 b, unsigned pieces, uint8_t *out, size_t piece_bytes)
{
    for (unsigned i = 0; i < pieces; i++) {
        __m512i rounded = round_two(a, b);
        _mm512_store_si512(out + i * piece_bytes, in_turn(rounded));
        a = rest_of(a, _mm512_castsi512_si256(rounded));
        b = rest_of(b, _mm512_extracti64x4_epi64(rounded, 1));
    }
}

INLINE __m512 load_column(enum dtype dtype, const uint8_t *panel, size_t c)
{
    if (dtype == DTYPE_F32)
        return _mm512_loadu_ps(panel + c * 64);
    return _mm512_cvtph_ps(_mm256_loadu_si256((const void *)(panel + c * 32)));
}

INLINE void expand_floats(enum dtype dtype, const uint8_t *panel, size_t cols, unsigned pieces, uint8_t *out,
                          size_t piece_bytes)
{
    for (size_t c = 0; c < steps_of(cols) * STEP_COLS; c += 2, out += 64) {
        __m512 a = c < cols ? load_column(dtype, panel, c) : _mm512_setzero_ps();
        __m512 b = c + 1 < cols ? load_column(dtype, panel, c + 1) : _mm512_setzero_ps();
        put_floats(a, b, pieces, out, piece_bytes);
    }
}

static void expand_bf16(const uint8_t *panel, size_t cols, uint8_t *out)
{
    for (size_t c = 0; c < steps_of(cols) * STEP_COLS; c += 2, out += 64) {
        __m256i zero = _mm256_setzero_si256();
        __m256i a = c < cols ? _mm256_loadu_si256((const void *)(panel + c * 32)) : zero;
        __m256i b = c + 1 < cols ? _mm256_loadu_si256((const void *)(panel + c * 32 + 32)) : zero;
        _mm512_store_si512(out, in_turn(_mm512_inserti64x4(_mm512_castsi256_si512(a), b, 1)));
    }
}

/* Of 16 or 32 columns: value = fma(digit, scale, base). */
struct line {
    __m512 scale, base;
};

/* Column i of four. */
INLINE __m512 value_of(__m512i four, int i, struct line l)
{
    const __m512i pick = _mm512_set1_epi32((int)0xffffff00 | i);
    const __m512i dword =
        _mm512_broadcast_i32x4(_mm_set_epi8(0, 0, 0, 12, 0, 0, 0, 8, 0, 0, 0, 4, 0, 0, 0, 0));
    __m512 digit = _mm512_cvtepi32_ps(_mm512_shuffle_epi8(four, _mm512_or_si512(pick, dword)));
    return _mm512_fmadd_ps(digit, l.scale, l.base);
}

INLINE void expand_32(enum digits digits, const uint8_t *w, struct line first, struct line last, uint8_t *out)
{
    UNROLL for (int j = 0; j < 8; j++)
    {
        __m512i four = digits_of(digits, w, j);
        struct line l = j < 4 ? first : last;
        _mm512_store_si512(out + 128 * j, in_turn(round_two(value_of(four, 0, l), value_of(four, 1, l))));
        _mm512_store_si512(out + 128 * j + 64,
                           in_turn(round_two(value_of(four, 2, l), value_of(four, 3, l))));
    }
}

INLINE __m512 load_f16(const uint8_t *p)
{
    return _mm512_cvtph_ps(_mm256_loadu_si256((const void *)p));
}

INLINE __m512 to_float(__m512i v)
{
    return _mm512_cvtepi32_ps(v);
}

INLINE __m512i load_u8(const uint8_t *p)
{
    return _mm512_cvtepu8_epi32(_mm_loadu_si128((const void *)p));
}

INLINE __m512i load_i8(const uint8_t *p)
{
    return _mm512_cvtepi8_epi32(_mm_loadu_si128((const void *)p));
}

INLINE __m512 minus(__m512 a, __m512 b)
{
    return _mm512_fnmadd_ps(a, b, _mm512_setzero_ps());
}

/* Blocks of 32 columns: d, perhaps m, digits. */
INLINE void expand_plain(enum digits digits, int zero, bool has_min, const uint8_t *w, size_t cols,
                         uint8_t *out, size_t block_bytes)
{
    for (size_t b = 0; b < cols / QUANT_BLOCK; b++, w += block_bytes, out += TILE_BYTES) {
        struct line l = {.scale = load_f16(w)};
        l.base = has_min ? load_f16(w + 32) : minus(l.scale, _mm512_set1_ps((float)zero));
        expand_32(digits, w + (has_min ? 64 : 32), l, l, out);
    }
}

/* Super blocks with a scale and a minimum for every 32 columns. */
INLINE void expand_run_32(enum digits digits, size_t digit_bytes, const uint8_t *w, size_t cols, uint8_t *out)
{
    for (size_t b = 0; b < cols / SUPER_BLOCK; b++) {
        __m512 d = load_f16(w), m = load_f16(w + 32);
        w += 64;
        for (size_t i = 0; i < SUPER_BLOCK / QUANT_BLOCK; i++, w += 32 + digit_bytes, out += TILE_BYTES) {
            struct line l = {.scale = _mm512_mul_ps(d, to_float(load_u8(w))),
                             .base = minus(m, to_float(load_u8(w + 16)))};
            expand_32(digits, w + 32, l, l, out);
        }
    }
}

/* Super blocks with a signed scale for every 16 columns. */
INLINE void expand_run_16(enum digits digits, int zero, size_t digit_bytes, const uint8_t *w, size_t cols,
                          uint8_t *out)
{
    const __m512 z = _mm512_set1_ps((float)zero);
    for (size_t b = 0; b < cols / SUPER_BLOCK; b++) {
        __m512 d = load_f16(w);
        w += 32;
        for (size_t i = 0; i < SUPER_BLOCK / QUANT_BLOCK; i++, w += 32 + digit_bytes, out += TILE_BYTES) {
            struct line first = {.scale = _mm512_mul_ps(d, to_float(load_i8(w)))};
            struct line last = {.scale = _mm512_mul_ps(d, to_float(load_i8(w + 16)))};
            first.base = minus(first.scale, z);
            last.base = minus(last.scale, z);
            expand_32(digits, w + 32, first, last, out);
        }
    }
}

/* The low nibble scales, the high one is a minimum. */
INLINE struct line q2_k_line(__m512 d, __m512 m, const uint8_t *w)
{
    __m512i both = load_u8(w);
    return (struct line){.scale = _mm512_mul_ps(d, to_float(_mm512_and_si512(both, _mm512_set1_epi32(15)))),
                         .base = minus(m, to_float(_mm512_srli_epi32(both, 4)))};
}

static void expand_q2_k(const uint8_t *w, size_t cols, uint8_t *out)
{
    for (size_t b = 0; b < cols / SUPER_BLOCK; b++) {
        __m512 d = load_f16(w), m = load_f16(w + 32);
        w += 64;
        for (size_t i = 0; i < SUPER_BLOCK / QUANT_BLOCK; i++, w += 32 + 128, out += TILE_BYTES)
            expand_32(DIGITS_2, w + 32, q2_k_line(d, m, w), q2_k_line(d, m, w + 16), out);
    }
}

/* Pieces that a weight may need. */
static unsigned pieces_of(enum dtype dtype)
{
    return dtype == DTYPE_F32 ? 3 : dtype == DTYPE_F16 ? 2 : 1;
}

/* A panel as tiles, `pieces` of them. */
static void expand(enum dtype dtype, const uint8_t *w, size_t cols, unsigned pieces, uint8_t *out,
                   size_t piece_bytes)
{
    switch (dtype) {
    case DTYPE_F32:
        expand_floats(DTYPE_F32, w, cols, pieces, out, piece_bytes);
        break;
    case DTYPE_F16:
        expand_floats(DTYPE_F16, w, cols, pieces, out, piece_bytes);
        break;
    case DTYPE_BF16:
        expand_bf16(w, cols, out);
        break;
    case DTYPE_Q4_0:
        expand_plain(DIGITS_4, 8, false, w, cols, out, panel_block_bytes(DTYPE_Q4_0));
        break;
    case DTYPE_Q4_1:
        expand_plain(DIGITS_4, 0, true, w, cols, out, panel_block_bytes(DTYPE_Q4_1));
        break;
    case DTYPE_Q5_0:
        expand_plain(DIGITS_5, 16, false, w, cols, out, panel_block_bytes(DTYPE_Q5_0));
        break;
    case DTYPE_Q5_1:
        expand_plain(DIGITS_5, 0, true, w, cols, out, panel_block_bytes(DTYPE_Q5_1));
        break;
    case DTYPE_Q8_0:
        expand_plain(DIGITS_8, 128, false, w, cols, out, panel_block_bytes(DTYPE_Q8_0));
        break;
    case DTYPE_IQ4_NL:
        expand_plain(DIGITS_CODES, 128, false, w, cols, out, panel_block_bytes(DTYPE_IQ4_NL));
        break;
    case DTYPE_Q2_K:
        expand_q2_k(w, cols, out);
        break;
    case DTYPE_Q3_K:
        expand_run_16(DIGITS_3, 4, 192, w, cols, out);
        break;
    case DTYPE_Q4_K:
        expand_run_32(DIGITS_4, 256, w, cols, out);
        break;
    case DTYPE_Q5_K:
        expand_run_32(DIGITS_5, 320, w, cols, out);
        break;
    case DTYPE_Q6_K:
        expand_run_16(DIGITS_6, 32, 384, w, cols, out);
        break;
    default: /* weight.c packs nothing else */
        break;
    }
}

/* ---- products ------------------------------------------------------------------------------- */

/* Some groups of rows (one or two) and panels (one or two) of a call, and where their tiles lie. */
struct block {
    size_t steps;
    int groups, panels;
    unsigned pieces, w_pieces;
    const uint8_t *x, *w;
    size_t x_piece_bytes, w_piece_bytes, group_bytes, panel_bytes;
};

INLINE void multiply_step(const struct block *b, const uint8_t *x, const uint8_t *w)
{
    tile_load(4, x, TILE_ROW_BYTES);
    tile_load(6, w, TILE_ROW_BYTES);
    tile_multiply(0, 4, 6);
    if (b->panels > 1) {
        tile_load(7, w + b->panel_bytes, TILE_ROW_BYTES);
        tile_multiply(1, 4, 7);
    }
    if (b->groups > 1) {
        tile_load(5, x + b->group_bytes, TILE_ROW_BYTES);
        tile_multiply(2, 5, 6);
        if (b->panels > 1)
            tile_multiply(3, 5, 7);
    }
}

static void multiply(const struct block *b)
{
    tile_zero(0);
    tile_zero(1);
    tile_zero(2);
    tile_zero(3);
    for (size_t at = 0; at < b->steps * TILE_BYTES; at += TILE_BYTES)
        for (unsigned sum = b->pieces; sum-- > 0;)
            for (unsigned j = 0; j <= sum && j < b->w_pieces; j++)
                multiply_step(b, b->x + at + (sum - j) * b->x_piece_bytes, b->w + at + j * b->w_piece_bytes);
}

static void store_sum(int tile, float *out, size_t stride)
{
    switch (tile) {
    case 0:
        tile_store(0, out, stride);
        break;
    case 1:
        tile_store(1, out, stride);
        break;
    case 2:
        tile_store(2, out, stride);
        break;
    default:
        tile_store(3, out, stride);
        break;
    }
}

/* The sum of 16 rows and a panel, through `edge` where not all of it exists, or it is to be added. */
static void write_sum(const struct prompt_tile *t, int tile, size_t row, size_t col, float *edge)
{
    size_t rows = t->rows - row, cols = t->out_cols - col, stride = t->stride;
    float *out = t->out + row * t->stride + col;
    bool direct = rows >= TILE_ROWS && cols >= PANEL_ROWS && !t->add;
    store_sum(tile, direct ? out : edge, (direct ? stride : PANEL_ROWS) * sizeof(float));
    if (direct && !t->bias)
        return;
    const float *from = direct ? out : edge;
    size_t from_stride = direct ? stride : PANEL_ROWS;
    __mmask16 lanes = first_lanes(cols);
    __m512 bias = t->bias ? _mm512_maskz_loadu_ps(lanes, t->bias + col) : _mm512_setzero_ps();
    for (size_t r = 0; r < (rows < TILE_ROWS ? rows : TILE_ROWS); r++) {
        __m512 sum = _mm512_maskz_loadu_ps(lanes, from + r * from_stride);
        sum = t->bias ? _mm512_add_ps(sum, bias) : sum;
        if (t->add)
            sum = _mm512_add_ps(_mm512_maskz_loadu_ps(lanes, out + r * stride), sum);
        _mm512_mask_storeu_ps(out + r * stride, lanes, sum);
    }
}

/* The pieces of two panels, and a tile for sums that stick out. */
static size_t scratch_bytes(size_t cols)
{
    return PROMPT_24_BITS * PROMPT_PANELS * steps_of(cols) * TILE_BYTES + TILE_BYTES;
}

static void linear_tiles(const struct prompt_tile *t)
{
    struct block b = {.steps = steps_of(t->cols),
                      .panels = (int)t->n_panels,
                      .pieces = t->pieces,
                      .w_pieces = pieces_of(t->dtype) < t->pieces ? pieces_of(t->dtype) : t->pieces,
                      .w = t->scratch,
                      .x_piece_bytes = t->piece_bytes,
                      .group_bytes = group_bytes(t->cols)};
    b.panel_bytes = b.steps * TILE_BYTES;
    b.w_piece_bytes = PROMPT_PANELS * b.panel_bytes;
    float *edge = (float *)(void *)((uint8_t *)t->scratch + PROMPT_24_BITS * b.w_piece_bytes);
    for (size_t p = 0; p < t->n_panels; p++)
        expand(t->dtype, t->panels + p * t->panel_bytes, t->cols, b.w_pieces,
               (uint8_t *)t->scratch + p * b.panel_bytes, b.w_piece_bytes);
    tiles_begin(&tiles_whole);
    for (size_t row = 0; row < t->rows; row += 2 * TILE_ROWS) {
        b.x = t->x + row / TILE_ROWS * b.group_bytes;
        b.groups = t->rows - row > TILE_ROWS ? 2 : 1;
        multiply(&b);
        for (int g = 0; g < b.groups; g++)
            for (int p = 0; p < b.panels; p++)
                write_sum(t, 2 * g + p, row + (size_t)g * TILE_ROWS, (size_t)p * PANEL_ROWS, edge);
    }
    tiles_end();
}

static const struct prompt_kernels prompt = {.group_bytes = group_bytes,
                                             .pack = pack,
                                             .scratch_bytes = scratch_bytes,
                                             .linear = linear_tiles,
                                             .attention = amx_attention,
                                             .attention_scratch_bytes = amx_attention_scratch_bytes};

/* ---- may it run ----------------------------------------------------------------------------- */

enum { PROBE_ROWS = 19, PROBE_COLS = 70, PROBE_OUTPUTS = 21 };

/* Small integers, some of nine bits, which need two pieces; never both factors of a product. */
static float probe_x(size_t r, size_t c)
{
    return (float)((int)((r * 31 + c * 7) % 41) - 20 + (c % 5 == 0 ? 257 : 0));
}

static float probe_w(size_t n, size_t c)
{
    return (float)((int)((n * 13 + c * 11) % 37) - 18 + (c % 5 == 2 ? 257 : 0));
}

static bool product_is_right(const float *out)
{
    for (size_t r = 0; r < PROBE_ROWS; r++)
        for (size_t n = 0; n < PROBE_OUTPUTS; n++) {
            float sum = 0;
            for (size_t c = 0; c < PROBE_COLS; c++)
                sum += probe_x(r, c) * probe_w(n, c);
            if (out[r * PROBE_OUTPUTS + n] != sum)
                return false;
        }
    return true;
}

/* One product whose answer is known to the bit: a processor or emulator that says it has tiles is believed
 * only when it computes with them as the manual says. */
static bool computes_rightly(void)
{
    enum { PANELS = 2, GROUPS = 2, BYTES = 3 * TILE_BYTES };
    float panels[PANELS * PROBE_COLS * PANEL_ROWS] = {0}, x[PROBE_ROWS * PROBE_COLS];
    float out[PROBE_ROWS * PROBE_OUTPUTS];
    _Alignas(64) uint8_t packed[2 * GROUPS * BYTES], scratch[3 * PANELS * BYTES + TILE_BYTES];
    for (size_t c = 0; c < PROBE_COLS; c++) {
        for (size_t n = 0; n < PROBE_OUTPUTS; n++)
            panels[(n / PANEL_ROWS * PROBE_COLS + c) * PANEL_ROWS + n % PANEL_ROWS] = probe_w(n, c);
        for (size_t r = 0; r < PROBE_ROWS; r++)
            x[r * PROBE_COLS + c] = probe_x(r, c);
    }
    for (size_t g = 0; g < GROUPS; g++)
        pack(x + g * PROMPT_GROUP * PROBE_COLS, g ? PROBE_ROWS - PROMPT_GROUP : PROMPT_GROUP, PROBE_COLS, 2,
             packed + g * BYTES, GROUPS * BYTES);
    linear_tiles(&(struct prompt_tile){.dtype = DTYPE_F32,
                                       .panels = (const uint8_t *)panels,
                                       .n_panels = PANELS,
                                       .panel_bytes = PROBE_COLS * PANEL_ROWS * sizeof(float),
                                       .cols = PROBE_COLS,
                                       .rows = PROBE_ROWS,
                                       .out_cols = PROBE_OUTPUTS,
                                       .x = packed,
                                       .pieces = 2,
                                       .piece_bytes = GROUPS * BYTES,
                                       .out = out,
                                       .stride = PROBE_OUTPUTS,
                                       .scratch = scratch});
    return product_is_right(out);
}

const char *amx_missing(void)
{
    const char *missing = tiles_missing();
    if (!missing && !computes_rightly())
        missing = "its tiles give a wrong product";
    return missing;
}

static pthread_once_t made = PTHREAD_ONCE_INIT;
static struct kernel_set amx;

static void make(void)
{
    amx = kernel_set_avx512;
    amx.name = "amx";
    amx.prompt = &prompt;
    amx.fixed = NULL; /* tiles are quicker, and more exact */
}

const struct kernel_set *kernel_set_amx(void)
{
    pthread_once(&made, make);
    return &amx;
}
