/* pieces.c - see pieces.h. */
#include "api/pieces.h"

#include "api/sentences.h"

/* A tokenizer may add or change bytes: then places are stretched to the text's length. */
static void stretch(size_t *at, size_t n, size_t len)
{
    size_t total = at[n];
    if (total == len)
        return;
    for (size_t i = 0; i <= n && total; i++)
        at[i] = (size_t)((double)at[i] / (double)total * (double)len);
    at[n] = len;
}

int token_text_make(struct api_call *call, struct engine_model *model, const char *text, size_t len,
                    struct token_text *out, struct error *e)
{
    const struct engine_vocabulary *v = engine_model_vocabulary(model);
    TRY(frame_tokenize(call, model, text, len, &out->tokens, e));
    size_t n = out->tokens.n, sum = 0;
    size_t *at = arena_alloc(call->arena, n + 1, sizeof *at);
    if (!at)
        return error_no_memory(e);
    for (size_t i = 0; i < n; i++) {
        size_t bytes;
        at[i] = sum;
        engine_token_bytes(v, out->tokens.ids[i], &bytes);
        sum += bytes;
    }
    at[n] = sum;
    stretch(at, n, len);
    out->text = text;
    out->len = len;
    out->at = at;
    return 0;
}

/* The best place in [low, high], the last of equals. */
static size_t best_border(const struct token_text *t, size_t low, size_t high)
{
    size_t best = high;
    enum border best_border = BORDER_NONE;
    for (size_t i = high; i >= low && best_border < BORDER_PARAGRAPH; i--) {
        enum border border = border_at(t->text, t->len, t->at[i]);
        if (border > best_border) {
            best_border = border;
            best = i;
        }
    }
    return best;
}

size_t pieces_cut(const struct token_text *t, size_t from, size_t max)
{
    if (t->tokens.n - from <= max)
        return t->tokens.n;
    return best_border(t, from + max / 2 + 1, from + max);
}

static int cut_all(const struct token_text *t, size_t max, size_t overlap, struct arena *arena,
                   struct token_range **out, size_t *n, struct error *e)
{
    /* Each one but the last moves on by more than half of max, less the overlap. */
    size_t most = t->tokens.n / (max / 2 + 1 - overlap) + 2;
    struct token_range *ranges = arena_alloc(arena, most, sizeof *ranges);
    if (!ranges)
        return error_no_memory(e);
    *n = 0;
    for (size_t from = 0; from < t->tokens.n;) {
        size_t to = pieces_cut(t, from, max);
        ranges[(*n)++] = (struct token_range){from, to};
        from = to < t->tokens.n && overlap ? best_border(t, to - overlap, to - overlap / 2) : to;
    }
    *out = ranges;
    return 0;
}

int pieces_make(const struct token_text *t, size_t max, struct arena *arena, struct token_range **out,
                size_t *n, struct error *e)
{
    return cut_all(t, max, 0, arena, out, n, e);
}

int pieces_windows(const struct token_text *t, size_t max, size_t overlap, struct arena *arena,
                   struct token_range **out, size_t *n, struct error *e)
{
    return cut_all(t, max, overlap, arena, out, n, e);
}
