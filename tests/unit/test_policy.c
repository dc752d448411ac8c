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
    const struct plan_sequence s[] = {
        {.pending = 1, .decoding = true}, {.pending = 5000}, {.pending = 1, .decoding = true}};
    size_t take[3];
    ck_assert_uint_eq(plan(s, 3, 100, take), 100);
    ck_assert_uint_eq(take[0], 1);
    ck_assert_uint_eq(take[1], 98);
    ck_assert_uint_eq(take[2], 1);
}
END_TEST

START_TEST(streams_run_even_beyond_the_budget)
{
    const struct plan_sequence s[] = {{.pending = 1, .decoding = true},
                                      {.pending = 1, .decoding = true},
                                      {.pending = 1, .decoding = true},
                                      {.pending = 9}};
    size_t take[4];
    ck_assert_uint_eq(plan(s, 4, 2, take), 3);
    ck_assert_uint_eq(take[3], 0);
}
END_TEST

START_TEST(a_short_prompt_overtakes_a_long_one_which_still_advances)
{
    const struct plan_sequence s[] = {{.pending = 4000}, {.pending = 50}, {.pending = 20}};
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
    const struct plan_sequence s[] = {{.pending = 4000, .most = 64}, {.pending = 1, .decoding = true}};
    size_t take[2];
    ck_assert_uint_eq(plan(s, 2, 512, take), 65);
    ck_assert_uint_eq(take[0], 64);
}
END_TEST

START_TEST(a_whole_text_runs_at_once_or_not_at_all)
{
    const struct plan_sequence s[] = {{.pending = 4000},
                                      {.pending = 50, .whole = true},
                                      {.pending = 1, .decoding = true},
                                      {.pending = 80, .whole = true}};
    size_t take[4];
    ck_assert_uint_eq(plan(s, 4, 100, take), 100);
    ck_assert_uint_eq(take[1], 50);
    ck_assert_uint_eq(take[2], 1);
    ck_assert_uint_eq(take[3], 0);
    ck_assert_uint_eq(plan(s, 4, 200, take), 200);
    ck_assert_uint_eq(take[1], 50);
    ck_assert_uint_eq(take[3], 80);
}
END_TEST

/* A model with a long queue of older texts does not keep another one waiting. */
START_TEST(every_model_advances)
{
    struct plan_sequence s[24];
    size_t take[24];
    for (size_t i = 0; i < 20; i++)
        s[i] = (struct plan_sequence){.pending = 150, .whole = true, .group = &s[0]};
    s[20] = (struct plan_sequence){.pending = 2000, .group = &s[1]};
    s[21] = (struct plan_sequence){.pending = 300, .whole = true, .group = &s[2]};
    s[22] = (struct plan_sequence){.pending = 2000, .group = &s[3]};
    s[23] = (struct plan_sequence){.pending = 1, .decoding = true, .group = &s[0]};
    ck_assert_uint_eq(plan(s, 24, 101, take), 1 + 25 + 25 + 150 + 300);
    ck_assert_uint_eq(take[0], 150);
    ck_assert_uint_eq(take[1], 0);
    ck_assert_uint_eq(take[20], 25);
    ck_assert_uint_eq(take[21], 300);
    ck_assert_uint_eq(take[22], 25);
}
END_TEST

START_TEST(a_whole_text_larger_than_the_budget_runs_when_it_is_the_oldest)
{
    const struct plan_sequence s[] = {{.pending = 1, .decoding = true},
                                      {.pending = 900, .whole = true},
                                      {.pending = 30},
                                      {.pending = 800, .whole = true},
                                      {.pending = 1, .decoding = true}};
    size_t take[5];
    ck_assert_uint_eq(plan(s, 5, 100, take), 902);
    ck_assert_uint_eq(take[1], 900);
    ck_assert_uint_eq(take[3], 0);
    ck_assert_uint_eq(plan(s + 1, 4, 1, take), 901); /* streams leave nothing of the budget */
}
END_TEST

/* Streams that never end and prompts that keep coming: every text is read in the end. */
START_TEST(nobody_starves)
{
    struct plan_sequence s[10];
    size_t take[10], waited = 0;
    for (size_t i = 0; i < 8; i++)
        s[i] = (struct plan_sequence){.pending = 1, .decoding = true};
    s[8] = (struct plan_sequence){.pending = 700};
    s[9] = (struct plan_sequence){.pending = 90, .whole = true};
    while (s[9].pending > 0 && waited < 100) {
        plan(s, 10, 20, take);
        for (size_t i = 0; i < 8; i++)
            ck_assert_uint_eq(take[i], 1);
        s[8].pending -= take[8];
        if (s[8].pending == 0)
            s[8] = (struct plan_sequence){.pending = 1, .decoding = true};
        s[9].pending -= take[9];
        waited++;
    }
    ck_assert_uint_lt(waited, 100);
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
            s[i].whole = !s[i].decoding && rand() % 3 == 0;
            s[i].most = rand() % 4 || s[i].whole ? 0 : 1 + (size_t)rand() % 64;
            decoding += s[i].decoding;
            s[i].group = &s[rand() % 3];
        }
        size_t sum = plan(s, n, budget, take), bound = decoding > budget ? decoding : budget;
        bool kept = sum > 0;
        for (size_t i = 0; i < n; i++) {
            bool oldest = !s[i].decoding;
            for (size_t k = 0; k < i; k++)
                oldest = oldest && (s[k].decoding || s[k].group != s[i].group);
            bound += oldest && s[i].whole ? s[i].pending : 0;
            kept = kept && (!oldest || take[i] > 0 || (!s[i].whole && budget < decoding + 4));
            kept = kept && take[i] <= s[i].pending && (!s[i].most || take[i] <= s[i].most) &&
                   (!s[i].decoding || take[i] == 1) &&
                   (!s[i].whole || take[i] == 0 || take[i] == s[i].pending);
        }
        kept = kept && sum <= bound;
        ck_assert_msg(kept, "round %d breaks a promise", round);
    }
}
END_TEST

START_TEST(a_tick_reads_what_streams_can_wait_for)
{
    const double row_ns = 250e3; /* 200 rows in 50 ms */
    ck_assert_uint_eq(policy_budget(512, row_ns, 0, 9), 512);
    ck_assert_uint_eq(policy_budget(512, 0, 8, 1), 512);
    ck_assert_uint_eq(policy_budget(512, row_ns / 10, 8, 1), 512);
    ck_assert_uint_eq(policy_budget(512, row_ns, 8, 1), 208);
    ck_assert_uint_eq(policy_budget(2048, row_ns, 8, 24), 608);
    ck_assert_uint_eq(policy_budget(2048, row_ns, 1, 90), 801);
    ck_assert_uint_eq(policy_budget(512, row_ns * 100, 8, 1), 72);
    ck_assert_uint_eq(policy_budget(512, row_ns, 128, 1), 384);
    ck_assert_uint_eq(policy_budget(64, row_ns, 200, 1), 64);
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
    tcase_add_test(c, a_whole_text_runs_at_once_or_not_at_all);
    tcase_add_test(c, every_model_advances);
    tcase_add_test(c, a_whole_text_larger_than_the_budget_runs_when_it_is_the_oldest);
    tcase_add_test(c, nobody_starves);
    tcase_add_test(c, promises_hold_for_random_states);
    tcase_add_test(c, a_tick_reads_what_streams_can_wait_for);
    tcase_add_test(c, names_are_looked_up);
    suite_add_tcase(suite, c);
    return suite_run(suite);
}
