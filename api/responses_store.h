/* responses_store.h - the responses that clients may ask for again: in memory, bounded, least recently used
 * out. Callers: responses.c (puts, follows, finishes) and responses_stored.c (gets, cancels, deletes).  Any
 * thread; one lock. A response is found only by who made it: keys are its id and the caller's cache salt.
 * Nothing survives the process. */
#ifndef LOQUAT_API_RESPONSES_STORE_H
#define LOQUAT_API_RESPONSES_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/buf.h"
#include "engine/base/error.h"

struct response_store;

struct response_record {
    const char *response; /* JSON text of the response object */
    const char *input;    /* JSON text of its list of input items */
    const char *history;  /* JSON text of all messages up to its end; "" while it runs */
};

int response_store_create(struct response_store **out, struct error *e);
void response_store_free(struct response_store *s); /* NULL is fine */

/* Copies the record, in place of one of the same id.  Those used longest ago leave until it fits; one that is
 * larger than the whole store is not kept.  running: it may still be cancelled. */
void response_store_put(struct response_store *s, const char *id, uint64_t salt,
                        const struct response_record *record, bool running);

enum response_part { RESPONSE_OBJECT, RESPONSE_INPUT, RESPONSE_HISTORY };
/* Appends one text; false when there is no such response. */
bool response_store_get(struct response_store *s, const char *id, uint64_t salt, enum response_part part,
                        struct buf *out);
bool response_store_remove(struct response_store *s, const char *id, uint64_t salt);

/* Asks a running response to stop.  1: it will; 0: it does not run; -1: there is none. */
int response_store_cancel(struct response_store *s, const char *id, uint64_t salt);
/* Whether someone asked so. */
bool response_store_cancelled(struct response_store *s, const char *id, uint64_t salt);

#endif
