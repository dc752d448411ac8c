/* cmd_tokenize.c - `loquat tokenize`: ids of standard input on one line.  Needs no weights. */
#include <stdio.h>
#include <stdlib.h>

#include "server/command.h"

static void print_ids(const int32_t *ids, size_t n)
{
    for (size_t i = 0; i < n; i++)
        printf("%s%d", i ? " " : "", (int)ids[i]);
    printf("\n");
}

int cmd_tokenize(const struct options *o, struct error *e)
{
    struct engine_vocabulary *v;
    unsigned flags =
        (o->add_special ? ENGINE_ADD_SPECIAL : 0) | (o->parse_special ? ENGINE_PARSE_SPECIAL : 0);
    char *name, *text;
    const char *path;
    int32_t *ids;
    size_t len, n;
    int status = 1;
    if (o->models.n != 1) {
        error_param(e, ERROR_BAD_OPTION, "--model", "--model: give exactly one checkpoint");
        return 2;
    }
    if (command_split_model(o->models.items[0], &name, &path, e) < 0)
        return 2;
    free(name);
    if (engine_vocabulary_open(path, &v, e) < 0)
        return 1;
    if (command_read_all(NULL, &text, &len, e) < 0)
        goto close_vocabulary;
    if (engine_tokenize(v, text, len, flags, NULL, 0, &ids, &n, e) < 0) {
        error_prefix(e, "%.300s", path);
        goto free_text;
    }
    print_ids(ids, n);
    free(ids);
    status = 0;
free_text:
    free(text);
close_vocabulary:
    engine_vocabulary_close(v);
    return status;
}
