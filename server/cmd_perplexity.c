/* cmd_perplexity.c - `loquat perplexity`: exp of the mean negative log-likelihood of a text.
 * Windows of --window tokens that do not overlap, each run on its own; a window's first token is not
 * scored and a last window that is not full is dropped. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "server/command.h"

struct score {
    double nll;
    size_t scored;
};

static void add_tokens(void *context, size_t job, const struct engine_event *event)
{
    struct score *score = context;
    (void)job;
    if (event->kind != ENGINE_EVENT_PROMPT)
        return;
    for (size_t i = 0; i < event->n_tokens; i++) {
        if (!event->tokens[i].has_logprob)
            continue;
        score->nll -= (double)event->tokens[i].logprob;
        score->scored++;
    }
}

static int score_window(struct engine *engine, struct engine_model *model, const int32_t *ids, size_t n,
                        struct score *score, struct error *e)
{
    struct engine_job job = {.model = model, .n_prompt = n, .choices = 1, .prompt_logprobs = true};
    engine_sampling_init(&job.sampling);
    job.prompt = malloc(n * sizeof *ids);
    if (!job.prompt)
        return error_no_memory(e);
    memcpy(job.prompt, ids, n * sizeof *ids);
    return command_run_jobs(engine, &job, 1, add_tokens, score, e);
}

static int score_file(struct engine *engine, struct engine_model *model, const struct options *o,
                      struct score *score, struct error *e)
{
    char *text;
    int32_t *ids = NULL;
    size_t len, n, window = o->window;
    int status = -1;
    TRY(command_read_all(o->file, &text, &len, e));
    if (engine_tokenize(engine_model_vocabulary(model), text, len, 0, NULL, 0, &ids, &n, e) < 0)
        goto free_text;
    if (n < window) {
        error_set(e, ERROR_INVALID_REQUEST, "the text has %zu tokens, less than one window of %zu", n,
                  window);
        goto free_ids;
    }
    status = 0;
    for (size_t at = 0; status == 0 && n - at >= window; at += window)
        status = score_window(engine, model, ids + at, window, score, e);
free_ids:
    free(ids);
free_text:
    free(text);
    return status;
}

static void print_score(const struct score *score, bool json)
{
    double mean = score->nll / (double)score->scored;
    if (json)
        printf("{\"perplexity\": %.6f, \"mean_nll\": %.6f, \"tokens_scored\": %zu}\n", exp(mean), mean,
               score->scored);
    else
        printf("perplexity %.4f\nmean_nll %.6f\ntokens_scored %zu\n", exp(mean), mean, score->scored);
}

int cmd_perplexity(const struct options *o, struct error *e)
{
    struct engine *engine;
    struct engine_model *model;
    struct score score = {0};
    if (!o->file) {
        error_param(e, ERROR_BAD_OPTION, "--file", "--file: give a text to score");
        return 2;
    }
    if (command_open_model(o, &engine, &model, e) < 0)
        return 1;
    int status = score_file(engine, model, o, &score, e);
    engine_close(engine);
    if (status == 0 && score.scored == 0)
        status = error_set(e, ERROR_INTERNAL, "no token was scored");
    if (status < 0)
        return 1;
    print_score(&score, o->json);
    return 0;
}
