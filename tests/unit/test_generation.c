/* test_generation.c - how a checkpoint wants its text generated, read and refused. */
#include <check.h>
#include <string.h>

#include "engine/base/generation.h"
#include "engine/base/json.h"
#include "tests/unit/suite.h"

static int read_rules(const char *text, struct generation_rules *rules, struct error *e)
{
    json_t *config = NULL;
    error_clear(e);
    ck_assert_int_eq(json_parse(text, strlen(text), &config, e), 0);
    int status = generation_rules_read(config, 100, rules, e);
    json_decref(config);
    return status;
}

START_TEST(silence_means_no_rules)
{
    struct generation_rules rules;
    struct error e = {0};
    ck_assert_int_eq(generation_rules_read(NULL, 100, &rules, &e), 0);
    ck_assert_int_eq(rules.start, -1);
    ck_assert_int_eq(read_rules("{\"generation.forced_bos_token_id\": null}", &rules, &e), 0);
    ck_assert(rules.start == -1 && rules.forced_bos == -1 && rules.forced_eos == -1);
    ck_assert(rules.n_ends == 0 && rules.n_suppressed == 0 && rules.beams == 0 && rules.max_new_tokens == 0);
    ck_assert(rules.length_penalty == 1 && rules.max_length_ratio == 0 && !rules.early_stopping);
}
END_TEST

START_TEST(every_word_is_read)
{
    struct generation_rules r;
    struct error e = {0};
    ck_assert_int_eq(
        read_rules("{\"generation.eos_token_ids\": [1, 5, 200], \"generation.suppress_tokens\": [-1, 7],"
                   "\"generation.decoder_start_token_id\": 2, \"generation.forced_bos_token_id\": 0,"
                   "\"generation.forced_eos_token_id\": 99, \"generation.no_repeat_ngram_size\": 3,"
                   "\"generation.num_beams\": 4, \"generation.length_penalty\": 2,"
                   "\"generation.early_stopping\": true, \"generation.max_length\": 20,"
                   "\"generation.max_new_tokens\": 60, \"generation.max_length_ratio\": 2.5}",
                   &r, &e),
        0);
    ck_assert(r.n_ends == 2 && r.ends[0] == 1 && r.ends[1] == 5); /* 200 can't come */
    ck_assert(r.n_suppressed == 1 && r.suppressed[0] == 7);
    ck_assert(r.start == 2 && r.forced_bos == 0 && r.forced_eos == 99);
    ck_assert(r.no_repeat_ngram == 3 && r.beams == 4 && r.length_penalty == 2 && r.early_stopping);
    ck_assert(r.max_new_tokens == 60 && r.max_length_ratio == 2.5f);
    ck_assert_int_eq(read_rules("{\"generation.eos_token_ids\": 9, \"generation.max_length\": 20,"
                                "\"generation.early_stopping\": \"never\"}",
                                &r, &e),
                     0);
    ck_assert(r.n_ends == 1 && r.ends[0] == 9 && r.max_new_tokens == 20 && !r.early_stopping);
}
END_TEST

START_TEST(what_makes_no_sense_is_named)
{
    static const char *const keys[][2] = {
        {"generation.eos_token_ids", "\"</s>\""},       {"generation.eos_token_ids", "[1, \"</s>\"]"},
        {"generation.decoder_start_token_id", "100"},   {"generation.decoder_start_token_id", "-2"},
        {"generation.forced_bos_token_id", "[1]"},      {"generation.forced_eos_token_id", "4294967296"},
        {"generation.no_repeat_ngram_size", "-1"},      {"generation.num_beams", "2.5"},
        {"generation.length_penalty", "\"long\""},      {"generation.length_penalty", "1e30"},
        {"generation.early_stopping", "\"sometimes\""}, {"generation.max_new_tokens", "1e3"},
        {"generation.max_length_ratio", "-1"},
    };
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        struct generation_rules rules;
        struct error e = {0};
        char text[200];
        snprintf(text, sizeof text, "{\"%s\": %s}", keys[i][0], keys[i][1]);
        ck_assert_int_eq(read_rules(text, &rules, &e), -1);
        ck_assert_msg(strstr(e.text, keys[i][0]) != NULL, "%s: %s", text, e.text);
    }
}
END_TEST

START_TEST(long_lists_are_bounded)
{
    struct generation_rules rules;
    struct error e = {0};
    struct buf text;
    buf_init(&text, 4096);
    buf_add_text(&text, "{\"generation.eos_token_ids\": [0");
    for (int i = 1; i <= GENERATION_ENDS; i++)
        buf_printf(&text, ", %d", i);
    buf_add_text(&text, "]}");
    buf_add(&text, "", 1);
    ck_assert_int_eq(read_rules(text.data, &rules, &e), -1);
    ck_assert_int_eq(e.kind, ERROR_UNSUPPORTED);
    buf_free(&text);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("generation");
    TCase *c = tcase_create("rules");
    tcase_add_test(c, silence_means_no_rules);
    tcase_add_test(c, every_word_is_read);
    tcase_add_test(c, what_makes_no_sense_is_named);
    tcase_add_test(c, long_lists_are_bounded);
    suite_add_tcase(suite, c);
    return suite_run(suite);
}
