/* fuzz_schema.c - any JSON as a schema; what it makes is followed, and a text that ends is JSON. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "api/schema.h"
#include "engine/base/json.h"
#include "engine/base/limits.h"
#include "tests/fuzz/fuzz_follow.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    json_t *schema = NULL;
    struct error e = {0};
    struct buf text, drawn;
    if (json_parse((const char *)data, size, &schema, &e) < 0)
        return 0;
    buf_init(&text, LIMIT_GRAMMAR_TEXT);
    buf_init(&drawn, 1 << 16);
    if (schema_write(schema, "root", &text, &e) == 0 && fuzz_draw(text.data, text.len, size, &drawn)) {
        json_t *value = json_loadb(drawn.data, drawn.len, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
        if (!value)
            __builtin_trap();
        json_decref(value);
    }
    buf_free(&text);
    buf_free(&drawn);
    json_decref(schema);
    return 0;
}
