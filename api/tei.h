/* tei.h - what the endpoints of Text Embeddings Inference share: its errors, and models without names.
 * A server of that API has one model; here a request may name one in the field "model", and else gets the
 * first that can do what the path asks.  Callers: tei_*.c, in begin on a worker. */
#ifndef LOQUAT_API_TEI_H
#define LOQUAT_API_TEI_H

#include "api/tasks.h"

/* {"error":text,"error_type":"Validation" …} with 413, 422, 424, 429 and 503 as that server uses them. */
extern const struct api_dialect api_tei;

/* Fields of every request, over a struct that begins with this one. */
struct tei_options {
    struct engine_text model;
    bool truncate;
};
extern const struct field tei_rows[];
enum { TEI_ROWS = 4 };

/* The model of that name, or the first that `can`.  Errors: MODEL_NOT_FOUND; UNSUPPORTED, when it can't. */
int tei_find_model(struct api_call *call, const struct tei_options *o,
                   bool (*can)(const struct engine_model_info *info), const char *what,
                   struct engine_model **out, struct error *e);

/* For tei_find_model(). */
bool tei_can_embed(const struct engine_model_info *info);

/* A label or a text with its score, to be sorted. */
struct tei_scored {
    size_t index;
    double score;
};
/* Best first; equal ones in their order. */
void tei_sort(struct tei_scored *list, size_t n);

#endif
