/* ollama_embed.c - POST /api/embed and, as it was before, /api/embeddings: vectors of texts.
 * Threads: begin and advance on a worker, event on the loop. */
#include <string.h>

#include "api/endpoints.h"
#include "api/ollama.h"
#include "api/vectors.h"
#include "api/wire.h"
#include "engine/base/limits.h"

struct embed {
    struct engine_text model; /* with the next four: the request */
    const json_t *input;
    struct engine_text prompt;
    bool truncate;
    int64_t dimensions;

    struct tasks tasks;
};

#define AT(member) offsetof(struct embed, member)

/* clang-format off */
static const struct field shared_rows[] = {
    {.name = "model", .type = FIELD_STRING, .offset = AT(model),
     .help = "name of a loaded model, with or without :latest; absent: the first one"},
    FIELD_HARMLESS("keep_alive", "has no effect: models stay loaded"),
    FIELD_REFUSED("options", "[{}]", "there is nothing to choose for vectors"),
};
static const struct field embed_rows[] = {
    {.name = "input", .type = FIELD_JSON, .offset = AT(input), .kinds = FIELD_KIND_STRING | FIELD_KIND_ARRAY,
     .required = true, .help = "a text or a list of texts"},
    {.name = "truncate", .type = FIELD_BOOL, .offset = AT(truncate),
     .help = "cut off what is beyond the model's context; false, the default here, refuses such a text"},
    {.name = "dimensions", .type = FIELD_INT, .offset = AT(dimensions), .min = 0, .max = LIMIT_DIMENSION_SIZE,
     .help = "keep the first so many values; 0: all"},
};
static const struct field prompt_rows[] = {
    {.name = "prompt", .type = FIELD_STRING, .offset = AT(prompt), .required = true, .help = "the text"},
};
/* clang-format on */
static const struct field_group embed_groups[] = {FIELD_GROUP(shared_rows, 0), FIELD_GROUP(embed_rows, 0)};
const struct field_table ollama_embed_fields = FIELD_TABLE(embed_groups, sizeof(struct embed));
static const struct field_group prompt_groups[] = {FIELD_GROUP(shared_rows, 0), FIELD_GROUP(prompt_rows, 0)};
const struct field_table ollama_embeddings_fields = FIELD_TABLE(prompt_groups, sizeof(struct embed));

static int find_model(struct api_call *call, const struct embed *m, struct engine_model **model,
                      struct error *e)
{
    TRY(ollama_find_model(call, &m->model, model, e));
    return task_need(call, *model, ENGINE_CAN_EMBED, "embeddings", e);
}

int ollama_embed_begin(struct api_call *call, struct error *e)
{
    struct embed *m = call->state;
    struct engine_model *model;
    TRY(find_model(call, m, &model, e));
    TRY(vectors_check_dimensions(model, m->dimensions, e));
    if (json_is_array(m->input) && json_array_size(m->input) == 0) { /* a client sees whether it is there */
        TRY(tasks_init(call, &m->tasks, model, ENGINE_TASK_EMBED, 0, e));
        return ollama_embed_advance(call, e);
    }
    TRY(vectors_read(call, &m->tasks, model, m->input, "input", e));
    TRY(tasks_prepare(&m->tasks, ENGINE_ADD_SPECIAL, m->truncate, e));
    return tasks_go_on(call, &m->tasks, e);
}

void ollama_embed_event(struct api_call *call, size_t job, const struct engine_event *event)
{
    struct embed *m = call->state;
    tasks_event(&m->tasks, job, event);
}

int ollama_embed_advance(struct api_call *call, struct error *e)
{
    struct embed *m = call->state;
    struct buf *out = &call->out;
    const struct engine_usage *usage = &m->tasks.usage;
    TRY(tasks_go_on(call, &m->tasks, e));
    if (call->n_jobs)
        return 0;
    buf_add_text(out, "{\"model\":");
    ollama_write_name(out, &m->model, m->tasks.model);
    buf_add_text(out, ",\"embeddings\":[");
    for (size_t i = 0; i < m->tasks.n_items; i++) {
        struct task_item *item = &m->tasks.items[i];
        buf_add_text(out, i ? "," : "");
        vectors_write(out, item->values, vectors_finish(item, (size_t)m->dimensions, true));
    }
    buf_printf(out, "],\"total_duration\":%llu,\"load_duration\":0,\"prompt_eval_count\":%zu}",
               (unsigned long long)(usage->queue_ns + usage->prefill_ns + usage->decode_ns),
               usage->prompt_tokens);
    return 0;
}

void ollama_embed_free(struct api_call *call)
{
    struct embed *m = call->state;
    tasks_free(&m->tasks);
}

/* ---- /api/embeddings -------------------------------------------------------------------------- */

/* An empty prompt asks whether the model is there. */
int ollama_embeddings_begin(struct api_call *call, struct error *e)
{
    struct embed *m = call->state;
    struct engine_model *model;
    TRY(find_model(call, m, &model, e));
    if (m->prompt.len == 0) {
        buf_add_text(&call->out, "{\"embedding\":[]}");
        return 0;
    }
    TRY(tasks_init(call, &m->tasks, model, ENGINE_TASK_EMBED, 1, e));
    m->tasks.items[0].field = "prompt";
    m->tasks.items[0].place = TASK_ALONE;
    m->tasks.items[0].text = m->prompt;
    TRY(tasks_prepare(&m->tasks, ENGINE_ADD_SPECIAL, false, e));
    return tasks_go_on(call, &m->tasks, e);
}

void ollama_embeddings_event(struct api_call *call, size_t job, const struct engine_event *event)
{
    ollama_embed_event(call, job, event);
}

/* Length as the checkpoint's own files say. */
int ollama_embeddings_advance(struct api_call *call, struct error *e)
{
    struct embed *m = call->state;
    TRY(tasks_go_on(call, &m->tasks, e));
    if (call->n_jobs)
        return 0;
    struct task_item *item = &m->tasks.items[0];
    size_t n = vectors_finish(item, 0, engine_model_info(m->tasks.model)->normalize);
    buf_add_text(&call->out, "{\"embedding\":");
    vectors_write(&call->out, item->values, n);
    buf_add_text(&call->out, "}");
    return 0;
}

void ollama_embeddings_free(struct api_call *call)
{
    ollama_embed_free(call);
}
