/* options_read.c - values of the OPTION TABLE from the command line, the environment and a file.
 * Each source is applied over the one before it; a list that a source sets replaces the list of the
 * sources below.  Errors name the source: `--port`, `LOQUAT_PORT`, `FILE:LINE: port`. */
#include "server/option_table.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { CONFIG_LINE_MAX = 65536, MEMORY_MAX = 16 << 20, LABEL_MAX = 512 };

struct reader {
    struct options *options;
    enum command command;
    const struct option_row *set[OPTIONS_LIST_MAX]; /* lists that the present source has begun */
    size_t n_set;
};

/* ---- one value --------------------------------------------------------------------------------- */

static int bad_value(struct error *e, const char *label, const char *text, const char *what)
{
    return error_param(e, ERROR_BAD_OPTION, label, "%s: '%.100s' is not %s", label, text, what);
}

/* The factor of a suffix, 0 when it is none of the type's. */
static double suffix_factor(enum option_type type, const char *suffix)
{
    if (!*suffix)
        return 1;
    if (type == OPTION_DURATION)
        return strcmp(suffix, "s") == 0 ? 1 : strcmp(suffix, "ms") == 0 ? 1e-3 : 0;
    if (type != OPTION_SIZE || suffix[1])
        return 0;
    switch (toupper((unsigned char)*suffix)) {
    case 'K':
        return 1024.0;
    case 'M':
        return 1024.0 * 1024.0;
    case 'G':
        return 1024.0 * 1024.0 * 1024.0;
    default:
        return 0;
    }
}

static int read_number(const struct option_row *row, const char *label, const char *text, double *out,
                       struct error *e)
{
    static const char *const kinds[] = {
        [OPTION_COUNT] = "a whole number",
        [OPTION_SIZE] = "a number of bytes such as 512M",
        [OPTION_DURATION] = "a time such as 30s or 500ms",
        [OPTION_REAL] = "a number",
    };
    bool plain = isdigit((unsigned char)*text) || (row->type == OPTION_REAL && strchr(".-+", *text));
    char *end = NULL;
    double value = plain && *text ? strtod(text, &end) : 0;
    if (!end || end == text || !isfinite(value) || strpbrk(text, "xXnN"))
        return bad_value(e, label, text, kinds[row->type]);
    double factor = suffix_factor(row->type, end);
    value *= factor;
    bool whole = row->type == OPTION_COUNT || row->type == OPTION_SIZE;
    if (factor == 0 || (whole && value != floor(value)))
        return bad_value(e, label, text, kinds[row->type]);
    if (value < row->least || value > row->most)
        return error_param(e, ERROR_BAD_OPTION, label, "%s: %.100s is out of range (%.15g to %.15g%s)", label,
                           text, row->least, row->most, row->type == OPTION_DURATION ? " seconds" : "");
    *out = value;
    return 0;
}

static int read_flag(const char *label, const char *text, bool *out, struct error *e)
{
    static const char *const words[2][4] = {{"0", "no", "off", "false"}, {"1", "yes", "on", "true"}};
    for (size_t value = 0; value < 2; value++) {
        for (size_t i = 0; i < 4; i++) {
            if (strcasecmp(text, words[value][i]) == 0) {
                *out = value == 1;
                return 0;
            }
        }
    }
    return bad_value(e, label, text, "true or false");
}

static int add_item(struct reader *r, const struct option_row *row, const char *label, const char *text,
                    struct error *e)
{
    struct option_list *list = (struct option_list *)((char *)r->options + row->field);
    bool begun = false;
    for (size_t i = 0; i < r->n_set; i++)
        begun = begun || r->set[i] == row;
    if (!begun && r->n_set < OPTIONS_LIST_MAX) {
        r->set[r->n_set++] = row;
        list->n = 0;
    }
    if (list->n == OPTIONS_LIST_MAX)
        return error_param(e, ERROR_BAD_OPTION, label, "%s: more than %d values", label,
                           (int)OPTIONS_LIST_MAX);
    list->items[list->n++] = text;
    return 0;
}

/* text must outlive the options. */
static int set_value(struct reader *r, const struct option_row *row, const char *label, const char *text,
                     struct error *e)
{
    char *field = (char *)r->options + row->field;
    double number = 0;
    if (row->type == OPTION_FLAG)
        return read_flag(label, text, (bool *)field, e);
    if (!*text)
        return error_param(e, ERROR_BAD_OPTION, label, "%s: the value is missing", label);
    if (row->type == OPTION_LIST)
        return add_item(r, row, label, text, e);
    if (row->type == OPTION_TEXT) {
        *(const char **)field = text;
        return 0;
    }
    TRY(read_number(row, label, text, &number, e));
    if (row->type == OPTION_REAL)
        *(double *)field = number;
    else if (row->type == OPTION_DURATION)
        *(uint64_t *)field = (uint64_t)llround(number * 1e9);
    else
        *(uint64_t *)field = (uint64_t)number;
    return 0;
}

static int set_defaults(struct reader *r, struct error *e)
{
    for (const struct option_row *row = option_table; row->name; row++) {
        if ((row->commands & (unsigned)r->command) && row->initial)
            TRY(set_value(r, row, row->name, row->initial, e));
    }
    return 0;
}

/* ---- the file ---------------------------------------------------------------------------------- */

static char *trim(char *text)
{
    while (isspace((unsigned char)*text))
        text++;
    size_t len = strlen(text);
    while (len && isspace((unsigned char)text[len - 1]))
        text[--len] = 0;
    return text;
}

static int read_line(struct reader *r, const char *path, unsigned line, char *text, struct error *e)
{
    text = trim(text);
    if (!*text || *text == '#')
        return 0;
    char *equals = strchr(text, '=');
    if (!equals)
        return error_set(e, ERROR_BAD_OPTION, "%s:%u: expected `name = value`", path, line);
    *equals = 0;
    const char *name = trim(text);
    const struct option_row *row = option_find(name, strlen(name), r->command);
    if (!row || strcmp(name, "config") == 0 || strcmp(name, "help") == 0)
        return error_set(e, ERROR_BAD_OPTION, "%s:%u: unknown option '%.64s'", path, line, name);
    char label[LABEL_MAX];
    snprintf(label, sizeof label, "%s:%u: %s", path, line, name);
    const char *value = trim(equals + 1);
    const char *copy = arena_copy(r->options->memory, value, strlen(value));
    return copy ? set_value(r, row, label, copy, e) : error_no_memory(e);
}

static int read_file(struct reader *r, const char *path, struct error *e)
{
    FILE *file = fopen(path, "re");
    if (!file)
        return error_set(e, ERROR_BAD_OPTION, "--config: cannot read %s: %s", path, strerror(errno));
    char *text = NULL;
    size_t room = 0;
    int status = 0;
    unsigned line = 0;
    ssize_t len;
    while (status == 0 && (len = getline(&text, &room, file)) >= 0) {
        line++;
        if (len > CONFIG_LINE_MAX)
            status = error_set(e, ERROR_BAD_OPTION, "%s:%u: line too long", path, line);
        else
            status = read_line(r, path, line, text, e);
    }
    if (status == 0 && ferror(file))
        status = error_set(e, ERROR_BAD_OPTION, "--config: cannot read %s", path);
    free(text);
    fclose(file);
    return status;
}

/* ---- the environment --------------------------------------------------------------------------- */

static void environment_name(const struct option_row *row, char *out, size_t size)
{
    snprintf(out, size, "LOQUAT_%s", row->name);
    for (char *c = out; *c; c++)
        *c = *c == '-' ? '_' : (char)toupper((unsigned char)*c);
}

/* A list is written with commas between its items. */
static int set_from_environment(struct reader *r, const struct option_row *row, const char *label,
                                const char *text, struct error *e)
{
    char *copy = arena_copy(r->options->memory, text, strlen(text));
    if (!copy)
        return error_no_memory(e);
    if (row->type != OPTION_LIST)
        return set_value(r, row, label, copy, e);
    char *rest = copy, *item;
    while ((item = strsep(&rest, ",")))
        TRY(set_value(r, row, label, item, e));
    return 0;
}

static int read_environment(struct reader *r, struct error *e)
{
    for (const struct option_row *row = option_table; row->name; row++) {
        char name[64];
        environment_name(row, name, sizeof name);
        const char *value = getenv(name);
        bool ours = (row->commands & (unsigned)r->command) && row->field != offsetof(struct options, help);
        if (ours && value && *value)
            TRY(set_from_environment(r, row, name, value, e));
    }
    return 0;
}

/* ---- the command line -------------------------------------------------------------------------- */

struct argument {
    const struct option_row *row; /* NULL for a word that is no option */
    const char *value;
    char label[80];
};

/* Reads argv[*i] and moves *i behind what was used. */
static int next_argument(const struct reader *r, int argc, char **argv, int *i, struct argument *a,
                         struct error *e)
{
    const char *word = argv[(*i)++];
    memset(a, 0, sizeof *a);
    if (strcmp(word, "-h") == 0)
        word = "--help";
    a->value = word;
    if (strncmp(word, "--", 2) != 0 || !word[2]) {
        if (word[0] == '-' && word[1])
            return error_set(e, ERROR_BAD_OPTION, "unknown option '%.64s'", word);
        return 0;
    }
    const char *equals = strchr(word, '=');
    size_t len = equals ? (size_t)(equals - word) : strlen(word);
    a->row = option_find(word + 2, len - 2, r->command);
    if (!a->row)
        return error_set(e, ERROR_BAD_OPTION, "unknown option '%.*s'", (int)(len < 64 ? len : 64), word);
    snprintf(a->label, sizeof a->label, "--%s", a->row->name);
    if (equals)
        a->value = equals + 1;
    else if (a->row->type == OPTION_FLAG)
        a->value = "true";
    else if (*i < argc)
        a->value = argv[(*i)++];
    else
        return error_param(e, ERROR_BAD_OPTION, a->label, "%s: the value is missing", a->label);
    return 0;
}

static int read_arguments(struct reader *r, int argc, char **argv, struct error *e)
{
    for (int i = 0; i < argc;) {
        struct argument a;
        TRY(next_argument(r, argc, argv, &i, &a, e));
        if (a.row) {
            TRY(set_value(r, a.row, a.label, a.value, e));
        } else if ((r->command == COMMAND_INSPECT || r->command == COMMAND_CONVERT) && !r->options->path) {
            r->options->path = a.value;
        } else if (r->command == COMMAND_CONVERT && !r->options->target) {
            r->options->target = a.value;
        } else {
            return error_set(e, ERROR_BAD_OPTION, "unexpected argument '%.64s'", a.value);
        }
    }
    return 0;
}

/* The file's name and the wish for help must be known before the other sources are read. */
static int read_first(struct reader *r, int argc, char **argv, struct error *e)
{
    const char *config = getenv("LOQUAT_CONFIG");
    if (config && *config)
        r->options->config = config;
    for (int i = 0; i < argc;) {
        struct argument a;
        TRY(next_argument(r, argc, argv, &i, &a, e));
        if (a.row && a.row->field == offsetof(struct options, config))
            r->options->config = a.value;
        if (a.row && a.row->field == offsetof(struct options, help))
            r->options->help = true;
    }
    return 0;
}

int options_read(struct options *o, enum command command, int argc, char **argv, struct error *e)
{
    struct reader r = {.options = o, .command = command};
    memset(o, 0, sizeof *o);
    o->memory = arena_create(MEMORY_MAX);
    if (!o->memory)
        return error_no_memory(e);
    TRY(set_defaults(&r, e));
    TRY(read_first(&r, argc, argv, e));
    if (o->help)
        return 0;
    if (o->config) {
        r.n_set = 0;
        TRY(read_file(&r, o->config, e));
    }
    r.n_set = 0;
    TRY(read_environment(&r, e));
    r.n_set = 0;
    return read_arguments(&r, argc, argv, e);
}

void options_free(struct options *o)
{
    arena_free(o->memory);
    o->memory = NULL;
}
