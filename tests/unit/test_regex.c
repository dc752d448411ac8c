/* test_regex.c - regular expressions as grammars against PCRE2, string by string: as trees and as automata,
 * searched and from end to end; what is refused; automata joined. */
#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <stdio.h>
#include <stdlib.h>

#include "api/automaton.h"
#include "engine/base/limits.h"
#include "tests/unit/grammar_probe.h"
#include "tests/unit/suite.h"

static struct arena *arena;

static void open_arena(void)
{
    arena = arena_create(LIMIT_SCHEMA_ARENA);
}

static void close_arena(void)
{
    arena_free(arena);
}

static struct regex *parse(const char *pattern)
{
    struct regex *r = NULL;
    struct error e = {0};
    ck_assert_msg(regex_parse(pattern, strlen(pattern), arena, &r, &e) == 0, "%s: %s", pattern, e.text);
    return r;
}

static bool next_string(char *text, const char *alphabet, size_t most)
{
    size_t n = strlen(text), letters = strlen(alphabet);
    for (size_t i = n; i > 0; i--) {
        const char *at = strchr(alphabet, text[i - 1]);
        if ((size_t)(at - alphabet) + 1 < letters) {
            text[i - 1] = at[1];
            return true;
        }
        text[i - 1] = alphabet[0];
    }
    if (n == most)
        return false;
    memset(text, alphabet[0], n + 1);
    text[n + 1] = 0;
    return true;
}

static pcre2_code *reference(const char *pattern, bool searched)
{
    char whole[512];
    int number;
    PCRE2_SIZE offset;
    snprintf(whole, sizeof whole, searched ? "%s" : "\\A(?:%s)\\z", pattern);
    uint32_t options = PCRE2_DOLLAR_ENDONLY | PCRE2_UTF | PCRE2_ALT_BSUX | PCRE2_MATCH_UNSET_BACKREF;
    pcre2_code *code =
        pcre2_compile((PCRE2_SPTR)whole, PCRE2_ZERO_TERMINATED, options, &number, &offset, NULL);
    ck_assert_msg(code != NULL, "%s: error %d", whole, number);
    return code;
}

static bool matches(const pcre2_code *code, const char *text)
{
    pcre2_match_data *data = pcre2_match_data_create_from_pattern(code, NULL);
    int n = pcre2_match(code, (PCRE2_SPTR)text, strlen(text), 0, 0, data, NULL);
    pcre2_match_data_free(data);
    return n >= 0;
}

static const struct {
    const char *pattern, *alphabet;
    bool tree; /* anchors stand where a tree will do */
} patterns[] = {
    {"abc", "abc", true},
    {"^a", "ab", true},
    {"a$", "ab", true},
    {"^a+b*$", "abc", true},
    {"^(a|bc)+?$", "abc", true},
    {"^a$|^b$|c", "abc", true},
    {"^(?:ab?){2,3}$", "ab", true},
    {"(?<name>a{2})b{0,1}", "ab", true},
    {"^[^a-b]{1,3}$", "abcd", true},
    {"\\d\\D", "1a", true},
    {"^\\w-\\W$", "a_- ", true},
    {"^\\s\\S$", "a \t", true},
    {"^\\x61\\u0062\\x63\\.$", "abc.", true},
    {"^[\\d.\\-]+$", "12.-a", true},
    {"^[\\]a-]$", "]a-b", true},
    {"a{,2}", "a{,2}", true},
    {"^.$", "ab\n", true},
    {"^(a|b|)(a|b|)$", "ab", true},
    {"(^a|b)c", "abc", false},
    {"a(b$|c)", "abc", false},
    {"^(^a|b)$", "ab", false},
    {"a^b", "ab", false},
    {"(a*)*b", "ab", true},
    {"^(a|ab)(c|bcd)$", "abcd", true},
    {"\\/\\$\\^\\|", "/$^|", true},
    {"", "ab", true},
    {"^$", "ab", true},
    {"^((a|b){1,2}c){2}$", "abc", true},
};
enum { LENGTH = 6 };

static void compare(const struct buf *grammar, const pcre2_code *code, const char *pattern,
                    const char *alphabet)
{
    struct probe p = probe_open(grammar);
    char text[16] = "";
    do {
        ck_assert_msg(probe_accepts(&p, text, strlen(text)) == matches(code, text), "\"%s\" of %s", text,
                      pattern);
    } while (next_string(text, alphabet, strlen(alphabet) > 3 ? LENGTH - 1 : LENGTH));
    probe_close(&p);
}

START_TEST(trees_and_automata_accept_what_pcre2_does)
{
    const char *pattern = patterns[_i].pattern;
    for (int searched = 0; searched < 2; searched++) {
        pcre2_code *code = reference(pattern, searched);
        struct regex *r = parse(pattern), *tree = regex_whole(r, searched, arena);
        struct automaton *a = automaton_of_regex(r, searched, arena);
        struct buf text;
        buf_init(&text, 1 << 20);
        ck_assert(a != NULL && (tree != NULL) == patterns[_i].tree);
        if (tree) {
            buf_add_text(&text, "root ::= ");
            regex_write(tree, false, &text);
            compare(&text, code, pattern, patterns[_i].alphabet);
            buf_clear(&text);
        }
        if (a->n_states > 0) {
            automaton_write(a, "root", false, &text);
            compare(&text, code, pattern, patterns[_i].alphabet);
        }
        char string[16] = "";
        do {
            ck_assert(automaton_accepts(a, string, strlen(string)) == matches(code, string));
        } while (next_string(string, patterns[_i].alphabet, 4));
        buf_free(&text);
        pcre2_code_free(code);
    }
}
END_TEST

START_TEST(lengths_are_those_of_what_matches)
{
    static const struct {
        const char *pattern;
        uint64_t min, max;
    } cases[] = {{"a", 1, 1},
                 {"a?b{2,5}", 2, 6},
                 {"(a|bcd)*", 0, REGEX_ENDLESS},
                 {"(a|bcd){3}", 3, 9},
                 {"", 0, 0},
                 {"(a{1000}){1000}", 1000000, 1000000},
                 {"()*", 0, 0},
                 {"((a{99999}){99999}){99999}", REGEX_ENDLESS, REGEX_ENDLESS}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        uint64_t min, max;
        regex_lengths(parse(cases[i].pattern), &min, &max);
        ck_assert_uint_eq(min, cases[i].min);
        ck_assert_uint_eq(max, cases[i].max);
    }
}
END_TEST

START_TEST(inside_json_a_text_is_escaped)
{
    struct buf text;
    buf_init(&text, 1 << 20);
    buf_add_text(&text, "root ::= ");
    regex_write(parse("[\\u{22}\\\\\\n\\x01a-c\xC3\xA9]{1,3}"), true, &text);
    struct probe p = probe_open(&text);
    static const char *const good[] = {"\\\"", "\\\\", "\\n", "\\u0001", "abc", "\xC3\xA9", "\\n\\\"a"};
    static const char *const bad[] = {"\"", "\\", "\n", "\\u000a", "d", "\\/", "\\u0061", "aaaa"};
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++)
        ck_assert_msg(probe_accepts(&p, good[i], strlen(good[i])), "%s", good[i]);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        ck_assert_msg(!probe_accepts(&p, bad[i], strlen(bad[i])), "%s", bad[i]);
    probe_close(&p);
    buf_free(&text);
}
END_TEST

START_TEST(joined_automata_are_sets_of_texts)
{
    static const struct {
        enum automaton_operation o;
        const char *name;
    } operations[] = {
        {AUTOMATON_BOTH, "both"}, {AUTOMATON_EITHER, "either"}, {AUTOMATON_FIRST_ALONE, "first alone"}};
    static const char *const pairs[][2] = {
        {"^a*b?$", "^[ab]{2,3}$"}, {"ab", "ba"}, {"^a", "b$"}, {"^(ab)*$", "^(ba)*$"}, {"a", "^b$"}};
    for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++) {
        struct automaton *a = automaton_of_regex(parse(pairs[i][0]), true, arena);
        struct automaton *b = automaton_of_regex(parse(pairs[i][1]), true, arena);
        for (size_t k = 0; k < 3; k++) {
            struct automaton *c = automaton_join(a, b, operations[k].o, arena);
            char text[16] = "";
            do {
                bool in_a = automaton_accepts(a, text, strlen(text)),
                     in_b = automaton_accepts(b, text, strlen(text));
                bool expected = k == 0 ? in_a && in_b : k == 1 ? in_a || in_b : in_a && !in_b;
                ck_assert_msg(automaton_accepts(c, text, strlen(text)) == expected, "%s of %s and %s: \"%s\"",
                              operations[k].name, pairs[i][0], pairs[i][1], text);
            } while (next_string(text, "abc", 6));
        }
    }
}
END_TEST

START_TEST(lengths_and_multiples_are_automata)
{
    struct automaton *length = automaton_of_lengths(2, 4, arena),
                     *endless = automaton_of_lengths(3, REGEX_ENDLESS, arena);
    ck_assert(!automaton_accepts(length, "a", 1) && automaton_accepts(length, "\xC3\xA9\xC3\xA9\xC3\xA9", 6));
    ck_assert(!automaton_accepts(length, "abcde", 5) && automaton_accepts(endless, "abcdefgh", 8));
    struct automaton *sevens = automaton_of_multiples(7, arena);
    for (int i = -200; i < 200; i++) {
        char number[16];
        int n = snprintf(number, sizeof number, "%d", i);
        ck_assert(automaton_accepts(sevens, number, (size_t)n) == (i % 7 == 0));
    }
}
END_TEST

static const struct {
    const char *pattern;
    enum error_kind kind;
    const char *message;
} refused[] = {
    {"(?=a)", ERROR_UNSUPPORTED, "lookaheads"},
    {"(?!a)", ERROR_UNSUPPORTED, "lookaheads"},
    {"(?<=a)b", ERROR_UNSUPPORTED, "lookbehinds"},
    {"\\bword", ERROR_UNSUPPORTED, "word boundaries"},
    {"(a)\\1", ERROR_UNSUPPORTED, "back references"},
    {"\\k<x>", ERROR_UNSUPPORTED, "back references"},
    {"\\p{L}", ERROR_UNSUPPORTED, "Unicode properties"},
    {"(?i)a", ERROR_UNSUPPORTED, "flags"},
    {"a++", ERROR_UNSUPPORTED, "possessive"},
    {"(a", ERROR_INVALID_REQUEST, "a ) is missing"},
    {"a)", ERROR_INVALID_REQUEST, "without its ("},
    {"[a", ERROR_INVALID_REQUEST, "a ] is missing"},
    {"*a", ERROR_INVALID_REQUEST, "nothing is there to be repeated"},
    {"a{3,2}", ERROR_INVALID_REQUEST, "minimum is above"},
    {"[b-a]", ERROR_INVALID_REQUEST, "a range ends before it begins"},
    {"[\\d-z]", ERROR_INVALID_REQUEST, "end of a range"},
    {"\\", ERROR_INVALID_REQUEST, "ends with a backslash"},
    {"\\uD800", ERROR_INVALID_REQUEST, "surrogate"},
    {"\\q", ERROR_INVALID_REQUEST, "unknown escape"},
    {"[]", ERROR_INVALID_REQUEST, "no character is in this class"},
    {"\xFF", ERROR_INVALID_REQUEST, "not valid UTF-8"},
};

START_TEST(refuses_by_name)
{
    struct regex *r;
    struct error e = {0};
    ck_assert_int_eq(regex_parse(refused[_i].pattern, strlen(refused[_i].pattern), arena, &r, &e), -1);
    ck_assert_int_eq(e.kind, refused[_i].kind);
    ck_assert_msg(strstr(e.text, refused[_i].message) != NULL, "%s", e.text);
}
END_TEST

/* Patterns that are catastrophes for matchers that go back are ordinary here; too large ones come to NULL. */
START_TEST(hostile_patterns_are_bounded)
{
    struct automaton *a = automaton_of_regex(parse("^(a+)+$"), true, arena);
    ck_assert(a && a->n_states < 10);
    a = automaton_of_regex(parse("^(a|aa|aaa)*(b|bb)*([ab]*)*$"), true, arena);
    ck_assert(a && a->n_states < 50);
    a = automaton_of_regex(parse("(x{100}){100}"), true, arena); /* sets of many sizes */
    ck_assert(!a || a->n_states > 1000);
    ck_assert_ptr_null(automaton_of_regex(parse("^(.*a.{30})$"), true, arena));
    ck_assert_ptr_null(automaton_of_regex(parse("(((a{999}){999}){999}){999}"), true, arena));
    ck_assert_ptr_null(automaton_of_lengths(0, 1000000, arena));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("regex");
    TCase *c = tcase_create("regex");
    tcase_add_checked_fixture(c, open_arena, close_arena);
    tcase_set_timeout(c, 120);
    tcase_add_loop_test(c, trees_and_automata_accept_what_pcre2_does, 0,
                        sizeof patterns / sizeof patterns[0]);
    tcase_add_test(c, lengths_are_those_of_what_matches);
    tcase_add_test(c, inside_json_a_text_is_escaped);
    tcase_add_test(c, joined_automata_are_sets_of_texts);
    tcase_add_test(c, lengths_and_multiples_are_automata);
    tcase_add_loop_test(c, refuses_by_name, 0, sizeof refused / sizeof refused[0]);
    tcase_add_test(c, hostile_patterns_are_bounded);
    suite_add_tcase(suite, c);
    return suite_run(suite);
}
