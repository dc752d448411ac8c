/* checkpoint.c - the FORMAT TABLE: which reader opens a file, by its first bytes.
 * Called by the loader and `inspect`, on any thread.
 * To add a format: one file with its open function, declared in checkpoint.h, and one row here. */
#include "engine/formats/checkpoint.h"

#include <stdbool.h>
#include <string.h>

enum { PROBE_BYTES = 8 };

struct format_row {
    const char *name;
    bool (*probe)(const unsigned char *head, size_t n); /* the first n <= PROBE_BYTES bytes */
    int (*open_take)(struct bytes *b, struct checkpoint **out, struct error *e);
};

static bool is_gguf(const unsigned char *head, size_t n)
{
    return n >= 4 && memcmp(head, "GGUF", 4) == 0;
}

static const struct format_row formats[] = {{"GGUF", is_gguf, gguf_open_take}};

static const struct format_row *find_format(const unsigned char *head, size_t n)
{
    for (size_t i = 0; i < sizeof formats / sizeof formats[0]; i++) {
        if (formats[i].probe(head, n))
            return &formats[i];
    }
    return NULL;
}

static int error_unknown_format(struct error *e)
{
    char names[128] = "";
    for (size_t i = 0; i < sizeof formats / sizeof formats[0]; i++) {
        strncat(names, i ? ", " : "", sizeof names - strlen(names) - 1);
        strncat(names, formats[i].name, sizeof names - strlen(names) - 1);
    }
    return error_at(e, ERROR_BAD_FORMAT, 0, "the first bytes are of no known checkpoint format (known: %s)",
                    names);
}

static int open_any(const char *path, struct checkpoint **out, struct error *e)
{
    struct bytes *b;
    TRY(bytes_open_file(path, &b, e));
    unsigned char head[PROBE_BYTES];
    size_t n = bytes_size(b) < sizeof head ? (size_t)bytes_size(b) : sizeof head;
    const struct format_row *format = NULL;
    if (n == 0)
        error_set(e, ERROR_BAD_FORMAT, "the file is empty");
    else if (bytes_read_at(b, 0, head, n, e) == 0) {
        format = find_format(head, n);
        if (!format)
            error_unknown_format(e);
    }
    if (!format) {
        bytes_close(b);
        return -1;
    }
    return format->open_take(b, out, e);
}

int checkpoint_open(const char *path, struct checkpoint **out, struct error *e)
{
    if (open_any(path, out, e) < 0)
        return error_prefix(e, "%s", path);
    return 0;
}

void checkpoint_close(struct checkpoint *c)
{
    if (c)
        c->close(c);
}
