/* pretokenize.c - see pretokenize.h.  Names and expressions were compared with the tokenizer.json of
 * the models and with llama.cpp, whose names GGUF files use; where llama.cpp approximates an
 * expression that its regex engine cannot run, the model's own is used here.
 * To add a pre-tokenizer: one row in rows[]. */
#include "engine/tokenizers/pretokenize.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/log.h"
#include "engine/tokenizers/regex.h"

enum { MAX_PATTERNS = 6 };

struct pre_row {
    const char *names; /* separated by spaces */
    bool whole_words, add_bos;
    const char *patterns[MAX_PATTERNS]; /* NULL ends them */
};

/* The inside of a class: Unicode's White_Space, which is what the original engines mean by \s.
 * PCRE2's \s also takes U+180E. */
#define SPACES                                                                                               \
    "\\x09-\\x0D\\x20\\x{85}\\x{A0}\\x{1680}\\x{2000}-\\x{200A}\\x{2028}\\x{2029}\\x{202F}\\x{205F}\\x{"     \
    "3000}"
#define S     "[" SPACES "]"
#define NOT_S "[^" SPACES "]"
#define OTHER "[^" SPACES "\\p{L}\\p{N}]" /* neither space, letter nor number */

/* Pieces that many expressions share. */
#define SUFFIX      "'s|'t|'re|'ve|'m|'ll|'d"
#define SUFFIX_CASE "'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD]"
#define WORD        "[^\\r\\n\\p{L}\\p{N}]?\\p{L}+"
#define SPACE_TAIL  S "*[\\r\\n]+|" S "+(?!" NOT_S ")|" S "+"
#define PUNCTUATION " ?" OTHER "+[\\r\\n]*"
#define ASCII_WORD  "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+"
#define UPPER       "[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]"
#define LOWER       "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]"

#define GPT2            SUFFIX "| ?\\p{L}+| ?\\p{N}+| ?" OTHER "+|" S "+(?!" NOT_S ")|" S "+"
#define LLAMA3_NUM(num) SUFFIX_CASE "|" WORD "|" num "|" PUNCTUATION "|" SPACE_TAIL
#define CASED(suffix, num)                                                                                   \
    "[^\\r\\n\\p{L}\\p{N}]?" UPPER "*" LOWER "+" suffix "|[^\\r\\n\\p{L}\\p{N}]?" UPPER "+" LOWER "*" suffix \
    "|" num "| ?" OTHER "+[\\r\\n/]*|" SPACE_TAIL
#define CJK_AND_KANA "[\\x{4E00}-\\x{9FA5}\\x{3040}-\\x{309F}\\x{30A0}-\\x{30FF}]+"
#define CJK_WIDE     "[\\x{4E00}-\\x{9FA5}\\x{800}-\\x{4E00}\\x{AC00}-\\x{D7FF}]+"
#define DEEPSEEK3                                                                                            \
    ASCII_WORD "|[^\\r\\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+[\\r\\n]*|" SPACE_TAIL
#define BLOOM " ?[^(" SPACES "|.,!?…。，、।۔،)]+"

/* Letters with case, as the DeepSeek tokenizers list them. */
#define CASED_LETTERS                                                                                        \
    "A-Za-z\\x{B5}\\x{C0}-\\x{D6}\\x{D8}-\\x{F6}\\x{F8}-\\x{1BA}\\x{1BC}-\\x{1BF}\\x{1C4}-\\x{293}"          \
    "\\x{295}-\\x{2AF}\\x{370}-\\x{373}\\x{376}\\x{377}\\x{37B}-\\x{37D}\\x{37F}\\x{386}\\x{388}-\\x{38A}"   \
    "\\x{38C}\\x{38E}-\\x{3A1}\\x{3A3}-\\x{3F5}\\x{3F7}-\\x{481}\\x{48A}-\\x{52F}\\x{531}-\\x{556}"          \
    "\\x{10A0}-\\x{10C5}\\x{13A0}-\\x{13F5}\\x{13F8}-\\x{13FD}\\x{1C90}-\\x{1CBA}\\x{1CBD}-\\x{1CBF}"        \
    "\\x{1D00}-\\x{1D2B}\\x{1D6B}-\\x{1D77}\\x{1D79}-\\x{1D9A}\\x{1E00}-\\x{1F15}\\x{1F18}-\\x{1F1D}"        \
    "\\x{1F20}-\\x{1F45}\\x{1F48}-\\x{1F4D}\\x{1F50}-\\x{1F57}\\x{1F59}\\x{1F5B}\\x{1F5D}"                   \
    "\\x{1F5F}-\\x{1F7D}\\x{1F80}-\\x{1FB4}\\x{1FB6}-\\x{1FBC}\\x{1FBE}\\x{1FC2}-\\x{1FC4}"                  \
    "\\x{1FC6}-\\x{1FCC}\\x{1FD0}-\\x{1FD3}\\x{1FD6}-\\x{1FDB}\\x{1FE0}-\\x{1FEC}\\x{1FF2}-\\x{1FF4}"        \
    "\\x{1FF6}-\\x{1FFC}\\x{2102}\\x{2107}\\x{210A}-\\x{2113}\\x{2115}\\x{2119}-\\x{211D}\\x{2124}"          \
    "\\x{2126}\\x{2128}\\x{212A}-\\x{212D}\\x{212F}-\\x{2134}\\x{2139}\\x{213C}-\\x{213F}"                   \
    "\\x{2145}-\\x{2149}\\x{214E}\\x{2183}\\x{2184}\\x{2C00}-\\x{2C7B}\\x{2C7E}-\\x{2CE4}"                   \
    "\\x{2CEB}-\\x{2CEE}\\x{2CF2}\\x{2CF3}\\x{A640}-\\x{A66D}\\x{A680}-\\x{A69B}\\x{A722}-\\x{A76F}"         \
    "\\x{A771}-\\x{A787}\\x{A78B}-\\x{A78E}\\x{AB70}-\\x{ABBF}\\x{FB00}-\\x{FB06}\\x{FB13}-\\x{FB17}"        \
    "\\x{FF21}-\\x{FF3A}\\x{FF41}-\\x{FF5A}\\x{10400}-\\x{1044F}\\x{104B0}-\\x{104D3}"                       \
    "\\x{104D8}-\\x{104FB}\\x{10C80}-\\x{10CB2}\\x{10CC0}-\\x{10CF2}\\x{118A0}-\\x{118DF}"                   \
    "\\x{1E900}-\\x{1E943}"

static const struct pre_row rows[] = {
    {"default", false, false, {"[\\p{P}$+<=>^~|]+", GPT2, "\\p{N}+", "[0-9][0-9][0-9]"}},
    {"gpt-2 phi-2 mpt olmo jais trillion granite-docling exaone4 gigachat mellum modern-bert a.x-4.0 jina-es "
     "jina-de "
     "jina-v1-en jina-v2-es jina-v2-de jina-v2-code roberta-bpe",
     false,
     false,
     {GPT2}},
    {"smollm starcoder refact command-r codeshell exaone minerva-7b mellum2", false, false, {"\\p{N}", GPT2}},
    {"llama3 llama-v3 llama-bpe falcon3 falcon-h1 pixtral midm-2.0 lfm2 jina-v5-nano",
     true,
     true,
     {LLAMA3_NUM("\\p{N}{1,3}")}},
    {"dbrx smaug-bpe glm4 chatglm-bpe", false, false, {LLAMA3_NUM("\\p{N}{1,3}")}},
    {"minicpm5", true, false, {"\\p{N}{1,3}", LLAMA3_NUM("\\p{N}+")}},
    {"qwen2 stablelm2 deepseek-r1-qwen megrez hunyuan solar-open grok-2 kormo f2llmv2",
     false,
     false,
     {LLAMA3_NUM("\\p{N}")}},
    {"qwen35",
     false,
     false,
     {SUFFIX_CASE "|[^\\r\\n\\p{L}\\p{N}]?[\\p{L}\\p{M}]+|\\p{N}| ?[^" SPACES
                  "\\p{L}\\p{M}\\p{N}]+[\\r\\n]*|" SPACE_TAIL}},
    {"seed-coder",
     false,
     false,
     {SUFFIX_CASE "|" WORD "|\\p{N}| ?[^" SPACES "\\p{L}\\p{N}\\r\\n]+|" SPACE_TAIL}},
    {"bailingmoe bailingmoe2 llada-moe",
     false,
     false,
     {"'(?:[sSdDmMtT]|[lL][lL]|[vV][eE]|[rR][eE])|" WORD "|\\p{N}|" PUNCTUATION "|" S "*[\\r\\n]|" S
      "+(?!" NOT_S ")|" S "+"}},
    {"jais-2",
     false,
     false,
     {SUFFIX_CASE "|" WORD "|\\p{N}{1,3}|" PUNCTUATION "|" S "*[\\r\\n]+|" S "{512}(?!" NOT_S ")|" S
                  "{256}(?!" NOT_S ")|" S "{128}(?!" NOT_S ")|" S "{64}(?!" NOT_S ")|" S "{32}(?!" NOT_S
                  ")|" S "{16}(?!" NOT_S ")|" S "{8}(?!" NOT_S ")|" S "{4}(?!" NOT_S ")|" S "{1,2}(?!" NOT_S
                  ")|" S}},
    {"tekken", true, true, {CASED("", "\\p{N}")}},
    {"gpt-4o llama4 kanana2 minimax-m2", false, false, {CASED("(?:" SUFFIX_CASE ")?", "\\p{N}{1,3}")}},
    {"deepseek-llm",
     false,
     false,
     {"[\\r\\n]", S "?[" CASED_LETTERS "]+",
      S "?[!-/:-~\\x{FF01}-\\x{FF0F}\\x{FF1A}-\\x{FF5E}\\x{2018}-\\x{201F}\\x{3000}-\\x{3002}]+", S "+$",
      CJK_WIDE, "\\p{N}+"}},
    {"deepseek-coder", false, false, {"[\\r\\n]", S "?\\p{L}+", S "?\\p{P}+", CJK_WIDE, "\\p{N}"}},
    {"deepseek-v3 hunyuan-dense joyai-llm", false, false, {"\\p{N}{1,3}", CJK_AND_KANA, DEEPSEEK3}},
    {"falcon", false, false, {"[\\p{P}$+<=>^~|`]+", GPT2, "[0-9][0-9][0-9]"}},
    {"poro-chat bloom gpt3-finnish", false, false, {BLOOM}},
    {"viking", false, false, {BLOOM, "\\p{N}"}},
};

struct pretokenizer {
    const struct pre_row *row;
    size_t n_codes;
    struct regex *codes[MAX_PATTERNS];
};

/* Whether one of the words in `names` is exactly `name`. */
static bool has_name(const char *names, const char *name)
{
    size_t len = strlen(name);
    for (const char *p = names; *p;) {
        size_t n = strcspn(p, " ");
        if (n == len && memcmp(p, name, len) == 0)
            return true;
        p += n + (p[n] == ' ');
    }
    return false;
}

static const struct pre_row *find_row(const char *name)
{
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        if (has_name(rows[i].names, name && *name ? name : "default"))
            return &rows[i];
    }
    return NULL;
}

int pretokenizer_create(const char *name, struct pretokenizer **out, struct error *e)
{
    const struct pre_row *row = find_row(name);
    if (!row)
        return error_set(e, ERROR_UNSUPPORTED, "the pre-tokenizer \"%.100s\" is not supported", name);
    if (!name || !*name)
        log_warning(
            "the checkpoint names no pre-tokenizer; \"default\" is used and may cut some texts differently");
    struct pretokenizer *p = calloc(1, sizeof *p);
    if (!p)
        return error_no_memory(e);
    p->row = row;
    while (p->n_codes < MAX_PATTERNS && row->patterns[p->n_codes]) {
        const char *pattern = row->patterns[p->n_codes];
        if (regex_create(pattern, strlen(pattern), REGEX_PCRE, &p->codes[p->n_codes], e) < 0) {
            pretokenizer_free(p);
            return -1;
        }
        p->n_codes++;
    }
    *out = p;
    return 0;
}

void pretokenizer_free(struct pretokenizer *p)
{
    if (!p)
        return;
    for (size_t i = 0; i < p->n_codes; i++)
        regex_free(p->codes[i]);
    free(p);
}

bool pretokenizer_whole_words(const struct pretokenizer *p)
{
    return p->row->whole_words;
}

bool pretokenizer_adds_bos(const char *name)
{
    const struct pre_row *row = find_row(name);
    return row && row->add_bos;
}

void piece_list_free(struct piece_list *l)
{
    free(l->spans);
    memset(l, 0, sizeof *l);
}

int piece_list_add(struct piece_list *l, size_t start, size_t end, struct error *e)
{
    if (start == end)
        return 0;
    if (l->n == l->cap) {
        size_t cap = l->cap ? l->cap * 2 : 64;
        struct text_span *spans = realloc(l->spans, cap * sizeof *spans);
        if (!spans)
            return error_no_memory(e);
        l->spans = spans;
        l->cap = cap;
    }
    l->spans[l->n++] = (struct text_span){start, end};
    return 0;
}

/* Cuts one piece: it is a text of its own, nothing is seen beyond its borders. */
static int cut_piece(struct regex_run *run, const char *text, struct text_span piece, struct piece_list *out,
                     struct error *e)
{
    size_t at = 0, len = piece.end - piece.start, start, end;
    int found = 0;
    regex_restart(run);
    while (at < len && (found = regex_next(run, text + piece.start, len, at, &start, &end, e)) > 0) {
        TRY(piece_list_add(out, piece.start + at, piece.start + start, e));
        TRY(piece_list_add(out, piece.start + start, piece.start + end, e));
        at = end;
    }
    return found < 0 ? -1 : piece_list_add(out, piece.start + at, piece.end, e);
}

static int cut_all(const struct regex *code, const char *text, size_t len, const struct piece_list *in,
                   struct piece_list *out, struct error *e)
{
    struct regex_run run;
    int status = 0;
    TRY(regex_run_begin(&run, code, len, e));
    out->n = 0;
    for (size_t i = 0; i < in->n && status == 0; i++)
        status = cut_piece(&run, text, in->spans[i], out, e);
    regex_run_end(&run);
    return status;
}

int pretokenizer_split(const struct pretokenizer *p, const char *text, size_t len, struct piece_list *out,
                       struct error *e)
{
    struct piece_list before = {0};
    out->n = 0;
    int status = piece_list_add(out, 0, len, e);
    for (size_t i = 0; i < p->n_codes && status == 0; i++) {
        struct piece_list swap = before;
        before = *out;
        *out = swap;
        status = cut_all(p->codes[i], text, len, &before, out, e);
    }
    piece_list_free(&before);
    return status;
}
