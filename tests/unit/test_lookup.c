/* test_lookup.c - drafts from a sequence's own text, and what is learnt of them. */
#include <check.h>
#include <string.h>

#include "engine/base/limits.h"
#include "engine/decode/lookup.h"
#include "tests/unit/suite.h"

START_TEST(the_latest_of_the_longest_matches_is_found)
{
    const int32_t twice[] = {1, 2, 3, 9, 2, 3, 7, 1, 2, 3};
    struct lookup_match m;
    ck_assert(lookup_find(twice, 10, &m));
    ck_assert_uint_eq(m.from, 3); /* 1 2 3, though 2 3 stood there later */
    const int32_t equal[] = {1, 2, 8, 1, 2, 9, 1, 2};
    ck_assert(lookup_find(equal, 8, &m));
    ck_assert_uint_eq(m.from, 5);
    ck_assert_uint_eq(m.kind, 0);
}
END_TEST

START_TEST(one_token_alone_is_no_match)
{
    const int32_t text[] = {5, 1, 2, 3, 4, 6, 1};
    struct lookup_match m;
    for (size_t n = 0; n <= 7; n++)
        ck_assert(!lookup_find(text, n, &m));
}
END_TEST

START_TEST(longer_matches_are_of_another_kind)
{
    static const size_t length[] = {2, 3, 4, 5, 8, 9, 16, 30};
    static const unsigned kind[] = {0, 1, 1, 2, 2, 3, 3, 3};
    for (size_t i = 0; i < sizeof length / sizeof length[0]; i++) {
        int32_t text[64];
        size_t n = 0;
        struct lookup_match m;
        for (size_t k = 0; k < length[i]; k++)
            text[n++] = (int32_t)k;
        text[n++] = 100;
        for (size_t k = 0; k < length[i]; k++)
            text[n++] = (int32_t)k;
        ck_assert(lookup_find(text, n, &m));
        ck_assert_uint_eq(m.from, length[i]);
        ck_assert_uint_eq(m.kind, kind[i]);
    }
}
END_TEST

START_TEST(a_draft_goes_on_into_itself)
{
    int32_t text[16] = {4, 1, 2, 3, 1, 2, 3};
    const int32_t expected[] = {1, 2, 3, 1, 2, 3, 1};
    struct lookup_match m;
    ck_assert(lookup_find(text, 7, &m));
    ck_assert_uint_eq(m.from, 4);
    lookup_draft(&m, text, 7, 7);
    ck_assert_mem_eq(text + 7, expected, sizeof expected);
}
END_TEST

START_TEST(old_text_is_not_searched)
{
    static int32_t text[LIMIT_LOOKUP + 100];
    struct lookup_match m;
    size_t n = sizeof text / sizeof text[0];
    for (size_t i = 0; i < n; i++)
        text[i] = (int32_t)i;
    text[10] = text[n - 2] = -1;
    text[11] = text[n - 1] = -2;
    ck_assert(!lookup_find(text, n, &m));
    text[110] = -1;
    text[111] = -2;
    ck_assert(lookup_find(text, n, &m));
    ck_assert_uint_eq(m.from, 112);
}
END_TEST

START_TEST(chances_follow_what_comes_of_drafts)
{
    struct lookup l;
    struct lookup_match m = {.kind = 1};
    lookup_init(&l);
    float others = l.chance[0] + l.chance[2] + l.chance[3], first = l.chance[1];
    lookup_learn(&l, &m, 4, 4);
    ck_assert_float_gt(l.chance[1], first);
    for (int i = 0; i < 50; i++)
        lookup_learn(&l, &m, 8, 8);
    ck_assert_float_gt(l.chance[1], 0.99f);
    ck_assert_float_le(l.chance[1], 1);
    for (int i = 0; i < 50; i++)
        lookup_learn(&l, &m, 8, 0); /* one outcome each: the rest was not reached */
    ck_assert_float_lt(l.chance[1], 0.01f);
    for (int i = 0; i < 200; i++)
        lookup_learn(&l, &m, 8, 1); /* every other token reached is right */
    ck_assert_float_gt(l.chance[1], 0.4f);
    ck_assert_float_lt(l.chance[1], 0.6f);
    ck_assert_float_eq(l.chance[0] + l.chance[2] + l.chance[3], others);
}
END_TEST

START_TEST(what_was_given_up_is_tried_again_now_and_then)
{
    struct lookup l;
    const struct lookup_match m = {.kind = 0}, other = {.kind = 3};
    int tries = 0;
    lookup_init(&l);
    for (int i = 0; i < 6400; i++) {
        tries += lookup_pass(&l, &m);
        lookup_learn(&l, &other, 1, 1);
    }
    ck_assert_int_gt(tries, 10);
    ck_assert_int_lt(tries, 6400 / 30);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("lookup");
    TCase *c = tcase_create("drafts");
    tcase_add_test(c, the_latest_of_the_longest_matches_is_found);
    tcase_add_test(c, one_token_alone_is_no_match);
    tcase_add_test(c, longer_matches_are_of_another_kind);
    tcase_add_test(c, a_draft_goes_on_into_itself);
    tcase_add_test(c, old_text_is_not_searched);
    tcase_add_test(c, chances_follow_what_comes_of_drafts);
    tcase_add_test(c, what_was_given_up_is_tried_again_now_and_then);
    suite_add_tcase(suite, c);
    return suite_run(suite);
}
