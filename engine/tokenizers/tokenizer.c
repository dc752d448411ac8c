/* tokenizer.c - the TOKENIZER TABLE, and building a tokenizer from its spec: the parts of its pipeline, the
 * bytes behind each id, which tokens end a generation.  encode.c runs texts through it. Called by the loader
 * (create) and by api/ and decode/ (the rest), on any thread. To add a model: see model.h. */
#include "engine/tokenizers/tokenizer.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/limits.h"
#include "engine/base/json.h"
#include "engine/tokenizers/detokenize.h"
#include "engine/tokenizers/pipeline.h"

static const struct tokenizer_model *const models[] = {
    &bpe_bytes_model, &bpe_model,       &sp_bpe_model,         &sp_unigram_model,
    &unigram_model,   &wordpiece_model, &wordpiece_ggml_model, &wordlevel_model,
    &words_model,     &chars_model,     &no_text_model,
};

/* Names by which models end a turn, a message or a text; they count when they are control tokens. */
static const char *const end_names[] = {
    "<|eot_id|>",
    "<|im_end|>",
    "<|end|>",
    "<|return|>",
    "<|call|>",
    "<|flush|>",
    "<|calls|>",
    "<end_of_turn>",
    "<|endoftext|>",
    "</s>",
    "<|eom_id|>",
    "<EOT>",
    "_<EOT>",
    "[EOT]",
    "[EOS]",
    "<|end_of_text|>",
    "<eos>",
    "<turn|>",
    "<|tool_response>",
    "<end_of_utterance>",
    "<｜end▁of▁sentence｜>",
    "[e~[",
    "<|fim_pad|>",
    "<fim-pad>",
    "<fim_pad>",
    "<|fim_repo|>",
    "<|repo_name|>",
    "<fim-repo>",
    "<reponame>",
    "<|file_sep|>",
};

static bool text_is(const struct token_spec *token, const char *text)
{
    return token->len == strlen(text) && memcmp(token->text, text, token->len) == 0;
}

static bool is_end_name(const struct token_spec *token)
{
    for (size_t i = 0; i < sizeof end_names / sizeof end_names[0]; i++) {
        if (text_is(token, end_names[i]))
            return true;
    }
    return false;
}

static int32_t find_control(const struct tokenizer_spec *spec, const char *text)
{
    for (size_t i = 0; i < spec->n_tokens; i++) {
        if (spec->tokens[i].type == TOKEN_CONTROL && text_is(&spec->tokens[i], text))
            return (int32_t)i;
    }
    return -1;
}

/* Where a channel ends with <|end|> and an answer with <|return|> or a call (Harmony), <|end|> is no end. */
static void correct_channel_end(struct tokenizer *t, const struct tokenizer_spec *spec)
{
    bool harmony = find_control(spec, "<|return|>") >= 0 && find_control(spec, "<|call|>") >= 0;
    bool solar = find_control(spec, "<|flush|>") >= 0 && find_control(spec, "<|calls|>") >= 0;
    int32_t end = find_control(spec, "<|end|>");
    if (end >= 0 && (harmony || solar) && end != spec->eos && end != spec->eot)
        t->flags[end] &= (uint8_t)~TOKEN_IS_END;
}

static int fill_flags(struct tokenizer *t, const struct tokenizer_spec *spec, struct error *e)
{
    t->flags = calloc(spec->n_tokens, 1);
    if (!t->flags)
        return error_no_memory(e);
    for (size_t i = 0; i < spec->n_tokens; i++) {
        const struct token_spec *token = &spec->tokens[i];
        if (token_is_control(token->type))
            t->flags[i] |= TOKEN_IS_CONTROL;
        if (token->type == TOKEN_CONTROL && is_end_name(token))
            t->flags[i] |= TOKEN_IS_END;
    }
    correct_channel_end(t, spec);
    if (spec->eos >= 0)
        t->flags[spec->eos] |= TOKEN_IS_END;
    if (spec->eot >= 0)
        t->flags[spec->eot] |= TOKEN_IS_END;
    return 0;
}

/* An added token that is found in the normalised text is decoded from there too. */
static int add_token_text(struct tokenizer *t, const struct token_spec *token, uint8_t flags, struct error *e)
{
    struct normalized text;
    normalized_view(&text, token->text, token->len, 0);
    int status = 0;
    if ((flags & TOKEN_IS_NORMALIZED) && !(flags & TOKEN_IS_CONTROL) && t->normalizer)
        status = normalizer_run(t->normalizer, &text, e);
    buf_add(&t->texts, text.text, text.len);
    normalized_free(&text);
    return status;
}

static int fill_texts(struct tokenizer *t, const struct tokenizer_spec *spec, struct error *e)
{
    t->text_ends = calloc(spec->n_tokens, sizeof *t->text_ends);
    if (!t->text_ends)
        return error_no_memory(e);
    for (size_t i = 0; i < spec->n_tokens; i++) {
        TRY(add_token_text(t, &spec->tokens[i], t->flags[i], e));
        t->text_ends[i] = t->texts.len;
    }
    return t->texts.failed ? error_no_memory(e) : 0;
}

static void add_decoded(struct tokenizer *t, int32_t id)
{
    size_t len;
    const char *text = tokenizer_token_text(t, id, &len);
    decoder_word(t->decoder, text, len, &t->bytes);
}

static int fill_bytes(struct tokenizer *t, const struct tokenizer_spec *spec, struct error *e)
{
    t->ends = calloc(spec->n_tokens, sizeof *t->ends);
    if (!t->ends)
        return error_no_memory(e);
    for (size_t i = 0; i < spec->n_tokens; i++) {
        const struct token_spec *token = &spec->tokens[i];
        if (token_is_control(token->type) || token->len == 0)
            buf_add(&t->bytes, token->text, token->len);
        else if (t->decoder)
            add_decoded(t, (int32_t)i);
        else if (token->type == TOKEN_USER_DEFINED && !spec->sentencepiece)
            buf_add(&t->bytes, token->text, token->len);
        else
            t->model->decode(token, &t->bytes);
        t->ends[i] = t->bytes.len;
    }
    return t->bytes.failed ? error_no_memory(e) : 0;
}

static int check_ids(const struct tokenizer_spec *spec, struct error *e)
{
    const int32_t ids[] = {spec->bos, spec->eos, spec->eot, spec->unk,
                           spec->sep, spec->pad, spec->cls, spec->mask};
    if (spec->n_tokens == 0 || spec->n_tokens > LIMIT_VOCABULARY)
        return error_set(e, ERROR_BAD_FORMAT, "the vocabulary has %zu tokens; it must be from 1 to %d",
                         spec->n_tokens, LIMIT_VOCABULARY);
    for (size_t i = 0; i < sizeof ids / sizeof ids[0]; i++) {
        if (ids[i] >= 0 && (size_t)ids[i] >= spec->n_tokens)
            return error_set(e, ERROR_BAD_FORMAT,
                             "the special token id %" PRId32 " is not in the vocabulary of %zu tokens",
                             ids[i], spec->n_tokens);
    }
    return 0;
}

static int copy_special(struct tokenizer *t, const struct tokenizer_spec *spec, struct error *e)
{
    t->model_name = strdup(spec->model);
    t->pre = strdup(spec->pre ? spec->pre : "");
    if (!t->model_name || !t->pre)
        return error_no_memory(e);
    t->special = (struct tokenizer_spec){.model = t->model_name,
                                         .pre = t->pre,
                                         .n_tokens = spec->n_tokens,
                                         .bos = spec->bos,
                                         .eos = spec->eos,
                                         .eot = spec->eot,
                                         .unk = spec->unk,
                                         .sep = spec->sep,
                                         .pad = spec->pad,
                                         .cls = spec->cls,
                                         .mask = spec->mask,
                                         .add_bos = spec->add_bos,
                                         .add_eos = spec->add_eos,
                                         .add_space_prefix = spec->add_space_prefix};
    if (!spec->add_bos_given && spec->bos >= 0)
        t->special.add_bos = spec->add_bos || pretokenizer_adds_bos(spec->pre);
    if (spec->post_processor)
        return 0;
    if (t->special.add_bos && spec->bos < 0)
        return error_set(e, ERROR_BAD_FORMAT, "the tokenizer adds a BOS token but names none");
    if (t->special.add_eos && spec->eos < 0)
        return error_set(e, ERROR_BAD_FORMAT, "the tokenizer adds an EOS token but names none");
    return 0;
}

/* A part of the pipeline: the file's own, or what the model means when the file is silent; *out is a new
 * reference, NULL when there is none. */
static int find_part(const struct tokenizer *t, const struct tokenizer_spec *spec, enum pipeline_part part,
                     json_t **out, struct error *e)
{
    const json_t *const given[] = {spec->normalizer, spec->pre_tokenizer, spec->post_processor,
                                   spec->decoder};
    const char *text = t->model->part ? t->model->part(spec, part) : NULL;
    *out = NULL;
    if (given[part] && !json_is_null(given[part])) {
        *out = json_incref((json_t *)(uintptr_t)given[part]);
        return 0;
    }
    return text ? json_parse(text, strlen(text), out, e) : 0;
}

static int build_normalizer(struct tokenizer *t, const struct tokenizer_spec *spec, struct error *e)
{
    json_t *json;
    TRY(find_part(t, spec, PIPELINE_NORMALIZER, &json, e));
    int status = json ? normalizer_create(json, &t->normalizer, e) : 0;
    json_decref(json);
    return status;
}

static int build_cutter(struct tokenizer *t, const struct tokenizer_spec *spec, struct error *e)
{
    json_t *json;
    TRY(find_part(t, spec, PIPELINE_PRE_TOKENIZER, &json, e));
    int status = json ? cutter_create(json, &t->cutter, e) : 0;
    json_decref(json);
    return status;
}

static bool is_id(const struct template_list *l, size_t i, int32_t id)
{
    return i < l->n && id >= 0 && l->pieces[i].id == id;
}

static int build_post(struct tokenizer *t, const struct tokenizer_spec *spec, struct error *e)
{
    json_t *json;
    struct tokenizer_spec flags = *spec;
    flags.add_bos = t->special.add_bos;
    TRY(find_part(t, spec, PIPELINE_POST_PROCESSOR, &json, e));
    int status = postprocessor_create(json, &flags, &t->post, e);
    json_decref(json);
    if (status < 0)
        return -1;
    const struct template_list *single = &t->post->single;
    t->special.add_bos = is_id(single, 0, spec->bos);
    t->special.add_eos = single->n > 1 && is_id(single, single->n - 1, spec->eos);
    return 0;
}

/* The tokenizers library joins with spaces when a file names no decoder; plain PyTorch configs say how. */
static int build_decoder(struct tokenizer *t, const struct tokenizer_spec *spec, struct error *e)
{
    json_t *json;
    const char *separator = t->model == &chars_model ? "" : " ";
    TRY(find_part(t, spec, PIPELINE_DECODER, &json, e));
    if (json) {
        int status = decoder_create(json, &t->decoder, e);
        json_decref(json);
        return status;
    }
    t->drops_first_space = t->model->normalize && spec->add_space_prefix && !spec->space_is_suffix;
    if (t->model->decode)
        return 0;
    if (json_get_string(spec->options, "join", &separator, e) < 0) {
        if (e && e->kind == ERROR_INVALID_REQUEST)
            e->kind = ERROR_BAD_FORMAT;
        return -1;
    }
    return decoder_create_join(separator, &t->decoder, e);
}

static bool is_special(enum token_type type)
{
    return token_is_control(type) || type == TOKEN_USER_DEFINED;
}

static void fill_added(struct tokenizer *t, const struct tokenizer_spec *spec)
{
    for (size_t i = 0; i < spec->n_tokens; i++) {
        bool of_model = spec->sentencepiece && spec->tokens[i].type == TOKEN_USER_DEFINED;
        if (is_special(spec->tokens[i].type) && !of_model)
            t->flags[i] |= TOKEN_IS_ADDED;
    }
    for (size_t i = 0; i < spec->n_added; i++) {
        const struct added_token *a = &spec->added[i];
        t->flags[a->id] |=
            (uint8_t)(TOKEN_IS_ADDED | (a->lstrip ? TOKEN_STRIPS_LEFT : 0) |
                      (a->rstrip ? TOKEN_STRIPS_RIGHT : 0) | (a->single_word ? TOKEN_IS_SINGLE_WORD : 0) |
                      (a->normalized ? TOKEN_IS_NORMALIZED : 0));
    }
}

/* Added tokens that are looked for before the text is normalised, or (with their own texts normalised)
 * behind. */
static int build_set(struct tokenizer *t, const struct tokenizer_spec *spec, bool after,
                     struct special_token *tokens, struct normalized *texts, struct special_set **out,
                     struct error *e)
{
    size_t n = 0;
    for (size_t i = 0; i < spec->n_tokens; i++) {
        const struct token_spec *token = &spec->tokens[i];
        if (!(t->flags[i] & TOKEN_IS_ADDED) || ((t->flags[i] & TOKEN_IS_NORMALIZED) != 0) != after)
            continue;
        if (token->len > LIMIT_SPECIAL_TOKEN_BYTES)
            return error_set(e, ERROR_BAD_FORMAT,
                             "the special token %zu has %" PRIu32 " bytes; at most %d are accepted", i,
                             token->len, LIMIT_SPECIAL_TOKEN_BYTES);
        normalized_view(&texts[n], token->text, token->len, 0);
        if (after && t->normalizer && normalizer_run(t->normalizer, &texts[n], e) < 0)
            return -1;
        bool control = token_is_control(token->type);
        tokens[n] = (struct special_token){texts[n].text, texts[n].len, (int32_t)i, control};
        n++;
    }
    return n > 0 ? special_set_create(tokens, n, out, e) : 0;
}

static int build_special(struct tokenizer *t, const struct tokenizer_spec *spec, bool after,
                         struct special_set **out, struct error *e)
{
    size_t n = 0;
    for (size_t i = 0; i < spec->n_tokens; i++)
        n += (t->flags[i] & TOKEN_IS_ADDED) != 0;
    struct special_token *tokens = calloc(n + 1, sizeof *tokens);
    struct normalized *texts = calloc(n + 1, sizeof *texts);
    int status = tokens && texts ? build_set(t, spec, after, tokens, texts, out, e) : error_no_memory(e);
    for (size_t i = 0; texts && i < n; i++)
        normalized_free(&texts[i]);
    free(tokens);
    free(texts);
    return status;
}

static int check_added(const struct tokenizer_spec *spec, struct error *e)
{
    for (size_t i = 0; i < spec->n_added; i++) {
        if (spec->added[i].id < 0 || (size_t)spec->added[i].id >= spec->n_tokens)
            return error_set(e, ERROR_BAD_FORMAT,
                             "the added token id %" PRId32 " is not in the vocabulary of %zu tokens",
                             spec->added[i].id, spec->n_tokens);
    }
    return 0;
}

static const struct tokenizer_model *find_model(const char *name)
{
    for (size_t i = 0; i < sizeof models / sizeof models[0]; i++) {
        if (strcmp(models[i]->name, name) == 0)
            return models[i];
    }
    return NULL;
}

/* Added tokens that are not the model's own are nothing that it may make from text. */
static int build_model(struct tokenizer *t, const struct tokenizer_spec *spec, struct error *e)
{
    struct tokenizer_spec own = *spec;
    struct token_spec *tokens = malloc(spec->n_tokens * sizeof *tokens);
    if (!tokens)
        return error_no_memory(e);
    memcpy(tokens, spec->tokens, spec->n_tokens * sizeof *tokens);
    for (size_t i = 0; i < spec->n_added; i++) {
        struct token_spec *token = &tokens[spec->added[i].id];
        if (spec->added[i].outside && !token_is_control(token->type))
            token->type = TOKEN_UNUSED;
    }
    own.tokens = tokens;
    int status = t->model->create(&own, &t->impl, e);
    free(tokens);
    return status;
}

static int build(struct tokenizer *t, const struct tokenizer_spec *spec, struct error *e)
{
    TRY(check_added(spec, e));
    TRY(copy_special(t, spec, e));
    TRY(build_model(t, spec, e));
    TRY(build_normalizer(t, spec, e));
    TRY(build_cutter(t, spec, e));
    TRY(build_post(t, spec, e));
    TRY(build_decoder(t, spec, e));
    TRY(fill_flags(t, spec, e));
    fill_added(t, spec);
    TRY(build_special(t, spec, false, &t->specials, e));
    TRY(build_special(t, spec, true, &t->late_specials, e));
    TRY(fill_texts(t, spec, e));
    return fill_bytes(t, spec, e);
}

int tokenizer_create(const struct tokenizer_spec *spec, struct tokenizer **out, struct error *e)
{
    const struct tokenizer_model *model = find_model(spec->model);
    if (!model)
        return error_set(e, ERROR_UNSUPPORTED, "the tokenizer model \"%.100s\" is not supported",
                         spec->model);
    TRY(check_ids(spec, e));
    struct tokenizer *t = calloc(1, sizeof *t);
    if (!t)
        return error_no_memory(e);
    t->model = model;
    buf_init(&t->bytes, SIZE_MAX / 4);
    buf_init(&t->texts, SIZE_MAX / 4);
    if (build(t, spec, e) < 0) {
        tokenizer_free(t);
        return -1;
    }
    *out = t;
    return 0;
}

void tokenizer_free(struct tokenizer *t)
{
    if (!t)
        return;
    if (t->impl)
        t->model->release(t->impl);
    normalizer_free(t->normalizer);
    cutter_free(t->cutter);
    postprocessor_free(t->post);
    decoder_free(t->decoder);
    special_set_free(t->specials);
    special_set_free(t->late_specials);
    free(t->text_ends);
    buf_free(&t->texts);
    free(t->flags);
    free(t->ends);
    buf_free(&t->bytes);
    free(t->model_name);
    free(t->pre);
    free(t);
}

size_t tokenizer_size(const struct tokenizer *t)
{
    return t->special.n_tokens;
}

const struct tokenizer_spec *tokenizer_special(const struct tokenizer *t)
{
    return &t->special;
}

bool tokenizer_marks_words(const struct tokenizer *t)
{
    return t->model->marks_words;
}

const char *tokenizer_pre(const struct tokenizer *t)
{
    return t->pre;
}

const char *tokenizer_token_bytes(const struct tokenizer *t, int32_t id, size_t *len)
{
    size_t start = id > 0 ? t->ends[id - 1] : 0;
    *len = t->ends[id] - start;
    return t->bytes.data ? t->bytes.data + start : "";
}

bool tokenizer_is_control(const struct tokenizer *t, int32_t id)
{
    return t->flags[id] & TOKEN_IS_CONTROL;
}

bool tokenizer_is_end(const struct tokenizer *t, int32_t id)
{
    return t->flags[id] & TOKEN_IS_END;
}

const struct decoder *tokenizer_decoder(const struct tokenizer *t)
{
    return t->decoder;
}

const char *tokenizer_token_text(const struct tokenizer *t, int32_t id, size_t *len)
{
    size_t start = id > 0 ? t->text_ends[id - 1] : 0;
    *len = t->text_ends[id] - start;
    return t->texts.data ? t->texts.data + start : "";
}

bool tokenizer_drops_first_space(const struct tokenizer *t)
{
    return t->drops_first_space;
}

int token_byte_value(const char *text, size_t len)
{
    static const char digits[] = "0123456789ABCDEF";
    if (len != 6 || memcmp(text, "<0x", 3) != 0 || text[5] != '>')
        return -1;
    const char *high = memchr(digits, text[3], 16), *low = memchr(digits, text[4], 16);
    return high && low ? (int)((high - digits) * 16 + (low - digits)) : -1;
}
