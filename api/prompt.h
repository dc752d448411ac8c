/* prompt.h - messages to prompt by the checkpoint's own template.
 * Callers: chat.c, models.c and whatever else talks to a chat model, on worker threads; api_render_chat() for
 * the command line.  What a user writes stays text: special tokens inside message content are not control
 * tokens. */
#ifndef LOQUAT_API_PROMPT_H
#define LOQUAT_API_PROMPT_H

#include <jansson.h>

#include "api/api.h"

/* Checks a request's list of messages and renders it.  *ids is malloc'ed, the caller's.
 * Errors: a bad message, naming its field ("messages[2].role"); UNSUPPORTED with the reason when the model
 * has no template or one that can't be run; what the template itself raises. */
int prompt_from_messages(struct api *api, struct engine_model *model, const json_t *messages,
                         struct arena *arena, int32_t **ids, size_t *n, struct error *e);

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

#endif
