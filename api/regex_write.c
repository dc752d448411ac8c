/* regex_write.c - see regex.h: trees of regular expressions, and what grammars say for them.
 * Recursion follows the groups, which are limited. */
#include <string.h>

#include "api/regex.h"
#include "engine/base/utf8.h"

static const struct regex_range every_point = {0, REGEX_LAST_POINT};

/* ---- anchors ----------------------------------------------------------------------------------- */

static bool has_anchor(const struct regex *r)
{
    if (r->kind == REGEX_START || r->kind == REGEX_END)
        return true;
    for (const struct regex *child = r->children; child; child = child->next) {
        if (has_anchor(child))
            return true;
    }
    return false;
}

static struct regex *new_regex(struct arena *arena, enum regex_kind kind)
{
    struct regex *r = arena_alloc(arena, 1, sizeof *r);
    if (r)
        r->kind = kind;
    return r;
}

int regex_of_text(const char *text, size_t len, struct arena *arena, struct regex **out)
{
    *out = NULL;
    for (size_t at = 0; at < len;) {
        struct regex *one = new_regex(arena, REGEX_CLASS);
        struct regex_range *range = one ? arena_alloc(arena, 1, sizeof *range) : NULL;
        uint32_t c;
        int n = utf8_decode(text + at, len - at, &c);
        if (!range || n <= 0)
            return -1;
        *range = (struct regex_range){c, c};
        one->ranges = range;
        one->n_ranges = 1;
        *out = one;
        out = &one->next;
        at += (size_t)n;
    }
    return 0;
}

/* Any text, then r, then any text, as far as wanted. */
static struct regex *surround(const struct regex *r, bool before, bool after, struct arena *arena)
{
    struct regex *parts[3] = {NULL};
    struct regex *sequence = new_regex(arena, REGEX_SEQUENCE);
    for (int i = 0; i < 3 && sequence; i++) {
        bool wanted = i == 1 || (i == 0 ? before : after);
        struct regex *part = wanted ? new_regex(arena, REGEX_REPEAT) : NULL, *any = NULL;
        if (wanted && i != 1) {
            any = new_regex(arena, REGEX_CLASS);
            if (!any || !part)
                return NULL;
            any->ranges = &every_point;
            any->n_ranges = 1;
            part->max = REGEX_ENDLESS;
            part->children = any;
        } else if (part) {
            *part = *r;
            part->next = NULL;
        } else if (wanted) {
            return NULL;
        }
        parts[i] = part;
    }
    if (!sequence)
        return NULL;
    struct regex **end = &sequence->children;
    for (int i = 0; i < 3; i++) {
        if (parts[i]) {
            *end = parts[i];
            end = &parts[i]->next;
        }
    }
    return sequence;
}

/* A sequence without the anchors at its ends. */
static struct regex *whole_sequence(const struct regex *r, bool searched, struct arena *arena)
{
    struct regex *body = new_regex(arena, REGEX_SEQUENCE), **end, *last_kept = NULL;
    const struct regex *child = r->children;
    bool start = false, stop = false;
    if (!body)
        return NULL;
    for (; child && child->kind == REGEX_START; child = child->next)
        start = true;
    for (end = &body->children; child && child->kind != REGEX_END; child = child->next) {
        *end = new_regex(arena, child->kind);
        if (!*end)
            return NULL;
        **end = *child;
        (*end)->next = NULL;
        last_kept = *end;
        end = &(*end)->next;
    }
    for (; child && child->kind == REGEX_END; child = child->next)
        stop = true;
    if (child)
        return NULL;
    if (!start && !stop && last_kept && body->children == last_kept)
        return regex_whole(last_kept, searched, arena);
    return has_anchor(body) ? NULL : surround(body, searched && !start, searched && !stop, arena);
}

struct regex *regex_whole(const struct regex *r, bool searched, struct arena *arena)
{
    if (r->kind == REGEX_SEQUENCE && r->children)
        return whole_sequence(r, searched, arena);
    if (r->kind != REGEX_CHOICE)
        return has_anchor(r) ? NULL : surround(r, searched, searched, arena);
    struct regex *choice = new_regex(arena, REGEX_CHOICE), **end;
    if (!choice)
        return NULL;
    end = &choice->children;
    for (const struct regex *child = r->children; child; child = child->next) {
        struct regex *one = regex_whole(child, searched, arena);
        if (!one)
            return NULL;
        *end = one;
        end = &one->next;
    }
    return choice;
}

/* ---- lengths ----------------------------------------------------------------------------------- */

static uint64_t capped(uint64_t n)
{
    return n < REGEX_ENDLESS ? n : REGEX_ENDLESS;
}

void regex_lengths(const struct regex *r, uint64_t *min, uint64_t *max)
{
    uint64_t low, high;
    *min = *max = r->kind == REGEX_CLASS;
    for (const struct regex *child = r->children; child; child = child->next) {
        regex_lengths(child, &low, &high);
        if (r->kind == REGEX_SEQUENCE) {
            *min = capped(*min + low);
            *max = capped(*max + high);
        } else if (r->kind == REGEX_REPEAT) {
            *min = capped(low * r->min);
            *max = high == 0 ? 0 : capped(high * r->max);
        } else {
            bool first = child == r->children;
            *min = first || low < *min ? low : *min;
            *max = first || high > *max ? high : *max;
        }
    }
}

/* ---- writing ----------------------------------------------------------------------------------- */

static void write_point(struct buf *out, uint32_t c)
{
    bool plain = (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
    buf_printf(out, plain ? "%c" : "\\U%08X", c);
}

/* Surrogates are no characters: a range does not end among them. */
static void write_range(struct regex_range r, struct buf *out)
{
    r.first = r.first >= 0xD800 && r.first <= 0xDFFF ? 0xE000 : r.first;
    r.last = r.last >= 0xD800 && r.last <= 0xDFFF ? 0xD7FF : r.last;
    if (r.first > r.last)
        return;
    write_point(out, r.first);
    if (r.last > r.first) {
        buf_add_text(out, "-");
        write_point(out, r.last);
    }
}

static void write_ranges(const struct regex_range *ranges, size_t n, struct buf *out)
{
    buf_add_text(out, "[");
    for (size_t i = 0; i < n; i++)
        write_range(ranges[i], out);
    buf_add_text(out, "]");
}

static bool is_plain(uint32_t c)
{
    return c >= 0x20 && c != '"' && c != '\\';
}

/* The range without what JSON escapes: up to three. */
static size_t plain_parts(struct regex_range r, struct regex_range out[3])
{
    static const struct regex_range plain[] = {
        {0x20, '"' - 1}, {'"' + 1, '\\' - 1}, {'\\' + 1, REGEX_LAST_POINT}};
    size_t n = 0;
    for (int i = 0; i < 3; i++) {
        uint32_t first = r.first > plain[i].first ? r.first : plain[i].first;
        uint32_t last = r.last < plain[i].last ? r.last : plain[i].last;
        if (first <= last)
            out[n++] = (struct regex_range){first, last};
    }
    return n;
}

/* | "\\n" and so on: a backslash in a literal of a grammar is written twice. */
static void write_escapes(const struct regex_range *ranges, size_t n, const char *separator, struct buf *out)
{
    static const char from[] = "\"\\\b\f\n\r\t", to[] = "\"\\bfnrt";
    for (size_t i = 0; i < n; i++) {
        for (uint32_t c = ranges[i].first; c <= ranges[i].last && c <= '\\'; c++) {
            if (is_plain(c))
                continue;
            const char *known = c ? strchr(from, (int)c) : NULL;
            buf_add_text(out, separator);
            if (known)
                buf_printf(out, "\"\\\\%s%c\"",
                           to[known - from] == '"' || to[known - from] == '\\' ? "\\" : "", to[known - from]);
            else
                buf_printf(out, "\"\\\\u%04x\"", c);
            separator = " | ";
        }
    }
}

void regex_write_class(const struct regex_range *ranges, size_t n, bool inside_json, struct buf *out)
{
    bool escapes = false, plain = false;
    struct regex_range parts[3];
    if (!inside_json) {
        write_ranges(ranges, n, out);
        return;
    }
    for (size_t i = 0; i < n; i++) {
        plain = plain || plain_parts(ranges[i], parts) > 0;
        escapes = escapes || ranges[i].first < 0x20 || (ranges[i].first <= '"' && ranges[i].last >= '"') ||
                  (ranges[i].first <= '\\' && ranges[i].last >= '\\');
    }
    if (escapes)
        buf_add_text(out, "(");
    if (plain)
        buf_add_text(out, "[");
    for (size_t i = 0; i < n && plain; i++) {
        size_t k = plain_parts(ranges[i], parts);
        for (size_t j = 0; j < k; j++)
            write_range(parts[j], out);
    }
    if (plain)
        buf_add_text(out, "]");
    write_escapes(ranges, n, plain ? " | " : "", out);
    if (escapes)
        buf_add_text(out, ")");
}

void regex_write(const struct regex *r, bool inside_json, struct buf *out)
{
    const char *separator = "";
    switch (r->kind) {
    case REGEX_CLASS:
        regex_write_class(r->ranges, r->n_ranges, inside_json, out);
        return;
    case REGEX_REPEAT:
        buf_add_text(out, "(");
        regex_write(r->children, inside_json, out);
        buf_printf(out, r->max == REGEX_ENDLESS ? "){%u,}" : "){%u,%u}", r->min, r->max);
        return;
    case REGEX_SEQUENCE:
    case REGEX_CHOICE:
        buf_add_text(out, r->children ? "(" : "\"\"");
        for (const struct regex *child = r->children; child; child = child->next) {
            buf_add_text(out, separator);
            regex_write(child, inside_json, out);
            separator = r->kind == REGEX_CHOICE ? " | " : " ";
        }
        buf_add_text(out, r->children ? ")" : "");
        return;
    case REGEX_START:
    case REGEX_END:
        return;
    }
}
