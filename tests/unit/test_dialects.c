/* test_dialects.c - what dialects make of reasoning and tool calls: /v1/messages and /api/chat over a fake
 * engine; errors in each dialect's own shape. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/anthropic.h"
#include "api/oip.h"
#include "api/ollama.h"
#include "api/tei.h"
#include "engine/base/json.h"
#include "tests/unit/fake_engine.h"
#include "tests/unit/suite.h"

#define CALL "<tool_call>\n{\"name\": \"weather\", \"arguments\": {\"city\": \"Rome\"}}\n</tool_call>"
#define HI   "\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]"
#define CLAUDE_TOOLS                                                                                         \
    "\"tools\":[{\"name\":\"weather\",\"input_schema\":{\"type\":\"object\",\"properties\":"                 \
    "{\"city\":{\"type\":\"string\"}}}}]"
#define OLLAMA_TOOLS                                                                                         \
    "\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"weather\",\"parameters\":"                   \
    "{\"type\":\"object\",\"properties\":{\"city\":{\"type\":\"string\"}}}}}]"

static const char thinks[] =
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\\n' + m['content'] + '<|im_end|>' + '\\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}"
    "{% if enable_thinking is defined and enable_thinking is false %}{{ '<think>\\n\\n</think>\\n\\n' }}"
    "{% endif %}{% endif %}{# <think> </think> #}";

static struct fake_call f;
static struct api *api;

static void setup(void)
{
    ck_assert_int_eq(api_create(fake_engine(thinks), &api, NULL), 0);
    for (size_t i = 0; i < 2; i++)
        fake_info(i)->context = 4000;
    api_add_model(api, fake_model(0));
    api_add_model(api, fake_model(1));
}

static void teardown(void)
{
    fake_end(&f);
    api_free(api);
}

/* An answer in two steps, so that a mark is cut in its middle. */
static void answer(const char *text)
{
    size_t half = strlen(text) / 2;
    char *first = strndup(text, half);
    fake_step(&f, 0, 0, first, NULL, 0, ENGINE_FINISH_NONE);
    fake_step(&f, 0, 0, text + half, NULL, 0, ENGINE_FINISH_STOP);
    fake_final(&f, 0, 30, 10, 20);
    free(first);
    ck_assert_int_eq(fake_advance(&f), 0);
}

/* Line i of the answer parsed, after `mark`; a new reference, or NULL past the end. */
static json_t *line(const char *mark, size_t i)
{
    const char *at = f.call.out.data;
    json_t *value = NULL;
    struct error e = {0};
    for (; at && *at; at = strchr(at, '\n') + 1) {
        size_t len = strcspn(at, "\n");
        if (strncmp(at, mark, strlen(mark)) != 0 || len == 0 || i-- > 0)
            continue;
        const char *from = at + strlen(mark);
        ck_assert_msg(json_parse(from, len - strlen(mark), &value, &e) == 0, "%s in %s", e.text, at);
        return value;
    }
    return NULL;
}

/* ---- Anthropic -------------------------------------------------------------------------------- */

static const char claude[] = "{\"model\":\"toy\",\"max_tokens\":50," HI "," CLAUDE_TOOLS "%s}";

static void ask_claude(const char *more)
{
    char body[1024];
    snprintf(body, sizeof body, claude, more);
    fake_begin_ok(&f, api, "/v1/messages", body);
}

START_TEST(test_message_with_blocks)
{
    ask_claude("");
    answer("<think>\nRain?\n</think>\n\nLet me see.\n" CALL);
    json_t *a = fake_answer(&f);
    ck_assert_str_eq(text_at(a, "content/0/type"), "thinking");
    ck_assert_str_eq(text_at(a, "content/0/thinking"), "Rain?");
    ck_assert_str_eq(text_at(a, "content/1/type"), "text");
    ck_assert_ptr_nonnull(strstr(text_at(a, "content/1/text"), "Let me see."));
    ck_assert_str_eq(text_at(a, "content/2/type"), "tool_use");
    ck_assert_str_eq(text_at(a, "content/2/name"), "weather");
    ck_assert_str_eq(text_at(a, "content/2/input/city"), "Rome");
    ck_assert_uint_eq(json_array_size(at(a, "content")), 3);
    ck_assert_str_eq(text_at(a, "stop_reason"), "tool_use");
    ck_assert(number_at(a, "usage/input_tokens") == 20 &&
              number_at(a, "usage/cache_read_input_tokens") == 10);
    json_decref(a);
}
END_TEST

/* Each block starts, grows and stops before the next one; the input comes as pieces of one JSON text. */
START_TEST(test_stream_of_blocks)
{
    char input[256] = "";
    int open = -1, blocks = 0;
    ask_claude(",\"stream\":true");
    answer("<think>\nRain?\n</think>\n\nLet me see.\n" CALL);
    json_t *event, *last = NULL;
    for (size_t i = 0; (event = line("data: ", i)); i++) {
        const char *type = text_at(event, "type");
        ck_assert(i > 0 || strcmp(type, "message_start") == 0);
        if (strcmp(type, "content_block_start") == 0) {
            ck_assert_int_eq(open, -1);
            open = (int)number_at(event, "index");
            ck_assert_int_eq(open, blocks++);
        } else if (strcmp(type, "content_block_stop") == 0) {
            ck_assert_int_eq((int)number_at(event, "index"), open);
            open = -1;
        } else if (strcmp(type, "content_block_delta") == 0) {
            ck_assert_int_eq((int)number_at(event, "index"), open);
            strncat(input, text_at(event, "delta/partial_json"), sizeof input - strlen(input) - 1);
        } else if (strcmp(type, "message_delta") == 0) {
            last = json_incref(event);
        }
        json_decref(event);
    }
    ck_assert_int_eq(open, -1);
    ck_assert_int_eq(blocks, 3);
    ck_assert_str_eq(input, "{\"city\": \"Rome\"}");
    ck_assert_str_eq(text_at(last, "delta/stop_reason"), "tool_use");
    json_decref(last);
}
END_TEST

START_TEST(test_thinking_can_be_left)
{
    ask_claude(",\"thinking\":{\"type\":\"disabled\"}");
    ck_assert_ptr_nonnull(strstr(fake_prompt(&f, 0), "<think>\n\n</think>"));
    fake_end(&f);
    ask_claude(",\"thinking\":{\"type\":\"adaptive\"}");
    ck_assert_ptr_null(strstr(fake_prompt(&f, 0), "</think>"));
}
END_TEST

/* ---- Ollama ----------------------------------------------------------------------------------- */

static const char llama[] = "{\"model\":\"toy:latest\"," HI "," OLLAMA_TOOLS "%s}";

static void ask_ollama(const char *more)
{
    char body[1024];
    snprintf(body, sizeof body, llama, more);
    fake_begin_ok(&f, api, "/api/chat", body);
}

START_TEST(test_chat_with_a_call)
{
    ask_ollama(",\"stream\":false");
    answer("<think>\nRain?\n</think>\n\n" CALL);
    json_t *a = fake_answer(&f);
    ck_assert_str_eq(text_at(a, "model"), "toy:latest");
    ck_assert_str_eq(text_at(a, "message/thinking"), "Rain?");
    ck_assert_str_eq(text_at(a, "message/content"), "");
    ck_assert_str_eq(text_at(a, "message/tool_calls/0/function/name"), "weather");
    ck_assert_str_eq(text_at(a, "message/tool_calls/0/function/arguments/city"), "Rome");
    ck_assert_str_eq(text_at(a, "done_reason"), "stop");
    json_decref(a);
}
END_TEST

/* A call is one line, with its arguments as an object; the last line carries the counts. */
START_TEST(test_lines_with_a_call)
{
    size_t calls = 0, i = 0;
    bool done = false;
    ask_ollama("");
    ck_assert(f.call.stream);
    answer("Let me see.\n" CALL);
    for (json_t *l; (l = line("", i)); i++) {
        if (at(l, "message/tool_calls")) {
            ck_assert_str_eq(text_at(l, "message/tool_calls/0/function/arguments/city"), "Rome");
            calls++;
        }
        ck_assert(!done);
        done = json_is_true(at(l, "done"));
        if (done)
            ck_assert(number_at(l, "eval_count") == 20 && number_at(l, "prompt_eval_count") == 30);
        json_decref(l);
    }
    ck_assert(done && i >= 3);
    ck_assert_uint_eq(calls, 1);
}
END_TEST

/* A call that max_tokens cut has no arguments that parse: it is not told, and the reason says why. */
START_TEST(test_a_cut_call_is_not_told)
{
    ask_ollama(",\"stream\":false");
    fake_step(&f, 0, 0, "<tool_call>\n{\"name\": \"weather\", \"arguments\": {\"ci", NULL, 0,
              ENGINE_FINISH_LENGTH);
    fake_final(&f, 0, 30, 0, 20);
    ck_assert_int_eq(fake_advance(&f), 0);
    json_t *a = fake_answer(&f);
    ck_assert_ptr_null(at(a, "message/tool_calls"));
    ck_assert_str_eq(text_at(a, "done_reason"), "length");
    json_decref(a);
}
END_TEST

/* ---- errors ----------------------------------------------------------------------------------- */

static const struct {
    const struct api_dialect *dialect;
    enum error_kind kind;
    const char *param;
    int status;
    const char *body;
} errors[] = {
    {&api_anthropic, ERROR_QUEUE_FULL, "", 529,
     "{\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"no\"},\"request_id\":"
     "\"r1\"}"},
    {&api_anthropic, ERROR_DRAINING, "", 503,
     "{\"type\":\"error\",\"error\":{\"type\":\"api_error\",\"message\":\"no\"},\"request_id\":\"r1\"}"},
    {&api_anthropic, ERROR_PAYLOAD_TOO_LARGE, "", 413,
     "{\"type\":\"error\",\"error\":{\"type\":\"request_too_large\",\"message\":\"no\"},\"request_id\":"
     "\"r1\"}"},
    {&api_ollama, ERROR_QUEUE_FULL, "", 429, "{\"error\":\"no\"}"},
    {&api_oip, ERROR_MODEL_NOT_FOUND, "", 404, "{\"error\":\"no\"}"},
    {&api_tei, ERROR_UNSUPPORTED, "model", 424, "{\"error\":\"no\",\"error_type\":\"Backend\"}"},
    {&api_tei, ERROR_UNSUPPORTED, "prompt_name", 422, "{\"error\":\"no\",\"error_type\":\"Validation\"}"},
    {&api_tei, ERROR_CONTEXT_LENGTH, "inputs", 413, "{\"error\":\"no\",\"error_type\":\"Validation\"}"},
    {&api_tei, ERROR_QUEUE_FULL, "", 429, "{\"error\":\"no\",\"error_type\":\"Overloaded\"}"},
    {&api_tei, ERROR_LOADING, "", 503, "{\"error\":\"no\",\"error_type\":\"Unhealthy\"}"},
};

START_TEST(test_errors)
{
    struct error e = {0};
    struct buf out;
    error_param(&e, errors[_i].kind, errors[_i].param, "no");
    buf_init(&out, 4096);
    ck_assert_int_eq(errors[_i].dialect->status(&e), errors[_i].status);
    errors[_i].dialect->body(&out, &e, "r1");
    ck_assert_str_eq(out.data, errors[_i].body);
    buf_clear(&out);
    errors[_i].dialect->event(&out, &e, "r1");
    size_t end = strlen(errors[_i].dialect->event_end);
    ck_assert_str_eq(out.data + out.len - end, errors[_i].dialect->event_end);
    ck_assert_ptr_nonnull(strstr(out.data, errors[_i].body));
    buf_free(&out);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("dialects");
    TCase *t = tcase_create("answers");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, test_message_with_blocks);
    tcase_add_test(t, test_stream_of_blocks);
    tcase_add_test(t, test_thinking_can_be_left);
    tcase_add_test(t, test_chat_with_a_call);
    tcase_add_test(t, test_lines_with_a_call);
    tcase_add_test(t, test_a_cut_call_is_not_told);
    suite_add_tcase(s, t);
    t = tcase_create("errors");
    tcase_add_loop_test(t, test_errors, 0, (int)(sizeof errors / sizeof errors[0]));
    suite_add_tcase(s, t);
    return suite_run(s);
}
