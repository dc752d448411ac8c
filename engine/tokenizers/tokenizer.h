/* tokenizer.h - text to token ids and back.
 * A tokenizer is immutable once built: any thread may use it.  Byte-level BPE follows GPT-2
 * (Radford et al., 2019) with the pre-tokenizer patterns of the models that name them. */
#ifndef LOQUAT_TOKENIZERS_TOKENIZER_H
#define LOQUAT_TOKENIZERS_TOKENIZER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/buf.h"
#include "engine/base/tokenizer_spec.h"
#include "engine/base/error.h"

struct tokenizer;

/* The spec and its arrays may go once this returns.  An unknown model or pre-tokenizer, or a vocabulary
 * that contradicts itself, is an error that names it. */
int tokenizer_create(const struct tokenizer_spec *spec, struct tokenizer **out, struct error *e);
void tokenizer_free(struct tokenizer *t);

size_t tokenizer_size(const struct tokenizer *t);
const struct tokenizer_spec *
tokenizer_special(const struct tokenizer *t); /* bos, eos … and flags; no arrays */
const char *tokenizer_pre(const struct tokenizer *t);
bool tokenizer_marks_words(const struct tokenizer *t); /* its pieces say where words begin: WordPiece */

enum {
    TOKENIZE_ADD_SPECIAL = 1,  /* BOS/EOS as the checkpoint asks */
    TOKENIZE_PARSE_SPECIAL = 2 /* "<|im_end|>" in the text is that token */
};

/* Bytes [start, end) of the text that are a user's words: no special token is recognised in or across them.
 */
struct text_span {
    size_t start, end;
};

/* Grows as tokens come; ids is malloc'ed and owned by whoever holds the list. */
struct token_list {
    int32_t *ids;
    size_t n, cap;
};
void token_list_free(struct token_list *l);
int token_list_add(struct token_list *l, int32_t id, struct error *e);

/* Appends to *out.  text must be UTF-8; literal spans are ascending and disjoint.
 * Time is O(len log len) on any text. */
int tokenizer_encode(const struct tokenizer *t, const char *text, size_t len, unsigned flags,
                     const struct text_span *literal, size_t n_literal, struct token_list *out,
                     struct error *e);

/* Tokens with where they come from; arrays of n, malloc'ed, as engine_encoding in engine.h. */
struct encoding {
    size_t n, cap;
    int32_t *ids;
    uint8_t *types;    /* token types as the post-processor gives them */
    uint8_t *sequence; /* 0 the text, 1 the pair, 255 a special token that the post-processor adds */
    uint32_t *starts,
        *ends;       /* bytes of the original text, before normalisation; 0 for added special tokens */
    uint32_t *words; /* as the pre-tokenizer cuts; UINT32_MAX for added special tokens */
};
void encoding_free(struct encoding *x);
/* pair NULL: one text.  Same ids as tokenizer_encode() where that applies. */
int tokenizer_encode_pair(const struct tokenizer *t, const char *text, size_t len, const char *pair,
                          size_t pair_len, unsigned flags, struct encoding *out, struct error *e);

/* The bytes a token stands for (not always whole characters).  Control tokens: their name, e.g. "<|im_end|>".
 * Borrowed.  id must be < tokenizer_size(). */
const char *tokenizer_token_bytes(const struct tokenizer *t, int32_t id, size_t *len);
/* The token as the file writes it: "##ing", "\u2581the".  Borrowed. */
const char *tokenizer_token_text(const struct tokenizer *t, int32_t id, size_t *len);
bool tokenizer_is_control(const struct tokenizer *t, int32_t id);
bool tokenizer_is_end(const struct tokenizer *t, int32_t id); /* ends a generation: eos, eot and their like */

enum {
    DECODE_RUN_BYTES = 1024, /* byte tokens in a row that are held until they are known to be UTF-8 */
    MAX_DECODE_STEPS = 8
};

/* What a decoder (decoder.h) remembers between two tokens. */
struct decode_step {
    uint32_t done, held;
};
struct decode_state {
    bool seen, text_seen; /* a token came, a text came out of it */
    bool bad_run;
    uint16_t n_run, n_valid; /* bytes of the run, and of whole characters at its front */
    unsigned char run[DECODE_RUN_BYTES];
    struct decode_step steps[MAX_DECODE_STEPS];
};

/* Streaming detokenisation: whole code points only; pushing tokens one by one gives what all at once would.
 * Bytes that can never become UTF-8 come out as U+FFFD.  Control tokens give no text unless show_control
 * or shown. * Owns no memory. */
struct detokenizer {
    const struct tokenizer *tokenizer;
    bool show_control;
    const int32_t *shown; /* n_shown control tokens that give text in any case; borrowed */
    size_t n_shown;
    unsigned char pending[4];
    uint8_t n_pending;
    bool started; /* a token counted: a leading space rule is over.  True from the start: the text goes on
                     behind another */
    bool begun;
    int32_t last; /* token that is held back, or that came last; -1: none */
    struct decode_state state;
};
void detokenizer_init(struct detokenizer *d, const struct tokenizer *t, bool show_control);
void detokenizer_push(struct detokenizer *d, int32_t id, struct buf *out);
void detokenizer_finish(struct detokenizer *d, struct buf *out); /* an incomplete end becomes U+FFFD */

#endif
