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
#include "engine/models/names.h"

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

/* How keys and values are kept: as wished, or by the weights. */
static int choose_kv_dtype(const struct checkpoint *c, const char *wish, enum dtype of_quantised,
                           enum dtype *out, struct error *e)
{
    static const enum dtype choices[] = {DTYPE_F16, DTYPE_BF16, DTYPE_F32};
    static const char *const names[] = {"f16", "bf16", "f32"};
    *out = dtype_row(main_dtype(c))->block_values == 1 ? DTYPE_F32 : of_quantised;
    if (!wish || !*wish || strcmp(wish, "auto") == 0)
        return 0;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (strcmp(wish, names[i]) == 0) {
            *out = choices[i];
            return 0;
        }
    }
    return error_param(e, ERROR_BAD_OPTION, "kv-type", "kv-type must be f16, bf16, f32 or auto, not %s",
                       wish);
}

static const char *token_text(struct arena *a, const struct tokenizer *t, int32_t id)
{
    size_t len = 0;
    const char *bytes = id >= 0 ? tokenizer_token_bytes(t, id, &len) : "";
    return arena_copy(a, bytes, len);
}

/* "ARCH.key" of the translated config. */
static const json_t *arch_value(const struct checkpoint *c, const char *key)
{
    char name[192];
    snprintf(name, sizeof name, "%s.%s", c->architecture, key);
    return json_object_get(c->config, name);
}

static enum engine_problem find_problem(const struct checkpoint *c, enum engine_problem fallback)
{
    const char *name = json_string_value(arch_value(c, "classifier.problem"));
    if (!name)
        return fallback;
    return strcmp(name, "regression") == 0                   ? ENGINE_PROBLEM_REGRESSION
           : strcmp(name, "multi_label_classification") == 0 ? ENGINE_PROBLEM_MULTI
                                                             : ENGINE_PROBLEM_SINGLE;
}

/* The checkpoint's own pooling: our word for it, else GGUF's number; else the mean for encoders and the last
 * token for decoders. */
static enum engine_pooling find_pooling(const struct checkpoint *c, bool decoder)
{
    static const struct {
        const char *name;
        json_int_t number; /* of GGUF's pooling_type */
        enum engine_pooling pooling;
    } rows[] = {{"mean", 1, ENGINE_POOLING_MEAN},
                {"cls", 2, ENGINE_POOLING_CLS},
                {"last", 3, ENGINE_POOLING_LAST},
                {"max", -1, ENGINE_POOLING_MAX}};
    const char *name = json_string_value(arch_value(c, "pooling"));
    json_int_t number = json_integer_value(arch_value(c, "pooling_type"));
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        if (name ? strcmp(name, rows[i].name) == 0 : number == rows[i].number)
            return rows[i].pooling;
    }
    return decoder ? ENGINE_POOLING_LAST : ENGINE_POOLING_MEAN;
}

static int describe_labels(const struct checkpoint *c, const struct model_shape *shape, struct arena *a,
                           struct engine_model_info *info, struct error *e)
{
    const json_t *names = arch_value(c, "classifier.output_labels");
    info->n_labels = shape->abilities & (ENGINE_CAN_CLASSIFY | ENGINE_CAN_TAG) ? shape->n_labels : 0;
    const char **labels = arena_alloc(a, info->n_labels + 1, sizeof *labels);
    if (!labels)
        return error_no_memory(e);
    for (size_t i = 0; i < info->n_labels; i++) {
        const char *name = json_string_value(json_array_get(names, i));
        labels[i] = name ? keep(a, name) : arena_printf(a, "LABEL_%zu", i);
        if (!labels[i])
            return error_no_memory(e);
    }
    info->labels = labels;
    info->problem = find_problem(c, shape->problem);
    return 0;
}

static void describe_tokens(const struct tokenizer *t, struct arena *a, struct engine_model_info *info)
{
    const struct tokenizer_spec *special = tokenizer_special(t);
    info->tokenizer = keep(a, special->model);
    info->pre_tokenizer = keep(a, tokenizer_pre(t));
    info->marks_words = tokenizer_marks_words(t);
    info->bos = special->bos;
    info->eos = special->eos;
    info->mask = special->mask;
    info->bos_text = token_text(a, t, special->bos);
    info->eos_text = token_text(a, t, special->eos);
    info->mask_text = token_text(a, t, special->mask);
    info->vocabulary = tokenizer_size(t);
}

/* {"task": {"prefix": "…"}} of T5's config and its like. */
static int describe_prefixes(const struct checkpoint *c, struct arena *a, struct engine_model_info *info,
                             struct error *e)
{
    const json_t *tasks = json_object_get(c->config, "generation.task_specific_params");
    struct engine_prefix *prefixes = arena_alloc(a, json_object_size(tasks) + 1, sizeof *prefixes);
    const char *task;
    json_t *value;
    if (!prefixes)
        return error_no_memory(e);
    info->prefixes = prefixes;
    json_object_foreach((json_t *)(uintptr_t)tasks, task, value)
    {
        const char *text = json_string_value(json_object_get(value, "prefix"));
        if (!text)
            continue;
        prefixes[info->n_prefixes++] = (struct engine_prefix){keep(a, task), keep(a, text)};
        if (!prefixes[info->n_prefixes - 1].task || !prefixes[info->n_prefixes - 1].text)
            return error_no_memory(e);
    }
    return 0;
}

static int describe_shape(const struct checkpoint *c, const struct arch *arch,
                          const struct model_shape *shape, struct arena *a, struct engine_model_info *info,
                          struct error *e)
{
    struct generation_rules rules;
    const json_t *normalize = arch_value(c, "normalize");
    TRY(generation_rules_read(c->config, shape->vocabulary, &rules, e));
    info->trained_context = shape->trained_context;
    info->vocabulary = shape->vocabulary;
    info->layers = shape->layers;
    info->embedding = shape->embedding;
    info->parameters = shape->parameters;
    info->abilities = shape->abilities;
    info->source_context = shape->source_context;
    info->pooling = find_pooling(c, arch->forward && !arch->encode);
    info->normalize = !json_is_false(normalize);
    info->beams = rules.beams;
    info->length_penalty = rules.length_penalty;
    info->early_stopping = rules.early_stopping;
    info->max_new_tokens = rules.max_new_tokens;
    info->max_length_ratio = rules.max_length_ratio;
    info->no_repeat_ngram = rules.no_repeat_ngram;
    TRY(describe_prefixes(c, a, info, e));
    return describe_labels(c, shape, a, info, e);
}

/* c in GGUF's words; arch and shape NULL when the model can't be served, t when it has no tokenizer. */
static int describe(const struct checkpoint *c, const char *name, const char *path, const struct arch *arch,
                    const struct model_shape *shape, const struct tokenizer *t, struct arena *a,
                    struct engine_model_info *info, struct error *e)
{
    struct stat st;
    const char *inferred = json_string_value(json_object_get(c->config, "general.inferred"));
    info->name = keep(a, name);
    info->path = keep(a, path);
    info->format = keep(a, c->format);
    info->architecture = keep(a, c->architecture ? c->architecture : "unknown");
    info->description = keep(a, c->name ? c->name : "");
    info->inferred = keep(a, inferred ? inferred : "");
    info->source_language = keep(a, c->source_language ? c->source_language : "");
    info->target_language = keep(a, c->target_language ? c->target_language : "");
    info->dtype = dtype_row(main_dtype(c))->name;
    info->chat_template = keep(a, c->chat_template);
    info->file_bytes = c->file_bytes;
    info->created = stat(path, &st) == 0 ? (int64_t)st.st_mtime : 0;
    info->bos = info->eos = info->mask = -1;
    info->tokenizer = info->pre_tokenizer = info->bos_text = info->eos_text = info->mask_text = "";
    if (t)
        describe_tokens(t, a, info);
    if (shape)
        TRY(describe_shape(c, arch, shape, a, info, e));
    if (!info->name || !info->path || !info->format || !info->architecture || !info->description ||
        !info->inferred || !info->source_language || !info->target_language || !info->tokenizer ||
        !info->pre_tokenizer || !info->bos_text || !info->eos_text || !info->mask_text ||
        (c->chat_template && !info->chat_template))
        return error_no_memory(e);
    return 0;
}

/* 0 for families whose memory does not grow with the text. */
static uint64_t bytes_per_token(const struct model_shape *shape, enum dtype kv_dtype)
{
    return shape->kv_layers ? model_page_bytes(shape, kv_dtype) / KV_PAGE_TOKENS : 0;
}

/* Pages of one sequence of that many tokens, with a source of full length and a state. */
static uint64_t pages_of_sequence(const struct model_shape *shape, size_t context)
{
    uint64_t pages = shape->kv_layers ? (context + KV_PAGE_TOKENS - 1) / KV_PAGE_TOKENS : 0;
    if (shape->cross_layers)
        pages += (shape->source_context + KV_PAGE_TOKENS - 1) / KV_PAGE_TOKENS;
    return pages + (shape->state_bytes > 0);
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
    uint64_t pages = pages_of_sequence(shape, *context), page = model_page_bytes(shape, kv_dtype), bytes;
    if (__builtin_mul_overflow(pages, page, &bytes) || bytes > l->kv_memory)
        return error_param(
            e, ERROR_BAD_OPTION, "kv-memory",
            "one sequence of %zu tokens needs %llu MiB of key-value memory, the ceiling is %llu MiB: "
            "raise --kv-memory or lower --ctx",
            *context, (unsigned long long)(pages * (page / 1024) / 1024),
            (unsigned long long)(l->kv_memory >> 20));
    return 0;
}

/* For weights alone: ids without text, so that what takes ids still works. */
static int build_stand_in(size_t vocabulary, struct tokenizer **out, struct error *e)
{
    struct token_spec *tokens = calloc(vocabulary, sizeof *tokens);
    if (!tokens)
        return error_no_memory(e);
    for (size_t i = 0; i < vocabulary; i++)
        tokens[i] = (struct token_spec){.text = "", .type = TOKEN_NORMAL};
    const struct tokenizer_spec spec = {.model = "none",
                                        .n_tokens = vocabulary,
                                        .tokens = tokens,
                                        .bos = -1,
                                        .eos = -1,
                                        .eot = -1,
                                        .unk = -1,
                                        .sep = -1,
                                        .pad = -1,
                                        .cls = -1,
                                        .mask = -1,
                                        .add_bos_given = true};
    int status = tokenizer_create(&spec, out, e);
    free(tokens);
    return status;
}

/* vocabulary: of the model, 0 when it is not known. */
static int build_tokenizer(const struct checkpoint *c, size_t vocabulary, struct tokenizer **out,
                           struct error *e)
{
    if (!c->tokenizer && vocabulary > 0)
        return build_stand_in(vocabulary, out, e);
    if (!c->tokenizer)
        return error_set(e, ERROR_UNSUPPORTED, "the checkpoint has no tokenizer");
    return tokenizer_create(c->tokenizer, out, e);
}

static int choose_precision(const char *wish, enum precision *out, struct error *e)
{
    static const char *const names[] = {
        [PRECISION_FILE] = "f32", [PRECISION_BF16] = "bf16", [PRECISION_Q8] = "q8"};
    *out = PRECISION_FILE;
    for (size_t i = 0; wish && i < sizeof names / sizeof names[0]; i++) {
        if (strcmp(names[i], wish) == 0) {
            *out = (enum precision)i;
            return 0;
        }
    }
    return wish ? error_param(e, ERROR_BAD_OPTION, "precision",
                              "unknown precision %.40s: there are f32, bf16, q8", wish)
                : 0;
}

static int load_weights(const struct loader *l, const struct checkpoint *c, const struct arch *arch,
                        enum precision precision, size_t context, enum dtype kv_dtype, struct model **out,
                        struct error *e)
{
    struct pool *pool = NULL;
    struct exec *exec = NULL;
    TRY(pool_create(l->threads, &pool, e));
    int status = exec_create(l->kernels, pool, &exec, e);
    if (status == 0) {
        exec_set_precision(exec, precision);
        exec_set_arithmetic(exec, l->arithmetic);
        status = arch->load(c, exec, context, kv_dtype, out, e);
    }
    if (status == 0)
        (*out)->arch = arch;
    if (status == 0 && precision != PRECISION_FILE && exec_converted(exec) == 0) {
        status =
            error_param(e, ERROR_BAD_OPTION, "precision", "precision: this model has no matrices to convert");
        arch->free(*out);
        *out = NULL;
    }
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

/* c in GGUF's words. */
static int build(const struct loader *l, const char *name, const char *path,
                 const struct engine_model_options *o, const struct checkpoint *c, const struct arch *arch,
                 struct engine_model *m, struct error *e)
{
    struct model_shape shape = {0};
    enum dtype kv_dtype = DTYPE_F16;
    enum precision precision;
    size_t context;
    TRY(arch->shape(c, &shape, e));
    TRY(choose_kv_dtype(c, o->kv_type, kernels_kv_dtype(l->kernels, l->arithmetic), &kv_dtype, e));
    TRY(choose_precision(o->precision, &precision, e));
    TRY(choose_context(l, &shape, o->context, kv_dtype, &context, e));
    TRY(build_tokenizer(c, shape.vocabulary, &m->vocabulary.tokenizer, e));
    TRY(check_vocabulary(m->vocabulary.tokenizer, &shape, e));
    TRY(describe(c, name, path, arch, &shape, m->vocabulary.tokenizer, m->arena, &m->info, e));
    TRY(generation_rules_read(c->config, shape.vocabulary, &m->served.rules, e));
    TRY(load_weights(l, c, arch, precision, context, kv_dtype, &m->served.model, e));
    m->served.tokenizer = m->vocabulary.tokenizer;
    m->served.pooling = m->info.pooling;
    m->info.context = context;
    m->info.weight_bytes = m->served.model->weight_bytes;
    m->info.kv_bytes_per_token = bytes_per_token(&shape, kv_dtype);
    return 0;
}

/* The file as it is, and what it says in GGUF's words. */
struct opened {
    struct checkpoint *file, *adopted;
    const struct arch *arch;
};

static void close_opened(struct opened *o)
{
    checkpoint_close(o->adopted);
    checkpoint_close(o->file);
}

static int open_adopted(const char *path, struct opened *o, struct error *e)
{
    memset(o, 0, sizeof *o);
    TRY(checkpoint_open(path, &o->file, e));
    if (names_adopt(o->file, &o->adopted, &o->arch, e) < 0) {
        close_opened(o);
        return error_prefix(e, "%s", path);
    }
    return 0;
}

int loader_load(const struct loader *l, const char *name, const char *path,
                const struct engine_model_options *o, struct engine_model **out, struct error *e)
{
    struct opened opened;
    TRY(open_adopted(path, &opened, e));
    struct engine_model *m = calloc(1, sizeof *m);
    if (m)
        m->arena = arena_create(INFO_ARENA);
    int status =
        m && m->arena ? build(l, name, path, o, opened.adopted, opened.arch, m, e) : error_no_memory(e);
    if (status < 0)
        names_explain(opened.adopted, e);
    close_opened(&opened);
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
    token_trie_free(m->vocabulary.trie);
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

static const char *dialect_name(enum dialect d)
{
    static const char *const names[] = {[DIALECT_GGUF] = "GGUF",
                                        [DIALECT_TRANSFORMERS] = "Hugging Face transformers",
                                        [DIALECT_TORCH] = "PyTorch state_dict",
                                        [DIALECT_MARIAN] = "Marian",
                                        [DIALECT_ARPA] = "ARPA"};
    return names[d];
}

/* Every reason that a load would refuse it for, short of reading the weights.  *adopted and *arch stay NULL
 * when nobody knows the architecture. */
static int check_servable(const struct checkpoint *c, struct checkpoint **adopted, const struct arch **arch,
                          struct model_shape *shape, struct tokenizer **t, enum dtype *kv_dtype,
                          struct error *e)
{
    struct error why = {0}; /* of the tokenizer: what is wrong with the model itself comes first */
    int status = c->tokenizer ? build_tokenizer(c, 0, t, &why) : 0;
    if (c->tensors->count == 0 && c->dialect == DIALECT_TORCH) {
        if (status < 0)
            *e = why;
        else
            error_set(e, ERROR_UNSUPPORTED, "it holds no tensors%s",
                      c->tokenizer ? ", only a tokenizer" : "");
        return -1;
    }
    TRY(names_adopt(c, adopted, arch, e));
    TRY((*arch)->shape(*adopted, shape, e));
    TRY(choose_kv_dtype(*adopted, NULL, DTYPE_F16, kv_dtype, e));
    if (status < 0) {
        *e = why;
        return -1;
    }
    if (!c->tokenizer)
        TRY(build_tokenizer(c, shape->vocabulary, t, e));
    return check_vocabulary(*t, shape, e);
}

static int fill_report(const char *path, const struct checkpoint *c, struct arena *a,
                       struct engine_report *report, struct error *e)
{
    struct checkpoint *adopted = NULL;
    const struct arch *arch = NULL;
    struct tokenizer *t = NULL;
    struct model_shape shape = {0};
    enum dtype kv_dtype = DTYPE_F16;
    report->tensors = c->tensors->count;
    report->dialect = dialect_name(c->dialect);
    report->servable = check_servable(c, &adopted, &arch, &shape, &t, &kv_dtype, &report->why) == 0;
    if (!report->servable && adopted)
        names_explain(adopted, &report->why);
    int status = describe(report->servable ? adopted : c, "", path, arch, report->servable ? &shape : NULL, t,
                          a, &report->info, e);
    report->dtypes = list_dtypes(a, c);
    if (report->servable) {
        report->info.context = shape.trained_context;
        report->info.kv_bytes_per_token = bytes_per_token(&shape, kv_dtype);
    }
    for (size_t i = 0; i < c->tensors->count; i++)
        report->info.weight_bytes += c->tensors->tensors[i].bytes;
    if (status == 0 && !report->dtypes)
        status = error_no_memory(e);
    tokenizer_free(t);
    checkpoint_close(adopted);
    return status;
}

int engine_inspect(const char *path, struct engine_report *report, struct error *e)
{
    struct checkpoint *c = NULL;
    memset(report, 0, sizeof *report);
    TRY(checkpoint_open(path, &c, e));
    report->impl = arena_create(INFO_ARENA);
    int status = report->impl ? fill_report(path, c, report->impl, report, e) : error_no_memory(e);
    if (status < 0)
        engine_report_free(report);
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
    int status = v ? build_tokenizer(c, 0, &v->tokenizer, e) : error_no_memory(e);
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
    token_trie_free(v->trie);
    tokenizer_free(v->tokenizer);
    free(v);
}
