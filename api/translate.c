/* translate.c - POST /v1/translate: texts in another language.
 * An encoder-decoder reads the text as it is, after what it was trained with for the pair of languages (T5's
 * prefix "translate English to German: ", Marian's token ">>fra<<").  A text that is long or has several
 * lines is translated sentence by sentence, with the white space between them kept.  A chat model is asked in
 * words, and needs `target`.
 * Threads: begin and advance on a worker, event on the loop. */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "api/choice.h"
#include "api/endpoints.h"
#include "api/frame.h"
#include "api/generation.h"
#include "api/prompt.h"
#include "api/sentences.h"
#include "api/tasks.h"
#include "api/wire.h"
#include "engine/base/limits.h"

enum {
    TRANSLATE_WHOLE = 64,   /* tokens: a line up to this goes in one piece */
    TRANSLATE_ROUND = 256,  /* pieces at once */
    TRANSLATE_ANSWER = 512, /* most tokens of a piece where the checkpoint does not say */
};

struct piece {
    size_t text;       /* of the request */
    size_t start, end; /* bytes of it; what is between pieces is copied */
    const char *translation;
    size_t len, tokens;
    double sum; /* tokens * score */
    bool cut;
};

struct translate {
    struct generation_options options; /* with the next three: the request */
    struct engine_text one_text, source, target;
    struct field_texts many_texts;

    struct engine_model *model;
    const char *envelope, *prefix; /* prefix: of every piece */
    int32_t target_token;          /* before every piece, or -1 */
    struct frame frame;            /* of a chat model */
    bool chat;
    struct field_texts texts;
    struct piece *pieces;
    size_t n_pieces, first; /* the round: pieces from first on */
    struct answer answer;
    struct engine_usage usage;
};

#define AT(member) offsetof(struct translate, member)

/* clang-format off */
static const struct field translate_rows[] = {
    {.name = "model", .type = FIELD_STRING, .offset = AT(options.model),
     .help = "name of a loaded model; absent or \"default\": the first one"},
    {.name = "text", .type = FIELD_STRING, .offset = AT(one_text), .help = "one text"},
    {.name = "texts", .type = FIELD_STRINGS, .offset = AT(many_texts), .max = LIMIT_PROMPTS,
     .max_bytes = LIMIT_REQUEST_ARENA, .may_be_empty = true, .help = "several texts; a result for each"},
    {.name = "source", .type = FIELD_STRING, .offset = AT(source), .min = 1, .max = 64,
     .help = "language of the text: a code such as \"en\", or its name for a chat model"},
    {.name = "target", .type = FIELD_STRING, .offset = AT(target), .min = 1, .max = 64,
     .help = "language of the translation; a model that knows one pair needs neither"},
    {.name = "max_tokens", .type = FIELD_INT, .offset = AT(options.max_tokens), .given = AT(options.max_tokens_given),
     .min = 1, .max = LIMIT_CONTEXT, .help = "most tokens of a piece's translation, which is marked cut where it ends there; absent: as the checkpoint "
             "says"},
};
/* clang-format on */
static const struct field_group translate_groups[] = {FIELD_GROUP(translate_rows, 0),
                                                      {beam_rows, BEAM_ROWS, 0}};
const struct field_table translate_fields = FIELD_TABLE(translate_groups, sizeof(struct translate));

/* ---- languages -------------------------------------------------------------------------------- */

/* A language that was asked for and the one that the model knows. */
static int check_language(const struct engine_text *wanted, const char *known, const char *name,
                          struct error *e)
{
    if (!wanted->bytes || (*known && strcasecmp(wanted->bytes, known) == 0))
        return 0;
    if (*known)
        return error_param(e, ERROR_UNSUPPORTED, name, "this model's %s language is %s, not %s", name, known,
                           wanted->bytes);
    return error_param(e, ERROR_UNSUPPORTED, name,
                       "this model's files do not say which languages it translates: leave %s out", name);
}

#define PAIR_TASK "translation_" /* then "en_to_de" */

/* "en_to_de, en_to_fr": returns how many; *only is the last one's prefix. */
static size_t list_pairs(const struct engine_model_info *info, struct buf *out, const char **only)
{
    size_t n = 0;
    for (size_t i = 0; i < info->n_prefixes; i++) {
        if (strncmp(info->prefixes[i].task, PAIR_TASK, strlen(PAIR_TASK)) != 0)
            continue;
        buf_printf(out, "%s%s", n++ ? ", " : "", info->prefixes[i].task + strlen(PAIR_TASK));
        *only = info->prefixes[i].text;
    }
    return n;
}

/* T5's: one of the pairs it was trained for. */
static int find_pair(struct api_call *call, struct translate *t, const char *pairs, struct error *e)
{
    const struct engine_model_info *info = engine_model_info(t->model);
    if (!t->source.bytes || !t->target.bytes)
        return error_param(e, ERROR_INVALID_REQUEST, t->source.bytes ? "target" : "source",
                           "say source and target; this model knows %s", pairs);
    const char *task = arena_printf(call->arena, PAIR_TASK "%s_to_%s", t->source.bytes, t->target.bytes);
    if (!task)
        return error_no_memory(e);
    for (size_t i = 0; i < info->n_prefixes; i++) {
        if (strcasecmp(info->prefixes[i].task, task) == 0)
            t->prefix = info->prefixes[i].text;
    }
    if (*t->prefix)
        return 0;
    return error_param(e, ERROR_UNSUPPORTED, "target", "this model does not translate %s to %s; it knows %s",
                       t->source.bytes, t->target.bytes, pairs);
}

/* Marian's models for several targets have tokens such as >>fra<<. */
static int find_target_token(struct api_call *call, struct translate *t, struct error *e)
{
    const struct engine_vocabulary *v = engine_model_vocabulary(t->model);
    const char *token = arena_printf(call->arena, ">>%s<<", t->target.bytes);
    if (!token)
        return error_no_memory(e);
    for (size_t i = 0; i < engine_vocabulary_size(v) && t->target_token < 0; i++) {
        size_t len;
        const char *piece = engine_token_piece(v, (int32_t)i, &len);
        if (len == strlen(token) && memcmp(piece, token, len) == 0)
            t->target_token = (int32_t)i;
    }
    return 0;
}

static int choose_prefix(struct api_call *call, struct translate *t, struct error *e)
{
    const struct engine_model_info *info = engine_model_info(t->model);
    struct buf pairs;
    const char *only = "";
    buf_init(&pairs, LIMIT_REQUEST_ARENA);
    size_t n = list_pairs(info, &pairs, &only);
    int status = pairs.failed ? error_no_memory(e) : 0;
    if (n == 1 && !t->source.bytes && !t->target.bytes)
        t->prefix = only;
    else if (n > 0 && status == 0)
        status = find_pair(call, t, pairs.data, e);
    buf_free(&pairs);
    if (n > 0 || status < 0)
        return status;
    if (t->target.bytes && !*info->target_language)
        TRY(find_target_token(call, t, e));
    TRY(check_language(&t->source, info->source_language, "source", e));
    return t->target_token >= 0 ? 0 : check_language(&t->target, info->target_language, "target", e);
}

static int make_chat_frame(struct api_call *call, struct translate *t, struct error *e)
{
    if (!t->target.bytes)
        return error_param(e, ERROR_INVALID_REQUEST, "target",
                           "say the target language: this is a chat model");
    const char *from = t->source.bytes ? arena_printf(call->arena, " from %s", t->source.bytes) : "";
    const char *ask =
        from ? arena_printf(call->arena,
                            "Translate the following text%s to %s. Answer with the translation only.\n\n",
                            from, t->target.bytes)
             : NULL;
    if (!ask)
        return error_no_memory(e);
    struct frame_wording wording = {"You are a translator.", {ask, ""}, 1, "\n\nTranslation:"};
    return frame_make(call, t->model, &wording, &t->frame, e);
}

/* ---- pieces ----------------------------------------------------------------------------------- */

static int count_tokens(struct api_call *call, const struct translate *t, const struct engine_text *text,
                        size_t *n, struct error *e)
{
    struct frame_ids ids;
    TRY(frame_tokenize(call, t->model, text->bytes, text->len, &ids, e));
    *n = ids.n;
    return 0;
}

/* The whole text, or its sentences; out NULL: only how many. */
static int cut_text(struct api_call *call, struct translate *t, size_t index, struct piece *out, size_t *n,
                    struct error *e)
{
    const struct engine_text *text = &t->texts.items[index];
    struct sentence *sentences;
    size_t tokens;
    TRY(sentences_split(text->bytes, text->len, call->arena, &sentences, n, e));
    size_t start = *n ? sentences[0].start : 0, end = *n ? sentences[*n - 1].end : 0;
    if (*n > 1 && !memchr(text->bytes + start, '\n', end - start)) {
        TRY(count_tokens(call, t, text, &tokens, e));
        *n = tokens <= TRANSLATE_WHOLE ? 1 : *n;
    }
    for (size_t i = 0; out && i < *n; i++)
        out[i] = (struct piece){.text = index, .start = sentences[i].start, .end = sentences[i].end};
    if (out && *n == 1)
        out[0].end = end;
    return 0;
}

static int cut_texts(struct api_call *call, struct translate *t, struct error *e)
{
    size_t n, at = 0;
    for (size_t i = 0; i < t->texts.n; i++) {
        TRY(cut_text(call, t, i, NULL, &n, e));
        t->n_pieces += n;
    }
    t->pieces = arena_alloc(call->arena, t->n_pieces + 1, sizeof *t->pieces);
    if (!t->pieces)
        return error_no_memory(e);
    for (size_t i = 0; i < t->texts.n; i++, at += n)
        TRY(cut_text(call, t, i, t->pieces + at, &n, e));
    return 0;
}

static int source_ids(struct api_call *call, const struct translate *t, const struct engine_text *text,
                      int32_t **ids, size_t *n, struct error *e)
{
    if (t->chat) {
        struct frame_ids slot;
        TRY(frame_tokenize(call, t->model, text->bytes, text->len, &slot, e));
        return frame_fill(&t->frame, 2, &slot, 1, ids, n, e);
    }
    const char *whole = arena_printf(call->arena, "%s%.*s", t->prefix, (int)text->len, text->bytes);
    if (!whole)
        return error_no_memory(e);
    TRY(engine_tokenize(engine_model_vocabulary(t->model), whole, strlen(whole), ENGINE_ADD_SPECIAL, NULL, 0,
                        ids, n, e));
    if (t->target_token < 0)
        return 0;
    int32_t *longer = realloc(*ids, (*n + 1) * sizeof **ids);
    if (!longer) {
        free(*ids);
        return error_no_memory(e);
    }
    memmove(longer + 1, longer, *n * sizeof *longer);
    longer[0] = t->target_token;
    *ids = longer;
    ++*n;
    return 0;
}

static int make_job(struct api_call *call, struct translate *t, size_t job, const struct piece *p,
                    struct error *e)
{
    const struct engine_model_info *info = engine_model_info(t->model);
    const struct engine_text text = {t->texts.items[p->text].bytes + p->start, p->end - p->start};
    int32_t *ids;
    size_t n;
    TRY(source_ids(call, t, &text, &ids, &n, e));
    size_t most = t->options.max_tokens_given ? (size_t)t->options.max_tokens
                  : info->max_new_tokens      ? info->max_new_tokens
                                              : TRANSLATE_ANSWER;
    size_t room = generation_room(t->model, n);
    if (!t->options.max_tokens_given && most > room)
        most = room ? room : 1;
    TRY(generation_fill_job(call, &t->options, t->model, ids, n, most, &call->jobs[job], e));
    call->jobs[job].logprobs = true;
    return 0;
}

static int next_round(struct api_call *call, struct translate *t, struct error *e)
{
    size_t n = t->n_pieces - t->first < TRANSLATE_ROUND ? t->n_pieces - t->first : TRANSLATE_ROUND;
    if (n == 0)
        return 0;
    TRY(generation_make_jobs(call, n, e));
    for (size_t i = 0; i < n; i++)
        TRY(make_job(call, t, i, &t->pieces[t->first + i], e));
    return answer_init(&t->answer, call->arena, n, 1, true, e);
}

static int write_answer(struct api_call *call, struct translate *t, struct error *e);

int translate_begin(struct api_call *call, struct error *e)
{
    struct translate *t = call->state;
    struct error none = {0};
    t->options.n = 1;
    t->options.top_p = 1;
    t->options.repetition_penalty = 1;
    t->options.seed_given = true;
    t->prefix = "";
    t->target_token = -1;
    TRY(generation_find_model(call, &t->options.model, &t->model, e));
    const struct engine_model_info *info = engine_model_info(t->model);
    TRY(task_need(call, t->model, ENGINE_CAN_GENERATE, "translate", e));
    TRY(task_texts(&t->one_text, &t->many_texts, "text", "texts", &t->texts, e));
    t->chat = !(info->abilities & ENGINE_CAN_TRANSFORM);
    if (t->chat && (!call->api || prompt_chat_ready(call->api, t->model, &none) < 0))
        return task_refuse(call, t->model, "translate", e);
    generation_own_beams(t->model, &t->options);
    TRY(wire_envelope(call, "trans", "translation", info->name, &t->envelope, e));
    TRY(t->chat ? make_chat_frame(call, t, e) : choose_prefix(call, t, e));
    TRY(cut_texts(call, t, e));
    TRY(next_round(call, t, e));
    return call->n_jobs == 0 ? write_answer(call, t, e) : 0;
}

void translate_event(struct api_call *call, size_t job, const struct engine_event *event)
{
    struct translate *t = call->state;
    if (!answer_failed(&t->answer))
        answer_take(&t->answer, job, event);
}

/* ---- the end ---------------------------------------------------------------------------------- */

static int end_piece(struct api_call *call, struct translate *t, size_t job, struct error *e)
{
    struct choice *c = &t->answer.jobs[job].choices[0];
    struct piece *p = &t->pieces[t->first + job];
    const struct engine_token *tokens = token_list_view(&c->tokens, &p->tokens);
    const char *text = c->text.len ? c->text.data : "";
    size_t len = c->text.len;
    while (len > 0 && isspace((unsigned char)text[len - 1]))
        len--;
    while (len > 0 && isspace((unsigned char)*text)) {
        text++;
        len--;
    }
    bool searched = t->options.beams > 1;
    p->sum = searched ? c->score * (double)p->tokens : 0;
    for (size_t i = 0; !searched && i < p->tokens; i++)
        p->sum += (double)tokens[i].logprob;
    p->cut = c->finish == ENGINE_FINISH_LENGTH;
    p->translation = arena_copy(call->arena, text, len);
    p->len = len;
    return p->translation ? 0 : error_no_memory(e);
}

/* The pieces with the white space that was between them. */
static int write_result(struct translate *t, size_t index, const struct piece **at, struct buf *out,
                        struct error *e)
{
    const struct engine_text *text = &t->texts.items[index];
    struct buf whole;
    double sum = 0;
    size_t from = 0, tokens = 0;
    bool cut = false;
    buf_init(&whole, LIMIT_REQUEST_ARENA);
    const struct piece *p = *at;
    for (; p < t->pieces + t->n_pieces && p->text == index; p++) {
        buf_add(&whole, text->bytes + from, p->start - from);
        buf_add(&whole, p->translation, p->len);
        from = p->end;
        sum += p->sum;
        tokens += p->tokens;
        cut = cut || p->cut;
    }
    *at = p;
    buf_add(&whole, text->bytes + from, text->len - from);
    buf_printf(out, "%s{\"index\":%zu,\"translation\":", index ? "," : "", index);
    wire_text(out, whole.len ? whole.data : "", whole.len);
    buf_add_text(out, ",\"score\":");
    wire_float(out, tokens ? sum / (double)tokens : 0);
    buf_add_text(out, cut ? ",\"cut\":true}" : ",\"cut\":false}");
    int status = whole.failed ? error_no_memory(e) : 0;
    buf_free(&whole);
    return status;
}

static int write_answer(struct api_call *call, struct translate *t, struct error *e)
{
    const struct piece *at = t->pieces;
    buf_printf(&call->out, "%s,\"results\":[", t->envelope);
    for (size_t i = 0; i < t->texts.n; i++)
        TRY(write_result(t, i, &at, &call->out, e));
    buf_add_text(&call->out, "],\"usage\":");
    wire_usage(&call->out, &t->usage, 0);
    buf_add_text(&call->out, "}");
    return call->out.failed ? error_no_memory(e) : 0;
}

int translate_advance(struct api_call *call, struct error *e)
{
    struct translate *t = call->state;
    TRY(answer_check(&t->answer, e));
    usage_add(&t->usage, &t->answer.usage);
    for (size_t i = 0; i < t->answer.n_jobs; i++)
        TRY(end_piece(call, t, i, e));
    t->first += t->answer.n_jobs;
    answer_free(&t->answer);
    TRY(next_round(call, t, e));
    return call->n_jobs == 0 ? write_answer(call, t, e) : 0;
}

void translate_free(struct api_call *call)
{
    struct translate *t = call->state;
    answer_free(&t->answer);
}
