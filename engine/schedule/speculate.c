/* speculate.c - see speculate.h.  Called by scheduler.c (what is drafted) and batch.c (what came of it).
 * The cost of a row is the slope of time over rows, fitted by least squares with old ticks fading; until rows
 * have varied enough it is a guess that suits two cores with a model beyond their caches. */
#include "engine/schedule/speculate.h"

#define FIRST_COST 0.2
/* Between a machine whose arithmetic is nearly free and one that has nothing to spare beside a stream. */
#define LEAST_COST 0.04
#define MOST_COST  1.0
/* Per tick; the last fifty or so count. */
#define FADING 0.98
/* Ticks, and variance of their rows, before a slope is believed. */
#define ENOUGH_TICKS    8
#define ENOUGH_VARIANCE 0.5

void speculation_begin(struct speculation *p)
{
    p->tick_rows = 0;
    p->tick_tokens = 0;
}

void speculation_add_rows(struct speculation *p, size_t rows)
{
    p->tick_rows += (double)rows;
    p->tick_tokens += (double)rows;
}

bool model_can_speculate(const struct model *m)
{
    return model_shares_prefixes(m);
}

/* Of a row, as a share of what a tick costs before its rows. */
static double row_cost(const struct speculation *p)
{
    if (p->weight < ENOUGH_TICKS)
        return FIRST_COST;
    double rows = p->rows / p->weight, ns = p->ns / p->weight;
    double variance = p->rows_rows / p->weight - rows * rows;
    if (variance < ENOUGH_VARIANCE)
        return FIRST_COST;
    double slope = (p->rows_ns / p->weight - rows * ns) / variance, fixed = ns - slope * rows;
    double cost = slope <= 0 ? LEAST_COST : fixed <= 0 ? MOST_COST : slope / fixed;
    return cost < LEAST_COST ? LEAST_COST : cost > MOST_COST ? MOST_COST : cost;
}

void speculation_measure(struct speculation *p, size_t rows, uint64_t ns)
{
    double r = (double)rows, t = (double)ns;
    double *sums[] = {&p->weight, &p->rows, &p->ns, &p->rows_rows, &p->rows_ns};
    const double terms[] = {1, r, t, r * r, r * t};
    for (size_t i = 0; i < sizeof sums / sizeof sums[0]; i++)
        *sums[i] = *sums[i] * FADING + terms[i];
}

/* How many tokens of this chance each are worth a row of this tick. */
static size_t worth(struct speculation *p, double chance, size_t most)
{
    double cost = row_cost(p), reached = chance;
    size_t n = 0;
    for (; n < most && reached * (1 + cost * p->tick_rows) > cost * p->tick_tokens; n++) {
        p->tick_rows += 1;
        p->tick_tokens += reached;
        reached *= chance;
    }
    return n;
}

static size_t at_most(size_t a, size_t b)
{
    return a < b ? a : b;
}

void sequence_speculate(struct sequence *q, size_t most)
{
    struct job *j = q->job;
    size_t left = j->max_tokens - (q->n_tokens - j->n_prefix); /* the last one comes without a draft */
    most = at_most(at_most(most, left - 1), LIMIT_DRAFT);
    q->n_draft = 0;
    if (most == 0 || !lookup_find(q->tokens, q->n_tokens, &q->match))
        return;
    size_t n = worth(&j->served->speculation, (double)q->lookup.chance[q->match.kind], most);
    if (n == 0 && lookup_pass(&q->lookup, &q->match))
        n = 1;
    if (n > 0 && sequence_take(q, 1 + n)) {
        lookup_draft(&q->match, q->tokens, q->n_tokens, n);
        q->n_draft = n;
    }
}

void sequence_settle(struct sequence *q, size_t right)
{
    if (q->n_draft == 0)
        return;
    lookup_learn(&q->lookup, &q->match, q->n_draft, right);
    q->n_draft = 0;
    sequence_trim(q);
}
