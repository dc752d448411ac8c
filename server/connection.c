/* connection.c - what happens to a socket besides HTTP: hang-ups while its connection is suspended,
 * slow and stalled peers, replies where libmicrohttpd has none, and a close that a sender survives.
 * Thread: loop.  Time limits are read from the kernel's own counters (TCP_INFO), because libmicrohttpd
 * tells neither when a head begins to come nor whether the peer takes what was sent. */
#include "server/server.h"

#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "engine/base/clock.h"
#include "server/tcp_counters.h"

enum {
    LINGER_MS = 3000,
    LINGER_MAX = 256,        /* sockets lingering at once */
    LINGER_BYTES = 64 << 20, /* read from one of them */
    LINGER_TURN = 1 << 20    /* and in one turn of the loop */
};

/* ---- a close that the peer can read to the end ------------------------------------------------- */

struct half_closed {
    struct server *server;
    struct half_closed *next, **link;
    int fd;
    size_t bytes;
    uv_poll_t poll;
    uv_timer_t timer;
    unsigned handles;
};

static void linger_closed(uv_handle_t *handle)
{
    struct half_closed *l = handle->data;
    if (--l->handles > 0)
        return;
    close(l->fd);
    *l->link = l->next;
    if (l->next)
        l->next->link = l->link;
    l->server->n_lingering--;
    free(l);
}

static void linger_end(struct half_closed *l)
{
    if (uv_is_closing((uv_handle_t *)&l->poll))
        return;
    uv_close((uv_handle_t *)&l->poll, linger_closed);
    uv_close((uv_handle_t *)&l->timer, linger_closed);
}

static void linger_read(uv_poll_t *handle, int status, int events)
{
    struct half_closed *l = handle->data;
    char waste[16384];
    (void)events;
    for (size_t turn = 0; status == 0 && turn < LINGER_TURN;) {
        ssize_t n = recv(l->fd, waste, sizeof waste, MSG_DONTWAIT);
        if (n < 0)
            return;
        turn += (size_t)n;
        l->bytes += (size_t)n;
        if (n == 0 || l->bytes > LINGER_BYTES)
            break;
    }
    if (status == 0 && l->bytes <= LINGER_BYTES && recv(l->fd, waste, 1, MSG_DONTWAIT | MSG_PEEK) != 0)
        return;
    linger_end(l);
}

void connection_stop_lingering(struct server *s)
{
    for (struct half_closed *l = s->lingering; l; l = l->next)
        linger_end(l);
}

static void linger_timeout(uv_timer_t *timer)
{
    linger_end(timer->data);
}

void connection_linger(struct server *s, int fd)
{
    shutdown(fd, SHUT_WR);
    struct half_closed *l = s->n_lingering < LINGER_MAX && !s->ending ? calloc(1, sizeof *l) : NULL;
    if (!l)
        return;
    l->server = s;
    l->fd = dup(fd);
    l->poll.data = l->timer.data = l;
    if (l->fd < 0 || uv_poll_init(&s->loop, &l->poll, l->fd) != 0) {
        if (l->fd >= 0)
            close(l->fd);
        free(l);
        return;
    }
    uv_timer_init(&s->loop, &l->timer);
    l->handles = 2;
    l->link = &s->lingering;
    l->next = s->lingering;
    if (l->next)
        l->next->link = &l->next;
    s->lingering = l;
    s->n_lingering++;
    uv_timer_start(&l->timer, linger_timeout, LINGER_MS, 0);
    uv_poll_start(&l->poll, UV_READABLE, linger_read);
}

void connection_refuse(int fd, const struct request *r, const struct error *e, unsigned retry_after)
{
    const struct api_dialect *dialect = r ? r->dialect : &api_openai;
    struct buf body, head;
    buf_init(&body, 4096);
    buf_init(&head, 8192);
    dialect->body(&body, e, r ? r->id : "");
    int status = dialect->status(e);
    buf_printf(&head, "HTTP/1.1 %d %s\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n", status,
               MHD_get_reason_phrase_for((unsigned)status), body.len);
    if (retry_after)
        buf_printf(&head, "Retry-After: %u\r\n", retry_after);
    buf_add_text(&head, "Connection: close\r\n\r\n");
    buf_add(&head, body.data, body.len);
    if (!head.failed && !body.failed) {
        ssize_t sent = send(fd, head.data, head.len, MSG_DONTWAIT | MSG_NOSIGNAL);
        (void)sent; /* a courtesy: the connection ends either way */
    }
    buf_free(&head);
    buf_free(&body);
}

/* ---- hang-ups ---------------------------------------------------------------------------------- */

/* A reset comes as an error status with the watcher already stopped; an end-of-file as UV_DISCONNECT.
 * A next request that is readable is neither. */
static void on_hang_up(uv_poll_t *handle, int status, int events)
{
    struct connection *c = handle->data;
    uv_poll_stop(handle);
    if (c->request && (status < 0 || (events & UV_DISCONNECT)))
        http_gone(c->request);
}

void connection_watch(struct connection *c, bool on)
{
    if (on)
        uv_poll_start(&c->watcher, UV_DISCONNECT, on_hang_up);
    else
        uv_poll_stop(&c->watcher);
}

/* ---- begin and end ----------------------------------------------------------------------------- */

static void connection_begin(struct server *s, struct MHD_Connection *mhd, void **context)
{
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CONNECTION_FD);
    struct connection *c = info ? calloc(1, sizeof *c) : NULL;
    if (!c)
        return; /* http_handle() refuses connections without a record */
    c->server = s;
    c->fd = info->connect_fd;
    c->phase_ns = clock_ns();
    c->watcher.data = c;
    if (uv_poll_init(&s->loop, &c->watcher, c->fd) != 0) {
        free(c);
        return;
    }
    c->link = &s->connections;
    c->next = s->connections;
    if (c->next)
        c->next->link = &c->next;
    s->connections = c;
    s->n_connections++;
    *context = c;
}

void connection_idle(struct connection *c)
{
    c->request = NULL;
    c->head_begun = false;
    c->phase_ns = clock_ns();
    struct tcp_counters counters = {0};
    tcp_counters_read(c->fd, &counters);
    c->idle_bytes = counters.received;
}

static void connection_freed(uv_handle_t *handle)
{
    free(handle->data);
}

static void connection_end(struct connection *c)
{
    struct server *s = c->server;
    *c->link = c->next;
    if (c->next)
        c->next->link = c->link;
    s->n_connections--;
    if (c->linger)
        connection_linger(s, c->fd);
    uv_close((uv_handle_t *)&c->watcher, connection_freed);
}

void connection_notify(void *server, struct MHD_Connection *mhd, void **context,
                       enum MHD_ConnectionNotificationCode code)
{
    if (code == MHD_CONNECTION_NOTIFY_STARTED)
        connection_begin(server, mhd, context);
    else if (*context)
        connection_end(*context);
}

/* ---- time limits ------------------------------------------------------------------------------- */

static void give_up(struct connection *c)
{
    c->closing = true;
    shutdown(c->fd, SHUT_RDWR); /* libmicrohttpd sees an end and closes */
    loop_kick(c->server);
}

static void time_out_reading(struct connection *c)
{
    struct error e = {0};
    error_set(&e, ERROR_REQUEST_TIMEOUT, "the request did not arrive within %.3g seconds",
              (double)c->server->options->read_timeout_ns / 1e9);
    c->server->metrics.read_timeouts++;
    connection_refuse(c->fd, c->request, &e, 0);
    if (c->request) {
        c->request->error = e;
        c->request->status = c->request->dialect->status(&e);
    }
    give_up(c);
}

/* Between requests.  Bytes since the last one ended mean that a head is on its way. */
static void sweep_idle(struct connection *c, uint64_t now, uint64_t received)
{
    const struct options *o = c->server->options;
    if (!c->head_begun && received > c->idle_bytes) {
        c->head_begun = true;
        c->phase_ns = now;
    }
    if (c->head_begun && now - c->phase_ns > o->read_timeout_ns)
        time_out_reading(c);
    else if (!c->head_begun && now - c->phase_ns > o->idle_timeout_ns)
        give_up(c);
}

/* A reply is under way: does the peer take it? */
static void sweep_reply(struct connection *c, uint64_t now, const struct tcp_counters *counters)
{
    if (counters->acked != c->acked || counters->unsent == 0 || c->acked_ns == 0) {
        c->acked = counters->acked;
        c->acked_ns = now;
    } else if (now - c->acked_ns > c->server->options->stall_timeout_ns) {
        c->request->stalled = true;
        c->server->metrics.stalled_readers++;
        http_gone(c->request);
        give_up(c);
    }
}

static void sweep_one(struct connection *c, uint64_t now)
{
    struct tcp_counters counters;
    if (c->closing || tcp_counters_read(c->fd, &counters) < 0)
        return;
    struct request *r = c->request;
    if (!r) {
        sweep_idle(c, now, counters.received);
    } else if (r->phase == REQUEST_READING || r->phase == REQUEST_DISCARDING) {
        if (now - r->start_ns > c->server->options->read_timeout_ns)
            time_out_reading(c);
    } else if (r->phase == REQUEST_REPLYING) {
        stream_sweep(r, now);
        sweep_reply(c, now, &counters);
    } else {
        stream_sweep(r, now);
    }
}

void connection_sweep(struct server *s, uint64_t now)
{
    for (struct connection *c = s->connections, *next; c; c = next) {
        next = c->next;
        sweep_one(c, now);
    }
}
