/* infill.c - see infill.h. */
#include "api/infill.h"

#include <stdlib.h>
#include <string.h>

static const struct {
    const char *prefix, *suffix, *middle;
} rows[] = {
    {"<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>"}, /* Qwen 2.5 Coder, CodeGemma, Granite */
    {"<fim_prefix>", "<fim_suffix>", "<fim_middle>"},       /* StarCoder, SmolLM */
    {"<fim-prefix>", "<fim-suffix>", "<fim-middle>"},       /* Refact */
    {"<\xef\xbd\x9c"
     "fim\xe2\x96\x81"
     "begin\xef\xbd\x9c>",
     "<\xef\xbd\x9c"
     "fim\xe2\x96\x81"
     "hole\xef\xbd\x9c>",
     "<\xef\xbd\x9c"
     "fim\xe2\x96\x81"
     "end\xef\xbd\x9c>"}, /* DeepSeek Coder: the hole is where the answer goes */
    {"<|code_prefix|>", "<|code_suffix|>", "<|code_middle|>"}, /* GLM 4 */
    {"<PRE>", "<SUF>", "<MID>"},                               /* Code Llama */
};

/* The one token that a name is. */
static bool find_token(const struct engine_vocabulary *v, const char *name, int32_t *out)
{
    int32_t *ids = NULL;
    size_t n = 0, len;
    if (engine_tokenize(v, name, strlen(name), ENGINE_PARSE_SPECIAL, NULL, 0, &ids, &n, NULL) < 0)
        return false;
    bool found = n == 1;
    if (found) {
        const char *piece = engine_token_piece(v, ids[0], &len);
        found = engine_token_is_control(v, ids[0]) || (len == strlen(name) && memcmp(piece, name, len) == 0);
        *out = ids[0];
    }
    free(ids);
    return found;
}

bool infill_find(const struct engine_vocabulary *v, struct infill *out)
{
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        if (find_token(v, rows[i].prefix, &out->prefix) && find_token(v, rows[i].suffix, &out->suffix) &&
            find_token(v, rows[i].middle, &out->middle))
            return true;
    }
    return false;
}
