/* test_arithmetic.c - what a model answers may depend on the prompt, the options and the arithmetic, and on
 * nothing else: not on the batch, a cached prefix, preemption or how the prompt is cut, to the last bit of
 * every log probability.  In exact arithmetic not on the kernel set either.  In a second program the amx set
 * runs too, over emulated tiles: it computes prompts otherwise than generated tokens. Checkpoints: the small
 * ones of the repository, and LOQUAT_TEST_MODEL where it is set. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/kernels/kernels.h"
#include "tests/golden/jobs.h"
#include "tests/unit/suite.h"

enum { PROMPTS = 6, GENERATED = 24 };

static const char *const files[] = {"tiny-llama", "tiny-llama-linear", "tiny-llama-factors", NULL};
enum { FILES = sizeof files / sizeof files[0] };

/* Two begin alike, so that a prefix of two pages is shared; lengths that fill no whole tiles or pages. */
static const char *const prompts[PROMPTS] = {
    "ROMEO:\n",
    "What light is this that breaks through yonder window of the house, and who is it that calls my name at "
    "this late hour of the night? I was asleep, and dreamed that all the world had come to an end, and you",
    "What light is this that breaks through yonder window of the house, and who is it that calls my name at "
    "this late hour of the night? I was asleep, and dreamed that all the world had come to an end, but then",
    "The king said: ",
    "1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31 32 33 34 35",
    "First Citizen:\nBefore we proceed any further, hear me speak.\n\nAll:\nSpeak, speak.\n"};

struct bench {
    struct engine *engine;
    struct engine_model *model;
    struct told *told[PROMPTS];
};

static const char *path_of(int file)
{
    static char path[4096];
    if (!files[file])
        return getenv("LOQUAT_TEST_MODEL");
    snprintf(path, sizeof path, "%s/golden/models/%s.gguf", TESTS_DIR, files[file]);
    return path;
}

static void open_bench(struct bench *b, int file, const struct engine_options *o, const char *kv_type)
{
    const struct engine_model_options model_options = {.context = 256, .kv_type = kv_type};
    struct error e = {0};
    memset(b, 0, sizeof *b);
    ck_assert_msg(engine_open(o, &b->engine, &e) == 0, "%s", e.text);
    ck_assert_msg(engine_load(b->engine, "m", path_of(file), &model_options, &b->model, &e) == 0, "%s",
                  e.text);
}

static void close_bench(struct bench *b)
{
    for (size_t i = 0; i < PROMPTS; i++)
        if (b->told[i])
            told_free(b->told[i]);
    engine_close(b->engine);
}

static void start(struct bench *b, size_t i)
{
    int32_t *ids;
    size_t n;
    struct error e = {0};
    ck_assert_int_eq(engine_tokenize(engine_model_vocabulary(b->model), prompts[i], strlen(prompts[i]), 0,
                                     NULL, 0, &ids, &n, &e),
                     0);
    if (b->told[i])
        told_free(b->told[i]);
    b->told[i] = told_create(ids, n);
    b->told[i]->job.max_tokens = GENERATED;
    b->told[i]->job.logprobs = true;
    b->told[i]->job.top_logprobs = JOB_TOP;
    b->told[i]->job.ignore_eos = true;
    free(ids);
    job_start(b->engine, b->model, b->told[i]);
}

static void ask_each(struct bench *b)
{
    for (size_t i = 0; i < PROMPTS; i++) {
        start(b, i);
        job_wait(b->told[i]);
    }
}

static void ask_all(struct bench *b)
{
    for (size_t i = 0; i < PROMPTS; i++)
        start(b, i);
    for (size_t i = 0; i < PROMPTS; i++)
        job_wait(b->told[i]);
}

static void same_answers(const struct bench *a, const struct bench *b, const char *what)
{
    for (size_t i = 0; i < PROMPTS; i++) {
        const struct told_choice *x = &a->told[i]->choices[0], *y = &b->told[i]->choices[0];
        ck_assert_uint_eq(x->n, GENERATED);
        ck_assert_uint_eq(y->n, GENERATED);
        for (size_t t = 0; t < GENERATED; t++)
            ck_assert_msg(memcmp(&x->tokens[t], &y->tokens[t], sizeof x->tokens[t]) == 0,
                          "%s: prompt %zu, token %zu is %d (%.9g), was %d (%.9g)", what, i, t,
                          y->tokens[t].id, (double)y->tokens[t].logprob, x->tokens[t].id,
                          (double)x->tokens[t].logprob);
    }
}

static struct engine_options options_of(const char *kernels, const char *arithmetic)
{
    struct engine_options o;
    engine_options_init(&o);
    o.kernels = kernels;
    o.arithmetic = arithmetic;
    o.threads = 2;
    return o;
}

/* Against each prompt alone, read in one piece, without a cache. */
static void compare_ways(int file, const char *kernels, const char *kv_type)
{
    struct engine_options o = options_of(kernels, "fast");
    struct bench alone, b;
    o.prefix_reuse = false;
    o.batch_tokens = 512;
    open_bench(&alone, file, &o, kv_type);
    ask_each(&alone);

    o.batch_tokens = 19; /* prompts in pieces that fill no tile, beside streams */
    open_bench(&b, file, &o, kv_type);
    ask_all(&b);
    same_answers(&alone, &b, "in a batch, prompts in pieces");
    close_bench(&b);

    o.prefix_reuse = true;
    o.batch_tokens = 512;
    open_bench(&b, file, &o, kv_type);
    ask_all(&b);
    same_answers(&alone, &b, "in a batch");
    ask_each(&b);
    same_answers(&alone, &b, "with a cached prefix");
    close_bench(&b);
    close_bench(&alone);
}

static bool has_file(int file)
{
    return path_of(file) && *path_of(file);
}

/* The scalar set would take a minute for a real checkpoint; test_kernels.c holds the others to it. */
static bool is_quick(const char *name, int file)
{
    return files[file] || strcmp(name, "scalar") != 0;
}

START_TEST(answers_do_not_depend_on_the_batch_or_the_cache)
{
    const char *name, *why_not;
    if (!has_file(_i))
        return;
    for (size_t i = 0; kernels_at(i, &name, &why_not); i++)
        if (!why_not && strcmp(name, "openblas") != 0 && is_quick(name, _i))
            compare_ways(_i, name, NULL);
}
END_TEST

START_TEST(nor_do_they_over_bf16_pages)
{
    const char *name, *why_not;
    for (size_t i = 0; kernels_at(i, &name, &why_not); i++)
        if (!why_not && strcmp(name, "openblas") != 0)
            compare_ways(0, name, "bf16");
}
END_TEST

/* Every set against the first of them. */
static void compare_sets(int file, const char *kv_type)
{
    const char *name, *why_not;
    const struct kernel_set *set;
    struct bench first = {0}, b;
    for (size_t i = 0; (set = kernels_at(i, &name, &why_not)); i++) {
        if (why_not || !kernels_exact(set) || !is_quick(name, file))
            continue;
        struct engine_options o = options_of(name, "exact");
        struct bench *now = first.engine ? &b : &first;
        open_bench(now, file, &o, kv_type);
        ask_all(now);
        if (now == &first)
            continue;
        same_answers(&first, &b, name);
        close_bench(&b);
        printf("exact arithmetic: the same bytes on %s as on %s\n", name, engine_kernels(first.engine));
    }
    if (first.engine)
        close_bench(&first);
}

START_TEST(exact_arithmetic_gives_the_same_bytes_on_every_set)
{
    if (!has_file(_i))
        return;
    compare_sets(_i, NULL);
}
END_TEST

START_TEST(so_it_does_over_bf16_pages)
{
    compare_sets(0, "bf16");
}
END_TEST

START_TEST(an_arithmetic_that_cannot_be_is_refused)
{
    struct engine *engine;
    struct error e = {0};
    struct engine_options o = options_of("openblas", "exact");
    ck_assert_int_eq(engine_open(&o, &engine, &e), -1);
    ck_assert_int_eq(e.kind, ERROR_BAD_OPTION);
    ck_assert_str_eq(e.param, "arithmetic");
    o = options_of("scalar", "quick");
    error_clear(&e);
    ck_assert_int_eq(engine_open(&o, &engine, &e), -1);
    ck_assert_ptr_nonnull(strstr(e.text, "fast, exact"));
}
END_TEST

START_TEST(a_kv_type_that_cannot_be_is_refused)
{
    struct engine *engine;
    struct engine_model *model;
    struct error e = {0};
    const struct engine_options o = options_of("scalar", NULL);
    const struct engine_model_options wish = {.kv_type = "f64"};
    ck_assert_int_eq(engine_open(&o, &engine, &e), 0);
    ck_assert_int_eq(engine_load(engine, "m", path_of(0), &wish, &model, &e), -1);
    ck_assert_int_eq(e.kind, ERROR_BAD_OPTION);
    ck_assert_str_eq(e.param, "kv-type");
    ck_assert_ptr_nonnull(strstr(e.text, "f16, bf16, f32 or auto"));
    engine_close(engine);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("arithmetic");
    TCase *c = tcase_create("arithmetic");
    tcase_set_timeout(c, 600);
    if (!has_file(FILES - 1))
        printf("skipped: the default checkpoint (LOQUAT_TEST_MODEL is not set)\n");
    tcase_add_loop_test(c, answers_do_not_depend_on_the_batch_or_the_cache, 0, FILES);
    tcase_add_loop_test(c, exact_arithmetic_gives_the_same_bytes_on_every_set, 0, FILES);
    tcase_add_test(c, nor_do_they_over_bf16_pages);
    tcase_add_test(c, so_it_does_over_bf16_pages);
    tcase_add_test(c, an_arithmetic_that_cannot_be_is_refused);
    tcase_add_test(c, a_kv_type_that_cannot_be_is_refused);
    suite_add_tcase(suite, c);
    return suite_run(suite);
}
