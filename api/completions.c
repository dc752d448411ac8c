/* completions.c - POST /v1/completions: text after a raw prompt.
 * A prompt's text may hold special tokens, which are parsed; the checkpoint's BOS is put before it.
 * One job per prompt, each with n choices; choice index = prompt index * n + choice.  Many prompts go in
 * rounds, so that one request does not fill the queue. Threads: begin and advance on a worker, event on the
 * loop. */
#include <stdlib.h>
#include <string.h>

#include "api/choice.h"
#include "api/constraint.h"
#include "api/endpoints.h"
#include "api/generation.h"
#include "api/infill.h"
#include "api/tasks.h"
#include "api/wire.h"
#include "engine/base/json.h"
#include "engine/base/limits.h"

struct completions {
    struct generation_options options; /* with the next five: the request */
    struct constraint_options constraint;
    const json_t *prompt;
    bool echo, logprobs_given;
    int64_t logprobs, best_of;
    struct engine_text suffix;

    struct engine_model *model;
    struct engine_grammar *grammar; /* or NULL */
    const struct engine_vocabulary *vocabulary;
    struct infill infill; /* where there is a suffix */
    const char *envelope;
    struct answer answer;   /* of all prompts */
    struct prompt *prompts; /* one per job */
    size_t first, next;     /* the round: prompts [first, next) */
    bool sent;              /* streaming: something is out */
};

enum { COMPLETIONS_ROUND = 512, COMPLETIONS_ROUND_TOKENS = 512 << 10 }; /* prompts, and their tokens */

struct prompt {
    struct engine_text echo;
    size_t hidden; /* 1 when a BOS was added that is not in the echoed text */
};

#define AT(member) offsetof(struct completions, member)

static const struct field completion_rows[] = {
    {.name = "prompt",
     .type = FIELD_JSON,
     .offset = AT(prompt),
     .kinds = FIELD_KIND_STRING | FIELD_KIND_ARRAY,
     .schema = "{\"anyOf\":[{\"type\":\"string\"},{\"type\":\"array\",\"items\":{\"type\":\"string\"}},"
               "{\"type\":\"array\",\"items\":{\"type\":\"integer\",\"minimum\":0}},"
               "{\"type\":\"array\",\"items\":{\"type\":\"array\",\"items\":{\"type\":\"integer\","
               "\"minimum\":0}}}]}",
     .required = true,
     .help = "a text, a list of texts, a list of token ids, or a list of such lists"},
    {.name = "max_tokens",
     .type = FIELD_INT,
     .offset = AT(options.max_tokens),
     .min = 0,
     .max = LIMIT_CONTEXT,
     .fallback = 16,
     .help = "most tokens to generate; 0 with echo and logprobs only scores the prompt"},
    {.name = "max_completion_tokens", .type = FIELD_ALIAS, .of = "max_tokens", .help = "another name"},
    {.name = "n_predict", .type = FIELD_ALIAS, .of = "max_tokens", .help = "another name"},
    {.name = "echo", .type = FIELD_BOOL, .offset = AT(echo), .help = "the prompt comes before the answer"},
    {.name = "logprobs",
     .type = FIELD_INT,
     .offset = AT(logprobs),
     .given = AT(logprobs_given),
     .max = LIMIT_TOP_LOGPROBS,
     .help = "log probabilities of the tokens and of this many alternatives; with echo also of the prompt"},
    {.name = "best_of",
     .type = FIELD_INT,
     .offset = AT(best_of),
     .min = 1,
     .max = LIMIT_CHOICES,
     .help = "must equal n: choices are not generated to be thrown away"},
    {.name = "suffix",
     .type = FIELD_STRING,
     .offset = AT(suffix),
     .needs = FIELD_NEEDS_INFILL,
     .help =
         "the answer goes between the prompt, which must be text, and this; for models with tokens for it"},
};

static const struct field_group completion_groups[] = {
    {generation_rows, GENERATION_ROWS, AT(options)},
    {beam_rows, BEAM_ROWS, AT(options)},
    {constraint_rows, CONSTRAINT_ROWS, AT(constraint)},
    FIELD_GROUP(completion_rows, 0),
};
const struct field_table completions_fields = FIELD_TABLE(completion_groups, sizeof(struct completions));

/* ---- begin ---------------------------------------------------------------------------------- */

static int check_request(const struct completions *c, struct error *e)
{
    bool source = engine_model_info(c->model)->abilities & ENGINE_CAN_TRANSFORM;
    if (source && c->echo)
        return error_param(e, ERROR_UNSUPPORTED, "echo",
                           "the prompt of this model is a source text, which its answer does not begin with");
    if (c->options.beams > 1 && c->logprobs > 0)
        return error_param(e, ERROR_UNSUPPORTED, "logprobs",
                           "a search does not keep alternatives: with beams logprobs can only be 0");
    if (c->suffix.len && c->echo)
        return error_param(e, ERROR_UNSUPPORTED, "echo",
                           "the answer stands before the suffix: echo has no place for it");
    if (c->best_of && c->best_of != c->options.n)
        return error_param(e, ERROR_UNSUPPORTED, "best_of", "best_of is not supported unless it equals n");
    return 0;
}

/* A list of numbers is one prompt; of strings or lists, several. */
static bool is_one_prompt(const json_t *prompt)
{
    return json_is_string(prompt) || json_is_number(json_array_get(prompt, 0));
}

/* Detokenised, so that an echo of ids reads as the model saw them. */
static int echo_of_ids(struct api_call *call, struct completions *c, const struct field_ids *ids,
                       struct prompt *out, struct error *e)
{
    struct buf text;
    buf_init(&text, LIMIT_REQUEST_ARENA);
    int result = engine_detokenize(c->vocabulary, ids->items, ids->n, true, &text, e);
    if (result == 0) {
        out->echo.len = text.len;
        out->echo.bytes = text.failed ? NULL : arena_copy(call->arena, text.data, text.len);
        result = out->echo.bytes ? 0 : error_no_memory(e);
    }
    buf_free(&text);
    return result;
}

static int read_ids(struct api_call *call, struct completions *c, const json_t *list, struct prompt *out,
                    int32_t **ids, size_t *n, struct error *e)
{
    struct field_ids read;
    TRY(fields_ids(list, "prompt", LIMIT_CONTEXT, call->arena, &read, e));
    TRY(generation_check_ids(&read, "prompt", engine_vocabulary_size(c->vocabulary), e));
    if (c->echo)
        TRY(echo_of_ids(call, c, &read, out, e));
    *ids = malloc((read.n ? read.n : 1) * sizeof **ids);
    if (!*ids)
        return error_no_memory(e);
    memcpy(*ids, read.items, read.n * sizeof **ids);
    *n = read.n;
    return 0;
}

/* Tokens of one text, behind what is there. */
static int add_ids(const struct engine_vocabulary *v, const struct engine_text *text, unsigned flags,
                   struct buf *out, struct error *e)
{
    int32_t *ids = NULL;
    size_t n = 0;
    TRY(engine_tokenize(v, text->bytes, text->len, flags, NULL, 0, &ids, &n, e));
    buf_add(out, ids, n * sizeof *ids);
    free(ids);
    return 0;
}

/* prefix token, prompt, suffix token, suffix, middle token: the order that all of them were trained with. */
static int read_around(struct completions *c, const struct engine_text *text, int32_t **ids, size_t *n,
                       struct error *e)
{
    const struct engine_model_info *info = engine_model_info(c->model);
    struct buf all;
    int32_t *begin = NULL;
    size_t n_begin = 0;
    TRY(engine_tokenize(c->vocabulary, "", 0, ENGINE_ADD_SPECIAL, NULL, 0, &begin, &n_begin, e));
    buf_init(&all, LIMIT_REQUEST_ARENA);
    if (n_begin && begin[0] == info->bos)
        buf_add(&all, begin, sizeof *begin);
    free(begin);
    buf_add(&all, &c->infill.prefix, sizeof c->infill.prefix);
    int status = add_ids(c->vocabulary, text, ENGINE_PARSE_SPECIAL, &all, e);
    buf_add(&all, &c->infill.suffix, sizeof c->infill.suffix);
    if (status == 0)
        status = add_ids(c->vocabulary, &c->suffix, ENGINE_PARSE_SPECIAL, &all, e);
    buf_add(&all, &c->infill.middle, sizeof c->infill.middle);
    if (status < 0 || all.failed) {
        buf_free(&all);
        return status < 0 ? -1 : error_no_memory(e);
    }
    *n = all.len / sizeof **ids;
    *ids = (int32_t *)(void *)all.data; /* malloc'ed, as a buf's bytes are */
    return 0;
}

static int read_text(struct completions *c, const json_t *text, struct prompt *out, int32_t **ids, size_t *n,
                     struct error *e)
{
    const struct engine_model_info *info = engine_model_info(c->model);
    size_t bos_len = strlen(info->bos_text);
    out->echo = (struct engine_text){json_string_value(text), json_string_length(text)};
    TRY(engine_tokenize(c->vocabulary, out->echo.bytes, out->echo.len,
                        ENGINE_ADD_SPECIAL | ENGINE_PARSE_SPECIAL, NULL, 0, ids, n, e));
    bool written =
        bos_len && out->echo.len >= bos_len && memcmp(out->echo.bytes, info->bos_text, bos_len) == 0;
    out->hidden = *n && info->bos >= 0 && (*ids)[0] == info->bos && !written;
    return 0;
}

static int make_job(struct api_call *call, size_t index, const json_t *prompt, struct engine_job *job,
                    struct error *e)
{
    struct completions *c = call->state;
    int32_t *ids = NULL;
    size_t n = 0;
    if (c->suffix.len && json_is_string(prompt))
        TRY(read_around(c, &(struct engine_text){json_string_value(prompt), json_string_length(prompt)}, &ids,
                        &n, e));
    else if (c->suffix.len)
        return error_param(e, ERROR_UNSUPPORTED, "suffix", "with a suffix the prompt must be text");
    else if (json_is_string(prompt))
        TRY(read_text(c, prompt, &c->prompts[index], &ids, &n, e));
    else if (json_is_array(prompt))
        TRY(read_ids(call, c, prompt, &c->prompts[index], &ids, &n, e));
    else
        return error_param(e, ERROR_INVALID_REQUEST, "prompt",
                           "prompt[%zu] must be a text or a list of token ids", index);
    TRY(generation_fill_job(call, &c->options, c->model, ids, n, (size_t)c->options.max_tokens, job, e));
    job->grammar = c->grammar;
    job->logprobs = c->logprobs_given;
    job->prompt_logprobs = c->logprobs_given && c->echo;
    job->top_logprobs = (unsigned)c->logprobs;
    return 0;
}

/* The next prompts; call->n_jobs is 0 when there are none. */
static int next_round(struct api_call *call, struct completions *c, struct error *e)
{
    size_t left = c->answer.n_jobs - c->next, n = 0, tokens = 0;
    size_t most = left < COMPLETIONS_ROUND ? left : COMPLETIONS_ROUND;
    c->first = c->next;
    if (most == 0)
        return 0;
    TRY(generation_make_jobs(call, most, e));
    while (n < most && tokens < COMPLETIONS_ROUND_TOKENS) {
        size_t i = c->first + n;
        const json_t *prompt = is_one_prompt(c->prompt) ? c->prompt : json_array_get(c->prompt, i);
        TRY(make_job(call, i, prompt, &call->jobs[n], e));
        tokens += call->jobs[n++].n_prompt;
    }
    call->n_jobs = n;
    c->next = c->first + n;
    return 0;
}

static int start(struct api_call *call, struct completions *c, struct error *e)
{
    size_t n = is_one_prompt(c->prompt) ? 1 : json_array_size(c->prompt);
    if (n == 0 || n * (size_t)c->options.n > LIMIT_PROMPTS)
        return error_param(e, ERROR_INVALID_REQUEST, "prompt",
                           "prompt must hold at least one prompt, and prompts times n may be at most %d",
                           LIMIT_PROMPTS);
    c->prompts = arena_alloc(call->arena, n, sizeof *c->prompts);
    if (!c->prompts)
        return error_no_memory(e);
    TRY(answer_init(&c->answer, call->arena, n, (unsigned)c->options.n, !call->stream, e));
    return next_round(call, c, e);
}

int completions_begin(struct api_call *call, struct error *e)
{
    struct completions *c = call->state;
    TRY(generation_begin(call, &c->options, &c->model, e));
    TRY(task_need(call, c->model, ENGINE_CAN_GENERATE, "completions", e));
    TRY(check_request(c, e));
    c->vocabulary = engine_model_vocabulary(c->model);
    TRY(constraint_compile(call, &c->constraint, c->model, &c->grammar, e));
    if (c->suffix.len && !infill_find(c->vocabulary, &c->infill))
        return error_param(e, ERROR_UNSUPPORTED, "suffix",
                           "suffix is not supported: the model %.100s has no tokens for filling in between",
                           engine_model_info(c->model)->name);
    TRY(wire_envelope(call, "cmpl", "text_completion", engine_model_info(c->model)->name, &c->envelope, e));
    return start(call, c, e);
}

/* ---- writing -------------------------------------------------------------------------------- */

/* What one object of "choices" says. */
struct piece {
    size_t job;
    unsigned choice;
    bool echo;               /* the prompt comes first */
    struct engine_text text; /* generated */
    const struct engine_token *tokens;
    size_t n_tokens;
    enum engine_finish finish;
};

static void write_text(struct completions *c, struct buf *out, const struct piece *p)
{
    const struct engine_text *echo = &c->prompts[p->job].echo;
    if (!p->echo || echo->len == 0) {
        wire_text(out, p->text.bytes ? p->text.bytes : "", p->text.len);
        return;
    }
    struct buf both;
    buf_init(&both, LIMIT_REQUEST_ARENA);
    buf_add(&both, echo->bytes, echo->len);
    buf_add(&both, p->text.bytes, p->text.len);
    out->failed = out->failed || both.failed;
    wire_text(out, both.failed ? "" : both.data, both.failed ? 0 : both.len);
    buf_free(&both);
}

static void write_logprobs(struct completions *c, struct buf *out, const struct piece *p)
{
    struct answer_job *job = &c->answer.jobs[p->job];
    struct choice *choice = &job->choices[p->choice];
    const struct prompt *prompt = &c->prompts[p->job];
    struct wire_run runs[2] = {{.hidden = prompt->hidden, .shows_control = true},
                               {.tokens = p->tokens, .n = p->n_tokens}};
    if (p->echo)
        runs[0].tokens = token_list_view(&job->prompt, &runs[0].n);
    size_t end = SIZE_MAX;
    if (p->finish != ENGINE_FINISH_NONE)
        end = choice->chars + (c->echo ? text_code_points(prompt->echo.bytes, prompt->echo.len) : 0);
    wire_completion_logprobs(out, c->vocabulary, runs, 2, &choice->offsets, end);
}

static void write_choice(struct completions *c, struct buf *out, const struct piece *p)
{
    buf_add_text(out, "{\"text\":");
    write_text(c, out, p);
    buf_printf(out, ",\"index\":%zu,\"logprobs\":", p->job * c->answer.n_choices + p->choice);
    if (c->logprobs_given)
        write_logprobs(c, out, p);
    else
        buf_add_text(out, "null");
    buf_add_text(out, ",\"finish_reason\":");
    wire_finish_reason(out, p->finish);
    if (c->options.return_token_ids) {
        buf_add_text(out, ",\"token_ids\":");
        wire_token_ids(out, p->tokens, p->n_tokens);
    }
    if (c->options.beams > 1) {
        buf_add_text(out, ",\"score\":");
        wire_float(out, c->answer.jobs[p->job].choices[p->choice].score);
    }
    buf_add_text(out, "}");
}

/* ---- streaming ------------------------------------------------------------------------------ */

static void write_chunk(struct api_call *call, struct completions *c, const struct piece *p)
{
    buf_printf(&call->out, "data: %s,\"choices\":[", c->envelope);
    write_choice(c, &call->out, p);
    buf_add_text(&call->out, c->options.include_usage ? "],\"usage\":null}\n\n" : "]}\n\n");
    c->answer.jobs[p->job].choices[p->choice].started = true;
    c->sent = true;
}

/* Nothing is sent for tokens whose text is not certain yet, unless the tokens themselves are wanted. */
static void stream_step(struct api_call *call, struct completions *c, size_t job,
                        const struct engine_event *event)
{
    const struct choice *choice = &c->answer.jobs[job].choices[event->choice];
    bool tokens_wanted = c->logprobs_given || c->options.return_token_ids;
    struct piece p = {
        .job = job,
        .choice = event->choice,
        .echo = c->echo && !choice->started,
        .text = {event->text, event->text_len},
        .tokens = event->tokens,
        .n_tokens = event->n_tokens,
        .finish = event->finish,
    };
    if (p.echo || p.text.len || p.finish != ENGINE_FINISH_NONE || (tokens_wanted && p.n_tokens))
        write_chunk(call, c, &p);
}

/* Choices that had no step, as with max_tokens 0. */
static void stream_unstarted(struct api_call *call, struct completions *c, size_t job)
{
    for (unsigned i = 0; i < c->answer.n_choices; i++) {
        const struct choice *choice = &c->answer.jobs[job].choices[i];
        struct piece p = {.job = job, .choice = i, .echo = c->echo, .finish = choice->finish};
        if (!choice->started)
            write_chunk(call, c, &p);
    }
}

void completions_event(struct api_call *call, size_t job, const struct engine_event *event)
{
    struct completions *c = call->state;
    if (answer_failed(&c->answer))
        return;
    job += c->first;
    answer_take(&c->answer, job, event);
    if (!call->stream)
        return;
    if (answer_failed(&c->answer) && c->sent)
        api_error_event(&call->out, &c->answer.error);
    else if (!answer_failed(&c->answer) && event->kind == ENGINE_EVENT_STEP)
        stream_step(call, c, job, event);
    else if (!answer_failed(&c->answer) && event->kind == ENGINE_EVENT_FINAL)
        stream_unstarted(call, c, job);
}

/* ---- the end -------------------------------------------------------------------------------- */

static void write_all_choices(struct completions *c, struct buf *out)
{
    for (size_t job = 0; job < c->answer.n_jobs; job++) {
        for (unsigned i = 0; i < c->answer.n_choices; i++) {
            struct choice *choice = &c->answer.jobs[job].choices[i];
            struct piece p = {.job = job, .choice = i, .echo = c->echo, .finish = choice->finish};
            p.text = (struct engine_text){choice->text.data, choice->text.len};
            p.tokens = token_list_view(&choice->tokens, &p.n_tokens);
            buf_add_text(out, job || i ? "," : "");
            write_choice(c, out, &p);
        }
    }
}

int completions_advance(struct api_call *call, struct error *e)
{
    struct completions *c = call->state;
    struct buf *out = &call->out;
    if (answer_failed(&c->answer))
        return c->sent ? 0 : answer_check(&c->answer, e);
    TRY(next_round(call, c, e));
    if (call->n_jobs)
        return 0;
    if (call->stream) {
        wire_stream_end(out, c->envelope, c->options.include_usage ? &c->answer.usage : NULL, 0);
        return 0;
    }
    buf_printf(out, "%s,\"choices\":[", c->envelope);
    write_all_choices(c, out);
    buf_add_text(out, "],\"usage\":");
    wire_usage(out, &c->answer.usage, 0);
    buf_add_text(out, "}");
    return 0;
}

void completions_free(struct api_call *call)
{
    struct completions *c = call->state;
    answer_free(&c->answer);
}
