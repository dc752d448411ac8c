/* mailbox.h - engine events from the scheduler's thread onto the loop.
 * The scheduler copies an event into a letter and splices it in under a lock; the first letter of an
 * empty box wakes the loop once; the loop takes all of them and calls back unlocked.
 * A job's FINAL letter is allocated before the job is submitted, so that memory running out can lose
 * text (the slot is then marked) but never the end of a job. */
#ifndef LOQUAT_SERVER_MAILBOX_H
#define LOQUAT_SERVER_MAILBOX_H

#include <uv.h>

#include "engine/engine.h"

struct mailbox;
struct mailbox_slot;
struct letter;

/* Loop thread.  The event is borrowed until it returns. */
typedef void mailbox_fn(struct mailbox_slot *slot, const struct engine_event *event);

/* One for each job in the engine; its address is the job's `user`.  It must live until the FINAL was
 * delivered. */
struct mailbox_slot {
    struct mailbox *mailbox;
    void *owner;
    size_t index;          /* of the job in its round */
    uint64_t job;          /* 0 before submission and after FINAL */
    uint64_t last_step_ns; /* for the time between tokens */
    _Atomic bool lost;     /* an event could not be copied: the answer is incomplete */
    struct letter *final;
};

int mailbox_create(uv_loop_t *loop, mailbox_fn *deliver, struct mailbox **out, struct error *e);
/* After engine_close(), with the loop still running once more for the handle.  Letters left are dropped. */
void mailbox_free(struct mailbox *m);

int mailbox_slot_init(struct mailbox_slot *slot, struct mailbox *m, void *owner, size_t index,
                      struct error *e);
void mailbox_slot_free(struct mailbox_slot *slot); /* when no FINAL will come or it was delivered */

/* The job's on_event: scheduler thread. */
void mailbox_post(void *slot, const struct engine_event *event);

#endif
