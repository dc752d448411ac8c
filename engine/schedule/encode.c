/* encode.c - see encode.h.  Order: gather -> encode -> answers, oldest job first.
 * To add a task: its output in encode_output_of(), its RESULT in answer(). */
#include "engine/schedule/encode.h"

#include <stdlib.h>
#include <string.h>

#include "engine/base/clock.h"
#include "engine/schedule/pooling.h"

/* Rows of a whole vocabulary in one batch, at most: they bound the output's memory. */
enum { MASKED_ROWS = LIMIT_MASKED };

struct encode_runner {
    struct exec *exec;
    size_t cap_rows, cap_spans, cap_out, cap_vector;
    int32_t *tokens;
    uint8_t *types;
    struct attention_span *spans;
    float *out, *vector;
    uint32_t output_rows[MASKED_ROWS];
    struct engine_token masked[MASKED_ROWS]; /* of one job */
    struct engine_alternative top[MASKED_ROWS][LIMIT_TOP_LOGPROBS];
};

int encode_runner_create(struct exec *x, struct encode_runner **out, struct error *e)
{
    struct encode_runner *r = calloc(1, sizeof *r);
    if (!r)
        return error_no_memory(e);
    r->exec = x;
    *out = r;
    return 0;
}

void encode_runner_free(struct encode_runner *r)
{
    if (!r)
        return;
    free(r->tokens);
    free(r->types);
    free(r->spans);
    free(r->out);
    free(r->vector);
    free(r);
}

enum encode_output encode_output_of(const struct job *j)
{
    switch (j->spec.task) {
    case ENGINE_TASK_EMBED:
        return j->pooling == ENGINE_POOLING_POOLER ? ENCODE_POOLED : ENCODE_HIDDEN;
    case ENGINE_TASK_CLASSIFY:
        return ENCODE_LABELS;
    case ENGINE_TASK_TAG:
    case ENGINE_TASK_ANSWER:
        return ENCODE_TAGS;
    case ENGINE_TASK_FILL:
        return ENCODE_MASKED;
    case ENGINE_TASK_GENERATE:
        break;
    }
    return ENCODE_SOURCE;
}

/* Rows and columns of the output of a batch. */
static void output_size(const struct model_shape *shape, const struct encode_batch *b, size_t *rows,
                        size_t *cols)
{
    *rows = b->output == ENCODE_SOURCE                               ? 0
            : b->output == ENCODE_HIDDEN || b->output == ENCODE_TAGS ? b->rows
            : b->output == ENCODE_MASKED                             ? b->n_output_rows
                                                                     : b->n_spans;
    *cols = b->output == ENCODE_LABELS || b->output == ENCODE_TAGS ? shape->n_labels
            : b->output == ENCODE_MASKED                           ? shape->vocabulary
                                                                   : shape->embedding;
}

static void add_job(struct encode_runner *r, struct encode_batch *b, const struct job *j)
{
    size_t n = j->spec.n_prompt;
    void *const *pages = b->output == ENCODE_SOURCE ? j->source.data : NULL;
    memcpy(r->tokens + b->rows, j->spec.prompt, n * sizeof *r->tokens);
    if (j->spec.types)
        memcpy(r->types + b->rows, j->spec.types, n);
    else
        memset(r->types + b->rows, 0, n);
    for (size_t i = 0; b->output == ENCODE_MASKED && i < j->spec.n_masked; i++)
        r->output_rows[b->n_output_rows++] = (uint32_t)b->rows + j->spec.masked[i];
    r->spans[b->n_spans++] =
        (struct attention_span){.first_row = b->rows, .rows = n, .pages = pages, .n_keys = n};
    b->rows += n;
}

static int gather(struct encode_runner *r, const struct served_model *m, const struct batch_item *items,
                  size_t n, struct encode_batch *b)
{
    size_t rows = 0, out_rows, cols;
    for (size_t i = 0; i < n; i++)
        rows += items[i].sequence->job->spec.n_prompt;
    if (rows > r->cap_rows) {
        r->cap_rows = 0;
        TRY(batch_grow(&r->tokens, rows, sizeof *r->tokens));
        TRY(batch_grow(&r->types, rows, sizeof *r->types));
        r->cap_rows = rows;
    }
    TRY(batch_reserve(&r->spans, &r->cap_spans, n, sizeof *r->spans));
    TRY(batch_reserve(&r->vector, &r->cap_vector, m->model->shape.embedding, sizeof *r->vector));
    *b = (struct encode_batch){.tokens = r->tokens, .types = r->types, .spans = r->spans};
    b->output = encode_output_of(items[0].sequence->job);
    b->output_rows = r->output_rows;
    for (size_t i = 0; i < n; i++)
        add_job(r, b, items[i].sequence->job);
    output_size(&m->model->shape, b, &out_rows, &cols);
    size_t floats;
    if (__builtin_mul_overflow(out_rows, cols, &floats))
        return -1;
    TRY(batch_reserve(&r->out, &r->cap_out, floats, sizeof *r->out));
    b->out = r->out;
    return 0;
}

struct fill {
    struct encode_runner *runner;
    const float *logits; /* (n_masked, vocabulary) */
    size_t vocabulary;
    unsigned n_top;
};

static void fill_one(void *context, size_t i, unsigned worker)
{
    const struct fill *f = context;
    const float *row = f->logits + i * f->vocabulary;
    struct engine_token *token = &f->runner->masked[i];
    (void)worker;
    *token = (struct engine_token){.id = (int32_t)row_argmax(row, f->vocabulary)};
    logprobs_of(exec_kernels(f->runner->exec), row, f->vocabulary, f->n_top, token, f->runner->top[i]);
}

static void answer_masked(struct encode_runner *r, struct job *j, const float *logits, size_t vocabulary)
{
    struct fill f = {r, logits, vocabulary, j->spec.top_logprobs};
    pool_run(exec_pool(r->exec), j->spec.n_masked, fill_one, &f);
    job_send_result(j, NULL, 0, 0, r->masked, j->spec.n_masked);
}

static void answer_pooled(struct encode_runner *r, struct job *j, const float *hidden, size_t width)
{
    size_t n = j->spec.n_prompt;
    pooling_add(j->pooling, j->pooled, width, hidden, 0, n, n);
    pooling_finish(j->pooling, j->pooled, width, n, r->vector);
    job_send_result(j, r->vector, 1, width, NULL, 0);
}

/* Sends the RESULT of the job of span i; *masked counts the output rows that were used up. */
static void answer(struct encode_runner *r, const struct encode_batch *b, size_t i, size_t cols,
                   struct job *j, size_t *masked)
{
    const struct attention_span *span = &b->spans[i];
    j->first_token_ns = clock_ns();
    switch (b->output) {
    case ENCODE_SOURCE:
        break;
    case ENCODE_HIDDEN:
        answer_pooled(r, j, b->out + span->first_row * cols, cols);
        break;
    case ENCODE_POOLED:
    case ENCODE_LABELS:
        job_send_result(j, b->out + i * cols, 1, cols, NULL, 0);
        break;
    case ENCODE_TAGS:
        job_send_result(j, b->out + span->first_row * cols, span->rows, cols, NULL, 0);
        break;
    case ENCODE_MASKED:
        answer_masked(r, j, b->out + *masked * cols, cols);
        *masked += j->spec.n_masked;
        break;
    }
}

static size_t run_some(struct encode_runner *r, struct served_model *m, const struct batch_item *items,
                       size_t n)
{
    struct encode_batch b;
    size_t rows, cols, masked = 0;
    exec_set_prompt_rows(r->exec, SIZE_MAX, PROMPT_16_BITS);
    exec_set_weight_bytes(r->exec, m->model->weight_bytes);
    int status = gather(r, m, items, n, &b) < 0 ? -1 : m->model->arch->encode(m->model, r->exec, &b);
    exec_set_prompt_rows(r->exec, 0, PROMPT_24_BITS);
    if (status < 0) {
        for (size_t i = 0; i < n; i++)
            error_no_memory(&items[i].sequence->job->failure);
        return 0;
    }
    output_size(&m->model->shape, &b, &rows, &cols);
    for (size_t i = 0; i < n; i++) {
        struct job *j = items[i].sequence->job;
        if (b.output == ENCODE_SOURCE) {
            j->source.encoded = true;
        } else {
            answer(r, &b, i, cols, j, &masked);
            sequence_finish(items[i].sequence);
        }
    }
    return b.rows;
}

size_t encode_run(struct encode_runner *r, struct served_model *m, const struct batch_item *items, size_t n)
{
    size_t tokens = 0, begin = 0;
    while (begin < n) {
        size_t end = begin, masked = 0;
        do
            masked += items[end++].sequence->job->spec.n_masked;
        while (end < n && masked + items[end].sequence->job->spec.n_masked <= MASKED_ROWS);
        tokens += run_some(r, m, items + begin, end - begin);
        begin = end;
    }
    return tokens;
}
