/* test_sampler.c - every sampling option against its definition, and draws against their distribution. */
#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "engine/decode/sampler.h"
#include "engine/kernels/kernels.h"
#include "tests/unit/suite.h"

enum { VOCABULARY = 1000, DRAWS = 20000 };

static struct engine_sampling plain(void)
{
    return (struct engine_sampling){.temperature = 1, .top_p = 1, .repetition_penalty = 1};
}

static struct sampler *create(const struct engine_sampling *options, unsigned choice, size_t vocabulary,
                              const int32_t *prompt, size_t n_prompt)
{
    const struct sampler_setup setup = {.options = options,
                                        .choice = choice,
                                        .vocabulary = vocabulary,
                                        .prompt = prompt,
                                        .n_prompt = n_prompt,
                                        .max_tokens = SIZE_MAX,
                                        .forced_bos = -1,
                                        .forced_eos = -1};
    struct sampler *s = NULL;
    struct error e = {0};
    ck_assert_int_eq(sampler_create(&setup, &s, &e), 0);
    return s;
}

static void draw_many(const struct engine_sampling *options, const float *logits, size_t n, unsigned *counts)
{
    struct sampler *s = create(options, 0, n, NULL, 0);
    struct sampler_scratch scratch = {0};
    memset(counts, 0, n * sizeof *counts);
    for (size_t i = 0; i < DRAWS; i++)
        counts[sampler_pick(s, logits, NULL, i, &scratch)]++;
    sampler_free(s);
    sampler_scratch_free(&scratch);
}

static int32_t pick_after(const struct engine_sampling *options, const float *logits, size_t n,
                          const int32_t *prompt, size_t n_prompt, const int32_t *output, size_t n_output)
{
    struct sampler *s = create(options, 0, n, prompt, n_prompt);
    struct sampler_scratch scratch = {0};
    for (size_t i = 0; i < n_output; i++)
        sampler_accept(s, output[i]);
    int32_t id = sampler_pick(s, logits, NULL, n_prompt + n_output, &scratch);
    sampler_free(s);
    sampler_scratch_free(&scratch);
    return id;
}

/* Within five standard deviations of what the probability says. */
static void check_share(unsigned count, double probability)
{
    double expected = probability * DRAWS, deviation = sqrt(DRAWS * probability * (1 - probability));
    ck_assert_double_le(fabs(count - expected), 5 * deviation + 1);
}

START_TEST(greedy_takes_the_lowest_id_among_equals)
{
    float logits[VOCABULARY] = {0};
    struct engine_sampling o = plain();
    o.temperature = 0;
    logits[700] = logits[300] = 5;
    ck_assert_int_eq(pick_after(&o, logits, VOCABULARY, NULL, 0, NULL, 0), 300);
}
END_TEST

START_TEST(draws_follow_the_distribution_and_the_temperature)
{
    const float logits[4] = {logf(0.1f), logf(0.2f), logf(0.3f), logf(0.4f)};
    unsigned counts[4];
    struct engine_sampling o = plain();
    draw_many(&o, logits, 4, counts);
    for (int i = 0; i < 4; i++)
        check_share(counts[i], 0.1 * (i + 1));
    o.temperature = 0.5f; /* squares the odds */
    draw_many(&o, logits, 4, counts);
    for (int i = 0; i < 4; i++)
        check_share(counts[i], 0.01 * (i + 1) * (i + 1) / 0.30);
}
END_TEST

START_TEST(top_k_keeps_k)
{
    float logits[VOCABULARY];
    unsigned counts[VOCABULARY];
    struct engine_sampling o = plain();
    for (int i = 0; i < VOCABULARY; i++)
        logits[i] = (float)((i * 7919) % VOCABULARY) * 0.001f; /* a shuffled ramp */
    o.top_k = 3;
    draw_many(&o, logits, VOCABULARY, counts);
    for (int i = 0; i < VOCABULARY; i++)
        ck_assert((counts[i] > 0) == ((i * 7919) % VOCABULARY >= VOCABULARY - 3));
}
END_TEST

START_TEST(top_p_keeps_the_smallest_set_that_reaches_it)
{
    const float logits[5] = {logf(0.05f), logf(0.4f), logf(0.15f), logf(0.3f), logf(0.1f)};
    unsigned counts[5];
    struct engine_sampling o = plain();
    o.top_p = 0.75f; /* 0.4 + 0.3 is not enough, with 0.15 it is */
    draw_many(&o, logits, 5, counts);
    ck_assert_uint_eq(counts[0], 0);
    ck_assert_uint_eq(counts[4], 0);
    check_share(counts[1], 0.4 / 0.85);
    check_share(counts[2], 0.15 / 0.85);
    o.top_p = 1e-6f;
    draw_many(&o, logits, 5, counts);
    ck_assert_uint_eq(counts[1], DRAWS);
}
END_TEST

START_TEST(top_p_works_where_the_set_is_large)
{
    float logits[VOCABULARY];
    unsigned counts[VOCABULARY], kept = 0;
    struct engine_sampling o = plain();
    for (int i = 0; i < VOCABULARY; i++)
        logits[i] = -(float)((i * 7919) % VOCABULARY) * 1e-4f; /* nearly flat */
    o.top_p = 0.5f;
    draw_many(&o, logits, VOCABULARY, counts);
    for (int i = 0; i < VOCABULARY; i++) {
        kept += counts[i] > 0;
        ck_assert(counts[i] == 0 || (i * 7919) % VOCABULARY < 500);
    }
    ck_assert_uint_gt(kept, 450);
}
END_TEST

START_TEST(min_p_is_relative_to_the_best)
{
    const float logits[4] = {logf(0.5f), logf(0.3f), logf(0.15f), logf(0.05f)};
    unsigned counts[4];
    struct engine_sampling o = plain();
    o.min_p = 0.25f;
    draw_many(&o, logits, 4, counts);
    ck_assert_uint_eq(counts[3], 0);
    check_share(counts[2], 0.15 / 0.95);
}
END_TEST

START_TEST(penalties_follow_their_definitions)
{
    const float logits[3] = {2.0f, 1.9f, -1.0f};
    const int32_t zero[] = {0, 0, 0};
    struct engine_sampling o = plain();
    o.temperature = 0;
    o.repetition_penalty = 1.1f; /* 2.0 / 1.1 < 1.9: the prompt counts */
    ck_assert_int_eq(pick_after(&o, logits, 3, zero, 1, NULL, 0), 1);
    ck_assert_int_eq(pick_after(&o, logits, 3, NULL, 0, NULL, 0), 0);
    o = plain();
    o.temperature = 0;
    o.presence_penalty = 0.2f; /* only the output counts */
    ck_assert_int_eq(pick_after(&o, logits, 3, zero, 3, NULL, 0), 0);
    ck_assert_int_eq(pick_after(&o, logits, 3, NULL, 0, zero, 1), 1);
    o.presence_penalty = 0;
    o.frequency_penalty = 0.04f; /* grows with the count */
    ck_assert_int_eq(pick_after(&o, logits, 3, NULL, 0, zero, 2), 0);
    ck_assert_int_eq(pick_after(&o, logits, 3, NULL, 0, zero, 3), 1);
}
END_TEST

START_TEST(a_negative_logit_is_penalised_downwards)
{
    const float logits[2] = {-1.0f, -1.05f};
    const int32_t zero[] = {0};
    struct engine_sampling o = plain();
    o.temperature = 0;
    o.repetition_penalty = 1.2f;
    ck_assert_int_eq(pick_after(&o, logits, 2, zero, 1, NULL, 0), 1);
}
END_TEST

START_TEST(bias_forces_and_forbids)
{
    const float logits[3] = {5, 4, 3};
    const struct engine_logit_bias forbid = {0, -100}, force = {2, 100};
    struct engine_sampling o = plain();
    o.temperature = 0;
    o.bias = &forbid;
    o.n_bias = 1;
    ck_assert_int_eq(pick_after(&o, logits, 3, NULL, 0, NULL, 0), 1);
    o.bias = &force;
    ck_assert_int_eq(pick_after(&o, logits, 3, NULL, 0, NULL, 0), 2);
}
END_TEST

/* One greedy pick after `tokens`, the first n_prompt of which are the prompt. */
static int32_t pick_with(struct sampler_setup setup, const float *logits, const int32_t *tokens, size_t n)
{
    const struct engine_sampling greedy = {.top_p = 1, .repetition_penalty = 1};
    struct sampler_scratch scratch = {0};
    struct sampler *s = NULL;
    struct error e = {0};
    setup.options = &greedy;
    setup.prompt = tokens;
    ck_assert_int_eq(sampler_create(&setup, &s, &e), 0);
    int32_t id = sampler_pick(s, logits, tokens, n, &scratch);
    const float *scores = sampler_scores(s, logits, 0, tokens, n, &scratch);
    ck_assert_uint_eq(row_argmax(scores, setup.vocabulary), (size_t)id);
    sampler_free(s);
    sampler_scratch_free(&scratch);
    return id;
}

START_TEST(an_ngram_comes_only_once)
{
    const float logits[4] = {1, 4, 3, 2};
    const int32_t tokens[] = {0, 1, 3, 2, 0};
    struct sampler_setup setup = {
        .vocabulary = 4, .n_prompt = 2, .max_tokens = 9, .forced_bos = -1, .forced_eos = -1};
    ck_assert_int_eq(pick_with(setup, logits, tokens, 5), 1);
    setup.no_repeat_ngram = 2; /* 0 1 was there, in the prompt */
    ck_assert_int_eq(pick_with(setup, logits, tokens, 5), 2);
    ck_assert_int_eq(pick_with(setup, logits, tokens, 4), 1); /* after 2 came 0 only */
    setup.no_repeat_ngram = 3;                                /* 2 0 is new */
    ck_assert_int_eq(pick_with(setup, logits, tokens, 5), 1);
    setup.no_repeat_ngram = 1;
    ck_assert_int_eq(pick_with(setup, logits, tokens, 2), 2);
    setup.no_repeat_ngram = 6;
    ck_assert_int_eq(pick_with(setup, logits, tokens, 5), 1);
}
END_TEST

START_TEST(suppressed_tokens_never_come_and_forced_ones_must)
{
    const float logits[4] = {1, 4, 3, 2};
    const int32_t tokens[] = {0, 1, 3, 2, 0}, suppressed[] = {1, 2};
    struct sampler_setup setup = {
        .vocabulary = 4, .n_prompt = 2, .max_tokens = 3, .forced_bos = -1, .forced_eos = -1};
    setup.suppressed = suppressed;
    setup.n_suppressed = 2;
    ck_assert_int_eq(pick_with(setup, logits, tokens, 3), 3);
    setup.forced_bos = 2;
    setup.forced_eos = 0;
    ck_assert_int_eq(pick_with(setup, logits, tokens, 2), 2);
    ck_assert_int_eq(pick_with(setup, logits, tokens, 3), 3);
    ck_assert_int_eq(pick_with(setup, logits, tokens, 4), 0);
}
END_TEST

START_TEST(a_forced_token_has_log_probability_zero)
{
    const struct engine_sampling options = {.top_p = 1, .repetition_penalty = 1};
    const struct sampler_setup setup = {
        .options = &options, .vocabulary = 3, .max_tokens = 1, .forced_bos = -1, .forced_eos = 1};
    const float logits[3] = {1, 2, 3};
    struct sampler_scratch scratch = {0};
    struct sampler *s = NULL;
    struct error e = {0};
    ck_assert_int_eq(sampler_create(&setup, &s, &e), 0);
    const float *scores = sampler_scores(s, logits, 0.5f, NULL, 0, &scratch);
    ck_assert(scores[0] == -INFINITY && scores[1] == 0 && scores[2] == -INFINITY);
    sampler_free(s);
    sampler_scratch_free(&scratch);
}
END_TEST

START_TEST(a_copy_knows_what_the_original_knows)
{
    struct engine_sampling o = plain();
    const float logits[4] = {5, 4.9f, 4.8f, 0};
    const int32_t prompt[] = {3};
    struct sampler_scratch scratch = {0};
    o.temperature = 0;
    o.frequency_penalty = 1;
    struct sampler *a = create(&o, 0, 4, prompt, 1), *b = create(&o, 0, 4, prompt, 1);
    sampler_accept(a, 0);
    sampler_accept(a, 1);
    sampler_accept(b, 2);
    ck_assert_int_eq(sampler_pick(b, logits, NULL, 1, &scratch), 0);
    sampler_copy(b, a);
    ck_assert_int_eq(sampler_pick(b, logits, NULL, 1, &scratch), 2);
    sampler_accept(b, 2);
    ck_assert_int_eq(sampler_pick(b, logits, NULL, 1, &scratch), 0);
    ck_assert_int_eq(sampler_pick(a, logits, NULL, 1, &scratch), 2);
    sampler_free(a);
    sampler_free(b);
    sampler_scratch_free(&scratch);
}
END_TEST

START_TEST(seed_choice_and_position_key_the_draw)
{
    float logits[VOCABULARY] = {0};
    struct sampler_scratch scratch = {0};
    struct engine_sampling o = plain();
    int32_t first[50];
    int same_choice = 0, same_seed = 0;
    for (int round = 0; round < 4; round++) { /* itself, again, another choice, another seed */
        o.seed = round == 3 ? 43 : 42;
        struct sampler *s = create(&o, round == 2, VOCABULARY, NULL, 0);
        for (size_t i = 0; i < 50; i++) {
            int32_t id = sampler_pick(s, logits, NULL, i, &scratch);
            if (round == 0)
                first[i] = id;
            else if (round == 1)
                ck_assert_int_eq(id, first[i]);
            same_choice += round == 2 && id == first[i];
            same_seed += round == 3 && id == first[i];
        }
        sampler_free(s);
    }
    ck_assert_int_lt(same_choice, 5);
    ck_assert_int_lt(same_seed, 5);
    sampler_scratch_free(&scratch);
}
END_TEST

START_TEST(extreme_logits_do_no_harm)
{
    unsigned counts[4];
    struct engine_sampling o = plain();
    const float infinite[4] = {-INFINITY, 1, -INFINITY, 1};
    draw_many(&o, infinite, 4, counts);
    ck_assert_uint_eq(counts[0] + counts[2], 0);
    check_share(counts[1], 0.5);
    o.temperature = 1e-6f;
    const float steep[4] = {3e38f, -3e38f, 3e38f, 0};
    draw_many(&o, steep, 4, counts);
    ck_assert_uint_eq(counts[0], DRAWS);
    o.temperature = 2;
    const float none[4] = {-INFINITY, -INFINITY, -INFINITY, -INFINITY};
    draw_many(&o, none, 4, counts);
    ck_assert_uint_eq(counts[0], DRAWS);
}
END_TEST

START_TEST(logprobs_are_of_the_model_and_sorted)
{
    const float logits[6] = {logf(0.1f), logf(0.3f), logf(0.1f), logf(0.4f), logf(0.05f), logf(0.05f)};
    struct engine_alternative top[4];
    struct engine_token token = {.id = 4};
    struct error e = {0};
    logprobs_of(kernels_select("scalar", &e), logits, 6, 4, &token, top);
    ck_assert_double_eq_tol((double)token.logprob, log(0.05), 1e-5);
    ck_assert_uint_eq(token.n_top, 4);
    const int32_t order[4] = {3, 1, 0, 2};
    for (int i = 0; i < 4; i++) {
        ck_assert_int_eq(top[i].id, order[i]);
        ck_assert_double_eq_tol((double)top[i].logprob, (double)logits[order[i]], 1e-5);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("sampler");
    TCase *c = tcase_create("options");
    tcase_add_test(c, greedy_takes_the_lowest_id_among_equals);
    tcase_add_test(c, draws_follow_the_distribution_and_the_temperature);
    tcase_add_test(c, top_k_keeps_k);
    tcase_add_test(c, top_p_keeps_the_smallest_set_that_reaches_it);
    tcase_add_test(c, top_p_works_where_the_set_is_large);
    tcase_add_test(c, min_p_is_relative_to_the_best);
    tcase_add_test(c, penalties_follow_their_definitions);
    tcase_add_test(c, a_negative_logit_is_penalised_downwards);
    tcase_add_test(c, bias_forces_and_forbids);
    tcase_add_test(c, an_ngram_comes_only_once);
    tcase_add_test(c, suppressed_tokens_never_come_and_forced_ones_must);
    tcase_add_test(c, a_forced_token_has_log_probability_zero);
    tcase_add_test(c, a_copy_knows_what_the_original_knows);
    tcase_add_test(c, seed_choice_and_position_key_the_draw);
    tcase_add_test(c, extreme_logits_do_no_harm);
    tcase_add_test(c, logprobs_are_of_the_model_and_sorted);
    suite_add_tcase(suite, c);
    return suite_run(suite);
}
