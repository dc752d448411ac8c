/* policy.c - the POLICY TABLE, whose first row is the default, and how much a policy has to give. */
#include "engine/schedule/policy.h"

#include <string.h>

/* Beside streams a tick reads prompts for about so long: twice as much, and people see them stutter. */
#define SMOOTH_NS 50e6
/* Every tick passes by all weights, so short ones cost those who wait for their first token.  Where these are
 * more than the streams, as when everybody comes at once, a tick reads as many times longer, up to this. */
#define MOST_PATIENCE 4.0
/* But so many tokens it reads, however slow the machine: fewer would only be slower.  And so many a stream: a
 * tick of many streams is long already, and smoother ones would make everybody wait in it. */
enum { LEAST_READ = 64, LEAST_READ_PER_STREAM = 2 };

static const struct policy *const table[] = {
    &policy_decode_first,
};

const struct policy *policy_find(const char *name)
{
    if (!name || !*name)
        return table[0];
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        if (strcmp(table[i]->name, name) == 0)
            return table[i];
    }
    return NULL;
}

size_t policy_budget(size_t most, double row_ns, size_t streams, size_t readers)
{
    size_t least = LEAST_READ_PER_STREAM * streams;
    least = least < LEAST_READ ? LEAST_READ : least;
    if (streams == 0 || most <= streams + least)
        return most;
    double patience = (double)readers / (double)streams;
    patience = patience < 1 ? 1 : patience < MOST_PATIENCE ? patience : MOST_PATIENCE;
    if ((double)(most - streams) * row_ns <= patience * SMOOTH_NS)
        return most;
    double fits = patience * SMOOTH_NS / row_ns;
    return streams + (fits < (double)least ? least : (size_t)fits);
}
