/* grammar_machine.h - a program run over bytes and control tokens.  All places that a text can be at make one
 * state; equal ones are found again, and where a byte leads from a state is found out once.  So a text is
 * followed at a table look-up a byte, as with a deterministic automaton that is made as it is needed
 * (Thompson, 1968), with stacks that share what is equal in them. Thread: one at a time.  Bounds:
 * machine_reset() forgets all states when the caller finds them too large. */
#ifndef LOQUAT_DECODE_GRAMMAR_MACHINE_H
#define LOQUAT_DECODE_GRAMMAR_MACHINE_H

#include "engine/decode/grammar_program.h"

struct config { /* one place */
    uint32_t node, count, frame;
};

struct frame { /* of the stack: where a rule's end goes on */
    uint32_t node, count, parent, depth;
};

struct machine_state {
    uint32_t first, n; /* configs: places that wait for a byte or a token, sorted */
    uint32_t mask;     /* the caller's; 0 at first */
    uint32_t plain;    /* of machine_plain(): state + 1; 0 where it is not known yet */
    bool accepts;      /* the text may end here */
};

enum { MACHINE_DEAD = 0, MACHINE_START = 1 }; /* states */

struct machine_set { /* open addressing; 0 is free */
    uint32_t *slots;
    uint32_t mask, n;
};

struct machine_seen {
    struct config config;
    uint32_t stamp;
};

struct machine {
    const struct program *program;
    struct frame *frames;
    struct machine_state *states;
    struct config *configs, *work, *found, *traced;
    uint32_t *moves; /* (states, byte classes) state + 1; 0 where it is not known yet */
    struct machine_seen *seen;
    uint32_t n_frames, cap_frames, n_states, cap_states, n_configs, cap_configs, n_moves, cap_moves;
    uint32_t n_work, cap_work, n_found, cap_found, n_traced, cap_traced, seen_mask, n_seen, stamp;
    struct machine_set frame_set, state_set;
    bool accepts;
    uint64_t work_left;     /* the caller sets it; at 0 the operation fails */
    enum error_kind failed; /* NONE, OUT_OF_MEMORY, or UNSUPPORTED: the work is used up */
};

/* p is borrowed.  -1 when memory is out. */
int machine_create(const struct program *p, struct machine **out, struct error *e);
void machine_free(struct machine *m);
size_t machine_bytes(const struct machine *m);
/* Forgets all states but the start. */
void machine_reset(struct machine *m);

/* The state behind a byte or a control token; MACHINE_DEAD where it can't come, and with `failed` set. */
uint32_t machine_step(struct machine *m, uint32_t state, uint8_t byte);
uint32_t machine_step_token(struct machine *m, uint32_t state, int32_t token);

/* The state behind a character where it is the same for every plain one (token_trie.h); else MACHINE_DEAD. */
uint32_t machine_plain(struct machine *m, uint32_t state);
/* No plain character may come. */
bool machine_takes_no_plain(struct machine *m, uint32_t state);

/* The same from the start on without keeping the states between: for a sequence whose state was forgotten.
 * False, or MACHINE_DEAD, when it fails or leads nowhere. */
bool machine_trace_begin(struct machine *m);
bool machine_trace(struct machine *m, uint8_t byte);
bool machine_trace_token(struct machine *m, int32_t token);
uint32_t machine_trace_end(struct machine *m);

/* Where the byte leads if that is known already: state + 1, or 0. */
static inline uint32_t machine_known(const struct machine *m, uint32_t state, uint8_t byte)
{
    return m->moves[(size_t)state * m->program->n_classes + m->program->byte_class[byte]];
}

#endif
