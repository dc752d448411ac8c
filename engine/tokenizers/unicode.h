/* unicode.h - the character classes that tokenizers speak of, as Rust and Hugging Face's tokenizers define
 * them, from utf8proc's tables.  Any thread. */
#ifndef LOQUAT_TOKENIZERS_UNICODE_H
#define LOQUAT_TOKENIZERS_UNICODE_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/tokenizers/normalized.h"

bool unicode_is_space(uint32_t code_point);       /* White_Space */
bool unicode_is_punctuation(uint32_t code_point); /* P*, and ASCII's symbols */
bool unicode_is_number(uint32_t code_point);      /* N* */
bool unicode_is_other(uint32_t code_point);       /* Cc, Cf, Co */
bool unicode_is_mark(uint32_t code_point);        /* M* */
bool unicode_is_nonspacing_mark(uint32_t code_point);
bool unicode_is_word(uint32_t code_point); /* \w: Alphabetic, M*, Nd, Pc, joiners */

/* The full lower-case mapping, one or two code points; returns how many. */
unsigned unicode_lower(uint32_t code_point, uint32_t out[2]);

/* Unicode's normalisation forms (Standard Annex 15), with places as rewrite_put() counts them.
 * 1: the text has this form already, *out is left empty; 0: written; -1: out of memory. */
int unicode_normal_form(const struct normalized *in, bool compatible, bool compose, struct normalized *out,
                        struct error *e);

#endif
