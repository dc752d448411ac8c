/* test_policy.c - the batching policies as pure functions: no model, no thread. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "engine/schedule/policy.h"
#include "tests/unit/suite.h"

enum { MOST = 64 };

static size_t plan(const struct plan_sequence *s, size_t n, size_t budget, size_t *take)
{
    size_t sum = 0;
    memset(take, 0xff, n * sizeof *take); /* a policy fills everything */
    policy_find(NULL)->plan(s, n, budget, take);
    for (size_t i = 0; i < n; i++)
        sum += take[i];
    return sum;
}

START_TEST(streams_never_wait_for_a_prompt)
{
    const struct plan_sequence s[] = {{1, 0, true}, {5000, 0, false}, {1, 0, true}};
    size_t take[3];
    ck_assert_uint_eq(plan(s, 3, 100, take), 100);
    ck_assert_uint_eq(take[0], 1);
    ck_assert_uint_eq(take[1], 98);
    ck_assert_uint_eq(take[2], 1);
}
END_TEST

START_TEST(streams_run_even_beyond_the_budget)
{
    const struct plan_sequence s[] = {{1, 0, true}, {1, 0, true}, {1, 0, true}, {9, 0, false}};
    size_t take[4];
    ck_assert_uint_eq(plan(s, 4, 2, take), 3);
    ck_assert_uint_eq(take[3], 0);
}
END_TEST

START_TEST(a_short_prompt_overtakes_a_long_one_which_still_advances)
{
    const struct plan_sequence s[] = {{4000, 0, false}, {50, 0, false}, {20, 0, false}};
    size_t take[3];
    ck_assert_uint_eq(plan(s, 3, 100, take), 100);
    ck_assert_uint_eq(take[2], 20);
    ck_assert_uint_eq(take[1], 50);
    ck_assert_uint_eq(take[0], 30);
    ck_assert_uint_eq(plan(s, 3, 60, take), 60);
    ck_assert_uint_ge(take[0], 15);
}
END_TEST

START_TEST(a_limit_of_its_own_is_kept)
{
    const struct plan_sequence s[] = {{4000, 64, false}, {1, 0, true}};
    size_t take[2];
    ck_assert_uint_eq(plan(s, 2, 512, take), 65);
    ck_assert_uint_eq(take[0], 64);
}
END_TEST

START_TEST(promises_hold_for_random_states)
{
    srand(7);
    for (int round = 0; round < 20000; round++) {
        struct plan_sequence s[MOST];
        size_t take[MOST], n = 1 + (size_t)rand() % MOST, budget = 1 + (size_t)rand() % 600, decoding = 0;
        for (size_t i = 0; i < n; i++) {
            s[i].decoding = rand() % 2;
            s[i].pending = s[i].decoding ? 1 : 1 + (size_t)rand() % 3000;
            s[i].most = rand() % 4 ? 0 : 1 + (size_t)rand() % 64;
            decoding += s[i].decoding;
        }
        size_t sum = plan(s, n, budget, take);
        bool kept = sum > 0 && sum <= (decoding > budget ? decoding : budget);
        for (size_t i = 0; i < n; i++)
            kept = kept && take[i] <= s[i].pending && (!s[i].most || take[i] <= s[i].most) &&
                   (!s[i].decoding || take[i] == 1);
        ck_assert_msg(kept, "round %d breaks a promise", round);
    }
}
END_TEST

START_TEST(names_are_looked_up)
{
    ck_assert_ptr_nonnull(policy_find("decode-first"));
    ck_assert_ptr_eq(policy_find(""), policy_find(NULL));
    ck_assert_ptr_null(policy_find("no such policy"));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("policy");
    TCase *c = tcase_create("plan");
    tcase_add_test(c, streams_never_wait_for_a_prompt);
    tcase_add_test(c, streams_run_even_beyond_the_budget);
    tcase_add_test(c, a_short_prompt_overtakes_a_long_one_which_still_advances);
    tcase_add_test(c, a_limit_of_its_own_is_kept);
    tcase_add_test(c, promises_hold_for_random_states);
    tcase_add_test(c, names_are_looked_up);
    suite_add_tcase(suite, c);
    return suite_run(suite);
}
