/* error.h - the caller-owned error record that travels from a byte of a file to an HTTP body.
 * The first error wins: a later error_set() on the same record changes nothing, so the place
 * nearest the cause is what people read.  Thread: whoever owns the record. */
#ifndef LOQUAT_BASE_ERROR_H
#define LOQUAT_BASE_ERROR_H

#include <stdint.h>

enum error_kind {
#define ERROR_KIND(name, status, type, code, label) ERROR_##name,
#include "engine/base/error.def"
#undef ERROR_KIND
    ERROR_KINDS
};

struct error {
    enum error_kind kind;
    uint64_t offset; /* byte offset in a file, when the error is about a place in one */
    char param[64];  /* the request field or option at fault, or empty */
    char text[512];  /* one line, UTF-8, no newline */
};

/* Expression-statement for functions that return 0 or a negative value. */
#define TRY(call)                                                                                            \
    do {                                                                                                     \
        if ((call) < 0)                                                                                      \
            return -1;                                                                                       \
    } while (0)

/* No error yet; what a struct error must be before it is passed on. */
void error_clear(struct error *e);

/* Each returns -1, so that `return error_set(...)` reads as what it is.  e may be NULL. */
int error_set(struct error *e, enum error_kind kind, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
int error_at(struct error *e, enum error_kind kind, uint64_t offset, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
int error_param(struct error *e, enum error_kind kind, const char *param, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
int error_no_memory(struct error *e);

/* Puts "CONTEXT: " before the text, for the file or model that it was about. Returns -1. */
int error_prefix(struct error *e, const char *format, ...) __attribute__((format(printf, 2, 3)));

int error_http_status(enum error_kind kind);
const char *error_type(enum error_kind kind);
const char *error_code(enum error_kind kind); /* NULL where the wire says null */
const char *error_label(enum error_kind kind);

#endif
