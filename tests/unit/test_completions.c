/* test_completions.c - /v1/completions: prompts, jobs, answers, chunks, log probabilities, errors. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/fake_engine.h"
#include "tests/unit/suite.h"

#define PATH "/v1/completions"

static struct fake_call f;

static int begin(const char *body)
{
    fake_engine(NULL);
    return fake_begin(&f, NULL, API_POST, PATH, body);
}

static void begin_ok(const char *body)
{
    ck_assert_msg(begin(body) == 0, "%s: %s", body, f.error.text);
}

START_TEST(test_answer_has_openai_shape)
{
    int32_t ids[] = {'h', 'i', FAKE_EOS};
    begin_ok("{\"prompt\":\"ab\"}");
    ck_assert_uint_eq(f.call.n_jobs, 1);
    ck_assert(!f.call.stream);
    const struct engine_job *job = &f.call.jobs[0];
    ck_assert_uint_eq(job->n_prompt, 3);
    ck_assert_int_eq(job->prompt[0], FAKE_BOS);
    ck_assert_int_eq(job->prompt[2], 'b');
    ck_assert_uint_eq(job->max_tokens, 16);
    ck_assert_uint_eq(job->choices, 1);
    ck_assert_uint_eq(job->cache_salt, 77);
    ck_assert_float_eq(job->sampling.temperature, 1);
    fake_step(&f, 0, 0, "h", ids, 1, ENGINE_FINISH_NONE);
    fake_step(&f, 0, 0, "i", ids + 1, 2, ENGINE_FINISH_STOP);
    fake_final(&f, 0, 3, 1, 3);
    ck_assert_int_eq(fake_advance(&f), 0);
    ck_assert_uint_eq(f.call.n_jobs, 0);
    json_t *a = fake_answer(&f);
    ck_assert_str_eq(text_at(a, "id"), "cmpl-r\"1");
    ck_assert_str_eq(text_at(a, "object"), "text_completion");
    ck_assert_int_eq(json_integer_value(at(a, "created")), 1234);
    ck_assert_str_eq(text_at(a, "model"), "toy");
    ck_assert_str_eq(text_at(a, "system_fingerprint"), "loquat-" LOQUAT_VERSION "-fake");
    ck_assert_str_eq(text_at(a, "choices/0/text"), "hi");
    ck_assert_int_eq(json_integer_value(at(a, "choices/0/index")), 0);
    ck_assert(json_is_null(at(a, "choices/0/logprobs")));
    ck_assert_ptr_null(at(a, "choices/0/token_ids"));
    ck_assert_str_eq(text_at(a, "choices/0/finish_reason"), "stop");
    ck_assert_int_eq(json_integer_value(at(a, "usage/prompt_tokens")), 3);
    ck_assert_int_eq(json_integer_value(at(a, "usage/completion_tokens")), 3);
    ck_assert_int_eq(json_integer_value(at(a, "usage/total_tokens")), 6);
    ck_assert_int_eq(json_integer_value(at(a, "usage/prompt_tokens_details/cached_tokens")), 1);
    json_decref(a);
    fake_end(&f);
}
END_TEST

START_TEST(test_options_reach_the_job)
{
    begin_ok(
        "{\"prompt\":\"x\",\"model\":\"second\",\"n_predict\":5,\"n\":3,\"best_of\":3,\"temperature\":0,"
        "\"top_p\":0.5,"
        "\"top_k\":7,\"min_p\":0.25,\"repeat_penalty\":1.5,\"presence_penalty\":-1,\"frequency_penalty\":2,"
        "\"seed\":-3,\"logit_bias\":{\"65\":-100,\"259\":1.5},\"stop\":[\"END\",\"\\n\"],\"stop_token_ids\":["
        "258],"
        "\"ignore_eos\":true,\"logprobs\":2,\"user\":\"u\",\"store\":false}");
    const struct engine_job *j = &f.call.jobs[0];
    ck_assert_ptr_eq(j->model, fake_model(1));
    ck_assert_uint_eq(j->n_prompt, 1);
    ck_assert_uint_eq(j->max_tokens, 5);
    ck_assert_uint_eq(j->choices, 3);
    ck_assert_float_eq(j->sampling.temperature, 0);
    ck_assert_float_eq(j->sampling.top_p, 0.5f);
    ck_assert_uint_eq(j->sampling.top_k, 7);
    ck_assert_float_eq(j->sampling.min_p, 0.25f);
    ck_assert_float_eq(j->sampling.repetition_penalty, 1.5f);
    ck_assert_float_eq(j->sampling.presence_penalty, -1);
    ck_assert_float_eq(j->sampling.frequency_penalty, 2);
    ck_assert_uint_eq(j->sampling.seed, (uint64_t)-3);
    ck_assert_uint_eq(j->sampling.n_bias, 2);
    ck_assert_int_eq(j->sampling.bias[1].token, 259);
    ck_assert_float_eq(j->sampling.bias[0].bias, -100);
    ck_assert_uint_eq(j->n_stop, 2);
    ck_assert_str_eq(j->stop[0].bytes, "END");
    ck_assert_uint_eq(j->stop[1].len, 1);
    ck_assert_int_eq(j->stop_tokens[0], 258);
    ck_assert(j->ignore_eos && j->logprobs && !j->prompt_logprobs);
    ck_assert_uint_eq(j->top_logprobs, 2);
    fake_end(&f);
}
END_TEST

START_TEST(test_seed_is_drawn_anew)
{
    uint64_t seeds[2];
    for (int i = 0; i < 2; i++) {
        begin_ok("{\"prompt\":[\"a\",\"a\"]}");
        seeds[i] = f.call.jobs[0].sampling.seed;
        ck_assert_uint_ne(f.call.jobs[1].sampling.seed, seeds[i]);
        fake_end(&f);
    }
    ck_assert_uint_ne(seeds[0], seeds[1]);
}
END_TEST

START_TEST(test_special_tokens_of_a_prompt_are_parsed)
{
    begin_ok("{\"prompt\":\"<|im_start|>u\"}");
    ck_assert_uint_eq(f.call.jobs[0].n_prompt, 3);
    ck_assert_int_eq(f.call.jobs[0].prompt[1], FAKE_IM_START);
    fake_end(&f);
}
END_TEST

START_TEST(test_prompts_of_every_form)
{
    begin_ok("{\"prompt\":[5,6,7]}");
    ck_assert_uint_eq(f.call.n_jobs, 1);
    ck_assert_uint_eq(f.call.jobs[0].n_prompt, 3);
    ck_assert_int_eq(f.call.jobs[0].prompt[0], 5);
    fake_end(&f);
    begin_ok("{\"prompt\":[[5],[6,7]]}");
    ck_assert_uint_eq(f.call.n_jobs, 2);
    ck_assert_uint_eq(f.call.jobs[1].n_prompt, 2);
    fake_end(&f);
    begin_ok("{\"prompt\":[\"ab\",\"c\"]}");
    ck_assert_uint_eq(f.call.n_jobs, 2);
    ck_assert_uint_eq(f.call.jobs[0].n_prompt, 3);
    fake_end(&f);
}
END_TEST

START_TEST(test_choice_index_is_prompt_times_n_plus_choice)
{
    int32_t id = 'x';
    begin_ok("{\"prompt\":[\"a\",\"b\"],\"n\":2,\"max_tokens\":1,\"echo\":true,\"return_token_ids\":true}");
    fake_step(&f, 1, 1, "D", &id, 1, ENGINE_FINISH_LENGTH);
    fake_step(&f, 0, 0, "A", &id, 1, ENGINE_FINISH_LENGTH);
    fake_step(&f, 1, 0, "C", &id, 1, ENGINE_FINISH_STOP);
    fake_step(&f, 0, 1, "B", &id, 1, ENGINE_FINISH_LENGTH);
    fake_final(&f, 1, 2, 0, 2);
    fake_final(&f, 0, 2, 0, 2);
    ck_assert_int_eq(fake_advance(&f), 0);
    json_t *a = fake_answer(&f);
    static const char *const texts[] = {"aA", "aB", "bC", "bD"};
    for (size_t i = 0; i < 4; i++) {
        const json_t *c = json_array_get(at(a, "choices"), i);
        ck_assert_str_eq(text_at(c, "text"), texts[i]);
        ck_assert_int_eq(json_integer_value(at(c, "index")), (int)i);
        ck_assert_int_eq(json_integer_value(at(c, "token_ids/0")), 'x');
    }
    ck_assert_str_eq(text_at(a, "choices/2/finish_reason"), "stop");
    ck_assert_int_eq(json_integer_value(at(a, "usage/prompt_tokens")), 4);
    ck_assert_int_eq(json_integer_value(at(a, "usage/completion_tokens")), 4);
    json_decref(a);
    fake_end(&f);
}
END_TEST

static void check_offsets(const json_t *logprobs, const int *offsets, size_t n)
{
    ck_assert_uint_eq(json_array_size(at(logprobs, "tokens")), n);
    ck_assert_uint_eq(json_array_size(at(logprobs, "token_logprobs")), n);
    ck_assert_uint_eq(json_array_size(at(logprobs, "top_logprobs")), n);
    ck_assert_uint_eq(json_array_size(at(logprobs, "text_offset")), n);
    for (size_t i = 0; i < n; i++)
        ck_assert_int_eq(json_integer_value(json_array_get(at(logprobs, "text_offset"), i)), offsets[i]);
}

START_TEST(test_echo_with_logprobs)
{
    /* "é" is two tokens, the second one inside its code point. */
    int32_t prompt[] = {FAKE_BOS, 'a', 0xc3, 0xa9}, more[] = {'b', FAKE_EOS};
    int offsets[] = {0, 0, 1, 1, 2, 3};
    begin_ok("{\"prompt\":\"a\\u00e9\",\"echo\":true,\"logprobs\":1}");
    ck_assert(f.call.jobs[0].prompt_logprobs);
    fake_prompt_logprobs(&f, 0, prompt, 2, true);
    fake_prompt_logprobs(&f, 0, prompt + 2, 2, false);
    fake_step_logprobs(&f, 0, 0, "b", more, 2, ENGINE_FINISH_STOP);
    fake_final(&f, 0, 4, 0, 2);
    ck_assert_int_eq(fake_advance(&f), 0);
    json_t *a = fake_answer(&f);
    const json_t *l = at(a, "choices/0/logprobs");
    ck_assert_str_eq(text_at(a, "choices/0/text"), "a\xc3\xa9"
                                                   "b");
    check_offsets(l, offsets, 6);
    ck_assert(json_is_null(at(l, "token_logprobs/0")) && json_is_null(at(l, "top_logprobs/0")));
    ck_assert_str_eq(text_at(l, "tokens/0"), "<s>");
    ck_assert_str_eq(text_at(l, "tokens/2"), "bytes:\\xc3");
    ck_assert_double_eq(json_real_value(at(l, "token_logprobs/1")), -1.125);
    ck_assert_double_eq(json_real_value(at(l, "top_logprobs/1/!")), -0.5);
    ck_assert_double_eq(json_real_value(at(l, "top_logprobs/1/a")), -1.125);
    ck_assert_uint_eq(json_object_size(at(l, "top_logprobs/1")), 2);
    json_decref(a);
    fake_end(&f);
}
END_TEST

static void check_top(const json_t *logprobs, const char *expected)
{
    char *text = json_dumps(at(logprobs, "top_logprobs"), JSON_COMPACT | JSON_REAL_PRECISION(6));
    ck_assert_str_eq(text, expected);
    free(text);
}

/* Each token has its own alternatives, over several events; of two that are written alike the likeliest is
 * told. */
START_TEST(test_alternatives_belong_to_their_tokens)
{
    struct engine_alternative tops[] = {
        {'a', -0.25f}, {FAKE_TWIN, -0.5f}, {'x', -0.75f}, {'c', -1}, {'d', -2}};
    struct engine_token tokens[] = {
        {'a', -0.25f, true, 2, tops}, {'z', -9, true, 1, tops + 2}, {'d', -2, true, 2, tops + 3}};
    begin_ok("{\"prompt\":\"x\",\"logprobs\":2}");
    for (size_t i = 0; i < 3; i++) {
        struct engine_event event = {.kind = ENGINE_EVENT_STEP,
                                     .tokens = &tokens[i],
                                     .n_tokens = 1,
                                     .text = "t",
                                     .text_len = 1,
                                     .finish = i == 2 ? ENGINE_FINISH_LENGTH : ENGINE_FINISH_NONE};
        api_call_event(&f.call, 0, &event);
    }
    memset(tops, 0, sizeof tops); /* an event's memory is the engine's */
    fake_final(&f, 0, 2, 0, 3);
    ck_assert_int_eq(fake_advance(&f), 0);
    json_t *a = fake_answer(&f);
    ck_assert_uint_eq(json_array_size(at(a, "choices/0/logprobs/tokens")), 3);
    check_top(at(a, "choices/0/logprobs"), "[{\"a\":-0.25},{\"x\":-0.75,\"z\":-9},{\"c\":-1,\"d\":-2}]");
    json_decref(a);
    fake_end(&f);
}
END_TEST

START_TEST(test_scoring_without_generation)
{
    int32_t prompt[] = {FAKE_BOS, 'a', 'b'};
    int offsets[] = {0, 0, 1};
    begin_ok("{\"prompt\":\"ab\",\"echo\":true,\"logprobs\":0,\"max_tokens\":0}");
    ck_assert_uint_eq(f.call.jobs[0].max_tokens, 0);
    fake_prompt_logprobs(&f, 0, prompt, 3, true);
    fake_final(&f, 0, 3, 0, 0);
    ck_assert_int_eq(fake_advance(&f), 0);
    json_t *a = fake_answer(&f);
    ck_assert_str_eq(text_at(a, "choices/0/text"), "ab");
    ck_assert_str_eq(text_at(a, "choices/0/finish_reason"), "length");
    check_offsets(at(a, "choices/0/logprobs"), offsets, 3);
    json_decref(a);
    fake_end(&f);
}
END_TEST

/* A BOS that the prompt itself writes is part of the echo. */
START_TEST(test_written_bos_has_its_place)
{
    int32_t prompt[] = {FAKE_BOS, 'a'};
    int offsets[] = {0, 3};
    begin_ok("{\"prompt\":\"<s>a\",\"model\":\"second\",\"echo\":true,\"logprobs\":0,\"max_tokens\":0}");
    fake_prompt_logprobs(&f, 0, prompt, 2, true);
    fake_final(&f, 0, 2, 0, 0);
    ck_assert_int_eq(fake_advance(&f), 0);
    json_t *a = fake_answer(&f);
    check_offsets(at(a, "choices/0/logprobs"), offsets, 2);
    json_decref(a);
    fake_end(&f);
}
END_TEST

START_TEST(test_offsets_end_with_the_text)
{
    int32_t ids[] = {'a', 'E', 'N', 'D'};
    int offsets[] = {0, 1, 1, 1};
    begin_ok("{\"prompt\":\"x\",\"logprobs\":0,\"stop\":\"END\"}");
    fake_step_logprobs(&f, 0, 0, "a", ids, 4, ENGINE_FINISH_STOP);
    fake_final(&f, 0, 2, 0, 4);
    ck_assert_int_eq(fake_advance(&f), 0);
    json_t *a = fake_answer(&f);
    check_offsets(at(a, "choices/0/logprobs"), offsets, 4);
    json_decref(a);
    fake_end(&f);
}
END_TEST

START_TEST(test_echo_of_ids_is_their_text)
{
    begin_ok("{\"prompt\":[97,258,98],\"echo\":true,\"max_tokens\":0}");
    fake_final(&f, 0, 3, 0, 0);
    ck_assert_int_eq(fake_advance(&f), 0);
    json_t *a = fake_answer(&f);
    ck_assert_str_eq(text_at(a, "choices/0/text"), "a<|im_start|>b");
    json_decref(a);
    fake_end(&f);
}
END_TEST

START_TEST(test_stream_order)
{
    int32_t ids[] = {'h', 'i'};
    begin_ok("{\"prompt\":\"a\",\"stream\":true,\"stream_options\":{\"include_usage\":true},\"return_token_"
             "ids\":true}");
    ck_assert(f.call.stream);
    ck_assert_uint_eq(f.call.out.len, 0);
    fake_step(&f, 0, 0, "h", ids, 1, ENGINE_FINISH_NONE);
    ck_assert_uint_eq(fake_stream_events(&f), 1);
    fake_step(&f, 0, 0, "i", ids + 1, 1, ENGINE_FINISH_LENGTH);
    fake_final(&f, 0, 2, 0, 2);
    ck_assert_int_eq(fake_advance(&f), 0);
    ck_assert_uint_eq(fake_stream_events(&f), 4);
    json_t *one = fake_stream_event(&f, 0), *two = fake_stream_event(&f, 1),
           *usage = fake_stream_event(&f, 2);
    ck_assert_ptr_null(fake_stream_event(&f, 3));
    ck_assert_str_eq(text_at(one, "choices/0/text"), "h");
    ck_assert(json_is_null(at(one, "choices/0/finish_reason")) && json_is_null(at(one, "usage")));
    ck_assert_int_eq(json_integer_value(at(one, "choices/0/token_ids/0")), 'h');
    ck_assert_str_eq(text_at(two, "choices/0/finish_reason"), "length");
    ck_assert_int_eq(json_integer_value(at(two, "choices/0/token_ids/0")), 'i');
    ck_assert_str_eq(text_at(one, "id"), text_at(usage, "id"));
    ck_assert_uint_eq(json_array_size(at(usage, "choices")), 0);
    ck_assert_int_eq(json_integer_value(at(usage, "usage/total_tokens")), 4);
    json_decref(one);
    json_decref(two);
    json_decref(usage);
    fake_end(&f);
}
END_TEST

START_TEST(test_stream_sends_no_empty_chunks)
{
    int32_t id = 0xc3;
    begin_ok("{\"prompt\":\"a\",\"stream\":true}");
    fake_step(&f, 0, 0, "", &id, 1, ENGINE_FINISH_NONE);
    ck_assert_uint_eq(f.call.out.len, 0);
    fake_step(&f, 0, 0, "\xc3\xa9", &id, 1, ENGINE_FINISH_STOP);
    fake_final(&f, 0, 2, 0, 2);
    ck_assert_int_eq(fake_advance(&f), 0);
    ck_assert_uint_eq(fake_stream_events(&f), 2);
    json_t *one = fake_stream_event(&f, 0);
    ck_assert_ptr_null(at(one, "usage"));
    ck_assert_str_eq(text_at(one, "choices/0/text"), "\xc3\xa9");
    json_decref(one);
    fake_end(&f);
}
END_TEST

START_TEST(test_stream_echoes_each_choice_once)
{
    int32_t prompt[] = {FAKE_BOS, 'a'}, id = 'z';
    begin_ok("{\"prompt\":\"a\",\"stream\":true,\"echo\":true,\"logprobs\":1,\"n\":2}");
    fake_prompt_logprobs(&f, 0, prompt, 2, true);
    ck_assert_uint_eq(f.call.out.len, 0);
    fake_step_logprobs(&f, 0, 0, "z", &id, 1, ENGINE_FINISH_NONE);
    fake_step_logprobs(&f, 0, 0, "z", &id, 1, ENGINE_FINISH_LENGTH);
    fake_final(&f, 0, 2, 0, 2);
    ck_assert_int_eq(fake_advance(&f), 0);
    static const struct {
        const char *text, *finish;
        size_t tokens;
        int first_offset, index;
    } expected[] = {{"az", "", 3, 0, 0}, {"z", "length", 1, 2, 0}, {"a", "length", 2, 0, 1}};
    ck_assert_uint_eq(fake_stream_events(&f), 4);
    for (size_t i = 0; i < 3; i++) {
        json_t *e = fake_stream_event(&f, i);
        ck_assert_str_eq(text_at(e, "choices/0/text"), expected[i].text);
        ck_assert_str_eq(text_at(e, "choices/0/finish_reason"), expected[i].finish);
        ck_assert_uint_eq(json_array_size(at(e, "choices/0/logprobs/tokens")), expected[i].tokens);
        ck_assert_int_eq(json_integer_value(at(e, "choices/0/logprobs/text_offset/0")),
                         expected[i].first_offset);
        ck_assert_int_eq(json_integer_value(at(e, "choices/0/index")), expected[i].index);
        json_decref(e);
    }
    fake_end(&f);
}
END_TEST

START_TEST(test_failed_job_is_the_answers_error)
{
    begin_ok("{\"prompt\":[\"a\",\"b\"]}");
    fake_fail(&f, 1, ERROR_DEADLINE, "waited too long");
    fake_final(&f, 0, 2, 0, 0);
    ck_assert_int_eq(fake_advance(&f), -1);
    ck_assert_int_eq(f.error.kind, ERROR_DEADLINE);
    ck_assert_uint_eq(f.call.out.len, 0);
    fake_end(&f);
}
END_TEST

START_TEST(test_failed_stream_ends_with_an_error_event)
{
    int32_t id = 'x';
    begin_ok("{\"prompt\":\"a\",\"stream\":true}");
    fake_step(&f, 0, 0, "x", &id, 1, ENGINE_FINISH_NONE);
    fake_fail(&f, 0, ERROR_INTERNAL, "broken");
    ck_assert_int_eq(fake_advance(&f), 0);
    ck_assert_uint_eq(fake_stream_events(&f), 2);
    json_t *last = fake_stream_event(&f, 1);
    ck_assert_str_eq(text_at(last, "error/message"), "broken");
    json_decref(last);
    fake_end(&f);
}
END_TEST

/* Nothing is out yet, so the client can still have a status. */
START_TEST(test_stream_that_never_began_is_an_error)
{
    begin_ok("{\"prompt\":\"a\",\"stream\":true}");
    fake_fail(&f, 0, ERROR_DEADLINE, "waited too long");
    ck_assert_int_eq(fake_advance(&f), -1);
    ck_assert_uint_eq(f.call.out.len, 0);
    fake_end(&f);
}
END_TEST

/* 1,100 prompts would fill a queue: they go in rounds, streamed or not. */
START_TEST(test_many_prompts_go_in_rounds)
{
    static char body[8192];
    static const size_t rounds[] = {512, 512, 76, 0};
    size_t done = 0;
    memcpy(body, _i ? "{\"stream\":true,\"prompt\":[\"a\"" : "{\"prompt\":[\"a\"", _i ? 29 : 15);
    for (int i = 1; i < 1100; i++)
        memcpy(body + strlen(body), ",\"b\"", 5);
    memcpy(body + strlen(body), "]}", 3);
    begin_ok(body);
    for (size_t r = 0; r < 4; r++) {
        size_t n = f.call.n_jobs;
        ck_assert_uint_eq(n, rounds[r]);
        for (size_t i = 0; i < n; i++, done++) {
            char text[8];
            snprintf(text, sizeof text, "%zu", done);
            fake_step(&f, i, 0, text, NULL, 0, ENGINE_FINISH_STOP);
            fake_final(&f, i, 1, 0, 1);
        }
        if (n)
            ck_assert_int_eq(fake_advance(&f), 0);
    }
    json_t *last = _i ? fake_stream_event(&f, 1099) : fake_answer(&f);
    const char *path = _i ? "choices/0" : "choices/1099";
    ck_assert_str_eq(text_at(at(last, path), "text"), "1099");
    ck_assert_int_eq(json_integer_value(at(at(last, path), "index")), 1099);
    ck_assert(_i || json_integer_value(at(last, "usage/completion_tokens")) == 1100);
    json_decref(last);
    fake_end(&f);
}
END_TEST

START_TEST(test_over_long_prompt_tells_both_counts)
{
    char body[400];
    char text[200];
    memset(text, 'a', 150);
    text[150] = 0;
    snprintf(body, sizeof body, "{\"prompt\":\"%s\",\"max_tokens\":7}", text);
    ck_assert_int_eq(begin(body), -1);
    ck_assert_int_eq(f.error.kind, ERROR_CONTEXT_LENGTH);
    ck_assert_ptr_nonnull(strstr(f.error.text, "maximum context length is 100 tokens"));
    ck_assert_ptr_nonnull(strstr(f.error.text, "151 in the prompt, 7 for the answer"));
    fake_end(&f);
    ck_assert_int_eq(begin("{\"prompt\":[1,2,3],\"max_tokens\":98}"), -1);
    ck_assert_int_eq(f.error.kind, ERROR_CONTEXT_LENGTH);
    fake_end(&f);
    begin_ok("{\"prompt\":[1,2,3],\"max_tokens\":97}");
    fake_end(&f);
}
END_TEST

static const struct {
    const char *body, *param, *message;
} bad[] = {
    {"{", "", "invalid JSON"},
    {"", "", "invalid JSON"},
    {"{}", "prompt", "prompt is required"},
    {"{\"prompt\":5}", "prompt", "a string or a list"},
    {"{\"prompt\":[]}", "prompt", "at least one prompt"},
    {"{\"prompt\":\"\",\"model\":\"second\"}", "", "the prompt is empty"},
    {"{\"prompt\":[[]]}", "", "the prompt is empty"},
    {"{\"prompt\":[1,\"a\"]}", "prompt", "prompt[1] is no token id"},
    {"{\"prompt\":[\"a\",1]}", "prompt", "prompt[1] must be a text or a list"},
    {"{\"prompt\":[{}]}", "prompt", "prompt[0] must be"},
    {"{\"prompt\":[262]}", "prompt", "262 is no token id of this model (0 to 261)"},
    {"{\"prompt\":\"a\",\"model\":\"gpt-4\"}", "model", "no model named \"gpt-4\""},
    {"{\"prompt\":\"a\",\"temperature\":-0.1}", "temperature", "from 0 to 2"},
    {"{\"prompt\":\"a\",\"n\":129}", "n", "from 1 to 128"},
    {"{\"prompt\":\"a\",\"logprobs\":21}", "logprobs", "from 0 to 20"},
    {"{\"prompt\":\"a\",\"logprobs\":true}", "logprobs", "must be an integer, not true"},
    {"{\"prompt\":\"a\",\"best_of\":2}", "best_of", "unless it equals n"},
    {"{\"prompt\":\"a\",\"suffix\":\"b\"}", "suffix", "not supported"},
    {"{\"prompt\":\"a\",\"messages\":[]}", "messages", "unknown field"},
    {"{\"prompt\":\"a\",\"store\":true}", "store", "not supported"},
    {"{\"prompt\":\"a\",\"stop\":\"\"}", "stop", "1 to 1024 bytes"},
    {"{\"prompt\":\"a\",\"stop_token_ids\":[262]}", "stop_token_ids", "262 is no token id"},
    {"{\"prompt\":\"a\",\"logit_bias\":{\"262\":1}}", "logit_bias", "\"262\" is no token id"},
    {"{\"prompt\":\"a\",\"logit_bias\":{\"-1\":1}}", "logit_bias", "\"-1\" is no token id"},
    {"{\"prompt\":\"a\",\"logit_bias\":{\"99999999999999999999\":1}}", "logit_bias", "is no token id"},
    {"{\"prompt\":\"a\",\"logit_bias\":{\"1\":101}}", "logit_bias", "from -100 to 100"},
    {"{\"prompt\":\"a\",\"logit_bias\":{\"1\":\"x\"}}", "logit_bias", "from -100 to 100"},
    {"{\"prompt\":\"a\",\"stream_options\":{\"include_usage\":true}}", "stream_options", "needs stream"},
    {"{\"prompt\":\"a\\ud800\"}", "", "invalid JSON"},
    {"{\"prompt\":\"a\xff\"}", "", "not valid UTF-8"},
};

START_TEST(test_refuses)
{
    ck_assert_msg(begin(bad[_i].body) == -1, "%s", bad[_i].body);
    ck_assert_msg(strstr(f.error.text, bad[_i].message) != NULL, "%s: %s", bad[_i].body, f.error.text);
    ck_assert_msg(strcmp(f.error.param, bad[_i].param) == 0, "%s: param %s", bad[_i].body, f.error.param);
    int status = error_http_status(f.error.kind);
    ck_assert(status == 400 || (status == 404 && strcmp(bad[_i].param, "model") == 0));
    fake_end(&f);
}
END_TEST

START_TEST(test_refuses_too_many_choices_in_all)
{
    char *body = malloc(8192);
    ck_assert_ptr_nonnull(body);
    size_t len = (size_t)snprintf(body, 8192, "{\"n\":128,\"prompt\":[");
    for (int i = 0; i < 17; i++)
        len += (size_t)snprintf(body + len, 8192 - len, "%s\"a\"", i ? "," : "");
    snprintf(body + len, 8192 - len, "]}");
    ck_assert_int_eq(begin(body), -1);
    ck_assert_str_eq(f.error.param, "prompt");
    fake_end(&f);
    free(body);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("completions");
    TCase *t = tcase_create("all");
    tcase_add_test(t, test_answer_has_openai_shape);
    tcase_add_test(t, test_options_reach_the_job);
    tcase_add_test(t, test_seed_is_drawn_anew);
    tcase_add_test(t, test_special_tokens_of_a_prompt_are_parsed);
    tcase_add_test(t, test_prompts_of_every_form);
    tcase_add_test(t, test_choice_index_is_prompt_times_n_plus_choice);
    tcase_add_test(t, test_echo_with_logprobs);
    tcase_add_test(t, test_alternatives_belong_to_their_tokens);
    tcase_add_test(t, test_scoring_without_generation);
    tcase_add_test(t, test_written_bos_has_its_place);
    tcase_add_test(t, test_offsets_end_with_the_text);
    tcase_add_test(t, test_echo_of_ids_is_their_text);
    tcase_add_test(t, test_stream_order);
    tcase_add_test(t, test_stream_sends_no_empty_chunks);
    tcase_add_test(t, test_stream_echoes_each_choice_once);
    tcase_add_test(t, test_failed_job_is_the_answers_error);
    tcase_add_test(t, test_failed_stream_ends_with_an_error_event);
    tcase_add_test(t, test_stream_that_never_began_is_an_error);
    tcase_add_loop_test(t, test_many_prompts_go_in_rounds, 0, 2);
    tcase_add_test(t, test_over_long_prompt_tells_both_counts);
    tcase_add_loop_test(t, test_refuses, 0, (int)(sizeof bad / sizeof bad[0]));
    tcase_add_test(t, test_refuses_too_many_choices_in_all);
    suite_add_tcase(s, t);
    return suite_run(s);
}
