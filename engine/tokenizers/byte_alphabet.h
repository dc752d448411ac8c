/* byte_alphabet.h - how GPT-2 writes bytes as printable characters (Radford et al., 2019): printable Latin-1
 * as itself, the rest as the code points from U+0100 on.  Any thread. */
#ifndef LOQUAT_TOKENIZERS_BYTE_ALPHABET_H
#define LOQUAT_TOKENIZERS_BYTE_ALPHABET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/buf.h"
#include "engine/base/utf8.h"

static inline uint32_t byte_to_code_point(unsigned byte)
{
    if ((byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE)
        return byte;
    if (byte <= 0x20)
        return 0x100 + byte;
    return byte == 0xAD ? 0x143 : 0x100 + 33 + byte - 0x7F;
}

/* The byte, or -1 for a code point that stands for none. */
static inline int code_point_to_byte(uint32_t cp)
{
    if (cp >= 0x100 && cp <= 0x120)
        return (int)cp - 0x100;
    if (cp >= 0x121 && cp <= 0x142)
        return (int)cp - 0x121 + 0x7F;
    if (cp == 0x143)
        return 0xAD;
    return cp < 0x100 && byte_to_code_point(cp) == cp ? (int)cp : -1;
}

/* Appends the bytes that a text stands for; false, with *out as it was, when a character stands for none. */
static inline bool byte_alphabet_decode(const char *text, size_t len, struct buf *out)
{
    size_t before = out->len;
    for (size_t at = 0; at < len;) {
        uint32_t cp;
        int n = utf8_decode(text + at, len - at, &cp);
        int byte = n > 0 ? code_point_to_byte(cp) : -1;
        if (byte < 0) {
            out->len = before;
            return false;
        }
        char c = (char)byte;
        buf_add(out, &c, 1);
        at += (size_t)n;
    }
    return true;
}

#endif
