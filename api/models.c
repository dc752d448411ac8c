/* models.c - GET /v1/models and /v1/models/{id}: what is loaded, and what it can do.
 * Thread: a worker; makes no jobs. */
#include <string.h>

#include "api/endpoints.h"
#include "api/prompt.h"
#include "api/tasks.h"
#include "engine/base/json.h"

enum { MAX_MODELS = 256 };

static void add_text(struct buf *out, const char *name, const char *text)
{
    buf_printf(out, "\"%s\":", name);
    json_write_string(out, text ? text : "", text ? strlen(text) : 0);
}

/* What endpoints may be asked, and why chat may not. */
static void add_abilities(struct buf *out, struct api *api, struct engine_model *model)
{
    const char *names[TASK_NAMES];
    struct error why = {0};
    size_t n = task_names(api, model, names);
    buf_add_text(out, "\"abilities\":[");
    for (size_t i = 0; i < n; i++)
        buf_printf(out, "%s\"%s\"", i ? "," : "", names[i]);
    buf_add_text(out, "],");
    if (!(engine_model_info(model)->abilities & ENGINE_CAN_GENERATE))
        add_text(out, "chat_disabled", "this model writes no text");
    else if (!api || prompt_chat_ready(api, model, &why) < 0)
        add_text(out, "chat_disabled", why.text);
    else
        buf_add_text(out, "\"chat_disabled\":null");
}

static void add_labels(struct buf *out, const struct engine_model_info *info)
{
    static const char *const problems[] = {"single_label_classification", "multi_label_classification",
                                           "regression"};
    if (info->n_labels == 0)
        return;
    buf_add_text(out, ",\"labels\":[");
    for (size_t i = 0; i < info->n_labels; i++) {
        buf_add_text(out, i ? "," : "");
        json_write_string(out, info->labels[i], strlen(info->labels[i]));
    }
    buf_add_text(out, "]");
    if (info->abilities & ENGINE_CAN_CLASSIFY)
        buf_printf(out, ",\"problem\":\"%s\"", problems[info->problem]);
}

/* What the checkpoint's files say of embeddings and translations. */
static void add_own_ways(struct buf *out, const struct engine_model_info *info)
{
    static const char *const poolings[] = {"default", "mean", "cls", "last", "max", "pooler"};
    if (info->abilities & ENGINE_CAN_EMBED)
        buf_printf(out, ",\"pooling\":\"%s\",\"normalize\":%s", poolings[info->pooling],
                   info->normalize ? "true" : "false");
    if (info->abilities & ENGINE_CAN_TRANSFORM)
        buf_printf(out, ",\"n_ctx_source\":%zu", info->source_context);
    if (*info->source_language || *info->target_language) {
        buf_add_text(out, ",");
        add_text(out, "source_language", info->source_language);
        buf_add_text(out, ",");
        add_text(out, "target_language", info->target_language);
    }
    if (*info->inferred) {
        buf_add_text(out, ",");
        add_text(out, "inferred", info->inferred);
    }
}

/* The keys of meta that llama-server has, with its meanings, then ours. */
static void add_meta(struct buf *out, struct api *api, struct engine_model *model)
{
    const struct engine_model_info *info = engine_model_info(model);
    buf_printf(out,
               "{\"n_ctx\":%zu,\"n_ctx_train\":%zu,\"n_vocab\":%zu,\"n_embd\":%zu,\"n_layer\":%zu,"
               "\"n_params\":%llu,\"size\":%llu,\"kv_bytes_per_token\":%llu,",
               info->context, info->trained_context, info->vocabulary, info->embedding, info->layers,
               (unsigned long long)info->parameters, (unsigned long long)info->weight_bytes,
               (unsigned long long)info->kv_bytes_per_token);
    add_text(out, "ftype", info->dtype);
    buf_add_text(out, ",");
    add_text(out, "architecture", info->architecture);
    buf_add_text(out, ",");
    add_text(out, "format", info->format);
    buf_add_text(out, ",");
    add_text(out, "description", info->description);
    buf_add_text(out, ",");
    add_abilities(out, api, model);
    add_labels(out, info);
    add_own_ways(out, info);
    buf_add_text(out, "}");
}

static void add_model(struct buf *out, struct api *api, struct engine_model *model)
{
    const struct engine_model_info *info = engine_model_info(model);
    buf_add_text(out, "{");
    add_text(out, "id", info->name);
    buf_printf(out, ",\"object\":\"model\",\"created\":%lld,\"owned_by\":\"loquat\",\"meta\":",
               (long long)info->created);
    add_meta(out, api, model);
    buf_add_text(out, "}");
}

int models_list_begin(struct api_call *call, struct error *e)
{
    struct engine_model *models[MAX_MODELS];
    size_t n = engine_models(call->engine, models, MAX_MODELS);
    buf_add_text(&call->out, "{\"object\":\"list\",\"data\":[");
    for (size_t i = 0; i < n && i < MAX_MODELS; i++) {
        buf_add_text(&call->out, i ? "," : "");
        add_model(&call->out, call->api, models[i]);
    }
    buf_add_text(&call->out, "]}");
    return call->out.failed ? error_no_memory(e) : 0;
}

int models_one_begin(struct api_call *call, struct error *e)
{
    struct engine_model *model = engine_find_model(call->engine, call->path_arguments[0]);
    if (!model)
        return error_set(e, ERROR_MODEL_NOT_FOUND, "there is no model named \"%.200s\" here",
                         call->path_arguments[0] ? call->path_arguments[0] : "");
    add_model(&call->out, call->api, model);
    return call->out.failed ? error_no_memory(e) : 0;
}
