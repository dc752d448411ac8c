/* sentences.c - see sentences.h. */
#include "api/sentences.h"

#include <string.h>
#include <utf8proc.h>

#include "engine/base/utf8.h"

enum { MAX_LOOK = 256 }; /* bytes to look past a place: keeps hostile runs of dots or spaces linear */

uint32_t char_at(const char *text, size_t len, size_t i, size_t *width)
{
    uint32_t c;
    int n = utf8_decode(text + i, len - i, &c);
    *width = n > 0 ? (size_t)n : 1;
    return n > 0 ? c : 0xfffd;
}

bool char_is_space(uint32_t c)
{
    if (c == ' ' || (c >= '\t' && c <= '\r') || c == 0x85)
        return true;
    if (c < 0x80)
        return false;
    utf8proc_category_t category = utf8proc_category((utf8proc_int32_t)c);
    return category >= UTF8PROC_CATEGORY_ZS && category <= UTF8PROC_CATEGORY_ZP;
}

bool char_is_unspaced(uint32_t c)
{
    static const struct {
        uint32_t first, last;
    } ranges[] = {
        {0x0e00, 0x0eff},   /* Thai, Lao */
        {0x1000, 0x109f},   /* Myanmar */
        {0x1780, 0x17ff},   /* Khmer */
        {0x2e80, 0x2fdf},   /* radicals */
        {0x3005, 0x3007},   /* ideographic marks */
        {0x3040, 0x30ff},   /* kana */
        {0x3400, 0x9fff},   /* ideographs */
        {0xf900, 0xfaff},   /* their compatibility forms */
        {0x20000, 0x3ffff}, /* their supplementary planes */
    };
    for (size_t i = 0; i < sizeof ranges / sizeof ranges[0]; i++) {
        if (c >= ranges[i].first && c <= ranges[i].last)
            return true;
    }
    return false;
}

/* ---- words ---------------------------------------------------------------------------------- */

/* Bytes up to the end of the limit-th word; *n counts those that were found. */
static size_t scan_words(const char *text, size_t len, size_t limit, size_t *n)
{
    size_t end = 0, width;
    bool inside = false;
    *n = 0;
    for (size_t i = 0; i < len; i += width) {
        uint32_t c = char_at(text, len, i, &width);
        bool single = char_is_unspaced(c);
        if (!char_is_space(c) && (single || !inside)) {
            if (*n == limit)
                return end;
            (*n)++;
        }
        inside = !single && !char_is_space(c);
        if (!char_is_space(c))
            end = i + width;
    }
    return len;
}

size_t words_count(const char *text, size_t len)
{
    size_t n;
    scan_words(text, len, SIZE_MAX, &n);
    return n;
}

size_t words_cut(const char *text, size_t len, size_t limit)
{
    size_t n;
    return scan_words(text, len, limit, &n);
}

/* ---- ends ----------------------------------------------------------------------------------- */

/* Full stops, question and exclamation marks that need white space behind them to end a sentence. */
static bool is_stop(uint32_t c)
{
    return c == '.' || c == '!' || c == '?' || c == 0x2026 || c == 0x203c || (c >= 0x2047 && c <= 0x2049) ||
           c == 0x061f || c == 0x06d4 || c == 0x0964 || c == 0x0965 || c == 0x1362 || c == 0x1367 ||
           c == 0x104a || c == 0x104b || c == 0x17d4 || c == 0x17d5;
}

/* Those of scripts that write none. */
static bool is_wide_stop(uint32_t c)
{
    return c == 0x3002 || c == 0xff01 || c == 0xff0e || c == 0xff1f || c == 0xff61;
}

static bool is_closing(uint32_t c)
{
    if (c == '"' || c == '\'' || c == ')' || c == ']')
        return true;
    utf8proc_category_t category = utf8proc_category((utf8proc_int32_t)c);
    return c >= 0x80 && (category == UTF8PROC_CATEGORY_PE || category == UTF8PROC_CATEGORY_PF ||
                         category == UTF8PROC_CATEGORY_MN);
}

static utf8proc_category_t category_at(const char *text, size_t len, size_t i)
{
    size_t width;
    return i < len ? utf8proc_category((utf8proc_int32_t)char_at(text, len, i, &width))
                   : UTF8PROC_CATEGORY_CN;
}

/* "Dr.", "St.", "J.": an upper-case letter and at most one more before the full stop at `stop`. */
static bool is_abbreviation(const char *text, size_t len, size_t stop)
{
    size_t i = stop, letters = 0;
    while (i > 0 && stop - i < 16) {
        size_t before = i - 1;
        while (before > 0 && ((unsigned char)text[before] & 0xc0) == 0x80)
            before--;
        utf8proc_category_t category = category_at(text, len, before);
        if (category < UTF8PROC_CATEGORY_LU || category > UTF8PROC_CATEGORY_LO)
            break;
        i = before;
        letters++;
    }
    return letters >= 1 && letters <= 2 && category_at(text, len, i) == UTF8PROC_CATEGORY_LU;
}

static size_t skip_spaces(const char *text, size_t len, size_t i)
{
    size_t width;
    while (i < len && char_is_space(char_at(text, len, i, &width)))
        i += width;
    return i;
}

/* A line that begins at i with "- ", "* ", "• ", "3. ", "3) " is an item of a list. */
static bool is_item(const char *text, size_t len, size_t i)
{
    size_t width, digits = 0;
    while (i < len && (text[i] == ' ' || text[i] == '\t'))
        i++;
    while (i < len && text[i] >= '0' && text[i] <= '9' && digits < 4) {
        i++;
        digits++;
    }
    if (i >= len)
        return false;
    uint32_t c = char_at(text, len, i, &width);
    bool mark = digits ? c == '.' || c == ')' : c == '-' || c == '*' || c == 0x2022 || c == 0x2013;
    return mark && i + width < len && (text[i + width] == ' ' || text[i + width] == '\t');
}

/* Whether the line end at i ends a sentence: before a blank line or an item, or any of them. */
static bool line_ends(const char *text, size_t len, size_t i, bool lines)
{
    size_t next = i + 1;
    if (lines || is_item(text, len, next))
        return true;
    while (next < len && (text[next] == ' ' || text[next] == '\t' || text[next] == '\r'))
        next++;
    return next < len && text[next] == '\n';
}

/* After the stop at i: past more stops and closing quotes. */
static size_t skip_closing(const char *text, size_t len, size_t i)
{
    size_t width, from = i;
    while (i < len && i - from < MAX_LOOK) {
        uint32_t c = char_at(text, len, i, &width);
        if (!is_stop(c) && !is_wide_stop(c) && !is_closing(c))
            break;
        i += width;
    }
    return i;
}

/* The byte after the sentence that the stop at i ends, or 0. */
static size_t stop_ends(const char *text, size_t len, size_t i, uint32_t c, size_t width)
{
    if (!is_stop(c) && !is_wide_stop(c))
        return 0;
    size_t end = skip_closing(text, len, i + width);
    if (is_wide_stop(c) || end == len)
        return end;
    size_t space;
    if (!char_is_space(char_at(text, len, end, &space)))
        return 0;
    if (c != '.')
        return end;
    size_t next = skip_spaces(text, len, end);
    if (end == i + width && is_abbreviation(text, len, i))
        return 0;
    return category_at(text, len, next) == UTF8PROC_CATEGORY_LL ? 0 : end;
}

/* ---- sentences ------------------------------------------------------------------------------ */

static size_t count_chars(const char *text, size_t from, size_t to)
{
    size_t n = 0;
    for (size_t i = from; i < to; i++)
        n += ((unsigned char)text[i] & 0xc0) != 0x80;
    return n;
}

/* Where the sentence that begins at `start` ends. */
static size_t find_end(const char *text, size_t len, size_t start, bool lines)
{
    size_t width, space = 0;
    for (size_t i = start; i < len; i += width) {
        uint32_t c = char_at(text, len, i, &width);
        size_t end = c == '\n' ? (line_ends(text, len, i, lines) ? i : 0) : stop_ends(text, len, i, c, width);
        if (end)
            return end;
        if (char_is_space(c))
            space = i;
        if (i - start >= SENTENCE_MAX_BYTES)
            return space ? space : i;
    }
    return len;
}

size_t sentence_next(const char *text, size_t len, size_t from, bool lines, size_t *chars,
                     struct sentence *out)
{
    size_t start = skip_spaces(text, len, from);
    if (start >= len)
        return 0;
    size_t next = find_end(text, len, start, lines), end = next;
    out->start = start;
    out->chars = *chars + count_chars(text, from, start);
    for (size_t i = start, width; i < next; i += width) {
        if (!char_is_space(char_at(text, len, i, &width)))
            end = i + width;
    }
    out->end = end;
    out->n_chars = count_chars(text, start, end);
    *chars = out->chars + count_chars(text, start, next);
    return next;
}

int sentences_split(const char *text, size_t len, struct arena *arena, struct sentence **out, size_t *n,
                    struct error *e)
{
    struct sentence s;
    size_t chars = 0, count = 0;
    for (size_t i = 0; (i = sentence_next(text, len, i, false, &chars, &s)) != 0;)
        count++;
    *out = arena_alloc(arena, count + 1, sizeof **out);
    if (!*out)
        return error_no_memory(e);
    *n = count;
    chars = 0;
    for (size_t i = 0, at = 0; i < count; i++)
        at = sentence_next(text, len, at, false, &chars, &(*out)[i]);
    return 0;
}

/* ---- borders -------------------------------------------------------------------------------- */

/* White space before `at`: how many line ends, and where it begins. */
static size_t spaces_before(const char *text, size_t len, size_t at, size_t *line_ends_seen)
{
    size_t from = at;
    *line_ends_seen = 0;
    while (at > 0 && from - at < MAX_LOOK) {
        size_t before = at - 1, width;
        while (before > 0 && ((unsigned char)text[before] & 0xc0) == 0x80)
            before--;
        uint32_t c = char_at(text, len, before, &width);
        if (!char_is_space(c))
            break;
        *line_ends_seen += c == '\n';
        at = before;
    }
    return at;
}

bool sentence_is_ended(const char *text, size_t len, size_t end)
{
    for (int back = 0; end > 0 && back < 4; back++) {
        size_t width;
        do {
            end--;
        } while (end > 0 && ((unsigned char)text[end] & 0xc0) == 0x80);
        uint32_t c = char_at(text, len, end, &width);
        if (is_stop(c) || is_wide_stop(c))
            return !(c == '.' && back == 0 && is_abbreviation(text, len, end));
        if (!is_closing(c))
            return false;
    }
    return false;
}

/* Tokens carry their space in front, so the cut is good before and after white space alike. */
enum border border_at(const char *text, size_t len, size_t at)
{
    size_t width, lines_before, width_before;
    if (at == 0 || at >= len)
        return BORDER_PARAGRAPH;
    if (((unsigned char)text[at] & 0xc0) == 0x80)
        return BORDER_NONE;
    size_t next = skip_spaces(text, len - at > MAX_LOOK ? at + MAX_LOOK : len, at);
    size_t end = spaces_before(text, len, at, &lines_before);
    for (size_t i = at; i < next; i++)
        lines_before += text[i] == '\n';
    if (lines_before >= 2)
        return BORDER_PARAGRAPH;
    uint32_t c = char_at(text, len, at, &width);
    if (end == at && next == at) {
        size_t before = at - 1;
        while (before > 0 && ((unsigned char)text[before] & 0xc0) == 0x80)
            before--;
        if (is_wide_stop(char_at(text, len, before, &width_before)) && !is_closing(c))
            return BORDER_SENTENCE;
        return BORDER_CHAR;
    }
    if (lines_before && is_item(text, len, next))
        return BORDER_SENTENCE;
    return sentence_is_ended(text, len, end) ? BORDER_SENTENCE : BORDER_WORD;
}
