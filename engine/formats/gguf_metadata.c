/* gguf_metadata.c - key-value pairs of a GGUF file as one JSON object.
 * Called by gguf.c while a checkpoint is opened, on the opener's thread.  Strings must be UTF-8
 * without zero bytes, numbers finite; arrays longer than KEEP_ARRAY are checked and skipped, for
 * what is that long is a table of a tokenizer, and those that matter are read by gguf_vocabulary.c. */
#include "engine/formats/gguf.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "engine/base/log.h"
#include "engine/base/utf8.h"

enum { KEEP_ARRAY = 65536, MAX_KEY = 256, ARRAY_DEPTH = 4 };

static const char chat_template_key[] = "tokenizer.chat_template";

size_t gguf_type_bytes(uint32_t type)
{
    static const uint8_t bytes[GGUF_TYPES] = {1, 1, 2, 2, 4, 4, 4, 1, 8, 12, 8, 8, 8};
    return type < GGUF_TYPES ? bytes[type] : 0;
}

int gguf_string(struct gguf *g, uint64_t max, const char **text, size_t *len, const char *what,
                struct error *e)
{
    uint64_t n, at = bytes_offset(g->file);
    TRY(bytes_u64(g->file, &n, what, e));
    if (n > max && n <= bytes_left(g->file))
        return error_at(e, ERROR_BAD_FORMAT, at, "%s has %" PRIu64 " bytes; at most %" PRIu64 " are accepted",
                        what, n, max);
    const void *bytes;
    TRY(bytes_take(g->file, n, &bytes, what, e));
    *text = bytes;
    *len = (size_t)n;
    return 0;
}

/* A name must be printable in messages and whole as a C string. */
static int check_text(const char *text, size_t len, const char *what, uint64_t at, struct error *e)
{
    if (!utf8_valid(text, len))
        return error_at(e, ERROR_BAD_FORMAT, at, "%s is not valid UTF-8", what);
    if (memchr(text, 0, len))
        return error_at(e, ERROR_BAD_FORMAT, at, "%s holds a zero byte", what);
    return 0;
}

static int read_text_value(struct gguf *g, const char *key, json_t **out, struct error *e)
{
    const char *text;
    size_t len;
    uint64_t at = bytes_offset(g->file);
    TRY(gguf_string(g, LIMIT_TAKE, &text, &len, key, e));
    TRY(check_text(text, len, key, at, e));
    *out = json_stringn_nocheck(text, len);
    return *out ? 0 : error_no_memory(e);
}

static uint64_t little_endian(const uint8_t *p, size_t n)
{
    uint64_t value = 0;
    while (n-- > 0)
        value = value << 8 | p[n];
    return value;
}

static double float_bits(uint64_t bits, uint32_t type)
{
    double d;
    float f;
    uint32_t low = (uint32_t)bits;
    memcpy(&d, &bits, sizeof d);
    memcpy(&f, &low, sizeof f);
    return type == GGUF_F32 ? (double)f : d;
}

static int read_number(struct gguf *g, const char *key, uint32_t type, json_t **out, struct error *e)
{
    uint64_t at = bytes_offset(g->file);
    size_t n = gguf_type_bytes(type);
    const void *bytes;
    TRY(bytes_take(g->file, n, &bytes, key, e));
    uint64_t bits = little_endian(bytes, n);
    if (type == GGUF_F32 || type == GGUF_F64) {
        double value = float_bits(bits, type);
        if (!isfinite(value))
            return error_at(e, ERROR_BAD_FORMAT, at, "%s is not a finite number", key);
        *out = json_real(value);
    } else if (type == GGUF_BOOL) {
        if (bits > 1)
            return error_at(e, ERROR_BAD_FORMAT, at, "%s is a truth value of %" PRIu64, key, bits);
        *out = json_boolean(bits);
    } else {
        if (type == GGUF_U64 && bits > INT64_MAX)
            return error_at(e, ERROR_BAD_FORMAT, at, "%s is %" PRIu64 ", which is too large", key, bits);
        bool is_signed = type == GGUF_I8 || type == GGUF_I16 || type == GGUF_I32;
        unsigned shift = (unsigned)(64 - 8 * n);
        *out = json_integer(is_signed ? (int64_t)(bits << shift) >> shift : (int64_t)bits);
    }
    return *out ? 0 : error_no_memory(e);
}

int gguf_array_head(struct gguf *g, const char *key, uint32_t *type, uint64_t *count, struct error *e)
{
    TRY(bytes_u32(g->file, type, key, e));
    TRY(bytes_u64(g->file, count, key, e));
    size_t least = gguf_type_bytes(*type);
    if (least == 0)
        return error_at(e, ERROR_BAD_FORMAT, bytes_offset(g->file) - 12,
                        "%s is an array of unknown type %" PRIu32, key, *type);
    return bytes_expect(g->file, *count, least, key, e);
}

static int read_array(struct gguf *g, const char *key, unsigned depth, json_t **out, struct error *e);

/* depth: arrays around this value. */
static int read_value(struct gguf *g, const char *key, uint32_t type, unsigned depth, json_t **out,
                      struct error *e)
{
    if (++g->n_values > LIMIT_METADATA_VALUES)
        return error_at(e, ERROR_BAD_FORMAT, bytes_offset(g->file), "the metadata holds more than %d values",
                        LIMIT_METADATA_VALUES);
    if (type == GGUF_STRING)
        return read_text_value(g, key, out, e);
    if (type == GGUF_ARRAY)
        return read_array(g, key, depth, out, e);
    if (gguf_type_bytes(type) == 0)
        return error_at(e, ERROR_BAD_FORMAT, bytes_offset(g->file), "%s is of unknown type %" PRIu32, key,
                        type);
    return read_number(g, key, type, out, e);
}

static int skip_values(struct gguf *g, const char *key, uint32_t type, uint64_t count, struct error *e)
{
    log_debug("%s: an array of %" PRIu64 " values is not kept", key, count);
    if (type == GGUF_ARRAY)
        return error_at(e, ERROR_BAD_FORMAT, bytes_offset(g->file),
                        "%s holds %" PRIu64 " arrays; at most %d are accepted", key, count, KEEP_ARRAY);
    if (type != GGUF_STRING)
        return bytes_skip(g->file, count * gguf_type_bytes(type), key, e);
    for (uint64_t i = 0; i < count; i++) {
        const char *text;
        size_t len;
        TRY(gguf_string(g, LIMIT_TAKE, &text, &len, key, e));
    }
    return 0;
}

/* Recursion: at most ARRAY_DEPTH deep. */
static int read_array(struct gguf *g, const char *key, unsigned depth, json_t **out, struct error *e)
{
    uint32_t type;
    uint64_t count;
    if (depth >= ARRAY_DEPTH)
        return error_at(e, ERROR_BAD_FORMAT, bytes_offset(g->file), "%s: arrays are nested more than %d deep",
                        key, ARRAY_DEPTH);
    TRY(gguf_array_head(g, key, &type, &count, e));
    if (count > KEEP_ARRAY) {
        *out = NULL;
        return skip_values(g, key, type, count, e);
    }
    json_t *array = json_array();
    if (!array)
        return error_no_memory(e);
    for (uint64_t i = 0; i < count; i++) {
        json_t *value = NULL;
        if (read_value(g, key, type, depth + 1, &value, e) < 0)
            goto free_array;
        if (value && json_array_append_new(array, value) < 0) {
            error_no_memory(e);
            goto free_array;
        }
    }
    *out = array;
    return 0;
free_array:
    json_decref(array);
    return -1;
}

/* The key, copied, and known to be new. */
static int read_key(struct gguf *g, const char **out, struct error *e)
{
    const char *text;
    size_t len;
    uint64_t at = bytes_offset(g->file);
    TRY(gguf_string(g, MAX_KEY, &text, &len, "a metadata key", e));
    TRY(check_text(text, len, "a metadata key", at, e));
    char *key = arena_copy(g->arena, text, len);
    if (!key)
        return error_no_memory(e);
    if (string_table_add(&g->keys, key, len, 0) >= 0)
        return error_at(e, ERROR_BAD_FORMAT, at, "the metadata key %.200s appears twice", key);
    *out = key;
    return 0;
}

static int read_pair(struct gguf *g, struct error *e)
{
    const char *key = NULL;
    uint32_t type;
    TRY(read_key(g, &key, e));
    TRY(bytes_u32(g->file, &type, key, e));
    int taken = gguf_read_vocabulary_array(g, key, type, e);
    if (taken != 0)
        return taken < 0 ? -1 : 0;
    json_t *value = NULL;
    TRY(read_value(g, key, type, 0, &value, e));
    if (value && json_object_set_new_nocheck(g->config, key, value) < 0)
        return error_no_memory(e);
    return 0;
}

int gguf_read_metadata(struct gguf *g, struct error *e)
{
    TRY(string_table_init(&g->keys, (size_t)g->n_keys, e));
    for (uint64_t i = 0; i < g->n_keys; i++)
        TRY(read_pair(g, e));
    const json_t *chat = json_object_get(g->config, chat_template_key);
    if (chat && !json_is_string(chat))
        return error_set(e, ERROR_BAD_FORMAT, "%s is not a string", chat_template_key);
    g->checkpoint.chat_template = json_string_value(chat);
    return 0;
}
