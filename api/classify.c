/* classify.c - POST /v1/classify and /v1/sentiment: labels for texts or pairs of texts.
 * A checkpoint with a classification head gives its own labels: softmax, or a sigmoid each where several may
 * hold, or a value where it is a regression.  With `labels` a generative model chooses among them
 * (zero_shot.c). Threads: begin and advance on a worker, event on the loop. */
#include <stdlib.h>
#include <string.h>

#include "api/endpoints.h"
#include "api/generation.h"
#include "api/tasks.h"
#include "api/wire.h"
#include "api/zero_shot.h"
#include "engine/base/limits.h"

struct classify {
    struct engine_text model, one_text; /* with the next five: the request */
    struct field_texts many_texts, labels;
    const json_t *pairs;
    int64_t top_k;
    bool truncate;

    const char *envelope;
    struct tasks tasks;
    struct zero_shot zero_shot; /* when labels were given */
    bool chooses;
};

#define AT(member) offsetof(struct classify, member)

/* clang-format off */
static const struct field classify_rows[] = {
    {.name = "model", .type = FIELD_STRING, .offset = AT(model),
     .help = "name of a loaded model; absent or \"default\": the first one"},
    {.name = "text", .type = FIELD_STRING, .offset = AT(one_text), .help = "one text"},
    {.name = "texts", .type = FIELD_STRINGS, .offset = AT(many_texts), .max = LIMIT_PROMPTS,
     .max_bytes = LIMIT_REQUEST_ARENA, .may_be_empty = true, .help = "several texts; a result for each"},
    {.name = "pairs", .type = FIELD_JSON, .offset = AT(pairs), .kinds = FIELD_KIND_ARRAY,
     .help = "lists of two texts, such as premise and hypothesis; a result for each"},
    {.name = "labels", .type = FIELD_STRINGS, .offset = AT(labels), .max = ZERO_SHOT_LABELS, .max_bytes = 256,
     .help = "labels for a generative model to choose from, without training: each one's likelihood after the text, "
             "less what it has after no text; a checkpoint with a classification head has its own"},
    {.name = "top_k", .type = FIELD_INT, .offset = AT(top_k), .min = 1, .max = 65536,
     .help = "only the best so many in labels; absent: all"},
    {.name = "truncate", .type = FIELD_BOOL, .offset = AT(truncate),
     .help = "cut off what is beyond the model's context; false, the default, refuses such a text"},
};
/* clang-format on */
static const struct field_group classify_groups[] = {FIELD_GROUP(classify_rows, 0)};
const struct field_table classify_fields = FIELD_TABLE(classify_groups, sizeof(struct classify));

static int read_pairs(struct api_call *call, struct classify *c, struct engine_model *model, struct error *e)
{
    size_t n = json_array_size(c->pairs);
    if (n == 0 || n > LIMIT_PROMPTS)
        return error_param(e, ERROR_INVALID_REQUEST, "pairs", "pairs must hold from 1 to %d pairs",
                           LIMIT_PROMPTS);
    TRY(tasks_init(call, &c->tasks, model, ENGINE_TASK_CLASSIFY, n, e));
    for (size_t i = 0; i < n; i++) {
        const json_t *pair = json_array_get(c->pairs, i);
        const json_t *a = json_array_get(pair, 0), *b = json_array_get(pair, 1);
        if (json_array_size(pair) != 2 || !json_is_string(a) || !json_is_string(b))
            return error_param(e, ERROR_INVALID_REQUEST, "pairs", "pairs[%zu] must be a list of two texts",
                               i);
        c->tasks.items[i].field = "pairs";
        c->tasks.items[i].place = (long)i;
        c->tasks.items[i].text = (struct engine_text){json_string_value(a), json_string_length(a)};
        c->tasks.items[i].pair = (struct engine_text){json_string_value(b), json_string_length(b)};
    }
    return 0;
}

static int begin_head(struct api_call *call, struct classify *c, struct engine_model *model, struct error *e)
{
    if (c->labels.items)
        return error_param(e, ERROR_UNSUPPORTED, "labels", "the model %.100s has labels of its own",
                           engine_model_info(model)->name);
    if (c->top_k && engine_model_info(model)->problem == ENGINE_PROBLEM_REGRESSION)
        return error_param(e, ERROR_UNSUPPORTED, "top_k",
                           "top_k is about labels; the model %.100s gives a value",
                           engine_model_info(model)->name);
    if (c->pairs)
        TRY(read_pairs(call, c, model, e));
    else
        TRY(tasks_of_texts(call, &c->tasks, model, ENGINE_TASK_CLASSIFY, &c->one_text, &c->many_texts, e));
    TRY(tasks_prepare(&c->tasks, ENGINE_ADD_SPECIAL, c->truncate, e));
    return tasks_go_on(call, &c->tasks, e);
}

static int begin_choice(struct api_call *call, struct classify *c, struct engine_model *model,
                        struct error *e)
{
    struct field_texts texts;
    if (!c->labels.items)
        return error_param(e, ERROR_INVALID_REQUEST, "labels",
                           "the model %.100s has no labels of its own: give labels to choose from",
                           engine_model_info(model)->name);
    if (c->pairs || c->truncate)
        return error_param(e, ERROR_UNSUPPORTED, c->pairs ? "pairs" : "truncate",
                           "labels can be chosen for whole texts only");
    TRY(task_texts(&c->one_text, &c->many_texts, "text", "texts", &texts, e));
    c->chooses = true;
    return zero_shot_begin(call, &c->zero_shot, model, &texts, &c->labels, e);
}

int classify_begin(struct api_call *call, struct error *e)
{
    struct classify *c = call->state;
    struct engine_model *model;
    TRY(generation_find_model(call, &c->model, &model, e));
    const struct engine_model_info *info = engine_model_info(model);
    TRY(wire_envelope(call, "cls", "classification", info->name, &c->envelope, e));
    if (c->pairs && (c->one_text.bytes || c->many_texts.items))
        return error_param(e, ERROR_INVALID_REQUEST, "pairs", "give one of text, texts and pairs");
    if (info->abilities & ENGINE_CAN_CLASSIFY)
        return begin_head(call, c, model, e);
    if (info->abilities & ENGINE_CAN_TRANSFORM)
        return task_refuse(call, model, "classify", e);
    TRY(task_need(call, model, ENGINE_CAN_GENERATE, "classify", e));
    return begin_choice(call, c, model, e);
}

void classify_event(struct api_call *call, size_t job, const struct engine_event *event)
{
    struct classify *c = call->state;
    if (c->chooses)
        zero_shot_event(&c->zero_shot, job, event);
    else
        tasks_event(&c->tasks, job, event);
}

struct scored {
    const char *label;
    float score;
    size_t place;
};

/* Best first; equal ones as the checkpoint or the request lists them. */
static int by_score(const void *a, const void *b)
{
    const struct scored *x = a, *y = b;
    if (x->score != y->score)
        return x->score < y->score ? 1 : -1;
    return x->place < y->place ? -1 : 1;
}

/* scores (n) of names, any order. */
static int write_labels(struct api_call *call, const struct classify *c, size_t index,
                        const char *const *names, const float *scores, size_t n, struct error *e)
{
    struct buf *out = &call->out;
    struct scored *sorted = arena_alloc(call->arena, n, sizeof *sorted);
    if (!sorted)
        return error_no_memory(e);
    for (size_t i = 0; i < n; i++)
        sorted[i] = (struct scored){names[i], scores[i], i};
    qsort(sorted, n, sizeof *sorted, by_score);
    size_t most = c->top_k && (size_t)c->top_k < n ? (size_t)c->top_k : n;
    buf_printf(out, "%s{\"index\":%zu,\"label\":", index ? "," : "", index);
    wire_text(out, sorted[0].label, strlen(sorted[0].label));
    buf_add_text(out, ",\"score\":");
    wire_float(out, (double)sorted[0].score);
    buf_add_text(out, ",\"labels\":[");
    for (size_t i = 0; i < most; i++) {
        buf_add_text(out, i ? ",{\"label\":" : "{\"label\":");
        wire_text(out, sorted[i].label, strlen(sorted[i].label));
        buf_add_text(out, ",\"score\":");
        wire_float(out, (double)sorted[i].score);
        buf_add_text(out, "}");
    }
    buf_add_text(out, "]");
    return 0;
}

/* {"value"}, and "values" where there are several. */
static void write_values(struct buf *out, const struct task_item *item, size_t index)
{
    buf_printf(out, "%s{\"index\":%zu,\"value\":", index ? "," : "", index);
    wire_float(out, (double)item->values[0]);
    for (size_t k = 0; item->n_cols > 1 && k < item->n_cols; k++) {
        buf_add_text(out, k == 0 ? ",\"values\":[" : ",");
        wire_float(out, (double)item->values[k]);
    }
    buf_add_text(out, item->n_cols > 1 ? "]" : "");
}

static int write_result(struct api_call *call, const struct classify *c, size_t i, struct error *e)
{
    const struct engine_model_info *info = engine_model_info(c->tasks.model);
    struct task_item *item = &c->tasks.items[i];
    task_probabilities(&c->tasks, item);
    if (info->problem == ENGINE_PROBLEM_REGRESSION)
        write_values(&call->out, item, i);
    else
        TRY(write_labels(call, c, i, info->labels, item->values, item->n_cols, e));
    buf_add_text(&call->out, item->truncated ? ",\"truncated\":true}" : "}");
    return 0;
}

static int write_chosen(struct api_call *call, struct classify *c, size_t i, struct error *e)
{
    const char *names[ZERO_SHOT_LABELS];
    float scores[ZERO_SHOT_LABELS];
    for (size_t k = 0; k < c->labels.n; k++)
        names[k] = c->labels.items[k].bytes;
    zero_shot_scores(&c->zero_shot, i, scores);
    TRY(write_labels(call, c, i, names, scores, c->labels.n, e));
    buf_add_text(&call->out, "}");
    return 0;
}

int classify_advance(struct api_call *call, struct error *e)
{
    struct classify *c = call->state;
    TRY(c->chooses ? zero_shot_go_on(call, &c->zero_shot, e) : tasks_go_on(call, &c->tasks, e));
    if (call->n_jobs)
        return 0;
    buf_printf(&call->out, "%s,\"results\":[", c->envelope);
    size_t n = c->chooses ? c->zero_shot.n_texts : c->tasks.n_items;
    for (size_t i = 0; i < n; i++)
        TRY(c->chooses ? write_chosen(call, c, i, e) : write_result(call, c, i, e));
    buf_add_text(&call->out, "],\"usage\":");
    wire_usage(&call->out, c->chooses ? &c->zero_shot.usage : &c->tasks.usage, 0);
    buf_add_text(&call->out, "}");
    return 0;
}

void classify_free(struct api_call *call)
{
    struct classify *c = call->state;
    tasks_free(&c->tasks);
    answer_free(&c->zero_shot.answer);
}
