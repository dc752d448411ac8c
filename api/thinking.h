/* thinking.h - telling a model to think before it answers, or not to, in the words of dialects that ask.
 * Callers: ollama_options.c, anthropic.c, in begin on a worker. */
#ifndef LOQUAT_API_THINKING_H
#define LOQUAT_API_THINKING_H

#include "api/api.h"

/* *arguments: variables for the template, a new reference, or NULL when it needs none.  field is what errors
 * name.  UNSUPPORTED when the model can't think, or can't be told to leave it. */
int thinking_choose(struct api_call *call, struct engine_model *model, bool wanted, const char *field,
                    json_t **arguments, struct error *e);

#endif
