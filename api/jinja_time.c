/* jinja_time.c - strftime_now(): Python's datetime.now().strftime() for the moment given in the
 * options.  Written out, so that neither the locale nor a width in the format reaches the C library.
 * To add a directive: one case in directive(). */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "api/jinja_value.h"

static const char *const days[] = {"Sunday",   "Monday", "Tuesday", "Wednesday",
                                   "Thursday", "Friday", "Saturday"};
static const char *const months[] = {"January", "February", "March",     "April",   "May",      "June",
                                     "July",    "August",   "September", "October", "November", "December"};

struct moment {
    struct builder *b;
    struct tm tm;
    int64_t seconds;
    char flag; /* '-', '_', '0', '^', '#' or 0 */
};

static void number(struct moment *m, int value, int width, char pad)
{
    char out[16];
    pad = m->flag == '_' ? ' ' : m->flag == '0' ? '0' : pad;
    if (m->flag == '-')
        width = 0;
    snprintf(out, sizeof out, pad == ' ' ? "%*d" : "%0*d", width, value);
    jinja_add_literal(m->b, out);
}

static void name(struct moment *m, const char *text, size_t len)
{
    for (size_t i = 0; i < len && text[i]; i++) {
        char c = text[i];
        if ((m->flag == '^' || m->flag == '#') && c >= 'a' && c <= 'z')
            c = (char)(c - 32);
        jinja_add(m->b, &c, 1, false);
    }
}

static int hour12(const struct tm *t)
{
    return t->tm_hour % 12 ? t->tm_hour % 12 : 12;
}

/* Days of a year, counted from 1970's. */
static bool leap(int year)
{
    return (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
}

/* ISO 8601: weeks begin on Monday, the first has the year's first Thursday. */
static int iso_week(const struct tm *t, int *year)
{
    int weekday = (t->tm_wday + 6) % 7;
    *year = t->tm_year + 1900;
    int week = (t->tm_yday - weekday + 10) / 7;
    if (week < 1) {
        --*year;
        int yday = t->tm_yday + 365 + leap(*year);
        return (yday - weekday + 10) / 7;
    }
    if (week == 53 && t->tm_yday - weekday + 3 >= 365 + leap(*year)) {
        ++*year;
        return 1;
    }
    return week;
}

static bool directive(struct moment *m, char c);

static bool composite(struct moment *m, const char *letters, const char *between)
{
    m->flag = 0;
    for (size_t i = 0; letters[i]; i++) {
        if (i)
            jinja_add(m->b, &between[i - 1], 1, false);
        directive(m, letters[i]);
    }
    return true;
}

static bool week_directive(struct moment *m, char c)
{
    const struct tm *t = &m->tm;
    int year, week = iso_week(t, &year);
    switch (c) {
    case 'U':
        number(m, (t->tm_yday + 7 - t->tm_wday) / 7, 2, '0');
        return true;
    case 'W':
        number(m, (t->tm_yday + 7 - (t->tm_wday + 6) % 7) / 7, 2, '0');
        return true;
    case 'V':
        number(m, week, 2, '0');
        return true;
    case 'G':
        number(m, year, 4, '0');
        return true;
    case 'g':
        number(m, year % 100, 2, '0');
        return true;
    case 'u':
        number(m, t->tm_wday ? t->tm_wday : 7, 1, '0');
        return true;
    case 'w':
        number(m, t->tm_wday, 1, '0');
        return true;
    default:
        return false;
    }
}

static bool text_directive(struct moment *m, char c)
{
    const struct tm *t = &m->tm;
    switch (c) {
    case 'a':
    case 'A':
        name(m, days[t->tm_wday], c == 'a' ? 3 : 16);
        return true;
    case 'b':
    case 'h':
    case 'B':
        name(m, months[t->tm_mon], c == 'B' ? 16 : 3);
        return true;
    case 'p':
        name(m, t->tm_hour < 12 ? "AM" : "PM", 2);
        return true;
    case 'P':
        name(m, t->tm_hour < 12 ? "am" : "pm", 2);
        return true;
    case 'n':
    case 't':
    case '%':
        jinja_add_literal(m->b, c == 'n' ? "\n" : c == 't' ? "\t" : "%");
        return true;
    case 'f':
        jinja_add_literal(m->b, "000000");
        return true;
    case 'z':
    case 'Z': /* datetime.now() knows no zone */
        return true;
    case 'c':
        return composite(m, "abeTY", "    ");
    case 'D':
    case 'x':
        return composite(m, "mdy", "//");
    case 'F':
        return composite(m, "Ymd", "--");
    case 'T':
    case 'X':
        return composite(m, "HMS", "::");
    case 'R':
        return composite(m, "HM", ":");
    case 'r':
        return composite(m, "IMSp", ":: ");
    default:
        return week_directive(m, c);
    }
}

static bool directive(struct moment *m, char c)
{
    const struct tm *t = &m->tm;
    static const char letters[] = "YCymdeHkIlMSj";
    const char *at = c ? strchr(letters, c) : NULL;
    if (c == 's') {
        char out[24];
        snprintf(out, sizeof out, "%lld", (long long)m->seconds);
        jinja_add_literal(m->b, out);
        return true;
    }
    if (!at)
        return text_directive(m, c);
    int year = t->tm_year + 1900, hour = hour12(t);
    int values[] = {year,       year / 100, year % 100, t->tm_mon + 1, t->tm_mday, t->tm_mday,    t->tm_hour,
                    t->tm_hour, hour,       hour,       t->tm_min,     t->tm_sec,  t->tm_yday + 1};
    static const char widths[] = "4222222222223";
    bool blank = c == 'e' || c == 'k' || c == 'l';
    number(m, values[at - letters], widths[at - letters] - '0', blank ? ' ' : '0');
    return true;
}

int jinja_strftime(struct run *run, const struct text *format, struct value *out)
{
    struct builder b;
    struct moment m = {.b = &b, .seconds = run->now};
    time_t now = (time_t)run->now;
    jinja_build(&b, run);
    if (!(run->utc ? gmtime_r(&now, &m.tm) : localtime_r(&now, &m.tm)))
        return jinja_fail(run, "strftime_now: this moment has no date");
    TRY(jinja_spend_bytes(run, format->len * 8));
    for (size_t i = 0; i < format->len;) {
        size_t start = i++;
        if (format->s[start] == '%' && i < format->len) {
            m.flag = strchr("-_0^#", format->s[i]) ? format->s[i++] : 0;
            if (i < format->len && directive(&m, format->s[i])) {
                i++;
                continue;
            }
            i = start + 1;
        }
        jinja_add_slice(&b, format, start, i);
    }
    return jinja_built_value(&b, out);
}
