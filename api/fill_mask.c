/* fill_mask.c - POST /v1/fill-mask: what a masked language model would put in place of each mask.
 * A mask is written [MASK], <mask> or as the checkpoint's own; special tokens in the text are parsed.
 * Threads: begin and advance on a worker, event on the loop. */
#include <math.h>
#include <string.h>

#include "api/endpoints.h"
#include "api/generation.h"
#include "api/tasks.h"
#include "api/wire.h"
#include "engine/base/limits.h"

struct mask_place { /* code points of the request's text */
    size_t start, end;
};

struct mask_text {
    struct mask_place places[LIMIT_MASKED];
    uint32_t tokens[LIMIT_MASKED];
    size_t n;
};

struct fill_mask {
    struct engine_text model, one_text; /* with the next two: the request */
    struct field_texts many_texts;
    int64_t top_k;

    const char *envelope;
    struct mask_text *texts;
    struct tasks tasks;
};

#define AT(member) offsetof(struct fill_mask, member)

/* clang-format off */
static const struct field fill_mask_rows[] = {
    {.name = "model", .type = FIELD_STRING, .offset = AT(model),
     .help = "name of a loaded model; absent or \"default\": the first one"},
    {.name = "text", .type = FIELD_STRING, .offset = AT(one_text), .min = 1,
     .help = "one text; masks are written [MASK], <mask> or as the model writes them"},
    {.name = "texts", .type = FIELD_STRINGS, .offset = AT(many_texts), .max = LIMIT_PROMPTS,
     .max_bytes = LIMIT_REQUEST_ARENA, .help = "several texts; a result for each"},
    {.name = "top_k", .type = FIELD_INT, .offset = AT(top_k), .min = 1, .max = LIMIT_TOP_LOGPROBS, .fallback = 5,
     .help = "candidates for each mask"},
};
/* clang-format on */
static const struct field_group fill_mask_groups[] = {FIELD_GROUP(fill_mask_rows, 0)};
const struct field_table fill_mask_fields = FIELD_TABLE(fill_mask_groups, sizeof(struct fill_mask));

/* Length of the mask that begins at text, or 0. */
static size_t mask_at(const char *text, size_t len, const char *own)
{
    const char *const ways[] = {own, "[MASK]", "<mask>"};
    for (size_t i = 0; i < 3; i++) {
        size_t n = strlen(ways[i]);
        if (n && n <= len && memcmp(text, ways[i], n) == 0)
            return n;
    }
    return 0;
}

static int refuse(const struct task_item *item, const char *what, struct error *e)
{
    char name[TASK_ITEM_NAME];
    task_item_name(item, name);
    return error_param(e, ERROR_INVALID_REQUEST, item->field, "%s has %s", name, what);
}

/* The text with every mask as the model writes it, and where they were. */
static int find_masks(struct api_call *call, const struct fill_mask *f, size_t index, struct engine_text *out,
                      struct error *e)
{
    const char *own = engine_model_info(f->tasks.model)->mask_text;
    const struct engine_text *text = &f->tasks.items[index].text;
    struct mask_text *m = &f->texts[index];
    struct buf b;
    size_t points = 0;
    buf_init(&b, LIMIT_REQUEST_ARENA);
    for (size_t i = 0; i < text->len;) {
        size_t n = mask_at(text->bytes + i, text->len - i, own);
        if (n && m->n == LIMIT_MASKED) {
            buf_free(&b);
            return refuse(&f->tasks.items[index], "more masks than this server reads in one text", e);
        }
        size_t step = n ? n : 1, chars = text_code_points(text->bytes + i, step);
        if (n)
            m->places[m->n++] = (struct mask_place){points, points + chars};
        buf_add(&b, n ? own : text->bytes + i, n ? strlen(own) : 1);
        points += chars;
        i += step;
    }
    out->len = b.len;
    out->bytes = b.failed ? NULL : arena_copy(call->arena, b.data ? b.data : "", b.len);
    buf_free(&b);
    return out->bytes ? 0 : error_no_memory(e);
}

static int find_tokens(struct fill_mask *f, size_t index, struct error *e)
{
    struct mask_text *m = &f->texts[index];
    const struct engine_model_info *info = engine_model_info(f->tasks.model);
    struct task_item *item = &f->tasks.items[index];
    size_t n = 0;
    for (size_t i = 0; i < item->encoding.n; i++) {
        if (item->encoding.ids[i] == info->mask && n++ < m->n)
            m->tokens[n - 1] = (uint32_t)i;
    }
    if (m->n == 0) {
        char name[TASK_ITEM_NAME];
        task_item_name(item, name);
        return error_param(e, ERROR_INVALID_REQUEST, item->field,
                           "%s has no mask: write %s where a word is missing", name, info->mask_text);
    }
    if (n != m->n)
        return refuse(item, "a mask that this model's tokenizer does not see as one token", e);
    item->masked = m->tokens;
    item->n_masked = n;
    return 0;
}

int fill_mask_begin(struct api_call *call, struct error *e)
{
    struct fill_mask *f = call->state;
    struct engine_model *model;
    TRY(generation_find_model(call, &f->model, &model, e));
    const struct engine_model_info *info = engine_model_info(model);
    TRY(task_need(call, model, ENGINE_CAN_FILL, "fill-mask", e));
    if (info->mask < 0 || !*info->mask_text)
        return error_param(e, ERROR_UNSUPPORTED, "model", "the tokenizer of the model %.100s has no mask",
                           info->name);
    TRY(wire_envelope(call, "fill", "fill_mask", info->name, &f->envelope, e));
    TRY(tasks_of_texts(call, &f->tasks, model, ENGINE_TASK_FILL, &f->one_text, &f->many_texts, e));
    f->texts = arena_alloc(call->arena, f->tasks.n_items, sizeof *f->texts);
    if (!f->texts)
        return error_no_memory(e);
    for (size_t i = 0; i < f->tasks.n_items; i++) {
        TRY(find_masks(call, f, i, &f->tasks.items[i].text, e));
        TRY(task_prepare(&f->tasks, i, ENGINE_ADD_SPECIAL | ENGINE_PARSE_SPECIAL, false, e));
        TRY(find_tokens(f, i, e));
    }
    f->tasks.top_logprobs = (unsigned)f->top_k;
    return tasks_go_on(call, &f->tasks, e);
}

void fill_mask_event(struct api_call *call, size_t job, const struct engine_event *event)
{
    struct fill_mask *f = call->state;
    tasks_event(&f->tasks, job, event);
}

/* Ids behind the vocabulary, which only fill a model's matrix up, have no text. */
static int write_candidate(const struct fill_mask *f, const struct engine_alternative *a, struct buf *out,
                           struct error *e)
{
    const struct engine_vocabulary *v = engine_model_vocabulary(f->tasks.model);
    struct buf text;
    size_t len;
    const char *piece = engine_token_piece(v, a->id, &len);
    int status = 0;
    buf_printf(out, "{\"id\":%d,\"token\":", a->id);
    wire_text(out, piece, len);
    buf_init(&text, LIMIT_REQUEST_ARENA);
    if ((size_t)a->id < engine_vocabulary_size(v))
        status = engine_detokenize(v, &a->id, 1, true, &text, e);
    buf_add_text(out, ",\"text\":");
    wire_text(out, text.len ? text.data : "", text.len);
    buf_free(&text);
    buf_add_text(out, ",\"score\":");
    wire_float(out, exp((double)a->logprob));
    buf_add_text(out, "}");
    return status;
}

static int write_result(struct fill_mask *f, size_t index, struct buf *out, struct error *e)
{
    const struct mask_text *m = &f->texts[index];
    size_t n;
    const struct engine_token *tokens = token_list_view(&f->tasks.items[index].tokens, &n);
    buf_printf(out, "%s{\"index\":%zu,\"masks\":[", index ? "," : "", index);
    for (size_t i = 0; i < m->n && i < n; i++) {
        buf_printf(out, "%s{\"start\":%zu,\"end\":%zu,\"candidates\":[", i ? "," : "", m->places[i].start,
                   m->places[i].end);
        for (unsigned k = 0; k < tokens[i].n_top; k++) {
            buf_add_text(out, k ? "," : "");
            TRY(write_candidate(f, &tokens[i].top[k], out, e));
        }
        buf_add_text(out, "]}");
    }
    buf_add_text(out, "]}");
    return 0;
}

int fill_mask_advance(struct api_call *call, struct error *e)
{
    struct fill_mask *f = call->state;
    TRY(tasks_go_on(call, &f->tasks, e));
    if (call->n_jobs)
        return 0;
    buf_printf(&call->out, "%s,\"results\":[", f->envelope);
    for (size_t i = 0; i < f->tasks.n_items; i++)
        TRY(write_result(f, i, &call->out, e));
    buf_add_text(&call->out, "],\"usage\":");
    wire_usage(&call->out, &f->tasks.usage, 0);
    buf_add_text(&call->out, "}");
    return 0;
}

void fill_mask_free(struct api_call *call)
{
    struct fill_mask *f = call->state;
    tasks_free(&f->tasks);
}
