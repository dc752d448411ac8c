/* part.c - see part.h. */
#include "engine/tokenizers/part.h"

#include <stdlib.h>
#include <string.h>

#include "engine/base/json.h"
#include "engine/base/utf8.h"

/* For errors; some objects inside parts have no type of their own. */
static const char *name_of(const json_t *part)
{
    const char *type = json_string_value(json_object_get(part, "type"));
    return type ? type : "parts";
}

/* The getters speak of requests; here a wrong value is a broken file. */
static int as_format_error(const json_t *part, struct error *e)
{
    if (e && e->kind == ERROR_INVALID_REQUEST)
        e->kind = ERROR_BAD_FORMAT;
    return error_prefix(e, "the tokenizer's %.60s", name_of(part));
}

int part_type(const json_t *part, const char *what, const char **out, struct error *e)
{
    *out = json_string_value(json_object_get(part, "type"));
    if (!*out)
        return error_set(e, ERROR_BAD_FORMAT, "the tokenizer's %s is not an object with a \"type\"", what);
    return 0;
}

int part_unknown(const char *what, const char *type, struct error *e)
{
    return error_set(e, ERROR_UNSUPPORTED, "the tokenizer's %s \"%.100s\" is not supported", what, type);
}

int part_bool(const json_t *part, const char *key, bool *out, struct error *e)
{
    return json_get_bool(part, key, out, e) < 0 ? as_format_error(part, e) : 0;
}

int part_size(const json_t *part, const char *key, size_t *out, struct error *e)
{
    uint64_t value = *out;
    if (json_get_u64(part, key, 0, UINT32_MAX, &value, e) < 0)
        return as_format_error(part, e);
    *out = (size_t)value;
    return 0;
}

int part_text(const json_t *part, const char *key, struct part_text *out, struct error *e)
{
    const json_t *value = json_object_get(part, key);
    if (!json_is_string(value))
        return error_set(e, ERROR_BAD_FORMAT, "the tokenizer's %.60s has no text \"%s\"", name_of(part), key);
    out->len = json_string_length(value);
    out->text = malloc(out->len + 1);
    if (!out->text)
        return error_no_memory(e);
    memcpy(out->text, json_string_value(value), out->len + 1);
    return 0;
}

int part_character(const json_t *part, const char *key, struct part_text *out, struct error *e)
{
    uint32_t code_point;
    TRY(part_text(part, key, out, e));
    if (out->len == 0 || utf8_decode(out->text, out->len, &code_point) != (int)out->len)
        return error_set(e, ERROR_BAD_FORMAT, "the tokenizer's \"%s\" is not one character", key);
    return 0;
}

int part_array(const json_t *part, const char *key, const json_t **out, struct error *e)
{
    *out = json_object_get(part, key);
    if (!json_is_array(*out))
        return error_set(e, ERROR_BAD_FORMAT, "the tokenizer's %s has no array \"%s\"",
                         json_string_value(json_object_get(part, "type")), key);
    return 0;
}

int part_pattern(const json_t *part, struct part_pattern *out, struct error *e)
{
    const json_t *pattern = json_object_get(part, "pattern");
    const json_t *regex = json_object_get(pattern, "Regex"), *text = json_object_get(pattern, "String");
    if (json_is_string(text) && json_string_length(text) > 0)
        return part_text(pattern, "String", &out->text, e);
    const json_t *source = regex ? regex : text;
    if (!json_is_string(source))
        return error_set(e, ERROR_BAD_FORMAT,
                         "the tokenizer's %s has no pattern: {\"String\"} or {\"Regex\"}",
                         json_string_value(json_object_get(part, "type")));
    return regex_create(json_string_value(source), json_string_length(source), REGEX_ONIGURUMA, &out->regex,
                        e);
}

void part_pattern_free(struct part_pattern *p)
{
    free(p->text.text);
    regex_free(p->regex);
    memset(p, 0, sizeof *p);
}

int pattern_run_begin(struct pattern_run *run, const struct part_pattern *p, size_t len, struct error *e)
{
    memset(run, 0, sizeof *run);
    run->pattern = p;
    return p->regex ? regex_run_begin(&run->regex, p->regex, len, e) : 0;
}

void pattern_run_end(struct pattern_run *run)
{
    if (run->regex.match)
        regex_run_end(&run->regex);
}

void pattern_restart(struct pattern_run *run)
{
    regex_restart(&run->regex);
}

int pattern_next(struct pattern_run *run, const char *text, size_t len, size_t at, size_t *start, size_t *end,
                 struct error *e)
{
    const struct part_pattern *p = run->pattern;
    if (p->regex)
        return regex_next(&run->regex, text, len, at, start, end, e);
    const char *found = at < len ? memmem(text + at, len - at, p->text.text, p->text.len) : NULL;
    if (!found)
        return 0;
    *start = (size_t)(found - text);
    *end = *start + p->text.len;
    return 1;
}
