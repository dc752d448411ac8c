/* anthropic.h - Anthropic's messages: the request in its own words, and what it becomes.
 * Callers: anthropic.c, in begin on a worker. */
#ifndef LOQUAT_API_ANTHROPIC_H
#define LOQUAT_API_ANTHROPIC_H

#include "api/conversation.h"
#include "api/generation.h"

/* {"type":"error","error":{"type","message"},"request_id"}; 529 says that the queue is full. */
extern const struct api_dialect api_anthropic;

/* What both paths read: state of a call begins with it. */
struct anthropic_request {
    struct generation_options generation;
    const json_t *messages, *system, *tools, *tool_choice, *thinking;
    struct engine_text effort, format;
    const json_t *schema; /* of format */
};

extern const struct field anthropic_rows[];
enum { ANTHROPIC_ROWS = 15 };

/* The same in the words of conversation.h; new references, released by anthropic_drop(). */
struct anthropic_parts {
    struct conversation_request request; /* borrows from the next three */
    json_t *messages, *tools, *arguments;
};

/* Errors name the field: "messages[2].content[0].type".  parts is released when it fails too. */
int anthropic_convert(struct api_call *call, const struct anthropic_request *r, struct engine_model *model,
                      struct anthropic_parts *parts, struct error *e);
void anthropic_drop(struct anthropic_parts *parts); /* also one that is all zero */

#endif
