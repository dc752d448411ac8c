/* folder_languages.c - which pair of languages a translator's folder says that it knows.
 * Called by folder.c.  In this order: source_lang and target_lang of tokenizer_config.json (OPUS-MT),
 * shortName of model_info.json and the letters in vocab.enpt.spm (Bergamot). */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "engine/formats/config_json.h"
#include "engine/formats/folder.h"

/* Two codes of `len` letters each that begin at `from` and `to`. */
static int keep_pair(struct folder *f, const char *from, size_t from_len, const char *to, size_t to_len,
                     struct error *e)
{
    f->checkpoint.source_language = arena_copy(f->arena, from, from_len);
    f->checkpoint.target_language = arena_copy(f->arena, to, to_len);
    return f->checkpoint.source_language && f->checkpoint.target_language ? 0 : error_no_memory(e);
}

static size_t letters(const char *text)
{
    size_t n = 0;
    while (islower((unsigned char)text[n]))
        n++;
    return n;
}

static int read_tokenizer_config(struct folder *f, struct error *e)
{
    json_t *config = NULL;
    TRY(config_json_read(f->path, "tokenizer_config.json", &config, e));
    const char *from = json_string_value(json_object_get(config, "source_lang"));
    const char *to = json_string_value(json_object_get(config, "target_lang"));
    int status = from && to ? keep_pair(f, from, strlen(from), to, strlen(to), e) : 0;
    json_decref(config);
    return status;
}

/* "en-pt-tiny" */
static int read_model_info(struct folder *f, struct error *e)
{
    json_t *info = NULL;
    TRY(config_json_read(f->path, "model_info.json", &info, e));
    const char *name = json_string_value(json_object_get(info, "shortName"));
    size_t first = name ? letters(name) : 0, second = 0;
    if (first >= 2 && first <= 3 && name[first] == '-')
        second = letters(name + first + 1);
    int status = second >= 2 && second <= 3 ? keep_pair(f, name, first, name + first + 1, second, e) : 0;
    json_decref(info);
    return status;
}

static bool names_pair(const struct folder *f, const char *name)
{
    (void)f;
    return strncmp(name, "vocab.", 6) == 0 && letters(name + 6) == 4 && strcmp(name + 10, ".spm") == 0;
}

static int read_file_names(struct folder *f, struct error *e)
{
    const char **names;
    size_t n;
    TRY(folder_list(f, names_pair, &names, &n, e));
    int status = n == 1 ? keep_pair(f, names[0] + 6, 2, names[0] + 8, 2, e) : 0;
    free(names);
    return status;
}

int folder_read_languages(struct folder *f, struct error *e)
{
    TRY(read_tokenizer_config(f, e));
    if (!f->checkpoint.source_language)
        TRY(read_model_info(f, e));
    return f->checkpoint.source_language ? 0 : read_file_names(f, e);
}
