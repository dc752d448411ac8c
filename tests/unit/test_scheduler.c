/* test_scheduler.c - the scheduler with a model that has no weights but reads its pages.
 * The fake family writes each token into its place in the pages and derives the next token from every token
 * it finds there, so a wrong page, a missed copy, a stale prefix or a lost row changes the answer.  With a
 * period its text repeats itself most of the time, so that there is something to guess.  What each
 * prompt must give is computed here in a few lines, and compared under batching, preemption, prefixes and
 * choices.  With a kernel set that computes prompts otherwise than generated tokens a place tells which of
 * the two its token was computed as. */
#include <check.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/base/clock.h"
#include "engine/base/hash.h"
#include "engine/kernels/set.h"
#include "engine/models/arch.h"
#include "engine/schedule/scheduler.h"
#include "tests/unit/byte_vocabulary.h"
#include "tests/unit/suite.h"

enum { VOCABULARY = BYTE_VOCABULARY_SIZE, CONTEXT = 2048, MOST_LOGITS = 1024 };

/* ---- the fake family ------------------------------------------------------------------------- */

static atomic_size_t forward_rows;
static atomic_size_t most_rows, most_logits; /* of one call */
static int32_t next_tokens[MOST_LOGITS];     /* of the logit rows of the last one */
static atomic_uint slow_us, slow_row_us;

static size_t period; /* 0: no token has to do with an earlier one */

/* What follows n tokens that come to `hash`; `earlier`: what stands `period` before, where there is such a
 * place.  Three times of four the text repeats itself there. */
static int32_t next_token(uint64_t hash, size_t n, int32_t earlier)
{
    if (period > 0 && n >= period && hash / VOCABULARY % 4 > 0)
        return earlier;
    return (int32_t)(hash % (VOCABULARY - 1)); /* never the end token */
}

/* Index of what stands `period` before the token that follows n, or of some token. */
static size_t earlier_than(size_t n)
{
    return period > 0 && n >= period ? n - period : 0;
}

enum { GENERATED = 1 << 30 };

/* What a place holds. */
static uint64_t place_of(int32_t token, bool generated)
{
    return (uint64_t)(uint32_t)token | (generated ? GENERATED : 0);
}

static int32_t in_place(void *const *pages, size_t position)
{
    return ((int32_t *)pages[position / KV_PAGE_TOKENS])[position % KV_PAGE_TOKENS];
}

static int fake_forward(struct model *m, struct exec *x, const struct batch *b)
{
    size_t logit = 0;
    (void)m;
    ck_assert_uint_le(b->prompt_rows, b->rows);
    for (size_t i = 0; i < b->n_spans; i++) {
        const struct attention_span *s = &b->spans[i];
        for (size_t r = 0; r < s->rows; r++) {
            size_t row = s->first_row + r, position = s->first_position + r;
            uint64_t hash = 0;
            ck_assert_uint_eq(b->positions[row], position);
            ((int32_t *)s->pages[position / KV_PAGE_TOKENS])[position % KV_PAGE_TOKENS] =
                (int32_t)place_of(b->tokens[row], exec_prompt_differs(x) && row >= b->prompt_rows);
            if (logit == b->n_logit_rows || b->logit_rows[logit] != row)
                continue;
            for (size_t p = 0; p <= position; p++)
                hash = hash_mix(hash, (uint64_t)in_place(s->pages, p));
            int32_t earlier = in_place(s->pages, earlier_than(position + 1)) & ~GENERATED;
            ck_assert_uint_lt(logit, MOST_LOGITS);
            next_tokens[logit++] = next_token(hash, position + 1, earlier);
        }
    }
    ck_assert_uint_eq(logit, b->n_logit_rows);
    forward_rows += b->rows;
    if (b->rows > most_rows)
        most_rows = b->rows;
    if (slow_row_us)
        usleep(slow_row_us * (unsigned)b->rows);
    if (slow_us)
        usleep(slow_us);
    return 0;
}

static int fake_logits(struct model *m, struct exec *x, const struct batch *b, size_t first, size_t n,
                       float *out)
{
    (void)m;
    (void)x;
    ck_assert_uint_le(first + n, b->n_logit_rows);
    memset(out, 0, n * VOCABULARY * sizeof *out);
    for (size_t i = 0; i < n; i++)
        out[i * VOCABULARY + (size_t)next_tokens[first + i]] = 10;
    if (n > most_logits)
        most_logits = n;
    return 0;
}

static const struct arch fake_arch = {.name = "fake", .forward = fake_forward, .logits = fake_logits};
static struct model fake_model = {
    .arch = &fake_arch,
    .shape = {.vocabulary = VOCABULARY,
              .trained_context = CONTEXT,
              .layers = 1,
              .embedding = 16,
              .kv_layers = 1,
              .abilities = ENGINE_CAN_GENERATE,
              .kv_heads = 1,
              .head_dim = 16},
    .context = CONTEXT,
    .kv_dtype = DTYPE_F32,
};

static bool prompt_differs; /* in the scheduler that is open */

/* Writes the `more` tokens that follow the prompt text[0 .. n). */
static void continue_text(int32_t *text, size_t n, size_t more)
{
    uint64_t hash = 0;
    for (size_t i = 0; i < n + more; i++) {
        if (i >= n)
            text[i] = next_token(hash, i, text[earlier_than(i)]);
        hash = hash_mix(hash, place_of(text[i], prompt_differs && i >= n));
    }
}

/* ---- the bench ------------------------------------------------------------------------------- */

static struct pool *pool;
static struct exec *exec;
static struct scheduler *scheduler;
static struct served_model served;

static struct scheduler_options default_options(void)
{
    return (struct scheduler_options){.kv_memory = 4 << 20,
                                      .batch_tokens = 64,
                                      .max_sequences = 32,
                                      .queue_requests = 10000,
                                      .queue_tokens = 10000000,
                                      .queue_deadline_ns = UINT64_C(60000000000),
                                      .prefix_reuse = true};
}

static const struct kernel_set *kernels(bool differs)
{
    static const struct prompt_kernels prompt = {0}; /* the family computes nothing with them */
    static struct kernel_set set;
    set = *kernels_select("scalar", NULL);
    set.prompt = differs ? &prompt : NULL;
    return &set;
}

static void open_scheduler_with(struct scheduler_options o, bool differs)
{
    struct error e = {0};
    prompt_differs = differs;
    ck_assert_int_eq(pool_create(2, &pool, &e), 0);
    ck_assert_int_eq(exec_create(kernels(differs), pool, &exec, &e), 0);
    o.exec = exec;
    served = (struct served_model){.model = &fake_model, .tokenizer = byte_vocabulary()};
    generation_rules_init(&served.rules);
    slow_us = 0;
    slow_row_us = 0;
    forward_rows = 0;
    most_rows = 0;
    period = 0;
    ck_assert_int_eq(scheduler_create(&o, &scheduler, &e), 0);
}

static void open_scheduler(struct scheduler_options o)
{
    open_scheduler_with(o, false);
}

static void close_scheduler(void)
{
    scheduler_stop(scheduler);
    served_model_release(&served);
    scheduler_free(scheduler);
    tokenizer_free((struct tokenizer *)(uintptr_t)served.tokenizer);
    exec_free(exec);
    pool_free(pool);
}

enum { MOST_CHOICES = 4, MOST_TOKENS = 512 };

struct answer {
    int32_t tokens[MOST_CHOICES][MOST_TOKENS];
    size_t n[MOST_CHOICES];
    enum engine_finish finish[MOST_CHOICES];
    int32_t prompt[MOST_TOKENS * 4];
    size_t n_prompt, n_prompt_logprobs;
    int finals;
    enum error_kind error;
    struct engine_usage usage;
    uint64_t id;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;

static void on_event(void *user, const struct engine_event *event)
{
    struct answer *a = user;
    pthread_mutex_lock(&lock);
    ck_assert_int_eq(a->finals, 0); /* nothing follows the final event */
    for (size_t i = 0; i < event->n_tokens; i++) {
        if (event->kind == ENGINE_EVENT_PROMPT) {
            a->n_prompt_logprobs += event->tokens[i].has_logprob;
            a->prompt[a->n_prompt++] = event->tokens[i].id;
        } else {
            a->tokens[event->choice][a->n[event->choice]++] = event->tokens[i].id;
        }
    }
    if (event->kind == ENGINE_EVENT_STEP && event->finish != ENGINE_FINISH_NONE)
        a->finish[event->choice] = event->finish;
    if (event->kind == ENGINE_EVENT_FINAL) {
        a->finals++;
        a->error = event->error ? event->error->kind : ERROR_NONE;
        a->usage = event->usage;
    }
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
}

static void wait_final(struct answer *a)
{
    pthread_mutex_lock(&lock);
    while (!a->finals)
        pthread_cond_wait(&changed, &lock);
    pthread_mutex_unlock(&lock);
}

static void wait_tokens(struct answer *a, size_t n)
{
    pthread_mutex_lock(&lock);
    while (a->n[0] < n && !a->finals)
        pthread_cond_wait(&changed, &lock);
    pthread_mutex_unlock(&lock);
}

/* Prompt number `seed`: `shared` tokens that all have, then its own. */
static void make_prompt(int32_t *prompt, size_t n, size_t shared, uint64_t seed)
{
    for (size_t i = 0; i < n; i++)
        prompt[i] = (int32_t)(hash_mix(i < shared ? 0 : seed, i) % (VOCABULARY - 1));
}

static struct engine_job make_job(struct answer *a, size_t n_prompt, size_t shared, uint64_t seed,
                                  size_t max_tokens)
{
    struct engine_job job = {.n_prompt = n_prompt,
                             .max_tokens = max_tokens,
                             .choices = 1,
                             .sampling = {.top_p = 1, .repetition_penalty = 1},
                             .on_event = on_event,
                             .user = a};
    job.prompt = malloc(n_prompt * sizeof *job.prompt);
    make_prompt(job.prompt, n_prompt, shared, seed);
    memset(a, 0, sizeof *a);
    return job;
}

static void submit(struct engine_job *job)
{
    struct error e = {0};
    uint64_t id;
    ck_assert_msg(scheduler_submit_take(scheduler, &served, job, &id, &e) == 0, "%s", e.text);
    ck_assert_uint_ne(id, 0);
    ((struct answer *)job->user)->id = id;
}

static void check_answer(const struct answer *a, size_t n_prompt, size_t shared, uint64_t seed,
                         size_t max_tokens, unsigned choices)
{
    int32_t text[MOST_TOKENS * 5];
    make_prompt(text, n_prompt, shared, seed);
    continue_text(text, n_prompt, max_tokens);
    ck_assert_int_eq(a->error, ERROR_NONE);
    for (unsigned c = 0; c < choices; c++) {
        ck_assert_uint_eq(a->n[c], max_tokens);
        ck_assert_int_eq(a->finish[c], ENGINE_FINISH_LENGTH);
        ck_assert_mem_eq(a->tokens[c], text + n_prompt, max_tokens * sizeof *text);
    }
    ck_assert_uint_eq(a->usage.prompt_tokens, n_prompt);
    ck_assert_uint_eq(a->usage.completion_tokens, max_tokens * choices);
}

static struct engine_stats stats(void)
{
    struct engine_stats s;
    scheduler_stats(scheduler, &s);
    return s;
}

/* ---- tests ----------------------------------------------------------------------------------- */

enum { CROWD = 100 };

static void run_crowd_repeating(struct scheduler_options o, unsigned choices, bool differs, size_t repeats)
{
    static struct answer answers[CROWD];
    open_scheduler_with(o, differs);
    period = repeats;
    slow_us =
        repeats && o.max_sequences < CROWD ? 100 : 0; /* a tick costs more than its rows, as it should */
    for (size_t i = 0; i < CROWD; i++) {
        struct engine_job job = make_job(&answers[i], 40 + i * 7 % 300, i % 3 ? 100 : 0, i, 1 + i % 90);
        job.choices = choices;
        submit(&job);
    }
    for (size_t i = 0; i < CROWD; i++) {
        wait_final(&answers[i]);
        check_answer(&answers[i], 40 + i * 7 % 300, i % 3 ? 100 : 0, i, 1 + i % 90, choices);
    }
}

static void run_crowd(struct scheduler_options o, unsigned choices, bool differs)
{
    run_crowd_repeating(o, choices, differs, 0);
}

START_TEST(a_crowd_gets_the_answers_of_each_alone)
{
    run_crowd(default_options(), 1, _i == 1);
    struct engine_stats s = stats();
    ck_assert_uint_gt(s.prefix_hits, 0);
    ck_assert_uint_eq(s.jobs_finished, CROWD);
    ck_assert_uint_eq(s.kv_bytes_used, 0);
    close_scheduler();
}
END_TEST

START_TEST(logits_of_a_few_rows_are_there_at_a_time)
{
    struct scheduler_options o = default_options();
    o.max_sequences = CROWD;
    o.batch_tokens = 512;
    most_logits = 0;
    run_crowd(o, 1, false);
    ck_assert_uint_gt(most_logits, 16);
    ck_assert_uint_le(most_logits, 32);
    close_scheduler();
}
END_TEST

START_TEST(a_small_ceiling_preempts_and_changes_nothing)
{
    struct scheduler_options o = default_options();
    o.kv_memory = 20 * model_page_bytes(&fake_model.shape, DTYPE_F32);
    run_crowd(o, 1, _i == 1);
    struct engine_stats s = stats();
    ck_assert_uint_gt(s.preemptions, 0);
    ck_assert_uint_eq(s.kv_bytes_used, 0);
    ck_assert_uint_le(s.kv_bytes_cached, o.kv_memory);
    close_scheduler();
}
END_TEST

START_TEST(choices_share_the_prompt_and_part_where_they_write)
{
    run_crowd(default_options(), 3, _i == 1);
    close_scheduler();
    struct scheduler_options o = default_options();
    o.prefix_reuse = false;
    run_crowd(o, 4, _i == 1);
    ck_assert_uint_eq(stats().prefix_hits, 0);
    close_scheduler();
}
END_TEST

START_TEST(choices_survive_preemption)
{
    struct scheduler_options o = default_options();
    o.kv_memory = 24 * model_page_bytes(&fake_model.shape, DTYPE_F32);
    o.max_sequences = 8;
    run_crowd(o, 4, _i == 1);
    close_scheduler();
}
END_TEST

START_TEST(a_shared_prefix_is_computed_once)
{
    static struct answer answers[10];
    open_scheduler(default_options());
    for (uint64_t i = 0; i < 10; i++) {
        struct engine_job job = make_job(&answers[i], 1000, 960, i, 1);
        submit(&job);
        wait_final(&answers[i]);
        check_answer(&answers[i], 1000, 960, i, 1, 1);
        ck_assert_uint_eq(answers[i].usage.cached_tokens, i ? 960 : 0);
    }
    ck_assert_uint_eq(forward_rows, 1000 + 9 * 40);
    close_scheduler();
}
END_TEST

/* A conversation: the second prompt goes on after the first answer.  Returns its length. */
static size_t make_conversation(int32_t *text, size_t n_prompt, uint64_t seed, size_t n_answer, size_t n_more)
{
    size_t n = n_prompt + n_answer + n_more;
    make_prompt(text, n, 0, seed + 1);
    make_prompt(text, n_prompt, 0, seed);
    continue_text(text, n_prompt, n_answer);
    return n;
}

static void ask_on(struct answer *a, size_t n_prompt, uint64_t seed, size_t n_answer, size_t n_more,
                   size_t max_tokens)
{
    int32_t text[MOST_TOKENS * 4];
    size_t n = make_conversation(text, n_prompt, seed, n_answer, n_more);
    struct engine_job job = make_job(a, n, 0, 0, max_tokens);
    memcpy(job.prompt, text, n * sizeof *text);
    submit(&job);
}

static void check_on(const struct answer *a, size_t n_prompt, uint64_t seed, size_t n_answer, size_t n_more,
                     size_t max_tokens)
{
    int32_t text[MOST_TOKENS * 4];
    size_t n = make_conversation(text, n_prompt, seed, n_answer, n_more);
    continue_text(text, n, max_tokens);
    ck_assert_uint_eq(a->n[0], max_tokens);
    ck_assert_mem_eq(a->tokens[0], text + n, max_tokens * sizeof *text);
}

START_TEST(what_was_generated_is_a_prefix_only_where_prompts_are_computed_alike)
{
    static struct answer first, second;
    open_scheduler_with(default_options(), _i == 1);
    struct engine_job job = make_job(&first, 70, 0, 7, 100);
    submit(&job);
    wait_final(&first);
    check_answer(&first, 70, 0, 7, 100, 1);
    ask_on(&second, 70, 7, 100, 20, 10);
    wait_final(&second);
    check_on(&second, 70, 7, 100, 20, 10);
    ck_assert_uint_eq(second.usage.cached_tokens, _i == 1 ? 64 : 160);
    close_scheduler();
}
END_TEST

/* The older job has the younger one's answer in its prompt: its pages are not what the younger one, preempted
 * in the middle of that answer, may go on from. */
START_TEST(a_preempted_answer_is_not_continued_from_someones_prompt)
{
    static struct answer older, younger;
    struct scheduler_options o = default_options();
    o.kv_memory = 14 * model_page_bytes(&fake_model.shape, DTYPE_F32);
    open_scheduler_with(o, _i == 1);
    slow_us = 100;
    ask_on(&older, 70, 7, 100, 20, 200);
    struct engine_job job = make_job(&younger, 70, 0, 7, 150);
    submit(&job);
    wait_final(&younger);
    wait_final(&older);
    ck_assert_uint_gt(stats().preemptions, 0);
    check_on(&older, 70, 7, 100, 20, 200);
    check_answer(&younger, 70, 0, 7, 150, 1);
    close_scheduler();
}
END_TEST

START_TEST(guessed_tokens_save_ticks_and_change_nothing)
{
    static struct answer a;
    struct scheduler_options o = default_options();
    o.speculation = 8;
    open_scheduler_with(o, _i == 1);
    period = 40;
    struct engine_job job = make_job(&a, 100, 0, 1, 400);
    submit(&job);
    wait_final(&a);
    check_answer(&a, 100, 0, 1, 400, 1);
    struct engine_stats s = stats();
    ck_assert_uint_eq(s.generated_tokens, 400);
    ck_assert_uint_gt(s.accepted_tokens, 0);
    ck_assert_uint_gt(s.drafted_tokens, s.accepted_tokens);  /* some were wrong, and taken back */
    ck_assert_uint_eq(s.ticks, 2 + 399 - s.accepted_tokens); /* two read the prompt */
    ck_assert_uint_eq(forward_rows, 100 + 399 + s.drafted_tokens - s.accepted_tokens);
    ck_assert_uint_eq(s.kv_bytes_used, 0);
    close_scheduler();
}
END_TEST

START_TEST(nothing_is_guessed_when_told_so_or_where_nothing_repeats)
{
    static struct answer a;
    open_scheduler(default_options());
    period = 40;
    struct engine_job job = make_job(&a, 100, 0, 1, 400);
    submit(&job);
    wait_final(&a);
    check_answer(&a, 100, 0, 1, 400, 1);
    ck_assert_uint_eq(stats().drafted_tokens, 0);
    close_scheduler();
    struct scheduler_options o = default_options();
    o.speculation = 8;
    open_scheduler(o);
    job = make_job(&a, 100, 0, 1, 400);
    submit(&job);
    wait_final(&a);
    check_answer(&a, 100, 0, 1, 400, 1);
    ck_assert_uint_lt(stats().drafted_tokens, 40);
    close_scheduler();
}
END_TEST

/* Few at once, so that guessing pays whatever a row is found to cost; then many, with little memory. */
START_TEST(a_crowd_that_guesses_gets_the_answers_of_each_alone)
{
    struct scheduler_options o = default_options();
    o.speculation = 16;
    o.max_sequences = 2;
    run_crowd_repeating(o, 1, _i == 1, 30);
    ck_assert_uint_gt(stats().accepted_tokens, 0);
    ck_assert_uint_eq(stats().kv_bytes_used, 0);
    close_scheduler();
    run_crowd_repeating(o, 2, _i == 1, 70);
    ck_assert_uint_gt(stats().accepted_tokens, 0);
    close_scheduler();
    o.max_sequences = 32;
    o.kv_memory = 20 * model_page_bytes(&fake_model.shape, DTYPE_F32);
    o.batch_tokens = 24;
    run_crowd_repeating(o, 1, _i == 1, 30);
    ck_assert_uint_gt(stats().preemptions, 0);
    ck_assert_uint_eq(stats().kv_bytes_used, 0);
    close_scheduler();
}
END_TEST

START_TEST(a_prefix_that_is_being_computed_is_waited_for)
{
    static struct answer answers[10], other;
    open_scheduler_with(default_options(), _i == 1);
    slow_us = 200000; /* all are there before the first is far */
    for (uint64_t i = 0; i < 10; i++) {
        struct engine_job job = make_job(&answers[i], 1000, 960, i, 5);
        submit(&job);
    }
    struct engine_job job = make_job(&other, 90, 0, 100, 5);
    submit(&job);
    slow_us = 2000;
    wait_final(&other); /* nobody stands in its way */
    pthread_mutex_lock(&lock);
    ck_assert_int_eq(answers[9].finals, 0);
    pthread_mutex_unlock(&lock);
    for (uint64_t i = 0; i < 10; i++) {
        wait_final(&answers[i]);
        check_answer(&answers[i], 1000, 960, i, 5, 1);
        ck_assert_uint_eq(answers[i].usage.cached_tokens, i ? 960 : 0);
    }
    check_answer(&other, 90, 0, 100, 5, 1);
    ck_assert_uint_eq(forward_rows, 1000 + 9 * 40 + 90 + 11 * 4);
    close_scheduler();
}
END_TEST

START_TEST(who_waits_for_a_prefix_goes_on_when_it_does_not_come)
{
    static struct answer first, second, third;
    open_scheduler(default_options());
    slow_us = 3000;
    struct engine_job job = make_job(&first, 1500, 1400, 1, 5);
    submit(&job);
    job = make_job(&second, 1500, 1400, 2, 5);
    submit(&job);
    job = make_job(&third, 1500, 1400, 3, 5);
    submit(&job);
    while (forward_rows < 128)
        usleep(100);
    scheduler_cancel(scheduler, first.id);
    while (forward_rows < 512)
        usleep(100);
    scheduler_pause(scheduler, second.id, true);
    wait_final(&first);
    wait_final(&third);
    ck_assert_int_eq(first.error, ERROR_CANCELLED);
    check_answer(&third, 1500, 1400, 3, 5, 1);
    ck_assert_uint_lt(forward_rows, 2 * 1500); /* what was there was used */
    scheduler_pause(scheduler, second.id, false);
    wait_final(&second);
    check_answer(&second, 1500, 1400, 2, 5, 1);
    close_scheduler();
}
END_TEST

START_TEST(a_slow_machine_reads_less_at_once_beside_a_stream)
{
    static struct answer stream, reader;
    struct scheduler_options o = default_options();
    o.batch_tokens = 512;
    open_scheduler(o);
    slow_row_us = 3200;
    struct engine_job job = make_job(&stream, 70, 0, 1, 400);
    submit(&job);
    wait_tokens(&stream, 2);
    ck_assert_uint_eq(most_rows, 70); /* nobody was in its way, nothing was known */
    most_rows = 0;
    job = make_job(&reader, 200, 0, 2, 1);
    submit(&job);
    wait_final(&reader);
    slow_row_us = 0;
    ck_assert_uint_eq(most_rows, 1 + 64); /* the stream's row, and what is read */
    check_answer(&reader, 200, 0, 2, 1, 1);
    wait_final(&stream);
    check_answer(&stream, 70, 0, 1, 400, 1);
    close_scheduler();
}
END_TEST

START_TEST(salts_do_not_share)
{
    static struct answer answers[2];
    open_scheduler(default_options());
    for (uint64_t i = 0; i < 2; i++) {
        struct engine_job job = make_job(&answers[i], 500, 500, 0, 1);
        job.cache_salt = i;
        submit(&job);
        wait_final(&answers[i]);
        ck_assert_uint_eq(answers[i].usage.cached_tokens, 0);
    }
    close_scheduler();
}
END_TEST

START_TEST(prompt_logprobs_name_every_token_once)
{
    static struct answer a;
    struct scheduler_options o = default_options();
    o.kv_memory = 20 * model_page_bytes(&fake_model.shape, DTYPE_F32);
    open_scheduler(o);
    static struct answer others[8];
    for (uint64_t i = 0; i < 8; i++) {
        struct engine_job other = make_job(&others[i], 200, 0, 50 + i, 60);
        submit(&other);
    }
    struct engine_job job = make_job(&a, 333, 0, 5, 3);
    job.prompt_logprobs = true;
    job.top_logprobs = 2;
    submit(&job);
    wait_final(&a);
    check_answer(&a, 333, 0, 5, 3, 1);
    int32_t prompt[333];
    make_prompt(prompt, 333, 0, 5);
    ck_assert_uint_eq(a.n_prompt, 333);
    ck_assert_uint_eq(a.n_prompt_logprobs, 332);
    ck_assert_mem_eq(a.prompt, prompt, sizeof prompt);
    job = make_job(&a, 100, 0, 6, 0);
    job.prompt_logprobs = true;
    submit(&job);
    wait_final(&a);
    ck_assert_uint_eq(a.n_prompt, 100);
    ck_assert_int_eq(a.finish[0], ENGINE_FINISH_LENGTH);
    for (uint64_t i = 0; i < 8; i++)
        wait_final(&others[i]);
    close_scheduler();
}
END_TEST

START_TEST(cancelling_frees_pages_in_queue_prefill_and_decode)
{
    static struct answer decoding, prefilling, queued;
    struct scheduler_options o = default_options();
    o.max_sequences = 2;
    o.prefix_reuse = false;
    open_scheduler(o);
    slow_us = 5000;
    struct engine_job job = make_job(&decoding, 10, 0, 1, 500);
    submit(&job);
    wait_tokens(&decoding, 3);
    job = make_job(&prefilling, 1800, 0, 2, 200); /* holds its place however late we look */
    submit(&job);
    job = make_job(&queued, 10, 0, 3, 10);
    submit(&job);
    wait_tokens(&decoding, 6);
    ck_assert_uint_eq(stats().queued_jobs, 1);
    ck_assert_uint_gt(stats().kv_bytes_used, 0);
    scheduler_cancel(scheduler, queued.id);
    scheduler_cancel(scheduler, prefilling.id);
    scheduler_cancel(scheduler, decoding.id);
    scheduler_cancel(scheduler, 999999);
    wait_final(&queued);
    wait_final(&prefilling);
    wait_final(&decoding);
    ck_assert_int_eq(queued.error, ERROR_CANCELLED);
    ck_assert_int_eq(prefilling.error, ERROR_CANCELLED);
    ck_assert_int_eq(decoding.error, ERROR_CANCELLED);
    ck_assert_uint_eq(prefilling.n[0], 0);
    ck_assert_uint_eq(stats().kv_bytes_used, 0);
    ck_assert_uint_eq(stats().queued_jobs, 0);
    ck_assert_uint_eq(stats().queued_tokens, 0);
    ck_assert_uint_eq(stats().jobs_cancelled, 3);
    close_scheduler();
}
END_TEST

START_TEST(a_paused_job_stands_still_and_goes_on)
{
    static struct answer a, other;
    open_scheduler(default_options());
    slow_us = 1000;
    struct engine_job job = make_job(&a, 50, 0, 1, 300);
    submit(&job);
    wait_tokens(&a, 5);
    scheduler_pause(scheduler, a.id, true);
    job = make_job(&other, 50, 0, 2, 100);
    submit(&job);
    wait_tokens(&other, 3); /* at least one tick began after the pause */
    pthread_mutex_lock(&lock);
    size_t then = a.n[0];
    pthread_mutex_unlock(&lock);
    wait_final(&other);
    ck_assert_uint_eq(a.n[0], then);
    scheduler_pause(scheduler, a.id, false);
    wait_final(&a);
    check_answer(&a, 50, 0, 1, 300, 1);
    check_answer(&other, 50, 0, 2, 100, 1);
    close_scheduler();
}
END_TEST

START_TEST(the_queue_is_bounded_in_requests_and_tokens)
{
    static struct answer answers[8];
    struct error e = {0};
    uint64_t id;
    struct scheduler_options o = default_options();
    o.max_sequences = 1;
    o.queue_requests = 2;
    o.queue_tokens = 100;
    open_scheduler(o);
    slow_us = 2000;
    struct engine_job job = make_job(&answers[0], 10, 0, 0, 200);
    submit(&job);
    wait_tokens(&answers[0], 1);
    job = make_job(&answers[1], 60, 0, 1, 1);
    submit(&job);
    job = make_job(&answers[2], 60, 0, 2, 1);
    ck_assert_int_eq(scheduler_submit_take(scheduler, &served, &job, &id, &e), -1);
    ck_assert_int_eq(e.kind, ERROR_QUEUE_FULL);
    job = make_job(&answers[3], 40, 0, 3, 1);
    submit(&job);
    job = make_job(&answers[4], 1, 0, 4, 1);
    e.kind = ERROR_NONE;
    ck_assert_int_eq(scheduler_submit_take(scheduler, &served, &job, &id, &e), -1);
    ck_assert_int_eq(e.kind, ERROR_QUEUE_FULL);
    scheduler_drain(scheduler);
    job = make_job(&answers[5], 1, 0, 5, 1);
    e.kind = ERROR_NONE;
    ck_assert_int_eq(scheduler_submit_take(scheduler, &served, &job, &id, &e), -1);
    ck_assert_int_eq(e.kind, ERROR_DRAINING);
    wait_final(&answers[3]); /* what was accepted is finished */
    check_answer(&answers[0], 10, 0, 0, 200, 1);
    check_answer(&answers[1], 60, 0, 1, 1, 1);
    check_answer(&answers[3], 40, 0, 3, 1, 1);
    close_scheduler();
}
END_TEST

START_TEST(who_waits_too_long_is_told)
{
    static struct answer running, waiting;
    struct scheduler_options o = default_options();
    o.max_sequences = 1;
    o.queue_deadline_ns = 30000000;
    open_scheduler(o);
    slow_us = 2000;
    struct engine_job job = make_job(&running, 10, 0, 0, 100);
    submit(&job);
    wait_tokens(&running, 1);
    job = make_job(&waiting, 10, 0, 1, 1);
    submit(&job);
    wait_final(&waiting);
    ck_assert_int_eq(waiting.error, ERROR_DEADLINE);
    wait_final(&running);
    ck_assert_int_eq(running.error, ERROR_NONE);
    close_scheduler();
}
END_TEST

START_TEST(a_job_that_cannot_fit_is_refused_with_both_counts)
{
    static struct answer a;
    struct error e = {0};
    uint64_t id;
    open_scheduler(default_options());
    struct engine_job job = make_job(&a, 2000, 0, 0, 49);
    ck_assert_int_eq(scheduler_submit_take(scheduler, &served, &job, &id, &e), -1);
    ck_assert_int_eq(e.kind, ERROR_CONTEXT_LENGTH);
    ck_assert_ptr_nonnull(strstr(e.text, "maximum context length is 2048 tokens"));
    ck_assert_ptr_nonnull(strstr(e.text, "2000"));
    ck_assert_ptr_nonnull(strstr(e.text, "49"));
    job = make_job(&a, 2000, 0, 0, 48);
    submit(&job);
    wait_final(&a);
    check_answer(&a, 2000, 0, 0, 48, 1);
    close_scheduler();
}
END_TEST

START_TEST(stopping_ends_every_job_exactly_once)
{
    static struct answer answers[40];
    struct scheduler_options o = default_options();
    o.max_sequences = 4;
    open_scheduler(o);
    slow_us = 2000;
    for (uint64_t i = 0; i < 40; i++) {
        struct engine_job job = make_job(&answers[i], 30, 0, i, 400);
        submit(&job);
    }
    wait_tokens(&answers[0], 2);
    close_scheduler();
    for (int i = 0; i < 40; i++)
        ck_assert_int_eq(answers[i].finals, 1);
}
END_TEST

static void *submit_many(void *context)
{
    struct answer *answers = context;
    for (uint64_t i = 0; i < 50; i++) {
        struct engine_job job = make_job(&answers[i], 20 + i, 0, i, 20);
        submit(&job);
        if (i % 5 == 0)
            scheduler_cancel(scheduler, answers[i].id);
        stats();
    }
    return NULL;
}

START_TEST(many_threads_submit_and_cancel)
{
    static struct answer answers[4][50];
    pthread_t threads[4];
    open_scheduler(default_options());
    for (int t = 0; t < 4; t++)
        pthread_create(&threads[t], NULL, submit_many, answers[t]);
    for (int t = 0; t < 4; t++)
        pthread_join(threads[t], NULL);
    for (int t = 0; t < 4; t++) {
        for (uint64_t i = 0; i < 50; i++) {
            wait_final(&answers[t][i]);
            if (answers[t][i].error == ERROR_NONE)
                check_answer(&answers[t][i], 20 + i, 0, i, 20, 1);
            else
                ck_assert(i % 5 == 0 && answers[t][i].error == ERROR_CANCELLED);
        }
    }
    ck_assert_uint_eq(stats().kv_bytes_used, 0);
    close_scheduler();
}
END_TEST

START_TEST(the_heart_beats_while_idle)
{
    open_scheduler(default_options());
    usleep(400000);
    ck_assert_uint_lt(scheduler_heartbeat_age(scheduler), UINT64_C(10000000000));
    uint64_t before = clock_ns();
    while (scheduler_heartbeat_age(scheduler) > UINT64_C(200000000) &&
           clock_ns() - before < UINT64_C(10000000000))
        usleep(1000);
    ck_assert_uint_le(scheduler_heartbeat_age(scheduler), UINT64_C(10000000000));
    close_scheduler();
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("scheduler");
    TCase *c = tcase_create("jobs");
    tcase_set_timeout(c, 120);
    tcase_add_loop_test(c, a_crowd_gets_the_answers_of_each_alone, 0, 2);
    tcase_add_test(c, logits_of_a_few_rows_are_there_at_a_time);
    tcase_add_loop_test(c, a_small_ceiling_preempts_and_changes_nothing, 0, 2);
    tcase_add_loop_test(c, choices_share_the_prompt_and_part_where_they_write, 0, 2);
    tcase_add_loop_test(c, choices_survive_preemption, 0, 2);
    tcase_add_test(c, a_shared_prefix_is_computed_once);
    tcase_add_loop_test(c, what_was_generated_is_a_prefix_only_where_prompts_are_computed_alike, 0, 2);
    tcase_add_loop_test(c, a_preempted_answer_is_not_continued_from_someones_prompt, 0, 2);
    tcase_add_loop_test(c, guessed_tokens_save_ticks_and_change_nothing, 0, 2);
    tcase_add_test(c, nothing_is_guessed_when_told_so_or_where_nothing_repeats);
    tcase_add_loop_test(c, a_crowd_that_guesses_gets_the_answers_of_each_alone, 0, 2);
    tcase_add_loop_test(c, a_prefix_that_is_being_computed_is_waited_for, 0, 2);
    tcase_add_test(c, who_waits_for_a_prefix_goes_on_when_it_does_not_come);
    tcase_add_test(c, a_slow_machine_reads_less_at_once_beside_a_stream);
    tcase_add_test(c, salts_do_not_share);
    tcase_add_test(c, prompt_logprobs_name_every_token_once);
    tcase_add_test(c, cancelling_frees_pages_in_queue_prefill_and_decode);
    tcase_add_test(c, a_paused_job_stands_still_and_goes_on);
    tcase_add_test(c, the_queue_is_bounded_in_requests_and_tokens);
    tcase_add_test(c, who_waits_too_long_is_told);
    tcase_add_test(c, a_job_that_cannot_fit_is_refused_with_both_counts);
    tcase_add_test(c, stopping_ends_every_job_exactly_once);
    tcase_add_test(c, many_threads_submit_and_cancel);
    tcase_add_test(c, the_heart_beats_while_idle);
    suite_add_tcase(suite, c);
    return suite_run(suite);
}
