/* test_grammar.c - grammars over a toy vocabulary: what they accept against other matchers, string by string;
 * what masks allow against what bytes allow; control tokens, triggers, ends; what is refused and why. */
#include <math.h>
#include <regex.h>
#include <stdio.h>
#include <string.h>

#include "engine/base/limits.h"
#include "engine/decode/grammar.h"
#include "engine/decode/sampler.h"
#include "engine/decode/token_trie.h"
#include "tests/unit/suite.h"

/* Ids 0..255 are bytes; then these; <e> ends, the others in < > are control tokens. */
static const char *const words[] = {"ab",        "ba",    "aba", "bb",  "((",  "))",     "()", "\xC3\xA9",
                                    "\303\251a", "a\xC3", "",    "<e>", "<c>", "<call>", "a",  "cal"};
enum {
    WORDS = sizeof words / sizeof words[0],
    BYTES = 256,
    VOCABULARY = BYTES + WORDS,
    END = 267,
    CONTROL,
    CALL,
    TWIN
};
enum { BITS = (VOCABULARY + 63) / 64 };

static struct token_trie *trie;

static const char *bytes_of(const void *context, int32_t id, size_t *len)
{
    static char bytes[BYTES];
    (void)context;
    if (id < BYTES) {
        bytes[id] = (char)id;
        *len = 1;
        return &bytes[id];
    }
    *len = strlen(words[id - BYTES]);
    return words[id - BYTES];
}

static bool is_control(const void *context, int32_t id)
{
    (void)context;
    return id >= END && id <= CALL;
}

static bool is_end(const void *context, int32_t id)
{
    (void)context;
    return id == END;
}

static void open_trie(void)
{
    const struct token_source source = {NULL, VOCABULARY, bytes_of, is_control, is_end};
    struct error e = {0};
    ck_assert_msg(token_trie_create(&source, &trie, &e) == 0, "%s", e.text);
}

static void close_trie(void)
{
    token_trie_free(trie);
}

static struct engine_grammar *compile(const char *text)
{
    struct engine_grammar *g = NULL;
    struct error e = {0};
    ck_assert_msg(grammar_create(text, strlen(text), trie, &g, &e) == 0, "%s\n%s", e.text, text);
    return g;
}

static struct grammar_state *start(struct engine_grammar *g)
{
    struct grammar_state *s = NULL;
    struct error e = {0};
    ck_assert_int_eq(grammar_state_create(g, &s, &e), 0);
    return s;
}

struct mask {
    uint64_t bits[BITS];
    bool may_end;
};

static struct mask mask_of(struct grammar_state *s)
{
    struct mask m;
    ck_assert_int_eq(grammar_state_mask(s, m.bits, BITS, &m.may_end), GRAMMAR_OK);
    return m;
}

static bool allows(const struct mask *m, int32_t id)
{
    return m->bits[id / 64] >> (id % 64) & 1;
}

/* 2: accepted; 1: the beginning of something accepted; 0: neither.  Byte by byte. */
static int follow(struct engine_grammar *g, const char *text, size_t len)
{
    struct grammar_state *s = start(g);
    int result = 1;
    for (size_t i = 0; i < len && result; i++) {
        struct mask m = mask_of(s);
        result = allows(&m, (uint8_t)text[i]);
        if (result)
            ck_assert_int_eq(grammar_state_accept(s, (uint8_t)text[i]), GRAMMAR_OK);
    }
    if (result) {
        struct mask m = mask_of(s);
        result = m.may_end ? 2 : 1;
    }
    grammar_state_free(s);
    return result;
}

static int follow_text(struct engine_grammar *g, const char *text)
{
    return follow(g, text, strlen(text));
}

/* All strings over an alphabet up to a length, the empty one first. */
static bool next_string(char *text, const char *alphabet, size_t most)
{
    size_t n = strlen(text), letters = strlen(alphabet);
    for (size_t i = n; i > 0; i--) {
        const char *at = strchr(alphabet, text[i - 1]);
        if ((size_t)(at - alphabet) + 1 < letters) {
            text[i - 1] = at[1];
            return true;
        }
        text[i - 1] = alphabet[0];
    }
    if (n == most)
        return false;
    memset(text, alphabet[0], n + 1);
    text[n + 1] = 0;
    return true;
}

/* ---- what is accepted -------------------------------------------------------------------------- */

static const struct {
    const char *grammar, *pattern; /* the same as a POSIX expression */
} regular[] = {
    {"root ::= \"\"", "^$"},
    {"root ::= \"ab\"", "^ab$"},
    {"root ::= \"a\" | \"b\" \"a\"", "^(a|ba)$"},
    {"root ::= [ab]* \"c\"", "^[ab]*c$"},
    {"root ::= [^b]+", "^[^b]+$"},
    {"root ::= (\"a\" | \"ab\") (\"c\" | \"bcb\")?", "^(a|ab)(c|bcb)?$"},
    {"root ::= \"a\"{2} \"b\"{1,3} \"c\"{,2}", "^a{2}b{1,3}c{0,2}$"},
    {"root ::= (\"a\"* \"b\"*)*", "^[ab]*$"},
    {"root ::= (\"a\" | \"\")* \"b\"", "^a*b$"},
    {"root ::= ((\"a\"?){3,} \"b\")+", "^(a*b)+$"},
    {"root ::= x x\nx ::= \"a\" | \"ab\" | \"\"", "^(a|ab|)(a|ab|)$"},
    {"# a comment\nroot ::=  # another\n  \"a\"\n  | y # and one\ny ::= (\n \"b\" |\n \"c\"\n)+ [a-b]\n",
     "^(a|[bc]+[ab])$"},
    {"root ::= .{1,2} \"a\"", "^.{1,2}a$"},
    {"root ::= r\nr ::= \"a\" r | \"b\"", "^a*b$"},
    {"root ::= (\"ab\"{2,3}){1,2}", "^((ab){2,3}){1,2}$"},
};

START_TEST(accepts_what_a_regular_expression_does)
{
    struct engine_grammar *g = compile(regular[_i].grammar);
    regex_t pattern;
    char text[16] = "";
    ck_assert_int_eq(regcomp(&pattern, regular[_i].pattern, REG_EXTENDED | REG_NOSUB), 0);
    do {
        bool expected = regexec(&pattern, text, 0, NULL, 0) == 0;
        ck_assert_msg((follow_text(g, text) == 2) == expected, "\"%s\" of %s", text, regular[_i].pattern);
    } while (next_string(text, "abc", 6));
    regfree(&pattern);
    grammar_release(g);
}
END_TEST

static bool balanced(const char *text)
{
    int depth = 0;
    for (; *text && depth >= 0; text++)
        depth += *text == '(' ? 1 : *text == ')' ? -1 : 0;
    return depth == 0;
}

static bool as_then_bs(const char *text)
{
    size_t a = strspn(text, "a"), b = strspn(text + a, "b");
    return a == b && text[a + b] == 0;
}

static bool palindrome(const char *text)
{
    size_t n = strlen(text);
    for (size_t i = 0; i < n / 2; i++) {
        if (text[i] != text[n - 1 - i])
            return false;
    }
    return true;
}

static const struct {
    const char *grammar, *alphabet;
    bool (*accepts)(const char *text);
    bool (*begins)(const char *text); /* something accepted, perhaps itself */
} nested[] = {
    {"root ::= (\"(\" root \")\" | \"a\")*", "()a", balanced, NULL},
    {"root ::= \"a\" root \"b\" | \"\"", "ab", as_then_bs, NULL},
    {"root ::= \"a\" root \"a\" | \"b\" root \"b\" | [ab]?", "ab", palindrome, NULL},
};

START_TEST(accepts_what_a_pushdown_automaton_does)
{
    struct engine_grammar *g = compile(nested[_i].grammar);
    char text[16] = "";
    do {
        ck_assert_msg((follow_text(g, text) == 2) == nested[_i].accepts(text), "\"%s\" of %s", text,
                      nested[_i].grammar);
    } while (next_string(text, nested[_i].alphabet, 8));
    grammar_release(g);
}
END_TEST

/* A string is live exactly when some longer one is accepted: no dead ends. */
START_TEST(allows_only_what_can_be_finished)
{
    static const char *const grammars[] = {
        "root ::= \"ab\" | \"abba\" | \"b\" (\"a\"{2,5} | \"b\"{3})",
        "root ::= (\"a\" | \"bb\"){2,3}",
        "root ::= x{2} \"c\"\nx ::= \"a\" | \"b\" x",
    };
    struct engine_grammar *g = compile(grammars[_i]);
    enum { SHORT = 4, LONG = 8 };
    static bool live[4][128];
    char text[16] = "";
    memset(live, 0, sizeof live);
    do {
        bool accepted = follow_text(g, text) == 2;
        for (size_t n = 0, code = 0; accepted && n < SHORT && n <= strlen(text); n++) {
            live[n][code] = true;
            code = code * 3 + (size_t)(text[n] - 'a');
        }
    } while (next_string(text, "abc", LONG));
    text[0] = 0;
    do {
        size_t code = 0;
        for (const char *c = text; *c; c++)
            code = code * 3 + (size_t)(*c - 'a');
        ck_assert_msg((follow_text(g, text) > 0) == live[strlen(text)][code], "\"%s\"", text);
    } while (next_string(text, "abc", SHORT - 1));
    grammar_release(g);
}
END_TEST

START_TEST(counts_to_large_numbers)
{
    struct engine_grammar *g = compile("root ::= (\"a\" | \"ba\"){100,1000}");
    char text[4096];
    for (size_t n = 98; n <= 1002; n++) {
        size_t len = 0;
        for (size_t i = 0; i < n; i++)
            len += (size_t)snprintf(text + len, sizeof text - len, "%s", i % 3 ? "a" : "ba");
        if (n > 102 && n < 998)
            continue;
        ck_assert_int_eq(follow(g, text, len), n > 1000 ? 0 : n < 100 ? 1 : 2);
    }
    grammar_release(g);
    g = compile("root ::= \"a\"{1000000000} | \"b\"{3,1000000}");
    ck_assert_int_eq(follow_text(g, "aaaaaaaaaa"), 1);
    ck_assert_int_eq(follow_text(g, "bb"), 1);
    ck_assert_int_eq(follow_text(g, "bbbb"), 2);
    grammar_release(g);
}
END_TEST

START_TEST(reads_classes_as_utf8)
{
    /* Around every length of UTF-8 and the surrogates. */
    static const struct {
        const char *text;
        int expected;
    } cases[] = {
        {"\x7F", 2},         {"\xC2\x80", 2},     {"\xDF\xBF", 2},         {"\xE0\xA0\x80", 2},
        {"\xED\x9F\xBF", 2}, {"\xEE\x80\x80", 2}, {"\xF0\x90\x80\x80", 2}, {"\xF4\x8F\xBF\xBF", 2},
        {"\xED\xA0\x80", 0}, {"\xC0\x80", 0},     {"\xE0\x80\x80", 0},     {"\xF4\x90\x80\x80", 0},
        {"\x80", 0},         {"\xE2\x82", 1},     {"\xF0\x9F", 1},         {"a", 0},
        {"\xC3\xA9", 0},
    };
    struct engine_grammar *g = compile("root ::= [^a\xC3\xA9]");
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        ck_assert_int_eq(follow_text(g, cases[i].text), cases[i].expected);
    grammar_release(g);
    g = compile("root ::= [\\u0416-\\u1234] [\\x41\\U0001F600\\-\\]]");
    ck_assert_int_eq(follow_text(g, "\xD0\x96"
                                    "A"),
                     2);
    ck_assert_int_eq(follow_text(g, "\xE1\x88\xB4]"), 2);
    ck_assert_int_eq(follow_text(g, "\xE1\x88\xB5"), 0);
    ck_assert_int_eq(follow_text(g, "\xD0\x95"), 0);
    ck_assert_int_eq(follow_text(g, "\xDF\xBF\xF0\x9F\x98\x80"), 2);
    ck_assert_int_eq(follow_text(g, "\xDF\xBF-"), 2);
    grammar_release(g);
}
END_TEST

/* ---- masks ------------------------------------------------------------------------------------- */

/* Bytes of a token one after another, on a state that has followed the same text. */
static bool bytes_fit(struct engine_grammar *g, const char *text, int32_t id)
{
    char longer[32];
    size_t n = strlen(text), len;
    const char *bytes = bytes_of(NULL, id, &len);
    memcpy(longer, text, n);
    memcpy(longer + n, bytes, len);
    return len > 0 && follow(g, longer, n + len) > 0;
}

START_TEST(masks_are_what_the_bytes_say)
{
    static const char *const grammars[] = {
        "root ::= (\"(\" root \")\" | \"a\")*",
        "root ::= [^b]{0,5} \"ba\"",
        "root ::= (\"ab\" | \"\xC3\xA9\" | \"a\"){1,4}",
        "root ::= \"a\" root \"b\" | \"\"",
        /* Plain characters by their number: an end, a turn, no end. */
        "root ::= [^\"\\\\\\x00-\\x1F]{0,3} \"\\\"\"",
        "root ::= [^\"\\\\\\x00-\\x1F]{0,3} \"!\"",
        "root ::= .{2,4}",
        "root ::= [^\"\\\\\\x00-\\x1F]*",
    };
    struct engine_grammar *g = compile(grammars[_i]);
    char text[16] = "";
    do {
        if (follow_text(g, text) == 0)
            continue;
        struct grammar_state *s = start(g);
        for (const char *c = text; *c; c++)
            grammar_state_accept(s, (uint8_t)*c);
        struct mask m = mask_of(s);
        for (int32_t id = 0; id < VOCABULARY; id++) {
            if (!is_control(NULL, id))
                ck_assert_msg(allows(&m, id) == bytes_fit(g, text, id), "\"%s\" then %d", text, id);
            else
                ck_assert(!allows(&m, id));
        }
        grammar_state_free(s);
    } while (next_string(text, "ab()", 4));
    grammar_release(g);
}
END_TEST

START_TEST(ends_where_nothing_can_follow)
{
    struct engine_grammar *g = compile("root ::= \"ab\" \"a\"?");
    struct grammar_state *s = start(g);
    ck_assert(!grammar_state_done(s));
    grammar_state_accept(s, BYTES); /* "ab" */
    struct mask m = mask_of(s);
    ck_assert(m.may_end && allows(&m, 'a') && allows(&m, TWIN) && !allows(&m, 'b') && !allows(&m, END));
    ck_assert(!grammar_state_done(s));
    grammar_state_accept(s, TWIN);
    ck_assert(grammar_state_done(s));
    grammar_state_accept(s, 'a');
    m = mask_of(s);
    ck_assert(!m.may_end && !grammar_state_done(s));
    for (int i = 0; i < BITS; i++)
        ck_assert(m.bits[i] == 0);
    grammar_state_free(s);
    grammar_release(g);
}
END_TEST

/* More states than the cache holds: they are made again, and the sequences do not notice. */
START_TEST(forgetting_changes_nothing)
{
    struct engine_grammar *g = compile("root ::= [a-z]{60000,100000} \"!\"");
    struct grammar_state *quick = start(g), *slow = start(g);
    for (int i = 0; i < 400; i++)
        grammar_state_accept(slow, 'x');
    bool shrunk = false;
    for (size_t i = 0, before = 0; i < 60000; i++) {
        grammar_state_accept(quick, 'y');
        size_t bytes = i % 64 ? before : grammar_bytes(g);
        shrunk = shrunk || bytes < before;
        before = bytes;
        if (i % 16 == 0)
            mask_of(quick);
    }
    struct mask m = mask_of(quick);
    ck_assert(allows(&m, '!') && allows(&m, 'z'));
    m = mask_of(slow);
    ck_assert(!allows(&m, '!') && allows(&m, 'z'));
    ck_assert(grammar_bytes(g) < 2 * (size_t)LIMIT_GRAMMAR_CACHE);
    (void)shrunk;
    grammar_state_free(quick);
    grammar_state_free(slow);
    grammar_release(g);
}
END_TEST

/* ---- control tokens and triggers --------------------------------------------------------------- */

START_TEST(names_control_tokens)
{
    struct engine_grammar *g = compile("root ::= \"a\" <c> (<call> | <nosuch>) <[268]> <[97]>");
    struct grammar_state *s = start(g);
    grammar_state_accept(s, 'a');
    struct mask m = mask_of(s);
    ck_assert(allows(&m, CONTROL) && !allows(&m, '<') && !allows(&m, CALL));
    grammar_state_accept(s, CONTROL);
    m = mask_of(s);
    ck_assert(allows(&m, CALL) && allows(&m, '<') && !allows(&m, CONTROL)); /* <nosuch> is text here */
    grammar_state_accept(s, CALL);
    grammar_state_accept(s, CONTROL);
    m = mask_of(s);
    ck_assert(allows(&m, 'a') && allows(&m, TWIN) && !m.may_end);
    grammar_state_free(s);
    grammar_release(g);
}
END_TEST

static bool allows_after(struct engine_grammar *g, const char *text, int32_t id)
{
    struct grammar_state *s = start(g);
    for (const char *c = text; *c; c++)
        ck_assert_int_eq(grammar_state_accept(s, *c == '$' ? CALL : (uint8_t)*c), GRAMMAR_OK);
    struct mask m = mask_of(s);
    grammar_state_free(s);
    return id == END ? m.may_end : allows(&m, id);
}

START_TEST(free_text_until_a_trigger)
{
    struct engine_grammar *g =
        compile("root ::= %free(\"call\" \"(\" [ab]* \")\" | <call> \"!\" | \"cc\" \"?\")");
    ck_assert(allows_after(g, "", 'x') && allows_after(g, "", END) && allows_after(g, "", CALL));
    ck_assert(allows_after(g, "", CONTROL)); /* free text has what text has */
    ck_assert(allows_after(g, "xcal", 'k') && allows_after(g, "xcal", END) && allows_after(g, "xcal", 'l'));
    ck_assert(allows_after(g, "xcal\xFF", 'k'));
    ck_assert(allows_after(g, "xcall", '(') && !allows_after(g, "xcall", 'x') &&
              !allows_after(g, "xcall", END));
    ck_assert(!allows_after(g, "xcall(", CONTROL) && allows_after(g, "call(a", BYTES) &&
              !allows_after(g, "call(a", 'c'));
    ck_assert(allows_after(g, "call(a)", 'x') && allows_after(g, "call(a)", END)); /* free again */
    ck_assert(!allows_after(g, "call(a)call", 'x') && allows_after(g, "cacall", '('));
    ck_assert(allows_after(g, "x$", '!') && !allows_after(g, "x$", 'x') && allows_after(g, "x$!", 'x'));
    ck_assert(!allows_after(g, "cc", 'a') && allows_after(g, "cc", '?') && allows_after(g, "cc?", 'a'));
    ck_assert(!allows_after(g, "cal", VOCABULARY - 1) == false); /* "cal" once more: c-a-l */
    grammar_release(g);
    g = compile("root ::= %until(\"ab\" \"c\") \"!\"");
    ck_assert(allows_after(g, "", '!') && allows_after(g, "xx", '!') && allows_after(g, "xab", 'c'));
    ck_assert(!allows_after(g, "xab", '!') && allows_after(g, "xabc", '!') && !allows_after(g, "xabc", 'x'));
    ck_assert(allows_after(g, "xabc!", END));
    grammar_release(g);
}
END_TEST

START_TEST(triggers_at_the_start_alone)
{
    struct engine_grammar *g = compile("root ::= %free(^\"{a\" \"}\" | ^\"{b\" \"]\" | \"b\" \"!\")");
    ck_assert(allows_after(g, "", '{') && allows_after(g, "{", 'x') && allows_after(g, "{a", '}'));
    ck_assert(!allows_after(g, "{a", 'x') && allows_after(g, "{b", ']') && !allows_after(g, "{b", '!'));
    ck_assert(allows_after(g, "x{a", 'x') && !allows_after(g, "x{b", ']') && allows_after(g, "x{b", '!'));
    ck_assert(allows_after(g, "{a}{a", 'x') && allows_after(g, "{x", END));
    grammar_release(g);
}
END_TEST

/* ---- sampling ---------------------------------------------------------------------------------- */

struct picking {
    struct sampler *sampler;
    struct sampler_scratch scratch;
    float logits[VOCABULARY];
    int32_t tokens[64];
    size_t n;
};

static void picking_begin(struct picking *p, struct engine_grammar *g, const struct engine_sampling *options,
                          bool ends)
{
    static const int32_t more_ends[] = {'!'};
    const struct sampler_setup setup = {.options = options,
                                        .vocabulary = VOCABULARY,
                                        .max_tokens = 64,
                                        .grammar = g,
                                        .ends = ends,
                                        .more_ends = more_ends,
                                        .n_more_ends = 1,
                                        .forced_bos = -1,
                                        .forced_eos = -1};
    struct error e = {0};
    memset(p, 0, sizeof *p);
    ck_assert_int_eq(sampler_create(&setup, &p->sampler, &e), 0);
}

static int32_t picking_next(struct picking *p)
{
    int32_t id = sampler_pick(p->sampler, p->logits, p->tokens, p->n, &p->scratch);
    if (id >= 0) {
        sampler_accept(p->sampler, id);
        p->tokens[p->n++] = id;
    }
    return id;
}

static void picking_end(struct picking *p)
{
    sampler_free(p->sampler);
    sampler_scratch_free(&p->scratch);
}

START_TEST(the_best_token_is_one_that_the_grammar_allows)
{
    struct engine_sampling options = {.top_p = 1, .repetition_penalty = 1};
    struct engine_grammar *g = compile("root ::= \"ab\" [c!]");
    struct picking p;
    picking_begin(&p, g, &options, true);
    p.logits['x'] = 9;
    p.logits['!'] = 8;
    p.logits[END] = 7;
    p.logits[BYTES] = 6; /* "ab" */
    p.logits['a'] = 5;
    ck_assert_int_eq(picking_next(&p), BYTES);
    p.logits['c'] = 2;
    ck_assert_int_eq(picking_next(&p), 'c'); /* '!' would end the text, where it may not end */
    ck_assert(sampler_done(p.sampler));
    ck_assert_int_eq(picking_next(&p), '!');
    picking_end(&p);
    grammar_release(g);
}
END_TEST

START_TEST(draws_are_among_what_the_grammar_allows)
{
    struct engine_grammar *g = compile("root ::= [ab]{20} \"c\"?");
    for (uint64_t seed = 0; seed < 20; seed++) {
        struct engine_sampling options = {
            .temperature = 2, .top_p = 0.9f, .top_k = 3, .repetition_penalty = 1.3f, .seed = seed};
        struct picking p;
        picking_begin(&p, g, &options, seed % 2);
        p.logits['z'] = 50;
        for (int i = 0; i < 40 && !sampler_done(p.sampler); i++) {
            int32_t id = picking_next(&p);
            size_t len;
            ck_assert_int_ge(id, 0);
            if (id == END || id == '!')
                break;
            const char *bytes = bytes_of(NULL, id, &len);
            ck_assert(strspn(bytes, "abc") >= len);
        }
        picking_end(&p);
    }
    grammar_release(g);
}
END_TEST

START_TEST(bans_give_way_to_the_grammar_and_dead_ends_are_told)
{
    const struct engine_logit_bias bias = {'q', -INFINITY};
    struct engine_sampling options = {.top_p = 1, .repetition_penalty = 1, .bias = &bias, .n_bias = 1};
    struct engine_grammar *g = compile("root ::= \"q\"");
    struct picking p;
    struct error e = {0};
    picking_begin(&p, g, &options, false);
    ck_assert_int_eq(picking_next(&p), 'q');
    ck_assert_int_eq(picking_next(&p), '!');
    ck_assert_int_eq(picking_next(&p), SAMPLER_NO_TOKEN); /* an end was accepted: nothing follows it */
    ck_assert_int_eq(sampler_error(SAMPLER_NO_TOKEN, &e), -1);
    ck_assert_int_eq(e.kind, ERROR_UNSUPPORTED);
    picking_end(&p);
    grammar_release(g);
}
END_TEST

/* ---- what is refused ---------------------------------------------------------------------------- */

static const struct {
    const char *grammar, *message;
} bad[] = {
    {"", "the rule root (line 1) is not defined"},
    {"root ::= x", "the rule x (line 1) is not defined"},
    {"root ::= \"a\"\nroot ::= \"b\"", "line 2, column 1: this rule is there already"},
    {"root ::= \"a", "does not end"},
    {"root ::= [a", "valid UTF-8"},
    {"root ::= []", "no character is in this class"},
    {"root ::= [^\\x00-\\U0010FFFF]", "no character is in this class"},
    {"root ::= [b-a]", "a range ends before it begins"},
    {"root ::= \"\\q\"", "unknown escape"},
    {"root ::= \"\\uD800\"", "no character has this number"},
    {"root ::= (\"a\"", "a ) is missing"},
    {"root ::= \"a\"{3,2}", "minimum is above its maximum"},
    {"root ::= \"a\"{2000000000}", "the repetition is too large"},
    {"root ::= <[9999]>", "no token of this number"},
    {"root = \"a\"", "::= is missing"},
    {"root ::= \"a\" )", "no part of a grammar"},
    {"root ::= \"\xFF\"", "valid UTF-8"},
    {"root ::= root \"a\" | \"b\"", "root begins with itself"},
    {"root ::= x\nx ::= y \"a\" | \"b\"\ny ::= z* x\nz ::= \"c\"", "begins with itself"},
    {"root ::= \"a\" root", "root can never end"},
    {"root ::= \"a\" | x\nx ::= \"b\" y\ny ::= x", "can never end"},
    {"root ::= (\"a\"?){2,1000}", "something that can be empty"},
    {"root ::= %free(x)", "a trigger is a text"},
    {"root ::= %free(\"\" \"a\")", "a trigger has no text"},
};

START_TEST(refuses_with_the_reason)
{
    struct engine_grammar *g = NULL;
    struct error e = {0};
    ck_assert_int_eq(grammar_create(bad[_i].grammar, strlen(bad[_i].grammar), trie, &g, &e), -1);
    ck_assert_int_eq(e.kind, ERROR_INVALID_REQUEST);
    ck_assert_str_eq(e.param, "grammar");
    ck_assert_msg(strstr(e.text, bad[_i].message) != NULL, "%s", e.text);
}
END_TEST

enum { HOSTILE = 4 << 20 };

static void append(char *text, size_t *n, const char *what, size_t times)
{
    for (size_t i = 0; i < times; i++)
        *n += (size_t)snprintf(text + *n, HOSTILE - *n, "%s", what);
}

/* Large or deep ones end quickly, one way or the other. */
START_TEST(hostile_grammars_are_bounded)
{
    static const struct {
        const char *head, *repeated, *tail;
        size_t times;
        bool good;
    } cases[] = {
        {"root ::= ", "(", "", 100000, false},
        {"root ::= ", "(", "\"a\"))))", 4, true},
        {"root ::= \"a\"", "{32}", "", 5, false},
        {"root ::= \"a\"", "{9999}", "", 4, true},
        {"root ::= ", "(\"a\"? | ", "\"b\"", 100, false},
        {"root ::= (\"a\" | ", "\"a\" | ", "\"b\")*", 20000, true},
        {"root ::= ", "[a-z]{1,9999} ", "", 5000, true},
        {"root ::= ", "x ", "\nx ::= \"a\"?", 20000, true},
    };
    char *text = malloc(HOSTILE);
    size_t n = (size_t)snprintf(text, HOSTILE, "%s", cases[_i].head);
    struct engine_grammar *g = NULL;
    struct error e = {0};
    append(text, &n, cases[_i].repeated, cases[_i].times);
    n += (size_t)snprintf(text + n, HOSTILE - n, "%s", cases[_i].tail);
    int status = grammar_create(text, n, trie, &g, &e);
    ck_assert_msg((status == 0) == cases[_i].good || (_i == 1), "%s", e.text);
    if (status == 0)
        follow_text(g, "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaa");
    grammar_release(g);
    free(text);
}
END_TEST

/* Exponentially many readings are few states; cubically many end with an error at the limit, not with the
 * memory. */
START_TEST(ambiguity_is_bounded)
{
    struct engine_grammar *g = compile("root ::= x*\nx ::= \"a\" | \"a\" x | \"a\" x x");
    struct grammar_state *s = start(g);
    enum grammar_verdict verdict = GRAMMAR_OK;
    for (int i = 0; i < 3000 && verdict == GRAMMAR_OK; i++)
        verdict = grammar_state_accept(s, 'a');
    ck_assert(verdict == GRAMMAR_OK || verdict == GRAMMAR_TOO_AMBIGUOUS);
    grammar_state_free(s);
    grammar_release(g);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("grammar");
    TCase *c = tcase_create("grammar");
    tcase_add_unchecked_fixture(c, open_trie, close_trie);
    tcase_set_timeout(c, 120);
    tcase_add_loop_test(c, accepts_what_a_regular_expression_does, 0, sizeof regular / sizeof regular[0]);
    tcase_add_loop_test(c, accepts_what_a_pushdown_automaton_does, 0, sizeof nested / sizeof nested[0]);
    tcase_add_loop_test(c, allows_only_what_can_be_finished, 0, 3);
    tcase_add_test(c, counts_to_large_numbers);
    tcase_add_test(c, reads_classes_as_utf8);
    tcase_add_loop_test(c, masks_are_what_the_bytes_say, 0, 8);
    tcase_add_test(c, ends_where_nothing_can_follow);
    tcase_add_test(c, forgetting_changes_nothing);
    tcase_add_test(c, names_control_tokens);
    tcase_add_test(c, free_text_until_a_trigger);
    tcase_add_test(c, triggers_at_the_start_alone);
    tcase_add_test(c, the_best_token_is_one_that_the_grammar_allows);
    tcase_add_test(c, draws_are_among_what_the_grammar_allows);
    tcase_add_test(c, bans_give_way_to_the_grammar_and_dead_ends_are_told);
    tcase_add_loop_test(c, refuses_with_the_reason, 0, sizeof bad / sizeof bad[0]);
    tcase_add_loop_test(c, hostile_grammars_are_bounded, 0, 8);
    tcase_add_test(c, ambiguity_is_bounded);
    suite_add_tcase(suite, c);
    return suite_run(suite);
}
