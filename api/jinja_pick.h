/* jinja_pick.h - looking up "a.b.0" in elements, for the filters that take an attribute. */
#ifndef LOQUAT_API_JINJA_PICK_H
#define LOQUAT_API_JINJA_PICK_H

#include "api/jinja_value.h"

/* attribute: MISSING or NONE gives the element itself; a text is a path of names and numbers.
 * fold: text in lower case, as sorting without case wants it. */
int jinja_pick(struct run *run, const struct value *element, const struct value *attribute, bool fold,
               struct value *out);

#endif
