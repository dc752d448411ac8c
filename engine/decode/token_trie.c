/* token_trie.c - see token_trie.h.
 * Tokens are sorted by their bytes; each then shares with the one before it what both begin with. */
#include "engine/decode/token_trie.h"

#include <stdlib.h>
#include <string.h>

#include "engine/base/utf8.h"

struct entry {
    const char *bytes;
    uint32_t len;
    int32_t id;
};

static int compare(const void *a, const void *b)
{
    const struct entry *x = a, *y = b;
    int order = memcmp(x->bytes, y->bytes, x->len < y->len ? x->len : y->len);
    if (order == 0)
        order = x->len < y->len ? -1 : x->len > y->len;
    return order ? order : x->id < y->id ? -1 : 1;
}

static uint32_t common(const struct entry *a, const struct entry *b)
{
    uint32_t n = 0, most = a->len < b->len ? a->len : b->len;
    while (n < most && a->bytes[n] == b->bytes[n])
        n++;
    return n;
}

/* Control tokens and ends apart, the rest into entries; returns how many these are. */
static size_t sort_out(struct token_trie *t, struct entry *entries)
{
    size_t n = 0;
    for (size_t i = 0; i < t->source.n; i++) {
        int32_t id = (int32_t)i;
        size_t len;
        const char *bytes = t->source.bytes(t->source.context, id, &len);
        if (t->source.is_end(t->source.context, id))
            t->ends[t->n_ends++] = id;
        if (t->source.is_control(t->source.context, id))
            t->controls[t->n_controls++] = id;
        else if (len > 0 && len <= UINT16_MAX)
            entries[n++] = (struct entry){bytes, (uint32_t)len, id};
    }
    qsort(entries, n, sizeof *entries, compare);
    return n;
}

static size_t count_nodes(const struct entry *entries, size_t n)
{
    size_t nodes = 1;
    for (size_t i = 0; i < n; i++)
        nodes += entries[i].len - (i ? common(&entries[i - 1], &entries[i]) : 0);
    return nodes;
}

/* path: of the nodes from the root to the last one made, (longest token + 1). */
static void fill(struct trie_tree *t, const struct entry *entries, size_t n, uint32_t *path)
{
    uint32_t nodes = 1, depth = 0;
    t->nodes[0] = (struct trie_node){0};
    path[0] = 0;
    for (size_t i = 0; i < n; i++) {
        uint32_t shared = i ? common(&entries[i - 1], &entries[i]) : 0;
        for (; depth > shared; depth--)
            t->nodes[path[depth]].end = nodes;
        while (depth < entries[i].len) {
            uint8_t byte = (uint8_t)entries[i].bytes[depth++];
            path[depth] = nodes;
            t->nodes[nodes++] = (struct trie_node){0, (uint32_t)i, (uint16_t)depth, byte};
        }
        t->tokens[i] = entries[i].id;
    }
    for (; depth > 0; depth--)
        t->nodes[path[depth]].end = nodes;
    t->nodes[0].end = nodes;
    t->nodes[nodes] = (struct trie_node){.first_token = (uint32_t)n};
    t->n_nodes = nodes;
}

static int build_tree(struct trie_tree *t, const struct entry *entries, size_t n, struct error *e)
{
    size_t nodes = count_nodes(entries, n);
    if (nodes >= UINT32_MAX)
        return error_set(e, ERROR_UNSUPPORTED, "the vocabulary has too much text for grammars");
    uint32_t *path = malloc((UINT16_MAX + 1) * sizeof *path);
    t->nodes = malloc((nodes + 1) * sizeof *t->nodes);
    t->tokens = malloc((n ? n : 1) * sizeof *t->tokens);
    int status = path && t->nodes && t->tokens ? 0 : error_no_memory(e);
    if (status == 0)
        fill(t, entries, n, path);
    free(path);
    return status;
}

/* How many characters a plain token has; 0 for others. */
static unsigned plain_points(const struct entry *x)
{
    unsigned n = 0;
    for (size_t at = 0; at < x->len; n++) {
        uint32_t c;
        int bytes = utf8_decode(x->bytes + at, x->len - at, &c);
        bool ends_line = c == 0x2028 || c == 0x2029,
             is_escaped = c < 0x20 || c == '"' || c == '\\' || c == 0x7F;
        if (bytes <= 0 || ends_line || is_escaped || n == TRIE_PLAIN_POINTS)
            return 0;
        at += (size_t)bytes;
    }
    return n;
}

/* Plain ones into the masks; the others stay in entries, still sorted.  Returns how many. */
static size_t take_plain(struct token_trie *t, struct entry *entries, size_t n)
{
    size_t kept = 0;
    for (size_t i = 0; i < n; i++) {
        unsigned points = plain_points(&entries[i]);
        for (unsigned k = points; points && k <= TRIE_PLAIN_POINTS; k++)
            t->plain[k * t->words + (size_t)entries[i].id / 64] |= UINT64_C(1) << (entries[i].id % 64);
        if (points == 0)
            entries[kept++] = entries[i];
    }
    return kept;
}

static int build(struct token_trie *t, struct entry *entries, struct error *e)
{
    size_t n = sort_out(t, entries);
    for (size_t i = 0; i < n; i++)
        t->depth = entries[i].len > t->depth ? entries[i].len : t->depth;
    TRY(build_tree(&t->all, entries, n, e));
    t->words = (t->source.n + 63) / 64;
    t->plain = calloc((TRIE_PLAIN_POINTS + 1) * (t->words ? t->words : 1), sizeof *t->plain);
    if (!t->plain)
        return error_no_memory(e);
    return build_tree(&t->others, entries, take_plain(t, entries, n), e);
}

int token_trie_create(const struct token_source *source, struct token_trie **out, struct error *e)
{
    struct token_trie *t = calloc(1, sizeof *t);
    struct entry *entries = malloc((source->n ? source->n : 1) * sizeof *entries);
    int status = -1;
    if (t) {
        t->source = *source;
        t->controls = malloc((source->n ? source->n : 1) * sizeof *t->controls);
        t->ends = malloc((source->n ? source->n : 1) * sizeof *t->ends);
    }
    if (t && entries && t->controls && t->ends)
        status = build(t, entries, e);
    else
        error_no_memory(e);
    free(entries);
    if (status < 0)
        token_trie_free(t);
    else
        *out = t;
    return status;
}

void token_trie_free(struct token_trie *t)
{
    if (!t)
        return;
    free(t->all.nodes);
    free(t->all.tokens);
    free(t->others.nodes);
    free(t->others.tokens);
    free(t->plain);
    free(t->controls);
    free(t->ends);
    free(t);
}

int32_t token_trie_control(const struct token_trie *t, const char *name, size_t len)
{
    for (size_t i = 0; i < t->n_controls; i++) {
        size_t n;
        const char *bytes = t->source.bytes(t->source.context, t->controls[i], &n);
        if (n == len && memcmp(bytes, name, len) == 0)
            return t->controls[i];
    }
    return -1;
}

const char *token_trie_bytes(const struct token_trie *t, int32_t id, size_t *len)
{
    *len = 0;
    if (id < 0 || (size_t)id >= t->source.n || t->source.is_control(t->source.context, id))
        return NULL;
    const char *bytes = t->source.bytes(t->source.context, id, len);
    return *len > 0 && *len <= UINT16_MAX ? bytes : NULL;
}
