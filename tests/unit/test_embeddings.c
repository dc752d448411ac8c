/* test_embeddings.c - /v1/embeddings and /v1/rerank: inputs, formats, dimensions, order, truncation, errors.
 */
#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/limits.h"
#include "tests/unit/fake_engine.h"
#include "tests/unit/suite.h"

static struct fake_call f;

static void open_embeddings(const char *body)
{
    fake_engine(NULL);
    fake_info(0)->abilities = ENGINE_CAN_EMBED;
    fake_info(0)->pooling = ENGINE_POOLING_MEAN;
    fake_info(0)->normalize = true;
    fake_begin_ok(&f, NULL, "/v1/embeddings", body);
}

static const float vectors[2][8] = {{3, 0, 4, 0, 0, 0, 0, 0}, {1, 1, 1, 1, 1, 1, 1, 1}};

static json_t *play_vectors(void)
{
    for (size_t i = f.call.n_jobs; i-- > 0;) /* in any order */
        fake_result(&f, i, vectors[i % 2], 1, 8);
    return fake_done(&f);
}

START_TEST(test_embeddings)
{
    open_embeddings("{\"input\":[\"ab\",\"\"]}");
    ck_assert_uint_eq(f.call.n_jobs, 2);
    ck_assert_str_eq(fake_prompt(&f, 0), "<s>ab</s>");
    ck_assert_str_eq(fake_prompt(&f, 1), "<s></s>");
    ck_assert_int_eq(f.call.jobs[0].task, ENGINE_TASK_EMBED);
    ck_assert_int_eq(f.call.jobs[0].pooling, ENGINE_POOLING_MEAN);
    ck_assert_ptr_null(f.call.jobs[0].types);
    json_t *a = play_vectors();
    ck_assert_str_eq(text_at(a, "object"), "list");
    ck_assert_str_eq(text_at(a, "model"), "toy");
    ck_assert_str_eq(text_at(a, "data/0/object"), "embedding");
    ck_assert_int_eq(json_integer_value(at(a, "data/1/index")), 1);
    ck_assert_uint_eq(json_array_size(at(a, "data/0/embedding")), 8);
    ck_assert_double_eq_tol(number_at(a, "data/0/embedding/0"), 0.6, 1e-7);
    ck_assert_double_eq_tol(number_at(a, "data/0/embedding/2"), 0.8, 1e-7);
    ck_assert_double_eq_tol(number_at(a, "data/1/embedding/7"), sqrt(1.0 / 8), 1e-7);
    ck_assert_int_eq(json_integer_value(at(a, "usage/prompt_tokens")), 6);
    ck_assert_int_eq(json_integer_value(at(a, "usage/total_tokens")), 6);
    json_decref(a);
    fake_end(&f);
}
END_TEST

START_TEST(test_inputs)
{
    open_embeddings("{\"input\":\"ab\"}");
    ck_assert_uint_eq(f.call.n_jobs, 1);
    fake_end(&f);
    open_embeddings("{\"input\":[97,98,257]}"); /* ids as they are */
    ck_assert_uint_eq(f.call.n_jobs, 1);
    ck_assert_str_eq(fake_prompt(&f, 0), "ab</s>");
    fake_end(&f);
    open_embeddings("{\"input\":[[97],[98,99]]}");
    ck_assert_uint_eq(f.call.n_jobs, 2);
    ck_assert_str_eq(fake_prompt(&f, 1), "bc");
    fake_end(&f);
    open_embeddings("{\"input\":[\"</s>\"],\"pooling\":\"cls\",\"user\":\"u\"}"); /* text, not a token */
    ck_assert_uint_eq(f.call.jobs[0].n_prompt, 6);
    ck_assert_int_eq(f.call.jobs[0].pooling, ENGINE_POOLING_CLS);
    fake_end(&f);
}
END_TEST

START_TEST(test_dimensions_are_made_length_1_again)
{
    open_embeddings("{\"input\":[\"a\",\"b\"],\"dimensions\":2}");
    json_t *a = play_vectors();
    ck_assert_uint_eq(json_array_size(at(a, "data/0/embedding")), 2);
    ck_assert_double_eq_tol(number_at(a, "data/0/embedding/0"), 1, 1e-7);
    ck_assert_double_eq_tol(number_at(a, "data/1/embedding/1"), sqrt(0.5), 1e-7);
    json_decref(a);
    fake_end(&f);
    open_embeddings("{\"input\":[\"a\",\"b\"],\"dimensions\":3,\"normalize\":false}");
    a = play_vectors();
    ck_assert_double_eq_tol(number_at(a, "data/0/embedding/2"), 4, 1e-7);
    json_decref(a);
    fake_end(&f);
}
END_TEST

static void decode_base64(const char *text, float *out)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    unsigned char *to = (unsigned char *)out;
    unsigned bits = 0, n = 0;
    for (; *text && *text != '='; text++) {
        bits = bits << 6 | (unsigned)(strchr(digits, *text) - digits);
        n += 6;
        if (n >= 8) {
            n -= 8;
            *to++ = (unsigned char)(bits >> n);
        }
    }
}

/* 8 floats end without, 7 with two and 2 with one filling character. */
START_TEST(test_base64_is_the_same_numbers)
{
    static const char *const bodies[][2] = {
        {"{\"input\":\"a\",\"encoding_format\":\"base64\"}", "{\"input\":\"a\"}"},
        {"{\"input\":\"a\",\"dimensions\":7,\"encoding_format\":\"base64\"}",
         "{\"input\":\"a\",\"dimensions\":7,\"encoding_format\":\"float\"}"},
        {"{\"input\":\"a\",\"dimensions\":2,\"encoding_format\":\"base64\"}",
         "{\"input\":\"a\",\"dimensions\":2}"}};
    float decoded[16] = {0};
    open_embeddings(bodies[_i][0]);
    json_t *a = play_vectors();
    const char *text = text_at(a, "data/0/embedding");
    ck_assert_uint_eq(strlen(text) % 4, 0);
    decode_base64(text, decoded);
    json_decref(a);
    fake_end(&f);
    open_embeddings(bodies[_i][1]);
    a = play_vectors();
    const json_t *list = at(a, "data/0/embedding");
    for (size_t i = 0; i < json_array_size(list); i++)
        ck_assert(decoded[i] == (float)json_number_value(json_array_get(list, i)));
    json_decref(a);
    fake_end(&f);
}
END_TEST

START_TEST(test_truncation_is_asked_for_and_told)
{
    char body[400], text[151];
    memset(text, 'x', 150);
    text[150] = 0;
    snprintf(body, sizeof body, "{\"input\":[\"a\",\"%s\"],\"truncate\":true}", text);
    open_embeddings(body);
    ck_assert_uint_eq(f.call.jobs[1].n_prompt, FAKE_CONTEXT);
    ck_assert_int_eq(f.call.jobs[1].prompt[0], FAKE_BOS);
    ck_assert_int_eq(f.call.jobs[1].prompt[FAKE_CONTEXT - 1], FAKE_EOS);
    json_t *a = play_vectors();
    ck_assert(json_is_true(at(a, "data/1/truncated")));
    ck_assert_ptr_null(at(a, "data/0/truncated"));
    json_decref(a);
    fake_end(&f);
    snprintf(body, sizeof body, "{\"input\":[\"a\",\"%s\"]}", text);
    fake_refused(NULL, "/v1/embeddings", body, ERROR_CONTEXT_LENGTH, "input",
                 "maximum context length is 100 tokens. However, input[1] has 152 tokens");
    snprintf(body, sizeof body, "{\"input\":\"%s\"}", text);
    fake_refused(NULL, "/v1/embeddings", body, ERROR_CONTEXT_LENGTH, "input",
                 "However, input has 152 tokens");
}
END_TEST

START_TEST(test_an_encoder_decoder_has_the_context_of_its_source)
{
    char body[100], text[61];
    fake_engine(NULL);
    fake_transforms(0);
    memset(text, 'x', 59);
    text[59] = 0;
    snprintf(body, sizeof body, "{\"input\":\"%s\"}", text);
    fake_begin_ok(&f, NULL, "/v1/embeddings", body);
    fake_end(&f);
    snprintf(body, sizeof body, "{\"input\":\"x%s\"}", text);
    fake_refused(NULL, "/v1/embeddings", body, ERROR_CONTEXT_LENGTH, "input", "is 60 tokens");
}
END_TEST

/* As many as OpenAI takes, in rounds of 256 that leave room in the queue for others. */
START_TEST(test_many_inputs)
{
    static char body[16384] = "{\"input\":[\"a\"";
    size_t done = 0, rounds = 0;
    for (int i = 1; i < LIMIT_PROMPTS; i++)
        memcpy(body + strlen(body), ",\"b\"", 5);
    memcpy(body + strlen(body), "]}", 3);
    open_embeddings(body);
    for (; f.call.n_jobs; rounds++) {
        ck_assert_uint_eq(f.call.n_jobs, 256);
        ck_assert_str_eq(fake_prompt(&f, 0), done ? "<s>b</s>" : "<s>a</s>");
        for (size_t i = 0; i < 256; i++, done++) {
            const float vector[8] = {1, (float)done};
            fake_result(&f, i, vector, 1, 8);
        }
        ck_assert_int_eq(fake_advance(&f), 0);
    }
    ck_assert_uint_eq(rounds, 8);
    json_t *a = fake_answer(&f);
    const json_t *last = json_array_get(at(a, "data"), 2047);
    ck_assert_int_eq(json_integer_value(at(last, "index")), 2047);
    ck_assert_double_eq_tol(number_at(last, "embedding/1") / number_at(last, "embedding/0"), 2047, 0.01);
    ck_assert_int_eq(json_integer_value(at(a, "usage/prompt_tokens")), 3 * 2048);
    json_decref(a);
    fake_end(&f);
    memcpy(body + strlen(body) - 2, ",\"b\"]}", 7);
    fake_refused(NULL, "/v1/embeddings", body, ERROR_INVALID_REQUEST, "input", "from 1 to 2048");
}
END_TEST

START_TEST(test_embeddings_refusals)
{
    static const struct {
        const char *body, *param, *message;
    } bad[] = {{"{}", "input", "input is required"},
               {"{\"input\":[]}", "input", "from 1 to 2048"},
               {"{\"input\":5}", "input", "a string or a list"},
               {"{\"input\":[\"a\",5]}", "input", "input[1] must be a text"},
               {"{\"input\":[[]]}", "input", "input[0] is empty"},
               {"{\"input\":[262]}", "input", "262 is no token id"},
               {"{\"input\":\"a\",\"dimensions\":9}", "dimensions", "have 8 dimensions"},
               {"{\"input\":\"a\",\"dimensions\":0}", "dimensions", "from 1"},
               {"{\"input\":\"a\",\"pooling\":\"sum\"}", "pooling", "one of"},
               {"{\"input\":\"a\",\"encoding_format\":\"hex\"}", "encoding_format", "one of"},
               {"{\"input\":\"a\",\"stream\":true}", "stream", "unknown field"}};
    open_embeddings("{\"input\":\"a\"}");
    fake_end(&f);
    fake_refused(NULL, "/v1/embeddings", bad[_i].body, ERROR_INVALID_REQUEST, bad[_i].param, bad[_i].message);
}
END_TEST

START_TEST(test_failure)
{
    open_embeddings("{\"input\":[\"a\",\"b\"]}");
    fake_result(&f, 0, vectors[0], 1, 8);
    fake_fail(&f, 1, ERROR_DEADLINE, "too late");
    ck_assert_int_eq(fake_advance(&f), -1);
    ck_assert_int_eq(f.error.kind, ERROR_DEADLINE);
    fake_end(&f);
    open_embeddings("{\"input\":[\"a\",\"b\"]}"); /* a client that leaves */
    fake_end(&f);
}
END_TEST

/* ---- rerank --------------------------------------------------------------------------------- */

static void open_ranking(unsigned abilities, size_t n_labels, const char *body)
{
    fake_engine(NULL);
    fake_info(0)->abilities = abilities;
    fake_info(0)->n_labels = n_labels;
    fake_info(0)->problem = n_labels == 1 ? ENGINE_PROBLEM_REGRESSION : ENGINE_PROBLEM_SINGLE;
    fake_begin_ok(&f, NULL, "/v1/rerank", body);
}

#define DOCUMENTS "\"documents\":[\"b\",{\"text\":\"cc\"},\"d\",\"e\"]"

static void check_order(const json_t *a, const char *order)
{
    ck_assert_uint_eq(json_array_size(at(a, "results")), strlen(order));
    for (size_t i = 0; order[i]; i++)
        ck_assert_int_eq(json_integer_value(at(json_array_get(at(a, "results"), i), "index")),
                         order[i] - '0');
}

START_TEST(test_rerank_with_a_cross_encoder)
{
    const float logits[4] = {-1, 2, 2, 0.5f};
    open_ranking(ENGINE_CAN_CLASSIFY | ENGINE_CAN_EMBED, 1, "{\"query\":\"q\"," DOCUMENTS "}");
    ck_assert_uint_eq(f.call.n_jobs, 4);
    ck_assert_str_eq(fake_prompt(&f, 1), "<s>q</s>cc</s>");
    ck_assert_int_eq(f.call.jobs[1].task, ENGINE_TASK_CLASSIFY);
    ck_assert_int_eq(f.call.jobs[1].types[2], 0);
    ck_assert_int_eq(f.call.jobs[1].types[3], 1);
    for (size_t i = 0; i < 4; i++)
        fake_result(&f, i, &logits[i], 1, 1);
    json_t *a = fake_done(&f);
    ck_assert_str_eq(text_at(a, "object"), "list");
    ck_assert_str_eq(text_at(a, "method"), "cross-encoder");
    check_order(a, "1230"); /* equal ones in the order of the request */
    ck_assert_double_eq_tol(number_at(a, "results/0/relevance_score"), 1 / (1 + exp(-2)), 1e-6);
    ck_assert_double_eq_tol(number_at(a, "results/3/relevance_score"), 1 / (1 + exp(1)), 1e-6);
    ck_assert_ptr_null(at(a, "results/0/document"));
    ck_assert_int_eq(json_integer_value(at(a, "usage/total_tokens")), 21);
    json_decref(a);
    fake_end(&f);
}
END_TEST

START_TEST(test_rerank_with_two_labels)
{
    const float logits[2] = {1, 3};
    open_ranking(ENGINE_CAN_CLASSIFY, 2, "{\"query\":\"q\",\"documents\":[\"a\"]}");
    fake_result(&f, 0, logits, 1, 2);
    json_t *a = fake_done(&f);
    ck_assert_double_eq_tol(number_at(a, "results/0/relevance_score"), 1 / (1 + exp(-2)), 1e-6);
    json_decref(a);
    fake_end(&f);
}
END_TEST

/* A classifier into more labels than no and yes does not rank; its vectors do. */
START_TEST(test_rerank_with_cosines)
{
    const float values[5][2] = {{2, 0}, {0, 3}, {1, 1}, {-5, 0}, {0.5f, 0}};
    open_ranking(ENGINE_CAN_CLASSIFY | ENGINE_CAN_EMBED, 3,
                 "{\"query\":\"q\",\"top_n\":3,\"return_documents\":true," DOCUMENTS "}");
    ck_assert_uint_eq(f.call.n_jobs, 5);
    ck_assert_str_eq(fake_prompt(&f, 0), "<s>q</s>");
    ck_assert_str_eq(fake_prompt(&f, 2), "<s>cc</s>");
    for (size_t i = 0; i < 5; i++)
        fake_result(&f, i, values[i], 1, 2);
    json_t *a = fake_done(&f);
    ck_assert_str_eq(text_at(a, "method"), "cosine");
    check_order(a, "310");
    ck_assert_double_eq_tol(number_at(a, "results/0/relevance_score"), 1, 1e-6);
    ck_assert_double_eq_tol(number_at(a, "results/1/relevance_score"), sqrt(0.5), 1e-6);
    ck_assert_str_eq(text_at(a, "results/1/document/text"), "cc");
    json_decref(a);
    fake_end(&f);
}
END_TEST

/* Of a pair the longer text is cut, and both where both are long. */
START_TEST(test_rerank_truncates_the_longer_text)
{
    char body[600], query[121], document[121];
    memset(query, 'q', 120);
    memset(document, 'd', 120);
    query[20] = document[120] = 0;
    snprintf(body, sizeof body, "{\"query\":\"%s\",\"documents\":[\"a\",\"%s\"],\"truncate\":true}", query,
             document);
    open_ranking(ENGINE_CAN_CLASSIFY, 1, body);
    const char *text = fake_prompt(&f, 1);
    ck_assert_uint_eq(f.call.jobs[1].n_prompt, FAKE_CONTEXT);
    ck_assert_uint_eq(strspn(strchr(text, 'q'), "q"), 20);
    ck_assert_uint_eq(strspn(strchr(text, 'd'), "d"), 77);
    ck_assert_int_eq(f.call.jobs[1].prompt[99], FAKE_EOS);
    fake_end(&f);
    query[20] = 'q';
    query[120] = 0;
    snprintf(body, sizeof body, "{\"query\":\"%s\",\"documents\":[\"%s\"],\"truncate\":true}", query,
             document);
    open_ranking(ENGINE_CAN_CLASSIFY, 1, body);
    text = fake_prompt(&f, 0);
    ck_assert_uint_eq(strspn(strchr(text, 'q'), "q"), 48);
    ck_assert_uint_eq(strspn(strchr(text, 'd'), "d"), 49);
    const float zero = 0;
    fake_result(&f, 0, &zero, 1, 1);
    json_t *a = fake_done(&f);
    ck_assert(json_is_true(at(a, "results/0/truncated")));
    json_decref(a);
    fake_end(&f);
    snprintf(body, sizeof body, "{\"query\":\"q\",\"documents\":[\"a\",\"%s\"]}", document);
    fake_refused(NULL, "/v1/rerank", body, ERROR_CONTEXT_LENGTH, "documents", "documents[1] has 124 tokens");
    fake_info(0)->abilities = ENGINE_CAN_EMBED;
    fake_refused(NULL, "/v1/rerank", body, ERROR_CONTEXT_LENGTH, "documents", "documents[1] has 122 tokens");
    snprintf(body, sizeof body, "{\"query\":\"%s\",\"documents\":[\"a\"]}", query);
    fake_refused(NULL, "/v1/rerank", body, ERROR_CONTEXT_LENGTH, "query", "query has 122 tokens");
}
END_TEST

START_TEST(test_rerank_refusals)
{
    static const struct {
        const char *body, *param;
    } bad[] = {{"{\"documents\":[\"a\"]}", "query"},
               {"{\"query\":\"\",\"documents\":[\"a\"]}", "query"},
               {"{\"query\":\"a\"}", "documents"},
               {"{\"query\":\"a\",\"documents\":[]}", "documents"},
               {"{\"query\":\"a\",\"documents\":[5]}", "documents"},
               {"{\"query\":\"a\",\"documents\":[{\"body\":\"b\"}]}", "documents"},
               {"{\"query\":\"a\",\"documents\":\"b\"}", "documents"},
               {"{\"query\":\"a\",\"documents\":[\"b\"],\"top_n\":0}", "top_n"},
               {"{\"query\":\"a\",\"documents\":[\"b\"],\"texts\":[]}", "texts"}};
    open_ranking(ENGINE_CAN_EMBED, 0, "{\"query\":\"q\",\"documents\":[\"a\"],\"top_n\":9}");
    fake_end(&f);
    fake_refused(NULL, "/v1/rerank", bad[_i].body, ERROR_INVALID_REQUEST, bad[_i].param, "");
}
END_TEST

int main(void)
{
    Suite *s = suite_create("embeddings");
    TCase *t = tcase_create("all");
    tcase_add_test(t, test_embeddings);
    tcase_add_test(t, test_inputs);
    tcase_add_test(t, test_dimensions_are_made_length_1_again);
    tcase_add_loop_test(t, test_base64_is_the_same_numbers, 0, 3);
    tcase_add_test(t, test_truncation_is_asked_for_and_told);
    tcase_add_test(t, test_an_encoder_decoder_has_the_context_of_its_source);
    tcase_add_test(t, test_many_inputs);
    tcase_add_loop_test(t, test_embeddings_refusals, 0, 11);
    tcase_add_test(t, test_failure);
    tcase_add_test(t, test_rerank_with_a_cross_encoder);
    tcase_add_test(t, test_rerank_with_two_labels);
    tcase_add_test(t, test_rerank_with_cosines);
    tcase_add_test(t, test_rerank_truncates_the_longer_text);
    tcase_add_loop_test(t, test_rerank_refusals, 0, 9);
    suite_add_tcase(s, t);
    return suite_run(s);
}
