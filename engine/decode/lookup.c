/* lookup.c - see lookup.h.
 * The text is scanned backwards without an index: some microseconds for thousands of tokens, nothing to keep
 * in step when a sequence is preempted or a draft is refused.  Called by schedule/speculate.c. */
#include "engine/decode/lookup.h"

#include <string.h>

#include "engine/base/limits.h"

enum {
    SHORTEST_MATCH = 2,
    LONGEST_MATCH = 16, /* more says no more, and bounds the work on a text that repeats itself */
    TRY_AFTER = 64      /* passes; a wrong try costs a row, so less than a hundredth of a stream's time */
};

/* Of one outcome, on a chance. */
#define WEIGHT 0.125f

void lookup_init(struct lookup *l)
{
    *l = (struct lookup){.chance = {0.3f, 0.45f, 0.7f, 0.85f}};
}

static unsigned kind_of(size_t length)
{
    return length <= 2 ? 0 : length <= 4 ? 1 : length <= 8 ? 2 : 3;
}

/* How many tokens before `end` equal those before n, LONGEST_MATCH at most. */
static size_t match_length(const int32_t *tokens, size_t n, size_t end)
{
    size_t most = end < LONGEST_MATCH ? end : LONGEST_MATCH, length = 0;
    while (length < most && tokens[end - 1 - length] == tokens[n - 1 - length])
        length++;
    return length;
}

bool lookup_find(const int32_t *tokens, size_t n, struct lookup_match *out)
{
    size_t best = SHORTEST_MATCH - 1, first = n > LIMIT_LOOKUP ? n - LIMIT_LOOKUP : 0;
    for (size_t end = n - (n > 0); end > first + best && best < LONGEST_MATCH; end--) {
        if (tokens[end - 1] != tokens[n - 1])
            continue;
        size_t length = match_length(tokens, n, end);
        if (length > best) {
            best = length;
            out->from = end;
        }
    }
    out->kind = kind_of(best);
    return best >= SHORTEST_MATCH;
}

/* Token by token: a match may run into the draft itself, as in a text that repeats. */
void lookup_draft(const struct lookup_match *m, int32_t *tokens, size_t n, size_t count)
{
    for (size_t i = 0; i < count; i++)
        tokens[n + i] = tokens[m->from + i];
}

bool lookup_pass(struct lookup *l, const struct lookup_match *m)
{
    if (++l->passed[m->kind] < TRY_AFTER)
        return false;
    l->passed[m->kind] = 0;
    return true;
}

void lookup_learn(struct lookup *l, const struct lookup_match *m, size_t drafted, size_t right)
{
    float *chance = &l->chance[m->kind];
    for (size_t i = 0; i < drafted && i <= right; i++)
        *chance += WEIGHT * ((i < right ? 1.0f : 0.0f) - *chance);
    l->passed[m->kind] = 0;
}
