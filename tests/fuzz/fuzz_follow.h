/* fuzz_follow.h - for the harnesses of grammars and what becomes them: compiles a grammar over a vocabulary
 * of bytes and follows it. */
#ifndef LOQUAT_TESTS_FUZZ_FOLLOW_H
#define LOQUAT_TESTS_FUZZ_FOLLOW_H

#include <stdlib.h>
#include <string.h>

#include "engine/base/buf.h"
#include "engine/base/hash.h"
#include "engine/decode/grammar.h"
#include "engine/decode/token_trie.h"

enum { FOLLOW_END = 256, FOLLOW_VOCABULARY, FOLLOW_WORDS = 5, FOLLOW_STEPS = 120 };

static inline const char *follow_bytes(const void *context, int32_t id, size_t *len)
{
    static char bytes[256];
    (void)context;
    *len = id < 256 ? 1 : 3;
    if (id >= 256)
        return "<e>";
    bytes[id] = (char)id;
    return &bytes[id];
}

static inline bool follow_is_end(const void *context, int32_t id)
{
    (void)context;
    return id == FOLLOW_END;
}

static inline const struct token_trie *follow_trie(void)
{
    static struct token_trie *trie; /* for the life of the process */
    const struct token_source source = {NULL, FOLLOW_VOCABULARY, follow_bytes, follow_is_end, follow_is_end};
    struct error e = {0};
    if (!trie && token_trie_create(&source, &trie, &e) < 0)
        abort();
    return trie;
}

/* True when a text that may end was drawn into *out. */
static inline bool follow(struct engine_grammar *g, uint64_t seed, struct buf *out)
{
    struct grammar_state *s = NULL;
    struct error e = {0};
    bool ended = false;
    if (grammar_state_create(g, &s, &e) < 0)
        return false;
    for (size_t i = 0; i < FOLLOW_STEPS && !ended; i++) {
        uint64_t bits[FOLLOW_WORDS], random = hash_mix(seed, i);
        uint8_t allowed[256];
        bool may_end;
        unsigned n = 0;
        if (grammar_state_mask(s, bits, FOLLOW_WORDS, &may_end) != GRAMMAR_OK)
            break;
        for (unsigned byte = 0; byte < 256; byte++) {
            if (bits[byte / 64] >> (byte % 64) & 1)
                allowed[n++] = (uint8_t)byte;
        }
        ended = may_end && (n == 0 || random % 2 == 0);
        if (ended || n == 0)
            break;
        uint8_t byte = allowed[(random >> 8) % n];
        buf_add(out, &byte, 1);
        if (grammar_state_accept(s, byte) != GRAMMAR_OK)
            break;
    }
    grammar_state_free(s);
    return ended;
}

static inline bool fuzz_draw(const char *text, size_t len, uint64_t seed, struct buf *out)
{
    struct engine_grammar *g = NULL;
    struct error e = {0};
    if (grammar_create(text, len, follow_trie(), &g, &e) < 0)
        return false;
    bool ended = follow(g, seed, out);
    grammar_release(g);
    return ended && !out->failed;
}

/* False when it is no good grammar. */
static inline bool fuzz_follow(const char *text, size_t len, uint64_t seed)
{
    struct engine_grammar *g = NULL;
    struct error e = {0};
    struct buf drawn;
    if (grammar_create(text, len, follow_trie(), &g, &e) < 0)
        return false;
    buf_init(&drawn, 1 << 16);
    follow(g, seed, &drawn);
    buf_free(&drawn);
    grammar_release(g);
    return true;
}

#endif
