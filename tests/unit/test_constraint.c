/* test_constraint.c - the ways to say what an answer must look like, all through /v1/completions: each makes
 * a grammar that the job carries, is cached, or is refused by its name. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/constraint.h"
#include "engine/decode/grammar.h"
#include "tests/unit/fake_engine.h"
#include "tests/unit/suite.h"

static struct api *api;

static void open_api(void)
{
    struct error e = {0};
    ck_assert_int_eq(api_create(fake_engine(NULL), &api, &e), 0);
    api_add_model(api, fake_model(0));
}

static void close_api(void)
{
    api_free(api);
}

/* What the fake vocabulary's bytes may say. */
static bool accepts(struct engine_grammar *g, const char *text)
{
    struct grammar_state *s = NULL;
    struct error e = {0};
    uint64_t bits[(FAKE_VOCABULARY + 63) / 64];
    bool may_end = false, alive = true;
    ck_assert_int_eq(grammar_state_create(g, &s, &e), 0);
    for (size_t i = 0; alive; i++) {
        ck_assert_int_eq(grammar_state_mask(s, bits, sizeof bits / sizeof bits[0], &may_end), GRAMMAR_OK);
        uint8_t byte = (uint8_t)text[i];
        if (!byte)
            break;
        alive = bits[byte / 64] >> (byte % 64) & 1;
        grammar_state_accept(s, byte);
    }
    grammar_state_free(s);
    return alive && may_end;
}

static const struct {
    const char *fields, *good, *bad;
} ways[] = {
    {"\"response_format\":{\"type\":\"json_object\"}", "{\"a\":1}", "[1]"},
    {"\"response_format\":{\"type\":\"json_schema\",\"json_schema\":{\"name\":\"n-1_A\",\"strict\":true,"
     "\"schema\":{\"type\":\"null\"}}}",
     "null", "1"},
    {"\"response_format\":{\"type\":\"json_schema\",\"json_schema\":{\"name\":\"x\"}}", "{}", "1"},
    {"\"response_format\":{\"type\":\"json_schema\",\"schema\":{\"type\":\"null\"}}", "null", "1"},
    {"\"response_format\":{\"type\":\"json_object\",\"schema\":{\"type\":\"null\"}}", "null", "{}"},
    {"\"response_format\":{\"type\":\"regex\",\"pattern\":\"a+\"}", "aa", ""},
    {"\"response_format\":{\"type\":\"grammar\",\"grammar\":\"root ::= \\\"x\\\"\"}", "x", "y"},
    {"\"json_schema\":{\"const\":5}", "5", "6"},
    {"\"guided_json\":\"{\\\"const\\\":5}\"", "5", "6"},
    {"\"grammar\":\"root ::= [ab]+\"", "abba", "c"},
    {"\"guided_grammar\":\"root ::= [ab]+\"", "abba", "c"},
    {"\"regex\":\"(yes|no)!?\"", "no!", "maybe"},
    {"\"guided_regex\":\"^a$|^b$\"", "b", "ab"},
    {"\"regex\":\"(^a|b)c\"", "bc", "xbc"},
    {"\"choice\":[\"yes\",\"no \\\"way\\\"\\n\"]", "no \"way\"\n", "ye"},
    {"\"guided_choice\":[\"yes\"]", "yes", "no"},
    {"\"structured_outputs\":{\"json\":{\"type\":\"null\"}}", "null", "1"},
    {"\"structured_outputs\":{\"regex\":\"a\"}", "a", "b"},
    {"\"structured_outputs\":{\"choice\":[\"a\"]}", "a", "b"},
    {"\"structured_outputs\":{\"grammar\":\"root ::= \\\"a\\\"\"}", "a", "b"},
    {"\"structured_outputs\":{\"json_object\":true}", "{}", "1"},
    {"\"guided_json_object\":true", "{}", "1"},
};

static void body_of(char *out, size_t size, const char *fields)
{
    snprintf(out, size, "{\"prompt\":\"x\",%s}", fields);
}

START_TEST(every_way_makes_a_grammar)
{
    char body[512];
    struct fake_call f;
    body_of(body, sizeof body, ways[_i].fields);
    fake_begin_ok(&f, api, "/v1/completions", body);
    struct engine_grammar *g = f.call.jobs[0].grammar;
    ck_assert_msg(g != NULL, "%s", body);
    ck_assert_msg(accepts(g, ways[_i].good) && !accepts(g, ways[_i].bad), "%s", body);
    fake_end(&f);
}
END_TEST

START_TEST(text_is_free)
{
    static const char *const free_ones[] = {"\"response_format\":{\"type\":\"text\"}",
                                            "\"response_format\":null", "\"guided_json\":null",
                                            "\"guided_decoding_backend\":\"any\""};
    for (size_t i = 0; i < sizeof free_ones / sizeof free_ones[0]; i++) {
        char body[256];
        struct fake_call f;
        body_of(body, sizeof body, free_ones[i]);
        fake_begin_ok(&f, api, "/v1/completions", body);
        ck_assert_ptr_null(f.call.jobs[0].grammar);
        fake_end(&f);
    }
}
END_TEST

START_TEST(the_same_wish_is_compiled_once)
{
    static const char *const body = "{\"prompt\":\"x\",\"json_schema\":{\"type\":\"null\"}}";
    struct fake_call a, b, c;
    fake_begin_ok(&a, api, "/v1/completions", body);
    fake_begin_ok(&b, api, "/v1/completions", body);
    fake_begin_ok(&c, api, "/v1/completions", "{\"prompt\":\"x\",\"regex\":\"null\"}");
    ck_assert_ptr_eq(a.call.jobs[0].grammar, b.call.jobs[0].grammar);
    ck_assert_ptr_ne(a.call.jobs[0].grammar, c.call.jobs[0].grammar);
    fake_end(&a);
    ck_assert(accepts(b.call.jobs[0].grammar, "null"));
    fake_end(&b);
    fake_end(&c);
}
END_TEST

/* More different ones than are kept. */
START_TEST(the_cache_forgets)
{
    for (int i = 0; i < 200; i++) {
        char body[128];
        struct fake_call f;
        snprintf(body, sizeof body, "{\"prompt\":\"x\",\"json_schema\":{\"const\":%d}}", i);
        fake_begin_ok(&f, api, "/v1/completions", body);
        snprintf(body, sizeof body, "%d", i);
        ck_assert(accepts(f.call.jobs[0].grammar, body));
        fake_end(&f);
    }
}
END_TEST

static const struct {
    const char *fields;
    enum error_kind kind;
    const char *param, *message;
} refused[] = {
    {"\"response_format\":{}", ERROR_INVALID_REQUEST, "response_format.type", "json_schema is needed"},
    {"\"response_format\":{\"type\":\"xml\"}", ERROR_INVALID_REQUEST, "response_format.type", "not \"xml\""},
    {"\"response_format\":{\"type\":\"text\",\"extra\":1}", ERROR_INVALID_REQUEST, "response_format",
     "response_format.extra"},
    {"\"response_format\":{\"type\":\"json_schema\"}", ERROR_INVALID_REQUEST, "response_format.json_schema",
     "is needed"},
    {"\"response_format\":{\"type\":\"json_schema\",\"json_schema\":{\"name\":\"a b\",\"schema\":{}}}",
     ERROR_INVALID_REQUEST, "response_format.json_schema.name", "64 letters"},
    {"\"response_format\":{\"type\":\"json_schema\",\"json_schema\":{\"schema\":{}}}", ERROR_INVALID_REQUEST,
     "response_format.json_schema.name", "64 letters"},
    {"\"response_format\":{\"type\":\"json_schema\",\"json_schema\":{\"name\":\"a\",\"schema\":5}}",
     ERROR_INVALID_REQUEST, "response_format.json_schema.schema", "JSON Schema"},
    {"\"response_format\":{\"type\":\"json_schema\",\"json_schema\":{\"name\":\"a\",\"strict\":1,\"schema\":{"
     "}}}",
     ERROR_INVALID_REQUEST, "response_format.json_schema.strict", "true or false"},
    {"\"response_format\":{\"type\":\"json_schema\",\"json_schema\":{\"name\":\"a\",\"shema\":{}}}",
     ERROR_INVALID_REQUEST, "response_format.json_schema", "shema"},
    {"\"json_schema\":{\"not\":{}}", ERROR_UNSUPPORTED, "json_schema", "#/not"},
    {"\"json_schema\":{\"type\":\"object\",\"properties\":{\"a\":{\"$ref\":\"#\"}},\"required\":[\"a\"]}",
     ERROR_INVALID_REQUEST, "json_schema", "#: can never end"},
    {"\"guided_json\":\"{\"", ERROR_INVALID_REQUEST, "json_schema", "json_schema: "},
    {"\"grammar\":\"root ::= x\"", ERROR_INVALID_REQUEST, "grammar", "the rule x (line 1) is not defined"},
    {"\"regex\":\"(?=a)\"", ERROR_UNSUPPORTED, "regex", "lookaheads"},
    {"\"regex\":\"(a^b)\"", ERROR_INVALID_REQUEST, "regex", "no text matches"},
    {"\"choice\":[]", ERROR_INVALID_REQUEST, "choice", "list 1 to"},
    {"\"choice\":[1]", ERROR_INVALID_REQUEST, "choice", "choice[0] must be a text"},
    {"\"choice\":[\"a\"],\"regex\":\"b\"", ERROR_INVALID_REQUEST, "choice", "regex and choice both"},
    {"\"response_format\":{\"type\":\"json_object\"},\"grammar\":\"root ::= x\"", ERROR_INVALID_REQUEST,
     "grammar", "send one"},
    {"\"structured_outputs\":{\"structural_tag\":{}}", ERROR_UNSUPPORTED, "structured_outputs.structural_tag",
     "not supported"},
    {"\"structured_outputs\":{\"jason\":{}}", ERROR_INVALID_REQUEST, "structured_outputs.jason",
     "unknown field"},
    {"\"guided_whitespace_pattern\":\"\\\\s\"", ERROR_UNSUPPORTED, "guided_whitespace_pattern",
     "can't be chosen"},
};

START_TEST(refused_by_name)
{
    char body[512];
    body_of(body, sizeof body, refused[_i].fields);
    fake_refused(api, "/v1/completions", body, refused[_i].kind, refused[_i].param, refused[_i].message);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("constraint");
    TCase *c = tcase_create("constraint");
    tcase_add_checked_fixture(c, open_api, close_api);
    tcase_add_loop_test(c, every_way_makes_a_grammar, 0, sizeof ways / sizeof ways[0]);
    tcase_add_test(c, text_is_free);
    tcase_add_test(c, the_same_wish_is_compiled_once);
    tcase_add_test(c, the_cache_forgets);
    tcase_add_loop_test(c, refused_by_name, 0, sizeof refused / sizeof refused[0]);
    suite_add_tcase(suite, c);
    return suite_run(suite);
}
