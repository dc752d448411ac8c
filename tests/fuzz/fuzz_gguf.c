/* fuzz_gguf.c - libFuzzer: any bytes as a GGUF file.  What opens must hold what it claims: every tensor
 * is found by its name and lies in the file, every special id in the vocabulary; a tokenizer that can be
 * built brings texts back. */
#include <stdlib.h>
#include <string.h>

#include "engine/base/log.h"
#include "engine/formats/checkpoint.h"
#include "engine/tokenizers/tokenizer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool condition)
{
    if (!condition)
        abort();
}

static void read_tensors(const struct tensor_source *s)
{
    for (size_t i = 0; i < s->count; i++) {
        const struct tensor_info *t = &s->tensors[i];
        struct error e = {0};
        char byte;
        require(s->find(s, t->name) == t);
        require(t->bytes > 0 && s->read(s, t, t->bytes - 1, &byte, 1, &e) == 0);
        require(s->read(s, t, t->bytes, &byte, 1, &e) < 0);
    }
}

static void use_tokenizer(const struct tokenizer_spec *spec)
{
    static const char text[] = "the river <|im_end|> 12";
    struct error e = {0};
    struct tokenizer *t = NULL;
    struct token_list ids = {0};
    require(spec->bos < (int32_t)spec->n_tokens && spec->eos < (int32_t)spec->n_tokens);
    if (tokenizer_create(spec, &t, &e) < 0) {
        require(e.kind != ERROR_NONE);
        return;
    }
    if (tokenizer_encode(t, text, sizeof text - 1, TOKENIZE_PARSE_SPECIAL, NULL, 0, &ids, &e) == 0) {
        for (size_t i = 0; i < ids.n; i++)
            require(ids.ids[i] >= 0 && (size_t)ids.ids[i] < tokenizer_size(t));
    }
    token_list_free(&ids);
    tokenizer_free(t);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct bytes *b = NULL;
    struct checkpoint *c = NULL;
    struct error e = {0};
    log_set_level(LOG_ERROR);
    require(bytes_open_memory(data, size, &b, &e) == 0);
    if (gguf_open_take(b, &c, &e) < 0) {
        require(e.kind != ERROR_NONE && e.text[0] && !strchr(e.text, '\n'));
        return 0;
    }
    require(c->architecture && c->config && c->tensors);
    read_tensors(c->tensors);
    if (c->tokenizer)
        use_tokenizer(c->tokenizer);
    checkpoint_close(c);
    return 0;
}
