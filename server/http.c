/* http.c - a request's life between libmicrohttpd and the rooms behind it: routes, limits, body, end.
 * Thread: loop.  At the head a request takes a slot and reserves its body's bytes, or is refused.  A refused
 * request's body is still read while it is small, so that the connection lives on; else the reply goes out
 * at once and the connection closes.  What needs an engine goes to round.c; the server's own routes are
 * rows of the table below. */
#include "server/server.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "api/oip.h"
#include "engine/base/clock.h"
#include "engine/base/log.h"

enum {
    DISCARD_KNOWN = 1 << 20, /* a refused body of this length is read rather than the connection closed */
    BODY_FIRST = 16384       /* of a chunked body */
};

/* ---- the server's own routes ------------------------------------------------------------------- */

static void health(struct request *r)
{
    struct server *s = r->server;
    if (s->phase == SERVER_LOADING)
        error_set(&r->error, ERROR_LOADING, "Loading model");
    else if (s->phase == SERVER_DRAINING)
        error_set(&r->error, ERROR_DRAINING, "the server is shutting down");
    else if (engine_heartbeat_age(s->engine) > s->options->heartbeat_ns)
        error_set(&r->error, ERROR_STALLED, "the scheduler has not shown life for %.1f seconds",
                  (double)engine_heartbeat_age(s->engine) / 1e9);
    else
        buf_add_text(&r->text, "{\"status\":\"ok\"}");
}

static void live(struct request *r)
{
    buf_add_text(&r->text, "{\"live\":true}");
}

static void ready(struct request *r)
{
    health(r);
    buf_clear(&r->text);
    buf_add_text(&r->text, "{\"ready\":true}");
}

static void metrics(struct request *r)
{
    r->text_type = "text/plain; version=0.0.4; charset=utf-8";
    metrics_render(r->server, &r->text);
}

static const struct {
    const char *path;
    void (*answer)(struct request *r);
    const struct api_dialect *dialect;
} own_routes[] = {
    {"/health", health, &api_openai},
    {"/v2/health/live", live, &api_oip},
    {"/v2/health/ready", ready, &api_oip},
    {"/metrics", metrics, &api_openai},
};

enum { OWN_ROUTES = sizeof own_routes / sizeof own_routes[0] };

/* ---- birth and death --------------------------------------------------------------------------- */

static bool valid_id(const char *id)
{
    size_t len = id ? strlen(id) : 0;
    if (len == 0 || len > LIMIT_REQUEST_ID)
        return false;
    for (; *id; id++) {
        if (*id <= ' ' || *id > '~')
            return false;
    }
    return true;
}

static const char *header(struct request *r, const char *name)
{
    return MHD_lookup_connection_value(r->mhd, MHD_HEADER_KIND, name);
}

static void choose_id(struct request *r)
{
    const char *id = header(r, "X-Request-Id");
    if (!valid_id(id))
        id = header(r, "X-Client-Request-Id");
    if (valid_id(id)) {
        snprintf(r->id, sizeof r->id, "%s", id);
        return;
    }
    unsigned char random[12] = {0};
    ssize_t got = getrandom(random, sizeof random, 0);
    (void)got; /* short reads do not happen below 256 bytes */
    size_t used = (size_t)snprintf(r->id, sizeof r->id, "req-");
    for (size_t i = 0; i < sizeof random; i++)
        used += (size_t)snprintf(r->id + used, sizeof r->id - used, "%02x", random[i]);
}

/* "http://host/path" is a path too (RFC 9112, 3.2.2). */
static const char *path_of(const char *target)
{
    if (strncasecmp(target, "http://", 7) != 0)
        return target;
    const char *slash = strchr(target + 7, '/');
    return slash ? slash : "/";
}

static struct request *request_create(struct server *s, struct MHD_Connection *mhd, const char *target)
{
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    struct connection *c = info ? info->socket_context : NULL;
    struct request *r = c ? calloc(1, sizeof *r) : NULL;
    if (!r)
        return NULL;
    r->path = strdup(path_of(target));
    if (!r->path) {
        free(r);
        return NULL;
    }
    r->server = s;
    r->connection = c;
    r->mhd = mhd;
    r->holds = 1;
    r->route = "-";
    r->text_type = "application/json";
    r->dialect = &api_openai;
    r->start_ns = clock_ns();
    buf_init(&r->text, 8 << 20);
    c->request = r;
    c->head_begun = false;
    c->acked_ns = 0;
    choose_id(r);
    return r;
}

static void take_slot(struct request *r)
{
    struct server *s = r->server;
    r->has_slot = true;
    r->link = &s->requests;
    r->next = s->requests;
    if (r->next)
        r->next->link = &r->next;
    s->requests = r;
    s->n_requests++;
}

static void drop_body(struct request *r)
{
    free(r->body);
    r->body = NULL;
    r->server->body_bytes -= r->body_reserved;
    r->body_reserved = 0;
}

void http_release(struct request *r)
{
    struct server *s = r->server;
    if (--r->holds > 0)
        return;
    if (r->has_call) {
        api_call_free(&r->call);
        arena_free(r->call.arena);
    }
    drop_body(r);
    buf_free(&r->text);
    if (r->has_slot) {
        *r->link = r->next;
        if (r->next)
            r->next->link = r->link;
        s->n_requests--;
        loop_request_ended(s);
    }
    free(r->path);
    free(r);
}

/* One line, without a word of the client's except its id. */
static void log_request(struct request *r)
{
    double ms = (double)(clock_ns() - r->start_ns) / 1e6;
    enum log_level level = r->server->options->log_requests ? LOG_INFO : LOG_DEBUG;
    log_line(level, "request id=%s route=%s status=%d prompt_tokens=%zu completion_tokens=%zu ms=%.1f%s",
             r->id, r->route, r->status, r->usage.prompt_tokens, r->usage.completion_tokens, ms,
             r->stalled ? " stalled"
             : r->gone  ? " client left"
                        : "");
}

void http_completed(void *server, struct MHD_Connection *mhd, void **context,
                    enum MHD_RequestTerminationCode code)
{
    struct server *s = server;
    struct request *r = *context;
    (void)mhd;
    if (!r)
        return;
    *context = NULL;
    bool left = r->gone || code != MHD_REQUEST_TERMINATED_COMPLETED_OK;
    if (left && !r->complete && r->phase != REQUEST_DISCARDING) {
        if (r->phase == REQUEST_RUNNING || r->status == 0)
            r->status = 499;
        s->metrics.requests_cancelled++;
        round_cancel(r);
    }
    r->gone = r->gone || left;
    connection_watch(r->connection, false);
    connection_idle(r->connection);
    r->connection = NULL;
    r->mhd = NULL;
    r->suspended = false;
    enum error_kind kind = r->error.kind == ERROR_NONE && r->status == 499 ? ERROR_CANCELLED : r->error.kind;
    metrics_request(&s->metrics, r->route, r->status, kind, clock_ns() - r->start_ns);
    if (r->got_token)
        metrics_usage(&s->metrics, &r->usage);
    log_request(r);
    http_release(r);
}

void http_suspend(struct request *r)
{
    MHD_suspend_connection(r->mhd);
    r->suspended = true;
    connection_watch(r->connection, true);
}

void http_resume(struct request *r)
{
    if (!r->suspended)
        return;
    connection_watch(r->connection, false);
    r->suspended = false;
    MHD_resume_connection(r->mhd);
    loop_kick(r->server);
}

void http_gone(struct request *r)
{
    if (r->gone)
        return;
    r->gone = true;
    if (!r->complete)
        round_cancel(r);
    http_resume(r);
}

void http_abort(struct request *r, const struct error *e)
{
    if (r->phase == REQUEST_READING && r->connection) {
        connection_refuse(r->connection->fd, r, e, reply_retry_after(r->server, e->kind));
        r->gone = true;
        r->connection->linger = true;
        shutdown(r->connection->fd, SHUT_RD);
        loop_kick(r->server);
    } else if (!r->complete) {
        round_fail(r, e);
    }
}

/* ---- the head ---------------------------------------------------------------------------------- */

struct framing {
    const char *length; /* the first Content-Length */
    bool chunked, conflict, unknown;
};

static enum MHD_Result read_framing(void *context, enum MHD_ValueKind kind, const char *name,
                                    const char *value)
{
    struct framing *f = context;
    (void)kind;
    if (strcasecmp(name, "Content-Length") == 0) {
        f->conflict = f->conflict || !value || (f->length && strcmp(f->length, value) != 0);
        f->length = value;
    } else if (strcasecmp(name, "Transfer-Encoding") == 0) {
        f->conflict = f->conflict || f->chunked;
        f->unknown = f->unknown || !value || strcasecmp(value, "chunked") != 0;
        f->chunked = true;
    }
    return MHD_YES;
}

/* Two readers of one connection must agree where a request ends, or a proxy can be tricked (request
 * smuggling). */
static int check_framing(struct request *r, struct framing *f, uint64_t *length)
{
    memset(f, 0, sizeof *f);
    MHD_get_connection_values(r->mhd, MHD_HEADER_KIND, read_framing, f);
    *length = 0;
    if (f->conflict || (f->chunked && f->length))
        return error_set(&r->error, ERROR_INVALID_REQUEST,
                         "Content-Length and Transfer-Encoding contradict each other");
    if (f->unknown)
        return error_set(&r->error, ERROR_INVALID_REQUEST, "the only Transfer-Encoding is chunked");
    for (const char *c = f->length; c && *c; c++) {
        if (*c < '0' || *c > '9' || *length > UINT64_MAX / 10 - 10)
            return error_set(&r->error, ERROR_INVALID_REQUEST, "Content-Length is not a number of bytes");
        *length = *length * 10 + (uint64_t)(*c - '0');
    }
    return 0;
}

static int find_own_route(struct request *r, const char *method)
{
    bool get = strcmp(method, "GET") == 0 || strcmp(method, "HEAD") == 0;
    for (size_t i = 0; i < OWN_ROUTES; i++) {
        if (strcmp(r->path, own_routes[i].path) != 0)
            continue;
        r->route = own_routes[i].path;
        r->dialect = own_routes[i].dialect;
        r->allow = "GET, HEAD, OPTIONS";
        if (get)
            own_routes[i].answer(r);
        else if (strcmp(method, "OPTIONS") != 0)
            error_set(&r->error, ERROR_METHOD_NOT_ALLOWED, "%s answers GET", r->route);
        return 1;
    }
    return 0;
}

static const struct {
    const char *name;
    unsigned method;
    const char *allows;
} methods[] = {{"GET", API_GET, "GET, HEAD"},
               {"HEAD", API_GET, NULL},
               {"POST", API_POST, "POST"},
               {"DELETE", API_DELETE, "DELETE"}};

enum { METHODS = sizeof methods / sizeof methods[0] };

/* A row with the path, whatever the method; allow: the methods that it has. */
static const struct api_endpoint *find_any(const char *path, char *allow, size_t room)
{
    const struct api_endpoint *any = NULL;
    size_t used = 0;
    for (size_t i = 0; i < METHODS; i++) {
        bool other;
        const struct api_endpoint *row = methods[i].allows ? api_find(path, methods[i].method, &other) : NULL;
        if (!row)
            continue;
        any = any ? any : row;
        used += (size_t)snprintf(allow + used, room - used, "%s, ", methods[i].allows);
    }
    snprintf(allow + used, room - used, "OPTIONS");
    return any;
}

static void find_endpoint(struct request *r, const char *method)
{
    const struct api_endpoint *any = find_any(r->path, r->allow_text, sizeof r->allow_text);
    bool other;
    if (!any) {
        error_set(&r->error, ERROR_NOT_FOUND, "there is nothing at this path");
        return;
    }
    r->route = any->path;
    r->dialect = api_dialect_of(any);
    r->allow = r->allow_text;
    for (size_t i = 0; i < METHODS; i++) {
        if (strcmp(methods[i].name, method) == 0)
            r->endpoint = api_find(r->path, methods[i].method, &other);
    }
    if (!r->endpoint && strcmp(method, "OPTIONS") != 0)
        error_set(&r->error, ERROR_METHOD_NOT_ALLOWED, "%s answers %s", r->route, r->allow);
}

static int check_phase(struct request *r)
{
    if (r->server->phase == SERVER_LOADING)
        return error_set(&r->error, ERROR_LOADING, "Loading model");
    if (r->server->phase == SERVER_DRAINING)
        return error_set(&r->error, ERROR_DRAINING, "the server is shutting down");
    return 0;
}

static int check_type(struct request *r)
{
    static const char json[] = "application/json";
    const char *type = header(r, "Content-Type");
    if (r->endpoint->method != API_POST || !type)
        return 0;
    size_t len = strcspn(type, "; \t");
    if (len == sizeof json - 1 && strncasecmp(type, json, len) == 0)
        return 0;
    return error_set(&r->error, ERROR_UNSUPPORTED_MEDIA_TYPE,
                     "the body must be JSON: send Content-Type: application/json");
}

static int too_large(struct request *r)
{
    return error_set(&r->error, ERROR_PAYLOAD_TOO_LARGE, "the body is larger than %llu bytes",
                     (unsigned long long)r->server->options->max_body);
}

static int reserve(struct request *r, uint64_t bytes)
{
    struct server *s = r->server;
    if (bytes > s->options->body_memory - s->body_bytes)
        return error_set(&r->error, ERROR_QUEUE_FULL,
                         "the bodies of other requests fill this server's memory for them");
    s->body_bytes += bytes;
    r->body_reserved += bytes;
    return 0;
}

/* Slot and bytes are taken in the step that checks them, so that no two requests count on the same ones. */
static int admit(struct request *r, uint64_t length)
{
    struct server *s = r->server;
    TRY(check_phase(r));
    TRY(check_type(r));
    if (length > s->options->max_body)
        return too_large(r);
    if (s->n_requests >= s->options->max_requests)
        return error_set(&r->error, ERROR_QUEUE_FULL, "all %llu places for requests are taken",
                         (unsigned long long)s->options->max_requests);
    TRY(reserve(r, length));
    r->body = length ? malloc(length) : NULL;
    if (length && !r->body)
        return error_no_memory(&r->error);
    r->body_room = length;
    take_slot(r);
    return 0;
}

/* The reply is known.  A small body is read first, so that the connection can serve the next request. */
static enum MHD_Result answer_head(struct request *r, const struct framing *f, uint64_t length, bool broken)
{
    bool waits = header(r, "Expect") != NULL;
    bool has_body = f->chunked || length > 0;
    r->ready = r->complete = true;
    r->phase = REQUEST_DISCARDING;
    if (!broken && (!has_body || (!waits && (f->chunked || length <= DISCARD_KNOWN))))
        return MHD_YES;
    r->close = true;
    r->connection->linger = true;
    return reply_queue(r);
}

static enum MHD_Result handle_head(struct request *r, const char *method)
{
    struct framing framing;
    uint64_t length;
    r->head_only = strcmp(method, "HEAD") == 0;
    if (check_framing(r, &framing, &length) < 0)
        return answer_head(r, &framing, length, true);
    if (!find_own_route(r, method))
        find_endpoint(r, method);
    if (r->endpoint && r->error.kind == ERROR_NONE && admit(r, length) == 0) {
        r->phase = REQUEST_READING;
        return MHD_YES;
    }
    return answer_head(r, &framing, length, false);
}

/* ---- the body ---------------------------------------------------------------------------------- */

static int make_room(struct request *r, size_t more)
{
    uint64_t need = r->body_len + more;
    if (need <= r->body_room)
        return 0;
    if (need > r->server->options->max_body)
        return too_large(r);
    uint64_t room = r->body_room ? 2 * r->body_room : BODY_FIRST;
    if (room < need)
        room = need;
    if (room > r->server->options->max_body)
        room = r->server->options->max_body;
    TRY(reserve(r, room - r->body_room));
    char *body = realloc(r->body, room);
    if (!body)
        return error_no_memory(&r->error);
    r->body = body;
    r->body_room = room;
    return 0;
}

static enum MHD_Result handle_body(struct request *r, const char *upload, size_t *len)
{
    if (r->gone)
        return MHD_NO;
    if (r->phase == REQUEST_READING && make_room(r, *len) < 0) {
        drop_body(r);
        r->ready = r->complete = true;
        r->phase = REQUEST_DISCARDING;
    }
    if (r->phase == REQUEST_READING) {
        memcpy(r->body + r->body_len, upload, *len);
        r->body_len += *len;
    } else {
        r->discarded += *len;
        if (r->discarded > r->server->options->max_body + DISCARD_KNOWN) {
            /* A reply cannot be queued in the middle of an upload. */
            connection_refuse(r->connection->fd, r, &r->error, reply_retry_after(r->server, r->error.kind));
            r->status = r->dialect->status(&r->error);
            r->connection->linger = true;
            return MHD_NO;
        }
    }
    *len = 0;
    return MHD_YES;
}

/* Called at the body's end and after every resume. */
static enum MHD_Result handle_turn(struct request *r)
{
    if (r->gone)
        return MHD_NO;
    if (r->ready)
        return reply_queue(r);
    if (r->phase == REQUEST_READING) {
        r->phase = REQUEST_RUNNING;
        round_start(r);
        if (r->ready) /* it failed at once */
            return reply_queue(r);
    }
    http_suspend(r);
    return MHD_YES;
}

enum MHD_Result http_handle(void *server, struct MHD_Connection *mhd, const char *url, const char *method,
                            const char *version, const char *upload, size_t *upload_len, void **context)
{
    struct request *r = *context;
    (void)version;
    if (!r) {
        r = request_create(server, mhd, url);
        *context = r;
        return r ? handle_head(r, method) : MHD_NO;
    }
    if (*upload_len > 0)
        return handle_body(r, upload, upload_len);
    return handle_turn(r);
}
