/* test_options.c - the OPTION TABLE and its reader: every type, every source, every refusal. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "server/option_table.h"
#include "server/options.h"
#include "tests/unit/suite.h"

static struct options o;
static struct error e;

static int read_words(enum command command, int n, const char **words)
{
    options_free(&o);
    error_clear(&e);
    return options_read(&o, command, n, (char **)words, &e);
}

#define READ(command, ...) read_words(command, COUNT(__VA_ARGS__), (const char *[]){__VA_ARGS__})
#define COUNT(...)         ((int)(sizeof((const char *[]){__VA_ARGS__}) / sizeof(const char *)))

static void clear(void)
{
    options_free(&o);
    unsetenv("LOQUAT_PORT");
    unsetenv("LOQUAT_MODEL");
    unsetenv("LOQUAT_LOG_REQUESTS");
}

START_TEST(every_row_is_sound)
{
    for (const struct option_row *row = option_table; row->name; row++) {
        ck_assert_msg(row->commands != 0 && row->help && strlen(row->name) < 24, "%s", row->name);
        ck_assert_msg((row->type == OPTION_FLAG) == (row->unit == NULL), "%s", row->name);
        ck_assert_msg(row->field < sizeof(struct options), "%s", row->name);
        for (const struct option_row *other = row + 1; other->name; other++)
            ck_assert_msg(strcmp(row->name, other->name) != 0 || !(row->commands & other->commands),
                          "%s twice", row->name);
    }
}
END_TEST

START_TEST(defaults_are_within_their_limits)
{
    for (unsigned command = COMMAND_SERVE; command <= COMMAND_PERPLEXITY; command <<= 1)
        ck_assert_msg(read_words((enum command)command, 0, NULL) == 0, "%s", e.text);
    ck_assert_int_eq(read_words(COMMAND_SERVE, 0, NULL), 0);
    ck_assert_str_eq(o.host, "127.0.0.1");
    ck_assert_uint_eq(o.port, 8080);
    ck_assert_uint_eq(o.max_body, 16u << 20);
    ck_assert_uint_eq(o.drain_ns, 30000000000u);
    ck_assert(!o.cors_origin && !o.no_prefix_reuse);
}
END_TEST

START_TEST(values_are_read_with_their_units)
{
    ck_assert_int_eq(READ(COMMAND_SERVE, "--max-body", "3k", "--kv-memory=2G", "--drain", "250ms",
                          "--idle-timeout", "1.5s", "--read-timeout=7", "--no-prefix-reuse"),
                     0);
    ck_assert_uint_eq(o.max_body, 3072);
    ck_assert_uint_eq(o.kv_memory, 2147483648u);
    ck_assert_uint_eq(o.drain_ns, 250000000u);
    ck_assert_uint_eq(o.idle_timeout_ns, 1500000000u);
    ck_assert_uint_eq(o.read_timeout_ns, 7000000000u);
    ck_assert(o.no_prefix_reuse);
    ck_assert_int_eq(READ(COMMAND_GENERATE, "--temperature", ".5", "--stop", "a", "--stop=b=c"), 0);
    ck_assert_double_eq(o.temperature, 0.5);
    ck_assert_uint_eq(o.stop.n, 2);
    ck_assert_str_eq(o.stop.items[1], "b=c");
}
END_TEST

static const struct {
    const char *word, *value, *text;
} refused[] = {
    {"--port", "65536", "--port: 65536 is out of range (0 to 65535)"},
    {"--port", "-1", "--port: '-1' is not a whole number"},
    {"--port", "0x50", "--port: '0x50' is not a whole number"},
    {"--port", "80 ", "--port: '80 ' is not a whole number"},
    {"--port", "1e400", "--port: '1e400' is not a whole number"},
    {"--port", "8K", "--port: '8K' is not a whole number"},
    {"--max-body", "1.00001", "--max-body: '1.00001' is not a number of bytes such as 512M"},
    {"--max-body", "5KB", "--max-body: '5KB' is not a number of bytes such as 512M"},
    {"--max-body", "2G", "--max-body: 2G is out of range (1 to 1073741824)"},
    {"--drain", "5h", "--drain: '5h' is not a time such as 30s or 500ms"},
    {"--drain", "nan", "--drain: 'nan' is not a time such as 30s or 500ms"},
    {"--host", "", "--host: the value is missing"},
    {"--log-requests=maybe", NULL, "--log-requests: 'maybe' is not true or false"},
    {"--port", NULL, "--port: the value is missing"},
    {"--json", NULL, "unknown option '--json'"},
    {"-x", NULL, "unknown option '-x'"},
    {"word", NULL, "unexpected argument 'word'"},
};

START_TEST(wrong_words_are_refused_in_one_line)
{
    const char *words[] = {refused[_i].word, refused[_i].value};
    ck_assert_int_eq(read_words(COMMAND_SERVE, refused[_i].value ? 2 : 1, words), -1);
    ck_assert_int_eq(e.kind, ERROR_BAD_OPTION);
    ck_assert_str_eq(e.text, refused[_i].text);
}
END_TEST

START_TEST(lists_end_at_their_limit)
{
    const char *words[2 * (OPTIONS_LIST_MAX + 1)];
    for (size_t i = 0; i <= OPTIONS_LIST_MAX; i++) {
        words[2 * i] = "--model";
        words[2 * i + 1] = "x";
    }
    ck_assert_int_eq(read_words(COMMAND_SERVE, 2 * OPTIONS_LIST_MAX, words), 0);
    ck_assert_uint_eq(o.models.n, OPTIONS_LIST_MAX);
    ck_assert_int_eq(read_words(COMMAND_SERVE, 2 * (OPTIONS_LIST_MAX + 1), words), -1);
}
END_TEST

START_TEST(sources_have_their_order)
{
    char path[] = "/tmp/loquat-options-XXXXXX";
    int fd = mkstemp(path);
    static const char text[] =
        " # a comment\n\n port = 1 \nmodel = f1\nmodel=f2\nlog-requests = yes\nhost=::1";
    ck_assert_int_eq(write(fd, text, sizeof text - 1), sizeof text - 1);
    close(fd);
    ck_assert_msg(READ(COMMAND_SERVE, "--config", path) == 0, "%s", e.text);
    ck_assert_uint_eq(o.port, 1);
    ck_assert_uint_eq(o.models.n, 2);
    ck_assert(o.log_requests);
    setenv("LOQUAT_PORT", "2", 1);
    setenv("LOQUAT_MODEL", "e1,e2,e3", 1);
    setenv("LOQUAT_LOG_REQUESTS", "off", 1);
    ck_assert_int_eq(READ(COMMAND_SERVE, "--config", path), 0);
    ck_assert_uint_eq(o.port, 2);
    ck_assert_uint_eq(o.models.n, 3);
    ck_assert(!o.log_requests);
    ck_assert_int_eq(READ(COMMAND_SERVE, "--port", "3", "--config", path, "--model", "c"), 0);
    ck_assert_uint_eq(o.port, 3);
    ck_assert_uint_eq(o.models.n, 1);
    ck_assert_str_eq(o.models.items[0], "c");
    ck_assert_str_eq(o.host, "::1");
    unlink(path);
}
END_TEST

START_TEST(help_names_every_option_of_the_command)
{
    struct buf out;
    buf_init(&out, 1 << 20);
    options_help(COMMAND_SERVE, &out);
    for (const struct option_row *row = option_table; row->name; row++) {
        char word[64];
        snprintf(word, sizeof word, "--%s ", row->name);
        ck_assert_msg((strstr(out.data, word) != NULL) == ((row->commands & COMMAND_SERVE) != 0), "%s",
                      row->name);
    }
    buf_free(&out);
    ck_assert_int_eq(READ(COMMAND_SERVE, "--help", "--port", "x"), 0);
    ck_assert(o.help);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("options");
    TCase *tc = tcase_create("options");
    tcase_add_checked_fixture(tc, NULL, clear);
    tcase_add_test(tc, every_row_is_sound);
    tcase_add_test(tc, defaults_are_within_their_limits);
    tcase_add_test(tc, values_are_read_with_their_units);
    tcase_add_loop_test(tc, wrong_words_are_refused_in_one_line, 0, sizeof refused / sizeof refused[0]);
    tcase_add_test(tc, lists_end_at_their_limit);
    tcase_add_test(tc, sources_have_their_order);
    tcase_add_test(tc, help_names_every_option_of_the_command);
    suite_add_tcase(suite, tc);
    return suite_run(suite);
}
