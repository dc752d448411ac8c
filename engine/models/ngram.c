/* ngram.c - back-off n-gram language models (Katz, 1987; Kneser & Ney, 1995, as KenLM and SRILM write both):
 *     p(w | h) = the n-gram's own probability where the file lists h w, else backoff(h) * p(w | h without its
 * first) A row of logits is the whole distribution: unigrams, over which the words that each longer suffix of
 * the context lists are laid.  Tensors, for n = 1 … order, in a file's own order: "ngram.N.tokens" (count, N)
 * int32, "ngram.N.logprob" and "ngram.N.backoff" (count) log10; the backoff of the highest order may be
 * absent. A sequence's state is its last order-1 tokens.  There is no matrix work. Thread: load on the
 * loader's, forward on the scheduler's. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/models/blocks.h"
#include "engine/models/names.h"

enum { MOST_ORDERS = 16 };

/* Nothing is remembered for longer than order-1 tokens; this one bounds a request. */
static const size_t trained_context = 1 << 20;
/* log10 of a word that the file has no unigram for, as KenLM's default is. */
static const float unknown_logprob = -100;

union cell {
    int32_t token;
    float value;
};

/* N-grams of one order, sorted by their tokens; a record is n tokens, log p, log backoff. */
struct order {
    size_t n, count;
    union cell *records;
};

struct ngram {
    struct model base;
    size_t order;
    int32_t begin;                     /* <s>: never comes again; -1 when there is none */
    float *unigrams, *unigram_backoff; /* (vocabulary) natural logarithms */
    struct order orders[MOST_ORDERS];  /* [k] of k+1 tokens; [0] unused */
    struct context *contexts;          /* of the last batch's logit rows */
    size_t cap_contexts;
};

struct state {
    uint32_t n;
    int32_t tokens[]; /* the last n, at most order-1 */
};

struct context {
    size_t n;
    union cell tokens[MOST_ORDERS];
};

static size_t record_cells(const struct order *o)
{
    return o->n + 2;
}

static const union cell *record(const struct order *o, size_t i)
{
    return o->records + i * record_cells(o);
}

/* ---- shape ------------------------------------------------------------------------------------- */

static const struct tensor_info *find_tokens(const struct checkpoint *c, size_t n)
{
    char name[48];
    snprintf(name, sizeof name, "ngram.%zu.tokens", n);
    return c->tensors->find(c->tensors, name);
}

static int read_shape(const struct checkpoint *c, struct ngram *m, struct error *e)
{
    struct model_shape *s = &m->base.shape;
    const struct tensor_info *t;
    while (m->order < MOST_ORDERS && (t = find_tokens(c, m->order + 1))) {
        size_t n = ++m->order;
        if (t->dtype != DTYPE_I32 || t->n_dims > 2 || t->dims[0] != n || t->dims[1] == 0)
            return error_set(e, ERROR_BAD_FORMAT, "tensor %s must be a matrix of %zu integer columns",
                             t->name, n);
        s->parameters += 2 * t->dims[1];
        m->orders[n - 1] = (struct order){.n = n, .count = t->dims[1]};
    }
    if (m->order == 0)
        return error_set(e, ERROR_BAD_FORMAT, "tensor ngram.1.tokens is missing");
    if (find_tokens(c, m->order + 1))
        return error_set(e, ERROR_UNSUPPORTED, "n-grams of more than %d tokens", MOST_ORDERS);
    s->vocabulary = m->orders[0].count;
    if (c->tokenizer && c->tokenizer->n_tokens > s->vocabulary)
        s->vocabulary = c->tokenizer->n_tokens;
    if (s->vocabulary > LIMIT_VOCABULARY)
        return error_set(e, ERROR_BAD_FORMAT, "the vocabulary has %zu words; at most %d are accepted",
                         s->vocabulary, LIMIT_VOCABULARY);
    m->begin = c->tokenizer ? c->tokenizer->bos : -1;
    s->layers = m->order;
    s->trained_context = trained_context;
    s->abilities = ENGINE_CAN_GENERATE;
    s->state_bytes = sizeof(struct state) + (m->order - 1) * sizeof(int32_t);
    return 0;
}

static void ngram_free(struct model *base)
{
    struct ngram *m = (struct ngram *)base;
    for (size_t i = 0; i < MOST_ORDERS; i++)
        free(m->orders[i].records);
    free(m->unigrams);
    free(m->unigram_backoff);
    free(m->contexts);
    free(m);
}

static int ngram_shape(const struct checkpoint *c, struct model_shape *out, struct error *e)
{
    struct ngram m = {0};
    TRY(read_shape(c, &m, e));
    *out = m.base.shape;
    return 0;
}

/* ---- loading ----------------------------------------------------------------------------------- */

/* Columns of one order as the file has them. */
struct columns {
    int32_t *tokens;
    float *logprob, *backoff; /* backoff NULL: 0 */
};

static void free_columns(struct columns *col)
{
    free(col->tokens);
    free(col->logprob);
    free(col->backoff);
}

static int check_columns(const struct ngram *m, const struct order *o, const struct columns *col,
                         struct error *e)
{
    for (size_t i = 0; i < o->count * o->n; i++) {
        if (col->tokens[i] < 0 || (size_t)col->tokens[i] >= m->base.shape.vocabulary)
            return error_set(e, ERROR_BAD_FORMAT,
                             "ngram.%zu.tokens holds the token %d, which is not in the vocabulary", o->n,
                             col->tokens[i]);
    }
    for (size_t i = 0; i < o->count; i++) {
        if (!(col->logprob[i] <= 0) || (col->backoff && !isfinite(col->backoff[i])))
            return error_set(e, ERROR_BAD_FORMAT,
                             "n-gram %zu of %zu tokens has a log probability of %g and a back-off of %g", i,
                             o->n, (double)col->logprob[i], col->backoff ? (double)col->backoff[i] : 0);
    }
    return 0;
}

static int load_columns(struct tensor_loader *l, const struct ngram *m, const struct order *o,
                        struct columns *col)
{
    const struct tensor_info *t = find_tokens(l->checkpoint, o->n);
    col->tokens = malloc(t->bytes);
    if (!col->tokens)
        return error_no_memory(l->error);
    TRY(l->checkpoint->tensors->read(l->checkpoint->tensors, t, 0, col->tokens, t->bytes, l->error));
    TRY(load_vector(l, &col->logprob, o->count, true, "ngram.%zu.logprob", o->n));
    TRY(load_vector(l, &col->backoff, o->count, o->n < m->order, "ngram.%zu.backoff", o->n));
    return check_columns(m, o, col, l->error);
}

static float natural(float log10_value)
{
    return (float)((double)log10_value * log(10));
}

/* Unigrams are looked up by word. */
static int keep_unigrams(struct ngram *m, const struct columns *col, struct error *e)
{
    size_t vocabulary = m->base.shape.vocabulary;
    m->unigrams = malloc(vocabulary * sizeof *m->unigrams);
    m->unigram_backoff = calloc(vocabulary, sizeof *m->unigram_backoff);
    if (!m->unigrams || !m->unigram_backoff)
        return error_no_memory(e);
    for (size_t i = 0; i < vocabulary; i++)
        m->unigrams[i] = NAN;
    for (size_t i = 0; i < m->orders[0].count; i++) {
        int32_t word = col->tokens[i];
        if (!isnan(m->unigrams[word]))
            return error_set(e, ERROR_BAD_FORMAT, "the unigram of token %d is there twice", word);
        m->unigrams[word] = natural(col->logprob[i]);
        m->unigram_backoff[word] = col->backoff ? natural(col->backoff[i]) : 0;
    }
    for (size_t i = 0; i < vocabulary; i++) {
        if (isnan(m->unigrams[i]))
            m->unigrams[i] = natural(unknown_logprob);
    }
    return 0;
}

static int compare_tokens(const union cell *a, const union cell *b, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (a[i].token != b[i].token)
            return a[i].token < b[i].token ? -1 : 1;
    }
    return 0;
}

static int compare_records(const void *a, const void *b, void *n)
{
    return compare_tokens(a, b, *(const size_t *)n);
}

static int keep_records(struct order *o, const struct columns *col, struct error *e)
{
    size_t cells = record_cells(o);
    o->records = calloc(o->count, cells * sizeof *o->records);
    if (!o->records)
        return error_no_memory(e);
    for (size_t i = 0; i < o->count; i++) {
        union cell *r = o->records + i * cells;
        for (size_t j = 0; j < o->n; j++)
            r[j].token = col->tokens[i * o->n + j];
        r[o->n].value = natural(col->logprob[i]);
        r[o->n + 1].value = col->backoff ? natural(col->backoff[i]) : 0;
    }
    qsort_r(o->records, o->count, cells * sizeof *o->records, compare_records, &o->n);
    for (size_t i = 1; i < o->count; i++) {
        if (compare_tokens(record(o, i - 1), record(o, i), o->n) == 0)
            return error_set(e, ERROR_BAD_FORMAT,
                             "an n-gram of %zu tokens is there twice (its last is token %d)", o->n,
                             record(o, i)[o->n - 1].token);
    }
    return 0;
}

static int load_order(struct tensor_loader *l, struct ngram *m, struct order *o)
{
    struct columns col = {0};
    int status = load_columns(l, m, o, &col);
    if (status == 0)
        status = o->n == 1 ? keep_unigrams(m, &col, l->error) : keep_records(o, &col, l->error);
    free_columns(&col);
    l->bytes += o->count * o->n * sizeof(int32_t);
    return status;
}

static int ngram_load(const struct checkpoint *c, struct exec *x, size_t context, enum dtype kv_dtype,
                      struct model **out, struct error *e)
{
    struct ngram *m = calloc(1, sizeof *m);
    if (!m)
        return error_no_memory(e);
    struct tensor_loader loader = {.checkpoint = c, .exec = x, .error = e};
    m->base.context = context;
    m->base.kv_dtype = kv_dtype;
    int status = read_shape(c, m, e);
    for (size_t i = 0; i < m->order && status == 0; i++)
        status = load_order(&loader, m, &m->orders[i]);
    if (status < 0) {
        ngram_free(&m->base);
        return -1;
    }
    m->base.weight_bytes = loader.bytes;
    *out = &m->base;
    return 0;
}

/* ---- probabilities ------------------------------------------------------------------------------ */

/* The first record whose first n tokens are not below the given ones. */
static size_t lower_bound(const struct order *o, const union cell *tokens, size_t n)
{
    size_t low = 0, high = o->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (compare_tokens(record(o, middle), tokens, n) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* log backoff of a context of n tokens: 0 when the file does not list it. */
static float backoff_of(const struct ngram *m, const union cell *context, size_t n)
{
    if (n == 1)
        return m->unigram_backoff[context[0].token];
    const struct order *o = &m->orders[n - 1];
    size_t i = lower_bound(o, context, n);
    return i < o->count && compare_tokens(record(o, i), context, n) == 0 ? record(o, i)[n + 1].value : 0;
}

/* ln p of every word after the state's tokens, into row (vocabulary). */
static void distribution(const struct ngram *m, const struct context *c, float *row)
{
    size_t vocabulary = m->base.shape.vocabulary;
    memcpy(row, m->unigrams, vocabulary * sizeof *row);
    for (size_t n = 1; n <= c->n; n++) {
        const union cell *context = c->tokens + c->n - n;
        const struct order *o = &m->orders[n]; /* of n+1 tokens */
        float backoff = backoff_of(m, context, n);
        for (size_t i = 0; i < vocabulary && backoff != 0; i++)
            row[i] += backoff;
        for (size_t i = lower_bound(o, context, n);
             i < o->count && compare_tokens(record(o, i), context, n) == 0; i++)
            row[record(o, i)[n].token] = record(o, i)[n + 1].value;
    }
    if (m->begin >= 0)
        row[m->begin] = -INFINITY;
}

static void append(const struct ngram *m, struct state *s, int32_t token)
{
    size_t most = m->order - 1;
    if (most == 0)
        return;
    if (s->n == most)
        memmove(s->tokens, s->tokens + 1, (--s->n) * sizeof *s->tokens);
    s->tokens[s->n++] = token;
}

static void keep_context(struct context *c, const struct state *s)
{
    c->n = s->n;
    for (size_t i = 0; i < s->n; i++)
        c->tokens[i].token = s->tokens[i];
}

static int reserve_contexts(struct ngram *m, size_t n)
{
    if (n <= m->cap_contexts)
        return 0;
    struct context *contexts = realloc(m->contexts, n * sizeof *contexts);
    if (!contexts)
        return -1;
    m->contexts = contexts;
    m->cap_contexts = n;
    return 0;
}

static int ngram_forward(struct model *base, struct exec *x, const struct batch *b)
{
    struct ngram *m = (struct ngram *)base;
    (void)x;
    TRY(reserve_contexts(m, b->n_logit_rows));
    for (size_t i = 0, wanted = 0; i < b->n_spans; i++) {
        const struct attention_span *span = &b->spans[i];
        struct state *s = b->states[i];
        if (span->first_position == 0)
            s->n = 0;
        for (size_t row = span->first_row; row < span->first_row + span->rows; row++) {
            append(m, s, b->tokens[row]);
            if (wanted < b->n_logit_rows && b->logit_rows[wanted] == row)
                keep_context(&m->contexts[wanted++], s);
        }
    }
    return 0;
}

static int ngram_logits(struct model *base, struct exec *x, const struct batch *b, size_t first, size_t n,
                        float *out)
{
    const struct ngram *m = (const struct ngram *)base;
    (void)x;
    (void)b;
    for (size_t i = 0; i < n; i++)
        distribution(m, &m->contexts[first + i], out + i * base->shape.vocabulary);
    return 0;
}

/* ---- names -------------------------------------------------------------------------------------- */

static bool recognise(const struct checkpoint *c)
{
    return find_tokens(c, 1) != NULL;
}

static int translate(const struct checkpoint *c, json_t *out, struct error *e)
{
    size_t order = 0;
    while (order < MOST_ORDERS && find_tokens(c, order + 1))
        order++;
    TRY(names_translate_common(c, "n-gram", out, e));
    TRY(names_put(out, "n-gram", "context_length", json_integer((json_int_t)trained_context), e));
    return names_put(out, "n-gram", "block_count", json_integer((json_int_t)order), e);
}

static const char *const types[] = {"n-gram", NULL};
static const struct tensor_name tensors[] = {
    {"ngram.%zu.tokens", "ngram.%zu.tokens", CHANGE_NONE},
    {"ngram.%zu.logprob", "ngram.%zu.logprob", CHANGE_NONE},
    {"ngram.%zu.backoff", "ngram.%zu.backoff", CHANGE_NONE},
    {NULL, NULL, CHANGE_NONE},
};
static const struct naming namings[] = {
    {.dialect = DIALECT_ARPA,
     .types = types,
     .recognise = recognise,
     .tensors = tensors,
     .translate = translate},
    {.dialect = DIALECT_GGUF},
};

const struct arch arch_ngram = {
    .name = "n-gram",
    .namings = namings,
    .shape = ngram_shape,
    .load = ngram_load,
    .forward = ngram_forward,
    .logits = ngram_logits,
    .free = ngram_free,
};
