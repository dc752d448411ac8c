/* config_json.c - see config_json.h. */
#include "engine/formats/config_json.h"

#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "engine/base/buf.h"
#include "engine/base/json.h"
#include "engine/base/limits.h"

static const char largest[] = "9223372036854775807"; /* 64 bits with a sign */

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

/* The digits of a number start at `at`: its end, and whether it is an integer beyond 64 bits. */
static size_t skip_number(const char *text, size_t len, size_t at, bool *big)
{
    size_t digits = 0, i = at;
    bool real = false;
    for (; i < len && (isalnum((unsigned char)text[i]) || strchr("+-.", text[i])) && text[i]; i++) {
        digits += isdigit((unsigned char)text[i]) != 0;
        real = real || strchr(".eE", text[i]);
    }
    size_t most = sizeof largest - 1;
    *big = !real && digits == i - at &&
           (digits > most || (digits == most && memcmp(text + at, largest, most) > 0));
    return i;
}

/* text with "e0" behind every big integer; out stays empty when there is none. */
static void mark_big_integers(const char *text, size_t len, struct buf *out)
{
    size_t copied = 0;
    for (size_t i = 0; i < len;) {
        bool big = false;
        if (text[i] == '"')
            i = skip_string(text, len, i);
        else if (isdigit((unsigned char)text[i]))
            i = skip_number(text, len, i, &big);
        else
            i++;
        if (big) {
            buf_add(out, text + copied, i - copied);
            buf_add(out, "e0", 2);
            copied = i;
        }
    }
    if (copied)
        buf_add(out, text + copied, len - copied);
}

int config_json_parse(const char *text, size_t len, json_t **out, struct error *e)
{
    struct buf marked;
    buf_init(&marked, 3 * LIMIT_TAKE);
    mark_big_integers(text, len, &marked);
    int status;
    if (marked.failed)
        status = error_no_memory(e);
    else
        status = marked.len ? json_parse(marked.data, marked.len, out, e) : json_parse(text, len, out, e);
    buf_free(&marked);
    if (status < 0 && e && e->kind == ERROR_INVALID_REQUEST)
        e->kind = ERROR_BAD_FORMAT;
    return status;
}

/* 1 when it is open, 0 when there is no such file. */
static int open_optional(const char *folder, const char *name, struct bytes **out, struct error *e)
{
    char path[PATH_MAX];
    int n = snprintf(path, sizeof path, "%s/%s", folder, name);
    if (n < 0 || (size_t)n >= sizeof path)
        return error_set(e, ERROR_FILE_ACCESS, "the path is too long");
    if (access(path, F_OK) < 0 && (errno == ENOENT || errno == ENOTDIR))
        return 0;
    return bytes_open_file(path, out, e) < 0 ? -1 : 1;
}

static int parse_bytes(struct bytes *b, json_t **out, struct error *e)
{
    const void *text;
    if (bytes_size(b) == 0)
        return error_set(e, ERROR_BAD_FORMAT, "the file is empty");
    TRY(bytes_take(b, bytes_size(b), &text, "the JSON text", e));
    return config_json_parse(text, (size_t)bytes_size(b), out, e);
}

int config_json_read_any(const char *folder, const char *name, json_t **out, struct error *e)
{
    struct bytes *b = NULL;
    *out = NULL;
    int found = open_optional(folder, name, &b, e);
    int status = found == 1 ? parse_bytes(b, out, e) : found;
    bytes_close(b);
    return status < 0 ? error_prefix(e, "%s", name) : 0;
}

int config_json_read(const char *folder, const char *name, json_t **out, struct error *e)
{
    TRY(config_json_read_any(folder, name, out, e));
    if (*out && !json_is_object(*out)) {
        json_decref(*out);
        *out = NULL;
        return error_set(e, ERROR_BAD_FORMAT, "%s: the root is not an object", name);
    }
    return 0;
}

int config_text_read(const char *folder, const char *name, struct arena *a, char **text, size_t *len,
                     struct error *e)
{
    struct bytes *b = NULL;
    const void *data = NULL;
    *text = NULL;
    int found = open_optional(folder, name, &b, e);
    int status = found == 1 ? bytes_take(b, bytes_size(b), &data, "the text", e) : found;
    if (found == 1 && status == 0) {
        *len = (size_t)bytes_size(b);
        *text = arena_copy(a, data, *len);
        if (!*text)
            status = error_no_memory(e);
    }
    bytes_close(b);
    return status < 0 ? error_prefix(e, "%s", name) : 0;
}
