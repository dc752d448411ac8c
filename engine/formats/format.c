/* format.c - the FORMAT TABLE: which reader opens a file, by its first bytes, else by its name.
 * Called by checkpoint.c and folder*.c.  To add a format: see format.h. */
#include "engine/formats/format.h"

#include <string.h>

static bool is_gguf(const unsigned char *head, size_t n)
{
    return n >= 4 && memcmp(head, "GGUF", 4) == 0;
}

/* A length that is no text, and the first byte of a JSON object. */
static bool is_safetensors(const unsigned char *head, size_t n)
{
    return n >= 9 && head[7] == 0 && head[8] == '{';
}

/* A zip, or a pickle of protocol 2 or later. */
static bool is_torch(const unsigned char *head, size_t n)
{
    return n >= 4 && (memcmp(head, "PK\3\4", 4) == 0 || (head[0] == 0x80 && head[1] >= 2 && head[1] <= 5));
}

static bool is_marian(const unsigned char *head, size_t n)
{
    return n >= 8 && memcmp(head, "\1\0\0\0\0\0\0\0", 8) == 0;
}

static bool is_shortlist(const unsigned char *head, size_t n)
{
    return n >= 8 && memcmp(head, "\xF5\x17\x34\x01\xD5\x48\x1A\xF1", 8) == 0;
}

/* gzip, or \data\ behind nothing but white space. */
static bool is_arpa(const unsigned char *head, size_t n)
{
    size_t i = 0;
    if (n >= 2 && head[0] == 0x1F && head[1] == 0x8B)
        return true;
    while (i < n && (head[i] == ' ' || head[i] == '\t' || head[i] == '\r' || head[i] == '\n'))
        i++;
    return n - i >= 6 && memcmp(head + i, "\\data\\", 6) == 0;
}

static int open_safetensors(struct bytes *b, struct tensor_file **out, json_t **config, struct error *e)
{
    *config = NULL;
    return safetensors_open_take(b, out, e);
}

static int open_torch(struct bytes *b, struct tensor_file **out, json_t **config, struct error *e)
{
    *config = NULL;
    return torch_open_take(b, out, e);
}

static int open_shortlist(struct bytes *b, struct tensor_file **out, json_t **config, struct error *e)
{
    *config = NULL;
    return shortlist_open_take(b, out, e);
}

#define ENDINGS(...) ((const char *const[]){__VA_ARGS__, NULL})

static const struct format formats[] = {
    {"GGUF", FORMAT_CHECKPOINT, ENDINGS(".gguf"), is_gguf, gguf_open_take, NULL, DIALECT_GGUF},
    {"ARPA", FORMAT_CHECKPOINT, ENDINGS(".arpa", ".arpa.gz", ".lm", ".lm.gz"), is_arpa, arpa_open_take, NULL,
     DIALECT_ARPA},
    {"safetensors", FORMAT_TENSORS, ENDINGS(".safetensors"), is_safetensors, NULL, open_safetensors,
     DIALECT_TORCH},
    {"Marian", FORMAT_TENSORS, ENDINGS(".intgemm.alphas.bin", ".intgemm8.bin"), is_marian, NULL,
     marian_open_take, DIALECT_MARIAN},
    {"Marian shortlist", FORMAT_SHORTLIST, ENDINGS(".s2t.bin"), is_shortlist, NULL, open_shortlist,
     DIALECT_MARIAN},
    {"PyTorch", FORMAT_TENSORS, ENDINGS(".pt", ".pth", ".bin", ".ckpt"), is_torch, NULL, open_torch,
     DIALECT_TORCH},
    {"tokenizer", FORMAT_TOKENIZER, ENDINGS(".json", ".model", ".spm"), NULL, NULL, NULL, DIALECT_TORCH},
};

enum { FORMATS = sizeof formats / sizeof formats[0] };

bool name_ends_with(const char *name, const char *ending)
{
    size_t n = strlen(name), m = strlen(ending);
    return n > m && strcmp(name + n - m, ending) == 0;
}

static bool has_ending(const struct format *f, const char *name)
{
    for (const char *const *ending = f->endings; *ending; ending++) {
        if (name_ends_with(name, *ending))
            return true;
    }
    return false;
}

bool format_has_ending(const char *name)
{
    for (size_t i = 0; i < FORMATS; i++) {
        if (formats[i].kind != FORMAT_TOKENIZER && has_ending(&formats[i], name))
            return true;
    }
    return false;
}

static const struct format *find_content(const unsigned char *head, size_t n)
{
    for (size_t i = 0; i < FORMATS; i++) {
        if (formats[i].probe && formats[i].probe(head, n))
            return &formats[i];
    }
    return NULL;
}

const struct format *format_of_ending(const char *path)
{
    for (size_t i = 0; i < FORMATS; i++) {
        if (has_ending(&formats[i], path))
            return &formats[i];
    }
    return NULL;
}

static int error_unknown_format(struct error *e)
{
    char names[128] = "";
    for (size_t i = 0; i < FORMATS; i++) {
        strncat(names, i ? ", " : "", sizeof names - strlen(names) - 1);
        strncat(names, formats[i].name, sizeof names - strlen(names) - 1);
    }
    return error_at(e, ERROR_BAD_FORMAT, 0, "the first bytes are of no known checkpoint format (known: %s)",
                    names);
}

static int probe(struct bytes *b, const char *path, const struct format **out, struct error *e)
{
    unsigned char head[PROBE_BYTES];
    size_t n = bytes_size(b) < sizeof head ? (size_t)bytes_size(b) : sizeof head;
    if (n == 0)
        return error_set(e, ERROR_BAD_FORMAT, "the file is empty");
    TRY(bytes_read_at(b, 0, head, n, e));
    *out = find_content(head, n);
    if (!*out)
        *out = format_of_ending(path);
    return *out ? 0 : error_unknown_format(e);
}

int format_open(const char *path, const struct format **out, struct bytes **b, struct error *e)
{
    TRY(bytes_open_file(path, b, e));
    if (probe(*b, path, out, e) < 0) {
        bytes_close(*b);
        *b = NULL;
        return -1;
    }
    return 0;
}

const struct format *format_of_content(const char *path)
{
    unsigned char head[PROBE_BYTES];
    struct bytes *b = NULL;
    const struct format *format = NULL;
    if (bytes_open_file(path, &b, NULL) < 0)
        return NULL;
    size_t n = bytes_size(b) < sizeof head ? (size_t)bytes_size(b) : sizeof head;
    if (bytes_read_at(b, 0, head, n, NULL) == 0)
        format = find_content(head, n);
    bytes_close(b);
    return format;
}
