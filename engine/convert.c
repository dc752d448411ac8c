/* convert.c - engine_convert(): any checkpoint as one GGUF or safetensors file.
 * Joins formats (reading, writing) and models (names.h, which presents every dialect in GGUF's words).
 * Tensors go through in pieces, so memory does not grow with the model.  Thread: any.
 * To add a target: a writer in formats/checkpoint_write.h and a row in targets[]. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "engine/engine.h"
#include "engine/formats/checkpoint.h"
#include "engine/formats/checkpoint_write.h"
#include "engine/models/names.h"

struct target {
    const char *ending;
    int (*write)(const struct checkpoint_write *w, struct error *e);
    bool (*accepts)(enum dtype t);
    bool float_vectors; /* readers of the format want vectors as float32, whatever the file had */
};

/* safetensors has a type for every number, and none for blocks. */
static bool is_plain(enum dtype t)
{
    return dtype_row(t)->block_values == 1;
}

static const struct target targets[] = {{".gguf", gguf_write, gguf_writes, true},
                                        {".safetensors", safetensors_write, is_plain, false}};

struct conversion {
    const struct target *target;
    const struct engine_convert_options *o;
    int wish; /* dtype, or -1: as they are */
    struct checkpoint *file, *adopted;
    struct arena *arena;
    struct checkpoint written; /* the adopted one, with what its config does not say in it */
    json_t *config;            /* of written */
    enum dtype *types;         /* (tensors) */
    struct tokenizer_words tokenizer;
};

static const struct target *find_target(const char *dst)
{
    size_t n = strlen(dst);
    for (size_t i = 0; i < sizeof targets / sizeof targets[0]; i++) {
        size_t m = strlen(targets[i].ending);
        if (n > m && strcmp(dst + n - m, targets[i].ending) == 0)
            return &targets[i];
    }
    return NULL;
}

/* "q8_0", "F16" …, in either case; -1 when unknown or nothing that the target can hold. */
static int find_type(const struct target *target, const char *name)
{
    for (int t = 0; t < DTYPES; t++) {
        const struct dtype_row *row = dtype_row((enum dtype)t);
        if (row->from_f32 && target->accepts((enum dtype)t) && strcasecmp(row->name, name) == 0)
            return t;
    }
    return -1;
}

static int error_bad_type(const struct target *target, const char *name, struct error *e)
{
    char names[160] = "";
    for (int t = 0; t < DTYPES; t++) {
        const struct dtype_row *row = dtype_row((enum dtype)t);
        if (!row->from_f32 || !target->accepts((enum dtype)t))
            continue;
        strncat(names, *names ? ", " : "", sizeof names - strlen(names) - 1);
        strncat(names, row->name, sizeof names - strlen(names) - 1);
    }
    return error_param(e, ERROR_BAD_OPTION, "--type",
                       "--type: '%.32s' can't be written to a %s file (%s can)", name, target->ending, names);
}

static void say(const struct conversion *c, const char *line)
{
    if (c->o->say)
        c->o->say(c->o->user, line);
}

/* ---- which type a tensor gets -------------------------------------------------------------------- */

static bool is_number_table(enum dtype t)
{
    static const enum dtype whole[] = {DTYPE_I8, DTYPE_I16, DTYPE_I32, DTYPE_I64, DTYPE_U8, DTYPE_BOOL};
    for (size_t i = 0; i < sizeof whole / sizeof whole[0]; i++) {
        if (whole[i] == t)
            return true;
    }
    return false;
}

/* What is added or multiplied element by element: small, and worth its precision. */
static bool is_vector(const struct tensor_info *t)
{
    static const char *const parts[] = {"norm",        ".bias",       "position_embd.", "token_types.",
                                        "attn_rel_b.", "rope_freqs.", "rope_factors_"};
    uint64_t longest = 1, elements = 1;
    for (unsigned i = 0; i < t->n_dims; i++) {
        longest = t->dims[i] > longest ? t->dims[i] : longest;
        elements *= t->dims[i];
    }
    bool found = longest == elements;
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++)
        found = found || strstr(t->name, parts[i]) != NULL;
    return found;
}

static enum dtype unchanged_type(const struct conversion *c, const struct tensor_info *t)
{
    if (is_vector(t) && c->target->float_vectors)
        return DTYPE_F32;
    return t->dtype == DTYPE_F64 || !c->target->accepts(t->dtype) ? DTYPE_F32 : t->dtype;
}

static enum dtype choose_type(const struct conversion *c, const struct tensor_info *t)
{
    char line[LIMIT_TENSOR_NAME + 96];
    if (is_number_table(t->dtype))
        return t->dtype;
    if (c->wish < 0)
        return unchanged_type(c, t);
    if (is_vector(t))
        return DTYPE_F32;
    const struct dtype_row *row = dtype_row((enum dtype)c->wish);
    if (t->dims[0] % row->block_values == 0)
        return (enum dtype)c->wish;
    snprintf(line, sizeof line, "%s stays F16: its rows of %llu values are no multiple of %zu", t->name,
             (unsigned long long)t->dims[0], row->block_values);
    say(c, line);
    return DTYPE_F16;
}

static int choose_types(struct conversion *c, struct error *e)
{
    const struct tensor_source *s = c->adopted->tensors;
    c->types = arena_alloc(c->arena, s->count + 1, sizeof *c->types);
    if (!c->types)
        return error_no_memory(e);
    for (size_t i = 0; i < s->count; i++) {
        c->types[i] = choose_type(c, &s->tensors[i]);
        if (!c->target->accepts(c->types[i]))
            return error_set(e, ERROR_UNSUPPORTED, "tensor %s is of type %s, which a %s file can't hold",
                             s->tensors[i].name, dtype_row(c->types[i])->name, c->target->ending);
    }
    return 0;
}

/* The type that holds most of the elements. */
static enum dtype main_type(const struct conversion *c)
{
    uint64_t counts[DTYPES] = {0};
    enum dtype best = DTYPE_F32;
    const struct tensor_source *s = c->adopted->tensors;
    for (size_t i = 0; i < s->count; i++) {
        const struct dtype_row *row = dtype_row(s->tensors[i].dtype);
        counts[c->types[i]] += s->tensors[i].bytes / row->block_bytes * row->block_values;
    }
    for (int t = 0; t < DTYPES; t++)
        best = counts[t] > counts[best] ? (enum dtype)t : best;
    return best;
}

/* ---- reading and writing ------------------------------------------------------------------------- */

/* The last part of the path, without an ending that names a format. */
static const char *name_of(struct arena *a, const char *path)
{
    size_t n = strlen(path);
    while (n > 1 && path[n - 1] == '/')
        n--;
    size_t start = n;
    while (start > 0 && path[start - 1] != '/')
        start--;
    size_t end = n;
    for (size_t i = start + 1; i < n; i++) {
        if (path[i] == '.' && n - i < sizeof ".safetensors")
            end = i;
    }
    return arena_copy(a, path + start, end - start);
}

/* Some files hold more than the model: masks, numbers that follow from the config, a trainer's state. */
static void say_left_out(const struct conversion *c)
{
    char line[160];
    size_t all = c->file->tensors->count, used = c->adopted->tensors->count;
    snprintf(line, sizeof line, "%zu of %zu tensors are no part of the model and are left out", all - used,
             all);
    if (used < all)
        say(c, line);
}

static int put_text(json_t *config, const char *key, const char *text)
{
    return text ? json_object_set_new(config, key, json_string(text)) : 0;
}

/* What the checkpoint says outside its config goes into it; writers write nothing else. */
static int complete_config(struct conversion *c, const char *src, struct error *e)
{
    c->written = *c->adopted;
    if (!c->written.name)
        c->written.name = name_of(c->arena, src);
    c->config = json_copy((json_t *)(uintptr_t)c->adopted->config);
    c->written.config = c->config;
    if (!c->config || put_text(c->config, "general.name", c->written.name) < 0 ||
        put_text(c->config, CHECKPOINT_SOURCE_LANGUAGE, c->adopted->source_language) < 0 ||
        put_text(c->config, CHECKPOINT_TARGET_LANGUAGE, c->adopted->target_language) < 0)
        return error_no_memory(e);
    return 0;
}

static int write_file(struct conversion *c, const char *dst, struct error *e)
{
    struct checkpoint_write w = {.c = &c->written,
                                 .types = c->types,
                                 .main_type = main_type(c),
                                 .tokenizer = &c->tokenizer,
                                 .stop = c->o->stop,
                                 .user = c->o->user};
    TRY(output_open(dst, c->o->replace, &w.out, e));
    if (c->target->write(&w, e) < 0) {
        output_discard(w.out);
        return -1;
    }
    return output_commit_take(w.out, e);
}

static size_t vocabulary_of(const struct checkpoint *c)
{
    const struct tensor_info *embedding = c->tensors->find(c->tensors, "token_embd.weight");
    return embedding && embedding->dims[1] <= LIMIT_VOCABULARY ? (size_t)embedding->dims[1] : 0;
}

static int convert(struct conversion *c, const char *src, const char *dst, struct error *e)
{
    const struct arch *arch = NULL;
    c->arena = arena_create(LIMIT_FILE_ARENA);
    if (!c->arena)
        return error_no_memory(e);
    TRY(checkpoint_open(src, &c->file, e));
    if (names_adopt(c->file, &c->adopted, &arch, e) < 0 || choose_types(c, e) < 0)
        return error_prefix(e, "%s", src);
    if (c->adopted->tokenizer)
        TRY(tokenizer_words_make(c->adopted->tokenizer, vocabulary_of(c->adopted), c->arena, &c->tokenizer,
                                 e));
    if (c->tokenizer.note)
        say(c, c->tokenizer.note);
    say_left_out(c);
    TRY(complete_config(c, src, e));
    return write_file(c, dst, e);
}

int engine_convert(const char *src, const char *dst, const struct engine_convert_options *o, struct error *e)
{
    struct conversion c = {.target = find_target(dst), .o = o, .wish = -1};
    if (!c.target)
        return error_set(e, ERROR_BAD_OPTION, "%.200s: the name must end with .gguf or .safetensors", dst);
    if (o->type && (c.wish = find_type(c.target, o->type)) < 0)
        return error_bad_type(c.target, o->type, e);
    int status = convert(&c, src, dst, e);
    tokenizer_words_free(&c.tokenizer);
    json_decref(c.config);
    checkpoint_close(c.adopted);
    checkpoint_close(c.file);
    arena_free(c.arena);
    return status;
}
