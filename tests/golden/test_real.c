/* test_real.c - real checkpoints against what the field's own implementations make of them: MiniLM's sentence
 * vectors (sentence-transformers) and Bergamot's translations (Marian's models, computed in float32 on their
 * int8 weights). The checkpoints lie in LOQUAT_REAL, as fetch.py puts them there; the references are in
 * tests/golden/real. */
#include <check.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/golden/jobs.h"
#include "tests/unit/suite.h"

#define COSINE          0.9999
#define ELEMENT         1e-4 /* of vectors of length 1 */
#define ELEMENT_BF16    2e-3 /* where weights and activations are rounded to bf16: 1.6e-3 was seen */
#define EQUAL_SENTENCES 0.9

struct loaded {
    struct engine *engine;
    struct engine_model *model;
    json_t *root;
};

static struct loaded load(const char *folder, const char *cases, const char *precision)
{
    struct engine_options options;
    const struct engine_model_options model_options = {.precision = precision};
    struct loaded l;
    struct error e = {0};
    json_error_t je;
    char path[4096];
    snprintf(path, sizeof path, "%s/golden/real/%s.json", TESTS_DIR, cases);
    l.root = json_load_file(path, 0, &je);
    ck_assert_msg(l.root != NULL, "%s: %s", path, je.text);
    engine_options_init(&options);
    options.kv_memory = UINT64_C(1) << 30;
    ck_assert_msg(engine_open(&options, &l.engine, &e) == 0, "%s", e.text);
    snprintf(path, sizeof path, "%s/%s", getenv("LOQUAT_REAL"), folder);
    ck_assert_msg(engine_load(l.engine, "m", path, &model_options, &l.model, &e) == 0, "%s", e.text);
    return l;
}

static void unload(struct loaded *l)
{
    json_decref(l->root);
    engine_close(l->engine);
}

static int32_t *ids_of_text(const struct loaded *l, const char *text, const json_t *expected, size_t *n)
{
    struct error e = {0};
    int32_t *ids;
    ck_assert_msg(engine_tokenize(engine_model_vocabulary(l->model), text, strlen(text), ENGINE_ADD_SPECIAL,
                                  NULL, 0, &ids, n, &e) == 0,
                  "%s", e.text);
    ck_assert_msg(*n == json_array_size(expected), "%s: %zu ids, expected %zu", text, *n,
                  json_array_size(expected));
    for (size_t i = 0; i < *n; i++)
        ck_assert_int_eq(ids[i], json_integer_value(json_array_get(expected, i)));
    return ids;
}

static void check_vector(const struct loaded *l, const json_t *c, double element)
{
    const json_t *expected = json_object_get(c, "mean_normalized");
    size_t n;
    double dot = 0, ours = 0, theirs = 0;
    int32_t *ids =
        ids_of_text(l, json_string_value(json_object_get(c, "text")), json_object_get(c, "input_ids"), &n);
    struct told *t = told_create(ids, n);
    t->job.task = ENGINE_TASK_EMBED; /* pooling: as the folder's own files say */
    job_start(l->engine, l->model, t);
    job_wait(t);
    ck_assert_uint_eq(t->n_cols, json_array_size(expected));
    for (size_t i = 0; i < t->n_cols; i++) {
        double x = (double)t->values[i], y = json_number_value(json_array_get(expected, i));
        dot += x * y;
        ours += x * x;
        theirs += y * y;
    }
    double cosine = dot / sqrt(ours * theirs);
    ck_assert_msg(cosine >= COSINE, "cosine %.8f", cosine);
    for (size_t i = 0; i < t->n_cols; i++) {
        double x = (double)t->values[i] / sqrt(ours);
        double y = json_number_value(json_array_get(expected, i)) / sqrt(theirs);
        ck_assert_msg(fabs(x - y) <= element, "%zu: %.8f, expected %.8f", i, x, y);
    }
    told_free(t);
    free(ids);
}

/* As they are in the file, and in bf16. */
START_TEST(minilm_makes_the_same_vectors)
{
    struct loaded l = load("minilm", "minilm", _i == 0 ? NULL : "bf16");
    ck_assert(engine_model_info(l.model)->pooling == ENGINE_POOLING_MEAN);
    size_t i, checked = 0;
    json_t *c;
    json_array_foreach(json_object_get(l.root, "cases"), i, c)
    {
        if (strcmp(json_string_value(json_object_get(c, "kind")), "embedding") != 0)
            continue;
        check_vector(&l, c, _i == 0 ? ELEMENT : ELEMENT_BF16);
        checked++;
    }
    ck_assert_uint_ge(checked, 10);
    unload(&l);
}
END_TEST

/* All sentences at once, so that they share batches. */
static void check_translations(const char *folder, const char *cases)
{
    struct loaded l = load(folder, cases, NULL);
    const json_t *list = json_object_get(l.root, "cases");
    struct told *told[256];
    size_t n = json_array_size(list), equal = 0;
    ck_assert(n > 0 && n <= 256);
    for (size_t i = 0; i < n; i++) {
        const json_t *c = json_array_get(list, i);
        size_t n_ids;
        int32_t *ids = ids_of_text(&l, json_string_value(json_object_get(c, "text")),
                                   json_object_get(c, "input_ids"), &n_ids);
        told[i] = told_create(ids, n_ids);
        told[i]->job.max_tokens = 200;
        job_start(l.engine, l.model, told[i]);
        free(ids);
    }
    for (size_t i = 0; i < n; i++) {
        const char *raw = json_string_value(json_object_get(json_array_get(list, i), "raw"));
        job_wait(told[i]);
        equal += strcmp(told[i]->choices[0].text, raw) == 0;
        if (strcmp(told[i]->choices[0].text, raw) != 0)
            printf("differs: %s\n expected: %s\n", told[i]->choices[0].text, raw);
        told_free(told[i]);
    }
    printf("%s: %zu of %zu translations are equal\n", cases, equal, n);
    ck_assert_double_ge((double)equal, EQUAL_SENTENCES * (double)n);
    unload(&l);
}

START_TEST(bergamot_translates_the_same_to_portuguese)
{
    check_translations("bergamot/en-pt", "bergamot-en-pt");
}
END_TEST

START_TEST(bergamot_translates_the_same_to_english)
{
    check_translations("bergamot/pt-en", "bergamot-pt-en");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("real");
    TCase *c = tcase_create("checkpoints");
    tcase_set_timeout(c, 300);
    if (!getenv("LOQUAT_REAL") || !*getenv("LOQUAT_REAL"))
        printf("skipped: real checkpoints (LOQUAT_REAL is not set)\n");
    else {
        tcase_add_loop_test(c, minilm_makes_the_same_vectors, 0, 2);
        tcase_add_test(c, bergamot_translates_the_same_to_portuguese);
        tcase_add_test(c, bergamot_translates_the_same_to_english);
    }
    suite_add_tcase(suite, c);
    return suite_run(suite);
}
