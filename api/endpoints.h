/* endpoints.h - the functions behind the rows of the ENDPOINT TABLE, for endpoint.c alone.
 * What begin, event, advance and free promise is said in api.h. */
#ifndef LOQUAT_API_ENDPOINTS_H
#define LOQUAT_API_ENDPOINTS_H

#include "api/api.h"
#include "api/fields.h"

extern const struct field_table completions_fields;
int completions_begin(struct api_call *call, struct error *e);
void completions_event(struct api_call *call, size_t job, const struct engine_event *event);
int completions_advance(struct api_call *call, struct error *e);
void completions_free(struct api_call *call);

extern const struct field_table chat_fields;
int chat_begin(struct api_call *call, struct error *e);
void chat_event(struct api_call *call, size_t job, const struct engine_event *event);
int chat_advance(struct api_call *call, struct error *e);
void chat_free(struct api_call *call);

extern const struct field_table summarize_fields;
int summarize_begin(struct api_call *call, struct error *e);
void summarize_event(struct api_call *call, size_t job, const struct engine_event *event);
int summarize_advance(struct api_call *call, struct error *e);
void summarize_free(struct api_call *call);

extern const struct field_table qa_fields;
int qa_begin(struct api_call *call, struct error *e);
void qa_event(struct api_call *call, size_t job, const struct engine_event *event);
int qa_advance(struct api_call *call, struct error *e);
void qa_free(struct api_call *call);

int models_list_begin(struct api_call *call, struct error *e);
int models_one_begin(struct api_call *call, struct error *e);

extern const struct field_table tokenize_fields;
int tokenize_begin(struct api_call *call, struct error *e);
extern const struct field_table detokenize_fields;
int detokenize_begin(struct api_call *call, struct error *e);

#endif
