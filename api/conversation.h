/* conversation.h - the core of every chat dialect: messages, tools and options to a job; events to pieces.
 * A dialect (chat.c and its like) reads its own wire, writes messages and tools in the common shape, calls
 * conversation_begin(), and writes the pieces in its own words.  It never sees a template or a format of tool
 * calls.  To add a dialect: one file that does these four things.
 *
 * The common shape is OpenAI's.  A message: {role: "system" | "developer" | "user" | "assistant" | "tool",
 * content: text, name?, reasoning_content?, tool_calls?: [{id, type: "function", function: {name, arguments:
 * text that is a JSON object}}], tool_call_id?}.  A tool: {type: "function", function: {name, description?,
 * parameters?: JSON schema, strict?}}.  All texts are a stranger's: special tokens in them are text.
 *
 * Threads: begin and the getters on a worker, event on the loop; one at a time, as api.h says. */
#ifndef LOQUAT_API_CONVERSATION_H
#define LOQUAT_API_CONVERSATION_H

#include "api/choice.h"
#include "api/generation.h"
#include "api/speech.h"
#include "api/tools.h"

struct conversation;

/* Zero it, then fill.  Everything is borrowed until conversation_begin() returns. */
struct conversation_request {
    const json_t *messages; /* list in the common shape, as messages_read() makes it or checks it */
    const json_t *tools;    /* list in the common shape, or NULL */
    enum tool_choice tool_choice;
    const char *tool_name;          /* of TOOL_CHOICE_NAMED */
    bool one_tool;                  /* at most one call in an answer */
    struct engine_grammar *grammar; /* what the answer must follow, or NULL; borrowed; not beside tools */
    const json_t *documents;        /* list of objects for templates that take them, or NULL */
    const json_t *arguments;        /* object of more variables for the template, or NULL */
    struct engine_text effort;      /* of reasoning, for templates that take it; bytes NULL: not given */
    bool no_generation_prompt;      /* the prompt ends with the last message */
    bool continue_final;            /* the answer goes on with the last message's text */
    bool logprobs;
    unsigned top_logprobs;
};

/* Renders, tokenises, and leaves one job in call->jobs with options->n choices.  max_tokens absent: what the
 * context has room for.
 * Errors: UNSUPPORTED with the reason when the model can't chat or its template can't honour something;
 * INVALID_REQUEST that names a field in OpenAI's words; CONTEXT_LENGTH. */
int conversation_begin(struct api_call *call, struct engine_model *model,
                       const struct generation_options *options, const struct conversation_request *request,
                       struct conversation **out, struct error *e);
void conversation_free(struct conversation *c); /* NULL is fine; the arena holds the rest */

/* What an event says, piece by piece in order; say is called on the caller's stack.  Every choice ends with
 * exactly one PIECE_FINISH unless the job fails.  When nothing can be told yet but tokens came and
 * tokens_wanted was set, an empty PIECE_TEXT (or _REASONING) carries them. */
void conversation_event(struct conversation *c, const struct engine_event *event, piece_sink *say,
                        void *user);
void conversation_want_tokens(struct conversation *c);

/* The state of the job: its first error, its usage. */
bool conversation_failed(const struct conversation *c);
const struct error *conversation_error(const struct conversation *c);
const struct engine_usage *conversation_usage(const struct conversation *c); /* complete after FINAL */
size_t conversation_reasoning_tokens(const struct conversation *c);          /* of all choices */
unsigned conversation_choices(const struct conversation *c);

/* A whole answer, for those who don't stream (call->stream false at begin).  Valid until free. */
struct said_call {
    struct said_call *next;
    char id[TOOL_ID_BYTES];
    const char *name;
    struct buf arguments; /* JSON text; may be cut when the answer was cut by its length */
};

struct said {
    struct buf text, reasoning; /* data is NULL while empty */
    struct said_call *calls;    /* in order */
    size_t n_calls;
    enum chat_finish finish;
    struct engine_text stop; /* the stop text that ended it; bytes NULL when none did */
};
const struct said *conversation_said(const struct conversation *c, unsigned choice);
const struct engine_token *conversation_tokens(struct conversation *c, unsigned choice, size_t *n);

#endif
