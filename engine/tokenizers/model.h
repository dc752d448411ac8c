/* model.h - what a tokenizer model gives to the pipeline (tokenizer.c), which does the rest: added tokens,
 * normaliser, pre-tokenizer, post-processor, decoder.  Nobody outside this room includes it.
 *
 * The way of a text: it is cut at added tokens; each part is normalised (normalized.h), cut into pieces
 * (words), and the model turns the pieces into ids with their places. To add a model: one file with one
 * struct tokenizer_model, declared here, and one row in tokenizer.c. */
#ifndef LOQUAT_TOKENIZERS_MODEL_H
#define LOQUAT_TOKENIZERS_MODEL_H

#include "engine/tokenizers/normalized.h"
#include "engine/tokenizers/pretokenize.h"
#include "engine/tokenizers/tokenizer.h"

/* Where a model's tokens go.  Positions are bytes of the normalised text that encode() was given. */
struct token_sink {
    struct token_list ids;
    bool places; /* the arrays below are wanted; each (ids.n) */
    uint32_t *starts, *ends, *words;
    size_t cap;
};
void token_sink_free(struct token_sink *s);
int token_sink_add_place(struct token_sink *s, int32_t id, size_t start, size_t end, size_t word,
                         struct error *e);
/* Token `id` is bytes [start, end) of the text, in piece number `word`. */
static inline int token_sink_add(struct token_sink *s, int32_t id, size_t start, size_t end, size_t word,
                                 struct error *e)
{
    if (s->places || s->ids.n == s->ids.cap)
        return token_sink_add_place(s, id, start, end, word, e);
    s->ids.ids[s->ids.n++] = id;
    return 0;
}

enum pipeline_part { PIPELINE_NORMALIZER, PIPELINE_PRE_TOKENIZER, PIPELINE_POST_PROCESSOR, PIPELINE_DECODER };

struct tokenizer_model {
    const char *name; /* as tokenizer_spec.model has it */
    bool marks_words; /* a piece shows whether it begins a word or goes on with one */
    /* The spec and its arrays are borrowed for the call only. */
    int (*create)(const struct tokenizer_spec *spec, void **out, struct error *e);
    void (*release)(void *model);
    /* What a NULL part of the spec means for this model, as JSON text in the words of tokenizer.json; NULL:
     * see normalize, cut and decode below.  The function itself may be NULL. */
    const char *(*part)(const struct tokenizer_spec *spec, enum pipeline_part part);
    /* When neither the spec nor part() has a normaliser: writes *out (initialised, empty) from *in.  first:
     * nothing stands before this part of the text, else an added token.  NULL: the text is left as it is. */
    int (*normalize)(const void *model, const struct normalized *in, bool first, struct normalized *out,
                     struct error *e);
    /* When neither has a pre-tokenizer: cuts the text into pieces, added to *out.  NULL: the text is one
     * piece. */
    int (*cut)(const void *model, const char *text, size_t len, struct piece_list *out, struct error *e);
    /* Pieces [start, end) of the text, ascending, none empty, valid UTF-8, to ids.  Any thread; linear or n
     * log n. */
    int (*encode)(const void *model, const char *text, const struct piece_list *pieces,
                  struct token_sink *out, struct error *e);
    /* When neither has a decoder: appends the bytes that a token stands for, when it is neither control nor
     * user-defined.  NULL: tokens are joined with spaces, as the tokenizers library does without a decoder.
     */
    void (*decode)(const struct token_spec *token, struct buf *out);
};

extern const struct tokenizer_model bpe_bytes_model;      /* "gpt2"      bpe_bytes.c */
extern const struct tokenizer_model bpe_model;            /* "bpe"       bpe.c */
extern const struct tokenizer_model wordlevel_model;      /* "wordlevel" words.c */
extern const struct tokenizer_model words_model;          /* "word"      words.c */
extern const struct tokenizer_model chars_model;          /* "char"      chars.c */
extern const struct tokenizer_model sp_bpe_model;         /* "llama"     sp_bpe.c */
extern const struct tokenizer_model sp_unigram_model;     /* "t5"        unigram.c */
extern const struct tokenizer_model unigram_model;        /* "unigram"   unigram.c */
extern const struct tokenizer_model wordpiece_model;      /* "wordpiece" wordpiece.c */
extern const struct tokenizer_model wordpiece_ggml_model; /* "bert"      wordpiece.c */
extern const struct tokenizer_model no_text_model;        /* "none"      no_text.c */

/* Control tokens are named, not written: their text never comes from, or goes to, plain text. */
static inline bool token_is_control(enum token_type type)
{
    return type == TOKEN_CONTROL || type == TOKEN_UNKNOWN;
}

/* "<0x0A>" -> 10, or -1. */
int token_byte_value(const char *text, size_t len);

#endif
