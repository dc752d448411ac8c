/* fuzz_tokenizer_json.c - libFuzzer: any bytes as a tokenizer.json.  What can be read and built must cut a
 * mixed text into tokens of its own, whose places lie in the text and which come back as UTF-8; an error says
 * something. */
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

static void require_error(const struct error *e)
{
    require(e->kind != ERROR_NONE && e->text[0] && !strchr(e->text, '\n'));
}

static void decode(const struct tokenizer *t, const struct encoding *x)
{
    struct detokenizer d;
    struct buf out;
    buf_init(&out, 64u << 20);
    detokenizer_init(&d, t, true);
    for (size_t i = 0; i < x->n; i++)
        detokenizer_push(&d, x->ids[i], &out);
    detokenizer_finish(&d, &out);
    require(out.failed || utf8_valid(out.data, out.len));
    buf_free(&out);
}

static void encode(const struct tokenizer *t, const char *text, size_t len)
{
    struct encoding x;
    struct error e = {0};
    const unsigned flags = TOKENIZE_PARSE_SPECIAL | TOKENIZE_ADD_SPECIAL;
    if (tokenizer_encode_pair(t, text, len, text, len / 2, flags, &x, &e) < 0) {
        require_error(&e);
        return;
    }
    for (size_t i = 0; i < x.n; i++) {
        require(x.ids[i] >= 0 && (size_t)x.ids[i] < tokenizer_size(t));
        require(x.starts[i] <= len && x.ends[i] <= len);
    }
    decode(t, &x);
    encoding_free(&x);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char mixed[] =
        " a  ab <s>The\xCC\x81 king\n\n\xEF\xAC\x81nd \xE2\x91\xA0 \xE2\x96\x81 aaaaaaaab 12";
    struct bytes *b = NULL;
    struct tokenizer_spec spec;
    struct tokenizer *t = NULL;
    struct error e = {0};
    struct arena *arena = arena_create(64u << 20);
    json_t *keep = json_array();
    log_set_level(LOG_ERROR);
    require(arena && keep && bytes_open_memory(data, size, &b, &e) == 0);
    if (tokenizer_json_read(b, arena, keep, &spec, &e) < 0 || tokenizer_create(&spec, &t, &e) < 0)
        require_error(&e);
    else
        encode(t, mixed, sizeof mixed - 1);
    tokenizer_free(t);
    bytes_close(b);
    json_decref(keep);
    arena_free(arena);
    return 0;
}
