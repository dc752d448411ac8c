/* test_arpa.c - n-gram models in ARPA's format: what comes out of good files, and that no text can do harm.
 */
#include "tests/unit/hostile_table.h"
#include "tests/unit/suite.h"

#define HOSTILE TESTS_DIR "/hostile/arpa/"

static struct checkpoint *open_file(const char *path)
{
    struct error e = {0};
    struct bytes *b = NULL;
    struct checkpoint *c = NULL;
    ck_assert_msg(bytes_open_file(path, &b, &e) == 0, "%s: %s", path, e.text);
    ck_assert_msg(arpa_open_take(b, &c, &e) == 0, "%s: %s", path, e.text);
    return c;
}

static int open_and_look(struct bytes *b, const char *name, struct error *e)
{
    struct checkpoint *c = NULL;
    (void)name;
    if (arpa_open_take(b, &c, e) < 0)
        return -1;
    look_at_tensors(c->tensors);
    const struct tokenizer_spec *t = c->tokenizer;
    ck_assert(t->unk >= 0 && t->unk < (int32_t)t->n_tokens);
    ck_assert(t->bos < (int32_t)t->n_tokens && t->eos < (int32_t)t->n_tokens);
    checkpoint_close(c);
    return 0;
}

START_TEST(hostile_files_end_as_the_table_says)
{
    hostile_run_table(open_and_look, TESTS_DIR "/hostile/arpa", 50);
}
END_TEST

START_TEST(a_file_cut_anywhere_is_an_error)
{
    hostile_cut(open_and_look, HOSTILE "good.arpa.gz", "good");
    hostile_cut(open_and_look, HOSTILE "good-no-end-of-line.arpa", "good");
}
END_TEST

START_TEST(no_changed_byte_does_harm)
{
    hostile_flip(open_and_look, HOSTILE "good.arpa.gz", "good");
    hostile_flip(open_and_look, HOSTILE "good.arpa", "good");
}
END_TEST

static void expect_ids(const struct checkpoint *c, const char *name, const int32_t *want, size_t n)
{
    struct error e = {0};
    int32_t got[32];
    const struct tensor_info *t = c->tensors->find(c->tensors, name);
    ck_assert_msg(t && t->dtype == DTYPE_I32 && t->bytes == n * 4, "%s", name);
    ck_assert_int_eq(c->tensors->read(c->tensors, t, 0, got, t->bytes, &e), 0);
    for (size_t i = 0; i < n; i++)
        ck_assert_msg(got[i] == want[i], "%s[%zu] is %d, not %d", name, i, got[i], want[i]);
}

static void expect_values(const struct checkpoint *c, const char *name, const float *want, size_t n)
{
    struct error e = {0};
    float got[32];
    const struct tensor_info *t = c->tensors->find(c->tensors, name);
    ck_assert_msg(t && t->dtype == DTYPE_F32 && t->bytes == n * 4 && t->n_dims == 1, "%s", name);
    ck_assert_int_eq(c->tensors->read(c->tensors, t, 0, got, t->bytes, &e), 0);
    for (size_t i = 0; i < n; i++)
        ck_assert_msg(got[i] == want[i], "%s[%zu] is %g, not %g", name, i, (double)got[i], (double)want[i]);
}

static const char *const forms[] = {"good.arpa", "good.arpa.gz", "good-parts.arpa.gz", "good-crlf.arpa",
                                    "good-spaces.arpa"};

START_TEST(tensors_are_as_documented)
{
    char path[512];
    snprintf(path, sizeof path, HOSTILE "%s", forms[_i]);
    struct checkpoint *c = open_file(path);
    ck_assert_int_eq(c->dialect, DIALECT_ARPA);
    ck_assert_ptr_null(c->architecture);
    ck_assert_uint_eq(c->tensors->count, 8);
    expect_ids(c, "ngram.1.tokens", (const int32_t[]){0, 1, 2, 3, 4}, 5);
    expect_values(c, "ngram.1.logprob", (const float[]){-1.2f, -99, -0.5f, -0.7f, -0.9f}, 5);
    expect_values(c, "ngram.1.backoff", (const float[]){0, -0.3f, 0, -0.1f, -0.2f}, 5);
    expect_ids(c, "ngram.2.tokens", (const int32_t[]){1, 3, 1, 4, 3, 4, 4, 2}, 8);
    expect_values(c, "ngram.2.logprob", (const float[]){-0.2f, -0.3f, -0.4f, -0.1f}, 4);
    expect_values(c, "ngram.2.backoff", (const float[]){0, -0.5f, -0.05f, 0}, 4);
    expect_ids(c, "ngram.3.tokens", (const int32_t[]){1, 3, 4}, 3);
    expect_values(c, "ngram.3.logprob", (const float[]){-0.11f}, 1);
    ck_assert_ptr_null(c->tensors->find(c->tensors, "ngram.3.backoff"));
    checkpoint_close(c);
}
END_TEST

START_TEST(the_tokenizer_numbers_the_unigrams)
{
    struct checkpoint *c = open_file(HOSTILE "good.arpa");
    const struct tokenizer_spec *t = c->tokenizer;
    ck_assert_str_eq(t->model, "word");
    ck_assert_uint_eq(t->n_tokens, 5);
    ck_assert_str_eq(t->tokens[4].text, "w\xc3\xb6rld");
    ck_assert_int_eq(t->unk, 0);
    ck_assert_int_eq(t->bos, 1);
    ck_assert_int_eq(t->eos, 2);
    ck_assert_int_eq(t->tokens[1].type, TOKEN_CONTROL);
    ck_assert(t->add_bos && t->add_bos_given && !t->add_eos);
    ck_assert_str_eq(json_string_value(json_object_get(t->options, "pattern")), "\\S+");
    ck_assert_str_eq(json_string_value(json_object_get(t->options, "join")), " ");
    checkpoint_close(c);
}
END_TEST

START_TEST(a_missing_unknown_word_gets_an_id)
{
    struct checkpoint *c = open_file(HOSTILE "good-no-unknown.arpa");
    ck_assert_uint_eq(c->tokenizer->n_tokens, 5);
    ck_assert_int_eq(c->tokenizer->unk, 4);
    ck_assert_uint_eq(c->tensors->find(c->tensors, "ngram.1.tokens")->dims[1], 4);
    checkpoint_close(c);
    c = open_file(HOSTILE "good-sri-unknown.arpa");
    ck_assert_uint_eq(c->tokenizer->n_tokens, 5);
    ck_assert_int_eq(c->tokenizer->unk, 0);
    checkpoint_close(c);
}
END_TEST

START_TEST(empty_high_orders_are_left_out)
{
    struct checkpoint *c = open_file(HOSTILE "good-empty-order.arpa");
    ck_assert_uint_eq(c->tensors->count, 5);
    ck_assert_ptr_null(c->tensors->find(c->tensors, "ngram.3.tokens"));
    checkpoint_close(c);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("arpa");
    TCase *tc = tcase_create("arpa");
    tcase_set_timeout(tc, 300);
    tcase_add_test(tc, hostile_files_end_as_the_table_says);
    tcase_add_test(tc, a_file_cut_anywhere_is_an_error);
    tcase_add_test(tc, no_changed_byte_does_harm);
    tcase_add_loop_test(tc, tensors_are_as_documented, 0, (int)(sizeof forms / sizeof forms[0]));
    tcase_add_test(tc, the_tokenizer_numbers_the_unigrams);
    tcase_add_test(tc, a_missing_unknown_word_gets_an_id);
    tcase_add_test(tc, empty_high_orders_are_left_out);
    suite_add_tcase(suite, tc);
    return suite_run(suite);
}
