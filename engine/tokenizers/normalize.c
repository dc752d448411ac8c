/* normalize.c - see normalize.h.
 * To add a normaliser: one run function, one parse function and one row in rows[]. */
#include "engine/tokenizers/normalize.h"

#include <stdlib.h>
#include <string.h>

#include "engine/base/utf8.h"
#include "engine/tokenizers/byte_alphabet.h"
#include "engine/tokenizers/charsmap.h"
#include "engine/tokenizers/part.h"
#include "engine/tokenizers/unicode.h"

struct step {
    /* 0: *out written; 1: nothing changes; -1: error. */
    int (*run)(const struct step *s, const struct normalized *in, struct normalized *out, struct error *e);
    bool (*keep)(uint32_t code_point);
    uint32_t (*map)(uint32_t code_point);
    bool compatible, compose, left, right;
    struct part_pattern pattern;
    struct part_text text;
    struct charsmap *charsmap;
};

struct normalizer {
    size_t n;
    struct step steps[MAX_PIPELINE_STEPS];
};

static int run_form(const struct step *s, const struct normalized *in, struct normalized *out,
                    struct error *e)
{
    return unicode_normal_form(in, s->compatible, s->compose, out, e);
}

static int run_lowercase(const struct step *s, const struct normalized *in, struct normalized *out,
                         struct error *e)
{
    (void)s;
    (void)e;
    struct rewrite r;
    rewrite_begin(&r, in, 0, in->len, 0, out);
    for (size_t at = 0, size; at < in->len; at += size) {
        uint32_t lower[2];
        unsigned n = unicode_lower(normalized_code_point(in, at, &size), lower);
        for (unsigned i = 0; i < n; i++)
            rewrite_put(&r, lower[i], i > 0);
    }
    return 0;
}

static int run_map(const struct step *s, const struct normalized *in, struct normalized *out, struct error *e)
{
    (void)e;
    struct rewrite r;
    rewrite_begin(&r, in, 0, in->len, 0, out);
    for (size_t at = 0, size; at < in->len; at += size)
        rewrite_put(&r, s->map(normalized_code_point(in, at, &size)), 0);
    return 0;
}

/* A character that stays is written when it is known how many behind it go. */
static int run_filter(const struct step *s, const struct normalized *in, struct normalized *out,
                      struct error *e)
{
    (void)e;
    struct rewrite r;
    uint32_t held = 0;
    bool holds = false;
    size_t gone = 0, all_gone = 0;
    for (size_t at = 0, size; at < in->len; at += size) {
        uint32_t c = normalized_code_point(in, at, &size);
        if (!s->keep(c)) {
            gone++;
            all_gone++;
            continue;
        }
        if (holds)
            rewrite_put(&r, held, -(int)gone);
        else
            rewrite_begin(&r, in, 0, in->len, gone, out);
        held = c;
        holds = true;
        gone = 0;
    }
    if (holds)
        rewrite_put(&r, held, -(int)gone);
    if (all_gone > 0)
        return 0;
    out->len = 0;
    return 1;
}

static int run_strip(const struct step *s, const struct normalized *in, struct normalized *out,
                     struct error *e)
{
    (void)e;
    size_t start = 0, end = in->len, size;
    while (s->left && start < end && unicode_is_space(normalized_code_point(in, start, &size)))
        start += size;
    while (s->right && end > start) {
        size_t at = end - 1;
        while (at > start && ((unsigned char)in->text[at] & 0xC0) == 0x80)
            at--;
        if (!unicode_is_space(normalized_code_point(in, at, &size)))
            break;
        end = at;
    }
    if (start == 0 && end == in->len)
        return 1;
    normalized_copy(out, in, start, end);
    return 0;
}

/* What is put in has the place of the last character that goes. */
static int run_replace(const struct step *s, const struct normalized *in, struct normalized *out,
                       struct error *e)
{
    struct pattern_run run;
    size_t at = 0, start, end;
    bool changed = false;
    TRY(pattern_run_begin(&run, &s->pattern, in->len, e));
    int found;
    while ((found = pattern_next(&run, in->text, in->len, at, &start, &end, e)) > 0 && !out->too_long) {
        struct span32 span = {(uint32_t)in->base, (uint32_t)in->base};
        if (end > 0)
            span = normalized_span(in, end - 1);
        normalized_copy(out, in, at, start);
        normalized_add(out, s->text.text, s->text.len, span);
        changed = true;
        at = end;
    }
    pattern_run_end(&run);
    if (found < 0)
        return -1;
    if (!changed)
        return 1;
    normalized_copy(out, in, at, in->len);
    return 0;
}

static int run_prepend(const struct step *s, const struct normalized *in, struct normalized *out,
                       struct error *e)
{
    (void)e;
    if (in->len == 0 || s->text.len == 0)
        return 1;
    normalized_add(out, s->text.text, s->text.len, normalized_span(in, 0));
    normalized_copy(out, in, 0, in->len);
    return 0;
}

static bool is_chinese(uint32_t c)
{
    return (c >= 0x4E00 && c <= 0x9FFF) || (c >= 0x3400 && c <= 0x4DBF) || (c >= 0x20000 && c <= 0x2A6DF) ||
           (c >= 0x2A700 && c <= 0x2B73F) || (c >= 0x2B740 && c <= 0x2B81F) ||
           (c >= 0x2B920 && c <= 0x2CEAF) || (c >= 0xF900 && c <= 0xFAFF) || (c >= 0x2F800 && c <= 0x2FA1F);
}

static int run_chinese(const struct step *s, const struct normalized *in, struct normalized *out,
                       struct error *e)
{
    (void)s;
    (void)e;
    size_t copied = 0;
    for (size_t at = 0, size; at < in->len; at += size) {
        if (!is_chinese(normalized_code_point(in, at, &size)))
            continue;
        struct span32 span = normalized_span(in, at);
        normalized_copy(out, in, copied, at);
        normalized_add(out, " ", 1, span);
        normalized_add(out, in->text + at, size, span);
        normalized_add(out, " ", 1, span);
        copied = at + size;
    }
    if (copied == 0)
        return 1;
    normalized_copy(out, in, copied, in->len);
    return 0;
}

/* The library's account of a replacement lets a removed character fall on whatever was written last, so one
 * character is held until the next is known. */
struct charsmap_sink {
    struct rewrite rewrite;
    const struct normalized *in;
    uint32_t held;
    int change;
    bool holds, changed;
};

static void hold(struct charsmap_sink *k, uint32_t code_point, int change)
{
    if (k->holds)
        rewrite_put(&k->rewrite, k->held, k->change);
    k->held = code_point;
    k->change = change;
    k->holds = true;
}

static size_t count_characters(const char *text, size_t len)
{
    size_t n = 0;
    for (size_t i = 0; i < len; i++)
        n += ((unsigned char)text[i] & 0xC0) != 0x80;
    return n;
}

static int put_mapped(void *sink, size_t start, size_t end, const char *text, size_t len, struct error *e)
{
    (void)e;
    struct charsmap_sink *k = sink;
    size_t old = count_characters(k->in->text + start, end - start), i = 0;
    k->changed = k->changed || text != k->in->text + start;
    for (size_t at = 0; at < len; i++) {
        uint32_t c;
        int n = utf8_decode(text + at, len - at, &c);
        hold(k, c, i >= old);
        at += n > 0 ? (size_t)n : 1;
    }
    if (i < old)
        k->change -= (int)(old - i);
    return 0;
}

static int run_charsmap(const struct step *s, const struct normalized *in, struct normalized *out,
                        struct error *e)
{
    struct charsmap_sink k = {.in = in};
    rewrite_begin(&k.rewrite, in, 0, in->len, 0, out);
    TRY(charsmap_normalize(s->charsmap, in->text, in->len, put_mapped, &k, e));
    if (!k.changed) {
        out->len = 0;
        return 1;
    }
    if (k.holds)
        rewrite_put(&k.rewrite, k.held, k.change);
    return 0;
}

void normalized_add_bytes(struct normalized *n, const struct normalized *from, size_t start, size_t end)
{
    for (size_t at = start; at < end; at++) {
        char bytes[4];
        size_t len = utf8_encode(byte_to_code_point((unsigned char)from->text[at]), bytes);
        normalized_add(n, bytes, len, normalized_span(from, at));
    }
}

static int run_bytes(const struct step *s, const struct normalized *in, struct normalized *out,
                     struct error *e)
{
    (void)s;
    (void)e;
    normalized_add_bytes(out, in, 0, in->len);
    return 0;
}

static bool keep_unless_mark(uint32_t c)
{
    return !unicode_is_mark(c);
}

static bool keep_unless_nonspacing(uint32_t c)
{
    return !unicode_is_nonspacing_mark(c);
}

static bool keep_clean(uint32_t c)
{
    return c == '\t' || c == '\n' || c == '\r' || !(c == 0 || c == 0xFFFD || unicode_is_other(c));
}

static uint32_t map_space(uint32_t c)
{
    return unicode_is_space(c) ? ' ' : c;
}

static bool keep_nmt(uint32_t c)
{
    return !((c >= 0x01 && c <= 0x08) || c == 0x0B || (c >= 0x0E && c <= 0x1F) || c == 0x7F || c == 0x8F ||
             c == 0x9F);
}

static uint32_t map_nmt(uint32_t c)
{
    bool space = c == 0x09 || c == 0x0A || c == 0x0C || c == 0x0D || c == 0x1680 ||
                 (c >= 0x200B && c <= 0x200F) || c == 0x2028 || c == 0x2029 || c == 0x2581 || c == 0xFEFF ||
                 c == 0xFFFD;
    return space ? ' ' : c;
}

/* ---- reading ---------------------------------------------------------------------------------- */

static struct step *add_step(struct normalizer *n, struct error *e)
{
    if (n->n == MAX_PIPELINE_STEPS) {
        error_set(e, ERROR_UNSUPPORTED, "the tokenizer's normalizer has more than %d steps",
                  MAX_PIPELINE_STEPS);
        return NULL;
    }
    return &n->steps[n->n++];
}

static int add_simple(struct normalizer *n, struct step step, struct error *e)
{
    struct step *s = add_step(n, e);
    if (!s)
        return -1;
    *s = step;
    return 0;
}

static int read_part(struct normalizer *n, const json_t *json, struct error *e);

static int read_sequence(struct normalizer *n, const json_t *json, struct error *e)
{
    const json_t *list, *part;
    size_t i;
    TRY(part_array(json, "normalizers", &list, e));
    json_array_foreach(list, i, part) TRY(read_part(n, part, e));
    return 0;
}

static int read_nfc(struct normalizer *n, const json_t *json, struct error *e)
{
    (void)json;
    return add_simple(n, (struct step){.run = run_form, .compose = true}, e);
}

static int read_nfd(struct normalizer *n, const json_t *json, struct error *e)
{
    (void)json;
    return add_simple(n, (struct step){.run = run_form}, e);
}

static int read_nfkc(struct normalizer *n, const json_t *json, struct error *e)
{
    (void)json;
    return add_simple(n, (struct step){.run = run_form, .compose = true, .compatible = true}, e);
}

static int read_nfkd(struct normalizer *n, const json_t *json, struct error *e)
{
    (void)json;
    return add_simple(n, (struct step){.run = run_form, .compatible = true}, e);
}

static int read_lowercase(struct normalizer *n, const json_t *json, struct error *e)
{
    (void)json;
    return add_simple(n, (struct step){.run = run_lowercase}, e);
}

static int read_strip(struct normalizer *n, const json_t *json, struct error *e)
{
    struct step s = {.run = run_strip, .left = true, .right = true};
    TRY(part_bool(json, "strip_left", &s.left, e));
    TRY(part_bool(json, "strip_right", &s.right, e));
    return add_simple(n, s, e);
}

static int read_strip_accents(struct normalizer *n, const json_t *json, struct error *e)
{
    (void)json;
    return add_simple(n, (struct step){.run = run_filter, .keep = keep_unless_mark}, e);
}

static int read_replace(struct normalizer *n, const json_t *json, struct error *e)
{
    struct step *s = add_step(n, e);
    if (!s)
        return -1;
    s->run = run_replace;
    TRY(part_pattern(json, &s->pattern, e));
    return part_text(json, "content", &s->text, e);
}

static int read_prepend(struct normalizer *n, const json_t *json, struct error *e)
{
    struct step *s = add_step(n, e);
    if (!s)
        return -1;
    s->run = run_prepend;
    return part_text(json, "prepend", &s->text, e);
}

static int read_bert(struct normalizer *n, const json_t *json, struct error *e)
{
    bool clean = true, chinese = true, lower = true;
    TRY(part_bool(json, "clean_text", &clean, e));
    TRY(part_bool(json, "handle_chinese_chars", &chinese, e));
    TRY(part_bool(json, "lowercase", &lower, e));
    bool strip = lower; /* null: as lowercase */
    TRY(part_bool(json, "strip_accents", &strip, e));
    if (clean) {
        TRY(add_simple(n, (struct step){.run = run_filter, .keep = keep_clean}, e));
        TRY(add_simple(n, (struct step){.run = run_map, .map = map_space}, e));
    }
    if (chinese)
        TRY(add_simple(n, (struct step){.run = run_chinese}, e));
    if (strip) {
        TRY(add_simple(n, (struct step){.run = run_form}, e));
        TRY(add_simple(n, (struct step){.run = run_filter, .keep = keep_unless_nonspacing}, e));
    }
    return lower ? add_simple(n, (struct step){.run = run_lowercase}, e) : 0;
}

static int read_nmt(struct normalizer *n, const json_t *json, struct error *e)
{
    (void)json;
    TRY(add_simple(n, (struct step){.run = run_filter, .keep = keep_nmt}, e));
    return add_simple(n, (struct step){.run = run_map, .map = map_nmt}, e);
}

static int base64_value(char c)
{
    static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const char *found = c ? strchr(alphabet, c) : NULL;
    return found ? (int)(found - alphabet) : -1;
}

/* In place; -1 when it is no base64. */
static int base64_decode(struct part_text *t)
{
    size_t len = t->len, out = 0;
    uint32_t bits = 0, n_bits = 0;
    while (len > 0 && t->text[len - 1] == '=')
        len--;
    for (size_t i = 0; i < len; i++) {
        int value = base64_value(t->text[i]);
        if (value < 0)
            return -1;
        bits = bits << 6 | (uint32_t)value;
        n_bits += 6;
        if (n_bits >= 8) {
            n_bits -= 8;
            t->text[out++] = (char)(bits >> n_bits & 0xFF);
        }
    }
    t->len = out;
    return 0;
}

static int read_precompiled(struct normalizer *n, const json_t *json, struct error *e)
{
    struct step *s = add_step(n, e);
    if (!s)
        return -1;
    s->run = run_charsmap;
    const json_t *map = json_object_get(json, "precompiled_charsmap");
    if (!map || json_is_null(map) || (json_is_string(map) && json_string_length(map) == 0)) {
        n->n--; /* nothing is mapped */
        return 0;
    }
    TRY(part_text(json, "precompiled_charsmap", &s->text, e));
    if (base64_decode(&s->text) < 0)
        return error_set(e, ERROR_BAD_FORMAT, "the tokenizer's precompiled_charsmap is not base64");
    return charsmap_create(s->text.text, s->text.len, &s->charsmap, e);
}

static int read_byte_level(struct normalizer *n, const json_t *json, struct error *e)
{
    (void)json;
    return add_simple(n, (struct step){.run = run_bytes}, e);
}

static const struct {
    const char *type;
    int (*read)(struct normalizer *n, const json_t *json, struct error *e);
} rows[] = {
    {"Sequence", read_sequence},
    {"NFC", read_nfc},
    {"NFD", read_nfd},
    {"NFKC", read_nfkc},
    {"NFKD", read_nfkd},
    {"Lowercase", read_lowercase},
    {"Strip", read_strip},
    {"StripAccents", read_strip_accents},
    {"Replace", read_replace},
    {"Prepend", read_prepend},
    {"BertNormalizer", read_bert},
    {"Nmt", read_nmt},
    {"Precompiled", read_precompiled},
    {"ByteLevel", read_byte_level},
};

static int read_part(struct normalizer *n, const json_t *json, struct error *e)
{
    const char *type;
    TRY(part_type(json, "normalizer", &type, e));
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        if (strcmp(rows[i].type, type) == 0)
            return rows[i].read(n, json, e);
    }
    return part_unknown("normalizer", type, e);
}

int normalizer_create(const json_t *json, struct normalizer **out, struct error *e)
{
    struct normalizer *n = calloc(1, sizeof *n);
    if (!n)
        return error_no_memory(e);
    if (read_part(n, json, e) < 0) {
        normalizer_free(n);
        return -1;
    }
    *out = n;
    return 0;
}

void normalizer_free(struct normalizer *n)
{
    if (!n)
        return;
    for (size_t i = 0; i < n->n; i++) {
        part_pattern_free(&n->steps[i].pattern);
        free(n->steps[i].text.text);
        charsmap_free(n->steps[i].charsmap);
    }
    free(n);
}

int normalizer_run(const struct normalizer *n, struct normalized *text, struct error *e)
{
    for (size_t i = 0; i < n->n; i++) {
        struct normalized next;
        normalized_init(&next, text);
        int status = n->steps[i].run(&n->steps[i], text, &next, e);
        if (status >= 0)
            status = normalized_check(&next, e) < 0 ? -1 : status;
        if (status == 0)
            normalized_move(text, &next);
        normalized_free(&next);
        if (status < 0)
            return -1;
    }
    return 0;
}
