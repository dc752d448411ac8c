/* option_table.h - the OPTION TABLE's shape, shared by options.c (the rows) and options_read.c (the reader).
 */
#ifndef LOQUAT_SERVER_OPTION_TABLE_H
#define LOQUAT_SERVER_OPTION_TABLE_H

#include <stdio.h>

#include "server/options.h"

enum option_type {
    OPTION_FLAG,     /* bool */
    OPTION_COUNT,    /* uint64_t */
    OPTION_SIZE,     /* uint64_t bytes; K, M and G are powers of 1024 */
    OPTION_DURATION, /* uint64_t nanoseconds; written in seconds, or with s or ms */
    OPTION_REAL,     /* double */
    OPTION_TEXT,     /* const char * */
    OPTION_LIST      /* struct option_list; repeatable */
};

struct option_row {
    const char *name;
    enum option_type type;
    size_t field;        /* offset in struct options */
    const char *initial; /* the default as one would write it; NULL = absent or off */
    double least, most;  /* of numbers; durations in seconds */
    const char *unit;    /* what the help calls the value; NULL for flags */
    const char *help;
    unsigned commands; /* of enum command */
};

extern const struct option_row option_table[]; /* ends with a row without name */
const struct option_row *option_find(const char *name, size_t len,
                                     enum command command); /* NULL when unknown */

#endif
