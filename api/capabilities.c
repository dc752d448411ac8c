/* capabilities.c - GET /v1/capabilities: what each loaded model supports, option by option.
 * Everything follows from the field tables, answers.c, the model's abilities and its template.
 * Thread: a worker; makes no jobs. */
#include <string.h>

#include "api/answers.h"
#include "api/endpoints.h"
#include "api/infill.h"
#include "api/prompt.h"
#include "api/tasks.h"
#include "engine/base/json.h"
#include "engine/base/limits.h"

enum { MAX_MODELS = 256 };

/* Why this model can't honour a field that the endpoint has; NULL when it can. */
static const char *missing(struct api *api, struct engine_model *model, const struct field *f)
{
    if (f->type == FIELD_UNSUPPORTED)
        return f->help;
    switch (f->needs) {
    case FIELD_NEEDS_EFFORT:
        return prompt_uses(api, model, "reasoning_effort") || prompt_uses(api, model, "enable_thinking")
                   ? NULL
                   : "the chat template does not use it";
    case FIELD_NEEDS_DOCUMENTS:
        return prompt_uses(api, model, "documents") ? NULL : "the chat template does not use them";
    case FIELD_NEEDS_INFILL:
        return infill_find(engine_model_vocabulary(model), &(struct infill){0})
                   ? NULL
                   : "the model has no tokens for it";
    case FIELD_NEEDS_NOTHING:
        break;
    }
    return NULL;
}

static void add_options(json_t *options, struct api *api, struct engine_model *model,
                        const struct field_table *table)
{
    for (size_t g = 0; g < table->n_groups; g++) {
        for (size_t i = 0; i < table->groups[g].n_rows; i++) {
            const struct field *f = &table->groups[g].rows[i];
            const char *why = missing(api, model, f);
            json_object_set_new(options, f->name, why ? json_string(why) : json_true());
        }
    }
}

static bool can(struct api *api, struct engine_model *model, const char *task)
{
    const char *names[TASK_NAMES];
    size_t n = task_names(api, model, names);
    for (size_t i = 0; i < n; i++) {
        if (strcmp(names[i], task) == 0)
            return true;
    }
    return false;
}

static json_t *endpoints_of(struct api *api, struct engine_model *model)
{
    json_t *endpoints = json_object();
    for (size_t i = 0; api_endpoint_at(i); i++) {
        const struct api_endpoint *p = api_endpoint_at(i);
        const struct answer_row *row = answer_find(p);
        if (!p->fields || !row || !row->task)
            continue;
        json_t *options = json_object();
        bool supported = can(api, model, row->task);
        if (supported)
            add_options(options, api, model, p->fields);
        json_object_set_new(endpoints, p->path,
                            json_pack("{s:b,s:o}", "supported", supported, "options", options));
    }
    return endpoints;
}

/* What its chat template can express. */
static json_t *chat_of(struct api *api, struct engine_model *model)
{
    const struct template_traits *t = prompt_traits(api, model);
    if (!t)
        return json_null();
    json_t *reasoning =
        t->reasoning ? json_pack("[s,s]", t->reasoning->open, t->reasoning->close) : json_null();
    return json_pack("{s:s,s:s,s:s,s:o,s:b,s:b,s:b}", "tool_format", t->format->name, "tools_described_by",
                     t->tools ? "template" : "server", "tool_arguments", "constrained", "reasoning_marks",
                     reasoning, "system_role", t->system, "developer_role", t->developer, "documents",
                     t->documents);
}

static json_t *model_of(struct api *api, struct engine_model *model)
{
    const struct engine_model_info *info = engine_model_info(model);
    const char *names[TASK_NAMES];
    size_t n = task_names(api, model, names);
    json_t *abilities = json_array();
    for (size_t i = 0; i < n; i++)
        json_array_append_new(abilities, json_string(names[i]));
    return json_pack("{s:s,s:o,s:I,s:o,s:o}", "id", info->name, "abilities", abilities, "context",
                     (json_int_t)info->context, "chat", chat_of(api, model), "endpoints",
                     endpoints_of(api, model));
}

int capabilities_begin(struct api_call *call, struct error *e)
{
    struct engine_model *models[MAX_MODELS];
    size_t n = engine_models(call->engine, models, MAX_MODELS);
    json_t *list = json_array();
    for (size_t i = 0; i < n && i < MAX_MODELS; i++)
        json_array_append_new(list, model_of(call->api, models[i]));
    json_t *answer = json_pack("{s:s,s:o}", "object", "list", "data", list);
    if (!answer)
        return error_no_memory(e);
    json_write(&call->out, answer);
    json_decref(answer);
    return call->out.failed ? error_no_memory(e) : 0;
}
