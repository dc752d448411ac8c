/* cblas.h - sgemm as openblas.c calls it, in plain loops, for programs of another processor. */
#ifndef LOQUAT_TESTS_CROSS_CBLAS_H
#define LOQUAT_TESTS_CROSS_CBLAS_H

#include <stddef.h>

typedef int blasint;
enum { CblasRowMajor, CblasNoTrans, CblasTrans };

static inline void openblas_set_num_threads(int n)
{
    (void)n;
}

/* c (m, n) = alpha a (m, k) b (k, n) + beta c; a or b transposed where asked. */
static inline void cblas_sgemm(int order, int a_turned, int b_turned, blasint m, blasint n, blasint k,
                               float alpha, const float *a, blasint lda, const float *b, blasint ldb,
                               float beta, float *c, blasint ldc)
{
    (void)order;
    for (ptrdiff_t i = 0; i < m; i++)
        for (ptrdiff_t j = 0; j < n; j++) {
            float sum = 0;
            for (ptrdiff_t l = 0; l < k; l++)
                sum += (a_turned == CblasTrans ? a[l * lda + i] : a[i * lda + l]) *
                       (b_turned == CblasTrans ? b[j * ldb + l] : b[l * ldb + j]);
            c[i * ldc + j] = alpha * sum + (beta != 0 ? beta * c[i * ldc + j] : 0);
        }
}

#endif
