/* test_pipeline.c - tokenizer.json: every component against the tokenizers library
 * (tests/golden/make/pipelines.py), broken files, folders of older checkpoints, and that no text costs more
 * than its length. */
#include <sys/stat.h>

#include "engine/base/limits.h"
#include "engine/base/utf8.h"
#include "engine/formats/config_json.h"
#include "engine/formats/tokenizer_files.h"
#include "tests/unit/hostile_table.h"
#include "tests/unit/suite.h"

#define GOLDEN  TESTS_DIR "/golden/tokenizers/"
#define HOSTILE TESTS_DIR "/hostile/tokenizer"

enum { MEGABYTE = 1 << 20 };

/* A tokenizer, or NULL and an error; the memory it was read into is gone. */
static struct tokenizer *read_tokenizer(struct bytes *b, struct error *e)
{
    struct tokenizer_spec spec;
    struct tokenizer *t = NULL;
    struct arena *arena = arena_create(LIMIT_FILE_ARENA);
    json_t *keep = json_array();
    if (tokenizer_json_read(b, arena, keep, &spec, e) < 0 || tokenizer_create(&spec, &t, e) < 0)
        t = NULL;
    json_decref(keep);
    arena_free(arena);
    return t;
}

static struct tokenizer *from_text(const char *text)
{
    struct bytes *b = NULL;
    struct error e = {0};
    ck_assert_int_eq(bytes_open_memory(text, strlen(text), &b, &e), 0);
    struct tokenizer *t = read_tokenizer(b, &e);
    bytes_close(b);
    ck_assert_msg(t != NULL, "%s", e.text);
    return t;
}

/* The golden file's models and parts as one tokenizer.json. */
static struct tokenizer *from_golden(const json_t *models, const json_t *pipeline)
{
    json_t *whole = json_copy(json_object_get(pipeline, "parts"));
    size_t model = (size_t)json_integer_value(json_object_get(pipeline, "model"));
    json_object_set(whole, "model", json_array_get(models, model));
    char *text = json_dumps(whole, 0);
    struct tokenizer *t = from_text(text);
    free(text);
    json_decref(whole);
    return t;
}

/* Bytes to code points. */
static long points(const char *text, size_t bytes)
{
    long n = 0;
    for (size_t i = 0; i < bytes; i++)
        n += ((unsigned char)text[i] & 0xC0) != 0x80;
    return n;
}

static long number(const json_t *list, size_t i)
{
    return (long)json_integer_value(json_array_get(list, i));
}

/* One of "texts". */
static void assert_text(const struct tokenizer *t, const json_t *golden, size_t pipeline)
{
    const json_t *text = json_array_get(golden, 0), *pair = json_array_get(golden, 1);
    const json_t *ids = json_array_get(golden, 3), *offsets = json_array_get(golden, 4);
    const json_t *types = json_array_get(golden, 5), *words = json_array_get(golden, 6);
    unsigned flags =
        TOKENIZE_PARSE_SPECIAL | (json_is_true(json_array_get(golden, 2)) ? TOKENIZE_ADD_SPECIAL : 0);
    const char *texts[2] = {json_string_value(text), json_string_value(pair)};
    struct encoding x;
    struct error e = {0};
    int status = tokenizer_encode_pair(t, texts[0], json_string_length(text), texts[1],
                                       json_string_length(pair), flags, &x, &e);
    ck_assert_msg(status == 0, "pipeline %zu, \"%s\": %s", pipeline, texts[0], e.text);
    ck_assert_msg(x.n == json_array_size(ids), "pipeline %zu, \"%s\": %zu tokens", pipeline, texts[0], x.n);
    for (size_t i = 0; i < x.n; i++) {
        bool special = x.sequence[i] == UINT8_MAX;
        const char *source = special ? "" : texts[x.sequence[i]];
        const json_t *span = json_array_get(offsets, i), *word = json_array_get(words, i);
        long expected_word = json_is_null(word) ? (long)UINT32_MAX : (long)json_integer_value(word);
        bool same = x.ids[i] == number(ids, i) && x.types[i] == number(types, i) &&
                    points(source, x.starts[i]) == number(span, 0) &&
                    points(source, x.ends[i]) == number(span, 1) && (long)x.words[i] == expected_word;
        ck_assert_msg(same, "pipeline %zu, \"%s\": token %zu is %d at %u..%u", pipeline, texts[0], i,
                      (int)x.ids[i], x.starts[i], x.ends[i]);
    }
    encoding_free(&x);
}

/* The same ids without places. */
static void assert_ids_alone(const struct tokenizer *t, const json_t *golden)
{
    const json_t *text = json_array_get(golden, 0), *ids = json_array_get(golden, 3);
    unsigned flags =
        TOKENIZE_PARSE_SPECIAL | (json_is_true(json_array_get(golden, 2)) ? TOKENIZE_ADD_SPECIAL : 0);
    struct token_list list = {0};
    struct error e = {0};
    if (!json_is_null(json_array_get(golden, 1)))
        return;
    ck_assert_int_eq(
        tokenizer_encode(t, json_string_value(text), json_string_length(text), flags, NULL, 0, &list, &e), 0);
    ck_assert_uint_eq(list.n, json_array_size(ids));
    bool same = true;
    for (size_t i = 0; i < list.n; i++)
        same = same && list.ids[i] == number(ids, i);
    ck_assert(same);
    token_list_free(&list);
}

/* One of "decoded"; what comes out on the way is whole characters. */
static void assert_decoded(const struct tokenizer *t, const json_t *golden, size_t pipeline)
{
    const json_t *ids = json_array_get(golden, 0), *text = json_array_get(golden, 2);
    struct detokenizer d;
    struct buf out;
    bool whole = true;
    buf_init(&out, MEGABYTE);
    detokenizer_init(&d, t, json_is_true(json_array_get(golden, 1)));
    for (size_t i = 0; i < json_array_size(ids); i++) {
        detokenizer_push(&d, (int32_t)number(ids, i), &out);
        whole = whole && utf8_valid(out.data, out.len);
    }
    detokenizer_finish(&d, &out);
    ck_assert(whole);
    bool same = out.len == json_string_length(text) &&
                (out.len == 0 || memcmp(out.data, json_string_value(text), out.len) == 0);
    char *list = json_dumps(ids, JSON_COMPACT);
    ck_assert_msg(same, "pipeline %zu: %s is \"%s\", expected \"%s\"", pipeline, list,
                  out.data ? out.data : "", json_string_value(text));
    free(list);
    buf_free(&out);
}

START_TEST(every_component_does_what_the_library_does)
{
    json_t *golden = load_json(GOLDEN "pipelines.json");
    const json_t *pipelines = json_object_get(golden, "pipelines");
    size_t n = json_array_size(pipelines), texts = 0;
    for (size_t i = 0; i < n; i++) {
        const json_t *pipeline = json_array_get(pipelines, i), *one;
        size_t k;
        struct tokenizer *t = from_golden(json_object_get(golden, "models"), pipeline);
        json_array_foreach(json_object_get(pipeline, "texts"), k, one)
        {
            assert_text(t, one, i);
            assert_ids_alone(t, one);
            texts++;
        }
        json_array_foreach(json_object_get(pipeline, "decoded"), k, one) assert_decoded(t, one, i);
        tokenizer_free(t);
    }
    ck_assert_uint_ge(texts, 400);
    json_decref(golden);
}
END_TEST

/* ---- broken files ----------------------------------------------------------------------------- */

/* Reading, building and one text of letters. */
static int open_and_use(struct bytes *b, const char *name, struct error *e)
{
    char text[2001];
    struct token_list ids = {0};
    (void)name;
    struct tokenizer *t = read_tokenizer(b, e);
    bytes_close(b);
    if (!t)
        return -1;
    memset(text, 'a', sizeof text);
    text[sizeof text - 1] = 'b';
    int status = tokenizer_encode(t, text, sizeof text, TOKENIZE_ADD_SPECIAL, NULL, 0, &ids, e);
    token_list_free(&ids);
    tokenizer_free(t);
    return status;
}

START_TEST(broken_files_end_as_the_table_says)
{
    hostile_run_table(open_and_use, HOSTILE, 50);
}
END_TEST

START_TEST(a_file_cut_short_is_refused)
{
    hostile_cut(open_and_use, HOSTILE "/good.json", "good");
}
END_TEST

START_TEST(a_changed_byte_does_no_harm)
{
    hostile_flip(open_and_use, HOSTILE "/good.json", "good");
}
END_TEST

/* The ones that may be accepted: a merge that comes 3000 times, an added token without text, a vocabulary
 * whose unknown token is missing but not needed. */
START_TEST(published_broken_files_do_no_harm)
{
    char path[1024];
    if (skip_without("LOQUAT_CONFORMANCE", "the collected hostile files"))
        return;
    snprintf(path, sizeof path, "%s/models/hostile/tokenizer", getenv("LOQUAT_CONFORMANCE"));
    DIR *d = opendir(path);
    ck_assert_ptr_nonnull(d);
    size_t refused = 0, accepted = 0;
    for (struct dirent *entry; (entry = readdir(d));) {
        struct bytes *b = NULL;
        struct error e = {0};
        if (entry->d_name[0] == '.')
            continue;
        snprintf(path, sizeof path, "%s/models/hostile/tokenizer/%s", getenv("LOQUAT_CONFORMANCE"),
                 entry->d_name);
        ck_assert_int_eq(bytes_open_file(path, &b, &e), 0);
        if (open_and_use(b, entry->d_name, &e) == 0) {
            accepted++;
            continue;
        }
        ck_assert_msg(e.kind != ERROR_NONE && e.text[0] && !strchr(e.text, '\n'), "%s", entry->d_name);
        refused++;
    }
    closedir(d);
    ck_assert_uint_eq(accepted, 2);
    ck_assert_uint_ge(refused, 20);
}
END_TEST

/* ---- special tokens and a user's words -------------------------------------------------------- */

#define SMALL                                                                                                \
    "{\"version\": \"1.0\", \"normalizer\": {\"type\": \"Lowercase\"}, \"added_tokens\": ["                  \
    "{\"id\": 4, \"content\": \"<s>\", \"special\": true, \"normalized\": false},"                           \
    "{\"id\": 5, \"content\": \"MARK\", \"special\": false, \"normalized\": true}],"                         \
    "\"model\": {\"type\": \"BPE\", \"unk_token\": \"?\", \"merges\": [],"                                   \
    "\"vocab\": {\"?\": 0, \"a\": 1, \"<\": 2, \"s\": 3}}}"

static void assert_list(const struct tokenizer *t, const char *text, const struct text_span *literal,
                        size_t n_literal, unsigned flags, const int32_t *expected, size_t n)
{
    struct token_list ids = {0};
    struct error e = {0};
    ck_assert_msg(tokenizer_encode(t, text, strlen(text), flags, literal, n_literal, &ids, &e) == 0, "%s",
                  e.text);
    ck_assert_uint_eq(ids.n, n);
    ck_assert_mem_eq(ids.ids, expected, n * sizeof *expected);
    token_list_free(&ids);
}

START_TEST(added_tokens_in_a_users_words_are_text)
{
    struct tokenizer *t = from_text(SMALL);
    const struct text_span all = {0, 8}, second = {4, 8};
    static const int32_t found[] = {4, 1, 5}, text[] = {2, 3, 0, 1, 0, 1, 0, 0}, half[] = {4, 1, 0, 1, 0, 0};
    static const int32_t unparsed[] = {2, 3, 0, 1, 5};
    assert_list(t, "<s>amark", NULL, 0, TOKENIZE_PARSE_SPECIAL, found, 3);
    assert_list(t, "<s>amark", &all, 1, TOKENIZE_PARSE_SPECIAL, text, 8);
    assert_list(t, "<s>aMARK", &second, 1, TOKENIZE_PARSE_SPECIAL, half, 6);
    assert_list(t, "<s>aMaRK", NULL, 0, 0, unparsed, 5);
    tokenizer_free(t);
}
END_TEST

START_TEST(a_text_that_goes_on_keeps_its_first_space)
{
    struct tokenizer *t =
        from_text("{\"added_tokens\": [], \"decoder\": {\"type\": \"Metaspace\", \"replacement\": \"_\"},"
                  "\"model\": {\"type\": \"WordLevel\", \"vocab\": {\"_a\": 0}}}");
    for (int continued = 0; continued < 2; continued++) {
        struct detokenizer d;
        struct buf out;
        buf_init(&out, MEGABYTE);
        detokenizer_init(&d, t, false);
        d.started = continued;
        detokenizer_push(&d, 0, &out);
        detokenizer_push(&d, 0, &out);
        detokenizer_finish(&d, &out);
        ck_assert_str_eq(out.data, continued ? " a a" : "a a");
        buf_free(&out);
    }
    tokenizer_free(t);
}
END_TEST

/* ---- huge texts ------------------------------------------------------------------------------- */

static void encode_huge(const char *path, const char *unit)
{
    size_t len = strlen(unit), n = MEGABYTE / len;
    char *text = malloc(n * len);
    struct token_list ids = {0};
    struct error e = {0};
    struct bytes *b = NULL;
    ck_assert_int_eq(bytes_open_file(path, &b, &e), 0);
    struct tokenizer *t = read_tokenizer(b, &e);
    bytes_close(b);
    ck_assert_msg(t != NULL, "%s", e.text);
    for (size_t i = 0; i < n; i++)
        memcpy(text + i * len, unit, len);
    ck_assert_msg(tokenizer_encode(t, text, n * len, TOKENIZE_ADD_SPECIAL, NULL, 0, &ids, &e) == 0, "%s: %s",
                  path, e.text);
    token_list_free(&ids);
    tokenizer_free(t);
    free(text);
}

START_TEST(a_megabyte_of_one_letter_is_no_trouble)
{
    static const char *const models[] = {"qwen2", "llama", "llama3-rope", "bert-qa",
                                         "t5",    "bart",  "gemma3",      "gpt-neox"};
    static const char *const units[] = {"a", " ", "\xCC\x81", "\xE4\xBB\x8A", "'", "<s>"};
    if (skip_without("LOQUAT_CONFORMANCE", "huge texts through published tokenizers"))
        return;
    for (size_t i = 0; i < sizeof models / sizeof models[0]; i++) {
        char path[1024];
        snprintf(path, sizeof path, "%s/models/%s/tokenizer.json", getenv("LOQUAT_CONFORMANCE"), models[i]);
        encode_huge(path, units[_i]);
    }
}
END_TEST

/* ---- folders ---------------------------------------------------------------------------------- */

static struct tokenizer *read_folder(const char *path)
{
    struct tokenizer_spec spec;
    struct tokenizer *t = NULL;
    struct error e = {0};
    struct arena *arena = arena_create(LIMIT_FILE_ARENA);
    json_t *keep = json_array(), *config = NULL;
    ck_assert_int_eq(config_json_read(path, "config.json", &config, &e), 0);
    const struct tokenizer_folder folder = {path, config, arena, keep};
    int found = tokenizer_folder_read(&folder, &spec, &e);
    ck_assert_msg(found == 1, "%s: %d %s", path, found, e.text);
    ck_assert_msg(tokenizer_create(&spec, &t, &e) == 0, "%s: %s", path, e.text);
    json_decref(keep);
    json_decref(config);
    arena_free(arena);
    return t;
}

static char folder[] = "/tmp/loquat-pipeline-XXXXXX";

static void write_file(const char *name, const char *text)
{
    char path[256];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *f = fopen(path, "w");
    ck_assert_ptr_nonnull(f);
    fputs(text, f);
    fclose(f);
}

static void make_folder(void)
{
    memcpy(folder + sizeof folder - 7, "XXXXXX", 6);
    ck_assert_ptr_nonnull(mkdtemp(folder));
}

static void remove_folder(void)
{
    DIR *d = opendir(folder);
    for (struct dirent *entry; d && (entry = readdir(d));) {
        char path[512];
        snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
        if (entry->d_name[0] != '.')
            unlink(path);
    }
    closedir(d);
    rmdir(folder);
}

START_TEST(a_vocab_txt_is_wordpiece)
{
    static const int32_t lower[] = {2, 4, 5, 6, 3}, cased[] = {2, 1, 6, 3};
    write_file("vocab.txt", "[PAD]\n[UNK]\n[CLS]\n[SEP]\nun\n##able\n!\n");
    write_file("tokenizer_config.json", "{\"do_lower_case\": true}");
    struct tokenizer *t = read_folder(folder);
    assert_list(t, " UnABLE!", NULL, 0, TOKENIZE_ADD_SPECIAL, lower, 5);
    tokenizer_free(t);
    write_file("tokenizer_config.json",
               "{\"do_lower_case\": false, \"model_max_length\": 1000000000000000019884624838656}");
    t = read_folder(folder);
    assert_list(t, " UnABLE!", NULL, 0, TOKENIZE_ADD_SPECIAL, cased, 4);
    ck_assert_int_eq(tokenizer_special(t)->cls, 2);
    tokenizer_free(t);
}
END_TEST

START_TEST(vocab_json_and_merges_are_byte_level)
{
    static const int32_t gpt[] = {5, 1, 4}, roberta[] = {6, 5, 1, 4, 7};
    const char *vocab = "{\"a\": 0, \"b\": 1, \"\xC4\xA0\": 2, \"\xC4\xA0 \": 3, \"\xC4\xA0"
                        "a\": 4, \"ab\": 5,"
                        "\"<s>\": 6, \"</s>\": 7}";
    write_file("vocab.json", vocab);
    write_file("merges.txt", "#version: 0.2\na b\n\xC4\xA0 a\n");
    write_file("tokenizer_config.json", "{\"tokenizer_class\": \"GPT2Tokenizer\", \"eos_token\": \"</s>\"}");
    struct tokenizer *t = read_folder(folder);
    assert_list(t, "abb a", NULL, 0, TOKENIZE_ADD_SPECIAL, gpt, 3);
    ck_assert_int_eq(tokenizer_special(t)->eos, 7);
    tokenizer_free(t);
    write_file("tokenizer_config.json", "{\"cls_token\": {\"content\": \"<s>\"}, \"sep_token\": \"</s>\"}");
    t = read_folder(folder);
    assert_list(t, "abb a", NULL, 0, TOKENIZE_ADD_SPECIAL, roberta, 5);
    tokenizer_free(t);
}
END_TEST

START_TEST(a_plain_config_has_characters_or_words)
{
    static const int32_t chars[] = {1, 0, 2}, words[] = {1, 3, 0, 2};
    struct token_list none = {0};
    struct error e = {0};
    write_file("config.json", "{\"tokenizer\": {\"type\": \"char\", \"vocab\": \"vocab.json\"}}");
    write_file("vocab.json", "[\"a\", \"\xC3\xA9\", \"\\n\"]");
    struct tokenizer *t = read_folder(folder);
    assert_list(t,
                "\xC3\xA9"
                "a\n",
                NULL, 0, TOKENIZE_ADD_SPECIAL, chars, 3);
    ck_assert_int_eq(tokenizer_encode(t, "x", 1, 0, NULL, 0, &none, &e), -1);
    ck_assert_ptr_nonnull(strstr(e.text, "U+0078"));
    tokenizer_free(t);
    write_file("config.json",
               "{\"tokenizer\": {\"type\": \"word\", \"pattern\": \"\\\\w+|[^\\\\w\\\\s]|\\\\n\","
               "\"unk\": \"<unk>\", \"join\": \" \"}}");
    write_file("vocab.json", "{\"<unk>\": 0, \"the\": 1, \"\\n\": 2, \",\": 3}");
    t = read_folder(folder);
    assert_list(t, "the, \xC3\xA9t\xC3\xA9 \n", NULL, 0, TOKENIZE_ADD_SPECIAL, words, 4);
    tokenizer_free(t);
    token_list_free(&none);
}
END_TEST

/* Every published folder: what a case gives as text is what its ids are. */
START_TEST(published_cases_have_their_ids)
{
    static const char *const names[] = {
        "bart",           "bert-classifier", "bert-ner", "distilbert-classifier", "gemma3", "gpt-neox",
        "gpt2",           "gpt2-sharded",    "llama",    "llama3-rope",           "marian", "mistral",
        "phi3",           "qwen2",           "qwen3",    "roberta-maskedlm",      "t5",     "torch-rnn",
        "torch-rnn-word", "torch-seq2seq"};
    if (skip_without("LOQUAT_CONFORMANCE", "the published cases"))
        return;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        char path[1024];
        const json_t *one;
        size_t k, checked = 0;
        snprintf(path, sizeof path, "%s/models/%s", getenv("LOQUAT_CONFORMANCE"), names[i]);
        struct tokenizer *t = read_folder(path);
        snprintf(path, sizeof path, "%s/cases/%s.json", getenv("LOQUAT_CONFORMANCE"), names[i]);
        json_t *cases = json_load_file(path, JSON_ALLOW_NUL, NULL);
        ck_assert_ptr_nonnull(cases);
        json_array_foreach(json_object_get(cases, "cases"), k, one)
        {
            const json_t *text = json_object_get(one, "text"), *pair = json_object_get(one, "text_pair");
            const json_t *ids = json_object_get(one, "input_ids");
            struct encoding x;
            struct error e = {0};
            if (!json_is_string(text) || !ids || json_object_get(one, "token_logprobs"))
                continue;
            ck_assert_int_eq(tokenizer_encode_pair(t, json_string_value(text), json_string_length(text),
                                                   json_string_value(pair), json_string_length(pair),
                                                   TOKENIZE_ADD_SPECIAL | TOKENIZE_PARSE_SPECIAL, &x, &e),
                             0);
            bool same = x.n == json_array_size(ids);
            for (size_t j = 0; j < x.n && same; j++)
                same = x.ids[j] == number(ids, j);
            ck_assert_msg(same, "%s: \"%s\"", names[i], json_string_value(text));
            encoding_free(&x);
            checked++;
        }
        ck_assert_uint_ge(checked, 3);
        json_decref(cases);
        tokenizer_free(t);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("pipeline");
    TCase *golden = tcase_create("golden"), *broken = tcase_create("broken"),
          *folders = tcase_create("folders");
    TCase *huge = tcase_create("huge");
    tcase_set_timeout(golden, 300);
    tcase_set_timeout(broken, 300);
    tcase_set_timeout(huge, 300);
    tcase_add_test(golden, every_component_does_what_the_library_does);
    tcase_add_test(golden, added_tokens_in_a_users_words_are_text);
    tcase_add_test(golden, a_text_that_goes_on_keeps_its_first_space);
    tcase_add_test(golden, published_cases_have_their_ids);
    tcase_add_test(broken, broken_files_end_as_the_table_says);
    tcase_add_test(broken, a_file_cut_short_is_refused);
    tcase_add_test(broken, a_changed_byte_does_no_harm);
    tcase_add_test(broken, published_broken_files_do_no_harm);
    tcase_add_loop_test(huge, a_megabyte_of_one_letter_is_no_trouble, 0, 6);
    tcase_add_checked_fixture(folders, make_folder, remove_folder);
    tcase_add_test(folders, a_vocab_txt_is_wordpiece);
    tcase_add_test(folders, vocab_json_and_merges_are_byte_level);
    tcase_add_test(folders, a_plain_config_has_characters_or_words);
    suite_add_tcase(suite, golden);
    suite_add_tcase(suite, broken);
    suite_add_tcase(suite, folders);
    suite_add_tcase(suite, huge);
    return suite_run(suite);
}
