/* fuzz_safetensors.c - libFuzzer: any bytes as a safetensors file. */
#include "tests/fuzz/fuzz_tensors.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct tensor_file *f = NULL;
    struct error e = {0};
    if (safetensors_open_take(fuzz_bytes(data, size), &f, &e) < 0)
        require_error(&e);
    else
        read_and_close(f);
    return 0;
}
