/* ollama_generate.c - POST /api/generate: what follows a prompt, which is a user's message unless it is raw.
 * The answer's `context` is the ids of all that was read and written; with them the next request goes on.
 * Threads: begin and advance on a worker, event on the loop. */
#include <stdlib.h>
#include <string.h>

#include "api/endpoints.h"
#include "api/ollama_options.h"
#include "api/prompt.h"
#include "api/wire.h"
#include "engine/base/limits.h"

struct generate {
    struct ollama_options options; /* with those up to context: the request */
    struct engine_text prompt, system;
    bool raw;
    struct field_ids context;

    struct engine_model *model;
    struct conversation *conversation; /* NULL: the prompt is the job's own text */
    struct answer answer;              /* of that */
    struct buf ids;                    /* int32_t, read and written */
    enum chat_finish finish;
};

#define AT(member) offsetof(struct generate, member)

/* clang-format off */
static const struct field generate_rows[] = {
    {.name = "prompt", .type = FIELD_STRING, .offset = AT(prompt),
     .help = "a user's message, or with raw the text itself; empty or absent: only the model is looked for"},
    {.name = "system", .type = FIELD_STRING, .offset = AT(system), .help = "a system message before it"},
    {.name = "raw", .type = FIELD_BOOL, .offset = AT(raw),
     .help = "the prompt goes to the model as it is; special tokens in it are special tokens"},
    {.name = "context", .type = FIELD_IDS, .offset = AT(context), .max = LIMIT_CONTEXT,
     .help = "the context of an earlier answer, to go on from"},
    FIELD_REFUSED("suffix", "[\"\"]", "texts are filled in by /v1/completions"),
    FIELD_REFUSED("template", "[\"\"]", "the checkpoint's own template is used"),
    FIELD_REFUSED("images", "[[]]", "messages are text"),
};
/* clang-format on */
static const struct field_group generate_groups[] = {{ollama_rows, OLLAMA_ROWS, AT(options)},
                                                     FIELD_GROUP(generate_rows, 0)};
const struct field_table ollama_generate_fields = FIELD_TABLE(generate_groups, sizeof(struct generate));

/* ---- begin ------------------------------------------------------------------------------------ */

/* Clients load and unload models with a request that says nothing. */
static int answer_probe(struct api_call *call, const struct generate *g)
{
    ollama_write_head(&call->out, &g->options, g->model);
    buf_printf(&call->out, "\"response\":\"\",\"done\":true,\"done_reason\":\"%s\"}%s",
               ollama_unloads(call) ? "unload" : "load", call->stream ? "\n" : "");
    return 0;
}

static int begin_plain(struct api_call *call, struct generate *g, struct error *e)
{
    int32_t *ids;
    size_t n;
    struct engine_job *job;
    if (g->system.len && !g->raw)
        return error_param(e, ERROR_UNSUPPORTED, "system",
                           "the model %.100s has no place for a system message",
                           engine_model_info(g->model)->name);
    if (g->options.think && json_is_true(g->options.think))
        return error_param(e, ERROR_UNSUPPORTED, "think", "a raw prompt says itself whether to think");
    TRY(answer_init(&g->answer, call->arena, 1, 1, !call->stream, e));
    TRY(generation_make_jobs(call, 1, e));
    TRY(engine_tokenize(engine_model_vocabulary(g->model), g->prompt.bytes, g->prompt.len,
                        ENGINE_ADD_SPECIAL | ENGINE_PARSE_SPECIAL, NULL, 0, &ids, &n, e));
    const struct generation_options *o = &g->options.generation;
    size_t room = generation_room(g->model, n);
    size_t most = o->max_tokens_given ? (size_t)o->max_tokens : room ? room : 1;
    job = &call->jobs[0];
    TRY(generation_fill_job(call, o, g->model, ids, n, most, job, e));
    return ollama_format(call, &g->options, g->model, &job->grammar, e);
}

static int begin_message(struct api_call *call, struct generate *g, struct error *e)
{
    struct conversation_request request = {0};
    json_t *arguments = NULL;
    json_t *messages =
        g->system.len ? json_pack("[{s:s,s:s%},{s:s,s:s%}]", "role", "system", "content", g->system.bytes,
                                  g->system.len, "role", "user", "content", g->prompt.bytes, g->prompt.len)
                      : json_pack("[{s:s,s:s%}]", "role", "user", "content", g->prompt.bytes, g->prompt.len);
    int status =
        messages ? ollama_think(call, &g->options, g->model, &request, &arguments, e) : error_no_memory(e);
    request.messages = messages;
    if (status == 0)
        status = ollama_format(call, &g->options, g->model, &request.grammar, e);
    if (status == 0)
        status = conversation_begin(call, g->model, &g->options.generation, &request, &g->conversation, e);
    json_decref(messages);
    json_decref(arguments);
    return status;
}

/* The ids of what was said before go first; a text begins once. */
static int prepend_context(struct engine_job *job, const struct field_ids *context, struct error *e)
{
    int32_t bos = engine_model_info(job->model)->bos;
    size_t skip = bos >= 0 && job->n_prompt > 0 && job->prompt[0] == bos;
    if (context->n == 0)
        return 0;
    TRY(generation_check_ids(context, "context", engine_model_info(job->model)->vocabulary, e));
    int32_t *ids = malloc((context->n + job->n_prompt) * sizeof *ids);
    if (!ids)
        return error_no_memory(e);
    memcpy(ids, context->items, context->n * sizeof *ids);
    memcpy(ids + context->n, job->prompt + skip, (job->n_prompt - skip) * sizeof *ids);
    free(job->prompt);
    job->prompt = ids;
    job->n_prompt = context->n + job->n_prompt - skip;
    return 0;
}

int ollama_generate_begin(struct api_call *call, struct error *e)
{
    struct generate *g = call->state;
    struct error unused = {0};
    buf_init(&g->ids, LIMIT_REQUEST_ARENA);
    TRY(ollama_options_begin(call, &g->options, &g->model, e));
    if (g->prompt.len == 0 && g->context.n == 0)
        return answer_probe(call, g);
    if (!g->prompt.bytes)
        g->prompt = (struct engine_text){"", 0};
    bool chats = !g->raw && prompt_chat_ready(call->api, g->model, &unused) == 0;
    TRY(chats ? begin_message(call, g, e) : begin_plain(call, g, e));
    TRY(prepend_context(&call->jobs[0], &g->context, e));
    buf_add(&g->ids, call->jobs[0].prompt, call->jobs[0].n_prompt * sizeof *call->jobs[0].prompt);
    return ollama_fit(&g->options, &call->jobs[0], e);
}

/* ---- the answer ------------------------------------------------------------------------------- */

static void stream_text(struct api_call *call, const char *text, size_t len, bool thought)
{
    struct generate *g = call->state;
    if (!call->stream || len == 0)
        return;
    ollama_write_head(&call->out, &g->options, g->model);
    buf_add_text(&call->out, thought ? "\"response\":\"\",\"thinking\":" : "\"response\":");
    wire_text(&call->out, text, len);
    buf_add_text(&call->out, ",\"done\":false}\n");
}

static void hear(void *user, const struct speech_piece *piece)
{
    struct api_call *call = user;
    struct generate *g = call->state;
    if (piece->kind == PIECE_TEXT || piece->kind == PIECE_REASONING)
        stream_text(call, piece->text, piece->len, piece->kind == PIECE_REASONING);
    else if (piece->kind == PIECE_FINISH)
        g->finish = piece->finish;
}

void ollama_generate_event(struct api_call *call, size_t job, const struct engine_event *event)
{
    struct generate *g = call->state;
    bool step = event->kind == ENGINE_EVENT_STEP;
    for (size_t i = 0; step && i < event->n_tokens; i++)
        buf_add(&g->ids, &event->tokens[i].id, sizeof event->tokens[i].id);
    if (g->conversation) {
        conversation_event(g->conversation, event, hear, call);
        return;
    }
    answer_take(&g->answer, job, event);
    if (step)
        stream_text(call, event->text, event->text_len, false);
    if (step && event->finish == ENGINE_FINISH_LENGTH)
        g->finish = CHAT_FINISH_LENGTH;
}

static void write_context(const struct generate *g, struct buf *out)
{
    const int32_t *ids = (const int32_t *)(const void *)g->ids.data;
    buf_add_text(out, "\"context\":[");
    for (size_t i = 0; i < g->ids.len / sizeof *ids; i++)
        buf_printf(out, i ? ",%d" : "%d", ids[i]);
    buf_add_text(out, "],");
}

/* The whole text, or nothing more where it was streamed. */
static void write_response(struct api_call *call, const struct generate *g)
{
    const struct said *said = g->conversation ? conversation_said(g->conversation, 0) : NULL;
    const struct buf *text = said ? &said->text : &g->answer.jobs[0].choices[0].text;
    buf_add_text(&call->out, "\"response\":");
    wire_text(&call->out, text->len ? text->data : "", text->len);
    if (said && said->reasoning.len) {
        buf_add_text(&call->out, ",\"thinking\":");
        wire_text(&call->out, said->reasoning.data, said->reasoning.len);
    }
    buf_add_text(&call->out, ",");
}

int ollama_generate_advance(struct api_call *call, struct error *e)
{
    struct generate *g = call->state;
    if (g->conversation && conversation_failed(g->conversation)) {
        *e = *conversation_error(g->conversation);
        return -1;
    }
    TRY(answer_check(&g->answer, e));
    ollama_write_head(&call->out, &g->options, g->model);
    if (call->stream)
        buf_add_text(&call->out, "\"response\":\"\",");
    else
        write_response(call, g);
    if (!g->raw)
        write_context(g, &call->out);
    ollama_write_end(call, g->finish,
                     g->conversation ? conversation_usage(g->conversation) : &g->answer.usage);
    return 0;
}

void ollama_generate_free(struct api_call *call)
{
    struct generate *g = call->state;
    conversation_free(g->conversation);
    answer_free(&g->answer);
    buf_free(&g->ids);
}
