/* tools_grammar.c - see tools_grammar.h. */
#include "api/tools_grammar.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/schema.h"

/* The control token that a word is; -1 when it is text. */
static int32_t control_token(const struct engine_vocabulary *v, const char *word, size_t len)
{
    int32_t *ids = NULL, found = -1;
    size_t n = 0;
    if (engine_tokenize(v, word, len, ENGINE_PARSE_SPECIAL, NULL, 0, &ids, &n, NULL) < 0)
        return -1;
    if (n == 1 && engine_token_is_control(v, ids[0]))
        found = ids[0];
    free(ids);
    return found;
}

static void write_literal(struct buf *out, const char *text, size_t len)
{
    buf_add_text(out, "\"");
    for (size_t i = 0; i < len; i++) {
        if (text[i] == '"' || text[i] == '\\')
            buf_add_text(out, "\\");
        buf_add(out, text + i, 1);
    }
    buf_add_text(out, "\" ");
}

static void write_word(const struct tool_rules *r, struct buf *out, const char *word, size_t len)
{
    int32_t token = control_token(r->vocabulary, word, len);
    if (token >= 0)
        buf_printf(out, "<[%d]> ", token);
    else
        write_literal(out, word, len);
}

static void write_words(const struct tool_rules *r, struct buf *out, const char *words)
{
    while (*words) {
        size_t len = strcspn(words, " ");
        if (len)
            write_word(r, out, words, len);
        words += len;
        if (*words == ' ') {
            buf_add_text(out, "ws ");
            words++;
        }
    }
}

/* ---- calls ---------------------------------------------------------------------------------- */

/* A function that declares no parameters takes none, where JSON Schema would let any object be: small models
 * make up members otherwise.  A new reference. */
static json_t *schema_of(const struct tool *tool)
{
    const json_t *properties = json_object_get(tool->parameters, "properties");
    if (!tool->parameters)
        return json_pack("{s:s}", "type", "object");
    bool none = json_is_object(properties) && json_object_size(properties) == 0;
    if (!none || json_object_size(tool->parameters) > 2)
        return json_incref((json_t *)tool->parameters);
    return json_pack("{s:s,s:b}", "type", "object", "additionalProperties", 0);
}

static int write_call(const struct tool_rules *r, size_t i, struct buf *out, struct error *e)
{
    const struct tool *tool = &r->tools->items[i];
    struct error why = {0};
    char rule[32];
    snprintf(rule, sizeof rule, "arguments%zu", i);
    buf_printf(out, "call%zu ::= ", i);
    write_literal(out, tool->name, strlen(tool->name));
    write_words(r, out, r->format->middle);
    buf_printf(out, "%s ", rule);
    write_words(r, out, r->format->end);
    buf_add_text(out, "\n");
    json_t *schema = schema_of(tool);
    int status = schema ? schema_write(schema, rule, out, &why) : error_no_memory(&why);
    json_decref(schema);
    if (status == 0)
        return 0;
    char name[64];
    snprintf(name, sizeof name, "tools[%zu].function.parameters", i);
    return error_param(e, why.kind, name, "%s: %s", name, why.text);
}

static bool is_offered(const struct tool_rules *r, size_t i)
{
    return r->choice != TOOL_CHOICE_NAMED || strcmp(r->tools->items[i].name, r->name) == 0;
}

/* `calls`: what comes after the words before the first name. */
static int write_calls(const struct tool_rules *r, struct buf *out, struct error *e)
{
    bool first = true;
    buf_printf(out, "ws ::= %s\none ::= ", r->format->indented ? "[ \\t\\n]{0,16}" : "[ \\n]?");
    for (size_t i = 0; i < r->tools->n; i++) {
        if (!is_offered(r, i))
            continue;
        buf_printf(out, first ? "call%zu" : " | call%zu", i);
        first = false;
    }
    buf_add_text(out, "\ncalls ::= one ");
    if (!r->one && !r->format->single) {
        buf_add_text(out, "(");
        write_words(r, out, r->format->next);
        buf_add_text(out, "one)* ");
    }
    write_words(r, out, r->format->close);
    buf_add_text(out, "\n");
    for (size_t i = 0; i < r->tools->n; i++) {
        if (is_offered(r, i))
            TRY(write_call(r, i, out, e));
    }
    return 0;
}

/* ---- the answer ----------------------------------------------------------------------------- */

/* Free text until a mark; or, in formats without one, an answer that begins as a call does.  What begins it
 * is told up to its first colon, where white space may differ. */
static void write_triggers(const struct tool_rules *r, struct buf *out)
{
    const struct tool_format *f = r->format;
    if (f->mark) {
        write_word(r, out, f->mark, strlen(f->mark));
        write_words(r, out, f->first + strlen(f->mark));
        buf_add_text(out, "calls");
        return;
    }
    struct buf begin;
    size_t colon = strcspn(f->first, ":");
    buf_init(&begin, 256);
    for (size_t i = 0; i < colon; i++)
        buf_add(&begin, f->first + i, f->first[i] != ' ');
    buf_add_text(out, "^");
    write_literal(out, begin.data ? begin.data : "", begin.len);
    buf_add_text(out, "ws ");
    write_words(r, out, f->first + colon);
    buf_add_text(out, "calls");
    buf_free(&begin);
    int32_t prefix = f->prefix ? control_token(r->vocabulary, f->prefix, strlen(f->prefix)) : -1;
    if (prefix < 0)
        return;
    buf_printf(out, " | <[%d]> ws ", prefix);
    write_words(r, out, f->first);
    buf_add_text(out, "calls");
}

static void write_answer(const struct tool_rules *r, struct buf *out)
{
    buf_add_text(out, "answer ::= ");
    if (r->choice == TOOL_CHOICE_AUTO) {
        buf_add_text(out, "%until(");
        write_triggers(r, out);
        buf_add_text(out, ")\n");
    } else {
        write_words(r, out, r->format->first);
        buf_add_text(out, "calls\n");
    }
}

/* The thought is free up to its closing mark. */
static void write_root(const struct tool_rules *r, struct buf *out)
{
    if (!r->reasoning) {
        buf_add_text(out, "root ::= answer\n");
        return;
    }
    buf_add_text(out, "thought ::= %until(");
    write_word(r, out, r->reasoning->close, strlen(r->reasoning->close));
    buf_add_text(out, "ws answer)\nroot ::= ");
    if (r->thinking) {
        buf_add_text(out, "thought\n");
        return;
    }
    write_word(r, out, r->reasoning->open, strlen(r->reasoning->open));
    buf_add_text(out, "thought | answer\n");
}

int tools_write_grammar(const struct tool_rules *r, struct buf *out, struct error *e)
{
    write_root(r, out);
    write_answer(r, out);
    TRY(write_calls(r, out, e));
    return out->failed ? error_param(e, ERROR_INVALID_REQUEST, "tools", "tools: their grammar is too large")
                       : 0;
}

/* ---- marks ---------------------------------------------------------------------------------- */

static void add_token(const struct engine_vocabulary *v, const char *word, size_t len, int32_t *ids,
                      size_t *n, size_t max)
{
    int32_t token = control_token(v, word, len);
    if (token >= 0 && *n < max)
        ids[(*n)++] = token;
}

void tools_mark_tokens(const struct engine_vocabulary *v, const struct tool_format *f, int32_t *ids,
                       size_t *n, size_t max)
{
    const char *const words[] = {f->prefix, f->first, f->middle, f->end, f->next, f->close};
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        for (const char *at = words[i]; at && *at;) {
            size_t len = strcspn(at, " ");
            if (len)
                add_token(v, at, len, ids, n, max);
            at += len + (at[len] == ' ');
        }
    }
}

void reasoning_mark_tokens(const struct engine_vocabulary *v, const struct reasoning_marks *marks,
                           int32_t *ids, size_t *n, size_t max)
{
    add_token(v, marks->open, strlen(marks->open), ids, n, max);
    add_token(v, marks->close, strlen(marks->close), ids, n, max);
}
