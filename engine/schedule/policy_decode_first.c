/* policy_decode_first.c - running streams first, one token each; the rest of the budget reads prompts.
 * Each model's oldest prompt gets a quarter of what is left (less when there are more models), so that it
 * always advances; the remainder goes to the shortest first, which keeps the mean time to first token low
 * beside a long prompt.  A model's oldest, when it is whole, runs however long it is, so a tick holds at most
 * one text a model that is too large for it; other whole ones run when they fit into what is left. */
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

static bool is_oldest(const struct plan_sequence *s, size_t i)
{
    if (s[i].decoding)
        return false;
    for (size_t k = 0; k < i; k++) {
        if (!s[k].decoding && s[k].group == s[i].group)
            return false;
    }
    return true;
}

static size_t give_oldest(const struct plan_sequence *s, size_t n, size_t budget, size_t *take)
{
    size_t parts = 0;
    for (size_t i = 0; i < n; i++)
        parts += is_oldest(s, i) && !s[i].whole;
    parts = parts > OLDEST_SHARE ? parts : OLDEST_SHARE;
    size_t share = (budget + parts - 1) / parts;
    for (size_t i = 0; i < n; i++) {
        if (is_oldest(s, i) && !s[i].whole) {
            take[i] = at_most(wish(&s[i], 0), at_most(share, budget));
            budget -= take[i];
        }
    }
    for (size_t i = 0; i < n; i++) {
        if (is_oldest(s, i) && s[i].whole) {
            take[i] = s[i].pending;
            budget -= at_most(budget, take[i]);
        }
    }
    return budget;
}

static bool may_go_on(const struct plan_sequence *s, size_t budget, size_t taken)
{
    return !s->decoding && wish(s, taken) > 0 && !(s->whole && s->pending > budget);
}

/* What the unfinished prompt that needs least lacks to be read to its end; 0 when none may go on. */
static size_t least_need(const struct plan_sequence *s, size_t n, size_t budget, const size_t *take)
{
    size_t least = 0;
    for (size_t i = 0; i < n; i++) {
        size_t need = s[i].pending - take[i];
        if (may_go_on(&s[i], budget, take[i]) && (least == 0 || need < least))
            least = need;
    }
    return least;
}

/* All that need so much, oldest first: a round a need, and few different ones fit into a budget. */
static size_t give_need(const struct plan_sequence *s, size_t n, size_t need, size_t budget, size_t *take)
{
    for (size_t i = 0; i < n && budget > 0; i++) {
        if (s[i].pending - take[i] != need || !may_go_on(&s[i], budget, take[i]))
            continue;
        size_t more = at_most(wish(&s[i], take[i]), budget);
        take[i] += more;
        budget -= more;
    }
    return budget;
}

static void plan(const struct plan_sequence *s, size_t n, size_t budget, size_t *take)
{
    size_t need;
    budget = give_decoding(s, n, budget, take);
    budget = give_oldest(s, n, budget, take);
    while (budget > 0 && (need = least_need(s, n, budget, take)) > 0)
        budget = give_need(s, n, need, budget, take);
}

const struct policy policy_decode_first = {.name = "decode-first", .plan = plan};
