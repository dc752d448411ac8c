/* test_classify.c - /v1/classify and /v1/sentiment with heads and with given labels; /v1/score. */
#include <check.h>
#include <math.h>
#include <string.h>

#include "engine/base/limits.h"
#include "tests/unit/fake_engine.h"
#include "tests/unit/suite.h"

static struct fake_call f;
static const char *const labels[] = {"BAD", "FINE", "GOOD"};

static void head(enum engine_problem problem, size_t n_labels)
{
    fake_engine(NULL);
    fake_info(0)->abilities = ENGINE_CAN_CLASSIFY | ENGINE_CAN_EMBED;
    fake_info(0)->labels = labels;
    fake_info(0)->n_labels = n_labels;
    fake_info(0)->problem = problem;
}

START_TEST(test_one_label_of_several)
{
    const float logits[2][3] = {{0, 1, 3}, {2, 2, -1}};
    head(ENGINE_PROBLEM_SINGLE, 3);
    fake_begin_ok(&f, NULL, "/v1/classify", "{\"texts\":[\"a b\",\"\"],\"top_k\":2}");
    ck_assert_str_eq(fake_prompt(&f, 0), "<s>ab</s>");
    ck_assert_int_eq(f.call.jobs[0].task, ENGINE_TASK_CLASSIFY);
    fake_result(&f, 1, logits[1], 1, 3);
    fake_result(&f, 0, logits[0], 1, 3);
    json_t *a = fake_done(&f);
    double sum = 1 + exp(1) + exp(3);
    ck_assert_str_eq(text_at(a, "object"), "classification");
    ck_assert_str_eq(text_at(a, "id"), "cls-r\"1");
    ck_assert_str_eq(text_at(a, "results/0/label"), "GOOD");
    ck_assert_double_eq_tol(number_at(a, "results/0/score"), exp(3) / sum, 1e-6);
    ck_assert_uint_eq(json_array_size(at(a, "results/0/labels")), 2);
    ck_assert_str_eq(text_at(a, "results/0/labels/1/label"), "FINE");
    ck_assert_double_eq_tol(number_at(a, "results/0/labels/1/score"), exp(1) / sum, 1e-6);
    ck_assert_int_eq(json_integer_value(at(a, "results/1/index")), 1);
    ck_assert_str_eq(text_at(a, "results/1/label"), "BAD"); /* the first of equals */
    ck_assert_int_eq(json_integer_value(at(a, "usage/prompt_tokens")), 6);
    ck_assert_int_eq(json_integer_value(at(a, "usage/completion_tokens")), 0);
    json_decref(a);
    fake_end(&f);
}
END_TEST

START_TEST(test_several_labels_at_once)
{
    const float logits[3] = {1, -1, 0};
    head(ENGINE_PROBLEM_MULTI, 3);
    fake_begin_ok(&f, NULL, "/v1/sentiment", "{\"text\":\"a\"}");
    fake_result(&f, 0, logits, 1, 3);
    json_t *a = fake_done(&f);
    ck_assert_double_eq_tol(number_at(a, "results/0/score"), 1 / (1 + exp(-1)), 1e-6);
    ck_assert_double_eq_tol(number_at(a, "results/0/labels/1/score"), 0.5, 1e-6);
    ck_assert_str_eq(text_at(a, "results/0/labels/2/label"), "FINE");
    json_decref(a);
    fake_end(&f);
}
END_TEST

START_TEST(test_regression)
{
    const float value = -2.5f, two[2] = {1.5f, 4};
    head(ENGINE_PROBLEM_REGRESSION, 1);
    fake_begin_ok(&f, NULL, "/v1/classify", "{\"pairs\":[[\"a\",\"bc\"]]}");
    ck_assert_str_eq(fake_prompt(&f, 0), "<s>a</s>bc</s>");
    ck_assert_int_eq(f.call.jobs[0].types[3], 1);
    fake_result(&f, 0, &value, 1, 1);
    json_t *a = fake_done(&f);
    ck_assert_double_eq(number_at(a, "results/0/value"), -2.5);
    ck_assert_ptr_null(at(a, "results/0/label"));
    ck_assert_ptr_null(at(a, "results/0/values"));
    json_decref(a);
    fake_end(&f);
    fake_begin_ok(&f, NULL, "/v1/classify", "{\"text\":\"a\"}");
    fake_result(&f, 0, two, 1, 2);
    a = fake_done(&f);
    ck_assert_double_eq(number_at(a, "results/0/values/1"), 4);
    json_decref(a);
    fake_end(&f);
    fake_refused(NULL, "/v1/classify", "{\"text\":\"a\",\"top_k\":1}", ERROR_UNSUPPORTED, "top_k", "a value");
}
END_TEST

START_TEST(test_refusals)
{
    static const struct {
        const char *body, *param, *message;
    } bad[] = {{"{}", "text", "either text or texts"},
               {"{\"text\":\"a\",\"texts\":[\"b\"]}", "text", "either"},
               {"{\"text\":\"a\",\"pairs\":[[\"b\",\"c\"]]}", "pairs", "give one of"},
               {"{\"texts\":[]}", "texts", "must not be empty"},
               {"{\"texts\":[5]}", "texts", "must be a string"},
               {"{\"pairs\":[]}", "pairs", "from 1 to 2048"},
               {"{\"pairs\":[[\"a\"]]}", "pairs", "pairs[0] must be a list of two texts"},
               {"{\"pairs\":[[\"a\",\"b\"],[\"a\",5]]}", "pairs", "pairs[1] must be"},
               {"{\"pairs\":[\"ab\"]}", "pairs", "pairs[0] must be"},
               {"{\"text\":\"a\",\"top_k\":0}", "top_k", "from 1"},
               {"{\"text\":\"a\",\"threshold\":1}", "threshold", "unknown field"}};
    head(ENGINE_PROBLEM_SINGLE, 3);
    fake_refused(NULL, "/v1/classify", bad[_i].body, ERROR_INVALID_REQUEST, bad[_i].param, bad[_i].message);
}
END_TEST

START_TEST(test_long_texts)
{
    char body[400], text[141];
    memset(text, 'x', 140);
    text[140] = 0;
    head(ENGINE_PROBLEM_SINGLE, 3);
    snprintf(body, sizeof body, "{\"text\":\"%s\"}", text);
    fake_refused(NULL, "/v1/classify", body, ERROR_CONTEXT_LENGTH, "text", "However, text has 142 tokens");
    snprintf(body, sizeof body, "{\"pairs\":[[\"a\",\"%s\"]],\"truncate\":true}", text);
    fake_begin_ok(&f, NULL, "/v1/classify", body);
    fake_result(&f, 0, (const float[]){1, 2, 3}, 1, 3);
    json_t *a = fake_done(&f);
    ck_assert(json_is_true(at(a, "results/0/truncated")));
    json_decref(a);
    fake_end(&f);
    fake_refused(NULL, "/v1/classify", "{\"text\":\"a\",\"labels\":[\"a\",\"b\"]}", ERROR_UNSUPPORTED,
                 "labels", "has labels of its own");
}
END_TEST

/* ---- labels that are given ------------------------------------------------------------------- */

/* Every token of the prompt has `base`, the last n of it `label`. */
static void play_likelihood(size_t job, size_t n, float base, float label)
{
    struct engine_token tokens[512] = {{0}};
    size_t n_prompt = f.call.jobs[job].n_prompt;
    ck_assert_uint_lt(n_prompt, 512);
    for (size_t i = 0; i < n_prompt; i++)
        tokens[i] = (struct engine_token){.id = f.call.jobs[job].prompt[i],
                                          .logprob = i + n >= n_prompt ? label : base,
                                          .has_logprob = i > 0};
    struct engine_event event = {.kind = ENGINE_EVENT_PROMPT, .tokens = tokens, .n_tokens = n_prompt};
    api_call_event(&f.call, job, &event);
    fake_final(&f, job, n_prompt, 0, 0);
}

START_TEST(test_given_labels)
{
    fake_engine(NULL);
    fake_info(0)->context = 400;
    fake_begin_ok(&f, NULL, "/v1/classify", "{\"texts\":[\"fine day\"],\"labels\":[\"sun\",\"rain\"]}");
    ck_assert_uint_eq(f.call.n_jobs, 4); /* the text and no text, with each label */
    ck_assert(f.call.jobs[0].prompt_logprobs);
    ck_assert_uint_eq(f.call.jobs[0].max_tokens, 0);
    ck_assert_str_eq(fake_prompt(&f, 0), "<s>You label texts with one word.\n\nText: fine day\nLabel: sun");
    ck_assert_str_eq(fake_prompt(&f, 3), "<s>You label texts with one word.\n\nText: \nLabel: rain");
    play_likelihood(0, 4, -9, -0.5f); /* " sun": -2 with the text, -4 without */
    play_likelihood(1, 5, -9, -0.6f); /* " rain": -3 and -3 */
    play_likelihood(2, 4, -1, -1);
    play_likelihood(3, 5, -1, -0.6f);
    json_t *a = fake_done(&f);
    ck_assert_str_eq(text_at(a, "results/0/label"), "sun");
    ck_assert_double_eq_tol(number_at(a, "results/0/score"), 1 / (1 + exp(-2)), 1e-5);
    ck_assert_double_eq_tol(number_at(a, "results/0/labels/1/score"), 1 / (1 + exp(2)), 1e-5);
    json_decref(a);
    fake_end(&f);
}
END_TEST

/* 300 texts with two labels each are 602 jobs, the last two without a text; 300 scores are two rounds. */
START_TEST(test_many_texts_go_in_rounds)
{
    static char texts[2000], body[2100];
    size_t rounds = 0, jobs = 0;
    memcpy(texts, "\"texts\":[\"x\"", 13);
    for (int i = 1; i < 300; i++)
        memcpy(texts + strlen(texts), ",\"y\"", 5);
    snprintf(body, sizeof body, "{%s],\"labels\":[\"p\",\"q\"]}", texts);
    fake_engine(NULL);
    fake_begin_ok(&f, NULL, "/v1/classify", body);
    for (; f.call.n_jobs; rounds++) {
        for (size_t i = 0; i < f.call.n_jobs; i++, jobs++)
            play_likelihood(i, 2, -1, jobs % 2 == (jobs >= 500 && jobs < 600) ? -0.5f : -1);
        ck_assert_int_eq(fake_advance(&f), 0);
    }
    ck_assert_uint_eq(rounds, 3);
    ck_assert_uint_eq(jobs, 602);
    json_t *a = fake_answer(&f);
    ck_assert_double_eq_tol(number_at(a, "results/0/score"), 0.5, 1e-6); /* as without the text */
    ck_assert_str_eq(text_at(a, "results/299/label"), "q");
    ck_assert_double_eq_tol(number_at(a, "results/299/score"), 1 / (1 + exp(-2)), 1e-5);
    json_decref(a);
    fake_end(&f);
    snprintf(body, sizeof body, "{%s]}", texts);
    fake_begin_ok(&f, NULL, "/v1/score", body);
    for (jobs = 0; f.call.n_jobs;) {
        for (size_t i = 0; i < f.call.n_jobs; i++, jobs++)
            play_likelihood(i, 1, -1, -(float)jobs);
        ck_assert_int_eq(fake_advance(&f), 0);
    }
    a = fake_answer(&f);
    ck_assert_uint_eq(json_array_size(at(a, "results")), 300);
    ck_assert_double_eq(number_at(a, "results/299/total"), -299);
    ck_assert_int_eq(json_integer_value(at(a, "results/299/index")), 299);
    ck_assert_int_eq(json_integer_value(at(a, "usage/prompt_tokens")), 600);
    json_decref(a);
    fake_end(&f);
}
END_TEST

START_TEST(test_given_labels_refusals)
{
    fake_engine(NULL);
    fake_info(0)->context = 400;
    const char *path = "/v1/classify";
    fake_refused(NULL, path, "{\"text\":\"a\"}", ERROR_INVALID_REQUEST, "labels",
                 "give labels to choose from");
    fake_refused(NULL, path, "{\"text\":\"a\",\"labels\":\"b\"}", ERROR_INVALID_REQUEST, "labels",
                 "from 2 to 64");
    fake_refused(NULL, path, "{\"text\":\"a\",\"labels\":[\"b\",\"c\",\"b\"]}", ERROR_INVALID_REQUEST,
                 "labels", "labels[2] is labels[0] again");
    fake_refused(NULL, path, "{\"text\":\"a\",\"labels\":[\"b\",\" \"]}", ERROR_INVALID_REQUEST, "labels",
                 "labels[1] is blank");
    fake_refused(NULL, path, "{\"pairs\":[[\"a\",\"b\"]],\"labels\":[\"b\",\"c\"]}", ERROR_UNSUPPORTED,
                 "pairs", "whole texts");
    fake_refused(NULL, path, "{\"text\":\"a\",\"truncate\":true,\"labels\":[\"b\",\"c\"]}", ERROR_UNSUPPORTED,
                 "truncate", "whole texts");
    fake_info(0)->context = 40;
    fake_refused(NULL, path, "{\"text\":\"a\",\"labels\":[\"b\",\"c\"]}", ERROR_CONTEXT_LENGTH, "",
                 "maximum context length is 40");
}
END_TEST

/* ---- score ---------------------------------------------------------------------------------- */

START_TEST(test_score)
{
    const int32_t ids[] = {FAKE_BOS, 'a', 0xc3, 0xa9};
    fake_engine(NULL);
    fake_begin_ok(&f, NULL, "/v1/score", "{\"text\":\"aé\"}");
    ck_assert_uint_eq(f.call.jobs[0].max_tokens, 0);
    ck_assert(f.call.jobs[0].prompt_logprobs);
    fake_prompt_logprobs(&f, 0, ids, 2, true); /* -, -1.125 */
    fake_prompt_logprobs(&f, 0, ids + 2, 2, false);
    fake_final(&f, 0, 4, 0, 0);
    json_t *a = fake_done(&f);
    ck_assert_str_eq(text_at(a, "object"), "score");
    ck_assert_int_eq(json_integer_value(at(a, "results/0/token_ids/3")), 0xa9);
    ck_assert_str_eq(text_at(a, "results/0/tokens/0"), "<s>");
    ck_assert_str_eq(text_at(a, "results/0/tokens/2"), "bytes:\\xc3");
    ck_assert(json_is_null(at(a, "results/0/logprobs/0")));
    ck_assert_double_eq(number_at(a, "results/0/logprobs/1"), -1.125);
    ck_assert_double_eq_tol(number_at(a, "results/0/total"), -1.125 - 1 - 1.125, 1e-6);
    ck_assert_double_eq_tol(number_at(a, "results/0/perplexity"), exp(3.25 / 3), 1e-5);
    ck_assert_int_eq(json_integer_value(at(a, "usage/prompt_tokens")), 4);
    json_decref(a);
    fake_end(&f);
}
END_TEST

/* What can't happen has OpenAI's floor; a text of one token has no perplexity. */
START_TEST(test_score_edges)
{
    fake_engine(NULL);
    fake_begin_ok(&f, NULL, "/v1/score", "{\"texts\":[\"a\",\"\"],\"model\":\"toy\"}");
    struct engine_token tokens[2] = {{.id = FAKE_BOS},
                                     {.id = 'a', .logprob = -INFINITY, .has_logprob = true}};
    struct engine_event event = {.kind = ENGINE_EVENT_PROMPT, .tokens = tokens, .n_tokens = 2};
    api_call_event(&f.call, 0, &event);
    event.n_tokens = 1;
    api_call_event(&f.call, 1, &event);
    fake_final(&f, 0, 2, 0, 0);
    fake_final(&f, 1, 1, 0, 0);
    json_t *a = fake_done(&f);
    ck_assert_double_eq(number_at(a, "results/0/total"), -9999);
    ck_assert(json_is_null(at(a, "results/0/perplexity")));
    ck_assert_double_eq(number_at(a, "results/1/total"), 0);
    ck_assert(json_is_null(at(a, "results/1/perplexity")));
    json_decref(a);
    fake_end(&f);
}
END_TEST

START_TEST(test_score_inputs)
{
    char body[500] = "{\"token_ids\":[97";
    fake_engine(NULL);
    for (int i = 1; i < FAKE_CONTEXT; i++)
        memcpy(body + strlen(body), ",97", 4);
    size_t len = strlen(body);
    memcpy(body + len, "]}", 3);
    fake_begin_ok(&f, NULL, "/v1/score", body); /* a full context can be scored */
    ck_assert_uint_eq(f.call.jobs[0].n_prompt, FAKE_CONTEXT);
    fake_end(&f);
    memcpy(body + len, ",97]}", 6);
    fake_refused(NULL, "/v1/score", body, ERROR_CONTEXT_LENGTH, "", "maximum context length is 100 tokens");
    fake_refused(NULL, "/v1/score", "{\"token_ids\":[]}", ERROR_INVALID_REQUEST, "", "empty");
    fake_refused(NULL, "/v1/score", "{\"token_ids\":[262]}", ERROR_INVALID_REQUEST, "token_ids",
                 "no token id");
    fake_refused(NULL, "/v1/score", "{\"token_ids\":[1],\"text\":\"a\"}", ERROR_INVALID_REQUEST, "token_ids",
                 "give one of");
    fake_refused(NULL, "/v1/score", "{}", ERROR_INVALID_REQUEST, "text", "either text or texts");
    fake_refused(NULL, "/v1/score", "{\"text\":\"a\",\"n\":1}", ERROR_INVALID_REQUEST, "n", "unknown field");
}
END_TEST

int main(void)
{
    Suite *s = suite_create("classify");
    TCase *t = tcase_create("all");
    tcase_add_test(t, test_one_label_of_several);
    tcase_add_test(t, test_several_labels_at_once);
    tcase_add_test(t, test_regression);
    tcase_add_loop_test(t, test_refusals, 0, 11);
    tcase_add_test(t, test_long_texts);
    tcase_add_test(t, test_given_labels);
    tcase_add_test(t, test_many_texts_go_in_rounds);
    tcase_add_test(t, test_given_labels_refusals);
    tcase_add_test(t, test_score);
    tcase_add_test(t, test_score_edges);
    tcase_add_test(t, test_score_inputs);
    suite_add_tcase(s, t);
    return suite_run(s);
}
