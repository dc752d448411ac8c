/* stream.c - server-sent events, or lines of JSON, pulled by the socket.
 * Thread: loop.  call.out holds what api/ has written and the socket has not taken; one event leaves as one
 * chunk. When too much waits, the jobs are paused; half of it gone, they go on.  With nothing to send the
 * connection is suspended (and watched for a hang-up), and now and then a comment keeps proxies from closing
 * it. */
#include "server/server.h"

#include <string.h>

#include "engine/base/clock.h"

enum {
    READ_BLOCK = 16384,   /* what libmicrohttpd asks for at once */
    DROP_AFTER = 64 << 10 /* bytes sent before the rest is moved to the front */
};

size_t stream_unsent(const struct request *r)
{
    return r->working || !r->has_call ? 0 : r->call.out.len - r->sent;
}

static void pause_jobs(struct request *r, bool paused)
{
    r->paused = paused;
    for (size_t i = 0; i < r->n_slots; i++) {
        if (r->slots[i].job)
            engine_pause(r->server->engine, r->slots[i].job, paused);
    }
    if (paused)
        r->server->metrics.streams_paused++;
}

static void press_back(struct request *r)
{
    uint64_t limit = r->server->options->stream_buffer;
    size_t unsent = stream_unsent(r);
    if (!r->paused && unsent > limit)
        pause_jobs(r, true);
    else if (r->paused && unsent <= limit / 2)
        pause_jobs(r, false);
}

/* The bytes of the next event, or of its rest, that fit into max. */
static size_t next_chunk(struct request *r, size_t max)
{
    size_t unsent = stream_unsent(r);
    if (unsent == 0)
        return 0;
    const char *from = r->call.out.data + r->sent;
    if (r->event_left == 0) {
        size_t mark = strlen(r->dialect->event_end);
        const char *end = memmem(from, unsent, r->dialect->event_end, mark);
        r->event_left = end ? (size_t)(end - from) + mark : unsent;
    }
    return r->event_left < max ? r->event_left : max;
}

static void take(struct request *r, char *to, size_t len)
{
    struct buf *out = &r->call.out;
    memcpy(to, out->data + r->sent, len);
    r->sent += len;
    r->event_left -= len;
    r->sent_ns = clock_ns();
    if (r->sent == out->len) {
        buf_clear(out);
        r->sent = 0;
    } else if (r->sent >= DROP_AFTER) {
        buf_drop_front(out, r->sent);
        r->sent = 0;
    }
    press_back(r);
}

/* libmicrohttpd asks for bytes. */
static ssize_t stream_read(void *context, uint64_t position, char *to, size_t max)
{
    struct request *r = context;
    (void)position;
    if (r->gone)
        return MHD_CONTENT_READER_END_WITH_ERROR;
    size_t len = next_chunk(r, max);
    if (len) {
        take(r, to, len);
        return (ssize_t)len;
    }
    if (r->complete)
        return MHD_CONTENT_READER_END_OF_STREAM;
    size_t keepalive = strlen(r->dialect->keepalive);
    if (r->keepalive_due && max >= keepalive && keepalive > 0) {
        r->keepalive_due = false;
        r->sent_ns = clock_ns();
        memcpy(to, r->dialect->keepalive, keepalive);
        return (ssize_t)keepalive;
    }
    http_suspend(r);
    return 0;
}

struct MHD_Response *stream_response(struct request *r)
{
    struct MHD_Response *response =
        MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, READ_BLOCK, stream_read, r, NULL);
    if (!response)
        return NULL;
    r->sent_ns = clock_ns();
    MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE,
                            r->call.content_type ? r->call.content_type : r->dialect->stream_type);
    MHD_add_response_header(response, MHD_HTTP_HEADER_CACHE_CONTROL, "no-cache");
    MHD_add_response_header(response, "X-Accel-Buffering", "no");
    return response;
}

/* The status is decided by the first bytes, by the end, or by a comment that cannot wait. */
static void begin(struct request *r)
{
    r->ready = true;
    http_resume(r);
}

void stream_update(struct request *r)
{
    if (!r->mhd || r->gone)
        return;
    if (r->phase == REQUEST_RUNNING) {
        if (!r->ready && (r->complete || (r->call.stream && stream_unsent(r) > 0)))
            begin(r);
    } else if (r->streaming && (r->complete || stream_unsent(r) > 0)) {
        http_resume(r);
    }
    if (r->call.stream && !r->working)
        press_back(r);
}

void stream_sweep(struct request *r, uint64_t now)
{
    uint64_t interval = r->server->options->keepalive_ns;
    if (!r->suspended || r->working || r->gone || r->complete || !*r->dialect->keepalive)
        return;
    if (r->streaming && r->event_left == 0 && now - r->sent_ns >= interval) {
        r->keepalive_due = true;
        http_resume(r);
    } else if (r->phase == REQUEST_RUNNING && !r->ready && r->call.stream && now - r->start_ns >= interval) {
        r->keepalive_due = true;
        begin(r);
    }
}
