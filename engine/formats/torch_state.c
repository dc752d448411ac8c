/* torch_state.c - finds the weights in what a checkpoint's pickle says: people save a state_dict alone or
 * inside a dictionary with the epoch, the optimizer's state and more.  Called by torch.c while a file is
 * opened. To know one more key under which people keep their weights: one line in `wrappers`. */
#include <string.h>

#include "engine/formats/torch.h"

enum { DEEPEST_DICT = 8, DEEPEST_WRAPPING = 4 };

static bool call_of(const struct pickle_value *v, struct torch_rebuild *out)
{
    if (v->kind != PICKLE_CALL || v->call->args.kind != PICKLE_TUPLE)
        return false;
    *out = (struct torch_rebuild){.name = v->call->name,
                                  .call = (enum torch_call)v->call->name->tag,
                                  .args = v->call->args.list,
                                  .offset = v->call->offset};
    return true;
}

/* _rebuild_from_type_v2(_rebuild_tensor_v2, torch.Tensor, (storage, …), {…}) is the call of its first
 * argument. */
static bool unwrap_type(struct torch_rebuild *r)
{
    if (r->args->n < 3 || r->args->items[0].kind != PICKLE_NAME || r->args->items[2].kind != PICKLE_TUPLE)
        return false;
    const struct pickle_name *function = r->args->items[0].name;
    if (function->role != PICKLE_ROLE_CALL)
        return false;
    *r = (struct torch_rebuild){.name = function,
                                .call = (enum torch_call)function->tag,
                                .args = r->args->items[2].list,
                                .offset = r->offset};
    return true;
}

bool torch_is_tensor(const struct pickle_value *v, struct torch_rebuild *out)
{
    if (!call_of(v, out))
        return false;
    for (int i = 0; i < DEEPEST_WRAPPING; i++) {
        if (out->call == TORCH_FROM_TYPE) {
            if (!unwrap_type(out))
                return false;
        } else if (out->call == TORCH_PARAMETER) {
            if (out->args->n == 0 || !call_of(&out->args->items[0], out))
                return false;
        } else {
            return true;
        }
    }
    return false;
}

/* Tensors of these are no weights. */
static bool is_bookkeeping(const struct pickle_value *key)
{
    static const char *const words[] = {"optim", "sched", "scaler", "rng", "_metadata"};
    if (key->kind != PICKLE_TEXT)
        return true;
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        if (memmem(key->text, key->len, words[i], strlen(words[i])))
            return true;
    }
    return false;
}

/* All tensors of a dict, and those that a training script would not leave beside its model. */
static void count_tensors(const struct pickle_list *dict, size_t *all, size_t *likely)
{
    struct torch_rebuild unused;
    *all = *likely = 0;
    for (size_t i = 0; i + 1 < dict->n; i += 2) {
        if (dict->items[i].kind != PICKLE_TEXT || !torch_is_tensor(&dict->items[i + 1], &unused))
            continue;
        ++*all;
        *likely += !is_bookkeeping(&dict->items[i]);
    }
}

struct search {
    const struct pickle_list *found;
    const char *key; /* where it was */
    struct error *e;
};

static int search_dict(struct search *s, const struct pickle_value *v, const char *key, int depth);

static int take_found(struct search *s, const struct pickle_list *dict, const char *key)
{
    if (s->found)
        return error_set(
            s->e, ERROR_BAD_FORMAT,
            "the file holds several groups of tensors, \"%.60s\" and \"%.60s\" among them; only one "
            "state_dict can be read",
            s->key, key);
    s->found = dict;
    s->key = key;
    return 0;
}

/* Under a key that says what it holds: the others are not looked at. */
static int search_wrappers(struct search *s, const struct pickle_value *v, int depth)
{
    static const char *const wrappers[] = {"model_state_dict", "state_dict", "model_state", "model", "net",
                                           "network",          "module",     "weights",     "params"};
    for (size_t i = 0; i < sizeof wrappers / sizeof wrappers[0] && !s->found; i++) {
        const struct pickle_value *inner = pickle_get(v, wrappers[i]);
        if (inner)
            TRY(search_dict(s, inner, wrappers[i], depth + 1));
    }
    return 0;
}

static int search_members(struct search *s, const struct pickle_value *v, int depth)
{
    for (size_t i = 0; i + 1 < v->list->n; i += 2) {
        const struct pickle_value *name = &v->list->items[i];
        if (!is_bookkeeping(name))
            TRY(search_dict(s, name + 1, name->text, depth + 1));
    }
    return 0;
}

/* Every dict once, however often it is mentioned.  A few tensors beside a larger group (the best loss, a
 * random state) are not the weights; a few inside a larger group (a module's extra state) are neither. */
static int search_dict(struct search *s, const struct pickle_value *v, const char *key, int depth)
{
    size_t all, likely, inner_all, inner_likely;
    if (v->kind != PICKLE_DICT || v->list->seen || depth > DEEPEST_DICT)
        return 0;
    v->list->seen = true;
    struct search inner = {.e = s->e};
    TRY(search_wrappers(&inner, v, depth));
    if (inner.found)
        return take_found(s, inner.found, key);
    TRY(search_members(&inner, v, depth));
    count_tensors(v->list, &all, &likely);
    if (inner.found) {
        count_tensors(inner.found, &inner_all, &inner_likely);
        return take_found(s, inner_all >= likely ? inner.found : v->list, key);
    }
    return all > 0 ? take_found(s, v->list, key) : 0;
}

int torch_find_state(const struct pickle_value *root, const struct pickle_list **out, struct error *e)
{
    struct search s = {.e = e};
    TRY(search_dict(&s, root, "", 0));
    *out = s.found;
    if (!s.found)
        return error_set(e, ERROR_BAD_FORMAT,
                         "the file holds no tensors by name; what can be read is a state_dict, alone or in a "
                         "dictionary");
    return 0;
}
