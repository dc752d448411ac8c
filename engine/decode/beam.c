/* beam.c - see beam.h.
 * transformers takes the best (1 + number of end tokens) * k of all continuations, so that k that do not end
 * are among them; here each beam keeps its k best of both kinds, which holds the same ones.  Sums run in
 * float32 as there.  Among equal scores the beam of lower rank goes first, then the lower id. */
#include "engine/decode/beam.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/limits.h"

struct candidate {
    float score; /* sum of log probabilities, this token included */
    float logprob;
    int32_t token;
    unsigned parent;
    bool end;
};

/* The best continuations of one beam, best first. */
struct shortlist {
    struct candidate best[LIMIT_BEAMS];
    unsigned n;
};

struct beam_search {
    struct engine_beams options;
    size_t max_tokens;
    unsigned n_running;
    float scores[LIMIT_BEAMS]; /* of running beams */
    struct beam_next next[LIMIT_BEAMS];
    struct shortlist ending[LIMIT_BEAMS], going[LIMIT_BEAMS]; /* by rank */
    struct candidate merged[2 * LIMIT_BEAMS * LIMIT_BEAMS];
    struct beam_hypothesis finished[LIMIT_BEAMS]; /* best first; the arrays of unused ones wait here too */
    unsigned n_finished;
};

int beam_search_create(const struct engine_beams *options, size_t max_tokens, struct beam_search **out,
                       struct error *e)
{
    struct beam_search *b = calloc(1, sizeof *b);
    if (!b)
        return error_no_memory(e);
    b->options = *options;
    b->max_tokens = max_tokens;
    b->n_running = 1;
    for (unsigned i = 0; i < options->beams; i++) {
        struct beam_hypothesis *h = &b->finished[i];
        h->tokens = calloc(max_tokens, sizeof *h->tokens);
        h->logprobs = calloc(max_tokens, sizeof *h->logprobs);
        if (!h->tokens || !h->logprobs) {
            beam_search_free(b);
            return error_no_memory(e);
        }
    }
    *out = b;
    return 0;
}

void beam_search_free(struct beam_search *b)
{
    if (!b)
        return;
    for (unsigned i = 0; i < b->options.beams; i++) {
        free(b->finished[i].tokens);
        free(b->finished[i].logprobs);
    }
    free(b);
}

/* Ids come in ascending order, so an equal one goes behind. */
static void keep(struct shortlist *list, unsigned most, const struct candidate *c)
{
    unsigned at = list->n < most ? list->n++ : most - 1;
    for (; at > 0 && c->score > list->best[at - 1].score; at--)
        list->best[at] = list->best[at - 1];
    list->best[at] = *c;
}

static bool has_place(const struct shortlist *list, unsigned most, float score)
{
    return list->n < most || score > list->best[most - 1].score;
}

void beam_search_scan(struct beam_search *b, unsigned rank, const struct beam_row *row)
{
    struct shortlist *ending = &b->ending[rank], *going = &b->going[rank];
    unsigned most = b->options.beams;
    ending->n = going->n = 0;
    for (size_t i = 0; i < row->vocabulary; i++) {
        float score = b->scores[rank] + row->scores[i];
        if (!(score > -INFINITY) || (!has_place(going, most, score) && !has_place(ending, most, score)))
            continue;
        struct candidate c = {score, row->logits[i] - row->total, (int32_t)i, rank, false};
        c.end = row->is_end(row->context, c.token);
        struct shortlist *list = c.end ? ending : going;
        if (has_place(list, most, score))
            keep(list, most, &c);
    }
}

static int compare(const void *left, const void *right)
{
    const struct candidate *a = left, *b = right;
    if (a->score != b->score)
        return a->score > b->score ? -1 : 1;
    if (a->parent != b->parent)
        return a->parent < b->parent ? -1 : 1;
    return a->token < b->token ? -1 : a->token > b->token;
}

static size_t merge(struct beam_search *b)
{
    size_t n = 0;
    for (unsigned rank = 0; rank < b->n_running; rank++) {
        const struct shortlist *lists[] = {&b->ending[rank], &b->going[rank]};
        for (int k = 0; k < 2; k++) {
            memcpy(b->merged + n, lists[k]->best, lists[k]->n * sizeof *b->merged);
            n += lists[k]->n;
        }
    }
    qsort(b->merged, n, sizeof *b->merged, compare);
    return n;
}

static float normalised(const struct beam_search *b, float score, size_t length)
{
    return score / (float)pow((double)length, (double)b->options.length_penalty);
}

/* Puts path + candidate among the finished ones if it is better than the worst of a full pool. */
static void finish(struct beam_search *b, const struct candidate *c, const struct beam_path *path, size_t n)
{
    float score = normalised(b, c->score, n + 1);
    unsigned most = b->options.beams;
    if (b->n_finished == most && !(score > b->finished[most - 1].score))
        return;
    unsigned at = b->n_finished < most ? b->n_finished++ : most - 1;
    struct beam_hypothesis h = b->finished[at];
    for (; at > 0 && score > b->finished[at - 1].score; at--)
        b->finished[at] = b->finished[at - 1];
    memcpy(h.tokens, path->tokens, n * sizeof *h.tokens);
    memcpy(h.logprobs, path->logprobs, n * sizeof *h.logprobs);
    h.tokens[n] = c->token;
    h.logprobs[n] = c->logprob;
    h.n = n + 1;
    h.ended = c->end;
    h.score = score;
    b->finished[at] = h;
}

/* Whether the best running beam, as long as it is now, beats the worst finished one. */
static bool may_improve(const struct beam_search *b, size_t length)
{
    if (b->n_finished < b->options.beams)
        return true;
    return !b->options.early_stopping &&
           normalised(b, b->scores[0], length) > b->finished[b->n_finished - 1].score;
}

unsigned beam_search_step(struct beam_search *b, const struct beam_path *paths, size_t n)
{
    size_t n_merged = merge(b);
    unsigned running = 0;
    for (size_t i = 0; i < n_merged; i++) {
        const struct candidate *c = &b->merged[i];
        if (c->end || n + 1 == b->max_tokens) {
            if (i < b->options.beams) /* further ones are there to keep k beams running only */
                finish(b, c, &paths[c->parent], n);
        } else if (running < b->options.beams) {
            b->next[running] = (struct beam_next){c->parent, c->token, c->logprob};
            b->scores[running++] = c->score;
        }
    }
    b->n_running = running > 0 && may_improve(b, n + 1) ? running : 0;
    return b->n_running;
}

const struct beam_next *beam_search_next(const struct beam_search *b)
{
    return b->next;
}

size_t beam_search_results(const struct beam_search *b, const struct beam_hypothesis **out)
{
    *out = b->finished;
    return b->n_finished;
}
