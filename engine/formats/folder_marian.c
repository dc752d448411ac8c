/* folder_marian.c - decoder options beside a Marian model: the *.yml that marian-decoder and Bergamot read.
 * Called by folder.c.  They join the options that the model's own file has (special:model.yml). */
#include <stdlib.h>

#include "engine/formats/config_json.h"
#include "engine/formats/folder.h"

static bool is_yaml(const struct folder *f, const char *name)
{
    (void)f;
    return name_ends_with(name, ".yml") || name_ends_with(name, ".yaml");
}

static int read_options(struct folder *f, const char *name, json_t *config, struct error *e)
{
    char *text;
    size_t len;
    json_t *options = NULL;
    TRY(config_text_read(f->path, name, f->arena, &text, &len, e));
    if (!text)
        return 0;
    if (marian_yaml_read(text, len, &options, e) < 0)
        return error_prefix(e, "%s", name);
    int status = json_object_update_missing(config, options);
    json_decref(options);
    return status < 0 ? error_no_memory(e) : 0;
}

int folder_read_marian_options(struct folder *f, json_t *config, struct error *e)
{
    const char **names;
    size_t n;
    TRY(folder_list(f, is_yaml, &names, &n, e));
    int status = n == 1 ? read_options(f, names[0], config, e) : 0;
    free(names);
    return status;
}
