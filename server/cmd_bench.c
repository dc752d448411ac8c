/* cmd_bench.c - `loquat bench`: the speed of reading prompts and of generating, without prefix reuse.
 * Prefill: from submission until the last of the sequences has its first token.  Decode: the tokens that come
 * after that moment, until the last one.  Of --rounds behind one that is not timed, in which buffers grow,
 * the middle figures count.  With --texts: bench_texts.c. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/clock.h"
#include "engine/base/machine.h"
#include "server/bench.h"
#include "server/command.h"

struct bench {
    size_t batch, begun;
    bool *started;
    uint64_t submit_ns, all_begun_ns, last_ns;
    size_t after; /* tokens behind all_begun_ns */
};

static void count(void *context, size_t job, const struct engine_event *event)
{
    struct bench *b = context;
    if (event->kind != ENGINE_EVENT_STEP || event->n_tokens == 0)
        return;
    if (b->begun == b->batch)
        b->after += event->n_tokens;
    if (!b->started[job]) {
        b->started[job] = true;
        b->begun++;
        b->all_begun_ns = event->time_ns;
    }
    b->last_ns = event->time_ns;
}

/* Ordinary tokens in an order that repeats nothing, the same on every run. */
static int make_prompt(const struct engine_vocabulary *v, size_t n, size_t sequence, int32_t **out,
                       struct error *e)
{
    uint32_t state = 2463534242u + (uint32_t)sequence * 7919u;
    uint32_t size = (uint32_t)engine_vocabulary_size(v);
    int32_t *ids = calloc(n, sizeof *ids);
    if (!ids)
        return error_no_memory(e);
    for (size_t i = 0, tries = 0; i < n; tries++) {
        state ^= state << 13; /* xorshift; Marsaglia, 2003 */
        state ^= state >> 17;
        state ^= state << 5;
        int32_t id = (int32_t)(state % size);
        if (tries > 100 * n || !engine_token_is_control(v, id))
            ids[i++] = id;
    }
    *out = ids;
    return 0;
}

static int run_jobs(struct engine *engine, struct engine_model *model, const struct options *o,
                    struct bench *b, struct error *e)
{
    struct engine_job *jobs = calloc(b->batch, sizeof *jobs);
    int status = jobs ? 0 : error_no_memory(e);
    for (size_t i = 0; status == 0 && i < b->batch; i++) {
        jobs[i] = (struct engine_job){.model = model,
                                      .n_prompt = o->prompt_tokens,
                                      .max_tokens = o->generate_tokens,
                                      .choices = 1,
                                      .ignore_eos = true};
        engine_sampling_init(&jobs[i].sampling);
        status = make_prompt(engine_model_vocabulary(model), o->prompt_tokens, i, &jobs[i].prompt, e);
    }
    b->submit_ns = clock_ns();
    if (status == 0)
        status = command_run_jobs(engine, jobs, b->batch, count, b, e);
    for (size_t i = 0; jobs && i < b->batch; i++)
        free(jobs[i].prompt);
    free(jobs);
    return status;
}

static double rate(size_t tokens, uint64_t ns)
{
    return ns ? (double)tokens / ((double)ns / 1e9) : 0;
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double bench_median(double *values, size_t n)
{
    qsort(values, n, sizeof *values, by_size);
    return values[n / 2];
}

int bench_print(json_t *result, bool as_json, struct error *e)
{
    const char *key;
    json_t *item;
    if (!result)
        return error_no_memory(e);
    if (as_json) {
        json_dumpf(result, stdout, JSON_REAL_PRECISION(6));
        printf("\n");
    } else {
        json_object_foreach(result, key, item)
        {
            if (json_is_string(item))
                printf("%s %s\n", key, json_string_value(item));
            else
                printf("%s %.15g\n", key,
                       json_is_real(item) ? (double)(long long)(json_real_value(item) * 100) / 100
                                          : (double)json_integer_value(item));
        }
    }
    json_decref(result);
    return 0;
}

static int measure(struct engine *engine, struct engine_model *model, const struct options *o,
                   struct bench *b, double *prefill, double *decode, struct error *e)
{
    double read[BENCH_ROUNDS_MAX], written[BENCH_ROUNDS_MAX];
    TRY(run_jobs(engine, model, o, b, e));
    for (size_t i = 0; i < o->rounds; i++) {
        b->begun = b->after = 0;
        memset(b->started, 0, b->batch * sizeof *b->started);
        TRY(run_jobs(engine, model, o, b, e));
        read[i] = rate(b->batch * o->prompt_tokens, b->all_begun_ns - b->submit_ns);
        written[i] = rate(b->after, b->last_ns - b->all_begun_ns);
    }
    *prefill = bench_median(read, o->rounds);
    *decode = bench_median(written, o->rounds);
    return 0;
}

static int run(struct engine *engine, struct engine_model *model, const struct options *o, struct bench *b,
               struct error *e)
{
    double prefill, decode;
    TRY(measure(engine, model, o, b, &prefill, &decode, e));
    json_t *result = json_pack(
        "{s:s, s:s, s:i, s:I, s:I, s:I, s:f, s:f, s:I}", "model", engine_model_info(model)->name, "kernels",
        engine_kernels(engine), "threads", (int)engine_threads(engine), "batch", (json_int_t)b->batch,
        "prompt_tokens", (json_int_t)o->prompt_tokens, "generate_tokens", (json_int_t)o->generate_tokens,
        "prefill_tokens_per_second", prefill, "decode_tokens_per_second", decode, "peak_memory_bytes",
        (json_int_t)machine_peak_resident());
    return bench_print(result, o->json, e);
}

int cmd_bench(const struct options *o, struct error *e)
{
    struct options quiet = *o;
    struct engine *engine;
    struct engine_model *model;
    struct bench b = {.batch = o->batch};
    if (o->texts)
        return bench_texts(o, e) < 0 ? 1 : 0;
    quiet.no_prefix_reuse = true;
    quiet.speculation = 0;
    quiet.max_sequences = o->batch;
    quiet.queue_requests = o->batch;
    quiet.queue_tokens = o->batch * o->prompt_tokens;
    if (command_open_model(&quiet, &engine, &model, e) < 0)
        return 1;
    int status = -1;
    b.started = calloc(b.batch, sizeof *b.started);
    if (!b.started)
        error_no_memory(e);
    else
        status = run(engine, model, o, &b, e);
    free(b.started);
    engine_close(engine);
    return status < 0 ? 1 : 0;
}
