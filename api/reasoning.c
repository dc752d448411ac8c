/* reasoning.c - see reasoning.h. */
#include "api/reasoning.h"

#include <string.h>

static const struct reasoning_marks rows[] = {
    {"<think>", "</think>"},       {"<seed:think>", "</seed:think>"},
    {"[THINK]", "[/THINK]"},       {"<|inner_prefix|>", "<|inner_suffix|>"},
    {"<thinking>", "</thinking>"}, {"<reasoning>", "</reasoning>"},
};

/* Some templates write the marks through a variable, so one of the two is enough. */
const struct reasoning_marks *reasoning_find(const char *source)
{
    for (size_t i = 0; source && i < sizeof rows / sizeof rows[0]; i++) {
        if (strstr(source, rows[i].open) || strstr(source, rows[i].close))
            return &rows[i];
    }
    return NULL;
}

bool reasoning_is_open(const struct reasoning_marks *marks, const char *prompt, size_t len)
{
    size_t n = strlen(marks->open);
    while (len > 0 && strchr(" \t\r\n", prompt[len - 1]))
        len--;
    return len >= n && memcmp(prompt + len - n, marks->open, n) == 0;
}
