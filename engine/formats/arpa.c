/* arpa.c - see arpa.h: what was read becomes sorted tensors and a tokenizer. */
#include "engine/formats/arpa.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* Tensors of one order, in this order; a tensor's offset is 3 * (n - 1) + one of these. */
enum { TOKENS, LOGPROB, BACKOFF, KINDS };

/* ---- the tensor source ----------------------------------------------------------------------------- */

static const struct arpa *arpa_of(const struct tensor_source *s)
{
    return (const struct arpa *)((const char *)s - offsetof(struct arpa, source));
}

static const struct tensor_info *find_tensor(const struct tensor_source *s, const char *name)
{
    int32_t i = string_table_find(&arpa_of(s)->names, name, strlen(name));
    return i < 0 ? NULL : &s->tensors[i];
}

static int read_tensor(const struct tensor_source *s, const struct tensor_info *t, uint64_t offset, void *dst,
                       size_t n, struct error *e)
{
    const struct arpa_order *o = &arpa_of(s)->orders[t->offset / KINDS];
    const void *const data[KINDS] = {o->tokens, o->logprob, o->backoff};
    if (offset > t->bytes || n > t->bytes - offset)
        return error_set(e, ERROR_INTERNAL, "tensor %s has no %zu bytes at %" PRIu64, t->name, n, offset);
    memcpy(dst, (const char *)data[t->offset % KINDS] + offset, n);
    return 0;
}

static int add_tensor(struct arpa *f, size_t n, unsigned kind, struct error *e)
{
    static const char *const kinds[KINDS] = {"tokens", "logprob", "backoff"};
    size_t index = f->source.count++;
    uint64_t count = f->orders[n - 1].count;
    struct tensor_info *t = &f->tensors[index];
    *t = (struct tensor_info){.name = arena_printf(f->arena, "ngram.%zu.%s", n, kinds[kind]),
                              .dtype = kind == TOKENS ? DTYPE_I32 : DTYPE_F32,
                              .n_dims = kind == TOKENS ? 2 : 1,
                              .dims = {count, 1, 1, 1},
                              .bytes = count * 4,
                              .offset = KINDS * (n - 1) + kind};
    if (!t->name)
        return error_no_memory(e);
    if (kind == TOKENS) {
        t->dims[0] = n;
        t->dims[1] = count;
        t->bytes *= n;
    }
    string_table_add(&f->names, t->name, strlen(t->name), (int32_t)index);
    return 0;
}

static int list_tensors(struct arpa *f, struct error *e)
{
    TRY(string_table_init(&f->names, KINDS * f->order, e));
    for (size_t n = 1; n <= f->order; n++) {
        TRY(add_tensor(f, n, TOKENS, e));
        TRY(add_tensor(f, n, LOGPROB, e));
        if (n < f->order)
            TRY(add_tensor(f, n, BACKOFF, e));
    }
    f->source.tensors = f->tensors;
    f->source.find = find_tensor;
    f->source.read = read_tensor;
    return 0;
}

/* ---- sorting --------------------------------------------------------------------------------------- */

static int compare_records(const void *a, const void *b, void *n)
{
    const union arpa_cell *x = a, *y = b;
    for (size_t i = 0; i < *(size_t *)n; i++) {
        if (x[i].token != y[i].token)
            return x[i].token < y[i].token ? -1 : 1;
    }
    return 0;
}

static int twice(const struct arpa *f, const union arpa_cell *record, size_t n, struct error *e)
{
    struct buf words;
    buf_init(&words, 200);
    for (size_t i = 0; i < n; i++) {
        buf_add(&words, " ", i > 0);
        buf_add_text(&words, f->words[record[i].token].text);
    }
    error_set(e, ERROR_BAD_FORMAT, "the %zu-gram \"%s\" is there twice", n, words.data ? words.data : "");
    buf_free(&words);
    return -1;
}

int arpa_sort_order(struct arpa *f, size_t n, struct error *e)
{
    struct arpa_order *o = &f->orders[n - 1];
    size_t cells = n + 2;
    if (o->count == 0)
        return 0;
    if (n > 1)
        qsort_r(o->records, o->count, cells * sizeof *o->records, compare_records, &n);
    o->tokens = malloc(o->count * n * sizeof *o->tokens);
    o->logprob = malloc(o->count * sizeof *o->logprob);
    o->backoff = malloc(o->count * sizeof *o->backoff);
    if (!o->tokens || !o->logprob || !o->backoff)
        return error_no_memory(e);
    for (size_t i = 0; i < o->count; i++) {
        const union arpa_cell *r = o->records + i * cells;
        if (i > 0 && compare_records(r - cells, r, &n) == 0)
            return twice(f, r, n, e);
        for (size_t k = 0; k < n; k++)
            o->tokens[i * n + k] = r[k].token;
        o->logprob[i] = r[n].value;
        o->backoff[i] = r[n + 1].value;
    }
    free(o->records);
    o->records = NULL;
    return 0;
}

bool arpa_has_ngram(const struct arpa *f, const union arpa_cell *words, size_t n)
{
    const struct arpa_order *o = &f->orders[n - 1];
    size_t low = 0, high = o->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2, k = 0;
        const int32_t *row = o->tokens + middle * n;
        while (k < n && row[k] == words[k].token)
            k++;
        if (k == n)
            return true;
        if (row[k] < words[k].token)
            low = middle + 1;
        else
            high = middle;
    }
    return false;
}

/* The highest orders may be empty: SRILM prunes them so. */
static int drop_empty_orders(struct arpa *f, struct error *e)
{
    while (f->order > 0 && f->orders[f->order - 1].count == 0)
        f->order--;
    if (f->order == 0)
        return error_set(e, ERROR_BAD_FORMAT, "the file has no n-grams");
    return 0;
}

/* ---- the tokenizer --------------------------------------------------------------------------------- */

static int32_t mark(struct arpa *f, const char *word, enum token_type type)
{
    int32_t id = string_table_find(&f->ids, word, strlen(word));
    if (id >= 0)
        f->words[id].type = type;
    return id;
}

/* A word that no text brings about stands for the unknown ones; its probability is nobody's. */
static int add_unknown(struct arpa *f, struct error *e)
{
    struct token_spec *grown = realloc(f->words, (f->n_words + 1) * sizeof *grown);
    if (!grown)
        return error_no_memory(e);
    f->words = grown;
    f->words[f->n_words] = (struct token_spec){.text = "<unk>", .len = 5, .type = TOKEN_UNKNOWN};
    f->tokenizer.unk = (int32_t)f->n_words++;
    return 0;
}

static int make_tokenizer(struct arpa *f, struct error *e)
{
    struct tokenizer_spec *t = &f->tokenizer;
    *t = (struct tokenizer_spec){
        .model = "word", .add_bos_given = true, .eot = -1, .sep = -1, .pad = -1, .cls = -1, .mask = -1};
    t->bos = mark(f, "<s>", TOKEN_CONTROL);
    t->eos = mark(f, "</s>", TOKEN_CONTROL);
    t->unk = mark(f, "<unk>", TOKEN_UNKNOWN);
    if (t->unk < 0)
        t->unk = mark(f, "<UNK>", TOKEN_UNKNOWN);
    if (t->unk < 0)
        TRY(add_unknown(f, e));
    t->add_bos = t->bos >= 0;
    t->n_tokens = f->n_words;
    t->tokens = f->words;
    f->options = json_pack("{s:s, s:s, s:s, s:s}", "type", "word", "pattern", "\\S+", "join", " ", "unk",
                           t->tokens[t->unk].text);
    t->options = f->options;
    return f->options ? 0 : error_no_memory(e);
}

/* ---- opening --------------------------------------------------------------------------------------- */

static void close_arpa(struct checkpoint *c)
{
    struct arpa *f = c->impl;
    for (size_t i = 0; i < LIMIT_NGRAM_ORDER; i++) {
        free(f->orders[i].records);
        free(f->orders[i].tokens);
        free(f->orders[i].logprob);
        free(f->orders[i].backoff);
    }
    arpa_lines_free(&f->lines);
    string_table_free(&f->ids);
    string_table_free(&f->names);
    free(f->words);
    json_decref(f->config);
    json_decref(f->options);
    arena_free(f->arena);
    free(f);
}

static int read_all(struct arpa *f, struct bytes *b, struct error *e)
{
    f->arena = arena_create(LIMIT_FILE_ARENA);
    if (!f->arena)
        return error_no_memory(e);
    TRY(arpa_lines_init(&f->lines, b, e));
    TRY(arpa_read_text(f, e));
    TRY(drop_empty_orders(f, e));
    TRY(list_tensors(f, e));
    f->config = json_pack("{s:i}", "order", (int)f->order);
    if (!f->config)
        return error_no_memory(e);
    return make_tokenizer(f, e);
}

int arpa_open_take(struct bytes *b, struct checkpoint **out, struct error *e)
{
    struct arpa *f = calloc(1, sizeof *f);
    if (!f) {
        bytes_close(b);
        return error_no_memory(e);
    }
    f->checkpoint = (struct checkpoint){.dialect = DIALECT_ARPA,
                                        .tensors = &f->source,
                                        .tokenizer = &f->tokenizer,
                                        .file_bytes = bytes_size(b),
                                        .impl = f,
                                        .close = close_arpa};
    int status = read_all(f, b, e);
    f->checkpoint.config = f->config;
    f->checkpoint.format = f->lines.gzip ? "ARPA, gzip" : "ARPA";
    arpa_lines_free(&f->lines);
    bytes_close(b);
    if (status < 0) {
        close_arpa(&f->checkpoint);
        return -1;
    }
    *out = &f->checkpoint;
    return 0;
}
