/* cmd_convert.c - `loquat convert`: any checkpoint as one file.  A signal ends it between two pieces of a
 * tensor, and nothing is left. */
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "server/command.h"

static volatile sig_atomic_t interrupted;

static void on_signal(int number)
{
    (void)number;
    interrupted = 1;
}

static void catch_signals(void)
{
    static const int numbers[] = {SIGINT, SIGTERM, SIGHUP};
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = (int)SA_RESETHAND};
    sigemptyset(&action.sa_mask);
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
        sigaction(numbers[i], &action, NULL);
}

static bool stop(void *user)
{
    (void)user;
    return interrupted != 0;
}

static void say(void *user, const char *line)
{
    (void)user;
    printf("%s\n", line);
}

int cmd_convert(const struct options *o, struct error *e)
{
    const struct engine_convert_options wish = {
        .type = o->type, .replace = o->force, .stop = stop, .say = say};
    struct stat st;
    if (!o->path || !o->target)
        return error_set(e, ERROR_BAD_OPTION, "give the checkpoint's path and the name of the file to write"),
               2;
    catch_signals();
    if (engine_convert(o->path, o->target, &wish, e) < 0)
        return 1;
    if (stat(o->target, &st) == 0)
        printf("%s: %lld bytes\n", o->target, (long long)st.st_size);
    return 0;
}
