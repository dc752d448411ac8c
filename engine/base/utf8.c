/* utf8.c - see utf8.h. */
#include "engine/base/utf8.h"

/* How many bytes follow a lead byte, and the range of the first of them, which alone keeps out
 * overlong forms, surrogates and values above U+10FFFF (Unicode, table 3-7). */
struct lead {
    unsigned trail;
    unsigned char low, high;
};

static struct lead lead_of(unsigned char c)
{
    if (c >= 0xC2 && c <= 0xDF)
        return (struct lead){1, 0x80, 0xBF};
    if (c >= 0xE0 && c <= 0xEF)
        return (struct lead){2, c == 0xE0 ? 0xA0 : 0x80, c == 0xED ? 0x9F : 0xBF};
    if (c >= 0xF0 && c <= 0xF4)
        return (struct lead){3, c == 0xF0 ? 0x90 : 0x80, c == 0xF4 ? 0x8F : 0xBF};
    return (struct lead){0, 0, 0};
}

int utf8_decode(const char *bytes, size_t n, uint32_t *code_point)
{
    unsigned char c = (unsigned char)bytes[0];
    if (c < 0x80) {
        *code_point = c;
        return 1;
    }
    struct lead lead = lead_of(c);
    if (lead.trail == 0)
        return -1;
    uint32_t value = c & (0x3Fu >> lead.trail);
    for (unsigned i = 1; i <= lead.trail; i++) {
        if (i >= n)
            return 0;
        unsigned char t = (unsigned char)bytes[i];
        if (t < (i == 1 ? lead.low : 0x80) || t > (i == 1 ? lead.high : 0xBF))
            return -(int)i;
        value = value << 6 | (t & 0x3Fu);
    }
    *code_point = value;
    return (int)lead.trail + 1;
}

size_t utf8_valid_prefix(const char *bytes, size_t len)
{
    size_t at = 0;
    while (at < len) {
        uint32_t cp;
        int n = utf8_decode(bytes + at, len - at, &cp);
        if (n <= 0)
            break;
        at += (size_t)n;
    }
    return at;
}

bool utf8_valid(const char *bytes, size_t len)
{
    return utf8_valid_prefix(bytes, len) == len;
}

size_t utf8_append_lossy(struct buf *out, const char *bytes, size_t len)
{
    size_t at = 0;
    while (at < len) {
        size_t good = utf8_valid_prefix(bytes + at, len - at);
        buf_add(out, bytes + at, good);
        at += good;
        if (at == len)
            break;
        uint32_t cp;
        int n = utf8_decode(bytes + at, len - at, &cp);
        if (n == 0)
            return len - at;
        buf_add_text(out, UTF8_REPLACEMENT);
        at += (size_t)-n;
    }
    return 0;
}

size_t utf8_encode(uint32_t cp, char out[4])
{
    if (cp < 0x80) {
        out[0] = (char)cp;
        return 1;
    }
    if (cp < 0x800) {
        out[0] = (char)(0xC0 | cp >> 6);
        out[1] = (char)(0x80 | (cp & 0x3F));
        return 2;
    }
    if (cp < 0x10000) {
        out[0] = (char)(0xE0 | cp >> 12);
        out[1] = (char)(0x80 | (cp >> 6 & 0x3F));
        out[2] = (char)(0x80 | (cp & 0x3F));
        return 3;
    }
    out[0] = (char)(0xF0 | cp >> 18);
    out[1] = (char)(0x80 | (cp >> 12 & 0x3F));
    out[2] = (char)(0x80 | (cp >> 6 & 0x3F));
    out[3] = (char)(0x80 | (cp & 0x3F));
    return 4;
}
