/* oip.h - what the paths of the Open Inference Protocol (version 2; KServe, Triton) share.
 * Texts travel as BYTES tensors.  Callers: oip_*.c, in begin and advance on a worker; server/ for its own
 * probes. */
#ifndef LOQUAT_API_OIP_H
#define LOQUAT_API_OIP_H

#include "api/generation.h"

#define OIP_VERSION "1" /* of every model: a checkpoint is loaded once */

/* {"error":text} */
extern const struct api_dialect api_oip;

/* The model and version that the path names.  MODEL_NOT_FOUND. */
int oip_find_model(struct api_call *call, struct engine_model **out, struct error *e);

enum oip_task { OIP_GENERATE, OIP_EMBED, OIP_CLASSIFY, OIP_TASKS };
extern const char *const oip_task_names[]; /* NULL-terminated */
/* What infer does with this model unless told otherwise; OIP_TASKS when it can do nothing here. */
enum oip_task oip_task_of(const struct engine_model_info *info);

/* Fields of "parameters" that say how to generate, over a struct generation_options. */
extern const struct field oip_rows[];
enum { OIP_ROWS = 1 };

/* A job that goes on after the text, special tokens in it being special tokens. */
int oip_fill_job(struct api_call *call, const struct generation_options *options, struct engine_model *model,
                 const struct engine_text *text, struct engine_job *job, struct error *e);

#endif
