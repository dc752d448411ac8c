/* cmd_render.c - `loquat render`: the prompt that a chat request becomes, without loading weights.
 * Variables of the request go to the template as they are; bos_token and eos_token come from the request,
 * else from the checkpoint. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "api/jinja.h"
#include "engine/base/json.h"
#include "engine/base/limits.h"
#include "server/command.h"

struct source {
    struct engine_report report; /* of --model */
    char *file;                  /* of --template, malloc'ed */
    const char *text, *bos, *eos;
    size_t len;
};

static int read_now(const char *text, struct jinja_options *o, struct error *e)
{
    struct tm tm = {0};
    o->now = (int64_t)time(NULL);
    if (!text)
        return 0;
    o->utc = true;
    const char *end = strptime(text, "%Y-%m-%dT%H:%M:%S", &tm);
    if (end && *end == 0) {
        o->now = (int64_t)timegm(&tm);
        return 0;
    }
    char *rest;
    o->now = strtoll(text, &rest, 10);
    if (rest == text || *rest)
        return error_param(e, ERROR_BAD_OPTION, "--now",
                           "--now: '%.64s' is neither YYYY-MM-DDTHH:MM:SS nor seconds", text);
    return 0;
}

static int open_model(const char *spec, struct source *s, struct error *e)
{
    char *name;
    const char *path;
    TRY(command_split_model(spec, &name, &path, e));
    free(name);
    TRY(engine_inspect(path, &s->report, e));
    s->text = s->report.info.chat_template;
    s->bos = s->report.info.bos_text;
    s->eos = s->report.info.eos_text;
    if (!s->text)
        return error_set(e, ERROR_UNSUPPORTED, "%.200s has no chat template", path);
    s->len = strlen(s->text);
    return 0;
}

static int open_source(const struct options *o, struct source *s, struct error *e)
{
    if (o->models.n + (o->template != NULL) != 1)
        return error_param(e, ERROR_BAD_OPTION, "--model", "give either one --model or a --template");
    if (o->models.n)
        return open_model(o->models.items[0], s, e);
    TRY(command_read_all(o->template, &s->file, &s->len, e));
    s->text = s->file;
    return 0;
}

/* Moves a token's name from the request, or takes the checkpoint's, into what the template may trust. */
static int trust(json_t *trusted, json_t *request, const char *name, const char *fallback)
{
    json_t *given = json_object_get(request, name);
    json_t *value = given ? json_incref(given) : fallback ? json_string(fallback) : json_string("");
    json_object_del(request, name);
    return json_object_set_new(trusted, name, value);
}

/* What a template finds even where the request does not say. */
static int complete(json_t *request)
{
    if (!json_object_get(request, "add_generation_prompt") &&
        json_object_set_new(request, "add_generation_prompt", json_true()) < 0)
        return -1;
    static const char *const absent[] = {"tools", "documents"};
    for (size_t i = 0; i < sizeof absent / sizeof absent[0]; i++) {
        if (!json_object_get(request, absent[i]) && json_object_set_new(request, absent[i], json_null()) < 0)
            return -1;
    }
    return 0;
}

static int render(const struct source *s, const struct jinja_options *options, json_t *request,
                  struct buf *out, struct error *e)
{
    struct jinja_template *template;
    struct jinja_span *spans = NULL;
    size_t n_spans;
    json_t *trusted = json_object();
    int status = -1;
    if (!trusted || trust(trusted, request, "bos_token", s->bos) < 0 ||
        trust(trusted, request, "eos_token", s->eos) < 0 || complete(request) < 0) {
        error_no_memory(e);
        goto free_trusted;
    }
    if (jinja_compile(s->text, s->len, &template, e) < 0)
        goto free_trusted;
    status = jinja_render(template, request, trusted, options, out, &spans, &n_spans, e);
    free(spans);
    jinja_free(template);
free_trusted:
    json_decref(trusted);
    return status;
}

int cmd_render(const struct options *o, struct error *e)
{
    struct source source = {0};
    struct jinja_options options = {0};
    struct buf out;
    json_t *request = NULL;
    char *text = NULL;
    size_t len;
    int status = 1;
    buf_init(&out, LIMIT_TEMPLATE_OUTPUT);
    if (read_now(o->now, &options, e) < 0 || open_source(o, &source, e) < 0)
        goto done;
    if (command_read_all(NULL, &text, &len, e) < 0 || json_parse(text, len, &request, e) < 0)
        goto done;
    if (!json_is_object(request))
        error_set(e, ERROR_INVALID_REQUEST, "the request must be a JSON object");
    else if (render(&source, &options, request, &out, e) < 0)
        error_prefix(e, "%.300s", o->models.n ? o->models.items[0] : o->template);
    else
        status = out.len == 0 || fwrite(out.data, 1, out.len, stdout) == out.len ? 0 : 1;
done:
    json_decref(request);
    free(text);
    free(source.file);
    engine_report_free(&source.report);
    buf_free(&out);
    return status;
}
