/* names.h - one language for all dialects: a checkpoint of transformers, PyTorch, Marian or ARPA, as if it
 * were a GGUF file.  A family says once which of its tensors and hyperparameters is called what elsewhere;
 * loading, `inspect` and `convert` then all read GGUF's names, shapes and conventions. Thread: any, one per
 * checkpoint. */
#ifndef LOQUAT_MODELS_NAMES_H
#define LOQUAT_MODELS_NAMES_H

#include "engine/base/arena.h"
#include "engine/models/arch.h"

/* How a published tensor becomes the one that GGUF keeps. */
enum tensor_change {
    CHANGE_NONE,
    CHANGE_TRANSPOSE,    /* Conv1D stores (in, out) */
    CHANGE_SKIP_ROWS,    /* the first "names.skipped_rows" rows are left out: positions that no text uses */
    CHANGE_ROTARY_PAIRS, /* rows of each query head: halves become interleaved pairs */
    CHANGE_ROTARY_PAIRS_KV, /* the same for key heads */
    CHANGE_PLUS_ONE,        /* norm scales kept as 1 + w */
    CHANGE_SQUEEZE,         /* a matrix kept with a dimension of 1 in its middle or before it */
    CHANGE_HEADS_QKV /* (heads, 3, head_dim) rows of a fused matrix or vector become (3, heads, head_dim) */
};

struct tensor_name {
    const char *gguf;  /* "blk.%zu.attn_q.weight"; %zu is the layer */
    const char *other; /* "layers.%zu.self_attn.q_proj.weight", without a prefix of the naming; "{key}" stands
                          for the text that translate() put under "names.key" (files that name their modules
                          as they like), "{key%zu}" for that of each layer */
    enum tensor_change change;
};

/* One dialect of one architecture. */
struct naming {
    enum dialect dialect;     /* DIALECT_GGUF ends a list */
    const char *const *types; /* values of checkpoint.architecture, NULL-terminated */
    /* For files that do not say what they are: whether shapes and names fit; may be NULL. */
    bool (*recognise)(const struct checkpoint *c);
    const char *const *prefixes; /* tried in order before each name ("model.", "transformer."), "" included;
                                    NULL-terminated; NULL = none */
    const struct tensor_name *tensors; /* closed by an empty row */
    /* Writes GGUF keys for what c->config (or, where it is silent, the tensors' shapes) says.  Unknown
     * activations, rotary types and the like are errors, never defaults.  names_… below help. */
    int (*translate)(const struct checkpoint *c, json_t *out, struct error *e);
};

/* c in GGUF's words: *out borrows from c, which must outlive it, and is closed by its own close().  A GGUF
 * checkpoint comes out as it is.  *arch: its row.  An unknown architecture is an error that lists the known.
 */
int names_adopt(const struct checkpoint *c, struct checkpoint **out, const struct arch **arch,
                struct error *e);

/* Families know only GGUF's names; where an error of theirs says "tensor NAME", the name that the file gives
 * to it, or would give, is put behind. */
void names_explain(const struct checkpoint *adopted, struct error *e);

/* "gelu_new", "swish", "relu" … as people write them, and our own names; false when unknown. */
bool activation_find(const char *name, enum activation *out);

/* Rows of a translation: number, bool or string of config[other] as key "ARCH.gguf"; absent ones are left
 * out. `also`: an older name tried second, or NULL. */
struct key_name {
    const char *gguf, *other, *also;
};
int names_copy_keys(const struct checkpoint *c, const char *arch, const struct key_name *keys, size_t n,
                    json_t *out, struct error *e);
/* "ARCH.key" = value (a new reference, stolen); an error when memory is out or value is NULL. */
int names_put(json_t *out, const char *arch, const char *key, json_t *value, struct error *e);
/* What every transformers checkpoint may say besides: context, vocabulary, token ids and generation rules
 * ("generation.eos_token_ids", …: base/generation.h), labels (id2label) and problem_type as
 * "ARCH.classifier.output_labels" and "ARCH.classifier.problem", the head from "architectures" as "ARCH.head"
 * ("causal", "masked", "sequence", "token", "span", "none", "seq2seq"), pooling. */
int names_translate_common(const struct checkpoint *c, const char *arch, json_t *out, struct error *e);
/* rope_theta, rope_scaling or rope_parameters -> rope.freq_base, rope.scaling.*; llama3 factors become the
 * tensor rope_freqs.weight of the adopted checkpoint.  An unknown type is an error. */
int names_translate_rotary(const struct checkpoint *c, const char *arch, json_t *out, struct error *e);
/* A small tensor that the file keeps as numbers of its config, added to the adopted ones as float32. */
int names_put_tensor(json_t *out, const char *gguf, const json_t *numbers, struct error *e);
/* One sentence of what no file says and shapes decided: for `inspect`. */
int names_put_inferred(json_t *out, const char *sentence, struct error *e);
/* config[key] as one of the activations of kernels.h -> "ARCH.activation"; `fallback` when absent. */
int names_translate_activation(const struct checkpoint *c, const char *arch, const char *key,
                               const char *fallback, json_t *out, struct error *e);

#endif
