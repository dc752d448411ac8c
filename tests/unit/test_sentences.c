/* test_sentences.c - sentences, words and borders of texts in any script: exact offsets, sensible ends. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "api/digest.h"
#include "api/sentences.h"
#include "engine/base/limits.h"
#include "engine/base/utf8.h"
#include "tests/unit/suite.h"

static struct arena *arena;

static void setup(void)
{
    arena = arena_create(LIMIT_REQUEST_ARENA);
    ck_assert_ptr_nonnull(arena);
}

static void teardown(void)
{
    arena_free(arena);
}

static struct sentence *split(const char *text, size_t *n)
{
    struct sentence *s;
    struct error e = {0};
    ck_assert_int_eq(sentences_split(text, strlen(text), arena, &s, n, &e), 0);
    return s;
}

/* The sentences with '|' between them. */
static const char *cut(const char *text)
{
    size_t n, used = 0;
    struct sentence *s = split(text, &n);
    char *out = arena_alloc(arena, 2 * strlen(text) + 2, 1);
    for (size_t i = 0; i < n; i++) {
        if (i)
            out[used++] = '|';
        memcpy(out + used, text + s[i].start, s[i].end - s[i].start);
        used += s[i].end - s[i].start;
    }
    return out;
}

START_TEST(test_ends)
{
    ck_assert_str_eq(cut("One. Two!  Three? Four"), "One.|Two!|Three?|Four");
    ck_assert_str_eq(cut("Dr. Smith paid 3.2 billion. J. Doe left."),
                     "Dr. Smith paid 3.2 billion.|J. Doe left.");
    ck_assert_str_eq(cut("He weighs 2 kg. and so on. Yes."), "He weighs 2 kg. and so on.|Yes.");
    ck_assert_str_eq(cut("“Go!” she said. (Really.) Done…  End"), "“Go!”|she said.|(Really.)|Done…|End");
    ck_assert_str_eq(cut("A line\nthat wraps. Next"), "A line\nthat wraps.|Next");
    ck_assert_str_eq(cut("Heading\r\n\r\nText.\r\n"), "Heading|Text.");
    ck_assert_str_eq(cut("List\n- one\n- two\n3. three"), "List|- one|- two|3. three");
    ck_assert_str_eq(cut("东京塔建于1958年。它高333米。“好！”设计师"),
                     "东京塔建于1958年。|它高333米。|“好！”|设计师");
    ck_assert_str_eq(cut("क्या हाल है। ठीक है।"), "क्या हाल है।|ठीक है।");
    ck_assert_str_eq(cut(" \t\r\n "), "");
    ck_assert_str_eq(cut(""), "");
}
END_TEST

START_TEST(test_offsets_count_code_points)
{
    const char *text = "😀 e\xcc\x81. \r\n👩‍🚀 Zwei.";
    size_t n;
    struct sentence *s = split(text, &n);
    ck_assert_uint_eq(n, 2);
    ck_assert_uint_eq(s[0].chars, 0);
    ck_assert_uint_eq(s[0].n_chars, 5);
    ck_assert_uint_eq(s[1].chars, 8);
    ck_assert_uint_eq(s[1].n_chars, 9);
}
END_TEST

static size_t count(const char *text, size_t len)
{
    size_t n = 0;
    for (size_t i = 0; i < len; i++)
        n += ((unsigned char)text[i] & 0xc0) != 0x80;
    return n;
}

static const char *const atoms[] = {"a", "B", "é",  "e\xcc\x81", "😀",    "👩‍🚀", "。",     "！", ".",
                                    ".", " ", " ",  "\n",        "\r\n", "\n\n",        "漢",     "字", "ね",
                                    "!", "?", "\"", ")",         "- ",   "3. ",         "\u00a0", "ไ",  "ا",
                                    "؟", "1", "…"};

START_TEST(test_random_texts)
{
    srand((unsigned)_i + 1);
    char text[2048] = "";
    size_t len = 0, n, after = 0;
    for (int i = rand() % 200; i > 0; i--) {
        const char *atom = atoms[(size_t)rand() % (sizeof atoms / sizeof atoms[0])];
        memcpy(text + len, atom, strlen(atom) + 1);
        len += strlen(atom);
    }
    struct sentence *s = split(text, &n);
    for (size_t i = 0; i < n; i++) {
        size_t width;
        ck_assert_uint_lt(s[i].start, s[i].end);
        ck_assert_uint_le(s[i].end, len);
        ck_assert(utf8_valid(text + s[i].start, s[i].end - s[i].start));
        ck_assert_uint_eq(s[i].chars, count(text, s[i].start));
        ck_assert_uint_eq(s[i].n_chars, count(text + s[i].start, s[i].end - s[i].start));
        ck_assert(!char_is_space(char_at(text, len, s[i].start, &width)));
        for (; after < s[i].start; after += width) /* nothing but white space is left out */
            ck_assert(char_is_space(char_at(text, len, after, &width)));
        after = s[i].end;
    }
    size_t words = words_count(text, len), at = words_cut(text, len, 3);
    ck_assert_uint_eq(words_count(text, at), words < 3 ? words : 3);
    for (size_t i = 0; i <= len; i++)
        ck_assert_int_eq(border_at(text, len, i) == BORDER_NONE,
                         i < len && ((unsigned char)text[i] & 0xc0) == 0x80);
}
END_TEST

START_TEST(test_texts_without_punctuation_are_cut)
{
    size_t n;
    char *text = arena_alloc(arena, 100001, 1);
    memset(text, '.', 100000); /* and hostile runs take no more than linear time */
    ck_assert_uint_ge((split(text, &n), n), 80);
    memset(text, 'x', 100000);
    struct sentence *s = split(text, &n);
    ck_assert_uint_ge(n, 80);
    ck_assert_uint_le(s[0].end, SENTENCE_MAX_BYTES + 4);
    memset(text + 10, ' ', 90000);
    split(text, &n);
    for (size_t i = 0; i < 100000; i += 7)
        border_at(text, 100000, i);
}
END_TEST

START_TEST(test_words)
{
    ck_assert_uint_eq(words_count("  one two\nthree ", 16), 3);
    ck_assert_uint_eq(words_count("東京 is big", strlen("東京 is big")), 4);
    ck_assert_uint_eq(words_cut("one two three", 13, 2), 7);
    ck_assert_uint_eq(words_cut("one two", 7, 2), 7);
    ck_assert_uint_eq(words_cut("one two", 7, 0), 0);
}
END_TEST

START_TEST(test_borders)
{
    const char *text = "One two. Three\n\nFour。五";
    ck_assert_int_eq(border_at(text, strlen(text), 3), BORDER_WORD);
    ck_assert_int_eq(border_at(text, strlen(text), 2), BORDER_CHAR);
    ck_assert_int_eq(border_at(text, strlen(text), 8), BORDER_SENTENCE);
    ck_assert_int_eq(border_at(text, strlen(text), 14), BORDER_PARAGRAPH);
    ck_assert_int_eq(border_at(text, strlen(text), 16), BORDER_PARAGRAPH);
    ck_assert_int_eq(border_at(text, strlen(text), 21), BORDER_NONE);
    ck_assert_int_eq(border_at(text, strlen(text), 23), BORDER_SENTENCE);
}
END_TEST

/* ---- digest --------------------------------------------------------------------------------- */

/* Fed in steps of `step` bytes, which may not change anything. */
static const char *digest(const char *text, bool bullets, size_t max_words, bool unfinished, size_t step,
                          bool *was_cut)
{
    struct digest d;
    digest_init(&d, bullets, max_words);
    for (size_t i = 0; i < strlen(text); i += step)
        digest_take(&d, text + i, strlen(text) - i < step ? strlen(text) - i : step);
    digest_end(&d, unfinished);
    *was_cut = d.cut;
    const char *out = arena_copy(arena, d.out.len ? d.out.data : "", d.out.len);
    digest_free(&d);
    return out;
}

START_TEST(test_digest)
{
    static const struct {
        const char *text;
        bool bullets;
        size_t max_words;
        bool unfinished;
        const char *out;
        bool cut;
    } cases[] = {
        {"One two. Three  four.\n\nFive", false, 0, false, "One two. Three  four. Five", false},
        {"One two. Three four. Five", false, 0, true, "One two. Three four.", false},
        {"One two. Three four.", false, 0, true, "One two. Three four.", false},
        {"One two thr", false, 0, true, "One two thr", false},
        {"One two. Three four. Five.", false, 4, false, "One two. Three four.", true},
        {"One two. Three four. Five.", false, 5, false, "One two. Three four. Five.", false},
        {"One two three four.", false, 3, false, "One two three", true},
        {"Same again. Same again. Other.", false, 0, false, "Same again. Other.", false},
        {"It cost 3.2 billion. 3.2!", false, 0, false, "It cost 3.2 billion. 3.2!", false},
        {"好。很好！", false, 0, false, "好。很好！", false},
        {"好。很好！", false, 2, false, "好。", true},
        {"* One two.\n2) Three. Four.\n• Five", true, 0, false, "- One two.\n- Three.\n- Four.\n- Five",
         false},
        {"- One\n- One\n- Two three four", true, 3, false, "- One", true},
        {"1. One.\n2. Two.", true, 0, false, "- One.\n- Two.", false},
        {"", true, 0, true, "", false},
        {" \n ", false, 3, true, "", false},
    };
    bool was_cut;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        for (size_t step = 1; step < 40; step += step < 4 ? 1 : 35) {
            const char *out = digest(cases[i].text, cases[i].bullets, cases[i].max_words, cases[i].unfinished,
                                     step, &was_cut);
            ck_assert_msg(strcmp(out, cases[i].out) == 0 && was_cut == cases[i].cut, "%zu, step %zu: %s", i,
                          step, out);
        }
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("sentences");
    TCase *c = tcase_create("all");
    tcase_add_checked_fixture(c, setup, teardown);
    tcase_add_test(c, test_ends);
    tcase_add_test(c, test_offsets_count_code_points);
    tcase_add_loop_test(c, test_random_texts, 0, 300);
    tcase_add_test(c, test_texts_without_punctuation_are_cut);
    tcase_add_test(c, test_words);
    tcase_add_test(c, test_borders);
    tcase_add_test(c, test_digest);
    suite_add_tcase(suite, c);
    return suite_run(suite);
}
