/* test_chat.c - /v1/chat/completions: jobs, answers, order of chunks, log probabilities, errors. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/fake_engine.h"
#include "tests/unit/suite.h"

#define PATH "/v1/chat/completions"
#define HI   "\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]"

static const char chatml[] =
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\\n' + m['content'] + '<|im_end|>' + '\\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}";

static struct fake_call f;
static struct api *api;

static void setup(void)
{
    ck_assert_int_eq(api_create(fake_engine(chatml), &api, NULL), 0);
    api_add_model(api, fake_model(0));
    api_add_model(api, fake_model(1));
}

static void teardown(void)
{
    fake_end(&f);
    api_free(api);
}

static int begin(const char *body)
{
    return fake_begin(&f, api, API_POST, PATH, body);
}

static void begin_ok(const char *body)
{
    ck_assert_msg(begin(body) == 0, "%s: %s", body, f.error.text);
}

START_TEST(test_job)
{
    begin_ok("{" HI "}");
    const struct engine_job *job = &f.call.jobs[0];
    size_t expected = 1 + strlen("[user\nhi]\n[assistant\n");
    ck_assert_uint_eq(f.call.n_jobs, 1);
    ck_assert_uint_eq(job->n_prompt, expected);
    ck_assert_int_eq(job->prompt[1], FAKE_IM_START);
    ck_assert_uint_eq(job->max_tokens, FAKE_CONTEXT - expected);
    ck_assert(!job->logprobs && !job->prompt_logprobs);
}
END_TEST

START_TEST(test_options_reach_the_job)
{
    begin_ok("{" HI ",\"max_completion_tokens\":4,\"n\":2,\"logprobs\":true,\"top_logprobs\":3,\"seed\":9,"
             "\"response_format\":{\"type\":\"text\"},\"tools\":[],\"tool_choice\":\"none\",\"modalities\":["
             "\"text\"]}");
    const struct engine_job *job = &f.call.jobs[0];
    ck_assert_uint_eq(job->max_tokens, 4);
    ck_assert_uint_eq(job->choices, 2);
    ck_assert_uint_eq(job->top_logprobs, 3);
    ck_assert_uint_eq(job->sampling.seed, 9);
    ck_assert(job->logprobs);
}
END_TEST

START_TEST(test_answer_has_openai_shape)
{
    int32_t ids[] = {'y', 0xc3, 0xa9, FAKE_IM_END};
    begin_ok("{" HI ",\"logprobs\":true,\"top_logprobs\":1,\"return_token_ids\":true,\"n\":2}");
    fake_step_logprobs(&f, 0, 0, "y", ids, 1, ENGINE_FINISH_NONE);
    fake_step_logprobs(&f, 0, 1, "n", ids, 1, ENGINE_FINISH_LENGTH);
    fake_step_logprobs(&f, 0, 0, "\xc3\xa9", ids + 1, 3, ENGINE_FINISH_STOP);
    fake_final(&f, 0, 20, 16, 5);
    ck_assert_int_eq(fake_advance(&f), 0);
    json_t *a = fake_answer(&f);
    ck_assert_str_eq(text_at(a, "id"), "chatcmpl-r\"1");
    ck_assert_str_eq(text_at(a, "object"), "chat.completion");
    ck_assert_str_eq(text_at(a, "choices/0/message/role"), "assistant");
    ck_assert_str_eq(text_at(a, "choices/0/message/content"), "y\xc3\xa9");
    ck_assert(json_is_null(at(a, "choices/0/message/refusal")));
    ck_assert_str_eq(text_at(a, "choices/0/finish_reason"), "stop");
    ck_assert_str_eq(text_at(a, "choices/1/finish_reason"), "length");
    ck_assert_str_eq(text_at(a, "choices/1/message/content"), "n");
    ck_assert_int_eq(json_integer_value(at(a, "choices/1/index")), 1);
    ck_assert_uint_eq(json_array_size(at(a, "choices/0/token_ids")), 4);
    ck_assert_uint_eq(json_array_size(at(a, "choices/0/logprobs/content")), 4);
    ck_assert_str_eq(text_at(a, "choices/0/logprobs/content/1/token"), "\xef\xbf\xbd");
    ck_assert_int_eq(json_integer_value(at(a, "choices/0/logprobs/content/1/bytes/0")), 0xc3);
    ck_assert_double_eq(json_real_value(at(a, "choices/0/logprobs/content/2/logprob")), -1.125);
    ck_assert_str_eq(text_at(a, "choices/0/logprobs/content/3/top_logprobs/0/token"), "!");
    ck_assert(json_is_null(at(a, "choices/0/logprobs/refusal")));
    ck_assert_int_eq(json_integer_value(at(a, "usage/total_tokens")), 25);
    ck_assert_int_eq(json_integer_value(at(a, "usage/prompt_tokens_details/cached_tokens")), 16);
    json_decref(a);
}
END_TEST

START_TEST(test_empty_answer)
{
    int32_t id = FAKE_IM_END;
    begin_ok("{" HI "}");
    fake_step(&f, 0, 0, "", &id, 1, ENGINE_FINISH_STOP);
    fake_final(&f, 0, 20, 0, 1);
    ck_assert_int_eq(fake_advance(&f), 0);
    json_t *a = fake_answer(&f);
    ck_assert_str_eq(json_string_value(at(a, "choices/0/message/content")), "");
    ck_assert(json_is_null(at(a, "choices/0/logprobs")));
    json_decref(a);
}
END_TEST

/* A chunk as "index role content finish", "usage" for the one without choices. */
static void describe(size_t i, char *out, size_t size)
{
    json_t *e = fake_stream_event(&f, i);
    if (!e) {
        snprintf(out, size, "done");
        return;
    }
    ck_assert_str_eq(text_at(e, "object"), "chat.completion.chunk");
    ck_assert_str_eq(text_at(e, "id"), "chatcmpl-r\"1");
    if (json_array_size(at(e, "choices")) == 0)
        snprintf(out, size, "usage %d", (int)json_integer_value(at(e, "usage/total_tokens")));
    else
        snprintf(out, size, "%d %s %s %s", (int)json_integer_value(at(e, "choices/0/index")),
                 text_at(e, "choices/0/delta/role"), text_at(e, "choices/0/delta/content"),
                 text_at(e, "choices/0/finish_reason"));
    json_decref(e);
}

static void check_stream(const char *const *expected, size_t n)
{
    char got[128];
    ck_assert_uint_eq(fake_stream_events(&f), n);
    for (size_t i = 0; i < n; i++) {
        describe(i, got, sizeof got);
        ck_assert_str_eq(got, expected[i]);
    }
}

START_TEST(test_stream_order)
{
    static const char *const expected[] = {"0 assistant  ", "0  a ",    "1 assistant  ",
                                           "1  b ",         "1   stop", "0  c ",
                                           "0   length",    "usage 24", "done"};
    int32_t id = 'x';
    begin_ok("{" HI ",\"n\":2,\"stream\":true,\"stream_options\":{\"include_usage\":true}}");
    ck_assert(f.call.stream);
    fake_step(&f, 0, 0, "a", &id, 1, ENGINE_FINISH_NONE);
    fake_step(&f, 0, 1, "b", &id, 1, ENGINE_FINISH_STOP);
    fake_step(&f, 0, 0, "", &id, 1, ENGINE_FINISH_NONE);
    fake_step(&f, 0, 0, "c", &id, 1, ENGINE_FINISH_LENGTH);
    fake_final(&f, 0, 20, 0, 4);
    ck_assert_int_eq(fake_advance(&f), 0);
    check_stream(expected, sizeof expected / sizeof expected[0]);
    json_t *one = fake_stream_event(&f, 0);
    ck_assert(json_is_null(at(one, "usage")));
    json_decref(one);
}
END_TEST

START_TEST(test_stream_with_tokens)
{
    int32_t ids[] = {0xc3, 0xa9, FAKE_IM_END};
    begin_ok("{" HI ",\"stream\":true,\"logprobs\":true,\"return_token_ids\":true}");
    fake_step_logprobs(&f, 0, 0, "", ids, 1, ENGINE_FINISH_NONE);
    fake_step_logprobs(&f, 0, 0, "\xc3\xa9", ids + 1, 1, ENGINE_FINISH_NONE);
    fake_step_logprobs(&f, 0, 0, "", ids + 2, 1, ENGINE_FINISH_STOP);
    fake_final(&f, 0, 20, 0, 3);
    ck_assert_int_eq(fake_advance(&f), 0);
    ck_assert_uint_eq(fake_stream_events(&f), 6);
    for (size_t i = 1; i <= 3; i++) {
        json_t *e = fake_stream_event(&f, i);
        ck_assert_uint_eq(json_array_size(at(e, "choices/0/token_ids")), 1);
        ck_assert_int_eq(json_integer_value(at(e, "choices/0/token_ids/0")), ids[i - 1]);
        ck_assert_uint_eq(json_array_size(at(e, "choices/0/logprobs/content")), 1);
        ck_assert_ptr_null(at(e, "usage"));
        json_decref(e);
    }
    json_t *last = fake_stream_event(&f, 4);
    ck_assert_uint_eq(json_object_size(at(last, "choices/0/delta")), 0);
    ck_assert(json_is_null(at(last, "choices/0/logprobs")));
    ck_assert_str_eq(text_at(last, "choices/0/finish_reason"), "stop");
    json_decref(last);
}
END_TEST

START_TEST(test_failed_stream_ends_with_an_error_event)
{
    int32_t id = 'x';
    begin_ok("{" HI ",\"stream\":true}");
    fake_step(&f, 0, 0, "x", &id, 1, ENGINE_FINISH_NONE);
    fake_fail(&f, 0, ERROR_INTERNAL, "broken");
    ck_assert_int_eq(fake_advance(&f), 0);
    ck_assert_uint_eq(fake_stream_events(&f), 3);
    json_t *last = fake_stream_event(&f, 2);
    ck_assert_str_eq(text_at(last, "error/message"), "broken");
    json_decref(last);
}
END_TEST

START_TEST(test_over_long_chat)
{
    char body[512], text[121];
    memset(text, 'a', 120);
    text[120] = 0;
    snprintf(body, sizeof body, "{\"messages\":[{\"role\":\"user\",\"content\":\"%s\"}]}", text);
    ck_assert_int_eq(begin(body), -1);
    ck_assert_int_eq(f.error.kind, ERROR_CONTEXT_LENGTH);
    ck_assert_ptr_nonnull(strstr(f.error.text, "maximum context length is 100 tokens"));
    ck_assert_ptr_nonnull(strstr(f.error.text, "140 in the prompt"));
}
END_TEST

static const struct {
    const char *body, *param, *message;
} bad[] = {
    {"{}", "messages", "messages is required"},
    {"{\"messages\":\"hi\"}", "messages", "must be a list"},
    {"{\"messages\":[]}", "messages", "at least one message"},
    {"{" HI ",\"echo\":true}", "echo", "unknown field"},
    {"{" HI ",\"prompt\":\"x\"}", "prompt", "unknown field"},
    {"{" HI ",\"max_tokens\":0}", "max_tokens", "from 1 to"},
    {"{" HI ",\"logprobs\":1}", "logprobs", "true or false"},
    {"{" HI ",\"top_logprobs\":2}", "top_logprobs", "needs logprobs"},
    {"{" HI ",\"logprobs\":true,\"top_logprobs\":21}", "top_logprobs", "from 0 to 20"},
    {"{" HI ",\"tools\":[{}]}", "tools[0].type", "is required"},
    {"{" HI ",\"response_format\":{\"type\":\"poem\"}}", "response_format.type", "must be text"},
    {"{" HI ",\"audio\":{}}", "audio", "not supported"},
    {"{" HI ",\"reasoning_effort\":\"low\"}", "reasoning_effort", "not supported"},
    {"{" HI ",\"model\":\"second\"}", "model", "\"second\" has no chat template"},
    {"{" HI ",\"model\":\"nope\"}", "model", "no model named"},
    {"{" HI ",\"max_tokens\":99}", "", "99 for the answer"},
    {"{\"messages\":[{\"role\":\"user\",\"content\":\"\\udc00\"}]}", "", "invalid JSON"},
};

START_TEST(test_refuses)
{
    ck_assert_msg(begin(bad[_i].body) == -1, "%s", bad[_i].body);
    ck_assert_msg(strstr(f.error.text, bad[_i].message) != NULL, "%s: %s", bad[_i].body, f.error.text);
    ck_assert_msg(strcmp(f.error.param, bad[_i].param) == 0, "%s: param %s", bad[_i].body, f.error.param);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("chat");
    TCase *t = tcase_create("all");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, test_job);
    tcase_add_test(t, test_options_reach_the_job);
    tcase_add_test(t, test_answer_has_openai_shape);
    tcase_add_test(t, test_empty_answer);
    tcase_add_test(t, test_stream_order);
    tcase_add_test(t, test_stream_with_tokens);
    tcase_add_test(t, test_failed_stream_ends_with_an_error_event);
    tcase_add_test(t, test_over_long_chat);
    tcase_add_loop_test(t, test_refuses, 0, (int)(sizeof bad / sizeof bad[0]));
    suite_add_tcase(s, t);
    return suite_run(s);
}
