/* grammar_probe.h - for tests of what makes grammars: is a text accepted, byte by byte, over a vocabulary of
 * 256 bytes and one end token; and texts drawn at random from a grammar. */
#ifndef LOQUAT_TESTS_GRAMMAR_PROBE_H
#define LOQUAT_TESTS_GRAMMAR_PROBE_H

#include <check.h>
#include <string.h>

#include "engine/base/buf.h"
#include "engine/base/hash.h"
#include "engine/decode/grammar.h"
#include "engine/decode/token_trie.h"

enum { PROBE_END = 256, PROBE_VOCABULARY, PROBE_WORDS = 5 };

struct probe {
    struct token_trie *trie;
    struct engine_grammar *grammar;
};

static inline const char *probe_bytes(const void *context, int32_t id, size_t *len)
{
    static char bytes[256];
    (void)context;
    *len = id < 256 ? 1 : 3;
    if (id >= 256)
        return "<e>";
    bytes[id] = (char)id;
    return &bytes[id];
}

static inline bool probe_is_end(const void *context, int32_t id)
{
    (void)context;
    return id == PROBE_END;
}

/* text: a grammar, which must be good. */
static inline struct probe probe_open(const struct buf *text)
{
    const struct token_source source = {NULL, PROBE_VOCABULARY, probe_bytes, probe_is_end, probe_is_end};
    struct probe p = {0};
    struct error e = {0};
    ck_assert_int_eq(token_trie_create(&source, &p.trie, &e), 0);
    ck_assert_msg(grammar_create(text->data, text->len, p.trie, &p.grammar, &e) == 0, "%s\n%.2000s", e.text,
                  text->data);
    return p;
}

static inline void probe_close(struct probe *p)
{
    grammar_release(p->grammar);
    token_trie_free(p->trie);
}

static inline struct grammar_state *probe_start(const struct probe *p)
{
    struct grammar_state *s = NULL;
    struct error e = {0};
    ck_assert_int_eq(grammar_state_create(p->grammar, &s, &e), 0);
    return s;
}

static inline bool probe_accepts(const struct probe *p, const char *text, size_t len)
{
    struct grammar_state *s = probe_start(p);
    uint64_t bits[PROBE_WORDS];
    bool may_end = false, alive = true;
    for (size_t i = 0; i <= len && alive; i++) {
        ck_assert_int_eq(grammar_state_mask(s, bits, PROBE_WORDS, &may_end), GRAMMAR_OK);
        uint8_t byte = (uint8_t)text[i < len ? i : 0];
        if (i < len)
            alive = bits[byte / 64] >> (byte % 64) & 1;
        if (i < len && alive)
            grammar_state_accept(s, byte);
    }
    grammar_state_free(s);
    return alive && may_end;
}

/* Bytes drawn evenly from what may come, ending where it may with one chance in four; at most `most`.
 * False when it did not end. */
static inline bool probe_draw(const struct probe *p, uint64_t seed, size_t most, struct buf *out)
{
    struct grammar_state *s = probe_start(p);
    bool ended = false;
    buf_clear(out);
    for (size_t i = 0; i <= most && !ended; i++) {
        uint64_t bits[PROBE_WORDS], random = hash_mix(seed, i);
        uint8_t allowed[256];
        bool may_end;
        unsigned n = 0;
        ck_assert_int_eq(grammar_state_mask(s, bits, PROBE_WORDS, &may_end), GRAMMAR_OK);
        for (unsigned byte = 0; byte < 256; byte++) {
            if (bits[byte / 64] >> (byte % 64) & 1)
                allowed[n++] = (uint8_t)byte;
        }
        ck_assert_msg(n > 0 || may_end, "a dead end behind %.*s", (int)out->len, out->data);
        ended = may_end && (n == 0 || random % 4 == 0);
        if (!ended) {
            uint8_t byte = allowed[(random >> 8) % n];
            buf_add(out, &byte, 1);
            grammar_state_accept(s, byte);
        }
    }
    grammar_state_free(s);
    return ended;
}

#endif
