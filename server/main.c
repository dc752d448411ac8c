/* main.c - the program: finds the subcommand, reads its options, runs it, ends the process.
 * Exit status: 0, 1 for a failure, 2 for a wrong command line; 128 + signal after a second signal. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/base/log.h"
#include "engine/base/machine.h"
#include "server/command.h"
#include "server/options.h"

static const struct {
    const char *name;
    enum command command;
    int (*run)(const struct options *o, struct error *e);
    const char *about;
} commands[] = {
    {"serve", COMMAND_SERVE, cmd_serve, "serve checkpoints over HTTP"},
    {"generate", COMMAND_GENERATE, cmd_generate, "continue a prompt or answer a message"},
    {"tokenize", COMMAND_TOKENIZE, cmd_tokenize, "print the token ids of a text"},
    {"bench", COMMAND_BENCH, cmd_bench, "measure prompt reading and generation"},
    {"inspect", COMMAND_INSPECT, cmd_inspect, "tell what a checkpoint holds and needs"},
    {"convert", COMMAND_CONVERT, cmd_convert, "write a checkpoint as one GGUF or safetensors file"},
    {"render", COMMAND_RENDER, cmd_render, "print the prompt that a chat request becomes"},
    {"perplexity", COMMAND_PERPLEXITY, cmd_perplexity, "score a text"},
};

enum { COMMANDS = sizeof commands / sizeof commands[0] };

static void print_usage(FILE *to)
{
    fprintf(to, "usage: loquat COMMAND [options]\n\n");
    for (size_t i = 0; i < COMMANDS; i++)
        fprintf(to, "  %-12s %s\n", commands[i].name, commands[i].about);
    fprintf(to,
            "\n`loquat COMMAND --help` lists a command's options; `loquat --version` tells the version.\n");
}

static int print_help(enum command command)
{
    struct buf help;
    buf_init(&help, 1 << 20);
    options_help(command, &help);
    bool failed = help.failed || fputs(help.data, stdout) < 0;
    buf_free(&help);
    return failed ? 1 : 0;
}

static int run_command(size_t i, int argc, char **argv)
{
    struct options options;
    struct error e = {0};
    int status = 2;
    if (options_read(&options, commands[i].command, argc, argv, &e) == 0) {
        int level = log_level_from_name(options.log_level);
        if (options.help)
            status = print_help(commands[i].command);
        else if (level < 0)
            error_param(&e, ERROR_BAD_OPTION, "--log-level", "--log-level: '%.64s' is no level",
                        options.log_level);
        else {
            log_set_level((enum log_level)level);
            status = commands[i].run(&options, &e);
        }
    }
    if (e.kind != ERROR_NONE)
        fprintf(stderr, "loquat %s: %s\n", commands[i].name, e.text);
    if (e.kind == ERROR_BAD_OPTION)
        status = 2;
    options_free(&options);
    return status;
}

int main(int argc, char **argv)
{
    const char *name = argc > 1 ? argv[1] : "";
    machine_prepare();
    for (size_t i = 0; i < COMMANDS; i++) {
        if (strcmp(name, commands[i].name) != 0)
            continue;
        int status = run_command(i, argc - 2, argv + 2);
        if (status & COMMAND_AT_ONCE)
            _exit(status & 255);
        if (fflush(stdout) != 0 && status == 0) {
            fprintf(stderr, "loquat %s: cannot write: %s\n", name, strerror(errno));
            status = 1;
        }
        return status;
    }
    if (strcmp(name, "--version") == 0) {
        printf("loquat %s\n", LOQUAT_VERSION);
        return 0;
    }
    bool asked = strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0;
    if (!asked && *name)
        fprintf(stderr, "loquat: there is no command '%.64s'\n", name);
    print_usage(asked ? stdout : stderr);
    return asked ? 0 : 2;
}
