/* choice.h - collects what the engine's events say about the choices of a round's jobs.
 * Callers: endpoints; answer_take() in event on the loop thread, the rest in begin and advance on a worker.
 * Bounds: each buffer stops at LIMIT_REQUEST_ARENA, which turns into an error of the whole answer. */
#ifndef LOQUAT_API_CHOICE_H
#define LOQUAT_API_CHOICE_H

#include "engine/base/arena.h"
#include "engine/base/buf.h"
#include "engine/engine.h"

/* Tokens with their alternatives, copied out of events. */
struct token_list {
    struct buf tokens; /* of struct engine_token; `top` is set by token_list_view() */
    struct buf tops;   /* of struct engine_alternative, n_top for each token in turn */
};

/* Code points of the returned text before the next token. */
struct text_offsets {
    size_t chars;
};

struct choice {
    struct buf text; /* UTF-8; kept when answer.keep is set, as are the tokens */
    struct token_list tokens;
    enum engine_finish finish;
    bool started; /* for streaming endpoints: its first chunk is out */
    struct text_offsets offsets;
    double score; /* of a beam's hypothesis */
    size_t chars; /* code points of text so far, prompt echo not counted */
};

struct answer_job {
    struct choice *choices;
    struct token_list prompt; /* of PROMPT events */
    bool done;
};

struct answer {
    struct answer_job *jobs;
    size_t n_jobs;
    unsigned n_choices;        /* of every job */
    bool keep;                 /* text and tokens are wanted at the end; false for what is streamed */
    struct engine_usage usage; /* sum over finished jobs */
    struct error error;        /* the first failure; kind is ERROR_NONE while all is well */
};

int answer_init(struct answer *a, struct arena *arena, size_t n_jobs, unsigned n_choices, bool keep,
                struct error *e);
void answer_free(struct answer *a); /* also one that is all zero; the arena holds the rest */

/* Takes over what an event says.  A choice without an end when its job ends well has ended by length. */
void answer_take(struct answer *a, size_t job, const struct engine_event *event);
bool answer_failed(const struct answer *a);
/* -1 with the first failure in e: for advance. */
int answer_check(const struct answer *a, struct error *e);

/* A list by itself; choice_tokens_free() also ends one that is all zero. */
void choice_tokens_init(struct token_list *list);
void choice_tokens_add(struct token_list *list, const struct engine_token *tokens, size_t n);
void choice_tokens_free(struct token_list *list);
/* The tokens in order; valid until the next answer_take(). */
const struct engine_token *token_list_view(struct token_list *list, size_t *n);

void usage_add(struct engine_usage *sum, const struct engine_usage *more);
size_t text_code_points(const char *text, size_t len); /* of UTF-8 */

#endif
