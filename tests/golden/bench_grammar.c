/* bench_grammar.c - what following a grammar costs a token: the mask and the step to the next state, with a
 * checkpoint's own vocabulary.
 * usage: bench_grammar MODEL [TOKENS]
 * Answers are drawn evenly among the tokens that may come, which visits more states than a model does.  For
 * each schema: the cost of compiling it, then of the tokens of a first answer (nothing is cached) and of
 * later ones. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "api/schema.h"
#include "engine/base/hash.h"
#include "engine/base/json.h"
#include "engine/base/limits.h"
#include "engine/decode/grammar.h"
#include "engine/engine.h"

enum { ANSWERS = 20 };

static const struct {
    const char *name, *schema;
} schemas[] = {
    {"any JSON object", "{\"type\":\"object\"}"},
    {"person", "{\"type\":\"object\",\"properties\":{\"name\":{\"type\":\"string\"},\"age\":{\"type\":"
               "\"integer\",\"minimum\":0,"
               "\"maximum\":120},\"email\":{\"type\":\"string\",\"format\":\"email\"}},\"required\":["
               "\"name\",\"age\",\"email\"],"
               "\"additionalProperties\":false}"},
    {"bounded strings", "{\"type\":\"array\",\"minItems\":20,\"maxItems\":40,\"items\":{\"type\":\"string\","
                        "\"minLength\":5,\"maxLength\":60}}"},
    {"long string", "{\"type\":\"string\",\"minLength\":2000,\"maxLength\":4000}"},
    {"pattern", "{\"type\":\"array\",\"minItems\":20,\"items\":{\"type\":\"string\",\"pattern\":\"^[a-z]+(-["
                "a-z0-9]+)*\\\\.(com|org)$\","
                "\"maxLength\":30}}"},
    {"recursive", "{\"$defs\":{\"e\":{\"anyOf\":[{\"type\":\"number\"},{\"type\":\"string\",\"maxLength\":20}"
                  ",{\"type\":\"object\",\"properties\":"
                  "{\"op\":{\"enum\":[\"add\",\"mul\",\"neg\"]},\"args\":{\"type\":\"array\",\"items\":{\"$"
                  "ref\":\"#/$defs/e\"}}},\"required\":[\"op\","
                  "\"args\"],\"additionalProperties\":false}]}},\"$ref\":\"#/$defs/e\"}"},
};

/* 200 properties of every kind, in two levels. */
static void large_schema(struct buf *out)
{
    buf_add_text(out, "{\"type\":\"object\",\"additionalProperties\":false,\"properties\":{");
    for (int i = 0; i < 20; i++) {
        buf_printf(out,
                   "%s\"section_%d\":{\"type\":\"object\",\"additionalProperties\":false,\"required\":["
                   "\"text_0\"],\"properties\":{",
                   i ? "," : "", i);
        for (int k = 0; k < 10; k++) {
            static const char *const kinds[] = {"{\"type\":\"string\",\"maxLength\":40}",
                                                "{\"type\":\"integer\",\"minimum\":0}",
                                                "{\"enum\":[\"one\",\"two\",\"three\"]}",
                                                "{\"type\":\"array\",\"items\":{\"type\":\"number\"}}",
                                                "{\"anyOf\":[{\"type\":\"string\"},{\"type\":\"null\"}]}"};
            buf_printf(out, "%s\"%s_%d\":%s", k ? "," : "", k % 5 == 0 ? "text" : "value", k, kinds[k % 5]);
        }
        buf_add_text(out, "}}");
    }
    buf_add_text(out, "}}");
}

struct run {
    struct engine_grammar *grammar;
    uint64_t *bits;
    size_t words, vocabulary;
    double *costs; /* microseconds a token */
    size_t n, cap;
};

/* Of this thread alone: others on the machine do not count. */
static uint64_t cpu_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* A token that may come, drawn evenly; -1: the answer ends. */
static int32_t draw(const struct run *r, uint64_t random)
{
    size_t n = 0, pick;
    for (size_t w = 0; w < r->words; w++)
        n += (size_t)__builtin_popcountll(r->bits[w]);
    if (n == 0)
        return -1;
    pick = random % n;
    for (size_t id = 0;; id++) {
        if (r->bits[id / 64] >> (id % 64) & 1 && pick-- == 0)
            return (int32_t)id;
    }
}

static void answer(struct run *r, uint64_t seed, size_t most)
{
    struct grammar_state *s = NULL;
    struct error e = {0};
    if (grammar_state_create(r->grammar, &s, &e) < 0)
        exit(1);
    int32_t last = -1;
    for (size_t i = 0; i < most && r->n < r->cap; i++) {
        bool may_end;
        uint64_t begin = cpu_ns();
        if (last >= 0)
            grammar_state_accept(s, last);
        enum grammar_verdict v = grammar_state_mask(s, r->bits, r->words, &may_end);
        r->costs[r->n++] = (double)(cpu_ns() - begin) / 1000;
        uint64_t random = hash_mix(seed, i);
        if (v != GRAMMAR_OK || (may_end && random % 8 == 0))
            break;
        last = draw(r, random >> 8);
        if (last < 0)
            break;
    }
    grammar_state_free(s);
}

static int compare(const void *a, const void *b)
{
    const double *x = a, *y = b;
    return *x < *y ? -1 : *x > *y;
}

static void print(const char *name, const char *which, struct run *r)
{
    double sum = 0;
    qsort(r->costs, r->n, sizeof *r->costs, compare);
    for (size_t i = 0; i < r->n; i++)
        sum += r->costs[i];
    if (r->n)
        printf("%-16s %-6s %6zu tokens: median %8.1f us, mean %8.1f, p99 %8.1f, most %8.1f\n", name, which,
               r->n, r->costs[r->n / 2], sum / (double)r->n, r->costs[r->n * 99 / 100], r->costs[r->n - 1]);
    r->n = 0;
}

static void bench(const char *name, const char *text, struct engine_vocabulary *v, struct run *r, size_t most)
{
    struct error e = {0};
    json_t *schema = NULL;
    struct buf grammar;
    buf_init(&grammar, LIMIT_GRAMMAR_TEXT);
    if (json_parse(text, strlen(text), &schema, &e) < 0)
        exit(1);
    uint64_t begin = cpu_ns();
    if (schema_write(schema, "root", &grammar, &e) < 0 ||
        engine_grammar_create(v, grammar.data, grammar.len, &r->grammar, &e) < 0) {
        printf("%s: %s\n", name, e.text);
        exit(1);
    }
    printf("%-16s compiled in %.1f ms, grammar of %zu bytes\n", name, (double)(cpu_ns() - begin) / 1e6,
           grammar.len);
    answer(r, 1, most);
    print(name, "first", r);
    for (uint64_t i = 0; i < ANSWERS; i++)
        answer(r, 2 + i, most);
    print(name, "later", r);
    engine_grammar_release(r->grammar);
    json_decref(schema);
    buf_free(&grammar);
}

int main(int argc, char **argv)
{
    struct engine_vocabulary *v;
    struct error e = {0};
    size_t most = argc > 2 ? (size_t)strtoul(argv[2], NULL, 10) : 512;
    if (argc < 2 || engine_vocabulary_open(argv[1], &v, &e) < 0) {
        fprintf(stderr, "usage: bench_grammar MODEL [TOKENS]\n%s\n", e.text);
        return 1;
    }
    struct run r = {.vocabulary = engine_vocabulary_size(v)};
    struct buf large;
    r.words = (r.vocabulary + 63) / 64;
    r.bits = calloc(r.words, sizeof *r.bits);
    r.cap = most * (ANSWERS + 1);
    r.costs = calloc(r.cap, sizeof *r.costs);
    buf_init(&large, 1 << 20);
    large_schema(&large);
    if (!r.bits || !r.costs || large.failed)
        return 1;
    for (size_t i = 0; i < sizeof schemas / sizeof schemas[0]; i++)
        bench(schemas[i].name, schemas[i].schema, v, &r, most);
    bench("200 properties", large.data, v, &r, most);
    buf_free(&large);
    free(r.bits);
    free(r.costs);
    engine_vocabulary_close(v);
    return 0;
}
