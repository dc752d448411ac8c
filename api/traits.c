/* traits.c - see traits.h. */
#include "api/traits.h"

#include <stdlib.h>
#include <string.h>

static const struct jinja_options probe_options = {.utc = true, .max_time_ns = 200000000u, .now = 1700000000};

/* Renders messages (JSON text) with tools or without; true when it worked and out has the text `wanted`. */
static bool probe(const struct jinja_template *t, const struct engine_model_info *info, const char *messages,
                  const char *wanted)
{
    struct buf out;
    struct jinja_span *spans = NULL;
    size_t n_spans = 0;
    json_t *list = json_loads(messages, 0, NULL);
    json_t *user = json_pack("{s:o?,s:b,s:n}", "messages", list, "add_generation_prompt", 1, "tools");
    json_t *trusted = json_pack("{s:s,s:s}", "bos_token", info->bos_text, "eos_token", info->eos_text);
    buf_init(&out, 1 << 20);
    bool ok = user && trusted &&
              jinja_render(t, user, trusted, &probe_options, &out, &spans, &n_spans, NULL) == 0 && out.data &&
              strstr(out.data, wanted);
    free(spans);
    json_decref(user);
    json_decref(trusted);
    buf_free(&out);
    return ok;
}

#define CALLED(arguments)                                                                                    \
    "[{\"role\":\"user\",\"content\":\"u\"},{\"role\":\"assistant\",\"content\":\"\",\"tool_calls\":["       \
    "{\"id\":\"abcdefghi\",\"type\":\"function\",\"function\":{\"name\":\"probe\",\"arguments\":" arguments  \
    "}}]},{\"role\":\"tool\",\"tool_call_id\":\"abcdefghi\",\"name\":\"probe\",\"content\":\"r\"}]"

/* Templates that join the arguments as they are fail on an object, or print it as Python does. */
static bool wants_text(const struct jinja_template *t, const struct engine_model_info *info)
{
    static const char object[] = CALLED("{\"probed\":\"v\"}"),
                      text[] = CALLED("\"{\\\"probed\\\":\\\"v\\\"}\"");
    bool takes_object = probe(t, info, object, "probed") && !probe(t, info, object, "'probed'");
    return !takes_object && probe(t, info, text, "\"probed\"");
}

static bool mentions(const char *source, const char *word)
{
    for (const char *at = strstr(source, word); at; at = strstr(at + 1, word)) {
        char before = at == source ? 0 : at[-1], after = at[strlen(word)];
        if ((before == '\'' || before == '"') && after == before)
            return true;
    }
    return false;
}

void traits_find(const struct jinja_template *t, const struct engine_model_info *info,
                 struct template_traits *out)
{
    static const char system[] =
        "[{\"role\":\"system\",\"content\":\"probed\"},{\"role\":\"user\",\"content\":\"u\"}]";
    const char *source = info->chat_template;
    const struct tool_format *format = jinja_uses(t, "tools") ? tools_find_format(source) : NULL;
    *out = (struct template_traits){
        .system = probe(t, info, system, "probed"),
        .developer = mentions(source, "developer"),
        .tools = format != NULL,
        .text_arguments = format && wants_text(t, info),
        .documents = jinja_uses(t, "documents"),
        .format = format ? format : tools_own_format(),
        .reasoning = reasoning_find(source),
    };
}
