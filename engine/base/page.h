/* page.h - how many tokens a page of key-value memory holds; kernels/, cache/ and schedule/ agree on it here.
 */
#ifndef LOQUAT_BASE_PAGE_H
#define LOQUAT_BASE_PAGE_H

enum { KV_PAGE_TOKENS = 32 };

#endif
