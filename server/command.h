/* command.h - the subcommands, one file each, and what they share: opening the engine, loading a
 * checkpoint, running a job to its end.  A new subcommand is a file cmd_NAME.c, a bit in options.h and a
 * row in main.c. */
#ifndef LOQUAT_SERVER_COMMAND_H
#define LOQUAT_SERVER_COMMAND_H

#include "engine/engine.h"
#include "server/options.h"

/* Or'ed into a status: the process ends without waiting for its threads. */
enum { COMMAND_AT_ONCE = 256 };

/* Each returns the process's exit status: 0, 1 for a failure, 2 for options that do not fit together.
 * *e holds the reason when it is not 0. */
int cmd_serve(const struct options *o, struct error *e);
int cmd_generate(const struct options *o, struct error *e);
int cmd_tokenize(const struct options *o, struct error *e);
int cmd_bench(const struct options *o, struct error *e);
int cmd_inspect(const struct options *o, struct error *e);
int cmd_convert(const struct options *o, struct error *e);
int cmd_perplexity(const struct options *o, struct error *e);
int cmd_render(const struct options *o, struct error *e);

/* The option's text split into the model's name (malloc'ed; the file's or folder's name without an ending
 * like ".gguf" when none is given) and its path, which is inside spec. */
int command_split_model(const char *spec, char **name, const char **path, struct error *e);
int command_load(struct engine *engine, const struct options *o, const char *spec, struct engine_model **out,
                 struct error *e);
int command_open_engine(const struct options *o, struct engine **out, struct error *e);
/* Both, for commands with exactly one --model. */
int command_open_model(const struct options *o, struct engine **engine, struct engine_model **model,
                       struct error *e);

/* A file's or standard input's (path NULL) bytes; malloc'ed. */
int command_read_all(const char *path, char **text, size_t *len, struct error *e);

/* Submits n jobs and calls sink for each of their events on this thread, in order, until all had FINAL.
 * -1 with the first failed job's error; jobs' prompts are taken in any case. */
typedef void command_sink(void *context, size_t job, const struct engine_event *event);
int command_run_jobs(struct engine *engine, struct engine_job *jobs, size_t n, command_sink *sink,
                     void *context, struct error *e);

#endif
