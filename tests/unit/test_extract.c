/* test_extract.c - /v1/qa with a checkpoint that marks answers: spans, windows of long documents, n-best,
 * no answer, many rounds.  The toy tokenizer has a token a character. */
#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/limits.h"
#include "tests/unit/fake_engine.h"
#include "tests/unit/suite.h"

#define PATH "/v1/qa"

static struct fake_call f;

static void extractor(size_t context)
{
    fake_engine(NULL);
    fake_info(0)->abilities = ENGINE_CAN_ANSWER;
    fake_info(0)->context = context;
}

/* A job's logits: all 0, but the first token's `none`, and `peak` where `start` and `end` stand in the
 * document (each unless NULL and in the window). */
static void play(size_t job, float none, float peak, char start, char end)
{
    const struct engine_job *j = &f.call.jobs[job];
    float(*values)[2] = calloc(j->n_prompt, sizeof *values);
    bool document = false;
    values[0][0] = values[0][1] = none;
    for (size_t i = 1; i < j->n_prompt; i++) {
        if (document && j->prompt[i] == start)
            values[i][0] = peak;
        if (document && j->prompt[i] == end)
            values[i][1] = peak;
        document = document || j->prompt[i] == FAKE_EOS;
    }
    fake_result(&f, job, values[0], j->n_prompt, 2);
    free(values);
}

START_TEST(test_best_span)
{
    extractor(FAKE_CONTEXT);
    fake_begin_ok(&f, NULL, PATH,
                  "{\"question\":\"Q?\",\"context\":\"It is \xc3\xa9so. He rules [Wxy z] today! No.\"}");
    ck_assert_uint_eq(f.call.n_jobs, 1);
    ck_assert_int_eq(f.call.jobs[0].task, ENGINE_TASK_ANSWER);
    ck_assert_int_eq(f.call.jobs[0].types[3], 0);
    ck_assert_int_eq(f.call.jobs[0].types[4], 1);
    play(0, 1, 4, 'W', 'z');
    json_t *a = fake_done(&f);
    ck_assert_str_eq(text_at(a, "object"), "answer");
    ck_assert_str_eq(text_at(a, "results/0/answer"), "Wxy z");
    ck_assert_int_eq(json_integer_value(at(a, "results/0/start")), 21);
    ck_assert_int_eq(json_integer_value(at(a, "results/0/end")), 26);
    double n = 29; /* tokens of the document that are neither the first one nor the peak */
    double p = exp(4) / (exp(4) + exp(1) + n), p0 = exp(1) / (exp(4) + exp(1) + n);
    ck_assert_double_eq_tol(number_at(a, "results/0/score"), p * p, 1e-6);
    ck_assert_double_eq_tol(number_at(a, "results/0/no_answer_score"), p0 * p0, 1e-7);
    ck_assert(json_is_true(at(a, "results/0/answerable")));
    ck_assert_str_eq(text_at(a, "results/0/evidence/text"), "He rules [Wxy z] today!");
    ck_assert_int_eq(json_integer_value(at(a, "results/0/evidence/start")), 11);
    ck_assert_int_eq(json_integer_value(at(a, "results/0/evidence/end")), 34);
    ck_assert_ptr_null(at(a, "results/0/alternatives"));
    json_decref(a);
    fake_end(&f);
}
END_TEST

START_TEST(test_spans_have_a_longest_length)
{
    extractor(FAKE_CONTEXT);
    fake_begin_ok(&f, NULL, PATH, "{\"question\":\"Q\",\"context\":\"aWbcdzef\",\"max_answer_tokens\":5}");
    play(0, 0, 3, 'W', 'z');
    json_t *a = fake_done(&f);
    ck_assert_str_eq(text_at(a, "results/0/answer"), "Wbcdz");
    json_decref(a);
    fake_end(&f);
    fake_begin_ok(&f, NULL, PATH, "{\"question\":\"Q\",\"context\":\"aWbcdzef\",\"max_answer_tokens\":4}");
    play(0, 0, 3, 'W', 'z');
    a = fake_done(&f);
    ck_assert_str_eq(text_at(a, "results/0/answer"), "W"); /* the first of equals */
    json_decref(a);
    fake_end(&f);
    fake_begin_ok(&f, NULL, PATH, "{\"question\":\"Q\",\"context\":\"azbW\"}"); /* an end before the start */
    play(0, 3, 3, 'W', 'z');
    a = fake_done(&f);
    ck_assert(json_is_false(at(a, "results/0/answerable")));
    json_decref(a);
    fake_end(&f);
}
END_TEST

#define LONG "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHI"

/* 45 tokens in windows of 20 that share 10: [0,20) [10,30) [20,40) [30,45). */
START_TEST(test_windows)
{
    extractor(24);
    fake_begin_ok(&f, NULL, PATH, "{\"question\":\"Q\",\"context\":\"" LONG "\",\"top_k\":2}");
    ck_assert_uint_eq(f.call.n_jobs, 4);
    ck_assert_str_eq(fake_prompt(&f, 0), "<s>Q</s>0123456789abcdefghij</s>");
    ck_assert_str_eq(fake_prompt(&f, 1), "<s>Q</s>abcdefghijklmnopqrst</s>");
    ck_assert_str_eq(fake_prompt(&f, 3), "<s>Q</s>uvwxyzABCDEFGHI</s>");
    ck_assert_int_eq(f.call.jobs[3].types[17], 1);
    for (size_t i = 0; i < 3; i++)
        play(i, 0, 5, 'c', 'e'); /* in two windows, counted once */
    play(3, 0, 4, 'E', 'G');
    json_t *a = fake_done(&f);
    double first = exp(5) / (exp(5) + 20), second = exp(4) / (exp(4) + 15), none = 1 / (exp(5) + 20);
    ck_assert_str_eq(text_at(a, "results/0/answer"), "cde");
    ck_assert_double_eq_tol(number_at(a, "results/0/score"), first * first, 1e-6);
    ck_assert_double_eq_tol(number_at(a, "results/0/no_answer_score"), none * none, 1e-8);
    ck_assert_uint_eq(json_array_size(at(a, "results/0/alternatives")), 1);
    ck_assert_str_eq(text_at(a, "results/0/alternatives/0/answer"), "EFG");
    ck_assert_double_eq_tol(number_at(a, "results/0/alternatives/0/score"), second * second, 1e-6);
    ck_assert_int_eq(json_integer_value(at(a, "results/0/alternatives/0/start")), 40);
    json_decref(a);
    fake_end(&f);
}
END_TEST

START_TEST(test_questions_to_documents)
{
    extractor(FAKE_CONTEXT);
    fake_begin_ok(&f, NULL, PATH,
                  "{\"questions\":[\"A\",\"B\",\"C\"],\"documents\":[\"abWcz.\",\" \",\"\xc3\xa9 Wz\"]}");
    ck_assert_uint_eq(f.call.n_jobs, 6); /* the blank document has no window */
    for (size_t i = 0; i < 6; i++)
        play(i, i < 4 ? 0 : 6, i == 0 || i == 3 ? 5 : 2, 'W', 'z');
    json_t *a = fake_done(&f);
    ck_assert_int_eq(json_integer_value(at(a, "results/0/document")), 0);
    ck_assert_str_eq(text_at(a, "results/0/answer"), "Wcz");
    ck_assert_int_eq(json_integer_value(at(a, "results/1/document")), 2);
    ck_assert_int_eq(json_integer_value(at(a, "results/1/start")), 2);
    ck_assert_int_eq(json_integer_value(at(a, "results/1/evidence/document")), 2);
    ck_assert(json_is_true(at(a, "results/1/answerable")));
    ck_assert_int_eq(json_integer_value(at(a, "results/2/index")), 2);
    ck_assert(json_is_false(at(a, "results/2/answerable")));
    json_decref(a);
    fake_end(&f);
}
END_TEST

START_TEST(test_blank_document)
{
    extractor(FAKE_CONTEXT);
    fake_begin_ok(&f, NULL, PATH, "{\"question\":\"Q\",\"context\":\" \"}");
    ck_assert_uint_eq(f.call.n_jobs, 0);
    json_t *a = fake_answer(&f);
    ck_assert_str_eq(text_at(a, "results/0/answer"), "");
    ck_assert(json_is_null(at(a, "results/0/evidence")));
    ck_assert(json_is_false(at(a, "results/0/answerable")));
    json_decref(a);
    fake_end(&f);
}
END_TEST

/* 2,000 tokens in windows of 8 that share 4 are 499 windows: two rounds, and the answer is in the last. */
START_TEST(test_many_rounds)
{
    static char body[2100] = "{\"question\":\"Q\",\"context\":\"";
    size_t at_byte = strlen(body), rounds = 0, windows = 0;
    memset(body + at_byte, 'x', 2000);
    memcpy(body + at_byte + 1995, "WyzUV", 5);
    memcpy(body + at_byte + 2000, "\"}", 3);
    extractor(12);
    fake_begin_ok(&f, NULL, PATH, body);
    while (f.call.n_jobs) {
        rounds++;
        windows += f.call.n_jobs;
        for (size_t i = 0; i < f.call.n_jobs; i++)
            play(i, 0, 3, 'W', 'z');
        ck_assert_int_eq(fake_advance(&f), 0);
    }
    ck_assert_uint_eq(rounds, 2);
    ck_assert_uint_eq(windows, 499);
    json_t *a = fake_answer(&f);
    ck_assert_str_eq(text_at(a, "results/0/answer"), "Wyz");
    ck_assert_int_eq(json_integer_value(at(a, "results/0/start")), 1995);
    ck_assert_int_eq(json_integer_value(at(a, "usage/prompt_tokens")), 499 * 12);
    json_decref(a);
    fake_end(&f);
    fake_begin_ok(&f, NULL, PATH, body); /* a client that leaves in the middle */
    fake_end(&f);
}
END_TEST

static const struct {
    const char *body, *param;
    enum error_kind kind;
} bad[] = {
    {"{\"question\":\"a\"}", "context", ERROR_INVALID_REQUEST},
    {"{\"question\":\"a\",\"context\":\"b\",\"top_k\":0}", "top_k", ERROR_INVALID_REQUEST},
    {"{\"question\":\"a\",\"context\":\"b\",\"top_k\":101}", "top_k", ERROR_INVALID_REQUEST},
    {"{\"question\":\"a\",\"context\":\"b\",\"max_answer_tokens\":0}", "max_answer_tokens",
     ERROR_INVALID_REQUEST},
    {"{\"question\":\"a\",\"context\":\"b\",\"max_tokens\":5}", "max_tokens", ERROR_UNSUPPORTED},
    {"{\"question\":\"a\",\"context\":\"b\",\"temperature\":0}", "temperature", ERROR_UNSUPPORTED},
    {"{\"question\":\"a\",\"context\":\"b\",\"seed\":1}", "seed", ERROR_UNSUPPORTED},
    {"{\"question\":\"a\",\"context\":\"b\",\"stream\":true}", "stream", ERROR_UNSUPPORTED},
    {"{\"question\":\"12345678901234567890\",\"context\":\"b\"}", "question", ERROR_CONTEXT_LENGTH},
};

START_TEST(test_refuses)
{
    extractor(30);
    fake_refused(NULL, PATH, bad[_i].body, bad[_i].kind, bad[_i].param, "");
}
END_TEST

START_TEST(test_failures)
{
    extractor(24);
    fake_begin_ok(&f, NULL, PATH, "{\"question\":\"Q\",\"context\":\"" LONG "\"}");
    play(0, 0, 1, 'a', 'b');
    fake_fail(&f, 1, ERROR_DEADLINE, "too late");
    ck_assert_int_eq(fake_advance(&f), -1);
    ck_assert_int_eq(f.error.kind, ERROR_DEADLINE);
    fake_end(&f);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("extract");
    TCase *t = tcase_create("all");
    tcase_set_timeout(t, 60);
    tcase_add_test(t, test_best_span);
    tcase_add_test(t, test_spans_have_a_longest_length);
    tcase_add_test(t, test_windows);
    tcase_add_test(t, test_questions_to_documents);
    tcase_add_test(t, test_blank_document);
    tcase_add_test(t, test_many_rounds);
    tcase_add_loop_test(t, test_refuses, 0, (int)(sizeof bad / sizeof bad[0]));
    tcase_add_test(t, test_failures);
    suite_add_tcase(s, t);
    return suite_run(s);
}
