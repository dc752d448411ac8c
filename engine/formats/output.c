/* output.c - see output.h.  Without O_TMPFILE (some network file systems) the file has a hidden name beside
 * its place, which only a kill that nobody can catch would leave behind. */
#include "engine/formats/output.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { BUFFER = 1 << 20 };

struct output {
    int fd;
    bool replace;
    bool named; /* `hidden` exists */
    char *path, *folder, *hidden;
    uint64_t offset;
    size_t used;
    uint8_t buffer[BUFFER];
};

static int error_system(struct error *e, const char *path, const char *what)
{
    return error_set(e, ERROR_FILE_ACCESS, "%s: cannot %s: %s", path, what, strerror(errno));
}

void output_discard(struct output *o)
{
    if (!o)
        return;
    if (o->fd >= 0)
        close(o->fd);
    if (o->named)
        unlink(o->hidden);
    free(o->path);
    free(o->folder);
    free(o->hidden);
    free(o);
}

/* "FOLDER/.NAME.PID.tmp" */
static int make_names(struct output *o, const char *path)
{
    char hidden[PATH_MAX];
    const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
    size_t folder = slash ? (size_t)(slash - path) + 1 : 0;
    int n = snprintf(hidden, sizeof hidden, "%.*s.%s.%ld.tmp", (int)folder, path, name, (long)getpid());
    if (n < 0 || (size_t)n >= sizeof hidden)
        return -1;
    o->path = strdup(path);
    o->folder = folder ? strndup(path, folder) : strdup(".");
    o->hidden = strdup(hidden);
    return o->path && o->folder && o->hidden ? 0 : -1;
}

static int check_place(const struct output *o, struct error *e)
{
    struct stat st;
    if (lstat(o->path, &st) < 0)
        return errno == ENOENT ? 0 : error_system(e, o->path, "look there");
    if (!S_ISREG(st.st_mode) && !S_ISLNK(st.st_mode))
        return error_set(e, ERROR_FILE_ACCESS, "%s: is no file and will not be replaced", o->path);
    if (!o->replace)
        return error_set(e, ERROR_FILE_ACCESS, "%s: exists already", o->path);
    return 0;
}

static int create(struct output *o, struct error *e)
{
    TRY(check_place(o, e));
    if (access("/proc/self/fd", X_OK) == 0)
        o->fd = open(o->folder, O_TMPFILE | O_WRONLY | O_CLOEXEC, 0666);
    if (o->fd >= 0)
        return 0;
    o->fd = open(o->hidden, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0666);
    if (o->fd < 0)
        return error_system(e, o->path, "create a file in its folder");
    o->named = true;
    return 0;
}

int output_open(const char *path, bool replace, struct output **out, struct error *e)
{
    struct output *o = calloc(1, sizeof *o);
    if (!o)
        return error_no_memory(e);
    o->fd = -1;
    o->replace = replace;
    if (make_names(o, path) < 0) {
        output_discard(o);
        return error_set(e, ERROR_FILE_ACCESS, "%.200s: the path is too long", path);
    }
    if (create(o, e) < 0) {
        output_discard(o);
        return -1;
    }
    *out = o;
    return 0;
}

static int write_fully(struct output *o, const uint8_t *data, size_t n, struct error *e)
{
    while (n > 0) {
        ssize_t put = write(o->fd, data, n);
        if (put < 0 && errno == EINTR)
            continue;
        if (put < 0)
            return error_system(e, o->path, "write");
        data += put;
        n -= (size_t)put;
    }
    return 0;
}

static int flush(struct output *o, struct error *e)
{
    size_t n = o->used;
    o->used = 0;
    return write_fully(o, o->buffer, n, e);
}

int output_write(struct output *o, const void *data, size_t n, struct error *e)
{
    if (n > BUFFER - o->used)
        TRY(flush(o, e));
    if (n > BUFFER)
        TRY(write_fully(o, data, n, e));
    else if (n) {
        memcpy(o->buffer + o->used, data, n);
        o->used += n;
    }
    o->offset += n;
    return 0;
}

uint64_t output_offset(const struct output *o)
{
    return o->offset;
}

int output_pad(struct output *o, uint64_t alignment, uint8_t fill, struct error *e)
{
    while (o->offset % alignment != 0)
        TRY(output_write(o, &fill, 1, e));
    return 0;
}

/* From no name to the hidden one. */
static int link_unnamed(struct output *o, const char *path, struct error *e)
{
    char fd[64];
    snprintf(fd, sizeof fd, "/proc/self/fd/%d", o->fd);
    if (linkat(AT_FDCWD, fd, AT_FDCWD, path, AT_SYMLINK_FOLLOW) < 0)
        return error_system(e, o->path, "give the file its name");
    return 0;
}

/* link() and not rename(), where nothing may be replaced: it fails when the name is taken meanwhile. */
static int place(struct output *o, struct error *e)
{
    if (!o->replace)
        return o->named
                   ? (link(o->hidden, o->path) < 0 ? error_system(e, o->path, "give the file its name") : 0)
                   : link_unnamed(o, o->path, e);
    if (!o->named) {
        unlink(o->hidden);
        TRY(link_unnamed(o, o->hidden, e));
        o->named = true;
    }
    if (rename(o->hidden, o->path) < 0)
        return error_system(e, o->path, "give the file its name");
    o->named = false;
    return 0;
}

/* The folder's entry must be on the disk too; a file system that cannot say so is left at that. */
static void sync_folder(const struct output *o)
{
    int fd = open(o->folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return;
    fsync(fd);
    close(fd);
}

int output_commit_take(struct output *o, struct error *e)
{
    int status = flush(o, e);
    if (status == 0 && fsync(o->fd) < 0)
        status = error_system(e, o->path, "write");
    if (status == 0)
        status = place(o, e);
    if (status == 0)
        sync_folder(o);
    output_discard(o);
    return status;
}
