/* folder_weights.c - which files of a folder hold the weights, and all their tensors as one source.
 * Called by folder.c while a checkpoint is opened.  Names that transformers writes come first, in its order;
 * else the folder must hold exactly one file that can be weights, so that nothing is guessed.
 * An index names plain files of the same folder and says which tensor lies in which. */
#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "engine/base/log.h"
#include "engine/formats/config_json.h"
#include "engine/formats/folder.h"

enum { MAX_FILES = 4096, MAX_ENTRIES = 65536 };

bool folder_name_ok(const char *name)
{
    return *name && !strchr(name, '/') && strcmp(name, ".") != 0 && strcmp(name, "..") != 0;
}

/* ---- choosing -------------------------------------------------------------------------------- */

static bool is_file(const struct folder *f, const char *name)
{
    struct stat st;
    char *path = arena_printf(f->arena, "%s/%s", f->path, name);
    return path && stat(path, &st) == 0 && S_ISREG(st.st_mode);
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static int add_name(struct folder *f, const char *name, const char ***names, size_t *n, struct error *e)
{
    char *copy = arena_copy(f->arena, name, strlen(name));
    if (!copy)
        return error_no_memory(e);
    if ((*n & (*n - 1)) == 0) { /* full at every power of two */
        const char **grown = realloc(*names, (*n ? 2 * *n : 1) * sizeof(const char *));
        if (!grown)
            return error_no_memory(e);
        *names = grown;
    }
    (*names)[(*n)++] = copy;
    return 0;
}

int folder_list(struct folder *f, bool (*match)(const struct folder *f, const char *name), const char ***out,
                size_t *n, struct error *e)
{
    DIR *dir = opendir(f->path);
    struct dirent *entry;
    int status = 0;
    *out = NULL;
    *n = 0;
    if (!dir)
        return error_set(e, ERROR_FILE_ACCESS, "cannot list the folder: %s", strerror(errno));
    for (size_t seen = 0; status == 0 && (entry = readdir(dir)); seen++) {
        if (seen == MAX_ENTRIES)
            status = error_set(e, ERROR_FILE_ACCESS, "the folder has more than %d entries", MAX_ENTRIES);
        else if (entry->d_name[0] != '.' && match(f, entry->d_name))
            status = add_name(f, entry->d_name, out, n, e);
    }
    closedir(dir);
    if (status < 0) {
        free(*out);
        *out = NULL;
        return -1;
    }
    if (*n)
        qsort(*out, *n, sizeof(const char *), by_name);
    return 0;
}

/* What the file holds by its first bytes, or NULL. */
static const struct format *format_of(const struct folder *f, const char *name)
{
    char *path = arena_printf(f->arena, "%s/%s", f->path, name);
    return path ? format_of_content(path) : NULL;
}

/* Trainers leave their own state beside the weights, in the same formats. */
static bool is_state_of_trainer(const char *name)
{
    static const char *const others[] = {"training_args.bin", "optimizer.pt",    "optimizer.bin",
                                         "scheduler.pt",      "scheduler.bin",   "rng_state.pth",
                                         "scaler.pt",         "trainer_state.pt"};
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        if (strcmp(name, others[i]) == 0)
            return true;
    }
    return strncmp(name, "rng_state_", 10) == 0;
}

static bool can_be_weights(const struct folder *f, const char *name)
{
    if (!format_has_ending(name) || is_state_of_trainer(name) || !is_file(f, name))
        return false;
    const struct format *format = format_of(f, name);
    if (!format) { /* broken weights are weights too, but .bin alone means anything */
        format = format_of_ending(name);
        if (name_ends_with(name, ".bin") && format->dialect != DIALECT_MARIAN)
            return false;
    }
    return format->kind == FORMAT_CHECKPOINT || format->kind == FORMAT_TENSORS;
}

static bool is_shortlist(const struct folder *f, const char *name)
{
    if (!name_ends_with(name, ".bin") || !is_file(f, name))
        return false;
    const struct format *format = format_of(f, name);
    if (!format)
        format = format_of_ending(name);
    return format && format->kind == FORMAT_SHORTLIST;
}

static int error_ambiguous(const char *what, const char *const *names, size_t n, struct error *e)
{
    char list[320] = "";
    for (size_t i = 0; i < n && strlen(list) < sizeof list - 64; i++) {
        strncat(list, i ? ", " : "", sizeof list - strlen(list) - 1);
        strncat(list, names[i], sizeof list - strlen(list) - 1);
    }
    return error_set(e, ERROR_BAD_FORMAT, "the folder holds %zu files that could be %s; name one of them: %s",
                     n, what, list);
}

int folder_find_weights(struct folder *f, const char **out, struct error *e)
{
    static const char *const usual[] = {"model.safetensors", "model.safetensors.index.json",
                                        "pytorch_model.bin", "pytorch_model.bin.index.json"};
    *out = NULL;
    for (size_t i = 0; !*out && i < sizeof usual / sizeof usual[0]; i++) {
        if (is_file(f, usual[i]))
            *out = usual[i];
    }
    if (*out)
        return 0;
    const char **names;
    size_t n;
    TRY(folder_list(f, can_be_weights, &names, &n, e));
    int status = n > 1 ? error_ambiguous("the weights", names, n, e) : 0;
    if (n == 1)
        *out = names[0];
    free(names);
    return status;
}

/* ---- opening --------------------------------------------------------------------------------- */

static int reserve_file(struct folder *f, struct error *e)
{
    if (f->n_files < f->max_files)
        return 0;
    size_t max = f->max_files ? 2 * f->max_files : 8;
    if (max > MAX_FILES)
        return error_set(e, ERROR_BAD_FORMAT, "the weights are in more than %d files", MAX_FILES / 2);
    struct tensor_file **files = realloc(f->files, max * sizeof *files);
    if (files)
        f->files = files;
    const char **names = realloc(f->file_names, max * sizeof *names);
    if (names)
        f->file_names = names;
    if (!files || !names)
        return error_no_memory(e);
    f->max_files = max;
    return 0;
}

static int open_known(struct folder *f, const char *name, const struct format *format, struct bytes *b,
                      struct error *e)
{
    json_t *config = NULL;
    if (format->kind == FORMAT_CHECKPOINT && f->n_files == 0 && !f->whole)
        return format->open_take(b, &f->whole, e);
    if (!format->open_tensors_take || (f->format && f->format->kind == format->kind && f->format != format)) {
        bytes_close(b);
        return error_set(e, ERROR_BAD_FORMAT, "a %s file can't be a part of these weights", format->name);
    }
    TRY(format->open_tensors_take(b, &f->files[f->n_files], &config, e));
    f->file_names[f->n_files++] = name;
    if (!f->format)
        f->format = format;
    if (config) {
        f->file_config = config;
        return folder_keep(f, config, e);
    }
    return 0;
}

static int open_file(struct folder *f, const char *name, struct error *e)
{
    const struct format *format = NULL;
    struct bytes *b = NULL;
    TRY(reserve_file(f, e));
    char *path = arena_printf(f->arena, "%s/%s", f->path, name);
    if (!path)
        return error_no_memory(e);
    int status = format_open(path, &format, &b, e);
    if (status == 0)
        status = open_known(f, name, format, b, e);
    bool said = f->opened && strcmp(f->opened, name) == 0; /* the path in front of the message ends with it */
    return status < 0 && !said ? error_prefix(e, "%s", name) : status;
}

/* The one shortlist of the folder, if there is any. */
static int open_shortlist(struct folder *f, struct error *e)
{
    const char **names;
    size_t n;
    TRY(folder_list(f, is_shortlist, &names, &n, e));
    int status = 0;
    if (n > 1)
        status = error_ambiguous("the shortlist", names, n, e);
    else if (n == 1)
        status = open_file(f, names[0], e);
    free(names);
    return status;
}

static int check_index(const char *name, const json_t *index, struct error *e)
{
    const char *tensor;
    json_t *file;
    if (!json_is_object(index) || json_object_size(index) == 0)
        return error_set(e, ERROR_BAD_FORMAT, "%s: weight_map is missing, empty or no object", name);
    json_object_foreach((json_t *)(uintptr_t)index, tensor, file)
    {
        if (!json_is_string(file) || !folder_name_ok(json_string_value(file)))
            return error_set(
                e, ERROR_BAD_FORMAT,
                "%s: weight_map gives \"%.100s\" a place that is not the name of a file here: %.100s", name,
                tensor, json_is_string(file) ? json_string_value(file) : "(no text)");
    }
    return 0;
}

/* Every file that the map names, once, in the order of the map. */
static int open_shards(struct folder *f, const json_t *index, struct error *e)
{
    const char *tensor;
    json_t *file;
    struct string_table seen = {0};
    int status = string_table_init(&seen, json_object_size(index), e);
    json_object_foreach((json_t *)(uintptr_t)index, tensor, file)
    {
        const char *name = json_string_value(file);
        if (status < 0 || string_table_add(&seen, name, strlen(name), 0) >= 0)
            continue;
        status = open_file(f, name, e);
    }
    string_table_free(&seen);
    return status;
}

static int open_index(struct folder *f, const char *name, struct error *e)
{
    json_t *root;
    TRY(config_json_read(f->path, name, &root, e));
    if (!root)
        return error_set(e, ERROR_FILE_ACCESS, "%s: there is no such file", name);
    TRY(folder_keep(f, root, e));
    const json_t *index = json_object_get(root, "weight_map");
    TRY(check_index(name, index, e));
    TRY(open_shards(f, index, e));
    return folder_join_tensors(f, index, e);
}

int folder_open_weights(struct folder *f, const char *name, struct error *e)
{
    if (name_ends_with(name, ".index.json"))
        return open_index(f, name, e);
    TRY(open_file(f, name, e));
    if (f->whole)
        return 0;
    if (f->format->dialect == DIALECT_MARIAN)
        TRY(open_shortlist(f, e));
    return folder_join_tensors(f, NULL, e);
}

/* ---- one source ------------------------------------------------------------------------------ */

static const struct folder *folder_of(const struct tensor_source *s)
{
    return (const struct folder *)((const char *)s - offsetof(struct folder, source));
}

static const struct tensor_info *find_tensor(const struct tensor_source *s, const char *name)
{
    int32_t i = string_table_find(&folder_of(s)->names, name, strlen(name));
    return i < 0 ? NULL : &s->tensors[i];
}

static int read_tensor(const struct tensor_source *s, const struct tensor_info *t, uint64_t offset, void *dst,
                       size_t n, struct error *e)
{
    const struct folder_tensor *at = &folder_of(s)->tensors[t->offset];
    return at->file->source->read(at->file->source, at->info, offset, dst, n, e);
}

/* A shard may hold more than the map takes from it. */
static bool is_taken(const json_t *index, const char *name, const char *file)
{
    const char *place = json_string_value(json_object_get(index, name));
    return !index || (place && strcmp(place, file) == 0);
}

static int join_file(struct folder *f, size_t file, const json_t *index, struct tensor_info *infos,
                     struct error *e)
{
    const struct tensor_source *s = f->files[file]->source;
    for (size_t i = 0; i < s->count; i++) {
        const struct tensor_info *t = &s->tensors[i];
        size_t n = f->source.count;
        if (!is_taken(index, t->name, f->file_names[file])) {
            log_debug("%s: tensor %s is not taken from here", f->file_names[file], t->name);
            continue;
        }
        if (string_table_add(&f->names, t->name, strlen(t->name), (int32_t)n) >= 0)
            return error_set(e, ERROR_BAD_FORMAT, "%s: the tensor %s is in another file too",
                             f->file_names[file], t->name);
        infos[n] = *t;
        infos[n].offset = n;
        f->tensors[n] = (struct folder_tensor){f->files[file], t};
        f->source.count++;
    }
    return 0;
}

static int check_complete(const struct folder *f, const json_t *index, struct error *e)
{
    const char *name;
    json_t *file;
    json_object_foreach((json_t *)(uintptr_t)index, name, file)
    {
        if (!find_tensor(&f->source, name))
            return error_set(e, ERROR_BAD_FORMAT, "%s: the tensor %.200s is not in it, as the index says",
                             json_string_value(file), name);
    }
    return 0;
}

int folder_join_tensors(struct folder *f, const json_t *index, struct error *e)
{
    size_t total = 0;
    for (size_t i = 0; i < f->n_files; i++)
        total += f->files[i]->source->count;
    if (total > LIMIT_TENSORS)
        return error_set(e, ERROR_BAD_FORMAT, "the files list %zu tensors; at most %d are accepted", total,
                         LIMIT_TENSORS);
    struct tensor_info *infos = arena_alloc(f->arena, total + 1, sizeof *infos);
    f->tensors = arena_alloc(f->arena, total + 1, sizeof *f->tensors);
    if (!infos || !f->tensors)
        return error_no_memory(e);
    TRY(string_table_init(&f->names, total + 1, e));
    f->source =
        (struct tensor_source){.count = 0, .tensors = infos, .find = find_tensor, .read = read_tensor};
    for (size_t i = 0; i < f->n_files; i++)
        TRY(join_file(f, i, index, infos, e));
    return index ? check_complete(f, index, e) : 0;
}
