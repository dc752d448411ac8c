/* log.h - one line per event on standard error: time, level, text.
 * Never a user's text: messages name ids, counts, sizes and times.  Any thread. */
#ifndef LOQUAT_BASE_LOG_H
#define LOQUAT_BASE_LOG_H

enum log_level { LOG_ERROR, LOG_WARNING, LOG_INFO, LOG_DEBUG };

void log_set_level(enum log_level level);
int log_level_from_name(const char *name); /* -1 when unknown */
void log_line(enum log_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));

#define log_error(...)   log_line(LOG_ERROR, __VA_ARGS__)
#define log_warning(...) log_line(LOG_WARNING, __VA_ARGS__)
#define log_info(...)    log_line(LOG_INFO, __VA_ARGS__)
#define log_debug(...)   log_line(LOG_DEBUG, __VA_ARGS__)

#endif
