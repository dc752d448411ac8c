/* test_text_stream.c - what may be shown, token by token: whole code points, no stop string or its beginning.
 */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "engine/decode/text_stream.h"
#include "tests/unit/byte_vocabulary.h"
#include "tests/unit/suite.h"

static struct tokenizer *tokenizer;

static void setup(void)
{
    tokenizer = byte_vocabulary();
}

static void teardown(void)
{
    tokenizer_free(tokenizer);
}

struct shown {
    char text[4096];
    size_t len;
    int stop;
};

static void take(struct text_stream *s, struct shown *out)
{
    size_t len;
    const char *text = text_stream_take(s, &len);
    memcpy(out->text + out->len, text, len);
    out->len += len;
    out->text[out->len] = 0;
}

/* Feeds the text's bytes one token each; stops where the stream says so. */
static void feed(const char *text, const struct engine_text *stops, size_t n_stops, struct shown *out)
{
    struct stop_set *set;
    struct text_stream *s;
    struct error e = {0};
    bool ok = true;
    memset(out, 0, sizeof *out);
    ck_assert_msg(stop_set_create(stops, n_stops, &set, &e) == 0, "%s", e.text);
    ck_assert_int_eq(text_stream_create(tokenizer, false, set, &s, &e), 0);
    out->stop = -1;
    for (size_t i = 0; text[i] && out->stop < 0; i++) {
        out->stop = text_stream_push(s, (unsigned char)text[i], &ok);
        ck_assert(ok);
        take(s, out);
        for (size_t k = 0; k < n_stops; k++) /* never shown, not even for a moment */
            ck_assert_ptr_null(memmem(out->text, out->len, stops[k].bytes, stops[k].len));
    }
    text_stream_finish(s);
    take(s, out);
    text_stream_free(s);
    stop_set_free(set);
}

#define STOP(text)                                                                                           \
    {                                                                                                        \
        text, sizeof(text) - 1                                                                               \
    }

START_TEST(text_passes_through)
{
    struct shown out;
    feed("plain text, \xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80 and more", NULL, 0, &out);
    ck_assert_str_eq(out.text, "plain text, \xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80 and more");
}
END_TEST

START_TEST(a_stop_string_across_tokens_is_cut_and_named)
{
    const struct engine_text stops[] = {STOP("###"), STOP("\nUser:")};
    struct shown out;
    feed("an answer\nUser: next", stops, 2, &out);
    ck_assert_str_eq(out.text, "an answer");
    ck_assert_int_eq(out.stop, 1);
}
END_TEST

START_TEST(a_false_beginning_is_shown_in_the_end)
{
    const struct engine_text stops[] = {STOP("STOP")};
    struct shown out;
    feed("STO STOO STO", stops, 1, &out);
    ck_assert_str_eq(out.text, "STO STOO STO");
    ck_assert_int_eq(out.stop, -1);
}
END_TEST

START_TEST(overlapping_beginnings_are_found)
{
    const struct engine_text stops[] = {STOP("aab")};
    const struct engine_text twice[] = {STOP("abab!")};
    struct shown out;
    feed("aaaab", stops, 1, &out);
    ck_assert_str_eq(out.text, "aa");
    ck_assert_int_eq(out.stop, 0);
    feed("abababab!", twice, 1, &out);
    ck_assert_str_eq(out.text, "abab");
}
END_TEST

START_TEST(the_first_to_be_complete_wins_and_then_the_longest)
{
    const struct engine_text stops[] = {STOP("cd"), STOP("bcd"), STOP("abcdef")};
    struct shown out;
    feed("xxabcdef", stops, 3, &out);
    ck_assert_str_eq(out.text, "xxa");
    ck_assert_int_eq(out.stop, 1);
}
END_TEST

START_TEST(a_stop_string_inside_characters_leaves_no_halves)
{
    const struct engine_text stops[] = {STOP("\xf0\x9f\x98\x81")};
    struct shown out;
    feed("a\xf0\x9f\x98\x80"
         "b\xf0\x9f\x98\x81",
         stops, 1, &out);
    ck_assert_str_eq(out.text, "a\xf0\x9f\x98\x80"
                               "b");
    ck_assert_int_eq(out.stop, 0);
}
END_TEST

START_TEST(an_incomplete_character_at_the_end_becomes_a_replacement)
{
    struct shown out;
    feed("ab\xe2\x82", NULL, 0, &out);
    ck_assert_str_eq(out.text, "ab\xef\xbf\xbd");
}
END_TEST

START_TEST(bad_stop_strings_are_refused)
{
    static char large[2000];
    struct stop_set *set;
    struct error e = {0};
    memset(large, 'x', sizeof large);
    const struct engine_text empty[] = {STOP("")}, huge[] = {{large, sizeof large}};
    ck_assert_int_eq(stop_set_create(empty, 1, &set, &e), -1);
    error_clear(&e);
    ck_assert_int_eq(stop_set_create(huge, 1, &set, &e), -1);
    ck_assert_str_eq(e.param, "stop");
}
END_TEST

/* Random texts over a tiny alphabet against the plain definition. */
START_TEST(random_texts_agree_with_a_search)
{
    srand(11);
    for (int round = 0; round < 3000; round++) {
        char text[64] = {0}, words[3][6] = {{0}};
        struct engine_text stops[3];
        struct shown out;
        size_t n = 1 + (size_t)rand() % 3, end = SIZE_MAX, begin = 0;
        for (size_t i = 0; i < sizeof text - 1; i++)
            text[i] = (char)('a' + rand() % 2);
        for (size_t k = 0; k < n; k++) {
            size_t len = 2 + (size_t)rand() % 4;
            for (size_t i = 0; i < len; i++)
                words[k][i] = (char)('a' + rand() % 2);
            stops[k] = (struct engine_text){words[k], len};
            const char *hit = strstr(text, words[k]);
            size_t at = hit ? (size_t)(hit - text) : 0;
            if (hit && (at + len < end || (at + len == end && at < begin))) {
                end = at + len;
                begin = at;
            }
        }
        feed(text, stops, n, &out);
        ck_assert_uint_eq(out.len, end == SIZE_MAX ? strlen(text) : begin);
        ck_assert_mem_eq(out.text, text, out.len);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("text_stream");
    TCase *c = tcase_create("stops");
    tcase_add_checked_fixture(c, setup, teardown);
    tcase_add_test(c, text_passes_through);
    tcase_add_test(c, a_stop_string_across_tokens_is_cut_and_named);
    tcase_add_test(c, a_false_beginning_is_shown_in_the_end);
    tcase_add_test(c, overlapping_beginnings_are_found);
    tcase_add_test(c, the_first_to_be_complete_wins_and_then_the_longest);
    tcase_add_test(c, a_stop_string_inside_characters_leaves_no_halves);
    tcase_add_test(c, an_incomplete_character_at_the_end_becomes_a_replacement);
    tcase_add_test(c, bad_stop_strings_are_refused);
    tcase_add_test(c, random_texts_agree_with_a_search);
    suite_add_tcase(suite, c);
    return suite_run(suite);
}
