/* ollama.c - see ollama.h.
 * To add a path of Ollama's API: a file ollama_NAME.c and a row in endpoint.c with &api_ollama. */
#include "api/ollama.h"

#include <ctype.h>
#include <string.h>
#include <time.h>

#include "api/generation.h"
#include "api/wire.h"

static int ollama_status(const struct error *e)
{
    return error_http_status(e->kind);
}

static void ollama_body(struct buf *out, const struct error *e, const char *request_id)
{
    (void)request_id;
    buf_add_text(out, "{\"error\":");
    wire_text(out, e->text, strlen(e->text));
    buf_add_text(out, "}");
}

static void ollama_event(struct buf *out, const struct error *e, const char *request_id)
{
    ollama_body(out, e, request_id);
    buf_add_text(out, "\n");
}

const struct api_dialect api_ollama = {
    .status = ollama_status,
    .body = ollama_body,
    .event = ollama_event,
    .stream_type = "application/x-ndjson",
    .error_shape = "{error: s}",
    .event_end = "\n",
    .keepalive = "",
};

int ollama_find_model(struct api_call *call, const struct engine_text *name, struct engine_model **out,
                      struct error *e)
{
    static const char tag[] = ":latest";
    size_t tag_len = sizeof tag - 1;
    struct engine_text plain = *name;
    if (name->len > tag_len && !engine_find_model(call->engine, name->bytes) &&
        memcmp(name->bytes + name->len - tag_len, tag, tag_len) == 0) {
        plain.len -= tag_len;
        plain.bytes = arena_copy(call->arena, name->bytes, plain.len);
        if (!plain.bytes)
            return error_no_memory(e);
        if (!engine_find_model(call->engine, plain.bytes))
            plain = *name;
    }
    return generation_find_model(call, &plain, out, e);
}

void ollama_write_name(struct buf *out, const struct engine_text *asked, const struct engine_model *model)
{
    const char *name = engine_model_info(model)->name;
    if (asked && asked->len) {
        wire_text(out, asked->bytes, asked->len);
        return;
    }
    struct buf text;
    buf_init(&text, 4096);
    buf_printf(&text, "%s%s", name, strchr(name, ':') ? "" : ":latest");
    wire_text(out, text.data ? text.data : "", text.len);
    buf_free(&text);
}

void ollama_write_time(struct buf *out, int64_t seconds, long nanoseconds)
{
    struct tm parts;
    time_t t = (time_t)seconds;
    char text[40] = "";
    if (gmtime_r(&t, &parts))
        strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &parts);
    buf_printf(out, "\"%s.%06ldZ\"", text, nanoseconds / 1000);
}

void ollama_write_now(struct buf *out)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    ollama_write_time(out, (int64_t)now.tv_sec, now.tv_nsec);
}

/* "GGUF v3" is gguf. */
static void write_format(struct buf *out, const char *format)
{
    buf_add_text(out, "\"format\":\"");
    for (; isalnum((unsigned char)*format); format++)
        buf_printf(out, "%c", tolower((unsigned char)*format));
    buf_add_text(out, "\"");
}

void ollama_write_details(struct buf *out, const struct engine_model_info *info)
{
    double n = (double)info->parameters;
    buf_add_text(out, "{\"parent_model\":\"\",");
    write_format(out, info->format);
    buf_add_text(out, ",\"family\":");
    wire_text(out, info->architecture, strlen(info->architecture));
    buf_add_text(out, ",\"families\":[");
    wire_text(out, info->architecture, strlen(info->architecture));
    buf_printf(out, "],\"parameter_size\":\"%.*f%s\",\"quantization_level\":", n >= 1e9 ? 1 : 2,
               n >= 1e9   ? n / 1e9
               : n >= 1e6 ? n / 1e6
                          : n / 1e3,
               n >= 1e9   ? "B"
               : n >= 1e6 ? "M"
                          : "K");
    wire_text(out, info->dtype, strlen(info->dtype));
    buf_add_text(out, "}");
}
