/* test_families.c - every family, head and format against what the field's own implementations computed.
 * A reference folder has models/NAME (a checkpoint as published) and cases/NAME.json: {"cases": [{"kind",
 * …}]}. Ours is tests/golden/families; LOQUAT_CONFORMANCE names another.  Each model runs with the scalar
 * kernels and with the best set of the machine.  Weights are float, so the bounds are those of float32
 * arithmetic: see LOGIT, PROBABILITY, EMBEDDING and SURE_GAP.  LOQUAT_ONLY=NAME runs one model. */
#include <check.h>
#include <dirent.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/limits.h"
#include "tests/golden/jobs.h"
#include "tests/unit/suite.h"

#define LOGIT       1e-3
#define OF_LARGEST  2e-5 /* and this much of the largest logit */
#define PROBABILITY 1e-4
#define EMBEDDING   1e-4
#define SURE_GAP    0.005 /* greedy tokens are equal while the reference's best leads by more */
#define BEAM_GAP    1e-3

struct place {
    struct engine *engine;
    struct engine_model *model;
    const struct engine_model_info *info;
    const json_t *c; /* the case */
    char name[512];  /* "model: case i (kind)" */
};

#define CHECK(p, condition, format, ...) ck_assert_msg(condition, "%s: " format, (p)->name, __VA_ARGS__)

static const json_t *get(const struct place *p, const char *key)
{
    return json_object_get(p->c, key);
}

static const char *text_of(const json_t *object, const char *key)
{
    return json_string_value(json_object_get(object, key));
}

static double number_at(const json_t *list, size_t i)
{
    return json_number_value(json_array_get(list, i));
}

static int32_t *ids_of(const json_t *list, size_t *n)
{
    *n = json_array_size(list);
    int32_t *ids = malloc((*n + 1) * sizeof *ids);
    for (size_t i = 0; i < *n; i++)
        ids[i] = (int32_t)json_integer_value(json_array_get(list, i));
    return ids;
}

static double largest(const json_t *list)
{
    double most = 0;
    for (size_t i = 0; i < json_array_size(list); i++)
        most = fmax(most, fabs(number_at(list, i)));
    return most;
}

/* Bound of a logit or log probability of this case: the largest logit counts where the case has it. */
static double logit_bound(const struct place *p)
{
    double most = fmax(largest(get(p, "logits_last")), largest(get(p, "logits_first_step")));
    return fmax(LOGIT, OF_LARGEST * fmax(most, 70));
}

/* ---- ids -------------------------------------------------------------------------------------- */

static void check_same_ids(const struct place *p, const char *what, const int32_t *ours, size_t n,
                           const json_t *expected)
{
    size_t n_expected;
    int32_t *ids = ids_of(expected, &n_expected);
    for (size_t i = 0; i < n && i < n_expected; i++)
        CHECK(p, ours[i] == ids[i], "%s: id %zu is %d, expected %d", what, i, ours[i], ids[i]);
    CHECK(p, n == n_expected, "%s: %zu ids, expected %zu", what, n, n_expected);
    free(ids);
}

/* The text (or pair) as the tokenizer sees it, compared with the reference's ids. */
static void encode(const struct place *p, const json_t *text_value, const json_t *pair_value,
                   const json_t *expected, struct engine_encoding *out)
{
    const char *text = json_string_value(text_value), *pair = json_string_value(pair_value);
    size_t len = json_string_length(text_value), pair_len = pair ? json_string_length(pair_value) : 0;
    const struct engine_vocabulary *v = engine_model_vocabulary(p->model);
    unsigned flags = ENGINE_ADD_SPECIAL | ENGINE_PARSE_SPECIAL;
    struct error e = {0};
    CHECK(p, engine_encode(v, text, len, pair, pair_len, flags, out, &e) == 0, "%s", e.text);
    check_same_ids(p, "engine_encode", out->ids, out->n, expected);
    if (!pair) {
        int32_t *ids;
        size_t n;
        CHECK(p, engine_tokenize(v, text, len, flags, NULL, 0, &ids, &n, &e) == 0, "%s", e.text);
        check_same_ids(p, "engine_tokenize", ids, n, expected);
        free(ids);
    }
}

/* The prompt ids of a case or a row of one; from its text where it has one. */
static int32_t *prompt_ids(const struct place *p, const json_t *c, size_t *n)
{
    const json_t *expected = json_object_get(c, "input_ids");
    const json_t *prompt = json_object_get(c, "prompt");
    const json_t *text = prompt ? prompt : json_object_get(c, "text");
    if (text) {
        struct engine_encoding x;
        encode(p, text, NULL, expected, &x);
        engine_encoding_free(&x);
    }
    return ids_of(expected, n);
}

/* ---- generation ------------------------------------------------------------------------------- */

static void check_top(const struct place *p, const char *what, const struct told_token *t, const json_t *top,
                      double bound)
{
    for (size_t i = 0; i < json_array_size(top) && i < t->n_top; i++) {
        int32_t id = (int32_t)number_at(json_array_get(top, i), 0);
        double expected = number_at(json_array_get(top, i), 1);
        bool found = false;
        for (unsigned k = 0; k < t->n_top; k++) {
            if (t->top[k].id != id)
                continue;
            found = true;
            CHECK(p, fabs((double)t->top[k].logprob - expected) <= bound,
                  "%s: log probability of %d is %.5f, expected %.5f", what, id, (double)t->top[k].logprob,
                  expected);
        }
        CHECK(p,
              found || i + 1 == json_array_size(top) ||
                  expected - number_at(json_array_get(top, json_array_size(top) - 1), 1) < 2 * bound,
              "%s: %d is not among our best", what, id);
    }
}

static double gap_at(const json_t *c, size_t i)
{
    const json_t *gaps = json_object_get(c, "greedy_gaps");
    const json_t *top5 = json_array_get(json_object_get(c, "greedy_step_top5"), i);
    if (gaps)
        return number_at(gaps, i);
    if (top5)
        return number_at(json_array_get(top5, 0), 1) - number_at(json_array_get(top5, 1), 1);
    return json_number_value(json_object_get(c, "min_greedy_gap"));
}

/* skip: start tokens that the reference's list begins with. */
static void check_greedy(const struct place *p, const json_t *c, const struct told_choice *ours, size_t skip)
{
    size_t n;
    int32_t *greedy = ids_of(json_object_get(c, "greedy_ids"), &n);
    const json_t *steps = json_object_get(c, "greedy_step_top10");
    for (size_t i = skip; i < n; i++) {
        if (gap_at(c, i - skip) <= SURE_GAP)
            goto close_call;
        CHECK(p, ours->n > i - skip, "only %zu tokens were generated", ours->n);
        CHECK(p, ours->tokens[i - skip].id == greedy[i], "greedy token %zu is %d, expected %d", i - skip,
              ours->tokens[i - skip].id, greedy[i]);
        check_top(p, "a greedy step", &ours->tokens[i - skip], json_array_get(steps, i - skip),
                  logit_bound(p));
    }
    CHECK(p, ours->n == n - skip, "%zu tokens were generated, expected %zu", ours->n, n - skip);
    const char *finish = text_of(c, "finish");
    if (finish)
        CHECK(p, (strcmp(finish, "stop") == 0) == (ours->finish == ENGINE_FINISH_STOP),
              "it ended %d, expected %s", (int)ours->finish, finish);
close_call:
    free(greedy);
}

static struct told *start_greedy(const struct place *p, const json_t *c, size_t max_tokens)
{
    size_t n;
    int32_t *ids = prompt_ids(p, c, &n);
    struct told *t = told_create(ids, n);
    t->job.max_tokens = max_tokens;
    t->job.logprobs = true;
    t->job.top_logprobs = JOB_TOP;
    job_start(p->engine, p->model, t);
    free(ids);
    return t;
}

static void check_causal(const struct place *p)
{
    bool stops = text_of(p->c, "finish") && strcmp(text_of(p->c, "finish"), "stop") == 0;
    size_t n = json_array_size(get(p, "greedy_ids"));
    struct told *t = start_greedy(p, p->c, stops ? n + 8 : n);
    job_wait(t);
    check_top(p, "the last position", &t->choices[0].tokens[0], get(p, "top10_last"), logit_bound(p));
    check_greedy(p, p->c, &t->choices[0], 0);
    told_free(t);
}

static void check_causal_batch(const struct place *p)
{
    const json_t *rows = get(p, "rows");
    struct told *told[64];
    size_t n = json_array_size(rows);
    CHECK(p, n <= 64, "%zu rows", n);
    for (size_t i = 0; i < n; i++)
        told[i] =
            start_greedy(p, json_array_get(rows, i), (size_t)json_integer_value(get(p, "max_new_tokens")));
    for (size_t i = 0; i < n; i++) {
        job_wait(told[i]);
        check_greedy(p, json_array_get(rows, i), &told[i]->choices[0], 0);
        told_free(told[i]);
    }
}

static void check_nll(const struct place *p)
{
    const json_t *expected = get(p, "token_logprobs");
    double sum = 0;
    size_t n;
    int32_t *ids = ids_of(get(p, "input_ids"), &n); /* its text may go on behind them */
    struct told *t = told_create(ids, n);
    t->job.prompt_logprobs = true;
    job_start(p->engine, p->model, t);
    job_wait(t);
    CHECK(p, t->n_prompt == n, "%zu prompt tokens were told", t->n_prompt);
    for (size_t i = 1; i < n; i++) {
        sum -= (double)t->prompt[i].logprob;
        if (expected)
            CHECK(p, fabs((double)t->prompt[i].logprob - number_at(expected, i - 1)) <= logit_bound(p),
                  "log probability of token %zu is %.5f, expected %.5f", i, (double)t->prompt[i].logprob,
                  number_at(expected, i - 1));
    }
    double mean = sum / (double)(n - 1), mean_expected = json_number_value(get(p, "mean_nll"));
    CHECK(p, fabs(mean - mean_expected) <= LOGIT, "mean %.6f, expected %.6f", mean, mean_expected);
    told_free(t);
    free(ids);
}

/* ---- encoder-decoders ------------------------------------------------------------------------- */

static void check_beams(const struct place *p, const int32_t *ids, size_t n, size_t skip)
{
    const json_t *beams = get(p, "beam4");
    size_t most = json_array_size(beams);
    if (most == 0)
        return;
    struct told *t = told_create(ids, n);
    t->job.max_tokens = (size_t)json_integer_value(get(p, "max_new_tokens"));
    t->job.beams = (struct engine_beams){.beams = 4, .length_penalty = 1};
    t->job.choices = (unsigned)most;
    job_start(p->engine, p->model, t);
    job_wait(t);
    for (size_t i = 0; i < most; i++) {
        const json_t *beam = json_array_get(beams, i), *next = json_array_get(beams, i + 1);
        double score = json_number_value(json_object_get(beam, "score"));
        CHECK(p, fabs(t->choices[i].score - score) <= LOGIT, "beam %zu scores %.5f, expected %.5f", i,
              t->choices[i].score, score);
        if (next && score - json_number_value(json_object_get(next, "score")) <= BEAM_GAP)
            break; /* a tie: from here on the order is open */
        const json_t *expected = json_object_get(beam, "ids");
        CHECK(p, t->choices[i].n + skip == json_array_size(expected), "beam %zu has %zu tokens, expected %zu",
              i, t->choices[i].n, json_array_size(expected) - skip);
        for (size_t k = 0; k < t->choices[i].n; k++)
            CHECK(p, t->choices[i].tokens[k].id == (int32_t)number_at(expected, k + skip),
                  "beam %zu, token %zu: %d", i, k, t->choices[i].tokens[k].id);
    }
    told_free(t);
}

static void check_seq2seq(const struct place *p)
{
    size_t n, most = (size_t)json_integer_value(get(p, "max_new_tokens"));
    size_t skip =
        get(p, "decoder_start_token_id") ? 1 : 0; /* plain PyTorch cases leave the start token out */
    int32_t *ids = prompt_ids(p, p->c, &n);
    struct told *t = told_create(ids, n);
    t->job.max_tokens = most ? most : json_array_size(get(p, "greedy_ids"));
    t->job.logprobs = true;
    t->job.top_logprobs = JOB_TOP;
    job_start(p->engine, p->model, t);
    job_wait(t);
    check_top(p, "the first step", &t->choices[0].tokens[0], get(p, "top10_first_step"), logit_bound(p));
    check_greedy(p, p->c, &t->choices[0], skip);
    told_free(t);
    check_beams(p, ids, n, skip);
    free(ids);
}

/* ---- encoders --------------------------------------------------------------------------------- */

static struct told *start_encoder(const struct place *p, enum engine_task task, const json_t *text,
                                  const json_t *pair, const json_t *expected, struct engine_encoding *x)
{
    encode(p, text, pair, expected, x);
    struct told *t = told_create(x->ids, x->n);
    t->job.task = task;
    t->job.types = x->types;
    t->job.top_logprobs = JOB_TOP;
    return t;
}

static void check_values(const struct place *p, const struct told *t, const json_t *rows, size_t column,
                         double bound)
{
    for (size_t r = 0; r < json_array_size(rows); r++) {
        const json_t *row = json_array_get(rows, r);
        size_t n = json_is_array(row) ? json_array_size(row) : 1;
        CHECK(p, r < t->n_rows && column + n <= t->n_cols, "the result is %zu x %zu", t->n_rows, t->n_cols);
        for (size_t k = 0; k < n; k++) {
            double expected = json_is_array(row) ? number_at(row, k) : json_number_value(row);
            double ours = (double)t->values[r * t->n_cols + column + k];
            CHECK(p, fabs(ours - expected) <= bound, "row %zu, value %zu is %.5f, expected %.5f", r, k, ours,
                  expected);
        }
    }
}

static void check_fill(const struct place *p)
{
    const json_t *masks = get(p, "masks");
    struct engine_encoding x;
    struct told *t = start_encoder(p, ENGINE_TASK_FILL, get(p, "text"), NULL, get(p, "input_ids"), &x);
    uint32_t positions[LIMIT_MASKED];
    t->job.masked = positions;
    t->job.n_masked = json_array_size(masks);
    for (size_t i = 0; i < t->job.n_masked; i++) {
        positions[i] = (uint32_t)json_integer_value(json_object_get(json_array_get(masks, i), "position"));
        CHECK(p, x.ids[positions[i]] == p->info->mask, "position %u holds no mask", positions[i]);
    }
    job_start(p->engine, p->model, t);
    job_wait(t);
    CHECK(p, t->n_prompt == json_array_size(masks), "%zu masks were told", t->n_prompt);
    for (size_t i = 0; i < t->n_prompt; i++) {
        const json_t *mask = json_array_get(masks, i), *top5 = json_object_get(mask, "top5");
        check_top(p, "a mask", &t->prompt[i], json_object_get(mask, "top10"), logit_bound(p));
        for (size_t k = 0; k < json_array_size(top5); k++) {
            double expected = json_number_value(json_object_get(json_array_get(top5, k), "score"));
            CHECK(p, fabs(exp((double)t->prompt[i].top[k].logprob) - expected) <= PROBABILITY,
                  "mask %zu, candidate %zu", i, k);
        }
    }
    engine_encoding_free(&x);
    told_free(t);
}

static void check_label(const struct place *p, const struct told *t)
{
    const char *label = text_of(p->c, "label");
    size_t best = 0;
    for (size_t i = 1; i < t->n_cols; i++)
        best = t->values[i] > t->values[best] ? i : best;
    if (label)
        CHECK(p, t->n_cols == p->info->n_labels && strcmp(p->info->labels[best], label) == 0,
              "label %s, expected %s", p->info->labels[best], label);
    CHECK(p, (p->info->problem == ENGINE_PROBLEM_REGRESSION) == (t->n_cols == 1), "problem %d",
          (int)p->info->problem);
}

static void check_classification(const struct place *p)
{
    struct engine_encoding x;
    struct told *t =
        start_encoder(p, ENGINE_TASK_CLASSIFY, get(p, "text"), get(p, "text_pair"), get(p, "input_ids"), &x);
    const json_t *types = get(p, "token_type_ids");
    for (size_t i = 0; i < json_array_size(types); i++)
        CHECK(p, x.types[i] == (int)number_at(types, i), "token type %zu is %d", i, x.types[i]);
    job_start(p->engine, p->model, t);
    job_wait(t);
    json_t *rows = json_pack("[O]", get(p, "logits"));
    check_values(p, t, rows, 0, LOGIT);
    check_label(p, t);
    json_decref(rows);
    engine_encoding_free(&x);
    told_free(t);
}

static void check_classification_batch(const struct place *p)
{
    const json_t *texts = get(p, "texts");
    struct engine_encoding x;
    struct told *told[64];
    size_t n = json_array_size(texts);
    CHECK(p, n <= 64, "%zu texts", n);
    for (size_t i = 0; i < n; i++) {
        const char *text = json_string_value(json_array_get(texts, i));
        struct error e = {0};
        CHECK(p,
              engine_encode(engine_model_vocabulary(p->model), text, strlen(text), NULL, 0,
                            ENGINE_ADD_SPECIAL | ENGINE_PARSE_SPECIAL, &x, &e) == 0,
              "%s", e.text);
        told[i] = told_create(x.ids, x.n);
        told[i]->job.task = ENGINE_TASK_CLASSIFY;
        job_start(p->engine, p->model, told[i]);
        engine_encoding_free(&x);
    }
    for (size_t i = 0; i < n; i++) {
        json_t *rows = json_pack("[O]", json_array_get(get(p, "logits"), i));
        job_wait(told[i]);
        check_values(p, told[i], rows, 0, LOGIT);
        json_decref(rows);
        told_free(told[i]);
    }
}

static size_t code_points(const char *text, size_t bytes)
{
    size_t n = 0;
    for (size_t i = 0; i < bytes; i++)
        n += ((unsigned char)text[i] & 0xC0) != 0x80;
    return n;
}

static void check_tokens(const struct place *p)
{
    const char *text = text_of(p->c, "text");
    struct engine_encoding x;
    struct told *t = start_encoder(p, ENGINE_TASK_TAG, get(p, "text"), NULL, get(p, "input_ids"), &x);
    job_start(p->engine, p->model, t);
    job_wait(t);
    for (size_t i = 0; i < x.n; i++) {
        const json_t *offsets = json_array_get(get(p, "offsets"), i);
        const char *label = json_string_value(json_array_get(get(p, "labels"), i));
        size_t start = code_points(text, x.starts[i]), end = code_points(text, x.ends[i]), best = 0;
        CHECK(p, start == (size_t)number_at(offsets, 0) && end == (size_t)number_at(offsets, 1),
              "token %zu is at [%zu, %zu), expected [%g, %g)", i, start, end, number_at(offsets, 0),
              number_at(offsets, 1));
        for (size_t k = 1; k < t->n_cols; k++)
            best = t->values[i * t->n_cols + k] > t->values[i * t->n_cols + best] ? k : best;
        CHECK(p, strcmp(p->info->labels[best], label) == 0, "token %zu is %s, expected %s", i,
              p->info->labels[best], label);
    }
    check_values(p, t, get(p, "logits"), 0, LOGIT);
    engine_encoding_free(&x);
    told_free(t);
}

static void check_answer(const struct place *p)
{
    struct engine_encoding x;
    struct told *t =
        start_encoder(p, ENGINE_TASK_ANSWER, get(p, "question"), get(p, "context"), get(p, "input_ids"), &x);
    job_start(p->engine, p->model, t);
    job_wait(t);
    check_values(p, t, get(p, "start_logits"), 0, LOGIT);
    check_values(p, t, get(p, "end_logits"), 1, LOGIT);
    engine_encoding_free(&x);
    told_free(t);
}

static void normalise(float *x, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += (double)x[i] * (double)x[i];
    for (size_t i = 0; i < n; i++)
        x[i] = (float)((double)x[i] / sqrt(sum));
}

static void check_pooled(const struct place *p, const char *key, enum engine_pooling pooling,
                         bool unit_length)
{
    struct engine_encoding x;
    if (!get(p, key))
        return;
    struct told *t = start_encoder(p, ENGINE_TASK_EMBED, get(p, "text"), NULL, get(p, "input_ids"), &x);
    t->job.pooling = pooling;
    job_start(p->engine, p->model, t);
    job_wait(t);
    if (unit_length)
        normalise(t->values, t->n_cols);
    json_t *rows = json_pack("[O]", get(p, key));
    check_values(p, t, rows, 0, unit_length ? EMBEDDING : LOGIT);
    json_decref(rows);
    engine_encoding_free(&x);
    told_free(t);
}

static void check_embedding(const struct place *p)
{
    check_pooled(p, "mean_normalized", ENGINE_POOLING_MEAN, true);
    check_pooled(p, "cls_normalized", ENGINE_POOLING_CLS, true);
    check_pooled(p, "pooler_output", ENGINE_POOLING_POOLER, false);
}

static void check_cosines(const struct place *p)
{
    const json_t *texts = get(p, "texts"), *expected = get(p, "cosine");
    struct told *told[64];
    size_t n = json_array_size(texts);
    CHECK(p, n <= 64, "%zu texts", n);
    for (size_t i = 0; i < n; i++) {
        const char *text = json_string_value(json_array_get(texts, i));
        struct engine_encoding x;
        struct error e = {0};
        CHECK(p,
              engine_encode(engine_model_vocabulary(p->model), text, strlen(text), NULL, 0,
                            ENGINE_ADD_SPECIAL, &x, &e) == 0,
              "%s", e.text);
        told[i] = told_create(x.ids, x.n);
        told[i]->job.task = ENGINE_TASK_EMBED;
        told[i]->job.pooling = ENGINE_POOLING_MEAN;
        job_start(p->engine, p->model, told[i]);
        engine_encoding_free(&x);
    }
    for (size_t i = 0; i < n; i++) {
        job_wait(told[i]);
        normalise(told[i]->values, told[i]->n_cols);
    }
    for (size_t i = 0; i < n; i++) {
        for (size_t k = 0; k < n; k++) {
            double dot = 0;
            for (size_t d = 0; d < told[i]->n_cols; d++)
                dot += (double)told[i]->values[d] * (double)told[k]->values[d];
            CHECK(p, fabs(dot - number_at(json_array_get(expected, i), k)) <= EMBEDDING,
                  "cosine %zu, %zu is %.6f", i, k, dot);
        }
    }
    for (size_t i = 0; i < n; i++)
        told_free(told[i]);
}

/* ---- models ----------------------------------------------------------------------------------- */

static const struct {
    const char *kind;
    void (*check)(const struct place *p);
} kinds[] = {
    {"causal_lm", check_causal},
    {"causal_lm_batch", check_causal_batch},
    {"chat", check_causal},
    {"nll", check_nll},
    {"seq2seq", check_seq2seq},
    {"fill_mask", check_fill},
    {"text_classification", check_classification},
    {"text_classification_batch", check_classification_batch},
    {"token_classification", check_tokens},
    {"question_answering", check_answer},
    {"embedding", check_embedding},
    {"cosine_matrix", check_cosines},
};

static void check_case(struct place *p)
{
    const char *kind = text_of(p->c, "kind");
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        if (strcmp(kinds[i].kind, kind) == 0) {
            kinds[i].check(p);
            return;
        }
    }
    ck_abort_msg("%s: unknown kind %s", p->name, kind);
}

struct reference {
    char folder[3000], model[256];
};

static struct reference references[256];
static size_t n_references;

static void check_model(const struct reference *r, const char *kernels)
{
    struct engine_options options;
    struct engine_model_options model_options = {.context = 0};
    struct error e = {0};
    struct place p = {0};
    json_error_t je;
    char path[4096];
    snprintf(path, sizeof path, "%s/cases/%s.json", r->folder, r->model);
    json_t *root = json_load_file(path, JSON_ALLOW_NUL, &je);
    ck_assert_msg(root != NULL, "%s: %s", path, je.text);
    engine_options_init(&options);
    options.kernels = kernels;
    options.threads = 2;
    options.kv_memory = UINT64_C(1) << 30;
    ck_assert_msg(engine_open(&options, &p.engine, &e) == 0, "%s", e.text);
    snprintf(path, sizeof path, "%s/models/%s", r->folder, r->model);
    ck_assert_msg(engine_load(p.engine, "m", path, &model_options, &p.model, &e) == 0, "%s", e.text);
    p.info = engine_model_info(p.model);
    size_t i;
    json_t *c;
    json_array_foreach(json_object_get(root, "cases"), i, c)
    {
        p.c = c;
        snprintf(p.name, sizeof p.name, "%s, %s kernels, case %zu (%s)", r->model, engine_kernels(p.engine),
                 i, text_of(c, "kind"));
        check_case(&p);
    }
    ck_assert_uint_gt(i, 0);
    printf("%s: %zu cases hold with %s kernels\n", r->model, i, engine_kernels(p.engine));
    json_decref(root);
    engine_close(p.engine);
}

START_TEST(model_agrees_with_its_references)
{
    check_model(&references[_i], NULL);
}
END_TEST

START_TEST(model_agrees_with_scalar_kernels)
{
    check_model(&references[_i], "scalar");
}
END_TEST

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct reference *)a)->model, ((const struct reference *)b)->model);
}

static void list(const char *folder)
{
    char path[4096];
    size_t first = n_references;
    snprintf(path, sizeof path, "%s/cases", folder);
    DIR *dir = opendir(path);
    const char *only = getenv("LOQUAT_ONLY");
    for (struct dirent *entry; dir && (entry = readdir(dir));) {
        size_t len = strlen(entry->d_name);
        if (len <= 5 || len > 200 || strcmp(entry->d_name + len - 5, ".json") != 0 || n_references == 256)
            continue;
        struct reference *r = &references[n_references];
        snprintf(r->folder, sizeof r->folder, "%s", folder);
        snprintf(r->model, sizeof r->model, "%.*s", (int)(len - 5), entry->d_name);
        n_references += !only || strcmp(only, r->model) == 0;
    }
    if (dir)
        closedir(dir);
    qsort(references + first, n_references - first, sizeof *references, by_name);
}

int main(void)
{
    list(TESTS_DIR "/golden/families");
    if (getenv("LOQUAT_CONFORMANCE"))
        list(getenv("LOQUAT_CONFORMANCE"));
    else
        printf("skipped: the reference folder (LOQUAT_CONFORMANCE is not set)\n");
    Suite *suite = suite_create("families");
    TCase *best = tcase_create("best kernels"), *scalar = tcase_create("scalar kernels");
    tcase_set_timeout(best, 120);
    tcase_set_timeout(scalar, 240);
    tcase_add_loop_test(best, model_agrees_with_its_references, 0, (int)n_references);
    tcase_add_loop_test(scalar, model_agrees_with_scalar_kernels, 0, (int)n_references);
    suite_add_tcase(suite, best);
    suite_add_tcase(suite, scalar);
    return suite_run(suite);
}
