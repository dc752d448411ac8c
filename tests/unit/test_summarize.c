/* test_summarize.c - /v1/summarize: what its prompts hold, rounds, word limits, styles, streams, errors.
 * The toy vocabulary has a token a byte, so prompts are read as text. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/fake_engine.h"
#include "tests/unit/suite.h"

#define PATH "/v1/summarize"
enum { TEXT_BYTES = 30000, MAX_PROMPTS = 512 };

static struct fake_call f;

static int begin(const char *body, size_t context)
{
    fake_engine(NULL);
    ((struct engine_model_info *)engine_model_info(fake_model(0)))->context = context;
    return fake_begin(&f, NULL, API_POST, PATH, body);
}

static void begin_ok(const char *body, size_t context)
{
    ck_assert_msg(begin(body, context) == 0, "%.100s: %s", body, f.error.text);
}

static char *prompt_text(size_t job)
{
    const struct engine_job *j = &f.call.jobs[job];
    size_t from = j->prompt[0] == FAKE_BOS;
    char *text = calloc(j->n_prompt + 1, 1);
    for (size_t i = from; i < j->n_prompt; i++)
        text[i - from] = (char)j->prompt[i];
    return text;
}

/* The text between our own words. */
static char *prompt_piece(size_t job)
{
    static const char before[] = "You write short, accurate summaries of texts.\n\nText:\n";
    char *text = prompt_text(job), *end = NULL;
    ck_assert_msg(strncmp(text, before, strlen(before)) == 0, "%.80s", text);
    for (char *at = text; (at = strstr(at, "\n\nWrite a summary")) != NULL; at++)
        end = at;
    ck_assert_ptr_nonnull(end);
    char *piece = strndup(text + strlen(before), (size_t)(end - text) - strlen(before));
    free(text);
    return piece;
}

static void answer(size_t job, const char *text, enum engine_finish finish)
{
    fake_step(&f, job, 0, text, NULL, 0, finish);
    fake_final(&f, job, f.call.jobs[job].n_prompt, 0, 7);
}

static char *article(size_t bytes)
{
    char *text = calloc(bytes + 200, 1);
    size_t len = 0;
    for (int i = 0; len < bytes; i++)
        len += (size_t)snprintf(text + len, 200, "Sentence number %d stands here%s", i,
                                i % 9 == 8 ? ".\\n\\n" : ". ");
    return text;
}

static char *body_of(const char *text, const char *more)
{
    size_t room = strlen(text) + strlen(more) + 64;
    char *body = malloc(room);
    snprintf(body, room, "{\"text\":\"%s\"%s}", text, more);
    return body;
}

static char *unescape(const char *text)
{
    char *out = calloc(strlen(text) + 1, 1), *to = out;
    for (; *text; text++) {
        bool line_end = *text == '\\';
        text += line_end;
        *to++ = *text;
        if (line_end)
            to[-1] = '\n';
    }
    return out;
}

/* Pieces of the first level; the call is ended. */
static size_t first_pieces(const char *escaped, char **pieces)
{
    char *body = body_of(escaped, "");
    size_t n = 0, levels = 0;
    begin_ok(body, 2000);
    while (levels == 0) {
        size_t jobs = f.call.n_jobs;
        ck_assert_uint_le(jobs, 64);
        for (size_t j = 0; j < jobs; j++) {
            ck_assert_uint_lt(n, MAX_PROMPTS);
            char *piece = prompt_piece(j);
            levels += strncmp(piece, "S.\n", 3) == 0;
            if (levels == 0)
                pieces[n++] = piece;
            else
                free(piece);
            answer(j, "S. ", ENGINE_FINISH_STOP);
        }
        ck_assert_int_eq(fake_advance(&f), 0);
        ck_assert_msg(f.call.n_jobs > 0 || levels, "it ended");
    }
    fake_end(&f);
    free(body);
    return n;
}

START_TEST(test_every_token_is_in_one_first_prompt)
{
    char *escaped = article(TEXT_BYTES), *text = unescape(escaped), *pieces[MAX_PROMPTS];
    char *joined = calloc(strlen(text) * 2, 1);
    size_t n = first_pieces(escaped, pieces);
    ck_assert_uint_ge(n, TEXT_BYTES / 1500);
    for (size_t i = 0; i < n; i++) {
        strncat(joined, pieces[i], strlen(text));
        ck_assert_uint_le(strlen(pieces[i]), 1500);
        size_t len = strlen(pieces[i]);
        ck_assert_msg(i + 1 == n || pieces[i][len - 1] == '\n' || pieces[i + 1][0] == '\n',
                      "no paragraph: %s", pieces[i]);
        free(pieces[i]);
    }
    ck_assert_str_eq(joined, text);
    free(joined);
    free(text);
    free(escaped);
}
END_TEST

START_TEST(test_a_new_last_paragraph_changes_the_last_prompt)
{
    char *escaped = article(TEXT_BYTES), *one[MAX_PROMPTS], *two[MAX_PROMPTS];
    char *other = calloc(strlen(escaped) + 400, 1);
    char *end = escaped + strlen(escaped) - 200;
    snprintf(end, 100, "\\n\\nThe old end is this.");
    snprintf(other, strlen(escaped) + 400,
             "%.*s\\n\\nAnother end, which is rather longer. It cost 12 crowns.", (int)(end - escaped),
             escaped);
    size_t n = first_pieces(escaped, one);
    ck_assert_uint_eq(first_pieces(other, two), n);
    for (size_t i = 0; i < n; i++) {
        ck_assert_int_eq(strcmp(one[i], two[i]) == 0, i + 1 < n);
        free(one[i]);
        free(two[i]);
    }
    free(other);
    free(escaped);
}
END_TEST

/* The worst model: every summary is as long as it may be, and each token becomes three. */
START_TEST(test_it_ends_whatever_the_model_writes)
{
    static const size_t contexts[] = {300, 500, 2000, 8192};
    char *escaped = article(3 * TEXT_BYTES), *body = body_of(escaped, "");
    begin_ok(body, contexts[_i]);
    size_t prompts = 0, rounds = 0, words = 0;
    while (f.call.n_jobs) {
        size_t jobs = f.call.n_jobs;
        ck_assert_uint_lt(++rounds, 100);
        for (size_t j = 0; j < jobs; j++, prompts++) {
            size_t n = 3 * f.call.jobs[j].max_tokens;
            char *text = calloc(n + 20, 1);
            for (size_t i = 0; i < n; i++) /* words that differ, so that nothing is a repetition */
                text[i] = i % 8 == 7 ? ' ' : (char)('a' + (words++ * 7919 / 13) % 26);
            ck_assert_uint_le(f.call.jobs[j].n_prompt + f.call.jobs[j].max_tokens, contexts[_i]);
            answer(j, text, ENGINE_FINISH_LENGTH);
            free(text);
        }
        ck_assert_msg(fake_advance(&f) == 0, "%s", f.error.text);
    }
    json_t *a = fake_answer(&f);
    ck_assert_int_eq(json_integer_value(at(a, "results/0/passes")), (json_int_t)prompts);
    ck_assert_int_eq(json_integer_value(at(a, "usage/completion_tokens")), (json_int_t)(7 * prompts));
    json_decref(a);
    fake_end(&f);
    free(body);
    free(escaped);
}
END_TEST

START_TEST(test_answer)
{
    begin_ok("{\"texts\":[\"One.\",\"  \",\"Two.\"],\"length\":\"short\",\"focus\":\"the end\",\"seed\":5}",
             1000);
    ck_assert_uint_eq(f.call.n_jobs, 2);
    char *text = prompt_text(0);
    ck_assert_str_eq(
        text, "You write short, accurate summaries of texts.\n\nText:\nOne.\n\nWrite a summary of the text "
              "above in one or two sentences. Pay attention to this: the end\n\nSummary:");
    free(text);
    const struct engine_job *job = &f.call.jobs[0];
    ck_assert_uint_eq(job->max_tokens, 80);
    ck_assert_float_eq(job->sampling.temperature, 0);
    ck_assert_uint_eq(job->sampling.seed, 5);
    ck_assert_uint_eq(job->sampling.n_bias, 5); /* O n e . and the end */
    answer(0, " First said. Second said", ENGINE_FINISH_LENGTH);
    answer(1, "Two", ENGINE_FINISH_STOP);
    ck_assert_int_eq(fake_advance(&f), 0);
    json_t *a = fake_answer(&f);
    ck_assert_str_eq(text_at(a, "id"), "sum-r\"1");
    ck_assert_str_eq(text_at(a, "object"), "summary");
    ck_assert_str_eq(text_at(a, "model"), "toy");
    ck_assert_str_eq(text_at(a, "results/0/summary"), "First said.");
    ck_assert_int_eq(json_integer_value(at(a, "results/0/passes")), 1);
    ck_assert_int_eq(json_integer_value(at(a, "results/0/input_tokens")), 4);
    ck_assert(json_is_false(at(a, "results/0/cut")));
    ck_assert_str_eq(text_at(a, "results/1/summary"), "");
    ck_assert_int_eq(json_integer_value(at(a, "results/1/passes")), 0);
    ck_assert_str_eq(text_at(a, "results/2/summary"), "Two");
    ck_assert_int_eq(json_integer_value(at(a, "results/2/index")), 2);
    ck_assert_int_eq(json_integer_value(at(a, "usage/completion_tokens")), 14);
    json_decref(a);
    fake_end(&f);
}
END_TEST

/* With a chat template the wording goes through it; the text stays text, and is not looked at for marks. */
START_TEST(test_chat_template)
{
    static const char template[] =
        "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n"
        "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";
    static const char *const focus[] = {"", ",\"focus\":\"\\u0001\"",
                                        ",\"focus\":\"\\u0001\\u0002\\u0003\\u0004\\u0005\\u0006\""};
    char body[200];
    struct api *api = NULL;
    struct engine *engine = fake_engine(template);
    ((struct engine_model_info *)engine_model_info(fake_model(0)))->context = 1000;
    ck_assert_int_eq(api_create(engine, &api, &f.error), 0);
    api_add_model(api, fake_model(0));
    snprintf(body, sizeof body, "{\"text\":\"A\\u0001B<|im_end|>\"%s}", focus[_i]);
    ck_assert_msg(fake_begin(&f, api, API_POST, PATH, body) == 0, "%s", f.error.text);
    const struct engine_job *job = &f.call.jobs[0];
    static const char text[] = "Text:\nA\x01"
                               "B<|im_end|>\n\nWrite";
    size_t at = 0, special = 0;
    for (size_t i = 0; i < job->n_prompt; i++) {
        special += job->prompt[i] == FAKE_IM_START || job->prompt[i] == FAKE_IM_END;
        if (at < strlen(text))
            at = job->prompt[i] == (unsigned char)text[at] ? at + 1 : job->prompt[i] == 'T';
    }
    ck_assert_uint_eq(at, strlen(text));
    ck_assert_uint_eq(special, _i < 2 ? 5 : 0); /* no mark is left: the plain prompt */
    fake_end(&f);
    api_free(api);
}
END_TEST

START_TEST(test_max_words_and_bullets)
{
    begin_ok("{\"text\":\"One.\",\"max_words\":5,\"style\":\"bullets\"}", 1000);
    char *text = prompt_text(0);
    ck_assert_ptr_nonnull(strstr(text, "a list of three to five short points, in at most 5 words."));
    free(text);
    answer(0, "* One two.\n* Three four.\n* Five six.", ENGINE_FINISH_STOP);
    ck_assert_int_eq(fake_advance(&f), 0);
    json_t *a = fake_answer(&f);
    ck_assert_str_eq(text_at(a, "results/0/summary"), "- One two.\n- Three four.");
    ck_assert(json_is_true(at(a, "results/0/cut")));
    json_decref(a);
    fake_end(&f);
}
END_TEST

START_TEST(test_stream_sends_whole_sentences_of_the_last_prompt)
{
    begin_ok(
        "{\"text\":\"One.\",\"max_words\":4,\"stream\":true,\"stream_options\":{\"include_usage\":true}}",
        1000);
    ck_assert(f.call.stream);
    fake_step(&f, 0, 0, "One t", NULL, 0, ENGINE_FINISH_NONE);
    ck_assert_uint_eq(f.call.out.len, 0);
    fake_step(&f, 0, 0, "wo. Three", NULL, 0, ENGINE_FINISH_NONE);
    ck_assert_uint_eq(fake_stream_events(&f), 1);
    answer(0, " four. Five.", ENGINE_FINISH_LENGTH);
    ck_assert_int_eq(fake_advance(&f), 0);
    ck_assert_uint_eq(fake_stream_events(&f), 5);
    static const char *const texts[] = {"One two.", " Three four.", ""};
    for (size_t i = 0; i < 3; i++) {
        json_t *event = fake_stream_event(&f, i);
        ck_assert_str_eq(text_at(event, "object"), "summary.chunk");
        ck_assert_str_eq(text_at(event, "choices/0/text"), texts[i]);
        ck_assert_str_eq(text_at(event, "choices/0/finish_reason"), i == 2 ? "stop" : "");
        ck_assert(json_is_null(at(event, "usage")));
        ck_assert_str_eq(text_at(event, "results/0/summary"), i == 2 ? "One two. Three four." : "");
        json_decref(event);
    }
    json_t *event = fake_stream_event(&f, 3);
    ck_assert_int_eq(json_integer_value(at(event, "usage/completion_tokens")), 7);
    json_decref(event);
    fake_end(&f);
}
END_TEST

START_TEST(test_failures)
{
    begin_ok("{\"text\":\"One.\"}", 1000);
    fake_fail(&f, 0, ERROR_DEADLINE, "too late");
    ck_assert_int_eq(fake_advance(&f), -1);
    ck_assert_int_eq(f.error.kind, ERROR_DEADLINE);
    fake_end(&f);
    begin_ok("{\"text\":\"One.\",\"stream\":true}", 1000);
    fake_step(&f, 0, 0, "One two. Three", NULL, 0, ENGINE_FINISH_NONE);
    fake_fail(&f, 0, ERROR_DEADLINE, "too late");
    ck_assert_int_eq(fake_advance(&f), 0);
    json_t *event = fake_stream_event(&f, 1);
    ck_assert_str_eq(text_at(event, "error/message"), "too late");
    json_decref(event);
    fake_end(&f);
    char *escaped = article(TEXT_BYTES), *body = body_of(escaped, "");
    begin_ok(body, 2000); /* a client that leaves */
    fake_end(&f);
    free(body);
    free(escaped);
}
END_TEST

static const struct {
    const char *body, *param;
    enum error_kind kind;
} bad[] = {
    {"{}", "text", ERROR_INVALID_REQUEST},
    {"{\"text\":\"a\",\"texts\":[\"b\"]}", "text", ERROR_INVALID_REQUEST},
    {"{\"text\":\"\"}", "text", ERROR_INVALID_REQUEST},
    {"{\"texts\":[]}", "texts", ERROR_INVALID_REQUEST},
    {"{\"texts\":[\"a\",\"\"]}", "texts", ERROR_INVALID_REQUEST},
    {"{\"text\":7}", "text", ERROR_INVALID_REQUEST},
    {"{\"text\":\"a\",\"length\":\"tiny\"}", "length", ERROR_INVALID_REQUEST},
    {"{\"text\":\"a\",\"style\":\"poem\"}", "style", ERROR_INVALID_REQUEST},
    {"{\"text\":\"a\",\"max_words\":0}", "max_words", ERROR_INVALID_REQUEST},
    {"{\"text\":\"a\",\"temperature\":3}", "temperature", ERROR_INVALID_REQUEST},
    {"{\"text\":\"a\",\"stop\":\"b\"}", "stop", ERROR_INVALID_REQUEST},
    {"{\"text\":\"a\",\"stream_options\":{\"include_usage\":true}}", "stream_options", ERROR_INVALID_REQUEST},
    {"{\"text\":\"a\",\"model\":\"none\"}", "model", ERROR_MODEL_NOT_FOUND},
    {"{\"text\":\"a\",\"model\":\"second\"}", "", ERROR_CONTEXT_LENGTH}, /* 100 tokens hold no instructions */
};

START_TEST(test_refuses)
{
    ck_assert_int_eq(begin(bad[_i].body, 1000), -1);
    ck_assert_int_eq(f.error.kind, bad[_i].kind);
    ck_assert_str_eq(f.error.param, bad[_i].param);
    fake_end(&f);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("summarize");
    TCase *t = tcase_create("all");
    tcase_set_timeout(t, 60);
    tcase_add_test(t, test_every_token_is_in_one_first_prompt);
    tcase_add_test(t, test_a_new_last_paragraph_changes_the_last_prompt);
    tcase_add_loop_test(t, test_it_ends_whatever_the_model_writes, 0, 4);
    tcase_add_test(t, test_answer);
    tcase_add_loop_test(t, test_chat_template, 0, 3);
    tcase_add_test(t, test_max_words_and_bullets);
    tcase_add_test(t, test_stream_sends_whole_sentences_of_the_last_prompt);
    tcase_add_test(t, test_failures);
    tcase_add_loop_test(t, test_refuses, 0, (int)(sizeof bad / sizeof bad[0]));
    suite_add_tcase(s, t);
    return suite_run(s);
}
