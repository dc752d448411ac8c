/* oip_infer.c - POST /v2/models/{model}[/versions/{version}]/infer: BYTES tensors in, tensors out.
 * What comes out follows from the model or from parameters.task: text, embedding, or label and scores.
 * Threads: begin and advance on a worker, event on the loop. */
#include <math.h>
#include <string.h>

#include "api/endpoints.h"
#include "api/oip.h"
#include "api/tasks.h"
#include "api/vectors.h"
#include "api/wire.h"
#include "engine/base/limits.h"

struct infer {
    struct generation_options options; /* with the next six: the request */
    struct engine_text task_name;
    bool normalize, normalize_given, truncate;
    struct engine_text id;
    const json_t *inputs, *outputs;

    struct engine_model *model;
    enum oip_task task;
    struct field_texts texts, pairs; /* pairs.items NULL: none */
    struct answer answer;            /* of OIP_GENERATE */
    struct tasks tasks;              /* of the others */
    bool comma;                      /* an output is written */
};

#define AT(member) offsetof(struct infer, member)

/* clang-format off */
static const struct field parameter_rows[] = {
    {.name = "task", .type = FIELD_STRING, .offset = AT(task_name), .one_of = oip_task_names,
     .help = "what to do; absent: what the model is made for"},
    {.name = "normalize", .type = FIELD_BOOL, .offset = AT(normalize), .given = AT(normalize_given),
     .help = "embed: vectors of length 1; absent: as the checkpoint's own files say"},
    {.name = "truncate", .type = FIELD_BOOL, .offset = AT(truncate),
     .help = "embed, classify: cut off what is beyond the model's context; false, the default, refuses such a text"},
    FIELD_REFUSED("binary_data_output", "[false]", "tensors are JSON"),
};
static const struct field_group parameter_groups[] = {
    {oip_rows, OIP_ROWS, AT(options)},
    {generation_rows + SAMPLING_FIRST, SAMPLING_ROWS, AT(options)},
    FIELD_GROUP(parameter_rows, 0),
};
static const struct field_table parameter_table = FIELD_TABLE(parameter_groups, sizeof(struct infer));

static const struct field infer_rows[] = {
    {.name = "id", .type = FIELD_STRING, .offset = AT(id), .max = 1024, .help = "said again in the answer"},
    {.name = "inputs", .type = FIELD_JSON, .offset = AT(inputs), .kinds = FIELD_KIND_ARRAY, .required = true,
     .help = "a tensor of texts, {name, shape: [n], datatype: BYTES, data}; with classify another one named pair"},
    {.name = "outputs", .type = FIELD_JSON, .offset = AT(outputs), .kinds = FIELD_KIND_ARRAY,
     .help = "names of the tensors that are wanted; absent: all"},
    {.name = "parameters", .type = FIELD_OBJECT, .nested = &parameter_table, .help = "how"},
};
/* clang-format on */
static const struct field_group infer_groups[] = {FIELD_GROUP(infer_rows, 0)};
const struct field_table oip_infer_fields = FIELD_TABLE(infer_groups, sizeof(struct infer));

/* ---- tensors ---------------------------------------------------------------------------------- */

struct tensor {
    struct engine_text name, datatype;
    const json_t *shape, *data;
};

/* clang-format off */
static const struct field tensor_rows[] = {
    {.name = "name", .type = FIELD_STRING, .offset = offsetof(struct tensor, name), .min = 1, .required = true,
     .help = "any; pair for the second texts of pairs"},
    {.name = "datatype", .type = FIELD_STRING, .offset = offsetof(struct tensor, datatype), .required = true,
     .one_of = (const char *const[]){"BYTES", NULL}, .help = "BYTES"},
    {.name = "shape", .type = FIELD_JSON, .offset = offsetof(struct tensor, shape), .kinds = FIELD_KIND_ARRAY,
     .required = true, .help = "[n], or [n, 1]"},
    {.name = "data", .type = FIELD_JSON, .offset = offsetof(struct tensor, data), .kinds = FIELD_KIND_ARRAY,
     .required = true, .help = "n texts, in one list or in lists of one"},
    FIELD_REFUSED("parameters", "[{},{\"content_type\":\"str\"}]", "tensors are JSON, texts are UTF-8"),
};
/* clang-format on */
static const struct field_group tensor_groups[] = {FIELD_GROUP(tensor_rows, 0)};
static const struct field_table tensor_table = FIELD_TABLE(tensor_groups, sizeof(struct tensor));

/* The product of [n], [n, 1], [1, n]; SIZE_MAX when it is none of these. */
static size_t count_of(const json_t *shape)
{
    size_t n = 1;
    for (size_t i = 0; i < json_array_size(shape); i++) {
        json_int_t d = json_integer_value(json_array_get(shape, i));
        if (i > 1 || d < 1 || d > LIMIT_PROMPTS || (n > 1 && d > 1))
            return SIZE_MAX;
        n *= (size_t)d;
    }
    return json_array_size(shape) ? n : SIZE_MAX;
}

static int read_texts(struct api_call *call, const struct tensor *t, const char *prefix,
                      struct field_texts *out, struct error *e)
{
    size_t n = count_of(t->shape), used = 0;
    struct engine_text *texts = n == SIZE_MAX ? NULL : arena_alloc(call->arena, n, sizeof *texts);
    if (n == SIZE_MAX)
        return error_param(e, ERROR_INVALID_REQUEST, "inputs", "%sshape must be [n] with n from 1 to %d",
                           prefix, LIMIT_PROMPTS);
    if (!texts)
        return error_no_memory(e);
    for (size_t i = 0; i < json_array_size(t->data); i++) {
        const json_t *row = json_array_get(t->data, i);
        size_t columns = json_is_array(row) ? json_array_size(row) : 1;
        for (size_t k = 0; k < columns; k++) {
            const json_t *text = json_is_array(row) ? json_array_get(row, k) : row;
            if (!json_is_string(text) || used == n)
                return error_param(e, ERROR_INVALID_REQUEST, "inputs",
                                   "%sdata must be as many texts as shape says, %zu", prefix, n);
            texts[used++] = (struct engine_text){json_string_value(text), json_string_length(text)};
        }
    }
    if (used != n)
        return error_param(e, ERROR_INVALID_REQUEST, "inputs", "%sdata has %zu texts where shape says %zu",
                           prefix, used, n);
    *out = (struct field_texts){texts, n};
    return 0;
}

static int read_inputs(struct api_call *call, struct infer *m, struct error *e)
{
    for (size_t i = 0; i < json_array_size(m->inputs); i++) {
        struct tensor tensor;
        const char *prefix = arena_printf(call->arena, "inputs[%zu].", i);
        if (!prefix)
            return error_no_memory(e);
        TRY(fields_read(&tensor_table, json_array_get(m->inputs, i), prefix, call->arena, &tensor, e));
        bool pair = strcmp(tensor.name.bytes, "pair") == 0;
        struct field_texts *to = pair ? &m->pairs : &m->texts;
        if (to->items)
            return error_param(
                e, ERROR_INVALID_REQUEST, "inputs",
                "inputs must be one tensor of texts, and one named pair where there are pairs");
        TRY(read_texts(call, &tensor, prefix, to, e));
    }
    if (!m->texts.items || (m->pairs.items && m->pairs.n != m->texts.n))
        return error_param(e, ERROR_INVALID_REQUEST, "inputs",
                           "inputs must hold a tensor of texts, and as many in one named pair");
    return 0;
}

/* ---- begin ------------------------------------------------------------------------------------ */

static int begin_generate(struct api_call *call, struct infer *m, struct error *e)
{
    if (m->texts.n > TASK_ROUND)
        return error_param(e, ERROR_INVALID_REQUEST, "inputs", "at most %d texts go on at once", TASK_ROUND);
    TRY(answer_init(&m->answer, call->arena, m->texts.n, 1, true, e));
    TRY(generation_make_jobs(call, m->texts.n, e));
    for (size_t i = 0; i < m->texts.n; i++)
        TRY(oip_fill_job(call, &m->options, m->model, &m->texts.items[i], &call->jobs[i], e));
    return 0;
}

static int begin_one_pass(struct api_call *call, struct infer *m, struct error *e)
{
    enum engine_task task = m->task == OIP_EMBED ? ENGINE_TASK_EMBED : ENGINE_TASK_CLASSIFY;
    TRY(tasks_init(call, &m->tasks, m->model, task, m->texts.n, e));
    for (size_t i = 0; i < m->texts.n; i++) {
        m->tasks.items[i].field = "inputs";
        m->tasks.items[i].place = (long)i;
        m->tasks.items[i].text = m->texts.items[i];
        if (m->pairs.items)
            m->tasks.items[i].pair = m->pairs.items[i];
    }
    TRY(tasks_prepare(&m->tasks, ENGINE_ADD_SPECIAL, m->truncate, e));
    return tasks_go_on(call, &m->tasks, e);
}

static int choose_task(struct api_call *call, struct infer *m, struct error *e)
{
    static const unsigned needs[] = {ENGINE_CAN_GENERATE, ENGINE_CAN_EMBED, ENGINE_CAN_CLASSIFY};
    m->task = oip_task_of(engine_model_info(m->model));
    for (size_t i = 0; m->task_name.bytes && oip_task_names[i]; i++) {
        if (strcmp(oip_task_names[i], m->task_name.bytes) == 0)
            m->task = (enum oip_task)i;
    }
    if (m->task == OIP_TASKS)
        return task_refuse(call, m->model, "infer", e);
    TRY(task_need(call, m->model, needs[m->task], oip_task_names[m->task], e));
    if (m->pairs.items && m->task != OIP_CLASSIFY)
        return error_param(e, ERROR_UNSUPPORTED, "inputs", "pairs can only be classified");
    if (m->task == OIP_GENERATE && m->truncate)
        return error_param(e, ERROR_UNSUPPORTED, "parameters.truncate", "a prompt is never cut");
    return 0;
}

static bool has_output(const struct infer *m, const char *name)
{
    bool labels = engine_model_info(m->model)->problem != ENGINE_PROBLEM_REGRESSION;
    if (m->task == OIP_CLASSIFY)
        return strcmp(name, "scores") == 0 || (labels && strcmp(name, "label") == 0);
    return strcmp(name, m->task == OIP_EMBED ? "embedding" : "text") == 0;
}

static int check_outputs(const struct infer *m, struct error *e)
{
    for (size_t i = 0; i < json_array_size(m->outputs); i++) {
        const json_t *output = json_array_get(m->outputs, i);
        const char *name = json_string_value(json_object_get(output, "name"));
        const json_t *parameters = json_object_get(output, "parameters");
        if (!name || !has_output(m, name))
            return error_param(e, ERROR_INVALID_REQUEST, "outputs",
                               "outputs[%zu].name must be a tensor of this answer; \"%.64s\" is none", i,
                               name ? name : "");
        if (json_object_size(parameters) > 0)
            return error_param(e, ERROR_UNSUPPORTED, "outputs", "outputs[%zu].parameters: tensors are JSON",
                               i);
    }
    return 0;
}

int oip_infer_begin(struct api_call *call, struct error *e)
{
    struct infer *m = call->state;
    TRY(oip_find_model(call, &m->model, e));
    TRY(read_inputs(call, m, e));
    TRY(choose_task(call, m, e));
    TRY(check_outputs(m, e));
    return m->task == OIP_GENERATE ? begin_generate(call, m, e) : begin_one_pass(call, m, e);
}

void oip_infer_event(struct api_call *call, size_t job, const struct engine_event *event)
{
    struct infer *m = call->state;
    if (m->task == OIP_GENERATE)
        answer_take(&m->answer, job, event);
    else
        tasks_event(&m->tasks, job, event);
}

/* ---- the answer ------------------------------------------------------------------------------- */

static bool wanted(const struct infer *m, const char *name)
{
    bool found = json_array_size(m->outputs) == 0;
    for (size_t i = 0; i < json_array_size(m->outputs); i++) {
        const char *asked = json_string_value(json_object_get(json_array_get(m->outputs, i), "name"));
        found = found || (asked && strcmp(asked, name) == 0);
    }
    return found;
}

/* Up to the data; columns 0: of one dimension.  False when nobody wants it. */
static bool open_output(struct infer *m, struct buf *out, const char *name, const char *datatype,
                        size_t columns)
{
    if (!wanted(m, name))
        return false;
    buf_printf(out, "%s{\"name\":\"%s\",\"datatype\":\"%s\",\"shape\":[%zu", m->comma ? "," : "", name,
               datatype, m->texts.n);
    if (columns)
        buf_printf(out, ",%zu", columns);
    buf_add_text(out, "],\"data\":[");
    m->comma = true;
    return true;
}

static void write_texts(struct infer *m, struct buf *out)
{
    if (!open_output(m, out, "text", "BYTES", 0))
        return;
    for (size_t i = 0; i < m->texts.n; i++) {
        const struct buf *text = &m->answer.jobs[i].choices[0].text;
        buf_add_text(out, i ? "," : "");
        wire_text(out, text->len ? text->data : "", text->len);
    }
    buf_add_text(out, "]}");
}

static void write_numbers(struct infer *m, struct buf *out, const char *name)
{
    size_t columns = m->tasks.items[0].n_cols;
    if (!open_output(m, out, name, "FP32", columns))
        return;
    for (size_t i = 0; i < m->texts.n; i++) {
        for (size_t k = 0; k < columns; k++) {
            buf_add_text(out, i + k ? "," : "");
            wire_float(out, (double)m->tasks.items[i].values[k]);
        }
    }
    buf_add_text(out, "]}");
}

static void write_labels(struct infer *m, struct buf *out)
{
    const struct engine_model_info *info = engine_model_info(m->model);
    if (info->problem == ENGINE_PROBLEM_REGRESSION || !open_output(m, out, "label", "BYTES", 0))
        return;
    for (size_t i = 0; i < m->texts.n; i++) {
        const struct task_item *item = &m->tasks.items[i];
        size_t best = 0;
        for (size_t k = 1; k < item->n_cols; k++)
            best = item->values[k] > item->values[best] ? k : best;
        buf_add_text(out, i ? "," : "");
        wire_text(out, info->labels[best], strlen(info->labels[best]));
    }
    buf_add_text(out, "]}");
}

static void finish_values(struct infer *m)
{
    const struct engine_model_info *info = engine_model_info(m->model);
    bool normalize = m->normalize_given ? m->normalize : info->normalize;
    for (size_t i = 0; i < m->texts.n; i++) {
        struct task_item *item = &m->tasks.items[i];
        if (m->task == OIP_EMBED)
            vectors_finish(item, 0, normalize);
        else
            task_probabilities(&m->tasks, item);
    }
}

int oip_infer_advance(struct api_call *call, struct error *e)
{
    struct infer *m = call->state;
    struct buf *out = &call->out;
    const char *name = engine_model_info(m->model)->name;
    TRY(m->task == OIP_GENERATE ? answer_check(&m->answer, e) : tasks_go_on(call, &m->tasks, e));
    if (call->n_jobs)
        return 0;
    buf_add_text(out, "{\"model_name\":");
    wire_text(out, name, strlen(name));
    buf_add_text(out, ",\"model_version\":\"" OIP_VERSION "\"");
    if (m->id.bytes) {
        buf_add_text(out, ",\"id\":");
        wire_text(out, m->id.bytes, m->id.len);
    }
    buf_add_text(out, ",\"outputs\":[");
    if (m->task != OIP_GENERATE)
        finish_values(m);
    if (m->task == OIP_GENERATE)
        write_texts(m, out);
    else if (m->task == OIP_CLASSIFY)
        write_labels(m, out);
    if (m->task != OIP_GENERATE)
        write_numbers(m, out, m->task == OIP_EMBED ? "embedding" : "scores");
    buf_add_text(out, "]}");
    return 0;
}

void oip_infer_free(struct api_call *call)
{
    struct infer *m = call->state;
    answer_free(&m->answer);
    tasks_free(&m->tasks);
}
