/* gguf_write.c - writes a checkpoint as GGUF version 3: metadata, tensor directory, aligned tensors.
 * Called by engine/convert.c.  Types are those that llama.cpp asks for: whole numbers u32 (i32 when
 * negative), real ones f32.  What GGUF has no type for - objects, lists in lists - is kept as JSON text. */
#include <stdio.h>
#include <string.h>

#include "engine/base/json.h"
#include "engine/formats/checkpoint_write.h"
#include "engine/formats/gguf.h"

enum { ALIGNMENT = 32, VERSION = 3, QUANTIZATION_VERSION = 2 };

struct metadata {
    struct buf bytes;
    uint64_t keys;
};

static void put_u32(struct buf *b, uint32_t value)
{
    buf_add(b, &value, sizeof value);
}

static void put_u64(struct buf *b, uint64_t value)
{
    buf_add(b, &value, sizeof value);
}

static void put_text(struct buf *b, const char *text, size_t len)
{
    put_u64(b, len);
    buf_add(b, text, len);
}

static void put_key(struct metadata *m, const char *key, uint32_t type)
{
    put_text(&m->bytes, key, strlen(key));
    put_u32(&m->bytes, type);
    m->keys++;
}

static void put_key_u32(struct metadata *m, const char *key, uint32_t value)
{
    put_key(m, key, GGUF_U32);
    put_u32(&m->bytes, value);
}

static void put_key_text(struct metadata *m, const char *key, const char *text)
{
    put_key(m, key, GGUF_STRING);
    put_text(&m->bytes, text, strlen(text));
}

/* ---- values of config -------------------------------------------------------------------------- */

static uint32_t type_of(const json_t *value)
{
    json_int_t n = json_integer_value(value);
    switch (json_typeof(value)) {
    case JSON_STRING:
        return GGUF_STRING;
    case JSON_REAL:
        return GGUF_F32;
    case JSON_TRUE:
    case JSON_FALSE:
        return GGUF_BOOL;
    case JSON_INTEGER:
        return n >= 0 && n <= UINT32_MAX ? GGUF_U32 : n < 0 && n >= INT32_MIN ? GGUF_I32 : GGUF_I64;
    default:
        return GGUF_TYPES;
    }
}

/* One type for all elements; GGUF_TYPES when there is none.  Whole numbers of a list are signed, as
 * llama.cpp's lists are. */
static uint32_t type_of_list(const json_t *list)
{
    uint32_t type = GGUF_TYPES;
    const json_t *item;
    size_t i;
    json_array_foreach((json_t *)(uintptr_t)list, i, item)
    {
        uint32_t t = type_of(item);
        if (t == GGUF_U32)
            t = json_integer_value(item) <= INT32_MAX ? GGUF_I32 : GGUF_I64;
        bool mixed = i > 0 && t != type;
        if (mixed && json_is_number(item) && (type == GGUF_F32 || t == GGUF_F32))
            t = GGUF_F32;
        else if (mixed && json_is_number(item) && (type == GGUF_I32 || type == GGUF_I64))
            t = GGUF_I64;
        else if (mixed)
            return GGUF_TYPES;
        type = t;
    }
    return json_array_size(list) ? type : GGUF_I32;
}

static void put_value(struct buf *b, const json_t *value, uint32_t type)
{
    json_int_t n = json_integer_value(value);
    float real = (float)json_number_value(value);
    uint8_t truth = json_is_true(value);
    if (type == GGUF_STRING)
        put_text(b, json_string_value(value), json_string_length(value));
    else if (type == GGUF_F32)
        buf_add(b, &real, sizeof real);
    else if (type == GGUF_BOOL)
        buf_add(b, &truth, 1);
    else if (type == GGUF_I64)
        put_u64(b, (uint64_t)n);
    else
        put_u32(b, (uint32_t)n);
}

static void put_list(struct metadata *m, const char *key, const json_t *list, uint32_t type)
{
    const json_t *item;
    size_t i;
    put_key(m, key, GGUF_ARRAY);
    put_u32(&m->bytes, type);
    put_u64(&m->bytes, json_array_size(list));
    json_array_foreach((json_t *)(uintptr_t)list, i, item) put_value(&m->bytes, item, type);
}

static void put_json_text(struct metadata *m, const char *key, const json_t *value)
{
    struct buf text;
    buf_init(&text, LIMIT_TAKE);
    json_write(&text, value);
    m->bytes.failed = m->bytes.failed || text.failed;
    put_key(m, key, GGUF_STRING);
    put_text(&m->bytes, text.data ? text.data : "", text.len);
    buf_free(&text);
}

static void put_member(struct metadata *m, const char *key, const json_t *value)
{
    uint32_t type = json_is_array(value) ? type_of_list(value) : type_of(value);
    if (json_is_null(value))
        return;
    if (type == GGUF_TYPES)
        put_json_text(m, key, value);
    else if (json_is_array(value))
        put_list(m, key, value, type);
    else {
        put_key(m, key, type);
        put_value(&m->bytes, value, type);
    }
}

static bool begins_with(const char *text, const char *begin)
{
    return strncmp(text, begin, strlen(begin)) == 0;
}

/* Keys that are written from elsewhere, or speak of the file that was read. */
static bool is_replaced(const struct checkpoint_write *w, const char *key)
{
    static const char *const own[] = {
        "general.architecture",         "general.name",           "general.alignment", "general.file_type",
        "general.quantization_version", "tokenizer.chat_template"};
    for (size_t i = 0; i < sizeof own / sizeof own[0]; i++) {
        if (strcmp(key, own[i]) == 0)
            return true;
    }
    return begins_with(key, "split.") || json_object_get(w->tokenizer->keys, key) != NULL ||
           strcmp(key, "tokenizer.ggml.model") == 0 || strcmp(key, "tokenizer.ggml.pre") == 0;
}

/* ---- the whole metadata -------------------------------------------------------------------------- */

static void put_array_head(struct metadata *m, const char *key, uint32_t type, size_t n)
{
    put_key(m, key, GGUF_ARRAY);
    put_u32(&m->bytes, type);
    put_u64(&m->bytes, n);
}

static void put_tokenizer(struct metadata *m, const struct tokenizer_words *t)
{
    const char *key;
    json_t *value;
    put_key_text(m, "tokenizer.ggml.model", t->model);
    if (t->pre)
        put_key_text(m, "tokenizer.ggml.pre", t->pre);
    put_array_head(m, "tokenizer.ggml.tokens", GGUF_STRING, t->n_tokens);
    for (size_t i = 0; i < t->n_tokens; i++)
        put_text(&m->bytes, t->tokens[i].text, t->tokens[i].len);
    put_array_head(m, "tokenizer.ggml.token_type", GGUF_I32, t->n_tokens);
    for (size_t i = 0; i < t->n_tokens; i++)
        put_u32(&m->bytes, (uint32_t)t->tokens[i].type);
    if (t->scored) {
        put_array_head(m, "tokenizer.ggml.scores", GGUF_F32, t->n_tokens);
        for (size_t i = 0; i < t->n_tokens; i++)
            buf_add(&m->bytes, &(float){(float)t->tokens[i].score}, sizeof(float));
    }
    if (t->n_merges) {
        put_array_head(m, "tokenizer.ggml.merges", GGUF_STRING, t->n_merges);
        for (size_t i = 0; i < t->n_merges; i++)
            put_text(&m->bytes, t->merges[i].text, t->merges[i].len);
    }
    if (t->charsmap_len) {
        put_array_head(m, "tokenizer.ggml.precompiled_charsmap", GGUF_U8, t->charsmap_len);
        buf_add(&m->bytes, t->charsmap, t->charsmap_len);
    }
    json_object_foreach(t->keys, key, value) put_member(m, key, value);
}

/* llama.cpp's number for "mostly this type"; only shown to people. */
static uint32_t file_type(enum dtype main_type)
{
    static const struct {
        enum dtype dtype;
        uint32_t number;
    } rows[] = {{DTYPE_F32, 0},  {DTYPE_F16, 1},  {DTYPE_BF16, 32}, {DTYPE_Q4_0, 2},
                {DTYPE_Q4_1, 3}, {DTYPE_Q8_0, 7}, {DTYPE_Q5_0, 8},  {DTYPE_Q5_1, 9}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        if (rows[i].dtype == main_type)
            return rows[i].number;
    }
    return 1024; /* "guessed" */
}

/* What llama.cpp asks for under a number of its own, and our words say otherwise. */
static void put_relatives(const struct checkpoint_write *w, struct metadata *m)
{
    static const char *const poolings[] = {"none", "mean", "cls", "last"};
    const struct tensor_info *types = w->c->tensors->find(w->c->tensors, "token_types.weight");
    char key[192], number[192];
    snprintf(key, sizeof key, "%s.pooling", w->c->architecture);
    snprintf(number, sizeof number, "%s.pooling_type", w->c->architecture);
    const char *pooling = json_string_value(json_object_get(w->c->config, key));
    for (uint32_t i = 0; pooling && i < sizeof poolings / sizeof poolings[0]; i++) {
        if (strcmp(pooling, poolings[i]) == 0 && !json_object_get(w->c->config, number))
            put_key_u32(m, number, i);
    }
    if (types && !json_object_get(w->c->config, "tokenizer.ggml.token_type_count"))
        put_key_u32(m, "tokenizer.ggml.token_type_count", (uint32_t)types->dims[1]);
}

static void put_metadata(const struct checkpoint_write *w, struct metadata *m)
{
    const char *key;
    json_t *value;
    put_key_text(m, "general.architecture", w->c->architecture);
    if (w->c->name)
        put_key_text(m, "general.name", w->c->name);
    put_key_u32(m, "general.file_type", file_type(w->main_type));
    if (dtype_row(w->main_type)->block_values > 1)
        put_key_u32(m, "general.quantization_version", QUANTIZATION_VERSION);
    json_object_foreach((json_t *)(uintptr_t)w->c->config, key, value)
    {
        if (!is_replaced(w, key))
            put_member(m, key, value);
    }
    put_relatives(w, m);
    if (w->tokenizer->n_tokens)
        put_tokenizer(m, w->tokenizer);
    if (w->c->chat_template)
        put_key_text(m, "tokenizer.chat_template", w->c->chat_template);
}

/* ---- the file ------------------------------------------------------------------------------------ */

bool gguf_writes(enum dtype t)
{
    return dtype_row(t)->gguf_id != DTYPE_NOT_IN_GGUF;
}

static uint64_t padded(uint64_t n)
{
    return (n + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
}

static void put_directory(const struct checkpoint_write *w, struct buf *b)
{
    uint64_t offset = 0;
    for (size_t i = 0; i < w->c->tensors->count; i++) {
        const struct tensor_info *t = &w->c->tensors->tensors[i];
        put_text(b, t->name, strlen(t->name));
        put_u32(b, t->n_dims);
        for (unsigned d = 0; d < t->n_dims; d++)
            put_u64(b, t->dims[d]);
        put_u32(b, (uint32_t)dtype_row(w->types[i])->gguf_id);
        put_u64(b, offset);
        offset += padded(checkpoint_write_size(t, w->types[i]));
    }
}

static int write_head(const struct checkpoint_write *w, struct error *e)
{
    struct metadata m = {.keys = 0};
    struct buf head;
    buf_init(&m.bytes, LIMIT_FILE_ARENA);
    buf_init(&head, 64);
    put_metadata(w, &m);
    put_directory(w, &m.bytes);
    buf_add_text(&head, "GGUF");
    put_u32(&head, VERSION);
    put_u64(&head, w->c->tensors->count);
    put_u64(&head, m.keys);
    int status = m.bytes.failed || head.failed ? error_no_memory(e) : 0;
    if (status == 0)
        status = output_write(w->out, head.data, head.len, e);
    if (status == 0)
        status = output_write(w->out, m.bytes.data, m.bytes.len, e);
    buf_free(&head);
    buf_free(&m.bytes);
    return status;
}

int gguf_write(const struct checkpoint_write *w, struct error *e)
{
    TRY(write_head(w, e));
    for (size_t i = 0; i < w->c->tensors->count; i++) {
        TRY(output_pad(w->out, ALIGNMENT, 0, e));
        TRY(checkpoint_write_tensor(w, &w->c->tensors->tensors[i], w->types[i], e));
    }
    return output_pad(w->out, ALIGNMENT, 0, e);
}
