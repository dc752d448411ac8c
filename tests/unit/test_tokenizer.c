/* test_tokenizer.c - byte-level BPE against reference ids, special tokens, hostile and huge texts. */
#include <pthread.h>
#include <sys/wait.h>

#include "engine/base/utf8.h"
#include "tests/unit/vocabulary.h"
#include "tests/unit/suite.h"

#define GOLDEN TESTS_DIR "/golden/tokenizers/"

static struct tokenizer *tiny;

static void setup(void)
{
    tiny = load_tokenizer(GOLDEN "tiny-bpe.gguf");
}

static void teardown(void)
{
    tokenizer_free(tiny);
}

static struct token_list encode(const struct tokenizer *t, const char *text, size_t len, unsigned flags)
{
    struct token_list ids = {0};
    struct error e = {0};
    ck_assert_msg(tokenizer_encode(t, text, len, flags, NULL, 0, &ids, &e) == 0, "%s", e.text);
    return ids;
}

/* The bytes of ordinary tokens, one after another. */
static struct buf bytes_of(const struct tokenizer *t, const struct token_list *ids)
{
    struct buf b;
    buf_init(&b, SIZE_MAX / 4);
    for (size_t i = 0; i < ids->n; i++) {
        size_t len;
        const char *bytes = tokenizer_token_bytes(t, ids->ids[i], &len);
        buf_add(&b, bytes, len);
    }
    return b;
}

static void assert_round_trip(const struct tokenizer *t, const char *text, size_t len)
{
    struct token_list ids = encode(t, text, len, 0);
    struct buf b = bytes_of(t, &ids);
    ck_assert_uint_eq(b.len, len);
    if (len)
        ck_assert_mem_eq(b.data, text, len);
    buf_free(&b);
    token_list_free(&ids);
}

static void assert_ids(const struct token_list *got, const json_t *expected, size_t n, const char *name)
{
    ck_assert_msg(got->n >= n && (got->n == n || n < json_array_size(expected) + 1),
                  "%s: %zu ids, expected %zu", name, got->n, n);
    for (size_t i = 0; i < n; i++)
        ck_assert_msg(got->ids[i] == json_integer_value(json_array_get(expected, i)),
                      "%s: id %zu is %d, expected %lld", name, i, got->ids[i],
                      (long long)json_integer_value(json_array_get(expected, i)));
}

START_TEST(golden_ids_equal_those_of_the_plain_implementation)
{
    json_t *cases = load_json(GOLDEN "tiny-bpe.json");
    size_t i;
    const json_t *c;
    ck_assert_uint_gt(json_array_size(cases), 20);
    json_array_foreach(cases, i, c)
    {
        const json_t *text = json_object_get(c, "text"), *ids = json_object_get(c, "ids");
        unsigned flags = (unsigned)json_integer_value(json_object_get(c, "flags"));
        struct token_list got = encode(tiny, json_string_value(text), json_string_length(text), flags);
        ck_assert_msg(got.n == json_array_size(ids), "case %zu: %zu ids", i, got.n);
        assert_ids(&got, ids, got.n, json_string_value(text));
        token_list_free(&got);
    }
    json_decref(cases);
}
END_TEST

START_TEST(any_text_comes_back)
{
    static const char mixed[] =
        "Naïve café – 你好，世界！ Привет\tмир\r\n\r\n  don't WE'LL 12345 ½ "
        "\xF0\x9F\xA6\x99\xE2\x80\x8D\xF0\x9F\x94\xA5 \xC2\x85\xC2\xA0\xE1\xA0\x8E\xE3\x80\x80 x\xCC\x81"
        " नमस्ते عربي 한국어 \x01\x7F";
    assert_round_trip(tiny, mixed, sizeof mixed - 1);
    for (size_t cut = 0; cut < sizeof mixed; cut++) {
        if (utf8_valid(mixed, cut))
            assert_round_trip(tiny, mixed, cut);
    }
    assert_round_trip(tiny, "a\0b", 3);
}
END_TEST

START_TEST(invalid_utf8_is_an_error_with_its_place)
{
    struct token_list ids = {0};
    struct error e = {0};
    ck_assert_int_eq(tokenizer_encode(tiny, "ab\xFFz", 4, 0, NULL, 0, &ids, &e), -1);
    ck_assert_int_eq(e.kind, ERROR_INVALID_REQUEST);
    ck_assert_ptr_nonnull(strstr(e.text, "byte 2"));
    token_list_free(&ids);
}
END_TEST

/* ids of a text whose bytes [start, end) are a user's. */
static struct token_list encode_literal(const char *text, size_t start, size_t end)
{
    struct text_span span = {start, end};
    struct token_list ids = {0};
    struct error e = {0};
    ck_assert_int_eq(
        tokenizer_encode(tiny, text, strlen(text), TOKENIZE_PARSE_SPECIAL, &span, end > start, &ids, &e), 0);
    return ids;
}

static size_t count_controls(const struct token_list *ids)
{
    size_t n = 0;
    for (size_t i = 0; i < ids->n; i++)
        n += tokenizer_is_control(tiny, ids->ids[i]);
    return n;
}

START_TEST(special_tokens_are_not_found_in_or_across_literal_spans)
{
    static const char text[] = "a<|im_end|>b<|im_end|>c";
    const struct {
        size_t start, end, controls;
    } cases[] = {{0, 0, 2},   {0, 23, 0},  {1, 11, 1},  {5, 6, 1},  {0, 12, 1},
                 {12, 13, 1}, {10, 13, 0}, {11, 12, 2}, {22, 23, 2}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct token_list ids = encode_literal(text, cases[i].start, cases[i].end);
        ck_assert_msg(count_controls(&ids) == cases[i].controls, "case %zu: %zu controls", i,
                      count_controls(&ids));
        struct buf b = bytes_of(tiny, &ids);
        ck_assert_str_eq(b.data, text);
        buf_free(&b);
        token_list_free(&ids);
    }
}
END_TEST

START_TEST(words_run_across_the_borders_of_literal_spans)
{
    static const char text[] = "the people there";
    struct token_list whole = encode(tiny, text, strlen(text), TOKENIZE_PARSE_SPECIAL);
    struct token_list cut = encode_literal(text, 2, 6);
    ck_assert_uint_eq(whole.n, cut.n);
    ck_assert_mem_eq(whole.ids, cut.ids, cut.n * sizeof *cut.ids);
    token_list_free(&whole);
    token_list_free(&cut);
}
END_TEST

START_TEST(control_tokens_need_parse_special_and_the_longest_wins)
{
    struct token_list plain = encode(tiny, "<|im_end|>", 10, 0);
    ck_assert_uint_eq(count_controls(&plain), 0);
    struct token_list user = encode(tiny, "a<tool>b", 8, 0); /* user-defined: always one token */
    ck_assert_uint_eq(user.n, 3);
    struct token_list longest = encode(tiny, "<|im_end|>s", 11, TOKENIZE_PARSE_SPECIAL);
    ck_assert_uint_eq(longest.n, 1); /* "<|im_end|>s" is a token of this vocabulary */
    ck_assert(!tokenizer_is_end(tiny, longest.ids[0]));
    struct token_list end = encode(tiny, "<|im_end|>", 10, TOKENIZE_PARSE_SPECIAL);
    ck_assert_uint_eq(end.n, 1);
    ck_assert(tokenizer_is_end(tiny, end.ids[0]));
    token_list_free(&plain);
    token_list_free(&user);
    token_list_free(&longest);
    token_list_free(&end);
}
END_TEST

START_TEST(bos_comes_as_the_checkpoint_asks)
{
    struct token_list with = encode(tiny, "a", 1, TOKENIZE_ADD_SPECIAL), without = encode(tiny, "a", 1, 0);
    ck_assert_uint_eq(with.n, without.n + 1);
    ck_assert_int_eq(with.ids[0], tokenizer_special(tiny)->bos);
    token_list_free(&with);
    token_list_free(&without);
}
END_TEST

enum { MEGABYTE = 1 << 20 };

/* One unit repeated to about so many bytes. */
static void assert_repeated(const struct tokenizer *t, const char *unit, size_t bytes)
{
    size_t n = strlen(unit), len = bytes / n * n;
    char *text = malloc(len);
    ck_assert_ptr_nonnull(text);
    for (size_t i = 0; i < len; i += n)
        memcpy(text + i, unit, n);
    assert_round_trip(t, text, len);
    free(text);
}

static void assert_random(const struct tokenizer *t, size_t bytes)
{
    struct buf b;
    buf_init(&b, 4u << 20);
    uint32_t state = 12345;
    while (b.len < bytes) {
        state = state * 1664525u + 1013904223u;
        char byte = (char)(state >> 24);
        utf8_append_lossy(&b, &byte, 1);
        if (state & 0x800000) {
            uint32_t cp = state >> 8 & 0xFFFF;
            char text[4];
            if (cp < 0xD800 || cp > 0xDFFF)
                buf_add(&b, text, utf8_encode(cp, text));
        }
    }
    ck_assert(!b.failed && utf8_valid(b.data, b.len));
    assert_round_trip(t, b.data, b.len);
    buf_free(&b);
}

START_TEST(a_megabyte_of_anything_is_encoded)
{
    static const char *const units[] = {"a",  "A",   " ",   "\n", "1",        "!",
                                        "你", "ab ", " \n", "'",  "\xCC\x81", "a\xCC\x81 "};
    for (size_t i = 0; i < sizeof units / sizeof units[0]; i++)
        assert_repeated(tiny, units[i], MEGABYTE);
    assert_random(tiny, MEGABYTE);
}
END_TEST

/* A tiny vocabulary of single bytes, for whatever pre-tokenizer is asked for. */
struct byte_vocabulary {
    struct token_spec tokens[256];
    char texts[256][4];
    struct tokenizer_spec spec;
};

static void byte_vocabulary_init(struct byte_vocabulary *v, const char *pre)
{
    unsigned other = 0;
    memset(v, 0, sizeof *v);
    for (unsigned i = 0; i < 256; i++) {
        bool plain = (i >= 0x21 && i <= 0x7E) || (i >= 0xA1 && i <= 0xAC) || i >= 0xAE;
        size_t len = utf8_encode(plain ? i : 0x100 + other++, v->texts[i]);
        v->tokens[i] = (struct token_spec){.text = v->texts[i], .len = (uint32_t)len, .type = TOKEN_NORMAL};
    }
    v->spec = (struct tokenizer_spec){.model = "gpt2",
                                      .pre = pre,
                                      .n_tokens = 256,
                                      .tokens = v->tokens,
                                      .bos = -1,
                                      .eos = -1,
                                      .eot = -1,
                                      .unk = -1,
                                      .sep = -1,
                                      .pad = -1};
}

static const char *const pre_names[] = {
    "default",      "gpt-2",          "smollm",      "llama-bpe", "dbrx",   "minicpm5", "qwen2",
    "qwen35",       "seed-coder",     "bailingmoe",  "jais-2",    "tekken", "gpt-4o",   "falcon",
    "deepseek-llm", "deepseek-coder", "deepseek-v3", "poro-chat", "viking"};

START_TEST(every_pre_tokenizer_keeps_every_byte_of_hard_texts)
{
    struct byte_vocabulary v;
    struct tokenizer *t = NULL;
    struct error e = {0};
    byte_vocabulary_init(&v, pre_names[_i]);
    ck_assert_msg(tokenizer_create(&v.spec, &t, &e) == 0, "%s", e.text);
    static const char *const units[] = {"a", "Aa",           " ",        "\n", "9",
                                        "?", "\xE4\xBD\xA0", "\xCC\x81", " a", "'s"};
    for (size_t i = 0; i < sizeof units / sizeof units[0]; i++)
        assert_repeated(t, units[i], MEGABYTE / 4);
    assert_random(t, MEGABYTE / 4);
    tokenizer_free(t);
}
END_TEST

START_TEST(unknown_names_are_errors_that_name_them)
{
    struct byte_vocabulary v;
    struct tokenizer *t = NULL;
    struct error e = {0};
    byte_vocabulary_init(&v, "no-such-pre");
    ck_assert_int_eq(tokenizer_create(&v.spec, &t, &e), -1);
    ck_assert_ptr_nonnull(strstr(e.text, "no-such-pre"));
    error_clear(&e);
    byte_vocabulary_init(&v, "gpt-2");
    v.spec.model = "no-such-model";
    ck_assert_int_eq(tokenizer_create(&v.spec, &t, &e), -1);
    ck_assert_ptr_nonnull(strstr(e.text, "\"no-such-model\" is not supported"));
    error_clear(&e);
    byte_vocabulary_init(&v, NULL); /* old files name none */
    ck_assert_int_eq(tokenizer_create(&v.spec, &t, &e), 0);
    tokenizer_free(t);
}
END_TEST

START_TEST(broken_vocabularies_are_refused)
{
    static const struct text_view bad[] = {{"a", 1}, {"a ", 2}, {"a zz", 4}, {"a b", 3}, {"", 0}, {" ", 1}};
    static const char *const words[] = {"not two tokens", "not two tokens", "names a token",
                                        "makes a token",  "not two",        "not two"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct byte_vocabulary v;
        struct tokenizer *t = NULL;
        struct error e = {0};
        byte_vocabulary_init(&v, "gpt-2");
        v.spec.merges = &bad[i];
        v.spec.n_merges = 1;
        ck_assert_int_eq(tokenizer_create(&v.spec, &t, &e), -1);
        ck_assert_msg(strstr(e.text, words[i]) != NULL, "%s", e.text);
    }
    struct byte_vocabulary v;
    struct tokenizer *t = NULL;
    struct error e = {0};
    byte_vocabulary_init(&v, "gpt-2");
    v.tokens[5] = v.tokens[6];
    ck_assert_int_eq(tokenizer_create(&v.spec, &t, &e), -1);
    ck_assert_ptr_nonnull(strstr(e.text, "same text"));
    error_clear(&e);
    byte_vocabulary_init(&v, "gpt-2");
    v.spec.eos = 256;
    ck_assert_int_eq(tokenizer_create(&v.spec, &t, &e), -1);
    ck_assert_ptr_nonnull(strstr(e.text, "256"));
}
END_TEST

START_TEST(a_byte_without_a_token_is_an_error_or_the_unknown_token)
{
    struct byte_vocabulary v;
    struct tokenizer *t = NULL;
    struct token_list ids = {0};
    struct error e = {0};
    byte_vocabulary_init(&v, "gpt-2");
    v.tokens['q'] = (struct token_spec){.text = "<unk>", .len = 5, .type = TOKEN_UNKNOWN};
    ck_assert_int_eq(tokenizer_create(&v.spec, &t, &e), 0);
    ck_assert_int_eq(tokenizer_encode(t, "q", 1, 0, NULL, 0, &ids, &e), -1);
    ck_assert_ptr_nonnull(strstr(e.text, "0x71"));
    tokenizer_free(t);
    error_clear(&e);
    v.spec.unk = 'q';
    ck_assert_int_eq(tokenizer_create(&v.spec, &t, &e), 0);
    ck_assert_int_eq(tokenizer_encode(t, "aqb", 3, 0, NULL, 0, &ids, &e), 0);
    ck_assert_uint_eq(ids.n, 3);
    ck_assert_int_eq(ids.ids[1], 'q');
    token_list_free(&ids);
    tokenizer_free(t);
}
END_TEST

START_TEST(plain_text_never_becomes_a_control_token_by_merging)
{
    struct byte_vocabulary v;
    static const struct text_view merges[] = {{"a b", 3}};
    struct tokenizer *t = NULL;
    struct error e = {0};
    byte_vocabulary_init(&v, "llama-bpe"); /* takes whole words that are tokens, too */
    v.tokens[0] = (struct token_spec){.text = "ab", .len = 2, .type = TOKEN_CONTROL};
    v.spec.merges = merges;
    v.spec.n_merges = 1;
    ck_assert_msg(tokenizer_create(&v.spec, &t, &e) == 0, "%s", e.text);
    struct token_list ids = encode(t, "ab", 2, 0);
    ck_assert_uint_eq(ids.n, 2);
    token_list_free(&ids);
    tokenizer_free(t);
}
END_TEST

static void *encode_often(void *expected)
{
    static const char text[] = "The people of the river 1234 said: don't, 你好!\n\n";
    const struct token_list *want = expected;
    for (int i = 0; i < 300; i++) {
        struct token_list got = {0};
        struct error e = {0};
        if (tokenizer_encode(tiny, text, sizeof text - 1, 0, NULL, 0, &got, &e) < 0)
            return (void *)1;
        int same = got.n == want->n && memcmp(got.ids, want->ids, got.n * sizeof *got.ids) == 0;
        token_list_free(&got);
        if (!same)
            return (void *)1;
    }
    return NULL;
}

START_TEST(four_threads_encode_at_once)
{
    static const char text[] = "The people of the river 1234 said: don't, 你好!\n\n";
    struct token_list want = encode(tiny, text, sizeof text - 1, 0);
    pthread_t threads[4];
    for (int i = 0; i < 4; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, encode_often, &want), 0);
    for (int i = 0; i < 4; i++) {
        void *failed = NULL;
        pthread_join(threads[i], &failed);
        ck_assert_ptr_null(failed);
    }
    token_list_free(&want);
}
END_TEST

/* The vocabulary, unpacked next to nothing else and removed again. */
static struct tokenizer *load_packed(const char *dir, const char *name)
{
    char folder[] = "/tmp/loquat-test-XXXXXX", path[128], command[1024];
    ck_assert_ptr_nonnull(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/vocabulary.gguf", folder);
    snprintf(command, sizeof command, "xz -dc '%s/tokenizers/ggml-vocab-%s.gguf.xz' > '%s'", dir, name, path);
    int status = system(command);
    ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 0, "%s", command);
    struct tokenizer *t = load_tokenizer(path);
    unlink(path);
    rmdir(folder);
    return t;
}

/* Texts are parted by a line; ids stand in lines. */
static void assert_reference(const char *dir, const char *name)
{
    static const char border[] = "\n__ggml_vocab_test__\n";
    char path[1024];
    size_t len, n = 0;
    struct tokenizer *t = load_packed(dir, name);
    snprintf(path, sizeof path, "%s/tokenizers/ggml-vocab-%s.gguf.inp", dir, name);
    char *texts = read_file(path, &len);
    snprintf(path, sizeof path, "%s/tokenizers/ggml-vocab-%s.gguf.out", dir, name);
    char *lines = read_file(path, &len);
    char *line = lines;
    for (char *text = texts; text; n++) {
        char *next = strstr(text, border);
        size_t text_len = next ? (size_t)(next - text) : strlen(text);
        struct token_list got = encode(t, text, text_len, 0);
        char *end = line + strcspn(line, "\n");
        for (size_t i = 0; i < got.n; i++)
            ck_assert_msg(strtol(line, &line, 10) == got.ids[i], "%s: text %zu, id %zu is %d", name, n, i,
                          got.ids[i]);
        ck_assert_msg(line + strspn(line, " ") == end, "%s: text %zu: ids are missing", name, n);
        line = end + (*end == '\n');
        token_list_free(&got);
        text = next ? next + sizeof border - 1 : NULL;
    }
    printf("%s: %zu texts exact\n", name, n);
    ck_assert_uint_ge(n, 46);
    free(texts);
    free(lines);
    tokenizer_free(t);
}

enum { PUBLISHED_VOCABULARIES = 7 };

START_TEST(published_vocabularies_give_the_reference_ids)
{
    static const char *const names[PUBLISHED_VOCABULARIES] = {"gpt-2", "llama-bpe", "llama-spm", "bert-bge",
                                                              "phi-3", "starcoder", "qwen2"};
    if (skip_without("LOQUAT_CONFORMANCE", "the published vocabularies"))
        return;
    assert_reference(getenv("LOQUAT_CONFORMANCE"), names[_i]);
}
END_TEST

START_TEST(smollm2_gives_the_reference_ids)
{
    if (skip_without("LOQUAT_CONFORMANCE", "SmolLM2's ids") ||
        skip_without("LOQUAT_TEST_MODEL", "SmolLM2's ids"))
        return;
    char path[1024];
    snprintf(path, sizeof path, "%s/real/smollm2-135m-instruct-q4_1.json", getenv("LOQUAT_CONFORMANCE"));
    json_t *data = load_json(path);
    struct tokenizer *t = load_tokenizer(getenv("LOQUAT_TEST_MODEL"));
    size_t i;
    const json_t *c;
    json_array_foreach(json_object_get(data, "cases"), i, c)
    {
        bool whole = strcmp(json_string_value(json_object_get(c, "kind")), "perplexity") != 0;
        const json_t *text = json_object_get(c, whole ? "prompt" : "text"),
                     *ids = json_object_get(c, "input_ids");
        struct token_list got =
            encode(t, json_string_value(text), json_string_length(text), whole ? TOKENIZE_PARSE_SPECIAL : 0);
        ck_assert_msg(whole ? got.n == json_array_size(ids) : got.n >= json_array_size(ids),
                      "case %zu: %zu ids", i, got.n);
        assert_ids(&got, ids, json_array_size(ids), "SmolLM2");
        printf("SmolLM2 case %zu: %zu ids exact of %zu\n", i, json_array_size(ids), got.n);
        token_list_free(&got);
    }
    tokenizer_free(t);
    json_decref(data);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("tokenizer");
    TCase *golden = tcase_create("golden"), *reference = tcase_create("reference"),
          *built = tcase_create("built");
    tcase_add_checked_fixture(golden, setup, teardown);
    tcase_set_timeout(golden, 300);
    tcase_set_timeout(built, 300);
    tcase_set_timeout(reference, 300);
    tcase_add_test(golden, golden_ids_equal_those_of_the_plain_implementation);
    tcase_add_test(golden, any_text_comes_back);
    tcase_add_test(golden, invalid_utf8_is_an_error_with_its_place);
    tcase_add_test(golden, special_tokens_are_not_found_in_or_across_literal_spans);
    tcase_add_test(golden, words_run_across_the_borders_of_literal_spans);
    tcase_add_test(golden, control_tokens_need_parse_special_and_the_longest_wins);
    tcase_add_test(golden, bos_comes_as_the_checkpoint_asks);
    tcase_add_test(golden, a_megabyte_of_anything_is_encoded);
    tcase_add_test(golden, four_threads_encode_at_once);
    tcase_add_loop_test(built, every_pre_tokenizer_keeps_every_byte_of_hard_texts, 0,
                        (int)(sizeof pre_names / sizeof pre_names[0]));
    tcase_add_test(built, unknown_names_are_errors_that_name_them);
    tcase_add_test(built, broken_vocabularies_are_refused);
    tcase_add_test(built, a_byte_without_a_token_is_an_error_or_the_unknown_token);
    tcase_add_test(built, plain_text_never_becomes_a_control_token_by_merging);
    tcase_add_loop_test(reference, published_vocabularies_give_the_reference_ids, 0, PUBLISHED_VOCABULARIES);
    tcase_add_test(reference, smollm2_gives_the_reference_ids);
    suite_add_tcase(suite, golden);
    suite_add_tcase(suite, built);
    suite_add_tcase(suite, reference);
    return suite_run(suite);
}
