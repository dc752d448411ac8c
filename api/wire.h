/* wire.h - pieces of JSON that several endpoints answer with, appended to a buf.
 * Callers: endpoints, in event (loop thread) and advance (worker).  Nothing here blocks or keeps state. */
#ifndef LOQUAT_API_WIRE_H
#define LOQUAT_API_WIRE_H

#include "api/api.h"
#include "api/choice.h"
#include "api/speech.h"

/* {"id":"PREFIX-REQUESTID","object":…,"created":…,"model":…,"system_fingerprint":… without the closing brace.
 * Arena memory: made once in begin, written before every chunk. */
int wire_envelope(struct api_call *call, const char *prefix, const char *object, const char *model,
                  const char **out, struct error *e);

void wire_text(struct buf *out, const char *text, size_t len); /* a JSON string */
/* A token as logprobs name it: its text, or "bytes:\xe2\x80" where that is part of a character. */
void wire_token_label(struct buf *out, const struct engine_vocabulary *v, int32_t id);
/* A number as short as a float comes back from; what is not finite becomes null. */
void wire_float(struct buf *out, double x);
void wire_finish_reason(struct buf *out, enum engine_finish finish); /* "stop", "length" or null */
void wire_chat_finish(struct buf *out, enum chat_finish finish);     /* also "tool_calls" */
void wire_token_ids(struct buf *out, const struct engine_token *tokens, size_t n);
/* reasoning_tokens: those of usage->completion_tokens that are no answer. */
void wire_usage(struct buf *out, const struct engine_usage *usage, size_t reasoning_tokens);

/* The last events of a stream: a chunk with the usage unless it is NULL, and [DONE]. */
void wire_stream_end(struct buf *out, const char *envelope, const struct engine_usage *usage,
                     size_t reasoning_tokens);

/* {"content":[{token,logprob,bytes,top_logprobs}],"refusal":null} */
void wire_chat_logprobs(struct buf *out, const struct engine_vocabulary *v, const struct engine_token *tokens,
                        size_t n);

/* A run of tokens whose text follows that of the run before. */
struct wire_run {
    const struct engine_token *tokens;
    size_t n;
    size_t hidden;      /* tokens at its start that are not in the text: an added BOS */
    bool shows_control; /* control tokens are in the text: true of a prompt */
};

/* {"tokens","token_logprobs","top_logprobs","text_offset"} over all runs.  Offsets go on from *offsets, which
 * is moved, and are at most `end`, the code points of the whole text where that is known (SIZE_MAX where
 * not): tokens behind a stop string have no place in it. */
void wire_completion_logprobs(struct buf *out, const struct engine_vocabulary *v, const struct wire_run *runs,
                              size_t n_runs, struct text_offsets *offsets, size_t end);

#endif
