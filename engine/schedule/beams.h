/* beams.h - the beams of a job: sequences that share pages, and the search (decode/beam.h) that says how they
 * go on.  Called by batch.c (a step) and scheduler.c (what runs, who gives way).  Thread: the scheduler's. */
#ifndef LOQUAT_SCHEDULE_BEAMS_H
#define LOQUAT_SCHEDULE_BEAMS_H

#include "engine/schedule/job.h"

/* After every running beam's row was scanned: they become what the search says, or the job's hypotheses are
 * told and it is done. */
void beams_step(struct job *j);

/* Whether all running beams lack nothing but their last token, as a step wants them. */
bool beams_ready(const struct job *j);

/* All running beams lose what they hold: the best one waits to compute it again, the others follow it. */
void beams_preempt(struct job *j);
/* Once the best has caught up, the others go on from what they have in common with it. */
void beams_follow(struct job *j);

#endif
