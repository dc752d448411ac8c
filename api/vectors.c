/* vectors.c - see vectors.h. */
#include "api/vectors.h"

#include <stdlib.h>
#include <string.h>

#include "api/generation.h"
#include "api/wire.h"
#include "engine/base/limits.h"

/* Ids as they are; every array of the encoding is made, so that it can be cut. */
static int encoding_of_ids(const struct field_ids *ids, struct engine_encoding *out, struct error *e)
{
    size_t n = ids->n ? ids->n : 1;
    *out = (struct engine_encoding){.n = ids->n,
                                    .ids = calloc(n, sizeof *out->ids),
                                    .types = calloc(n, 1),
                                    .sequence = calloc(n, 1),
                                    .starts = calloc(n, sizeof *out->starts),
                                    .ends = calloc(n, sizeof *out->ends),
                                    .words = calloc(n, sizeof *out->words)};
    if (!out->ids || !out->types || !out->sequence || !out->starts || !out->ends || !out->words)
        return error_no_memory(e);
    memcpy(out->ids, ids->items, ids->n * sizeof *out->ids);
    return 0;
}

static int read_one(struct api_call *call, struct tasks *t, size_t i, const json_t *input, struct error *e)
{
    struct task_item *item = &t->items[i];
    struct field_ids ids;
    if (json_is_string(input)) {
        item->text = (struct engine_text){json_string_value(input), json_string_length(input)};
        return 0;
    }
    if (!json_is_array(input))
        return error_param(e, ERROR_INVALID_REQUEST, item->field,
                           "%s[%zu] must be a text or a list of token ids", item->field, i);
    TRY(fields_ids(input, item->field, LIMIT_CONTEXT, call->arena, &ids, e));
    TRY(generation_check_ids(&ids, item->field, engine_model_info(t->model)->vocabulary, e));
    return encoding_of_ids(&ids, &item->encoding, e);
}

int vectors_read(struct api_call *call, struct tasks *t, struct engine_model *model, const json_t *input,
                 const char *field, struct error *e)
{
    bool one = json_is_string(input) || json_is_number(json_array_get(input, 0));
    size_t n = one ? 1 : json_array_size(input);
    if (n == 0 || n > LIMIT_PROMPTS)
        return error_param(e, ERROR_INVALID_REQUEST, field, "%s must hold from 1 to %d texts", field,
                           LIMIT_PROMPTS);
    TRY(tasks_init(call, t, model, ENGINE_TASK_EMBED, n, e));
    for (size_t i = 0; i < n; i++) {
        t->items[i].field = field;
        t->items[i].place = one ? TASK_ALONE : (long)i;
        TRY(read_one(call, t, i, one ? input : json_array_get(input, i), e));
    }
    return 0;
}

int vectors_check_dimensions(const struct engine_model *model, int64_t dimensions, struct error *e)
{
    size_t most = engine_model_info(model)->embedding;
    if ((size_t)dimensions <= most)
        return 0;
    return error_param(e, ERROR_INVALID_REQUEST, "dimensions", "this model's vectors have %zu dimensions",
                       most);
}

size_t vectors_finish(struct task_item *item, size_t dimensions, bool normalize)
{
    size_t n = dimensions && dimensions < item->n_cols ? dimensions : item->n_cols;
    if (normalize)
        normalise(item->values, n);
    return n;
}

void vectors_write(struct buf *out, const float *x, size_t n)
{
    buf_add_text(out, "[");
    for (size_t i = 0; i < n; i++) {
        buf_add_text(out, i ? "," : "");
        wire_float(out, (double)x[i]);
    }
    buf_add_text(out, "]");
}
