/* tei.c - see tei.h; and GET /info.
 * To add a path of that API: a file tei_NAME.c and a row in endpoint.c with &api_tei. */
#include "api/tei.h"

#include <stdlib.h>
#include <string.h>

#include "api/endpoints.h"
#include "api/generation.h"
#include "api/wire.h"
#include "engine/base/limits.h"

/* ---- errors ----------------------------------------------------------------------------------- */

/* A model that can't do it is a backend's failure there; a field that can't be honoured is the request's. */
static bool is_backend(const struct error *e)
{
    bool models = e->kind == ERROR_UNSUPPORTED && strcmp(e->param, "model") == 0;
    return models || e->kind == ERROR_INTERNAL || e->kind == ERROR_OUT_OF_MEMORY;
}

static int tei_status(const struct error *e)
{
    if (is_backend(e))
        return 424;
    if (e->kind == ERROR_CONTEXT_LENGTH)
        return 413;
    if (e->kind == ERROR_INVALID_REQUEST || e->kind == ERROR_UNSUPPORTED)
        return 422;
    return error_http_status(e->kind);
}

static const char *type_of(const struct error *e)
{
    switch (tei_status(e)) {
    case 424:
    case 500:
        return "Backend";
    case 429:
        return "Overloaded";
    case 503:
        return "Unhealthy";
    default:
        return "Validation";
    }
}

static void tei_body(struct buf *out, const struct error *e, const char *request_id)
{
    (void)request_id;
    buf_add_text(out, "{\"error\":");
    wire_text(out, e->text, strlen(e->text));
    buf_printf(out, ",\"error_type\":\"%s\"}", type_of(e));
}

static void tei_event(struct buf *out, const struct error *e, const char *request_id)
{
    buf_add_text(out, "data: ");
    tei_body(out, e, request_id);
    buf_add_text(out, "\n\n");
}

const struct api_dialect api_tei = {
    .status = tei_status,
    .body = tei_body,
    .event = tei_event,
    .stream_type = "text/event-stream",
    .error_shape = "{error: s, error_type: s}",
    .event_end = "\n\n",
    .keepalive = ":\n\n",
};

/* ---- requests --------------------------------------------------------------------------------- */

#define AT(member) offsetof(struct tei_options, member)

/* clang-format off */
const struct field tei_rows[] = {
    {.name = "model", .type = FIELD_STRING, .offset = AT(model),
     .help = "name of a loaded model; absent: the first that can do this"},
    {.name = "truncate", .type = FIELD_BOOL, .offset = AT(truncate),
     .help = "cut off what is beyond the model's context; false, the default, refuses such a text"},
    FIELD_REFUSED("truncation_direction", "[\"Right\",\"right\"]", "texts are cut at their ends"),
    FIELD_REFUSED("prompt_name", "[]", "write the prompt before the text"),
};
/* clang-format on */
_Static_assert(FIELD_COUNT(tei_rows) == TEI_ROWS, "TEI_ROWS is the table's length");

enum { MAX_MODELS = 256 };

int tei_find_model(struct api_call *call, const struct tei_options *o,
                   bool (*can)(const struct engine_model_info *info), const char *what,
                   struct engine_model **out, struct error *e)
{
    struct engine_model *models[MAX_MODELS];
    size_t n = o->model.bytes ? 0 : engine_models(call->engine, models, MAX_MODELS);
    for (size_t i = 0; i < n && i < MAX_MODELS; i++) {
        *out = models[i];
        if (can(engine_model_info(models[i])))
            return 0;
    }
    TRY(generation_find_model(call, &o->model, out, e));
    return can(engine_model_info(*out)) ? 0 : task_refuse(call, *out, what, e);
}

bool tei_can_embed(const struct engine_model_info *info)
{
    return info->abilities & ENGINE_CAN_EMBED;
}

static int by_score(const void *a, const void *b)
{
    const struct tei_scored *x = a, *y = b;
    if (x->score != y->score)
        return x->score < y->score ? 1 : -1;
    return x->index < y->index ? -1 : 1;
}

void tei_sort(struct tei_scored *list, size_t n)
{
    qsort(list, n, sizeof *list, by_score);
}

/* ---- /info ------------------------------------------------------------------------------------ */

static void add_labels(struct buf *out, const char *kind, const struct engine_model_info *info)
{
    buf_printf(out, "{\"%s\":{\"id2label\":{", kind);
    for (size_t i = 0; i < info->n_labels; i++) {
        buf_printf(out, "%s\"%zu\":", i ? "," : "", i);
        wire_text(out, info->labels[i], strlen(info->labels[i]));
    }
    buf_add_text(out, "},\"label2id\":{");
    for (size_t i = 0; i < info->n_labels; i++) {
        buf_add_text(out, i ? "," : "");
        wire_text(out, info->labels[i], strlen(info->labels[i]));
        buf_printf(out, ":%zu", i);
    }
    buf_add_text(out, "}}}");
}

static void add_type(struct buf *out, const struct engine_model_info *info)
{
    static const char *const poolings[] = {"mean", "mean", "cls", "last_token", "max", "pooler"};
    if (info->abilities & ENGINE_CAN_CLASSIFY)
        add_labels(out, info->n_labels == 1 ? "reranker" : "classifier", info);
    else if (info->abilities & ENGINE_CAN_EMBED)
        buf_printf(out, "{\"embedding\":{\"pooling\":\"%s\"}}", poolings[info->pooling]);
    else
        buf_add_text(out, "null");
}

static bool has_one_pass(const struct engine_model_info *info)
{
    return info->abilities & (ENGINE_CAN_EMBED | ENGINE_CAN_CLASSIFY);
}

int tei_info_begin(struct api_call *call, struct error *e)
{
    const struct tei_options any = {0};
    struct engine_model *model;
    struct buf *out = &call->out;
    TRY(tei_find_model(call, &any, has_one_pass, "embeddings", &model, e));
    const struct engine_model_info *info = engine_model_info(model);
    buf_add_text(out, "{\"model_id\":");
    wire_text(out, info->name, strlen(info->name));
    buf_add_text(out, ",\"model_sha\":null,\"model_dtype\":");
    wire_text(out, info->dtype, strlen(info->dtype));
    buf_add_text(out, ",\"model_type\":");
    add_type(out, info);
    buf_printf(out,
               ",\"max_input_length\":%zu,\"max_client_batch_size\":%d,\"auto_truncate\":false,"
               "\"version\":\"" LOQUAT_VERSION "\",\"sha\":null,\"docker_label\":null}",
               task_context(model), LIMIT_PROMPTS);
    return 0;
}
