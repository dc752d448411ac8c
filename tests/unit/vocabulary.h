/* vocabulary.h - how the tests of formats and tokenizers get at their data: golden files, the
 * reference data that LOQUAT_CONFORMANCE names, and a tokenizer from any GGUF file. */
#ifndef LOQUAT_TESTS_VOCABULARY_H
#define LOQUAT_TESTS_VOCABULARY_H

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/base/json.h"
#include "engine/formats/checkpoint.h"
#include "engine/tokenizers/tokenizer.h"

/* The whole file with a zero behind it; the caller frees. */
static inline char *read_file(const char *path, size_t *len)
{
    FILE *f = fopen(path, "rb");
    ck_assert_msg(f != NULL, "cannot open %s", path);
    ck_assert_int_eq(fseek(f, 0, SEEK_END), 0);
    *len = (size_t)ftell(f);
    rewind(f);
    char *data = malloc(*len + 1);
    ck_assert_ptr_nonnull(data);
    ck_assert_uint_eq(fread(data, 1, *len, f), *len);
    data[*len] = 0;
    fclose(f);
    return data;
}

static inline struct tokenizer *load_tokenizer(const char *path)
{
    struct error e = {0};
    struct checkpoint *c = NULL;
    struct tokenizer *t = NULL;
    ck_assert_msg(checkpoint_open(path, &c, &e) == 0, "%s", e.text);
    ck_assert_ptr_nonnull(c->tokenizer);
    ck_assert_msg(tokenizer_create(c->tokenizer, &t, &e) == 0, "%s: %s", path, e.text);
    checkpoint_close(c);
    return t;
}

static inline json_t *load_json(const char *path)
{
    size_t len;
    char *text = read_file(path, &len);
    struct error e = {0};
    json_t *value = NULL;
    ck_assert_msg(json_parse(text, len, &value, &e) == 0, "%s: %s", path, e.text);
    free(text);
    return value;
}

/* Says once what is missing; true when the test has nothing to do. */
static inline int skip_without(const char *variable, const char *what)
{
    if (getenv(variable))
        return 0;
    printf("skipped: %s needs %s\n", what, variable);
    return 1;
}

#endif
