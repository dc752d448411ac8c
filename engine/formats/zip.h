/* zip.h - the directory of a zip file whose entries are stored as they are, as torch.save writes it.
 * Called by torch.c; any thread.  Names are compared, never used as paths.
 * The format: PKWARE's APPNOTE.TXT 6.3.10, zip64 included; compressed or encrypted entries are refused. */
#ifndef LOQUAT_FORMATS_ZIP_H
#define LOQUAT_FORMATS_ZIP_H

#include "engine/base/arena.h"
#include "engine/base/bytes.h"
#include "engine/base/string_table.h"

struct zip_entry {
    const char *name;
    uint32_t name_len;
    uint64_t header; /* offset of the local header in the file */
    uint64_t size;
};

struct zip {
    size_t n;
    struct zip_entry *entries; /* of the arena */
    struct string_table names; /* -> index */
    uint64_t directory;        /* where the central directory starts: the end of all data */
};

/* Reads the central directory; *z is zeroed before.  zip_free() also after an error. */
int zip_read(const struct bytes *b, struct arena *a, struct zip *z, struct error *e);
void zip_free(struct zip *z);

const struct zip_entry *zip_find(const struct zip *z, const char *name, size_t len); /* or NULL */
/* Where the entry's bytes start; all of them lie in the file. */
int zip_locate(const struct bytes *b, const struct zip *z, const struct zip_entry *entry, uint64_t *offset,
               struct error *e);

#endif
