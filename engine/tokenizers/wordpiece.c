/* wordpiece.c - WordPiece (Schuster and Nakajima, 2012, as BERT uses it): a word is cut greedily into the
 * longest pieces of the vocabulary; a word that cannot be cut to its end is unknown as a whole.  Two
 * spellings: "wordpiece"  tokenizer.json and vocab.txt: pieces that go on within a word start with "##" (or
 * an option) "bert"       GGUF: pieces that begin a word start with U+2581 Words come from the pipeline.
 * Time: a word's length times the longest piece's. Called by tokenizer.c; encode() from any thread. */
#include <stdlib.h>
#include <string.h>

#include "engine/base/json.h"
#include "engine/tokenizers/model.h"
#include "engine/tokenizers/piece_trie.h"

#define WORD_MARK    "\xE2\x96\x81"
#define CONTINUES    "##"
#define NO_NODE      UINT32_MAX
#define LONGEST_WORD 100 /* characters, unless the file says otherwise */

struct wordpiece {
    struct piece_trie trie;
    uint32_t first, rest; /* nodes that a word's first and later pieces start from; NO_NODE: there are none */
    bool mark_alone;      /* the mark of a word's beginning may be a piece */
    uint64_t longest;     /* characters of a word that is looked at */
    int32_t unk;
};

static int index_pieces(struct wordpiece *w, const struct tokenizer_spec *spec, struct error *e)
{
    size_t n = 0;
    struct trie_piece *pieces = calloc(spec->n_tokens, sizeof *pieces);
    if (!pieces)
        return error_no_memory(e);
    for (size_t i = 0; i < spec->n_tokens; i++) {
        const struct token_spec *t = &spec->tokens[i];
        if (!token_is_control(t->type) && t->type != TOKEN_UNUSED)
            pieces[n++] = (struct trie_piece){t->text, t->len, (int32_t)i};
    }
    int status = piece_trie_init(&w->trie, pieces, n, e);
    free(pieces);
    return status;
}

static uint32_t node_of(const struct wordpiece *w, const char *text)
{
    uint32_t node = 0;
    for (; *text; text++) {
        if (!piece_trie_step(&w->trie, &node, *text))
            return NO_NODE;
    }
    return node;
}

static void wordpiece_release(void *model)
{
    struct wordpiece *w = model;
    piece_trie_free(&w->trie);
    free(w);
}

static int build_json(struct wordpiece *w, const struct tokenizer_spec *spec, struct error *e)
{
    const char *continues = CONTINUES;
    w->longest = LONGEST_WORD;
    TRY(json_get_string(spec->options, "continuing_subword_prefix", &continues, e));
    TRY(json_get_u64(spec->options, "max_input_chars_per_word", 0, UINT64_MAX, &w->longest, e));
    w->rest = node_of(w, continues);
    return 0;
}

static int build_ggml(struct wordpiece *w, const struct tokenizer_spec *spec, struct error *e)
{
    (void)spec;
    (void)e;
    w->longest = UINT64_MAX;
    w->first = node_of(w, WORD_MARK);
    w->mark_alone = true;
    return 0;
}

static int create(const struct tokenizer_spec *spec, void **out,
                  int (*build)(struct wordpiece *w, const struct tokenizer_spec *spec, struct error *e),
                  struct error *e)
{
    struct wordpiece *w = calloc(1, sizeof *w);
    if (!w)
        return error_no_memory(e);
    w->unk = spec->unk;
    if (index_pieces(w, spec, e) < 0 || build(w, spec, e) < 0) {
        wordpiece_release(w);
        return -1;
    }
    *out = w;
    return 0;
}

static int wordpiece_create(const struct tokenizer_spec *spec, void **out, struct error *e)
{
    return create(spec, out, build_json, e);
}

static int wordpiece_ggml_create(const struct tokenizer_spec *spec, void **out, struct error *e)
{
    return create(spec, out, build_ggml, e);
}

static bool continues_character(char byte)
{
    return ((unsigned char)byte & 0xC0) == 0x80;
}

/* The longest piece from a node along text[at .. end): its id, and where it ends; -1: none. */
static int32_t longest_piece(const struct wordpiece *w, uint32_t node, bool empty, const char *text,
                             size_t at, size_t end, size_t *piece_end)
{
    if (node == NO_NODE)
        return -1;
    int32_t id = empty ? w->trie.ids[node] : -1;
    *piece_end = at;
    for (size_t i = at; i < end && piece_trie_step(&w->trie, &node, text[i]); i++) {
        if (w->trie.ids[node] >= 0 && (i + 1 == end || !continues_character(text[i + 1]))) {
            id = w->trie.ids[node];
            *piece_end = i + 1;
        }
    }
    return id;
}

static bool too_long(const struct wordpiece *w, const char *text, size_t start, size_t end)
{
    uint64_t characters = 0;
    if (end - start <= w->longest)
        return false;
    for (size_t i = start; i < end; i++)
        characters += !continues_character(text[i]);
    return characters > w->longest;
}

static int put_unknown(const struct wordpiece *w, struct text_span word, size_t index, struct token_sink *out,
                       struct error *e)
{
    if (w->unk < 0)
        return error_set(e, ERROR_UNSUPPORTED,
                         "the text has an unknown word at byte %zu and the vocabulary no unknown token",
                         word.start);
    return token_sink_add(out, w->unk, word.start, word.end, index, e);
}

static int encode_word(const struct wordpiece *w, const char *text, struct text_span word, size_t index,
                       struct token_sink *out, struct error *e)
{
    size_t before = out->ids.n;
    if (too_long(w, text, word.start, word.end))
        return put_unknown(w, word, index, out, e);
    for (size_t at = word.start; at < word.end;) {
        bool first = out->ids.n == before;
        size_t end;
        int32_t id =
            longest_piece(w, first ? w->first : w->rest, first && w->mark_alone, text, at, word.end, &end);
        if (id < 0) {
            out->ids.n = before;
            return put_unknown(w, word, index, out, e);
        }
        TRY(token_sink_add(out, id, at, end, index, e));
        at = end;
    }
    return 0;
}

static int wordpiece_encode(const void *model, const char *text, const struct piece_list *pieces,
                            struct token_sink *out, struct error *e)
{
    for (size_t i = 0; i < pieces->n; i++)
        TRY(encode_word(model, text, pieces->spans[i], i, out, e));
    return 0;
}

/* BERT's own normaliser and words, unless the file says otherwise. */
static const char *bert_part(const struct tokenizer_spec *spec, enum pipeline_part part)
{
    (void)spec;
    if (part == PIPELINE_NORMALIZER)
        return "{\"type\": \"BertNormalizer\", \"clean_text\": true, \"handle_chinese_chars\": true, "
               "\"strip_accents\": null, \"lowercase\": true}";
    if (part == PIPELINE_DECODER)
        return "{\"type\": \"Sequence\", \"decoders\": ["
               "{\"type\": \"Replace\", \"pattern\": {\"String\": \"" WORD_MARK "\"}, \"content\": \" \"}, "
               "{\"type\": \"Fuse\"}, {\"type\": \"Strip\", \"content\": \" \", \"start\": 1, \"stop\": 0}]}";
    return part == PIPELINE_PRE_TOKENIZER ? "{\"type\": \"BertPreTokenizer\"}" : NULL;
}

const struct tokenizer_model wordpiece_model = {.name = "wordpiece",
                                                .marks_words = true,
                                                .create = wordpiece_create,
                                                .release = wordpiece_release,
                                                .encode = wordpiece_encode};

const struct tokenizer_model wordpiece_ggml_model = {.name = "bert",
                                                     .marks_words = true,
                                                     .create = wordpiece_ggml_create,
                                                     .release = wordpiece_release,
                                                     .part = bert_part,
                                                     .encode = wordpiece_encode};
