/* byte_vocabulary.h - a tokenizer of 256 single bytes (id = byte) and one end token, for tests of what stands
 * on tokenizers. */
#ifndef LOQUAT_TESTS_BYTE_VOCABULARY_H
#define LOQUAT_TESTS_BYTE_VOCABULARY_H

#include <check.h>

#include "engine/tokenizers/tokenizer.h"

enum { BYTE_VOCABULARY_END = 256, BYTE_VOCABULARY_SIZE };

/* GPT-2 writes a byte as itself where it is printable in Latin-1, else as the next code point from U+0100. */
static inline struct tokenizer *byte_vocabulary(void)
{
    static struct token_spec tokens[BYTE_VOCABULARY_SIZE];
    static char texts[BYTE_VOCABULARY_SIZE][4];
    const struct tokenizer_spec spec = {.model = "gpt2",
                                        .pre = "gpt-2",
                                        .n_tokens = BYTE_VOCABULARY_SIZE,
                                        .tokens = tokens,
                                        .bos = -1,
                                        .eos = BYTE_VOCABULARY_END,
                                        .eot = -1,
                                        .unk = -1,
                                        .sep = -1,
                                        .pad = -1};
    struct tokenizer *t = NULL;
    struct error e = {0};
    unsigned moved = 0;
    for (unsigned i = 0; i < 256; i++) {
        bool printable = (i >= 33 && i <= 126) || (i >= 161 && i <= 172) || (i >= 174 && i <= 255);
        unsigned point = printable ? i : 256 + moved++;
        uint32_t len = point < 128 ? 1 : 2;
        texts[i][0] = (char)(len == 1 ? point : 0xc0 | point >> 6);
        texts[i][1] = (char)(len == 1 ? 0 : 0x80 | (point & 63));
        tokens[i] = (struct token_spec){texts[i], len, TOKEN_NORMAL, 0};
    }
    tokens[BYTE_VOCABULARY_END] = (struct token_spec){"<e>", 3, TOKEN_CONTROL, 0};
    ck_assert_msg(tokenizer_create(&spec, &t, &e) == 0, "%s", e.text);
    return t;
}

#endif
