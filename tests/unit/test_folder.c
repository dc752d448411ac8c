/* test_folder.c - checkpoints in folders: which files count, what an index may say, whose words a config has,
 * pooling and chat templates.  Every test builds its folder in a temporary place. */
#include <ftw.h>
#include <stdarg.h>
#include <sys/stat.h>

#include "engine/formats/config_json.h"
#include "tests/unit/vocabulary.h"
#include "tests/unit/suite.h"

static char root[256];

static void make_root(void)
{
    snprintf(root, sizeof root, "%s/loquat-folder-XXXXXX", getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp");
    ck_assert_ptr_nonnull(mkdtemp(root));
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st, (void)type, (void)ftw;
    return remove(path);
}

static void remove_root(void)
{
    nftw(root, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static const char *path_of(const char *name)
{
    static char path[512];
    snprintf(path, sizeof path, "%s/%s", root, name);
    return path;
}

static void put_bytes(const char *name, const void *data, size_t len)
{
    FILE *f = fopen(path_of(name), "wb");
    ck_assert_ptr_nonnull(f);
    ck_assert_uint_eq(fwrite(data, 1, len, f), len);
    fclose(f);
}

static void put(const char *name, const char *text)
{
    put_bytes(name, text, strlen(text));
}

/* A safetensors file of float vectors of one element, named by the other arguments up to NULL; element i is
 * `first` + i. */
static void put_weights(const char *name, double first, ...)
{
    char header[1024] = "{", data[256];
    size_t n = 0;
    va_list names;
    va_start(names, first);
    for (const char *tensor = va_arg(names, const char *); tensor;
         tensor = va_arg(names, const char *), n++) {
        char entry[256];
        float value = (float)first + (float)n;
        snprintf(entry, sizeof entry, "%s\"%s\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[%zu,%zu]}",
                 n ? "," : "", tensor, 4 * n, 4 * n + 4);
        strncat(header, entry, sizeof header - strlen(header) - 1);
        memcpy(data + 4 * n, &value, 4);
    }
    va_end(names);
    strncat(header, "}", sizeof header - strlen(header) - 1);
    uint64_t len = strlen(header);
    char file[2048];
    memcpy(file, &len, 8);
    memcpy(file + 8, header, len);
    memcpy(file + 8 + len, data, 4 * n);
    put_bytes(name, file, 8 + (size_t)len + 4 * n);
}

static struct checkpoint *open_good(const char *path)
{
    struct error e = {0};
    struct checkpoint *c = NULL;
    ck_assert_msg(checkpoint_open(path, &c, &e) == 0, "%s", e.text);
    return c;
}

static void assert_refused(const char *path, const char *words)
{
    struct error e = {0};
    struct checkpoint *c = NULL;
    ck_assert_msg(checkpoint_open(path, &c, &e) == -1, "%s was accepted", path);
    ck_assert_msg(strncmp(e.text, path, strlen(path)) == 0, "the path is not named: %s", e.text);
    ck_assert_msg(strstr(e.text, words) != NULL, "%s\nshould hold: %s", e.text, words);
    ck_assert_ptr_null(strchr(e.text, '\n'));
}

static float value_of(const struct checkpoint *c, const char *name)
{
    struct error e = {0};
    float value = 0;
    const struct tensor_info *t = c->tensors->find(c->tensors, name);
    ck_assert_msg(t != NULL, "there is no tensor %s", name);
    ck_assert_int_eq(c->tensors->read(c->tensors, t, 0, &value, sizeof value, &e), 0);
    return value;
}

START_TEST(a_published_folder_is_read_whole)
{
    put("config.json", "{\"model_type\": \"llama\", \"hidden_size\": 4}");
    put("generation_config.json", "{\"num_beams\": 3}");
    put_weights("model.safetensors", 1, "a", "b", NULL);
    struct checkpoint *c = open_good(root);
    ck_assert_int_eq(c->dialect, DIALECT_TRANSFORMERS);
    ck_assert_str_eq(c->architecture, "llama");
    ck_assert_str_eq(c->format, "safetensors");
    ck_assert_int_eq(json_integer_value(json_object_get(c->config, "hidden_size")), 4);
    ck_assert_int_eq(json_integer_value(json_object_get(c->generation, "num_beams")), 3);
    ck_assert_uint_eq(c->tensors->count, 2);
    ck_assert(value_of(c, "b") == 2);
    ck_assert_ptr_null(c->pooling);
    ck_assert_ptr_null(c->chat_template);
    checkpoint_close(c);
}
END_TEST

START_TEST(the_config_decides_whose_words_it_speaks)
{
    put_weights("model.safetensors", 1, "a", NULL);
    struct checkpoint *c = open_good(path_of("model.safetensors"));
    ck_assert_int_eq(c->dialect, DIALECT_TORCH);
    ck_assert_ptr_null(c->architecture);
    ck_assert_ptr_nonnull(c->config);
    checkpoint_close(c);
    put("config.json", "{\"architecture\": \"rnn-lm\"}");
    c = open_good(path_of("model.safetensors"));
    ck_assert_int_eq(c->dialect, DIALECT_TORCH);
    ck_assert_str_eq(c->architecture, "rnn-lm");
    checkpoint_close(c);
    put("config.json", "{\"architectures\": [\"SomeModel\"]}");
    c = open_good(root);
    ck_assert_int_eq(c->dialect, DIALECT_TRANSFORMERS);
    ck_assert_ptr_null(c->architecture);
    checkpoint_close(c);
    put("config.json", "{\"model_type\": 7}");
    assert_refused(root, "config.json: model_type is not a text");
}
END_TEST

START_TEST(a_broken_config_is_named_with_its_place)
{
    put_weights("model.safetensors", 1, "a", NULL);
    put("config.json", "{\"a\": 1,\n \"a\": 2}");
    assert_refused(root, "config.json: invalid JSON at line 2");
    put("config.json", "[1]");
    assert_refused(root, "config.json: the root is not an object");
    put("config.json", "");
    assert_refused(root, "config.json: the file is empty");
    char nested[400];
    memset(nested, '[', sizeof nested - 1);
    nested[sizeof nested - 1] = 0;
    put("config.json", nested);
    assert_refused(root, "config.json: JSON is nested");
    put("config.json", "{}");
    put("generation_config.json", "nonsense");
    assert_refused(root, "generation_config.json: invalid JSON");
}
END_TEST

static const char index_text[] =
    "{\"weight_map\": {\"a\": \"one.safetensors\", \"b\": \"two.safetensors\", \"c\": \"two.safetensors\"}}";

START_TEST(shards_become_one_source)
{
    put_weights("one.safetensors", 1, "a", NULL);
    put_weights("two.safetensors", 10, "b", "c", NULL);
    put("model.safetensors.index.json", index_text);
    struct checkpoint *c = open_good(root);
    ck_assert_str_eq(c->format, "safetensors, 2 shards");
    ck_assert_uint_eq(c->tensors->count, 3);
    ck_assert(value_of(c, "a") == 1 && value_of(c, "b") == 10 && value_of(c, "c") == 11);
    checkpoint_close(c);
    c = open_good(path_of("model.safetensors.index.json"));
    ck_assert_uint_eq(c->tensors->count, 3);
    checkpoint_close(c);
}
END_TEST

START_TEST(an_index_and_its_shards_must_agree)
{
    put("model.safetensors.index.json", index_text);
    put_weights("one.safetensors", 1, "a", NULL);
    assert_refused(root, "two.safetensors: cannot open the file");
    put_weights("two.safetensors", 10, "b", NULL);
    assert_refused(root, "two.safetensors: the tensor c is not in it, as the index says");
    put_weights("one.safetensors", 1, "a", "c", NULL);
    assert_refused(root, "two.safetensors: the tensor c is not in it");
    put_weights("two.safetensors", 10, "b", "c", NULL); /* c of one.safetensors is not taken */
    struct checkpoint *c = open_good(root);
    ck_assert(value_of(c, "c") == 11);
    checkpoint_close(c);
    put("two.safetensors", "short");
    assert_refused(root, "two.safetensors: the length of the header");
}
END_TEST

START_TEST(an_index_never_leads_out_of_the_folder)
{
    static const char *const places[] = {"../one.safetensors", "/etc/passwd", "..", ".", "",
                                         "sub/one.safetensors"};
    put_weights("one.safetensors", 1, "a", NULL);
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
        char text[256];
        snprintf(text, sizeof text, "{\"weight_map\": {\"a\": \"%s\"}}", places[i]);
        put("model.safetensors.index.json", text);
        assert_refused(root, "not the name of a file here");
    }
    put("model.safetensors.index.json", "{\"weight_map\": {\"a\": 1}}");
    assert_refused(root, "not the name of a file here");
    put("model.safetensors.index.json", "{\"weight_map\": {}}");
    assert_refused(root, "weight_map is missing, empty or no object");
    put("model.safetensors.index.json", "{}");
    assert_refused(root, "weight_map is missing");
}
END_TEST

START_TEST(several_files_of_weights_are_listed_not_guessed)
{
    assert_refused(root, "the folder holds no weights");
    put_weights("b.safetensors", 1, "a", NULL);
    struct checkpoint *c = open_good(root);
    checkpoint_close(c);
    put_weights("a.safetensors", 2, "a", NULL);
    put("training_args.bin", "PK\3\4");
    put("notes.bin", "no weights");
    assert_refused(root,
                   "holds 2 files that could be the weights; name one of them: a.safetensors, b.safetensors");
    c = open_good(path_of("a.safetensors"));
    ck_assert(value_of(c, "a") == 2);
    checkpoint_close(c);
    put_weights("model.safetensors", 3, "a", NULL); /* the usual name needs no choice */
    c = open_good(root);
    ck_assert(value_of(c, "a") == 3);
    checkpoint_close(c);
}
END_TEST

START_TEST(a_file_that_says_everything_needs_no_folder)
{
    size_t len;
    char *data = read_file(TESTS_DIR "/golden/models/tiny-llama.gguf", &len);
    put_bytes("any.gguf", data, len);
    free(data);
    struct checkpoint *c = open_good(root);
    ck_assert_int_eq(c->dialect, DIALECT_GGUF);
    ck_assert_str_eq(c->format, "GGUF v3");
    checkpoint_close(c);
    put("any.gguf", "GGUX");
    assert_refused(root, "any.gguf: ");
}
END_TEST

#define MODULES(pooling_path)                                                                                \
    "[{\"idx\": 0, \"name\": \"0\", \"path\": \"\", \"type\": "                                              \
    "\"sentence_transformers.models.Transformer\"},"                                                         \
    " {\"path\": \"" pooling_path "\", \"type\": \"sentence_transformers.models.Pooling\"}"

START_TEST(modules_say_how_hidden_states_are_pooled)
{
    put("config.json", "{\"model_type\": \"bert\"}");
    put_weights("model.safetensors", 1, "a", NULL);
    put("modules.json",
        MODULES("1_Pooling") ", {\"path\": \"2\", \"type\": \"sentence_transformers.models.Normalize\"}]");
    assert_refused(root, "1_Pooling/config.json is missing");
    ck_assert_int_eq(mkdir(path_of("1_Pooling"), 0777), 0);
    put("1_Pooling/config.json", "{\"pooling_mode_cls_token\": true, \"pooling_mode_mean_tokens\": false}");
    struct checkpoint *c = open_good(root);
    ck_assert_str_eq(json_string_value(json_object_get(c->pooling, "pooling")), "cls");
    ck_assert(json_is_true(json_object_get(c->pooling, "normalize")));
    checkpoint_close(c);
    put("1_Pooling/config.json", "{\"pooling_mode\": \"lasttoken\"}");
    put("modules.json", MODULES("1_Pooling") "]");
    c = open_good(root);
    ck_assert_str_eq(json_string_value(json_object_get(c->pooling, "pooling")), "last");
    ck_assert(json_is_false(json_object_get(c->pooling, "normalize")));
    checkpoint_close(c);
}
END_TEST

START_TEST(what_modules_ask_for_is_never_skipped)
{
    put_weights("model.safetensors", 1, "a", NULL);
    ck_assert_int_eq(mkdir(path_of("1_Pooling"), 0777), 0);
    put("modules.json", MODULES("1_Pooling") "]");
    put("1_Pooling/config.json", "{\"pooling_mode_cls_token\": true, \"pooling_mode_mean_tokens\": true}");
    assert_refused(root,
                   "1_Pooling/config.json: pooling_mode_mean_tokens is not supported with another mode");
    put("1_Pooling/config.json", "{\"pooling_mode_weightedmean_tokens\": true}");
    assert_refused(root, "pooling_mode_weightedmean_tokens is not supported");
    put("1_Pooling/config.json", "{}");
    assert_refused(root, "no pooling mode is true");
    put("modules.json", MODULES("../1_Pooling") "]");
    assert_refused(root, "modules.json: a module has no type, or a path");
    put("modules.json", "[{\"path\": \"2_Dense\", \"type\": \"sentence_transformers.models.Dense\"}]");
    assert_refused(root, "modules of type Dense are not supported");
}
END_TEST

START_TEST(a_transformer_may_lie_in_a_folder_of_its_own)
{
    ck_assert_int_eq(mkdir(path_of("0_Transformer"), 0777), 0);
    put("modules.json",
        "[{\"path\": \"0_Transformer\", \"type\": \"sentence_transformers.models.Transformer\"}]");
    put("0_Transformer/config.json", "{\"model_type\": \"bert\"}");
    put_weights("0_Transformer/model.safetensors", 5, "a", NULL);
    struct checkpoint *c = open_good(root);
    ck_assert_str_eq(c->architecture, "bert");
    ck_assert(value_of(c, "a") == 5);
    checkpoint_close(c);
}
END_TEST

static void assert_template(const char *expected)
{
    struct checkpoint *c = open_good(root);
    ck_assert_ptr_nonnull(c->chat_template);
    ck_assert_str_eq(c->chat_template, expected);
    checkpoint_close(c);
}

START_TEST(the_chat_template_comes_from_where_it_is)
{
    put_weights("model.safetensors", 1, "a", NULL);
    put("tokenizer_config.json",
        "{\"model_max_length\": 1000000000000000019884624838656, \"chat_template\": \"one\"}");
    assert_template("one");
    put("tokenizer_config.json", "{\"chat_template\": [{\"name\": \"tool\", \"template\": \"no\"},"
                                 "{\"name\": \"default\", \"template\": \"two\"}]}");
    assert_template("two");
    put("chat_template.json", "{\"chat_template\": \"three\"}");
    assert_template("three");
    put("chat_template.jinja", "four\n");
    assert_template("four\n");
    put("chat_template.jinja", "\xFF");
    assert_refused(root, "chat_template.jinja: the text is not valid UTF-8");
    remove(path_of("chat_template.jinja"));
    put("chat_template.json", "{\"chat_template\": 4}");
    assert_refused(root, "chat_template.json: chat_template must be a text or a list");
}
END_TEST

START_TEST(integers_of_any_size_are_read_as_python_writes_them)
{
    static const struct {
        const char *text;
        double value;
    } rows[] = {{"[1000000000000000019884624838656]", 1e30},
                {"[-1000000000000000019884624838656, \"1000000000000000019884624838656\"]", -1e30},
                {"[123456789012345678]", 123456789012345678.0},
                {"[9223372036854775807]", 9223372036854775807.0},
                {"[9223372036854775808]", 9223372036854775808.0},
                {"[1.5]", 1.5},
                {"[\"a \\\" 99999999999999999999999\", 7]", 7}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct error e = {0};
        json_t *value = NULL;
        ck_assert_msg(config_json_parse(rows[i].text, strlen(rows[i].text), &value, &e) == 0, "%s", e.text);
        const json_t *number = json_array_get(value, json_is_number(json_array_get(value, 0)) ? 0 : 1);
        ck_assert(json_number_value(number) == rows[i].value);
        json_decref(value);
    }
    static const char *const bad[] = {"[1e400]", "[12345678901234567890x]", "[NaN]", "[-]"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct error e = {0};
        json_t *value = NULL;
        ck_assert_int_eq(config_json_parse(bad[i], strlen(bad[i]), &value, &e), -1);
        ck_assert_int_eq(e.kind, ERROR_BAD_FORMAT);
    }
}
END_TEST

static Suite *make_suite(void)
{
    const TTest *const tests[] = {a_published_folder_is_read_whole,
                                  the_config_decides_whose_words_it_speaks,
                                  a_broken_config_is_named_with_its_place,
                                  shards_become_one_source,
                                  an_index_and_its_shards_must_agree,
                                  an_index_never_leads_out_of_the_folder,
                                  several_files_of_weights_are_listed_not_guessed,
                                  a_file_that_says_everything_needs_no_folder,
                                  modules_say_how_hidden_states_are_pooled,
                                  what_modules_ask_for_is_never_skipped,
                                  a_transformer_may_lie_in_a_folder_of_its_own,
                                  the_chat_template_comes_from_where_it_is,
                                  integers_of_any_size_are_read_as_python_writes_them};
    Suite *s = suite_create("folder");
    TCase *t = tcase_create("folder");
    tcase_add_checked_fixture(t, make_root, remove_root);
    for (size_t i = 0; i < sizeof tests / sizeof tests[0]; i++)
        tcase_add_test(t, tests[i]);
    suite_add_tcase(s, t);
    return s;
}

int main(void)
{
    return suite_run(make_suite());
}
