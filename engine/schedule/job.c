/* job.c - see job.h: how a job is made, what ends it, what it tells.  Everything a job will need to end is
 * allocated here, before it is accepted. */
#include "engine/schedule/job.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/clock.h"

static int allocate(void *pointer, size_t count, size_t size, struct error *e)
{
    void **p = pointer;
    *p = calloc(count ? count : 1, size);
    return *p ? 0 : error_no_memory(e);
}

static int copy(void *pointer, const void *from, size_t count, size_t size, struct error *e)
{
    void **p = pointer;
    *p = NULL;
    if (!from || count == 0)
        return 0;
    TRY(allocate(p, count, size, e));
    memcpy(*p, from, count * size);
    return 0;
}

/* Tokens that end the job besides the vocabulary's own. */
static size_t collect_ends(const struct job *j, int32_t *ends)
{
    const struct generation_rules *rules = &j->served->rules;
    size_t n = 0;
    for (size_t i = 0; i < rules->n_ends && !j->spec.ignore_eos; i++)
        ends[n++] = rules->ends[i];
    for (size_t i = 0; i < j->spec.n_stop_tokens; i++)
        ends[n++] = j->spec.stop_tokens[i];
    return n;
}

static int create_sampler(struct job *j, struct sequence *s, struct error *e)
{
    const struct generation_rules *rules = &j->served->rules;
    int32_t ends[GENERATION_ENDS + LIMIT_STOP_TOKENS];
    const struct sampler_setup setup = {
        .options = &j->spec.sampling,
        .choice = s->choice,
        .vocabulary = j->served->model->shape.vocabulary,
        .prompt = s->tokens,
        .n_prompt = s->n_tokens,
        .max_tokens = j->max_tokens,
        .no_repeat_ngram = j->spec.no_repeat_ngram,
        .suppressed = rules->suppressed,
        .n_suppressed = rules->n_suppressed,
        .grammar = j->spec.grammar,
        .ends = !j->spec.ignore_eos,
        .more_ends = ends,
        .n_more_ends = collect_ends(j, ends),
        .forced_bos = j->has_source ? rules->forced_bos : -1,
        .forced_eos = j->forced_eos,
    };
    return sampler_create(&setup, &s->sampler, e);
}

static int create_sequence(struct job *j, unsigned choice, struct error *e)
{
    struct sequence *s = &j->sequences[choice];
    size_t most = j->n_prefix + j->max_tokens;
    s->job = j;
    s->choice = choice;
    lookup_init(&s->lookup);
    s->state = choice == 0 ? SEQUENCE_WAITING : SEQUENCE_FOLLOWING;
    TRY(allocate(&s->tokens, most, sizeof *s->tokens, e));
    s->n_tokens = j->n_prefix;
    if (j->has_source)
        s->tokens[0] = j->served->rules.start;
    else
        memcpy(s->tokens, j->spec.prompt, j->spec.n_prompt * sizeof *s->tokens);
    if (!j->encodes)
        TRY(allocate(&s->pages, most / KV_PAGE_TOKENS + 1, sizeof(struct kv_page *), e));
    if (j->spec.task != ENGINE_TASK_GENERATE)
        return 0;
    if (j->beams)
        TRY(allocate(&s->logprobs, j->max_tokens, sizeof *s->logprobs, e));
    TRY(create_sampler(j, s, e));
    TRY(text_stream_create(j->served->tokenizer, j->spec.show_control, j->stops, &s->text, e));
    text_stream_show(s->text, j->spec.shown_tokens, j->spec.n_shown_tokens);
    return 0;
}

static int create_sequences(struct job *j, struct error *e)
{
    TRY(allocate(&j->sequences, j->n_sequences, sizeof *j->sequences, e));
    for (unsigned i = 0; i < j->n_sequences; i++)
        TRY(create_sequence(j, i, e));
    j->ranks[0] = &j->sequences[0];
    j->n_ranks = 1;
    return 0;
}

/* Arrays that the caller keeps.  The sampler copies the biases, the stop set the strings. */
static int copy_arrays(struct job *j, const struct engine_job *spec, struct error *e)
{
    j->spec.stop_tokens = NULL;
    j->spec.shown_tokens = NULL;
    j->spec.types = NULL;
    j->spec.masked = NULL;
    TRY(copy(&j->spec.stop_tokens, spec->stop_tokens, spec->n_stop_tokens, sizeof *spec->stop_tokens, e));
    TRY(copy(&j->spec.shown_tokens, spec->shown_tokens, spec->n_shown_tokens, sizeof *spec->shown_tokens, e));
    TRY(copy(&j->spec.types, spec->types, spec->n_prompt, sizeof *spec->types, e));
    TRY(copy(&j->spec.masked, spec->masked, spec->n_masked, sizeof *spec->masked, e));
    if (spec->task == ENGINE_TASK_GENERATE)
        TRY(stop_set_create(spec->stop, spec->n_stop, &j->stops, e));
    return 0;
}

static int create_source(struct job *j, struct error *e)
{
    size_t pages = j->spec.n_prompt / KV_PAGE_TOKENS + 1;
    TRY(allocate(&j->source.pages, pages, sizeof *j->source.pages, e));
    return allocate(&j->source.data, pages, sizeof *j->source.data, e);
}

static enum engine_pooling choose_pooling(const struct served_model *m, enum engine_pooling wish)
{
    enum engine_pooling pooling = wish != ENGINE_POOLING_DEFAULT ? wish : m->pooling;
    if (pooling != ENGINE_POOLING_DEFAULT)
        return pooling;
    return m->model->arch->encode ? ENGINE_POOLING_MEAN : ENGINE_POOLING_LAST;
}

/* What follows from the task and the model. */
static void derive(struct job *j)
{
    const struct served_model *m = j->served;
    const struct engine_job *spec = &j->spec;
    bool generates = spec->task == ENGINE_TASK_GENERATE;
    j->has_source = generates && m->model->shape.cross_layers > 0;
    j->encodes = !generates && m->model->arch->encode;
    j->n_prefix = j->has_source ? 1 : spec->n_prompt;
    j->max_tokens = generates ? spec->max_tokens : 0;
    if (j->has_source && m->rules.max_length_ratio > 0) {
        double most = ceil((double)m->rules.max_length_ratio * (double)spec->n_prompt);
        if (most < (double)j->max_tokens)
            j->max_tokens = (size_t)most;
    }
    j->forced_eos = spec->ignore_eos ? -1 : m->rules.forced_eos;
    j->n_sequences = generates ? spec->choices : 1;
    if (generates && spec->beams.beams > 1 && j->max_tokens > 0)
        j->n_sequences = spec->beams.beams;
    j->n_open = j->n_sequences;
    j->pooling = choose_pooling(m, spec->pooling);
}

static int fill(struct job *j, const struct engine_job *spec, struct error *e)
{
    derive(j);
    TRY(copy_arrays(j, spec, e));
    if (j->has_source)
        TRY(create_source(j, e));
    if (j->spec.task == ENGINE_TASK_EMBED)
        TRY(allocate(&j->pooled, j->served->model->shape.embedding, sizeof *j->pooled, e));
    if (j->spec.task == ENGINE_TASK_GENERATE && spec->beams.beams > 1 && j->max_tokens > 0)
        TRY(beam_search_create(&spec->beams, j->max_tokens, &j->beams, e));
    return create_sequences(j, e);
}

int job_create_take(struct served_model *m, struct engine_job *spec, struct job **out, struct error *e)
{
    int32_t *prompt = spec->prompt;
    struct job *j = NULL;
    if (job_check(m, spec, e) < 0)
        goto fail_prompt;
    j = calloc(1, sizeof *j);
    if (!j) {
        error_no_memory(e);
        goto fail_prompt;
    }
    j->spec = *spec;
    j->served = m;
    j->submitted_ns = clock_ns();
    j->usage.prompt_tokens = spec->n_prompt;
    j->spec.tag = NULL;
    grammar_share(j->spec.grammar);
    snprintf(j->tag, sizeof j->tag, "%s", spec->tag ? spec->tag : "-");
    if (fill(j, spec, e) < 0) {
        job_free(j);
        return -1;
    }
    *out = j;
    return 0;
fail_prompt:
    free(prompt);
    return -1;
}

void job_free(struct job *j)
{
    for (unsigned i = 0; j->sequences && i < j->n_sequences; i++) {
        struct sequence *s = &j->sequences[i];
        free(s->tokens);
        free(s->logprobs);
        free(s->pages);
        sampler_free(s->sampler);
        text_stream_free(s->text);
    }
    free(j->sequences);
    beam_search_free(j->beams);
    stop_set_free(j->stops);
    grammar_release(j->spec.grammar);
    free(j->source.pages);
    free(j->source.data);
    free(j->pooled);
    free((void *)(uintptr_t)j->spec.stop_tokens);
    free((void *)(uintptr_t)j->spec.shown_tokens);
    free((void *)(uintptr_t)j->spec.types);
    free((void *)(uintptr_t)j->spec.masked);
    free(j->spec.prompt);
    free(j);
}

enum work job_work(const struct job *j)
{
    if (j->encodes)
        return WORK_ENCODE;
    return j->has_source && !j->source.encoded ? WORK_SOURCE : WORK_FORWARD;
}

static bool is_in(const int32_t *ids, size_t n, int32_t id)
{
    for (size_t i = 0; i < n; i++) {
        if (ids[i] == id)
            return true;
    }
    return false;
}

bool job_is_end(const struct job *j, int32_t id)
{
    const struct generation_rules *rules = &j->served->rules;
    if (!j->spec.ignore_eos &&
        (token_ends_generation(j->served->tokenizer, id) || is_in(rules->ends, rules->n_ends, id)))
        return true;
    return is_in(j->spec.stop_tokens, j->spec.n_stop_tokens, id);
}

enum engine_finish job_finish(const struct job *j, int32_t id, size_t n)
{
    if (n == j->max_tokens && id == j->forced_eos) /* it had no choice */
        return ENGINE_FINISH_LENGTH;
    if (job_is_end(j, id))
        return ENGINE_FINISH_STOP;
    return n == j->max_tokens ? ENGINE_FINISH_LENGTH : ENGINE_FINISH_NONE;
}

void sequence_finish(struct sequence *s)
{
    s->state = SEQUENCE_DONE;
    sequence_release(s);
    source_release_idle(s->job);
    s->job->n_open--;
}

/* ---- events ---------------------------------------------------------------------------------- */

static void send(struct job *j, struct engine_event *event)
{
    event->job = j->id;
    if (!event->text)
        event->text = "";
    if (!event->time_ns)
        event->time_ns = clock_ns();
    j->spec.on_event(j->spec.user, event);
}

void job_send_step(struct job *j, const struct sequence *s, const struct engine_token *token,
                   enum engine_finish finish, int stop_index)
{
    struct engine_event event = {.kind = ENGINE_EVENT_STEP, .choice = s->choice, .finish = finish};
    event.tokens = token;
    event.n_tokens = token ? 1 : 0;
    event.text = text_stream_take(s->text, &event.text_len);
    if (stop_index >= 0)
        event.stop_string = stop_set_string(j->stops, stop_index, &event.stop_len);
    send(j, &event);
}

void job_send_hypothesis(struct job *j, unsigned choice, const struct engine_token *tokens, size_t n,
                         enum engine_finish finish, double score)
{
    struct engine_event event = {.kind = ENGINE_EVENT_STEP, .choice = choice, .tokens = tokens};
    event.n_tokens = n;
    event.text = text_stream_take(j->sequences[choice].text, &event.text_len);
    event.finish = finish;
    event.score = score;
    send(j, &event);
}

void job_send_prompt(struct job *j, const struct engine_token *tokens, size_t n)
{
    struct engine_event event = {.kind = ENGINE_EVENT_PROMPT, .tokens = tokens, .n_tokens = n};
    send(j, &event);
}

void job_send_result(struct job *j, const float *values, size_t rows, size_t cols,
                     const struct engine_token *tokens, size_t n_tokens)
{
    struct engine_event event = {.kind = ENGINE_EVENT_RESULT, .values = values, .tokens = tokens};
    event.n_rows = rows;
    event.n_cols = cols;
    event.n_tokens = n_tokens;
    send(j, &event);
}

void job_send_final(struct job *j, const struct error *error)
{
    uint64_t now = clock_ns();
    j->usage.queue_ns = (j->started ? j->started_ns : now) - j->submitted_ns;
    if (j->started) {
        uint64_t first = j->first_token_ns ? j->first_token_ns : now;
        j->usage.prefill_ns = first - j->started_ns;
        j->usage.decode_ns = now - first;
    }
    struct engine_event event = {.kind = ENGINE_EVENT_FINAL, .usage = j->usage, .error = error};
    event.time_ns = now;
    send(j, &event);
}
