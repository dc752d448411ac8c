/* checkpoint.c - see checkpoint.h: a path to the reader of what it names.
 * Called by the loader, `inspect` and `convert`, on any thread. */
#include "engine/formats/checkpoint.h"

#include <sys/stat.h>

#include "engine/formats/folder.h"

static int open_any(const char *path, struct checkpoint **out, struct error *e)
{
    const struct format *format = NULL;
    struct bytes *b = NULL;
    struct stat st;
    if (stat(path, &st) == 0 && S_ISDIR(st.st_mode))
        return folder_open(path, out, e);
    TRY(format_open(path, &format, &b, e));
    if (format->kind == FORMAT_CHECKPOINT)
        return format->open_take(b, out, e);
    bytes_close(b);
    if (format->kind == FORMAT_SHORTLIST)
        return error_set(e, ERROR_BAD_FORMAT, "a %s is no model: name the model's file or their folder",
                         format->name);
    return folder_open_file(path, format, out, e);
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
