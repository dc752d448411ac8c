/* test_entities.c - /v1/entities by each aggregation, with numbers worked out by hand from transformers'
 * rules; /v1/fill-mask. */
#include <check.h>
#include <math.h>
#include <string.h>

#include "engine/base/limits.h"
#include "tests/unit/fake_engine.h"
#include "tests/unit/suite.h"

static struct fake_call f;
static const char *const labels[] = {"O", "B-PER", "I-PER", "B-LOC"};

static void tagger(bool marks_words)
{
    fake_engine(NULL);
    fake_info(0)->abilities = ENGINE_CAN_TAG;
    fake_info(0)->labels = labels;
    fake_info(0)->n_labels = 4;
    fake_info(0)->marks_words = marks_words;
}

/* Of "Zé Li, Rom", tokens Z é L i , R o m between two special ones. */
static const float shares[10][4] = {{.1f, .7f, .1f, .1f}, {.1f, .6f, .2f, .1f},   {.5f, .1f, .3f, .1f},
                                    {.1f, .1f, .7f, .1f}, {.05f, .05f, .1f, .8f}, {.9f, .04f, .03f, .03f},
                                    {.2f, .1f, .1f, .6f}, {.3f, .1f, .2f, .4f},   {.1f, .1f, .72f, .08f},
                                    {.1f, .1f, .1f, .7f}};

static json_t *find(bool marks_words, const char *aggregation)
{
    char body[200];
    float logits[10][4];
    for (size_t i = 0; i < 40; i++)
        logits[i / 4][i % 4] = logf(shares[i / 4][i % 4]) + (float)(i / 4);
    tagger(marks_words);
    snprintf(body, sizeof body, "{\"text\":\"Z\xc3\xa9 Li, Rom\"%s%s%s}",
             aggregation ? ",\"aggregation\":\"" : "", aggregation ? aggregation : "",
             aggregation ? "\"" : "");
    fake_begin_ok(&f, NULL, "/v1/entities", body);
    ck_assert_int_eq(f.call.jobs[0].task, ENGINE_TASK_TAG);
    ck_assert_uint_eq(f.call.jobs[0].n_prompt, 10);
    fake_result(&f, 0, logits[0], 10, 4);
    json_t *a = fake_done(&f);
    fake_end(&f);
    return a;
}

struct expected {
    const char *label, *text;
    int start, end;
    double score;
};

static const struct {
    bool marks_words;
    const char *aggregation;
    struct expected entities[7];
} cases[] = {
    {true,
     "none",
     {{"B-PER", "Z", 0, 1, .6},
      {"I-PER", "L", 3, 4, .7},
      {"B-LOC", "i", 4, 5, .8},
      {"B-LOC", "R", 7, 8, .6},
      {"B-LOC", "o", 8, 9, .4},
      {"I-PER", "m", 9, 10, .72}}},
    {true,
     NULL,
     {{"PER", "Z", 0, 1, .6},
      {"PER", "L", 3, 4, .7},
      {"LOC", "i", 4, 5, .8},
      {"LOC", "R", 7, 8, .6},
      {"LOC", "o", 8, 9, .4},
      {"PER", "m", 9, 10, .72}}},
    {true, "first", {{"PER", "Z\xc3\xa9 Li", 0, 5, .65}, {"LOC", "Rom", 7, 10, .6}}},
    {true,
     "average",
     {{"PER", "Z\xc3\xa9", 0, 2, .35}, {"LOC", "Li", 3, 5, .45}, {"LOC", "Rom", 7, 10, .36}}},
    {true, "max", {{"PER", "Z\xc3\xa9", 0, 2, .6}, {"LOC", "Li", 3, 5, .8}, {"PER", "Rom", 7, 10, .72}}},
    /* A tokenizer that knows no words: the comma belongs to what it touches. */
    {false, "first", {{"PER", "Z\xc3\xa9 Li,", 0, 6, .65}, {"LOC", "Rom", 7, 10, .6}}},
    {false, "average", {{"PER", "Z\xc3\xa9", 0, 2, .35}, {"LOC", "Rom", 7, 10, .36}}},
};

START_TEST(test_aggregations)
{
    json_t *a = find(cases[_i].marks_words, cases[_i].aggregation);
    const json_t *list = at(a, "results/0/entities");
    size_t n = 0;
    for (const struct expected *e = cases[_i].entities; e->label; e++, n++) {
        const json_t *entity = json_array_get(list, n);
        ck_assert_str_eq(text_at(entity, "label"), e->label);
        ck_assert_str_eq(text_at(entity, "text"), e->text);
        ck_assert_int_eq(json_integer_value(at(entity, "start")), e->start);
        ck_assert_int_eq(json_integer_value(at(entity, "end")), e->end);
        ck_assert_double_eq_tol(number_at(entity, "score"), e->score, 1e-6);
    }
    ck_assert_uint_eq(json_array_size(list), n);
    ck_assert_str_eq(text_at(a, "object"), "entities");
    ck_assert_int_eq(json_integer_value(at(a, "usage/total_tokens")), 10);
    json_decref(a);
}
END_TEST

/* Prefixes other than B and I part neighbours, and are left out of a group's name. */
START_TEST(test_other_prefixes)
{
    static const char *const others[] = {"O", "S-ORG", "E-ORG", "MISC"};
    const float one[6][4] = {{0}, {0, 9}, {0, 9}, {0, 0, 9}, {0, 0, 0, 9}, {0}};
    tagger(true);
    fake_info(0)->labels = others;
    fake_begin_ok(&f, NULL, "/v1/entities", "{\"texts\":[\"abcd\",\"\"]}");
    fake_result(&f, 0, one[0], 6, 4);
    fake_result(&f, 1, one[0], 2, 4);
    json_t *a = fake_done(&f);
    ck_assert_uint_eq(json_array_size(at(a, "results/0/entities")), 3);
    ck_assert_str_eq(text_at(a, "results/0/entities/0/text"), "ab");
    ck_assert_str_eq(text_at(a, "results/0/entities/0/label"), "ORG");
    ck_assert_str_eq(text_at(a, "results/0/entities/1/label"), "ORG");
    ck_assert_str_eq(text_at(a, "results/0/entities/2/label"), "MISC");
    ck_assert_uint_eq(json_array_size(at(a, "results/1/entities")), 0);
    json_decref(a);
    fake_end(&f);
}
END_TEST

START_TEST(test_entities_refusals)
{
    static const struct {
        const char *body, *param;
    } bad[] = {{"{}", "text"},
               {"{\"text\":5}", "text"},
               {"{\"text\":\"a\",\"texts\":[\"b\"]}", "text"},
               {"{\"text\":\"a\",\"aggregation\":\"mean\"}", "aggregation"},
               {"{\"text\":\"a\",\"aggregation_strategy\":\"max\"}", "aggregation_strategy"}};
    tagger(true);
    fake_refused(NULL, "/v1/entities", bad[_i].body, ERROR_INVALID_REQUEST, bad[_i].param, "");
}
END_TEST

START_TEST(test_entities_truncation)
{
    char body[300], text[121];
    static float zeros[FAKE_CONTEXT][4];
    memset(text, 'x', 120);
    text[120] = 0;
    tagger(true);
    snprintf(body, sizeof body, "{\"texts\":[\"%s\"]}", text);
    fake_refused(NULL, "/v1/entities", body, ERROR_CONTEXT_LENGTH, "texts", "texts[0] has 122 tokens");
    snprintf(body, sizeof body, "{\"text\":\"%s\",\"truncate\":true}", text);
    fake_begin_ok(&f, NULL, "/v1/entities", body);
    for (size_t i = 0; i < FAKE_CONTEXT; i++)
        zeros[i][2] = 9;
    fake_result(&f, 0, zeros[0], FAKE_CONTEXT, 4);
    json_t *a = fake_done(&f);
    ck_assert(json_is_true(at(a, "results/0/truncated")));
    ck_assert_int_eq(json_integer_value(at(a, "results/0/entities/0/end")), FAKE_CONTEXT - 2);
    json_decref(a);
    fake_end(&f);
}
END_TEST

/* ---- fill-mask ------------------------------------------------------------------------------ */

static void filler(void)
{
    fake_engine(NULL);
    fake_info(0)->abilities = ENGINE_CAN_FILL;
    fake_info(0)->mask = FAKE_USER;
    fake_info(0)->mask_text = "<|user|>";
}

START_TEST(test_fill_mask)
{
    const struct engine_alternative top[] = {{'z', -0.5f}, {0xc3, -2}};
    filler();
    fake_begin_ok(&f, NULL, "/v1/fill-mask",
                  "{\"texts\":[\"\xc3\xa9 [MASK] <mask>b<|user|></s>\",\"<mask>\"],\"top_k\":2}");
    const struct engine_job *job = &f.call.jobs[0];
    ck_assert_int_eq(job->task, ENGINE_TASK_FILL);
    ck_assert_uint_eq(job->n_masked, 3);
    ck_assert_uint_eq(job->top_logprobs, 2);
    ck_assert_uint_eq(job->masked[0], 2); /* <s> é mask mask b mask </s> </s> */
    ck_assert_uint_eq(job->masked[1], 3);
    ck_assert_uint_eq(job->masked[2], 5);
    ck_assert_uint_eq(job->n_prompt, 8);
    fake_filled(&f, 0, 3, top, 2);
    fake_filled(&f, 1, 1, top, 2);
    json_t *a = fake_done(&f);
    ck_assert_str_eq(text_at(a, "object"), "fill_mask");
    const json_t *masks = at(a, "results/0/masks");
    ck_assert_uint_eq(json_array_size(masks), 3);
    ck_assert_int_eq(json_integer_value(at(masks, "0/start")), 2);
    ck_assert_int_eq(json_integer_value(at(masks, "0/end")), 8);
    ck_assert_int_eq(json_integer_value(at(masks, "1/start")), 9);
    ck_assert_int_eq(json_integer_value(at(masks, "2/start")), 16);
    ck_assert_int_eq(json_integer_value(at(masks, "2/end")), 24);
    ck_assert_int_eq(json_integer_value(at(masks, "1/candidates/0/id")), 'z');
    ck_assert_str_eq(text_at(masks, "1/candidates/0/token"), "##z");
    ck_assert_str_eq(text_at(masks, "1/candidates/0/text"), "z");
    ck_assert_double_eq_tol(number_at(masks, "1/candidates/0/score"), exp(-0.5), 1e-6);
    ck_assert_str_eq(text_at(masks, "1/candidates/1/text"), "\xef\xbf\xbd");
    ck_assert_uint_eq(json_array_size(at(masks, "1/candidates")), 2);
    ck_assert_int_eq(json_integer_value(at(a, "results/1/masks/0/end")), 6);
    json_decref(a);
    fake_end(&f);
}
END_TEST

START_TEST(test_fill_mask_refusals)
{
    char body[700] = "{\"text\":\"";
    filler();
    fake_refused(NULL, "/v1/fill-mask", "{\"texts\":[\"[MASK]\",\"no\"]}", ERROR_INVALID_REQUEST, "texts",
                 "texts[1] has no mask: write <|user|> where");
    fake_refused(NULL, "/v1/fill-mask", "{\"text\":\"no\"}", ERROR_INVALID_REQUEST, "text",
                 "text has no mask");
    fake_refused(NULL, "/v1/fill-mask", "{\"text\":\"<mask>\",\"top_k\":21}", ERROR_INVALID_REQUEST, "top_k",
                 "from 1 to 20");
    for (int i = 0; i < LIMIT_MASKED + 1; i++)
        memcpy(body + strlen(body), "<mask>", 7);
    memcpy(body + strlen(body), "\"}", 3);
    fake_refused(NULL, "/v1/fill-mask", body, ERROR_INVALID_REQUEST, "text", "text has more masks");
    fake_info(0)->mask = 'x'; /* the tokenizer makes something else of it */
    fake_refused(NULL, "/v1/fill-mask", "{\"text\":\"<mask>\"}", ERROR_INVALID_REQUEST, "text",
                 "does not see as one token");
    fake_info(0)->mask = -1;
    fake_refused(NULL, "/v1/fill-mask", "{\"text\":\"<mask>\"}", ERROR_UNSUPPORTED, "model", "has no mask");
}
END_TEST

int main(void)
{
    Suite *s = suite_create("entities");
    TCase *t = tcase_create("all");
    tcase_add_loop_test(t, test_aggregations, 0, (int)(sizeof cases / sizeof cases[0]));
    tcase_add_test(t, test_other_prefixes);
    tcase_add_loop_test(t, test_entities_refusals, 0, 5);
    tcase_add_test(t, test_entities_truncation);
    tcase_add_test(t, test_fill_mask);
    tcase_add_test(t, test_fill_mask_refusals);
    suite_add_tcase(s, t);
    return suite_run(s);
}
