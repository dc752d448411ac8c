/* tokenizer_spec.h - what a tokenizer file says, whatever its format, before anything is built.
 * Formats fill it (memory: the checkpoint's arena); tokenizers/ builds from it and copies what it keeps.
 *
 * The pipeline - normalizer, pre_tokenizer, post_processor, decoder - is kept in the words of tokenizer.json
 * (Hugging Face's tokenizers library); readers of other files write the same objects for what their files
 * mean (a vocab.txt becomes {"type": "BertNormalizer", …}).  NULL: what the model's row does by itself. */
#ifndef LOQUAT_BASE_TOKENIZER_SPEC_H
#define LOQUAT_BASE_TOKENIZER_SPEC_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Token attributes, numbered as GGUF's tokenizer.ggml.token_type. */
enum token_type {
    TOKEN_UNDEFINED = 0,
    TOKEN_NORMAL = 1,
    TOKEN_UNKNOWN = 2,
    TOKEN_CONTROL = 3,
    TOKEN_USER_DEFINED = 4,
    TOKEN_UNUSED = 5, /* never produced from text; its id still has a name */
    TOKEN_BYTE = 6
};

struct token_spec {
    const char *text; /* as the file writes it; may hold zero bytes */
    uint32_t len;
    enum token_type type;
    double score;
};

struct text_view {
    const char *text;
    uint32_t len;
};

/* added_tokens of tokenizer.json: found in the text before the model sees it. */
struct added_token {
    int32_t id; /* < n_tokens */
    bool special, lstrip, rstrip, single_word, normalized;
    bool outside; /* the model's own vocabulary does not have it: it never makes it from text */
};

struct tokenizer_spec {
    const char
        *model;      /* the TOKENIZER TABLE's key:
                        "gpt2"      GGUF's byte-level BPE: tokens, merges, pre
                        "llama"     SentencePiece BPE: pieces with scores, byte tokens (GGUF, *.model)
                        "t5"        SentencePiece Unigram: pieces with scores, charsmap (GGUF, *.model, *.spm)
                        "bert"      GGUF's WordPiece: tokens that begin a word are written with U+2581
                        "bpe"       tokenizer.json BPE: merges; options byte_fallback, ignore_merges, …
                        "unigram"   tokenizer.json Unigram: scores; options byte_fallback
                        "wordpiece" tokenizer.json WordPiece or vocab.txt: "##" continues a word
                        "wordlevel" tokenizer.json WordLevel
                        "char"      one id a code point
                        "word"      options pattern, unk, join */
    const char *pre; /* pre-tokenizer name of GGUF: "smollm", "llama-bpe", …; NULL or "" when absent */
    size_t n_tokens;
    const struct token_spec *tokens; /* index = id; gaps of a file are TOKEN_UNUSED without text */
    size_t n_merges;
    const struct text_view *merges; /* "left right", best first */
    const uint32_t *merge_splits;   /* (n_merges) bytes of the left part; NULL: the first space parts them */
    int32_t bos, eos, eot, unk, sep, pad, cls, mask; /* -1 when absent; checked to be < n_tokens */
    bool add_bos, add_eos, add_space_prefix;
    bool add_bos_given;            /* the file says so; else the pre-tokenizer's habit counts */
    bool remove_extra_whitespaces; /* SentencePiece's normaliser squeezes runs of spaces and trims */
    bool space_is_suffix;          /* what add_space_prefix brings goes behind the text */
    bool keep_spaces;              /* pieces have plain spaces, not U+2581 */
    bool sentencepiece;            /* read from SentencePiece's own file: user-defined pieces are found in the
                                      normalised text by the model, sums are in single precision */
    const void *charsmap;          /* SentencePiece's precompiled normalisation map, or NULL */
    size_t charsmap_len;

    const json_t *normalizer, *pre_tokenizer, *post_processor, *decoder; /* borrowed; or NULL */
    const json_t *options; /* of the model: tokenizer.json's "model" without vocab and merges, or the
                              "tokenizer" object of a plain PyTorch config; NULL when there are none */
    size_t n_added;
    const struct added_token *added;
};

#endif
