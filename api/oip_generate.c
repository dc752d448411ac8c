/* oip_generate.c - POST /v2/models/{model}[/versions/{version}]/generate and …/generate_stream, Triton's
 * extension of the protocol: one text in, what follows it out.
 * Threads: begin and advance on a worker, event on the loop. */
#include <string.h>

#include "api/choice.h"
#include "api/endpoints.h"
#include "api/oip.h"
#include "api/tasks.h"
#include "api/wire.h"

struct generate {
    struct generation_options options; /* with the next two: the request */
    struct engine_text id, text_input;

    struct engine_model *model;
    const char *envelope; /* {"id":…,"model_name":…,"model_version":… */
    struct answer answer;
};

#define AT(member) offsetof(struct generate, member)

static const struct field_group parameter_groups[] = {
    {oip_rows, OIP_ROWS, AT(options)},
    {generation_rows + SAMPLING_FIRST, SAMPLING_ROWS, AT(options)},
};
static const struct field_table parameter_table = FIELD_TABLE(parameter_groups, sizeof(struct generate));

/* clang-format off */
static const struct field generate_rows[] = {
    {.name = "id", .type = FIELD_STRING, .offset = AT(id), .max = 1024, .help = "said again in the answer"},
    {.name = "text_input", .type = FIELD_STRING, .offset = AT(text_input), .min = 1, .required = true,
     .help = "the prompt; special tokens in it are special tokens"},
    {.name = "parameters", .type = FIELD_OBJECT, .nested = &parameter_table, .help = "how to go on"},
};
/* clang-format on */
static const struct field_group generate_groups[] = {FIELD_GROUP(generate_rows, 0)};
const struct field_table oip_generate_fields = FIELD_TABLE(generate_groups, sizeof(struct generate));
const struct field_table oip_generate_stream_fields = FIELD_TABLE(generate_groups, sizeof(struct generate));

static int make_envelope(struct api_call *call, struct generate *g, struct error *e)
{
    const char *name = engine_model_info(g->model)->name;
    struct buf b;
    buf_init(&b, 64 << 10);
    buf_add_text(&b, "{");
    if (g->id.bytes) {
        buf_add_text(&b, "\"id\":");
        wire_text(&b, g->id.bytes, g->id.len);
        buf_add_text(&b, ",");
    }
    buf_add_text(&b, "\"model_name\":");
    wire_text(&b, name, strlen(name));
    buf_add_text(&b, ",\"model_version\":\"" OIP_VERSION "\",\"text_output\":");
    g->envelope = b.failed ? NULL : arena_copy(call->arena, b.data, b.len);
    buf_free(&b);
    return g->envelope ? 0 : error_no_memory(e);
}

int oip_generate_begin(struct api_call *call, struct error *e)
{
    struct generate *g = call->state;
    TRY(oip_find_model(call, &g->model, e));
    TRY(task_need(call, g->model, ENGINE_CAN_GENERATE, "generate", e));
    TRY(make_envelope(call, g, e));
    TRY(answer_init(&g->answer, call->arena, 1, 1, !call->stream, e));
    TRY(generation_make_jobs(call, 1, e));
    return oip_fill_job(call, &g->options, g->model, &g->text_input, &call->jobs[0], e);
}

void oip_generate_event(struct api_call *call, size_t job, const struct engine_event *event)
{
    struct generate *g = call->state;
    answer_take(&g->answer, job, event);
    if (!call->stream || event->kind != ENGINE_EVENT_STEP || event->text_len == 0)
        return;
    buf_printf(&call->out, "data: %s", g->envelope);
    wire_text(&call->out, event->text, event->text_len);
    buf_add_text(&call->out, "}\n\n");
}

int oip_generate_advance(struct api_call *call, struct error *e)
{
    struct generate *g = call->state;
    const struct buf *text = &g->answer.jobs[0].choices[0].text;
    TRY(answer_check(&g->answer, e));
    if (call->stream)
        return 0;
    buf_add_text(&call->out, g->envelope);
    wire_text(&call->out, text->len ? text->data : "", text->len);
    buf_add_text(&call->out, "}");
    return 0;
}

void oip_generate_free(struct api_call *call)
{
    struct generate *g = call->state;
    answer_free(&g->answer);
}

int oip_generate_stream_begin(struct api_call *call, struct error *e)
{
    call->stream = true;
    return oip_generate_begin(call, e);
}

void oip_generate_stream_event(struct api_call *call, size_t job, const struct engine_event *event)
{
    oip_generate_event(call, job, event);
}

int oip_generate_stream_advance(struct api_call *call, struct error *e)
{
    return oip_generate_advance(call, e);
}

void oip_generate_stream_free(struct api_call *call)
{
    oip_generate_free(call);
}
