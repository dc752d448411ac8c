/* entities.c - POST /v1/entities: names and other spans that a token classifier finds in texts.
 * Tokens become entities as transformers' token-classification pipeline aggregates them: none (each token by
 * itself), simple (neighbours of one label), and first, average, max, which give each word one label before.
 * "B-" begins an entity, "I-" goes on with one, "O" is none.
 * Threads: begin and advance on a worker, event on the loop. */
#include <string.h>

#include "api/endpoints.h"
#include "api/generation.h"
#include "api/tasks.h"
#include "api/wire.h"
#include "engine/base/limits.h"

enum aggregation { AGGREGATE_NONE, AGGREGATE_SIMPLE, AGGREGATE_FIRST, AGGREGATE_AVERAGE, AGGREGATE_MAX };

/* A token, or a word. */
struct unit {
    size_t label;
    double score;
    uint32_t start, end; /* bytes */
};

struct entities {
    struct engine_text model, one_text, aggregation; /* with the next two: the request */
    struct field_texts many_texts;
    bool truncate;

    const char *envelope;
    struct tasks tasks;
};

#define AT(member) offsetof(struct entities, member)

static const char *const aggregations[] = {"none", "simple", "first", "average", "max", NULL};

/* clang-format off */
static const struct field entities_rows[] = {
    {.name = "model", .type = FIELD_STRING, .offset = AT(model),
     .help = "name of a loaded model; absent or \"default\": the first one"},
    {.name = "text", .type = FIELD_STRING, .offset = AT(one_text), .help = "one text"},
    {.name = "texts", .type = FIELD_STRINGS, .offset = AT(many_texts), .max = LIMIT_PROMPTS,
     .max_bytes = LIMIT_REQUEST_ARENA, .may_be_empty = true, .help = "several texts; a result for each"},
    {.name = "aggregation", .type = FIELD_STRING, .offset = AT(aggregation), .one_of = aggregations,
     .help = "none: every token by itself; simple, the default: neighbours with one label; first, average, max: a word "
             "has the label of its first token, of its tokens' mean, of its surest token, and then as simple"},
    {.name = "truncate", .type = FIELD_BOOL, .offset = AT(truncate),
     .help = "cut off what is beyond the model's context; false, the default, refuses such a text"},
};
/* clang-format on */
static const struct field_group entities_groups[] = {FIELD_GROUP(entities_rows, 0)};
const struct field_table entities_fields = FIELD_TABLE(entities_groups, sizeof(struct entities));

int entities_begin(struct api_call *call, struct error *e)
{
    struct entities *t = call->state;
    struct engine_model *model;
    TRY(generation_find_model(call, &t->model, &model, e));
    TRY(task_need(call, model, ENGINE_CAN_TAG, "entities", e));
    TRY(wire_envelope(call, "ent", "entities", engine_model_info(model)->name, &t->envelope, e));
    TRY(tasks_of_texts(call, &t->tasks, model, ENGINE_TASK_TAG, &t->one_text, &t->many_texts, e));
    TRY(tasks_prepare(&t->tasks, ENGINE_ADD_SPECIAL, t->truncate, e));
    return tasks_go_on(call, &t->tasks, e);
}

void entities_event(struct api_call *call, size_t job, const struct engine_event *event)
{
    struct entities *t = call->state;
    tasks_event(&t->tasks, job, event);
}

static size_t best_of(const float *x, size_t n)
{
    size_t best = 0;
    for (size_t i = 1; i < n; i++)
        best = x[i] > x[best] ? i : best;
    return best;
}

/* One label for tokens [from, to) of one word; scores is a row of scratch. */
static struct unit unit_of_word(const struct task_item *item, size_t from, size_t to, enum aggregation how,
                                float *scores)
{
    size_t n = item->n_cols, chosen = from;
    const float *rows = item->values;
    memcpy(scores, rows + from * n, n * sizeof *scores);
    for (size_t i = from + 1; i < to; i++) {
        if (rows[i * n + best_of(rows + i * n, n)] > rows[chosen * n + best_of(rows + chosen * n, n)])
            chosen = i;
        for (size_t k = 0; how == AGGREGATE_AVERAGE && k < n; k++)
            scores[k] += rows[i * n + k];
    }
    if (how == AGGREGATE_MAX)
        memcpy(scores, rows + chosen * n, n * sizeof *scores);
    size_t label = best_of(scores, n);
    double score = (double)scores[label] / (how == AGGREGATE_AVERAGE ? (double)(to - from) : 1);
    return (struct unit){label, score, item->encoding.starts[from], item->encoding.ends[to - 1]};
}

/* Whether token i goes on with the word of the one before it.  Only WordPiece knows words; for other
 * tokenizers a word is what stands between spaces, punctuation included, as in transformers. */
static bool goes_on(const struct task_item *item, size_t i, bool knows_words)
{
    const struct engine_encoding *x = &item->encoding;
    const char *text = item->text.bytes;
    if (knows_words)
        return x->sequence[i - 1] == 0 && x->words[i] == x->words[i - 1];
    size_t start = x->starts[i];
    return start > 0 && text[start - 1] != ' ' && !(start < item->text.len && text[start] == ' ');
}

/* Tokens that are in the text, or its words, in order; arena memory. */
static int make_units(struct api_call *call, const struct task_item *item, enum aggregation how,
                      bool knows_words, struct unit **out, size_t *n, struct error *e)
{
    const struct engine_encoding *x = &item->encoding;
    struct unit *units = arena_alloc(call->arena, x->n, sizeof *units);
    float *scores = arena_alloc(call->arena, item->n_cols, sizeof *scores);
    if (!units || !scores)
        return error_no_memory(e);
    *n = 0;
    for (size_t from = 0, to; from < x->n; from = to) {
        to = from + 1;
        if (x->sequence[from] != 0)
            continue;
        while (how >= AGGREGATE_FIRST && to < x->n && x->sequence[to] == 0 && goes_on(item, to, knows_words))
            to++;
        units[(*n)++] = unit_of_word(item, from, to, how, scores);
    }
    *out = units;
    return 0;
}

/* "B-PER" is PER and begins an entity; "PER" alone goes on, as "I-PER" does. */
static const char *kind_of(const char *label, bool *begins)
{
    *begins = strncmp(label, "B-", 2) == 0;
    return *begins || strncmp(label, "I-", 2) == 0 ? label + 2 : label;
}

/* What a group of them is called: without any prefix. */
static const char *group_of(const char *label)
{
    const char *dash = strchr(label, '-');
    return dash ? dash + 1 : label;
}

static void write_entity(struct buf *out, const struct task_item *item, const char *label, double score,
                         const struct unit *first, const struct unit *last, bool *any)
{
    const char *text = item->text.bytes;
    size_t start = text_code_points(text, first->start);
    buf_add_text(out, *any ? ",{\"label\":" : "{\"label\":");
    wire_text(out, label, strlen(label));
    buf_add_text(out, ",\"text\":");
    wire_text(out, text + first->start, last->end - first->start);
    buf_printf(out, ",\"start\":%zu,\"end\":%zu,\"score\":", start,
               start + text_code_points(text + first->start, last->end - first->start));
    wire_float(out, score);
    buf_add_text(out, "}");
    *any = true;
}

static void write_entities(const struct entities *t, const struct task_item *item, enum aggregation how,
                           const struct unit *units, size_t n, struct buf *out)
{
    const char *const *labels = engine_model_info(t->tasks.model)->labels;
    bool any = false, begins;
    for (size_t from = 0, to; from < n; from = to) {
        const char *label = labels[units[from].label], *kind = kind_of(label, &begins);
        double sum = units[from].score;
        for (to = from + 1; how != AGGREGATE_NONE && to < n; to++) {
            const char *next = kind_of(labels[units[to].label], &begins);
            if (begins || strcmp(next, kind) != 0)
                break;
            sum += units[to].score;
        }
        if (strcmp(label, "O") != 0)
            write_entity(out, item, how == AGGREGATE_NONE ? label : group_of(label),
                         sum / (double)(to - from), &units[from], &units[to - 1], &any);
    }
}

static enum aggregation find_aggregation(const struct entities *t)
{
    size_t i = AGGREGATE_NONE;
    while (t->aggregation.bytes && strcmp(aggregations[i], t->aggregation.bytes) != 0)
        i++;
    return t->aggregation.bytes ? (enum aggregation)i : AGGREGATE_SIMPLE;
}

int entities_advance(struct api_call *call, struct error *e)
{
    struct entities *t = call->state;
    enum aggregation how = find_aggregation(t);
    bool knows_words = engine_model_info(t->tasks.model)->marks_words;
    TRY(tasks_go_on(call, &t->tasks, e));
    if (call->n_jobs)
        return 0;
    buf_printf(&call->out, "%s,\"results\":[", t->envelope);
    for (size_t i = 0; i < t->tasks.n_items; i++) {
        struct task_item *item = &t->tasks.items[i];
        struct unit *units = NULL;
        size_t n = 0;
        for (size_t row = 0; row < item->n_rows; row++)
            softmax(item->values + row * item->n_cols, item->n_cols);
        TRY(make_units(call, item, how, knows_words, &units, &n, e));
        buf_printf(&call->out, "%s{\"index\":%zu,\"entities\":[", i ? "," : "", i);
        write_entities(t, item, how, units, n, &call->out);
        buf_add_text(&call->out, item->truncated ? "],\"truncated\":true}" : "]}");
    }
    buf_add_text(&call->out, "],\"usage\":");
    wire_usage(&call->out, &t->tasks.usage, 0);
    buf_add_text(&call->out, "}");
    return 0;
}

void entities_free(struct api_call *call)
{
    struct entities *t = call->state;
    tasks_free(&t->tasks);
}
