/* test_schema.c - JSON schemas as grammars: what they let through and what not, value by value; texts drawn
 * at random, which must be JSON; what is refused, where and why.  tests/http/test_structured.py asks another
 * validator. */
#include <stdio.h>
#include <stdlib.h>

#include "api/schema.h"
#include "engine/base/json.h"
#include "engine/base/limits.h"
#include "tests/unit/grammar_probe.h"
#include "tests/unit/suite.h"

static json_t *parse(const char *text)
{
    json_t *value = NULL;
    struct error e = {0};
    ck_assert_msg(json_parse(text, strlen(text), &value, &e) == 0, "%s: %s", text, e.text);
    return value;
}

static struct probe open_schema(const char *text)
{
    json_t *schema = parse(text);
    struct error e = {0};
    struct buf grammar;
    buf_init(&grammar, LIMIT_GRAMMAR_TEXT);
    ck_assert_msg(schema_write(schema, "root", &grammar, &e) == 0, "%s: %s", text, e.text);
    struct probe p = probe_open(&grammar);
    buf_free(&grammar);
    json_decref(schema);
    return p;
}

/* ---- what is let through ------------------------------------------------------------------------- */

enum { MOST = 16 };

static const struct {
    const char *schema, *good[MOST], *bad[MOST];
} cases[] = {
    {"{}",
     {"1", "\"a\"", "{\"a\":[1, true,null]}", "[]", "-1.5e+10"},
     {"", "01", "{a:1}", "[1,]", "{ }", "1.", "+1"}},
    {"true", {"null", "[[]]"}, {"nul"}},
    {"{\"type\":\"null\"}", {"null"}, {"0", "false"}},
    {"{\"type\":[\"boolean\",\"null\"]}", {"true", "false", "null"}, {"\"true\"", "1"}},
    {"{\"type\":\"integer\"}", {"0", "-7", "120"}, {"-0", "1.0", "007", "1e3", "1234567890123456"}},
    {"{\"type\":\"number\"}", {"0", "-0.5", "1e5", "2.50E-3"}, {".5", "1.", "0x1", "NaN"}},
    {"{\"type\":\"string\"}",
     {"\"\"", "\"\\n\\\"\\\\\"", "\"\xC3\xA9\xF0\x9F\x98\x80\""},
     {"\"\\x\"", "\"\n\"", "a", "\"\x80\""}},
    {"{\"enum\":[1,\"a\",null,[1,2],{\"b\":0.1}]}",
     {"1", "\"a\"", "null", "[1,2]", "{\"b\":0.1}"},
     {"2", "\"b\"", "[1]"}},
    {"{\"enum\":[1,\"a\",2.5],\"type\":\"number\"}", {"1", "2.5"}, {"\"a\""}},
    {"{\"const\":\"x\\\"y\"}", {"\"x\\\"y\""}, {"\"xy\""}},
    {"{\"enum\":[\"abc\",\"abd\",\"x\"],\"pattern\":\"^ab\",\"maxLength\":3}",
     {"\"abc\"", "\"abd\""},
     {"\"x\""}},
    {"{\"enum\":[{\"a\":1},{\"a\":2},{}],\"required\":[\"a\"],\"properties\":{\"a\":{\"maximum\":1}}}",
     {"{\"a\":1}"},
     {"{\"a\":2}", "{}"}},
    /* numbers */
    {"{\"type\":\"integer\",\"minimum\":3,\"maximum\":124}",
     {"3", "9", "10", "99", "100", "124"},
     {"2", "125", "1", "1000", "-3"}},
    {"{\"type\":\"integer\",\"minimum\":-12,\"exclusiveMaximum\":5}",
     {"-12", "-1", "0", "4", "-9"},
     {"5", "-13", "-20", "10"}},
    {"{\"type\":\"integer\",\"exclusiveMinimum\":0}", {"1", "999999999999999"}, {"0", "-1"}},
    {"{\"type\":\"integer\",\"maximum\":-100}", {"-100", "-101", "-5000"}, {"-99", "100", "0"}},
    {"{\"type\":\"integer\",\"minimum\":0.5,\"maximum\":2.5}", {"1", "2"}, {"0", "3"}},
    {"{\"type\":\"integer\",\"multipleOf\":7,\"minimum\":-20,\"maximum\":30}",
     {"0", "7", "28", "-14"},
     {"8", "35", "-21", "1"}},
    {"{\"type\":\"number\",\"multipleOf\":5}", {"5", "-10", "0"}, {"5.5", "3"}},
    {"{\"type\":\"number\",\"minimum\":0,\"maximum\":1}",
     {"0", "1", "0.5", "0.999", "1.0"},
     {"1.1", "-0.1", "2", "1.01", "10"}},
    {"{\"type\":\"number\",\"exclusiveMinimum\":0,\"exclusiveMaximum\":1}",
     {"0.5", "0.001"},
     {"0", "1", "0.0", "1.0"}},
    {"{\"type\":\"number\",\"minimum\":-1.25,\"maximum\":2.75}",
     {"-1.25", "-1.2", "0", "2.75", "2.7", "-0.5", "2.750"},
     {"-1.26", "2.76", "-1.3", "3", "-0.0"}},
    {"{\"type\":\"number\",\"minimum\":10.5}", {"10.5", "10.51", "11", "300"}, {"10.4", "10", "9.9", "-20"}},
    {"{\"type\":\"number\",\"exclusiveMaximum\":-2}", {"-2.1", "-3", "-2.0001"}, {"-2", "-1.9", "0", "-2.0"}},
    {"{\"type\":\"number\",\"minimum\":0.25,\"maximum\":0.3}",
     {"0.25", "0.3", "0.29", "0.2999"},
     {"0.24", "0.31", "0.2", "1"}},
    /* strings */
    {"{\"type\":\"string\",\"minLength\":2,\"maxLength\":3}",
     {"\"ab\"", "\"\xC3\xA9\xC3\xA9\xC3\xA9\"", "\"\\n\\n\""},
     {"\"a\"", "\"abcd\""}},
    {"{\"type\":\"string\",\"pattern\":\"^[a-z]+\\\\d$\"}", {"\"ab1\""}, {"\"1\"", "\"a12\"", "\"a\""}},
    {"{\"type\":\"string\",\"pattern\":\"b+\"}", {"\"b\"", "\"abba\""}, {"\"a\"", "\"\""}},
    {"{\"type\":\"string\",\"pattern\":\"^a*$\",\"minLength\":2,\"maxLength\":4}",
     {"\"aa\"", "\"aaaa\""},
     {"\"a\"", "\"aaaaa\"", "\"ab\""}},
    {"{\"allOf\":[{\"pattern\":\"^a\"},{\"pattern\":\"b$\"}],\"type\":\"string\",\"maxLength\":5}",
     {"\"ab\"", "\"axxb\""},
     {"\"a\"", "\"b\"", "\"axxxxb\""}},
    {"{\"type\":\"string\",\"format\":\"date\"}",
     {"\"2024-02-28\"", "\"1999-12-31\""},
     {"\"2024-02-30\"", "\"2024-13-01\"", "\"24-01-01\""}},
    {"{\"type\":\"string\",\"format\":\"date-time\"}",
     {"\"2024-02-28T23:59:59Z\"", "\"2024-02-28T00:00:00.5+02:00\""},
     {"\"2024-02-28\"", "\"2024-02-28T24:00:00Z\""}},
    {"{\"type\":\"string\",\"format\":\"uuid\"}",
     {"\"123e4567-e89b-12d3-a456-426614174000\""},
     {"\"123e4567e89b12d3a456426614174000\""}},
    {"{\"type\":\"string\",\"format\":\"ipv4\"}",
     {"\"127.0.0.1\"", "\"255.255.255.255\""},
     {"\"256.0.0.1\"", "\"1.2.3\"", "\"01.2.3.4\""}},
    {"{\"type\":\"string\",\"format\":\"email\",\"maxLength\":20}",
     {"\"ann@example.org\""},
     {"\"ann\"", "\"annnnnnnnnnnnn@example.org\""}},
    {"{\"type\":\"string\",\"format\":\"duration\"}",
     {"\"P1Y2M3D\"", "\"PT5M\"", "\"P2W\"", "\"P1DT12H\""},
     {"\"P\"", "\"PT\"", "\"P1Y3D\""}},
    {"{\"type\":\"string\",\"format\":\"password\",\"maxLength\":3}", {"\"\"", "\"a\\nb\""}, {"\"abcd\""}},
    {"{\"type\":\"integer\",\"format\":\"int32\"}", {"5"}, {"\"5\""}},
    /* arrays */
    {"{\"type\":\"array\"}", {"[]", "[1, \"a\"]"}, {"[,]"}},
    {"{\"type\":\"array\",\"items\":{\"type\":\"integer\"},\"minItems\":1,\"maxItems\":3}",
     {"[1]", "[1,2,3]"},
     {"[]", "[1,2,3,4]", "[\"a\"]"}},
    {"{\"type\":\"array\",\"items\":{\"type\":\"null\"},\"minItems\":0,\"maxItems\":1}",
     {"[]", "[null]"},
     {"[null,null]"}},
    {"{\"type\":\"array\",\"maxItems\":0}", {"[]"}, {"[1]"}},
    {"{\"type\":\"array\",\"prefixItems\":[{\"type\":\"integer\"},{\"type\":\"string\"}],\"items\":false}",
     {"[]", "[1]", "[1,\"a\"]"},
     {"[\"a\"]", "[1,\"a\",2]"}},
    {"{\"type\":\"array\",\"prefixItems\":[{\"type\":\"integer\"},{\"type\":\"string\"}],\"items\":{\"type\":"
     "\"null\"},\"minItems\":2,\"maxItems\":4}",
     {"[1,\"a\"]", "[1,\"a\",null,null]"},
     {"[1]", "[1,\"a\",null,null,null]", "[1,\"a\",1]"}},
    {"{\"type\":\"array\",\"items\":{\"type\":\"integer\"},\"uniqueItems\":true,\"maxItems\":1}",
     {"[]", "[5]"},
     {"[5,5]"}},
    /* objects */
    {"{\"type\":\"object\"}", {"{}", "{\"a\": {\"b\": []}}"}, {"{\"a\"}", "[]"}},
    {"{\"type\":\"object\",\"properties\":{\"a\":{\"type\":\"integer\"},\"b\":{\"type\":\"string\"},\"c\":{"
     "\"type\":\"null\"}},\"required\":[\"b\"],\"additionalProperties\":false}",
     {"{\"b\":\"\"}", "{\"a\":1, \"b\": \"x\", \"c\":null}", "{\"a\":1,\"b\":\"\"}",
      "{\"b\":\"\",\"c\":null}"},
     {"{}", "{\"a\":1}", "{\"b\":\"\",\"a\":1}", "{\"b\":1}", "{\"b\":\"\",\"d\":1}", "{,\"b\":\"\"}"}},
    {"{\"type\":\"object\",\"properties\":{\"a\":{\"type\":\"integer\"}}}",
     {"{}", "{\"a\":1}"},
     {"{\"b\":1}"}},
    {"{\"type\":\"object\",\"properties\":{\"ab\":{\"type\":\"integer\"}},\"additionalProperties\":{\"type\":"
     "\"boolean\"}}",
     {"{}", "{\"ab\":1}", "{\"ab\":1,\"x\":true,\"a\":false,\"abc\":true}", "{\"\":true}"},
     {"{\"ab\":true}", "{\"x\":1}", "{\"x\":true,\"ab\":1}"}},
    {"{\"type\":\"object\",\"additionalProperties\":{\"type\":\"integer\"},\"minProperties\":1,"
     "\"maxProperties\":2}",
     {"{\"a\":1}", "{\"a\":1,\"b\":2}"},
     {"{}", "{\"a\":1,\"b\":2,\"c\":3}", "{\"a\":\"x\"}"}},
    {"{\"type\":\"object\",\"required\":[\"z\"],\"properties\":{\"a\":{\"const\":1}}}",
     {"{\"z\":[]}", "{\"a\":1,\"z\":0}"},
     {"{}", "{\"a\":1}"}},
    {"{\"type\":\"object\",\"patternProperties\":{\"^x-\":{\"type\":\"integer\"}},\"additionalProperties\":"
     "false}",
     {"{}", "{\"x-a\":1}"},
     {"{\"y\":1}", "{\"x-a\":\"\"}"}},
    {"{\"type\":\"object\",\"properties\":{\"k\":{\"type\":\"null\"}},\"patternProperties\":{\"^x\":{"
     "\"type\":\"integer\"}},\"additionalProperties\":{\"type\":\"string\"}}",
     {"{\"k\":null,\"x1\":5,\"y\":\"s\"}"},
     {"{\"x1\":\"s\"}", "{\"y\":5}", "{\"k\":\"s\"}"}},
    {"{\"type\":\"object\",\"properties\":{\"gone\":false,\"a\":{\"type\":\"null\"}}}",
     {"{}", "{\"a\":null}"},
     {"{\"gone\":1}"}},
    {"{\"properties\":{\"quo\\\"te\\n\":{\"const\":1}},\"required\":[\"quo\\\"te\\n\"]}",
     {"{\"quo\\\"te\\n\":1}"},
     {"{\"quote\":1}"}},
    /* several at once */
    {"{\"anyOf\":[{\"type\":\"integer\"},{\"type\":\"string\",\"maxLength\":1}]}",
     {"5", "\"a\""},
     {"\"ab\"", "null"}},
    {"{\"anyOf\":[{\"required\":[\"a\"]},{\"required\":[\"b\"]}],\"type\":\"object\",\"properties\":{\"a\":{"
     "\"type\":\"null\"},\"b\":{\"type\":\"null\"}}}",
     {"{\"a\":null}", "{\"b\":null}", "{\"a\":null,\"b\":null}"},
     {"{}"}},
    {"{\"anyOf\":[false,{\"const\":1},{\"type\":\"integer\",\"minimum\":5,\"maximum\":4}]}", {"1"}, {"5"}},
    {"{\"oneOf\":[{\"type\":\"null\"},{\"type\":\"object\",\"properties\":{\"k\":{\"const\":\"a\"},\"n\":{"
     "\"type\":\"integer\"}},\"required\":[\"k\",\"n\"]},{\"type\":\"object\",\"properties\":{\"k\":{"
     "\"const\":\"b\"}},\"required\":[\"k\"]}]}",
     {"null", "{\"k\":\"a\",\"n\":1}", "{\"k\":\"b\"}"},
     {"{\"k\":\"a\"}", "{\"k\":\"c\"}"}},
    {"{\"oneOf\":[{\"type\":\"integer\",\"maximum\":3},{\"type\":\"integer\",\"minimum\":10}]}",
     {"3", "10"},
     {"5"}},
    {"{\"oneOf\":[{\"type\":\"string\",\"pattern\":\"^a\"},{\"type\":\"string\",\"pattern\":\"^b\"}]}",
     {"\"a\"", "\"bb\""},
     {"\"c\""}},
    {"{\"allOf\":[{\"type\":\"object\",\"properties\":{\"a\":{\"type\":\"integer\",\"minimum\":2}},"
     "\"required\":[\"a\"]},{\"properties\":{\"a\":{\"maximum\":4},\"b\":{\"type\":\"null\"}}}]}",
     {"{\"a\":2}", "{\"a\":4,\"b\":null}"},
     {"{\"a\":5}", "{\"a\":1}", "{\"b\":null}"}},
    {"{\"allOf\":[{\"type\":[\"integer\",\"string\"]},{\"type\":[\"number\",\"null\"]}]}",
     {"1"},
     {"1.5", "\"a\"", "null"}},
    {"{\"allOf\":[{\"enum\":[1,2,3]},{\"enum\":[2,3,4]},{\"minimum\":3}]}", {"3"}, {"2", "4"}},
    {"{\"allOf\":[{\"type\":\"array\",\"items\":{\"type\":\"integer\"},\"maxItems\":3},{\"items\":{"
     "\"minimum\":5},\"minItems\":2}]}",
     {"[5,6]", "[7,8,9]"},
     {"[5]", "[1,2]", "[5,6,7,8]"}},
    /* references */
    {"{\"$ref\":\"#/$defs/a~1b\",\"$defs\":{\"a/b\":{\"type\":\"null\"}}}", {"null"}, {"1"}},
    {"{\"$ref\":\"#/definitions/x%20y\",\"definitions\":{\"x y\":{\"type\":\"null\"}}}", {"null"}, {"1"}},
    {"{\"$ref\":\"#here\",\"$defs\":{\"q\":{\"$anchor\":\"here\",\"const\":7}}}", {"7"}, {"8"}},
    {"{\"type\":\"object\",\"properties\":{\"v\":{\"type\":\"integer\"},\"next\":{\"$ref\":\"#\"}},"
     "\"required\":[\"v\"]}",
     {"{\"v\":1}", "{\"v\":1,\"next\":{\"v\":2,\"next\":{\"v\":3}}}"},
     {"{}", "{\"v\":1,\"next\":{}}"}},
    {"{\"$defs\":{\"tree\":{\"type\":\"array\",\"items\":{\"anyOf\":[{\"$ref\":\"#/$defs/"
     "tree\"},{\"type\":\"integer\"}]}}},\"$ref\":\"#/$defs/tree\"}",
     {"[]", "[[],[1,[2]]]"},
     {"1", "[null]"}},
    {"{\"$defs\":{\"n\":{\"type\":\"integer\"}},\"type\":\"array\",\"items\":{\"$ref\":\"#/$defs/"
     "n\",\"minimum\":3,\"description\":\"x\"}}",
     {"[3,4]"},
     {"[2]"}},
    {"{\"$defs\":{\"a\":{\"type\":\"object\",\"properties\":{\"c\":{\"$ref\":\"#/$defs/"
     "a\"}},\"allOf\":[{\"properties\":{\"c\":{\"$ref\":\"#/$defs/a\"}}}]}},\"$ref\":\"#/$defs/a\"}",
     {"{}", "{\"c\":{\"c\":{}}}"},
     {"{\"c\":1}"}},
    /* words that say nothing of values */
    {"{\"$schema\":\"x\",\"$id\":\"y\",\"title\":\"t\",\"description\":\"d\",\"default\":1,\"examples\":[2],"
     "\"deprecated\":true,\"x-own\":{},\"type\":\"null\"}",
     {"null"},
     {"1"}},
};

START_TEST(lets_through_what_is_valid)
{
    struct probe p = open_schema(cases[_i].schema);
    for (size_t i = 0; i < MOST && cases[_i].good[i]; i++)
        ck_assert_msg(probe_accepts(&p, cases[_i].good[i], strlen(cases[_i].good[i])), "%s: not %s",
                      cases[_i].schema, cases[_i].good[i]);
    for (size_t i = 0; i < MOST && cases[_i].bad[i]; i++)
        ck_assert_msg(!probe_accepts(&p, cases[_i].bad[i], strlen(cases[_i].bad[i])), "%s: but %s",
                      cases[_i].schema, cases[_i].bad[i]);
    probe_close(&p);
}
END_TEST

START_TEST(texts_drawn_at_random_are_json)
{
    struct probe p = open_schema(cases[_i].schema);
    struct buf text;
    buf_init(&text, 1 << 20);
    for (uint64_t seed = 0; seed < 40; seed++) {
        if (!probe_draw(&p, seed, 4000, &text))
            continue;
        json_t *value = json_loadb(text.data, text.len, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
        ck_assert_msg(value != NULL, "%s gave %.*s", cases[_i].schema, (int)text.len, text.data);
        json_decref(value);
    }
    buf_free(&text);
    probe_close(&p);
}
END_TEST

/* Every whole number near the bounds. */
START_TEST(bounds_are_exact)
{
    static const int bounds[][2] = {{0, 0},      {7, 7},    {-3, 12},    {98, 102},
                                    {-102, -98}, {9, 1001}, {-1500, 37}, {123, 4567}};
    for (size_t i = 0; i < sizeof bounds / sizeof bounds[0]; i++) {
        char text[128];
        snprintf(text, sizeof text, "{\"type\":\"integer\",\"minimum\":%d,\"maximum\":%d}", bounds[i][0],
                 bounds[i][1]);
        struct probe p = open_schema(text);
        for (int n = -1600; n <= 4700; n++) {
            int len = snprintf(text, sizeof text, "%d", n);
            ck_assert_msg(probe_accepts(&p, text, (size_t)len) == (n >= bounds[i][0] && n <= bounds[i][1]),
                          "%d", n);
        }
        probe_close(&p);
    }
}
END_TEST

/* Every number with two places near the bounds. */
START_TEST(fractional_bounds_are_exact)
{
    static const struct {
        double low, high;
        bool open;
    } bounds[] = {{0, 1, false},      {0, 1, true},        {-1.5, 1.25, false},
                  {0.05, 0.15, true}, {-2.5, -0.5, false}, {0.9, 12.1, true}};
    for (size_t i = 0; i < sizeof bounds / sizeof bounds[0]; i++) {
        char text[160];
        snprintf(text, sizeof text, "{\"type\":\"number\",\"%s\":%g,\"%s\":%g}",
                 bounds[i].open ? "exclusiveMinimum" : "minimum", bounds[i].low,
                 bounds[i].open ? "exclusiveMaximum" : "maximum", bounds[i].high);
        struct probe p = open_schema(text);
        for (int n = -300; n <= 1300; n++) {
            int len = snprintf(text, sizeof text, "%s%d.%02d", n < 0 ? "-" : "", abs(n) / 100, abs(n) % 100);
            double x = strtod(text, NULL);
            bool valid = bounds[i].open ? x > bounds[i].low && x < bounds[i].high
                                        : x >= bounds[i].low && x <= bounds[i].high;
            ck_assert_msg(probe_accepts(&p, text, (size_t)len) == valid, "%s of %g to %g", text,
                          bounds[i].low, bounds[i].high);
        }
        probe_close(&p);
    }
}
END_TEST

/* ---- what is refused ------------------------------------------------------------------------------ */

static const struct {
    const char *schema;
    enum error_kind kind;
    const char *message;
} refused[] = {
    {"false", ERROR_INVALID_REQUEST, "#: no value can be valid: the schema is false"},
    {"{\"type\":\"text\"}", ERROR_INVALID_REQUEST, "#/type: must be one of"},
    {"{\"type\":\"integer\",\"minimum\":5,\"maximum\":4}", ERROR_INVALID_REQUEST,
     "no whole number is from 5 to 4"},
    {"{\"type\":\"number\",\"minimum\":2,\"exclusiveMaximum\":2}", ERROR_INVALID_REQUEST,
     "no number is from 2 to 2 (excluded)"},
    {"{\"type\":\"integer\",\"minimum\":1.1,\"maximum\":1.9}", ERROR_INVALID_REQUEST, "no whole number"},
    {"{\"type\":\"integer\",\"minimum\":8,\"maximum\":13,\"multipleOf\":7}", ERROR_INVALID_REQUEST,
     "no multiple of 7"},
    {"{\"type\":\"string\",\"minLength\":3,\"maxLength\":2}", ERROR_INVALID_REQUEST,
     "minLength 3 is above maxLength 2"},
    {"{\"type\":\"string\",\"pattern\":\"^a{5}$\",\"maxLength\":4}", ERROR_INVALID_REQUEST, "no text fits"},
    {"{\"type\":\"array\",\"minItems\":3,\"maxItems\":2}", ERROR_INVALID_REQUEST,
     "minItems 3 is above maxItems 2"},
    {"{\"type\":\"array\",\"minItems\":1,\"items\":false}", ERROR_INVALID_REQUEST, "the schema is false"},
    {"{\"type\":\"object\",\"properties\":{\"a\":false},\"required\":[\"a\"]}", ERROR_INVALID_REQUEST,
     "\"a\" is required but excluded"},
    {"{\"type\":\"object\",\"required\":[\"a\"],\"additionalProperties\":false}", ERROR_INVALID_REQUEST,
     "\"a\" is required but excluded"},
    {"{\"type\":\"object\",\"required\":[\"a\",\"b\"],\"maxProperties\":1}", ERROR_INVALID_REQUEST,
     "2 properties are required"},
    {"{\"enum\":[]}", ERROR_INVALID_REQUEST, "#/enum: no value can be valid"},
    {"{\"enum\":[1,2],\"type\":\"string\"}", ERROR_INVALID_REQUEST, "none of the values listed"},
    {"{\"allOf\":[{\"type\":\"string\"},{\"type\":\"integer\"}]}", ERROR_INVALID_REQUEST,
     "types exclude each other"},
    {"{\"anyOf\":[false,{\"enum\":[]}]}", ERROR_INVALID_REQUEST, "no value can be valid"},
    {"{\"$ref\":\"#/$defs/none\"}", ERROR_INVALID_REQUEST, "#/$ref: \"#/$defs/none\" leads to no schema"},
    {"{\"$ref\":\"http://x/y\"}", ERROR_UNSUPPORTED, "only references into the same schema"},
    {"{\"$defs\":{\"a\":{\"$ref\":\"#/$defs/b\"},\"b\":{\"$ref\":\"#/$defs/a\"}},\"$ref\":\"#/$defs/a\"}",
     ERROR_INVALID_REQUEST, "leads back to itself"},
    {"{\"not\":{\"type\":\"null\"}}", ERROR_UNSUPPORTED, "#/not"},
    {"{\"properties\":{\"a\":{\"if\":{}}}}", ERROR_UNSUPPORTED, "#/properties/a/if"},
    {"{\"contains\":{}}", ERROR_UNSUPPORTED, "#/contains"},
    {"{\"dependentRequired\":{}}", ERROR_UNSUPPORTED, "#/dependentRequired"},
    {"{\"propertyNames\":{}}", ERROR_UNSUPPORTED, "#/propertyNames"},
    {"{\"unevaluatedProperties\":false}", ERROR_UNSUPPORTED, "#/unevaluatedProperties"},
    {"{\"type\":\"array\",\"uniqueItems\":true}", ERROR_UNSUPPORTED, "#/uniqueItems"},
    {"{\"multipleOf\":0.1}", ERROR_UNSUPPORTED, "#/multipleOf"},
    {"{\"multipleOf\":0}", ERROR_INVALID_REQUEST, "#/multipleOf: must be a number above 0"},
    {"{\"minLength\":-1}", ERROR_INVALID_REQUEST, "#/minLength: must be a whole number"},
    {"{\"minimum\":\"1\"}", ERROR_INVALID_REQUEST, "#/minimum: must be a number"},
    {"{\"exclusiveMinimum\":true}", ERROR_INVALID_REQUEST, "#/exclusiveMinimum: must be a number"},
    {"{\"required\":\"a\"}", ERROR_INVALID_REQUEST, "#/required: must be a list of names"},
    {"{\"properties\":[]}", ERROR_INVALID_REQUEST, "#/properties: must be an object of schemas"},
    {"{\"properties\":{\"a\":1}}", ERROR_INVALID_REQUEST, "#/properties/a: must be a schema"},
    {"{\"items\":[{}]}", ERROR_UNSUPPORTED, "#/items: a list is the old way"},
    {"{\"anyOf\":[]}", ERROR_INVALID_REQUEST, "#/anyOf: must be a list of schemas"},
    {"{\"pattern\":\"(?=a)\"}", ERROR_UNSUPPORTED,
     "#/pattern: at byte 2 of the regular expression: lookaheads"},
    {"{\"pattern\":\"(\"}", ERROR_INVALID_REQUEST, "#/pattern: at byte 1"},
    {"{\"type\":\"string\",\"format\":\"color\"}", ERROR_UNSUPPORTED, "the format \"color\" is not known"},
    {"{\"oneOf\":[{\"type\":\"integer\"},{\"type\":\"number\"}]}", ERROR_UNSUPPORTED,
     "#/oneOf: oneOf can't be enforced"},
    {"{\"type\":\"object\",\"properties\":{\"a\":{},\"b\":{}},\"minProperties\":1}", ERROR_UNSUPPORTED,
     "minProperties and maxProperties"},
    {"{\"type\":\"integer\",\"minimum\":1e16}", ERROR_UNSUPPORTED, "more than 15 digits"},
    {"[]", ERROR_INVALID_REQUEST, "#: must be a schema"},
};

START_TEST(refuses_with_place_and_reason)
{
    json_t *schema = parse(refused[_i].schema);
    struct error e = {0};
    struct buf grammar;
    buf_init(&grammar, LIMIT_GRAMMAR_TEXT);
    ck_assert_msg(schema_write(schema, "root", &grammar, &e) == -1, "%s", refused[_i].schema);
    ck_assert_msg(strstr(e.text, refused[_i].message) != NULL, "%s", e.text);
    ck_assert_int_eq(e.kind, refused[_i].kind);
    buf_free(&grammar);
    json_decref(schema);
}
END_TEST

/* A schema that has to contain itself is found by the grammar, whose rule names the place. */
START_TEST(a_rule_knows_its_place)
{
    json_t *schema = parse("{\"properties\":{\"x\":{\"type\":\"null\"}}}");
    struct error e = {0};
    struct buf grammar;
    size_t len;
    buf_init(&grammar, LIMIT_GRAMMAR_TEXT);
    ck_assert_int_eq(schema_write(schema, "r", &grammar, &e), 0);
    const char *place = schema_place(grammar.data, "r-1", 3, &len);
    ck_assert_msg(place && len == 14 && memcmp(place, "#/properties/x", len) == 0, "%s", grammar.data);
    ck_assert_ptr_null(schema_place(grammar.data, "r-comma", 7, &len));
    buf_free(&grammar);
    json_decref(schema);
}
END_TEST

/* Large, deep and tangled ones end with an answer or an error, in bounded time and memory. */
START_TEST(hostile_schemas_are_bounded)
{
    struct buf text, grammar;
    struct error e = {0};
    buf_init(&text, 8 << 20);
    buf_init(&grammar, LIMIT_GRAMMAR_TEXT);
    if (_i == 0) { /* groups of groups: 2^40 branches */
        buf_add_text(&text, "{\"allOf\":[");
        for (int i = 0; i < 40; i++)
            buf_printf(&text, "%s{\"anyOf\":[{\"minimum\":%d},{\"maximum\":%d}]}", i ? "," : "", i, i + 100);
        buf_add_text(&text, "]}");
    } else if (_i == 1) { /* merged with itself without end */
        buf_add_text(&text, "{\"$defs\":{\"a\":{\"properties\":{\"p\":{\"allOf\":[{\"$ref\":\"#/$defs/"
                            "a\"},{\"$ref\":\"#/$defs/b\"}]}}},"
                            "\"b\":{\"properties\":{\"p\":{\"allOf\":[{\"$ref\":\"#/$defs/"
                            "b\"},{\"minProperties\":0}]}}}},\"$ref\":\"#/$defs/a\"}");
    } else if (_i == 2) { /* many properties */
        buf_add_text(&text, "{\"additionalProperties\":true,\"properties\":{");
        for (int i = 0; i < 3000; i++)
            buf_printf(&text, "%s\"property number %d\":{\"type\":\"integer\"}", i ? "," : "", i);
        buf_add_text(&text, "}}");
    } else if (_i == 3) { /* many values */
        buf_add_text(&text, "{\"enum\":[");
        for (int i = 0; i < 9999; i++)
            buf_printf(&text, "%s\"value %d\"", i ? "," : "", i * 7919);
        buf_add_text(&text, "]}");
    } else { /* huge counts */
        buf_add_text(&text, "{\"type\":\"array\",\"maxItems\":1000000,\"items\":{\"type\":\"string\","
                            "\"maxLength\":1000000,\"pattern\":\"^(a|b)*c{0,90000}$\"}}");
    }
    json_t *schema = parse(text.data);
    int status = schema_write(schema, "root", &grammar, &e);
    if (status == 0) {
        struct probe p = probe_open(&grammar);
        probe_draw(&p, 1, 200, &text);
        probe_close(&p);
    } else {
        ck_assert(e.kind == ERROR_UNSUPPORTED || e.kind == ERROR_INVALID_REQUEST);
    }
    json_decref(schema);
    buf_free(&text);
    buf_free(&grammar);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("schema");
    TCase *c = tcase_create("schema");
    tcase_set_timeout(c, 120);
    tcase_add_loop_test(c, lets_through_what_is_valid, 0, sizeof cases / sizeof cases[0]);
    tcase_add_loop_test(c, texts_drawn_at_random_are_json, 0, sizeof cases / sizeof cases[0]);
    tcase_add_test(c, bounds_are_exact);
    tcase_add_test(c, fractional_bounds_are_exact);
    tcase_add_loop_test(c, refuses_with_place_and_reason, 0, sizeof refused / sizeof refused[0]);
    tcase_add_test(c, a_rule_knows_its_place);
    tcase_add_loop_test(c, hostile_schemas_are_bounded, 0, 5);
    suite_add_tcase(suite, c);
    return suite_run(suite);
}
