/* summarize.c - POST /v1/summarize: what texts of any length say, in a few sentences.
 * A text that fits one prompt is summarised by it.  A longer one is cut into pieces (pieces.h), each is
 * summarised by a prompt of its own, and the joined summaries are a shorter text, with which the same happens
 * until one prompt is enough.  Every input token is in exactly one prompt of the first level; `passes` counts
 * the prompts of a text, all levels together.
 * It ends: a piece's summary has at most an eighth of the piece's tokens.
 * Rounds: at most SUMMARY_ROUND_JOBS prompts of all texts each.  Threads: begin and advance on a worker,
 * event on the loop. */
#include <string.h>

#include "api/choice.h"
#include "api/digest.h"
#include "api/endpoints.h"
#include "api/generation.h"
#include "api/pieces.h"
#include "api/tasks.h"
#include "api/wire.h"
#include "engine/base/limits.h"

enum {
    SUMMARY_PIECE = 1500,      /* tokens: small models lose the thread in longer ones */
    SUMMARY_PIECE_ANSWER = 96, /* tokens of a piece's summary */
    SUMMARY_LEAST_PIECE = 16,
    SUMMARY_LEVELS = 32, /* each is shorter than half of the one before */
    SUMMARY_ROUND_JOBS = 64,
};

struct summary_text {
    struct token_text source; /* of this level */
    struct token_range *pieces;
    struct engine_text *summaries; /* (n_pieces) */
    size_t n_pieces, next, done;   /* next: the first that has no job yet */
    unsigned level;
    bool last; /* this level's one prompt makes the summary */
    bool finished;
    size_t passes, input_tokens;
    struct digest digest; /* of the summary */
    size_t sent;          /* bytes of it that are in the stream */
    enum engine_finish finish;
};

struct summary_job {
    size_t text, piece;
    struct digest digest; /* of a piece's summary */
};

struct summarize {
    struct generation_options options; /* with the next six: the request */
    struct engine_text one_text;
    struct field_texts many_texts;
    struct engine_text length, style, focus;
    int64_t max_words;

    struct engine_model *model;
    const char *envelope;
    struct frame piece_frame, last_frame;
    size_t piece_room, piece_answer, last_room, last_answer; /* tokens */
    struct summary_text *texts;
    size_t n_texts;
    struct summary_job *jobs;
    size_t n_jobs;
    bool transforms;      /* the model writes a text for another one: no instructions */
    struct answer answer; /* of this round */
    struct engine_usage usage;
    bool sent;
};

#define AT(member) offsetof(struct summarize, member)

static const char *const lengths[] = {"short", "medium", "long", NULL};
static const char *const styles[] = {"paragraph", "bullets", NULL};

/* clang-format off */
static const struct field summarize_rows[] = {
    {.name = "model", .type = FIELD_STRING, .offset = AT(options.model),
     .help = "name of a loaded model; absent or \"default\": the first one"},
    {.name = "text", .type = FIELD_STRING, .offset = AT(one_text), .min = 1,
     .help = "a text of any length; one that is longer than a prompt is summarised piece by piece (about 1,500 tokens "
             "each) and the pieces' summaries again; passes counts the prompts that this took"},
    {.name = "texts", .type = FIELD_STRINGS, .offset = AT(many_texts), .max = LIMIT_PROMPTS,
     .max_bytes = LIMIT_REQUEST_ARENA, .help = "several texts; a result for each"},
    {.name = "length", .type = FIELD_STRING, .offset = AT(length), .one_of = lengths,
     .help = "short: one or two sentences; medium, the default: three to five; long: eight to ten"},
    {.name = "max_words", .type = FIELD_INT, .offset = AT(max_words), .min = 1, .max = 100000,
     .help = "the summary ends with the last sentence that keeps it within so many words, or inside the first if that "
             "alone has more; cut is then true"},
    {.name = "style", .type = FIELD_STRING, .offset = AT(style), .one_of = styles,
     .help = "paragraph, the default, or bullets: a sentence a line, each after \"- \""},
    {.name = "focus", .type = FIELD_STRING, .offset = AT(focus), .min = 1, .max = 1000,
     .help = "what to pay attention to"},
    {.name = "temperature", .type = FIELD_NUMBER, .offset = AT(options.temperature), .min = 0, .max = 2,
     .help = "0, the default, always takes the most likely token; a frequency penalty of 0.3 keeps small models from "
             "loops in any case"},
    {.name = "seed", .type = FIELD_INT, .offset = AT(options.seed), .given = AT(options.seed_given),
     .min = -0x1p63, .max = 0x1p63, .help = "the same seed gives the same summary; absent: drawn anew"},
    {.name = "stream", .type = FIELD_BOOL, .offset = AT(options.stream),
     .help = "answer as server-sent events: the last prompt's sentences as they are complete, then for each text a "
             "chunk with its result"},
    {.name = "stream_options", .type = FIELD_OBJECT, .nested = &generation_stream_table, .help = "only with stream"},
};
/* clang-format on */

static const struct field_group summarize_groups[] = {FIELD_GROUP(summarize_rows, 0)};
const struct field_table summarize_fields = FIELD_TABLE(summarize_groups, sizeof(struct summarize));

#define SYSTEM "You write short, accurate summaries of texts."

/* ---- begin ---------------------------------------------------------------------------------- */

static const struct {
    const char *sentences, *points;
    size_t tokens;
} amounts[] = {
    {"one or two sentences", "a list of two or three short points", 80},
    {"three to five sentences", "a list of three to five short points", 180},
    {"eight to ten sentences", "a list of eight to ten short points", 400},
};

static size_t find_amount(const struct summarize *s)
{
    size_t i = 0;
    while (s->length.bytes && strcmp(lengths[i], s->length.bytes) != 0)
        i++;
    return s->length.bytes ? i : 1;
}

static bool wants_bullets(const struct summarize *s)
{
    return s->style.bytes && strcmp(s->style.bytes, "bullets") == 0;
}

static int make_frame(struct api_call *call, const struct summarize *s, const char *amount, int64_t max_words,
                      struct frame *out, struct error *e)
{
    const char *words =
        max_words ? arena_printf(call->arena, ", in at most %lld words", (long long)max_words) : "";
    const char *focus =
        s->focus.bytes ? arena_printf(call->arena, " Pay attention to this: %s", s->focus.bytes) : "";
    const char *after = words && focus
                            ? arena_printf(call->arena, "\n\nWrite a summary of the text above in %s%s.%s",
                                           amount, words, focus)
                            : NULL;
    if (!after)
        return error_no_memory(e);
    struct frame_wording wording = {SYSTEM, {"Text:\n", after}, 1, "\n\nSummary:"};
    return frame_make(call, s->model, &wording, out, e);
}

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

static int too_small(size_t context, size_t fixed, struct error *e)
{
    return error_set(
        e, ERROR_CONTEXT_LENGTH,
        "This model's maximum context length is %zu tokens. However, the instructions alone have "
        "%zu, which leaves too few for the text.",
        context, fixed);
}

/* The prefix that the model was trained with for summaries, or none. */
static const char *source_prefix(const struct engine_model_info *info)
{
    for (size_t i = 0; i < info->n_prefixes; i++) {
        if (strcmp(info->prefixes[i].task, "summarization") == 0)
            return info->prefixes[i].text;
    }
    return "";
}

/* An encoder-decoder needs no instructions and takes none: texts and summaries have a context each. */
static int make_source_frames(struct api_call *call, struct summarize *s, struct error *e)
{
    const struct engine_model_info *info = engine_model_info(s->model);
    if (s->focus.bytes)
        return error_param(e, ERROR_UNSUPPORTED, "focus",
                           "this model summarises as it was trained: it takes no focus");
    TRY(frame_make_source(call, s->model, source_prefix(info), &s->last_frame, e));
    s->piece_frame = s->last_frame;
    if (s->last_frame.n_fixed + SUMMARY_LEAST_PIECE >= info->source_context || info->context < 2)
        return too_small(info->source_context, s->last_frame.n_fixed, e);
    s->piece_room = s->last_room = least(SUMMARY_PIECE, info->source_context - s->last_frame.n_fixed);
    s->last_answer = least(amounts[find_amount(s)].tokens, info->context - 1);
    s->piece_answer = least(least(SUMMARY_PIECE_ANSWER, s->last_answer), s->piece_room / 4);
    if (!call->stream)
        generation_own_beams(s->model, &s->options);
    s->options.frequency_penalty = 0;
    return 0;
}

/* How the context is shared between instructions, text and summary. */
static int make_frames(struct api_call *call, struct summarize *s, struct error *e)
{
    size_t amount = find_amount(s), context = engine_model_info(s->model)->context;
    bool bullets = wants_bullets(s);
    s->transforms = engine_model_info(s->model)->abilities & ENGINE_CAN_TRANSFORM;
    if (s->transforms)
        return make_source_frames(call, s, e);
    TRY(make_frame(call, s, amounts[1].sentences, 0, &s->piece_frame, e));
    TRY(make_frame(call, s, bullets ? amounts[amount].points : amounts[amount].sentences, s->max_words,
                   &s->last_frame, e));
    size_t fixed =
        s->piece_frame.n_fixed > s->last_frame.n_fixed ? s->piece_frame.n_fixed : s->last_frame.n_fixed;
    if (fixed + 2 * SUMMARY_LEAST_PIECE >= context)
        return too_small(context, fixed, e);
    size_t free = context - fixed;
    s->piece_answer = least(SUMMARY_PIECE_ANSWER, free / 9);
    s->piece_room = least(SUMMARY_PIECE, free - s->piece_answer);
    s->last_answer = least(amounts[amount].tokens, free / 2);
    s->last_room = free - s->last_answer;
    return 0;
}

static bool is_blank(const char *text, size_t len)
{
    return words_count(text, len) == 0;
}

/* A level's text, whole if one prompt is enough. */
static int start_level(struct api_call *call, struct summarize *s, struct summary_text *t, const char *text,
                       size_t len, struct error *e)
{
    TRY(token_text_make(call, s->model, text, len, &t->source, e));
    t->last = t->source.tokens.n <= s->last_room;
    t->next = t->done = 0;
    TRY(pieces_make(&t->source, t->last ? s->last_room : s->piece_room, call->arena, &t->pieces, &t->n_pieces,
                    e));
    t->summaries = arena_alloc(call->arena, t->n_pieces + 1, sizeof *t->summaries);
    return t->summaries ? 0 : error_no_memory(e);
}

static int start_texts(struct api_call *call, struct summarize *s, const struct field_texts *texts,
                       struct error *e)
{
    s->texts = arena_alloc(call->arena, texts->n, sizeof *s->texts);
    if (!s->texts)
        return error_no_memory(e);
    for (size_t i = 0; i < texts->n; i++) {
        struct summary_text *t = &s->texts[i];
        s->n_texts = i + 1;
        digest_init(&t->digest, wants_bullets(s), (size_t)s->max_words);
        TRY(start_level(call, s, t, texts->items[i].bytes, texts->items[i].len, e));
        t->input_tokens = t->source.tokens.n;
        t->finish = ENGINE_FINISH_STOP;
        t->finished = is_blank(texts->items[i].bytes, texts->items[i].len);
    }
    return 0;
}

static int next_round(struct api_call *call, struct summarize *s, struct error *e);

int summarize_begin(struct api_call *call, struct error *e)
{
    struct summarize *s = call->state;
    s->options.n = 1;
    s->options.top_p = 1;
    s->options.repetition_penalty = 1;
    s->options.frequency_penalty = 0.3;
    TRY(generation_begin(call, &s->options, &s->model, e));
    struct field_texts texts;
    TRY(task_need(call, s->model, ENGINE_CAN_GENERATE, "summarize", e));
    TRY(task_texts(&s->one_text, &s->many_texts, "text", "texts", &texts, e));
    const char *object = call->stream ? "summary.chunk" : "summary";
    TRY(wire_envelope(call, "sum", object, engine_model_info(s->model)->name, &s->envelope, e));
    TRY(make_frames(call, s, e));
    TRY(start_texts(call, s, &texts, e));
    return next_round(call, s, e);
}

/* ---- rounds --------------------------------------------------------------------------------- */

static int make_job(struct api_call *call, struct summarize *s, size_t job, size_t text, struct error *e)
{
    struct summary_text *t = &s->texts[text];
    const struct token_range piece = t->pieces[t->next];
    struct frame_ids slot = {t->source.tokens.ids + piece.from, piece.to - piece.from};
    int32_t *ids;
    size_t n;
    s->jobs[job].text = text;
    s->jobs[job].piece = t->next++;
    digest_init(&s->jobs[job].digest, false, 0);
    s->n_jobs = job + 1;
    t->passes++;
    TRY(frame_fill(t->last ? &s->last_frame : &s->piece_frame, 2, &slot, 1, &ids, &n, e));
    TRY(generation_fill_job(call, &s->options, s->model, ids, n, t->last ? s->last_answer : s->piece_answer,
                            &call->jobs[job], e));
    return s->transforms ? 0 : frame_favour(call, s->model, &slot, 1, &call->jobs[job].sampling, e);
}

static void write_result(const struct summary_text *t, size_t index, struct buf *out)
{
    buf_printf(out, "{\"index\":%zu,\"summary\":", index);
    wire_text(out, t->digest.out.len ? t->digest.out.data : "", t->digest.out.len);
    buf_printf(out, ",\"passes\":%zu,\"input_tokens\":%zu,\"cut\":%s}", t->passes, t->input_tokens,
               t->digest.cut ? "true" : "false");
}

static void complete(struct api_call *call, struct summarize *s)
{
    struct buf *out = &call->out;
    if (call->stream) {
        wire_stream_end(out, s->envelope, s->options.include_usage ? &s->usage : NULL, 0);
        return;
    }
    buf_printf(out, "%s,\"results\":[", s->envelope);
    for (size_t i = 0; i < s->n_texts; i++) {
        buf_add_text(out, i ? "," : "");
        write_result(&s->texts[i], i, out);
    }
    buf_add_text(out, "],\"usage\":");
    wire_usage(out, &s->usage, 0);
    buf_add_text(out, "}");
}

/* The next prompts that no other one has to wait for; without any the answer is complete. */
static int next_round(struct api_call *call, struct summarize *s, struct error *e)
{
    size_t n = 0, job = 0;
    for (size_t i = 0; i < s->n_texts; i++)
        n += s->texts[i].finished ? 0 : s->texts[i].n_pieces - s->texts[i].next;
    if (n == 0) {
        complete(call, s);
        return 0;
    }
    n = least(n, SUMMARY_ROUND_JOBS);
    s->jobs = arena_alloc(call->arena, n, sizeof *s->jobs);
    if (!s->jobs)
        return error_no_memory(e);
    TRY(generation_make_jobs(call, n, e));
    for (size_t i = 0; i < s->n_texts; i++) {
        struct summary_text *t = &s->texts[i];
        while (!t->finished && job < n && t->next < t->n_pieces)
            TRY(make_job(call, s, job++, i, e));
    }
    return answer_init(&s->answer, call->arena, n, 1, false, e);
}

/* ---- events --------------------------------------------------------------------------------- */

/* What is new of a summary.  ends: its last chunk, with the result. */
static void stream_text(struct api_call *call, struct summarize *s, size_t index, bool ends)
{
    struct summary_text *t = &s->texts[index];
    struct buf *out = &call->out;
    size_t len = t->digest.out.len - t->sent;
    if (len == 0 && !ends)
        return;
    buf_printf(out, "data: %s,\"choices\":[{\"text\":", s->envelope);
    wire_text(out, len ? t->digest.out.data + t->sent : "", len);
    buf_printf(out, ",\"index\":%zu,\"logprobs\":null,\"finish_reason\":", index);
    wire_finish_reason(out, ends ? t->finish : ENGINE_FINISH_NONE);
    buf_add_text(out, "}]");
    if (ends) {
        buf_add_text(out, ",\"results\":[");
        write_result(t, index, out);
        buf_add_text(out, "]");
    }
    buf_add_text(out, s->options.include_usage ? ",\"usage\":null}\n\n" : "}\n\n");
    t->sent = t->digest.out.len;
    s->sent = true;
}

void summarize_event(struct api_call *call, size_t job, const struct engine_event *event)
{
    struct summarize *s = call->state;
    if (answer_failed(&s->answer))
        return;
    answer_take(&s->answer, job, event);
    if (answer_failed(&s->answer)) {
        if (s->sent)
            api_error_event(&call->out, &s->answer.error);
        return;
    }
    if (event->kind != ENGINE_EVENT_STEP || event->text_len == 0)
        return;
    struct summary_text *t = &s->texts[s->jobs[job].text];
    digest_take(t->last ? &t->digest : &s->jobs[job].digest, event->text, event->text_len);
    if (call->stream && t->last)
        stream_text(call, s, s->jobs[job].text, false);
}

/* ---- the end of a round --------------------------------------------------------------------- */

static void end_text(struct api_call *call, struct summarize *s, size_t index, enum engine_finish finish)
{
    struct summary_text *t = &s->texts[index];
    digest_end(&t->digest, finish == ENGINE_FINISH_LENGTH);
    t->finish = t->digest.cut ? ENGINE_FINISH_STOP : finish;
    t->finished = true;
    if (call->stream)
        stream_text(call, s, index, true);
}

static int end_job(struct api_call *call, struct summarize *s, size_t job, struct error *e)
{
    struct summary_job *j = &s->jobs[job];
    struct summary_text *t = &s->texts[j->text];
    enum engine_finish finish = s->answer.jobs[job].choices[0].finish;
    t->done++;
    if (t->last) {
        end_text(call, s, j->text, finish);
        return digest_failed(&t->digest) ? error_no_memory(e) : 0;
    }
    digest_end(&j->digest, finish == ENGINE_FINISH_LENGTH);
    if (digest_failed(&j->digest))
        return error_no_memory(e);
    struct engine_text *out = &t->summaries[j->piece];
    out->len = j->digest.out.len;
    out->bytes = arena_copy(call->arena, out->len ? j->digest.out.data : "", out->len);
    return out->bytes ? 0 : error_no_memory(e);
}

/* The summaries of a level are the text of the next. */
static int end_level(struct api_call *call, struct summarize *s, size_t index, struct error *e)
{
    struct summary_text *t = &s->texts[index];
    struct buf joined;
    buf_init(&joined, LIMIT_REQUEST_ARENA);
    for (size_t i = 0; i < t->n_pieces; i++) {
        buf_add_text(&joined, joined.len && t->summaries[i].len ? "\n\n" : "");
        buf_add(&joined, t->summaries[i].bytes, t->summaries[i].len);
    }
    const char *text =
        joined.failed ? NULL : arena_copy(call->arena, joined.len ? joined.data : "", joined.len);
    size_t len = joined.len;
    buf_free(&joined);
    if (!text)
        return error_no_memory(e);
    if (is_blank(text, len)) {
        end_text(call, s, index, ENGINE_FINISH_STOP);
        return 0;
    }
    if (++t->level == SUMMARY_LEVELS)
        return error_set(e, ERROR_INTERNAL, "the text did not become shorter by being summarised");
    return start_level(call, s, t, text, len, e);
}

static void free_round(struct summarize *s)
{
    for (size_t j = 0; j < s->n_jobs; j++)
        digest_free(&s->jobs[j].digest);
    s->n_jobs = 0;
    answer_free(&s->answer);
}

int summarize_advance(struct api_call *call, struct error *e)
{
    struct summarize *s = call->state;
    if (answer_failed(&s->answer))
        return s->sent ? 0 : answer_check(&s->answer, e);
    usage_add(&s->usage, &s->answer.usage);
    for (size_t j = 0; j < s->n_jobs; j++)
        TRY(end_job(call, s, j, e));
    free_round(s);
    for (size_t i = 0; i < s->n_texts; i++) {
        struct summary_text *t = &s->texts[i];
        if (!t->finished && t->done == t->n_pieces)
            TRY(end_level(call, s, i, e));
    }
    return next_round(call, s, e);
}

void summarize_free(struct api_call *call)
{
    struct summarize *s = call->state;
    free_round(s);
    for (size_t i = 0; i < s->n_texts; i++)
        digest_free(&s->texts[i].digest);
}
