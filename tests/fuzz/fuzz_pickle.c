/* fuzz_pickle.c - libFuzzer: any bytes as a pickle, and as what follows the head of a file of torch
 * before 1.6: the pickle of the weights, the list of storages, their data. */
#include "engine/formats/torch.h"
#include "tests/fuzz/fuzz_tensors.h"

static const char head[] = "\x80\2\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19."
                           "\x80\2M\xe9\3."
                           "\x80\2}U\x0dlittle_endian\x88s.";

/* Storages are what the pickle says, wherever they are mentioned. */
static void read_pickle(const uint8_t *data, size_t size)
{
    struct bytes *b = fuzz_bytes(data, size);
    struct arena *a = arena_create(256 << 20);
    struct pickle p;
    struct error e = {0};
    size_t n;
    const struct pickle_name *names = torch_names(&n);
    require(a != NULL);
    if (pickle_read(b, size, names, n, a, &p, &e) < 0) {
        require_error(&e);
    } else {
        const struct pickle_list *state = NULL;
        require(bytes_offset(b) <= size && p.root.kind != PICKLE_NOTHING);
        require(torch_find_state(&p.root, &state, &e) < 0 || (state && state->n >= 2));
        for (size_t i = 0; i < p.storages.n; i++) {
            struct torch_storage s;
            struct error why = {0};
            require(torch_read_storage(&p.storages.items[i], &s, &why) < 0 || s.type);
        }
    }
    arena_free(a);
    bytes_close(b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct tensor_file *f = NULL;
    struct error e = {0};
    read_pickle(data, size);
    uint8_t *file = malloc(sizeof head - 1 + size);
    require(file != NULL);
    memcpy(file, head, sizeof head - 1);
    memcpy(file + sizeof head - 1, data, size);
    if (torch_open_take(fuzz_bytes(file, sizeof head - 1 + size), &f, &e) < 0)
        require_error(&e);
    else
        read_and_close(f);
    free(file);
    return 0;
}
