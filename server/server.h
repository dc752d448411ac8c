/* server.h - what the files of this room share: the server, its connections and its requests.
 * Everything here belongs to the loop thread, except a request's call while `working` is set: then a
 * worker thread is inside it.
 *
 * A request's life: http_handle() makes it when the head has come, and collects the body; http.c refuses it
 * or gives it to round.c, which runs api_call_begin() on a worker, submits the jobs, and waits for their
 * events from mailbox.c, until the call is complete; reply.c answers, stream.c when the call streams.
 * It is freed when libmicrohttpd, the worker and every job of it have let go (`holds`). */
#ifndef LOQUAT_SERVER_SERVER_H
#define LOQUAT_SERVER_SERVER_H

#include <microhttpd.h>
#include <uv.h>

#include "api/api.h"
#include "engine/base/limits.h"
#include "engine/engine.h"
#include "server/mailbox.h"
#include "server/metrics.h"
#include "server/options.h"

enum server_phase { SERVER_LOADING, SERVER_READY, SERVER_DRAINING };

struct connection;
struct half_closed;
struct request;

struct server {
    const struct options *options;
    struct engine *engine;
    struct api *api;
    enum server_phase phase;
    int status;    /* the process's, once the loop has ended */
    bool at_once;  /* a second signal: leave without waiting for anything */
    unsigned port; /* the real one */

    uv_loop_t loop;
    struct MHD_Daemon *daemon;
    int listen_fd;
    uv_poll_t listener, daemon_poll;
    uv_timer_t daemon_timer, sweep_timer, drain_timer;
    uv_prepare_t before_poll;
    uv_check_t after_poll;
    uv_signal_t sigterm, sigint;
    uv_work_t load;
    struct error load_error;
    bool loading;      /* the worker that loads models is at it */
    bool daemon_dirty; /* the daemon must run before the loop sleeps */
    bool accept_paused;
    bool ending;

    struct mailbox *mailbox;
    struct connection *connections; /* list */
    size_t n_connections, max_connections;
    struct half_closed *lingering; /* list */
    size_t n_lingering;
    struct request *requests; /* list of those with a slot */
    size_t n_requests;
    uint64_t body_bytes; /* reserved by all requests */
    struct metrics metrics;
    struct trace *trace; /* NULL when nobody asked for it */
};

/* ---- loop.c ------------------------------------------------------------------------------------ */

/* Binds, loads, serves until a signal; the process's exit status.  engine and api are the caller's. */
int server_run(struct server *s);
/* The daemon has something to do (a connection was resumed): it runs before the loop sleeps. */
void loop_kick(struct server *s);
/* A request let go of its slot: a draining server may be done. */
void loop_request_ended(struct server *s);

/* ---- listen.c ---------------------------------------------------------------------------------- */

int listen_open(struct server *s, struct error *e); /* binds options->host and port, fills port */
int listen_start(struct server *s, struct error *e);
void listen_stop(struct server *s);
void listen_raise_limit(struct server *s); /* RLIMIT_NOFILE, from max_connections */

/* ---- connection.c ------------------------------------------------------------------------------ */

struct connection {
    struct server *server;
    struct connection *next, **link;
    int fd;
    uv_poll_t watcher; /* for a hang-up, while the connection is suspended */
    struct request *request;
    uint64_t phase_ns;   /* when the connection fell idle, or its head began to come */
    uint64_t idle_bytes; /* received until then */
    bool head_begun;
    uint64_t acked, acked_ns; /* the peer's progress with what was sent */
    bool closing, linger;
};

/* libmicrohttpd's callback for connections that begin and end. */
void connection_notify(void *server, struct MHD_Connection *mhd, void **context,
                       enum MHD_ConnectionNotificationCode code);
/* Its request is over: from now on it waits for the next one. */
void connection_idle(struct connection *c);
void connection_watch(struct connection *c, bool on);
/* Looks after every connection's time limits; called a few times a second. */
void connection_sweep(struct server *s, uint64_t now);
/* A reply written past libmicrohttpd, for places where it cannot queue one; then the connection ends.
 * r: the request that it answers, NULL before there is one. */
void connection_refuse(int fd, const struct request *r, const struct error *e, unsigned retry_after);
/* The reply may meet a client that is still sending: read on for a while after closing, or a reset eats it.
 */
void connection_linger(struct server *s, int fd);
void connection_stop_lingering(struct server *s);

/* ---- http.c ------------------------------------------------------------------------------------ */

enum request_phase {
    REQUEST_READING,    /* the body is coming */
    REQUEST_DISCARDING, /* it is refused, and still coming */
    REQUEST_RUNNING,    /* round.c has it */
    REQUEST_REPLYING    /* the reply is queued; a stream may still be fed by round.c */
};

struct request {
    struct server *server;
    struct connection *connection; /* NULL when libmicrohttpd has let go */
    struct MHD_Connection *mhd;
    struct request *next, **link;
    enum request_phase phase;
    unsigned holds; /* libmicrohttpd, worker, jobs */
    bool has_slot;

    char id[LIMIT_REQUEST_ID + 1];
    const char *route;                   /* of the endpoint table, or "-": never the client's own words */
    const struct api_endpoint *endpoint; /* NULL for the server's own routes */
    const struct api_dialect *dialect;   /* of errors and streams; never NULL */
    char *path;                          /* as the client wrote it, without the query */
    const char *allow;                   /* for 405 */
    char allow_text[64];                 /* what allow points at for a row of the table */
    bool head_only;
    uint64_t start_ns, submit_ns;
    int status; /* 0 while undecided */

    char *body;
    size_t body_len, body_room;
    uint64_t body_reserved, discarded;

    struct error error; /* the first one; kind NONE while all is well */
    struct buf text;    /* body of a reply that api/ did not make */
    const char *text_type;
    bool close; /* the connection may not be used again */

    struct api_call call;
    bool has_call;
    uv_work_t work;
    bool working;
    int work_status;
    struct error work_error; /* the worker's own, until it is done */
    bool begun;              /* begin has run: advance is next */
    unsigned rounds;         /* of jobs submitted */
    struct mailbox_slot *slots;
    size_t n_slots, live; /* of this round; without FINAL yet */
    struct engine_usage usage;
    bool got_token, stalled;

    bool suspended, ready, streaming; /* ready: the status is decided; streaming: the reply is a stream */
    bool complete;                    /* nothing more will come from the call */
    bool gone;                        /* the client left or was given up */
    bool paused;
    size_t sent;       /* bytes of call.out already taken by the socket */
    size_t event_left; /* of the event that is being sent */
    uint64_t sent_ns;
    bool keepalive_due;
};

enum MHD_Result http_handle(void *server, struct MHD_Connection *mhd, const char *url, const char *method,
                            const char *version, const char *upload, size_t *upload_len, void **context);
void http_completed(void *server, struct MHD_Connection *mhd, void **context,
                    enum MHD_RequestTerminationCode code);
/* The client has left, or is given up: its jobs are cancelled and the connection closes. */
void http_gone(struct request *r);
/* Lets go of one hold. */
void http_release(struct request *r);
void http_suspend(struct request *r);
void http_resume(struct request *r);
/* A drain's time is over: the request ends with this error wherever it stands. */
void http_abort(struct request *r, const struct error *e);

/* ---- round.c ----------------------------------------------------------------------------------- */

/* Runs the call: http_resume() when the reply may begin. */
void round_start(struct request *r);
mailbox_fn round_event;
void round_cancel(struct request *r);
/* The request ends with this error, or with an earlier one. */
void round_fail(struct request *r, const struct error *e);

/* ---- trace.c ----------------------------------------------------------------------------------- */

/* Opens the file for appending.  Only its owner may read it. */
int trace_open(const char *path, struct trace **out, struct error *e);
void trace_close(struct trace *t); /* NULL is fine */
/* Writes what the engine is about to be asked; job is the index in the round. */
void trace_job(struct trace *t, const struct request *r, size_t job, const struct engine_job *spec);

/* ---- reply.c ----------------------------------------------------------------------------------- */

/* Queues the reply that the request has decided on. */
enum MHD_Result reply_queue(struct request *r);
void reply_headers(struct MHD_Response *response, struct request *r);
unsigned reply_retry_after(struct server *s, enum error_kind kind); /* seconds, 0 = none */

/* ---- stream.c ---------------------------------------------------------------------------------- */

struct MHD_Response *stream_response(struct request *r);
/* call.out grew, shrank or is complete: begins the reply, wakes the socket, pauses or resumes the jobs. */
void stream_update(struct request *r);
void stream_sweep(struct request *r, uint64_t now);
size_t stream_unsent(const struct request *r);

#endif
