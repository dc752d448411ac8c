/* jobs.h - runs engine jobs to their end and keeps what their events said: for tests that compare with
 * references. */
#ifndef LOQUAT_TESTS_JOBS_H
#define LOQUAT_TESTS_JOBS_H

#include <pthread.h>

#include "engine/engine.h"

enum { JOB_TOP = 10, JOB_TOKENS = 512, JOB_CHOICES = 8 };

struct told_token {
    int32_t id;
    float logprob;
    unsigned n_top;
    struct engine_alternative top[JOB_TOP];
};

struct told_choice {
    struct told_token tokens[JOB_TOKENS];
    size_t n;
    enum engine_finish finish;
    double score;
    char text[4096];
};

/* One job.  Zero it, fill `job` but for model, on_event and user, then job_start(); several may run at once.
 */
struct told {
    struct engine_job job;
    struct told_token *prompt; /* of PROMPT events and of RESULT tokens */
    size_t n_prompt, cap_prompt;
    struct told_choice choices[JOB_CHOICES];
    float *values;
    size_t n_rows, n_cols;
    bool done;
    struct error error;
    pthread_mutex_t lock;
    pthread_cond_t changed;
};

struct told *told_create(const int32_t *ids, size_t n);
void job_start(struct engine *engine, struct engine_model *model,
               struct told *t); /* a refusal fails the test */
void job_wait(struct told *t);  /* an error fails the test */
void told_free(struct told *t);

#endif
