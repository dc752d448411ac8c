/* format.h - the FORMAT TABLE's rows, for checkpoint.c and folder*.c only.
 * To add a format: its reader declared in checkpoint.h, and one row in format.c. */
#ifndef LOQUAT_FORMATS_FORMAT_H
#define LOQUAT_FORMATS_FORMAT_H

#include <stdbool.h>

#include "engine/formats/checkpoint.h"

enum { PROBE_BYTES = 64 };

/* What a file of a format holds. */
enum format_kind {
    FORMAT_CHECKPOINT, /* everything */
    FORMAT_TENSORS,    /* tensors; the folder says the rest */
    FORMAT_SHORTLIST,  /* an addition to a model of the same folder */
    FORMAT_TOKENIZER   /* no weights */
};

struct format {
    const char *name;
    enum format_kind kind;
    const char *const *endings; /* of file names, NULL-terminated */
    bool (*probe)(const unsigned char *head,
                  size_t n); /* the first n <= PROBE_BYTES bytes; NULL: by ending only */
    int (*open_take)(struct bytes *b, struct checkpoint **out, struct error *e); /* CHECKPOINT */
    /* TENSORS and SHORTLIST.  *config: a new reference or NULL. */
    int (*open_tensors_take)(struct bytes *b, struct tensor_file **out, json_t **config, struct error *e);
    enum dialect dialect; /* TENSORS: unless config.json decides */
};

bool name_ends_with(const char *name, const char *ending);
/* Some row has the file's ending: worth a look for weights. */
bool format_has_ending(const char *name);

/* The row that the first bytes tell, or NULL. */
const struct format *format_of_content(const char *path);
/* The first row with the file's ending, or NULL. */
const struct format *format_of_ending(const char *path);
/* Opens the file and finds its row: by its first bytes, else by its name.  *b is the caller's. */
int format_open(const char *path, const struct format **out, struct bytes **b, struct error *e);

#endif
