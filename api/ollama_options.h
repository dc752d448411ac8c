/* ollama_options.h - what Ollama's two ways to generate share: their options, the model, a job that fits.
 * Callers: ollama_generate.c and ollama_chat.c, in begin on a worker. */
#ifndef LOQUAT_API_OLLAMA_OPTIONS_H
#define LOQUAT_API_OLLAMA_OPTIONS_H

#include "api/conversation.h"
#include "api/generation.h"

struct ollama_options {
    struct generation_options generation; /* with the next six: the request */
    int64_t num_predict, num_ctx, repeat_last_n;
    const json_t *think;  /* true, false or an effort; NULL: not given */
    const json_t *format; /* "json", a schema, or NULL */
    bool repeat_last_n_given;
};

/* Rows of both requests, over a struct that begins with these options. */
extern const struct field ollama_rows[];
enum { OLLAMA_ROWS = 8 };

/* Fills generation from the rest, sets call->stream, finds a model that writes.  Errors name the field. */
int ollama_options_begin(struct api_call *call, struct ollama_options *o, struct engine_model **out,
                         struct error *e);

/* Says what `think` asks for in the request's words: variables of the template (a new reference in
 * *arguments, or NULL) and the effort.  UNSUPPORTED when the model can't think, or can't leave it. */
int ollama_think(struct api_call *call, const struct ollama_options *o, struct engine_model *model,
                 struct conversation_request *request, json_t **arguments, struct error *e);

/* What `format` holds the answer to, or NULL.  Errors: a schema that can't be enforced. */
int ollama_format(struct api_call *call, const struct ollama_options *o, struct engine_model *model,
                  struct engine_grammar **out, struct error *e);

/* Holds the job to num_ctx and to the model's context; CONTEXT_LENGTH with the counts. */
int ollama_fit(const struct ollama_options *o, struct engine_job *job, struct error *e);

/* Whether an empty request is to unload: keep_alive is 0. */
bool ollama_unloads(const struct api_call *call);

/* {"model":…,"created_at":…, as every line begins. */
void ollama_write_head(struct buf *out, const struct ollama_options *o, const struct engine_model *model);
/* "done":true,"done_reason":… and the counts and durations, to the closing brace. */
void ollama_write_end(struct api_call *call, enum chat_finish finish, const struct engine_usage *usage);

#endif
