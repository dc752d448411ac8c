/* loader.c - see loader.h.  With engine.c it is the only place that knows formats, tokenizers, models and
 * kernels at once: it opens the file, checks that what it says can be served, and joins the parts.
 * Thread: any; a load uses a pool of its own and touches nothing that a tick uses. */
#include "engine/loader.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "engine/base/machine.h"
#include "engine/formats/checkpoint.h"
#include "engine/models/arch.h"

enum { INFO_ARENA = 4 << 20 };

static const char *keep(struct arena *a, const char *text)
{
    return text ? arena_copy(a, text, strlen(text)) : NULL;
}

/* The dtype that holds most of the bytes. */
static enum dtype main_dtype(const struct checkpoint *c)
{
    uint64_t bytes[DTYPES] = {0};
    enum dtype best = DTYPE_F32;
    for (size_t i = 0; i < c->tensors->count; i++)
        bytes[c->tensors->tensors[i].dtype] += c->tensors->tensors[i].bytes;
    for (int t = 0; t < DTYPES; t++)
        best = bytes[t] > bytes[best] ? (enum dtype)t : best;
    return best;
}

static int choose_kv_dtype(const struct checkpoint *c, const char *wish, enum dtype *out, struct error *e)
{
    if (!wish || !*wish || strcmp(wish, "auto") == 0)
        *out = main_dtype(c) == DTYPE_F32 ? DTYPE_F32 : DTYPE_F16;
    else if (strcmp(wish, "f16") == 0)
        *out = DTYPE_F16;
    else if (strcmp(wish, "f32") == 0)
        *out = DTYPE_F32;
    else
        return error_param(e, ERROR_BAD_OPTION, "kv-type", "kv-type must be f16, f32 or auto, not %s", wish);
    return 0;
}

static const char *token_text(struct arena *a, const struct tokenizer *t, int32_t id)
{
    size_t len = 0;
    const char *bytes = id >= 0 ? tokenizer_token_bytes(t, id, &len) : "";
    return arena_copy(a, bytes, len);
}

static int find_arch(const struct checkpoint *c, const struct arch **out, struct error *e)
{
    char known[256];
    *out = arch_find(c->architecture);
    if (*out)
        return 0;
    arch_names(known, sizeof known);
    return error_set(e, ERROR_UNSUPPORTED, "architecture %s is not supported (supported: %s)",
                     c->architecture, known);
}

static int describe(const struct checkpoint *c, const char *name, const char *path,
                    const struct model_shape *shape, const struct tokenizer *t, struct arena *a,
                    struct engine_model_info *info, struct error *e)
{
    struct stat st;
    info->name = keep(a, name);
    info->path = keep(a, path);
    info->format = keep(a, c->format);
    info->architecture = keep(a, c->architecture);
    info->description = keep(a, c->name ? c->name : "");
    info->dtype = dtype_row(main_dtype(c))->name;
    info->chat_template = keep(a, c->chat_template);
    info->file_bytes = c->file_bytes;
    info->created = stat(path, &st) == 0 ? (int64_t)st.st_mtime : 0;
    info->bos = info->eos = -1;
    info->tokenizer = info->pre_tokenizer = info->bos_text = info->eos_text = "";
    if (t) {
        const struct tokenizer_spec *special = tokenizer_special(t);
        info->tokenizer = keep(a, c->tokenizer->model);
        info->pre_tokenizer = keep(a, tokenizer_pre(t));
        info->bos = special->bos;
        info->eos = special->eos;
        info->bos_text = token_text(a, t, special->bos);
        info->eos_text = token_text(a, t, special->eos);
        info->vocabulary = tokenizer_size(t);
    }
    if (shape) {
        info->trained_context = shape->trained_context;
        info->vocabulary = shape->vocabulary;
        info->layers = shape->layers;
        info->embedding = shape->embedding;
        info->parameters = shape->parameters;
    }
    if (!info->name || !info->path || !info->format || !info->architecture || !info->description ||
        !info->tokenizer || !info->pre_tokenizer || !info->bos_text || !info->eos_text ||
        (c->chat_template && !info->chat_template))
        return error_no_memory(e);
    return 0;
}

static uint64_t bytes_per_token(const struct model_shape *shape, enum dtype kv_dtype)
{
    return model_page_bytes(shape, kv_dtype) / KV_PAGE_TOKENS;
}

/* Context of a sequence as served, and whether the ceiling holds one of that length. */
static int choose_context(const struct loader *l, const struct model_shape *shape, size_t wish,
                          enum dtype kv_dtype, size_t *context, struct error *e)
{
    *context = wish ? wish : shape->trained_context;
    if (*context > shape->trained_context)
        return error_param(e, ERROR_BAD_OPTION, "ctx",
                           "a context of %zu tokens is longer than the %zu it was trained for", *context,
                           shape->trained_context);
    uint64_t pages = (*context + KV_PAGE_TOKENS - 1) / KV_PAGE_TOKENS, bytes;
    if (__builtin_mul_overflow(pages, (uint64_t)model_page_bytes(shape, kv_dtype), &bytes) ||
        bytes > l->kv_memory)
        return error_param(
            e, ERROR_BAD_OPTION, "kv-memory",
            "one sequence of %zu tokens needs %llu MiB of key-value memory, the ceiling is %llu MiB: "
            "raise --kv-memory or lower --ctx",
            *context, (unsigned long long)(pages * (model_page_bytes(shape, kv_dtype) / 1024) / 1024),
            (unsigned long long)(l->kv_memory >> 20));
    return 0;
}

static int build_tokenizer(const struct checkpoint *c, struct tokenizer **out, struct error *e)
{
    if (!c->tokenizer)
        return error_set(e, ERROR_UNSUPPORTED, "the checkpoint has no tokenizer");
    return tokenizer_create(c->tokenizer, out, e);
}

static int load_weights(const struct loader *l, const struct checkpoint *c, const struct arch *arch,
                        size_t context, enum dtype kv_dtype, struct model **out, struct error *e)
{
    struct pool *pool = NULL;
    struct exec *exec = NULL;
    TRY(pool_create(l->threads, &pool, e));
    int status = exec_create(l->kernels, pool, &exec, e);
    if (status == 0)
        status = arch->load(c, exec, context, kv_dtype, out, e);
    if (status == 0)
        (*out)->arch = arch;
    exec_free(exec);
    pool_free(pool);
    return status;
}

static int check_vocabulary(const struct tokenizer *t, const struct model_shape *shape, struct error *e)
{
    if (tokenizer_size(t) > shape->vocabulary)
        return error_set(e, ERROR_BAD_FORMAT, "the tokenizer has %zu tokens, the model only %zu",
                         tokenizer_size(t), shape->vocabulary);
    return 0;
}

static int build(const struct loader *l, const char *name, const char *path,
                 const struct engine_model_options *o, const struct checkpoint *c, struct engine_model *m,
                 struct error *e)
{
    const struct arch *arch;
    struct model_shape shape;
    enum dtype kv_dtype = DTYPE_F16;
    size_t context;
    TRY(find_arch(c, &arch, e));
    TRY(arch->shape(c, &shape, e));
    TRY(choose_kv_dtype(c, o->kv_type, &kv_dtype, e));
    TRY(choose_context(l, &shape, o->context, kv_dtype, &context, e));
    TRY(build_tokenizer(c, &m->vocabulary.tokenizer, e));
    TRY(check_vocabulary(m->vocabulary.tokenizer, &shape, e));
    TRY(describe(c, name, path, &shape, m->vocabulary.tokenizer, m->arena, &m->info, e));
    TRY(load_weights(l, c, arch, context, kv_dtype, &m->served.model, e));
    m->served.tokenizer = m->vocabulary.tokenizer;
    m->info.context = context;
    m->info.weight_bytes = m->served.model->weight_bytes;
    m->info.kv_bytes_per_token = bytes_per_token(&shape, kv_dtype);
    return 0;
}

int loader_load(const struct loader *l, const char *name, const char *path,
                const struct engine_model_options *o, struct engine_model **out, struct error *e)
{
    struct checkpoint *c = NULL;
    TRY(checkpoint_open(path, &c, e));
    struct engine_model *m = calloc(1, sizeof *m);
    if (m)
        m->arena = arena_create(INFO_ARENA);
    int status = m && m->arena ? build(l, name, path, o, c, m, e) : error_no_memory(e);
    checkpoint_close(c);
    if (status < 0) {
        loader_free_model(m);
        return error_prefix(e, "%s", path);
    }
    *out = m;
    return 0;
}

void loader_free_model(struct engine_model *m)
{
    if (!m)
        return;
    if (m->served.model)
        m->served.model->arch->free(m->served.model);
    tokenizer_free(m->vocabulary.tokenizer);
    arena_free(m->arena);
    free(m);
}

/* ---- inspect --------------------------------------------------------------------------------- */

static char *list_dtypes(struct arena *a, const struct checkpoint *c)
{
    size_t counts[DTYPES] = {0};
    struct buf text;
    buf_init(&text, 4096);
    for (size_t i = 0; i < c->tensors->count; i++)
        counts[c->tensors->tensors[i].dtype]++;
    for (int t = 0; t < DTYPES; t++) {
        if (counts[t])
            buf_printf(&text, "%s%s x%zu", text.len ? ", " : "", dtype_row((enum dtype)t)->name, counts[t]);
    }
    char *copy = arena_copy(a, text.data ? text.data : "", text.len);
    buf_free(&text);
    return copy;
}

/* Every reason that a load would refuse it for, short of reading the weights. */
static int check_servable(const struct checkpoint *c, struct model_shape *shape, struct tokenizer **t,
                          enum dtype *kv_dtype, struct error *e)
{
    const struct arch *arch;
    TRY(build_tokenizer(c, t, e));
    TRY(find_arch(c, &arch, e));
    TRY(arch->shape(c, shape, e));
    TRY(choose_kv_dtype(c, NULL, kv_dtype, e));
    return check_vocabulary(*t, shape, e);
}

int engine_inspect(const char *path, struct engine_report *report, struct error *e)
{
    struct checkpoint *c = NULL;
    struct tokenizer *t = NULL;
    struct model_shape shape = {0};
    enum dtype kv_dtype = DTYPE_F16;
    memset(report, 0, sizeof *report);
    TRY(checkpoint_open(path, &c, e));
    struct arena *a = arena_create(INFO_ARENA);
    int status = -1;
    if (!a) {
        error_no_memory(e);
        goto close;
    }
    report->impl = a;
    report->tensors = c->tensors->count;
    report->servable = check_servable(c, &shape, &t, &kv_dtype, &report->why) == 0;
    status = describe(c, "", path, report->servable ? &shape : NULL, t, a, &report->info, e);
    report->dtypes = list_dtypes(a, c);
    if (report->servable) {
        report->info.context = shape.trained_context;
        report->info.kv_bytes_per_token = bytes_per_token(&shape, kv_dtype);
    }
    for (size_t i = 0; i < c->tensors->count; i++)
        report->info.weight_bytes += c->tensors->tensors[i].bytes;
    if (status == 0 && !report->dtypes)
        status = error_no_memory(e);
    if (status < 0)
        engine_report_free(report);
close:
    tokenizer_free(t);
    checkpoint_close(c);
    return status;
}

void engine_report_free(struct engine_report *report)
{
    arena_free(report->impl);
    memset(report, 0, sizeof *report);
}

/* ---- vocabularies ---------------------------------------------------------------------------- */

int engine_vocabulary_open(const char *path, struct engine_vocabulary **out, struct error *e)
{
    struct checkpoint *c = NULL;
    TRY(checkpoint_open(path, &c, e));
    struct engine_vocabulary *v = calloc(1, sizeof *v);
    int status = v ? build_tokenizer(c, &v->tokenizer, e) : error_no_memory(e);
    checkpoint_close(c);
    if (status < 0) {
        free(v);
        return error_prefix(e, "%s", path);
    }
    *out = v;
    return 0;
}

void engine_vocabulary_close(struct engine_vocabulary *v)
{
    if (!v)
        return;
    tokenizer_free(v->tokenizer);
    free(v);
}
