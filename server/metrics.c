/* metrics.c - counters, histograms and the text of /metrics (Prometheus exposition format 0.0.4).
 * Names under vllm: are those that dashboards and the Gateway API inference extension look for; their
 * model_name is that of the default model, since the scheduler serves all models from one queue. */
#include "server/metrics.h"

#include <string.h>

#include "engine/base/machine.h"
#include "server/server.h"

static const double seconds[] = {0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5,
                                 1,     2.5,    5,     10,   20,    40,   80,  160,  320};
static const double tokens[] = {1,   2,    5,    10,   20,    50,    100,   200,
                                500, 1000, 2000, 5000, 10000, 20000, 50000, 100000};

static void histogram_init(struct histogram *h, const double *bounds, size_t n)
{
    h->bounds = bounds;
    h->n = n;
}

void metrics_init(struct metrics *m)
{
    struct histogram *times[] = {&m->queue,      &m->first_token, &m->inter_token,
                                 &m->end_to_end, &m->prefill,     &m->decode};
    memset(m, 0, sizeof *m);
    for (size_t i = 0; i < sizeof times / sizeof times[0]; i++)
        histogram_init(times[i], seconds, sizeof seconds / sizeof seconds[0]);
    histogram_init(&m->prompt_tokens, tokens, sizeof tokens / sizeof tokens[0]);
    histogram_init(&m->generation_tokens, tokens, sizeof tokens / sizeof tokens[0]);
}

void metrics_observe(struct histogram *h, double value)
{
    size_t i = 0;
    while (i < h->n && value > h->bounds[i])
        i++;
    h->counts[i]++;
    h->count++;
    h->sum += value;
}

void metrics_request(struct metrics *m, const char *route, int status, enum error_kind kind, uint64_t ns)
{
    size_t i = 0;
    while (i < m->n_requests && (m->requests[i].status != status || strcmp(m->requests[i].route, route) != 0))
        i++;
    if (i == m->n_requests && i < METRICS_ROUTES) {
        m->requests[i].route = route;
        m->requests[i].status = status;
        m->n_requests++;
    }
    if (i < METRICS_ROUTES)
        m->requests[i].count++;
    if (kind != ERROR_NONE)
        m->errors[kind]++;
    metrics_observe(&m->end_to_end, (double)ns / 1e9);
}

void metrics_usage(struct metrics *m, const struct engine_usage *usage)
{
    metrics_observe(&m->queue, (double)usage->queue_ns / 1e9);
    metrics_observe(&m->prefill, (double)usage->prefill_ns / 1e9);
    metrics_observe(&m->decode, (double)usage->decode_ns / 1e9);
    metrics_observe(&m->prompt_tokens, (double)usage->prompt_tokens);
    metrics_observe(&m->generation_tokens, (double)usage->completion_tokens);
}

/* ---- text -------------------------------------------------------------------------------------- */

static void describe(struct buf *out, const char *name, const char *type, const char *help)
{
    buf_printf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

/* label: `{key="value"}` or empty. */
static void value(struct buf *out, const char *name, const char *type, const char *help, const char *label,
                  double v)
{
    describe(out, name, type, help);
    buf_printf(out, "%s%s %.17g\n", name, label, v);
}

static void add_label_text(struct buf *out, const char *text)
{
    for (; *text; text++) {
        if (*text == '"' || *text == '\\')
            buf_add(out, "\\", 1);
        buf_add(out, *text == '\n' ? " " : text, 1);
    }
}

/* label: `key="value"` or empty. */
static void histogram(struct buf *out, const char *name, const char *help, const char *label,
                      const struct histogram *h)
{
    const char *comma = *label ? "," : "";
    uint64_t below = 0;
    describe(out, name, "histogram", help);
    for (size_t i = 0; i <= h->n; i++) {
        below += h->counts[i];
        buf_printf(out, "%s_bucket{%s%sle=\"", name, label, comma);
        if (i < h->n)
            buf_printf(out, "%.12g", h->bounds[i]);
        else
            buf_add_text(out, "+Inf");
        buf_printf(out, "\"} %llu\n", (unsigned long long)below);
    }
    buf_printf(out, "%s_sum%s%s%s %.17g\n", name, *label ? "{" : "", label, *label ? "}" : "", h->sum);
    buf_printf(out, "%s_count%s%s%s %llu\n", name, *label ? "{" : "", label, *label ? "}" : "",
               (unsigned long long)h->count);
}

static void render_requests(const struct metrics *m, struct buf *out)
{
    describe(out, "loquat_requests_total", "counter",
             "Finished requests by route and status (499: the client left).");
    for (size_t i = 0; i < m->n_requests; i++)
        buf_printf(out, "loquat_requests_total{route=\"%s\",status=\"%d\"} %llu\n", m->requests[i].route,
                   m->requests[i].status, (unsigned long long)m->requests[i].count);
    describe(out, "loquat_request_errors_total", "counter", "Requests that ended with an error, by kind.");
    for (int kind = 1; kind < ERROR_KINDS; kind++)
        buf_printf(out, "loquat_request_errors_total{error=\"%s\"} %llu\n",
                   error_label((enum error_kind)kind), (unsigned long long)m->errors[kind]);
}

static void render_server(const struct server *s, struct buf *out)
{
    const struct metrics *m = &s->metrics;
    size_t buffered = 0;
    for (const struct request *r = s->requests; r; r = r->next)
        buffered += stream_unsent(r);
    const struct {
        const char *name, *type, *help;
        double v;
    } rows[] = {
        {"loquat_connections", "gauge", "Open connections.", (double)s->n_connections},
        {"loquat_connections_accepted_total", "counter", "Connections taken.",
         (double)m->connections_accepted},
        {"loquat_connections_refused_total", "counter", "Connections refused at --max-connections.",
         (double)m->connections_refused},
        {"loquat_requests_in_flight", "gauge", "Requests that hold a place.", (double)s->n_requests},
        {"loquat_body_bytes", "gauge", "Bytes reserved for request bodies.", (double)s->body_bytes},
        {"loquat_unsent_bytes", "gauge", "Bytes of answers that clients have not taken.", (double)buffered},
        {"loquat_requests_cancelled_total", "counter", "Requests whose client left.",
         (double)m->requests_cancelled},
        {"loquat_read_timeouts_total", "counter", "Requests that did not arrive in time.",
         (double)m->read_timeouts},
        {"loquat_stalled_readers_total", "counter", "Clients given up because they did not read.",
         (double)m->stalled_readers},
        {"loquat_streams_paused_total", "counter", "Times a stream's jobs waited for its reader.",
         (double)m->streams_paused},
        {"loquat_drain_aborted_total", "counter", "Requests that a shutdown did not wait for.",
         (double)m->drain_aborted},
        {"loquat_draining", "gauge", "1 while shutting down.", s->phase == SERVER_DRAINING},
        {"process_resident_memory_bytes", "gauge", "Resident memory.", (double)machine_resident()},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        value(out, rows[i].name, rows[i].type, rows[i].help, "", rows[i].v);
}

static void render_engine(const struct server *s, const struct engine_stats *t, struct buf *out)
{
    const struct {
        const char *name, *type, *help;
        double v;
    } rows[] = {
        {"loquat_queued_jobs", "gauge", "Jobs that wait to run.", (double)t->queued_jobs},
        {"loquat_queued_tokens", "gauge", "Their prompt tokens.", (double)t->queued_tokens},
        {"loquat_running_sequences", "gauge", "Sequences in the batch.", (double)t->running_sequences},
        {"loquat_kv_bytes_total", "gauge", "Ceiling of the key/value pages.", (double)t->kv_bytes_total},
        {"loquat_kv_bytes_used", "gauge", "Bytes of pages that sequences hold.", (double)t->kv_bytes_used},
        {"loquat_kv_bytes_cached", "gauge", "Bytes of pages kept for prefixes only.",
         (double)t->kv_bytes_cached},
        {"loquat_prompt_tokens_total", "counter", "Prompt tokens of jobs.", (double)t->prompt_tokens},
        {"loquat_cached_tokens_total", "counter", "Prompt tokens found in the prefix cache.",
         (double)t->cached_tokens},
        {"loquat_generated_tokens_total", "counter", "Tokens generated.", (double)t->generated_tokens},
        {"loquat_prefix_queries_total", "counter", "Tokens looked up in the prefix cache.",
         (double)t->prefix_queries},
        {"loquat_prefix_hits_total", "counter", "Of these, found.", (double)t->prefix_hits},
        {"loquat_drafted_tokens_total", "counter", "Tokens guessed ahead and verified.",
         (double)t->drafted_tokens},
        {"loquat_accepted_tokens_total", "counter", "Of these, right: generated.",
         (double)t->accepted_tokens},
        {"loquat_preemptions_total", "counter", "Sequences that gave up their pages for a while.",
         (double)t->preemptions},
        {"loquat_ticks_total", "counter", "Batches run.", (double)t->ticks},
        {"loquat_busy_seconds_total", "counter", "Time in batches.", (double)t->busy_ns / 1e9},
        {"loquat_jobs_finished_total", "counter", "Jobs that came to their end.", (double)t->jobs_finished},
        {"loquat_jobs_cancelled_total", "counter", "Jobs cancelled.", (double)t->jobs_cancelled},
        {"loquat_jobs_failed_total", "counter", "Jobs that failed.", (double)t->jobs_failed},
        {"loquat_tokens_per_second", "gauge", "Recent rate, prompt and generated.", t->tokens_per_second},
        {"loquat_heartbeat_age_seconds", "gauge", "Since the scheduler last showed life.",
         (double)engine_heartbeat_age(s->engine) / 1e9},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        value(out, rows[i].name, rows[i].type, rows[i].help, "", rows[i].v);
}

static void render_vllm(const struct engine_stats *t, const char *braced, struct buf *out)
{
    const struct {
        const char *name, *type, *help;
        double v;
    } rows[] = {
        {"vllm:num_requests_waiting", "gauge", "Jobs that wait to run.", (double)t->queued_jobs},
        {"vllm:num_requests_running", "gauge", "Sequences in the batch.", (double)t->running_sequences},
        {"vllm:kv_cache_usage_perc", "gauge", "Share of the key/value pages in use, 0 to 1.",
         t->kv_bytes_total ? (double)t->kv_bytes_used / (double)t->kv_bytes_total : 0},
        {"vllm:prefix_cache_queries_total", "counter", "Tokens looked up in the prefix cache.",
         (double)t->prefix_queries},
        {"vllm:prefix_cache_hits_total", "counter", "Of these, found.", (double)t->prefix_hits},
        {"vllm:spec_decode_num_draft_tokens_total", "counter", "Tokens guessed ahead and verified.",
         (double)t->drafted_tokens},
        {"vllm:spec_decode_num_accepted_tokens_total", "counter", "Of these, right.",
         (double)t->accepted_tokens},
        {"vllm:prompt_tokens_total", "counter", "Prompt tokens.", (double)t->prompt_tokens},
        {"vllm:generation_tokens_total", "counter", "Tokens generated.", (double)t->generated_tokens},
        {"vllm:num_preemptions_total", "counter", "Preemptions.", (double)t->preemptions},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        value(out, rows[i].name, rows[i].type, rows[i].help, braced, rows[i].v);
}

static void render_histograms(const struct metrics *m, const char *label, struct buf *out)
{
    const struct {
        const char *name, *alias, *help;
        const struct histogram *h;
    } rows[] = {
        {"loquat_queue_seconds", "vllm:request_queue_time_seconds", "Waiting before the first batch.",
         &m->queue},
        {"loquat_time_to_first_token_seconds", "vllm:time_to_first_token_seconds", "From the request's head.",
         &m->first_token},
        {"loquat_inter_token_seconds", "vllm:inter_token_latency_seconds", "Between tokens of one choice.",
         &m->inter_token},
        {"loquat_request_seconds", "vllm:e2e_request_latency_seconds",
         "From the request's head to the reply's end.", &m->end_to_end},
        {"loquat_prefill_seconds", "vllm:request_prefill_time_seconds", "Reading the prompt.", &m->prefill},
        {"loquat_decode_seconds", "vllm:request_decode_time_seconds", "From the first token to the last.",
         &m->decode},
        {"loquat_request_prompt_tokens", "vllm:request_prompt_tokens", "Prompt tokens of a request.",
         &m->prompt_tokens},
        {"loquat_request_generation_tokens", "vllm:request_generation_tokens",
         "Generated tokens of a request.", &m->generation_tokens},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        histogram(out, rows[i].name, rows[i].help, "", rows[i].h);
        histogram(out, rows[i].alias, rows[i].help, label, rows[i].h);
    }
}

void metrics_render(struct server *s, struct buf *out)
{
    struct engine_stats stats;
    struct buf label, braced;
    struct engine_model *model = s->phase == SERVER_LOADING ? NULL : engine_find_model(s->engine, NULL);
    engine_stats(s->engine, &stats);
    buf_init(&label, 4096);
    buf_init(&braced, 4096);
    buf_add_text(&label, "model_name=\"");
    add_label_text(&label, model ? engine_model_info(model)->name : "");
    buf_add_text(&label, "\"");
    buf_printf(&braced, "{%s}", label.data ? label.data : "");
    render_requests(&s->metrics, out);
    render_server(s, out);
    render_engine(s, &stats, out);
    if (!label.failed && !braced.failed) {
        render_vllm(&stats, braced.data, out);
        render_histograms(&s->metrics, label.data, out);
    }
    buf_free(&label);
    buf_free(&braced);
}
