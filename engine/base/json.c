/* json.c - see json.h.  jansson's parser recurses, so the nesting is counted before it starts. */
#include "engine/base/json.h"

#include <inttypes.h>
#include <string.h>

#include "engine/base/limits.h"
#include "engine/base/utf8.h"

struct place {
    size_t line, column; /* from 1; the column counts bytes */
};

static struct place place_of(const char *text, size_t at)
{
    struct place p = {1, 1};
    for (size_t i = 0; i < at; i++) {
        p.column++;
        if (text[i] == '\n')
            p = (struct place){p.line + 1, 1};
    }
    return p;
}

/* Index behind the closing quote of the string that starts at `at`, or len. */
static size_t skip_string(const char *text, size_t len, size_t at)
{
    for (size_t i = at + 1; i < len; i++) {
        if (text[i] == '\\')
            i++;
        else if (text[i] == '"')
            return i + 1;
    }
    return len;
}

static int check_depth(const char *text, size_t len, struct error *e)
{
    unsigned depth = 0;
    for (size_t i = 0; i < len;) {
        char c = text[i];
        if (c == '"') {
            i = skip_string(text, len, i);
            continue;
        }
        if ((c == ']' || c == '}') && depth > 0)
            depth--;
        if ((c == '[' || c == '{') && ++depth > LIMIT_JSON_DEPTH) {
            struct place p = place_of(text, i);
            return error_set(e, ERROR_INVALID_REQUEST,
                             "JSON is nested more than %d deep at line %zu, column %zu", LIMIT_JSON_DEPTH,
                             p.line, p.column);
        }
        i++;
    }
    return 0;
}

/* jansson ends many messages with a piece of the text; a user's words stay out of ours. */
static int error_syntax(const char *text, size_t len, const json_error_t *j, struct error *e)
{
    const char *near = strstr(j->text, " near '");
    int cut = (int)(near ? (size_t)(near - j->text) : strlen(j->text));
    size_t at = j->position > 0 ? (size_t)j->position : 0;
    struct place p = place_of(text, at < len ? at : len);
    return error_set(e, ERROR_INVALID_REQUEST, "invalid JSON at line %zu, column %zu: %.*s", p.line, p.column,
                     cut, j->text);
}

int json_parse(const char *text, size_t len, json_t **out, struct error *e)
{
    size_t valid = utf8_valid_prefix(text, len);
    if (valid < len) {
        struct place p = place_of(text, valid);
        return error_set(e, ERROR_INVALID_REQUEST, "JSON is not valid UTF-8 at line %zu, column %zu", p.line,
                         p.column);
    }
    TRY(check_depth(text, len, e));
    json_error_t failure;
    json_t *value = json_loadb(text, len, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &failure);
    if (!value && json_error_code(&failure) == json_error_out_of_memory)
        return error_no_memory(e);
    if (!value)
        return error_syntax(text, len, &failure, e);
    *out = value;
    return 0;
}

static int append(const char *bytes, size_t len, void *context)
{
    struct buf *b = context;
    buf_add(b, bytes, len);
    return b->failed ? -1 : 0;
}

void json_write(struct buf *b, const json_t *value)
{
    /* 15 digits: every float and every decimal number that people write comes back as it was. */
    if (json_dump_callback(value, append, b, JSON_COMPACT | JSON_ENCODE_ANY | JSON_REAL_PRECISION(15)) < 0)
        b->failed = true;
}

static void write_escape(struct buf *b, unsigned char c)
{
    static const char letters[] = "btn\0fr"; /* of 0x08 .. 0x0D */
    if (c == '"' || c == '\\')
        buf_printf(b, "\\%c", c);
    else if (c >= 0x08 && c <= 0x0D && letters[c - 0x08])
        buf_printf(b, "\\%c", letters[c - 0x08]);
    else
        buf_printf(b, "\\u%04x", c);
}

void json_write_string(struct buf *b, const char *text, size_t len)
{
    buf_add(b, "\"", 1);
    size_t start = 0;
    for (size_t i = 0; i <= len; i++) {
        unsigned char c = i < len ? (unsigned char)text[i] : 0;
        if (i < len && c >= 0x20 && c != '"' && c != '\\')
            continue;
        if (utf8_append_lossy(b, text + start, i - start) > 0)
            buf_add_text(b, UTF8_REPLACEMENT);
        if (i < len)
            write_escape(b, c);
        start = i + 1;
    }
    buf_add(b, "\"", 1);
}

/* The value, or NULL when it is absent or null. */
static const json_t *member(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);
    return json_is_null(value) ? NULL : value;
}

static int error_type_of(const char *key, const char *wanted, struct error *e)
{
    return error_param(e, ERROR_INVALID_REQUEST, key, "%s must be %s", key, wanted);
}

int json_get_u64(const json_t *object, const char *key, uint64_t min, uint64_t max, uint64_t *out,
                 struct error *e)
{
    const json_t *value = member(object, key);
    if (!value)
        return 0;
    if (!json_is_integer(value))
        return error_type_of(key, "an integer", e);
    json_int_t got = json_integer_value(value);
    if (got < 0 || (uint64_t)got < min || (uint64_t)got > max)
        return error_param(e, ERROR_INVALID_REQUEST, key,
                           "%s is %" JSON_INTEGER_FORMAT "; it must be from %" PRIu64 " to %" PRIu64, key,
                           got, min, max);
    *out = (uint64_t)got;
    return 0;
}

int json_get_double(const json_t *object, const char *key, double *out, struct error *e)
{
    const json_t *value = member(object, key);
    if (!value)
        return 0;
    if (!json_is_number(value))
        return error_type_of(key, "a number", e);
    *out = json_number_value(value);
    return 0;
}

int json_get_bool(const json_t *object, const char *key, bool *out, struct error *e)
{
    const json_t *value = member(object, key);
    if (!value)
        return 0;
    if (!json_is_boolean(value))
        return error_type_of(key, "true or false", e);
    *out = json_is_true(value);
    return 0;
}

int json_get_string(const json_t *object, const char *key, const char **out, struct error *e)
{
    const json_t *value = member(object, key);
    if (!value)
        return 0;
    if (!json_is_string(value))
        return error_type_of(key, "a string", e);
    *out = json_string_value(value);
    return 0;
}
