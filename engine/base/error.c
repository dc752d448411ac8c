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

static void set_text(struct error *e, enum error_kind kind, const char *format, va_list args)
{
    e->kind = kind;
    vsnprintf(e->text, sizeof e->text, format, args);
    make_one_line(e->text);
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
    make_one_line(e->param);
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
    va_list args;
    va_start(args, format);
    int used = vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (used >= 0 && (size_t)used < sizeof text)
        snprintf(text + used, sizeof text - (size_t)used, ": %s", e->text);
    memcpy(e->text, text, sizeof text);
    make_one_line(e->text);
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
