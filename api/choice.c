/* choice.c - see choice.h. */
#include "api/choice.h"

#include <string.h>

#include "engine/base/limits.h"

void choice_tokens_init(struct token_list *list)
{
    buf_init(&list->tokens, LIMIT_REQUEST_ARENA);
    buf_init(&list->tops, LIMIT_REQUEST_ARENA);
}

void choice_tokens_free(struct token_list *list)
{
    buf_free(&list->tokens);
    buf_free(&list->tops);
}

void choice_tokens_add(struct token_list *list, const struct engine_token *tokens, size_t n)
{
    buf_add(&list->tokens, tokens, n * sizeof *tokens);
    for (size_t i = 0; i < n; i++)
        buf_add(&list->tops, tokens[i].top, tokens[i].n_top * sizeof *tokens[i].top);
}

/* The alternatives move while they grow, so pointers to them are made when the list is read. */
const struct engine_token *token_list_view(struct token_list *list, size_t *n)
{
    struct engine_token *tokens = (struct engine_token *)(void *)list->tokens.data;
    const struct engine_alternative *top = (const struct engine_alternative *)(void *)list->tops.data;
    *n = list->tokens.len / sizeof *tokens;
    for (size_t i = 0; i < *n; i++) {
        tokens[i].top = top;
        if (top)
            top += tokens[i].n_top;
    }
    return tokens;
}

size_t text_code_points(const char *text, size_t len)
{
    size_t n = 0;
    for (size_t i = 0; i < len; i++)
        n += ((unsigned char)text[i] & 0xc0) != 0x80;
    return n;
}

int answer_init(struct answer *a, struct arena *arena, size_t n_jobs, unsigned n_choices, bool keep,
                struct error *e)
{
    memset(a, 0, sizeof *a);
    struct answer_job *jobs = arena_alloc(arena, n_jobs, sizeof *jobs);
    if (!jobs)
        return error_no_memory(e);
    for (size_t j = 0; j < n_jobs; j++) {
        struct choice *choices = arena_alloc(arena, n_choices, sizeof *choices);
        if (!choices)
            return error_no_memory(e);
        for (unsigned c = 0; c < n_choices; c++) {
            buf_init(&choices[c].text, LIMIT_REQUEST_ARENA);
            choice_tokens_init(&choices[c].tokens);
        }
        choice_tokens_init(&jobs[j].prompt);
        jobs[j].choices = choices;
    }
    a->jobs = jobs;
    a->n_jobs = n_jobs;
    a->n_choices = n_choices;
    a->keep = keep;
    return 0;
}

void answer_free(struct answer *a)
{
    for (size_t j = 0; j < a->n_jobs; j++) {
        for (unsigned c = 0; c < a->n_choices; c++) {
            buf_free(&a->jobs[j].choices[c].text);
            choice_tokens_free(&a->jobs[j].choices[c].tokens);
        }
        choice_tokens_free(&a->jobs[j].prompt);
    }
    a->n_jobs = 0;
}

static bool list_failed(const struct token_list *list)
{
    return list->tokens.failed || list->tops.failed;
}

static void check_memory(struct answer *a, const struct answer_job *job, const struct choice *choice)
{
    if (list_failed(&job->prompt) || choice->text.failed || list_failed(&choice->tokens))
        error_set(&a->error, ERROR_OUT_OF_MEMORY,
                  "the answer is larger than this server's limit for one request");
}

static void take_step(struct answer *a, struct choice *choice, const struct engine_event *event)
{
    choice->chars += text_code_points(event->text, event->text_len);
    if (event->finish != ENGINE_FINISH_NONE)
        choice->finish = event->finish;
    choice->score = event->score;
    if (!a->keep)
        return;
    buf_add(&choice->text, event->text, event->text_len);
    choice_tokens_add(&choice->tokens, event->tokens, event->n_tokens);
}

static void take_final(struct answer *a, struct answer_job *job, const struct engine_event *event)
{
    job->done = true;
    usage_add(&a->usage, &event->usage);
    if (event->error) {
        if (a->error.kind == ERROR_NONE)
            a->error = *event->error;
        return;
    }
    for (unsigned c = 0; c < a->n_choices; c++) {
        if (job->choices[c].finish == ENGINE_FINISH_NONE)
            job->choices[c].finish = ENGINE_FINISH_LENGTH;
    }
}

void answer_take(struct answer *a, size_t job, const struct engine_event *event)
{
    struct answer_job *j = &a->jobs[job];
    struct choice *choice = &j->choices[event->choice < a->n_choices ? event->choice : 0];
    switch (event->kind) {
    case ENGINE_EVENT_PROMPT:
        if (event->choice == 0)
            choice_tokens_add(&j->prompt, event->tokens, event->n_tokens);
        break;
    case ENGINE_EVENT_STEP:
        take_step(a, choice, event);
        break;
    case ENGINE_EVENT_FINAL:
        take_final(a, j, event);
        break;
    case ENGINE_EVENT_RESULT: /* of tasks that make no text: tasks.c */
        break;
    }
    check_memory(a, j, choice);
}

bool answer_failed(const struct answer *a)
{
    return a->error.kind != ERROR_NONE;
}

int answer_check(const struct answer *a, struct error *e)
{
    if (!answer_failed(a))
        return 0;
    *e = a->error;
    return -1;
}

void usage_add(struct engine_usage *sum, const struct engine_usage *more)
{
    sum->prompt_tokens += more->prompt_tokens;
    sum->cached_tokens += more->cached_tokens;
    sum->completion_tokens += more->completion_tokens;
    sum->queue_ns += more->queue_ns;
    sum->prefill_ns += more->prefill_ns;
    sum->decode_ns += more->decode_ns;
}
