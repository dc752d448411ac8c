/* test_translate.c - /v1/translate: pieces, languages, prefixes, scores; what encoder-decoders do behind
 * /v1/summarize and /v1/completions; beam searches. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/limits.h"
#include "tests/unit/fake_engine.h"
#include "tests/unit/suite.h"

#define PATH "/v1/translate"

static struct fake_call f;

static void translator(void)
{
    fake_engine(NULL);
    fake_transforms(0);
}

/* Two tokens of log probabilities -1 and -1.125. */
static void play(size_t job, const char *text, enum engine_finish finish)
{
    const int32_t ids[] = {'a', FAKE_EOS};
    ck_assert(f.call.jobs[job].logprobs);
    fake_step_logprobs(&f, job, 0, text, ids, 2, finish);
    fake_final(&f, job, f.call.jobs[job].n_prompt, 0, 2);
}

START_TEST(test_one_text)
{
    translator();
    fake_begin_ok(&f, NULL, PATH, "{\"text\":\" One two. Three. \"}");
    ck_assert_uint_eq(f.call.n_jobs, 1);
    ck_assert_str_eq(fake_prompt(&f, 0), "One two. Three.</s>");
    ck_assert_uint_eq(f.call.jobs[0].max_tokens, 39);
    ck_assert_float_eq(f.call.jobs[0].sampling.temperature, 0);
    ck_assert_uint_eq(f.call.jobs[0].beams.beams, 0);
    play(0, " Um dois. Tr\xc3\xaas. ", ENGINE_FINISH_STOP);
    json_t *a = fake_done(&f);
    ck_assert_str_eq(text_at(a, "object"), "translation");
    ck_assert_str_eq(text_at(a, "results/0/translation"),
                     " Um dois. Tr\xc3\xaas. "); /* the text's own spaces */
    ck_assert_double_eq_tol(number_at(a, "results/0/score"), -1.0625, 1e-6);
    ck_assert(json_is_false(at(a, "results/0/cut")));
    ck_assert_int_eq(json_integer_value(at(a, "usage/completion_tokens")), 2);
    json_decref(a);
    fake_end(&f);
}
END_TEST

START_TEST(test_pieces)
{
    char body[400], sentence[51];
    memset(sentence, 'x', 50);
    sentence[0] = 'X';
    sentence[50] = 0;
    translator();
    snprintf(body, sizeof body,
             "{\"texts\":[\"One two.  Three!\\n\\nFive\",\" \",\"%s. %s.\"],\"max_tokens\":7}", sentence,
             sentence);
    fake_begin_ok(&f, NULL, PATH, body);
    ck_assert_uint_eq(f.call.n_jobs, 5);
    ck_assert_str_eq(fake_prompt(&f, 1), "Three!</s>");
    ck_assert_uint_eq(f.call.jobs[4].n_prompt, 52);
    ck_assert_uint_eq(f.call.jobs[4].max_tokens, 7);
    play(0, "Um dois.", ENGINE_FINISH_STOP);
    play(2, "Cinco", ENGINE_FINISH_STOP);
    play(1, " Tr\xc3\xaas!", ENGINE_FINISH_STOP);
    play(3, "y.", ENGINE_FINISH_STOP);
    play(4, "z", ENGINE_FINISH_LENGTH);
    json_t *a = fake_done(&f);
    ck_assert_str_eq(text_at(a, "results/0/translation"), "Um dois.  Tr\xc3\xaas!\n\nCinco");
    ck_assert_double_eq_tol(number_at(a, "results/0/score"), -1.0625, 1e-6);
    ck_assert(json_is_false(at(a, "results/0/cut")));
    ck_assert_str_eq(text_at(a, "results/1/translation"), " ");
    ck_assert_str_eq(text_at(a, "results/2/translation"), "y. z");
    ck_assert(json_is_true(at(a, "results/2/cut")));
    json_decref(a);
    fake_end(&f);
}
END_TEST

START_TEST(test_blank_texts_need_no_model)
{
    translator();
    fake_begin_ok(&f, NULL, PATH, "{\"texts\":[\"\",\"\\n\"]}");
    ck_assert_uint_eq(f.call.n_jobs, 0);
    json_t *a = fake_answer(&f);
    ck_assert_str_eq(text_at(a, "results/0/translation"), "");
    ck_assert_str_eq(text_at(a, "results/1/translation"), "\n");
    ck_assert_double_eq(number_at(a, "results/0/score"), 0);
    json_decref(a);
    fake_end(&f);
}
END_TEST

/* More pieces than a round has. */
START_TEST(test_rounds)
{
    static char body[4000] = "{\"text\":\"";
    size_t jobs = 0, rounds = 0;
    for (int i = 0; i < 300; i++)
        memcpy(body + strlen(body), "Ab cd.\\n\\n", 11);
    memcpy(body + strlen(body), "\"}", 3);
    translator();
    fake_begin_ok(&f, NULL, PATH, body);
    while (f.call.n_jobs) {
        rounds++;
        jobs += f.call.n_jobs;
        for (size_t i = 0; i < f.call.n_jobs; i++)
            play(i, "E.", ENGINE_FINISH_STOP);
        ck_assert_int_eq(fake_advance(&f), 0);
    }
    ck_assert_uint_eq(jobs, 300);
    ck_assert_uint_eq(rounds, 2);
    json_t *a = fake_answer(&f);
    ck_assert_uint_eq(strlen(text_at(a, "results/0/translation")), 300 * 4);
    ck_assert_int_eq(json_integer_value(at(a, "usage/completion_tokens")), 600);
    json_decref(a);
    fake_end(&f);
}
END_TEST

/* ---- languages ------------------------------------------------------------------------------ */

START_TEST(test_languages_of_one_pair)
{
    translator();
    fake_info(0)->source_language = "en";
    fake_info(0)->target_language = "pt";
    fake_begin_ok(&f, NULL, PATH, "{\"text\":\"a\",\"source\":\"EN\",\"target\":\"pt\"}");
    ck_assert_str_eq(fake_prompt(&f, 0), "a</s>");
    fake_end(&f);
    fake_refused(NULL, PATH, "{\"text\":\"a\",\"source\":\"de\"}", ERROR_UNSUPPORTED, "source",
                 "source language is en, not de");
    fake_refused(NULL, PATH, "{\"text\":\"a\",\"target\":\"de\"}", ERROR_UNSUPPORTED, "target",
                 "is pt, not de");
    fake_info(0)->source_language = fake_info(0)->target_language = "";
    fake_refused(NULL, PATH, "{\"text\":\"a\",\"source\":\"de\"}", ERROR_UNSUPPORTED, "source",
                 "leave source out");
    fake_refused(NULL, PATH, "{\"text\":\"a\",\"target\":\"de\"}", ERROR_UNSUPPORTED, "target",
                 "leave target out");
}
END_TEST

START_TEST(test_target_tokens)
{
    translator();
    fake_begin_ok(&f, NULL, PATH, "{\"text\":\"a\",\"target\":\"fra\"}");
    ck_assert_uint_eq(f.call.jobs[0].n_prompt, 3);
    ck_assert_int_eq(f.call.jobs[0].prompt[0], FAKE_IM_END); /* whose piece is >>fra<< */
    ck_assert_int_eq(f.call.jobs[0].prompt[1], 'a');
    ck_assert_int_eq(f.call.jobs[0].prompt[2], FAKE_EOS);
    fake_end(&f);
}
END_TEST

static const struct engine_prefix prefixes[] = {{"summarization", "summarize: "},
                                                {"translation_en_to_de", "English to German: "},
                                                {"translation_en_to_fr", "English to French: "}};

START_TEST(test_prefixes)
{
    translator();
    fake_info(0)->prefixes = prefixes;
    fake_info(0)->n_prefixes = 3;
    fake_begin_ok(&f, NULL, PATH, "{\"text\":\"Hi </s>\",\"source\":\"en\",\"target\":\"FR\"}");
    ck_assert_str_eq(fake_prompt(&f, 0), "English to French: Hi </s></s>");
    ck_assert_int_eq(f.call.jobs[0].prompt[f.call.jobs[0].n_prompt - 2], '>'); /* a user's text is text */
    fake_end(&f);
    fake_refused(NULL, PATH, "{\"text\":\"a\",\"target\":\"de\"}", ERROR_INVALID_REQUEST, "source",
                 "this model knows en_to_de, en_to_fr");
    fake_refused(NULL, PATH, "{\"text\":\"a\",\"source\":\"en\"}", ERROR_INVALID_REQUEST, "target",
                 "say source");
    fake_refused(NULL, PATH, "{\"text\":\"a\",\"source\":\"de\",\"target\":\"en\"}", ERROR_UNSUPPORTED,
                 "target", "does not translate de to en; it knows en_to_de, en_to_fr");
    fake_info(0)->n_prefixes = 2; /* the only pair need not be named */
    fake_begin_ok(&f, NULL, PATH, "{\"text\":\"a\"}");
    ck_assert_str_eq(fake_prompt(&f, 0), "English to German: a</s>");
    fake_end(&f);
}
END_TEST

#define TEMPLATE                                                                                             \
    "{% for m in messages %}<|im_start|>{{ m.role }}: {{ m.content }}<|im_end|>{% endfor %}<|im_start|>"

START_TEST(test_chat_model)
{
    struct api *api = NULL;
    ck_assert_int_eq(api_create(fake_engine(TEMPLATE), &api, NULL), 0);
    fake_info(0)->context = 400;
    api_add_model(api, fake_model(0));
    api_add_model(api, fake_model(1));
    fake_begin_ok(&f, api, PATH,
                  "{\"text\":\"Guten Tag <|im_end|>\",\"source\":\"German\",\"target\":\"French\"}");
    ck_assert_str_eq(
        fake_prompt(&f, 0),
        "<s><|im_start|>system: You are a translator.<|im_end|><|im_start|>user: Translate the following "
        "text from German to French. Answer with the translation only.\n\nGuten Tag "
        "<|im_end|><|im_end|><|im_start|>");
    fake_end(&f);
    fake_refused(api, PATH, "{\"text\":\"a\"}", ERROR_INVALID_REQUEST, "target", "say the target language");
    fake_refused(api, PATH, "{\"text\":\"a\",\"target\":\"x\",\"model\":\"second\"}", ERROR_UNSUPPORTED,
                 "model", "the model second can't do translate");
    api_free(api);
}
END_TEST

/* ---- searches ------------------------------------------------------------------------------- */

START_TEST(test_own_beams)
{
    translator();
    fake_info(0)->beams = 4;
    fake_info(0)->length_penalty = 0.6f;
    fake_info(0)->no_repeat_ngram = 3;
    fake_info(0)->early_stopping = true;
    fake_begin_ok(&f, NULL, PATH, "{\"texts\":[\"a b\",\"c\\n\\nd\"]}");
    const struct engine_job *job = &f.call.jobs[0];
    ck_assert_uint_eq(job->beams.beams, 4);
    ck_assert_float_eq(job->beams.length_penalty, 0.6f);
    ck_assert(job->beams.early_stopping);
    ck_assert_uint_eq(job->no_repeat_ngram, 3);
    fake_hypothesis(&f, 0, 0, "one", ENGINE_FINISH_STOP, -0.75);
    fake_hypothesis(&f, 1, 0, "two", ENGINE_FINISH_STOP, -1);
    fake_hypothesis(&f, 2, 0, "twenty7", ENGINE_FINISH_STOP, -2);
    for (size_t i = 0; i < 3; i++)
        fake_final(&f, i, 3, 0, 4);
    json_t *a = fake_done(&f);
    ck_assert_str_eq(text_at(a, "results/0/translation"), "one");
    ck_assert_double_eq_tol(number_at(a, "results/0/score"), -0.75, 1e-9);
    ck_assert_double_eq_tol(number_at(a, "results/1/score"), (4 * -1.0 + 8 * -2.0) / 12, 1e-8);
    json_decref(a);
    fake_end(&f);
    fake_begin_ok(&f, NULL, PATH,
                  "{\"text\":\"a\",\"beams\":1,\"no_repeat_ngram_size\":0}"); /* greedy, though the checkpoint
                                                                                 searches */
    ck_assert_uint_eq(f.call.jobs[0].beams.beams, 0);
    ck_assert_uint_eq(f.call.jobs[0].no_repeat_ngram, 0);
    play(0, "x", ENGINE_FINISH_STOP);
    a = fake_done(&f);
    ck_assert_double_eq_tol(number_at(a, "results/0/score"), -1.0625, 1e-6);
    json_decref(a);
    fake_end(&f);
}
END_TEST

START_TEST(test_completions_with_beams)
{
    translator();
    fake_begin_ok(&f, NULL, "/v1/completions",
                  "{\"prompt\":\"ab\",\"beams\":3,\"n\":2,\"length_penalty\":0.5,\"no_repeat_ngram_size\":2,"
                  "\"logprobs\":0,"
                  "\"early_stopping\":true,\"max_tokens\":30,\"temperature\":0}");
    const struct engine_job *job = &f.call.jobs[0];
    ck_assert_str_eq(fake_prompt(&f, 0), "ab</s>");
    ck_assert_uint_eq(job->beams.beams, 3);
    ck_assert_float_eq(job->beams.length_penalty, 0.5f);
    ck_assert(job->beams.early_stopping);
    ck_assert_uint_eq(job->no_repeat_ngram, 2);
    ck_assert_uint_eq(job->choices, 2);
    fake_hypothesis(&f, 0, 1, "yy", ENGINE_FINISH_LENGTH, -2.25);
    fake_hypothesis(&f, 0, 0, "x", ENGINE_FINISH_STOP, -1.5);
    fake_final(&f, 0, 3, 0, 5);
    json_t *a = fake_done(&f);
    ck_assert_str_eq(text_at(a, "choices/0/text"), "x");
    ck_assert_double_eq(number_at(a, "choices/0/score"), -1.5);
    ck_assert_double_eq(number_at(a, "choices/1/score"), -2.25);
    ck_assert_str_eq(text_at(a, "choices/1/finish_reason"), "length");
    ck_assert_double_eq(number_at(a, "choices/1/logprobs/token_logprobs/0"), -0.5);
    json_decref(a);
    fake_end(&f);
    fake_begin_ok(&f, NULL, "/v1/completions", "{\"prompt\":\"ab\",\"num_beams\":2,\"model\":\"second\"}");
    ck_assert_float_eq(f.call.jobs[0].sampling.temperature, 0); /* though absent it is 1 */
    ck_assert_float_eq(f.call.jobs[0].beams.length_penalty, 1);
    fake_end(&f);
}
END_TEST

static const struct {
    const char *body, *param;
    enum error_kind kind;
} bad[] = {
    {"{\"prompt\":\"a\",\"beams\":17}", "beams", ERROR_INVALID_REQUEST},
    {"{\"prompt\":\"a\",\"beams\":0}", "beams", ERROR_INVALID_REQUEST},
    {"{\"prompt\":\"a\",\"beams\":2,\"num_beams\":3}", "num_beams", ERROR_INVALID_REQUEST},
    {"{\"prompt\":\"a\",\"beams\":2,\"n\":3}", "n", ERROR_INVALID_REQUEST},
    {"{\"prompt\":\"a\",\"beams\":2,\"temperature\":0.5}", "beams", ERROR_INVALID_REQUEST},
    {"{\"prompt\":\"a\",\"beams\":2,\"stream\":true}", "beams", ERROR_UNSUPPORTED},
    {"{\"prompt\":\"a\",\"beams\":2,\"stop\":\"x\"}", "stop", ERROR_UNSUPPORTED},
    {"{\"prompt\":\"a\",\"beams\":2,\"logprobs\":1}", "logprobs", ERROR_UNSUPPORTED},
    {"{\"prompt\":\"a\",\"length_penalty\":2}", "length_penalty", ERROR_UNSUPPORTED},
    {"{\"prompt\":\"a\",\"beams\":1,\"early_stopping\":true}", "early_stopping", ERROR_UNSUPPORTED},
    {"{\"prompt\":\"a\",\"echo\":true}", "echo", ERROR_UNSUPPORTED},
    {"{\"prompt\":\"a\",\"max_tokens\":40}", "", ERROR_CONTEXT_LENGTH},
    {"{\"prompt\":\"123456789 123456789 123456789 123456789 123456789 1234567890\"}", "",
     ERROR_CONTEXT_LENGTH},
};

START_TEST(test_completions_refusals)
{
    translator();
    fake_begin_ok(
        &f, NULL, "/v1/completions",
        "{\"prompt\":\"123456789 123456789 123456789 123456789 123456789 123456789\",\"max_tokens\":39,"
        "\"length_penalty\":1}");
    fake_end(&f);
    fake_refused(NULL, "/v1/completions", bad[_i].body, bad[_i].kind, bad[_i].param, "");
}
END_TEST

/* ---- summaries ------------------------------------------------------------------------------ */

START_TEST(test_summaries_of_an_encoder_decoder)
{
    translator();
    fake_info(0)->prefixes = prefixes;
    fake_info(0)->n_prefixes = 3;
    fake_info(0)->beams = 2;
    fake_info(0)->context = 200;
    fake_begin_ok(&f, NULL, "/v1/summarize", "{\"text\":\"Some text.\"}");
    ck_assert_uint_eq(f.call.n_jobs, 1);
    ck_assert_str_eq(fake_prompt(&f, 0), "summarize:Some text.</s>");
    ck_assert_uint_eq(f.call.jobs[0].beams.beams, 2);
    ck_assert_uint_eq(f.call.jobs[0].sampling.n_bias, 0);
    ck_assert_float_eq(f.call.jobs[0].sampling.frequency_penalty, 0);
    fake_hypothesis(&f, 0, 0, "A text.", ENGINE_FINISH_STOP, -1);
    fake_final(&f, 0, 3, 0, 8);
    json_t *a = fake_done(&f);
    ck_assert_str_eq(text_at(a, "results/0/summary"), "A text.");
    json_decref(a);
    fake_end(&f);
    fake_begin_ok(&f, NULL, "/v1/summarize", "{\"text\":\"Some text.\",\"stream\":true}");
    ck_assert_uint_eq(f.call.jobs[0].beams.beams, 0);
    fake_end(&f);
    fake_begin_ok(&f, NULL, "/v1/summarize", "{\"text\":\"Some text.\",\"temperature\":0.5}");
    ck_assert_uint_eq(f.call.jobs[0].beams.beams, 0);
    ck_assert_float_eq(f.call.jobs[0].sampling.temperature, 0.5f);
    fake_end(&f);
    fake_refused(NULL, "/v1/summarize", "{\"text\":\"a\",\"focus\":\"b\"}", ERROR_UNSUPPORTED, "focus",
                 "no focus");
}
END_TEST

/* A text that is longer than a source is read in pieces, each with the prefix and the end. */
START_TEST(test_summaries_of_long_texts)
{
    char body[600] = "{\"text\":\"";
    size_t rounds = 0, read = 0;
    for (int i = 0; i < 12; i++)
        memcpy(body + strlen(body), "It rained a lot. ", 18);
    memcpy(body + strlen(body), "\"}", 3);
    translator();
    fake_info(0)->context = 200;
    fake_begin_ok(&f, NULL, "/v1/summarize", body);
    while (f.call.n_jobs) {
        rounds++;
        for (size_t i = 0; i < f.call.n_jobs; i++) {
            ck_assert_uint_le(f.call.jobs[i].n_prompt, 60);
            ck_assert_int_eq(f.call.jobs[i].prompt[f.call.jobs[i].n_prompt - 1], FAKE_EOS);
            read += rounds == 1 ? f.call.jobs[i].n_prompt - 1 : 0;
            fake_hypothesis(&f, i, 0, "It rained.", ENGINE_FINISH_STOP, -1);
            fake_final(&f, i, 3, 0, 8);
        }
        ck_assert_int_eq(fake_advance(&f), 0);
    }
    ck_assert_uint_eq(read, 12 * 17);
    ck_assert_uint_ge(rounds, 2);
    json_t *a = fake_answer(&f);
    ck_assert_str_eq(text_at(a, "results/0/summary"), "It rained.");
    json_decref(a);
    fake_end(&f);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("translate");
    TCase *t = tcase_create("all");
    tcase_add_test(t, test_one_text);
    tcase_add_test(t, test_pieces);
    tcase_add_test(t, test_blank_texts_need_no_model);
    tcase_add_test(t, test_rounds);
    tcase_add_test(t, test_languages_of_one_pair);
    tcase_add_test(t, test_target_tokens);
    tcase_add_test(t, test_prefixes);
    tcase_add_test(t, test_chat_model);
    tcase_add_test(t, test_own_beams);
    tcase_add_test(t, test_completions_with_beams);
    tcase_add_loop_test(t, test_completions_refusals, 0, (int)(sizeof bad / sizeof bad[0]));
    tcase_add_test(t, test_summaries_of_an_encoder_decoder);
    tcase_add_test(t, test_summaries_of_long_texts);
    suite_add_tcase(s, t);
    return suite_run(s);
}
