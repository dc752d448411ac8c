/* speech.c - see speech.h.
 * A state takes what it can from the held bytes and says whether there is more to do; what is undecided
 * stays held. */
#include "api/speech.h"

#include <string.h>

#include "engine/base/limits.h"

enum {
    HELD_MAX = 1 << 20,
    UNDECIDED_MAX = 4096
}; /* words of a call with all their white space are shorter */

/* One push. */
struct turn {
    struct speech *s;
    piece_sink *say;
    void *user;
};

void speech_init(struct speech *s, const struct speech_rules *rules)
{
    memset(s, 0, sizeof *s);
    s->rules = rules;
    s->state = rules->reasoning && rules->thinking ? SPEECH_REASONING : SPEECH_START;
    buf_init(&s->held, HELD_MAX + LIMIT_REQUEST_ARENA / 16);
    buf_init(&s->name, LIMIT_TOOL_NAME + 1);
}

void speech_free(struct speech *s)
{
    buf_free(&s->held);
    buf_free(&s->name);
}

bool speech_failed(const struct speech *s)
{
    return s->held.failed;
}

bool speech_reasons(const struct speech *s)
{
    return s->state == SPEECH_REASONING;
}

static bool is_space(char c)
{
    return c == ' ' || c == '\n' || c == '\t' || c == '\r';
}

static size_t leading_space(const struct buf *b)
{
    size_t n = 0;
    while (n < b->len && is_space(b->data[n]))
        n++;
    return n;
}

/* Tells the first len held bytes and forgets them. */
static void tell(struct turn *t, enum piece_kind kind, size_t len)
{
    struct speech_piece p = {.kind = kind, .text = t->s->held.data, .len = len};
    if (len == 0)
        return;
    if (kind == PIECE_TOOL_ARGUMENTS)
        p.tool = t->s->calls - 1;
    t->s->begun = true;
    t->say(t->user, &p);
    buf_drop_front(&t->s->held, len);
}

static bool enter(struct speech *s, enum speech_state state)
{
    s->state = state;
    s->begun = false;
    return true;
}

/* Where in the held text a mark begins; *whole: all of it is there.  held.len when it is nowhere. */
static size_t find_mark(const struct buf *held, const char *mark, bool *whole)
{
    size_t n = strlen(mark), at = 0;
    *whole = false;
    while (at < held->len) {
        const char *hit = memchr(held->data + at, mark[0], held->len - at);
        if (!hit)
            return held->len;
        at = (size_t)(hit - held->data);
        size_t there = held->len - at < n ? held->len - at : n;
        if (memcmp(hit, mark, there) == 0) {
            *whole = there == n;
            return at;
        }
        at++;
    }
    return held->len;
}

/* ---- reasoning and text --------------------------------------------------------------------- */

/* White space at the edges of the reasoning belongs to the marks. */
static bool take_reasoning(struct turn *t)
{
    struct speech *s = t->s;
    bool whole;
    if (!s->begun)
        buf_drop_front(&s->held, leading_space(&s->held));
    size_t at = find_mark(&s->held, s->rules->reasoning->close, &whole), end = at;
    while (end > 0 && is_space(s->held.data[end - 1]))
        end--;
    tell(t, PIECE_REASONING, end);
    if (!whole)
        return false;
    buf_drop_front(&s->held, at - end + strlen(s->rules->reasoning->close));
    s->reasoned = true;
    return enter(s, SPEECH_START);
}

/* Whether held text begins with the mark: 1, not yet 0, no -1. */
static int begins_with(const struct buf *held, size_t from, const char *mark)
{
    size_t n = strlen(mark), there = held->len - from < n ? held->len - from : n;
    if (there && memcmp(held->data + from, mark, there) != 0)
        return -1;
    return there == n;
}

/* An answer that begins with a call, in formats that have no mark. */
static int begins_with_call(const struct speech *s, size_t from)
{
    const struct tool_format *f = s->rules->format;
    size_t used;
    if (!f || f->mark || from == s->held.len)
        return f && !f->mark ? 0 : -1;
    int prefix = f->prefix ? begins_with(&s->held, from, f->prefix) : -1;
    int first = tools_match(f->first, s->held.data + from, s->held.len - from, &used);
    return prefix > 0 || first > 0 ? 1 : prefix == 0 || first == 0 ? 0 : -1;
}

/* White space before the first word stays where nothing is cut off before it. */
static bool take_start(struct turn *t)
{
    struct speech *s = t->s;
    const struct reasoning_marks *marks = s->reasoned ? NULL : s->rules->reasoning;
    size_t space = leading_space(&s->held);
    int thought = marks ? begins_with(&s->held, space, marks->open) : -1;
    int call = begins_with_call(s, space);
    if (thought > 0) {
        buf_drop_front(&s->held, space + strlen(marks->open));
        return enter(s, SPEECH_REASONING);
    }
    if (call > 0) {
        buf_drop_front(&s->held, space);
        s->words = s->rules->format->first;
        if (s->rules->format->prefix && begins_with(&s->held, 0, s->rules->format->prefix) > 0)
            buf_drop_front(&s->held, strlen(s->rules->format->prefix));
        return enter(s, SPEECH_CALL);
    }
    if (s->reasoned)
        buf_drop_front(&s->held, space);
    if ((thought == 0 || call == 0 || (s->reasoned && s->held.len == 0)) && s->held.len < UNDECIDED_MAX)
        return false;
    return enter(s, SPEECH_TEXT);
}

/* Text before a call loses the white space at its end. */
static bool take_text(struct turn *t)
{
    struct speech *s = t->s;
    const char *mark = s->rules->format ? s->rules->format->mark : NULL;
    bool whole = false;
    if (!mark) {
        tell(t, PIECE_TEXT, s->held.len);
        return false;
    }
    size_t at = find_mark(&s->held, mark, &whole), end = at;
    while (end > 0 && is_space(s->held.data[end - 1]) && at - end < UNDECIDED_MAX)
        end--;
    tell(t, PIECE_TEXT, end);
    if (!whole)
        return false;
    s->words = s->rules->format->first;
    return enter(s, SPEECH_CALL);
}

/* ---- calls ---------------------------------------------------------------------------------- */

/* Not a call after all. */
static bool back_to_text(struct turn *t, size_t len)
{
    tell(t, PIECE_TEXT, len);
    return enter(t->s, SPEECH_TEXT);
}

static bool take_call(struct turn *t)
{
    struct speech *s = t->s;
    size_t space = leading_space(&s->held), used;
    if (space == s->held.len)
        return false;
    int hit = tools_match(s->words, s->held.data + space, s->held.len - space, &used);
    if (hit == 0 && s->held.len < 2 * UNDECIDED_MAX)
        return false;
    if (hit <= 0)
        return back_to_text(t, space + 1);
    buf_drop_front(&s->held, space + used);
    buf_clear(&s->name);
    return enter(s, SPEECH_NAME);
}

/* The words before are gone, so what is no name after them is told without them. */
static bool take_name(struct turn *t)
{
    struct speech *s = t->s;
    const char *middle = s->rules->format->middle;
    size_t n = 0;
    while (n < s->held.len && s->held.data[n] != middle[0] && n <= LIMIT_TOOL_NAME)
        n++;
    if (n == s->held.len)
        return false;
    if (!tools_by_name(s->rules->tools, s->held.data, n) || s->calls == LIMIT_TOOL_CALLS)
        return back_to_text(t, n);
    buf_add(&s->name, s->held.data, n);
    buf_drop_front(&s->held, n);
    return enter(s, SPEECH_MIDDLE);
}

static bool take_middle(struct turn *t)
{
    struct speech *s = t->s;
    size_t used;
    int hit = tools_match(s->rules->format->middle, s->held.data, s->held.len, &used);
    if (hit == 0 || (hit > 0 && used == s->held.len))
        return false;
    if (hit < 0 || s->held.data[used] != '{')
        return back_to_text(t, s->held.len);
    buf_drop_front(&s->held, used);
    tools_make_id(s->rules->format, s->id);
    struct speech_piece p = {.kind = PIECE_TOOL_BEGIN, .tool = s->calls++, .id = s->id, .name = s->name.data};
    t->say(t->user, &p);
    s->depth = 0;
    s->in_string = s->escaped = false;
    return enter(s, SPEECH_ARGUMENTS);
}

/* True when the byte closes the outermost bracket. */
static bool scan_json(struct speech *s, char c)
{
    if (s->in_string) {
        if (s->escaped)
            s->escaped = false;
        else if (c == '\\')
            s->escaped = true;
        else if (c == '"')
            s->in_string = false;
        return false;
    }
    if (c == '"')
        s->in_string = true;
    else if (c == '{' || c == '[')
        s->depth++;
    else if (c == '}' || c == ']')
        return --s->depth == 0;
    return false;
}

static bool take_arguments(struct turn *t)
{
    struct speech *s = t->s;
    for (size_t i = 0; i < s->held.len; i++) {
        if (!scan_json(s, s->held.data[i]))
            continue;
        tell(t, PIECE_TOOL_ARGUMENTS, i + 1);
        struct speech_piece p = {.kind = PIECE_TOOL_END, .tool = s->calls - 1};
        s->complete++;
        t->say(t->user, &p);
        return enter(s, SPEECH_END);
    }
    tell(t, PIECE_TOOL_ARGUMENTS, s->held.len);
    return false;
}

static bool take_end(struct turn *t)
{
    struct speech *s = t->s;
    size_t used;
    int hit = tools_match(s->rules->format->end, s->held.data ? s->held.data : "", s->held.len, &used);
    if (hit == 0)
        return false;
    buf_drop_front(&s->held, hit > 0 ? used : 0);
    return enter(s, SPEECH_NEXT);
}

/* Another call, the words that end them all, or other text. */
static bool take_next(struct turn *t)
{
    struct speech *s = t->s;
    const struct tool_format *f = s->rules->format;
    size_t space = leading_space(&s->held), used;
    if (space == s->held.len)
        return false;
    int next = tools_match(f->next, s->held.data, s->held.len, &used);
    if (next > 0) {
        s->words = f->next;
        return enter(s, SPEECH_CALL);
    }
    int close = *f->close ? tools_match(f->close, s->held.data, s->held.len, &used) : -1;
    if (close > 0) {
        buf_drop_front(&s->held, used);
        return enter(s, SPEECH_TEXT);
    }
    if ((next == 0 || close == 0) && s->held.len < UNDECIDED_MAX)
        return false;
    buf_drop_front(&s->held, space);
    return enter(s, SPEECH_TEXT);
}

static bool take(struct turn *t)
{
    switch (t->s->state) {
    case SPEECH_START:
        return take_start(t);
    case SPEECH_REASONING:
        return take_reasoning(t);
    case SPEECH_TEXT:
        return take_text(t);
    case SPEECH_CALL:
        return take_call(t);
    case SPEECH_NAME:
        return take_name(t);
    case SPEECH_MIDDLE:
        return take_middle(t);
    case SPEECH_ARGUMENTS:
        return take_arguments(t);
    case SPEECH_END:
        return take_end(t);
    case SPEECH_NEXT:
        return take_next(t);
    }
    return false;
}

void speech_push(struct speech *s, const char *text, size_t len, piece_sink *say, void *user)
{
    struct turn t = {s, say, user};
    buf_add(&s->held, text, len);
    while (!s->held.failed && take(&t)) {
    }
}

void speech_finish(struct speech *s, piece_sink *say, void *user)
{
    struct turn t = {s, say, user};
    switch (s->state) {
    case SPEECH_REASONING:
        tell(&t, PIECE_REASONING, s->held.len);
        break;
    case SPEECH_START:
    case SPEECH_TEXT:
    case SPEECH_CALL:
    case SPEECH_NAME:
    case SPEECH_MIDDLE:
        tell(&t, PIECE_TEXT, s->held.len);
        break;
    case SPEECH_ARGUMENTS:
    case SPEECH_END:
    case SPEECH_NEXT:
        break;
    }
    buf_clear(&s->held);
}
