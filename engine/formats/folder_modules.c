/* folder_modules.c - modules.json of sentence-transformers: which folder holds the transformer, and how its
 * hidden states become one vector.  Called by folder.c.  A module that would change the vector and that we
 * do not compute is refused, never skipped. */
#include <string.h>

#include "engine/base/json.h"
#include "engine/formats/config_json.h"
#include "engine/formats/folder.h"

static int put(json_t *object, const char *key, json_t *value, struct error *e)
{
    return json_object_set_new(object, key, value) < 0 ? error_no_memory(e) : 0;
}

/* Pooling/config.json: one mode that is true, or its name. */
static int read_mode(const json_t *config, const char *path, json_t *out, struct error *e)
{
    static const char *const modes[][2] = {{"pooling_mode_mean_tokens", "mean"},
                                           {"pooling_mode_cls_token", "cls"},
                                           {"pooling_mode_lasttoken", "last"},
                                           {"pooling_mode_max_tokens", "max"}};
    static const char mode_key[] = "pooling_mode";
    const char *found = NULL, *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)config, key, value)
    {
        if (strncmp(key, mode_key, sizeof mode_key - 1) != 0)
            continue;
        bool is_name = strcmp(key, mode_key) == 0 && json_is_string(value);
        if (!json_is_true(value) && !is_name)
            continue;
        const char *mode = NULL;
        for (size_t i = 0; i < sizeof modes / sizeof modes[0]; i++) {
            if (is_name ? strcmp(json_string_value(value), modes[i][1]) == 0 : strcmp(key, modes[i][0]) == 0)
                mode = modes[i][1];
        }
        if (is_name && strcmp(json_string_value(value), "lasttoken") == 0)
            mode = "last";
        if (!mode || (found && strcmp(found, mode) != 0))
            return error_set(e, ERROR_UNSUPPORTED,
                             "%s/config.json: %.60s is not supported%s (one of mean, cls, last, max is)",
                             path, is_name ? json_string_value(value) : key,
                             found ? " with another mode" : "");
        found = mode;
    }
    if (!found)
        return error_set(e, ERROR_BAD_FORMAT, "%s/config.json: no pooling mode is true", path);
    return put(out, "pooling", json_string(found), e);
}

static int read_pooling(struct folder *f, const char *root, const char *path, json_t *out, struct error *e)
{
    json_t *config;
    char *folder = arena_printf(f->arena, "%s/%s", root, path);
    if (!folder)
        return error_no_memory(e);
    if (config_json_read(folder, "config.json", &config, e) < 0)
        return error_prefix(e, "%s", path);
    if (!config)
        return error_set(e, ERROR_BAD_FORMAT, "%s/config.json is missing, which modules.json needs", path);
    int status = read_mode(config, path, out, e);
    json_decref(config);
    return status;
}

static int move_to(struct folder *f, const char *root, const char *path, struct error *e)
{
    f->path = *path ? arena_printf(f->arena, "%s/%s", root, path) : root;
    return f->path ? 0 : error_no_memory(e);
}

static int read_module(struct folder *f, const char *root, const json_t *module, json_t *out, struct error *e)
{
    const char *type = json_string_value(json_object_get(module, "type"));
    const char *path = json_string_value(json_object_get(module, "path"));
    if (!type || !path || (*path && !folder_name_ok(path)))
        return error_set(
            e, ERROR_BAD_FORMAT,
            "modules.json: a module has no type, or a path that is not the name of a folder here");
    const char *name = strrchr(type, '.') ? strrchr(type, '.') + 1 : type;
    if (strcmp(name, "Transformer") == 0)
        return move_to(f, root, path, e);
    if (strcmp(name, "Pooling") == 0)
        return read_pooling(f, root, path, out, e);
    if (strcmp(name, "Normalize") == 0)
        return put(out, "normalize", json_true(), e);
    return error_set(
        e, ERROR_UNSUPPORTED,
        "modules.json: modules of type %.60s are not supported (Transformer, Pooling, Normalize are)", name);
}

int folder_read_modules(struct folder *f, const json_t **pooling, struct error *e)
{
    json_t *modules, *out, *module;
    size_t i;
    const char *root = f->path;
    *pooling = NULL;
    TRY(config_json_read_any(root, "modules.json", &modules, e));
    if (!modules)
        return 0;
    TRY(folder_keep(f, modules, e));
    if (!json_is_array(modules))
        return error_set(e, ERROR_BAD_FORMAT, "modules.json: the root is not an array");
    TRY(folder_keep(f, out = json_object(), e));
    TRY(put(out, "normalize", json_false(), e));
    json_array_foreach(modules, i, module) TRY(read_module(f, root, module, out, e));
    if (json_object_get(out, "pooling"))
        *pooling = out;
    return 0;
}
