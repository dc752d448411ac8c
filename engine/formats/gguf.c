/* gguf.c - opens a GGUF file (versions 2 and 3, little endian): header, metadata, tokenizer and
 * tensor directory; weights stay in the file until somebody reads them.
 * Called by checkpoint.c's FORMAT TABLE, on any thread.  The file is a stranger's: counts are
 * compared with the bytes left before anything is allocated for them, and nothing is believed. */
#include "engine/formats/gguf.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { LEAST_PAIR_BYTES = 8 + 4 + 1 };

static int read_version(struct gguf *g, struct error *e)
{
    const void *magic;
    TRY(bytes_take(g->file, 4, &magic, "the GGUF magic", e));
    if (memcmp(magic, "GGUF", 4) != 0)
        return error_at(e, ERROR_BAD_FORMAT, 0, "the file does not start with GGUF");
    TRY(bytes_u32(g->file, &g->version, "the GGUF version", e));
    if (g->version == 2 || g->version == 3)
        return 0;
    if (g->version != 0 && (g->version & 0xFFFF) == 0)
        return error_at(e, ERROR_BAD_FORMAT, 4,
                        "the file is a big-endian GGUF; only little-endian ones are supported");
    return error_at(e, ERROR_BAD_FORMAT, 4, "GGUF version %" PRIu32 " is not supported; 2 and 3 are",
                    g->version);
}

static int read_counts(struct gguf *g, struct error *e)
{
    TRY(bytes_u64(g->file, &g->n_tensors, "the number of tensors", e));
    TRY(bytes_u64(g->file, &g->n_keys, "the number of metadata keys", e));
    if (g->n_tensors > LIMIT_TENSORS)
        return error_at(e, ERROR_BAD_FORMAT, 8,
                        "the file claims %" PRIu64 " tensors; at most %d are accepted", g->n_tensors,
                        LIMIT_TENSORS);
    if (g->n_keys > LIMIT_KEYS)
        return error_at(e, ERROR_BAD_FORMAT, 16,
                        "the file claims %" PRIu64 " metadata keys; at most %d are accepted", g->n_keys,
                        LIMIT_KEYS);
    return bytes_expect(g->file, g->n_keys, LEAST_PAIR_BYTES, "the metadata", e);
}

static int read_identity(struct gguf *g, struct error *e)
{
    const json_t *architecture = json_object_get(g->config, "general.architecture");
    if (!architecture)
        return error_set(e, ERROR_BAD_FORMAT, "general.architecture is missing");
    if (!json_is_string(architecture))
        return error_set(e, ERROR_BAD_FORMAT, "general.architecture is not a string");
    g->checkpoint.architecture = json_string_value(architecture);
    g->checkpoint.name = json_string_value(json_object_get(g->config, "general.name"));
    g->checkpoint.source_language = json_string_value(json_object_get(g->config, CHECKPOINT_SOURCE_LANGUAGE));
    g->checkpoint.target_language = json_string_value(json_object_get(g->config, CHECKPOINT_TARGET_LANGUAGE));
    g->checkpoint.format = g->version == 2 ? "GGUF v2" : "GGUF v3";
    return 0;
}

void gguf_close(struct checkpoint *c)
{
    struct gguf *g = c->impl;
    string_table_free(&g->keys);
    string_table_free(&g->tensor_names);
    json_decref(g->config);
    json_decref(g->pipeline);
    arena_free(g->arena);
    bytes_close(g->file);
    free(g);
}

static int read_all(struct gguf *g, struct error *e)
{
    g->arena = arena_create(LIMIT_FILE_ARENA);
    g->config = json_object();
    if (!g->arena || !g->config)
        return error_no_memory(e);
    TRY(read_version(g, e));
    TRY(read_counts(g, e));
    TRY(gguf_read_metadata(g, e));
    TRY(read_identity(g, e));
    TRY(gguf_build_tokenizer(g, e));
    return gguf_read_tensors(g, e);
}

int gguf_open_take(struct bytes *b, struct checkpoint **out, struct error *e)
{
    struct gguf *g = calloc(1, sizeof *g);
    if (!g) {
        bytes_close(b);
        return error_no_memory(e);
    }
    g->file = b;
    g->checkpoint.impl = g;
    g->checkpoint.close = gguf_close;
    g->checkpoint.file_bytes = bytes_size(b);
    if (read_all(g, e) < 0) {
        gguf_close(&g->checkpoint);
        return -1;
    }
    g->checkpoint.config = g->config;
    g->checkpoint.tensors = &g->source;
    *out = &g->checkpoint;
    return 0;
}
