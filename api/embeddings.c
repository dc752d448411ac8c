/* embeddings.c - POST /v1/embeddings, OpenAI's: a vector for each text.
 * Pooling and normalisation are the checkpoint's own unless asked otherwise.  `dimensions` keeps the first so
 * many values and gives them length 1 again (Matryoshka representations; Kusupati et al., 2022). Threads:
 * begin and advance on a worker, event on the loop. */
#include <string.h>

#include "api/endpoints.h"
#include "api/generation.h"
#include "api/vectors.h"
#include "api/wire.h"
#include "engine/base/limits.h"

struct embeddings {
    struct engine_text model, encoding_format, pooling; /* with the next four: the request */
    const json_t *input;
    int64_t dimensions;
    bool truncate, normalize, normalize_given;

    struct tasks tasks;
};

#define AT(member) offsetof(struct embeddings, member)

static const char *const formats[] = {"float", "base64", NULL};
static const char *const poolings[] = {"mean", "cls", "last", "max", "pooler", NULL};
static const enum engine_pooling pooling_of[] = {ENGINE_POOLING_MEAN, ENGINE_POOLING_CLS, ENGINE_POOLING_LAST,
                                                 ENGINE_POOLING_MAX, ENGINE_POOLING_POOLER};

/* clang-format off */
static const struct field embeddings_rows[] = {
    {.name = "model", .type = FIELD_STRING, .offset = AT(model),
     .help = "name of a loaded model; absent or \"default\": the first one"},
    {.name = "input", .type = FIELD_JSON, .offset = AT(input), .kinds = FIELD_KIND_STRING | FIELD_KIND_ARRAY,
     .required = true, .help = "a text, a list of texts, a list of token ids, or a list of such lists"},
    {.name = "encoding_format", .type = FIELD_STRING, .offset = AT(encoding_format), .one_of = formats,
     .help = "float, the default, or base64: little-endian float32"},
    {.name = "dimensions", .type = FIELD_INT, .offset = AT(dimensions), .min = 1, .max = LIMIT_DIMENSION_SIZE,
     .help = "keep the first so many values, and make their length 1 again where the whole vector's is"},
    {.name = "pooling", .type = FIELD_STRING, .offset = AT(pooling), .one_of = poolings,
     .help = "how tokens become one vector; absent: as the checkpoint's own files say"},
    {.name = "normalize", .type = FIELD_BOOL, .offset = AT(normalize), .given = AT(normalize_given),
     .help = "vectors of length 1; absent: as the checkpoint's own files say, and true where they say nothing"},
    {.name = "truncate", .type = FIELD_BOOL, .offset = AT(truncate),
     .help = "cut off what is beyond the model's context; false, the default, refuses such a text"},
    FIELD_HARMLESS("user", "has no effect: nothing is kept about users"),
};
/* clang-format on */
static const struct field_group embeddings_groups[] = {FIELD_GROUP(embeddings_rows, 0)};
const struct field_table embeddings_fields = FIELD_TABLE(embeddings_groups, sizeof(struct embeddings));

static enum engine_pooling find_pooling(const struct embeddings *m)
{
    for (size_t i = 0; m->pooling.bytes && poolings[i]; i++) {
        if (strcmp(poolings[i], m->pooling.bytes) == 0)
            return pooling_of[i];
    }
    return engine_model_info(m->tasks.model)->pooling;
}

int embeddings_begin(struct api_call *call, struct error *e)
{
    struct embeddings *m = call->state;
    struct engine_model *model;
    TRY(generation_find_model(call, &m->model, &model, e));
    TRY(task_need(call, model, ENGINE_CAN_EMBED, "embeddings", e));
    TRY(vectors_check_dimensions(model, m->dimensions, e));
    TRY(vectors_read(call, &m->tasks, model, m->input, "input", e));
    m->tasks.pooling = find_pooling(m);
    TRY(tasks_prepare(&m->tasks, ENGINE_ADD_SPECIAL, m->truncate, e));
    return tasks_go_on(call, &m->tasks, e);
}

void embeddings_event(struct api_call *call, size_t job, const struct engine_event *event)
{
    struct embeddings *m = call->state;
    tasks_event(&m->tasks, job, event);
}

static void write_base64(struct buf *out, const float *x, size_t n)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const unsigned char *p = (const unsigned char *)x;
    size_t len = n * sizeof *x;
    buf_add_text(out, "\"");
    for (size_t i = 0; i < len; i += 3) {
        unsigned b[3] = {p[i], i + 1 < len ? p[i + 1] : 0, i + 2 < len ? p[i + 2] : 0};
        char four[4] = {digits[b[0] >> 2], digits[(b[0] & 3) << 4 | b[1] >> 4],
                        i + 1 < len ? digits[(b[1] & 15) << 2 | b[2] >> 6] : '=',
                        i + 2 < len ? digits[b[2] & 63] : '='};
        buf_add(out, four, 4);
    }
    buf_add_text(out, "\"");
}

static void write_vector(const struct embeddings *m, struct task_item *item, struct buf *out)
{
    bool own = engine_model_info(m->tasks.model)->normalize;
    size_t n = vectors_finish(item, (size_t)m->dimensions, m->normalize_given ? m->normalize : own);
    if (m->encoding_format.bytes && strcmp(m->encoding_format.bytes, "base64") == 0)
        write_base64(out, item->values, n);
    else
        vectors_write(out, item->values, n);
}

int embeddings_advance(struct api_call *call, struct error *e)
{
    struct embeddings *m = call->state;
    struct buf *out = &call->out;
    const char *name = engine_model_info(m->tasks.model)->name;
    TRY(tasks_go_on(call, &m->tasks, e));
    if (call->n_jobs)
        return 0;
    buf_add_text(out, "{\"object\":\"list\",\"data\":[");
    for (size_t i = 0; i < m->tasks.n_items; i++) {
        buf_printf(out, "%s{\"object\":\"embedding\",\"index\":%zu,", i ? "," : "", i);
        if (m->tasks.items[i].truncated)
            buf_add_text(out, "\"truncated\":true,");
        buf_add_text(out, "\"embedding\":");
        write_vector(m, &m->tasks.items[i], out);
        buf_add_text(out, "}");
    }
    buf_add_text(out, "],\"model\":");
    wire_text(out, name, strlen(name));
    buf_add_text(out, ",\"usage\":");
    task_usage(out, &m->tasks.usage);
    buf_add_text(out, "}");
    return 0;
}

void embeddings_free(struct api_call *call)
{
    struct embeddings *m = call->state;
    tasks_free(&m->tasks);
}
