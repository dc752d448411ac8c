/* bench_texts.c - `loquat bench --texts FILE`: how fast a model works through the lines of a file, all
 * submitted at once.  An encoder embeds them, an encoder-decoder writes what they become (a translation), any
 * other model reads them and writes --generate-tokens after each.  --rounds of it are timed after one that is
 * not; the middle one counts.  Thread: the command's.  To measure another task: a case in make_job(). */
#include <stdlib.h>
#include <string.h>

#include "engine/base/clock.h"
#include "server/bench.h"
#include "server/command.h"

enum { TEXTS_MAX = 1 << 16 };

struct texts {
    const char *lines[TEXTS_MAX];
    size_t lengths[TEXTS_MAX], n;
};

struct tally {
    size_t read, written;
};

static void count(void *context, size_t job, const struct engine_event *event)
{
    struct tally *t = context;
    (void)job;
    if (event->kind != ENGINE_EVENT_FINAL)
        return;
    t->read += event->usage.prompt_tokens;
    t->written += event->usage.completion_tokens;
}

static int split(const char *text, size_t len, struct texts *out, struct error *e)
{
    const char *end = text + len;
    for (const char *next; text < end; text = next + 1) {
        next = memchr(text, '\n', (size_t)(end - text));
        next = next ? next : end;
        if (next == text)
            continue;
        if (out->n == TEXTS_MAX)
            return error_set(e, ERROR_INVALID_REQUEST, "--texts: more than %d lines", TEXTS_MAX);
        out->lines[out->n] = text;
        out->lengths[out->n++] = (size_t)(next - text);
    }
    return out->n ? 0 : error_set(e, ERROR_INVALID_REQUEST, "--texts: the file holds no text");
}

static int make_job(struct engine_model *model, const struct options *o, const char *text, size_t len,
                    struct engine_job *job, struct error *e)
{
    const struct engine_model_info *info = engine_model_info(model);
    bool transforms = info->abilities & ENGINE_CAN_TRANSFORM;
    *job = (struct engine_job){.model = model, .choices = 1};
    engine_sampling_init(&job->sampling);
    if (transforms) {
        job->max_tokens = info->max_new_tokens ? info->max_new_tokens : info->context - 1;
        job->beams = (struct engine_beams){info->beams, info->length_penalty, info->early_stopping};
    } else if (info->abilities & ENGINE_CAN_GENERATE) {
        job->max_tokens = o->generate_tokens;
        job->ignore_eos = true;
    } else {
        job->task = ENGINE_TASK_EMBED;
    }
    return engine_tokenize(engine_model_vocabulary(model), text, len, ENGINE_ADD_SPECIAL, NULL, 0,
                           &job->prompt, &job->n_prompt, e);
}

static int run_round(struct engine *engine, struct engine_model *model, const struct options *o,
                     const struct texts *texts, struct tally *tally, uint64_t *ns, struct error *e)
{
    struct engine_job *jobs = calloc(texts->n, sizeof *jobs);
    if (!jobs)
        return error_no_memory(e);
    uint64_t begin = clock_ns();
    int status = 0;
    for (size_t i = 0; status == 0 && i < texts->n; i++)
        status = make_job(model, o, texts->lines[i], texts->lengths[i], &jobs[i], e);
    *tally = (struct tally){0, 0};
    if (status == 0)
        status = command_run_jobs(engine, jobs, texts->n, count, tally, e);
    *ns = clock_ns() - begin;
    for (size_t i = 0; i < texts->n; i++)
        free(jobs[i].prompt);
    free(jobs);
    return status;
}

static int measure(struct engine *engine, struct engine_model *model, const struct options *o,
                   const struct texts *texts, struct tally *tally, double *seconds, struct error *e)
{
    double took[BENCH_ROUNDS_MAX];
    uint64_t ns;
    TRY(run_round(engine, model, o, texts, tally, &ns, e));
    for (size_t i = 0; i < o->rounds; i++) {
        TRY(run_round(engine, model, o, texts, tally, &ns, e));
        took[i] = (double)ns / 1e9;
    }
    *seconds = bench_median(took, o->rounds);
    return 0;
}

static int run(const struct options *o, const struct texts *texts, struct error *e)
{
    struct options quiet = *o;
    struct engine *engine;
    struct engine_model *model;
    struct tally tally;
    double seconds;
    quiet.no_prefix_reuse = true;
    quiet.queue_requests = texts->n;
    TRY(command_open_model(&quiet, &engine, &model, e));
    int status = measure(engine, model, o, texts, &tally, &seconds, e);
    if (status == 0)
        status = bench_print(json_pack("{s:s, s:s, s:i, s:I, s:I, s:I, s:f, s:f, s:f}", "model",
                                       engine_model_info(model)->name, "kernels", engine_kernels(engine),
                                       "threads", (int)engine_threads(engine), "texts", (json_int_t)texts->n,
                                       "tokens_read", (json_int_t)tally.read, "tokens_written",
                                       (json_int_t)tally.written, "seconds", seconds, "texts_per_second",
                                       (double)texts->n / seconds, "tokens_per_second",
                                       (double)(tally.read + tally.written) / seconds),
                             o->json, e);
    engine_close(engine);
    return status;
}

int bench_texts(const struct options *o, struct error *e)
{
    char *text;
    size_t len;
    TRY(command_read_all(o->texts, &text, &len, e));
    struct texts *texts = calloc(1, sizeof *texts);
    int status = texts ? split(text, len, texts, e) : error_no_memory(e);
    if (status == 0)
        status = run(o, texts, e);
    free(texts);
    free(text);
    return status;
}
