/* policy.h - what runs in the next tick.  A policy is a pure function of the state it is shown, so it is
 * tested without a model.  To add one: policy_NAME.c with a struct policy, its line in meson.build, its
 * row in policy.c. */
#ifndef LOQUAT_SCHEDULE_POLICY_H
#define LOQUAT_SCHEDULE_POLICY_H

#include <stdbool.h>
#include <stddef.h>

/* One runnable sequence; the array is in order of age, oldest first. */
struct plan_sequence {
    size_t pending;    /* tokens that are not in the cache yet, at least 1 */
    size_t most;       /* tokens it may have in one tick; 0 = no limit of its own */
    bool decoding;     /* it waits for its next generated token only */
    bool whole;        /* all of it in one tick or nothing (encoders); not with decoding or most */
    const void *group; /* equal for sequences of one model */
};

struct policy {
    const char *name;
    /* Fills take[i] with the tokens of sequence i for this tick: 0 .. pending; at least one gets some.
     * The sum is at most budget, or the number of decoding sequences where that is more; beyond it goes
     * at most one whole sequence a group. */
    void (*plan)(const struct plan_sequence *sequences, size_t n, size_t budget, size_t *take);
};

/* Tokens of a tick: `most`, or fewer where `streams` would wait for it too long beside `readers`, who wait
 * for their first token.  row_ns: what a token of a tick of many takes; 0 = not known. */
size_t policy_budget(size_t most, double row_ns, size_t streams, size_t readers);

/* The rows, each defined in its own file. */
extern const struct policy policy_decode_first;

const struct policy *policy_find(const char *name); /* NULL or "" = the first row; NULL when unknown */

#endif
