/* error_json.c - an error record as the wire's error object.
 * Callers: server/ for every refused request (loop thread), api/ for a stream that fails midway. */
#include <string.h>

#include "api/api.h"
#include "engine/base/json.h"

static void add_string_or_null(struct buf *out, const char *text)
{
    if (text && *text)
        json_write_string(out, text, strlen(text));
    else
        buf_add_text(out, "null");
}

/* Clients parse all four keys; code is a string or null, never a number. */
void api_error_body(struct buf *out, const struct error *e)
{
    buf_add_text(out, "{\"error\":{\"message\":");
    json_write_string(out, e->text, strlen(e->text));
    buf_add_text(out, ",\"type\":");
    json_write_string(out, error_type(e->kind), strlen(error_type(e->kind)));
    buf_add_text(out, ",\"param\":");
    add_string_or_null(out, e->param);
    buf_add_text(out, ",\"code\":");
    add_string_or_null(out, error_code(e->kind));
    buf_add_text(out, "}}");
}

void api_error_event(struct buf *out, const struct error *e)
{
    buf_add_text(out, "data: ");
    api_error_body(out, e);
    buf_add_text(out, "\n\n");
}

static int openai_status(const struct error *e)
{
    return error_http_status(e->kind);
}

static void openai_body(struct buf *out, const struct error *e, const char *request_id)
{
    (void)request_id;
    api_error_body(out, e);
}

static void openai_event(struct buf *out, const struct error *e, const char *request_id)
{
    (void)request_id;
    api_error_event(out, e);
}

const struct api_dialect api_openai = {
    .status = openai_status,
    .body = openai_body,
    .event = openai_event,
    .stream_type = "text/event-stream",
    .event_end = "\n\n",
    .keepalive = ":\n\n",
};
