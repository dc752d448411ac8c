/* cmd_serve.c - `loquat serve`: opens the socket, the engine and the api, and runs the loop. */
#include <stdlib.h>
#include <string.h>

#include "engine/base/log.h"
#include "server/command.h"
#include "server/server.h"

static int check_models(const struct options *o, struct error *e)
{
    char *names[OPTIONS_LIST_MAX];
    size_t n = 0;
    int status = o->models.n
                     ? 0
                     : error_param(e, ERROR_BAD_OPTION, "--model", "--model: give at least one checkpoint");
    while (status == 0 && n < o->models.n) {
        const char *path;
        status = command_split_model(o->models.items[n], &names[n], &path, e);
        if (status < 0)
            break;
        for (size_t i = 0; i < n && status == 0; i++) {
            if (strcmp(names[i], names[n]) == 0)
                status = error_param(e, ERROR_BAD_OPTION, "--model",
                                     "--model: two checkpoints are named '%.100s'", names[i]);
        }
        n++;
    }
    while (n > 0)
        free(names[--n]);
    return status;
}

static bool is_loopback(const char *host)
{
    return strncmp(host, "127.", 4) == 0 || strcmp(host, "::1") == 0 || strcmp(host, "localhost") == 0;
}

int cmd_serve(const struct options *o, struct error *e)
{
    struct server *s = calloc(1, sizeof *s);
    int status = 1;
    if (!s) {
        error_no_memory(e);
        return 1;
    }
    s->options = o;
    if (check_models(o, e) < 0 || listen_open(s, e) < 0)
        goto free_server;
    if (o->trace && trace_open(o->trace, &s->trace, e) < 0)
        goto stop_listening;
    if (command_open_engine(o, &s->engine, e) < 0)
        goto close_trace;
    if (api_create(s->engine, &s->api, e) < 0)
        goto close_engine;
    if (!is_loopback(o->host))
        log_warning("listening on %s: everyone who reaches this address may use this server, without a key",
                    o->host);
    listen_raise_limit(s);
    status = server_run(s); /* it ends the socket and the engine */
    if (s->at_once)
        return status | COMMAND_AT_ONCE;
    api_free(s->api);
    trace_close(s->trace);
    goto free_server;
close_engine:
    engine_close(s->engine);
close_trace:
    trace_close(s->trace);
stop_listening:
    close(s->listen_fd);
free_server:
    free(s);
    return status;
}
