/* fuzz_request.c - libFuzzer: any body to any path, up to the job that it becomes.
 * The first byte chooses the endpoint, the rest is the body.  A request ends with jobs that keep the engine's
 * rules, an answer, or an error that says why; over a toy vocabulary, without weights.  The events of a small
 * answer follow where there are jobs to answer. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "api/api.h"
#include "engine/base/limits.h"
#include "tests/unit/fake_engine.h"

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What the fake engine's assertions do where no test of check's runs. */
void _mark_point(const char *file, int line)
{
    (void)file;
    (void)line;
}

void _ck_assert_failed(const char *file, int line, const char *expr, const char *msg, ...)
{
    (void)file;
    (void)line;
    (void)expr;
    (void)msg;
    abort();
}

static struct api *api;
static size_t n_endpoints;

static const char chatml[] =
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}{% for c in m.tool_calls or [] "
    "%}<tool_call>"
    "{{ c.function.arguments | tojson }}{% endfor %}<|im_end|>{% endfor %}{{ tools }}{{ documents }}"
    "{% if enable_thinking %}<think>{% endif %}";

static void require(bool condition)
{
    if (!condition)
        abort();
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    require(api_create(fake_engine(chatml), &api, NULL) == 0);
    api_add_model(api, fake_model(0));
    api_add_model(api, fake_model(1));
    while (api_endpoint_at(n_endpoints))
        n_endpoints++;
    return 0;
}

static void check_job(const struct engine_job *job)
{
    require(job->model && job->choices >= 1 && job->choices <= LIMIT_CHOICES);
    require(job->n_prompt > 0 && job->prompt);
    require(job->n_stop <= LIMIT_STOP_STRINGS && job->n_stop_tokens <= LIMIT_STOP_TOKENS);
    require(job->sampling.temperature >= 0 && job->sampling.n_bias <= LIMIT_LOGIT_BIAS);
    require(job->n_shown_tokens <= LIMIT_STOP_TOKENS);
}

/* A few words for the first choice of each job, as the scheduler would tell them. */
static void answer(struct fake_call *f)
{
    static const char *const words[] = {
        "<think>", "a \xc3\xa9</think>",
        "<tool_call>{\"name\": \"f\", \"arguments\": {\"x\":", " 1}}</tool_call>", ""};
    int32_t id = 'a';
    for (size_t j = 0; j < f->call.n_jobs; j++) {
        if (f->call.jobs[j].task != ENGINE_TASK_GENERATE)
            return;
    }
    size_t n = f->call.n_jobs;
    if (n == 0) /* it was answered at once */
        return;
    for (size_t j = 0; j < n; j++) {
        for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
            fake_step(f, j, 0, words[i], &id, 1, *words[i] ? ENGINE_FINISH_NONE : ENGINE_FINISH_STOP);
    }
    for (size_t j = 0; j < n; j++)
        fake_final(f, j, 3, 0, 4);
    (void)!fake_advance(f);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fake_call f;
    if (size == 0)
        return 0;
    const struct api_endpoint *p = api_endpoint_at(data[0] % n_endpoints);
    char *body = malloc(size);
    require(body != NULL);
    memcpy(body, data + 1, size - 1);
    body[size - 1] = 0;
    if (fake_begin(&f, api, p->method, p->path, body) < 0) {
        require(f.error.kind != ERROR_NONE && f.error.kind != ERROR_INTERNAL && f.error.text[0]);
    } else {
        for (size_t i = 0; i < f.call.n_jobs; i++)
            check_job(&f.call.jobs[i]);
        answer(&f);
    }
    fake_end(&f);
    free(body);
    return 0;
}
