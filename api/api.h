/* api.h - the room's whole surface: JSON to jobs and back.  No sockets, no tensors.
 *
 * A call is one HTTP request.  The server runs it in rounds:
 *   1. api_call_begin() on a worker thread: finds the fields, renders templates, tokenises, fills call->jobs.
 *   2. the server submits the jobs; each job's events come back on the loop thread through api_call_event().
 *   3. when every job of the round had its FINAL event: api_call_advance() on a worker thread, which makes
 * the next round's jobs (a summary's next pass) or completes the answer. A call that has no jobs after begin
 * or advance is complete.  An error at any point ends it. Only one thread is inside a call at a time; the
 * server sees to that. */
#ifndef LOQUAT_API_API_H
#define LOQUAT_API_API_H

#include <jansson.h>

#include "engine/base/arena.h"
#include "engine/base/buf.h"
#include "engine/engine.h"

struct api; /* the engine and what api/ keeps per model: compiled chat templates */
struct api_call;

int api_create(struct engine *engine, struct api **out, struct error *e);
void api_free(struct api *api);
/* After each engine_load(): compiles the model's chat template.  A template that can't be run disables chat
 * for the model; the reason is logged and told to whoever asks for chat. */
void api_add_model(struct api *api, struct engine_model *model);

/* What a chat endpoint would send to the model: the ids of the rendered messages (a list as chat completions
 * take it).  *ids is malloc'ed, the caller's.  Any thread.  For `generate --chat`. */
int api_render_chat(struct api *api, struct engine_model *model, const json_t *messages, int32_t **ids,
                    size_t *n, struct error *e);

/* ---- the ENDPOINT TABLE, api/endpoint.c ------------------------------------------------------ */

enum { API_GET = 1, API_POST = 2, API_DELETE = 4 };

struct field_table; /* api/fields.h */

/* How the clients of one API are told of failures, and how its streams are cut.  A dialect other than
 * OpenAI's is one such constant in its own file, named by its rows. */
struct api_dialect {
    int (*status)(const struct error *e); /* of HTTP */
    void (*body)(struct buf *out, const struct error *e, const char *request_id);
    void (*event)(struct buf *out, const struct error *e, const char *request_id); /* a stream's last one */
    const char *stream_type; /* Content-Type of a stream */
    const char *event_end;   /* what ends each event of a stream */
    const char *keepalive;   /* what may be sent between events so that nobody gives up; "" = nothing may */
    const char *error_shape; /* of a failure (shape.h); NULL: OpenAI's */
    const char *id_header;   /* of the reply, for the request's id; besides x-request-id; or NULL */
};

extern const struct api_dialect api_openai; /* api/error_json.c */

enum { API_PATH_ARGUMENTS = 2 };

struct api_endpoint {
    const char *path; /* "/v1/models/{id}": {…} matches one segment, percent-decoded; at most two */
    unsigned method;  /* API_GET, API_POST or API_DELETE */
    const struct field_table
        *fields; /* of the JSON body, read into call->state; NULL when there is no body */
    int (*begin)(struct api_call *call, struct error *e);
    void (*event)(struct api_call *call, size_t job,
                  const struct engine_event *event);        /* NULL when it makes no jobs */
    int (*advance)(struct api_call *call, struct error *e); /* likewise */
    void (*free)(struct api_call *call);                    /* what the arena does not hold; may be NULL */
    const struct api_dialect *dialect;                      /* NULL = api_openai */
};

/* The row's; OpenAI's where there is no row. */
const struct api_dialect *api_dialect_of(const struct api_endpoint *endpoint);

/* path: as the client wrote it, still percent-encoded, without the query.
 * NULL when no row has the path; *other_method is then true when a row has it with another method. */
const struct api_endpoint *api_find(const char *path, unsigned method, bool *other_method);
const struct api_endpoint *api_endpoint_at(size_t i); /* NULL past the end */
/* What each {…} of the row matched, decoded, in the arena; NULL where the row has none.
 * Errors: a bad escape, a zero byte, no UTF-8, over 512 bytes. */
int api_path_arguments(const struct api_endpoint *endpoint, const char *path, struct arena *arena,
                       const char *out[API_PATH_ARGUMENTS], struct error *e);

/* ---- a call ----------------------------------------------------------------------------------- */

struct api_call {
    /* Set by the server before begin. */
    struct api *api;
    struct engine *engine;
    const struct api_endpoint *endpoint;
    struct arena *arena;                            /* lives as long as the call */
    const char *request_id;                         /* printable ASCII */
    const char *path_arguments[API_PATH_ARGUMENTS]; /* what {…} matched, or NULL */
    const char *body;
    size_t body_len;
    uint64_t cache_salt;
    int64_t created; /* Unix seconds */

    /* Set by begin or advance: the jobs of this round (arena memory; prompts malloc'ed).  The server fills in
     * on_event, user and tag, submits each once, then sets its prompt to NULL, and n_jobs to 0 when the round
     * is over. */
    struct engine_job *jobs;
    size_t n_jobs;

    /* The answer.  Non-streaming: complete when the call is.  Streaming: events are appended as they come and
     * the server takes them away (buf_drop_front or buf_clear) as the socket asks for more. */
    bool stream; /* set in begin; the server then answers 200 with the dialect's stream at the first bytes */
    const char *content_type; /* NULL = application/json, or the dialect's when streaming */
    struct buf out;

    void *state;                    /* endpoint's own: fields->size bytes, the fields first */
    json_t *request;                /* the parsed body, for api/ alone */
    struct engine_grammar *grammar; /* that the jobs follow; api_call_free() releases it */
};

/* For the server.  They call the endpoint's functions and keep the rules above. */
int api_call_begin(struct api_call *call, struct error *e);
void api_call_event(struct api_call *call, size_t job, const struct engine_event *event);
int api_call_advance(struct api_call *call, struct error *e);
void api_call_free(struct api_call *call); /* endpoint's free, out, prompts not taken; not the arena */

/* OpenAI's {"error":{"message","type","param","code"}} appended; and as a stream's last event with `data: `.
 */
void api_error_body(struct buf *out, const struct error *e);
void api_error_event(struct buf *out, const struct error *e);

#endif
