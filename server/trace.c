/* trace.c - what the engine was asked, for an operator who wants to see it: one JSON line a job.
 * The only place where users' text is written, as token ids, and only where --trace asks for it.
 * Thread: loop.  Lines are written whole; a disk that is full costs lines, with one warning, never requests.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/base/json.h"
#include "engine/base/log.h"
#include "server/server.h"

enum { LINE_MAX_BYTES = 256 << 20 };

struct trace {
    int fd;
    bool warned;
};

int trace_open(const char *path, struct trace **out, struct error *e)
{
    struct trace *t = calloc(1, sizeof *t);
    if (!t)
        return error_no_memory(e);
    t->fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (t->fd < 0) {
        free(t);
        return error_param(e, ERROR_BAD_OPTION, "--trace", "--trace: cannot write %.200s: %s", path,
                           strerror(errno));
    }
    *out = t;
    return 0;
}

void trace_close(struct trace *t)
{
    if (!t)
        return;
    close(t->fd);
    free(t);
}

static bool write_all(int fd, const char *data, size_t len)
{
    while (len > 0) {
        ssize_t n = write(fd, data, len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        data += n;
        len -= (size_t)n;
    }
    return true;
}

void trace_job(struct trace *t, const struct request *r, size_t job, const struct engine_job *spec)
{
    struct buf line;
    buf_init(&line, LINE_MAX_BYTES);
    buf_add_text(&line, "{\"request_id\":");
    json_write_string(&line, r->id, strlen(r->id));
    buf_printf(&line,
               ",\"route\":\"%s\",\"round\":%u,\"job\":%zu,\"max_tokens\":%zu,\"choices\":%u,\"model\":",
               r->route, r->rounds, job, spec->max_tokens, spec->choices);
    const char *name = engine_model_info(spec->model)->name;
    json_write_string(&line, name, strlen(name));
    buf_add_text(&line, ",\"prompt_token_ids\":[");
    for (size_t i = 0; i < spec->n_prompt; i++)
        buf_printf(&line, "%s%d", i ? "," : "", spec->prompt[i]);
    buf_add_text(&line, "]}\n");
    if ((line.failed || !write_all(t->fd, line.data, line.len)) && !t->warned) {
        t->warned = true;
        log_warning("the trace misses lines: %s", line.failed ? "out of memory" : strerror(errno));
    }
    buf_free(&line);
}
