/* fake_engine.h - the part of engine.h that api/ uses, over a toy vocabulary, and a driver of calls.
 * For unit tests of api/: no weights, no threads.  The test plays the server and the scheduler.
 * Tokens: 0..255 are bytes; then "<s>" (BOS), "</s>" (EOS), "<|im_start|>", "<|im_end|>", "<|user|>", all
 * control, and "a" as a twin of the byte.  Pieces are the same, but "##z" for z and ">>fra<<" for
 * "<|im_end|>".
 * engine_encode() reads as BERT does: "<s>" text "</s>", and pair "</s>" of type 1; one token a character
 * (its first byte), none for a space, words between spaces and round punctuation. */
#ifndef LOQUAT_TESTS_FAKE_ENGINE_H
#define LOQUAT_TESTS_FAKE_ENGINE_H

#include "api/api.h"

enum { FAKE_BOS = 256, FAKE_EOS, FAKE_IM_START, FAKE_IM_END, FAKE_USER, FAKE_TWIN, FAKE_VOCABULARY };
enum { FAKE_CONTEXT = 100 };

/* Forgets all models and makes these: "toy" with BOS added and the template (NULL: none), "second" without
 * BOS and without a template.  Both can generate and nothing else. */
struct engine *fake_engine(const char *chat_template);
struct engine_model *fake_model(size_t i);
struct engine_model_info *fake_info(size_t i); /* to be changed by the test */
/* An encoder-decoder: its source ends with "</s>", no BOS; a source of 60 tokens, an answer of 39. */
void fake_transforms(size_t i);

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
/* The RESULT of a job, (rows, cols), and its FINAL. */
void fake_result(struct fake_call *f, size_t job, const float *values, size_t rows, size_t cols);
/* The same of FILL: n masks with the same n_top alternatives each. */
void fake_filled(struct fake_call *f, size_t job, size_t n, const struct engine_alternative *top,
                 unsigned n_top);
/* A whole hypothesis of a beam search; ids are the text's bytes and EOS, of log probability -0.5 each. */
void fake_hypothesis(struct fake_call *f, size_t job, unsigned choice, const char *text,
                     enum engine_finish finish, double score);
/* Drops the prompts as a server that has submitted does, then advance. */
int fake_advance(struct fake_call *f);

/* Begin and advance that have to succeed.  fake_done() returns the answer of a call that is over. */
void fake_begin_ok(struct fake_call *f, struct api *api, const char *path, const char *body);
json_t *fake_done(struct fake_call *f);
/* Begin that has to fail so. */
void fake_refused(struct api *api, const char *path, const char *body, enum error_kind kind,
                  const char *param, const char *message);
/* What a job's prompt says, special tokens by name; static memory. */
const char *fake_prompt(const struct fake_call *f, size_t job);

/* The job that the last engine_cancel() was about, once; 0 when there was none. */
uint64_t fake_cancelled(void);

/* The answer parsed, a new reference; aborts the test when it is no JSON. */
json_t *fake_answer(struct fake_call *f);
/* The i-th event of a stream parsed; NULL past the last and for [DONE]. */
json_t *fake_stream_event(const struct fake_call *f, size_t i);
size_t fake_stream_events(const struct fake_call *f); /* [DONE] included */

/* Value at "choices/0/text"; NULL when there is none. */
const json_t *at(const json_t *value, const char *path);
const char *text_at(const json_t *value, const char *path); /* "" when it is no string */
double number_at(const json_t *value, const char *path);

#endif
