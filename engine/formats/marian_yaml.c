/* marian_yaml.c - the little YAML that Marian writes and people put beside its models: "key: value" lines,
 * and lists of values below a key or in brackets.  Called by marian_bin.c and folder_marian.c, on any thread.
 * Mappings inside mappings and texts over several lines are errors: no option of a model has them. */
#include <stdlib.h>
#include <string.h>

#include "engine/base/buf.h"
#include "engine/base/utf8.h"
#include "engine/formats/checkpoint.h"

struct yaml {
    json_t *object;
    char key[128];   /* of the last pair; empty before the first */
    struct buf list; /* the items that followed it, if any */
    unsigned line;
    struct error *e;
};

struct span {
    const char *text;
    size_t len;
};

static struct span trim(const char *text, size_t len)
{
    while (len > 0 && (text[0] == ' ' || text[0] == '\t')) {
        text++;
        len--;
    }
    while (len > 0 && (text[len - 1] == ' ' || text[len - 1] == '\t' || text[len - 1] == '\r'))
        len--;
    return (struct span){text, len};
}

/* Without quotes, or without what follows a # behind white space. */
static struct span plain(struct span s)
{
    s = trim(s.text, s.len);
    if (s.len > 0 && (s.text[0] == '"' || s.text[0] == '\'')) {
        const char *end = memchr(s.text + 1, s.text[0], s.len - 1);
        if (end)
            return (struct span){s.text + 1, (size_t)(end - s.text - 1)};
    }
    for (size_t i = 0; i < s.len; i++) {
        if (s.text[i] == '#' && (i == 0 || s.text[i - 1] == ' ' || s.text[i - 1] == '\t'))
            return trim(s.text, i);
    }
    return s;
}

static int bad_line(const struct yaml *y, const char *what)
{
    return error_set(y->e, ERROR_BAD_FORMAT, "line %u %s", y->line, what);
}

static int set_value(struct yaml *y, const char *key, json_t *value)
{
    if (!value)
        return bad_line(y, "is not UTF-8");
    return json_object_set_new(y->object, key, value) < 0 ? error_no_memory(y->e) : 0;
}

static void add_item(struct buf *list, struct span item)
{
    item = plain(item);
    if (list->len > 0)
        buf_add(list, " ", 1);
    buf_add(list, item.text, item.len);
}

/* What followed the last key becomes its value. */
static int end_list(struct yaml *y)
{
    if (y->list.failed)
        return error_no_memory(y->e);
    if (y->list.len == 0)
        return 0;
    int status = set_value(y, y->key, json_stringn(y->list.data, y->list.len));
    buf_clear(&y->list);
    return status;
}

/* "[a, b]" as "a b"; other values as they are. */
static int read_value(struct yaml *y, struct span value)
{
    value = plain(value);
    if (value.len < 2 || value.text[0] != '[' || value.text[value.len - 1] != ']')
        return set_value(y, y->key, json_stringn(value.text, value.len));
    const char *at = value.text + 1, *end = value.text + value.len - 1;
    while (at < end) {
        const char *comma = memchr(at, ',', (size_t)(end - at));
        add_item(&y->list, (struct span){at, (size_t)((comma ? comma : end) - at)});
        at = comma ? comma + 1 : end;
    }
    return set_value(y, y->key, json_string(""));
}

static int read_pair(struct yaml *y, const char *text, size_t len)
{
    const char *colon = memchr(text, ':', len);
    while (colon && colon + 1 < text + len && colon[1] != ' ' && colon[1] != '\t' && colon[1] != '\r')
        colon = memchr(colon + 1, ':', len - (size_t)(colon + 1 - text));
    if (!colon)
        return bad_line(y, "is neither \"key: value\" nor an item of a list");
    struct span key = plain((struct span){text, (size_t)(colon - text)});
    if (key.len == 0 || key.len >= sizeof y->key)
        return bad_line(y, "has no key, or a very long one");
    if (!utf8_valid(key.text, key.len))
        return bad_line(y, "is not UTF-8");
    TRY(end_list(y));
    memcpy(y->key, key.text, key.len);
    y->key[key.len] = 0;
    if (json_object_get(y->object, y->key))
        return bad_line(y, "sets a key a second time");
    return read_value(y, (struct span){colon + 1, (size_t)(text + len - colon - 1)});
}

static int read_line(struct yaml *y, const char *text, size_t len)
{
    struct span line = plain((struct span){text, len});
    if (line.len == 0 || (line.len == 3 && (memcmp(text, "---", 3) == 0 || memcmp(text, "...", 3) == 0)))
        return 0;
    line = trim(text, len);
    if (line.text[0] == '-' && (line.len == 1 || line.text[1] == ' ')) {
        add_item(&y->list, (struct span){line.text + 1, line.len - 1});
        return y->key[0] ? 0 : bad_line(y, "is an item of no list");
    }
    if (line.text != text)
        return bad_line(y, "is indented but no item of a list");
    return read_pair(y, text, len);
}

static int read_lines(struct yaml *y, const char *text, size_t len)
{
    const char *end = text + len;
    while (text < end) {
        const char *newline = memchr(text, '\n', (size_t)(end - text));
        size_t n = (size_t)((newline ? newline : end) - text);
        y->line++;
        if (memchr(text, 0, n))
            return bad_line(y, "is no text");
        TRY(read_line(y, text, n));
        text += newline ? n + 1 : n;
    }
    return end_list(y);
}

int marian_yaml_read(const char *text, size_t len, json_t **out, struct error *e)
{
    struct yaml y = {.object = json_object(), .e = e};
    if (!y.object)
        return error_no_memory(e);
    buf_init(&y.list, 2 * len + 1);
    int status = read_lines(&y, text, len);
    buf_free(&y.list);
    if (status < 0) {
        json_decref(y.object);
        return -1;
    }
    *out = y.object;
    return 0;
}
