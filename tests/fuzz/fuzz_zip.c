/* fuzz_zip.c - libFuzzer: any bytes as a zip file, and as one of torch.save.  Entries are found by their
 * names and lie in the file. */
#include "engine/formats/zip.h"
#include "tests/fuzz/fuzz_tensors.h"

static void read_directory(const uint8_t *data, size_t size)
{
    struct bytes *b = fuzz_bytes(data, size);
    struct arena *a = arena_create(64 << 20);
    struct zip z = {0};
    struct error e = {0};
    require(a != NULL);
    if (zip_read(b, a, &z, &e) < 0)
        require_error(&e);
    for (size_t i = 0; e.kind == ERROR_NONE && i < z.n; i++) {
        const struct zip_entry *entry = &z.entries[i];
        struct error why = {0};
        uint64_t at = 0;
        require(zip_find(&z, entry->name, entry->name_len) == entry);
        if (zip_locate(b, &z, entry, &at, &why) < 0)
            require_error(&why);
        else
            require(at <= size && entry->size <= size - at);
    }
    zip_free(&z);
    arena_free(a);
    bytes_close(b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct tensor_file *f = NULL;
    struct error e = {0};
    read_directory(data, size);
    if (torch_open_take(fuzz_bytes(data, size), &f, &e) < 0)
        require_error(&e);
    else
        read_and_close(f);
    return 0;
}
