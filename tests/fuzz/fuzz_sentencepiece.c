/* fuzz_sentencepiece.c - libFuzzer: any bytes as a SentencePiece model.  What can be read and built must cut
 * texts into tokens of its own; so must the model's own pieces, one after another. */
#include <stdlib.h>
#include <string.h>

#include "engine/base/limits.h"
#include "engine/base/log.h"
#include "engine/base/utf8.h"
#include "engine/formats/tokenizer_files.h"
#include "engine/tokenizers/tokenizer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool condition)
{
    if (!condition)
        abort();
}

/* Ids and places lie where they must; an error says something. */
static void encode(const struct tokenizer *t, const char *text, size_t len)
{
    struct encoding x;
    struct error e = {0};
    if (tokenizer_encode_pair(t, text, len, NULL, 0, TOKENIZE_PARSE_SPECIAL, &x, &e) < 0) {
        require(e.kind != ERROR_NONE && e.text[0]);
        return;
    }
    struct detokenizer d;
    struct buf out;
    buf_init(&out, SIZE_MAX / 4);
    detokenizer_init(&d, t, true);
    for (size_t i = 0; i < x.n; i++) {
        require(x.ids[i] >= 0 && (size_t)x.ids[i] < tokenizer_size(t));
        require(x.starts[i] <= x.ends[i] && x.ends[i] <= len);
        detokenizer_push(&d, x.ids[i], &out);
    }
    detokenizer_finish(&d, &out);
    require(utf8_valid(out.data, out.len));
    buf_free(&out);
    encoding_free(&x);
}

enum { MAX_TEXT = 4096 };

static void use(const struct tokenizer_spec *spec)
{
    static const char mixed[] =
        " a  the rive\xCC\x81r <sep>\n\n\xEF\xAC\x81nd \xE2\x91\xA0 \xE2\x96\x81 aaaaaaaa ";
    struct tokenizer *t = NULL;
    struct error e = {0};
    struct buf pieces;
    require(spec->unk >= 0 && (size_t)spec->unk < spec->n_tokens);
    if (tokenizer_create(spec, &t, &e) < 0) {
        require(e.kind != ERROR_NONE && e.text[0] && !strchr(e.text, '\n'));
        return;
    }
    encode(t, mixed, sizeof mixed - 1);
    buf_init(&pieces, MAX_TEXT);
    for (size_t i = 0; i < spec->n_tokens && !pieces.failed; i++)
        buf_add(&pieces, spec->tokens[i].text, spec->tokens[i].len);
    encode(t, pieces.len ? pieces.data : "", utf8_valid_prefix(pieces.data, pieces.len));
    buf_free(&pieces);
    tokenizer_free(t);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct tokenizer_spec spec;
    struct bytes *b = NULL;
    struct error e = {0};
    struct arena *arena = arena_create(LIMIT_FILE_ARENA);
    log_set_level(LOG_ERROR);
    require(arena && bytes_open_memory(data, size, &b, &e) == 0);
    if (sentencepiece_read(b, arena, &spec, &e) == 0)
        use(&spec);
    else
        require(e.kind != ERROR_NONE && e.text[0] && !strchr(e.text, '\n'));
    bytes_close(b);
    arena_free(arena);
    return 0;
}
