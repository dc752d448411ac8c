/* ollama_models.c - what Ollama's clients ask before they ask a model: GET /, /api/version, /api/tags,
 * /api/ps and POST /api/show, /api/pull.  Thread: a worker; makes no jobs. */
#include <string.h>

#include "api/endpoints.h"
#include "api/ollama.h"
#include "api/wire.h"

/* Clients compare it to see what they may send: the version whose requests and answers are spoken here. */
#define OLLAMA_VERSION "0.12.6"

enum { MAX_MODELS = 256 };

/* Probes look for this very sentence. */
int ollama_root_begin(struct api_call *call, struct error *e)
{
    (void)e;
    call->content_type = "text/plain; charset=utf-8";
    buf_add_text(&call->out, "Ollama is running");
    return 0;
}

int ollama_version_begin(struct api_call *call, struct error *e)
{
    (void)e;
    buf_add_text(&call->out, "{\"version\":\"" OLLAMA_VERSION "\",\"server\":\"loquat " LOQUAT_VERSION "\"}");
    return 0;
}

/* ---- lists ------------------------------------------------------------------------------------ */

/* FNV-1a over what tells checkpoints apart; four of them look like the SHA-256 that clients shorten. */
static uint64_t hash(uint64_t h, const void *bytes, size_t len)
{
    for (size_t i = 0; i < len; i++)
        h = (h ^ ((const unsigned char *)bytes)[i]) * 0x100000001b3u;
    return h;
}

static void add_digest(struct buf *out, const struct engine_model_info *info)
{
    buf_add_text(out, ",\"digest\":\"");
    for (uint64_t part = 0; part < 4; part++) {
        uint64_t h = hash(0xcbf29ce484222325u, &part, sizeof part);
        h = hash(h, info->path, strlen(info->path));
        h = hash(h, &info->file_bytes, sizeof info->file_bytes);
        h = hash(h, &info->created, sizeof info->created);
        buf_printf(out, "%016llx", (unsigned long long)h);
    }
    buf_add_text(out, "\"");
}

static void add_model(struct buf *out, struct engine_model *model, bool running)
{
    const struct engine_model_info *info = engine_model_info(model);
    buf_add_text(out, "{\"name\":");
    ollama_write_name(out, NULL, model);
    buf_add_text(out, ",\"model\":");
    ollama_write_name(out, NULL, model);
    if (!running) {
        buf_add_text(out, ",\"modified_at\":");
        ollama_write_time(out, info->created, 0);
    }
    buf_printf(out, ",\"size\":%llu", (unsigned long long)info->file_bytes);
    add_digest(out, info);
    buf_add_text(out, ",\"details\":");
    ollama_write_details(out, info);
    if (running) /* it never expires */
        buf_printf(out, ",\"expires_at\":\"9999-12-31T23:59:59Z\",\"size_vram\":0,\"context_length\":%zu",
                   info->context);
    buf_add_text(out, "}");
}

static int list(struct api_call *call, bool running, struct error *e)
{
    struct engine_model *models[MAX_MODELS];
    size_t n = engine_models(call->engine, models, MAX_MODELS);
    buf_add_text(&call->out, "{\"models\":[");
    for (size_t i = 0; i < n && i < MAX_MODELS; i++) {
        buf_add_text(&call->out, i ? "," : "");
        add_model(&call->out, models[i], running);
    }
    buf_add_text(&call->out, "]}");
    return call->out.failed ? error_no_memory(e) : 0;
}

int ollama_tags_begin(struct api_call *call, struct error *e)
{
    return list(call, false, e);
}

int ollama_ps_begin(struct api_call *call, struct error *e)
{
    return list(call, true, e);
}

/* ---- /api/show -------------------------------------------------------------------------------- */

struct show {
    struct engine_text model;
};

/* clang-format off */
static const struct field show_rows[] = {
    {.name = "model", .type = FIELD_STRING, .offset = offsetof(struct show, model), .min = 1, .required = true,
     .help = "name of a loaded model, with or without :latest"},
    {.name = "name", .type = FIELD_ALIAS, .of = "model", .help = "an older name"},
    FIELD_HARMLESS("verbose", "has no effect: everything known is told"),
    FIELD_REFUSED("system", "[\"\"]", "models are shown as they are"),
    FIELD_REFUSED("template", "[\"\"]", "models are shown as they are"),
    FIELD_REFUSED("options", "[{}]", "models are shown as they are"),
};
/* clang-format on */
static const struct field_group show_groups[] = {FIELD_GROUP(show_rows, 0)};
const struct field_table ollama_show_fields = FIELD_TABLE(show_groups, sizeof(struct show));

static void add_number(struct buf *out, const char *architecture, const char *key, size_t value)
{
    struct buf name;
    buf_init(&name, 4096);
    buf_printf(&name, "%s.%s", architecture, key);
    buf_add_text(out, ",");
    wire_text(out, name.data ? name.data : "", name.len);
    buf_printf(out, ":%zu", value);
    buf_free(&name);
}

static void add_model_info(struct buf *out, const struct engine_model_info *info)
{
    buf_add_text(out, ",\"model_info\":{\"general.architecture\":");
    wire_text(out, info->architecture, strlen(info->architecture));
    buf_add_text(out, ",\"general.basename\":");
    wire_text(out, info->description, strlen(info->description));
    buf_printf(out, ",\"general.parameter_count\":%llu", (unsigned long long)info->parameters);
    add_number(out, info->architecture, "block_count", info->layers);
    add_number(out, info->architecture, "context_length", info->context);
    add_number(out, info->architecture, "embedding_length", info->embedding);
    add_number(out, info->architecture, "vocab_size", info->vocabulary);
    buf_add_text(out, ",\"tokenizer.ggml.model\":");
    wire_text(out, info->tokenizer, strlen(info->tokenizer));
    buf_add_text(out, "}");
}

static void add_capabilities(struct api_call *call, struct engine_model *model)
{
    const struct {
        bool is;
        const char *name;
    } rows[] = {
        {engine_model_info(model)->abilities & ENGINE_CAN_GENERATE, "completion"},
        {engine_model_info(model)->abilities & ENGINE_CAN_EMBED, "embedding"},
    };
    size_t n = 0;
    buf_add_text(&call->out, ",\"capabilities\":[");
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        if (rows[i].is)
            buf_printf(&call->out, "%s\"%s\"", n++ ? "," : "", rows[i].name);
    }
    buf_add_text(&call->out, "]}");
}

int ollama_show_begin(struct api_call *call, struct error *e)
{
    const struct show *s = call->state;
    struct engine_model *model;
    struct buf *out = &call->out;
    TRY(ollama_find_model(call, &s->model, &model, e));
    const struct engine_model_info *info = engine_model_info(model);
    const char *template = info->chat_template ? info->chat_template : "";
    buf_add_text(out, "{\"license\":\"\",\"modelfile\":");
    struct buf file;
    buf_init(&file, 4096);
    buf_printf(&file, "FROM %s\n", info->name);
    wire_text(out, file.data ? file.data : "", file.len);
    buf_free(&file);
    buf_add_text(out, ",\"parameters\":\"\",\"template\":");
    wire_text(out, template, strlen(template));
    buf_add_text(out, ",\"details\":");
    ollama_write_details(out, info);
    add_model_info(out, info);
    buf_add_text(out, ",\"modified_at\":");
    ollama_write_time(out, info->created, 0);
    add_capabilities(call, model);
    return out->failed ? error_no_memory(e) : 0;
}

/* ---- /api/pull -------------------------------------------------------------------------------- */

struct pull {
    struct engine_text model;
    bool stream;
};

/* clang-format off */
static const struct field pull_rows[] = {
    {.name = "model", .type = FIELD_STRING, .offset = offsetof(struct pull, model), .min = 1, .required = true,
     .help = "name of a model; nothing is fetched: it must be loaded already"},
    {.name = "name", .type = FIELD_ALIAS, .of = "model", .help = "an older name"},
    {.name = "stream", .type = FIELD_BOOL, .offset = offsetof(struct pull, stream), .fallback = 1,
     .help = "answer as lines of JSON, the default"},
    FIELD_HARMLESS("insecure", "has no effect: nothing is fetched"),
};
/* clang-format on */
static const struct field_group pull_groups[] = {FIELD_GROUP(pull_rows, 0)};
const struct field_table ollama_pull_fields = FIELD_TABLE(pull_groups, sizeof(struct pull));

/* Many programs pull what they need when they start. */
int ollama_pull_begin(struct api_call *call, struct error *e)
{
    const struct pull *p = call->state;
    struct engine_model *model;
    TRY(ollama_find_model(call, &p->model, &model, e));
    call->stream = p->stream;
    buf_add_text(&call->out, p->stream ? "{\"status\":\"success\"}\n" : "{\"status\":\"success\"}");
    return 0;
}
