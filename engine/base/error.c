/* error.c - see error.h.  The table is error.def; nothing here names a kind. */
#include "engine/base/error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

struct error_row {
    int status;
    const char *type;
    const char *code;
    const char *label;
};

static const struct error_row rows[ERROR_KINDS] = {
#define ERROR_KIND(name, status, type, code, label) {status, type, code, label},
#include "engine/base/error.def"
#undef ERROR_KIND
};

void error_clear(struct error *e)
{
    memset(e, 0, sizeof *e);
}

/* Control characters would let a stranger's bytes break a log line or a terminal. */
static void make_one_line(char *text)
{
    for (; *text; text++) {
        if ((unsigned char)*text < 0x20 || *text == 0x7f)
            *text = ' ';
    }
}

/* A text that was cut at the end of its room may end in half a character. */
static void drop_half_character(char *text, size_t size)
{
    size_t len = strlen(text), start = len;
    if (len + 1 < size)
        return;
    while (start > 0 && ((unsigned char)text[start - 1] & 0xc0) == 0x80)
        start--;
    if (start > 0 && (unsigned char)text[start - 1] >= 0xc0)
        text[start - 1] = 0;
}

static void tidy(char *text, size_t size)
{
    drop_half_character(text, size);
    make_one_line(text);
}

__attribute__((format(printf, 3, 0))) static void set_text(struct error *e, enum error_kind kind,
                                                           const char *format, va_list args)
{
    e->kind = kind;
    vsnprintf(e->text, sizeof e->text, format, args);
    tidy(e->text, sizeof e->text);
}

int error_set(struct error *e, enum error_kind kind, const char *format, ...)
{
    if (!e || e->kind != ERROR_NONE)
        return -1;
    va_list args;
    va_start(args, format);
    set_text(e, kind, format, args);
    va_end(args);
    return -1;
}

int error_at(struct error *e, enum error_kind kind, uint64_t offset, const char *format, ...)
{
    if (!e || e->kind != ERROR_NONE)
        return -1;
    va_list args;
    va_start(args, format);
    set_text(e, kind, format, args);
    va_end(args);
    e->offset = offset;
    size_t used = strlen(e->text);
    snprintf(e->text + used, sizeof e->text - used, " (at byte %llu)", (unsigned long long)offset);
    return -1;
}

int error_param(struct error *e, enum error_kind kind, const char *param, const char *format, ...)
{
    if (!e || e->kind != ERROR_NONE)
        return -1;
    va_list args;
    va_start(args, format);
    set_text(e, kind, format, args);
    va_end(args);
    snprintf(e->param, sizeof e->param, "%s", param);
    tidy(e->param, sizeof e->param);
    return -1;
}

int error_no_memory(struct error *e)
{
    return error_set(e, ERROR_OUT_OF_MEMORY, "out of memory");
}

int error_prefix(struct error *e, const char *format, ...)
{
    if (!e)
        return -1;
    char text[sizeof e->text];
    memcpy(text, e->text, sizeof text);
    va_list args;
    va_start(args, format);
    vsnprintf(e->text, sizeof e->text, format, args);
    va_end(args);
    size_t used = strlen(e->text), room = sizeof e->text - used - 1, colon = room < 2 ? room : 2;
    memcpy(e->text + used, ": ", colon);
    used += colon;
    room -= colon;
    size_t len = strlen(text);
    len = len < room ? len : room;
    memcpy(e->text + used, text, len);
    e->text[used + len] = 0;
    tidy(e->text, sizeof e->text);
    return -1;
}

int error_http_status(enum error_kind kind)
{
    return rows[kind].status ? rows[kind].status : 500;
}

const char *error_type(enum error_kind kind)
{
    return rows[kind].type;
}

const char *error_code(enum error_kind kind)
{
    return rows[kind].code;
}

const char *error_label(enum error_kind kind)
{
    return rows[kind].label;
}
