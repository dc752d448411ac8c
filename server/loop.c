/* loop.c - the thread that owns every socket: drives libmicrohttpd's epoll descriptor, loads the models on a
 * worker, handles signals, drains.
 * Resuming a connection does not wake the descriptor, and work can stay pending after MHD_run(): whoever
 * changes something calls loop_kick(), and the daemon runs before the loop sleeps (daemon_timer when it asks
 * to be called again).  The first SIGTERM or SIGINT drains, a second one ends the process at once. */
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "engine/base/clock.h"
#include "engine/base/log.h"
#include "server/command.h"
#include "server/server.h"

enum {
    CONNECTION_MEMORY = 32 << 10, /* of libmicrohttpd, each: the head's largest size follows from it */
    SWEEP_MS = 250,
    FLUSH_MS = 2000 /* for the error replies of requests that the drain gave up */
};

/* ---- driving the daemon ------------------------------------------------------------------------ */

static void run_daemon(struct server *s)
{
    MHD_UNSIGNED_LONG_LONG ms;
    s->daemon_dirty = false;
    MHD_run(s->daemon);
    if (MHD_get_timeout(s->daemon, &ms) == MHD_YES && ms < SWEEP_MS)
        loop_kick(s);
}

static void on_daemon_timer(uv_timer_t *timer)
{
    (void)timer; /* it only keeps the loop from sleeping; run_if_dirty() does the work */
}

void loop_kick(struct server *s)
{
    if (s->daemon_dirty)
        return;
    s->daemon_dirty = true;
    uv_timer_start(&s->daemon_timer, on_daemon_timer, 0, 0);
}

static void run_if_dirty(struct server *s)
{
    if (s->daemon_dirty && !s->ending)
        run_daemon(s);
}

static void on_before_poll(uv_prepare_t *handle)
{
    run_if_dirty(handle->data);
}

static void on_after_poll(uv_check_t *handle)
{
    run_if_dirty(handle->data);
}

static void on_daemon_ready(uv_poll_t *handle, int status, int events)
{
    (void)status, (void)events;
    run_daemon(handle->data);
}

static void on_sweep(uv_timer_t *timer)
{
    struct server *s = timer->data;
    struct error e = {0};
    connection_sweep(s, clock_ns());
    if (s->accept_paused && s->listen_fd >= 0)
        listen_start(s, &e);
}

/* The path stays as the client wrote it: "%2F" inside a model's name is no separator. */
static size_t unescape_nothing(void *context, struct MHD_Connection *mhd, char *text)
{
    (void)context, (void)mhd;
    return strlen(text);
}

static int start_daemon(struct server *s, struct error *e)
{
    s->daemon = MHD_start_daemon(
        MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_NO_LISTEN_SOCKET, 0, NULL, NULL, http_handle, s,
        MHD_OPTION_NOTIFY_COMPLETED, http_completed, s, MHD_OPTION_NOTIFY_CONNECTION, connection_notify, s,
        MHD_OPTION_UNESCAPE_CALLBACK, unescape_nothing, NULL, MHD_OPTION_CONNECTION_TIMEOUT, 0u,
        MHD_OPTION_CONNECTION_LIMIT, (unsigned)s->max_connections + 1, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
        (size_t)CONNECTION_MEMORY, MHD_OPTION_STRICT_FOR_CLIENT, 1, MHD_OPTION_SIGPIPE_HANDLED_BY_APP, 1,
        MHD_OPTION_END);
    if (!s->daemon)
        return error_set(e, ERROR_INTERNAL, "cannot start libmicrohttpd");
    return 0;
}

/* ---- ending ------------------------------------------------------------------------------------ */

static void stop_loop(struct server *s)
{
    s->ending = true;
    uv_stop(&s->loop);
}

static void on_flush_deadline(uv_timer_t *timer)
{
    stop_loop(timer->data);
}

static void on_drain_deadline(uv_timer_t *timer)
{
    struct server *s = timer->data;
    struct error e = {0};
    size_t aborted = 0;
    engine_drain(s->engine); /* not before: accepted requests may still have rounds of jobs to submit */
    error_set(&e, ERROR_DRAINING, "the server is shutting down and could not wait for this request");
    for (struct request *r = s->requests, *next; r; r = next) {
        next = r->next;
        r->holds++; /* against ending while we look at it */
        aborted += !r->complete;
        http_abort(r, &e);
        next = r->next;
        http_release(r);
    }
    s->metrics.drain_aborted += aborted;
    log_warning("shutting down: %zu requests did not finish in time", aborted);
    uv_timer_start(&s->drain_timer, on_flush_deadline, FLUSH_MS, 0);
}

static void drain(struct server *s, int signal)
{
    s->phase = SERVER_DRAINING;
    log_info("signal %d: finishing %zu requests, at most %.3g seconds", signal, s->n_requests,
             (double)s->options->drain_ns / 1e9);
    if (s->n_requests == 0)
        stop_loop(s);
    else
        uv_timer_start(&s->drain_timer, on_drain_deadline, s->options->drain_ns / 1000000, 0);
}

static void on_signal(uv_signal_t *handle, int signal)
{
    struct server *s = handle->data;
    if (s->phase == SERVER_READY) {
        drain(s, signal);
        return;
    }
    s->at_once = true; /* nobody waits while models are loading, nor at a second signal */
    s->status = s->phase == SERVER_LOADING ? 0 : 128 + signal;
    stop_loop(s);
}

void loop_request_ended(struct server *s)
{
    if (s->phase == SERVER_DRAINING && s->n_requests == 0)
        stop_loop(s);
}

/* ---- loading ----------------------------------------------------------------------------------- */

static void load_models(uv_work_t *work)
{
    struct server *s = work->data;
    for (size_t i = 0; i < s->options->models.n; i++) {
        struct engine_model *model;
        if (command_load(s->engine, s->options, s->options->models.items[i], &model, &s->load_error) < 0)
            return;
        api_add_model(s->api, model);
    }
}

static void announce(struct server *s)
{
    const struct engine_model_info *info = engine_model_info(engine_find_model(s->engine, NULL));
    bool v6 = strchr(s->options->host, ':') != NULL;
    printf("loquat listening on http://%s%s%s:%u (model %s, kernels %s, %u thread%s)\n", v6 ? "[" : "",
           s->options->host, v6 ? "]" : "", s->port, info->name, engine_kernels(s->engine),
           engine_threads(s->engine), engine_threads(s->engine) == 1 ? "" : "s");
    fflush(stdout);
}

static void after_load(uv_work_t *work, int status)
{
    struct server *s = work->data;
    (void)status; /* nothing cancels it */
    s->loading = false;
    if (s->load_error.kind != ERROR_NONE) {
        log_error("%s", s->load_error.text);
        s->status = 1;
        stop_loop(s);
        return;
    }
    s->phase = SERVER_READY;
    announce(s);
}

/* ---- the whole --------------------------------------------------------------------------------- */

static void start_signal(struct server *s, uv_signal_t *handle, int signal)
{
    uv_signal_init(&s->loop, handle);
    handle->data = s;
    uv_signal_start(handle, on_signal, signal);
}

static int watch_sockets(struct server *s, struct error *e)
{
    const union MHD_DaemonInfo *info = MHD_get_daemon_info(s->daemon, MHD_DAEMON_INFO_EPOLL_FD);
    s->listener.data = s->daemon_poll.data = s;
    if (!info || uv_poll_init(&s->loop, &s->listener, s->listen_fd) != 0 ||
        uv_poll_init(&s->loop, &s->daemon_poll, info->epoll_fd) != 0)
        return error_set(e, ERROR_INTERNAL, "cannot watch the sockets");
    uv_poll_start(&s->daemon_poll, UV_READABLE, on_daemon_ready);
    return listen_start(s, e);
}

static int start(struct server *s, struct error *e)
{
    signal(SIGPIPE, SIG_IGN);
    start_signal(s, &s->sigterm, SIGTERM);
    start_signal(s, &s->sigint, SIGINT);
    uv_timer_init(&s->loop, &s->daemon_timer);
    uv_timer_init(&s->loop, &s->sweep_timer);
    uv_timer_init(&s->loop, &s->drain_timer);
    uv_prepare_init(&s->loop, &s->before_poll);
    uv_check_init(&s->loop, &s->after_poll);
    s->daemon_timer.data = s->sweep_timer.data = s->drain_timer.data = s;
    s->before_poll.data = s->after_poll.data = s->load.data = s;
    uv_timer_start(&s->sweep_timer, on_sweep, SWEEP_MS, SWEEP_MS);
    uv_prepare_start(&s->before_poll, on_before_poll);
    uv_check_start(&s->after_poll, on_after_poll);
    TRY(mailbox_create(&s->loop, round_event, &s->mailbox, e));
    TRY(start_daemon(s, e));
    TRY(watch_sockets(s, e));
    log_info("loading %zu model%s; port %u is open", s->options->models.n,
             s->options->models.n == 1 ? "" : "s", s->port);
    s->loading = true;
    uv_queue_work(&s->loop, &s->load, load_models, after_load);
    return 0;
}

static void close_handle(uv_handle_t *handle, void *context)
{
    (void)context;
    if (!uv_is_closing(handle))
        uv_close(handle, NULL);
}

static bool any_worker(const struct server *s)
{
    bool any = s->loading;
    for (const struct request *r = s->requests; r; r = r->next)
        any = any || r->working;
    return any;
}

/* Connections first, then the engine (its last events must find their requests), then the loop's handles. */
static void finish(struct server *s)
{
    for (struct connection *c = s->connections; c; c = c->next) {
        if (c->request)
            http_gone(c->request);
    }
    if (s->daemon) {
        MHD_run(s->daemon); /* a daemon with suspended connections may not be stopped */
        uv_poll_stop(&s->daemon_poll);
        MHD_stop_daemon(s->daemon);
    }
    listen_stop(s);
    connection_stop_lingering(s);
    uv_timer_stop(&s->sweep_timer);
    while (any_worker(s)) /* it may be inside the engine */
        uv_run(&s->loop, UV_RUN_ONCE);
    engine_close(s->engine);
    while (s->requests)
        uv_run(&s->loop, UV_RUN_ONCE);
    mailbox_free(s->mailbox);
    uv_walk(&s->loop, close_handle, NULL);
    while (uv_run(&s->loop, UV_RUN_ONCE))
        continue;
    uv_loop_close(&s->loop);
}

int server_run(struct server *s)
{
    struct error e = {0};
    if (uv_loop_init(&s->loop) != 0) {
        log_error("cannot make the event loop");
        return 1;
    }
    metrics_init(&s->metrics);
    if (start(s, &e) < 0) {
        log_error("%s", e.text);
        s->status = 1;
        s->at_once = true;
    } else {
        uv_run(&s->loop, UV_RUN_DEFAULT);
    }
    if (!s->at_once)
        finish(s);
    return s->status;
}
