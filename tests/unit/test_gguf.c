/* test_gguf.c - the GGUF reader: what it says of good files, and that no bytes can hurt it. */
#include <dirent.h>
#include <math.h>

#include "tests/unit/vocabulary.h"
#include "tests/unit/suite.h"

#define HOSTILE TESTS_DIR "/hostile/gguf/"

/* What a file must do. */
static void assert_outcome(const char *path, bool accepted, const char *words)
{
    struct error e = {0};
    struct checkpoint *c = NULL;
    int status = checkpoint_open(path, &c, &e);
    if (accepted) {
        ck_assert_msg(status == 0, "%s", e.text);
        checkpoint_close(c);
        return;
    }
    ck_assert_msg(status == -1, "%s was accepted", path);
    ck_assert_int_ne(e.kind, ERROR_NONE);
    ck_assert_msg(strncmp(e.text, path, strlen(path)) == 0, "the file is not named: %s", e.text);
    ck_assert_msg(strstr(e.text, words) != NULL, "%s\nshould hold: %s", e.text, words);
    ck_assert_ptr_null(strchr(e.text, '\n'));
}

START_TEST(hostile_files_end_as_the_table_says)
{
    size_t len, n = 0;
    char *table = read_file(HOSTILE "expect", &len);
    for (char *line = table, *end; (end = strchr(line, '\n')) != NULL; line = end + 1, n++) {
        char path[1024], *name_end = strchr(line, ' ');
        *end = 0;
        ck_assert_ptr_nonnull(name_end);
        snprintf(path, sizeof path, "%s%.*s", HOSTILE, (int)(name_end - line), line);
        bool accepted = strcmp(name_end, " accept") == 0;
        assert_outcome(path, accepted, accepted ? "" : name_end + strlen(" refuse "));
    }
    ck_assert_uint_gt(n, 60);
    free(table);
}
END_TEST

START_TEST(published_hostile_files_end_as_their_readme_says)
{
    if (skip_without("LOQUAT_CONFORMANCE", "the collected hostile files"))
        return;
    char dir[1024], path[2048];
    snprintf(dir, sizeof dir, "%s/models/hostile/gguf", getenv("LOQUAT_CONFORMANCE"));
    DIR *d = opendir(dir);
    ck_assert_ptr_nonnull(d);
    size_t n = 0;
    for (struct dirent *entry = readdir(d); entry; entry = readdir(d)) {
        size_t len = strlen(entry->d_name);
        if (len < 5 || strcmp(entry->d_name + len - 5, ".gguf") != 0)
            continue;
        snprintf(path, sizeof path, "%s/%s", dir, entry->d_name);
        /* Absurd hyperparameters are for the model's loader to refuse. */
        assert_outcome(path, strcmp(entry->d_name, "hparams_absurd.gguf") == 0, "");
        n++;
    }
    closedir(d);
    ck_assert_uint_ge(n, 38);
}
END_TEST

START_TEST(what_cannot_be_opened_is_named)
{
    assert_outcome(TESTS_DIR "/no-such-file", false, "No such file");
    assert_outcome(TESTS_DIR "/hostile", false, "the folder holds no weights");
    assert_outcome("/dev/null", false, "is not a regular file");
    assert_outcome(TESTS_DIR "/hostile/make_gguf.py", false, "no known checkpoint format");
}
END_TEST

/* Opens bytes, looks at everything they claim, closes. */
static int open_bytes(const void *data, size_t len, struct error *e)
{
    struct bytes *b = NULL;
    struct checkpoint *c = NULL;
    ck_assert_int_eq(bytes_open_memory(data, len, &b, e), 0);
    if (gguf_open_take(b, &c, e) < 0)
        return -1;
    for (size_t i = 0; i < c->tensors->count; i++) {
        const struct tensor_info *t = &c->tensors->tensors[i];
        char byte;
        ck_assert_ptr_eq(c->tensors->find(c->tensors, t->name), t);
        ck_assert_int_eq(c->tensors->read(c->tensors, t, t->bytes - 1, &byte, 1, e), 0);
        ck_assert_int_eq(c->tensors->read(c->tensors, t, t->bytes, &byte, 1, e), -1);
        error_clear(e);
    }
    checkpoint_close(c);
    return 0;
}

static const char *const small_files[] = {HOSTILE "good.gguf", HOSTILE "good-vocabulary.gguf",
                                          HOSTILE "overlap.gguf"};

START_TEST(a_file_cut_anywhere_is_an_error)
{
    size_t len;
    char *data = read_file(small_files[0], &len);
    for (size_t cut = 0; cut < len; cut++) {
        struct error e = {0};
        char *part = malloc(cut ? cut : 1); /* its own block, so that a read past the end shows */
        memcpy(part, data, cut);
        ck_assert_msg(open_bytes(part, cut, &e) == -1, "cut at %zu", cut);
        ck_assert_int_eq(e.kind, ERROR_BAD_FORMAT);
        free(part);
    }
    struct error e = {0};
    ck_assert_int_eq(open_bytes(data, len, &e), 0);
    free(data);
}
END_TEST

START_TEST(no_flipped_byte_does_harm)
{
    size_t len;
    char *data = read_file(small_files[_i], &len);
    for (size_t at = 0; at < len; at++) {
        for (int flip = 1; flip < 256; flip += flip < 8 ? 1 : 31) {
            struct error e = {0};
            data[at] = (char)(data[at] ^ flip);
            (void)open_bytes(data, len, &e);
            data[at] = (char)(data[at] ^ flip);
        }
    }
    free(data);
}
END_TEST

START_TEST(a_cut_vocabulary_is_an_error)
{
    size_t len;
    char *data = read_file(TESTS_DIR "/golden/tokenizers/tiny-bpe.gguf", &len);
    for (size_t cut = 0; cut < len; cut += cut < 2048 ? 1 : 37) {
        struct error e = {0};
        char *part = malloc(cut ? cut : 1);
        memcpy(part, data, cut);
        ck_assert_msg(open_bytes(part, cut, &e) == -1, "cut at %zu", cut);
        free(part);
    }
    free(data);
}
END_TEST

START_TEST(metadata_becomes_json_without_the_big_arrays)
{
    struct error e = {0};
    struct checkpoint *c = NULL;
    ck_assert_msg(checkpoint_open(TESTS_DIR "/golden/tokenizers/tiny-bpe.gguf", &c, &e) == 0, "%s", e.text);
    ck_assert_str_eq(c->format, "GGUF v3");
    ck_assert_str_eq(c->architecture, "llama");
    ck_assert_str_eq(c->name, "tiny-bpe");
    ck_assert_uint_eq(c->tensors->count, 0);
    ck_assert_ptr_null(c->tensors->find(c->tensors, "w"));
    ck_assert_ptr_null(json_object_get(c->config, "tokenizer.ggml.tokens"));
    ck_assert_ptr_null(json_object_get(c->config, "tokenizer.ggml.merges"));
    ck_assert_int_eq(json_integer_value(json_object_get(c->config, "tokenizer.ggml.bos_token_id")), 1);
    const struct tokenizer_spec *t = c->tokenizer;
    ck_assert_uint_eq(t->n_tokens, 500);
    ck_assert_str_eq(t->model, "gpt2");
    ck_assert_str_eq(t->pre, "smollm");
    ck_assert(t->add_bos && t->add_bos_given && !t->add_eos);
    ck_assert_int_eq(t->bos, 1);
    ck_assert_int_eq(t->eos, 2);
    ck_assert_int_eq(t->pad, -1);
    ck_assert_int_eq(t->tokens[2].type, TOKEN_CONTROL);
    ck_assert_str_eq(t->tokens[2].text, "<|im_end|>");
    checkpoint_close(c);
}
END_TEST

START_TEST(numbers_keep_sign_and_fraction)
{
    struct error e = {0};
    struct checkpoint *c = NULL;
    ck_assert_int_eq(checkpoint_open(HOSTILE "good-unknown-keys.gguf", &c, &e), 0);
    ck_assert_double_eq(json_real_value(json_object_get(c->config, "x")), 1.5);
    ck_assert_int_eq(json_integer_value(json_object_get(c->config, "y")), -2);
    checkpoint_close(c);
}
END_TEST

START_TEST(tensors_are_found_and_read_at_any_place)
{
    struct error e = {0};
    struct checkpoint *c = NULL;
    ck_assert_msg(checkpoint_open(TESTS_DIR "/golden/models/tiny-llama.gguf", &c, &e) == 0, "%s", e.text);
    const struct tensor_info *t = c->tensors->find(c->tensors, "output_norm.weight");
    ck_assert_ptr_nonnull(t);
    ck_assert_int_eq(t->dtype, DTYPE_F32);
    ck_assert_uint_eq(t->bytes, t->dims[0] * sizeof(float));
    float all[4096], part[2];
    ck_assert_uint_le(t->bytes, sizeof all);
    ck_assert_int_eq(c->tensors->read(c->tensors, t, 0, all, (size_t)t->bytes, &e), 0);
    ck_assert_int_eq(c->tensors->read(c->tensors, t, 8, part, sizeof part, &e), 0);
    ck_assert_mem_eq(part, all + 2, sizeof part);
    for (size_t i = 0; i < t->dims[0]; i++)
        ck_assert(isfinite(all[i]));
    ck_assert_int_eq(c->tensors->read(c->tensors, t, t->bytes - 4, part, sizeof part, &e), -1);
    checkpoint_close(c);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("gguf");
    TCase *tc = tcase_create("gguf");
    tcase_set_timeout(tc, 300);
    tcase_add_test(tc, hostile_files_end_as_the_table_says);
    tcase_add_test(tc, published_hostile_files_end_as_their_readme_says);
    tcase_add_test(tc, what_cannot_be_opened_is_named);
    tcase_add_test(tc, a_file_cut_anywhere_is_an_error);
    tcase_add_loop_test(tc, no_flipped_byte_does_harm, 0, (int)(sizeof small_files / sizeof small_files[0]));
    tcase_add_test(tc, a_cut_vocabulary_is_an_error);
    tcase_add_test(tc, metadata_becomes_json_without_the_big_arrays);
    tcase_add_test(tc, numbers_keep_sign_and_fraction);
    tcase_add_test(tc, tensors_are_found_and_read_at_any_place);
    suite_add_tcase(suite, tc);
    return suite_run(suite);
}
