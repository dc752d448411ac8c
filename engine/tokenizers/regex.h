/* regex.h - regular expressions of checkpoints, run by PCRE2 under a ceiling of work: an expression that
 * explodes on a text is an error, not a hang.
 * Called by pretokenize.c, cutter.c, normalize.c, decoder.c and words.c.  A compiled expression is immutable
 * (any thread); a run belongs to one thread. */
#ifndef LOQUAT_TOKENIZERS_REGEX_H
#define LOQUAT_TOKENIZERS_REGEX_H

#include <stddef.h>
#include <stdint.h>

#include "engine/base/error.h"

struct regex;

/* Whose dialect an expression is written in; it is translated into PCRE2's where they differ. */
enum regex_dialect {
    REGEX_PCRE,      /* our own tables */
    REGEX_ONIGURUMA, /* tokenizer.json: Oniguruma with Ruby's syntax, as Hugging Face's tokenizers runs it */
    REGEX_PYTHON     /* configurations of plain PyTorch checkpoints: Python's re with str */
};

/* What cannot be translated or does not compile is an error that quotes the expression. */
int regex_create(const char *pattern, size_t len, enum regex_dialect dialect, struct regex **out,
                 struct error *e);
void regex_free(struct regex *r); /* NULL is fine */

struct regex_run {
    const struct regex *regex;
    void *match, *context; /* PCRE2's */
    int64_t budget_ns;     /* CPU time that the run may take, from the first look at the clock on */
    int64_t deadline_ns;   /* 0: the clock was not looked at yet */
    size_t behind;         /* where an empty match ended that may not be found again; SIZE_MAX: none */
};
/* len: bytes of all the text that the run will see. */
int regex_run_begin(struct regex_run *run, const struct regex *r, size_t len, struct error *e);
void regex_run_end(struct regex_run *run); /* also of a zeroed one */

/* The next text begins. */
static inline void regex_restart(struct regex_run *run)
{
    run->behind = SIZE_MAX;
}

/* The first match in text[at .. len): 1 and its bytes [*start, *end), 0 when there is none.  The text is
 * valid UTF-8 and what lies before `at` is seen by assertions.  Empty matches count, but not right behind
 * another match (as in Oniguruma's and Rust's iterators); call with `at` 0 first and then with the end of the
 * match before.  A run that has seen another text must be restarted. */
int regex_next(struct regex_run *run, const char *text, size_t len, size_t at, size_t *start, size_t *end,
               struct error *e);

#endif
