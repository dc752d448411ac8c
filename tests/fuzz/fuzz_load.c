/* fuzz_load.c - libFuzzer: checkpoints that are almost right, loaded whole and asked for a short job of each
 * of their abilities.  The input is no file but a list of changes: which of the checkpoints in the folder
 * LOQUAT_FUZZ_MODELS, and what becomes of its JSON values, its tensor shapes and its bytes.  So the changes
 * get past the parsers to what is behind them: translation of names and hyperparameters, families,
 * tokenizers, scheduler.  To add a change: a case in change_value() or change_file(). */
#include <dirent.h>
#include <jansson.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/base/log.h"
#include "engine/engine.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerInitialize(int *argc, char ***argv);

enum { MOST_MODELS = 256, MOST_FILES = 16 };

struct file {
    char name[128];
    char *data;
    size_t len;
};

struct checkpoint_files {
    struct file files[MOST_FILES];
    size_t n;
};

static struct checkpoint_files models[MOST_MODELS];
static size_t n_models;
static char folder[256];

static void require(bool condition)
{
    if (!condition)
        abort();
}

/* ---- the input as decisions; zeroes when it ends ------------------------------------------------- */

struct input {
    const uint8_t *data;
    size_t size, at;
};

static size_t take(struct input *in, size_t bytes, size_t below)
{
    size_t value = 0;
    for (size_t i = 0; i < bytes && in->at < in->size; i++)
        value = value << 8 | in->data[in->at++];
    return below ? value % below : 0;
}

/* ---- changes ------------------------------------------------------------------------------------- */

static json_t *odd_value(struct input *in)
{
    static const json_int_t numbers[] = {0,         1,         -1,          2,          3,
                                         5,         7,         8,           16,         33,
                                         INT32_MAX, INT32_MIN, 4294967295L, 4294967296, 65536,
                                         1 << 24,   1L << 40,  INT64_MAX,   INT64_MIN,  1L << 62};
    static const char *const texts[] = {"",         "gelu", "silu",    "relu",      "tanh",     "linear",
                                        "default",  "yarn", "llama3",  "F16",       "BF16",     "I64",
                                        "F64",      "BPE",  "Unigram", "WordPiece", "\xC3\xA9", "regression",
                                        "absolute", "none", "<s>"};
    static const double reals[] = {0.5, -0.5, 1e30, -1e30, 1e300, 1e-45, -0.0, 1.5};
    size_t n = sizeof numbers / sizeof numbers[0], m = sizeof texts / sizeof texts[0];
    size_t i = take(in, 1, n + m + 14);
    if (i < n)
        return json_integer(numbers[i]);
    if (i < n + m)
        return json_string(texts[i - n]);
    i -= n + m;
    return i < 8     ? json_real(reals[i])
           : i == 8  ? json_null()
           : i == 9  ? json_true()
           : i == 10 ? json_false()
           : i == 11 ? json_array()
           : i == 12 ? json_object()
                     : json_pack("[i, [s]]", 1, "a");
}

static void change_tree(struct input *in, json_t *at);

/* What takes the value's place; NULL: nothing does. */
static json_t *change_value(struct input *in, json_t *value)
{
    json_t *inner = json_is_string(value) ? json_loads(json_string_value(value), 0, NULL) : NULL;
    json_int_t number = json_integer_value(value);
    size_t how = take(in, 1, 8);
    if (inner && how > 0) { /* JSON in JSON, as in the metadata of safetensors */
        change_tree(in, inner);
        char *text = json_dumps(inner, JSON_COMPACT);
        json_t *changed = json_string(text);
        json_decref(inner);
        free(text);
        return changed;
    }
    json_decref(inner);
    if (how == 0)
        return NULL;
    if (json_is_integer(value) && how <= 5) {
        const uint64_t n = (uint64_t)number, others[] = {n + 1, n - 1, 2 * n, n / 2, 0 - n};
        return json_integer((json_int_t)others[how - 1]);
    }
    if (json_array_size(value) > 1 && how <= 3) {
        json_t *changed = json_deep_copy(value);
        json_t *first = json_incref(json_array_get(changed, 0));
        if (how == 1)
            json_array_append(changed, first);
        else if (how == 2)
            json_array_set(changed, 0, json_array_get(changed, 1)), json_array_set(changed, 1, first);
        else
            json_array_remove(changed, 0);
        json_decref(first);
        return changed;
    }
    return odd_value(in);
}

/* Changes one value of the tree. */
static void change_tree(struct input *in, json_t *at)
{
    for (int depth = 0; depth < 8; depth++) {
        const char *key = NULL;
        size_t n = json_is_array(at) ? json_array_size(at) : json_object_size(at);
        if (n == 0)
            return;
        size_t index = take(in, n > 255 ? 2 : 1, n);
        void *iterator = json_object_iter(at);
        for (size_t i = 0; json_is_object(at) && i < index; i++)
            iterator = json_object_iter_next(at, iterator);
        if (json_is_object(at))
            key = json_object_iter_key(iterator);
        json_t *child = key ? json_object_iter_value(iterator) : json_array_get(at, index);
        bool container = json_object_size(child) > 0 || json_array_size(child) > 0;
        if (container && take(in, 1, 8) != 7) {
            at = child;
            continue;
        }
        json_t *changed = change_value(in, child);
        if (key && changed)
            json_object_set_new(at, key, changed);
        else if (key)
            json_object_del(at, key);
        else if (changed)
            json_array_set_new(at, index, changed);
        else
            json_array_remove(at, index);
        return;
    }
}

/* data, len: JSON, made anew. */
static void change_json(struct input *in, char **data, size_t *len)
{
    json_t *root = json_loadb(*data, *len, JSON_ALLOW_NUL, NULL);
    if (!root)
        return;
    size_t n = 1 + take(in, 1, 3);
    for (size_t i = 0; i < n; i++)
        change_tree(in, root);
    free(*data);
    *data = json_dumps(root, JSON_COMPACT);
    require(*data);
    *len = strlen(*data);
    json_decref(root);
}

static void change_bytes(struct input *in, char *data, size_t *len)
{
    size_t n = 1 + take(in, 1, 8);
    if (take(in, 1, 16) == 0)
        *len = take(in, 3, *len + 1);
    for (size_t i = 0; i<n && * len> 0; i++) {
        size_t head = *len < 4096 ? *len : 4096;
        size_t at = take(in, 1, 4) ? take(in, 2, head) : take(in, 3, *len);
        data[at] = (char)take(in, 1, 256);
    }
}

/* Places the tensors one behind the other again; bytes they have then, 0 when their shapes are out of reason.
 */
static size_t place_tensors(json_t *header)
{
    enum { MOST = 4 << 20 };
    const char *name;
    json_t *entry, *dim;
    size_t at = 0, i;
    json_object_foreach(header, name, entry)
    {
        const char *dtype = json_string_value(json_object_get(entry, "dtype"));
        size_t bytes = !dtype                ? 0
                       : strstr(dtype, "64") ? 8
                       : strstr(dtype, "16") ? 2
                       : strstr(dtype, "32") ? 4
                                             : 1;
        json_array_foreach(json_object_get(entry, "shape"), i, dim)
        {
            json_int_t n = json_integer_value(dim);
            if (n < 0 || n > MOST || (bytes *= (size_t)n) > MOST)
                return 0;
        }
        if (strcmp(name, "__metadata__") != 0 && json_is_object(entry))
            json_object_set_new(entry, "data_offsets",
                                json_pack("[I, I]", (json_int_t)at, (json_int_t)(at + bytes)));
        at += bytes;
    }
    return at < 2 * MOST ? at : 0;
}

/* The header of a safetensors file; mostly the data fit it afterwards. */
static void change_header(struct input *in, char **data, size_t *len)
{
    uint64_t head;
    memcpy(&head, *data, sizeof head);
    size_t rest = *len - 8 - (size_t)head;
    const char *old = *data + 8 + head;
    json_t *header = json_loadb(*data + 8, (size_t)head, 0, NULL);
    for (size_t i = 1 + take(in, 1, 3); i > 0; i--)
        change_tree(in, header);
    size_t wanted = take(in, 1, 8) ? place_tensors(header) : 0;
    char *json = json_dumps(header, JSON_COMPACT);
    size_t n = strlen(json), kept = wanted ? wanted : rest;
    char *made = malloc(8 + n + kept);
    head = n;
    memcpy(made, &head, 8);
    memcpy(made + 8, json, n);
    for (size_t i = 0; i < kept; i++)
        made[8 + n + i] = old[i % rest];
    json_decref(header);
    free(json);
    free(*data);
    *data = made;
    *len = 8 + n + kept;
}

enum { MOST_NUMBERS = 512 };

/* Where a GGUF file's numbers lie: those of its metadata and each tensor's first dimension. */
static size_t find_numbers(const char *data, size_t len, size_t *places)
{
    static const uint8_t sizes[] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};
    size_t n = 0, at = 24;
    uint64_t keys, length, count;
    uint32_t type;
    memcpy(&keys, data + 16, 8);
    for (uint64_t i = 0; i < keys && at + 64 < len && n < MOST_NUMBERS; i++) {
        memcpy(&length, data + at, 8);
        memcpy(&type, data + at + 8 + length, 4);
        at += 12 + length;
        if (type < sizeof sizes && sizes[type]) {
            places[n++] = at;
            at += sizes[type];
        } else if (type == 8) {
            memcpy(&length, data + at, 8);
            at += 8 + length;
        } else {
            memcpy(&type, data + at, 4);
            memcpy(&count, data + at + 4, 8);
            for (at += 12; count > 0; count--) {
                memcpy(&length, data + at, 8);
                at += type == 8 ? 8 + length : sizes[type];
            }
        }
    }
    memcpy(&count, data + 8, 8);
    for (; count > 0 && at + 64 < len && n < MOST_NUMBERS; count--) { /* tensors */
        memcpy(&length, data + at, 8);
        memcpy(&type, data + at + 8 + length, 4);
        at += 12 + length;
        places[n++] = at; /* the first dimension */
        at += 8 * type + 12;
    }
    return n;
}

static void change_numbers(struct input *in, char *data, size_t len)
{
    static const uint32_t odd[] = {0,          1,          2,          3,          7,          33,
                                   0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0x3F000000, 0x7FC00000, 1 << 20};
    size_t places[MOST_NUMBERS], n = find_numbers(data, len, places);
    for (size_t i = 1 + take(in, 1, 3); i > 0 && n > 0; i--) {
        size_t place = places[take(in, 2, n)];
        memcpy(data + place, &odd[take(in, 1, sizeof odd / sizeof odd[0])], take(in, 1, 4) ? 4 : 1);
    }
}

static bool ends_with(const char *name, const char *ending)
{
    size_t n = strlen(name), m = strlen(ending);
    return n > m && strcmp(name + n - m, ending) == 0;
}

static void change_file(struct input *in, const struct file *file, char **data, size_t *len)
{
    bool raw = take(in, 1, 8) == 0;
    if (!raw && ends_with(file->name, ".json"))
        change_json(in, data, len);
    else if (!raw && ends_with(file->name, ".safetensors"))
        change_header(in, data, len);
    else if (!raw && ends_with(file->name, ".gguf"))
        change_numbers(in, *data, *len);
    else
        change_bytes(in, *data, len);
}

/* ---- files --------------------------------------------------------------------------------------- */

static void write_file(const char *name, const char *data, size_t len)
{
    char path[512];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *f = fopen(path, "wbe");
    require(f != NULL);
    require(len == 0 || fwrite(data, 1, len, f) == len);
    require(fclose(f) == 0);
}

static void put_model(struct input *in, const struct checkpoint_files *m)
{
    size_t changed[MOST_FILES] = {0}, n = 1 + take(in, 1, 3);
    for (size_t i = 0; i < n; i++)
        changed[take(in, 1, m->n)] = 1;
    for (size_t i = 0; i < m->n; i++) {
        size_t len = m->files[i].len;
        char *data = malloc(len + 1);
        memcpy(data, m->files[i].data, len);
        if (changed[i])
            change_file(in, &m->files[i], &data, &len);
        write_file(m->files[i].name, data, len);
        free(data);
    }
}

static void remove_model(const struct checkpoint_files *m)
{
    for (size_t i = 0; i < m->n; i++) {
        char path[512];
        snprintf(path, sizeof path, "%s/%s", folder, m->files[i].name);
        (void)unlink(path);
    }
}

static void read_one(const char *path, const char *name, struct checkpoint_files *m)
{
    FILE *f = fopen(path, "rbe");
    require(f && m->n < MOST_FILES);
    struct file *file = &m->files[m->n++];
    require(fseek(f, 0, SEEK_END) == 0);
    file->len = (size_t)ftell(f);
    rewind(f);
    file->data = malloc(file->len + 1);
    require(fread(file->data, 1, file->len, f) == file->len);
    snprintf(file->name, sizeof file->name, "%s", name);
    fclose(f);
}

static void read_model(const char *path)
{
    require(n_models < MOST_MODELS);
    struct checkpoint_files *m = &models[n_models++];
    struct dirent **entries;
    int n = scandir(path, &entries, NULL, alphasort);
    require(n >= 0);
    for (int i = 0; i < n; i++) {
        char name[512];
        snprintf(name, sizeof name, "%s/%.200s", path, entries[i]->d_name);
        if (entries[i]->d_name[0] != '.')
            read_one(name, entries[i]->d_name, m);
        free(entries[i]);
    }
    free(entries);
}

static void remove_folder(void)
{
    (void)rmdir(folder);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    const char *root = getenv("LOQUAT_FUZZ_MODELS");
    struct dirent **entries;
    (void)argc, (void)argv;
    require(root != NULL);
    int n = scandir(root, &entries, NULL, alphasort);
    require(n >= 0);
    for (int i = 0; i < n; i++) {
        char path[512];
        snprintf(path, sizeof path, "%s/%.200s", root, entries[i]->d_name);
        if (entries[i]->d_name[0] != '.')
            read_model(path);
        free(entries[i]);
    }
    free(entries);
    snprintf(folder, sizeof folder, "%s/fuzz-load-XXXXXX", getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp");
    require(mkdtemp(folder) && n_models > 0 && atexit(remove_folder) == 0);
    return 0;
}

/* ---- jobs ---------------------------------------------------------------------------------------- */

struct waiter {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool done;
};

static void on_event(void *user, const struct engine_event *event)
{
    struct waiter *w = user;
    if (event->kind != ENGINE_EVENT_FINAL)
        return;
    pthread_mutex_lock(&w->lock);
    w->done = true;
    pthread_cond_signal(&w->changed);
    pthread_mutex_unlock(&w->lock);
}

static void run_job(struct engine *engine, struct engine_job *job)
{
    struct waiter w = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, false};
    struct error e = {0};
    uint64_t id;
    job->on_event = on_event;
    job->user = &w;
    if (engine_submit_take(engine, job, &id, &e) < 0) {
        require(e.kind != ERROR_NONE);
        return;
    }
    pthread_mutex_lock(&w.lock);
    while (!w.done)
        pthread_cond_wait(&w.changed, &w.lock);
    pthread_mutex_unlock(&w.lock);
}

/* A job of that ability, but for what its text becomes. */
static struct engine_job make_job(struct input *in, struct engine_model *model, unsigned ability)
{
    static const enum engine_task tasks[ENGINE_ABILITIES] = {
        ENGINE_TASK_GENERATE, ENGINE_TASK_EMBED, ENGINE_TASK_CLASSIFY, ENGINE_TASK_TAG,
        ENGINE_TASK_ANSWER,   ENGINE_TASK_FILL,  ENGINE_TASK_GENERATE};
    static const uint32_t masked[] = {0};
    struct engine_job job = {.model = model, .choices = 1, .task = tasks[ability]};
    size_t context = engine_model_info(model)->context;
    engine_sampling_init(&job.sampling);
    if (job.task == ENGINE_TASK_GENERATE) {
        job.sampling.temperature = (float)take(in, 1, 2);
        job.max_tokens = context < 4 ? context : 4;
        job.beams = (struct engine_beams){.beams = (unsigned)take(in, 1, 4), .length_penalty = 1};
    }
    if (job.task == ENGINE_TASK_FILL) {
        job.masked = masked;
        job.n_masked = 1;
        job.top_logprobs = 5;
    }
    return job;
}

static void ask(struct input *in, struct engine *engine, struct engine_model *model, unsigned ability)
{
    static const char text[] = "the Cat sat, 12 times <s> on caf\xC3\xA9 \xE4\xB8\xAD!";
    struct engine_encoding encoding;
    struct engine_job job = make_job(in, model, ability);
    struct error e = {0};
    const char *pair = job.task == ENGINE_TASK_ANSWER || job.task == ENGINE_TASK_CLASSIFY ? text : NULL;
    if (engine_encode(engine_model_vocabulary(model), text, strlen(text), pair, pair ? strlen(pair) : 0,
                      ENGINE_ADD_SPECIAL | ENGINE_PARSE_SPECIAL, &encoding, &e) < 0) {
        require(e.kind != ERROR_NONE);
        return;
    }
    job.n_prompt = encoding.n;
    job.prompt = malloc((encoding.n + 1) * sizeof *job.prompt);
    memcpy(job.prompt, encoding.ids, encoding.n * sizeof *job.prompt);
    if (job.task != ENGINE_TASK_GENERATE)
        job.types = encoding.types;
    run_job(engine, &job);
    engine_encoding_free(&encoding);
}

static void load_and_ask(struct input *in)
{
    struct engine_options options;
    struct engine *engine;
    struct engine_model *model;
    struct error e = {0};
    const struct engine_model_options wish = {.context = take(in, 1, 4) ? 0 : 16};
    engine_options_init(&options);
    options.threads = 1;
    options.kv_memory = 8 << 20;
    require(engine_open(&options, &engine, &e) == 0);
    if (engine_load(engine, "m", folder, &wish, &model, &e) < 0) {
        require(e.kind != ERROR_NONE && e.text[0] && !strchr(e.text, '\n'));
    } else {
        unsigned abilities = engine_model_info(model)->abilities;
        for (unsigned i = 0; i < ENGINE_ABILITIES; i++) {
            if (abilities & 1u << i)
                ask(in, engine, model, i);
        }
    }
    engine_close(engine);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input in = {data, size, 0};
    const struct checkpoint_files *m = &models[take(&in, 1, n_models)];
    log_set_level(LOG_ERROR);
    put_model(&in, m);
    load_and_ask(&in);
    remove_model(m);
    return 0;
}
