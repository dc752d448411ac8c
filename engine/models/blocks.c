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
    if (json_get_u64(c->config, name, min, max, out, e) < 0) {
        e->kind = ERROR_BAD_FORMAT;
        return -1;
    }
    return 0;
}

int config_float(const struct checkpoint *c, const char *key, float fallback, float *out, struct error *e)
{
    char name[192];
    double value = (double)fallback;
    TRY(full_key(c, key, name, sizeof name, e));
    TRY(json_get_double(c->config, name, &value, e));
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
    return json_get_string(c->config, name, out, e);
}

bool has_tensor(const struct checkpoint *c, const char *name)
{
    return c->tensors->find(c->tensors, name) != NULL;
}

/* The formats come from our own sources, with one %zu or none. */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
static const struct tensor_info *find(struct tensor_loader *l, const char *format, size_t layer, char *name,
                                      size_t size)
{
    snprintf(name, size, format, layer);
    return l->checkpoint->tensors->find(l->checkpoint->tensors, name);
}
#pragma GCC diagnostic pop

int load_matrix(struct tensor_loader *l, struct weight *w, size_t rows, size_t cols, const char *format,
                size_t layer)
{
    char name[LIMIT_TENSOR_NAME];
    const struct tensor_info *t = find(l, format, layer, name, sizeof name);
    if (!t)
        return error_set(l->error, ERROR_BAD_FORMAT, "tensor %s is missing", name);
    if (t->dims[0] != cols || t->dims[1] != rows || t->dims[2] != 1 || t->dims[3] != 1)
        return error_set(l->error, ERROR_BAD_FORMAT, "tensor %s has shape [%llu, %llu], expected [%zu, %zu]",
                         name, (unsigned long long)t->dims[0], (unsigned long long)t->dims[1], cols, rows);
    if (weight_load(l->exec, l->checkpoint->tensors, t, w, l->error) < 0)
        return error_prefix(l->error, "tensor %s", name);
    l->bytes += w->bytes;
    return 0;
}

int load_vector(struct tensor_loader *l, float **out, size_t n, bool required, const char *format,
                size_t layer)
{
    char name[LIMIT_TENSOR_NAME];
    const struct tensor_info *t = find(l, format, layer, name, sizeof name);
    *out = NULL;
    if (!t && required)
        return error_set(l->error, ERROR_BAD_FORMAT, "tensor %s is missing", name);
    if (!t)
        return 0;
    const struct dtype_row *row = dtype_row(t->dtype);
    if (t->dims[0] != n || t->dims[1] != 1 || t->dims[2] != 1 || t->dims[3] != 1 ||
        n % row->block_values != 0)
        return error_set(l->error, ERROR_BAD_FORMAT, "tensor %s has %llu values, expected %zu", name,
                         (unsigned long long)t->dims[0], n);
    void *raw = malloc(t->bytes);
    float *values = malloc(n * sizeof *values);
    if (!raw || !values) {
        free(raw);
        free(values);
        return error_no_memory(l->error);
    }
    int status = l->checkpoint->tensors->read(l->checkpoint->tensors, t, 0, raw, (size_t)t->bytes, l->error);
    if (status == 0) {
        dtype_to_f32(t->dtype, raw, n, values);
        l->bytes += n * sizeof *values;
        *out = values;
    } else {
        free(values);
        error_prefix(l->error, "tensor %s", name);
    }
    free(raw);
    return status;
}

static int read_scaling(const struct checkpoint *c, const char *type, size_t trained_context,
                        struct rotary_options *o, struct error *e)
{
    float factor = 1;
    uint64_t original = trained_context;
    TRY(config_float(c, "rope.scaling.factor", 1, &factor, e));
    TRY(config_u64(c, "rope.scaling.original_context_length", 1, LIMIT_CONTEXT, trained_context, &original,
                   e));
    if (!(factor > 0))
        return error_set(e, ERROR_BAD_FORMAT, "%s.rope.scaling.factor must be positive", c->architecture);
    o->scale = 1 / factor;
    o->original_context = original;
    if (strcmp(type, "yarn") == 0) {
        o->yarn = true;
        TRY(config_float(c, "rope.scaling.attn_factor", 1, &o->attention_factor, e));
        TRY(config_float(c, "rope.scaling.yarn_beta_fast", 32, &o->beta_fast, e));
        TRY(config_float(c, "rope.scaling.yarn_beta_slow", 1, &o->beta_slow, e));
    } else if (strcmp(type, "linear") != 0) {
        return error_set(e, ERROR_UNSUPPORTED, "%s.rope.scaling.type %s is not supported", c->architecture,
                         type);
    }
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
    if (type && strcmp(type, "none") != 0)
        return read_scaling(c, type, trained_context, o, e);
    return 0;
}

/* YaRN: the dimension that turns `turns` times over the original context. */
static double correction_dimension(const struct rotary_options *o, double turns)
{
    return (double)o->n_rot * log((double)o->original_context / (turns * 2 * M_PI)) /
           (2 * log((double)o->base));
}

float *rotary_table(const struct rotary_options *o, size_t positions)
{
    size_t half = o->n_rot / 2;
    float *table = calloc(positions * half * 2, sizeof *table);
    if (!table)
        return NULL;
    double low = fmax(0, floor(correction_dimension(o, (double)o->beta_fast)));
    double high = fmin((double)o->n_rot - 1, ceil(correction_dimension(o, (double)o->beta_slow)));
    double magnitude = 1;
    if (o->yarn)
        magnitude = (double)o->attention_factor * (1 + 0.1 * log(1 / (double)o->scale));
    for (size_t i = 0; i < half; i++) {
        double frequency = pow((double)o->base, -2.0 * (double)i / (double)o->n_rot);
        frequency /= o->factors ? (double)o->factors[i] : 1;
        double ramp = fmin(1, fmax(0, ((double)i - low) / fmax(0.001, high - low)));
        double extrapolated = o->yarn ? 1 - ramp : 0;
        frequency *= (double)o->scale * (1 - extrapolated) + extrapolated;
        for (size_t p = 0; p < positions; p++) {
            table[(p * half + i) * 2] = (float)(cos((double)p * frequency) * magnitude);
            table[(p * half + i) * 2 + 1] = (float)(sin((double)p * frequency) * magnitude);
        }
    }
    return table;
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
