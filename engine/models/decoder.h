/* decoder.h - a whole decoder-only model built of transformer layers: token embeddings, positions, layers,
 * last norm and head.  A family (llama.c, gpt2.c, …) is a struct decoder_family, the words of its other
 * dialects, and a struct arch whose functions hand both to the ones here.  What GGUF's keys say is read here,
 * for all of them. Thread: decoder_shape() and decoder_load() on the loader's, decoder_forward() on the
 * scheduler's. */
#ifndef LOQUAT_MODELS_DECODER_H
#define LOQUAT_MODELS_DECODER_H

#include "engine/models/names.h"
#include "engine/models/transformer.h"

struct decoder_options {
    struct model_shape shape;
    struct transformer_options layer;
    size_t n_rot; /* dimensions of a head that turn; 0 without rotary positions */
    struct rotary_options rotary, local_rotary;
    bool two_rotaries;        /* local layers have a base of their own (Gemma 3) */
    size_t window;            /* of local layers; 0 = none */
    bool local[LIMIT_LAYERS]; /* which layers see the window only */
    float embedding_scale;    /* 1 = none */
    bool scores_by_layer;     /* scores of layer i are divided by i + 1 as well (some of GPT-2's children) */
    bool has_head;            /* token logits: not the bare models published for embeddings */
    bool own_head;            /* output.weight; else the token embedding serves (Press & Wolf, 2017) */
};

/* What every layer of the family must have, whatever its file holds. */
enum {
    DECODER_GATE = 1,       /* a gated feed forward (Shazeer, 2020) */
    DECODER_HEAD_NORMS = 2, /* of queries and keys */
    DECODER_POST_NORMS = 4, /* of what attention and feed forward add */
    DECODER_QKV_BIAS = 8
};

struct decoder_family {
    bool layer_norm;        /* else RMSNorm (Zhang & Sennrich, 2019) */
    bool learned_positions; /* position_embd.weight */
    bool rotary, interleaved;
    enum activation activation; /* of files that do not say */
    unsigned expects;           /* DECODER_… */
    size_t window_pattern; /* of files that do not say: every n-th layer sees everything; 0 = none does */
    /* What only this family's keys say, after the rest has been read; or NULL. */
    int (*adjust)(const struct checkpoint *c, struct decoder_options *o, struct error *e);
};

/* What a family's struct arch calls: shape(), load(), forward() and free() of arch.h, of that family. */
int decoder_shape(const struct decoder_family *f, const struct checkpoint *c, struct model_shape *out,
                  struct error *e);
int decoder_load(const struct decoder_family *f, const struct checkpoint *c, struct exec *x, size_t context,
                 enum dtype kv_dtype, struct model **out, struct error *e);
int decoder_forward(struct model *m, struct exec *x, const struct batch *batch);
int decoder_logits(struct model *m, struct exec *x, const struct batch *batch, size_t first, size_t n,
                   float *out);
void decoder_model_free(struct model *m);

/* ---- config.json of transformers ------------------------------------------------------------------ */

/* How a family's config.json is to be read.  Llama's words are the common ones; prepare() brings a family's
 * own into them. */
struct decoder_words {
    const char *arch;
    const char *defaults; /* JSON object in common words: what the configuration class of transformers takes
                             for what is not said */
    bool layer_norm, rotary;
    int (*prepare)(json_t *config, struct error *e); /* a copy that may be changed; or NULL */
    /* What only this family says, in GGUF's words; or NULL. */
    int (*finish)(const json_t *config, json_t *out, struct error *e);
};
int decoder_translate(const struct decoder_words *w, const struct checkpoint *c, json_t *out,
                      struct error *e);

/* config[common] = config[own] where only the latter is there. */
int decoder_rename(json_t *config, const char *own, const char *common, struct error *e);

/* Rows of a naming: a layer's matrix or norm with the bias that may be beside it. */
#define DECODER_ROWS(gguf, other, change, bias_change)                                                       \
    {"blk.%zu." gguf ".weight", other ".weight", change},                                                    \
    {                                                                                                        \
        "blk.%zu." gguf ".bias", other ".bias", bias_change                                                  \
    }
#define DECODER_LAYER(gguf, other, change) DECODER_ROWS(gguf, "layers.%zu." other, change, change)

#endif
