/* pooling.c - see pooling.h.  Sums run in double: a mean over thousands of rows keeps float's precision. */
#include "engine/schedule/pooling.h"

static void add_row(enum engine_pooling pooling, double *sum, size_t width, const float *row, bool is_first)
{
    for (size_t i = 0; i < width; i++) {
        double x = (double)row[i];
        if (pooling == ENGINE_POOLING_MEAN)
            sum[i] = is_first ? x : sum[i] + x;
        else if (pooling != ENGINE_POOLING_MAX || is_first || x > sum[i])
            sum[i] = x;
    }
}

void pooling_add(enum engine_pooling pooling, double *sum, size_t width, const float *rows, size_t first,
                 size_t n, size_t total)
{
    for (size_t i = 0; i < n; i++) {
        size_t position = first + i;
        if ((pooling == ENGINE_POOLING_CLS && position != 0) ||
            (pooling == ENGINE_POOLING_LAST && position + 1 != total))
            continue;
        add_row(pooling, sum, width, rows + i * width, position == 0);
    }
}

void pooling_finish(enum engine_pooling pooling, const double *sum, size_t width, size_t total, float *out)
{
    double factor = pooling == ENGINE_POOLING_MEAN ? 1 / (double)total : 1;
    for (size_t i = 0; i < width; i++)
        out[i] = (float)(sum[i] * factor);
}
