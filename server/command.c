/* command.c - see command.h.  Jobs of the command line run through the same mailbox as the server's, on a
 * loop of their own, so that printing never holds up the scheduler. */
#include "server/command.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#include "server/mailbox.h"

enum { READ_MAX = 1 << 30 };

/* The name of a file or folder without what tells its format; *len bytes. */
static const char *last_part(const char *path, size_t *len)
{
    static const char *const endings[] = {".gz",  ".gguf", ".safetensors", ".pt",
                                          ".pth", ".ckpt", ".bin",         ".arpa"};
    size_t end = strlen(path);
    while (end > 1 && path[end - 1] == '/')
        end--;
    size_t start = end;
    while (start > 0 && path[start - 1] != '/')
        start--;
    for (size_t i = 0; i < sizeof endings / sizeof endings[0]; i++) {
        size_t n = strlen(endings[i]);
        if (end - start > n && strncmp(path + end - n, endings[i], n) == 0)
            end -= n;
    }
    *len = end - start;
    return path + start;
}

int command_split_model(const char *spec, char **name, const char **path, struct error *e)
{
    const char *equals = strchr(spec, '=');
    const char *slash = strchr(spec, '/');
    bool named = equals && equals != spec && (!slash || equals < slash);
    *path = named ? equals + 1 : spec;
    size_t len = named ? (size_t)(equals - spec) : 0;
    const char *base = named ? spec : last_part(*path, &len);
    if (len == 0 || !**path)
        return error_param(e, ERROR_BAD_OPTION, "--model", "--model: '%.200s' is not [NAME=]PATH", spec);
    *name = strndup(base, len);
    return *name ? 0 : error_no_memory(e);
}

int command_load(struct engine *engine, const struct options *o, const char *spec, struct engine_model **out,
                 struct error *e)
{
    struct engine_model_options wish = {
        .context = o->context, .kv_type = o->kv_type, .precision = o->precision};
    char *name;
    const char *path;
    TRY(command_split_model(spec, &name, &path, e));
    int status = engine_load(engine, name, path, &wish, out, e);
    if (status < 0)
        error_prefix(e, "cannot load model %.100s", name);
    free(name);
    return status;
}

int command_open_engine(const struct options *o, struct engine **out, struct error *e)
{
    struct engine_options wish;
    engine_options_init(&wish);
    wish.threads = (unsigned)o->threads;
    wish.kv_memory = o->kv_memory;
    wish.kernels = o->kernels;
    wish.arithmetic = o->arithmetic;
    wish.policy = o->policy;
    wish.batch_tokens = o->batch_tokens;
    wish.max_sequences = o->max_sequences;
    wish.queue_requests = o->queue_requests;
    wish.queue_tokens = o->queue_tokens;
    wish.queue_deadline_ns = o->queue_deadline_ns;
    wish.prefix_reuse = !o->no_prefix_reuse;
    wish.speculation = o->speculation;
    return engine_open(&wish, out, e);
}

int command_open_model(const struct options *o, struct engine **engine, struct engine_model **model,
                       struct error *e)
{
    if (o->models.n != 1)
        return error_param(e, ERROR_BAD_OPTION, "--model", "--model: give exactly one checkpoint");
    TRY(command_open_engine(o, engine, e));
    if (command_load(*engine, o, o->models.items[0], model, e) == 0)
        return 0;
    engine_close(*engine);
    return -1;
}

int command_read_all(const char *path, char **text, size_t *len, struct error *e)
{
    struct buf b;
    char piece[65536];
    size_t n;
    FILE *file = path ? fopen(path, "rbe") : stdin;
    if (!file)
        return error_set(e, ERROR_FILE_ACCESS, "cannot read %.200s: %s", path, strerror(errno));
    buf_init(&b, READ_MAX);
    while ((n = fread(piece, 1, sizeof piece, file)) > 0)
        buf_add(&b, piece, n);
    bool broken = ferror(file) != 0;
    if (path)
        fclose(file);
    if (broken || b.failed) {
        buf_free(&b);
        return error_set(e, ERROR_FILE_ACCESS, "cannot read %.200s", path ? path : "standard input");
    }
    *text = b.data ? b.data : calloc(1, 1);
    *len = b.len;
    return *text ? 0 : error_no_memory(e);
}

/* ---- jobs -------------------------------------------------------------------------------------- */

struct run {
    uv_loop_t loop;
    struct mailbox *mailbox;
    struct mailbox_slot *slots;
    size_t live;
    command_sink *sink;
    void *context;
    struct error error;
};

static void on_event(struct mailbox_slot *slot, const struct engine_event *event)
{
    struct run *run = slot->owner;
    run->sink(run->context, slot->index, event);
    if (slot->lost)
        error_no_memory(&run->error);
    if (event->kind != ENGINE_EVENT_FINAL)
        return;
    if (event->error && run->error.kind == ERROR_NONE)
        run->error = *event->error;
    if (--run->live == 0)
        uv_stop(&run->loop);
}

static void drop_prompts(struct engine_job *jobs, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        free(jobs[i].prompt);
        jobs[i].prompt = NULL;
    }
}

static int submit_all(struct run *run, struct engine *engine, struct engine_job *jobs, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        uint64_t id;
        TRY(mailbox_slot_init(&run->slots[i], run->mailbox, run, i, &run->error));
        jobs[i].on_event = mailbox_post;
        jobs[i].user = &run->slots[i];
        int status = engine_submit_take(engine, &jobs[i], &id, &run->error);
        jobs[i].prompt = NULL;
        TRY(status);
        run->slots[i].job = id;
        run->live++;
    }
    return 0;
}

static void run_until_done(struct run *run, struct engine *engine, struct engine_job *jobs, size_t n)
{
    if (submit_all(run, engine, jobs, n) < 0) {
        for (size_t i = 0; i < n; i++) {
            if (run->slots[i].job)
                engine_cancel(engine, run->slots[i].job);
        }
    }
    if (run->live)
        uv_run(&run->loop, UV_RUN_DEFAULT);
    for (size_t i = 0; i < n; i++)
        mailbox_slot_free(&run->slots[i]);
}

int command_run_jobs(struct engine *engine, struct engine_job *jobs, size_t n, command_sink *sink,
                     void *context, struct error *e)
{
    struct run run = {.sink = sink, .context = context};
    int status = -1;
    run.slots = calloc(n ? n : 1, sizeof *run.slots);
    if (!run.slots || uv_loop_init(&run.loop) != 0) {
        error_no_memory(e);
        goto free_slots;
    }
    if (mailbox_create(&run.loop, on_event, &run.mailbox, e) < 0)
        goto close_loop;
    run_until_done(&run, engine, jobs, n);
    mailbox_free(run.mailbox);
    status = run.error.kind == ERROR_NONE ? 0 : -1;
    if (status < 0 && e->kind == ERROR_NONE)
        *e = run.error;
close_loop:
    while (uv_run(&run.loop, UV_RUN_DEFAULT))
        continue;
    uv_loop_close(&run.loop);
free_slots:
    free(run.slots);
    drop_prompts(jobs, n);
    return status;
}
