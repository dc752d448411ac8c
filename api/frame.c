/* frame.c - see frame.h. */
#include "api/frame.h"

#include <stdlib.h>
#include <string.h>

#include "api/prompt.h"
#include "engine/base/limits.h"

/* Candidates for the mark: control characters, which tokenizers keep apart from letters and spaces. */
static const char *const marks[] = {"\x01", "\x02", "\x03", "\x04", "\x05", "\x06"};

static const char *free_mark(const struct frame_wording *w)
{
    for (size_t m = 0; m < sizeof marks / sizeof marks[0]; m++) {
        bool used = strstr(w->system, marks[m]) != NULL;
        for (size_t i = 0; i <= w->n_slots; i++)
            used = used || strstr(w->user[i], marks[m]) != NULL;
        if (!used)
            return marks[m];
    }
    return NULL;
}

static int copy_ids(struct arena *arena, const int32_t *ids, size_t n, struct frame_ids *out, struct error *e)
{
    int32_t *copy = arena_alloc(arena, n + 1, sizeof *copy);
    if (!copy)
        return error_no_memory(e);
    if (n)
        memcpy(copy, ids, n * sizeof *copy);
    out->ids = copy;
    out->n = n;
    return 0;
}

int frame_tokenize(struct api_call *call, struct engine_model *model, const char *text, size_t len,
                   struct frame_ids *out, struct error *e)
{
    int32_t *ids;
    size_t n;
    TRY(engine_tokenize(engine_model_vocabulary(model), text, len, 0, NULL, 0, &ids, &n, e));
    int result = copy_ids(call->arena, ids, n, out, e);
    free(ids);
    return result;
}

static bool is_mark(const struct engine_vocabulary *v, int32_t id, const char *mark)
{
    size_t len;
    const char *bytes = engine_token_bytes(v, id, &len);
    return len == strlen(mark) && memcmp(bytes, mark, len) == 0;
}

/* Cuts the rendered ids at the marks.  False when they are not all there as tokens of their own. */
static bool cut_at_marks(const struct engine_vocabulary *v, const int32_t *ids, size_t n, const char *mark,
                         size_t n_slots, struct frame_ids *parts)
{
    size_t part = 0, from = 0;
    for (size_t i = 0; i < n; i++) {
        if (!is_mark(v, ids[i], mark))
            continue;
        if (part == n_slots)
            return false;
        parts[part++] = (struct frame_ids){ids + from, i - from};
        from = i + 1;
    }
    parts[part] = (struct frame_ids){ids + from, n - from};
    return part == n_slots;
}

/* The user's message with marks for the slots. */
static void write_user(const struct frame_wording *w, const char *mark, struct buf *out)
{
    for (size_t i = 0; i <= w->n_slots; i++) {
        buf_add_text(out, i ? mark : "");
        buf_add_text(out, w->user[i]);
    }
}

static int make_chat(struct api_call *call, struct engine_model *model, const struct frame_wording *w,
                     const char *mark, struct frame *out, bool *found, struct error *e)
{
    struct buf user;
    int32_t *ids = NULL;
    size_t n = 0;
    buf_init(&user, LIMIT_TEMPLATE_OUTPUT);
    write_user(w, mark, &user);
    struct prompt_message messages[2] = {{"system", w->system, strlen(w->system)},
                                         {"user", user.data ? user.data : "", user.len}};
    int result =
        user.failed ? error_no_memory(e) : prompt_from_texts(call->api, model, messages, 2, &ids, &n, e);
    if (result == 0) {
        *found = cut_at_marks(engine_model_vocabulary(model), ids, n, mark, w->n_slots, out->parts);
        for (size_t i = 0; i <= w->n_slots && *found && result == 0; i++)
            result = copy_ids(call->arena, out->parts[i].ids, out->parts[i].n, &out->parts[i], e);
    }
    free(ids);
    buf_free(&user);
    return result;
}

/* One part of the plain prompt; only the first gets a BOS. */
static int plain_part(struct api_call *call, struct engine_model *model, const struct frame_wording *w,
                      size_t i, struct frame_ids *out, struct error *e)
{
    struct buf text;
    int32_t *ids = NULL;
    size_t n = 0;
    buf_init(&text, LIMIT_TEMPLATE_OUTPUT);
    if (i == 0)
        buf_printf(&text, "%s\n\n", w->system);
    buf_add_text(&text, w->user[i]);
    if (i == w->n_slots)
        buf_add_text(&text, w->plain_end);
    int result = text.failed
                     ? error_no_memory(e)
                     : engine_tokenize(engine_model_vocabulary(model), text.data ? text.data : "", text.len,
                                       i == 0 ? ENGINE_ADD_SPECIAL : 0, NULL, 0, &ids, &n, e);
    /* A tokenizer that closes its texts must not close this one. */
    if (result == 0 && i == 0 && n > 1 && ids[n - 1] == engine_model_info(model)->eos)
        n--;
    if (result == 0)
        result = copy_ids(call->arena, ids, n, out, e);
    free(ids);
    buf_free(&text);
    return result;
}

/* The special tokens that a text begins with go before the prefix, the others behind the slot.  A space that
 * ends the prefix belongs to the text's first token, as SentencePiece writes it. */
int frame_make_source(struct api_call *call, struct engine_model *model, const char *prefix,
                      struct frame *out, struct error *e)
{
    struct engine_encoding x = {0};
    size_t len = strlen(prefix), first = 0, last = 0;
    while (len > 0 && prefix[len - 1] == ' ')
        len--;
    memset(out, 0, sizeof *out);
    TRY(engine_encode(engine_model_vocabulary(model), len ? prefix : "a", len ? len : 1, NULL, 0,
                      ENGINE_ADD_SPECIAL, &x, e));
    while (first < x.n && x.sequence[first] != 0)
        first++;
    for (size_t i = 0; i < x.n; i++)
        last = x.sequence[i] == 0 ? i + 1 : last;
    int status = copy_ids(call->arena, x.ids, len ? last : first, &out->parts[0], e);
    if (status == 0)
        status = copy_ids(call->arena, x.ids + last, x.n - last, &out->parts[1], e);
    out->n_slots = 1;
    out->n_fixed = out->parts[0].n + out->parts[1].n;
    engine_encoding_free(&x);
    return status;
}

int frame_make(struct api_call *call, struct engine_model *model, const struct frame_wording *w,
               struct frame *out, struct error *e)
{
    struct error unused = {0};
    bool found = false;
    const char *mark = free_mark(w);
    memset(out, 0, sizeof *out);
    out->n_slots = w->n_slots;
    if (mark && call->api && prompt_chat_ready(call->api, model, &unused) == 0)
        TRY(make_chat(call, model, w, mark, out, &found, e));
    for (size_t i = 0; i <= w->n_slots; i++) {
        if (!found)
            TRY(plain_part(call, model, w, i, &out->parts[i], e));
        out->n_fixed += out->parts[i].n;
    }
    return 0;
}

int frame_fill(const struct frame *frame, size_t n_parts, const struct frame_ids *slots, size_t n_slots,
               int32_t **ids, size_t *n, struct error *e)
{
    size_t total = 0, at = 0;
    for (size_t i = 0; i < n_parts; i++)
        total += frame->parts[i].n;
    for (size_t i = 0; i < n_slots; i++)
        total += slots[i].n;
    *ids = malloc((total + 1) * sizeof **ids);
    if (!*ids)
        return error_no_memory(e);
    for (size_t i = 0; i < n_parts; i++) {
        memcpy(*ids + at, frame->parts[i].ids, frame->parts[i].n * sizeof **ids);
        at += frame->parts[i].n;
        if (i < n_slots && slots[i].n) {
            memcpy(*ids + at, slots[i].ids, slots[i].n * sizeof **ids);
            at += slots[i].n;
        }
    }
    *n = at;
    return 0;
}

/* ---- favour --------------------------------------------------------------------------------- */

struct counted {
    int32_t id;
    uint32_t count;
};

static int by_id(const void *a, const void *b)
{
    int32_t x = ((const struct counted *)a)->id, y = ((const struct counted *)b)->id;
    return (x > y) - (x < y);
}

static int by_count(const void *a, const void *b)
{
    uint32_t x = ((const struct counted *)a)->count, y = ((const struct counted *)b)->count;
    return x == y ? by_id(a, b) : (x > y) - (x < y);
}

/* Sorted by id, each once with its count; returns how many. */
static size_t count_ids(struct counted *list, size_t n)
{
    size_t kept = 0;
    qsort(list, n, sizeof *list, by_id);
    for (size_t i = 0; i < n; i++) {
        if (kept && list[kept - 1].id == list[i].id)
            list[kept - 1].count++;
        else
            list[kept++] = list[i];
    }
    return kept;
}

int frame_favour(struct api_call *call, struct engine_model *model, const struct frame_ids *slots,
                 size_t n_slots, struct engine_sampling *sampling, struct error *e)
{
    size_t total = 1, n = 0;
    int32_t eos = engine_model_info(model)->eos;
    for (size_t i = 0; i < n_slots; i++)
        total += slots[i].n;
    struct counted *list = malloc(total * sizeof *list);
    if (!list)
        return error_no_memory(e);
    for (size_t i = 0; i < n_slots; i++) {
        for (size_t k = 0; k < slots[i].n; k++)
            list[n++] = (struct counted){slots[i].ids[k], 1};
    }
    if (eos >= 0)
        list[n++] = (struct counted){eos, 0};
    n = count_ids(list, n);
    qsort(list, n, sizeof *list, by_count);
    n = n < LIMIT_LOGIT_BIAS ? n : LIMIT_LOGIT_BIAS;
    struct engine_logit_bias *bias = arena_alloc(call->arena, n + 1, sizeof *bias);
    for (size_t i = 0; i < n && bias; i++)
        bias[i] = (struct engine_logit_bias){list[i].id, FRAME_FAVOUR};
    free(list);
    sampling->bias = bias;
    sampling->n_bias = n;
    return bias ? 0 : error_no_memory(e);
}
