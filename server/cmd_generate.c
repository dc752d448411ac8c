/* cmd_generate.c - `loquat generate`: one prompt or one message, its continuation on standard output. */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/api.h"
#include "engine/base/limits.h"
#include "server/command.h"

static int chat_ids(struct engine *engine, struct engine_model *model, const struct options *o, int32_t **ids,
                    size_t *n, struct error *e)
{
    struct api *api;
    TRY(api_create(engine, &api, e));
    api_add_model(api, model);
    json_t *messages = json_array();
    if (o->system)
        json_array_append_new(messages, json_pack("{s:s, s:s}", "role", "system", "content", o->system));
    json_array_append_new(messages, json_pack("{s:s, s:s}", "role", "user", "content", o->chat));
    bool whole = json_array_size(messages) == (o->system ? 2u : 1u);
    int status = whole ? api_render_chat(api, model, messages, ids, n, e)
                       : error_set(e, ERROR_INVALID_REQUEST, "the message is not UTF-8");
    json_decref(messages);
    api_free(api);
    return status;
}

static int prompt_ids(struct engine *engine, struct engine_model *model, const struct options *o,
                      int32_t **ids, size_t *n, struct error *e)
{
    if (o->chat)
        return chat_ids(engine, model, o, ids, n, e);
    return engine_tokenize(engine_model_vocabulary(model), o->prompt, strlen(o->prompt),
                           ENGINE_ADD_SPECIAL | ENGINE_PARSE_SPECIAL, NULL, 0, ids, n, e);
}

static void print_step(void *context, size_t job, const struct engine_event *event)
{
    (void)context, (void)job;
    if (event->kind != ENGINE_EVENT_STEP)
        return;
    fwrite(event->text, 1, event->text_len, stdout);
    fflush(stdout);
}

static void set_sampling(const struct options *o, struct engine_sampling *s)
{
    engine_sampling_init(s);
    s->temperature = (float)o->temperature;
    s->top_k = (uint32_t)o->top_k;
    s->top_p = (float)o->top_p;
    s->min_p = (float)o->min_p;
    s->seed = o->seed;
}

static int generate(struct engine *engine, struct engine_model *model, const struct options *o,
                    struct error *e)
{
    struct engine_text stop[OPTIONS_LIST_MAX];
    struct engine_job job = {.model = model, .choices = 1, .stop = stop, .n_stop = o->stop.n};
    size_t context = engine_model_info(model)->context;
    if (o->stop.n > LIMIT_STOP_STRINGS)
        return error_param(e, ERROR_BAD_OPTION, "--stop", "--stop: at most %d texts", LIMIT_STOP_STRINGS);
    for (size_t i = 0; i < o->stop.n; i++)
        stop[i] = (struct engine_text){o->stop.items[i], strlen(o->stop.items[i])};
    set_sampling(o, &job.sampling);
    TRY(prompt_ids(engine, model, o, &job.prompt, &job.n_prompt, e));
    if (job.n_prompt >= context) {
        free(job.prompt);
        return error_set(e, ERROR_CONTEXT_LENGTH, "the prompt has %zu tokens, the context %zu", job.n_prompt,
                         context);
    }
    size_t room = context - job.n_prompt;
    job.max_tokens = o->max_tokens < room ? o->max_tokens : room;
    TRY(command_run_jobs(engine, &job, 1, print_step, NULL, e));
    printf("\n");
    return 0;
}

int cmd_generate(const struct options *o, struct error *e)
{
    struct engine *engine;
    struct engine_model *model;
    if (!o->prompt == !o->chat || (o->system && !o->chat)) {
        error_set(e, ERROR_BAD_OPTION, "give --prompt, or --chat with or without --system");
        return 2;
    }
    if (command_open_model(o, &engine, &model, e) < 0)
        return 1;
    int status = generate(engine, model, o, e);
    engine_close(engine);
    return status < 0 ? 1 : 0;
}
