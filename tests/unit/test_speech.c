/* test_speech.c - answers split into reasoning, text and calls, whole and byte by byte. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "api/speech.h"
#include "tests/unit/suite.h"

static const struct tool known[] = {{.name = "f"}, {.name = "get_weather"}};
static const struct tool_list tools = {known, 2};

/* Signs of a family, as its template would have them. */
#define HERMES      "<tool_call>"
#define LLAMA       "<|start_header_id|> \"parameters\": "
#define MISTRAL     "[TOOL_CALLS]"
#define MISTRAL_NEW "[TOOL_CALLS][ARGS]"
#define COMMAND_R   "Action: tool_name"
#define FUNCTIONARY "<function= <|python_tag|>"
#define OWN         "?"

/* Transcript: {Rreasoning} text [number name arguments] */
static void note(void *user, const struct speech_piece *p)
{
    struct buf *out = user;
    switch (p->kind) {
    case PIECE_TEXT:
        buf_add(out, p->text, p->len);
        break;
    case PIECE_REASONING:
        buf_add_text(out, "{R");
        buf_add(out, p->text, p->len);
        buf_add_text(out, "}");
        break;
    case PIECE_TOOL_BEGIN:
        ck_assert_uint_ge(strlen(p->id), 9);
        buf_printf(out, "[%u %s ", p->tool, p->name);
        break;
    case PIECE_TOOL_ARGUMENTS:
        buf_add(out, p->text, p->len);
        break;
    case PIECE_TOOL_END:
        buf_add_text(out, "]");
        break;
    case PIECE_FINISH:
        break;
    }
}

/* Neighbouring pieces of reasoning read as one. */
static void join_reasoning(char *text)
{
    for (char *seam = strstr(text, "}{R"); seam; seam = strstr(seam, "}{R"))
        memmove(seam, seam + 3, strlen(seam + 3) + 1);
}

static char *split(const struct speech_rules *rules, const char *text, size_t step)
{
    struct speech s;
    struct buf out;
    size_t len = strlen(text);
    buf_init(&out, 1 << 20);
    speech_init(&s, rules);
    for (size_t i = 0; i < len; i += step)
        speech_push(&s, text + i, len - i < step ? len - i : step, note, &out);
    speech_finish(&s, note, &out);
    ck_assert(!speech_failed(&s));
    speech_free(&s);
    buf_add_text(&out, "");
    join_reasoning(out.data);
    return out.data;
}

static const struct {
    const char *signs; /* of tools; NULL: none are offered */
    bool marks, thinking;
    const char *text, *expected;
} cases[] = {
    {NULL, false, false, " plain <think>x</think> text\n", " plain <think>x</think> text\n"},
    {NULL, true, false, "<think>\nwell\n</think>\n\nyes", "{Rwell}yes"},
    {NULL, true, false, "\n<think>a < b </thin </think>ok", "{Ra < b </thin}ok"},
    {NULL, true, true, "well\n\nthen\n</think>\n\nyes </think>", "{Rwell\n\nthen}yes </think>"},
    {NULL, true, true, "cut off ", "{Rcut off }"},
    {NULL, true, false, "no <think>marks</think>", "no <think>marks</think>"},
    {NULL, true, false, "<thin air", "<thin air"},
    {NULL, true, false, "<think></think>x", "x"},
    {HERMES, false, false, "<tool_call>\n{\"name\": \"f\", \"arguments\": {\"a\": \"}]\\\"\"}}\n</tool_call>",
     "[0 f {\"a\": \"}]\\\"\"}]"},
    {HERMES, true, true,
     "hm</think>\n\nLet me see.\n<tool_call>\n{\"name\":\"f\",\"arguments\":{}}\n</tool_call>\n<tool_call>\n"
     "{\"name\": \"get_weather\", \"arguments\": {\"b\": [1, {}]}}\n</tool_call>",
     "{Rhm}Let me see.[0 f {}][1 get_weather {\"b\": [1, {}]}]"},
    {HERMES, false, false, "a <tool_cal b <tool_call> no", "a <tool_cal b <tool_call> no"},
    {HERMES, false, false, "<tool_call>{\"name\": \"f\", \"arguments\": {\"a\": 1", "[0 f {\"a\": 1"},
    {HERMES, false, false, "a \xc3\xa9  ", "a \xc3\xa9  "},
    {LLAMA, false, false, "{\"name\": \"f\", \"parameters\": {\"x\": {\"y\": 2}}}",
     "[0 f {\"x\": {\"y\": 2}}]"},
    {LLAMA, false, false,
     "<|python_tag|>{\"name\": \"f\", \"parameters\": {}}; {\"name\": \"f\", \"parameters\": {}}",
     "[0 f {}][1 f {}]"},
    {LLAMA, false, false, "{\"nam\": 1}", "{\"nam\": 1}"},
    {LLAMA, false, false, "Say {\"name\": \"f\", \"parameters\": {}}",
     "Say {\"name\": \"f\", \"parameters\": {}}"},
    {MISTRAL, false, false,
     "[TOOL_CALLS][{\"name\": \"f\", \"arguments\": {\"a\": 1}}, {\"name\": \"f\", \"arguments\": {}}]",
     "[0 f {\"a\": 1}][1 f {}]"},
    {MISTRAL_NEW, false, false, "[TOOL_CALLS]f[ARGS]{\"a\": 1}[TOOL_CALLS]get_weather[ARGS]{}",
     "[0 f {\"a\": 1}][1 get_weather {}]"},
    {FUNCTIONARY, false, false, "<function=f>{\"a\": 1}</function>", "[0 f {\"a\": 1}]"},
    {COMMAND_R, false, false,
     "Action: ```json\n[\n    {\n        \"tool_name\": \"f\",\n        \"parameters\": {}\n    }\n]```",
     "[0 f {}]"},
    {OWN, false, false, "ok\n<tool_call>\n{\"name\": \"f\", \"arguments\": {\"a\": null}}\n</tool_call>",
     "ok[0 f {\"a\": null}]"},
};

START_TEST(test_split)
{
    static const struct reasoning_marks marks = {"<think>", "</think>"};
    const struct tool_format *found = cases[_i].signs ? tools_find_format(cases[_i].signs) : NULL;
    struct speech_rules rules = {.reasoning = cases[_i].marks ? &marks : NULL,
                                 .thinking = cases[_i].thinking,
                                 .format = !cases[_i].signs ? NULL
                                           : found          ? found
                                                            : tools_own_format(),
                                 .tools = &tools};
    for (size_t step = 1; step < 200; step = step < 8 ? step + 1 : step * 2) {
        char *got = split(&rules, cases[_i].text, step);
        ck_assert_str_eq(got, cases[_i].expected);
        free(got);
    }
}
END_TEST

START_TEST(test_ids_fit_their_format)
{
    char a[TOOL_ID_BYTES], b[TOOL_ID_BYTES];
    const struct tool_format *nine = tools_find_format(MISTRAL);
    tools_fit_id(nine, "call_abcdef", a);
    tools_fit_id(nine, "call_abcdef", b);
    ck_assert_str_eq(a, b);
    ck_assert_uint_eq(strlen(a), 9);
    tools_fit_id(nine, "call_abcdeg", b);
    ck_assert_str_ne(a, b);
    tools_fit_id(nine, "123456789", a);
    ck_assert_str_eq(a, "123456789");
    tools_make_id(nine, a);
    ck_assert_uint_eq(strlen(a), 9);
    tools_make_id(tools_own_format(), a);
    ck_assert_uint_eq(strlen(a), 29);
}
END_TEST

/* White space without end before a call is text, and costs no more than its length. */
START_TEST(test_white_space_is_bounded)
{
    struct speech_rules rules = {.format = tools_find_format(HERMES), .tools = &tools};
    size_t n = 200000;
    char *text = malloc(n + 1);
    ck_assert_ptr_nonnull(text);
    memset(text, ' ', n);
    text[n] = 0;
    char *got = split(&rules, text, 1000);
    ck_assert_uint_eq(strlen(got), n);
    free(got);
    free(text);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("speech");
    TCase *t = tcase_create("all");
    tcase_add_loop_test(t, test_split, 0, (int)(sizeof cases / sizeof cases[0]));
    tcase_add_test(t, test_ids_fit_their_format);
    tcase_add_test(t, test_white_space_is_bounded);
    suite_add_tcase(s, t);
    return suite_run(s);
}
