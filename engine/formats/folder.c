/* folder.c - a checkpoint in a folder as Hugging Face, PyTorch, sentence-transformers or Marian users keep
 * it: config.json and its relatives, a tokenizer, weights in one file or in shards.
 * Called by checkpoint.c, on any thread.  A file of weights is read together with the folder it lies in.
 * Whose words the config speaks - the dialect - follows from the files, see set_dialect(). */
#include "engine/formats/folder.h"

#include <stdlib.h>
#include <string.h>

#include "engine/base/utf8.h"
#include "engine/formats/config_json.h"
#include "engine/formats/gguf.h"
#include "engine/formats/tokenizer_files.h"

int folder_keep(struct folder *f, json_t *value, struct error *e)
{
    return json_array_append_new(f->keep, value) < 0 ? error_no_memory(e) : 0;
}

static void close_folder(struct checkpoint *c)
{
    struct folder *f = c->impl;
    for (size_t i = 0; i < f->n_files; i++)
        f->files[i]->close(f->files[i]);
    free(f->files);
    free(f->file_names);
    string_table_free(&f->names);
    if (f->words)
        f->words->close(f->words);
    json_decref(f->keep);
    arena_free(f->arena);
    free(f);
}

static struct folder *create_folder(struct error *e)
{
    struct folder *f = calloc(1, sizeof *f);
    if (f) {
        f->arena = arena_create(LIMIT_FILE_ARENA);
        f->keep = json_array();
        f->checkpoint.impl = f;
        f->checkpoint.close = close_folder;
    }
    if (f && f->arena && f->keep)
        return f;
    if (f)
        close_folder(&f->checkpoint);
    error_no_memory(e);
    return NULL;
}

/* FOLDER/NAME as an object that lives as long as the checkpoint, or NULL. */
static int read_object(struct folder *f, const char *name, const json_t **out, struct error *e)
{
    json_t *value;
    TRY(config_json_read(f->path, name, &value, e));
    *out = value;
    return value ? folder_keep(f, value, e) : 0;
}

/* ---- the chat template ----------------------------------------------------------------------- */

/* A text, or a list of {name, template} of which "default" counts. */
static int pick_template(const json_t *value, const char *file, const char **out, struct error *e)
{
    json_t *entry;
    size_t i;
    if (!value || json_is_null(value))
        return 0;
    if (json_is_string(value)) {
        *out = json_string_value(value);
        return 0;
    }
    if (!json_is_array(value))
        return error_set(e, ERROR_BAD_FORMAT, "%s: chat_template must be a text or a list", file);
    json_array_foreach((json_t *)(uintptr_t)value, i, entry)
    {
        const char *name = json_string_value(json_object_get(entry, "name"));
        if (name && strcmp(name, "default") == 0)
            *out = json_string_value(json_object_get(entry, "template"));
    }
    return 0;
}

/* The file of its own first, as transformers does. */
static int read_chat_template(struct folder *f, struct error *e)
{
    static const char *const files[] = {"chat_template.json", "tokenizer_config.json"};
    const char **out = &f->checkpoint.chat_template;
    char *text;
    size_t len;
    TRY(config_text_read(f->path, "chat_template.jinja", f->arena, &text, &len, e));
    if (text && (memchr(text, 0, len) || !utf8_valid(text, len)))
        return error_set(e, ERROR_BAD_FORMAT, "chat_template.jinja: the text is not valid UTF-8");
    *out = text;
    for (size_t i = 0; !*out && i < sizeof files / sizeof files[0]; i++) {
        const json_t *root;
        TRY(read_object(f, files[i], &root, e));
        TRY(pick_template(json_object_get(root, "chat_template"), files[i], out, e));
    }
    return 0;
}

/* ---- weights that loquat wrote ------------------------------------------------------------------ */

/* A text of the file's own metadata as JSON, kept; NULL when it has none. */
static int read_own(struct folder *f, const char *key, const json_t **out, struct error *e)
{
    const char *text = json_string_value(json_object_get(f->files[0]->metadata, key));
    json_t *value = NULL;
    *out = NULL;
    if (!text)
        return 0;
    if (config_json_parse(text, strlen(text), &value, e) < 0 || folder_keep(f, value, e) < 0)
        return error_prefix(e, "%s of the file's metadata", key);
    if (!json_is_object(value))
        return error_set(e, ERROR_BAD_FORMAT, "%s of the file's metadata is no object", key);
    *out = value;
    return 0;
}

/* 1 when the file says everything in GGUF's words, as safetensors_write.c leaves them; the folder around it
 * is not asked then. */
static int read_words(struct folder *f, struct error *e)
{
    struct checkpoint *c = &f->checkpoint;
    const json_t *config, *tokenizer;
    if (f->n_files != 1 || !json_object_get(f->files[0]->metadata, "loquat.config"))
        return 0;
    TRY(read_own(f, "loquat.config", &config, e));
    TRY(read_own(f, "loquat.tokenizer", &tokenizer, e));
    c->dialect = DIALECT_GGUF;
    c->config = config;
    c->architecture = json_string_value(json_object_get(config, "general.architecture"));
    c->name = json_string_value(json_object_get(config, "general.name"));
    c->source_language = json_string_value(json_object_get(config, CHECKPOINT_SOURCE_LANGUAGE));
    c->target_language = json_string_value(json_object_get(config, CHECKPOINT_TARGET_LANGUAGE));
    c->chat_template = json_string_value(json_object_get(f->files[0]->metadata, "loquat.chat_template"));
    if (!c->architecture)
        return error_set(e, ERROR_BAD_FORMAT, "general.architecture is missing in the file's metadata");
    if (tokenizer) {
        TRY(gguf_words_open(tokenizer, &f->words, e));
        c->tokenizer = f->words->tokenizer;
    }
    return 1;
}

/* ---- what the checkpoint is -------------------------------------------------------------------- */

/* transformers always writes "model_type" or "architectures"; a config without them is somebody's own. */
static int set_dialect(struct folder *f, struct error *e)
{
    struct checkpoint *c = &f->checkpoint;
    static const char *const keys[] = {"model_type", "architecture"};
    bool published = json_object_get(f->config, "model_type") || json_object_get(f->config, "architectures");
    c->dialect = published ? DIALECT_TRANSFORMERS : DIALECT_TORCH;
    if (f->format && f->format->dialect == DIALECT_MARIAN) {
        c->dialect = DIALECT_MARIAN;
        c->architecture = json_string_value(json_object_get(c->config, "type"));
        return 0;
    }
    const char *key = keys[published ? 0 : 1];
    const json_t *value = json_object_get(f->config, key);
    if (value && !json_is_null(value) && !json_is_string(value))
        return error_set(e, ERROR_BAD_FORMAT, "config.json: %s is not a text", key);
    c->architecture = json_string_value(value);
    return 0;
}

static int set_config(struct folder *f, struct error *e)
{
    json_t *config = json_object();
    TRY(folder_keep(f, config, e));
    f->checkpoint.config = f->config ? f->config : config;
    if (!f->file_config)
        return 0;
    if (json_object_update(config, (json_t *)(uintptr_t)f->file_config) < 0)
        return error_no_memory(e);
    f->checkpoint.config = config;
    return folder_read_marian_options(f, config, e);
}

static int set_format(struct folder *f, struct error *e)
{
    struct checkpoint *c = &f->checkpoint;
    const char *format = f->n_files ? f->files[0]->format : "tokenizer";
    for (size_t i = 0; i < f->n_files; i++)
        c->file_bytes += f->files[i]->file_bytes;
    if (f->format && f->format->dialect == DIALECT_MARIAN)
        c->format = arena_printf(f->arena, "%s%s", format, f->n_files > 1 ? " with a shortlist" : "");
    else if (f->n_files > 1)
        c->format = arena_printf(f->arena, "%s, %zu shards", format, f->n_files);
    else
        c->format = format;
    return c->format ? 0 : error_no_memory(e);
}

static int read_tokenizer(struct folder *f, struct error *e)
{
    const struct tokenizer_folder look = {
        .path = f->path, .config = f->config, .arena = f->arena, .keep = f->keep};
    int found = tokenizer_folder_read(&look, &f->tokenizer, e);
    if (found == 1)
        f->checkpoint.tokenizer = &f->tokenizer;
    return found < 0 ? -1 : 0;
}

/* name: a file of weights or an index in f->path; NULL for a tokenizer alone. */
static int read_all(struct folder *f, const char *name, struct error *e)
{
    if (name)
        TRY(folder_open_weights(f, name, e));
    else
        TRY(folder_join_tensors(f, NULL, e));
    if (f->whole)
        return 0;
    f->checkpoint.tensors = &f->source;
    TRY(set_format(f, e));
    int own = read_words(f, e);
    if (own != 0)
        return own < 0 ? -1 : 0;
    TRY(read_object(f, "config.json", &f->config, e));
    TRY(set_config(f, e));
    TRY(set_dialect(f, e));
    TRY(read_object(f, "generation_config.json", &f->checkpoint.generation, e));
    TRY(read_chat_template(f, e));
    TRY(read_tokenizer(f, e));
    TRY(folder_read_languages(f, e));
    if (!name && !f->checkpoint.tokenizer)
        return error_set(
            e, ERROR_BAD_FORMAT,
            "the folder holds no weights (*.safetensors, *.gguf, *.pt, *.bin, *.arpa …) and no tokenizer");
    return 0;
}

/* A tokenizer file alone: *.json or a SentencePiece model. */
static int read_tokenizer_file(struct folder *f, const char *path, struct error *e)
{
    struct bytes *b;
    TRY(bytes_open_file(path, &b, e));
    int status = name_ends_with(path, ".json") ? tokenizer_json_read(b, f->arena, f->keep, &f->tokenizer, e)
                                               : sentencepiece_read(b, f->arena, &f->tokenizer, e);
    f->checkpoint.file_bytes = bytes_size(b);
    bytes_close(b);
    if (status < 0)
        return name_ends_with(path, ".json") ? error_prefix(e, "read as tokenizer.json") : -1;
    f->checkpoint.tokenizer = &f->tokenizer;
    TRY(folder_join_tensors(f, NULL, e));
    f->checkpoint.tensors = &f->source;
    TRY(set_config(f, e));
    TRY(set_dialect(f, e));
    return set_format(f, e);
}

/* ---- opening ----------------------------------------------------------------------------------- */

static int finish(struct folder *f, int status, struct checkpoint **out)
{
    if (status < 0) {
        close_folder(&f->checkpoint);
        return -1;
    }
    *out = &f->checkpoint;
    return 0;
}

static int enter(struct folder *f, const char *path, size_t len, struct error *e)
{
    f->path = arena_copy(f->arena, path, len);
    if (!f->path)
        return error_no_memory(e);
    return folder_read_modules(f, &f->checkpoint.pooling, e);
}

static int read_folder(struct folder *f, const char *path, struct error *e)
{
    const char *name = NULL;
    TRY(enter(f, path, strlen(path), e));
    TRY(folder_find_weights(f, &name, e));
    return read_all(f, name, e);
}

int folder_open(const char *path, struct checkpoint **out, struct error *e)
{
    struct folder *f = create_folder(e);
    if (!f)
        return -1;
    int status = read_folder(f, path, e);
    if (status == 0 && f->whole) { /* a file that says everything needs no folder */
        *out = f->whole;
        close_folder(&f->checkpoint);
        return 0;
    }
    return finish(f, status, out);
}

static int read_file(struct folder *f, const char *path, const struct format *format, struct error *e)
{
    const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
    f->opened = name;
    if (format->kind == FORMAT_TOKENIZER && !name_ends_with(name, ".index.json"))
        return read_tokenizer_file(f, path, e);
    if (!slash)
        TRY(enter(f, ".", 1, e));
    else
        TRY(enter(f, path, slash == path ? 1 : (size_t)(slash - path), e));
    return read_all(f, name, e);
}

int folder_open_file(const char *path, const struct format *format, struct checkpoint **out, struct error *e)
{
    struct folder *f = create_folder(e);
    return f ? finish(f, read_file(f, path, format, e), out) : -1;
}
