/* score.c - POST /v1/score: how likely a language model finds given text, token by token.
 * The first token has no probability: nothing comes before it.
 * Threads: begin and advance on a worker, event on the loop. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "api/endpoints.h"
#include "api/generation.h"
#include "api/tasks.h"
#include "api/wire.h"
#include "engine/base/limits.h"

#define LOGPROB_FLOOR (-9999.0) /* of what can't happen, as OpenAI writes it */

struct score {
    struct engine_text model, one_text; /* with the next two: the request */
    struct field_texts many_texts;
    struct field_ids token_ids;

    struct engine_model *scored_by;
    const char *envelope;
    struct field_ids *prompts;
    size_t n_prompts, first; /* of the round */
    struct answer answer;    /* of the round */
    struct engine_usage usage;
};

#define AT(member) offsetof(struct score, member)

/* clang-format off */
static const struct field score_rows[] = {
    {.name = "model", .type = FIELD_STRING, .offset = AT(model),
     .help = "name of a loaded model; absent or \"default\": the first one"},
    {.name = "text", .type = FIELD_STRING, .offset = AT(one_text), .help = "one text"},
    {.name = "texts", .type = FIELD_STRINGS, .offset = AT(many_texts), .max = LIMIT_PROMPTS,
     .max_bytes = LIMIT_REQUEST_ARENA, .may_be_empty = true, .help = "several texts; a result for each"},
    {.name = "token_ids", .type = FIELD_IDS, .offset = AT(token_ids), .max = LIMIT_CONTEXT,
     .help = "a text as token ids, scored as they are"},
};
/* clang-format on */
static const struct field_group score_groups[] = {FIELD_GROUP(score_rows, 0)};
const struct field_table score_fields = FIELD_TABLE(score_groups, sizeof(struct score));

/* The next texts to score; results are written as rounds end. */
static int next_round(struct api_call *call, struct score *s, struct error *e)
{
    const struct generation_options options = {
        .n = 1, .top_p = 1, .repetition_penalty = 1, .seed_given = true};
    size_t n = s->n_prompts - s->first < TASK_ROUND ? s->n_prompts - s->first : TASK_ROUND;
    if (n == 0)
        return 0;
    TRY(generation_make_jobs(call, n, e));
    for (size_t i = 0; i < n; i++) {
        const struct field_ids *p = &s->prompts[s->first + i];
        int32_t *ids = malloc((p->n + 1) * sizeof *ids);
        if (!ids)
            return error_no_memory(e);
        memcpy(ids, p->items, p->n * sizeof *ids);
        TRY(generation_fill_job(call, &options, s->scored_by, ids, p->n, 0, &call->jobs[i], e));
        call->jobs[i].prompt_logprobs = true;
    }
    return answer_init(&s->answer, call->arena, n, 1, true, e);
}

static int make_prompts(struct api_call *call, struct score *s, size_t n, struct error *e)
{
    s->prompts = arena_alloc(call->arena, n, sizeof *s->prompts);
    s->n_prompts = n;
    return s->prompts ? 0 : error_no_memory(e);
}

static int read_ids(struct api_call *call, struct score *s, struct error *e)
{
    TRY(generation_check_ids(&s->token_ids, "token_ids", engine_model_info(s->scored_by)->vocabulary, e));
    TRY(make_prompts(call, s, 1, e));
    s->prompts[0] = s->token_ids;
    return 0;
}

static int read_text(struct api_call *call, struct score *s, const struct engine_text *text,
                     struct field_ids *out, struct error *e)
{
    int32_t *ids;
    TRY(engine_tokenize(engine_model_vocabulary(s->scored_by), text->bytes, text->len,
                        ENGINE_ADD_SPECIAL | ENGINE_PARSE_SPECIAL, NULL, 0, &ids, &out->n, e));
    int32_t *copy = arena_alloc(call->arena, out->n, sizeof *copy);
    if (copy && out->n)
        memcpy(copy, ids, out->n * sizeof *copy);
    free(ids);
    out->items = copy;
    return copy ? 0 : error_no_memory(e);
}

static int read_texts(struct api_call *call, struct score *s, struct error *e)
{
    struct field_texts texts;
    TRY(task_texts(&s->one_text, &s->many_texts, "text", "texts", &texts, e));
    TRY(make_prompts(call, s, texts.n, e));
    for (size_t i = 0; i < texts.n; i++)
        TRY(read_text(call, s, &texts.items[i], &s->prompts[i], e));
    return 0;
}

int score_begin(struct api_call *call, struct error *e)
{
    struct score *s = call->state;
    TRY(generation_find_model(call, &s->model, &s->scored_by, e));
    const struct engine_model_info *info = engine_model_info(s->scored_by);
    TRY(task_need(call, s->scored_by, ENGINE_CAN_GENERATE, "score", e));
    if (info->abilities & ENGINE_CAN_TRANSFORM) /* it writes a text for another one: none alone has a score */
        return task_refuse(call, s->scored_by, "score", e);
    if (s->token_ids.items && (s->one_text.bytes || s->many_texts.items))
        return error_param(e, ERROR_INVALID_REQUEST, "token_ids", "give one of text, texts and token_ids");
    TRY(wire_envelope(call, "score", "score", info->name, &s->envelope, e));
    TRY(s->token_ids.items ? read_ids(call, s, e) : read_texts(call, s, e));
    buf_printf(&call->out, "%s,\"results\":[", s->envelope);
    return next_round(call, s, e);
}

void score_event(struct api_call *call, size_t job, const struct engine_event *event)
{
    struct score *s = call->state;
    if (!answer_failed(&s->answer))
        answer_take(&s->answer, job, event);
}

static void write_result(struct score *s, size_t job, struct buf *out)
{
    const struct engine_vocabulary *v = engine_model_vocabulary(s->scored_by);
    size_t n, scored = 0;
    double total = 0;
    const struct engine_token *tokens = token_list_view(&s->answer.jobs[job].prompt, &n);
    buf_printf(out, "%s{\"index\":%zu,\"token_ids\":", s->first + job ? "," : "", s->first + job);
    wire_token_ids(out, tokens, n);
    buf_add_text(out, ",\"tokens\":[");
    for (size_t i = 0; i < n; i++) {
        buf_add_text(out, i ? "," : "");
        wire_token_label(out, v, tokens[i].id);
    }
    buf_add_text(out, "],\"logprobs\":[");
    for (size_t i = 0; i < n; i++) {
        double logprob = fmax((double)tokens[i].logprob, LOGPROB_FLOOR);
        buf_add_text(out, i ? "," : "");
        wire_float(out, tokens[i].has_logprob ? logprob : NAN);
        total += tokens[i].has_logprob ? logprob : 0;
        scored += tokens[i].has_logprob;
    }
    buf_add_text(out, "],\"total\":");
    wire_float(out, total);
    buf_add_text(out, ",\"perplexity\":");
    wire_float(out, scored ? exp(-total / (double)scored) : NAN);
    buf_add_text(out, "}");
}

int score_advance(struct api_call *call, struct error *e)
{
    struct score *s = call->state;
    TRY(answer_check(&s->answer, e));
    usage_add(&s->usage, &s->answer.usage);
    for (size_t i = 0; i < s->answer.n_jobs; i++)
        write_result(s, i, &call->out);
    s->first += s->answer.n_jobs;
    answer_free(&s->answer);
    TRY(next_round(call, s, e));
    if (call->n_jobs)
        return 0;
    buf_add_text(&call->out, "],\"usage\":");
    wire_usage(&call->out, &s->usage, 0);
    buf_add_text(&call->out, "}");
    return 0;
}

void score_free(struct api_call *call)
{
    struct score *s = call->state;
    answer_free(&s->answer);
}
