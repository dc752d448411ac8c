/* tei_embed.c - POST /embed and /similarity of Text Embeddings Inference: bare lists of vectors or cosines.
 * /embed_all and /embed_sparse are refused by name: no model here gives vectors for tokens, or sparse ones.
 * Threads: begin and advance on a worker, event on the loop. */
#include <math.h>
#include <string.h>

#include "api/endpoints.h"
#include "api/tei.h"
#include "api/vectors.h"
#include "api/wire.h"
#include "engine/base/limits.h"

struct embed {
    struct tei_options options; /* with the next three: the request */
    const json_t *inputs;
    int64_t dimensions;
    bool normalize;

    struct tasks tasks;
};

#define AT(member) offsetof(struct embed, member)

/* clang-format off */
static const struct field embed_rows[] = {
    {.name = "inputs", .type = FIELD_JSON, .offset = AT(inputs), .kinds = FIELD_KIND_STRING | FIELD_KIND_ARRAY,
     .required = true, .help = "a text, a list of texts, a list of token ids, or a list of such lists"},
    {.name = "normalize", .type = FIELD_BOOL, .offset = AT(normalize), .fallback = 1, .help = "vectors of length 1"},
    {.name = "dimensions", .type = FIELD_INT, .offset = AT(dimensions), .min = 1, .max = LIMIT_DIMENSION_SIZE,
     .help = "keep the first so many values"},
};
/* clang-format on */
static const struct field_group embed_groups[] = {{tei_rows, TEI_ROWS, AT(options)},
                                                  FIELD_GROUP(embed_rows, 0)};
const struct field_table tei_embed_fields = FIELD_TABLE(embed_groups, sizeof(struct embed));
const struct field_table tei_embed_all_fields = FIELD_TABLE(embed_groups, sizeof(struct embed));
const struct field_table tei_embed_sparse_fields = FIELD_TABLE(embed_groups, sizeof(struct embed));

int tei_embed_begin(struct api_call *call, struct error *e)
{
    struct embed *m = call->state;
    struct engine_model *model;
    TRY(tei_find_model(call, &m->options, tei_can_embed, "embeddings", &model, e));
    TRY(vectors_check_dimensions(model, m->dimensions, e));
    TRY(vectors_read(call, &m->tasks, model, m->inputs, "inputs", e));
    TRY(tasks_prepare(&m->tasks, ENGINE_ADD_SPECIAL, m->options.truncate, e));
    return tasks_go_on(call, &m->tasks, e);
}

void tei_embed_event(struct api_call *call, size_t job, const struct engine_event *event)
{
    struct embed *m = call->state;
    tasks_event(&m->tasks, job, event);
}

int tei_embed_advance(struct api_call *call, struct error *e)
{
    struct embed *m = call->state;
    TRY(tasks_go_on(call, &m->tasks, e));
    if (call->n_jobs)
        return 0;
    for (size_t i = 0; i < m->tasks.n_items; i++) {
        struct task_item *item = &m->tasks.items[i];
        size_t n = vectors_finish(item, (size_t)m->dimensions, m->normalize);
        buf_add_text(&call->out, i ? "," : "[");
        vectors_write(&call->out, item->values, n);
    }
    buf_add_text(&call->out, "]");
    return 0;
}

void tei_embed_free(struct api_call *call)
{
    struct embed *m = call->state;
    tasks_free(&m->tasks);
}

int tei_embed_all_begin(struct api_call *call, struct error *e)
{
    (void)call;
    return error_param(e, ERROR_UNSUPPORTED, "model", "no model here gives a vector for each token");
}

int tei_embed_sparse_begin(struct api_call *call, struct error *e)
{
    (void)call;
    return error_param(e, ERROR_UNSUPPORTED, "model", "no model here gives sparse vectors");
}

/* ---- /similarity ------------------------------------------------------------------------------ */

struct similarity {
    struct tei_options options; /* with the next two: the request */
    struct engine_text source;
    struct field_texts sentences;

    struct tasks tasks; /* item 0 is the source */
};

#undef AT
#define AT(member) offsetof(struct similarity, member)

static const struct field_group parameter_groups[] = {{tei_rows, TEI_ROWS, AT(options)}};
static const struct field_table parameter_table = FIELD_TABLE(parameter_groups, sizeof(struct similarity));

/* clang-format off */
static const struct field input_rows[] = {
    {.name = "source_sentence", .type = FIELD_STRING, .offset = AT(source), .min = 1, .required = true,
     .help = "the text that the others are compared with"},
    {.name = "sentences", .type = FIELD_STRINGS, .offset = AT(sentences), .max = LIMIT_PROMPTS - 1,
     .max_bytes = LIMIT_REQUEST_ARENA, .required = true, .help = "the others"},
};
static const struct field_group input_groups[] = {FIELD_GROUP(input_rows, 0)};
static const struct field_table input_table = FIELD_TABLE(input_groups, sizeof(struct similarity));

static const struct field similarity_rows[] = {
    {.name = "model", .type = FIELD_STRING, .offset = AT(options.model),
     .help = "name of a loaded model; absent: the first that can do this"},
    {.name = "inputs", .type = FIELD_OBJECT, .nested = &input_table, .required = true, .help = "what to compare"},
    {.name = "parameters", .type = FIELD_OBJECT, .nested = &parameter_table, .help = "how"},
};
/* clang-format on */
static const struct field_group similarity_groups[] = {FIELD_GROUP(similarity_rows, 0)};
const struct field_table tei_similarity_fields = FIELD_TABLE(similarity_groups, sizeof(struct similarity));

int tei_similarity_begin(struct api_call *call, struct error *e)
{
    struct similarity *s = call->state;
    struct engine_model *model;
    if (s->sentences.n == 0)
        return error_param(e, ERROR_INVALID_REQUEST, "inputs.sentences",
                           "inputs.sentences must not be empty");
    TRY(tei_find_model(call, &s->options, tei_can_embed, "embeddings", &model, e));
    TRY(tasks_init(call, &s->tasks, model, ENGINE_TASK_EMBED, s->sentences.n + 1, e));
    for (size_t i = 0; i < s->tasks.n_items; i++) {
        struct task_item *item = &s->tasks.items[i];
        item->field = i ? "inputs.sentences" : "inputs.source_sentence";
        item->place = i ? (long)i - 1 : TASK_ALONE;
        item->text = i ? s->sentences.items[i - 1] : s->source;
    }
    TRY(tasks_prepare(&s->tasks, ENGINE_ADD_SPECIAL, s->options.truncate, e));
    return tasks_go_on(call, &s->tasks, e);
}

void tei_similarity_event(struct api_call *call, size_t job, const struct engine_event *event)
{
    struct similarity *s = call->state;
    tasks_event(&s->tasks, job, event);
}

int tei_similarity_advance(struct api_call *call, struct error *e)
{
    struct similarity *s = call->state;
    TRY(tasks_go_on(call, &s->tasks, e));
    if (call->n_jobs)
        return 0;
    const struct task_item *source = &s->tasks.items[0];
    for (size_t i = 0; i < s->tasks.n_items; i++) {
        struct task_item *item = &s->tasks.items[i];
        double dot = 0;
        normalise(item->values, item->n_cols);
        if (i == 0)
            continue;
        for (size_t k = 0; k < item->n_cols; k++)
            dot += (double)item->values[k] * (double)source->values[k];
        buf_add_text(&call->out, i > 1 ? "," : "[");
        wire_float(&call->out, fmax(-1, fmin(1, dot))); /* rounding may leave the range */
    }
    buf_add_text(&call->out, "]");
    return 0;
}

void tei_similarity_free(struct api_call *call)
{
    struct similarity *s = call->state;
    tasks_free(&s->tasks);
}
