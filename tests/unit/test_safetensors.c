/* test_safetensors.c - the safetensors reader: what it says of good files, and that no bytes can hurt it. */
#include <dirent.h>

#include "tests/unit/vocabulary.h"
#include "tests/unit/suite.h"

#define HOSTILE TESTS_DIR "/hostile/safetensors/"

/* What a file must do.  A good one is closed again. */
static void assert_outcome(const char *path, bool accepted, const char *words)
{
    struct error e = {0};
    struct checkpoint *c = NULL;
    int status = checkpoint_open(path, &c, &e);
    if (status == 0)
        checkpoint_close(c);
    ck_assert_msg(accepted == (status == 0), "%s: %s", path, status == 0 ? "was accepted" : e.text);
    if (accepted)
        return;
    ck_assert_msg(strncmp(e.text, path, strlen(path)) == 0, "the file is not named: %s", e.text);
    ck_assert_msg(strstr(e.text, words) != NULL, "%s\nshould hold: %s", e.text, words);
    ck_assert_ptr_null(strchr(e.text, '\n'));
}

START_TEST(hostile_files_end_as_the_table_says)
{
    size_t len, n = 0;
    char *table = read_file(HOSTILE "expect", &len);
    for (char *line = table, *end; (end = strchr(line, '\n')) != NULL; line = end + 1, n++) {
        char path[1024], *name_end = strchr(line, ' ');
        *end = 0;
        ck_assert_ptr_nonnull(name_end);
        snprintf(path, sizeof path, "%s%.*s", HOSTILE, (int)(name_end - line), line);
        bool good = strncmp(line, "good", 4) == 0;
        ck_assert(good == (strcmp(name_end, " accept") == 0));
        /* A file of weights alone has no tokenizer and no config; "nothing" has no tensors either. */
        assert_outcome(path, good, good ? "" : name_end + strlen(" refuse "));
    }
    ck_assert_uint_gt(n, 50);
    free(table);
}
END_TEST

START_TEST(published_hostile_files_are_refused)
{
    if (skip_without("LOQUAT_CONFORMANCE", "the collected hostile files"))
        return;
    char dir[1024], path[2048];
    snprintf(dir, sizeof dir, "%s/models/hostile/safetensors", getenv("LOQUAT_CONFORMANCE"));
    DIR *d = opendir(dir);
    ck_assert_ptr_nonnull(d);
    size_t n = 0;
    for (struct dirent *entry = readdir(d); entry; entry = readdir(d)) {
        if (!strstr(entry->d_name, ".safetensors"))
            continue;
        snprintf(path, sizeof path, "%s/%s", dir, entry->d_name);
        assert_outcome(path, false, "");
        n++;
    }
    closedir(d);
    ck_assert_uint_ge(n, 28);
}
END_TEST

static int open_bytes(const void *data, size_t len, struct tensor_file **out, struct error *e)
{
    struct bytes *b = NULL;
    ck_assert_int_eq(bytes_open_memory(data, len, &b, e), 0);
    return safetensors_open_take(b, out, e);
}

static struct tensor_file *open_good(const char *name, char **data)
{
    char path[1024];
    size_t len;
    struct tensor_file *f = NULL;
    struct error e = {0};
    snprintf(path, sizeof path, "%s%s.safetensors", HOSTILE, name);
    *data = read_file(path, &len);
    ck_assert_msg(open_bytes(*data, len, &f, &e) == 0, "%s", e.text);
    ck_assert_uint_eq(f->file_bytes, len);
    return f;
}

/* Reads everything a file claims, and a byte more. */
static void read_all(const struct tensor_file *f)
{
    struct error e = {0};
    for (size_t i = 0; i < f->source->count; i++) {
        const struct tensor_info *t = &f->source->tensors[i];
        char byte;
        ck_assert_ptr_eq(f->source->find(f->source, t->name), t);
        ck_assert_int_eq(f->source->read(f->source, t, t->bytes - 1, &byte, 1, &e), 0);
        ck_assert_int_eq(f->source->read(f->source, t, t->bytes, &byte, 1, &e), -1);
        ck_assert_int_eq(f->source->read(f->source, t, UINT64_MAX, &byte, 1, &e), -1);
        error_clear(&e);
    }
}

START_TEST(shapes_are_turned_round_and_values_come_in_order)
{
    char *data;
    float values[3];
    struct error e = {0};
    struct tensor_file *f = open_good("good", &data);
    const struct tensor_info *t = f->source->find(f->source, "w");
    ck_assert_ptr_nonnull(t);
    ck_assert_uint_eq(t->n_dims, 2);
    ck_assert_uint_eq(t->dims[0], 3);
    ck_assert_uint_eq(t->dims[1], 2);
    ck_assert_uint_eq(t->dims[2], 1);
    ck_assert_uint_eq(t->bytes, 24);
    ck_assert_int_eq(f->source->read(f->source, t, 12, values, sizeof values, &e), 0);
    ck_assert(values[0] == 3 && values[1] == 4 && values[2] == 5);
    ck_assert_ptr_null(f->source->find(f->source, "v"));
    f->close(f);
    free(data);
}
END_TEST

START_TEST(a_scalar_is_one_element_and_an_empty_tensor_is_left_out)
{
    char *data;
    struct tensor_file *f = open_good("good-scalar", &data);
    ck_assert_uint_eq(f->source->count, 1);
    ck_assert_uint_eq(f->source->tensors[0].n_dims, 1);
    ck_assert_uint_eq(f->source->tensors[0].dims[0], 1);
    f->close(f);
    free(data);
    f = open_good("good-empty-tensor", &data);
    ck_assert_uint_eq(f->source->count, 1);
    ck_assert_ptr_null(f->source->find(f->source, "e"));
    f->close(f);
    free(data);
}
END_TEST

START_TEST(every_type_has_its_row)
{
    static const struct {
        const char *name;
        enum dtype dtype;
    } rows[] = {{"f64", DTYPE_F64}, {"f32", DTYPE_F32},  {"f16", DTYPE_F16}, {"bf16", DTYPE_BF16},
                {"i64", DTYPE_I64}, {"i32", DTYPE_I32},  {"i16", DTYPE_I16}, {"i8", DTYPE_I8},
                {"u8", DTYPE_U8},   {"bool", DTYPE_BOOL}};
    char *data;
    struct tensor_file *f = open_good("good-dtypes", &data);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const struct tensor_info *t = f->source->find(f->source, rows[i].name);
        ck_assert_ptr_nonnull(t);
        ck_assert_int_eq(t->dtype, rows[i].dtype);
    }
    f->close(f);
    free(data);
}
END_TEST

static const char *const small_files[] = {"good", "good-order", "good-dtypes", "overlap"};

START_TEST(a_file_cut_anywhere_is_an_error)
{
    size_t len;
    char *data = read_file(HOSTILE "good-order.safetensors", &len);
    for (size_t cut = 0; cut < len; cut++) {
        struct error e = {0};
        struct tensor_file *f = NULL;
        char *part = malloc(cut ? cut : 1); /* its own block, so that a read past the end shows */
        memcpy(part, data, cut);
        ck_assert_msg(open_bytes(part, cut, &f, &e) == -1, "cut at %zu", cut);
        ck_assert_int_eq(e.kind, ERROR_BAD_FORMAT);
        free(part);
    }
    free(data);
}
END_TEST

START_TEST(no_flipped_byte_does_harm)
{
    char path[1024];
    size_t len;
    snprintf(path, sizeof path, "%s%s.safetensors", HOSTILE, small_files[_i]);
    char *data = read_file(path, &len);
    for (size_t at = 0; at < len; at++) {
        for (int flip = 1; flip < 256; flip += flip < 8 ? 1 : 31) {
            struct error e = {0};
            struct tensor_file *f = NULL;
            data[at] = (char)(data[at] ^ flip);
            if (open_bytes(data, len, &f, &e) == 0) {
                read_all(f);
                f->close(f);
            }
            data[at] = (char)(data[at] ^ flip);
        }
    }
    free(data);
}
END_TEST

static Suite *make_suite(void)
{
    Suite *s = suite_create("safetensors");
    TCase *t = tcase_create("safetensors");
    tcase_set_timeout(t, 240);
    tcase_add_test(t, hostile_files_end_as_the_table_says);
    tcase_add_test(t, published_hostile_files_are_refused);
    tcase_add_test(t, shapes_are_turned_round_and_values_come_in_order);
    tcase_add_test(t, a_scalar_is_one_element_and_an_empty_tensor_is_left_out);
    tcase_add_test(t, every_type_has_its_row);
    tcase_add_test(t, a_file_cut_anywhere_is_an_error);
    tcase_add_loop_test(t, no_flipped_byte_does_harm, 0, sizeof small_files / sizeof small_files[0]);
    suite_add_tcase(s, t);
    return s;
}

int main(void)
{
    return suite_run(make_suite());
}
