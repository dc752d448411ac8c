/* conversation.c - see conversation.h. */
#include "api/conversation.h"

#include <string.h>

#include "api/constraint.h"
#include "api/prompt.h"
#include "api/tools_grammar.h"
#include "engine/base/limits.h"

enum { MARK_TOKENS = 16 };

struct conversation {
    struct arena *arena;
    struct answer answer; /* of one job; its tokens, usage and first error */
    struct speech_rules rules;
    struct tool_list tools;
    struct speech *speeches; /* one per choice, like said */
    struct said *said;
    bool keep, tokens_wanted;
    size_t reasoning_tokens;

    /* While an event is told. */
    const struct engine_event *event;
    bool told; /* a piece carried the event's tokens */
    piece_sink *say;
    void *user;
};

/* ---- begin ---------------------------------------------------------------------------------- */

static int read_tools(struct conversation *c, const struct conversation_request *r, struct error *e)
{
    bool wanted = r->tool_choice == TOOL_CHOICE_REQUIRED || r->tool_choice == TOOL_CHOICE_NAMED;
    TRY(tools_read(r->tools, c->arena, &c->tools, e));
    if (wanted && c->tools.n == 0)
        return error_param(e, ERROR_INVALID_REQUEST, "tool_choice", "tool_choice needs tools");
    if (r->tool_choice == TOOL_CHOICE_NAMED && !tools_by_name(&c->tools, r->tool_name, strlen(r->tool_name)))
        return error_param(e, ERROR_INVALID_REQUEST, "tool_choice",
                           "tool_choice: there is no tool named \"%.128s\"", r->tool_name);
    return 0;
}

/* Control tokens are seen where the speech has to know them. */
static int show_marks(struct conversation *c, struct engine_job *job, struct error *e)
{
    const struct engine_vocabulary *v = engine_model_vocabulary(job->model);
    int32_t *ids = arena_alloc(c->arena, MARK_TOKENS, sizeof *ids);
    if (!ids)
        return error_no_memory(e);
    job->shown_tokens = ids;
    if (c->rules.reasoning)
        reasoning_mark_tokens(v, c->rules.reasoning, ids, &job->n_shown_tokens, MARK_TOKENS);
    if (c->rules.format)
        tools_mark_tokens(v, c->rules.format, ids, &job->n_shown_tokens, MARK_TOKENS);
    return 0;
}

static int constrain(struct api_call *call, const struct conversation_request *r, struct conversation *c,
                     struct engine_job *job, struct error *e)
{
    struct buf text;
    struct tool_rules rules = {
        .vocabulary = engine_model_vocabulary(job->model),
        .format = c->rules.format,
        .tools = &c->tools,
        .choice = r->tool_choice,
        .name = r->tool_name,
        .one = r->one_tool,
        .reasoning = r->continue_final ? NULL : c->rules.reasoning,
        .thinking = c->rules.thinking,
    };
    job->grammar = r->grammar;
    if (r->grammar) /* it holds from the first word on */
        c->rules.reasoning = NULL;
    if (!c->rules.format)
        return 0;
    if (r->grammar)
        return error_param(
            e, ERROR_UNSUPPORTED, "tools",
            "tools can't be offered where the answer's form is given, unless tool_choice is none");
    buf_init(&text, LIMIT_REQUEST_ARENA);
    int status = tools_write_grammar(&rules, &text, e);
    if (status == 0)
        status = constraint_of_text(call, job->model, text.data, text.len, &job->grammar, e);
    buf_free(&text);
    return status;
}

static int make_job(struct api_call *call, struct engine_model *model, const struct generation_options *o,
                    const struct conversation_request *r, struct conversation *c, struct error *e)
{
    struct prompt prompt;
    bool offered = c->tools.n > 0 && r->tool_choice != TOOL_CHOICE_NONE;
    struct prompt_request request = {
        .messages = r->messages,
        .tools = offered ? r->tools : NULL,
        .documents = r->documents,
        .arguments = r->arguments,
        .effort = r->effort,
        .no_generation_prompt = r->no_generation_prompt,
        .continue_final = r->continue_final,
    };
    TRY(generation_make_jobs(call, 1, e));
    TRY(prompt_render(call->api, model, &request, &prompt, e));
    const struct template_traits *traits = prompt_traits(call->api, model);
    c->rules = (struct speech_rules){.reasoning = traits->reasoning,
                                     .thinking = prompt.thinking,
                                     .format = offered ? traits->format : NULL,
                                     .tools = &c->tools};
    size_t room = generation_room(model, prompt.n);
    size_t max_tokens = o->max_tokens_given ? (size_t)o->max_tokens : room ? room : 1;
    struct engine_job *job = &call->jobs[0];
    TRY(generation_fill_job(call, o, model, prompt.ids, prompt.n, max_tokens, job, e));
    job->logprobs = r->logprobs;
    job->top_logprobs = r->top_logprobs;
    TRY(show_marks(c, job, e));
    return constrain(call, r, c, job, e);
}

static int make_choices(struct conversation *c, unsigned n, struct error *e)
{
    TRY(answer_init(&c->answer, c->arena, 1, n, c->keep, e));
    c->speeches = arena_alloc(c->arena, n, sizeof *c->speeches);
    c->said = arena_alloc(c->arena, n, sizeof *c->said);
    if (!c->speeches || !c->said) {
        answer_free(&c->answer);
        return error_no_memory(e);
    }
    for (unsigned i = 0; i < n; i++) {
        speech_init(&c->speeches[i], &c->rules);
        buf_init(&c->said[i].text, LIMIT_REQUEST_ARENA);
        buf_init(&c->said[i].reasoning, LIMIT_REQUEST_ARENA);
    }
    return 0;
}

int conversation_begin(struct api_call *call, struct engine_model *model,
                       const struct generation_options *options, const struct conversation_request *request,
                       struct conversation **out, struct error *e)
{
    struct conversation *c = arena_alloc(call->arena, 1, sizeof *c);
    if (!c)
        return error_no_memory(e);
    c->arena = call->arena;
    c->keep = !call->stream;
    TRY(prompt_chat_ready(call->api, model, e));
    TRY(read_tools(c, request, e));
    TRY(make_job(call, model, options, request, c, e));
    TRY(make_choices(c, (unsigned)options->n, e));
    *out = c;
    return 0;
}

void conversation_free(struct conversation *c)
{
    for (unsigned i = 0; c && i < c->answer.n_choices; i++) {
        speech_free(&c->speeches[i]);
        buf_free(&c->said[i].text);
        buf_free(&c->said[i].reasoning);
        for (struct said_call *call = c->said[i].calls; call; call = call->next)
            buf_free(&call->arguments);
    }
    if (c)
        answer_free(&c->answer);
}

void conversation_want_tokens(struct conversation *c)
{
    c->tokens_wanted = true;
}

/* ---- keeping -------------------------------------------------------------------------------- */

static void keep_call(struct conversation *c, struct said *said, const struct speech_piece *p)
{
    struct said_call *call = arena_alloc(c->arena, 1, sizeof *call);
    const char *name = arena_copy(c->arena, p->name, strlen(p->name));
    if (!call || !name) {
        error_no_memory(&c->answer.error);
        return;
    }
    memcpy(call->id, p->id, strlen(p->id) + 1);
    call->name = name;
    buf_init(&call->arguments, LIMIT_REQUEST_ARENA);
    struct said_call **end = &said->calls;
    while (*end)
        end = &(*end)->next;
    *end = call;
    said->n_calls++;
}

static void keep_arguments(struct said *said, const struct speech_piece *p)
{
    struct said_call *call = said->calls;
    while (call && call->next)
        call = call->next;
    if (call)
        buf_add(&call->arguments, p->text, p->len);
}

static void keep_finish(struct conversation *c, struct said *said, const struct speech_piece *p)
{
    if (!p->stop.bytes)
        return;
    said->stop.bytes = arena_copy(c->arena, p->stop.bytes, p->stop.len);
    said->stop.len = p->stop.len;
    if (!said->stop.bytes)
        error_no_memory(&c->answer.error);
}

static void keep_piece(struct conversation *c, const struct speech_piece *p)
{
    struct said *said = &c->said[p->choice];
    switch (p->kind) {
    case PIECE_TEXT:
        buf_add(&said->text, p->text, p->len);
        break;
    case PIECE_REASONING:
        buf_add(&said->reasoning, p->text, p->len);
        break;
    case PIECE_TOOL_BEGIN:
        keep_call(c, said, p);
        break;
    case PIECE_TOOL_ARGUMENTS:
        keep_arguments(said, p);
        break;
    case PIECE_FINISH:
        keep_finish(c, said, p);
        break;
    case PIECE_TOOL_END:
        break;
    }
}

/* ---- telling -------------------------------------------------------------------------------- */

/* The sink of the speeches: adds what only the event knows. */
static void tell(void *user, const struct speech_piece *piece)
{
    struct conversation *c = user;
    struct speech_piece p = *piece;
    p.choice = c->event->choice;
    if (!c->told) {
        p.tokens = c->event->tokens;
        p.n_tokens = c->event->n_tokens;
    }
    c->told = true;
    if (c->keep)
        keep_piece(c, &p);
    c->say(c->user, &p);
}

static enum chat_finish finish_of(const struct speech *s, enum engine_finish finish)
{
    if (finish == ENGINE_FINISH_LENGTH)
        return CHAT_FINISH_LENGTH;
    return s->complete ? CHAT_FINISH_TOOL_CALLS : CHAT_FINISH_STOP;
}

static void tell_step(struct conversation *c, struct speech *s)
{
    const struct engine_event *event = c->event;
    bool reasoned = speech_reasons(s);
    speech_push(s, event->text, event->text_len, tell, c);
    if (event->finish != ENGINE_FINISH_NONE)
        speech_finish(s, tell, c);
    if (reasoned || speech_reasons(s))
        c->reasoning_tokens += event->n_tokens;
    if (!c->told && c->tokens_wanted && event->n_tokens) {
        struct speech_piece p = {.kind = speech_reasons(s) ? PIECE_REASONING : PIECE_TEXT, .text = ""};
        tell(c, &p);
    }
    if (event->finish == ENGINE_FINISH_NONE)
        return;
    struct speech_piece p = {.kind = PIECE_FINISH, .finish = finish_of(s, event->finish)};
    p.stop = (struct engine_text){event->stop_string, event->stop_string ? event->stop_len : 0};
    c->said[event->choice].finish = p.finish;
    c->told = true;
    tell(c, &p);
}

/* A job that ended well without a step for a choice has reached its length. */
static void tell_end(struct conversation *c)
{
    for (unsigned i = 0; i < c->answer.n_choices; i++) {
        if (c->said[i].finish != CHAT_FINISH_NONE)
            continue;
        struct engine_event none = {.kind = ENGINE_EVENT_STEP, .choice = i, .finish = ENGINE_FINISH_LENGTH};
        c->event = &none;
        c->told = false;
        tell_step(c, &c->speeches[i]);
    }
}

void conversation_event(struct conversation *c, const struct engine_event *event, piece_sink *say, void *user)
{
    if (answer_failed(&c->answer))
        return;
    answer_take(&c->answer, 0, event);
    if (answer_failed(&c->answer))
        return;
    c->event = event;
    c->told = false;
    c->say = say;
    c->user = user;
    if (event->kind == ENGINE_EVENT_FINAL)
        tell_end(c);
    if (event->kind != ENGINE_EVENT_STEP)
        return;
    tell_step(c, &c->speeches[event->choice]);
    if (speech_failed(&c->speeches[event->choice]))
        error_no_memory(&c->answer.error);
}

/* ---- getters -------------------------------------------------------------------------------- */

bool conversation_failed(const struct conversation *c)
{
    return answer_failed(&c->answer);
}

const struct error *conversation_error(const struct conversation *c)
{
    return &c->answer.error;
}

const struct engine_usage *conversation_usage(const struct conversation *c)
{
    return &c->answer.usage;
}

size_t conversation_reasoning_tokens(const struct conversation *c)
{
    return c->reasoning_tokens;
}

unsigned conversation_choices(const struct conversation *c)
{
    return c->answer.n_choices;
}

const struct said *conversation_said(const struct conversation *c, unsigned choice)
{
    return &c->said[choice];
}

const struct engine_token *conversation_tokens(struct conversation *c, unsigned choice, size_t *n)
{
    return token_list_view(&c->answer.jobs[0].choices[choice].tokens, n);
}
