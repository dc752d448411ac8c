/* pickle.h - reads a Python pickle as plain data.  Nothing is imported, built or called: a name that the
 * caller does not list is an error, and calling a listed one is only written down, with its arguments. Called
 * by torch.c and torch_legacy.c; any thread, one pickle each. The language: Lib/pickletools.py of CPython;
 * accepted is what torch.save writes with protocols 2 to 5. */
#ifndef LOQUAT_FORMATS_PICKLE_H
#define LOQUAT_FORMATS_PICKLE_H

#include <stdbool.h>

#include "engine/base/arena.h"
#include "engine/base/bytes.h"

/* What a listed name may be used for. */
enum pickle_role {
    PICKLE_ROLE_DICT,   /* calling it gives a dict: collections.OrderedDict */
    PICKLE_ROLE_CALL,   /* the caller of pickle_read() understands it: PICKLE_CALL */
    PICKLE_ROLE_OPAQUE, /* of no interest to a reader of weights: PICKLE_OPAQUE, arguments dropped */
    PICKLE_ROLE_VALUE   /* stands for itself, like torch.float32 */
};

struct pickle_name {
    const char *module, *name;
    enum pickle_role role;
    int tag; /* the caller's */
};

enum pickle_kind {
    PICKLE_NOTHING, /* never a value */
    PICKLE_NONE,
    PICKLE_BOOL,    /* integer: 0 or 1 */
    PICKLE_INT,     /* integer */
    PICKLE_LONG,    /* an integer beyond 64 bits; text: its little-endian bytes */
    PICKLE_FLOAT,   /* real */
    PICKLE_TEXT,    /* text, len: may hold zero bytes, not always UTF-8 */
    PICKLE_BYTES,   /* text, len */
    PICKLE_TUPLE,   /* list */
    PICKLE_LIST,    /* list */
    PICKLE_DICT,    /* list: key, value, key, value; a key may come twice, then the later counts */
    PICKLE_NAME,    /* name */
    PICKLE_CALL,    /* call */
    PICKLE_STORAGE, /* call without a name: a persistent id, args is the id */
    PICKLE_OPAQUE
};

struct pickle_value {
    enum pickle_kind kind;
    uint32_t len;
    union {
        int64_t integer;
        double real;
        const char *text;
        struct pickle_list *list;
        const struct pickle_name *name;
        const struct pickle_call *call;
    };
};

struct pickle_list {
    struct pickle_value *items;
    size_t n, cap;
    bool seen; /* for whoever walks: values may be shared and may hold themselves */
};

struct pickle_call {
    const struct pickle_name *name;
    struct pickle_value args;
    uint64_t offset; /* of the opcode in the file */
};

struct pickle {
    struct pickle_value root;
    struct pickle_list storages; /* every persistent id, in the order of the file: PICKLE_STORAGE */
};

/* The pickle that starts where b stands and ends with its STOP, before byte `end` of the file.  Values and
 * texts live in the arena.  Time and memory grow with the bytes read, and nothing recurses. */
int pickle_read(struct bytes *b, uint64_t end, const struct pickle_name *names, size_t n_names,
                struct arena *arena, struct pickle *out, struct error *e);

/* The value of a text key, the last when it comes twice; NULL when absent or when d is not a dict. */
const struct pickle_value *pickle_get(const struct pickle_value *d, const char *key);
bool pickle_text_is(const struct pickle_value *v, const char *text);

#endif
