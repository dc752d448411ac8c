/* tokenize.c - POST /tokenize and /detokenize, in the shape of llama-server, and GET /tokenizer_info.
 * Thread: a worker; makes no jobs. */
#include <stdlib.h>
#include <string.h>

#include "api/endpoints.h"
#include "api/generation.h"
#include "api/wire.h"
#include "engine/base/limits.h"
#include "engine/base/utf8.h"

struct tokenize {
    struct engine_text model, content;
    bool add_special, parse_special, with_pieces;
};

#define AT(member) offsetof(struct tokenize, member)

/* clang-format off */
static const struct field tokenize_rows[] = {
    {.name = "model", .type = FIELD_STRING, .offset = AT(model), .help = "name of a loaded model; absent: the first"},
    {.name = "content", .type = FIELD_STRING, .offset = AT(content), .required = true, .help = "the text"},
    {.name = "text", .type = FIELD_ALIAS, .of = "content", .help = "another name"},
    {.name = "prompt", .type = FIELD_ALIAS, .of = "content", .help = "another name"},
    {.name = "add_special", .type = FIELD_BOOL, .offset = AT(add_special),
     .help = "add what the checkpoint puts round a text, such as a BOS"},
    {.name = "add_special_tokens", .type = FIELD_ALIAS, .of = "add_special", .help = "another name"},
    {.name = "parse_special", .type = FIELD_BOOL, .offset = AT(parse_special), .fallback = 1,
     .help = "special tokens in the text are tokens; false: they are text"},
    {.name = "with_pieces", .type = FIELD_BOOL, .offset = AT(with_pieces),
     .help = "each token as {id, piece}; a piece that is no UTF-8 is a list of bytes"},
};
/* clang-format on */
static const struct field_group tokenize_groups[] = {FIELD_GROUP(tokenize_rows, 0)};
const struct field_table tokenize_fields = FIELD_TABLE(tokenize_groups, sizeof(struct tokenize));

struct detokenize {
    struct engine_text model;
    struct field_ids tokens;
};

static const struct field detokenize_rows[] = {
    {.name = "model",
     .type = FIELD_STRING,
     .offset = offsetof(struct detokenize, model),
     .help = "name of a loaded model; absent: the first"},
    {.name = "tokens",
     .type = FIELD_IDS,
     .offset = offsetof(struct detokenize, tokens),
     .required = true,
     .max = LIMIT_CONTEXT,
     .help = "token ids"},
};
static const struct field_group detokenize_groups[] = {FIELD_GROUP(detokenize_rows, 0)};
const struct field_table detokenize_fields = FIELD_TABLE(detokenize_groups, sizeof(struct detokenize));

static void add_piece(struct buf *out, const struct engine_vocabulary *v, int32_t id)
{
    size_t len;
    const char *bytes = engine_token_bytes(v, id, &len);
    buf_printf(out, "{\"id\":%d,\"piece\":", id);
    if (utf8_valid(bytes, len)) {
        wire_text(out, bytes, len);
    } else {
        for (size_t i = 0; i < len; i++)
            buf_printf(out, "%c%u", i ? ',' : '[', (unsigned char)bytes[i]);
        buf_add_text(out, "]");
    }
    buf_add_text(out, "}");
}

int tokenize_begin(struct api_call *call, struct error *e)
{
    const struct tokenize *t = call->state;
    struct engine_model *model;
    TRY(generation_find_model(call, &t->model, &model, e));
    const struct engine_vocabulary *v = engine_model_vocabulary(model);
    unsigned flags =
        (t->add_special ? ENGINE_ADD_SPECIAL : 0) | (t->parse_special ? ENGINE_PARSE_SPECIAL : 0);
    int32_t *ids;
    size_t n;
    TRY(engine_tokenize(v, t->content.bytes, t->content.len, flags, NULL, 0, &ids, &n, e));
    buf_add_text(&call->out, "{\"tokens\":[");
    for (size_t i = 0; i < n; i++) {
        buf_add_text(&call->out, i ? "," : "");
        if (t->with_pieces)
            add_piece(&call->out, v, ids[i]);
        else
            buf_printf(&call->out, "%d", ids[i]);
    }
    buf_add_text(&call->out, "]}");
    free(ids);
    return call->out.failed ? error_no_memory(e) : 0;
}

/* A text or null. */
static void add_text(struct buf *out, const char *name, const char *text)
{
    buf_printf(out, "\"%s\":", name);
    if (text && *text)
        wire_text(out, text, strlen(text));
    else
        buf_add_text(out, "null");
}

/* As vLLM tells it of its one model: lm-eval tokenises through the server with it. */
int tokenizer_info_begin(struct api_call *call, struct error *e)
{
    static const struct engine_text first;
    struct engine_model *model;
    TRY(generation_find_model(call, &first, &model, e));
    const struct engine_model_info *info = engine_model_info(model);
    buf_add_text(&call->out, "{");
    add_text(&call->out, "tokenizer_class", info->tokenizer);
    buf_add_text(&call->out, ",");
    add_text(&call->out, "bos_token", info->bos_text);
    buf_add_text(&call->out, ",");
    add_text(&call->out, "eos_token", info->eos_text);
    buf_printf(&call->out, ",\"pad_token\":null,\"model_max_length\":%zu,", info->context);
    add_text(&call->out, "chat_template", info->chat_template);
    buf_add_text(&call->out, "}");
    return call->out.failed ? error_no_memory(e) : 0;
}

int detokenize_begin(struct api_call *call, struct error *e)
{
    const struct detokenize *d = call->state;
    struct engine_model *model;
    struct buf text;
    TRY(generation_find_model(call, &d->model, &model, e));
    const struct engine_vocabulary *v = engine_model_vocabulary(model);
    TRY(generation_check_ids(&d->tokens, "tokens", engine_vocabulary_size(v), e));
    buf_init(&text, LIMIT_REQUEST_ARENA);
    int result = engine_detokenize(v, d->tokens.items, d->tokens.n, true, &text, e);
    if (result == 0) {
        buf_add_text(&call->out, "{\"content\":"); /* llama-server's word; prompt is vLLM's */
        wire_text(&call->out, text.len ? text.data : "", text.len);
        buf_add_text(&call->out, ",\"prompt\":");
        wire_text(&call->out, text.len ? text.data : "", text.len);
        buf_add_text(&call->out, "}");
        result = call->out.failed || text.failed ? error_no_memory(e) : 0;
    }
    buf_free(&text);
    return result;
}
