/* pickle.c - see pickle.h.  An opcode is one function and one row of the table at the end; opcodes that
 * torch.save does not write have no function and are refused by name. */
#include "engine/formats/pickle.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/limits.h"
#include "engine/formats/tensor_directory.h"

enum { LONGEST_NAME = 200, HIGHEST_PROTOCOL = 5 };

struct machine {
    struct bytes *b;
    uint64_t start, end;
    uint64_t at; /* of the opcode under way, for errors */
    const struct pickle_name *names;
    size_t n_names;
    struct arena *arena;
    struct pickle_value *stack;
    size_t n_stack, cap_stack;
    size_t *marks; /* heights of the stack */
    size_t n_marks, cap_marks;
    struct pickle_value *memo; /* (cap_memo) PICKLE_NOTHING where never filled */
    size_t n_memo, cap_memo;
    uint64_t copied; /* pairs, from lists into dicts */
    struct pickle *out;
    struct error *e;
};

struct opcode {
    const char *name;
    int (*run)(struct machine *m);
};

/* ---- bytes ------------------------------------------------------------------------------------- */

static int need(const struct machine *m, uint64_t n)
{
    uint64_t here = bytes_offset(m->b);
    if (n <= m->end - here)
        return 0;
    return error_at(m->e, ERROR_BAD_FORMAT, m->at,
                    "the pickle needs %" PRIu64 " bytes more but only %" PRIu64 " are left of it", n,
                    m->end - here);
}

/* n bytes, little endian. */
static int number(struct machine *m, unsigned n, uint64_t *out)
{
    const void *p;
    TRY(need(m, n));
    TRY(bytes_take(m->b, n, &p, "the pickle", m->e));
    *out = 0;
    for (unsigned i = n; i-- > 0;)
        *out = *out << 8 | ((const uint8_t *)p)[i];
    return 0;
}

/* A copy in the arena, for the window moves on. */
static int text(struct machine *m, uint64_t n, const char **out)
{
    const void *p;
    TRY(need(m, n));
    TRY(bytes_take(m->b, n, &p, "a text of the pickle", m->e));
    *out = arena_copy(m->arena, p, (size_t)n);
    return *out ? 0 : error_no_memory(m->e);
}

static int bad_name(const struct machine *m)
{
    return error_at(m->e, ERROR_BAD_FORMAT, m->at, "a name in the pickle is not printable text");
}

static int line(struct machine *m, char out[LONGEST_NAME + 1])
{
    for (size_t n = 0; n <= LONGEST_NAME; n++) {
        uint64_t c;
        TRY(number(m, 1, &c));
        out[n] = (char)c;
        if (c == '\n') {
            out[n] = 0;
            return tensor_name_ok(out, n) ? 0 : bad_name(m);
        }
    }
    return error_at(m->e, ERROR_BAD_FORMAT, m->at, "a name in the pickle is longer than %d bytes",
                    LONGEST_NAME);
}

/* ---- stack and memo ---------------------------------------------------------------------------- */

/* Room for n things; what is new is zeroed. */
static int grow(struct machine *m, void **data, size_t *cap, size_t n, size_t size)
{
    size_t want = *cap ? *cap : 64;
    if (n <= *cap)
        return 0;
    while (want < n)
        want *= 2;
    void *grown = realloc(*data, want * size);
    if (!grown)
        return error_no_memory(m->e);
    memset((char *)grown + *cap * size, 0, (want - *cap) * size);
    *data = grown;
    *cap = want;
    return 0;
}

static int push(struct machine *m, struct pickle_value v)
{
    TRY(grow(m, (void **)&m->stack, &m->cap_stack, m->n_stack + 1, sizeof *m->stack));
    m->stack[m->n_stack++] = v;
    return 0;
}

static int push_kind(struct machine *m, enum pickle_kind kind, int64_t integer)
{
    return push(m, (struct pickle_value){.kind = kind, .integer = integer});
}

/* Values above the topmost mark. */
static size_t depth(const struct machine *m)
{
    return m->n_stack - (m->n_marks ? m->marks[m->n_marks - 1] : 0);
}

static int require(const struct machine *m, size_t n)
{
    if (depth(m) >= n)
        return 0;
    return error_at(m->e, ERROR_BAD_FORMAT, m->at, "the pickle takes %zu values from a stack of %zu", n,
                    depth(m));
}

static int pop(struct machine *m, struct pickle_value *out)
{
    TRY(require(m, 1));
    *out = m->stack[--m->n_stack];
    return 0;
}

/* The n values above the topmost mark, which is taken away; they stay readable until the next push. */
static int pop_mark(struct machine *m, struct pickle_value **items, size_t *n)
{
    if (m->n_marks == 0)
        return error_at(m->e, ERROR_BAD_FORMAT, m->at, "the pickle wants a mark that is not there");
    size_t height = m->marks[--m->n_marks];
    *n = m->n_stack - height;
    *items = m->stack + height;
    m->n_stack = height;
    return 0;
}

static int memo_put(struct machine *m, uint64_t index)
{
    TRY(require(m, 1));
    /* Writers number their memo from 0, and each entry takes two bytes at least. */
    if (index > bytes_offset(m->b) - m->start)
        return error_at(m->e, ERROR_BAD_FORMAT, m->at, "memo entry %" PRIu64 " is out of order", index);
    TRY(grow(m, (void **)&m->memo, &m->cap_memo, (size_t)index + 1, sizeof *m->memo));
    m->n_memo += m->memo[index].kind == PICKLE_NOTHING;
    m->memo[index] = m->stack[m->n_stack - 1];
    return 0;
}

static int memo_get(struct machine *m, uint64_t index)
{
    if (index >= m->cap_memo || m->memo[index].kind == PICKLE_NOTHING)
        return error_at(m->e, ERROR_BAD_FORMAT, m->at, "memo entry %" PRIu64 " was never filled", index);
    return push(m, m->memo[index]);
}

/* ---- lists and dicts --------------------------------------------------------------------------- */

static struct pickle_list *new_list(struct machine *m)
{
    struct pickle_list *list = arena_alloc(m->arena, 1, sizeof *list);
    if (!list)
        error_no_memory(m->e);
    return list;
}

static int extend(struct machine *m, struct pickle_list *list, const struct pickle_value *items, size_t n)
{
    if (n > list->cap - list->n) {
        size_t cap = list->cap * 2 > list->n + n ? list->cap * 2 : list->n + n;
        struct pickle_value *grown = arena_alloc(m->arena, cap, sizeof *grown);
        if (!grown)
            return error_no_memory(m->e);
        if (list->n)
            memcpy(grown, list->items, list->n * sizeof *grown);
        list->items = grown;
        list->cap = cap;
    }
    if (n)
        memcpy(list->items + list->n, items, n * sizeof *items);
    list->n += n;
    return 0;
}

static int push_list(struct machine *m, enum pickle_kind kind, const struct pickle_value *items, size_t n)
{
    struct pickle_list *list = new_list(m);
    if (!list || extend(m, list, items, n) < 0)
        return -1;
    return push(m, (struct pickle_value){.kind = kind, .list = list});
}

static int wrong_target(const struct machine *m, const char *what)
{
    return error_at(m->e, ERROR_BAD_FORMAT, m->at, "the pickle adds %s to something that is not one", what);
}

/* Into the list on top of the stack; what is opaque swallows everything. */
static int append_items(struct machine *m, const struct pickle_value *items, size_t n)
{
    TRY(require(m, 1));
    struct pickle_value *target = &m->stack[m->n_stack - 1];
    if (target->kind == PICKLE_OPAQUE)
        return 0;
    if (target->kind != PICKLE_LIST)
        return wrong_target(m, "items of a list");
    return extend(m, target->list, items, n);
}

static int set_items(struct machine *m, const struct pickle_value *items, size_t n)
{
    TRY(require(m, 1));
    struct pickle_value *target = &m->stack[m->n_stack - 1];
    if (n % 2 != 0)
        return error_at(m->e, ERROR_BAD_FORMAT, m->at, "the pickle has a key without a value");
    if (target->kind == PICKLE_OPAQUE)
        return 0;
    if (target->kind != PICKLE_DICT)
        return wrong_target(m, "items of a dict");
    return extend(m, target->list, items, n);
}

/* ---- names and calls --------------------------------------------------------------------------- */

static const struct pickle_name *find_name(const struct machine *m, const char *module, const char *name)
{
    for (size_t i = 0; i < m->n_names; i++) {
        if (strcmp(m->names[i].name, name) == 0 && strcmp(m->names[i].module, module) == 0)
            return &m->names[i];
    }
    return NULL;
}

static int push_name(struct machine *m, const char *module, const char *name)
{
    const struct pickle_name *found = find_name(m, module, name);
    if (!found)
        return error_at(
            m->e, ERROR_BAD_FORMAT, m->at,
            "the pickle asks for %.120s.%.120s, which is not among the data types that a checkpoint "
            "may hold",
            module, name);
    return push(m, (struct pickle_value){.kind = PICKLE_NAME, .name = found});
}

static int push_call(struct machine *m, enum pickle_kind kind, const struct pickle_name *name,
                     struct pickle_value args)
{
    struct pickle_call *call = arena_alloc(m->arena, 1, sizeof *call);
    if (!call)
        return error_no_memory(m->e);
    *call = (struct pickle_call){.name = name, .args = args, .offset = m->at};
    return push(m, (struct pickle_value){.kind = kind, .call = call});
}

/* Python 2 writes OrderedDict([[key, value], ...]); Python 3 an empty one and then its items. */
static int make_dict(struct machine *m, const struct pickle_value *args)
{
    TRY(push_list(m, PICKLE_DICT, NULL, 0));
    struct pickle_list *dict = m->stack[m->n_stack - 1].list;
    if (args->list->n == 0 || args->list->items[0].kind != PICKLE_LIST)
        return 0;
    const struct pickle_list *pairs = args->list->items[0].list;
    /* A writer uses a list of pairs once, and each pair takes bytes. */
    m->copied += pairs->n;
    if (m->copied > bytes_offset(m->b) - m->start)
        return error_at(m->e, ERROR_BAD_FORMAT, m->at, "the pickle makes dicts of one list again and again");
    for (size_t i = 0; i < pairs->n; i++) {
        const struct pickle_value *pair = &pairs->items[i];
        if ((pair->kind != PICKLE_LIST && pair->kind != PICKLE_TUPLE) || pair->list->n != 2)
            return error_at(m->e, ERROR_BAD_FORMAT, m->at, "the pickle makes a dict of what are not pairs");
        TRY(extend(m, dict, pair->list->items, 2));
    }
    return 0;
}

static int call_name(struct machine *m, const struct pickle_value *callee, struct pickle_value args)
{
    if (callee->kind == PICKLE_OPAQUE)
        return push_kind(m, PICKLE_OPAQUE, 0);
    if (callee->kind != PICKLE_NAME || callee->name->role == PICKLE_ROLE_VALUE)
        return error_at(m->e, ERROR_BAD_FORMAT, m->at, "the pickle calls something that cannot be called");
    if (args.kind != PICKLE_TUPLE)
        return error_at(m->e, ERROR_BAD_FORMAT, m->at, "the pickle calls %s.%s without a tuple of arguments",
                        callee->name->module, callee->name->name);
    switch (callee->name->role) {
    case PICKLE_ROLE_DICT:
        return make_dict(m, &args);
    case PICKLE_ROLE_CALL:
        return push_call(m, PICKLE_CALL, callee->name, args);
    default:
        return push_kind(m, PICKLE_OPAQUE, 0);
    }
}

/* ---- opcodes ----------------------------------------------------------------------------------- */

static int op_proto(struct machine *m)
{
    uint64_t version;
    TRY(number(m, 1, &version));
    if (version <= HIGHEST_PROTOCOL)
        return 0;
    return error_at(m->e, ERROR_BAD_FORMAT, m->at, "pickle protocol %" PRIu64 " is not supported", version);
}

static int op_frame(struct machine *m)
{
    uint64_t len;
    TRY(number(m, 8, &len));
    return need(m, len);
}

static int op_mark(struct machine *m)
{
    TRY(grow(m, (void **)&m->marks, &m->cap_marks, m->n_marks + 1, sizeof *m->marks));
    m->marks[m->n_marks++] = m->n_stack;
    return 0;
}

static int op_pop(struct machine *m)
{
    struct pickle_value dropped;
    if (depth(m) == 0 && m->n_marks > 0) {
        m->n_marks--;
        return 0;
    }
    return pop(m, &dropped);
}

static int op_pop_mark(struct machine *m)
{
    struct pickle_value *items = NULL;
    size_t n = 0;
    return pop_mark(m, &items, &n);
}

static int op_none(struct machine *m)
{
    return push_kind(m, PICKLE_NONE, 0);
}

static int op_true(struct machine *m)
{
    return push_kind(m, PICKLE_BOOL, 1);
}

static int op_false(struct machine *m)
{
    return push_kind(m, PICKLE_BOOL, 0);
}

static int push_unsigned(struct machine *m, unsigned bytes)
{
    uint64_t value;
    TRY(number(m, bytes, &value));
    return push_kind(m, PICKLE_INT, (int64_t)value);
}

static int op_binint(struct machine *m)
{
    uint64_t value;
    TRY(number(m, 4, &value));
    return push_kind(m, PICKLE_INT, (int32_t)(uint32_t)value);
}

static int op_binint1(struct machine *m)
{
    return push_unsigned(m, 1);
}

static int op_binint2(struct machine *m)
{
    return push_unsigned(m, 2);
}

/* n bytes, two's complement, little endian. */
static int push_long(struct machine *m, uint64_t n)
{
    uint64_t value = 0;
    if (n > 8) {
        struct pickle_value v = {.kind = PICKLE_LONG, .len = (uint32_t)n};
        if (n > LIMIT_TAKE)
            return error_at(m->e, ERROR_BAD_FORMAT, m->at, "an integer of %" PRIu64 " bytes", n);
        TRY(text(m, n, &v.text));
        return push(m, v);
    }
    TRY(number(m, (unsigned)n, &value));
    if (n > 0 && n < 8 && value >> (8 * n - 1) != 0)
        value |= UINT64_MAX << (8 * n);
    return push_kind(m, PICKLE_INT, (int64_t)value);
}

static int op_long1(struct machine *m)
{
    uint64_t n;
    TRY(number(m, 1, &n));
    return push_long(m, n);
}

static int op_long4(struct machine *m)
{
    uint64_t n;
    TRY(number(m, 4, &n));
    return push_long(m, n);
}

static int op_binfloat(struct machine *m)
{
    struct pickle_value v = {.kind = PICKLE_FLOAT};
    uint64_t bits;
    TRY(number(m, 8, &bits));
    bits = __builtin_bswap64(bits);
    memcpy(&v.real, &bits, sizeof v.real);
    return push(m, v);
}

static int push_text(struct machine *m, unsigned length_bytes, enum pickle_kind kind)
{
    struct pickle_value v = {.kind = kind};
    uint64_t n;
    TRY(number(m, length_bytes, &n));
    TRY(text(m, n, &v.text)); /* no more than LIMIT_TAKE */
    v.len = (uint32_t)n;
    return push(m, v);
}

static int op_text1(struct machine *m)
{
    return push_text(m, 1, PICKLE_TEXT);
}

static int op_text4(struct machine *m)
{
    return push_text(m, 4, PICKLE_TEXT);
}

static int op_text8(struct machine *m)
{
    return push_text(m, 8, PICKLE_TEXT);
}

static int op_bytes1(struct machine *m)
{
    return push_text(m, 1, PICKLE_BYTES);
}

static int op_bytes4(struct machine *m)
{
    return push_text(m, 4, PICKLE_BYTES);
}

static int op_bytes8(struct machine *m)
{
    return push_text(m, 8, PICKLE_BYTES);
}

static int op_empty_list(struct machine *m)
{
    return push_list(m, PICKLE_LIST, NULL, 0);
}

static int op_empty_dict(struct machine *m)
{
    return push_list(m, PICKLE_DICT, NULL, 0);
}

static int op_empty_tuple(struct machine *m)
{
    return push_list(m, PICKLE_TUPLE, NULL, 0);
}

static int op_empty_set(struct machine *m)
{
    return push_kind(m, PICKLE_OPAQUE, 0);
}

static int op_append(struct machine *m)
{
    struct pickle_value item;
    TRY(pop(m, &item));
    return append_items(m, &item, 1);
}

static int op_appends(struct machine *m)
{
    struct pickle_value *items = NULL;
    size_t n = 0;
    TRY(pop_mark(m, &items, &n));
    return append_items(m, items, n);
}

static int op_additems(struct machine *m)
{
    TRY(op_pop_mark(m));
    TRY(require(m, 1));
    return m->stack[m->n_stack - 1].kind == PICKLE_OPAQUE ? 0 : wrong_target(m, "items of a set");
}

static int op_frozenset(struct machine *m)
{
    TRY(op_pop_mark(m));
    return push_kind(m, PICKLE_OPAQUE, 0);
}

static int op_setitem(struct machine *m)
{
    struct pickle_value pair[2];
    TRY(require(m, 3));
    TRY(pop(m, &pair[1]));
    TRY(pop(m, &pair[0]));
    return set_items(m, pair, 2);
}

static int op_setitems(struct machine *m)
{
    struct pickle_value *items = NULL;
    size_t n = 0;
    TRY(pop_mark(m, &items, &n));
    return set_items(m, items, n);
}

static int op_tuple(struct machine *m)
{
    struct pickle_value *items = NULL;
    size_t n = 0;
    TRY(pop_mark(m, &items, &n));
    return push_list(m, PICKLE_TUPLE, items, n);
}

static int short_tuple(struct machine *m, size_t n)
{
    TRY(require(m, n));
    m->n_stack -= n;
    return push_list(m, PICKLE_TUPLE, m->stack + m->n_stack, n);
}

static int op_tuple1(struct machine *m)
{
    return short_tuple(m, 1);
}

static int op_tuple2(struct machine *m)
{
    return short_tuple(m, 2);
}

static int op_tuple3(struct machine *m)
{
    return short_tuple(m, 3);
}

static int put_numbered(struct machine *m, unsigned bytes)
{
    uint64_t index;
    TRY(number(m, bytes, &index));
    return memo_put(m, index);
}

static int get_numbered(struct machine *m, unsigned bytes)
{
    uint64_t index;
    TRY(number(m, bytes, &index));
    return memo_get(m, index);
}

static int op_binput(struct machine *m)
{
    return put_numbered(m, 1);
}

static int op_long_binput(struct machine *m)
{
    return put_numbered(m, 4);
}

static int op_memoize(struct machine *m)
{
    return memo_put(m, m->n_memo);
}

static int op_binget(struct machine *m)
{
    return get_numbered(m, 1);
}

static int op_long_binget(struct machine *m)
{
    return get_numbered(m, 4);
}

static int op_global(struct machine *m)
{
    char module[LONGEST_NAME + 1], name[LONGEST_NAME + 1];
    TRY(line(m, module));
    TRY(line(m, name));
    return push_name(m, module, name);
}

static int op_stack_global(struct machine *m)
{
    struct pickle_value module, name;
    TRY(pop(m, &name));
    TRY(pop(m, &module));
    if (module.kind != PICKLE_TEXT || name.kind != PICKLE_TEXT || !tensor_name_ok(module.text, module.len) ||
        !tensor_name_ok(name.text, name.len))
        return bad_name(m);
    return push_name(m, module.text, name.text);
}

/* REDUCE and NEWOBJ: what to call, its arguments. */
static int op_call(struct machine *m)
{
    struct pickle_value callee, args;
    TRY(pop(m, &args));
    TRY(pop(m, &callee));
    return call_name(m, &callee, args);
}

static int op_newobj_ex(struct machine *m)
{
    struct pickle_value named;
    TRY(pop(m, &named));
    return op_call(m);
}

/* Attributes of an object: of no interest, for weights have none. */
static int op_build(struct machine *m)
{
    struct pickle_value state;
    TRY(pop(m, &state));
    TRY(require(m, 1));
    enum pickle_kind kind = m->stack[m->n_stack - 1].kind;
    if (kind == PICKLE_DICT || kind == PICKLE_OPAQUE || kind == PICKLE_CALL)
        return 0;
    return wrong_target(m, "attributes of an object");
}

static int op_binpersid(struct machine *m)
{
    struct pickle_value id;
    TRY(pop(m, &id));
    TRY(push_call(m, PICKLE_STORAGE, NULL, id));
    return extend(m, &m->out->storages, &m->stack[m->n_stack - 1], 1);
}

enum { STOP = '.' };

static const struct opcode opcodes[256] = {
    ['('] = {"MARK", op_mark},
    [')'] = {"EMPTY_TUPLE", op_empty_tuple},
    [STOP] = {"STOP", NULL},
    ['0'] = {"POP", op_pop},
    ['1'] = {"POP_MARK", op_pop_mark},
    ['2'] = {"DUP", NULL},
    ['B'] = {"BINBYTES", op_bytes4},
    ['C'] = {"SHORT_BINBYTES", op_bytes1},
    ['F'] = {"FLOAT", NULL},
    ['G'] = {"BINFLOAT", op_binfloat},
    ['I'] = {"INT", NULL},
    ['J'] = {"BININT", op_binint},
    ['K'] = {"BININT1", op_binint1},
    ['L'] = {"LONG", NULL},
    ['M'] = {"BININT2", op_binint2},
    ['N'] = {"NONE", op_none},
    ['P'] = {"PERSID", NULL},
    ['Q'] = {"BINPERSID", op_binpersid},
    ['R'] = {"REDUCE", op_call},
    ['S'] = {"STRING", NULL},
    ['T'] = {"BINSTRING", op_text4},
    ['U'] = {"SHORT_BINSTRING", op_text1},
    ['V'] = {"UNICODE", NULL},
    ['X'] = {"BINUNICODE", op_text4},
    [']'] = {"EMPTY_LIST", op_empty_list},
    ['a'] = {"APPEND", op_append},
    ['b'] = {"BUILD", op_build},
    ['c'] = {"GLOBAL", op_global},
    ['d'] = {"DICT", NULL},
    ['e'] = {"APPENDS", op_appends},
    ['g'] = {"GET", NULL},
    ['h'] = {"BINGET", op_binget},
    ['i'] = {"INST", NULL},
    ['j'] = {"LONG_BINGET", op_long_binget},
    ['l'] = {"LIST", NULL},
    ['o'] = {"OBJ", NULL},
    ['p'] = {"PUT", NULL},
    ['q'] = {"BINPUT", op_binput},
    ['r'] = {"LONG_BINPUT", op_long_binput},
    ['s'] = {"SETITEM", op_setitem},
    ['t'] = {"TUPLE", op_tuple},
    ['u'] = {"SETITEMS", op_setitems},
    ['}'] = {"EMPTY_DICT", op_empty_dict},
    [0x80] = {"PROTO", op_proto},
    [0x81] = {"NEWOBJ", op_call},
    [0x82] = {"EXT1", NULL},
    [0x83] = {"EXT2", NULL},
    [0x84] = {"EXT4", NULL},
    [0x85] = {"TUPLE1", op_tuple1},
    [0x86] = {"TUPLE2", op_tuple2},
    [0x87] = {"TUPLE3", op_tuple3},
    [0x88] = {"NEWTRUE", op_true},
    [0x89] = {"NEWFALSE", op_false},
    [0x8a] = {"LONG1", op_long1},
    [0x8b] = {"LONG4", op_long4},
    [0x8c] = {"SHORT_BINUNICODE", op_text1},
    [0x8d] = {"BINUNICODE8", op_text8},
    [0x8e] = {"BINBYTES8", op_bytes8},
    [0x8f] = {"EMPTY_SET", op_empty_set},
    [0x90] = {"ADDITEMS", op_additems},
    [0x91] = {"FROZENSET", op_frozenset},
    [0x92] = {"NEWOBJ_EX", op_newobj_ex},
    [0x93] = {"STACK_GLOBAL", op_stack_global},
    [0x94] = {"MEMOIZE", op_memoize},
    [0x95] = {"FRAME", op_frame},
    [0x96] = {"BYTEARRAY8", op_bytes8},
    [0x97] = {"NEXT_BUFFER", NULL},
    [0x98] = {"READONLY_BUFFER", NULL},
};

static int refuse(const struct machine *m, unsigned code)
{
    if (opcodes[code].name)
        return error_at(m->e, ERROR_BAD_FORMAT, m->at, "the pickle uses %s, which torch.save does not write",
                        opcodes[code].name);
    return error_at(m->e, ERROR_BAD_FORMAT, m->at, "0x%02x is not a pickle opcode", code);
}

static int run(struct machine *m)
{
    TRY(grow(m, (void **)&m->stack, &m->cap_stack, 1, sizeof *m->stack)); /* never NULL from here on */
    for (;;) {
        uint64_t code;
        m->at = bytes_offset(m->b);
        if (m->at == m->end)
            return error_at(m->e, ERROR_BAD_FORMAT, m->at, "the pickle ends without STOP");
        TRY(number(m, 1, &code));
        if (code == STOP)
            return pop(m, &m->out->root);
        if (!opcodes[code].run)
            return refuse(m, (unsigned)code);
        TRY(opcodes[code].run(m));
    }
}

int pickle_read(struct bytes *b, uint64_t end, const struct pickle_name *names, size_t n_names,
                struct arena *arena, struct pickle *out, struct error *e)
{
    memset(out, 0, sizeof *out);
    struct machine m = {
        .b = b,
        .start = bytes_offset(b),
        .end = end,
        .names = names,
        .n_names = n_names,
        .arena = arena,
        .out = out,
        .e = e,
    };
    int status = run(&m);
    free(m.stack);
    free(m.marks);
    free(m.memo);
    return status;
}

const struct pickle_value *pickle_get(const struct pickle_value *d, const char *key)
{
    if (d->kind != PICKLE_DICT)
        return NULL;
    for (size_t i = d->list->n; i >= 2; i -= 2) {
        if (pickle_text_is(&d->list->items[i - 2], key))
            return &d->list->items[i - 1];
    }
    return NULL;
}

bool pickle_text_is(const struct pickle_value *v, const char *text)
{
    size_t len = strlen(text);
    return v->kind == PICKLE_TEXT && v->len == len && memcmp(v->text, text, len) == 0;
}
