/* pooling.h - many hidden rows to one vector (Reimers & Gurevych, 2019), as they come: an encoder's all at
 * once, a decoder's chunk by chunk.  Called by batch.c and encode.c; thread: the scheduler's. */
#ifndef LOQUAT_SCHEDULE_POOLING_H
#define LOQUAT_SCHEDULE_POOLING_H

#include <stddef.h>

#include "engine/base/job.h"

/* rows (n, width) are positions first .. first+n-1 of a text of `total` into sum (width), which holds what
 * came before; position 0 begins it.  pooling: MEAN, CLS, LAST or MAX. */
void pooling_add(enum engine_pooling pooling, double *sum, size_t width, const float *rows, size_t first,
                 size_t n, size_t total);
/* When all have come. */
void pooling_finish(enum engine_pooling pooling, const double *sum, size_t width, size_t total, float *out);

#endif
