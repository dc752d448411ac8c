/* policy_decode_first.c - running streams first, one token each; the rest of the budget reads prompts.
 * A quarter of what is left is the oldest prompt's, so that it always advances; the remainder goes to the
 * shortest first, which keeps the mean time to first token low beside a long prompt. */
#include "engine/schedule/policy.h"

enum { OLDEST_SHARE = 4 };

static size_t at_most(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* How much more of sequence i could go into this tick. */
static size_t wish(const struct plan_sequence *s, size_t taken)
{
    size_t most = s->most ? at_most(s->most, s->pending) : s->pending;
    return most - taken;
}

static size_t give_decoding(const struct plan_sequence *s, size_t n, size_t budget, size_t *take)
{
    for (size_t i = 0; i < n; i++) {
        take[i] = s[i].decoding ? 1 : 0;
        budget -= at_most(budget, take[i]);
    }
    return budget;
}

static size_t give_oldest(const struct plan_sequence *s, size_t n, size_t budget, size_t *take)
{
    size_t i = 0;
    while (i < n && s[i].decoding)
        i++;
    if (i == n || budget == 0)
        return budget;
    take[i] = at_most(wish(&s[i], 0), (budget + OLDEST_SHARE - 1) / OLDEST_SHARE);
    return budget - take[i];
}

/* The unfinished prompt that needs least to be read to its end. */
static size_t shortest(const struct plan_sequence *s, size_t n, const size_t *take)
{
    size_t best = n;
    for (size_t i = 0; i < n; i++) {
        if (s[i].decoding || wish(&s[i], take[i]) == 0)
            continue;
        if (best == n || s[i].pending - take[i] < s[best].pending - take[best])
            best = i;
    }
    return best;
}

static void plan(const struct plan_sequence *s, size_t n, size_t budget, size_t *take)
{
    budget = give_decoding(s, n, budget, take);
    budget = give_oldest(s, n, budget, take);
    while (budget > 0) {
        size_t i = shortest(s, n, take);
        if (i == n)
            return;
        size_t more = at_most(wish(&s[i], take[i]), budget);
        take[i] += more;
        budget -= more;
    }
}

const struct policy policy_decode_first = {.name = "decode-first", .plan = plan};
