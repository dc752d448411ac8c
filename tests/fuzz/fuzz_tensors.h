/* fuzz_tensors.h - what the harnesses of tensor formats share: whoever opens a file must hold what it claims.
 */
#ifndef LOQUAT_FUZZ_TENSORS_H
#define LOQUAT_FUZZ_TENSORS_H

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/bytes.h"
#include "engine/base/log.h"
#include "engine/formats/checkpoint.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static inline void require(bool condition)
{
    if (!condition)
        abort();
}

static inline struct bytes *fuzz_bytes(const void *data, size_t size)
{
    struct bytes *b = NULL;
    struct error e = {0};
    log_set_level(LOG_ERROR);
    require(bytes_open_memory(data, size, &b, &e) == 0);
    return b;
}

/* A refusal says why, in one line. */
static inline void require_error(const struct error *e)
{
    require(e->kind != ERROR_NONE && e->text[0] && !strchr(e->text, '\n'));
}

/* Every tensor is found by its name; its first and last bytes can be read, none behind it. */
static inline void read_tensors(const struct tensor_source *s)
{
    static uint8_t piece[4096];
    for (size_t i = 0; i < s->count; i++) {
        const struct tensor_info *t = &s->tensors[i];
        struct error e = {0};
        size_t n = t->bytes < sizeof piece ? (size_t)t->bytes : sizeof piece;
        require(s->find(s, t->name) == t);
        require(t->bytes > 0 && s->read(s, t, t->bytes - n, piece, n, &e) == 0);
        require(s->read(s, t, 0, piece, n, &e) == 0);
        require(s->read(s, t, t->bytes, piece, 1, &e) < 0);
    }
}

static inline void read_and_close(struct tensor_file *f)
{
    read_tensors(f->source);
    f->close(f);
}

#endif
