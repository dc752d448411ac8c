/* test_encode_jobs.c - jobs that are not a plain decoder's: encoders and their tasks, vectors from decoders,
 * recurrent models, encoder-decoders, and all of them beside each other.  Models: fake_family.h. */
#include <stdio.h>

#include "tests/unit/fake_family.h"
#include "tests/unit/suite.h"

enum { VOCABULARY = 200, LENGTH = 600 };

static struct fake_family model;
static struct served_model served;
static struct served_model *const all[] = {&served};

static void open_one(enum fake_kind kind, uint64_t kv_memory)
{
    bench_open(kv_memory, 64);
    fake_init(&model, kind, VOCABULARY);
    bench_serve(&served, &model);
    served.rules.start = 7;
}

static struct engine_job make(struct fake_answer *a, enum engine_task task, size_t n, uint64_t seed)
{
    int32_t tokens[LENGTH];
    fake_tokens(tokens, n, seed, VOCABULARY);
    return bench_job(a, task, tokens, n);
}

/* ---- encoders -------------------------------------------------------------------------------- */

static void check_usage(const struct fake_answer *a, size_t n)
{
    ck_assert_int_eq(a->error.kind, ERROR_NONE);
    ck_assert_uint_eq(a->results, 1);
    ck_assert_uint_eq(a->usage.prompt_tokens, n);
    ck_assert_uint_eq(a->usage.completion_tokens, 0);
    ck_assert_uint_eq(a->steps[0], 0);
}

static float expect_pooled(const int32_t *tokens, size_t n, enum engine_pooling pooling, unsigned type,
                           size_t i, size_t told)
{
    double sum = 0;
    float most = -1e30f;
    for (size_t p = 0; p < n; p++) {
        float x = fake_hidden(tokens[p], p, told, type, i);
        sum += (double)x;
        most = x > most ? x : most;
    }
    switch (pooling) {
    case ENGINE_POOLING_CLS:
        return fake_hidden(tokens[0], 0, told, type, i);
    case ENGINE_POOLING_LAST:
        return fake_hidden(tokens[n - 1], n - 1, told, type, i);
    case ENGINE_POOLING_MAX:
        return most;
    case ENGINE_POOLING_POOLER:
        return (float)(fake_sum(tokens, n) + (int32_t)i);
    default:
        return (float)(sum / (double)n);
    }
}

static void check_pooled(const struct fake_answer *a, const int32_t *tokens, size_t n,
                         enum engine_pooling pooling, unsigned type, size_t told)
{
    ck_assert_uint_eq(a->rows, 1);
    ck_assert_uint_eq(a->cols, FAKE_EMBEDDING);
    for (size_t i = 0; i < FAKE_EMBEDDING; i++)
        ck_assert_float_eq_tol(a->values[i], expect_pooled(tokens, n, pooling, type, i, told), 0.01f);
}

START_TEST(texts_of_many_lengths_are_pooled_in_every_way)
{
    enum { JOBS = 60 };
    static struct fake_answer answers[JOBS];
    static const enum engine_pooling poolings[] = {ENGINE_POOLING_DEFAULT, ENGINE_POOLING_MEAN,
                                                   ENGINE_POOLING_CLS,     ENGINE_POOLING_LAST,
                                                   ENGINE_POOLING_MAX,     ENGINE_POOLING_POOLER};
    uint8_t types[LENGTH];
    open_one(FAKE_ENCODER, 1 << 20);
    memset(types, 1, sizeof types);
    for (size_t i = 0; i < JOBS; i++) {
        struct engine_job job = make(&answers[i], ENGINE_TASK_EMBED, 1 + i * 17 % 300, i);
        job.pooling = poolings[i % 6];
        job.types = i % 2 ? types : NULL;
        bench_submit(&served, &job);
    }
    for (size_t i = 0; i < JOBS; i++) {
        int32_t tokens[LENGTH];
        size_t n = 1 + i * 17 % 300;
        fake_tokens(tokens, n, i, VOCABULARY);
        bench_wait(&answers[i]);
        check_usage(&answers[i], n);
        check_pooled(&answers[i], tokens, n, poolings[i % 6], i % 2, n);
    }
    ck_assert_uint_le(model.most_encoded, 300);
    ck_assert_ptr_null(served.cache); /* encoders keep nothing */
    bench_close(all, 1);
}
END_TEST

START_TEST(labels_come_for_texts_and_for_tokens)
{
    static struct fake_answer label, tag, span;
    int32_t tokens[40];
    open_one(FAKE_ENCODER, 1 << 20);
    fake_tokens(tokens, 40, 3, VOCABULARY);
    struct engine_job job = make(&label, ENGINE_TASK_CLASSIFY, 40, 3);
    bench_submit(&served, &job);
    job = make(&tag, ENGINE_TASK_TAG, 40, 3);
    bench_submit(&served, &job);
    job = make(&span, ENGINE_TASK_ANSWER, 40, 3);
    bench_submit(&served, &job);
    bench_wait(&label);
    bench_wait(&tag);
    bench_wait(&span);
    check_usage(&label, 40);
    ck_assert_uint_eq(label.rows, 1);
    ck_assert_uint_eq(label.cols, FAKE_LABELS);
    for (int k = 0; k < FAKE_LABELS; k++)
        ck_assert_float_eq(label.values[k], (float)(fake_sum(tokens, 40) * (k + 1)));
    check_usage(&tag, 40);
    ck_assert_uint_eq(tag.rows, 40);
    for (int r = 0; r < 40; r++) {
        for (int k = 0; k < FAKE_LABELS; k++)
            ck_assert_float_eq(tag.values[r * FAKE_LABELS + k],
                               (float)(fake_sum(tokens, 40) + r * k) + 0.5f * (float)tokens[r]);
    }
    ck_assert_uint_eq(span.rows, 40);
    ck_assert_mem_eq(span.values, tag.values, 40 * FAKE_LABELS * sizeof(float));
    bench_close(all, 1);
}
END_TEST

static void check_masks(const struct fake_answer *a, const int32_t *tokens, size_t n, size_t n_masked,
                        unsigned n_top)
{
    check_usage(a, n);
    ck_assert_uint_eq(a->n_masked, n_masked);
    for (size_t k = 0; k < n_masked; k++) {
        int32_t best = (fake_sum(tokens, n) + (int32_t)k) % VOCABULARY;
        ck_assert_int_eq(a->masked[k].id, best);
        ck_assert_float_eq_tol(a->masked[k].logprob, -0.458675f, 1e-4f); /* 1 / (1 + e^-1 + e^-2 …) */
        ck_assert_uint_eq(a->masked[k].n_top, n_top);
        for (unsigned t = 0; t < n_top; t++) {
            ck_assert_int_eq(a->top[k][t].id, (best + (int32_t)t) % VOCABULARY);
            ck_assert_float_eq_tol(a->top[k][t].logprob, -0.458675f - (float)t, 1e-4f);
        }
    }
}

START_TEST(masks_get_their_best_tokens)
{
    enum { JOBS = 30 };
    static struct fake_answer answers[JOBS];
    uint32_t masked[LIMIT_MASKED];
    int32_t tokens[LIMIT_MASKED];
    bench_open(1 << 20, 256); /* so that many share a call, up to what a call gives out */
    fake_init(&model, FAKE_ENCODER, VOCABULARY);
    bench_serve(&served, &model);
    model.slow_us = 20000;
    for (uint32_t i = 0; i < LIMIT_MASKED; i++)
        masked[i] = i;
    for (size_t i = 0; i < JOBS; i++) {
        size_t n = i % 10 ? 20 : LIMIT_MASKED;
        struct engine_job job = make(&answers[i], ENGINE_TASK_FILL, n, i);
        job.masked = masked;
        job.n_masked = 1 + i * 7 % n;
        job.top_logprobs = i % 2 ? 5 : 0;
        bench_submit(&served, &job);
    }
    for (size_t i = 0; i < JOBS; i++) {
        size_t n = i % 10 ? 20 : LIMIT_MASKED;
        fake_tokens(tokens, n, i, VOCABULARY);
        bench_wait(&answers[i]);
        check_masks(&answers[i], tokens, n, 1 + i * 7 % n, i % 2 ? 5 : 0);
    }
    ck_assert_uint_gt(model.most_encoded, LIMIT_MASKED);
    bench_close(all, 1);
}
END_TEST

START_TEST(what_a_model_lacks_is_refused_by_name)
{
    static struct fake_answer a;
    const uint32_t outside[] = {10}, twice[] = {3, 3};
    open_one(FAKE_ENCODER, 1 << 20);
    struct engine_job job = make(&a, ENGINE_TASK_GENERATE, 10, 0);
    struct error e = bench_refused(&served, &job);
    ck_assert_int_eq(e.kind, ERROR_UNSUPPORTED);
    ck_assert_ptr_nonnull(strstr(e.text, "can't do generation (it can do: embeddings, classification"));
    job = make(&a, ENGINE_TASK_FILL, 10, 0);
    ck_assert_int_eq(bench_refused(&served, &job).kind, ERROR_INVALID_REQUEST);
    job = make(&a, ENGINE_TASK_FILL, 10, 0);
    job.masked = outside;
    job.n_masked = 1;
    ck_assert_int_eq(bench_refused(&served, &job).kind, ERROR_INVALID_REQUEST);
    job = make(&a, ENGINE_TASK_FILL, 10, 0);
    job.masked = twice;
    job.n_masked = 2;
    ck_assert_int_eq(bench_refused(&served, &job).kind, ERROR_INVALID_REQUEST);
    model.base.context = 9;
    job = make(&a, ENGINE_TASK_EMBED, 10, 0);
    e = bench_refused(&served, &job);
    ck_assert_int_eq(e.kind, ERROR_CONTEXT_LENGTH);
    ck_assert_ptr_nonnull(strstr(e.text, "9 tokens"));
    model.base.context = 10;
    model.base.shape.has_pooler = false;
    job = make(&a, ENGINE_TASK_EMBED, 10, 0);
    job.pooling = ENGINE_POOLING_POOLER;
    ck_assert_str_eq(bench_refused(&served, &job).param, "pooling");
    bench_close(all, 1);
}
END_TEST

START_TEST(encoders_can_be_cancelled_and_stopped)
{
    enum { JOBS = 40 };
    static struct fake_answer answers[JOBS];
    open_one(FAKE_ENCODER, 1 << 20);
    model.slow_us = 3000;
    for (size_t i = 0; i < JOBS; i++) {
        struct engine_job job = make(&answers[i], ENGINE_TASK_EMBED, 60, i);
        bench_submit(&served, &job);
    }
    scheduler_cancel(bench, answers[JOBS - 1].id);
    bench_wait(&answers[JOBS - 1]);
    ck_assert_int_eq(answers[JOBS - 1].error.kind, ERROR_CANCELLED);
    scheduler_stop(bench);
    for (size_t i = 0; i < JOBS; i++) {
        ck_assert_int_eq(answers[i].finals, 1);
        ck_assert_uint_eq(answers[i].results, answers[i].error.kind == ERROR_NONE);
    }
    served_model_release(&served);
    tokenizer_free((struct tokenizer *)(uintptr_t)served.tokenizer);
    scheduler_free(bench);
    exec_free(bench_exec);
    pool_free(bench_pool);
}
END_TEST

/* ---- decoders -------------------------------------------------------------------------------- */

START_TEST(a_decoder_pools_its_prompt_chunk_by_chunk)
{
    enum { JOBS = 20 };
    static struct fake_answer answers[JOBS], stream;
    static const enum engine_pooling poolings[] = {ENGINE_POOLING_MEAN, ENGINE_POOLING_CLS,
                                                   ENGINE_POOLING_LAST, ENGINE_POOLING_MAX};
    for (int kind = FAKE_PLAIN; kind <= FAKE_RECURRENT; kind++) {
        open_one((enum fake_kind)kind, 0);
        scheduler_stop(bench); /* again with little memory: preemption must not count a row twice */
        scheduler_free(bench);
        exec_free(bench_exec);
        pool_free(bench_pool);
        bench_open(24 * model_page_bytes(&model.base.shape, DTYPE_F32), 64);
        struct engine_job job = make(&stream, ENGINE_TASK_GENERATE, 10, 99);
        job.max_tokens = 100;
        bench_submit(&served, &job);
        for (size_t i = 0; i < JOBS; i++) {
            job = make(&answers[i], ENGINE_TASK_EMBED, 100 + i * 13, i);
            job.pooling = poolings[i % 4];
            bench_submit(&served, &job);
        }
        for (size_t i = 0; i < JOBS; i++) {
            int32_t tokens[LENGTH];
            size_t n = 100 + i * 13;
            fake_tokens(tokens, n, i, VOCABULARY);
            bench_wait(&answers[i]);
            check_usage(&answers[i], n);
            check_pooled(&answers[i], tokens, n, poolings[i % 4], 0, 0);
        }
        bench_wait(&stream);
        ck_assert_int_eq(stream.error.kind, ERROR_NONE);
        bench_close(all, 1);
    }
}
END_TEST

/* Greedy answers of many jobs of a model, with several choices, in so much memory. */
static void run_decoders(enum fake_kind kind, size_t pages, bool expect_preemption)
{
    enum { JOBS = 24, TOKENS = 60 };
    static struct fake_answer answers[JOBS];
    struct engine_stats stats;
    fake_init(&model, kind, VOCABULARY);
    bench_open(pages * model_page_bytes(&model.base.shape, DTYPE_F32), 64);
    bench_serve(&served, &model);
    served.rules.start = 7;
    bool source = model.base.shape.cross_layers > 0;
    for (size_t i = 0; i < JOBS; i++) {
        struct engine_job job = make(&answers[i], ENGINE_TASK_GENERATE, 1 + i * 37 % 250, i);
        job.max_tokens = 1 + i * 5 % TOKENS;
        job.choices = 1 + (unsigned)i % 3;
        bench_submit(&served, &job);
    }
    for (size_t i = 0; i < JOBS; i++) {
        int32_t tokens[LENGTH], expected[TOKENS];
        size_t n = 1 + i * 37 % 250, generated = 1 + i * 5 % TOKENS;
        fake_tokens(tokens, n, i, VOCABULARY);
        uint64_t hash = fake_hash(0, tokens, n);
        int32_t last = source ? 7 : tokens[n - 1];
        fake_greedy(&model, source ? hash_mix(hash, 7) : hash, last, expected, generated);
        bench_wait(&answers[i]);
        ck_assert_int_eq(answers[i].error.kind, ERROR_NONE);
        ck_assert_uint_eq(answers[i].usage.prompt_tokens, n);
        ck_assert_uint_eq(answers[i].usage.completion_tokens, generated * (1 + i % 3));
        for (unsigned c = 0; c < 1 + i % 3; c++) {
            ck_assert_uint_eq(answers[i].n[c], generated);
            ck_assert_mem_eq(answers[i].tokens[c], expected, generated * sizeof *expected);
            ck_assert_int_eq(answers[i].finish[c], ENGINE_FINISH_LENGTH);
        }
    }
    scheduler_stats(bench, &stats);
    ck_assert(!expect_preemption || stats.preemptions > 0);
    bench_close(all, 1);
}

START_TEST(a_state_goes_from_chunk_to_chunk_and_is_copied_for_choices)
{
    run_decoders(FAKE_RECURRENT, 1000, false);
    ck_assert_uint_gt(model.rows, 0);
}
END_TEST

START_TEST(states_survive_little_memory)
{
    run_decoders(FAKE_RECURRENT, 2, false);
    run_decoders(FAKE_RECURRENT, 1, false);
}
END_TEST

START_TEST(a_model_without_memory_runs_without_memory)
{
    run_decoders(FAKE_MEMORYLESS, 0, false);
    ck_assert_ptr_null(served.cache);
}
END_TEST

START_TEST(a_source_is_read_once_for_all_choices)
{
    run_decoders(FAKE_TRANSFORM, 1000, false);
    size_t sources = 0;
    for (size_t i = 0; i < 24; i++)
        sources += 1 + i * 37 % 250;
    ck_assert_uint_eq(model.encoded, sources);
    run_decoders(FAKE_TRANSFORM_STATE, 1000, false);
    ck_assert_uint_eq(model.encoded, sources);
}
END_TEST

START_TEST(sources_survive_preemption)
{
    run_decoders(FAKE_TRANSFORM, 12, true);
    run_decoders(FAKE_TRANSFORM_STATE, 10, false);
    run_decoders(FAKE_PLAIN, 12, true);
}
END_TEST

/* A choice that waits must not keep the source from an older job that grows: it gives way when the choice
 * beside it has ended. */
START_TEST(a_source_that_nobody_reads_gives_way)
{
    static struct fake_answer older, younger;
    struct engine_stats stats;
    fake_init(&model, FAKE_TRANSFORM, VOCABULARY);
    bench_open(14 * model_page_bytes(&model.base.shape, DTYPE_F32), 64);
    bench_serve(&served, &model);
    served.rules.start = 7;
    struct engine_job job = make(&older, ENGINE_TASK_GENERATE, 128, 1); /* 4 pages, with its answer 14 */
    job.max_tokens = 300;
    bench_submit(&served, &job);
    job = make(&younger, ENGINE_TASK_GENERATE, 192, 2); /* 6 pages, and 2 for each choice */
    job.max_tokens = 40;
    job.choices = 2;
    bench_submit(&served, &job);
    bench_wait(&older);
    bench_wait(&younger);
    ck_assert_int_eq(older.error.kind, ERROR_NONE);
    ck_assert_int_eq(younger.error.kind, ERROR_NONE);
    ck_assert_uint_eq(younger.n[1], 40);
    scheduler_stats(bench, &stats);
    ck_assert_uint_gt(stats.preemptions, 0);
    bench_close(all, 1);
}
END_TEST

START_TEST(the_checkpoints_rules_are_kept)
{
    static struct fake_answer a;
    int32_t source[30], expected[20];
    float logits[VOCABULARY];
    open_one(FAKE_TRANSFORM, 1 << 20);
    served.rules.forced_bos = 11;
    served.rules.forced_eos = 12;
    served.rules.max_length_ratio = 0.5f;
    fake_tokens(source, 30, 1, VOCABULARY);
    struct engine_job job = make(&a, ENGINE_TASK_GENERATE, 30, 1);
    job.max_tokens = 20; /* 15 by the ratio */
    job.logprobs = true;
    bench_submit(&served, &job);
    bench_wait(&a);
    uint64_t hash = hash_mix(fake_hash(0, source, 30), 7);
    fake_row(&model, hash, logits);
    fake_greedy(&model, hash_mix(hash, 11), 11, expected, 13);
    ck_assert_uint_eq(a.n[0], 15);
    ck_assert_int_eq(a.tokens[0][0], 11);
    ck_assert_mem_eq(a.tokens[0] + 1, expected, 13 * sizeof *expected);
    ck_assert_int_eq(a.tokens[0][14], 12);
    ck_assert_int_eq(a.finish[0], ENGINE_FINISH_LENGTH); /* it had no choice */
    ck_assert_float_lt(a.logprobs[0][0], 0);             /* the model's own */
    served.rules.forced_bos = served.rules.forced_eos = -1;
    served.rules.ends[0] = expected[4];
    served.rules.n_ends = 1;
    served.rules.suppressed[0] = (int32_t)row_argmax(logits, VOCABULARY);
    served.rules.n_suppressed = 1;
    job = make(&a, ENGINE_TASK_GENERATE, 30, 1);
    job.max_tokens = 20;
    bench_submit(&served, &job);
    bench_wait(&a);
    ck_assert_int_ne(a.tokens[0][0], served.rules.suppressed[0]);
    bench_close(all, 1);
}
END_TEST

START_TEST(an_end_of_the_checkpoint_ends)
{
    static struct fake_answer a;
    int32_t prompt[30], expected[20];
    open_one(FAKE_PLAIN, 1 << 20);
    fake_tokens(prompt, 30, 1, VOCABULARY);
    fake_greedy(&model, fake_hash(0, prompt, 30), 0, expected, 20);
    served.rules.ends[0] = expected[4];
    served.rules.n_ends = 1;
    size_t first = 0;
    while (expected[first] != expected[4])
        first++;
    struct engine_job job = make(&a, ENGINE_TASK_GENERATE, 30, 1);
    job.max_tokens = 20;
    bench_submit(&served, &job);
    bench_wait(&a);
    ck_assert_uint_eq(a.n[0], first + 1);
    ck_assert_int_eq(a.finish[0], ENGINE_FINISH_STOP);
    job = make(&a, ENGINE_TASK_GENERATE, 30, 1);
    job.max_tokens = 20;
    job.ignore_eos = true;
    bench_submit(&served, &job);
    bench_wait(&a);
    ck_assert_uint_eq(a.n[0], 20);
    bench_close(all, 1);
}
END_TEST

START_TEST(contexts_of_source_and_answer_are_checked_apart)
{
    static struct fake_answer a;
    open_one(FAKE_TRANSFORM, 1 << 20);
    model.base.shape.source_context = 100;
    model.base.context = 20;
    struct engine_job job = make(&a, ENGINE_TASK_GENERATE, 101, 0);
    job.max_tokens = 5;
    ck_assert_int_eq(bench_refused(&served, &job).kind, ERROR_CONTEXT_LENGTH);
    job = make(&a, ENGINE_TASK_GENERATE, 100, 0);
    job.max_tokens = 20;
    ck_assert_str_eq(bench_refused(&served, &job).param, "max_tokens");
    job = make(&a, ENGINE_TASK_GENERATE, 100, 0);
    job.max_tokens = 19;
    bench_submit(&served, &job);
    bench_wait(&a);
    ck_assert_uint_eq(a.n[0], 19);
    job = make(&a, ENGINE_TASK_GENERATE, 100, 0);
    job.prompt_logprobs = true;
    ck_assert_str_eq(bench_refused(&served, &job).param, "prompt_logprobs");
    job = make(&a, ENGINE_TASK_GENERATE, 100, 0); /* nothing to generate */
    bench_submit(&served, &job);
    bench_wait(&a);
    ck_assert_int_eq(a.finish[0], ENGINE_FINISH_LENGTH);
    served.rules.start = -1;
    job = make(&a, ENGINE_TASK_GENERATE, 10, 0);
    ck_assert_int_eq(bench_refused(&served, &job).kind, ERROR_UNSUPPORTED);
    bench_close(all, 1);
}
END_TEST

START_TEST(a_call_that_runs_out_of_memory_ends_its_jobs_and_no_others)
{
    static struct fake_family families[3];
    static struct served_model models[3];
    static struct fake_answer answers[3][4], other;
    struct served_model *list[3];
    static const enum fake_kind kinds[3] = {FAKE_PLAIN, FAKE_TRANSFORM, FAKE_ENCODER};
    bench_open(1 << 20, 64);
    for (int f = 0; f < 3; f++) {
        fake_init(&families[f], kinds[f], VOCABULARY);
        bench_serve(&models[f], &families[f]);
        models[f].rules.start = 7;
        list[f] = &models[f];
        families[f].fails = true;
        for (size_t i = 0; i < 4; i++) {
            struct engine_job job =
                make(&answers[f][i], f == 2 ? ENGINE_TASK_EMBED : ENGINE_TASK_GENERATE, 30, i);
            job.max_tokens = 5;
            job.choices = 2;
            bench_submit(&models[f], &job);
        }
    }
    for (int f = 0; f < 3; f++) {
        for (size_t i = 0; i < 4; i++) {
            bench_wait(&answers[f][i]);
            ck_assert_int_eq(answers[f][i].error.kind, ERROR_OUT_OF_MEMORY);
            ck_assert_uint_eq(answers[f][i].results, 0);
        }
    }
    families[0].fails = false;
    struct engine_job job = make(&other, ENGINE_TASK_GENERATE, 30, 0);
    job.max_tokens = 5;
    bench_submit(&models[0], &job);
    bench_wait(&other);
    ck_assert_uint_eq(other.n[0], 5);
    bench_close(list, 3);
}
END_TEST

/* Takes the job back to what is right and spoils one thing. */
static void check_refusal(struct fake_answer *a, int what, enum error_kind kind, const char *param)
{
    const struct engine_logit_bias bias = {VOCABULARY, 1};
    const struct engine_text empty = {"", 0};
    static const uint8_t types[10];
    struct engine_job job = make(a, ENGINE_TASK_GENERATE, 10, 0);
    job.max_tokens = 5;
    job.choices = what == 0 ? 0 : 1;
    job.top_logprobs = what == 1 ? LIMIT_TOP_LOGPROBS + 1 : 0;
    job.types = what == 2 ? types : NULL;
    job.n_prompt = what == 3 ? 0 : 10;
    job.prompt[9] = what == 4 ? VOCABULARY : 0;
    job.sampling.bias = &bias;
    job.sampling.n_bias = what == 5;
    job.stop = &empty;
    job.n_stop = what == 6;
    job.n_stop_tokens = what == 7 ? LIMIT_STOP_TOKENS + 1 : 0;
    struct error e = bench_refused(&served, &job);
    ck_assert_int_eq(e.kind, kind);
    ck_assert_str_eq(e.param, param);
}

START_TEST(a_job_that_is_wrong_is_refused_for_it)
{
    static struct fake_answer a;
    open_one(FAKE_PLAIN, 1 << 20);
    check_refusal(&a, 0, ERROR_INVALID_REQUEST, "n");
    check_refusal(&a, 1, ERROR_INVALID_REQUEST, "top_logprobs");
    check_refusal(&a, 2, ERROR_UNSUPPORTED, "types");
    check_refusal(&a, 3, ERROR_INVALID_REQUEST, "prompt");
    check_refusal(&a, 4, ERROR_INVALID_REQUEST, "prompt");
    check_refusal(&a, 5, ERROR_INVALID_REQUEST, "logit_bias");
    check_refusal(&a, 6, ERROR_INVALID_REQUEST, "stop");
    check_refusal(&a, 7, ERROR_INVALID_REQUEST, "");
    struct engine_job job = make(&a, ENGINE_TASK_TAG, 10, 0);
    ck_assert_ptr_nonnull(
        strstr(bench_refused(&served, &job).text, "token classification (it can do: generation"));
    bench_close(all, 1);
}
END_TEST

/* ---- beside each other ----------------------------------------------------------------------- */

START_TEST(families_share_ticks_and_nobody_waits_for_ever)
{
    enum { FAMILIES = 5, JOBS = 12 };
    static struct fake_family families[FAMILIES];
    static struct served_model models[FAMILIES];
    static struct fake_answer answers[FAMILIES][JOBS], stream;
    struct served_model *list[FAMILIES];
    static const enum fake_kind kinds[FAMILIES] = {FAKE_PLAIN, FAKE_RECURRENT, FAKE_ENCODER, FAKE_TRANSFORM,
                                                   FAKE_MEMORYLESS};
    bench_open(1 << 20, 64);
    for (size_t f = 0; f < FAMILIES; f++) {
        fake_init(&families[f], kinds[f], VOCABULARY);
        bench_serve(&models[f], &families[f]);
        models[f].rules.start = 7;
        list[f] = &models[f];
    }
    families[0].slow_us = 500;
    struct engine_job job = make(&stream, ENGINE_TASK_GENERATE, 5, 1000);
    job.max_tokens = 120;
    bench_submit(&models[0], &job);
    bench_wait_steps(&stream, 1);
    for (size_t i = 0; i < JOBS; i++) {
        for (size_t f = 0; f < FAMILIES; f++) {
            bool encoder = kinds[f] == FAKE_ENCODER;
            job =
                make(&answers[f][i], encoder ? ENGINE_TASK_CLASSIFY : ENGINE_TASK_GENERATE, 200 + i * 10, i);
            job.max_tokens = 20;
            bench_submit(&models[f], &job);
        }
    }
    for (size_t f = 0; f < FAMILIES; f++) {
        for (size_t i = 0; i < JOBS; i++) {
            bench_wait(&answers[f][i]);
            ck_assert_int_eq(answers[f][i].error.kind, ERROR_NONE);
            ck_assert_uint_eq(answers[f][i].n[0], kinds[f] == FAKE_ENCODER ? 0 : 20);
        }
    }
    bench_wait(&stream);
    ck_assert_uint_eq(stream.n[0], 120);
    ck_assert_uint_le(families[2].most_encoded,
                      200 + JOBS * 10); /* never two that are too large in one tick */
    bench_close(list, FAMILIES);
}
END_TEST

START_TEST(encoders_pass_decoders_that_wait_for_a_slot)
{
    static struct fake_family decoder, encoder;
    static struct served_model models[2];
    static struct fake_answer streams[40], vector;
    struct served_model *const list[] = {&models[0], &models[1]};
    bench_open(1 << 20, 64);
    fake_init(&decoder, FAKE_PLAIN, VOCABULARY);
    fake_init(&encoder, FAKE_ENCODER, VOCABULARY);
    bench_serve(&models[0], &decoder);
    bench_serve(&models[1], &encoder);
    decoder.slow_us = 1000;
    for (size_t i = 0; i < 40; i++) { /* 32 slots */
        struct engine_job job = make(&streams[i], ENGINE_TASK_GENERATE, 3, i);
        job.max_tokens = 100;
        bench_submit(&models[0], &job);
    }
    struct engine_job job = make(&vector, ENGINE_TASK_EMBED, 50, 0);
    bench_submit(&models[1], &job);
    bench_wait(&vector);
    ck_assert_int_eq(streams[0].finals, 0);
    for (size_t i = 0; i < 40; i++)
        bench_wait(&streams[i]);
    bench_close(list, 2);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("encode_jobs");
    TCase *c = tcase_create("jobs");
    tcase_set_timeout(c, 120);
    tcase_add_test(c, texts_of_many_lengths_are_pooled_in_every_way);
    tcase_add_test(c, labels_come_for_texts_and_for_tokens);
    tcase_add_test(c, masks_get_their_best_tokens);
    tcase_add_test(c, what_a_model_lacks_is_refused_by_name);
    tcase_add_test(c, encoders_can_be_cancelled_and_stopped);
    tcase_add_test(c, a_decoder_pools_its_prompt_chunk_by_chunk);
    tcase_add_test(c, a_state_goes_from_chunk_to_chunk_and_is_copied_for_choices);
    tcase_add_test(c, states_survive_little_memory);
    tcase_add_test(c, a_model_without_memory_runs_without_memory);
    tcase_add_test(c, a_source_is_read_once_for_all_choices);
    tcase_add_test(c, sources_survive_preemption);
    tcase_add_test(c, a_source_that_nobody_reads_gives_way);
    tcase_add_test(c, the_checkpoints_rules_are_kept);
    tcase_add_test(c, an_end_of_the_checkpoint_ends);
    tcase_add_test(c, contexts_of_source_and_answer_are_checked_apart);
    tcase_add_test(c, a_call_that_runs_out_of_memory_ends_its_jobs_and_no_others);
    tcase_add_test(c, a_job_that_is_wrong_is_refused_for_it);
    tcase_add_test(c, families_share_ticks_and_nobody_waits_for_ever);
    tcase_add_test(c, encoders_pass_decoders_that_wait_for_a_slot);
    suite_add_tcase(suite, c);
    return suite_run(suite);
}
