/* check.c - see job.h: every reason to refuse a job, before anything is made for it.  An option that a model
 * or a task can't honour is an error that names it.  Thread: the submitter's. */
#include <math.h>
#include <stdio.h>

#include "engine/schedule/job.h"

/* Index: the bit of ENGINE_CAN_…; as users ask for it. */
static const char *const ability_names[ENGINE_ABILITIES] = {
    "generation",    "embeddings",  "classification", "token classification", "extractive question answering",
    "masked tokens", "text to text"};

static int refuse_task(const struct served_model *m, enum engine_task task, struct error *e)
{
    char can[256];
    size_t used = 0;
    can[0] = 0;
    for (unsigned i = 0; i < ENGINE_ABILITIES && used < sizeof can; i++) {
        if (m->model->shape.abilities >> i & 1)
            used +=
                (size_t)snprintf(can + used, sizeof can - used, "%s%s", used ? ", " : "", ability_names[i]);
    }
    return error_param(e, ERROR_UNSUPPORTED, "model", "this model can't do %s (it can do: %s)",
                       ability_names[task], used ? can : "nothing");
}

static int check_tokens(const struct served_model *m, const struct engine_job *spec, struct error *e)
{
    size_t vocabulary = m->model->shape.vocabulary;
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
    for (size_t i = 0; i < spec->n_stop_tokens; i++) {
        if (spec->stop_tokens[i] < 0 || (size_t)spec->stop_tokens[i] >= vocabulary)
            return error_param(e, ERROR_INVALID_REQUEST, "stop_token_ids",
                               "token id %d is outside the vocabulary of %zu", spec->stop_tokens[i],
                               vocabulary);
    }
    return 0;
}

static int refuse_length(size_t context, size_t n, struct error *e)
{
    return error_param(e, ERROR_CONTEXT_LENGTH, "prompt",
                       "This model's maximum context length is %zu tokens, but the text has %zu", context, n);
}

/* The source has a context of its own; the decoder's holds the start token and what is generated. */
static int check_transform(const struct served_model *m, const struct engine_job *spec, struct error *e)
{
    size_t source = m->model->shape.source_context, context = m->model->context;
    if (spec->n_prompt > source)
        return refuse_length(source, spec->n_prompt, e);
    if (spec->max_tokens >= context)
        return error_param(e, ERROR_CONTEXT_LENGTH, "max_tokens",
                           "This model generates at most %zu tokens, but %zu were requested", context - 1,
                           spec->max_tokens);
    if (m->rules.start < 0)
        return error_param(e, ERROR_UNSUPPORTED, "model",
                           "the checkpoint does not say which token its decoder starts with");
    if (spec->prompt_logprobs)
        return error_param(e, ERROR_UNSUPPORTED, "prompt_logprobs",
                           "a model that reads its prompt as a source has no log probabilities for it");
    return 0;
}

static int check_beams(const struct engine_job *spec, struct error *e)
{
    const struct engine_beams *b = &spec->beams;
    if (b->beams <= 1)
        return 0;
    if (b->beams > LIMIT_BEAMS)
        return error_param(e, ERROR_INVALID_REQUEST, "beams", "at most %d beams", LIMIT_BEAMS);
    if (!isfinite(b->length_penalty))
        return error_param(e, ERROR_INVALID_REQUEST, "length_penalty", "length_penalty must be a number");
    if (spec->choices > b->beams)
        return error_param(e, ERROR_INVALID_REQUEST, "n", "%u beams can't give %u answers", b->beams,
                           spec->choices);
    if (spec->n_stop > 0)
        return error_param(e, ERROR_UNSUPPORTED, "stop", "stop strings can't be used with beams");
    if (spec->top_logprobs > 0)
        return error_param(e, ERROR_UNSUPPORTED, "top_logprobs", "top_logprobs can't be used with beams");
    if (spec->grammar)
        return error_param(e, ERROR_UNSUPPORTED, "beams", "beams can't follow a grammar");
    return 0;
}

static int check_generation(const struct served_model *m, const struct engine_job *spec, struct error *e)
{
    size_t context = m->model->context;
    if (m->model->shape.cross_layers > 0)
        TRY(check_transform(m, spec, e));
    else if (spec->n_prompt > context || spec->max_tokens > context - spec->n_prompt)
        return error_param(e, ERROR_CONTEXT_LENGTH, "prompt",
                           "This model's maximum context length is %zu tokens, but %zu were requested "
                           "(%zu in the prompt, %zu for the completion)",
                           context, spec->n_prompt + spec->max_tokens, spec->n_prompt, spec->max_tokens);
    if (spec->choices < 1 || spec->choices > LIMIT_CHOICES)
        return error_param(e, ERROR_INVALID_REQUEST, "n", "n must be between 1 and %d", LIMIT_CHOICES);
    if (spec->n_stop_tokens > LIMIT_STOP_TOKENS || spec->sampling.n_bias > LIMIT_LOGIT_BIAS)
        return error_set(e, ERROR_INVALID_REQUEST, "more stop tokens or biases than the limits allow");
    if (spec->types)
        return error_param(e, ERROR_UNSUPPORTED, "types", "token types are for encoders");
    return check_beams(spec, e);
}

static int check_masked(const struct engine_job *spec, struct error *e)
{
    if (spec->n_masked < 1 || spec->n_masked > LIMIT_MASKED)
        return error_param(e, ERROR_INVALID_REQUEST, "text", "a text must have 1 to %d masks, not %zu",
                           LIMIT_MASKED, spec->n_masked);
    for (size_t i = 0; i < spec->n_masked; i++) {
        if (spec->masked[i] >= spec->n_prompt || (i > 0 && spec->masked[i] <= spec->masked[i - 1]))
            return error_param(e, ERROR_INVALID_REQUEST, "text",
                               "masked positions must ascend inside the text");
    }
    return 0;
}

static int check_reading(const struct served_model *m, const struct engine_job *spec, struct error *e)
{
    const struct model *model = m->model;
    size_t context = model->shape.cross_layers > 0 ? model->shape.source_context : model->context;
    if (spec->n_prompt > context)
        return refuse_length(context, spec->n_prompt, e);
    if (spec->types && !model->arch->encode)
        return error_param(e, ERROR_UNSUPPORTED, "types", "token types are for encoders");
    if (spec->task == ENGINE_TASK_EMBED && spec->pooling == ENGINE_POOLING_POOLER && !model->shape.has_pooler)
        return error_param(e, ERROR_UNSUPPORTED, "pooling", "this model has no pooler");
    return spec->task == ENGINE_TASK_FILL ? check_masked(spec, e) : 0;
}

int job_check(const struct served_model *m, const struct engine_job *spec, struct error *e)
{
    if (!(m->model->shape.abilities >> spec->task & 1))
        return refuse_task(m, spec->task, e);
    if (spec->n_prompt == 0)
        return error_param(e, ERROR_INVALID_REQUEST, "prompt", "the prompt has no tokens");
    if (spec->top_logprobs > LIMIT_TOP_LOGPROBS)
        return error_param(e, ERROR_INVALID_REQUEST, "top_logprobs", "at most %d alternatives",
                           LIMIT_TOP_LOGPROBS);
    TRY(spec->task == ENGINE_TASK_GENERATE ? check_generation(m, spec, e) : check_reading(m, spec, e));
    return check_tokens(m, spec, e);
}
