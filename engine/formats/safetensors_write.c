/* safetensors_write.c - writes a checkpoint as one .safetensors file under GGUF's tensor names, with its
 * hyperparameters and tokenizer as JSON texts in __metadata__.  Called by engine/convert.c.
 * The format: https://github.com/huggingface/safetensors#format */
#include <inttypes.h>
#include <string.h>

#include "engine/base/json.h"
#include "engine/base/utf8.h"
#include "engine/formats/checkpoint_write.h"

enum { ALIGNMENT = 8 };

static int check_tokens(const struct tokenizer_words *t, struct error *e)
{
    for (size_t i = 0; i < t->n_tokens; i++) {
        if (!utf8_valid(t->tokens[i].text, t->tokens[i].len) ||
            memchr(t->tokens[i].text, 0, t->tokens[i].len))
            return error_set(e, ERROR_UNSUPPORTED,
                             "token %zu is no text, which safetensors' metadata can't hold; write a .gguf",
                             i);
    }
    return 0;
}

static void put_tokens(struct buf *b, const struct tokenizer_words *t)
{
    buf_add_text(b, ",\"tokenizer.ggml.tokens\":[");
    for (size_t i = 0; i < t->n_tokens; i++) {
        buf_add_text(b, i ? "," : "");
        json_write_string(b, t->tokens[i].text, t->tokens[i].len);
    }
    buf_add_text(b, "],\"tokenizer.ggml.token_type\":[");
    for (size_t i = 0; i < t->n_tokens; i++)
        buf_printf(b, "%s%d", i ? "," : "", (int)t->tokens[i].type);
    if (t->scored) {
        buf_add_text(b, "],\"tokenizer.ggml.scores\":[");
        for (size_t i = 0; i < t->n_tokens; i++)
            buf_printf(b, "%s%.17g", i ? "," : "", t->tokens[i].score);
    }
    if (t->n_merges) {
        buf_add_text(b, "],\"tokenizer.ggml.merges\":[");
        for (size_t i = 0; i < t->n_merges; i++) {
            buf_add_text(b, i ? "," : "");
            json_write_string(b, t->merges[i].text, t->merges[i].len);
        }
    }
    if (t->charsmap_len) {
        const uint8_t *map = t->charsmap;
        buf_add_text(b, "],\"tokenizer.ggml.precompiled_charsmap\":[");
        for (size_t i = 0; i < t->charsmap_len; i++)
            buf_printf(b, "%s%u", i ? "," : "", map[i]);
    }
    buf_add_text(b, "]");
}

/* An object under the keys of GGUF. */
static void put_tokenizer(struct buf *b, const struct tokenizer_words *t)
{
    const char *key;
    json_t *value;
    buf_add_text(b, "{\"tokenizer.ggml.model\":");
    json_write_string(b, t->model, strlen(t->model));
    if (t->pre) {
        buf_add_text(b, ",\"tokenizer.ggml.pre\":");
        json_write_string(b, t->pre, strlen(t->pre));
    }
    json_object_foreach(t->keys, key, value)
    {
        buf_add_text(b, ",");
        json_write_string(b, key, strlen(key));
        buf_add_text(b, ":");
        json_write(b, value);
    }
    if (!json_object_get(t->keys, TOKENIZER_HUGGINGFACE))
        put_tokens(b, t);
    buf_add_text(b, "}");
}

static int put_metadata(const struct checkpoint_write *w, struct buf *b, struct error *e)
{
    struct buf text;
    TRY(check_tokens(w->tokenizer, e));
    buf_init(&text, LIMIT_TAKE);
    buf_add_text(b, "{\"__metadata__\":{\"format\":\"loquat\",\"loquat.config\":");
    json_write(&text, w->c->config);
    json_write_string(b, text.data ? text.data : "", text.len);
    bool failed = text.failed;
    if (w->tokenizer->n_tokens) {
        buf_clear(&text);
        put_tokenizer(&text, w->tokenizer);
        buf_add_text(b, ",\"loquat.tokenizer\":");
        json_write_string(b, text.data ? text.data : "", text.len);
        failed = failed || text.failed;
    }
    buf_free(&text);
    if (w->c->chat_template) {
        buf_add_text(b, ",\"loquat.chat_template\":");
        json_write_string(b, w->c->chat_template, strlen(w->c->chat_template));
    }
    buf_add_text(b, "}");
    return failed ? error_no_memory(e) : 0;
}

static void put_directory(const struct checkpoint_write *w, struct buf *b)
{
    uint64_t offset = 0;
    for (size_t i = 0; i < w->c->tensors->count; i++) {
        const struct tensor_info *t = &w->c->tensors->tensors[i];
        uint64_t end = offset + checkpoint_write_size(t, w->types[i]);
        buf_add_text(b, ",");
        json_write_string(b, t->name, strlen(t->name));
        buf_printf(b, ":{\"dtype\":\"%s\",\"shape\":[", dtype_row(w->types[i])->name);
        for (unsigned d = t->n_dims; d-- > 0;)
            buf_printf(b, "%" PRIu64 "%s", t->dims[d], d ? "," : "");
        buf_printf(b, "],\"data_offsets\":[%" PRIu64 ",%" PRIu64 "]}", offset, end);
        offset = end;
    }
    buf_add_text(b, "}");
    while (b->len % ALIGNMENT != 0 && !b->failed)
        buf_add_text(b, " ");
}

static int write_head(const struct checkpoint_write *w, struct error *e)
{
    struct buf head;
    buf_init(&head, LIMIT_TAKE);
    int status = put_metadata(w, &head, e);
    put_directory(w, &head);
    if (status == 0 && head.failed)
        status = error_set(e, ERROR_UNSUPPORTED, "the header does not fit into %u bytes; write a .gguf",
                           LIMIT_TAKE);
    uint64_t len = head.len;
    if (status == 0)
        status = output_write(w->out, &len, sizeof len, e);
    if (status == 0)
        status = output_write(w->out, head.data, head.len, e);
    buf_free(&head);
    return status;
}

int safetensors_write(const struct checkpoint_write *w, struct error *e)
{
    TRY(write_head(w, e));
    for (size_t i = 0; i < w->c->tensors->count; i++)
        TRY(checkpoint_write_tensor(w, &w->c->tensors->tensors[i], w->types[i], e));
    return 0;
}
