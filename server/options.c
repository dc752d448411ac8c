/* options.c - the OPTION TABLE and its help text; options_read.c reads values into it.
 * To add an option: a field in struct options, a row here.  The help, the environment variable and
 * the line of the file follow from the row. */
#include "server/option_table.h"

#include <string.h>

#define K           1024.0
#define M           (1024.0 * K)
#define G           (1024.0 * M)
#define EXACT       9007199254740992.0 /* the largest range a double holds exactly */
#define FIELD(name) offsetof(struct options, name)
#define SERVE       COMMAND_SERVE
#define RUNS_MODEL  (SERVE | COMMAND_GENERATE | COMMAND_BENCH | COMMAND_PERPLEXITY)
#define TAKES_MODEL (RUNS_MODEL | COMMAND_TOKENIZE | COMMAND_RENDER)
#define EVERY       (TAKES_MODEL | COMMAND_INSPECT | COMMAND_CONVERT)

/* name, type, field, default, least, most, unit, help, subcommands */
const struct option_row option_table[] = {
    {"model", OPTION_LIST, FIELD(models), NULL, 0, 0, "[NAME=]PATH",
     "checkpoint to load; repeatable for serve, the first is the default", TAKES_MODEL},
    {"config", OPTION_TEXT, FIELD(config), NULL, 0, 0, "FILE",
     "read options from FILE: lines `name = value`, # starts a comment", EVERY},
    {"log-level", OPTION_TEXT, FIELD(log_level), "info", 0, 0, "LEVEL", "error, warning, info or debug",
     EVERY},

    {"host", OPTION_TEXT, FIELD(host), "127.0.0.1", 0, 0, "ADDRESS", "numeric address to listen on", SERVE},
    {"port", OPTION_COUNT, FIELD(port), "8080", 0, 65535, "N", "port; 0 takes a free one and prints it",
     SERVE},
    {"threads", OPTION_COUNT, FIELD(threads), "0", 0, 1024, "N",
     "threads of the engine; 0 = what the machine grants", RUNS_MODEL},
    {"kernels", OPTION_TEXT, FIELD(kernels), NULL, 0, 0, "SET", "kernel set by name instead of the best one",
     RUNS_MODEL},
    {"arithmetic", OPTION_TEXT, FIELD(arithmetic), NULL, 0, 0, "HOW",
     "fast: as quick as the processor allows; exact: the same answers with every kernel set", RUNS_MODEL},
    {"ctx", OPTION_COUNT, FIELD(context), "0", 0, 16 * M, "TOKENS",
     "tokens of one sequence; 0 = the checkpoint's own", RUNS_MODEL | COMMAND_INSPECT},
    {"kv-memory", OPTION_SIZE, FIELD(kv_memory), "0", 0, EXACT, "BYTES",
     "hard ceiling of the key/value pages of all models; 0 = chosen from free memory", RUNS_MODEL},
    {"kv-type", OPTION_TEXT, FIELD(kv_type), NULL, 0, 0, "TYPE",
     "f16, bf16 or f32; default by the weights and the kernel set", RUNS_MODEL},
    {"precision", OPTION_TEXT, FIELD(precision), NULL, 0, 0, "HOW",
     "of float weights: f32, as the checkpoint has them (default); bf16, about twice as fast; q8, less "
     "memory",
     RUNS_MODEL},
    {"batch-tokens", OPTION_COUNT, FIELD(batch_tokens), "0", 0, M, "N",
     "token budget of one tick, at most: less while streams run on a slow machine; 0 = default", RUNS_MODEL},
    {"policy", OPTION_TEXT, FIELD(policy), NULL, 0, 0, "NAME", "batching policy by name",
     SERVE | COMMAND_BENCH},
    {"max-sequences", OPTION_COUNT, FIELD(max_sequences), "0", 0, 65536, "N",
     "sequences that run at once; 0 = default", SERVE},
    {"speculation", OPTION_COUNT, FIELD(speculation), "16", 0, 64, "N",
     "tokens guessed ahead at most, from a sequence's own text; answers stay the same; 0 = off",
     SERVE | COMMAND_GENERATE},
    {"no-prefix-reuse", OPTION_FLAG, FIELD(no_prefix_reuse), NULL, 0, 0, NULL,
     "do not keep pages of finished prompts", SERVE},

    {"queue-requests", OPTION_COUNT, FIELD(queue_requests), "0", 0, M, "N",
     "waiting jobs before 429; 0 = default", SERVE},
    {"queue-tokens", OPTION_COUNT, FIELD(queue_tokens), "0", 0, EXACT, "N",
     "their prompt tokens before 429; 0 = default", SERVE},
    {"queue-deadline", OPTION_DURATION, FIELD(queue_deadline_ns), "0", 0, 86400, "TIME",
     "a job that waited longer gets 503; 0 = default", SERVE},
    {"max-body", OPTION_SIZE, FIELD(max_body), "16M", 1, G, "BYTES", "largest request body", SERVE},
    {"body-memory", OPTION_SIZE, FIELD(body_memory), "256M", 1, EXACT, "BYTES",
     "bytes of all bodies in flight before 429", SERVE},
    {"max-connections", OPTION_COUNT, FIELD(max_connections), "4096", 1, 1000000, "N",
     "open connections before 503", SERVE},
    {"max-requests", OPTION_COUNT, FIELD(max_requests), "1024", 1, 1000000, "N",
     "requests in flight before 429", SERVE},
    {"idle-timeout", OPTION_DURATION, FIELD(idle_timeout_ns), "75s", 0.01, 86400, "TIME",
     "a connection without a request is closed after this", SERVE},
    {"read-timeout", OPTION_DURATION, FIELD(read_timeout_ns), "30s", 0.01, 86400, "TIME",
     "time for a request's head, and again for its body, to arrive", SERVE},
    {"stall-timeout", OPTION_DURATION, FIELD(stall_timeout_ns), "60s", 0.01, 86400, "TIME",
     "a client that takes no byte for so long is cancelled", SERVE},
    {"stream-buffer", OPTION_SIZE, FIELD(stream_buffer), "256K", 1, G, "BYTES",
     "unsent bytes of one stream before its jobs are paused", SERVE},
    {"keepalive-interval", OPTION_DURATION, FIELD(keepalive_ns), "10s", 0.01, 3600, "TIME",
     "a silent stream sends a comment this often", SERVE},
    {"heartbeat-limit", OPTION_DURATION, FIELD(heartbeat_ns), "30s", 0.5, 86400, "TIME",
     "/health says 503 when the scheduler was silent for so long", SERVE},
    {"drain", OPTION_DURATION, FIELD(drain_ns), "30s", 0, 86400, "TIME",
     "time that accepted requests get after SIGTERM", SERVE},
    {"cors-origin", OPTION_TEXT, FIELD(cors_origin), NULL, 0, 0, "ORIGINS",
     "origins browsers may call from, separated by commas, or *; default none", SERVE},
    {"trace", OPTION_TEXT, FIELD(trace), NULL, 0, 0, "FILE",
     "append one JSON line for each job, with its prompt's token ids: users' text; default off", SERVE},
    {"log-requests", OPTION_FLAG, FIELD(log_requests), NULL, 0, 0, NULL, "one line for each finished request",
     SERVE},

    {"prompt", OPTION_TEXT, FIELD(prompt), NULL, 0, 0, "TEXT", "text to continue", COMMAND_GENERATE},
    {"chat", OPTION_TEXT, FIELD(chat), NULL, 0, 0, "TEXT",
     "message to answer, through the checkpoint's chat template", COMMAND_GENERATE},
    {"system", OPTION_TEXT, FIELD(system), NULL, 0, 0, "TEXT", "system message before --chat",
     COMMAND_GENERATE},
    {"max-tokens", OPTION_COUNT, FIELD(max_tokens), "256", 1, 16 * M, "N", "tokens to generate at most",
     COMMAND_GENERATE},
    {"temperature", OPTION_REAL, FIELD(temperature), "0", 0, 2, "T", "0 always takes the best token",
     COMMAND_GENERATE},
    {"top-k", OPTION_COUNT, FIELD(top_k), "0", 0, M, "N", "choose among the N best; 0 = all",
     COMMAND_GENERATE},
    {"top-p", OPTION_REAL, FIELD(top_p), "1", 0, 1, "P", "choose among the best that hold this probability",
     COMMAND_GENERATE},
    {"min-p", OPTION_REAL, FIELD(min_p), "0", 0, 1, "P", "leave out tokens below this share of the best",
     COMMAND_GENERATE},
    {"seed", OPTION_COUNT, FIELD(seed), "0", 0, EXACT, "N", "of the random choices", COMMAND_GENERATE},
    {"stop", OPTION_LIST, FIELD(stop), NULL, 0, 0, "TEXT", "end before this text; repeatable",
     COMMAND_GENERATE},

    {"add-special", OPTION_FLAG, FIELD(add_special), NULL, 0, 0, NULL,
     "add the tokens the vocabulary puts round a text", COMMAND_TOKENIZE},
    {"parse-special", OPTION_FLAG, FIELD(parse_special), NULL, 0, 0, NULL,
     "read names of control tokens as these tokens", COMMAND_TOKENIZE},
    {"prompt-tokens", OPTION_COUNT, FIELD(prompt_tokens), "512", 1, M, "N", "tokens of each prompt",
     COMMAND_BENCH},
    {"generate-tokens", OPTION_COUNT, FIELD(generate_tokens), "64", 2, M, "N", "tokens generated from each",
     COMMAND_BENCH},
    {"batch", OPTION_COUNT, FIELD(batch), "1", 1, 4096, "N", "sequences at once", COMMAND_BENCH},
    {"texts", OPTION_TEXT, FIELD(texts), NULL, 0, 0, "FILE",
     "work through the lines of FILE instead: embed, translate or continue each, by what the model can",
     COMMAND_BENCH},
    {"rounds", OPTION_COUNT, FIELD(rounds), "5", 1, 64, "N",
     "after one that is not timed; the middle one counts", COMMAND_BENCH},
    {"sequences", OPTION_COUNT, FIELD(sequences), "1", 1, 65536, "N", "sequences to hold in memory at once",
     COMMAND_INSPECT},
    {"template", OPTION_TEXT, FIELD(template), NULL, 0, 0, "FILE",
     "chat template instead of a checkpoint's own", COMMAND_RENDER},
    {"now", OPTION_TEXT, FIELD(now), NULL, 0, 0, "TIME",
     "what the template takes for now: YYYY-MM-DDTHH:MM:SS or Unix seconds, UTC; default the clock, local "
     "time",
     COMMAND_RENDER},
    {"file", OPTION_TEXT, FIELD(file), NULL, 0, 0, "FILE", "text to score", COMMAND_PERPLEXITY},
    {"window", OPTION_COUNT, FIELD(window), "512", 2, M, "N", "tokens scored together", COMMAND_PERPLEXITY},
    {"type", OPTION_TEXT, FIELD(type), NULL, 0, 0, "TYPE",
     "type of the matrices: f32, f16, bf16, q8_0, q4_0, q4_1, q5_0 or q5_1; default as they are",
     COMMAND_CONVERT},
    {"force", OPTION_FLAG, FIELD(force), NULL, 0, 0, NULL, "replace the target when it exists",
     COMMAND_CONVERT},
    {"json", OPTION_FLAG, FIELD(json), NULL, 0, 0, NULL, "print one JSON object",
     COMMAND_BENCH | COMMAND_INSPECT | COMMAND_PERPLEXITY},
    {"help", OPTION_FLAG, FIELD(help), NULL, 0, 0, NULL, "this text", EVERY},
    {NULL, OPTION_FLAG, 0, NULL, 0, 0, NULL, NULL, 0},
};

static const struct {
    enum command command;
    const char *usage, *about;
} command_text[] = {
    {COMMAND_SERVE, "serve --model [NAME=]PATH [options]", "Serve checkpoints over HTTP."},
    {COMMAND_GENERATE, "generate --model PATH (--prompt TEXT | --chat TEXT) [options]",
     "Continue a prompt or answer a message, on standard output."},
    {COMMAND_TOKENIZE, "tokenize --model PATH [options] < TEXT",
     "Print the token ids of standard input on one line."},
    {COMMAND_BENCH, "bench --model PATH [options]",
     "Measure prompt reading and generation, without prefix reuse or speculation."},
    {COMMAND_INSPECT, "inspect PATH [options]",
     "Tell what a checkpoint holds, what memory it needs and whether it can be served."},
    {COMMAND_CONVERT, "convert SOURCE TARGET.gguf|TARGET.safetensors [options]",
     "Write any checkpoint - a file or a folder - as one file with GGUF's names."},
    {COMMAND_RENDER, "render (--model PATH | --template FILE) [options] < REQUEST.json",
     "Print the prompt that a chat request becomes: messages, tools, documents, add_generation_prompt "
     "(true), "
     "bos_token, eos_token and any further variables of the template."},
    {COMMAND_PERPLEXITY, "perplexity --model PATH --file FILE [options]",
     "Score a text in windows that do not overlap."},
};

const struct option_row *option_find(const char *name, size_t len, enum command command)
{
    for (const struct option_row *row = option_table; row->name; row++) {
        if ((row->commands & (unsigned)command) && strlen(row->name) == len &&
            memcmp(row->name, name, len) == 0)
            return row;
    }
    return NULL;
}

static void help_row(const struct option_row *row, struct buf *out)
{
    char left[64];
    snprintf(left, sizeof left, "--%s%s%s", row->name, row->unit ? " " : "", row->unit ? row->unit : "");
    buf_printf(out, "  %-27s %s", left, row->help);
    if (row->initial && strcmp(row->initial, "0") != 0)
        buf_printf(out, " (default %s)", row->initial);
    buf_add_text(out, "\n");
}

void options_help(enum command command, struct buf *out)
{
    for (size_t i = 0; i < sizeof command_text / sizeof command_text[0]; i++) {
        if (command_text[i].command == command)
            buf_printf(out, "usage: loquat %s\n%s\n\n", command_text[i].usage, command_text[i].about);
    }
    for (const struct option_row *row = option_table; row->name; row++) {
        if (row->commands & (unsigned)command)
            help_row(row, out);
    }
    buf_add_text(out, "\nBYTES take K, M or G; TIME takes s or ms (seconds without a suffix).\n"
                      "Every option is also read from LOQUAT_<NAME> (--log-level: LOQUAT_LOG_LEVEL) and from "
                      "--config FILE;\n"
                      "the command line wins over the environment, the environment over the file.\n");
}
