/* zip.c - see zip.h. */
#include "engine/formats/zip.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/limits.h"
#include "engine/formats/tensor_directory.h"

enum {
    END_BYTES = 22, /* end of central directory record, without its comment */
    LONGEST_COMMENT = 65535,
    LOCATOR_BYTES = 20, /* zip64 locator, just before the record above */
    END64_BYTES = 56,   /* zip64 end of central directory record */
    ENTRY_BYTES = 46,   /* central directory header, without name, extra and comment */
    LOCAL_BYTES = 30,   /* local header, without name and extra */
    EXTRA_ZIP64 = 0x0001,
    FLAG_ENCRYPTED = 1,
    STORED = 0
};

static const uint32_t end_magic = 0x06054b50, locator_magic = 0x07064b50, end64_magic = 0x06064b50,
                      entry_magic = 0x02014b50, local_magic = 0x04034b50;

static uint64_t load(const uint8_t *p, unsigned n)
{
    uint64_t value = 0;
    for (unsigned i = n; i-- > 0;)
        value = value << 8 | p[i];
    return value;
}

/* ---- the end of the file ----------------------------------------------------------------------- */

struct directory {
    uint64_t offset, bytes, entries;
};

/* The record is the last thing of the file but for a comment whose length it says. */
static int find_end(const struct bytes *b, uint8_t record[END_BYTES], uint64_t *at, struct error *e)
{
    uint64_t size = bytes_size(b);
    if (size < END_BYTES)
        return error_set(e, ERROR_BAD_FORMAT, "the file is too short for a zip file");
    size_t len = size < END_BYTES + LONGEST_COMMENT ? (size_t)size : END_BYTES + LONGEST_COMMENT;
    uint8_t *tail = malloc(len);
    if (!tail)
        return error_no_memory(e);
    int status = bytes_read_at(b, size - len, tail, len, e);
    bool found = false;
    for (size_t i = len - END_BYTES + 1; status == 0 && !found && i-- > 0;) {
        if (load(tail + i, 4) != end_magic || load(tail + i + 20, 2) != len - END_BYTES - i)
            continue;
        memcpy(record, tail + i, END_BYTES);
        *at = size - len + i;
        found = true;
    }
    free(tail);
    if (status == 0 && !found)
        status = error_set(e, ERROR_BAD_FORMAT,
                           "the zip file has no central directory at its end; it may have been cut off");
    return status;
}

/* Numbers too large for the old record stand in another one, which a locator before the old one points to. */
static int read_end64(const struct bytes *b, uint64_t end, struct directory *d, struct error *e)
{
    uint8_t locator[LOCATOR_BYTES], record[END64_BYTES];
    if (end < LOCATOR_BYTES)
        return 0;
    TRY(bytes_read_at(b, end - LOCATOR_BYTES, locator, sizeof locator, e));
    if (load(locator, 4) != locator_magic)
        return 0;
    uint64_t at = load(locator + 8, 8);
    TRY(bytes_read_at(b, at, record, sizeof record, e));
    if (load(record, 4) != end64_magic)
        return error_at(e, ERROR_BAD_FORMAT, at, "the zip64 record is not where its locator says");
    *d = (struct directory){
        .entries = load(record + 32, 8), .bytes = load(record + 40, 8), .offset = load(record + 48, 8)};
    return 0;
}

static int find_directory(const struct bytes *b, struct directory *d, struct error *e)
{
    uint8_t record[END_BYTES];
    uint64_t end = 0;
    TRY(find_end(b, record, &end, e));
    if (load(record + 8, 2) != load(record + 10, 2))
        return error_at(e, ERROR_BAD_FORMAT, end, "the zip file is one of several parts");
    *d = (struct directory){
        .entries = load(record + 10, 2), .bytes = load(record + 12, 4), .offset = load(record + 16, 4)};
    TRY(read_end64(b, end, d, e));
    if (d->offset > end || d->bytes > end - d->offset || d->bytes / ENTRY_BYTES < d->entries)
        return error_at(e, ERROR_BAD_FORMAT, end,
                        "the zip directory of %" PRIu64 " entries in %" PRIu64 " bytes at %" PRIu64
                        " does not fit into the file",
                        d->entries, d->bytes, d->offset);
    if (d->entries > LIMIT_ZIP_ENTRIES || d->bytes > LIMIT_TAKE)
        return error_at(e, ERROR_BAD_FORMAT, end,
                        "the zip file has %" PRIu64 " entries; at most %d are accepted", d->entries,
                        LIMIT_ZIP_ENTRIES);
    return 0;
}

/* ---- entries ----------------------------------------------------------------------------------- */

/* Those of size, packed size and offset that the header fills with ones, in this order. */
static int read_extra64(const uint8_t *extra, size_t len, uint64_t *const fields[3], uint64_t at,
                        struct error *e)
{
    size_t missing = 0;
    for (size_t i = 0; i < 3; i++)
        missing += *fields[i] == UINT32_MAX;
    while (missing > 0 && len >= 4) {
        size_t id = (size_t)load(extra, 2), n = (size_t)load(extra + 2, 2);
        if (n > len - 4)
            break;
        if (id != EXTRA_ZIP64) {
            extra += 4 + n;
            len -= 4 + n;
            continue;
        }
        if (n < 8 * missing)
            break;
        for (size_t i = 0, k = 0; i < 3; i++) {
            if (*fields[i] == UINT32_MAX)
                *fields[i] = load(extra + 4 + 8 * k++, 8);
        }
        return 0;
    }
    if (missing == 0)
        return 0;
    return error_at(e, ERROR_BAD_FORMAT, at, "a zip entry lacks its 64-bit sizes");
}

static int check_entry(const struct zip_entry *entry, const uint8_t *header, uint64_t packed, uint64_t at,
                       struct error *e)
{
    if (load(header + 8, 2) & FLAG_ENCRYPTED)
        return error_at(e, ERROR_BAD_FORMAT, at, "the zip entry %.100s is encrypted", entry->name);
    if (load(header + 10, 2) != STORED || packed != entry->size)
        return error_at(e, ERROR_BAD_FORMAT, at,
                        "the zip entry %.100s is compressed; torch.save stores entries as they are",
                        entry->name);
    return 0;
}

/* One header of the directory, at *p with left bytes; *p moves behind it. */
static int read_entry(struct zip *z, const uint8_t **p, size_t *left, uint64_t at, struct arena *a,
                      struct error *e)
{
    const uint8_t *h = *p;
    if (*left < ENTRY_BYTES || load(h, 4) != entry_magic)
        return error_at(e, ERROR_BAD_FORMAT, at, "the zip directory is broken");
    size_t name = (size_t)load(h + 28, 2), extra = (size_t)load(h + 30, 2), comment = (size_t)load(h + 32, 2);
    if (name + extra + comment > *left - ENTRY_BYTES)
        return error_at(e, ERROR_BAD_FORMAT, at, "the zip directory is broken");
    struct zip_entry *entry = &z->entries[z->n];
    uint64_t packed = load(h + 20, 4);
    entry->size = load(h + 24, 4);
    entry->header = load(h + 42, 4);
    entry->name = arena_copy(a, (const char *)h + ENTRY_BYTES, name);
    entry->name_len = (uint32_t)name;
    if (!entry->name)
        return error_no_memory(e);
    if (!tensor_name_ok(entry->name, name))
        return error_at(e, ERROR_BAD_FORMAT, at, "the name of zip entry %zu is not printable text", z->n);
    TRY(read_extra64(h + ENTRY_BYTES + name, extra, (uint64_t *[]){&entry->size, &packed, &entry->header}, at,
                     e));
    TRY(check_entry(entry, h, packed, at, e));
    if (string_table_add(&z->names, entry->name, name, (int32_t)z->n) >= 0)
        return error_at(e, ERROR_BAD_FORMAT, at, "the zip entry %.100s appears twice", entry->name);
    z->n++;
    *p += ENTRY_BYTES + name + extra + comment;
    *left -= ENTRY_BYTES + name + extra + comment;
    return 0;
}

static int read_entries(struct zip *z, const struct directory *d, const uint8_t *data, struct arena *a,
                        struct error *e)
{
    size_t left = (size_t)d->bytes;
    for (uint64_t i = 0; i < d->entries; i++)
        TRY(read_entry(z, &data, &left, d->offset + d->bytes - left, a, e));
    return 0;
}

int zip_read(const struct bytes *b, struct arena *a, struct zip *z, struct error *e)
{
    struct directory d = {0};
    TRY(find_directory(b, &d, e));
    z->directory = d.offset;
    z->entries = arena_alloc(a, (size_t)d.entries, sizeof *z->entries);
    if (!z->entries)
        return error_no_memory(e);
    TRY(string_table_init(&z->names, (size_t)d.entries, e));
    uint8_t *data = malloc((size_t)d.bytes + 1);
    if (!data)
        return error_no_memory(e);
    int status = bytes_read_at(b, d.offset, data, (size_t)d.bytes, e);
    if (status == 0)
        status = read_entries(z, &d, data, a, e);
    free(data);
    return status;
}

void zip_free(struct zip *z)
{
    string_table_free(&z->names);
}

const struct zip_entry *zip_find(const struct zip *z, const char *name, size_t len)
{
    int32_t index = string_table_find(&z->names, name, len);
    return index < 0 ? NULL : &z->entries[index];
}

int zip_locate(const struct bytes *b, const struct zip *z, const struct zip_entry *entry, uint64_t *offset,
               struct error *e)
{
    uint8_t header[LOCAL_BYTES];
    if (entry->header > z->directory || z->directory - entry->header < LOCAL_BYTES)
        return error_at(e, ERROR_BAD_FORMAT, entry->header, "the zip entry %.100s lies outside the file",
                        entry->name);
    TRY(bytes_read_at(b, entry->header, header, sizeof header, e));
    if (load(header, 4) != local_magic)
        return error_at(e, ERROR_BAD_FORMAT, entry->header,
                        "the zip entry %.100s is not where the directory says", entry->name);
    uint64_t before = LOCAL_BYTES + load(header + 26, 2) + load(header + 28, 2);
    uint64_t room = z->directory - entry->header;
    if (before > room || entry->size > room - before)
        return error_at(e, ERROR_BAD_FORMAT, entry->header,
                        "the zip entry %.100s of %" PRIu64 " bytes does not fit into the file", entry->name,
                        entry->size);
    *offset = entry->header + before;
    return 0;
}
