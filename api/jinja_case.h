/* jinja_case.h - text operations that methods and filters share.  Internal to api/jinja*.c. */
#ifndef LOQUAT_API_JINJA_CASE_H
#define LOQUAT_API_JINJA_CASE_H

#include "api/jinja_value.h"

enum letter_case { CASE_UPPER, CASE_LOWER, CASE_CAPITALIZE, CASE_TITLE, CASE_SWAP };

/* title: words begin after white space or - ( { [ < (the filter) or after anything but a letter (the method).
 */
int jinja_change_case(struct run *run, const struct text *t, enum letter_case to, bool filter,
                      struct value *out);
int jinja_replace(struct run *run, const struct text *t, const struct text *old, const struct text *with,
                  int64_t count, struct value *out); /* count < 0: all */
int jinja_pad(struct run *run, struct text *t, int64_t width, int32_t fill, int side, struct value *out);
int jinja_join(struct run *run, const struct text *separator, const struct list *l, bool strict,
               struct value *out);
/* Lines as str.splitlines() gives them. */
int jinja_lines(struct run *run, const struct text *t, bool keep_ends, struct value *out);
bool jinja_is_letter(int32_t c);

#endif
