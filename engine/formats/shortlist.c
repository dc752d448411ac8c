/* shortlist.c - Marian's lexical shortlist (lex.*.s2t.bin): which target words may follow from a source word.
 * Called by the FORMAT TABLE, on any thread; tensors are read from any.
 * The file (marian-dev, src/data/shortlist.h, BinaryShortlistGenerator), six uint64: magic, checksum, number
 * of frequent words, number of best translations, number of offsets, number of entries; then the offsets
 * (uint64), then the entries (uint32).  Source word w allows the entries offsets[w] .. offsets[w + 1] - 1 and
 * all ids below the number of frequent words.  As tensors: shortlist.offsets   I64 {source words + 1},
 * ascending from 0 to at most the number of entries shortlist.entries   I32 {entries}, ids of the target
 * vocabulary, which this file does not know shortlist.frequent  I32 {1} */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "engine/formats/checkpoint.h"

enum { HEADER_BYTES = 48, FREQUENT_AT = 16, TENSORS = 3 };

static const uint64_t magic = 0xF11A48D5013417F5;

struct shortlist {
    struct tensor_file file;     /* first: close() gets it */
    struct tensor_source source; /* its functions find the file through this member */
    struct bytes *bytes;         /* owned */
    struct tensor_info tensors[TENSORS];
};

static const struct shortlist *shortlist_of(const struct tensor_source *s)
{
    return (const struct shortlist *)((const char *)s - offsetof(struct shortlist, source));
}

static const struct tensor_info *find_tensor(const struct tensor_source *s, const char *name)
{
    for (size_t i = 0; i < s->count; i++) {
        if (strcmp(s->tensors[i].name, name) == 0)
            return &s->tensors[i];
    }
    return NULL;
}

static int read_tensor(const struct tensor_source *s, const struct tensor_info *t, uint64_t offset, void *dst,
                       size_t n, struct error *e)
{
    if (offset > t->bytes || n > t->bytes - offset)
        return error_set(e, ERROR_INTERNAL, "tensor %s has no %zu bytes at %" PRIu64, t->name, n, offset);
    return bytes_read_at(shortlist_of(s)->bytes, t->offset + offset, dst, n, e);
}

static int check_offsets(struct bytes *b, uint64_t n_offsets, uint64_t n_entries, struct error *e)
{
    uint64_t before = 0;
    for (uint64_t i = 0; i < n_offsets; i++) {
        uint64_t at = bytes_offset(b), value;
        TRY(bytes_u64(b, &value, "the offsets", e));
        if (value < before || value > n_entries || (i == 0 && value != 0))
            return error_at(e, ERROR_BAD_FORMAT, at,
                            "offset %" PRIu64 " of the shortlist is %" PRIu64
                            ": it must ascend from 0 to %" PRIu64,
                            i, value, n_entries);
        before = value;
    }
    return 0;
}

static int check_entries(struct bytes *b, uint64_t n, struct error *e)
{
    for (uint64_t i = 0; i < n; i++) {
        uint64_t at = bytes_offset(b);
        uint32_t id;
        TRY(bytes_u32(b, &id, "the entries", e));
        if (id >= LIMIT_VOCABULARY)
            return error_at(e, ERROR_BAD_FORMAT, at,
                            "entry %" PRIu64 " of the shortlist is the word %" PRIu32
                            "; vocabularies have at most %d",
                            i, id, LIMIT_VOCABULARY);
    }
    return 0;
}

static int read_all(struct shortlist *f, struct error *e)
{
    uint64_t head[HEADER_BYTES / 8];
    for (size_t i = 0; i < HEADER_BYTES / 8; i++)
        TRY(bytes_u64(f->bytes, &head[i], "the header of the shortlist", e));
    uint64_t frequent = head[2], n_offsets = head[4], n_entries = head[5];
    if (head[0] != magic)
        return error_at(e, ERROR_BAD_FORMAT, 0, "the file does not begin as a Marian shortlist");
    if (frequent > LIMIT_VOCABULARY || n_offsets < 2 || n_offsets > LIMIT_VOCABULARY + 1 || n_entries == 0)
        return error_at(e, ERROR_BAD_FORMAT, FREQUENT_AT,
                        "a shortlist of %" PRIu64 " frequent words, %" PRIu64 " offsets and %" PRIu64
                        " entries",
                        frequent, n_offsets, n_entries);
    TRY(bytes_expect(f->bytes, n_offsets, sizeof(uint64_t), "the offsets", e));
    TRY(check_offsets(f->bytes, n_offsets, n_entries, e));
    TRY(bytes_expect(f->bytes, n_entries, sizeof(uint32_t), "the entries", e));
    TRY(check_entries(f->bytes, n_entries, e));
    f->tensors[0] = (struct tensor_info){"shortlist.offsets",  DTYPE_I64,     1,
                                         {n_offsets, 1, 1, 1}, n_offsets * 8, HEADER_BYTES};
    f->tensors[1] = (struct tensor_info){"shortlist.entries",  DTYPE_I32,     1,
                                         {n_entries, 1, 1, 1}, n_entries * 4, HEADER_BYTES + n_offsets * 8};
    /* The lower half of the file's 64 bits: the upper is zero. */
    f->tensors[2] = (struct tensor_info){"shortlist.frequent", DTYPE_I32, 1, {1, 1, 1, 1}, 4, FREQUENT_AT};
    return 0;
}

static void close_shortlist(struct tensor_file *file)
{
    struct shortlist *f = (struct shortlist *)(void *)file;
    bytes_close(f->bytes);
    free(f);
}

int shortlist_open_take(struct bytes *b, struct tensor_file **out, struct error *e)
{
    struct shortlist *f = calloc(1, sizeof *f);
    if (!f) {
        bytes_close(b);
        return error_no_memory(e);
    }
    f->bytes = b;
    f->source = (struct tensor_source){
        .count = TENSORS, .tensors = f->tensors, .find = find_tensor, .read = read_tensor};
    f->file = (struct tensor_file){.source = &f->source,
                                   .format = "Marian shortlist",
                                   .file_bytes = bytes_size(b),
                                   .close = close_shortlist};
    if (read_all(f, e) < 0) {
        close_shortlist(&f->file);
        return -1;
    }
    *out = &f->file;
    return 0;
}
