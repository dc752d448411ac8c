/* test_jinja.c - chat templates: what Jinja2 makes of the same templates, where user text ends up,
 * and that hostile templates end on time with an error that says where. */
#include <check.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/jinja.h"
#include "engine/base/clock.h"
#include "engine/base/limits.h"
#include "tests/unit/suite.h"

#define GOLDEN TESTS_DIR "/golden/templates/"

static const struct jinja_options now = {.now = 1767323045, .utc = true}; /* 2026-01-02 03:04:05 */

struct result {
    struct error e;
    bool compiled;
    int status;
    struct buf out;
    struct jinja_span *spans;
    size_t n_spans;
};

static struct result render(const char *source, size_t len, const json_t *user, const json_t *trusted,
                            const struct jinja_options *o)
{
    struct result r = {.status = -1};
    struct jinja_template *t = NULL;
    buf_init(&r.out, SIZE_MAX / 4);
    r.compiled = jinja_compile(source, len, &t, &r.e) == 0;
    if (r.compiled)
        r.status = jinja_render(t, user, trusted, o, &r.out, &r.spans, &r.n_spans, &r.e);
    jinja_free(t);
    return r;
}

static struct result render_text(const char *source, const char *user)
{
    json_t *variables = json_loads(user, 0, NULL), *trusted = json_pack("{ss}", "bos_token", "<s>");
    ck_assert_ptr_nonnull(variables);
    struct result r = render(source, strlen(source), variables, trusted, &now);
    json_decref(variables);
    json_decref(trusted);
    return r;
}

static void done(struct result *r)
{
    buf_free(&r->out);
    free(r->spans);
}

static json_t *load(const char *path)
{
    json_error_t error;
    json_t *j = json_load_file(path, JSON_ALLOW_NUL, &error);
    ck_assert_msg(j != NULL, "%s: %s", path, error.text);
    return j;
}

static char *load_text(const char *path, size_t *len)
{
    FILE *f = fopen(path, "rb");
    ck_assert_msg(f != NULL, "cannot open %s", path);
    char *text = calloc(1, LIMIT_TEMPLATE_SOURCE);
    *len = fread(text, 1, LIMIT_TEMPLATE_SOURCE, f);
    fclose(f);
    return text;
}

/* The output is as expected; or, where nothing is expected, there is an error with a reason. */
static void assert_case(const char *name, const struct result *r, const json_t *expected)
{
    if (!expected) {
        ck_assert_msg(r->status < 0, "%s: rendered as %s", name, r->out.data ? r->out.data : "");
        ck_assert_msg(r->e.text[0] && r->e.kind == ERROR_INVALID_REQUEST, "%s: no reason", name);
        ck_assert_uint_eq(r->out.len, 0);
        return;
    }
    ck_assert_msg(r->status == 0, "%s: %s", name, r->e.text);
    const char *data = r->out.data ? r->out.data : "";
    ck_assert_msg(r->out.len == json_string_length(expected) &&
                      memcmp(data, json_string_value(expected), r->out.len) == 0,
                  "%s\nexpected: %s\nrendered: %s", name, json_string_value(expected), data);
}

START_TEST(snippets_render_as_jinja2_renders_them)
{
    json_t *cases = load(GOLDEN "snippets.json"),
           *variables = json_object_get(json_array_get(cases, 0), "variables");
    size_t n = json_array_size(cases);
    ck_assert_uint_gt(n, 150);
    for (size_t i = 1; i < n; i++) {
        const json_t *c = json_array_get(cases, i), *source = json_object_get(c, "template");
        const char *text = json_string_value(source);
        struct result r = render(text, json_string_length(source), variables, NULL, &now);
        assert_case(text, &r, json_object_get(c, "expected"));
        done(&r);
    }
    json_decref(cases);
}
END_TEST

/* A file of cases beside NAME.jinja; returns how many there were. */
static size_t assert_conversations(const char *folder, const char *name, const char *suffix)
{
    char path[1200];
    size_t len;
    snprintf(path, sizeof path, "%s/%s.jinja", folder, name);
    char *source = load_text(path, &len);
    snprintf(path, sizeof path, "%s/%s%s", folder, name, suffix);
    json_t *cases = load(path);
    size_t n = json_array_size(cases);
    for (size_t i = 0; i < n; i++) {
        json_t *c = json_array_get(cases, i), *user = json_copy(c), *trusted = json_object();
        const char *tokens[] = {"bos_token", "eos_token"};
        for (size_t k = 0; k < 2; k++) {
            json_object_set(trusted, tokens[k], json_object_get(c, tokens[k]));
            json_object_del(user, tokens[k]);
        }
        if (!json_object_get(user, "tools"))
            json_object_set_new(user, "tools", json_null());
        if (!json_object_get(user, "documents"))
            json_object_set_new(user, "documents", json_null());
        json_object_update(user, json_object_get(c, "extra"));
        struct result r = render(source, len, user, trusted, &now);
        assert_case(name, &r, json_object_get(c, "expected"));
        done(&r);
        json_decref(user);
        json_decref(trusted);
    }
    json_decref(cases);
    free(source);
    return n;
}

START_TEST(three_styles_render_as_jinja2_renders_them)
{
    static const char *const names[] = {"smollm2", "chatml", "llama3"};
    for (size_t i = 0; i < 3; i++)
        ck_assert_uint_ge(assert_conversations(GOLDEN, names[i], ".json"), 8);
}
END_TEST

START_TEST(published_templates_render_as_transformers_renders_them)
{
    const char *root = getenv("LOQUAT_CONFORMANCE");
    if (!root) {
        puts("skipped: published chat templates need LOQUAT_CONFORMANCE");
        return;
    }
    char folder[1000];
    snprintf(folder, sizeof folder, "%s/templates", root);
    DIR *d = opendir(folder);
    ck_assert_ptr_nonnull(d);
    size_t cases = 0;
    for (struct dirent *f; (f = readdir(d)) != NULL;) {
        char *dot = strstr(f->d_name, ".jinja");
        if (!dot)
            continue;
        *dot = 0;
        cases += assert_conversations(folder, f->d_name, ".expected.json");
    }
    closedir(d);
    ck_assert_uint_gt(cases, 500);
}
END_TEST

/* ---- provenance ------------------------------------------------------------------------------------- */

/* The output with each piece of user text in [ ]. */
static void marked(const struct result *r, char *out, size_t room)
{
    size_t n = 0, span = 0;
    for (size_t i = 0; i <= r->out.len; i++) {
        if (span < r->n_spans && i == r->spans[span].end) {
            out[n++] = ']';
            span++;
        }
        if (span < r->n_spans && i == r->spans[span].start)
            out[n++] = '[';
        if (i < r->out.len)
            out[n++] = r->out.data[i];
        ck_assert_uint_lt(n + 3, room);
    }
    out[n] = 0;
    ck_assert_uint_eq(span, r->n_spans);
}

static const struct {
    const char *source, *expected;
} provenance[] = {
    {"<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>", "<|im_start|>[user]\n[ Hi, <x> ]<|im_end|>"},
    {"{{ bos_token }}{{ '<|a|>' + m.role + '<|b|>' }}", "<s><|a|>[user]<|b|>"},
    {"{{ bos_token ~ m.content | trim ~ 1 }}", "<s>[Hi, <x>]1"},
    {"{{ m.content }}{{ m.role }}", "[ Hi, <x> user]"},
    {"{{ (' a' ~ m.role ~ 'b ').strip() }}", "a[user]b"},
    {"{{ ('ab' ~ m.role ~ 'cd')[1:5] }}|{{ ('ab' ~ m.role ~ 'cd')[::-1] }}", "b[use]|dc[resu]ba"},
    {"{{ m.content.split(',') | join('<sep>') }}", "[ Hi]<sep>[ <x> ]"},
    {"{{ 'a-b'.replace('-', m.role) }}{{ m.role.replace('s', '<|>') }}", "a[user]b[u]<|>[er]"},
    {"{{ ('x' ~ m.role) | upper }}{{ ('x' ~ m.role).title() }}", "X[USER]X[user]"},
    {"{{ {'k': m.role} | tojson }}", "{\"k\": \"[user]\"}"},
    {"{{ m | tojson }}",
     "{\"[role]\": \"[user]\", \"[content]\": \"[ Hi, <x> ]\", \"[n]\": 5, \"[q]\": \"[a\\\"\\n]\"}"},
    {"{{ m.q | tojson }}{{ [m.q] }}", "\"[a\\\"\\n]\"['[a\"\\n]']"},
    {"{% for k, v in m.items() %}{{ k }}{% endfor %}", "[rolecontentnq]"},
    {"{% for c in m.role %}{{ c }}-{% endfor %}", "[u]-[s]-[e]-[r]-"},
    {"{% set x %}<|a|>{{ m.role }}{% endset %}{{ x }}{{ x[3:7] }}", "<|a|>[user]|>[us]"},
    {"{% macro f(a) %}<{{ a }}>{{ caller() }}{% endmacro %}{% call f(m.role) %}c{{ m.role }}{% endcall %}",
     "<[user]>c[user]"},
    {"{% filter upper %}a{{ m.role }}{% endfilter %}", "A[USER]"},
    {"{{ '%s|%s' % (m.role, 'x') }}{{ '{}|{}'.format('x', m.role) }}", "[user]|xx|[user]"},
    {"{{ m.role * 2 }}{{ m.role | center(8) }}{{ m.q | indent(2) }}", "[useruser]  [user]  [a\"]\n"},
    {"{{ m.role | e }}{{ m.content | e }}", "[user Hi, &lt;x&gt; ]"},
    {"{{ [m.role, 'z', 'a'] | sort | join }}{{ [m.role] | map('upper') | first }}", "a[user]z[USER]"},
    {"{% set ns = namespace(s='') %}{% for i in [1, 2] %}{% set ns.s = ns.s ~ '<' ~ m.role %}{% endfor %}{{ "
     "ns.s }}",
     "<[user]<[user]"},
    {"{{ m.role is defined }}{{ m.n }}{{ m.role | length }}", "True54"},
    {"{{ m.role if m.role == 'user' else 'x' }}{{ none | default(m.role, true) }}", "[useruser]"},
    {"{{ 'lit' | replace('i', 'y') }}", "lyt"},
};

START_TEST(user_text_is_followed_to_the_byte)
{
    char out[1000];
    for (size_t i = 0; i < sizeof provenance / sizeof *provenance; i++) {
        struct result r =
            render_text(provenance[i].source, "{\"m\": {\"role\": \"user\", \"content\": \" Hi, <x> \", "
                                              "\"n\": 5, \"q\": \"a\\\"\\n\"}}");
        ck_assert_msg(r.status == 0, "%s: %s", provenance[i].source, r.e.text);
        marked(&r, out, sizeof out);
        ck_assert_str_eq(out, provenance[i].expected);
        done(&r);
    }
}
END_TEST

START_TEST(spans_count_from_the_start_of_the_buffer)
{
    struct jinja_template *t = NULL;
    struct error e = {0};
    struct jinja_span *spans;
    size_t n;
    struct buf out;
    json_t *user = json_pack("{ss}", "x", "yz");
    buf_init(&out, 1000);
    buf_add_text(&out, "before ");
    ck_assert_int_eq(jinja_compile("a{{ x }}", 8, &t, &e), 0);
    ck_assert_int_eq(jinja_render(t, user, NULL, NULL, &out, &spans, &n, &e), 0);
    ck_assert_str_eq(out.data, "before ayz");
    ck_assert_uint_eq(n, 1);
    ck_assert_uint_eq(spans[0].start, 8);
    ck_assert_uint_eq(spans[0].end, 10);
    free(spans);
    buf_free(&out);
    jinja_free(t);
    json_decref(user);
}
END_TEST

START_TEST(a_request_cannot_pass_off_its_text_as_the_checkpoints)
{
    struct result r = render_text("{{ bos_token }}", "{\"bos_token\": \"mine\"}");
    ck_assert_str_eq(r.out.data, "<s>");
    ck_assert_uint_eq(r.n_spans, 0);
    done(&r);
}
END_TEST

/* ---- errors and budgets ---------------------------------------------------------------------------- */

static const struct {
    const char *source, *words;
} mistakes[] = {
    {"a\nb {{ missing.x }}", "line 2, column 14: 'missing' is undefined"},
    {"{{ d.x.y }}", "line 1, column 8: 'dict object' has no attribute 'x'"},
    {"\n\n{% for m in d %}{{ m }}", "line 3, column 4: 'for' is never closed"},
    {"{{ 'abc }}", "line 1, column 4: this string has no end"},
    {"x {# y", "line 1, column 3: this comment has no end"},
    {"{% raw %} x", "line 1, column 1: this raw block has no end"},
    {"{{ 1 ", "}} is missing"},
    {"{{ (1] }}", "line 1, column 6: this bracket does not match"},
    {"{% include 'x' %}", "'include' is not available"},
    {"{% nonsense %}", "unknown or misplaced tag 'nonsense'"},
    {"{{ x | nonsense }}", "No filter named 'nonsense'"},
    {"{% if false %}{{ x | nonsense }}{% endif %}{{ 1 + none }}", "unsupported operand type(s) for +"},
    {"{% if true %}{{ x | nonsense }}{% endif %}", "No filter named 'nonsense' found"},
    {"{{ 99999999999999999999 }}", "does not fit in 64 bits"},
    {"{{ 9223372036854775807 + 1 }}", "does not fit in 64 bits"},
    {"{{ [].append(1) }}", "access to attribute 'append' of 'list' object is unsafe."},
    {"{{ ''.__class__.__mro__ }}", "access to attribute '__class__'"},
    {"{{ 'x' | tojson(indnt=2) }}", "unexpected keyword argument 'indnt'"},
    {"{{ '\\ud800' }}", "escape that is no character"},
    {"\xff", "not valid UTF-8"},
};

START_TEST(errors_say_where_and_why)
{
    for (size_t i = 0; i < sizeof mistakes / sizeof *mistakes; i++) {
        struct result r = render_text(mistakes[i].source, "{\"d\": {}}");
        ck_assert_msg(r.status < 0, "%s: rendered", mistakes[i].source);
        ck_assert_msg(strstr(r.e.text, mistakes[i].words) != NULL, "%s: %s", mistakes[i].source, r.e.text);
        done(&r);
    }
}
END_TEST

START_TEST(raise_exception_gives_its_message_alone)
{
    struct result r =
        render_text("\n{{ raise_exception('Roles must\nalternate: ' ~ r) }}", "{\"r\": \"tool\"}");
    ck_assert_int_eq(r.status, -1);
    ck_assert_str_eq(r.e.text, "Roles must alternate: tool");
    done(&r);
    r = render_text("{{ raise_exception('') }}", "{}");
    ck_assert_str_eq(r.e.text, "the template raised an exception without a message");
    done(&r);
}
END_TEST

#define MANY "{% set a = 'a' * 1000000 %}"
static const struct {
    const char *source, *words;
} hostile[] = {
    {"{% for i in range(1000000000000) %}x{% endfor %}", "Range too big"},
    {"{{ 'a' * 1000000000000 }}", "too large"},
    {"{% macro f(n) %}{{ f(n + 1) }}{% endmacro %}{{ f(0) }}", "deeper than 100"},
    {"{% for x in [[1]] recursive %}{{ loop([[1]]) }}{% endfor %}", "deeper than 100"},
    {"{% set n = namespace(s='a') %}{% for i in range(60) %}{% set n.s = n.s + n.s %}{% endfor %}",
     "bytes of memory"},
    {"{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}", "steps"},
    {"{% set s = 'a' * 100000 %}{% for a in range(999) %}{{ s }}{% endfor %}", "output is larger"},
    {"{% set n = namespace(l=[]) %}{% for i in range(5000) %}{% set n.l = [n.l] %}{% endfor %}{{ n.l }}",
     "too deep"},
    {"{% set n = namespace(l=[]) %}{% for i in range(5000) %}{% set n.l = [n.l] %}{% endfor %}{{ n.l|tojson "
     "}}",
     "too deep"},
    {"{{ '%1000000000d' % 5 }}", "more than 10000 characters"},
    {"{{ '{:1000000000}'.format(5) }}", "more than 10000 characters"},
    {"{{ 'a'.center(10 ** 12) }}", "too large"},
    {"{{ ('a' * 1000000).replace('a', 'b' * 1000) }}", "bytes of memory"},
    {"{{ range(100000) | join('a' * 10000) }}", "bytes of memory"},
    {"{{ [1] | batch(10 ** 9, 'x') | list }}", "steps"},
    {"{{ 2 ** 1000 }}", "64 bits"},
    {MANY "{{ a.rfind('a' * 500000 ~ 'b') }}", "steps"},
    {MANY "{{ a.strip('b' * 100000 ~ 'a') }}", "steps"},
    {MANY "{% for i in range(99999) %}{{ 'b' in a }}{% endfor %}", "steps"},
    {MANY "{% set b = a ~ '' %}{% for i in range(99999) %}{{ a == b }}{% endfor %}", "steps"},
};

START_TEST(hostile_templates_end_on_time)
{
    for (size_t i = 0; i < sizeof hostile / sizeof *hostile; i++) {
        uint64_t start = clock_ns();
        struct result r = render_text(hostile[i].source, "{}");
        ck_assert_msg(r.status < 0, "%s: rendered", hostile[i].source);
        ck_assert_msg(strstr(r.e.text, hostile[i].words) != NULL || strstr(r.e.text, "takes longer") != NULL,
                      "%s: %s", hostile[i].source, r.e.text);
        ck_assert_uint_lt(clock_ns() - start, 20 * (uint64_t)LIMIT_TEMPLATE_NS);
        done(&r);
    }
}
END_TEST

static void add_times(struct buf *b, const char *text, size_t times)
{
    for (size_t i = 0; i < times; i++)
        buf_add_text(b, text);
}

/* head, then many times middle, x, as many times tail, end */
static void assert_nesting(const char *head, const char *middle, const char *x, const char *tail,
                           const char *end)
{
    struct buf source;
    buf_init(&source, LIMIT_TEMPLATE_SOURCE);
    buf_add_text(&source, head);
    add_times(&source, middle, 20000);
    buf_add_text(&source, x);
    add_times(&source, tail, 20000);
    buf_add_text(&source, end);
    struct result r = render_text(source.data, "{}");
    ck_assert_msg(!r.compiled, "%s was compiled", middle);
    ck_assert_msg(strncmp(r.e.text, "line 1, column ", 15) == 0, "%s", r.e.text);
    done(&r);
    buf_free(&source);
}

START_TEST(deep_sources_are_refused)
{
    assert_nesting("{{ ", "(", "1", ")", " }}");
    assert_nesting("{{ ", "[", "1", "]", " }}");
    assert_nesting("{{ ", "-", "1", "", " }}");
    assert_nesting("{{ ", "not ", "1", "", " }}");
    assert_nesting("{{ ", "1 if 0 else ", "1", "", " }}");
    assert_nesting("{{ 1", "+1", "", "", " }}");
    assert_nesting("{{ x", ".y", "", "", " }}");
    assert_nesting("{{ x", "|string", "", "", " }}");
    assert_nesting("", "{% if 1 %}", "x", "{% endif %}", "");
    assert_nesting("", "{% for x in y %}", "x", "{% endfor %}", "");
}
END_TEST

START_TEST(long_flat_sources_are_fine)
{
    struct buf source;
    buf_init(&source, LIMIT_TEMPLATE_SOURCE);
    buf_add_text(&source, "{% if 0 %}");
    add_times(&source, "{% elif 0 %}", 10000);
    buf_add_text(&source, "{% endif %}{{ ''");
    add_times(&source, " ~ 'ab'", 10000);
    buf_add_text(&source, " }}");
    struct result r = render_text(source.data, "{}");
    ck_assert_msg(r.status == 0, "%s", r.e.text);
    ck_assert_uint_eq(r.out.len, 20000);
    done(&r);
    buf_free(&source);
}
END_TEST

START_TEST(options_lower_the_budgets)
{
    static const struct {
        struct jinja_options o;
        const char *words;
    } cases[] = {{{.max_steps = 50}, "more than 50 steps"},
                 {{.max_output = 10}, "larger than 10 bytes"},
                 {{.max_memory = 4000}, "more than 4000 bytes of memory"},
                 {{.max_time_ns = 1, .max_steps = 1000000}, "takes longer than 0 ms"}};
    static const char source[] = "{% for i in range(2000) %}{{ i ~ 'x' }}{% endfor %}";
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct result r = render(source, sizeof source - 1, NULL, NULL, &cases[i].o);
        ck_assert_int_eq(r.status, -1);
        ck_assert_msg(strstr(r.e.text, cases[i].words) != NULL, "%s", r.e.text);
        done(&r);
    }
}
END_TEST

START_TEST(the_callers_buffer_keeps_its_ceiling_and_its_text)
{
    struct jinja_template *t = NULL;
    struct error e = {0};
    struct jinja_span *spans;
    size_t n;
    struct buf out;
    buf_init(&out, 10);
    buf_add_text(&out, "12345");
    ck_assert_int_eq(jinja_compile("678901", 6, &t, &e), 0);
    ck_assert_int_eq(jinja_render(t, NULL, NULL, NULL, &out, &spans, &n, &e), -1);
    ck_assert_uint_eq(out.len, 5);
    buf_free(&out);
    jinja_free(t);
}
END_TEST

START_TEST(a_template_tells_which_variables_it_names)
{
    static const char source[] = "{{ messages }}{% if tools %}{{ x.documents }}{% endif %}";
    struct jinja_template *t = NULL;
    struct error e = {0};
    ck_assert_int_eq(jinja_compile(source, sizeof source - 1, &t, &e), 0);
    ck_assert(jinja_uses(t, "messages"));
    ck_assert(jinja_uses(t, "tools"));
    ck_assert(!jinja_uses(t, "documents"));
    jinja_free(t);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("jinja");
    TCase *c = tcase_create("jinja");
    tcase_set_timeout(c, 300);
    tcase_add_test(c, snippets_render_as_jinja2_renders_them);
    tcase_add_test(c, three_styles_render_as_jinja2_renders_them);
    tcase_add_test(c, published_templates_render_as_transformers_renders_them);
    tcase_add_test(c, user_text_is_followed_to_the_byte);
    tcase_add_test(c, spans_count_from_the_start_of_the_buffer);
    tcase_add_test(c, a_request_cannot_pass_off_its_text_as_the_checkpoints);
    tcase_add_test(c, errors_say_where_and_why);
    tcase_add_test(c, raise_exception_gives_its_message_alone);
    tcase_add_test(c, hostile_templates_end_on_time);
    tcase_add_test(c, deep_sources_are_refused);
    tcase_add_test(c, long_flat_sources_are_fine);
    tcase_add_test(c, options_lower_the_budgets);
    tcase_add_test(c, the_callers_buffer_keeps_its_ceiling_and_its_text);
    tcase_add_test(c, a_template_tells_which_variables_it_names);
    suite_add_tcase(s, c);
    return suite_run(s);
}
