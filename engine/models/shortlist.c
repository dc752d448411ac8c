/* shortlist.c - see shortlist.h. */
#include "engine/models/shortlist.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

struct shortlist {
    size_t vocabulary;
    uint64_t *offsets; /* (vocabulary + 1) into entries, ascending */
    int32_t *entries;
    size_t frequent; /* ids below are always on the list */
    bool *listed;    /* (vocabulary), of the call */
};

static int64_t integer_at(enum dtype dtype, const void *data, size_t i)
{
    return dtype == DTYPE_I64 ? ((const int64_t *)data)[i] : ((const int32_t *)data)[i];
}

/* The whole tensor, malloc'ed; *n elements. */
static int read_integers(const struct checkpoint *c, const char *name, const struct tensor_info **t,
                         void **data, size_t *n, struct error *e)
{
    *t = c->tensors->find(c->tensors, name);
    if (!*t || ((*t)->dtype != DTYPE_I32 && (*t)->dtype != DTYPE_I64))
        return error_set(e, ERROR_BAD_FORMAT, "tensor %s must be there and hold integers", name);
    *n = (*t)->bytes / dtype_bytes((*t)->dtype, 1);
    *data = malloc((*t)->bytes + 8);
    if (!*data)
        return error_no_memory(e);
    return c->tensors->read(c->tensors, *t, 0, *data, (*t)->bytes, e);
}

static int load_offsets(const struct checkpoint *c, struct shortlist *s, struct error *e)
{
    const struct tensor_info *t;
    void *data = NULL;
    size_t n = 0;
    int status = read_integers(c, "shortlist.offsets", &t, &data, &n, e);
    if (status == 0 && n < s->vocabulary + 1)
        status = error_set(e, ERROR_BAD_FORMAT, "shortlist.offsets has %zu values for a vocabulary of %zu", n,
                           s->vocabulary);
    s->offsets = status == 0 ? malloc((s->vocabulary + 1) * sizeof *s->offsets) : NULL;
    if (status == 0 && !s->offsets)
        status = error_no_memory(e);
    int64_t before = 0;
    for (size_t i = 0; status == 0 && i <= s->vocabulary; i++) {
        int64_t at = integer_at(t->dtype, data, i);
        if (at < before)
            status = error_set(e, ERROR_BAD_FORMAT, "shortlist.offsets do not ascend at %zu", i);
        s->offsets[i] = (uint64_t)at;
        before = at;
    }
    free(data);
    return status;
}

static int load_entries(const struct checkpoint *c, struct shortlist *s, struct error *e)
{
    const struct tensor_info *t;
    void *data = NULL;
    size_t n = 0;
    int status = read_integers(c, "shortlist.entries", &t, &data, &n, e);
    if (status == 0 && s->offsets[s->vocabulary] > n)
        status = error_set(e, ERROR_BAD_FORMAT, "shortlist.offsets point behind the %zu entries", n);
    s->entries = status == 0 ? malloc((n + 1) * sizeof *s->entries) : NULL;
    if (status == 0 && !s->entries)
        status = error_no_memory(e);
    for (size_t i = 0; status == 0 && i < n; i++) {
        int64_t id = integer_at(t->dtype, data, i);
        if (id < 0 || (uint64_t)id >= s->vocabulary)
            status = error_set(e, ERROR_BAD_FORMAT, "shortlist.entries[%zu] is not in the vocabulary", i);
        s->entries[i] = (int32_t)id;
    }
    free(data);
    return status;
}

static int load_frequent(const struct checkpoint *c, struct shortlist *s, struct error *e)
{
    const struct tensor_info *t;
    void *data = NULL;
    size_t n = 0;
    int status = read_integers(c, "shortlist.frequent", &t, &data, &n, e);
    if (status == 0) {
        int64_t frequent = n ? integer_at(t->dtype, data, 0) : 0;
        s->frequent = frequent > 0 && (uint64_t)frequent <= s->vocabulary ? (size_t)frequent : 0;
    }
    free(data);
    return status;
}

int shortlist_load(const struct checkpoint *c, size_t vocabulary, struct shortlist **out, struct error *e)
{
    *out = NULL;
    if (!c->tensors->find(c->tensors, "shortlist.offsets"))
        return 0;
    struct shortlist *s = calloc(1, sizeof *s);
    if (!s)
        return error_no_memory(e);
    s->vocabulary = vocabulary;
    s->listed = malloc(vocabulary * sizeof *s->listed);
    int status = s->listed ? load_offsets(c, s, e) : error_no_memory(e);
    if (status == 0)
        status = load_entries(c, s, e);
    if (status == 0)
        status = load_frequent(c, s, e);
    if (status < 0) {
        shortlist_free(s);
        return -1;
    }
    *out = s;
    return 0;
}

void shortlist_free(struct shortlist *s)
{
    if (!s)
        return;
    free(s->offsets);
    free(s->entries);
    free(s->listed);
    free(s);
}

int shortlist_apply(struct shortlist *s, const int32_t *source, size_t n, float *logits)
{
    size_t count = s->frequent;
    memset(s->listed, 1, s->frequent);
    memset(s->listed + s->frequent, 0, s->vocabulary - s->frequent);
    for (size_t i = 0; i < n; i++) {
        for (uint64_t k = s->offsets[source[i]]; k < s->offsets[source[i] + 1]; k++) {
            bool *listed = &s->listed[s->entries[k]];
            count += !*listed;
            *listed = true;
        }
    }
    for (size_t i = s->frequent; count % 8 != 0 && i < s->vocabulary; i++) { /* Marian fills up a vector */
        count += !s->listed[i];
        s->listed[i] = true;
    }
    for (size_t i = 0; i < s->vocabulary; i++) /* without a branch, so that compilers make vectors of it */
        logits[i] = s->listed[i] ? logits[i] : -INFINITY;
    return 0;
}
