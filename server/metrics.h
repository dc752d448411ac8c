/* metrics.h - what the server counts, and its Prometheus text.  Thread: loop.
 * A new counter is a field, the line that raises it, and a row in metrics.c. */
#ifndef LOQUAT_SERVER_METRICS_H
#define LOQUAT_SERVER_METRICS_H

#include <stddef.h>
#include <stdint.h>

#include "engine/base/buf.h"
#include "engine/engine.h"

struct server;

enum { METRICS_BUCKETS = 20, METRICS_ROUTES = 512 };

struct histogram {
    const double *bounds; /* rising; n of them */
    size_t n;
    uint64_t counts[METRICS_BUCKETS + 1]; /* the last is above every bound */
    uint64_t count;
    double sum;
};

struct metrics {
    uint64_t connections_accepted, connections_refused;
    uint64_t read_timeouts, stalled_readers, streams_paused;
    uint64_t requests_cancelled; /* by clients that left */
    uint64_t drain_aborted;      /* requests that a shutdown did not wait for */
    uint64_t errors[ERROR_KINDS];
    struct {
        const char *route;
        int status;
        uint64_t count;
    } requests[METRICS_ROUTES];
    size_t n_requests;
    struct histogram queue, first_token, inter_token, end_to_end, prefill, decode; /* seconds */
    struct histogram prompt_tokens, generation_tokens;
};

void metrics_init(struct metrics *m); /* all zero, with their bounds */
void metrics_observe(struct histogram *h, double value);
/* A request ended.  route must live as long as the process. */
void metrics_request(struct metrics *m, const char *route, int status, enum error_kind kind, uint64_t ns);
/* Its jobs had tokens. */
void metrics_usage(struct metrics *m, const struct engine_usage *usage);

/* Appends the text of /metrics. */
void metrics_render(struct server *s, struct buf *out);

#endif
