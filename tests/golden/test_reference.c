/* test_reference.c - whole checkpoints against what other implementations computed.
 * A case file is JSON: {"cases": [...]} with
 *   causal_lm   prompt (optional), input_ids, greedy_ids, step_top10 [[[id, log probability] …] …],
 * greedy_gaps perplexity  text, input_ids, window, window_nll, tokens_scored, perplexity computed in float32
 * on the dequantised weights.  Ours rounds activations to 8 bits, so the bounds are those measured for that
 * arithmetic: see TOP5_MEAN, SURE_GAP and PERPLEXITY. LOQUAT_REFERENCE_LONG=1 scores every window of a
 * perplexity case, otherwise two. */
#include <check.h>
#include <jansson.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/engine.h"
#include "engine/kernels/kernels.h"
#include "tests/unit/suite.h"

#define TOP5_MEAN       0.15 /* mean difference of the five best log probabilities, all steps of a file */
#define TOP5_MEAN_GEMMA 0.2
#define SURE_GAP        0.5 /* where the reference's best token leads by this much, ours is the same */
#define PERPLEXITY      0.005

/* ---- running one prompt ----------------------------------------------------------------------- */

struct scored {
    size_t n;
    struct {
        int32_t id;
        float logprob;
        unsigned n_top;
        struct engine_alternative top[10];
    } * tokens; /* prompt tokens */
    int32_t generated[256];
    size_t n_generated;
    bool done;
    struct error error;
    pthread_mutex_t lock;
    pthread_cond_t changed;
};

static void on_event(void *user, const struct engine_event *event)
{
    struct scored *s = user;
    pthread_mutex_lock(&s->lock);
    for (size_t i = 0; i < event->n_tokens; i++) {
        const struct engine_token *t = &event->tokens[i];
        if (event->kind == ENGINE_EVENT_STEP) {
            s->generated[s->n_generated++] = t->id;
            continue;
        }
        s->tokens[s->n].id = t->id;
        s->tokens[s->n].logprob = t->logprob;
        s->tokens[s->n].n_top = t->n_top < 10 ? t->n_top : 10;
        if (t->n_top)
            memcpy(s->tokens[s->n].top, t->top, s->tokens[s->n].n_top * sizeof *t->top);
        s->n++;
    }
    if (event->kind == ENGINE_EVENT_FINAL) {
        if (event->error)
            s->error = *event->error;
        s->done = true;
        pthread_cond_signal(&s->changed);
    }
    pthread_mutex_unlock(&s->lock);
}

static void run(struct engine *engine, struct engine_model *model, const int32_t *ids, size_t n,
                size_t max_tokens, bool logprobs, struct scored *s)
{
    struct error e = {0};
    uint64_t id;
    memset(s, 0, sizeof *s);
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->changed, NULL);
    s->tokens = calloc(n, sizeof *s->tokens);
    struct engine_job job = {.model = model,
                             .n_prompt = n,
                             .max_tokens = max_tokens,
                             .choices = 1,
                             .prompt_logprobs = logprobs,
                             .top_logprobs = logprobs ? 10 : 0,
                             .ignore_eos = true,
                             .on_event = on_event,
                             .user = s};
    engine_sampling_init(&job.sampling);
    job.prompt = malloc(n * sizeof *ids);
    memcpy(job.prompt, ids, n * sizeof *ids);
    ck_assert_msg(engine_submit_take(engine, &job, &id, &e) == 0, "%s", e.text);
    pthread_mutex_lock(&s->lock);
    while (!s->done)
        pthread_cond_wait(&s->changed, &s->lock);
    pthread_mutex_unlock(&s->lock);
    ck_assert_msg(s->error.kind == ERROR_NONE, "%s", s->error.text);
}

static void scored_free(struct scored *s)
{
    free(s->tokens);
    pthread_mutex_destroy(&s->lock);
    pthread_cond_destroy(&s->changed);
}

/* ---- cases ------------------------------------------------------------------------------------ */

static int32_t *ids_of(const json_t *array, size_t *n)
{
    *n = json_array_size(array);
    int32_t *ids = malloc((*n + 1) * sizeof *ids);
    for (size_t i = 0; i < *n; i++)
        ids[i] = (int32_t)json_integer_value(json_array_get(array, i));
    return ids;
}

static void check_ids(struct engine_model *model, const char *text, const json_t *expected, bool whole)
{
    struct error e = {0};
    size_t n, n_ours;
    int32_t *ids = ids_of(expected, &n), *ours;
    ck_assert_msg(engine_tokenize(engine_model_vocabulary(model), text, strlen(text),
                                  (whole ? ENGINE_ADD_SPECIAL : 0) | ENGINE_PARSE_SPECIAL, NULL, 0, &ours,
                                  &n_ours, &e) == 0,
                  "%s", e.text);
    ck_assert_uint_ge(n_ours, n); /* a perplexity case holds the first ids of its text */
    ck_assert(whole ? n_ours == n : true);
    ck_assert_mem_eq(ours, ids, n * sizeof *ids);
    free(ids);
    free(ours);
}

struct agreement {
    double difference;
    size_t n_differences, steps, same_best;
};

static void compare_step(const json_t *top, double gap, const struct engine_alternative *ours,
                         unsigned n_ours, struct agreement *a)
{
    int32_t best = (int32_t)json_integer_value(json_array_get(json_array_get(top, 0), 0));
    a->steps++;
    a->same_best += ours[0].id == best;
    ck_assert_msg(gap <= SURE_GAP || ours[0].id == best, "best token %d, expected %d, whose lead is %.3f",
                  ours[0].id, best, gap);
    for (size_t i = 0; i < 5; i++) {
        int32_t id = (int32_t)json_integer_value(json_array_get(json_array_get(top, i), 0));
        double expected = json_number_value(json_array_get(json_array_get(top, i), 1));
        for (unsigned k = 0; k < n_ours; k++) {
            if (ours[k].id == id) {
                a->difference += fabs((double)ours[k].logprob - expected);
                a->n_differences++;
            }
        }
    }
}

static void check_causal(struct engine *engine, struct engine_model *model, const json_t *c,
                         struct agreement *a)
{
    size_t n, n_greedy;
    int32_t *ids = ids_of(json_object_get(c, "input_ids"), &n);
    int32_t *greedy = ids_of(json_object_get(c, "greedy_ids"), &n_greedy);
    const json_t *steps = json_object_get(c, "step_top10"), *gaps = json_object_get(c, "greedy_gaps");
    struct scored s;
    if (json_object_get(c, "prompt"))
        check_ids(model, json_string_value(json_object_get(c, "prompt")), json_object_get(c, "input_ids"),
                  true);
    ids = realloc(ids, (n + n_greedy) * sizeof *ids);
    memcpy(ids + n, greedy, n_greedy * sizeof *ids);
    run(engine, model, ids, n + n_greedy, 0, true, &s); /* teacher forced */
    for (size_t i = 0; i < n_greedy; i++)
        compare_step(json_array_get(steps, i), json_number_value(json_array_get(gaps, i)),
                     s.tokens[n + i].top, s.tokens[n + i].n_top, a);
    scored_free(&s);
    run(engine, model, ids, n, n_greedy, false, &s); /* free running, up to the first close call */
    for (size_t i = 0; i < n_greedy && json_number_value(json_array_get(gaps, i)) > SURE_GAP; i++)
        ck_assert_int_eq(s.generated[i], greedy[i]);
    scored_free(&s);
    free(ids);
    free(greedy);
}

static void check_perplexity(struct engine *engine, struct engine_model *model, const json_t *c)
{
    size_t n, window = (size_t)json_integer_value(json_object_get(c, "window"));
    int32_t *ids = ids_of(json_object_get(c, "input_ids"), &n);
    const json_t *expected = json_object_get(c, "window_nll");
    size_t windows = getenv("LOQUAT_REFERENCE_LONG") ? json_array_size(expected) : 2;
    bool bos = json_is_true(json_object_get(c, "bos_in_each_window")); /* it takes the place of one token */
    int32_t *row = malloc(window * sizeof *row);
    double sum = 0, reference = 0;
    check_ids(model, json_string_value(json_object_get(c, "text")), json_object_get(c, "input_ids"), false);
    for (size_t w = 0; w < windows; w++) {
        struct scored s;
        row[0] = engine_model_info(model)->bos;
        memcpy(row + bos, ids + w * (window - bos), (window - bos) * sizeof *row);
        run(engine, model, row, window, 0, true, &s);
        ck_assert_uint_eq(s.n, window);
        for (size_t i = 1; i < window; i++)
            sum -= (double)s.tokens[i].logprob;
        reference += json_number_value(json_array_get(expected, w)) * (double)(window - 1);
        scored_free(&s);
    }
    double scored = (double)(windows * (window - 1));
    double ratio = exp(sum / scored - reference / scored);
    printf("perplexity over %zu windows: %.4f, reference %.4f (%+.3f%%)\n", windows, exp(sum / scored),
           exp(reference / scored), (ratio - 1) * 100);
    ck_assert_double_lt(fabs(ratio - 1), PERPLEXITY);
    free(row);
    free(ids);
}

static void check_file(const char *model_path, const char *cases_path, const char *kernels, double bound)
{
    struct engine_options options;
    struct engine_model_options model_options = {.context = 0};
    struct engine *engine;
    struct engine_model *model;
    struct error e = {0};
    json_error_t je;
    json_t *root = json_load_file(cases_path, 0, &je);
    ck_assert_msg(root != NULL, "%s: %s", cases_path, je.text);
    engine_options_init(&options);
    options.kernels = kernels;
    ck_assert_msg(engine_open(&options, &engine, &e) == 0, "%s", e.text);
    ck_assert_msg(engine_load(engine, "m", model_path, &model_options, &model, &e) == 0, "%s", e.text);
    struct agreement a = {0};
    size_t i;
    json_t *c;
    json_array_foreach(json_object_get(root, "cases"), i, c)
    {
        const char *kind = json_string_value(json_object_get(c, "kind"));
        if (strcmp(kind, "causal_lm") == 0)
            check_causal(engine, model, c, &a);
        else if (strcmp(kind, "perplexity") == 0)
            check_perplexity(engine, model, c);
        else
            ck_abort_msg("unknown kind %s", kind);
    }
    double mean = a.difference / (double)(a.n_differences ? a.n_differences : 1);
    printf("%s: top-5 log probabilities differ by %.4f on average over %zu steps, best token equal in %zu\n",
           cases_path, mean, a.steps, a.same_best);
    ck_assert_uint_gt(a.steps, 0);
    ck_assert_double_lt(mean, bound);
    json_decref(root);
    engine_close(engine);
}

static const char *const small[] = {"tiny-llama", "tiny-llama-linear", "tiny-llama-factors"};

/* Every kernel set that this machine has, on the checkpoints that the repository carries. */
START_TEST(small_checkpoints_agree_on_every_kernel_set)
{
    const char *name, *why_not;
    for (size_t i = 0; kernels_at(i, &name, &why_not); i++) {
        if (why_not) {
            printf("skipped: kernels %s (%s)\n", name, why_not);
            continue;
        }
        char model[4096], cases[4096];
        snprintf(model, sizeof model, "%s/golden/models/%s.gguf", TESTS_DIR, small[_i]);
        snprintf(cases, sizeof cases, "%s/golden/models/%s.json", TESTS_DIR, small[_i]);
        printf("kernels %s: ", name);
        check_file(model, cases, name, TOP5_MEAN);
    }
}
END_TEST

START_TEST(default_checkpoint_agrees_with_float32_on_dequantised_weights)
{
    check_file(getenv("LOQUAT_TEST_MODEL"), TESTS_DIR "/golden/real/smollm2-135m-instruct-q4_1.json", NULL,
               TOP5_MEAN);
}
END_TEST

START_TEST(gemma_agrees_with_float32_on_dequantised_weights)
{
    char model[4096];
    snprintf(model, sizeof model, "%s/gemma-3-270m-q4_k_m/model.gguf", getenv("LOQUAT_REAL"));
    check_file(model, TESTS_DIR "/golden/real/gemma-3-270m-q4_k_m.json", NULL, TOP5_MEAN_GEMMA);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("reference");
    TCase *c = tcase_create("checkpoints");
    tcase_set_timeout(c, 900);
    tcase_add_loop_test(c, small_checkpoints_agree_on_every_kernel_set, 0, sizeof small / sizeof small[0]);
    if (getenv("LOQUAT_TEST_MODEL") && *getenv("LOQUAT_TEST_MODEL"))
        tcase_add_test(c, default_checkpoint_agrees_with_float32_on_dequantised_weights);
    else
        printf("skipped: default checkpoint against its references (LOQUAT_TEST_MODEL is not set)\n");
    if (getenv("LOQUAT_REAL") && *getenv("LOQUAT_REAL"))
        tcase_add_test(c, gemma_agrees_with_float32_on_dequantised_weights);
    else
        printf("skipped: Gemma against its references (LOQUAT_REAL is not set)\n");
    suite_add_tcase(suite, c);
    return suite_run(suite);
}
