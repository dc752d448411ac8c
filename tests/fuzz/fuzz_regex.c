/* fuzz_regex.c - any bytes as a regular expression: tree and automaton; what either makes is a good grammar,
 * and they agree on the texts that are drawn from one of them. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "api/automaton.h"
#include "engine/base/limits.h"
#include "engine/base/utf8.h"
#include "tests/fuzz/fuzz_follow.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena *arena = arena_create(LIMIT_SCHEMA_ARENA);
    struct error e = {0};
    struct regex *r;
    bool searched = size % 2;
    if (regex_parse((const char *)data, size, arena, &r, &e) == 0) {
        struct regex *tree = regex_whole(r, searched, arena);
        struct automaton *a = automaton_of_regex(r, searched, arena);
        struct buf text, drawn;
        buf_init(&text, LIMIT_GRAMMAR_TEXT);
        buf_init(&drawn, 1 << 16);
        if (tree) {
            buf_add_text(&text, "root ::= ");
            regex_write(tree, false, &text);
            if (!text.failed && fuzz_draw(text.data, text.len, size, &drawn) && a &&
                utf8_valid(drawn.data ? drawn.data : "", drawn.len) &&
                !automaton_accepts(a, drawn.data ? drawn.data : "", drawn.len))
                __builtin_trap();
        }
        buf_clear(&text);
        if (a && a->n_states > 0 && a->n_states < 500) {
            automaton_write(a, "root", true, &text);
            if (!text.failed && !fuzz_follow(text.data, text.len, size))
                __builtin_trap(); /* what is written here must compile */
        }
        buf_free(&text);
        buf_free(&drawn);
    }
    arena_free(arena);
    return 0;
}
