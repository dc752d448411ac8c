/* fake_engine.h - the part of engine.h that api/ uses, over a toy vocabulary, and a driver of calls.
 * For unit tests of api/: no weights, no threads.  The test plays the server and the scheduler.
 * Tokens: 0..255 are bytes; then "<s>" (BOS), "</s>" (EOS), "<|im_start|>", "<|im_end|>", "<|user|>", all
 * control. */
#ifndef LOQUAT_TESTS_FAKE_ENGINE_H
#define LOQUAT_TESTS_FAKE_ENGINE_H

#include "api/api.h"

enum { FAKE_BOS = 256, FAKE_EOS, FAKE_IM_START, FAKE_IM_END, FAKE_USER, FAKE_TWIN, FAKE_VOCABULARY };
enum { FAKE_CONTEXT = 100 };

/* Forgets all models and makes these: "toy" with BOS added and the template (NULL: none), "second" without
 * BOS and without a template. */
struct engine *fake_engine(const char *chat_template);
struct engine_model *fake_model(size_t i);

struct fake_call {
    struct api_call call;
    struct error error;
};

/* Runs begin; -1 with f->error when it failed.  Paths are found in the ENDPOINT TABLE. */
int fake_begin(struct fake_call *f, struct api *api, unsigned method, const char *path, const char *body);
void fake_end(struct fake_call *f);

/* Plays events. */
void fake_step(struct fake_call *f, size_t job, unsigned choice, const char *text, const int32_t *ids,
               size_t n, enum engine_finish finish);
/* Every token gets logprob -1 - i/8 and one alternative, '!', at -0.5; the first prompt token none. */
void fake_step_logprobs(struct fake_call *f, size_t job, unsigned choice, const char *text,
                        const int32_t *ids, size_t n, enum engine_finish finish);
void fake_prompt_logprobs(struct fake_call *f, size_t job, const int32_t *ids, size_t n, bool first);
void fake_final(struct fake_call *f, size_t job, size_t prompt, size_t cached, size_t completion);
void fake_fail(struct fake_call *f, size_t job, enum error_kind kind, const char *text);
/* Drops the prompts as a server that has submitted does, then advance. */
int fake_advance(struct fake_call *f);

/* The answer parsed, a new reference; aborts the test when it is no JSON. */
json_t *fake_answer(struct fake_call *f);
/* The i-th event of a stream parsed; NULL past the last and for [DONE]. */
json_t *fake_stream_event(const struct fake_call *f, size_t i);
size_t fake_stream_events(const struct fake_call *f); /* [DONE] included */

/* Value at "choices/0/text"; NULL when there is none. */
const json_t *at(const json_t *value, const char *path);
const char *text_at(const json_t *value, const char *path); /* "" when it is no string */

#endif
