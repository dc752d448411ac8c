/* wire.c - see wire.h. */
#include "api/wire.h"

#include <math.h>
#include <string.h>

#include "api/generation.h"
#include "engine/base/json.h"
#include "engine/base/limits.h"
#include "engine/base/utf8.h"

void wire_text(struct buf *out, const char *text, size_t len)
{
    json_write_string(out, text, len);
}

static void add_member(struct buf *out, const char *name, const char *text)
{
    buf_printf(out, ",\"%s\":", name);
    json_write_string(out, text, strlen(text));
}

int wire_envelope(struct api_call *call, const char *prefix, const char *object, const char *model,
                  const char **out, struct error *e)
{
    const char *id = arena_printf(call->arena, "%s-%s", prefix, call->request_id);
    const char *fingerprint = generation_fingerprint(call);
    if (!id || !fingerprint)
        return error_no_memory(e);
    struct buf b;
    buf_init(&b, LIMIT_REQUEST_ARENA);
    buf_add_text(&b, "{\"id\":");
    json_write_string(&b, id, strlen(id));
    add_member(&b, "object", object);
    buf_printf(&b, ",\"created\":%lld", (long long)call->created);
    add_member(&b, "model", model);
    add_member(&b, "system_fingerprint", fingerprint);
    *out = b.failed ? NULL : arena_copy(call->arena, b.data, b.len);
    buf_free(&b);
    return *out ? 0 : error_no_memory(e);
}

void wire_finish_reason(struct buf *out, enum engine_finish finish)
{
    buf_add_text(out, finish == ENGINE_FINISH_STOP     ? "\"stop\""
                      : finish == ENGINE_FINISH_LENGTH ? "\"length\""
                                                       : "null");
}

void wire_chat_finish(struct buf *out, enum chat_finish finish)
{
    static const char *const names[] = {
        [CHAT_FINISH_NONE] = "null",
        [CHAT_FINISH_STOP] = "\"stop\"",
        [CHAT_FINISH_LENGTH] = "\"length\"",
        [CHAT_FINISH_TOOL_CALLS] = "\"tool_calls\"",
    };
    buf_add_text(out, names[finish]);
}

void wire_token_ids(struct buf *out, const struct engine_token *tokens, size_t n)
{
    buf_add_text(out, "[");
    for (size_t i = 0; i < n; i++)
        buf_printf(out, i ? ",%d" : "%d", tokens[i].id);
    buf_add_text(out, "]");
}

void wire_usage(struct buf *out, const struct engine_usage *usage, size_t reasoning_tokens)
{
    buf_printf(out,
               "{\"prompt_tokens\":%zu,\"completion_tokens\":%zu,\"total_tokens\":%zu,"
               "\"prompt_tokens_details\":{\"cached_tokens\":%zu},"
               "\"completion_tokens_details\":{\"reasoning_tokens\":%zu}}",
               usage->prompt_tokens, usage->completion_tokens,
               usage->prompt_tokens + usage->completion_tokens, usage->cached_tokens, reasoning_tokens);
}

void wire_float(struct buf *out, double x)
{
    if (isfinite(x))
        buf_printf(out, "%.9g", x);
    else
        buf_add_text(out, "null");
}

void wire_stream_end(struct buf *out, const char *envelope, const struct engine_usage *usage,
                     size_t reasoning_tokens)
{
    if (usage) {
        buf_printf(out, "data: %s,\"choices\":[],\"usage\":", envelope);
        wire_usage(out, usage, reasoning_tokens);
        buf_add_text(out, "}\n\n");
    }
    buf_add_text(out, "data: [DONE]\n\n");
}

/* JSON has no infinity: OpenAI's floor stands for what can't happen. */
static void add_logprob(struct buf *out, float logprob)
{
    if (isnan(logprob) || logprob < -9999.0f)
        logprob = -9999.0f;
    buf_printf(out, "%.7g", (double)logprob);
}

static void add_token(struct buf *out, const struct engine_vocabulary *v, int32_t id, float logprob)
{
    size_t len;
    const char *bytes = engine_token_bytes(v, id, &len);
    buf_add_text(out, "{\"token\":");
    json_write_string(out, bytes, len);
    buf_add_text(out, ",\"logprob\":");
    add_logprob(out, logprob);
    buf_add_text(out, ",\"bytes\":[");
    for (size_t i = 0; i < len; i++)
        buf_printf(out, i ? ",%u" : "%u", (unsigned char)bytes[i]);
    buf_add_text(out, "]");
}

void wire_chat_logprobs(struct buf *out, const struct engine_vocabulary *v, const struct engine_token *tokens,
                        size_t n)
{
    buf_add_text(out, "{\"content\":[");
    for (size_t i = 0; i < n; i++) {
        buf_add_text(out, i ? "," : "");
        add_token(out, v, tokens[i].id, tokens[i].logprob);
        buf_add_text(out, ",\"top_logprobs\":[");
        for (unsigned t = 0; t < tokens[i].n_top; t++) {
            buf_add_text(out, t ? "," : "");
            add_token(out, v, tokens[i].top[t].id, tokens[i].top[t].logprob);
            buf_add_text(out, "}");
        }
        buf_add_text(out, "]}");
    }
    buf_add_text(out, "],\"refusal\":null}");
}

/* Parts of code points would all become the same U+FFFD; OpenAI writes them as "bytes:\xe2\x80". */
void wire_token_label(struct buf *out, const struct engine_vocabulary *v, int32_t id)
{
    size_t len;
    const char *bytes = engine_token_bytes(v, id, &len);
    if (utf8_valid(bytes, len)) {
        json_write_string(out, bytes, len);
        return;
    }
    buf_add_text(out, "\"bytes:");
    for (size_t i = 0; i < len; i++)
        buf_printf(out, "\\\\x%02x", (unsigned char)bytes[i]);
    buf_add_text(out, "\"");
}

static bool same_bytes(const struct engine_vocabulary *v, int32_t a, int32_t b)
{
    size_t len_a, len_b;
    const char *bytes_a = engine_token_bytes(v, a, &len_a);
    const char *bytes_b = engine_token_bytes(v, b, &len_b);
    return len_a == len_b && memcmp(bytes_a, bytes_b, len_a) == 0;
}

/* Keys of one object have to differ: of tokens that are written alike the likeliest is kept. */
static bool is_repeated(const struct engine_vocabulary *v, const struct engine_token *token, unsigned before,
                        int32_t id)
{
    for (unsigned t = 0; t < before; t++) {
        if (same_bytes(v, token->top[t].id, id))
            return true;
    }
    return false;
}

/* {"token":logprob}: the best ones, and the token itself where it is not among them. */
static void add_alternatives(struct buf *out, const struct engine_vocabulary *v,
                             const struct engine_token *token)
{
    const char *comma = "";
    buf_add_text(out, "{");
    for (unsigned t = 0; t < token->n_top; t++) {
        if (is_repeated(v, token, t, token->top[t].id))
            continue;
        buf_add_text(out, comma);
        wire_token_label(out, v, token->top[t].id);
        buf_add_text(out, ":");
        add_logprob(out, token->top[t].logprob);
        comma = ",";
    }
    if (!is_repeated(v, token, token->n_top, token->id)) {
        buf_add_text(out, comma);
        wire_token_label(out, v, token->id);
        buf_add_text(out, ":");
        add_logprob(out, token->logprob);
    }
    buf_add_text(out, "}");
}

enum column { COLUMN_TOKENS, COLUMN_LOGPROBS, COLUMN_TOP };

static void add_column(struct buf *out, const struct engine_vocabulary *v, const struct wire_run *runs,
                       size_t n_runs, enum column column)
{
    const char *comma = "";
    buf_add_text(out, "[");
    for (size_t r = 0; r < n_runs; r++) {
        for (size_t i = 0; i < runs[r].n; i++, comma = ",") {
            const struct engine_token *token = &runs[r].tokens[i];
            buf_add_text(out, comma);
            if (column == COLUMN_TOKENS)
                wire_token_label(out, v, token->id);
            else if (!token->has_logprob)
                buf_add_text(out, "null");
            else if (column == COLUMN_LOGPROBS)
                add_logprob(out, token->logprob);
            else
                add_alternatives(out, v, token);
        }
    }
    buf_add_text(out, "]");
}

/* A token that begins inside a code point belongs to the one before. */
static size_t next_offset(struct text_offsets *offsets, const char *bytes, size_t len)
{
    bool inside = len > 0 && ((unsigned char)bytes[0] & 0xc0) == 0x80 && offsets->chars > 0;
    size_t at = offsets->chars - inside;
    offsets->chars += text_code_points(bytes, len);
    return at;
}

static void add_offsets(struct buf *out, const struct engine_vocabulary *v, const struct wire_run *runs,
                        size_t n_runs, struct text_offsets *offsets, size_t end)
{
    const char *comma = "";
    buf_add_text(out, "[");
    for (size_t r = 0; r < n_runs; r++) {
        for (size_t i = 0; i < runs[r].n; i++, comma = ",") {
            size_t len;
            const char *bytes = engine_token_bytes(v, runs[r].tokens[i].id, &len);
            if (i < runs[r].hidden ||
                (!runs[r].shows_control && engine_token_is_control(v, runs[r].tokens[i].id)))
                len = 0;
            size_t at = next_offset(offsets, bytes, len);
            buf_printf(out, "%s%zu", comma, at < end ? at : end);
        }
    }
    buf_add_text(out, "]");
}

void wire_completion_logprobs(struct buf *out, const struct engine_vocabulary *v, const struct wire_run *runs,
                              size_t n_runs, struct text_offsets *offsets, size_t end)
{
    buf_add_text(out, "{\"tokens\":");
    add_column(out, v, runs, n_runs, COLUMN_TOKENS);
    buf_add_text(out, ",\"token_logprobs\":");
    add_column(out, v, runs, n_runs, COLUMN_LOGPROBS);
    buf_add_text(out, ",\"top_logprobs\":");
    add_column(out, v, runs, n_runs, COLUMN_TOP);
    buf_add_text(out, ",\"text_offset\":");
    add_offsets(out, v, runs, n_runs, offsets, end);
    buf_add_text(out, "}");
}
