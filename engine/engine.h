/* engine.h - the engine's whole surface: open, load, tokenize, submit, cancel, events, stats.
 * No HTTP and no JSON here: jobs are token ids in, events of tokens and text out.
 *
 * Life of a job: the caller fills a struct engine_job and gives it away with engine_submit_take().
 * The scheduler thread answers through on_event: any number of PROMPT and STEP events, then exactly
 * one FINAL, whatever happens.  Event memory is borrowed until the callback returns.  A callback must
 * not block and must not call back into the engine except engine_cancel() and engine_pause(). */
#ifndef LOQUAT_ENGINE_ENGINE_H
#define LOQUAT_ENGINE_ENGINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/buf.h"
#include "engine/base/error.h"
#include "engine/base/job.h"

struct engine;
struct engine_model;

/* ---- opening -------------------------------------------------------------------------------- */

struct engine_options {
    unsigned threads;       /* of the pool, the scheduler included; 0 = what the machine grants */
    uint64_t kv_memory;     /* hard ceiling for all models' KV pages, bytes; 0 = chosen from free memory */
    const char *kernels;    /* kernel set by name, or NULL for the best */
    const char *arithmetic; /* "fast" or NULL; "exact": the same bits with every kernel set */
    const char *policy;     /* row of the POLICY TABLE, or NULL */
    size_t batch_tokens;    /* token budget of a tick, at most; 0 = default */
    size_t max_sequences;   /* running at once; 0 = default */
    size_t queue_requests;  /* waiting jobs; 0 = default */
    size_t queue_tokens;    /* their prompt tokens; 0 = default */
    uint64_t queue_deadline_ns; /* a job that waited longer fails with ERROR_DEADLINE; 0 = default */
    bool prefix_reuse;          /* keep and find full pages of finished prompts */
    size_t speculation; /* tokens drafted at once for a sequence from its own text, at most; 0 = off */
};

void engine_options_init(struct engine_options *o); /* zeroes; prefix_reuse and speculation on */
int engine_open(const struct engine_options *o, struct engine **out, struct error *e);
/* Cancels what runs, waits for the scheduler, frees models.  Every job has had its FINAL event after it. */
void engine_close(struct engine *engine);
const char *engine_kernels(const struct engine *engine);
unsigned engine_threads(const struct engine *engine);

/* ---- models --------------------------------------------------------------------------------- */

struct engine_model_options {
    size_t context;      /* tokens of one sequence; 0 = the checkpoint's own */
    const char *kv_type; /* "f16", "bf16", "f32" or NULL: f32 for float weights, else f16 or, where that is
                            quicker, bf16 */
    /* What float matrices are multiplied as: "f32" or NULL, as the checkpoint has them; "bf16" with bf16
     * activations; "q8": Q8_0 in the int8 block arithmetic.  Refused where they are quantised already, or
     * where there are none. */
    const char *precision;
};

struct engine_prefix {
    const char *task, *text;
};

struct engine_model_info {
    const char *name, *path;
    const char *format, *architecture; /* "GGUF v3", "llama" */
    const char *description;           /* general.name, or "" */
    const char *dtype;                 /* the dtype most weights have */
    const char *tokenizer, *pre_tokenizer;
    bool marks_words;                /* its pieces say where words begin */
    const char *chat_template;       /* source, or NULL */
    const char *bos_text, *eos_text; /* "" when absent */
    int32_t bos, eos;                /* -1 when absent */
    size_t context, trained_context, vocabulary, layers, embedding;
    uint64_t parameters, weight_bytes, file_bytes;
    uint64_t kv_bytes_per_token;
    unsigned abilities;        /* ENGINE_CAN_… */
    size_t source_context;     /* most source tokens of an encoder-decoder; 0 = none */
    const char *const *labels; /* n_labels names of CLASSIFY or TAG, in the order of a RESULT's columns */
    size_t n_labels;
    enum engine_problem problem;
    enum engine_pooling pooling; /* what ENGINE_POOLING_DEFAULT means here */
    bool normalize;              /* embeddings have length 1 unless asked otherwise */
    int32_t mask;                /* -1 when there is none */
    const char *mask_text;
    /* The checkpoint's own wishes for generation; 0 when it says nothing. */
    unsigned beams, max_new_tokens;
    float length_penalty, max_length_ratio;
    bool early_stopping;
    unsigned no_repeat_ngram;
    const char *source_language, *target_language; /* of a translator that knows one pair, "en"; else "" */
    /* Things that it was trained to do when a text begins so: name "summarization", prefix "summarize: ". */
    const struct engine_prefix *prefixes;
    size_t n_prefixes;
    const char *inferred; /* what was guessed because no file says it; "" when nothing was */
    int64_t created;      /* file's modification time, Unix seconds */
};

/* Loads a checkpoint; blocks (fraction of a second to seconds).  Any thread; jobs of other models go on.
 * Refused when the KV ceiling cannot hold one full sequence. */
int engine_load(struct engine *engine, const char *name, const char *path,
                const struct engine_model_options *o, struct engine_model **out, struct error *e);
/* NULL, "" or "default" = the first one loaded.  NULL when there is none of that name. */
struct engine_model *engine_find_model(struct engine *engine, const char *name);
size_t engine_models(struct engine *engine, struct engine_model **out, size_t max);  /* in order of loading */
const struct engine_model_info *engine_model_info(const struct engine_model *model); /* never changes */

/* What `inspect` tells, without loading weights.  Strings live in *report until engine_report_free(). */
struct engine_report {
    struct engine_model_info info; /* name, created unused */
    const char *dialect;           /* whose names its tensors and hyperparameters have */
    size_t tensors;
    char *dtypes; /* "Q4_1 x210, Q8_0 x1, F32 x61" */
    bool servable;
    struct error why; /* when not servable */
    void *impl;
};
int engine_inspect(const char *path, struct engine_report *report, struct error *e);
void engine_report_free(struct engine_report *report);

/* What `convert` does: src, any checkpoint, as one file with GGUF's names and conventions. */
struct engine_convert_options {
    const char *type; /* of matrices: "q8_0", "f16" …; NULL: as they are.  Vectors stay float32 */
    bool replace;     /* dst may exist */
    bool (*stop)(
        void *user); /* asked between pieces of tensors; true ends it with ERROR_CANCELLED; or NULL */
    void (*say)(void *user, const char *line); /* what people should know of the result; or NULL */
    void *user;
};
/* dst ends with .gguf or .safetensors; it appears whole or not at all. */
int engine_convert(const char *src, const char *dst, const struct engine_convert_options *o, struct error *e);

/* A tokenizer without weights: any checkpoint or vocabulary-only file. */
struct engine_vocabulary;
int engine_vocabulary_open(const char *path, struct engine_vocabulary **out, struct error *e);
void engine_vocabulary_close(struct engine_vocabulary *v);
struct engine_vocabulary *
engine_model_vocabulary(struct engine_model *model); /* borrowed; not to be closed */

/* ---- tokens; any thread --------------------------------------------------------------------- */

enum { ENGINE_ADD_SPECIAL = 1, ENGINE_PARSE_SPECIAL = 2 };

struct engine_span { /* bytes [start, end) that are a user's words: no special token is seen in or across them
                      */
    size_t start, end;
};

/* *ids is malloc'ed, the caller's.  text must be UTF-8. */
int engine_tokenize(const struct engine_vocabulary *v, const char *text, size_t len, unsigned flags,
                    const struct engine_span *literal, size_t n_literal, int32_t **ids, size_t *n,
                    struct error *e);
/* Tokens of one text or of a pair, as an encoder wants them, with where they come from. */
struct engine_encoding {
    size_t n;
    int32_t *ids;
    uint8_t *types;          /* token types */
    uint8_t *sequence;       /* 0 the text, 1 its pair, 255 a special token */
    uint32_t *starts, *ends; /* bytes of that text; 0, 0 for special tokens */
    uint32_t *words;         /* number of the word in that text; UINT32_MAX for special tokens */
};
/* pair: NULL when there is none.  *out is filled with malloc'ed arrays, freed by engine_encoding_free(). */
int engine_encode(const struct engine_vocabulary *v, const char *text, size_t len, const char *pair,
                  size_t pair_len, unsigned flags, struct engine_encoding *out, struct error *e);
void engine_encoding_free(struct engine_encoding *encoding);
/* Appends UTF-8; bytes that are no UTF-8 become U+FFFD.  An id outside the vocabulary is an error. */
int engine_detokenize(const struct engine_vocabulary *v, const int32_t *ids, size_t n, bool show_control,
                      struct buf *out, struct error *e);
size_t engine_vocabulary_size(const struct engine_vocabulary *v);
const char *engine_token_bytes(const struct engine_vocabulary *v, int32_t id,
                               size_t *len); /* raw bytes, borrowed */
/* The token as the vocabulary writes it: "##ing", "\u0120the"; borrowed. */
const char *engine_token_piece(const struct engine_vocabulary *v, int32_t id, size_t *len);
bool engine_token_is_control(const struct engine_vocabulary *v, int32_t id);

/* ---- grammars; any thread -------------------------------------------------------------------- */

/* What an answer may say, for one vocabulary.  The text is GBNF (the syntax of llama.cpp's grammars; its root
 * rule is `root`), with two words more; see decode/grammar_tree.h, which also says how control tokens are
 * written. A text without the grammar's own control tokens has none; the answer may end only where the
 * grammar does. Counted by references: create and share give one each.  v must outlive it. Errors:
 * ERROR_INVALID_REQUEST that names the line or the rule. */
int engine_grammar_create(struct engine_vocabulary *v, const char *text, size_t len,
                          struct engine_grammar **out, struct error *e);
struct engine_grammar *engine_grammar_share(struct engine_grammar *g);
void engine_grammar_release(struct engine_grammar *g); /* NULL is fine */
size_t engine_grammar_bytes(struct engine_grammar *g); /* about what it takes, caches included */

/* ---- jobs ----------------------------------------------------------------------------------- */

/* 0 and a job id (never 0) when queued.  Errors: CONTEXT_LENGTH, QUEUE_FULL, DRAINING, INVALID_REQUEST …;
 * then there is no event. */
int engine_submit_take(struct engine *engine, struct engine_job *job, uint64_t *id, struct error *e);
/* Queued, prefilling or decoding: its pages are freed and FINAL comes with ERROR_CANCELLED.  Unknown ids are
 * ignored. */
void engine_cancel(struct engine *engine, uint64_t id);
/* A paused job keeps its pages but is not scheduled (back-pressure). */
void engine_pause(struct engine *engine, uint64_t id, bool paused);

/* ---- state ---------------------------------------------------------------------------------- */

void engine_stats(struct engine *engine, struct engine_stats *out); /* any thread, never waits for a tick */
/* Seconds the queue needs at the measured rate, at least 1: what Retry-After says. */
unsigned engine_retry_after(struct engine *engine);
/* ns since the scheduler last showed life; an idle scheduler beats about every 100 ms. */
uint64_t engine_heartbeat_age(struct engine *engine);
/* From now on submit fails with ERROR_DRAINING; what was accepted goes on. */
void engine_drain(struct engine *engine);

#endif
