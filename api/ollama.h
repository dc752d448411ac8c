/* ollama.h - what the endpoints of Ollama's API share: errors, lines of JSON, names of models, times.
 * Callers: ollama_*.c; times and names on any thread. */
#ifndef LOQUAT_API_OLLAMA_H
#define LOQUAT_API_OLLAMA_H

#include "api/api.h"

/* {"error":text}; streams are lines of JSON, and nothing but answers may stand in them. */
extern const struct api_dialect api_ollama;

/* "name" or "name:latest".  NULL or "": the first model.  MODEL_NOT_FOUND names it. */
int ollama_find_model(struct api_call *call, const struct engine_text *name, struct engine_model **out,
                      struct error *e);

/* The request's own word for the model as a JSON string, else the model's name with its tag. */
void ollama_write_name(struct buf *out, const struct engine_text *asked, const struct engine_model *model);
/* A moment as RFC 3339 has it, a JSON string. */
void ollama_write_time(struct buf *out, int64_t seconds, long nanoseconds);
void ollama_write_now(struct buf *out);
/* {"parent_model","format","family","families","parameter_size","quantization_level"} */
void ollama_write_details(struct buf *out, const struct engine_model_info *info);

#endif
