/* test_beam.c - beam search against transformers: a table of searches over fake_family.h's model, whose ids
 * and scores were produced by generate() of transformers 5.23 on a model with the same logits; as plain
 * decoders, as recurrent ones and after a source; alone, in a crowd and in too little memory.  Then the
 * search by itself where scores tie or run out. */
#include <math.h>
#include <stdio.h>

#include "engine/decode/beam.h"
#include "tests/unit/fake_family.h"
#include "tests/unit/suite.h"

enum { MOST_FOUND = 4, MOST_SOURCE = 40 };

struct search {
    size_t vocabulary;
    int32_t prompt[4]; /* after a source: the start token */
    size_t n_prompt;
    int32_t source[MOST_SOURCE];
    size_t n_source;
    int32_t ends[2];
    size_t n_ends;
    float bonus; /* on the logits of ends */
    unsigned beams;
    size_t max_tokens;
    float length_penalty;
    bool early;
    uint32_t ngram;
    float repetition;               /* 0 = off */
    int32_t forced_eos, forced_bos; /* 0 = off */
    int32_t suppressed[3];
    size_t n_suppressed;
    size_t n_found; /* the best of them */
    struct {
        size_t n;
        double score;
        int32_t tokens[MOST_SOURCE];
    } found[MOST_FOUND];
};

static const struct search searches[] = {
    {.vocabulary = 24,
     .prompt = {1, 2, 3},
     .n_prompt = 3,
     .ends = {5},
     .n_ends = 1,
     .bonus = 1.0f,
     .beams = 4,
     .max_tokens = 12,
     .length_penalty = 1.0f,
     .n_found = 4,
     .found = {{12, -1.281026, {20, 18, 23, 23, 6, 6, 3, 19, 3, 17, 8, 3}},
               {12, -1.296118, {13, 9, 16, 10, 14, 22, 9, 20, 10, 7, 20, 17}},
               {12, -1.305345, {13, 9, 16, 10, 14, 22, 9, 20, 10, 7, 1, 17}},
               {11, -1.307285, {13, 9, 16, 10, 14, 22, 9, 20, 1, 7, 5}}}},
    {.vocabulary = 24,
     .prompt = {1, 2, 3},
     .n_prompt = 3,
     .ends = {5},
     .n_ends = 1,
     .bonus = 1.0f,
     .beams = 4,
     .max_tokens = 12,
     .length_penalty = 1.0f,
     .early = true,
     .n_found = 4,
     .found = {{6, -1.317808, {20, 18, 23, 23, 6, 5}},
               {7, -1.358091, {20, 18, 23, 3, 21, 1, 5}},
               {3, -1.405084, {20, 0, 5}},
               {4, -1.538518, {20, 18, 23, 5}}}},
    {.vocabulary = 24,
     .prompt = {7},
     .n_prompt = 1,
     .ends = {5},
     .n_ends = 1,
     .bonus = -1.0f,
     .beams = 5,
     .max_tokens = 16,
     .length_penalty = 2.0f,
     .n_found = 4,
     .found = {{16, -0.074298, {8, 23, 20, 11, 12, 0, 14, 2, 19, 9, 13, 18, 20, 6, 22, 3}},
               {16, -0.074721, {8, 23, 20, 11, 12, 0, 14, 2, 19, 9, 13, 18, 20, 6, 22, 4}},
               {16, -0.074805, {8, 23, 20, 11, 12, 0, 14, 2, 19, 9, 13, 18, 20, 6, 11, 4}},
               {16, -0.077040, {8, 23, 20, 11, 12, 0, 14, 2, 19, 9, 13, 18, 20, 6, 11, 14}}}},
    {.vocabulary = 24,
     .prompt = {7},
     .n_prompt = 1,
     .ends = {5},
     .n_ends = 1,
     .bonus = 1.0f,
     .beams = 3,
     .max_tokens = 16,
     .length_penalty = 0.0f,
     .n_found = 3,
     .found = {{6, -7.724347, {8, 2, 14, 22, 10, 5}},
               {8, -9.746272, {8, 21, 15, 7, 10, 17, 7, 5}},
               {11, -14.020242, {8, 21, 15, 8, 17, 3, 16, 15, 21, 19, 5}}}},
    {.vocabulary = 24,
     .prompt = {7, 8},
     .n_prompt = 2,
     .ends = {5},
     .n_ends = 1,
     .bonus = 0.0f,
     .beams = 3,
     .max_tokens = 20,
     .length_penalty = -1.0f,
     .early = true,
     .n_found = 3,
     .found = {{4, -22.286608, {23, 20, 11, 5}},
               {7, -64.172348, {21, 15, 7, 10, 17, 7, 5}},
               {11, -150.810745, {23, 20, 11, 12, 0, 14, 2, 19, 9, 13, 5}}}},
    {.vocabulary = 24,
     .prompt = {9},
     .n_prompt = 1,
     .ends = {5, 11},
     .n_ends = 2,
     .bonus = -0.5f,
     .beams = 4,
     .max_tokens = 12,
     .length_penalty = 0.6f,
     .n_found = 4,
     .found = {{7, -2.909732, {2, 7, 19, 16, 17, 9, 11}},
               {12, -3.332855, {2, 7, 19, 16, 17, 8, 18, 16, 22, 16, 18, 23}},
               {12, -3.334290, {2, 7, 19, 16, 17, 8, 18, 16, 12, 13, 9, 1}},
               {12, -3.402182, {2, 7, 19, 16, 17, 8, 18, 16, 22, 16, 14, 4}}}},
    {.vocabulary = 24,
     .prompt = {4, 4},
     .n_prompt = 2,
     .bonus = 0.0f,
     .beams = 3,
     .max_tokens = 6,
     .length_penalty = 1.0f,
     .n_found = 3,
     .found = {{6, -1.153704, {16, 1, 10, 4, 23, 5}},
               {6, -1.195237, {9, 1, 14, 21, 2, 2}},
               {6, -1.287383, {16, 1, 10, 14, 12, 13}}}},
    {.vocabulary = 24,
     .prompt = {6},
     .n_prompt = 1,
     .ends = {5},
     .n_ends = 1,
     .bonus = 0.5f,
     .beams = 8,
     .max_tokens = 10,
     .length_penalty = 1.0f,
     .n_found = 4,
     .found = {{10, -1.163775, {6, 12, 11, 6, 7, 22, 22, 12, 15, 23}},
               {10, -1.214103, {6, 12, 11, 6, 7, 22, 22, 2, 14, 20}},
               {10, -1.218028, {6, 12, 11, 6, 7, 22, 22, 12, 3, 5}},
               {10, -1.235763, {6, 12, 11, 6, 14, 21, 2, 21, 13, 14}}}},
    {.vocabulary = 24,
     .prompt = {2},
     .n_prompt = 1,
     .ends = {5},
     .n_ends = 1,
     .bonus = 0.0f,
     .beams = 4,
     .max_tokens = 10,
     .length_penalty = 1.0f,
     .ngram = 2,
     .n_found = 4,
     .found = {{8, -1.267033, {13, 15, 17, 19, 3, 0, 11, 5}},
               {9, -1.289360, {13, 15, 17, 19, 3, 0, 11, 4, 5}},
               {10, -1.289424, {13, 15, 17, 19, 3, 0, 11, 6, 13, 16}},
               {5, -1.319144, {13, 18, 18, 8, 5}}}},
    {.vocabulary = 24,
     .prompt = {2, 3, 2},
     .n_prompt = 3,
     .ends = {5},
     .n_ends = 1,
     .bonus = 0.0f,
     .beams = 4,
     .max_tokens = 10,
     .length_penalty = 1.0f,
     .repetition = 1.3f,
     .n_found = 4,
     .found = {{10, -1.311675, {10, 7, 17, 0, 19, 8, 20, 13, 22, 20}},
               {10, -1.341778, {10, 7, 17, 0, 19, 8, 12, 1, 4, 15}},
               {10, -1.352456, {10, 7, 17, 0, 19, 8, 12, 18, 8, 18}},
               {10, -1.375304, {10, 7, 17, 0, 19, 8, 12, 1, 4, 5}}}},
    {.vocabulary = 24,
     .prompt = {3},
     .n_prompt = 1,
     .ends = {5},
     .n_ends = 1,
     .bonus = -1.0f,
     .beams = 4,
     .max_tokens = 8,
     .length_penalty = 1.0f,
     .forced_eos = 5,
     .n_found = 4,
     .found = {{8, -0.968042, {21, 17, 0, 17, 7, 20, 11, 5}},
               {8, -1.026012, {21, 0, 14, 23, 9, 15, 0, 5}},
               {8, -1.064011, {21, 17, 0, 19, 20, 3, 0, 5}},
               {8, -1.078511, {21, 17, 0, 17, 7, 0, 20, 5}}}},
    {.vocabulary = 24,
     .prompt = {3},
     .n_prompt = 1,
     .source = {20, 21, 22},
     .n_source = 3,
     .ends = {5},
     .n_ends = 1,
     .bonus = 0.0f,
     .beams = 4,
     .max_tokens = 8,
     .length_penalty = 1.0f,
     .forced_bos = 9,
     .suppressed = {1, 2, 3},
     .n_suppressed = 3,
     .n_found = 4,
     .found = {{5, -0.998726, {9, 23, 22, 4, 5}},
               {8, -1.049120, {9, 23, 22, 4, 8, 11, 7, 9}},
               {8, -1.076539, {9, 23, 22, 4, 8, 4, 18, 14}},
               {8, -1.085562, {9, 7, 7, 22, 4, 11, 8, 9}}}},
    {.vocabulary = 24,
     .prompt = {10},
     .n_prompt = 1,
     .ends = {5},
     .n_ends = 1,
     .bonus = 0.0f,
     .beams = 2,
     .max_tokens = 1,
     .length_penalty = 1.0f,
     .n_found = 2,
     .found = {{1, -1.507214, {8}}, {1, -2.013338, {12}}}},
    {.vocabulary = 257,
     .prompt = {65, 66, 67},
     .n_prompt = 3,
     .ends = {256},
     .n_ends = 1,
     .bonus = 2.5f,
     .beams = 4,
     .max_tokens = 40,
     .length_penalty = 1.0f,
     .n_found = 4,
     .found = {{2, -2.653817, {220, 256}},
               {2, -2.986830, {39, 256}},
               {6, -3.073555, {3, 64, 147, 240, 55, 256}},
               {3, -3.163369, {3, 127, 256}}}},
    {.vocabulary = 257,
     .prompt = {65, 66, 67},
     .n_prompt = 3,
     .ends = {256},
     .n_ends = 1,
     .bonus = 2.5f,
     .beams = 6,
     .max_tokens = 40,
     .length_penalty = 1.5f,
     .early = true,
     .n_found = 4,
     .found = {{3, -1.826372, {3, 127, 256}},
               {2, -1.876532, {220, 256}},
               {3, -1.929000, {160, 55, 256}},
               {2, -2.112007, {39, 256}}}},
    {.vocabulary = 24,
     .prompt = {0},
     .n_prompt = 1,
     .source = {0,  1,  2,  3,  4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19,
                20, 21, 22, 23, 0, 1, 2, 3, 4, 5, 6,  7,  8,  9,  10, 11, 12, 13, 14, 15},
     .n_source = 40,
     .ends = {5},
     .n_ends = 1,
     .bonus = 1.0f,
     .beams = 4,
     .max_tokens = 12,
     .length_penalty = 1.0f,
     .n_found = 4,
     .found = {{3, -1.256120, {18, 2, 5}},
               {1, -1.291646, {5}},
               {9, -1.325898, {1, 12, 21, 12, 18, 9, 10, 18, 5}},
               {9, -1.338518, {1, 12, 21, 12, 18, 9, 17, 20, 5}}}},
    {.vocabulary = 24,
     .prompt = {0},
     .n_prompt = 1,
     .source = {3, 1, 4, 1, 5},
     .n_source = 5,
     .ends = {5},
     .n_ends = 1,
     .bonus = -1.0f,
     .beams = 6,
     .max_tokens = 40,
     .length_penalty = 1.0f,
     .ngram = 3,
     .n_found = 4,
     .found = {{40, -1.189399, {12, 9,  0, 16, 14, 19, 12, 4,  14, 22, 10, 17, 6, 10, 4,  15, 17, 2, 16, 11,
                                2,  20, 0, 18, 19, 22, 16, 12, 21, 3,  22, 2,  0, 18, 20, 19, 10, 9, 21, 9}},
               {40, -1.192124, {12, 9,  0, 16, 14, 19, 12, 4,  14, 22, 10, 17, 6, 10, 4,  15, 17, 2, 16, 11,
                                2,  20, 0, 18, 19, 22, 16, 12, 21, 3,  22, 2,  0, 18, 20, 19, 10, 9, 21, 19}},
               {40, -1.197161, {12, 9,  0, 16, 14, 19, 12, 4, 14, 22, 10, 17, 6,  10, 4, 15, 17, 2, 16, 11,
                                2,  20, 0, 18, 19, 22, 16, 4, 19, 19, 20, 19, 10, 12, 9, 18, 14, 1, 17, 12}},
               {40, -1.199051, {12, 9,  0,  16, 14, 19, 12, 4,  14, 22, 10, 17, 6,  10,
                                4,  15, 17, 2,  16, 11, 2,  20, 0,  18, 19, 22, 16, 12,
                                21, 3,  22, 2,  0,  18, 20, 19, 0,  0,  2,  10}}}},
    {.vocabulary = 24,
     .prompt = {2},
     .n_prompt = 1,
     .source = {9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9,
                9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9},
     .n_source = 33,
     .ends = {5},
     .n_ends = 1,
     .bonus = 0.5f,
     .beams = 3,
     .max_tokens = 24,
     .length_penalty = 0.8f,
     .early = true,
     .forced_eos = 5,
     .n_found = 3,
     .found = {{3, -1.792289, {4, 7, 5}},
               {6, -2.003340, {7, 7, 12, 7, 20, 5}},
               {8, -2.158699, {7, 7, 12, 7, 12, 15, 3, 5}}}},
};

enum { SEARCHES = sizeof searches / sizeof searches[0], COPIES = 3 };

/* ---- through the scheduler ------------------------------------------------------------------- */

static struct fake_family models[SEARCHES];
static struct served_model served[SEARCHES];
static struct fake_answer answers[SEARCHES][COPIES];

static void serve(const struct search *s, size_t i, bool recurrent)
{
    struct generation_rules *rules = &served[i].rules;
    enum fake_kind kind = s->n_source ? (recurrent ? FAKE_TRANSFORM_STATE : FAKE_TRANSFORM)
                                      : (recurrent ? FAKE_RECURRENT : FAKE_PLAIN);
    fake_init(&models[i], kind, s->vocabulary);
    models[i].bonus = s->bonus;
    models[i].ends = s->ends;
    models[i].n_ends = s->n_ends;
    bench_serve(&served[i], &models[i]);
    rules->start = s->prompt[0];
    memcpy(rules->ends, s->ends, s->n_ends * sizeof *s->ends);
    rules->n_ends = s->n_ends;
    memcpy(rules->suppressed, s->suppressed, s->n_suppressed * sizeof *s->suppressed);
    rules->n_suppressed = s->n_suppressed;
    rules->forced_eos = s->forced_eos ? s->forced_eos : -1;
    rules->forced_bos = s->forced_bos ? s->forced_bos : -1;
}

static struct engine_job make(const struct search *s, struct fake_answer *a)
{
    struct engine_job job = bench_job(a, ENGINE_TASK_GENERATE, s->n_source ? s->source : s->prompt,
                                      s->n_source ? s->n_source : s->n_prompt);
    job.max_tokens = s->max_tokens;
    job.beams = (struct engine_beams){s->beams, s->length_penalty, s->early};
    job.choices = (unsigned)s->n_found;
    job.no_repeat_ngram = s->ngram;
    job.sampling.repetition_penalty = s->repetition > 0 ? s->repetition : 1;
    job.logprobs = true;
    return job;
}

static void check(const struct search *s, const struct fake_answer *a)
{
    size_t total = 0;
    ck_assert_msg(a->error.kind == ERROR_NONE, "%s", a->error.text);
    for (size_t c = 0; c < s->n_found; c++) {
        size_t n = s->found[c].n;
        bool ended = s->found[c].tokens[n - 1] == s->ends[0] || s->found[c].tokens[n - 1] == s->ends[1];
        bool forced = s->forced_eos && n == s->max_tokens;
        ck_assert_uint_eq(a->steps[c], 1);
        ck_assert_uint_eq(a->n[c], n);
        ck_assert_mem_eq(a->tokens[c], s->found[c].tokens, n * sizeof(int32_t));
        ck_assert_double_eq_tol(a->score[c], s->found[c].score, 2e-5 * (1 + fabs(s->found[c].score)));
        ck_assert_int_eq(a->finish[c],
                         s->n_ends && ended && !forced ? ENGINE_FINISH_STOP : ENGINE_FINISH_LENGTH);
        total += n;
    }
    ck_assert_uint_eq(a->usage.completion_tokens, total);
    ck_assert_uint_eq(a->usage.prompt_tokens, s->n_source ? s->n_source : s->n_prompt);
}

static void close_all(size_t n)
{
    struct served_model *list[SEARCHES];
    for (size_t i = 0; i < n; i++)
        list[i] = &served[i];
    bench_close(list, n);
}

/* Every search, several times, all at once. */
static void run_crowd(bool recurrent, uint64_t kv_memory)
{
    bench_open(kv_memory, 16);
    for (size_t i = 0; i < SEARCHES; i++)
        serve(&searches[i], i, recurrent);
    for (size_t copy = 0; copy < COPIES; copy++) {
        for (size_t i = 0; i < SEARCHES; i++) {
            struct engine_job job = make(&searches[i], &answers[i][copy]);
            bench_submit(&served[i], &job);
        }
    }
    for (size_t i = 0; i < SEARCHES; i++) {
        for (size_t copy = 0; copy < COPIES; copy++) {
            bench_wait(&answers[i][copy]);
            check(&searches[i], &answers[i][copy]);
        }
    }
}

START_TEST(each_search_finds_what_transformers_finds)
{
    for (int recurrent = 0; recurrent < 2; recurrent++) {
        bench_open(1 << 20, 64);
        serve(&searches[_i], 0, recurrent);
        struct engine_job job = make(&searches[_i], &answers[0][0]);
        bench_submit(&served[0], &job);
        bench_wait(&answers[0][0]);
        check(&searches[_i], &answers[0][0]);
        close_all(1);
    }
}
END_TEST

START_TEST(a_crowd_of_searches_finds_the_same)
{
    run_crowd(false, 8 << 20);
    close_all(SEARCHES);
    run_crowd(true, 8 << 20);
    close_all(SEARCHES);
}
END_TEST

START_TEST(little_memory_changes_nothing)
{
    struct engine_stats stats;
    struct fake_family plain;
    fake_init(&plain, FAKE_PLAIN, 24);
    run_crowd(false, 24 * model_page_bytes(&plain.base.shape, DTYPE_F32));
    scheduler_stats(bench, &stats);
    ck_assert_uint_gt(stats.preemptions, 0);
    close_all(SEARCHES);
    run_crowd(true, 10 * model_page_bytes(&plain.base.shape, DTYPE_F32));
    close_all(SEARCHES);
}
END_TEST

/* Long prompts beside beams, so that searches are thrown out in the middle and followed up again. */
START_TEST(a_search_goes_on_after_preemption)
{
    enum { JOBS = 6 };
    static struct fake_answer alone, beside[JOBS], streams[JOBS];
    struct engine_stats stats;
    int32_t prompt[600];
    fake_init(&models[0], FAKE_PLAIN, 24);
    fake_tokens(prompt, 600, 5, 24);
    for (int round = 0; round < 2; round++) {
        bench_open((round ? 20 : 400) * model_page_bytes(&models[0].base.shape, DTYPE_F32), 64);
        bench_serve(&served[0], &models[0]);
        for (size_t i = 0; i < (round ? JOBS : 1); i++) {
            struct fake_answer *a = round ? &beside[i] : &alone;
            struct engine_job job = bench_job(&streams[i], ENGINE_TASK_GENERATE, prompt + i, 90);
            job.max_tokens = 120;
            if (round)
                bench_submit(&served[0], &job);
            else
                free(job.prompt);
            job = bench_job(a, ENGINE_TASK_GENERATE, prompt, 70);
            job.max_tokens = 100;
            job.beams = (struct engine_beams){4, 1, false};
            job.choices = 2;
            bench_submit(&served[0], &job);
        }
        for (size_t i = 0; i < (round ? JOBS : 1); i++)
            bench_wait(round ? &beside[i] : &alone);
        for (size_t i = 0; round && i < JOBS; i++)
            bench_wait(&streams[i]);
        scheduler_stats(bench, &stats);
        ck_assert((round == 1) == (stats.preemptions > 0));
        close_all(1);
    }
    ck_assert_uint_eq(alone.n[0], 100);
    for (size_t i = 0; i < JOBS; i++) {
        ck_assert_int_eq(beside[i].error.kind, ERROR_NONE);
        for (int c = 0; c < 2; c++)
            ck_assert_mem_eq(beside[i].tokens[c], alone.tokens[c], 100 * sizeof(int32_t));
    }
}
END_TEST

START_TEST(beams_that_never_fit_are_told_so)
{
    fake_init(&models[0], FAKE_RECURRENT, 24);
    uint64_t page = model_page_bytes(&models[0].base.shape, DTYPE_F32);
    bench_open(5 * page, 64);
    serve(&searches[7], 0, true); /* eight states */
    struct engine_job job = make(&searches[7], &answers[0][0]);
    bench_submit(&served[0], &job);
    bench_wait(&answers[0][0]);
    ck_assert_int_eq(answers[0][0].error.kind, ERROR_OUT_OF_MEMORY);
    ck_assert_ptr_nonnull(strstr(answers[0][0].error.text, "beams"));
    job = make(&searches[3], &answers[0][1]); /* three are fine */
    bench_submit(&served[0], &job);
    bench_wait(&answers[0][1]);
    ck_assert_int_eq(answers[0][1].error.kind, ERROR_NONE);
    close_all(1);
}
END_TEST

START_TEST(searches_can_be_cancelled_and_paused)
{
    bench_open(1 << 20, 64);
    serve(&searches[2], 0, false);
    models[0].slow_us = 3000;
    for (int i = 0; i < 3; i++) {
        struct engine_job job = make(&searches[2], &answers[0][i]);
        bench_submit(&served[0], &job);
    }
    scheduler_pause(bench, answers[0][1].id, true);
    scheduler_cancel(bench, answers[0][0].id);
    bench_wait(&answers[0][0]);
    ck_assert_int_eq(answers[0][0].error.kind, ERROR_CANCELLED);
    ck_assert_uint_eq(answers[0][0].steps[0], 0);
    bench_wait(&answers[0][2]);
    ck_assert_int_eq(answers[0][1].finals, 0);
    scheduler_pause(bench, answers[0][1].id, false);
    bench_wait(&answers[0][1]);
    check(&searches[2], &answers[0][1]);
    check(&searches[2], &answers[0][2]);
    close_all(1);
}
END_TEST

START_TEST(what_beams_cannot_honour_is_refused)
{
    struct fake_answer *a = &answers[0][0];
    const struct engine_text stop = {"x", 1};
    bench_open(1 << 20, 64);
    serve(&searches[0], 0, false);
    struct engine_job job = make(&searches[0], a);
    job.choices = 5;
    ck_assert_str_eq(bench_refused(&served[0], &job).param, "n");
    job = make(&searches[0], a);
    job.beams.beams = LIMIT_BEAMS + 1;
    ck_assert_str_eq(bench_refused(&served[0], &job).param, "beams");
    job = make(&searches[0], a);
    job.beams.length_penalty = NAN;
    ck_assert_str_eq(bench_refused(&served[0], &job).param, "length_penalty");
    job = make(&searches[0], a);
    job.stop = &stop;
    job.n_stop = 1;
    ck_assert_str_eq(bench_refused(&served[0], &job).param, "stop");
    job = make(&searches[0], a);
    job.top_logprobs = 1;
    ck_assert_str_eq(bench_refused(&served[0], &job).param, "top_logprobs");
    close_all(1);
}
END_TEST

/* Text and log probabilities of a hypothesis are those of its tokens. */
START_TEST(a_hypothesis_comes_whole)
{
    const struct search *s = &searches[13]; /* the byte vocabulary and its end token */
    const struct fake_answer *a = &answers[0][0];
    bench_open(1 << 20, 64);
    serve(s, 0, false);
    struct engine_job job = make(s, &answers[0][0]);
    bench_submit(&served[0], &job);
    bench_wait(&answers[0][0]);
    check(s, a);
    for (unsigned c = 0; c < s->n_found; c++) {
        double sum = 0;
        for (size_t i = 0; i < a->n[c]; i++)
            sum += (double)a->logprobs[c][i];
        ck_assert_double_eq_tol(sum / (double)a->n[c], a->score[c], 1e-4);
        ck_assert_uint_ge(a->text_len[c], a->n[c] - 1); /* one byte, or U+FFFD, a token; none for the end */
    }
    close_all(1);
}
END_TEST

/* ---- the search by itself -------------------------------------------------------------------- */

static bool is_last(const void *vocabulary, int32_t id)
{
    return id == (int32_t) * (const size_t *)vocabulary - 1;
}

static void scan(struct beam_search *b, unsigned rank, const float *logprobs, size_t n)
{
    const struct beam_row row = {logprobs, logprobs, 0, n, is_last, &n};
    beam_search_scan(b, rank, &row);
}

START_TEST(among_equals_the_lower_beam_and_the_lower_id_go_first)
{
    const struct engine_beams options = {2, 1, false};
    const float flat[4] = {-1, -1, -1, -9};
    const int32_t none[1] = {0};
    const float zero[1] = {0};
    const struct beam_path paths[2] = {{none, zero}, {none, zero}};
    struct beam_search *b;
    struct error e = {0};
    ck_assert_int_eq(beam_search_create(&options, 8, &b, &e), 0);
    scan(b, 0, flat, 4);
    ck_assert_uint_eq(beam_search_step(b, paths, 0), 2);
    ck_assert_int_eq(beam_search_next(b)[0].token, 0);
    ck_assert_int_eq(beam_search_next(b)[1].token, 1);
    scan(b, 0, flat, 4);
    scan(b, 1, flat, 4);
    ck_assert_uint_eq(beam_search_step(b, paths, 1), 2);
    for (int i = 0; i < 2; i++) {
        ck_assert_uint_eq(beam_search_next(b)[i].parent, 0);
        ck_assert_int_eq(beam_search_next(b)[i].token, i);
    }
    beam_search_free(b);
}
END_TEST

START_TEST(a_search_without_a_way_on_ends)
{
    const struct engine_beams options = {3, 1, false};
    const float only_end[3] = {-INFINITY, -INFINITY, -0.5f}, nothing[3] = {-INFINITY, NAN, -INFINITY};
    const int32_t none[1] = {0};
    const float zero[1] = {0};
    const struct beam_path path = {none, zero};
    const struct beam_hypothesis *found;
    struct beam_search *b;
    struct error e = {0};
    for (int round = 0; round < 2; round++) {
        ck_assert_int_eq(beam_search_create(&options, 8, &b, &e), 0);
        scan(b, 0, round ? nothing : only_end, 3);
        ck_assert_uint_eq(beam_search_step(b, &path, 0), 0);
        ck_assert_uint_eq(beam_search_results(b, &found), round ? 0 : 1);
        ck_assert(round || (found->n == 1 && found->tokens[0] == 2 && found->ended));
        beam_search_free(b);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("beam");
    TCase *c = tcase_create("search");
    tcase_set_timeout(c, 120);
    tcase_add_loop_test(c, each_search_finds_what_transformers_finds, 0, SEARCHES);
    tcase_add_test(c, a_crowd_of_searches_finds_the_same);
    tcase_add_test(c, little_memory_changes_nothing);
    tcase_add_test(c, a_search_goes_on_after_preemption);
    tcase_add_test(c, beams_that_never_fit_are_told_so);
    tcase_add_test(c, searches_can_be_cancelled_and_paused);
    tcase_add_test(c, what_beams_cannot_honour_is_refused);
    tcase_add_test(c, a_hypothesis_comes_whole);
    tcase_add_test(c, among_equals_the_lower_beam_and_the_lower_id_go_first);
    tcase_add_test(c, a_search_without_a_way_on_ends);
    suite_add_tcase(suite, c);
    return suite_run(suite);
}
