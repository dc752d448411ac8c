/* encode.h - one model's encoder work in a tick: whole texts of many jobs in one ragged batch.
 * Thread: the scheduler's. */
#ifndef LOQUAT_SCHEDULE_ENCODE_H
#define LOQUAT_SCHEDULE_ENCODE_H

#include "engine/schedule/batch.h"

struct encode_runner; /* buffers that grow to the largest batch seen */

/* x is borrowed. */
int encode_runner_create(struct exec *x, struct encode_runner **out, struct error *e);
void encode_runner_free(struct encode_runner *r);

/* What encode() is to write for a job whose work is not WORK_FORWARD; jobs of equal answers share a batch. */
enum encode_output encode_output_of(const struct job *j);

/* Encodes the texts of the items' jobs (all of model m and one output), one item a job.  A source is then
 * ready for its decoder; every other job gets its RESULT and is done.  When memory is out the jobs concerned
 * get their `failure` set.  Returns how many tokens were read. */
size_t encode_run(struct encode_runner *r, struct served_model *m, const struct batch_item *items, size_t n);

#endif
