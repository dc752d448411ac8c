/* fuzz_grammar.c - any bytes as a grammar; what compiles is followed for some tokens, in bounded time. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "tests/fuzz/fuzz_follow.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_follow((const char *)data, size, size);
    return 0;
}
