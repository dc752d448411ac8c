/* fuzz_marian.c - libFuzzer: any bytes as a Marian binary, as a shortlist and as options. */
#include "tests/fuzz/fuzz_tensors.h"

static void read_options(const uint8_t *data, size_t size)
{
    struct error e = {0};
    json_t *options = NULL;
    const char *key;
    json_t *value;
    if (marian_yaml_read((const char *)data, size, &options, &e) < 0) {
        require_error(&e);
        return;
    }
    json_object_foreach(options, key, value) require(key[0] && json_is_string(value));
    json_decref(options);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct tensor_file *f = NULL;
    json_t *config = NULL;
    struct error e = {0};
    if (marian_open_take(fuzz_bytes(data, size), &f, &config, &e) < 0)
        require_error(&e);
    else
        read_and_close(f);
    json_decref(config);
    error_clear(&e);
    if (shortlist_open_take(fuzz_bytes(data, size), &f, &e) < 0)
        require_error(&e);
    else
        read_and_close(f);
    read_options(data, size);
    return 0;
}
