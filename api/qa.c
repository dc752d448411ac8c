/* qa.c - POST /v1/qa: answers from documents alone, with the sentence that proves them.
 * Documents are searched in windows that overlap.  Every window is ranked by the words it shares with the
 * question (qa_search.c); the model says of the best ones, over all documents, how likely each makes the
 * question, then the same of the best window's sentences, and answers from the best sentence.
 * Rounds: questions go in groups of QA_GROUP; a group has a round for windows, one for sentences, one for
 * answers.  To change what is answerable, see the rule below.
 * Threads: begin and advance on a worker, event on the loop. */
#include <math.h>
#include <string.h>

#include "api/choice.h"
#include "api/endpoints.h"
#include "api/extract.h"
#include "api/generation.h"
#include "api/qa_search.h"
#include "api/tasks.h"
#include "api/wire.h"
#include "engine/base/limits.h"

enum {
    QA_WINDOW = 128,       /* tokens: likelihoods are told best on a few sentences */
    QA_OVERLAP = 48,       /* of neighbouring windows */
    QA_CANDIDATES = 6,     /* windows that the model reads for a question */
    QA_CHOICES = 12,       /* sentences that it reads then */
    QA_GROUP = 5,          /* questions; their rounds have at most QA_GROUP * QA_CHOICES jobs */
    QA_READ = 256,         /* most tokens that an answer is read from */
    QA_LARGE = 1000000000, /* parameters from which a model reads also what stands around the sentence */
    QA_LEAST_WINDOW = 16,
};

/* The rule for `answerable`.  gain: the question's mean log-probability per token after the window, less that
 * without one (nats): a text about something else makes no question likelier.  coverage, 0..1: the share of
 * the question's words, by length and rarity, in the window and around it.  grounding, 0..1: the share of the
 * answer's words, by length, in the evidence and its neighbours; words of the question and of the
 * instructions do not count.  All of: gain >= QA_GAIN, gain + coverage >= QA_SUPPORT, the answer has words,
 * grounding >= QA_GROUND.  Else the answer is "" and the evidence null; when the first two fail nothing is
 * generated and the score is 0. */
#define QA_GAIN    0.3
#define QA_SUPPORT 1.1
#define QA_GROUND  0.45f

struct qa_question {
    struct engine_text text;
    struct frame_ids tokens;
    struct qa_passage passages[QA_CHOICES]; /* windows, then sentences of the best one */
    size_t n_passages;
    struct qa_passage window;
    bool asked;              /* it may still get an answer */
    struct token_range read; /* what it is answered from */
    struct engine_text answer;
    double score;
    struct qa_evidence evidence;
    bool answerable;
};

enum qa_stage { QA_WINDOWS, QA_SENTENCES, QA_ANSWERS };

/* What a job of the round is for. */
struct qa_job {
    size_t question;
    size_t passage;  /* scoring: its place in the question's list, or n_passages for the question alone */
    size_t from, at; /* scoring: the question's first token in the prompt; tokens seen */
    double sum;      /* of its log-probabilities */
};

struct qa {
    struct generation_options options; /* with the next eight: the request */
    struct engine_text one_question, context;
    struct field_texts many_questions, documents;
    int64_t top_k, max_answer_tokens;
    bool top_k_given, max_answer_tokens_given;

    struct extract *extract; /* with a checkpoint that marks answers: it does the rest */
    struct engine_model *model;
    const char *envelope;
    struct frame scoring, answering;
    size_t read; /* most tokens of a document in an answering prompt */
    struct qa_library library;
    struct qa_question *questions;
    size_t n_questions, first, last; /* the group: questions [first, last) */
    enum qa_stage stage;             /* what its round is for */
    struct qa_job *jobs;
    struct answer answer; /* of this round */
    struct engine_usage usage;
    bool sent;
};

#define AT(member) offsetof(struct qa, member)

/* clang-format off */
static const struct field qa_rows[] = {
    {.name = "model", .type = FIELD_STRING, .offset = AT(options.model),
     .help = "name of a loaded model; absent or \"default\": the first one"},
    {.name = "question", .type = FIELD_STRING, .offset = AT(one_question), .min = 1, .max = 65536, .help = "one question"},
    {.name = "questions", .type = FIELD_STRINGS, .offset = AT(many_questions), .max = LIMIT_PROMPTS, .max_bytes = 65536,
     .help = "several questions to the same documents; a result for each"},
    {.name = "context", .type = FIELD_STRING, .offset = AT(context), .min = 1, .help = "the one text to answer from"},
    {.name = "documents", .type = FIELD_STRINGS, .offset = AT(documents), .max = LIMIT_PROMPTS,
     .max_bytes = LIMIT_REQUEST_ARENA,
     .help = "texts to answer from, of any length: every overlapping window of 128 tokens is ranked by the words it "
             "shares with the question, the model measures the best 6, then the sentences of the best window, and "
             "answers from the best sentence; answerable is true when the window makes the question likelier (by 0.3 "
             "nats a token, with the share of the question's words in it by 1.1) and 45 % of the answer's own words "
             "stand in the evidence or its neighbours; else answer is \"\" and evidence null"},
    {.name = "max_tokens", .type = FIELD_INT, .offset = AT(options.max_tokens), .min = 1, .max = LIMIT_CONTEXT,
     .given = AT(options.max_tokens_given), .fallback = 48,
     .help = "most tokens of an answer; one that is longer ends with its last whole sentence"},
    {.name = "top_k", .type = FIELD_INT, .offset = AT(top_k), .given = AT(top_k_given), .min = 1, .max = 100,
     .fallback = 1, .help = "with an extractive checkpoint: the best so many spans, all but the first in alternatives"},
    {.name = "max_answer_tokens", .type = FIELD_INT, .offset = AT(max_answer_tokens),
     .given = AT(max_answer_tokens_given), .min = 1, .max = 512, .fallback = 15,
     .help = "with an extractive checkpoint: most tokens of a span"},
    {.name = "temperature", .type = FIELD_NUMBER, .offset = AT(options.temperature), .given = AT(options.temperature_given),
     .min = 0, .max = 2, .help = "0, the default, always takes the most likely token"},
    {.name = "seed", .type = FIELD_INT, .offset = AT(options.seed), .given = AT(options.seed_given),
     .min = -0x1p63, .max = 0x1p63, .help = "the same seed gives the same answer; absent: drawn anew"},
    {.name = "stream", .type = FIELD_BOOL, .offset = AT(options.stream),
     .help = "answer as server-sent events: text as it comes, then for each question a chunk with its result, which "
             "is what counts: an answer that fails the rule is withdrawn there"},
    {.name = "stream_options", .type = FIELD_OBJECT, .nested = &generation_stream_table, .help = "only with stream"},
};
/* clang-format on */

static const struct field_group qa_groups[] = {FIELD_GROUP(qa_rows, 0)};
const struct field_table qa_fields = FIELD_TABLE(qa_groups, sizeof(struct qa));

#define SYSTEM       "You answer questions about a text."
#define INTRODUCTION "According to the text above,"
#define CONCLUSION   "Answer in one short sentence."

static const struct frame_wording scoring_wording = {SYSTEM, {"", "\n\nQuestion:", ""}, 2, "\nAnswer:"};
static const struct frame_wording answering_wording = {
    SYSTEM, {"", "\n\n" INTRODUCTION, " " CONCLUSION}, 2, "\nAnswer:"};

/* ---- begin ---------------------------------------------------------------------------------- */

/* Options that only the other kind of checkpoint has. */
static int refuse(bool given, const char *name, const char *kind, struct error *e)
{
    if (!given)
        return 0;
    return error_param(e, ERROR_UNSUPPORTED, name, "%s needs %s model", name, kind);
}

static int begin_extract(struct api_call *call, struct qa *qa, const struct field_texts *questions,
                         const struct field_texts *documents, struct error *e)
{
    const struct extract_options o = {*questions, *documents, (size_t)qa->top_k,
                                      (size_t)qa->max_answer_tokens};
    TRY(refuse(qa->options.max_tokens_given, "max_tokens", "a generative", e));
    TRY(refuse(qa->options.temperature_given, "temperature", "a generative", e));
    TRY(refuse(qa->options.seed_given, "seed", "a generative", e));
    TRY(refuse(qa->options.stream, "stream", "a generative", e));
    return extract_begin(call, qa->model, &o, &qa->extract, e);
}

static int read_questions(struct api_call *call, struct qa *qa, const struct field_texts *texts,
                          size_t *longest, struct error *e)
{
    qa->questions = arena_alloc(call->arena, texts->n, sizeof *qa->questions);
    if (!qa->questions)
        return error_no_memory(e);
    qa->n_questions = texts->n;
    *longest = 0;
    for (size_t i = 0; i < texts->n; i++) {
        struct qa_question *q = &qa->questions[i];
        q->text = texts->items[i];
        const char *spaced = arena_printf(call->arena, " %s", q->text.bytes);
        if (!spaced)
            return error_no_memory(e);
        TRY(frame_tokenize(call, qa->model, spaced, q->text.len + 1, &q->tokens, e));
        *longest = q->tokens.n > *longest ? q->tokens.n : *longest;
    }
    return 0;
}

/* Tokens of a document that fit beside the longest question and its answer. */
static int find_room(const struct qa *qa, size_t longest, size_t *room, struct error *e)
{
    size_t context = engine_model_info(qa->model)->context;
    size_t fixed = qa->answering.n_fixed > qa->scoring.n_fixed ? qa->answering.n_fixed : qa->scoring.n_fixed;
    size_t wanted = fixed + longest + (size_t)qa->options.max_tokens;
    *room = wanted < context ? context - wanted : 0;
    if (*room >= QA_LEAST_WINDOW)
        return 0;
    return error_set(
        e, ERROR_CONTEXT_LENGTH,
        "This model's maximum context length is %zu tokens. However, the longest question has %zu, "
        "the instructions %zu, the answer up to %lld, and at least %d are needed for the documents.",
        context, longest, fixed, (long long)qa->options.max_tokens, QA_LEAST_WINDOW);
}

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

static int next_round(struct api_call *call, struct qa *qa, struct error *e);

int qa_begin(struct api_call *call, struct error *e)
{
    struct qa *qa = call->state;
    struct field_texts questions = {0}, documents = {0};
    size_t longest = 0, room = 0;
    qa->options.n = 1;
    qa->options.top_p = 1;
    qa->options.repetition_penalty = 1;
    TRY(generation_begin(call, &qa->options, &qa->model, e));
    TRY(task_need(call, qa->model, ENGINE_CAN_GENERATE | ENGINE_CAN_ANSWER, "qa", e));
    TRY(task_texts(&qa->one_question, &qa->many_questions, "question", "questions", &questions, e));
    TRY(task_texts(&qa->context, &qa->documents, "context", "documents", &documents, e));
    if (engine_model_info(qa->model)->abilities & ENGINE_CAN_ANSWER)
        return begin_extract(call, qa, &questions, &documents, e);
    if (engine_model_info(qa->model)->abilities & ENGINE_CAN_TRANSFORM)
        return task_refuse(call, qa->model, "qa", e);
    TRY(refuse(qa->top_k_given, "top_k", "an extractive", e));
    TRY(refuse(qa->max_answer_tokens_given, "max_answer_tokens", "an extractive", e));
    TRY(frame_make(call, qa->model, &scoring_wording, &qa->scoring, e));
    TRY(frame_make(call, qa->model, &answering_wording, &qa->answering, e));
    TRY(read_questions(call, qa, &questions, &longest, e));
    TRY(find_room(qa, longest, &room, e));
    size_t window = least(QA_WINDOW, room);
    qa->read = least(QA_READ, room);
    TRY(qa_library_make(call, qa->model, documents.items, documents.n, window, least(QA_OVERLAP, window / 3),
                        &qa->library, e));
    qa->stage = QA_ANSWERS; /* of the group before the first, which is empty */
    const char *model = engine_model_info(qa->model)->name;
    TRY(wire_envelope(call, "qa", call->stream ? "answer.chunk" : "answer", model, &qa->envelope, e));
    return next_round(call, qa, e);
}

/* ---- rounds --------------------------------------------------------------------------------- */

static struct frame_ids part_ids(const struct qa *qa, size_t document, struct token_range range)
{
    const struct frame_ids *all = &qa->library.documents[document].text.tokens;
    return (struct frame_ids){all->ids + range.from, range.to - range.from};
}

/* The question's own likelihood after a passage, or after nothing. */
static int make_scoring_job(struct api_call *call, struct qa *qa, size_t job, size_t question, size_t passage,
                            struct error *e)
{
    const struct qa_question *q = &qa->questions[question];
    struct frame_ids part = {NULL, 0};
    int32_t *ids;
    size_t n;
    if (passage < q->n_passages)
        part = part_ids(qa, q->passages[passage].document, q->passages[passage].tokens);
    struct frame_ids slots[2] = {part, q->tokens};
    TRY(frame_fill(&qa->scoring, 2, slots, 2, &ids, &n, e));
    qa->jobs[job] = (struct qa_job){.question = question, .passage = passage, .from = n - q->tokens.n};
    TRY(generation_fill_job(call, &qa->options, qa->model, ids, n, 0, &call->jobs[job], e));
    call->jobs[job].prompt_logprobs = true;
    return 0;
}

static int make_answering_job(struct api_call *call, struct qa *qa, size_t job, size_t question,
                              struct error *e)
{
    static const struct engine_text stop[] = {{"\n\n", 2}};
    struct qa_question *q = &qa->questions[question];
    int32_t *ids;
    size_t n;
    struct frame_ids slots[2] = {part_ids(qa, q->window.document, q->read), q->tokens};
    TRY(frame_fill(&qa->answering, 3, slots, 2, &ids, &n, e));
    qa->jobs[job] = (struct qa_job){.question = question};
    TRY(generation_fill_job(call, &qa->options, qa->model, ids, n, (size_t)qa->options.max_tokens,
                            &call->jobs[job], e));
    call->jobs[job].logprobs = true;
    call->jobs[job].stop = stop;
    call->jobs[job].n_stop = 1;
    return frame_favour(call, qa->model, slots, 2, &call->jobs[job].sampling, e);
}

static int start_round(struct api_call *call, struct qa *qa, size_t n, struct error *e)
{
    qa->jobs = arena_alloc(call->arena, n, sizeof *qa->jobs);
    if (!qa->jobs)
        return error_no_memory(e);
    TRY(generation_make_jobs(call, n, e));
    return answer_init(&qa->answer, call->arena, n, 1, true, e);
}

/* Jobs of a question stand together: its passages in order and, with windows, the question alone. */
static int start_scoring(struct api_call *call, struct qa *qa, struct error *e)
{
    size_t n = 0, job = 0, alone = qa->stage == QA_WINDOWS;
    for (size_t i = qa->first; i < qa->last; i++)
        n += qa->questions[i].asked ? qa->questions[i].n_passages + alone : 0;
    if (n == 0)
        return 0;
    TRY(start_round(call, qa, n, e));
    for (size_t i = qa->first; i < qa->last; i++) {
        for (size_t p = 0; qa->questions[i].asked && p < qa->questions[i].n_passages + alone; p++)
            TRY(make_scoring_job(call, qa, job++, i, p, e));
    }
    return 0;
}

/* The next group of questions, and where their answers may be. */
static int start_windows(struct api_call *call, struct qa *qa, struct error *e)
{
    qa->stage = QA_WINDOWS;
    qa->first = qa->last;
    qa->last = least(qa->n_questions, qa->first + QA_GROUP);
    for (size_t i = qa->first; i < qa->last; i++) {
        struct qa_question *q = &qa->questions[i];
        q->n_passages = qa_rank(&qa->library, &q->text, q->passages, QA_CANDIDATES);
        q->asked = q->n_passages > 0;
    }
    return start_scoring(call, qa, e);
}

/* The best window's sentences. */
static int start_sentences(struct api_call *call, struct qa *qa, struct error *e)
{
    qa->stage = QA_SENTENCES;
    for (size_t i = qa->first; i < qa->last; i++) {
        struct qa_question *q = &qa->questions[i];
        if (q->asked)
            q->n_passages =
                qa_rank_sentences(&qa->library, &q->text, &q->window, qa->read, q->passages, QA_CHOICES);
    }
    return start_scoring(call, qa, e);
}

static int start_answering(struct api_call *call, struct qa *qa, struct error *e)
{
    size_t n = 0, job = 0;
    qa->stage = QA_ANSWERS;
    for (size_t i = qa->first; i < qa->last; i++)
        n += qa->questions[i].asked;
    if (n == 0)
        return 0;
    TRY(start_round(call, qa, n, e));
    for (size_t i = qa->first; i < qa->last; i++) {
        if (qa->questions[i].asked)
            TRY(make_answering_job(call, qa, job++, i, e));
    }
    return 0;
}

/* ---- events --------------------------------------------------------------------------------- */

static void take_scores(struct qa_job *job, const struct engine_event *event)
{
    for (size_t i = 0; i < event->n_tokens; i++, job->at++) {
        if (job->at >= job->from)
            job->sum += (double)event->tokens[i].logprob;
    }
}

static void open_chunk(struct api_call *call, struct qa *qa, size_t question,
                       const struct engine_event *event)
{
    struct buf *out = &call->out;
    buf_printf(out, "data: %s,\"choices\":[{\"text\":", qa->envelope);
    wire_text(out, event ? event->text : "", event ? event->text_len : 0);
    buf_printf(out, ",\"index\":%zu,\"logprobs\":null,\"finish_reason\":%s}]", question,
               event ? "null" : "\"stop\"");
    qa->sent = true;
}

static void close_chunk(struct api_call *call, const struct qa *qa)
{
    buf_add_text(&call->out, qa->options.include_usage ? ",\"usage\":null}\n\n" : "}\n\n");
}

void qa_event(struct api_call *call, size_t job, const struct engine_event *event)
{
    struct qa *qa = call->state;
    if (qa->extract) {
        extract_event(qa->extract, job, event);
        return;
    }
    if (answer_failed(&qa->answer))
        return;
    if (event->kind == ENGINE_EVENT_PROMPT) {
        take_scores(&qa->jobs[job], event);
        return;
    }
    answer_take(&qa->answer, job, event);
    if (!call->stream)
        return;
    if (answer_failed(&qa->answer) && qa->sent) {
        api_error_event(&call->out, &qa->answer.error);
    } else if (!answer_failed(&qa->answer) && qa->stage == QA_ANSWERS && event->text_len) {
        open_chunk(call, qa, qa->jobs[job].question, event);
        close_chunk(call, qa);
    }
}

/* ---- results -------------------------------------------------------------------------------- */

/* How likely the question is after the best of its passages, which becomes *best.  jobs: the question's. */
static double judge_passages(const struct qa_question *q, const struct qa_job *jobs, bool with_rank,
                             size_t *best)
{
    double most = 0;
    for (size_t p = 0; p < q->n_passages; p++) {
        double mean = jobs[p].sum / (double)q->tokens.n + (with_rank ? (double)q->passages[p].rank : 0);
        if (p == 0 || mean > most) {
            most = mean;
            *best = p;
        }
    }
    return most;
}

static void judge_windows(struct qa *qa, struct qa_question *q, const struct qa_job *jobs)
{
    size_t best = 0;
    double gain = judge_passages(q, jobs, false, &best) - jobs[q->n_passages].sum / (double)q->tokens.n;
    q->window = q->passages[best];
    struct token_range around = qa_widen(&qa->library, &q->window, qa->read);
    double coverage = (double)qa_coverage(&qa->library, &q->text, q->window.document, around);
    q->asked = gain >= QA_GAIN && gain + coverage >= QA_SUPPORT;
}

/* A small model answers best from one sentence; a larger one makes use of what stands around it. */
static void judge_sentences(struct qa *qa, struct qa_question *q, const struct qa_job *jobs)
{
    size_t best = 0;
    judge_passages(q, jobs, true, &best);
    q->read = q->passages[best].tokens;
    if (engine_model_info(qa->model)->parameters >= QA_LARGE)
        q->read = qa_widen(&qa->library, &q->passages[best], qa->read);
}

static void judge_scores(struct qa *qa)
{
    bool windows = qa->stage == QA_WINDOWS;
    for (size_t j = 0; j < qa->answer.n_jobs;) {
        struct qa_question *q = &qa->questions[qa->jobs[j].question];
        const struct qa_job *jobs = &qa->jobs[j];
        j += q->n_passages + windows;
        if (windows)
            judge_windows(qa, q, jobs);
        else
            judge_sentences(qa, q, jobs);
    }
}

/* Without white space around it and, when it ran out of tokens, without its unfinished sentence. */
static struct engine_text tidy_answer(const char *text, size_t len, enum engine_finish finish)
{
    struct sentence s;
    size_t chars = 0, start = 0, end = 0, before = 0, n = 0;
    for (size_t i = 0; (i = sentence_next(text, len, i, false, &chars, &s)) != 0; n++) {
        start = n ? start : s.start;
        before = end;
        end = s.end;
    }
    if (n > 1 && finish == ENGINE_FINISH_LENGTH)
        end = before;
    return (struct engine_text){text + start, end - start};
}

/* exp of the mean log-probability of the tokens. */
static double mean_probability(const struct engine_token *tokens, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += (double)tokens[i].logprob;
    return n ? exp(sum / (double)n) : 0;
}

static void judge_text(struct qa *qa, struct qa_question *q, struct engine_text answer)
{
    q->answer = answer;
    q->evidence = qa_find_evidence(&qa->library, &q->text, &answer, SYSTEM " " INTRODUCTION " " CONCLUSION,
                                   q->window.document, q->read);
    q->answerable = q->evidence.sentence && words_count(answer.bytes, answer.len) > 0 &&
                    q->evidence.grounding >= QA_GROUND;
}

static int judge_answer(struct api_call *call, struct qa *qa, size_t job, struct error *e)
{
    struct choice *choice = &qa->answer.jobs[job].choices[0];
    struct qa_question *q = &qa->questions[qa->jobs[job].question];
    struct sentence first;
    size_t n, chars = 0;
    const struct engine_token *tokens = token_list_view(&choice->tokens, &n);
    q->score = mean_probability(tokens, n);
    struct engine_text answer =
        tidy_answer(choice->text.len ? choice->text.data : "", choice->text.len, choice->finish);
    judge_text(qa, q, answer);
    if (!q->answerable && sentence_next(answer.bytes, answer.len, 0, false, &chars, &first) != 0)
        judge_text(qa, q, (struct engine_text){answer.bytes + first.start, first.end - first.start});
    if (!q->answerable)
        return 0;
    q->answer.bytes = arena_copy(call->arena, q->answer.bytes, q->answer.len);
    return q->answer.bytes ? 0 : error_no_memory(e);
}

static void write_evidence(const struct qa *qa, const struct qa_question *q, struct buf *out)
{
    if (!q->answerable) {
        buf_add_text(out, "null");
        return;
    }
    const struct sentence *s = q->evidence.sentence;
    size_t document = q->window.document;
    buf_printf(out, "{\"document\":%zu,\"start\":%zu,\"end\":%zu,\"text\":", document, s->chars,
               s->chars + s->n_chars);
    wire_text(out, qa->library.documents[document].text.text + s->start, s->end - s->start);
    buf_add_text(out, "}");
}

static void write_result(const struct qa *qa, size_t index, struct buf *out)
{
    const struct qa_question *q = &qa->questions[index];
    buf_printf(out, "{\"index\":%zu,\"answer\":", index);
    wire_text(out, q->answerable ? q->answer.bytes : "", q->answerable ? q->answer.len : 0);
    buf_printf(out, ",\"score\":%.6f,\"evidence\":", q->score);
    write_evidence(qa, q, out);
    buf_printf(out, ",\"answerable\":%s}", q->answerable ? "true" : "false");
}

static void stream_results(struct api_call *call, struct qa *qa)
{
    for (size_t i = qa->first; i < qa->last; i++) {
        open_chunk(call, qa, i, NULL);
        buf_add_text(&call->out, ",\"results\":[");
        write_result(qa, i, &call->out);
        buf_add_text(&call->out, "]");
        close_chunk(call, qa);
    }
}

static void finish(struct api_call *call, struct qa *qa)
{
    struct buf *out = &call->out;
    if (call->stream) {
        wire_stream_end(out, qa->envelope, qa->options.include_usage ? &qa->usage : NULL, 0);
        return;
    }
    buf_printf(out, "%s,\"results\":[", qa->envelope);
    for (size_t i = 0; i < qa->n_questions; i++) {
        buf_add_text(out, i ? "," : "");
        write_result(qa, i, out);
    }
    buf_add_text(out, "],\"usage\":");
    wire_usage(out, &qa->usage, 0);
    buf_add_text(out, "}");
}

/* What the round that ended has told. */
static int end_round(struct api_call *call, struct qa *qa, struct error *e)
{
    usage_add(&qa->usage, &qa->answer.usage);
    if (qa->stage != QA_ANSWERS)
        judge_scores(qa);
    for (size_t j = 0; qa->stage == QA_ANSWERS && j < qa->answer.n_jobs; j++)
        TRY(judge_answer(call, qa, j, e));
    answer_free(&qa->answer);
    return 0;
}

/* Makes jobs, or completes the answer when there is nothing left to do.  A stage may have none. */
static int next_round(struct api_call *call, struct qa *qa, struct error *e)
{
    while (call->n_jobs == 0) {
        if (qa->stage == QA_WINDOWS) {
            TRY(start_sentences(call, qa, e));
        } else if (qa->stage == QA_SENTENCES) {
            TRY(start_answering(call, qa, e));
        } else {
            if (call->stream)
                stream_results(call, qa);
            if (qa->last == qa->n_questions) {
                finish(call, qa);
                return 0;
            }
            TRY(start_windows(call, qa, e));
        }
    }
    return 0;
}

int qa_advance(struct api_call *call, struct error *e)
{
    struct qa *qa = call->state;
    if (qa->extract)
        return extract_advance(call, qa->extract, e);
    if (answer_failed(&qa->answer))
        return qa->sent ? 0 : answer_check(&qa->answer, e);
    TRY(end_round(call, qa, e));
    return next_round(call, qa, e);
}

void qa_free(struct api_call *call)
{
    struct qa *qa = call->state;
    extract_free(qa->extract);
    answer_free(&qa->answer);
}
