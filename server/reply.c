/* reply.c - status, headers and body of every reply.  Thread: loop. */
#include "server/server.h"

#include <stdio.h>
#include <string.h>

#include "engine/base/clock.h"

enum { RETRY_LOADING = 2, RETRY_ELSEWHERE = 5 };

unsigned reply_retry_after(struct server *s, enum error_kind kind)
{
    switch (kind) {
    case ERROR_LOADING:
        return RETRY_LOADING;
    case ERROR_DRAINING:
    case ERROR_STALLED:
        return RETRY_ELSEWHERE;
    case ERROR_QUEUE_FULL:
    case ERROR_DEADLINE:
        return engine_retry_after(s->engine);
    default:
        return 0;
    }
}

/* The origin to allow, NULL for none. */
static const char *allowed_origin(const struct request *r)
{
    const char *allowed = r->server->options->cors_origin;
    const char *origin = MHD_lookup_connection_value(r->mhd, MHD_HEADER_KIND, "Origin");
    if (!allowed || !origin || strcmp(allowed, "*") == 0)
        return allowed && strcmp(allowed, "*") == 0 ? "*" : NULL;
    size_t len = strlen(origin);
    while (*allowed) {
        size_t item = strcspn(allowed, ",");
        if (item == len && strncasecmp(allowed, origin, len) == 0)
            return origin;
        allowed += item;
        allowed += strspn(allowed, ", ");
    }
    return NULL;
}

static void cors_headers(struct MHD_Response *response, struct request *r)
{
    const char *origin = allowed_origin(r);
    const char *wanted =
        MHD_lookup_connection_value(r->mhd, MHD_HEADER_KIND, "Access-Control-Request-Headers");
    if (r->server->options->cors_origin)
        MHD_add_response_header(response, "Vary", "Origin");
    if (!origin)
        return;
    MHD_add_response_header(response, "Access-Control-Allow-Origin", origin);
    MHD_add_response_header(response, "Access-Control-Expose-Headers",
                            "x-request-id, openai-processing-ms, retry-after");
    if (!MHD_lookup_connection_value(r->mhd, MHD_HEADER_KIND, "Access-Control-Request-Method"))
        return;
    MHD_add_response_header(response, "Access-Control-Allow-Methods",
                            r->allow ? r->allow : "GET, POST, OPTIONS");
    MHD_add_response_header(response, "Access-Control-Allow-Headers",
                            wanted ? wanted : "Authorization, Content-Type, X-Request-Id");
    MHD_add_response_header(response, "Access-Control-Max-Age", "600");
}

void reply_headers(struct MHD_Response *response, struct request *r)
{
    char number[32];
    MHD_add_response_header(response, "x-request-id", r->id);
    if (r->dialect->id_header)
        MHD_add_response_header(response, r->dialect->id_header, r->id);
    snprintf(number, sizeof number, "%llu", (unsigned long long)((clock_ns() - r->start_ns) / 1000000));
    MHD_add_response_header(response, "openai-processing-ms", number);
    cors_headers(response, r);
    if (r->close || r->server->phase == SERVER_DRAINING)
        MHD_add_response_header(response, "Connection", "close");
}

static void error_headers(struct MHD_Response *response, struct request *r)
{
    char number[32];
    unsigned retry = reply_retry_after(r->server, r->error.kind);
    if (retry) {
        snprintf(number, sizeof number, "%u", retry);
        MHD_add_response_header(response, "Retry-After", number);
    }
    if (r->error.kind == ERROR_METHOD_NOT_ALLOWED)
        MHD_add_response_header(response, "Allow", r->allow);
}

static struct MHD_Response *plain_response(struct request *r)
{
    bool from_call = r->has_call && r->error.kind == ERROR_NONE;
    if (r->error.kind != ERROR_NONE) {
        buf_clear(&r->text);
        r->dialect->body(&r->text, &r->error, r->id);
    }
    const struct buf *body = from_call ? &r->call.out : &r->text;
    struct MHD_Response *response =
        MHD_create_response_from_buffer(body->len, body->data, MHD_RESPMEM_PERSISTENT);
    if (!response)
        return NULL;
    const char *type = from_call ? r->call.content_type : r->error.kind ? NULL : r->text_type;
    if (body->len)
        MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, type ? type : "application/json");
    else if (r->allow)
        MHD_add_response_header(response, "Allow", r->allow);
    if (r->error.kind != ERROR_NONE)
        error_headers(response, r);
    return response;
}

enum MHD_Result reply_queue(struct request *r)
{
    r->streaming = r->has_call && r->error.kind == ERROR_NONE && r->call.stream;
    struct MHD_Response *response = r->streaming ? stream_response(r) : plain_response(r);
    if (!response)
        return MHD_NO;
    reply_headers(response, r);
    bool empty = !r->streaming && !r->has_call && r->text.len == 0;
    r->status = r->error.kind != ERROR_NONE ? r->dialect->status(&r->error) : empty ? 204 : 200;
    r->phase = REQUEST_REPLYING;
    enum MHD_Result queued = MHD_queue_response(r->mhd, (unsigned)r->status, response);
    MHD_destroy_response(response);
    return queued;
}
