/* prompt.h - messages to prompt by the checkpoint's own template.
 * Callers: conversation.c, models.c and whatever else talks to a chat model, on worker threads;
 * api_render_chat() for the command line.  What a user writes stays text: special tokens inside message
 * content are not control tokens. */
#ifndef LOQUAT_API_PROMPT_H
#define LOQUAT_API_PROMPT_H

#include <jansson.h>

#include "api/api.h"
#include "api/traits.h"

/* What is rendered, in the common shape of conversation.h.  Borrowed. */
struct prompt_request {
    const json_t *messages;
    const json_t *tools;       /* NULL: none are offered */
    const json_t *documents;   /* or NULL */
    const json_t *arguments;   /* object of more variables, or NULL */
    struct engine_text effort; /* bytes NULL: not given */
    bool no_generation_prompt, continue_final;
};

struct prompt {
    int32_t *ids; /* malloc'ed, the caller's */
    size_t n;
    bool thinking; /* it ends with the mark that opens the reasoning */
};

/* Errors: UNSUPPORTED with the reason when the model has no template or one that can't be run, or when the
 * template does not use a variable that was given; what the template itself raises. */
int prompt_render(struct api *api, struct engine_model *model, const struct prompt_request *request,
                  struct prompt *out, struct error *e);

/* The same for messages that the server itself makes: {role, text} pairs.  instruction texts are the server's
 * own words but are treated as text too. */
struct prompt_message {
    const char *role; /* "system", "user", "assistant" */
    const char *text;
    size_t len;
};
int prompt_from_texts(struct api *api, struct engine_model *model, const struct prompt_message *messages,
                      size_t count, int32_t **ids, size_t *n, struct error *e);

/* 0 when the model can chat; otherwise UNSUPPORTED with the reason. */
int prompt_chat_ready(struct api *api, struct engine_model *model, struct error *e);
/* What its template can express; NULL when the model can't chat. */
const struct template_traits *prompt_traits(struct api *api, struct engine_model *model);
/* Whether its template has a variable of this name; false when the model can't chat. */
bool prompt_uses(struct api *api, struct engine_model *model, const char *name);

/* The responses that are kept; for responses*.c. */
struct response_store *api_responses(struct api *api);

#endif
