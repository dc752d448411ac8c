/* fuzz_arpa.c - libFuzzer: any bytes as an ARPA file, plain or gzip'ed.  Tokens of all n-grams are in the
 * vocabulary and their rows ascend. */
#include "tests/fuzz/fuzz_tensors.h"

static void check_tokens(const struct checkpoint *c, const struct tensor_info *t)
{
    struct error e = {0};
    size_t n = (size_t)t->dims[0], rows = (size_t)t->dims[1];
    int32_t *tokens = malloc((size_t)t->bytes);
    require(tokens && c->tensors->read(c->tensors, t, 0, tokens, (size_t)t->bytes, &e) == 0);
    for (size_t i = 0; i < n * rows; i++)
        require(tokens[i] >= 0 && (size_t)tokens[i] < c->tokenizer->n_tokens);
    for (size_t r = 1; r < rows; r++) {
        const int32_t *before = tokens + (r - 1) * n, *row = tokens + r * n;
        size_t k = 0;
        while (k + 1 < n && before[k] == row[k])
            k++;
        require(before[k] < row[k]);
    }
    free(tokens);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct checkpoint *c = NULL;
    struct error e = {0};
    if (arpa_open_take(fuzz_bytes(data, size), &c, &e) < 0) {
        require_error(&e);
        return 0;
    }
    const struct tokenizer_spec *t = c->tokenizer;
    require(t->unk >= 0 && t->unk < (int32_t)t->n_tokens && t->bos < (int32_t)t->n_tokens);
    read_tensors(c->tensors);
    for (size_t i = 0; i < c->tensors->count; i++) {
        if (c->tensors->tensors[i].n_dims == 2)
            check_tokens(c, &c->tensors->tensors[i]);
    }
    checkpoint_close(c);
    return 0;
}
