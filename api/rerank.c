/* rerank.c - POST /v1/rerank: documents in the order of what they have to do with a query.
 * A cross-encoder reads each pair (Nogueira & Cho, 2019): relevance_score is the sigmoid of its one output,
 * or the probability of the second of two.  Any other model gives the cosine of the two embeddings.
 * "method" says which.  Threads: begin and advance on a worker, event on the loop. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "api/endpoints.h"
#include "api/generation.h"
#include "api/tasks.h"
#include "api/wire.h"
#include "engine/base/limits.h"

struct rerank {
    struct engine_text model, query; /* with the next four: the request */
    const json_t *documents;
    int64_t top_n;
    bool return_documents, truncate;

    bool cross; /* else cosine: item 0 is the query */
    const char *envelope;
    struct field_texts texts;
    struct tasks tasks;
};

struct ranked {
    size_t index;
    double score;
};

#define AT(member) offsetof(struct rerank, member)

/* clang-format off */
static const struct field rerank_rows[] = {
    {.name = "model", .type = FIELD_STRING, .offset = AT(model),
     .help = "name of a loaded model; absent or \"default\": the first one"},
    {.name = "query", .type = FIELD_STRING, .offset = AT(query), .min = 1, .required = true, .help = "what is looked for"},
    {.name = "documents", .type = FIELD_JSON, .offset = AT(documents), .kinds = FIELD_KIND_ARRAY, .required = true,
     .help = "texts, or objects with a member text"},
    {.name = "top_n", .type = FIELD_INT, .offset = AT(top_n), .min = 1, .max = LIMIT_PROMPTS,
     .help = "only the best so many; absent: all"},
    {.name = "return_documents", .type = FIELD_BOOL, .offset = AT(return_documents), .help = "results carry the texts"},
    {.name = "truncate", .type = FIELD_BOOL, .offset = AT(truncate),
     .help = "cut off what is beyond the model's context; false, the default, refuses such a document"},
};
/* clang-format on */
static const struct field_group rerank_groups[] = {FIELD_GROUP(rerank_rows, 0)};
const struct field_table rerank_fields = FIELD_TABLE(rerank_groups, sizeof(struct rerank));

static int read_documents(struct api_call *call, struct rerank *r, struct error *e)
{
    size_t n = json_array_size(r->documents);
    if (n == 0 || n > LIMIT_PROMPTS)
        return error_param(e, ERROR_INVALID_REQUEST, "documents", "documents must hold from 1 to %d texts",
                           LIMIT_PROMPTS);
    struct engine_text *texts = arena_alloc(call->arena, n, sizeof *texts);
    if (!texts)
        return error_no_memory(e);
    for (size_t i = 0; i < n; i++) {
        const json_t *document = json_array_get(r->documents, i);
        const json_t *text = json_is_object(document) ? json_object_get(document, "text") : document;
        if (!json_is_string(text))
            return error_param(e, ERROR_INVALID_REQUEST, "documents",
                               "documents[%zu] must be a text or an object with a member text", i);
        texts[i] = (struct engine_text){json_string_value(text), json_string_length(text)};
    }
    r->texts = (struct field_texts){texts, n};
    return 0;
}

int rerank_begin(struct api_call *call, struct error *e)
{
    struct rerank *r = call->state;
    struct engine_model *model;
    TRY(generation_find_model(call, &r->model, &model, e));
    const struct engine_model_info *info = engine_model_info(model);
    r->cross = task_ranks_pairs(info);
    if (!r->cross)
        TRY(task_need(call, model, ENGINE_CAN_EMBED, "rerank", e));
    TRY(read_documents(call, r, e));
    TRY(wire_envelope(call, "rerank", "list", info->name, &r->envelope, e));
    size_t n = r->texts.n + !r->cross;
    TRY(tasks_init(call, &r->tasks, model, r->cross ? ENGINE_TASK_CLASSIFY : ENGINE_TASK_EMBED, n, e));
    for (size_t i = 0; i < n; i++) {
        struct task_item *item = &r->tasks.items[i];
        bool query = !r->cross && i == 0;
        item->field = query ? "query" : "documents";
        item->place = query ? TASK_ALONE : (long)i - !r->cross;
        item->text = r->cross || query ? r->query : r->texts.items[i - 1];
        if (r->cross)
            item->pair = r->texts.items[i];
    }
    TRY(tasks_prepare(&r->tasks, ENGINE_ADD_SPECIAL, r->truncate, e));
    return tasks_go_on(call, &r->tasks, e);
}

void rerank_event(struct api_call *call, size_t job, const struct engine_event *event)
{
    struct rerank *r = call->state;
    tasks_event(&r->tasks, job, event);
}

static double score_of(const struct rerank *r, size_t document)
{
    struct task_item *item = &r->tasks.items[document + !r->cross];
    double dot = 0;
    if (r->cross)
        return task_pair_score(&r->tasks, item, false);
    normalise(item->values, item->n_cols);
    for (size_t i = 0; i < item->n_cols; i++)
        dot += (double)item->values[i] * (double)r->tasks.items[0].values[i];
    return fmax(-1, fmin(1, dot)); /* rounding may leave the range */
}

/* Best first; equal ones in the order of the request. */
static int by_score(const void *a, const void *b)
{
    const struct ranked *x = a, *y = b;
    if (x->score != y->score)
        return x->score < y->score ? 1 : -1;
    return x->index < y->index ? -1 : 1;
}

int rerank_advance(struct api_call *call, struct error *e)
{
    struct rerank *r = call->state;
    struct buf *out = &call->out;
    TRY(tasks_go_on(call, &r->tasks, e));
    if (call->n_jobs)
        return 0;
    struct ranked *ranked = arena_alloc(call->arena, r->texts.n, sizeof *ranked);
    if (!ranked)
        return error_no_memory(e);
    if (!r->cross)
        normalise(r->tasks.items[0].values, r->tasks.items[0].n_cols);
    for (size_t i = 0; i < r->texts.n; i++)
        ranked[i] = (struct ranked){i, score_of(r, i)};
    qsort(ranked, r->texts.n, sizeof *ranked, by_score);
    size_t most = r->top_n && (size_t)r->top_n < r->texts.n ? (size_t)r->top_n : r->texts.n;
    buf_printf(out, "%s,\"method\":\"%s\",\"results\":[", r->envelope, r->cross ? "cross-encoder" : "cosine");
    for (size_t i = 0; i < most; i++) {
        const struct engine_text *text = &r->texts.items[ranked[i].index];
        buf_printf(out, "%s{\"index\":%zu,\"relevance_score\":", i ? "," : "", ranked[i].index);
        wire_float(out, ranked[i].score);
        if (r->tasks.items[ranked[i].index + !r->cross].truncated)
            buf_add_text(out, ",\"truncated\":true");
        if (r->return_documents) {
            buf_add_text(out, ",\"document\":{\"text\":");
            wire_text(out, text->bytes, text->len);
            buf_add_text(out, "}");
        }
        buf_add_text(out, "}");
    }
    buf_add_text(out, "],\"usage\":");
    task_usage(out, &r->tasks.usage);
    buf_add_text(out, "}");
    return 0;
}

void rerank_free(struct api_call *call)
{
    struct rerank *r = call->state;
    tasks_free(&r->tasks);
}
