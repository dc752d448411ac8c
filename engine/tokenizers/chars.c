/* chars.c - vocabularies of single characters ("char"): one id a code point, as plain PyTorch configs have
 * them. Called by tokenizer.c; encode() from any thread.  A control token is never made from text. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/hash.h"
#include "engine/base/utf8.h"
#include "engine/tokenizers/model.h"

struct char_slot {
    uint32_t code_point;
    int32_t id; /* -1: free */
};

struct chars {
    struct char_slot *slots; /* (mask + 1) */
    size_t mask;
    int32_t unk;
};

static struct char_slot *slot_of(const struct chars *c, uint32_t code_point)
{
    size_t i = (size_t)hash_mix(0, code_point) & c->mask;
    while (c->slots[i].id >= 0 && c->slots[i].code_point != code_point)
        i = (i + 1) & c->mask;
    return &c->slots[i];
}

static void chars_release(void *model)
{
    struct chars *c = model;
    free(c->slots);
    free(c);
}

static int chars_create(const struct tokenizer_spec *spec, void **out, struct error *e)
{
    struct chars *c = calloc(1, sizeof *c);
    size_t size = 16;
    while (size / 2 < spec->n_tokens)
        size *= 2;
    if (c)
        c->slots = malloc(size * sizeof *c->slots);
    if (!c || !c->slots) {
        free(c);
        return error_no_memory(e);
    }
    c->mask = size - 1;
    c->unk = spec->unk;
    for (size_t i = 0; i < size; i++)
        c->slots[i] = (struct char_slot){0, -1};
    for (size_t i = 0; i < spec->n_tokens; i++) {
        const struct token_spec *t = &spec->tokens[i];
        uint32_t code_point;
        bool single = t->len > 0 && utf8_decode(t->text, t->len, &code_point) == (int)t->len;
        if (single && !token_is_control(t->type))
            *slot_of(c, code_point) = (struct char_slot){code_point, (int32_t)i};
    }
    *out = c;
    return 0;
}

static int chars_encode(const void *model, const char *text, const struct piece_list *pieces,
                        struct token_sink *out, struct error *e)
{
    const struct chars *c = model;
    for (size_t i = 0; i < pieces->n; i++) {
        for (size_t at = pieces->spans[i].start; at < pieces->spans[i].end;) {
            uint32_t code_point;
            int n = utf8_decode(text + at, pieces->spans[i].end - at, &code_point);
            size_t size = n > 0 ? (size_t)n : 1;
            int32_t id = slot_of(c, code_point)->id;
            if (id < 0)
                id = c->unk;
            if (id < 0)
                return error_set(e, ERROR_INVALID_REQUEST,
                                 "the character U+%04" PRIX32
                                 " is not in the vocabulary, which has no unknown token",
                                 code_point);
            TRY(token_sink_add(out, id, at, at + size, i, e));
            at += size;
        }
    }
    return 0;
}

const struct tokenizer_model chars_model = {
    .name = "char", .create = chars_create, .release = chars_release, .encode = chars_encode};
