/* loader.h - a checkpoint on disk to a model that can be served.  For engine.c only. */
#ifndef LOQUAT_ENGINE_LOADER_H
#define LOQUAT_ENGINE_LOADER_H

#include "engine/base/arena.h"
#include "engine/decode/token_trie.h"
#include "engine/engine.h"
#include "engine/kernels/kernels.h"
#include "engine/schedule/scheduler.h"
#include "engine/tokenizers/tokenizer.h"

struct engine_vocabulary {
    struct tokenizer *tokenizer;
    struct token_trie *trie; /* made with the first grammar; under engine.c's lock for it */
};

struct engine_model {
    struct served_model served;
    struct engine_vocabulary vocabulary;
    struct engine_model_info info;
    struct arena *arena; /* of info's strings */
};

struct loader {
    const struct kernel_set *kernels;
    enum arithmetic arithmetic; /* that its matrices will meet */
    unsigned threads;           /* of the loader's own pool, so that ticks go on meanwhile */
    uint64_t kv_memory;         /* the ceiling that must hold one full sequence */
};

int loader_load(const struct loader *l, const char *name, const char *path,
                const struct engine_model_options *o, struct engine_model **out, struct error *e);
void loader_free_model(struct engine_model *m); /* after served_model_release() */

#endif
