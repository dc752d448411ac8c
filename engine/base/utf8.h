/* utf8.h - the one UTF-8 decoder: validity, and what to do with bytes that are not UTF-8.
 * Invalid bytes are cut as the Unicode standard recommends (maximal subparts, D93b; what Python's
 * errors="replace" does): each cut becomes one U+FFFD.  Any thread. */
#ifndef LOQUAT_BASE_UTF8_H
#define LOQUAT_BASE_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/buf.h"

#define UTF8_REPLACEMENT "\xEF\xBF\xBD"

/* Looks at the first of n > 0 bytes.  > 0: a code point of that many bytes, in *code_point.
 * < 0: minus the number of bytes that can never become one.  0: all n bytes are the start of a
 * code point whose rest is missing (n < 4). */
int utf8_decode(const char *bytes, size_t n, uint32_t *code_point);

/* Offset of the first byte that is not part of valid UTF-8, or len. */
size_t utf8_valid_prefix(const char *bytes, size_t len);
bool utf8_valid(const char *bytes, size_t len);

/* Appends whole code points of bytes, U+FFFD for each cut; returns how many bytes at the end were
 * left because their rest is missing (0..3). */
size_t utf8_append_lossy(struct buf *out, const char *bytes, size_t len);

/* 1 to 4 bytes into out; code_point must be a scalar value. */
size_t utf8_encode(uint32_t code_point, char out[4]);

#endif
