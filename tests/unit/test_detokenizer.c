/* test_detokenizer.c - whole code points only, whatever the tokens. */
#include "engine/base/utf8.h"
#include "tests/unit/vocabulary.h"
#include "tests/unit/suite.h"

/* A vocabulary of the 256 bytes, then two control tokens and a user-defined one. */
enum { END = 256, UNKNOWN, TOOL, N_TOKENS };

static struct tokenizer *bytes_tokenizer;

static void setup(void)
{
    static char texts[256][4];
    static struct token_spec tokens[N_TOKENS];
    unsigned other = 0;
    for (unsigned i = 0; i < 256; i++) {
        bool plain = (i >= 0x21 && i <= 0x7E) || (i >= 0xA1 && i <= 0xAC) || i >= 0xAE;
        size_t len = utf8_encode(plain ? i : 0x100 + other++, texts[i]);
        tokens[i] = (struct token_spec){.text = texts[i], .len = (uint32_t)len, .type = TOKEN_NORMAL};
    }
    tokens[END] = (struct token_spec){.text = "<|im_end|>", .len = 10, .type = TOKEN_CONTROL};
    tokens[UNKNOWN] = (struct token_spec){.text = "<unk>", .len = 5, .type = TOKEN_UNKNOWN};
    tokens[TOOL] = (struct token_spec){.text = "<tool>", .len = 6, .type = TOKEN_USER_DEFINED};
    struct tokenizer_spec spec = {.model = "gpt2",
                                  .pre = "gpt-2",
                                  .n_tokens = N_TOKENS,
                                  .tokens = tokens,
                                  .bos = -1,
                                  .eos = END,
                                  .eot = -1,
                                  .unk = UNKNOWN,
                                  .sep = -1,
                                  .pad = -1};
    struct error e = {0};
    ck_assert_msg(tokenizer_create(&spec, &bytes_tokenizer, &e) == 0, "%s", e.text);
}

static void teardown(void)
{
    tokenizer_free(bytes_tokenizer);
}

/* The text of bytes pushed one token each; what a step emits is valid by itself. */
static void assert_text(const char *bytes, size_t len, const char *expected)
{
    struct detokenizer d;
    struct buf out;
    buf_init(&out, 1 << 16);
    detokenizer_init(&d, bytes_tokenizer, false);
    for (size_t i = 0; i < len; i++) {
        detokenizer_push(&d, (unsigned char)bytes[i], &out);
        ck_assert(utf8_valid(out.data ? out.data : "", out.len));
    }
    detokenizer_finish(&d, &out);
    ck_assert_str_eq(out.data ? out.data : "", expected);
    buf_free(&out);
}

#define R UTF8_REPLACEMENT

START_TEST(code_points_come_out_whole)
{
    static const char text[] = "a\xC3\xA9\xE4\xBD\xA0\xF0\x9F\xA6\x99z";
    assert_text(text, sizeof text - 1, text);
}
END_TEST

/* Expected texts are those of Python: bytes.decode(errors="replace"). */
START_TEST(bytes_that_are_not_utf8_are_replaced_as_python_does)
{
    assert_text("\xFF", 1, R);
    assert_text("a\x80z", 3, "a" R "z");
    assert_text("\xC3z", 2, R "z");
    assert_text("\xE4\xBDz", 3, R "z");
    assert_text("\xF0\x9F\xA6z", 4, R "z");
    assert_text("\xF0\x9F\xC3\xA9", 4, R "\xC3\xA9");
    assert_text("\xED\xA0\x80", 3, R R R);
    assert_text("\xC0\xAF", 2, R R);
    assert_text("\xE0\x80\x80", 3, R R R);
    assert_text("\xF4\x90\x80\x80", 4, R R R R);
    assert_text("\xF5\x80", 2, R R);
}
END_TEST

START_TEST(an_incomplete_end_becomes_one_replacement)
{
    assert_text("\xC3", 1, R);
    assert_text("a\xE4\xBD", 3, "a" R);
    assert_text("\xF0\x9F\xA6", 3, R);
}
END_TEST

START_TEST(control_tokens_show_only_when_asked)
{
    static const int32_t ids[] = {'a', END, 'b', UNKNOWN, TOOL};
    static const char *const expected[] = {"ab<tool>", "a<|im_end|>b<unk><tool>"};
    for (int show = 0; show < 2; show++) {
        struct detokenizer d;
        struct buf out;
        buf_init(&out, 1000);
        detokenizer_init(&d, bytes_tokenizer, show);
        for (size_t i = 0; i < sizeof ids / sizeof ids[0]; i++)
            detokenizer_push(&d, ids[i], &out);
        detokenizer_finish(&d, &out);
        ck_assert_str_eq(out.data, expected[show]);
        buf_free(&out);
    }
}
END_TEST

START_TEST(a_shown_control_token_ends_what_was_incomplete)
{
    struct detokenizer d;
    struct buf out;
    buf_init(&out, 1000);
    detokenizer_init(&d, bytes_tokenizer, true);
    detokenizer_push(&d, 0xE4, &out);
    detokenizer_push(&d, END, &out);
    ck_assert_str_eq(out.data, R "<|im_end|>");
    buf_free(&out);
}
END_TEST

/* Every split of a text into tokens gives the same stream. */
START_TEST(the_stream_equals_the_text_for_every_split)
{
    static const char text[] = "x\xF0\x9F\xA6\x99\xC3\xA9 \xE4\xBD\xA0\xE5\xA5\xBD";
    struct tokenizer *t = load_tokenizer(TESTS_DIR "/golden/tokenizers/tiny-bpe.gguf");
    struct token_list ids = {0};
    struct error e = {0};
    ck_assert_int_eq(tokenizer_encode(t, text, sizeof text - 1, 0, NULL, 0, &ids, &e), 0);
    struct detokenizer d;
    struct buf out;
    buf_init(&out, 1000);
    detokenizer_init(&d, t, false);
    for (size_t i = 0; i < ids.n; i++) {
        detokenizer_push(&d, ids.ids[i], &out);
        ck_assert(strncmp(out.data ? out.data : "", text, out.len) == 0);
    }
    ck_assert_str_eq(out.data, text);
    ck_assert_uint_eq(d.n_pending, 0);
    buf_free(&out);
    token_list_free(&ids);
    tokenizer_free(t);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("detokenizer");
    TCase *tc = tcase_create("detokenizer");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, code_points_come_out_whole);
    tcase_add_test(tc, bytes_that_are_not_utf8_are_replaced_as_python_does);
    tcase_add_test(tc, an_incomplete_end_becomes_one_replacement);
    tcase_add_test(tc, control_tokens_show_only_when_asked);
    tcase_add_test(tc, a_shown_control_token_ends_what_was_incomplete);
    tcase_add_test(tc, the_stream_equals_the_text_for_every_split);
    suite_add_tcase(suite, tc);
    return suite_run(suite);
}
