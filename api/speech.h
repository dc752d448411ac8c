/* speech.h - an answer's text as it comes, split into what it is: reasoning, text for the reader, tool calls.
 * Callers: conversation.c, on the loop thread; one per choice.
 * The split is by marks, given by reasoning.c and tools.c; a mark that may be beginning is held back. */
#ifndef LOQUAT_API_SPEECH_H
#define LOQUAT_API_SPEECH_H

#include "api/reasoning.h"
#include "api/tools.h"
#include "engine/base/buf.h"
#include "engine/engine.h"

enum chat_finish { CHAT_FINISH_NONE, CHAT_FINISH_STOP, CHAT_FINISH_LENGTH, CHAT_FINISH_TOOL_CALLS };

enum piece_kind {
    PIECE_TEXT,
    PIECE_REASONING,
    PIECE_TOOL_BEGIN,     /* tool, id, name */
    PIECE_TOOL_ARGUMENTS, /* text: a fragment of the JSON text of call number `tool` */
    PIECE_TOOL_END,       /* the arguments are complete */
    PIECE_FINISH          /* finish, stop */
};

/* Borrowed until the sink returns. */
struct speech_piece {
    enum piece_kind kind;
    unsigned choice;
    const char *text; /* len bytes of UTF-8: whole code points */
    size_t len;
    unsigned tool; /* number of the call in this choice */
    const char *id, *name;
    const struct engine_token *tokens; /* of the event, with its first piece */
    size_t n_tokens;
    enum chat_finish finish;
    struct engine_text stop; /* the stop text that ended the choice; bytes NULL when none did */
};
typedef void piece_sink(void *user, const struct speech_piece *piece);

struct speech_rules {
    const struct reasoning_marks *reasoning; /* NULL: none */
    bool thinking;                           /* the prompt has opened the reasoning */
    const struct tool_format *format;        /* NULL: no tools are offered */
    const struct tool_list *tools;
};

enum speech_state {
    SPEECH_START,
    SPEECH_REASONING,
    SPEECH_TEXT,
    SPEECH_CALL, /* the words before a call's name */
    SPEECH_NAME,
    SPEECH_MIDDLE,
    SPEECH_ARGUMENTS,
    SPEECH_END,
    SPEECH_NEXT
};

struct speech {
    const struct speech_rules *rules;
    enum speech_state state;
    bool reasoned, begun; /* reasoning is over; something of the present part was told */
    struct buf held;      /* not yet told */
    const char *words;    /* SPEECH_CALL: what is being matched */
    struct buf name;
    char id[TOOL_ID_BYTES];
    unsigned calls, complete; /* begun, and with all their arguments */
    unsigned depth;           /* of brackets in the arguments */
    bool in_string, escaped;
};

/* rules are borrowed and outlive it. */
void speech_init(struct speech *s, const struct speech_rules *rules);
void speech_free(struct speech *s);
void speech_push(struct speech *s, const char *text, size_t len, piece_sink *say, void *user);
/* No more text: tells what was held. */
void speech_finish(struct speech *s, piece_sink *say, void *user);
bool speech_reasons(const struct speech *s); /* the next text is likely reasoning */
bool speech_failed(const struct speech *s);  /* out of memory */

#endif
