/* oip.c - see oip.h; and GET /v2, /v2/models/{model}[/versions/{version}] and …/ready.
 * To add a path of the protocol: a file oip_NAME.c and a row in endpoint.c with &api_oip. */
#include "api/oip.h"

#include <string.h>

#include "api/endpoints.h"
#include "api/tasks.h"
#include "api/wire.h"
#include "engine/base/limits.h"

static int oip_status(const struct error *e)
{
    return error_http_status(e->kind);
}

static void oip_body(struct buf *out, const struct error *e, const char *request_id)
{
    (void)request_id;
    buf_add_text(out, "{\"error\":");
    wire_text(out, e->text, strlen(e->text));
    buf_add_text(out, "}");
}

static void oip_event(struct buf *out, const struct error *e, const char *request_id)
{
    buf_add_text(out, "data: ");
    oip_body(out, e, request_id);
    buf_add_text(out, "\n\n");
}

const struct api_dialect api_oip = {
    .status = oip_status,
    .body = oip_body,
    .event = oip_event,
    .stream_type = "text/event-stream",
    .error_shape = "{error: s}",
    .event_end = "\n\n",
    .keepalive = ":\n\n",
};

int oip_find_model(struct api_call *call, struct engine_model **out, struct error *e)
{
    const char *name = call->path_arguments[0], *version = call->path_arguments[1];
    struct engine_text text = {name, name ? strlen(name) : 0};
    TRY(generation_find_model(call, &text, out, e));
    if (version && strcmp(version, OIP_VERSION) != 0)
        return error_set(e, ERROR_MODEL_NOT_FOUND, "model %.100s has one version, " OIP_VERSION,
                         engine_model_info(*out)->name);
    return 0;
}

const char *const oip_task_names[] = {"generate", "embed", "classify", NULL};

enum oip_task oip_task_of(const struct engine_model_info *info)
{
    return info->abilities & ENGINE_CAN_CLASSIFY   ? OIP_CLASSIFY
           : info->abilities & ENGINE_CAN_GENERATE ? OIP_GENERATE
           : info->abilities & ENGINE_CAN_EMBED    ? OIP_EMBED
                                                   : OIP_TASKS;
}

const struct field oip_rows[] = {
    {.name = "max_tokens",
     .type = FIELD_INT,
     .offset = offsetof(struct generation_options, max_tokens),
     .min = 1,
     .max = LIMIT_CONTEXT,
     .fallback = 16,
     .help = "most tokens to generate"},
};
_Static_assert(FIELD_COUNT(oip_rows) == OIP_ROWS, "OIP_ROWS is the table's length");

int oip_fill_job(struct api_call *call, const struct generation_options *options, struct engine_model *model,
                 const struct engine_text *text, struct engine_job *job, struct error *e)
{
    int32_t *ids;
    size_t n;
    struct generation_options o = *options;
    o.n = 1;
    TRY(engine_tokenize(engine_model_vocabulary(model), text->bytes, text->len,
                        ENGINE_ADD_SPECIAL | ENGINE_PARSE_SPECIAL, NULL, 0, &ids, &n, e));
    return generation_fill_job(call, &o, model, ids, n, (size_t)o.max_tokens, job, e);
}

/* ---- metadata --------------------------------------------------------------------------------- */

int oip_server_begin(struct api_call *call, struct error *e)
{
    (void)e;
    buf_add_text(&call->out, "{\"name\":\"loquat\",\"version\":\"" LOQUAT_VERSION "\",\"extensions\":[]}");
    return 0;
}

static void add_outputs(struct buf *out, const struct engine_model_info *info)
{
    switch (oip_task_of(info)) {
    case OIP_GENERATE:
        buf_add_text(out, "{\"name\":\"text\",\"datatype\":\"BYTES\",\"shape\":[-1]}");
        break;
    case OIP_EMBED:
        buf_printf(out, "{\"name\":\"embedding\",\"datatype\":\"FP32\",\"shape\":[-1,%zu]}", info->embedding);
        break;
    case OIP_CLASSIFY:
        buf_printf(out,
                   "{\"name\":\"label\",\"datatype\":\"BYTES\",\"shape\":[-1]},"
                   "{\"name\":\"scores\",\"datatype\":\"FP32\",\"shape\":[-1,%zu]}",
                   info->n_labels ? info->n_labels : 1);
        break;
    case OIP_TASKS:
        break;
    }
}

int oip_model_begin(struct api_call *call, struct error *e)
{
    struct engine_model *model;
    struct buf *out = &call->out;
    TRY(oip_find_model(call, &model, e));
    const struct engine_model_info *info = engine_model_info(model);
    buf_add_text(out, "{\"name\":");
    wire_text(out, info->name, strlen(info->name));
    buf_add_text(out, ",\"versions\":[\"" OIP_VERSION "\"],\"platform\":\"loquat\",\"inputs\":["
                      "{\"name\":\"text\",\"datatype\":\"BYTES\",\"shape\":[-1]}],\"outputs\":[");
    add_outputs(out, info);
    buf_add_text(out, "]}");
    return 0;
}

int oip_ready_begin(struct api_call *call, struct error *e)
{
    struct engine_model *model;
    TRY(oip_find_model(call, &model, e));
    buf_add_text(&call->out, "{\"name\":");
    wire_text(&call->out, engine_model_info(model)->name, strlen(engine_model_info(model)->name));
    buf_add_text(&call->out, ",\"ready\":true}");
    return 0;
}
