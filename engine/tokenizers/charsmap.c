/* charsmap.c - see charsmap.h.  Called by sp_normalizer.c and by the "Precompiled" normaliser.
 * A unit of the double array: bits 0-7 the byte that leads to it, bit 8 "a rule ends here",
 * bits 10-30 where its children lie (times 256 when bit 9 is set), bit 31 "this is a rule's value". */
#include "engine/tokenizers/charsmap.h"

#include <inttypes.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include "engine/base/utf8.h"

enum {
    MAX_RULE_BYTES = 64,         /* of a rule's left side: bounds a walk in a map that leads in circles */
    MAX_REPLACEMENT_BYTES = 256, /* of its right side: Unicode's longest compatibility mapping has 33 */
    WHOLE_GRAPHEME_BYTES = 6     /* graphemes under this are looked up whole */
};

struct charsmap {
    uint32_t *units; /* (n_units) */
    size_t n_units;
    char *replacements; /* each ends with a zero byte */
    size_t replacements_len;
};

static uint32_t child_offset(uint32_t unit)
{
    return (unit >> 10) << ((unit & (1u << 9)) >> 6);
}

static uint32_t read_u32(const unsigned char *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static int check_replacements(const struct charsmap *m, struct error *e)
{
    size_t valid = utf8_valid_prefix(m->replacements, m->replacements_len);
    if (valid < m->replacements_len)
        return error_set(e, ERROR_BAD_FORMAT, "the character map's replacements are not UTF-8 at byte %zu",
                         valid);
    for (size_t at = 0; at < m->replacements_len;) {
        const char *end = memchr(m->replacements + at, 0, m->replacements_len - at);
        if (!end)
            return error_set(e, ERROR_BAD_FORMAT, "the character map's last replacement has no end");
        size_t n = (size_t)(end - m->replacements) - at;
        if (n > MAX_REPLACEMENT_BYTES)
            return error_set(e, ERROR_BAD_FORMAT,
                             "the character map has a replacement of %zu bytes; at most %d are accepted", n,
                             MAX_REPLACEMENT_BYTES);
        at += n + 1;
    }
    return 0;
}

int charsmap_create(const void *data, size_t len, struct charsmap **out, struct error *e)
{
    const unsigned char *bytes = data;
    uint32_t trie_bytes = len >= 4 ? read_u32(bytes) : 0;
    if (len < 4 || trie_bytes == 0 || trie_bytes % 4 != 0 || trie_bytes > len - 4)
        return error_set(e, ERROR_BAD_FORMAT,
                         "the character map claims a trie of %" PRIu32 " bytes in a map of %zu", trie_bytes,
                         len);
    struct charsmap *m = calloc(1, sizeof *m);
    if (!m)
        return error_no_memory(e);
    m->n_units = trie_bytes / 4;
    m->replacements_len = len - 4 - trie_bytes;
    m->units = calloc(m->n_units, sizeof *m->units);
    m->replacements = calloc(m->replacements_len + 1, 1);
    if (!m->units || !m->replacements) {
        charsmap_free(m);
        return error_no_memory(e);
    }
    for (size_t i = 0; i < m->n_units; i++)
        m->units[i] = read_u32(bytes + 4 + 4 * i);
    memcpy(m->replacements, bytes + 4 + trie_bytes, m->replacements_len);
    if (check_replacements(m, e) < 0) {
        charsmap_free(m);
        return -1;
    }
    *out = m;
    return 0;
}

void charsmap_free(struct charsmap *m)
{
    if (!m)
        return;
    free(m->units);
    free(m->replacements);
    free(m);
}

static bool continues_character(char byte)
{
    return ((unsigned char)byte & 0xC0) == 0x80;
}

/* The replacement at a place that a unit names, unless it lies outside or within a character. */
static bool replacement_at(const struct charsmap *m, uint32_t at, struct charsmap_match *out)
{
    if (at >= m->replacements_len || continues_character(m->replacements[at]))
        return false;
    out->text = m->replacements + at;
    out->len = strlen(out->text);
    return true;
}

/* The rules that text starts with, shortest first, until `first` is satisfied or the map ends. */
static struct charsmap_match find_rule(const struct charsmap *m, const char *text, size_t len, bool first)
{
    struct charsmap_match found = {0, NULL, 0};
    size_t limit = len < MAX_RULE_BYTES ? len : MAX_RULE_BYTES;
    uint32_t node = child_offset(m->units[0]);
    for (size_t i = 0; i < limit && text[i] != '\0'; i++) {
        unsigned char byte = (unsigned char)text[i];
        node ^= byte;
        if (node >= m->n_units || (m->units[node] & (1u << 31 | 0xFF)) != byte)
            break;
        uint32_t unit = m->units[node];
        node ^= child_offset(unit);
        if (node >= m->n_units)
            break;
        bool ends = (unit >> 8 & 1) != 0 && (i + 1 == len || !continues_character(text[i + 1]));
        if (ends && replacement_at(m, m->units[node] & ~(1u << 31), &found)) {
            found.matched = i + 1;
            if (first)
                break;
        }
    }
    return found;
}

struct charsmap_match charsmap_longest(const struct charsmap *m, const char *text, size_t len)
{
    if (!m)
        return (struct charsmap_match){0, NULL, 0};
    return find_rule(m, text, len, false);
}

/* Each character by itself. */
static int normalize_characters(const struct charsmap *m, const char *text, size_t start, size_t end,
                                charsmap_put put, void *sink, struct error *e)
{
    for (size_t at = start; at < end;) {
        uint32_t code_point;
        int n = utf8_decode(text + at, end - at, &code_point);
        size_t next = at + (n > 0 ? (size_t)n : 1);
        struct charsmap_match found = find_rule(m, text + at, next - at, true);
        if (found.matched > 0)
            TRY(put(sink, at, next, found.text, found.len, e));
        else
            TRY(put(sink, at, next, text + at, next - at, e));
        at = next;
    }
    return 0;
}

static int normalize_grapheme(const struct charsmap *m, const char *text, size_t start, size_t end,
                              charsmap_put put, void *sink, struct error *e)
{
    if (end - start < WHOLE_GRAPHEME_BYTES) {
        struct charsmap_match found = find_rule(m, text + start, end - start, true);
        if (found.matched > 0)
            return put(sink, start, end, found.text, found.len, e);
    }
    return normalize_characters(m, text, start, end, put, sink, e);
}

int charsmap_normalize(const struct charsmap *m, const char *text, size_t len, charsmap_put put, void *sink,
                       struct error *e)
{
    utf8proc_int32_t before = -1, state = 0;
    size_t start = 0;
    for (size_t at = 0; at < len;) {
        uint32_t code_point = 0;
        int n = utf8_decode(text + at, len - at, &code_point);
        if (before >= 0 && utf8proc_grapheme_break_stateful(before, (utf8proc_int32_t)code_point, &state)) {
            TRY(normalize_grapheme(m, text, start, at, put, sink, e));
            start = at;
        }
        before = (utf8proc_int32_t)code_point;
        at += n > 0 ? (size_t)n : 1;
    }
    return start < len ? normalize_grapheme(m, text, start, len, put, sink, e) : 0;
}
