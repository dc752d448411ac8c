/* job.c - see job.h.  Everything a job will need to end is allocated here, before it is accepted. */
#include "engine/schedule/job.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/clock.h"
#include "engine/cache/prefix_tree.h"
#include "engine/models/arch.h"

static int check_spec(const struct served_model *m, const struct engine_job *spec, struct error *e)
{
    size_t vocabulary = m->model->shape.vocabulary, context = m->model->context;
    if (spec->n_prompt == 0)
        return error_param(e, ERROR_INVALID_REQUEST, "prompt", "the prompt has no tokens");
    if (spec->n_prompt > context || spec->max_tokens > context - spec->n_prompt)
        return error_param(e, ERROR_CONTEXT_LENGTH, "prompt",
                           "This model's maximum context length is %zu tokens, but %zu were requested "
                           "(%zu in the prompt, %zu for the completion)",
                           context, spec->n_prompt + spec->max_tokens, spec->n_prompt, spec->max_tokens);
    if (spec->choices < 1 || spec->choices > LIMIT_CHOICES)
        return error_param(e, ERROR_INVALID_REQUEST, "n", "n must be between 1 and %d", LIMIT_CHOICES);
    if (spec->top_logprobs > LIMIT_TOP_LOGPROBS || spec->n_stop_tokens > LIMIT_STOP_TOKENS ||
        spec->sampling.n_bias > LIMIT_LOGIT_BIAS)
        return error_set(e, ERROR_INVALID_REQUEST,
                         "more logprobs, stop tokens or biases than the limits allow");
    for (size_t i = 0; i < spec->n_prompt; i++) {
        if (spec->prompt[i] < 0 || (size_t)spec->prompt[i] >= vocabulary)
            return error_param(e, ERROR_INVALID_REQUEST, "prompt",
                               "token id %d is outside the vocabulary of %zu", spec->prompt[i], vocabulary);
    }
    for (size_t i = 0; i < spec->sampling.n_bias; i++) {
        if (spec->sampling.bias[i].token < 0 || (size_t)spec->sampling.bias[i].token >= vocabulary)
            return error_param(e, ERROR_INVALID_REQUEST, "logit_bias",
                               "token id %d is outside the vocabulary of %zu", spec->sampling.bias[i].token,
                               vocabulary);
    }
    return 0;
}

static int create_sequence(struct job *j, unsigned choice, struct error *e)
{
    struct sequence *s = &j->sequences[choice];
    size_t most = j->spec.n_prompt + j->spec.max_tokens;
    s->job = j;
    s->choice = choice;
    s->state = choice == 0 ? SEQUENCE_WAITING : SEQUENCE_FOLLOWING;
    s->tokens = malloc(most * sizeof *s->tokens);
    s->pages = calloc(most / KV_PAGE_TOKENS + 1, sizeof(struct kv_page *));
    if (!s->tokens || !s->pages)
        return error_no_memory(e);
    memcpy(s->tokens, j->spec.prompt, j->spec.n_prompt * sizeof *s->tokens);
    s->n_tokens = j->spec.n_prompt;
    TRY(sampler_create(&j->spec.sampling, choice, j->served->model->shape.vocabulary, s->tokens, s->n_tokens,
                       &s->sampler, e));
    return text_stream_create(j->served->tokenizer, j->spec.show_control, j->stops, &s->text, e);
}

static int copy_stop_tokens(struct job *j, const struct engine_job *spec, struct error *e)
{
    j->spec.stop_tokens = NULL;
    if (spec->n_stop_tokens == 0)
        return 0;
    int32_t *copy = malloc(spec->n_stop_tokens * sizeof *copy);
    if (!copy)
        return error_no_memory(e);
    memcpy(copy, spec->stop_tokens, spec->n_stop_tokens * sizeof *copy);
    j->spec.stop_tokens = copy;
    return 0;
}

int job_create_take(struct served_model *m, struct engine_job *spec, struct job **out, struct error *e)
{
    int32_t *prompt = spec->prompt;
    struct job *j = NULL;
    if (check_spec(m, spec, e) < 0)
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
    j->n_open = spec->choices;
    j->spec.tag = NULL;
    snprintf(j->tag, sizeof j->tag, "%s", spec->tag ? spec->tag : "-");
    if (copy_stop_tokens(j, spec, e) < 0 || stop_set_create(spec->stop, spec->n_stop, &j->stops, e) < 0)
        goto fail_job;
    j->sequences = calloc(spec->choices, sizeof *j->sequences);
    if (!j->sequences) {
        error_no_memory(e);
        goto fail_job;
    }
    for (unsigned i = 0; i < spec->choices; i++) {
        if (create_sequence(j, i, e) < 0)
            goto fail_job;
    }
    *out = j;
    return 0;
fail_job:
    job_free(j);
    return -1;
fail_prompt:
    free(prompt);
    return -1;
}

void job_free(struct job *j)
{
    for (unsigned i = 0; j->sequences && i < j->spec.choices; i++) {
        struct sequence *s = &j->sequences[i];
        free(s->tokens);
        free(s->pages);
        sampler_free(s->sampler);
        text_stream_free(s->text);
    }
    free(j->sequences);
    stop_set_free(j->stops);
    free((void *)(uintptr_t)j->spec.stop_tokens);
    free(j->spec.prompt);
    free(j);
}

void sequence_release_pages(struct sequence *s)
{
    while (s->n_pages > 0)
        kv_page_unref(s->pages[--s->n_pages]);
    s->n_computed = 0;
    s->n_known_pages = 0;
    s->prefix_node = 0;
    s->prefix_chain_ended = false;
}

/* The page that the next token goes into may still be shared with the other choices: copy it. */
static bool own_last_page(struct sequence *s)
{
    size_t i = s->n_computed / KV_PAGE_TOKENS;
    if (s->n_computed % KV_PAGE_TOKENS == 0 || i >= s->n_pages || s->pages[i]->refs == 1)
        return true;
    struct kv_page *copy = kv_page_take(s->job->served->cache);
    if (!copy)
        return false;
    const struct model *m = s->job->served->model;
    memcpy(copy->data, s->pages[i]->data, model_page_bytes(&m->shape, m->kv_dtype));
    kv_page_unref(s->pages[i]);
    s->pages[i] = copy;
    return true;
}

bool sequence_take_pages(struct sequence *s, size_t n)
{
    if (!own_last_page(s))
        return false;
    size_t need = (s->n_computed + n + KV_PAGE_TOKENS - 1) / KV_PAGE_TOKENS;
    for (; s->n_pages < need; s->n_pages++) {
        struct kv_page *page = kv_page_take(s->job->served->cache);
        if (!page)
            return false;
        s->pages[s->n_pages] = page;
    }
    return true;
}

void sequence_find_prefix(struct sequence *s)
{
    size_t n = prefix_find(s->job->served->prefixes, s->job->spec.cache_salt, s->tokens, s->n_tokens - 1,
                           s->pages, &s->prefix_node);
    s->n_pages = s->n_known_pages = n;
    s->n_computed = n * KV_PAGE_TOKENS;
}

void sequence_keep_prefix(struct sequence *s)
{
    while (!s->prefix_chain_ended && (s->n_known_pages + 1) * KV_PAGE_TOKENS <= s->n_computed) {
        size_t i = s->n_known_pages;
        s->prefix_node = prefix_insert(s->job->served->prefixes, s->job->spec.cache_salt, s->prefix_node,
                                       s->tokens + i * KV_PAGE_TOKENS, s->pages[i]);
        s->prefix_chain_ended = s->prefix_node == 0;
        s->n_known_pages++;
    }
}

void sequence_fork(struct sequence *follower, const struct sequence *from)
{
    for (size_t i = 0; i < from->n_pages; i++) {
        kv_page_ref(from->pages[i]);
        follower->pages[i] = from->pages[i];
    }
    follower->n_pages = from->n_pages;
    follower->n_computed = from->n_computed;
    follower->n_known_pages = from->n_known_pages;
    follower->prefix_node = from->prefix_node;
    follower->prefix_chain_ended = from->prefix_chain_ended;
    follower->state = SEQUENCE_RUNNING;
}

void job_send_step(struct job *j, const struct sequence *s, const struct engine_token *token,
                   enum engine_finish finish, int stop_index)
{
    struct engine_event event = {
        .kind = ENGINE_EVENT_STEP, .job = j->id, .choice = s->choice, .finish = finish};
    event.tokens = token;
    event.n_tokens = token ? 1 : 0;
    event.text = text_stream_take(s->text, &event.text_len);
    if (stop_index >= 0)
        event.stop_string = stop_set_string(j->stops, stop_index, &event.stop_len);
    event.time_ns = clock_ns();
    j->spec.on_event(j->spec.user, &event);
}

void job_send_prompt(struct job *j, const struct engine_token *tokens, size_t n)
{
    const struct engine_event event = {.kind = ENGINE_EVENT_PROMPT,
                                       .job = j->id,
                                       .tokens = tokens,
                                       .n_tokens = n,
                                       .text = "",
                                       .time_ns = clock_ns()};
    j->spec.on_event(j->spec.user, &event);
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
    const struct engine_event event = {.kind = ENGINE_EVENT_FINAL,
                                       .job = j->id,
                                       .text = "",
                                       .time_ns = now,
                                       .usage = j->usage,
                                       .error = error};
    j->spec.on_event(j->spec.user, &event);
}
