/* part.h - reading one component of a tokenizer.json pipeline: its type and members, with errors that name
 * both. Called by normalize.c, cutter.c, postprocess.c and decoder.c while a tokenizer is built. */
#ifndef LOQUAT_TOKENIZERS_PART_H
#define LOQUAT_TOKENIZERS_PART_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/error.h"
#include "engine/tokenizers/regex.h"

enum { MAX_PIPELINE_STEPS = 64 }; /* after Sequences are unrolled; real files have up to 10 */

struct part_text {
    char *text; /* owned */
    size_t len;
};

/* "type" of an object; an error when it is none.  what: "normalizer", … */
int part_type(const json_t *part, const char *what, const char **out, struct error *e);
int part_unknown(const char *what, const char *type, struct error *e);

/* Members of part; an absent one leaves *out alone.  NULL and false defaults are the caller's. */
int part_bool(const json_t *part, const char *key, bool *out, struct error *e);
int part_size(const json_t *part, const char *key, size_t *out, struct error *e);
int part_text(const json_t *part, const char *key, struct part_text *out,
              struct error *e); /* must be there */
/* A text of exactly one code point. */
int part_character(const json_t *part, const char *key, struct part_text *out, struct error *e);
/* An array that must be there. */
int part_array(const json_t *part, const char *key, const json_t **out, struct error *e);

/* "pattern": {"String": …} or {"Regex": …}.  A string that is not empty comes as text, all else as regex. */
struct part_pattern {
    struct part_text text;
    struct regex *regex; /* NULL: text */
};
int part_pattern(const json_t *part, struct part_pattern *out, struct error *e);
void part_pattern_free(struct part_pattern *p);

/* Walks over the matches of a pattern. */
struct pattern_run {
    const struct part_pattern *pattern;
    struct regex_run regex;
};
int pattern_run_begin(struct pattern_run *run, const struct part_pattern *p, size_t len, struct error *e);
void pattern_run_end(struct pattern_run *run); /* also of a zeroed one */
void pattern_restart(struct pattern_run *run);
/* As regex_next(). */
int pattern_next(struct pattern_run *run, const char *text, size_t len, size_t at, size_t *start, size_t *end,
                 struct error *e);

#endif
