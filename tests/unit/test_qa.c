/* test_qa.c - /v1/qa: windows, gains, answers, evidence, the rule of what is answerable, streams, errors.
 * The toy vocabulary has a token a byte, so prompts are read as text; the test plays the model. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/qa_search.h"
#include "engine/base/limits.h"
#include "tests/unit/fake_engine.h"
#include "tests/unit/suite.h"

#define PATH "/v1/qa"

static struct fake_call f;

static int begin(const char *body, size_t context)
{
    fake_engine(NULL);
    ((struct engine_model_info *)engine_model_info(fake_model(0)))->context = context;
    return fake_begin(&f, NULL, API_POST, PATH, body);
}

static void begin_ok(const char *body)
{
    ck_assert_msg(begin(body, 2000) == 0, "%.100s: %s", body, f.error.text);
}

static const char *prompt_text(size_t job)
{
    static char text[4096];
    const struct engine_job *j = &f.call.jobs[job];
    ck_assert_uint_lt(j->n_prompt, sizeof text);
    for (size_t i = 1; i < j->n_prompt; i++)
        text[i - 1] = (char)j->prompt[i];
    text[j->n_prompt - 1] = 0;
    return text;
}

/* A scoring job's events: every prompt token has this log-probability, in two chunks. */
static void play_scores(size_t job, float logprob)
{
    size_t n = f.call.jobs[job].n_prompt, half = n / 2;
    struct engine_token *tokens = calloc(n, sizeof *tokens);
    ck_assert(f.call.jobs[job].prompt_logprobs);
    ck_assert_uint_eq(f.call.jobs[job].max_tokens, 0);
    for (size_t i = 1; i < n; i++)
        tokens[i] =
            (struct engine_token){.id = f.call.jobs[job].prompt[i], .logprob = logprob, .has_logprob = true};
    struct engine_event event = {.kind = ENGINE_EVENT_PROMPT, .tokens = tokens, .n_tokens = half};
    api_call_event(&f.call, job, &event);
    event.tokens += half;
    event.n_tokens = n - half;
    api_call_event(&f.call, job, &event);
    fake_final(&f, job, n, 0, 0);
    free(tokens);
}

/* A group's rounds of scores: the question is likely after passages that hold `key`, or after none. */
static void play_scoring(const char *key)
{
    while (f.call.n_jobs && f.call.jobs[0].prompt_logprobs) {
        ck_assert_uint_le(f.call.n_jobs, 64);
        for (size_t j = 0; j < f.call.n_jobs; j++)
            play_scores(j, key && strstr(prompt_text(j), key) ? -1.0f : -3.0f);
        ck_assert_int_eq(fake_advance(&f), 0);
    }
}

static void play_answer(size_t job, const char *text)
{
    int32_t ids[] = {'a', 'b'};
    ck_assert(f.call.jobs[job].logprobs);
    fake_step_logprobs(&f, job, 0, text, ids, 2, ENGINE_FINISH_STOP);
    fake_final(&f, job, f.call.jobs[job].n_prompt, 0, 2);
}

#define CASTLE "\"The castle 😀 was old. It was built in 1874 by Tomas Varga.\\r\\n\\r\\nIt has a garden.\""

START_TEST(test_answer)
{
    begin_ok("{\"question\":\"Who built the castle?\",\"context\":" CASTLE ",\"max_tokens\":9,\"seed\":3}");
    ck_assert_uint_eq(f.call.n_jobs, 2); /* the one window, and the question alone */
    ck_assert_str_eq(prompt_text(1),
                     "You answer questions about a text.\n\n\n\nQuestion: Who built the castle?");
    play_scoring("built in 1874");
    ck_assert_uint_eq(f.call.n_jobs, 1);
    ck_assert_uint_eq(f.call.jobs[0].max_tokens, 9);
    ck_assert_float_eq(f.call.jobs[0].sampling.temperature, 0);
    ck_assert_uint_eq(f.call.jobs[0].sampling.seed, 3);
    const char *text = prompt_text(0);
    ck_assert_ptr_nonnull(strstr(
        text, "text.\n\nIt was built in 1874 by Tomas Varga.\n\nAccording to the text above, Who built the "
              "castle? Answer in one short sentence."));
    play_answer(0, " Tomas Varga built it.");
    ck_assert_int_eq(fake_advance(&f), 0);
    json_t *a = fake_answer(&f);
    ck_assert_str_eq(text_at(a, "object"), "answer");
    ck_assert_str_eq(text_at(a, "id"), "qa-r\"1");
    ck_assert_str_eq(text_at(a, "results/0/answer"), "Tomas Varga built it.");
    ck_assert_double_eq_tol(json_real_value(at(a, "results/0/score")), 0.345591, 1e-5); /* exp(-1.0625) */
    ck_assert(json_is_true(at(a, "results/0/answerable")));
    ck_assert_str_eq(text_at(a, "results/0/evidence/text"), "It was built in 1874 by Tomas Varga.");
    ck_assert_int_eq(json_integer_value(at(a, "results/0/evidence/start")), 22);
    ck_assert_int_eq(json_integer_value(at(a, "results/0/evidence/end")), 58);
    ck_assert_int_eq(json_integer_value(at(a, "results/0/evidence/document")), 0);
    ck_assert_int_eq(json_integer_value(at(a, "usage/completion_tokens")), 2);
    json_decref(a);
    fake_end(&f);
}
END_TEST

static void expect_unanswerable(void)
{
    json_t *a = fake_answer(&f);
    ck_assert_str_eq(text_at(a, "results/0/answer"), "");
    ck_assert(json_is_null(at(a, "results/0/evidence")));
    ck_assert(json_is_false(at(a, "results/0/answerable")));
    ck_assert(json_is_number(at(a, "results/0/score")));
    json_decref(a);
    fake_end(&f);
}

START_TEST(test_unanswerable)
{
    begin_ok("{\"question\":\"Who built the castle?\",\"context\":" CASTLE "}");
    play_scoring(NULL); /* the text makes the question no likelier */
    ck_assert_uint_eq(f.call.n_jobs, 0);
    expect_unanswerable();
    begin_ok("{\"question\":\"Who built the castle?\",\"context\":" CASTLE "}");
    play_scoring("1874");
    play_answer(0, "Napoleon Bonaparte in 1799"); /* not in the text */
    ck_assert_int_eq(fake_advance(&f), 0);
    expect_unanswerable();
    begin_ok("{\"question\":\"Who built the castle?\",\"context\":" CASTLE "}");
    play_scoring("1874");
    play_answer(0, " \n");
    ck_assert_int_eq(fake_advance(&f), 0);
    expect_unanswerable();
    begin_ok("{\"question\":\"Who?\",\"context\":\" \\n \"}");
    ck_assert_uint_eq(f.call.n_jobs, 0);
    expect_unanswerable();
}
END_TEST

/* A body whose second document is long, with the fact at its end. */
static char *long_body(const char *questions, const char *more)
{
    char *body = malloc(40000);
    size_t len = (size_t)snprintf(
        body, 40000, "{\"questions\":%s%s,\"documents\":[\"Nothing here. Nor there.\",\"", questions, more);
    for (int i = 0; i < 300; i++)
        len +=
            (size_t)snprintf(body + len, 100, "Line %d 😀 tells of rain, wind and of more é than that. ", i);
    snprintf(body + len, 200, "The castle of Kelda was built by Lucia Ferrant.\"]}");
    return body;
}

START_TEST(test_many_questions_to_many_windows)
{
    char questions[4000] = "[", *body;
    for (int i = 0; i < 30; i++)
        strncat(questions, i ? ",\"Who built the castle of Kelda?\"" : "\"Who built the castle of Kelda?\"",
                100);
    strncat(questions, "]", 2);
    body = long_body(questions, "");
    begin_ok(body);
    size_t groups = 0, answers = 0;
    for (; f.call.n_jobs; groups++) {
        play_scoring("castle of Kelda was built");
        for (size_t j = 0; j < f.call.n_jobs; j++, answers++)
            play_answer(j, "Lucia Ferrant");
        ck_assert_int_eq(fake_advance(&f), 0);
    }
    ck_assert_uint_eq(answers, 30);
    ck_assert_uint_eq(groups, 6);
    json_t *a = fake_answer(&f), *request = f.call.request;
    const char *document = text_at(request, "documents/1");
    for (int i = 0; i < 30; i++) {
        char path[64];
        snprintf(path, sizeof path, "results/%d/evidence", i);
        const json_t *evidence = at(a, path);
        ck_assert_str_eq(text_at(evidence, "text"), "The castle of Kelda was built by Lucia Ferrant.");
        ck_assert_int_eq(json_integer_value(at(evidence, "document")), 1);
        size_t chars = 0, last = strlen(document) - strlen(text_at(evidence, "text"));
        for (size_t b = 0; b < last; b++)
            chars += ((unsigned char)document[b] & 0xc0) != 0x80;
        ck_assert_uint_eq((size_t)json_integer_value(at(evidence, "start")), chars);
    }
    json_decref(a);
    fake_end(&f);
    free(body);
}
END_TEST

START_TEST(test_stream)
{
    char *body = long_body("[\"Who built the castle of Kelda?\",\"Who sang?\"]",
                           ",\"stream\":true,\"stream_options\":{\"include_usage\":true}");
    begin_ok(body);
    ck_assert(f.call.stream);
    while (f.call.jobs[0].prompt_logprobs) {
        for (size_t j = 0; j < f.call.n_jobs; j++) {
            const char *text = prompt_text(j);
            play_scores(j, strstr(text, "was built by") && strstr(text, "Who built") ? -1.0f : -3.0f);
        }
        ck_assert_int_eq(fake_advance(&f), 0);
        ck_assert_uint_gt(f.call.n_jobs, 0);
    }
    ck_assert_uint_eq(f.call.n_jobs, 1);
    fake_step(&f, 0, 0, "Lucia", NULL, 0, ENGINE_FINISH_NONE);
    ck_assert_uint_eq(fake_stream_events(&f), 1);
    play_answer(0, " Ferrant");
    ck_assert_int_eq(fake_advance(&f), 0);
    ck_assert_uint_eq(fake_stream_events(&f), 6); /* two of text, two results, usage, [DONE] */
    json_t *event = fake_stream_event(&f, 0);
    ck_assert_str_eq(text_at(event, "object"), "answer.chunk");
    ck_assert_str_eq(text_at(event, "choices/0/text"), "Lucia");
    json_decref(event);
    event = fake_stream_event(&f, 2);
    ck_assert_str_eq(text_at(event, "choices/0/finish_reason"), "stop");
    ck_assert_str_eq(text_at(event, "results/0/answer"), "Lucia Ferrant");
    json_decref(event);
    event = fake_stream_event(&f, 3);
    ck_assert_int_eq(json_integer_value(at(event, "choices/0/index")), 1);
    ck_assert(json_is_false(at(event, "results/0/answerable")));
    json_decref(event);
    event = fake_stream_event(&f, 4);
    ck_assert_int_eq(json_integer_value(at(event, "usage/completion_tokens")), 2);
    json_decref(event);
    fake_end(&f);
    free(body);
}
END_TEST

START_TEST(test_failures)
{
    begin_ok("{\"question\":\"Who?\",\"context\":" CASTLE "}");
    fake_fail(&f, 0, ERROR_DEADLINE, "too late");
    ck_assert_int_eq(fake_advance(&f), -1);
    ck_assert_int_eq(f.error.kind, ERROR_DEADLINE);
    fake_end(&f);
    begin_ok("{\"question\":\"Who?\",\"context\":" CASTLE "}"); /* a client that leaves */
    fake_end(&f);
}
END_TEST

/* ---- search --------------------------------------------------------------------------------- */

START_TEST(test_windows_overlap_and_leave_nothing_out)
{
    char *body = long_body("[\"Who?\"]", "");
    begin_ok(body);
    struct error e = {0};
    const json_t *document = at(f.call.request, "documents/1");
    struct engine_text text = {json_string_value(document), json_string_length(document)};
    struct qa_library lib;
    ck_assert_int_eq(qa_library_make(&f.call, fake_model(0), &text, 1, 128, 48, &lib, &e), 0);
    const struct qa_document *d = &lib.documents[0];
    ck_assert_uint_eq(d->windows[0].from, 0);
    ck_assert_uint_eq(d->windows[d->n_windows - 1].to, text.len);
    for (size_t i = 0; i < d->n_windows; i++) {
        ck_assert_uint_le(d->windows[i].to - d->windows[i].from, 128);
        if (i == 0)
            continue;
        ck_assert_uint_gt(d->windows[i].from, d->windows[i - 1].from);
        ck_assert_uint_le(d->windows[i].from + 24, d->windows[i - 1].to);
    }
    for (size_t i = 0; i < d->n_windows; i++) {
        struct token_range r = qa_widen(&lib, &(struct qa_passage){0, d->windows[i], 0}, 256);
        ck_assert_uint_le(r.from, d->windows[i].from);
        ck_assert_uint_ge(r.to, d->windows[i].to);
        ck_assert_uint_le(r.to - r.from, 256);
    }
    fake_end(&f);
    free(body);
}
END_TEST

/* The best window of the text, whatever script it is in, is the one with the question's words. */
START_TEST(test_ranking_in_many_scripts)
{
    static const char *const cases[][3] = {
        {"Who INVENTED the télégraph?", "The telegraph's inventor was Morse.",
         "Nobody was there at the time."},
        {"Кто построил крепость?", "Крепости построены Иваном.", "Погода была хорошая, и все пели."},
        {"东京塔有多高?", "东京塔高333米。", "今天天气很好。"},
        {"หอคอยสูงเท่าไร", "หอคอยสูง 333 เมตร", "วันนี้อากาศดี"},
        {"서울은 어디에 있나?", "서울에는 강이 있다.", "오늘은 비가 온다."},
    };
    const char *const *c = cases[_i];
    struct engine_text texts[] = {{c[2], strlen(c[2])}, {c[1], strlen(c[1])}},
                       question = {c[0], strlen(c[0])};
    struct qa_passage best[2];
    struct qa_library lib;
    struct error e = {0};
    begin_ok("{\"question\":\"Who?\",\"context\":\"x\"}");
    ck_assert_int_eq(qa_library_make(&f.call, fake_model(0), texts, 2, 500, 48, &lib, &e), 0);
    ck_assert_uint_eq(qa_rank(&lib, &question, best, 2), 2);
    ck_assert_uint_eq(best[0].document, 1);
    ck_assert(best[0].rank > best[1].rank);
    fake_end(&f);
}
END_TEST

static const struct {
    const char *body, *param;
    enum error_kind kind;
} bad[] = {
    {"{}", "question", ERROR_INVALID_REQUEST},
    {"{\"question\":\"a\"}", "context", ERROR_INVALID_REQUEST},
    {"{\"context\":\"a\"}", "question", ERROR_INVALID_REQUEST},
    {"{\"question\":\"a\",\"questions\":[\"b\"],\"context\":\"c\"}", "question", ERROR_INVALID_REQUEST},
    {"{\"question\":\"a\",\"context\":\"b\",\"documents\":[\"c\"]}", "context", ERROR_INVALID_REQUEST},
    {"{\"questions\":[],\"context\":\"b\"}", "questions", ERROR_INVALID_REQUEST},
    {"{\"question\":\"a\",\"documents\":[]}", "documents", ERROR_INVALID_REQUEST},
    {"{\"question\":\"a\",\"documents\":[3]}", "documents", ERROR_INVALID_REQUEST},
    {"{\"question\":\"\",\"context\":\"b\"}", "question", ERROR_INVALID_REQUEST},
    {"{\"question\":\"a\",\"context\":\"b\",\"max_tokens\":0}", "max_tokens", ERROR_INVALID_REQUEST},
    {"{\"question\":\"a\",\"context\":\"b\",\"max_tokens\":1990}", "", ERROR_CONTEXT_LENGTH},
    {"{\"question\":\"a\",\"context\":\"b\",\"top_k\":1}", "top_k", ERROR_UNSUPPORTED},
    {"{\"question\":\"a\",\"context\":\"b\",\"max_answer_tokens\":1}", "max_answer_tokens",
     ERROR_UNSUPPORTED},
    {"{\"question\":\"a\",\"context\":\"b\",\"model\":\"none\"}", "model", ERROR_MODEL_NOT_FOUND},
};

START_TEST(test_refuses)
{
    ck_assert_int_eq(begin(bad[_i].body, 2000), -1);
    ck_assert_int_eq(f.error.kind, bad[_i].kind);
    ck_assert_str_eq(f.error.param, bad[_i].param);
    fake_end(&f);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("qa");
    TCase *t = tcase_create("all");
    tcase_set_timeout(t, 60);
    tcase_add_test(t, test_answer);
    tcase_add_test(t, test_unanswerable);
    tcase_add_test(t, test_many_questions_to_many_windows);
    tcase_add_test(t, test_stream);
    tcase_add_test(t, test_failures);
    tcase_add_test(t, test_windows_overlap_and_leave_nothing_out);
    tcase_add_loop_test(t, test_ranking_in_many_scripts, 0, 5);
    tcase_add_loop_test(t, test_refuses, 0, (int)(sizeof bad / sizeof bad[0]));
    suite_add_tcase(s, t);
    return suite_run(s);
}
