/* docs_page.h - docs.html, put into the program when it is built (embed.py). */
#ifndef LOQUAT_API_DOCS_PAGE_H
#define LOQUAT_API_DOCS_PAGE_H

#include <stddef.h>

extern const unsigned char docs_page[];
extern const size_t docs_page_len;

#endif
