/* folder.h - what the files of the folder reader share; checkpoint.c calls folder_open() and
 * folder_open_file(), nobody else includes it. */
#ifndef LOQUAT_FORMATS_FOLDER_H
#define LOQUAT_FORMATS_FOLDER_H

#include "engine/base/arena.h"
#include "engine/base/string_table.h"
#include "engine/formats/format.h"

/* A tensor of the checkpoint and the file that it lies in. */
struct folder_tensor {
    const struct tensor_file *file;
    const struct tensor_info *info;
};

struct folder {
    struct checkpoint checkpoint;
    struct tensor_source source; /* its functions find the folder through this member */
    struct arena *arena;
    const char *path;            /* the folder that holds config.json and the weights */
    const char *opened;          /* the file in it that the user named; NULL: the folder itself */
    json_t *keep;                /* an array: whatever JSON the checkpoint borrows */
    const json_t *config;        /* config.json, or NULL */
    const struct format *format; /* of the weights; NULL without weights */
    struct tensor_file **files;  /* (n_files) owned */
    size_t n_files, max_files;
    const char **file_names;       /* (n_files) without the folder */
    const json_t *file_config;     /* what a file of weights says of its model, or NULL */
    struct folder_tensor *tensors; /* (source.count) */
    struct string_table names;
    struct tokenizer_spec tokenizer;
    struct checkpoint *words; /* of weights that loquat wrote: owns the tokenizer; or NULL */
    struct checkpoint *whole; /* of a file that says everything: what the folder holds, instead of all this */
};

/* The folder's file of weights by the names that people give it; NULL when there is none. */
int folder_find_weights(struct folder *f, const char **out, struct error *e);
/* Opens NAME - a file of weights, or an index of shards - and what belongs to it. */
int folder_open_weights(struct folder *f, const char *name, struct error *e);
/* All files' tensors as f->source.  index: "weight_map", or NULL. */
int folder_join_tensors(struct folder *f, const json_t *index, struct error *e);

/* modules.json of sentence-transformers: f->path may move to its transformer's folder; *pooling as in
 * checkpoint.h or NULL, kept in f->keep. */
int folder_read_modules(struct folder *f, const json_t **pooling, struct error *e);

/* Decoder options beside a Marian model (*.yml), as texts into config. */
int folder_read_marian_options(struct folder *f, json_t *config, struct error *e);

/* checkpoint.source_language and target_language, where a file says them. */
int folder_read_languages(struct folder *f, struct error *e);

/* Stolen by f->keep. */
int folder_keep(struct folder *f, json_t *value, struct error *e);

/* A plain name: no folder, not "." or "..". */
bool folder_name_ok(const char *name);

/* Names in the folder that match, sorted; malloc'ed array of arena texts. */
int folder_list(struct folder *f, bool (*match)(const struct folder *f, const char *name), const char ***out,
                size_t *n, struct error *e);

/* path: a folder. */
int folder_open(const char *path, struct checkpoint **out, struct error *e);
/* path: a file of tensors, an index of shards or a tokenizer; format: its row. */
int folder_open_file(const char *path, const struct format *format, struct checkpoint **out, struct error *e);

#endif
