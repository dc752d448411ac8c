/* hostile_table.h - folders of broken files under tests/hostile, and what reading each must say: a file
 * `expect` with lines `NAME accept` or `NAME refuse WORDS`, made by the script beside the folder.  And bytes
 * that are cut or changed at every place. */
#ifndef LOQUAT_TESTS_HOSTILE_TABLE_H
#define LOQUAT_TESTS_HOSTILE_TABLE_H

#include <dirent.h>

#include "tests/unit/vocabulary.h"

/* Opens the bytes, looks at everything they claim, closes; name as in the table. */
typedef int (*hostile_opener)(struct bytes *b, const char *name, struct error *e);

static inline int hostile_open_memory(hostile_opener open, const void *data, size_t len, const char *name,
                                      struct error *e)
{
    struct bytes *b = NULL;
    char *copy = malloc(len ? len : 1); /* its own block, so that a read past the end shows */
    memcpy(copy, data, len);
    ck_assert_int_eq(bytes_open_memory(copy, len, &b, e), 0);
    int status = open(b, name, e);
    free(copy);
    return status;
}

static inline void hostile_check(hostile_opener open, const char *path, const char *name, bool accepted,
                                 const char *words)
{
    struct error e = {0};
    struct bytes *b = NULL;
    ck_assert_msg(bytes_open_file(path, &b, &e) == 0, "%s: %s", path, e.text);
    int status = open(b, name, &e);
    if (accepted) {
        ck_assert_msg(status == 0, "%s: %s", path, e.text);
        return;
    }
    ck_assert_msg(status == -1, "%s was accepted", path);
    ck_assert_int_ne(e.kind, ERROR_NONE);
    ck_assert_msg(strstr(e.text, words) != NULL, "%s: %s\nshould hold: %s", path, e.text, words);
    ck_assert_ptr_null(strchr(e.text, '\n'));
}

/* FOLDER/expect; at least that many lines. */
static inline void hostile_run_table(hostile_opener open, const char *folder, size_t least)
{
    char path[1024];
    size_t len, n = 0;
    snprintf(path, sizeof path, "%s/expect", folder);
    char *table = read_file(path, &len);
    for (char *line = table, *end; (end = strchr(line, '\n')) != NULL; line = end + 1, n++) {
        char *name_end = strchr(line, ' ');
        *end = 0;
        ck_assert_ptr_nonnull(name_end);
        *name_end = 0;
        snprintf(path, sizeof path, "%s/%s", folder, line);
        bool accepted = strcmp(name_end + 1, "accept") == 0;
        hostile_check(open, path, line, accepted, accepted ? "" : name_end + 1 + strlen("refuse "));
    }
    ck_assert_uint_ge(n, least);
    free(table);
}

/* All files of a folder of the reference data; those that `fine` names may be accepted, the others not. */
static inline void hostile_run_published(hostile_opener open, const char *kind, const char *fine,
                                         size_t least)
{
    char dir[1024], path[2048];
    size_t n = 0;
    if (skip_without("LOQUAT_CONFORMANCE", "the collected hostile files"))
        return;
    snprintf(dir, sizeof dir, "%s/models/hostile/%s", getenv("LOQUAT_CONFORMANCE"), kind);
    DIR *d = opendir(dir);
    ck_assert_ptr_nonnull(d);
    for (struct dirent *entry = readdir(d); entry; entry = readdir(d)) {
        if (entry->d_name[0] == '.')
            continue;
        snprintf(path, sizeof path, "%s/%s", dir, entry->d_name);
        hostile_check(open, path, entry->d_name, strcmp(entry->d_name, fine) == 0, "");
        n++;
    }
    closedir(d);
    ck_assert_uint_ge(n, least);
}

/* Cut at every byte, it must be refused; with any byte changed, no harm is done. */
static inline void hostile_cut(hostile_opener open, const char *path, const char *name)
{
    size_t len;
    char *data = read_file(path, &len);
    for (size_t cut = 0; cut < len; cut++) {
        struct error e = {0};
        ck_assert_msg(hostile_open_memory(open, data, cut, name, &e) == -1, "%s cut at %zu", path, cut);
        ck_assert_int_ne(e.kind, ERROR_NONE);
    }
    free(data);
}

static inline void hostile_flip(hostile_opener open, const char *path, const char *name)
{
    static const unsigned char masks[] = {0x01, 0x80, 0xFF, 0x55};
    size_t len;
    char *data = read_file(path, &len);
    for (size_t i = 0; i < len * sizeof masks; i++) {
        struct error e = {0};
        char *at = &data[i / sizeof masks], before = *at;
        *at = (char)(*at ^ masks[i % sizeof masks]);
        if (hostile_open_memory(open, data, len, name, &e) < 0)
            ck_assert_int_ne(e.kind, ERROR_NONE);
        *at = before;
    }
    free(data);
}

/* Every tensor is found by its name and lies in the file, no byte more. */
static inline void look_at_tensors(const struct tensor_source *s)
{
    for (size_t i = 0; i < s->count; i++) {
        const struct tensor_info *t = &s->tensors[i];
        struct error e = {0};
        char byte;
        ck_assert_ptr_eq(s->find(s, t->name), t);
        ck_assert_msg(s->read(s, t, t->bytes - 1, &byte, 1, &e) == 0, "%s: %s", t->name, e.text);
        ck_assert_int_eq(s->read(s, t, 0, &byte, 1, &e), 0);
        ck_assert_int_eq(s->read(s, t, t->bytes, &byte, 1, &e), -1);
    }
}

#endif
