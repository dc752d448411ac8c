/* test_sentencepiece.c - SentencePiece models: their files, their map of characters, and that texts become
 * the ids of the sentencepiece library (tests/golden/make/tiny_spm.py) and come back. */
#include <dirent.h>
#include <stdint.h>

#include "engine/base/limits.h"
#include "engine/base/utf8.h"
#include "engine/formats/tokenizer_files.h"
#include "tests/unit/vocabulary.h"
#include "tests/unit/suite.h"

#define GOLDEN  TESTS_DIR "/golden/tokenizers/"
#define HOSTILE TESTS_DIR "/hostile/spm/"

enum { MEGABYTE = 1 << 20 };

/* A tokenizer, or NULL and an error. */
static struct tokenizer *read_model(const void *data, size_t len, struct error *e)
{
    struct tokenizer_spec spec;
    struct tokenizer *t = NULL;
    struct bytes *b = NULL;
    struct arena *arena = arena_create(LIMIT_FILE_ARENA);
    ck_assert_ptr_nonnull(arena);
    ck_assert_int_eq(bytes_open_memory(data, len, &b, e), 0);
    if (sentencepiece_read(b, arena, &spec, e) < 0 || tokenizer_create(&spec, &t, e) < 0)
        t = NULL;
    bytes_close(b);
    arena_free(arena);
    return t;
}

static struct tokenizer *open_model(const char *path)
{
    struct error e = {0};
    size_t len;
    char *data = read_file(path, &len);
    struct tokenizer *t = read_model(data, len, &e);
    ck_assert_msg(t != NULL, "%s: %s", path, e.text);
    free(data);
    return t;
}

static bool all_ids_exist(const struct tokenizer *t, const struct token_list *ids)
{
    bool all = true;
    for (size_t i = 0; i < ids->n && all; i++)
        all = ids->ids[i] >= 0 && (size_t)ids->ids[i] < tokenizer_size(t);
    return all;
}

static struct token_list encode(const struct tokenizer *t, const char *text, size_t len)
{
    struct token_list ids = {0};
    struct error e = {0};
    ck_assert_msg(tokenizer_encode(t, text, len, 0, NULL, 0, &ids, &e) == 0, "%s", e.text);
    ck_assert(all_ids_exist(t, &ids));
    return ids;
}

/* cases: [[text, ids], …] */
static void assert_cases(const struct tokenizer *t, const json_t *cases, const char *name)
{
    size_t i, k;
    const json_t *c, *id;
    json_array_foreach(cases, i, c)
    {
        const json_t *text = json_array_get(c, 0), *want = json_array_get(c, 1);
        struct token_list got = encode(t, json_string_value(text), json_string_length(text));
        ck_assert_msg(got.n == json_array_size(want), "%s, case %zu: %zu ids", name, i, got.n);
        json_array_foreach(want, k, id) ck_assert_msg(got.ids[k] == json_integer_value(id),
                                                      "%s, case %zu: id %zu is %d", name, i, k, got.ids[k]);
        token_list_free(&got);
    }
}

static const char *const models[] = {"tiny-unigram.model", "tiny-bytes.model", "tiny-spbpe.model"};

START_TEST(golden_models_give_the_ids_of_the_library)
{
    json_t *golden = load_json(GOLDEN "tiny-spm.json");
    const json_t *cases = json_object_get(golden, models[_i]);
    char path[1024];
    snprintf(path, sizeof path, GOLDEN "%s", models[_i]);
    struct tokenizer *t = open_model(path);
    ck_assert_uint_gt(json_array_size(cases), 60);
    assert_cases(t, cases, models[_i]);
    tokenizer_free(t);
    json_decref(golden);
}
END_TEST

static size_t from_hex(const char *hex, unsigned char *out)
{
    size_t n = strlen(hex) / 2;
    for (size_t i = 0; i < n; i++) {
        char pair[3] = {hex[2 * i], hex[2 * i + 1], 0};
        out[i] = (unsigned char)strtoul(pair, NULL, 16);
    }
    return n;
}

START_TEST(random_models_give_the_ids_of_the_library)
{
    json_t *golden = load_json(GOLDEN "tiny-spm.json");
    const json_t *all = json_object_get(golden, "random"), *one;
    size_t i;
    ck_assert_uint_ge(json_array_size(all), 50);
    json_array_foreach(all, i, one)
    {
        const char *hex = json_string_value(json_array_get(one, 0));
        unsigned char *data = malloc(strlen(hex));
        struct error e = {0};
        char name[48];
        ck_assert_ptr_nonnull(data);
        struct tokenizer *t = read_model(data, from_hex(hex, data), &e);
        snprintf(name, sizeof name, "random model %zu", i);
        ck_assert_msg(t != NULL, "%s: %s", name, e.text);
        assert_cases(t, json_array_get(one, 1), name);
        tokenizer_free(t);
        free(data);
    }
    json_decref(golden);
}
END_TEST

static void assert_outcome(const char *path, bool accepted, const char *words)
{
    struct error e = {0};
    size_t len;
    char *data = read_file(path, &len);
    struct tokenizer *t = read_model(data, len, &e);
    ck_assert_msg(accepted == (t != NULL), "%s: %s", path, t ? "was accepted" : e.text);
    if (!accepted) {
        ck_assert_int_ne(e.kind, ERROR_NONE);
        ck_assert_msg(strstr(e.text, words) != NULL, "%s: %s\nshould hold: %s", path, e.text, words);
        ck_assert_ptr_null(strchr(e.text, '\n'));
    }
    tokenizer_free(t);
    free(data);
}

START_TEST(hostile_files_end_as_the_table_says)
{
    size_t len, n = 0;
    char *table = read_file(HOSTILE "expect", &len);
    for (char *line = table, *end; (end = strchr(line, '\n')) != NULL; line = end + 1, n++) {
        char path[1024], *name_end = strchr(line, ' ');
        *end = 0;
        ck_assert_ptr_nonnull(name_end);
        snprintf(path, sizeof path, HOSTILE "%.*s", (int)(name_end - line), line);
        bool accepted = strcmp(name_end, " accept") == 0;
        assert_outcome(path, accepted, accepted ? "" : name_end + strlen(" refuse "));
    }
    ck_assert_uint_ge(n, 40);
    free(table);
}
END_TEST

START_TEST(published_hostile_files_are_refused)
{
    if (skip_without("LOQUAT_CONFORMANCE", "the collected hostile files"))
        return;
    char dir[1024], path[2048];
    snprintf(dir, sizeof dir, "%s/models/hostile/spm", getenv("LOQUAT_CONFORMANCE"));
    DIR *d = opendir(dir);
    ck_assert_ptr_nonnull(d);
    size_t n = 0;
    for (struct dirent *entry = readdir(d); entry; entry = readdir(d)) {
        if (!strstr(entry->d_name, ".model"))
            continue;
        snprintf(path, sizeof path, "%s/%s", dir, entry->d_name);
        assert_outcome(path, false, "");
        n++;
    }
    closedir(d);
    ck_assert_uint_ge(n, 5);
}
END_TEST

/* What opens in spite of everything must still cut texts into its own tokens. */
static void use_if_it_opens(const void *data, size_t len)
{
    static const char text[] = " the  rive\xCC\x81r <sep>\n\n\xEF\xAC\x81 \xE2\x91\xA0";
    struct error e = {0};
    struct tokenizer *t = read_model(data, len, &e);
    if (!t) {
        ck_assert_int_ne(e.kind, ERROR_NONE);
        return;
    }
    struct token_list ids = {0};
    if (tokenizer_encode(t, text, sizeof text - 1, 0, NULL, 0, &ids, &e) == 0)
        ck_assert(all_ids_exist(t, &ids));
    token_list_free(&ids);
    tokenizer_free(t);
}

START_TEST(no_cut_and_no_flipped_byte_hurts)
{
    size_t len;
    char *data = read_file(GOLDEN "tiny-unigram.model", &len);
    for (size_t cut = 0; cut < len; cut += 7)
        use_if_it_opens(data, cut);
    for (size_t at = 0; at < len; at += 3) {
        char kept = data[at];
        data[at] = (char)(kept ^ (1 << at % 8));
        use_if_it_opens(data, len);
        data[at] = kept;
    }
    free(data);
}
END_TEST

/* A model with one rule map: "a" is a piece. */
static struct tokenizer *with_map(const void *map, size_t len, struct error *e)
{
    static const struct token_spec tokens[] = {{"<unk>", 5, TOKEN_UNKNOWN, 0}, {"a", 1, TOKEN_NORMAL, -1}};
    struct tokenizer_spec spec = {.model = "t5",
                                  .n_tokens = 2,
                                  .tokens = tokens,
                                  .bos = -1,
                                  .eos = -1,
                                  .eot = -1,
                                  .sep = -1,
                                  .pad = -1,
                                  .cls = -1,
                                  .mask = -1,
                                  .charsmap = map,
                                  .charsmap_len = len};
    struct tokenizer *t = NULL;
    return tokenizer_create(&spec, &t, e) == 0 ? t : NULL;
}

/* A map whose trie has `units`, and these replacements. */
static size_t make_map(unsigned char *out, const uint32_t *units, size_t n_units, const char *text,
                       size_t text_len)
{
    uint32_t bytes = (uint32_t)(4 * n_units);
    memcpy(out, &bytes, 4);
    memcpy(out + 4, units, bytes);
    memcpy(out + 4 + bytes, text, text_len);
    return 4 + bytes + text_len;
}

START_TEST(maps_that_lie_are_refused)
{
    static const struct {
        uint32_t n_units;
        uint32_t claimed;
        const char *text;
        size_t len;
        const char *words;
    } cases[] = {{1, UINT32_MAX, "", 0, "claims a trie of 4294967295 bytes"},
                 {1, 0, "", 0, "claims a trie of 0 bytes"},
                 {1, 6, "abc", 4, "claims a trie of 6 bytes"},
                 {1, 4, "abc", 3, "has no end"},
                 {1, 4, "\xFF\0", 2, "not UTF-8 at byte 0"},
                 {1, 8, "abc", 4, NULL}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        unsigned char map[64];
        const uint32_t units[2] = {0, 0};
        struct error e = {0};
        size_t len = make_map(map, units, cases[i].n_units, cases[i].text, cases[i].len);
        memcpy(map, &cases[i].claimed, 4);
        struct tokenizer *t = with_map(map, len, &e);
        ck_assert_msg((t != NULL) == (cases[i].words == NULL), "case %zu: %s", i, e.text);
        if (!t)
            ck_assert_msg(strstr(e.text, cases[i].words) != NULL, "case %zu: %s", i, e.text);
        tokenizer_free(t);
    }
}
END_TEST

/* Every "a" leads back to the same node: a walk without an end over a text of that letter. */
START_TEST(a_map_that_leads_in_circles_ends)
{
    uint32_t units[128] = {0};
    unsigned char map[1024];
    struct error e = {0};
    units['a'] = 'a' | (uint32_t)'a' << 10;
    struct tokenizer *t = with_map(map, make_map(map, units, 128, "", 1), &e);
    ck_assert_msg(t != NULL, "%s", e.text);
    char *text = malloc(MEGABYTE);
    ck_assert_ptr_nonnull(text);
    memset(text, 'a', MEGABYTE);
    struct token_list ids = encode(t, text, MEGABYTE);
    ck_assert_uint_eq(ids.n, MEGABYTE);
    token_list_free(&ids);
    tokenizer_free(t);
    free(text);
}
END_TEST

/* Text in many scripts: whole code points, reproducible. */
static struct buf mixed_text(size_t bytes)
{
    static const uint32_t ranges[][2] = {
        {0x20, 0x7E},     {0x20, 0x7E},     {0x61, 0x7A},     {0xA0, 0x24F},      {0x300, 0x36F},
        {0x390, 0x4FF},   {0x5D0, 0x5EA},   {0x620, 0x64A},   {0x900, 0x97F},     {0xE01, 0xE5B},
        {0x1100, 0x11FF}, {0x2000, 0x206F}, {0x2190, 0x21FF}, {0x3040, 0x30FF},   {0x4E00, 0x9FFF},
        {0xAC00, 0xD7A3}, {0xFE00, 0xFEFF}, {0xFF01, 0xFFEE}, {0x1F300, 0x1F9FF}, {0x1, 0x1F}};
    uint32_t state = 2463534242u;
    struct buf text;
    buf_init(&text, bytes + 64);
    while (text.len < bytes) {
        state = state * 1664525u + 1013904223u;
        const uint32_t *range = ranges[(state >> 8) % (sizeof ranges / sizeof ranges[0])];
        for (uint32_t n = (state >> 16) % 6; n > 0; n--) {
            char utf8[4];
            state = state * 1664525u + 1013904223u;
            buf_add(&text, utf8, utf8_encode(range[0] + (state >> 8) % (range[1] - range[0] + 1), utf8));
        }
        buf_add(&text, " ", state >> 30 == 0);
    }
    ck_assert(!text.failed && utf8_valid(text.data, text.len));
    return text;
}

static void assert_round_trip(const struct tokenizer *t, const char *text, size_t len)
{
    struct token_list ids = encode(t, text, len);
    struct detokenizer d;
    struct buf back;
    buf_init(&back, SIZE_MAX / 4);
    detokenizer_init(&d, t, true);
    for (size_t i = 0; i < ids.n; i++)
        detokenizer_push(&d, ids.ids[i], &back);
    detokenizer_finish(&d, &back);
    ck_assert_uint_eq(back.len, len);
    ck_assert_mem_eq(back.data, text, len);
    buf_free(&back);
    token_list_free(&ids);
}

/* U+2581 is what spaces are written as, so it alone does not come back; the golden map is taken away. */
static struct tokenizer *open_lossless(const char *path)
{
    struct tokenizer_spec spec;
    struct tokenizer *t = NULL;
    struct bytes *b = NULL;
    struct error e = {0};
    struct arena *arena = arena_create(LIMIT_FILE_ARENA);
    ck_assert_ptr_nonnull(arena);
    ck_assert_msg(bytes_open_file(path, &b, &e) == 0 && sentencepiece_read(b, arena, &spec, &e) == 0, "%s",
                  e.text);
    spec.charsmap = NULL;
    ck_assert_msg(tokenizer_create(&spec, &t, &e) == 0, "%s", e.text);
    bytes_close(b);
    arena_free(arena);
    return t;
}

/* Bytes to fall back to, or bytes from the start; ten megabytes in the long run. */
START_TEST(mixed_scripts_come_back)
{
    static const char *const lossless[] = {GOLDEN "tiny-bytes.model", GOLDEN "tiny-spbpe.model",
                                           GOLDEN "tiny-bpe.gguf"};
    bool gguf = strstr(lossless[_i], ".gguf") != NULL;
    struct tokenizer *t = gguf ? load_tokenizer(lossless[_i]) : open_lossless(lossless[_i]);
    struct buf text = mixed_text(getenv("LOQUAT_REFERENCE_LONG") ? 10u * MEGABYTE : 200000);
    assert_round_trip(t, text.data, text.len);
    buf_free(&text);
    tokenizer_free(t);
}
END_TEST

START_TEST(a_megabyte_of_anything_is_encoded)
{
    static const char *const units[] = {"a",  " ",   "the",      "\n",   "\xE2\x96\x81",
                                        "你", "ab ", "\xCC\x81", "\x01", "<sep>"};
    char path[1024];
    snprintf(path, sizeof path, GOLDEN "%s", models[_i]);
    struct tokenizer *t = open_model(path);
    for (size_t i = 0; i < sizeof units / sizeof units[0]; i++) {
        size_t n = strlen(units[i]), len = MEGABYTE / n * n;
        char *text = malloc(len);
        ck_assert_ptr_nonnull(text);
        for (size_t at = 0; at < len; at += n)
            memcpy(text + at, units[i], n);
        struct token_list ids = encode(t, text, len);
        token_list_free(&ids);
        free(text);
    }
    tokenizer_free(t);
}
END_TEST

START_TEST(places_are_those_of_the_text_before_normalisation)
{
    static const char text[] = "  the \xEF\xAC\x81nd  \xE2\x91\xA0"; /* the fi ligature, a circled 1 */
    struct tokenizer *t = open_model(GOLDEN "tiny-unigram.model");
    struct encoding x;
    struct error e = {0};
    ck_assert_msg(tokenizer_encode_pair(t, text, sizeof text - 1, NULL, 0, 0, &x, &e) == 0, "%s", e.text);
    ck_assert_uint_gt(x.n, 3);
    ck_assert_uint_eq(x.starts[0], 2); /* the spaces before the text are nobody's */
    ck_assert_uint_eq(x.ends[x.n - 1], sizeof text - 1);
    for (size_t i = 1; i < x.n; i++)
        ck_assert(x.starts[i] >= x.starts[i - 1] && x.starts[i] <= x.ends[i] && x.ends[i] >= x.ends[i - 1]);
    encoding_free(&x);
    tokenizer_free(t);
}
END_TEST

int main(void)
{
    const int n_models = (int)(sizeof models / sizeof models[0]);
    Suite *suite = suite_create("sentencepiece");
    TCase *tc = tcase_create("sentencepiece");
    tcase_set_timeout(tc, 300);
    tcase_add_loop_test(tc, golden_models_give_the_ids_of_the_library, 0, n_models);
    tcase_add_test(tc, random_models_give_the_ids_of_the_library);
    tcase_add_test(tc, hostile_files_end_as_the_table_says);
    tcase_add_test(tc, published_hostile_files_are_refused);
    tcase_add_test(tc, no_cut_and_no_flipped_byte_hurts);
    tcase_add_test(tc, maps_that_lie_are_refused);
    tcase_add_test(tc, a_map_that_leads_in_circles_ends);
    tcase_add_loop_test(tc, mixed_scripts_come_back, 1,
                        n_models); /* the first has no bytes to fall back to */
    tcase_add_loop_test(tc, a_megabyte_of_anything_is_encoded, 0, n_models);
    tcase_add_test(tc, places_are_those_of_the_text_before_normalisation);
    suite_add_tcase(suite, tc);
    return suite_run(suite);
}
