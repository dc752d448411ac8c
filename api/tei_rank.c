/* tei_rank.c - POST /rerank and /predict of Text Embeddings Inference: what a classifier's head says of pairs
 * or texts, best first.  Threads: begin and advance on a worker, event on the loop. */
#include <string.h>

#include "api/endpoints.h"
#include "api/tei.h"
#include "api/wire.h"
#include "engine/base/limits.h"

/* ---- /rerank ---------------------------------------------------------------------------------- */

struct rank {
    struct tei_options options; /* with the next four: the request */
    struct engine_text query;
    struct field_texts texts;
    bool return_text, raw_scores;

    struct tasks tasks;
};

#define AT(member) offsetof(struct rank, member)

/* clang-format off */
static const struct field rank_rows[] = {
    {.name = "query", .type = FIELD_STRING, .offset = AT(query), .min = 1, .required = true, .help = "what is looked for"},
    {.name = "texts", .type = FIELD_STRINGS, .offset = AT(texts), .max = LIMIT_PROMPTS, .max_bytes = LIMIT_REQUEST_ARENA,
     .required = true, .help = "where"},
    {.name = "return_text", .type = FIELD_BOOL, .offset = AT(return_text), .help = "results carry the texts"},
    {.name = "raw_scores", .type = FIELD_BOOL, .offset = AT(raw_scores), .help = "logits instead of probabilities"},
};
/* clang-format on */
static const struct field_group rank_groups[] = {{tei_rows, TEI_ROWS, AT(options)},
                                                 FIELD_GROUP(rank_rows, 0)};
const struct field_table tei_rerank_fields = FIELD_TABLE(rank_groups, sizeof(struct rank));

int tei_rerank_begin(struct api_call *call, struct error *e)
{
    struct rank *r = call->state;
    struct engine_model *model;
    if (r->texts.n == 0)
        return error_param(e, ERROR_INVALID_REQUEST, "texts", "texts must not be empty");
    TRY(tei_find_model(call, &r->options, task_ranks_pairs, "rerank by reading pairs", &model, e));
    TRY(tasks_init(call, &r->tasks, model, ENGINE_TASK_CLASSIFY, r->texts.n, e));
    for (size_t i = 0; i < r->texts.n; i++) {
        r->tasks.items[i].field = "texts";
        r->tasks.items[i].place = (long)i;
        r->tasks.items[i].text = r->query;
        r->tasks.items[i].pair = r->texts.items[i];
    }
    TRY(tasks_prepare(&r->tasks, ENGINE_ADD_SPECIAL, r->options.truncate, e));
    return tasks_go_on(call, &r->tasks, e);
}

void tei_rerank_event(struct api_call *call, size_t job, const struct engine_event *event)
{
    struct rank *r = call->state;
    tasks_event(&r->tasks, job, event);
}

int tei_rerank_advance(struct api_call *call, struct error *e)
{
    struct rank *r = call->state;
    struct buf *out = &call->out;
    TRY(tasks_go_on(call, &r->tasks, e));
    if (call->n_jobs)
        return 0;
    struct tei_scored *ranked = arena_alloc(call->arena, r->texts.n, sizeof *ranked);
    if (!ranked)
        return error_no_memory(e);
    for (size_t i = 0; i < r->texts.n; i++)
        ranked[i] = (struct tei_scored){i, task_pair_score(&r->tasks, &r->tasks.items[i], r->raw_scores)};
    tei_sort(ranked, r->texts.n);
    for (size_t i = 0; i < r->texts.n; i++) {
        const struct engine_text *text = &r->texts.items[ranked[i].index];
        buf_printf(out, "%s{\"index\":%zu,\"score\":", i ? "," : "[", ranked[i].index);
        wire_float(out, ranked[i].score);
        if (r->return_text) {
            buf_add_text(out, ",\"text\":");
            wire_text(out, text->bytes, text->len);
        }
        buf_add_text(out, "}");
    }
    buf_add_text(out, "]");
    return 0;
}

void tei_rerank_free(struct api_call *call)
{
    struct rank *r = call->state;
    tasks_free(&r->tasks);
}

/* ---- /predict --------------------------------------------------------------------------------- */

struct predict {
    struct tei_options options; /* with the next two: the request */
    const json_t *inputs;
    bool raw_scores;

    bool batch;
    struct tasks tasks;
};

#undef AT
#define AT(member) offsetof(struct predict, member)

/* clang-format off */
static const struct field predict_rows[] = {
    {.name = "inputs", .type = FIELD_JSON, .offset = AT(inputs), .kinds = FIELD_KIND_STRING | FIELD_KIND_ARRAY,
     .required = true, .help = "a text; a list of one or two texts: a text or a pair; a list of such lists: many of them"},
    {.name = "raw_scores", .type = FIELD_BOOL, .offset = AT(raw_scores), .help = "logits instead of probabilities"},
};
/* clang-format on */
static const struct field_group predict_groups[] = {{tei_rows, TEI_ROWS, AT(options)},
                                                    FIELD_GROUP(predict_rows, 0)};
const struct field_table tei_predict_fields = FIELD_TABLE(predict_groups, sizeof(struct predict));

static bool can_classify(const struct engine_model_info *info)
{
    return info->abilities & ENGINE_CAN_CLASSIFY;
}

static struct engine_text text_of(const json_t *string)
{
    return (struct engine_text){json_string_value(string), json_string_length(string)};
}

/* A text, or a list of one or two. */
static int read_sequence(struct task_item *item, const json_t *value, struct error *e)
{
    const json_t *first = json_is_array(value) ? json_array_get(value, 0) : value;
    const json_t *second = json_array_get(value, 1);
    if (!json_is_string(first) || json_array_size(value) > 2 || (second && !json_is_string(second)))
        return error_param(e, ERROR_INVALID_REQUEST, "inputs",
                           "inputs must be a text, a list of one or two texts, or a list of such lists");
    item->text = text_of(first);
    if (second)
        item->pair = text_of(second);
    return 0;
}

int tei_predict_begin(struct api_call *call, struct error *e)
{
    struct predict *p = call->state;
    struct engine_model *model;
    p->batch = json_is_array(json_array_get(p->inputs, 0));
    size_t n = p->batch ? json_array_size(p->inputs) : 1;
    if (n > LIMIT_PROMPTS)
        return error_param(e, ERROR_INVALID_REQUEST, "inputs", "inputs may hold at most %d texts",
                           LIMIT_PROMPTS);
    TRY(tei_find_model(call, &p->options, can_classify, "classify", &model, e));
    TRY(tasks_init(call, &p->tasks, model, ENGINE_TASK_CLASSIFY, n, e));
    for (size_t i = 0; i < n; i++) {
        p->tasks.items[i].field = "inputs";
        p->tasks.items[i].place = p->batch ? (long)i : TASK_ALONE;
        TRY(read_sequence(&p->tasks.items[i], p->batch ? json_array_get(p->inputs, i) : p->inputs, e));
    }
    TRY(tasks_prepare(&p->tasks, ENGINE_ADD_SPECIAL, p->options.truncate, e));
    return tasks_go_on(call, &p->tasks, e);
}

void tei_predict_event(struct api_call *call, size_t job, const struct engine_event *event)
{
    struct predict *p = call->state;
    tasks_event(&p->tasks, job, event);
}

static int write_labels(struct api_call *call, struct predict *p, struct task_item *item, struct error *e)
{
    const struct engine_model_info *info = engine_model_info(p->tasks.model);
    struct tei_scored *sorted = arena_alloc(call->arena, item->n_cols, sizeof *sorted);
    if (!sorted)
        return error_no_memory(e);
    if (!p->raw_scores && item->n_cols == 1) /* squashed, as that server does */
        item->values[0] = sigmoid(item->values[0]);
    else if (!p->raw_scores)
        task_probabilities(&p->tasks, item);
    for (size_t k = 0; k < item->n_cols; k++)
        sorted[k] = (struct tei_scored){k, (double)item->values[k]};
    tei_sort(sorted, item->n_cols);
    for (size_t k = 0; k < item->n_cols; k++) {
        buf_add_text(&call->out, k ? ",{\"score\":" : "[{\"score\":");
        wire_float(&call->out, sorted[k].score);
        buf_add_text(&call->out, ",\"label\":");
        if (sorted[k].index < info->n_labels)
            wire_text(&call->out, info->labels[sorted[k].index], strlen(info->labels[sorted[k].index]));
        else
            buf_printf(&call->out, "\"LABEL_%zu\"", sorted[k].index);
        buf_add_text(&call->out, "}");
    }
    buf_add_text(&call->out, "]");
    return 0;
}

int tei_predict_advance(struct api_call *call, struct error *e)
{
    struct predict *p = call->state;
    TRY(tasks_go_on(call, &p->tasks, e));
    if (call->n_jobs)
        return 0;
    for (size_t i = 0; i < p->tasks.n_items; i++) {
        buf_add_text(&call->out, !p->batch ? "" : i ? "," : "[");
        TRY(write_labels(call, p, &p->tasks.items[i], e));
    }
    buf_add_text(&call->out, p->batch ? "]" : "");
    return 0;
}

void tei_predict_free(struct api_call *call)
{
    struct predict *p = call->state;
    tasks_free(&p->tasks);
}
