/* bench.h - the parts of `loquat bench`: cmd_bench.c measures a decoder on made-up prompts, bench_texts.c any
 * model on the lines of a file. */
#ifndef LOQUAT_SERVER_BENCH_H
#define LOQUAT_SERVER_BENCH_H

#include <jansson.h>

#include "server/options.h"

enum { BENCH_ROUNDS_MAX = 64 }; /* as the option allows */

/* o->texts is given. */
int bench_texts(const struct options *o, struct error *e);
/* Prints an object's members, as JSON or a line each, and gives it up; NULL is an error of memory. */
int bench_print(json_t *result, bool as_json, struct error *e);
double bench_median(double *values, size_t n); /* sorts them; n at least 1 */

#endif
