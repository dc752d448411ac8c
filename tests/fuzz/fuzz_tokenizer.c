/* fuzz_tokenizer.c - libFuzzer: any text through a small vocabulary and back.
 * The first byte of an input chooses flags and where a literal span lies; the rest is the text.
 * Encoding succeeds exactly when the text is UTF-8; the tokens' bytes are the text; the stream of the
 * detokenizer is it too; no control token comes out of a literal span. */
#include <stdlib.h>
#include <string.h>

#include "engine/base/utf8.h"
#include "engine/formats/checkpoint.h"
#include "engine/tokenizers/tokenizer.h"

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct tokenizer *tokenizer;

static void require(bool condition)
{
    if (!condition)
        abort();
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    const char *path = getenv("LOQUAT_FUZZ_VOCABULARY");
    struct checkpoint *c = NULL;
    struct error e = {0};
    require(path && checkpoint_open(path, &c, &e) == 0);
    require(tokenizer_create(c->tokenizer, &tokenizer, &e) == 0);
    checkpoint_close(c);
    return 0;
}

/* The bytes of all tokens are the text; control tokens lie outside [span.start, span.end). */
static void check_bytes(const struct token_list *ids, const char *text, size_t len, struct text_span span)
{
    size_t at = 0;
    for (size_t i = 0; i < ids->n; i++) {
        size_t n;
        const char *bytes = tokenizer_token_bytes(tokenizer, ids->ids[i], &n);
        require(n <= len - at && memcmp(text + at, bytes, n) == 0);
        if (tokenizer_is_control(tokenizer, ids->ids[i]))
            require(at >= span.end || at + n <= span.start);
        at += n;
    }
    require(at == len);
}

static void check_stream(const struct token_list *ids, const char *text, size_t len)
{
    struct detokenizer d;
    struct buf out;
    buf_init(&out, SIZE_MAX / 4);
    detokenizer_init(&d, tokenizer, true);
    for (size_t i = 0; i < ids->n; i++) {
        detokenizer_push(&d, ids->ids[i], &out);
        require(out.len <= len);
    }
    detokenizer_finish(&d, &out);
    require(out.len == len && (len == 0 || memcmp(out.data, text, len) == 0));
    buf_free(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    const char *text = (const char *)data + 1;
    size_t len = size - 1;
    unsigned choice = data[0];
    struct text_span span = {len * (choice >> 2 & 7) / 8, len * (choice >> 5) / 8};
    bool has_span = span.start < span.end;
    struct token_list ids = {0};
    struct error e = {0};
    int status =
        tokenizer_encode(tokenizer, text, len, choice & TOKENIZE_PARSE_SPECIAL, &span, has_span, &ids, &e);
    require((status == 0) == utf8_valid(text, len));
    if (status == 0) {
        check_bytes(&ids, text, len, has_span ? span : (struct text_span){0, 0});
        check_stream(&ids, text, len);
    }
    token_list_free(&ids);
    return 0;
}
