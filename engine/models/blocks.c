/* blocks.c - see blocks.h. */
#include "engine/models/blocks.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/json.h"

static int full_key(const struct checkpoint *c, const char *key, char *out, size_t size, struct error *e)
{
    int n = snprintf(out, size, "%s.%s", c->architecture, key);
    if (n < 0 || (size_t)n >= size)
        return error_set(e, ERROR_BAD_FORMAT, "architecture name is too long");
    return 0;
}

/* json.h takes what it reads for a request. */
static int of_file(int status, struct error *e)
{
    if (status < 0 && e && e->kind == ERROR_INVALID_REQUEST)
        e->kind = ERROR_BAD_FORMAT;
    return status;
}

/* Some files give one number a layer; that is the same thing when they are all equal. */
static int uniform_array(const json_t *config, const char *key, uint64_t min, uint64_t max, uint64_t *out,
                         struct error *e)
{
    const json_t *array = json_object_get(config, key);
    size_t n = json_array_size(array);
    for (size_t i = 0; i < n; i++) {
        if (!json_equal(json_array_get(array, i), json_array_get(array, 0)))
            return error_set(e, ERROR_UNSUPPORTED, "%s differs between layers, which is not supported", key);
    }
    const json_t *first = json_array_get(array, 0);
    if (!json_is_integer(first) || json_integer_value(first) < 0 ||
        (uint64_t)json_integer_value(first) < min || (uint64_t)json_integer_value(first) > max)
        return error_set(e, ERROR_BAD_FORMAT, "%s must hold integers from %llu to %llu", key,
                         (unsigned long long)min, (unsigned long long)max);
    *out = (uint64_t)json_integer_value(first);
    return 0;
}

int config_u64(const struct checkpoint *c, const char *key, uint64_t min, uint64_t max, uint64_t fallback,
               uint64_t *out, struct error *e)
{
    char name[192];
    TRY(full_key(c, key, name, sizeof name, e));
    const json_t *value = json_object_get(c->config, name);
    if (json_is_array(value) && json_array_size(value) > 0)
        return uniform_array(c->config, name, min, max, out, e);
    if (!value && fallback == UINT64_MAX)
        return error_set(e, ERROR_BAD_FORMAT, "%s is missing", name);
    *out = fallback;
    return of_file(json_get_u64(c->config, name, min, max, out, e), e);
}

int config_float(const struct checkpoint *c, const char *key, float fallback, float *out, struct error *e)
{
    char name[192];
    double value = (double)fallback;
    TRY(full_key(c, key, name, sizeof name, e));
    TRY(of_file(json_get_double(c->config, name, &value, e), e));
    *out = (float)value;
    if (!isfinite(*out))
        return error_set(e, ERROR_BAD_FORMAT, "%s is not a finite number", name);
    return 0;
}

int config_text(const struct checkpoint *c, const char *key, const char **out, struct error *e)
{
    char name[192];
    *out = NULL;
    TRY(full_key(c, key, name, sizeof name, e));
    return of_file(json_get_string(c->config, name, out, e), e);
}

const json_t *config_value(const struct checkpoint *c, const char *key)
{
    char name[192];
    return full_key(c, key, name, sizeof name, NULL) < 0 ? NULL : json_object_get(c->config, name);
}

int config_flag(const struct checkpoint *c, const char *key, bool fallback, bool *out, struct error *e)
{
    char name[192];
    *out = fallback;
    TRY(full_key(c, key, name, sizeof name, e));
    return of_file(json_get_bool(c->config, name, out, e), e);
}

bool has_tensor(const struct checkpoint *c, const char *name)
{
    return c->tensors->find(c->tensors, name) != NULL;
}

/* The formats come from our own sources, with one %zu or none. */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
static const char *layer_name(char *name, size_t size, const char *format, size_t layer)
{
    snprintf(name, size, format, layer);
    return name;
}
#pragma GCC diagnostic pop

static const struct tensor_info *find(const struct tensor_loader *l, const char *name)
{
    return l->checkpoint->tensors->find(l->checkpoint->tensors, name);
}

/* A tensor source of one tensor: some rows of another source's. */
struct row_source {
    struct tensor_source source;
    const struct tensor_source *whole;
    const struct tensor_info *tensor;
    uint64_t offset; /* bytes of the rows before */
};

static int read_row_source(const struct tensor_source *s, const struct tensor_info *t, uint64_t offset,
                           void *dst, size_t n, struct error *e)
{
    const struct row_source *r = (const struct row_source *)(const void *)s;
    if (offset > t->bytes || n > t->bytes - offset)
        return error_set(e, ERROR_INTERNAL, "tensor %s is read past the rows wanted", t->name);
    return r->whole->read(r->whole, r->tensor, r->offset + offset, dst, n, e);
}

int load_rows(struct tensor_loader *l, struct weight *w, size_t first, size_t rows, size_t total, size_t cols,
              const char *name)
{
    const struct tensor_info *t = find(l, name);
    if (!t)
        return error_set(l->error, ERROR_BAD_FORMAT, "tensor %s is missing", name);
    if (t->dims[0] != cols || t->dims[1] != total || t->dims[2] != 1 || t->dims[3] != 1)
        return error_set(l->error, ERROR_BAD_FORMAT, "tensor %s has shape [%llu, %llu], expected [%zu, %zu]",
                         name, (unsigned long long)t->dims[0], (unsigned long long)t->dims[1], cols, total);
    uint64_t row_bytes = t->bytes / total;
    struct tensor_info part = *t;
    struct row_source s = {.source = {.count = 1, .tensors = &part, .read = read_row_source},
                           .whole = l->checkpoint->tensors,
                           .tensor = t,
                           .offset = first * row_bytes};
    part.dims[1] = rows;
    part.bytes = rows * row_bytes;
    if (weight_load(l->exec, &s.source, &part, w, l->error) < 0)
        return error_prefix(l->error, "tensor %s", name);
    l->bytes += w->bytes;
    return 0;
}

int load_matrix(struct tensor_loader *l, struct weight *w, size_t rows, size_t cols, const char *format,
                size_t layer)
{
    char name[LIMIT_TENSOR_NAME];
    return load_rows(l, w, 0, rows, rows, cols, layer_name(name, sizeof name, format, layer));
}

/* Values of t from `first` on, widened; an error is in l. */
static float *read_values(struct tensor_loader *l, const struct tensor_info *t, size_t first, size_t n)
{
    size_t offset = dtype_bytes(t->dtype, first), bytes = dtype_bytes(t->dtype, n);
    void *raw = malloc(bytes);
    float *values = malloc(n * sizeof *values);
    int status = raw && values
                     ? l->checkpoint->tensors->read(l->checkpoint->tensors, t, offset, raw, bytes, l->error)
                     : error_no_memory(l->error);
    if (status == 0) {
        dtype_to_f32(t->dtype, raw, n, values);
    } else {
        free(values);
        values = NULL;
    }
    free(raw);
    return values;
}

int load_values(struct tensor_loader *l, float **out, size_t first, size_t n, size_t total, bool required,
                const char *name)
{
    const struct tensor_info *t = find(l, name);
    *out = NULL;
    if (!t && required)
        return error_set(l->error, ERROR_BAD_FORMAT, "tensor %s is missing", name);
    if (!t)
        return 0;
    size_t block = dtype_row(t->dtype)->block_values;
    if (t->dims[0] != total || t->dims[1] != 1 || t->dims[2] != 1 || t->dims[3] != 1 || n % block != 0 ||
        first % block != 0)
        return error_set(l->error, ERROR_BAD_FORMAT, "tensor %s has %llu values, expected %zu", name,
                         (unsigned long long)t->dims[0], total);
    *out = read_values(l, t, first, n);
    if (!*out)
        return error_prefix(l->error, "tensor %s", name);
    l->bytes += n * sizeof **out;
    return 0;
}

int load_vector(struct tensor_loader *l, float **out, size_t n, bool required, const char *format,
                size_t layer)
{
    char name[LIMIT_TENSOR_NAME];
    return load_values(l, out, 0, n, n, required, layer_name(name, sizeof name, format, layer));
}

static int read_scaling(const struct checkpoint *c, const char *type, size_t trained_context,
                        struct rotary_options *o, struct error *e)
{
    float factor = 1;
    uint64_t original = trained_context;
    bool longrope = strcmp(type, "longrope") == 0;
    TRY(config_float(c, "rope.scaling.factor", 1, &factor, e));
    TRY(config_u64(c, "rope.scaling.original_context_length", 1, LIMIT_CONTEXT, trained_context, &original,
                   e));
    if (!(factor > 0))
        return error_set(e, ERROR_BAD_FORMAT, "%s.rope.scaling.factor must be positive", c->architecture);
    o->original_context = original;
    if (longrope || strcmp(type, "yarn") == 0) {
        o->yarn = !longrope;
        TRY(config_float(c, "rope.scaling.attn_factor", 1, &o->attention_factor, e));
        TRY(config_float(c, "rope.scaling.yarn_beta_fast", 32, &o->beta_fast, e));
        TRY(config_float(c, "rope.scaling.yarn_beta_slow", 1, &o->beta_slow, e));
        if (!(o->beta_fast > 0) || !(o->beta_slow > 0) || !(o->attention_factor > 0))
            return error_set(
                e, ERROR_BAD_FORMAT,
                "%s.rope.scaling.attn_factor, yarn_beta_fast and yarn_beta_slow must be positive",
                c->architecture);
    } else if (strcmp(type, "linear") != 0) {
        return error_set(e, ERROR_UNSUPPORTED, "%s.rope.scaling.type %.60s is not supported", c->architecture,
                         type);
    }
    o->scale = longrope ? 1 : 1 / factor; /* LongRoPE's factors are a list of their own */
    return 0;
}

int rotary_options_read(const struct checkpoint *c, size_t n_rot, size_t trained_context,
                        struct rotary_options *o, struct error *e)
{
    const char *type = NULL;
    float legacy = 0;
    *o = (struct rotary_options){.n_rot = n_rot,
                                 .original_context = trained_context,
                                 .scale = 1,
                                 .attention_factor = 1,
                                 .beta_fast = 32,
                                 .beta_slow = 1};
    TRY(config_float(c, "rope.freq_base", 10000, &o->base, e));
    TRY(config_text(c, "rope.scaling.type", &type, e));
    TRY(config_float(c, "rope.scale_linear", 0, &legacy, e)); /* before rope.scaling.* existed */
    if (!(o->base > 1))
        return error_set(e, ERROR_BAD_FORMAT, "%s.rope.freq_base must be above 1", c->architecture);
    if (legacy > 0)
        o->scale = 1 / legacy;
    if (!type && has_tensor(c, "rope_factors_long.weight")) /* GGUF's Phi 3 before that type had a name */
        type = "longrope";
    if (type && strcmp(type, "none") != 0)
        return read_scaling(c, type, trained_context, o, e);
    return 0;
}

size_t rotary_pairs(size_t n_rot)
{
    return (n_rot + 1) / 2;
}

/* YaRN: the dimension that turns `turns` times over the original context. */
static double correction_dimension(const struct rotary_options *o, double turns)
{
    return (double)o->n_rot * log((double)o->original_context / (turns * 2 * M_PI)) /
           (2 * log((double)o->base));
}

/* Of pair i, in radians per position. */
static double frequency_of(const struct rotary_options *o, size_t i)
{
    double frequency = pow((double)o->base, -2.0 * (double)i / (double)o->n_rot);
    double low = fmax(0, floor(correction_dimension(o, (double)o->beta_fast)));
    double high = fmin((double)o->n_rot - 1, ceil(correction_dimension(o, (double)o->beta_slow)));
    double ramp = fmin(1, fmax(0, ((double)i - low) / fmax(0.001, high - low)));
    double extrapolated = o->yarn ? 1 - ramp : 0;
    frequency /= o->factors ? (double)o->factors[i] : 1;
    return frequency * ((double)o->scale * (1 - extrapolated) + extrapolated);
}

int rotary_table_grow(struct rotary_table *t, size_t need)
{
    const struct rotary_options *o = &t->options;
    size_t half = rotary_pairs(o->n_rot), bytes;
    if (need <= t->positions)
        return 0;
    if (__builtin_mul_overflow(need, half * 2 * sizeof(float), &bytes))
        return -1;
    float *table = realloc(t->table, bytes);
    if (!table)
        return -1;
    double magnitude = (double)o->attention_factor;
    if (o->yarn)
        magnitude *= 1 + 0.1 * fmax(0, log(1 / (double)o->scale));
    for (size_t i = 0; i < half; i++) {
        double frequency = frequency_of(o, i);
        for (size_t p = t->positions; p < need; p++) {
            table[(p * half + i) * 2] = (float)(cos((double)p * frequency) * magnitude);
            table[(p * half + i) * 2 + 1] = (float)(sin((double)p * frequency) * magnitude);
        }
    }
    t->table = table;
    t->positions = need;
    return 0;
}

int grow_floats(float **buffer, size_t *have, size_t need)
{
    if (*have >= need)
        return 0;
    size_t bytes;
    if (__builtin_mul_overflow(need, sizeof(float), &bytes) || bytes > SIZE_MAX - 63)
        return -1;
    free(*buffer);
    *have = 0;
    *buffer = aligned_alloc(64, (bytes + 63) & ~(size_t)63);
    if (!*buffer)
        return -1;
    *have = need;
    return 0;
}
