/* options.h - what an operator may set: one table, read from the command line, the environment
 * (LOQUAT_<NAME>) and a file (--config), in this order of precedence.
 * Called by main.c before any thread exists; the result never changes afterwards.
 * A new option is one field here and one row of the OPTION TABLE in options.c. */
#ifndef LOQUAT_SERVER_OPTIONS_H
#define LOQUAT_SERVER_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/arena.h"
#include "engine/base/buf.h"
#include "engine/base/error.h"

/* One bit a subcommand: a row says which of them know the option. */
enum command {
    COMMAND_SERVE = 1,
    COMMAND_GENERATE = 2,
    COMMAND_TOKENIZE = 4,
    COMMAND_BENCH = 8,
    COMMAND_INSPECT = 16,
    COMMAND_PERPLEXITY = 32,
    COMMAND_RENDER = 64,
    COMMAND_CONVERT = 128
};

enum { OPTIONS_LIST_MAX = 64 };

struct option_list {
    const char *items[OPTIONS_LIST_MAX];
    size_t n;
};

struct options {
    struct arena *memory; /* every string below lives here or in argv */
    bool help;
    const char *config, *log_level;

    /* The engine and its models. */
    struct option_list models; /* [NAME=]PATH */
    uint64_t threads, context, kv_memory, batch_tokens, max_sequences, speculation;
    const char *kernels, *arithmetic, *kv_type, *precision, *policy;
    bool no_prefix_reuse;
    uint64_t queue_requests, queue_tokens, queue_deadline_ns;

    /* The socket and its limits. */
    const char *host, *cors_origin;
    uint64_t port, max_body, body_memory, max_connections, max_requests, stream_buffer;
    uint64_t idle_timeout_ns, read_timeout_ns, stall_timeout_ns, keepalive_ns, drain_ns, heartbeat_ns;
    bool log_requests;
    const char *trace;

    /* One generation. */
    const char *prompt, *chat, *system;
    struct option_list stop;
    uint64_t max_tokens, top_k, seed;
    double temperature, top_p, min_p;

    /* The other tools. */
    bool add_special, parse_special, json;
    uint64_t prompt_tokens, generate_tokens, batch, rounds, window, sequences;
    const char *texts, *file, *path, *template, *now;
    const char *target, *type; /* of convert */
    bool force;
};

/* Fills *o for the subcommand; argv[0] is the first word after its name.  ERROR_BAD_OPTION with one line that
 * names the option and where it was set.  options_free() in any case. */
int options_read(struct options *o, enum command command, int argc, char **argv, struct error *e);
void options_free(struct options *o);

/* The text of `loquat COMMAND --help`, from the table. */
void options_help(enum command command, struct buf *out);

#endif
