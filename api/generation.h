/* generation.h - what requests that generate text have in common: their fields, and jobs made of them.
 * Callers: completions.c, chat.c and whatever else generates, in begin and advance on a worker thread. */
#ifndef LOQUAT_API_GENERATION_H
#define LOQUAT_API_GENERATION_H

#include "api/api.h"
#include "api/fields.h"

struct generation_options {
    struct engine_text model;
    int64_t max_tokens;
    bool max_tokens_given;
    int64_t n;
    double temperature, top_p, min_p;
    bool temperature_given;
    int64_t top_k;
    double repetition_penalty, presence_penalty, frequency_penalty;
    int64_t seed;
    bool seed_given;
    const json_t *logit_bias;
    struct field_texts stop;
    struct field_ids stop_token_ids;
    bool ignore_eos, return_token_ids;
    bool stream, include_usage;
    int64_t beams;         /* 0 and 1: sampling decides */
    double length_penalty; /* this and the next two: the checkpoint's own unless given */
    bool early_stopping;
    int64_t no_repeat_ngram;
    bool length_penalty_given, early_stopping_given, no_repeat_ngram_given;
};

/* All rows but max_tokens and the two kinds of logprobs, which differ from endpoint to endpoint. */
extern const struct field generation_rows[];
enum { GENERATION_ROWS = 26 };
/* Of these, in a run: temperature to ignore_eos, which say how one text is drawn. */
enum { SAMPLING_FIRST = 2, SAMPLING_ROWS = 13 };

/* beams, length_penalty, early_stopping, no_repeat_ngram_size: for endpoints whose models may search. */
extern const struct field beam_rows[];
enum { BEAM_ROWS = 5 };

/* As many beams as the checkpoint wants, where the request names none and draws nothing. */
void generation_own_beams(const struct engine_model *model, struct generation_options *o);

/* stream_options, for endpoints with few fields of their own: their struct begins with these options. */
extern const struct field_table generation_stream_table;

/* The model by its name; "model" absent or "default" is the first.  ERROR_MODEL_NOT_FOUND names it. */
int generation_find_model(struct api_call *call, const struct engine_text *name, struct engine_model **out,
                          struct error *e);

/* Sets call->stream, checks what the options say together, finds the model. */
int generation_begin(struct api_call *call, const struct generation_options *o, struct engine_model **out,
                     struct error *e);

/* call->jobs: n zeroed ones, with n_jobs = n.  Arena memory. */
int generation_make_jobs(struct api_call *call, size_t n, struct error *e);

/* Everything of a job but logprobs.  Takes over prompt (malloc'ed), also when it fails.
 * Errors: CONTEXT_LENGTH with both counts; a stop token or biased token outside the vocabulary. */
int generation_fill_job(struct api_call *call, const struct generation_options *o, struct engine_model *model,
                        int32_t *prompt, size_t n_prompt, size_t max_tokens, struct engine_job *job,
                        struct error *e);

/* Most tokens that the model may write after a prompt of n tokens. */
size_t generation_room(const struct engine_model *model, size_t n_prompt);

/* Every id below vocabulary, or an error that names the field and the first one that is not. */
int generation_check_ids(const struct field_ids *ids, const char *name, size_t vocabulary, struct error *e);

/* "loquat-VERSION-KERNELS". Arena memory; NULL when it is full. */
const char *generation_fingerprint(struct api_call *call);

#endif
