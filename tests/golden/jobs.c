/* jobs.c - see jobs.h. */
#include "tests/golden/jobs.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

static void keep(struct told_token *to, const struct engine_token *from)
{
    to->id = from->id;
    to->logprob = from->logprob;
    to->n_top = from->n_top < JOB_TOP ? from->n_top : JOB_TOP;
    if (to->n_top)
        memcpy(to->top, from->top, to->n_top * sizeof *from->top);
}

static void keep_prompt(struct told *t, const struct engine_event *event)
{
    if (t->n_prompt + event->n_tokens > t->cap_prompt) {
        t->cap_prompt = 2 * (t->n_prompt + event->n_tokens);
        t->prompt = realloc(t->prompt, t->cap_prompt * sizeof *t->prompt);
    }
    for (size_t i = 0; i < event->n_tokens; i++)
        keep(&t->prompt[t->n_prompt++], &event->tokens[i]);
}

static void keep_step(struct told *t, const struct engine_event *event)
{
    struct told_choice *c = &t->choices[event->choice];
    for (size_t i = 0; i < event->n_tokens && c->n < JOB_TOKENS; i++)
        keep(&c->tokens[c->n++], &event->tokens[i]);
    size_t used = strlen(c->text), room = sizeof c->text - 1 - used;
    size_t len = event->text_len < room ? event->text_len : room;
    if (len)
        memcpy(c->text + used, event->text, len);
    c->text[used + len] = 0;
    c->finish = event->finish;
    c->score = event->score;
}

static void on_event(void *user, const struct engine_event *event)
{
    struct told *t = user;
    pthread_mutex_lock(&t->lock);
    if (event->kind == ENGINE_EVENT_STEP) {
        keep_step(t, event);
    } else if (event->kind == ENGINE_EVENT_FINAL) {
        if (event->error)
            t->error = *event->error;
        t->done = true;
        pthread_cond_signal(&t->changed);
    } else {
        keep_prompt(t, event);
    }
    if (event->kind == ENGINE_EVENT_RESULT && event->values) {
        t->n_rows = event->n_rows;
        t->n_cols = event->n_cols;
        t->values = malloc(t->n_rows * t->n_cols * sizeof *t->values);
        memcpy(t->values, event->values, t->n_rows * t->n_cols * sizeof *t->values);
    }
    pthread_mutex_unlock(&t->lock);
}

struct told *told_create(const int32_t *ids, size_t n)
{
    struct told *t = calloc(1, sizeof *t);
    pthread_mutex_init(&t->lock, NULL);
    pthread_cond_init(&t->changed, NULL);
    engine_sampling_init(&t->job.sampling);
    t->job.choices = 1;
    t->job.n_prompt = n;
    t->job.prompt = malloc((n + 1) * sizeof *ids);
    memcpy(t->job.prompt, ids, n * sizeof *ids);
    return t;
}

void job_start(struct engine *engine, struct engine_model *model, struct told *t)
{
    struct error e = {0};
    uint64_t id;
    t->job.model = model;
    t->job.on_event = on_event;
    t->job.user = t;
    ck_assert_msg(engine_submit_take(engine, &t->job, &id, &e) == 0, "%s", e.text);
}

void job_wait(struct told *t)
{
    pthread_mutex_lock(&t->lock);
    while (!t->done)
        pthread_cond_wait(&t->changed, &t->lock);
    pthread_mutex_unlock(&t->lock);
    ck_assert_msg(t->error.kind == ERROR_NONE, "%s", t->error.text);
}

void told_free(struct told *t)
{
    pthread_mutex_destroy(&t->lock);
    pthread_cond_destroy(&t->changed);
    free(t->prompt);
    free(t->values);
    free(t);
}
