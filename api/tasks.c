/* tasks.c - see tasks.h. */
#include "api/tasks.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/generation.h"
#include "api/prompt.h"

/* ---- abilities -------------------------------------------------------------------------------- */

bool task_ranks_pairs(const struct engine_model_info *info)
{
    return (info->abilities & ENGINE_CAN_CLASSIFY) && info->n_labels <= 2;
}

size_t task_names(struct api *api, struct engine_model *model, const char *names[TASK_NAMES])
{
    const struct engine_model_info *info = engine_model_info(model);
    const unsigned can = info->abilities;
    struct error why = {0};
    bool source = can & ENGINE_CAN_TRANSFORM, writes = can & ENGINE_CAN_GENERATE, goes_on = writes && !source;
    bool chats = writes && api && prompt_chat_ready(api, model, &why) == 0;
    const struct {
        bool is;
        const char *name;
    } rows[] = {
        {writes, "completions"},
        {chats, "chat"},
        {can & ENGINE_CAN_EMBED, "embeddings"},
        {task_ranks_pairs(info) || (can & ENGINE_CAN_EMBED), "rerank"},
        {goes_on || (can & ENGINE_CAN_CLASSIFY), "classify"},
        {can & ENGINE_CAN_TAG, "entities"},
        {goes_on || (can & ENGINE_CAN_ANSWER), "qa"},
        {can & ENGINE_CAN_FILL, "fill-mask"},
        {(writes && source) || chats, "translate"},
        {writes, "summarize"},
        {goes_on, "score"},
    };
    size_t n = 0;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        if (rows[i].is)
            names[n++] = rows[i].name;
    }
    return n;
}

int task_refuse(struct api_call *call, struct engine_model *model, const char *what, struct error *e)
{
    const char *names[TASK_NAMES];
    char can[256] = "nothing";
    size_t used = 0, n = task_names(call->api, model, names);
    for (size_t i = 0; i < n && used < sizeof can; i++)
        used += (size_t)snprintf(can + used, sizeof can - used, "%s%s", i ? ", " : "", names[i]);
    return error_param(e, ERROR_UNSUPPORTED, "model", "the model %.100s can't do %s; it can do: %s",
                       engine_model_info(model)->name, what, can);
}

int task_need(struct api_call *call, struct engine_model *model, unsigned abilities, const char *what,
              struct error *e)
{
    return engine_model_info(model)->abilities & abilities ? 0 : task_refuse(call, model, what, e);
}

/* ---- items ------------------------------------------------------------------------------------ */

int tasks_init(struct api_call *call, struct tasks *t, struct engine_model *model, enum engine_task task,
               size_t n, struct error *e)
{
    memset(t, 0, sizeof *t);
    t->model = model;
    t->task = task;
    t->pooling = engine_model_info(model)->pooling;
    t->items = arena_alloc(call->arena, n, sizeof *t->items);
    if (!t->items)
        return error_no_memory(e);
    t->n_items = n;
    return 0;
}

int task_texts(const struct engine_text *one, const struct field_texts *many, const char *name,
               const char *names, struct field_texts *out, struct error *e)
{
    if ((one->bytes != NULL) == (many->items != NULL))
        return error_param(e, ERROR_INVALID_REQUEST, name, "give either %s or %s", name, names);
    *out = one->bytes ? (struct field_texts){one, 1} : *many;
    if (out->n == 0)
        return error_param(e, ERROR_INVALID_REQUEST, names, "%s must not be empty", names);
    return 0;
}

int tasks_of_texts(struct api_call *call, struct tasks *t, struct engine_model *model, enum engine_task task,
                   const struct engine_text *one, const struct field_texts *many, struct error *e)
{
    struct field_texts texts;
    TRY(task_texts(one, many, "text", "texts", &texts, e));
    TRY(tasks_init(call, t, model, task, texts.n, e));
    for (size_t i = 0; i < texts.n; i++) {
        t->items[i].text = texts.items[i];
        t->items[i].field = one->bytes ? "text" : "texts";
        t->items[i].place = one->bytes ? TASK_ALONE : (long)i;
    }
    return 0;
}

void task_item_name(const struct task_item *item, char out[TASK_ITEM_NAME])
{
    if (item->place == TASK_ALONE)
        snprintf(out, TASK_ITEM_NAME, "%s", item->field);
    else
        snprintf(out, TASK_ITEM_NAME, "%s[%ld]", item->field, item->place);
}

/* ---- jobs ------------------------------------------------------------------------------------- */

size_t task_context(const struct engine_model *model)
{
    const struct engine_model_info *info = engine_model_info(model);
    return info->abilities & ENGINE_CAN_TRANSFORM ? info->source_context : info->context;
}

/* Keeps the beginnings of both texts so that `max` tokens are left; the shorter one is cut only when both are
 * over half of the room.  This is "longest first" of the tokenizers library. */
static void truncate_encoding(struct engine_encoding *x, size_t max)
{
    size_t counts[2] = {0, 0}, seen[2] = {0, 0}, n = 0;
    for (size_t i = 0; i < x->n; i++) {
        if (x->sequence[i] < 2)
            counts[x->sequence[i]]++;
    }
    size_t special = x->n - counts[0] - counts[1], room = max > special ? max - special : 0;
    size_t shorter = counts[1] < counts[0];
    if (counts[0] + counts[1] > room) {
        counts[shorter] = counts[shorter] < room / 2 ? counts[shorter] : room / 2;
        counts[!shorter] = room - counts[shorter];
    }
    for (size_t i = 0; i < x->n; i++) {
        if (x->sequence[i] < 2 && seen[x->sequence[i]]++ >= counts[x->sequence[i]])
            continue;
        x->ids[n] = x->ids[i];
        x->types[n] = x->types[i];
        x->sequence[n] = x->sequence[i];
        x->starts[n] = x->starts[i];
        x->ends[n] = x->ends[i];
        x->words[n++] = x->words[i];
    }
    x->n = n;
}

static int check_length(const struct tasks *t, struct task_item *item, bool truncate, struct error *e)
{
    size_t context = task_context(t->model);
    char name[TASK_ITEM_NAME];
    task_item_name(item, name);
    if (item->encoding.n == 0)
        return error_param(e, ERROR_INVALID_REQUEST, item->field, "%s is empty: it has no tokens", name);
    if (item->encoding.n > context && truncate) {
        truncate_encoding(&item->encoding, context);
        item->truncated = true;
    }
    if (item->encoding.n <= context)
        return 0;
    return error_param(
        e, ERROR_CONTEXT_LENGTH, item->field,
        "This model's maximum context length is %zu tokens. However, %s has %zu tokens. Please shorten it.",
        context, name, item->encoding.n);
}

/* Types that are all 0 are left out: models without them need not refuse them. */
static const uint8_t *types_of(const struct engine_encoding *x)
{
    for (size_t i = 0; i < x->n; i++) {
        if (x->types[i])
            return x->types;
    }
    return NULL;
}

int task_prepare(struct tasks *t, size_t i, unsigned flags, bool truncate, struct error *e)
{
    struct task_item *item = &t->items[i];
    if (!item->encoding.ids)
        TRY(engine_encode(engine_model_vocabulary(t->model), item->text.bytes, item->text.len,
                          item->pair.bytes, item->pair.len, flags, &item->encoding, e));
    choice_tokens_init(&item->tokens);
    return check_length(t, item, truncate, e);
}

int tasks_prepare(struct tasks *t, unsigned flags, bool truncate, struct error *e)
{
    for (size_t i = 0; i < t->n_items; i++)
        TRY(task_prepare(t, i, flags, truncate, e));
    return 0;
}

static int make_job(struct api_call *call, const struct tasks *t, const struct task_item *item,
                    struct engine_job *job, struct error *e)
{
    job->model = t->model;
    job->task = t->task;
    job->choices = 1;
    job->cache_salt = call->cache_salt;
    job->pooling = t->pooling;
    job->masked = item->masked;
    job->n_masked = item->n_masked;
    job->top_logprobs = t->top_logprobs;
    engine_sampling_init(&job->sampling);
    job->n_prompt = item->encoding.n;
    job->types = types_of(&item->encoding);
    job->prompt = malloc(job->n_prompt * sizeof *job->prompt);
    if (!job->prompt)
        return error_no_memory(e);
    memcpy(job->prompt, item->encoding.ids, job->n_prompt * sizeof *job->prompt);
    return 0;
}

int tasks_go_on(struct api_call *call, struct tasks *t, struct error *e)
{
    size_t tokens = 0, n = 0;
    if (t->error.kind != ERROR_NONE) {
        *e = t->error;
        return -1;
    }
    t->first = t->next;
    while (t->first + n < t->n_items && n < TASK_ROUND && (n == 0 || tokens < TASK_ROUND_TOKENS))
        tokens += t->items[t->first + n++].encoding.n;
    if (n == 0)
        return 0;
    t->next = t->first + n;
    TRY(generation_make_jobs(call, n, e));
    for (size_t i = 0; i < n; i++)
        TRY(make_job(call, t, &t->items[t->first + i], &call->jobs[i], e));
    return 0;
}

/* ---- results ---------------------------------------------------------------------------------- */

static void keep_result(struct tasks *t, struct task_item *item, const struct engine_event *event)
{
    size_t n = event->n_rows * event->n_cols;
    choice_tokens_add(&item->tokens, event->tokens, event->n_tokens);
    free(item->values);
    item->values = n ? malloc(n * sizeof *item->values) : NULL;
    if ((n && !item->values) || item->tokens.tokens.failed || item->tokens.tops.failed) {
        error_set(&t->error, ERROR_OUT_OF_MEMORY,
                  "the answer is larger than this server's limit for one request");
        return;
    }
    if (n)
        memcpy(item->values, event->values, n * sizeof *item->values);
    item->n_rows = event->n_rows;
    item->n_cols = event->n_cols;
}

void tasks_event(struct tasks *t, size_t job, const struct engine_event *event)
{
    if (event->kind == ENGINE_EVENT_RESULT)
        keep_result(t, &t->items[t->first + job], event);
    if (event->kind != ENGINE_EVENT_FINAL)
        return;
    usage_add(&t->usage, &event->usage);
    if (event->error && t->error.kind == ERROR_NONE)
        t->error = *event->error;
}

void tasks_free(struct tasks *t)
{
    for (size_t i = 0; i < t->n_items; i++) {
        engine_encoding_free(&t->items[i].encoding);
        choice_tokens_free(&t->items[i].tokens);
        free(t->items[i].values);
    }
    t->n_items = 0;
}

void task_probabilities(const struct tasks *t, struct task_item *item)
{
    enum engine_problem problem = engine_model_info(t->model)->problem;
    if (problem == ENGINE_PROBLEM_SINGLE)
        softmax(item->values, item->n_cols);
    for (size_t k = 0; problem == ENGINE_PROBLEM_MULTI && k < item->n_cols; k++)
        item->values[k] = sigmoid(item->values[k]);
}

double task_pair_score(const struct tasks *t, struct task_item *item, bool raw)
{
    bool apart = engine_model_info(t->model)->problem == ENGINE_PROBLEM_MULTI;
    size_t last = item->n_cols - 1;
    if (raw)
        return (double)item->values[last];
    if (item->n_cols == 1 || apart)
        return (double)sigmoid(item->values[last]);
    softmax(item->values, item->n_cols);
    return (double)item->values[last];
}

/* ---- numbers ---------------------------------------------------------------------------------- */

void task_usage(struct buf *out, const struct engine_usage *usage)
{
    buf_printf(out, "{\"prompt_tokens\":%zu,\"total_tokens\":%zu}", usage->prompt_tokens,
               usage->prompt_tokens);
}

void softmax(float *x, size_t n)
{
    double most = -INFINITY, sum = 0;
    for (size_t i = 0; i < n; i++)
        most = fmax(most, (double)x[i]);
    for (size_t i = 0; i < n; i++)
        sum += exp((double)x[i] - most);
    for (size_t i = 0; i < n; i++)
        x[i] = (float)(exp((double)x[i] - most) / sum);
}

float sigmoid(float x)
{
    return (float)(1 / (1 + exp(-(double)x)));
}

void normalise(float *x, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += (double)x[i] * (double)x[i];
    double scale = sum > 0 ? 1 / sqrt(sum) : 0;
    for (size_t i = 0; i < n; i++)
        x[i] = (float)((double)x[i] * scale);
}
