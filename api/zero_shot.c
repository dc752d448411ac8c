/* zero_shot.c - see zero_shot.h. */
#include "api/zero_shot.h"

#include <stdlib.h>
#include <string.h>

#include "api/generation.h"
#include "api/prompt.h"
#include "api/sentences.h"
#include "api/tasks.h"
#include "engine/base/limits.h"

static int check_labels(const struct field_texts *labels, size_t n_texts, struct error *e)
{
    if (labels->n < 2 || labels->n > ZERO_SHOT_LABELS || (n_texts + 1) * labels->n > LIMIT_PROMPTS)
        return error_param(e, ERROR_INVALID_REQUEST, "labels",
                           "there must be from 2 to %d labels, and texts times labels may be at most %d",
                           ZERO_SHOT_LABELS, LIMIT_PROMPTS);
    for (size_t i = 0; i < labels->n; i++) {
        for (size_t k = 0; k < i; k++) {
            if (strcmp(labels->items[i].bytes, labels->items[k].bytes) == 0)
                return error_param(e, ERROR_INVALID_REQUEST, "labels", "labels[%zu] is labels[%zu] again", i,
                                   k);
        }
        if (words_count(labels->items[i].bytes, labels->items[i].len) == 0)
            return error_param(e, ERROR_INVALID_REQUEST, "labels", "labels[%zu] is blank", i);
    }
    return 0;
}

/* The labels are not listed: small models take a list's first or last for the answer. */
static const struct frame_wording wording = {"You label texts with one word.", {"Text: ", "\nLabel:"}, 1, ""};

/* The label follows a template's last words directly, and plain ones after a space. */
static int label_ids(struct api_call *call, struct engine_model *model, const struct engine_text *label,
                     struct frame_ids *out, struct error *e)
{
    struct error none = {0};
    bool chat = call->api && prompt_chat_ready(call->api, model, &none) == 0;
    const char *text = arena_printf(call->arena, "%s%s", chat ? "" : " ", label->bytes);
    if (!text)
        return error_no_memory(e);
    return frame_tokenize(call, model, text, strlen(text), out, e);
}

static int make_job(struct api_call *call, const struct zero_shot *z, size_t index, struct engine_job *job,
                    struct error *e)
{
    const struct generation_options options = {
        .n = 1, .top_p = 1, .repetition_penalty = 1, .seed_given = true};
    const struct frame_ids *label = &z->labels[index % z->n_labels];
    int32_t *ids, *longer;
    size_t n;
    TRY(frame_fill(&z->frame, 2, &z->texts[index / z->n_labels], 1, &ids, &n, e));
    longer = realloc(ids, (n + label->n) * sizeof *ids);
    if (!longer) {
        free(ids);
        return error_no_memory(e);
    }
    memcpy(longer + n, label->ids, label->n * sizeof *ids);
    TRY(generation_fill_job(call, &options, z->model, longer, n + label->n, 0, job, e));
    job->prompt_logprobs = true;
    return 0;
}

static int next_round(struct api_call *call, struct zero_shot *z, struct error *e)
{
    size_t n = z->n_jobs - z->first < TASK_ROUND ? z->n_jobs - z->first : TASK_ROUND;
    if (n == 0)
        return 0;
    TRY(generation_make_jobs(call, n, e));
    for (size_t i = 0; i < n; i++)
        TRY(make_job(call, z, z->first + i, &call->jobs[i], e));
    return answer_init(&z->answer, call->arena, n, 1, false, e);
}

int zero_shot_begin(struct api_call *call, struct zero_shot *z, struct engine_model *model,
                    const struct field_texts *texts, const struct field_texts *labels, struct error *e)
{
    TRY(check_labels(labels, texts->n, e));
    z->model = model;
    z->n_texts = texts->n;
    z->n_labels = labels->n;
    z->n_jobs = (texts->n + 1) * labels->n;
    z->texts = arena_alloc(call->arena, texts->n + 1, sizeof *z->texts);
    z->logprobs = arena_alloc(call->arena, z->n_jobs, sizeof *z->logprobs);
    z->seen = arena_alloc(call->arena, z->n_jobs, sizeof *z->seen);
    if (!z->texts || !z->logprobs || !z->seen)
        return error_no_memory(e);
    TRY(frame_make(call, model, &wording, &z->frame, e));
    for (size_t k = 0; k < labels->n; k++)
        TRY(label_ids(call, model, &labels->items[k], &z->labels[k], e));
    for (size_t i = 0; i < texts->n; i++)
        TRY(frame_tokenize(call, model, texts->items[i].bytes, texts->items[i].len, &z->texts[i], e));
    return next_round(call, z, e);
}

/* Only the label's tokens count, which end the prompt. */
void zero_shot_event(struct zero_shot *z, size_t job, const struct engine_event *event)
{
    size_t index = z->first + job, text = index / z->n_labels, label = z->labels[index % z->n_labels].n;
    size_t prompt = z->frame.parts[0].n + z->frame.parts[1].n + z->texts[text].n;
    if (event->kind != ENGINE_EVENT_PROMPT) {
        answer_take(&z->answer, job, event);
        return;
    }
    for (size_t i = 0; i < event->n_tokens; i++) {
        size_t at = z->seen[index]++;
        if (at >= prompt && at < prompt + label)
            z->logprobs[index] += (double)event->tokens[i].logprob;
    }
}

int zero_shot_go_on(struct api_call *call, struct zero_shot *z, struct error *e)
{
    TRY(answer_check(&z->answer, e));
    usage_add(&z->usage, &z->answer.usage);
    z->first += z->answer.n_jobs;
    answer_free(&z->answer);
    return next_round(call, z, e);
}

void zero_shot_scores(const struct zero_shot *z, size_t text, float *scores)
{
    for (size_t k = 0; k < z->n_labels; k++)
        scores[k] = (float)(z->logprobs[text * z->n_labels + k] - z->logprobs[z->n_texts * z->n_labels + k]);
    softmax(scores, z->n_labels);
}
