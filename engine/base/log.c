/* log.c - see log.h.  A line is formatted whole and written with one call, so lines never mix. */
#include "engine/base/log.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static const char *const names[] = {"error", "warning", "info", "debug"};
static atomic_int threshold = LOG_INFO;

void log_set_level(enum log_level level)
{
    atomic_store(&threshold, (int)level);
}

int log_level_from_name(const char *name)
{
    for (int i = 0; i < (int)(sizeof names / sizeof names[0]); i++) {
        if (strcmp(name, names[i]) == 0)
            return i;
    }
    return -1;
}

void log_line(enum log_level level, const char *format, ...)
{
    if ((int)level > atomic_load(&threshold))
        return;
    struct timespec now;
    struct tm tm;
    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &tm);
    char line[1024];
    size_t used = strftime(line, sizeof line, "%Y-%m-%dT%H:%M:%S", &tm);
    used +=
        (size_t)snprintf(line + used, sizeof line - used, ".%03ldZ %s ", now.tv_nsec / 1000000, names[level]);
    va_list args;
    va_start(args, format);
    int text = vsnprintf(line + used, sizeof line - used - 1, format, args);
    va_end(args);
    size_t room = sizeof line - used - 2;
    used += text < 0 ? 0 : (size_t)text < room ? (size_t)text : room;
    line[used++] = '\n';
    ssize_t written = write(STDERR_FILENO, line, used);
    (void)written; /* nowhere left to say so */
}
