/* engine.c - joins the rooms behind engine.h: one pool, one scheduler, any number of models.
 * Thread: every function may be called from any thread unless engine.h says otherwise.  `lock` guards the
 * list of models, which only grows until the engine closes. */
#include "engine/engine.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/limits.h"
#include "engine/base/machine.h"
#include "engine/decode/grammar.h"
#include "engine/loader.h"

enum {
    DEFAULT_BATCH_TOKENS = 512,
    DEFAULT_SEQUENCES = 128,
    DEFAULT_QUEUE_REQUESTS = 1024,
    DEFAULT_QUEUE_TOKENS = 1 << 20,
    DEFAULT_SPECULATION = 16,
    MOST_MODELS = 64,
};
#define DEFAULT_QUEUE_DEADLINE_NS (300 * UINT64_C(1000000000))
#define KV_MEMORY_MOST            (UINT64_C(4) << 30)

struct engine {
    struct engine_options options;
    const struct kernel_set *kernels;
    struct pool *pool;
    struct exec *exec;
    struct scheduler *scheduler;
    pthread_mutex_t lock;
    struct engine_model *models[MOST_MODELS];
    size_t n_models;
};

void engine_options_init(struct engine_options *o)
{
    memset(o, 0, sizeof *o);
    o->prefix_reuse = true;
    o->speculation = DEFAULT_SPECULATION;
}

void engine_sampling_init(struct engine_sampling *s)
{
    *s = (struct engine_sampling){.top_p = 1, .repetition_penalty = 1};
}

static void fill_defaults(struct engine_options *o)
{
    uint64_t quarter = machine_memory_available() / 4;
    o->threads = o->threads ? o->threads : machine_threads();
    o->batch_tokens = o->batch_tokens ? o->batch_tokens : DEFAULT_BATCH_TOKENS;
    o->max_sequences = o->max_sequences ? o->max_sequences : DEFAULT_SEQUENCES;
    o->queue_requests = o->queue_requests ? o->queue_requests : DEFAULT_QUEUE_REQUESTS;
    o->queue_tokens = o->queue_tokens ? o->queue_tokens : DEFAULT_QUEUE_TOKENS;
    o->queue_deadline_ns = o->queue_deadline_ns ? o->queue_deadline_ns : DEFAULT_QUEUE_DEADLINE_NS;
    if (!o->kv_memory)
        o->kv_memory = quarter < KV_MEMORY_MOST ? quarter : KV_MEMORY_MOST;
}

static int create_scheduler(struct engine *engine, struct error *e)
{
    const struct engine_options *o = &engine->options;
    const struct scheduler_options options = {
        .exec = engine->exec,
        .policy = o->policy,
        .kv_memory = o->kv_memory,
        .batch_tokens = o->batch_tokens,
        .max_sequences = o->max_sequences,
        .queue_requests = o->queue_requests,
        .queue_tokens = o->queue_tokens,
        .queue_deadline_ns = o->queue_deadline_ns,
        .prefix_reuse = o->prefix_reuse,
        .speculation = o->speculation,
    };
    return scheduler_create(&options, &engine->scheduler, e);
}

/* The set and how it may compute. */
static int choose_kernels(struct engine *engine, enum arithmetic *arithmetic, struct error *e)
{
    const char *wish = engine->options.arithmetic;
    *arithmetic = wish && strcmp(wish, "exact") == 0 ? ARITHMETIC_EXACT : ARITHMETIC_FAST;
    if (wish && *arithmetic == ARITHMETIC_FAST && strcmp(wish, "fast") != 0)
        return error_param(e, ERROR_BAD_OPTION, "arithmetic", "unknown arithmetic %s: there are fast, exact",
                           wish);
    engine->kernels = kernels_select(engine->options.kernels, e);
    if (!engine->kernels)
        return -1;
    if (*arithmetic == ARITHMETIC_EXACT && !kernels_exact(engine->kernels))
        return error_param(e, ERROR_BAD_OPTION, "arithmetic", "kernels %s can't compute in exact arithmetic",
                           kernels_name(engine->kernels));
    return 0;
}

int engine_open(const struct engine_options *o, struct engine **out, struct error *e)
{
    struct engine *engine = calloc(1, sizeof *engine);
    if (!engine)
        return error_no_memory(e);
    engine->options = *o;
    fill_defaults(&engine->options);
    enum arithmetic arithmetic;
    if (choose_kernels(engine, &arithmetic, e) < 0)
        goto fail_engine;
    if (pool_create(engine->options.threads, &engine->pool, e) < 0)
        goto fail_engine;
    if (exec_create(engine->kernels, engine->pool, &engine->exec, e) < 0)
        goto fail_pool;
    exec_set_arithmetic(engine->exec, arithmetic);
    if (create_scheduler(engine, e) < 0)
        goto fail_exec;
    pthread_mutex_init(&engine->lock, NULL);
    *out = engine;
    return 0;
fail_exec:
    exec_free(engine->exec);
fail_pool:
    pool_free(engine->pool);
fail_engine:
    free(engine);
    return -1;
}

void engine_close(struct engine *engine)
{
    if (!engine)
        return;
    scheduler_stop(engine->scheduler);
    for (size_t i = 0; i < engine->n_models; i++) {
        served_model_release(&engine->models[i]->served);
        loader_free_model(engine->models[i]);
    }
    scheduler_free(engine->scheduler);
    exec_free(engine->exec);
    pool_free(engine->pool);
    pthread_mutex_destroy(&engine->lock);
    free(engine);
}

const char *engine_kernels(const struct engine *engine)
{
    return kernels_name(engine->kernels);
}

unsigned engine_threads(const struct engine *engine)
{
    return engine->options.threads;
}

/* ---- models ---------------------------------------------------------------------------------- */

static int add_model(struct engine *engine, struct engine_model *m, struct error *e)
{
    int status = 0;
    pthread_mutex_lock(&engine->lock);
    for (size_t i = 0; i < engine->n_models; i++) {
        if (strcmp(engine->models[i]->info.name, m->info.name) == 0)
            status = error_set(e, ERROR_BAD_OPTION, "two models are named %s", m->info.name);
    }
    if (status == 0 && engine->n_models == MOST_MODELS)
        status = error_set(e, ERROR_BAD_OPTION, "more than %d models", MOST_MODELS);
    if (status == 0)
        engine->models[engine->n_models++] = m;
    pthread_mutex_unlock(&engine->lock);
    return status;
}

int engine_load(struct engine *engine, const char *name, const char *path,
                const struct engine_model_options *o, struct engine_model **out, struct error *e)
{
    const struct loader l = {.kernels = engine->kernels,
                             .arithmetic = exec_arithmetic(engine->exec),
                             .threads = engine->options.threads,
                             .kv_memory = engine->options.kv_memory};
    struct engine_model *m;
    TRY(loader_load(&l, name, path, o, &m, e));
    if (add_model(engine, m, e) < 0) {
        loader_free_model(m);
        return -1;
    }
    *out = m;
    return 0;
}

struct engine_model *engine_find_model(struct engine *engine, const char *name)
{
    struct engine_model *found = NULL;
    pthread_mutex_lock(&engine->lock);
    for (size_t i = 0; i < engine->n_models && name && !found; i++) {
        if (strcmp(engine->models[i]->info.name, name) == 0)
            found = engine->models[i];
    }
    if (!found && engine->n_models > 0 && (!name || !*name || strcmp(name, "default") == 0))
        found = engine->models[0];
    pthread_mutex_unlock(&engine->lock);
    return found;
}

size_t engine_models(struct engine *engine, struct engine_model **out, size_t max)
{
    pthread_mutex_lock(&engine->lock);
    size_t n = engine->n_models < max ? engine->n_models : max;
    memcpy(out, engine->models, n * sizeof *out);
    pthread_mutex_unlock(&engine->lock);
    return n;
}

const struct engine_model_info *engine_model_info(const struct engine_model *model)
{
    return &model->info;
}

struct engine_vocabulary *engine_model_vocabulary(struct engine_model *model)
{
    return &model->vocabulary;
}

/* ---- tokens ---------------------------------------------------------------------------------- */

int engine_tokenize(const struct engine_vocabulary *v, const char *text, size_t len, unsigned flags,
                    const struct engine_span *literal, size_t n_literal, int32_t **ids, size_t *n,
                    struct error *e)
{
    _Static_assert(sizeof(struct engine_span) == sizeof(struct text_span) &&
                       offsetof(struct engine_span, end) == offsetof(struct text_span, end),
                   "the same two fields");
    _Static_assert((int)ENGINE_ADD_SPECIAL == (int)TOKENIZE_ADD_SPECIAL &&
                       (int)ENGINE_PARSE_SPECIAL == (int)TOKENIZE_PARSE_SPECIAL,
                   "the same flags");
    struct token_list list = {0};
    if (tokenizer_encode(v->tokenizer, text, len, flags, (const struct text_span *)literal, n_literal, &list,
                         e) < 0) {
        token_list_free(&list);
        return -1;
    }
    *ids = list.ids;
    *n = list.n;
    return 0;
}

int engine_encode(const struct engine_vocabulary *v, const char *text, size_t len, const char *pair,
                  size_t pair_len, unsigned flags, struct engine_encoding *out, struct error *e)
{
    struct encoding x = {0};
    if (tokenizer_encode_pair(v->tokenizer, text, len, pair, pair_len, flags, &x, e) < 0) {
        encoding_free(&x);
        return -1;
    }
    *out = (struct engine_encoding){.n = x.n,
                                    .ids = x.ids,
                                    .types = x.types,
                                    .sequence = x.sequence,
                                    .starts = x.starts,
                                    .ends = x.ends,
                                    .words = x.words};
    return 0;
}

void engine_encoding_free(struct engine_encoding *encoding)
{
    struct encoding x = {.ids = encoding->ids,
                         .types = encoding->types,
                         .sequence = encoding->sequence,
                         .starts = encoding->starts,
                         .ends = encoding->ends,
                         .words = encoding->words};
    encoding_free(&x);
    memset(encoding, 0, sizeof *encoding);
}

int engine_detokenize(const struct engine_vocabulary *v, const int32_t *ids, size_t n, bool show_control,
                      struct buf *out, struct error *e)
{
    struct detokenizer d;
    detokenizer_init(&d, v->tokenizer, show_control);
    for (size_t i = 0; i < n; i++) {
        if (ids[i] < 0 || (size_t)ids[i] >= tokenizer_size(v->tokenizer))
            return error_param(e, ERROR_INVALID_REQUEST, "tokens",
                               "token id %d is outside the vocabulary of %zu", ids[i],
                               tokenizer_size(v->tokenizer));
        detokenizer_push(&d, ids[i], out);
    }
    detokenizer_finish(&d, out);
    return out->failed ? error_no_memory(e) : 0;
}

size_t engine_vocabulary_size(const struct engine_vocabulary *v)
{
    return tokenizer_size(v->tokenizer);
}

const char *engine_token_bytes(const struct engine_vocabulary *v, int32_t id, size_t *len)
{
    *len = 0;
    if (id < 0 ||
        (size_t)id >= tokenizer_size(v->tokenizer)) /* a row that the model pads its vocabulary with */
        return "";
    return tokenizer_token_bytes(v->tokenizer, id, len);
}

const char *engine_token_piece(const struct engine_vocabulary *v, int32_t id, size_t *len)
{
    *len = 0;
    if (id < 0 || (size_t)id >= tokenizer_size(v->tokenizer))
        return "";
    return tokenizer_token_text(v->tokenizer, id, len);
}

bool engine_token_is_control(const struct engine_vocabulary *v, int32_t id)
{
    return id >= 0 && (size_t)id < tokenizer_size(v->tokenizer) && tokenizer_is_control(v->tokenizer, id);
}

/* ---- grammars -------------------------------------------------------------------------------- */

static const char *token_bytes(const void *tokenizer, int32_t id, size_t *len)
{
    return tokenizer_token_bytes(tokenizer, id, len);
}

static bool token_is_control(const void *tokenizer, int32_t id)
{
    return tokenizer_is_control(tokenizer, id);
}

static bool token_is_end(const void *tokenizer, int32_t id)
{
    return tokenizer_is_end(tokenizer, id);
}

/* The vocabulary's trie, made by whoever needs it first. */
static const struct token_trie *find_trie(struct engine_vocabulary *v, struct error *e)
{
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    pthread_mutex_lock(&lock);
    if (!v->trie) {
        const struct token_source source = {v->tokenizer, tokenizer_size(v->tokenizer), token_bytes,
                                            token_is_control, token_is_end};
        if (token_trie_create(&source, &v->trie, e) < 0)
            v->trie = NULL;
    }
    const struct token_trie *trie = v->trie;
    pthread_mutex_unlock(&lock);
    return trie;
}

int engine_grammar_create(struct engine_vocabulary *v, const char *text, size_t len,
                          struct engine_grammar **out, struct error *e)
{
    const struct token_trie *trie = find_trie(v, e);
    return trie ? grammar_create(text, len, trie, out, e) : -1;
}

struct engine_grammar *engine_grammar_share(struct engine_grammar *g)
{
    return grammar_share(g);
}

void engine_grammar_release(struct engine_grammar *g)
{
    grammar_release(g);
}

size_t engine_grammar_bytes(struct engine_grammar *g)
{
    return grammar_bytes(g);
}

/* ---- jobs and state -------------------------------------------------------------------------- */

int engine_submit_take(struct engine *engine, struct engine_job *job, uint64_t *id, struct error *e)
{
    return scheduler_submit_take(engine->scheduler, &job->model->served, job, id, e);
}

void engine_cancel(struct engine *engine, uint64_t id)
{
    scheduler_cancel(engine->scheduler, id);
}

void engine_pause(struct engine *engine, uint64_t id, bool paused)
{
    scheduler_pause(engine->scheduler, id, paused);
}

void engine_stats(struct engine *engine, struct engine_stats *out)
{
    scheduler_stats(engine->scheduler, out);
}

unsigned engine_retry_after(struct engine *engine)
{
    struct engine_stats stats;
    engine_stats(engine, &stats);
    if (stats.tokens_per_second <= 0)
        return 1;
    double seconds = (double)stats.queued_tokens / stats.tokens_per_second;
    return seconds < 1 ? 1 : seconds > 600 ? 600 : (unsigned)seconds + 1;
}

uint64_t engine_heartbeat_age(struct engine *engine)
{
    return scheduler_heartbeat_age(engine->scheduler);
}

void engine_drain(struct engine *engine)
{
    scheduler_drain(engine->scheduler);
}
