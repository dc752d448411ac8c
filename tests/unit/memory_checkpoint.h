/* memory_checkpoint.h - a checkpoint made of arrays of a test, for families that are tried without a file,
 * and what every such test needs besides: an exec, numbers that look random, messages of expected errors. */
#ifndef LOQUAT_TESTS_MEMORY_CHECKPOINT_H
#define LOQUAT_TESTS_MEMORY_CHECKPOINT_H

#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/models/names.h"

enum { MEMORY_TENSORS = 128 };

struct memory_checkpoint {
    struct checkpoint checkpoint;
    struct tensor_source source; /* its functions find the rest through this member */
    struct tensor_info infos[MEMORY_TENSORS];
    const void *data[MEMORY_TENSORS];
    char names[MEMORY_TENSORS][512];
    json_t *config;
};

static inline const struct memory_checkpoint *memory_of(const struct tensor_source *s)
{
    return (const struct memory_checkpoint *)((const char *)s - offsetof(struct memory_checkpoint, source));
}

static inline const struct tensor_info *memory_find(const struct tensor_source *s, const char *name)
{
    for (size_t i = 0; i < s->count; i++) {
        if (strcmp(s->tensors[i].name, name) == 0)
            return &s->tensors[i];
    }
    return NULL;
}

static inline int memory_read(const struct tensor_source *s, const struct tensor_info *t, uint64_t offset,
                              void *dst, size_t n, struct error *e)
{
    (void)e;
    ck_assert_uint_le(offset + n, t->bytes);
    memcpy(dst, (const char *)memory_of(s)->data[t->offset] + offset, n);
    return 0;
}

/* config: JSON text with ' for ". */
static inline struct memory_checkpoint *memory_create(enum dialect dialect, const char *architecture,
                                                      const char *config)
{
    struct memory_checkpoint *m = calloc(1, sizeof *m);
    char text[2048];
    ck_assert_ptr_nonnull(m);
    snprintf(text, sizeof text, "%s", config);
    for (char *p = text; (p = strchr(p, '\'')); p++)
        *p = '"';
    m->config = json_loads(text, 0, NULL);
    ck_assert_ptr_nonnull(m->config);
    m->source = (struct tensor_source){.tensors = m->infos, .find = memory_find, .read = memory_read};
    m->checkpoint = (struct checkpoint){.format = "memory",
                                        .dialect = dialect,
                                        .architecture = architecture,
                                        .config = m->config,
                                        .tensors = &m->source};
    return m;
}

static inline void memory_free(struct memory_checkpoint *m)
{
    json_decref(m->config);
    free(m);
}

/* data (rows, cols) is borrowed; rows 0: a vector of cols. */
static inline void memory_add(struct memory_checkpoint *m, const char *name, enum dtype dtype,
                              const void *data, size_t rows, size_t cols)
{
    size_t i = m->source.count++;
    ck_assert_uint_lt(i, MEMORY_TENSORS);
    snprintf(m->names[i], sizeof m->names[i], "%s", name);
    m->data[i] = data;
    m->infos[i] = (struct tensor_info){.name = m->names[i],
                                       .dtype = dtype,
                                       .n_dims = rows ? 2 : 1,
                                       .dims = {cols, rows ? rows : 1, 1, 1},
                                       .bytes = dtype_bytes(dtype, (rows ? rows : 1) * cols),
                                       .offset = i};
}

/* n values in (-scale, scale), always the same for the same seed; malloc'ed. */
static inline float *memory_numbers(size_t n, float scale, uint32_t seed)
{
    float *out = malloc(n * sizeof *out);
    uint32_t x = seed * 2654435761u + 1;
    ck_assert_ptr_nonnull(out);
    for (size_t i = 0; i < n; i++) {
        x = x * 1664525u + 1013904223u;
        out[i] = ((float)(x >> 8) / (float)(1 << 23) - 1) * scale;
    }
    return out;
}

/* ---- running -------------------------------------------------------------------------------------- */

struct machine {
    struct pool *pool;
    struct exec *exec;
};

static inline struct machine machine_create(void)
{
    struct machine m;
    struct error e = {0};
    ck_assert_int_eq(pool_create(2, &m.pool, &e), 0);
    ck_assert_int_eq(exec_create(kernels_select(NULL, &e), m.pool, &m.exec, &e), 0);
    return m;
}

static inline void machine_free(struct machine *m)
{
    exec_free(m->exec);
    pool_free(m->pool);
}

/* The family's model of a checkpoint in any dialect; the arch row is in the model. */
static inline struct model *memory_load(struct memory_checkpoint *m, struct exec *x, const char **inferred)
{
    struct checkpoint *adopted = NULL;
    const struct arch *arch;
    struct model_shape shape;
    struct model *model = NULL;
    struct error e = {0};
    ck_assert_msg(names_adopt(&m->checkpoint, &adopted, &arch, &e) == 0, "%s", e.text);
    ck_assert_msg(arch->shape(adopted, &shape, &e) == 0, "%s", e.text);
    ck_assert_msg(arch->load(adopted, x, 64, DTYPE_F32, &model, &e) == 0, "%s", e.text);
    ck_assert_uint_eq(shape.state_bytes, model->shape.state_bytes);
    model->arch = arch;
    if (inferred) {
        const char *text = json_string_value(json_object_get(adopted->config, "general.inferred"));
        *inferred = text ? strdup(text) : NULL;
    }
    adopted->close(adopted);
    return model;
}

/* Somewhere between adopting and loading, an error that holds `part`. */
static inline void memory_refused(struct memory_checkpoint *m, struct exec *x, const char *part)
{
    struct checkpoint *adopted = NULL;
    const struct arch *arch;
    struct model *model = NULL;
    struct error e = {0};
    int status = names_adopt(&m->checkpoint, &adopted, &arch, &e);
    if (status == 0) {
        status = arch->load(adopted, x, 64, DTYPE_F32, &model, &e);
        adopted->close(adopted);
    }
    ck_assert_int_lt(status, 0);
    ck_assert_msg(strstr(e.text, part) != NULL, "%s", e.text);
}

#endif
